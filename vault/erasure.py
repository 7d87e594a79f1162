"""Requests of citizens to erase or restrict their data, what was decided, and what follows in the vault.

Luật 91/2025/QH15 gives the right; archive law may stand against it, so every request is recorded with its decision:

- ``erase``: the person's key is destroyed, and with it every sealed value in every copy of the database but those kept
  before; so are the keys of the person's quarantined records. The ciphertexts and these records are deleted, and the
  person's dossiers lose the token that joins them. The row of the key stays, empty: what is sealed for that person
  later gets no token and no reference of its own (`vault.sealing.UNLINKED`), and is stored nowhere; nor is a record of
  that person which is rejected later. Each dossier has such an empty row, too, under its group: its papers may come
  without their applicant.
- ``restrict``: until the term (its last day; for good without one) no clear value is given. Sealing goes on.
- ``refuse``: nothing follows but the record. The latest decision about a person counts: this also ends a restriction.

A person may have several papers (`vault.crosswalk`): one request then has a decision for each, recorded together.
Erasing a paper deletes its links to others.

Decisions are appended to a journal outside the database before they take effect, and those that a database does not
know are applied when the vault starts: a restored backup does not bring an erased person back.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import orjson
from cryptography.exceptions import InvalidTag

from vault import crosswalk
from vault.audit import dossier_of
from vault.keys import KeyTrouble
from vault.persons import Masters, alone, opened_record
from vault.reveal import message_of
from vault.sealing import Sealer

SCHEMA = """
create table if not exists erasure_request (request_id text not null, holder text not null,
    decision text not null check (decision in ('erase', 'restrict', 'refuse')), basis text not null,
    officer text not null, decided_at timestamptz not null, term date, done_at timestamptz);
alter table erasure_request drop constraint if exists erasure_request_pkey;
create unique index if not exists erasure_request_each_paper_once on erasure_request (request_id, holder)
"""
DECISIONS = ("erase", "restrict", "refuse")
_RESTRICTED = (
    "select holder from (select distinct on (holder) holder, decision, term from erasure_request "
    "order by holder, decided_at desc, request_id desc) latest where decision = 'restrict' and "
    "(term is null or term >= (now() at time zone 'Asia/Ho_Chi_Minh')::date)"
)
_REFERENCE = re.compile(r"[\w./-]{1,64}")
_OFFICER = re.compile(r"[\w.@-]{1,64}", re.ASCII)
#: A CCCD, a CMND, a telephone; also in groups of three, as people write them.
_NUMBER = re.compile(r"\d{9}|\d{3,4}[ .-]\d{3}[ .-]\d{3}")
#: Between values in a quarantined record that is no JSON.
_BETWEEN = re.compile(r"[,;|\t\r\n\"']")


class RequestError(Exception):
    """A request that cannot be recorded; the message says why, and names nobody."""


@dataclass(frozen=True)
class Request:
    """One decision. `holder` is the person's token; `basis` the document; times as ISO text, `term` a day or None."""

    request_id: str
    holder: str
    decision: str
    basis: str
    officer: str
    decided_at: str
    term: str | None = None

    def __post_init__(self) -> None:
        lacking = [n for n in ("request_id", "holder", "basis", "officer") if not getattr(self, n)]
        if lacking:
            raise RequestError(f"the request lacks {', '.join(lacking)}")
        if self.decision not in DECISIONS:
            raise RequestError(f"the decision {self.decision!r} is none of {', '.join(DECISIONS)}")
        try:
            aware = dt.datetime.fromisoformat(self.decided_at).tzinfo is not None
            dt.date.fromisoformat(self.term or "2025-01-01")
        except ValueError:
            aware = False
        if not aware:
            raise RequestError("decided_at needs a moment with its zone, term a day such as 2026-12-31")


def note(journal: Path | None, *requests: Request) -> None:
    """Append decisions to the journal, but those that stand there; on disk when this returns."""
    if journal is None:
        return
    known = read(journal)
    fresh = [
        json.dumps(dataclasses.asdict(r), ensure_ascii=False).encode() for r in requests if r not in known
    ]
    if not fresh:
        return
    journal.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A line that a crash cut short is ended first. The papers of one person in one writing: erasing the first of them
    # parts it from the others, and nobody could say any more which they were.
    lines = b"\n" * _is_cut(journal) + b"".join(line + b"\n" for line in fresh)
    with os.fdopen(os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as f:
        f.write(lines)
        f.flush()
        os.fsync(f.fileno())


def _is_cut(journal: Path) -> bool:
    return journal.exists() and not (b"\n" + journal.read_bytes()).endswith(b"\n")


def read(journal: Path | None) -> list[Request]:
    """Decisions in the journal, in order; a line cut short never took effect. KeyTrouble if one is no decision."""
    if journal is None or not journal.exists():
        return []
    found = []
    for number, line in enumerate(journal.read_text().splitlines(), 1):
        try:
            given = json.loads(line or "null")
        except ValueError:
            given = None
        try:
            if given is not None:
                found.append(Request(**given))
        except (TypeError, RequestError):
            raise KeyTrouble(
                f"{journal} (VAULT_ERASURES), line {number}, is no decision about a person. Put the file back from its "
                "backup: without it a restored database could bring erased persons back."
            ) from None
    return found


def check(cursor: adbc.Cursor, request: Request) -> None:
    """RequestError if another decision has the request's number, or what is said of the decision may name somebody.

    The same decision on another paper of the person is none, where the two are linked. Journal, audit and its copy keep
    number, basis and officer in clear for ever; those of before stay readable, so `Request` itself takes anything.
    """
    if not _REFERENCE.fullmatch(request.request_id) or _NUMBER.search(request.request_id):
        raise RequestError(
            "the request is to be named by its number in the register (letters, digits and . / _ -, no blank, fewer "
            "than nine digits in a row), never by a person"
        )
    if _NUMBER.search(request.basis):
        raise RequestError(
            "the basis holds a number of nine digits or more, as of a person or a telephone; name document and law"
        )
    if not _OFFICER.fullmatch(request.officer):
        raise RequestError("the officer is to be a code or an account (letters, digits and . @ _ -), no name")
    cursor.execute(
        "select holder, decision from erasure_request where request_id = $1", (request.request_id,)
    )
    recorded = cursor.fetchall()
    mine = {request.holder, *crosswalk.papers(cursor, request.holder)}
    if recorded and not (
        any(h in mine for h, _ in recorded) and all(d == request.decision for _, d in recorded)
    ):
        raise RequestError(
            f"the request {request.request_id} is recorded already, for another person or with another decision; give "
            "this one a number of its own"
        )


def record(cursor: adbc.Cursor, *requests: Request) -> None:
    """Record decisions; destroy the keys of the persons to erase. Again, it changes nothing."""
    # No batch that read the person's key is on its way.
    alone(cursor)
    for request in requests:
        cursor.execute(
            "insert into erasure_request (request_id, holder, decision, basis, officer, decided_at, term) values "
            "($1, $2, $3, $4, $5, $6::text::timestamptz, $7::text::date) on conflict (request_id, holder) do nothing",
            dataclasses.astuple(request),
        )
        if request.decision == "erase":
            cursor.execute(
                "insert into person_key (holder, master_version, erased_at) values ($1, 0, now()) on conflict (holder) "
                "do update set wrapped = null, erased_at = now() where person_key.wrapped is not null returning 1",
                (request.holder,),
            )
            if cursor.fetchall():
                cursor.execute(
                    "update erasure_request set done_at = null where request_id = $1 and holder = $2",
                    (request.request_id, request.holder),
                )


def unknown(cursor: adbc.Cursor, requests: Sequence[Request]) -> list[Request]:
    """Those of `requests` that the database does not know, or whose person has a key in it again."""
    cursor.execute("select request_id, holder from erasure_request")
    known = set(cursor.fetchall())
    gone = erased(cursor)
    return [
        r for r in requests
        if (r.request_id, r.holder) not in known or (r.decision == "erase" and r.holder not in gone)
    ]  # fmt: skip


def finish(cursor: adbc.Cursor, sealer: Sealer, masters: Masters) -> int:
    """Delete what is left of the persons to erase: ciphertexts, quarantined records and their keys; how many values."""
    cursor.execute("select distinct holder from erasure_request where decision = 'erase' and done_at is null")
    holders = {h for (h,) in cursor.fetchall()}
    if not holders:
        _unlink_dossiers(cursor, sealer)
        return 0
    listed = ", ".join("'" + h.replace("'", "") + "'" for h in holders)
    cursor.execute(
        f"with gone as (delete from sealed_group where holder in ({listed}) "  # noqa: S608
        "returning id), left_over as (delete from sealed_value where group_id in (select id from gone) "
        f"or reference in ({listed}) returning 1) select count(*) from left_over"
    )
    deleted = int(cursor.fetchall()[0][0])
    # Steps and papers do not hold their applicant's number; their dossier's row stays, which tells whose they are.
    cursor.execute(
        "with gone as (delete from quarantine q using sealed_dossier d where q.source_code = d.source_code and "  # noqa: S608
        "case when q.key like '{%' then q.key::jsonb ->> 'dossier_id' end = d.dossier_id "
        f"and d.token in ({listed}) returning q.holder) "
        "delete from person_key k using gone where k.holder = gone.holder"
    )
    crosswalk.forget(cursor, holders)
    for row_id in list(_quarantined(cursor, sealer, masters, holders)):
        cursor.execute(
            f"with gone as (delete from quarantine where id = {int(row_id)} returning holder) "  # noqa: S608
            "delete from person_key k using gone where k.holder = gone.holder"
        )
    deleted += _unlink_dossiers(cursor, sealer)
    cursor.execute("update erasure_request set done_at = now() where decision = 'erase' and done_at is null")
    return deleted


def _unlink_dossiers(cursor: adbc.Cursor, sealer: Sealer) -> int:
    """Take the token from dossiers of erased persons; how many values were deleted that stood under a dossier."""
    cursor.execute(
        "select d.source_code, d.dossier_id, d.agency from sealed_dossier d join person_key k on k.holder = d.token "
        "where k.erased_at is not null"
    )
    rows = cursor.fetchall()
    deleted = unlink(cursor, {sealer.group_of((source, dossier)) for source, dossier, _ in rows})
    for source, dossier, agency in rows:
        row = {"source_code": source, "dossier_id": dossier, "agency": agency, "token": "", "refs": ""}
        cursor.execute(
            "update sealed_dossier set token = '', refs = '', proof = $1 where source_code = $2 and dossier_id = $3",
            (sealer.digest(message_of(row)), source, dossier),
        )
    return deleted


def unlink(cursor: adbc.Cursor, groups: set[str]) -> int:
    """Have nothing stored under these groups any more, nor kept; how many values were deleted."""
    known = erased(cursor)
    if not groups - known:
        return 0
    alone(cursor)
    listed = ", ".join("'" + g.replace("'", "") + "'" for g in sorted(groups - known))
    cursor.execute(
        "insert into person_key (holder, master_version, erased_at) "  # noqa: S608
        f"select holder, 0, now() from unnest(array[{listed}]) holder on conflict (holder) do update "
        "set wrapped = null, master_version = 0, erased_at = now() where person_key.wrapped is not null"
    )
    cursor.execute(
        f"with gone as (delete from sealed_group where holder in ({listed}) returning id), "  # noqa: S608
        "left_over as (delete from sealed_value where group_id in (select id from gone) returning 1) "
        "select count(*) from left_over"
    )
    return int(cursor.fetchall()[0][0])


def _quarantined(cursor: adbc.Cursor, sealer: Sealer, masters: Masters, holders: set[str]) -> Iterator[int]:
    """Quarantined records that hold an identity number of one of `holders`."""
    cursor.execute(
        "select q.id, q.table_name, q.key, q.payload, k.holder, k.master_version, k.wrapped from quarantine q "
        "join person_key k on k.holder = q.holder"
    )
    for part in cursor.fetch_record_batch():
        for row in part.to_pylist():
            try:
                plain = opened_record(masters, row)
            except InvalidTag:
                continue  # nobody can read it, so there is nothing to erase
            if any(sealer.token(text) in holders for text in _texts(plain)):
                yield row["id"]


def erased(cursor: adbc.Cursor) -> set[str]:
    """Holders under which nothing is kept any more: erased persons, and the groups of their dossiers."""
    cursor.execute("select holder from person_key where erased_at is not null")
    return {h for (h,) in cursor.fetchall()}


def about(
    cursor: adbc.Cursor, sealer: Sealer, records: Sequence[tuple[str, str, bytes]], holders: set[str]
) -> list[bool]:
    """Whether each record (source, key as JSON, payload in clear) is about one of `holders`.

    It holds the person's identity number, or is of a dossier that is known as the person's.
    """
    if not holders or not records:
        return [False] * len(records)
    cursor.execute(
        "select source_code, dossier_id from sealed_dossier where token = any(string_to_array($1, ' '))",
        (" ".join(sorted(holders)),),
    )
    theirs = set(cursor.fetchall())
    return [
        (dossier := (source, dossier_of(key))) in theirs
        or sealer.group_of(dossier) in holders
        or any(sealer.token(text) in holders for text in _texts(plain))
        for source, key, plain in records
    ]


def _texts(payload: bytes) -> Iterator[str]:
    try:
        waiting: list[Any] = [orjson.loads(payload)]
    except orjson.JSONDecodeError:
        waiting = list(_BETWEEN.split(payload.decode(errors="replace")))
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str | int) and not isinstance(value, bool):
            yield str(value)


def restricted(cursor: adbc.Cursor) -> set[str]:
    """Persons of whom no clear value may be given now."""
    cursor.execute(_RESTRICTED)
    return {h for (h,) in cursor.fetchall()}
