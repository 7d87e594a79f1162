"""The portal's own copy of dossiers, in a SQLite file: what was sent, by whom, and a past with known faults.

`Copy` holds items as they were sent (fields of the platform facts, 1.4 and 1.5); nothing keeps one code from standing
there twice, since the past put some there twice. `past` draws what an earlier client sent of the world `dong_thap`.
"""

import csv
import io
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any

import numpy as np
import orjson

from sandbox.chance import uniform
from sandbox.encode import Encoder
from sandbox.generator import DAY, NOT_ARRIVED, block, blocks
from sandbox.reference import day_number

Item = dict[str, Any]
#: National codes by the states of the iGate dialect (1 to 9).
STATUS = {0: "1", 1: "5", 2: "4", 3: "6", 4: "9", 5: "10", 6: "7", 8: "8", 9: "3"}
STATUS_NAMES = {
    "1": "Mới đăng ký", "2": "Được tiếp nhận", "3": "Không được tiếp nhận", "4": "Đang xử lý",
    "5": "Yêu cầu bổ sung giấy tờ", "6": "Yêu cầu thực hiện nghĩa vụ tài chính", "7": "Công dân yêu cầu rút hồ sơ",
    "8": "Dừng xử lý", "9": "Đã xử lý xong", "10": "Đã trả kết quả",
}  # fmt: skip
#: One client rewrites these before it sends [seen].
REWRITTEN = {"5": "9", "6": "9", "8": "9"}
DUMMY = "000000001"
#: Field of a month's satisfaction (1.8): how many, in per cent, were not satisfied.
UNHAPPY = "PhanTramDanhGiaChuaHaiLong"
#: MaCSDL of the population database: what one client emits [guess].
POPULATION = "7"
#: Columns of the file the portal's operator hands over [guess], with the fields they show.
EXPORTED = {
    "Mã hồ sơ": "MaHoSo", "Mã TTHC": "MaTTHC", "Mã đơn vị": "DonViXuLy", "Kênh thực hiện": "KenhThucHien",
    "Ngày tiếp nhận": "NgayTiepNhan", "Ngày hẹn trả": "NgayHenTra", "Ngày kết thúc xử lý": "NgayKetThucXuLy",
    "Ngày trả": "NgayTra", "Trạng thái": "TrangThaiHoSo", "Thanh toán trực tuyến": "DuocThanhToanTrucTuyen",
    "Xác thực VNeID": "TaiKhoanDuocXacThucVoiVNeID",
}  # fmt: skip
_SCHEMA = """
create table if not exists dossier (number integer primary key, code text not null, received text not null,
    item blob not null);
create index if not exists dossier_code on dossier (code);
create index if not exists dossier_received on dossier (received);
create table if not exists progress (number integer primary key, code text not null, item blob not null);
create index if not exists progress_code on progress (code);
create table if not exists rating (number integer primary key, item blob not null)
"""


class Copy:
    """What the portal holds; every change is committed before it is answered."""

    def __init__(self, path: str = ":memory:") -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = off")
        self._db.executescript(_SCHEMA)

    def find(self, code: str) -> list[Item]:
        """Return all items under a code, oldest first."""
        found = self._db.execute("select item from dossier where code = ? order by number", (code,))
        return [orjson.loads(row[0]) for row in found]

    def progress(self, code: str) -> list[Item]:
        """Return the progress of a dossier in the order it came."""
        found = self._db.execute("select item from progress where code = ? order by number", (code,))
        return [orjson.loads(row[0]) for row in found]

    def insert(self, items: Iterable[Item]) -> int:
        """Add items; return how many."""
        rows = [(i["MaHoSo"], str(i.get("NgayTiepNhan") or ""), orjson.dumps(i)) for i in items]
        with self._all_or_nothing():
            self._db.executemany("insert into dossier (code, received, item) values (?, ?, ?)", rows)
        return len(rows)

    def replace(self, code: str, item: Item) -> None:
        """Put an item in the place of the newest under its code."""
        self._db.execute(
            "update dossier set code = ?, received = ?, item = ? where number = "
            "(select max(number) from dossier where code = ?)",
            (item["MaHoSo"], str(item.get("NgayTiepNhan") or ""), orjson.dumps(item), code),
        )

    def delete(self, code: str) -> None:
        """Forget a dossier with its progress."""
        with self._all_or_nothing():
            self._db.execute("delete from dossier where code = ?", (code,))
            self._db.execute("delete from progress where code = ?", (code,))

    def keep_oldest(self, code: str) -> None:
        """Forget all items under a code but the oldest."""
        self._db.execute(
            "delete from dossier where code = ? and number > (select min(number) from dossier where code = ?)",
            (code, code),
        )

    def clear(self) -> None:
        """Forget everything."""
        with self._all_or_nothing():
            for table in ("dossier", "progress", "rating"):
                self._db.execute(f"delete from {table}")  # noqa: S608 - our own names

    def append(self, item: Item) -> None:
        """Add one row of progress."""
        self._db.execute(
            "insert into progress (code, item) values (?, ?)", (item["MaHoSo"], orjson.dumps(item))
        )

    def rate(self, item: Item) -> None:
        """Add one month's satisfaction."""
        self._db.execute("insert into rating (item) values (?)", (orjson.dumps(item),))

    def dissatisfied(self, first: date, last: date) -> Counter[str]:
        """Return persons who were not satisfied (ChuaHaiLong), by unit and of all under "", of the months of a period.

        Of a unit, month and procedure the newest rating counts.
        """
        newest: dict[tuple[str, str, str], Item] = {}
        for (row,) in self._db.execute("select item from rating order by number"):
            item = orjson.loads(row)
            month, year = (int(part) for part in item["NgayTongHop"].split("-"))
            if first.replace(day=1) <= date(year, month, 1) <= last:
                unit = str(item.get("Madonvi") or "")
                newest[unit, f"{year}-{month}", str(item.get("MaThuTuc") or "")] = item
        found: Counter[str] = Counter()
        for (unit, _, _), item in newest.items():
            rated = int(item.get("TongSoNguoiDanhGia") or 0)
            percent = str(item.get(UNHAPPY) or "0").rstrip(" %").replace(",", ".")
            found[unit] += round(rated * Fraction(percent) / 100)
        found[""] = found.total()
        return found

    def received(self, first: str = "", last: str = "9") -> Iterator[Item]:
        """Items by time of receipt, `first` (included) to `last` (not), as yyyyMMddHHmmss or a beginning of it."""
        rows = self._db.execute(
            "select item from dossier where received >= ? and received < ? order by number", (first, last)
        )
        for (item,) in rows:
            yield orjson.loads(item)

    def newest(self) -> str:
        """Return the newest day of receipt, as yyyyMMdd; "" of an empty copy."""
        return str(self._db.execute("select coalesce(max(received), '') from dossier").fetchone()[0])[:8]

    def numbers(self) -> dict[str, int]:
        """Return how many rows each table holds, and how many codes stand there more than once."""
        tables = {t: self._db.execute(f"select count(*) from {t}").fetchone()[0]  # noqa: S608 - our own names
                  for t in ("dossier", "progress", "rating")}  # fmt: skip
        doubled = self._db.execute(
            "select count(*) from (select code from dossier group by code having count(*) > 1)"
        ).fetchone()[0]
        twice = self._db.execute(
            "select count(*) from (select code, item from progress group by code, item having count(*) > 1)"
        ).fetchone()[0]
        return tables | {"doubled_codes": doubled, "doubled_progress": twice}

    def _all_or_nothing(self) -> "_Transaction":
        return _Transaction(self._db)


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def __enter__(self) -> None:
        self.db.execute("begin")

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.db.execute("rollback" if kind else "commit")


# --- a past ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sins:
    """What an earlier client did, each switchable: all are habits of clients that were seen but `twice`, a guess."""

    #: Statuses 5, 6 and 8 sent as 9.
    rewritten: bool = True
    #: Dossiers that never arrived, as the dossier system itself says.
    lost: bool = True
    #: Dossiers under a code the client made up.
    other_code: bool = True
    #: Share of dossiers under another code that stand there under their own, too.
    twice: float = 0.2
    #: DuocLayTuKhoDMQG "1" for every paper.
    storage_default: bool = True


def past(first: date, last: date, now: int, sins: Sins | None = None) -> Iterator[Item]:
    """Draw what an earlier client sent of the dossiers received in these days (both included), as of `now`.

    `now` is in local seconds, as the dossier system's clock; the same days always give the same items.
    """
    sins = sins or Sins()
    encoder = Encoder("dong_thap")
    low, high = day_number(first) * DAY, (day_number(last) + 1) * DAY
    for number in blocks("dong_thap"):
        whole = block("dong_thap", number)
        rows = np.flatnonzero((whole.accepted >= low) & (whole.accepted < high))
        for at in range(0, len(rows), 1000):
            part = rows[at : at + 1000]
            arrived = uniform(whole.key[part], "national") >= NOT_ARRIVED
            again = uniform(whole.key[part], "sent twice") < sins.twice
            for (_, _, detail), there, both in zip(
                encoder.encode(number, whole, part, now), arrived.tolist(), again.tolist(), strict=True
            ):
                if there or not sins.lost:
                    yield from _as_sent(orjson.loads(detail), sins, both)


def _as_sent(d: dict[str, Any], sins: Sins, both: bool) -> Iterator[Item]:
    known = str(d["nationCode"] or d["code"]) if sins.other_code else str(d["code"])
    status = STATUS[d["dossierStatus"]["id"]]
    person = d["applicant"]["data"]
    number = person["identityNumber"] or DUMMY
    papers = [p for p in d["dossierFormFile"] if not p["isResult"]]
    results = [p for p in d["dossierFormFile"] if p["isResult"]]
    item: Item = {
        "MaHoSo": known,
        "MaTTHC": d["procedure"]["code"],
        "TenTTHC": d["procedure"]["translate"][0]["name"],
        "MaLinhVuc": d["procedure"]["sector"]["code"],
        "TenLinhVuc": d["procedure"]["sector"]["name"][0]["name"],
        "KenhThucHien": str((d["applyMethod"]["id"] or 0) + 1),
        "ChuHoSo": person["ownerFullname"],
        "LoaiDoiTuong": str(d["applicant"]["type"]),
        "SoGiayToChuHoSo": number,
        "DinhDanhCHS": [{"LoaiDinhDanh": "1" if len(number) == 12 else "2", "SoDinhDanh": number}],
        "SoDienThoai": person["phoneNumber"] or "",
        "Email": person["email"] or "",
        "TrichYeuHoSo": person["noidungyeucaugiaiquyet"][:1000],
        "NgayNopHoSo": _stamp(d["appliedDate"]),
        "NgayTiepNhan": _stamp(d["acceptedDate"]),
        "NgayHenTra": _stamp(d["appointmentDate"]),
        "NgayKetThucXuLy": _stamp(d["completedDate"]),
        "NgayTra": _stamp(d["returnedDate"]),
        "TrangThaiHoSo": REWRITTEN.get(status, status) if sins.rewritten else status,
        "DonViXuLy": d["processingAgency"]["code"],
        "NoiNopHoSo": "2",
        "HoSoCoThanhPhanSoHoa": "1" if any(p["digitised"] == "1" for p in papers) else "0",
        "TaiKhoanDuocXacThucVoiVNeID": "1" if d["vneidVerified"] == "true" else "0",
        "DuocThanhToanTrucTuyen": str(d["onlinePayment"]),
        "TaiLieuNop": [_paper(p, sins) for p in papers],
        "DanhSachLePhi": [
            {"TenPhiLePhi": f["name"], "Gia": str(f["amount"]), "LoaiPhiLePhi": str(f["type"])}
            for f in d["dossierFee"]
        ],
        "DanhSachGiayToKetQua": [
            {"TenGiayTo": p["name"], "MaGiayToKetQua": p["code"] or "",
             "DuongDanTepTinKetQua": p["file"]["url"] if p["file"] else ""}
            for p in results
        ],
    }  # fmt: skip
    yield item
    if both and known != d["code"]:
        yield item | {"MaHoSo": d["code"]}


def _paper(p: dict[str, Any], sins: Sins) -> Item:
    return {
        "TenTepDinhKem": p["file"]["filename"] if p["file"] else "",
        "MaThanhPhanHoSo": p["code"] or "",
        "DuongDanTaiTepTin": p["file"]["url"] if p["file"] else "",
        "IsDeleted": "False",
        "DuocSoHoa": p["digitised"],
        "DuocTaiSuDung": p["reused"],
        "DuocLayTuKhoDMQG": "1" if sins.storage_default else p["fromPersonalStorage"],
    }


def _stamp(moment: str | None) -> str:
    """Write `2025-07-02T08:12:33.000+0700` as 20250702081233; "" for none."""
    return "".join(c for c in moment[:19] if c.isdigit()) if moment else ""


# --- what follows from what is held --------------------------------------------------------------------------------


def unit_of(item: Item) -> str:
    """Return the unit below the province an item is counted under."""
    return ".".join(str(item.get("DonViXuLy") or "").split(".")[:2])


@dataclass(frozen=True)
class Procedure:
    """What the catalogue says of a procedure that decides how its dossiers count."""

    has_result: bool
    has_fee: bool


def figures(
    items: Iterable[Item], last: date, procedures: Mapping[str, Procedure] | None = None
) -> dict[str, Counter[str]]:
    """Count the items of a period that ends on `last` by unit, and of all under "", as the note counts them (7.4 b).

    Keys: received, on_time, ended, online, direct, postal, online_on_time; 3.6 duty, paid; 4.1 result_wanted,
    result_linked; 4.2 both_attached; 4.3 digitised; 4.4 stored; 4.5 citizen; and of distinct procedures 3.2
    online_procedures, 3.5 fee_procedures. `procedures` by code: one that is not there is what its dossiers show.
    """
    known = procedures or {}
    found: dict[str, Counter[str]] = {}
    fees: dict[str, set[str]] = {}
    online: dict[str, set[str]] = {}
    for item in items:
        unit, code = unit_of(item), national_procedure(str(item.get("MaTTHC") or ""))
        c = found.setdefault(unit, Counter())
        good = on_time(item, last)
        papers, results = item.get("TaiLieuNop") or (), item.get("DanhSachGiayToKetQua") or ()
        linked = any(r.get("DuongDanTepTinKetQua") for r in results)
        channel = item.get("KenhThucHien")
        charged = [float(f.get("Gia") or 0) != 0 for f in item.get("DanhSachLePhi") or ()]
        by_portal = item.get("DuocThanhToanTrucTuyen") in ("1", "2")
        c["received"] += 1
        c["on_time"] += good
        c["ended"] += item.get("TrangThaiHoSo") in ("9", "10")
        c["online" if channel == "2" else "postal" if channel == "3" else "direct"] += 1
        c["online_on_time"] += good and channel == "2"
        # 3.6: dossiers of procedures with fees, minus those whose every Gia is 0.
        of_fees = bool(charged) or (code in known and known[code].has_fee)
        duty = of_fees and (any(charged) or not charged)
        c["duty"] += duty
        c["paid"] += duty and by_portal
        # 4.1: of procedures that require a result.
        wanted = known[code].has_result if code in known else bool(results)
        c["result_wanted"] += wanted
        c["result_linked"] += wanted and linked
        # 4.2: an attachment among the components and in the result.
        c["both_attached"] += linked and any(p.get("DuongDanTaiTepTin") for p in papers)
        # 4.3: told for the dossier (a local system), or for a component (the portal).
        c["digitised"] += item.get("HoSoCoThanhPhanSoHoa") == "1" or any(
            p.get("DuocSoHoa") == "1" for p in papers
        )
        # 4.4, 4.5.
        stored = any(p.get("DuocLayTuKhoDMQG") == "1" for p in papers)
        asked = any(d.get("MaCSDL") == POPULATION for d in item.get("DSKetNoiCSDL") or ())
        c["stored"] += stored
        c["citizen"] += stored or asked or item.get("TaiKhoanDuocXacThucVoiVNeID") == "1"
        # 3.2: a procedure with an online dossier. 3.5: with synchronised fees, so a dossier with one that is not 0.
        if channel == "2":
            online.setdefault(unit, set()).add(code)
        if any(charged):
            fees.setdefault(unit, set()).add(code)
    # A procedure of two units is one of the whole.
    found[""] = sum(found.values(), Counter())
    for of_unit in (fees, online):
        of_unit[""] = set().union(*of_unit.values())
    for unit, c in found.items():
        c["fee_procedures"], c["online_procedures"] = len(fees.get(unit, ())), len(online.get(unit, ()))
    return found


def national_procedure(code: str) -> str:
    """Return a procedure's national code: `1.003560.000.00.00.H56` is the province's copy of `1.003560` [seen]."""
    return re.sub(r"(\.\d{2,3})*\.H\d+$", "", code)


def on_time(item: Item, last: date) -> bool:
    """Tell whether an item ended, or waits for papers, by its moment of appointment; `last` ends the period (2.1)."""
    due = str(item.get("NgayHenTra") or "")
    if not due:
        return True
    status, asked = item.get("TrangThaiHoSo"), item.get("DanhSachHoSoBoSung") or ()
    if len(asked) > 1:
        return False
    end = ""
    if status in ("9", "10"):
        end = str(item.get("NgayKetThucXuLy") or item.get("NgayTra") or "")
    elif status in ("3", "7", "8"):
        end = str(item.get("NgayKetThucXuLy") or item.get("NgayTuChoi") or "")
    elif status == "5" and asked:
        end = "".join(c for c in str(asked[-1].get("NgayBoSung") or "") if c.isdigit())[:14]
    return end <= due if end else f"{last:%Y%m%d}" <= due[:8]


def export_csv(items: Iterable[Item]) -> Iterator[bytes]:
    """Write the operator's file, in parts: UTF-8 with a mark, comma, dd/MM/yyyy HH:mm:ss, names of statuses."""
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(EXPORTED)
    yield b"\xef\xbb\xbf"
    for number, item in enumerate(items, 1):
        out.writerow([_shown(field, str(item.get(field) or "")) for field in EXPORTED.values()])
        if number % 2000 == 0:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _shown(field: str, value: str) -> str:
    if field.startswith("Ngay") and len(value) == 14 and value.isdigit():
        return f"{datetime.strptime(value, '%Y%m%d%H%M%S'):%d/%m/%Y %H:%M:%S}"
    return STATUS_NAMES.get(value, value) if field == "TrangThaiHoSo" else value
