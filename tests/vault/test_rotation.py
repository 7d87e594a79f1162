"""The master encryption key changes while the vault serves, and after a kill; wrong and lost versions are told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops.settings import PROJECT
from tests.conftest import wait_for
from tests.vault.test_process import again, refused
from tests.vault.test_sealing import PERSON, batch
from vault.keys import FileKeys, KeyTrouble
from vault.store import Setup, Store

NAMES = ("applicant_name", "applicant_phone", "receiving_officer_name")


def people(first: int, number: int) -> Any:
    return batch(
        *(PERSON | {"dossier_id": f"r{n}", "applicant_id_number": f"0030{n:08d}"} for n in range(first, first + number))
    )  # fmt: skip


def command(vault: Any, *words: str) -> list[str]:
    return [sys.executable, "-m", "vault", *words]


def run(vault: Any, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(vault, *words), env=vault.environment, cwd=PROJECT, capture_output=True, text=True, timeout=120,
        check=False, input=given,
    )  # fmt: skip


def versions(url: str) -> dict[int, int]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select master_version, count(*) from person_key where wrapped is not null group by 1"
        )
        return dict(rows.fetchall())


def open_all(url: str, home: Path, sealed: Any) -> bool:
    store = Store(Setup(url, FileKeys(home / "keys")))
    references = [r for name in NAMES for r in sealed.column(name).to_pylist()]
    return set(store.reveal(references)) == set(references)


def test_the_vault_serves_on_while_the_key_changes_and_the_old_one_may_go(vault):
    first = vault.client.seal(people(0, 300))
    done = run(vault, "rotate", "--batch", "100")
    assert done.returncode == 0, done.stderr
    assert "301 keys were wrapped anew" in done.stdout
    assert str(vault.home / "keys" / "encryption.2.key") in done.stdout
    assert versions(vault.database_url) == {2: 301}
    # The vault started under version 1: it reads what lies under 2, and makes new keys under it.
    assert vault.client.seal(people(0, 300)).equals(first)
    second = vault.client.seal(people(200, 200))
    assert versions(vault.database_url) == {2: 401}
    (vault.home / "keys" / "encryption.key").unlink()
    assert open_all(vault.database_url, vault.home, first)
    assert open_all(vault.database_url, vault.home, second)
    assert run(vault, "rotate").returncode == 0
    assert versions(vault.database_url) == {3: 401}


def test_killed_in_the_middle_it_goes_on_where_it_was(vault):
    sealed = [vault.client.seal(people(n * 2000, 2000)) for n in range(3)]
    process = subprocess.Popen(command(vault, "rotate", "--batch", "20"), env=vault.environment, cwd=PROJECT)
    wait_for(lambda: versions(vault.database_url).get(2, 0) > 100 or process.poll() is not None)
    process.kill()
    process.wait()
    between = versions(vault.database_url)
    assert set(between) == {1, 2}, "the rotation ended before the kill"
    # Both versions are read meanwhile, by a vault that runs and by one that starts.
    sealed.append(vault.client.seal(people(5000, 2000)))
    assert all(open_all(vault.database_url, vault.home, s) for s in sealed)
    done = run(vault, "rotate")
    assert done.returncode == 0, done.stderr
    assert versions(vault.database_url) == {2: 7001}
    assert not (vault.home / "keys" / "encryption.3.key").exists()
    (vault.home / "keys" / "encryption.key").unlink()
    assert all(open_all(vault.database_url, vault.home, s) for s in sealed)


def test_a_kill_before_the_new_version_is_announced_leaves_a_key_that_is_taken_then(database, tmp_path):
    keys = FileKeys(tmp_path / "keys", create=True)
    store = Store(Setup(database, keys))
    keys.make_encryption_key(2)
    made = keys.encryption_key(2)
    assert store.rotate().version == 2
    assert keys.encryption_key(2) == made


def test_seals_on_their_way_leave_no_key_under_the_old_version(vault):
    number = 0
    for _ in range(2):
        process = subprocess.Popen(command(vault, "rotate"), env=vault.environment, cwd=PROJECT)
        while process.poll() is None:
            vault.client.seal(people(number, 50))
            number += 50
        assert process.returncode == 0
        assert len(versions(vault.database_url)) == 1


def test_a_lost_or_wrong_version_is_named_at_the_start(vault):
    vault.client.seal(people(0, 5))
    assert run(vault, "rotate").returncode == 0
    path = vault.home / "keys" / "encryption.2.key"
    good = path.read_bytes()
    path.write_bytes(b"w" * 32)
    refused(again(vault), "was set up with the keys", "encryption key", "does not start")
    path.unlink()
    refused(again(vault), str(path), "found none", "backup")
    assert not path.exists()
    path.write_bytes(good)
    path.chmod(0o600)
    assert Store(Setup(vault.database_url, FileKeys(vault.home / "keys"))).count("person_key") == 6


def test_a_version_that_is_not_there_is_never_made_by_reading(tmp_path):
    with pytest.raises(KeyTrouble, match=r"encryption\.4\.key and found none"):
        FileKeys(tmp_path, create=True).encryption_key(4)
