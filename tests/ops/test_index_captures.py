"""What the portal published of QĐ 766 and was captured, against the seed that the index is scored by.

Totals with their points were published and captured of two groups: progress and publicity. Of the others the captures
hold the points of a group alone, so that only their sums and greatest values can be compared.
"""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from typing import Any

from ops.settings import PROJECT

CAPTURES = PROJECT / "sandbox" / "data" / "captures"
#: The decision counts online services and online payment as one group.
AS_ONE = {"CLGQ": "ONLINE_SERVICE", "TTTT": "ONLINE_SERVICE"}


def answer(name: str) -> dict[str, Any]:
    text = (CAPTURES / name).read_text(encoding="utf-8")
    return json.loads(text, parse_float=Decimal)["data"]


def most() -> dict[str, Decimal]:
    """Points of each group as the seed has them."""
    found: dict[str, Decimal] = {}
    with (PROJECT / "dbt" / "seeds" / "service_index_indicator.csv").open(encoding="utf-8", newline="") as f:
        for row in csv.DictReader(f):
            found[row["group_code"]] = found.get(row["group_code"], Decimal(0)) + Decimal(row["max_score"])
    return found


def test_each_groups_most_points_are_the_portals() -> None:
    published = {
        g["code"]: g["maxScore"] for g in answer("service-results_national_2026-09-17.json")["radar"]
    }
    ours: dict[str, Decimal] = {}
    for group, points in most().items():
        name = AS_ONE.get(group, group)
        ours[name] = ours.get(name, Decimal(0)) + points
    assert ours == published
    assert sum(ours.values()) == 100


def test_six_groups_of_34_provinces_add_up_to_their_points() -> None:
    provinces = answer("service-results_national_2026-09-17.json")["evaluation"]
    limit = most()
    assert len(provinces) == 34
    for province in provinces:
        points = province["groupScores"]
        assert points.keys() == limit.keys()
        assert sum(points.values()) == province["totalScore"], province["departmentName"]
        assert all(0 <= p <= limit[g] for g, p in points.items()), province["departmentName"]
