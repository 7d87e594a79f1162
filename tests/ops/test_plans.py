"""What PostgreSQL knows of a table when the build goes on to what reads it."""

from __future__ import annotations

import psycopg
import pytest

from ops import tasks
from ops.settings import Settings
from tests.conftest import Server
from tests.ops.empty_warehouse import empty_warehouse

# Two dbt processes of some ten seconds: a slow proof.
pytestmark = pytest.mark.prove
BUILD = ["build", "--select", "+int_dossiers__record", "--exclude-resource-type", "test", "unit_test"]


@pytest.fixture(scope="module")
def warehouse(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return empty_warehouse(server, tmp_path_factory)


def load(settings: Settings, number: int) -> None:
    """Three dossiers of a load, and the warehouse built."""
    with psycopg.connect(settings.login_url("loader")) as connection:
        connection.execute(
            "insert into ops.load_log (load_number, batch_id, source_code, origin, interval_start, interval_end, "
            "pulled_at, counts) "
            "values (%s, %s, 'igate_dong_thap', 'simulated', '2025-07-01', '2025-08-01', now(), '{}')",
            (number, f"b{number}"),
        )
        connection.execute(
            "insert into raw.dossier (source_code, dossier_id, dossier_code, procedure_code, receiving_agency_code, "
            "responsible_agency_code, received_at, status_code, _origin, _batch_id, _load_number, _pulled_at) "
            "select 'igate_dong_thap', %s || '-' || n, %s || '.' || n, '1.000001', 'H20.1', 'H20.1', '2025-07-02', "
            "'2', 'simulated', 'b', %s, now() from generate_series(1, 3) as n",
            (number, number, number),
        )
    tasks._dbt(settings, [BUILD])


def test_after_each_load_it_is_known_how_many_records_it_linked(warehouse: Settings) -> None:
    """Else who asks for them is planned for one row: of a month in one load, one test took longer than all else."""
    for number in (1, 2):
        load(warehouse, number)
        with psycopg.connect(warehouse.login_url("dbt")) as connection:
            known = connection.execute(
                "select most_common_vals::text from pg_stats where schemaname = 'intermediate' "
                "and tablename = 'int_dossiers__record' and attname = 'linked_in_load'"
            ).fetchone()
        assert known == ("{" + ",".join(map(str, range(1, number + 1))) + "}",)
