"""Write a pull into a batch folder: aside first, renamed at the end, never changed afterwards."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from landing.manifest import MANIFEST, LandingError, Manifest, TableEntry, file_sha256, new_batch_id

_BUILDING = ".building-"
#: A folder being built that was not touched for this long belongs to a killed run.
_STALE_SECONDS = 6 * 3600
#: A row group holds at least so many rows: chunks are smaller, and each group has a cost of its own.
_ROW_GROUP = 8_000
#: So many rows show which columns repeat their values.
_SAMPLE = 2_000
_REJECTS = pa.schema(
    [("table", pa.string()), ("key", pa.string()), ("field", pa.string()), ("reason", pa.string())]
)


def _sweep(home: Path) -> list[Path]:
    """Take away what killed runs left in a source's folder; the folders of runs that may still go on."""
    going = []
    for found in home.glob(f"{_BUILDING}*"):
        try:
            stale = time.time() - found.stat().st_mtime > _STALE_SECONDS
        except FileNotFoundError:
            continue  # landed, or given up, a moment ago
        if stale:
            shutil.rmtree(found, ignore_errors=True)
        else:
            going.append(found)
    return going


def under_way(landing: Path) -> list[str]:
    """Batches being written now, as source/batch. What a killed run left, and no run can finish, is taken away."""
    homes = sorted(p for p in landing.iterdir() if p.is_dir())
    return [f"{h.name}/{b.name.removeprefix(_BUILDING)}" for h in homes for b in _sweep(h)]


class BatchWriter:
    """Writes one batch; a context manager that leaves nothing behind unless `finish` was reached."""

    def __init__(self, landing: Path, source_code: str) -> None:
        self.batch_id = new_batch_id(dt.datetime.now(dt.UTC), os.urandom(8))
        self._home = landing / source_code
        self._aside = self._home / f"{_BUILDING}{self.batch_id}"
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[pa.RecordBatch]] = {}
        self._rows: dict[str, int] = {}
        self._rejects: list[dict[str, str]] = []
        self._began = time.monotonic()
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            self._sweep()
            self._aside.mkdir()
        except OSError as e:
            raise LandingError(
                f"cannot write to the landing folder {self._home}: {e.strerror}. Free space or correct its "
                "rights (setting KHOCHUNG_HOME), then clear the task."
            ) from None

    def _sweep(self) -> None:
        _sweep(self._home)

    def __enter__(self) -> BatchWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            with contextlib.suppress(OSError):  # a full disk, told already; what was begun goes all the same
                writer.close()
        shutil.rmtree(self._aside, ignore_errors=True)

    def write(self, table: str, sealed: pa.RecordBatch, schema: pa.Schema) -> None:
        """Append a sealed batch to the table's file. `schema` is the landed schema of its contract."""
        if sealed.schema.names != schema.names or sealed.schema.types != schema.types:
            raise LandingError(f"a sealed batch of {table} does not have the columns of its contract")
        waiting = self._waiting.setdefault(table, [])
        waiting.append(pa.RecordBatch.from_arrays(sealed.columns, schema=schema))
        self._rows[table] = self._rows.get(table, 0) + sealed.num_rows
        if sum(b.num_rows for b in waiting) >= _ROW_GROUP:
            self._flush(table)

    def _flush(self, table: str) -> None:
        rows = pa.Table.from_batches(self._waiting.pop(table))
        try:
            if table not in self._writers:
                # A dictionary of references, which hardly repeat, would be made and thrown away.
                sample = rows.slice(0, _SAMPLE)
                repeating = [
                    name
                    for name, column in zip(sample.column_names, sample.columns, strict=True)
                    if 2 * pc.count_distinct(column).as_py() < len(column)
                ]
                self._writers[table] = pq.ParquetWriter(
                    self._aside / f"{table}.parquet", rows.schema, compression="zstd", compression_level=1,
                    use_dictionary=repeating,
                )  # fmt: skip
            self._writers[table].write_table(rows, row_group_size=max(rows.num_rows, 1))
        except OSError as e:
            raise self._cannot_write(table, e) from None

    def _cannot_write(self, what: str, e: OSError) -> LandingError:
        return LandingError(
            f"cannot write {what} of batch {self.batch_id} below {self._home}: {e.strerror or e}. Nothing was "
            "landed. Free space or correct the rights of the landing folder, then clear the task."
        )

    def reject(self, table: str, key: str, field: str, reason: str) -> None:
        """Note a rejected record; its payload goes to the vault's quarantine, not here."""
        self._rejects.append({"table": table, "key": key, "field": field, "reason": reason})

    def most_frequent_reject(self, table: str) -> str:
        """The commonest field and reason among the rejects of `table`, for a message."""
        counted = Counter((r["field"], r["reason"]) for r in self._rejects if r["table"] == table)
        (field, reason), times = counted.most_common(1)[0]
        return f"{field or 'record'}: {reason} ({times:,} times)"

    def rows(self, table: str) -> int:
        """Rows written to `table` so far."""
        return self._rows.get(table, 0)

    def finish(
        self,
        *,
        source_code: str,
        origin: str,
        dialect: str,
        interval: tuple[dt.datetime, dt.datetime],
        pulled_at: dt.datetime,
        tables: dict[str, TableEntry],
        details: dict[str, Any],
    ) -> Path:
        """Close the files, write the manifest, check the balance, rename; the folder of the batch."""
        try:
            for table in list(self._waiting):
                self._flush(table)
            for writer in self._writers.values():
                writer.close()
        except OSError as e:
            raise self._cannot_write("the files", e) from None
        for name, entry in tables.items():
            path = self._aside / f"{name}.parquet"
            if path.exists():
                entry.file, entry.bytes, entry.sha256 = path.name, path.stat().st_size, file_sha256(path)
        manifest = Manifest(
            batch_id=self.batch_id,
            source_code=source_code,
            origin=origin,
            dialect=dialect,
            interval_start=interval[0].isoformat(),
            interval_end=interval[1].isoformat(),
            pulled_at=pulled_at.isoformat(),
            tables=tables,
            seconds=round(time.monotonic() - self._began, 3),
            **details,
        )
        manifest.check_balance()
        try:
            if self._rejects:
                pq.write_table(pa.Table.from_pylist(self._rejects, _REJECTS), self._aside / "rejects.parquet")
                manifest.rejects_file = "rejects.parquet"
            path = self._aside / MANIFEST
            path.write_text(manifest.to_json())
            for item in [*self._aside.iterdir(), self._aside]:
                _sync(item)
            final = self._home / self.batch_id
            self._aside.rename(final)
            _sync(self._home)
        except OSError as e:
            raise self._cannot_write("the manifest", e) from None
        return final


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
