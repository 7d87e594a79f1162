"""Landing to raw, comparison included, against a bare ``adbc_ingest`` of the same Parquet file."""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.decode import write
from benchmarks.path import local_sealer, seal_in_memory
from benchmarks.world import Line, World, pages, ratio, rounds
from connectors.contract import contract
from landing import loader
from landing.manifest import TableEntry
from landing.writer import BatchWriter
from ops.tasks import table_spec

#: The week's dossiers, so many times under other keys: 109,080 rows.
COPIES = 9


def landed(table: pa.Table, landing: Path) -> Path:
    """`table` landed as a batch of dossiers."""
    known = contract("dossier")
    now = dt.datetime.now(dt.UTC)
    with BatchWriter(landing, "igate_tien_giang") as writer:
        for batch in table.to_batches(max_chunksize=2_000):
            writer.write("dossier", batch, known.landed_schema)
        return writer.finish(
            source_code="igate_tien_giang", origin="simulated", dialect="igate", interval=(now, now), pulled_at=now,
            tables={"dossier": TableEntry(None, table.num_rows, 0, 0, known.version)}, details={},
        )  # fmt: skip


def dossiers(world: World) -> pa.Table:
    """Sealed dossiers as they are landed, about a hundred thousand."""
    sealer = local_sealer()
    folder = write(pages(), world.home / "load-source", lambda b: seal_in_memory(sealer, b))
    week = pq.read_table(folder / "dossier.parquet")
    shutil.rmtree(folder)
    at = week.schema.get_field_index("dossier_id")
    copies = [
        week.set_column(at, week.schema.field(at), pc.binary_join_element_wise(week.column(at), str(n), "-"))
        for n in range(COPIES)
    ]
    return pa.concat_tables(copies).combine_chunks()


def one_percent_changed(table: pa.Table) -> pa.Table:
    """The same rows, every hundredth under another status name."""
    at = table.schema.get_field_index("status_name")
    every = pa.array(i % 100 == 0 for i in range(table.num_rows))
    other = pc.if_else(every, pc.binary_join_element_wise(table.column(at), "x", "-"), table.column(at))
    return table.set_column(at, table.schema.field(at), other)


def run(world: World, long: bool = False) -> Iterator[Line]:
    """Into an empty table, again unchanged, again with one row in a hundred changed."""
    url = world.database()
    specs = [table_spec(contract("dossier"))]
    table = dossiers(world)
    landing = world.home / "load"
    wanted = {"empty": table.num_rows, "unchanged": 0, "1 % changed": -(-table.num_rows // 100)}

    def bare() -> float:
        folder = landed(table, landing)
        with adbc.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("drop table if exists bare")
            connection.commit()
            began = time.perf_counter()
            file = pq.ParquetFile(folder / "dossier.parquet")
            reader = pa.RecordBatchReader.from_batches(
                file.schema_arrow.remove_metadata(), file.iter_batches(batch_size=16 * 1024)
            )
            cursor.adbc_ingest("bare", reader, mode="create")
            connection.commit()
            return time.perf_counter() - began

    def ours(case: str) -> float:
        folder = landed(one_percent_changed(table) if case == "1 % changed" else table, landing)
        if case == "empty":
            with psycopg.connect(url) as connection:
                connection.execute("drop schema if exists raw cascade")
                loader.prepare(connection, specs)
        began = time.perf_counter()
        loader.stage(url, folder, specs)
        done = loader.load(url, folder, specs).tables["dossier"]
        seconds = time.perf_counter() - began
        if done.inserted + done.updated != wanted[case]:
            raise RuntimeError(f"load into {case}: wrote {done} rows, expected {wanted[case]}")
        return seconds

    ways: dict[str, Callable[[], float | None]] = {"bare": bare}
    ways |= {case: partial(ours, case) for case in wanted}
    seconds = rounds(ways, 3)
    for case in wanted:
        value, behind = ratio(seconds, "bare", case)
        rate = table.num_rows / min(seconds[case])
        yield Line(
            f"load {table.num_rows:,} dossiers, {case} / bare adbc_ingest", value, ">= 0.4", value >= 0.4,
            f"{behind}; {rate:,.0f} rows/s",
        )  # fmt: skip
