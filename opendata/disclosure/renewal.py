"""When tables about persons are made anew: all of them together, when a period closes.

A release each day would tell by what differs from yesterday's: 37 in the open month and 38 a day later is one dossier,
with its day, its place and whether it was late. So the tables of the release before are kept, byte for byte, until a
month (quarter, year) that was open has all its days, or what is published changes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from opendata.disclosure.granularity import coarsened, granularity
from opendata.disclosure.protect import WITHHELD_NAME, Protection, Withheld
from opendata.disclosure.system import Counted, DisclosureError

PROVISIONAL = "is_provisional"
#: Exact tallies of what stands withheld, beside the releases: not public.
TALLIES = "withheld.json"


def keep(tables: Sequence[Counted], previous: Path | None, agreed: Collection[str] = ()) -> Protection | None:
    """Return the tables as the release at `previous` has them, or None where they are to be made anew.

    `agreed` are datasets with an approved change against that release. Raises DisclosureError where the policies
    disagree on how often: tables that count the same dossiers can only be protected of one day.
    """
    often = sorted({table.dataset for table in tables if not table.policy.is_renewed_monthly})
    if often and len(often) < len({table.dataset for table in tables}):
        raise DisclosureError(
            f"{', '.join(often)}: disclosure.renewed says each_release, other datasets about persons say monthly; what "
            "they tell of the same dossiers would be of different days. Give all of them the same word"
        )
    if not tables or often or previous is None or {table.dataset for table in tables} & set(agreed):
        return None
    try:
        report: dict[str, Any] = json.loads((previous / "disclosure.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    described = {(item["dataset"], item["table"]): item for item in report["tables"]}
    left_out = {(item["dataset"], item["table"]): item for item in report.get("left_out", [])}
    tallies = read_tallies(previous.parent.parent)
    kept, counted, out = {}, {}, {}
    for declared in tables:
        key = (declared.dataset, declared.table)
        if key in left_out and _steps(left_out[key]) == _steps(granularity(declared, 0)):
            out[key] = f"{declared.dataset}, table {declared.table}: left out until all are made anew"
            continue
        table = coarsened(declared, int(described.get(key, {}).get("steps", 0)))
        path = previous / table.dataset / f"{table.table}.{table.origin}.parquet"
        if key not in described or not path.exists() or not _is_counted_alike(table, described[key]):
            return None
        if _steps(described[key]) != _steps(granularity(declared, 0)):
            return None
        rows = pq.read_table(path)
        alike = rows.drop_columns(WITHHELD_NAME).schema.remove_metadata()
        if not alike.equals(table.rows.schema.remove_metadata(), check_metadata=False):
            return None
        if closed(rows, table) != closed(table.rows, table):
            return None
        held = int(pc.sum(rows[WITHHELD_NAME]).as_py() or 0)
        at_most = float(described[key]["withheld_share_at_most"])
        kept[key] = rows, tallies.get("/".join(key)) or Withheld(rows=held, cells=held, share=at_most)
        counted[key] = table
    if not kept:
        return None
    report["tables"] = [described[key] for key in kept]
    return Protection(kept, report, counted, out)


def _steps(described: Mapping[str, Any]) -> object:
    """The coarser steps that a table could have taken, as a report has them; releases of before had none."""
    return json.loads(json.dumps(described.get("declared_steps", [])))


def closed(rows: pa.Table, table: Counted) -> frozenset[tuple[str, ...]]:
    """Return the periods of a table that have all their days; none of a table that knows no periods."""
    columns = sorted(name for name, of in table.policy.dimensions.items() if of.name == "time")
    if not columns:
        return frozenset()
    if PROVISIONAL in rows.column_names:
        rows = rows.filter(pc.invert(pc.fill_null(rows[PROVISIONAL], True)))
    return frozenset(
        tuple(str(value) for value in row.values())
        for row in rows.select(columns).group_by(columns).aggregate([]).to_pylist()
    )


def _is_counted_alike(table: Counted, described: Mapping[str, Any]) -> bool:
    """Whether a release counted a table by the policy of today; the words of a legal basis do not matter."""
    today = {
        "origin": table.origin,
        "threshold": table.policy.threshold,
        "dimensions": {column: asdict(one) for column, one in table.policy.dimensions.items()},
        "counts": [asdict(count) for count in table.policy.counts],
    }
    then = {name: described.get(name) for name in today}
    return bool(_without_words(json.loads(json.dumps(today))) == _without_words(then))


def _without_words(policy: Mapping[str, Any]) -> dict[str, Any]:
    counts = [{**count, "exempt": count.get("exempt") is not None} for count in policy["counts"] or ()]
    return {**policy, "counts": counts}


def read_tallies(root: Path) -> dict[str, Withheld]:
    """Return the exact tallies of the tables that stand in the newest release, by dataset/table."""
    try:
        read = json.loads((root / TALLIES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {name: Withheld(**tally) for name, tally in read.items()}


def write_tallies(root: Path, tallies: Mapping[str, Withheld]) -> None:
    """Keep the exact tallies for the releases that keep the tables."""
    aside = root / f".{TALLIES}"
    aside.write_text(
        json.dumps({name: asdict(one) for name, one in tallies.items()}, indent=2) + "\n", "utf-8"
    )
    aside.replace(root / TALLIES)
