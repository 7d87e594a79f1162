"""Old Đồng Tháp's dossier system, which speaks the OpenCPS 2 dialect [seen in the product's published source].

Offers what the documented interface offers: a list of dossiers by windows of whole days with `start` and `end`,
one dossier's detail, the dictionary of agencies; Basic sign-in and the header `groupId`. Its habits are the
product's: `start` past the end gives the last page once more (Liferay), a date it cannot read is no filter, no
`end` gives every row, names of applicants are in capitals, "" stands for no date, booleans are text.
`sandbox/README.md` lists which shapes were seen and which are guessed. It froze at the end of 30/6/2025.
"""

import base64
import os
import secrets
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import date, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.chance import F64, I64, bits, integer, keys_for, uniform
from sandbox.encode import MINISTRY_CODE, NEVER_NOTED, Encoder, _opinion, _text, dumps, moments
from sandbox.faults import Faults
from sandbox.generator import (
    DAY,
    FREEZE,
    NONE,
    NOT_ARRIVED,
    WORLDS,
    Block,
    codes,
    local_seconds,
    month_block,
    month_bounds,
)
from sandbox.igate import Store
from sandbox.people import DUMMY, Applicants
from sandbox.reference import communes, day_number, procedures
from sandbox.serving import HANOI, BadRequest, clock_routes, reply, serve
from sandbox.spoil import OPENCPS

WORLD = "dong_thap_cu"
BASE = "/o/rest/v2"
GROUP = "55217"
AGENCIES = f"{BASE}/dictcollections/GOVERNMENT_AGENCY/dictitems"
#: State of the generator -> name and words of the dialect; the names are the product's.
STATES = {
    1: ("waiting", "Chờ bổ sung"), 2: ("processing", "Đang xử lý"), 3: ("paying", "Chờ thực hiện nghĩa vụ tài chính"),
    4: ("releasing", "Chờ trả kết quả"), 5: ("done", "Đã trả kết quả"), 6: ("cancelled", "Đã rút hồ sơ"),
    8: ("unresolved", "Dừng xử lý"),
}  # fmt: skip
WINDOWS = ("Receive", "Due", "Release", "Finish")
# Q1 2024 (Báo Đồng Tháp 26/03/2024): 35.66 % of the dossiers with a fee paid it online; 841 services full (48.36 %)
# and 561 partial (32.26 %) of 1,739; fees halved online (NQ 39/2023 of the provincial council). Later: invented.
PAID_ONLINE_Q1, PAYS_ONLINE = 0.3566, 0.9
SERVICES, FULL, PARTIAL = 1739, 841, 561
FIRST_QUARTER = (202401, 202402, 202403)


@lru_cache(maxsize=1)
def service_levels() -> I64:
    """Return the level of each procedure of the list: 4 full, 3 partial, 2 information, 0 not listed in 2024."""
    p = procedures("H20")
    filed, capable = p.weight > 0, p.can[:, 1]
    # What is filed is listed, and what can be filed online is full or partial; the rest fills up the numbers.
    order = np.lexsort((uniform(keys_for("opencps", len(p.codes)), "listed"), ~filed, ~capable))
    online = order[: FULL + PARTIAL]
    mixed = online[np.argsort(uniform(keys_for("opencps", len(online)), "level"))]
    rest = order[FULL + PARTIAL :]
    # From the back, where the ones that are filed in person alone stand.
    rest = rest[np.lexsort((capable[rest], ~filed[rest]))]
    level = np.zeros(len(p.codes), np.int64)
    level[mixed[:FULL]], level[mixed[FULL:]] = 4, 3
    level[rest[: SERVICES - FULL - PARTIAL]] = 2
    return level


def charges(block: Block) -> I64:
    """Return the fee of each dossier in đồng, by its channel; certified copies are charged by the page."""
    p = procedures("H20")
    pages = (1 + 19 * uniform(block.key, "pages") ** 2).astype(np.int64)
    fee = p.fee[block.procedure, np.maximum(block.channel, 1) - 1]
    fee = np.where(p.per_page[block.procedure], fee * pages, fee)
    return np.where(block.channel == 2, fee // 2, fee)


@lru_cache(maxsize=1)
def _paying_below() -> float:
    """Return the chance below which just the published share of the first quarter's fees is paid online."""
    chances, owing = [], 0
    for month in FIRST_QUARTER:
        block = month_block(WORLD, month)
        fee = charges(block) > 0
        owing += int(fee.sum())
        chances.append(uniform(block.key, "pay")[fee & (block.channel == 2)])
    return float(
        np.partition(np.concatenate(chances), round(owing * PAID_ONLINE_Q1))[round(owing * PAID_ONLINE_Q1)]
    )


def paid_online(block: Block) -> np.ndarray:
    """Tell which dossiers of a block had their fee paid online."""
    early = block.accepted < day_number(date(2024, 4, 1)) * DAY
    below: F64 = (
        np.where(early, _paying_below(), PAYS_ONLINE) if early.any() else np.full(len(block), PAYS_ONLINE)
    )
    return (charges(block) > 0) & (block.channel == 2) & (uniform(block.key, "pay") < below)


def shown(moment: str) -> str:
    """Return a moment of the other dialect's JSON as `"dd/MM/yyyy HH:mm:ss"`; `""` where there is none."""
    if moment == "null":
        return '""'
    return f'"{moment[9:11]}/{moment[6:8]}/{moment[1:5]} {moment[12:20]}"'


def read_day(text: str | None) -> int | None:
    """Return the day number of dd/MM/yyyy; None for anything else, which the product ignores [seen]."""
    try:
        day, month, year = (int(part) for part in (text or "").split("/"))
        return day_number(date(year, month, day))
    except ValueError:
        return None


class OpenCPSEncoder(Encoder):
    """Encodes rows of old Đồng Tháp; identifiers are numbers that tell block and row."""

    def __init__(self) -> None:
        super().__init__(WORLD)
        p, c, listed = self.procedures, communes(), self.agencies
        levels = service_levels()
        self._service = [
            f'"serviceCode":"{p.codes[k]}","serviceName":{dumps(p.names[k])},"domainCode":"{p.sector_codes[k]}",'
            f'"domainName":{dumps(p.sectors[k])},"serviceLevel":{levels[k]}'
            for k in range(len(p.codes))
        ]
        self._place = [
            f'"cityCode":"87","cityName":"Tỉnh Đồng Tháp","districtCode":"{c.districts[i]}",'
            f'"districtName":{dumps(c.district_names[i])},"wardCode":"{c.codes[i]}","wardName":{dumps(c.names[i])}'
            for i in range(len(c.codes))
        ]
        self._names = [dumps(a.name) for a in listed]
        self._desk = [[dumps(name) for _, name in desk] for desk in self.officers]
        self.dictionary = [
            orjson.dumps({
                "dictItemId": 40_000 + i, "itemCode": a.code, "itemName": a.name, "itemNameEN": "",
                "itemDescription": a.name, "level": depth(listed, i), "sibling": i,
                "treeIndex": f"{40_000 + i}.",
                "parentItem": [] if a.parent < 0 else [
                    {"itemCode": listed[a.parent].code, "itemName": listed[a.parent].name, "itemNameEN": ""}],
                # JSON in a string, as the product keeps what its columns have no place for.
                "metaData": dumps({"level": a.level, "unitCode": a.unit_code}),
            })
            for i, a in enumerate(listed)
        ]  # fmt: skip

    def ids(self, number: int, block: Block, rows: I64) -> list[str]:
        """Return the identifiers of rows of a block: its position among the blocks, then the row."""
        first = (self.blocks.index(number) + 1) * 1_000_000
        return [str(first + r) for r in rows.tolist()]

    def locate(self, identifier: str) -> tuple[int, int] | None:
        """Return (block number, row) an identifier stands for."""
        if not (identifier.isascii() and identifier.isdecimal() and len(identifier) <= 9):
            return None
        at, row = divmod(int(identifier), 1_000_000)
        return (self.blocks[at - 1], row) if 1 <= at <= len(self.blocks) else None

    def encode(
        self, number: int, block: Block, rows: I64, now: int, whole: bool = True
    ) -> list[tuple[str, bytes, bytes]]:
        """Return (identifier, list item, detail) of rows of a block as seen at `now`; no detail unless `whole`."""
        b = block.take(rows)
        ids = self.ids(number, block, rows)
        code = codes(WORLD, b)
        states = b.state(now).tolist()
        who = Applicants(b.person, b.applicant, b.key, self.dummies)
        accepted, applied, due = (
            [shown(m) for m in moments(v)] for v in (b.accepted, b.applied, b.due(now))
        )  # fmt: skip
        done, returned = ([shown(m) for m in moments(v, now)] for v in (b.done, b.returned))
        clerk = integer(b.key, "clerk", len(self.officers[0])).tolist()
        expert = integer(b.key, "expert", len(self.officers[0])).tolist()
        national = uniform(b.key, "national").tolist()
        suffix = integer(b.key, "national suffix", 10_000).tolist()
        one, other = bits(b.key, "uuid").tolist(), bits(b.key, "uuid 2").tolist()
        fee, online_paid = charges(b).tolist(), paid_online(b).tolist()
        pay, how = uniform(b.key, "pay").tolist(), uniform(b.key, "pay how").tolist()
        vneid = (uniform(b.key, "vneid") < 0.85).tolist()
        waits = np.where((b.wait_from != NONE) & (b.wait_from <= now), b.waits, 0).tolist()
        started, ended, limits = self._step_times(b, now) if whole else ([], [], [])
        note = integer(b.key, "note", 12).tolist()
        paper = bits(b.key, "paper").tolist()
        share = np.where(b.accepted < day_number(date(2025, 1, 1)) * DAY, 0.66, 0.75)
        digitised = (uniform(b.key, "digitised") < share).tolist()
        final = np.where(b.done <= now, b.done, now) // DAY
        late = ((b.due(now) != NONE) & (final > b.due(now) // DAY)).tolist()
        out = []
        for i, (k, channel, receiving, responsible, commune, kind, state) in enumerate(zip(
            b.procedure.tolist(), b.channel.tolist(), b.receiving.tolist(), b.responsible.tolist(),
            b.commune.tolist(), b.applicant.tolist(), states, strict=True,
        )):  # fmt: skip
            n = int(self.procedures.steps[k])
            status, words = STATES[state]
            identity, phone, email = who.number[i], who.phone[i], who.email[i]
            subject = f"{self._title[k]} của {'ông/bà ' if kind == 1 else ''}{who.name[i]}"
            if note[i] == 7 and identity != DUMMY:
                subject += f", số giấy tờ {identity}"
            if note[i] == 8 and phone:
                subject += f", liên hệ {phone}"
            # [seen] another code at the national portal, or none yet.
            known = (
                ""
                if national[i] < NOT_ARRIVED
                else f"{code[i]}-{suffix[i]:04d}"
                if national[i] < 0.14
                else code[i]
            )
            uid = f"{one[i]:016x}{other[i]:016x}"
            item = (
                f'{{"dossierId":{ids[i]},"groupId":{GROUP},"referenceUid":"{uid[:8]}-{uid[8:12]}-{uid[12:16]}-'
                f'{uid[16:20]}-{uid[20:]}","dossierIdCTN":"{known}","dossierNo":"{code[i]}",{self._service[k]},'
                f'"govAgencyCode":"{self.agencies[responsible].code}","govAgencyName":{self._names[responsible]},'
                f'"applicantName":"{who.name[i].upper()}","applicantIdType":"{"citizen" if kind == 1 else "business"}",'
                f'"applicantIdNo":"{identity}","address":"{who.address[i]}",{self._place[commune]},'
                f'"contactTelNo":"{phone or ""}","contactEmail":"{email or ""}","dossierNote":"{subject}",'
                f'"submitDate":{applied[i]},"receiveDate":{accepted[i]},"dueDate":{due[i]},"releaseDate":{done[i]},'
                f'"finishDate":{returned[i] if state == 5 else _EMPTY},"extendDate":"",'
                f'"cancellingDate":{done[i] if state == 6 else _EMPTY},"dossierStatus":"{status}",'
                f'"dossierStatusText":"{words}","dossierSubStatus":"","dossierSubStatusText":"",'
                f'"dossierOverdue":"{"Quá hạn" if late[i] else ""}","online":"{"true" if channel == 2 else "false"}",'
                f'"viaPostal":"{2 if channel == 3 else 0}","fromViaPostal":{1 if channel == 3 else 0},'
                f'"originality":3,"systemId":1'
            )
            if not whole:
                out.append((ids[i], f"{item}}}".encode(), b""))
                continue
            passed = self._codes(n, started[i], ended[i], state)
            said = [_opinion(j, n, c, who, i, note[i]) for j, c in enumerate(passed)]
            steps = self._sequence(n, receiving, responsible, clerk[i], expert[i], started[i], ended[i], limits[i],
                                   passed, said)  # fmt: skip
            paid_by = 1 if how[i] < 0.8 else 2 if how[i] < 0.99 else 3
            papers = self._files(ids[i], k, channel, state, digitised[i], paper[i], who.slug[i])
            payments = self._payments(
                k, channel, fee[i], online_paid[i], pay[i], how[i], accepted[i], done[i]
            )
            detail = (
                f'{item},"receiveAgencyCode":"{self.agencies[receiving].code}","receiveAgencyName":'
                f'{self._names[receiving]},"receiveUser":{self._desk[receiving][clerk[i]]},'
                f'"applicantBirthDate":"{who.birthday[i] or ""}","vneidVerified":'
                f'"{"true" if vneid[i] and kind == 1 else "false"}","correctingCount":{waits[i]},'
                f'"onlinePayment":"{paid_by if online_paid[i] else 0}","sequences":[{steps}],"files":[{papers}],'
                f'"payments":[{payments}]}}'
            )
            out.append((ids[i], f"{item}}}".encode(), detail.encode()))
        return out

    @staticmethod
    def _codes(n: int, started: list[str], ended: list[str], state: int) -> list[int]:
        """Return the state in which each step that has begun left the dossier."""
        codes = []
        for j in range(n):
            if started[j] == "null":
                break
            running = ended[j] == "null"
            if j == n - 1:
                codes.append(4 if running else 5)
            elif not running and state in (6, 8) and j == n - 2:
                codes.append(state)
            else:
                codes.append(state if running and state in (1, 3) else 2)
        return codes

    def _sequence(self, n: int, receiving: int, responsible: int, clerk: int, expert: int, started: list[str],
                  ended: list[str], due: list[str], states: list[int], opinions: list[str]) -> str:  # fmt: skip
        """Return the steps that have begun."""
        out = []
        for j, (state, said) in enumerate(zip(states, opinions, strict=True)):
            desk = j in (0, n - 1)
            agency = receiving if desk else responsible
            out.append(
                f'{{"sequenceNo":"{j + 1}","sequenceName":{self._step_name[n][j]},"govAgencyCode":'
                f'"{self.agencies[agency].code}","actionUser":{self._desk[agency][clerk if desk else expert]},'
                f'"startDate":{shown(started[j])},"dueDate":{shown(due[j])},"endDate":{shown(ended[j])},'
                f'"dossierStatus":"{STATES[state][0]}","actionNote":{_EMPTY if said == "null" else said}}}'
            )
        return ",".join(out)

    def _payments(self, k: int, channel: int, amount: int, online: bool, pay: float, how: float, accepted: str,
                  done: str) -> str:  # fmt: skip
        """Return the fee, if any: paid online at once, in cash or by transfer, not yet, or never noted as paid."""
        if not amount:
            return ""
        method, paid = "", _EMPTY
        if online:
            method, paid = "Keypay", accepted
        elif channel != 2 and pay < 0.9:
            method, paid = ("Tiền mặt" if how < 0.8 else "Chuyển khoản"), accepted
        elif done != _EMPTY and pay < NEVER_NOTED:
            method, paid = ("Tiền mặt" if how < 0.7 else "Chuyển khoản"), done
        kind = 2 if k % 3 else 1
        return (
            f'{{"paymentNo":1,"feeType":{kind},"paymentFee":"{"Lệ phí" if kind == 2 else "Phí"} giải quyết thủ tục",'
            f'"feeAmount":{amount},"paymentMethod":"{method}","paymentStatus":{2 if method else 0},'
            f'"confirmDatetime":{paid}}}'
        )

    def _files(self, identifier: str, k: int, channel: int, state: int, digitised: bool, chance: int,
               slug: str) -> str:  # fmt: skip
        """Return the papers: handed in (type 1) and, once there is one, the result (type 2)."""
        ministry = self.procedures.ministry[k]
        titles = self._papers.get(ministry, self._papers["bo-tu-phap"])
        count = 1 + (k + chance) % 3
        rows = []
        for j in range(count):
            piece = (chance >> (8 + 8 * j)) & 0xFF
            held = digitised if channel != 2 else piece < 250
            at = (k + j) % len(titles)
            code = f"000.00.00.{MINISTRY_CODE.get(ministry, 'G22')}-KQ{1000 + (k * 7 + j) % 9000}"
            rows.append((1, code, titles[at], held, piece < 44, 30 <= piece < 60, f"giay_to_{at + 1}"))
        if state in (4, 5):
            title, code = self._result[k]
            rows.append((2, code, title, (chance >> 40) & 0xFF < 226, False, False, "ket_qua"))
        return ",".join(
            f'{{"dossierPartNo":"{j}","dossierPartType":{kind},"fileTemplateNo":{_text(code)},"dossierPartName":{title},'
            f'"digitised":"{int(held)}","reused":"{int(reused)}","fromStorage":"{int(stored)}",'
            f'"displayName":"{f"{name}_{slug}.pdf" if held else ""}",'
            f'"fileUrl":"{f"/documents/{identifier}/{j}" if held else ""}"}}'
            for j, (kind, code, title, held, reused, stored, name) in enumerate(rows, 1)
        )


_EMPTY = '""'


def depth(listed: list[Any], i: int) -> int:
    """Return how many agencies stand above the one at position `i`."""
    above = 0
    while listed[i].parent >= 0:
        i, above = listed[i].parent, above + 1
    return above


class Register(Store):
    """The dossiers of old Đồng Tháp as its list finds them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Kept apart and for good: a list is read once for each window, and a year of items is 300 MB.
        self.items: dict[tuple[int, int], bytes] = {}

    def turn(self, now: int) -> None:
        """Set the clock; what was encoded as of another moment is forgotten."""
        super().turn(now)
        self.items.clear()

    def page(self, numbers: list[int], rows: list[int]) -> list[bytes]:
        """Return the list items of rows given as (block number, row), encoding together what is missing."""
        missing: dict[int, list[int]] = {}
        for place in zip(numbers, rows, strict=True):
            if place not in self.items:
                missing.setdefault(place[0], []).append(place[1])
        encoder: OpenCPSEncoder = self.encoder  # type: ignore[assignment]
        for n, wanted in missing.items():
            done = encoder.encode(n, self.block(n), np.array(wanted, dtype=np.int64), self.now, whole=False)
            self.items.update(((n, r), item) for r, (_, item, _) in zip(wanted, done, strict=True))
        return [self.items[place] for place in zip(numbers, rows, strict=True)]

    def detail(self, number: int, row: int) -> bytes:
        """Return a detail; the next listed rows are encoded with it, for they are asked for next."""
        if (number, row) not in self.cache:
            near = [r for r in range(row + 1, row + 4_000) if (number, r) in self.items]
            rows = [row, *[r for r in near if (number, r) not in self.cache][:199]]
            self.fetch([number] * len(rows), rows)
        return self.cache[(number, row)][1]

    def _search(self, query: dict[str, str]) -> tuple[I64, I64]:
        e = self.encoder
        spans = {w: (read_day(query.get(f"from{w}Date")), read_day(query.get(f"to{w}Date"))) for w in WINDOWS}
        states = [s for s, (name, _) in STATES.items() if name in query.get("status", "").split(",")]
        wanted = {
            "agency": [i for i, a in enumerate(e.agencies) if a.code in query.get("agency", "").split(",")],
            "service": [k for k, c in enumerate(e.procedures.codes) if c == query.get("service")],
            "domain": [k for k, c in enumerate(e.procedures.sector_codes) if c == query.get("domain")],
        }
        numbers, rows, order = [], [], []
        for n in e.blocks:
            low, high = spans["Receive"]
            first, past = month_bounds(n)
            if (high is not None and first > high) or (low is not None and past <= low):
                continue
            b = self.block(n)
            far = np.int64(1 << 60)
            moment = {
                "Receive": b.accepted,
                "Due": np.where(b.due(self.now) == NONE, far, b.due(self.now)),
                "Release": np.where(b.done <= self.now, b.done, far),
                "Finish": np.where((b.returned <= self.now) & (b.ending == 0), b.returned, far),
            }
            keep = b.accepted <= self.now
            for w, (low, high) in spans.items():
                if low is not None:
                    keep &= (moment[w] >= low * DAY) & (moment[w] < far)
                if high is not None:
                    keep &= moment[w] < (high + 1) * DAY
            if query.get("status"):
                keep &= np.isin(b.state(self.now), states)
            for name, values in (
                ("agency", b.responsible),
                ("service", b.procedure),
                ("domain", b.procedure),
            ):
                if query.get(name):
                    keep &= np.isin(values, wanted[name])
            if query.get("online"):
                keep &= (b.channel == 2) == (query["online"] == "true")
            keep[self.gone.get(n, [])] = False
            keep &= self.arrived(b)
            found = np.flatnonzero(keep)
            if query.get("dossierNo"):
                found = found[[c == query["dossierNo"] for c in codes(WORLD, b.take(found))]]
            numbers.append(np.full(len(found), n, np.int64))
            rows.append(found)
            order.append(
                moment.get(query.get("sort", "").removesuffix("Date").capitalize(), b.accepted)[found]
            )
        if not numbers:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        value = np.concatenate(order)
        ranked = np.argsort(-value if query.get("order") == "true" else value, kind="stable")
        return np.concatenate(numbers)[ranked], np.concatenate(rows)[ranked]


def cut(query: dict[str, str], total: int) -> slice:
    """Return the rows `start` to `end` of a list as Liferay gives them; no `end` gives all, past the end the last."""
    try:
        start, end = int(query.pop("start", None) or 0), int(query.pop("end", None) or 0)
    except ValueError:
        raise BadRequest("start and end must be numbers") from None
    if end == 0:
        return slice(0, total)
    if end <= start or start < 0:
        return slice(0, 0)
    while 0 < total <= start:
        start, end = max(0, (start // (end - start) - 1) * (end - start)), start
    return slice(start, min(end, total))


def create_app(client_id: str, client_secret: str, now: datetime | None = None) -> FastAPI:
    """Return the application; its clock `now` never passes 30/6/2025 23:59:59, when the system froze."""
    store = Register(
        OpenCPSEncoder(), min(local_seconds(now), FREEZE) if now else FREEZE,
        int(os.environ.get("SANDBOX_CACHE_MB", "300")) << 20,
    )  # fmt: skip
    encoder: OpenCPSEncoder = store.encoder  # type: ignore[assignment]
    clock = local_seconds(now) if now else local_seconds(datetime(2025, 12, 31, 23, 59, 59, tzinfo=HANOI))
    faults = store.faults = Faults(OPENCPS, clock)
    faults.on_late = store.found.clear
    faults.on_habit = store.without_dummies
    faults.on_delete = lambda: store.delete(faults.deleted)
    signed = b"Basic " + base64.b64encode(f"{client_id}:{client_secret}".encode())

    def refused(headers: list[tuple[bytes, bytes]]) -> bytes | None:
        """Return why a caller is refused, or None."""
        given = dict(headers)
        if not secrets.compare_digest(given.get(b"authorization", b""), signed):
            return b'{"code":401,"description":"Non-Authoritative Information"}'
        return None

    def listing(
        request: Request, total: int, items: Callable[[slice], list[bytes]], query: dict[str, str]
    ) -> Response:
        # [seen] the header chooses the site; another site has no dossiers.
        if request.headers.get("groupid") != GROUP:
            return reply(b'{"total":0,"data":[]}')
        found = cut(query, total)
        part = faults.rows(items(slice(found.start, min(found.stop, found.start + faults.page_limit(None)))))
        return reply(b'{"total":' + str(total).encode() + b',"data":[' + b",".join(part) + b"]}")

    async def dossiers(request: Request) -> Response:
        if why := refused(request.scope["headers"]):
            return reply(why, 401)
        query = dict(parse_qsl(request.scope["query_string"].decode()))
        try:
            paging = {k: query.pop(k) for k in ("start", "end") if k in query}
            which, rows = store.search(query)
            return listing(
                request, len(rows),
                lambda s: store.page(which[s].tolist(), rows[s].tolist()), paging,
            )  # fmt: skip
        except BadRequest as error:
            return reply(orjson.dumps({"message": str(error)}), 400)

    async def agencies(request: Request) -> Response:
        if why := refused(request.scope["headers"]):
            return reply(why, 401)
        try:
            query = dict(request.query_params)
            return listing(request, len(encoder.dictionary), lambda s: encoder.dictionary[s], query)
        except BadRequest as error:
            return reply(orjson.dumps({"message": str(error)}), 400)

    def detail(identifier: str) -> tuple[int, bytes]:
        place = encoder.locate(identifier)
        if place:
            number, row = place
            whole = store.block(number)
            there = row < len(whole) and row not in store.gone.get(number, ())
            if there and whole.accepted[row] <= store.now:
                return 200, store.detail(number, row)
        return 404, b'{"code":404,"description":"Not Found"}'

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        for number in encoder.blocks[-2:]:
            store.block(number)
        yield

    routes = [
        Route(f"{BASE}/dossiers", dossiers, methods=["GET"]),
        Route(AGENCIES, agencies, methods=["GET"]),
        *clock_routes(faults, store, WORLDS[WORLD].freeze, "ReceiveDate"),
    ]
    quick = {"within": (f"{BASE}/dossiers/", ""), "find": detail, "refused": refused}
    return serve("OpenCPS sandbox: old Đồng Tháp", routes, faults, quick, lifespan=lifespan)
