"""A year of the province, all datasets together: every small cell withheld and proved, in minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from opendata.disclosure.granularity import protect_as_finely_as_allowed
from opendata.disclosure.protect import Protection
from opendata.disclosure.system import Counted
from tests.opendata.test_disclosure import leave_release, policy

#: Old Đồng Tháp's dossiers of 2024, as published (published_figures.csv).
DOSSIERS = 184_457

OUTCOMES: Mapping[str, Mapping[str, str]] = {
    "resolved": {"of": "dossiers resolved"},
    "on_time": {"of": "dossiers resolved", "outcome.outcome": "on_time"},
    "overdue": {"of": "dossiers resolved", "outcome.outcome": "overdue"},
}


class Year:
    """Invented dossiers with the shape of real ones: few large communes, sectors and agencies, many small ones."""

    def __init__(self, seed: int, dossiers: int = DOSSIERS, late: float = 0.06) -> None:
        random = np.random.default_rng(seed)

        def draw(prefix: str, count: int, steepness: float) -> np.ndarray:
            weights = 1 / np.arange(1, count + 1) ** steepness
            codes = np.array([f"{prefix}{number:03d}" for number in range(count)])
            return codes[random.choice(count, size=dossiers, p=weights / weights.sum())]

        month = random.integers(1, 13, dossiers)
        self.columns = {
            "month": np.array([f"2024-{m:02d}" for m in range(13)])[month],
            "quarter": np.array([f"2024-Q{q}" for q in range(5)])[(month + 2) // 3],
            "year": np.full(dossiers, "2024"),
            "commune": draw("c", 143, 0.4),
            "agency": draw("a", 60, 0.8),
            "sector": draw("s", 12, 0.8),
            "channel": draw("k", 2, 1.1),
            "band": draw("b", 7, 0.7),
        }
        self.columns["district"] = np.char.add(
            "d", np.char.zfill([str(int(c[1:]) // 7) for c in self.columns["commune"]], 2)
        )
        self.columns["level"] = np.full(dossiers, "commune")
        self.columns["procedure"] = np.char.add(self.columns["sector"], draw("p", 3, 0.8))
        self.overdue = random.random(dossiers) < late

    def count(self, *names: str) -> dict[str, pa.Array]:
        """Count the dossiers by some columns; rows exist where there is one."""
        stacked = np.stack([self.columns[name] for name in names], axis=1)
        rows, number = np.unique(stacked, axis=0, return_inverse=True)
        resolved, overdue = np.bincount(number), np.bincount(number, weights=self.overdue).astype(np.int64)
        counts = {"resolved": resolved, "on_time": resolved - overdue, "overdue": overdue}
        return {name: pa.array(rows[:, i]) for i, name in enumerate(names)} | {
            name: pa.array(values.astype(np.int64)) for name, values in counts.items()
        }

    def table(
        self, name: str, dimensions: Mapping[str, Any], *counts: str, basis: str = "", **more: Any
    ) -> Counted:
        by = [*dimensions, *(one["level_column"] for one in dimensions.values() if isinstance(one, Mapping))]
        rows = pa.table(self.count(*by)).select([*by, *counts])
        more |= {"exempt": [{"counts": list(counts), "basis": basis}]} if basis else {}
        declared = policy(name, dimensions, {c: OUTCOMES[c] for c in counts}, rows, 10, **more)
        return Counted(name, name, "simulated", rows, declared, tuple(dimensions))

    def until(self, month: str) -> Year:
        """The same dossiers up to the middle of a month, as a release of that day knows them."""
        days = np.random.default_rng(0).integers(0, 28, len(self.overdue))
        return self.of((self.columns["month"] < month) | ((self.columns["month"] == month) & (days < 14)))

    def whole_quarters(self) -> Year:
        """Those of quarters that have all their months; communes are shown no earlier."""
        last = max(self.columns["month"])
        return self.of((self.columns["quarter"] < max(self.columns["quarter"])) | (last[-2:] == "12"))

    def of(self, known: np.ndarray) -> Year:
        """Some of the dossiers, by a mask."""
        part = Year.__new__(Year)
        part.columns = {name: codes[known] for name, codes in self.columns.items()}
        part.overdue = self.overdue[known]
        return part


MONTH, QUARTER = {"month": "time.month"}, {"quarter": "time.quarter"}


def together(*columns: str, **step: Any) -> dict[str, Any]:
    """A step to a coarser table: what is added up in it."""
    words = f"{', '.join(columns)} together"
    return {"vi": words, "en": words} | (step or {"put": dict.fromkeys(columns, "all")})


def tables(year: Year) -> list[Counted]:
    """The tables of the catalogue that count the same dossiers in different ways, and one more of their kind."""
    commune, sector = {"commune": "residence.commune"}, {"sector": "sector.group"}
    area = {
        "commune": {"level": "residence.commune", "level_column": "level"},
        "district": "residence.district",
    }
    agency, channel = {"agency": "agency.unit"}, {"channel": "channel.group"}
    return [
        year.table(
            "results",
            MONTH | sector | channel,
            "on_time",
            "overdue",
            coarsen=[together("channel"), together("sector")],
        ),
        year.table("agencies", MONTH | agency, "on_time", "overdue", basis="published by the portal"),
        year.whole_quarters().table(
            "timeliness",
            QUARTER | area,
            "on_time",
            "overdue",
            coarsen=[
                together("district", take={"commune": "district"}, put={"level": "district"}),
                together("commune", "district", "level"),
            ],
        ),
        year.table(
            "processing time",
            QUARTER | sector | {"procedure": "procedure.procedure", "band": "duration.band"},
            "resolved",
            coarsen=[together("procedure"), together("sector")],
        ),
        year.table("residents by year", {"year": "time.year"} | commune, "resolved"),
    ]


@pytest.mark.prove
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("seed", "late", "steps"),
    [(1, 0.06, {}), (2, 0.06, {}), (1, 0.011, {"results": 2, "timeliness": 1})],
    ids=["6 % late", "6 % late, others", "1.1 % late"],
)
def test_a_year_of_dossiers_is_protected(
    seed: int, late: float, steps: dict[str, int], record_property: Callable[[str, object], None]
) -> None:
    """With few late ones, what tells of them is divided more coarsely, so that nine of ten can be seen."""
    protection: Protection = protect_as_finely_as_allowed(tables(Year(seed, late=late)))
    report = protection.report
    for name in ("seconds", "withheld_cells", "sums_checked", "solves", "largest_linked_group"):
        record_property(name, report[name])
        print(f"{name}: {report[name]}")
    print(f"without complementary: {report['without_complementary']}")
    for name, (rows, tally) in protection.tables.items():
        print(f"{name[0]}: {tally.cells} of {rows.num_rows} rows, share {tally.share:.3%}")
        assert tally.share <= 0.1
    assert {item["table"]: item["steps"] for item in report["tables"] if item["steps"]} == steps
    assert report["left_out"] == []
    assert report["unprotected_cells"] == 0
    assert report["tables_in_a_circle"] == {}
    beside = report["without_complementary"]
    assert steps or beside["a_reader_would_get_exactly"] > 20
    assert report["withheld_cells"] > beside["withheld_cells"]


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_releases_of_a_growing_year_are_protected_one_after_the_other(tmp_path: Path) -> None:
    """Each knows what the ones before it told, and none is refused for it."""
    releases = tmp_path / "open-data" / "releases"
    known = []
    for month in ("2024-10", "2024-11", "2024-13"):
        known.append(
            leave_release(releases, tables(Year(1).until(month))).report["cells_known_from_earlier_releases"]
        )
    assert known[0] == 0
    assert min(known[1:]) > 2000
