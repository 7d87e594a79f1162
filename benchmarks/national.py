"""The way to the national portal: how busy it keeps the calls it is allowed, and comparing a year with an export."""

from __future__ import annotations

import ast
import csv
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import requests

from benchmarks.world import CLIENT_ID, CLIENT_SECRET, Line, World
from national.push import Policy
from national.reconcile import COLUMNS
from ops.settings import PROJECT
from tests.national import bulk

#: A year of old Đồng Tháp.
YEAR = 184_457
#: Seconds a call takes, dossiers of four units that are sent, and calls allowed at once.
CALL, SENT, WORKERS = 0.02, 3_000, 2
_COMPARE = """
import datetime as dt, pathlib, resource, sys, time
import psycopg
from national import reconcile
from tests.national.bulk import OURS
began = time.perf_counter()
with psycopg.connect(sys.argv[1]) as connection:
    found = reconcile.compare_export(connection, pathlib.Path(sys.argv[2]), OURS)
print([time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found.here,
       dict(found.classes)])
"""


def run(here: World, _: bool) -> Iterator[Line]:
    """Both lines."""
    url = here.database()
    bulk.fill(url, SENT, 2)
    with here.sandbox("exchange") as address:
        slow = {"fault": "latency", "ms": CALL * 1000, "rate": 1.0}
        requests.post(f"{address}/__sandbox__/faults", json=slow, timeout=10).raise_for_status()
        began = time.perf_counter()
        done = bulk.send(url, address, Policy(settle=0.0), (CLIENT_ID, CLIENT_SECRET), WORKERS)
        seconds = time.perf_counter() - began
    calls = sum(n for what, n in done.items() if what.startswith("calls"))
    value = calls * CALL / WORKERS / seconds
    behind = f"{calls:,} calls in {seconds:.1f} s, {SENT / seconds:,.0f} dossiers/s with their progress"
    yield Line(f"national: of {WORKERS} calls at once of 20 ms, used", value, ">= 0.8", value >= 0.8, behind)

    url = here.database()
    bulk.fill(url, YEAR, 0)
    path = here.home / "export.csv"
    _export(url, path)
    done_in = subprocess.run(
        [sys.executable, "-c", _COMPARE, url, str(path)],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, mib, number, classes = ast.literal_eval(done_in.stdout.strip().splitlines()[-1])
    said = f"{number:,} dossiers: {classes}"
    yield Line("national: seconds to compare a year with an export", seconds, "< 120", seconds < 120, said)
    yield Line("national: peak MiB of that", mib, "< 1024", mib < 1024, "of our process")


def _export(url: str, path: Path) -> None:
    """The operator's file of the same dossiers; one in a hundred is lacking, one in a hundred has another status."""
    form = "DD/MM/YYYY HH24:MI:SS"
    with psycopg.connect(url) as connection, path.open("w", encoding="utf-8-sig", newline="") as f:
        out = csv.writer(f)
        out.writerow(COLUMNS)
        rows = connection.execute(
            "select dossier_code, procedure_code, responsible_agency_code, channel, "
            "to_char(received_at at time zone 'Asia/Ho_Chi_Minh', %s), "
            "to_char(due_at at time zone 'Asia/Ho_Chi_Minh', %s), '', '', "
            "case when hashtext(dossier_key) %% 100 = 7 then 'Đã xử lý xong' else 'Đang xử lý' end, "
            "online_payment_code, '' from marts.fct_dossier where hashtext(dossier_key) %% 100 <> 3",
            (form, form),
        )
        for row in rows:
            out.writerow(row)
