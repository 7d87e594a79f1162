"""What all stand-ins share beside their dialect: health, armed faults, the clock, the quick detail call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.chance import I64
from sandbox.faults import FaultMiddleware, Faults
from sandbox.generator import local_seconds

HANOI = timezone(timedelta(hours=7))
JSON = "application/json"
Headers = list[tuple[bytes, bytes]]


class BadRequest(ValueError):
    """A request the server cannot read; becomes a 400."""


class Dossiers(Protocol):
    """Dossiers of a world as of a moment, searched by a query of their dialect."""

    now: int
    held: int

    def turn(self, now: int) -> None:
        """Set the clock."""

    def search(self, query: dict[str, str]) -> tuple[I64, I64]:
        """(block numbers, rows) of what a query asks for."""

    def fetch(self, numbers: list[int], rows: list[int]) -> list[tuple[bytes, bytes]]:
        """(item, detail) of each."""


def read_moment(text: str) -> int:
    """Return local seconds of `2025-06-16T00:00:00.000Z`, `...+0700` or `...+07:00` (a plus may come as space)."""
    try:
        return local_seconds(datetime.fromisoformat(text.strip().replace(" ", "+")).astimezone(HANOI))
    except ValueError:
        raise BadRequest(f"cannot read the date {text!r}; expected 2025-06-16T00:00:00.000Z") from None


def reply(body: bytes, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(body, status, media_type=JSON)


def serve(
    title: str,
    routes: list[Route],
    faults: Faults,
    detail: Mapping[str, Any] | None = None,
    arm: Callable[[Any], None] | None = None,
    state: Callable[[], Mapping[str, Any]] | None = None,
    **options: Any,
) -> FastAPI:
    """The application of a stand-in: its routes, its health, its faults to arm (POST) and to look at (GET).

    `detail` is what `DetailFirst` needs; `arm` and `state` take the place of the faults' own where a stand-in knows
    more of them; `options` are FastAPI's.
    """

    async def health(request: Request) -> Response:
        return reply(b'{"status":"ok"}')

    async def set_faults(request: Request) -> Response:
        try:
            if request.method == "POST":
                (arm or faults.set)(await request.json())
        except ValueError as error:
            return reply(orjson.dumps({"message": str(error)}), 400)
        return reply(orjson.dumps((state or faults.state)()))

    app = FastAPI(
        title=title, docs_url=None, redoc_url=None, openapi_url=None, **options,
        routes=[
            *routes,
            Route("/__sandbox__/health", health, methods=["GET"]),
            Route("/__sandbox__/faults", set_faults, methods=["GET", "POST"]),
        ],
    )  # fmt: skip
    app.state.faults = faults
    if detail:
        app.add_middleware(DetailFirst, **detail)
    app.add_middleware(FaultMiddleware, faults=faults)  # outermost: added last
    return app


def clock_routes(faults: Faults, store: Dossiers, freeze: int, window: str) -> list[Route]:
    """Routes that move a dossier system's clock, and encode a window beforehand.

    A world never passes the moment `freeze`; `window` is what the names of the window's parameters hold.
    """

    async def set_now(request: Request) -> Response:
        if request.method == "POST":
            try:
                faults.now = read_moment((await request.json())["now"])
                store.turn(min(faults.now, freeze))
            except (ValueError, KeyError) as error:
                return reply(orjson.dumps({"message": f"now: {error}"}), 400)
        return reply(orjson.dumps({"now": datetime.fromtimestamp(store.now - 7 * 3600, HANOI).isoformat()}))

    async def warm(request: Request) -> Response:
        """Encode a window beforehand, so that a measurement measures the product."""
        which, rows = store.search({k: v for k, v in request.query_params.items() if window in k})
        for at in range(0, len(rows), 1000):
            store.fetch(which[at : at + 1000].tolist(), rows[at : at + 1000].tolist())
        return reply(orjson.dumps({"encoded": len(rows), "bytes": store.held}))

    return [
        Route("/__sandbox__/now", set_now, methods=["GET", "POST"]),
        Route("/__sandbox__/warm", warm, methods=["POST"]),
    ]


class DetailFirst:
    """Answers one dossier's detail below the router: it is called once for every dossier.

    `within` is (what such a path begins with, what it ends with); `find` gives status and body of an identifier;
    `refused` the body of a 401 for headers without the right to read.
    """

    def __init__(
        self,
        app: Any,
        within: tuple[str, str],
        find: Callable[[str], tuple[int, bytes]],
        refused: Callable[[Headers], bytes | None],
    ) -> None:
        self.app, self.within, self.find, self.refused = app, within, find, refused

    async def __call__(
        self, scope: dict[str, Any], receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        """Answer a detail call; pass anything else on."""
        path, (before, after) = scope.get("path", ""), self.within
        if scope["type"] == "http" and path.startswith(before) and path.endswith(after):
            why = self.refused(scope["headers"])
            status, body = (401, why) if why else self.find(path[len(before) : len(path) - len(after)])
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self.app(scope, receive, send)
