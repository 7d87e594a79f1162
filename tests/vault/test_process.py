"""The vault as a process: crashes, keys that are lost, wrong or readable, its log, and its own database."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from ops import postgres
from ops.settings import LOGINS, PROJECT
from tests.conftest import free_port, stop, wait_for
from tests.vault.test_sealing import PERSON, batch, clear_forms
from vault.client import VaultClient, VaultUnavailable
from vault.keys import FileKeys
from vault.store import Setup, Store


def again(vault: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start the vault once more where it must refuse; how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "vault"], env={**vault.environment, **environment}, cwd=PROJECT,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("vault: ")
    for word in words:
        assert word in done.stderr


@pytest.fixture
def halted(database, tmp_path):
    """A vault that sealed something and is down: its keys, its filled database, its environment."""
    home = tmp_path / "vault"
    store = Store(Setup(database, FileKeys(home / "keys", create=True)))
    sealed, values = store.sealer.seal(batch(PERSON))
    store.keep(values)
    (home / "token").write_text("a-token-of-the-tests")
    with tempfile.TemporaryDirectory(prefix="kcv-") as folder:
        socket = Path(folder) / "v.sock"
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "VAULT_DATABASE_URL": database,
            "VAULT_SOCKET": str(socket), "VAULT_KEYS": str(home / "keys"), "VAULT_TOKEN_FILE": str(home / "token"),
        }  # fmt: skip
        yield SimpleNamespace(
            home=home, database_url=database, environment=environment, sealed=sealed,
            client=VaultClient(socket, "a-token-of-the-tests"),
        )  # fmt: skip


def test_killed_in_the_middle_and_started_again_the_result_is_equal(vault, tmp_path):
    batches = [
        batch(*(PERSON | {"applicant_id_number": f"003{n:02d}{i:07d}"} for i in range(500)))
        for n in range(12)
    ]
    done: list[Any] = []

    def stream() -> None:
        done.extend(vault.client.seal(b) for b in batches)

    worker = threading.Thread(target=stream)
    worker.start()
    while len(done) == 0 and vault.client.health()["sealed_values"] < 2_000:
        time.sleep(0.01)
    vault.process.kill()
    vault.process.wait()
    assert worker.is_alive(), "the stream ended before the kill"
    time.sleep(1)
    with (tmp_path / "vault.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "vault"], env=vault.environment, cwd=PROJECT, stdout=log, stderr=log
        )
        try:
            worker.join(60)
            assert not worker.is_alive()
            stored = vault.client.health()["sealed_values"]
            assert stored == 12 * 500 * 7 + 1
            assert [vault.client.seal(b) for b in batches] == done
            assert vault.client.health()["sealed_values"] == stored
        finally:
            stop(process)


@pytest.mark.prove
def test_sealing_ten_times_as_many_persons_takes_no_more_memory(vault):
    def seal(first: int, after: int) -> int:
        """Batches of new persons; the most memory the vault has held since it began, in kB."""
        for n in range(first, after):
            numbers = (f"003{n:03d}{i:06d}" for i in range(2_000))
            vault.client.seal(batch(*(PERSON | {"applicant_id_number": i, "dossier_id": i} for i in numbers)))
        status = Path(f"/proc/{vault.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])

    few = seal(0, 4)
    assert seal(4, 44) < 1.15 * few
    assert vault.client.health()["sealed_values"] > 44 * 2_000 * 6


def test_a_vault_that_stays_away_is_named_with_what_to_do(halted):
    client = VaultClient(halted.client.socket, halted.client.token, patience=0.5)
    with pytest.raises(VaultUnavailable, match=r"did not answer /v1/seal at its socket .*make up"):
        client.seal(batch(PERSON))


@pytest.mark.parametrize("name", ["token.key", "encryption.key"])
def test_a_wrong_key_does_not_start(halted, name):
    (halted.home / "keys" / name).write_bytes(b"w" * 32)
    refused(again(halted), "was set up with the keys", "does not start", "Put the right keys back")


@pytest.mark.parametrize("name", ["token.key", "encryption.key"])
def test_a_lost_key_is_not_made_anew(halted, name):
    path = halted.home / "keys" / name
    path.unlink()
    refused(again(halted), str(path), "found none", "backup")
    assert not path.exists()


def test_a_lost_folder_of_keys_beside_a_filled_database_is_not_made_anew(halted):
    shutil.rmtree(halted.home / "keys")
    refused(again(halted), str(halted.home / "keys" / "token.key"), "found none", "backup")
    assert list((halted.home / "keys").glob("*.key")) == []


def test_a_key_others_may_read_is_refused(halted):
    path = halted.home / "keys" / "token.key"
    path.chmod(0o640)
    refused(again(halted), f"chmod 600 {path}")


def test_a_key_cut_short_is_refused(halted):
    path = halted.home / "keys" / "encryption.key"
    path.write_bytes(b"short")
    refused(again(halted), f"{path} holds 5 bytes instead of 32")


def test_a_database_that_cannot_be_reached_is_named_without_its_password(halted):
    port = free_port()
    done = again(halted, VAULT_DATABASE_URL=f"postgresql://me:sesame-open@127.0.0.1:{port}/kv")
    refused(done, f"127.0.0.1:{port}/kv", "VAULT_DATABASE_URL")
    assert "sesame" not in done.stderr


def test_a_database_of_an_earlier_version_is_told_before_anything_is_sealed(halted):
    with psycopg.connect(halted.database_url) as connection:
        connection.execute("alter table sealed_value add payload bytea")
    refused(again(halted), "the form of an earlier version", "make clean")


@pytest.mark.parametrize("name", ["VAULT_DATABASE_URL", "VAULT_SOCKET", "VAULT_KEYS", "VAULT_TOKEN_FILE"])
def test_a_setting_not_given_is_named(halted, name):
    refused(again(halted, **{name: ""}), f"looked for the setting {name}")


def test_keys_token_and_socket_are_the_owners_alone(vault):
    keys = [vault.home / "keys" / "token.key", vault.home / "keys" / "encryption.key", vault.home / "token"]
    for path in keys:
        assert path.stat().st_mode & 0o077 == 0, path
    assert keys[0].read_bytes() != keys[1].read_bytes()
    # Whoever may connect must get past the folder: uvicorn opens the socket itself to everybody.
    assert vault.client.socket.parent.stat().st_mode & 0o077 == 0


def test_the_vaults_log_holds_no_value(halted, tmp_path):
    log_path = tmp_path / "vault.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "vault"], env=halted.environment, cwd=PROJECT, stdout=log, stderr=log
        )
        try:
            wait_for(lambda: _answers(halted.client) or process.poll() is not None)
            assert halted.client.seal(batch(PERSON)).equals(halted.sealed)
            # Also where the database refuses and the failure reaches the log.
            with psycopg.connect(halted.database_url, autocommit=True) as connection:
                connection.execute("alter table sealed_value rename to gone")
            impatient = VaultClient(halted.client.socket, halted.client.token, patience=0)
            with pytest.raises(VaultUnavailable):
                impatient.seal(batch(PERSON | {"applicant_name": "Trần Văn Mới"}))
        finally:
            stop(process)
    said = log_path.read_bytes()
    assert b"sealed_value" in said, "the failure was not even logged"
    for name, value in {**PERSON, "another name": "Trần Văn Mới"}.items():
        if name not in ("source_code", "dossier_id", "status_code"):
            for form in clear_forms(str(value)):
                assert form not in said, name


def _answers(client: VaultClient) -> bool:
    try:
        return bool(VaultClient(client.socket, client.token, patience=0).health())
    except VaultUnavailable:
        return False


def test_postgresql_restarting_under_the_vault_is_waited_out(vault):
    sealed = vault.client.seal(batch(PERSON))
    with psycopg.connect(vault.database_url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
    assert vault.client.seal(batch(PERSON)).equals(sealed)


def test_the_warehouses_login_cannot_enter_the_vaults_database(server):
    postgres.prepare(server.settings)
    postgres.prepare(server.settings)  # safe to run again
    warehouse = server.settings.warehouse_url
    with psycopg.connect(warehouse) as connection:
        assert connection.execute("select current_user, current_database()").fetchone() == (
            "khochung",
            "khochung",
        )
    for other in ("khochung_vault", "khochung_airflow"):
        with pytest.raises(psycopg.OperationalError, match=f'permission denied for database "{other}"'):
            psycopg.connect(urlunsplit(urlsplit(warehouse)._replace(path=f"/{other}"))).close()
    with psycopg.connect(server.settings.vault_database_url) as connection:
        assert connection.execute("select current_user").fetchone() == ("khochung_vault",)
    with psycopg.connect(server.admin) as connection:
        for name in ("khochung", "khochung_vault", "khochung_airflow"):
            row = connection.execute(
                "select has_database_privilege('public', oid, 'connect'), pg_get_userbyid(datdba) "
                "from pg_database where datname = %s",
                (name,),
            ).fetchone()
            assert row == (False, name)
        rows = connection.execute(
            "select rolname, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls from pg_roles "
            "where rolname like 'khochung%' order by 1"
        ).fetchall()
    names = {f"khochung_{name}" for name in (*LOGINS, "vault", "airflow")} | {"khochung"}
    assert {r[0] for r in rows} == names
    assert {r[1:] for r in rows} == {(False,) * 4}


def test_the_vault_is_not_reached_over_the_network(vault):
    listening = Path(f"/proc/{vault.process.pid}/net/tcp").read_text().splitlines()[1:]
    inodes = {f"socket:[{line.split()[9]}]" for line in listening if line.split()[3] == "0A"}
    mine = {str(p.readlink()) for p in Path(f"/proc/{vault.process.pid}/fd").iterdir() if p.is_symlink()}
    assert not inodes & mine
