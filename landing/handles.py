"""Handles (tokens, references) of another token key than the warehouse's, brought to one form: loading, and in ``raw``.

Landed files are immutable and keep the handles they were landed with for ever. The warehouse holds handles of one
version, named in ``ops.handle_version``, so that its joins hold. What the vault's token key has to do with it stands
there; here handles are texts such as ``id1_...`` or ``ref2_...``, and `Renew` asks the vault for their present form.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from landing.manifest import LandingError, new_batch_id

if TYPE_CHECKING:
    from landing.loader import TableSpec

#: Gives handles (texts, nulls among them) in the form that the vault makes now.
Renew = Callable[[pa.Array], pa.Array]
SCHEMA = (
    "create table if not exists ops.handle_version (version smallint primary key, "
    "since timestamptz not null default clock_timestamp())"
)
_HANDLE = re.compile(r"(?:id|ref)([1-9])_")
_PROBE = "id1_" + "0" * 32


@dataclass
class Renewed:
    """What `renew` did: the version the warehouse is at, rows changed by table, load numbers by source."""

    version: int
    rows: dict[str, int] = field(default_factory=dict)
    load_numbers: dict[str, int] = field(default_factory=dict)


def version(connection: psycopg.Connection) -> int:
    """The version of the handles that the warehouse holds."""
    if _value(connection, "select (to_regclass('ops.handle_version') is null)::int"):
        return 1
    return _value(connection, "select coalesce(max(version), 1) from ops.handle_version")


def begin_with(connection: psycopg.Connection, found: set[int]) -> None:
    """A warehouse that was never loaded takes the version of its first batch."""
    if found and max(found) > 1 and not _value(connection, "select count(*) from ops.load_log"):
        connection.execute(
            "insert into ops.handle_version (version) values (%s) on conflict do nothing", (max(found),)
        )


def versions_in(file: pq.ParquetFile, columns: Sequence[str]) -> set[int]:
    """Versions of the handles in `columns` of a landed file, told by the statistics that Parquet keeps of them."""
    found: set[int] = set()
    names = file.schema_arrow.names
    for group in range(file.num_row_groups):
        for name in columns:
            kept = file.metadata.row_group(group).column(names.index(name)).statistics
            if kept is not None and kept.has_min_max:
                ends = [kept.min, kept.max]
            else:
                ends = file.read_row_group(group, columns=[name]).column(0).drop_null().to_pylist()
            told = [int(m[1]) for text in ends if (m := _HANDLE.match(text))]
            # Between its least and its greatest value a column may hold any version between.
            found |= set(range(min(told), max(told) + 1)) if told else set()
    return found


def check(batch_id: str, found: set[int], held: int, renew: Renew | None) -> bool:
    """Whether a batch with handles of the versions `found` must be renewed for a warehouse that holds `held`.

    Raises LandingError where the warehouse must be renewed first.
    """
    if not found - {held}:
        return False
    if max(found) > held or renew is None or _version_of(renew(pa.array([_PROBE]))[0].as_py()) != held:
        raise LandingError(
            f"batch {batch_id} holds tokens of version {', '.join(map(str, sorted(found)))}, the warehouse those of "
            f"version {held}: the vault's token key was changed. Nothing was loaded, because the two would not join. "
            "Run `.venv/bin/python -m ops renew-handles`, then clear the staging task."
        )
    return True


def renewed_batches(
    batches: Iterator[pa.RecordBatch], columns: Sequence[str], renew: Renew
) -> Iterator[pa.RecordBatch]:
    """`batches` with the handles in `columns` as the vault makes them now; one question for each batch."""
    for batch in batches:
        new = renew(pa.concat_arrays([batch.column(n) for n in columns]))
        places = {n: batch.schema.get_field_index(n) for n in columns}
        arrays = list(batch.columns)
        for number, place in enumerate(places.values()):
            arrays[place] = new.slice(number * batch.num_rows, batch.num_rows)
        yield pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def renew_warehouse(
    url: str, specs: Sequence[TableSpec], renew: Renew, before_commit: Callable[[], None] | None = None
) -> Renewed:
    """Bring every handle in ``raw`` to the form that the vault makes now; nothing to do, it changes nothing.

    One transaction under the lock of all loads: no reader sees two versions, and killed at any moment, all is as it
    was. Rows that change take a load number of their source, with an empty interval in the load log: no record was
    read, so no day is covered by it; what is built of them sees that they changed. `before_commit` is for tests that
    kill here. Raises LandingError where the vault is behind the warehouse.
    """
    from landing.loader import LOAD_LOCK, prepare  # which knows this module, too

    after = _version_of(renew(pa.array([_PROBE]))[0].as_py())
    holding = [spec for spec in specs if spec.handles]
    with psycopg.connect(url) as connection:
        prepare(connection, holding)
        connection.execute("set local statement_timeout = 0")
        connection.execute("select pg_advisory_xact_lock(%s)", (LOAD_LOCK,))
        done, held = Renewed(after), version(connection)
        if after < held:
            raise LandingError(
                f"the vault makes tokens of version {after}, the warehouse holds those of version {held}: the vault's "
                "database or keys are older than the warehouse. Put its keys back from their backup, then run "
                "`.venv/bin/python -m ops vault retoken` (docs/operations.md)."
            )
        if after == held:
            return done
        for spec in holding:
            _stage(url, spec, renew)
        _number(connection, holding, done)
        counts: dict[str, dict[str, dict[str, int]]] = {}
        for spec in holding:
            for source, rows in _update(connection, spec):
                counts.setdefault(source, {})[spec.name] = {"updated": rows}
                done.rows[spec.name] = done.rows.get(spec.name, 0) + rows
        for source, changed in counts.items():
            connection.execute(
                "update ops.load_log set counts = %s where load_number = %s",
                (json.dumps(changed), done.load_numbers[source]),
            )
        connection.execute("insert into ops.handle_version (version) values (%s)", (after,))
        if before_commit:
            before_commit()
        connection.commit()
    return done


def _version_of(handle: str) -> int:
    found = _HANDLE.match(handle)
    if found is None:
        raise LandingError(
            "the vault gave something else than a token for a token; look at its log (make logs)"
        )
    return int(found[1])


def _staged(spec: TableSpec) -> sql.Identifier:
    return sql.Identifier("landing_stage", f"renewed__{spec.name}")


def _stage(url: str, spec: TableSpec, renew: Renew) -> None:
    """Fill a table with the key and the renewed handles of every row of ``raw.<spec>`` that has any."""
    names = sql.SQL(", ").join(sql.Identifier(n) for n in (*spec.key, *spec.handles))
    target = sql.Identifier("raw", spec.name)
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("drop table if exists {}").format(_staged(spec)))
        connection.execute(
            sql.SQL("create unlogged table {} as select {} from {} with no data").format(
                _staged(spec), names, target
            )
        )
        query = sql.SQL("select {} from {} where coalesce({}) is not null").format(
            names, target, sql.SQL(", ").join(sql.Identifier(n) for n in spec.handles)
        )
        text = query.as_string(connection)
        connection.commit()
    with (
        adbc.connect(url) as reading, reading.cursor() as reader,
        adbc.connect(url) as writing, writing.cursor() as writer,
    ):  # fmt: skip
        reader.execute(text)
        stream = reader.fetch_record_batch()
        for batch in renewed_batches(iter(stream), spec.handles, renew):
            writer.adbc_ingest(f"renewed__{spec.name}", batch, mode="append", db_schema_name="landing_stage")
        writing.commit()


def _number(connection: psycopg.Connection, holding: Sequence[TableSpec], done: Renewed) -> None:
    """Give each source with rows to renew a load number, in the load log and in a temporary table."""
    connection.execute("create temp table renewal (source_code text, load_number bigint) on commit drop")
    parts = [
        sql.SQL("select distinct r.source_code, r._origin from {} r join {} s on {}").format(
            sql.Identifier("raw", spec.name), _staged(spec), _same_key(spec)
        )
        for spec in holding
    ]
    sources = connection.execute(
        sql.SQL("select source_code, max(_origin) from ({}) found group by 1 order by 1").format(
            sql.SQL(" union ").join(parts)
        )
    ).fetchall()
    for source, origin in sources:
        row = connection.execute(
            "insert into ops.load_log (load_number, batch_id, source_code, origin, interval_start, interval_end, "
            "pulled_at, counts) select coalesce(max(load_number), 0) + 1, %s, %s, %s, now(), now(), now(), '{}' "
            "from ops.load_log returning load_number",
            (new_batch_id(dt.datetime.now(dt.UTC), os.urandom(8)), source, origin),
        ).fetchone()
        assert row is not None  # noqa: S101 - an insert of one row returns it
        done.load_numbers[source] = int(row[0])
        connection.execute("insert into renewal values (%s, %s)", (source, row[0]))


def _update(connection: psycopg.Connection, spec: TableSpec) -> list[tuple[str, int]]:
    """Put the renewed handles of one table in their rows; rows changed by source."""
    # A table filled a moment ago has no statistics: a nested loop over both would run for hours.
    connection.execute(sql.SQL("analyze {}").format(_staged(spec)))
    rows = connection.execute(
        sql.SQL(
            "with changed as (update {target} r set {sets}, _load_number = n.load_number from {staged} s "
            "join renewal n on n.source_code = s.source_code where {same_key} and ({old}) is distinct from ({new}) "
            "returning r.source_code) select source_code, count(*) from changed group by 1"
        ).format(
            target=sql.Identifier("raw", spec.name),
            sets=sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(sql.Identifier(n)) for n in spec.handles),
            staged=_staged(spec), same_key=_same_key(spec), old=_row(spec.handles, "r"), new=_row(spec.handles, "s"),
        )
    ).fetchall()  # fmt: skip
    connection.execute(sql.SQL("drop table {}").format(_staged(spec)))
    return [(source, int(number)) for source, number in rows]


def _same_key(spec: TableSpec) -> sql.Composed:
    return sql.SQL(" and ").join(sql.SQL("r.{0} = s.{0}").format(sql.Identifier(k)) for k in spec.key)


def _row(names: Sequence[str], prefix: str) -> sql.Composed:
    return sql.SQL("row({})").format(sql.SQL(", ").join(sql.Identifier(prefix, n) for n in names))


def _value(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    return int(row[0]) if row else 0
