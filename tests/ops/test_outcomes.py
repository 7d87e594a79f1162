"""Outcome records: written whatever happens, loaded once, and what a run's summary makes of them."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.base import Interval
from expectations.results import GateFailed
from ops import tasks
from ops.outcomes import RUN_ID, NothingToDo, Outcome, _write, read_outcomes, recorded, store_outcomes
from ops.run import write_summary
from ops.settings import PROJECT, VIETNAM, Settings, parse_period
from ops.trouble import DatabaseTrouble
from tests.conftest import free_port


def settings(home: Path, **given: str) -> Settings:
    return Settings({"KHOCHUNG_HOME": str(home), **given}, dotenv=home / "no.env")


def fail(home: Path, error: BaseException, run_id: str = "r") -> None:
    with recorded(home, "load", "s", run_id) as outcome:
        outcome.details["landed"] = 7
        raise error


def test_a_success_is_recorded_with_its_details(tmp_path):
    with recorded(tmp_path, "pull", "s", "r1") as outcome:
        outcome.details["landed"] = 7
    (found,) = read_outcomes(tmp_path)
    assert (found.step, found.source, found.run_id, found.status, found.error) == (
        "pull",
        "s",
        "r1",
        "success",
        None,
    )
    assert found.details == {"landed": 7}
    assert 10 < found.peak_mib < 4096
    assert 0 <= found.seconds < 10
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("error", [ValueError("Số liệu không khớp"), KeyboardInterrupt(), SystemExit(3)])
def test_a_failure_is_recorded_and_goes_on(tmp_path, error):
    with pytest.raises(type(error)):
        fail(tmp_path, error)
    (found,) = read_outcomes(tmp_path)
    assert found.status == "failed"
    assert found.error == f"{type(error).__name__}: {error}"
    assert found.details == {"landed": 7}, "what was known before the failure"


def test_nothing_to_do_is_no_failure(tmp_path):
    with pytest.raises(NothingToDo):
        fail(tmp_path, NothingToDo("s holds no data"))
    assert read_outcomes(tmp_path)[0].status == "skipped"


def test_a_folder_that_cannot_be_written_does_not_hide_the_failure(tmp_path):
    (tmp_path / "outcomes").write_text("in the way")
    with pytest.raises(ValueError, match="the failure itself"):
        fail(tmp_path, ValueError("the failure itself"))


def test_a_task_whose_database_is_down_is_recorded(tmp_path):
    port = free_port()
    down = settings(tmp_path, WAREHOUSE_URL=f"postgresql://me:sesame-open@127.0.0.1:{port}/kho")
    with pytest.raises(DatabaseTrouble, match=r"does not answer.*WAREHOUSE_URL"):
        tasks.check_warehouse(down)
    with pytest.raises(DatabaseTrouble, match=r"does not answer.*WAREHOUSE_URL"):
        tasks.publish(down)
    found = read_outcomes(tmp_path)
    assert {(o.step, o.status) for o in found} == {("check_warehouse", "failed"), ("publish", "failed")}
    for outcome in found:
        assert str(port) in str(outcome.error)
        assert "sesame" not in str(outcome.error)


@pytest.mark.parametrize(
    ("dossiers", "procedures", "said"),
    [(0, 2600, "any dossiers was loaded"), (4000, 0, "any catalogue of procedures was loaded")],
)
def test_until_all_is_built_once_it_is_too_early_and_after_a_release_it_is_a_fault(
    tmp_path, database, dossiers, procedures, said
):
    with psycopg.connect(database) as connection:
        connection.execute("create schema marts")
        for table, rows in (("fct_dossier", dossiers), ("dim_procedure", procedures)):
            connection.execute(
                f"create table marts.{table} as select n as number, true as is_known "
                f"from generate_series(1, {rows}) as n"
            )
    here = settings(tmp_path, WAREHOUSE_URL=database)
    for step in (tasks.check_warehouse, tasks.publish):
        with pytest.raises(NothingToDo, match=said):
            step(here)
    assert {(o.step, o.status) for o in read_outcomes(tmp_path)} == {
        ("check_warehouse", "skipped"),
        ("publish", "skipped"),
    }
    (tmp_path / "open-data" / "current").mkdir(parents=True)
    with pytest.raises(GateFailed):
        tasks.check_warehouse(here)


def test_a_pull_without_its_vault_is_recorded_with_what_to_do(tmp_path):
    interval = Interval(*(dt.datetime(2025, 6, d, tzinfo=VIETNAM) for d in (29, 30)))
    with pytest.raises(Exception, match="start the vault"):
        tasks.pull(settings(tmp_path), "igate_tien_giang", interval, tasks.Address("http://127.0.0.1:1"))
    (found,) = read_outcomes(tmp_path)
    assert (found.step, found.source, found.status) == ("pull", "igate_tien_giang", "failed")
    assert found.details["interval"] == ["2025-06-29T00:00:00+07:00", "2025-06-30T00:00:00+07:00"]


def test_an_unknown_source_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(tasks.TaskError, match=r"looked for source 'nowhere' in .*it lists igate_tien_giang"):
        tasks.source(settings(tmp_path), "nowhere")


def test_a_killed_step_leaves_no_half_record(tmp_path):
    code = (
        "import os, pathlib, sys\nfrom ops.outcomes import recorded\n"
        "with recorded(pathlib.Path(sys.argv[1]), 'a'): pass\n"
        "with recorded(pathlib.Path(sys.argv[1]), 'b'): os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT, check=False)
    assert done.returncode == -9
    assert [o.step for o in read_outcomes(tmp_path)] == ["a"]


def test_records_are_read_by_run_and_half_ones_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv(RUN_ID, "from-environment")
    with recorded(tmp_path, "a"):
        pass
    with recorded(tmp_path, "b", run_id="other"):
        pass
    (folder,) = (tmp_path / "outcomes").iterdir()
    (folder / "9-cut.json").write_text('{"step": "c", "sou')
    assert [o.step for o in read_outcomes(tmp_path)] == ["a", "b"]
    assert [o.step for o in read_outcomes(tmp_path, "from-environment")] == ["a"]


def record(home: Path, moment: str, step: str) -> None:
    _write(home, Outcome(step, "s", "r", f"{moment}+00:00", f"{moment}+00:00", "success"))


def held(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [r[0] for r in connection.execute("select step from ops.outcome order by started_at, step")]


def test_records_are_stored_once(tmp_path, database):
    with pytest.raises(ValueError, match="x"):
        fail(tmp_path, ValueError("x"))
    with recorded(tmp_path, "build"):
        pass
    assert store_outcomes(tmp_path, database) == 2
    assert store_outcomes(tmp_path, database) == 0
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "select step, source_code, status, error, details ->> 'landed' from ops.outcome where step = 'load'"
        ).fetchone()
    assert row == ("load", "s", "failed", "ValueError: x", "7")


def test_a_record_that_arrives_late_is_stored_all_the_same(tmp_path, database):
    record(tmp_path, "2025-06-30T10:00:00.000", "pull")
    record(tmp_path, "2025-07-01T00:05:00.000", "load")
    assert store_outcomes(tmp_path, database) == 2
    record(tmp_path, "2025-07-01T00:01:00.000", "stage")
    # A build that began before midnight and ended after the next day's first record was stored.
    record(tmp_path, "2025-06-30T23:50:00.000", "build")
    assert store_outcomes(tmp_path, database) == 2
    assert held(database) == ["pull", "build", "stage", "load"]


def test_two_at_once_store_each_record_once(tmp_path, database):
    for n in range(30):
        record(tmp_path, f"2025-07-01T00:{n:02d}:00.000", f"s{n:02d}")
    code = (
        "import pathlib, sys\nfrom ops.outcomes import store_outcomes\n"
        "print(store_outcomes(pathlib.Path(sys.argv[1]), sys.argv[2]))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), database],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    counts = [int(p.communicate(timeout=60)[0]) for p in both]
    assert sum(counts) == 30
    assert len(held(database)) == 30


def summary(settings: Settings, run_id: str, period: str, seconds: float) -> dict[str, Any]:
    written = write_summary(settings, run_id, parse_period(period), seconds)
    assert written is not None
    return json.loads(written.read_text())


def test_the_summary_tells_each_step_of_its_run_and_no_other(tmp_path):
    with recorded(tmp_path, "pull", "s", "r1") as outcome:
        outcome.details["tables"] = {"dossier": {"announced": "unknown", "landed": 7}}
    with pytest.raises(ValueError, match="x"):
        fail(tmp_path, ValueError("x"), "r1")
    with recorded(tmp_path, "build", None, "r2"):
        pass
    found = settings(tmp_path)
    body = summary(found, "r1", "2025-06-30", 12.34)
    assert (body["run_id"], body["period"], body["seconds"]) == ("r1", "2025-06-30/2025-06-30", 12.3)
    assert body["succeeded"] is False
    assert [s["step"] for s in body["steps"]] == ["pull", "load"]
    assert body["steps"][0]["tables"] == {"dossier": {"announced": "unknown", "landed": 7}}
    assert body["steps"][1]["error"] == "ValueError: x"
    assert summary(found, "r2", "2024", 1)["succeeded"] is True
    assert summary(found, "r3", "2024", 1)["succeeded"] is False
    assert not list(tmp_path.glob("*.tmp"))
