"""Pictures: chosen by what a table is, drawn to scale, nothing withheld shown as zero."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opendata.catalogue import Code, Column, Text
from opendata.charts import NAMES, Chart, choose, draw, labelled, nice_steps
from opendata.words import ENGLISH, VIETNAMESE
from opendata.words import period as in_words


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
    kinds = {"string": "text", "int64": "bigint", "bool": "boolean", "date32[day]": "date"}
    columns = [
        Column(f.name, kinds[str(f.type)], Text("", ""), "dossier" if f.name in counts else None)
        for f in written.schema
    ]
    counted = [SimpleNamespace(column=name) for name in counts]
    policy = SimpleNamespace(counts=counted, dimensions={}) if counts else None
    is_open = "is_provisional" if "is_provisional" in data else None
    resource = SimpleNamespace(keys=keys, small_cell=policy, period_column=period, provisional_column=is_open)
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
    assert len(segments(drawn)) == 1, "a gap, not a fall to zero"
    assert len(re.findall(r'<circle class="m0" .*?<title>', drawn)) == 3
    assert chart.note is not None
    assert "Chỗ trống: hơn một nửa số ô không công bố" in chart.note.vi


@pytest.mark.parametrize(
    ("period", "vi", "en", "short"),
    [
        ("2026", "2026", "2026", "2026"),
        ("2026-Q4", "quý IV/2026", "Q4 2026", "quý IV/2026"),
        ("2026-08", "tháng 8/2026", "August 2026", "8/2026"),
        ("2026-08-15", "15/8/2026", "15 August 2026", "15/8/2026"),
        (
            "2026-08-01/2026-08-15",
            "1/8/2026 đến 15/8/2026",
            "1 August 2026 to 15 August 2026",
            "1/8/2026 đến 15/8/2026",
        ),
        ("28249", "28249", "28249", "28249"),
    ],
)
def test_periods_are_written_as_people_write_them(period: str, vi: str, en: str, short: str) -> None:
    assert in_words(period) == Text(vi, en)
    assert VIETNAMESE.period(period, short=True) == short


def test_the_axis_and_the_table_of_a_line_name_its_periods_in_words(tmp_path: Path) -> None:
    data = {"month": ["2026-01", "2026-02", "2026-03"], "n": [10, 30, 35]}
    (chart,) = choose(table(tmp_path, data, ("n",), ("month",), "month"), tmp_path)
    drawn = ElementTree.fromstring(str(draw(chart, "0", ENGLISH)))  # noqa: S314 - our own
    written = [node.text for node in drawn.iter("text")]
    assert {"Jan 2026", "Mar 2026"} <= set(written)
    assert [chart.named(label, VIETNAMESE) for label, _ in chart.rows] == [
        f"tháng {month}/2026" for month in (1, 2, 3)
    ]


def segments(drawn: str, kind: str = "s0") -> list[str]:
    return re.findall(rf'<path class="{kind}" d="(M[^"]*L[^"]*)"', drawn)


def test_periods_that_lack_days_are_hollow_dashed_and_said(tmp_path: Path) -> None:
    months = ["2026-01", "2026-02", "2026-03", "2026-04"]
    data = {"month": months, "is_provisional": [False, False, False, True], "n": [10, 30, 35, 4]}
    (chart,) = choose(table(tmp_path, data, ("n",), ("month",), "month"), tmp_path)
    assert chart.provisional == {"2026-04"}
    assert chart.note is not None
    assert "kỳ chưa đủ ngày, số tạm tính (tháng 4/2026)" in chart.note.vi
    assert "the period lacks days, provisional (April 2026)" in chart.note.en
    drawn = str(draw(chart, "0", VIETNAMESE))
    assert (len(segments(drawn)), len(segments(drawn, "s0 open"))) == (2, 1)
    assert re.findall(r'<circle class="m0 hollow".*?<title>(.*?)<', drawn) == ["tháng 4/2026: 4"]


def test_sums_that_lack_withheld_cells_are_hollow_and_at_least(tmp_path: Path) -> None:
    months = ["2026-01", "2026-02", "2026-03"]
    cells = [10, 10, 10, 10, None, 10, 10, None, None]  # January whole, a third of February, two of March
    data = {"month": [month for month in months for _ in range(3)], "g": [*"abc"] * 3, "n": cells}
    (chart,) = choose(table(tmp_path, data, ("n",), ("month", "g"), "month"), tmp_path)
    assert chart.rows == (("2026-01", (30,)), ("2026-02", (20,)), ("2026-03", (None,)))
    assert [chart.written(label, 0, value, VIETNAMESE) for label, (value,) in chart.rows] == [
        "30",
        "≥ 20",
        "–",
    ]
    drawn = str(draw(chart, "0", VIETNAMESE))
    assert re.findall(r'<circle class="m0 hollow".*?<title>(.*?)<', drawn) == ["tháng 2/2026: ≥ 20"]


def test_a_count_of_which_most_is_withheld_is_not_drawn_and_named(tmp_path: Path) -> None:
    months = ["2026-01", "2026-02", "2026-03"]
    data = {"month": months, "n": [5, 6, 7], "late": [None, None, 1]}
    (chart,) = choose(table(tmp_path, data, ("n", "late"), ("month",), "month"), tmp_path)
    assert chart.columns == (Text("n", "n"),)
    assert chart.note is not None
    assert "Không vẽ: late" in chart.note.vi


def test_what_would_lie_flat_beside_the_others_has_a_scale_of_its_own(tmp_path: Path) -> None:
    """Some late ones among hundreds; the count that is declared first comes first."""
    months = ["2026-01", "2026-02", "2026-03"]
    data = {"month": months, "late": [1, 9, 4], "n": [600, 500, 700], "on_time": [90, 100, 110]}
    made = table(tmp_path, data, ("late", "n", "on_time"), ("month",), "month")
    alone, together = choose(made, tmp_path)
    assert alone.columns == (Text("late", "late"),)
    assert alone.title.vi == "Diễn biến theo thời gian: late"
    assert [name.vi for name in together.columns] == ["n", "on_time"]
    assert together.rows[0] == ("2026-01", (600, 90))


def test_points_stand_where_their_values_are(tmp_path: Path) -> None:
    chart = Chart(
        "line", Text("a", "b"), None, (Text("a", "b"),), (("1", (0.0,)), ("2", (50.0,)), ("3", (100.0,)))
    )
    first, second = segments(str(draw(chart, "0", ENGLISH)))
    ys = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", first + second[second.index("L") :])]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[2]


def test_counts_without_periods_give_bars_from_the_largest(tmp_path: Path) -> None:
    data = {"outcome": ["x", "y", "z"], "n": [4, 40, 20]}
    (chart,) = choose(table(tmp_path, data, ("n",), ("outcome",)), tmp_path)
    assert (chart.kind, chart.rows) == ("bars", (("y", (40,)), ("z", (20,)), ("x", (4,))))
    widths = [float(w) for w in re.findall(r'class="bar.*?width="([\d.]+)"', str(draw(chart, "0", ENGLISH)))]
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
    line, bars, tiles = choose(table(tmp_path, data, ("n",), ("month", "commune_code"), "month"), tmp_path)
    assert (line.kind, bars.kind, tiles.kind) == ("line", "bars", "tiles")
    assert bars.title.vi == "n: 10 địa bàn cao nhất, tháng 3/2026"
    assert bars.rows == tuple((f"Xã Tân {n}", (n - 1,)) for n in range(19, 9, -1))
    assert tiles.title.en.endswith(", March 2026")
    assert [values[0] for _, values in tiles.rows] == [None, *range(19)]
    drawn = ElementTree.fromstring(str(draw(tiles, "0", VIETNAMESE)))  # noqa: S314 - our own
    kinds = [item.get("class") for item in drawn.findall("ul[@class='grid']/li")]
    assert kinds[:3] == ["none", "q0", "q1"], "withheld, zero and the least are three things"
    assert kinds[-1] == "q5"
    assert {kinds.count(f"q{n}") for n in range(1, 6)} <= {3, 4}
    legend = ["".join(item.itertext()) for item in drawn.findall("ul[@class='legend']/li")]
    assert (legend[0], legend[-1], len(legend)) == ("0", "không công bố", 7)


def test_a_name_that_stands_for_more_than_one_commune_is_explained(tmp_path: Path) -> None:
    names = ["Xã A (+1)", *(f"Xã {n}" for n in range(15))]
    data = {"area_code": [f"28{n:03d}" for n in range(16)], "area_name": names, "n": [1, *range(10, 25)]}
    bars, tiles = choose(table(tmp_path, data, ("n",), ("area_code",), None), tmp_path)
    assert tiles.note is not None
    assert "(+1): vùng so sánh được gồm thêm một xã mới." in tiles.note.vi
    assert bars.note is None or "(+1)" not in bars.note.vi, "none of the highest is such a one"


def test_tiles_show_the_newest_period_that_has_all_its_days_and_a_count_that_is_mostly_there(
    tmp_path: Path,
) -> None:
    codes = ["28001", "28002", "28003"]
    data = {
        "month": ["2026-01"] * 3 + ["2026-02"] * 3,
        "is_provisional": [False] * 3 + [True] * 3,
        "area_code": codes * 2,
        "area_name": ["Xã A", "Xã B", "Phường C"] * 2,
        "n": [1, 2, 3, 9, 9, 9],
        "late": [None, None, 5, 9, 9, 9],
    }
    *_, tiles = choose(table(tmp_path, data, ("n", "late"), ("month", "area_code"), "month"), tmp_path)
    assert tiles.title.vi == "Theo địa bàn: n, tháng 1/2026"
    assert tiles.rows == (("Xã A", (1,)), ("Xã B", (2,)), ("Phường C", (3,)))


def test_people_counted_on_several_days_are_not_added_up(tmp_path: Path) -> None:
    data = {
        "day": ["2026-01-01"] * 3 + ["2026-06-01"] * 3,
        "age": ["80+", "0-4", "5-9"] * 2,
        "n": [1, 2, 3, 10, 20, 30],
    }
    (chart,) = choose(table(tmp_path, data, ("n",), ("day", "age"), "day"), tmp_path)
    assert chart.rows == (("0-4", (20,)), ("5-9", (30,)), ("80+", (10,))), (
        "in the order of ages, of the newest day"
    )
    assert chart.title.en.endswith(", 1 June 2026")


def test_points_and_ranks_stand_from_the_best_and_are_not_added_up(tmp_path: Path) -> None:
    data = {
        "period": ["2026"] * 6 + ["2026-Q1"] * 6,
        "unit_code": [*"abcdef"] * 2,
        "unit_name": ["UBND tỉnh A", "B", "C", "D", "E", "F"] * 2,
        "metric_code": ["TOTAL"] * 6 + ["PART"] * 6,
        "metric_name": ["Tổng điểm"] * 6 + ["Phần"] * 6,
        "score": [50, 90, 70, 60, 80, 55] + [9] * 6,
    }
    made = table(tmp_path, data, (), ("period", "unit_code", "metric_code"))
    made.columns[-1] = Column("score", "bigint", Text("Điểm", "Points"), "point")
    (chart,) = choose(made, tmp_path)
    assert (chart.kind, chart.title.vi) == ("tiles", "Điểm, 2026, Tổng điểm")
    assert [label for label, _ in chart.rows] == ["B", "E", "C", "D", "F", "UBND tỉnh A"]
    made.columns[-1] = Column("score", "bigint", Text("Hạng", "Rank"), "rank")
    (chart,) = choose(made, tmp_path)
    assert [label for label, _ in chart.rows] == ["UBND tỉnh A", "F", "D", "C", "E", "B"]
    drawn = ElementTree.fromstring(str(draw(chart, "0", ENGLISH)))  # noqa: S314 - our own
    tiles = drawn.findall("ul[@class='grid']/li")
    assert (tiles[0].get("class"), "".join(tiles[0].itertext())) == ("q5", "A 50")
    assert tiles[-1].get("class") == "q1"


def test_the_whole_of_the_units_is_not_ranked_among_them(tmp_path: Path) -> None:
    data = {
        "root_unit_id": ["all"] * 6,
        "unit_id": ["all", *"abcde"],
        "unit_name": ["Cả nước", *"ABCDE"],
        "score": [9, 1, 2, 3, 4, 5],
    }
    made = table(tmp_path, data, (), ("root_unit_id", "unit_id"))
    made.columns[-1] = Column("score", "bigint", Text("Điểm", "Points"), "point")
    (chart,) = choose(made, tmp_path)
    assert [label for label, _ in chart.rows] == [*"EDCBA"]


def test_of_figures_with_digits_after_the_comma_all_have_as_many() -> None:
    chart = Chart(
        "bars", Text("", ""), None, (Text("n", "n"),), (("A", (19.45,)), ("B", (6,)), ("C", (None,)))
    )
    written = [chart.written(label, 0, value, VIETNAMESE) for label, (value,) in chart.rows]
    assert written == ["19,45", "6,00", "–"]
    assert replace(chart, rows=(("A", (1234.0,)),)).written("A", 0, 1234.0, VIETNAMESE) == "1.234"


def test_a_long_name_of_a_bar_stands_in_two_lines_and_nothing_covers_another(tmp_path: Path) -> None:
    long = "huyện, quận, thị xã, thành phố thuộc tỉnh (đến 30/6/2025)"
    (chart,) = choose(table(tmp_path, {"level": [long, "xã"], "n": [4, 40]}, ("n",), ("level",)), tmp_path)
    drawn = ElementTree.fromstring(str(draw(chart, "0", VIETNAMESE)))  # noqa: S314 - our own
    lines = [
        (float(node.get("y", "")), str(node.text)) for node in drawn.iter("text") if node.get("x") == "0.0"
    ]
    assert " ".join(text for _, text in lines) == f"xã {long}"
    bars = [float(node.get("y", "")) for node in drawn.iter("rect")]
    # Letters hang 5 below their line; a bar is 14 high, and the next name rises 14 above its line.
    assert [y for y, _ in lines] == sorted(y for y, _ in lines)
    assert lines[0][0] + 5 <= bars[0]
    assert bars[0] + 14 <= lines[1][0] - 10
    assert lines[1][0] + 15 <= lines[2][0]
    assert lines[2][0] + 5 <= bars[1]
    assert bars[1] + 14 <= float(drawn.get("viewBox", "").split()[3])


def test_sums_and_their_parts_are_not_added_up(tmp_path: Path) -> None:
    made = table(tmp_path, {"sex": ["f", "m", "all"], "n": [4, 40, 44]}, ("n",), ("sex",))
    made.resource.small_cell.dimensions = {"sex": SimpleNamespace(total="all", level_column=None)}
    (chart,) = choose(made, tmp_path)
    assert chart.rows == (("m", (40,)), ("f", (4,)))


def test_rows_of_one_level_are_added_up_and_months_not_beside_their_quarters(tmp_path: Path) -> None:
    data = {
        "quarter": ["2026-Q1"] * 3 + ["2026-Q2"],
        "area_level": ["commune", "commune", "district", "district"],
        "area_code": ["28001", "28002", "815", "815"],
        "area_name": [
            "Xã A",
            "Xã B",
            "Các xã thuộc Huyện C (đến 30/6/2025)",
            "Các xã thuộc Huyện C (đến 30/6/2025)",
        ],
        "n": [10, 20, 30, 7],
        "is_provisional": [False, False, False, True],
    }
    made = table(tmp_path, data, ("n",), ("quarter", "area_code"), "quarter")
    made.resource.small_cell.dimensions = {
        "area_code": SimpleNamespace(total=None, level_column="area_level")
    }
    *_, tiles = choose(made, tmp_path)
    assert tiles.title.en.endswith(", Q1 2026")
    assert tiles.rows == (("Xã A", (10,)), ("Xã B", (20,)))
    made.resource.small_cell.dimensions = {"quarter": SimpleNamespace(total=None, level_column="area_level")}
    assert choose(made, tmp_path) == []


def test_scores_are_not_added_up(tmp_path: Path) -> None:
    made = table(tmp_path, {"unit": ["a", "b", "b"], "score": [1, 2, 2]}, (), ("unit",))
    assert [chart.kind for chart in choose(made, tmp_path)] == ["bars"]
    made.columns[1] = Column("score", "bigint", Text("", ""), "point")
    assert choose(made, tmp_path) == [], "no names to rank"


def test_yes_and_no_are_words(tmp_path: Path) -> None:
    made = table(tmp_path, {"is_working_day": [True, True, False]}, (), ("is_working_day",))
    (chart,) = choose(made, tmp_path)
    assert chart.title.vi == "Số dòng: is_working_day"
    assert labelled(chart, {}, VIETNAMESE).rows == (("có", (2,)), ("không", (1,)))
    assert labelled(chart, {}, ENGLISH).rows == (("yes", (2,)), ("no", (1,)))


def test_days_of_which_something_holds_are_counted_by_year(tmp_path: Path) -> None:
    days = [date(2026, 1, 1), date(2026, 1, 2), date(2027, 1, 1), date(2027, 1, 4), date(2027, 1, 5)]
    data = {"day": days, "is_working_day": [False, True, False, True, True]}
    made = table(tmp_path, data, (), ("day",), "day")
    (chart,) = choose(made, tmp_path)
    assert (chart.kind, chart.rows) == ("bars", (("2026", (1,)), ("2027", (2,))))
    assert chart.title.vi == "is_working_day: số ngày mỗi năm"


def test_counts_that_nothing_divides_stand_side_by_side_by_their_names(tmp_path: Path) -> None:
    data = {"month": ["2026-01", "2026-02"], "online": [7, 40], "otherwise": [9, 10]}
    made = table(tmp_path, data, ("online", "otherwise"), ("month",), "month")
    (chart,) = choose(made, tmp_path)
    assert (chart.title.vi, chart.title.en) == ("Tổng số, tháng 2/2026", "Total, February 2026")
    names = {"online": Text("Trực tuyến", "Online"), "otherwise": Text("Cách khác", "Otherwise")}
    assert labelled(chart, {NAMES: names}, VIETNAMESE).rows == (("Trực tuyến", (40,)), ("Cách khác", (10,)))
    assert labelled(chart, {NAMES: names}, ENGLISH).rows == (("Online", (40,)), ("Otherwise", (10,)))
    (tmp_path / "withheld").mkdir()
    data["otherwise"] = [9, None]
    made = table(tmp_path / "withheld", data, ("online", "otherwise"), ("month",), "month")
    assert choose(made, tmp_path / "withheld") == []


def test_points_of_many_periods_are_drawn_of_the_newest_whole_one_and_never_added_up(tmp_path: Path) -> None:
    """Q2 is whole and ends with June, the longer of the two; the year is open; what is withheld is said, not nought."""
    periods = ["2026-06"] * 3 + ["2026-Q2"] * 4 + ["2026"] * 3
    data = {
        "period": periods,
        "level": ["month"] * 3 + ["quarter"] * 4 + ["year"] * 3,
        "code": [*"abc", *"abcd", *"abc"],
        "n": [20] * 10,
        "score": [1, 2, 3, 4, 6, None, None, 7, 8, 9],
        "withheld": [False] * 5 + [True] + [False] * 4,
        "is_provisional": [False] * 7 + [True] * 3,
    }
    made = table(tmp_path, data, ("n",), ("period", "code"), "period")
    made.resource.small_cell.dimensions = {"period": SimpleNamespace(total=None, level_column="level")}
    codes = tuple(Code(value, Text(f"mã {value}", f"code {value}")) for value in "abcd")
    made.columns[2] = Column("code", "text", Text("Chỉ tiêu", "Indicator"), codes=codes)
    made.columns[4] = Column("score", "bigint", Text("Điểm", "Points"), "point")
    (chart,) = choose(made, tmp_path)
    assert (chart.kind, chart.title.vi, chart.unit) == ("bars", "Điểm theo chỉ tiêu, quý II/2026", "point")
    assert chart.rows == (("b", (6,)), ("a", (4,)), ("c", (None,))), "d has no points and is not withheld"
    assert chart.note == Text("–: không công bố.", "–: withheld.")
    data["is_provisional"] = [True] * 10
    (tmp_path / "open").mkdir()
    made.files[0].path = "open/x/x.real.parquet"
    table(tmp_path / "open", data, ("n",), ("period", "code"), "period")
    (chart,) = choose(made, tmp_path)
    assert chart.title.vi == "Điểm theo chỉ tiêu, 2026"
    assert chart.note is not None
    assert "số tạm tính" in chart.note.vi


def test_of_places_that_are_partly_withheld_the_highest_are_said_to_be_of_the_published_ones(
    tmp_path: Path,
) -> None:
    codes = [f"{28000 + n}" for n in range(13)]
    data = {"area_code": codes, "area_name": [f"Xã {n}" for n in range(13)], "n": [None, *range(10, 22)]}
    bars, _ = choose(table(tmp_path, data, ("n",), ("area_code",)), tmp_path)
    assert bars.note == Text("Chỉ kể địa bàn được công bố.", "Of the places whose figures are published.")


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
