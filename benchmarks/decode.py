"""Pages held in memory to sealed Parquet, against decoding them and throwing the result away."""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa

from benchmarks.path import Seal, chunks, local_sealer, seal_in_memory
from benchmarks.sealing_side import SealingProcess
from benchmarks.world import Line, World, pages, ratio, rounds
from connectors.contract import contract
from landing.manifest import TableEntry
from landing.writer import BatchWriter
from ops.ahead import ahead


def write(bodies: list[bytes], landing: Path, seal: Seal) -> Path:
    """Decode, type, seal, write and finish one batch; its folder."""
    rows: dict[str, int] = {}

    def sealed() -> Iterator[tuple[str, pa.RecordBatch]]:
        for chunk in ahead(chunks(bodies)):
            yield from zip(chunk.tables, seal(list(chunk.tables.values())), strict=True)

    with BatchWriter(landing, "igate_tien_giang") as writer:
        for table, batch in ahead(sealed()):
            writer.write(table, batch, contract(table).landed_schema)
            rows[table] = rows.get(table, 0) + batch.num_rows
        now = dt.datetime.now(dt.UTC)
        return writer.finish(
            source_code="igate_tien_giang", origin="simulated", dialect="igate", interval=(now, now), pulled_at=now,
            tables={t: TableEntry(None, n, 0, 0, contract(t).version) for t, n in rows.items()}, details={},
        )  # fmt: skip


def run(world: World, long: bool = False) -> Iterator[Line]:
    """The ratio with sealing in a process of its own, as in the product; in one process; with the vault's database."""
    bodies = pages()
    sealer = local_sealer()
    landing = world.home / "decode"

    def decode() -> None:
        for body in bodies:
            orjson.loads(body)

    def ours(seal: Seal) -> float:
        began = time.perf_counter()
        write(bodies, landing, seal)
        seconds = time.perf_counter() - began
        shutil.rmtree(landing)
        return seconds

    with SealingProcess() as apart:
        ways: dict[str, Callable[[], float | None]] = {
            "orjson": decode,
            "ours": lambda: ours(apart.seal),
            "in one process": lambda: ours(lambda b: seal_in_memory(sealer, b)),
        }
        rounds(ways, 1)  # the process starts, and every import is paid
        seconds = rounds(ways, 11)
    value, behind = ratio(seconds, "ours", "orjson")
    yield Line(
        f"decode, type, seal, write {len(bodies):,} dossiers / orjson", value, "<= 4", value <= 4, behind
    )
    value, behind = ratio(seconds, "in one process", "orjson")
    yield Line("  the same in one process", value, "", None, behind)
    with world.vault() as vault:
        # The second and third time the vault holds all values already, as on a re-pull.
        seconds = rounds({"orjson": decode, "with the vault's process": lambda: ours(vault.seal_together)}, 3)
    value, behind = ratio(seconds, "with the vault's process", "orjson")
    yield Line("  the same, sealed over the socket, values stored", value, "", None, behind)
