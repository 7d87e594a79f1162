"""Datasets by commune, agency and quarter for the browser: real declarations and approvals, invented rows.

Their pages have what the four small datasets of the fixtures lack: tiles, bars of the highest places, several lines,
withheld cells beside shown ones, exempt counts, and several tables.
"""

from __future__ import annotations

import csv
from typing import Any

import psycopg
import yaml

from opendata.catalogue import APPROVALS
from ops.settings import PROJECT
from tests.opendata.conftest import Warehouse

MODELS = PROJECT / "dbt" / "models" / "open_data"
#: Exposure to its models, as in dbt/models/exposures.yml.
DATASETS = {
    "timeliness_by_commune_monthly": ("timeliness_by_commune_monthly",),
    "timeliness_by_commune_quarterly": ("timeliness_by_commune_quarterly",),
    "population_by_commune": ("population_by_commune",),
    "dossier_results_monthly": ("dossier_results_by_agency_monthly", "agencies"),
}
MONTHS = ("2025-06", "2025-07", "2025-08", "2025-09")


def add_places(made: Warehouse) -> None:
    """Declare the datasets as dbt does, fill their tables, and let their real approvals hold."""
    models = _models()
    for exposure, names in DATASETS.items():
        for name in names:
            made.manifest["nodes"][f"model.kho_chung.{name}"] = _node(models[name])
        nodes = [f"model.kho_chung.{name}" for name in names]
        known = made.manifest["exposures"].setdefault(
            f"exposure.kho_chung.{exposure}",
            {
                "name": exposure,
                "label": exposure.replace("_", "-"),
                "description": "",
                "depends_on": {"nodes": []},
            },
        )
        known["depends_on"] = {"nodes": [*known["depends_on"]["nodes"], *nodes]}
    _let_the_agencies_hold(made)
    rows = _rows()
    with psycopg.connect(made.url, autocommit=True) as connection:
        connection.execute("create schema if not exists marts")
        connection.execute("drop table if exists marts.as_of_day")
        connection.execute("create table marts.as_of_day as select date '2025-09-12' as last_covered_date")
        for name, given in rows.items():
            columns = {column["name"]: column["data_type"] for column in models[name]["columns"]}
            types = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            connection.execute(f"create table open_data.{name} ({types})")  # type: ignore[arg-type]
            order = ", ".join(columns)
            with connection.cursor().copy(f"copy open_data.{name} ({order}) from stdin") as copy:  # type: ignore[arg-type]
                for row in given:
                    copy.write_row([row.get(column) for column in columns])


def _models() -> dict[str, dict[str, Any]]:
    read = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in MODELS.glob("_open_data*.yml"))
    return {model["name"]: model for document in read for model in document.get("models", ())}


def _node(model: dict[str, Any]) -> dict[str, Any]:
    """Return what dbt's manifest says of a model: its YAML, under its name."""
    return {
        "unique_id": f"model.kho_chung.{model['name']}",
        "resource_type": "model",
        "name": model["name"],
        "alias": model["name"],
        "schema": "open_data",
        "original_file_path": f"models/open_data/{model['name']}.sql",
        "description": model["description"],
        "config": model["config"] | {"contract": {"enforced": True}},
        "columns": {column["name"]: column for column in model["columns"]},
    }


def _let_the_agencies_hold(made: Warehouse) -> None:
    """Add the policy of the tables by agency to that of the tests' own results by sector."""
    real = yaml.safe_load((APPROVALS / "dossier-results-monthly.yml").read_text(encoding="utf-8"))
    path = made.approvals / "dossier-results-monthly.yml"
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    record["disclosure"].pop("renewed", None)  # monthly, as the others
    record["disclosure"]["texts"] = real["disclosure"]["texts"]
    own = record["disclosure"]["tables"]
    record["disclosure"]["tables"] = {
        name: own.get(name, policy) for name, policy in real["disclosure"]["tables"].items()
    }
    path.write_text(yaml.safe_dump(record, allow_unicode=True))


def _rows() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table; all counts follow from small rules, so that tables agree where they meet."""
    with (PROJECT / "dbt" / "seeds" / "commune_new.csv").open(encoding="utf-8") as file:
        communes = [row for row in csv.DictReader(file) if row["province_code"] == "82"]
    results: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    quarters: dict[tuple[str, str], dict[str, Any]] = {}
    for number, commune in enumerate(communes):
        code, name = commune["unit_code"], commune["unit_name"]
        area = {"area_code": code, "area_name": name}
        for month, label in enumerate(MONTHS):
            overdue = (number * 7 + month * 3) % 23
            on_time = 300 + 11 * number + 5 * month
            is_open = label == MONTHS[-1]
            results.append(
                {
                    "year_month": label,
                    "system_code": "igate_dong_thap",
                    "agency_code": f"H20.{100 + number}",
                    "agency_name": f"UBND {name}",
                    "agency_level": "COMMUNE",
                    "commune_code": code,
                    "commune_name": name,
                    **area,
                    "province_agency_code": "H20",
                    "received": on_time + overdue + 20,
                    "resolved_on_time": on_time,
                    "resolved_overdue": overdue,
                    "overdue_percent": round(100 * overdue / (overdue + on_time), 2),
                    "is_provisional": is_open,
                    "origin": "simulated",
                }
            )
            quarter = "2025-Q2" if label == "2025-06" else "2025-Q3"
            place = (quarter, code) if quarter == "2025-Q2" else (quarter, str(815 + number % 12))
            row = quarters.setdefault(
                place,
                {
                    "year_quarter": quarter,
                    "area_level": "commune" if quarter == "2025-Q2" else "district",
                    "area_code": place[1],
                    "area_name": name
                    if quarter == "2025-Q2"
                    else f"Các xã thuộc Huyện {place[1]} (đến 30/6/2025)",
                    "district_code": str(815 + number % 12),
                    "district_name": f"Các xã thuộc Huyện {815 + number % 12} (đến 30/6/2025)",
                    "is_provisional": quarter == "2025-Q3",
                    "origin": "simulated",
                    "resolved_on_time": 0,
                    "resolved_overdue": 0,
                },
            )
            # Residence is another division of the same dossiers: its sums are those of the agencies.
            row["resolved_on_time"] += on_time
            row["resolved_overdue"] += overdue
        for age in range(17):
            band = "80+" if age == 16 else f"{5 * age}-{5 * age + 4}"
            for sex, share in (("male", 3), ("female", 4)):
                people.append(
                    {
                        "as_of_date": "2025-07-01",
                        "commune_code": code,
                        "commune_name": name,
                        **area,
                        "age_band": band,
                        "sex": sex,
                        "population": (20 - age) * (10 + number % 9) * share if age < 16 else 5 + number % 40,
                        "origin": "simulated",
                    }
                )
    agencies = [
        {
            "agency_code": f"H20.{100 + number}",
            "agency_name": f"UBND {commune['unit_name']}",
            "agency_level": "COMMUNE",
            "parent_agency_code": "H20",
            "province_agency_code": "H20",
            "unit_code": commune["unit_code"],
            "area_code": commune["unit_code"],
            "area_name": commune["unit_name"],
            "valid_from": "2025-07-01",
            "is_known": True,
            "origin": "simulated",
        }
        for number, commune in enumerate(communes)
    ]
    return {
        "timeliness_by_commune_monthly": results,
        "timeliness_by_commune_quarterly": list(quarters.values()),
        "dossier_results_by_agency_monthly": results,
        "population_by_commune": people,
        "agencies": agencies,
    }
