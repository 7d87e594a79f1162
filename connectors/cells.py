"""Cells of files as the values a contract types: numbers, days and codes as people in Viet Nam write them.

Nothing is guessed. Whether ``1.234`` is one thousand or one and a bit is told by the contract or by the other
numbers of the same file; where neither tells, the file is refused and the message says what to set.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from connectors.contract import Column
from connectors.sheets import Refused

_ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!"})
_SPACED = re.compile(r"(?<=[0-9])[ \u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_DATED = (
    re.compile(r"(?P<d>[0-9]{1,2})[/.-](?P<m>[0-9]{1,2})[/.-](?P<y>[0-9]{4})(?:[ T](?P<t>[0-9:]{4,8}))?"),
    re.compile(r"(?P<y>[0-9]{4})[/.-](?P<m>[0-9]{1,2})[/.-](?P<d>[0-9]{1,2})(?:[ T](?P<t>[0-9:]{4,8}))?"),
    re.compile(r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})(?P<t>)"),
)
#: Excel counts days from here; serial numbers of 1930 to 2099, so that yyyyMMdd and years are none.
_DAY_ZERO, _DAY_ZERO_1904 = dt.datetime(1899, 12, 30), dt.datetime(1904, 1, 1)
_SERIALS = range(10_959, 73_051)


class Unclear(ValueError):
    """A cell that cannot be read as its column's type; `vi` and `en` say why without its value."""

    def __init__(self, vi: str, en: str) -> None:
        super().__init__(en)
        self.vi, self.en = vi, en


# --- numbers ----------------------------------------------------------------------------------------


def decimal_mark(texts: Iterable[tuple[str, bool]], said: str | None = None) -> str | None:
    """The mark before decimals, ``,`` or ``.``, in the numbers of one file; None if they have no marks at all.

    `texts` are the numbers written as text, each with whether its column holds whole numbers only. `said` is
    what the contract or the list of sources says; it wins. Raises Refused where the numbers contradict each
    other, or could mean two things.
    """
    told: set[str] = set()
    unclear = False
    for text, whole in texts:
        number = _SPACED.sub("", text.strip())
        marks = re.findall("[.,]", number)
        if not marks:
            continue
        last = marks[-1]
        other = "," if last == "." else "."
        before, _, after = number.rpartition(last)
        if len(set(marks)) == 2:
            told.add(last)
        elif len(marks) > 1:
            told.add(other)
        elif len(after) != 3 or not 1 <= len(before.lstrip("+-")) <= 3 or before.lstrip("+-").startswith("0"):
            told.add(last)
        elif whole and after != "000":
            told.add(other)  # a whole number has no decimals but zeros
        else:
            unclear = True
    if said is not None:
        return said
    if len(told) > 1:
        raise Refused(
            "các số trong tệp lúc dùng dấu phẩy, lúc dùng dấu chấm cho phần thập phân. Hãy ghi thống nhất.",
            "some numbers of the file have a decimal comma, some a decimal point. Write them in one way.",
        )
    if told:
        return told.pop()
    if unclear:
        raise Refused(
            "không rõ dấu chấm hay dấu phẩy trong các số ngăn hàng nghìn hay phần thập phân. Hãy gửi số không có "
            "dấu ngăn hàng nghìn, hoặc báo đơn vị vận hành kho ghi decimal_mark cho nguồn này.",
            "it is not clear whether the marks in the numbers part thousands or decimals. Send numbers without marks "
            "for thousands, or set decimal_mark for this source (ops/sources.yml) or decimalMark in the contract.",
        )
    return None


def number(cell: Any, mark: str | None) -> Any:
    """A cell as a number's plain text or as the number it is; Unclear for anything else."""
    if isinstance(cell, bool | dt.date | dt.time | dt.timedelta):
        raise Unclear("không phải là số", "no number")
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() else repr(cell)
    if not isinstance(cell, str):
        return cell
    text = _SPACED.sub("", cell.strip())
    point = mark or "."
    group = "," if point == "." else "."
    if not re.fullmatch(rf"[+-]?([0-9]{{1,3}}([{group}][0-9]{{3}})+|[0-9]+)([{point}][0-9]+)?", text):
        raise Unclear(
            "không phải là số, hoặc viết khác các số khác trong tệp", "no number as this file writes numbers"
        )
    return text.replace(group, "").replace(point, ".")


# --- moments ----------------------------------------------------------------------------------------


def moment(cell: Any, since_1904: bool = False) -> str:
    """A cell of a date or time column as ISO text; the day stands before the month. Unclear if it is none."""
    if isinstance(cell, bool | dt.time | dt.timedelta):
        raise Unclear("không phải là ngày", "no date")
    if isinstance(cell, dt.datetime):
        return _iso(cell)
    if isinstance(cell, dt.date):
        return cell.isoformat()
    if isinstance(cell, int | float) or (isinstance(cell, str) and re.fullmatch("[0-9]{5}", cell.strip())):
        serial = float(cell)
        if int(serial) in _SERIALS:
            day = (_DAY_ZERO_1904 if since_1904 else _DAY_ZERO) + dt.timedelta(days=serial)
            return _iso((day + dt.timedelta(milliseconds=500)).replace(microsecond=0))
        cell = str(int(serial)) if serial.is_integer() else ""
    text = str(cell).strip()
    for form in _DATED:
        if m := form.fullmatch(text):
            time = f"T{int(m['t'].split(':')[0]):02d}:{m['t'].partition(':')[2]}" if m["t"] else ""
            return f"{m['y']}-{int(m['m']):02d}-{int(m['d']):02d}{time}"
    raise Unclear("không phải là ngày dạng dd/MM/yyyy", "no date such as dd/MM/yyyy")


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat().removesuffix("T00:00:00")


# --- text -------------------------------------------------------------------------------------------


def text(cell: Any, digits: int = 0) -> str:
    """A cell of a text column; `digits` restores the leading zeros that a number cell has lost."""
    if isinstance(cell, dt.date | dt.time | dt.timedelta):
        raise Unclear(
            "Excel đã đổi ô này thành ngày hoặc giờ (ví dụ 5-9 thành ngày 5 tháng 9); hãy định dạng cột là Text",
            "Excel has made a date or time of this cell (5-9 became 5 September); format the column as Text",
        )
    if isinstance(cell, bool):
        raise Unclear("là giá trị đúng/sai, không phải chữ", "a true or false, not text")
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell).strip().zfill(digits) if digits and str(cell).strip().isdecimal() else str(cell).strip()


# --- columns ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Writing:
    """How one file writes: the mark before decimals, and where its serial days begin."""

    mark: str | None = None
    since_1904: bool = False


def plain(cells: list[Any], column: Column, writing: Writing) -> tuple[list[Any], dict[int, Unclear]]:
    """Cells of one column as values that `connectors.typing` knows, and what is wrong with the others."""
    out: list[Any] = []
    wrong: dict[int, Unclear] = {}
    # Most columns repeat a few values.
    known: dict[tuple[type, Any], Any] = {}
    for position, cell in enumerate(cells):
        mark = (cell.__class__, cell)
        if mark not in known:
            try:
                known[mark] = _plain(cell, column, writing)
            except Unclear as e:
                wrong[position] = e
                out.append(None)
                continue
        out.append(known[mark])
    return out, wrong


def _plain(cell: Any, column: Column, writing: Writing) -> Any:
    kind = column.clear_type
    if cell is None:
        return None
    if isinstance(cell, str) and cell.strip() in _ERRORS:
        raise Unclear("ô báo lỗi công thức của Excel", "an error of an Excel formula")
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return number(cell, writing.mark)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return moment(cell, writing.since_1904)
    if pa.types.is_string(kind):
        digits = column.custom.get("digits")
        return text(cell, digits if isinstance(digits, int) else 0)
    return cell


def as_decimal(cell: Any, mark: str | None) -> Decimal | None:
    """A cell as an exact number for adding up; None if it is none."""
    try:
        value = number(cell, mark)
    except Unclear:
        return None
    return None if value is None else Decimal(str(value))
