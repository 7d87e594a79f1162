"""How finely each table is divided: as declared, or by the coarser steps of its policy while too much is withheld.

A table that is still too fine after its last step is left out, with the reason; the others go out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from opendata.disclosure.policy import ALL, Step
from opendata.disclosure.protect import Protection, protect_release
from opendata.disclosure.system import Counted, TooFine


def protect_as_finely_as_allowed(tables: Sequence[Counted], releases: Path | None = None) -> Protection:
    """Protect the tables of a release, each by as few of its steps as keep what is withheld within its policy.

    One that its last step leaves too fine is left out. Raises DisclosureError as `protect_release` does.
    """
    began = time.monotonic()
    steps = [0] * len(tables)
    left_out: dict[int, str] = {}
    while True:
        present = [number for number in range(len(tables)) if number not in left_out]
        try:
            counted = [coarsened(tables[number], steps[number]) for number in present]
            protection = protect_release(counted, releases)
        except TooFine as error:
            for place, reason in error.told.items():
                number = present[place]
                if steps[number] < len(tables[number].policy.coarsen):
                    steps[number] += 1
                else:
                    left_out[number] = reason
            continue
        break
    by_key = {(tables[number].dataset, tables[number].table): number for number in range(len(tables))}
    for item in protection.report["tables"]:
        number = by_key[item["dataset"], item["table"]]
        item |= granularity(tables[number], steps[number])
    reasons = {key: left_out[number] for key, number in by_key.items() if number in left_out}
    protection.report["seconds"] = round(time.monotonic() - began, 1)
    protection.report["left_out"] = [
        {"dataset": dataset, "table": table, **granularity(tables[by_key[dataset, table]], 0)}
        for dataset, table in reasons
    ]
    return replace(protection, left_out=reasons)


def granularity(table: Counted, steps: int) -> dict[str, Any]:
    """Return what the report says of how a table is divided: by which of its steps, and what they do."""
    declared = table.policy.coarsen
    return {"steps": steps, "declared_steps": [asdict(step) for step in declared]}


def coarsened(table: Counted, steps: int) -> Counted:
    """Return a table divided more coarsely, by the first `steps` of its policy."""
    declared = table
    for step in declared.policy.coarsen[:steps]:
        table = replace(_coarser(table, step), declared=declared)
    return table


def _coarser(table: Counted, step: Step) -> Counted:
    rows, policy = table.rows, table.policy
    for column, value in step.without:
        rows = rows.filter(pc.not_equal(rows[column].cast(pa.string()), value))
    for column, source in step.take:
        rows = _put(rows, column, rows[source])
    for column, value in step.put:
        rows = _put(rows, column, pa.array([value] * rows.num_rows, pa.string()))
    if not (step.put or step.take):
        return replace(table, rows=rows)
    put = dict(step.put)
    dimensions = {name: one for name, one in policy.dimensions.items() if put.get(name) != ALL}
    policy = replace(policy, dimensions=dimensions)
    # Where a level stood for itself among finer ones, and all stands for every level now, no level is told.
    return replace(table, rows=_added_up(replace(table, rows=rows, policy=policy)), policy=policy)


def _put(rows: pa.Table, column: str, values: Any) -> pa.Table:
    place = rows.column_names.index(column)
    return rows.set_column(place, rows.field(place), values.cast(rows.field(place).type))


def _added_up(table: Counted) -> pa.Table:
    """Return one row for each combination of the keys and dimensions: counts added, shares gone, others if alike."""
    rows, policy = table.rows, table.policy
    named = [name for one in policy.dimensions.values() for name in (one.level_column, one.parent_column)]
    where = [column for count in policy.counts for column, _ in count.where]
    by = list(dict.fromkeys([*table.keys, *policy.dimensions, *filter(None, named), *where]))
    counts = list(dict.fromkeys(count.column for count in policy.counts))
    others = [name for name in rows.column_names if name not in by and name not in counts]
    asked = [(name, "sum") for name in counts] + [(name, how) for name in others for how in ("min", "max")]
    grouped = rows.group_by(by).aggregate(asked)
    columns = []
    for field in rows.schema:
        if field.name in by:
            values = grouped[field.name]
        elif field.name in counts:
            values = grouped[f"{field.name}_sum"]
        elif field.name in policy.derived:
            values = pa.nulls(grouped.num_rows, field.type)
        elif pa.types.is_boolean(field.type):
            # One part that lacks days makes the whole lack them.
            values = grouped[f"{field.name}_max"]
        else:
            low, high = grouped[f"{field.name}_min"], grouped[f"{field.name}_max"]
            values = pc.if_else(pc.equal(low, high), low, pa.scalar(None, low.type))
        columns.append(values.cast(field.type))
    fields = [field.with_nullable(True) for field in rows.schema]
    order = [(name, "ascending") for name in (table.keys or tuple(by))]
    added = pa.table(columns, schema=pa.schema(fields))
    return added.sort_by(order) if order else added
