"""Serve the current release on loopback: ``python -m ops.site <open-data folder> <port>``.

For one machine; a province puts the same folder behind its own web server.
"""

from __future__ import annotations

import posixpath
import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

_NONE_YET = "<!doctype html><meta charset=utf-8><title>Kho Chung</title><p>Chưa có bản phát hành. / No release yet.</p>"


class Handler(SimpleHTTPRequestHandler):
    """Files of ``<open-data>``: ``/releases/000001/`` each release, ``/latest/`` and ``/`` the current one.

    The link is followed at every request. What stands elsewhere in the folder is not public.
    """

    extensions_map = {  # noqa: RUF012 - as the base class has it
        **SimpleHTTPRequestHandler.extensions_map,
        ".atom": "application/atom+xml; charset=utf-8",
        ".csv": "text/csv; charset=utf-8",
        ".parquet": "application/vnd.apache.parquet",
        ".json": "application/json; charset=utf-8",
        ".jsonl": "application/x-ndjson; charset=utf-8",
        ".jsonld": "application/ld+json; charset=utf-8",
        ".rdf": "application/rdf+xml",
        ".ttl": "text/turtle; charset=utf-8",
        ".txt": "text/plain; charset=utf-8",
        ".xml": "application/xml; charset=utf-8",
        ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ".html": "text/html; charset=utf-8",
    }

    def do_GET(self) -> None:
        """Answer the health check and the empty start; everything else is a file."""
        if self.path == "/__health__":
            self._text("ok")
        elif self.path == "/" and not (Path(self.directory) / "current" / "index.html").exists():
            self._text(_NONE_YET)
        else:
            super().do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer an unknown address with the release's own page for it."""
        page = Path(self.directory) / "current" / "404.html"
        if code == HTTPStatus.NOT_FOUND and page.exists():
            self._text(page.read_text(encoding="utf-8"), code)
        else:
            super().send_error(code, message, explain)

    def end_headers(self) -> None:
        """Add what a page cannot say of itself."""
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        super().end_headers()

    def translate_path(self, path: str) -> str:
        """The file behind an address."""
        # Brought to its plain form first, so that no `..` leads past the two public folders.
        plain = posixpath.normpath("/" + unquote(urlsplit(path).path).lstrip("/"))
        parts = plain.strip("/").split("/")
        if any(part.startswith(".") for part in parts):  # a release being built is not public yet
            return str(Path(self.directory) / "releases" / "none")
        if parts[0] != "releases":
            parts = ["current", *parts[parts[0] == "latest" :]]
        found = str(Path(self.directory).joinpath(*parts))
        return found + "/" if path.endswith("/") else found

    def _text(self, text: str, code: int = HTTPStatus.OK) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def main() -> None:
    """Serve until stopped."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    handler = partial(Handler, directory=str(folder))
    ThreadingHTTPServer(("127.0.0.1", port), handler).serve_forever()


if __name__ == "__main__":
    main()
