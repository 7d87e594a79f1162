"""From the bytes of a dropped file to sheets of cells, in every reading the bytes allow.

A workbook has one reading, and a second one where its text was typed in a TCVN3 font. A text file has one
for each encoding and separator that fit; which of them is right is told by the headings of the contract
(`connectors.sheet_tables`), never by a guess about letters.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import openpyxl

SEPARATORS = (";", ",", "\t", "|")
#: A workbook unpacked beyond this is a mistake or an attack; text of the same size is refused as well.
UNPACKED_LIMIT = 512 * 1024 * 1024
# TCVN 5712:1993, upper half; fonts of the .VnTime family use it for what Excel believes to be Latin letters.
_TCVN3 = {
    0xA1 + i: letter
    for i, letter in enumerate(
        "ĂÂÊÔƠƯĐăâêôơưđẰ\u0300\u0309\u0303\u0301\u0323àảãáạẲằẳẵắẴẮẦẨẪẤỀặầẩẫấậèỂẻẽéẹềểễếệìỉỄẾỒĩíịòỔỏõóọồổỗốộờởỡớợùỖủũúụừửữứựỳỷỹýỵỐ"
    )
}


class Refused(Exception):
    """A file that is not taken; says why in Vietnamese and English, and never quotes a value of a row."""

    def __init__(self, vi: str, en: str) -> None:
        super().__init__(f"{vi} / {en}")
        self.vi, self.en = vi, en


@dataclass
class Sheet:
    """One sheet of cells as they stand; rows and positions count from 0.

    A cell is None, text, int, float, bool, datetime, date or time. `merged` holds (top, left, bottom, right),
    None where the file cannot say what was merged.
    """

    name: str
    rows: list[list[Any]]
    merged: list[tuple[int, int, int, int]] | None = None
    #: Day 0 of the workbook's serial dates is 1904-01-01 instead of 1899-12-30.
    since_1904: bool = False
    #: Its makers hid it: it is not read for records, and must hold no persons either.
    is_hidden: bool = False


@dataclass
class Reading:
    """One way to understand a file: `how` names it for messages."""

    how: str
    sheets: list[Sheet] = field(default_factory=list)
    #: Nothing in the bytes says that this is the encoding.
    is_assumed: bool = False
    #: A quote that was opened and not closed has drawn whole rows into one cell, if this reading is the right one.
    is_torn: bool = False

    def number_of(self, sheet: str) -> str:
        """Which of the sheets that are seen it is, from 1; empty for a text file. Its name may be a person's."""
        names = [s.name for s in self.sheets if not s.is_hidden]
        return str(names.index(sheet) + 1) if sheet else ""


def readings(content: bytes, encoding: str | None = None, limit: int = UNPACKED_LIMIT) -> Iterator[Reading]:
    """Every reading of a file's bytes, likeliest first; Refused where there is none.

    `encoding` is what the list of sources says of its text files: a Python codec or ``tcvn3``.
    """
    if content[:4] == b"PK\x03\x04":
        yield from _workbook(content, limit)
        return
    if content[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise Refused(
            "tệp là Excel đời cũ (.xls) hoặc có đặt mật khẩu. Hãy mở bằng Excel và lưu lại dạng .xlsx không mật khẩu.",
            "the file is an old Excel file (.xls) or has a password. Open it in Excel, save it as .xlsx without one.",
        )
    if len(content) > limit:
        raise _too_large(limit)
    if not content.strip():
        raise Refused("tệp trống.", "the file is empty.")
    for how, text, assumed in _decoded(content, encoding):
        if not _is_text(text):
            raise _unreadable(how)
        for separator in [s for s in SEPARATORS if s in text] or [","]:
            rows = _rows(text, separator)
            named = f"{how}, {'tab' if separator == chr(9) else separator}"
            yield Reading(named, [Sheet("", rows)], assumed, _holds_rows(rows, separator))


def _too_large(limit: int) -> Refused:
    size = f"{limit >> 20:,} MB"
    return Refused(
        f"nội dung tệp lớn hơn {size}. Hãy chia thành nhiều tệp, hoặc gửi dạng CSV.",
        f"the file holds more than {size}. Split it, or send CSV.",
    )


# --- text -------------------------------------------------------------------------------------------


def _decoded(content: bytes, encoding: str | None) -> Iterator[tuple[str, str, bool]]:
    """(name, text, whether the encoding is only assumed)."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
    ):  # fmt: skip
        if content.startswith(mark):
            yield name, _decode(content, name), False
            return
    if encoding:
        yield encoding, _decode(content, encoding), False
        return
    # Digits, separators and line ends take half of UTF-16's bytes for their zeros; no other text has any.
    zeros = [content[parity::2].count(0) for parity in (0, 1)]
    if any(zeros):
        name = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
        if min(zeros) > max(zeros) / 10:
            raise _unreadable("utf-8, utf-16")
        yield name, _decode(content, name), False
        return
    try:
        yield "utf-8", content.decode("utf-8"), False
        return
    except UnicodeDecodeError:
        pass
    for name in ("windows-1258", "tcvn3"):
        try:
            yield name, _decode(content, name), True
        except Refused:
            continue


def _decode(content: bytes, name: str) -> str:
    try:
        if name == "tcvn3":
            return from_tcvn3(content.decode("latin-1"))
        # windows-1258 writes tone marks apart from their letters.
        return unicodedata.normalize("NFC", content.decode(name))
    except (UnicodeDecodeError, LookupError):
        raise _unreadable(name) from None


def _is_text(text: str) -> bool:
    """Whether `text` holds no control characters: pictures and programs do."""
    return not re.search(r"[\x00-\x08\x0e-\x1f]", text[:100_000])


def _unreadable(name: str) -> Refused:
    return Refused(
        f"không đọc được chữ trong tệp theo bảng mã {name}. Hãy lưu lại dạng CSV UTF-8.",
        f"the text cannot be read as {name}. Save it as CSV UTF-8.",
    )


def from_tcvn3(text: str) -> str:
    """Text typed in a TCVN3 (ABC) font, read as Latin-1, as Unicode."""
    return unicodedata.normalize("NFC", text.translate(_TCVN3))


def _rows(text: str, separator: str) -> list[list[Any]]:
    try:
        return [
            [cell if cell.strip() else None for cell in row]
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        ]
    except csv.Error:
        raise Refused(
            "tệp CSV không đúng cấu trúc (dấu nháy kép mở mà không đóng, hoặc một ô quá dài).",
            "the CSV is malformed (a quote opened and not closed, or a cell that is too long).",
        ) from None


def _holds_rows(rows: list[list[Any]], separator: str) -> bool:
    """Whether a cell of several lines holds what are rows: as many separators in a line as the widest row has."""
    least = max(1, max(map(len, rows), default=0) - 1)
    return any(
        line.count(separator) >= least
        for row in rows
        for cell in row
        if cell is not None and ("\n" in cell or "\r" in cell)
        for line in cell.splitlines()[1:]
    )


# --- workbooks --------------------------------------------------------------------------------------


def _workbook(content: bytes, limit: int) -> Iterator[Reading]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(i.file_size for i in packed.infolist()) > limit:
                raise _too_large(limit)
        book = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
    except Refused:
        raise
    except Exception as e:  # openpyxl raises a dozen kinds, some of them on styles alone
        raise Refused(
            "không mở được tệp như một sổ Excel .xlsx (tệp hỏng, chép chưa xong, hoặc là loại khác). "
            "Hãy mở bằng Excel và lưu lại dạng .xlsx.",
            f"it cannot be opened as an .xlsx workbook (damaged, half copied or of another kind; "
            f"{type(e).__name__}). Open it in Excel and save it as .xlsx.",
        ) from None
    sheets = []
    for page in book.worksheets:
        merged = [
            (m.min_row - 1, m.min_col - 1, m.max_row - 1, m.max_col - 1) for m in page.merged_cells.ranges
        ]
        rows = [
            [None if isinstance(v, str) and not v.strip() else v for v in row]
            for row in page.iter_rows(values_only=True)
        ]
        # What its makers hid was not meant to be sent.
        hidden = page.sheet_state != "visible"
        sheets.append(Sheet(page.title, rows, merged, book.epoch.year == 1904, hidden))
    yield Reading("xlsx", sheets)
    # Fonts of the .VnTime family: Excel holds Latin-1 letters that only look Vietnamese.
    yield Reading("xlsx, tcvn3", [_respelled(s, from_tcvn3) for s in sheets], True)


def _respelled(sheet: Sheet, spell: Callable[[str], str]) -> Sheet:
    rows = [[spell(v) if isinstance(v, str) else v for v in row] for row in sheet.rows]
    return Sheet(sheet.name, rows, sheet.merged, sheet.since_1904, sheet.is_hidden)
