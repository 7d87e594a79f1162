"""CSV and Parquet of a release, from one read of a table, against ``COPY TO`` (CSV) of the same rows in the same order.

The table is like a published one, but of a million rows: codes, names, counts, a share, a date, a time. The writer runs
in a process of its own, whose highest resident memory is the second line; the third is that of a whole release, with
its files read back, scanned and validated, of a table of 200,000 rows.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc
import psycopg

from benchmarks.world import Line, World, ratio, rounds
from opendata.catalogue import Column, Resource, Text
from opendata.files import write_files
from opendata.release import _stream, publish
from ops.settings import PROJECT
from tests.opendata.conftest import TODAY, new_warehouse, read_manifest

ROWS, TIMES, LEAST, MOST_MIB = 1_000_000, 3, 0.4, 500
PUBLISHED = 200_000
_COLUMNS = {
    "year_month": "text", "area_code": "text", "row_no": "integer", "area_name": "text", "resolved_on_time": "integer",
    "resolved_overdue": "integer", "share": "numeric(12,4)", "as_of": "date", "captured_at": "timestamptz",
}  # fmt: skip
_MADE = f"""
create schema open_data;
create table open_data.results as
select '2025-' || lpad((1 + n % 12)::text, 2, '0') as year_month, lpad((28000 + n % 102)::text, 5, '0') as area_code,
  n as row_no, 'Phường số ' || n % 102 as area_name, n % 977 as resolved_on_time, n % 31 as resolved_overdue,
  ((n % 9973) / 9973.0)::numeric(12,4) as share, date '2025-01-01' + n % 365 as as_of,
  timestamptz '2025-01-01 08:00+07' + n * interval '1 second' as captured_at
from generate_series(1, {ROWS}) as n;
analyze open_data.results;
"""
_NO = Text("", "")
RESOURCE = Resource(
    "results", "results", _NO, _NO, tuple(Column(name, kind, _NO) for name, kind in _COLUMNS.items()),
    ("year_month", "area_code", "row_no"), None, "simulated",
)  # fmt: skip


def run(world: World, long: bool) -> Iterator[Line]:
    """Rate of both files against COPY TO, and the writer's memory; `long` is not needed."""
    url = world.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_MADE)  # type: ignore[arg-type]
    folder = world.home / "release" / "results"
    folder.mkdir(parents=True)
    peak: list[float] = []

    def ours() -> float:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.release", url, str(folder)], cwd=PROJECT, capture_output=True, text=True,
            check=True, env={"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        seconds, mib = map(float, done.stdout.split())
        peak.append(mib)
        return seconds

    def copied() -> None:
        columns = ", ".join(_COLUMNS)
        order = 'year_month collate "C", area_code collate "C", row_no'
        query = (
            f"copy (select {columns} from open_data.results order by {order}) to stdout (format csv, header)"
        )
        with (
            psycopg.connect(url) as connection,
            (folder / "copy.csv").open("wb") as file,
            connection.cursor().copy(query) as rows,  # type: ignore[arg-type]
        ):
            for part in rows:
                file.write(part)

    seconds = rounds({"ours": ours, "copy": copied}, TIMES)
    value, behind = ratio(seconds, "copy", "ours")
    name = f"release: CSV and Parquet of {ROWS:,} rows, rate / COPY TO"
    yield Line(name, value, f"at least {LEAST}", value >= LEAST, behind)
    yield Line("release: peak MiB of the writer", max(peak), f"under {MOST_MIB}", max(peak) < MOST_MIB, "")
    took, mib = _published(world)
    name = f"release: peak MiB of publishing {PUBLISHED:,} rows"
    yield Line(
        name, mib, f"under {MOST_MIB}", mib < MOST_MIB, f"{took:.0f} s, all formats, read back and validated"
    )


def _published(world: World) -> tuple[float, float]:
    """Return seconds and peak MiB of a release of the tests' warehouse with a large table in it."""
    folder = world.home / "publish"
    folder.mkdir()
    made = new_warehouse(world.database(), read_manifest(), folder)
    made.sql(
        "insert into open_data.procedures select '9.' || n, 'Thủ tục hành chính số ' || n, n, '', 'real' "
        f"from generate_series(1, {PUBLISHED}) as n"
    )
    made.write_manifest()
    given = ["publish", made.url, str(made.home), str(made.approvals)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.release", *given], cwd=PROJECT, capture_output=True, text=True,
        check=True, env={"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    seconds, mib = map(float, done.stdout.split())
    return seconds, mib


def main() -> None:
    """Write both files once, or publish; print seconds and peak MiB."""
    import resource

    began = time.monotonic()
    if sys.argv[1] == "publish":
        url, home, approvals = sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
        publish(home, home / "manifest.json", url, 7, approvals=approvals, today=TODAY)
        print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    url, folder = sys.argv[1], Path(sys.argv[2])
    with closing(adbc.connect(url)) as connection, closing(connection.cursor()) as cursor:
        schema, batches = _stream(cursor, RESOURCE)
        write_files(batches, schema, folder, "results", RESOURCE.keys, formats=("csv", "parquet"))
    print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
