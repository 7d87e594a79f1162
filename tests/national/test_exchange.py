"""Each service of the portal's server-to-server side (platform facts, section 1) as our caller reads it, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from connectors.base import SourceRefused
from national.exchange import Budget, Exchange, Uncertain
from tests.conftest import CLIENT_ID, CLIENT_SECRET
from tests.sandbox.test_exchange import ITEM, STEP

CODE = ITEM["MaHoSo"]
CATALOGUES = {
    "LayDanhSachTTHC": "MATTHC", "LayDanhMucCoQuan": "MADONVI", "LayDanhMucLinhVuc": "MALINHVUC",
    "LayDanhMucTinhThanh": "MATINHTHANH", "LayDanhMucPhuongXa": "MAPHUONGXA", "LayDanhMucGioiTinh": "MAGIOITINH",
    "LayDanhMucDoiTuong": "MADOITUONG", "LayDanhMucCapThucHien": "MACAPTHUCHIEN", "LayDanhMucLePhi": "MAPHILEPHI",
    "LayDanhMucCanCuPhapLy": "SOVANBAN", "LayDanhMucQuanHuyen": "MAQUANHUYEN", "LayDanhMucQuocGia": "MAQUOCGIA",
    "LayDanhMucDanToc": "MADANTOC", "LayDanhMucTonGiao": "MATONGIAO",
    "LayDanhMucTinhTrangHonNhan": "MATINHTRANGHONNHAN",
}  # fmt: skip


@pytest.fixture
def caller(exchange: str) -> Exchange:
    post(exchange, "faults", fault="clear")
    post(exchange, "faults", fault="item_results")
    post(exchange, "held", clear=True)
    return Exchange(exchange, CLIENT_ID, CLIENT_SECRET, "H20", Budget(999), pause=0.0, patience=(5.0, 1.0))


def post(address: str, path: str, **body: Any) -> None:
    requests.post(f"{address}/__sandbox__/{path}", json=body, timeout=10).raise_for_status()


def test_one_session_serves_all_calls_and_another_is_made_when_it_ends(caller):
    for _ in range(3):
        assert caller.look_up("none") is None
    post(caller.base_url, "faults", fault="expire_token")
    assert caller.look_up("none") is None
    assert caller.budget.calls == {"login": 2, "TraCuuHoSo": 5}
    assert caller.met == {("TraCuuHoSo", "session ended"): 1}


def test_a_wrong_password_and_a_wrong_address_are_told(exchange):
    def made(password: str, **options: Any) -> Exchange:
        return Exchange(exchange, CLIENT_ID, password, "H20", Budget(9), pause=0.0, **options)

    with pytest.raises(SourceRefused, match=r"login.*refused.*Check user and password") as told:
        made("sai").look_up("x")
    assert "sai" not in str(told.value)
    with pytest.raises(SourceRefused, match=r"HTTP 404.*Check address and dstcode"):
        made(CLIENT_SECRET, dstcode="VN:GOV:000.00.00.G22:khac").look_up("x")


def test_dossiers_are_inserted_and_updated_and_what_is_refused_is_told_by_its_code(caller):
    other = ITEM | {"MaHoSo": "H20.19-250702-0002"}
    bad = ITEM | {"MaHoSo": "H20.19-250702-0003", "NgayHenTra": "04/07/2025"}
    told = caller.send_dossiers([ITEM], updating=False)
    assert (told.ok, told.refused) == (True, {})
    # Of three one stood there, one is wrong, and one was taken: the sentence says "thành công" all the same.
    told = caller.send_dossiers([ITEM, other, bad], updating=False)
    assert (told.ok, told.told) == (False, True)
    assert "thành công 1/3" in told.words
    assert {code: words.split()[-1] for code, words in told.refused.items()} == {
        CODE: "tại", bad["MaHoSo"]: "yyyyMMddHHmmss"}  # fmt: skip
    assert caller.send_dossiers([ITEM | {"TrangThaiHoSo": "10"}], updating=True).ok
    assert caller.look_up(CODE) == (ITEM | {"TrangThaiHoSo": "10"}, [], 0)
    assert "không tồn tại" in caller.send_dossiers([bad | {"NgayHenTra": ""}], updating=True).words
    # Where it tells of no item, we know that we do not know.
    post(caller.base_url, "faults", fault="item_results", off=True)
    told = caller.send_dossiers([ITEM, other], updating=False)
    assert (told.ok, told.told, told.refused) == (False, False, {})


def test_progress_is_added_and_told_with_its_dossier_and_its_doubles(caller):
    assert "không tồn tại" in caller.send_progress([STEP]).words
    caller.send_dossiers([ITEM], updating=False)
    assert caller.send_progress([STEP]).ok
    post(caller.base_url, "held", double={CODE: CODE})
    assert caller.look_up(CODE) == (ITEM, [STEP], 1)


@pytest.mark.parametrize("fault", ["drop_connection", "truncate", "late_answer"])
def test_a_lost_answer_is_uncertain_whether_or_not_it_was_applied(caller, fault):
    post(caller.base_url, "faults", fault=fault, ms=1500, calls=1)
    caller._sign_in(None)
    post(caller.base_url, "faults", fault="clear")
    post(caller.base_url, "faults", fault=fault, ms=1500, calls=1)
    with pytest.raises(Uncertain):
        caller.send_dossiers([ITEM], updating=False)
    assert caller.look_up(CODE) == (ITEM, [], 0)


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(("service", "key"), CATALOGUES.items())
def test_a_catalogue_comes_whole_as_result_or_as_json_in_the_message(caller, service, key, as_text):
    if as_text:
        post(caller.base_url, "faults", fault="message_json")
    rows = caller.catalogue(service)
    assert len({r[key] for r in rows}) == len(rows) > 0
    assert all(name == name.upper() for r in rows for name in r)


def test_a_procedure_its_services_and_what_no_service_gives(caller):
    (found,) = caller.catalogue("LayThuTuc", maTTHC="1.001193")
    assert found["MATTHC"] == "1.001193"
    services = caller.catalogue("LayDVC")["data"]
    assert {"MADVC", "TENDVC", "MATTHC"} <= set(services[0])
    with pytest.raises(SourceRefused, match=r"LayDanhSachHoSo.*refused"):
        caller.catalogue("LayDanhSachHoSo")


def test_a_months_satisfaction_is_told(caller):
    row = {"NgayTongHop": "7-2025", "Madonvi": "H20", "TongSoNguoiDanhGia": "12"}
    assert caller.send_ratings([row]).ok
    told = caller.send_ratings([row | {"NgayTongHop": "2025-07"}])
    assert (told.ok, "M-YYYY" in told.words) == (False, True)
    held = requests.get(f"{caller.base_url}/__sandbox__/held", timeout=10).json()
    assert held["rating"] == 1


def test_an_account_is_found_or_there_is_none(caller):
    found = [caller.account(f"00320000{n:04d}") for n in range(30)]
    assert {len(f) for f in found if f} == {36}
    assert None in found
