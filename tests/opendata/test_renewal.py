"""Tables about persons are made anew when a period closes, all together, and kept as they stand in between."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opendata.disclosure.policy import Shape, read_policy
from opendata.disclosure.renewal import keep
from opendata.disclosure.system import Counted, DisclosureError
from tests.opendata.conftest import Warehouse
from tests.opendata.test_disclosure import AGENCY, MONTH, SOUND, leave_release, table

MORE = "update open_data.dossier_results_monthly set received_count = received_count + 20"


def monthly(warehouse: Warehouse) -> None:
    """The policy as provinces should have it; other tests want each change at once."""
    path = warehouse.approvals / "dossier-results-monthly.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("renewed: each_release", "renewed: monthly"))


def received(warehouse: Warehouse) -> int:
    (path,) = (warehouse.current / "dossier-results-monthly").glob("*.parquet")
    return sum(n or 0 for n in pq.read_table(path)["received_count"].to_pylist())


def test_a_count_revised_within_the_month_waits_until_a_month_is_added(warehouse: Warehouse) -> None:
    monthly(warehouse)
    first = warehouse.publish()
    before, shown = warehouse.files(), received(warehouse)
    warehouse.sql(MORE)
    again = warehouse.publish()
    assert (again.number, again.created) == (1, False)
    assert warehouse.files() == before
    warehouse.sql("insert into open_data.procedures values ('9.000001', 'Thủ tục mới', 1, '', 'real')")
    second = warehouse.publish()
    assert (second.number, received(warehouse)) == (2, shown)
    assert second.withheld == first.withheld, "the exact tally outlives the releases that keep the table"
    assert warehouse.files()["disclosure.json"] == before["disclosure.json"]
    warehouse.sql(
        "insert into open_data.dossier_results_monthly select '2025-08-01', sector_code, sector_name, channel, "
        "received_count, completed_count, overdue_count, origin from open_data.dossier_results_monthly "
        "where month = '2025-07-01'"
    )
    warehouse.change_approval("dossier-results-monthly", limits={"revise": 100})
    assert warehouse.publish().number == 3
    assert received(warehouse) > shown + 20


def test_somebodys_word_makes_them_anew_at_once(warehouse: Warehouse) -> None:
    monthly(warehouse)
    warehouse.publish()
    shown = received(warehouse)
    warehouse.sql(MORE)
    agreed = {"against_release": 1, "decided_by": "Sở", "role": "Giám đốc", "decided_on": date(2026, 11, 19),
              "reason": {"vi": "Sửa", "en": "Mended"}}  # fmt: skip
    warehouse.change_approval("dossier-results-monthly", approved_changes=[agreed])
    assert warehouse.publish().number == 2
    assert received(warehouse) > shown


def months(open_months: list[bool], n: list[int], **more: Any) -> Counted:
    names = [f"2025-{m + 1:02d}" for m in range(len(n))]
    return table("t", MONTH, {"month": names, "n": n, "is_provisional": open_months}, threshold=10, **more)


def test_they_are_made_anew_when_the_open_month_closes(tmp_path: Path) -> None:
    leave_release(tmp_path / "releases", [months([False, True], [50, 30])])
    (release,) = (tmp_path / "releases").glob("0*")
    kept = keep([months([False, True], [50, 38])], release)
    assert kept is not None
    assert kept.tables["t", "t"][0]["n"].to_pylist() == [50, 30]
    assert keep([months([False, True, True], [50, 38, 20])], release) is not None, (
        "another open month tells nothing"
    )
    assert keep([months([False, False], [50, 40])], release) is None


def test_a_table_that_is_new_or_counted_otherwise_makes_all_anew(tmp_path: Path) -> None:
    leave_release(tmp_path / "releases", [months([False], [50])])
    (release,) = (tmp_path / "releases").glob("0*")
    other = table("other", AGENCY, {"agency": ["a"], "n": [50]}, threshold=10)
    assert keep([months([False], [51])], release) is not None
    assert keep([months([False], [51]), other], release) is None
    assert keep([months([False], [51], counts={"n": {"of": "papers"}})], release) is None
    basis = [months([False], [51], exempt=[{"counts": ["n"], "basis": words}]) for words in ("a", "b")]
    leave_release(tmp_path / "law" / "releases", basis[:1])
    assert keep([basis[1]], tmp_path / "law" / "releases" / "000001") is not None, (
        "the same law in other words"
    )
    assert keep([months([False], [51])], tmp_path / "law" / "releases" / "000001") is None, "exempt no more"
    wider = months([False], [51])
    more = wider.rows.append_column("note", pa.array(["x"]))
    assert keep([Counted(wider.dataset, wider.table, wider.origin, more, wider.policy)], release) is None
    assert keep([months([False], [51])], None) is None


def renewed(word: str, name: str) -> Counted:
    gaps: list[str] = []
    shape = Shape(name, ("month", "n"), ("n",), ("month",))
    policy = read_policy(
        {"about_persons": True, "threshold": 10, "renewed": word, "tables": {name: SOUND}}, [shape], gaps
    )
    assert gaps == ([] if word in ("monthly", "each_release") else [
        "disclosure.renewed must be monthly or each_release: when its tables are made anew"])  # fmt: skip
    return Counted(name, name, "simulated", pa.table({"month": ["2025-01"], "n": [50]}), policy.tables[name])


def test_datasets_must_agree_on_how_often(tmp_path: Path) -> None:
    renewed("weekly", "a")
    leave_release(tmp_path / "releases", [renewed("each_release", "a")])
    (release,) = (tmp_path / "releases").glob("0*")
    assert keep([renewed("each_release", "a")], release) is None
    assert keep([renewed("monthly", "a")], release) is not None
    with pytest.raises(DisclosureError, match=r"a: disclosure\.renewed says each_release, other datasets"):
        keep([renewed("each_release", "a"), renewed("monthly", "b")], release)
