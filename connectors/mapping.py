"""From nested JSON records to flat columns, by a table of paths and one loop.

A mapping is ``{contract column: path}``; a path is keys joined by dots. ``name[vi]`` picks the Vietnamese
entry of iGate's ``[{languageId, name}]`` lists. What a mapping does not mention and does not ignore is an
undeclared column: it is counted by path, and its values go to quarantine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.typing import MISSING

VIETNAMESE = 228


@dataclass(frozen=True)
class Path:
    """Where a column stands in a record, with a translation of its codes where the source has its own."""

    path: str
    values: Mapping[Any, Any] | None = None


def flatten(
    records: Sequence[Any], mapping: Mapping[str, str | Path]
) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Columns of `records` by `mapping`, and the path of each column for error messages.

    Takes any JSON: where an object was expected and something else stands, the columns below it are None.
    """
    levels: dict[str, list[Any]] = {"": list(records)}
    columns: dict[str, list[Any]] = {}
    paths: dict[str, str] = {}
    for column, where in mapping.items():
        spec = where if isinstance(where, Path) else Path(where)
        values = _values(levels, spec.path)
        if spec.values is not None:
            table = spec.values
            # An unknown code stays as it is: the contract rejects it and says so.
            values = [table.get(v, v) if v.__hash__ else v for v in values]
        columns[column] = values
        paths[column] = spec.path
    return columns, paths


def _values(levels: dict[str, list[Any]], path: str) -> list[Any]:
    if path in levels:
        return levels[path]
    parent, _, key = path.rpartition(".")
    language = key.endswith("[vi]")
    if language:
        key = key[:-4]
    above = _values(levels, parent)
    # A parent that is null, or no object, makes the child null; a parent never sent makes it missing.
    found = [v.get(key, MISSING) if type(v) is dict else (MISSING if v is MISSING else None) for v in above]
    if language:
        found = [_vietnamese(v) for v in found]
    levels[path] = found
    return found


class _Nothing(dict):
    """Stands for an object that is null: whatever is asked of it is null too."""

    def __missing__(self, key: str) -> None:
        return None


_NOTHING = _Nothing()


class Reader:
    """Reads one record after another by a mapping: a row of values in the mapping's order.

    Doing a page at once while it is fresh in the processor's cache, instead of column by column through a
    whole chunk, takes a fifth of the time. Made once for a mapping; threads may share it. Columns named in
    `optional` are null, not MISSING, where the source leaves their key out.
    """

    def __init__(
        self, mapping: Mapping[str, str | Path], ignored: Sequence[str] = (), optional: Sequence[str] = ()
    ) -> None:
        specs = {c: w if isinstance(w, Path) else Path(w) for c, w in mapping.items()}
        self.paths = {c: s.path for c, s in specs.items()}
        self._translated = {c: s.values for c, s in specs.items() if s.values is not None}
        self._optional = frozenset(optional)
        self._known = declared_keys(mapping, ignored)
        self._quick = self._compiled()

    def read(self, record: Any, extra: list[dict[str, Any]]) -> tuple[Any, ...]:
        """The row of `record`; its undeclared values, if any, are added to `extra` as {path: value}."""
        try:
            row, spare = self._quick(record)
        except (KeyError, TypeError, AttributeError):
            # A key was never sent, or something stands where an object should.
            self._note_undeclared(record, extra)
            levels: dict[str, list[Any]] = {"": [record]}
            row = tuple(_values(levels, path)[0] for path in self.paths.values())
            return tuple(
                None if v is MISSING and c in self._optional else v
                for c, v in zip(self.paths, row, strict=True)
            )
        if spare:
            self._note_undeclared(record, extra)
        return row

    def columns(self, rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
        """The rows turned into columns, with the source's codes translated."""
        lists: Sequence[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(self.paths)
        columns = {c: list(values) for c, values in zip(self.paths, lists, strict=True)}
        for column, table in self._translated.items():
            # An unknown code stays as it is: the contract rejects it and says so.
            columns[column] = [table.get(v, v) if v.__hash__ else v for v in columns[column]]
        return columns

    def _note_undeclared(self, record: Any, extra: list[dict[str, Any]]) -> None:
        extra += [values for _, values in undeclared([record], self._known, Counter())]

    def _compiled(self) -> Callable[[Any], tuple[tuple[Any, ...], int]]:
        """A function of straight code, record -> (row, number of undeclared keys); KeyError if one lacks."""
        objects = {"": "r"}
        lines = ["def quick(r):"]
        for path in sorted(self._known, key=lambda p: p.count(".")):
            if path:
                parent, _, key = path.rpartition(".")
                objects[path] = f"o{len(objects)}"
                lines.append(f"    {objects[path]} = {objects[parent]}[{key!r}]")
                lines.append(f"    if {objects[path]} is None: {objects[path]} = nothing")
        leaves = []
        taken: dict[str, set[str]] = {path: set() for path in objects}
        for path in objects:
            if path:
                taken[path.rpartition(".")[0]].add(path.rpartition(".")[2])
        for column, path in self.paths.items():
            parent, _, key = path.rpartition(".")
            plain = key.removesuffix("[vi]")
            if column in self._optional:
                leaf = f"{objects[parent]}.get({plain!r})"
            else:
                leaf = f"{objects[parent]}[{plain!r}]"
                taken[parent].add(plain)
            leaves.append(leaf if plain == key else f"vi({leaf})")
        # What was taken is there; of the other known keys those present are counted; the rest is undeclared.
        spare = []
        for path, name in objects.items():
            others = "".join(f" - ({k!r} in {name})" for k in sorted(self._known[path] - taken[path]))
            spare.append(f"(len({name}) - {len(taken[path])}{others} if {name} else 0)")
        lines.append(f"    return ({', '.join(leaves)},), {' + '.join(spare)}")
        scope: dict[str, Any] = {"nothing": _NOTHING, "vi": _vietnamese}
        # Made from the mapping alone, a constant of this project; nothing a source sends gets in here.
        exec("\n".join(lines), scope)  # noqa: S102
        return scope["quick"]


def _vietnamese(entries: Any) -> Any:
    if not isinstance(entries, list):
        return entries
    for e in entries:
        if isinstance(e, dict) and e.get("languageId") == VIETNAMESE:
            return e.get("name")
    return None


def declared_keys(
    mapping: Mapping[str, str | Path], ignored: Sequence[str] = ()
) -> dict[str, frozenset[str]]:
    """{object path: keys known there} for `undeclared`; `ignored` paths are known but not taken."""
    known: dict[str, set[str]] = {}
    for where in [*mapping.values(), *ignored]:
        path = (where.path if isinstance(where, Path) else where).replace("[vi]", "")
        while path:
            parent, _, key = path.rpartition(".")
            known.setdefault(parent, set()).add(key)
            path = parent
    return {p: frozenset(k) for p, k in known.items()}


def undeclared(
    records: Sequence[Any], known: Mapping[str, frozenset[str]], counts: Counter[str]
) -> list[tuple[int, dict[str, Any]]]:
    """Values the contract does not know: [(position, {path: value})]; `counts` grows by path."""
    found: dict[int, dict[str, Any]] = {}
    for parent, keys in known.items():
        for position, record in enumerate(records):
            here = record
            for step in parent.split(".") if parent else ():
                here = here.get(step) if isinstance(here, dict) else None
            if isinstance(here, dict) and not here.keys() <= keys:
                for key in here.keys() - keys:
                    path = f"{parent}.{key}" if parent else key
                    counts[path] += 1
                    found.setdefault(position, {})[path] = here[key]
    return sorted(found.items())
