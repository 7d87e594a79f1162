"""Disclosure control: which counts are too small to show. Pure policy on Arrow tables, no input or output.

A count of dossiers above 0 and below the threshold could point at a person. By default all counts of its row are
withheld with it: if only the small one went, it could be had back by subtraction (received = resolved + open).
Where a model publishes no such sums, its policy may say `scope: cell`. Zero stays: it tells of nobody.
Subtraction from other rows, other datasets and earlier releases is not looked at here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from opendata.catalogue import Column, SmallCell, Text

WITHHELD = "withheld"
WITHHELD_COLUMN = Column(
    WITHHELD,
    "boolean",
    Text(
        "Đúng (true) khi dòng có số đếm không công bố vì quá nhỏ, có thể chỉ ra một người.",
        "True where a count of the row is withheld because it is so small that it could point at a person.",
    ),
)


@dataclass(frozen=True)
class Withheld:
    """What was withheld from one table. Exact numbers are for the run summary, not for the public."""

    rows: int = 0
    cells: int = 0
    dossiers: int = 0
    dossiers_of: int = 0

    @property
    def share_at_most(self) -> float:
        """Upper step of the share of dossiers withheld, from 0 to 1.

        A step, because the exact number of a single withheld row would be the cell itself.
        """
        if not self.dossiers:
            return 0.0
        share = self.dossiers / self.dossiers_of
        return next(step for step in (0.01, 0.05, 0.1, 0.25, 0.5, 1.0) if share <= step)


def withhold_small_cells(table: pa.Table, policy: SmallCell) -> tuple[pa.Table, Withheld]:
    """Return `table` with small counts set to null by the policy and a boolean column `withheld`, and the tally.

    Raises ValueError for a count below zero, or a table that already has a column `withheld`.
    """
    if WITHHELD in table.column_names:
        raise ValueError(f"the table already has a column {WITHHELD!r}, which the release adds itself")
    small = {name: _is_small(table[name], policy.threshold, name) for name in policy.count_columns}
    any_small = reduce(pc.or_, small.values())
    total = table[policy.count_columns[0]]
    cells, positions = 0, []
    for name in policy.count_columns + policy.measure_columns:
        hidden = small[name] if policy.scope == "cell" and name in small else any_small
        if name in small:
            cells += int(pc.sum(pc.and_(hidden, pc.is_valid(table[name]))).as_py() or 0)
        if name == policy.count_columns[0]:
            dossiers = int(pc.sum(total.filter(hidden)).as_py() or 0)
        positions.append((table.column_names.index(name), hidden))
    for position, hidden in positions:
        column = table.column(position)
        kept = pc.if_else(hidden, pa.scalar(None, column.type), column)
        table = table.set_column(position, table.field(position), kept)
    rows = int(pc.sum(any_small).as_py() or 0)
    tally = Withheld(rows, cells, dossiers, int(pc.sum(total).as_py() or 0))
    return table.append_column(WITHHELD, any_small), tally


def _is_small(counts: pa.ChunkedArray, threshold: int, name: str) -> pa.ChunkedArray:
    if pc.any(pc.less(counts, 0)).as_py():
        raise ValueError(f"column {name} holds a count below zero")
    return pc.fill_null(pc.and_(pc.greater(counts, 0), pc.less(counts, threshold)), False)
