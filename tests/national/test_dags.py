"""The two DAGs by their own tasks, as Airflow would run them: what each parameter does, and what the clock does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ops import national
from ops.settings import PROJECT
from tests.conftest import CLIENT_ID, CLIENT_SECRET
from tests.national.place import CODES, NAMES, Place

# A process of its own, as of every task: Airflow reads its settings at import.
RUN = """
import json, sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])  # as Airflow's own processes do
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.execution_time.context import set_current_context
bag = DagBag(dag_folder=sys.argv[1])
for dag_id, run_type, params in json.loads(sys.argv[2]):
    task = bag.dags[dag_id].leaves[0] if run_type == "its last task" else bag.dags[dag_id].roots[0]
    asked = {name: bag.dags[dag_id].params[name] for name in bag.dags[dag_id].params}
    assert params.keys() <= asked.keys(), params
    context = {"params": asked | params, "run_id": "test", "dag_run": SimpleNamespace(run_type=run_type)}
    with set_current_context(context):
        try:
            told = task.python_callable()
        except Exception as e:
            told = {"raised": f"{type(e).__name__}: {e}"}
    print("TOLD" + json.dumps(told))
"""
SYNC, RECONCILE = "sync_national_portal", "reconcile_national_portal"


def told(place: Place, *runs: tuple[str, str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What each run's task returned; and what they printed is held against the persons of the dossiers."""
    host = urlsplit(place.exchange)
    connection = f"http://{CLIENT_ID}:{quote(CLIENT_SECRET)}@{host.hostname}:{host.port}"
    home = place.settings.home
    env = place.settings.child_env() | place.environment | {
        "AIRFLOW_CONN_NATIONAL_EXCHANGE": connection,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/none.db",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"sqlite+aiosqlite:///{home}/none.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(PROJECT / "dags"), json.dumps(runs)],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert not [name for name in NAMES if name in done.stdout + done.stderr]
    return [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("TOLD")]


def test_the_tasks_send_compare_backfill_and_show_without_doing(place):
    place.load()
    place.load(status_code=5, numbers=[4])
    dry, hourly, built, again, month, asked, not_explained, compared = told(
        place,
        (SYNC, "manual", {"dry_run": True}),
        (SYNC, "scheduled", {}),
        (SYNC, "asset_triggered", {}),
        (SYNC, "asset_triggered", {}),
        (SYNC, "manual", {"period": "2025-07"}),
        (RECONCILE, "manual", {"dry_run": True, "period": "2025-07-02"}),
        (RECONCILE, "its last task", {"dry_run": True}),
        (RECONCILE, "manual", {"period": "2025-07-02"}),
    )
    assert dry["dry_run"] == {"insert": 6, "progress": 12}
    assert not any(name in Path(dry["file"]).read_text() for name in NAMES)
    assert hourly["left"]["dossier"] == {"accepted": 1, "waiting": 5}
    assert built["left"] == {"dossier": {"accepted": 6}, "progress": {"accepted": 12}}
    assert (again["calls"], month["calls"]) == ({}, {})
    assert month["planned"]["read"] == 6
    assert asked["dry_run"] == {"look_up": 6}
    assert not_explained["raised"].startswith("AirflowSkipException: a dry run")
    assert compared["looked_up"] == {"same": 6}
    assert len(place.held(CODES[0])["items"]) == 1


def test_stopped_the_tasks_are_skipped_and_nothing_is_planned_or_called(place):
    place.load()
    place.export()
    national.command(place.settings, "stop", "cổng bảo trì đến 8 giờ")
    before = place.calls()
    for one in told(
        place, (SYNC, "scheduled", {}), (SYNC, "manual", {"period": "2025"}), (RECONCILE, "scheduled", {})
    ):
        assert one["raised"].startswith("AirflowSkipException: ")
        assert "bảo trì" in one["raised"]
    assert (place.world.states(), place.calls()) == ({}, before)
    assert place.world.rows("select count(*) from national.comparison") == [(0,)]
