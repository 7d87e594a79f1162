"""Change the token key: ``python -m vault retoken``, after it leaked, or because a rule asks for it.

A new version is made and announced in the database. From then on every other transaction of the vault is refused until
the change is done, with words that say so: callers try again by themselves. Then every handle in the database takes the
new form (`vault.handles`), some thousands in a transaction; no personal value is decrypted. Killed at any moment, it
goes on where it was when it is started again. At the end the tables are written anew, so that no file of the database
holds a handle of before, and a vault that kept running goes on under the new key by itself.

What it leaves alone: the audit, which is append-only (its subjects are looked up in every version), the journal of
decisions on persons (read in the current version), and what was landed. Landed files are immutable: loading asks
``POST /v1/renewed`` for the present form of their handles, and ``python -m ops renew-handles`` brings the warehouse to
it.

Erased persons need nothing of their own: the row that marks them is renamed like every other one, and whatever a source
sends of them again becomes the renamed token.

Whoever has a token key of before, and the number of a person, finds that person

- in landed files, in backups and in the audit of that time, and in the journal of decisions, by the handle of that
  version: keep those from him, or delete them;
- not in the warehouse, in the vault's database or in files landed since, not even with all of those of before in hand,
  unless he may also call the vault, which translates.

From the change on the audit is chained under the new key (`vault.audit`), so that he can forge nothing of it either.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa

from vault.handles import MOST_VERSIONS, Handles
from vault.keys import KeyProvider, KeyTrouble, fingerprint
from vault.persons import Masters, temporary
from vault.reveal import message_of, proved
from vault.sealing import Sealer

#: Rows renamed in one transaction.
BATCH = 20_000
_LOCK = 6_904_722
_VERSION, _NEXT = "token_version", "token_version_next"
#: Table, its key, the key's type, the columns that hold one handle each. A new table of the vault's belongs here.
_HOLDING = (
    ("sealed_group", "id", "bytea", ("holder",)),
    ("sealed_value", "reference", "text", ("reference",)),
    ("erasure_request", "holder", "text", ("holder",)),
    ("identity_link", "link_id", "uuid", ("token_a", "token_b")),
    ("identity_conflict", "conflict_id", "uuid", ("token_a", "token_b")),
)
#: All that this changes, for being written anew at the end.
TABLES = ("person_key", *(table for table, *_ in _HOLDING), "sealed_dossier", "quarantine")


class TokensRenewing(KeyTrouble):
    """The token key is being changed, or was a moment ago: nothing was done, the same can be asked again."""


@dataclass(frozen=True)
class Retokened:
    """What a change did: the version now in use, how many rows this run renamed, and in how many seconds."""

    version: int
    rows: int
    seconds: float


def keys_of(cursor: adbc.Cursor, provider: KeyProvider, finishing: bool = False) -> dict[int, bytes]:
    """The token keys from version 2 to the one the database is at, compared with the fingerprints.

    KeyTrouble where a key is missing or another one; where a change was begun and not finished, unless `finishing`.
    """
    version, begun = _versions(cursor)
    keys = {v: _key(cursor, provider, v) for v in range(2, version + 1)}
    if not finishing and (begun or version + 1 in keys_made(provider)):
        raise KeyTrouble(
            f"the vault's database is at token key {version}, and token key {version + 1} was made: the change was "
            "interrupted, or an older backup of the database was put back. Tokens of both would not join, so the vault "
            "does not start. Finish it: .venv/bin/python -m ops vault retoken (docs/operations.md)."
        )
    return keys


def check(cursor: adbc.Cursor, handles: Handles) -> bool:
    """Whether `handles` are still the database's; no change begins before this transaction ends.

    TokensRenewing while one is under way.
    """
    cursor.execute(f"select pg_advisory_xact_lock_shared({_LOCK})")
    cursor.fetchall()
    version, begun = _versions(cursor)
    if begun:
        raise TokensRenewing(
            "the token key is being changed (python -m vault retoken); until that is done the vault seals and gives "
            "nothing. If it was stopped, start it again: it goes on where it was."
        )
    return version == handles.version


def retoken(
    transact: Callable[..., Any],
    masters: Masters,
    sealer_of: Callable[[Handles], Sealer],
    write_anew: Callable[[str], None],
    begin: Callable[[adbc.Cursor, Mapping[int, bytes]], None],
    batch: int = BATCH,
) -> Retokened:
    """Finish the change under way, or else make one; KeyTrouble if a key cannot be made or read.

    `transact` runs a function of a cursor in one transaction of the vault's database, `write_anew` a ``vacuum full``
    of a table, `sealer_of` gives the vault's sealer with other handles, `begin` has the audit go on under the last of
    the keys.
    """
    began, done = time.monotonic(), 0
    keys = transact(lambda cursor: _announce(cursor, masters.provider))
    version = max(keys)
    before = sealer_of(Handles({v: k for v, k in keys.items() if v < version}))
    after = sealer_of(Handles(keys))
    steps: list[tuple[Any, Callable[..., tuple[int, Any]]]] = [
        ("", partial(_keys, masters=masters, after=after, batch=batch)),
        *(("", partial(_handles, holding=holding, after=after, batch=batch)) for holding in _HOLDING),
        (("", ""), partial(_dossiers, before=before, after=after, batch=batch)),
        (0, partial(_quarantine, after=after, batch=batch)),
    ]
    for last, step in steps:
        while last is not None:
            rows, last = transact(partial(step, last=last))
            done += rows
    for name in TABLES:
        write_anew(name)
    transact(lambda cursor: _finish(cursor, keys, begin))
    return Retokened(version, done, time.monotonic() - began)


def _versions(cursor: adbc.Cursor) -> tuple[int, int | None]:
    """The version in use, and the one a change under way leads to."""
    cursor.execute("select name, value from meta where name in ($1, $2)", (_VERSION, _NEXT))
    told = dict(cursor.fetchall())
    return int(told.get(_VERSION, 1)), int(told[_NEXT]) if _NEXT in told else None


def _key(cursor: adbc.Cursor, provider: KeyProvider, version: int) -> bytes:
    key = provider.token_key(version)
    cursor.execute("select value from meta where name = $1", (f"fingerprint:token:{version}",))
    held, mine = [v for (v,) in cursor.fetchall()], fingerprint(key)
    if held not in ([], [mine]):
        raise KeyTrouble(
            f"the vault's database was set up with the token key {version} {held[0]}, the one found now is {mine}. "
            "Tokens made under another key would not go with the data landed so far, so the vault does not start. "
            "Put the right key back."
        )
    return key


def keys_made(provider: KeyProvider) -> dict[int, bytes]:
    """Token keys from version 2 on, as far as there are any; also one that no change was finished with."""
    keys: dict[int, bytes] = {}
    with contextlib.suppress(KeyTrouble):
        for version in range(2, MOST_VERSIONS + 1):
            keys[version] = provider.token_key(version)
    return keys


def _announce(cursor: adbc.Cursor, provider: KeyProvider) -> Mapping[int, bytes]:
    """The keys from version 2 on, the last one that the change leads to."""
    # Whatever works under the version before has ended, and what begins now is refused.
    cursor.execute(f"select pg_advisory_xact_lock({_LOCK})")
    cursor.fetchall()
    version, begun = _versions(cursor)
    if not begun:
        begun = version + 1
        if begun > MOST_VERSIONS:
            raise KeyTrouble(f"the token key can have {MOST_VERSIONS} versions, and all were used")
        # One made before a kill, or before the database was put back to an older state, is taken: files were landed
        # under it.
        provider.make_token_key(begun)
        told = {f"fingerprint:token:{begun}": fingerprint(provider.token_key(begun)), _NEXT: str(begun)}
        for name, value in told.items():
            cursor.execute("insert into meta values ($1, $2) on conflict (name) do nothing", (name, value))
        # What a collection under way was told is in use, it was told in the form of before.
        cursor.execute("update collection set ended_at = now() where ended_at is null")
    return {v: _key(cursor, provider, v) for v in range(2, begun + 1)}


def _of_before(version: int) -> str:
    """Matches handles of another version."""
    return f"^(id|ref|grp)(?!{version}_)[1-9]_"


def _keys(
    cursor: adbc.Cursor, last: str, masters: Masters, after: Sealer, batch: int
) -> tuple[int, str | None]:
    """Rename the next holders of keys. A key is wrapped together with its holder's handle, so it is wrapped anew."""
    cursor.execute(
        "select holder, master_version, wrapped from person_key where holder > $1 and holder ~ $2 order by holder "  # noqa: S608
        f"limit {int(batch)}",
        (last, _of_before(after.handles.version)),
    )
    rows = cursor.fetchall()
    if not rows:
        return 0, None
    new = after.handles.current_of(h for h, _, _ in rows)
    wrapped = [
        None if w is None else masters.wrap(v, {name: masters.unwrap(v, holder, w)})[0]
        for name, (holder, v, w) in zip(new, rows, strict=True)
    ]
    table = {
        "holder": [h for h, _, _ in rows], "new": new, "master_version": [v for _, v, _ in rows],
        "wrapped": pa.array(wrapped, pa.binary()),
    }  # fmt: skip
    _update(
        cursor, "person_key t", pa.table(table),
        "holder = r.new, wrapped = r.wrapped, master_version = r.master_version", "t.holder = r.holder",
    )  # fmt: skip
    return len(rows), rows[-1][0]


def _handles(
    cursor: adbc.Cursor, last: str, holding: tuple[str, str, str, tuple[str, ...]], after: Sealer, batch: int
) -> tuple[int, str | None]:
    """Rename the handles in the next rows of one table."""
    table, key, kind, columns = holding
    old = " or ".join(f"{c} ~ $2" for c in columns)
    cursor.execute(
        f"select {key}::text as key, {', '.join(f'{c} as {c}_new' for c in columns)} from {table} "  # noqa: S608
        f"where ($1 = '' or {key} > nullif($1, '')::{kind}) and ({old}) order by {key} limit {int(batch)}",
        (last, _of_before(after.handles.version)),
    )
    found = cursor.fetch_arrow_table()
    if not found.num_rows:
        return 0, None
    new = [after.handles.current(found[f"{c}_new"].combine_chunks()) for c in columns]
    rows = pa.table([found["key"].combine_chunks(), *new], found.schema.names)
    sets = ", ".join(f"{c} = r.{c}_new" for c in columns)
    _update(cursor, f"{table} t", rows, sets, f"t.{key} = r.key::{kind}")
    return rows.num_rows, rows["key"][-1].as_py()


def _dossiers(
    cursor: adbc.Cursor, last: tuple[str, str], before: Sealer, after: Sealer, batch: int
) -> tuple[int, tuple[str, str] | None]:
    """Rename the handles of the next dossiers, and prove the rows anew. What the vault did not write stays unproved."""
    cursor.execute(
        "select * from sealed_dossier where (source_code, dossier_id) > ($1, $2) "  # noqa: S608
        f"order by source_code, dossier_id limit {int(batch)}",
        last,
    )
    found = cursor.fetch_arrow_table().to_pylist()
    if not found:
        return 0, None
    # But those of a run that was killed later on.
    waiting = [row for row in found if not proved(row, after.digest)]
    each = [[row["token"], *row["refs"].split(" ")] for row in waiting]
    every = iter(after.handles.current_of(handle for handles in each for handle in handles))
    renamed = []
    for row, handles in zip(waiting, each, strict=True):
        token, *references = islice(every, len(handles))
        new = row | {"token": token, "refs": " ".join(references)}
        proof = after.digest(message_of(new)) if proved(row, before.digest) else row["proof"]
        renamed.append(new | {"proof": proof})
    if renamed:
        _update(
            cursor, "sealed_dossier t", pa.Table.from_pylist(renamed),
            "token = r.token, refs = r.refs, proof = r.proof",
            "t.source_code = r.source_code and t.dossier_id = r.dossier_id",
        )  # fmt: skip
    return len(renamed), (found[-1]["source_code"], found[-1]["dossier_id"])


def _quarantine(cursor: adbc.Cursor, last: int, after: Sealer, batch: int) -> tuple[int, int | None]:
    """Rename the marks by which records without a key are known; version 1 has none of its own in front."""
    cursor.execute(
        "select id, case when digest like 'dig%' then digest else 'dig1_' || digest end as digest from quarantine "  # noqa: S608
        f"where id > $1 and digest <> '' and not starts_with(digest, $2) order by id limit {int(batch)}",
        (last, f"dig{after.handles.version}_"),
    )
    found = cursor.fetch_arrow_table()
    if not found.num_rows:
        return 0, None
    rows = found.set_column(1, "digest", after.handles.current(found["digest"].combine_chunks()))
    _update(cursor, "quarantine t", rows, "digest = r.digest", "t.id = r.id")
    return rows.num_rows, rows["id"][-1].as_py()


def _update(cursor: adbc.Cursor, table: str, rows: pa.Table, sets: str, same: str) -> None:
    temporary(cursor, "renamed", rows)
    cursor.execute("analyze pg_temp.renamed")
    cursor.execute(f"update {table} set {sets} from pg_temp.renamed r where {same}")  # noqa: S608
    cursor.execute("drop table pg_temp.renamed")


def _finish(
    cursor: adbc.Cursor, keys: Mapping[int, bytes], begin: Callable[[adbc.Cursor, Mapping[int, bytes]], None]
) -> None:
    cursor.execute(f"select pg_advisory_xact_lock({_LOCK})")
    cursor.fetchall()
    cursor.execute(
        "insert into meta values ($1, $2) on conflict (name) do update set value = excluded.value",
        (_VERSION, str(max(keys))),
    )
    cursor.execute("delete from meta where name = $1", (_NEXT,))
    begin(cursor, keys)
