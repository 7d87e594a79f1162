"""What changed from one release to the next, row by row, and whether somebody must agree to it first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from opendata.catalogue import Approval, Limits, Resource, frictionless_type
from opendata.files import BYTE_ORDER_MARK, PIECE_ROWS, as_text, neutralise_formulas

#: A handful of rows is no landslide, whatever its share.
FEW = 5
_BEFORE = "\x1fbefore"


@dataclass(frozen=True)
class Difference:
    """Counts of rows by their key, against the table in release `against`; `rows` has one line for each change.

    `rows` has the columns change (added, removed, revised), the keys, column, before, after: text, as in the CSV.
    The `final_*` counts leave out rows that were provisional, and those of periods that had not been published.
    """

    against: int
    before: int
    added: int
    removed: int
    revised: int
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    periods_removed: tuple[str, ...]
    final_before: int
    final_added: int
    final_removed: int
    final_revised: int
    rows: pa.Table | None


def compare(
    old: Path,
    new: Path,
    resource: Resource,
    against: int,
    ignored: Sequence[str] = (),
    limits: Limits | None = None,
) -> Difference:
    """Compare two Parquet files of one table by its keys; columns `ignored` (the time of capture) are no revision.

    All that changed is listed; `final_revised` counts rows that `limits` call revised.
    """
    limits = limits or Limits()
    numbers = {c.name for c in resource.columns if frictionless_type(c.data_type) in ("integer", "number")}
    before, after = (_text(pq.read_table(path)) for path in (old, new))
    keys = list(resource.keys)
    shared = [name for name in after.column_names if name in before.column_names and name not in keys]
    added_columns = tuple(name for name in after.column_names if name not in before.column_names)
    removed_columns = tuple(name for name in before.column_names if name not in after.column_names)
    period, provisional = resource.period_column, resource.provisional_column
    periods_removed: tuple[str, ...] = ()
    if period and period in before.column_names:
        gone = set(pc.unique(before[period]).to_pylist()) - set(pc.unique(after[period]).to_pylist())
        periods_removed = tuple(sorted(str(value) for value in gone))
    if any(key in removed_columns or key in added_columns for key in keys):
        # Rows of other keys cannot be told apart by them: all of them count.
        count = before.num_rows
        return Difference(
            against, count, after.num_rows, count, 0, added_columns, removed_columns, periods_removed,
            count, after.num_rows, count, 0, None,
        )  # fmt: skip
    renamed = [name if name in keys else name + _BEFORE for name in before.column_names]
    marked = before.rename_columns(renamed).append_column(_BEFORE, _true(before.num_rows))
    rows_before = before.num_rows
    joined = after.append_column("\x1fafter", _true(after.num_rows)).join(
        marked, keys, join_type="full outer"
    )
    del before, after, marked  # all of it stands in `joined`
    was, now = (pc.fill_null(joined[name], False) for name in (_BEFORE, "\x1fafter"))
    is_added, is_removed, both = pc.invert(was), pc.invert(now), pc.and_(was, now)
    differs = {
        name: pc.and_(
            both, pc.not_equal(pc.fill_null(joined[name], ""), pc.fill_null(joined[name + _BEFORE], ""))
        )
        for name in shared
    }
    is_revised = is_moved = _false(joined.num_rows)
    for name, changed in differs.items():
        if name not in ignored:
            is_revised = pc.or_(is_revised, changed)
            if name in numbers:
                changed = pc.and_(changed, _moved(joined[name + _BEFORE], joined[name], limits))
            is_moved = pc.or_(is_moved, changed)
    final = both_or_removed = was
    if provisional and provisional + _BEFORE in joined.column_names:
        final = pc.and_(
            both_or_removed, pc.not_equal(pc.fill_null(joined[provisional + _BEFORE], ""), "true")
        )
    # A row of a period that was final before is an addition to what was known; a new period is not.
    known = _true_like(joined) if not period else pc.is_in(joined[period], _unique_of(joined, period, final))
    return Difference(
        against=against,
        before=rows_before,
        added=_count(is_added),
        removed=_count(is_removed),
        revised=_count(is_revised),
        columns_added=added_columns,
        columns_removed=removed_columns,
        periods_removed=periods_removed,
        final_before=_count(final),
        final_added=_count(pc.and_(is_added, known)),
        final_removed=_count(pc.and_(is_removed, final)),
        final_revised=_count(pc.and_(is_moved, final)),
        rows=_lines(joined, keys, is_added, is_removed, differs, ignored),
    )


def objections(found: Difference, approval: Approval, where: str) -> list[str]:
    """Return what is beyond the approval's limits, unless it holds an approved change against that release."""
    if any(change.against_release == found.against for change in approval.approved_changes):
        return []
    limits, base = approval.limits, max(found.final_before, 1)
    told = []
    for verb, count, limit in (
        ("lost", found.final_removed, limits.shrink),
        ("were added to what was final", found.final_added, limits.grow),
        ("were revised", found.final_revised, limits.revise),
    ):
        share = 100 * count / base
        if count > FEW and share > limit:
            told.append(
                f"{count:,} rows {verb}, {share:.1f} % of {found.final_before:,} final ones (limit {limit:g} %)"
            )
    if found.columns_removed:
        told.append(
            f"column(s) {', '.join(found.columns_removed)} are gone"
            + (f", {', '.join(found.columns_added)} are new (renamed?)" if found.columns_added else "")
        )
    if found.periods_removed:
        told.append(f"nothing is left of {', '.join(found.periods_removed)}")
    if not told:
        return []
    if found.rows is None:
        told.append(
            "its rows are named by other columns, so that nothing can be compared. If it counts something else under "
            f"the same name, `python -m opendata withdraw {approval.dataset} --by <office> --reason-vi ... "
            "--reason-en ...` leaves a notice for readers of the old one, and `python -m opendata restore "
            f"{approval.dataset}` lets the new one begin"
        )
    return [
        f"{where}, against release {found.against:06d}: {'; '.join(told)}. If that is right, record it in "
        f"opendata/approvals/{approval.dataset}.yml as approved_changes: [{{against_release: {found.against}, "
        "decided_by: <office>, role: <who there>, decided_on: <day>, reason: {vi: ..., en: ...}}]"
    ]


def write_changes(rows: pa.Table, path: Path) -> None:
    """Write the changes row by row as CSV for people: a spreadsheet keeps its accents and runs none of its cells."""
    options = csv.WriteOptions(quoting_style="needed", quoting_header="needed")
    with path.open("wb") as file:
        file.write(BYTE_ORDER_MARK)
        with csv.CSVWriter(file, rows.schema, write_options=options) as writer:
            for at in range(0, len(rows), PIECE_ROWS):
                writer.write_table(neutralise_formulas(rows.slice(at, PIECE_ROWS)))


def _lines(
    joined: pa.Table,
    keys: list[str],
    is_added: pa.ChunkedArray,
    is_removed: pa.ChunkedArray,
    differs: dict[str, pa.ChunkedArray],
    ignored: Sequence[str],
) -> pa.Table:
    """Return one line for each added or removed row, and one for each value of a row that changed."""

    def part(mask: pa.ChunkedArray, change: str, column: str | None) -> pa.Table:
        rows = joined.filter(mask)
        nothing = pa.nulls(rows.num_rows, pa.string())
        values = {
            "change": pa.array([change] * rows.num_rows, pa.string()),
            **{key: rows[key] for key in keys},
            "column": pa.array([column] * rows.num_rows, pa.string()),
            "before": rows[column + _BEFORE] if column else nothing,
            "after": rows[column] if column else nothing,
        }
        return pa.table(values)

    parts = [part(is_added, "added", None), part(is_removed, "removed", None)]
    parts += [part(mask, "revised", name) for name, mask in differs.items() if name not in ignored]
    lines = pa.concat_tables(parts)
    return lines.sort_by([(name, "ascending") for name in (*keys, "change", "column")])


def _moved(before: pa.ChunkedArray, after: pa.ChunkedArray, limits: Limits) -> pa.ChunkedArray:
    """Whether numbers, as text, changed by more than the limits leave free; one that came or went did."""
    was, now = before.cast(pa.float64()), after.cast(pa.float64())
    by = pc.subtract(now, was)
    if limits.running:
        by = pc.min_element_wise(by, pa.scalar(0.0), skip_nulls=False)
    far = pc.greater(pc.abs(by), pc.multiply(pc.abs(was), limits.by / 100))
    return pc.fill_null(far, True)


def _text(table: pa.Table) -> pa.Table:
    table = as_text(table)
    return table.cast(pa.schema([(field.name, pa.string()) for field in table.schema]))


def _unique_of(joined: pa.Table, name: str, mask: pa.ChunkedArray) -> pa.Array:
    return pc.unique(joined.filter(mask)[name])


def _true(rows: int) -> pa.Array:
    return pa.array([True] * rows, pa.bool_())


def _false(rows: int) -> pa.Array:
    return pa.array([False] * rows, pa.bool_())


def _true_like(table: pa.Table) -> pa.Array:
    return _true(table.num_rows)


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)
