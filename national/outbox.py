"""The outbox: for each dossier and each finished step of units we write, what should stand at the portal and what does.

| State | Means | Left by |
|---|---|---|
| held | a required field is `lacking`, or the vault may not give a value (`reasons`) | content changes, `retry` |
| waiting | to be sent (again) | `sending` |
| sending | a call is under way, or its answer was lost | an answer, or a look at what the portal holds |
| accepted | the portal holds `accepted`, whose keyed hash is `accepted_hash` | content changes |
| refused | the portal refused this content; `last_answer` says why | content or mapping changes, `retry` |
| conflict | the portal holds what somebody else wrote (`reasons`: fields) | `retry --adopt`; a look: it is gone there |

What a call will do is committed before it is made, and its outcome after, so that a process killed at any moment leaves
`sending`, which is resolved by looking up, never by sending again. `base_hash` is the keyed hash of what the portal may
hold and be replaced: what we wrote last, or what an operator or `adopt` gave up. No clear value stands here.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

STATES = ("held", "waiting", "sending", "accepted", "refused", "conflict")
SCHEMA = """
create table if not exists national.dossier (
    dossier_key text primary key, source_code text not null, dossier_id text not null, unit_code text not null,
    agency_code text not null, national_code text not null, origin text not null, status_code smallint,
    received_date date not null,
    state text not null check (state in ('held', 'waiting', 'sending', 'accepted', 'refused', 'conflict')),
    lacking text[] not null default '{}', reasons text[] not null default '{}', draft jsonb not null,
    draft_hash text not null, sending jsonb, sending_hash text, sending_draft_hash text, base_hash text,
    alone boolean not null default false,
    accepted jsonb, accepted_hash text, accepted_draft_hash text, accepted_at timestamptz,
    attempts integer not null default 0, last_answer text, called_at timestamptz, next_try_at timestamptz,
    mapping_version integer not null);
create index if not exists dossier_of_unit on national.dossier (unit_code, state);
create index if not exists dossier_of_code on national.dossier (national_code);
create table if not exists national.progress (
    dossier_key text not null, step_no integer not null, unit_code text not null, national_code text not null,
    state text not null check (state in ('held', 'waiting', 'sending', 'accepted', 'refused', 'conflict')),
    lacking text[] not null default '{}', reasons text[] not null default '{}', draft jsonb not null,
    draft_hash text not null, sending jsonb, alone boolean not null default false, accepted_draft_hash text,
    accepted_at timestamptz,
    attempts integer not null default 0, last_answer text, called_at timestamptz, next_try_at timestamptz,
    mapping_version integer not null, primary key (dossier_key, step_no));
create index if not exists progress_of_unit on national.progress (unit_code, state);
create table if not exists national.planned (
    unit_code text primary key, since date not null, load_number bigint not null, mapping_version integer not null,
    planned_at timestamptz);
create table if not exists national.fault (
    day date not null, service text not null, kind text not null, number bigint not null,
    primary key (day, service, kind));
create table if not exists national.switch (
    number integer primary key default 1 check (number = 1), is_stopped boolean not null, why text not null,
    by text not null, at timestamptz not null default now())
"""
_LOCK = 7_662_031


class Stopped(Exception):
    """An operator stopped all sending; the message says who and why."""


@dataclass(frozen=True)
class Planned:
    """One dossier or step as it should stand at the portal."""

    key: str
    step_no: int | None
    draft: dict[str, Any]
    draft_hash: str
    lacking: tuple[str, ...]
    row: dict[str, Any]


def prepare(connection: psycopg.Connection) -> None:
    """Make the tables; safe to run again, and by two processes at once."""
    connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
    if connection.execute("select to_regclass('national.fault')").fetchone() == (None,):
        if connection.execute("select to_regnamespace('national')").fetchone() == (None,):
            connection.execute("create schema national")
        connection.execute(SCHEMA)
    connection.commit()


class Faults:
    """Counts what calls met with, by day (of Vietnam), service and kind, where a killed process leaves it behind.

    Called by several threads; what the database cannot take now is written with what comes next.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self._connect = connect
        self._connection: psycopg.Connection | None = None
        self._owed: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def __call__(self, service: str, kind: str) -> None:
        """One more of a kind."""
        with self._lock:
            self._owed[service, kind] += 1
            with contextlib.suppress(psycopg.Error):
                if self._connection is None or self._connection.closed:
                    self._connection = self._connect()
                    self._connection.autocommit = True
                for (of, what), number in list(self._owed.items()):
                    self._connection.execute(
                        "insert into national.fault as held values "
                        "((clock_timestamp() at time zone 'Asia/Ho_Chi_Minh')::date, %s, %s, %s) "
                        "on conflict (day, service, kind) do update set number = held.number + excluded.number",
                        (of, what, number),
                    )
                    del self._owed[of, what]

    def close(self) -> None:
        """Leave the database."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()


def faults(connection: psycopg.Connection, days: int = 1) -> list[tuple[dt.date, str, str, int]]:
    """(day, service, kind, number) of what calls met with in the last days, most first."""
    return connection.execute(
        "select day, service, kind, number from national.fault "
        "where day > (now() at time zone 'Asia/Ho_Chi_Minh')::date - %s order by day desc, number desc, service, kind",
        (days,),
    ).fetchall()


# --- the stop switch -------------------------------------------------------------------------------------------


def stop(connection: psycopg.Connection, why: str, by: str) -> None:
    """Stop all sending, from the next call on."""
    _switch(connection, True, why, by)


def resume(connection: psycopg.Connection, why: str, by: str) -> None:
    """Let it go on."""
    _switch(connection, False, why, by)


def _switch(connection: psycopg.Connection, stopped: bool, why: str, by: str) -> None:
    connection.execute(
        "insert into national.switch (is_stopped, why, by) values (%s, %s, %s) on conflict (number) do update "
        "set is_stopped = excluded.is_stopped, why = excluded.why, by = excluded.by, at = now()",
        (stopped, why, by),
    )
    connection.commit()


def check_switch(connection: psycopg.Connection) -> None:
    """Stopped if an operator stopped all sending."""
    row = connection.execute("select why, by, at from national.switch where is_stopped").fetchone()
    connection.commit()
    if row:
        raise Stopped(
            f"sending to the national portal was stopped by {row[1]} at {row[2]:%d/%m/%Y %H:%M}: {row[0]}. "
            "`python -m ops national resume --why ...` lets it go on."
        )


# --- what should stand there -----------------------------------------------------------------------------------


def watermark(connection: psycopg.Connection, unit: str, since: dt.date, version: int) -> int:
    """Number of the last load planned for a unit from this day on, under this version of the mapping; -1 for none."""
    row = connection.execute(
        "select load_number from national.planned where unit_code = %s and since = %s and mapping_version = %s",
        (unit, since, version),
    ).fetchone()
    return int(row[0]) if row else -1


def mark_planned(
    connection: psycopg.Connection, unit: str, since: dt.date, load_number: int, version: int
) -> None:
    """Note up to which load a unit was planned."""
    connection.execute(
        "insert into national.planned values (%s, %s, %s, %s, now()) on conflict (unit_code) do update set "
        "since = excluded.since, load_number = excluded.load_number, mapping_version = excluded.mapping_version, "
        "planned_at = now()",
        (unit, since, load_number, version),
    )


def plan_dossiers(connection: psycopg.Connection, unit: str, planned: Sequence[Planned], version: int) -> int:
    """Take over how dossiers should stand at the portal; how many are to be sent that were not before.

    A dossier that was sent keeps the code it stands under; one whose call is under way gets its new draft and stays
    `sending`. What was refused, or is a conflict, waits again where its content or the mapping changed.
    """
    with connection.cursor() as cursor:
        cursor.execute("create temp table incoming (like national.dossier including defaults) on commit drop")
        with cursor.copy(
            "copy incoming (dossier_key, source_code, dossier_id, unit_code, agency_code, national_code, origin, "
            "status_code, received_date, state, lacking, draft, draft_hash, mapping_version) from stdin"
        ) as copy:
            for p in planned:
                r = p.row
                copy.write_row((
                    p.key, r["source_code"], r["dossier_id"], unit, r["responsible_agency_code"], r["national_code"],
                    r["origin"], r["status_code"], r["received_date"], "held" if p.lacking else "waiting",
                    list(p.lacking), json.dumps(p.draft, ensure_ascii=False), p.draft_hash, version,
                ))  # fmt: skip
        row = cursor.execute(
            """
            with told as (
                insert into national.dossier as held
                select * from incoming
                on conflict (dossier_key) do update set
                    unit_code = excluded.unit_code, agency_code = excluded.agency_code,
                    status_code = excluded.status_code, draft = excluded.draft, draft_hash = excluded.draft_hash,
                    mapping_version = excluded.mapping_version, alone = false,
                    national_code = case when held.base_hash is null and held.sending is null
                        then excluded.national_code else held.national_code end,
                    lacking = excluded.lacking,
                    reasons = case when held.state = 'conflict' then held.reasons else '{}' end,
                    next_try_at = null,
                    attempts = 0,
                    state = case
                        when held.state in ('sending', 'conflict') then held.state
                        when excluded.state = 'held' then 'held'
                        -- Not where the portal lost it, or was found to hold what may be replaced: it must be sent.
                        when excluded.draft_hash = held.accepted_draft_hash and held.base_hash = held.accepted_hash
                            then 'accepted'
                        else 'waiting' end
                where (held.draft_hash, held.mapping_version, held.agency_code, held.unit_code)
                    <> (excluded.draft_hash, excluded.mapping_version, excluded.agency_code, excluded.unit_code)
                returning state
            )
            select count(*) filter (where state = 'waiting') from told
            """
        ).fetchone()
        cursor.execute("drop table incoming")
    return int(row[0]) if row else 0


def plan_progress(connection: psycopg.Connection, unit: str, planned: Sequence[Planned], version: int) -> int:
    """The same for finished steps; one that was sent and has changed is a conflict, for nothing takes progress back."""
    with connection.cursor() as cursor:
        cursor.execute(
            "create temp table incoming (like national.progress including defaults) on commit drop"
        )
        with cursor.copy(
            "copy incoming (dossier_key, step_no, unit_code, national_code, state, lacking, draft, draft_hash, "
            "mapping_version) from stdin"
        ) as copy:
            for p in planned:
                copy.write_row((
                    p.key, p.step_no, unit, p.row["national_code"], "held" if p.lacking else "waiting", list(p.lacking),
                    json.dumps(p.draft, ensure_ascii=False), p.draft_hash, version,
                ))  # fmt: skip
        row = cursor.execute(
            """
            with told as (
                insert into national.progress as held
                select * from incoming
                on conflict (dossier_key, step_no) do update set
                    unit_code = excluded.unit_code, draft = excluded.draft, draft_hash = excluded.draft_hash,
                    mapping_version = excluded.mapping_version, alone = false, next_try_at = null, attempts = 0,
                    reasons = case when held.accepted_draft_hash is not null
                        and held.accepted_draft_hash <> excluded.draft_hash then '{changed}'::text[] else '{}' end,
                    lacking = excluded.lacking,
                    state = case
                        when held.state = 'sending' then 'sending'
                        when held.accepted_draft_hash = excluded.draft_hash then 'accepted'
                        when held.accepted_draft_hash is not null then 'conflict'
                        else excluded.state end
                where (held.draft_hash, held.mapping_version, held.unit_code)
                    <> (excluded.draft_hash, excluded.mapping_version, excluded.unit_code)
                returning state
            )
            select count(*) filter (where state = 'waiting') from told
            """
        ).fetchone()
        cursor.execute("drop table incoming")
    return int(row[0]) if row else 0


# --- what is under way -----------------------------------------------------------------------------------------


@contextmanager
def worker(connection: psycopg.Connection, unit: str) -> Iterator[bool]:
    """Be the one worker of a unit; False if another process is."""
    name = f"national:{unit}"
    row = connection.execute("select pg_try_advisory_lock(%s, hashtext(%s))", (_LOCK, name)).fetchone()
    connection.commit()
    got = bool(row and row[0])
    try:
        yield got
    finally:
        if got and not connection.closed:
            connection.rollback()
            connection.execute("select pg_advisory_unlock(%s, hashtext(%s))", (_LOCK, name))
            connection.commit()


Waiting = dict[str, Any]
#: A row of either table; `code` is what the dossier stands under at the portal.
_SELECT = {
    "dossier": "select t.*, t.national_code as code from national.dossier t",
    "progress": "select t.*, d.national_code as code, d.source_code, d.dossier_id from national.progress t "
    "join national.dossier d using (dossier_key)",
}


def unresolved(connection: psycopg.Connection, table: str, unit: str, before: dt.datetime) -> list[Waiting]:
    """Rows of a unit whose call has no known outcome, made before a moment."""
    return _rows(
        connection,
        f"{_SELECT[table]} where t.unit_code = %s and t.state = 'sending' and t.called_at <= %s order by t.called_at",
        (unit, before),
    )


def conflicts(connection: psycopg.Connection, unit: str, most: int) -> list[Waiting]:
    """Dossiers of a unit that are a conflict and may be looked at again, the longest unseen first."""
    return _rows(
        connection,
        f"{_SELECT['dossier']} where t.unit_code = %s and t.state = 'conflict' "
        "and (t.next_try_at is null or t.next_try_at <= clock_timestamp()) "
        "order by t.next_try_at nulls first, t.dossier_key limit %s",
        (unit, most),
    )


#: Keys listed at once, so that a backlog of a year is not sorted anew for every call.
_LISTED = 10_000
#: Of a dossier, and of a step (its number; None for a dossier).
Key = tuple[str, int | None]
_MAY_GO = "t.state = 'waiting' and (t.next_try_at is null or t.next_try_at <= clock_timestamp())"
_STANDS = " and d.base_hash is not null and d.state <> 'conflict'"


@dataclass(frozen=True)
class Scope:
    """Which of what waits a run sends: dossiers received from `first` to `last` (both included).

    `urgent`: statuses that go first; with `urgent_only` nothing else goes but what was tried before.
    """

    urgent: tuple[int, ...] = ()
    urgent_only: bool = False
    first: dt.date = dt.date.min
    last: dt.date = dt.date.max

    @property
    def given(self) -> dict[str, Any]:
        """Its parameters in SQL."""
        return {"urgent": list(self.urgent), "only": self.urgent_only, "first": self.first, "last": self.last}


#: Of t, what waits, and d, its dossier.
_WITHIN = (
    " and d.received_date between %(first)s and %(last)s "
    "and (not %(only)s or d.status_code = any(%(urgent)s) or t.attempts > 0)"
)


def waiting_dossiers(connection: psycopg.Connection, unit: str, scope: Scope) -> list[Key]:
    """Keys of a unit's dossiers that wait and may go now, urgent statuses first, at most 10,000."""
    return _keys(
        connection,
        "select t.dossier_key, null from national.dossier t join national.dossier d using (dossier_key) "  # noqa: S608
        f"where t.unit_code = %(unit)s and {_MAY_GO}{_WITHIN} order by not (t.status_code = any(%(urgent)s)), "
        "t.alone desc, t.base_hash is null, t.received_date, t.dossier_key limit %(most)s",
        scope.given | {"unit": unit, "most": _LISTED},
    )


def waiting_progress(connection: psycopg.Connection, unit: str, scope: Scope) -> list[Key]:
    """Keys of a unit's steps that wait, and whose dossier stands at the portal; of urgent dossiers first."""
    return _keys(
        connection,
        "select t.dossier_key, t.step_no from national.progress t join national.dossier d using (dossier_key) "  # noqa: S608
        f"where t.unit_code = %(unit)s and {_MAY_GO}{_STANDS}{_WITHIN} "
        "order by not (d.status_code = any(%(urgent)s)), t.alone desc, t.dossier_key, t.step_no limit %(most)s",
        scope.given | {"unit": unit, "most": _LISTED},
    )


def these(connection: psycopg.Connection, table: str, keys: Sequence[Key]) -> list[Waiting]:
    """Those rows of `keys` that still may go, in the order of `keys`."""
    step = " and i.step = t.step_no" if table == "progress" else ""
    stands = _STANDS if table == "progress" else ""
    return _rows(
        connection,
        f"{_SELECT[table]} join unnest(%s::text[], %s::integer[]) with ordinality as i (key, step, place) "
        f"on i.key = t.dossier_key{step} where {_MAY_GO}{stands} order by i.place",
        ([k for k, _ in keys], [n for _, n in keys]),
    )


def again(connection: psycopg.Connection, table: str, row: Waiting) -> Waiting:
    """A row as it is now."""
    step = " and t.step_no = %s" if table == "progress" else ""
    given = (row["dossier_key"], row["step_no"]) if step else (row["dossier_key"],)
    return _rows(connection, f"{_SELECT[table]} where t.dossier_key = %s{step}", given)[0]


def seconds_to_next(
    connection: psycopg.Connection, unit: str, settle_after: float, scope: Scope
) -> float | None:
    """Seconds until something of a unit may be resolved or tried again; None where nothing is to come."""
    row = connection.execute(
        f"""
        select extract(epoch from min(coming.at) - clock_timestamp()) from (
            select called_at + make_interval(secs => %(settle)s) as at from national.dossier
            where unit_code = %(unit)s and state = 'sending'
            union all
            select called_at + make_interval(secs => %(settle)s) from national.progress
            where unit_code = %(unit)s and state = 'sending'
            union all
            select t.next_try_at from national.dossier t join national.dossier d using (dossier_key)
            where t.unit_code = %(unit)s and t.state = 'waiting' {_WITHIN}
            union all
            select t.next_try_at from national.progress t join national.dossier d using (dossier_key)
            where t.unit_code = %(unit)s and t.state = 'waiting' {_STANDS} {_WITHIN}
        ) as coming
        """,  # noqa: S608 - our own names
        scope.given | {"settle": settle_after, "unit": unit},
    ).fetchone()
    connection.commit()
    return float(row[0]) if row and row[0] is not None else None


def begin(connection: psycopg.Connection, table: str, rows: Sequence[tuple[Waiting, Any, str]]) -> set[Key]:
    """Note what a call is about to do: (row, masked item, its keyed hash); committed when this returns.

    Keys of those that may go in the call: what was planned anew since it was read is left for another one. Stopped
    where an operator stopped all sending; nothing is noted then.
    """
    # As one value: in an array each quote of each item would be escaped, a third of all our work.
    given = json.dumps(
        [
            {
                "key": r["dossier_key"],
                "step": r.get("step_no"),
                "item": m,
                "hash": h,
                "draft": r["draft_hash"],
            }
            for r, m, h in rows
        ],
        ensure_ascii=False,
    )
    listed = "jsonb_to_recordset(%s::jsonb) as i (key text, step integer, item jsonb, hash text, draft text)"
    step = " and o.step_no = i.step" if table == "progress" else ""
    sets = (
        "sending = i.item, sending_hash = i.hash, sending_draft_hash = i.draft"
        if table == "dossier"
        else "sending = jsonb_build_object('item', i.item, 'draft_hash', i.draft)"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"update national.{table} o set state = 'sending', {sets}, attempts = o.attempts + 1, "  # noqa: S608
            f"called_at = clock_timestamp() from {listed} "
            f"where o.dossier_key = i.key{step} and o.draft_hash = i.draft and o.state = 'waiting' "
            "and not exists (select from national.switch where is_stopped) returning o.dossier_key, i.step",
            (given,),
        )
        noted = {(k, n) for k, n in cursor.fetchall()}
    connection.commit()
    if len(noted) < len(rows):
        check_switch(connection)
    return noted


def not_sent(connection: psycopg.Connection, table: str, keys: Sequence[Key]) -> None:
    """Have rows wait again whose call was noted and not made, or was refused before anything was done."""
    hashes = ", sending_hash = null, sending_draft_hash = null" if table == "dossier" else ""
    step = " and o.step_no = i.step" if table == "progress" else ""
    connection.execute(
        f"update national.{table} o set sending = null{hashes}, next_try_at = null, "  # noqa: S608 - our own names
        "state = case when cardinality(lacking) > 0 then 'held' else 'waiting' end "
        "from unnest(%s::text[], %s::integer[]) as i (key, step) "
        f"where o.dossier_key = i.key{step} and o.state = 'sending'",
        ([k for k, _ in keys], [n for _, n in keys]),
    )
    connection.commit()


def lost(connection: psycopg.Connection, table: str, keys: Sequence[Key]) -> None:
    """Note that the answer to a call was lost just now: only some time after that does a look tell what it did."""
    step = " and o.step_no = i.step" if table == "progress" else ""
    connection.execute(
        f"update national.{table} o set called_at = clock_timestamp() "  # noqa: S608 - our own names
        "from unnest(%s::text[], %s::integer[]) as i (key, step) "
        f"where o.dossier_key = i.key{step} and o.state = 'sending'",
        ([k for k, _ in keys], [n for _, n in keys]),
    )
    connection.commit()


def accept_dossiers(connection: psycopg.Connection, keys: Sequence[str]) -> None:
    """The portal holds what was sent; a dossier that has changed meanwhile waits again."""
    connection.execute(
        "update national.dossier set accepted = sending, accepted_hash = sending_hash, base_hash = sending_hash, "
        "accepted_draft_hash = sending_draft_hash, accepted_at = clock_timestamp(), sending = null, "
        "sending_hash = null, sending_draft_hash = null, alone = false, attempts = 0, last_answer = null, "
        "next_try_at = null, reasons = '{}', "
        "state = case when draft_hash = sending_draft_hash then 'accepted' "
        "when cardinality(lacking) > 0 then 'held' else 'waiting' end "
        "where dossier_key = any(%s)",
        (list(keys),),
    )


def accept_progress(connection: psycopg.Connection, keys: Sequence[Key]) -> None:
    """The same for steps."""
    connection.execute(
        "update national.progress o set accepted_draft_hash = sending ->> 'draft_hash', "
        "accepted_at = clock_timestamp(), alone = false, attempts = 0, last_answer = null, next_try_at = null, "
        "state = case when draft_hash = sending ->> 'draft_hash' then 'accepted' else 'conflict' end, "
        "reasons = case when draft_hash = sending ->> 'draft_hash' then '{}'::text[] else '{changed}' end, "
        "sending = null from unnest(%s::text[], %s::integer[]) as i (key, step) "
        "where o.dossier_key = i.key and o.step_no = i.step",
        ([k for k, _ in keys], [n for _, n in keys]),
    )


def settle(
    connection: psycopg.Connection,
    table: str,
    row: Waiting,
    state: str,
    *,
    words: str | None = None,
    reasons: Sequence[str] = (),
    alone: bool = False,
    wait: float = 0.0,
    base: str | None = None,
) -> None:
    """Leave `sending` (or `waiting`) for another state; `wait` seconds pass before the next try.

    `base`: keyed hash of what the portal holds and may be replaced; "" for nothing.
    """
    where = "dossier_key = %(key)s" + (" and step_no = %(step)s" if table == "progress" else "")
    sets = "sending_hash = null, sending_draft_hash = null, " if table == "dossier" else ""
    if table == "dossier" and base is not None:
        sets += "base_hash = nullif(%(base)s, ''), "
    connection.execute(
        f"update national.{table} set {sets}sending = null, "  # noqa: S608 - our own names
        "state = case when %(state)s = 'waiting' and cardinality(lacking) > 0 then 'held' else %(state)s end, "
        "last_answer = coalesce(%(words)s, last_answer), reasons = %(reasons)s, alone = %(alone)s, "
        f"next_try_at = clock_timestamp() + make_interval(secs => %(wait)s) where {where}",
        {
            "key": row["dossier_key"], "step": row.get("step_no"), "state": state, "words": words,
            "reasons": list(reasons), "alone": alone, "wait": wait, "base": base,
        },
    )  # fmt: skip


def send_progress_anew(connection: psycopg.Connection, keys: Sequence[str]) -> None:
    """Have all steps of dossiers that the portal lost wait again, those it had with them."""
    connection.execute(
        "update national.progress set state = 'waiting', accepted_draft_hash = null, reasons = '{}', "
        "next_try_at = null "
        "where dossier_key = any(%s) and state in ('accepted', 'conflict')",
        (list(keys),),
    )


def retry(connection: psycopg.Connection, codes: Sequence[str] = (), adopt: bool = False) -> int:
    """Have what was refused, or held by the vault, wait again: all, or those of `codes`; how many.

    With `adopt` conflicts, too: what somebody else wrote there is given up, and replaced by ours.
    """
    states = ["refused", "held", "conflict"] if adopt else ["refused", "held"]
    done = 0
    for table in ("dossier", "progress"):
        # base_hash '*' fits whatever the portal holds.
        base = ", base_hash = case when state = 'conflict' then '*' else base_hash end"
        unsent = " and accepted_draft_hash is null"
        done += connection.execute(
            f"update national.{table} set state = 'waiting', next_try_at = null, attempts = 0"  # noqa: S608
            f"{base if table == 'dossier' else ''} where state = any(%s) and cardinality(lacking) = 0"
            f"{unsent if table == 'progress' else ''} and (%s or national_code = any(%s))",
            (states, not codes, list(codes)),
        ).rowcount
    connection.commit()
    return done


def set_aside(connection: psycopg.Connection, agency: str = "") -> list[dict[str, Any]]:
    """What is held, refused or in conflict of an agency and the units below it (of all if none is named).

    agency_code, code, step_no (None: the dossier itself), state, lacking and reasons (fields, or the vault's words),
    last_answer (the portal's, scrubbed), origin. Nothing before anything was ever planned.
    """
    if connection.execute("select to_regclass('national.progress')").fetchone() == (None,):
        return []
    columns = "t.state, t.lacking, t.reasons, t.last_answer, d.origin"
    which = (
        "where t.state in ('held', 'refused', 'conflict') "
        "and (%(agency)s = '' or d.agency_code = %(agency)s or starts_with(d.agency_code, %(below)s))"
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            f"select d.agency_code, d.national_code as code, null as step_no, {columns} "  # noqa: S608 - our own names
            f"from national.dossier t join national.dossier d using (dossier_key) {which} union all "
            f"select d.agency_code, d.national_code, t.step_no, {columns} "
            f"from national.progress t join national.dossier d using (dossier_key) {which} "
            "order by 1, 2, 3 nulls first",
            {"agency": agency, "below": f"{agency}."},
        ).fetchall()


def counts(connection: psycopg.Connection) -> dict[str, dict[str, int]]:
    """{table: {state: rows}}."""
    return {
        table: {
            str(state): int(number)
            for state, number in connection.execute(
                f"select state, count(*) from national.{table} group by state"  # noqa: S608 - our own names
            ).fetchall()
        }
        for table in ("dossier", "progress")
    }


def _keys(connection: psycopg.Connection, query: str, given: dict[str, Any]) -> list[Key]:
    rows = connection.execute(query, given).fetchall()  # type: ignore[arg-type]
    connection.commit()
    return [(k, n) for k, n in rows]


def _rows(connection: psycopg.Connection, query: str, given: tuple[Any, ...]) -> list[Waiting]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, given).fetchall()  # type: ignore[arg-type]
    connection.commit()
    return rows
