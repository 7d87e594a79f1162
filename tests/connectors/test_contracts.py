"""Contracts: each one loads, says clearly what is wrong with it, and becomes a table, a schema, a dbt source."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import yaml

from connectors.contract import (
    CONTRACTS,
    PRIVACY_CLASSES,
    SEALS,
    ContractError,
    contract,
    contract_names,
    read_contract,
)
from ops.settings import PROJECT

TYPES = {"text": "text", "smallint": "smallint", "integer": "integer", "bigint": "bigint", "boolean": "boolean",
         "date": "date", "timestamptz": "timestamp with time zone", "jsonb": "jsonb"}  # fmt: skip
GIVEN = yaml.safe_load((CONTRACTS / "dossier_fee.yaml").read_text())


def table_of(document: dict[str, Any]) -> dict[str, Any]:
    return document["schema"][0]


def field(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(p for p in table_of(document)["properties"] if p["name"] == name)


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    document = copy.deepcopy(GIVEN)
    change(document)
    path = folder / "dossier_fee.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True))
    return path


def test_every_contract_loads_and_a_parent_stands_before_its_children() -> None:
    names = contract_names()
    assert {"dossier", "dossier_step", "dossier_paper", "dossier_fee", "agency", "procedure", "procedure_method",
            "evaluation"} <= set(names)  # fmt: skip
    assert set(names) == {p.stem for p in CONTRACTS.glob("*.yaml")}
    for name in names:
        known = contract(name)
        assert known.key[0] == "source_code"
        assert known.parent is None or names.index(known.parent) < names.index(name)
        assert all(c.description for c in known.columns)
        assert 0 <= known.reject_share < 0.1


@pytest.mark.parametrize("name", contract_names())
def test_a_personal_column_is_sealed_and_any_other_is_not(name: str) -> None:
    for column in contract(name).columns:
        assert (column.seal is None) is PRIVACY_CLASSES[column.classification]


@pytest.mark.parametrize("name", contract_names())
def test_clear_and_landed_schemas_follow_the_seals(name: str) -> None:
    known = contract(name)
    clear, landed = known.clear_schema, known.landed_schema
    assert clear.names == [c.name for c in known.columns]
    assert landed.names == [c.name for c in known.columns if c.seal != "drop"]
    for column in known.columns:
        meta = clear.field(column.name).metadata
        assert meta[b"classification"].decode() == column.classification
        assert meta.get(b"seal", b"").decode() == (column.seal or "")
        if column.seal is None:
            assert landed.field(column.name).type == clear.field(column.name).type
        elif column.seal != "drop":
            assert landed.field(column.name).type == SEALS[column.seal]
            assert clear.field(column.name).type == (pa.date32() if column.seal == "year" else pa.string())
    assert (b"subject" in clear.metadata) is (known.subject is not None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: field(d, "fee_name").update(classification="public"),
         "dossier_fee.fee_name: classification 'public'"),
        (lambda d: field(d, "fee_name").pop("classification"), "every column needs a privacy class"),
        (lambda d: field(d, "fee_name").update(physicalType="varchar"), "physicalType 'varchar' is not one of text"),
        (lambda d: field(d, "fee_name").pop("physicalType"), "physicalType '' is not one of text"),
        (lambda d: field(d, "fee_name").update(customProperties=[{"property": "seal", "value": "hash"}]),
         "seal 'hash' is not one of token, reference, year, drop"),
        (lambda d: field(d, "fee_name").update(customProperties=[{"property": "seal", "value": "token"}]),
         "class 'none' and seal 'token' contradict each other"),
        (lambda d: field(d, "fee_name").update(classification="identifying"),
         "class 'identifying' and seal None contradict each other"),
        (lambda d: field(d, "amount_vnd").update(classification="sensitive",
                                                 customProperties=[{"property": "seal", "value": "token"}]),
         "sealed by 'token' it becomes string, not numeric(18,0)"),
        (lambda d: [p.pop("primaryKey", None) for p in table_of(d)["properties"]], "no primaryKey"),
        (lambda d: table_of(d)["customProperties"].append({"property": "subject", "value": "ai_do"}),
         "subject names 'ai_do', which is no column"),
        (lambda d: table_of(d)["customProperties"].append({"property": "indexed", "value": ["khong_co"]}),
         "indexed names 'khong_co', which is no column"),
        (lambda d: d.update(schema=[]), "expected exactly one schema object"),
        (lambda d: d["schema"].append(d["schema"][0]), "expected exactly one schema object"),
        (lambda d: d.update(schema="x"), "not a readable ODCS v3 contract"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_contract_is_said_with_its_place(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    path = changed(tmp_path, change)
    with pytest.raises(ContractError) as wrong:
        read_contract(path)
    assert said in str(wrong.value)
    assert "dossier_fee" in str(wrong.value)


def test_a_contract_that_is_not_there_or_no_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no contract at"):
        read_contract(tmp_path / "khong_co.yaml")
    with pytest.raises(ContractError, match="no contract at"):
        contract("khong_co")
    path = tmp_path / "hong.yaml"
    path.write_text("schema: [")
    with pytest.raises(ContractError, match=r"hong\.yaml"):
        read_contract(path)


def test_a_column_nobody_declared_is_an_error() -> None:
    with pytest.raises(ContractError, match="dossier_fee has no column 'gia'"):
        contract("dossier_fee").column("gia")


def test_the_tables_are_made_twice_on_a_real_server_with_the_types_declared(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("create schema raw")
        for _ in range(2):
            for name in contract_names():
                for statement in contract(name).ddl():
                    connection.execute(statement)  # type: ignore[arg-type]
        for name in contract_names():
            known = contract(name)
            found = connection.execute(
                "select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
                "col_description(a.attrelid, a.attnum) from pg_attribute a "
                "where a.attrelid = %s::regclass and a.attnum > 0 order by a.attnum",
                (f'raw."{name}"',),
            ).fetchall()
            declared = [
                (c.name, TYPES.get(c.physical_type, c.physical_type), c.required or c.name in known.key,
                 c.description) for c in known.landed_columns
            ]  # fmt: skip
            assert found[: len(declared)] == declared
            assert [f[0] for f in found[len(declared) :]] == [
                "_origin",
                "_batch_id",
                "_load_number",
                "_pulled_at",
            ]
            key = connection.execute(
                "select array_agg(a.attname order by array_position(i.indkey::int2[], a.attnum)) from pg_index i "
                "join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey) "
                "where i.indrelid = %s::regclass and i.indisprimary",
                (f'raw."{name}"',),
            ).fetchone()
            assert key == (list(known.key),)


def test_a_table_of_an_earlier_version_gets_the_columns_it_lacks_and_keeps_its_rows(database: str) -> None:
    known = contract("agency")
    later = next(c for c in known.landed_columns if not c.required and c.name not in known.key)
    with psycopg.connect(database) as connection:
        connection.execute("create schema raw")
        for statement in known.ddl():
            connection.execute(statement)  # type: ignore[arg-type]
        connection.execute(
            "insert into raw.agency (source_code, agency_code, agency_name, _origin, _batch_id, _load_number, "
            "_pulled_at) values ('s', 'a', 'b', 'real', 'x', 1, now())"
        )
        connection.execute(f'alter table raw.agency drop column "{later.name}"')  # type: ignore[call-overload]
        for statement in known.ddl():
            connection.execute(statement)  # type: ignore[arg-type]
        held = connection.execute(f'select agency_code, "{later.name}" from raw.agency').fetchall()  # type: ignore[call-overload]
    assert held == [("a", None)]


def test_an_origin_other_than_real_or_simulated_does_not_enter(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("create schema raw")
        for statement in contract("agency").ddl():
            connection.execute(statement)  # type: ignore[arg-type]
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(
                "insert into raw.agency (source_code, agency_code, agency_name, _origin, _batch_id, _load_number, "
                "_pulled_at) values ('s', 'a', 'b', 'probably', 'x', 1, now())"
            )


def test_dbts_sources_are_the_contracts() -> None:
    done = subprocess.run(
        [sys.executable, str(PROJECT / "dbt/scripts/generate_sources.py"), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    written = yaml.safe_load((PROJECT / "dbt/models/staging/_sources.yml").read_text())
    raw = next(s for s in written["sources"] if s["name"] == "raw")
    tables = {t["name"]: [c["name"] for c in t["columns"]] for t in raw["tables"]}
    for name in contract_names():
        landed = [c.name for c in contract(name).landed_columns]
        assert [c for c in tables[name] if not c.startswith("_")] == landed
