"""The rooms of the architecture: who may import whom, read from the code itself."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.settings import PROJECT

ROOMS = ("connectors", "vault", "landing", "expectations", "opendata", "national", "ops", "dags", "sandbox")
#: Rooms each room may enter, apart from itself. `ops` is where the rooms meet (ops.tasks composes the hand-overs);
#: a DAG file enters them only inside a task.
NEIGHBOURS = {
    "connectors": set(),
    "vault": set(),
    "landing": set(),
    # The landing suite is derived from the contracts, which are declared once.
    "expectations": {"connectors"},
    "opendata": set(),
    # Clear values are given to it by whoever composes it (ops).
    "national": {"connectors"},
    "ops": {"connectors", "vault", "landing", "expectations", "opendata", "national"},
    "dags": {"ops", "connectors", "expectations", "opendata", "national"},
    "sandbox": set(),
}
#: Libraries a room must never meet, also not inside a function.
NEVER = {
    "connectors": {
        "airflow",
        "psycopg",
        "adbc_driver_postgresql",
        "adbc_driver_manager",
        "dbt",
        "sqlalchemy",
    },
    "vault": {"airflow", "dbt", "great_expectations", "requests"},
    "landing": {"airflow", "requests", "httpx", "dbt", "great_expectations"},
    "expectations": {"airflow", "dbt", "requests"},
    "opendata": {"airflow", "dbt", "great_expectations", "requests"},
    "national": {"airflow", "dbt", "great_expectations", "pyarrow"},
    "ops": {"great_expectations"},  # the gates own it
    "dags": {"dbt", "great_expectations", "pyarrow", "psycopg", "requests", "adbc_driver_postgresql"},
    "sandbox": {"airflow", "dbt", "great_expectations", "psycopg", "adbc_driver_postgresql", "requests"},
}
#: At the top level of a DAG file, read by Airflow every half minute: words only.
LIGHT = {"airflow.sdk", "wiring", "ops.settings", "ops.sources"}


def modules(room: str) -> list[Path]:
    return sorted((PROJECT / room).rglob("*.py"))


def imports(path: Path, top_only: bool = False) -> Iterator[str]:
    """Full names of imported modules; those for type checking alone count as well."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which room is entered"
            module = node.module or ""
            # ``from ops import tasks`` enters ops.tasks.
            whole = module in ROOMS
            yield from (f"{module}.{a.name}" for a in node.names) if whole else (module,)


def entered(names: Iterator[str] | set[str]) -> set[str]:
    return {n.partition(".")[0] for n in names}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_enters_only_its_neighbours(room):
    found = modules(room)
    assert len(found) >= 3, f"{room} is empty, so this would prove nothing"
    for path in found:
        others = entered(imports(path)) & {*ROOMS, "tests", "benchmarks"} - {room}
        assert others <= NEIGHBOURS[room], (
            f"{path.relative_to(PROJECT)} enters {sorted(others - NEIGHBOURS[room])}"
        )


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_never_meets_what_is_not_its_job(room):
    for path in modules(room):
        met = entered(imports(path)) & NEVER[room]
        assert not met, f"{path.relative_to(PROJECT)} imports {sorted(met)}"


def test_dbt_is_imported_by_its_own_process_alone():
    importing = {
        str(p.relative_to(PROJECT)) for r in ROOMS for p in modules(r) if "dbt" in entered(imports(p))
    }
    assert importing == {"ops/dbt.py"}
    assert "dbt" not in entered(imports(PROJECT / "ops" / "dbt.py", top_only=True)), "tasks read a name of it"


def test_nobody_imports_the_sandbox():
    for room in set(ROOMS) - {"sandbox"}:
        for path in modules(room):
            assert "sandbox" not in entered(imports(path)), path


def test_only_the_wiring_and_the_runner_know_airflow():
    knowing = {
        str(path.relative_to(PROJECT))
        for room in set(ROOMS) - {"dags"}
        for path in modules(room)
        if "airflow" in entered(imports(path))
    }
    # `make run` executes the DAGs in its own process.
    assert knowing <= {"ops/run.py"}


@pytest.mark.parametrize("path", modules("dags"), ids=lambda p: p.name)
def test_a_dag_file_imports_nothing_heavy_when_it_is_read(path):
    for name in imports(path, top_only=True):
        light = name in LIGHT or name.partition(".")[0] in sys.stdlib_module_names
        assert light, f"{path.name} imports {name} at its top level"


def test_reading_settings_and_sources_stays_light():
    """What a DAG file may import must itself not pull in what it may not."""
    import subprocess

    code = (
        "import sys, ops.settings, ops.sources\n"
        "heavy = {'dbt', 'great_expectations', 'pandas', 'psycopg', 'adbc_driver_postgresql', 'sandbox', 'fastapi'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_check_sees_imports_inside_functions(tmp_path):
    path = tmp_path / "m.py"
    path.write_text("import os\ndef f():\n    from ops import tasks\n    import sandbox.people\n")
    assert set(imports(path)) == {"os", "ops.tasks", "sandbox.people"}
    assert set(imports(path, top_only=True)) == {"os"}


def test_every_folder_of_code_is_a_known_room():
    folders = {p.parent.relative_to(PROJECT).parts[0] for p in PROJECT.glob("*/*.py")}
    assert folders <= {*ROOMS, "tests", "benchmarks"}, folders
