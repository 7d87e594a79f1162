"""What the portal published of QĐ 766 and was captured, against the seed that the index is scored by.

Whole answers with totals and their points are replayed for two groups: progress and publicity. Of the others the
national answer holds the points of a group alone; totals of some units of the same quarter stand beside it as numbers.
"""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from typing import Any

import psycopg
from jinja2 import Environment

from ops.settings import PROJECT

CAPTURES = PROJECT / "sandbox" / "data" / "captures"
#: The decision counts online services and online payment as one group.
AS_ONE = {"CLGQ": "ONLINE_SERVICE", "TTTT": "ONLINE_SERVICE"}
#: Columns of the seed that score, and of the totals.
INDICATOR = {
    "indicator_code": "text", "group_code": "text", "max_score": "numeric", "full_at": "numeric",
    "score_without_cases": "numeric",
}  # fmt: skip
TOTAL = {
    "endpoint": "text", "department_code": "text", "indicator_code": "text", "numerator": "numeric",
    "denominator": "numeric", "score": "numeric",
}  # fmt: skip


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


def test_totals_of_the_other_groups_earn_the_points_that_were_published(database: str) -> None:
    """By the macro that scores everything, in PostgreSQL: each indicator's points, and each group's, of 37 units.

    The answers hold more units and years; of four of them the first units were kept, as numbers alone.
    """
    macros = (PROJECT / "dbt" / "macros" / "service_index.sql").read_text(encoding="utf-8")
    module = Environment(autoescape=True).from_string(macros).make_module()
    score = module.service_index_score(  # type: ignore[attr-defined]
        "numerator", "denominator", "max_score", "full_at", "score_without_cases"
    )
    with psycopg.connect(database) as connection:
        for table, columns, path in (
            ("indicator", INDICATOR, PROJECT / "dbt" / "seeds" / "service_index_indicator.csv"),
            ("total", TOTAL, CAPTURES / "totals_H44_2026Q3.csv"),
        ):
            made = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            connection.execute(f"create table {table} ({made})")  # type: ignore[arg-type]
            with path.open(encoding="utf-8", newline="") as text:
                for row in csv.DictReader(text):
                    marks = ", ".join(["%s"] * len(columns))
                    connection.execute(
                        f"insert into {table} values ({marks})", [row[c] or None for c in columns]
                    )  # type: ignore[arg-type]
        scored = connection.execute(
            "select endpoint, department_code, total.indicator_code, indicator.group_code, "
            # Copies that were certified are published as points without totals.
            f"coalesce({score}, total.score) as ours, total.score from total join indicator using (indicator_code)"
        ).fetchall()
        groups = connection.execute(
            "select endpoint, department_code, indicator_code, score from total "
            "where indicator_code in (select group_code from indicator)"
        ).fetchall()
    assert len(scored) == 216
    assert [row for row in scored if row[5] is not None and row[4] != row[5]] == []
    added: dict[tuple[str, str, str], Decimal] = {}
    for endpoint, unit, _, group, ours, _ in scored:
        added[endpoint, unit, group] = added.get((endpoint, unit, group), Decimal(0)) + ours
    assert len(groups) == 60
    assert added == {(endpoint, unit, group): points for endpoint, unit, group, points in groups}
    assert {group for _, _, group in added} == {"MDSH", "MDHL", "CLGQ", "TTTT"}
