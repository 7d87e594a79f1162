"""What if: the index of QĐ 766 with some dossiers as somebody assumes them, counted by the rules that count all others.

The assumed dossiers stand in `national.assumed` while dbt's view `int_national__what_if` is read: it judges and scores
them by the macros that judge and score ours, so there is no second copy of a rule.
"""

from __future__ import annotations

import csv
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from national.reconcile import COLUMNS, COMPARED, value_of

#: What a dossier takes the place of: ours, or the portal's copy of it.
BASES = ("portal", "warehouse")
ABSENT = "Không có"
EMPTY = "-"


class AssumptionError(Exception):
    """The file of assumed dossiers cannot be used; the message says where and what is wanted."""


@dataclass(frozen=True)
class Assumed:
    """One dossier: columns that are otherwise than ours, or that it is not there at all."""

    changes: Mapping[str, object]
    is_absent: bool = False


def read_assumed(path: Path) -> dict[str, Assumed]:
    """{code: how it is assumed} of a CSV file, comma or semicolon.

    A column "Mã hồ sơ", and any of COLUMNS for what is assumed otherwise: an empty cell is as ours, "-" is nothing. A
    mark under "Không có": the dossier is not there.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise AssumptionError(f"looked for a file of dossiers (CSV, UTF-8) in {path}: {e}") from None
    head = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter=";" if head.count(";") > head.count(",") else ",")
    names = [str(n).strip() for n in rows.fieldnames or ()]
    rows.fieldnames = names
    if "Mã hồ sơ" not in names or (unknown := set(names) - {*COLUMNS, ABSENT}):
        raise AssumptionError(
            f"{path}: its first line is {', '.join(names) or 'empty'}; wanted are Mã hồ sơ and any of "
            f"{', '.join(c for c in COLUMNS if c != 'Mã hồ sơ')}, {ABSENT}"
            + (f" (not {', '.join(sorted(unknown))})" if "Mã hồ sơ" in names else "")
        )
    found: dict[str, Assumed] = {}
    for number, row in enumerate(rows, 2):
        code = (row["Mã hồ sơ"] or "").strip()
        if not code:
            continue
        changes: dict[str, object] = {}
        for column, cell in row.items():
            name, written = COLUMNS.get(column or "", ""), (cell or "").strip()
            if name not in COMPARED or not written:
                continue
            try:
                changes[COMPARED[name]] = None if written == EMPTY else value_of(name, written, {})
            except (ValueError, KeyError):
                raise AssumptionError(
                    f"{path} line {number}: {column} cannot be read; days are written 31/12/2025 17:00:00, statuses by "
                    "their name or number"
                ) from None
        found[code] = Assumed(changes, bool((row.get(ABSENT) or "").strip()))
    if not found:
        raise AssumptionError(f"{path} names no dossier under Mã hồ sơ")
    return found


def what_if(
    connection: psycopg.Connection, reader: psycopg.Connection, assumed: Mapping[str, Assumed], base: str
) -> list[dict[str, Any]]:
    """Rows of `int_national__what_if` (points now and then, by unit, period, indicator) for these dossiers.

    `connection` writes `national`, `reader` reads what dbt builds. AssumptionError names codes of no
    dossier.
    """
    scenario = f"what-if-{secrets.token_hex(6)}"
    keys: dict[str, str] = {}
    for code, key in connection.execute(
        "select unnest(array[dossier_code, national_code]), dossier_key from marts.fct_dossier "
        "where dossier_code = any(%(codes)s) or national_code = any(%(codes)s)",
        {"codes": list(assumed)},
    ).fetchall():
        keys[code] = key
    if unknown := sorted(set(assumed) - set(keys)):
        raise AssumptionError(
            f"{len(unknown):,} of {len(assumed):,} dossiers are not in the warehouse: {', '.join(unknown[:10])}"
            + (" ..." if len(unknown) > 10 else "")
        )
    try:
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into national.assumed (scenario, dossier_key, base, changes, is_absent) "
                "values (%s, %s, %s, %s, %s) on conflict do nothing",
                [
                    (scenario, keys[code], base, json.dumps(one.changes), one.is_absent)
                    for code, one in assumed.items()
                ],
            )
        connection.commit()
        with reader.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(
                "select * from intermediate.int_national__what_if where scenario = %s "
                "order by length(unit_code), unit_code, period, group_code, indicator_code",
                (scenario,),
            ).fetchall()
    finally:
        connection.rollback()
        connection.execute("delete from national.assumed where scenario = %s", (scenario,))
        connection.commit()
