"""SIGKILL during landing, loading, dbt and publishing, then a retry: the same content as an undisturbed run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.e2e.installation import Installation

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1800)]
PERIOD = "2025-06-30/2025-07-01"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation.create(tmp_path_factory.mktemp("calm"))
    try:
        installation.ops("run", "--period", PERIOD)
        installation.ops("url")
        yield installation
    finally:
        installation.ops("down", check=False)


def landing_has_begun(i: Installation) -> bool:
    return any((i.home / "landing" / "igate_tien_giang").glob(".building-*/*.parquet"))


def a_load_is_running(i: Installation) -> bool:
    try:
        return bool(
            i.rows(
                "select 1 from pg_stat_activity where pid <> pg_backend_pid() and state <> 'idle' "
                "and (query ilike '%insert into \"raw\".%' or query ilike 'copy %')"
            )
        )
    except psycopg.Error:
        return False


def dbt_is_building(i: Installation) -> bool:
    try:
        return bool(
            i.rows("select 1 from pg_stat_activity where application_name = 'dbt' and state <> 'idle'")
        )
    except psycopg.Error:
        return False


def a_release_is_being_built(i: Installation) -> bool:
    return any((i.home / "open-data" / "releases").glob(".building-*"))


@pytest.mark.parametrize(
    "moment", [landing_has_begun, a_load_is_running, dbt_is_building, a_release_is_being_built]
)
def test_a_run_killed_and_repeated_ends_like_an_undisturbed_one(
    moment: Callable[[Installation], bool], undisturbed: Installation, tmp_path: Path
) -> None:
    installation = Installation.create(tmp_path / "killed")
    try:
        process = installation.start("run", "--period", PERIOD)
        deadline = time.monotonic() + 600
        while not moment(installation):
            if process.poll() is not None:
                said = process.stdout.read() if process.stdout else ""
                pytest.fail(f"the run ended before {moment.__name__} was seen: {said[-2500:]}")
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert installation.release() is None, "nothing half-done is visible"
        installation.ops("run", "--period", PERIOD)
        installation.ops("url")
        assert installation.checksums() == undisturbed.checksums()
        assert not list((installation.home / "open-data" / "releases").glob(".building-*"))
    finally:
        installation.ops("down", check=False)


def test_a_second_run_doubles_nothing_and_rewrites_nothing(undisturbed: Installation) -> None:
    before = undisturbed.checksums()
    versions = "select count(*), sum(xmin::text::bigint) from raw.dossier"
    rows = undisturbed.rows(versions)
    releases = sorted(p.name for p in (undisturbed.home / "open-data" / "releases").iterdir())
    undisturbed.ops("run", "--period", PERIOD)
    assert undisturbed.checksums() == before
    assert undisturbed.rows(versions) == rows, "an unchanged dossier was rewritten"
    assert sorted(p.name for p in (undisturbed.home / "open-data" / "releases").iterdir()) == releases
    for step in undisturbed.summary()["steps"]:
        if step["step"] == "load":
            assert all(t["inserted"] == t["updated"] == t["removed"] == 0 for t in step["tables"].values())


def test_two_runs_begun_at_once_from_nothing_end_like_one(undisturbed: Installation, tmp_path: Path) -> None:
    installation = Installation.create(tmp_path / "two")
    try:
        said = []
        for process in [installation.start("run", "--period", PERIOD) for _ in range(2)]:
            said.append(process.communicate()[0])
            assert process.returncode == 0, said[-1][-2500:]
        (waited,) = [s for s in said if "another run is under way" in s]
        assert "wrote 0 rows" in waited
        assert "Release 000001" in "".join(said)
        assert "Release 000002" not in "".join(said)
        installation.ops("url")
        assert installation.checksums() == undisturbed.checksums()
    finally:
        installation.ops("down", check=False)
