"""From an Arrow table to the files of a dataset and back: CSV, CSV for spreadsheets, Parquet, and the scan."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

BUSINESS_ZONE = "Asia/Ho_Chi_Minh"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A spreadsheet runs a cell that begins so as a formula (OWASP, CSV injection).
FORMULA_START = r"^[=+\-@\t\r]"


@dataclass(frozen=True)
class FileRecord:
    """One finished file: path relative to the release, format, size in bytes and SHA-256."""

    path: str
    format: str
    bytes: int
    sha256: str


def as_text(table: pa.Table) -> pa.Table:
    """Return `table` with times as ISO 8601 text in Vietnamese time, the way the CSV files carry them."""
    for position, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            seconds = table[field.name].cast(pa.timestamp("s", tz=field.type.tz), safe=False)
            written = pc.strftime(seconds, format="%Y-%m-%dT%H:%M:%S%z")
            written = pc.replace_substring_regex(written, r"([+-]\d{2})(\d{2})$", r"\1:\2")
            table = table.set_column(position, field.name, written)
    return table


def neutralise_formulas(table: pa.Table) -> pa.Table:
    """Return `table` with an apostrophe before text cells that a spreadsheet would run as a formula."""
    for position, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table[field.name]
            risky = pc.match_substring_regex(column, FORMULA_START)
            safe = pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
            table = table.set_column(position, field.name, safe)
    return table


def write_files(table: pa.Table, folder: Path, stem: str) -> list[FileRecord]:
    """Write `<stem>.csv`, `<stem>.excel.csv` and `<stem>.parquet` from one table; return their records."""
    written = as_text(table)
    options = csv.WriteOptions(quoting_style="needed", quoting_header="needed")
    plain, excel, parquet = (folder / f"{stem}{ending}" for ending in (".csv", ".excel.csv", ".parquet"))
    with plain.open("wb") as file:
        csv.write_csv(written, file, options)
    with excel.open("wb") as file:
        file.write(BYTE_ORDER_MARK)
        csv.write_csv(neutralise_formulas(written), file, options)
    pq.write_table(table, parquet, compression="zstd", write_statistics=True)
    return [
        record(path, folder.parent, kind)
        for path, kind in ((plain, "csv"), (excel, "excel.csv"), (parquet, "parquet"))
    ]


def record(path: Path, root: Path, kind: str) -> FileRecord:
    """Return the size and checksum of a finished file, with its path relative to `root`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(path.relative_to(root).as_posix(), kind, path.stat().st_size, digest)


def read_csv_as_text(path: Path) -> pa.Table:
    """Read a finished CSV back with every column as text; empty cells are null."""
    with path.open("rb") as file:
        names = csv.open_csv(file).schema.names
    options = csv.ConvertOptions(
        column_types={name: pa.string() for name in names}, strings_can_be_null=True, null_values=[""]
    )
    return csv.read_csv(
        path, convert_options=options, parse_options=csv.ParseOptions(newlines_in_values=True)
    )


# Patterns of personal data (RE2: no look-around). UUIDs are taken out first: a run of digits in one is no identity.
UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
PERSONAL_PATTERNS = {
    "identity number (12 or 9 digits)": r"(^|[^0-9])([0-9]{12}|[0-9]{9})([^0-9]|$)",
    "telephone number": r"(^|[^0-9.])(\+?84|0)[ .-]?([35789]([ .-]?[0-9]){8}|2([ .-]?[0-9]){9})([^0-9]|$)",
    "e-mail address": r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
    "reference of the vault": r"(ref|id)[1-9]_[0-9A-Za-z]",
}
VAULT_REFERENCE = re.compile(r"(?:ref|id)[1-9]_[0-9a-f]{8}")


@dataclass(frozen=True)
class Finding:
    """Personal data suspected in a finished file: where, of which kind, on how many rows. Never the value."""

    path: str
    column: str
    kind: str
    rows: int

    def __str__(self) -> str:
        return f"{self.path}, column {self.column}: {self.rows} row(s) hold what looks like: {self.kind}"


def scan_files(root: Path, records: list[FileRecord], quantities: frozenset[str]) -> list[Finding]:
    """Read the finished files of one table back, decoded, and return what looks like personal data.

    `quantities` names whole-number columns declared as counts or with a unit, where 9 digits are no identity
    number. Times, dates, decimals and booleans cannot hold one and are skipped; the Parquet file tells the types.
    """
    findings: list[Finding] = []
    schema = next(pq.read_schema(root / file.path) for file in records if file.format == "parquet")
    for file in records:
        path = root / file.path
        table = pq.read_table(path) if file.format == "parquet" else read_csv_as_text(path)
        for field in schema:
            if pa.types.is_string(field.type):
                text = pc.replace_substring_regex(table[field.name], UUID, "")
                counts = {kind: _matches(text, pattern) for kind, pattern in PERSONAL_PATTERNS.items()}
            elif pa.types.is_integer(field.type) and field.name not in quantities:
                # An identity number read as a number has lost its leading zeros, so 9 to 12 digits all count.
                digits = table[field.name].cast(pa.string())
                counts = {"identity number (as a whole number)": _matches(digits, r"^-?[0-9]{9,12}$")}
            else:
                continue
            findings += [Finding(file.path, field.name, kind, rows) for kind, rows in counts.items() if rows]
    return findings


def _matches(text: pa.ChunkedArray, pattern: str) -> int:
    return int(pc.sum(pc.match_substring_regex(text, pattern)).as_py() or 0)
