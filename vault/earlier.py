"""Databases of earlier versions: what lay under one data key for all gets keys of its own when the vault starts.

Whole records of the quarantine lay under that key, and the oldest ciphertexts of persons. An erasure could not destroy
it, so a backup of before would have opened with the keys of today. It goes with the last that lay under it.
"""

from __future__ import annotations

from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
from cryptography.exceptions import InvalidTag

from vault.persons import DATA_KEY, Masters, alone, holder_keys, new_keys, new_record, store_keys, temporary
from vault.sealing import NOBODY, Sealer, decrypt, encrypt

#: Ciphertexts made anew in one transaction.
BATCH = 5_000


def leave_data_key(cursor: adbc.Cursor, masters: Masters, sealer: Sealer) -> bool:
    """Encrypt the next part anew, in the caller's transaction; False once the data key is gone."""
    cursor.execute("select exists (select from person_key where holder = $1)", (DATA_KEY,))
    if not cursor.fetchall()[0][0]:
        return False
    # Another process may be starting, too.
    alone(cursor)
    key = holder_keys(cursor, masters, [DATA_KEY])[DATA_KEY]
    if not _records(cursor, masters, key) and not _groups(cursor, masters, sealer, key):
        cursor.execute("delete from person_key where holder = $1", (DATA_KEY,))
    return True


def _records(cursor: adbc.Cursor, masters: Masters, key: bytes) -> int:
    cursor.execute(f"select id, table_name, key, payload from quarantine where holder is null limit {BATCH}")  # noqa: S608
    rows = cursor.fetch_arrow_table().to_pylist()
    keys = new_keys([new_record() for _ in rows])
    payloads = []
    for row, own in zip(rows, keys.values(), strict=True):
        bound_to = f"{row['table_name']}/{row['key']}".encode()
        payloads.append(_again(row["payload"], bound_to, key, own))
    _update(cursor, "quarantine", [r["id"] for r in rows], list(keys), payloads)
    store_keys(cursor, masters, keys)
    return len(rows)


def _groups(cursor: adbc.Cursor, masters: Masters, sealer: Sealer, key: bytes) -> int:
    cursor.execute(f"select id, payload from sealed_group where holder is null limit {BATCH}")  # noqa: S608
    rows = cursor.fetch_arrow_table().to_pylist()
    holders = []
    for row in rows:
        try:
            holders.append(sealer.open(row["payload"], row["id"], key)[0] or NOBODY)
        except InvalidTag:
            holders.append(NOBODY)  # as little to be read as before
    keys = holder_keys(cursor, masters, sorted(set(holders)))
    # An erased person's, in a backup that was put back, take a key that is kept nowhere: the erasure deletes them.
    keys = new_keys(holders) | keys
    payloads = [_again(r["payload"], r["id"], key, keys[h]) for r, h in zip(rows, holders, strict=True)]
    _update(cursor, "sealed_group", [r["id"] for r in rows], holders, payloads)
    return len(rows)


def _again(payload: bytes, bound_to: bytes, key: bytes, own: bytes) -> bytes:
    """`payload` under its own key; one that nobody can read stays as it is."""
    try:
        return encrypt(own, decrypt(key, payload, bound_to), bound_to)
    except InvalidTag:
        return payload


def _update(
    cursor: adbc.Cursor, table: str, ids: list[Any], holders: list[str], payloads: list[bytes]
) -> None:
    if ids:
        rows = {"id": pa.array(ids), "holder": holders, "payload": pa.array(payloads, pa.binary())}
        temporary(cursor, "own_key", pa.table(rows))
        cursor.execute(
            f"update {table} t set holder = o.holder, payload = o.payload from pg_temp.own_key o where t.id = o.id"  # noqa: S608
        )
        cursor.execute("drop table pg_temp.own_key")
