"""The warehouse after the token key was changed: equal rows, equal joins, whatever was landed, staged or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from landing import loader
from landing.manifest import LandingError, Manifest
from ops import handles, pseudonyms, tasks
from ops.outcomes import NothingToDo, read_outcomes
from ops.settings import PROJECT, Settings
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Sandbox, Server, Vault, stop
from tests.ops.test_find_deletions import installed, span, write_policy
from tests.vault.test_rotation import run
from vault.client import VaultClient, VaultUnavailable

CODE = "igate_tien_giang"
INTERVAL = span("2025-06-30T08:00", "2025-06-30T08:20")
TABLES = ("dossier", "dossier_step", "dossier_paper", "dossier_fee")
COLUMNS = [
    (table, column)
    for table in TABLES
    for column in tasks.table_spec(tasks.contract(table)).handles
]  # fmt: skip


@dataclass
class Chain:
    """One source of a warehouse of its own, with a vault of its own."""

    settings: Settings
    vault: Vault
    sandbox: Sandbox
    code: str = CODE

    def pull(self) -> str:
        address = tasks.Address(self.sandbox.base_url, CLIENT_ID, CLIENT_SECRET)
        return tasks.pull(self.settings, CODE, INTERVAL, address)

    def load(self, folder: str) -> dict[str, Any]:
        tasks.stage(self.settings, CODE, folder)
        tasks.load(self.settings, CODE, folder)
        return read_outcomes(self.settings.home)[-1].details["tables"]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.warehouse_url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def retoken(self) -> None:
        done = run(self.vault, "retoken")
        assert done.returncode == 0, done.stderr

    def follow(self) -> pseudonyms.Renewed:
        """What a build does first, after somebody was erased."""
        with psycopg.connect(self.settings.warehouse_url) as connection:
            return pseudonyms.renew(connection, self.vault.client)

    def shape(self) -> tuple[Any, ...]:
        """What must stay equal: rows of each table, and which of them share a token or a reference in any column."""
        counts = [self.rows(f"select count(*) from raw.{t}") for t in TABLES]
        together = defaultdict(list)
        for table, column in COLUMNS:
            for place, handle in self.rows(
                f"select r.source_code || r.dossier_id || row_number() over (partition by r.source_code, r.dossier_id "
                f"order by r.{tasks.contract(table).key[-1]}), {column} from raw.{table} r where {column} is not null"
            ):
                together[handle].append((table, column, place))
        persons = self.rows(
            "select count(*), count(distinct a.dossier_id) from raw.dossier a join raw.dossier b "
            "on a.applicant_id_number = b.applicant_id_number and a.dossier_id < b.dossier_id"
        )
        return counts, sorted(map(sorted, together.values())), persons

    def versions(self) -> set[str]:
        return {
            v
            for table, column in COLUMNS
            for (v,) in self.rows(
                f"select distinct split_part({column}, '_', 1) from raw.{table} where {column} <> ''"
            )
        }


@pytest.fixture
def chain(server: Server, tien_giang: Sandbox) -> Iterator[Chain]:
    with installed(server) as (settings, vault):
        made = Chain(settings, vault, tien_giang)
        write_policy(made)  # its hour alone, without the days around it
        yield made


def changes(loaded: dict[str, Any]) -> int:
    """Rows inserted, updated or removed."""
    return sum(t["inserted"] + t["updated"] + t["removed"] for t in loaded.values())


def unchanged(loaded: dict[str, Any]) -> bool:
    return changes(loaded) == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from landing import handles
from ops import tasks
from ops.handles import renewing
from ops.settings import Settings
from connectors.contract import contract, contract_names
settings = Settings({"KHOCHUNG_HOME": sys.argv[1], "WAREHOUSE_URL": sys.argv[2]}, dotenv=Path("no.env"))
specs = [tasks.table_spec(contract(n)) for n in contract_names()]
handles.renew_warehouse(sys.argv[2], specs, renewing(settings), lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_after_the_change_rows_and_joins_are_equal_and_a_repull_rewrites_nothing(chain):
    first, waiting, late = chain.pull(), chain.pull(), chain.pull()
    chain.load(first)
    tasks.stage(chain.settings, CODE, waiting)
    person = chain.rows(
        "select applicant_id_number from raw.dossier where applicant_id_number is not null group by 1 "
        "order by count(*) desc, 1 limit 1"
    )[0][0]
    whole = chain.shape()
    assert chain.versions() == {"id1", "ref1"}
    assert len(whole[0]) == 4
    assert min(n for ((n,),) in whole[0]) > 5
    ((mine,),) = chain.rows(f"select count(*) from raw.dossier where applicant_id_number = '{person}'")
    forget(chain, person)
    unlinked = chain.follow().unlinked
    assert unlinked > mine > 0
    assert chain.follow().unlinked == 0
    before, numbers = chain.shape(), chain.rows("select max(load_number) from ops.load_log")
    assert (before[0], before[1] != whole[1]) == (whole[0], True), (
        "no row goes, and no two of his join any more"
    )
    chain.retoken()

    # New batches wait for the warehouse, and say what for.
    new = chain.pull()
    with pytest.raises(LandingError, match=r"the warehouse those of version 1.*ops renew-handles"):
        tasks.stage(chain.settings, CODE, new)
    assert chain.shape() == before

    # Killed before its commit, all is as it was.
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(chain.settings.home), chain.settings.warehouse_url], cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (chain.shape(), chain.versions()) == (before, {"id1", "ref1"})
    assert chain.rows("select max(load_number) from ops.load_log") == numbers

    done = handles.renew_warehouse(chain.settings)
    assert done.version == 2
    assert chain.shape() == before
    assert chain.versions() == {"id2", "ref2"}
    # What is built of raw sees the rows that changed, and no day is covered by it.
    number = done.load_numbers[CODE]
    assert number == numbers[0][0] + 1
    changed = chain.rows(
        f"select count(distinct dossier_id) from raw.dossier_change where load_number = {number}"
    )
    assert changed == chain.rows("select count(*) from raw.dossier")
    assert chain.rows(
        f"select interval_start = interval_end, (counts -> 'dossier' ->> 'updated')::int from ops.load_log "
        f"where load_number = {number}"
    ) == [(True, done.rows["dossier"])]
    assert chain.rows("select tablename from pg_tables where tablename like 'renewed%'") == []
    with pytest.raises(NothingToDo, match="version 2 already"):
        handles.renew_warehouse(chain.settings)

    # What was staged before is staged again; what was landed before takes its present form.
    with pytest.raises(LandingError, match="clear the staging task"):
        tasks.load(chain.settings, CODE, waiting)
    for folder in (waiting, late):
        # Landed before the erasure: the person is not brought back, and nobody else has changed.
        loaded = chain.load(folder)
        assert (loaded["dossier"]["updated"], changes(loaded)) == (mine, unlinked)
        assert chain.shape() == before
        assert chain.follow().unlinked == 0
        assert chain.shape() == before
    for folder in (new, chain.pull()):
        assert changes(chain.load(folder)) == 0, "an erasure changes a row once, whatever is pulled later"
    assert tasks.stage(chain.settings, CODE, first) == {}
    assert (chain.shape(), chain.versions()) == (before, {"id2", "ref2"})
    Manifest.read(Path(first)).verify_files(Path(first))

    # And once more; the first batch is now two keys behind, and neither key is the warehouse's.
    chain.retoken()
    with psycopg.connect(chain.settings.warehouse_url) as connection:
        connection.execute("delete from ops.load_log where batch_id = %s", (Path(first).name,))
    with pytest.raises(LandingError, match=r"version 1, the warehouse those of version 2.*ops renew-handles"):
        tasks.stage(chain.settings, CODE, first)
    assert handles.renew_warehouse(chain.settings).version == 3
    assert (chain.shape(), chain.versions()) == (before, {"id3", "ref3"})
    assert unchanged(chain.load(first))
    assert unchanged(chain.load(chain.pull()))
    assert chain.shape() == before


def forget(chain: Chain, token: str) -> None:
    """Erase a person, as the vault's command does; the number is known to the source alone."""
    from vault.erasure import Request
    from vault.keys import FileKeys
    from vault.store import Setup, Store

    home = chain.vault.home / "keys"
    store = Store(Setup(chain.vault.database_url, FileKeys(home), erasures=home / "erasures.jsonl"))
    assert store.decide(
        Request("YC-1", token, "erase", "Luật 91/2025/QH15", "H20-1", "2026-01-01T00:00:00+07:00")
    )


def test_a_new_warehouse_begins_with_the_key_of_its_first_batch_and_an_absent_vault_is_named(chain):
    first = chain.pull()
    chain.retoken()
    assert not unchanged(chain.load(chain.pull()))
    assert chain.versions() == {"id2", "ref2"}
    stop(chain.vault.process)

    def renew(texts: pa.Array) -> pa.Array:
        return VaultClient(chain.settings.vault_socket, chain.settings.vault_token, 0).renewed(texts)

    connector = tasks.source(chain.settings, CODE).connector_class()
    with pytest.raises(VaultUnavailable, match="did not answer /v1/renewed"):
        loader.stage(chain.settings.warehouse_url, Path(first), tasks._specs(connector), renew)


def test_what_the_vault_says_while_a_batch_is_staged_is_said(chain):
    first = chain.pull()
    chain.retoken()
    chain.load(chain.pull())
    connector = tasks.source(chain.settings, CODE).connector_class()

    def renew(texts: pa.Array) -> pa.Array:
        # The first question is which version there is; the vault goes away after it.
        if len(texts) > 1:
            raise VaultUnavailable("gone")
        return VaultClient(chain.settings.vault_socket, chain.settings.vault_token).renewed(texts)

    with pytest.raises(VaultUnavailable, match="gone"):
        loader.stage(chain.settings.warehouse_url, Path(first), tasks._specs(connector), renew)
