"""A small warehouse with four published models, and the dbt manifest that exposes them."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from opendata.catalogue import APPROVALS
from opendata.release import Gate, ReleaseOutcome, publish

HERE = Path(__file__).parent
TODAY = date(2026, 11, 20)


@pytest.fixture(scope="session")
def postgres(server: Any) -> str:
    return str(server.new_database())


@dataclass
class Warehouse:
    """The room's seat: a filled open_data schema, a manifest and approvals a test may bend."""

    url: str
    home: Path
    manifest: dict[str, Any]
    approvals: Path

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def model(self, name: str) -> dict[str, Any]:
        return self.manifest["nodes"][f"model.kho_chung.{name}"]

    def write_manifest(self) -> Path:
        path = self.home / "manifest.json"
        path.write_text(json.dumps(self.manifest), encoding="utf-8")
        return path

    def change_approval(self, name: str, /, **changes: Any) -> None:
        path = self.approvals / f"{name}.yml"
        record = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
        path.write_text(
            yaml.safe_dump({k: v for k, v in record.items() if v is not None}, allow_unicode=True)
        )

    def publish(self, gate: Gate | None = None, **options: Any) -> ReleaseOutcome:
        manifest = self.write_manifest()
        return publish(
            self.home, manifest, self.url, 7, gate, approvals=self.approvals, today=TODAY, **options
        )

    @property
    def current(self) -> Path:
        return self.home / "open-data" / "current"

    def files(self) -> dict[str, bytes]:
        """Every byte that readers see now."""
        return {
            str(p.relative_to(self.current)): p.read_bytes() for p in self.current.rglob("*") if p.is_file()
        }


@pytest.fixture(scope="session")
def _manifest() -> dict[str, Any]:
    return read_manifest()


def read_manifest() -> dict[str, Any]:
    """The part of dbt's manifest that the catalogue reads, from a short YAML."""
    declared = yaml.safe_load((HERE / "fixtures" / "models.yml").read_text(encoding="utf-8"))
    nodes = {}
    for name, model in declared["models"].items():
        columns = {
            column: {
                "name": column,
                "data_type": kind,
                "description": f"{column} in English",
                "meta": {},
                "config": {
                    "meta": {"vi": f"{column} bằng tiếng Việt", "publish": publish}
                    | (extra[0] if extra else {})
                },
            }
            for column, (kind, publish, *extra) in model["columns"].items()
        }
        nodes[f"model.kho_chung.{name}"] = {
            "unique_id": f"model.kho_chung.{name}",
            "resource_type": "model",
            "name": name,
            "alias": name,
            "schema": "open_data",
            "original_file_path": f"models/open_data/{name}.sql",
            "description": model["description"],
            "meta": {},
            "config": {"meta": model["meta"], "contract": {"enforced": True}},
            "columns": columns,
        }
    exposures = {
        f"exposure.kho_chung.{name}": {
            "name": name,
            "label": name.replace("_", "-"),
            "description": "",
            "meta": {},
            "config": {"meta": {}},
            "depends_on": {"nodes": [f"model.kho_chung.{model}" for model in models]},
        }
        for name, models in declared["exposures"].items()
    }
    return {"nodes": nodes, "exposures": exposures}


def new_warehouse(postgres: str, manifest: dict[str, Any], folder: Path) -> Warehouse:
    """A fresh open_data schema, manifest and approvals, kept in `folder`."""
    approvals = folder / "approvals"
    approvals.mkdir()
    for path in APPROVALS.glob("*.yml"):
        (approvals / path.name).write_bytes(path.read_bytes())
    # The tests' table of results is a small one of their own.
    record = yaml.safe_load((approvals / "dossier-results-monthly.yml").read_text(encoding="utf-8"))
    record["disclosure"] = yaml.safe_load((HERE / "fixtures" / "disclosure.yml").read_text(encoding="utf-8"))
    (approvals / "dossier-results-monthly.yml").write_text(yaml.safe_dump(record, allow_unicode=True))
    made = Warehouse(postgres, folder, copy.deepcopy(manifest), approvals)
    made.sql((HERE / "fixtures" / "open_data.sql").read_text(encoding="utf-8"))
    return made


@pytest.fixture
def warehouse(postgres: str, _manifest: dict[str, Any], tmp_path: Path) -> Warehouse:
    """A fresh open_data schema, manifest and approvals for one test."""
    return new_warehouse(postgres, _manifest, tmp_path)
