"""Tables are divided as finely as the share of withheld dossiers allows, and said to be."""

from __future__ import annotations

import json
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from opendata.disclosure import suppression
from opendata.disclosure.audit import audit
from opendata.disclosure.granularity import coarsened, protect_as_finely_as_allowed
from opendata.disclosure.renewal import keep
from opendata.disclosure.system import Counted
from opendata.release import ReleaseError, _overtaken
from tests.opendata.conftest import Warehouse
from tests.opendata.test_disclosure import COMMUNE, MONTH, repository_policies, table, write_release

CHANNEL = {"channel": "channel.group"}
CHANNELS = {"put": {"channel": "all"}, "vi": "Gộp kênh", "en": "Channels together"}
SECTORS = {"put": {"sector": "all"}, "vi": "Gộp lĩnh vực", "en": "Sectors together"}
LATE = {name: {"of": "dossiers", "outcome.outcome": name} for name in ("in_time", "late")}
KEY = ("t", "t")


def by_sector(late: int, sectors: int = 20, **more: Any) -> Counted:
    """Sectors by channel, each with a thousand in time and some late."""
    rows = {
        "sector": [f"s{s:02d}" for s in range(sectors) for _ in "ab"],
        "channel": ["counter", "online"] * sectors,
        "days": [31] * 2 * sectors,
        "in_time": [1000] * 2 * sectors,
        "late": [late] * 2 * sectors,
    }
    more = {"safe": {"days": "of the log"}, "coarsen": [CHANNELS, SECTORS]} | more
    return table("t", {"sector": "sector.group"} | CHANNEL, rows, LATE, threshold=10, **more)


@pytest.mark.parametrize(("late", "steps"), [(40, 0), (8, 1), (6, 1), (3, 2)])
def test_as_few_steps_are_taken_as_let_nine_of_ten_late_dossiers_be_seen(late: int, steps: int) -> None:
    """Two channels of 8 are 16 late dossiers of a sector; of 3, still too few."""
    one = by_sector(late, sectors=60)
    done = protect_as_finely_as_allowed([one])
    rows, tally = done.tables[KEY]
    assert done.report["tables"][0]["steps"] == steps
    assert done.report["left_out"] == []
    assert tally.share <= 0.1
    assert rows.num_rows == (120, 60, 1)[steps]
    assert pc.sum(rows["late"]).as_py() == 120 * late
    assert set(rows["channel"].to_pylist()) == ({"counter", "online"} if steps == 0 else {"all"})
    assert set(rows["days"].to_pylist()) == {31}
    assert rows["withheld"].to_pylist().count(True) == 0
    assert done.counted[KEY].policy.dimensions.keys() == [{"sector", "channel"}, {"sector"}, set()][steps]


def test_of_a_few_hundred_late_dossiers_the_share_is_judged_and_of_fewer_it_is_not() -> None:
    assert protect_as_finely_as_allowed([by_sector(8)]).report["tables"][0]["steps"] == 1, "320 late ones"
    assert protect_as_finely_as_allowed([by_sector(7)]).report["tables"][0]["steps"] == 0, "280"


def test_a_table_that_no_step_makes_coarse_enough_is_left_out_and_the_others_go_out() -> None:
    communes = {"commune": [f"c{c}" for c in range(300)], "n": [7] * 300}
    fine = table("fine", COMMUNE, communes, {"n": {"of": "residents"}}, threshold=10)
    done = protect_as_finely_as_allowed([by_sector(40), fine])
    assert done.tables.keys() == {KEY}
    assert "100 % of what n counts lies in withheld cells" in done.left_out["fine", "fine"]
    assert [item["table"] for item in done.report["left_out"]] == ["fine"]
    alone = protect_as_finely_as_allowed([fine])
    assert (alone.tables, alone.left_out.keys()) == ({}, {("fine", "fine")})


def test_a_table_with_more_linked_cells_than_can_be_audited_is_coarsened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sector = {"sector": "sector.group"}
    fine = {"sector": ["a", "a", "b", "b"], "channel": ["x", "y", "x", "y"], "n": [3, 30, 40, 3]}
    tables = [
        table("t", sector | CHANNEL, fine, threshold=10, coarsen=[CHANNELS]),
        table("sectors", sector, {"sector": ["a", "b"], "n": [33, 43]}, threshold=10),
        table("channels", CHANNEL, {"channel": ["x", "y"], "n": [43, 33]}, threshold=10),
    ]
    assert protect_as_finely_as_allowed(tables).report["tables"][0]["steps"] == 0
    monkeypatch.setattr(suppression, "audit", partial(audit, limit=2))
    done = protect_as_finely_as_allowed(tables)
    assert [item["steps"] for item in done.report["tables"]] == [1, 0, 0]
    assert done.tables[KEY][0]["n"].to_pylist() == [33, 43]


def index(months: list[int], year: int, **more: Any) -> Counted:
    """Two indicators that look at the same dossiers, in their months and in the year."""
    periods = [*(f"2025-{m + 1:02d}" for m in range(len(months))), "2025"]
    levels = [*["month"] * len(months), "year"]
    rows = {
        "period": periods * 2,
        "level": levels * 2,
        "indicator": ["a"] * len(periods) + ["b"] * len(periods),
        "n": [*months, year] * 2,
    }
    without = {"without": {"level": "month"}, "vi": "Không có tháng", "en": "Without months"}
    dimensions = {
        "period": {"level": "time.month", "level_column": "level"},
        "indicator": "indicator.indicator",
    }
    more = {"counted_for_each": ["indicator", "level"], "coarsen": [without]} | more
    return table("t", dimensions, rows, {"n": {"of": "dossiers looked at"}}, threshold=100, **more)


def test_of_an_index_dossiers_are_judged_and_not_counts() -> None:
    """Where no month can be seen, months are left out; 240 dossiers of two indicators, and a year, are 240."""
    few = [60] * 6
    done = protect_as_finely_as_allowed([index(few, 360)])
    rows, _ = done.tables[KEY]
    assert set(rows["level"].to_pylist()) == {"year"}
    assert rows["n"].to_pylist() == [360, 360]
    assert done.report["tables"][0]["steps"] == 1
    kept = protect_as_finely_as_allowed([index([60] * 4, 240)])
    assert kept.report["tables"][0]["steps"] == 0, "240 dossiers, not 480"
    once = protect_as_finely_as_allowed([index([60] * 4, 240, counted_for_each=[])])
    assert once.report["tables"][0]["steps"] == 1


def test_areas_are_taken_together_by_the_code_that_stands_beside_them() -> None:
    rows = {
        "month": ["2025-01"] * 4,
        "area": ["c1", "c2", "c3", "c4"],
        "name": ["C1", "C2", "C3", "C4"],
        "level": ["commune"] * 4,
        "district": ["d1", "d1", "d2", "d2"],
        "open": [False, True, False, False],
        "n": [100, 2, 100, 3],
        "percent": [1.0, 2.0, 3.0, 4.0],
    }
    step = {"take": {"area": "district"}, "put": {"level": "district"}, "vi": "Huyện", "en": "Districts"}
    dimensions = MONTH | {
        "area": {"level": "residence.commune", "level_column": "level"},
        "district": "residence.district",
    }
    one = table("t", dimensions, rows, threshold=10, coarsen=[step], derived={"percent": ["n"]})
    coarse = coarsened(one, 1)
    assert coarse.rows.to_pylist() == [
        {"month": "2025-01", "area": "d1", "name": None, "level": "district", "district": "d1", "open": True,
         "n": 102, "percent": None},
        {"month": "2025-01", "area": "d2", "name": None, "level": "district", "district": "d2", "open": False,
         "n": 103, "percent": None},
    ]  # fmt: skip
    assert coarse.rows.schema.names == one.rows.schema.names


def test_what_was_published_coarsely_is_kept_and_what_was_left_out_waits(tmp_path: Path) -> None:
    communes = {"commune": [f"c{c}" for c in range(300)], "n": [7] * 300}
    fine = table("fine", COMMUNE, communes, {"n": {"of": "residents"}}, threshold=10)
    one = by_sector(8)
    done = write_release(tmp_path / "releases", protect_as_finely_as_allowed([one, fine]))
    previous = tmp_path / "releases" / "000001"
    more = by_sector(40)
    kept = keep([more, fine], previous)
    assert kept is not None
    assert kept.tables[KEY][0].equals(done.tables[KEY][0])
    assert kept.counted[KEY].policy == done.counted[KEY].policy
    assert kept.left_out.keys() == {("fine", "fine")}
    other = {"put": {"commune": "all"}, "vi": "Gộp", "en": "Together"}
    mended = table("fine", COMMUNE, communes, {"n": {"of": "residents"}}, threshold=10, coarsen=[other])
    assert keep([more, mended], previous) is None, "another policy is looked at at once"


def test_the_steps_of_every_approval_fit_its_model_and_leave_one_row_of_its_period() -> None:
    """Two rows of one period that differ in all that the steps name are one after the last step."""
    taken = 0
    for policy, types, keys in repository_policies([]):
        named = {column for step in policy.coarsen for column, _ in (*step.put, *step.take)}
        left_out = {column for step in policy.coarsen for column, _ in step.without}
        kinds = {"text": pa.string(), "integer": pa.int32(), "bigint": pa.int64(), "boolean": pa.bool_(),
                 "date": pa.date32()}  # fmt: skip
        columns: dict[str, pa.Array] = {}
        for name, kind in types.items():
            values: list[Any] = [None, None]
            if kind == "text":
                values = ["month", "year"] if name in left_out else ["a", "b" if name in named else "a"]
            elif kind in ("integer", "bigint"):
                values = [40, 2]
            elif kind == "boolean":
                values = [False, True]
            elif kind == "date":
                values = [date(2025, 7, 1)] * 2
            columns[name] = pa.array(values, kinds.get(kind.lower(), pa.decimal128(12, 4)))
        one = Counted(policy.table, policy.table, "simulated", pa.table(columns), policy, keys)
        done = coarsened(one, len(policy.coarsen))
        assert done.rows.schema.types == one.rows.schema.types
        assert done.rows.num_rows == (1 if policy.coarsen else 2), policy.table
        for count in {count.column for count in done.policy.counts} if named else ():
            assert done.rows[count].to_pylist() == [42], policy.table
        taken += len(policy.coarsen)
    assert taken >= 10


STEP = {
    "put": {"sector_code": "all", "sector_name": "Mọi lĩnh vực"},
    "vi": "Gộp các lĩnh vực",
    "en": "All sectors together",
}


def with_steps(warehouse: Warehouse, *steps: dict[str, Any]) -> None:
    path = warehouse.approvals / "dossier-results-monthly.yml"
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    record["disclosure"]["tables"]["dossier-results-monthly"]["coarsen"] = list(steps)
    path.write_text(yaml.safe_dump(record, allow_unicode=True), encoding="utf-8")


def thin(warehouse: Warehouse) -> None:
    """Many sectors with seven late dossiers by each channel."""
    warehouse.sql(
        "insert into open_data.dossier_results_monthly (month, sector_code, sector_name, channel, received_count, "
        "completed_count, overdue_count, origin) select m, 'L' || s, 'Lĩnh vực', c, 900, 900, 7, 'simulated' from "
        "(select distinct month as m from open_data.dossier_results_monthly) as months, generate_series(10, 60) as s, "
        "(select distinct channel as c from open_data.dossier_results_monthly) as channels"
    )


def test_readers_are_told_that_a_table_is_coarser_and_no_approval_is_asked_for_it(
    warehouse: Warehouse,
) -> None:
    with_steps(warehouse, STEP)
    warehouse.publish()
    read = json.loads((warehouse.current / "release.json").read_text())
    (first,) = next(d for d in read["datasets"] if d["id"] == "dossier-results-monthly")["tables"]
    assert first["coarsened"] is None
    thin(warehouse)
    warehouse.publish()
    read = json.loads((warehouse.current / "release.json").read_text())
    (second,) = next(d for d in read["datasets"] if d["id"] == "dossier-results-monthly")["tables"]
    assert second["coarsened"] == {"vi": "Gộp các lĩnh vực", "en": "All sectors together"}
    assert second["changes"]["removed"] == first["rows"]
    (path,) = (warehouse.current / "dossier-results-monthly").glob("*.parquet")
    assert set(pq.read_table(path)["sector_name"].to_pylist()) == {"Mọi lĩnh vực"}
    page = (warehouse.current / "dossier-results-monthly" / "index.html").read_text(encoding="utf-8")
    assert (
        "Bản này chia thô hơn tên bộ dữ liệu</b>: Gộp các lĩnh vực. Số hồ sơ còn ít: chia nhỏ hơn thì hơn 10 %"
        in page
    )
    english = (warehouse.current / "dossier-results-monthly/en/index.html").read_text(encoding="utf-8")
    assert (
        "Divided more coarsely than its title says</b>: All sectors together. There are few dossiers"
        in english
    )


def test_a_step_that_later_ones_undo_is_not_told() -> None:
    """Who reads "the whole province" need not read that communes were taken together before."""
    districts = {"take": [["area", "district"]], "put": [["level", "district"]]}
    province = {"take": [], "put": [["area", "all"], ["level", "all"], ["district", "all"]]}
    channels = {"take": [], "put": [["channel", "all"]]}
    assert _overtaken(districts, [province])
    assert not _overtaken(districts, [channels])
    assert not _overtaken(channels, [province])
    assert not _overtaken({"take": [], "put": [], "without": [["level", "month"]]}, [province])


def test_a_table_that_is_too_small_waits_on_the_planned_page_and_the_others_go_out(
    warehouse: Warehouse,
) -> None:
    thin(warehouse)
    done = warehouse.publish()
    assert "too small so far, and so not in it: dossier-results-monthly" in done.message
    assert len(done.rows) == 3
    assert not (warehouse.current / "dossier-results-monthly").exists()
    page = (warehouse.current / "ke-hoach" / "index.html").read_text(encoding="utf-8")
    assert "Đã duyệt, chưa công bố được" in page
    assert "Số đếm còn quá nhỏ" in page
    assert warehouse.publish().created is False
    with_steps(warehouse, STEP)
    assert len(warehouse.publish().rows) == 4


def test_a_table_that_readers_have_is_not_left_out_without_a_word(warehouse: Warehouse) -> None:
    warehouse.publish()
    before = warehouse.files()
    thin(warehouse)
    with pytest.raises(
        ReleaseError,
        match=r"Published before, and too fine now:\n- dossier-results-monthly(.|\n)*opendata withdraw dossier-r",
    ):
        warehouse.publish()
    assert warehouse.files() == before


def test_rows_of_the_warehouse_keep_their_types_and_order_when_they_are_added_up() -> None:
    one = by_sector(40)
    coarse = coarsened(
        Counted(one.dataset, one.table, one.origin, one.rows, one.policy, ("sector", "channel")), 1
    )
    assert coarse.rows.schema.types == one.rows.schema.types
    assert coarse.rows["sector"].to_pylist() == sorted(coarse.rows["sector"].to_pylist())
    assert pc.sum(coarse.rows["in_time"]).as_py() == pc.sum(one.rows["in_time"]).as_py()
    assert isinstance(coarse.rows, pa.Table)
