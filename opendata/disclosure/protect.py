"""One entry for a release: all tables that count persons or dossiers are protected together, then reported on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from opendata.disclosure.audit import Audit, audit, known_to_all
from opendata.disclosure.earlier import apply, remember
from opendata.disclosure.policy import SHARE_JUDGED_FROM
from opendata.disclosure.suppression import Naive, naive, suppress
from opendata.disclosure.system import (
    PUBLISHED,
    WITHHELD,
    Counted,
    DisclosureError,
    System,
    TooFine,
    build,
)

WITHHELD_NAME = "withheld"
SHARE_STEPS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Withheld:
    """What was withheld from one table. Exact numbers are for the run summary, not for the public.

    `dossiers` and `dossiers_of` are of the first count of the policy: in withheld cells, and in all. `share` is that
    of the count of which most is withheld, from 0 to 1.
    """

    rows: int = 0
    cells: int = 0
    dossiers: int = 0
    dossiers_of: int = 0
    share: float = 0.0

    @property
    def share_at_most(self) -> float:
        """Upper step of the share withheld, from 0 to 1; the exact one of a single withheld cell would be the cell."""
        return next(step for step in SHARE_STEPS if self.share <= step) if self.share else 0.0


@dataclass(frozen=True)
class Protection:
    """The protected tables by (dataset, table), each with what was withheld, and the public report.

    `counted` has them as they were counted: as declared, or by coarser steps of their policies; `left_out` why no step
    was coarse enough for a table (granularity.py).
    """

    tables: Mapping[tuple[str, str], tuple[pa.Table, Withheld]]
    report: dict[str, Any]
    counted: Mapping[tuple[str, str], Counted] = field(default_factory=dict)
    left_out: Mapping[tuple[str, str], str] = field(default_factory=dict)


def protect_release(tables: Sequence[Counted], releases: Path | None = None) -> Protection:
    """Withhold what could reveal a person in any table of a release, and prove that nothing gives it away.

    `tables` are all tables with a policy, `releases` the folder of earlier releases, whose numbers are known. The
    rows come back in the same order, withheld counts (and what derives from them) null, with a boolean column
    `withheld`. Raises TooFine where more than the policy's share of dossiers would be withheld, DisclosureError where a
    cell cannot be protected, or tables contradict each other.
    """
    started = time.monotonic()
    for table in tables:
        if WITHHELD_NAME in table.rows.column_names:
            raise DisclosureError(
                f"{table.dataset}, table {table.table}: it already has a column {WITHHELD_NAME!r}, which the release "
                "adds itself; rename it in the model"
            )
    facts = remember(releases) if releases else {}
    system = build(tables, facts)
    told = apply(system, facts)
    # Small cells alone may be too many already; then nothing else needs to be looked for.
    _judge(system, system.small & ~system.exempt)
    beside = naive(system)
    suppress(system)
    protected = {
        (table.dataset, table.table): _apply(system, number, table) for number, table in enumerate(tables)
    }
    _judge_all(system, told_before=bool(facts))
    proof = verify(system, {key: rows for key, (rows, _) in protected.items()})
    return Protection(
        protected,
        _report(system, tables, protected, proof, beside, told, time.monotonic() - started),
        {(table.dataset, table.table): table for table in tables},
    )


def verify(system: System, finished: Mapping[tuple[str, str], pa.Table]) -> Audit:
    """Audit finished tables anew, reading from them alone what is published; raise DisclosureError for a failing cell.

    Cells that follow from exempt figures alone are left out, as in the choice.
    """
    shown = np.zeros(len(system.values), dtype=bool)
    for number, table in enumerate(system.tables):
        rows = finished[table.dataset, table.table]
        for count in table.policy.counts:
            at, cells = system.places[number, count.column]
            present = np.asarray(pc.is_valid(rows[count.column]), dtype=bool)
            shown[cells[present[at]]] = True
    hidden = system.state.copy()
    system.state[(hidden != PUBLISHED) & shown] = PUBLISHED
    try:
        done = audit(system, known_to_all(system) | shown)
        failed = [cell for cell in done.failed if cell not in system.excused]
        # A cell shown although it is small protects nothing and bounds nothing: it simply is there.
        bare = np.flatnonzero(shown & system.small & ~system.exempt & ~system.known_before)
        failed += [int(cell) for cell in bare]
    finally:
        system.state[:] = hidden
    if failed:
        names = "\n- ".join(system.name(cell) for cell in failed[:20])
        raise DisclosureError(
            f"The audit of the finished tables finds {len(failed)} small cell(s) that a reader could work out:"
            f"\n- {names}"
        )
    return done


def _apply(system: System, number: int, table: Counted) -> tuple[pa.Table, Withheld]:
    """Return the table with what is withheld set to null, and the tally."""
    rows, policy = table.rows, table.policy
    hidden = {}
    for count in policy.counts:
        mask = np.zeros(rows.num_rows, dtype=bool)
        at, cells = system.places[number, count.column]
        mask[at] = system.state[cells] == WITHHELD
        hidden[count.column] = mask
    first = policy.counts[0].column
    tally = Withheld(
        rows=int(reduce(np.logical_or, hidden.values()).sum()),
        cells=int(sum(mask.sum() for mask in hidden.values())),
        dossiers=_total(rows[first].filter(pa.array(hidden[first]))),
        dossiers_of=_total(rows[first]),
        share=max((one.share for one in _shares(system, number, system.state == WITHHELD)), default=0.0),
    )
    gone = dict(hidden)
    for column, sources in policy.derived.items():
        gone[column] = reduce(np.logical_or, (hidden[source] for source in sources))
    for column, mask in gone.items():
        values = rows[column]
        kept = pc.if_else(pa.array(mask), pa.scalar(None, values.type), values)
        position = rows.column_names.index(column)
        rows = rows.set_column(position, rows.field(position).with_nullable(True), kept)
    return rows.append_column(WITHHELD_NAME, pa.array(reduce(np.logical_or, hidden.values()))), tally


def _total(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


def _judge_all(system: System, told_before: bool) -> None:
    """Judge each table by what is withheld of it; with `told_before`, also as if nothing had been told.

    What is withheld because it changed by a few since an earlier release says nothing about granularity.
    """
    try:
        _judge(system, system.state == WITHHELD)
    except TooFine:
        if not told_before:
            raise
        alone = build(system.tables)
        suppress(alone)
        _judge_all(alone, told_before=False)


@dataclass(frozen=True)
class _Share:
    """What of a count lies in some cells: `held` of `total` dossiers."""

    column: str
    held: float
    total: float

    @property
    def share(self) -> float:
        return self.held / self.total if self.total else 0.0


def _judge(system: System, hidden: np.ndarray) -> None:
    """Refuse tables with a count that lies in the cells of `hidden` (a mask) too much: they are divided too finely."""
    told = {}
    for number, table in enumerate(system.tables):
        most = table.policy.most_withheld_percent
        worst = max(
            (one for one in _shares(system, number, hidden) if one.total >= SHARE_JUDGED_FROM),
            key=lambda one: one.share,
            default=None,
        )
        if worst and 100 * worst.held > most * worst.total:
            told[number] = (
                f"{table.dataset}, table {table.table}: {100 * worst.share:.0f} % of what {worst.column} counts "
                f"lies in withheld cells, more than the {most} % of its policy. Coarsen it: "
                f"{_advice(table, worst.column)}"
            )
    if told:
        raise TooFine(told)


def _shares(system: System, number: int, hidden: np.ndarray) -> list[_Share]:
    """Return what of each count lies in the cells of `hidden`; each is judged alone.

    Were they added up, many dossiers in time would hide that hardly one of the late ones can be seen. Dossiers that
    stand in a table again for each code of some columns are counted once.
    """
    table, policy = system.tables[number], system.tables[number].policy
    again = list(policy.counted_for_each)
    shares = []
    for column in policy.count_columns:
        at, cells = system.places[number, column]
        at, first = np.unique(at, return_index=True)  # a row may be a cell of several kinds
        cells = cells[first]
        times = (
            max(table.rows.select(again).take(at).group_by(again).aggregate([]).num_rows, 1) if again else 1
        )
        held, total = int(system.values[cells[hidden[cells]]].sum()), int(system.values[cells].sum())
        shares.append(_Share(column, held / times, total / times))
    return shares


def _advice(table: Counted, count: str) -> str:
    """Say what of a count would lie in small cells if one dimension were left out, best first."""
    policy = table.policy
    found = []
    for column in policy.dimensions:
        others = [name for name in policy.dimensions if name != column]
        values = table.rows.group_by(others).aggregate([(count, "sum")])[f"{count}_sum"]
        total, small = _total(values), _total(values.filter(pc.less(values, policy.threshold)))
        found.append((small / total if total else 0.0, column))
    return "; ".join(
        f"without {column} {100 * share:.0f} % would lie in small cells" for share, column in sorted(found)
    )


def _report(
    system: System,
    tables: Sequence[Counted],
    protected: Mapping[tuple[str, str], tuple[pa.Table, Withheld]],
    proof: Audit,
    beside: Naive,
    told: int,
    seconds: float,
) -> dict[str, Any]:
    """Return the public report. Dossiers in withheld cells stand as a step: the exact number would be a clue."""
    rows = []
    for table in tables:
        _, tally = protected[table.dataset, table.table]
        rows.append(
            {
                "dataset": table.dataset,
                "table": table.table,
                "threshold": table.policy.threshold,
                "cells": sum(len(table.rows) - table.rows[c].null_count for c in table.policy.count_columns),
                "withheld_cells": tally.cells,
                "withheld_rows": tally.rows,
                "withheld_share_at_most": tally.share_at_most,
                "exempt": {count.column: count.exempt for count in table.policy.counts if count.exempt},
                "origin": table.origin,
                # What the columns count, for later releases: they read here what this one tells.
                "dimensions": {column: asdict(one) for column, one in table.policy.dimensions.items()},
                "counts": [asdict(count) for count in table.policy.counts],
            }
        )
    return {
        "rule": "a withheld cell may hold 0 or 1, and at least the threshold more, by all that is published",
        "tables": rows,
        "sums_checked": len(system.sums),
        "withheld_cells": int((system.state == WITHHELD).sum()),
        "unprotected_cells": sum(cell not in system.excused for cell in proof.failed),
        "cells_known_from_earlier_releases": told,
        # Small ones that exempt figures, or earlier releases, hold closely whatever is withheld today.
        "cells_told_already": sum(cell in system.excused for cell in proof.failed),
        # Audited through their common division (system.py).
        "tables_in_a_circle": system.cycles(),
        "linked_groups": proof.groups,
        "largest_linked_group": proof.largest_group,
        "without_complementary": {
            "withheld_cells": beside.withheld,
            "a_reader_would_get_exactly": beside.exactly,
            "a_reader_would_get_too_closely": beside.too_closely,
        },
        "solves": proof.solves,
        "seconds": round(seconds, 1),
    }
