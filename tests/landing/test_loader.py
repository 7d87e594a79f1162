"""Loading into a real PostgreSQL: exactly once, only what changed, nothing lost, in any order and after kills."""

from __future__ import annotations

import datetime as dt
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from connectors.contract import contract
from connectors.typing import typed_column
from landing import loader
from landing.manifest import LandingError
from ops.settings import PROJECT
from tests.conftest import wait_for
from tests.landing.samples import (
    NOON,
    SPECS,
    bring,
    content,
    dossier,
    query,
    reject_of,
    step,
    steps_of,
    write,
)

LATER = NOON + dt.timedelta(hours=1)
MUCH_LATER = NOON + dt.timedelta(hours=2)


def counters(url: str) -> list[tuple[Any, ...]]:
    """PostgreSQL's own counts of rows written to raw, after its statistics were flushed."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_stat_force_next_flush()")
        connection.execute("select pg_stat_clear_snapshot()")
        return connection.execute(
            "select relname, n_tup_ins, n_tup_upd, n_tup_del from pg_stat_user_tables "
            "where schemaname = 'raw' order by 1"
        ).fetchall()


def settled_counters(url: str) -> list[tuple[Any, ...]]:
    """Counters once every other session has ended and reported."""
    with psycopg.connect(url, autocommit=True) as connection:
        wait_for(
            lambda: (
                connection.execute(
                    "select count(*) from pg_stat_activity where datname = current_database() "
                    "and backend_type = 'client backend' and pid <> pg_backend_pid()"
                ).fetchone()
                == (0,)
            )
        )
    return counters(url)


def places(url: str) -> list[tuple[Any, ...]]:
    return [
        row
        for spec in SPECS
        for row in query(
            url, f"select ctid::text, xmin::text, _load_number, _pulled_at from raw.{spec.name} order by 1"
        )
    ]


def changes(url: str, number: int) -> list[str]:
    rows = query(
        url, f"select distinct dossier_id from raw.dossier_change where load_number = {number} order by 1"
    )
    return [r[0] for r in rows]


def test_a_batch_becomes_rows_with_origin_batch_and_load_number(tmp_path, database):
    folder = write(tmp_path, [dossier(1), dossier(2)], [step(1, 1)])
    done = bring(database, folder)
    assert (done.load_number, done.already) == (1, False)
    assert vars(done.tables["dossier"]) == {
        "staged": 2, "inserted": 2, "updated": 0, "unchanged": 0, "removed": 0, "overtaken": 0}  # fmt: skip
    assert query(
        database, "select distinct _origin, _batch_id, _load_number, _pulled_at from raw.dossier"
    ) == [("simulated", folder.name, 1, NOON)]
    assert changes(database, 1) == ["d1", "d2"]
    assert query(
        database, "select batch_id, origin, counts -> 'dossier' ->> 'inserted' from ops.load_log"
    ) == [(folder.name, "simulated", "2")]
    assert query(database, "select received_at, status_name from raw.dossier where dossier_id = 'd1'") == [
        (NOON - dt.timedelta(hours=1), "Đang xử lý")
    ]


def test_a_batch_loads_exactly_once(tmp_path, database):
    folder = write(tmp_path, [dossier(1)], [step(1, 1)])
    bring(database, folder)
    before = settled_counters(database), places(database)
    assert loader.stage(database, folder, SPECS) == {}
    again = loader.load(database, folder, SPECS)
    assert (again.load_number, again.already, again.tables) == (1, True, {})
    assert (settled_counters(database), places(database)) == before
    assert query(database, "select count(*) from ops.load_log") == [(1,)]


def test_nothing_staged_is_left_behind(tmp_path, database):
    bring(database, write(tmp_path, [dossier(1)], [step(1, 1)]))
    assert query(database, "select tablename from pg_tables where schemaname = 'landing_stage'") == []


def test_pulling_the_same_rows_again_rewrites_none(tmp_path, database):
    rows = [dossier(n) for n in range(500)], [step(n, s) for n in range(500) for s in (1, 2, 3)]
    bring(database, write(tmp_path, *rows))
    before = settled_counters(database), places(database)
    assert {r[0]: r[1:] for r in before[0]}["dossier"] == (500, 0, 0)
    done = bring(database, write(tmp_path, *rows, pulled_at=LATER))
    assert (done.load_number, done.tables["dossier_step"].unchanged) == (2, 1500)
    assert (settled_counters(database), places(database)) == before
    assert changes(database, 2) == []


def test_a_changed_row_moves_alone(tmp_path, database):
    rows = [dossier(n) for n in range(20)]
    bring(database, write(tmp_path, rows, [step(n, 1) for n in range(20)]))
    before = settled_counters(database)
    rows[7] = dossier(7, status_code="5", completed_at=LATER)
    second = write(tmp_path, rows, [step(n, 1) for n in range(20)], pulled_at=LATER)
    done = bring(database, second)
    assert done.tables["dossier"].updated == 1
    moved = query(database, "select dossier_id, _batch_id from raw.dossier where _load_number = 2")
    assert moved == [("d7", second.name)]
    assert query(database, "select count(*) from raw.dossier_step where _load_number = 2") == [(0,)]
    assert changes(database, 2) == ["d7"]
    after = {r[0]: r[1:] for r in settled_counters(database)}
    assert after["dossier"] == (20, 1, 0)
    assert after["dossier_step"] == {r[0]: r[1:] for r in before}["dossier_step"]


def test_a_value_that_became_null_is_a_change(tmp_path, database):
    bring(database, write(tmp_path, [dossier(1)]))
    done = bring(database, write(tmp_path, [dossier(1, status_name=None)], pulled_at=LATER))
    assert done.tables["dossier"].updated == 1
    assert query(database, "select status_name from raw.dossier") == [(None,)]


def test_a_changed_step_alone_marks_its_dossier(tmp_path, database):
    bring(database, write(tmp_path, [dossier(1), dossier(2)], [step(1, 1), step(2, 1)]))
    done = bring(
        database,
        write(
            tmp_path, [dossier(1), dossier(2)], [step(1, 1, finished_at=LATER), step(2, 1)], pulled_at=LATER
        ),
    )
    assert (done.tables["dossier"].updated, done.tables["dossier_step"].updated) == (0, 1)
    assert changes(database, 2) == ["d1"]


def test_changes_an_earlier_version_noted_stay(tmp_path, database):
    with psycopg.connect(database) as connection:
        connection.execute("create schema raw")
        connection.execute(
            "create table raw.dossier_change (source_code text not null, dossier_id text not null, "
            "load_number bigint not null)"
        )
        connection.execute("insert into raw.dossier_change values (%s, 'gone', 7)", ("igate_tien_giang",))
    bring(database, write(tmp_path, [dossier(1)], [step(1, 1)]))
    assert changes(database, 7) == ["gone"]
    assert changes(database, 1) == ["d1"]


def test_steps_that_vanished_are_removed_and_noted(tmp_path, database):
    bring(database, write(tmp_path, [dossier(1), dossier(2)], [step(1, 1), step(1, 2), step(2, 1)]))
    done = bring(database, write(tmp_path, [dossier(1)], [step(1, 1)], pulled_at=LATER))
    assert done.tables["dossier_step"].removed == 1
    assert steps_of(database, 1) == [1]
    assert steps_of(database, 2) == [1], "a dossier that was not read again keeps its steps"
    assert changes(database, 2) == ["d1"]


def test_a_dossier_that_lost_all_its_steps_loses_them(tmp_path, database):
    bring(database, write(tmp_path, [dossier(1)], [step(1, 1), step(1, 2)]))
    done = bring(database, write(tmp_path, [dossier(1)], [], pulled_at=LATER))
    assert done.tables["dossier_step"].removed == 2
    assert changes(database, 2) == ["d1"]


def test_a_rejected_step_keeps_its_last_good_version(tmp_path, database):
    bring(database, write(tmp_path, [dossier(1)], [step(1, 1), step(1, 2), step(1, 3)]))
    # Step 2 was sent but broke its contract; step 3 was not sent any more.
    done = bring(database, write(tmp_path, [dossier(1)], [step(1, 1)], [reject_of(1, 2)], pulled_at=LATER))
    assert steps_of(database, 1) == [1, 2]
    assert done.tables["dossier_step"].removed == 1


def test_a_rejected_step_whose_number_is_unreadable_keeps_all_of_its_dossier(tmp_path, database):
    bring(database, write(tmp_path, [dossier(1), dossier(2)], [step(1, 1), step(1, 2), step(2, 1)]))
    bring(database, write(tmp_path, [dossier(1), dossier(2)], [], [reject_of(1, None)], pulled_at=LATER))
    assert steps_of(database, 1) == [1, 2]
    assert steps_of(database, 2) == [], "another dossier's steps are none of its business"


def test_an_older_pull_never_overwrites_a_newer_row(tmp_path, database):
    older = write(tmp_path, [dossier(1, status_code="2")], [step(1, 1), step(1, 9)], pulled_at=NOON)
    newer = write(tmp_path, [dossier(1, status_code="5")], [step(1, 1), step(1, 2)], pulled_at=LATER)
    bring(database, newer)
    done = bring(database, older)
    assert query(database, "select status_code, _pulled_at from raw.dossier") == [("5", LATER)]
    assert done.tables["dossier"].updated == 0
    assert 2 in steps_of(database, 1), "the newer pull's step was removed by the older one"


def test_a_batch_overtaken_by_a_later_pull_that_found_nothing_new_changes_nothing(tmp_path, database):
    first = write(tmp_path, [dossier(1, status_code="2")], [step(1, 1)], pulled_at=NOON)
    stale = write(
        tmp_path,
        [dossier(1, status_code="1"), dossier(2)],
        [step(1, 1), step(1, 2), step(2, 1)],
        pulled_at=LATER,
    )
    newest = write(tmp_path, [dossier(1, status_code="2")], [step(1, 1)], pulled_at=MUCH_LATER)
    bring(database, first)
    bring(database, newest)
    done = bring(database, stale)
    assert query(database, "select dossier_id, status_code from raw.dossier order by 1")[0] == ("d1", "2")
    assert steps_of(database, 1) == [1]
    assert steps_of(database, 2) == [1], "what only the stale batch has read is not lost"
    assert done.tables["dossier"].overtaken == 1
    assert done.tables["dossier_step"].overtaken == 2


def test_an_overtaken_batch_whose_overtaker_is_gone_asks_for_a_new_pull(tmp_path, database):
    stale = write(tmp_path, [dossier(1)], [step(1, 1)], pulled_at=NOON)
    newest = write(tmp_path, [dossier(1)], [step(1, 1)], pulled_at=LATER)
    bring(database, newest)
    shutil.rmtree(newest)
    with pytest.raises(LandingError, match=r"overtaken.*Clear the pull task"):
        bring(database, stale)


def test_two_loads_at_once_are_both_done_in_the_order_of_their_numbers(tmp_path, database):
    folders = [
        write(tmp_path, [dossier(n) for n in range(100 * b, 100 * b + 300)], [], pulled_at=NOON)
        for b in range(4)
    ]
    numbers: dict[int, int] = {}
    seen: list[int] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def work(b: int) -> None:
        try:
            numbers[b] = bring(database, folders[b]).load_number
        except BaseException as e:
            failures.append(e)

    def watch() -> None:
        # A number that becomes visible after a higher one would be a change nobody ever picks up.
        with psycopg.connect(database, autocommit=True) as connection:
            while not stop.is_set():
                if connection.execute("select to_regclass('ops.load_log')").fetchone() == (None,):
                    continue
                for (n,) in connection.execute("select load_number from ops.load_log order by 1"):
                    if n not in seen:
                        seen.append(n)

    watcher = threading.Thread(target=watch)
    watcher.start()
    workers = [threading.Thread(target=work, args=(b,)) for b in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
    time.sleep(0.2)
    stop.set()
    watcher.join(10)
    assert not failures
    assert sorted(numbers.values()) == [1, 2, 3, 4]
    assert seen == [1, 2, 3, 4]
    assert query(database, "select count(*) from raw.dossier") == [(600,)]


def test_the_same_batch_loaded_twice_at_once_is_loaded_once(tmp_path, database):
    folder = write(tmp_path, [dossier(n) for n in range(300)], [])
    loader.stage(database, folder, SPECS)
    done: list[loader.LoadOutcome] = []
    workers = [
        threading.Thread(target=lambda: done.append(loader.load(database, folder, SPECS))) for _ in range(3)
    ]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
    assert sorted(d.already for d in done) == [False, True, True]
    assert {d.load_number for d in done} == {1}


def test_loading_what_was_not_staged_says_so(tmp_path, database):
    folder = write(tmp_path, [dossier(1)])
    with psycopg.connect(database) as connection:
        loader.prepare(connection, SPECS)
    with pytest.raises(LandingError, match=r"is not staged \(table dossier\); clear the staging task"):
        loader.load(database, folder, SPECS)
    assert query(database, "select count(*) from ops.load_log") == [(0,)]


def test_loading_before_anything_was_prepared_says_so(tmp_path, database):
    with pytest.raises(LandingError, match=r"is not staged.*clear the staging task"):
        loader.load(database, write(tmp_path, [dossier(1)]), SPECS)


def test_a_stage_with_rows_missing_is_refused(tmp_path, database):
    folder = write(tmp_path, [dossier(1), dossier(2)])
    names = loader.stage(database, folder, SPECS)
    with psycopg.connect(database) as connection:
        connection.execute(f"delete from landing_stage.{names['dossier']} where dossier_id = 'd1'")
    with pytest.raises(LandingError, match=r"dossier has 1 staged rows, the manifest says 2"):
        loader.load(database, folder, SPECS)
    loader.stage(database, folder, SPECS)  # staging again mends it
    assert loader.load(database, folder, SPECS).tables["dossier"].inserted == 2


def test_stages_of_refused_batches_are_dropped_and_no_others(tmp_path, database):
    refused, waiting = write(tmp_path, [dossier(1)]), write(tmp_path, [dossier(2)])
    for folder in (refused, waiting):
        loader.stage(database, folder, SPECS)
    loader.drop_stale_stages(database, [refused.name])
    left = query(database, "select tablename from pg_tables where schemaname = 'landing_stage'")
    assert left == [(loader.staged_name(waiting.name, "dossier"),)]


_KILLED = """
import os, pathlib, signal, sys, time
from landing import loader
from tests.landing.samples import SPECS
url, folder, where = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
def die():
    print("here", flush=True)
    time.sleep(60)
if where == "in COPY":
    real = loader._reader
    def slow(*given):
        import pyarrow as pa
        reader = real(*given)
        def batches():
            for b in reader:
                yield b
                die()
        return pa.RecordBatchReader.from_batches(reader.schema, batches())
    loader._reader = slow
loader.stage(url, folder, SPECS)
loader.load(url, folder, SPECS, before_commit=die)
"""


@pytest.mark.parametrize("where", ["in COPY", "before commit"])
def test_killed_and_tried_again_the_content_is_that_of_an_undisturbed_run(tmp_path, server, where):
    undisturbed, killed = server.new_database(), server.new_database()
    first = write(tmp_path, [dossier(n) for n in range(50)], [step(n, s) for n in range(50) for s in (1, 2)])
    second = write(
        tmp_path, [dossier(n, status_code="5") for n in range(25, 75)], [step(n, 1) for n in range(25, 75)],
        pulled_at=LATER,
    )  # fmt: skip
    for url in (undisturbed, killed):
        bring(url, first)
    bring(undisturbed, second)
    before = content(killed)
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, killed, str(second), where],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert content(killed) == before, "half a load became visible"
    done = bring(killed, second)
    assert (done.load_number, done.already) == (2, False)
    assert content(killed) == content(undisturbed)
    assert query(killed, "select * from raw.dossier_change order by 1, 2, 3") == query(
        undisturbed, "select * from raw.dossier_change order by 1, 2, 3"
    )
    assert query(killed, "select tablename from pg_tables where schemaname = 'landing_stage'") == []


def test_nul_bytes_are_rejected_before_they_could_stop_a_copy():
    array, wrong = typed_column(["yên\x00lặng", "tốt"], contract("dossier").column("status_name"))
    assert array.to_pylist() == [None, "tốt"]
    assert "NUL" in wrong[0]


def test_naive_times_are_vietnamese_time_before_they_could_become_utc():
    array, wrong = typed_column(["2025-06-30 08:00:00"], contract("dossier").column("received_at"))
    assert not wrong
    assert array.type == pa.timestamp("us", "UTC")
    assert array[0].as_py() == dt.datetime(2025, 6, 30, 1, tzinfo=dt.UTC)
