"""docs/custody.md, followed to the letter: every command of it, against a real vault and a real PostgreSQL."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from ops import postgres
from ops.services import SERVICES
from ops.settings import PROJECT, Settings
from tests.conftest import Server, stop, wait_for
from tests.vault.test_erasure import unlinked
from tests.vault.test_process import refused
from tests.vault.test_purposes import agree, pair
from tests.vault.test_sealing import PERSON, batch
from vault.client import VaultClient
from vault.keys import FileKeys
from vault.store import Setup, Store

# The page rehearsed from end to end: a slow proof.
pytestmark = pytest.mark.prove
PAGE = (PROJECT / "docs" / "custody.md").read_text()
#: The page's blocks, in its order.
BACK_UP, SPLIT, JOIN, RESTORE, JOURNALS, VERIFY, FORGET = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
#: Every line that is run without being a block.
IN_PASSING = re.findall(r"`(?:\.venv/bin/)?python\s+-m\s+ops\s+([^`]+)`", PAGE)
ERASED, RESTRICTED, LATER = ("003099000002", "003099000003", "003099000004")


class Machine:
    """An installation on a server of the province: a vault's database, a home, and the hands that hold the rest."""

    def __init__(self, server: Server, home: Path, hands: Path) -> None:
        self.home = home
        self.hands = hands
        self.server = server
        home.mkdir(parents=True)
        for name in ("backup", "medium", "envelope"):
            (hands / name).mkdir(parents=True, exist_ok=True)
        self.given = {
            "PATH": f"{postgres._BIN}{os.pathsep}{os.environ['PATH']}", "KHOCHUNG_HOME": str(home),
            "WAREHOUSE_URL": server.new_database(), "VAULT_DATABASE_URL": server.new_database(),
            "VAULT_AUDIT_COPY": str(home / "copy"), "PYTHONPATH": str(PROJECT),
        }  # fmt: skip
        for name in ("copy", "agreements"):
            (home / name).mkdir()
        self.settings = Settings(self.given, dotenv=home / "no.env")
        self.process: subprocess.Popen | None = None

    @property
    def keys(self) -> Path:
        return self.home / "vault" / "keys"

    def start(self) -> VaultClient:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vault"], cwd=PROJECT, env=SERVICES["vault"].environment(self.settings)
        )
        wait_for(lambda: SERVICES["vault"].healthy(self.settings))
        return VaultClient(self.settings.vault_socket, self.settings.vault_token)

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process)
            self.process = None

    def refusal(self) -> subprocess.CompletedProcess[str]:
        """A start that must be refused."""
        return subprocess.run(
            [sys.executable, "-m", "vault"], cwd=PROJECT, env=SERVICES["vault"].environment(self.settings),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def run(self, commands: str, given: str = "", check: bool = True) -> str:
        """What a block of the page says, typed on this machine."""
        names = {n.upper(): str(self.hands / n) for n in ("backup", "medium", "envelope")}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands.replace(".venv/bin/python", sys.executable)], cwd=PROJECT,
            env={**self.given, **names, "KEYS": str(self.keys)}, input=given, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def erase(self, number: str, request: str, decision: str = "erase") -> None:
        words = f"--request {request} --decision {decision} --basis 'Luật 91/2025/QH15' --officer H20-0042"
        self.run(f".venv/bin/python -m ops vault erase {words}", given=f"{number}\n")

    def opened(self, references: list[str]) -> set[str]:
        """Those of `references` that open with this machine's keys and database."""
        store = Store(Setup(self.settings.vault_database_url, FileKeys(self.keys)))
        return set(store.reveal(references))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.vault_database_url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def empty_database(self) -> None:
        """An empty database in place of the vault's."""
        name = urlsplit(self.settings.vault_database_url).path[1:]
        with psycopg.connect(self.server.admin, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")
            connection.execute(f"create database {name} template template0")


def of(number: str, **words: Any) -> dict[str, Any]:
    return PERSON | {"applicant_id_number": number, "dossier_id": f"d{number}"} | words


def references(sealed: Any) -> list[str]:
    names = ("applicant_id_number", "applicant_name", "applicant_phone")
    return [sealed.column(n)[0].as_py() for n in names]


@pytest.fixture
def hands() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kch-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def machines(server: Server, hands: Path) -> Iterator[list[Machine]]:
    """One that serves, and one that will."""
    made = [Machine(server, hands / name, hands) for name in ("one", "two")]
    yield made
    for machine in made:
        machine.stop()


def test_backed_up_destroyed_and_restored_elsewhere_everything_opens_but_who_was_erased(machines, hands):
    one, two = machines
    client = one.start()
    agree(one.settings, daily_quota=50)
    kept, gone, restricted = (
        client.seal(batch(of(n))) for n in (PERSON["applicant_id_number"], ERASED, RESTRICTED)
    )
    client.disclose("citizen_check", [pair(kept.to_pylist()[0])])
    one.run(".venv/bin/python -m ops vault rotate")
    one.run(BACK_UP)
    one.run(SPLIT)
    # After the backup: what it does not know.
    one.erase(ERASED, "YC-1")
    one.erase(RESTRICTED, "YC-2", "restrict")
    later = client.seal(batch(of(LATER)))
    client.disclose("citizen_check", [pair(later.to_pylist()[0])])
    audited = one.rows("select number, hash from audit order by number")
    one.stop()

    # The machine burns; journal and audit copy lay elsewhere, as the page wants it.
    for what in ("vault/keys/erasures.jsonl", "copy/audit.jsonl"):
        target = two.home / what
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(one.home / what, target)
    one.empty_database()
    shutil.rmtree(one.home)

    for block in (JOIN, RESTORE, JOURNALS):
        two.run(block)
    client = two.start()
    assert two.opened(references(kept)) == set(references(kept))
    assert two.opened(references(gone)) == set(), "erased stays erased"
    assert two.opened(references(restricted)) == set(), "restricted stays restricted"
    assert two.opened(references(later)) == set(), "sealed after the backup"
    assert "the audit is whole" in two.run(VERIFY)
    assert two.rows("select number, hash from audit order by number")[: len(audited)] == audited
    # The days since are pulled again.
    assert client.seal(batch(of(LATER))).equals(later)
    assert two.opened(references(later)) == set(references(later))
    unlinked(gone, client.seal(batch(of(ERASED))))
    assert two.opened(references(gone)) == set()
    assert two.run(BACK_UP) == ""


def test_with_nothing_but_the_backup_journal_and_audit_come_out_of_it(machines, hands):
    one, two = machines
    client = one.start()
    agree(one.settings)
    gone = client.seal(batch(of(ERASED)))
    one.run(".venv/bin/python -m ops client vault pg_dump --no-owner --file=before.sql".replace(
        "before.sql", str(hands / "before.sql")
    ))  # fmt: skip
    one.erase(ERASED, "YC-1")
    one.run(BACK_UP)
    one.run(SPLIT)
    one.stop()
    shutil.rmtree(one.home)
    shutil.rmtree(two.home / "copy")
    # An older dump beside a newer journal: the worst that is still no loss.
    shutil.copy(hands / "before.sql", hands / "backup" / "vault.sql")
    for block in (JOIN, RESTORE, JOURNALS):
        two.run(block)
    two.start()
    assert two.opened(references(gone)) == set()
    assert "the audit is whole" in two.run(VERIFY)
    assert two.rows("select count(*) from audit where action = 'decide'") == [(1,)]


def test_neither_hand_holds_a_key_alone_and_the_backup_holds_none(machines, hands):
    one, _ = machines
    one.start().seal(batch(PERSON))
    one.run(".venv/bin/python -m ops vault rotate")
    one.run(BACK_UP)
    one.run(SPLIT)
    keys = {p.name: p.read_bytes() for p in one.keys.glob("*.key")}
    assert set(keys) == {"token.key", "encryption.key", "encryption.2.key"}
    for name, key in keys.items():
        assert len((hands / "envelope" / f"{name}.txt").read_text().strip()) == 44
        for folder in ("backup", "medium", "envelope"):
            for path in (hands / folder).iterdir():
                content = path.read_bytes()
                assert not [f for f in (key, key.hex().encode()) if f in content], (name, path)
                assert path.stat().st_mode & 0o077 == 0, path
    # The words of another envelope, or one letter wrong, give no key that is taken.
    words = hands / "envelope" / "token.key.txt"
    known = words.read_text()
    words.write_text(("B" if known[0] == "A" else "A") + known[1:])
    one.stop()
    shutil.rmtree(one.keys)
    one.run(JOIN, check=False)
    assert not (one.keys / "token.key").exists() or (one.keys / "token.key").read_bytes() != keys["token.key"]
    assert one.refusal().returncode == 1


@pytest.mark.parametrize("lost", ["token.key", "encryption.key"])
def test_a_key_that_is_lost_is_refused_by_name_and_comes_back_from_its_two_hands(machines, hands, lost):
    one, _ = machines
    sealed = one.start().seal(batch(PERSON))
    one.run(SPLIT)
    one.stop()
    held = (one.keys / lost).read_bytes()
    (one.keys / lost).unlink()
    refused(one.refusal(), str(one.keys / lost), "looked for the vault key", "and found none")
    assert not (one.keys / lost).exists()
    one.run(JOIN)
    assert (one.keys / lost).read_bytes() == held
    one.start()
    assert one.opened(references(sealed)) == set(references(sealed))


def test_another_machines_keys_are_refused_by_name(machines, hands):
    one, two = machines
    one.start().seal(batch(PERSON))
    two.start()
    two.stop()
    one.run(BACK_UP)
    two.empty_database()
    two.run(RESTORE)
    refused(two.refusal(), "token key", "does not start", "Put the right keys back")


def test_a_database_that_is_not_empty_is_not_restored_over(machines, hands):
    one, two = machines
    one.start().seal(batch(PERSON))
    one.run(BACK_UP)
    two.start()
    before = two.rows("select name, value from meta order by 1")
    assert "already exists" in two.run(RESTORE, check=False)
    assert two.rows("select name, value from meta order by 1") == before


def test_after_the_loss_of_the_encryption_key_a_pull_makes_rows_open_again(machines, hands):
    one, _ = machines
    client = one.start()
    agree(one.settings)
    kept, gone = client.seal(batch(PERSON)), client.seal(batch(of(ERASED)))
    client.disclose("citizen_check", [pair(kept.to_pylist()[0])])
    one.erase(ERASED, "YC-1")
    one.stop()
    entries = one.rows("select number, hash from audit order by number")
    (one.keys / "encryption.key").unlink()
    refused(one.refusal(), "encryption.key")
    one.empty_database()
    one.run(FORGET)
    client = one.start()
    assert one.opened(references(kept)) == set()
    assert client.seal(batch(PERSON)).equals(kept), "no row changes"
    unlinked(gone, client.seal(batch(of(ERASED))))
    assert one.opened([*references(kept), *references(gone)]) == set(references(kept))
    assert one.rows("select number, hash from audit order by number")[: len(entries)] == entries
    assert "the audit is whole" in one.run(VERIFY)


def test_the_vietnamese_page_has_the_same_commands():
    twin = (PROJECT / "docs" / "custody.vi.md").read_text()
    for part in (
        r"^```sh\n(.*?)^```$",
        r"^\| (?:`[A-Z_]+`)",
        r"^#+ ",
        r"`(?:\.venv/bin/)?python\s+-m\s+ops\s+([^`]+)`",
    ):
        assert len(re.findall(part, twin, re.M | re.S)) == len(re.findall(part, PAGE, re.M | re.S)), part
    assert re.findall(r"^```sh\n(.*?)^```$", twin, re.M | re.S) == [
        BACK_UP, SPLIT, JOIN, RESTORE, JOURNALS, VERIFY, FORGET,
    ]  # fmt: skip


def test_every_command_the_page_names_is_there():
    assert len(IN_PASSING) >= 3
    said = subprocess.run(
        [sys.executable, "-m", "ops", "-h"], cwd=PROJECT, capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)},
    ).stdout  # fmt: skip
    known = re.findall(r"^    ([\w-]+)", said, re.MULTILINE)
    for words in [*IN_PASSING, *re.findall(r"-m ops ([^\n]+)", BACK_UP + RESTORE + VERIFY)]:
        name, *rest = words.split()
        assert name in known, words
        assert name != "vault" or rest[0] in ("rotate", "erase", "collect")


def test_a_client_of_nothing_is_told_what_there_is(machines):
    for words in ("", "vault", "elsewhere psql", "vault no-such-program"):
        said = machines[0].run(f".venv/bin/python -m ops client {words}", check=False)
        assert "client vault pg_dump --file=vault.sql" in said, words
        assert machines[0].settings.vault_database_url not in said
