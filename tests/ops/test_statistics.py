"""What PostgreSQL knows of a load before its tests run: without it a month that is read back is joined row by row."""

from __future__ import annotations

import datetime as dt

import psycopg
import pytest

from ops import tasks
from ops.settings import VIETNAM
from tests.conftest import Server
from tests.ops.empty_warehouse import empty_warehouse, put

MANY = 5000
BUILD = ["build", "--exclude-resource-type", "test", "unit_test", "--select"]


def test_a_load_of_many_rows_is_known_when_the_next_model_reads(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = empty_warehouse(server, tmp_path_factory)
    tasks._dbt(settings, [["seed"]])

    def load(number: int, rows: int) -> None:
        day = dt.datetime(2025, 7, number, tzinfo=VIETNAM)
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
        tasks._dbt(settings, [[*BUILD, "+int_dossiers__record", "+fct_dossier"]])

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
