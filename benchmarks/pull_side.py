"""One pull, staging and loading in a process of its own, so that its peak memory is its own.

``python -m benchmarks.pull_side`` with JSON on standard input; prints rows, seconds, calls and peak memory.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
import time
from pathlib import Path

import psycopg

from connectors.base import Interval, Request
from connectors.contract import contract
from landing import loader
from landing.manifest import Manifest
from ops.settings import PROJECT
from ops.sources import read_sources
from ops.tasks import land, table_spec
from vault.client import VaultClient


def main() -> None:
    """Pull, stage and load what the arguments say."""
    given = json.loads(sys.stdin.read())
    entry = read_sources(PROJECT / "ops" / "sources.yml")["igate_tien_giang"]
    connector = entry.connect(given["base_url"], given["login"], given["secret"])
    vault = VaultClient(Path(given["socket"]), given["token"])
    interval = Interval(dt.datetime.fromisoformat(given["start"]), dt.datetime.fromisoformat(given["end"]))
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    folder = land(Path(given["landing"]), entry, connector, Request(interval), vault)
    seconds["pull"] = time.perf_counter() - began
    specs = [table_spec(contract(t)) for t in connector.tables]
    began = time.perf_counter()
    loader.stage(given["url"], folder, specs)
    done = loader.load(given["url"], folder, specs)
    seconds["load"] = time.perf_counter() - began
    with psycopg.connect(given["url"]) as connection:
        connection.execute("select pg_stat_force_next_flush()")
    print(
        json.dumps(
            {
                "calls": Manifest.read(folder).calls,
                "rows": sum(c.staged for c in done.tables.values()),
                "dossiers": done.tables["dossier"].staged,
                "written": sum(c.inserted + c.updated + c.removed for c in done.tables.values()),
                "seconds": seconds,
                # Not ru_maxrss: it begins with the memory of the process that started this one.
                "mib": int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
