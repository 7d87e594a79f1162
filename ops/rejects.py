"""Rejected records: what there is, which repair rules cover it, and their replay.

Reasons stand beside the landed batches, payloads in the vault's quarantine. A replay reads, under one rule of
``ops/repairs.yml`` and recorded by the vault, the payloads that rule covers; the connector reads them as it read them
first; the rule mends the one field; and what then keeps its contract lands as a batch of its own, with the `pulled_at`
of the batch it was rejected from, so that nothing the source has sent since is overwritten. Nothing here tells a value.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Chunk, Connector, Interval
from connectors.contract import contract
from landing.manifest import Manifest
from ops import tasks
from ops.outcomes import recorded
from ops.settings import Settings, SettingsError
from ops.sources import Source, read_sources
from vault.client import RejectKey, VaultClient
from vault.purposes import QuotaSpent
from vault.repairs import MOST_AT_ONCE, Rule, read_rules


@dataclass(frozen=True)
class Reject:
    """One rejected record of a landed batch. `replayed_by`: the batch that brought it; `held`: the vault has it."""

    source: str
    batch: str
    pulled_at: dt.datetime
    table: str
    key: str
    field: str
    reason: str
    held: bool
    replayed_by: str | None

    @property
    def quarantined(self) -> RejectKey:
        """Under what the vault knows it."""
        return self.batch, self.table, self.key, self.field

    @property
    def is_open(self) -> bool:
        """Whether it can still be replayed."""
        return self.held and self.replayed_by is None


@dataclass(frozen=True)
class Replay:
    """What replaying the rejects of one table of one batch came to; `landed` is None in a dry run or without any."""

    source: str
    replay_of: str
    table: str
    rules: tuple[str, ...]
    read: int
    repaired: int
    still: dict[str, int]
    landed: str | None = None
    loaded: dict[str, int] = dataclasses.field(default_factory=dict)
    #: Why not all were read that the rules cover: a rule's quota of the day.
    spent: str = ""


def all_rejects(settings: Settings, vault: VaultClient) -> list[Reject]:
    """Every reject of every landed batch, by time of its pull."""
    kept: dict[RejectKey, str | None] = {
        (r["batch_id"], r["table_name"], r["key"], r["field"]): r["replay_batch"] for r in vault.rejects()
    }
    found = []
    for path in settings.landing.glob("*/[!.]*/manifest.json"):
        manifest = Manifest.read(path.parent)
        moment = dt.datetime.fromisoformat(manifest.pulled_at)
        for row in manifest.rejects(path.parent):
            place = (manifest.batch_id, row["table"], row["key"], row["field"])
            found.append(
                Reject(
                    manifest.source_code, manifest.batch_id, moment, row["table"], row["key"], row["field"],
                    row["reason"], place in kept, kept.get(place),
                )
            )  # fmt: skip
    return sorted(found, key=lambda r: (r.pulled_at, r.batch, r.table, r.field, r.reason, r.key))


def checked_rules(settings: Settings) -> dict[str, Rule]:
    """The repair rules, compared with the list of sources and the contracts; SettingsError lists what does not fit."""
    rules = read_rules(settings.repairs_file)
    sources = read_sources(settings.sources_file)
    wrong = []
    for rule in rules.values():
        if rule.source not in sources:
            wrong.append(f"{rule.name}: there is no source {rule.source}")
            continue
        connector = sources[rule.source].connector_class()
        if rule.table not in connector.tables:
            wrong.append(f"{rule.name}: {rule.source} has no table {rule.table}")
            continue
        if rule.table not in connector.replayable:
            wrong.append(
                f"{rule.name}: rejects of {rule.table} of {rule.source} are not replayed; mend the source or the "
                "contract and pull the interval again"
            )
            continue
        columns = {c.name: c for c in contract(rule.table).columns}
        named = [rule.field] + [rule.argument] * (rule.repair == "take")
        wrong += [f"{rule.name}: {rule.table} has no column {n}" for n in named if n not in columns]
        if rule.field in contract(rule.table).key:
            wrong.append(
                f"{rule.name}: {rule.field} is of the key; with another key it would be another record"
            )
        if rule.repair == "set" and rule.field in columns and columns[rule.field].required:
            wrong.append(f"{rule.name}: {rule.table}.{rule.field} may not be empty")
    if wrong:
        raise SettingsError(f"{settings.repairs_file}: {'; '.join(wrong)}")
    return rules


def covering(rules: Iterable[Rule], reject: Reject) -> Rule | None:
    """The first rule that covers a reject."""
    return next(
        (r for r in rules if r.covers(reject.source, reject.table, reject.field, reject.reason)), None
    )


# --- listing ----------------------------------------------------------------------------------------


def listing(rejects: Iterable[Reject], rules: dict[str, Rule], now: dt.datetime) -> list[str]:
    """Lines of counts by source, table, field, reason and batch: open, replayed, age, covering rule."""
    counts: dict[tuple[Any, ...], Counter[str]] = {}
    for r in rejects:
        rule = covering(rules.values(), r)
        place = (
            r.source, r.table, r.field or "(record)", r.reason, r.batch, f"{(now - r.pulled_at).days} d",
            rule.name if rule else "-",
        )  # fmt: skip
        state = "open" if r.is_open else "replayed" if r.held else "not held"
        counts.setdefault(place, Counter())[state] += 1
    states = ("open", "replayed", "not held")
    rows = [[*place, *(str(n[s]) for s in states)] for place, n in counts.items()]
    return _aligned([["source", "table", "field", "reason", "batch", "age", "rule", *states], *rows])


def showing(rejects: Iterable[Reject], rules: dict[str, Rule]) -> list[str]:
    """One line a reject: its key, what was wrong, and its state."""
    rows = []
    for r in rejects:
        key = " ".join(f"{k}={v}" for k, v in json.loads(r.key).items() if k != "source_code")
        rule = covering(rules.values(), r)
        state = f"replayed by {r.replayed_by}" if r.replayed_by else "open" if r.held else "not held"
        rows.append([r.table, key, r.field or "(record)", r.reason, state, rule.name if rule else "-"])
    return _aligned([["table", "key", "field", "reason", "state", "rule"], *rows])


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


# --- replay -----------------------------------------------------------------------------------------


def replay(
    settings: Settings,
    vault: VaultClient,
    rule: str | None = None,
    source: str | None = None,
    batch: str | None = None,
    dry_run: bool = False,
) -> list[Replay]:
    """Replay the open rejects that the rules (or one) cover, oldest pull first; what came of each table of a batch.

    Only what keeps its contract after the repair lands; the rest stays a reject. Loaded once, a reject is marked and
    never replayed again. A dry run reads and repairs, and lands nothing.
    """
    rules = checked_rules(settings)
    if rule is not None:
        if rule not in rules:
            raise SettingsError(
                f"looked for the repair rule {rule!r} in {settings.repairs_file}; it holds {', '.join(rules) or 'none'}"
            )
        rules = {rule: rules[rule]}
    rejects = all_rejects(settings, vault)
    groups: dict[tuple[str, str, str], list[Reject]] = {}
    for r in rejects:
        wanted = source in (None, r.source) and batch in (None, r.batch)
        if wanted and r.is_open and covering(rules.values(), r):
            groups.setdefault((r.source, r.batch, r.table), []).append(r)
    done = []
    for code, batch_id, table in groups:
        entry = tasks.source(settings, code)
        with recorded(settings.home, "replay", code) as outcome:
            # One at a time: who waited finds that the other has marked them.
            with tasks.one_at_a_time(settings, "replay"):
                one = _replay(
                    settings,
                    vault,
                    entry,
                    groups[code, batch_id, table],
                    list(rules.values()),
                    rejects,
                    dry_run,
                )
            outcome.details |= dataclasses.asdict(one)
            done.append(one)
    return done


def _replay(
    settings: Settings,
    vault: VaultClient,
    entry: Source,
    rejects: list[Reject],
    rules: list[Rule],
    all_of_them: list[Reject],
    dry_run: bool,
) -> Replay:
    """Replay rejects of one table of one batch."""
    table, batch = rejects[0].table, rejects[0].batch
    manifest = Manifest.read(settings.landing / entry.code / batch)
    given, spent = _read(vault, rejects, rules)
    repaired, still = _repair(entry, table, given, rules)
    result = Replay(
        entry.code, batch, table, tuple(sorted({r.name for r in rules if r.table == table and r.source == entry.code})),
        len(given), len(repaired), dict(still), spent=spent,
    )  # fmt: skip
    if dry_run or not repaired:
        return result
    connector, chunk = _again(entry, table, repaired)
    connector.report.counts[table].announced = len(repaired)
    connector.report.notes.append(
        f"replay of {len(repaired)} rejects of {table} of batch {batch}, repaired by "
        + ", ".join(sorted({r.name for one in repaired for r in one.applied}))
    )
    interval = Interval(
        dt.datetime.fromisoformat(manifest.interval_start), dt.datetime.fromisoformat(manifest.interval_end)
    )
    moment = dt.datetime.fromisoformat(manifest.pulled_at)
    folder = tasks.land_chunks(settings.landing, entry, connector, [chunk], interval, vault, moment, batch)
    staged = tasks.stage(settings, entry.code, str(folder))
    tasks.check_landing(settings, entry.code, staged)
    loaded = tasks.load(settings, entry.code, str(folder))
    vault.replayed(_brought(table, repaired, all_of_them), folder.name)
    return dataclasses.replace(result, landed=folder.name, loaded=loaded)


@dataclass
class _Given:
    """A reject in the hand, with the rules applied to it."""

    reject: Reject
    payload: bytes = dataclasses.field(repr=False)
    applied: list[Rule]


def _read(vault: VaultClient, rejects: Sequence[Reject], rules: Sequence[Rule]) -> tuple[list[_Given], str]:
    """What the vault still gives of `rejects`, each under the first rule that covers it; why it gives no more today."""
    given: list[_Given] = []
    spent = ""
    for rule in rules:
        mine = list({r.quarantined: r for r in rejects if covering(rules, r) is rule}.values())
        for start in range(0, len(mine), MOST_AT_ONCE):
            part = mine[start : start + MOST_AT_ONCE]
            try:
                payloads = vault.read_rejects(rule.name, [r.quarantined for r in part])
            except QuotaSpent as e:
                spent = str(e)
                break
            given += [_Given(r, p, [rule]) for r, p in zip(part, payloads, strict=True) if p is not None]
    return given, spent


def _repair(
    entry: Source, table: str, given: list[_Given], rules: Sequence[Rule]
) -> tuple[list[_Given], Counter[str]]:
    """(those that keep their contract once mended, what is wrong with the others).

    A record is refused for the first thing wrong with it, so that the next may show once that is mended: the rules
    are asked again until none is left for it.
    """
    while given:
        _, chunk = _again(entry, table, given)
        wrong = {r.position: r for r in chunk.rejects if r.table == table}
        more = False
        for position, why in wrong.items():
            for rule in rules:
                if rule not in given[position].applied and rule.covers(
                    entry.code, table, why.field, why.reason
                ):
                    given[position].applied.append(rule)
                    more = True
                    break
        if not more:
            good = [g for position, g in enumerate(given) if position not in wrong]
            return good, Counter(f"{w.field or 'record'}: {w.reason}" for w in wrong.values())
    return [], Counter()


def _again(entry: Source, table: str, given: Sequence[_Given]) -> tuple[Connector, Chunk]:
    """The connector's own reading of the payloads, mended before they are typed."""
    connector = entry.connect("", "", "")

    def repair(name: str, columns: dict[str, list[Any]]) -> None:
        if name == table:
            for position, one in enumerate(given):
                for rule in one.applied:
                    _mend(rule, columns, position, len(given))

    connector.repair = repair
    keys = [json.loads(g.reject.key) for g in given]
    return connector, connector.again(table, keys, [g.payload for g in given])


def _mend(rule: Rule, columns: dict[str, list[Any]], position: int, rows: int) -> None:
    # Two columns read from one place are one list.
    values = columns[rule.field] = list(columns.get(rule.field, [None] * rows))
    value = values[position]
    if rule.repair == "set":
        values[position] = None
    elif rule.repair == "take":
        values[position] = columns.get(rule.argument, [None] * rows)[position]
    elif rule.repair == "values":
        values[position] = {str(k): v for k, v in rule.argument.items()}.get(str(value), value)
    else:
        try:
            values[position] = dt.datetime.strptime(str(value).strip(), rule.argument).isoformat()
        except ValueError:
            return  # in another form: it stays as wrong as it is


def _brought(table: str, repaired: Sequence[_Given], rejects: Sequence[Reject]) -> list[RejectKey]:
    """What a replay settles: the repaired rejects, and the rows refused only because these had been."""
    done = [g.reject.quarantined for g in repaired]
    key = contract(table).key
    owners = {(g.reject.batch, *(json.loads(g.reject.key).get(k) for k in key)) for g in repaired}
    for r in rejects:
        if not r.field and contract(r.table).parent == table:
            own = json.loads(r.key)
            if (r.batch, *(own.get(k) for k in key)) in owners:
                done.append(r.quarantined)
    return done
