"""The national portal's server-to-server side: what a province's dossier system calls through its security server.

Seen in clients [platform facts, section 1]: the adapter's two addresses with `dstcode`, `mapi/login`, one address for
all services whose name stands in the body beside `session` and `madonvi`, the services' names and fields, error_code as
number and as text, "đã tồn tại", "thành công", no service that lists dossiers. **Guessed**, and only here: `GUESSED`
(and keys of catalogues, see `national_lists`).

Beside the services it offers the evaluation endpoints of the public site (7.3), counted from what it holds for the
province H20, so that what is sent changes the score that is read.
"""

import asyncio
import functools
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sandbox.evaluation import (
    ENDPOINTS,
    cents,
    half_up,
    online_points,
    payment_points,
    share,
    simulated,
    total_of,
)
from sandbox.faults import Faults
from sandbox.generator import local_seconds
from sandbox.national_copy import UNHAPPY, Copy, Item, Procedure, Sins, export_csv, figures, past
from sandbox.national_lists import LISTS, procedure
from sandbox.portal import Catalogue, envelope
from sandbox.reference import agencies_new, made_id
from sandbox.serving import HANOI, BadRequest, read_moment, reply, serve

#: Facts that no source shows. Each stands in one constant or function here.
GUESSED = {
    "data address": "mapi/g",
    "TraCuuHoSo": "gives the item as it was sent, its progress under TienDoXuLy, the codes of doubles under TrungMa",
    "outcome of each item": "result: [{MaHoSo, error_code, message}] of those that were refused",
    "codes": "3 for what stands there already, -1 for anything else",
    "expired session": "error_code -1 and a message that names the session",
    "identity": "TraCuuTechID takes SoDinhDanh and finds nobody for some",
    "unit": "DonViXuLy holds the agency's code",
    "DongBoTrangThaiHoSo": "its dossier stands there; status, words and papers become the dossier's own",
    "most items a call": "100",
}
DSTCODE = "VN:GOV:000.00.00.G22:vpcpdvcprovider"
ADAPTERS = ("XrdAdapter", "VXPAdapter")
MOST_ITEMS = 100
SUCCESS = "Đồng bộ dữ liệu thành công"
EXISTS = "đã tồn tại"
#: A refusal that has nothing to do with the item.
BUSY = "Hệ thống đang bận, vui lòng thử lại sau"
_STAMP = re.compile(r"\d{14}")
_DATES = ("NgayTiepNhan", "NgayHenTra", "NgayTra", "NgayKetThucXuLy", "NgayTuChoi", "NgayNopHoSo")
_WANTED = ("MaHoSo", "MaTTHC", "KenhThucHien", "ChuHoSo", "LoaiDoiTuong", "NgayTiepNhan", "TrangThaiHoSo")
_WANTED_PROGRESS = ("MaHoSo", "ThoiDiemXuLy", "NoiDungXuLy", "TrangThai")
_WANTED_STATUS = ("MaHoSo", "TrangThai", "MaHoSoDonVi", "NgayXuLy")
_STATUSES = {str(n) for n in range(1, 11)}
#: What one client says of a promotion notice that is not taken, in place of 3 [seen].
NOTICE_NOT_TAKEN = "11"
#: The endpoint whose root has the points of a group.
GROUP_OF = {
    "CKMB": "transparency", "TDGQ": "dvc-progress-tree", "CLGQ": "provide-online-tree",
    "TTTT": "formality-online-payment-tree", "MDHL": "handling-satisfaction", "MDSH": "dossier-digitized",
}  # fmt: skip
H20 = "019d2be3-6a85-74ec-a344-751a7a0bbdb5"


class Refused(Exception):
    """A call or an item is refused; `code` as the service writes it."""

    def __init__(self, message: str, code: int = -1) -> None:
        super().__init__(message)
        self.code = code


def check(item: Any) -> None:
    """Refused where an item lacks what every dossier has, or writes it in a form that cannot be read."""
    if not isinstance(item, dict):
        raise Refused("Dữ liệu hồ sơ không đúng cấu trúc")
    for field in _WANTED:
        if item.get(field) in (None, ""):
            raise Refused(f"Thiếu trường bắt buộc {field}")
    for field in _DATES:
        value = item.get(field) or ""
        if value and not _STAMP.fullmatch(str(value)):
            raise Refused(f"Trường {field} không đúng định dạng yyyyMMddHHmmss")
    if item["TrangThaiHoSo"] not in _STATUSES:
        raise Refused("Trường TrangThaiHoSo không thuộc danh mục trạng thái")
    if item["KenhThucHien"] not in ("1", "2", "3"):
        raise Refused("Trường KenhThucHien không thuộc danh mục kênh thực hiện")
    if len(str(item.get("TrichYeuHoSo") or "")) > 1000:
        raise Refused("Trường TrichYeuHoSo vượt quá 1000 ký tự")


class Services:
    """The services by their names; each takes the body of a call and gives the answer without its envelope."""

    def __init__(self, copy: Copy, faults: Faults) -> None:
        self.copy = copy
        self.faults = faults
        self.catalogue = Catalogue()
        self.calls: Counter[str] = Counter()

    def answer(self, body: Item) -> Item:
        """Do what a call asks; error_code is a text where items are written, and a number elsewhere [seen: both]."""
        name = str(body.get("service") or "")
        self.calls[name] += 1
        writing = {
            "DongBoHoSoMC": self.dossiers,
            "CapNhatTienDoHoSoMC": self.progress,
            "DongBoDanhGia": self.rating,
            "DongBoTrangThaiHoSo": self.notice_status,
        }
        reading = {"TraCuuHoSo": self.look_up, "TraCuuTechID": self.tech_id}
        try:
            if name in writing:
                code, message, result = writing[name](body)
                return {"error_code": str(code), "message": message, "result": result}
            result = reading[name](body) if name in reading else self.listed(name, body)
        except Refused as e:
            said: str | int = str(e.code) if name in writing or name == "TraCuuHoSo" else e.code
            return {"error_code": said, "message": str(e), "result": []}
        if self.faults.due("message_json") and name not in reading:
            # [seen] one province's proxy of the catalogue services.
            return {"error_code": 0, "message": orjson.dumps({"result": result}).decode()}
        return {"error_code": 0, "message": "Thành công", "result": result}

    # --- writing -----------------------------------------------------------------------------------------

    def dossiers(self, body: Item) -> tuple[int, str, list[Item]]:
        """Insert or update dossiers; what is refused stops no other item of the call."""
        updating = body.get("isUpdating")
        if updating not in ("True", "False"):
            raise Refused('isUpdating phải là "True" hoặc "False"')

        def one(item: Item) -> None:
            check(item)
            there = self.copy.find(item["MaHoSo"])
            if updating == "False":
                if there:
                    raise Refused(f"Hồ sơ {item['MaHoSo']} {EXISTS}", 3)
                self.copy.insert([item])
            elif not there:
                raise Refused(f"Hồ sơ {item['MaHoSo']} không tồn tại")
            else:
                self.copy.replace(item["MaHoSo"], item)

        return self._each(body, one)

    def progress(self, body: Item) -> tuple[int, str, list[Item]]:
        """Add rows of progress to dossiers that stand there; nothing keeps a row from being added twice."""

        def one(item: Item) -> None:
            for field in _WANTED_PROGRESS:
                if not isinstance(item, dict) or item.get(field) in (None, ""):
                    raise Refused(f"Thiếu trường bắt buộc {field}")
            if len(str(item.get("NguoiXuLy") or "")) > 50:
                raise Refused("Trường NguoiXuLy vượt quá 50 ký tự")
            if not self.copy.find(item["MaHoSo"]):
                raise Refused(f"Hồ sơ {item['MaHoSo']} không tồn tại")
            self.copy.append(item)

        return self._each(body, one)

    def notice_status(self, body: Item) -> tuple[int, str, list[Item]]:
        """Take what came of one promotion notice that the portal handed on; `data` is one object, not a list [seen]."""
        data = body.get("data")
        if str(body.get("type")) != "2" or not isinstance(data, dict):
            raise Refused('type phải là "2", data là một hồ sơ')
        for field in _WANTED_STATUS:
            if data.get(field) in (None, ""):
                raise Refused(f"Thiếu trường bắt buộc {field}")
        if data["TrangThai"] not in _STATUSES | {NOTICE_NOT_TAKEN}:
            raise Refused("Trường TrangThai không thuộc danh mục trạng thái")
        if not _STAMP.fullmatch(str(data["NgayXuLy"])):
            raise Refused("Trường NgayXuLy không đúng định dạng yyyyMMddHHmmss")
        there = self.copy.find(data["MaHoSo"])
        if not there:
            raise Refused(f"Hồ sơ {data['MaHoSo']} không tồn tại")
        told = {k: data[k] for k in ("NoiDung", "NgayXuLy", "TaiLieuXuLy") if k in data}
        self.copy.replace(data["MaHoSo"], there[-1] | {"TrangThaiHoSo": data["TrangThai"]} | told)
        return 0, SUCCESS, []

    def rating(self, body: Item) -> tuple[int, str, list[Item]]:
        """Take a month's satisfaction of a unit."""

        def one(item: Item) -> None:
            if not re.fullmatch(r"(0?[1-9]|1[0-2])-[1-9]\d{3}", str(item.get("NgayTongHop") or "")):
                raise Refused("Trường NgayTongHop không đúng định dạng M-YYYY")
            for name, form in (("TongSoNguoiDanhGia", r"\d{1,9}"), (UNHAPPY, r"\d{1,3}([.,]\d+)? ?%?")):
                if item.get(name) and not re.fullmatch(form, str(item[name])):
                    raise Refused(f"Trường {name} không đúng định dạng")
            self.copy.rate(item)

        return self._each(body, one)

    def _each(self, body: Item, one: Any) -> tuple[int, str, list[Item]]:
        data = body.get("data")
        if not isinstance(data, list) or not data:
            raise Refused("Thiếu tham số data")
        if len(data) > MOST_ITEMS:
            raise Refused(f"Một lần gửi không quá {MOST_ITEMS} bản ghi")
        refused: list[Item] = []
        for item in data:
            try:
                if self.faults.due("refuse_items"):
                    raise Refused(BUSY)
                one(item)
            except Refused as e:
                code = item.get("MaHoSo") if isinstance(item, dict) else None
                refused.append({"MaHoSo": code, "error_code": str(e.code), "message": str(e)})
        if not refused:
            return 0, SUCCESS, []
        if len(data) == 1:
            return int(refused[0]["error_code"]), refused[0]["message"], refused
        told = refused if self.faults.has("item_results") else []
        # "thành công" stands in this sentence, too: who judges by that word alone takes all for accepted.
        return -1, f"Đồng bộ thành công {len(data) - len(refused)}/{len(data)} bản ghi", told

    # --- reading -----------------------------------------------------------------------------------------

    def look_up(self, body: Item) -> list[Item]:
        """Give one dossier as the portal holds it."""
        code = str(body.get("mahoso") or "")
        found = self.copy.find(code)
        if not found:
            raise Refused("Không tìm thấy hồ sơ")
        return [found[-1] | {"TienDoXuLy": self.copy.progress(code), "TrungMa": len(found) - 1}]

    def tech_id(self, body: Item) -> list[Item]:
        """Give the technical id of the account of a person; some have none."""
        number = str(body.get("SoDinhDanh") or "")
        if body.get("provider") != "wso2is" or not number:
            raise Refused("Thiếu tham số")
        made = made_id(f"techid:{number}")
        return [] if made[0] in "01" else [{"TECHNICALID": made}]

    def listed(self, name: str, body: Item) -> Any:
        """Give a catalogue: the whole of it in one answer, keys in capitals."""
        if name == "LayThuTuc":
            found = procedure(self.catalogue, str(body.get("maTTHC") or ""))
            if found is None:
                raise Refused("Không tìm thấy thủ tục")
            return [found]
        if name not in LISTS:
            raise Refused(f"Dịch vụ {name or '(trống)'} không tồn tại")
        return LISTS[name](self.catalogue)


# --- the score of what is held ---------------------------------------------------------------------------------------


def days_of(body: Item) -> tuple[date, date]:
    """Return first and last day of the period a body asks for; BadRequest where it names none."""
    try:
        if body.get("fromDate"):
            return date.fromisoformat(body["fromDate"]), date.fromisoformat(str(body.get("toDate")))
        year, quarter, month = (int(body.get(k) or 0) for k in ("year", "quarter", "month"))
        low = 3 * quarter - 2 if quarter else month or 1
        high = 3 * quarter if quarter else month or 12
        after = date(year + high // 12, high % 12 + 1, 1)
        return date(year, low, 1), after - timedelta(days=1)
    except (ValueError, TypeError):
        raise BadRequest("the period cannot be read") from None


def procedures_of(catalogue: Catalogue) -> dict[str, Procedure]:
    """Return what the catalogue's details say of each procedure: whether it gives a result, and takes a fee."""
    found: dict[str, Procedure] = {}
    for identifier, row in zip(catalogue.ids, catalogue.rows, strict=True):
        detail = orjson.loads(catalogue.detail(identifier) or b"{}")
        detail = detail.get("data", detail)
        fees = [f for way in detail.get("executionMethods") or () for f in way.get("fees") or ()]
        found[row["code"]] = Procedure(
            any(r.get("name") for r in detail.get("resultsDetails") or ()),
            any((f.get("value") or 0) > 0 for f in fees),
        )
    return found


def evaluated(
    endpoint: str,
    body: Item,
    copy: Copy,
    reported: dict[str, int],
    procedures: Mapping[str, Procedure] | None = None,
) -> Item | None:
    """Return `data` of an evaluation endpoint for H20, counted where a figure follows from what is held.

    What does not follow from dossiers (petitions, publication, number of services and of procedures with fees, 3.4)
    stays invented, and the same for the same period. `reported`: dossiers the units reported by the other channel,
    the denominator of 1.4.
    """
    found = simulated(endpoint, body)
    if found is not None and endpoint == "service-results":
        return _ranked(found, body, copy, reported, procedures)
    if found is None or body.get("rootDepartmentId") != H20:
        return found
    first, last = days_of(body)
    items = copy.received(f"{first:%Y%m%d}", f"{last:%Y%m%d}999999")
    # A period that still runs ends on the newest day of what is held.
    newest = copy.newest()
    today = datetime.strptime(newest, "%Y%m%d").date() if newest else last
    units = figures(items, min(last, max(first, today)), procedures)
    whole, unhappy = units.get("", Counter()), copy.dissatisfied(first, last)
    for row in found.get("children") or ():
        _tree_row(endpoint, row, units.get(str(row["departmentCode"]), Counter()), "")
    if "parent" in found:
        _tree_row(endpoint, found["parent"], whole, "total")
    for row, unit in zip(found.get("evaluation") or (), _codes(), strict=False):
        _metric_row(row, units.get(unit, Counter()), reported.get(unit, 0), unhappy[unit])
    if "overview" in found and "metrics" in found["overview"]:
        _metric_row(found["overview"], whole, sum(reported.values()), unhappy[""])
    return found


def _ranked(
    found: Item,
    body: Item,
    copy: Copy,
    reported: dict[str, int],
    procedures: Mapping[str, Procedure] | None,
) -> Item:
    """The ranking of the country, with H20 in the place its own groups' points give it."""
    first, last = days_of(body)
    asked = body | {"rootDepartmentId": H20, "fromDate": f"{first}", "toDate": f"{last}"}
    scores: dict[str, float] = {}
    for group, endpoint in GROUP_OF.items():
        given = {k: v for k, v in asked.items() if k not in ("fromDate", "toDate")}
        answer = evaluated(
            endpoint, asked if group == "MDHL" else given, copy, reported, procedures
        ) or {}  # fmt: skip
        top = answer.get("parent") or answer.get("overview") or {}
        scores[group] = float(top.get("totalScore") or 0)
    total = half_up(sum((cents(s) for s in scores.values()), Fraction(0)))
    for row in found["evaluation"]:
        if row["departmentId"] == H20:
            row |= {"totalScore": total, "ratio": total, "groupScores": scores}
    found["evaluation"].sort(key=lambda r: -r["totalScore"])
    return found


def _codes() -> list[str]:
    return [a.code for a in agencies_new() if a.code.count(".") == 1]


def _tree_row(endpoint: str, row: Item, c: Counter[str], top: str) -> None:
    score, most = ("totalScore", "totalMaxScore") if top else ("score", "maxScore")
    if endpoint == "dvc-progress-tree":
        a, b = c["received"], c["on_time"]
        row |= {"totalReceived": a, "totalOnTime": b, "ratio": half_up(100 * share(b, a)),
                score: half_up(20 * share(b, a)), most: 20}  # fmt: skip
        row |= {"totalCompleted": c["ended"]} if top else {"totalOverdue": a - b}
    elif endpoint == "provide-online-tree" and top:
        total = c["online"] + c["direct"] + c["postal"]
        row |= {"onlineDossierCount": c["online_procedures"],
                "onlineServiceTotal": max(row["onlineServiceTotal"], c["online_procedures"]),
                "channelOnlineSum": c["online"], "channelDirectSum": c["direct"], "channelPostalSum": c["postal"],
                "channelTotalSum": total, "onlineOnTimeSum": c["online_on_time"],
                "onlineOverdueSum": c["online"] - c["online_on_time"]}  # fmt: skip
        row[score], row["ratio"] = online_points(
            row["onlineServiceTotal"], row["authorityCount"], row["onlineDossierCount"], c["online"], total
        )
    elif endpoint == "formality-online-payment-tree":
        all_of = max(row["totalFeeFormality"], c["fee_procedures"])
        row |= {"totalDossierOnlinePaymentSuccess": c["paid"], "totalDossierFinancialObligation": c["duty"],
                "totalDossierOnlineFormalityPaymentSuccess": c["fee_procedures"],
                "totalFeeDossierFormalityDistinct": all_of, "totalFeeFormality": all_of}  # fmt: skip
        row["totalScore"], row["ratio"] = payment_points(
            share(c["paid"], c["duty"]),
            share(c["fee_procedures"], all_of),
            share(row["totalFeeDossierFormality"], all_of),
        )


def _metric_row(row: Item, c: Counter[str], reported: int, unhappy: int) -> None:
    #: What is counted, of how many, the points, and the share that gives them all.
    counted = {
        "DOSSIER_SYNC": (c["received"], max(reported, c["received"]), 6, Fraction(1)),
        "ORIGINAL_RESULT_AVAILABLE": (c["result_linked"], c["result_wanted"], 6, Fraction(1)),
        "SO_HOA_GIAY_TO_GIAI_QUYET": (c["both_attached"], c["received"], 4, Fraction(1)),
        "REUSED_DIGITIZED_DATA": (c["digitised"], c["received"], 2, Fraction(4, 5)),
        "SYNCED_WITH_DVCQG_PERSONAL_STORAGE": (c["stored"], c["received"], 4, Fraction(1)),
        "CITIZEN_DATA_CONNECTED_DOSSIER": (c["citizen"], c["received"], 2, Fraction(1)),
        # 5.4: without what is late and who was not satisfied; petitions, which count there too, nobody sends.
        "DOSSIER_RECEIVING_SATISFACTION": (max(c["on_time"] - unhappy, 0), c["received"], 6, Fraction(9, 10)),
    }
    if "totalDossiers" in row:
        row["totalDossiers"] = c["received"]
    for metric in row["metrics"]:
        if metric["code"] not in counted:
            continue
        above, below, most, full = counted[metric["code"]]
        for key in ("dataQualityStatus", "dataQualityMessage"):
            metric.pop(key, None)
        metric |= {"numerator": above, "denominator": below, "ratio": None, "score": None}
        if below:
            part = share(above, below)
            metric |= {
                "ratio": half_up(100 * part),
                "score": half_up(min(Fraction(most), most * part / full)),
            }
        elif metric["code"] == "DOSSIER_RECEIVING_SATISFACTION":  # [seen] without dossiers 0
            metric |= {"ratio": 0, "score": 0}
        else:
            metric["dataQualityStatus"] = "NO_NATIONAL_REPORT_DATA"
    row |= total_of(row["metrics"], row["totalMaxScore"])


# --- the server ------------------------------------------------------------------------------------------------


def create_app(username: str, password: str, path: str = ":memory:") -> FastAPI:
    """Return the application; `path` is the file of its database."""
    copy, faults = Copy(path), Faults()
    services = Services(copy, faults)
    procedures = functools.cache(lambda: procedures_of(services.catalogue))
    lifetime = int(os.environ.get("SANDBOX_TOKEN_SECONDS", "3600"))
    sessions: dict[str, float] = {}
    reported: dict[str, int] = {}
    faults.on_expire = sessions.clear

    def addressed(request: Request) -> Response | None:
        if request.query_params.get("dstcode") == DSTCODE:
            return None
        return reply('{"error_code":-1,"message":"Không tìm thấy dịch vụ theo dstcode"}'.encode(), 404)

    async def body_of(request: Request) -> Item | None:
        try:
            body = orjson.loads(await request.body() or b"null")
        except orjson.JSONDecodeError:
            return None
        return body if isinstance(body, dict) else None

    unread = '{"error_code":-1,"message":"Nội dung gửi không đúng định dạng JSON"}'.encode()

    async def login(request: Request) -> Response:
        if wrong := addressed(request):
            return wrong
        body = await body_of(request)
        if body is None:
            return reply(unread)
        services.calls["login"] += 1
        right = secrets.compare_digest(str(body.get("username")).encode(), username.encode())
        right &= secrets.compare_digest(str(body.get("password")).encode(), password.encode())
        if not right:
            return reply('{"session":null,"error_code":-1,"message":"Sai tài khoản hoặc mật khẩu"}'.encode())
        made = secrets.token_hex(16)
        sessions[made] = time.monotonic() + lifetime
        return reply(orjson.dumps({"session": made, "error_code": 0}))

    async def call(request: Request) -> Response:
        if wrong := addressed(request):
            return wrong
        body = await body_of(request)
        if body is None:
            return reply(unread)
        if sessions.get(str(body.get("session")), 0) < time.monotonic():
            faults.meet("session")
            return reply(
                '{"error_code":-1,"message":"Phiên làm việc (session) không hợp lệ hoặc đã hết hạn"}'.encode()
            )
        if not body.get("madonvi"):
            return reply('{"error_code":-1,"message":"Thiếu tham số madonvi"}'.encode())
        answer = orjson.dumps(services.answer(body))
        if late := faults.due("late_answer"):  # what was asked is done; who asked may have gone
            await asyncio.sleep(float(late.options.get("ms", 3000)) / 1000)
        return reply(answer)

    async def evaluation(request: Request) -> Response:
        body = await body_of(request)
        if body is None:
            return reply(b'{"code":"BAD_REQUEST","data":null,"message":"Body must be a JSON object"}', 400)
        try:
            data = evaluated(request.url.path.rpartition("/")[2], body, copy, reported, procedures())
        except BadRequest as error:
            return reply(orjson.dumps({"code": "BAD_REQUEST", "data": None, "message": str(error)}), 400)
        return reply(envelope(orjson.dumps(data)), 201 if faults.has("created") else 200)

    async def held(request: Request) -> Response:
        """Look at one dossier or all numbers (GET); change the copy as another writer or an accident does (POST)."""
        if request.method == "GET":
            if code := request.query_params.get("code"):
                found = {"items": copy.find(code), "progress": copy.progress(code)}
                return reply(orjson.dumps(found))
            served = {"calls": services.calls, "answered": faults.answered, "seconds": faults.seconds,
                      "under_way": faults.under_way, "most_at_once": faults.most_at_once,
                      "met": +faults.met}  # fmt: skip
            return reply(orjson.dumps(copy.numbers() | served))
        wanted = orjson.loads(await request.body())
        if wanted.get("clear"):
            copy.clear()
            services.calls.clear()
            reported.clear()
        copy.insert(wanted.get("items") or ())
        for code, changes in (wanted.get("change") or {}).items():
            for item in copy.find(code)[-1:]:
                copy.replace(code, item | changes)
        for code, other in (wanted.get("rename") or {}).items():
            for item in copy.find(code)[-1:]:
                copy.replace(code, item | {"MaHoSo": other})
        for code, other in (wanted.get("double") or {}).items():
            copy.insert(i | {"MaHoSo": other} for i in copy.find(code)[-1:])
        for code in wanted.get("delete") or ():
            copy.delete(code)
        # What the portal's operator does on request: of a code that stands there more than once the oldest is kept.
        for code in wanted.get("keep_once") or ():
            copy.keep_oldest(code)
        # The same row again, as a client does that cannot know whether it was taken.
        for code in wanted.get("double_progress") or ():
            for item in copy.progress(code)[-1:]:
                copy.append(item)
        reported.update(wanted.get("reported") or {})
        return reply(orjson.dumps(copy.numbers()))

    async def play_past(request: Request) -> Response:
        """Fill the copy with what an earlier client sent of the days `from` to `to` (both included), as of `now`."""
        wanted = orjson.loads(await request.body())
        try:
            first, last = date.fromisoformat(wanted["from"]), date.fromisoformat(wanted["to"])
            now = read_moment(wanted["now"]) if "now" in wanted else local_seconds(
                datetime.combine(last, datetime.max.time(), HANOI))  # fmt: skip
            sins = Sins(**(wanted.get("sins") or {}))
        except (KeyError, TypeError, ValueError) as error:
            return reply(orjson.dumps({"message": f"from, to, now, sins: {error}"}), 400)
        added = await asyncio.to_thread(lambda: copy.insert(past(first, last, now, sins)))
        return reply(orjson.dumps({"added": added} | copy.numbers()))

    async def export(request: Request) -> Response:
        """The file that the portal's operator hands over on request, for dossiers received `from` to `to`."""
        low = request.query_params.get("from", "").replace("-", "")
        high = request.query_params.get("to", "9").replace("-", "") + "999999"
        return StreamingResponse(export_csv(copy.received(low, high)), media_type="text/csv")

    forward = "/{adapter}/RestService/forward"
    routes = [
        *[
            Route(forward.format(adapter=a) + path, answer, methods=["POST"])
            for a in ADAPTERS
            for path, answer in (("/mapi/login", login), (f"/{GUESSED['data address']}", call))
        ],
        *[Route(f"/api/v1/reporting/evaluation/{e}", evaluation, methods=["POST"]) for e in ENDPOINTS],
        Route("/__sandbox__/held", held, methods=["GET", "POST"]),
        Route("/__sandbox__/past", play_past, methods=["POST"]),
        Route("/__sandbox__/export", export, methods=["GET"]),
    ]
    return serve("National portal exchange sandbox", routes, faults)
