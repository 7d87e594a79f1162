"""Pages held in memory to sealed Parquet, against decoding them and throwing the result away."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa

from benchmarks.world import Line, World, pages, ratio, rounds
from connectors.base import Chunk, Endpoint
from connectors.contract import contract
from connectors.igate import Detail, IGate
from landing.manifest import TableEntry
from landing.writer import BatchWriter
from vault.sealing import Sealer

Seal = Callable[[pa.RecordBatch], pa.RecordBatch]


def chunks(bodies: list[bytes]) -> Iterator[Chunk]:
    """The connector's own path from bytes to typed batches, in its own chunk size."""
    connector = IGate("igate_tien_giang", Endpoint("http://nowhere"))
    size = connector.chunk_size
    for at in range(0, len(bodies), size):
        details = [Detail.read(body) for body in bodies[at : at + size]]
        chunk = connector._chunk([str(d.row[0]) for d in details], list(details))
        if chunk.rejects or chunk.quarantine:
            raise RuntimeError(f"a page broke its contract: {chunk.rejects[:1]}")
        yield chunk


def local_sealer() -> Sealer:
    """A sealer in this process, under keys of this run."""
    return Sealer(os.urandom(32), os.urandom(32), os.urandom(32))


def write(bodies: list[bytes], landing: Path, seal: Seal) -> Path:
    """Decode, type, seal, write and finish one batch; its folder."""
    rows: dict[str, int] = {}
    with BatchWriter(landing, "igate_tien_giang") as writer:
        for chunk in chunks(bodies):
            for table, batch in chunk.tables.items():
                writer.write(table, seal(batch), contract(table).landed_schema)
                rows[table] = rows.get(table, 0) + batch.num_rows
        now = dt.datetime.now(dt.UTC)
        return writer.finish(
            source_code="igate_tien_giang", origin="simulated", dialect="igate", interval=(now, now), pulled_at=now,
            tables={t: TableEntry(None, n, 0, 0, contract(t).version) for t, n in rows.items()}, details={},
        )  # fmt: skip


def run(world: World, long: bool = False) -> Iterator[Line]:
    """The ratio without the vault's socket and database, then with them."""
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

    seconds = rounds({"orjson": decode, "ours": lambda: ours(lambda b: sealer.seal(b)[0])}, 5)
    value, behind = ratio(seconds, "ours", "orjson")
    yield Line(
        f"decode, type, seal, write {len(bodies):,} dossiers / orjson", value, "<= 4", value <= 4, behind
    )
    with world.vault() as vault:
        # The second and third time the vault holds all values already, as on a re-pull.
        seconds = rounds({"orjson": decode, "with the vault's process": lambda: ours(vault.seal)}, 3)
    value, behind = ratio(seconds, "with the vault's process", "orjson")
    yield Line("  the same, sealed over the socket, values stored", value, "", None, behind)
