"""The scan of finished files, on files as a release writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from opendata.disclosure import scan
from opendata.disclosure.scan import Finding, holds_a_name, scan_files, scan_words
from opendata.files import FORMATS, PIECE_ROWS, FileRecord, read_back, record, write_files
from opendata.release import ReleaseError
from ops.settings import PROJECT
from tests.opendata.conftest import Warehouse


def written(folder: Path, *values: str | None, formats: Sequence[str] = FORMATS) -> list[FileRecord]:
    """A table of one text column `note` in all formats."""
    table = pa.table(
        {"key": pa.array([str(n) for n in range(len(values))]), "note": pa.array(values, pa.string())}
    )
    (folder / "set").mkdir()
    return write_files(table.to_batches(), table.schema, folder / "set", "t", formats=formats)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("Số 003199123456", "identity number"),
        ("CMND 311234567", "identity number"),
        ("0912.345.678", "telephone number"),
        ("liên hệ: an.nguyen@example.vn", "e-mail address"),
        ("Nguyễn Văn An", "name of a person"),
        ("TRẦN THỊ MỸ HẠNH", "name of a person"),
        ("Giao cho bà Lê Thị Hoa, chuyên viên", "name of a person"),
        ("Cấp cho Ông/Bà: Phạm Minh", "name of a person"),
        ("x" * 121, "free text"),
    ],
)
def test_each_kind_is_found_in_every_format_and_named_without_its_value(
    tmp_path: Path, value: str, kind: str
) -> None:
    records = written(tmp_path, "bình thường", value, None)
    found = scan_files(tmp_path, records, frozenset())
    assert {(one.path, one.column, one.rows) for one in found} == {
        (f"set/t.{name}", "note", 1) for name in FORMATS
    }
    assert all(one.kind.startswith(kind) for one in found)
    assert value not in " ".join(map(str, found))


def test_all_of_a_long_file_is_searched_though_it_is_read_in_pieces(tmp_path: Path) -> None:
    number = "CMND 311234567"
    records = written(tmp_path, number, *["bình thường"] * PIECE_ROWS, number)
    found = scan_files(tmp_path, records, frozenset())
    assert {(one.path, one.rows) for one in found} == {(f"set/t.{name}", 2) for name in FORMATS}


def test_files_are_read_back_whole_without_holding_them_whole(tmp_path: Path) -> None:
    values = [f"{n} " + "ạ" * 150 if n % 7 else None for n in range(4 * PIECE_ROWS)]
    whole = pa.array(values).nbytes
    for one in written(tmp_path, *values, formats=FORMATS[:-1]):  # no workbook is so large
        read: list[str | None] = []
        before, most = pa.total_allocated_bytes(), 0
        for piece in read_back(tmp_path / one.path, one.format):
            most = max(most, pa.total_allocated_bytes() - before)
            read += piece["note"].to_pylist()
            del piece
        assert read == values, one.format
        assert most < whole, one.format


def test_a_column_the_approval_vouches_for_may_hold_names_and_long_text_but_no_numbers(
    tmp_path: Path,
) -> None:
    records = written(tmp_path, "Võ Thị Sáu", "x" * 500, "003199123456")
    found = scan_files(tmp_path, records, frozenset(), {"note": "names of streets"})
    assert {one.kind for one in found} == {"identity number (12 or 9 digits)"}


def test_real_places_procedures_and_agencies_hold_no_names() -> None:
    """What the sandbox replays of the real catalogues: a false alarm would stop every release."""
    import csv

    looked_at = 0
    for name in (
        "procedures",
        "commune_new",
        "commune_old",
        "ma_dinh_danh_H44_phu_tho_2026",
        "ma_dinh_danh_34_ubnd_tinh",
    ):
        with (PROJECT / "sandbox" / "data" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                wrong = [
                    column for column, value in row.items() if isinstance(value, str) and holds_a_name(value)
                ]
                assert not wrong, (name, wrong)
                looked_at += 1
    assert looked_at > 3000


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_full_name_of_usual_parts_is_told(data: st.DataObject) -> None:
    parts = yaml.safe_load((Path(scan.__file__).parent / "names.yml").read_text(encoding="utf-8"))
    names = [
        data.draw(st.sampled_from(parts[kind].split()))
        for kind in ("surnames", "middle_names", "given_names")
    ]
    name = " ".join(names)
    if name not in scan.PLACES:
        assert holds_a_name(name)
        assert holds_a_name(name.upper())
        assert holds_a_name(f"do ông {name} ký")
    assert not holds_a_name("Phường " + names[1])


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_formulas_reach_no_spreadsheet(tmp_path: Path, start: str) -> None:
    records = written(tmp_path, f"{start}1+1")
    assert not scan_files(tmp_path, records, frozenset())


def test_a_formula_that_slipped_through_is_found(tmp_path: Path) -> None:
    records = written(tmp_path, "=1+1")
    plain, excel = tmp_path / "set" / "t.csv", tmp_path / "set" / "t.excel.csv"
    excel.write_bytes(plain.read_bytes())
    records = [record(excel, tmp_path, "excel.csv") if one.format == "excel.csv" else one for one in records]
    kind = "a formula that a spreadsheet would run"
    assert scan_files(tmp_path, records, frozenset()) == [Finding("set/t.excel.csv", "note", kind, 1)]
    assert pq.read_table(tmp_path / "set" / "t.parquet")["note"].to_pylist() == ["=1+1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("index.html", "<p>Hỏi <b>{}</b></p>"),
        ("index.html", '<svg aria-label="Hỏi {}"></svg>'),
        ("index.html", '<table><td class="n">1</td><td>{}</td></table>'),
        ("feed.atom", "<?xml version='1.0'?><feed><title>{}</title></feed>"),
        ("datapackage.json", '{{"resources": [{{"description": "Hỏi {}"}}]}}'),
        ("dictionary.csv", '\ufefftable,vi\nt,"Hỏi {}"\n'),
    ],
)
def test_pages_and_records_are_searched_too(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    for value, kind in (
        ("0912.345.678", "telephone"),
        ("003199123456", "identity"),
        ("an@example.vn", "e-mail"),
    ):
        path.write_text(text.format(value), encoding="utf-8")
        (told,) = scan_words(tmp_path, path, "")
        assert re.match(rf"{name}: 1 place\(s\) hold what looks like: {kind}", told)
        assert value not in told
        assert scan_words(tmp_path, path, f"Sở Khoa học, {value}") == [], (
            "a contact that an approval declares"
        )


def test_checksums_sizes_and_written_numbers_are_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    words = f"<script>003199123456</script><td class='n'>120000000</td><p>{'a123456789' * 6}abcd</p>"
    words += "<p>84.312.345.678 đồng</p><p>123456789 B</p><p>2026-11-20</p>"
    path.write_text(words, encoding="utf-8")
    assert scan_words(tmp_path, path, "") == []


def test_a_number_in_a_description_stops_the_release(warehouse: Warehouse) -> None:
    column = warehouse.model("procedures")["columns"]["procedure_name"]
    column["config"]["meta"]["vi"] = "Tên thủ tục, hỏi 0912 345 678"
    with pytest.raises(ReleaseError) as refused:
        warehouse.publish()
    for name in ("index.html", "dictionary.csv", "datapackage.json"):
        assert f"procedures/{name}: 1 place(s) hold what looks like: telephone number" in str(refused.value)
    assert "0912" not in str(refused.value)
    assert not warehouse.current.exists()
