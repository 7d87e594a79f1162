"""Sending: plan what should stand at the portal, resolve what is uncertain, send what is waiting; one worker a unit.

Rules that hold whatever happens: what a call does is noted before it is made; a call whose answer was lost is resolved
by looking up, never repeated; a dossier that somebody else changed is not overwritten; progress follows its dossier;
one refusal sets one record aside.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import psycopg

from connectors.base import SourceError, SourceUnavailable
from national import outbox, sendable
from national.exchange import GUESSED, Answer, Exchange, Found, Item, Uncertain
from national.mapping import Table, handles, hashed, read_mapping, scrubbed
from national.outbox import Planned, Waiting
from national.writers import Unit, Writers


class NotForThere(Exception):
    """What is simulated would leave the sandbox, or what is real would enter it; nothing was sent."""


@dataclass(frozen=True)
class Opened:
    """Clear values of one dossier by handle; `why` it got none (refused, not_held), if it did not."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    why: str = ""


#: A row of the outbox, its clear item, and the personal values in it.
Ready = tuple[Waiting, Item, list[str]]


T = TypeVar("T")


@dataclass(frozen=True)
class Failed:
    """A look-up that failed."""

    error: SourceUnavailable


@dataclass(frozen=True)
class Call:
    """Rows of one call that writes; its answer once it was begun."""

    table: str
    updating: bool
    ready: Sequence[Ready]
    answer: Future[Answer] | None = None

    @property
    def keys(self) -> list[outbox.Key]:
        """Keys of its rows."""
        return [_key(row) for row, *_ in self.ready]

    def outcome(self) -> Answer | None:
        """Its answer, waited for; None where it was lost. SourceError where the call was not made."""
        try:
            return self.answer.result() if self.answer else None
        except Uncertain:
            return None


#: First and last day of receipt, both included.
Period = tuple[dt.date, dt.date]


class Opener(Protocol):
    """Gives clear values: the vault, under the purpose `national_sync`."""

    def __call__(self, asked: Sequence[tuple[str, str, Sequence[str]]]) -> list[Opened]:
        """Values of each (source, dossier, handles), in their order."""


@dataclass(frozen=True)
class Policy:
    """How we send; each number is the portal's to confirm [guess]."""

    #: Items of a call; one client sends progress by ten [seen].
    dossiers: int = 20
    progress: int = 10
    #: Calls whose rows are read, and opened by the vault, together.
    ahead: int = 10
    #: Units side by side: more than calls may be made at once, so that one prepares while another is answered.
    workers: int = 8
    #: Seconds after a call whose answer was lost before what it did is looked up: it may still be on its way.
    settle: float = 60.0
    #: Tries of what the portal says it is too busy for, and seconds before the first of them.
    tries: int = 8
    pause: float = 30.0
    #: Look-ups that fail, in a row or of one dossier, each tried several times, when a unit's run ends.
    failing: int = 3
    #: Conflicts of a unit that a run looks at again, and seconds before the same one is looked at once more.
    conflicts: int = 100
    recheck: float = 86_400.0
    #: Statuses sent first: refused, papers asked for, a duty to pay.
    urgent: tuple[int, ...] = (3, 5, 6)


@dataclass
class Report:
    """What a run came to, in counts; no row of anybody."""

    planned: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    left: dict[str, dict[str, int]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    #: What calls met with: "service: kind" -> how often.
    faults: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, what: str, number: int = 1) -> None:
        """Add to what was done; called by several workers."""
        with self._lock:
            self.done += Counter({what: number})  # without what is zero


def plan(
    connection: psycopg.Connection,
    writers: Writers,
    key: bytes,
    mapping: dict[str, Table] | None = None,
    period: Period | None = None,
) -> Counter[str]:
    """Take what changed in the warehouse since the last plan over into the outbox; counts by what came of it.

    With a `period` all dossiers received then, changed or not, as far as the unit's `since` allows. The plan of a unit
    is one transaction: killed, it is made again.
    """
    tables = mapping or read_mapping()
    counted: Counter[str] = Counter()
    for unit in writers.ours:
        since = unit.since or dt.date.min
        after = outbox.watermark(connection, unit.code, since, tables["dossier"].version)
        newest = after
        for batch in _of_unit(connection, writers, unit, -1 if period else after, period):
            dossiers, steps = drafted(batch, tables, key)
            counted["dossiers"] += outbox.plan_dossiers(
                connection, unit.code, dossiers, tables["dossier"].version
            )
            counted["progress"] += outbox.plan_progress(
                connection, unit.code, steps, tables["progress"].version
            )
            counted["read"] += len(batch)
            counted["lacking"] += sum(1 for d in dossiers if d.lacking)
            newest = max([newest, *(s.row["load_number"] for s in batch)])
        if not period:
            outbox.mark_planned(connection, unit.code, since, newest, tables["dossier"].version)
        connection.commit()
    return counted


def _of_unit(
    connection: psycopg.Connection, writers: Writers, unit: Unit, after: int, period: Period | None
) -> Iterator[list[sendable.Sendable]]:
    below = [u for u in writers.units if u.startswith(f"{unit.code}.")]
    first, last = period or (dt.date.min, dt.date.max)
    return sendable.changed(connection, unit.code, max(unit.since or first, first), after, below, last)


def drafted(
    batch: Sequence[sendable.Sendable], tables: dict[str, Table], key: bytes
) -> tuple[list[Planned], list[Planned]]:
    """Dossiers and steps of a batch as they should stand at the portal."""
    dossiers, steps = [], []
    for each in batch:
        draft, lacking = tables["dossier"].draft(each.row)
        lacking += _lacking_identity(each.row)
        dossiers.append(Planned(each.key, None, draft, hashed(draft, key), tuple(lacking), each.row))
        for step in each.steps:
            draft, lacking = tables["progress"].draft(step)
            steps.append(Planned(each.key, step["step_no"], draft, hashed(draft, key), tuple(lacking), step))
    return dossiers, steps


def _lacking_identity(row: Mapping[str, Any]) -> list[str]:
    # A citizen's number is never made up: the clerk types it, or the dossier stays here.
    return ["DinhDanhCHS"] if row["applicant_type"] == 1 and not row["citizen_id_number"] else []


def dry_run(
    connection: psycopg.Connection,
    writers: Writers,
    key: bytes,
    mapping: dict[str, Table] | None = None,
    period: Period | None = None,
) -> Iterator[dict[str, Any]]:
    """What a run would send, one record each, without any personal data; nothing is written and nobody is called."""
    tables = mapping or read_mapping()
    for unit in writers.ours:
        for batch in _of_unit(connection, writers, unit, -1, period):
            dossiers, steps = drafted(batch, tables, key)
            known = _known(connection, [p.key for p in dossiers])
            for p in dossiers:
                state, accepted, base = known.get(p.key, ("", None, None))
                if p.lacking:
                    yield _shown(p, unit, "held", tables["dossier"], p.lacking)
                elif state == "conflict":
                    yield _shown(p, unit, "conflict", tables["dossier"])
                elif state == "waiting" or accepted != p.draft_hash:
                    yield _shown(p, unit, "update" if base else "insert", tables["dossier"])
            sent = _known_steps(connection, [p.key for p in dossiers])
            for p in steps:
                if p.step_no is not None and sent.get((p.key, p.step_no)) is None:
                    yield _shown(p, unit, "held" if p.lacking else "progress", tables["progress"], p.lacking)
    connection.rollback()


def _shown(p: Planned, unit: Unit, action: str, table: Table, lacking: Sequence[str] = ()) -> dict[str, Any]:
    fields = {k: ("<personal>" if k in table.personal and v else v) for k, v in p.draft.items()}
    return {"unit": unit.code, "action": action, "lacking": list(lacking), "item": fields}


def _known(
    connection: psycopg.Connection, keys: Sequence[str]
) -> dict[str, tuple[str, str | None, str | None]]:
    if connection.execute("select to_regclass('national.dossier')").fetchone() == (None,):
        return {}
    return {
        r[0]: r[1:]
        for r in connection.execute(
            "select dossier_key, state, accepted_draft_hash, base_hash from national.dossier "
            "where dossier_key = any(%s)",
            (list(keys),),
        ).fetchall()
    }


def _known_steps(connection: psycopg.Connection, keys: Sequence[str]) -> dict[tuple[str, int], str]:
    if connection.execute("select to_regclass('national.progress')").fetchone() == (None,):
        return {}
    return {
        (r[0], r[1]): r[2]
        for r in connection.execute(
            "select dossier_key, step_no, accepted_draft_hash from national.progress where dossier_key = any(%s)",
            (list(keys),),
        ).fetchall()
    }


# --- sending ---------------------------------------------------------------------------------------------------


def push(
    connect: Callable[[], psycopg.Connection],
    exchange: Exchange,
    opener: Opener,
    writers: Writers,
    key: bytes,
    policy: Policy | None = None,
    mapping: dict[str, Table] | None = None,
    until_settled: bool = True,
    period: Period | None = None,
    urgent_only: bool = False,
) -> Report:
    """Send what is waiting, units side by side; a report of counts.

    With a `period` only dossiers received then; `urgent_only`: of urgent status, and what was tried before.

    One unit's trouble stops no other; the budget's end and the stop switch stop all. NotForThere before any call.
    """
    report, policy = Report(), policy or Policy()
    first, last = period or (dt.date.min, dt.date.max)
    scope = outbox.Scope(policy.urgent, urgent_only, first, last)
    with connect() as connection:
        _belongs_there(connection, exchange)
        outbox.check_switch(connection)
    with ExitStack() as pools:
        # Writing and looking up apart: what one unit must look up keeps no other from sending.
        sending = pools.enter_context(ThreadPoolExecutor(max(1, policy.workers), "national-send"))
        looking = pools.enter_context(ThreadPoolExecutor(exchange.at_once, "national-look"))
        pool = pools.enter_context(ThreadPoolExecutor(max(1, policy.workers), "national"))
        workers = [
            Worker(
                u, connect, exchange, opener, key, policy, mapping or read_mapping(), report, until_settled,
                scope, sending, looking,
            )
            for u in writers.ours
        ]  # fmt: skip
        for worker, done in [(w, pool.submit(w.run)) for w in workers]:
            try:
                done.result()
            except (SourceError, outbox.Stopped, psycopg.Error) as e:
                said = f"{worker.unit.code}: {type(e).__name__}: {e}"
                if said.partition(": ")[2] not in {t.partition(": ")[2] for t in report.troubles}:
                    report.troubles.append(said)
    with connect() as connection:
        report.left = outbox.counts(connection)
    report.calls = dict(exchange.budget.calls)
    report.faults = {f"{service}: {kind}": n for (service, kind), n in sorted(exchange.met.items())}
    return report


def _belongs_there(connection: psycopg.Connection, exchange: Exchange) -> None:
    rows = connection.execute("select distinct origin from national.dossier").fetchall()
    origins = {r[0] for r in rows}
    wanted = {"simulated"} if exchange.is_sandbox() else {"real"}
    if origins - wanted:
        where = "is the sandbox" if wanted == {"simulated"} else "is not the sandbox"
        raise NotForThere(
            f"the outbox holds {', '.join(sorted(origins - wanted))} dossiers, and the address of the Airflow "
            f"connection national_exchange {where}: simulated ones go to the sandbox alone, and real ones never there. "
            "Nothing was sent. Correct the connection, or `origin` in ops/sources.yml."
        )


class Worker:
    """Sends one unit's dossiers, then their progress."""

    def __init__(
        self, unit: Unit, connect: Callable[[], psycopg.Connection], exchange: Exchange, opener: Opener, key: bytes,
        policy: Policy, tables: dict[str, Table], report: Report, until_settled: bool,
        scope: outbox.Scope, sending: Executor, looking: Executor,
    ) -> None:  # fmt: skip
        self.unit = unit
        self.exchange = exchange
        self.report = report
        self._connect, self._opener, self._key = connect, opener, key
        self._policy, self._tables, self._until_settled = policy, tables, until_settled
        self._scope, self._sending, self._looking = scope, sending, looking
        self._accounts: dict[str, str | None] = {}
        #: Look-ups that failed in a row, and of each code.
        self._failed = 0
        self._put_off: Counter[str] = Counter()

    def run(self) -> None:
        """Send until nothing is waiting that may be sent now."""
        with self._connect() as connection, outbox.worker(connection, self.unit.code) as alone:
            if not alone:
                self.report.count("units another process sends")
                return
            looked_again = self._scope.urgent_only
            while True:
                resolved = self._resolve_all(connection)
                sent = self._send(connection, "dossier") + self._send(connection, "progress")
                if sent or resolved or (self._until_settled and self._wait(connection)):
                    continue
                if looked_again or not self._look_at_conflicts(connection):
                    return
                looked_again = True

    def _wait(self, connection: psycopg.Connection) -> bool:
        """Wait for what is uncertain to settle, or for a next try, if that is soon; False if nothing is to come."""
        seconds = outbox.seconds_to_next(connection, self.unit.code, self._policy.settle, self._scope)
        if seconds is None or seconds > max(self._policy.settle, self._policy.pause):
            return False
        time.sleep(max(0.01, seconds))
        return True

    # --- what is uncertain ---------------------------------------------------------------------------

    def _resolve_all(self, connection: psycopg.Connection) -> int:
        before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self._policy.settle)
        rows = 0
        for table in ("dossier", "progress"):
            found = outbox.unresolved(connection, table, self.unit.code, before)
            self._resolve(connection, table, found)
            rows += len(found)
        return rows

    def _resolve(
        self, connection: psycopg.Connection, table: str, rows: Sequence[Waiting], alone: bool = False
    ) -> None:
        """Decide by what the portal holds what came of calls; each row leaves `sending`."""
        by_code: dict[str, list[Waiting]] = {}
        for row in rows:
            by_code.setdefault(row["code"], []).append(row)
        for same, found in self._looked_up([*by_code.values()], [*by_code]):
            outbox.check_switch(connection)
            if isinstance(found, Failed):
                outbox.lost(connection, table, [_key(row) for row in same])
                continue
            # As they are now: with what was noted before the call.
            listed = [outbox.again(connection, table, row) for row in same]
            if table == "progress":
                self._resolve_progress(connection, listed, found, alone)
            else:
                for row in listed:
                    self._resolve_dossier(connection, row, found, alone)

    def _looked_up(self, given: Sequence[T], codes: Sequence[str]) -> Iterator[tuple[T, Found | Failed]]:
        """Each of `given` with what the portal holds under its code; several are looked up at once.

        A look-up that fails puts off its own record alone; SourceUnavailable where several in a row do.
        """

        def look_up(code: str) -> Found | Failed:
            try:
                return self.exchange.look_up(code)
            except SourceUnavailable as e:
                return Failed(e)

        for one, code, found in zip(given, codes, self._looking.map(look_up, codes), strict=True):
            self._failed = self._failed + 1 if isinstance(found, Failed) else 0
            if isinstance(found, Failed):
                self.report.count("look-ups put off")
                self._put_off[code] += 1
                if self._policy.failing in (self._failed, self._put_off[code]):
                    raise found.error
            yield one, found

    def _resolve_dossier(
        self, connection: psycopg.Connection, row: Waiting, found: Found, alone: bool = False
    ) -> None:
        """Decide by what the portal holds what came of a call; the row leaves `sending`."""
        table = self._tables["dossier"]
        if found is None and row["base_hash"] is not None:
            self._gone(connection, row)
        elif found is None:
            self.report.count("lost before it was applied")
            outbox.settle(connection, "dossier", row, "waiting", alone=alone)
        else:
            masked = table.masked(found[0], self._key)
            there = hashed(masked, self._key)
            if there == row["sending_hash"]:
                self.report.count("answer lost, applied")
                outbox.accept_dossiers(connection, [row["dossier_key"]])
            elif row["base_hash"] in (there, "*"):
                self.report.count("lost before it was applied")
                outbox.settle(connection, "dossier", row, "waiting", alone=alone)
            elif row["base_hash"] is None and self.unit.adopt:
                # Somebody sent it before the unit was ours; the decision says that it may be replaced.
                self.report.count("adopted")
                outbox.settle(connection, "dossier", row, "waiting", base=there, alone=alone)
            else:
                self._conflict(connection, row, masked)
        connection.commit()

    def _conflict(self, connection: psycopg.Connection, row: Waiting, masked: Item) -> None:
        fields = self._tables["dossier"].differing(row["accepted"] or row["sending"] or {}, masked)
        self.report.count("conflict")
        outbox.settle(connection, "dossier", row, "conflict", reasons=fields, wait=self._policy.recheck)

    def _look_at_conflicts(self, connection: psycopg.Connection) -> int:
        """See whether what somebody else wrote still stands there; how many may be sent again, for it does not."""
        policy, ended = self._policy, 0
        rows = outbox.conflicts(connection, self.unit.code, policy.conflicts)
        for row, found in self._looked_up(rows, [row["code"] for row in rows]):
            if isinstance(found, Failed):
                outbox.settle(
                    connection, "dossier", row, "conflict", reasons=row["reasons"], wait=policy.pause
                )
                continue
            masked = self._tables["dossier"].masked(found[0], self._key) if found else {}
            if found is None:
                self._gone(connection, row)
            elif row["base_hash"] == hashed(masked, self._key):
                self.report.count("taken back there")
                outbox.settle(connection, "dossier", row, "waiting")
            else:
                known = row["accepted"]
                fields = self._tables["dossier"].differing(known, masked) if known else row["reasons"]
                outbox.settle(connection, "dossier", row, "conflict", reasons=fields, wait=policy.recheck)
                continue
            ended += 1
        connection.commit()
        return ended

    def _gone(self, connection: psycopg.Connection, row: Waiting) -> None:
        """The portal lost what it held: it is inserted anew, and its progress after it."""
        self.report.count("gone there")
        outbox.settle(connection, "dossier", row, "waiting", base="")
        outbox.send_progress_anew(connection, [row["dossier_key"]])

    def _resolve_progress(
        self, connection: psycopg.Connection, steps: Sequence[Waiting], found: Found, alone: bool = False
    ) -> None:
        table = self._tables["progress"]
        listed = found[1] if found else []
        there = [hashed(table.masked(i, self._key), self._key) for i in listed or ()]
        for step in steps:
            if hashed(step["sending"]["item"], self._key) in there:
                self.report.count("answer lost, applied")
                outbox.accept_progress(connection, [(step["dossier_key"], step["step_no"])])
            elif listed is None:
                # The portal tells no progress [guess: it does], so only its operator can say; sent twice it never is.
                self.report.count("progress uncertain")
                outbox.settle(connection, "progress", step, "refused", words="không rõ cổng đã nhận hay chưa")
            else:
                self.report.count("lost before it was applied")
                outbox.settle(connection, "progress", step, "waiting", alone=alone or step["alone"])
        connection.commit()

    # --- sending ---------------------------------------------------------------------------------------

    def _send(self, connection: psycopg.Connection, table: str) -> int:
        """Send what waits of a table and may go now; how many rows were sent.

        While one call is under way the next is made ready and noted, and what came of the one before is put down.
        Whatever ends it: a call that was noted and not made leaves its rows waiting.
        """
        sent = 0
        under_way: Call | None = None
        noted: Call | None = None
        try:
            for call in self._calls(connection, table):
                noted = self._noted(connection, call)
                if not noted.ready:
                    continue
                before, answer = under_way, under_way.outcome() if under_way else None
                under_way, noted = self._begun(noted), None
                sent += len(under_way.ready)
                if before:
                    self._take(connection, before, answer)
            if under_way:
                before, answer, under_way = under_way, under_way.outcome(), None
                self._take(connection, before, answer)
                connection.commit()
        except Exception:
            connection.rollback()
            if noted:
                outbox.not_sent(connection, table, noted.keys)
            if under_way:
                try:
                    self._take(connection, under_way, under_way.outcome())
                    connection.commit()
                except SourceError:
                    # Raised before the call itself was made: nothing of it has reached the portal.
                    outbox.not_sent(connection, table, under_way.keys)
            raise
        return sent

    def _calls(self, connection: psycopg.Connection, table: str) -> Iterator[Call]:
        """Calls ready to be made, until nothing waits that may go now."""
        policy = self._policy
        size = policy.dossiers if table == "dossier" else policy.progress
        listed = outbox.waiting_dossiers if table == "dossier" else outbox.waiting_progress
        while keys := listed(connection, self.unit.code, self._scope):
            for at in range(0, len(keys), size * policy.ahead):
                outbox.check_switch(connection)
                rows = outbox.these(connection, table, keys[at : at + size * policy.ahead])
                for updating, ready in _alike(self._clear(connection, table, rows), size):
                    kept = self._still_ours(connection, ready) if updating else ready
                    if kept:
                        yield Call(table, updating, kept)

    def _clear(self, connection: psycopg.Connection, table: str, rows: Sequence[Waiting]) -> list[Ready]:
        """Rows with their clear items, as far as the vault opens them; the others are held."""
        opened = self._opened(rows)
        if table == "dossier":
            self._ask_accounts(rows, opened)
        ready: list[Ready] = []
        for row, got in zip(rows, opened, strict=True):
            if got.why:
                self.report.count("held by the vault")
                outbox.settle(connection, table, row, "held", reasons=[got.why])
                continue
            draft = row["draft"] | {"MaHoSo": row["code"]}
            item = self._tables[table].filled(draft, got.values, self._accounts)
            ready.append((row, item, [*got.values.values()]))
        connection.commit()
        return ready

    def _opened(self, rows: Sequence[Waiting]) -> list[Opened]:
        """What the vault gives for each row: one reading of a dossier, also where several of its steps are sent."""
        together: dict[tuple[str, str], set[str]] = {}
        for row in rows:
            together.setdefault((row["source_code"], row["dossier_id"]), set()).update(handles(row["draft"]))
        given = self._opener([(source, number, sorted(own)) for (source, number), own in together.items()])
        got = dict(zip(together, given, strict=True))
        keys = [(row["source_code"], row["dossier_id"]) for row in rows]
        found, often = [got[key] for key in keys], Counter(keys)
        # Of several steps one may hold what the vault does not give: it keeps back no other.
        apart = [at for at, key in enumerate(keys) if found[at].why and often[key] > 1]
        if apart:
            asked = [(*keys[at], sorted({*handles(rows[at]["draft"])})) for at in apart]
            for at, one in zip(apart, self._opener(asked), strict=True):
                found[at] = one
        return found

    def _ask_accounts(self, rows: Sequence[Waiting], opened: Sequence[Opened]) -> None:
        """Ask for the portal's id of the account of whoever filed online, each once a run."""
        fields = [f.name for f in self._tables["dossier"].fields if f.form == "account"]
        asked = {
            handle: got.values[handle]
            for row, got in zip(rows, opened, strict=True)
            if not got.why
            for name in fields
            for handle in handles(row["draft"].get(name))
            if handle not in self._accounts
        }
        found = self._looking.map(self.exchange.account, asked.values())
        self._accounts.update(zip(asked, found, strict=True))

    def _still_ours(self, connection: psycopg.Connection, ready: Sequence[Ready]) -> list[Ready]:
        """Those of which the portal still holds what may be replaced."""
        kept = []
        table = self._tables["dossier"]
        for one, found in self._looked_up(ready, [row["code"] for row, *_ in ready]):
            row, item, _ = one
            if isinstance(found, Failed):
                outbox.settle(
                    connection, "dossier", row, "waiting", alone=row["alone"], wait=self._policy.pause
                )
                continue
            if found is None:
                self._gone(connection, row)
                continue
            masked = table.masked(found[0], self._key)
            there, ours = hashed(masked, self._key), table.masked(item, self._key)
            if there == hashed(ours, self._key):
                # Already so, by whomever: nothing to send.
                self.report.count("as it should be")
                outbox.begin(connection, "dossier", [(row, ours, there)])
                outbox.accept_dossiers(connection, [row["dossier_key"]])
            elif row["base_hash"] in (there, "*"):
                kept.append(one)
            else:
                self._conflict(connection, row, masked)
        connection.commit()
        return kept

    # --- one call and what comes of it -----------------------------------------------------------------

    def _noted(self, connection: psycopg.Connection, call: Call) -> Call:
        """The call with those rows of which it is noted what will be sent."""
        masked = [self._tables[call.table].masked(item, self._key) for _, item, _ in call.ready]
        noted = outbox.begin(
            connection,
            call.table,
            [(row, m, hashed(m, self._key)) for (row, *_), m in zip(call.ready, masked, strict=True)],
        )
        return replace(call, ready=[one for one in call.ready if _key(one[0]) in noted])

    def _begun(self, call: Call) -> Call:
        items = [item for _, item, _ in call.ready]
        if call.table == "dossier":
            answer = self._sending.submit(self.exchange.send_dossiers, items, call.updating)
        else:
            answer = self._sending.submit(self.exchange.send_progress, items)
        return replace(call, answer=answer)

    def _take(self, connection: psycopg.Connection, call: Call, answer: Answer | None) -> None:
        """Put down what came of a call; None where its answer was lost."""
        if answer is None:
            self.report.count("answer lost")
            outbox.lost(connection, call.table, call.keys)
            return  # they stay `sending`; what the portal holds will tell
        often = Counter(item["MaHoSo"] for _, item, _ in call.ready)
        good: list[Waiting] = []
        bad: list[tuple[Waiting, str, list[str]]] = []
        unclear: list[Waiting] = []
        for row, item, values in call.ready:
            words = answer.refused.get(item["MaHoSo"])
            if words is None and (answer.ok or answer.told):
                good.append(row)
            elif words is None or often[item["MaHoSo"]] > 1:
                # Nothing says which of the call, or of several steps of one dossier, was refused.
                unclear.append(row)
            else:
                bad.append((row, words, values))
        self._accept(connection, call.table, good)
        if not (bad or unclear):
            return  # committed with what the next call notes, or by whatever comes next
        connection.commit()
        self.report.count("refused without saying which", len(unclear))
        exist = [row for row, words, _ in bad if call.table == "dossier" and GUESSED["exists"].search(words)]
        self.report.count("stood there already", len(exist))
        self._resolve(connection, call.table, exist)
        self._resolve(connection, call.table, unclear, alone=True)
        for row, words, values in bad:
            if row not in exist:
                self._refused(connection, call.table, row, words, values)
        connection.commit()

    def _accept(self, connection: psycopg.Connection, table: str, rows: Sequence[Waiting]) -> None:
        if not rows:
            return
        self.report.count(f"{table} accepted", len(rows))
        if table == "dossier":
            outbox.accept_dossiers(connection, [r["dossier_key"] for r in rows])
        else:
            outbox.accept_progress(connection, [_key(r) for r in rows])

    def _refused(
        self, connection: psycopg.Connection, table: str, row: Waiting, words: str, values: Sequence[str]
    ) -> None:
        said = scrubbed(re.sub(r"\s+", " ", words), values)
        tried = row["attempts"] + 1
        if table == "dossier" and row["base_hash"] is not None and GUESSED["unknown"].search(words):
            self._gone(connection, row)
        elif GUESSED["busy"].search(words) and tried < self._policy.tries:
            self.report.count("busy there")
            wait = self._policy.pause * 2 ** min(tried - 1, 6)
            outbox.settle(connection, table, row, "waiting", words=said, wait=wait)
        else:
            self.report.count(f"{table} refused")
            outbox.settle(connection, table, row, "refused", words=said)


def _key(row: Waiting) -> outbox.Key:
    return row["dossier_key"], row.get("step_no")


def _alike(ready: Sequence[Ready], size: int) -> Iterator[tuple[bool, list[Ready]]]:
    """(whether it updates, rows) of calls of at most `size`; what must go alone goes alone."""
    kind = lambda one: (one[0].get("base_hash") is not None, one[0]["alone"])  # noqa: E731
    for (updating, alone), same in itertools.groupby(ready, kind):
        listed = list(same)
        step = 1 if alone else size
        for at in range(0, len(listed), step):
            yield updating, listed[at : at + step]
