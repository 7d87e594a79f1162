"""A key for each person: made before its first value is stored, wrapped by the master encryption key, destroyed alone.

A *holder* is whose a value is (`vault.sealing`): a person's token, a group, or nobody in particular. Each record of the
quarantine is a holder, too: whose it is is not always known. Its key is 32 random bytes and stands in the table
``person_key``, wrapped by AES-GCM under a version of the master encryption key and bound to its holder. An erased
holder keeps its row, without a key: nothing is ever stored for it again; a record's key goes with the record. Keys are
unwrapped for one batch and kept no longer.

Two things must not happen while values are on their way into the database: the erasure of their holder, or the end of
the master key they were wrapped under. Sealing therefore shares an advisory lock, which those two take alone (`alone`).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.keys import KEY_BYTES, KeyProvider, KeyTrouble, derive, fingerprint, joint_fingerprint
from vault.sealing import FIRST_FORMS, FORMS, ciphertexts, decrypt

SCHEMA = """
create table if not exists person_key (holder text primary key, master_version smallint not null, wrapped bytea,
    erased_at timestamptz, created_at timestamptz not null default now(),
    check ((wrapped is null) = (erased_at is not null)));
alter table sealed_group add column if not exists holder text;
alter table sealed_group drop column if exists key_version
"""
#: Holder of the one key under which earlier versions encrypted; `vault.earlier` takes it away.
DATA_KEY = "data_key:1"
_IDENTITY_FORMS = "identity_forms"
_NONCE = 12
_LOCK = 6_904_721
_OLD_WRAP = b"kho-chung/data-key"


@dataclass
class Masters:
    """The master encryption keys, by version, each read from its provider when it is first needed."""

    provider: KeyProvider
    _wrappers: dict[int, AESGCM] = field(default_factory=dict)

    def load(self, version: int, known_as: str | None) -> str:
        """Read a version; its fingerprint. KeyTrouble if it is not the key `known_as`."""
        key = self.provider.encryption_key(version)
        mine = fingerprint(key)
        if known_as not in (None, mine):
            raise KeyTrouble(_wrong("encryption key", str(known_as), mine))
        self._wrappers[version] = AESGCM(derive(key, "wrap"))
        return mine

    def wrap(self, version: int, keys: Mapping[str, bytes]) -> list[bytes]:
        """Nonce and ciphertext of each holder's key."""
        encrypt, random = self._of(version).encrypt, os.urandom(_NONCE * len(keys))
        nonces = (random[at : at + _NONCE] for at in range(0, len(random), _NONCE))
        return [
            nonce + encrypt(nonce, key, holder.encode())
            for nonce, (holder, key) in zip(nonces, keys.items(), strict=True)
        ]

    def unwrap(self, version: int, holder: str, wrapped: bytes, bound_to: bytes | None = None) -> bytes:
        """The reverse of `wrap`; InvalidTag if it is another holder's."""
        return self._of(version).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], bound_to or holder.encode())

    def _of(self, version: int) -> AESGCM:
        # A rotation by another process made it since; its tag tells a wrong one.
        if version not in self._wrappers:
            self.load(version, None)
        return self._wrappers[version]


def set_up(cursor: adbc.Cursor, masters: Masters, token_key: bytes) -> int:
    """Compare the keys with those the database belongs to; KeyTrouble if they differ. Returns its forms of papers.

    A database of an earlier version gets its fingerprints and its one data key in the present form.
    """
    cursor.execute("select name, value from meta")
    meta = dict(cursor.fetchall())
    if joint := meta.get("key_fingerprint"):
        mine = joint_fingerprint(token_key, masters.provider.encryption_key(1))
        if mine != joint:
            raise KeyTrouble(_wrong("keys", joint, mine))
    held, mine = meta.get("fingerprint:token"), fingerprint(token_key)
    if held not in (None, mine):
        raise KeyTrouble(_wrong("token key", str(held), mine))
    version = int(meta.get("master_version", 1))
    cursor.execute("select distinct master_version from person_key where wrapped is not null")
    names = {f"fingerprint:encryption:{v}": v for v in {version, *(v for (v,) in cursor.fetchall())}}
    # Tokens are made for good with the kinds of papers that were told apart when the first one was.
    forms = FIRST_FORMS if "fingerprint:token" in meta or joint else FORMS
    told = {"fingerprint:token": mine, "master_version": str(version), _IDENTITY_FORMS: str(forms)} | {
        name: masters.load(v, meta.get(name)) for name, v in names.items()
    }
    for name, value in told.items():
        cursor.execute("insert into meta values ($1, $2) on conflict (name) do nothing", (name, value))
    cursor.execute("delete from meta where name = 'key_fingerprint'")
    _move_data_key(cursor, masters, version)
    return int(meta.get(_IDENTITY_FORMS, forms))


def _move_data_key(cursor: adbc.Cursor, masters: Masters, version: int) -> None:
    cursor.execute("select to_regclass('data_key') is not null")
    if not cursor.fetchall()[0][0]:
        return
    cursor.execute("select wrapped from data_key order by version desc limit 1")
    for (wrapped,) in cursor.fetchall():
        try:
            key = masters.unwrap(1, DATA_KEY, wrapped, _OLD_WRAP)
        except InvalidTag:
            raise KeyTrouble(
                "the data key in the vault's database does not open under encryption key 1"
            ) from None
        cursor.execute(
            f"insert into person_key (holder, master_version, wrapped) values ($1, {version}, $2) "  # noqa: S608
            "on conflict (holder) do nothing",
            (DATA_KEY, *masters.wrap(version, {DATA_KEY: key})),
        )
    cursor.execute("drop table data_key")


def _wrong(which: str, held: str, mine: str) -> str:
    return (
        f"the vault's database was set up with the keys {held} ({which}), the keys found now are {mine}. Tokens and "
        "ciphertexts made under other keys would not go with the data landed so far, so the vault does not start. "
        "Put the right keys back."
    )


def alone(cursor: adbc.Cursor) -> None:
    """Wait until no sealing is under way, and let none begin before this transaction ends."""
    cursor.execute(f"select pg_advisory_xact_lock({_LOCK})")


def beside(cursor: adbc.Cursor) -> None:
    """Go on beside other sealings, and beside nothing that wants to be alone."""
    cursor.execute(f"select pg_advisory_xact_lock_shared({_LOCK})")


def keep(cursor: adbc.Cursor, masters: Masters, values: pa.Table) -> int:
    """Encrypt and store the clear `values` (`Sealer.seal`) that are not stored yet, none of an erased holder.

    Gives how many persons (tokens) it stored something of for the first time.

    Where another process stores the same at the same moment the database refuses, and the caller tries again.
    """
    beside(cursor)
    temporary(
        cursor, "incoming_value", pa.table({"at": np.arange(len(values)), "reference": values["reference"]})
    )
    cursor.execute(
        "select i.at from pg_temp.incoming_value i left join sealed_value v using (reference) "
        "where v.reference is null order by i.at"
    )
    fresh = values.take(cursor.fetch_arrow_table()["at"])
    cursor.execute("drop table pg_temp.incoming_value")
    if not fresh.num_rows:
        return 0
    holders = fresh["holder"].unique()
    persons = holders.filter(pc.starts_with(holders, "id"))
    temporary(cursor, "incoming_holder", pa.table({"holder": persons}))
    cursor.execute(
        "select count(*) from pg_temp.incoming_holder i where not exists "
        "(select from person_key k where k.holder = i.holder)"
    )
    first = int(cursor.fetchall()[0][0])
    cursor.execute("drop table pg_temp.incoming_holder")
    keys = holder_keys(cursor, masters, holders.to_pylist())
    made = ciphertexts(fresh, keys)
    if made.values.num_rows:
        cursor.adbc_ingest("sealed_group", made.groups, mode="append")
        cursor.adbc_ingest("sealed_value", made.values, mode="append")
    return first


def holder_keys(cursor: adbc.Cursor, masters: Masters, holders: Sequence[str]) -> dict[str, bytes]:
    """{holder: key}, made for those that have none; an erased holder is left out."""
    temporary(cursor, "wanted_holder", pa.table({"holder": pa.array(holders, pa.string())}))
    cursor.execute(
        "select k.holder, k.master_version, k.wrapped from person_key k join pg_temp.wanted_holder using (holder)"
    )
    columns = [c.to_pylist() for c in cursor.fetch_arrow_table().columns]
    cursor.execute("drop table pg_temp.wanted_holder")
    found = {h: (v, w) for h, v, w in zip(*columns, strict=True)}
    keys = {h: masters.unwrap(v, h, w) for h, (v, w) in found.items() if w is not None}
    if missing := [h for h in holders if h not in found]:
        made = store_keys(cursor, masters, new_keys(missing))
        # Another process may have been first with some of them.
        rest = [h for h in missing if h not in made]
        keys |= made | (holder_keys(cursor, masters, rest) if rest else {})
    return keys


def new_keys(holders: Sequence[str]) -> dict[str, bytes]:
    """A new key for each holder."""
    random = os.urandom(KEY_BYTES * len(holders))
    return {h: random[n * KEY_BYTES : (n + 1) * KEY_BYTES] for n, h in enumerate(holders)}


def new_record() -> str:
    """A holder for one record of the quarantine."""
    return f"record:{uuid.uuid4().hex}"


def opened_record(masters: Masters, row: Mapping[str, Any]) -> bytes:
    """Payload of a row of the quarantine beside its row of ``person_key``; InvalidTag if either was changed."""
    key = masters.unwrap(row["master_version"], row["holder"], row["wrapped"])
    return decrypt(key, row["payload"], f"{row['table_name']}/{row['key']}".encode())


def store_keys(cursor: adbc.Cursor, masters: Masters, keys: Mapping[str, bytes]) -> dict[str, bytes]:
    """Store new keys by holder; those that were stored, for another process may have been first with some."""
    if not keys:
        return {}
    cursor.execute("select value from meta where name = 'master_version'")
    version = int(cursor.fetchall()[0][0])
    wrapped = masters.wrap(version, keys)
    temporary(cursor, "made_key", pa.table({"holder": list(keys), "wrapped": pa.array(wrapped, pa.binary())}))
    cursor.execute(
        "insert into person_key (holder, master_version, wrapped) "  # noqa: S608
        f"select holder, {version}, wrapped from pg_temp.made_key order by holder "  # in one order: no deadlock
        "on conflict (holder) do nothing returning holder"
    )
    mine = {h for (h,) in cursor.fetchall()}
    cursor.execute("drop table pg_temp.made_key")
    return {h: k for h, k in keys.items() if h in mine}


def temporary(cursor: adbc.Cursor, name: str, table: pa.Table) -> None:
    """`table` as a temporary one of the connection, in place of one of that name."""
    cursor.execute(f"drop table if exists pg_temp.{name}")
    cursor.adbc_ingest(name, table, mode="create", temporary=True)
