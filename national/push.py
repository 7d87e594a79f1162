"""Sending: plan what should stand at the portal, resolve what is uncertain, send what is waiting; one worker a unit.

Rules that hold whatever happens: what a call does is noted before it is made; a call whose answer was lost is resolved
by looking up, never repeated; a dossier that somebody else changed is not overwritten; progress follows its dossier;
one refusal sets one record aside.
"""

from __future__ import annotations

import datetime as dt
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg

from connectors.base import SourceError
from national import outbox, sendable
from national.exchange import GUESSED, Exchange, Item, Uncertain
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
    #: Units side by side: more than calls may be made at once, so that one prepares while another is answered.
    workers: int = 8
    #: Seconds after a call whose answer was lost before what it did is looked up: it may still be on its way.
    settle: float = 60.0
    #: Tries of what the portal says it is too busy for, and seconds before the first of them.
    tries: int = 8
    pause: float = 30.0
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
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, what: str, number: int = 1) -> None:
        """Add to what was done; called by several workers."""
        with self._lock:
            self.done[what] += number


def plan(
    connection: psycopg.Connection, writers: Writers, key: bytes, mapping: dict[str, Table] | None = None
) -> Counter[str]:
    """Take what changed in the warehouse since the last plan over into the outbox; counts by what came of it.

    The plan of a unit is one transaction: killed, it is made again.
    """
    tables = mapping or read_mapping()
    counted: Counter[str] = Counter()
    for unit in writers.ours:
        since = unit.since or dt.date.min
        after = outbox.watermark(connection, unit.code, since, tables["dossier"].version)
        newest = after
        below = [u for u in writers.units if u.startswith(f"{unit.code}.")]
        for batch in sendable.changed(connection, unit.code, since, after, below):
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
        outbox.mark_planned(connection, unit.code, since, newest, tables["dossier"].version)
        connection.commit()
    return counted


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
    connection: psycopg.Connection, writers: Writers, key: bytes, mapping: dict[str, Table] | None = None
) -> Iterator[dict[str, Any]]:
    """What a run would send, one record each, without any personal data; nothing is written and nobody is called."""
    tables = mapping or read_mapping()
    for unit in writers.ours:
        below = [u for u in writers.units if u.startswith(f"{unit.code}.")]
        for batch in sendable.changed(connection, unit.code, unit.since or dt.date.min, -1, below):
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
) -> Report:
    """Send what is waiting, units side by side; a report of counts.

    One unit's trouble stops no other; the budget's end and the stop switch stop all. NotForThere before any call.
    """
    report, policy = Report(), policy or Policy()
    with connect() as connection:
        _belongs_there(connection, exchange)
        outbox.check_switch(connection)
    workers = [
        Worker(u, connect, exchange, opener, key, policy, mapping or read_mapping(), report, until_settled)
        for u in writers.ours
    ]
    with ThreadPoolExecutor(max(1, policy.workers), thread_name_prefix="national") as pool:
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
    ) -> None:  # fmt: skip
        self.unit = unit
        self.exchange = exchange
        self.report = report
        self._connect, self._opener, self._key = connect, opener, key
        self._policy, self._tables, self._until_settled = policy, tables, until_settled
        self._accounts: dict[str, str | None] = {}

    def run(self) -> None:
        """Send until nothing is waiting that may be sent now."""
        with self._connect() as connection, outbox.worker(connection, self.unit.code) as alone:
            if not alone:
                self.report.count("units another process sends")
                return
            while True:
                resolved = self._resolve_all(connection)
                sent = self._send_dossiers(connection) + self._send_progress(connection)
                if not (sent or resolved or (self._until_settled and self._wait(connection))):
                    return

    def _wait(self, connection: psycopg.Connection) -> bool:
        """Wait for what is uncertain to settle, or for a next try, if that is soon; False if nothing is to come."""
        seconds = outbox.seconds_to_next(connection, self.unit.code, self._policy.settle)
        if seconds is None or seconds > max(self._policy.settle, self._policy.pause):
            return False
        time.sleep(max(0.01, seconds))
        return True

    # --- what is uncertain ---------------------------------------------------------------------------

    def _resolve_all(self, connection: psycopg.Connection) -> int:
        before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self._policy.settle)
        rows = outbox.unresolved(connection, "dossier", self.unit.code, before)
        for row in rows:
            self._resolve_dossier(connection, row)
        steps = outbox.unresolved(connection, "progress", self.unit.code, before)
        by_code: dict[str, list[Waiting]] = {}
        for step in steps:
            by_code.setdefault(step["code"], []).append(step)
        for code, listed in by_code.items():
            self._resolve_progress(connection, code, listed)
        return len(rows) + len(steps)

    def _resolve_dossier(self, connection: psycopg.Connection, row: Waiting, alone: bool = False) -> None:
        """Decide by what the portal holds what came of a call; the row leaves `sending`."""
        outbox.check_switch(connection)
        found = self.exchange.look_up(row["national_code"])
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
        outbox.settle(connection, "dossier", row, "conflict", reasons=fields)

    def _gone(self, connection: psycopg.Connection, row: Waiting) -> None:
        """The portal lost what it held: it is inserted anew, and its progress after it."""
        self.report.count("gone there")
        outbox.settle(connection, "dossier", row, "waiting", base="")
        outbox.send_progress_anew(connection, row["dossier_key"])

    def _resolve_progress(
        self, connection: psycopg.Connection, code: str, steps: Sequence[Waiting], alone: bool = False
    ) -> None:
        outbox.check_switch(connection)
        found = self.exchange.look_up(code)
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

    # --- dossiers --------------------------------------------------------------------------------------

    def _send_dossiers(self, connection: psycopg.Connection) -> int:
        sent = 0
        size, urgent = self._policy.dossiers, self._policy.urgent
        while rows := outbox.next_dossiers(connection, self.unit.code, size, urgent):
            outbox.check_switch(connection)
            sent += len(rows)
            updating = rows[0]["base_hash"] is not None
            ready = self._clear(connection, "dossier", rows)
            if updating:
                ready = self._still_ours(connection, ready)
            if ready:
                self._call(connection, "dossier", ready, updating)
        return sent

    def _still_ours(self, connection: psycopg.Connection, ready: Sequence[Ready]) -> list[Ready]:
        """Those of which the portal still holds what may be replaced."""
        kept = []
        for row, item, values in ready:
            found = self.exchange.look_up(row["national_code"])
            if found is None:
                self._gone(connection, row)
                continue
            masked = self._tables["dossier"].masked(found[0], self._key)
            there, ours = hashed(masked, self._key), self._tables["dossier"].masked(item, self._key)
            if there == hashed(ours, self._key):
                # Already so, by whomever: nothing to send.
                self.report.count("as it should be")
                outbox.begin(connection, "dossier", [(row, ours, there)])
                outbox.accept_dossiers(connection, [row["dossier_key"]])
            elif row["base_hash"] in (there, "*"):
                kept.append((row, item, values))
            else:
                self._conflict(connection, row, masked)
        connection.commit()
        return kept

    def _clear(self, connection: psycopg.Connection, table: str, rows: Sequence[Waiting]) -> list[Ready]:
        """Rows with their clear items, as far as the vault opens them; the others are held."""
        opened = self._opener(
            [(r["source_code"], r["dossier_id"], sorted({*handles(r["draft"])})) for r in rows]
        )
        ready: list[Ready] = []
        for row, got in zip(rows, opened, strict=True):
            if got.why:
                self.report.count("held by the vault")
                outbox.settle(connection, table, row, "held", reasons=[got.why])
                continue
            draft = row["draft"] | {"MaHoSo": row["code"]}
            accounts = self._accounts_of(draft, got.values)
            item = self._tables[table].filled(draft, got.values, accounts)
            ready.append((row, item, [*got.values.values()]))
        connection.commit()
        return ready

    def _accounts_of(self, draft: Item, values: Mapping[str, str]) -> dict[str, str | None]:
        """The portal's id of the account of whoever filed online."""
        found: dict[str, str | None] = {}
        for f in self._tables["dossier"].fields:
            for handle in handles(draft.get(f.name)) if f.form == "account" else ():
                if handle not in self._accounts:
                    self._accounts[handle] = self.exchange.account(values[handle])
                found[handle] = self._accounts[handle]
        return found

    # --- progress --------------------------------------------------------------------------------------

    def _send_progress(self, connection: psycopg.Connection) -> int:
        sent = 0
        while rows := outbox.next_progress(connection, self.unit.code, self._policy.progress):
            outbox.check_switch(connection)
            sent += len(rows)
            if ready := self._clear(connection, "progress", rows):
                self._call(connection, "progress", ready)
        return sent

    # --- one call and what comes of it -----------------------------------------------------------------

    def _call(
        self, connection: psycopg.Connection, table: str, ready: Sequence[Ready], updating: bool = False
    ) -> None:
        masked = [self._tables[table].masked(item, self._key) for _, item, _ in ready]
        rows = [row for row, _, _ in ready]
        items = [item for _, item, _ in ready]
        outbox.begin(
            connection, table, [(r, m, hashed(m, self._key)) for r, m in zip(rows, masked, strict=True)]
        )
        try:
            if table == "dossier":
                answer = self.exchange.send_dossiers(items, updating)
            else:
                answer = self.exchange.send_progress(items)
        except Uncertain:
            self.report.count("answer lost")
            return  # they stay `sending`; what the portal holds will tell
        except SourceError:
            # Raised before the call itself was made: nothing of it has reached the portal.
            for row in rows:
                outbox.settle(connection, table, row, "waiting", alone=row["alone"])
            connection.commit()
            raise
        often = Counter(item["MaHoSo"] for item in items)
        good: list[Waiting] = []
        bad: list[tuple[Waiting, str | None, list[str]]] = []
        for row, item, values in ready:
            code = item["MaHoSo"]
            if code in answer.refused:
                # Of several steps of one dossier the code does not tell which was refused.
                bad.append((row, answer.refused[code] if often[code] == 1 else None, values))
            elif answer.ok or answer.told:
                good.append(row)
            else:
                bad.append((row, None, values))
        self._accept(connection, table, good)
        connection.commit()
        for row, words, values in bad:
            self._refused(connection, table, row, words, values)
            connection.commit()

    def _accept(self, connection: psycopg.Connection, table: str, rows: Sequence[Waiting]) -> None:
        self.report.count(f"{table} accepted", len(rows))
        if table == "dossier":
            outbox.accept_dossiers(connection, [r["dossier_key"] for r in rows])
        else:
            outbox.accept_progress(connection, [(r["dossier_key"], r["step_no"]) for r in rows])

    def _refused(
        self,
        connection: psycopg.Connection,
        table: str,
        row: Waiting,
        words: str | None,
        values: Sequence[str],
    ) -> None:
        """`words` None: some of the call were refused, and the portal did not say which."""
        row = outbox.again(connection, table, row)
        said = scrubbed(re.sub(r"\s+", " ", words or ""), values)
        if words is None:
            self.report.count("refused without saying which")
            if table == "dossier":
                self._resolve_dossier(connection, row, alone=True)
            else:
                self._resolve_progress(connection, row["code"], [row], alone=True)
        elif table == "dossier" and GUESSED["exists"].search(words):
            self.report.count("stood there already")
            self._resolve_dossier(connection, row)
        elif table == "dossier" and row["base_hash"] is not None and GUESSED["unknown"].search(words):
            self._gone(connection, row)
        elif GUESSED["busy"].search(words) and row["attempts"] < self._policy.tries:
            self.report.count("busy there")
            wait = self._policy.pause * 2 ** min(row["attempts"] - 1, 6)
            outbox.settle(connection, table, row, "waiting", words=said, wait=wait)
        else:
            self.report.count(f"{table} refused")
            outbox.settle(connection, table, row, "refused", words=said)
