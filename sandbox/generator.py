"""Invented dossiers of three provincial worlds, one month at a time, always the same.

`tien_giang` is Tiền Giang's system (2020-01-01 to 2020-04-13, 2024, and 2025 until it froze on 30 June);
`dong_thap` is the system of the new Đồng Tháp from 1/7/2025, which also holds what was then open in Tiền Giang
and in old Đồng Tháp (`dong_thap_cu`, which the OpenCPS server plays). Numbers of dossiers are calibrated by
published figures: 158,485 received in Tiền Giang in the first 104 days of 2020 (ICTVietnam 17/09/2021); 184,457
received and 125,174 of them online in old Đồng Tháp in 2024 (CAND 2024), 51.91 % online in its first quarter
(Báo Đồng Tháp 26/03/2024); about 37,000 received and 27,000 of them online in the new Đồng Tháp in its first 21
days (baoxaydung.vn 26/07/2025).

All times are local seconds since 1970-01-01 00:00 Asia/Ho_Chi_Minh; -1 means "none".
"""

from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.chance import F64, I64, U64, bits, exponential, integer, keys_for, salt, uniform
from sandbox.reference import (
    AFTERNOON,
    DAY,
    EPOCH,
    HALF,
    MORNING,
    WORK_DAY,
    Agency,
    agencies_new,
    agencies_old,
    calendar,
    communes,
    day_number,
    procedures,
)

SEED = "kho-chung-1"
MERGER = day_number(date(2025, 7, 1)) * DAY
FREEZE = MERGER - 1
NONE = -1
FAR = day_number(date(2027, 10, 1)) * DAY

# Dossier states of the iGate dialect.
#: Share of dossiers that have not reached the national portal.
NOT_ARRIVED = 0.06
SUPPLEMENT, PROCESSING, PAUSED, RESULT, RETURNED, WITHDRAWN, STOPPED, REJECTED = 1, 2, 3, 4, 5, 6, 8, 9
OPEN_STATES = (SUPPLEMENT, PROCESSING, PAUSED)

PEOPLE = {82: (0, 900_000), 87: (900_000, 850_000)}
WEEKDAY = np.array([1.16, 1.06, 1.0, 0.97, 0.86, 0.45, 0.4])
MONTH = np.array([0, 1.0, 0.92, 1.1, 1.02, 1.0, 1.02, 1.0, 1.03, 1.0, 0.98, 0.97, 0.95])


@dataclass(frozen=True)
class World:
    """What is special about one provincial system."""

    name: str
    number: int
    suffix: str
    periods: tuple[tuple[date, date], ...]
    calibration: tuple[date, date, int]
    online_share: dict[int, float]
    digitised_share: dict[int, float]
    provinces: tuple[tuple[int, float], ...]
    freeze: int = FAR
    takes_over: tuple[str, ...] = ()
    #: (first month, last month, dossiers filed online in them), where such a number was published.
    online_exactly: tuple[tuple[int, int, int], ...] = ()
    #: Share of online filings refused at the desk; 0 where a system gives those no date of receipt.
    refusals: float = 0.013

    @property
    def merged(self) -> bool:
        """Whether agencies are those of after 1/7/2025."""
        return bool(self.takes_over)


WORLDS = {
    "tien_giang": World(
        "tien_giang", 1, "H58",
        ((date(2020, 1, 1), date(2020, 4, 13)), (date(2024, 1, 1), date(2025, 6, 30))),
        (date(2020, 1, 1), date(2020, 4, 13), 158_485),
        {2020: 0.17, 2024: 0.6, 2025: 0.67}, {2020: 0.2, 2024: 0.66, 2025: 0.77},
        ((82, 1.0),), FREEZE,
    ),
    "dong_thap_cu": World(
        "dong_thap_cu", 2, "H20", ((date(2024, 1, 1), date(2025, 6, 30)),),
        (date(2024, 1, 1), date(2024, 12, 31), 184_457),
        {2025: 0.73}, {2024: 0.66, 2025: 0.75}, ((87, 1.0),), FREEZE,
        # 51.91 % of the 41,786 received in the first quarter; 125,174 in the whole year.
        online_exactly=((202401, 202403, 21_691), (202404, 202412, 103_483)), refusals=0.0,
    ),
    "dong_thap": World(
        "dong_thap", 3, "H20", ((date(2025, 7, 1), date(2025, 12, 31)),),
        (date(2025, 7, 1), date(2025, 7, 21), 37_000),
        {2025: 27 / 37}, {2025: 0.83}, ((82, 0.52), (87, 0.48)), FAR, ("tien_giang", "dong_thap_cu"),
    ),
}  # fmt: skip


# Kept in the smallest type that holds them: a year must fit in memory.
Small = NDArray[Any]


@dataclass
class Block:
    """Dossiers of one month (or the migrated ones) as parallel arrays, ordered by `accepted`.

    `origin` is the number of the world the row was drawn in, `previous` the code it had there ("" if native).
    """

    key: U64
    origin: Small
    procedure: Small
    channel: Small
    applied: I64
    accepted: I64
    due_first: I64
    due_last: I64
    wait_from: I64
    wait_to: I64
    is_pause: NDArray[np.bool_]
    waits: Small
    done: I64
    returned: I64
    ending: Small
    receiving: Small
    responsible: Small
    commune: Small
    person: Small
    applicant: Small
    sequence: Small
    code_day: Small
    code_agency: Small
    previous: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.key)

    def take(self, index: NDArray[np.int64]) -> "Block":
        """Return a block of the chosen rows."""
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "previous"}
        return Block(**arrays, previous=[self.previous[i] for i in index.tolist()] if self.previous else [])

    def state(self, now: int) -> I64:
        """Return the dossier state at `now` for rows already accepted by then."""
        waiting = (self.wait_from != NONE) & (self.wait_from <= now) & (now < self.wait_to)
        state = np.where(waiting, np.where(self.is_pause, PAUSED, SUPPLEMENT), PROCESSING)
        finished = np.where(self.ending == 0, np.where(self.returned <= now, RETURNED, RESULT), self.ending)
        return np.where(self.done <= now, finished, state)

    def due(self, now: int) -> I64:
        """Return the date of appointment as it stands at `now`: waiting for the applicant postpones it."""
        return np.where((self.wait_from != NONE) & (self.wait_to <= now), self.due_last, self.due_first)


@lru_cache(maxsize=8)
def agencies(world: str) -> list[Agency]:
    """Return the agencies a world knows."""
    if world == "tien_giang":
        return agencies_old("H58", 82, "tỉnh Tiền Giang", "82")
    if world == "dong_thap_cu":
        return agencies_old("H20", 87, "tỉnh Đồng Tháp", "87")
    return agencies_new()


class Places:
    """Lookup arrays from departments, communes and districts to positions in a world's agency list."""

    def __init__(self, world: World) -> None:
        listed = agencies(world.name)
        c = communes()
        self.department: dict[str, int] = {}
        self.centre = next(i for i, a in enumerate(listed) if a.name.startswith("Trung tâm Phục vụ"))
        by_unit = {a.unit_code: i for i, a in enumerate(listed) if a.level in ("COMMUNE", "DISTRICT")}
        for i, a in enumerate(listed):
            if a.level == "DEPARTMENT" and i != self.centre:
                self.department[a.code.split(".")[1] if world.merged else a.code.split(".")[2]] = i
        if world.merged:
            home = [by_unit[c.new_codes[s]] for s in c.successor]
            seat = home
        else:
            home = [by_unit.get(code, 0) for code in c.codes]
            seat = [by_unit.get(code, 0) for code in c.districts]
        self.home = np.array(home, dtype=np.int64)
        self.seat = np.array(seat, dtype=np.int64)
        self.communes = np.array([i for i, a in enumerate(listed) if a.level == "COMMUNE"], dtype=np.int64)


@lru_cache(maxsize=8)
def places(world: str) -> Places:
    """Return the lookup arrays of a world."""
    return Places(WORLDS[world])


@lru_cache(maxsize=64)
def day_counts(world: str, period: int) -> I64:
    """Return the number of dossiers received on each day of a period of a world.

    Cumulative rounding makes the calibration window's total exact.
    """
    w = WORLDS[world]
    start, end = w.periods[period]
    lo, hi, total = w.calibration
    scale = total / _weights(w, lo, hi).sum()
    cumulative = np.floor(np.cumsum(_weights(w, start, end) * scale) + 0.5).astype(np.int64)
    return np.diff(cumulative, prepend=0)


def _weights(world: World, start: date, end: date) -> F64:
    """Return relative numbers of dossiers by day: weekday, month, Tết, closed days, and some noise."""
    days = np.arange(day_number(start), day_number(end) + 1, dtype=np.int64)
    working = calendar().is_working(days)
    weight = WEEKDAY[(days + 3) % 7] * working
    months = np.array([(EPOCH.toordinal() + int(d)) for d in days])
    weight *= MONTH[np.array([date.fromordinal(int(m)).month for m in months])]
    for offset, factor in ((1, 1.18), (2, 1.1), (3, 1.05)):  # people come back after several closed days
        closed = ~calendar().is_working(days - offset) & ~calendar().is_working(days - 3)
        weight *= np.where(closed & calendar().is_working(days), 1 + (factor - 1) * 0.5, 1)
    first = calendar().first
    tet = [day_number(d) for d in (date(2020, 1, 25), date(2024, 2, 10), date(2025, 1, 29))]
    for t in tet:
        near = np.abs(days - t)
        weight *= np.where((near < 12) & (days < t), 0.72, 1.0) * np.where(
            (near < 14) & (days > t), 0.78, 1.0
        )
    keys = keys_for(f"{SEED}:{world.name}:day", len(days), int(days[0] - first))
    return weight * (0.92 + 0.16 * uniform(keys, "noise"))


def months(world: str) -> list[int]:
    """Return the months (yyyymm) in which a world received dossiers."""
    found = []
    for start, end in WORLDS[world].periods:
        m = start.year * 100 + start.month
        while m <= end.year * 100 + end.month:
            found.append(m)
            m = m + 1 if m % 100 < 12 else m + 89
    return found


def month_bounds(month: int) -> tuple[int, int]:
    """Return the first and the last-plus-one day number of a month (yyyymm)."""
    y, m = divmod(month, 100)
    following = date(y + m // 12, m % 12 + 1, 1)
    return day_number(date(y, m, 1)), day_number(following)


def _received(world: str, month: int) -> tuple[I64, I64]:
    """Return the days of a month on which a world received dossiers, and how many on each."""
    w = WORLDS[world]
    period = next(i for i, (a, b) in enumerate(w.periods)
                  if a.year * 100 + a.month <= month <= b.year * 100 + b.month)  # fmt: skip
    start = day_number(w.periods[period][0])
    low, high = month_bounds(month)
    counts = day_counts(world, period)
    days = np.arange(max(low, start), min(high, start + len(counts)), dtype=np.int64)
    return days, counts[days - start]


def _keys(world: str, month: int) -> U64:
    return keys_for(f"{SEED}:{world}:{month}", int(_received(world, month)[1].sum()))


def _procedure(w: World, key: U64) -> I64:
    p = procedures(w.suffix)
    found = np.searchsorted(np.cumsum(p.weight), uniform(key, "procedure"), side="right")
    return np.minimum(found, len(p.codes) - 1)


@lru_cache(maxsize=8)
def _online_below(world: str, first: int, last: int, count: int) -> float:
    """Return the chance below which just `count` dossiers of these months are online, of those that can be."""
    w = WORLDS[world]
    capable = procedures(w.suffix).can[:, 1]
    chances = []
    for month in months(world):
        if first <= month <= last:
            key = _keys(world, month)
            chances.append(uniform(key, "online")[capable[_procedure(w, key)]])
    return float(np.partition(np.concatenate(chances), count)[count])


def _online(w: World, key: U64, procedure: I64, month: int) -> NDArray[np.bool_]:
    """Tell which dossiers are filed online: where the procedure allows it, in the province's published share."""
    p = procedures(w.suffix)
    capable = p.can[:, 1]
    below = min(0.995, w.online_share.get(month // 100, 0) / float(p.weight[capable].sum()))
    for first, last, count in w.online_exactly:
        if first <= month <= last:
            below = _online_below(w.name, first, last, count)
    return capable[procedure] & (uniform(key, "online") < below)


def person_commune(person: I64) -> I64:
    """Return the old commune (index in `communes()`) in which each person lives."""
    c = communes()
    out = np.zeros(len(person), np.int64)
    u = uniform(mix_person(person), "commune")
    for province, (start, size) in PEOPLE.items():
        mine = np.flatnonzero(c.province == province)
        cdf = np.cumsum(c.share[mine]) / c.share[mine].sum()
        chosen = (person >= start) & (person < start + size)
        out[chosen] = mine[np.minimum(np.searchsorted(cdf, u[chosen], side="right"), len(mine) - 1)]
    return out


def mix_person(person: I64) -> U64:
    """Return the key from which everything about a person is drawn."""
    return bits(person.astype(np.uint64), f"{SEED}:person")


@lru_cache(maxsize=40)
def month_block(world: str, month: int) -> Block:
    """Return the dossiers a world received in a month, without migrated ones."""
    days, counts = _received(world, month)
    key = _keys(world, month)
    day = np.repeat(days, counts)

    u = uniform(key, "hour")
    # Two humps: after opening, and after lunch.
    late = HALF + (np.maximum(u - 0.6, 0) / 0.4) ** 1.2 * HALF
    share = np.where(u < 0.6, (u / 0.6) ** 1.25 * HALF, late).astype(np.int64)
    accepted = day * DAY + np.where(share < HALF, MORNING + share, AFTERNOON + share - HALF)
    order = np.lexsort((key, accepted))
    return _draw(WORLDS[world], key[order], accepted[order], day[order], month)


def _draw(w: World, key: U64, accepted: I64, day: I64, month: int) -> Block:
    p = procedures(w.suffix)
    cal = calendar()
    n, year = len(key), month // 100
    procedure = _procedure(w, key)
    online = _online(w, key, procedure, month)
    post = ~online & p.can[procedure, 2] & (uniform(key, "post") < 0.06)
    channel = np.where(online, 2, np.where(post, 3, 1))
    term = channel - 1

    # Time limits in the procedure's own unit.
    unit, amount = p.unit[procedure, term], p.amount[procedure, term]
    second = accepted % DAY
    whole = np.maximum(np.ceil(amount), 1).astype(np.int64)
    due = np.full(n, NONE, dtype=np.int64)
    due = np.where(unit == 1, cal.add_working_days(day, whole) * DAY + second, due)
    due = np.where(unit == 2, cal.next_working(day + whole) * DAY + second, due)
    work = cal.to_work(accepted)
    due = np.where(unit == 3, cal.from_work(work + (amount * 3600).astype(np.int64)), due)
    ahead = np.where(unit == 4, whole, 0).astype("timedelta64[M]")
    in_months = accepted.astype("datetime64[s]").astype("datetime64[M]") + ahead
    of_month = (accepted.astype("datetime64[s]").astype("datetime64[D]")
                - accepted.astype("datetime64[s]").astype("datetime64[M]")).astype(np.int64)  # fmt: skip
    far_day = in_months.astype("datetime64[D]").astype(np.int64) + np.minimum(of_month, 27)
    due = np.where(unit == 4, cal.next_working(far_day) * DAY + second, due)
    due = np.where(uniform(key, "no due") < 0.003, NONE, due)

    # Processing, in office time: about two in a hundred end late, a few very late.
    allowed = np.where(due == NONE, 3 * WORK_DAY, cal.to_work(np.maximum(due, accepted)) - work)
    used = uniform(key, "speed")
    part = 0.12 + 0.86 * np.maximum(used, uniform(key, "speed 2"))
    late = uniform(key, "late") < 0.019
    stuck = uniform(key, "stuck") < 0.0012
    over = 1 + exponential(key, "over", 0.35)
    spent = np.where(late, allowed * over + 1800, allowed * part).astype(np.int64)
    spent = np.where(stuck, allowed + exponential(key, "stuck for", 60).astype(np.int64) * WORK_DAY, spent)
    spent = np.maximum(spent, 600)

    # Waiting for the applicant (papers, or tax on land) stops the clock.
    pause = p.is_land[procedure] & (uniform(key, "duty") < 0.16)
    asked = ~pause & (uniform(key, "supplement") < 0.034)
    wait = pause | asked
    wait_from = np.where(wait, cal.from_work(work + (spent * 0.4).astype(np.int64)), NONE)
    days_out = 1 + exponential(key, "wait", 4.0)
    wait_work = np.where(wait, (days_out * WORK_DAY).astype(np.int64), 0)
    wait_to = np.where(wait, cal.from_work(work + (spent * 0.4).astype(np.int64) + wait_work), NONE)
    due_last = np.where(wait & (due != NONE), cal.from_work(cal.to_work(np.maximum(due, 0) + (due == NONE) *
                        accepted) + wait_work), due)  # fmt: skip
    done = cal.from_work(work + spent + wait_work)

    # Endings.
    fate = uniform(key, "fate")
    rejected = online & (fate < w.refusals)
    withdrawn = (fate >= 0.013) & (fate < 0.021)
    stopped = (fate >= 0.021) & (fate < 0.0245)
    ending = np.where(rejected, REJECTED, np.where(withdrawn, WITHDRAWN, np.where(stopped, STOPPED, 0)))
    quick = cal.from_work(work + exponential(key, "refusal", 0.4 * WORK_DAY).astype(np.int64) + 300)
    done = np.where(rejected, quick, done)
    wait_from, wait_to = np.where(rejected, NONE, wait_from), np.where(rejected, NONE, wait_to)
    due_last = np.where(rejected, due, due_last)
    wait, pause = wait & ~rejected, pause & ~rejected
    lag = exponential(key, "collect", 0.5 * WORK_DAY) * np.where(uniform(key, "slow") < 0.15, 8, 1)
    returned = cal.from_work(cal.to_work(done) + lag.astype(np.int64) + 60)
    # Some results are never fetched; the system keeps them as "has a result".
    returned = np.where((uniform(key, "never") < 0.006) & (year != 2020), FAR, returned)
    returned = np.where(ending != 0, FAR, returned)
    waits = np.where(wait & ~pause, 1 + (uniform(key, "twice") < 0.14), 0)
    applied = accepted - (exponential(key, "queue", 5 * 3600) * online).astype(np.int64) - 60 * (~online)

    # Who: a person of the province, or an enterprise.
    person = np.zeros(n, np.int64)
    at = uniform(key, "province")
    floor = 0.0
    for province, weight in w.provinces:
        first, size = PEOPLE[province]
        chosen = (at >= floor) & (at < floor + weight + 1e-9)
        person = np.where(chosen, first + integer(key, "person", size), person)
        floor += weight
    commune = person_commune(person)
    enterprise = uniform(key, "enterprise") < p.enterprise[procedure]
    kind = uniform(key, "kind")
    applicant = np.where(enterprise, 2, np.where(kind < 0.004, 3, np.where(kind < 0.014, 4, 1)))

    responsible, receiving = _agencies(w, key, procedure, commune)
    missing = uniform(key, "channel lost") < 0.004  # counts as direct at the national portal
    receiving = receiving.astype(np.int16)
    block = Block(
        key=key, origin=np.full(n, w.number, np.int8), procedure=procedure.astype(np.int16),
        channel=np.where(missing & (channel == 1), 0, channel).astype(np.int8), applied=applied,
        accepted=accepted, due_first=due, due_last=due_last, wait_from=wait_from, wait_to=wait_to,
        is_pause=pause, waits=waits.astype(np.int8), done=done, returned=returned,
        ending=ending.astype(np.int8), receiving=receiving, responsible=responsible.astype(np.int16),
        commune=commune.astype(np.int16), person=person.astype(np.int32), applicant=applicant.astype(np.int8),
        sequence=_sequence(receiving, day).astype(np.int32), code_day=day.astype(np.int32),
        code_agency=receiving,
    )  # fmt: skip
    if year == 2020:  # long closed; nothing of it is open in 2025
        cap = day_number(date(2021, 12, 31)) * DAY
        block.done = np.minimum(block.done, cap)
        block.returned = np.where(block.ending == 0, np.minimum(block.returned, cap + DAY), block.returned)
    return block


def _agencies(w: World, key: U64, procedure: I64, commune: I64) -> tuple[I64, I64]:
    """Return (responsible, receiving) agency of each dossier.

    Since 1/7/2025 (NĐ 118/2025) any one-stop of the province may receive.
    """
    p, at = procedures(w.suffix), places(w.name)
    department = np.array([at.department[d] for d in p.department])[procedure]
    home, seat = at.home[commune], at.seat[commune]
    in_commune = p.is_commune[procedure] | (p.is_justice[procedure] & p.is_commune[procedure])
    elsewhere = at.communes[integer(key, "other commune", len(at.communes))]
    u = uniform(key, "desk")
    if w.merged:
        own = np.where(uniform(key, "other") < 0.03, elsewhere, home)
        responsible = np.where(in_commune, own, department)
        local = np.where(u < 0.86, own, np.where(u < 0.95, elsewhere, at.centre))
        land = np.where(u < 0.6, home, np.where(u < 0.85, at.centre, department))
        office = np.where(u < 0.6, at.centre, np.where(u < 0.9, home, department))
    else:
        # Before, what communes decide today was the district's, but for civil status and certification.
        own = np.where(p.is_justice[procedure], home, seat)
        responsible = np.where(in_commune, own, department)
        local = np.where(u < 0.99, own, at.centre)
        land = np.where(u < 0.9, seat, at.centre)
        office = np.where(u < 0.8, at.centre, department)
    receiving = np.where(in_commune, local, np.where(p.is_land[procedure], land, office))
    return responsible, receiving


def _sequence(agency: I64, day: I64) -> I64:
    """Number rows from 1 within each agency and day, in their order."""
    order = np.lexsort((np.arange(len(day)), agency, day))
    group = day[order] * 10_000 + agency[order]
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(group) else np.zeros(0, np.int64)
    lengths = np.diff(np.r_[starts, len(group)])
    out = np.empty(len(day), np.int64)
    out[order] = np.arange(len(group)) - np.repeat(starts, lengths) + 1
    return out


def codes(world: str, block: Block) -> list[str]:
    """Return the dossier codes `<unit code>-<yyMMdd>-<4 or 5 digits>` of rows as their system writes them."""
    listed = agencies(world)
    width = 5 if WORLDS[world].merged else 4
    text = {int(d): date.fromordinal(EPOCH.toordinal() + int(d)).strftime("%y%m%d")
            for d in np.unique(block.code_day)}  # fmt: skip
    return [f"{listed[a].code}-{text[d]}-{s:0{width}d}" for a, d, s in zip(
        block.code_agency.tolist(), block.code_day.tolist(), block.sequence.tolist(), strict=True)]  # fmt: skip


@lru_cache(maxsize=2)
def migrated_block(world: str = "dong_thap") -> Block:
    """Return the dossiers open at the end of 30/6/2025 in the old systems, as the new one holds them."""
    target = WORLDS[world]
    parts = []
    for name in target.takes_over:
        listed, at = agencies(name), places(world)
        for month in months(name):
            if month < 202401:  # the calibration months of 2020 are long closed
                continue
            block = month_block.__wrapped__(name, month)  # not kept: few rows of it are needed
            rows = np.flatnonzero((block.accepted <= FREEZE) & (block.done > FREEZE))
            part = block.take(rows)
            part.previous = codes(name, part)
            arrive = np.array([_successor(a, at) for a in listed], dtype=np.int64)
            home = at.home[part.commune]
            for column in ("receiving", "responsible"):
                moved = arrive[getattr(part, column)]
                setattr(part, column, np.where(moved < 0, home, moved))
            # The same real procedures stand at the same places of both lists; only the suffix differs.
            parts.append(part)
    joined = {f.name: np.concatenate([getattr(b, f.name) for b in parts])
              for f in fields(Block) if f.name != "previous"}  # fmt: skip
    whole = Block(**joined, previous=[c for b in parts for c in b.previous])
    whole = whole.take(np.lexsort((whole.key, whole.accepted)))
    # Codes of the new system carry the first day of the new system, numbered apart from what it received.
    day = np.full(len(whole), MERGER // DAY, np.int64)
    sequence = _sequence(whole.receiving, day) + 50_000
    return replace(whole, sequence=sequence, code_day=day, code_agency=whole.receiving)


def _successor(agency: Agency, at: Places) -> int:
    """Return the position of the agency that took over; -1 where it is the commune the applicant lives in."""
    if agency.level in ("DISTRICT", "COMMUNE"):
        return -1
    if agency.level == "PROVINCE":
        return 0
    if agency.name.startswith("Trung tâm Phục vụ"):
        return at.centre
    return at.department[agency.code.split(".")[2]]


MIGRATED = 0


def blocks(world: str) -> list[int]:
    """Return the numbers of a world's blocks: months (yyyymm), and MIGRATED where it took dossiers over."""
    return ([MIGRATED] if WORLDS[world].takes_over else []) + months(world)


def block(world: str, number: int) -> Block:
    """Return one block of a world."""
    return migrated_block(world) if number == MIGRATED else month_block(world, number)


def local_seconds(moment: datetime) -> int:
    """Return the local seconds of an aware datetime."""
    return int(moment.timestamp()) + 7 * 3600


def world_salt(world: str) -> int:
    """Return a constant of a world, used to check identifiers."""
    return int(salt(f"{SEED}:{world}"))
