"""Faults a test can switch on: what the real systems were seen to do (platform facts, section 12).

Off by default. Switched on by POST /__sandbox__/faults with a JSON object or list, or at the start by the
environment variable SANDBOX_FAULTS holding the same JSON:

    {"fault": "html200", "calls": 2}                          the "Request Rejected" page with status 200
    {"fault": "status", "status": 429, "retry_after": 1, "calls": 1}   429 or 5xx, with Retry-After if given
    {"fault": "drop_rows", "mode": "lose" | "repeat", "calls": 1}      the next page lacks or repeats a row
    {"fault": "expire_token"}                                 every token given so far is refused
    {"fault": "delete", "ids": ["..."]}                       these dossiers are gone, from lists and details
    {"fault": "clear"}                                        back to normal
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Hook = Callable[[Scope], tuple[int, bytes, list[tuple[bytes, bytes]]] | None]

REJECTED = (
    b"<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. Please consult "
    b"with your administrator.<br><br>Your support ID is: 1234567890123456789</body></html>"
)
KNOWN = ("html200", "status", "drop_rows", "expire_token", "delete", "clear")


class Faults:
    """The faults now in force; `hooks` is the list to which further faults can be added."""

    def __init__(self) -> None:
        self.html200 = 0
        self.status_calls = 0
        self.status = 503
        self.retry_after: int | None = None
        self.dropped_calls = 0
        self.mode = "lose"
        self.on_expire: Callable[[], None] = lambda: None
        self.deleted: set[str] = set()
        self.on_delete: Callable[[], None] = lambda: None
        self.hooks: list[Hook] = [self._html, self._status]
        if os.environ.get("SANDBOX_FAULTS"):
            self.set(orjson.loads(os.environ["SANDBOX_FAULTS"]))

    def set(self, wanted: Any) -> None:
        """Switch faults on; ValueError names what is not known."""
        for one in wanted if isinstance(wanted, list) else [wanted]:
            fault, calls = one.get("fault"), int(one.get("calls", 1))
            if fault == "html200":
                self.html200 = calls
            elif fault == "status":
                self.status, self.status_calls = int(one.get("status", 503)), calls
                self.retry_after = one.get("retry_after")
            elif fault == "drop_rows":
                self.mode, self.dropped_calls = one.get("mode", "lose"), calls
            elif fault == "expire_token":
                self.on_expire()
            elif fault == "delete":
                self.deleted |= set(one.get("ids", ()))
                self.on_delete()
            elif fault == "clear":
                self.html200 = self.status_calls = self.dropped_calls = 0
                if self.deleted:
                    self.deleted.clear()
                    self.on_delete()
            else:
                raise ValueError(f"fault {fault!r} is not known; known are {', '.join(KNOWN)}")

    def state(self) -> dict[str, Any]:
        """Return how many calls each fault still spoils."""
        return {"html200": self.html200, "status": self.status_calls, "drop_rows": self.dropped_calls}

    def rows(self, items: list[bytes]) -> list[bytes]:
        """Return the rows of a page, spoiled if asked for and if there are two or more."""
        if not self.dropped_calls or len(items) < 2:
            return items
        self.dropped_calls -= 1
        return items[:-1] if self.mode == "lose" else [*items[:-1], items[0]]

    def _html(self, scope: Scope) -> tuple[int, bytes, list[tuple[bytes, bytes]]] | None:
        if not self.html200:
            return None
        self.html200 -= 1
        return 200, REJECTED, [(b"content-type", b"text/html; charset=utf-8")]

    def _status(self, scope: Scope) -> tuple[int, bytes, list[tuple[bytes, bytes]]] | None:
        if not self.status_calls:
            return None
        self.status_calls -= 1
        headers = [(b"content-type", b"application/json")]
        if self.retry_after is not None:
            headers.append((b"retry-after", str(self.retry_after).encode()))
        return self.status, b'{"message":"try later"}', headers


class FaultMiddleware:
    """ASGI middleware: asks every hook before a call reaches the application; /__sandbox__ is never spoiled."""

    def __init__(self, app: Any, faults: Faults) -> None:
        self.app = app
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Answer with the first fault in force; else pass the call on."""
        if scope["type"] == "http" and not scope["path"].startswith("/__sandbox__"):
            for hook in self.faults.hooks:
                answer = hook(scope)
                if answer:
                    status, body, headers = answer
                    length = (b"content-length", str(len(body)).encode())
                    start = {"type": "http.response.start", "status": status, "headers": [*headers, length]}
                    await send(start)
                    await send({"type": "http.response.body", "body": body})
                    return
        await self.app(scope, receive, send)
