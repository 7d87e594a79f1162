"""Deletions found from a real server's list of keys: what is marked, what is taken for an outage."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from connectors.base import Interval, PagingError
from ops import tasks
from ops.outcomes import NothingToDo, read_outcomes
from ops.settings import PROJECT, VIETNAM, Settings
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Sandbox, Server, Vault, start_vault, stop


def span(start: str, end: str) -> Interval:
    first, after = (dt.datetime.fromisoformat(t).replace(tzinfo=VIETNAM) for t in (start, end))
    return Interval(first, after)


@dataclass
class Chain:
    """One source of a warehouse of its own; what the DAG's tasks do to it."""

    settings: Settings
    code: str
    sandbox: Sandbox
    interval: Interval

    @property
    def address(self) -> tasks.Address:
        return tasks.Address(self.sandbox.base_url, CLIENT_ID, CLIENT_SECRET)

    def load(self) -> None:
        folder = tasks.pull(self.settings, self.code, self.interval, self.address)
        tasks.stage(self.settings, self.code, folder)
        tasks.load(self.settings, self.code, folder)

    def look(self) -> dict[str, Any]:
        """The details that `find_deletions` records."""
        with contextlib.suppress(NothingToDo):
            tasks.find_deletions(self.settings, self.code, self.interval, self.address)
        return read_outcomes(self.settings.home)[-1].details

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.warehouse_url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def write(self, statement: str) -> None:
        with psycopg.connect(self.settings.warehouse_url) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def some(self, count: int, where: str = "true") -> list[str]:
        """Identifiers of dossiers received in the interval."""
        day = f"received_at >= '{self.interval.start}' and received_at < '{self.interval.end}'"
        found = self.rows(
            f"select dossier_id from raw.dossier where {day} and {where} order by 1 limit {count}"
        )
        assert len(found) == count
        return [r[0] for r in found]

    def deleted(self) -> list[str]:
        return [
            r[0]
            for r in self.rows(
                "select dossier_id from raw.dossier_deletion where deleted_at is not null order by 1"
            )
        ]


def write_policy(chain: Chain, **policy: Any) -> None:
    """What the list of sources says of deletions, for the next call."""
    listed = yaml.safe_load((PROJECT / "ops" / "sources.yml").read_text())
    options = listed["sources"][chain.code]["options"]
    options |= {
        "margin_days": 0,
        "deletions": {"days": 1, "confirm_hours": 0, "at_least": 2, "share": 0, **policy},
    }
    chain.settings.sources_file.write_text(yaml.safe_dump(listed))


@contextlib.contextmanager
def installed(server: Server) -> Iterator[tuple[Settings, Vault]]:
    """A home with an empty warehouse, and a vault that serves it."""
    home = Path(tempfile.mkdtemp(prefix="kcd-"))  # a short path, so that the vault's socket fits in it
    vault = start_vault(server.new_database(), home / "own")
    (home / "vault").mkdir()
    (home / "vault" / "vault.sock").symlink_to(vault.client.socket)
    (home / "secrets").mkdir()
    (home / "secrets" / "vault-api").write_text(vault.client.token)
    given = {
        "KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": server.new_database(), "PATH": os.environ["PATH"],
        "KHOCHUNG_SOURCES": str(home / "sources.yml"),
    }  # fmt: skip
    yield Settings(given, dotenv=home / "no.env"), vault
    stop(vault.process)
    shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def loaded(server: Server, code: str, sandbox: Sandbox, interval: Interval) -> Iterator[Chain]:
    with installed(server) as (settings, _):
        chain = Chain(settings, code, sandbox, interval)
        write_policy(chain)
        chain.load()
        yield chain


MORNING = span("2025-06-30T08:00", "2025-06-30T08:10")


@pytest.fixture(scope="module")
def morning(server: Server, tien_giang: Sandbox) -> Iterator[Chain]:
    with loaded(server, "igate_tien_giang", tien_giang, MORNING) as chain:
        yield chain


@pytest.fixture
def made(morning: Chain, tien_giang: Sandbox) -> Chain:
    """Ten minutes of dossiers of which none is missing."""
    write_policy(morning)
    morning.rows("delete from raw.dossier_deletion returning 1")
    return morning


def comes_and_goes(made: Chain) -> None:
    held = made.look()
    assert held["held"] > 10
    assert held["missing"] == 0
    gone = made.some(2)
    made.sandbox.fault(fault="delete", ids=gone)
    assert (made.look()["waiting"], made.deleted()) == (2, [])
    assert made.look()["deleted"] == 2
    assert made.deleted() == gone
    number = made.rows("select max(load_number) from ops.load_log")[0][0]
    rung = made.rows(
        f"select distinct dossier_id from raw.dossier_change where load_number = {number} order by 1"
    )
    assert [r[0] for r in rung] == gone
    made.sandbox.fault(fault="clear")
    assert made.look()["restored"] == 2
    assert made.deleted() == []
    assert set(gone) <= {r[0] for r in made.rows("select dossier_id from raw.dossier")}


def test_a_dossier_missing_from_two_lists_is_deleted_and_comes_back_when_it_is_listed(made: Chain) -> None:
    comes_and_goes(made)


def test_so_it_is_with_a_source_that_lists_by_days(server: Server, dong_thap_cu: Sandbox) -> None:
    with loaded(server, "opencps_dong_thap", dong_thap_cu, span("2024-01-02", "2024-01-03")) as made:
        comes_and_goes(made)


def test_more_missing_than_allowed_is_an_outage_and_marks_nothing(made: Chain) -> None:
    made.sandbox.fault(fault="delete", ids=made.some(3))
    for _ in range(2):
        with pytest.raises(tasks.MassDeletion, match=r"3 of \d+ dossiers .* more than 2 count as an outage"):
            tasks.find_deletions(made.settings, made.code, made.interval, made.address)
    assert made.rows("select count(*) from raw.dossier_deletion") == [(0,)]
    everything = [r[0] for r in made.rows("select dossier_id from raw.dossier")]
    made.sandbox.fault(fault="delete", ids=everything)
    with pytest.raises(tasks.MassDeletion, match="nothing was marked"):
        tasks.find_deletions(made.settings, made.code, made.interval, made.address)


def test_the_share_of_the_list_of_sources_decides(made: Chain) -> None:
    write_policy(made, at_least=0, share=0.5)
    made.sandbox.fault(fault="delete", ids=made.some(5))
    assert made.look()["waiting"] == 5


def test_an_empty_list_marks_nothing_even_where_few_are_held(made: Chain) -> None:
    write_policy(made, at_least=10_000)
    connector = tasks.source(made.settings, made.code).connect(
        made.sandbox.base_url, CLIENT_ID, CLIENT_SECRET
    )
    day = span("2025-06-29", "2025-06-30T08:10")
    made.sandbox.fault(fault="delete", ids=connector.keys(day))  # type: ignore[attr-defined]
    with pytest.raises(tasks.MassDeletion, match="own list of 0"):
        tasks.find_deletions(made.settings, made.code, made.interval, made.address)
    assert made.rows("select count(*) from raw.dossier_deletion") == [(0,)]


def test_a_list_that_loses_a_page_marks_nothing(made: Chain) -> None:
    made.sandbox.fault(fault="drop_rows", mode="lose", calls=50)
    with pytest.raises(PagingError):
        tasks.find_deletions(made.settings, made.code, made.interval, made.address)
    assert made.rows("select count(*) from raw.dossier_deletion") == [(0,)]


def test_a_dossier_that_is_only_listed_under_another_day_is_not_deleted(made: Chain) -> None:
    ((moved, real),) = made.rows(
        "select dossier_id, received_at from raw.dossier where received_at < '2025-06-29' limit 1"
    )
    put = "update raw.dossier set received_at = '{}' where dossier_id = '{}' returning 1"
    made.rows(put.format("2025-06-30 08:05+07", moved))
    for _ in range(2):
        found = made.look()
        assert (found["missing"], found["listed_elsewhere"], found["deleted"]) == (1, 1, 0)
    made.rows(put.format(real, moved))
    assert made.rows("select count(*) from raw.dossier_deletion") == [(0,)]


def test_a_deleted_dossier_is_not_asked_for_any_more(made: Chain) -> None:
    gone = made.some(1, "status_code in ('1', '2', '3')")
    made.sandbox.fault(fault="delete", ids=gone)
    folder = Path(tasks.pull(made.settings, made.code, made.interval, made.address))
    assert json.loads((folder / "manifest.json").read_text())["tables"]["dossier"]["rejected"] == 1
    made.look()
    made.look()
    folder = Path(tasks.pull(made.settings, made.code, made.interval, made.address))
    assert json.loads((folder / "manifest.json").read_text())["tables"]["dossier"]["rejected"] == 0


def test_what_came_later_than_the_margin_or_was_damaged_is_read_when_the_list_shows_it(
    server: Server, tien_giang: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    early, later = span("2025-06-26", "2025-06-26T08:10"), span("2025-06-26T08:10", "2025-06-26T08:30")
    tien_giang.clock("2025-06-26T08:10:00+07:00")
    tien_giang.fault(fault="late", rate=0.3, days=0.01)
    with loaded(server, "igate_tien_giang", tien_giang, early) as made:
        tien_giang.clock("2025-06-26T08:30:00+07:00")
        made.interval = later
        made.load()
        write_policy(made, share=0.5)
        found = made.look()
        late = [r[0] for r in made.rows("select dossier_id from ops.dossier_not_held order by 1")]
        assert len(late) == found["not_held"] > 3
        told = capsys.readouterr().out
        assert (
            f"{len(late)} dossiers of 26/06/2025 to 26/06/2025 are in the source's list and not in the"
            in told
        )
        assert "late or rejected; the next pull reads them" in told

        def held() -> set[str]:
            return {k for k in late if made.rows(f"select 1 from raw.dossier where dossier_id = '{k}'")}

        assert held() == set()
        # One of them is damaged: it is rejected alone, however few the interval has beside.
        tien_giang.fault(fault="impossible_date", ids=late[:1])
        made.interval = span("2025-06-26T08:29", "2025-06-26T08:30")
        made.load()
        assert held() == set(late[1:])
        tien_giang.fault(fault="clear")
        made.load()
        assert held() == set(late)
        folder = Path(tasks.pull(made.settings, made.code, made.interval, made.address))
        windows = json.loads((folder / "manifest.json").read_text())["windows"]
        assert not [w for w in windows if w["window"] == "listed by the source and not held"]
    tien_giang.clock("2025-12-31T23:59:59+07:00")


def test_days_that_were_never_pulled_are_told_and_not_pulled_as_late_ones(
    made: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    write_policy(made, days=3)
    made.rows("update ops.load_log set interval_start = '2025-06-29 00:00+07' returning 1")
    assert made.look()["not_held"] > 100
    assert "more than 2, so days are lacking. Pull these days again" in capsys.readouterr().out
    assert made.rows("select count(*) from ops.dossier_not_held") == [(0,)]


def test_a_source_that_lists_no_keys_is_told_so(made: Chain) -> None:
    with pytest.raises(tasks.TaskError, match="lists no keys"):
        tasks.find_deletions(made.settings, "national_portal", made.interval, made.address)


def test_days_without_dossiers_cost_no_call(made: Chain) -> None:
    nowhere = tasks.Address("http://127.0.0.1:9")
    with pytest.raises(NothingToDo):
        tasks.find_deletions(made.settings, made.code, span("2024-03-01", "2024-03-02"), nowhere)
    with pytest.raises(NothingToDo):
        tasks.find_deletions(made.settings, made.code, span("2025-08-01", "2025-08-02"), nowhere)


@pytest.mark.prove
def test_the_marts_leave_a_deleted_dossier_out_until_it_is_listed_again(made: Chain) -> None:
    def facts() -> list[list[tuple[Any, ...]]]:
        return [
            made.rows("select dossier_id, received_date, record_count from marts.fct_dossier order by 1"),
            made.rows("select dossier_id, step_no from marts.fct_dossier_step order by 1, 2"),
            made.rows("select sum(received) from open_data.dossier_results_monthly"),
            made.rows("select covered_date from intermediate.int_loads__covered_day order by 1"),
        ]

    tasks.build(made.settings)
    before = facts()
    gone = made.some(2)
    made.sandbox.fault(fault="delete", ids=gone)
    made.look()
    # What another rule would have made is kept while the rules are those of the last build, and goes with them.
    made.write("update marts.fct_dossier set supplement_count = 77")
    tasks.build(made.settings)
    assert facts() == before
    assert made.rows("select distinct supplement_count from marts.fct_dossier") == [(77,)]
    made.look()
    made.write("update ops.built_from set checksum = 'of other rules' where part = 'models'")
    tasks.build(made.settings)
    assert made.rows("select from marts.fct_dossier where supplement_count = 77") == []
    after = facts()
    for then, now in zip(before[:2], after[:2], strict=True):
        assert {r[0] for r in then} >= set(gone)
        assert [r for r in then if r[0] not in gone] == now
    made.sandbox.fault(fault="clear")
    made.look()
    tasks.build(made.settings)
    assert facts() == before
