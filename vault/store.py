"""The vault's own database: ciphertexts by reference, keys of persons, the quarantine, the audit, fingerprints."""

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
from cryptography.exceptions import InvalidTag

from vault import collection, crosswalk, earlier, erasure, persons, retoken, rotation
from vault.audit import GIVEN, MIDNIGHT, Alarm, Asking, Audit, AuditTrouble, Entry, dossier_of
from vault.handles import Handles
from vault.keys import KeyProvider, KeyTrouble, derive
from vault.persons import Masters
from vault.pseudonyms import SCHEMA as PSEUDONYMS
from vault.pseudonyms import Pseudonyms
from vault.purposes import (
    DOSSIER_PURPOSES,
    PURPOSES,
    Agreement,
    Disclosure,
    DossierDisclosure,
    DossierPurpose,
    Purpose,
    QuotaSpent,
)
from vault.repairs import PURPOSE as REPAIR
from vault.repairs import Rule
from vault.retoken import TokensRenewing
from vault.reveal import Dossier, Officer, Request, Revealed, RevealRefused, dossiers, proved
from vault.sealing import Sealer, encrypt, normalised_identity

_SCHEMA = """
create table if not exists meta (name text primary key, value text not null);
create table if not exists sealed_group (id bytea primary key,
    payload bytea not null, created_at timestamptz not null default now());
create table if not exists sealed_value (reference text primary key, field text not null,
    group_id bytea not null, position integer not null);
create table if not exists sealed_dossier (source_code text not null, dossier_id text not null, agency text not null,
    token text not null, refs text not null, proof bytea not null, primary key (source_code, dossier_id));
create table if not exists quarantine (id bigint generated always as identity primary key,
    source_code text not null, table_name text not null, key text not null, field text not null,
    kind text not null check (kind in ('reject', 'undeclared')), payload bytea not null,
    batch_id text not null, created_at timestamptz not null default now());
alter table quarantine add column if not exists digest text not null default '';
drop index if exists quarantine_once;
create unique index if not exists quarantine_each_once on quarantine
    (batch_id, table_name, key, field, kind, digest);
alter table quarantine add column if not exists replayed_at timestamptz;
alter table quarantine add column if not exists replay_batch text;
alter table quarantine add column if not exists holder text
"""
_OLD_FORM = (
    "select 1 from information_schema.columns where table_schema = current_schema() "
    "and table_name = 'sealed_value' and column_name = 'payload'"
)
#: Readings given since midnight in Vietnam.
_GIVEN_TODAY = (
    "select count(*) as n from audit where purpose = $1 and outcome = 'disclosed' "  # noqa: S608 - a constant
    f"and at >= {MIDNIGHT}"
)
_READ_TODAY = (
    "select count(*) as n from audit where action = 'read_reject' and outcome = 'disclosed' "  # noqa: S608
    f"and starts_with(asked, $1) and at >= {MIDNIGHT}"
)
_REVEALED_TODAY = (
    "select count(*) as n from audit where who = $1 and action = 'reveal' and outcome = 'disclosed' "  # noqa: S608
    f"and at >= {MIDNIGHT}"
)
#: References opened at once by what reads them all.
_AT_ONCE = 5_000
_CHANGED = "the token key was changed since this was asked; ask again"
_log = logging.getLogger("vault")
T = TypeVar("T")


@dataclass(frozen=True)
class Setup:
    """How the vault starts: its database, its keys, the folder of the audit's copy, when it raises an alert."""

    url: str
    keys: KeyProvider
    #: The journal of decisions on persons (`vault.erasure`); None keeps none.
    erasures: Path | None = None
    audit_copy: Path | None = None
    alarm: Alarm = field(default_factory=Alarm)
    #: To finish a change of the token key: what was decided meanwhile takes effect after it.
    finishing: bool = False


def was_set_up(url: str) -> bool:
    """Whether the database at `url` already belongs to a pair of keys, so that new ones must not be made."""
    with adbc.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("select to_regclass('meta') is not null")
        if not cursor.fetchall()[0][0]:
            return False
        cursor.execute(
            "select exists (select from meta where name in ('key_fingerprint', 'fingerprint:token'))"
        )
        return bool(cursor.fetchall()[0][0])


class Store:
    """One connection to the vault's database behind a lock; reconnects after the server restarted."""

    def __init__(self, setup: Setup) -> None:
        self._url = setup.url
        self._erasures = setup.erasures
        self._lock = threading.Lock()
        self._connection: adbc.Connection | None = None
        self._checked = False
        with self._lock:
            if self._rows(_OLD_FORM):
                raise KeyTrouble(
                    "the vault's database holds values in the form of an earlier version, each encrypted for itself, "
                    "which this version does not read. Run that version, or give this one an empty database and "
                    "pull again (make clean, then make run)."
                )
            schemas = _SCHEMA, persons.SCHEMA, crosswalk.SCHEMA, erasure.SCHEMA, PSEUDONYMS, collection.SCHEMA
            for statement in ";".join(schemas).split(";"):
                self._execute(statement)
            self.masters = Masters(setup.keys)
            token_key = setup.keys.token_key()
            forms = self._transact(lambda cursor: persons.set_up(cursor, self.masters, token_key))
            later = self._transact(lambda cursor: retoken.keys_of(cursor, setup.keys, setup.finishing))
            made = later
            # In the copy there may be entries under a key that a database put back does not know yet.
            later = retoken.keys_made(setup.keys) if setup.finishing else later
            self.audit = Audit(self._do, token_key, setup.audit_copy, setup.alarm, later)
            self._transact(self.audit.prepare)
        if recovered := self.audit.recover():
            _log.warning("%d entries of the audit were taken back from its copy into the database", recovered)
        keys = derive(token_key, "token"), derive(token_key, "reference")
        self._sealer_of = lambda handles: Sealer(*keys, handles, forms)
        self._pseudonyms_of = lambda key, handles: Pseudonyms(self._do, key or token_key, self.audit, handles)
        self._under(made)
        self.collection = collection.Collection(
            self._do, self.audit, lambda a: self.sealer.handles.current(a)
        )
        if not setup.finishing:
            self._checked = True
            self._apply_decisions()

    def _under(self, keys: Mapping[int, bytes]) -> None:
        """Work under the last of the token keys; `keys` from version 2 on."""
        handles = Handles(keys)
        self.sealer = self._sealer_of(handles)
        self.pseudonyms = self._pseudonyms_of(keys.get(handles.version), handles)

    def _apply_decisions(self) -> None:
        """A restored backup may lack what was decided since; one of an earlier version has another form."""
        old = False
        while self._do(lambda cursor: earlier.leave_data_key(cursor, self.masters, self.sealer)):
            old = True
        decided = [
            dataclasses.replace(r, holder=self.sealer.handles.current_one(r.holder))
            for r in erasure.read(self._erasures)
        ]
        unknown = self._do(lambda cursor: erasure.unknown(cursor, decided))
        for request in unknown:
            self._do(lambda cursor, r=request: erasure.record(cursor, r))  # type: ignore[misc]
        self._do(lambda cursor: erasure.finish(cursor, self.sealer, self.masters))
        if old or any(r.decision == "erase" for r in unknown):
            self._write_anew("person_key")

    # --- writing -------------------------------------------------------------------------------------

    def seal(self, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """The batches sealed; all that must be stored first is committed when this returns.

        Rows of an erased person get no token and no reference of their own, and nothing of them is stored.
        """
        while True:
            sealer, unlinked = self.sealer, set[str]()
            gone = self._do(erasure.erased)
            sealed, values = sealer.seal_together(batches, self.persons_of, gone, unlinked)
            if unlinked:
                self._do(lambda cursor, groups=unlinked: erasure.unlink(cursor, groups))  # type: ignore[misc]
            self.keep(values, sealer)
            for batch, landed in zip(batches, sealed, strict=True):
                self.keep_dossiers(dossiers(batch, landed, sealer.digest), sealer)
            # Who was erased meanwhile must not land with a token: what was stored just now is taken back.
            if self._do(erasure.erased) <= gone | unlinked:
                return sealed

    def keep(self, values: pa.Table, by: Sealer | None = None) -> None:
        """Encrypt and store the clear values of a sealed batch that are not stored yet; committed when this returns.

        TokensRenewing if `by`, who sealed it, did so under a token key of before.
        """

        def keep(cursor: adbc.Cursor) -> str | None:
            self._same(by)
            first = persons.keep(cursor, self.masters, values)
            collection.mark(cursor, values["reference"])
            return self.audit.watch_sealed(cursor, first)

        # Landing does not wait for the audit's copy: no clear value is given here.
        if values.num_rows and (alert := self._do(keep)):
            _log.warning(alert)

    def rotate(self, batch: int = rotation.BATCH) -> rotation.Rotated:
        """Change the master encryption key (`vault.rotation`)."""
        return rotation.rotate(self._do, self.masters, batch)

    def retoken(self, batch: int = retoken.BATCH) -> retoken.Retokened:
        """Change the token key (`vault.retoken`)."""

        def transact(act: Callable[[adbc.Cursor], T]) -> T:
            with self._lock:
                return self._transact(act)

        def begin(cursor: adbc.Cursor, keys: Mapping[int, bytes]) -> None:
            self.audit.follow(cursor, keys)
            self.audit.begin(cursor, max(keys))

        self._checked = False
        done = retoken.retoken(transact, self.masters, self._sealer_of, self._write_anew, begin, batch)
        self._under(transact(lambda cursor: retoken.keys_of(cursor, self.masters.provider)))
        self._checked = True
        self._apply_decisions()
        with suppress(AuditTrouble):  # where the copy cannot be written, it catches up later
            self.audit.copied()
        return done

    def _write_anew(self, table: str) -> None:
        """Write a table anew: until then its file still holds what was deleted from it or changed in it."""
        with adbc.connect(self._url, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(f"vacuum full {table}")

    def decide(self, *requests: erasure.Request) -> int:
        """Record decisions on one person's papers and carry them out (`vault.erasure`); number of values deleted."""
        for request in requests:
            self._do(lambda cursor, r=request: erasure.check(cursor, r))  # type: ignore[misc]
        erasure.note(self._erasures, *requests)
        self._do(lambda cursor: erasure.record(cursor, *requests))
        self.audit.record(
            *(
                Entry(
                    "decide", f"officer:{r.officer}", r.decision, purpose="citizen_request", basis=r.basis,
                    asked=r.request_id, subject=r.holder,
                )
                for r in requests
            )
        )  # fmt: skip
        deleted = self._do(lambda cursor: erasure.finish(cursor, self.sealer, self.masters))
        if any(r.decision == "erase" for r in requests):
            self._write_anew("person_key")
        return deleted

    def renewed(self, handles: pa.Array) -> pa.Array:
        """Handles of any version in the present form; HandleError, TokensRenewing."""
        self._do(lambda cursor: None)  # or one that is being changed would be answered as it was
        return self.sealer.handles.current(handles)

    def restricted(self) -> set[str]:
        """Tokens of persons of whom no clear value may be given now."""
        return self._do(erasure.restricted)

    def keep_dossiers(self, rows: pa.Table | None, by: Sealer | None = None) -> None:
        """Store whose dossiers a sealed batch holds, and what belongs to them (`vault.reveal.dossiers`).

        `by` as in `keep`.
        """
        if rows is None or not rows.num_rows:
            return

        def keep(cursor: adbc.Cursor) -> None:
            self._same(by)
            collection.mark_dossiers(cursor, "incoming_dossier")
            cursor.execute(
                "insert into sealed_dossier (source_code, dossier_id, agency, token, refs, proof) "
                "select distinct on (source_code, dossier_id) source_code, dossier_id, agency, token, refs, proof "
                "from pg_temp.incoming_dossier order by source_code, dossier_id, row desc "
                "on conflict (source_code, dossier_id) do update set agency = excluded.agency, token = excluded.token, "
                "refs = excluded.refs, proof = excluded.proof where (sealed_dossier.agency, sealed_dossier.token, "
                "sealed_dossier.refs, sealed_dossier.proof) <> (excluded.agency, excluded.token, excluded.refs, "
                "excluded.proof)"
            )

        self._do(keep, incoming_dossier=rows)

    def persons_of(self, group: str, values: pa.Array) -> pa.Array | None:
        """Tokens by dossier, for parts of dossiers that come without them (a replay): see `vault.sealing.Persons`."""
        if group != "source_code,dossier_id":
            return None

        def read(cursor: adbc.Cursor) -> list[dict]:
            cursor.execute(
                "select d.* from sealed_dossier d join pg_temp.wanted_dossier w on w.key = d.source_code || chr(31) || "
                "d.dossier_id"
            )
            return cursor.fetch_arrow_table().to_pylist()

        held = [
            proved(r, self.sealer.digest)
            for r in self._do(read, wanted_dossier=pa.table({"key": values.unique()}))
        ]
        known = {f"{d.source_code}\x1f{d.dossier_id}": d.token or None for d in held if d}
        return pa.array([known.get(v) for v in values.to_pylist()], pa.string())

    def quarantine(self, rows: pa.Table) -> None:
        """Store payloads, each under a key of its own: source_code, table_name, key, field, kind, payload, batch_id.

        What is about an erased person is stored nowhere.
        """
        tables, keys, clear = (rows[n].to_pylist() for n in ("table_name", "key", "payload"))
        records = list(zip(rows["source_code"].to_pylist(), keys, clear, strict=True))
        own = persons.new_keys([persons.new_record() for _ in clear])
        sealed = [
            encrypt(key, p, f"{t}/{k}".encode())
            for key, p, t, k in zip(own.values(), clear, tables, keys, strict=True)
        ]
        rows = rows.set_column(
            rows.schema.get_field_index("payload"), "payload", pa.array(sealed, pa.binary())
        )
        rows = rows.append_column("holder", pa.array(list(own), pa.string()))
        # Two records without a key are two, and one of them sent again is one.
        rows = rows.append_column("digest", pa.array([self.sealer.mark(p) for p in clear], pa.string()))
        names = ", ".join(rows.column_names)

        def keep(cursor: adbc.Cursor) -> None:
            # An erasure waits for this, or is seen by it.
            persons.beside(cursor)
            gone = erasure.about(cursor, self.sealer, records, erasure.erased(cursor))
            persons.temporary(cursor, "incoming", rows.filter(pa.array([not g for g in gone], pa.bool_())))
            cursor.execute(
                f"insert into quarantine ({names}) select {names} from pg_temp.incoming "  # noqa: S608
                "on conflict (batch_id, table_name, key, field, kind, digest) do nothing returning holder"
            )
            kept = {h: own[h] for (h,) in cursor.fetchall()}
            cursor.execute("drop table pg_temp.incoming")
            persons.store_keys(cursor, self.masters, kept)

        self._do(keep)

    def rejects(self) -> pa.Table:
        """What is quarantined of rejected records: batch, table, key, field, replayed when, by what. No payload."""

        def read(cursor: adbc.Cursor) -> pa.Table:
            cursor.execute(
                "select source_code, batch_id, table_name, key, field, created_at, replayed_at, replay_batch "
                "from quarantine where kind = 'reject' order by id"
            )
            return cursor.fetch_arrow_table()

        return self._do(read)

    def read_rejects(self, rule: Rule, asked: pa.Table) -> list[bytes | None]:
        """Payload of each reject in `asked` (batch_id, table_name, key, field); None if not held or given any more.

        Only what is the rule's is opened; every reading, and what was asked for and is not given, is recorded,
        committed and copied before this returns. Raises AuditTrouble; QuotaSpent, and gives nothing, where more are
        held than the rule's quota of the day still allows.
        """
        self.audit.copied()
        places = {tuple(row.values()): at for at, row in enumerate(asked.to_pylist())}

        def read(cursor: adbc.Cursor) -> tuple[list[tuple[dict, bytes]], str | None]:
            # One reading of the quota at a time, as in `disclose`.
            cursor.execute("lock table audit in exclusive mode")
            cursor.execute(_READ_TODAY, (f"rule {rule.name}, ",))
            left = rule.daily_quota - int(cursor.fetchall()[0][0])
            cursor.execute(
                "select q.id, q.batch_id, q.table_name, q.key, q.field, q.payload, k.holder, k.master_version, "
                "k.wrapped from quarantine q join person_key k on k.holder = q.holder "
                "join pg_temp.wanted w using (batch_id, table_name, key, field) where q.kind = 'reject' and "
                "q.replayed_at is null and q.source_code = $1 and q.table_name = $2 and q.field = $3",
                (rule.source, rule.table, rule.field),
            )
            rows = cursor.fetch_arrow_table().to_pylist()
            if len(rows) > left:
                raise QuotaSpent(
                    f"{max(left, 0)} of the {rule.daily_quota} rejects a day of the repair rule {rule.name} are left, "
                    f"{len(rows)} were asked for; the count starts anew at midnight, or give the rule a daily_quota"
                )
            plain = [persons.opened_record(self.masters, r) for r in rows]
            records = [(rule.source, row["key"], text) for row, text in zip(rows, plain, strict=True)]
            closed = erasure.about(cursor, self.sealer, records, erasure.restricted(cursor))
            given = [
                Entry(
                    "read_reject", "service", "refused" if shut else GIVEN, purpose=REPAIR,
                    dossier_id=dossier_of(row["key"]), asked=f"rule {rule.name}, quarantine {row['id']}",
                    basis=rule.why, source_code=rule.source, note="restricted" if shut else "",
                )
                for row, shut in zip(rows, closed, strict=True)
            ]  # fmt: skip
            if others := asked.num_rows - len(rows):
                note = f"{others} that the rule does not cover, or that are not held or were replayed"
                given.append(
                    Entry("read_reject", "service", "refused", purpose=REPAIR, note=note,
                          asked=f"rule {rule.name}", basis=rule.why, source_code=rule.source)
                )  # fmt: skip
            self.audit.append(cursor, given)
            opened = [(r, text) for r, text, shut in zip(rows, plain, closed, strict=True) if not shut]
            return opened, self._watch(cursor, "service", given)

        payloads: list[bytes | None] = [None] * asked.num_rows
        opened, alert = self._do(read, wanted=asked)
        self._recorded(alert)
        for row, text in opened:
            payloads[places[row["batch_id"], row["table_name"], row["key"], row["field"]]] = text
        return payloads

    def replayed(self, rejects: pa.Table, batch_id: str) -> int:
        """Mark rejects (batch_id, table_name, key, field) as replayed by a batch; how many were not yet."""

        def mark(cursor: adbc.Cursor) -> int:
            cursor.execute(
                "with marked as (update quarantine q set replayed_at = now(), replay_batch = $1 "
                "from pg_temp.done d where q.batch_id = d.batch_id and q.table_name = d.table_name and "
                "q.key = d.key and q.field = d.field and q.kind = 'reject' and q.replayed_at is null "
                "returning 1) select count(*) from marked",
                (batch_id,),
            )
            return int(cursor.fetchall()[0][0])

        return self._do(mark, done=rejects)

    def reveal(self, references: list[str], restricted: set[str] | None = None) -> dict[str, str]:
        """Clear values by reference, for `disclose`, `vault.reveal` and tests; who calls it records the reading.

        What is not held (any more), or belongs to a person whose data are `restricted` (read here if the caller has
        not), is left out.
        """
        if restricted is None:
            restricted = self.restricted() if references else set()
        return {
            r: value for r, (_, owner, value) in self.opened(references).items() if owner not in restricted
        }

    def references(self, fields: Iterable[str]) -> Iterator[list[str]]:
        """References of all values of `fields`, and all tokens, some thousand at a time.

        On a connection of its own, as things stood at the beginning: sealing does not wait for the reader.
        """
        listed = ", ".join(f"'{name}'" for name in fields)
        with adbc.connect(self._url) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"select reference from sealed_value where field in ({listed}) or "  # noqa: S608 - our own names
                "starts_with(reference, 'id')"
            )
            for batch in cursor.fetch_record_batch():
                for start in range(0, batch.num_rows, _AT_ONCE):
                    yield batch.column(0).slice(start, _AT_ONCE).to_pylist()

    def opened(self, references: list[str]) -> dict[str, tuple[str, str | None, str]]:
        """Field, owner (the person's token, or the group) and clear value by reference; never leaves this process.

        What is not held (any more) is left out; what restricted persons have is not.
        """
        if not references:
            return {}
        listed = ", ".join("'" + r.replace("'", "") + "'" for r in references)
        with self._lock:
            rows = self._rows(
                "select v.reference, v.field, v.position, v.group_id, g.payload, g.holder, "  # noqa: S608
                "k.master_version, k.wrapped from sealed_value v join sealed_group g on g.id = v.group_id "
                "join person_key k on k.holder = g.holder "
                f"where v.reference in ({listed}) and k.wrapped is not null",
                self._check,
            )
        opened: dict[bytes, tuple[str | None, list[str]]] = {}
        found: dict[str, tuple[str, str | None, str]] = {}
        for r in rows:
            group, holder = r["group_id"], r["holder"]
            if group not in opened:
                key = self.masters.unwrap(r["master_version"], holder, r["wrapped"])
                opened[group] = self.sealer.open(r["payload"], group, key)
            owner, values = opened[group]
            value = values[r["position"]] if r["position"] < len(values) else ""
            # The ciphertext proves itself; the row that says where a value stands in it is proved here.
            if not self.sealer.proves(r["reference"], r["field"], owner, value):
                raise InvalidTag
            found[r["reference"]] = (r["field"], owner, value)
        return found

    def disclose(
        self, agreement: Agreement, people: Sequence[tuple[str, str]]
    ) -> tuple[list[Disclosure], int]:
        """Number and name of each (token, reference of a name), and what is left of today's quota.

        Every reading is recorded, committed and copied before this returns. Raises QuotaSpent, and gives nothing,
        where more persons have values than the quota still allows; AuditTrouble where it cannot be recorded.
        """
        purpose = PURPOSES[agreement.purpose]
        # The warehouse may still hold handles of before.
        current = self.sealer.handles.current_one
        people = [(current(token), current(reference)) for token, reference in people]
        self.audit.copied()
        restricted = self.restricted()
        values = self.reveal([reference for pair in people for reference in pair], restricted)
        given = [
            Disclosure(token, outcome, str(uuid.uuid4()), number, name)
            for token, reference in people
            for outcome, number, name in [
                ("refused", None, None)
                if token in restricted
                else self._judge(purpose, token, reference, values)
            ]
        ]
        entries = [
            Entry(
                "disclose", agreement.officer_code, d.outcome, purpose=agreement.purpose, basis=agreement.document,
                asked="number, name", subject=d.token, request_id=d.request_id,
            )
            for d in given
        ]  # fmt: skip
        return given, self._give(agreement, entries, "readings")

    def disclose_dossiers(
        self, agreement: Agreement, asked: Sequence[tuple[str, str, Sequence[str]]], asking: Asking
    ) -> tuple[list[DossierDisclosure], int]:
        """Clear values of each (source, dossier, handles), and what is left of today's quota.

        A handle is opened only where it is the dossier's person's, or the dossier's own where no person is known, or an
        officer's name. Recorded, committed and copied before this returns; `asking` learns of whom the dossiers are.
        Raises QuotaSpent, and gives nothing, where more dossiers have values than the quota still allows; AuditTrouble.
        """
        purpose = DOSSIER_PURPOSES[agreement.purpose]
        current = functools.cache(self.sealer.handles.current_one)
        self.audit.copied()
        held, restricted = self._dossiers_held([(source, dossier) for source, dossier, _ in asked])
        opened = self.opened(sorted({current(h) for *_, handles in asked for h in handles}))
        given, entries = [], []
        for source, number, handles in asked:
            dossier = held.get((source, number))
            one, names = self._judge_dossier(
                purpose, dossier, {h: opened.get(current(h)) for h in handles}, restricted, current
            )
            given.append(one)
            entries.append(
                Entry(
                    "disclose", agreement.officer_code, one.outcome, agency=dossier.agency if dossier else "",
                    purpose=agreement.purpose, basis=agreement.document, asked=", ".join(names),
                    subject=dossier.token if dossier else "", source_code=source, dossier_id=number,
                    request_id=one.request_id,
                )
            )  # fmt: skip
        asking.subjects = [e.subject for e in entries]
        return given, self._give(agreement, entries, "dossiers")

    def _give(self, agreement: Agreement, entries: list[Entry], what: str) -> int:
        """Record what is about to be given, within the day's quota of the agreement; what is left of it."""
        wanted = sum(1 for e in entries if e.outcome == GIVEN)

        def give(cursor: adbc.Cursor) -> tuple[int, str | None]:
            # One reading of the quota at a time, or two callers would both take its last place.
            cursor.execute("lock table audit in exclusive mode")
            cursor.execute(_GIVEN_TODAY, (agreement.purpose,))
            left = agreement.daily_quota - int(cursor.fetchall()[0][0])
            if wanted > left or not entries:
                return left, None
            self.audit.append(cursor, entries)
            return left, self._watch(cursor, agreement.officer_code, entries)

        left, alert = self._do(give)
        if wanted > left:
            raise QuotaSpent(
                f"{agreement.purpose}: {max(left, 0)} of the {agreement.daily_quota} {what} a day of document "
                f"{agreement.document} are left, {wanted} were asked for; the count starts anew at midnight"
            )
        self._recorded(alert)
        return left - wanted

    def _judge_dossier(
        self, purpose: DossierPurpose, dossier: Dossier | None,
        opened: Mapping[str, tuple[str, str | None, str] | None], restricted: set[str], current: Callable[[str], str],
    ) -> tuple[DossierDisclosure, list[str]]:  # fmt: skip
        """The disclosure of one dossier, and the columns it gives; `current` of handles."""
        request_id = str(uuid.uuid4())
        if dossier is None or None in opened.values():
            return DossierDisclosure("not_held", request_id), []
        mine = {current(dossier.token or ""), self.sealer.group_of((dossier.source_code, dossier.dossier_id))}
        values, names = {}, set()
        for handle, (name, owner, value) in ((h, o) for h, o in opened.items() if o):
            own = owner and current(owner) in mine and name in purpose.fields
            # A token is its own proof: it stands in the row of the dossier the vault proved.
            own = own or (bool(dossier.token) and current(handle) == current(dossier.token))
            if not (own or (not owner and name in purpose.officers)) or dossier.token in restricted:
                return DossierDisclosure("refused", request_id), []
            # In one spelling, however it was written, as `disclose` gives it.
            number = normalised_identity(value) if name == "applicant_id_number" else None
            values[handle] = number.partition(":")[2] if number else value
            names.add(name)
        return DossierDisclosure(GIVEN, request_id, values), sorted(names)

    def _dossiers_held(
        self, keys: Sequence[tuple[str, str]]
    ) -> tuple[dict[tuple[str, str], Dossier], set[str]]:
        """The dossiers of these (source, number) as far as the vault knows them; and what `restricted` gives."""

        def read(cursor: adbc.Cursor) -> tuple[list[dict], set[str]]:
            cursor.execute(
                "select d.* from sealed_dossier d join pg_temp.wanted_dossier w on w.source_code = d.source_code "
                "and w.dossier_id = d.dossier_id"
            )
            return cursor.fetch_arrow_table().to_pylist(), erasure.restricted(cursor)

        wanted = pa.table({
            "source_code": pa.array([s for s, _ in keys], pa.string()),
            "dossier_id": pa.array([d for _, d in keys], pa.string()),
        })  # fmt: skip
        rows, restricted = self._do(read, wanted_dossier=wanted)
        found = [proved(r, self.sealer.digest) for r in rows]
        return {(d.source_code, d.dossier_id): d for d in found if d}, restricted

    def reveal_of_dossier(self, officer: Officer, asked: Request, asking: Asking) -> Revealed:
        """Clear values of the person of one dossier of the officer's agency.

        Recorded, committed and copied before this returns; `asking` learns of whom the dossier is. Raises
        RevealRefused (no such dossier of this agency, nothing of what was asked), QuotaSpent, AuditTrouble.
        """
        self.audit.copied()
        dossier, fields = self._do(lambda cursor: self._dossier(cursor, asked))
        if dossier is not None:
            asking.source_code, asking.dossier_id = dossier.source_code, dossier.dossier_id
            asking.subjects = [dossier.token]
        if dossier is None or dossier.agency != officer.agency:
            # The same words for both: whether another agency has such a dossier is not told.
            raise RevealRefused(
                "not held" if dossier is None else "other agency",
                f"the vault knows no dossier of agency {officer.agency} by this source and number. One sealed before "
                "the vault noted agencies is known once it is pulled again.",
            )
        restricted = self.restricted()
        if dossier.token in restricted:
            raise RevealRefused(
                "restricted", "this person's data are restricted: they are kept, and given to nobody"
            )
        wanted = {reference: name for reference, name in fields.items() if name in asked.fields}
        values = {wanted[r]: v for r, v in self.reveal(list(wanted), restricted).items()}
        if not values:
            raise RevealRefused("no such field", "the vault holds none of these fields of this dossier", 404)
        entry = Entry(
            "reveal", officer.code, GIVEN, agency=officer.agency, purpose=asked.purpose, basis=officer.document,
            asked=", ".join(sorted(values)), subject=dossier.token, source_code=dossier.source_code,
            dossier_id=dossier.dossier_id, reason=asked.reason,
        )  # fmt: skip

        def give(cursor: adbc.Cursor) -> tuple[int, str | None]:
            cursor.execute("lock table audit in exclusive mode")
            cursor.execute(_REVEALED_TODAY, (officer.code,))
            left = officer.daily_quota - int(cursor.fetchall()[0][0])
            if left < 1:
                return left, None
            self.audit.append(cursor, [entry])
            return left, self.audit.watch(cursor, officer.code)

        left, alert = self._do(give)
        if left < 1:
            raise QuotaSpent(
                f"the {officer.daily_quota} dossiers a day of this officer's entry ({officer.document}) are used up; "
                "the count starts anew at midnight"
            )
        self._recorded(alert)
        return Revealed(entry.request_id, values, left - 1)

    def _dossier(self, cursor: adbc.Cursor, asked: Request) -> tuple[Dossier | None, dict[str, str]]:
        """The dossier asked for, and {reference: field} of what belongs to it."""
        cursor.execute(
            "select * from sealed_dossier where source_code = $1 and dossier_id = $2",
            (asked.source_code, asked.dossier_id),
        )
        rows = cursor.fetch_arrow_table().to_pylist()
        dossier = proved(rows[0], self.sealer.digest) if rows else None
        if dossier is None:
            return None, {}
        cursor.execute(
            "select reference, field from sealed_value where reference = any(string_to_array($1, ' '))",
            (" ".join(dossier.references),),
        )
        return dossier, dict(cursor.fetchall())

    def who_looked(self, identity: str, by: str) -> list[dict]:
        """Entries of the audit about the person with this identity number, oldest first; itself recorded first.

        Under all papers that the crosswalk holds for one person's. `by` is who asks, as the caller says. Raises
        RevealRefused for a placeholder, AuditTrouble.
        """
        token = self.sealer.token(identity)
        if token is None:
            raise RevealRefused("placeholder", "this is no identity number of anybody (a placeholder)", 422)

        def read(cursor: adbc.Cursor) -> tuple[list[str], list[dict]]:
            tokens = crosswalk.papers(cursor, token)
            rows: dict[int, dict] = {}
            for each in tokens:
                cursor.execute("select * from sealed_dossier where token = $1", (each,))
                held = [proved(row, self.sealer.digest) for row in cursor.fetch_arrow_table().to_pylist()]
                dossiers = [(d.source_code, d.dossier_id) for d in held if d]
                for form in self.sealer.handles.every_version(each):
                    rows |= {row["number"]: row for row in self.audit.about(cursor, form, dossiers)}
            return tokens, [rows[n] for n in sorted(rows)]

        tokens, rows = self._do(read)
        asked = f"{len(rows)} entries"
        self.audit.record(
            *(
                Entry("who_looked", f"operator:{by}", "answered", purpose="audit", asked=asked, subject=t)
                for t in tokens
            )
        )
        return rows

    def _watch(self, cursor: adbc.Cursor, who: str, entries: Sequence[Entry]) -> str | None:
        """Alerts on what `who` read, and on what was refused, as one text for the log."""
        said = [self.audit.watch(cursor, who), *self.audit.watch_refusals(cursor, entries)]
        return "; ".join(filter(None, said)) or None

    def _recorded(self, alert: str | None) -> None:
        """What was committed to the audit is copied, too; only then may it be answered."""
        if alert:
            _log.warning(alert)
        self.audit.copied()

    def _judge(
        self, purpose: Purpose, token: str, reference: str, values: dict[str, str]
    ) -> tuple[str, str | None, str | None]:
        """(outcome, number, name) of one person; `values` are the clear ones by reference.

        The name must be the one sealed as this person's name: otherwise any reference at all, an address or
        somebody else's telephone, could be read under the purpose.
        """
        if token not in values or reference not in values:
            return "not_held", None, None
        number, name = values[token], values[reference]
        # A token proves any field; only a reference says whose what its value is.
        right = reference.startswith("ref") and self.sealer.proves(reference, purpose.name, token, name)
        if not (right and self.sealer.token(number) == token):
            return "refused", None, None
        kind, _, digits = (normalised_identity(number) or "").partition(":")
        return ("disclosed", digits, name) if kind in purpose.kinds else ("other_paper", None, None)

    def ping(self) -> None:
        """Reach the database, or raise."""
        with self._lock:
            self._rows("select 1 as n")

    def count(self, table: str) -> int:
        """Number of rows of one of the vault's tables."""
        with self._lock:
            return self._rows(f"select count(*) as n from {table}")[0]["n"]  # noqa: S608

    # --- connection ----------------------------------------------------------------------------------

    def _do(self, act: Callable[[adbc.Cursor], T], **given: pa.Table) -> T:
        """`act` in one transaction under the lock, with `given` as temporary tables; its result, once committed.

        TokensRenewing while the token key is changed, and once after it.
        """

        def checked(cursor: adbc.Cursor) -> T:
            self._check(cursor)
            return act(cursor)

        with self._lock:
            return self._transact(checked, **given)

    def _check(self, cursor: adbc.Cursor) -> None:
        """Have nothing done under a token key that another process changed; go on under the new one."""
        if self._checked and not retoken.check(cursor, self.sealer.handles):
            keys = retoken.keys_of(cursor, self.masters.provider)
            self.audit.follow(cursor, keys)
            self._under(keys)
            raise TokensRenewing(_CHANGED)

    def _same(self, by: Sealer | None) -> None:
        if by not in (None, self.sealer):
            raise TokensRenewing(_CHANGED)

    def _transact(self, act: Callable[[adbc.Cursor], T], **given: pa.Table) -> T:
        for last in (False, True):
            if self._connection is None:
                self._connection = adbc.connect(self._url)
            try:
                with self._connection.cursor() as cursor:
                    for name, table in given.items():
                        cursor.execute(f"drop table if exists pg_temp.{name}")
                        cursor.adbc_ingest(name, table, mode="create", temporary=True)
                    found = act(cursor)
                    for name in given:
                        cursor.execute(f"drop table pg_temp.{name}")
                self._connection.commit()
                return found
            except adbc.Error:
                self._drop()
                if last:
                    raise
                # The server may have restarted: one fresh connection, then the caller hears of it.
            except BaseException:
                self._drop()  # or its transaction would stay open, with what it has locked
                raise
        raise AssertionError("the second attempt returns or raises")

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.rollback()
                connection.close()
            except adbc.Error:
                return

    def _execute(self, statement: str) -> None:
        self._transact(lambda cursor: cursor.execute(statement))

    def _rows(self, query: str, check: Callable[[adbc.Cursor], None] | None = None) -> list[dict]:
        def read(cursor: adbc.Cursor) -> list[dict]:
            if check:
                check(cursor)
            cursor.execute(query)
            return list(cursor.fetch_arrow_table().to_pylist())

        return self._transact(read)
