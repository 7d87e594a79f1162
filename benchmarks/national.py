"""The way to the national portal: how busy it keeps the calls it is allowed, comparing and explaining a year."""

from __future__ import annotations

import ast
import csv
import datetime as dt
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import requests
import yaml

from benchmarks import build
from benchmarks.world import CLIENT_ID, CLIENT_SECRET, Line, World
from connectors.contract import contract
from national import reconcile
from national.exchange import Budget, Exchange
from national.push import Policy, plan, push
from national.reconcile import COLUMNS, compare_export
from ops import national, tasks
from ops.national import PURPOSE, OfVault
from ops.settings import PROJECT
from tests.national import bulk
from tests.national.world import KEY
from vault.client import VaultClient

#: A year of old Đồng Tháp.
YEAR = 184_457
#: Seconds that explaining a year may take, in a morning between the night's build and the offices' opening.
EXPLAIN = 120
#: Seconds a call takes at the least, dossiers of four units that are sent, and calls allowed at once.
CALL, SENT, WORKERS = 0.02, 3_000, 2
#: Dossiers looked up.
LOOKED_UP = 1_000
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
    """All lines."""
    url = here.database()
    bulk.fill(url, SENT, 2)
    with here.sandbox("exchange") as address, here.vault(agreements=_agreed(here)) as vault:
        _seal(url, vault)
        slow = {"fault": "latency", "ms": CALL * 1000, "rate": 1.0}
        requests.post(f"{address}/__sandbox__/faults", json=slow, timeout=10).raise_for_status()
        yield _sent(url, address, vault, "sending anew")
        # A tenth moves on: each is looked up, then updated.
        with psycopg.connect(url) as connection:
            connection.execute(
                "update marts.fct_dossier set status_code = 9, load_number = 2 where dossier_id like '%7'"
            )
        yield _sent(url, address, vault, "sending changes")
        yield _looked_up(url, address)

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
    yield from _explained(here)


def _explained(here: World) -> Iterator[Line]:
    """What differs of a year as the warehouse has it, counted and scored: twice, and once with nothing that differs."""
    settings = build._warehouse(here, build.SIZES[0])
    build._build(settings, "--full-refresh")
    url = settings.warehouse_url
    path = here.home / "explain.csv"
    seconds: list[float] = []
    for broken in (True, True, False):
        _export(url, path, broken)
        with national.connect(settings) as connection:
            found = compare_export(connection, path, national.writers(settings))
        tasks._dbt(
            settings,
            [["build", "--exclude-resource-type", "seed", "unit_test", "--select", "tag:national"]],
        )
        results = json.loads((settings.dbt_target / "run_results.json").read_text(encoding="utf-8"))
        seconds.append(results["elapsed_time"])
        if broken:
            told = f"{found.here:,} dossiers, {found.classes.total():,} differ; tests included"
    mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    again = seconds[1]
    yield Line(
        "national: seconds to explain a year's differences", again, f"< {EXPLAIN}", again < EXPLAIN, told
    )
    yield Line(
        "national: peak MiB of that", mib, "< 1024", mib < 1024, "of dbt, which did the whole build, too"
    )
    ratio = again / seconds[2]
    yield Line(
        "national: explaining them / explaining none", ratio, "-", None, f"{seconds[2]:.1f} s without any"
    )


def _agreed(here: World) -> Path:
    """A folder with the agreement the vault gives values under."""
    folder = here.home / "agreements"
    folder.mkdir()
    record = {
        "document": "Thỏa thuận của phép đo", "purpose": PURPOSE, "officer_code": "H20.14-0042",
        "daily_quota": 1_000_000, "valid_from": dt.date(2025, 1, 1), "valid_to": dt.date(2099, 12, 31),
    }  # fmt: skip
    (folder / f"{PURPOSE}.yml").write_text(yaml.safe_dump(record, allow_unicode=True))
    return folder


def _seal(url: str, vault: VaultClient) -> None:
    """Put handles of the vault in the place of the made-up ones, of persons all different."""
    with psycopg.connect(url) as connection:
        listed = connection.execute(
            "select dossier_id, responsible_agency_code from marts.fct_dossier order by dossier_id"
        ).fetchall()
        for at in range(0, len(listed), 1_000):
            part = listed[at : at + 1_000]
            dossiers = _sealed(vault, "dossier", [
                {"source_code": "igate", "dossier_id": d, "responsible_agency_code": agency,
                 "applicant_id_number": f"0032{int(d[1:]):08d}", "applicant_name": f"Nguyễn Thị Thử {d}",
                 "applicant_phone": f"04{int(d[1:]):08d}", "subject_line": f"Xin chứng thực bản sao {d}"}
                for d, agency in part
            ])  # fmt: skip
            steps = _sealed(vault, "dossier_step", [
                {"source_code": "igate", "dossier_id": d, "step_no": n, "officer_name": "Lê Văn Tiếp Nhận",
                 "note": f"Bước {n} của {d}"} for d, _ in part for n in (1, 2)
            ])  # fmt: skip
            with connection.cursor() as cursor:
                cursor.executemany(
                    "update raw.dossier set applicant_id_number = %(applicant_id_number)s, "
                    "applicant_name = %(applicant_name)s, applicant_phone = %(applicant_phone)s, "
                    "subject_line = %(subject_line)s where dossier_id = %(dossier_id)s",
                    dossiers,
                )
                cursor.executemany(
                    "update raw.dossier_step set officer_name = %(officer_name)s, note = %(note)s "
                    "where dossier_id = %(dossier_id)s and step_no = %(step_no)s",
                    steps,
                )


def _sealed(vault: VaultClient, table: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    schema = contract(table).clear_schema
    columns = [pa.array([r.get(f.name) for r in rows], f.type) for f in schema]
    return vault.seal(pa.RecordBatch.from_arrays(columns, schema=schema)).to_pylist()


def _sent(url: str, address: str, vault: VaultClient, what: str) -> Line:
    """How much of what `WORKERS` calls at once permit was used, by the time calls took at the portal.

    Planning is before; clear values come from the vault for each call, and each reading is in its audit.
    """
    with psycopg.connect(url) as connection:
        began = time.perf_counter()
        plan(connection, bulk.OURS, KEY)
        planning = time.perf_counter() - began
    exchange = Exchange(address, CLIENT_ID, CLIENT_SECRET, "H20", Budget(10_000_000), at_once=WORKERS)
    before, quota = _served(address), OfVault(vault).left()
    began = time.perf_counter()
    report = push(lambda: psycopg.connect(url), exchange, OfVault(vault), bulk.OURS, KEY, Policy(settle=0.0))
    seconds = time.perf_counter() - began
    calls, taken = (after - b for after, b in zip(_served(address), before, strict=True))
    # A call is permitted whenever one has ended: so many seconds of calls, at most, in each second.
    value = taken / WORKERS / seconds
    behind = (
        f"{calls:,} calls of {1000 * taken / calls:.1f} ms in {seconds:.1f} s, {calls / seconds:.0f}/s; at exactly "
        f"20 ms {calls * CALL / WORKERS / seconds:.2f}; {report.done['dossier accepted']:,} dossiers, "
        f"{report.done['progress accepted']:,} steps, {quota - OfVault(vault).left():,} readings of the vault; "
        f"planned in {planning:.1f} s"
    )
    return Line(f"national: {what}, of {WORKERS} calls at once, used", value, ">= 0.8", value >= 0.8, behind)


def _looked_up(url: str, address: str) -> Line:
    """The same for the look-ups of a reconciliation."""
    exchange = Exchange(address, CLIENT_ID, CLIENT_SECRET, "H20", Budget(10_000), at_once=WORKERS)
    before = _served(address)
    began = time.perf_counter()
    with psycopg.connect(url) as connection:
        reconcile.prepare(connection)
        counted = reconcile.look_up(connection, exchange, LOOKED_UP, dt.date.min, "simulated")
    seconds = time.perf_counter() - began
    calls, taken = (after - b for after, b in zip(_served(address), before, strict=True))
    value = taken / WORKERS / seconds
    behind = f"{calls:,} calls of {1000 * taken / calls:.1f} ms in {seconds:.1f} s: {dict(counted)}"
    return Line(
        f"national: looking up, of {WORKERS} calls at once, used", value, ">= 0.8", value >= 0.8, behind
    )


def _served(address: str) -> tuple[int, float]:
    told = requests.get(f"{address}/__sandbox__/held", timeout=60).json()
    return told["answered"], told["seconds"]


def _export(url: str, path: Path, broken: bool = True) -> None:
    """The operator's file of the same dossiers; if `broken`, one in a hundred is lacking, one has another status."""
    form = "DD/MM/YYYY HH24:MI:SS"
    with psycopg.connect(url) as connection, path.open("w", encoding="utf-8-sig", newline="") as f:
        out = csv.writer(f)
        out.writerow(COLUMNS)
        days = ", ".join(
            f"to_char({c} at time zone 'Asia/Ho_Chi_Minh', %(form)s)"
            for c in ("received_at", "due_at", "completed_at", "returned_at")
        )
        rows = connection.execute(
            "select coalesce(national_code, dossier_code), procedure_code, responsible_agency_code, channel, "  # type: ignore[arg-type]
            f"{days}, case when %(broken)s and hashtext(dossier_key) %% 100 = 7 then 8 else status_code end, "
            "online_payment_code, is_vneid_account::int from marts.fct_dossier "
            "where not (%(broken)s and hashtext(dossier_key) %% 100 = 3)",
            {"form": form, "broken": broken},
        )
        for row in rows:
            out.writerow(row)
