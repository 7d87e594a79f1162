"""What a comparison found, for people: one Excel file an agency, to answer in, and one page for the province."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import psycopg
from openpyxl import Workbook, load_workbook
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet
from psycopg.rows import dict_row

from national.mapping import VIETNAM
from national.reconcile import CLASSES, CURES, SOURCES, Compared, compared

#: What an agency may answer.
ANSWERS = ("Đã sửa", "Không đồng ý")
_HEAD = (
    "STT", "Mã hồ sơ", "Mã trên Cổng DVCQG", "Sai lệch", "Trường khác nhau", "Cách khắc phục", "Từ ngày", "Trả lời",
    "Ghi chú của cơ quan", "Nguồn phát hiện", "Đã trả lời",
)  # fmt: skip
#: Columns up to the agency's own words.
_ANSWERED = 9
_FIRST_ROW = 6


class AnswersError(Exception):
    """A file of answers cannot be read; the message says which cell and what is wanted."""


def write_agency(connection: psycopg.Connection, agency: str, path: Path) -> int:
    """Write what stands of an agency and the units below it as .xlsx, with a column to answer in; how many.

    What was answered before stands in the last column: who said "Đã sửa" and reads it here again has not.
    """
    rows = _rows(
        connection,
        "select d.*, a.answer, a.answered_at from national.standing d left join lateral (select answer, answered_at "
        "from national.answer where class = d.class and code = coalesce(d.code_here, d.code_there) "
        "order by answered_at desc limit 1) as a on true "
        "where d.agency_code = %s or starts_with(d.agency_code, %s) order by d.class, d.code_here, d.code_there",
        (agency, f"{agency}."),
    )
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)  # noqa: S101 - a new workbook has a worksheet
    sheet.title = "Sai lệch"
    simulated = any(r["origin"] == "simulated" for r in rows)
    sheet["A1"] = f"HỒ SƠ SAI LỆCH VỚI CỔNG DỊCH VỤ CÔNG QUỐC GIA - {agency}"
    sheet["A2"] = "; ".join(f"{SOURCES[c.source]}: lần đối soát số {c.number}" for c in _latest(connection))
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
            CURES[row["cure"]], _day(row["since_at"]), "", "",
            ", ".join(SOURCES[s] for s in row["sources"]),
            f"{row['answer']} ({_day(row['answered_at'])})" if row["answer"] else "",
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
    for column, width in enumerate((6, 28, 28, 30, 30, 30, 12, 16, 40, 22, 26), 1):
        sheet.column_dimensions[get_column_letter(column)].width = width
    sheet.freeze_panes = f"A{_FIRST_ROW}"
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return len(rows)


def read_answers(connection: psycopg.Connection, agency: str, path: Path) -> int:
    """Take an agency's answers to differences of its own from its file; how many. All or none (AnswersError)."""
    try:
        sheet = load_workbook(path, read_only=True).worksheets[0]
        listed = list(sheet.iter_rows(min_row=_FIRST_ROW - 1, max_col=_ANSWERED, values_only=True))
    except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile, InvalidFileException) as e:
        raise AnswersError(f"looked for an agency's answers in {path}: {type(e).__name__}") from None
    if not listed or tuple(listed[0]) != _HEAD[:_ANSWERED]:
        raise AnswersError(
            f"{path} is no file of differences: its row {_FIRST_ROW - 1} is not {', '.join(_HEAD[:_ANSWERED])}"
        )
    classes = {name: key for key, name in CLASSES.items()}
    own = set(
        connection.execute(
            "select distinct class, coalesce(code_here, code_there) from national.difference "
            "where agency_code = %s or starts_with(agency_code, %s)",
            (agency, f"{agency}."),
        ).fetchall()
    )
    given = []
    for at, (_, here, there, name, _, _, _, answer, note) in enumerate(listed[1:], _FIRST_ROW):
        if not answer:
            continue
        if answer not in ANSWERS or name not in classes:
            raise AnswersError(
                f"{path} H{at}: the answer is not {' or '.join(ANSWERS)}; nothing was taken from the file"
            )
        if (classes[str(name)], here or there) not in own:
            raise AnswersError(
                f"{path} row {at}: {here or there} was never told to {agency} as “{name}”; is it another agency's "
                "file? Nothing was taken from it"
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
{% for it in latest %}<p>{{ sources[it.source] }} (lần đối soát số {{ it.number }}). Trong kho: {{ n(it.here) }} hồ sơ;
trên Cổng: {{ n(it.there) }}{% if it.unreadable %} ({{ n(it.unreadable) }} dòng không đọc được){% endif %}.
Tỷ lệ đồng bộ: <strong>{{ "%.2f"|format(it.share) }} %</strong>.</p>
{% endfor -%}
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
<tr><th scope="col">Lần</th><th scope="col">Nguồn</th><th scope="col">Thời điểm</th>
<th scope="col">Hồ sơ</th><th scope="col">Sai lệch</th>
<th scope="col">Tỷ lệ đồng bộ</th></tr>
{% for t in trend %}<tr><td>{{ t.number }}</td><td>{{ sources[t.source] }}</td><td>{{ t.at }}</td>
<td>{{ n(t.here) }}</td><td>{{ n(t.total) }}</td>
<td>{{ "%.2f"|format(t.share) }} %</td></tr>{% endfor %}</table>
</html>
"""


def summary(connection: psycopg.Connection, alerts: Sequence[str] = ()) -> str:
    """One page of HTML: what stands by agency, trend of the last sixty comparisons; no dossier, no person."""
    counted: dict[str, dict[str, int]] = {}
    simulated = False
    for row in _rows(
        connection,
        "select coalesce(agency_code, '?') as agency, class, count(*) as n, bool_or(origin = 'simulated') as made "
        "from national.standing group by 1, 2",
    ):
        of = counted.setdefault(row["agency"], dict.fromkeys((*CLASSES, "total"), 0))
        of[row["class"]] += row["n"]
        of["total"] += row["n"]
        simulated = simulated or bool(row["made"])
    trend = []
    for row in _rows(
        connection,
        "select number, compared_at from national.comparison order by number desc limit 60",
    ):
        then = compared(connection, row["number"])
        trend.append({
            "number": then.number, "source": then.source, "at": _at(row["compared_at"]), "here": then.here,
            "total": then.classes.total(), "share": then.share,
        })  # fmt: skip
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_PAGE).render(
        latest=_latest(connection), alerts=alerts, classes=CLASSES, sources=SOURCES, trend=trend, simulated=simulated,
        agencies=sorted(counted.items(), key=lambda kv: (-kv[1]["total"], kv[0])),
        n=lambda value: f"{value:,}".replace(",", "."),
    )  # fmt: skip


def _latest(connection: psycopg.Connection) -> list[Compared]:
    """The newest comparison of each source."""
    rows = connection.execute("select max(number) from national.comparison group by source order by source")
    return [compared(connection, number) for (number,) in rows.fetchall()]


def _day(moment: dt.datetime) -> str:
    return f"{moment.astimezone(VIETNAM):%d/%m/%Y}"


def _at(moment: dt.datetime) -> str:
    return f"{moment.astimezone(VIETNAM):%d/%m/%Y %H:%M}"


def _rows(connection: psycopg.Connection, query: str, given: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, given).fetchall()  # type: ignore[arg-type]
