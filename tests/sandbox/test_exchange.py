"""The portal's server-to-server side over real HTTP: each service, its manners, its faults, its past."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
import requests

from sandbox.exchange import DSTCODE, EXISTS, H20
from sandbox.national_copy import DUMMY, STATUS_NAMES

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
        ("LayDanhMucGioiTinh", {"MAGIOITINH", "TENGIOITINH"}),
    ],
)
def test_catalogues_come_whole_and_in_capitals(province: Province, service: str, keys: set[str]) -> None:
    told = province.ask(service)
    assert told["error_code"] == 0
    assert told["result"]
    assert set(told["result"][0]) == keys


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
    days = {"from": "2025-07-02", "to": "2025-07-03", "now": "2025-07-10T00:00:00+07:00"}
    counted = province.own("past", **days)
    assert counted["dossier"] == counted["added"] > 2000
    rows = list(csv.DictReader(io.StringIO(_export(province).decode("utf-8-sig"))))
    assert len(rows) == counted["dossier"]
    said = {r["Trạng thái"] for r in rows}
    assert not said & {STATUS_NAMES["5"], STATUS_NAMES["6"], STATUS_NAMES["8"]}
    assert {STATUS_NAMES["9"], STATUS_NAMES["10"]} <= said
    codes = {r["Mã hồ sơ"] for r in rows}
    twice = [
        c
        for c in codes
        if any(c.startswith(f"{other}-") for other in (c.rsplit("-", 1)[0],) if other in codes)
    ]
    assert twice, "some stand there under two codes"
    item = province.held(rows[0]["Mã hồ sơ"])["items"][0]
    assert all(p["DuocLayTuKhoDMQG"] == "1" for p in item["TaiLieuNop"])
    clean = province.own(
        "past", **days, sins={"rewritten": False, "lost": False, "other_code": False, "twice": 0}
    )
    assert clean["added"] > counted["added"] - len(twice), "what was lost is there without the sin"
    numbers = {province.held(r["Mã hồ sơ"])["items"][0]["DinhDanhCHS"][0]["SoDinhDanh"] for r in rows[:300]}
    assert DUMMY in numbers
    assert {STATUS_NAMES["5"]} <= {
        r["Trạng thái"] for r in csv.DictReader(io.StringIO(_export(province).decode("utf-8-sig")))
    }


def _export(province: Province) -> bytes:
    return requests.get(
        f"{province.address}/__sandbox__/export",
        params={"from": "2025-07-02", "to": "2025-07-03"},
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
    assert _metric(province.score("dossier-digitized"), "SO_HOA_GIAY_TO_GIAI_QUYET")["score"] == 4.0
    assert province.score("dvc-progress-tree", month=8)["parent"]["totalReceived"] == 0


def _metric(data: dict[str, Any], code: str) -> dict[str, Any]:
    return next(m for m in data["overview"]["metrics"] if m["code"] == code)


def test_the_copy_outlives_its_server(start: Start, tmp_path: Any) -> None:
    path = str(tmp_path / "copy.db")
    Province(start("exchange", "--database", path, SANDBOX_FAULTS="[]")).send(ITEM)
    assert Province(start("exchange", "--database", path, SANDBOX_FAULTS="[]")).held(ITEM["MaHoSo"])[
        "items"
    ] == [ITEM]
