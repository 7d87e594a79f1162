"""A whole year of the OpenCPS dialect, with the sandbox's everyday faults, ends in the published totals.

What the year took is printed beside its target, and stands among the properties of the test's report; it is a figure of
the machine, so nothing fails for it (benchmarks/README.md has the last one).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
import yaml

from ops.settings import PROJECT
from ops.sources import read_sources
from sandbox.faults import PROFILES
from tests.e2e.installation import Installation
from tests.opendata.test_records import wrong_in

pytestmark = [pytest.mark.prove, pytest.mark.timeout(5400)]
SOURCE = "opencps_dong_thap"
#: Old Đồng Tháp's dossiers of 2024 by day of receipt, and those received online, as published.
RECEIVED, ONLINE = 184_457, 125_174
#: Target of the whole run, in seconds.
LIMIT = 15 * 60


def test_the_year_2024_ends_in_the_published_totals(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    sources = yaml.safe_load((PROJECT / "ops" / "sources.yml").read_text(encoding="utf-8"))
    sources["sources"] = {code: sources["sources"][code] for code in (SOURCE, "national_portal")}
    file = tmp_path / "sources.yml"
    file.write_text(yaml.safe_dump(sources, allow_unicode=True), encoding="utf-8")
    installation = Installation.create(tmp_path / "home", KHOCHUNG_SOURCES=str(file))
    try:
        installation.ops("run", "--period", "2024")
        installation.ops("url")
        facts = installation.rows(
            "select count(*), count(distinct dossier_key), count(*) filter (where channel = 2) from marts.fct_dossier "
            "where received_date >= '2024-01-01' and received_date < '2025-01-01' and report_group <> 'not_received'"
        )
        published = installation.rows("select sum(received) from open_data.dossier_results_monthly")
        figures_of_the_year = installation.rows(
            "select indicator, our_value, cause from marts.fct_published_figure "
            "where province_code_old = '87' and period_label = '2024' and our_value is not null order by indicator"
        )
    finally:
        installation.ops("down", check=False)
    assert facts == [(RECEIVED, RECEIVED, ONLINE)]
    assert published == [(RECEIVED,)]
    # The mart sets ours beside the press's: both are the same, and it says so.
    share = Decimal(100 * ONLINE / RECEIVED).quantize(Decimal("0.01"))
    assert figures_of_the_year == [
        ("dossiers_online", ONLINE, "equal"),
        ("dossiers_total", RECEIVED, "equal"),
        ("share_online", share, "equal"),
    ]

    summary = installation.summary()
    assert summary["succeeded"]
    steps = {(s["step"], s.get("source")): s for s in summary["steps"]}
    pull = steps["pull", SOURCE]
    counted = pull["tables"]["dossier"]
    connector = read_sources(file)[SOURCE].connect("http://127.0.0.1", "", "")
    late = next(f for f in PROFILES["realistic"] if f["fault"] == "latency")
    figures = {
        "seconds": round(summary["seconds"]), "target seconds": LIMIT,
        "target": "met" if summary["seconds"] < LIMIT else "MISSED", "cores": psutil.cpu_count(),
        "seconds by step": {f"{s} {c or ''}".strip(): round(v["seconds"]) for (s, c), v in steps.items()},
        "most memory of a step, MiB": (memory := max(s["peak_mib"] for s in summary["steps"])),
        "calls": pull["calls"], "calls made again": pull["retries"], "quota of calls": connector.max_calls,
        "calls at once": connector.concurrency,
        # At most: what the machine did between two calls is in it.
        "latency, ms a call": round(1000 * pull["seconds"] * connector.concurrency / pull["calls"], 1),
        "of it by a fault": f"{late['ms']} ms in {late['rate']:.2%} of the calls",
    }  # fmt: skip
    for name, value in figures.items():
        record_property(name, value)
        print(f"{name}: {value}", flush=True)
    assert memory < 1024
    assert pull["calls"] <= connector.max_calls
    assert counted["announced"] == counted["landed"] + counted["rejected"] + counted["duplicates"]
    loaded = steps["load", SOURCE]["tables"]["dossier"]
    assert loaded["inserted"] == counted["landed"]
    # What the public reads: visible counts and withheld ones make up the whole.
    tally = steps["publish", None]["withheld"]["dossier-results-monthly"]
    (path,) = (installation.home / "open-data" / "current" / "dossier-results-monthly").glob(
        "dossier-results-monthly*simulated.csv"
    )
    with path.open(encoding="utf-8", newline="") as text:
        visible = sum(int(row["received"] or 0) for row in csv.DictReader(text))
    assert visible + tally["dossiers"] == tally["dossiers_of"] == RECEIVED
    report = json.loads((path.parents[1] / "disclosure.json").read_text(encoding="utf-8"))
    print(f"disclosure audit of {len(report['tables'])} tables: {report['seconds']} s")
    assert report["unprotected_cells"] == 0
    assert len(report["tables"]) >= 8
    assert report["seconds"] < 300
    assert report["left_out"] == [], "a year is enough to publish every table"
    # Official shapes of DCAT-AP, CSV on the Web, Frictionless: every dataset.
    assert wrong_in(path.parents[1].resolve()) == []
