"""An office that drops population counts as files, as untidy as offices are.

    python -m sandbox.population_counts FOLDER

Communes are real (lists before and after 1/7/2025), counts are invented: a commune of today has what its
predecessors had the day before. Each file is another form of the same kind of table: `untidy` gives them all,
and `counts` what a reader must find in them.
"""

import csv
import io
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
from openpyxl.styles import Alignment

from sandbox.chance import I64, keys_for, uniform
from sandbox.reference import communes

BANDS = [*(f"{a}-{a + 4}" for a in range(0, 80, 5)), "80+"]
SEXES = {"male": "Nam", "female": "Nữ"}
# Invented, with the narrow foot and the bulge of the forties that the region's pyramids show.
PYRAMID = np.array([6.9, 7.4, 7.3, 6.6, 6.3, 7.0, 7.6, 8.0, 7.5, 7.2, 6.8, 6.4, 5.4, 4.0, 2.5, 1.6, 1.5])
PEOPLE = 3_600_000
BEFORE, AFTER, YEAR_END = date(2025, 6, 30), date(2025, 7, 1), date(2025, 12, 31)
TIEN_GIANG, DONG_THAP = 82, 87

Row = tuple[str, str, date, str, str, int]


@lru_cache(maxsize=1)
def _before() -> I64:
    """Return counts of 30/6/2025 by old commune, band and sex."""
    c = communes()
    weight = c.share / c.share.sum()
    keys = keys_for("population-count", len(c.codes) * len(BANDS) * 2)
    noise = 0.85 + 0.3 * uniform(keys, "noise").reshape(len(c.codes), len(BANDS), 2)
    sexes = np.array([[1.05, 0.95]] * 10 + [[1.0, 1.0]] * 4 + [[0.85, 1.15]] * 3)
    pyramid = PYRAMID[:, None] / PYRAMID.sum() / 2 * sexes
    return np.rint(PEOPLE * weight[:, None, None] * pyramid * noise).astype(np.int64)


@lru_cache(maxsize=8)
def counts(day: date, province: int = TIEN_GIANG) -> list[Row]:
    """Return (code, name, day, band, sex, people) of a day; before 1/7/2025 of one of the two provinces."""
    c = communes()
    if day <= BEFORE:
        listed = [(i, c.codes[i], c.names[i]) for i in range(len(c.codes)) if c.province[i] == province]
        people = _before()
    else:
        listed = [
            (i, code, name) for i, (code, name) in enumerate(zip(c.new_codes, c.new_names, strict=True))
        ]
        people = np.zeros((len(c.new_codes), len(BANDS), 2), np.int64)
        np.add.at(people, c.successor, _before())
        if day == YEAR_END:  # half a year later somewhat more
            people = np.rint(people * 1.004).astype(np.int64)
    return [
        (code, name, day, band, sex, int(people[i, b, s]))
        for i, code, name in listed
        for b, band in enumerate(BANDS)
        for s, sex in enumerate(SEXES)
    ]


# --- letters that are not Unicode -------------------------------------------------------------------

_UNICODE = "àảãáạăằẳẵắặâầẩẫấậèẻẽéẹêềểễếệìỉĩíịòỏõóọôồổỗốộơờởỡớợùủũúụưừửữứựỳỷỹýỵđĂÂĐÊÔƠƯ"
_ABC = "µ¶·¸¹¨»¼½¾Æ©ÇÈÉÊËÌÎÏÐÑªÒÓÔÕÖ×ØÜÝÞßáâãä«åæçèé¬êëìíîïñòóô\xadõö÷øùúûüýþ®¡¢§£¤¥¦"


def tcvn3(text: str) -> str:
    """Return text as the TCVN3 (ABC) fonts store it, in Latin-1 letters; capitals with tones become small."""
    table = dict(zip(_UNICODE, _ABC, strict=True))
    return "".join(table.get(x) or table.get(x.lower()) or x for x in unicodedata.normalize("NFC", text))


def windows_1258(text: str) -> bytes:
    """Return text in the code page of Vietnamese Windows: tone marks follow their letters."""
    out = []
    for letter in unicodedata.normalize("NFC", text):
        try:
            out.append(letter.encode("cp1258"))
        except UnicodeEncodeError:
            parts = unicodedata.normalize("NFD", letter)
            tones = "".join(p for p in parts if p in "\u0300\u0301\u0303\u0309\u0323")
            whole = unicodedata.normalize("NFC", "".join(p for p in parts if p not in tones))
            out.append((whole + tones).encode("cp1258"))
    return b"".join(out)


# --- forms of the file ------------------------------------------------------------------------------


def _table(rows: list[list[Any]], separator: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\r\n").writerows(rows)
    return out.getvalue()


def _dotted(number: int) -> str:
    return f"{number:,}".replace(",", ".")


def long_csv(rows: list[Row]) -> bytes:
    """Semicolons, BOM, dd/MM/yyyy, 1.234, a title, trailing spaces, blank rows, a total, a signature."""
    lines: list[list[Any]] = [
        ["CÔNG AN TỈNH TIỀN GIANG"],
        ["Thống kê số dân theo xã, nhóm tuổi, giới tính"],
        [],
    ]
    lines.append(["STT", "Mã xã ", "Tên xã", "Ngày chốt số liệu", "Nhóm tuổi", "Giới tính", "Số dân (người)"])
    for n, (code, name, day, band, sex, people) in enumerate(rows, 1):
        lines.append([n, f" {code}", f"{name}  ", f"{day:%d/%m/%Y}", f"{band} tuổi".replace("80+ tuổi", "80+"),
                      SEXES[sex], _dotted(people) + " "])  # fmt: skip
        if n % 500 == 0:
            lines.append([])
    lines += [["", "", "Tổng cộng", "", "", "", _dotted(sum(r[5] for r in rows))], []]
    lines += [
        ["", "", "", "", "", text] for text in ("Tiền Giang, ngày 02 tháng 7 năm 2025", "NGƯỜI LẬP BIỂU")
    ]
    return _table(lines, ";").encode("utf-8-sig")


def windows_1258_tabs(rows: list[Row]) -> bytes:
    """Tabs, windows-1258, yyyyMMdd, plain numbers."""
    lines: list[list[Any]] = [["Mã ĐVHC cấp xã", "Thời điểm", "Nhóm độ tuổi", "Giới", "Số nhân khẩu"]]
    lines += [[c, f"{d:%Y%m%d}", b.replace("-", " - "), SEXES[s], n] for c, _, d, b, s, n in rows]
    return windows_1258(_table(lines, "\t"))


def utf16_tabs(rows: list[Row]) -> bytes:
    """What Excel calls Unicode text: UTF-16, tabs; serial dates, 1,234."""
    lines: list[list[Any]] = [["Mã xã", "Tên xã", "Đến ngày", "Nhóm tuổi", "Giới tính", "Dân số"]]
    lines += [
        [c, n, (d - date(1899, 12, 30)).days, b, SEXES[s], f"{people:,}"] for c, n, d, b, s, people in rows
    ]
    return _table(lines, "\t").encode("utf-16")


def tcvn3_bars(rows: list[Row]) -> bytes:
    """Bars, TCVN3, d-M-yyyy."""
    lines: list[list[Any]] = [["Mã xã", "Ngày số liệu", "Nhóm tuổi", "Giới tính", "Số dân"]]
    lines += [[c, f"{d.day}-{d.month}-{d.year}", b, SEXES[s], n] for c, _, d, b, s, n in rows]
    return tcvn3(_table(lines, "|")).encode("latin-1")


def spread_xlsx(rows: list[Row]) -> bytes:
    """A printed form: title with the day, merged headings in two rows, sums, numbered columns, signatures.

    Two sheets, one for wards and one for other communes; beside them instructions and a hidden draft.
    """
    book = openpyxl.Workbook()
    book.properties.creator = "sandbox"
    book.properties.created = book.properties.modified = datetime(2025, 7, 2)
    by_code: dict[str, dict[tuple[str, str], int]] = {}
    names = {r[0]: r[1] for r in rows}
    for code, _, _, band, sex, people in rows:
        by_code.setdefault(code, {})[(band, sex)] = people
    day = rows[0][2]
    book.active.title = "Hướng dẫn"
    book.active["A1"] = "Mỗi trang một loại đơn vị. Mã xã theo danh mục của cơ quan thống kê."
    for title, wanted in (("Phường", True), ("Xã", False)):
        codes = [c for c in by_code if names[c].startswith("Phường") is wanted]
        _spread_sheet(book.create_sheet(title), codes, names, by_code, day)
    draft = book.create_sheet("Nháp")
    draft.sheet_state = "hidden"
    draft.append(["Mã xã", "Ngày chốt số liệu", "Nhóm tuổi", "Giới tính", "Số dân"])
    draft.append(["99999", "01/01/2020", "0-4", "Nam", 123_456])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _spread_sheet(
    sheet: Any,
    codes: list[str],
    names: dict[str, str],
    by_code: dict[str, dict[tuple[str, str], int]],
    day: date,
) -> None:
    width = 3 + 3 * len(BANDS)
    sheet["A1"] = "CÔNG AN TỈNH ĐỒNG THÁP"
    sheet["A2"] = "DÂN SỐ CHIA THEO NHÓM TUỔI VÀ GIỚI TÍNH"
    sheet["A3"] = f"(Số liệu đến ngày {day:%d} tháng {day:%m} năm {day:%Y})"
    for row in (1, 2, 3):
        sheet.merge_cells(start_row=row, start_column=1, end_row=row, end_column=width)
    heads = ["STT", "Mã xã", "Tên xã"]
    for position, text in enumerate(heads, 1):
        sheet.cell(5, position, text)
        sheet.merge_cells(start_row=5, start_column=position, end_row=6, end_column=position)
    for b, band in enumerate(BANDS):
        left = 4 + 3 * b
        sheet.cell(5, left, "80 tuổi trở lên" if band == "80+" else f"{band.replace('-', '–')} tuổi")
        sheet.merge_cells(start_row=5, start_column=left, end_row=5, end_column=left + 2)
        for i, text in enumerate(("Tổng số", "Nam", "Nữ")):
            sheet.cell(6, left + i, text).alignment = Alignment(horizontal="center")
    for position in range(1, width + 1):
        sheet.cell(7, position, "AB"[position - 1] if position < 3 else f"({position - 2})")
    rows = []
    for n, code in enumerate(codes, 1):
        line: list[Any] = [n, int(code), f"  {names[code]}"]
        for band in BANDS:
            pair = [by_code[code][(band, sex)] for sex in SEXES]
            line += [sum(pair), *pair]
        rows.append(line)
    sums = [sum(r[i] for r in rows) for i in range(3, width)]
    for at, line in enumerate([[None, None, "TỔNG SỐ", *sums], *rows], 8):
        for position, value in enumerate(line, 1):
            sheet.cell(at, position, value)
    last = 9 + len(rows)
    sheet.cell(last + 1, 3, "Ghi chú: số liệu mô phỏng.")
    sheet.cell(last + 2, 6, "NGƯỜI LẬP BIỂU")
    sheet.cell(last + 2, 20, "THỦ TRƯỞNG ĐƠN VỊ")


FORMS: dict[str, tuple[date, int, Callable[[list[Row]], bytes]]] = {
    "Dân số Tiền Giang 30-6-2025.csv": (BEFORE, TIEN_GIANG, long_csv),
    "DANSO_DONGTHAP_20250630.txt": (BEFORE, DONG_THAP, windows_1258_tabs),
    "Dân số 01.07.2025 (toàn tỉnh).xlsx": (AFTER, TIEN_GIANG, spread_xlsx),
    "dan so 31-12-2025 unicode.txt": (YEAR_END, TIEN_GIANG, utf16_tabs),
}


def untidy() -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of every file the office drops."""
    for name, (day, province, form) in FORMS.items():
        yield name, form(counts(day, province))


def drop(folder: Path) -> list[str]:
    """Drop the files as a careful copy does, under another name first; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, content in untidy():
        aside = folder / f"{name}.part"
        aside.write_bytes(content)
        aside.rename(folder / name)
        names.append(name)
    return names


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m sandbox.population_counts FOLDER")
    print(os.linesep.join(drop(Path(sys.argv[1]))))
