"""What a comparison found, for people: one Excel file an agency, to answer in, and one page for the province."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import psycopg
from openpyxl import Workbook, load_workbook
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet
from psycopg.rows import dict_row

from national.mapping import VIETNAM
from national.reconcile import CLASSES, CURES, compared

#: What an agency may answer.
ANSWERS = ("Đã sửa", "Không đồng ý")
_HEAD = (
    "STT", "Mã hồ sơ", "Mã trên Cổng DVCQG", "Sai lệch", "Trường khác nhau", "Cách khắc phục", "Từ ngày", "Trả lời",
    "Ghi chú của cơ quan",
)  # fmt: skip
_FIRST_ROW = 6


class AnswersError(Exception):
    """A file of answers cannot be read; the message says which cell and what is wanted."""


def write_agency(connection: psycopg.Connection, number: int, agency: str, path: Path) -> int:
    """Write the differences of an agency and the units below it as .xlsx, with a column to answer in; how many."""
    rows = _rows(
        connection,
        "select d.*, c.compared_at, s.compared_at as since_at from national.difference d "
        "join national.comparison c using (number) join national.comparison s on s.number = d.since_number "
        "where d.number = %s and (d.agency_code = %s or starts_with(d.agency_code, %s)) "
        "order by d.class, d.code_here, d.code_there",
        (number, agency, f"{agency}."),
    )
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)  # noqa: S101 - a new workbook has a worksheet
    sheet.title = "Sai lệch"
    simulated = any(r["origin"] == "simulated" for r in rows)
    sheet["A1"] = f"HỒ SƠ SAI LỆCH VỚI CỔNG DỊCH VỤ CÔNG QUỐC GIA - {agency}"
    sheet["A2"] = f"Lần đối soát số {number}"
    sheet["A3"] = "SỐ LIỆU MÔ PHỎNG" if simulated else None
    sheet["A4"] = f"Cột “Trả lời”: chọn {' hoặc '.join(ANSWERS)}, rồi gửi lại tệp này."
    sheet["A1"].font = sheet["A3"].font = Font(bold=True)
    for column, text in enumerate(_HEAD, 1):
        cell = sheet.cell(_FIRST_ROW - 1, column, text)
        cell.font = Font(bold=True)
        cell.alignment = Alignment(wrap_text=True, vertical="center")
    for at, row in enumerate(rows):
        cells = (
            at + 1, row["code_here"] or "", row["code_there"] or "", CLASSES[row["class"]], ", ".join(row["fields"]),
            CURES[row["cure"]], f"{row['since_at'].astimezone(VIETNAM):%d/%m/%Y}", "", "",
        )  # fmt: skip
        for column, value in enumerate(cells, 1):
            cell = sheet.cell(_FIRST_ROW + at, column)
            cell.value = value
            if isinstance(value, str):  # a code that begins with "=" is no formula
                cell.data_type = "s"
    if rows:
        choice = DataValidation("list", formula1=f'"{",".join(ANSWERS)}"', allow_blank=True)
        choice.add(f"H{_FIRST_ROW}:H{_FIRST_ROW + len(rows) - 1}")
        sheet.add_data_validation(choice)
    for column, width in enumerate((6, 28, 28, 30, 30, 30, 12, 16, 40), 1):
        sheet.column_dimensions[get_column_letter(column)].width = width
    sheet.freeze_panes = f"A{_FIRST_ROW}"
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return len(rows)


def read_answers(connection: psycopg.Connection, agency: str, path: Path) -> int:
    """Take an agency's answers from its file; how many. All of them or none (AnswersError)."""
    try:
        sheet = load_workbook(path, read_only=True).worksheets[0]
        listed = list(sheet.iter_rows(min_row=_FIRST_ROW - 1, max_col=len(_HEAD), values_only=True))
    except (OSError, KeyError, ValueError, IndexError) as e:
        raise AnswersError(f"looked for an agency's answers in {path}: {type(e).__name__}") from None
    if not listed or tuple(listed[0]) != _HEAD:
        raise AnswersError(
            f"{path} is no file of differences: its row {_FIRST_ROW - 1} is not {', '.join(_HEAD)}"
        )
    classes = {name: key for key, name in CLASSES.items()}
    given = []
    for at, (_, here, there, name, _, _, _, answer, note) in enumerate(listed[1:], _FIRST_ROW):
        if not answer:
            continue
        if answer not in ANSWERS or name not in classes:
            raise AnswersError(
                f"{path} H{at}: the answer is not {' or '.join(ANSWERS)}; nothing was taken from the file"
            )
        given.append((classes[str(name)], here or there, agency, answer, note))
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into national.answer (class, code, agency_code, answer, note) values (%s, %s, %s, %s, %s) "
            "on conflict (class, code, agency_code) do update set answer = excluded.answer, note = excluded.note, "
            "answered_at = now()",
            given,
        )
    connection.commit()
    return len(given)


_PAGE = """<!doctype html>
<html lang="vi"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Đối soát với Cổng Dịch vụ công quốc gia</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:1.5rem auto;padding:0 1rem;color:#1b1b1b}
table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid #ccc;padding:.3rem .5rem;text-align:right}
th:first-child,td:first-child{text-align:left}caption{text-align:left;font-weight:600;padding:.5rem 0}
.note{background:#fff3cd;padding:.5rem .8rem}.alert{background:#f8d7da;padding:.5rem .8rem}
rect{fill:#1f5f99}text{font:12px system-ui,sans-serif}
</style>
<h1>Đối soát với Cổng Dịch vụ công quốc gia</h1>
{% if simulated %}<p class="note"><strong>SỐ LIỆU MÔ PHỎNG</strong> / simulated data</p>{% endif %}
<p>Lần đối soát số {{ it.number }}, {{ at }}. Trong kho: {{ n(it.here) }} hồ sơ; trên Cổng: {{ n(it.there) }} dòng
{%- if it.unreadable %} ({{ n(it.unreadable) }} dòng không đọc được){% endif %}.
Tỷ lệ đồng bộ: <strong>{{ "%.2f"|format(it.share) }} %</strong>.</p>
{% for said in alerts %}<p class="alert">{{ said }}</p>{% endfor %}
<table><caption>Sai lệch theo cơ quan / differences by agency</caption>
<tr><th scope="col">Cơ quan</th>{% for c in classes.values() %}<th scope="col">{{ c }}</th>{% endfor %}
<th scope="col">Cộng</th></tr>
{% for agency, row in agencies %}<tr><td>{{ agency }}</td>{% for c in classes %}<td>{{ n(row[c]) }}</td>{% endfor %}
<td>{{ n(row.total) }}</td></tr>
{% else %}<tr><td colspan="{{ classes|length + 2 }}">Không có sai lệch.</td></tr>{% endfor %}</table>
{% if agencies %}<h2>Mười cơ quan có nhiều sai lệch nhất</h2>
<svg role="img" width="100%" viewBox="0 0 640 {{ agencies[:10]|length * 24 }}">
<title>Số sai lệch theo cơ quan</title>
{% for agency, row in agencies[:10] %}<text x="0" y="{{ loop.index0 * 24 + 15 }}">{{ agency }}</text>
<rect x="110" y="{{ loop.index0 * 24 + 3 }}" width="{{ 440 * row.total / agencies[0][1].total }}" height="16"></rect>
<text x="{{ 116 + 440 * row.total / agencies[0][1].total }}" y="{{ loop.index0 * 24 + 15 }}">{{ n(row.total) }}</text>
{% endfor %}</svg>{% endif %}
<table><caption>Các lần đối soát / trend</caption>
<tr><th scope="col">Lần</th><th scope="col">Thời điểm</th><th scope="col">Hồ sơ</th><th scope="col">Sai lệch</th>
<th scope="col">Tỷ lệ đồng bộ</th></tr>
{% for t in trend %}<tr><td>{{ t.number }}</td><td>{{ t.at }}</td><td>{{ n(t.here) }}</td><td>{{ n(t.total) }}</td>
<td>{{ "%.2f"|format(t.share) }} %</td></tr>{% endfor %}</table>
</html>
"""


def summary(connection: psycopg.Connection, number: int, alerts: Sequence[str] = ()) -> str:
    """One page of HTML: table and chart by agency, trend of the last thirty comparisons; no dossier, no person."""
    it = compared(connection, number)
    counted: dict[str, dict[str, int]] = {}
    simulated = False
    for row in _rows(
        connection,
        "select coalesce(agency_code, '?') as agency, class, count(*) as n, bool_or(origin = 'simulated') as made "
        "from national.difference where number = %s group by 1, 2",
        (number,),
    ):
        of = counted.setdefault(row["agency"], dict.fromkeys((*CLASSES, "total"), 0))
        of[row["class"]] += row["n"]
        of["total"] += row["n"]
        simulated = simulated or bool(row["made"])
    trend = []
    for row in _rows(
        connection,
        "select number, compared_at from national.comparison where source = %s and number <= %s order by number desc "
        "limit 30",
        (it.source, number),
    ):
        then = compared(connection, row["number"])
        trend.append({
            "number": then.number, "at": _at(row["compared_at"]), "here": then.here, "total": then.classes.total(),
            "share": then.share,
        })  # fmt: skip
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_PAGE).render(
        it=it, at=trend[0]["at"], alerts=alerts, classes=CLASSES, trend=trend, simulated=simulated,
        agencies=sorted(counted.items(), key=lambda kv: (-kv[1]["total"], kv[0])),
        n=lambda value: f"{value:,}".replace(",", "."),
    )  # fmt: skip


def _at(moment: dt.datetime) -> str:
    return f"{moment.astimezone(VIETNAM):%d/%m/%Y %H:%M}"


def _rows(connection: psycopg.Connection, query: str, given: tuple[Any, ...]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, given).fetchall()  # type: ignore[arg-type]
