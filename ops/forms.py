"""Reports as Excel files in the layout that offices sign: form II.06a and the morning list.

Form II.06a is biểu số II.06a/VPCP/KSTT, its thirteen columns as printed. Handovers between agencies have no column
there; they stand in two columns to the right of it, which the balance needs: (3) + (14) = (7) + (11) + (15). Numbers
come from `marts.fct_form_06a` and `marts.morning_list`, and no person is named in either.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from openpyxl import Workbook
from openpyxl.styles import Alignment, Border, Font, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet
from psycopg import sql
from psycopg.rows import dict_row

#: Columns 3 to 15 of the form, in their order.
COUNTS = (
    "received_total", "new_online", "new_other", "carried_over",
    "resolved_total", "resolved_early", "resolved_on_time", "resolved_overdue",
    "open_total", "open_in_time", "open_overdue", "transferred_in", "transferred_out",
)  # fmt: skip
_THIN = Side(style="thin")
_FONT = "Times New Roman"
#: (cells, text) of the form's head, rows 6 to 8; row 9 holds the columns' numbers.
_HEAD = (
    ("A6:A8", "STT"),
    ("B6:B8", "Lĩnh vực giải quyết"),
    ("C6:F6", "Số lượng hồ sơ tiếp nhận"),
    ("C7:C8", "Tổng số"),
    ("D7:E7", "Trong kỳ"),
    ("D8", "Trực tuyến"),
    ("E8", "Trực tiếp, dịch vụ bưu chính"),
    ("F7:F8", "Từ kỳ trước"),
    ("G6:J6", "Số lượng hồ sơ đã giải quyết"),
    ("G7:G8", "Tổng số"),
    ("H7:H8", "Trước hạn"),
    ("I7:I8", "Đúng hạn (gồm cả hồ sơ trả lại, xin rút)"),
    ("J7:J8", "Quá hạn"),
    ("K6:M6", "Số lượng hồ sơ đang giải quyết"),
    ("K7:K8", "Tổng số"),
    ("L7:L8", "Trong hạn (gồm cả hồ sơ chờ bổ sung)"),
    ("M7:M8", "Quá hạn"),
    ("N6:O6", "Ngoài biểu: chuyển giao giữa các cơ quan"),
    ("N7:N8", "Chuyển đến"),
    ("O7:O8", "Chuyển đi"),
)
_NUMBERS = (
    "(1)", "(2)", "(3)=(4)+(5)+(6)", "(4)", "(5)", "(6)", "(7)=(8)+(9)+(10)", "(8)", "(9)", "(10)",
    "(11)=(12)+(13)", "(12)", "(13)", "(14)", "(15)",
)  # fmt: skip
#: Folder of what is counted under codes that no list of agencies knows.
_UNKNOWN = "unknown"
_LISTS = {"overdue": "Quá hạn", "due_soon": "Sắp đến hạn", "wrong_data": "Dữ liệu sai"}


class NoSuchForm(Exception):
    """The warehouse has no numbers for what was asked; the message says what it has."""


class FormNotWritten(Exception):
    """A file could not be put in place; the message says which and why."""


@dataclasses.dataclass(frozen=True)
class Written:
    """What `write_all` came to."""

    agencies: int
    files: int


@dataclasses.dataclass(frozen=True)
class Form06a:
    """One agency's form II.06a for one period: a row of counts (see COUNTS) for each sector, in dossiers."""

    agency_code: str
    agency_name: str
    period: str
    closing: str
    first_day: dt.date
    last_day: dt.date
    judged_day: dt.date
    covered_days: int
    is_simulated: bool
    sectors: dict[str, tuple[int, ...]]
    #: Whether all units below the agency are in the counts, as one body with it.
    with_subordinates: bool = False

    @property
    def total(self) -> tuple[int, ...]:
        """All sectors together."""
        return tuple(sum(column) for column in zip(*self.sectors.values(), strict=True))


@dataclasses.dataclass(frozen=True)
class MorningList:
    """What one agency has to look at on one day: rows of `marts.morning_list`, most pressing first."""

    agency_code: str
    agency_name: str
    day: dt.date
    is_simulated: bool
    rows: list[dict[str, Any]]


def form_06a(url: str, agency: str, period: str, closing: str, with_subordinates: bool = False) -> Form06a:
    """Form II.06a of an agency (code as used) for a period (2025-06, 2025-Q2, 2025) of a closing.

    `closing` is `calendar` or `administrative` (on the 14th). `with_subordinates` takes all units below the agency as
    one body with it; handovers inside cancel out. NoSuchForm where nothing was counted.
    """
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return _form_06a(connection, agency, period, closing, with_subordinates)


def _form_06a(
    connection: psycopg.Connection[dict[str, Any]],
    agency: str,
    period: str,
    closing: str,
    with_subordinates: bool,
) -> Form06a:
    table = "form_06a_with_subordinates" if with_subordinates else "fct_form_06a"
    name = _agency_name(connection, agency)
    asked = sql.SQL("select {} from {} where agency_code = %s and closing = %s {}")
    rows = connection.execute(
        asked.format(
            sql.SQL("*"),
            sql.Identifier("marts", table),
            sql.SQL("and period = %s order by sector_name, origin"),
        ),
        (agency, closing, period),
    ).fetchall()
    if not rows:
        found = connection.execute(
            asked.format(
                sql.SQL("period"), sql.Identifier("marts", table),
                sql.SQL("group by period order by min(period_start), period"),
            ),
            (agency, closing),
        ).fetchall()  # fmt: skip
        listed = ", ".join(r["period"] for r in found) or "no period at all"
        raise NoSuchForm(
            f"looked for {closing} period {period!r} of agency {agency} in marts.{table}; it has {listed}"
        )
    return _form_of(rows, name, with_subordinates)


def _form_of(rows: Sequence[dict[str, Any]], name: str, with_subordinates: bool) -> Form06a:
    """The form of one agency, closing and period; of origins that share a sector one line."""
    sectors: dict[str, tuple[int, ...]] = {}
    for row in rows:
        counts = tuple(row[c] for c in COUNTS)
        before = sectors.get(row["sector_name"], (0,) * len(COUNTS))
        sectors[row["sector_name"]] = tuple(a + b for a, b in zip(before, counts, strict=True))
    first = rows[0]
    return Form06a(
        first["agency_code"], name, first["period"], first["closing"], first["period_start"], first["period_end"],
        first["judged_date"], first["covered_days"], any(r["origin"] == "simulated" for r in rows), sectors,
        with_subordinates,
    )  # fmt: skip


def morning_list(url: str, agency: str) -> MorningList:
    """What an agency (code as used) has to look at on the last day that loads cover; may be empty."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        name = _agency_name(connection, agency)
        day = _last_day(connection)
        rows = connection.execute(
            "select * from marts.morning_list where addressed_agency_code = %s "
            "order by list_no, due_date nulls last, dossier_code, reason",
            (agency,),
        ).fetchall()
    return MorningList(agency, name, day, any(r["origin"] == "simulated" for r in rows), rows)


def _last_day(connection: psycopg.Connection[dict[str, Any]]) -> dt.date:
    found = connection.execute("select as_of_date from marts.as_of_day").fetchone()
    if found is None or found["as_of_date"] is None:
        raise NoSuchForm("looked for the last day that loads cover in marts.as_of_day; no dossier is loaded")
    day: dt.date = found["as_of_date"]
    return day


def write_all(url: str, folder: Path) -> Written:
    """Write every agency's reports below `folder`, for each agency into a folder named by its code.

    Form II.06a of the running month and of the last whole one, by both closings, of the code alone and, where units
    stand below it, with these; and the morning list. What is counted under codes that no list knows has the folder
    `unknown`; its dossiers are on the list of the level above. A new folder is for its owner and group alone, and one
    that is there keeps its rights: give it the agency's group, with setgid, and its files are that group's. Each file
    is put in place whole; NoSuchForm where no dossier is loaded.
    """
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute(
            "set transaction isolation level repeatable read, read only"
        )  # one state for all files
        day = _last_day(connection)
        names = {
            r["agency_code"]: r["agency_name"]
            for r in connection.execute(
                "select agency_code, agency_name from marts.dim_agency where is_known"
            )
        }
        made: dict[str, set[str]] = {}

        def put(code: str, name: str, write: Callable[[Path], None]) -> None:
            place = code if code in names else _UNKNOWN
            _put_in_place(folder / place / name, write)
            made.setdefault(place, set()).add(name)

        months = connection.execute(
            "select distinct closing, period from (select closing, period, dense_rank() over (partition by closing "
            "order by period_start desc) as age from marts.fct_form_06a where period_kind = 'month' "
            "and period_start <= %s) as month where age <= 2",
            (day,),
        ).fetchall()
        for table, whose in (
            ("fct_form_06a", "true"),
            (
                "form_06a_with_subordinates",
                "agency_code in (select agency_code from marts.bridge_agency_subordinate where levels_below > 0)",
            ),
        ):
            rows = connection.execute(
                sql.SQL(
                    "select * from {} where closing = any(%s) and period = any(%s) and period_kind = 'month' and {} "
                    "order by agency_code, closing, period, sector_name, origin"
                ).format(sql.Identifier("marts", table), sql.SQL(whose)),
                ([m["closing"] for m in months], [m["period"] for m in months]),
            )
            wanted = {(m["closing"], m["period"]) for m in months}
            for (code, closing, period), group in itertools.groupby(
                rows, lambda r: (r["agency_code"], r["closing"], r["period"])
            ):
                if (closing, period) not in wanted:
                    continue
                rolled = table != "fct_form_06a"
                form = _form_of(list(group), names.get(code, code), rolled)
                put(code, form_name(code, period, closing, rolled), functools.partial(write_06a, form))
        lists: dict[str, list[dict[str, Any]]] = {}
        for row in connection.execute(
            "select * from marts.morning_list order by list_no, due_date nulls last, dossier_code, reason"
        ):
            lists.setdefault(row["addressed_agency_code"], []).append(row)
        # A list that is empty today is written too, or yesterday's would stand.
        for code in {*lists, *(made.keys() & names.keys()), *(n for n in names if (folder / n).is_dir())}:
            found = lists.get(code, [])
            simulated = any(r["origin"] == "simulated" for r in found)
            listed = MorningList(code, names.get(code, code), day, simulated, found)
            put(code, file_name("morning-list", code), functools.partial(write_morning_list, listed))
    return Written(len(made), sum(map(len, made.values())))


def _put_in_place(path: Path, write: Callable[[Path], None]) -> None:
    """Have `write` make the file aside, then put it in place; a folder that is new is its owner's and group's."""
    try:
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_dir():
            path.parent.mkdir()
            path.parent.chmod(0o750)  # whatever the umask
        aside = path.with_name(f".{path.name}.part")
        try:
            write(aside)
            aside.chmod(0o640)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as e:
        raise FormNotWritten(
            f"could not write {path}: {e.strerror}. Free space, or give the service's user the folder; the files that "
            "stood there are unchanged"
        ) from None


def _agency_name(connection: psycopg.Connection[dict[str, Any]], agency: str) -> str:
    found = connection.execute(
        "select agency_name from marts.dim_agency where agency_code = %s", (agency,)
    ).fetchone()
    if found is None:
        near = connection.execute(
            "select agency_code from marts.dim_agency where agency_code like '%%' || %s || '%%' "
            "order by length(agency_code), agency_code limit 5",
            (agency,),
        ).fetchall()
        hint = f"; near it: {', '.join(r['agency_code'] for r in near)}" if near else ""
        raise NoSuchForm(f"looked for agency {agency!r} in marts.dim_agency and found none{hint}")
    return str(found["agency_name"])


def write_06a(form: Form06a, path: Path) -> None:
    """Write the form as one sheet of an .xlsx file."""
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)  # noqa: S101 - a new workbook has a worksheet
    sheet.title = "II.06a"
    _text(sheet, "A1:C1", "Biểu số II.06a/VPCP/KSTT", bold=True, align="left")
    _text(sheet, "D1:K1", "TÌNH HÌNH, KẾT QUẢ GIẢI QUYẾT THỦ TỤC HÀNH CHÍNH", bold=True, size=13)
    _text(sheet, "L1:O1", f"Đơn vị báo cáo: {form.agency_name} ({form.agency_code})", align="left")
    closing = " (chốt ngày 14)" if form.closing == "administrative" else ""
    _text(sheet, "D2:K2", f"Kỳ báo cáo: {_period_name(form.period)}{closing}")
    _text(sheet, "D3:K3", f"(Từ ngày {_day(form.first_day)} đến ngày {_day(form.last_day)})")
    notes = []
    if form.is_simulated:
        notes.append("SỐ LIỆU MÔ PHỎNG")
    if form.judged_day < form.last_day:
        notes.append(f"Kỳ chưa kết thúc: số liệu đến hết ngày {_day(form.judged_day)}")
    days = (min(form.judged_day, form.last_day) - form.first_day).days + 1
    if form.covered_days < days:
        notes.append(f"Dữ liệu nạp về phủ {form.covered_days}/{days} ngày của kỳ")
    _text(sheet, "A4:K4", ". ".join(notes), bold=True, align="left")
    # A dossier handed on within a body would be in two rows: sums over codes are not the form of the whole.
    _text(
        sheet,
        "A5:O5",
        "Số liệu gồm cả mọi đơn vị trực thuộc; chuyển giao trong nội bộ không tính là chuyển đến, chuyển đi"
        if form.with_subordinates
        else "Số liệu của riêng mã cơ quan này; đơn vị trực thuộc có mã riêng lập biểu riêng",
        align="left",
    )
    _text(sheet, "L4:O4", "Đơn vị tính: Số hồ sơ TTHC", align="right")
    for cells, text in _HEAD:
        _text(sheet, cells, text, bold=True, border=True)
    _row(sheet, 9, _NUMBERS, italic=True)
    at = 10
    for number, (sector, counts) in enumerate(form.sectors.items(), 1):
        _row(sheet, at, (number, sector, *counts))
        at += 1
    _row(sheet, at, ("", "TỔNG CỘNG", *form.total), bold=True)
    _widths(sheet, (6, 44, *[11] * len(COUNTS)))
    sheet.row_dimensions[8].height = 62
    _print_on_one_width(sheet, "C10")
    book.save(path)


def write_morning_list(found: MorningList, path: Path) -> None:
    """Write the list as one sheet of an .xlsx file."""
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)  # noqa: S101 - a new workbook has a worksheet
    sheet.title = "Danh sách"
    _text(sheet, "A1:H1", f"HỒ SƠ CẦN XỬ LÝ NGÀY {_day(found.day)}", bold=True, size=13)
    _text(sheet, "A2:H2", f"{found.agency_name} ({found.agency_code})")
    _text(sheet, "A3:H3", "SỐ LIỆU MÔ PHỎNG" if found.is_simulated else "", bold=True)
    head = (
        "STT", "Danh sách", "Mã hồ sơ", "Mã TTHC", "Thủ tục", "Hẹn trả", "Còn lại (ngày)",
        "Bộ phận đang xử lý", "Lý do",
    )  # fmt: skip
    _row(sheet, 5, head, bold=True)
    for number, row in enumerate(found.rows, 1):
        cells = (
            number, _LISTS[row["list_kind"]], row["dossier_code"], row["procedure_code"], row["procedure_name"] or "",
            _day(row["due_date"]) if row["due_date"] else "", row["days_left"], row["officer_unit_name"] or "",
            row["reason_vi"],
        )  # fmt: skip
        _row(sheet, 5 + number, cells)
    _widths(sheet, (6, 14, 30, 14, 60, 12, 10, 34, 40))
    _print_on_one_width(sheet, "A6")
    book.save(path)


def form_name(agency: str, period: str, closing: str, with_subordinates: bool) -> str:
    """Name of a form's file: II.06a_H20.14_2025-06_14.xlsx is closed on the 14th."""
    parts = ["II.06a", agency, period] + (["14"] if closing == "administrative" else [])
    return file_name(*parts, *(["with-subordinates"] if with_subordinates else []))


def file_name(*parts: str) -> str:
    """A file's name of these parts, with nothing a file system would mind: II.06a_H20.14_2025-06.xlsx."""
    return "_".join(re.sub(r"[^\w.-]+", "-", p) for p in parts) + ".xlsx"


def _day(day: dt.date) -> str:
    return f"{day:%d/%m/%Y}"


def _period_name(period: str) -> str:
    year, _, part = period.partition("-")
    if part.startswith("Q"):
        return f"quý {part[1:]} năm {year}"
    return f"tháng {int(part)} năm {year}" if part else f"năm {year}"


def _text(
    sheet: Worksheet, cells: str, text: str, bold: bool = False, size: int = 11, align: str = "center",
    border: bool = False,
) -> None:  # fmt: skip
    """Write `text` over `cells`, which become one."""
    first = cells.partition(":")[0]
    if ":" in cells:
        sheet.merge_cells(cells)
    cell = sheet[first]
    cell.value = text
    cell.font = Font(name=_FONT, bold=bold, size=size)
    cell.alignment = Alignment(horizontal=align, vertical="center", wrap_text=True)
    if border:
        for line in sheet[cells] if ":" in cells else ((cell,),):
            for one in line:
                one.border = Border(left=_THIN, right=_THIN, top=_THIN, bottom=_THIN)


def _row(
    sheet: Worksheet, at: int, values: Sequence[object], bold: bool = False, italic: bool = False
) -> None:
    """Write one line of a table, with borders; numbers to the right, text to the left."""
    for column, value in enumerate(values, 1):
        cell = sheet.cell(at, column)
        cell.value = value  # type: ignore[assignment]
        # A text that begins with "=" would be a formula; it is somebody's code or name.
        if isinstance(value, str):
            cell.data_type = "s"
        cell.font = Font(name=_FONT, bold=bold, italic=italic, size=10 if italic else 11)
        side = "center" if bold or italic else "right" if isinstance(value, int) else "left"
        cell.alignment = Alignment(horizontal=side, vertical="center", wrap_text=True)
        cell.border = Border(left=_THIN, right=_THIN, top=_THIN, bottom=_THIN)


def _widths(sheet: Worksheet, widths: Iterable[int]) -> None:
    for column, width in enumerate(widths, 1):
        sheet.column_dimensions[get_column_letter(column)].width = width


def _print_on_one_width(sheet: Worksheet, below: str) -> None:
    sheet.freeze_panes = below
    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.paperSize = 9  # A4
    sheet.page_setup.fitToHeight = 0
    sheet.sheet_properties.pageSetUpPr.fitToPage = True
