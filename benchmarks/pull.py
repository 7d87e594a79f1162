"""Over real HTTP: rows rewritten by a second pull, memory by length of window, speed against bare requests."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import requests

from benchmarks.world import CLIENT_ID, CLIENT_SECRET, Line, World, ratio, rounds
from connectors.base import Endpoint, Interval, Request
from connectors.igate import IGate
from landing.manifest import Manifest
from ops.settings import PROJECT, VIETNAM
from ops.sources import read_sources
from ops.tasks import land
from vault.client import VaultClient

#: Windows end before the old system froze. A pull of one day also reads its margin of three days.
END = dt.date(2025, 6, 29)
WINDOWS = {"day": 1, "week": 7}
LONG_WINDOWS = {"month": 30, "year": 365}
#: Dossiers read by both sides of the comparison of speed.
READ = 2_000
#: Seconds that a source far away adds to each call.
LATENCY = 0.020


def pulled(url: str, sandbox: str, vault: VaultClient, landing: Path, days: int) -> dict[str, Any]:
    """Pull, stage and load the last `days` in a process of its own; what it printed."""
    end = dt.datetime.combine(END, dt.time(), VIETNAM)
    given = {
        "base_url": sandbox, "login": CLIENT_ID, "secret": CLIENT_SECRET, "socket": str(vault.socket),
        "token": vault.token, "landing": str(landing), "url": url, "start": (end - dt.timedelta(days)).isoformat(),
        "end": end.isoformat(),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.pull_side"], input=json.dumps(given), cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the pull failed: {done.stderr.strip()[-1500:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def writes(url: str) -> int:
    """Rows inserted, updated and deleted in raw so far, by PostgreSQL's own counters."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) from pg_stat_user_tables "
            "where schemaname = 'raw'"
        ).fetchone()
    return int(row[0]) if row else 0


def settled(url: str) -> int:
    """`writes` once two readings a second apart agree: sessions report with a delay."""
    before, now = -1, writes(url)
    while before != now:
        time.sleep(1)
        before, now = now, writes(url)
    return now


def run(world: World, long: bool = False) -> Iterator[Line]:
    """Speed, memory, rewritten rows."""
    with world.sandbox() as sandbox:
        yield _landing(world, sandbox, "month" if long else "week")
    with world.vault() as vault, world.sandbox() as sandbox:
        yield from _speed(sandbox)
        peaks: dict[str, float] = {}
        url = world.database()
        for name, days in {**WINDOWS, **(LONG_WINDOWS if long else {})}.items():
            if name != "day":
                url = world.database()
            done = pulled(url, sandbox, vault, world.home / "pull", days)
            peaks[name] = done["mib"]
            took = done["seconds"]
            yield Line(
                f"peak MiB of pull, stage and load, one {name}", done["mib"], "< 1024", done["mib"] < 1024,
                f"{done['dossiers']:,} dossiers, {done['rows']:,} rows, {done['calls']:,} calls; "
                f"pull {took['pull']:.1f} s, load {took['load']:.1f} s",
            )  # fmt: skip
            if name in ("day", "month"):
                before = settled(url)
                again = pulled(url, sandbox, vault, world.home / "pull", days)
                written = settled(url) - before
                yield Line(
                    f"rows written by PostgreSQL at an unchanged re-pull of a {name}", written, "0", written == 0,
                    f"of {again['rows']:,}; {before:,} at the first pull",
                )  # fmt: skip
        first, *_, last = peaks
        growth = peaks[last] / peaks[first]
        yield Line(f"peak of one {last} / peak of one {first}", growth, "<= 1.25", growth <= 1.25, "")


class _Unsealed:
    """In the vault's place: columns in the form they land in, with their values as they are."""

    def seal_together(self, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """The batches without what is dropped, birth dates as years."""
        return [self._open(batch) for batch in batches]

    def _open(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        seals = {spec.name: (spec.metadata or {}).get(b"seal") for spec in batch.schema}
        kept = {n: batch.column(n) for n, seal in seals.items() if seal != b"drop"}
        years = {n: pc.year(column).cast(pa.int16()) for n, column in kept.items() if seals[n] == b"year"}
        return pa.RecordBatch.from_pydict(kept | years)

    def quarantine(self, rows: Sequence[dict[str, Any]]) -> None:
        """Nothing is set aside: the sandbox serves no faults here."""
        if rows:
            raise RuntimeError(f"the sandbox served {len(rows)} damaged records")


def _landing(world: World, sandbox: str, window: str) -> Line:
    """What the vault adds to landing a window it meets for the first time: every person is new, all is stored."""
    entry = read_sources(PROJECT / "ops" / "sources.yml")["igate_tien_giang"]
    end = dt.datetime.combine(END, dt.time(), VIETNAM)
    interval = Interval(end - dt.timedelta({**WINDOWS, **LONG_WINDOWS}[window]), end)
    landed: list[int] = []

    def landing(vault: Any) -> float:
        began = time.perf_counter()
        connector = entry.connect(sandbox, CLIENT_ID, CLIENT_SECRET)
        folder = land(world.home / "landing", entry, connector, Request(interval), vault)
        seconds = time.perf_counter() - began
        landed.append(Manifest.read(folder).tables["dossier"].landed)
        shutil.rmtree(folder)
        return seconds

    def sealed() -> float:
        with world.vault() as vault:
            return landing(vault)

    seconds = rounds(
        {"sealed": sealed, "unsealed": lambda: landing(_Unsealed())}, 1 if window == "month" else 3
    )
    value, behind = ratio(seconds, "sealed", "unsealed")
    name = f"land one {window} ({landed[0]:,} dossiers), sealed / unsealed"
    return Line(name, value, "<= 1.3", value <= 1.3, behind)


def _speed(sandbox: str) -> Iterator[Line]:
    connector = IGate("igate_tien_giang", Endpoint(sandbox, CLIENT_ID, CLIENT_SECRET))
    end = dt.datetime.combine(END, dt.time(), VIETNAM)
    interval = Interval(end - dt.timedelta(3), end)
    _, ids, _ = connector.window("accepted", interval)
    ids = ids[:READ]
    token = connector.login()
    first = [d.record for i in ids[: connector.learn_from] if (d := connector.detail(i))]
    connector._layout = IGate.shape().learn(first)

    def bare() -> None:
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {token}"
            for dossier_id in ids:
                session.get(f"{sandbox}/pa/dossier/{dossier_id}/--online", timeout=60).json()

    def ours() -> None:
        # Reading and typing, as a pull does; sealing and writing are measured elsewhere.
        connector.chunk(ids, connector.map_calls(connector.detail, ids))

    seconds = rounds({"bare": bare, "ours": ours}, 3)
    value, behind = ratio(seconds, "ours", "bare")
    yield Line(
        f"read and type {len(ids):,} details / bare requests loop", value, "<= 1.5", value <= 1.5, behind
    )

    # So many calls at once, each of which takes at least LATENCY: no client is faster.
    permitted = len(ids) * LATENCY / connector.concurrency
    admin = f"{sandbox}/__sandbox__/faults"
    slow = {"fault": "latency", "rate": 1, "ms": LATENCY * 1000}
    requests.post(admin, json=slow, timeout=5).raise_for_status()
    (taken,) = rounds({"ours": ours}, 3).values()
    requests.post(admin, json={"fault": "clear"}, timeout=5).raise_for_status()
    value = permitted / statistics.median(taken)
    yield Line(
        f"  with {LATENCY * 1000:.0f} ms latency / {connector.concurrency} calls at once",
        value, ">= 0.8", value >= 0.8, f"permitted {permitted:.3g} s; ours {statistics.median(taken):.3g} s",
    )  # fmt: skip
