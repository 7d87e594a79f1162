"""All counts of a release as one system: cells, and the sums that hold between them. Pure, on Arrow tables.

A cell is a set of dossiers: of which kind (`of`), at which level of each dimension, with which codes. The same cell in
two tables is one cell. Between two levels, the finer cells add up to the coarser one; levels that cannot be
compared (agency by month, commune by month) meet in cells that nobody publishes (month) and that both add up to.
Where the finer ones hold less, the rest is a cell of its own: 97 of 100 online tells of 3 others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_matrix, hstack, identity

from opendata.disclosure.policy import Count, Dimension, TablePolicy, hierarchies

#: A universe: what is counted, and the origin of the rows (real and simulated dossiers are never the same).
Universe = tuple[str, str]
#: Level of each dimension that a cell is divided by, sorted by dimension: (("place", 0), ("time", 1)).
Levels = tuple[tuple[str, int], ...]
Codes = tuple[str, ...]

PUBLISHED, WITHHELD, NOWHERE = 0, 1, 2
#: Kinds of cells that no table has: what is left of a sum, and what changed since a count was told.
REST, CHANGE = "rest of ", "rest since an earlier release of "
MOST_LEVELS = 60
#: Cells of the common division of tables in a circle; beyond it a solve takes minutes.
MOST_COMMON = 3_000


class DisclosureError(Exception):
    """The release is refused for what it would tell of persons; the message names cells by keys, never values."""


class TooFine(DisclosureError):
    """Tables of which too much would be withheld; `told` has for each (by its number) which, and what would help."""

    def __init__(self, told: Mapping[int, str]) -> None:
        super().__init__("\n- ".join(told.values()) if len(told) == 1 else "\n- ".join(["", *told.values()]))
        self.told = dict(told)


@dataclass(frozen=True)
class Counted:
    """One table to protect: its dataset, name, origin, rows (in the order of `keys`) and policy."""

    dataset: str
    table: str
    origin: str
    rows: pa.Table
    policy: TablePolicy
    keys: tuple[str, ...] = ()
    #: The table as declared, where this one is coarser: which code belongs to which is known from it to everybody.
    declared: Counted | None = None


@dataclass
class System:
    """Cells (by number) and sums. Arrays have one entry for each cell.

    `values` are the true counts; `state` is PUBLISHED, WITHHELD or NOWHERE (no table has it); `threshold` is the
    greatest of the tables that publish the cell. A sum is (cells, signs): the signed values add up to 0.
    """

    values: np.ndarray
    state: np.ndarray
    exempt: np.ndarray
    known_before: np.ndarray
    threshold: np.ndarray
    sums: list[tuple[np.ndarray, np.ndarray]]
    keys: list[tuple[Universe, Levels, Codes]]
    #: (table number, column, row number) to cell, as (rows, cells) arrays for each column.
    places: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]
    #: Cells of rows that exist only because some count in them is not 0.
    present_rows: list[np.ndarray]
    tables: Sequence[Counted] = ()
    #: Cells by levels and codes.
    numbers: Mapping[tuple[Universe, Levels], Mapping[Codes, int]] = field(default_factory=dict)
    tree: _Codes | None = None
    #: The common divisions of tables in a circle, by what they count.
    common: Mapping[Universe, Levels] = field(default_factory=dict)
    #: Small cells that need no protection: exempt figures alone, or an earlier release, tell as much.
    excused: set[int] = field(default_factory=set)

    def cycles(self) -> dict[str, list[str]]:
        """Return, by what they count, the tables whose levels go round in a circle.

        Agencies by month, months by sector, sectors by agency: that each two agree where they meet does not say all;
        they also come from one division by all three, which is nobody's table but is part of the system.
        """
        circles: dict[str, list[str]] = {}
        for universe, common in self.common.items():
            circle = set(_in_a_circle({levels for of, levels in self.numbers if of == universe} - {common}))
            circles[universe[0]] = sorted(
                {
                    self.tables[number].table
                    for (number, _), (_, cells) in self.places.items()
                    for of, levels in {self.keys[c][:2] for c in cells.tolist()}
                    if of == universe and levels in circle
                }
            )
        return circles

    @property
    def small(self) -> np.ndarray:
        """Cells that could point at a person: above 0 and below the threshold."""
        return (self.values > 0) & (self.values < self.threshold)

    def add_differences(self, told: Iterable[tuple[int, int]]) -> None:
        """Add, for each (cell, value it was told with), what it holds more, or less, as a cell that must not be found.

        That a count grew, or shrank, is taken as known. The value told is a cell, too, known to all.
        """
        values: list[int] = []
        thresholds: list[int] = []
        first = len(self.values)
        for cell, value in told:
            universe, levels, codes = self.keys[cell]
            difference = int(self.values[cell]) - value
            before = first + len(values)
            # cell = before + difference, or cell + difference = before
            signs = [1, -1, -1] if difference > 0 else [1, -1, 1]
            self.sums.append((np.array([cell, before, before + 1]), np.array(signs)))
            for kind in ("told of ", CHANGE):
                self.keys.append(((kind + universe[0], universe[1]), levels, codes))
            values += [value, abs(difference)]
            thresholds += [0, int(self.threshold[cell])]
        known = np.arange(len(values)) % 2 == 0
        self.values = np.concatenate([self.values, np.array(values, dtype=np.int64)])
        self.threshold = np.concatenate([self.threshold, np.array(thresholds, dtype=np.int64)])
        self.state = np.concatenate([self.state, np.full(len(values), NOWHERE, dtype=np.int8)])
        self.exempt = np.concatenate([self.exempt, known])
        self.known_before = np.concatenate([self.known_before, known])

    def coarsen(self, fine: Levels, coarse: Levels, codes: Codes) -> Codes:
        """Return the codes of the coarser cell that holds a finer one; DisclosureError where no table tells."""
        return _coarsen(self.tree or _Codes(), fine, coarse, codes)

    def name(self, cell: int) -> str:
        """Return where a cell stands, by dataset, table and keys; never its value."""
        (of, _), levels, codes = self.keys[cell]
        where = ", ".join(
            f"{dim}.{hierarchies()[dim][level]}={code}"
            for (dim, level), code in zip(levels, codes, strict=True)
        )
        for (number, column), (rows, cells) in self.places.items():
            if len(at := np.flatnonzero(cells == cell)):
                table = self.tables[number]
                row = table.rows.slice(int(rows[at[0]]), 1).to_pylist()[0]
                keys = ", ".join(f"{name}={row[name]}" for name in table.policy.dimensions)
                return f"{table.dataset}, table {table.table}, column {column}, {keys}"
        return f"{of} ({where or 'all'}), published in no table but bounded by what is"


class _Codes:
    """Which coarse code a fine code belongs to, for each dimension; read from the tables and from the calendar."""

    def __init__(self) -> None:
        self.parents: dict[tuple[str, int, int], dict[str, str]] = defaultdict(dict)

    def learn(self, table: Counted) -> None:
        levels: dict[str, list[tuple[int, str, Dimension]]] = defaultdict(list)
        for column, dimension in table.policy.dimensions.items():
            levels[dimension.name].append((_depth(dimension), column, dimension))
        for name, columns in levels.items():
            columns.sort(key=lambda item: item[:2])
            for (fine, low, below), (coarse, high, above) in combinations(columns, 2):
                if fine == coarse or above.level_column:
                    continue
                rows = table.rows
                if below.level_column:
                    rows = rows.filter(pc.equal(rows[below.level_column], below.level))
                self._learn(table, name, fine, coarse, _texts(rows[low]), _texts(rows[high]))
            for _, column, dimension in columns:
                if dimension.level_column and dimension.parent_column:
                    self._learn_tree(table, name, column, dimension)

    def _learn_tree(self, table: Counted, name: str, column: str, dimension: Dimension) -> None:
        codes, parents = _texts(table.rows[column]), _texts(table.rows[str(dimension.parent_column)])
        named = _texts(table.rows[str(dimension.level_column)])
        depth_of = {code: hierarchies()[name].index(level) for code, level in zip(codes, named, strict=True)
                    if level in hierarchies()[name]}  # fmt: skip
        for code, parent in zip(codes, parents, strict=True):
            if code in depth_of and parent in depth_of:
                self._learn(table, name, depth_of[code], depth_of[parent], [code], [parent])

    def _learn(
        self, table: Counted, name: str, fine: int, coarse: int, low: Sequence[str], high: Sequence[str]
    ) -> None:
        known = self.parents[name, fine, coarse]
        for code, parent in set(zip(low, high, strict=True)):
            if known.setdefault(code, parent) != parent:
                raise DisclosureError(
                    f"{table.dataset}, table {table.table}: code {code} of {name} belongs to two codes of the level "
                    f"{hierarchies()[name][coarse]}; a hierarchy has one. Give the fine code its date, or another level"
                )

    def coarser(self, name: str, code: str, fine: int, coarse: int) -> str:
        if fine == coarse:
            return code
        if name == "time":
            return _time(code, hierarchies()["time"][coarse])
        direct = self.parents[name, fine, coarse].get(code)
        if direct is not None:
            return direct
        for between in range(fine + 1, coarse):
            step = self.parents[name, fine, between].get(code)
            if step is not None:
                return self.coarser(name, step, between, coarse)
        levels = hierarchies()[name]
        raise DisclosureError(
            f"No table of the release says to which {name}.{levels[coarse]} the {name}.{levels[fine]} {code} belongs, "
            "but tables count the same dossiers by both; publish both codes side by side in one of them"
        )


def _time(code: str, level: str) -> str:
    """Return the month, quarter (2025-Q2) or year of a day, month or quarter; a day and anything unknown stay."""
    if level == "day" or not re.match(r"\d{4}($|-)", code):
        return code
    if level == "quarter" and "Q" not in code:
        return f"{code[:4]}-Q{(int(code[5:7]) + 2) // 3}"
    return {"year": code[:4], "quarter": code, "month": code[:7]}[level]


def _depth(dimension: Dimension) -> int:
    return hierarchies()[dimension.name].index(dimension.level)


def _texts(column: pa.ChunkedArray) -> list[str]:
    return [str(value) for value in column.to_pylist()]


class _Builder:
    """Collects cells; a cell is made once, wherever it comes from."""

    def __init__(self) -> None:
        self.number: dict[tuple[Universe, Levels], dict[Codes, int]] = defaultdict(dict)
        self.keys: list[tuple[Universe, Levels, Codes]] = []
        self.values: list[int] = []
        self.published: list[bool] = []
        self.exempt: list[bool] = []
        self.threshold: list[int] = []
        #: Dimensions that only one code of some count fixes: what is left over there is nobody's column.
        self.fixed: dict[tuple[Universe, Levels], set[str]] = defaultdict(set)

    def cell(self, universe: Universe, levels: Levels, codes: Codes, value: int, threshold: int = 0) -> int:
        cells = self.number[universe, levels]
        if codes not in cells:
            cells[codes] = len(self.keys)
            self.keys.append((universe, levels, codes))
            self.values.append(value)
            self.published.append(False)
            self.exempt.append(False)
            self.threshold.append(threshold)
        return cells[codes]

    def loose(self, universe: Universe, levels: Levels, codes: Codes, value: int, threshold: int) -> int:
        """Add a rest: a cell outside the lattice, which no other table can name."""
        self.keys.append(((REST + universe[0], universe[1]), levels, codes))
        self.values.append(value)
        self.published.append(False)
        self.exempt.append(False)
        self.threshold.append(threshold)
        return len(self.keys) - 1


def build(tables: Sequence[Counted], told: Iterable[tuple[Universe, Levels]] = ()) -> System:
    """Return the system of all tables of a release; `told` are levels by which earlier releases counted.

    Raises DisclosureError where two tables disagree on the same cell, a code has no place in its hierarchy, or a
    count is below zero.
    """
    made, tree = _Builder(), _Codes()
    places: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]] = {}
    present: list[np.ndarray] = []
    for table in tables:
        tree.learn(table.declared or table)
    for number, table in enumerate(tables):
        for count in table.policy.counts:
            placed = _place(made, table, count)
            if before := places.get((number, count.column)):
                placed = (np.concatenate([before[0], placed[0]]), np.concatenate([before[1], placed[1]]))
            places[number, count.column] = placed
        present += _present_rows(table, {c.column: places[number, c.column] for c in table.policy.counts})
    sums: list[tuple[np.ndarray, np.ndarray]] = []
    shown = set(made.number)
    common = {}
    for universe in sorted({universe for universe, _ in shown}):
        if circle := _in_a_circle({levels for of, levels in shown if of == universe}):
            common[universe] = _divide_in_common(made, tree, universe, circle)
        # Earlier, coarser counts are sums of today's; finer ones are none of today's cells.
        coarser = {
            levels for of, levels in told
            if of == universe and any(finer(mine, levels) for other, mine in shown if other == universe)
        }  # fmt: skip
        sums += _sums(made, tree, universe, coarser)
    sums += _same_numbers(places)
    return System(
        values=np.array(made.values, dtype=np.int64),
        state=np.where(np.array(made.published, dtype=bool), PUBLISHED, NOWHERE).astype(np.int8),
        exempt=np.array(made.exempt, dtype=bool),
        known_before=np.zeros(len(made.keys), dtype=bool),
        threshold=np.array(made.threshold, dtype=np.int64),
        sums=sums,
        keys=made.keys,
        places=places,
        present_rows=present,
        tables=tables,
        numbers={key: dict(cells) for key, cells in made.number.items()},
        tree=tree,
        common=common,
    )


def _place(made: _Builder, table: Counted, count: Count) -> tuple[np.ndarray, np.ndarray]:
    """Give each row of a count its cell; returns (row numbers, cells)."""
    where, policy = f"{table.dataset}, table {table.table}", table.policy
    if pc.any(pc.less(table.rows[count.column], 0)).as_py():
        raise DisclosureError(f"{where}: column {count.column} holds a count below zero; mend the model")
    values = table.rows[count.column].to_pylist()
    columns = {name: _texts(table.rows[name]) for name in policy.dimensions}
    filters = [(_texts(table.rows[name]), wanted) for name, wanted in count.where]
    depths = {
        name: _texts(table.rows[dimension.level_column]) if dimension.level_column else None
        for name, dimension in policy.dimensions.items()
    }
    universe = (count.of, table.origin)
    fixed = {name: (hierarchies()[name].index(level), code) for name, level, code in count.fixed}
    seen: set[int] = set()
    rows, cells = [], []
    for row, value in enumerate(values):
        if value is None or any(texts[row] != wanted for texts, wanted in filters):
            continue
        at = dict(fixed)
        for column, dimension in policy.dimensions.items():
            code = columns[column][row]
            if code == dimension.total:
                continue
            if dimension.name == "time" and dimension.level_column is None:
                code = _time(code, dimension.level)
            named = depths[column]
            depth = _depth(dimension)
            if named is not None:
                if named[row] not in hierarchies()[dimension.name]:
                    raise DisclosureError(
                        f"{where}: column {dimension.level_column} holds {named[row]!r}, which is no level of "
                        f"{dimension.name} ({', '.join(hierarchies()[dimension.name])})"
                    )
                depth = hierarchies()[dimension.name].index(named[row])
            # A table may carry a code and the one above it; the finer one tells the cell.
            if dimension.name not in at or depth < at[dimension.name][0]:
                at[dimension.name] = (depth, code)
        levels = tuple(sorted((name, depth) for name, (depth, _) in at.items()))
        codes = tuple(at[name][1] for name, _ in levels)
        cell = made.cell(universe, levels, codes, int(value))
        if cell in seen:
            raise DisclosureError(
                f"{where}: two rows hold the same {', '.join(policy.dimensions)}; "
                "a count that is divided by anything else needs it among the dimensions"
            )
        if made.values[cell] != value:
            raise DisclosureError(
                f"{where}: column {count.column} and another table, both of `{count.of}`, give different numbers for "
                f"{', '.join(codes)}; mend the model, or name what this one counts differently (`of`)"
            )
        seen.add(cell)
        made.published[cell] = True
        made.exempt[cell] |= count.exempt is not None
        made.threshold[cell] = max(made.threshold[cell], policy.threshold)
        made.fixed[universe, levels] |= set(fixed)
        rows.append(row)
        cells.append(cell)
    return np.array(rows, dtype=np.int64), np.array(cells, dtype=np.int64)


def _same_numbers(
    places: Mapping[tuple[int, str], tuple[np.ndarray, np.ndarray]],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return sums of two cells that one published number stands for: shown or withheld, they are so together."""
    equal = []
    for rows, cells in places.values():
        first: dict[int, int] = {}
        for row, cell in zip(rows.tolist(), cells.tolist(), strict=True):
            if (other := first.setdefault(row, cell)) != cell:
                equal.append((np.array([other, cell]), np.array([1, -1])))
    return equal


def _present_rows(table: Counted, places: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Return the cells of each row, where no row is all zeros: then a row tells that something is in it."""
    by_row: dict[int, list[int]] = defaultdict(list)
    for rows, cells in places.values():
        for row, cell in zip(rows.tolist(), cells.tolist(), strict=True):
            by_row[row].append(cell)
    counts = [table.rows[column].to_pylist() for column in places]
    if any(not any(count[row] for count in counts) for row in by_row):
        return []
    return [np.array(cells, dtype=np.int64) for cells in by_row.values()]


def _sums(
    made: _Builder, tree: _Codes, universe: Universe, told: set[Levels]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Close the levels of a universe under meeting, fill in what nobody publishes, and return all sums."""
    closed = {levels for of, levels in made.number if of == universe} | told
    grew = True
    while grew:
        more = {_meet(a, b) for a, b in combinations(sorted(closed), 2)} - closed
        grew = bool(more)
        closed |= more
        if len(closed) > MOST_LEVELS:
            raise DisclosureError(
                f"The tables of `{universe[0]}` divide it in more than {MOST_LEVELS} ways; publish fewer tables of it"
            )
    # Fine ones first, so that what is filled in has its parts before it has its wholes.
    order = sorted(closed, key=lambda levels: (-len(levels), sum(depth for _, depth in levels), levels))
    order = sorted(order, key=lambda levels: sum(1 for other in closed if finer(levels, other)), reverse=True)
    groups: dict[tuple[Levels, Levels], dict[int, list[int]]] = {}
    for coarse in order:
        below = [fine for fine in order if fine != coarse and finer(fine, coarse)]
        covered = [
            f
            for f in below
            if not any(m not in (f, coarse) and finer(f, m) and finer(m, coarse) for m in below)
        ]
        for fine in covered:
            parts: dict[Codes, list[int]] = defaultdict(list)
            for codes, cell in list(made.number[universe, fine].items()):
                parts[_coarsen(tree, fine, coarse, codes)].append(cell)
            by_whole = {}
            for codes, cells in parts.items():
                total = sum(made.values[cell] for cell in cells)
                threshold = max(made.threshold[cell] for cell in cells)
                whole = made.cell(universe, coarse, codes, total, threshold)
                if not made.published[whole]:
                    made.values[whole] = max(made.values[whole], total)
                    made.threshold[whole] = max(made.threshold[whole], threshold)
                by_whole[whole] = cells
            groups[fine, coarse] = by_whole
    return [one for pair, group in groups.items() for one in _group_sums(made, universe, *pair, group)]


def _group_sums(
    made: _Builder, universe: Universe, fine: Levels, coarse: Levels, group: Mapping[int, list[int]]
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    rests = {whole: made.values[whole] - sum(made.values[c] for c in cells) for whole, cells in group.items()}
    for whole, rest in rests.items():
        if rest < 0:
            _, levels, codes = made.keys[whole]
            names = ", ".join(f"{dim}={code}" for (dim, _), code in zip(levels, codes, strict=True)) or "all"
            raise DisclosureError(
                f"`{universe[0]}`: the parts by {_say(fine)} hold more than the whole by {_say(coarse) or 'nothing'} "
                f"at {names}; the tables do not count the same dossiers. Mend the models, or give them another `of`"
            )
    dropped = {name for name, _ in fine} - {name for name, _ in coarse}
    # Where one count fixes the code (online), nobody knows that there are no others, though it may be so.
    partial = bool(dropped & made.fixed[universe, fine]) and any(rests.values())
    for whole, cells in group.items():
        numbers, signs = [whole, *cells], [1, *[-1] * len(cells)]
        if rests[whole] or partial:
            _, levels, codes = made.keys[whole]
            threshold = max(made.threshold[cell] for cell in numbers)
            numbers.append(made.loose(universe, levels, codes, rests[whole], threshold))
            signs.append(-1)
        yield np.array(numbers, dtype=np.int64), np.array(signs, dtype=np.int64)


def _meet(a: Levels, b: Levels) -> Levels:
    other = dict(b)
    return tuple((name, max(depth, other[name])) for name, depth in a if name in other)


def finer(a: Levels, b: Levels) -> bool:
    """Return whether cells of levels `a` lie inside cells of levels `b` (or are the same)."""
    fine = dict(a)
    return all(name in fine and fine[name] <= depth for name, depth in b)


def _coarsen(tree: _Codes, fine: Levels, coarse: Levels, codes: Codes) -> Codes:
    at = {name: (depth, code) for (name, depth), code in zip(fine, codes, strict=True)}
    return tuple(tree.coarser(name, at[name][1], at[name][0], depth) for name, depth in coarse)


def _say(levels: Levels) -> str:
    return " x ".join(f"{name}.{hierarchies()[name][depth]}" for name, depth in levels)


def _in_a_circle(shown: set[Levels]) -> list[Levels]:
    """Return those of some levels that go round in a circle; none where one division follows from the next."""
    left = _without_ears([_attributes(levels) for levels in shown])
    return sorted(levels for levels in shown if any(edge <= _attributes(levels) for edge in left))


def _divide_in_common(made: _Builder, tree: _Codes, universe: Universe, circle: Sequence[Levels]) -> Levels:
    """Add the cells of the division by all that a circle of levels divides by; returns its levels.

    How many dossiers each holds, nobody published: any numbers will do that add up to what is counted, since they
    are one of the possible worlds, as are those that really are.
    """
    # Takes some 25 MiB, and few releases have a circle.
    from scipy.optimize import LinearConstraint, milp

    finest: dict[str, int] = {}
    for levels in circle:
        for name, depth in levels:
            finest[name] = min(depth, finest.get(name, depth))
    common = tuple(sorted(finest.items()))
    joined: list[dict[str, tuple[int, str]]] = [{}]
    for levels in circle:
        joined = _join(tree, joined, levels, made.number[universe, levels])
        if len(joined) > MOST_COMMON:
            raise DisclosureError(
                f"The tables of `{universe[0]}` by {'; '.join(_say(one) for one in circle)} go round in a circle, and "
                f"more than {MOST_COMMON} cells divide it by all of them; publish one of these at a coarser level"
            )
    codes = sorted({tuple(at[name][1] for name, _ in common) for at in joined})
    rows: dict[int, list[int]] = {
        cell: [] for levels in circle for cell in made.number[universe, levels].values()
    }
    for number, fine in enumerate(codes):
        for levels in circle:
            rows[made.number[universe, levels][_coarsen(tree, common, levels, fine)]].append(number)
    held = np.array([made.values[cell] for cell in rows], dtype=float)
    pairs = [(row, number) for row, numbers in enumerate(rows.values()) for number in numbers]
    at_row, at_number = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    parts = csr_matrix((np.ones(len(pairs)), (at_row, at_number)), shape=(len(rows), len(codes)))
    # What one table counts and another does not is left over, as little as can be.
    matrix = hstack([parts, identity(len(rows))], format="csr")
    found = milp(
        c=np.r_[np.zeros(len(codes)), np.ones(len(rows))],
        constraints=LinearConstraint(matrix, held, held),
        integrality=np.ones(len(codes) + len(rows)),
        options={"time_limit": 300.0},
    )
    if found.x is None:
        raise DisclosureError(
            f"The tables of `{universe[0]}` go round in a circle and no numbers were found that they all add up from "
            f"({found.message}); publish one of {'; '.join(_say(one) for one in circle)} at a coarser level"
        )
    threshold = max(made.threshold[cell] for cell in rows)
    for fine, value in zip(codes, np.rint(found.x).astype(np.int64).tolist(), strict=False):
        made.cell(universe, common, fine, value, threshold)
    return common


def _join(
    tree: _Codes, joined: Sequence[Mapping[str, tuple[int, str]]], levels: Levels, cells: Iterable[Codes]
) -> list[dict[str, tuple[int, str]]]:
    """Return each of `joined` (dimension: depth, code) with each cell that agrees where both say something."""
    seen = dict(joined[0]) if joined else {}
    shared = {name: max(depth, seen[name][0]) for name, depth in levels if name in seen}

    def key(at: Mapping[str, tuple[int, str]]) -> Codes:
        return tuple(tree.coarser(name, at[name][1], at[name][0], depth) for name, depth in shared.items())

    matching: dict[Codes, list[dict[str, tuple[int, str]]]] = defaultdict(list)
    for codes in cells:
        at = {name: (depth, code) for (name, depth), code in zip(levels, codes, strict=True)}
        matching[key(at)].append(at)
    return [
        {name: min(at[name] for at in (mine, its) if name in at) for name in {**mine, **its}}
        for mine in joined
        for its in matching[key(mine)]
    ]


def _attributes(levels: Levels) -> frozenset[tuple[str, int]]:
    """Return all that a cell's levels tell: its month tells its quarter and year."""
    return frozenset(
        (name, above) for name, depth in levels for above in range(depth, len(hierarchies()[name]))
    )


def _without_ears(edges: list[frozenset[tuple[str, int]]]) -> list[frozenset[tuple[str, int]]]:
    """Reduce a hypergraph by Graham's rules; nothing is left of one without cycles."""
    edges = [edge for edge in set(edges) if edge]
    while True:
        seen = [attribute for edge in edges for attribute in edge]
        reduced = {frozenset(a for a in edge if seen.count(a) > 1) for edge in edges}
        reduced = {edge for edge in reduced if edge and not any(edge < other for other in reduced)}
        if reduced == set(edges):
            return sorted(edges, key=sorted) if len(edges) > 1 else []
        edges = list(reduced)
