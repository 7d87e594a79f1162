"""What earlier releases told. A value published once is known for ever, whatever is withheld today.

The facts are read from the finished Parquet files of each release and kept in `<open-data>/disclosed.parquet`, so that
they outlive releases that are removed: one row for each cell and value ever published. It holds nothing that was not
public. A count that is what it was is known. Of one that changed, a reader has the older number, so the difference is a
cell to protect as well: 12 in the open month and 13 when it closed is one dossier.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from opendata.disclosure.policy import Count as CountPolicy
from opendata.disclosure.policy import Dimension, TablePolicy, hierarchies
from opendata.disclosure.system import (
    NOWHERE,
    Codes,
    Counted,
    DisclosureError,
    Levels,
    System,
    Universe,
    build,
    finer,
)

FACTS = pa.schema(
    [(name, pa.string()) for name in ("of", "origin", "levels", "codes")]
    + [("value", pa.int64()), ("release", pa.int64())]
)
Facts = dict[tuple[Universe, Levels], dict[Codes, set[int]]]


def remember(releases: Path) -> Facts:
    """Take the facts of releases not yet read into the file beside the folder `releases`; return all facts.

    Raises DisclosureError for a release whose files cannot be read: what it told must not be forgotten.
    """
    path = releases.parent / "disclosed.parquet"
    read: set[str] = set()
    known = FACTS.empty_table()
    if path.exists():
        known = pq.read_table(path)
        read = set(json.loads((known.schema.metadata or {}).get(b"releases", b"[]")))
        known = known.replace_schema_metadata(None)
    new = sorted(p for p in releases.glob("*") if re.fullmatch(r"\d{6}", p.name) and p.name not in read)
    if new:
        seen = set(zip(*(known[name].to_pylist() for name in FACTS.names[:5]), strict=True))
        rows = []
        for release in new:
            for fact in _facts(release):
                if fact not in seen:
                    seen.add(fact)
                    rows.append((*fact, int(release.name)))
        fresh = pa.Table.from_pylist([dict(zip(FACTS.names, row, strict=True)) for row in rows], FACTS)
        known = pa.concat_tables([known, fresh])
        names = json.dumps(sorted(read | {release.name for release in new})).encode()
        aside = path.with_name(
            f".{path.name}.part"
        )  # one publisher at a time; what a killed one left is overwritten
        pq.write_table(known.replace_schema_metadata({b"releases": names}), aside, compression="zstd")
        aside.replace(path)
    facts: Facts = defaultdict(lambda: defaultdict(set))
    for of, origin, levels, codes, value in zip(
        *(known[n].to_pylist() for n in FACTS.names[:5]), strict=True
    ):
        facts[(of, origin), _levels(levels)][tuple(json.loads(codes))].add(value)
    return facts


def _levels(text: str) -> Levels:
    levels = []
    for name, level in json.loads(text):
        if level not in hierarchies().get(name, ()):
            raise DisclosureError(
                f"An earlier release counted by {name}.{level}, a level that opendata/disclosure/hierarchies.yml "
                "no longer has; what was published stays known, so put the level back"
            )
        levels.append((name, hierarchies()[name].index(level)))
    return tuple(sorted(levels))


def _facts(release: Path) -> set[tuple[str, str, str, str, int]]:
    """Return (of, origin, levels, codes, value) of each count that a release shows."""
    report = release / "disclosure.json"
    if not report.exists():
        return (
            set()
        )  # a withdrawn release, or one from before the report: nothing says what its columns count
    facts = set()
    try:
        tables = json.loads(report.read_text(encoding="utf-8"))["tables"]
        for described in tables:
            path = release / described["dataset"] / f"{described['table']}.{described['origin']}.parquet"
            if not path.exists():
                continue
            policy = _policy(described)
            rows = pq.read_table(path)
            system = build(
                [Counted(described["dataset"], described["table"], described["origin"], rows, policy)]
            )
            for cell in range(len(system.values)):
                (of, origin), levels, codes = system.keys[cell]
                if system.state[cell] == NOWHERE:
                    continue
                named = json.dumps([[name, hierarchies()[name][depth]] for name, depth in levels])
                facts.add(
                    (of, origin, named, json.dumps(codes, ensure_ascii=False), int(system.values[cell]))
                )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise DisclosureError(
            f"What release {release.name} told cannot be read from {release} ({type(error).__name__}: {error}); "
            "restore its files from the backup, since what was published stays known"
        ) from None
    return facts


def _policy(described: Mapping[str, Any]) -> TablePolicy:
    dimensions = {column: Dimension(**parts) for column, parts in described["dimensions"].items()}
    counts = tuple(
        CountPolicy(
            item["column"],
            item["of"],
            tuple((a, b, c) for a, b, c in item["fixed"]),
            tuple((a, b) for a, b in item["where"]),
        )
        for item in described["counts"]
    )
    return TablePolicy(described["table"], int(described["threshold"]), dimensions, counts)


def apply(system: System, facts: Facts) -> int:
    """Mark the cells of a system whose value an earlier release tells; return how many.

    Where a cell was told with another value, the difference becomes a cell of its own, which must not be found.
    """
    changed: list[tuple[int, int]] = []
    for (universe, levels), told in facts.items():
        cells = system.numbers.get((universe, levels))
        # What stands in the common division of tables in a circle is one of many possibilities, nobody's count.
        if cells is None or system.common.get(universe) == levels:
            changed += _apply_finer(system, universe, levels, told)
            continue
        for codes, values in told.items():
            cell = cells.get(codes)
            if cell is not None and int(system.values[cell]) in values:
                system.known_before[cell] = True
            elif cell is not None:
                changed += [(cell, value) for value in sorted(values)]
    known = int(system.known_before.sum())
    small = system.small
    system.add_differences(
        # Of a small count that was told nothing can be taken back; it is withheld as any other.
        (cell, value)
        for cell, value in changed
        if not (system.exempt[cell] or system.known_before[cell] or (small[cell] and value > 1))
    )
    return known


def _apply_finer(
    system: System, universe: Universe, levels: Levels, told: Mapping[Codes, set[int]]
) -> list[tuple[int, int]]:
    """Use facts finer than anything counted today; return (cell, the least it held by them) where it holds more."""
    more = []
    for (of, coarse), cells in system.numbers.items():
        if of != universe or not finer(levels, coarse) or system.common.get(of) == coarse:
            continue
        sums: dict[int, int] = defaultdict(int)
        for codes, values in told.items():
            try:
                cell = cells.get(system.coarsen(levels, coarse, codes))
            except DisclosureError:
                continue  # no table says any more where the fine code belongs, so readers must guess as well
            if cell is not None:
                sums[cell] += min(values)
        for cell, least in sums.items():
            if least == system.values[cell]:
                system.known_before[cell] = True
            elif 0 < least < system.values[cell]:
                more.append((cell, least))
    return more
