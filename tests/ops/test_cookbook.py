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


def test_a_limit_is_that_of_the_channel_and_the_day(marts: str):
    """In person and online apart; a limit that the catalogue changed holds from its day on; withdrawn ones are none."""
    first = dt.date(2025, 7, 1)
    for number in range(20):
        day = first + dt.timedelta(number)
        put(marts, "dim_date", date_day=day, working_day_number=number)
    limits = {
        "procedure_code": "P",
        "time_limit_in_person_unit": "WORKING_DAY",
        "time_limit_online_unit": "WORKING_DAY",
    }
    put(marts, "dim_procedure", **limits, procedure_name="N", time_limit_in_person=5, time_limit_online=3)
    changed = dt.date(2025, 7, 8)
    put(marts, "dim_procedure_version", **limits, known_from=changed, valid_from=changed, time_limit_in_person=4,
        time_limit_online=2)  # fmt: skip
    for n in range(40):
        day, group = first if n < 30 else changed, "withdrawn" if n < 10 else "resolved"
        put(marts, "fct_dossier", dossier_key=str(n), procedure_code="P", report_group=group,
            is_resolved=True, is_online=n < 20, received_date=day,
            completed_date=day + dt.timedelta(9 if n < 10 else 4 if n < 20 else 2))  # fmt: skip
    assert asked(marts, NUMBERED["2"]) == [
        ("P", "N", True, 10, 4.0, 3), ("P", "N", False, 10, 2.0, 4), ("P", "N", False, 10, 2.0, 5),
    ]  # fmt: skip


def test_the_merged_province_counts_every_dossier_once(marts: str):
    """Old communes of the two provinces that became one, and a new one of it, with a code that means two extents."""
    (recipe,) = re.findall(r"## The merged province.*?```sql\n(.*?);\n```", TEXT, re.DOTALL)
    put(marts, "dim_administrative_unit", unit_code="82", unit_level="province", unit_name="Tiền Giang",
        valid_to=dt.date(2025, 7, 1))  # fmt: skip
    put(marts, "dim_administrative_unit", unit_code="82", unit_level="province", unit_name="Đồng Tháp")
    for code, is_old, province in (
        ("1", True, "82"),
        ("2", True, "82"),
        ("1", False, "82"),
        ("2", False, "91"),
    ):
        put(marts, "dim_comparable_area", commune_code=code, is_old_commune=is_old, province_code=province)
    for commune, day in (
        ("1", dt.date(2025, 6, 30)),
        ("2", dt.date(2025, 6, 30)),
        ("1", DAY),
        (None, DAY),
        ("9", DAY),
    ):
        dossier(
            marts, f"{commune} {day}", applicant_commune_code=commune, received_date=day, is_resolved=False
        )
    assert asked(marts, recipe) == [(2025, "82", "Đồng Tháp", 3, 0, 3), (2025, "unknown", None, 2, 0, 2)]


def test_what_is_not_sent_is_told_with_its_reason(marts: str):
    (recipe,) = re.findall(r"## What is not sent.*?```sql\n(.*?);\n```", TEXT, re.DOTALL)
    for code, step, state, given in (
        ("B", None, "refused", {"portal_answer": "Trường không hợp lệ"}),
        ("A", 2, "held", {"lacking_fields": "NoiDungXuLy"}),
        ("A", None, "held", {"lacking_fields": "ChuHoSo, MaTTHC"}),
        ("C", None, "conflict", {"reasons": "TrangThaiHoSo"}),
    ):
        put(marts, "fct_national_set_aside", dossier_code=code, step_no=step, state=state, received_date=DAY,
            responsible_agency_code="H20.19", **given)  # fmt: skip
    assert [r[1:5] for r in asked(marts, recipe)] == [
        ("C", None, "conflict", "TrangThaiHoSo"),
        ("A", None, "held", "ChuHoSo, MaTTHC"),
        ("A", 2, "held", "NoiDungXuLy"),
        ("B", None, "refused", "Trường không hợp lệ"),
    ]


def test_a_communes_receipts_go_on_over_the_merger(marts: str):
    """The area of the present commune and the two old ones in it; the same digits named another commune before."""
    for code, is_old, area in (
        ("28249", False, "28249"),
        ("28001", True, "28249"),
        ("28249", True, "28300"),
        ("28300", False, "28300"),
    ):
        put(marts, "dim_comparable_area", commune_code=code, is_old_commune=is_old, area_code=area,
            area_name=f"Vùng {area}")  # fmt: skip
    this_year = dt.date.today().year
    old, new = dt.date(2025, 6, 30), dt.date(2025, 7, 1)
    for number, (commune, day, online) in enumerate((
        ("28001", old, True), ("28001", dt.date(2024, 3, 1), False), ("28249", new, False),
        ("28249", old, True), ("28300", new, True), ("28001", new, True), ("28001", dt.date(this_year - 7, 1, 1), True),
    )):  # fmt: skip
        dossier(marts, str(number), applicant_commune_code=commune, received_date=day, is_online=online)
    dossier(marts, "refused", applicant_commune_code="28249", received_date=new, report_group="not_received")
    assert asked(marts, NUMBERED["3"]) == [(2024, "Vùng 28249", 1, 0), (2025, "Vùng 28249", 2, 1)]


def test_dossiers_of_applicants_whose_check_failed(marts: str):
    """Open ones of the agency that asked; another agency's answer about its own pseudonym says nothing here."""
    for key, pseudonym, agency, group in (
        ("differs", "p1", "A", "open"),
        ("nobody", "p2", "A", "paused"),
        ("right", "p3", "A", "open"),
        ("ended", "p1", "A", "resolved"),
        ("elsewhere", "p1", "B", "open"),
        ("never_asked", "p9", "A", "open"),
    ):
        dossier(marts, key, dossier_code=key, applicant_pseudonym=pseudonym, responsible_agency_code=agency,
                report_group=group, received_date=DAY)  # fmt: skip
    for pseudonym, outcome, differs in (("p1", "mismatch", "birth_year"), ("p2", "not_found", None),
                                        ("p3", "match", None)):  # fmt: skip
        put(marts, "fct_citizen_check", responsible_agency_code="A", applicant_pseudonym=pseudonym, outcome=outcome,
            differs_in=differs, checked_date=DAY)  # fmt: skip
    assert asked(marts, NUMBERED["10"]) == [
        ("differs", "A", DAY, "mismatch", "birth_year", DAY),
        ("nobody", "A", DAY, "not_found", None, DAY),
    ]


def test_the_three_places_are_what_they_were_on_the_day_of_receipt(marts: str):
    """The same code before and since the merger, an agency named after its end, and a day before the lists begin."""
    (recipe,) = re.findall(r"## The three places.*?```sql\n(.*?);\n```", TEXT, re.DOTALL)
    merger, list_begins = dt.date(2025, 7, 1), dt.date(2025, 6, 30)
    for code, name, begins, ends in (
        ("OLD", "Sở cũ", dt.date(2024, 1, 1), merger),
        ("NEW", "Sở mới", merger, None),
        ("DESK", "Trung tâm", dt.date(2024, 1, 1), None),
    ):
        put(marts, "dim_agency", agency_code=code, agency_name=name, valid_from=begins, valid_to=ends)
    for name, begins, ends in (("Phường cũ", list_begins, merger), ("Phường mới", merger, None)):
        put(marts, "dim_administrative_unit", unit_code="28249", unit_level="commune", unit_name=name,
            valid_from=begins, valid_to=ends)  # fmt: skip
    for key, day, agency in (
        ("too_early", dt.date(2025, 6, 29), "OLD"),
        ("before", list_begins, "OLD"),
        ("since", merger, "NEW"),
        ("named_after_its_end", merger, "OLD"),
    ):
        dossier(marts, key, received_date=day, receiving_agency_code="DESK", responsible_agency_code=agency,
                applicant_commune_code="28249")  # fmt: skip
    assert sorted(asked(marts, recipe), key=str) == sorted(
        [
            ("Trung tâm", "Sở cũ", "not known", 1), ("Trung tâm", "Sở cũ", "Phường cũ", 1),
            ("Trung tâm", "Sở mới", "Phường mới", 1), ("Trung tâm", None, "Phường mới", 1),
        ], key=str,
    )  # fmt: skip


def test_inherited_dossiers_stand_with_the_last_who_took_them_over(marts: str):
    """Handed on twice; to nobody that a decision names; waiting for papers; ended since; never handed over."""
    merger, first = dt.date(2025, 7, 1), dt.date(2025, 3, 1)
    for key, group, late, takers in (
        ("twice", "open", True, ((first, "MIDDLE"), (merger, "NEW"))),
        ("once", "paused", False, ((merger, "NEW"),)),
        ("to_nobody", "open", True, ((merger, None),)),
        ("ended", "resolved", False, ((merger, "NEW"),)),
        ("never", "open", True, ()),
    ):
        dossier(marts, key, report_group=group, is_overdue=late)
        giver = "OLD"
        for no, (day, taker) in enumerate(takers, 1):
            put(marts, "fct_handover", dossier_key=key, handover_no=no, handover_date=day, from_agency_code=giver,
                decision_no=f"NQ {day.month}", to_agency_code=taker)  # fmt: skip
            giver = taker or ""
    assert asked(marts, NUMBERED["4"]) == [
        ("NEW", "MIDDLE", merger, "NQ 7", 1, 1), ("NEW", "OLD", merger, "NQ 7", 1, 0),
        ("unknown", "OLD", merger, "NQ 7", 1, 1),
    ]  # fmt: skip


def test_a_share_is_told_of_procedures_with_enough_dossiers(marts: str):
    """Thirty are enough and 29 are not; refused ones are none; a code that no catalogue knows has no name."""
    put(marts, "dim_procedure", procedure_code="P", procedure_name="Thủ tục P")
    for code, received, online in (("P", 30, 12), ("Q", 31, 31), ("FEW", 29, 29)):
        for number in range(received):
            dossier(marts, f"{code} {number}", procedure_code=code, is_online=number < online)
        dossier(marts, f"{code} refused", procedure_code=code, is_online=True, report_group="not_received")
    assert asked(marts, NUMBERED["6"]) == [("P", "Thủ tục P", 30, 40), ("Q", None, 31, 100)]


def test_the_first_working_day_after_tet_is_that_of_each_year(marts: str):
    """Not the Sunday after it, and not the first working day after New Year's Day; a year may have nothing due then."""
    days = {
        dt.date(2025, 1, 1): "Tết Dương lịch", dt.date(2025, 1, 2): None, dt.date(2025, 1, 28): "29 Tết",
        dt.date(2025, 1, 31): "Mùng ba Tết Nguyên Đán", dt.date(2025, 2, 2): None, dt.date(2025, 2, 3): None,
        dt.date(2026, 2, 20): "Mùng bốn Tết Nguyên Đán", dt.date(2026, 2, 23): None,
    }  # fmt: skip
    for day, name in days.items():
        put(marts, "dim_date", date_day=day, calendar_year=day.year, holiday_name=name,
            is_working_day=name is None and day.isoweekday() < 6)  # fmt: skip
    first = dt.date(2025, 2, 3)
    for key, agency, due in (("a", "A", first), ("b", "A", first), ("c", "B", first), ("d", "A", DAY)):
        dossier(marts, key, responsible_agency_code=agency, due_date=due)
    assert asked(marts, NUMBERED["7"]) == [
        (2025, first, "A", 2), (2025, first, "B", 1), (2026, dt.date(2026, 2, 23), None, 0),
    ]  # fmt: skip


def test_a_dossier_may_be_returned_for_supplement_once(marts: str):
    for key, procedure, times in (
        ("a", "P", 2),
        ("b", "P", 3),
        ("c", "P", 1),
        ("d", "Q", 2),
        ("e", "Q", None),
    ):
        dossier(marts, key, procedure_code=procedure, supplement_count=times)
    assert asked(marts, NUMBERED["8"]) == [("A", "P", 2, 3), ("A", "Q", 1, 2)]


def test_owed_fees_are_those_of_resolved_dossiers_by_their_current_record(marts: str):
    """Two fees of one dossier; one that is paid; one of the system before; one of an open dossier."""
    for key, resolved, day in (
        ("two", True, DAY),
        ("paid", True, DAY),
        ("open", False, None),
        ("old", True, dt.date(2025, 6, 1)),
    ):
        dossier(marts, key, is_resolved=resolved, completed_date=day)
    for key, amount, owed, current in (
        ("two", 8000, True, True), ("two", 15000, True, True), ("paid", 5000, False, True),
        ("two", 8000, True, False), ("open", 9000, True, True), ("old", 100, True, True),
    ):  # fmt: skip
        put(
            marts,
            "fct_dossier_fee",
            dossier_key=key,
            amount_vnd=amount,
            is_owed=owed,
            is_current_record=current,
        )
    assert asked(marts, NUMBERED["9"]) == [("A", 2, 23100, dt.date(2025, 6, 1))]
