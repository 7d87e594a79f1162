"""Change the master encryption key: ``python -m vault rotate``, while the vault serves or not.

A new version is made and announced in the database; from then on it wraps every new key. Then all keys of persons are
wrapped anew, some thousands in a transaction; ciphertexts stay as they are. Killed at any moment, it goes on where it
was when it is started again; the vault reads both versions meanwhile. The token key never changes this way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa

from vault.keys import fingerprint
from vault.persons import Masters, alone, temporary

#: Keys wrapped anew in one transaction.
BATCH = 5_000


@dataclass(frozen=True)
class Rotated:
    """What a rotation did: the version now in use, how many keys this run wrapped anew, and in how many seconds."""

    version: int
    keys: int
    seconds: float


def rotate(transact: Callable[..., Any], masters: Masters, batch: int = BATCH) -> Rotated:
    """Finish the rotation under way, or else make one; KeyTrouble if a key cannot be made or read.

    `transact` runs a function of a cursor in one transaction of the vault's database; its result, once committed.
    """
    began = time.monotonic()
    version = transact(lambda cursor: _announce(cursor, masters))
    done, last = 0, ""

    def wrap_next(cursor: adbc.Cursor) -> list[str]:
        return _wrap_again(cursor, masters, version, last, batch)

    while holders := transact(wrap_next):
        done, last = done + len(holders), holders[-1]
    return Rotated(version, done, time.monotonic() - began)


def _announce(cursor: adbc.Cursor, masters: Masters) -> int:
    """The version to wrap under: the one announced if keys still lie under another, else a new one."""
    # No sealing that read the old version is under way, so none stores a key under it after the sweep.
    alone(cursor)
    cursor.execute("select value from meta where name = 'master_version'")
    version = int(cursor.fetchall()[0][0])
    cursor.execute(
        f"select exists (select from person_key where wrapped is not null and master_version <> {version})"  # noqa: S608
    )
    if cursor.fetchall()[0][0]:
        return version
    version += 1
    masters.provider.make_encryption_key(version)
    print_of = fingerprint(masters.provider.encryption_key(version))
    cursor.execute("insert into meta values ($1, $2)", (f"fingerprint:encryption:{version}", print_of))
    cursor.execute("update meta set value = $1 where name = 'master_version'", (str(version),))
    return version


def _wrap_again(cursor: adbc.Cursor, masters: Masters, version: int, after: str, batch: int) -> list[str]:
    """Wrap the next keys that lie under another version; their holders, in order."""
    cursor.execute(
        "select holder, master_version, wrapped from person_key where holder > $1 and wrapped is not null and "  # noqa: S608
        f"master_version <> {version} order by holder limit {int(batch)}",
        (after,),
    )
    rows = cursor.fetchall()
    wrapped = masters.wrap(version, {h: masters.unwrap(v, h, w) for h, v, w in rows})
    if rows:
        holders = pa.array([h for h, _, _ in rows], pa.string())
        temporary(
            cursor, "wrapped_again", pa.table({"holder": holders, "wrapped": pa.array(wrapped, pa.binary())})
        )
        # What was erased since it was read stays without a key.
        cursor.execute(
            f"update person_key k set master_version = {version}, wrapped = w.wrapped "  # noqa: S608
            "from pg_temp.wrapped_again w where k.holder = w.holder and k.wrapped is not null"
        )
        cursor.execute("drop table pg_temp.wrapped_again")
    return [h for h, _, _ in rows]
