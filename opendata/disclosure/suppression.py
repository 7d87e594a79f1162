"""Which cells are withheld: small ones, then others so that none can be had back by subtraction.

A greedy choice first (in each sum with a withheld cell: the cheapest others that give it room), then the audit, then
repair of what the audit finds: in the sums that hold a cell too tightly, the cheapest further cell goes.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from opendata.disclosure.audit import Audit, Bounds, audit, concerned, known_to_all, unknown_cells
from opendata.disclosure.system import CHANGE, NOWHERE, PUBLISHED, WITHHELD, DisclosureError, System

MOST_REPAIRS = 40


@dataclass(frozen=True)
class Naive:
    """What withholding the small cells alone would have done: how many, and what a reader would still get."""

    withheld: int
    exactly: int
    too_closely: int


def naive(system: System) -> Naive:
    """Audit the release as if only small cells were withheld."""
    known = known_to_all(system)
    small = system.small & known & ~system.exempt & ~system.known_before
    known[small] = False
    done = audit(system, known, np.flatnonzero(small), limit=None)
    exact = sum(bounds.low == bounds.high for bounds in done.failed.values())
    return Naive(int(small.sum()), exact, len(done.failed) - exact)


def suppress(system: System) -> Audit:
    """Set the state of cells to WITHHELD until every small one is protected; return the last audit.

    Raises DisclosureError where a small cell cannot be protected, naming it by its keys.
    """
    exempt = derived_from_exempt(system)
    system.exempt |= exempt & (system.state == PUBLISHED)
    # One told earlier protects nothing any more, but is not shown again either.
    system.state[system.small & (system.state == PUBLISHED) & ~system.exempt] = WITHHELD
    work = _Choice(system)
    work.settle(range(len(system.sums)))
    before: Audit | None = None
    system.excused = set(np.flatnonzero(exempt | system.known_before).tolist()) | changes_told(system)
    excused = system.excused
    for _ in range(MOST_REPAIRS):
        known = known_to_all(system) | exempt
        targets = np.flatnonzero(system.small & ~known & concerned(system))
        targets = np.array([cell for cell in targets.tolist() if cell not in excused], dtype=np.int64)
        before = audit(system, known, targets, before)
        if not before.failed:
            return before
        stuck = [cell for cell, bounds in before.failed.items() if not work.repair(cell, bounds)]
        # Where others were repaired, what was withheld there may free the stuck ones, too: look again first.
        if len(stuck) == len(before.failed):
            inherent = told_already(system, {cell: before.failed[cell] for cell in stuck})
            excused |= inherent
            left = [cell for cell in stuck if cell not in inherent]
            if not left or [cell for cell in left if work.repair(cell, before.failed[cell], zeros=True)]:
                continue
            # That a row is there cannot be taken back: by it alone a change may be held away from 0 and 1.
            spans = before.highest - before.lowest
            by_presence = {c for c in before.by_presence & set(left) if spans[c] >= system.threshold[c]}
            if not by_presence:
                raise DisclosureError(_refusal(system, {cell: before.failed[cell] for cell in left}))
            excused |= by_presence
    raise DisclosureError(_refusal(system, before.failed if before else {}))


def _refusal(system: System, failed: Mapping[int, Bounds]) -> str:
    cells = list(failed)
    shown = "\n- ".join(system.name(cell) for cell in cells[:20])
    more = f"\n- and {len(cells) - 20} more" if len(cells) > 20 else ""
    tables = _tables_that_hold(system, failed)
    named = "; ".join(f"{dataset}, table {table}" for dataset, table in tables)
    first = tables[0][0] if tables else "<dataset>"
    return (
        f"{len(cells)} small cell(s) could be worked out from what is published, and nothing more can be withheld "
        f"beside them (the rest is exempt or was published earlier):\n- {shown}{more}\n"
        f"They are held by: {named or 'no table of today'}. Coarsen one of these (`coarsen` in "
        f"opendata/approvals/{first}.yml), look at what is exempt, or leave one out until there is more to count: "
        f"python -m opendata withdraw {first} --by <office> --reason-vi ... --reason-en ..., then publish; "
        f"later python -m opendata restore {first}. docs/disclosure.md, When a policy changes, says more"
    )


def _tables_that_hold(system: System, failed: Mapping[int, Bounds]) -> list[tuple[str, str]]:
    """Return (dataset, table) of those with cells in the sums that bound some cells; not exempt ones, nearest first."""
    near: Counter[int] = Counter(failed.keys())
    for bounds in failed.values():
        for number in bounds.binding:
            near.update(system.sums[number][0].tolist())
    held: Counter[tuple[str, str]] = Counter()
    for (number, column), (_, placed) in system.places.items():
        table = system.tables[number]
        if column in table.policy.count_columns:
            held[table.dataset, table.table] += sum(near[cell] for cell in placed.tolist())
    return [table for table, times in held.most_common() if times]


def derived_from_exempt(system: System) -> np.ndarray:
    """Return the mask of cells that are exempt, or follow exactly from exempt cells by subtraction."""
    known = system.exempt.copy()
    if known.any():
        for cell in unknown_cells(system, known, sums_only=True).fixed:
            known[cell] = True
    return known


def changes_told(system: System) -> set[int]:
    """Return the changes of a count that earlier releases tell by themselves: nothing takes them back."""
    fixed = unknown_cells(system, system.exempt | system.known_before, sums_only=True).fixed
    return {cell for cell in fixed if system.keys[cell][0][0].startswith(CHANGE)}


def told_already(system: System, failed: dict[int, Bounds]) -> set[int]:
    """Return the cells that exempt figures and earlier releases alone hold away from 0 and 1, or as closely as now.

    Whatever is withheld today, that stays known: an earlier release divided a sum in another way, maybe, under another
    policy. What today may still be asked for is the width, and that is asked for.
    """
    told = system.exempt | system.known_before
    if not told.any():
        return set()
    # These sums hold whatever else is published; that a row exists is told by the publication.
    cells = np.array(sorted(failed), dtype=np.int64)
    done = audit(system, told, cells, limit=None, sums_only=True)
    inherent = set()
    for cell, bounds in failed.items():
        alone = done.failed.get(cell)
        if alone and bounds.high - bounds.low >= min(alone.high - alone.low, int(system.threshold[cell])):
            inherent.add(cell)
    return inherent


class _Choice:
    """The greedy choice. A sum has two sides; signed +1 cells and -1 cells add up to the same."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.sums = _without_nowhere(system)
        self.users: dict[int, list[int]] = defaultdict(list)
        for number, (cells, _) in enumerate(self.sums):
            for cell in cells.tolist():
                self.users[cell].append(number)
        self.by_source: dict[int, list[int]] = defaultdict(list)
        self.protected = concerned(system)

    def settle(self, numbers: range) -> None:
        """Go through the sums until each gives its withheld cells room."""
        queue = deque(range(len(self.sums)))
        waiting = set(queue)
        while queue:
            number = queue.popleft()
            waiting.discard(number)
            while (cell := self._wanted(number)) is not None:
                for other in self._withhold(cell):
                    if other not in waiting:
                        waiting.add(other)
                        queue.append(other)

    def _withhold(self, cell: int) -> list[int]:
        self.system.state[cell] = WITHHELD
        return self.users[cell]

    def _free(self, cells: np.ndarray, zeros: bool = False) -> np.ndarray:
        """Cells that could still be withheld; with `zeros`, those that are 0."""
        system = self.system
        open_to_all = system.exempt[cells] | system.known_before[cells]
        return cells[
            (system.state[cells] == PUBLISHED) & ~open_to_all & ((system.values[cells] == 0) == zeros)
        ]

    def _wanted(self, number: int) -> int | None:
        """Return the cheapest cell that a sum needs withheld, or None where it gives room enough."""
        system = self.system
        cells, signs = self.sums[number]
        unknown = (system.state[cells] != PUBLISHED) & ~(system.known_before[cells] | system.exempt[cells])
        if not unknown.any():
            return None
        values, small = system.values[cells], system.small[cells] & self.protected[cells]
        need = 0
        for sign in (1, -1):
            mine, theirs = unknown & (signs == sign), unknown & (signs == -sign)
            if not mine.any():
                continue
            total, count = int(values[mine].sum()), int(mine.sum())
            if theirs.any():
                # One cell against others: it can fall only as far as they can.
                if count == 1 and (small & mine).any() and total - int(values[theirs].sum()) > 1:
                    need = max(need, 1)
                continue
            largest = int(values[mine].max())
            withheld = mine & (system.state[cells] == WITHHELD)
            if (small & mine).any():
                room = int(system.threshold[cells[small & mine]].max())
                short = room - total
                need = max(need, short, 1 if count == 1 else 0)
            elif withheld.any() and count > 0 and total - largest < 1:
                need = max(need, 1)
        if need <= 0:
            return None
        free = self._free(cells)
        if not len(free):
            return None  # the audit will tell whether it matters
        enough = free[system.values[free] >= need]
        pool = enough if len(enough) else free
        best = pool[np.argmin(system.values[pool])] if len(enough) else pool[np.argmax(system.values[pool])]
        return int(best)

    def repair(self, cell: int, bounds: Bounds, zeros: bool = False) -> bool:
        """Withhold one more cell where a sum holds `cell` too tightly; False where there is none.

        With `zeros`, one that is 0: a total that is public by law and as small leaves nothing else to hide it in.
        """
        system = self.system
        rows = list(bounds.binding) or [
            n
            for n, (cells, _) in enumerate(system.sums)
            if cell in cells  # a cell held by no sum cannot fail
        ]
        near = [system.sums[n][0] for n in rows]
        pool = self._free(np.unique(np.concatenate(near)), zeros) if near else np.zeros(0, dtype=np.int64)
        if not len(pool):
            near = [system.sums[n][0] for n, (cells, _) in enumerate(system.sums) if cell in cells]
            pool = self._free(np.unique(np.concatenate(near)), zeros) if near else pool
        if not len(pool):
            return False
        values = system.values[pool]
        # Something with room of its own; of these the cheapest.
        enough = pool[values >= int(system.threshold[cell])]
        best = enough[np.argmin(system.values[enough])] if len(enough) else pool[np.argmax(values)]
        queue = deque(self._withhold(int(best)))
        while queue:
            number = queue.popleft()
            while (more := self._wanted(number)) is not None:
                queue.extend(self._withhold(more))
        return True


def _without_nowhere(system: System) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the sums with cells nobody publishes replaced by what they add up to, where two sums share one.

    A month that is published nowhere, but is the sum of agencies and of communes: agencies and communes add up alike.
    """
    holders: dict[int, list[int]] = defaultdict(list)
    for number, (cells, _) in enumerate(system.sums):
        for cell in cells[system.state[cells] == NOWHERE].tolist():
            of, levels, _ = system.keys[cell]
            if system.common.get(of) != levels:
                holders[cell].append(number)
    sums = list(system.sums)
    for cell, numbers in holders.items():
        if len(numbers) < 2:
            continue
        first = numbers[0]
        base_cells, base_signs = system.sums[first]
        for other in numbers[1:]:
            cells, signs = system.sums[other]
            mine, theirs = base_signs[base_cells == cell][0], signs[cells == cell][0]
            joined = np.concatenate([base_cells[base_cells != cell], cells[cells != cell]])
            turned = np.concatenate([base_signs[base_cells != cell], -mine * theirs * signs[cells != cell]])
            sums.append((joined, turned))
    return sums
