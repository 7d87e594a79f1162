"""A whole installation after its main job, Airflow's database and the releases included, holds no person either.

test_leaks.py searches what the first steps leave; here the real DAGs run, citizens are checked under an agreement,
dossiers go to the national portal and are compared with its copy, and every database but the vault's is dumped.
"""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import html
import json
import pickle
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import requests
import yaml

from ops import postgres
from ops.services import Supervisor, sandbox_ports
from ops.settings import PROJECT, VIETNAM
from sandbox.generator import agencies
from sandbox.people import persons
from tests.e2e.canaries import CANARIES, DROPPED, GOOD, canary_server
from tests.e2e.installation import Installation
from tests.e2e.test_leaks import (
    FIELDS,
    SEARCHED,
    Needles,
    cells,
    files,
    fold,
    opened,
    revealed,
    search,
    workbook,
)

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1800)]
#: Each world, and the days of it that the period holds.
DAYS = {
    "tien_giang": ("2025-06-30", "2025-07-01"),
    "dong_thap_cu": ("2025-06-30", "2025-07-01"),
    "dong_thap": ("2025-07-01", "2025-07-02"),
}
#: Free text and what belongs to files; looked for where a person's name stands in it.
FREE = ("subject_line", "note", "file_name", "file_url")
DATABASES = {"khochung", "khochung_airflow", "postgres", "template1"}


@dataclass(frozen=True)
class Whole:
    """An installation whose PostgreSQL still runs, and what its commands printed."""

    installation: Installation
    said: str

    def places(self) -> Iterator[tuple[str, set[str]]]:
        yield from files(self.installation.home)
        for database in sorted(DATABASES):
            yield f"dump of {database}", dump(self.installation, database)
        yield "the console", set(self.said.splitlines())


def dump(installation: Installation, database: str) -> set[str]:
    """Cells of everything a database holds, and what its statistics keep of them."""
    url = postgres.admin_url(installation.settings).rpartition("/")[0] + f"/{database}"
    done = subprocess.run(
        [postgres.command("pg_dump")[-1], "--statistics", url], capture_output=True, text=True, check=True
    )
    texts: set[str] = set()
    # Frequencies of common values are fractions, whose digits may be anybody's number by chance.
    lines = [line for line in done.stdout.splitlines() if "'most_common_freqs'" not in line]
    for cell in {c for line in lines for c in line.split("\t")}:
        if cell.startswith(r"\\x"):
            texts.update(opened(bytes.fromhex(cell[3:])))
        else:
            texts.add(cell.replace(r"\n", "\n").replace(r"\t", "\t"))
    return cells(texts)


def sources(home: Path, name: str, wanted: dict) -> str:
    path = home / name
    path.write_text(yaml.safe_dump({"sources": wanted}, allow_unicode=True))
    return str(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    home = tmp_path_factory.mktemp("whole")
    listed = yaml.safe_load((PROJECT / "ops" / "sources.yml").read_text())["sources"]
    for entry in listed.values():
        if entry["kind"] == "dossiers":
            entry["options"] |= {"margin_days": 0}
    canary = {**listed["igate_tien_giang"], "title": "canary", "connection": "canary"}
    (home / "agreements").mkdir()
    today = dt.datetime.now(VIETNAM).date()
    for purpose, quota in (("citizen_check", 150), ("national_sync", 5000)):
        record = {
            "document": "Thỏa thuận 12/TT-C06", "purpose": purpose, "officer_code": "H20.14-0042",
            "daily_quota": quota, "valid_from": today, "valid_to": today,
        }  # fmt: skip
        (home / "agreements" / f"{purpose}.yml").write_text(yaml.safe_dump(record))
    ours = {"writer": "warehouse", "since": dt.date(2025, 7, 1), "decision": "CV 1/UBND"}
    writers = {"default": {"writer": "dossier_system"}, "units": {"H20": ours}}
    (home / "writers.yml").write_text(yaml.safe_dump(writers))
    with canary_server(bad=18) as broken, canary_server(bad=1) as good:
        connections = {
            f"AIRFLOW_CONN_{name}": url.replace("//", "//me:canary-secret@")
            for name, url in (("CANARY_BROKEN", broken), ("CANARY", good))
        }
        place = Installation.create(
            home,
            PERIOD="2025-06-30/2025-07-01",
            KHOCHUNG_NATIONAL_WRITERS=str(home / "writers.yml"),
            **connections,
        )
        try:
            place.ops("url")  # PostgreSQL stays, to be dumped
            refused = {"canary_broken": {**canary, "connection": "canary_broken"}}
            place.environment["KHOCHUNG_SOURCES"] = sources(home, "broken.yml", refused)
            said = place.ops("run", check=False)
            assert "BatchRefused" in said, said[-3000:]
            place.environment["KHOCHUNG_SOURCES"] = sources(home, "all.yml", {**listed, "canary": canary})
            yield Whole(place, said + place.ops("run") + to_the_portal(place))
        finally:
            place.ops("down", check=False)


def to_the_portal(place: Installation) -> str:
    """Send what is ours to the national portal, then compare its operator's export; what the two DAGs printed."""
    Supervisor(place.settings).start(["postgres", "vault", "sandbox-national-exchange"])
    said = place.airflow("dags", "test", "sync_national_portal")
    port = sandbox_ports(place.settings)["national_exchange"]
    answer = requests.get(f"http://127.0.0.1:{port}/__sandbox__/export", timeout=60)
    answer.raise_for_status()
    place.settings.national_exports.mkdir(parents=True)
    (place.settings.national_exports / "copy.csv").write_bytes(answer.content)
    return said + place.airflow("dags", "test", "reconcile_national_portal")


def public(needles: Needles) -> set[tuple[str, str]]:
    """Values that are also the name of a place, an agency or a procedure, or words of the project's own descriptions.

    "Nguyên văn bằng" (the wording by ...) of a column's description is spelt like a man's name.
    """
    texts = [*files(PROJECT / "sandbox" / "data"), *files(PROJECT / "dbt")]
    texts += [(world, {a.name for a in agencies(world)}) for world in DAYS]
    return set(search(needles, texts))


def test_nothing_of_a_whole_installation_but_its_vault_holds_a_person(whole):
    through_the_vault = revealed(whole.installation)  # type: ignore[arg-type]
    served: dict[str, set[str]] = {}
    for world, days in DAYS.items():
        first, past = (dt.datetime.fromisoformat(d).replace(tzinfo=VIETNAM) for d in days)
        for kind, values in persons(world, first, past).items():
            served.setdefault(SEARCHED.get(kind, kind), set()).update(values)
    for kind in ("identity number", "phone", "e-mail", "address"):
        assert len(served[kind]) > 700
        assert served[kind] <= through_the_vault[kind], kind
    needles = Needles()
    for kind in set(FIELDS.values()):
        for value in served.get(kind, set()) | through_the_vault.get(kind, set()):
            if (
                len(fold(value)) >= 8
                and fold(value) != "000000001"
                and (" " in fold(value) or not kind.endswith("name"))
            ):
                needles.add(kind, [value])
    named = Needles()
    named.add("name", [v for k in ("name", "file_name") for v in served[k] if len(fold(v)) >= 12])
    for kind in FREE:
        texts = [v for v in through_the_vault[kind] if len(fold(v)) >= 20 and named.found_in(v)]
        needles.add(kind, texts)
        assert texts or kind not in ("subject_line", "file_name"), kind
    # Days of birth as sources and databases write them; without separators they are numbers of other things, too.
    for day, month, year in (v.split("/") for v in served["birth date"]):
        if (day, month) != ("01", "01"):  # the year alone is known
            needles.add("birthday", [f"{day}/{month}/{year}", f"{year}-{month}-{day}"])
    for kind, value in (CANARIES | DROPPED).items():
        needles.add(kind, [value])
    known = public(needles)
    assert not [kind for kind, value in known if kind in ("identity number", "phone", "e-mail", "address")]
    assert not {fold(v) for v in CANARIES.values()} & {value for _, value in known}
    assert needles.count - len(known) > 10_000
    found = {hit: places for hit, places in search(needles, whole.places()).items() if hit not in known}
    # Names of classes and places alone: a failing test must not tell who.
    assert sorted({(kind, place) for (kind, _), places in found.items() for place in places}) == []


def test_every_place_that_was_searched_holds_something_of_the_run(whole):
    place = whole.installation
    assert place.rows("select count(*) from raw.dossier where source_code = 'canary'") == [(GOOD,)]
    ((asked,),) = place.rows("select count(*) from raw.citizen_check")
    assert asked > 50
    ((accepted,),) = place.rows("select count(*) from national.dossier where state = 'accepted'")
    assert accepted > 100
    ((compared,),) = place.rows("select count(*) from national.comparison")
    assert compared > 0
    assert place.release()
    names = {name for name, texts in whole.places() if texts}
    for start in (
        "dossier.parquet:", "rejects.parquet:", "outcomes/", "data-docs/", "dbt/target/manifest.json",
        "dbt/logs/dbt.log",
        "open-data/releases/", "logs/vault.log", "national/reconciliation-",
        "run-summary.json", *(f"dump of {d}" for d in DATABASES),
    ):  # fmt: skip
        assert any(name.startswith(start) for name in names), start
    assert any("igate_dong_thap" in cell for cell in dump(place, "khochung_airflow")), "XComs of its tasks"
    with psycopg.connect(postgres.admin_url(place.settings)) as connection:
        there = {
            r[0] for r in connection.execute("select datname from pg_database where datallowconn").fetchall()
        }
    assert there == {*DATABASES, "khochung_vault"}, "the vault's alone is not searched"


def test_a_canary_planted_in_any_of_the_places_is_found(whole):
    """Last of the tests here: it leaves what it planted."""
    needles = Needles()
    wanted: set[tuple[str, str]] = set()
    folder = whole.installation.home
    server = postgres.admin_url(whole.installation.settings).rpartition("/")[0]
    with (
        psycopg.connect(f"{server}/khochung") as marts,
        psycopg.connect(f"{server}/khochung_airflow") as airflow,
    ):
        marts.execute("create table marts.planted (kind text, value bytea)")
        for number, (kind, value) in enumerate(CANARIES.items()):
            needles.add(kind, [value])
            entities = html.escape(value).encode("ascii", "xmlcharrefreplace")
            planted = {
                f"landing/planted{number}.json": json.dumps({"x": value}).encode(),
                f"dbt/target/planted{number}.json": json.dumps(json.dumps({"x": value})).encode(),
                f"data-docs/planted{number}.html": b"<td>" + entities + b"</td>",
                f"open-data/releases/000001/planted{number}.xlsx": workbook(value),
                f"logs/planted{number}.log.1": gzip.compress(f"failed on {value.upper()}: stop".encode()),
                f"outcomes/planted{number}.json": fold(value).encode(),
            }
            for name, data in planted.items():
                (folder / name).write_bytes(data)
            marts.execute("insert into marts.planted values (%s, %s)", (kind, pickle.dumps({"x": value})))
            airflow.execute(
                "insert into log (dttm, event, extra) values (now(), %s, %s)",
                (kind, base64.b64encode(pickle.dumps([value])).decode()),
            )
            wanted |= {(kind, place) for place in (*planted, "dump of khochung", "dump of khochung_airflow")}
    found = {(kind, p) for (kind, _), places in search(needles, whole.places()).items() for p in places}
    assert wanted - found == set()
