"""The bad days of the real systems, each switched by its name (platform facts, section 12, and what operators met).

Switched on by POST /__sandbox__/faults with a JSON object or list, or at the start by the environment variable
SANDBOX_FAULTS holding the same JSON or the name of a profile (`realistic`: what an ordinary week has). `IRREGULARITIES`
says which switches play which number of the notes; each is in that profile, or a habit.

Calls, spoiled `calls` times (default 1) or, with `rate`, that share of all calls until cleared:

    {"fault": "html200"}, {"fault": "html403"}                the "Request Rejected" page, with status 200 or 403
    {"fault": "status", "status": 429, "retry_after": 1}      429 or 5xx; with `rate`, `burst` calls in a row
    {"fault": "latency", "ms": 200}                           the answer comes late
    {"fault": "drop_connection"}                              the connection ends in the middle of the answer
    {"fault": "truncate"}                                     half the JSON, as if it were whole
    {"fault": "expire_token", "after": 20}                    every token given so far is refused, now or after calls
    {"fault": "drop_rows", "mode": "lose" | "repeat" | "null_key"}   a page lacks a row, repeats one, or one has no key

Calls of those who send to the portal (`exchange`), the same way; drop_connection and truncate lose an answer there
whose change was applied:

    {"fault": "late_answer", "ms": 3000}                      the change is applied, its answer comes late
    {"fault": "refuse_items"}                                 an item is refused because the portal is busy
    {"fault": "message_json"}                                 a catalogue comes as JSON in the text `message`

Dossiers (`ids`, or a share `rate` of all, always the same ones), changed in their detail until cleared; damage with
`repaired_after` is put right at the source so many days after reception:

    date_forms, boolean_forms, key_case                       same meaning, other writing
    no_channel (`direct`: only of what is filed in person), no_due_date     nothing said of it
    storage_default                                           every paper comes from the citizen's own storage, it says
    twelve_hour_times                                         times of payment by a clock of twelve hours
    new_column, renamed_column, removed_column (`column`, `to`), wrong_type, impossible_date, mojibake (`lossy`),
    null_key

The system:

    {"fault": "late", "rate": 0.01, "days": 3}                dossiers that reach its lists only days after reception
    {"fault": "unit_names", "rate": 0.01}                     agencies under longer names, always the same ones
    {"fault": "error_code_number"}                            the population wrapper's error_code as a number
    {"fault": "delete", "ids": ["..."]}                       these dossiers are gone, from lists and details
    {"fault": "profile", "name": "realistic"}, {"fault": "clear"}

Habits, which a system has from the start and after `clear`, until {"fault": "created", "off": true}:

    created                     the portal answers 201 for success; off: 200
    json_in_string              OpenCPS keeps JSON in a text (metaData); off: as JSON
    page_limit                  iGate and the portal give 200 rows a page whatever is asked for; `rows`: so many, and
                                OpenCPS, too; off: as many as asked for
    other_national_code         some dossiers have another code at the portal, or none there yet; off: their own
    dummy_identity              some citizens go by 000000001; off: by their number
    zero_denominators           scores of the index where nothing was counted: none, or in full; off: 0
    provisional_denominators    denominators of the index that are flagged, and units without their code; off: neither
    applicant_words             OpenCPS says citizen and business; off: 1 and 2
    one_name_field              the population database has the whole name in Ten; off: parted
    old_districts               its records keep districts; off: they do not
    item_results                the portal says of each item it refused why; off: only how many of them
    national_copy               the portal counts what reached it, and as it was rewritten; off: what the province holds
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import orjson

from sandbox.spoil import CHANGES, WITHOUT, Change, Dialect, received, unit_names

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Answer = tuple[int, bytes, list[tuple[bytes, bytes]]]
Hook = Callable[[Scope], Answer | None]

REJECTED = (
    b"<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. Please consult "
    b"with your administrator.<br><br>Your support ID is: 1234567890123456789</body></html>"
)
CALLS = (
    "html200",
    "html403",
    "status",
    "latency",
    "drop_connection",
    "truncate",
    "expire_token",
    "drop_rows",
    "late_answer",
    "refuse_items",
    "message_json",
)
SWITCHES = ("unit_names", "error_code_number")
HABITS = (
    "created", "json_in_string", "page_limit", "other_national_code", "dummy_identity", "zero_denominators",
    "provisional_denominators", "applicant_words", "one_name_field", "old_districts", "national_copy", "item_results",
)  # fmt: skip
KNOWN = (*CALLS, *CHANGES, *SWITCHES, *HABITS, "late", "delete", "profile", "clear")
#: Number in the platform notes' section of irregularities -> the switches that play it.
IRREGULARITIES: dict[int, tuple[str, ...]] = {
    1: ("created", "html200", "html403", "status", "drop_connection"),
    2: ("error_code_number", "json_in_string"),
    3: ("date_forms",),
    4: ("boolean_forms",),
    5: ("page_limit",),
    6: ("key_case",),
    7: ("other_national_code",),
    8: ("dummy_identity", "storage_default", "national_copy"),
    9: ("no_channel", "no_due_date"),
    10: ("zero_denominators",),
    11: ("provisional_denominators",),
    12: ("applicant_words",),
    13: ("one_name_field", "old_districts"),
    14: ("national_copy",),
    15: ("twelve_hour_times",),
    16: ("unit_names",),
}
#: A page is spoiled by `rate` at most once in so many pages: a list is read twice, not three times.
PAGES_APART = 5_000
#: Rates are guesses: what passes by itself is common, what must be corrected by a clerk is rare.
PROFILES: dict[str, list[dict[str, Any]]] = {
    "realistic": [
        {"fault": "latency", "rate": 1 / 2000, "ms": 250},
        {"fault": "status", "status": 503, "rate": 1 / 10_000, "burst": 2},
        {"fault": "status", "status": 429, "rate": 1 / 10_000, "retry_after": 1},
        *({"fault": f, "rate": 1 / 10_000} for f in ("html200", "html403", "drop_connection", "truncate")),
        {"fault": "expire_token", "rate": 1 / 20_000},
        {"fault": "drop_rows", "mode": "lose", "rate": 1 / 2000},
        {"fault": "date_forms", "rate": 0.005},
        {"fault": "boolean_forms", "rate": 0.005},
        {"fault": "key_case", "rate": 0.001},
        {"fault": "no_channel", "rate": 0.002, "direct": True},
        *({"fault": f, "rate": 0.001} for f in ("no_due_date", "storage_default", "twelve_hour_times")),
        {"fault": "unit_names", "rate": 0.01},
        {"fault": "error_code_number", "rate": 0.05},
        {"fault": "late", "rate": 0.005, "days": 3},
        {"fault": "mojibake", "rate": 0.0005, "repaired_after": 3},
        *({"fault": f, "rate": 0.0002, "repaired_after": 3} for f in ("wrong_type", "impossible_date", "null_key")),
    ]
}  # fmt: skip


#: What the call under way met with.
_MET: ContextVar[list[str]] = ContextVar("met")


@dataclass
class Armed:
    """A fault in force: for so many calls, or for a share of all."""

    calls: int = 0
    rate: float = 0.0
    after: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    ids: frozenset[str] = frozenset()


class Faults:
    """The faults now in force; `hooks` is the list to which further ones can be added.

    `now` is the system's clock in local seconds, by which damage is repaired.
    """

    def __init__(self, dialect: Dialect | None = None, now: int = 0) -> None:
        self.dialect = dialect
        self.now = now
        self.armed: dict[str, Armed] = {}
        self.late: tuple[float, float] = (0.0, 0)
        self.broken: set[str] = set()
        self.page_rows: int | None = None
        self.deleted: set[str] = set()
        self.on_expire: Callable[[], None] = lambda: None
        self.on_delete: Callable[[], None] = lambda: None
        self.on_late: Callable[[], None] = lambda: None
        self.on_habit: Callable[[], None] = lambda: None
        self.hooks: list[Hook] = []
        #: Calls that met with something, by what it was: the names of all that befell one call, joined by "+"; and
        #: items refused, apart by whether their call's answer was lost.
        self.met: Counter[str] = Counter()
        #: Calls answered, and seconds from each one's arrival to the end of its answer.
        self.answered, self.seconds = 0, 0.0
        #: Calls under way now, and the most that ever were.
        self.under_way, self.most_at_once = 0, 0
        self._chance = random.Random(766)
        self._pages = 0
        given = os.environ.get("SANDBOX_FAULTS", "").strip()
        if given:
            profile = {"fault": "profile", "name": given}
            self.set(orjson.loads(given) if given[0] in "[{" else profile)

    def set(self, wanted: Any) -> None:
        """Switch faults on; ValueError names what is not known."""
        for one in wanted if isinstance(wanted, list) else [wanted]:
            fault = one.get("fault")
            if fault == "profile":
                if one.get("name") not in PROFILES:
                    raise ValueError(
                        f"profile {one.get('name')!r} is not known; known are {', '.join(PROFILES)}"
                    )
                self.set(PROFILES[one["name"]])
            elif fault == "clear":
                self.armed.clear()
                self.page_rows = None
                if self.broken:
                    self.broken.clear()
                    self.on_habit()
                if self.deleted:
                    self.deleted.clear()
                    self.on_delete()
                if self.late[0]:
                    self.late = (0.0, 0)
                    self.on_late()
            elif fault in HABITS:
                (self.broken.add if one.get("off") else self.broken.discard)(fault)
                if fault == "page_limit":
                    self.page_rows = one.get("rows")
                self.on_habit()
            elif fault == "delete":
                self.deleted |= set(one.get("ids", ()))
                self.on_delete()
            elif fault == "late":
                self.late = (float(one.get("rate", 0.01)), float(one.get("days", 3)))
                self.on_late()
            elif fault == "expire_token" and not {"rate", "after"} & one.keys():
                self.on_expire()
            elif fault in CALLS or fault in CHANGES or fault in SWITCHES:
                name = f"status {one.get('status', 503)}" if fault == "status" else str(fault)
                rate = float(one.get("rate", 0.0 if fault in CALLS or one.get("ids") else 1.0))
                calls = 0 if rate else int(one.get("calls", 1))
                ids = frozenset(map(str, one.get("ids", ())))
                self.armed[name] = Armed(calls, rate, int(one.get("after", 0)), one, ids)
            else:
                raise ValueError(f"fault {fault!r} is not known; known are {', '.join(KNOWN)}")

    def state(self) -> dict[str, Any]:
        """Return how many calls each fault still spoils, and the share of calls or dossiers for the others."""
        found: dict[str, Any] = {"html200": 0, "status": 0, "drop_rows": 0}
        for name, armed in self.armed.items():
            fault = name.partition(" ")[0]
            if armed.rate:
                found[name] = {"rate": armed.rate}
            elif fault in CALLS:
                found[fault] = found.get(fault, 0) + armed.calls
            else:
                found[name] = {"ids": len(armed.ids)}
        found |= dict.fromkeys(self.broken, "off")
        return found | ({"late": {"rate": self.late[0]}} if self.late[0] else {})

    def has(self, habit: str) -> bool:
        """Tell whether the system has a habit."""
        return habit not in self.broken

    def page_limit(self, own: int | None) -> int:
        """Return how many rows a page may hold where the system's own limit is `own`."""
        if not self.has("page_limit"):
            return 1 << 60
        return self.page_rows or own or 1 << 60

    def due(self, name: str) -> Armed | None:
        """Return the fault if it spoils this call."""
        if armed := self._struck(name):
            self.meet(name)
        return armed

    def meet(self, name: str) -> None:
        """Note that the call under way meets with something."""
        if (met := _MET.get(None)) is not None:
            met.append(name)

    def _struck(self, name: str) -> Armed | None:
        armed = self.armed.get(name)
        if armed is None:
            return None
        if armed.after:
            armed.after -= 1
            return None
        if armed.calls:
            armed.calls -= 1
            return armed
        if armed.rate and self._chance.random() < armed.rate:
            armed.calls = int(armed.options.get("burst", 1)) - 1
            return armed
        return None

    def rows(self, items: list[bytes]) -> list[bytes]:
        """Return the rows of a page, spoiled if asked for and if there are two or more."""
        self._pages += 1
        armed = self.armed.get("drop_rows")
        if armed is None or len(items) < 2 or (armed.rate and self._pages < 0):
            return items
        if self.due("drop_rows") is None:
            return items
        if armed.rate:
            self._pages = -PAGES_APART
        mode = armed.options.get("mode", "lose")
        if mode == "null_key" and self.dialect is not None:
            return [*items[:-1], orjson.dumps(orjson.loads(items[-1]) | {self.dialect.key: None})]
        return items[:-1] if mode == "lose" else [*items[:-1], items[0]]

    def early(self, scope: Scope) -> Answer | None:
        """Return an answer in place of the application's."""
        for hook in self.hooks:
            if answer := hook(scope):
                return answer
        for name, status in (("html200", 200), ("html403", 403)):
            if self.due(name):
                return status, REJECTED, [(b"content-type", b"text/html; charset=utf-8")]
        for name in [n for n in self.armed if n.startswith("status ")]:
            if armed := self.due(name):
                headers = [(b"content-type", b"application/json")]
                if armed.options.get("retry_after") is not None:
                    headers.append((b"retry-after", str(armed.options["retry_after"]).encode()))
                return int(armed.options.get("status", 503)), b'{"message":"try later"}', headers
        return None

    def changes(self, path: str) -> Callable[[bytes], bytes] | None:
        """Return what happens to the body of the answer to `path`, None for nothing."""
        dialect = self.dialect
        if dialect is None:
            return None
        if path == dialect.agencies:
            longer = self.armed.get("unit_names")
            if longer or not self.has("json_in_string"):
                return lambda body: self._listed(body, dialect, longer.rate if longer else 0.0)
            return None
        identifier = dialect.dossier(path)
        if identifier is None:
            return None
        chosen = []
        for name in CHANGES:
            armed = self.armed.get(name)
            if armed and (
                identifier in armed.ids or crc32(f"{name}:{identifier}".encode()) < armed.rate * 2**32
            ):
                chosen.append((CHANGES[name], armed.options))
        chosen += [(change, {}) for habit, change in WITHOUT.items() if habit in self.broken]
        return (lambda body: self._spoil(body, dialect, chosen)) if chosen else None

    def _spoil(self, body: bytes, dialect: Dialect, chosen: list[tuple[Change, dict[str, Any]]]) -> bytes:
        record = orjson.loads(body)
        since = received(record, dialect)
        for change, options in chosen:
            days = options.get("repaired_after")
            if days is None or since + days * 86_400 > self.now:
                change(record, dialect, options)
        return orjson.dumps(record)

    def plain_scores(self, body: bytes) -> bytes:
        """Return an answer of the index without the habits [10] and [11] that are off."""
        if self.has("zero_denominators") and self.has("provisional_denominators"):
            return body
        answer = orjson.loads(body)
        units = (answer["data"] or {}).get("evaluation") or []
        for metric in (
            m for u in [*units, (answer["data"] or {}).get("overview") or {}] for m in u.get("metrics", ())
        ):
            if not self.has("zero_denominators") and metric["denominator"] == 0:
                metric |= {"ratio": 0, "score": 0}
            if not self.has("provisional_denominators"):
                metric.pop("dataQualityStatus", None)
                metric.pop("dataQualityMessage", None)
        return orjson.dumps(answer)

    def _listed(self, body: bytes, dialect: Dialect, longer: float) -> bytes:
        page = orjson.loads(body)
        for row in page[dialect.rows]:
            if crc32(f"unit_names:{row[dialect.agency_code]}".encode()) < longer * 2**32:
                unit_names(row, dialect)
            if not self.has("json_in_string") and "metaData" in row:
                row["metaData"] = orjson.loads(row["metaData"])
        return orjson.dumps(page)


class FaultMiddleware:
    """ASGI middleware around the application; /__sandbox__ is never spoiled."""

    def __init__(self, app: Any, faults: Faults) -> None:
        self.app = app
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Answer with a fault in force, pass the call on and spoil its answer, or just pass it on."""
        if scope["type"] != "http" or scope["path"].startswith("/__sandbox__"):
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        self.faults.under_way += 1
        self.faults.most_at_once = max(self.faults.most_at_once, self.faults.under_way)
        met: list[str] = []
        _MET.set(met)
        try:
            await self._spoiled(scope, receive, send)
        finally:
            items = met.count("refuse_items")
            whole = sorted({*met} - {"refuse_items", "latency", "expire_token"})
            self.faults.met["+".join(whole)] += bool(whole)
            self.faults.met["expire_token"] += "expire_token" in met
            lost = {"late_answer", "drop_connection", "truncate"} & {*whole}
            self.faults.met["refuse_items, answer lost" if lost else "refuse_items"] += items
            self.faults.under_way -= 1
            self.faults.answered += 1
            self.faults.seconds += time.perf_counter() - began

    async def _spoiled(self, scope: Scope, receive: Any, send: Send) -> None:
        faults = self.faults
        if not (faults.armed or faults.hooks or faults.broken):
            await self.app(scope, receive, send)
            return
        if late := faults.due("latency"):
            await asyncio.sleep(float(late.options.get("ms", 200)) / 1000)
        if faults.due("expire_token"):
            faults.on_expire()
            if faults.armed["expire_token"].calls == 0 and not faults.armed["expire_token"].rate:
                del faults.armed["expire_token"]
        if answer := faults.early(scope):
            await _send(send, *answer)
            return
        drop, cut = faults.due("drop_connection"), faults.due("truncate")
        change = faults.changes(scope["path"])
        if not (drop or cut or change):
            await self.app(scope, receive, send)
            return
        start: dict[str, Any] = {}
        parts: list[bytes] = []

        async def hold(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                parts.append(message.get("body", b""))

        await self.app(scope, receive, hold)
        body = b"".join(parts)
        if change and start["status"] == 200:
            body = change(body)
        headers = [(k, v) for k, v in start["headers"] if k.lower() != b"content-length"]
        if cut:
            body = body[: len(body) // 2]
        if drop:
            # Announced whole and sent by half: the server closes a connection whose answer was not finished.
            length = [(b"content-length", str(len(body) + 1).encode())]
            await send(
                {"type": "http.response.start", "status": start["status"], "headers": headers + length}
            )
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            return
        await _send(send, start["status"], body, headers)


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
