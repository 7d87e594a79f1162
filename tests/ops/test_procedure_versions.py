"""What the lists said of a procedure or an agency on a day, from the first snapshot on, as dbt builds it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import psycopg
import pytest

from ops import tasks
from ops.settings import VIETNAM, Settings
from tests.conftest import Server
from tests.ops.empty_warehouse import empty_warehouse

CHANGED, SAME, LATER = "1.000001", "1.000002", "1.000003"
#: By the clock of Vietnam; in UTC the first is a day earlier.
FIRST, SECOND = (dt.datetime(2026, 7, day, 3, 30, tzinfo=VIETNAM) for day in (2, 5))


@pytest.fixture(scope="module")
def warehouse(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return empty_warehouse(server, tmp_path_factory)


def read(settings: Settings, number: int, at: dt.datetime, *changes: str, again: bool = False) -> None:
    """The catalogue is read once more, with `changes` to what raw holds of it, and the warehouse built."""
    with psycopg.connect(settings.login_url("loader")) as connection:
        connection.execute(
            "insert into ops.load_log (load_number, batch_id, source_code, origin, interval_start, interval_end, "
            "pulled_at, counts) values (%s, %s, 'national_portal', 'real', %s, %s, %s, '{}')",
            (number, f"b{number}", at - dt.timedelta(days=1), at, at),
        )
        connection.execute(
            "insert into ops.load_log select load_number + 100, 'of ' || batch_id, 'igate_tien_giang', 'simulated', "
            "interval_start, interval_end, pulled_at, now(), counts from ops.load_log where load_number = %s",
            (number,),
        )
        for change in changes:
            connection.execute(change)  # type: ignore[call-overload]
    models = ["+dim_procedure_version", "+dim_agency_version"]
    words = ["build", "--select", *models, "--indirect-selection", "cautious"]
    # A second build changes nothing, and a full refresh keeps the history: nothing else holds it.
    tasks._dbt(settings, [words, [*words, "--full-refresh"]] if again else [words])


def entry(code: str, number: str, sector: str = "G15-TP03") -> str:
    return (
        "insert into raw.procedure (source_code, procedure_id, procedure_code, procedure_name, state, sector_code, "
        "_origin, _batch_id, _load_number, _pulled_at) values ('national_portal', "
        f"'{number}', '{code}', 'Thủ tục {code}', 'UPDATED', '{sector}', 'real', 'b', 1, now())"
    )


def agency(code: str) -> str:
    return (
        "insert into raw.agency (source_code, agency_code, agency_name, agency_level, parent_agency_code, _origin, "
        f"_batch_id, _load_number, _pulled_at) values ('igate_tien_giang', '{code}', 'Sở Văn hóa và Thể thao', "
        "'DEPARTMENT', 'H58', 'simulated', 'b', 1, now())"
    )


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.login_url("dbt")) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload]


def as_of(settings: Settings, code: str, day: dt.date) -> list[tuple[Any, ...]]:
    return rows(
        settings,
        "select procedure_name from marts.dim_procedure_version where "
        f"procedure_code = '{code}' and valid_from <= '{day}' and (valid_to is null or '{day}' < valid_to)",
    )


def test_history_begins_with_the_first_snapshot_and_a_changed_procedure_gets_a_version(
    warehouse: Settings,
) -> None:
    of_portal, made = "019d2bfd-8e22-77ef-819f-e49460350904", "7c1de3a0-11f2-8a07-b3c4-0123456789ab"
    read(
        warehouse,
        1,
        FIRST,
        entry(CHANGED, of_portal),
        entry(SAME, made, "G15-SIM1A2B"),
        agency("H58.1"),
        agency("H58.2"),
    )
    read(
        warehouse,
        2,
        SECOND,
        f"update raw.procedure set procedure_name = 'Tên mới', _load_number = 2 where procedure_code = '{CHANGED}'",
        # Says nothing of the procedure: no version.
        f"update raw.procedure set source_updated_at = now() where procedure_code = '{SAME}'",
        entry(LATER, "later"),
        "update raw.agency set agency_name = 'Sở Văn hóa', parent_agency_code = 'H20' where agency_code = 'H58.1'",
        # The same name in the other style of tone marks.
        "update raw.agency set agency_name = 'Sở Văn hoá và Thể thao' where agency_code = 'H58.2'",
        again=True,
    )

    days = [m.date() for m in (FIRST, SECOND)]
    assert rows(
        warehouse,
        "select procedure_code, version_no, procedure_name, valid_from, valid_to, known_from, is_valid_from_exact "
        "from marts.dim_procedure_version order by 1, 2",
    ) == [
        (CHANGED, 1, f"Thủ tục {CHANGED}", days[0], days[1], days[0], False),
        (CHANGED, 2, "Tên mới", days[1], None, days[0], True),
        (SAME, 1, f"Thủ tục {SAME}", days[0], None, days[0], False),
        (LATER, 1, f"Thủ tục {LATER}", days[1], None, days[0], True),
    ]
    assert as_of(warehouse, CHANGED, days[0] - dt.timedelta(days=1)) == []  # not known, never the nearest
    assert as_of(warehouse, CHANGED, days[0]) == as_of(warehouse, CHANGED, days[1] - dt.timedelta(days=1))
    assert as_of(warehouse, CHANGED, days[1]) == [("Tên mới",)]
    assert as_of(warehouse, LATER, days[0]) == []


def test_a_changed_name_or_parent_of_an_agency_gives_it_a_version(warehouse: Settings) -> None:
    first, second = (m.date() for m in (FIRST, SECOND))
    assert rows(
        warehouse,
        "select agency_code, version_no, agency_name, parent_agency_code, valid_from, valid_to, is_valid_from_exact "
        "from marts.dim_agency_version order by 1, 2",
    ) == [
        ("H58.1", 1, "Sở Văn hóa và Thể thao", "H58", first, second, False),
        ("H58.1", 2, "Sở Văn hóa", "H20", second, None, True),
        ("H58.2", 1, "Sở Văn hóa và Thể thao", "H58", first, None, False),
    ]


def test_what_the_generator_assigned_is_marked(warehouse: Settings) -> None:
    found = dict(
        rows(warehouse, "select distinct procedure_code, generator_assigned from marts.dim_procedure_version")
    )
    assert found == {
        CHANGED: None,
        SAME: "procedure_state, procedure_type, sector_code, procedure_id",
        LATER: None,
    }
