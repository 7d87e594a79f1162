"""Dossiers that a source no longer has: its own list of keys against ``raw.dossier``.

No source says what it deleted. A dossier that is missing from the whole list of keys of its days waits in
``raw.dossier_deletion``; missing again, it counts as deleted and the marts leave it out; listed again, it is
back. Rows of ``raw.dossier`` are not touched. Every mark rings the change log under a load number of its own.

The other way round, what is listed and not held came too late for every pull, or was rejected and may have been
repaired since: it waits in ``ops.dossier_not_held`` for the next pull.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field

import psycopg

from landing.loader import LOAD_LOCK, prepare
from landing.manifest import new_batch_id


@dataclass
class Comparison:
    """What a list of keys says of the dossiers held for the same days."""

    held: int = 0
    listed: int = 0
    missing: list[str] = field(default_factory=list)
    #: Keys of days that were pulled which the warehouse does not hold: late dossiers, or rejected ones.
    not_held: list[str] = field(default_factory=list)


@dataclass
class Marked:
    """What `mark` did; `load_number` is None where nothing changed for those who read."""

    waiting: int = 0
    deleted: int = 0
    restored: int = 0
    load_number: int | None = None


def first_received(
    url: str, source_code: str, start: dt.datetime, end: dt.datetime, just_read: int | None = None
) -> dt.datetime | None:
    """When the first dossier held for the window ``[start, end)`` was received; None if none is held.

    Rows of the load `just_read` do not count: the source gave them a moment ago.
    """
    with psycopg.connect(url) as connection:
        if not _exists(connection, "raw.dossier"):
            return None
        row = connection.execute(
            "select min(received_at) from raw.dossier where source_code = %s and received_at >= %s "
            "and received_at < %s and _load_number is distinct from %s",
            (source_code, start, end, just_read),
        ).fetchone()
    return row[0] if row else None


def first_pulled(url: str, source_code: str) -> dt.datetime | None:
    """From when on the source was pulled; earlier dossiers are here only where they were open later."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select min(interval_start) from ops.load_log where source_code = %s and interval_start < interval_end",
            (source_code,),
        ).fetchone()
    return row[0] if row else None


def note_not_held(url: str, source_code: str, keys: Collection[str]) -> None:
    """Keep `keys`, and no earlier ones, for the source's next pull (`not_held`)."""
    with psycopg.connect(url) as connection:
        _copy(connection, "listed", keys)
        connection.execute("delete from ops.dossier_not_held where source_code = %s", (source_code,))
        connection.execute(
            "insert into ops.dossier_not_held select %s, dossier_id from listed", (source_code,)
        )


def not_held(url: str, source_code: str) -> list[str]:
    """What `note_not_held` kept and no pull has brought since."""
    with psycopg.connect(url) as connection:
        if not _exists(connection, "raw.dossier"):
            return []
        prepare(connection, [])  # a warehouse older than this table gets it here
        rows = connection.execute(
            "select dossier_id from ops.dossier_not_held n where source_code = %s and not exists (select from "
            "raw.dossier r where r.source_code = n.source_code and r.dossier_id = n.dossier_id) order by 1",
            (source_code,),
        ).fetchall()
    return [r[0] for r in rows]


def compare(
    url: str,
    source_code: str,
    start: dt.datetime,
    end: dt.datetime,
    keys: Collection[str],
    pulled: Collection[str] = (),
) -> Comparison:
    """The dossiers received in ``[start, end)`` and not yet deleted, against the source's list of their keys.

    `pulled` are those keys of days that were pulled, which should be held.
    """
    with psycopg.connect(url) as connection:
        prepare(connection, [])
        _copy(connection, "listed", keys)
        connection.execute(
            "create temp table held on commit drop as select r.dossier_id from raw.dossier r where source_code = %(s)s "
            "and received_at >= %(start)s and received_at < %(end)s and not exists (select from raw.dossier_deletion d "
            "where d.source_code = %(s)s and d.dossier_id = r.dossier_id and d.deleted_at is not null)",
            {"s": source_code, "start": start, "end": end},
        )
        held = connection.execute("select count(*) from held").fetchone()
        missing = connection.execute(
            "select dossier_id from held h where not exists (select from listed l where l.dossier_id = h.dossier_id) "
            "order by 1"
        ).fetchall()
        _copy(connection, "pulled", pulled)
        lacking = connection.execute(
            "select dossier_id from pulled p where not exists (select from raw.dossier r where r.source_code = %s and "
            "r.dossier_id = p.dossier_id) order by 1",
            (source_code,),
        ).fetchall()
    return Comparison(
        held[0] if held else 0, len(set(keys)), [m[0] for m in missing], [k[0] for k in lacking]
    )


def mark(
    url: str,
    source_code: str,
    origin: str,
    start: dt.datetime,
    keys: Collection[str],
    gone: Sequence[str],
    confirm_after: dt.timedelta,
) -> Marked:
    """Note `gone` as missing, those missing for `confirm_after` as deleted, and those of `keys` as there again.

    One transaction under the lock of all loads. What changed takes the next load number, with an empty
    interval at `start` in the load log: no record was read, so no day is covered by it.
    """
    result = Marked()
    with psycopg.connect(url) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (LOAD_LOCK,))
        _copy(connection, "listed", keys)
        _copy(connection, "missed", gone)
        back = connection.execute(
            "delete from raw.dossier_deletion d using listed l where d.source_code = %s "
            "and d.dossier_id = l.dossier_id returning d.dossier_id, d.deleted_at is not null",
            (source_code,),
        ).fetchall()
        restored = [key for key, was_deleted in back if was_deleted]
        deleted = [
            key
            for (key,) in connection.execute(
                "update raw.dossier_deletion d set deleted_at = now() from missed m where d.source_code = %s and "
                "d.dossier_id = m.dossier_id and d.deleted_at is null and d.missed_at <= now() - %s "
                "returning d.dossier_id",
                (source_code, confirm_after),
            ).fetchall()
        ]
        result.waiting = connection.execute(
            "insert into raw.dossier_deletion (source_code, dossier_id, missed_at) select %s, dossier_id, now() "
            "from missed on conflict do nothing",
            (source_code,),
        ).rowcount
        result.deleted, result.restored = len(deleted), len(restored)
        if deleted or restored:
            result.load_number = _number(connection, source_code, origin, start, result)
            connection.execute(
                "update raw.dossier_deletion set load_number = %s where source_code = %s and dossier_id = any(%s)",
                (result.load_number, source_code, deleted),
            )
            connection.execute(
                "insert into raw.dossier_removal (source_code, dossier_id, load_number) select %s, k, %s from "
                "unnest(%s::text[]) k",
                (source_code, result.load_number, [*deleted, *restored]),
            )
    return result


def _number(
    connection: psycopg.Connection, source_code: str, origin: str, start: dt.datetime, done: Marked
) -> int:
    batch_id = new_batch_id(dt.datetime.now(dt.UTC), os.urandom(8))
    counts = {k: v for k, v in asdict(done).items() if k != "load_number"}
    row = connection.execute(
        "insert into ops.load_log (load_number, batch_id, source_code, origin, interval_start, interval_end, "
        "pulled_at, counts) select coalesce(max(load_number), 0) + 1, %s, %s, %s, %s, %s, now(), %s from ops.load_log "
        "returning load_number",
        (batch_id, source_code, origin, start, start, json.dumps({"dossier_deletion": counts})),
    ).fetchone()
    assert row is not None  # noqa: S101 - an insert of one row returns it
    return int(row[0])


def _copy(connection: psycopg.Connection, name: str, keys: Collection[str]) -> None:
    connection.execute(f"create temp table {name} (dossier_id text) on commit drop")  # type: ignore[call-overload]
    with connection.cursor() as cursor, cursor.copy(f"copy {name} from stdin") as stream:  # type: ignore[call-overload]
        for key in set(keys):
            stream.write_row((key,))
    connection.execute(f"analyze {name}")  # type: ignore[call-overload]


def _exists(connection: psycopg.Connection, table: str) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", (table,)).fetchone()
    return bool(row and row[0])
