"""docs/change-a-rule.md: followed to the letter in a copy of the project; and a changed rule is one for the build."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops import national, tasks
from ops.settings import PROJECT, VIETNAM, Settings
from tests.conftest import Server
from tests.ops.empty_warehouse import empty_warehouse, put

GUIDE = (PROJECT / "docs" / "change-a-rule.md").read_text(encoding="utf-8")
#: What is said before a block, and the block.
STEPS = [
    (" ".join(said.split()), text)
    for said, text in re.findall(
        r"((?:^[^\n`#|-][^\n]*\n)+)\n```\w+\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL
    )
]

BUILD = ["build", "--exclude-resource-type", "seed", "test", "unit_test"]
#: What lists of one-stops are judged by, with their own tests.
WITH_TESTS = [
    "build", "--exclude-resource-type", "seed", "unit_test", "--select", "fct_service_index_dossier", "dim_agency",
    "saturday_one_stop",
]  # fmt: skip


def replaced(steps: Iterator[tuple[str, str]], said: str, old: str, project: Path) -> None:
    """Write what the next block says in place of `old`, which stands once in the file that `said` names."""
    path = project / re.findall(r"`([\w/.]+\.\w+)` replace:$", said)[0]
    then, new = next(steps)
    assert then == "With this:"
    before, after = path.read_text(encoding="utf-8").split(old.rstrip("\n"))
    path.write_text(before + new.rstrip("\n") + after, encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project's rules, beside all else of it."""
    for room in ("dbt", "ops"):
        shutil.copytree(
            PROJECT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "target", "logs")
        )
    for room in ("connectors", "vault", "landing", "expectations", "opendata", "national", "sandbox"):
        (tmp_path / room).symlink_to(PROJECT / room)
    return tmp_path


def test_what_the_guide_names_and_replaces_is_there(copy: Path) -> None:
    named = re.findall(r"`(dbt/[\w/.]+|_\w+\.yml|tests/[\w/.]+)`", GUIDE)
    assert len(named) > 15
    there = {p.name for p in (PROJECT / "dbt").rglob("*.yml")}
    assert [n for n in named if n not in there and not (PROJECT / n).exists()] == [
        "dbt/models/marts/_waiting_unit_tests.yml"
    ]
    steps = iter(STEPS)
    changed = 0
    for said, text in steps:
        if said.endswith("replace:"):
            replaced(steps, said, text, copy)
            changed += 1
    assert changed == 2


@dataclass(frozen=True)
class Copy:
    """A copy of the project and a warehouse that it builds."""

    project: Path
    settings: Settings

    def python(self, *words: str) -> str:
        """Everything a command printed, without colours."""
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(self.project), "LC_ALL": "C.UTF-8",
            "KHOCHUNG_HOME": str(self.settings.home), "WAREHOUSE_URL": self.settings.warehouse_url,
            **self.settings.dbt_env(),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, *words], cwd=self.project, env=environment, capture_output=True, text=True, check=False
        )  # fmt: skip
        return re.sub(r"\x1b\[[\d;]*m", "", done.stdout) + done.stderr


@pytest.fixture
def built(copy: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    settings = empty_warehouse(server, tmp_path_factory)
    national.prepare(settings)
    # One dossier handed in on a Saturday for a procedure of three working days, and ended on the next Thursday morning.
    given = {"source_code": "igate_a", "_origin": "simulated", "_batch_id": "b", "_load_number": 1,
             "_pulled_at": dt.datetime(2025, 7, 20, tzinfo=VIETNAM)}  # fmt: skip
    for number, source in enumerate(("igate_a", "national_portal"), 1):
        put(settings, "ops.load_log", load_number=number, batch_id=f"b{number}", source_code=source, counts="{}",
            interval_start="2025-07-01 00:00+07", interval_end="2025-07-20 00:00+07", origin="simulated",
            pulled_at="2025-07-20 00:00+07")  # fmt: skip
    put(
        settings,
        "raw.agency",
        **given,
        agency_code="H20.19",
        agency_name="Sở Tư pháp",
        agency_level="DEPARTMENT",
    )
    catalogue = {**given, "source_code": "national_portal", "procedure_id": "p"}
    put(
        settings,
        "raw.procedure",
        **catalogue,
        procedure_code="1.000001",
        procedure_name="Thủ tục",
        state="UPDATED",
    )
    put(
        settings,
        "raw.procedure_method",
        **catalogue,
        method_no=1,
        channel=1,
        duration=3,
        duration_unit="WORKING_DAY",
    )
    put(settings, "raw.dossier", **given, dossier_id="d", dossier_code="d", procedure_code="1.000001", channel=1,
        receiving_agency_code="H20.19", responsible_agency_code="H20.19", received_at="2025-07-05 09:00+07",
        completed_at="2025-07-10 07:00+07", status_code="5")  # fmt: skip
    tasks._dbt(settings, [["seed"], [*BUILD]])
    return Copy(copy, settings)


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_the_guide_followed_shows_the_effect_of_a_rule(built: Copy) -> None:
    """Three rows fail, the rule is changed in its one place, they pass, and the test that said otherwise is named."""
    said_of: list[tuple[str, str]] = []
    steps = iter(STEPS)
    for said, text in steps:
        if said.endswith("replace:"):
            replaced(steps, said, text, built.project)
        elif "New file" in said:
            path = built.project / re.findall(r"`([\w/.]+\.yml)`:$", said)[0]
            path.write_text(text, encoding="utf-8")
        else:
            python, *words = text.split()
            assert python == ".venv/bin/python"
            said_of.append((said, built.python(*words)))
    assert [said.split()[:2] for said, _ in said_of] == [
        ["It", "fails,"],
        ["It", "passes,"],
        ["Each", "unit"],
    ]
    fails, passes, every = (told for _, told in said_of)
    assert re.search(r"^→ +,payment +,False→True$", fails, re.MULTILINE), fails
    assert "PASS fct_dossier::who_waits_for_the_applicant_is_in_time" in passes, passes
    assert re.search(r"^→ +,open_due_before *,", passes, re.MULTILINE), passes
    assert re.search(r"FAIL 1 fct_dossier::overdue_is_judged_by_calendar_date", passes), passes
    assert "Completed successfully" in every, every
    assert len(re.findall(r" PASS \w+::", every)) > 60


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_a_one_stop_written_into_the_list_of_saturdays_opens_and_a_wrong_line_stops_the_build(
    built: Copy,
) -> None:
    """Of nobody known to be open the limit counts from Monday, 7:30; of one that is, from Saturday, 9:00."""
    seed = built.project / "dbt" / "seeds" / "saturday_one_stop.csv"
    head = seed.read_text(encoding="utf-8")
    assert len(head.splitlines()) == 1, "no such list is known"

    def judged() -> tuple[Any, ...] | None:
        with psycopg.connect(built.settings.login_url("dbt")) as connection:
            return connection.execute(
                "select is_open_on_saturday, progress_on_time from marts.dim_agency "
                "join marts.fct_service_index_dossier on agency_code = responsible_agency_code"
            ).fetchone()

    def build(*lines: str) -> str:
        seed.write_text(head + "".join(f"{line}\n" for line in lines), encoding="utf-8")
        commands = (
            ["seed", "--full-refresh", "--select", "saturday_one_stop"],
            [*WITH_TESTS, "--full-refresh"],
        )
        return built.python("-m", "ops.dbt", *(json.dumps(c) for c in commands))

    assert judged() == (None, "met:processed+legal_maximum")
    assert '"success": true' in build("H20.19,true,QĐ mẫu,mẫu")
    assert judged() == (True, "missed:processed+legal_maximum")
    told = build("H20.19,có,QĐ mẫu,mẫu")
    assert "accepted_values_saturday_one_stop_is_open_on_saturday" in told, told
    assert judged() == (True, "missed:processed+legal_maximum"), "the last good build"
    assert "every_saturday_one_stop_is_an_agency" not in told
    told = build("H20.91,true,QĐ mẫu,mẫu")
    assert '"warn": 1' in told, told
    assert judged() == (None, "met:processed+legal_maximum")


def test_a_changed_rule_constant_or_list_has_the_next_build_make_all_anew(copy: Path) -> None:
    """By what is remembered of the last whole build; a description is no rule."""
    dbt = copy / "dbt"
    before = tasks._texts(copy)
    assert before == tasks._texts(), "wherever the project lies"
    for path, part in (
        ("macros/form_06a.sql", "models"),
        ("functions/deadline.sql", "models"),
        ("models/marts/fct_dossier.sql", "models"),
        ("dbt_project.yml", "models"),
        ("seeds/saturday_one_stop.csv", "seeds"),
    ):
        text = (dbt / path).read_text(encoding="utf-8")
        (dbt / path).write_text(
            text.replace('"07:30"', '"08:00"') if part == "models" and path.endswith("yml") else text + " "
        )
        after = tasks._texts(copy)
        assert {p for p in before if before[p] != after[p]} == {part}, path
        (dbt / path).write_text(text, encoding="utf-8")
    described = dbt / "models" / "marts" / "_marts.yml"
    described.write_text(described.read_text(encoding="utf-8") + "# \n", encoding="utf-8")
    assert tasks._texts(copy) == before


def test_a_table_is_not_made_beside_a_build(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops", "dbt", "run", "--select", "fct_dossier"], cwd=PROJECT, check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "KHOCHUNG_HOME": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "found run" in done.stderr
    assert "Tables are made by a build: make run" in done.stderr
    assert not (tmp_path / "postgres").exists(), "nothing was started for it"
