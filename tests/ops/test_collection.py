"""A vault killed under a landing, a landing killed under a vault: nothing half lands, and what is left is collected."""

from __future__ import annotations

import datetime as dt
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from connectors.base import Interval
from landing.manifest import LandingError, Manifest
from ops import tasks
from ops.collection import LandingUnderWay, TooMuchUnused
from ops.outcomes import read_outcomes
from ops.services import SERVICES
from ops.settings import PROJECT, VIETNAM, Settings
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Sandbox, stop, wait_for
from vault import streams
from vault.client import VaultClient, VaultUnavailable

SOURCE = "igate_tien_giang"
#: Small chunks, so that a kill meets a batch of which some is sealed and some is not.
ENTRY = {
    "title": "iGate", "connector": "connectors.igate:IGate", "kind": "dossiers", "connection": SOURCE,
    "origin": "simulated", "active_from": dt.date(2020, 1, 1), "schedule": "0 0 * * *",
    "options": {"margin_days": 0, "chunk_size": 8},
}  # fmt: skip
# What a DAG's task does, in a process that can be killed.
PULL = """
import sys
from datetime import datetime
from connectors.base import Interval
from ops import tasks
from ops.settings import Settings
start, end = (datetime.fromisoformat(t) for t in sys.argv[1:3])
print(tasks.pull(Settings(), "igate_tien_giang", Interval(start, end), tasks.Address(*sys.argv[3:])))
"""


def minutes(first: int, after: int) -> Interval:
    """Of one morning."""
    start, end = (dt.datetime(2025, 6, 30, 8, m, tzinfo=VIETNAM) for m in (first, after))
    return Interval(start, end)


class Place:
    """An installation with its own warehouse and its own vault, whose process can be killed and started."""

    def __init__(self, settings: Settings, address: tasks.Address) -> None:
        self.settings = settings
        self.address = address
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vault"], cwd=PROJECT, env=SERVICES["vault"].environment(self.settings)
        )
        wait_for(lambda: SERVICES["vault"].healthy(self.settings))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pull(self, interval: Interval) -> Path:
        return Path(tasks.pull(self.settings, SOURCE, interval, self.address))

    def load(self, folder: Path) -> None:
        tasks.stage(self.settings, SOURCE, str(folder))
        tasks.load(self.settings, SOURCE, str(folder))

    def pulling(self, interval: Interval) -> subprocess.Popen:
        words = (interval.start, interval.end, self.address.base_url, CLIENT_ID, CLIENT_SECRET)
        return subprocess.Popen(
            [sys.executable, "-c", PULL, *map(str, words)], cwd=PROJECT, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        return {**self.settings.given, "PYTHONPATH": str(PROJECT)}

    def ops(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ops", *words], cwd=PROJECT, env=self.environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    def vault_rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.vault_database_url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def stored(self) -> set[str]:
        # Birth dates stand in no row, which keeps the year.
        query = "select reference from sealed_value where field <> 'applicant_birth_year'"
        return {r for (r,) in self.vault_rows(query)}

    def age(self) -> None:
        """As if all that is stored had been stored more than a week ago."""
        with psycopg.connect(self.settings.vault_database_url) as connection:
            connection.execute("update sealed_group set created_at = created_at - interval '8 days'")
            connection.execute("update sealed_dossier set stored_at = stored_at - interval '8 days'")

    def landed(self) -> list[Path]:
        home = self.settings.landing / SOURCE
        return sorted(p for p in home.iterdir()) if home.exists() else []

    def building(self) -> list[Path]:
        return [p for p in self.landed() if p.name[0] == "."]


def references(folder: Path) -> set[str]:
    found: set[str] = set()
    for entry in Manifest.read(folder).tables.values():
        for rows in pq.ParquetFile(folder / str(entry.file)).iter_batches():
            found |= set(streams.references(rows).to_pylist())
    return found


def content(folder: Path) -> dict[str, pa.Table]:
    """The rows of each file, in one order."""
    found = {}
    for name, entry in Manifest.read(folder).tables.items():
        table = pq.read_table(folder / str(entry.file))
        keys = [
            (n, "ascending") for n in table.column_names if pa.types.is_string(table.schema.field(n).type)
        ]
        found[name] = table.sort_by(keys)
    return found


@pytest.fixture
def place(server: Any, tien_giang: Sandbox) -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="kco-"))
    (home / "sources.yml").write_text(yaml.safe_dump({"sources": {SOURCE: ENTRY}}))
    settings = Settings(
        {
            "PATH": os.environ["PATH"], "KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": server.new_database(),
            "VAULT_DATABASE_URL": server.new_database(), "KHOCHUNG_SOURCES": str(home / "sources.yml"),
        },
        dotenv=home / "no.env",
    )  # fmt: skip
    made = Place(settings, tasks.Address(tien_giang.base_url, CLIENT_ID, CLIENT_SECRET))
    try:
        yield made
    finally:
        stop(made.process)
        shutil.rmtree(home, ignore_errors=True)


# --- killed -----------------------------------------------------------------------------------------


def killed_in_the_middle(place: Place) -> threading.Thread:
    """Kills the vault once it has stored something of the batch that is under way."""
    before = len(place.stored())

    def kill() -> None:
        while len(place.stored()) == before:
            time.sleep(0.005)
        place.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    return killer


def test_a_vault_killed_in_the_middle_of_a_batch_lets_nothing_half_land_and_the_retry_is_equal(
    place, monkeypatch
):
    monkeypatch.setattr(tasks, "VaultClient", functools.partial(VaultClient, patience=0.5))
    killer = killed_in_the_middle(place)
    with pytest.raises(VaultUnavailable, match="Nothing was landed"):
        place.pull(minutes(4, 10))
    killer.join()
    assert place.landed() == [], "neither a batch nor a half of one"
    half = place.stored() if place.start() is None else set()
    retried = place.pull(minutes(4, 10))
    assert references(retried) == place.stored()
    assert 0 < len(half) < len(place.stored()), "it was killed in the middle"
    assert half <= references(retried), "what was stored before the kill serves the retry"
    again = place.pull(minutes(4, 10))
    assert content(again) == content(retried)
    assert len(place.stored()) == len(references(retried))


def test_a_vault_that_comes_back_lets_the_batch_under_way_land_whole(place):
    killer = killed_in_the_middle(place)
    back = threading.Thread(target=lambda: (killer.join(), time.sleep(0.5), place.start()))
    back.start()
    landed = place.pull(minutes(4, 10))
    back.join()
    assert references(landed) == place.stored()
    assert content(landed) == content(place.pull(minutes(4, 10)))


# --- collected --------------------------------------------------------------------------------------


def killed_landing(place: Place, interval: Interval) -> None:
    """A pull that dies after something of it was sealed, and before it lands."""
    before = len(place.stored())
    process = place.pulling(interval)
    wait_for(lambda: len(place.stored()) > before or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the pull ended before the kill"
    # The vault may still be storing what it was asked for last.
    seen = -1
    while seen != (seen := len(place.stored())):
        time.sleep(1)


def test_what_a_crash_of_postgresql_emptied_is_staged_again(place):
    """Its staging tables are unlogged: before the gate and before the load they are filled again, without a hand."""
    folder = place.pull(minutes(0, 4))
    staged = tasks.stage(place.settings, SOURCE, str(folder))

    def emptied(statement: str) -> None:
        with psycopg.connect(place.settings.login_url("loader")) as connection:
            for name in staged.values():
                connection.execute(f"{statement} landing_stage.{name}")  # type: ignore[call-overload]

    emptied("truncate")
    assert tasks.check_landing(place.settings, SOURCE, staged)["passed"] > 10
    emptied("drop table")
    done = tasks.load(place.settings, SOURCE, str(folder))
    assert done["written"] == sum(t.landed for t in Manifest.read(folder).tables.values())
    assert tasks.load(place.settings, SOURCE, str(folder))["load_number"] == done["load_number"]


def test_what_a_killed_landing_left_is_collected_and_what_landed_opens(place):
    first = place.pull(minutes(0, 4))
    place.load(first)
    used = place.stored()
    killed_landing(place, minutes(4, 10))
    place.age()
    left = place.stored() - used
    assert left
    # With the birth dates of those of whom nothing landed.
    dates = place.vault_rows(
        "select g.holder from sealed_value v join sealed_group g on g.id = v.group_id "
        "where v.field = 'applicant_birth_year'"
    )
    unused = len(left) + sum(holder not in used for (holder,) in dates)
    stored = len(used | left) + len(dates)
    refused = place.ops("collect")
    assert refused.returncode == 1
    (building,) = place.building()
    assert f"being landed now: {SOURCE}/{building.name.removeprefix('.building-')}" in refused.stderr
    assert place.stored() == used | left
    with pytest.raises(LandingUnderWay):
        tasks.collect(place.settings)
    # No failure of the week's run: the next one does it.
    assert read_outcomes(place.settings.home)[-1].status == "skipped"

    hours_ago = time.time() - 7 * 3600
    os.utime(building, (hours_ago, hours_ago))
    counted = place.ops("collect", "--dry-run")
    assert counted.returncode == 0, counted.stderr
    assert f"{unused:,} of {stored:,} sealed values are named by none of 1 landed batches" in counted.stdout
    assert "without --dry-run it would be refused" in counted.stdout
    assert place.building() == []
    with pytest.raises(TooMuchUnused, match=rf"found {unused:,} of .* dossiers' links") as told:
        tasks.collect(place.settings)
    words = str(told.value).partition("-m ops ")[2].replace("<code>", "H20-0042").split()
    assert words[:2] == ["vault", "collect"]
    done = place.ops(*words)
    assert done.returncode == 0, done.stderr
    assert f"{unused:,} sealed values" in done.stdout
    assert place.stored() == used == references(first)
    assert place.vault_rows("select count(*) from sealed_group g where not exists (select from sealed_value v "
                            "where v.group_id = g.id)") == [(0,)]  # fmt: skip
    landed = {r["dossier_id"] for r in pq.read_table(first / "dossier.parquet").to_pylist()}
    assert {d for (d,) in place.vault_rows("select dossier_id from sealed_dossier")} == landed
    # Pulled after all, they are stored anew; and where everything is used, nothing goes.
    place.load(place.pull(minutes(4, 10)))
    place.age()
    assert tasks.collect(place.settings)["values"] == 0
    assert place.stored() >= used | left
    last = read_outcomes(place.settings.home)[-1]
    assert (last.step, last.status, last.details["batches"]) == ("collect", "success", 2)


def test_what_stands_in_raw_alone_is_in_use_and_so_is_what_stands_in_a_file_alone(place):
    loaded, landed = place.pull(minutes(0, 4)), place.pull(minutes(4, 10))
    place.load(loaded)
    place.age()
    shutil.rmtree(loaded)
    everything = place.stored()
    done = tasks.collect(place.settings)
    assert (done["unused"], done["batches"]) == (0, 1)
    assert place.stored() == everything == references(landed) | everything


def test_a_landing_folder_that_is_gone_is_no_reason_to_delete(place):
    folder = place.pull(minutes(4, 10))
    place.age()
    everything = place.stored()
    away = place.settings.home / "away"
    place.settings.landing.rename(away)
    with pytest.raises(LandingError, match="found no such folder"):
        tasks.collect(place.settings)
    place.settings.landing.mkdir()
    with pytest.raises(TooMuchUnused, match="nothing at all that is in use"):
        tasks.collect(place.settings)
    place.settings.landing.rmdir()
    away.rename(place.settings.landing)
    file = folder / "dossier_step.parquet"
    whole = file.read_bytes()
    for spoil in (file.unlink, lambda: file.write_bytes(whole[: len(whole) // 2])):
        spoil()
        with pytest.raises(LandingError, match=r"dossier_step\.parquet .*Restore the file"):
            tasks.collect(place.settings)
    file.write_bytes(whole)
    assert tasks.collect(place.settings)["unused"] == 0
    assert place.stored() == everything
