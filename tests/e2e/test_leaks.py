"""Nothing outside the vault holds a person: everything is decoded, then searched for every value served."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import gzip
import html
import io
import json
import os
import pickle
import pickletools
import re
import shutil
import string
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus

import openpyxl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from psycopg.rows import dict_row

from ops.services import SERVICES
from ops.settings import PROJECT, VIETNAM, Settings
from sandbox.generator import agencies
from sandbox.people import persons
from sandbox.reference import rows
from tests.conftest import CLIENT_ID, CLIENT_SECRET, stop, wait_for
from tests.e2e.canaries import CANARIES, DROPPED, GOOD, canary_server
from vault.keys import FileKeys
from vault.persons import opened_record
from vault.store import Setup, Store

#: A whole cell that is a token or a reference holds nothing else.
SEALED = re.compile(r"(id1|ref1)_[0-9a-f]{32}")
PREFIX = 8
#: So many hexadecimal digits in a row are a digest: its digits are random.
DIGEST = 24
GZIP, ZSTD, ZIP, PARQUET, PICKLE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PAR1", b"\x80"
PACKED = (GZIP, ZSTD, ZIP, PARQUET, PICKLE)


# --- the search -------------------------------------------------------------------------------------


def fold(text: str) -> str:
    """Lower case, no marks, words parted by one blank: one form for as-is, upper case and unmarked text."""
    plain = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    bare = "".join(c for c in plain if not unicodedata.combining(c)).lower()
    return " ".join(bare.replace("_", " ").split())


def unwrapped(text: str, depth: int = 3) -> Iterator[str]:
    """The text, and what is inside JSON escapes, URL encoding, entities and base64 in it, also one in another."""
    yield text
    inner: set[str] = set()
    if "\\u" in text:
        inner.add(re.sub(r"\\+u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text))
    if "%" in text:
        inner.add(unquote_plus(text))
    if "\\x" in text:
        inner.add(re.sub(r"(?:\\+x[0-9a-fA-F]{2})+", _unhex, text))
    if "&" in text:
        inner.add(html.unescape(text))
    for run in re.findall(r"[A-Za-z0-9+/_-]{8,}={0,2}", text):
        try:
            data = base64.b64decode(run.replace("-", "+").replace("_", "/") + "==")
            inner.update(opened(data) if data.startswith(PACKED) else (data.decode(),))
        except (binascii.Error, UnicodeDecodeError):
            continue
    for found in inner - {text} if depth else ():
        yield from unwrapped(found, depth - 1)


def opened(data: bytes) -> Iterator[str]:
    """Text of a file or of a cell of bytes, and of what is packed in it; half a file gives what it holds."""
    try:
        if data.startswith(GZIP):
            yield from opened(gzip.decompress(data))
        elif data.startswith(ZSTD):
            with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
                yield from opened(stream.read())
        elif data.startswith(ZIP):  # XLSX and its like
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                for name in packed.namelist():
                    yield name
                    yield from opened(packed.read(name))
        elif data.startswith(PARQUET):
            table = pq.read_table(pa.BufferReader(data))
            for name in table.column_names:
                yield from cells(table.column(name).to_pylist())
            yield f"{table.schema} {pq.read_metadata(pa.BufferReader(data))}"
        elif data.startswith(PICKLE):
            # A text's length stands before it, which may look like one more letter of its first word.
            for _, argument, _ in pickletools.genops(data):
                if isinstance(argument, bytes | bytearray):
                    yield from opened(bytes(argument))
                elif isinstance(argument, str):
                    yield argument
        else:
            yield data.decode(errors="replace")
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile, pa.ArrowException):
        yield data.decode(errors="replace")


def _unhex(match: re.Match[str]) -> str:
    return bytes.fromhex(re.sub(r"\\+x", "", match[0])).decode(errors="replace")


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
                if folded[at:end] == value and not within_more(folded, at, end):
                    found.add((kind, value))
        return found


def within_more(text: str, at: int, end: int) -> bool:
    """Whether what stands here is but a part of a longer word, number or digest.

    A number beside letters (``id003099000001``) is one all the same.
    """
    for inside, outside in ((text[at], text[max(at - 1, 0) : at]), (text[end - 1], text[end : end + 1])):
        if (inside.isdigit() and outside.isdigit()) or (inside.isalpha() and outside.isalpha()):
            return True
    while at and text[at - 1] in string.hexdigits:
        at -= 1
    while end < len(text) and text[end] in string.hexdigits:
        end += 1
    return end - at >= DIGEST and all(c in string.hexdigits for c in text[at:end])


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
    """Every file below `home`, decoded, but the vault's own keys and the data files of a server, which are dumped."""
    for path in sorted(home.rglob("*")):
        if not path.is_file() or any(path.is_relative_to(home / own) for own in ("vault", "postgres")):
            continue
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            for name in table.column_names:
                yield f"{path.name}:{name}", cells(table.column(name).to_pylist())
            yield f"{path.name} metadata", {str(pq.read_schema(path)), str(pq.read_metadata(path))}
        else:
            texts = {line for text in opened(path.read_bytes()) for line in text.splitlines()}
            yield str(path.relative_to(home)), texts


def tables(url: str, expected: str = "raw.dossier") -> Iterator[tuple[str, set[str]]]:
    """Every column of every table of a database as text, and what its statistics keep of them."""
    with psycopg.connect(url) as connection:
        relations = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in "
            "('pg_catalog', 'information_schema')"
        ).fetchall()
        assert expected in {name for (name,) in relations}
        for (name,) in [*relations, ("pg_catalog.pg_stats",)]:
            cursor = connection.execute(f"select * from {name}")
            rows = cursor.fetchall()
            for at, column in enumerate(cursor.description or ()):
                yield f"{name}.{column.name}", cells(row[at] for row in rows)


def cells(values: Iterable[Any]) -> set[str]:
    texts: set[str] = set()
    for value in values:
        if isinstance(value, bytes | memoryview):
            texts.update(opened(bytes(value)))
        elif value is not None:
            texts.add(str(value))
    return {t for t in texts if not SEALED.fullmatch(t)}


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


#: The first hours of a morning in each world, some hundred dossiers, and whoever has a window in them; old Đồng Tháp's
#: system is asked by whole days, of which its second one knows fewest dossiers.
HOURS = {
    "igate_tien_giang": ("tien_giang", "2025-06-30T08:00", "2025-06-30T09:30"),
    "opencps_dong_thap": ("dong_thap_cu", "2024-01-02T00:00", "2024-01-03T00:00"),
    "igate_dong_thap": ("dong_thap", "2025-07-01T08:00", "2025-07-01T09:30"),
}
SOURCES = {
    code: {
        "title": code, "connector": connector, "kind": "dossiers", "connection": code,
        "origin": "simulated", "active_from": dt.date(2020, 1, 1), "schedule": "15 1 * * *",
        "options": {"margin_days": 0, "concurrency": 4, **options},
    }
    for code, connector, options in (
        ("igate_tien_giang", "connectors.igate:IGate", {}),
        ("opencps_dong_thap", "connectors.opencps:OpenCPS", {"group_id": 55217}),
        ("igate_dong_thap", "connectors.igate:IGate", {}),
        ("canary", "connectors.igate:IGate", {}),
        ("canary_broken", "connectors.igate:IGate", {}),
    )
} | {
    "canary_files": {
        "title": "canary_files", "connector": "connectors.file_drop:FileDrop", "kind": "files",
        "connection": "canary_files", "origin": "simulated", "active_from": dt.date(2020, 1, 1),
        "schedule": "0 6 * * *", "options": {"table": "population_count", "settle_seconds": 0},
    }
}  # fmt: skip
#: Two files with a person's name and number in theirs: one is taken, with a cell that nobody declared, one refused.
DROPPED_FILES = {
    f"Danh sách hộ {CANARIES['name']}.csv": "Mã xã;Ngày chốt số liệu;Nhóm tuổi;Giới tính;Số dân;Ghi chú\n"
    "28249;01/07/2025;0-4;Nam;1234;x\n",
    f"{CANARIES['identity number']}.csv": "không phải bảng;x\n",
}


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
def sealed(server, tien_giang, dong_thap_cu, dong_thap, tmp_path_factory) -> Iterator[Home]:
    """The three dossier systems and the canaries through the whole chain, the vault at its work."""
    home, drop = new_home(server), tmp_path_factory.mktemp("drop")
    for name, content in DROPPED_FILES.items():
        (drop / name).write_text(content)
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
        for (code, (_, start, end)), sandbox in zip(
            HOURS.items(), (tien_giang, dong_thap_cu, dong_thap), strict=True
        ):
            said = home.run(True, code, sandbox.base_url, CLIENT_ID, start, end, CLIENT_SECRET)
            assert said.startswith("0\n"), said[-3000:]
        with canary_server(bad=1) as url:
            said = home.run(True, "canary", url, "me", june, july, "canary-secret")
            assert said.startswith("0\n"), said[-3000:]
        with canary_server(bad=18) as url:
            said = home.run(True, "canary_broken", url, "me", june, july, "canary-secret")
            assert said.startswith("1\n"), said[-3000:]
            assert "BatchRefused" in said, said[-3000:]
        said = home.run(True, "canary_files", drop.as_uri(), "", june, july, "")
        assert said.startswith("0\n"), said[-3000:]
        yield home
    finally:
        stop(vault)
        shutil.rmtree(home.settings.home, ignore_errors=True)


def public_names() -> set[str]:
    """Folded names of agencies and procedures: a person may be called like one of them."""
    found = {fold(a.name) for world, _, _ in HOURS.values() for a in agencies(world)}
    return found | {fold(p["name"]) for p in rows("procedures.csv")}


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


def test_no_person_stands_anywhere_outside_the_vault(sealed):
    served: dict[str, set[str]] = {}
    through_the_vault = revealed(sealed)
    for world, start, end in HOURS.values():
        opened_at, shut = (dt.datetime.fromisoformat(t).replace(tzinfo=VIETNAM) for t in (start, end))
        for kind, values in persons(world, opened_at, shut).items():
            if kind in SEARCHED:
                served.setdefault(SEARCHED[kind], set()).update(values)
                # The two lists of what to look for were made apart; what was served went through the vault. (Of
                # names in capitals and as they are each source sends but one; officers are those of the whole world.)
                if kind not in ("birthday", "officer") and (kind, world) != ("name", "dong_thap_cu"):
                    assert len(values) > 100, (world, kind)
                    assert set(values) <= through_the_vault[SEARCHED[kind]], (world, kind)
                elif kind == "name":
                    assert {v for v in values if v.isupper()} <= through_the_vault["name"], world
    public = public_names()
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
    for kind, value in (CANARIES | DROPPED).items():
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
    assert counts["opencps_dong_thap"] > 300
    assert counts["canary"] == GOOD
    assert "canary_broken" not in counts
    (manifest,) = (sealed.settings.landing / "canary_files").glob("*/manifest.json")
    held = json.loads(manifest.read_text())
    assert held["tables"]["population_count"]["landed"] == 1
    assert held["tables"]["population_count"]["undeclared"] == {"ghi chú (F)": 1}
    assert [n for n in held["notes"] if n.startswith("refused file of ")], "both files are told of"
    assert born == [(1999,)], "the year may stay, and does"
    names = {place.split(":")[0] for place, _ in files(sealed.settings.home)}
    assert {"dossier.parquet", "dossier_step.parquet", "rejects.parquet"} <= names
    assert any("manifest.json" in n for n in names)
    assert any(n.startswith("outcomes/") for n in names)
    assert any(n.startswith("data-docs/") for n in names)
    (manifest,) = (sealed.settings.landing / "canary").glob("*/manifest.json")
    held = json.loads(manifest.read_text())["tables"]
    assert held["dossier"]["rejected"] == 1
    assert held["dossier"]["undeclared"] == {"applicant.data.nickname": 1}
    with psycopg.connect(sealed.settings.vault_database_url) as connection:
        kinds = dict(
            connection.execute(
                "select kind, count(*) from quarantine where source_code = 'canary' group by 1"
            ).fetchall()
        )
    assert kinds["undeclared"] == 1
    assert kinds["reject"] >= 2


def test_what_nobody_may_keep_is_dropped_on_receipt_and_counted(sealed):
    """Of an accepted and of a rejected dossier; not even the vault's quarantine holds it."""
    store = Store(
        Setup(sealed.settings.vault_database_url, FileKeys(sealed.settings.home / "vault" / "keys"))
    )
    with psycopg.connect(sealed.settings.vault_database_url, row_factory=dict_row) as connection:
        rows = connection.execute(
            "select q.table_name, q.key, q.payload, k.* from quarantine q join person_key k on k.holder = q.holder "
            "where source_code like 'canary%'"
        ).fetchall()
    opened = {opened_record(store.masters, row).decode() for row in rows}
    needles = Needles()
    for kind, value in DROPPED.items():
        needles.add(kind, [value])
    assert search(needles, [("quarantine", opened)]) == {}
    kept = Needles()
    kept.add("undeclared column", [CANARIES["undeclared column"]])
    kept.add("rejected record", [CANARIES["rejected record"]])
    assert len(search(kept, [("quarantine", opened)])) == 2, "the quarantine was read"
    assert not any(v in revealed(sealed).get(k, ()) for k in FIELDS.values() for v in DROPPED.values())
    (manifest,) = (sealed.settings.landing / "canary").glob("*/manifest.json")
    counted = json.loads(manifest.read_text())["tables"]["dossier"]["dropped"]
    # Of each record once. Of the form no column is taken: it is gone through where a whole record is set aside.
    assert counted == {f"applicant.data.{key}": 2 for key in DROPPED} | {
        f"eForm.data.{key}": 1 for key in DROPPED
    } | {"eForm.fields[].Họ tên mẹ": 1}


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


@pytest.mark.parametrize("written", ["{}", "x={};", '"{}"', "<td>{}</td>"])
def test_the_search_sees_through_every_wrapping(written):
    name = CANARIES["name"]
    needles = Needles()
    needles.add("name", [name])
    upper, bare = name.upper(), fold(name).replace(" ", "_")
    encoded = base64.b64encode(f"họ tên: {name}.".encode()).decode()
    url = "Nguy%E1%BB%85n+Th%E1%BB%8B%20Chim+Khuy%C3%AAn"
    nfd = unicodedata.normalize("NFD", name)
    hexed = "".join(f"\\x{b:02x}" for b in name.encode())
    entities = "".join(f"&#{ord(c)};" for c in name)
    escaped = json.dumps(name)[1:-1]
    nested = base64.b64encode(quote(json.dumps({"n": name})).encode()).decode()
    packed = base64.b64encode(gzip.compress(name.encode())).decode()
    pickled = base64.b64encode(pickle.dumps({"n": name})).decode()
    for form in (
        name, upper, bare, escaped, json.dumps(escaped)[1:-1], encoded, url, nfd, hexed, entities, nested, packed,
        pickled, repr(name.encode()),
    ):  # fmt: skip
        assert search(needles, [("here", {written.format(form)})]), form
    assert not search(needles, [("here", {written.format("Nguyễn Thị Chim Khuyênh")})])


def test_a_number_is_found_beside_letters_but_not_in_a_longer_number_or_a_digest():
    number = CANARIES["identity number"]
    needles = Needles()
    needles.add("identity number", [number])
    for form in (number, f"id{number}", f"{number}x", f"tel{number}mail", f"{number}_{number}"):
        assert search(needles, [("here", {form})]), form
    for form in (f"1{number}", f"{number}0", f"{'a' * 10}{number}{'b' * 10}"):
        assert not search(needles, [("here", {form})]), form


def workbook(text: str) -> bytes:
    book = openpyxl.Workbook()
    book.active["B2"] = text
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def parquet(text: str) -> bytes:
    sink = pa.BufferOutputStream()
    # A second value, so that the first one stands in a compressed dictionary.
    pq.write_table(pa.table({"x": [text, "other"] * 100}), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("kind", CANARIES)
@pytest.mark.parametrize(
    "pack",
    [
        str.encode, lambda t: gzip.compress(t.encode()), lambda t: pa.compress(t.encode(), "zstd", asbytes=True),
        workbook, parquet, lambda t: pickle.dumps({"k": [t]}), lambda t: gzip.compress(workbook(t)),
        lambda t: json.dumps({"k": t}).encode(),
    ],
    ids=["plain", "gzip", "zstd", "xlsx", "parquet", "pickle", "xlsx in gzip", "json"],
)  # fmt: skip
def test_the_search_opens_every_kind_of_file_and_cell(tmp_path, pack, kind):
    needles = Needles()
    needles.add(kind, [CANARIES[kind]])
    data = pack(CANARIES[kind].upper())
    (tmp_path / "part.bin").write_bytes(data)
    assert search(needles, files(tmp_path)), "as a file of any name"
    assert search(needles, [("cell", cells([data]))]), "as bytes in a table"
    (tmp_path / "part.bin").write_bytes(pack("nobody at all"))
    assert not search(needles, files(tmp_path))
