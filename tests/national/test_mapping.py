"""Every field of the portal's two tables, one by one; codes both ways; what is kept of a clear item."""

from __future__ import annotations

import datetime as dt
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from national.mapping import (
    FILE,
    HANDLE,
    MASK,
    MappingError,
    handles,
    hashed,
    identity,
    read_mapping,
    scrubbed,
)

KEY = b"k"
AT = dt.datetime(2025, 7, 1, 17, 30, 5, tzinfo=dt.UTC)  # half past midnight of 2/7 in Vietnam
TABLES = read_mapping()
#: (table, field) -> (row, what is sent for it). A handle h opens as "clear h".
EXPECTED: dict[tuple[str, str], tuple[dict[str, Any], Any]] = {
    ("dossier", "MaHoSo"): ({"national_code": "H20.19-250702-0001"}, "H20.19-250702-0001"),
    ("dossier", "MaTTHC"): ({"procedure_code": "2.000815"}, "2.000815"),
    ("dossier", "TenTTHC"): ({"procedure_name": "Chứng thực"}, "Chứng thực"),
    ("dossier", "MaLinhVuc"): ({"sector_code": "G15"}, "G15"),
    ("dossier", "TenLinhVuc"): ({"sector_name": "Chứng thực"}, "Chứng thực"),
    ("dossier", "KenhThucHien"): ({"channel": 3}, "3"),
    ("dossier", "SoBienNhan"): ({"dossier_code": "a"}, "a"),
    ("dossier", "SoGiayToChuHoSo"): ({"applicant_id_number": "h"}, "clear h"),
    ("dossier", "ChuHoSo"): ({"applicant_name": "h"}, "clear h"),
    ("dossier", "LoaiDoiTuong"): ({"applicant_type": 2}, "2"),
    ("dossier", "MaDoiTuong"): ({"account_holder": "h"}, "account of h"),
    ("dossier", "ThongTinKhac"): ({}, ""),
    ("dossier", "Email"): ({"applicant_email": "h"}, "clear h"),
    ("dossier", "Fax"): ({}, ""),
    ("dossier", "SoDienThoai"): ({"applicant_phone": "h"}, "clear h"),
    ("dossier", "TrichYeuHoSo"): ({"subject_line": "long"}, "x" * 1000),
    ("dossier", "NgayTiepNhan"): ({"received_at": AT}, "20250702003005"),
    ("dossier", "NgayHenTra"): ({"due_at": AT}, "20250702003005"),
    ("dossier", "NgayTra"): ({"returned_at": AT}, "20250702003005"),
    ("dossier", "NgayKetThucXuLy"): ({"completed_at": AT}, "20250702003005"),
    ("dossier", "NgayTuChoi"): ({"refused_at": AT}, "20250702003005"),
    ("dossier", "NgayNopHoSo"): ({"submitted_at": AT}, "20250702003005"),
    ("dossier", "TrangThaiHoSo"): ({"status_code": 5}, "5"),
    ("dossier", "ThongTinTra"): ({}, ""),
    ("dossier", "HinhThuc"): ({}, ""),
    ("dossier", "DonViXuLy"): ({"responsible_agency_code": "H20.19"}, "H20.19"),
    ("dossier", "GhiChu"): ({}, ""),
    ("dossier", "NoiNopHoSo"): ({}, "2"),
    ("dossier", "HoSoCoThanhPhanSoHoa"): ({"has_digitised_paper": False}, "0"),
    ("dossier", "TaiKhoanDuocXacThucVoiVNeID"): ({"is_vneid_account": True}, "1"),
    ("dossier", "DuocThanhToanTrucTuyen"): ({"online_payment_code": 0}, "0"),
    ("dossier", "DinhDanhCHS"): (
        {"citizen_id_number": "number"}, [{"LoaiDinhDanh": "1", "SoDinhDanh": "003200000001"}]),
    ("dossier", "DSKetNoiCSDL"): ({}, []),
    ("dossier", "TaiLieuNop"): (
        {"papers": [{"file_name": "h", "paper_code": "KQ1", "file_url": "u", "is_digitised": True, "is_reused": False,
                     "is_from_personal_storage": None}]},
        [{"TepDinhKemId": "", "TenTepDinhKem": "clear h", "IsDeleted": "False", "MaThanhPhanHoSo": "KQ1",
          "DuongDanTaiTepTin": "clear u", "DuocSoHoa": "1", "DuocTaiSuDung": "0", "DuocLayTuKhoDMQG": "",
          "MaKetQuaThayThe": ""}]),
    ("dossier", "DanhSachLePhi"): (
        {"fees": [{"fee_name": "Lệ phí", "amount_vnd": Decimal("10000"), "fee_kind": 2}]},
        [{"TenPhiLePhi": "Lệ phí", "MaPhiLePhi": "", "HinhThucThu": "", "Gia": "10000", "LoaiPhiLePhi": "2"}]),
    ("dossier", "DanhSachTepDinhKemKhac"): ({}, []),
    ("dossier", "DanhSachHoSoBoSung"): (
        {"supplements": [{"step_no": 2, "officer_name": "o", "note": "h", "started_at": AT, "finished_at": None,
                          "is_finished": False}]},
        [{"HoSoBoSungId": 2, "NguoiYeuCauBoSung": "clear o", "NoiDungBoSung": "clear h",
          "NgayBoSung": "2025-07-02T00:30:05", "NguoiTiepNhanBoSung": "", "ThongTinTiepNhan": "",
          "NgayTiepNhanBoSung": "", "TrangThaiBoSung": False, "DanhSachGiayToBoSung": [], "DanhSachLePhiBoSung": [],
          "NgayHenTraTruoc": "", "NgayHenTraMoi": ""}]),
    ("dossier", "DanhSachGiayToKetQua"): (
        {"results": [{"paper_name": "G" * 2100, "file_url": "u", "paper_code": "KQ.G15"}]},
        [{"TenGiayTo": "G" * 2000, "MaThanhPhanHoSo": "", "GiayToId": "", "DuongDanTepTinKetQua": "clear u",
          "MaGiayToKetQua": "KQ.G15"}]),
    ("progress", "MaHoSo"): ({"national_code": "a"}, "a"),
    ("progress", "NguoiXuLy"): ({"officer_name": "long"}, "x" * 50),
    ("progress", "ChucDanh"): ({}, ""),
    ("progress", "ThoiDiemXuLy"): ({"finished_at": AT}, "20250702003005"),
    ("progress", "PhongBanXuLy"): ({"agency_code": "H20.19"}, "H20.19"),
    ("progress", "NoiDungXuLy"): ({"note": "h", "step_name": "Bước 1"}, "clear h"),
    ("progress", "TrangThai"): ({"status_code": 10}, "10"),
    ("progress", "NgayBatDau"): ({"started_at": AT}, "20250702003005"),
    ("progress", "NgayKetThucTheoQuyDinh"): ({"due_at": AT}, "20250702003005"),
}  # fmt: skip


def values(draft: Any) -> dict[str, str]:
    clear = {h: f"clear {h}" for h in handles(draft)}
    return clear | {"long": "x" * 4100, "number": "003200000001"}


def sent(table: str, row: dict[str, Any]) -> dict[str, Any]:
    draft, _ = TABLES[table].draft(row)
    return TABLES[table].filled(draft, values(draft), {"h": "account of h"})


def test_every_field_of_the_two_tables_is_declared_and_has_its_test():
    declared = {(t.name, f.name) for t in TABLES.values() for f in t.fields}
    assert declared == set(EXPECTED)
    assert len([t for t, _ in declared if t == "dossier"]) == 38
    assert len([t for t, _ in declared if t == "progress"]) == 9


@pytest.mark.parametrize(("table", "name"), EXPECTED, ids=str)
def test_a_field_is_written_as_the_portal_reads_it(table, name):
    row, expected = EXPECTED[table, name]
    assert sent(table, row)[name] == expected


@pytest.mark.parametrize(("table", "name"), EXPECTED, ids=str)
def test_an_empty_field_claims_nothing(table, name):
    written = sent(table, {})[name]
    if TABLES[table].field(name).constant:
        assert written == TABLES[table].field(name).constant
    else:
        assert written in ("", None, [])
    assert written not in ("0", "1", "Dinhkem", "000000001")


@pytest.mark.parametrize("field", [f for f in TABLES["dossier"].fields if f.rows], ids=lambda f: f.name)
def test_an_empty_row_of_a_list_claims_nothing(field):
    (written,) = sent("dossier", {field.rows: [{}]})[field.name]
    assert set(written) == {f.name for f in field.fields}
    for f in field.fields:
        assert written[f.name] == f.constant if f.constant else written[f.name] in ("", [])


@pytest.mark.parametrize(
    "field", [f for t in TABLES.values() for f in t.fields if f.codes], ids=lambda f: f.name
)
def test_codes_read_back_as_they_were_written(field):
    for ours, theirs in field.codes.items():
        assert field.write({field.column: ours}) == theirs
        assert field.read(theirs) == ours
    with pytest.raises(MappingError, match=field.name):
        field.read("không có")
    with pytest.raises(MappingError, match=field.name):
        field.write({field.column: 77})


def test_no_status_is_rewritten():
    field = TABLES["dossier"].field("TrangThaiHoSo")
    assert {field.write({"status_code": n}) for n in (5, 6, 8)} == {"5", "6", "8"}


def test_moments_read_back():
    field = TABLES["dossier"].field("NgayHenTra")
    assert field.read(field.write({"due_at": AT})) == AT
    with pytest.raises(MappingError, match="NgayHenTra"):
        field.read("02/07/2025")


def test_what_is_required_and_lacks_is_named():
    assert TABLES["dossier"].draft({})[1] == [
        "ChuHoSo", "DonViXuLy", "KenhThucHien", "LoaiDoiTuong", "MaHoSo", "MaTTHC", "NgayTiepNhan", "TenTTHC",
        "TrangThaiHoSo"]  # fmt: skip
    assert TABLES["progress"].draft({})[1] == ["MaHoSo", "NoiDungXuLy", "ThoiDiemXuLy", "TrangThai"]


def test_an_identity_has_a_kind_or_is_left_out():
    assert identity("281234567") == [{"LoaiDinhDanh": "2", "SoDinhDanh": "281234567"}]
    assert identity("0032 0000 0001")[0]["LoaiDinhDanh"] == "1"
    assert identity("1400123456") == []
    assert identity("B1234567") == []


def test_a_masked_item_names_nobody_and_tells_every_difference():
    row: dict[str, Any] = {}
    for (table, _), (given_row, _) in EXPECTED.items():
        row |= given_row if table == "dossier" else {}
    item = sent("dossier", row)
    masked = TABLES["dossier"].masked(item, KEY)
    assert "clear" not in str(masked)
    assert "003200000001" not in str(masked)
    assert masked["ChuHoSo"].startswith(MASK)
    for name in item:
        other = item | {
            name: ["x"] if name == "DinhDanhCHS" else [{"x": 1}] if isinstance(item[name], list) else "khác"
        }
        assert TABLES["dossier"].differing(masked, TABLES["dossier"].masked(other, KEY)) == [name]
    assert hashed(masked, KEY) == hashed(TABLES["dossier"].masked(dict(reversed(item.items())), KEY), KEY)
    assert hashed(masked, KEY) != hashed(masked, b"another key")


def test_a_draft_holds_handles_and_no_value():
    draft, _ = TABLES["dossier"].draft({"applicant_name": "ref1_a", "papers": [{"file_name": "ref1_b"}]})
    assert draft["ChuHoSo"] == HANDLE + "ref1_a"
    assert set(handles(draft)) == {"ref1_a", "ref1_b"}


@given(
    st.lists(st.text(alphabet="ăâđêôơư áàảãạ nguyễn thị 0123456789.-@", min_size=5, max_size=30), max_size=4),
    st.booleans(), st.booleans(), st.text(max_size=20),
)  # fmt: skip
def test_scrubbed_words_hold_none_of_the_values(found, upper, plain, around):
    found = [v for v in found if sum(c.isalnum() for c in v) >= 3]
    written = [v.upper() if upper else v for v in found]
    if plain:
        written = [unicodedata.normalize("NFD", v).encode("ascii", "ignore").decode() for v in written]
    told = scrubbed(around + " | ".join(written) + around, found, most=10_000)

    def letters(text: str) -> str:
        bare = unicodedata.normalize("NFD", text.lower().replace("đ", "d"))
        return "".join(c for c in bare if c.isalnum())

    if not plain:
        assert not any(letters(v) in letters(told) for v in found if letters(v) not in letters(around))


def test_scrubbing_leaves_codes_and_takes_other_numbers():
    words = "Hồ sơ H20.19-250702-0001 của 003200000002, đt 0912.345.678: Thiếu trường NgayHenTra"
    assert scrubbed(words, []) == "Hồ sơ H20.19-250702-0001 của […], đt […]: Thiếu trường NgayHenTra"


def test_a_wrong_mapping_is_told_whole(tmp_path: Path):
    text = FILE.read_text()
    bad = tmp_path / "mapping.yml"
    bad.write_text(
        text.replace('codes: {1: "1", 2: "2", 3: "3"}', 'codes: {1: "1", 2: "1"}')
        .replace("  Fax: {why", "  Fax: {column: fax, why")
        .replace("{column: sector_code}", "{column: sector_code, form: date}")
    )
    with pytest.raises(MappingError) as told:
        read_mapping(bad)
    for word in ("dossier.KenhThucHien", "dossier.Fax", "dossier.MaLinhVuc"):
        assert word in str(told.value)
