"""Trouble of the vault's database: said by its meaning, nothing is half kept, and it heals."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from ops import postgres as embedded
from ops.settings import Settings
from tests.conftest import free_port, start_vault, stop, wait_for
from tests.vault.test_sealing import PERSON, batch
from vault.client import VaultClient, VaultUnavailable

HELD = "select count(*) from sealed_value"


@pytest.fixture(scope="module")
def own() -> Iterator[Any]:
    """A server of its own, whose disk is small where that can be had, and a vault with an ordinary login on it."""
    home = Path(tempfile.mkdtemp(prefix="kcd-"))
    home.chmod(0o755)
    disk = home / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)]
    small = os.geteuid() == 0 and not subprocess.run(mount, capture_output=True, check=False).returncode
    port = free_port()
    settings = Settings(
        {"KHOCHUNG_HOME": str(home), "KHOCHUNG_POSTGRES_PORT": str(port), "PATH": os.environ["PATH"]},
        dotenv=home / "no.env",
    )
    embedded.create_cluster(settings)
    process: Any = None

    def start() -> None:
        nonlocal process
        with (home / "postgres.log").open("a") as log:
            process = subprocess.Popen(
                [*embedded.serve(settings), "-c", "fsync=off"], cwd="/", stdout=log, stderr=log,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            )  # fmt: skip
        wait_for(lambda: embedded.ready(embedded.admin_url(settings)))

    start()
    vault: Any = None
    try:
        with psycopg.connect(embedded.admin_url(settings), autocommit=True) as connection:
            found = connection.execute("show data_directory").fetchone()
            owner = Path(found[0]).stat()  # type: ignore[index]
            os.chown(disk, owner.st_uid, owner.st_gid)
            connection.execute(f"create tablespace small location '{disk}'")
            connection.execute("create role keeper login password 'of-the-tests'")
            connection.execute("create database kept owner keeper tablespace small template template0")
        url = f"postgresql://keeper:of-the-tests@127.0.0.1:{port}/kept"
        vault = start_vault(url, home / "vault")
        yield SimpleNamespace(
            admin=embedded.admin_url(settings), url=url, disk=disk if small else None, start=start, client=vault.client,
            stop=lambda: stop(process), impatient=VaultClient(vault.client.socket, vault.client.token, patience=0),
        )  # fmt: skip
    finally:
        if vault:
            stop(vault.process)
        stop(process)
        if small:
            subprocess.run(["umount", "-l", str(disk)], check=True)
        shutil.rmtree(home, ignore_errors=True)


def seal(client: VaultClient, number: int) -> Any:
    return client.seal(
        batch(*(PERSON | {"applicant_id_number": f"0030{number:02d}{n:06d}"} for n in range(2000)))
    )


def told(own: Any, number: int, *words: str) -> None:
    with pytest.raises(VaultUnavailable) as failure:
        seal(own.impatient, number)
    said = str(failure.value)
    for word in (*words, "/v1/seal", "HTTP 503", "Nothing was landed", "clear the failed task"):
        assert word in said
    for word in ("make up", "keeper", "of-the-tests", PERSON["applicant_name"]):
        assert word not in said


def held(own: Any) -> int:
    with psycopg.connect(own.url) as connection:
        return int(connection.execute(HELD).fetchone()[0])  # type: ignore[index]


def test_no_connection_left_is_said_and_heals(own):
    before = held(own)
    with psycopg.connect(own.admin, autocommit=True) as connection:
        connection.execute("alter role keeper connection limit 0")
        connection.execute(
            "select pg_terminate_backend(pid, 20000) from pg_stat_activity where usename = 'keeper'"
        )
        told(own, 1, "the vault's database has no free connection left", "pg_stat_activity")
        connection.execute("alter role keeper connection limit -1")
    assert held(own) == before
    seal(own.client, 1)
    assert held(own) > before


def test_a_full_disk_is_said_and_heals(own):
    if own.disk is None:
        pytest.skip("mounting a small disk needs root")
    before, filler = held(own), own.disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    try:
        told(own, 2, "the disk of the vault's database is full", "Free space there")
    finally:
        filler.unlink()
    assert held(own) == before, "nothing of the batch was kept"
    seal(own.client, 2)
    assert held(own) > before


def test_a_database_that_takes_no_changes_is_said_and_heals(own):
    """As on a standby."""
    before = held(own)
    with psycopg.connect(own.admin, autocommit=True) as connection:
        for setting in ("set default_transaction_read_only = on", "reset default_transaction_read_only"):
            connection.execute(f"alter role keeper {setting}")
            connection.execute(
                "select pg_terminate_backend(pid, 20000) from pg_stat_activity where usename = 'keeper'"
            )
            if "on" in setting.split():
                told(own, 4, "the vault's database takes no changes", "give it the primary")
    assert held(own) == before
    seal(own.client, 4)
    assert held(own) > before


def test_a_server_that_is_down_is_said_and_heals(own):
    """Last in this file."""
    before = held(own)
    own.stop()
    told(own, 3, "the vault's database does not answer", "VAULT_DATABASE_URL")
    own.start()
    seal(own.client, 3)
    assert held(own) > before
