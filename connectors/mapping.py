"""From nested JSON records to flat columns, by a table of paths and one loop.

A mapping is ``{contract column: path}``; a path is keys joined by dots. ``name[vi]`` picks the Vietnamese
entry of iGate's ``[{languageId, name}]`` lists. What a mapping does not mention and does not ignore is an
undeclared column: it is counted by path, and its values go to quarantine, but for those that nobody may keep
(`connectors.unwanted`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
    if MISSING in found:
        found = [
            _other_case(v, key) if f is MISSING and type(v) is dict else f
            for v, f in zip(above, found, strict=True)
        ]
    if language:
        found = [_vietnamese(v) for v in found]
    levels[path] = found
    return found


def _other_case(record: dict[str, Any], key: str) -> Any:
    """What stands under `key` in other capitals: formalityId and formalityID were seen in one source."""
    same = [k for k in record if len(k) == len(key) and k.lower() == key.lower()]
    return record[same[0]] if len(same) == 1 else MISSING


def listed(value: Any) -> list[Any]:
    """Entries of a list; what is no list is one entry, for typing to reject."""
    return value if isinstance(value, list) else [value] if value else []


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
                lowered = {k.lower() for k in keys - here.keys()}
                for key in here.keys() - keys:
                    if key.lower() in lowered:
                        continue  # taken all the same, see _other_case
                    path = f"{parent}.{key}" if parent else key
                    counts[path] += 1
                    found.setdefault(position, {})[path] = here[key]
    return sorted(found.items())
