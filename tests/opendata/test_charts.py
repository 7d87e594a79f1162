"""Pictures: chosen by what a table is, drawn to scale, nothing withheld shown as zero."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opendata.catalogue import Column, Text
from opendata.charts import Chart, choose, draw, nice_steps
from opendata.words import ENGLISH, VIETNAMESE


def table(
    folder: Path,
    data: dict[str, list[Any]],
    counts: tuple[str, ...],
    keys: tuple[str, ...],
    period: str | None = None,
) -> Any:
    """A finished table as a release has it: its Parquet file and what is declared of it."""
    (folder / "x").mkdir()
    written = pa.table(data)
    pq.write_table(written, folder / "x/x.real.parquet")
    kinds = {"string": "text", "int64": "bigint", "bool": "boolean"}
    columns = [
        Column(f.name, kinds[str(f.type)], Text("", ""), "dossier" if f.name in counts else None)
        for f in written.schema
    ]
    policy = SimpleNamespace(count_columns=counts, dimensions={}) if counts else None
    resource = SimpleNamespace(keys=keys, small_cell=policy, period_column=period)
    return SimpleNamespace(
        columns=columns, resource=resource, files=[SimpleNamespace(format="parquet", path="x/x.real.parquet")]
    )


def test_counts_by_month_give_lines_with_gaps_where_nothing_is_published(tmp_path: Path) -> None:
    months = ["2026-01", "2026-02", "2026-03", "2026-04"]
    data = {"month": months * 2, "channel": ["a"] * 4 + ["b"] * 4, "n": [10, None, 30, 40, 5, None, 5, 5]}
    (chart,) = choose(table(tmp_path, data, ("n",), ("month", "channel"), "month"), tmp_path)
    assert chart.kind == "line"
    assert chart.rows == (("2026-01", (15,)), ("2026-02", (None,)), ("2026-03", (35,)), ("2026-04", (45,)))
    drawn = str(draw(chart, "0", VIETNAMESE))
    assert len(re.findall("M", re.findall(r'<path class="s0" d="(M[^"]*L[^"]*)"', drawn)[0])) == 2, (
        "a gap, not a zero"
    )


def test_points_stand_where_their_values_are(tmp_path: Path) -> None:
    chart = Chart(
        "line", Text("a", "b"), None, (Text("a", "b"),), (("1", (0.0,)), ("2", (50.0,)), ("3", (100.0,)))
    )
    drawn = str(draw(chart, "0", ENGLISH))
    ys = [
        float(y)
        for y in re.findall(r"[ML][\d.]+ ([\d.]+)", re.findall(r'class="s0" d="(M[^"]*L[^"]*)"', drawn)[0])
    ]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[2]


def test_counts_without_periods_give_bars_from_the_largest(tmp_path: Path) -> None:
    data = {"outcome": ["x", "y", "z"], "n": [4, 40, 20]}
    (chart,) = choose(table(tmp_path, data, ("n",), ("outcome",)), tmp_path)
    assert (chart.kind, chart.rows) == ("bars", (("y", (40,)), ("z", (20,)), ("x", (4,))))
    widths = [float(w) for w in re.findall(r'class="bar".*?width="([\d.]+)"', str(draw(chart, "0", ENGLISH)))]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2)
    assert widths[0] == pytest.approx(10 * widths[2], abs=0.6)


def test_counts_by_commune_give_tiles_of_the_newest_period(tmp_path: Path) -> None:
    codes = [f"{28000 + n}" for n in range(20)]
    data = {
        "month": ["2026-01"] * 20 + ["2026-02"] * 20 + ["2026-03"] * 20,
        "commune_code": codes * 3,
        "commune_name": [f"Xã Tân {n}" for n in range(20)] * 3,
        "n": [1] * 40 + [None, *range(19)],
    }
    line, tiles = choose(table(tmp_path, data, ("n",), ("month", "commune_code"), "month"), tmp_path)
    assert (line.kind, tiles.kind) == ("line", "tiles")
    assert tiles.title.en.endswith("2026-03")
    assert [values[0] for _, values in tiles.rows] == [None, *range(19)]
    drawn = ElementTree.fromstring(str(draw(tiles, "0", VIETNAMESE)))  # noqa: S314 - our own
    kinds = [group.get("class") for group in drawn.iter("g")]
    assert kinds[0] == "none"
    assert {kinds.count(f"q{n}") for n in range(5)} <= {3, 4}


def test_sums_and_their_parts_are_not_added_up(tmp_path: Path) -> None:
    made = table(tmp_path, {"sex": ["f", "m", "all"], "n": [4, 40, 44]}, ("n",), ("sex",))
    made.resource.small_cell.dimensions = {"sex": SimpleNamespace(total="all", level_column=None)}
    (chart,) = choose(made, tmp_path)
    assert chart.rows == (("m", (40,)), ("f", (4,)))
    made.resource.small_cell.dimensions = {"sex": SimpleNamespace(total=None, level_column="level")}
    assert choose(made, tmp_path) == []


def test_scores_are_not_added_up(tmp_path: Path) -> None:
    made = table(tmp_path, {"unit": ["a", "b", "b"], "score": [1, 2, 2]}, (), ("unit",))
    assert [chart.kind for chart in choose(made, tmp_path)] == ["bars"]
    made.columns[1] = Column("score", "bigint", Text("", ""), "point")
    assert choose(made, tmp_path) == []


def test_names_in_a_picture_are_text(tmp_path: Path) -> None:
    evil = '</text></svg><script>alert("1")</script>&'
    data = {"outcome": [evil, "y"], "n": [4, 40]}
    for language in (VIETNAMESE, ENGLISH):
        (tmp_path / language.code).mkdir()
        (chart,) = choose(
            table(tmp_path / language.code, data, ("n",), ("outcome",)), tmp_path / language.code
        )
        tree = ElementTree.fromstring(str(draw(chart, "0", language)))  # noqa: S314 - our own
        assert evil in [node.text for node in tree.iter("text")]


@pytest.mark.parametrize("most", [0, 1, 3, 4, 7, 99, 100, 101, 12_345, 9_999_999])
def test_steps_are_round_few_and_reach_the_largest(most: int) -> None:
    steps = nice_steps(most)
    assert steps[0] == 0
    assert steps[-1] >= most
    assert 2 <= len(steps) <= 6
    assert all(step == int(step) for step in steps)
