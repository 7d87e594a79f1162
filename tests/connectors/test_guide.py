"""docs/add-a-source.md, followed to the letter in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from ops.settings import PROJECT

GUIDE = PROJECT / "docs" / "add-a-source.md"
BLOCK = re.compile(r"^([^\n]+):\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PHONE = b"0400000042"

# What the DAG's tasks do, one after the other.
CHAIN = """
import json, sys
from datetime import datetime
from connectors.base import Interval
from ops import run, tasks
from ops.settings import VIETNAM, Settings
from tests.connectors.queue_tickets_server import TICKETS, start
settings, code = Settings(), "queue_my_tho"
day = Interval(datetime(2025, 7, 1, tzinfo=VIETNAM), datetime(2025, 7, 2, tzinfo=VIETNAM))
TICKETS[3]["rating"] = 9
TICKETS[4]["mood"] = "vui"
out = {"dags": sum(run._order(settings), []), "loads": []}
with start() as url:
    for _ in range(2):
        folder = tasks.pull(settings, code, day, tasks.Address(url))
        staged = tasks.stage(settings, code, folder)
        gate = tasks.check_landing(settings, code, staged)
        out["loads"].append([gate["passed"], tasks.load(settings, code, folder)["written"]])
print("JSON" + json.dumps(out))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path, so that the vault's socket fits in it."""
    folder = Path(tempfile.mkdtemp(prefix="kcg-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A copy of the project in which the guide was followed, and the commands it says to run."""
    copy = tmp_path_factory.mktemp("guide") / "kho-chung"
    for room in ("connectors", "vault", "landing", "ops", "expectations", "opendata", "dbt", "sandbox"):
        shutil.copytree(
            PROJECT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__", "target", "logs")
        )
    shutil.copytree(PROJECT / "tests/connectors", copy / "tests/connectors")
    for name in ("tests/conftest.py", "pyproject.toml"):
        shutil.copy(PROJECT / name, copy / name)
    commands: list[str] = []
    for said, language, text in BLOCK.findall(GUIDE.read_text()):
        paths = re.findall(r"`([\w/.]+\.\w+)`", said)
        if language == "sh":
            commands += text.splitlines()
        elif said.startswith("New file"):
            assert not (copy / paths[0]).exists()
            (copy / paths[0]).write_text(text)
        elif said.startswith("Add to the end of"):
            with (copy / paths[0]).open("a") as f:
                f.write(text)
        else:
            assert said.startswith("Add to `CASES` of")
            assert len(text.splitlines()) == 1
            marker = "    # A new connector joins here"
            before, after = (copy / paths[0]).read_text().split(marker)
            (copy / paths[0]).write_text(before + text + marker + after)
    return copy, commands


def run(copy: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=copy, capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(copy), "LC_ALL": "C.UTF-8",
             "PYTEST_DEBUG_TEMPROOT": str(copy.parent), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_the_guide_followed_leads_from_a_real_server_to_raw(
    followed: tuple[Path, list[str]], database: str, vault: Any, home: Path
) -> None:
    copy, _ = followed
    (home / "vault").mkdir()
    (home / "vault" / "vault.sock").symlink_to(vault.client.socket)
    (home / "secrets").mkdir()
    (home / "secrets" / "vault-api").write_text(vault.client.token)
    said = run(copy, sys.executable, "-c", CHAIN, WAREHOUSE_URL=database, KHOCHUNG_HOME=str(home))
    out = json.loads(said.split("JSON")[1])
    assert "ingest_queue_queue_my_tho" in out["dags"]
    (passed, written), (_, again) = out["loads"]
    assert passed > 0
    assert (written, again) == (99, 0)
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select count(*), count(called_at), (min(drawn_at) at time zone 'UTC')::text, "
            "count(distinct visitor_phone), bool_and(visitor_phone like 'ref1\\_%%'), min(_origin) "
            "from raw.queue_ticket"
        ).fetchone()
    assert rows == (99, 87, "2025-07-01 00:00:00", 99, True, "simulated")
    manifests = [json.loads(p.read_text()) for p in sorted((home / "landing").glob("*/*/manifest.json"))]
    assert len(manifests) == 2
    entry = manifests[0]["tables"]["queue_ticket"]
    assert (entry["announced"], entry["landed"], entry["rejected"]) == (100, 99, 1)
    assert entry["undeclared"] == {"mood": 1}
    assert not [p for p in home.rglob("*") if p.is_file() and PHONE in p.read_bytes()]
    with psycopg.connect(vault.database_url) as connection:
        kinds = connection.execute("select kind, count(*) from quarantine group by 1 order by 1").fetchall()
    assert kinds == [("reject", 2), ("undeclared", 2)]


def test_the_guides_commands_pass_and_write_the_source_for_dbt(followed: tuple[Path, list[str]]) -> None:
    copy, commands = followed
    assert len(commands) == 2
    for command in commands:
        words = command.split()
        assert words[0] == ".venv/bin/python"
        said = run(copy, sys.executable, *words[1:])
    assert re.search(r"^[1-9]\d passed", said.strip().splitlines()[-1]), said
    written = yaml.safe_load((copy / "dbt/models/staging/_sources.yml").read_text())
    raw = next(s for s in written["sources"] if s["name"] == "raw")
    assert "queue_ticket" in {t["name"] for t in raw["tables"]}


def test_the_guides_code_is_as_clean_as_the_projects(followed: tuple[Path, list[str]]) -> None:
    copy, _ = followed
    new = [
        "connectors/queue_tickets.py",
        "tests/connectors/queue_tickets_server.py",
        "tests/connectors/conformance.py",
    ]
    run(copy, sys.executable, "-m", "ruff", "check", *new)
