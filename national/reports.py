"""What a comparison found, for people: one Excel file an agency, to answer in, and one page for the province."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections import defaultdict
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

from national import outbox
from national.mapping import VIETNAM
from national.reconcile import (
    CLASSES,
    COUNTS,
    CURED_BY,
    CURES,
    SOURCES,
    TOLD_BY,
    Compared,
    compared,
    counts,
    is_beyond,
    said,
)

#: What an agency may answer.
ANSWERS = ("Đã sửa", "Không đồng ý")
_HEAD = (
    "STT", "Mã hồ sơ", "Mã trên Cổng DVCQG", "Sai lệch", "Trường khác nhau", "Cách khắc phục", "Từ ngày", "Trả lời",
    "Ghi chú của cơ quan", "Nguồn phát hiện", "Đã trả lời", "Điểm tăng nếu khắc phục",
)  # fmt: skip
#: Why the score of what the portal holds, or the published one, is not that of our dossiers.
CAUSES = CLASSES | {
    "code_differs": "Khác mã hồ sơ, mã TTHC, đơn vị",
    "status_differs": "Khác trạng thái",
    "dates_differ": "Khác ngày",
    "content_differs": "Trường khác",
    "not_explained": "Chưa giải thích được",
    "rule_or_rounding": "Cách tính, làm tròn",
}
#: By `not_predicted_because` of marts.fct_service_index_explained.
UNPREDICTED = {
    "total_not_published": "Không dự báo: đếm thủ tục, Cổng không công bố tổng số của đơn vị, kỳ này",
    "rule_not_published": "Không dự báo: Cổng chưa công bố cách đếm",
    "needs_ratings_and_petitions": "Không dự báo: cần đánh giá và phản ánh, kiến nghị mà kho không có",
    "not_of_dossiers": "Không dự báo: không tính từ hồ sơ",
}
_SCORE_HEAD = (
    "Chỉ tiêu", "Điểm tối đa", "Theo hồ sơ trong kho", "Theo bản Cổng giữ", "Cổng công bố", "Nguyên nhân", "Số hồ sơ",
    "Chênh lệch (điểm)", "Điểm tăng nếu khắc phục",
)  # fmt: skip
#: Columns up to the agency's own words.
_ANSWERED = 9
_FIRST_ROW = 6
_COUNT_HEAD = ("Số liệu", "Trong kho", "Theo bản Cổng giữ", "Cổng công bố", "Cổng trừ kho", "Nhận xét")
_HEAD_HEALED = (
    "STT", "Mã hồ sơ", "Mã trên Cổng DVCQG", "Sai lệch", "Trường khác nhau", "Từ ngày", "Hết ngày", "Đã trả lời",
)  # fmt: skip
_HEAD_ASIDE = ("STT", "Mã hồ sơ", "Bước", "Tình trạng", "Lý do", "Việc cần làm")
#: State in the outbox -> what it means, and what is to be done.
_ASIDE = {
    "held": ("Chưa gửi lên Cổng", "Bổ sung trên hệ thống một cửa; lần đồng bộ sau sẽ tự gửi"),
    "refused": ("Cổng từ chối", "Sửa theo lý do; khi nội dung thay đổi, lần đồng bộ sau sẽ tự gửi lại"),
    "conflict": (
        "Không gửi đè",
        "Báo quản trị kho: hệ thống khác đã ghi, hoặc tiến độ đã gửi không sửa lại được",
    ),
}
#: Fields that may be lacking, and words that keep a dossier back, in words for people.
_LACKING = {
    "MaHoSo": "Mã hồ sơ", "MaTTHC": "Mã thủ tục", "TenTTHC": "Tên thủ tục", "KenhThucHien": "Kênh thực hiện",
    "ChuHoSo": "Tên chủ hồ sơ", "LoaiDoiTuong": "Loại đối tượng", "NgayTiepNhan": "Ngày tiếp nhận",
    "TrangThaiHoSo": "Trạng thái hồ sơ", "DonViXuLy": "Đơn vị xử lý", "DinhDanhCHS": "Số định danh của chủ hồ sơ",
    "DuocThanhToanTrucTuyen": "Hình thức thanh toán trực tuyến", "ThoiDiemXuLy": "Thời điểm xử lý",
    "NoiDungXuLy": "Nội dung xử lý", "TrangThai": "Trạng thái của bước",
}  # fmt: skip
_KEPT_BACK = {
    "refused": "Dữ liệu cá nhân bị hạn chế sử dụng, hoặc không thuộc hồ sơ này",
    "not_held": "Kho bảo mật không giữ dữ liệu cá nhân của hồ sơ này",
    "changed": "Bước đã gửi nay có nội dung khác",
}


class AnswersError(Exception):
    """A file of answers cannot be read; the message says which cell and what is wanted."""


def write_agency(connection: psycopg.Connection, agency: str, path: Path) -> int:
    """Write what stands of an agency and the units below it as .xlsx, with a column to answer in; how many.

    What was answered before stands beside it: who said "Đã sửa" and reads it here again has not. What costs most comes
    first; the second sheet has the agency's score and its causes, the third what we do not send, and why. Points are
    there once the marts were built since.
    """
    points = _points(connection, agency)
    rows = _rows(
        connection,
        "select d.*, a.answer, a.answered_at from national.standing d left join lateral (select answer, answered_at "
        "from national.answer where class = d.class and code = coalesce(d.code_here, d.code_there) "
        "order by answered_at desc limit 1) as a on true "
        "where d.agency_code = %s or starts_with(d.agency_code, %s) order by d.class, d.code_here, d.code_there",
        (agency, f"{agency}."),
    )
    rows.sort(key=lambda r: -points.get((r["class"], r["code_here"], r["code_there"]), 0))
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)  # noqa: S101 - a new workbook has a worksheet
    sheet.title = "Sai lệch"
    sheet["A1"] = f"HỒ SƠ SAI LỆCH VỚI CỔNG DỊCH VỤ CÔNG QUỐC GIA - {agency}"
    sheet["A2"] = "; ".join(f"{SOURCES[c.source]}: lần đối soát số {c.number}" for c in _latest(connection))
    aside = outbox.set_aside(connection, agency)
    simulated = any(r["origin"] == "simulated" for r in (*rows, *aside))
    sheet["A3"] = "SỐ LIỆU MÔ PHỎNG" if simulated else None
    sheet["A4"] = f"Cột “Trả lời”: chọn {' hoặc '.join(ANSWERS)}, rồi gửi lại tệp này."
    sheet["A1"].font = sheet["A3"].font = Font(bold=True)
    _headed(sheet, _HEAD, (6, 28, 28, 30, 30, 30, 12, 16, 40, 22, 26, 14))
    for at, row in enumerate(rows):
        cells = (
            at + 1, row["code_here"] or "", row["code_there"] or "", CLASSES[row["class"]], ", ".join(row["fields"]),
            CURES[row["cure"]], _day(row["since_at"]), "", "",
            ", ".join(SOURCES[s] for s in row["sources"]),
            f"{row['answer']} ({_day(row['answered_at'])})" if row["answer"] else "",
            points.get((row["class"], row["code_here"], row["code_there"])),
        )  # fmt: skip
        _filled(sheet, _FIRST_ROW + at, cells)
    if rows:
        choice = DataValidation("list", formula1=f'"{",".join(ANSWERS)}"', allow_blank=True)
        choice.add(f"H{_FIRST_ROW}:H{_FIRST_ROW + len(rows) - 1}")
        sheet.add_data_validation(choice)
    _score_sheet(connection, agency, book)
    _set_aside(book.create_sheet("Chưa gửi"), agency, aside)
    _count_sheet(connection, agency, book)
    _healed_sheet(connection, agency, book)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return len(rows)


def _points(connection: psycopg.Connection, agency: str) -> dict[tuple[str, str | None, str | None], float]:
    """{(class, code here, code there): points the agency's month would gain by its cure} of what stands."""
    if connection.execute("select to_regclass('marts.fct_national_difference')").fetchone() == (None,):
        return {}
    return {
        (r[0], r[1], r[2]): float(r[3])
        for r in connection.execute(
            "select difference_class, code_here, code_there, sum(points) from marts.fct_national_difference "
            "where is_standing and points is not null "
            "and (responsible_agency_code = %s or starts_with(responsible_agency_code, %s)) group by 1, 2, 3",
            (agency, f"{agency}."),
        ).fetchall()
    }


def _month(connection: psycopg.Connection) -> str | None:
    """The newest month that has been compared; None before the marts were built."""
    if connection.execute("select to_regclass('marts.fct_service_index_cause')").fetchone() == (None,):
        return None
    row = connection.execute(
        "select max(period) from marts.fct_service_index_explained "
        "where portal_copy_denominator is not null and period ~ '^[0-9]{4}-[0-9]{2}$'"
    ).fetchone()
    return row[0] if row else None


def _score_sheet(connection: psycopg.Connection, agency: str, book: Workbook) -> None:
    """The sheet of an agency's score in the newest compared month: three values, and the causes between them."""
    month = _month(connection)
    if month is None:
        return
    sheet = book.create_sheet("Điểm 766")
    sheet["A1"] = f"ĐIỂM BỘ CHỈ SỐ 766 THÁNG {month[5:]}/{month[:4]} - {agency}"
    sheet["A2"] = (
        "Chênh lệch các dòng nguyên nhân cộng lại bằng điểm công bố (hoặc theo bản Cổng giữ) trừ điểm theo kho."
    )
    sheet["A1"].font = Font(bold=True)
    listed = _explained(connection, agency, month)
    for column, text in enumerate(_SCORE_HEAD, 1):
        cell = sheet.cell(4, column, text)
        cell.font = Font(bold=True)
        cell.alignment = Alignment(wrap_text=True, vertical="center")
    for at, row in enumerate(listed, 5):
        for column, value in enumerate(row, 1):
            cell = sheet.cell(at, column, value)
            if isinstance(value, float) and column == len(_SCORE_HEAD):
                cell.number_format = "0.0000"
    for column, width in enumerate((44, 10, 14, 14, 14, 30, 10, 14, 16), 1):
        sheet.column_dimensions[get_column_letter(column)].width = width
    sheet.freeze_panes = "A5"


def _explained(connection: psycopg.Connection, unit: str, month: str) -> list[tuple[Any, ...]]:
    """Rows as `_SCORE_HEAD`: each indicator once, then its causes below it."""
    found: list[tuple[Any, ...]] = []
    last = ""
    for r in _rows(
        connection,
        "select e.indicator_code, e.indicator_no, e.indicator_name, e.max_score, e.warehouse_score, "
        "e.portal_copy_score, coalesce(e.published_score, e.score_of_published_totals) as published, c.cause, "
        "c.dossier_count, c.points, c.points_if_cured, e.not_predicted_because "
        "from marts.fct_service_index_explained e "
        "left join marts.fct_service_index_cause c using (unit_code, period, indicator_code) "
        "where e.unit_code = %s and e.period = %s "
        "and (e.portal_copy_denominator is not null or e.published_score is not null "
        "or e.score_of_published_totals is not null) "
        "order by e.indicator_no, e.indicator_code, c.cause_order",
        (unit, month),
    ):
        if r["indicator_code"] != last:
            values = (r["max_score"], r["warehouse_score"], r["portal_copy_score"], r["published"])
            found.append((
                f"{r['indicator_no']} {r['indicator_name']}", *(None if v is None else float(v) for v in values),
                UNPREDICTED.get(r["not_predicted_because"]), None, None, None,
            ))  # fmt: skip
            last = r["indicator_code"]
        if r["cause"] and (r["points"] or r["points_if_cured"]):
            found.append((
                None, None, None, None, None, CAUSES[r["cause"]], r["dossier_count"], float(r["points"]),
                None if r["points_if_cured"] is None else float(r["points_if_cured"]),
            ))  # fmt: skip
    return found


def _counted(connection: psycopg.Connection, unit: str) -> list[dict[str, Any]]:
    """The portal's own counts beside ours, with what is to be said of each; see `reconcile.counts`."""
    rows = counts(connection, unit)
    for row in rows:
        row["name"] = COUNTS[row["count_name"]]
        if row["difference_class"] == "same":
            row["said"] = "Khớp"
        elif row["is_explained_by_dossiers"]:
            row["said"] = "Lệch do các hồ sơ sai lệch đã nêu"
        elif is_beyond(int(row["count_here"]), int(row["count_there"])):
            row["said"] = "Lệch, chưa có hồ sơ nào giải thích"
        else:
            row["said"] = "Lệch ít, trong giới hạn"
    return rows


def _count_sheet(connection: psycopg.Connection, agency: str, book: Workbook) -> None:
    """The sheet of the portal's own counts; none where they name no unit of ours."""
    rows = _counted(connection, agency)
    if not rows:
        return
    sheet = book.create_sheet("Số liệu Cổng")
    sheet["A1"] = f"SỐ LIỆU CỔNG CÔNG BỐ, KỲ {_period(rows[0]['period'])} - {agency}"
    sheet["A1"].font = Font(bold=True)
    sheet["A2"] = "Số liệu thống kê không nêu từng hồ sơ; hồ sơ sai lệch xem trang đầu."
    _headed(sheet, _COUNT_HEAD, (36, 14, 18, 16, 14, 40))
    for at, row in enumerate(rows):
        cells = (
            row["name"], row["count_here"], row["count_held"], row["count_there"], row["difference"], row["said"],
        )  # fmt: skip
        _filled(sheet, _FIRST_ROW + at, cells)


def _healed_sheet(connection: psycopg.Connection, agency: str, book: Workbook) -> None:
    """The sheet of what was healed in the last thirty days, and what had been answered; none before the marts."""
    if connection.execute("select to_regclass('marts.fct_national_difference')").fetchone() == (None,):
        return
    rows = _rows(
        connection,
        "select code_here, code_there, difference_class, field_name, first_seen_at, healed_at, answer "
        "from marts.fct_national_difference where healed_at > now() - interval '30 days' "
        "and (responsible_agency_code = %s or starts_with(responsible_agency_code, %s)) "
        "order by healed_at desc, code_here, code_there, field_name",
        (agency, f"{agency}."),
    )
    sheet = book.create_sheet("Đã khắc phục")
    sheet["A1"] = f"SAI LỆCH ĐÃ KHẮC PHỤC TRONG 30 NGÀY QUA - {agency}"
    sheet["A1"].font = Font(bold=True)
    sheet["A2"] = None if rows else "Không có."
    _headed(sheet, _HEAD_HEALED, (6, 28, 28, 30, 30, 12, 14, 16))
    for at, row in enumerate(rows):
        cells = (
            at + 1, row["code_here"] or "", row["code_there"] or "", CLASSES[row["difference_class"]],
            row["field_name"] or "", _day(row["first_seen_at"]), _day(row["healed_at"]), row["answer"] or "",
        )  # fmt: skip
        _filled(sheet, _FIRST_ROW + at, cells)


def _set_aside(sheet: Worksheet, agency: str, rows: Sequence[dict[str, Any]]) -> None:
    sheet["A1"] = f"HỒ SƠ KHO DỮ LIỆU CHƯA GỬI ĐƯỢC LÊN CỔNG DỊCH VỤ CÔNG QUỐC GIA - {agency}"
    sheet["A1"].font = Font(bold=True)
    sheet["A2"] = "Chỉ của đơn vị giao cho kho gửi." if rows else "Không có."
    _headed(sheet, _HEAD_ASIDE, (6, 28, 8, 22, 70, 60))
    for at, row in enumerate(rows):
        state, to_do = _ASIDE[row["state"]]
        whys = [f"Thiếu: {', '.join(_LACKING.get(f, f) for f in row['lacking'])}"] if row["lacking"] else []
        known = [_KEPT_BACK[r] for r in row["reasons"] if r in _KEPT_BACK]
        fields = [r for r in row["reasons"] if r not in _KEPT_BACK]
        whys += known + ([f"Trên Cổng khác ở: {', '.join(fields)}"] if fields else [])
        if row["state"] == "refused" and row["last_answer"]:
            whys.append(f"Cổng trả lời: {row['last_answer']}")
        cells = (at + 1, row["code"], row["step_no"] or "", state, "; ".join(whys), to_do)
        _filled(sheet, _FIRST_ROW + at, cells)


def _headed(sheet: Worksheet, head: Sequence[str], widths: Sequence[int]) -> None:
    for column, (text, width) in enumerate(zip(head, widths, strict=True), 1):
        cell = sheet.cell(_FIRST_ROW - 1, column, text)
        cell.font = Font(bold=True)
        cell.alignment = Alignment(wrap_text=True, vertical="center")
        sheet.column_dimensions[get_column_letter(column)].width = width
    sheet.freeze_panes = f"A{_FIRST_ROW}"


def _filled(sheet: Worksheet, at: int, cells: Sequence[Any]) -> None:
    for column, value in enumerate(cells, 1):
        cell = sheet.cell(at, column)
        cell.value = value
        if isinstance(value, float):
            cell.number_format = "0.0000"
        if isinstance(value, str):  # a code that begins with "=" is no formula
            cell.data_type = "s"


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


_PAGE = """{% macro head() %}<tr><th scope="col">Cơ quan</th>
{% for c in classes.values() %}<th scope="col">{{ c }}</th>{% endfor %}
<th scope="col">Cộng</th>{% if month %}<th scope="col">Điểm tăng nếu khắc phục hết
(tháng {{ month[5:] }}/{{ month[:4] }})</th>{% endif %}</tr>{% endmacro -%}
{% macro line(agency, row) %}<tr>
<td class="name">{{ agency }}{% if names[agency] %}<br>{{ names[agency] }}{% endif %}</td>
{% for c in classes %}<td>{{ n(row[c]) if row[c] }}</td>{% endfor %}
<td>{{ n(row.total) }}</td>{% if month %}<td>{{ p(gains.get(agency)) }}</td>{% endif %}</tr>{% endmacro -%}
<!doctype html>
<html lang="vi"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Đối soát với Cổng Dịch vụ công quốc gia</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:1.5rem auto;padding:0 1rem;color:#1b1b1b}
table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid #ccc;padding:.3rem .5rem;text-align:right}
th:first-child,td:first-child{text-align:left}caption{text-align:left;font-weight:600;padding:.5rem 0}
td{vertical-align:top}thead th,tr:first-child th{vertical-align:bottom}.words td,.words th{text-align:left}
.note{background:#fff3cd;padding:.5rem .8rem}.alerts{background:#f8d7da;padding:.5rem .8rem .5rem 2rem;margin:1rem 0}
.wide{overflow-x:auto}.wide table{min-width:40rem}.name{min-width:15rem}
summary{cursor:pointer;padding:.5rem 0;font-weight:600}
svg{width:100%;min-width:40rem}rect{fill:#1f5f99}text{font:12px system-ui,sans-serif}
</style>
<h1>Đối soát với Cổng Dịch vụ công quốc gia</h1>
{% if simulated %}<p class="note"><strong>SỐ LIỆU MÔ PHỎNG</strong> / simulated data</p>{% endif %}
{% for it in latest %}<p>{{ sources[it.source] }}
(lần đối soát số {{ it.number }}{{ ", " ~ times[it.number] if it.number in times }}).
Trong kho: {{ n(it.here) }} hồ sơ;
trên Cổng: {{ n(it.there) }}{% if it.unreadable %} ({{ n(it.unreadable) }} dòng không đọc được){% endif %}.
Tỷ lệ đồng bộ: <strong>{{ p(it.share) }} %</strong>.</p>
{% endfor -%}
{% if alerts %}<ul class="alerts">{% for said in alerts %}<li>{{ said }}</li>{% endfor %}</ul>{% endif %}
{% if answers %}<p>Cơ quan đã trả lời về sai lệch còn đứng:
{% for a in answers %}{{ a.answer }} <strong>{{ n(a.count) }}</strong>{{ "; " if not loop.last else "." }}{% endfor %}
</p>{% endif %}
{% if healed %}<p>Trong 30 ngày qua <strong>{{ n(healed) }}</strong> hồ sơ đã hết sai lệch.</p>{% endif %}
{% if month %}<h2>Điểm Bộ chỉ số 766 tháng {{ month[5:] }}/{{ month[:4] }}</h2>
{% for unit in units %}<div class="wide"><table><caption>{{ unit.name }} ({{ unit.code }})</caption>
<tr><th scope="col">Chỉ tiêu</th><th scope="col">Theo hồ sơ trong kho</th><th scope="col">Theo bản Cổng giữ</th>
<th scope="col">Cổng công bố</th></tr>
{% for r in unit.indicators %}<tr><td>{{ r.name }}</td><td>{{ p(r.warehouse) }}</td><td>{{ p(r.held) }}</td>
<td>{{ p(r.published) }}</td></tr>
{% endfor %}</table>
<table><caption>Nguyên nhân chênh lệch, khắc phục được nhiều điểm nhất trước / causes, what gains most first</caption>
<tr><th scope="col">Nguyên nhân</th><th scope="col">Số hồ sơ</th><th scope="col">Chênh lệch (điểm)</th>
<th scope="col">Điểm tăng nếu khắc phục</th></tr>
{% for r in unit.causes if r.dossiers or r.points or r.cured %}
<tr><td>{{ r.name }}</td><td>{{ n(r.dossiers) if r.dossiers is not none }}</td>
<td>{{ p(r.points) }}</td><td>{{ p(r.cured, 4) }}</td></tr>
{% else %}<tr><td colspan="4">Không có chênh lệch.</td></tr>{% endfor %}</table>
{% for r in unit.unpredicted %}<p>{{ unpredicted[r.reason] }}: {{ r.indicators }}.</p>
{% endfor %}</div>
{% endfor %}{% endif -%}
{% for unit in counted %}<div class="wide"><table><caption>Số liệu Cổng công bố cạnh số của kho, kỳ {{ unit.period }}:
{{ unit.name }} ({{ unit.code }}) / the portal's own counts</caption>
<tr><th scope="col">Số liệu</th><th scope="col">Trong kho</th><th scope="col">Theo bản Cổng giữ</th>
<th scope="col">Cổng công bố</th><th scope="col">Cổng trừ kho</th><th scope="col">Nhận xét</th></tr>
{% for r in unit.rows %}<tr><td>{{ r.name }}</td><td>{{ n(r.count_here) }}</td>
<td>{{ n(r.count_held) if r.count_held is not none }}</td><td>{{ n(r.count_there) }}</td>
<td>{{ "+" if r.difference > 0 }}{{ n(r.difference) }}</td><td>{{ r.said }}</td></tr>
{% endfor %}</table></div>
{% endfor -%}
{% if not_covered %}<p>Thống kê của Cổng kỳ {{ not_covered }} chưa đối chiếu được: dữ liệu trong kho chưa đủ các ngày
của kỳ.</p>{% endif -%}
{% if verdicts %}<p>Điểm Cổng công bố tính lại từ số liệu Cổng công bố: {% for v in verdicts %}{{ v.name }}
<strong>{{ n(v.count) }}</strong>{{ "; " if not loop.last else "." }}{% endfor %}</p>{% endif %}
<h2>Sai lệch theo cơ quan</h2>
<div class="wide"><table><caption>Số hồ sơ sai lệch / differences by agency</caption>
{{ head() }}
{% for agency, row in agencies[:20] %}{{ line(agency, row) }}
{% else %}<tr><td colspan="{{ classes|length + 3 }}">Không có sai lệch.</td></tr>{% endfor %}</table></div>
{% if agencies[20:] %}<details><summary>{{ n(agencies[20:]|length) }} cơ quan còn lại / the others</summary>
<div class="wide"><table>{{ head() }}
{% for agency, row in agencies[20:] %}{{ line(agency, row) }}
{% endfor %}</table></div></details>{% endif %}
{% if agencies %}<h2>Mười cơ quan có nhiều sai lệch nhất</h2>
<div class="wide"><svg role="img" viewBox="0 0 720 {{ agencies[:10]|length * 24 }}">
<title>Số sai lệch theo cơ quan</title>
{% for agency, row in agencies[:10] %}{% set width = 360 * row.total / agencies[0][1].total -%}
<text x="0" y="{{ loop.index0 * 24 + 15 }}">{{ (agency ~ " " ~ names.get(agency, ""))|truncate(44, True, "…") }}</text>
<rect x="300" y="{{ loop.index0 * 24 + 3 }}" width="{{ width }}" height="16"></rect>
<text x="{{ 306 + width }}" y="{{ loop.index0 * 24 + 15 }}">{{ n(row.total) }}</text>
{% endfor %}</svg></div>{% endif %}
{% if aside %}<h2>Kho chưa gửi lên Cổng</h2>
<div class="wide"><table><caption>Hồ sơ và bước xử lý của đơn vị giao cho kho gửi; từng hồ sơ và lý do ở trang
“Chưa gửi” trong tệp Excel của cơ quan / not sent, by agency</caption>
<tr><th scope="col">Cơ quan</th><th scope="col">Thiếu dữ liệu bắt buộc</th><th scope="col">Cổng từ chối</th>
<th scope="col">Không gửi đè</th></tr>
{% for agency, row in aside %}<tr><td>{{ agency }}</td><td>{{ n(row.held) }}</td><td>{{ n(row.refused) }}</td>
<td>{{ n(row.conflict) }}</td></tr>
{% endfor %}</table></div>{% endif %}
<h2>Ý nghĩa các loại sai lệch</h2>
<div class="wide"><table class="words"><caption>Nguồn phát hiện được và cách khắc phục
/ who can tell it, who cures it</caption>
<tr><th scope="col">Loại</th><th scope="col">Nguồn phát hiện</th><th scope="col">Khắc phục</th></tr>
{% for name, told, cured in legend %}<tr><td>{{ name }}</td><td>{{ told }}</td><td>{{ cured }}</td></tr>
{% endfor %}</table></div>
<h2>Diễn biến</h2>
{% for source, points in lines if points|length > 1 %}<div class="wide"><svg role="img" viewBox="0 0 720 130">
<title>Số sai lệch qua các lần đối soát: {{ sources[source] }}</title>
<text x="0" y="12">{{ sources[source] }}: số hồ sơ sai lệch, cao nhất {{ n(points|map(attribute="total")|max) }}</text>
<polyline fill="none" stroke="#1f5f99" stroke-width="2" points="{% for t in points %}{{ t.x }},{{ t.y }} {% endfor %}"/>
{% for t in points %}<circle cx="{{ t.x }}" cy="{{ t.y }}" r="3" fill="#1f5f99"></circle>{% endfor %}
<text x="0" y="126">{{ points[0].at }}</text>
<text x="720" y="126" text-anchor="end">{{ points[-1].at }}</text></svg></div>
{% endfor %}<div class="wide"><table><caption>Các lần đối soát / trend</caption>
<tr><th scope="col">Lần</th><th scope="col">Nguồn</th><th scope="col">Thời điểm</th>
<th scope="col">Hồ sơ</th><th scope="col">Sai lệch</th>
<th scope="col">Tỷ lệ đồng bộ</th></tr>
{% for t in trend %}<tr><td>{{ t.number }}</td><td>{{ sources[t.source] }}</td><td>{{ t.at }}</td>
<td>{{ n(t.here) }}</td><td>{{ n(t.total) }}</td>
<td>{{ p(t.share) }} %</td></tr>{% endfor %}</table></div>
</html>
"""


def summary(connection: psycopg.Connection, alerts: Sequence[str] = ()) -> str:
    """One page of HTML: the province's score and its causes, what stands by agency, trend of sixty comparisons.

    No dossier, no person.
    """
    month = _month(connection)
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
        agencies=sorted(counted.items(), key=lambda kv: (-kv[1]["total"], kv[0])), names=_names(connection),
        answers=_rows(
            connection,
            "select a.answer, count(*) as count from national.standing d join lateral (select answer from "
            "national.answer where class = d.class and code = coalesce(d.code_here, d.code_there) "
            "order by answered_at desc limit 1) as a on true group by 1 order by 1",
        ),
        times={t["number"]: t["at"] for t in trend}, healed=_healed_count(connection), lines=_lines(trend),
        month=month, unpredicted=UNPREDICTED, units=_provinces(connection, month), gains=_gains(connection, month),
        verdicts=_verdicts(connection), counted=_counts_of_provinces(connection),
        not_covered=_not_covered(connection), aside=_aside_by_agency(connection),
        legend=[
            (name, ", ".join(SOURCES[s] for s in TOLD_BY[c]), _cured_by(c))
            for c, name in CLASSES.items()
        ],
        n=said, p=lambda value, most=2: "" if value is None else said(value, most),
    )  # fmt: skip


def _provinces(connection: psycopg.Connection, month: str | None) -> list[dict[str, Any]]:
    """Each province of the warehouse: its indicators in three values, its causes by what their cure gains."""
    if month is None:
        return []
    found = []
    for unit in _rows(
        connection,
        "select unit_code as code, max(unit_name) as name from marts.fct_service_index_explained "
        "where period = %s and portal_copy_denominator is not null and unit_code !~ '[.]' group by 1 order by 1",
        (month,),
    ):
        indicators = _rows(
            connection,
            "select e.indicator_no || ' ' || e.indicator_name as name, e.warehouse_score as warehouse, "
            "e.portal_copy_score as held, coalesce(e.published_score, e.score_of_published_totals) as published "
            "from marts.fct_service_index_explained e "
            "where e.unit_code = %s and e.period = %s and (e.portal_copy_denominator is not null "
            "or e.published_score is not null or e.score_of_published_totals is not null) "
            "order by e.indicator_no, e.indicator_code",
            (unit["code"], month),
        )
        causes = _rows(
            connection,
            "select cause as name, max(dossier_count) as dossiers, sum(points) as points, "
            "sum(points_if_cured) as cured from marts.fct_service_index_cause where unit_code = %s and period = %s "
            "group by cause order by sum(points_if_cured) desc nulls last, abs(sum(points)) desc",
            (unit["code"], month),
        )
        for cause in causes:
            cause["name"] = CAUSES[cause["name"]]
        unpredicted = _rows(
            connection,
            "select not_predicted_because as reason, string_agg(indicator_no || ' ' || indicator_name, '; ' "
            "order by indicator_no, indicator_code) as indicators from marts.fct_service_index_explained "
            "where unit_code = %s and period = %s and not_predicted_because is not null group by 1 order by 1",
            (unit["code"], month),
        )
        found.append({
            "code": unit["code"], "name": unit["name"], "indicators": indicators, "causes": causes,
            "unpredicted": unpredicted,
        })  # fmt: skip
    return found


def _cured_by(name: str) -> str:
    ours, theirs = (CURES[who] for who in CURED_BY[name])
    return ours if ours == theirs else f"{ours} (đơn vị giao cho kho gửi); {theirs} (đơn vị khác)"


def _names(connection: psycopg.Connection) -> defaultdict[str, str]:
    """{code of an agency: its newest name}; empty for what no list names."""
    found: defaultdict[str, str] = defaultdict(str)
    if connection.execute("select to_regclass('marts.dim_agency')").fetchone() != (None,):
        found.update(connection.execute("select agency_code, agency_name from marts.dim_agency").fetchall())
    return found


def _healed_count(connection: psycopg.Connection) -> int:
    """Dossiers of which a difference was healed in the last thirty days."""
    if connection.execute("select to_regclass('marts.fct_national_difference')").fetchone() == (None,):
        return 0
    row = connection.execute(
        "select count(distinct coalesce(code_here, code_there)) from marts.fct_national_difference "
        "where healed_at > now() - interval '30 days'"
    ).fetchone()
    return int(row[0]) if row else 0


def _lines(trend: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Each source with its comparisons, oldest first, at places of a drawing 720 wide and 110 high."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in reversed(trend):
        found.setdefault(one["source"], []).append(dict(one))
    for points in found.values():
        most = max(1, *(t["total"] for t in points))
        for at, t in enumerate(points):
            t["x"] = round(4 + 712 * at / max(1, len(points) - 1), 1)
            t["y"] = round(108 - 84 * t["total"] / most, 1)
    return sorted(found.items())


def _counts_of_provinces(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Each province of which the portal's own counts can be judged."""
    codes = dict.fromkeys(r["unit_code"] for r in counts(connection) if "." not in r["unit_code"])
    found = []
    for code in codes:
        rows = _counted(connection, code)
        found.append({
            "code": code, "name": rows[0]["unit_name"], "period": _period(rows[0]["period"]), "rows": rows,
        })  # fmt: skip
    return found


def _not_covered(connection: psycopg.Connection) -> str:
    """The newest month of which the portal gave counts, if our data do not cover all its days; else nothing."""
    if connection.execute("select to_regclass('marts.fct_national_count')").fetchone() == (None,):
        return ""
    row = connection.execute(
        "select period from marts.fct_national_count where period ~ '^[0-9]{4}-[0-9]{2}$' "
        "and difference_class <> 'not_here' group by period "
        "order by period desc limit 1"
    ).fetchone()
    judged = {r["period"] for r in counts(connection)}
    return _period(row[0]) if row and row[0] not in judged else ""


def _aside_by_agency(connection: psycopg.Connection) -> list[tuple[str, dict[str, int]]]:
    """How many dossiers and steps of each agency we do not send, by state."""
    found: dict[str, dict[str, int]] = {}
    for row in outbox.set_aside(connection):
        of = found.setdefault(row["agency_code"], dict.fromkeys(_ASIDE, 0))
        of[row["state"]] += 1
    return sorted(found.items(), key=lambda kv: (-sum(kv[1].values()), kv[0]))


def _gains(connection: psycopg.Connection, month: str | None) -> dict[str, Any]:
    """{agency: points its score of the month would gain if all that gains were cured}."""
    if month is None:
        return {}
    return dict(
        connection.execute(
            "select unit_code, sum(points_if_cured) from marts.fct_service_index_cause "
            "where period = %s and points_if_cured_everywhere > 0 group by 1",
            (month,),
        ).fetchall()
    )


def _verdicts(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """How many published scores follow from the published totals, do not, or cannot be computed."""
    if connection.execute("select to_regclass('marts.fct_service_index_published')").fetchone() == (None,):
        return []
    names = {
        "reproduced": "đúng",
        "not_reproduced": "không đúng",
        "totals_not_published": "không có số liệu để tính",
    }
    found: dict[str, int] = dict(
        connection.execute(
            "select verdict, count(*) from marts.fct_service_index_published group by 1"
        ).fetchall()
    )
    return [{"name": names[v], "count": found[v]} for v in names if v in found]


def _latest(connection: psycopg.Connection) -> list[Compared]:
    """The newest comparison of each source."""
    rows = connection.execute("select max(number) from national.comparison group by source order by source")
    return [compared(connection, number) for (number,) in rows.fetchall()]


def _period(code: str) -> str:
    """2025-07 -> 07/2025, 2025-Q3 -> quý 3/2025, 2025 -> năm 2025."""
    year, _, part = code.partition("-")
    if not part:
        return f"năm {year}"
    return f"quý {part[1:]}/{year}" if part.startswith("Q") else f"{part}/{year}"


def _day(moment: dt.datetime) -> str:
    return f"{moment.astimezone(VIETNAM):%d/%m/%Y}"


def _at(moment: dt.datetime) -> str:
    return f"{moment.astimezone(VIETNAM):%d/%m/%Y %H:%M}"


def _rows(connection: psycopg.Connection, query: str, given: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, given).fetchall()  # type: ignore[arg-type]
