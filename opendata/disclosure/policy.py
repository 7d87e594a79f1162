"""What of a dataset could reveal a person: the part `disclosure` of an approval record. Pure, no input or output.

    disclosure:
      about_persons: true
      threshold: 10
      tables:
        dossier-results-monthly:
          dimensions: {year_month: time.month, system_code: system.system}
          counts:
            received: {of: dossiers received}
            resolved_on_time: {of: dossiers resolved, outcome.outcome: on_time}
            resolved_overdue: {of: dossiers resolved, outcome.outcome: overdue}
          derived: {on_time_percent: [resolved_on_time, resolved_overdue]}
          safe: {covered_days: "days of the load log, no count of dossiers"}
          coarsen:
            - {put: {channel_group: all, channel_group_name: "Mọi kênh"}, vi: "Gộp các kênh", en: "Channels together"}
          exempt: [{counts: [received], basis: "...", basis_en: "..."}]
        as-another-body-published-it: {public: "the basis: its numbers are public at their source"}

A count may be a list of such entries, each for the rows that match its `where`: {column: value}. Counts with the same
`of` count the same dossiers, in whatever table they stand: that is how the audit knows which tables share margins. A
dimension is a column of the table, or fixed for one count (`outcome.outcome: on_time`).

`coarsen` are the steps by which the table is divided more coarsely while too much of it would be withheld, each on top
of those before: `put` a value into all rows (`all`: the column divides no more), `take` another column's values,
leave out rows (`without`: {column: value}). `counted_for_each` names the columns for whose codes a
dossier is counted again (the indicators of an index, its months and years).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HIERARCHIES = Path(__file__).parent / "hierarchies.yml"
#: Share of the dossiers of a count that may lie in withheld cells, in percent.
MOST_WITHHELD_PERCENT = 10
#: When tables about persons are made anew (renewal.py): when a month closes, or each time; the first is the default.
RENEWED = ("monthly", "each_release")
#: From so many counted dossiers on the share is judged: of fewer, thirty are a handful of cells.
SHARE_JUDGED_FROM = 300
#: What a dimension's column holds when it divides no more.
ALL = "all"


@cache
def hierarchies() -> Mapping[str, tuple[str, ...]]:
    """Return the known dimensions with their levels, fine to coarse."""
    read = yaml.safe_load(HIERARCHIES.read_text(encoding="utf-8"))
    return {str(name): tuple(map(str, levels)) for name, levels in read.items()}


@dataclass(frozen=True)
class Dimension:
    """What a column tells of the cell: a level of a dimension.

    Rows where the column holds `total` are sums over the whole dimension. Where `level_column` is given, rows of
    several levels stand in one table, and it names each row's level; `parent_column` names the code above.
    """

    name: str
    level: str
    total: str | None = None
    level_column: str | None = None
    parent_column: str | None = None


@dataclass(frozen=True)
class Count:
    """A published count: of which dossiers, which part of them, and on which legal basis it is exempt, if it is."""

    column: str
    of: str
    fixed: tuple[tuple[str, str, str], ...] = ()  # (dimension, level, code)
    where: tuple[tuple[str, str], ...] = ()
    exempt: str | None = None


@dataclass(frozen=True)
class Step:
    """One step to a coarser table, and how it is told."""

    vi: str
    en: str
    put: tuple[tuple[str, str], ...] = ()
    take: tuple[tuple[str, str], ...] = ()
    without: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TablePolicy:
    """The policy of one published table.

    `measure_columns` are all other published numbers with the counts they could give away: withheld with any of them.
    """

    table: str
    threshold: int
    dimensions: Mapping[str, Dimension]
    counts: tuple[Count, ...]
    derived: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    safe: Mapping[str, str] = field(default_factory=dict)
    most_withheld_percent: int = MOST_WITHHELD_PERCENT
    #: Made anew when a period closes; else with each release.
    is_renewed_monthly: bool = True
    coarsen: tuple[Step, ...] = ()
    counted_for_each: tuple[str, ...] = ()
    #: Legal bases in English, by their words in Vietnamese; for readers, and no part of what is compared.
    bases_en: Mapping[str, str] = field(default_factory=dict)

    @property
    def count_columns(self) -> tuple[str, ...]:
        """Counts that may be withheld, in the order declared."""
        return tuple(dict.fromkeys(count.column for count in self.counts if count.exempt is None))

    @property
    def measure_columns(self) -> tuple[str, ...]:
        """Numbers that are withheld together with the counts they derive from."""
        return tuple(self.derived)

    @property
    def public(self) -> dict[str, object]:
        """What release.json says of the policy, and the release gate checks in the finished files.

        `measure_columns` are those that go with any count: in a row marked withheld they are null.
        """
        with_any = [c for c, sources in self.derived.items() if set(sources) >= set(self.count_columns)]
        return {
            "count_columns": list(self.count_columns),
            "threshold": self.threshold,
            "measure_columns": with_any,
            "scope": "cell",
        }


@dataclass(frozen=True)
class Policy:
    """The disclosure policy of a dataset; no tables where nothing in it is about persons."""

    about_persons: bool
    tables: Mapping[str, TablePolicy]
    #: Columns of long text or of names that are no persons', with what they hold; the scan lets them pass.
    texts: Mapping[str, str] = field(default_factory=dict)
    #: Tables that repeat what is public at its source, with the basis.
    public: Mapping[str, str] = field(default_factory=dict)


NOTHING_ABOUT_PERSONS = Policy(False, {})


@dataclass(frozen=True)
class Shape:
    """What the policy is checked against: published columns of a table, those that are numbers, and its keys."""

    name: str
    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    keys: tuple[str, ...]


def read_policy(declared: object, tables: Sequence[Shape], found: list[str]) -> Policy:
    """Return the policy declared in an approval record; every gap is appended to `found`."""
    if not isinstance(declared, Mapping):
        found.append(
            "disclosure is missing: state `about_persons: false`, or `about_persons: true` with threshold and tables"
        )
        return NOTHING_ABOUT_PERSONS
    known = {
        "about_persons",
        "threshold",
        "tables",
        "most_withheld_percent",
        "renewed",
        "texts",
    }
    unknown = set(declared) - known
    if unknown:
        found.append(f"disclosure: unknown {_list(unknown)}")
    texts = {str(k): str(v or "").strip() for k, v in (declared.get("texts") or {}).items()}
    if silent := [name for name, what in texts.items() if not what]:
        found.append(f"disclosure.texts: say what {_list(silent)} holds")
    if declared.get("about_persons") is False:
        if declared.get("tables"):
            found.append("disclosure: `about_persons: false` beside tables with counts; one of them is wrong")
        return Policy(False, {}, texts)
    if declared.get("about_persons") is not True:
        found.append("disclosure.about_persons must be true or false")
        return NOTHING_ABOUT_PERSONS
    threshold, most = declared.get("threshold"), declared.get("most_withheld_percent", MOST_WITHHELD_PERCENT)
    if not isinstance(threshold, int) or threshold < 3:
        found.append(
            "disclosure.threshold must be a whole number of at least 3 (counts below it are withheld)"
        )
        threshold = 10
    if not isinstance(most, int) or not 0 < most <= MOST_WITHHELD_PERCENT:
        found.append(
            f"disclosure.most_withheld_percent must be a whole number from 1 to {MOST_WITHHELD_PERCENT}"
        )
        most = MOST_WITHHELD_PERCENT
    renewed = declared.get("renewed", RENEWED[0])
    if renewed not in RENEWED:
        found.append(f"disclosure.renewed must be {' or '.join(RENEWED)}: when its tables are made anew")
    by_name = {shape.name: shape for shape in tables}
    of_tables = declared.get("tables") or {}
    if not isinstance(of_tables, Mapping) or not of_tables:
        found.append("disclosure.tables is missing: name each table with its dimensions and counts")
        return NOTHING_ABOUT_PERSONS
    policies, public = {}, {}
    for name, table in of_tables.items():
        shape = by_name.get(str(name))
        if shape is None:
            found.append(
                f"disclosure.tables: {name!r} is no table of the dataset; its tables: {_list(by_name)}"
            )
            continue
        gaps: list[str] = []
        if isinstance(table, Mapping) and set(table) == {"public"}:
            public[shape.name] = str(table["public"] or "").strip()
            if not public[shape.name]:
                gaps.append("public needs the basis: where, and by what law, its numbers are public already")
        else:
            policies[shape.name] = _table(table or {}, shape, threshold, most, gaps)
        found += [f"disclosure.tables.{name}: {gap}" for gap in gaps]
    for shape in tables:
        if shape.name not in of_tables:
            found.append(
                f"disclosure.tables says nothing of table {shape.name}; "
                f"where it counts no persons, write `{shape.name}: none`"
            )
    monthly = renewed == RENEWED[0]
    counting = {
        name: replace(policy, is_renewed_monthly=monthly)
        for name, policy in policies.items()
        if policy is not None
    }
    return Policy(True, counting, texts, public)


def _table(declared: object, shape: Shape, threshold: int, most: int, gaps: list[str]) -> TablePolicy | None:
    if declared == "none":
        return None
    if not isinstance(declared, Mapping):
        gaps.append("must be a mapping with dimensions and counts, or `none`")
        return None
    known = {"dimensions", "counts", "derived", "safe", "exempt", "coarsen", "counted_for_each"}
    if unknown := set(declared) - known:
        gaps.append(f"unknown {_list(unknown)}")
    dimensions = {}
    for column, text in (declared.get("dimensions") or {}).items():
        dimension = _dimension(str(column), text, gaps)
        if column not in shape.columns:
            gaps.append(f"dimensions: {column!r} is no published column")
        if dimension:
            dimensions[str(column)] = dimension
    for dimension in dimensions.values():
        for column in (dimension.level_column, dimension.parent_column):
            if column and column not in shape.columns:
                gaps.append(f"dimensions: {column!r} is no published column")
    if missing := [key for key in shape.keys if key not in dimensions and key != "origin"]:
        gaps.append(
            f"dimensions says nothing of the key {_list(missing)}: give each a level of hierarchies.yml"
        )
    bases_en: dict[str, str] = {}
    exempt = _exempt(declared.get("exempt"), bases_en, gaps)
    counts = []
    for column, entries in (declared.get("counts") or {}).items():
        if column not in shape.numbers:
            gaps.append(f"counts: {column!r} is no published number")
        basis = exempt.pop(str(column), None)
        for of in entries if isinstance(entries, list) and entries else [entries]:
            count = _count(str(column), of, basis, shape, gaps)
            if count is None:
                continue
            taken = {(d.name) for d in dimensions.values()} & {name for name, _, _ in count.fixed}
            if taken:
                gaps.append(f"counts.{column}: {_list(taken)} is also a dimension of the table's columns")
            counts.append(count)
    if not counts:
        gaps.append("counts is missing: which columns count dossiers or persons, and of which (`of`)")
    if exempt:
        gaps.append(f"exempt names {_list(exempt)}, which is in no counts")
    names = {count.column for count in counts}
    safe = {str(k): str(v or "").strip() for k, v in (declared.get("safe") or {}).items()}
    if silent := [name for name, reason in safe.items() if not reason]:
        gaps.append(f"safe: {_list(silent)} needs a reason why it can give no count away")
    derived = {}
    for column, sources in (declared.get("derived") or {}).items():
        of_counts = tuple(map(str, sources if isinstance(sources, (list, tuple)) else [sources]))
        if column not in shape.numbers:
            gaps.append(f"derived: {column!r} is no published number")
        if strangers := set(of_counts) - names:
            # A share without its counts still bounds them, and nothing here could see it.
            gaps.append(
                f"derived.{column}: {_list(strangers)} is not among the counts of the table; "
                "a share or mean is published only beside the counts it is made of"
            )
        derived[str(column)] = of_counts
    # Deny by default: a number that is nothing of all this could give any count of its row away.
    told = {*names, *derived, *safe, *dimensions, *shape.keys}
    derived |= {name: tuple(c.column for c in counts) for name in shape.numbers if name not in told}
    if stray := set(safe) - set(shape.columns):
        gaps.append(f"safe: {_list(stray)} is no published column")
    again = tuple(map(str, declared.get("counted_for_each") or ()))
    if strangers := set(again) - set(shape.columns):
        gaps.append(f"counted_for_each: {_list(strangers)} is no published column")
    steps = tuple(
        step for item in declared.get("coarsen") or [] if (step := _step(item, shape, gaps)) is not None
    )
    return TablePolicy(
        shape.name,
        threshold,
        dimensions,
        tuple(counts),
        derived,
        safe,
        most,
        coarsen=steps,
        counted_for_each=again,
        bases_en=bases_en,
    )


def _step(declared: object, shape: Shape, gaps: list[str]) -> Step | None:
    kinds = ("put", "take", "without")
    if (
        not isinstance(declared, Mapping)
        or set(declared) - {"vi", "en", *kinds}
        or not set(declared) & {*kinds}
    ):
        gaps.append("coarsen: each step needs vi, en, and put, take or without")
        return None
    done = {kind: tuple((str(k), str(v)) for k, v in (declared.get(kind) or {}).items()) for kind in kinds}
    named = {column for kind in kinds for column, _ in done[kind]} | {source for _, source in done["take"]}
    if strangers := named - set(shape.columns):
        gaps.append(f"coarsen: {_list(strangers)} is no published column")
    if numbers := {column for column, _ in done["put"]} & set(shape.numbers):
        gaps.append(f"coarsen: {_list(numbers)} holds numbers; only a column of text can hold `{ALL}`")
    vi, en = (str(declared.get(name) or "").strip() for name in ("vi", "en"))
    if not (vi and en):
        gaps.append("coarsen: say in vi and en what each step does; readers are told")
    return Step(vi, en, done["put"], done["take"], done["without"])


def _dimension(column: str, declared: object, gaps: list[str]) -> Dimension | None:
    more: Mapping[str, Any] = {}
    if isinstance(declared, Mapping):
        more, declared = declared, declared.get("level")
        if unknown := set(more) - {"level", "total", "level_column", "parent_column"}:
            gaps.append(f"dimensions.{column}: unknown {_list(unknown)}")
    level = _level(str(declared), f"dimensions.{column}", gaps)
    if level is None:
        return None
    texts = {name: str(more[name]) for name in ("total", "level_column", "parent_column") if name in more}
    return Dimension(*level, **texts)


def _level(text: str, where: str, gaps: list[str]) -> tuple[str, str] | None:
    name, _, level = text.partition(".")
    if level in hierarchies().get(name, ()):
        return name, level
    known = ", ".join(f"{n}.{one}" for n, levels in hierarchies().items() for one in levels)
    gaps.append(f"{where}: {text!r} is no level of opendata/disclosure/hierarchies.yml; known: {known}")
    return None


def _count(column: str, declared: object, exempt: str | None, shape: Shape, gaps: list[str]) -> Count | None:
    if not isinstance(declared, Mapping) or not str(declared.get("of") or "").strip():
        gaps.append(f"counts.{column} needs `of`: which dossiers or persons it counts")
        return None
    where = {str(k): str(v) for k, v in (declared.get("where") or {}).items()}
    if strangers := set(where) - set(shape.columns):
        gaps.append(f"counts.{column}.where: {_list(strangers)} is no published column")
    fixed = []
    for name, code in declared.items():
        if name in ("of", "where"):
            continue
        level = _level(str(name), f"counts.{column}", gaps)
        if level:
            fixed.append((*level, str(code)))
    return Count(
        column, str(declared["of"]).strip(), tuple(sorted(fixed)), tuple(sorted(where.items())), exempt
    )


def _exempt(declared: object, bases_en: dict[str, str], gaps: list[str]) -> dict[str, str]:
    exempt: dict[str, str] = {}
    for item in declared if isinstance(declared, list) else [declared] if declared else []:
        basis = str(item.get("basis") or "").strip() if isinstance(item, Mapping) else ""
        columns = item.get("counts") if isinstance(item, Mapping) else None
        if not basis or not isinstance(columns, list) or not columns:
            gaps.append("exempt: each entry needs counts (a list) and basis (the law or the public source)")
            continue
        exempt |= {str(column): basis for column in columns}
        if words := str(item.get("basis_en") or "").strip():
            bases_en[basis] = words
    return exempt


def _list(names: object) -> str:
    return ", ".join(sorted(map(str, names)))  # type: ignore[call-overload]
