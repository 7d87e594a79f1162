"""Nothing outside the vault holds a person: everything is decoded, then searched for every value served."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import psycopg
import pyarrow.parquet as pq
import pytest
import requests
import yaml

from ops.services import SERVICES
from ops.settings import PROJECT, VIETNAM, Settings
from sandbox.people import persons
from sandbox.reference import rows
from tests.conftest import CLIENT_ID, CLIENT_SECRET, stop, wait_for
from tests.e2e.canaries import CANARIES, GOOD, canary_server
from vault.keys import FileKeys
from vault.store import Setup, Store

#: A whole cell that is a token or a reference holds nothing else.
SEALED = re.compile(r"(id1|ref1)_[0-9a-f]{32}")
PREFIX = 8


# --- the search -------------------------------------------------------------------------------------


def fold(text: str) -> str:
    """Lower case, no marks, words parted by one blank: one form for as-is, upper case and unmarked text."""
    plain = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    bare = "".join(c for c in plain if not unicodedata.combining(c)).lower()
    return " ".join(bare.replace("_", " ").split())


def unwrapped(text: str) -> Iterator[str]:
    """The text, and what is inside JSON escapes, URL encoding and base64 in it."""
    yield text
    if "\\u" in text:
        yield re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
    if "%" in text:
        yield unquote_plus(text)
    if "\\x" in text:
        yield re.sub(r"(?:\\x[0-9a-fA-F]{2})+", _unhex, text)
    for run in re.findall(r"[A-Za-z0-9+/_-]{8,}={0,2}", text):
        try:
            inner = base64.b64decode(run.replace("-", "+").replace("_", "/") + "==")
            yield inner.decode()
        except (binascii.Error, UnicodeDecodeError):
            continue


def _unhex(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("\\x", "")).decode(errors="replace")


@dataclass
class Needles:
    """Values to look for, by class; a common start of eight letters is looked up, then the rest compared."""

    by_start: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    count: int = 0

    def add(self, kind: str, values: Iterable[str]) -> None:
        for value in values:
            for form in forms(kind, value):
                folded = fold(form)
                # Eight letters or digits are what one may call a value of one person.
                assert len(folded) >= PREFIX, (kind, len(folded))
                self.by_start.setdefault(folded[:PREFIX], []).append((kind, folded))
                self.count += 1

    def found_in(self, text: str) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        folded = fold(text)
        for at in range(len(folded) - PREFIX + 1):
            for kind, value in self.by_start.get(folded[at : at + PREFIX], ()):
                end = at + len(value)
                if folded[at:end] == value and not (
                    folded[at - 1 : at].isalnum() or folded[end : end + 1].isalnum()
                ):
                    found.add((kind, value))
        return found


def forms(kind: str, value: str) -> Iterator[str]:
    yield value
    if kind == "birth date":
        day, month, year = value.split("/")
        yield from (
            f"{year}-{month}-{day}",
            f"{day}-{month}-{year}",
            f"{year}{month}{day}",
            f"{year}/{month}/{day}",
        )


def search(needles: Needles, places: Iterable[tuple[str, set[str]]]) -> dict[tuple[str, str], set[str]]:
    """{(class, value): places} of everything found."""
    found: dict[tuple[str, str], set[str]] = {}
    known: dict[str, set[tuple[str, str]]] = {}  # most cells stand in Parquet, in raw and in statistics
    for place, texts in places:
        for text in texts:
            if text not in known:
                known[text] = {hit for inner in unwrapped(text) for hit in needles.found_in(inner)}
            for hit in known[text]:
                found.setdefault(hit, set()).add(place)
    return found


# --- where to look ----------------------------------------------------------------------------------


def files(home: Path) -> Iterator[tuple[str, set[str]]]:
    """Every file below `home`, decoded, but the vault's own keys."""
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.is_relative_to(home / "vault"):
            continue
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            for name in table.column_names:
                yield f"{path.name}:{name}", cells(table.column(name).to_pylist())
            yield f"{path.name} metadata", {str(pq.read_schema(path)), str(pq.read_metadata(path))}
        else:
            yield str(path.relative_to(home)), set(path.read_bytes().decode(errors="replace").splitlines())


def tables(url: str) -> Iterator[tuple[str, set[str]]]:
    """Every column of every table of a database as text, and what its statistics keep of them."""
    with psycopg.connect(url) as connection:
        relations = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in "
            "('pg_catalog', 'information_schema')"
        ).fetchall()
        assert ("raw.dossier",) in relations
        for (name,) in [*relations, ("pg_catalog.pg_stats",)]:
            cursor = connection.execute(f"select * from {name}")
            rows = cursor.fetchall()
            for at, column in enumerate(cursor.description or ()):
                yield f"{name}.{column.name}", cells(row[at] for row in rows)


def cells(values: Iterable[Any]) -> set[str]:
    return {t for t in {str(v) for v in values if v is not None} if not SEALED.fullmatch(t)}


@dataclass
class Home:
    """State of one small installation."""

    settings: Settings
    environment: dict[str, str]
    warehouse: str
    server_log: Path

    def run(self, sealed: bool, code: str, url: str, login: str, start: str, end: str, secret: str) -> str:
        """One source through the chain; its output is kept in the home's logs, too."""
        done = subprocess.run(
            [sys.executable, str(PROJECT / "tests" / "e2e" / "leak_chain.py"), str(int(sealed)), code, url,
             login, secret, start, end],
            env=self.environment, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        logs = self.settings.home / "logs"
        logs.mkdir(exist_ok=True)
        (logs / f"{code}.log").write_bytes(done.stdout)
        return f"{done.returncode}\n{done.stdout.decode(errors='replace')}"

    def places(self) -> Iterator[tuple[str, set[str]]]:
        yield from files(self.settings.home)
        yield from tables(self.warehouse)
        yield "PostgreSQL's log", set(self.server_log.read_text(errors="replace").splitlines())


#: The first hours of a morning in each world: some hundred dossiers, whoever has a window in them.
HOURS = {"tien_giang": dt.date(2025, 6, 30), "dong_thap": dt.date(2025, 7, 1)}
SOURCES = {
    code: {
        "title": code, "connector": "connectors.igate:IGate", "kind": "dossiers", "connection": code,
        "origin": "simulated", "active_from": dt.date(2020, 1, 1), "schedule": "15 1 * * *",
        "options": {"margin_days": 0, "concurrency": 4},
    }
    for code in ("igate_tien_giang", "igate_dong_thap", "canary", "canary_broken")
}  # fmt: skip


def new_home(server: Any) -> Home:
    home = Path(tempfile.mkdtemp(prefix="kcl-"))
    (home / "sources.yml").write_text(yaml.safe_dump({"sources": SOURCES}, allow_unicode=True))
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "KHOCHUNG_HOME": str(home), "HOME": str(home),
        "TMPDIR": str(home), "WAREHOUSE_URL": server.new_database(), "VAULT_DATABASE_URL": server.new_database(),
        "KHOCHUNG_SOURCES": str(home / "sources.yml"), "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    settings = Settings(environment, dotenv=home / "no.env")
    return Home(settings, environment, settings.warehouse_url, server.settings.home / "postgres.log")


@pytest.fixture(scope="module")
def sealed(server, tien_giang, dong_thap) -> Iterator[Home]:
    """Two real sandboxes and the canaries through the whole chain, the vault at its work."""
    home = new_home(server)
    logs = home.settings.home / "logs"
    logs.mkdir()
    with (logs / "vault.log").open("w") as log:
        vault = subprocess.Popen(
            [sys.executable, "-m", "vault"], cwd=PROJECT, stdout=log, stderr=log,
            env=SERVICES["vault"].environment(home.settings),
        )  # fmt: skip
    try:
        wait_for(lambda: SERVICES["vault"].healthy(home.settings))
        june, july = "2025-06-30", "2025-07-01"
        for (world, day), url in zip(HOURS.items(), (tien_giang.base_url, dong_thap.base_url), strict=True):
            start, end = f"{day}T08:00", f"{day}T09:30"
            said = home.run(True, f"igate_{world}", url, CLIENT_ID, start, end, CLIENT_SECRET)
            assert said.startswith("0\n"), said[-3000:]
        with canary_server(bad=1) as url:
            said = home.run(True, "canary", url, "me", june, july, "canary-secret")
            assert said.startswith("0\n"), said[-3000:]
        with canary_server(bad=18) as url:
            said = home.run(True, "canary_broken", url, "me", june, july, "canary-secret")
            assert said.startswith("1\n"), said[-3000:]
            assert "BatchRefused" in said, said[-3000:]
        yield home
    finally:
        stop(vault)
        shutil.rmtree(home.settings.home, ignore_errors=True)


def public_names(sandbox_url: str) -> set[str]:
    """Folded names of agencies and procedures: a person may be called like one of them."""
    token = requests.post(
        f"{sandbox_url}/auth/realms/digo/protocol/openid-connect/token", timeout=10,
        data={"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
    ).json()["access_token"]  # fmt: skip
    names: set[str] = set()
    for page in range(100):
        answer = requests.get(
            f"{sandbox_url}/ba/agency/name+code", params={"page": page, "size": 200}, timeout=10,
            headers={"Authorization": f"Bearer {token}"},
        ).json()  # fmt: skip
        if not answer["content"]:
            break
        names |= {fold(json.dumps(a["name"], ensure_ascii=False)) for a in answer["content"]}
    return names | {fold(p["name"]) for p in rows("procedures.csv")}


SEARCHED = {
    "identity_number": "identity number", "name": "name", "phone": "phone", "email": "e-mail",
    "address": "address", "birthday": "birth date", "officer": "receiving officer",
}  # fmt: skip
FIELDS = {
    "applicant_id_number": "identity number", "applicant_name": "name", "applicant_phone": "phone",
    "applicant_email": "e-mail", "applicant_address": "address", "receiving_officer_name": "receiving officer",
    "officer_name": "officer of a step",
}  # fmt: skip


def revealed(home: Home) -> dict[str, set[str]]:
    """Every personal value that went through the vault, by class."""
    store = Store(Setup(home.settings.vault_database_url, FileKeys(home.settings.home / "vault" / "keys")))
    with psycopg.connect(home.settings.vault_database_url) as connection:
        rows = connection.execute("select reference, field from sealed_value").fetchall()
    values = store.reveal([r[0] for r in rows])
    found: dict[str, set[str]] = {}
    for reference, name in rows:
        found.setdefault(FIELDS.get(name, name), set()).add(values[reference])
    return found


def test_no_person_stands_anywhere_outside_the_vault(sealed, tien_giang, dong_thap):
    served: dict[str, set[str]] = {}
    for world, day in HOURS.items():
        opened = dt.datetime.combine(day, dt.time(8), VIETNAM)
        for kind, values in persons(world, opened, opened + dt.timedelta(minutes=90)).items():
            if kind in SEARCHED:
                served.setdefault(SEARCHED[kind], set()).update(values)
    through_the_vault = revealed(sealed)
    # The two lists of what to look for were made apart; what was served must have gone through the vault.
    for kind in ("identity number", "name", "phone", "e-mail", "address"):
        assert len(served[kind]) > 100
        assert served[kind] <= through_the_vault[kind], kind
    public = public_names(tien_giang.base_url) | public_names(dong_thap.base_url)
    needles = Needles()
    for kind in set(FIELDS.values()) | set(SEARCHED.values()):
        for value in served.get(kind, set()) | through_the_vault.get(kind, set()):
            folded = fold(value)
            # A dummy number is nobody's; a name of one word, or that is also a place's, names nobody.
            if kind == "identity number" and folded == "000000001":
                continue
            if " " not in folded and kind in ("name", "receiving officer", "officer of a step"):
                continue
            if any(folded in name for name in public):
                continue
            needles.add(kind, [value])
    for kind, value in CANARIES.items():
        needles.add(kind, [value])
    assert needles.count > 2_000
    found = search(needles, sealed.places())
    assert found == {}, {k: sorted(places) for (k, _), places in found.items()}


def test_the_places_searched_hold_what_was_pulled(sealed):
    """An empty place would hold no leak either."""
    with psycopg.connect(sealed.warehouse) as connection:
        counts = dict(
            connection.execute("select source_code, count(*) from raw.dossier group by 1").fetchall()
        )
        born = connection.execute(
            "select distinct applicant_birth_year from raw.dossier where source_code = 'canary'"
        ).fetchall()
    assert counts["igate_tien_giang"] > 150
    assert counts["igate_dong_thap"] > 150
    assert counts["canary"] == GOOD
    assert "canary_broken" not in counts
    assert born == [(1999,)], "the year may stay, and does"
    names = {place.split(":")[0] for place, _ in files(sealed.settings.home)}
    assert {"dossier.parquet", "dossier_step.parquet", "rejects.parquet"} <= names
    assert any("manifest.json" in n for n in names)
    assert any(n.startswith("outcomes/") for n in names)
    assert any(n.startswith("data-docs/") for n in names)
    (manifest,) = (sealed.settings.landing / "canary").glob("*/manifest.json")
    held = json.loads(manifest.read_text())["tables"]
    assert held["dossier"]["rejected"] == 1
    assert held["dossier"]["undeclared"] == {"applicant.data.motherName": 1}
    with psycopg.connect(sealed.settings.vault_database_url) as connection:
        kinds = dict(
            connection.execute(
                "select kind, count(*) from quarantine where source_code = 'canary' group by 1"
            ).fetchall()
        )
    assert kinds["undeclared"] == 1
    assert kinds["reject"] >= 2


@pytest.fixture(scope="module")
def unsealed(server) -> Iterator[Home]:
    """The same chain with the sealing switched off."""
    home = new_home(server)
    home.settings.secret("vault-api")  # a token for the vault that is not there
    with canary_server(bad=1) as url:
        said = home.run(False, "canary", url, "me", "2025-06-30", "2025-07-01", "canary-secret")
    assert said.startswith("0\n"), said[-3000:]
    yield home
    shutil.rmtree(home.settings.home, ignore_errors=True)


@pytest.mark.parametrize("kind", CANARIES)
def test_without_sealing_the_same_search_finds(unsealed, kind):
    needles = Needles()
    needles.add(kind, [CANARIES[kind]])
    found = search(needles, unsealed.places())
    places = {place for here in found.values() for place in here}
    assert places
    if kind not in ("undeclared column", "rejected record", "rejected step"):
        assert any(p.startswith("raw.") for p in places), places
        assert any(".parquet:" in p for p in places), places


@pytest.mark.parametrize(
    "written",
    [
        "{}", "x={};", '"{}"', "<td>{}</td>",
    ],
)  # fmt: skip
def test_the_search_sees_through_every_wrapping(written):
    name = CANARIES["name"]
    needles = Needles()
    needles.add("name", [name])
    upper, bare = name.upper(), fold(name).replace(" ", "_")
    encoded = base64.b64encode(f"họ tên: {name}.".encode()).decode()
    url = "Nguy%E1%BB%85n+Th%E1%BB%8B%20Chim+Khuy%C3%AAn"
    nfd = unicodedata.normalize("NFD", name)
    hexed = "".join(f"\\x{b:02x}" for b in name.encode())
    for form in (name, upper, bare, json.dumps(name)[1:-1], encoded, url, nfd, hexed):
        assert search(needles, [("here", {written.format(form)})]), form
    assert not search(needles, [("here", {written.format("Nguyễn Thị Chim Khuyênh")})])
