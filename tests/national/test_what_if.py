"""A file of assumed dossiers is read as the operator's file is, or told what is wrong with it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from national.reports import UNPREDICTED
from national.what_if import Assumed, AssumptionError, read_assumed
from ops.settings import PROJECT

DBT = PROJECT / "dbt"


def test_each_indicator_is_predicted_or_says_why_not():
    """Of those that count dossiers it is told what a cure changes; each other one has its reason, in words, too."""
    with (DBT / "seeds" / "service_index_indicator.csv").open(encoding="utf-8", newline="") as seed:
        indicators = {row["indicator_code"] for row in csv.DictReader(seed)}
    outcomes = (DBT / "macros" / "service_index_counting.sql").read_text(encoding="utf-8")
    counted = {
        kind: set(re.findall(rf"\('(\w+)', {kind}, \{{\{{ judged", outcomes)) & indicators
        for kind in ("false", "true")
    }
    macros = (DBT / "macros" / "national_difference.sql").read_text(encoding="utf-8")
    reasons, of_procedures = (
        set(re.findall(r"'(\w+)'", macros.partition(f"macro {name}(")[2].partition("endmacro")[0]))
        for name in ("not_predicted_because", "is_of_procedures")
    )
    assert of_procedures == counted["true"]
    assert reasons - set(UNPREDICTED) == indicators - counted["false"] - of_procedures
    assert set(UNPREDICTED) <= reasons
    assert (len(counted["false"]), len(of_procedures)) == (9, 2)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hồ sơ.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_empty_is_as_ours_and_a_dash_is_nothing(tmp_path):
    found = read_assumed(
        written(
            tmp_path,
            "Mã hồ sơ;Trạng thái;Ngày kết thúc xử lý;Ngày hẹn trả;Kênh thực hiện;Không có\n"
            "a;Đã xử lý xong;02/07/2025 08:00:00;-;;\nb;;;;;x\n;;;;;\nc;;;;2;\n",
        )
    )
    assert found == {
        "a": Assumed({"status_code": 9, "completed_at": "2025-07-02T08:00:00+07:00", "due_at": None}),
        "b": Assumed({}, is_absent=True),
        "c": Assumed({"channel": 2}),
    }
    assert read_assumed(written(tmp_path, "Mã hồ sơ\na\nb\n")) == {"a": Assumed({}), "b": Assumed({})}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "its first line is empty"),
        ("Mã hồ sơ,Màu\na,đỏ\n", r"not Màu"),
        ("Mã hồ sơ,Trạng thái\na,Đang làm gì đó\n", "line 2: Trạng thái cannot be read"),
        ("Mã hồ sơ,Ngày trả\na,2025-07-02\n", "line 2: Ngày trả cannot be read"),
        ("Mã hồ sơ\n", "names no dossier"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path, text, told):
    with pytest.raises(AssumptionError, match=told):
        read_assumed(written(tmp_path, text))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(AssumptionError, match="looked for a file of dossiers"):
        read_assumed(tmp_path / "none.csv")
