"""An erased person's dossiers lose, in ``raw``, what joins them: the token, and the references made under it.

A row becomes what the vault makes of it when it is pulled again (`vault.sealing.UNLINKED` for each reference), so that
it changes once. The vault tells by its answer about pseudonyms who is erased (`ops.pseudonyms`); this follows in the
same transaction: before each build, and in each load, so that an older landed file, which keeps its tokens for ever,
brings nothing back. Rows that change take a load number of their source with an empty
interval, as for a changed token key (`landing.handles`): what is built of them sees that they changed.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Sequence

import psycopg
from psycopg import sql

from connectors.contract import Contract, contract, contract_names
from landing.loader import LOAD_LOCK
from landing.manifest import new_batch_id

_DOSSIER = ("source_code", "dossier_id")
#: Columns that name a person without being sealed in their own table: each row gets a handle of no other.
_CHECK = "citizen_check"


def unlink(connection: psycopg.Connection, tokens: Sequence[str], unlinked: str) -> dict[str, int]:
    """Unlink the dossiers and checks of these persons; rows changed by table. The caller commits.

    `unlinked` is what stands in the place of a reference.
    """
    if not tokens:
        return {}
    connection.execute("select pg_advisory_xact_lock(%s)", (LOAD_LOCK,))
    connection.execute(
        "create temp table unlinked on commit drop as select source_code, dossier_id, _origin from raw.dossier "
        "where applicant_id_number = any(%s)",
        (list(tokens),),
    )
    connection.execute("analyze unlinked")
    checks = connection.execute("select to_regclass('raw.citizen_check') is not null").fetchone() == (True,)
    _number(connection, list(tokens), checks)
    changed = {}
    for table in map(contract, contract_names()):
        columns = _columns(table)
        there = connection.execute("select to_regclass(%s) is not null", (f"raw.{table.name}",)).fetchone()
        if columns and set(_DOSSIER) <= set(table.key) and there == (True,):
            changed[table.name] = connection.execute(_emptied(table, unlinked)).rowcount
    if checks:
        changed[_CHECK] = connection.execute(
            # Of its own in each row, and of the form of a handle, which these columns must hold.
            "update raw.citizen_check c set _load_number = n.load_number, "
            "person_token = substr(person_token, 1, 4) || md5('unlinked' || c.source_code || check_id), "
            "name_reference = substr(name_reference, 1, 5) || md5('unlinked' || c.source_code || check_id) "
            "from unlinking n where n.source_code = c.source_code and person_token = any(%s)",
            (list(tokens),),
        ).rowcount
    counts = json.dumps({name: {"updated": rows} for name, rows in changed.items() if rows})
    connection.execute(
        "update ops.load_log l set counts = %s from unlinking n where l.load_number = n.load_number",
        (counts,),
    )
    return {name: rows for name, rows in changed.items() if rows}


def _number(connection: psycopg.Connection, tokens: list[str], checks: bool) -> None:
    """A load number for each source with rows to change, in the load log and in a temporary table."""
    connection.execute("create temp table unlinking (source_code text, load_number bigint) on commit drop")
    query = "select source_code, _origin from unlinked"
    if checks:
        query += (
            " union select source_code, _origin from raw.citizen_check where person_token = any(%(tokens)s)"
        )
    found = connection.execute(
        f"select source_code, max(_origin) from ({query}) s group by 1 order by 1",  # noqa: S608 - our own words
        {"tokens": tokens},
    ).fetchall()  # type: ignore[call-overload]
    for source, origin in found:
        batch = new_batch_id(dt.datetime.now(dt.UTC), os.urandom(8))
        connection.execute(
            "with numbered as (insert into ops.load_log (load_number, batch_id, source_code, origin, interval_start, "
            "interval_end, pulled_at, counts) select coalesce(max(load_number), 0) + 1, %s, %s, %s, now(), now(), "
            "now(), '{}' from ops.load_log returning source_code, load_number) insert into unlinking select * from "
            "numbered",
            (batch, source, origin),
        )


def _columns(table: Contract) -> dict[str, str]:
    """{column: seal} of the columns that are sealed under the person of a row."""
    return {c.name: c.seal for c in table.columns if c.seal in ("token", "reference") and c.owner is None}


def _emptied(table: Contract, unlinked: str) -> sql.Composed:
    new = {
        name: sql.SQL("null")
        if seal == "token"
        else sql.SQL("case when {} is not null then {} end").format(sql.Identifier("r", name), unlinked)
        for name, seal in _columns(table).items()
    }
    return sql.SQL(
        "update raw.{table} r set {sets}, _load_number = n.load_number from unlinked u "
        "join unlinking n using (source_code) where r.source_code = u.source_code and r.dossier_id = u.dossier_id "
        "and row({old}) is distinct from row({new})"
    ).format(
        table=sql.Identifier(table.name),
        sets=sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(c), v) for c, v in new.items()),
        old=sql.SQL(", ").join(sql.Identifier("r", c) for c in new),
        new=sql.SQL(", ").join(new.values()),
    )
