"""Up to which day a dataset says it speaks: the last one the warehouse has data of, wherever a reader may look."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rdflib import DCAT, DCTERMS, RDF, Graph

from opendata.catalogue import CatalogueError
from opendata.ckan import _record
from opendata.release import ReleaseError
from tests.opendata.conftest import Warehouse
from tests.opendata.test_renewal import monthly

RESULTS = "dossier-results-monthly"
DAY = "date '2025-07-15'"


@pytest.fixture
def half_july(warehouse: Warehouse) -> Warehouse:
    """Results by month, of which July has data of fifteen days."""
    warehouse.sql(
        "alter table open_data.dossier_results_monthly alter month type text using to_char(month, 'YYYY-MM'), "
        "add is_provisional boolean not null default false; "
        "update open_data.dossier_results_monthly set is_provisional = month = '2025-07'; "
        f"create table open_data.as_of_day as select {DAY} as last_covered_date"
    )
    model = warehouse.model("dossier_results_monthly")
    model["config"]["meta"]["covered_until"] = "open_data.as_of_day.last_covered_date"
    model["columns"]["month"]["data_type"] = "text"
    model["columns"]["is_provisional"] = {
        "name": "is_provisional", "data_type": "boolean", "description": "Provisional.",
        "config": {"meta": {"vi": "Tạm tính.", "publish": True}},
    }  # fmt: skip
    return warehouse


def told(release: Path, dataset: str) -> dict[str, str]:
    """What each place of a release says of the last day."""
    document = json.loads((release / "release.json").read_text(encoding="utf-8"))
    (item,) = (item for item in document["datasets"] if item["id"] == dataset)
    (period,) = (graph := Graph().parse(release / dataset / "dcat.ttl")).subjects(
        RDF.type, DCTERMS.PeriodOfTime
    )
    record = _record(release, item, document, "")
    found = {
        "dcat": str(graph.value(period, DCAT.endDate)),
        "ckan": next(extra["value"] for extra in record["extras"] if extra["key"] == "temporal_end"),
        "schema.org": json.loads((release / dataset / "schema-org.jsonld").read_text(encoding="utf-8"))[
            "temporalCoverage"
        ].partition("/")[2],
    }
    for place in ("index.html", "en/index.html"):
        page = (release / dataset / place).read_text(encoding="utf-8")
        found[place] = re.search(r'class="fresh"><b>(.*?)</b>', page)[1]  # type: ignore[index]
    return found


def days(iso: str, vi: str, en: str) -> dict[str, str]:
    return {"dcat": iso, "ckan": iso, "schema.org": iso, "index.html": vi, "en/index.html": en}


def test_an_open_month_speaks_up_to_the_last_day_with_data(half_july: Warehouse) -> None:
    half_july.publish()
    assert told(half_july.current, RESULTS) == days(
        "2025-07-15",
        "Số liệu đến 15/7/2025 (đủ đến 30/6/2025; kỳ sau đó chưa đủ ngày, tạm tính)",
        "Figures up to 15 July 2025 (complete up to 30 June 2025; what follows lacks days, provisional)",
    )


def test_a_day_more_without_other_figures_is_a_new_release(half_july: Warehouse) -> None:
    assert half_july.publish().created
    assert not half_july.publish().created
    half_july.sql("update open_data.as_of_day set last_covered_date = '2025-07-16'")
    assert half_july.publish().created
    assert told(half_july.current, RESULTS)["dcat"] == "2025-07-16"


def test_a_whole_month_speaks_up_to_its_end_though_days_of_the_next_are_there(half_july: Warehouse) -> None:
    half_july.sql(
        "update open_data.as_of_day set last_covered_date = '2025-08-02'; "
        "update open_data.dossier_results_monthly set is_provisional = false"
    )
    half_july.publish()
    assert told(half_july.current, RESULTS) == days(
        "2025-07-31", "Số liệu đến 31/7/2025", "Figures up to 31 July 2025"
    )


def test_tables_that_are_kept_until_a_month_closes_keep_their_day(half_july: Warehouse) -> None:
    monthly(half_july)
    half_july.publish()
    half_july.sql(
        "update open_data.as_of_day set last_covered_date = '2025-07-20'; "
        "update open_data.dossier_results_monthly set received_count = received_count + 1; "
        "insert into open_data.procedures values ('9.000001', 'Thủ tục mới', 1, '', 'real')"
    )
    assert half_july.publish().number == 2
    assert told(half_july.current, RESULTS)["dcat"] == "2025-07-15"
    assert told(half_july.current, RESULTS)["index.html"].startswith("Số liệu đến 15/7/2025")


def test_a_calendar_of_days_to_come_is_whole(warehouse: Warehouse) -> None:
    warehouse.sql(
        "insert into open_data.administrative_units values ('82', '2027-12-31', 'Tỉnh', 'province')"
    )
    warehouse.model("administrative_units")["config"]["meta"]["period_column"] = "valid_from"
    warehouse.publish()
    assert told(warehouse.current, "administrative-units") == days(
        "2027-12-31", "Số liệu đến 31/12/2027", "Figures up to 31 December 2027"
    )


def test_a_table_without_periods_says_up_to_which_day_it_has_data(half_july: Warehouse) -> None:
    """It has counts of all that was loaded, and no column that tells until when."""
    meta = half_july.model("procedures")["config"]["meta"]
    meta["covered_until"] = "open_data.as_of_day.last_covered_date"
    half_july.publish()
    assert told(half_july.current, "procedures") == days(
        "2025-07-15", "Số liệu đến 15/7/2025", "Figures up to 15 July 2025"
    )


def test_open_periods_without_a_word_on_their_last_day_are_a_gap(half_july: Warehouse) -> None:
    del half_july.model("dossier_results_monthly")["config"]["meta"]["covered_until"]
    with pytest.raises(
        CatalogueError, match=r"dossier_results_monthly has open periods .* no meta\.covered_until"
    ):
        half_july.publish()


@pytest.mark.parametrize("named", ["as_of_day", "a.b.", None])
def test_the_last_day_is_named_by_schema_table_and_column(half_july: Warehouse, named: str | None) -> None:
    half_july.model("dossier_results_monthly")["config"]["meta"]["covered_until"] = named
    with pytest.raises(CatalogueError, match=r"meta\.covered_until names the schema, table and column"):
        half_july.publish()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("delete from open_data.as_of_day", "found None; build the warehouse from a load first"),
        ("drop table open_data.as_of_day", r"cannot be read \(.*as_of_day.*run `dbt build`"),
    ],
)
def test_a_last_day_that_is_not_there_stops_the_release(
    half_july: Warehouse, change: str, message: str
) -> None:
    half_july.sql(change)
    with pytest.raises(ReleaseError, match=message):
        half_july.publish()
    assert not half_july.current.exists()
