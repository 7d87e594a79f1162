"""A month under a scheduler while PostgreSQL restarts, and the vault and tasks are killed: nothing needs a hand."""

from __future__ import annotations

import contextlib
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
#: Runs that were asked for and have not ended.
UNDER_WAY = "dag_id like 'ingest_dossiers_%' and run_type = 'manual' and state in ('queued', 'running')"
#: What the facts say. The scheduler pulls yesterday, too, so that open dossiers are judged on a later day: what is
#: overdue differs rightly.
FACTS = (
    "select count(*), md5(string_agg((to_jsonb(f) - 'load_number' - 'is_overdue')::text, '' order by dossier_key)) "
    "from marts.fct_dossier f",
    "select count(*), sum(('x' || substr(md5((to_jsonb(f) - 'load_number')::text), 1, 8))::bit(32)::bigint) "
    "from marts.fct_dossier_step f",
)
#: Seconds between two blows: long enough for some step to end between them.
APART = 25


def tasks_running(installation: Installation) -> list[psutil.Process]:
    """The processes of this installation's tasks; their environment is overwritten by their title, so by ancestors."""
    mine = str(installation.home)
    found = []
    for process in psutil.process_iter(["cmdline"]):
        title = " ".join(process.info["cmdline"] or [])
        if not title.startswith("airflow worker") or "LocalExecutor" in title:
            continue
        with contextlib.suppress(psutil.Error):
            if any(p.environ().get("KHOCHUNG_HOME") == mine for p in process.parents()):
                found.append(process)
    return found


def strike(installation: Installation, what: str) -> bool:
    """Kill one of `what`; False if none was there. PostgreSQL is stopped at once, as by a server's restart."""
    if what == "postgres":
        pid = int((installation.home / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        return True
    if what == "vault":
        candidates = [
            p for p in psutil.process_iter(["cmdline", "environ"])
            if (p.info["cmdline"] or [])[1:3] == ["-m", "vault"]
            and str(installation.home) in ((p.info["environ"] or {}).get("VAULT_SOCKET") or "")
        ]  # fmt: skip
    else:
        candidates = tasks_running(installation)
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


def begin(installation: Installation) -> None:
    """Ask for the month of every source that is not at it."""
    for source in SOURCES:
        dag = f"ingest_dossiers_{source}"
        if not count(installation, f"select count(*) from dag_run where dag_id = '{dag}' and {UNDER_WAY}"):
            with contextlib.suppress(AssertionError):  # PostgreSQL is away: asked for again the next time
                installation.airflow("dags", "trigger", dag, "--conf", json.dumps({"period": PERIOD}))


def test_a_month_disturbed_fifteen_times_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    calm = Installation.create(tmp_path / "calm")
    # So that a killed task is missed after one minute, not five: the proof is long enough.
    struck = Installation.create(
        tmp_path / "struck", AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT="60"
    )
    try:
        calm.ops("run", "--period", PERIOD)
        calm.ops("down")
        struck.ops("up")
        begin(struck)
        given = []
        for what in BLOWS:
            time.sleep(APART)
            # A scheduler that lost PostgreSQL lets its tasks end before it begins anew; by then all may be done.
            deadline = time.monotonic() + 900
            begin(struck)
            at_work = count(struck, f"select count(*) from dag_run where {UNDER_WAY}")
            while not strike(struck, what):
                begin(struck)
                at_work = count(struck, f"select count(*) from dag_run where {UNDER_WAY}")
                assert time.monotonic() < deadline, f"no {what} was there to be killed: {tasks(struck)}"
                time.sleep(5)
            given.append((what, at_work))
            print(*given[-1], tasks(struck), flush=True)
        deadline = time.monotonic() + 3600
        while count(struck, f"select count(*) from dag_run where {UNDER_WAY}"):
            assert time.monotonic() < deadline
            time.sleep(5)
        # Nearly every blow fell while something ran.
        assert sum(runs > 0 for _, runs in given) >= 12, given
        assert count(struck, "select count(*) from dag_run where state = 'failed'") == 0, tasks(struck)
        calm.ops("url")
        raw = {t: c for t, c in calm.checksums().items() if t.startswith(("raw.dossier", "raw.agency"))}
        assert len(raw) > 5
        assert {t: c for t, c in struck.checksums().items() if t in raw} == raw
        # What followed was begun by assets, and again after each load: it ends by itself.
        marts = [calm.rows(query) for query in FACTS]
        deadline = time.monotonic() + 1800
        while [struck.rows(query) for query in FACTS] != marts:
            assert time.monotonic() < deadline, "the marts never became equal"
            time.sleep(15)
        # What a killed task had begun to write stays hidden until a later landing takes it away.
        landed = list((struck.home / "landing").glob("*/[!.]*"))
        assert landed
        assert all((batch / "manifest.json").exists() for batch in landed)
    finally:
        calm.ops("down", check=False)
        struck.ops("down", check=False)
