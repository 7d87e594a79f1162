"""A month under a scheduler while PostgreSQL restarts, and the vault and tasks are killed: nothing needs a hand."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.e2e.installation import Installation

pytestmark = [pytest.mark.prove, pytest.mark.timeout(7200)]
#: The last month of both old systems, and the first dossiers of the new one.
PERIOD = "2025-06-01/2025-07-01"
SOURCES = ("igate_tien_giang", "opencps_dong_thap", "igate_dong_thap")
#: PostgreSQL restarted five times; the vault and tasks killed ten times.
BLOWS = ("postgres", "vault", "task") * 5
#: Seconds between two blows: long enough for some step to end between them.
APART = 25


def processes(installation: Installation) -> list[psutil.Process]:
    """Every process of this installation."""
    mine = str(installation.home)
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("KHOCHUNG_HOME") == mine:
                found.append(process)
        except psutil.Error:
            continue
    return found


def strike(installation: Installation, what: str) -> bool:
    """Kill one of `what`; False if none was there. PostgreSQL is stopped at once, as by a server's restart."""
    if what == "postgres":
        pid = int((installation.home / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        return True
    wanted = "airflow worker" if what == "task" else "-m vault"
    if what == "vault":
        candidates = [
            p for p in psutil.process_iter(["cmdline", "environ"])
            if (p.info["cmdline"] or [])[1:3] == ["-m", "vault"]
            and str(installation.home) in ((p.info["environ"] or {}).get("VAULT_SOCKET") or "")
        ]  # fmt: skip
    else:
        candidates = [p for p in processes(installation) if wanted in " ".join(p.cmdline())]
    if not candidates:
        return False
    random.choice(candidates).kill()
    return True


def count(installation: Installation, query: str) -> int:
    """The number a query of Airflow's metadata gives; 0 while PostgreSQL is away."""
    try:
        return int(installation.airflow_rows(query)[0][0])
    except psycopg.Error:
        return 0


def tasks(installation: Installation) -> list[tuple]:
    """Tasks that have begun and not succeeded."""
    query = "select dag_id, task_id, try_number, state from task_instance where state <> 'success'"
    try:
        return installation.airflow_rows(query)
    except psycopg.Error:
        return []


def test_a_month_disturbed_fifteen_times_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    calm, struck = Installation.create(tmp_path / "calm"), Installation.create(tmp_path / "struck")
    try:
        calm.ops("run", "--period", PERIOD)
        calm.ops("down")
        struck.ops("up")
        for source in SOURCES:
            conf = json.dumps({"period": PERIOD})
            struck.airflow("dags", "trigger", f"ingest_dossiers_{source}", "--conf", conf)
        under_way = (
            "select count(*) from dag_run where dag_id like 'ingest_dossiers_%' and run_type = 'manual' "
            "and state in ('queued', 'running')"
        )
        given = []
        for what in BLOWS:
            time.sleep(APART)
            # A killed task comes back when its heartbeat has been missed for five minutes, and after its pause.
            deadline = time.monotonic() + 1200
            while not strike(struck, what):
                assert time.monotonic() < deadline, f"no {what} was there to be killed: {tasks(struck)}"
                time.sleep(0.5)
            print(what, tasks(struck), flush=True)
            given.append((what, count(struck, under_way)))
        deadline = time.monotonic() + 3600
        ended = (
            "select count(*) from dag_run where dag_id like 'ingest_dossiers_%' and run_type = 'manual' "
            "and state = 'success'"
        )
        while count(struck, ended) < len(SOURCES):
            failed = "select count(*) from dag_run where state = 'failed'"
            assert count(struck, failed) == 0, tasks(struck)
            assert time.monotonic() < deadline
            time.sleep(5)
        print("blows, and ingest runs under way at each:", given)
        calm.ops("url")
        raw = {t: c for t, c in calm.checksums().items() if t.startswith("raw.dossier")}
        assert raw
        assert {t: c for t, c in struck.checksums().items() if t in raw} == raw
        # What followed was begun by assets, and again after each load: it ends by itself.
        marts = {t: c for t, c in calm.checksums().items() if t.startswith("marts.fct_dossier")}
        deadline = time.monotonic() + 1800
        while {t: c for t, c in struck.checksums().items() if t in marts} != marts:
            assert time.monotonic() < deadline, "the marts never became equal"
            time.sleep(15)
        assert not list((struck.home / "landing").rglob(".building-*"))
    finally:
        calm.ops("down", check=False)
        struck.ops("down", check=False)
