"""From Arrow batches to the files of a dataset and back: CSV (plain, for Excel), Parquet, JSON Lines, XLSX; a scan."""

from __future__ import annotations

import csv as python_csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

BUSINESS_ZONE = "Asia/Ho_Chi_Minh"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A spreadsheet runs a cell that begins so as a formula (OWASP, CSV injection); a number is none.
FORMULA_START = r"^[=+\-@\t\r]"
NUMBER = r"^[+\-]?[0-9]+(\.[0-9]+)?$"
FORMATS = ("csv", "excel.csv", "parquet", "jsonl", "xlsx")
# Beyond it a workbook takes longer to write and open than it is worth; the CSV for Excel stands beside it.
XLSX_CELLS = 200_000
# Rows that are made into text, or read back, at once: as text or as objects they take several times their bytes.
PIECE_ROWS = 10_000
# Arrow reads some forty blocks of a CSV ahead; a line must not be longer than one.
CSV_BLOCK = 1 << 18


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
            table = table.set_column(position, field.name, _iso(table[field.name]))
    return table


def _iso(times: pa.ChunkedArray) -> pa.ChunkedArray:
    seconds = times.cast(pa.timestamp("s", tz=times.type.tz), safe=False)
    if times.type.tz is None:
        return pc.strftime(seconds, format="%Y-%m-%dT%H:%M:%S")
    local = pc.local_timestamp(seconds)
    since = pc.subtract(local.cast(pa.int64()), seconds.cast(pa.int64()))
    if pc.all(
        pc.equal(since, 7 * 3600)
    ).as_py():  # since 13/6/1975; ten times as fast as asking for each value
        text = pc.replace_substring(local.cast(pa.string()), " ", "T")
        return pc.binary_join_element_wise(text, "+07:00", "")
    written = pc.strftime(seconds, format="%Y-%m-%dT%H:%M:%S%z")
    return pc.replace_substring_regex(written, r"([+-]\d{2})(\d{2})$", r"\1:\2")


def formulas(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the mask of texts that a spreadsheet would run as a formula."""
    risky = pc.match_substring_regex(column, FORMULA_START)
    return pc.and_(risky, pc.invert(pc.match_substring_regex(column, NUMBER)))


def neutralise_formulas(table: pa.Table) -> pa.Table:
    """Return `table` with an apostrophe before text cells that a spreadsheet would run as a formula."""
    for position, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table[field.name]
            safe = pc.if_else(formulas(column), pc.binary_join_element_wise("'", column, ""), column)
            table = table.set_column(position, field.name, safe)
    return table


def write_files(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    folder: Path,
    stem: str,
    keys: Sequence[str] = (),
    explained: Sequence[Sequence[object]] = (),
    formats: Sequence[str] = FORMATS,
) -> list[FileRecord]:
    """Write `<stem>.csv`, `.excel.csv`, `.parquet`, `.jsonl` and `.xlsx`, each from one pass over the batches.

    The workbook is left out where the table is larger than XLSX_CELLS; `explained` are the rows of its second sheet.
    `keys` are the columns the rows are sorted by, which the Parquet file says. Returns the records of what was
    written. No more than one batch is held in memory, and of its text no more than PIECE_ROWS rows.
    """
    writers: dict[str, _Writer] = {}
    try:
        for kind in formats:
            path = folder / f"{stem}.{kind}"
            if kind == "parquet":
                writers[kind] = _Parquet(path, schema, keys)
            elif kind == "xlsx":
                writers[kind] = _Workbook(path, schema, explained)
            elif kind == "jsonl":
                writers[kind] = _JsonLines(path)
            else:
                writers[kind] = _Csv(path, as_text(schema.empty_table()).schema, kind == "excel.csv")
        typed = [writer for kind, writer in writers.items() if kind in ("parquet", "xlsx")]
        in_text = [writer for kind, writer in writers.items() if kind not in ("parquet", "xlsx")]
        for batch in batches:
            table = pa.Table.from_batches([batch])
            for at in range(0, len(table), PIECE_ROWS) if in_text else ():
                text = as_text(table.slice(at, PIECE_ROWS))
                for writer in in_text:
                    writer.write(text)
            for writer in typed:
                writer.write(table)
    except BaseException:
        for writer in writers.values():
            with suppress(Exception):  # what went wrong first is what is told
                writer.close()
        raise
    whole = {kind: writer.close() for kind, writer in writers.items()}
    return [record(folder / f"{stem}.{kind}", folder.parent, kind) for kind in formats if whole[kind]]


class _Writer(Protocol):
    def write(self, table: pa.Table) -> None: ...

    def close(self) -> bool:
        """Finish the file; False where there is none, because the table does not fit its format."""


class _Csv:
    def __init__(self, path: Path, schema: pa.Schema, for_spreadsheets: bool) -> None:
        self.file, self.for_spreadsheets = path.open("wb"), for_spreadsheets
        if for_spreadsheets:
            self.file.write(BYTE_ORDER_MARK)
        options = csv.WriteOptions(quoting_style="needed", quoting_header="needed")
        self.writer = csv.CSVWriter(self.file, schema, write_options=options)

    def write(self, table: pa.Table) -> None:
        self.writer.write_table(neutralise_formulas(table) if self.for_spreadsheets else table)

    def close(self) -> bool:
        self.writer.close()
        self.file.close()
        return True


class _Parquet:
    def __init__(self, path: Path, schema: pa.Schema, keys: Sequence[str]) -> None:
        self.file = path.open("wb")
        order = [(key, "ascending") for key in keys]
        self.writer = pq.ParquetWriter(
            self.file,
            schema,
            compression="zstd",
            write_statistics=True,
            sorting_columns=pq.SortingColumn.from_ordering(schema, order) if order else None,
        )

    def write(self, table: pa.Table) -> None:
        self.writer.write_table(table)

    def close(self) -> bool:
        self.writer.close()
        self.file.close()
        return True


class _JsonLines:
    """One object a line, put together column by column: six times as fast as row by row."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")

    def write(self, table: pa.Table) -> None:
        parts: list[Any] = []
        for position, name in enumerate(table.column_names):
            parts += [
                ("," if position else "{") + json.dumps(name, ensure_ascii=False) + ":",
                _json(table[name]),
            ]
        lines = pc.binary_join_element_wise(*parts, "}\n", "")
        for chunk in lines.chunks:
            if len(chunk):
                # A string array's bytes stand one after another: they are the file.
                begin, end = chunk.buffers()[1], chunk.offset
                offsets = pa.Array.from_buffers(pa.int32(), len(chunk) + 1, [None, begin], offset=end)
                data = memoryview(chunk.buffers()[2])
                self.file.write(data[offsets[0].as_py() : offsets[len(chunk)].as_py()])

    def close(self) -> bool:
        self.file.close()
        return True


# What JSON wants written otherwise inside a text. Other control characters stop the release: no honest text has one.
ESCAPED = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f]"


def _json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column's values as JSON, null as `null`; decimals keep all their digits."""
    kind = column.type
    if pa.types.is_string(kind):
        if pc.any(pc.match_substring_regex(column, CONTROL)).as_py():
            raise ValueError(
                "a text holds control characters, which no format carries safely; clean it in the model"
            )
        for character, written in ESCAPED:
            column = pc.replace_substring(column, character, written)
    written = column if pa.types.is_string(kind) else column.cast(pa.string())
    if pa.types.is_string(kind) or pa.types.is_temporal(kind):
        written = pc.binary_join_element_wise('"', written, '"', "")
    return pc.fill_null(written, "null")


class _Workbook:
    """An Excel workbook while the table is small: rows on the first sheet, what its columns mean on the second."""

    def __init__(self, path: Path, schema: pa.Schema, explained: Sequence[Sequence[object]]) -> None:
        from openpyxl import Workbook

        self.path, self.explained, self.cells = path, explained, 0
        self.book: Any = Workbook(write_only=True)
        self.sheet = self.book.create_sheet("Dữ liệu")
        self.sheet.freeze_panes = "A2"
        self.sheet.append(schema.names)

    def write(self, table: pa.Table) -> None:
        if self.book is None:
            return
        self.cells += table.num_rows * table.num_columns
        if self.cells > XLSX_CELLS:
            self.sheet.close()
            self.book = None
            return
        columns = neutralise_formulas(_for_excel(table)).to_pydict().values()
        for row in zip(*columns, strict=True):
            self.sheet.append(row)

    def close(self) -> bool:
        if self.book is None:
            return False
        if self.explained:
            sheet = self.book.create_sheet("Giải thích")
            for row in self.explained:
                sheet.append([neutralised(value) for value in row])
        buffer = io.BytesIO()
        self.book.save(buffer)
        _without_clock(buffer, self.path)
        return True


def _for_excel(table: pa.Table) -> pa.Table:
    """Return `table` with what a workbook cannot hold in a form it can: times without zone, in Vietnamese time."""
    for position, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.tz:
            local = pc.local_timestamp(table[field.name]).cast(pa.timestamp("s"), safe=False)
            table = table.set_column(position, field.name, local)
    return table


def _without_clock(buffer: io.BytesIO, path: Path) -> None:
    """Write a workbook without the time of its making, so that the same rows give the same bytes."""
    with zipfile.ZipFile(buffer) as made, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as kept:
        for name in made.namelist():
            data = made.read(name)
            if name == "docProps/core.xml":
                data = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2025-01-01T00:00:00Z", data)
            entry = zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            kept.writestr(entry, data)


def neutralised(value: object) -> object:
    """Return a value for a spreadsheet's cell: an apostrophe before text that it would run as a formula."""
    is_formula = isinstance(value, str) and re.match(FORMULA_START, value) and not re.match(NUMBER, value)
    return f"'{value}" if is_formula else value


def record(path: Path, root: Path, kind: str) -> FileRecord:
    """Return the size and checksum of a finished file, with its path relative to `root`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(path.relative_to(root).as_posix(), kind, path.stat().st_size, digest)


def read_back(path: Path, kind: str) -> Iterator[pa.Table]:
    """Read a finished file back in pieces: Parquet typed, all else with every column as text and empty cells null.

    A file without rows gives one piece without rows, so that its columns are known; JSON Lines gives none then.
    """
    try:
        if kind == "parquet":
            yield pq.read_schema(path).empty_table()
            yield from pieces(path)
        elif kind in ("csv", "excel.csv"):
            yield from _csv_back(path)
        elif kind == "jsonl":
            with path.open(encoding="utf-8") as lines:
                while block := list(islice(lines, PIECE_ROWS)):
                    yield _lines(block)
        else:
            yield from _workbook_back(path)
    finally:
        give_back()


def pieces(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Read some columns of a finished Parquet file, PIECE_ROWS rows at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(PIECE_ROWS, columns=columns):
            yield pa.Table.from_batches([batch])


def give_back() -> None:
    """Give the memory of Arrow tables that are gone back to the machine; else Arrow keeps it, as much as 100 MiB."""
    pa.default_memory_pool().release_unused()


def _csv_back(path: Path) -> Iterator[pa.Table]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(python_csv.reader(file), [])
    blocks = csv.ReadOptions(block_size=CSV_BLOCK)
    parsed = csv.ParseOptions(newlines_in_values=True)
    texts = csv.ConvertOptions(
        column_types={name: pa.string() for name in names}, strings_can_be_null=True, null_values=[""]
    )
    with csv.open_csv(path, read_options=blocks, parse_options=parsed, convert_options=texts) as reader:
        yield reader.schema.empty_table()
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _workbook_back(path: Path) -> Iterator[pa.Table]:
    from openpyxl import load_workbook

    book = load_workbook(path, read_only=True)
    try:
        rows = book.worksheets[0].iter_rows(values_only=True)
        names = [str(name) for name in next(rows)]
        block: list[Any] = [()]
        while block:
            block = list(islice(rows, PIECE_ROWS))
            # A row ends with its last filled cell.
            held = [[_text(value) for value in row] + [None] * (len(names) - len(row)) for row in block]
            yield pa.table(
                {n: pa.array([row[at] for row in held], pa.string()) for at, n in enumerate(names)}
            )
    finally:
        book.close()


def _lines(lines: Sequence[str]) -> pa.Table:
    objects = [json.loads(line, parse_float=str, parse_int=str) for line in lines]
    return pa.table({n: pa.array([_text(item[n]) for item in objects], pa.string()) for n in objects[0]})


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
