"""docs/drop-a-file.md, followed to the letter in a copy of the project."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops.settings import PROJECT

from .test_guide import home, run  # noqa: F401 - a fixture

BLOCK = re.compile(r"^([^\n]+):\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What the DAG's tasks do, one after the other.
CHAIN = """
import json, sys
from datetime import datetime
from pathlib import Path
from connectors.base import Interval
from ops import run, tasks
from ops.settings import VIETNAM, Settings
settings, code = Settings(), "reform_index"
day = Interval(datetime(2025, 7, 1, tzinfo=VIETNAM), datetime(2025, 7, 2, tzinfo=VIETNAM))
out = {"dags": sum(run._order(settings), []), "loads": []}
for _ in range(2):
    folder = tasks.pull(settings, code, day, tasks.Address(Path(sys.argv[1]).as_uri()))
    staged = tasks.stage(settings, code, folder)
    gate = tasks.check_landing(settings, code, staged)
    out["loads"].append([gate["passed"], tasks.load(settings, code, folder)["written"]])
print("JSON" + json.dumps(out))
"""


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A copy of the project in which the guide was followed, and the commands it says to run."""
    copy = tmp_path_factory.mktemp("drop-guide") / "kho-chung"
    for room in ("connectors", "vault", "landing", "ops", "expectations", "opendata", "dbt"):
        shutil.copytree(
            PROJECT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__", "target", "logs")
        )
    commands: list[str] = []
    for said, language, text in BLOCK.findall((PROJECT / "docs" / "drop-a-file.md").read_text()):
        if language == "sh":
            commands += text.splitlines()
            continue
        name = re.findall(r"`([^`]+\.\w+)`", said)[0]
        if said.startswith("New file"):
            assert not (copy / name).exists()
            (copy / name).write_text(text)
        else:
            assert said.startswith("Add to the end of")
            with (copy / name).open("a") as f:
                f.write(text)
    return copy, commands


def test_the_guides_commands_say_how_the_file_is_read(followed: tuple[Path, list[str]]) -> None:
    copy, commands = followed
    assert len(commands) == 2
    said = [run(copy, sys.executable, *shlex.split(c)[1:]) for c in commands]
    assert "name: reform_index" in (copy / "dbt/models/staging/_sources.yml").read_text()
    lines = said[1].splitlines()
    assert lines[:3] == [
        "PAR Index 2024.csv: 3 records, read as utf-8, ;",
        "  left out: 1 rows, the first 9: notes",
        "  to quarantine: ghi chú (E), 1 values",
    ]
    assert "2024" in lines[-1]


def test_the_guide_followed_leads_from_a_folder_to_raw_without_code(
    followed: tuple[Path, list[str]],
    database: str,
    vault: Any,
    home: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    copy, _ = followed
    (home / "vault").mkdir()
    (home / "vault" / "vault.sock").symlink_to(vault.client.socket)
    (home / "secrets").mkdir()
    (home / "secrets" / "vault-api").write_text(vault.client.token)
    drop = tmp_path / "nhận tệp"
    drop.mkdir()
    shutil.copy(copy / "PAR Index 2024.csv", drop)
    said = run(copy, sys.executable, "-c", CHAIN, str(drop), WAREHOUSE_URL=database, KHOCHUNG_HOME=str(home))
    out = json.loads(said.split("JSON")[1])
    assert "ingest_files_reform_index" in out["dags"]
    (passed, written), (_, again) = out["loads"]
    assert passed > 0
    assert (written, again) == (3, 0)
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select unit_name, year, score::text, rank, _origin from raw.reform_index order by rank"
        ).fetchall()
    assert rows == [
        ("Sở Nội vụ", 2024, "92.45", 1, "simulated"), ("Sở Tư pháp", 2024, "91.30", 2, "simulated"),
        ("Sở Tài chính", 2024, "90.00", 3, "simulated"),
    ]  # fmt: skip
    entry = json.loads(next((home / "landing").glob("*/*/manifest.json")).read_text())
    assert entry["tables"]["reform_index"]["announced"] == 3
    assert entry["tables"]["reform_index"]["undeclared"] == {"ghi chú (E)": 1}
    # By which the archived file is found, as the guide says; its name stands in its folder alone.
    (archived,) = (drop / "da-nhan").glob("*/*")
    _, sha, name = archived.name.split("_", 2)
    assert name == "PAR Index 2024.csv"
    assert re.fullmatch(rf"file of [\d/]{{10}} [\d:]{{8}} \(sha256 {sha}\)", entry["windows"][0]["window"])
    assert name not in json.dumps(entry)
    with psycopg.connect(vault.database_url) as connection:
        kinds = connection.execute("select kind, count(*) from quarantine group by 1").fetchall()
    assert kinds == [("undeclared", 2)]
    assert [p.name for p in drop.iterdir()] == ["da-nhan"]
