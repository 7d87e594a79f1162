"""A picture chosen for the data, drawn once as SVG when the page is made; the numbers stand in a table beside it.

Chosen by what a table is, never by hand: counts by period give lines (one that would lie flat beside the others has a
picture of its own), counts by group bars, counts that nothing divides bars side by side, counts by commune the
highest places and a grid of tiles. Points and ranks are never added up: tiles from the best, or bars by indicator
where there are no units to rank. A list gives the number of its rows by kind, a calendar the days of each year. Tiles
of communes stand in the order of the statistical codes: no boundaries are drawn. A period that lacks days and a sum
that lacks withheld cells are drawn hollow and said; a sum that lacks most of its cells is not drawn.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import Markup

from opendata.catalogue import Column, Text, frictionless_type
from opendata.files import pieces
from opendata.periods import days_of
from opendata.words import UNITS, Language
from opendata.words import period as in_words

if TYPE_CHECKING:
    from opendata.release import Table

WIDTH = 480
#: So many letters fit above a bar and beside the sign of a line, in the large type that small screens need.
ABOVE_A_BAR, BESIDE_A_SIGN = 46, 42
MOST_LINES, MOST_BARS, MOST_BANDS, MOST_TILES = 3, 12, 24, 200
#: A ranking has at least so many places.
LEAST_RANKED = 5
CLASSES = 5
#: Of more than this share of its cells withheld, a sum says nothing.
MOST_WITHHELD = 0.5
#: A line that rises to less than this part of the highest is drawn alone.
FLAT = 8
#: So many places stand in the bars beside the tiles.
TOP = 10
#: Key columns whose values are communes, or areas that stayed comparable over the merger.
PLACES = ("commune_code", "area_code")
#: Units of columns that are never added up.
COMPARED = ("rank", "point")
#: The key of bars whose labels are names of columns.
NAMES = ""
ROWS = Text("Số dòng", "Rows")
#: Areas that stayed the same over the merger and hold several new communes are named so by the warehouse.
JOINED = Text(
    "(+1): vùng so sánh được gồm thêm một xã mới.",
    "(+1): one more new commune belongs to the comparable area.",
)
ADDED_UP = Text("Cộng các ô được công bố.", "Sums of the published cells.")
OPEN = Text(
    "Rỗng, nét đứt: kỳ chưa đủ ngày, số tạm tính (", "Hollow, dashed: the period lacks days, provisional ("
)
PART = Text(
    "Rỗng, có dấu ≥: chưa kể ô không công bố.", "Hollow, with ≥: withheld cells are not counted in it."
)
GAP = Text(
    "Chỗ trống: hơn một nửa số ô không công bố, không cộng.",
    "A gap: more than half of its cells are withheld, so there is no sum.",
)


@dataclass(frozen=True)
class Chart:
    """A picture and its numbers: `kind` is line, bars or tiles; a value is None where nothing can be shown.

    `columns` names the series, `rows` are (label, values) in the order of the picture; `by` is the column of labels.
    `provisional` are labels of periods that lack days, `parts` (label, series) of sums that lack withheld cells.
    """

    kind: str
    title: Text
    note: Text | None
    columns: tuple[Text, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    unit: str | None = None
    by: str = ""
    provisional: frozenset[str] = frozenset()
    parts: frozenset[tuple[str, int]] = frozenset()

    @cached_property
    def _is_whole(self) -> bool:
        """Whether all its values are whole numbers; of others each has as many digits."""
        return all(float(value).is_integer() for _, row in self.rows for value in row if value is not None)

    def named(self, label: str, language: Language, short: bool = False) -> str:
        """Return the name of a row as its table shows it: the periods of lines in words."""
        return language.period(label, short) if self.kind == "line" else label

    def is_hollow(self, label: str, series: int) -> bool:
        """Whether a value is not the whole one."""
        return label in self.provisional or (label, series) in self.parts

    def written(self, label: str, series: int, value: float | None, language: Language) -> str:
        """Return a value as the picture and its table show it."""
        if value is None:
            return "–"
        digits = 0 if self._is_whole else 2
        return ("≥ " if (label, series) in self.parts else "") + language.number(value, digits)


def choose(table: Table, folder: Path) -> list[Chart]:
    """Return the pictures that suit a table, read from its Parquet file in the release at `folder`; maybe none."""
    path = folder / next(file.path for file in table.files if file.format == "parquet")
    words = {column.name: clause(column) for column in table.columns}
    kinds = {column.name: frictionless_type(column.data_type) for column in table.columns}
    units = {column.name: column.unit for column in table.columns}
    keys, policy, period = table.resource.keys, table.resource.small_cell, table.resource.period_column
    if policy is None:
        if compared := next((name for name in kinds if units[name] in COMPARED), None):
            codes = {c.name: {code.value: code.label for code in c.codes} for c in table.columns}
            return _ranking(pq.read_table(path), compared, units[compared], keys, words[compared], codes)
        asked = [name for name, kind in kinds.items() if kind == "boolean"]
        if period and kinds[period] == "date" and asked:
            return _by_year(pq.read_table(path, columns=[period, asked[0]]), period, asked[0], words)
        texts = [name for name, kind in kinds.items() if kind in ("string", "boolean") and name != "origin"]
        # Units of other columns are no kinds of rows.
        texts = [name for name in texts if name not in units.values()]
        coded = {column.name for column in table.columns if column.codes}
        return _by_kind(path, texts, coded, words)
    levels = {name: one.level_column for name, one in policy.dimensions.items() if one.level_column}
    if period in levels:
        # Months beside the quarters that hold them: their sum would count the same twice. Points are never added up.
        compared = next((name for name in kinds if units[name] in COMPARED), None)
        return _points(pq.read_table(path), compared, table) if compared else []
    # As declared, also those that are exempt: the first is what the table is about.
    declared = tuple(dict.fromkeys(count.column for count in policy.counts))
    first, *others = declared
    counts = [first, *(name for name in others if units[name] == units[first])][:MOST_LINES]
    open_column = table.resource.provisional_column
    read = {*keys, *policy.dimensions, *levels.values(), *declared, *PLACES, open_column}
    data = pq.read_table(path, columns=[name for name in kinds if name in read or name.endswith("_name")])
    for name, dimension in policy.dimensions.items():
        if dimension.total is not None:  # a row of sums beside its parts
            data = data.filter(
                pc.invert(pc.fill_null(pc.equal(data[name].cast(pa.string()), dimension.total), False))
            )
    for column in levels.values():
        data = _one_level(data, period, str(column))
    charts = []
    unfinished: frozenset[str] = frozenset()
    if period and open_column:
        rows = data.filter(pc.fill_null(data[open_column], False))
        unfinished = frozenset(str(value) for value in pc.unique(rows[period]).to_pylist())
    if period and len(pc.unique(data[period])) > 2:
        charts += _over_time(data, period, counts, units[first], words, unfinished)
    at = None
    if period:
        # People who are counted on several days must not be added up; the newest whole period stands for all.
        periods = sorted(pc.unique(data[period]).to_pylist())
        newest = ([value for value in periods if str(value) not in unfinished] or periods)[-1]
        at = _At(str(newest), str(newest) in unfinished)
        data = data.filter(pc.equal(data[period], pa.scalar(newest, data[period].type)))
    groups = [key for key in keys if key not in (period, "origin")]
    charts += _by_group(data, groups, first, units[first], words, at, only_bands=bool(charts))
    tiles = (
        _tiles(data, place, counts, units[first], words, at) for place in PLACES if place in data.column_names
    )
    charts += next(filter(None, tiles), [])
    return charts or _side_by_side(data, counts, units[first], at)


def _one_level(data: pa.Table, period: str | None, level: str) -> pa.Table:
    """Return the rows of one level in each period, the one with most rows: districts hold the communes beside them."""
    by = [period, level] if period else [level]
    counted = data.group_by(by).aggregate([([], "count_all")]).sort_by("count_all").to_pylist()
    kept = {row.get(period or ""): row[level] for row in counted}  # of each period the last is the largest
    names = data[period].to_pylist() if period else [None] * len(data)
    levels = data[level].to_pylist()
    return data.filter(
        pa.array([kept[name] == one for name, one in zip(names, levels, strict=True)], pa.bool_())
    )


@dataclass(frozen=True)
class _At:
    """The period a picture is of, and whether it lacks days."""

    label: str
    lacks_days: bool

    def told(self, title: Text) -> Text:
        """Return the title of a picture with the period it is of."""
        when = in_words(self.label)
        return Text(f"{title.vi}, {when.vi}", f"{title.en}, {when.en}")

    @property
    def note(self) -> Text | None:
        words = Text("Kỳ chưa đủ ngày, số tạm tính.", "The period lacks days: provisional.")
        return words if self.lacks_days else None


Words = Mapping[str, Text]


def clause(column: Column) -> Text:
    """Return the first words of a column's description, up to the first sign: its name for people."""
    vi, en = (
        re.split(r"[:;,.(]", text)[0].strip() for text in (column.description.vi, column.description.en)
    )
    return Text(vi or column.name, en or column.name)


def _by(what: Text, group: Text) -> Text:
    vi, en = (text[:1].lower() + text[1:] for text in (group.vi, group.en))
    return Text(f"{what.vi} theo {vi}", f"{what.en} by {en}")


def _together(*notes: Text | None) -> Text:
    said = [note for note in notes if note]
    return Text(" ".join(note.vi for note in said), " ".join(note.en for note in said))


def _open(labels: Iterable[str]) -> Text | None:
    named = [in_words(label) for label in sorted(labels)]
    vi, en = (", ".join(text) for text in ([one.vi for one in named], [one.en for one in named]))
    return Text(f"{OPEN.vi}{vi}).", f"{OPEN.en}{en}).") if named else None


def _joined(rows: Iterable[tuple[str, object]]) -> Text | None:
    return JOINED if any(re.search(r" \(\+\d+\)$", label) for label, _ in rows) else None


@dataclass(frozen=True)
class _Sums:
    """Sums by label in order; None where most cells are withheld, and in `parts` where some are."""

    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    parts: frozenset[tuple[str, int]]

    @property
    def note(self) -> Text:
        has_gap = any(value is None for _, values in self.rows for value in values)
        return _together(ADDED_UP, PART if self.parts else None, GAP if has_gap else None)


def _sums(data: pa.Table, by: str, counts: Sequence[str]) -> _Sums:
    aggregations = [(name, how) for name in counts for how in ("sum", "count")]
    grouped = data.group_by(by).aggregate([*aggregations, ([], "count_all")]).sort_by(by).to_pylist()
    rows, parts = [], set()
    for row in grouped:
        if row[by] is None:
            continue
        values: list[float | None] = []
        for series, name in enumerate(counts):
            withheld = 1 - row[f"{name}_count"] / row["count_all"]
            values.append(None if withheld > MOST_WITHHELD else row[f"{name}_sum"])
            if 0 < withheld <= MOST_WITHHELD:
                parts.add((str(row[by]), series))
        rows.append((str(row[by]), tuple(values)))
    return _Sums(tuple(rows), frozenset(parts))


def _over_time(
    data: pa.Table,
    period: str,
    counts: Sequence[str],
    unit: str | None,
    words: Words,
    unfinished: frozenset[str],
) -> list[Chart]:
    """Return lines of the counts that can be summed in at least two periods.

    Those that would lie flat on the ground beside the others have a picture, and a scale, of their own.
    """
    sums = _sums(data, period, counts)
    drawn = [
        name
        for series, name in enumerate(counts)
        if sum(values[series] is not None for _, values in sums.rows) > 1
    ]
    if not drawn:
        return []
    left = [words[name] for name in counts if name not in drawn]
    silent = Text(
        f"Không vẽ: {', '.join(text.vi for text in left)}; hơn một nửa số ô không công bố.",
        f"Not drawn: {', '.join(text.en for text in left)}; more than half of the cells are withheld.",
    )
    most = {
        name: max(
            values[counts.index(name)] or 0
            for _, values in sums.rows
            if values[counts.index(name)] is not None
        )
        for name in drawn
    }
    high = [name for name in drawn if most[name] >= max(most.values()) / FLAT]
    groups = sorted(
        [high, *([name] for name in drawn if name not in high)], key=lambda one: drawn.index(one[0])
    )
    return [
        _lines(data, period, group, unit, words, unfinished, silent if left and group is groups[0] else None)
        for group in groups
    ]


def _lines(
    data: pa.Table,
    period: str,
    counts: Sequence[str],
    unit: str | None,
    words: Words,
    unfinished: frozenset[str],
    silent: Text | None,
) -> Chart:
    sums = _sums(data, period, counts)
    title = Text("Diễn biến theo thời gian", "Over time")
    if len(counts) == 1:
        title = Text(f"{title.vi}: {words[counts[0]].vi}", f"{title.en}: {words[counts[0]].en}")
    note = _together(sums.note, _open(unfinished), silent)
    return Chart("line", title, note, tuple(words[name] for name in counts), sums.rows, unit,
                 provisional=unfinished, parts=sums.parts)  # fmt: skip


def _are_bands(values: Sequence[str]) -> bool:
    """Whether values are such as 0-4, 5-9, 80+: ages, or days something took."""
    return all(re.fullmatch(r"\d+(-\d+|\+)?", one) for one in values) and any(
        re.search(r"[-+]", one) for one in values
    )


def _by_group(
    data: pa.Table,
    keys: Sequence[str],
    count: str,
    unit: str | None,
    words: Words,
    at: _At | None,
    only_bands: bool = False,
) -> list[Chart]:
    """Return bars by the key that tells most groups apart: from the largest, or as they follow, such as ages."""
    number = {key: len(pc.unique(data[key])) for key in keys}
    banded = {key for key in keys if _are_bands([str(one) for one in pc.unique(data[key]).to_pylist()])}
    if only_bands:
        keys = [key for key in keys if key in banded]
    suited = [key for key in keys if 2 <= number[key] <= (MOST_BANDS if key in banded else MOST_BARS)]
    if not suited:
        return []
    # Of two keys that tell as many apart, the last: where it is comes before what it is.
    by = max(suited, key=lambda key: (key in banded, number[key], keys.index(key)))
    sums = _sums(data, by, [count])
    if by in banded:
        rows = sorted(sums.rows, key=lambda row: int(re.match(r"\d+", row[0])[0]))  # type: ignore[index]
    else:
        rows = sorted(sums.rows, key=lambda row: -(row[1][0] or 0))
    title = _by(words[count], words[by])
    if at:
        title = at.told(title)
    note = _together(sums.note, at.note if at else None)
    return [Chart("bars", title, note, (words[count],), tuple(rows), unit, by, parts=sums.parts)]


def _ranking(
    data: pa.Table,
    value: str,
    unit: str | None,
    keys: Sequence[str],
    words: Text,
    codes: Mapping[str, Mapping[str, Text]],
) -> list[Chart]:
    """Return the units from the best, in the slice of the table (a period, an indicator) with the highest points."""
    stems = {f"{key.removesuffix('_code').removesuffix('_id')}_name": key for key in keys}
    named = [name for name in data.column_names if name in stems]
    if not named:
        return []
    label = max(named, key=lambda name: len(pc.unique(data[name])))
    slices: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    others = [key for key in keys if key not in (stems[label], "origin")]
    for row in data.to_pylist():
        # The unit that was asked about is the whole of the others, such as the country among its provinces.
        is_whole = row.get(f"root_{stems[label]}") == row[stems[label]]
        if row[value] is not None and row[label] and not is_whole:
            slices.setdefault(tuple(row[key] for key in others), []).append(row)
    ranked = [rows for rows in slices.values() if LEAST_RANKED <= len(rows) <= MOST_TILES]
    if not ranked:
        return []
    chosen = max(ranked, key=lambda rows: (max(row[value] for row in rows), len(rows)))
    chosen.sort(key=lambda row: (row[value] if unit == "rank" else -row[value], row[label]))
    # What tells this slice from the others, as far as there are words for it.
    said = []
    for index, key in enumerate(others):
        if len({choice[index] for choice in slices}) > 1:
            code, name = str(chosen[0][key]), chosen[0].get(f"{key.removesuffix('_code')}_name")
            if code in codes[key]:
                said.append(codes[key][code])
            elif name or days_of(code):
                said.append(Text(str(name), str(name)) if name else in_words(code))
    title = Text(", ".join([words.vi, *(t.vi for t in said)]), ", ".join([words.en, *(t.en for t in said)]))
    note = _together(
        Text(
            "Mỗi ô một đơn vị, xếp từ cao xuống thấp; không phải bản đồ.",
            "One tile for each unit, from the best; not a map.",
        ),
        Text("Kỳ chưa kết thúc, số tạm tính.", "The period is not over: provisional.")
        if any(row.get("is_provisional") for row in chosen)
        else None,
    )
    rows = tuple((str(row[label]), (float(row[value]),)) for row in chosen)
    return [Chart("tiles", title, note, (words,), rows, unit, label)]


def _by_kind(path: Path, names: Sequence[str], coded: set[str], words: Words) -> list[Chart]:
    """Return the rows by the column that tells most kinds apart, yet few enough to be drawn; code lists come first."""
    most = min(MOST_BARS, pq.read_metadata(path).num_rows - 1)
    kinds = {name: _kinds(path, name, most) for name in names}
    suited = [name for name, number in kinds.items() if 2 <= number <= most]
    if not suited:
        return []
    by = max(suited, key=lambda name: (kinds[name] > 2, name in coded, kinds[name]))
    held = pq.read_table(path, columns=[by])[by].drop_null()
    counted = sorted(pc.value_counts(held).to_pylist(), key=lambda row: -row["counts"])
    rows = tuple((str(row["values"]), (float(row["counts"]),)) for row in counted)
    title = _by(ROWS, words[by])
    if pa.types.is_boolean(held.type):
        title = Text(f"{ROWS.vi}: {words[by].vi}", f"{ROWS.en}: {words[by].en}")
    return [Chart("bars", title, None, (ROWS,), rows, by=by)]


def _kinds(path: Path, name: str, most: int) -> int:
    """Return how many values a column has; once there are more than `most`, they are counted no further."""
    found: set[object] = set()
    for piece in pieces(path, [name]):
        found.update(pc.unique(piece[name].drop_null()).to_pylist())
        if len(found) > most:
            break
    return len(found)


def _by_year(data: pa.Table, period: str, asked: str, words: Words) -> list[Chart]:
    """Return the days of each year for which something holds."""
    years = pc.strftime(data.filter(pc.fill_null(data[asked], False))[period], "%Y")
    counted = sorted(pc.value_counts(years).to_pylist(), key=lambda row: row["values"])
    if not 1 < len(counted) <= MOST_BANDS:
        return []
    title = Text(f"{words[asked].vi}: số ngày mỗi năm", f"{words[asked].en}: days of each year")
    rows = tuple((row["values"], (float(row["counts"]),)) for row in counted)
    return [Chart("bars", title, None, (Text("Số ngày", "Days"),), rows, by=period)]


def _side_by_side(data: pa.Table, counts: Sequence[str], unit: str | None, at: _At | None) -> list[Chart]:
    """Return the counts themselves as bars, where nothing divides them; their names are their labels."""
    rows = []
    for name in counts:
        if data[name].null_count:
            return []  # what is withheld is no sum
        rows.append((name, (float(pc.sum(data[name]).as_py() or 0),)))
    if len(rows) < 2:
        return []
    title = Text("Tổng số", "Total")
    if at:
        title = at.told(title)
    note = _together(ADDED_UP, at.note if at else None)
    return [Chart("bars", title, note, (Text("Số lượng", "Number"),), tuple(rows), unit, NAMES)]


def _points(data: pa.Table, value: str, table: Table) -> list[Chart]:
    """Return the points by the key with most codes, in the newest whole period (the longest of those that end then)."""
    keys, period = table.resource.keys, str(table.resource.period_column)
    labels = {c.name: {code.value: code.label for code in c.codes} for c in table.columns}
    number = {key: len(pc.unique(data[key])) for key in keys if labels[key] and key not in (period, "origin")}
    if not number:
        return []
    by = max(number, key=lambda key: number[key])
    others = [key for key in keys if key not in (by, "origin")]
    slices: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for row in data.to_pylist():
        # Where nothing can be said there is nothing to draw; what is withheld is there and says so.
        if row[value] is not None or row.get("withheld"):
            slices.setdefault(tuple(row[key] for key in others), []).append(row)

    def order(item: tuple[tuple[object, ...], list[dict[str, Any]]]) -> tuple[Any, ...]:
        rows = item[1]
        span = days_of(rows[0][period])
        shown = sum(row[value] is not None for row in rows)
        return (not rows[0].get("is_provisional"), span[1] if span else date.min,
                -span[0].toordinal() if span else 0, shown, tuple(map(str, item[0])))  # fmt: skip

    if not slices:
        return []
    chosen, rows = max(slices.items(), key=order)
    rows.sort(key=lambda row: -float(row[value] if row[value] is not None else -1))
    clauses = {column.name: clause(column) for column in table.columns}
    units = {column.name: column.unit for column in table.columns}
    said = [
        in_words(str(code)) if key == period else labels[key].get(str(code), Text(str(code), str(code)))
        for key, code in zip(others, chosen, strict=True)
    ]
    title = _by(clauses[value], clauses[by])
    title = Text(
        ", ".join([title.vi, *(one.vi for one in said)]), ", ".join([title.en, *(one.en for one in said)])
    )
    hidden = Text("–: không công bố.", "–: withheld.") if any(row[value] is None for row in rows) else None
    note = _together(hidden, _At("", True).note if rows[0].get("is_provisional") else None)
    drawn = tuple(
        (str(row[by]), (None if row[value] is None else float(row[value]),)) for row in rows[:MOST_BANDS]
    )
    return [Chart("bars", title, note, (clauses[value],), drawn, units[value], by)]


def _tiles(
    data: pa.Table, place: str, counts: Sequence[str], unit: str | None, words: Words, at: _At | None
) -> list[Chart]:
    """Return the first count that is mostly published by commune: the places that have most of it, and all of them."""
    name = place.removesuffix("_code") + "_name"
    if name not in data.column_names or not 1 < len(pc.unique(data[place])) <= MOST_TILES:
        return []
    names = dict(zip(data[place].to_pylist(), data[name].to_pylist(), strict=True))
    for count in counts:
        sums = _sums(data, place, [count])
        shown = sum(value is not None for _, (value,) in sums.rows)
        if shown * 2 < len(sums.rows):
            continue
        title = Text(f"Theo địa bàn: {words[count].vi}", f"By place: {words[count].en}")
        tiles = Text(
            "Mỗi ô một địa bàn, xếp theo mã thống kê; không phải bản đồ.",
            "One tile for each place, in the order of the statistical codes; not a map.",
        )
        rows = tuple((str(names[code] or code), values) for code, values in sums.rows)
        parts = frozenset((str(names[code] or code), series) for code, series in sums.parts)
        highest = sorted((row for row in rows if row[1][0]), key=lambda row: -(row[1][0] or 0))[:TOP]
        top = Text(
            f"{words[count].vi}: {len(highest)} địa bàn cao nhất",
            f"{words[count].en}: the {len(highest)} highest places",
        )
        if at:
            title, top = at.told(title), at.told(top)
        among = Text("Chỉ kể địa bàn được công bố.", "Of the places whose figures are published.")
        hidden = any(value is None for _, (value,) in rows)
        bars = [
            Chart(
                "bars",
                top,
                _together(among if hidden else None, _joined(highest), at.note if at else None),
                (words[count],),
                tuple(highest),
                unit,
                place,
                parts=parts,
            )
        ]
        return (bars if len(rows) > MOST_BARS and len(highest) > 1 else []) + [
            Chart(
                "tiles",
                title,
                _together(tiles, _joined(rows), PART if sums.parts else None, at.note if at else None),
                (words[count],),
                rows,
                unit,
                parts=parts,
            )
        ]
    return []


# --- drawing


def draw(chart: Chart, number: str, language: Language) -> Markup:
    """Return the picture: lines and bars as SVG with a title and a description, tiles as a list that flows.

    `number` makes its ids unique on the page.
    """
    if chart.kind == "tiles":
        return Markup(_tile_list(chart, language))  # noqa: S704 - every text in it is escaped
    height, inside = {"line": _line, "bars": _bars}[chart.kind](chart, language)
    unit = f" ({language.say(UNITS[chart.unit])})" if chart.unit in UNITS else ""
    values = [value for _, row in chart.rows for value in row if value is not None]
    least, most = (
        language.number(edge) if values else "–" for edge in (min(values, default=0), max(values, default=0))
    )
    told = language.t(
        f"{len(chart.rows)} mục, từ {least} đến {most}. Số liệu trong bảng bên dưới.",
        f"{len(chart.rows)} items, from {least} to {most}. The numbers stand in the table below.",
    )
    return Markup(  # noqa: S704 - every text in it is escaped
        f'<svg class="chart {chart.kind}" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-labelledby="t{number} d{number}">'
        f'<title id="t{number}">{escape(language.say(chart.title) + unit)}</title>'
        f'<desc id="d{number}">{escape(told)}</desc>{inside}</svg>'
    )


def nice_steps(most: float) -> list[float]:
    """Return 0 and up to five round values, the last at or above `most`."""
    raw = max(most, 1) / 4
    size = 10 ** math.floor(math.log10(raw))
    step = max(1, next(size * times for times in (1, 2, 2.5, 5, 10) if size * times >= raw))
    return [step * index for index in range(math.ceil(max(most, 1) / step) + 1)]


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def _mark(series: int, x: float, y: float, hollow: bool, more: str = "") -> str:
    """Return the sign of a series at a point: a disc, a square, a diamond; hollow where the value is not whole."""
    kind = f' class="m{series}{" hollow" if hollow else ""}"'
    if series == 0:
        return f'<circle{kind} cx="{x:.1f}" cy="{y:.1f}" r="4.5">{more}</circle>'
    if series == 1:
        return f'<rect{kind} x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8">{more}</rect>'
    return f'<path{kind} d="M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z">{more}</path>'


def _line(chart: Chart, language: Language) -> tuple[int, str]:
    named = [_wrapped(language.say(name), BESIDE_A_SIGN) for name in chart.columns]
    legend = sum(6 + 20 * len(lines) for lines in named)
    steps = nice_steps(max((value for _, row in chart.rows for value in row if value is not None), default=0))
    left = 14 + 10 * max(len(language.number(step)) for step in steps)
    top, bottom, height = legend + 14, 30, 250 + legend
    across, up = WIDTH - left - 12, height - top - bottom
    # By the calendar: two days far apart stand far apart.
    spans = [days_of(label) for label, _ in chart.rows]
    days = [span[0].toordinal() for span in spans if span]
    places = days if len(days) == len(chart.rows) else list(range(len(chart.rows)))
    length = max(places[-1] - places[0], 1)

    def point(index: int, value: float) -> tuple[float, float]:
        return left + across * (places[index] - places[0]) / length, top + up * (1 - value / steps[-1])

    parts = []
    for step in steps:
        _, y = point(0, step)
        parts.append(
            f'<path class="axis" d="M{left} {y:.1f}H{WIDTH - 12}"/>'
            + _text(left - 8, y + 4.5, language.number(step), "end")
        )
    last = len(chart.rows) - 1
    for index, anchor in ((0, "start"), (last // 2, "middle"), (last, "end")):
        x = point(index, 0)[0]
        if anchor != "middle" or 160 < x - left < across - 160:  # else it would touch another
            parts.append(
                _text(x, height - 8, chart.named(chart.rows[index][0], language, short=True), anchor)
            )
    y = 12
    for series, lines in enumerate(named):
        parts.append(f'<path class="s{series}" d="M0 {y}H34"/>' + _mark(series, 17, y, hollow=False))
        parts += [_text(42, y + 5 + 20 * at, line) for at, line in enumerate(lines)]
        y += 6 + 20 * len(lines)
        known = [(index, label, values[series]) for index, (label, values) in enumerate(chart.rows)]
        for (index, label, value), (after, next_label, next_value) in pairwise(known):
            if value is None or next_value is None:  # a gap, not a fall to zero
                continue
            (x, y_at), (x_next, y_next) = point(index, value), point(after, next_value)
            hollow = chart.is_hollow(label, series) or chart.is_hollow(next_label, series)
            drawn = f"M{x:.1f} {y_at:.1f}L{x_next:.1f} {y_next:.1f}"
            parts.append(f'<path class="s{series}{" open" if hollow else ""}" d="{drawn}"/>')
        for index, label, value in known:
            if value is not None:
                written = chart.written(label, series, value, language)
                said = escape(f"{chart.named(label, language)}: {written}")
                hollow = chart.is_hollow(label, series)
                parts.append(_mark(series, *point(index, value), hollow, f"<title>{said}</title>"))
    return height, "".join(parts)


def _bars(chart: Chart, language: Language) -> tuple[int, str]:
    most = max((values[0] or 0 for _, values in chart.rows), default=0) or 1
    written = [chart.written(label, 0, value, language) for label, (value,) in chart.rows]
    room = WIDTH - 14 - 11 * max(map(len, written), default=0)
    parts, y = [], 0
    for (label, (value,)), said in zip(chart.rows, written, strict=True):
        # What is said about a place stands in the table below.
        lines = _wrapped(_within(label) if chart.by in PLACES else label, ABOVE_A_BAR)
        parts += [_text(0, y + 15 + 20 * at, line) for at, line in enumerate(lines)]
        y += 20 * len(lines)
        length = max(room * (value or 0) / most, 1 if value else 0)
        kind = "bar hollow" if chart.is_hollow(label, 0) else "bar"
        parts.append(f'<rect class="{kind}" x="1" y="{y + 1}" width="{length:.1f}" height="14"/>')
        parts.append(_text(length + 7, y + 14, said))
        y += 26
    return y, "".join(parts)


def _tile_list(chart: Chart, language: Language) -> str:
    limits = _limits([value for _, (value,) in chart.rows if value])
    # Of ranks the first is the best, and the best is the darkest.
    turned = chart.unit == "rank"
    tiles, held = [], dict[str, list[float]]()
    often = Counter(_bare(label) for label, _ in chart.rows)
    for label, (value,) in chart.rows:
        name = _bare(label) if often[_bare(label)] == 1 else _within(label)
        kind = _class_of(value, limits, turned)
        if value is not None:
            held.setdefault(kind, []).append(value)
        shown = chart.written(label, 0, value, language)
        tiles.append(f'<li class="{kind}">{escape(name)} <b>{escape(shown)}</b></li>')
    legend = [(kind, _range(chart, held[kind], language)) for kind in sorted(held)]
    if any(value is None for _, (value,) in chart.rows):
        legend.append(("none", language.t("không công bố", "withheld")))
    key = "".join(f'<li><span class="{kind}"></span>{escape(words)}</li>' for kind, words in legend)
    return (
        f'<div class="chart tiles"><ul class="grid" aria-label="{escape(language.say(chart.title))}">'
        f"{''.join(tiles)}</ul>"
        f'<ul class="legend" aria-label="{language.t("Chú giải", "Legend")}">{key}</ul></div>'
    )


def _range(chart: Chart, values: list[float], language: Language) -> str:
    least, most = (chart.written("", 0, edge, language) for edge in (min(values), max(values)))
    return least if least == most else f"{least} – {most}"


def _limits(values: list[float]) -> list[float]:
    """Return the upper limits of all classes but the last, so that each holds about as many tiles."""
    values.sort()
    cuts = [len(values) * step // CLASSES for step in range(1, CLASSES)]
    return [values[max(cut - 1, 0)] for cut in cuts] if values else []


def _class_of(value: float | None, limits: Sequence[float], turned: bool = False) -> str:
    """Return the class of a tile: none (withheld), q0 (nothing), and q1 to q5, the darkest."""
    if value is None:
        return "none"
    if not value:
        return "q0"
    step = sum(value > limit for limit in limits)
    return f"q{CLASSES - step if turned else step + 1}"


def _within(name: str) -> str:
    """Return the name of a place without what is said about it."""
    return re.sub(r"^Các xã thuộc\s+|\s*\(đến [^)]*\)$", "", name)


def _bare(name: str) -> str:
    """Return the name of a place without its kind."""
    kinds = r"(?i)^(UBND\s+)?(Phường|Xã|Thị trấn|Thị xã|Đặc khu|Thành phố|TP\.?|Tỉnh|Huyện|Quận)\s+"
    return re.sub(kinds, "", _within(name))


def _wrapped(text: str, letters: int) -> list[str]:
    """Return a name in at most two lines of so many letters."""
    return textwrap.wrap(text, letters, max_lines=2, placeholder="…") or [""]


def labelled(chart: Chart, codes: Mapping[str, Mapping[str, Text]], language: Language) -> Chart:
    """Return the chart with the codes of bars in words, where its dictionary has them."""
    known = {"True": language.t("có", "yes"), "False": language.t("không", "no")}
    known |= {value: language.say(label) for value, label in codes.get(chart.by, {}).items()}
    rows = tuple((known.get(label, label), values) for label, values in chart.rows)
    parts = frozenset((known.get(label, label), series) for label, series in chart.parts)
    return replace(chart, rows=rows, parts=parts)
