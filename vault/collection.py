"""Collection of ciphertexts that stand for nothing: sealed, stored, and then never landed, or landed no more.

The vault does not read landing or warehouse, so whoever does says what is in use (`ops.collection`):

1. `begin` opens a collection. From then on each sealing marks what it gives out, also what was stored long ago: a batch
   on its way keeps its ciphertexts. Batches sealed before, and not landed yet, are the caller's to look for.
2. `use` marks references and dossiers found in landed files and raw rows.
3. `count` says how many stored values bear no mark and are older than `GRACE`.
4. `delete` deletes them, a part at each call. A ciphertext goes with the last of its values, a person's key with the
   last of the person's ciphertexts, a dossier's link where the dossier itself is in use nowhere. Of a value that shares
   its ciphertext with values in use, only the way to it is deleted. What restricted persons have stays, and so does the
   quarantine.

A wrong account of what is in use, such as an empty landing folder's, must not empty the vault, nor must a caller who
means ill: within `WEEK` the calls delete at most `SHARE` of what is stored (or `LEAST`), and nothing where nothing at
all is in use. What goes beyond, an officer confirms by a command of the vault's own (``python -m vault collect``).

Killed anywhere, a collection goes on, or is begun anew, with the same end. Marks are not logged by the database; where
its server was started since, they may be gone, and the collection counts no more.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa

from vault import crosswalk
from vault.audit import Audit, Entry
from vault.erasure import restricted
from vault.persons import alone, beside, temporary

SCHEMA = """
create table if not exists collection (number bigint generated always as identity primary key,
    begun_at timestamptz not null default clock_timestamp(), server_began timestamptz not null
    default pg_postmaster_start_time(), stored bigint, unused bigint, unused_dossiers bigint,
    confirmed bigint, began_deleting boolean not null default false, deleted bigint not null default 0,
    deleted_dossiers bigint not null default 0, deleted_keys bigint not null default 0, ended_at timestamptz);
create unlogged table if not exists collection_used (reference text primary key);
create unlogged table if not exists collection_dossier (source_code text, dossier_id text,
    primary key (source_code, dossier_id));
create unlogged table if not exists collection_unused (reference text primary key);
alter table sealed_dossier add column if not exists stored_at timestamptz not null default now()
"""
#: What was stored within these days stays, whatever is said of it.
GRACE = dt.timedelta(days=7)
#: Share of the stored values, and least number, that may go in `WEEK` without an officer's confirmation.
SHARE, LEAST = 0.01, 100
WEEK = dt.timedelta(days=7)
#: How long a collection counts; sealings mark for it as long, and an hour more.
TERM = dt.timedelta(hours=23)
#: Values deleted in one transaction, during which nothing is sealed.
BATCH = 20_000
#: Tables that hold something under a person's key, in a column ``holder``: while any row is there, the key stays.
UNDER_A_KEY = ("sealed_group",)
#: What must be in use for a value to be: itself, or its person's token where no landed row holds the value.
_USED_BY = "case when v.field in ({}) then g.holder else v.reference end".format(
    ", ".join(f"'{name}'" for name in crosswalk.NOT_LANDED)
)
_OPEN = (
    "select number from collection where ended_at is null and "  # noqa: S608 - a constant
    f"begun_at > now() - interval '{TERM.total_seconds() + 3600:.0f} seconds'"
)


class CollectionError(Exception):
    """A collection cannot go on; the message says why, and what to do."""


@dataclass(frozen=True)
class Counted:
    """Of `stored` values, `unused` are to go, and so many `dossiers`' links; `refused` says why not, else None."""

    stored: int
    unused: int
    dossiers: int
    refused: str | None


@dataclass(frozen=True)
class Deleted:
    """What a collection has deleted so far, and whether it is done."""

    values: int
    dossiers: int
    keys: int
    done: bool


def mark(cursor: adbc.Cursor, references: pa.ChunkedArray) -> None:
    """Mark what a sealing gives out, if a collection is open; in the sealing's own transaction, under its lock."""
    cursor.execute(_OPEN)
    if cursor.fetchall():
        temporary(cursor, "given_out", pa.table({"reference": references}))
        _mark(cursor, "given_out")
        cursor.execute("drop table pg_temp.given_out")


def mark_dossiers(cursor: adbc.Cursor, name: str) -> None:
    """The same for the dossiers of the temporary table `name`; before they are stored."""
    beside(cursor)
    cursor.execute(
        "insert into collection_dossier select distinct source_code, dossier_id "  # noqa: S608
        f"from pg_temp.{name} where exists ({_OPEN}) order by 1, 2 on conflict do nothing"
    )


def _mark(cursor: adbc.Cursor, name: str) -> int:
    # In one order, so that two writers never wait for each other.
    cursor.execute(
        "with marked as (insert into collection_used select distinct reference "  # noqa: S608
        f"from pg_temp.{name} order by 1 on conflict do nothing returning 1) select count(*) from marked"
    )
    return int(cursor.fetchall()[0][0])


class Collection:
    """Collections over the vault's database; `do` runs a function of a cursor in one transaction.

    `current` gives handles in their present form (`vault.handles`).
    """

    def __init__(self, do: Callable[..., Any], audit: Audit, current: Callable[[pa.Array], pa.Array]) -> None:
        self._do = do
        self._current = current
        self._audit = audit

    def begin(self) -> int:
        """Open a collection in place of any other; its number. What is sealed once this returned is marked."""

        def begin(cursor: adbc.Cursor) -> int:
            # No sealing that does not know of this collection is half done.
            alone(cursor)
            cursor.execute("update collection set ended_at = now() where ended_at is null")
            cursor.execute("truncate collection_used, collection_dossier, collection_unused")
            cursor.execute("insert into collection default values returning number")
            return int(cursor.fetchall()[0][0])

        return self._do(begin)

    def use(self, number: int, given: pa.Table) -> int:
        """Mark what is in use: a column reference, or source_code and dossier_id; how many were not marked yet."""

        def use(cursor: adbc.Cursor) -> int:
            self._opened(cursor, number)
            # Counted again before anything is deleted.
            cursor.execute("update collection set unused = null where number = $1", (number,))
            if "reference" in given.column_names:
                return _mark(cursor, "in_use")
            mark_dossiers(cursor, "in_use")
            return given.num_rows

        if "reference" in given.column_names:
            # Landed files keep the handles of token keys of before.
            given = pa.table({"reference": self._current(given["reference"].combine_chunks())})
        return self._do(use, in_use=given)

    def count(self, number: int) -> Counted:
        """What would be deleted now, and what stands against it."""
        return self._do(lambda cursor: self._count(cursor, number))

    def confirm(self, number: int, unused: int, officer: str) -> None:
        """Let a collection delete the `unused` values and dossiers' links it counted, however large their share."""

        def confirm(cursor: adbc.Cursor) -> None:
            self._opened(cursor, number)
            cursor.execute(
                "update collection set confirmed = $1 where number = $2 and unused + unused_dossiers = $1 "
                "returning number",
                (unused, number),
            )
            if not cursor.fetchall():
                raise CollectionError(
                    f"collection {number} counted another number than {unused:,}; take both from its refusal"
                )

        self._do(confirm)
        self._audit.record(
            Entry(
                "collect",
                f"officer:{officer}",
                "confirmed",
                asked=f"collection {number}",
                note=f"{unused} unused",
            )
        )

    def delete(self, number: int, batch: int = BATCH) -> Deleted:
        """Delete the next part of what is unused; recorded before the first part and after the last.

        CollectionError where it is more than may go, AuditTrouble where it cannot be recorded.
        """
        row = self._do(lambda cursor: self._row(cursor, number))
        if row["ended_at"] is None and not row["began_deleting"]:
            # Counted once: at millions of values it takes its time, and what was sealed since only lessens it.
            known = row["unused"] is not None
            counted = self._do(lambda cursor: (self._judged if known else self._count)(cursor, number))
            if counted.refused:
                raise CollectionError(counted.refused)
            note = f"{counted.unused} of {counted.stored} values, {counted.dossiers} dossiers' links unused"
            self._audit.record(Entry("collect", "service", "begun", asked=f"collection {number}", note=note))
            self._do(
                lambda cursor: cursor.execute(
                    "update collection set began_deleting = true where number = $1", (number,)
                )
            )
        if row["ended_at"] is None:
            self._do(lambda cursor: self._delete(cursor, number, batch))
            row = self._do(lambda cursor: self._row(cursor, number))
            if row["ended_at"] is not None:
                note = (
                    f"{row['deleted']} values, {row['deleted_dossiers']} dossiers' links, {row['deleted_keys']} keys "
                    "deleted"
                )
                self._audit.record(
                    Entry("collect", "service", "done", asked=f"collection {number}", note=note)
                )
        return Deleted(
            row["deleted"], row["deleted_dossiers"], row["deleted_keys"], row["ended_at"] is not None
        )

    # --- in a transaction ----------------------------------------------------------------------------

    def _row(self, cursor: adbc.Cursor, number: int) -> dict[str, Any]:
        cursor.execute(
            "select *, server_began = pg_postmaster_start_time() as marks_stand, "
            "begun_at > now() - $2::text::interval as in_term from collection where number = $1",
            (number, f"{TERM.total_seconds():.0f} seconds"),
        )
        rows = cursor.fetch_arrow_table().to_pylist()
        if not rows:
            raise CollectionError(f"there is no collection {number}; begin one")
        return dict(rows[0])

    def _opened(self, cursor: adbc.Cursor, number: int) -> dict[str, Any]:
        row = self._row(cursor, number)
        if row["ended_at"] is not None or not row["in_term"]:
            raise CollectionError(
                f"collection {number} is over: another was begun since, or it began too long ago. Nothing more is "
                "deleted by it; begin anew"
            )
        if not row["marks_stand"]:
            raise CollectionError(
                f"PostgreSQL was started since collection {number} began, so what was said to be in use may be lost. "
                "Nothing more is deleted by it; begin anew"
            )
        return row

    def _count(self, cursor: adbc.Cursor, number: int) -> Counted:
        self._opened(cursor, number)
        cursor.execute("select count(*) from sealed_value")
        stored = int(cursor.fetchall()[0][0])
        kept = _kept(cursor)
        cursor.execute("truncate collection_unused")
        cursor.execute("analyze collection_used")
        cursor.execute(
            "with unused as (insert into collection_unused select v.reference from sealed_value v "  # noqa: S608
            "join sealed_group g on g.id = v.group_id where g.created_at < "
            f"(select begun_at from collection where number = {int(number)}) - {_interval(GRACE)} "
            f"and coalesce(g.holder, '') not in ({kept}) "
            f"and not exists (select from collection_used u where u.reference = {_USED_BY}) returning 1) "
            "select count(*) from unused"
        )
        unused = int(cursor.fetchall()[0][0])
        cursor.execute(f"select count(*) from sealed_dossier d where {_unused_dossier(number, kept)}")  # noqa: S608
        dossiers = int(cursor.fetchall()[0][0])
        cursor.execute(
            "update collection set stored = $2, unused = $3, unused_dossiers = $4 where number = $1",
            (number, stored, unused, dossiers),
        )
        return self._judged(cursor, number)

    def _judged(self, cursor: adbc.Cursor, number: int) -> Counted:
        """What was counted, and what stands against deleting it."""
        row = self._opened(cursor, number)
        cursor.execute("select count(*) from sealed_dossier")
        counts = (row["unused"], row["stored"]), (row["unused_dossiers"], int(cursor.fetchall()[0][0]))
        against = self._against(cursor, number, row["confirmed"] or 0, counts)
        return Counted(row["stored"], row["unused"], row["unused_dossiers"], against)

    def _against(
        self, cursor: adbc.Cursor, number: int, confirmed: int, counts: Sequence[tuple[int, int]]
    ) -> str | None:
        """Why `counts`, each of (unused, stored), may not be deleted; None if they may."""
        if not any(stored for _, stored in counts):
            return None  # a new vault: there is nothing that could be deleted wrongly
        cursor.execute("select exists (select from collection_used)")
        if not cursor.fetchall()[0][0]:
            return (
                f"collection {number} was told of nothing at all that is in use, so nothing is deleted. Look whether "
                "the landing folder and the warehouse are the right ones"
            )
        cursor.execute(
            "select coalesce(sum(deleted), 0)::bigint, coalesce(sum(deleted_dossiers), 0)::bigint from collection "  # noqa: S608
            f"where confirmed is null and begun_at > now() - {_interval(WEEK)}"
        )
        lately = cursor.fetchall()[0]
        over = any(
            unused + gone > max(LEAST, int(SHARE * (stored + gone)))
            for (unused, stored), gone in zip(counts, lately, strict=True)
        )
        unused = sum(u for u, _ in counts)
        if not over or unused <= confirmed:
            return None
        (values, stored), (dossiers, links) = counts
        return (
            f"collection {number} found {values:,} of {stored:,} sealed values and {dossiers:,} of {links:,} dossiers' "
            f"links in no landed file and no raw row. With what went within {WEEK.days} days that is more than "
            f"{SHARE:.0%} and {LEAST}, as where a part of the landing folder or of the warehouse is missing, so "
            "nothing was deleted. If none is missing and they are really to go, run within the day: "
            f".venv/bin/python -m ops vault collect --number {number} --unused {unused} --officer <code>"
        )

    def _delete(self, cursor: adbc.Cursor, number: int, batch: int) -> None:
        # What is being sealed has marked it all, and what will be finds it gone, and stores it anew.
        alone(cursor)
        self._opened(cursor, number)
        for name, columns in (("part", "reference text"), ("emptied", "id bytea"), ("bereft", "holder text")):
            cursor.execute(f"create temporary table {name} ({columns}) on commit drop")
        cursor.execute(
            "with taken as (delete from collection_unused where reference in "  # noqa: S608
            f"(select reference from collection_unused limit {int(batch)}) returning reference) "
            "insert into part select reference from taken"
        )
        cursor.execute(
            "with gone as (delete from sealed_value v using part p, sealed_group g where v.reference = p.reference "  # noqa: S608
            f"and g.id = v.group_id and coalesce(g.holder, '') not in ({_kept(cursor)}) and not exists "
            f"(select from collection_used u where u.reference = {_USED_BY}) returning v.group_id), "
            "kept as (insert into emptied select distinct group_id from gone) select count(*) from gone"
        )
        values = int(cursor.fetchall()[0][0])
        cursor.execute(
            "with gone as (delete from sealed_group g using emptied e where g.id = e.id and not exists "
            "(select from sealed_value v where v.group_id = g.id) returning g.holder) "
            "insert into bereft select distinct holder from gone where holder is not null"
        )
        others = " ".join(
            f"and not exists (select from {t} t where t.holder = k.holder)" for t in UNDER_A_KEY
        )
        # An erased person's row, without a key, stays.
        cursor.execute(
            "with gone as (delete from person_key k using bereft b where k.holder = b.holder and "  # noqa: S608
            f"k.wrapped is not null {others} returning 1) select count(*) from gone"
        )
        keys = int(cursor.fetchall()[0][0])
        cursor.execute("select exists (select from collection_unused)")
        done, dossiers = not cursor.fetchall()[0][0], 0
        if done:
            cursor.execute(
                "with gone as (delete from sealed_dossier d where "  # noqa: S608
                f"{_unused_dossier(number, _kept(cursor))} returning 1) select count(*) from gone"
            )
            dossiers = int(cursor.fetchall()[0][0])
            cursor.execute("truncate collection_used, collection_dossier, collection_unused")
        cursor.execute(
            "update collection set deleted = deleted + $2, deleted_keys = deleted_keys + $3, deleted_dossiers = "  # noqa: S608
            f"deleted_dossiers + $4, ended_at = {'now()' if done else 'null'} where number = $1",
            (number, values, keys, dossiers),
        )


def _kept(cursor: adbc.Cursor) -> str:
    """Restricted persons, whose data stay as they are; as a list in SQL, never an empty one."""
    return ", ".join("'" + h.replace("'", "") + "'" for h in sorted(restricted(cursor))) or "'-'"


def _interval(length: dt.timedelta) -> str:
    return f"interval '{length.total_seconds():.0f} seconds'"


def _unused_dossier(number: int, kept: str) -> str:
    return (
        f"d.stored_at < (select begun_at from collection where number = {int(number)}) - {_interval(GRACE)} "  # noqa: S608
        f"and d.token not in ({kept}) and not exists (select from collection_dossier u "
        "where u.source_code = d.source_code and u.dossier_id = d.dossier_id)"
    )
