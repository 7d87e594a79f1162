"""Disclosure control: which counts are too small to show. Pure policy on Arrow tables, no input or output.

A count of dossiers above 0 and below the threshold could point at a person. Where any count of a row is that
small, all counts of the row are withheld: if only the small one went, it could be had back by subtraction
(received = resolved + open). Zero stays: it tells of nobody. Withholding other rows so that published totals
cannot be subtracted from is not done here; no totals are published beside these rows.
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
        "Đúng (true) khi số liệu của dòng không công bố vì có ô đếm quá nhỏ, có thể chỉ ra một người.",
        "True where the counts of the row are withheld because one is so small that it could point at a person.",
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
    """Return `table` with the counts of small rows set to null and a boolean column `withheld`, and the tally.

    Raises ValueError for a count below zero, or a table that already has a column `withheld`.
    """
    if WITHHELD in table.column_names:
        raise ValueError(f"the table already has a column {WITHHELD!r}, which the release adds itself")
    small = []
    for name in policy.count_columns:
        counts = table[name]
        if pc.any(pc.less(counts, 0)).as_py():
            raise ValueError(f"column {name} holds a count below zero")
        small.append(pc.fill_null(pc.and_(pc.greater(counts, 0), pc.less(counts, policy.threshold)), False))
    mask = reduce(pc.or_, small)
    hidden = table.filter(mask)
    cells = sum(hidden.num_rows - hidden[name].null_count for name in policy.count_columns)
    total = policy.count_columns[0]
    dossiers = int(pc.sum(hidden[total]).as_py() or 0)
    dossiers_of = int(pc.sum(table[total]).as_py() or 0)
    for name in policy.count_columns + policy.measure_columns:
        position = table.column_names.index(name)
        kept = pc.if_else(mask, pa.scalar(None, table[name].type), table[name])
        table = table.set_column(position, table.field(position), kept)
    return table.append_column(WITHHELD, mask), Withheld(hidden.num_rows, cells, dossiers, dossiers_of)
