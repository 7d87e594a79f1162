"""The portal's server-to-server side over real HTTP: each service, its manners, its faults, its past."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from fractions import Fraction
from typing import Any

import pytest
import requests

from sandbox.evaluation import half_up, payment_points
from sandbox.exchange import DSTCODE, EXISTS, H20
from sandbox.national_copy import DUMMY, REWRITTEN, STATUS_NAMES, Procedure, figures

from .conftest import CLIENT, Start

FORWARD = "/XrdAdapter/RestService/forward"
ITEM = {
    "MaHoSo": "H20.19-250702-0001", "MaTTHC": "2.000815", "TenTTHC": "Chứng thực bản sao", "MaLinhVuc": "G15-HT",
    "TenLinhVuc": "Chứng thực", "KenhThucHien": "2", "ChuHoSo": "Nguyễn Văn Thử", "LoaiDoiTuong": "1",
    "NgayTiepNhan": "20250702081233", "NgayHenTra": "20250704170000", "NgayKetThucXuLy": "", "NgayTra": "",
    "TrangThaiHoSo": "4", "DonViXuLy": "H20.19", "HoSoCoThanhPhanSoHoa": "1", "DuocThanhToanTrucTuyen": "1",
    "TaiKhoanDuocXacThucVoiVNeID": "0", "TaiLieuNop": [],
    "DanhSachLePhi": [{"TenPhiLePhi": "Lệ phí", "Gia": "10000", "LoaiPhiLePhi": "2"}],
}  # fmt: skip
STEP = {
    "MaHoSo": ITEM["MaHoSo"], "NguoiXuLy": "Lê Thị Thử", "ChucDanh": "", "ThoiDiemXuLy": "20250702090000",
    "PhongBanXuLy": "H20.19", "NoiDungXuLy": "Tiếp nhận", "TrangThai": "2", "NgayBatDau": "20250702081233",
    "NgayKetThucTheoQuyDinh": "",
}  # fmt: skip


class Province:
    """A signed-in caller."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.session = self.login()["session"]

    def login(self, **changes: str) -> dict[str, Any]:
        body = {"username": CLIENT["client_id"], "password": CLIENT["client_secret"]} | changes
        return self.post("/mapi/login", body).json()

    def post(self, path: str, body: Any, dstcode: str = DSTCODE) -> requests.Response:
        return requests.post(
            f"{self.address}{FORWARD}{path}", params={"dstcode": dstcode}, json=body, timeout=30
        )

    def ask(self, service: str, **parameters: Any) -> dict[str, Any]:
        body = {"session": self.session, "madonvi": "H20", "service": service, **parameters}
        answer = self.post("/mapi/g", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, *items: dict[str, Any], updating: str = "False") -> dict[str, Any]:
        return self.ask("DongBoHoSoMC", isUpdating=updating, data=list(items))

    def own(self, path: str, **body: Any) -> dict[str, Any]:
        answer = requests.post(f"{self.address}/__sandbox__/{path}", json=body, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def held(self, code: str = "") -> dict[str, Any]:
        return requests.get(f"{self.address}/__sandbox__/held", params={"code": code}, timeout=30).json()

    def score(self, endpoint: str, **body: Any) -> dict[str, Any]:
        asked = {"timeType": "month", "year": 2025, "month": 7, "rootDepartmentId": H20} | body
        answer = requests.post(
            f"{self.address}/api/v1/reporting/evaluation/{endpoint}", json=asked, timeout=30
        )
        assert answer.status_code == 201
        return answer.json()["data"]


@pytest.fixture(scope="module")
def address(start: Start) -> str:
    return start("exchange", SANDBOX_FAULTS="[]")


@pytest.fixture
def province(address: str) -> Province:
    """A signed-in caller, of a copy that holds nothing."""
    for path, body in (("faults", {"fault": "clear"}), ("held", {"clear": True})):
        assert requests.post(f"{address}/__sandbox__/{path}", json=body, timeout=10).ok
    return Province(address)


def test_signing_in_gives_a_session_and_a_number_as_code(province: Province) -> None:
    assert province.login()["error_code"] == 0
    assert len(province.session) == 32
    refused = province.login(password="sai")
    assert refused["error_code"] == -1
    assert refused["session"] is None
    assert province.post("/mapi/login", {}, dstcode="VN:GOV:000.00.00.G22:khac").status_code == 404
    for adapter in ("XrdAdapter", "VXPAdapter"):
        url = f"{province.address}/{adapter}/RestService/forward/mapi/login"
        body = {"username": CLIENT["client_id"], "password": CLIENT["client_secret"]}
        assert (
            requests.post(url, params={"dstcode": DSTCODE}, json=body, timeout=10).json()["error_code"] == 0
        )


def test_a_session_ends(province: Province) -> None:
    province.own("faults", fault="expire_token")
    told = province.ask("TraCuuHoSo", mahoso="x")
    assert told["error_code"] == -1
    assert "session" in told["message"]


def test_a_dossier_is_inserted_once_and_updated_after(province: Province) -> None:
    assert province.send(ITEM) == {
        "error_code": "0",
        "message": "Đồng bộ dữ liệu thành công",
        "result": [],
    }
    again = province.send(ITEM)
    assert again["error_code"] == "3"
    assert EXISTS in again["message"]
    assert province.send(ITEM | {"TrangThaiHoSo": "10"}, updating="True")["error_code"] == "0"
    (found,) = province.ask("TraCuuHoSo", mahoso=ITEM["MaHoSo"])["result"]
    assert found == ITEM | {"TrangThaiHoSo": "10", "TienDoXuLy": [], "TrungMa": 0}
    unknown = province.send(ITEM | {"MaHoSo": "H20.19-250702-0002"}, updating="True")
    assert unknown["error_code"] == "-1"
    assert "không tồn tại" in unknown["message"]
    assert province.ask("TraCuuHoSo", mahoso="H20.19-250702-0002")["result"] == []


def test_a_part_of_a_call_is_refused_in_a_sentence_that_says_success(province: Province) -> None:
    bad = {k: v for k, v in ITEM.items() if k != "NgayTiepNhan"} | {"MaHoSo": "H20.19-250702-0003"}
    worse = ITEM | {"MaHoSo": "H20.19-250702-0004", "NgayHenTra": "04/07/2025"}
    told = province.send(ITEM, bad, worse)
    assert told["error_code"] == "-1"
    assert "thành công 1/3" in told["message"]
    assert [(r["MaHoSo"], r["message"]) for r in told["result"]] == [
        (bad["MaHoSo"], "Thiếu trường bắt buộc NgayTiepNhan"),
        (worse["MaHoSo"], "Trường NgayHenTra không đúng định dạng yyyyMMddHHmmss"),
    ]
    province.own("faults", fault="item_results", off=True)
    assert province.send(ITEM | {"MaHoSo": "H20.19-250702-0005"}, bad)["result"] == []
    assert province.held()["dossier"] == 2


def test_progress_needs_its_dossier_and_is_not_kept_from_doubling(province: Province) -> None:
    assert "không tồn tại" in province.ask("CapNhatTienDoHoSoMC", data=[STEP])["message"]
    province.send(ITEM)
    for _ in range(2):
        assert province.ask("CapNhatTienDoHoSoMC", data=[STEP])["error_code"] == "0"
    (found,) = province.ask("TraCuuHoSo", mahoso=ITEM["MaHoSo"])["result"]
    assert found["TienDoXuLy"] == [STEP, STEP]
    assert province.held()["doubled_progress"] == 1


def test_ratings_count_in_the_satisfaction_with_dossiers(province: Province) -> None:
    """5.4 is what is neither late nor disliked, full at 90 per cent; the newest rating of a unit's month counts."""
    done = ITEM | {"NgayKetThucXuLy": "20250703150000", "TrangThaiHoSo": "9", "DonViXuLy": "H20.19"}
    late = done | {"NgayKetThucXuLy": "20250709150000"}
    items = [done | {"MaHoSo": f"m{n}"} for n in range(18)] + [late | {"MaHoSo": f"l{n}"} for n in range(2)]
    province.own("held", items=items)

    def satisfied(month: int = 7) -> tuple[Any, ...]:
        days = {"fromDate": f"2025-{month:02d}-01", "toDate": f"2025-{month:02d}-31"}
        told = province.score("handling-satisfaction", **days)["overview"]
        metric = _metric({"overview": told}, "DOSSIER_RECEIVING_SATISFACTION")
        return told["totalDossiers"], metric["numerator"], metric["denominator"], metric["score"]

    rating = {"NgayTongHop": "7-2025", "Madonvi": "H20.19", "TongSoNguoiDanhGia": "12"}
    assert satisfied() == (20, 18, 20, 6.0)
    for percent, wanted in (("50%", (20, 12, 20, 4.0)), ("25 %", (20, 15, 20, 5.0))):
        row = rating | {"PhanTramDanhGiaChuaHaiLong": percent}
        assert province.ask("DongBoDanhGia", data=[row])["error_code"] == "0"
        assert satisfied() == wanted
    assert province.ask("DongBoDanhGia", data=[rating | {"NgayTongHop": "6-2025"}])["error_code"] == "0"
    assert satisfied() == (20, 15, 20, 5.0)
    assert satisfied(8) == (0, 0, 0, 0)
    for wrong in (
        {"NgayTongHop": "13-2025"}, {"TongSoNguoiDanhGia": "ít"}, {"PhanTramDanhGiaChuaHaiLong": "một phần"},
    ):  # fmt: skip
        told = province.ask("DongBoDanhGia", data=[rating | wrong])
        assert f"Trường {next(iter(wrong))}" in told["message"]


def test_satisfaction_and_accounts(province: Province) -> None:
    row = {
        "NgayTongHop": "7-2025",
        "Madonvi": "H20",
        "TongSoNguoiDanhGia": "12",
        "PhanTramDanhGiaRatHaiLong": "50%",
    }
    assert province.ask("DongBoDanhGia", data=[row])["error_code"] == "0"
    assert "NgayTongHop" in province.ask("DongBoDanhGia", data=[row | {"NgayTongHop": "2025-07"}])["message"]
    answers = [
        province.ask("TraCuuTechID", provider="wso2is", SoDinhDanh=f"00320000{n:04d}")["result"]
        for n in range(40)
    ]
    assert all(len(a[0]["TECHNICALID"]) == 36 for a in answers if a)
    assert [] in answers, "some have no account"


@pytest.mark.parametrize(
    ("service", "keys"),
    [
        ("LayDanhSachTTHC", {"MATTHC", "TENTTHC"}),
        ("LayDanhMucCoQuan", {"MADONVI", "TENDONVI", "CAPDONVI"}),
        ("LayDanhMucLinhVuc", {"MALINHVUC", "TENLINHVUC", "MANGANH"}),
        ("LayDanhMucTinhThanh", {"MATINHTHANH", "TENTINHTHANH"}),
        ("LayDanhMucPhuongXa", {"MAPHUONGXA", "TENPHUONGXA", "MATINHTHANH"}),
        ("LayDanhMucGioiTinh", {"MAGIOITINH", "TENGIOITINH"}),
        ("LayDanhMucDoiTuong", {"MADOITUONG", "TENDOITUONG"}),
        ("LayDanhMucCapThucHien", {"MACAPTHUCHIEN", "TENCAPTHUCHIEN"}),
        ("LayDanhMucLePhi", {"MAPHILEPHI", "SOTIEN", "DONVI", "MOTA"}),
        ("LayDanhMucCanCuPhapLy", {"SOVANBAN", "TENVANBAN"}),
        ("LayDanhMucQuanHuyen", {"MAQUANHUYEN", "TENQUANHUYEN", "MATINHTHANH"}),
        ("LayDanhMucQuocGia", {"MAQUOCGIA", "TENQUOCGIA"}),
        ("LayDanhMucDanToc", {"MADANTOC", "TENDANTOC"}),
        ("LayDanhMucTonGiao", {"MATONGIAO", "TENTONGIAO"}),
        ("LayDanhMucTinhTrangHonNhan", {"MATINHTRANGHONNHAN", "TENTINHTRANGHONNHAN"}),
    ],
)
def test_catalogues_come_whole_and_in_capitals(province: Province, service: str, keys: set[str]) -> None:
    told = province.ask(service)
    assert told["error_code"] == 0
    assert told["result"]
    assert all(set(row) == keys for row in told["result"])


def test_lists_are_of_what_there_is(province: Province) -> None:
    peoples = province.ask("LayDanhMucDanToc")["result"]
    assert (len(peoples), peoples[0], peoples[-1]["MADANTOC"]) == (
        54, {"MADANTOC": "01", "TENDANTOC": "Kinh"}, "54",
    )  # fmt: skip
    assert len(province.ask("LayDanhMucTinhThanh")["result"]) == 34
    districts = province.ask("LayDanhMucQuanHuyen")["result"]
    assert {r["MATINHTHANH"] for r in districts} == {"82", "87"}, "as they were until 30/6/2025"
    assert {"MAQUANHUYEN": "815", "TENQUANHUYEN": "Thành phố Mỹ Tho", "MATINHTHANH": "82"} in districts
    assert {r["DONVI"] for r in province.ask("LayDanhMucLePhi")["result"]} == {"VND", "USD"}


def test_what_came_of_a_promotion_notice_is_taken_by_its_dossier(province: Province) -> None:
    """One object as `data`, type "2", status 11 for what is not taken [seen in one client]."""
    paper = {
        "TepDinhKemId": None, "TenTepDinhKem": "tra_loi.pdf", "IsDeleted": "False", "MaThanhPhanHoSo": "",
        "DuongDanTaiTepTin": "/fi/9",
    }  # fmt: skip
    data = {
        "MaHoSo": ITEM["MaHoSo"], "TrangThai": "11", "MaHoSoDonVi": ITEM["MaHoSo"], "MaDoiTuong": "",
        "NoiDung": "Không thuộc thẩm quyền", "NgayXuLy": "20250703090000", "TaiLieuXuLy": [paper],
    }  # fmt: skip

    def told(kind: str = "2", **changes: Any) -> dict[str, Any]:
        return province.ask("DongBoTrangThaiHoSo", type=kind, data=data | changes)

    assert "không tồn tại" in told()["message"]
    province.send(ITEM)
    assert told() == {"error_code": "0", "message": "Đồng bộ dữ liệu thành công", "result": []}
    (found,) = province.ask("TraCuuHoSo", mahoso=ITEM["MaHoSo"])["result"]
    assert (found["TrangThaiHoSo"], found["TaiLieuXuLy"], found["ChuHoSo"]) == (
        "11",
        [paper],
        ITEM["ChuHoSo"],
    )
    assert told(kind="1")["error_code"] == "-1"
    assert "TrangThai" in told(TrangThai="12")["message"]
    assert "yyyyMMddHHmmss" in told(NgayXuLy="03/07/2025")["message"]
    (kept,) = province.held(ITEM["MaHoSo"])["items"]
    assert (kept["TrangThaiHoSo"], kept["NgayXuLy"]) == ("11", "20250703090000"), (
        "what was refused left it as it was"
    )


def test_a_procedure_and_the_services(province: Province) -> None:
    (found,) = province.ask("LayThuTuc", maTTHC="1.001193")["result"]
    assert {"MATTHC", "CACHTHUCTHUCHIEN", "LINHVUCTHUCHIEN", "THANHPHANHOSO"} <= set(found)
    assert found["CACHTHUCTHUCHIEN"][0]["THOIGIAN"][0]["DONVITINH"]
    assert province.ask("LayThuTuc", maTTHC="9.999999")["error_code"] == -1
    assert province.ask("LayDVC")["result"]["data"][0]["MADVC"]
    assert "không tồn tại" in province.ask("LayDanhSachHoSo")["message"], "nobody knows of such a list"
    province.own("faults", fault="message_json")
    told = province.ask("LayDanhMucCoQuan")
    assert json.loads(told["message"])["result"][0]["MADONVI"] == "H20"


def test_a_lost_answer_was_applied(province: Province) -> None:
    for fault in ("drop_connection", "truncate"):
        province.own("faults", fault=fault)
        with pytest.raises(requests.RequestException):
            province.send(ITEM | {"MaHoSo": fault})
        assert province.held(fault)["items"], fault
    province.own("faults", fault="late_answer", ms=800)
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{province.address}{FORWARD}/mapi/g", params={"dstcode": DSTCODE}, timeout=0.3,
            json={"session": province.session, "madonvi": "H20", "service": "DongBoHoSoMC", "isUpdating": "False",
                  "data": [ITEM]},
        )  # fmt: skip
    assert province.held(ITEM["MaHoSo"])["items"] == [ITEM]
    province.own("faults", fault="status", status=503)
    assert province.post("/mapi/g", {}).status_code == 503
    province.own("faults", fault="refuse_items")
    assert "thử lại" in province.send(ITEM | {"MaHoSo": "bận"})["message"]
    assert province.held("bận")["items"] == []


def test_the_past_holds_what_an_earlier_client_did(province: Province) -> None:
    """Each sin alone, beside the same days without any: it changes what it says, and nothing else."""
    none = {"rewritten": False, "lost": False, "other_code": False, "twice": 0.0, "storage_default": False}
    day = {"from": "2025-07-02", "to": "2025-07-02", "now": "2025-07-10T00:00:00+07:00"}

    def played(**sins: Any) -> list[dict[str, str]]:
        province.own("held", clear=True)
        counted = province.own("past", **day, sins=none | sins)
        rows = list(csv.DictReader(io.StringIO(_export(province).decode("utf-8-sig"))))
        assert counted["dossier"] == counted["added"] == len(rows)
        return rows

    clean = played()
    assert len(clean) > 1000
    assert len({r["Mã hồ sơ"] for r in clean}) == len(clean)
    # 5, 6 and 8 stand there as 9.
    rewritten = {STATUS_NAMES[a]: STATUS_NAMES[b] for a, b in REWRITTEN.items()}
    assert {STATUS_NAMES["5"], STATUS_NAMES["8"]} <= {r["Trạng thái"] for r in clean}
    assert played(rewritten=True) == [
        r | {"Trạng thái": rewritten.get(r["Trạng thái"], r["Trạng thái"])} for r in clean
    ]
    # Some never arrived.
    lost = played(lost=True)
    assert 0 < len(clean) - len(lost) < len(clean) / 5
    assert [r for r in clean if r in lost] == lost
    # Some stand under a code the client made up, and of those some under their own, too.
    coded = played(other_code=True)
    assert [r | {"Mã hồ sơ": ""} for r in coded] == [r | {"Mã hồ sơ": ""} for r in clean]
    other = {a["Mã hồ sơ"]: b["Mã hồ sơ"] for a, b in zip(clean, coded, strict=True) if a != b}
    assert 0 < len(other) < len(clean)
    twice = played(other_code=True, twice=0.2)
    again = [r for r in twice if r not in coded]
    assert 0 < len(again) < len(other)
    assert len(twice) == len(clean) + len(again)
    assert {r["Mã hồ sơ"] for r in again} <= set(other)
    assert all(r in clean for r in again)
    # Every paper is said to come from the personal store; who gave no number has the dummy.
    played(storage_default=True)
    items = [province.held(r["Mã hồ sơ"])["items"][0] for r in clean[:400]]
    assert {p["DuocLayTuKhoDMQG"] for i in items for p in i["TaiLieuNop"]} == {"1"}
    assert DUMMY in {i["DinhDanhCHS"][0]["SoDinhDanh"] for i in items}
    played()
    items = [province.held(r["Mã hồ sơ"])["items"][0] for r in clean[:100]]
    assert "0" in {p["DuocLayTuKhoDMQG"] for i in items for p in i["TaiLieuNop"]}


def _export(province: Province) -> bytes:
    return requests.get(
        f"{province.address}/__sandbox__/export",
        params={"from": "2025-07-02", "to": "2025-07-02"},
        timeout=60,
    ).content


def test_what_is_sent_changes_the_score(province: Province) -> None:
    province.own("held", reported={"H20.19": 4})
    done = ITEM | {"NgayKetThucXuLy": "20250703150000", "TrangThaiHoSo": "9"}
    late = ITEM | {
        "MaHoSo": "b",
        "NgayKetThucXuLy": "20250709150000",
        "TrangThaiHoSo": "9",
        "KenhThucHien": "1",
    }
    province.send(done, late)
    tree = province.score("dvc-progress-tree")
    child = next(c for c in tree["children"] if c["departmentCode"] == "H20.19")
    assert (child["totalReceived"], child["totalOnTime"], child["score"]) == (2, 1, 10.0)
    assert tree["parent"]["totalReceived"] == 2
    sync = _metric(province.score("transparency"), "DOSSIER_SYNC")
    assert (sync["numerator"], sync["denominator"], sync["score"]) == (2, 4, 3.0)
    province.send(ITEM | {"MaHoSo": "c"}, ITEM | {"MaHoSo": "d"})
    assert _metric(province.score("transparency"), "DOSSIER_SYNC")["score"] == 6.0
    province.send(late | {"NgayKetThucXuLy": "20250703150000"}, updating="True")
    # Those without an end are in time while their day has not come.
    assert province.score("dvc-progress-tree")["parent"]["totalOnTime"] == 4
    online = province.score("provide-online-tree")["parent"]
    assert (online["channelOnlineSum"], online["channelDirectSum"]) == (3, 1)
    paid = province.score("formality-online-payment-tree")["parent"]
    assert (paid["totalDossierFinancialObligation"], paid["totalDossierOnlinePaymentSuccess"]) == (4, 4)
    assert (online["onlineDossierCount"], paid["totalDossierOnlineFormalityPaymentSuccess"]) == (1, 1)
    assert _metric(province.score("dossier-digitized"), "REUSED_DIGITIZED_DATA")["score"] == 2.0
    assert province.score("dvc-progress-tree", month=8)["parent"]["totalReceived"] == 0


FILE = "/fi/1"
#: What an item adds to ITEM, and the figures of the note (7.4 b) it is counted in, of duty, paid, result_wanted,
#: result_linked, both_attached, digitised, stored, citizen. ITEM is digitised, has a fee and is paid by the portal; its
#: procedure gives a result.
COUNTED: list[tuple[dict[str, Any], str]] = [
    ({}, "duty paid result_wanted digitised"),
    ({"DuocThanhToanTrucTuyen": "2"}, "duty paid result_wanted digitised"),
    # A code of no list [seen].
    ({"DuocThanhToanTrucTuyen": "3"}, "duty result_wanted digitised"),
    # Every Gia is 0: no duty; nothing written of a procedure with a fee: a duty.
    ({"DanhSachLePhi": [{"Gia": "0"}, {"Gia": "0"}]}, "result_wanted digitised"),
    ({"DanhSachLePhi": [{"Gia": "0"}, {"Gia": "1"}]}, "duty paid result_wanted digitised"),
    ({"DanhSachLePhi": []}, "duty paid result_wanted digitised"),
    ({"DanhSachLePhi": [], "MaTTHC": "free"}, "digitised"),
    ({"MaTTHC": "with fee.000.00.00.H56", "DanhSachLePhi": []}, "duty paid result_wanted digitised"),
    # 4.1: the link, also before the end; of a procedure that gives none it is not counted.
    ({"DanhSachGiayToKetQua": [{"DuongDanTepTinKetQua": FILE}]}, "duty paid result_wanted result_linked digitised"),
    ({"DanhSachGiayToKetQua": [{"DuongDanTepTinKetQua": ""}]}, "duty paid result_wanted digitised"),
    ({"DanhSachGiayToKetQua": [{"DuongDanTepTinKetQua": FILE}], "MaTTHC": "free"}, "duty paid digitised"),
    ({"DanhSachGiayToKetQua": [{"DuongDanTepTinKetQua": FILE}], "MaTTHC": "not in the catalogue"},
     "duty paid result_wanted result_linked digitised"),
    # 4.2: an attachment on both sides.
    ({"DanhSachGiayToKetQua": [{"DuongDanTepTinKetQua": FILE}], "TaiLieuNop": [{"DuongDanTaiTepTin": FILE}]},
     "duty paid result_wanted result_linked both_attached digitised"),
    ({"TaiLieuNop": [{"DuongDanTaiTepTin": FILE}]}, "duty paid result_wanted digitised"),
    # 4.3: by either field.
    ({"HoSoCoThanhPhanSoHoa": "0"}, "duty paid result_wanted"),
    ({"HoSoCoThanhPhanSoHoa": "0", "TaiLieuNop": [{"DuocSoHoa": "1"}]}, "duty paid result_wanted digitised"),
    # 4.4 and 4.5.
    ({"TaiLieuNop": [{"DuocLayTuKhoDMQG": "1"}]}, "duty paid result_wanted digitised stored citizen"),
    ({"TaiKhoanDuocXacThucVoiVNeID": "1"}, "duty paid result_wanted digitised citizen"),
    ({"DSKetNoiCSDL": [{"MaCSDL": "7"}]}, "duty paid result_wanted digitised citizen"),
    ({"DSKetNoiCSDL": [{"MaCSDL": "1"}]}, "duty paid result_wanted digitised"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "wanted"), COUNTED)
def test_fees_and_digitisation_are_counted_as_the_note_says(changes: dict[str, Any], wanted: str) -> None:
    known = {"with fee": Procedure(True, True), "free": Procedure(False, False)}
    counted = figures([ITEM | {"MaTTHC": "with fee"} | changes], date(2025, 7, 31), known)["H20.19"]
    of = ("duty", "paid", "result_wanted", "result_linked", "both_attached", "digitised", "stored", "citizen")
    assert " ".join(name for name in of if counted[name]) == wanted


def test_the_score_counts_by_the_catalogue_it_gives(province: Province) -> None:
    """Fees and results of the procedures as LayThuTuc tells them decide how dossiers without either count."""
    listed = [r["MATTHC"] for r in province.ask("LayDanhSachTTHC")["result"]]
    fees: dict[bool, str] = {}
    for code in listed:
        (told,) = province.ask("LayThuTuc", maTTHC=code)["result"]
        times = [t for way in told["CACHTHUCTHUCHIEN"] for t in way["THOIGIAN"]]
        has_fee = any(int(fee["SOTIEN"]) > 0 for t in times for fee in t["PHILEPHI"])
        if told["KETQUATHUCHIEN"][0]["TENKETQUA"]:
            fees.setdefault(has_fee, code)
        if len(fees) == 2:
            break
    bare = ITEM | {"DanhSachLePhi": [], "DanhSachGiayToKetQua": []}
    for number, code in enumerate(fees.values()):
        province.send(bare | {"MaHoSo": f"m{number}", "MaTTHC": code})
    paid = province.score("formality-online-payment-tree")["parent"]
    assert paid["totalDossierFinancialObligation"] == 1
    linked = _metric(province.score("dossier-digitized"), "ORIGINAL_RESULT_AVAILABLE")
    assert (linked["numerator"], linked["denominator"], linked["score"]) == (0, 2, 0.0)


def test_the_rank_of_the_province_follows_from_what_is_held(province: Province) -> None:
    def ranked() -> dict[str, Any]:
        (row,) = [r for r in province.score("service-results")["evaluation"] if r["departmentCode"] == "H20"]
        assert row["totalScore"] == pytest.approx(sum(row["groupScores"].values()), abs=1e-9)
        return row

    late = ITEM | {"NgayKetThucXuLy": "20250709150000", "TrangThaiHoSo": "9"}
    province.send(late)
    before = ranked()
    assert before["groupScores"]["TDGQ"] == 0.0
    province.send(late | {"NgayKetThucXuLy": "20250703150000"}, updating="True")
    after = ranked()
    assert after["groupScores"]["TDGQ"] == 20.0
    # 2.1, and 5.4: what is late satisfies nobody.
    assert after["totalScore"] == pytest.approx(before["totalScore"] + 20 + 6)
    tree = province.score("formality-online-payment-tree")["parent"]
    assert after["groupScores"]["TTTT"] == tree["totalScore"]
    listed = province.score("service-results")["evaluation"]
    assert [r["totalScore"] for r in listed] == sorted((r["totalScore"] for r in listed), reverse=True)
    assert len(listed) == 34


def test_a_procedure_of_two_units_is_one_of_the_province() -> None:
    items = [
        ITEM,
        ITEM | {"MaHoSo": "b", "DonViXuLy": "H20.44"},
        ITEM | {"MaHoSo": "c", "MaTTHC": "1.001193"},
        ITEM | {"MaHoSo": "d", "MaTTHC": "1.001194", "KenhThucHien": "1", "DanhSachLePhi": [{"Gia": "0"}]},
    ]
    found = figures(items, date(2025, 7, 31))
    of = ("received", "fee_procedures", "online_procedures")
    assert {unit: tuple(c[name] for name in of) for unit, c in found.items()} == {
        "H20.19": (3, 2, 2), "H20.44": (1, 1, 1), "": (4, 2, 2),
    }  # fmt: skip


def test_a_tie_is_rounded_up_as_the_portal_does(province: Province) -> None:
    """20 x 1/160 is 0.125 and 6 x 1/400 is 0.015: half to even, or in binary numbers, they would be 0.12 and 0.01."""
    late = ITEM | {"NgayKetThucXuLy": "20250709150000", "TrangThaiHoSo": "9", "DonViXuLy": "H20.19"}
    items = [late | {"MaHoSo": f"m{n}"} for n in range(159)]
    province.own("held", items=[ITEM | {"TrangThaiHoSo": "9", "NgayKetThucXuLy": "20250703150000"}, *items])
    tree = province.score("dvc-progress-tree")["parent"]
    assert (tree["totalOnTime"], tree["totalReceived"], tree["totalScore"]) == (1, 160, 0.13)
    province.own("held", clear=True)
    province.own("held", items=[ITEM], reported={"H20.19": 400})
    sync = _metric(province.score("transparency"), "DOSSIER_SYNC")
    assert (sync["numerator"], sync["denominator"], sync["ratio"], sync["score"]) == (1, 400, 0.25, 0.02)


@pytest.mark.parametrize(
    ("number", "written"),
    [(Fraction(1, 8), 0.13), (Fraction(3, 8), 0.38), (Fraction(1005, 1000), 1.01), (Fraction(1, 3), 0.33),
     (Fraction(-1, 8), -0.13), (18, 18.0)],
)  # fmt: skip
def test_points_have_two_decimals_half_up(number: Fraction, written: float) -> None:
    assert half_up(number) == written


def test_payment_is_rounded_term_by_term() -> None:
    """0.005 + 0.005 + 0.005 would be 0.015, so 0.02; each rounded they are 0.03 [seen: 164 of 164 units]."""
    assert payment_points(Fraction(1, 1200), Fraction(1, 500), Fraction(1, 500)) == (0.03, 0.3)


def _metric(data: dict[str, Any], code: str) -> dict[str, Any]:
    return next(m for m in data["overview"]["metrics"] if m["code"] == code)


def test_the_copy_outlives_its_server(start: Start, tmp_path: Any) -> None:
    path = str(tmp_path / "copy.db")
    Province(start("exchange", "--database", path, SANDBOX_FAULTS="[]")).send(ITEM)
    assert Province(start("exchange", "--database", path, SANDBOX_FAULTS="[]")).held(ITEM["MaHoSo"])[
        "items"
    ] == [ITEM]
