from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from national.writers import WritersError, read_writers


def written(tmp_path: Path, units: str) -> Path:
    path = tmp_path / "writers.yml"
    path.write_text(f"default: {{writer: dossier_system}}\nunits: {units}\n")
    return path


def test_by_default_nobody_is_written_by_the_warehouse():
    found = read_writers()
    assert found.ours == []
    assert found.of("H20.19").writer == "dossier_system"


def test_an_entry_holds_for_the_agencies_below_it_unless_they_have_their_own(tmp_path):
    found = read_writers(written(tmp_path, """
  H20.19: {writer: warehouse, since: 2025-07-01, decision: "CV 1"}
  H20.19.02: {writer: dossier_system}"""))  # fmt: skip
    assert found.of("H20.19.01.03").writer == "warehouse"
    assert found.of("H20.19.02").writer == "dossier_system"
    assert found.of("H20.190").writer == "dossier_system", "another agency, not one below"
    assert [(u.code, u.since) for u in found.ours] == [("H20.19", dt.date(2025, 7, 1))]


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ("{H20.19: {writer: warehouse}}", "since is wanted.*decision is wanted"),
        ("{H20.19: {writer: both}}", "writer is one of"),
        ("{H20.19: {writer: warehouse, since: 2025-07-01, decision: x, force: true}}", "unknown force"),
    ],
)
def test_a_wrong_entry_is_told(tmp_path, units, said):
    with pytest.raises(WritersError, match=said):
        read_writers(written(tmp_path, units))
    with pytest.raises(WritersError, match="looked for"):
        read_writers(tmp_path / "none.yml")
