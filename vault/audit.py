"""The record of every reading of clear values and of every refusal: append-only, chained, copied off the host.

One table, ``audit``, one row for each person (or rejected record) and reading; what no person is named for has one
row. Each row is committed, and stands in the copy, before its answer is given (Luật 91/2025/QH15: the citizen can be
shown who looked, for what, under which document).

The chain: ``hash`` is an HMAC-SHA-256 under a key derived from the token key, over the row's content, its number and
the hash of the row before. Numbers have no gaps; one transaction at a time appends (a lock on the table). `verify`
tells the first row that was changed, moved, added or is missing. The last number and hash stand once more, under the
same key, in ``meta``: whoever only deletes the last rows is found out, and the numbers go on where they ended. A change
of the token key (`vault.retoken`) is a row of its own (``token_key``), the first under the next key: whoever has the
keys of before can forge neither that row nor what stands before or after it.

The copy: one line of JSON for each row in ``audit.jsonl`` in the folder VAULT_AUDIT_COPY, fsynced. What the database
has committed and the copy lacks (a crash between the two) is appended at the next chance, so the copy is never
behind an answer. Where the copy is ahead of the database, rows were cut off or an older backup was restored:
nothing is given then, until the vault is started anew and takes the rows back from the copy. Where the copy fails
after a reading was committed, nothing is given either, and a refusal (``cannot be copied``) follows the reading.

Who holds what can do what:

- the database alone, as the table's owner: delete or change rows (triggers refuse it, an owner can remove those), and
  be found out by `verify`; put back an older state of database and ``meta`` alike, and be found out by the copy;
- the copy alone: read who looked when (codes and tokens, no clear value), lengthen or cut it, and be found out;
- the vault's keys and the database: forge a chain, which a copy out of his reach still contradicts;
- all three: everything. So the copy belongs on a host of others (docs/operations.md).

No clear value stands here: persons are tokens, an officer's stated reason is encrypted, and what a caller typed is
kept only where the vault knows it.
"""

from __future__ import annotations

import base64
import datetime as dt
import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.keys import derive
from vault.repairs import PURPOSE as REPAIR

COPY = "audit.jsonl"
#: File beside the vault's keys with the bearer token of the two calls about the audit.
AUDIT_TOKEN = "audit.token"  # noqa: S105 - a file's name
#: Of a clear value that was given; quotas and alerts count these.
GIVEN = "disclosed"
_CHUNK = 5_000
#: The copy's last line is looked for in so many bytes at its end; one line has a thousandth of them.
_TAIL = 1 << 20
_TOKEN = re.compile(r"id\d+_[0-9a-f]{32}")
_TEXTS = (
    "action", "who", "agency", "purpose", "basis", "asked", "subject", "source_code", "dossier_id", "outcome", "note",
    "reason", "request_id",
)  # fmt: skip
#: What a hash is made over, in this order.
_CONTENT = ("number", "at", *_TEXTS, "previous")
_COLUMNS = ", ".join((*_CONTENT, "hash"))
_FIELDS = {*_CONTENT, "hash"}
_ARROW = pa.schema(
    [("number", pa.int64()), ("at", pa.timestamp("us", "UTC"))]
    + [(n, pa.string()) for n in (*_TEXTS, "previous", "hash")]
)
_SCHEMA = (
    "create table if not exists audit (number bigint primary key, at timestamptz not null, "
    + ", ".join(f"{n} text not null" for n in (*_TEXTS, "previous", "hash"))
    + ")",
    "create index if not exists audit_given on audit (purpose, at) where outcome = 'disclosed'",
    "create index if not exists audit_who on audit (who, at)",
    "create index if not exists audit_subject on audit (subject) where subject <> ''",
    "create index if not exists audit_dossier on audit (dossier_id, source_code) where dossier_id <> ''",
    "create table if not exists sealed_persons (day date primary key, persons bigint not null)",
    "create or replace function audit_is_append_only() returns trigger language plpgsql as "
    "$$begin raise exception 'the table audit is append-only: % is refused', tg_op; end$$",
    "create or replace trigger audit_rows before update or delete on audit "
    "for each row execute function audit_is_append_only()",
    "create or replace trigger audit_whole before truncate on audit "
    "for each statement execute function audit_is_append_only()",
)
#: Midnight in Vietnam, at which quotas and counts of a day begin.
MIDNIGHT = "date_trunc('day', now() at time zone 'Asia/Ho_Chi_Minh') at time zone 'Asia/Ho_Chi_Minh'"
#: Readings of one caller: today, in the 30 days before, the days of those with any, and alerts of today.
_VOLUME = f"""
select count(*) filter (where outcome = 'disclosed' and at >= {MIDNIGHT}) as today,
    count(*) filter (where outcome = 'disclosed' and at < {MIDNIGHT}) as before,
    count(distinct (at at time zone 'Asia/Ho_Chi_Minh')::date)
        filter (where outcome = 'disclosed' and at < {MIDNIGHT}) as days,
    count(*) filter (where action = 'alert' and asked = '' and at >= {MIDNIGHT}) as told
from audit where who = $1 and at >= {MIDNIGHT} - interval '30 days'
"""  # noqa: S608 - constants of this module
#: Refusals of today, and alerts of them: of one caller, or about one person.
_REFUSED = {
    name: f"select count(*) filter (where outcome = 'refused'), "  # noqa: S608 - constants of this module
    f"count(*) filter (where action = 'alert' and asked = 'refusals {of}') from audit "
    f"where {name} = $1 and at >= {MIDNIGHT}"
    for name, of in (("who", "of a caller"), ("subject", "about a person"))
}
#: Persons newly known, by day in Vietnam.
_SEALED = (
    "insert into sealed_persons (day, persons) values ((now() at time zone 'Asia/Ho_Chi_Minh')::date, $1) "
    "on conflict (day) do update set persons = sealed_persons.persons + excluded.persons returning persons"
)
#: Records of earlier versions, oldest first; their rows become the first ones of the chain.
_EARLIER = {
    "disclosure": "select at, 'disclose' as action, officer_code as who, purpose, document as basis, "
    "'number, name' as asked, token as subject, '' as source_code, '' as key, outcome, "
    "request_id::text as request_id from disclosure",
    "repair_reading": f"select r.at, 'read_reject' as action, 'service' as who, '{REPAIR}' as purpose, "  # noqa: S608
    "r.why as basis, 'rule ' || r.rule || ', quarantine ' || r.quarantine_id as asked, '' as subject, "
    "coalesce(q.source_code, '') as source_code, coalesce(q.key, '') as key, 'disclosed' as outcome, "
    "r.request_id::text as request_id from repair_reading r left join quarantine q on q.id = r.quarantine_id",
}
_HEAD = "audit_head"
_START = (0, "")
_LOWEST = -(2**63)
#: Action of the first entry under another token key.
_CHANGE = "token_key"
_CHANGED = re.compile(r"version ([2-9])")
_log = logging.getLogger("vault.audit")


class AuditTrouble(Exception):
    """A reading cannot be recorded as it must be, so nothing is given; the message says what to mend."""


class AuditCut(AuditTrouble):
    """Copy and database contradict each other: not even a refusal is added until it is known why."""


@dataclass(frozen=True)
class Alarm:
    """Unusual volume: more readings of one caller in a day than `times` the usual ones, and more than `least`.

    Usual is the caller's own mean of those of the last 30 days on which anything was read. `sealed`: more persons in a
    day of whom the vault held nothing than any honest day brings (a whole year's pull of a province: 184,457);
    `refusals`: more in a day of one caller, or about one person.
    """

    times: float = 3.0
    least: int = 20
    sealed: int = 250_000
    refusals: int = 20


@dataclass(frozen=True)
class Entry:
    """One row before it has its number: who (officer's code, or ``service``) asked what about whom, and what came.

    `basis` is the document it was done under, `subject` a person's token, `note` why something was refused, `reason`
    what an officer stated (kept encrypted). Empty is unknown or none.
    """

    action: str
    who: str
    outcome: str
    agency: str = ""
    purpose: str = ""
    basis: str = ""
    asked: str = ""
    subject: str = ""
    source_code: str = ""
    dossier_id: str = ""
    note: str = ""
    reason: str = field(default="", repr=False)
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    at: dt.datetime | None = None


@dataclass
class Asking:
    """What is known of a call so far, for the record of its refusal; filled in while the call is understood."""

    action: str
    who: str = "unknown"
    agency: str = ""
    purpose: str = ""
    basis: str = ""
    source_code: str = ""
    dossier_id: str = ""
    subjects: list[str] = field(default_factory=list)

    def refused(self, note: str) -> list[Entry]:
        """One entry for each person asked about, or one where nobody was named."""
        known = {n: getattr(self, n) for n in ("action", "who", "agency", "purpose", "basis", "source_code")}
        known["dossier_id"] = self.dossier_id
        return [Entry(outcome="refused", note=note, subject=s, **known) for s in self.subjects or [""]]


@dataclass(frozen=True)
class Verdict:
    """What `verify` found: rows in the database, rows in the copy (None without one), the first trouble or None."""

    entries: int
    copied: int | None
    trouble: str | None


def _unusual(note: str) -> str:
    return (
        f"unusual volume: {note}. Whose they are stands in the vault's table audit (action alert); "
        "see docs/operations.md"
    )


def dossier_of(key: str) -> str:
    """The dossier a reject's key (JSON) names; empty if none."""
    try:
        named = json.loads(key)
    except ValueError:
        return ""
    return str(named.get("dossier_id") or "") if isinstance(named, dict) else ""


class Audit:
    """The chain over one connection; `do` runs a function of a cursor in one transaction."""

    def __init__(
        self,
        do: Callable[..., Any],
        token_key: bytes,
        copy: Path | None = None,
        alarm: Alarm | None = None,
        later_keys: Mapping[int, bytes] | None = None,
    ) -> None:
        """`later_keys` are the token keys from version 2 on."""
        self._do = do
        self._token_keys = {1: token_key, **(later_keys or {})}
        #: Version of the token key -> the number of the first row under it.
        self._firsts = {1: _LOWEST}
        self._copy = copy
        self._alarm = alarm or Alarm()

    @property
    def _path(self) -> Path:
        assert self._copy is not None  # noqa: S101 - callers have asked
        return self._copy / COPY

    def prepare(self, cursor: adbc.Cursor) -> None:
        """Make the table and its guards; carry over what earlier versions recorded, once."""
        # Two processes that start together would else make the same things at once.
        cursor.execute("select pg_advisory_xact_lock(hashtext('kho-chung/audit'))")
        cursor.fetchall()
        for statement in _SCHEMA:
            cursor.execute(statement)
        self._carry_over(cursor)
        self.follow(cursor, self._token_keys)

    def follow(self, cursor: adbc.Cursor, token_keys: Mapping[int, bytes]) -> None:
        """Know these token keys, and where in the chain each begins."""
        self._token_keys |= token_keys
        cursor.execute(f"select {_COLUMNS} from audit where action = $1 order by number", (_CHANGE,))  # noqa: S608
        for row in cursor.fetch_arrow_table().to_pylist():
            self._learn(row)

    def begin(self, cursor: adbc.Cursor, version: int) -> None:
        """Go on under a version of the token key, in the caller's transaction; again, it changes nothing."""
        # As the database has it: what a transaction that failed had learned does not count.
        self._firsts.pop(version, None)
        self.follow(cursor, {})
        if version not in self._firsts:
            cursor.execute("lock table audit in exclusive mode")
            self._firsts[version] = self._head(cursor)[0] + 1
            self.append(cursor, [Entry(_CHANGE, "service", "done", note=f"version {version}")])

    def append(self, cursor: adbc.Cursor, entries: Sequence[Entry]) -> None:
        """Add rows at the end of the chain, in the caller's transaction; one appends at a time, until it commits."""
        cursor.execute("lock table audit in exclusive mode")
        number, previous = self._head(cursor)
        cursor.execute("select clock_timestamp() as at")
        now = cursor.fetchall()[0][0]
        rows = []
        for entry in entries:
            number += 1
            row = vars(entry) | {"number": number, "at": entry.at or now, "previous": previous}
            row["subject"] = entry.subject if _TOKEN.fullmatch(entry.subject) else ""
            row["reason"] = self._sealed_reason(entry, number)
            # PostgreSQL holds no NUL; what a caller sends must not stop its own record.
            row |= {n: row[n].replace("\0", "") for n in _TEXTS}
            row["hash"] = previous = self._hash(row)
            rows.append(row)
        self._insert(cursor, rows)

    def record(self, *entries: Entry) -> None:
        """Add rows, committed and copied when this returns; AuditTrouble if they cannot be copied."""
        self.copied()
        self._do(lambda cursor: self.append(cursor, entries))
        self.copied()

    def refused(self, asking: Asking, note: str) -> None:
        """Add a refusal."""
        with suppress(AuditCut):
            self.note(*asking.refused(note))

    def note(self, *entries: Entry) -> None:
        """Add rows of what gave no clear value: they stand in the database also while the copy cannot be written.

        AuditCut, and nothing is added, where copy and database contradict each other.
        """
        try:
            self.copied()
        except AuditCut:
            raise
        except AuditTrouble:
            pass

        def add(cursor: adbc.Cursor) -> list[str]:
            self.append(cursor, entries)
            return self.watch_refusals(cursor, entries)

        for alert in self._do(add):
            _log.warning(alert)
        with suppress(AuditTrouble):
            self.copied()

    def watch_refusals(self, cursor: adbc.Cursor, entries: Sequence[Entry]) -> list[str]:
        """An alert, once a day, for each caller or person of refused `entries` with many; lines for the log."""
        refused = [e for e in entries if e.outcome == "refused"]
        said = []
        for name, of in (("who", "of a caller"), ("subject", "about a person")):
            for value in sorted({getattr(e, name) for e in refused} - {""}):
                cursor.execute(_REFUSED[name], (value,))
                today, told = cursor.fetchall()[0]
                if told or today <= self._alarm.refusals:
                    continue
                note = f"{today} refusals {of} today"
                one = {"who": value} if name == "who" else {"who": "service", "subject": value}
                self.append(
                    cursor, [Entry("alert", outcome="alert", asked=f"refusals {of}", note=note, **one)]
                )
                said.append(_unusual(note))
        return said

    def watch_sealed(self, cursor: adbc.Cursor, persons: int) -> str | None:
        """Count `persons` of whom nothing was held before; an alert, once a day, where they are unusually many."""
        if not persons:
            return None
        cursor.execute(_SEALED, (persons,))
        today = int(cursor.fetchall()[0][0])
        if not today - persons <= self._alarm.sealed < today:
            return None
        note = f"{today} persons sealed today of whom nothing was held before"
        self.append(cursor, [Entry("alert", "service", "alert", asked="seal", note=note)])
        return _unusual(note)

    def watch(self, cursor: adbc.Cursor, who: str) -> str | None:
        """An alert, once a day, where `who` read unusually much today; the line for the log, without values."""
        cursor.execute(_VOLUME, (who,))
        today, before, days, told = cursor.fetchall()[0]
        usual = before / days if days else 0.0
        if told or today <= max(self._alarm.least, self._alarm.times * usual):
            return None
        note = f"{today} readings today, {usual:.0f} a day before"
        self.append(cursor, [Entry("alert", who, "alert", note=note)])
        return _unusual(note)

    def copied(self) -> None:
        """Bring the copy up to the database; AuditTrouble if it cannot be written or says otherwise."""
        if self._copy is None:
            return
        try:
            with self._locked() as f:
                number, last_hash = self._last_copied(f)
                while True:
                    rows = self._rows_from(max(number, 1))
                    if number and not (rows and rows[0]["hash"] == last_hash):
                        raise AuditCut(self._disagree(number, rows))
                    fresh = rows[1:] if number else rows
                    if fresh:
                        if _old(fresh[0]):
                            _log.warning(
                                "the audit's copy lacked entries from %d on, older than a minute; they are appended "
                                "now. Where the copy is not new, and the vault did not crash, somebody cut it.",
                                fresh[0]["number"],
                            )
                        # What a crash left of a line is ended first, so that the next one stands alone.
                        f.write(b"" if self._ends_well(f) else b"\n")
                        f.write(b"".join(map(_line, fresh)))
                        f.flush()
                        os.fsync(f.fileno())
                        number, last_hash = fresh[-1]["number"], fresh[-1]["hash"]
                    if len(rows) < _CHUNK:
                        return
        except OSError as e:
            raise AuditTrouble(
                f"looked for the audit's copy {self._path} (setting VAULT_AUDIT_COPY) and could not write it "
                f"({e.strerror}). Every reading is copied there first, so none is given. Bring the folder back; "
                "the copy then goes on by itself."
            ) from None

    def recover(self) -> int:
        """Rows the copy holds beyond the database's end, taken back into the database after their proof; how many.

        For an older backup that was restored. Recorded as an entry of its own. Rows that do not continue the
        database's chain are left where they are: `verify` names them.
        """
        if self._copy is None or not self._path.exists():
            return 0

        def take(cursor: adbc.Cursor) -> int:
            cursor.execute("lock table audit in exclusive mode")
            number, previous = head = self._last_row(cursor)
            with self._path.open("rb") as f:
                if self._last_copied(f)[0] <= number:
                    return 0
                f.seek(0)
                rows = []
                for row in _lines(f):
                    self._learn(row)
                    if row["number"] == head[0] and row["hash"] != head[1]:
                        return 0
                    if row["number"] <= number:
                        continue
                    if self._wrong(row, number, previous):
                        break
                    rows.append(row)
                    number, previous = row["number"], row["hash"]
            if rows:
                self._insert(cursor, rows)
                said = f"{len(rows)} entries, up to {number}, taken back from the copy"
                self.append(cursor, [Entry("recover", "service", "done", note=said)])
            return len(rows)

        try:
            return int(self._do(take))
        except OSError:
            return 0  # told by the first reading

    def verify(self) -> Verdict:
        """Read the whole chain and its copy, in pieces; the first trouble, in words, without values."""
        number, previous = _START
        entries, trouble = 0, None
        while trouble is None:
            # None of the vault's rows stands below 1; one that does was put there.
            rows = self._rows_from(number + 1 if entries else _LOWEST)
            for row in rows:
                if trouble := self._wrong(row, number, previous):
                    break
                number, previous = row["number"], row["hash"]
                entries += 1
            if len(rows) < _CHUNK:
                break
        if without := [v for v in self._token_keys if v not in self._firsts]:
            trouble = trouble or f"the entry of the change to token key {without[0]} is gone"
        trouble = trouble or self._do(lambda cursor: self._cut(cursor, number))
        if self._copy is None:
            return Verdict(entries, None, trouble)
        copied, copy_trouble = self._verify_copy()
        return Verdict(entries, copied, trouble or copy_trouble)

    def alerts_today(self) -> int:
        """How many alerts were raised since midnight in Vietnam."""

        def read(cursor: adbc.Cursor) -> int:
            cursor.execute(f"select count(*) from audit where action = 'alert' and at >= {MIDNIGHT}")  # noqa: S608
            return int(cursor.fetchall()[0][0])

        return int(self._do(read))

    def alerts(self) -> list[dict[str, Any]]:
        """Alerts of the last 24 hours and all since the audit was verified last: number, at (ISO), who, note."""

        def read(cursor: adbc.Cursor) -> list[dict[str, Any]]:
            cursor.execute(
                "select number, at, who, note from audit where action = 'alert' and at > least(now() - interval '24 "
                "hours', (select coalesce(max(at), '-infinity') from audit where action = 'verify' and "
                "outcome <> 'refused')) order by number"
            )
            return list(cursor.fetch_arrow_table().to_pylist())

        return [row | {"at": _moment(row["at"])} for row in self._do(read)]

    def about(
        self, cursor: adbc.Cursor, token: str, dossiers: Sequence[tuple[str, str]]
    ) -> list[dict[str, Any]]:
        """Rows about a person, oldest first: by token, or by one of the person's `dossiers` (source, dossier).

        A row whose hash does not fit is shown with that in its note.
        """
        found: dict[int, dict[str, Any]] = {}
        asked: list[tuple[str, tuple[str, ...]]] = [("subject = $1", (token,))]
        asked += [("dossier_id = $1 and source_code = $2", (d, s)) for s, d in dossiers]
        for condition, given in asked:
            cursor.execute(f"select {_COLUMNS} from audit where {condition} order by number", given)  # noqa: S608
            for row in cursor.fetch_arrow_table().to_pylist():
                # A dossier may have been another person's at the time, and that person is named.
                if row["subject"] not in ("", token):
                    continue
                if self._hash(row) == row["hash"]:
                    row["reason"] = self.reason(row)
                else:
                    row |= {"reason": "", "note": "changed, or none of the vault's: its hash does not fit"}
                found[row["number"]] = row
        return [found[n] for n in sorted(found)]

    def reason(self, row: dict[str, Any]) -> str:
        """The reason an officer stated, as written."""
        if not row["reason"]:
            return ""
        sealed = base64.b64decode(row["reason"])
        cipher = self._cipher(row["number"])
        return cipher.decrypt(sealed[:12], sealed[12:], row["request_id"].encode()).decode()

    # --- the chain -----------------------------------------------------------------------------------

    def _version(self, number: int) -> int:
        """The version of the token key that an entry stands under."""
        return max(version for version, first in self._firsts.items() if first <= number)

    def _key(self, version: int) -> bytes:
        return derive(self._token_keys[version], "audit")

    def _cipher(self, number: int) -> AESGCM:
        return AESGCM(derive(self._token_keys[self._version(number)], "audit/reason"))

    def _learn(self, row: dict[str, Any]) -> None:
        """Note where a version begins, if `row` is the entry of it, under its own key."""
        told = _CHANGED.fullmatch(row["note"]) if row["action"] == _CHANGE else None
        version = int(told[1]) if told else 0
        if version in self._token_keys:
            mine = self._hash(row, version)
            if hmac.compare_digest(mine.encode(), row["hash"].encode()):
                self._firsts[version] = row["number"]

    def _hash(self, row: dict[str, Any], version: int | None = None) -> str:
        key = self._key(version or self._version(row["number"]))
        content = [_moment(row["at"]) if n == "at" else row[n] for n in _CONTENT]
        plain = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        return hmac.digest(key, plain, hashlib.sha256).hex()

    def _wrong(self, row: dict[str, Any], number: int, previous: str) -> str | None:
        """What is wrong with `row` as the one after entry `number`."""
        at = row["number"]
        if not hmac.compare_digest(self._hash(row).encode(), row["hash"].encode()):
            return f"entry {at} was changed or is none of the vault's: its hash does not fit its content"
        if at != number + 1:
            missing = (
                f"entry {number + 1} is" if at == number + 2 else f"entries {number + 1} to {at - 1} are"
            )
            return f"{missing} missing: after {number} comes {at}"
        if row["previous"] != previous:
            return f"entry {at} does not continue entry {number}: one of them was exchanged"
        return None

    def _head(self, cursor: adbc.Cursor) -> tuple[int, str]:
        """Number and hash of the last entry: as noted, where rows after it were deleted, so that the gap stays."""
        last, noted = self._last_row(cursor), self._noted(cursor) or _START
        return noted if noted[0] >= last[0] else last

    def _last_row(self, cursor: adbc.Cursor) -> tuple[int, str]:
        cursor.execute("select number, hash from audit order by number desc limit 1")
        rows = cursor.fetchall()
        return (int(rows[0][0]), rows[0][1]) if rows else _START

    def _noted(self, cursor: adbc.Cursor) -> tuple[int, str] | None:
        """The note of the head in ``meta``; None if there is none that the vault wrote."""
        cursor.execute("select value from meta where name = $1", (_HEAD,))
        rows = cursor.fetchall()
        number, _, rest = (rows[0][0] if rows else "").partition(" ")
        last, _, proof = rest.partition(" ")
        if not number.isdecimal() or self._note(int(number), last) != proof:
            return None
        return int(number), last

    def _note(self, number: int, last: str) -> str:
        key = self._key(self._version(number))
        return hmac.digest(key, f"head {number} {last}".encode(), hashlib.sha256).hex()

    def _cut(self, cursor: adbc.Cursor, number: int) -> str | None:
        """What the note of the head says against a chain that ends at `number`."""
        cursor.execute("lock table audit in exclusive mode")  # both at one moment
        last, noted = self._last_row(cursor)[0], self._noted(cursor)
        if noted is None:
            return (
                f"the database's note of the last entry is gone or forged; {last} entries stand"
                if last
                else None
            )
        if noted[0] > last:
            return (
                f"the end was cut off: the database notes entries up to {noted[0]}, the table ends at {last}"
            )
        # Readings while this runs move both on.
        if noted[0] < number:
            return (
                f"the database's note of the last entry is an old one: it says {noted[0]}, there are {number}"
            )
        return None

    def _insert(self, cursor: adbc.Cursor, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        plain = [{n: row[n] for n in _ARROW.names} for row in rows]
        cursor.adbc_ingest("audit", pa.Table.from_pylist(plain, schema=_ARROW), mode="append")
        number, last = rows[-1]["number"], rows[-1]["hash"]
        cursor.execute(
            "insert into meta (name, value) values ($1, $2) on conflict (name) do update set value = excluded.value",
            (_HEAD, f"{number} {last} {self._note(number, last)}"),
        )

    def _rows_from(self, number: int) -> list[dict[str, Any]]:
        def read(cursor: adbc.Cursor) -> list[dict[str, Any]]:
            cursor.execute(
                f"select {_COLUMNS} from audit where number >= $1 order by number limit {_CHUNK}",  # noqa: S608
                (number,),
            )
            return list(cursor.fetch_arrow_table().to_pylist())

        return list(self._do(read))

    def _sealed_reason(self, entry: Entry, number: int) -> str:
        if not entry.reason:
            return ""
        nonce = os.urandom(12)
        sealed = self._cipher(number).encrypt(nonce, entry.reason.encode(), entry.request_id.encode())
        return base64.b64encode(nonce + sealed).decode()

    def _carry_over(self, cursor: adbc.Cursor) -> None:
        found: list[dict[str, Any]] = []
        told = []
        for table, query in _EARLIER.items():
            cursor.execute("select to_regclass($1) is not null", (table,))
            if not cursor.fetchall()[0][0]:
                continue
            cursor.execute(query)
            rows = cursor.fetch_arrow_table().to_pylist()
            found += rows
            told.append(f"{len(rows)} of {table}")
        entries = [
            Entry(**{n: v for n, v in row.items() if n != "key"}, dossier_id=dossier_of(row["key"]))
            for row in sorted(found, key=lambda r: (r["at"], r["request_id"]))
        ]
        if entries:
            said = f"carried over, without a chain until here: {', '.join(told)}"
            self.append(cursor, [*entries, Entry("begin", "service", "done", note=said)])
        for table in _EARLIER:
            cursor.execute(f"drop table if exists {table}")

    # --- the copy ------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        """The copy, opened for appending by one at a time; made if its folder is there."""
        path = self._path
        made = not path.exists()
        with os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b") as f:
            if made:
                # The name, too, must outlive a power cut.
                folder = os.open(path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
            fcntl.flock(f, fcntl.LOCK_EX)
            yield f

    def _last_copied(self, f: IO[bytes]) -> tuple[int, str]:
        """Number and hash of the copy's last whole line."""
        size = f.seek(0, os.SEEK_END)
        f.seek(max(0, size - _TAIL))
        last = _START
        for row in _lines(f):
            last = row["number"], row["hash"]
        return last

    def _ends_well(self, f: IO[bytes]) -> bool:
        size = f.seek(0, os.SEEK_END)
        if not size:
            return True
        f.seek(size - 1)
        return f.read(1) == b"\n"

    def _disagree(self, number: int, rows: list[dict[str, Any]]) -> str:
        path = self._path
        if rows:
            return (
                f"entry {number} of the audit's copy {path} is not the one in the database. One of them was changed; "
                "nothing is given until it is known which (python -m ops audit-verify)."
            )
        return (
            f"the audit's copy {path} holds entries up to {number}, and the database ends before: entries were cut "
            "off, or an older backup was restored. Nothing is given until the vault is started again: it then takes "
            "them back from the copy, and records so."
        )

    def _verify_copy(self) -> tuple[int, str | None]:
        path = self._path
        number, previous = _START
        held: list[dict[str, Any]] = []
        try:
            with path.open("rb") as f:
                for row in _lines(f):
                    if trouble := self._wrong(row, number, previous):
                        return number, f"in the copy {path}: {trouble}"
                    number, previous = row["number"], row["hash"]
                    if not held:
                        held = self._rows_from(number)
                    if not held or held[0]["number"] != number:
                        return number, f"the copy {path} holds entry {number}, the database does not"
                    if held.pop(0)["hash"] != previous:
                        return number, f"entry {number} of the copy {path} is not the one in the database"
        except OSError as e:
            return number, f"looked for the copy {path} (setting VAULT_AUDIT_COPY): {e.strerror}"
        # Younger ones are on their way.
        if any(_old(row) for row in held or self._rows_from(number + 1)):
            return number, f"the copy {path} ends at entry {number}, and the database goes on"
        return number, None


def _old(row: dict[str, Any]) -> bool:
    return bool(row["at"] < dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1))


def _moment(at: dt.datetime | str) -> str:
    return at if isinstance(at, str) else at.astimezone(dt.UTC).isoformat(timespec="microseconds")


def _line(row: dict[str, Any]) -> bytes:
    plain = row | {"at": _moment(row["at"])}
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _lines(f: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Whole lines of a copy; what a crash or a cut left of a line is passed over."""
    for line in f:
        try:
            row = json.loads(line)
            if (
                row.keys() == _FIELDS
                and type(row["number"]) is int
                and all(type(row[n]) is str for n in _TEXTS)
            ):
                yield row | {"at": dt.datetime.fromisoformat(row["at"]).astimezone(dt.UTC)}
        except (ValueError, AttributeError, TypeError):
            continue
