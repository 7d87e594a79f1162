"""The release gate on the files of a release that is really built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expectations.gates import check_release
from expectations.results import GateFailed
from expectations.suites import HERE, Rule, SuiteError, declared_suites, release_suites
from tests.opendata.conftest import Warehouse, _manifest, warehouse  # noqa: F401

RULES = """
tables:
  service-index-766:
    - {expect: column_values_to_be_between, column: score, min_value: 0, max_value: 100, because: Points., vi: Điểm.}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "release.yml"
    path.write_text(RULES)
    return path


def test_a_sound_release_passes_and_keeps_the_result(warehouse: Warehouse, docs: Path, rules: Path) -> None:  # noqa: F811
    warehouse.publish(gate=lambda folder: check_release(folder, docs, rules).as_dict())
    kept = json.loads((warehouse.current / "release.json").read_text())["gate"]
    assert kept["success"]
    assert len(kept["checks"]) > 40
    assert all(check["vi"] and check["description"] for check in kept["checks"])


def test_rules_without_vietnamese_words_are_refused() -> None:
    """The pages show what is expected; nothing there is in English alone."""
    table = {"name": "service-index-766", "rows": 1, "columns": ["a"], "keys": ["a"], "small_cell": None}
    document = {"datasets": [{"origin": "real", "tables": [table]}]}
    rules = {"service-index-766": (Rule("expect_column_values_to_not_be_null", "Said.", {"column": "a"}),)}
    with pytest.raises(SuiteError, match=r"table service-index-766: say in Vietnamese, too \(vi\).*: Said\."):
        release_suites(document, rules)
    assert release_suites(document, declared_suites(HERE / "release.yml"))


def test_a_release_of_the_wrong_size_is_stopped_and_the_last_good_one_stays(
    warehouse: Warehouse,  # noqa: F811
    docs: Path,
    rules: Path,
) -> None:
    warehouse.publish(gate=lambda folder: check_release(folder, docs, rules).as_dict())
    before = warehouse.files()
    warehouse.sql("update open_data.service_index_766 set score = 184.15 where unit_code = 'H20'")
    with pytest.raises(
        GateFailed, match=r"service-index-766.parquet \(score\).*failed on 1 row\(s\): Points\."
    ) as shut:
        warehouse.publish(gate=lambda folder: check_release(folder, docs, rules).as_dict())
    assert "Readers keep the last good release" in str(shut.value)
    assert "184.15" not in str(shut.value)
    assert warehouse.files() == before


@pytest.mark.parametrize(
    ("old", "new", "failed"),
    [
        (',1110,1090,12,"simulated",false', ',1110,1090,4,"simulated",false', "overdue_count"),
        (',57,57,,"simulated",true', ',57,57,4,"simulated",true', "overdue_count"),
        ('"simulated",false\n', '"real",false\n', "origin"),
        ("2025-07-01", "2025-06-01", "month, sector_code, channel"),
        ('2025-07-01,"LV10","Lĩnh vực 10",3,1221,1201,12,"simulated",false\n', "", "row_count"),
    ],
)
def test_finished_files_that_were_tampered_with_are_found(
    warehouse: Warehouse,  # noqa: F811
    docs: Path,
    rules: Path,
    old: str,
    new: str,
    failed: str,
) -> None:
    """The gate reads the Parquet file; it is made again from a CSV that was changed."""
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    warehouse.publish()
    folder = warehouse.current.resolve()
    plain = folder / "dossier-results-monthly/dossier-results-monthly.simulated.csv"
    text = plain.read_text(encoding="utf-8")
    assert old in text
    plain.write_text(text.replace(old, new), encoding="utf-8")
    pq.write_table(csv.read_csv(plain), plain.with_suffix(".parquet"))
    with pytest.raises(GateFailed, match=failed):
        check_release(folder, docs, rules)
