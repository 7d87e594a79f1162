"""The same pages with equal work, through our loader and through dlt's best path."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator

from benchmarks.decode import write
from benchmarks.path import local_sealer, seal_in_memory
from benchmarks.world import Line, World, pages, ratio
from connectors.contract import contract
from landing import loader
from ops.settings import PROJECT
from ops.tasks import table_spec

PYTHON = PROJECT / ".venv-bench" / "bin" / "python"
TABLES = ("dossier", "dossier_step", "dossier_paper", "dossier_fee")


def ours(world: World, bodies: list[bytes]) -> tuple[list[float], dict[str, int]]:
    """Seconds of the first load and of the same again, and the rows of the first."""
    url, specs, sealer = world.database(), [table_spec(contract(t)) for t in TABLES], local_sealer()
    landing = world.home / "ours"
    seconds = []
    rows: dict[str, int] = {}
    for _ in range(2):
        began = time.perf_counter()
        folder = write(bodies, landing, lambda batch: seal_in_memory(sealer, batch))
        loader.stage(url, folder, specs)
        done = loader.load(url, folder, specs)
        seconds.append(time.perf_counter() - began)
        rows = rows or {t: c.inserted for t, c in done.tables.items()}
    shutil.rmtree(landing)
    return seconds, rows


def theirs(world: World, bodies: list[bytes]) -> tuple[list[float], dict[str, int]]:
    """The same of dlt, in a process and an environment of its own."""
    file, folder = world.home / "pages.jsonl", world.home / "dlt"
    file.write_bytes(b"\n".join(bodies))
    shutil.rmtree(folder, ignore_errors=True)
    done = subprocess.run(
        [PYTHON, "-m", "benchmarks.dlt_side", file, world.database(), folder],
        cwd=PROJECT, capture_output=True, text=True, check=False,
        env={
            "PATH": os.defpath, "PYTHONPATH": str(PROJECT), "HOME": str(world.home), "LC_ALL": "C.UTF-8",
            "RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR",
        },
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"dlt's side failed: {done.stderr.strip()[-1500:]}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return answer["seconds"], answer["rows"]


def run(world: World, long: bool = False) -> Iterator[Line]:
    """First load and re-pull, each side three times in turn, each time into a fresh database."""
    if not PYTHON.exists():
        raise RuntimeError(
            f"looked for dlt's environment at {PYTHON} and found none; run `make bench`, which makes it"
        )
    bodies = pages()
    seconds: dict[str, list[float]] = {n: [] for n in ("ours", "dlt", "ours again", "dlt again")}
    for _ in range(3):
        (first, again), rows = ours(world, bodies)
        (their_first, their_again), their_rows = theirs(world, bodies)
        if rows != their_rows:
            raise RuntimeError(f"not the same work: we loaded {rows}, dlt {their_rows}")
        for name, value in zip(seconds, (first, their_first, again, their_again), strict=True):
            seconds[name].append(value)
    for mine, their, what in (("ours", "dlt", "first load"), ("ours again", "dlt again", "unchanged again")):
        value, behind = ratio(seconds, their, mine)
        yield Line(
            f"dlt / ours, pages to PostgreSQL, {what}",
            value,
            "> 1",
            value > 1,
            f"{behind}; {sum(rows.values()):,} rows",
        )
