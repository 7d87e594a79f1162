"""Files that agencies drop: what is read of them, what is refused and how it is said, and what becomes of the file."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml

import connectors.contract
from connectors.base import Chunk, Endpoint, Interval, Request, SourceError, SourceRefused
from connectors.cells import decimal_mark, moment
from connectors.contract import ContractError, contract
from connectors.file_drop import ARCHIVE, FileDrop, FilesRefused, NothingDropped
from connectors.sheet_tables import fold, letter
from connectors.sheets import Refused, from_tcvn3, readings
from ops.settings import PROJECT, SettingsError
from ops.sources import read_sources
from sandbox import population_counts as office

from .conformance import span

RUN = span("2025-07-15", "2025-07-16")
HEAD = ["Mã xã", "Ngày chốt số liệu", "Nhóm tuổi", "Giới tính", "Số dân"]
ROWS = [["28249", "01/07/2025", "0-4", "Nam", 1234], ["28249", "01/07/2025", "0-4", "Nữ", 987]]
Pulled = tuple[FileDrop, list[dict[str, Any]], list[Chunk]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "nhận tệp"
    made.mkdir()
    return made


def connect(folder: Path, table: str = "population_count", **options: Any) -> FileDrop:
    kind = type("FileDrop", (FileDrop,), {"tables": (table,)})
    return kind("population_counts", Endpoint(folder.as_uri(), options={"settle_seconds": 0, **options}))


def pull(
    folder: Path, run: Interval = RUN, land: bool = True, table: str = "population_count", **options: Any
) -> Pulled:
    connector = connect(folder, table, **options)
    chunks = list(connector.chunks(Request(run)))
    if land:
        connector.landed()
    return connector, [r for c in chunks for r in c.tables[table].to_pylist()], chunks


def text(rows: list[list[Any]], separator: str = ";", head: list[str] | None = None) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows([head or HEAD, *rows])
    return out.getvalue()


def book(fill: Callable[[Any], None], **more: Any) -> bytes:
    made = openpyxl.Workbook()
    fill(made.active)
    for name, do in more.items():
        do(made) if name == "then" else None
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def sheet(rows: list[list[Any]], head: list[str] | None = None) -> bytes:
    def fill(page: Any) -> None:
        for row in [head or HEAD, *rows]:
            page.append(row)

    return book(fill)


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [r["population"] for r in rows]


def refusal(folder: Path, name: str) -> str:
    """What the sender reads beside a refused file, once the run has said the same to the operator."""
    with pytest.raises(FilesRefused) as caught:
        pull(folder, span("2025-07-20", "2025-07-21"))
    said = (folder / f"{name}.tu-choi.txt").read_text(encoding="utf-8-sig")
    sha = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert f"(sha256 {sha[:16]})" in str(caught.value)
    assert said.rstrip().endswith(f"sha256: {sha}"), "by which the operator finds the file that is meant"
    assert name not in str(caught.value)
    return said


# --- forms of a file --------------------------------------------------------------------------------


def expected(rows: list[office.Row]) -> set[tuple[Any, ...]]:
    return {(code, day, band, sex, people) for code, _, day, band, sex, people in rows}


def found(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {(r["commune_code"], r["as_of_date"], r["age_band"], r["sex"], r["population"]) for r in rows}


@pytest.mark.parametrize("name", office.FORMS)
def test_every_untidy_form_gives_exactly_what_the_office_counted(folder: Path, name: str) -> None:
    day, province, form = office.FORMS[name]
    counted = office.counts(day, province)
    (folder / name).write_bytes(form(counted))
    connector, rows, _ = pull(folder)
    assert found(rows) == expected(counted)
    assert len(rows) == len(counted)
    count = connector.report.counts["population_count"]
    assert (count.announced, count.rejected, count.duplicates) == (len(counted), 0, 0)
    assert not count.undeclared


def test_what_is_no_record_is_left_out_and_listed(folder: Path) -> None:
    (folder / "in.xlsx").write_bytes(office.spread_xlsx(office.counts(office.AFTER)))
    connector, rows, _ = pull(folder)
    (window,) = connector.report.windows
    why = {(x["sheet"], x["why"]) for x in window["left_out"]}
    assert why == {(s, w) for s in ("2", "3") for w in ("numbers of columns", "totals", "notes")}
    assert window["sheets_skipped"] == ["1"]
    assert "99999" not in {r["commune_code"] for r in rows}, "a hidden sheet was read"
    assert window["announced_before"] == window["announced_after"] == window["received"] == len(rows)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encode",
    [
        lambda t: t.encode(), lambda t: t.encode("utf-8-sig"), lambda t: t.encode("utf-16"),
        lambda t: t.encode("utf-16-le"), lambda t: t.encode("utf-16-be"), office.windows_1258,
        lambda t: office.tcvn3(t).encode("latin-1"),
    ],
    ids=["utf-8", "with BOM", "utf-16", "utf-16-le bare", "utf-16-be bare", "windows-1258", "tcvn3"],
)  # fmt: skip
def test_encodings_and_separators_are_told_by_the_headings(
    folder: Path, separator: str, encode: Callable[[str], bytes]
) -> None:
    (folder / "a.csv").write_bytes(encode(text(ROWS, separator)))
    _, rows, _ = pull(folder)
    assert [(r["sex"], r["population"]) for r in rows] == [("male", 1234), ("female", 987)]


def test_a_workbook_typed_in_a_tcvn3_font_is_read(folder: Path) -> None:
    rows = [[*r[:3], office.tcvn3(r[3]), r[4]] for r in ROWS]
    (folder / "a.xlsx").write_bytes(sheet(rows, [office.tcvn3(h) for h in HEAD]))
    assert numbers(pull(folder)[1]) == [1234, 987]


def test_every_tcvn3_letter_is_known() -> None:
    assert from_tcvn3(office.tcvn3(office._UNICODE)) == office._UNICODE


def test_letters_whose_encoding_nothing_tells_are_not_guessed(folder: Path, contracts: Any) -> None:
    contracts("index", [UNIT, SCORE])
    (folder / "a.csv").write_bytes(office.windows_1258("unit;score\nSở Nội vụ;7\n"))
    with pytest.raises(FilesRefused, match="encoding of its Vietnamese letters cannot be told"):
        pull(folder, table="index")
    (row,) = pull_after_removal(folder, "a.csv", table="index", encoding="windows-1258")
    assert row["unit"] == "Sở Nội vụ"


def pull_after_removal(folder: Path, name: str, **options: Any) -> list[dict[str, Any]]:
    """The rows of a file once the operator has removed the message beside it."""
    (folder / f"{name}.tu-choi.txt").unlink()
    return pull(folder, **options)[1]


def test_headings_of_two_rows_are_read_in_text_files_too(folder: Path) -> None:
    lines = [
        ["Số liệu đến ngày: 01/7/2025"],
        ["Mã xã", "Tên xã", "0-4 tuổi", "", "5-9 tuổi", ""],
        ["", "", "Nam", "Nữ", "Nam", "Nữ"],
        ["28249", "Đạo Thạnh", 1, 2, 3, 4],
    ]
    (folder / "a.csv").write_text("\n".join(";".join(map(str, r)) for r in lines))
    _, rows, _ = pull(folder)
    assert [(r["age_band"], r["sex"], r["population"]) for r in rows] == [
        ("0-4", "male", 1), ("0-4", "female", 2), ("5-9", "male", 3), ("5-9", "female", 4),
    ]  # fmt: skip
    assert {r["as_of_date"] for r in rows} == {dt.date(2025, 7, 1)}


def spread_page(page: Any, caption: str) -> None:
    page.append(["Tính đến ngày 01/07/2025"])
    page.append(["Mã xã", "Nhóm tuổi", caption, None])
    page.append([None, None, "Nam", "Nữ"])
    page.append([28249, "0-4", 5, 6])
    page.merge_cells("C2:D2")
    page.merge_cells("A2:A3")
    page.merge_cells("B2:B3")


def test_a_caption_that_says_something_else_is_not_ignored(folder: Path) -> None:
    (folder / "a.xlsx").write_bytes(book(lambda page: spread_page(page, "Số dân")))
    assert numbers(pull(folder)[1]) == [5, 6]
    (folder / "b.xlsx").write_bytes(book(lambda page: spread_page(page, "Năm 2019")))
    assert "thiếu cột bắt buộc 'Giới tính' (sex), 'Số dân' (population)" in refusal(folder, "b.xlsx")


def test_a_caption_above_headings_that_stand_in_one_row_is_read_too(folder: Path) -> None:
    def page(caption: str) -> bytes:
        def fill(page: Any) -> None:
            page.append([None, None, None, caption, None])
            page.append(["Mã xã", "Nhóm tuổi", "Ngày chốt số liệu", "Nam", "Nữ"])
            page.append([28249, "0-4", "01/07/2025", 5, 6])
            page.merge_cells("D1:E1")

        return book(fill)

    (folder / "a.xlsx").write_bytes(page("Chia theo giới tính"))
    assert numbers(pull(folder)[1]) == [5, 6]
    (folder / "b.xlsx").write_bytes(page("Năm 2019"))
    assert "thiếu cột bắt buộc" in refusal(folder, "b.xlsx")


def test_a_text_file_may_leave_the_caption_out(folder: Path) -> None:
    lines = ["Mã xã;Ngày chốt số liệu;Nhóm tuổi;;", ";;;Nam;Nữ", "28249;01/07/2025;0-4;5;6"]
    (folder / "a.csv").write_text("\n".join(lines))
    assert numbers(pull(folder)[1]) == [5, 6]


def test_a_band_whose_heading_is_misspelt_does_not_go_missing(folder: Path) -> None:
    head = ["Mã xã;Ngày chốt số liệu;0-4;;5-9 tuoi;", ";;Nam;Nữ;Nam;Nữ", "28249;01/07/2025;1;2;3;4"]
    (folder / "a.csv").write_text("\n".join(head))
    assert "không nhận ra tiêu đề của cột E" in refusal(folder, "a.csv")


# --- numbers and days -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "whole", "mark"),
    [
        (["1234", "7"], True, None), (["1.234,5"], False, ","), (["1,234.5"], False, "."), (["12,5"], False, ","),
        (["0,125"], False, ","), (["1.234.567"], False, ","), (["1 234,5"], False, ","), (["1\u00a0234"], True, None),
        (["1.234"], True, ","), (["1,234", "1,000"], True, "."), (["1.000", "12,5"], False, ","),
        (["12345.678"], False, "."), (["-1.234,5"], False, ","),
    ],
)  # fmt: skip
def test_the_mark_before_decimals_is_told_by_the_numbers(
    numbers: list[str], whole: bool, mark: str | None
) -> None:
    assert decimal_mark([(n, whole) for n in numbers]) == mark


@pytest.mark.parametrize(
    ("numbers", "whole"), [(["1.234"], False), (["1.000", "2.000"], True), (["1,500"], False)]
)
def test_numbers_that_could_mean_two_things_are_refused_unless_somebody_says(
    numbers: list[str], whole: bool
) -> None:
    with pytest.raises(Refused, match="decimal_mark"):
        decimal_mark([(n, whole) for n in numbers])
    assert decimal_mark([(n, whole) for n in numbers], ",") == ","


def test_numbers_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(Refused, match="in one way"):
        decimal_mark([("12,5", False), ("12.5", False)])


def test_what_the_list_of_sources_says_decides_and_other_numbers_are_wrong(folder: Path) -> None:
    (folder / "a.csv").write_text(text([[*ROWS[0][:4], "1.000"], [*ROWS[1][:4], "2.000"]]))
    assert "decimal_mark" in refusal(folder, "a.csv")
    assert numbers(pull_after_removal(folder, "a.csv", decimal_mark=",")) == [1000, 2000]
    (folder / "b.csv").write_text(text([[*ROWS[0][:4], "1,000.5"]]))
    with pytest.raises(FilesRefused, match="no number as this file writes numbers"):
        pull(folder, span("2025-07-20", "2025-07-21"), decimal_mark=",")


@pytest.mark.parametrize(
    ("cell", "iso"),
    [
        ("01/07/2025", "2025-07-01"), ("1/7/2025", "2025-07-01"), ("1-7-2025", "2025-07-01"),
        ("1.7.2025", "2025-07-01"),
        ("20250701", "2025-07-01"), (20250701, "2025-07-01"), ("2025-07-01", "2025-07-01"), (45839, "2025-07-01"),
        ("45839", "2025-07-01"), (45839.5, "2025-07-01T12:00:00"), (dt.datetime(2025, 7, 1), "2025-07-01"),
        ("01/07/2025 08:30", "2025-07-01T08:30"), ("1/7/2025 8:30:15", "2025-07-01T08:30:15"),
    ],
)  # fmt: skip
def test_days_are_read_with_the_day_before_the_month(cell: Any, iso: str) -> None:
    assert moment(cell) == iso


@pytest.mark.parametrize("cell", ["01/07/25", "tháng 7", 2025, 7.5, True, dt.time(8, 30), "2025-7", ""])
def test_what_is_no_day_is_not_made_one(cell: Any) -> None:
    with pytest.raises(ValueError, match="no date"):
        moment(cell)


def test_a_workbook_that_counts_days_from_1904_is_read_rightly(folder: Path) -> None:
    def from_1904(made: Any) -> None:
        made.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904

    def fill(page: Any) -> None:
        page.append(HEAD)
        page.append(["28249", 45839 - 1462, "0-4", "Nam", 1])

    (folder / "a.xlsx").write_bytes(book(fill, then=from_1904))
    assert pull(folder)[1][0]["as_of_date"] == dt.date(2025, 7, 1)


def test_an_age_band_that_excel_made_a_date_of_is_told_as_such(folder: Path) -> None:
    (folder / "a.xlsx").write_bytes(sheet([["28249", "01/07/2025", dt.datetime(2025, 9, 5), "Nam", 1]]))
    said = refusal(folder, "a.xlsx")
    assert "trang 'Sheet', dòng 2, cột 'Nhóm tuổi' (age_band): Excel đã đổi ô này thành ngày" in said
    assert "2025-09" not in said


@pytest.mark.parametrize("closing", ["", '"xem lại'])
def test_a_quote_that_is_not_closed_swallows_no_rows(folder: Path, closing: str) -> None:
    lines = [";".join(map(str, [*HEAD, "Ghi chú"]))]
    lines += [";".join(map(str, [*row, note])) for row, note in zip(ROWS, ['"xem lại', ""], strict=True)]
    lines.append(f"28250;01/07/2025;0-4;Nam;5;{closing}")
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    assert "dấu nháy kép mở mà không đóng" in refusal(folder, "a.csv")


def test_a_cell_of_several_lines_is_one_cell(folder: Path) -> None:
    content = text([[*row, "dòng một\ndòng hai; hết"] for row in ROWS], head=[*HEAD, "Ghi chú"])
    (folder / "a.csv").write_text(content)
    assert len(pull(folder)[1]) == 2


def test_leading_zeros_that_a_number_cell_lost_come_back(folder: Path) -> None:
    (folder / "a.xlsx").write_bytes(sheet([[4, "01/07/2025", "0-4", "Nam", 1]]))
    assert pull(folder)[1][0]["commune_code"] == "00004"


def test_an_error_of_a_formula_is_not_taken_for_an_empty_cell(folder: Path) -> None:
    (folder / "a.xlsx").write_bytes(sheet([["28249", "01/07/2025", "0-4", "Nam", "#REF!"]]))
    assert "dòng 2, cột 'Số dân' (population): ô báo lỗi công thức" in refusal(folder, "a.xlsx")


# --- the contract -----------------------------------------------------------------------------------


def test_a_missing_column_is_named_and_no_other_cell_is_quoted(folder: Path) -> None:
    (folder / "a.csv").write_text(
        text([["28249", "01/07/2025", "0-4", "Nam", "Nguyễn Văn A"]], head=[*HEAD[:4], "Ai"])
    )
    said = refusal(folder, "a.csv")
    assert "thiếu cột bắt buộc 'Số dân' (population)" in said
    assert "missing required column 'Số dân' (population)" in said
    assert "Dòng" not in said.split("Lý do")[0]
    assert "cột E" in said
    assert "Nguyễn" not in said


def test_a_heading_that_stands_twice_is_not_chosen_from(folder: Path) -> None:
    (folder / "a.csv").write_text(text([[*ROWS[0], 5]], head=[*HEAD, "Dân số"]))
    assert "hai cột (E, F) cùng mang tiêu đề của 'Số dân' (population)" in refusal(folder, "a.csv")


def test_undeclared_columns_go_to_quarantine_with_their_place(folder: Path) -> None:
    rows = [[*ROWS[0], "ghi chú một", None], [*ROWS[1], None, "lạc"]]
    content = sheet(rows, [*HEAD, "Diễn giải"])
    (folder / "a.xlsx").write_bytes(content)
    connector, taken, chunks = pull(folder)
    assert len(taken) == 2
    assert connector.report.counts["population_count"].undeclared == {"diễn giải (F)": 1, "(G)": 1}
    one, other = chunks[0].quarantine
    assert (one.kind, one.key["_file"], one.key["_sheet"], one.key["_row"]) == (
        "undeclared",
        hashlib.sha256(content).hexdigest()[:16],
        "1",
        "2",
    )
    assert (one.payload.decode(), other.payload.decode()) == (
        '{"diễn giải (F)":"ghi chú một"}',
        '{"(G)":"lạc"}',
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["", "01/07/2025", "0-4", "Nam", 5], "cột 'Mã xã' (commune_code): bắt buộc nhưng để trống"),
        (["28252", "31/02/2025", "0-4", "Nam", 5], "cột 'Ngày chốt số liệu' (as_of_date): không đọc được đúng kiểu"),
        (["28252", "01/07/2025", "1-4", "Nam", 5], "cột 'Nhóm tuổi' (age_band): không thuộc các giá trị cho phép"),
        (["28252", "01/07/2025", "0-4", "Nam", -5], "cột 'Số dân' (population): nhỏ hơn mức tối thiểu"),
        (["28252", "01/07/2025", "0-4", "Nam", "năm"], "cột 'Số dân' (population): không phải là số"),
    ],
)  # fmt: skip
def test_a_wrong_record_refuses_the_file_and_is_named_by_its_row(
    folder: Path, row: list[Any], said: str
) -> None:
    (folder / "a.csv").write_text(text([ROWS[0], [], [*row], ["28261", *ROWS[1][1:]]]))
    assert f"- dòng 4, {said}" in refusal(folder, "a.csv")


def test_rows_of_one_key_with_other_values_are_refused_and_the_very_same_row_is_a_duplicate(
    folder: Path,
) -> None:
    (folder / "a.csv").write_text(text([ROWS[0], ROWS[0], ROWS[1]]))
    connector, rows, _ = pull(folder)
    count = connector.report.counts["population_count"]
    assert (len(rows), count.announced, count.duplicates) == (2, 3, 1)
    (folder / "b.csv").write_text(text([ROWS[0], [*ROWS[0][:4], 55], ROWS[1]]))
    said = refusal(folder, "b.csv")
    assert "- dòng 2: trùng khóa với dòng 3 nhưng khác giá trị" in said
    assert "- dòng 3: trùng khóa với dòng 2 nhưng khác giá trị" in said


@pytest.fixture
def contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Contracts for one test: ``contracts("ten", columns, **table properties)``."""
    place = tmp_path / "contracts"
    shutil.copytree(PROJECT / "connectors" / "contracts", place)
    monkeypatch.setattr(connectors.contract, "CONTRACTS", place)
    contract.cache_clear()

    def write(name: str, columns: list[dict[str, Any]], **properties: Any) -> None:
        given = yaml.safe_load((place / "population_count.yaml").read_text())
        table = given["schema"][0]
        given["name"] = table["name"] = name
        key = table["properties"][0]
        table["properties"] = [key, *({"classification": "none", "description": "x", **c} for c in columns)]
        table["customProperties"] = [{"property": k, "value": v} for k, v in properties.items()]
        (place / f"{name}.yaml").write_text(yaml.safe_dump(given, allow_unicode=True))

    yield write
    contract.cache_clear()


UNIT = {"name": "unit", "physicalType": "text", "required": True, "primaryKey": True, "primaryKeyPosition": 2,
        "businessName": "Đơn vị"}  # fmt: skip
SCORE = {"name": "score", "physicalType": "numeric(6,2)", "required": True, "businessName": "Điểm"}


def test_rejects_within_what_a_contract_allows_keep_file_sheet_and_row(folder: Path, contracts: Any) -> None:
    contracts("index", [UNIT, SCORE], rejectShare=0.2)
    rows = [[f"Sở {n}", f"{n},25"] for n in range(10)] + [["Sở x", "không có"]]
    content = sheet(rows, ["Đơn vị", "Điểm"])
    (folder / "a.xlsx").write_bytes(content)
    connector, taken, (chunk,) = pull(folder, table="index")
    count = connector.report.counts["index"]
    assert (count.announced, len(taken), count.rejected) == (11, 10, 1)
    assert [str(r["score"]) for r in taken][:2] == ["0.25", "1.25"]
    (reject,) = chunk.rejects
    sha = hashlib.sha256(content).hexdigest()
    assert reject.key == {"source_code": "population_counts", "unit": "Sở x", "_file": sha[:16], "_sheet": "1",
                          "_row": "12"}  # fmt: skip
    assert (reject.field, reject.reason) == ("score", "no number as this file writes numbers")
    (kept,) = chunk.quarantine
    assert (kept.kind, kept.key, kept.field) == ("reject", reject.key, "score")
    assert b"kh\xc3\xb4ng c\xc3\xb3" in kept.payload
    assert b'"_file":"a.xlsx","_sheet":"Sheet"' in kept.payload, "sealed, the names stay with the record"


def test_a_place_whose_name_begins_like_a_total_is_no_total(folder: Path, contracts: Any) -> None:
    contracts("index", [UNIT, {**SCORE, "physicalType": "integer"}])
    (folder / "a.csv").write_text("Đơn vị;Điểm\nCộng Hòa;3\nTổng Cọt;4\nTổng cộng;7\n")
    assert [r["unit"] for r in pull(folder, table="index")[1]] == ["Cộng Hòa", "Tổng Cọt"]


def test_a_table_may_come_without_any_number(folder: Path, contracts: Any) -> None:
    written = [{"property": "valueAliases", "value": {"x": True, "Không": False}}]
    opened = {"name": "opened", "physicalType": "boolean", "required": True, "businessName": "Mở cửa"}
    contracts("index", [UNIT, {**opened, "customProperties": written}])
    (folder / "a.csv").write_text("Đơn vị;Mở cửa\nSở A;X\nSở B;không\n;\nGhi chú: chưa đủ;\n")
    assert [(r["unit"], r["opened"]) for r in pull(folder, table="index")[1]] == [
        ("Sở A", True),
        ("Sở B", False),
    ]


def test_a_signature_under_the_keys_heading_is_a_note_and_a_record_without_its_number_is_not(
    folder: Path, contracts: Any
) -> None:
    contracts("index", [UNIT, SCORE])
    (folder / "a.csv").write_text("Đơn vị;Điểm\nSở A;3,5\n;\nNGƯỜI LẬP BIỂU;\nNguyễn Văn Bịa;\n")
    connector, rows, _ = pull(folder, table="index")
    assert [r["unit"] for r in rows] == ["Sở A"]
    assert connector.report.windows[0]["left_out"] == [{"sheet": "", "why": "notes", "rows": 2, "first": 4}]
    (folder / "b.csv").write_text("Đơn vị;Điểm\nSở A;3,5\nSở B;\n;\nNGƯỜI LẬP BIỂU;\n")
    with pytest.raises(FilesRefused, match="row 3: score required, but empty"):
        pull(folder, span("2025-07-20", "2025-07-21"), table="index")


def test_a_contract_that_gives_one_heading_to_two_columns_is_an_error(folder: Path, contracts: Any) -> None:
    contracts("index", [UNIT, {**SCORE, "businessName": "đơn vị"}])
    with pytest.raises(ContractError, match="is a heading of unit and of score"):
        connect(folder, "index")


# --- totals -----------------------------------------------------------------------------------------


def test_a_total_above_below_or_of_a_group_must_be_the_sum_of_its_rows(folder: Path, contracts: Any) -> None:
    contracts("index", [UNIT, {**SCORE, "physicalType": "integer"}])
    good = "Đơn vị;Điểm\nTổng số;10\nA;1\nB;2\nTổng cộng;3\nC;3\nD;4\nTổng cộng;7\nToàn tỉnh;10\n"
    (folder / "a.csv").write_text(good)
    assert [r["score"] for r in pull(folder, table="index")[1]] == [1, 2, 3, 4]
    (folder / "b.csv").write_text(good.replace("C;3\n", ""))
    later = span("2025-07-20", "2025-07-21")
    with pytest.raises(FilesRefused, match="the total in row 2, column B, is not the sum"):
        pull(folder, later, table="index")
    (folder / "b.csv.tu-choi.txt").unlink()
    assert len(pull(folder, later, table="index", totals="ignore")[1]) == 3


# --- persons ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("heading", ["Họ và tên", "Họ tên chủ hộ", "Số CCCD", "Ngày sinh", "Ngày, tháng, năm sinh",
                                     "Số điện thoại", "Địa chỉ"])  # fmt: skip
def test_a_list_of_persons_is_refused_whatever_else_it_holds(folder: Path, heading: str) -> None:
    (folder / "a.csv").write_text(text([[*ROWS[0], "Nguyễn Văn Bịa"]], head=[*HEAD, heading]))
    said = refusal(folder, "a.csv")
    assert "dữ liệu từng người (cột F)" in said
    assert "xóa tệp" in said
    assert "Bịa" not in said


@pytest.mark.parametrize(
    "cell",
    [
        "số 003199000123",
        "003 199 000 123",
        "003.199.000.123",
        "3199000123",
        "CMND: 331 234 567",
        "hộ chiếu số C1234567",
    ],
)
def test_an_identity_number_under_any_heading_is_noticed(folder: Path, cell: str) -> None:
    (folder / "a.csv").write_text(text([[*ROWS[0], cell]], head=[*HEAD, "Ghi thêm"]))
    said = refusal(folder, "a.csv")
    assert "dữ liệu từng người" in said
    assert cell not in said


def test_an_identity_number_that_became_a_number_is_noticed(folder: Path) -> None:
    def fill(page: Any) -> None:
        page.append([*HEAD, "Ghi thêm"])
        page.append([*ROWS[0], 3199000123])

    (folder / "a.xlsx").write_bytes(book(fill))
    assert "dữ liệu từng người" in refusal(folder, "a.xlsx")


@pytest.mark.parametrize(
    "cell", ["3.199.000.000", "3199000000", "ĐT phòng 02773851234", "mã số thuế 1400101396", "12"]
)
def test_money_and_numbers_of_offices_are_no_identity_numbers(folder: Path, cell: str) -> None:
    (folder / "a.csv").write_text(text([[*ROWS[0], cell]], head=[*HEAD, "Ghi thêm"]))
    assert len(pull(folder)[1]) == 1


@pytest.mark.parametrize("state", ["visible", "hidden"])
def test_persons_on_a_sheet_that_is_not_the_table_are_noticed(folder: Path, state: str) -> None:
    def more(made: Any) -> None:
        page = made.create_sheet("Chi tiết")
        page.append(["Họ và tên", "Số CCCD"])
        page.append(["Lê Văn Bịa", "003301000123"])
        page.sheet_state = state

    (folder / "a.xlsx").write_bytes(book(lambda page: [page.append(r) for r in (HEAD, *ROWS)], then=more))
    assert "dữ liệu từng người" in refusal(folder, "a.xlsx")


@pytest.mark.parametrize("line", ["Người lập: CCCD 003301000123\n{}", "{}\nNgười lập: CCCD 003301000123\n"])
def test_an_identity_number_beside_the_table_is_noticed(folder: Path, line: str) -> None:
    (folder / "a.csv").write_text(line.format(text(ROWS)))
    assert "dữ liệu từng người" in refusal(folder, "a.csv")


def test_a_contract_with_personal_columns_cannot_be_dropped(folder: Path) -> None:
    with pytest.raises(ContractError, match="aggregates only"):
        connect(folder, "dossier")


# --- files that are none ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "tệp trống"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"x" * 600, ".xlsx không mật khẩu"),
        (b"PK\x03\x04 no zip at all", "không mở được tệp như một sổ Excel"),
        (b"%PDF-1.7\n%\xe2\xe3\x00\x00\x00", "UTF-8"),
        (b"\x00\x01\x02\x03" * 50, "UTF-8"), ("Chào các anh chị".encode(), "không dòng nào mang tiêu đề"),
        ('Mã xã;"Số'.encode() + b" " * 200_000, "dấu nháy kép"),
        (text([["Tổng cộng", "", "", "", 5]]).encode(), "không có dòng dữ liệu nào"),
    ],
    ids=["empty", "xls", "half a zip", "pdf", "binary", "letter", "open quote", "totals alone"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_words(folder: Path, content: bytes, said: str) -> None:
    (folder / "a.csv").write_bytes(content)
    assert said in refusal(folder, "a.csv")


def test_a_workbook_that_unpacks_beyond_the_limit_is_not_unpacked() -> None:
    with pytest.raises(Refused, match="holds more than"):
        list(readings(sheet(ROWS * 200), limit=2_000))


def test_a_file_larger_than_may_be_is_refused_unread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileDrop, "largest_file", 100)
    (folder / "a.csv").write_text(text(ROWS * 10))
    assert "lớn hơn" in refusal(folder, "a.csv")


def test_a_sheet_that_nearly_is_the_table_refuses_the_workbook(folder: Path) -> None:
    def more(made: Any) -> None:
        page = made.create_sheet("Bổ sung")
        page.append([*HEAD[:4], "Ghi"])
        page.append(ROWS[0])

    def fill(page: Any) -> None:
        page.append(HEAD)
        page.append(ROWS[0])

    (folder / "a.xlsx").write_bytes(book(fill, then=more))
    assert "trang 'Bổ sung': thiếu cột bắt buộc 'Số dân'" in refusal(folder, "a.xlsx")


# --- the folder -------------------------------------------------------------------------------------


def test_an_accepted_file_lies_unchanged_in_the_archive_and_is_taken_once(folder: Path) -> None:
    content = text(ROWS).encode()
    (folder / "a.csv").write_bytes(content)
    pull(folder)
    (kept,) = (folder / ARCHIVE / "2025-07-16").iterdir()
    assert kept.name.endswith("_a.csv")
    assert kept.read_bytes() == content
    assert kept.stat().st_mode & 0o222 == 0
    assert not (folder / "a.csv").exists()
    later = span("2025-07-16", "2025-07-17")
    with pytest.raises(NothingDropped):
        pull(folder, later)
    (folder / "a lần nữa.csv").write_bytes(content)
    with pytest.raises(NothingDropped):
        pull(folder, later)
    assert "không cần gửi lại" in (folder / "a lần nữa.csv.da-nhan.txt").read_text(encoding="utf-8-sig")


def test_a_run_again_gives_the_same_rows_also_when_it_was_killed_before_the_archive(folder: Path) -> None:
    (folder / "a.csv").write_text(text(ROWS))
    _, first, _ = pull(folder, land=False)
    assert (folder / "a.csv").exists()
    _, second, _ = pull(folder)
    _, third, _ = pull(folder)
    assert first == second == third
    assert len(list((folder / ARCHIVE).glob("*/*"))) == 1


def test_a_correction_wins_also_when_the_older_run_is_run_again(folder: Path) -> None:
    (folder / "a.csv").write_text(text(ROWS))
    pull(folder)
    (folder / "b.csv").write_text(text([[*ROWS[0][:4], 1300]]))
    pull(folder, span("2025-07-16", "2025-07-17"))
    connector, rows, _ = pull(folder)
    assert sorted(numbers(rows)) == [987, 1300]
    count = connector.report.counts["population_count"]
    assert (count.announced, count.duplicates) == (3, 1)
    assert len(rows) == count.announced - count.duplicates


A, B = (text([[*ROWS[0][:4], people]]).replace("\r", "") for people in (1234, 1300))


@pytest.mark.parametrize("names", [("a.csv", "a.csv", "a.csv"), ("a.csv", "b.csv", "c.csv")])
@pytest.mark.parametrize("days", [(16, 16, 16), (16, 17, 18), (18, 17, 16)])
@pytest.mark.parametrize("in_between", [False, True])
def test_a_correction_that_is_taken_back_ends_as_the_first(
    folder: Path, names: tuple[str, ...], days: tuple[int, ...], in_between: bool
) -> None:
    runs = [span(f"2025-07-{d - 1}", f"2025-07-{d}") for d in days]
    for place, (name, content, run) in enumerate(zip(names, (A, B, A), runs, strict=True)):
        (folder / name).write_text(content)
        os.utime(folder / name, (1_000_000_000 - place,) * 2)  # a copy may keep the time of what it copies
        assert numbers(pull(folder, run)[1]) == [1234 if content == A else 1300]
        if in_between and place == 0:  # sent twice: told, and not in the way of what comes later
            (folder / "a.csv").write_text(A)
            pull(folder, run)
    for run in runs:
        assert numbers(pull(folder, run)[1]) == [1234]
    kept = sorted((folder / ARCHIVE).glob("*/*"))
    assert [k.read_text() for k in kept] == [A, B, A]


def test_what_is_taken_again_because_others_came_since_is_told(folder: Path) -> None:
    for content in (A, B):
        (folder / "a.csv").write_text(content)
        pull(folder)
    (folder / "cũ.csv").write_text(A)
    (notes,) = pull(folder)[0].report.notes
    sha = hashlib.sha256(A.encode()).hexdigest()[:16]
    assert notes.startswith("file of ")
    assert notes.endswith(
        f"(sha256 {sha}) was taken before, and others since: it is taken again, and its rows count anew"
    )


def test_files_that_come_once_more_in_their_order_are_not_taken_again(folder: Path) -> None:
    def send() -> None:
        for place, content in enumerate((A, B)):
            (folder / f"{place}.csv").write_text(content)
            os.utime(folder / f"{place}.csv", (1_000_000_000 + place,) * 2)

    send()
    assert numbers(pull(folder)[1]) == [1300]
    send()
    with pytest.raises(NothingDropped):
        pull(folder, span("2025-07-16", "2025-07-17"))
    assert {p.name for p in folder.glob("*.txt")} == {"0.csv.da-nhan.txt", "1.csv.da-nhan.txt"}
    # Both lie there still; what comes then is new, and takes its message away.
    (folder / "0.csv").write_text(A.replace("1234", "77"))
    assert numbers(pull(folder, span("2025-07-17", "2025-07-18"))[1]) == [77]
    assert {p.name for p in folder.iterdir()} == {"1.csv", "1.csv.da-nhan.txt", ARCHIVE}


def test_a_death_between_two_files_of_the_archive_keeps_their_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, content in enumerate((A, B)):
        (folder / f"{place}.csv").write_text(content)
        os.utime(folder / f"{place}.csv", (1_000_000_000 + place,) * 2)
    connector = connect(folder)
    list(connector.chunks(Request(RUN)))
    moved: list[Path] = []
    rename = Path.rename

    def dies(self: Path, target: Path) -> Path:
        if moved:
            raise KeyboardInterrupt
        moved.append(self)
        return rename(self, target)

    with monkeypatch.context() as m:
        m.setattr(Path, "rename", dies)
        with pytest.raises(KeyboardInterrupt):
            connector.landed()
    for _ in range(2):
        assert numbers(pull(folder)[1]) == [1300]


def test_an_archive_of_before_the_numbers_is_read_as_it_is(folder: Path) -> None:
    day = folder / ARCHIVE / "2025-07-16"
    day.mkdir(parents=True)
    for place, content in enumerate((A, B)):
        kept = day / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}_a.csv"
        kept.write_text(content)
        os.utime(kept, (1_000_000_000 + place,) * 2)
    assert numbers(pull(folder)[1]) == [1300]
    (folder / "a.csv").write_text(A)
    assert numbers(pull(folder)[1]) == [1234]
    assert numbers(pull(folder)[1]) == [1234]


# --- sent half --------------------------------------------------------------------------------------


def test_the_rest_of_an_upload_that_paused_too_long_is_read_with_what_came_before_it(folder: Path) -> None:
    whole = text(ROWS).encode()
    half = len(text(ROWS[:1]).encode())
    with (folder / "a.csv").open("wb") as upload:
        upload.write(whole[:half])
        upload.flush()
        assert numbers(pull(folder)[1]) == [1234]
        # A newer file is taken in between; the writer still holds the first one, wherever it lies.
        (folder / "b.csv").write_text(text([["28252", *ROWS[0][1:4], 5]]))
        pull(folder, span("2025-07-16", "2025-07-17"))
        upload.write(whole[half : half + 9])
        upload.flush()
        assert sorted(numbers(pull(folder, land=False)[1])) == [5, 1234], "an older run again, meanwhile"
        upload.write(whole[half + 9 :])
    connector, rows, _ = pull(folder, span("2025-07-17", "2025-07-18"))
    assert sorted(numbers(rows)) == [987, 1234]
    (note,) = connector.report.notes
    assert note.endswith(
        f"(sha256 {hashlib.sha256(whole).hexdigest()[:16]}) grew from {half} to {len(whole)} bytes after it was taken "
        "on 2025-07-16: somebody was still writing it. It is read again, whole"
    )
    with pytest.raises(NothingDropped):
        pull(folder, span("2025-07-18", "2025-07-19"))
    assert sorted(numbers(pull(folder)[1])) == [5, 987, 1234]
    kept = [(p.parent.name, p.read_bytes()) for p in (folder / ARCHIVE).glob("*/*_a.csv")]
    assert kept == [("2025-07-18", whole)]


def test_the_rest_that_breaks_the_contract_is_refused_and_what_was_taken_stays(folder: Path) -> None:
    with (folder / "a.csv").open("w") as upload:
        upload.write(text(ROWS))
        upload.flush()
        pull(folder)
        upload.write("28252;31/02/2025;0-4;Nam;5\n" * 3)
    with pytest.raises(FilesRefused, match=r"file of .* grew from .*refused file of .*: 3 of 5 records"):
        pull(folder)
    assert sorted(numbers(pull(folder)[1])) == [987, 1234]
    assert "dòng 4, cột 'Ngày chốt số liệu'" in (folder / "a.csv.tu-choi.txt").read_text(encoding="utf-8-sig")


def test_a_file_of_the_archive_that_still_grows_is_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (folder / "a.csv").open("w") as upload:
        upload.write(text(ROWS[:1]))
        upload.flush()
        pull(folder)
        upload.write(text(ROWS[1:]).splitlines()[1])
        upload.flush()

        def more_arrives(seconds: float) -> None:
            upload.write("0")
            upload.flush()

        later = span("2025-07-16", "2025-07-17")
        with monkeypatch.context() as m:
            m.setattr("connectors.file_drop.time.sleep", more_arrives)
            with pytest.raises(NothingDropped):
                pull(folder, later, settle_seconds=7)
    assert sorted(numbers(pull(folder, later)[1])) == [1234, 9870]


@pytest.mark.parametrize("form", ["csv with room for the rest", "xlsx", "xlsx with room for the rest"])
def test_a_half_that_shows_is_refused_and_the_whole_is_taken(folder: Path, form: str) -> None:
    whole = sheet(ROWS * 40) if "xlsx" in form else text(ROWS * 40).encode()
    half = whole[: len(whole) // 2]
    path = folder / f"a.{form[:4].strip()}"
    # Some programs make a file as long as it will be, and fill it.
    path.write_bytes(half.ljust(len(whole), b"\0") if "room" in form else half)
    refusal(folder, path.name)
    with path.open("r+b") as upload:
        upload.seek(len(half))
        upload.write(whole[len(half) :])
    assert sorted(numbers(pull(folder, span("2025-07-20", "2025-07-21"))[1])) == [987, 1234]


def test_of_two_files_waiting_the_newer_wins(folder: Path) -> None:
    for name, people, at in (("z cũ.csv", 5, 1_000_000_000), ("a mới.csv", 6, 1_000_000_100)):
        (folder / name).write_text(text([[*ROWS[0][:4], people]]))
        os.utime(folder / name, (at, at))
    assert numbers(pull(folder)[1]) == [6]


def test_a_refused_file_is_not_read_again_until_it_changes(folder: Path) -> None:
    (folder / "a.csv").write_text("không phải bảng;x\n")
    refusal(folder, "a.csv")
    with pytest.raises(NothingDropped):
        pull(folder)
    (folder / "a.csv").write_text(text(ROWS))
    assert len(pull(folder)[1]) == 2
    assert not (folder / "a.csv.tu-choi.txt").exists()
    assert [p.name for p in folder.iterdir()] == [ARCHIVE]


def test_a_refused_file_does_not_hold_up_the_good_ones(folder: Path) -> None:
    (folder / "xấu.csv").write_text("không phải bảng;x\n")
    (folder / "tốt.csv").write_text(text(ROWS))
    connector, rows, _ = pull(folder)
    assert len(rows) == 2
    (note,) = connector.report.notes
    sha = hashlib.sha256((folder / "xấu.csv").read_bytes()).hexdigest()[:16]
    assert re.fullmatch(
        rf"refused file of \d\d/\d\d/\d{{4}} [\d:]{{8}} \(sha256 {sha}\): no row holds the headings of the table\.",
        note,
    )
    assert connector.report.counts["population_count"].announced == 2
    assert {p.name for p in folder.iterdir()} == {"xấu.csv", "xấu.csv.tu-choi.txt", ARCHIVE}


def test_a_file_refused_for_its_rows_leaves_no_trace_in_the_balance(folder: Path) -> None:
    (folder / "xấu.csv").write_text(text([[*ROWS[0][:4], "nhiều"], ROWS[1], ROWS[1]]))
    (folder / "tốt.csv").write_text(text(ROWS))
    connector, rows, chunks = pull(folder)
    count = connector.report.counts["population_count"]
    assert (count.announced, len(rows), count.rejected, count.duplicates) == (2, 2, 0, 0)
    assert [c.rejects for c in chunks] == [[]]


def test_a_correction_taken_by_a_run_of_an_older_interval_stands_when_the_newer_is_run_again(
    folder: Path,
) -> None:
    (folder / "a.csv").write_text(text(ROWS))
    pull(folder)
    (folder / "b.csv").write_text(text([[*ROWS[0][:4], 1300]]))
    older = span("2024-06-01", "2024-07-01")
    for again in (older, RUN, older):
        assert sorted(numbers(pull(folder, again)[1])) == [987, 1300]


@pytest.mark.parametrize("length", [240, 250])
def test_a_name_as_long_as_names_may_be_holds_nothing_up(folder: Path, length: int) -> None:
    name = "x" * (length - 4) + ".csv"
    (folder / name).write_text(text(ROWS))
    assert len(pull(folder)[1]) == 2
    assert not (folder / name).exists()
    (folder / name).write_text("không phải bảng;x\n")
    with pytest.raises(FilesRefused):
        pull(folder, span("2025-07-16", "2025-07-17"))
    with pytest.raises(NothingDropped):
        pull(folder, span("2025-07-16", "2025-07-17"))


@pytest.mark.parametrize(
    "name", ["a.csv.part", "a.csv.tmp", "~$a.xlsx", ".a.csv", "a.csv.filepart", "Thumbs.db", "a.csv~"]
)
def test_names_of_copies_under_way_are_passed_over(folder: Path, name: str) -> None:
    (folder / name).write_text(text(ROWS))
    with pytest.raises(NothingDropped):
        pull(folder)
    assert [p.name for p in folder.iterdir()] == [name]


def test_a_file_that_grows_while_it_is_watched_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "a.csv"
    path.write_text(text(ROWS[:1]))

    def another_row_arrives(seconds: float) -> None:
        assert seconds == 7
        with path.open("a") as f:
            f.write(text(ROWS[1:]).splitlines()[1] + "\n")

    monkeypatch.setattr("connectors.file_drop.time.sleep", another_row_arrives)
    with pytest.raises(NothingDropped):
        pull(folder, settle_seconds=7)
    monkeypatch.setattr("connectors.file_drop.time.sleep", lambda _: None)
    assert len(pull(folder, settle_seconds=7)[1]) == 2


def test_a_workbook_open_in_excel_is_left(folder: Path) -> None:
    (folder / "a.xlsx").write_bytes(sheet(ROWS))
    (folder / "~$a.xlsx").write_bytes(b"x")
    with pytest.raises(NothingDropped):
        pull(folder)
    (folder / "~$a.xlsx").unlink()
    assert len(pull(folder)[1]) == 2


def test_a_file_replaced_between_reading_and_archive_is_taken_again(folder: Path) -> None:
    (folder / "a.csv").write_text(text(ROWS))
    connector = connect(folder)
    list(connector.chunks(Request(RUN)))
    (folder / "a.csv").write_text(text([[*ROWS[0][:4], 77]]))
    connector.landed()
    assert numbers(pull(folder)[1]) == [77]


@pytest.mark.parametrize(
    "name", ["003099000001 Bang Lang", "so ００３０９９０００００１", "Danh sách hộ Bằng Lăng"]
)
@pytest.mark.parametrize("fate", ["taken", "refused", "growing", "again", "changed", "locked"])
def test_a_files_name_and_its_sheets_stand_nowhere_but_in_its_folder(
    folder: Path, name: str, fate: str, contracts: Any
) -> None:
    contracts("index", [UNIT, SCORE], rejectShare=0.2)
    rows: list[list[Any]] = [[f"Sở {n}", n, None] for n in range(10)] + [["Sở x", "không có", "lạc"]]
    if fate == "refused":
        rows = rows[9:]

    def fill(page: Any) -> None:
        page.title = "hộ Bằng Lăng"
        for row in [["Đơn vị", "Điểm", "Diễn giải"], *rows, [], ["Người lập biểu"]]:
            page.append(row)

    path, today = folder / f"{name}.xlsx", span("2025-07-20", "2025-07-21")
    path.write_bytes(book(fill, then=lambda made: made.create_sheet("trang Bằng Lăng").append(["Hướng dẫn"])))
    sha = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if fate == "growing":
        (folder / f"~${path.name}").touch()
    if fate in ("again", "changed"):
        pull(folder, RUN if fate == "again" else today, table="index")
        (kept,) = (folder / ARCHIVE).glob("*/*")
        kept.chmod(0o644)
        shutil.copy(kept, path) if fate == "again" else kept.write_text("x")
    if fate == "locked":
        (folder / ARCHIVE).write_text("in the place of the archive")
    said: list[str] = []
    connector = connect(folder, "index")
    try:
        chunks = list(connector.chunks(Request(today, on_progress=said.append)))
        said += [f"{q.table} {q.key} {q.field}" for c in chunks for q in c.quarantine]
        said += [str(r) for c in chunks for r in c.rejects]
        assert len(chunks[0].quarantine) == 2, "a reject and an undeclared value"
        connector.landed()
        assert fate == "taken"
    except SourceError as e:
        assert fate != "taken"
        said.append(str(e))
    told = fold(unicodedata.normalize("NFKC", " ".join([*said, str(connector.report)])))
    for part in ("003099", "bang lang", "bằng lăng"):
        assert part not in told
    assert f"sha256 {sha}" in told or fate == "growing", "by which the operator finds it"


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.csv").write_text(text(ROWS))
    (folder / "a.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(NothingDropped):
        pull(folder)


def test_a_changed_file_of_the_archive_stops_the_run(folder: Path) -> None:
    (folder / "a.csv").write_text(text(ROWS))
    pull(folder)
    (kept,) = (folder / ARCHIVE).glob("*/*")
    kept.chmod(0o644)
    kept.write_text(text(ROWS[:1]))
    with pytest.raises(SourceRefused, match="immutable"):
        pull(folder)


def test_a_folder_that_is_not_there_or_an_address_that_is_none_is_said(folder: Path) -> None:
    with pytest.raises(SourceRefused, match="looked for the folder"):
        pull(folder / "khác")
    kind = type("FileDrop", (FileDrop,), {"tables": ("population_count",)})
    for address in ("https://example.vn/x", "file://may-chu/x", "file:x", ""):
        with pytest.raises(SourceRefused, match="must be a folder"):
            kind("population_counts", Endpoint(address))


def test_an_entry_of_the_list_of_sources_must_name_the_table(tmp_path: Path) -> None:
    listed = yaml.safe_load((PROJECT / "ops" / "sources.yml").read_text())
    path = tmp_path / "sources.yml"
    path.write_text(yaml.safe_dump(listed))
    assert read_sources(path)["population_counts"].connector_class().tables == ("population_count",)
    del listed["sources"]["population_counts"]["options"]["table"]
    path.write_text(yaml.safe_dump(listed))
    with pytest.raises(SettingsError, match="needs `table: <contract>`"):
        read_sources(path)["population_counts"].connector_class()


# --- small things -----------------------------------------------------------------------------------


def test_a_tone_mark_makes_another_word() -> None:
    assert fold("  Nhóm  TUỔI:\n") == "nhóm tuổi"
    assert fold("Nam") != fold("Năm")
    assert fold("0\u20134") == "0-4"


def test_columns_are_named_as_excel_names_them() -> None:
    assert [letter(n) for n in (0, 25, 26, 51, 701, 702)] == ["A", "Z", "AA", "AZ", "ZZ", "AAA"]
