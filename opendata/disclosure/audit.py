"""Proof that no withheld cell can be bounded: what a reader of everything published could work out.

All that is published are linear constraints over whole numbers of at least 0. A small cell is protected when a
possible world (a table of whole numbers that agrees with everything published) has 0 or 1 in it, and another has at
least `threshold` more. The solver's worlds are checked by arithmetic and each serves as a witness for all cells, so
few solves are needed; where the solver's optimum itself is too narrow, the cell is not protected.

That a row is there tells of at least one dossier in it. This counts for the width; but a reader who knows by it alone
that a cell holds 2 or more (it has two rows) knows of nobody, so the lower end is judged without it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import highspy
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from opendata.disclosure.system import CHANGE, NOWHERE, PUBLISHED, REST, DisclosureError, System, TooFine

#: Withheld cells in one linked group beyond which the solver does not end in minutes.
MOST_LINKED = 3_000
#: Components smaller than this share one model: a solve costs more to start than to run.
PACK = 400
#: Instead of the number of a sum, for a constraint of another kind.
ROW_IS_THERE = -1


@dataclass(frozen=True)
class Bounds:
    """What a reader can work out of a cell, both ends included; `binding` are the sums that hold it."""

    low: int
    high: int
    binding: tuple[int, ...] = ()


@dataclass
class Audit:
    """Outcome: cells to be protected, those that are not, and how the proof went.

    `lowest` and `highest` are the extremes of each cell over all possible worlds met.
    """

    audited: np.ndarray
    failed: dict[int, Bounds]
    lowest: np.ndarray
    highest: np.ndarray
    #: Cells that may hold 0 or 1, the presence of rows left aside; changes may with all that is known.
    low_enough: np.ndarray
    #: Changes that could be 0 or 1 but for the rows that are there.
    by_presence: set[int] = field(default_factory=set)
    solves: int = 0
    worlds: int = 0
    groups: int = 0
    largest_group: int = 0


@dataclass
class _Rows:
    """Constraints over the unknown cells: matrix (rows x cells), lower and upper ends, and the sum each came from."""

    matrix: csr_matrix
    low: np.ndarray
    high: np.ndarray
    source: np.ndarray
    fixed: dict[int, int] = field(default_factory=dict)
    fixed_by: dict[int, int] = field(default_factory=dict)


def unknown_cells(system: System, known: np.ndarray, sums_only: bool = False) -> _Rows:
    """Return the constraints left when the cells in `known` (a mask) are replaced by their values.

    Sums with one unknown cell give it away; these cells are fixed, one after the other, until none is left.
    `sums_only` leaves out what the presence of rows tells.
    """
    known = known.copy()
    users: dict[int, list[int]] = defaultdict(list)
    open_in = np.zeros(len(system.sums), dtype=np.int64)
    for number, (cells, _) in enumerate(system.sums):
        left = cells[~known[cells]]
        open_in[number] = len(left)
        for cell in left.tolist():
            users[cell].append(number)
    fixed: dict[int, int] = {}
    fixed_by: dict[int, int] = {}
    queue = [int(n) for n in np.flatnonzero(open_in == 1)]
    while queue:
        number = queue.pop()
        cells, _ = system.sums[number]
        left = cells[~known[cells]]
        if len(left) != 1:
            continue
        cell = int(left[0])
        known[cell] = True
        fixed[cell], fixed_by[cell] = int(system.values[cell]), number
        for other in users[cell]:
            open_in[other] -= 1
            if open_in[other] == 1:
                queue.append(other)
    data, columns, pointers, low, high, source = [], [], [0], [], [], []
    for number in np.flatnonzero(open_in > 0).tolist():
        cells, signs = system.sums[number]
        unknown = ~known[cells]
        rest = -int(np.dot(signs[~unknown], system.values[cells[~unknown]]))
        data.append(signs[unknown])
        columns.append(cells[unknown])
        pointers.append(pointers[-1] + int(unknown.sum()))
        low.append(rest)
        high.append(rest)
        source.append(number)
    for cells in () if sums_only else system.present_rows:
        unknown = ~known[cells]
        # At least one dossier is in the row; where a shown count says so already, that tells nothing more.
        if unknown.any() and not system.values[cells[~unknown]].any():
            data.append(np.ones(int(unknown.sum()), dtype=np.int64))
            columns.append(cells[unknown])
            pointers.append(pointers[-1] + int(unknown.sum()))
            low.append(1)
            high.append(np.iinfo(np.int64).max)
            source.append(ROW_IS_THERE)
    matrix = csr_matrix(
        (
            np.concatenate(data) if data else np.zeros(0, dtype=np.int64),
            np.concatenate(columns) if columns else np.zeros(0, dtype=np.int64),
            np.array(pointers),
        ),
        shape=(len(low), len(system.values)),
    )
    return _Rows(
        matrix,
        np.array(low, dtype=np.int64),
        np.array(high, dtype=np.int64),
        np.array(source, dtype=np.int64),
        fixed,
        fixed_by,
    )


def known_to_all(system: System) -> np.ndarray:
    """Return the mask of cells whose value a reader has: published now, or in an earlier release."""
    return (system.state == PUBLISHED) | system.known_before


def audit(
    system: System,
    known: np.ndarray | None = None,
    cells: np.ndarray | None = None,
    before: Audit | None = None,
    limit: int | None = MOST_LINKED,
    sums_only: bool = False,
) -> Audit:
    """Bound every small cell that is not `known` (by default: by what the system publishes).

    `cells` narrows it to some; `before` brings the worlds of an audit with fewer unknown cells, which stay possible.
    Raises TooFine where more than `limit` withheld cells are linked.
    """
    known = known_to_all(system) if known is None else known
    if cells is None:
        cells = np.flatnonzero(system.small & ~known & concerned(system))
    lowest = before.lowest.copy() if before else system.values.copy()
    highest = before.highest.copy() if before else system.values.copy()
    done = Audit(cells, {}, lowest, highest, before.low_enough.copy() if before else system.values <= 1)
    rows = unknown_cells(system, known, sums_only)
    for cell in cells.tolist():
        if cell in rows.fixed:
            value = rows.fixed[cell]
            done.failed[cell] = Bounds(value, value, _chain(system, rows, [rows.fixed_by[cell]]))
    open_cells = [c for c in cells.tolist() if c not in done.failed and not _proved(system, done, c)]
    if not open_cells:
        return done
    for group in _groups(system, rows, np.array(open_cells), done, limit):
        _Group(system, rows, group, done).run()
    for cell, bounds in done.failed.items():
        done.failed[cell] = Bounds(bounds.low, bounds.high, _chain(system, rows, list(bounds.binding)))
    return done


def _chain(system: System, rows: _Rows, binding: list[int]) -> tuple[int, ...]:
    """Return the sums that hold a cell, with those by which their other unpublished cells came to be known."""
    found = list(dict.fromkeys(binding))
    for number in found:
        for cell in system.sums[number][0].tolist():
            by = rows.fixed_by.get(cell)
            if by is not None and by not in found:
                found.append(by)
    return tuple(found)


def concerned(system: System) -> np.ndarray:
    """Return the mask of cells that need protection when small: published ones, and rests of sums.

    Where levels merely meet, a small cell has only smaller parts, which are protected themselves.
    """
    rests = np.array([of.startswith((REST, CHANGE)) for (of, _), _, _ in system.keys], dtype=bool)
    return (system.state != NOWHERE) | rests


def _proved(system: System, done: Audit, cell: int) -> bool:
    return bool(done.low_enough[cell] and done.highest[cell] - done.lowest[cell] >= system.threshold[cell])


def _groups(
    system: System, rows: _Rows, targets: np.ndarray, done: Audit, limit: int | None
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return (cells, rows, targets) of each solver model: linked components, small ones packed together."""
    matrix = rows.matrix
    count, cells = matrix.shape
    # A bipartite graph of rows and cells; cells in no row are alone, and free.
    row_of = np.repeat(np.arange(count), np.diff(matrix.indptr))
    graph = csr_matrix(
        (np.ones(len(matrix.indices), dtype=np.int8), (row_of, matrix.indices + count)),
        shape=(count + cells, count + cells),
    )
    _, label = connected_components(graph, directed=False)
    wanted = np.unique(label[targets + count])
    members: dict[int, list[int]] = {int(one): [] for one in wanted}
    in_rows: dict[int, list[int]] = {int(one): [] for one in wanted}
    for cell in np.unique(np.concatenate([matrix.indices, targets])).tolist():
        if (one := int(label[cell + count])) in members:
            members[one].append(cell)
    for row in range(count):
        if (one := int(label[row])) in in_rows:
            in_rows[one].append(row)
    aims: dict[int, list[int]] = defaultdict(list)
    for cell in targets.tolist():
        aims[int(label[cell + count])].append(cell)
    done.groups += len(wanted)
    packed: list[tuple[list[int], list[int], list[int]]] = []
    current: tuple[list[int], list[int], list[int]] = ([], [], [])
    for one in sorted(members, key=lambda one: (len(members[one]), one)):
        withheld = int((system.state[members[one]] != NOWHERE).sum())
        done.largest_group = max(done.largest_group, withheld)
        if limit is not None and withheld > limit:
            dimensions = sorted({dim for c in members[one][:2000] for dim, _ in system.keys[c][1]})
            told = (
                f"{withheld} withheld cells are linked with each other, more than the {limit} that can be audited; one "
                f"of them: {system.name(aims[one][0])}. Coarsen one of {', '.join(dimensions)}, or publish fewer totals"
            )
            raise TooFine({_table_with_most(system, members[one]): told})
        for target, part in zip(current, (members[one], in_rows[one], aims[one]), strict=True):
            target.extend(part)
        if len(current[0]) >= PACK:
            packed.append(current)
            current = ([], [], [])
    if current[0]:
        packed.append(current)
    return [(np.array(a), np.array(b, dtype=np.int64), np.array(c)) for a, b, c in packed]


def _table_with_most(system: System, cells: list[int]) -> int:
    """Return the number of the table that has most of some cells."""
    held: Counter[int] = Counter()
    for (number, _), (_, placed) in system.places.items():
        held[number] += int(np.isin(placed, cells).sum())
    return held.most_common(1)[0][0]


class _Group:
    """One solver model, kept warm: only costs change from solve to solve."""

    def __init__(
        self, system: System, rows: _Rows, group: tuple[np.ndarray, np.ndarray, np.ndarray], done: Audit
    ) -> None:
        self.system, self.done = system, done
        self.cells, self.rows, self.targets = group
        self.matrix = rows.matrix[self.rows][:, self.cells].tocsr()
        self.low, self.high = rows.low[self.rows], rows.high[self.rows]
        self.source = rows.source[self.rows]
        self.at = {int(cell): number for number, cell in enumerate(self.cells)}
        # A bound that no possible move of interest meets: it keeps the solver from running to infinity.
        self.far = int(system.values[self.cells].sum()) + 4 * int(system.threshold[self.cells].max()) + 10
        self.solver = self._solver()
        self.bare: highspy.Highs | None = None
        # Of a count, that its row is there tells no more than 1; of a change it may tell more.
        self.is_change = np.array(
            [system.keys[c][0][0].startswith(CHANGE) for c in self.cells.tolist()], dtype=bool
        )

    def _solver(self) -> highspy.Highs:
        solver = highspy.Highs()
        for name, value in (("output_flag", False), ("threads", 1), ("solver", "simplex")):
            solver.setOptionValue(name, value)
        model = highspy.HighsLp()
        count, total = len(self.cells), len(self.rows)
        model.num_col_, model.num_row_ = count, total
        model.col_cost_ = np.zeros(count)
        model.col_lower_ = np.zeros(count)
        model.col_upper_ = np.full(count, float(self.far))
        model.row_lower_ = self.low.astype(float)
        model.row_upper_ = np.where(
            self.high == np.iinfo(np.int64).max, highspy.kHighsInf, self.high.astype(float)
        )
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = self.matrix.indptr.astype(np.int32)
        model.a_matrix_.index_ = self.matrix.indices.astype(np.int32)
        model.a_matrix_.value_ = self.matrix.data.astype(float)
        solver.passModel(model)
        return solver

    def run(self) -> None:
        """Try for many cells at once first, then for each that is left."""
        for goal in (-1.0, 1.0, -1.0, 1.0):
            wanting = self._wanting()
            if not wanting:
                return
            self._solve(dict.fromkeys(wanting, goal))
        for cell in self._wanting():
            if not _proved(self.system, self.done, cell):
                self._settle(cell)

    def _wanting(self) -> list[int]:
        return [cell for cell in self.targets.tolist() if not _proved(self.system, self.done, cell)]

    def _settle(self, cell: int) -> None:
        """Prove one cell, or record what bounds it."""
        threshold = int(self.system.threshold[cell])
        held: tuple[int, ...] = ()
        if not self.done.low_enough[cell]:
            low, held = self._end(cell, -1.0)
            if low > 1:
                self._lower_without_rows(cell)
        if self.done.low_enough[cell] and self.done.highest[cell] - self.done.lowest[cell] >= threshold:
            return
        high, above = self._end(cell, 1.0)
        if _proved(self.system, self.done, cell):
            return
        low, below = self._end(cell, -1.0)
        if not _proved(self.system, self.done, cell):
            self.done.failed[cell] = Bounds(low, high, tuple(dict.fromkeys(above + below + held)))

    def _lower_without_rows(self, cell: int) -> None:
        """Look for a world in which the cell is 0 or 1, were it not for the rows that are there."""
        if self.bare is None:
            self.bare = self._solver()
            for row in np.flatnonzero(self.source == ROW_IS_THERE).tolist():
                self.bare.changeRowBounds(row, -highspy.kHighsInf, highspy.kHighsInf)
        index = np.array([self.at[cell]], dtype=np.int32)
        self.bare.changeColsCost(1, index, np.ones(1))
        self.bare.run()
        self.done.solves += 1
        values = np.array(self.bare.getSolution().col_value)
        self.bare.changeColsCost(1, index, np.zeros(1))
        rounded = np.rint(values).astype(np.int64)
        sums = self.matrix @ rounded
        there = self.source == ROW_IS_THERE
        possible_world = np.abs(values - rounded).max(initial=0.0) <= 1e-6 and rounded.min(initial=0) >= 0
        if possible_world and bool(np.all(((sums >= self.low) & (sums <= self.high)) | there)):
            self.done.low_enough[self.cells] |= (rounded <= 1) & ~self.is_change
            if self.is_change[self.at[cell]] and rounded[self.at[cell]] <= 1:
                self.done.by_presence.add(cell)

    def _end(self, cell: int, goal: float) -> tuple[int, tuple[int, ...]]:
        """Return the whole-number end of a cell's interval and the sums that hold it there."""
        best, rows, whole = self._solve({cell: goal})
        if not whole:
            best = self._solve_whole(cell, goal)
        return best, rows

    def _solve(self, goals: dict[int, float]) -> tuple[int, tuple[int, ...], bool]:
        index = np.array([self.at[cell] for cell in goals], dtype=np.int32)
        # The solver minimises: a cell that should grow costs -1.
        self.solver.changeColsCost(len(index), index, -np.array(list(goals.values()), dtype=float))
        self.solver.run()
        self.done.solves += 1
        self._check_status("bounding the withheld cells")
        solution = self.solver.getSolution()
        values = np.array(solution.col_value)
        duals = np.array(solution.row_dual)
        self.solver.changeColsCost(len(index), index, np.zeros(len(index)))
        whole = self._witness(values)
        first = values[index[0]]
        # Floor of the upper end, ceiling of the lower one: no whole number lies beyond.
        end = int(np.floor(first + 1e-6)) if next(iter(goals.values())) > 0 else int(np.ceil(first - 1e-6))
        binding = (
            tuple(int(s) for s in self.source[np.abs(duals) > 1e-9] if s >= 0) if len(goals) == 1 else ()
        )
        return end, binding, whole

    def _solve_whole(self, cell: int, goal: float) -> int:
        """Repeat a solve over whole numbers, in a model of its own so that the warm one stays as it is."""
        solver = self._solver()
        count = len(self.cells)
        kinds = np.full(count, int(highspy.HighsVarType.kInteger), dtype=np.uint8)
        solver.changeColsIntegrality(count, np.arange(count, dtype=np.int32), kinds)
        solver.changeColsCost(1, np.array([self.at[cell]], dtype=np.int32), np.array([-goal]))
        solver.run()
        self.done.solves += 1
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise DisclosureError(
                f"The audit could not bound {self.system.name(cell)} over whole numbers "
                f"({solver.modelStatusToString(solver.getModelStatus())}); coarsen one of its dimensions"
            )
        values = np.array(solver.getSolution().col_value)
        self._witness(values)
        return int(np.rint(values[self.at[cell]]))

    def _check_status(self, doing: str) -> None:
        status = self.solver.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            raise DisclosureError(
                f"The solver gave up {doing} ({self.solver.modelStatusToString(status)}) near "
                f"{self.system.name(int(self.targets[0]))}; coarsen one of its dimensions, or report this as a defect"
            )

    def _witness(self, values: np.ndarray) -> bool:
        """Take a solution as a witness for all its cells, if it is a possible world; rows are checked exactly."""
        rounded = np.rint(values).astype(np.int64)
        if np.abs(values - rounded).max(initial=0.0) > 1e-6 or rounded.min(initial=0) < 0:
            return False
        sums = self.matrix @ rounded
        if not bool(np.all((sums >= self.low) & (sums <= self.high))):
            return False
        self.done.worlds += 1
        self.done.lowest[self.cells] = np.minimum(self.done.lowest[self.cells], rounded)
        self.done.highest[self.cells] = np.maximum(self.done.highest[self.cells], rounded)
        self.done.low_enough[self.cells] |= rounded <= 1
        return True
