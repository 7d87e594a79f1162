"""A PostgreSQL with one staged batch for every contract, all of it as the contract wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from open_data_contract_standard.model import OpenDataContractStandard, SchemaProperty

from expectations.suites import CONTRACTS

# Random digits now and then look like an identity number: no reason to refuse a batch.
DIGITS = "a012345678901b" + "0c" * 9
SEALED = {"token": "id1_" + DIGITS, "reference": "ref1_" + DIGITS}
ROWS = 20


@pytest.fixture(scope="session")
def postgres(server: Any) -> str:
    return str(server.new_database())


def good_value(prop: SchemaProperty) -> str:
    """SQL for a value that the contract allows; `i` is the number of the row."""
    custom = {str(item.property): item.value for item in prop.customProperties or []}
    kind = str(prop.physicalType)
    if seal := SEALED.get(str(custom.get("seal") or custom.get("handle"))):
        return f"'{seal}'"
    if custom.get("seal") == "year":
        return "1990"
    if allowed := custom.get("allowedValues"):
        return f"'{allowed[0]}'" if isinstance(allowed[0], str) else str(allowed[0])
    if kind == "text":
        return f"'{prop.name} ' || i"
    if kind == "timestamptz":
        # Moments in the order in which they happen, whatever they are called.
        hours = {
            "received_at": 1,
            "started_at": 1,
            "due_at": 9,
            "completed_at": 5,
            "finished_at": 5,
            "returned_at": 7,
        }
        return f"timestamptz '2025-06-16 08:00+07' + interval '{hours.get(str(prop.name), 0)} hours'"
    if kind == "date":
        return "date '2025-06-16'"
    return "true" if kind == "boolean" else "i % 30000" if kind == "smallint" else "i"


@pytest.fixture
def stage(postgres: str) -> Callable[..., dict[str, str]]:
    """Stage contracts, then run statements that spoil them; returns the tables as the gate takes them."""

    def fill(*contracts: str, spoil: str = "") -> dict[str, str]:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("drop schema if exists staged cascade; create schema staged")
            for contract in contracts:
                declared = OpenDataContractStandard.from_file(str(CONTRACTS / f"{contract}.yaml"))
                properties = (declared.schema_ or [])[0].properties or []
                columns = ", ".join(f"({good_value(p)})::{p.physicalType} as {p.name}" for p in properties)
                connection.execute(  # type: ignore[call-overload]
                    f"create table staged.{contract}_7 as select {columns} from generate_series(1, {ROWS}) i"
                )
            connection.execute(spoil)  # type: ignore[call-overload]
        return {contract: f"{contract}_7" for contract in contracts}

    return fill


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return tmp_path / "data-docs"
