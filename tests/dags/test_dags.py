"""The DAG files as Airflow reads them: what is there, how it is guarded, which intervals it runs for."""

from __future__ import annotations

import ast
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ops.settings import PROJECT, Settings
from ops.sources import read_sources

EXPECTED = {
    "build_warehouse",
    "collect_unused",
    "publish_open_data",
    "reconcile_national_portal",
    "sync_national_portal",
    "write_forms",
} | {
    f"ingest_{s.kind}" + f"_{s.code}" * (s.kind not in ("national_portal", "population"))
    for s in read_sources(PROJECT / "ops" / "sources.yml").values()
}
#: Not by the clock, but when dossiers were loaded.
AFTER_DOSSIERS = {"ingest_population"}
# A process of its own: Airflow reads its settings at import, and must not find this process's.
READ = """
import json, sys
sys.path.insert(0, sys.argv[1])  # as Airflow's own processes do
from airflow.dag_processing.dagbag import DagBag
import pendulum
bag = DagBag(dag_folder=sys.argv[1])
out = {"errors": {k: str(v) for k, v in bag.import_errors.items()}, "dags": {}}
for dag in bag.dags.values():
    entry = {
        "doc": bool((dag.doc_md or "").strip()), "tags": sorted(dag.tags), "owner": dag.owner,
        "dagrun_timeout": dag.dagrun_timeout.total_seconds() if dag.dagrun_timeout else None,
        "max_active_runs": dag.max_active_runs, "catchup": dag.catchup, "params": list(dag.params),
        "tasks": {
            t.task_id: {
                "timeout": t.execution_timeout.total_seconds() if t.execution_timeout else None, "retries": t.retries,
                "backoff": bool(t.retry_exponential_backoff), "outlets": sorted(a.name for a in t.outlets),
                "downstream": sorted(t.downstream_task_ids),
            }
            for t in dag.tasks
        },
    }
    out["dags"][dag.dag_id] = entry
from airflow.serialization.encoders import coerce_to_core_timetable
from airflow.timetables.base import TimeRestriction
for dag in bag.dags.values():
    timetable = coerce_to_core_timetable(dag.timetable)
    if dag.dag_id.endswith("_national_portal") and not dag.dag_id.startswith("ingest_"):
        entry = out["dags"][dag.dag_id]
        entry["after"] = sorted(key.name for key, _ in timetable.asset_condition.iter_assets())
        entry["runs"], last = [], None
        for _ in range(3):
            info = timetable.next_dagrun_info(
                last_automated_data_interval=last,
                restriction=TimeRestriction(pendulum.datetime(2025, 7, 1, tz="Asia/Ho_Chi_Minh"), None, True))
            last = info.data_interval
            entry["runs"].append(info.run_after.in_timezone("Asia/Ho_Chi_Minh").strftime("%m-%d %H:%M"))
    if dag.dag_id.startswith("ingest_") and "period" in dag.params:
        day = pendulum.datetime(2025, 6, 29, tz="Asia/Ho_Chi_Minh")
        infos = []
        last = None
        for _ in range(3):
            info = timetable.next_dagrun_info(
                last_automated_data_interval=last, restriction=TimeRestriction(day, None, True))
            last = info.data_interval
            infos.append([info.data_interval.start.isoformat(), info.data_interval.end.isoformat()])
        out["dags"][dag.dag_id]["intervals"] = infos
print("JSON" + json.dumps(out))
"""


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict:
    home = tmp_path_factory.mktemp("dags-home")
    settings = Settings({"KHOCHUNG_HOME": str(home), "PATH": "/usr/bin:/bin"}, dotenv=home / "no.env")
    env = settings.child_env() | {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/none.db",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"sqlite+aiosqlite:///{home}/none.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    done = subprocess.run(
        [sys.executable, "-c", READ, str(PROJECT / "dags")],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "JSON" in done.stdout, done.stderr[-3000:]
    return json.loads(done.stdout.split("JSON", 1)[1])


def test_every_dag_is_there_and_no_file_fails(bag: dict) -> None:
    assert bag["errors"] == {}
    assert set(bag["dags"]) == EXPECTED


def test_every_dag_is_explained_and_bounded(bag: dict) -> None:
    for dag_id, dag in bag["dags"].items():
        assert dag["doc"], dag_id
        assert dag["tags"], dag_id
        assert dag["owner"] == "kho-chung", dag_id
        assert dag["dagrun_timeout"], dag_id
        assert dag["max_active_runs"] == 1, dag_id
        assert dag["catchup"] is False, dag_id


def test_every_task_has_timeout_retries_and_backoff(bag: dict) -> None:
    for dag_id, dag in bag["dags"].items():
        assert dag["tasks"], dag_id
        for task_id, task in dag["tasks"].items():
            assert task["timeout"], (dag_id, task_id)
            assert task["retries"] >= 1, (dag_id, task_id)
            assert task["backoff"], (dag_id, task_id)


def test_an_ingest_dag_pulls_stages_checks_and_only_then_loads(bag: dict) -> None:
    for dag_id in (d for d in EXPECTED if d.startswith("ingest_")):
        tasks = bag["dags"][dag_id]["tasks"]
        after = ["find_deletions"] if dag_id.startswith("ingest_dossiers_") else []
        assert set(tasks) == {"pull", "stage", "check", "load", *after}
        assert tasks["check"]["downstream"] == ["load"]
        assert tasks["load"]["downstream"] == after
        assert all(
            tasks[t]["outlets"] == tasks["load"]["outlets"] and not tasks[t]["downstream"] for t in after
        )
        assert tasks["load"]["outlets"], "only a finished load rings the doorbell"
        assert bag["dags"][dag_id]["params"] == ([] if dag_id in AFTER_DOSSIERS else ["period"])


def test_every_ingest_interval_is_a_whole_day_in_vietnamese_time(bag: dict) -> None:
    timed = {d for d in EXPECTED if d.startswith("ingest_")} - AFTER_DOSSIERS
    assert timed == {d for d, dag in bag["dags"].items() if "intervals" in dag}
    for dag_id in timed:
        intervals = [[dt.datetime.fromisoformat(m) for m in i] for i in bag["dags"][dag_id]["intervals"]]
        for start, end in intervals:
            assert start < end
            assert end - start == dt.timedelta(days=1)
            assert (start + dt.timedelta(hours=7)).strftime("%H:%M") == "00:00" or start.hour == 0
        assert intervals[0][1] == intervals[1][0], "no gap between two days"


def test_a_dag_file_is_wiring_and_reads_in_a_minute() -> None:
    for path in sorted((PROJECT / "dags").glob("*.py")):
        lines = path.read_text().splitlines()
        if path.name != "wiring.py":
            assert len(lines) <= 60, path.name
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = (
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                )
                for name in names:
                    top = name.split(".")[0]
                    assert top not in (
                        "dbt",
                        "great_expectations",
                        "pyarrow",
                        "pandas",
                        "connectors",
                        "vault",
                    ), f"{Path(path).name} imports {name} at its top level, which every parse pays"


def test_the_way_to_the_national_portal_runs_each_morning_after_each_build_and_hourly(bag: dict) -> None:
    compare, send = (bag["dags"][f"{d}_national_portal"] for d in ("reconcile", "sync"))
    assert (compare["after"], compare["runs"]) == ([], ["07-01 06:00", "07-02 06:00", "07-03 06:00"])
    assert (send["after"], send["runs"]) == (
        ["kho-chung/warehouse"],
        ["07-01 00:30", "07-01 01:30", "07-01 02:30"],
    )
    assert compare["tasks"]["reconcile_national"]["downstream"] == ["explain_national"]
    assert send["after"][0] in {
        o for task in bag["dags"]["build_warehouse"]["tasks"].values() for o in task["outlets"]
    }
    # Backfill, and what would be done without doing it.
    assert {"period", "dry_run"} <= set(compare["params"]) & set(send["params"])
