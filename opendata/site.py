"""The static pages of a release: an index and one page for each dataset, Vietnamese first, English second.

Every byte comes from the release itself: style is inline, there is no script, no font and no picture from
elsewhere. All text is escaped by the templates' autoescape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from opendata.catalogue import frictionless_type

if TYPE_CHECKING:
    from opendata.release import Build

TEMPLATES = Path(__file__).parent / "templates"
PREVIEW_ROWS = 10
BUSINESS_ZONE = ZoneInfo("Asia/Ho_Chi_Minh")

# What a file is for, in the order in which a reader should meet them.
FORMATS = {
    "excel.csv": ("CSV cho Excel", "mở bằng Excel, giữ dấu tiếng Việt", "opens in Excel with its accents"),
    "csv": ("CSV", "cho phần mềm thống kê, lập trình", "for programs and statistics tools"),
    "parquet": ("Parquet", "cho phân tích dữ liệu lớn", "for data analysis, typed and compressed"),
}

# Frictionless types in the words of readers.
TYPES = {
    "string": ("văn bản", "text"),
    "integer": ("số nguyên", "whole number"),
    "number": ("số", "number"),
    "boolean": ("đúng/sai", "true/false"),
    "date": ("ngày", "date"),
    "datetime": ("thời điểm", "date and time"),
}
# Units as models declare them, in Vietnamese; another unit, such as the name of the column that holds it, stands as is.
UNITS = {
    "dossier": "hồ sơ",
    "day": "ngày",
    "percent": "%",
    "point": "điểm",
    "VND": "đồng",
}


def number_vi(value: int) -> str:
    """Return a whole number as written in Vietnamese: 1.234.567."""
    return f"{value:,}".replace(",", ".")


def size(value: int) -> str:
    """Return a size in bytes for people, decimal comma: 12,3 kB."""
    if value < 1000:
        return f"{value} B"
    amount, unit = (value / 1000, "kB") if value < 1_000_000 else (value / 1_000_000, "MB")
    return f"{amount:.1f} {unit}".replace(".", ",")


def day(value: date) -> str:
    """Return a day as written in Vietnamese: 17/9/2026; a moment is taken in Vietnamese time."""
    if isinstance(value, datetime):
        value = value.astimezone(BUSINESS_ZONE)
    return f"{value.day}/{value.month}/{value.year}"


def template_digest() -> str:
    """Return the SHA-256 of the templates and this module: changed pages are a changed release."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(TEMPLATES.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def write_pages(
    folder: Path, builds: Sequence[Build], number: int, created_at: datetime, load_number: int
) -> None:
    """Write `index.html` and `<dataset>/index.html` into the release at `folder`."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number_vi": number_vi, "size": size, "day": day, "kind": frictionless_type}
    shared = {
        "number": number,
        "created_at": created_at,
        "load_number": load_number,
        "formats": FORMATS,
        "types": TYPES,
        "units": UNITS,
    }
    index = environment.get_template("index.html")
    (folder / "index.html").write_text(index.render(builds=builds, **shared), encoding="utf-8")
    page = environment.get_template("dataset.html")
    for build in builds:
        path = folder / build.dataset.id / "index.html"
        path.write_text(page.render(build=build, **shared), encoding="utf-8")
