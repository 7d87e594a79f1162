"""Recipes of docs/cookbook.md, asked as they stand of a few dossiers made by hand."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import psycopg
import pytest
from jinja2 import Environment

from ops.settings import PROJECT
from tests.conftest import Server
from tests.ops.test_forms import models, put

TEXT = (PROJECT / "docs" / "cookbook.md").read_text(encoding="utf-8")
NUMBERED = dict(re.findall(r"^## (\d+)\..*?```sql\n(.*?);\n```", TEXT, re.DOTALL | re.MULTILINE))
DAY = dt.date(2025, 7, 10)


@pytest.fixture
def marts(server: Server) -> str:
    """URL of a warehouse with empty tables of the marts, as the models declare them."""
    url = server.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("create schema marts")
        for name, model in models().items():
            columns = ", ".join(f"{c['name']} {c['data_type']}" for c in model["columns"])
            connection.execute(f"create table marts.{name} ({columns})")  # type: ignore[call-overload]
    return url


def asked(url: str, recipe: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(recipe).fetchall()  # type: ignore[call-overload]


def dossier(url: str, key: str, **values: Any) -> None:
    given = {"responsible_agency_code": "A", "report_group": "open", "is_overdue": True, "due_date": DAY}
    put(url, "fct_dossier", dossier_key=key, **{**given, **values})


def test_the_officers_unit_is_one_rule_of_lists_and_cookbook():
    """Recipe 1 cannot call the macro of the morning list, so it has its words."""
    macros = (PROJECT / "dbt" / "macros" / "officer_unit.sql").read_text(encoding="utf-8")
    module = Environment(autoescape=True).from_string(macros).make_module(
        {"ref": lambda name: f"marts.{name}", "var": {"unknown_code": "unknown"}.__getitem__}
    )  # fmt: skip

    def words(sql: str) -> str:
        return " ".join(sql.split())

    for said in (module.join_officer_unit_of_now("fact"), module.officer_unit_of_now("fact")):  # type: ignore[attr-defined]
        assert words(said) in words(NUMBERED["1"])


def test_overdue_dossiers_lie_with_the_unit_of_the_unfinished_step(marts: str):
    put(marts, "as_of_day", as_of_date=DAY)
    june, merger, july = dt.date(2025, 6, 1), dt.date(2025, 7, 1), dt.date(2025, 7, 2)
    for key in ("in_an_office", "begun_by_the_old_body", "no_step"):
        dossier(marts, key, due_date=merger)
        put(marts, "fct_handover", dossier_key=key, handover_no=1, handover_date=merger, to_agency_code="B")
    for key, no, began, finished, unit in (
        ("in_an_office", 1, july, None, "OFFICE"),
        ("in_an_office", 2, july, dt.datetime(2025, 7, 3), "DONE"),
        ("begun_by_the_old_body", 1, june, None, "OLD OFFICE"),
    ):
        put(marts, "fct_dossier_step", dossier_key=key, step_no=no, is_current_record=True, agency_code=unit,
            started_at=began, started_date=began, finished_at=finished)  # fmt: skip
    assert asked(marts, NUMBERED["1"]) == [("B", 2, 9), ("OFFICE", 1, 9)]


def test_a_reorganisation_makes_no_dossier_received_elsewhere(marts: str):
    """Received by the old body and moved; received by another one-stop and moved; the same without a move."""
    for key, received, old in (
        ("moved", "OLD", "OLD"),
        ("elsewhere", "CENTRE", "OLD"),
        ("outside", "A", None),
    ):
        dossier(marts, key, receiving_agency_code=received)
        put(marts, "fct_handover", dossier_key=key, handover_no=1, from_agency_code=old)
        put(marts, "fct_handover", dossier_key=key, handover_no=2, from_agency_code="MIDDLE")
    dossier(marts, "here", receiving_agency_code="A")
    dossier(marts, "refused", receiving_agency_code="CENTRE", report_group="not_received")
    assert asked(marts, NUMBERED["5"]) == [("A", 4, 1, 25)]
