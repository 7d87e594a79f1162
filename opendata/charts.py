"""A picture chosen for the data, drawn once as SVG when the page is made; the numbers stand in a table beside it.

Chosen by what a table is, never by hand: counts by period give lines, counts without periods bars, counts by commune a
grid of tiles too, and a list gives the number of its rows by kind. Scores and shares are not added up, so a table of
them has no picture. Tiles stand in the order of the statistical codes: no boundaries are drawn.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import Markup

from opendata.catalogue import Column, Text, frictionless_type
from opendata.words import UNITS, Language

if TYPE_CHECKING:
    from opendata.release import Table

WIDTH = 480
MOST_LINES, MOST_BARS, MOST_TILES, COLUMNS = 3, 12, 200, 8
CLASSES = 5
#: Key columns whose values are communes, or areas that stayed comparable over the merger.
PLACES = ("commune_code", "area_code")
ROWS = Text("Số dòng", "Rows")
ADDED_UP = Text(
    "Cộng các ô được công bố; ô không công bố không được tính.",
    "Sums of the published cells; withheld ones are not counted.",
)


@dataclass(frozen=True)
class Chart:
    """A picture and its numbers: `kind` is line, bars or tiles; a value is None where nothing is published.

    `columns` names the series, `rows` are (label, values) in the order of the picture; `by` is the column of labels.
    """

    kind: str
    title: Text
    note: Text | None
    columns: tuple[Text, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    unit: str | None = None
    by: str = ""


def choose(table: Table, folder: Path) -> list[Chart]:
    """Return the pictures that suit a table, read from its Parquet file in the release at `folder`; maybe none."""
    path = folder / next(file.path for file in table.files if file.format == "parquet")
    words = {column.name: _clause(column) for column in table.columns}
    kinds = {column.name: frictionless_type(column.data_type) for column in table.columns}
    units = {column.name: column.unit for column in table.columns}
    keys, policy = table.resource.keys, table.resource.small_cell
    if policy is None:
        if any(units[name] in ("point", "percent", "rank") for name in kinds):
            return []
        texts = [name for name, kind in kinds.items() if kind in ("string", "boolean") and name != "origin"]
        coded = {column.name for column in table.columns if column.codes}
        return _by_kind(pq.read_table(path, columns=texts), coded, words) if texts else []
    if not policy.count_columns or any(one.level_column for one in policy.dimensions.values()):
        return []  # rows of several levels in one table: their sum would count the same twice
    first, *others = policy.count_columns
    counts = [first, *(name for name in others if units[name] == units[first])][:MOST_LINES]
    read = {*keys, *policy.dimensions, *policy.count_columns}
    data = pq.read_table(path, columns=[name for name in kinds if name in read or name.endswith("_name")])
    for name, dimension in policy.dimensions.items():
        if dimension.total is not None:  # a row of sums beside its parts
            data = data.filter(
                pc.invert(pc.fill_null(pc.equal(data[name].cast(pa.string()), dimension.total), False))
            )
    charts = []
    period = table.resource.period_column
    if period and len(pc.unique(data[period])) > 2:
        charts.append(_over_time(data, period, counts, units[first], words))
    else:
        charts += _by_group(
            data, [key for key in keys if key not in (period, "origin")], first, units[first], words
        )
    place = next((key for key in keys if key in PLACES), None)
    if place:
        charts += _tiles(data, place, period, counts[-1], units[first], words)
    return charts


Words = Mapping[str, Text]


def _clause(column: Column) -> Text:
    """Return the first words of a column's description, up to the first sign: its name for people."""
    vi, en = (
        re.split(r"[:;,.(]", text)[0].strip() for text in (column.description.vi, column.description.en)
    )
    return Text(vi or column.name, en or column.name)


def _by(what: Text, group: Text) -> Text:
    vi, en = (text[:1].lower() + text[1:] for text in (group.vi, group.en))
    return Text(f"{what.vi} theo {vi}", f"{what.en} by {en}")


def _sums(data: pa.Table, by: str, counts: Sequence[str]) -> list[tuple[str, tuple[float | None, ...]]]:
    """Return (value, sums) sorted by value; a sum over empty cells alone is None."""
    grouped = data.group_by(by).aggregate([(name, "sum") for name in counts]).sort_by(by).to_pylist()
    return [
        (str(row[by]), tuple(row[f"{name}_sum"] for name in counts)) for row in grouped if row[by] is not None
    ]


def _over_time(data: pa.Table, period: str, counts: Sequence[str], unit: str | None, words: Words) -> Chart:
    title = Text("Diễn biến theo thời gian", "Over time")
    return Chart(
        "line",
        title,
        ADDED_UP,
        tuple(words[name] for name in counts),
        tuple(_sums(data, period, counts)),
        unit,
    )


def _by_group(data: pa.Table, keys: Sequence[str], count: str, unit: str | None, words: Words) -> list[Chart]:
    suited = [key for key in keys if 2 <= len(pc.unique(data[key])) <= MOST_BARS]
    if not suited:
        return []
    by = max(suited, key=lambda key: len(pc.unique(data[key])))
    rows = sorted(_sums(data, by, [count]), key=lambda row: -(row[1][0] or 0))
    title = _by(words[count], words[by])
    return [Chart("bars", title, ADDED_UP, (words[count],), tuple(rows), unit, by)]


def _by_kind(data: pa.Table, coded: set[str], words: Words) -> list[Chart]:
    """Return the rows by the column that tells most kinds apart, yet few enough to be drawn; code lists come first."""
    kinds = {name: len(pc.unique(data[name].drop_null())) for name in data.column_names}
    suited = [name for name, number in kinds.items() if 2 <= number <= MOST_BARS and number < data.num_rows]
    if not suited:
        return []
    by = max(suited, key=lambda name: (name in coded, kinds[name]))
    counted = sorted(pc.value_counts(data[by].drop_null()).to_pylist(), key=lambda row: -row["counts"])
    rows = tuple((str(row["values"]), (float(row["counts"]),)) for row in counted)
    return [Chart("bars", _by(ROWS, words[by]), None, (ROWS,), rows, by=by)]


def _tiles(
    data: pa.Table, place: str, period: str | None, count: str, unit: str | None, words: Words
) -> list[Chart]:
    """Return the newest period by commune, in the order of the codes."""
    name = place.removesuffix("_code") + "_name"
    if name not in data.column_names or len(pc.unique(data[place])) > MOST_TILES:
        return []
    at = ""
    if period:
        newest = pc.max(data[period]).as_py()
        data, at = data.filter(pc.equal(data[period], pa.scalar(newest, data[period].type))), f", {newest}"
    names = dict(zip(data[place].to_pylist(), data[name].to_pylist(), strict=True))
    rows = tuple((str(names[code] or code), values) for code, values in _sums(data, place, [count]))
    title = Text(f"Theo địa bàn: {words[count].vi}{at}", f"By place: {words[count].en}{at}")
    note = Text(
        "Mỗi ô một địa bàn, xếp theo mã thống kê; không phải bản đồ. Ô gạch: không công bố.",
        "One tile for each place, in the order of the statistical codes; not a map. Dashed: withheld.",
    )
    return [Chart("tiles", title, note, (words[count],), rows, unit)]


# --- drawing


def draw(chart: Chart, number: str, language: Language) -> Markup:
    """Return the picture as an SVG element with a title and a description; `number` makes its ids unique."""
    height, inside = {"line": _line, "bars": _bars, "tiles": _grid}[chart.kind](chart, language)
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


def _line(chart: Chart, language: Language) -> tuple[int, str]:
    legend = 22 * len(chart.columns)
    left, top, bottom, height = 58, legend + 14, 30, 250 + legend
    steps = nice_steps(max((value for _, row in chart.rows for value in row if value is not None), default=0))
    across, up = WIDTH - left - 12, height - top - bottom

    def point(index: int, value: float) -> tuple[float, float]:
        return left + across * index / max(len(chart.rows) - 1, 1), top + up * (1 - value / steps[-1])

    parts = []
    for step in steps:
        _, y = point(0, step)
        parts.append(
            f'<path class="axis" d="M{left} {y:.1f}H{WIDTH - 12}"/>'
            + _text(left - 8, y + 4.5, language.number(step), "end")
        )
    last = len(chart.rows) - 1
    for index, anchor in ((0, "start"), (last // 2, "middle"), (last, "end")):
        parts.append(_text(point(index, 0)[0], height - 8, chart.rows[index][0], anchor))
    for series, name in enumerate(chart.columns):
        y = 12 + 22 * series
        parts.append(
            f'<path class="s{series}" d="M0 {y}H34"/>' + _text(42, y + 5, _short(language.say(name), 62))
        )
        drawn, move = "", "M"
        for index, (_, values) in enumerate(chart.rows):
            if (value := values[series]) is None:
                move = "M"  # a gap, not a fall to zero
                continue
            x, y_at = point(index, value)
            drawn, move = f"{drawn}{move}{x:.1f} {y_at:.1f}", "L"
        parts.append(f'<path class="s{series}" d="{drawn}"/>')
    return height, "".join(parts)


def _bars(chart: Chart, language: Language) -> tuple[int, str]:
    most = max((values[0] or 0 for _, values in chart.rows), default=0) or 1
    parts = []
    for index, (label, (value,)) in enumerate(chart.rows):
        y = 42 * index
        length = (WIDTH - 90) * (value or 0) / most
        shown = "–" if value is None else language.number(value)
        parts.append(
            _text(0, y + 15, _short(label, 58))
            + f'<rect class="bar" x="0" y="{y + 21}" width="{length:.1f}" height="14"/>'
        )
        parts.append(_text(length + 6, y + 33, shown))
    return 42 * len(chart.rows), "".join(parts)


def _grid(chart: Chart, language: Language) -> tuple[int, str]:
    limits = _limits([values[0] for _, values in chart.rows if values[0] is not None])
    size, parts = WIDTH / COLUMNS, []
    for index, (label, (value,)) in enumerate(chart.rows):
        x, y = size * (index % COLUMNS), 46 * (index // COLUMNS)
        kind = "none" if value is None else f"q{_class_of(value, limits)}"
        shown = "–" if value is None else language.number(value)
        parts.append(
            f'<g class="{kind}"><title>{escape(f"{label}: {shown}")}</title>'
            f'<rect x="{x + 1:.1f}" y="{y + 1}" width="{size - 2:.1f}" height="44"/>'
            + _text(x + size / 2, y + 20, _short(_bare(label), 9), "middle", "name")
            + _text(x + size / 2, y + 36, shown, "middle")
            + "</g>"
        )
    return 46 * math.ceil(len(chart.rows) / COLUMNS), "".join(parts)


def _limits(values: list[float]) -> list[float]:
    """Return the upper limits of all classes but the last, so that each holds about as many tiles."""
    values.sort()
    return [values[len(values) * step // CLASSES] for step in range(1, CLASSES)] if values else []


def _class_of(value: float, limits: Sequence[float]) -> int:
    return sum(value >= limit for limit in limits)


def _bare(name: str) -> str:
    return re.sub(r"^(Phường|Xã|Thị trấn|Thị xã|Đặc khu|Thành phố)\s+", "", name)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def labelled(chart: Chart, codes: Mapping[str, Mapping[str, Text]], language: Language) -> Chart:
    """Return the chart with the codes of bars in words, where its dictionary has them."""
    known = codes.get(chart.by, {})
    rows = tuple(
        (language.say(known[label]) if label in known else label, values) for label, values in chart.rows
    )
    return replace(chart, rows=rows)
