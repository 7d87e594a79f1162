"""A provincial dossier system that speaks the VNPT iGate dialect [seen in several clients].

Offers what the documented interface offers and no more: a token, a search by date windows and states (page or
slice, at most 200 a page), the detail of one dossier, the agencies. There is no "changed since".
`sandbox/README.md` lists which shapes were seen and which are guessed.
"""

import os
import secrets
import time
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.chance import I64, uniform
from sandbox.encode import Encoder, dumps, words
from sandbox.faults import Faults
from sandbox.generator import DAY, MIGRATED, NONE, WORLDS, Block, block, codes, local_seconds, month_bounds
from sandbox.serving import HANOI, BadRequest, Headers, clock_routes, read_moment, reply, serve
from sandbox.spoil import IGATE

PAGE_LIMIT = 200
TOKEN_PATH = "/auth/realms/digo/protocol/openid-connect/token"


@dataclass
class Store:
    """Blocks of a world as seen at `now`, with encoded dossiers kept up to a number of bytes."""

    encoder: Encoder
    now: int
    budget: int

    def __post_init__(self) -> None:
        self.cache: OrderedDict[tuple[int, int], tuple[bytes, bytes]] = OrderedDict()
        self.held = 0
        self.found: OrderedDict[tuple[tuple[str, str], ...], tuple[I64, I64]] = OrderedDict()
        #: Deleted dossiers: rows by block.
        self.gone: dict[int, list[int]] = {}
        #: Faults of the system, for dossiers that come late.
        self.faults: Faults | None = None

    def arrived(self, rows: Block) -> np.ndarray:
        """Tell which dossiers have reached the lists; some take days, by the clock that does not freeze."""
        share, days = self.faults.late if self.faults else (0.0, 0)
        if not share:
            return np.ones(len(rows), bool)
        return (uniform(rows.key, "late") >= share) | (rows.accepted + days * DAY <= self.faults.now)  # type: ignore[union-attr]

    def block(self, number: int) -> Block:
        """Return a block of the world."""
        return block(self.encoder.world, number)

    def turn(self, now: int) -> None:
        """Set the clock; what was encoded as of another moment is forgotten."""
        self.now = now
        self.cache.clear()
        self.found.clear()
        self.held = 0

    def without_dummies(self) -> None:
        """Encode numbers of citizens by the system's habit."""
        if self.faults and self.encoder.dummies != self.faults.has("dummy_identity"):
            self.encoder.dummies = self.faults.has("dummy_identity")
            self.turn(self.now)

    def delete(self, identifiers: set[str]) -> None:
        """Answer as if exactly these dossiers had been deleted."""
        self.gone.clear()
        self.found.clear()
        for number, row in filter(None, map(self.encoder.locate, identifiers)):
            self.gone.setdefault(number, []).append(row)

    def fetch(self, numbers: list[int], rows: list[int], ahead: int = 0) -> list[tuple[bytes, bytes]]:
        """Return (item, detail) of rows given as (block number, row), encoding together what is missing."""
        missing: dict[int, list[int]] = {}
        for n, r in zip(numbers, rows, strict=True):
            if (n, r) not in self.cache:
                missing.setdefault(n, []).append(r)
        for n, wanted in missing.items():
            whole = self.block(n)
            if ahead:
                wanted = [r for r in range(wanted[0], min(wanted[0] + ahead, len(whole)))
                          if (n, r) not in self.cache]  # fmt: skip
            done = self.encoder.encode(n, whole, np.array(wanted, dtype=np.int64), self.now)
            for r, (_, item, detail) in zip(wanted, done, strict=True):
                self.cache[(n, r)] = (item, detail)
                self.held += len(item) + len(detail) + 200
        out = [self.cache[(n, r)] for n, r in zip(numbers, rows, strict=True)]
        while self.held > self.budget and len(self.cache) > 1000:
            _, (item, detail) = self.cache.popitem(last=False)
            self.held -= len(item) + len(detail) + 200
        return out

    def search(self, query: dict[str, str]) -> tuple[I64, I64]:
        """Return (block numbers, rows) of the dossiers a query asks for, in its order."""
        key = tuple(sorted((k, v) for k, v in query.items() if k not in ("page", "size", "spec")))
        if key in self.found:
            self.found.move_to_end(key)
            return self.found[key]
        answer = self._search(query)
        self.found[key] = answer
        if len(self.found) > 8:
            self.found.popitem(last=False)
        return answer

    def _search(self, query: dict[str, str]) -> tuple[I64, I64]:
        e = self.encoder
        low, high = query.get("accepted-from"), query.get("accepted-to")
        accepted = (read_moment(low) if low else 0, min(read_moment(high) if high else self.now, self.now))
        windows = {}
        for name in ("appointment", "result-returned"):
            since, until = query.get(f"{name}-from"), query.get(f"{name}-to")
            if since or until:
                windows[name] = (read_moment(since) if since else 0, read_moment(until) if until else 1 << 60)
        try:
            states = [int(s) for s in query.get("dossier-status", "").split(",") if s.strip()]
        except ValueError:
            raise BadRequest("dossier-status must be a list of numbers such as 2,3,4") from None
        if query.get("remove-status", "0") not in ("", "0"):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        desks = e.descends(query["ancestor-agency-id"]) if query.get("ancestor-agency-id") else None
        wanted = None
        if query.get("procedure-id") or query.get("sector-id"):
            p = e.procedures
            wanted = np.array([
                query.get("procedure-id", "") in ("", e.procedure_ids[k])
                and query.get("sector-id", "") in ("", e.sector_ids[p.sector_codes[k]])
                for k in range(len(p.codes))
            ])  # fmt: skip
        sort, _, direction = query.get("sort", "acceptedDate,asc").partition(",")
        if sort not in ("acceptedDate", "appointmentDate"):
            raise BadRequest(f"cannot sort by {sort!r}; known are acceptedDate and appointmentDate")
        numbers, rows, order = [], [], []
        for n in e.blocks:
            if n != MIGRATED:
                first, past = month_bounds(n)
                if first * DAY > accepted[1] or past * DAY <= accepted[0]:
                    continue
            b = self.block(n)
            due = b.due(self.now)
            keep = (b.accepted >= accepted[0]) & (b.accepted <= accepted[1])
            if "appointment" in windows:
                keep &= (
                    (due >= windows["appointment"][0]) & (due <= windows["appointment"][1]) & (due != NONE)
                )
            if "result-returned" in windows:
                first, past = windows["result-returned"]
                keep &= (b.returned >= first) & (b.returned <= min(past, self.now)) & (b.ending == 0)
            if states:
                keep &= np.isin(b.state(self.now), states)
            if desks is not None:
                keep &= desks[b.receiving]
            if wanted is not None:
                keep &= wanted[b.procedure]
            keep[self.gone.get(n, [])] = False
            keep &= self.arrived(b)
            found = np.flatnonzero(keep)
            if query.get("code"):
                listed = codes(e.world, b.take(found))
                found = found[[c == query["code"] for c in listed]] if len(listed) else found
            numbers.append(np.full(len(found), n, np.int64))
            rows.append(found)
            value = b.accepted if sort == "acceptedDate" else np.where(due == NONE, 1 << 60, due)
            order.append(value[found])
        if not numbers:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        all_numbers, all_rows, value = np.concatenate(numbers), np.concatenate(rows), np.concatenate(order)
        ranked = np.argsort(value if direction != "desc" else -value, kind="stable")
        return all_numbers[ranked], all_rows[ranked]


def page_of(items: list[bytes], page: int, size: int, total: int, sliced: bool) -> bytes:
    """Return a Spring page (or slice, which announces no total) around encoded items."""
    pages = -(-total // size)
    last = (page + 1) * size >= total
    head = "" if sliced else f'"totalElements":{total},"totalPages":{pages},'
    return (
        b'{"content":[' + b",".join(items) + b"]," + head.encode()
        + f'"number":{page},"size":{size},"numberOfElements":{len(items)},"first":{dumps(page == 0)},'
        f'"last":{dumps(last)},"empty":{dumps(not items)}}}'.encode()
    )  # fmt: skip


def create_app(world: str, client_id: str, client_secret: str, now: datetime | None = None) -> FastAPI:
    """Return the application of one world.

    `now` is the server's clock; a world that froze (Tiền Giang on 30/6/2025) never passes its last moment.
    """
    w = WORLDS[world]
    clock = local_seconds(now) if now else local_seconds(datetime(2025, 12, 31, 23, 59, 59, tzinfo=HANOI))
    encoder = Encoder(world)
    store = Store(encoder, min(clock, w.freeze), int(os.environ.get("SANDBOX_CACHE_MB", "300")) << 20)
    lifetime = int(os.environ.get("SANDBOX_TOKEN_SECONDS", "3600"))
    faults = store.faults = Faults(IGATE, clock)
    tokens: dict[bytes, float] = {}
    faults.on_expire = tokens.clear
    faults.on_delete = lambda: store.delete(faults.deleted)
    faults.on_late = store.found.clear
    faults.on_habit = store.without_dummies
    denied = b'{"error":"invalid_token"}'

    def refused(headers: Headers) -> bytes | None:
        for name, value in headers:
            if name == b"authorization":
                known = value[:7].lower() == b"bearer " and tokens.get(value[7:], 0) > time.monotonic()
                return None if known else denied
        return denied

    async def token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        known = form.get("grant_type") in ("client_credentials", "password")
        right = secrets.compare_digest(form.get("client_id", "").encode(), client_id.encode())
        right &= secrets.compare_digest(form.get("client_secret", "").encode(), client_secret.encode())
        if not (known and right):
            return reply(b'{"error":"invalid_client"}', 401)
        made = ".".join(secrets.token_urlsafe(24) for _ in range(3))
        tokens[made.encode()] = time.monotonic() + lifetime
        return reply(orjson.dumps({"access_token": made, "token_type": "Bearer", "expires_in": lifetime}))

    def numbers(query: dict[str, str], default: int) -> tuple[int, int]:
        try:
            page, size = int(query.get("page") or 0), int(query.get("size") or default)
        except ValueError:
            raise BadRequest("page and size must be numbers") from None
        if page < 0 or size < 1:
            raise BadRequest("page must be 0 or more and size 1 or more")
        return page, min(size, faults.page_limit(PAGE_LIMIT))

    async def search(request: Request) -> Response:
        if refused(request.scope["headers"]):
            return reply(denied, 401)
        query = dict(parse_qsl(request.scope["query_string"].decode(), keep_blank_values=True))
        try:
            page, size = numbers(query, 20)
            which, rows = store.search(query)
        except BadRequest as error:
            return reply(orjson.dumps({"message": str(error)}), 400)
        cut = slice(page * size, (page + 1) * size)
        items = [item for item, _ in store.fetch(which[cut].tolist(), rows[cut].tolist())]
        return reply(page_of(faults.rows(items), page, size, len(rows), query.get("spec") == "slice"))

    async def agency(request: Request) -> Response:
        if refused(request.scope["headers"]):
            return reply(denied, 401)
        try:
            page, size = numbers(dict(request.query_params), 20)
        except BadRequest as error:
            return reply(orjson.dumps({"message": str(error)}), 400)
        listed = [
            orjson.dumps({
                "id": encoder.agency_ids[i], "code": a.code, "name": orjson.loads(words(a.name)),
                "level": a.level, "unitCode": a.unit_code,
                "parent": None if a.parent < 0 else {
                    "id": encoder.agency_ids[a.parent], "code": encoder.agencies[a.parent].code},
            })
            for i, a in enumerate(encoder.agencies)
        ]  # fmt: skip
        part = faults.rows(listed[page * size : (page + 1) * size])
        return reply(page_of(part, page, size, len(listed), request.query_params.get("spec") == "slice"))

    def detail(identifier: str) -> tuple[int, bytes]:
        place = encoder.locate(identifier)
        if place:
            number, row = place
            whole = store.block(number)
            there = row < len(whole) and row not in store.gone.get(number, ())
            if there and whole.accepted[row] <= store.now:
                held = store.fetch([number], [row], ahead=200)[0][1]
                if held.startswith(f'{{"id":"{identifier}"'.encode()):
                    return 200, held
        return 404, b'{"message":"dossier not found"}'

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        for number in encoder.blocks[:2]:
            store.block(number)
        yield

    routes = [
        Route(TOKEN_PATH, token, methods=["POST"]),
        Route("/pa/dossier/search", search, methods=["GET"]),
        Route("/ba/agency/name+code", agency, methods=["GET"]),
        *clock_routes(faults, store, w.freeze, "accepted-"),
    ]
    quick = {"within": ("/pa/dossier/", "/--online"), "find": detail, "refused": refused}
    return serve(f"iGate sandbox: {world}", routes, faults, quick, lifespan=lifespan)
