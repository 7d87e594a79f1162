"""What is known of a load before its tests run: PostgreSQL knows its rows, and the tests which months to look at."""

from __future__ import annotations

import datetime as dt
import re

import psycopg
import pytest

from ops import tasks
from ops.settings import VIETNAM
from tests.conftest import Server
from tests.ops.empty_warehouse import empty_warehouse, put

MANY = 5000
BUILD = ["build", "--exclude-resource-type", "test", "unit_test", "--select"]


def test_what_a_load_wrote_is_known_before_the_next_model_and_the_tests_read_it(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A month read back would be joined row by row; the month of a deleted dossier would be looked at by no test."""
    settings = empty_warehouse(server, tmp_path_factory)
    tasks._dbt(settings, [["seed"]])

    def load(number: int, rows: int) -> None:
        day = dt.datetime(2025, 5 + number, 15, tzinfo=VIETNAM)
        put(settings, "ops.load_log", load_number=number, batch_id=f"b{number}", source_code="igate_a", counts="{}",
            interval_start=day, interval_end=day + dt.timedelta(1), origin="simulated", pulled_at=day)  # fmt: skip
        with psycopg.connect(settings.login_url("loader")) as connection:
            connection.execute(
                "insert into raw.dossier (source_code, dossier_id, dossier_code, procedure_code, status_code, "
                "receiving_agency_code, responsible_agency_code, received_at, _origin, _batch_id, _load_number, "
                "_pulled_at) "
                "select 'igate_a', 'd' || %(load)s || '-' || n, 'd' || %(load)s || '-' || n, '1.001193', '2', "
                "'000.00.19.H58', '000.00.19.H58', %(day)s, 'simulated', 'b', %(load)s, %(day)s "
                "from generate_series(1, %(rows)s) n",
                {"load": number, "rows": rows, "day": day},
            )
        tasks._dbt(settings, [[*BUILD, "+fct_dossier", "as_of_day", "int_loads__tested"]])

    def known() -> dict[str, list[str]]:
        """{table: loads of which its statistics tell}."""
        with psycopg.connect(settings.login_url("dbt")) as connection:
            return dict(connection.execute(
                "select tablename, most_common_vals::text::text[] from pg_stats where tablename in "
                "('int_dossiers__record', 'fct_dossier') and attname in ('linked_in_load', 'load_number') "
                "and (tablename, attname) <> ('int_dossiers__record', 'load_number')"
            ).fetchall())  # fmt: skip

    load(1, 20)
    assert known() == {}, "a day's rows are not worth it"
    load(2, MANY)
    assert {table: set(loads) for table, loads in known().items()} == {
        "int_dossiers__record": {"1", "2"}, "fct_dossier": {"1", "2"},
    }  # fmt: skip

    def first_day_tested() -> str:
        test = "form_06a_balances_on_every_day"
        tasks._dbt(settings, [["compile", "--select", test]])
        (written,) = settings.dbt_target.glob(f"compiled/*/tests/{test}.sql")
        return min(re.findall(r"'(\d{4}-\d\d-\d\d)'::date", written.read_text(encoding="utf-8")))

    assert first_day_tested() == "0001-01-01", "nothing ever passed"
    with psycopg.connect(settings.login_url("dbt")) as connection:
        connection.execute("insert into intermediate.int_loads__tested values (2, now())")
    assert first_day_tested() == "2025-07-01"
    put(settings, "raw.dossier_deletion", source_code="igate_a", dossier_id="d1-1", load_number=3,
        missed_at="2025-07-20 00:00+07", deleted_at="2025-07-20 00:00+07")  # fmt: skip
    assert first_day_tested() == "2025-06-01", "the month of what its source deleted"
