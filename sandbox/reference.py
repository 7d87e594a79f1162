"""Real reference data behind the invented dossiers: calendar, units, agencies, procedures, names.

Everything is read once from `sandbox/data` (sources and licences in its README.md).
"""

import csv
import re
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sandbox.chance import F64, I64, keys_for, uniform

DATA = Path(__file__).parent / "data"
DAY = 86_400
# Office hours 07:30-11:30 and 13:00-17:00: eight hours, as most one-stops of the region keep.
MORNING, NOON, AFTERNOON, HALF = 27_000, 41_400, 46_800, 14_400
WORK_DAY = 2 * HALF
EPOCH = date(1970, 1, 1)


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV of `sandbox/data`."""
    with (DATA / name).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def made_id(name: str) -> str:
    """Return a stable UUID for something whose identifier the crawl does not hold."""
    h = blake2b(name.encode(), digest_size=16).hexdigest()
    return f"{h[:8]}-{h[8:12]}-8{h[13:16]}-b{h[17:20]}-{h[20:]}"


def day_number(day: date) -> int:
    """Return the days since 1970-01-01."""
    return (day - EPOCH).days


class Calendar:
    """Working days of Viet Nam 2018-2027 with public holidays and make-up days, as arrays.

    Local times are seconds since 1970-01-01 00:00 in Asia/Ho_Chi_Minh (no daylight saving there).
    """

    def __init__(self) -> None:
        self.first = day_number(date(2018, 1, 1))
        count = day_number(date(2027, 12, 31)) - self.first + 1
        off = {date.fromisoformat(r["date"]) for r in rows("vn_public_holidays_2018_2027.csv")}
        swaps = rows("vn_working_day_swaps.csv")
        off |= {date.fromisoformat(r["day_off"]) for r in swaps}
        made_up = {date.fromisoformat(r["working_instead"]) for r in swaps}
        days = [EPOCH + timedelta(days=self.first + i) for i in range(count)]
        self.working: NDArray[np.bool_] = np.array(
            [d in made_up or (d.weekday() < 5 and d not in off) for d in days]
        )
        self._rank: I64 = np.cumsum(self.working).astype(np.int64)
        self._days: I64 = np.flatnonzero(self.working).astype(np.int64) + self.first

    def is_working(self, day: I64) -> NDArray[np.bool_]:
        """Tell which day numbers are working days."""
        return self.working[day - self.first]

    def next_working(self, day: I64) -> I64:
        """Return each day itself when it is a working day, else the next one."""
        i = day - self.first
        return self._days[np.minimum(self._rank[i] - self.working[i], len(self._days) - 1)]

    def add_working_days(self, day: I64, n: I64) -> I64:
        """Return the day `n` working days after each (working) day."""
        return self._days[np.minimum(self._rank[day - self.first] - 1 + n, len(self._days) - 1)]

    def to_work(self, moment: I64) -> I64:
        """Return office seconds elapsed since 2018 at each local time."""
        day, second = moment // DAY, moment % DAY
        i = day - self.first
        inside = np.clip(second - MORNING, 0, HALF) + np.clip(second - AFTERNOON, 0, HALF)
        return (self._rank[i] - self.working[i]) * WORK_DAY + np.where(self.working[i], inside, 0)

    def from_work(self, seconds: I64) -> I64:
        """Return the local time at which the given office seconds have elapsed (inverse of to_work)."""
        k, rest = np.minimum(seconds // WORK_DAY, len(self._days) - 1), seconds % WORK_DAY
        return self._days[k] * DAY + np.where(rest < HALF, MORNING + rest, AFTERNOON + rest - HALF)


@lru_cache(maxsize=1)
def calendar() -> Calendar:
    """Return the calendar, built once."""
    return Calendar()


@dataclass(frozen=True)
class Agency:
    """One agency of a province's system; `parent` is an index into the same list, -1 for the province."""

    code: str
    name: str
    level: str
    parent: int
    unit_code: str | None


@dataclass
class Communes:
    """Old communes of both provinces in one list (first Tiền Giang, then old Đồng Tháp) and their successors."""

    codes: list[str]
    names: list[str]
    districts: list[str]
    district_names: list[str]
    province: NDArray[np.int64]
    successor: I64
    new_codes: list[str]
    new_names: list[str]
    share: F64


@lru_cache(maxsize=1)
def communes() -> Communes:
    """Return communes before and after 1/7/2025."""
    old = sorted(rows("commune_old.csv"), key=lambda r: (r["province_code"], r["code"]))
    new = sorted(rows("commune_new.csv"), key=lambda r: r["code"])
    place = {r["code"]: i for i, r in enumerate(new)}
    # A split commune (three of them) goes to its first listed successor: good enough for invented people.
    target: dict[str, int] = {}
    for r in rows("bridge.csv"):
        target.setdefault(r["old_commune_code"], place[r["new_commune_code"]])
    size = np.exp(0.5 * (uniform(keys_for("commune", len(old)), "a") * 4 - 2))
    size *= np.array([1.4 if r["name"].startswith(("Phường", "Thị trấn")) else 1.0 for r in old])
    return Communes(
        [r["code"] for r in old], [r["name"] for r in old],
        [r["district_code"] for r in old], [r["district"] for r in old],
        np.array([int(r["province_code"]) for r in old]),
        np.array([target[r["code"]] for r in old], dtype=np.int64),
        [r["code"] for r in new], [r["name"] for r in new], size,
    )  # fmt: skip


def _departments() -> list[tuple[str, str]]:
    """Return (NN, name) of the departments of H44, the one province whose whole tree is known."""
    found = []
    for r in rows("ma_dinh_danh_H44_phu_tho_2026.csv"):
        if r["level"] == "PROVINCE":
            found.append((r["agency_code"].split(".")[1], r["agency_name"].split(" - ")[0]))
    return sorted(found)


def agencies_old(suffix: str, province: int, name: str, unit: str) -> list[Agency]:
    """Return the agencies of a province before 1/7/2025, codes 000.CC.NN.Hxx [guess below the province]."""
    found = [Agency(f"000.00.00.{suffix}", f"UBND {name}", "PROVINCE", -1, unit)]
    for nn, title in _departments():
        found.append(Agency(f"000.00.{nn}.{suffix}", title, "DEPARTMENT", 0, None))
    office = next(i for i, a in enumerate(found) if a.code.startswith("000.00.01."))
    found.append(Agency(f"000.01.01.{suffix}", f"Trung tâm Phục vụ hành chính công {name}", "DEPARTMENT",
                        office, None))  # fmt: skip
    c = communes()
    mine = [i for i in range(len(c.codes)) if c.province[i] == province]
    districts = sorted({c.districts[i] for i in mine})
    base = {}
    for n, code in enumerate(districts):
        title = next(c.district_names[i] for i in mine if c.districts[i] == code)
        base[code] = (len(found), f"{50 + n}")
        found.append(Agency(f"000.00.{50 + n}.{suffix}", f"UBND {title}", "DISTRICT", 0, code))
    seen: dict[str, int] = {}
    for i in mine:
        parent, nn = base[c.districts[i]]
        seen[nn] = seen.get(nn, 0) + 1
        code = f"000.{seen[nn]:02d}.{nn}.{suffix}"
        found.append(Agency(code, f"UBND {c.names[i]}", "COMMUNE", parent, c.codes[i]))
    return found


def agencies_new() -> list[Agency]:
    """Return the agencies of the new Đồng Tháp, codes H20.NN and H20.NNN [guess below the province]."""
    found = [Agency("H20", "UBND tỉnh Đồng Tháp", "PROVINCE", -1, "82")]
    for nn, title in _departments():
        found.append(Agency(f"H20.{nn}", title, "DEPARTMENT", 0, None))
    office = next(i for i, a in enumerate(found) if a.code == "H20.01")
    found.append(Agency("H20.01.01", "Trung tâm Phục vụ hành chính công tỉnh Đồng Tháp", "DEPARTMENT",
                        office, None))  # fmt: skip
    c = communes()
    for n, (code, title) in enumerate(zip(c.new_codes, c.new_names, strict=True)):
        found.append(Agency(f"H20.{100 + n}", f"UBND {title}", "COMMUNE", 0, code))
    return found


UNITS = {"": 0, "working_day": 1, "day": 2, "hour": 3, "month": 4}
CHANNELS = {"direct": 1, "online": 2, "postal": 3}

# The everyday procedures of a Mekong delta province, in rough proportion; the rest share a skewed tail.
POPULAR = {
    "2.000815": 14, "2.000884": 5, "2.001035": 2.5, "2.000908": 1, "1.001193": 6, "1.000894": 3.2,
    "1.000656": 2.8, "1.004873": 7, "2.000635": 9, "1.004859": 3, "2.002516": 0.8, "1.000689": 0.4,
    "2.001023": 0.8, "2.000986": 0.5, "1.004884": 0.6, "1.012783": 2.4, "1.012784": 2, "1.012786": 0.7,
    "1.013831": 3, "1.013833": 2.2, "1.013977": 2.6, "1.013980": 2.6, "1.013978": 0.8, "1.012785": 0.8,
    "1.013992": 0.6, "1.011441": 7, "1.011443": 6, "1.011442": 1, "1.001612": 3, "2.000720": 1.6,
    "1.001266": 1.8, "1.001570": 0.6, "2.000575": 0.3, "2.001583": 0.9, "2.001199": 0.6, "2.002043": 0.3,
    "2.002041": 0.6, "2.002009": 0.5, "2.002069": 0.6, "2.002029": 0.9, "2.002023": 0.4, "1.013225": 0.9,
    "2.002288": 2.2, "1.013217": 0.2, "1.004359": 0.4, "1.003650": 0.3, "1.003666": 0.3,
}  # fmt: skip
# What the crawl has no fee for, though one is charged: TT 226/2016 and 281/2016 of the Ministry of Finance, and
# usual decisions of provincial councils [recall].
FEES = {"2.000884": 10_000, "2.001035": 50_000, "2.000635": 8_000, "1.011441": 80_000, "1.011442": 60_000,
        "1.011443": 20_000}  # fmt: skip
# Filed with bodies that answer to a ministry, on the ministry's own system: listed here, never filed here.
ELSEWHERE_MINISTRY = {"bo-cong-an", "ngan-hang-nha-nuoc", "toa-an-nhan-dan"}
ELSEWHERE_SECTOR = re.compile(
    r"Hải quan|Thuế|Chứng khoán|Bảo hiểm|BHXH|BHYT|Kho bạc|Quản lý nợ|Kế toán|Hàng hải|Hàng không|Đường sắt"
    r"|Đăng kiểm|thi hành án|Thi hành án|kho quỹ|Tài chính ngân hàng"
)
DEPARTMENT = {"bo-tu-phap": "19", "bo-tai-chinh": "43", "bo-xay-dung": "44", "bo-nong-nghiep-mt": "45"}


@dataclass
class Procedures:
    """The procedures a province lists, as parallel arrays; channel axes are 0 direct, 1 online, 2 post."""

    codes: list[str]
    names: list[str]
    sectors: list[str]
    sector_codes: list[str]
    results: list[tuple[str, str]]
    ministry: list[str]
    weight: F64
    is_commune: NDArray[np.bool_]
    is_land: NDArray[np.bool_]
    is_justice: NDArray[np.bool_]
    department: list[str]
    level: NDArray[np.int64]
    can: NDArray[np.bool_]
    unit: NDArray[np.int64]
    amount: F64
    fee: I64
    per_page: NDArray[np.bool_]
    enterprise: F64
    steps: NDArray[np.int64]


def result_of(raw: str) -> tuple[str, str]:
    """Split `Giấy khai sinhMã: KQ.G15.000031` into name and code; the first result of several."""
    found = re.match(r"(.*?)Mã:\s*(KQ\.[A-Z]\d+\.\d+)", raw, re.S)
    if not found:
        return ("Kết quả giải quyết thủ tục hành chính", "")
    return (" ".join(found[1].split())[:180], found[2])


@lru_cache(maxsize=4)
def procedures(suffix: str) -> Procedures:
    """Return the province's list: real procedures of province and commune level, then local copies.

    A local copy is a real procedure under a code with the province's suffix, such as 2.002622.H56 [seen].
    """
    listed = [r for r in rows("procedures.csv") if "tỉnh" in r["level"] or "xã" in r["level"]]
    terms: dict[str, dict[str, tuple[float, int, int]]] = {}
    for r in rows("tthc_channels_deadlines.csv"):
        length = float(r["duration"] or 0)
        kind = UNITS[r["unit"]]
        if kind == 0 and 0 < length <= 60:
            kind = 1  # the crawl lost the unit of these; one to sixty are working days on the portal's pages
        price = int(float(r["fee_vnd"] or 0))
        entry = terms.setdefault(r["code"], {})
        entry.setdefault(r["channel"], (length, kind if length <= 400 else 0, min(price, 20_000_000)))

    chance = uniform(keys_for("procedure", len(listed)), "tail")
    weight = []
    for r, u in zip(listed, chance, strict=True):
        elsewhere = r["ministry_dir"] in ELSEWHERE_MINISTRY or ELSEWHERE_SECTOR.search(r["sector"])
        if r["code"] in POPULAR:
            weight.append(float(POPULAR[r["code"]]))
        elif elsewhere or r["code"].startswith(("5.", "6.")):
            weight.append(0.0)
        else:
            weight.append(0.00045 / (u + 0.004))
    filed = [i for i, w in enumerate(weight) if w > 0 and listed[i]["code"] not in POPULAR]
    copies = sorted(filed, key=lambda i: chance[i])[: max(0, 1800 - len(listed))]
    order = [*range(len(listed)), *copies]
    weights = np.array([weight[i] for i in order])
    weights[len(listed) :] *= 0.5

    n = len(order)
    can = np.zeros((n, 3), bool)
    unit = np.zeros((n, 3), np.int64)
    amount = np.zeros((n, 3))
    fee = np.zeros((n, 3), np.int64)
    enterprise = np.zeros(n)
    sectors = sorted({r["sector"] for r in listed})
    for k, i in enumerate(order):
        r = listed[i]
        known = terms.get(r["code"], {})
        any_term = next(iter(known.values()), (1.0, 1, 0) if r["code"] in POPULAR else (0.0, 0, 0))
        for name, channel in CHANNELS.items():
            c = channel - 1
            can[k, c] = name in r["channels"].split("|")
            amount[k, c], unit[k, c], fee[k, c] = known.get(name, any_term)
            if amount[k, c] == 0 or unit[k, c] == 0:
                amount[k, c], unit[k, c] = 0, 0
        if r["sector"] == "Thành lập và hoạt động của doanh nghiệp":
            enterprise[k] = 0.97
        elif "oanh nghiệp" in r["subjects"]:
            enterprise[k] = 0.95 if "Công dân" not in r["subjects"] else 0.08
    level_chance = uniform(keys_for("procedure", len(listed)), "level")
    justice = np.array([listed[i]["ministry_dir"] == "bo-tu-phap" for i in order])
    # Civil status and certification that a commune may do, it does; other shared procedures are the province's.
    commune = np.array(["xã" in listed[i]["level"] and ("tỉnh" not in listed[i]["level"]
                        or listed[i]["sector"] in ("Hộ tịch", "Chứng thực")) for i in order])  # fmt: skip
    land = (
        np.array([listed[i]["sector"] in ("Đất đai", "Đăng ký biện pháp bảo đảm") for i in order]) & ~commune
    )
    # Certified copies are charged by the page (captured detail of 2.000815).
    per_page = np.array([listed[i]["code"] == "2.000815" for i in order])
    fee[per_page] = 2000
    for k, i in enumerate(order):
        if listed[i]["code"] in FEES and not fee[k].any():
            fee[k] = FEES[listed[i]["code"]]
    return Procedures(
        codes=[listed[i]["code"] + (f".{suffix}" if k >= len(listed) else "") for k, i in enumerate(order)],
        names=[" ".join(listed[i]["name"].split()) for i in order],
        sectors=[listed[i]["sector"] for i in order],
        sector_codes=[f"LV{sectors.index(listed[i]['sector']) + 1:03d}" for i in order],
        results=[result_of(listed[i]["result"]) for i in order],
        ministry=[listed[i]["ministry_dir"] for i in order],
        weight=weights / weights.sum(),
        is_commune=commune, is_land=land, is_justice=justice,
        department=["03" if "khu công nghiệp" in listed[i]["sector"]
                    else "45" if listed[i]["sector"] == "Đăng ký biện pháp bảo đảm"
                    else DEPARTMENT.get(listed[i]["ministry_dir"], "01") for i in order],
        level=np.array([(4 if level_chance[i] < 0.6 else 3) if can[k, 1] else 2 for k, i in enumerate(order)]),
        can=can, unit=unit, amount=amount, fee=fee, per_page=per_page, enterprise=enterprise,
        steps=3 + (np.arange(n) * 7 + 3) % 3,
    )  # fmt: skip


@dataclass
class Names:
    """Name parts with cumulative frequencies."""

    surname: list[str]
    surname_cdf: F64
    middle: list[str]
    middle_cdf: F64
    given: list[str]
    given_cdf: F64
    female: list[str]


@lru_cache(maxsize=1)
def names() -> Names:
    """Return name parts."""

    def table(name: str, keep: str = "") -> tuple[list[str], F64]:
        found = [r for r in rows(name) if not keep or not r["value"].startswith(keep)]
        counts = np.array([float(r["count"]) for r in found])
        return [r["value"] for r in found], np.cumsum(counts) / counts.sum()

    surname, surname_cdf = table("surname_frequency.csv")
    middle, middle_cdf = table("middle_name_frequency.csv", "Thị")
    given, given_cdf = table("given_name_frequency.csv")
    female = [r["name"] for r in rows("given_names_female.csv")]
    return Names(surname, surname_cdf, middle, middle_cdf, given, given_cdf, female)
