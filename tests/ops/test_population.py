"""Who is asked about, under what, how many a day, and what is left behind: with real vault, server and stand-ins."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import yaml

from connectors.base import Interval, SourceUnavailable
from connectors.contract import contract
from ops import population, tasks
from ops.outcomes import NothingToDo, read_outcomes
from ops.services import SERVICES
from ops.settings import PROJECT, VIETNAM, Settings, SettingsError
from sandbox.people import persons
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Sandbox, a_day_later, forget_readings, stop, wait_for
from vault.client import VaultClient

MORNING = Interval(dt.datetime(2025, 6, 30, 8, tzinfo=VIETNAM), dt.datetime(2025, 6, 30, 9, tzinfo=VIETNAM))
RECORD = {
    "document": "Thỏa thuận 12/TT-C06", "purpose": "citizen_check", "officer_code": "079-can-bo-0042",
    "daily_quota": 20, "valid_from": dt.date(2025, 6, 1), "valid_to": dt.date(2099, 12, 31),
}  # fmt: skip
SOURCES = {
    code: {
        "title": code, "connector": connector, "kind": kind, "connection": code, "origin": origin,
        "active_from": dt.date(2020, 1, 1), "schedule": "0 0 * * *", "options": {"margin_days": 0},
    }
    for code, connector, kind, origin in (
        ("igate_tien_giang", "connectors.igate:IGate", "dossiers", "simulated"),
        ("population", "connectors.population:Population", "population", "simulated"),
        ("population_real", "connectors.population:Population", "population", "real"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """One small installation whose dossiers are loaded."""

    settings: Settings
    population: Sandbox

    def agree(self, **changes: Any) -> None:
        self.settings.agreements.mkdir(exist_ok=True)
        text = yaml.safe_dump(RECORD | changes, allow_unicode=True)
        (self.settings.agreements / "citizen_check.yml").write_text(text)

    def check(self, code: str = "population") -> dict[str, Any]:
        """Ask, stage and load; what the outcome record holds of the asking."""
        folder = tasks.check_citizens(self.settings, code, self.address)
        tasks.stage(self.settings, code, folder)
        tasks.load(self.settings, code, folder)
        return [o for o in read_outcomes(self.settings.home) if o.step == "pull"][-1].details

    def address(self) -> tasks.Address:
        return tasks.Address(self.population.base_url, CLIENT_ID, CLIENT_SECRET)

    def due(self, code: str = "population") -> int:
        return population.due(self.settings, tasks.source(self.settings, code), 1)[1]

    def calls(self) -> int:
        found = requests.get(f"{self.population.base_url}/__sandbox__/calls", timeout=5).json()
        return sum(found.values())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.warehouse_url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def disclosed(self) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.vault_database_url) as connection:
            return connection.execute(
                "select subject, request_id, who from audit where outcome = 'disclosed' order by number"
            ).fetchall()

    def next_day(self) -> None:
        """As if what was read today had been read yesterday."""
        a_day_later(self.settings.vault_database_url)


@pytest.fixture(scope="module")
def loaded(server: Any, tien_giang: Sandbox, population: Sandbox) -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="kcn-"))
    (home / "sources.yml").write_text(yaml.safe_dump({"sources": SOURCES}, allow_unicode=True))
    settings = Settings(
        {
            "PATH": os.environ["PATH"], "KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": server.new_database(),
            "VAULT_DATABASE_URL": server.new_database(), "KHOCHUNG_SOURCES": str(home / "sources.yml"),
        },
        dotenv=home / "no.env",
    )  # fmt: skip
    vault = subprocess.Popen(
        [sys.executable, "-m", "vault"], cwd=PROJECT, env=SERVICES["vault"].environment(settings)
    )
    try:
        wait_for(lambda: SERVICES["vault"].healthy(settings))
        address = tasks.Address(tien_giang.base_url, CLIENT_ID, CLIENT_SECRET)
        folder = tasks.pull(settings, "igate_tien_giang", MORNING, address)
        tasks.stage(settings, "igate_tien_giang", folder)
        tasks.load(settings, "igate_tien_giang", folder)
        yield Place(settings, population)
    finally:
        stop(vault)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def place(loaded: Place) -> Place:
    """Nobody asked about yet, and no agreement."""
    shutil.rmtree(loaded.settings.agreements, ignore_errors=True)
    shutil.rmtree(loaded.settings.home / "outcomes", ignore_errors=True)
    with psycopg.connect(loaded.settings.warehouse_url) as connection:
        connection.execute("delete from raw.dossier where dossier_id like 'changed-%'")
        connection.execute("drop table if exists raw.citizen_check")
        connection.execute("delete from ops.load_log where source_code = 'population'")
    forget_readings(loaded.settings.vault_database_url)
    return loaded


def nothing(place: Place, said: str, code: str = "population") -> None:
    before = place.calls()
    with pytest.raises(NothingToDo, match=said):
        place.check(code)
    assert place.calls() == before
    last = read_outcomes(place.settings.home)[-1]
    assert (last.step, last.source, last.status) == ("pull", code, "skipped")


# --- off, until ------------------------------------------------------------------------------------


def test_without_an_agreement_nobody_is_asked_about_and_the_record_lacking_is_named(place: Place) -> None:
    path = place.settings.agreements / "citizen_check.yml"

    def nowhere() -> tasks.Address:
        raise AssertionError("switched off, the source needs no connection")

    with pytest.raises(NothingToDo, match=f"looked for the agreement record {path} .*KHOCHUNG_AGREEMENTS"):
        population.check_citizens(place.settings, "population", nowhere)
    nothing(place, "found none, so citizen_check is switched off")
    assert place.disclosed() == []


def test_an_agreement_that_has_ended_switches_off_again(place: Place) -> None:
    place.agree(valid_to=dt.date(2025, 6, 30))
    nothing(place, "in force from 2025-06-01 to 2025-06-30")
    assert place.disclosed() == []


def test_a_record_that_is_none_is_an_error_and_not_a_silent_off(place: Place) -> None:
    place.agree(daily_quota="nhiều")
    with pytest.raises(SettingsError, match=r"citizen_check\.yml: daily_quota is no int"):
        place.check()


def test_before_any_dossier_there_is_nobody_to_ask_about(place: Place, database: str) -> None:
    place.agree()
    given = {**place.settings.given, "WAREHOUSE_URL": database}
    empty = Settings(given, dotenv=place.settings.dotenv)
    with pytest.raises(NothingToDo, match="no dossiers are loaded yet"):
        population.check_citizens(empty, "population", place.address)


# --- whom, and how many -----------------------------------------------------------------------------


def test_the_quota_spreads_the_asking_over_days_until_everybody_has_an_outcome(place: Place) -> None:
    place.agree(daily_quota=50)
    everybody, before = place.due(), place.calls()
    assert 60 < everybody < 180, "an hour gives more than one day's quota and less than four"
    first = place.check()
    assert len(place.disclosed()) == 50
    assert place.calls() - before == 50, "one reading of the vault is one call"
    landed = first["tables"]["citizen_check"]["landed"]
    assert first["tables"]["citizen_check"]["announced"] == landed == sum(first["outcomes"].values())
    assert first["pending"] == place.due() == everybody - landed + first["outcomes"].get("pending", 0)
    nothing(
        place,
        f"the 50 readings a day of document Thỏa thuận 12/TT-C06 are used up; {place.due()} citizens stay",
    )
    for _ in range(4):
        place.next_day()
        if place.due() == 0:
            break
        place.check()
    nothing(place, "every citizen the dossiers name is checked already")
    outcomes = dict(
        place.rows("select outcome, count(distinct person_token) from raw.citizen_check group by 1")
    )
    assert outcomes["matched"] + outcomes.get("mismatch", 0) + outcomes.get("not_found", 0) == everybody
    answered = place.rows("select person_token from raw.citizen_check where outcome <> 'pending'")
    assert len(answered) == len(set(answered)) == everybody, "nobody is asked about twice"


def test_whom_the_dossier_system_has_verified_is_not_asked_about(place: Place) -> None:
    place.agree(daily_quota=500)
    place.check()
    held = {r[0] for r in place.rows("select applicant_id_number from raw.dossier where is_vneid_account")}
    asked = {r[0] for r in place.disclosed()}
    assert len(held) > 50
    assert asked
    assert not asked & held
    citizens = {
        r[0] for r in place.rows("select applicant_id_number from raw.dossier where applicant_type = 1")
    }
    assert asked == citizens - held - {None}
    companies = {
        r[0] for r in place.rows("select applicant_id_number from raw.dossier where applicant_type > 1")
    }
    assert companies
    assert not asked & companies


def test_a_new_name_is_a_new_question_and_an_old_one_is_not(place: Place) -> None:
    place.agree(daily_quota=500)
    place.check()
    assert place.due() == 0
    change(place, "changed-1", "Trần Văn Đổi Tên", "2025-06-30 23:00+07")
    assert place.due() == 1
    (person,), _ = population.due(place.settings, tasks.source(place.settings, "population"), 10)
    details = place.check()
    assert details["outcomes"] == {"mismatch": 1}
    assert place.due() == 0
    assert place.rows(
        "select count(*) from raw.citizen_check where person_token = " + quoted(person.token)
    ) == [(2,)]
    # An older dossier says nothing of the person now.
    change(place, "changed-2", "Lê Thị Ngày Xưa", "2024-01-01 08:00+07")
    assert place.due() == 0


def quoted(text: str) -> str:
    return "'" + text + "'"


def change(place: Place, dossier_id: str, name: str, received: str) -> None:
    """A further dossier of somebody asked about, under another name."""
    numbers = persons("tien_giang", MORNING.start, MORNING.end)["identity_number"]
    asked = {t for t, _, _ in place.disclosed()}
    number = next(n for n, t in zip(numbers, tokens(place, numbers), strict=True) if t in asked)
    row = {"source_code": "igate_tien_giang", "applicant_id_number": number, "applicant_name": name}
    sealed = vault_of(place).seal(as_batch(row)).to_pylist()[0]
    with psycopg.connect(place.settings.warehouse_url) as connection:
        connection.execute(
            "insert into raw.dossier select (jsonb_populate_record(d, %s::jsonb)).* from raw.dossier d "
            "where applicant_id_number = %s limit 1",
            (
                json.dumps({"dossier_id": dossier_id, "applicant_name": sealed["applicant_name"],
                            "received_at": received}), sealed["applicant_id_number"],
            ),
        )  # fmt: skip


def as_batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=contract("dossier").clear_schema)


def vault_of(place: Place) -> VaultClient:
    return VaultClient(place.settings.vault_socket, place.settings.vault_token)


def tokens(place: Place, numbers: list[str]) -> list[str]:
    sealed = vault_of(place).seal(as_batch(*({"applicant_id_number": n} for n in numbers)))
    return sealed.column("applicant_id_number").to_pylist()


def test_nobody_invented_is_asked_about_in_the_real_database(place: Place) -> None:
    place.agree()
    assert place.due() > 0
    nothing(place, "every citizen the dossiers name is checked already", "population_real")


def test_a_service_that_is_down_leaves_everybody_due(place: Place) -> None:
    place.agree()
    place.population.fault(fault="status", status=503, calls=10)
    everybody = place.due()
    with pytest.raises(SourceUnavailable, match="503, 3 times in a row"):
        place.check()
    assert place.due() == everybody


def test_what_was_answered_before_the_service_fell_silent_is_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.agree(daily_quota=500)
    everybody, readings = place.due(), iter(range(10**6))
    reading = VaultClient.disclose

    def disclose(vault: VaultClient, *asked: Any) -> Any:
        if next(readings) == 12:
            place.population.fault(fault="status", status=503, calls=3)
        return reading(vault, *asked)

    monkeypatch.setattr(VaultClient, "disclose", disclose)
    details = place.check()
    (note,) = details["notes"]
    assert "503, 3 times in a row" in note
    kept = details["tables"]["citizen_check"]["landed"]
    assert 5 < kept < 13
    assert place.due() == everybody - kept
    place.check()
    assert place.due() == 0
    assert place.rows("select count(*), count(distinct person_token) from raw.citizen_check") == [
        (everybody,) * 2
    ]


# --- what is left behind ----------------------------------------------------------------------------


def folded(text: str) -> str:
    plain = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    return " ".join("".join(c for c in plain if not unicodedata.combining(c)).lower().split())


def test_no_clear_value_is_left_anywhere_but_in_the_vault(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    place.agree(daily_quota=500)
    details = place.check()
    said = capfd.readouterr()
    home = place.settings.home
    texts = [said.out, said.err, json.dumps(details, ensure_ascii=False)]
    for path in [*home.glob("landing/population/**/*"), *home.glob("outcomes/**/*"), *home.glob("logs/**/*")]:
        if path.suffix == ".parquet":
            texts.append(str(pq.read_table(path).to_pylist()))
        elif path.is_file():
            texts.append(path.read_text())
    texts.append(str(place.rows("select * from raw.citizen_check")))
    texts.append(str(place.rows("select * from ops.load_log")))
    everything = folded("\n".join(texts))
    assert "population" in everything
    assert "matched" in everything
    served = persons("tien_giang", MORNING.start, MORNING.end)
    for kind in ("identity_number", "name", "birthday"):
        assert len(served[kind]) > 50
        # A name of one word, or two, may be anybody's word.
        leaked = [v for v in served[kind] if len(v) > 9 and folded(v) in everything]
        assert not leaked, kind
    assert RECORD["officer_code"] not in everything, "it may be a citizen's number"


def test_every_answer_leads_back_to_the_vaults_record_of_the_reading(place: Place) -> None:
    place.agree()
    place.check()
    checks = place.rows("select person_token, check_id from raw.citizen_check where operation is not null")
    readings = {(t, r) for t, r, _ in place.disclosed()}
    assert checks
    assert set(checks) <= readings
    assert {o for _, _, o in place.disclosed()} == {RECORD["officer_code"]}


def test_unchecked_persons_show_as_pending_and_as_many_as_are_due(place: Place) -> None:
    place.agree()
    folder = tasks.check_citizens(place.settings, "population", place.address)
    staged = tasks.stage(place.settings, "population", folder)
    assert tasks.check_landing(place.settings, "population", staged)["passed"] > 10
    tasks.load(place.settings, "population", folder)
    built = tasks._dbt(place.settings, [["build", "--select", "+int_citizens__check"]])
    assert built[0]["success"]
    shown = dict(
        place.rows(
            "select coalesce(basis, outcome), count(*) from intermediate.int_citizens__check "
            "where is_current group by 1"
        )
    )
    pending = place.rows(
        "select count(*) from intermediate.int_citizens__check where is_current and outcome = 'pending'"
    )
    assert pending == [(place.due(),)]
    ((held,),) = place.rows(
        "select count(distinct applicant_id_number) from raw.dossier where is_vneid_account"
    )
    assert shown["dossier_system"] == held
    ((citizens,),) = place.rows(
        "select count(distinct applicant_id_number) from raw.dossier where applicant_type = 1"
    )
    assert sum(shown.values()) == citizens
