"""Over real HTTP: rows rewritten by a second pull, memory by length of window, speed against bare requests."""

from __future__ import annotations

import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import requests

from benchmarks.world import CLIENT_ID, CLIENT_SECRET, Line, World, ratio, rounds
from connectors.base import Endpoint, Interval
from connectors.igate import IGate
from ops.settings import PROJECT, VIETNAM
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
