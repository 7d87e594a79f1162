"""What the press published beside what the facts say: one dossier that changes in raw moves the mart's row."""

from __future__ import annotations

import datetime as dt
from typing import Any

import psycopg
import pytest

from ops import national, tasks
from ops.settings import VIETNAM, Settings
from tests.conftest import Server
from tests.ops.empty_warehouse import empty_warehouse, put

SOURCE, PROVINCE, JUSTICE = "igate_tien_giang", "000.00.00.H58", "000.00.19.H58"
#: The 104 days of 2020 of which Tiền Giang's dossiers were published.
FIRST, LAST = dt.date(2020, 1, 1), dt.date(2020, 4, 13)


@pytest.fixture(scope="module")
def warehouse(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A warehouse of three dossiers, and of loads that cover all days of the published period."""
    settings = empty_warehouse(server, tmp_path_factory)
    national.prepare(settings)
    begin, end = (dt.datetime.combine(d, dt.time(), VIETNAM) for d in (FIRST, LAST + dt.timedelta(1)))
    put(settings, "ops.load_log", load_number=1, batch_id="b1", source_code=SOURCE, origin="simulated",
        interval_start=begin, interval_end=end, pulled_at=end, counts="{}")  # fmt: skip
    agencies = ((PROVINCE, "PROVINCE", None, "82"), (JUSTICE, "DEPARTMENT", PROVINCE, None))
    for code, level, parent, unit in agencies:
        put(settings, "raw.agency", agency_code=code, agency_name=f"Cơ quan {code}", agency_level=level,
            parent_agency_code=parent, unit_code=unit, **written(1))  # fmt: skip
    for number, (status, completed) in enumerate((("5", "2020-02-03"), ("2", None), ("2", None))):
        put(settings, "raw.dossier", dossier_id=f"d{number}", dossier_code=f"{JUSTICE}-20-{number}",
            procedure_code="1.001193", receiving_agency_code=JUSTICE, responsible_agency_code=JUSTICE,
            received_at=dt.datetime(2020, 2, 1, 9, tzinfo=VIETNAM), status_code=status,
            completed_at=completed and f"{completed} 09:00+07", channel=2 - number % 2, **written(1))  # fmt: skip
    tasks._dbt(settings, [["seed"]])
    return settings


def written(number: int) -> dict[str, Any]:
    """What the loader notes of a row."""
    return {"source_code": SOURCE, "_origin": "simulated", "_batch_id": f"b{number}", "_load_number": number,
            "_pulled_at": dt.datetime(2020, 4, 14, tzinfo=VIETNAM)}  # fmt: skip


def build(settings: Settings) -> dict[str, tuple[Any, ...]]:
    """The mart built, and tested by its own tests; {indicator: value, difference, cause} of what could be counted."""
    words = ["--exclude-resource-type", "seed", "test", "unit_test", "--select", "+fct_published_figure"]
    own = ["--indirect-selection", "eager", "--exclude", "test_type:unit"]
    tasks._dbt(settings, [["build", *words], ["test", "--select", "fct_published_figure", *own]])
    with psycopg.connect(settings.login_url("dbt")) as connection:
        found = connection.execute(
            "select indicator, our_value, difference, cause from marts.fct_published_figure "
            "where our_value is not null and province_code_old = '82'"
        ).fetchall()
    return {name: tuple(rest) for name, *rest in found}


def test_one_dossier_that_changes_in_raw_moves_the_row_of_the_mart(warehouse: Settings) -> None:
    before = build(warehouse)
    assert before == {
        "dossiers_entered_one_stop": (3, 3 - 158_485, "simulated_dossiers"),
        "dossiers_resolved": (1, 1 - 150_495, "simulated_dossiers"),
        "dossiers_in_progress": (2, 2 - 7_990, "simulated_dossiers"),
    }
    # As a later load does: the row, and the number of that load.
    with psycopg.connect(warehouse.login_url("loader")) as connection:
        connection.execute(
            "update raw.dossier set status_code = '5', completed_at = '2020-04-13 16:00+07', _load_number = 2 "
            "where dossier_id = 'd1'"
        )
    after = build(warehouse)
    moved = {name: after[name][0] - before[name][0] for name in before}
    assert moved == {"dossiers_entered_one_stop": 0, "dossiers_resolved": 1, "dossiers_in_progress": -1}
    assert after["dossiers_in_progress"] == (1, 1 - 7_990, "simulated_dossiers")
