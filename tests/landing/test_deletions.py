"""Dossiers that a source no longer lists, on a real PostgreSQL: two lists, reversible, loads undisturbed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from landing import loader
from landing.deletions import Marked, compare, first_received, mark, not_held, note_not_held

from .samples import NOON, SOURCE, SPECS, bring, content, dossier, query, write

START, END = NOON - dt.timedelta(days=1), NOON + dt.timedelta(hours=1)
NOW = dt.timedelta(0)
KEYS = {f"d{n}" for n in range(10)}


def held(tmp_path: Path, url: str, **changes: object) -> None:
    bring(url, write(tmp_path, [dossier(n, **changes) for n in range(10)]))


def listed(url: str, keys: set[str], gone: list[str], after: dt.timedelta = NOW) -> Marked:
    return mark(url, SOURCE, "simulated", START, keys, gone, after)


def marks(url: str) -> list[tuple[str, bool, int | None]]:
    return query(
        url, "select dossier_id, deleted_at is not null, load_number from raw.dossier_deletion order by 1"
    )


def changes(url: str, number: int) -> list[str]:
    rows = query(
        url, f"select distinct dossier_id from raw.dossier_change where load_number = {number} order by 1"
    )
    return [r[0] for r in rows]


def test_a_list_is_compared_with_the_dossiers_of_its_days_and_source_alone(tmp_path, database):
    early = [dossier(n, received_at=START - dt.timedelta(minutes=1)) for n in (20, 21)]
    late = [dossier(22, received_at=END)]
    bring(database, write(tmp_path, [*(dossier(n) for n in range(10)), *early, *late]))
    found = compare(database, SOURCE, START, END, [*(KEYS - {"d3", "d7"}), "x1"], ["d1", "x1"])
    assert (found.held, found.listed, found.missing, found.not_held) == (10, 9, ["d3", "d7"], ["x1"])
    note_not_held(database, SOURCE, ["x1", "d1"])
    assert not_held(database, SOURCE) == ["x1"], "what is held since is not asked for"
    note_not_held(database, SOURCE, [])
    assert not_held(database, SOURCE) == []
    assert compare(database, "igate_dong_thap", START, END, []).held == 0
    assert first_received(database, SOURCE, START, END) == NOON - dt.timedelta(hours=9)
    assert first_received(database, SOURCE, START, END, just_read=1) is None, "the source has just given them"
    assert first_received(database, SOURCE, END + dt.timedelta(hours=1), END + dt.timedelta(days=1)) is None


def test_an_empty_warehouse_holds_nothing_to_compare(database):
    assert first_received(database, SOURCE, START, END) is None


def test_missing_once_waits_and_missing_twice_is_deleted(tmp_path, database):
    held(tmp_path, database)
    before = content(database)
    first = listed(database, KEYS - {"d3"}, ["d3"])
    assert (first.waiting, first.deleted, first.load_number) == (1, 0, None)
    assert marks(database) == [("d3", False, None)]
    second = listed(database, KEYS - {"d3"}, ["d3"])
    assert (second.waiting, second.deleted, second.load_number) == (0, 1, 2)
    assert marks(database) == [("d3", True, 2)]
    assert changes(database, 2) == ["d3"]
    assert content(database) == before
    third = listed(database, KEYS - {"d3"}, ["d3"])
    assert (third.deleted, third.load_number) == (0, None)


def test_two_lists_close_together_count_as_one(tmp_path, database):
    held(tmp_path, database)
    for _ in range(2):
        done = listed(database, KEYS - {"d3"}, ["d3"], dt.timedelta(hours=12))
        assert done.deleted == 0
    assert marks(database) == [("d3", False, None)]


def test_listed_again_in_between_it_waits_anew(tmp_path, database):
    held(tmp_path, database)
    listed(database, KEYS - {"d3"}, ["d3"])
    assert listed(database, KEYS, []) == Marked()
    assert marks(database) == []
    assert listed(database, KEYS - {"d3"}, ["d3"]).deleted == 0


def test_a_deleted_dossier_that_is_listed_again_is_back_and_rings(tmp_path, database):
    held(tmp_path, database)
    for _ in range(2):
        listed(database, KEYS - {"d3", "d4"}, ["d3", "d4"])
    assert compare(database, SOURCE, START, END, KEYS - {"d3", "d4"}).missing == []
    done = listed(database, KEYS - {"d4"}, [])
    assert (done.restored, done.load_number) == (1, 3)
    assert changes(database, 3) == ["d3"]
    assert marks(database) == [("d4", True, 2)]


def test_the_load_log_shows_that_no_day_was_read(tmp_path, database):
    held(tmp_path, database)
    for _ in range(2):
        listed(database, KEYS - {"d3"}, ["d3"])
    rows = query(
        database,
        "select load_number, interval_start = interval_end, interval_start, counts from ops.load_log order by 1 desc",
    )
    counts = {"dossier_deletion": {"waiting": 0, "deleted": 1, "restored": 0}}
    assert rows[0] == (2, True, START, counts)
    assert len(rows) == 2


def test_a_batch_pulled_before_the_deletion_and_loaded_after_it_loads(tmp_path, database):
    held(tmp_path, database)
    waiting = write(
        tmp_path, [dossier(n, status_code="5") for n in range(3)], pulled_at=NOON + dt.timedelta(hours=1)
    )
    for _ in range(2):
        listed(database, KEYS - {"d3"}, ["d3"])
    loader.stage(database, waiting, SPECS)
    outcome = loader.load(database, waiting, SPECS)
    assert (outcome.load_number, outcome.tables["dossier"].updated) == (3, 3)


def test_marks_of_one_source_leave_another_alone(tmp_path, database):
    held(tmp_path, database)
    for _ in range(2):
        listed(database, KEYS - {"d3"}, ["d3"])
    assert mark(database, "igate_dong_thap", "simulated", START, KEYS, [], NOW) == Marked()
    assert marks(database) == [("d3", True, 2)]
