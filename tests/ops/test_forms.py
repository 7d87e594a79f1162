"""Reports as Excel: what stands in the file is what stands in the marts, in the cells of the official form."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import psycopg
import pytest
import yaml
from psycopg import sql

from ops import forms
from ops.settings import PROJECT
from tests.conftest import Server

JULY = {"period": "2025-07", "closing": "calendar", "period_kind": "month", "period_start": dt.date(2025, 7, 1),
        "period_end": dt.date(2025, 7, 31), "judged_date": dt.date(2025, 7, 31), "covered_days": 31}  # fmt: skip
COUNTS = (7, 3, 2, 2, 5, 1, 3, 1, 4, 3, 1, 6, 4)


def models() -> dict[str, dict[str, Any]]:
    """Every declared model of the marts, so that tables here cannot differ from those of a build."""
    found = {}
    for path in (PROJECT / "dbt" / "models" / "marts").glob("_*.yml"):
        for model in yaml.safe_load(path.read_text()).get("models", []):
            found[model["name"]] = model
    return found


@pytest.fixture(scope="module")
def warehouse(server: Server) -> str:
    """URL of a warehouse with the tables that reports read, empty."""
    url = server.new_database()
    declared = models()
    with psycopg.connect(url) as connection:
        connection.execute("create schema marts")
        for name in (
            "dim_agency", "fct_form_06a", "form_06a_with_subordinates", "bridge_agency_subordinate", "as_of_day",
            "morning_list",
        ):  # fmt: skip
            columns = ", ".join(f"{c['name']} {c['data_type']}" for c in declared[name]["columns"])
            connection.execute(f"create table marts.{name} ({columns})")
    put(url, "dim_agency", agency_code="H20.44", agency_name="Sở Xây dựng", is_known=True)
    put(url, "dim_agency", agency_code="H20", agency_name="UBND tỉnh", is_known=True)
    put(url, "dim_agency", agency_code="../99", agency_name="Không rõ (../99)", is_known=False)
    for below in ("H20", "H20.44"):
        put(url, "bridge_agency_subordinate", agency_code="H20", subordinate_agency_code=below,
            levels_below=int(below != "H20"))  # fmt: skip
    put(url, "as_of_day", as_of_date=dt.date(2025, 7, 31), last_covered_date=dt.date(2025, 7, 31))
    return url


def put(url: str, table: str, **values: Any) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            sql.SQL("insert into marts.{} ({}) values ({})").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(sql.Placeholder() * len(values)),
            ),
            list(values.values()),
        )


@pytest.fixture
def counted(warehouse: str) -> Iterator[str]:
    """The same, with two sectors of July; one has a row of either origin."""
    for sector, origin, factor in (
        ("Chứng thực", "real", 1),
        ("Đường bộ", "real", 10),
        ("Đường bộ", "simulated", 100),
    ):
        counts = dict(zip(forms.COUNTS, (n * factor for n in COUNTS), strict=True))
        put(
            warehouse,
            "fct_form_06a",
            agency_code="H20.44",
            sector_name=sector,
            origin=origin,
            **JULY,
            **counts,
        )
    yield warehouse
    with psycopg.connect(warehouse) as connection:
        connection.execute(
            "truncate marts.fct_form_06a, marts.form_06a_with_subordinates, marts.morning_list"
        )


def sheet(path: Path) -> Any:
    return openpyxl.load_workbook(path).active


def test_every_cell_stands_where_the_official_form_has_it(counted, tmp_path):
    path = tmp_path / "form.xlsx"
    forms.write_06a(forms.form_06a(counted, "H20.44", "2025-07", "calendar"), path)
    found = sheet(path)
    assert found["A1"].value == "Biểu số II.06a/VPCP/KSTT"
    assert "Sở Xây dựng (H20.44)" in found["L1"].value
    assert found["D2"].value == "Kỳ báo cáo: tháng 7 năm 2025"
    assert found["D3"].value == "(Từ ngày 01/07/2025 đến ngày 31/07/2025)"
    assert "riêng mã cơ quan này" in found["A5"].value, "units below it are not summed up"
    assert [c.value for c in found[9]][:4] == ["(1)", "(2)", "(3)=(4)+(5)+(6)", "(4)"]
    assert {str(r) for r in found.merged_cells.ranges} >= {"C6:F6", "D7:E7", "G6:J6", "K6:M6"}
    assert [c.value for c in found[10]] == [1, "Chứng thực", *COUNTS]
    assert [c.value for c in found[11]] == [2, "Đường bộ", *(110 * n for n in COUNTS)]
    assert [c.value for c in found[12]] == [None, "TỔNG CỘNG", *(111 * n for n in COUNTS)]
    assert found.max_row == 12


def test_a_period_that_closes_on_the_14th_says_its_days(counted, tmp_path):
    put(
        counted, "fct_form_06a", agency_code="H20.44", sector_name="Hộ tịch", origin="real",
        period="2025-Q3", closing="administrative", period_kind="quarter", period_start=dt.date(2025, 6, 15),
        period_end=dt.date(2025, 9, 14), judged_date=dt.date(2025, 9, 14), covered_days=92,
        **dict(zip(forms.COUNTS, COUNTS, strict=True)),
    )  # fmt: skip
    path = tmp_path / "form.xlsx"
    forms.write_06a(forms.form_06a(counted, "H20.44", "2025-Q3", "administrative"), path)
    found = sheet(path)
    assert found["D2"].value == "Kỳ báo cáo: quý 3 năm 2025 (chốt ngày 14)"
    assert found["D3"].value == "(Từ ngày 15/06/2025 đến ngày 14/09/2025)"
    # The calendar quarter of that name is another form, with other rows.
    assert [c.value for c in found[10]] == [1, "Hộ tịch", *COUNTS]
    assert [c.value for c in found[11]] == [None, "TỔNG CỘNG", *COUNTS]
    with pytest.raises(forms.NoSuchForm, match=r"calendar period '2025-Q3'"):
        forms.form_06a(counted, "H20.44", "2025-Q3", "calendar")


def test_numbered_columns_add_up_as_the_form_says(counted):
    total = forms.form_06a(counted, "H20.44", "2025-07", "calendar").total
    column = dict(enumerate(total, 3))
    assert column[3] == column[4] + column[5] + column[6]
    assert column[7] == column[8] + column[9] + column[10]
    assert column[11] == column[12] + column[13]
    assert column[3] + column[14] == column[7] + column[11] + column[15]


def test_invented_and_unfinished_numbers_say_so(counted, tmp_path):
    path = tmp_path / "form.xlsx"
    forms.write_06a(forms.form_06a(counted, "H20.44", "2025-07", "calendar"), path)
    assert sheet(path)["A4"].value == "SỐ LIỆU MÔ PHỎNG"
    with psycopg.connect(counted) as connection:
        connection.execute("delete from marts.fct_form_06a where origin = 'simulated'")
        connection.execute("update marts.fct_form_06a set judged_date = '2025-07-14', covered_days = 10")
    forms.write_06a(forms.form_06a(counted, "H20.44", "2025-07", "calendar"), path)
    said = sheet(path)["A4"].value
    assert "MÔ PHỎNG" not in said
    assert "đến hết ngày 14/07/2025" in said
    assert "10/14 ngày" in said


def test_what_is_not_there_is_told_with_what_is(counted):
    with pytest.raises(
        forms.NoSuchForm, match=r"calendar period '2025-06' of agency H20.44 .* it has 2025-07"
    ):
        forms.form_06a(counted, "H20.44", "2025-06", "calendar")
    with pytest.raises(forms.NoSuchForm, match=r"administrative period .* no period at all"):
        forms.form_06a(counted, "H20.44", "2025-07", "administrative")
    with pytest.raises(forms.NoSuchForm, match=r"agency 'H20.4' .* near it: H20.44"):
        forms.form_06a(counted, "H20.4", "2025-07", "calendar")


def test_a_morning_list_is_in_order_and_no_text_is_a_formula(warehouse, tmp_path):
    same = {
        "agency_code": "H20.44",
        "addressed_agency_code": "H20.44",
        "as_of_date": dt.date(2025, 7, 31),
        "procedure_code": "1.001",
        "origin": "real",
    }
    put(warehouse, "morning_list", **same, list_kind="wrong_data", list_no=3, dossier_code="=1+1",
        reason="negative_fee", reason_vi="Phí âm")  # fmt: skip
    put(warehouse, "morning_list", **same, list_kind="due_soon", list_no=2, dossier_code="c2", reason="due_soon",
        reason_vi="Sắp đến hạn", due_date=dt.date(2025, 8, 1), days_left=1, officer_unit_name="Phòng một")  # fmt: skip
    put(warehouse, "morning_list", **same, list_kind="overdue", list_no=1, dossier_code="c1", reason="overdue",
        reason_vi="Quá hạn", due_date=dt.date(2025, 7, 30), days_left=-1)  # fmt: skip
    path = tmp_path / "list.xlsx"
    forms.write_morning_list(forms.morning_list(warehouse, "H20.44"), path)
    found = sheet(path)
    assert found["A1"].value == "HỒ SƠ CẦN XỬ LÝ NGÀY 31/07/2025"
    lines = [[cell.value for cell in line] for line in found.iter_rows(min_row=6)]
    assert [(*line[:3], *line[5:8]) for line in lines] == [
        (1, "Quá hạn", "c1", "30/07/2025", -1, None),
        (2, "Sắp đến hạn", "c2", "01/08/2025", 1, "Phòng một"),
        (3, "Dữ liệu sai", "=1+1", None, None, None),
    ]  # fmt: skip
    assert found["C8"].data_type == "s"


def test_a_form_with_units_below_says_so(warehouse, tmp_path):
    put(warehouse, "form_06a_with_subordinates", agency_code="H20", sector_name="Đường bộ", origin="real", **JULY,
        **dict(zip(forms.COUNTS, COUNTS, strict=True)))  # fmt: skip
    path = tmp_path / "form.xlsx"
    forms.write_06a(forms.form_06a(warehouse, "H20", "2025-07", "calendar", with_subordinates=True), path)
    found = sheet(path)
    assert "gồm cả mọi đơn vị trực thuộc" in found["A5"].value
    assert [c.value for c in found[10]] == [1, "Đường bộ", *COUNTS]
    with pytest.raises(forms.NoSuchForm, match=r"in marts.fct_form_06a; it has no period at all"):
        forms.form_06a(warehouse, "H20", "2025-07", "calendar")


def test_every_agency_has_its_reports_in_a_folder_of_its_own(counted, tmp_path):
    """Two months of two closings at most; the province's with its units; what no list knows goes one level above."""
    folder = tmp_path / "forms"
    other = dict(zip(forms.COUNTS, COUNTS, strict=True))
    june = {
        **JULY,
        "period": "2025-06",
        "period_start": dt.date(2025, 6, 1),
        "period_end": dt.date(2025, 6, 30),
    }
    may = {
        **JULY,
        "period": "2025-05",
        "period_start": dt.date(2025, 5, 1),
        "period_end": dt.date(2025, 5, 31),
    }
    for period in (june, may):
        put(
            counted,
            "fct_form_06a",
            agency_code="H20.44",
            sector_name="Hộ tịch",
            origin="real",
            **period,
            **other,
        )
    put(counted, "fct_form_06a", agency_code="../99", sector_name="Hộ tịch", origin="real", **JULY, **other)
    put(
        counted,
        "form_06a_with_subordinates",
        agency_code="H20",
        sector_name="Hộ tịch",
        origin="real",
        **JULY,
        **other,
    )
    put(counted, "form_06a_with_subordinates", agency_code="H20.44", sector_name="Hộ tịch", origin="real", **JULY,
        **other)  # fmt: skip
    with psycopg.connect(counted) as connection:
        connection.execute("truncate marts.morning_list")
    put(counted, "morning_list", agency_code="unknown", addressed_agency_code="H20", dossier_code="c9", list_no=1,
        list_kind="overdue", reason="overdue", reason_vi="Quá hạn", origin="real")  # fmt: skip
    kept = folder / "H20.44"
    kept.mkdir(parents=True)
    kept.chmod(0o2770)  # as whoever runs the server gave it to the agency's group
    (kept / "morning-list_H20.44.xlsx").write_bytes(b"yesterday's")
    done = forms.write_all(counted, folder)
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert found == {
        "H20.44/II.06a_H20.44_2025-07.xlsx", "H20.44/II.06a_H20.44_2025-06.xlsx", "H20.44/morning-list_H20.44.xlsx",
        "H20/II.06a_H20_2025-07_with-subordinates.xlsx", "H20/morning-list_H20.xlsx",
        "unknown/II.06a_..-99_2025-07.xlsx",
    }  # fmt: skip
    assert (done.agencies, done.files) == (3, len(found))
    modes = {str(p.relative_to(folder)): p.stat().st_mode & 0o7777 for p in folder.rglob("*")}
    assert {m for p, m in modes.items() if p.endswith(".xlsx")} == {0o640}
    assert modes["H20"] == modes["unknown"] == 0o750
    assert modes["H20.44"] == 0o2770, "a folder that is there keeps its rights"
    assert sheet(folder / "H20/morning-list_H20.xlsx")["C6"].value == "c9"
    # Nobody's list of yesterday stands: this one is empty today.
    assert sheet(kept / "morning-list_H20.44.xlsx").max_row == 5
    assert [c.value for c in sheet(kept / "II.06a_H20.44_2025-07.xlsx")[12]][1:3] == [
        "TỔNG CỘNG",
        111 * COUNTS[0],
    ]


def test_a_file_that_cannot_be_written_leaves_the_last_one(counted, tmp_path, monkeypatch):
    assert forms.write_all(counted, tmp_path).files
    path = tmp_path / "H20.44" / "II.06a_H20.44_2025-07.xlsx"
    before = path.read_bytes()

    def full(form: forms.Form06a, aside: Path) -> None:
        aside.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(forms, "write_06a", full)
    with pytest.raises(
        forms.FormNotWritten, match=r"could not write .*2025-07.xlsx: No space left on device"
    ):
        forms.write_all(counted, tmp_path)
    assert path.read_bytes() == before
    assert not list(tmp_path.rglob("*.part"))


def test_no_report_reads_a_column_that_names_a_person():
    declared = models()
    for name in ("fct_form_06a", "morning_list", "fct_open_dossier_monthly", "fct_dossier_wrong_data"):
        columns = {c["name"] for c in declared[name]["columns"]}
        assert columns
        assert not [
            c for c in columns if "applicant" in c or "officer_name" in c or "token" in c or "pseudonym" in c
        ]


def test_a_files_name_holds_nothing_that_a_file_system_minds():
    made = forms.file_name("II.06a", "../H20/44", "2025-07")
    assert made == "II.06a_..-H20-44_2025-07.xlsx"
    assert os.sep not in made
