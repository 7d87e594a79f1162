"""Rejects listed, repaired by a rule, replayed: real vault and PostgreSQL, dossiers damaged on their way."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson
import psycopg
import pyarrow.parquet as pq
import pytest
import yaml

from connectors.base import Interval
from connectors.dossiers import Detail
from connectors.igate import IGate
from landing.manifest import Manifest
from ops import rejects, tasks
from ops.outcomes import read_outcomes
from ops.services import SERVICES
from ops.settings import PROJECT, VIETNAM, Settings, SettingsError
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Sandbox, a_day_later, forget_readings, stop, wait_for
from vault.client import VaultClient, VaultRefused

SOURCE = "igate_tien_giang"
CANARY = "Nguyễn Thị Chim Hoàng Yến"
MORNING = Interval(
    dt.datetime(2025, 6, 30, 8, tzinfo=VIETNAM), dt.datetime(2025, 6, 30, 8, 6, tzinfo=VIETNAM)
)
ENTRY = {
    "title": "iGate", "connector": "tests.ops.test_rejects:Damaged", "kind": "dossiers", "connection": SOURCE,
    "origin": "simulated", "active_from": dt.date(2020, 1, 1), "schedule": "0 0 * * *", "options": {"margin_days": 0},
}  # fmt: skip
RULES: dict[str, dict[str, Any]] = {
    "date_with_dots": {"table": "dossier", "field": "due_at", "when": "no date", "then": {"parse": "%d.%m.%Y"}},
    "no_such_level": {
        "table": "dossier", "field": "service_level", "when": "allowed values",
        "then": {"values": {"toàn trình": "full"}},
    },
    "step_ends_on_no_date": {
        "table": "dossier_step", "field": "finished_at", "when": "no date", "then": {"take": "started_at"},
    },
    "step_due_on_no_date": {
        "table": "dossier_step", "field": "due_at", "when": "no date", "then": {"set": None},
    },
}  # fmt: skip
Damage = Callable[[dict[str, Any]], None]


class Damaged(IGate):
    """iGate whose answers are spoiled on their way, as careless clerks spoil them."""

    damage: ClassVar[dict[str, Damage]] = {}

    def read(self, content: bytes) -> Detail:
        """One dossier, damaged if it is to be."""
        record = orjson.loads(content)
        if record["id"] in self.damage:
            self.damage[record["id"]](record)
            content = orjson.dumps(record)
        return Detail.read(content, self._layout)


@dataclass
class Place:
    """An installation in which nothing was pulled yet."""

    settings: Settings
    vault: VaultClient
    address: tasks.Address

    def run(self, **damage: Damage) -> str:
        """Pull, stage, load, with these dossiers damaged; the batch."""
        Damaged.damage = damage
        folder = tasks.pull(self.settings, SOURCE, MORNING, self.address)
        tasks.stage(self.settings, SOURCE, folder)
        tasks.load(self.settings, SOURCE, folder)
        return Path(folder).name

    def ids(self) -> list[str]:
        """Dossiers there are, with three steps at least."""
        return [
            r[0]
            for r in self.rows(
                "select dossier_id from raw.dossier_step group by 1 having count(*) >= 3 order by 1 limit 9"
            )
        ]

    def empty(self) -> None:
        """As if nothing had been loaded."""
        self.rows("drop schema if exists raw, ops cascade; select 1")
        shutil.rmtree(self.settings.landing, ignore_errors=True)

    def rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.warehouse_url) as connection:
            cursor = connection.execute(query, given or None)  # type: ignore[call-overload]
            while cursor.nextset():
                pass
            return cursor.fetchall()

    def vault_rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.vault_database_url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def replay(self, **words: Any) -> list[rejects.Replay]:
        return rejects.replay(self.settings, self.vault, **words)

    def open(self) -> list[rejects.Reject]:
        return [r for r in rejects.all_rejects(self.settings, self.vault) if r.is_open]

    def rule(self, **rules: dict[str, Any]) -> None:
        self.settings.repairs_file.write_text(
            yaml.safe_dump(
                {
                    "rules": {
                        n: {"source": SOURCE, "why": "Biên bản 12/BB-TTDL", **r} for n, r in rules.items()
                    }
                }
            )
        )


@pytest.fixture(scope="module")
def installation(server: Any, tien_giang: Sandbox) -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="kcr-"))
    (home / "sources.yml").write_text(yaml.safe_dump({"sources": {SOURCE: ENTRY}}, allow_unicode=True))
    settings = Settings(
        {
            "PATH": os.environ["PATH"], "KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": server.new_database(),
            "VAULT_DATABASE_URL": server.new_database(), "KHOCHUNG_SOURCES": str(home / "sources.yml"),
            "KHOCHUNG_REPAIRS": str(home / "repairs.yml"),
        },
        dotenv=home / "no.env",
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "vault"], cwd=PROJECT, env=SERVICES["vault"].environment(settings)
    )
    try:
        wait_for(lambda: SERVICES["vault"].healthy(settings))
        address = tasks.Address(tien_giang.base_url, CLIENT_ID, CLIENT_SECRET)
        yield Place(settings, VaultClient(settings.vault_socket, settings.vault_token), address)
    finally:
        stop(process)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def whole(installation: Place) -> dict[str, list[tuple[Any, ...]]]:
    """What the warehouse holds where nothing is damaged, by dossier."""
    installation.run()
    found: dict[str, list[tuple[Any, ...]]] = {i: [] for i in installation.ids()}
    for i in found:
        found[i] = content(installation, i)
    installation.empty()
    return found


@pytest.fixture
def place(installation: Place, whole: Any) -> Iterator[Place]:
    installation.rule(**RULES)
    yield installation
    Damaged.damage = {}
    installation.empty()
    shutil.rmtree(installation.settings.home / "outcomes", ignore_errors=True)
    with psycopg.connect(installation.settings.vault_database_url) as connection:
        connection.execute("truncate quarantine")
    forget_readings(installation.settings.vault_database_url)


def content(place: Place, dossier: str) -> list[tuple[Any, ...]]:
    """A dossier's rows of three tables, without what is of the load."""
    return [
        row
        for query in (
            "select to_jsonb(d) - '{_batch_id,_load_number,_pulled_at}'::text[] from raw.dossier d "
            "where dossier_id = %s",
            "select to_jsonb(s) - '{_batch_id,_load_number,_pulled_at}'::text[] from raw.dossier_step s "
            "where dossier_id = %s order by step_no",
            "select to_jsonb(p) - '{_batch_id,_load_number,_pulled_at}'::text[] from raw.dossier_paper p "
            "where dossier_id = %s order by paper_no",
        )
        for row in place.rows(query, dossier)
    ]


def dots(record: dict[str, Any]) -> None:
    """The due date as another clerk writes it, and a name by which a leak is known."""
    day = dt.datetime.fromisoformat(record["appointmentDate"]).astimezone(VIETNAM)
    record["appointmentDate"] = f"{day:%d.%m.%Y}"
    record["applicant"]["data"]["ownerFullname"] = CANARY


def test_a_reject_is_listed_repaired_and_replayed_once(place, whole, capsys):
    first = next(iter(whole))
    batch = place.run(**{first: dots})
    assert content(place, first) == []
    before = place.open()
    assert {(r.table, r.field, r.batch) for r in before} >= {
        ("dossier", "due_at", batch),
        ("dossier_step", "", batch),
    }

    lines = rejects.listing(before, rejects.checked_rules(place.settings), dt.datetime.now(dt.UTC))
    (line,) = [one for one in lines if " due_at " in one]
    for word in (SOURCE, "dossier", "no date that exists", batch, "0 d", "date_with_dots"):
        assert word in line
    assert line.split()[-3:] == ["1", "0", "0"]

    (dry,) = place.replay(dry_run=True)
    assert (dry.read, dry.repaired, dry.still, dry.landed) == (1, 1, {}, None)
    assert place.open() == before
    assert content(place, first) == []

    (done,) = place.replay()
    assert (done.replay_of, done.table, done.repaired) == (batch, "dossier", 1)
    manifest = Manifest.read(place.settings.landing / SOURCE / str(done.landed))
    assert manifest.replay_of == batch
    assert manifest.origin == "simulated"
    assert manifest.pulled_at == Manifest.read(place.settings.landing / SOURCE / batch).pulled_at
    assert (manifest.tables["dossier"].announced, manifest.tables["dossier"].landed) == (1, 1)
    assert len(content(place, first)) == len(whole[first]), "the dossier with its steps and papers"
    day = place.rows(
        "select due_at at time zone 'Asia/Ho_Chi_Minh' from raw.dossier where dossier_id = %s", first
    )
    assert day[0][0].time() == dt.time()
    assert place.open() == [], "its steps and papers were settled with it"
    assert {r.replayed_by for r in rejects.all_rejects(place.settings, place.vault)} == {done.landed}

    loads = place.rows("select count(*) from ops.load_log")
    assert place.replay() == []
    assert place.rows("select count(*) from ops.load_log") == loads
    # Each of the two readings is recorded under its rule, before the answer.
    assert place.vault_rows(
        "select purpose, basis, outcome, count(*)::int from audit where asked like 'rule date_with_dots, %' "
        "group by 1, 2, 3"
    ) == [("reject_repair", "Biên bản 12/BB-TTDL", "disclosed", 2)]
    told = capsys.readouterr()
    outcomes = json.dumps([o.details for o in read_outcomes(place.settings.home)], ensure_ascii=False)
    for text in (
        told.out,
        told.err,
        outcomes,
        "\n".join(lines),
        repr(done),
        manifest.to_json(),
        repr(before),
    ):
        assert "Hoàng Yến" not in text
    for path in place.settings.landing.rglob("*.parquet"):
        assert "Hoàng Yến" not in str(pq.read_table(path).to_pylist())


def test_a_step_is_replayed_alone_and_its_neighbours_stay(place, whole):
    second = list(whole)[1]

    def no_date(record: dict[str, Any]) -> None:
        record["task"][1]["completedDate"] = "31/02/2025"

    place.run(**{second: no_date})
    assert [(r.table, r.field) for r in place.open()] == [("dossier_step", "finished_at")]
    assert len(content(place, second)) == len(whole[second]) - 1
    (done,) = place.replay()
    assert done.loaded["written"] == 1
    assert len(content(place, second)) == len(whole[second])
    assert place.rows(
        "select finished_at = started_at from raw.dossier_step where dossier_id = %s order by step_no", second
    )[1] == (True,)


def test_what_the_source_sent_right_in_the_meantime_is_not_overwritten(place, whole):
    first, second = list(whole)[:2]

    def no_date(record: dict[str, Any]) -> None:
        record["task"][0]["dueDate"] = "31/02/2025"

    place.run(**{first: dots, second: no_date})
    place.run()
    assert content(place, first) == whole[first]
    done = place.replay()
    assert [r.loaded["written"] for r in done] == [0, 0]
    assert content(place, first) == whole[first], "the source's own, not the older one with the changed name"
    assert content(place, second) == whole[second]
    assert place.open() == []


def test_what_a_rule_does_not_help_stays_a_reject(place, whole):
    first, second = list(whole)[:2]

    def worse(record: dict[str, Any]) -> None:
        record["appointmentDate"] = "mai mốt"

    place.run(**{first: dots, second: worse})
    (done,) = place.replay()
    assert (done.read, done.repaired) == (2, 1)
    assert list(done.still.values()) == [1]
    assert "mai mốt" not in repr(done)
    assert [r.field for r in place.open() if r.table == "dossier"] == ["due_at"]
    assert content(place, second) == []
    assert content(place, first) != []
    # Nothing is landed for nothing.
    loads = place.rows("select count(*) from ops.load_log")
    (done,) = place.replay()
    assert (done.read, done.repaired, done.landed) == (1, 0, None)
    assert place.rows("select count(*) from ops.load_log") == loads


def test_the_second_fault_of_a_record_is_repaired_by_its_own_rule(place, whole):
    first = next(iter(whole))

    def twice(record: dict[str, Any]) -> None:
        dots(record)
        record["procedureLevel"]["code"] = "toàn trình"

    place.run(**{first: twice})
    assert place.replay(rule="date_with_dots") == [], "the level stands before the date"
    assert place.replay(rule="no_such_level")[0].repaired == 0
    assert [r.repaired for r in place.replay()] == [1]
    assert place.rows("select service_level from raw.dossier where dossier_id = %s", first) == [("full",)]


def test_a_child_that_is_wrong_itself_becomes_a_reject_of_the_replay(place, whole):
    first = next(iter(whole))

    def both(record: dict[str, Any]) -> None:
        dots(record)
        record["task"][1]["completedDate"] = "31/02/2025"

    batch = place.run(**{first: both})
    done = place.replay(rule="date_with_dots")
    assert len(content(place, first)) == len(whole[first]) - 1
    assert [(r.table, r.field, r.batch) for r in place.open()] == [
        ("dossier_step", "finished_at", done[0].landed)
    ]
    (done,) = place.replay()
    assert done.replay_of != batch
    assert len(content(place, first)) == len(whole[first])


def test_the_vault_gives_only_what_the_rule_covers(place, whole):
    first, second = list(whole)[:2]

    def officer(record: dict[str, Any]) -> None:
        record["task"][0]["dueDate"] = "31/02/2025"

    place.run(**{first: dots, second: officer})
    keys = [r.quarantined for r in place.open()]
    given = place.vault.read_rejects("date_with_dots", keys)
    assert [k[1:4:2] for k, p in zip(keys, given, strict=True) if p is not None] == [("dossier", "due_at")]
    with pytest.raises(VaultRefused, match=r"looked for the repair rule 'everything' in .*repairs.yml"):
        place.vault.read_rejects("everything", keys)
    place.rule()
    with pytest.raises(VaultRefused, match="it holds none"):
        place.vault.read_rejects("date_with_dots", keys)
    with pytest.raises(VaultRefused, match="at most 200"):
        place.vault.read_rejects("date_with_dots", keys[:1] * 201)


def test_what_a_rules_day_no_longer_allows_is_replayed_another_day(place, whole, monkeypatch):
    """Calls of one record each, so that the quota ends between two."""
    monkeypatch.setattr(rejects, "MOST_AT_ONCE", 1)
    damaged = list(whole)[:2]
    place.run(**dict.fromkeys(damaged, dots))
    place.rule(date_with_dots=RULES["date_with_dots"] | {"daily_quota": 1})
    (done,) = place.replay()
    assert (done.read, done.repaired, done.landed is None) == (1, 1, False)
    assert "0 of the 1 rejects a day of the repair rule date_with_dots are left" in done.spent
    assert len([r for r in place.open() if r.table == "dossier"]) == 1
    (done,) = place.replay()
    assert (done.read, done.landed) == (0, None)
    a_day_later(place.settings.vault_database_url)
    (done,) = place.replay()
    assert (done.repaired, done.spent) == (1, "")
    assert place.open() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "nowhere"}, "there is no source nowhere"),
        ({"table": "procedure"}, "has no table procedure"),
        ({"table": "agency"}, "rejects of agency of .* are not replayed; mend the source"),
        ({"field": "due"}, "has no column due"),
        ({"field": "dossier_id"}, "is of the key"),
        ({"field": "status_code", "then": {"set": None}}, "may not be empty"),
        ({"then": {"take": "nothing"}}, "has no column nothing"),
    ],
)
def test_a_rule_that_fits_nothing_is_an_error(place, changes, said):
    place.rule(one=RULES["date_with_dots"] | changes)
    with pytest.raises(SettingsError, match=said):
        place.replay()


def test_an_unknown_rule_is_named_with_those_there_are(place):
    with pytest.raises(SettingsError, match=r"looked for the repair rule 'x' in .*date_with_dots"):
        place.replay(rule="x")


def test_the_projects_own_rules_fit_its_sources():
    settings = Settings({"KHOCHUNG_HOME": "/nonexistent"}, dotenv=Path("/nonexistent/no.env"))
    assert rejects.checked_rules(settings)


def test_the_command_lists_and_replays_without_a_name(place, whole):
    first = next(iter(whole))
    place.run(**{first: dots})

    def ask(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ops", "rejects", *words], cwd=PROJECT, capture_output=True, text=True, check=False,
            env={**place.settings.given, "PYTHONPATH": str(PROJECT)}, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Hoàng Yến" not in done.stdout + done.stderr
        return done.stdout

    assert "date_with_dots" in ask()
    assert f"dossier_id={first}" in ask("show")
    assert "1 of 1 repaired by" in ask("replay")
