"""Sealed batches of real contracts, made by hand and landed with the real writer."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from connectors.contract import contract
from landing import loader
from landing.manifest import TableEntry
from landing.writer import BatchWriter
from ops.tasks import table_spec

SOURCE = "igate_tien_giang"
TABLES = ("dossier", "dossier_step")
SPECS = [table_spec(contract(t)) for t in TABLES]
NOON = dt.datetime(2025, 6, 30, 5, tzinfo=dt.UTC)
INTERVAL = (NOON - dt.timedelta(days=1), NOON)


def dossier(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "source_code": SOURCE,
        "dossier_id": f"d{number}",
        "dossier_code": f"000.00.14.H58-250630-{number:04d}",
        "procedure_code": "1.001193",
        "applicant_name": f"ref1_{number:032x}",
        "applicant_birth_year": 1980,
        "receiving_agency_code": "000.00.14.H58",
        "responsible_agency_code": "000.00.14.H58",
        "received_at": NOON - dt.timedelta(hours=number % 24),
        "status_code": "2",
        "status_name": "Đang xử lý",
        **changes,
    }


def step(number: int, step_no: int, **changes: Any) -> dict[str, Any]:
    return {
        "source_code": SOURCE,
        "dossier_id": f"d{number}",
        "step_no": step_no,
        "step_name": f"Bước {step_no}",
        "started_at": NOON,
        "status_code": "2",
        **changes,
    }


def reject_of(number: int, step_no: int | None) -> tuple[str, str]:
    """Table and key of a rejected step, as ops.tasks notes it."""
    key = {
        "source_code": SOURCE,
        "dossier_id": f"d{number}",
        "step_no": None if step_no is None else str(step_no),
    }
    return "dossier_step", json.dumps(key, sort_keys=True)


def write(
    landing: Path,
    dossiers: list[dict[str, Any]],
    steps: list[dict[str, Any]] | None = None,
    rejects: list[tuple[str, str]] = (),  # type: ignore[assignment]
    pulled_at: dt.datetime = NOON,
    **counts: int,
) -> Path:
    """Land a batch; the folder. `counts` replaces fields of the manifest's dossier entry."""
    tables: dict[str, TableEntry] = {}
    with BatchWriter(landing, SOURCE) as writer:
        for name, rows in (("dossier", dossiers), ("dossier_step", steps)):
            if rows is None:
                continue
            schema = contract(name).landed_schema
            if rows:
                writer.write(name, pa.RecordBatch.from_pylist(rows, schema=schema), schema)
            rejected = sum(1 for table, _ in rejects if table == name)
            entry = {"announced": None, "landed": len(rows), "rejected": rejected, "duplicates": 0}
            tables[name] = TableEntry(
                **{**entry, **(counts if name == "dossier" else {})}, contract_version="1.0.0"
            )
        for table, key in rejects:
            writer.reject(table, key, "started_at", "required, but empty")
        return writer.finish(
            source_code=SOURCE,
            origin="simulated",
            dialect="igate",
            interval=INTERVAL,
            pulled_at=pulled_at,
            tables=tables,
            details={},
        )


def bring(url: str, folder: Path) -> loader.LoadOutcome:
    """Stage and load."""
    loader.stage(url, folder, SPECS)
    return loader.load(url, folder, SPECS)


def query(url: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(text).fetchall()


def content(url: str) -> list[list[tuple[Any, ...]]]:
    """Business content of the raw tables, without which batch brought it."""
    found = []
    for spec in SPECS:
        columns = ", ".join(f'"{c}"' for c in spec.columns)
        found.append(query(url, f"select {columns} from raw.{spec.name} order by {', '.join(spec.key)}"))
    return found


def steps_of(url: str, number: int) -> list[int]:
    rows = query(url, f"select step_no from raw.dossier_step where dossier_id = 'd{number}' order by 1")
    return [r[0] for r in rows]
