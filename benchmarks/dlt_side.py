"""dlt's side: the same pages, typed and sealed by the same code, loaded by dlt's best path.

Run by `benchmarks.against_dlt` in its own environment: ``python -m benchmarks.dlt_side <pages> <url> <folder>``
loads twice and prints the seconds of each as JSON. Best path: Arrow tables (dicts go several times slower),
Parquet files loaded through ADBC, merge by upsert on the contract's key.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa

from benchmarks.path import chunks, local_sealer, seal_in_memory
from connectors.contract import contract

TABLES = ("dossier", "dossier_step", "dossier_paper", "dossier_fee")


def sealed(bodies: list[bytes], sealer: Any) -> dict[str, list[pa.Table]]:
    """Typed and sealed tables of all pages, chunk by chunk."""
    found: dict[str, list[pa.Table]] = {t: [] for t in TABLES}
    for chunk in chunks(bodies):
        for table, batch in zip(
            chunk.tables, seal_in_memory(sealer, list(chunk.tables.values())), strict=True
        ):
            found[table].append(pa.Table.from_batches([batch]))
    return found


def main() -> None:
    """Load the pages, load them again."""
    pages, url, folder = sys.argv[1:]
    bodies = Path(pages).read_bytes().split(b"\n")
    sealer = local_sealer()
    pipeline = dlt.pipeline(
        "bench", pipelines_dir=folder, destination=dlt.destinations.postgres(url), dataset_name="raw_dlt"
    )

    @dlt.source(max_table_nesting=0)
    def source() -> Iterator[Any]:
        found = sealed(bodies, sealer)
        for table in TABLES:
            yield dlt.resource(
                found[table],
                name=table,
                primary_key=list(contract(table).key),
                write_disposition={"disposition": "merge", "strategy": "upsert"},
            )

    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        pipeline.run(source(), loader_file_format="parquet").raise_on_failed_jobs()
        seconds.append(time.perf_counter() - began)
    with pipeline.sql_client() as client:
        rows = {t: client.execute_sql(f"select count(*) from {t}")[0][0] for t in TABLES}
    print(json.dumps({"seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    main()
