"""Load a landed batch into ``raw``: staged by COPY, compared once, in one transaction, exactly once.

Business columns are compared on loading, so an unchanged row is not rewritten and the load number is a true
watermark: it grows in commit order because loads take one lock. A batch pulled earlier than the row it
meets never overwrites it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from landing import handles
from landing.manifest import LandingError, Manifest

STAGE = "landing_stage"
#: Up to so many rows a second connection takes longer to open than it saves.
_ONE_STREAM = 10_000
#: From so many rows on, joins read both sides once.
_LARGE = 2_000
#: Ends the name of the index over load numbers that a contract with a change key makes.
_LOAD_INDEX = "__load"
#: One lock for all loads: the number a load takes must be the order in which it becomes visible.
LOAD_LOCK = 7_662_025


@dataclass(frozen=True)
class TableSpec:
    """What the loader must know of a table; built from its contract."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    compared: tuple[str, ...]
    ddl: tuple[str, ...]
    change_key: tuple[str, ...] = ()
    complete_within: tuple[str, ...] = ()
    parent: str | None = None
    #: Columns that hold handles of the vault.
    handles: tuple[str, ...] = ()


@dataclass
class TableLoad:
    """What loading did to one table."""

    staged: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    overtaken: int = 0


@dataclass
class LoadOutcome:
    """Result of a load; `already` if this batch was loaded before."""

    batch_id: str
    load_number: int
    already: bool = False
    tables: dict[str, TableLoad] = field(default_factory=dict)


def staged_name(batch_id: str, table: str) -> str:
    """Name of the staging table of one table of a batch (PostgreSQL allows 63 bytes)."""
    return f"b{batch_id.replace('-', '_').lower()}__{table}"


def prepare(connection: psycopg.Connection, specs: Sequence[TableSpec]) -> None:
    """Make the schemas, raw tables and the load log; safe to run again, also by two at once."""
    connection.execute("select pg_advisory_xact_lock(%s)", (LOAD_LOCK,))
    statements = (
        # Asked for first: PostgreSQL checks the right to make schemas also where nothing is to be made, and where
        # logins are apart the loader's has none.
        *(
            f"do $$ begin if to_regnamespace('{schema}') is null then create schema {schema}; end if; end $$"
            for schema in ("raw", "ops", STAGE)
        ),
        "create table if not exists ops.load_log (load_number bigint primary key, batch_id text not null unique, "
        "source_code text not null, origin text not null, interval_start timestamptz not null, "
        "interval_end timestamptz not null, pulled_at timestamptz not null, "
        "loaded_at timestamptz not null default clock_timestamp(), counts jsonb not null)",
        # An earlier version kept every change in a table of this name; what it holds is still true.
        "do $$ begin if exists (select from pg_tables where schemaname = 'raw' and tablename = 'dossier_change') "
        "then alter table raw.dossier_change rename to dossier_removal; end if; end $$",
        "create table if not exists raw.dossier_removal (source_code text not null, dossier_id text not null, "
        "load_number bigint not null)",
        "create index if not exists dossier_removal_load on raw.dossier_removal (load_number)",
        # See landing.deletions.
        "create table if not exists raw.dossier_deletion (source_code text not null, dossier_id text not null, "
        "missed_at timestamptz not null, deleted_at timestamptz, load_number bigint, "
        "primary key (source_code, dossier_id))",
        "create table if not exists ops.dossier_not_held (source_code text not null, dossier_id text not null, "
        "primary key (source_code, dossier_id))",
        handles.SCHEMA,
        *(s for spec in specs for s in spec.ddl),
    )
    # One round trip: a contract has a statement for each column.
    connection.execute(";\n".join(statements))  # type: ignore[arg-type]
    _watch_changes(connection)
    connection.commit()


def _watch_changes(connection: psycopg.Connection) -> None:
    """Make ``raw.dossier_change``: a row of a dossier tells by its load number; one that is gone was noted."""
    rows = connection.execute(
        "select t.tablename, exists (select from information_schema.view_table_usage u where u.view_schema = 'raw' "
        "and u.view_name = 'dossier_change' and u.table_name = t.tablename) from pg_tables t where t.schemaname = "
        "'raw' and to_regclass(format('raw.%%I', t.tablename || %s)) is not null order by 1",
        (_LOAD_INDEX,),
    ).fetchall()
    present = _one(connection, "select (to_regclass('raw.dossier_change') is not null)::int")
    if present and all(watched for _, watched in rows):
        return
    parts: list[sql.Composable] = [
        sql.SQL("select source_code, dossier_id, _load_number as load_number from raw.{}").format(
            sql.Identifier(name)
        )
        for name, _ in rows
    ]
    parts.append(sql.SQL("select source_code, dossier_id, load_number from raw.dossier_removal"))
    connection.execute(
        sql.SQL("create or replace view raw.dossier_change as {}").format(sql.SQL(" union all ").join(parts))
    )


def is_staged(url: str, folder: Path, specs: Sequence[TableSpec]) -> bool:
    """Whether the batch is loaded, or its staging tables hold what the manifest says.

    They are unlogged: PostgreSQL empties them when it recovers from a crash.
    """
    manifest = Manifest.read(folder)
    names = {
        staged_name(manifest.batch_id, spec.name): entry.landed
        for spec in specs
        if (entry := manifest.tables.get(spec.name)) is not None and entry.file is not None
    }
    with psycopg.connect(url) as connection:
        if _loaded(connection, manifest.batch_id) is not None:
            return True
        there = connection.execute(
            "select tablename from pg_tables where schemaname = %s and tablename = any(%s)",
            (STAGE, list(names)),
        ).fetchall()
        return len(there) == len(names) and all(
            _one(connection, sql.SQL("select count(*) from {}").format(sql.Identifier(STAGE, name))) == rows
            for name, rows in names.items()
        )


def stage(
    url: str, folder: Path, specs: Sequence[TableSpec], renew: handles.Renew | None = None
) -> dict[str, str]:
    """COPY the batch's files into fresh unlogged tables; {table: staged table}, for the landing gate.

    `renew` is asked where the batch holds handles of an earlier token key than the warehouse's.
    """
    manifest = Manifest.read(folder)
    manifest.verify_files(folder)
    names: dict[str, str] = {}
    with psycopg.connect(url) as connection:
        prepare(connection, specs)
        _check_clock(connection, manifest)
        if _loaded(connection, manifest.batch_id) is not None:
            return {}
        found = _versions(folder, manifest, specs)
        handles.begin_with(connection, found)
        held = handles.version(connection)
        if not handles.check(manifest.batch_id, found, held, renew):
            renew = None
        for spec in specs:
            entry = manifest.tables.get(spec.name)
            if entry is None or entry.file is None:
                continue
            name = staged_name(manifest.batch_id, spec.name)
            target = sql.Identifier(STAGE, name)
            connection.execute(sql.SQL("drop table if exists {}").format(target))
            connection.execute(
                sql.SQL("create unlogged table {} as select {} from raw.{} with no data").format(
                    target, _list(spec.columns), sql.Identifier(spec.name)
                )
            )
            connection.execute(
                sql.SQL("comment on table {} is {}").format(target, sql.Literal(_staged_under(held)))
            )
            names[spec.name] = name
        connection.commit()
    troubles: list[Exception] = []

    def told(texts: pa.Array) -> pa.Array:
        assert renew is not None  # noqa: S101 - called for no table otherwise
        try:
            return renew(texts)
        except Exception as e:
            troubles.append(e)
            raise

    holding = {spec.name: spec.handles for spec in specs if renew and spec.handles}
    try:
        _copy(url, folder, manifest, names, holding, told)
    except Exception:
        # What the vault said does not come through the driver that reads the renewed rows.
        if troubles:
            raise troubles[0] from None
        raise
    return names


def _versions(folder: Path, manifest: Manifest, specs: Sequence[TableSpec]) -> set[int]:
    """Versions of the handles in a batch's files."""
    found: set[int] = set()
    for spec in specs:
        entry = manifest.tables.get(spec.name)
        if spec.handles and entry is not None and entry.file is not None:
            found |= handles.versions_in(pq.ParquetFile(folder / entry.file), spec.handles)
    return found


def _staged_under(version: int) -> str:
    return f"holds handles of version {version}"


def _check_clock(connection: psycopg.Connection, manifest: Manifest) -> None:
    """A batch from the future would hold off every later one until its moment has come."""
    row = connection.execute(
        "select now(), now() + interval '1 hour' < %s::timestamptz", (manifest.pulled_at,)
    ).fetchone()
    if row and row[1]:
        raise LandingError(
            f"batch {manifest.batch_id} says it was pulled at {manifest.pulled_at}, but by the database's clock it is "
            f"{row[0].isoformat(timespec='seconds')}: one of the two clocks is wrong. Nothing was loaded, because "
            "rows from the future would hold off every later pull. Compare them with a third (timedatectl; chronyc "
            "tracking), mend the wrong one, then clear the pull task; it reads anew."
        )


def _copy(
    url: str,
    folder: Path,
    manifest: Manifest,
    names: dict[str, str],
    holding: dict[str, tuple[str, ...]],
    renew: handles.Renew,
) -> None:
    """COPY each file into its staging table; a large one by two connections, half of its row groups each.

    `holding` are the columns of each table whose handles are renewed.
    """
    halves: list[tuple[str, int, int]] = []
    for table in names:
        entry = manifest.tables[table]
        groups = pq.ParquetFile(folder / str(entry.file)).num_row_groups
        middle = groups // 2 if entry.landed > _ONE_STREAM else 0
        halves += [(table, low, high) for low, high in ((0, middle), (middle, groups)) if low < high]

    def copy(half: tuple[str, int, int]) -> int:
        table, low, high = half
        file = pq.ParquetFile(folder / str(manifest.tables[table].file))
        with adbc.connect(url) as connection, connection.cursor() as cursor:
            reader = _reader(file, range(low, high), holding.get(table, ()), renew)
            written = cursor.adbc_ingest(names[table], reader, mode="append", db_schema_name=STAGE)
            connection.commit()
        return int(written)

    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(copy, halves))
    for table in names:
        mine = [n for n, (t, _, _) in zip(counts, halves, strict=True) if t == table]
        landed = manifest.tables[table].landed
        if -1 not in mine and sum(mine) != landed:
            raise LandingError(f"staged {sum(mine)} of {landed} landed rows of {table}; clear the task")


def _reader(
    file: pq.ParquetFile, row_groups: Sequence[int], holding: Sequence[str], renew: handles.Renew
) -> pa.RecordBatchReader:
    batches = file.iter_batches(batch_size=16 * 1024, row_groups=row_groups)
    if holding:
        batches = handles.renewed_batches(batches, holding, renew)
    return pa.RecordBatchReader.from_batches(file.schema_arrow.remove_metadata(), batches)


def load(
    url: str,
    folder: Path,
    specs: Sequence[TableSpec],
    before_commit: Callable[[], None] | None = None,
    loaded: Callable[[psycopg.Connection, int], None] | None = None,
) -> LoadOutcome:
    """Merge the staged batch into ``raw`` in one transaction, log it, drop the staging tables.

    Loading the same batch again changes nothing and says so. `loaded` is called in the transaction with the load's
    number once its rows stand; `before_commit` is for tests that kill here.
    Raises LandingError if a staged table is missing or does not hold the landed rows.
    """
    manifest = Manifest.read(folder)
    rejected = manifest.rejected_keys(folder)
    with psycopg.connect(url) as connection:
        connection.execute("set local statement_timeout = 0")
        connection.execute("select pg_advisory_xact_lock(%s)", (LOAD_LOCK,))
        if not _one(connection, "select (to_regclass('ops.load_log') is not null)::int"):
            raise LandingError(f"batch {manifest.batch_id} is not staged; clear the staging task")
        number = _loaded(connection, manifest.batch_id)
        if number is not None:
            connection.rollback()
            return LoadOutcome(manifest.batch_id, number, already=True)
        number = _one(connection, "select coalesce(max(load_number), 0) + 1 from ops.load_log")
        outcome = LoadOutcome(manifest.batch_id, number)
        held = handles.version(connection)
        for spec in specs:
            if spec.name in manifest.tables:
                _check_staged(connection, manifest, spec, held)
                outcome.tables[spec.name] = _merge(
                    connection, spec, manifest, number, rejected.get(spec.name, []), folder
                )
        connection.execute(
            "insert into ops.load_log (load_number, batch_id, source_code, origin, interval_start, interval_end, "
            "pulled_at, counts) values (%s, %s, %s, %s, %s, %s, %s, %s)",
            (
                number,
                manifest.batch_id,
                manifest.source_code,
                manifest.origin,
                manifest.interval_start,
                manifest.interval_end,
                manifest.pulled_at,
                json.dumps({t: vars(c) for t, c in outcome.tables.items()}),
            ),
        )
        if loaded:
            loaded(connection, number)
        for spec in specs:
            name = staged_name(manifest.batch_id, spec.name)
            connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(STAGE, name)))
        if before_commit:
            before_commit()
        connection.commit()
    return outcome


def _check_staged(connection: psycopg.Connection, manifest: Manifest, spec: TableSpec, held: int) -> None:
    """A table that was staged before the warehouse took the handles of another token key would not join."""
    name = staged_name(manifest.batch_id, spec.name)
    row = connection.execute(
        "select obj_description(to_regclass(%s), 'pg_class')", (f'{STAGE}."{name}"',)
    ).fetchone()
    if spec.handles and row and row[0] and row[0] != _staged_under(held):
        raise LandingError(
            f"batch {manifest.batch_id} was staged before the vault's token key was changed (table {spec.name} "
            f"{row[0]}, the warehouse is at {held}); clear the staging task"
        )


def _loaded(connection: psycopg.Connection, batch_id: str) -> int | None:
    row = connection.execute(
        "select load_number from ops.load_log where batch_id = %s", (batch_id,)
    ).fetchone()
    return None if row is None else int(row[0])


def _one(
    connection: psycopg.Connection, query: sql.Composed | str, given: dict[str, object] | None = None
) -> int:
    row = connection.execute(query, given).fetchone()  # type: ignore[arg-type]
    return int(row[0]) if row else 0


def _list(names: Sequence[str], prefix: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(prefix, n) if prefix else sql.Identifier(n) for n in names)


def _row(names: Sequence[str], prefix: str) -> sql.Composed:
    # ROW(...) also for a single column, where bare parentheses would be no row.
    return sql.SQL("row({})").format(_list(names, prefix))


def _merge(
    connection: psycopg.Connection,
    spec: TableSpec,
    manifest: Manifest,
    number: int,
    rejected: list[dict[str, str | None]],
    folder: Path,
) -> TableLoad:
    entry = manifest.tables[spec.name]
    result = TableLoad()
    target = sql.Identifier("raw", spec.name)
    if entry.file is not None:
        staged = sql.Identifier(STAGE, staged_name(manifest.batch_id, spec.name))
        try:
            result.staged = _one(connection, sql.SQL("select count(*) from {}").format(staged))
        except psycopg.errors.UndefinedTable:
            raise LandingError(
                f"batch {manifest.batch_id} is not staged (table {spec.name}); clear the staging task"
            ) from None
        if result.staged != entry.landed:
            raise LandingError(
                f"batch {manifest.batch_id}: {spec.name} has {result.staged} staged rows, the manifest says "
                f"{entry.landed}; clear the staging task"
            )
        result.overtaken = _drop_overtaken(connection, spec, manifest, folder)
        given = {
            "origin": manifest.origin,
            "batch": manifest.batch_id,
            "number": number,
            "at": manifest.pulled_at,
        }
        # Only the key's statistics choose the join, and a rough idea of them is enough.
        connection.execute("set local default_statistics_target = 10")
        # A table filled a moment ago has no statistics yet, and a staging table no index: a nested loop over both,
        # chosen for one row and met with thousands, would run for minutes.
        large = result.staged > _LARGE
        connection.execute(f"set local enable_nestloop = {'off' if large else 'on'}")
        connection.execute(sql.SQL("analyze {} ({})").format(staged, _list(spec.key)))
        same_key = sql.SQL(" and ").join(sql.SQL("r.{0} = s.{0}").format(sql.Identifier(k)) for k in spec.key)
        # Updates before inserts: a row inserted here need not be compared with itself. MERGE, because its join holds
        # keys alone and looks a row up by its place, where UPDATE ... FROM carries both rows whole: half the time.
        result.updated = _changed(
            connection,
            sql.SQL(
                "merge into {target} r using {staged} s on {same_key} when matched and r._pulled_at <= %(at)s "
                "and {old} is distinct from {new} then update set {sets}, _origin = %(origin)s, "
                "_batch_id = %(batch)s, _load_number = %(number)s, _pulled_at = %(at)s"
            ).format(
                target=target,
                sets=sql.SQL(", ").join(
                    sql.SQL("{0} = s.{0}").format(sql.Identifier(c))
                    for c in spec.columns
                    if c not in spec.key
                ),
                staged=staged,
                same_key=same_key,
                old=_row(spec.compared, "r"),
                new=_row(spec.compared, "s"),
            ),
            given,
        )
        with _bulk(connection, spec) as empty:
            unless_there = (
                sql.SQL("")
                if empty
                else sql.SQL(" where not exists (select from {} r where {})").format(target, same_key)
            )
            result.inserted = _changed(
                connection,
                sql.SQL(
                    "insert into {target} ({columns}, _origin, _batch_id, _load_number, _pulled_at) "
                    "select {staged_columns}, %(origin)s, %(batch)s, %(number)s, %(at)s from {staged} s"
                    "{unless_there}"
                ).format(
                    target=target,
                    columns=_list(spec.columns),
                    staged_columns=_list(spec.columns, "s"),
                    staged=staged,
                    unless_there=unless_there,
                ),
                given,
            )
        result.unchanged = result.staged - result.overtaken - result.inserted - result.updated
    if spec.complete_within:
        result.removed = _remove_vanished(connection, spec, manifest, number, rejected)
    return result


def _drop_overtaken(connection: psycopg.Connection, spec: TableSpec, manifest: Manifest, folder: Path) -> int:
    """Drop staged rows that a batch pulled later, but loaded earlier, has read again; how many.

    A row's own `_pulled_at` does not tell: it stands still while later pulls find the row unchanged.
    """
    newer = connection.execute(
        # An empty interval is that of found deletions: no batch.
        "select batch_id from ops.load_log where source_code = %s and pulled_at > %s "
        "and interval_start < interval_end",
        (manifest.source_code, manifest.pulled_at),
    ).fetchall()
    staged = sql.Identifier(STAGE, staged_name(manifest.batch_id, spec.name))
    columns = spec.complete_within or spec.key
    dropped = 0
    for (batch_id,) in newer:
        try:
            other = Manifest.read(folder.parent / batch_id)
        except LandingError:
            raise LandingError(
                f"batch {manifest.batch_id} was overtaken by batch {batch_id}, which is not in the landing folder "
                "any more, so it cannot be told what the later one has read. Clear the pull task; it reads anew."
            ) from None
        # Children vanish with their group: what counts is that the later batch has read the parent.
        entry = other.tables.get(spec.parent or "") or other.tables.get(spec.name)
        if entry is None or entry.file is None:
            continue
        keys = pq.read_table(folder.parent / batch_id / entry.file, columns=list(columns))
        connection.execute("drop table if exists pg_temp.overtaking")
        connection.execute(
            sql.SQL("create temp table overtaking on commit drop as select {} from {} with no data").format(
                _list(columns), staged
            )
        )
        copy = sql.SQL("copy pg_temp.overtaking ({}) from stdin").format(_list(columns))
        with connection.cursor() as cursor, cursor.copy(copy) as stream:
            for row in zip(*(keys.column(c).to_pylist() for c in columns), strict=True):
                stream.write_row(row)
        dropped += connection.execute(
            sql.SQL("delete from {} where ({}) in (select {} from pg_temp.overtaking)").format(
                staged, _list(columns), _list(columns)
            )
        ).rowcount
    return dropped


@contextlib.contextmanager
def _bulk(connection: psycopg.Connection, spec: TableSpec) -> Iterator[bool]:
    """Build a raw table's key and indexes after its first rows: a quarter of the time. Yields: it is empty."""
    target = sql.Identifier("raw", spec.name)
    if _one(connection, sql.SQL("select count(*) from (select from {} limit 1) one").format(target)):
        yield False
        return
    key = sql.Identifier(f"{spec.name}_pkey")
    connection.execute(sql.SQL("alter table {} drop constraint if exists {}").format(target, key))
    for (name,) in connection.execute(
        "select indexname from pg_indexes where schemaname = 'raw' and tablename = %s", (spec.name,)
    ).fetchall():
        connection.execute(sql.SQL("drop index {}").format(sql.Identifier("raw", name)))
    yield True
    connection.execute(sql.SQL("alter table {} add primary key ({})").format(target, _list(spec.key)))
    connection.execute(";\n".join(spec.ddl))  # type: ignore[arg-type]


def _changed(connection: psycopg.Connection, work: sql.Composed, given: dict[str, object]) -> int:
    """Do `work`; the number of rows it changed."""
    return max(0, connection.execute(work, given).rowcount)


def _remove_vanished(
    connection: psycopg.Connection,
    spec: TableSpec,
    manifest: Manifest,
    number: int,
    rejected: list[dict[str, str | None]],
) -> int:
    """Delete rows of a re-read group that the source no longer sends (a step taken back, a fee removed).

    A row the source did send, but that broke its contract, keeps the last good version it has here.
    """
    # A dossier that lost its last step has no staged step: the groups re-read are its parent's rows.
    scope_table = spec.parent if spec.parent in manifest.tables else spec.name
    scope_entry = manifest.tables[str(scope_table)]
    if scope_entry.file is None:
        return 0
    scope = sql.Identifier(STAGE, staged_name(manifest.batch_id, str(scope_table)))
    own = manifest.tables[spec.name].file
    still: sql.Composable = sql.SQL("")
    if own is not None:
        still = sql.SQL(" and not exists (select from {} s where {})").format(
            sql.Identifier(STAGE, staged_name(manifest.batch_id, spec.name)),
            sql.SQL(" and ").join(sql.SQL("r.{0} = s.{0}").format(sql.Identifier(k)) for k in spec.key),
        )
    if rejected:
        refused = sql.Identifier("pg_temp", f"refused_{spec.name}")
        connection.execute(
            sql.SQL("create temp table {} ({}) on commit drop").format(
                sql.Identifier(f"refused_{spec.name}"),
                sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(k)) for k in spec.key),
            )
        )
        with (
            connection.cursor() as cursor,
            cursor.copy(sql.SQL("copy {} from stdin").format(refused)) as copy,
        ):
            for row in rejected:
                copy.write_row([row.get(k) for k in spec.key])
        # A part of the key that could not be read may be any: all rows it may mean stay.
        still += sql.SQL(" and not exists (select from {} x where {})").format(
            refused,
            sql.SQL(" and ").join(
                sql.SQL("(x.{0} is null or x.{0} = r.{0}::text)").format(sql.Identifier(k)) for k in spec.key
            ),
        )
    removal = sql.SQL(
        # What this load has just written cannot have vanished.
        "delete from {target} r where r._load_number <> %(number)s and ({group}) in (select {scope_group} "
        "from {scope} g) and r._pulled_at <= %(at)s{still}"
    ).format(
        target=sql.Identifier("raw", spec.name),
        group=_list(spec.complete_within, "r"),
        scope_group=_list(spec.complete_within, "g"),
        scope=scope,
        still=still,
    )
    given: dict[str, object] = {"at": manifest.pulled_at, "number": number}
    if not spec.change_key:
        return _changed(connection, removal, given)
    return _one(
        connection,
        sql.SQL(
            "with gone as ({removal} returning {kept}), noted as (insert into raw.dossier_removal (source_code, "
            "dossier_id, load_number) select distinct source_code, dossier_id, %(number)s::bigint from gone) "
            "select count(*) from gone"
        ).format(removal=removal, kept=_list(spec.change_key, "r")),
        given,
    )


def drop_stale_stages(url: str, batch_ids: Sequence[str]) -> None:
    """Drop staging tables of the given batches, such as those a gate refused."""
    with psycopg.connect(url, autocommit=True) as connection:
        for batch_id in batch_ids:
            rows = connection.execute(
                "select tablename from pg_tables where schemaname = %s and tablename like %s",
                (STAGE, staged_name(batch_id, "").replace("_", r"\_") + "%"),
            ).fetchall()
            for (name,) in rows:
                connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(STAGE, name)))
