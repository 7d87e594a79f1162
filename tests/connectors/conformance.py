"""What every connector must do, and the wire on which it is watched doing it.

A connector joins by one line in `CASES`; `test_conformance.py` then holds for it. Each case speaks over real
HTTP to a real server (the sandbox, or a stand-in of its own) through a `Wire`: a small proxy that counts
calls and can behave as real systems do.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import importlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import orjson
import pyarrow as pa
import pytest

from connectors.base import Connector, Endpoint, Interval, PullReport, Request
from ops.settings import PROJECT, VIETNAM
from ops.sources import Source, read_sources

from .citizens import checked


def span(start: str, end: str) -> Interval:
    """Half-open interval of Vietnamese time."""
    first, after = (dt.datetime.fromisoformat(t).replace(tzinfo=VIETNAM) for t in (start, end))
    return Interval(first, after)


@dataclass(frozen=True)
class Case:
    """One source of ops/sources.yml, the server that plays it, and what to ask of it.

    `server` is a fixture of tests/conftest.py, or ``module:function`` that gives a context manager of a base
    URL. `rows` is the key of the list in a page, `lists` parts of the paths of its lists. `path` follows the
    server's address. `announces`: whether the source says how many records its lists hold. `options` go before
    those of the list of sources; pages and chunks must be so small that two chunks take five calls or more.
    """

    code: str
    server: str
    interval: Interval
    rows: str
    lists: tuple[str, ...] = ("",)
    path: str = ""
    login: str = ""
    secret: str = "no-secret-needed"
    options: dict[str, Any] = field(default_factory=dict)
    announces: bool = True
    name: str = ""
    #: Class attributes of the connector, such as a `chunks` that says whom to ask about.
    policy: dict[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> Source:
        """Its entry in the list of sources."""
        return read_sources(PROJECT / "ops" / "sources.yml")[self.code]

    @property
    def connector(self) -> type[Connector]:
        """Its class."""
        return self.source.connector_class()

    @property
    def signs_in(self) -> bool:
        """Whether the connector has a token to fetch."""
        return self.connector.login is not Connector.login

    def connect(self, base_url: str, *, policy: dict[str, Any] | None = None, **options: Any) -> Connector:
        """A connector that reaches `base_url`, with class attributes of `policy` and short pauses."""
        kind = type(
            self.connector.__name__, (self.connector,), {"backoff": 0.01, **self.policy, **(policy or {})}
        )
        secret = options.pop("secret", self.secret)
        wanted = {**self.source.options, "evaluations": [], **self.options, **options}
        return kind(self.code, Endpoint(base_url + self.path, self.login, secret, wanted))


CLIENT: dict[str, Any] = {"login": "kho-chung", "secret": "sandbox-secret-of-the-tests"}
IGATE: dict[str, Any] = {**CLIENT, "rows": "content"}
MORNING = span("2025-06-30T09:00", "2025-06-30T09:10")
CASES = [
    Case("igate_tien_giang", "tien_giang", MORNING, **IGATE, lists=("/pa/dossier/search", "/ba/agency"),
         options={"margin_days": 0, "page_size": 25, "chunk_size": 30}),
    Case("igate_tien_giang", "tien_giang", MORNING, **IGATE, name="igate_slices", announces=False,
         lists=("/pa/dossier/search",),
         options={"margin_days": 0, "page_size": 25, "chunk_size": 30, "spec": "slice"}),
    Case("national_portal", "portal", MORNING, rows="items", path="/api/v1", lists=("/list-all-",),
         options={"chunk_size": 15}),
    Case("population", "population", MORNING, **CLIENT, rows="none", lists=(), policy={"chunks": checked}),
    Case("opencps_dong_thap", "dong_thap_cu", span("2024-01-02", "2024-01-03"), **{**IGATE, "rows": "data"},
         lists=("/dossiers?", "/dictitems?"), options={"margin_days": 0, "page_size": 100, "chunk_size": 30}),
    # A new connector joins here, by one line.
]  # fmt: skip


# --- pulling ----------------------------------------------------------------------------------------


@dataclass
class Pulled:
    """Everything a pull gave."""

    tables: dict[str, pa.Table]
    rejects: list[Any]
    report: PullReport


def pull(connector: Connector, interval: Interval, chunks: int | None = None, **more: Any) -> Pulled:
    """All chunks of a pull, or the first ones."""
    tables: dict[str, list[pa.RecordBatch]] = {}
    rejects: list[Any] = []
    for number, chunk in enumerate(connector.chunks(Request(interval, **more)), 1):
        for table, batch in chunk.tables.items():
            tables.setdefault(table, []).append(batch)
        rejects += chunk.rejects
        if number == chunks:
            break
    return Pulled({t: pa.Table.from_batches(b) for t, b in tables.items()}, rejects, connector.report)


def taste(connector: Connector, interval: Interval) -> Pulled:
    """Lists and some records: enough to meet whatever the wire has in store."""
    return pull(connector, interval, chunks=2)


# --- the wire ---------------------------------------------------------------------------------------


@dataclass
class Call:
    """One call as it came over the wire."""

    at: float
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path


@dataclass
class Fault:
    """What the next `calls` calls meet whose target holds `on`."""

    calls: int
    on: str = ""
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    hang: float = 0.0
    cut: bool = False
    spoil: str = ""
    signed_only: bool = False


class Wire:
    """A real HTTP server in front of `upstream` (or of nothing) that watches and, when told, misbehaves."""

    def __init__(self, upstream: str | None, rows: str = "") -> None:
        self.upstream = urlsplit(upstream) if upstream else None
        self.rows = rows
        self.seen: list[Call] = []
        self.faults: list[Fault] = []
        self.expired: set[str] = set()
        self.delay = 0.0
        self.peak = 0
        self.released = threading.Event()
        self._under_way = 0
        self._lock = threading.Lock()
        self._local = threading.local()
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                wire._answer(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def fault(self, calls: int = 10**9, **what: Any) -> None:
        """The next `calls` calls meet this."""
        self.faults.append(Fault(calls, **what))

    def expire(self) -> None:
        """Every token seen so far is refused from now on."""
        self.expired |= {c.headers["Authorization"] for c in self.seen if "Authorization" in c.headers}

    def sign_ins(self) -> list[Call]:
        """Calls that carried no token."""
        return [c for c in self.seen if "Authorization" not in c.headers]

    def _take(self, call: Call) -> Fault | None:
        for fault in self.faults:
            if fault.calls and fault.on in call.target:
                if fault.signed_only and "Authorization" not in call.headers:
                    continue
                fault.calls -= 1
                return fault
        return None

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        call = Call(time.monotonic(), handler.command, handler.path, dict(handler.headers.items()), body)
        with self._lock:
            self.seen.append(call)
            self._under_way += 1
            self.peak = max(self.peak, self._under_way)
            fault = self._take(call)
        if self.delay:
            time.sleep(self.delay)
        if call.headers.get("Authorization") in self.expired:
            status, headers, answer = 401, {"Content-Type": "application/json"}, b'{"error":"invalid_token"}'
        elif fault and fault.status:
            headers = {"Content-Type": "application/json", **fault.headers}
            headers = {k: v.replace("{target}", call.target) for k, v in headers.items()}
            status, answer = fault.status, fault.body
        else:
            if fault and fault.hang:
                self.released.wait(fault.hang)
            status, headers, answer = self._forward(call)
            if fault and fault.spoil:
                answer = self._spoil(answer, fault)
        # Before the answer leaves: the next call may come the moment it has arrived.
        with self._lock:
            self._under_way -= 1
        with contextlib.suppress(OSError):
            handler.send_response(status)
            for key, value in headers.items():
                handler.send_header(key, value)
            handler.send_header("Content-Length", str(len(answer)))
            handler.end_headers()
            handler.wfile.write(answer[: len(answer) // 2] if fault and fault.cut else answer)
            if fault and fault.cut:
                handler.close_connection = True

    def _forward(self, call: Call) -> tuple[int, dict[str, str], bytes]:
        if self.upstream is None:
            return 200, {"Content-Type": "application/json"}, b"{}"
        kept = {k: v for k, v in call.headers.items() if k.lower() not in ("host", "connection")}
        link = getattr(self._local, "link", None)
        if link is None:
            link = http.client.HTTPConnection(self.upstream.hostname or "", self.upstream.port, timeout=30)
            self._local.link = link
        link.request(call.method, call.target, call.body or None, kept)
        answer = link.getresponse()
        data = answer.read()
        return answer.status, {"Content-Type": answer.headers.get("Content-Type", "")}, data

    def _spoil(self, answer: bytes, fault: Fault) -> bytes:
        page = orjson.loads(answer)
        inner = page if self.rows in page else page.get("data")
        rows = inner.get(self.rows) if isinstance(inner, dict) else None
        if not rows or len(rows) < 2:
            fault.calls += 1  # nothing to spoil on this page
            return answer
        rows[-1:] = [] if fault.spoil == "lose" else [rows[0]]
        return orjson.dumps(page)


@contextlib.contextmanager
def wired(upstream: str | None, rows: str = "") -> Iterator[Wire]:
    """A wire for the length of a test."""
    wire = Wire(upstream, rows)
    try:
        yield wire
    finally:
        wire.close()


@contextlib.contextmanager
def served(case: Case, request: pytest.FixtureRequest) -> Iterator[str]:
    """Base URL of the server that plays the case's source."""
    if ":" not in case.server:
        yield request.getfixturevalue(case.server).base_url
        return
    module, _, name = case.server.partition(":")
    start: Callable[[], contextlib.AbstractContextManager[str]]
    start = getattr(importlib.import_module(module), name)
    with start() as url:
        yield url


def named(case: Case) -> str:
    """How the case is called in pytest's output."""
    return case.name or case.code


__all__ = [
    "CASES",
    "Call",
    "Case",
    "Fault",
    "Pulled",
    "Wire",
    "named",
    "pull",
    "served",
    "span",
    "taste",
    "wired",
]
