"""The newcomer's test: clone into an empty folder, empty environment, the README's two commands."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ops.settings import PROJECT

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]


def test_the_two_commands_work_in_a_clean_clone_with_an_empty_environment(tmp_path: Path) -> None:
    clone = tmp_path / "kho-chung"
    subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone)], check=True)
    # A home, because package installers keep their cache there; nothing else.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    subprocess.run(["make", "run"], cwd=clone, env=environment, check=True)
    summary = json.loads((clone / "var" / "run-summary.json").read_text())
    assert summary["succeeded"]
    assert summary["period"] == "2025-06-16/2025-07-15"
    assert (clone / "var" / "open-data" / "current" / "index.html").exists()
    tested = subprocess.run(
        ["make", "test"], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout[-4000:] + tested.stderr[-2000:]
    assert " passed" in tested.stdout
    subprocess.run(["make", "down"], cwd=clone, env=environment, check=True)
    left = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert left.stdout == "", "the commands changed tracked files or left untracked ones"
