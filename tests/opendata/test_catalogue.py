from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
import yaml

from opendata.catalogue import APPROVALS, CatalogueError, read_catalogue
from tests.opendata.conftest import TODAY, Warehouse


def refusal(warehouse: Warehouse) -> str:
    with pytest.raises(CatalogueError) as refused:
        read_catalogue(warehouse.write_manifest(), warehouse.approvals, TODAY)
    return str(refused.value)


def test_a_column_without_a_publish_mark_stays_private(warehouse: Warehouse) -> None:
    del warehouse.model("procedures")["columns"]["procedure_name"]["config"]["meta"]["publish"]
    catalogue = {
        item.id: item for item in read_catalogue(warehouse.write_manifest(), warehouse.approvals, TODAY)
    }
    names = [column.name for column in catalogue["procedures"].resources[0].columns]
    assert names == ["procedure_code", "fee_vnd", "origin"]


def test_the_word_true_is_not_enough(warehouse: Warehouse) -> None:
    warehouse.model("procedures")["columns"]["internal_note"]["config"]["meta"]["publish"] = "true"
    catalogue = read_catalogue(warehouse.write_manifest(), warehouse.approvals, TODAY)
    assert "internal_note" not in [c.name for d in catalogue for r in d.resources for c in r.columns]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expires_on": date(2026, 11, 19)}, "expired on 2026-11-19; renew"),
        ({"decided_on": date(2027, 1, 1)}, "decided_on 2027-01-01 is in the future"),
        ({"licence": "free to use"}, "licence 'free to use' is not known; known: CC-BY-4.0"),
        ({"licence": None}, "licence is missing"),
        ({"licence": "other-at"}, "licence 'other-at' is not known"),
        (
            {"licence": "VN-50-2005-QH11-15", "sources": [{"title": "Cổng", "terms": "Điều 15"}]},
            "sources need a url each: VN-50-2005-QH11-15 holds for what an authority has published",
        ),
        ({"limits": {"running": 5}}, "limits.running is true or false"),
        ({"legal_basis": None}, "legal_basis is missing"),
        ({"classification": "internal"}, "classification must be `public`"),
        ({"owner_consent": None}, "owner_consent is missing"),
        ({"contact": {"vi": "chỉ tiếng Việt"}}, "contact needs both vi and en"),
        ({"sources": []}, "sources need a title and terms"),
        ({"themes": ["GOVERNMENT"]}, "themes 'GOVERNMENT' is not one of AGRI"),
        ({"themes": None}, "themes is missing"),
        ({"keywords": [{"vi": "chỉ tiếng Việt"}]}, "keywords need vi and en each"),
        ({"contact": {"vi": "a", "en": "a", "email": "nobody"}}, "contact.email is missing"),
        (
            {"update_frequency": {"vi": "a", "en": "a", "code": "SOMETIMES"}},
            "update_frequency.code 'SOMETIMES'",
        ),
        ({"owner": {"vi": "a", "en": "a"}}, "owner.type None is not one of"),
        (
            {"temporal": {"vi": "a", "en": "a", "start": "last year"}},
            "temporal.start is missing or not a date",
        ),
        (
            {"temporal": {"vi": "a", "en": "a", "start": date(2026, 7, 2), "end": date(2026, 7, 1)}},
            "temporal.end lies before temporal.start",
        ),
        ({"spatial": {"vi": "a", "en": "a", "code": "H20"}}, "spatial.code 'H20' is no statistical code"),
        ({"dataset": "another"}, "dataset must be `procedures`"),
        (
            {"as_published": {"body": {"vi": "a", "en": "a"}, "captured_column": "nope"}},
            "captured_column 'nope'",
        ),
    ],
)
def test_a_gap_in_an_approval_is_named_with_its_file(
    warehouse: Warehouse, changes: dict[str, Any], message: str
) -> None:
    warehouse.change_approval("procedures", **changes)
    assert message in refusal(warehouse)
    assert "procedures.yml" in refusal(warehouse)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"title_vi": ""}, "meta.title_vi is missing"),
        ({"keys": []}, "meta.keys is missing"),
        ({"keys": ["internal_note"]}, "meta.keys names columns that are not published: internal_note"),
    ],
)
def test_a_gap_in_a_model_is_named(warehouse: Warehouse, meta: dict[str, Any], message: str) -> None:
    warehouse.model("procedures")["config"]["meta"].update(meta)
    assert message in refusal(warehouse)


def test_a_contract_that_is_not_enforced_is_a_gap(warehouse: Warehouse) -> None:
    warehouse.model("procedures")["config"]["contract"]["enforced"] = False
    assert (
        "model procedures (models/open_data/procedures.sql's YAML): its contract is not enforced"
        in refusal(warehouse)
    )
    del warehouse.model("procedures")["config"]["contract"]
    assert "its contract is not enforced" in refusal(warehouse)


def test_a_number_without_a_unit_is_a_gap(warehouse: Warehouse) -> None:
    fee = warehouse.model("procedures")["columns"]["fee_vnd"]["config"]["meta"]
    unit = fee.pop("unit")
    assert "column fee_vnd is a number without a unit" in refusal(warehouse)
    fee["codes"] = {"0": {"vi": "miễn phí", "en": "free"}}
    read_catalogue(warehouse.write_manifest(), warehouse.approvals, TODAY)
    fee.pop("codes")
    fee["unit"] = unit
    read_catalogue(warehouse.write_manifest(), warehouse.approvals, TODAY)


def accept(warehouse: Warehouse, column: str, values: list[str]) -> None:
    """As dbt's manifest holds an accepted_values test of administrative_units."""
    warehouse.manifest["nodes"][f"test.kho_chung.accepted_values_{column}"] = {
        "resource_type": "test",
        "schema": "dbt_test",
        "attached_node": "model.kho_chung.administrative_units",
        "test_metadata": {
            "name": "accepted_values",
            "kwargs": {"column_name": column, "arguments": {"values": values}},
        },
    }


def test_a_code_without_a_label_is_named(warehouse: Warehouse) -> None:
    accept(warehouse, "level", ["province", "commune", "district"])
    assert "column level: code 'district' has no label; write it in meta.codes" in refusal(warehouse)


def test_a_label_of_what_no_row_may_hold_is_named(warehouse: Warehouse) -> None:
    accept(warehouse, "level", ["province"])
    assert "column level: meta.codes labels what accepted_values does not hold: commune" in refusal(warehouse)


def test_a_number_without_precision_is_named(warehouse: Warehouse) -> None:
    warehouse.model("procedures")["columns"]["fee_vnd"]["data_type"] = "numeric"
    assert "column fee_vnd is numeric without precision" in refusal(warehouse)


def test_a_period_column_must_be_published(warehouse: Warehouse) -> None:
    warehouse.model("procedures")["config"]["meta"]["period_column"] = "internal_note"
    assert "meta.period_column 'internal_note' is not published" in refusal(warehouse)


def test_all_gaps_are_reported_at_once(warehouse: Warehouse) -> None:
    warehouse.model("procedures")["columns"]["procedure_name"]["description"] = ""
    del warehouse.model("procedures")["columns"]["origin"]
    (warehouse.approvals / "service-index-766.yml").unlink()
    message = refusal(warehouse)
    assert "column procedure_name is published without meta.vi or description" in message
    assert "has neither a column `origin` nor meta.origin" in message
    assert "dataset service-index-766: no approval" in message


def test_an_approval_without_any_of_its_parts_is_refused_and_all_of_them_are_named(
    warehouse: Warehouse,
) -> None:
    """Who, when, on which legal basis, of what class, under which licence, how often, where and when, whom to ask."""
    parts = (
        "approved_by", "role", "decided_on", "expires_on", "legal_basis", "classification", "licence", "themes",
        "update_frequency", "spatial", "temporal", "owner", "contact", "disclosure_policy", "disclosure", "keywords",
        "sources",
    )  # fmt: skip
    warehouse.change_approval(
        "procedures", owner_is_another_body=True, owner_consent=None, **dict.fromkeys(parts)
    )
    message = refusal(warehouse)
    for part in (*parts, "owner_consent"):
        assert re.search(rf"\b{part}(\.\w+)? .*(missing|needs? |known|must be|not one of)", message), part


def test_an_exposure_that_reaches_past_open_data_is_refused(warehouse: Warehouse) -> None:
    warehouse.model("administrative_unit_bridge")["schema"] = "marts"
    assert "depends on marts.administrative_unit_bridge; only models of schema open_data" in refusal(
        warehouse
    )


def test_an_exposure_of_something_else_is_no_dataset(warehouse: Warehouse) -> None:
    warehouse.model("procedures")["schema"] = "marts"
    catalogue = read_catalogue(warehouse.write_manifest(), warehouse.approvals, TODAY)
    assert "procedures" not in [item.id for item in catalogue]


def test_the_approvals_of_the_repository_name_offices_and_are_in_force(warehouse: Warehouse) -> None:
    # As they stand, but for the policy of the tests' own table of results.
    catalogue = read_catalogue(warehouse.write_manifest(), warehouse.approvals)
    assert {item.id for item in catalogue} <= {path.stem for path in APPROVALS.glob("*.yml")}
    assert all("bản ghi mẫu" in item.approval.approved_by for item in catalogue)


def _english(declared: Any) -> Iterator[str]:
    """Return the English texts of a declaration, however deep."""
    if isinstance(declared, dict):
        for name, value in declared.items():
            if isinstance(value, str) and name in ("en", "title_en", "description"):
                yield value
            yield from _english(value)
    elif isinstance(declared, list):
        for value in declared:
            yield from _english(value)


def test_the_promised_datasets_are_declared_approved_comparable_and_mark_open_periods() -> None:
    """Read from the project's own declarations: what the public was told it would find."""
    project = APPROVALS.parent.parent / "dbt" / "models"
    read = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in (project / "open_data").glob("_*.yml")
    ]
    models = {model["name"]: model for document in read for model in document.get("models", ())}
    exposures = yaml.safe_load((project / "exposures.yml").read_text(encoding="utf-8"))["exposures"]
    datasets = {
        item["label"]: [re.findall(r"ref\('(\w+)'\)", one)[0] for one in item["depends_on"]]
        for item in exposures
        if all(re.findall(r"ref\('(\w+)'\)", one)[0] in models for one in item["depends_on"])
    }
    assert set(datasets) == {path.stem for path in APPROVALS.glob("*.yml")}

    def columns(dataset: str) -> set[str]:
        return {column["name"] for name in datasets[dataset] for column in models[name]["columns"]}

    #: Dataset: what its rows are divided by, and what makes them comparable over 1/7/2025.
    promised = {
        "administrative-units": {"unit_code", "valid_from", "valid_to", "old_commune_code", "new_commune_code"},
        "procedures": {"procedure_code", "sector_name"},
        "dossier-results-monthly": {"year_month", "agency_code", "sector_group", "channel_group", "area_code",
                                    "successor_agency_code", "parent_agency_code"},
        "timeliness-by-commune-monthly": {"year_month", "commune_code", "resolved_overdue", "area_code"},
        "timeliness-by-commune-quarterly": {"year_quarter", "area_code", "resolved_overdue"},
        "online-payment-monthly": {"year_month", "paid_online"},
        "digitisation-monthly": {"year_month", "digitised"},
        "service-index-766": {"period", "department_id", "metric_code", "score"},
        "service-index-766-counted": {"period", "indicator_code", "score"},
        "processing-time-by-procedure": {"year_quarter", "procedure_code", "working_days"},
        "population-by-commune": {"commune_code", "age_band", "sex", "area_code"},
        "citizen-check-coverage": {"outcome", "citizens"},
        "dti-2022": {"province_code", "new_province_code", "dti_rank"},
        "working-day-calendar": {"date_day", "is_working_day"},
    }  # fmt: skip
    for dataset, wanted in promised.items():
        assert wanted <= columns(dataset), dataset
    # 1/7/2025 is a day of January to many who read English.
    for item in [*models.values(), *exposures]:
        for text in _english(item):
            assert not re.search(r"\b\d{1,2}/\d{1,2}/\d{4}", text), text
    # What is counted by month, quarter or year can still change; what is counted on one day cannot.
    for name, model in models.items():
        named = [column["name"] for column in model["columns"]]
        if model["config"]["meta"].get("period_column", "").startswith(("year_", "period")):
            assert "is_provisional" in named, name
        codes = [
            column
            for column in model["columns"]
            if column["name"] in ("system_code", "agency_level", "outcome")
        ]
        assert all(column["config"]["meta"]["codes"] for column in codes), name
