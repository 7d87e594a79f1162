"""Words for people: what types, units, formats, themes and frequencies are called in Vietnamese and English.

Themes and frequencies are those of the EU Publications Office, which DCAT-AP prescribes; the Vietnamese names are ours.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from opendata.catalogue import Text
from opendata.periods import days_of

BUSINESS_ZONE = ZoneInfo("Asia/Ho_Chi_Minh")


@dataclass(frozen=True)
class Format:
    """What a file is called and what it is for."""

    name: Text
    use: Text


#: In the order in which a reader should meet them.
FORMATS = {
    "xlsx": Format(Text("Excel", "Excel"), Text("mở bằng Excel, LibreOffice", "opens in Excel and LibreOffice")),
    "excel.csv": Format(
        Text("CSV cho Excel", "CSV for Excel"),
        Text("mở bằng Excel, giữ dấu tiếng Việt", "opens in Excel with its accents"),
    ),
    "csv": Format(
        Text("CSV", "CSV"),
        Text(
            "cho phần mềm thống kê, lập trình; đừng mở bằng bảng tính: ô giống công thức để nguyên như nguồn",
            "for statistics tools and programs; not for a spreadsheet: cells that look like formulas stand as at the "
            "source",
        ),
    ),
    "parquet": Format(
        Text("Parquet", "Parquet"),
        Text("có kiểu, nén; cho Python, R, DuckDB", "typed and compressed; for Python, R, DuckDB"),
    ),
    "jsonl": Format(
        Text("JSON Lines", "JSON Lines"), Text("mỗi dòng một bản ghi, cho lập trình", "one record a line, for programs")
    ),
}  # fmt: skip

#: Frictionless types in the words of readers.
TYPES = {
    "string": Text("văn bản", "text"),
    "integer": Text("số nguyên", "whole number"),
    "number": Text("số", "number"),
    "boolean": Text("đúng/sai", "true/false"),
    "date": Text("ngày", "date"),
    "datetime": Text("thời điểm", "date and time"),
}

#: Units as models declare them; another unit, such as the name of the column that holds it, stands as it is.
UNITS = {
    "dossier": Text("hồ sơ", "dossiers"),
    "person": Text("người", "persons"),
    "payment": Text("giao dịch", "payments"),
    "paper": Text("giấy tờ", "papers"),
    "check": Text("lượt kiểm tra", "checks"),
    "day": Text("ngày", "days"),
    "working_day": Text("ngày làm việc", "working days"),
    "percent": Text("%", "%"),
    "point": Text("điểm", "points"),
    "VND": Text("đồng", "VND"),
    "commune": Text("xã", "communes"),
    "rank": Text("thứ hạng", "rank"),
    "count": Text("số đếm của chỉ tiêu", "what the indicator counts"),
    "ratio": Text("tỷ lệ, từ 0 đến 1", "ratio, 0 to 1"),
}

THEMES = {
    "AGRI": Text("Nông nghiệp, thủy sản, thực phẩm", "Agriculture, fisheries, food"),
    "ECON": Text("Kinh tế, tài chính", "Economy and finance"),
    "EDUC": Text("Giáo dục, văn hóa, thể thao", "Education, culture, sport"),
    "ENER": Text("Năng lượng", "Energy"),
    "ENVI": Text("Môi trường", "Environment"),
    "GOVE": Text("Chính quyền, dịch vụ công", "Government and public sector"),
    "HEAL": Text("Y tế", "Health"),
    "INTR": Text("Quốc tế", "International issues"),
    "JUST": Text("Tư pháp, an ninh", "Justice and public safety"),
    "REGI": Text("Địa phương, đơn vị hành chính", "Regions and cities"),
    "SOCI": Text("Dân số, xã hội", "Population and society"),
    "TECH": Text("Khoa học, công nghệ", "Science and technology"),
    "TRAN": Text("Giao thông", "Transport"),
}

FREQUENCIES = {
    "CONT": Text("Liên tục", "Continuous"),
    "UPDATE_CONT": Text("Liên tục", "Continuously updated"),
    "DAILY_2": Text("Hai lần một ngày", "Twice a day"),
    "DAILY": Text("Hằng ngày", "Daily"),
    "WEEKLY_3": Text("Ba lần một tuần", "Three times a week"),
    "WEEKLY_2": Text("Hai lần một tuần", "Twice a week"),
    "WEEKLY": Text("Hằng tuần", "Weekly"),
    "BIWEEKLY": Text("Hai tuần một lần", "Every two weeks"),
    "MONTHLY_3": Text("Ba lần một tháng", "Three times a month"),
    "MONTHLY_2": Text("Hai lần một tháng", "Twice a month"),
    "MONTHLY": Text("Hằng tháng", "Monthly"),
    "BIMONTHLY": Text("Hai tháng một lần", "Every two months"),
    "QUARTERLY": Text("Hằng quý", "Quarterly"),
    "ANNUAL_3": Text("Ba lần một năm", "Three times a year"),
    "ANNUAL_2": Text("Hai lần một năm", "Twice a year"),
    "ANNUAL": Text("Hằng năm", "Annual"),
    "BIENNIAL": Text("Hai năm một lần", "Every two years"),
    "TRIENNIAL": Text("Ba năm một lần", "Every three years"),
    "IRREG": Text("Khi có thay đổi", "When something changes"),
    "NEVER": Text("Không cập nhật nữa", "No longer updated"),
    "OTHER": Text("Khác", "Other"),
}

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_QUARTERS = ("I", "II", "III", "IV")


@dataclass(frozen=True)
class Language:
    """One of the two languages of the pages, and how it writes words, numbers, sizes and days."""

    code: str

    @property
    def other(self) -> Language:
        """The language of the switch."""
        return ENGLISH if self.code == "vi" else VIETNAMESE

    def t(self, vi: str, en: str) -> str:
        """Return the words in this language."""
        return vi if self.code == "vi" else en

    def say(self, text: Text) -> str:
        """Return a declared text in this language."""
        return self.t(text.vi, text.en)

    def number(self, value: float, digits: int = 0) -> str:
        """Return a number as written here: 1.234,5 in Vietnamese, 1,234.5 in English."""
        written = f"{value:,.{digits}f}"
        return written.translate(str.maketrans(",.", ".,")) if self.code == "vi" else written

    def size(self, value: int) -> str:
        """Return a size in bytes for people: 12,3 kB."""
        if value < 1000:
            return f"{value} B"
        amount, unit = (value / 1000, "kB") if value < 1_000_000 else (value / 1_000_000, "MB")
        return f"{self.number(amount, 1)} {unit}"

    def day(self, value: date) -> str:
        """Return a day: 17/9/2026, 17 September 2026; a moment is taken in Vietnamese time."""
        if isinstance(value, datetime):
            value = value.astimezone(BUSINESS_ZONE)
        if self.code == "vi":
            return f"{value.day}/{value.month}/{value.year}"
        return f"{value.day} {_MONTHS[value.month - 1]} {value.year}"

    def period(self, value: str, short: bool = False) -> str:
        """Return a period of a table (2026-08, 2026-Q3) as people write it: tháng 8/2026, quý III/2026.

        `short` is for the axis of a picture: 8/2026, Aug 2026. What is no period is returned as it is.
        """
        days = days_of(value)
        if days is None:
            return value
        first, last = days
        if re.fullmatch(r"\d{4}", value):
            return value
        if re.fullmatch(r"\d{4}-Q\d", value):
            return self.t(
                f"quý {_QUARTERS[last.month // 3 - 1]}/{last.year}", f"Q{last.month // 3} {last.year}"
            )
        if re.fullmatch(r"\d{4}-\d{2}", value):
            month = _MONTHS[last.month - 1][: 3 if short else None]
            return self.t(f"{'' if short else 'tháng '}{last.month}/{last.year}", f"{month} {last.year}")
        if first == last:
            return self.day(first)
        return f"{self.day(first)} {self.t('đến', 'to')} {self.day(last)}"


VIETNAMESE, ENGLISH = Language("vi"), Language("en")


def period(value: str) -> Text:
    """Return a period in the words of both languages."""
    return Text(VIETNAMESE.period(value), ENGLISH.period(value))


def fold(text: str) -> str:
    """Return text as people type it without accents: "Đồng Tháp" becomes "dong thap"."""
    plain = unicodedata.normalize("NFD", text.casefold().replace("đ", "d"))
    return "".join(letter for letter in plain if not unicodedata.combining(letter))
