"""Serve the current release on loopback: ``python -m ops.site <open-data folder> <port>``.

For one machine; a province puts the same folder behind its own web server.
"""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_NONE_YET = "<!doctype html><meta charset=utf-8><title>Kho Chung</title><p>Chưa có bản phát hành. / No release yet.</p>"


class Handler(SimpleHTTPRequestHandler):
    """Files of ``<open-data>/current``, read through the link at every request."""

    extensions_map = {  # noqa: RUF012 - as the base class has it
        **SimpleHTTPRequestHandler.extensions_map,
        ".csv": "text/csv; charset=utf-8",
        ".parquet": "application/vnd.apache.parquet",
        ".json": "application/json; charset=utf-8",
        ".html": "text/html; charset=utf-8",
    }

    def do_GET(self) -> None:
        """Answer the health check and the empty start; everything else is a file."""
        if self.path == "/__health__":
            self._text("ok")
        elif self.path == "/" and not (Path(self.directory) / "index.html").exists():
            self._text(_NONE_YET)
        else:
            super().do_GET()

    def _text(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until stopped."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    handler = partial(Handler, directory=str(folder / "current"))
    ThreadingHTTPServer(("127.0.0.1", port), handler).serve_forever()


if __name__ == "__main__":
    main()
