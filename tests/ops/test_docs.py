"""Every table and column that others read is described in both languages, says its grain first and has an owner."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opendata.catalogue import APPROVALS, read_catalogue
from ops import docs
from ops.settings import PROJECT, Settings

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What dbt reads in the repository; it needs no database for that."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(
        {
            "KHOCHUNG_HOME": str(home),
            "WAREHOUSE_URL": "postgresql://u:p@127.0.0.1:1/none",
            "PATH": os.environ["PATH"],
        },
        dotenv=home / "no.env",
    )
    subprocess.run(
        [sys.executable, "-m", "ops.dbt", json.dumps(["parse"])],
        env=settings.dbt_process_env(), cwd=PROJECT, capture_output=True, check=True,
    )  # fmt: skip
    return json.loads((settings.dbt_target / "manifest.json").read_text(encoding="utf-8"))


def test_everything_that_others_read_is_described(manifest: dict[str, Any]) -> None:
    assert docs.gaps(manifest) == []
    models = {p.stem for s in docs.SCHEMAS for p in (PROJECT / "dbt" / "models" / s).glob("*.sql")}
    assert {n["name"] for n in docs.tables(manifest)} == models
    assert all(n["columns"] and n["config"]["contract"]["enforced"] for n in docs.tables(manifest))


def _fee(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["nodes"]["model.kho_chung.fct_dossier_fee"]


def _form(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["nodes"]["model.kho_chung.fct_form_06a"]
    found["meta"] = {}  # dbt fills both places
    return found


def test_every_open_dataset_may_be_released(manifest: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    catalogue = read_catalogue(path)
    assert {item.id for item in catalogue} == {file.stem for file in APPROVALS.glob("*.yml")}
    columns = [column for item in catalogue for table in item.resources for column in table.columns]
    assert any(column.codes for column in columns)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: _fee(m).update(description="Fees."), "marts.fct_dossier_fee: description does not begin with"),
        (lambda m: _fee(m)["config"].update(meta={}) or _fee(m).update(meta={}), "marts.fct_dossier_fee: meta.vi does"),
        (lambda m: _fee(m)["columns"]["is_owed"].update(description=""), "marts.fct_dossier_fee.is_owed: description"),
        (
            lambda m: _fee(m)["columns"]["is_owed"].update(meta={}, config={}),
            "marts.fct_dossier_fee.is_owed: description or meta.vi is missing",
        ),
        (lambda m: _fee(m).update(group=None) or _fee(m)["config"].update(group=None), "fct_dossier_fee: no owner"),
        (lambda m: _form(m)["config"]["meta"].pop("grouped_by"), "marts.fct_form_06a: meta.grouped_by does not say"),
        (
            lambda m: _form(m)["config"]["meta"].update(grouped_by="place"),
            "marts.fct_form_06a: meta.grouped_by does not say",
        ),
        (
            lambda m: _fee(m)["columns"]["is_owed"]["config"]["meta"].update(codes_of="no_such_seed"),
            "marts.fct_dossier_fee.is_owed: codes_of: no_such_seed: no such seed",
        ),
        (
            lambda m: _fee(m)["columns"]["is_owed"]["config"]["meta"].update(codes_of="procedures.procedure_code"),
            "marts.fct_dossier_fee.is_owed: codes_of: procedures.procedure_code: no such seed",
        ),
        (lambda m: m["exposures"]["exposure.kho_chung.cookbook"].update(description=""), "exposure cookbook"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(manifest: dict[str, Any], change: Change, told: str) -> None:
    changed = copy.deepcopy(manifest)
    change(changed)
    (found,) = docs.gaps(changed)
    assert told in found


def test_a_column_that_no_model_declares_is_named(manifest: dict[str, Any]) -> None:
    stands = {"nodes": {_fee(manifest)["unique_id"]: {"columns": {**_fee(manifest)["columns"], "extra": {}}}}}
    assert docs.gaps(manifest, stands) == ["marts.fct_dossier_fee.extra: no model declares it"]
