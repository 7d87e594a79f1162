"""A warehouse whose raw tables are all there and empty, for tests that put a few rows of their own."""

from __future__ import annotations

import os
from typing import Any

import psycopg
import pytest
from psycopg import sql

from connectors.contract import contract, contract_names
from landing import loader
from ops import tasks
from ops.pseudonyms import renew
from ops.settings import Settings
from tests.conftest import Server
from vault.client import VaultClient


def empty_warehouse(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a new home and database; nothing is built."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(
        {"KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": server.new_database(), "PATH": os.environ["PATH"]},
        dotenv=home / "no.env",
    )
    with psycopg.connect(settings.login_url("loader")) as connection:
        loader.prepare(connection, [tasks.table_spec(contract(t)) for t in contract_names()])
        renew(connection, VaultClient(home / "no.sock", ""))  # without dossiers no vault is asked
    return settings


def put(settings: Settings, table: str, **values: Any) -> None:
    """One row, as the loader writes it."""
    statement = sql.SQL("insert into {} ({}) values ({})").format(
        sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(sql.Placeholder() * len(values)),
    )  # fmt: skip
    with psycopg.connect(settings.login_url("loader")) as connection:
        connection.execute(statement, list(values.values()))
