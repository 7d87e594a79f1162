"""A province's own server: the main job against PostgreSQL 15 by WAREHOUSE_URL, nothing embedded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ops import postgres as embedded
from tests.conftest import free_port, stop, wait_for
from tests.e2e.installation import Installation

BINARIES = Path("/usr/lib/postgresql/15/bin")
pytestmark = [
    pytest.mark.prove,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not BINARIES.exists(), reason="PostgreSQL 15 is not installed (apt-get install postgresql-15)"
    ),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pg15")
    folder.chmod(0o777)
    for parent in list(folder.parents)[:2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    data, port = folder / "data", free_port()

    def program(name: str, *words: str) -> list[str]:
        line = embedded.command(name, *words)
        return [w.replace(str(embedded._BIN), str(BINARIES)) for w in line]

    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    secret = folder / "pw"
    secret.write_text("province-secret")
    secret.chmod(0o644)
    subprocess.run(
        program("initdb", f"--pgdata={data}", "--username=kho", f"--pwfile={secret}", "--auth=scram-sha-256",
                "--encoding=UTF8", "--locale=C.UTF-8"),
        check=True, capture_output=True, env=environment, cwd="/",
    )  # fmt: skip
    words = ("-D", str(data), "-p", str(port), "-c", "unix_socket_directories=", "-c", "fsync=off")
    process = subprocess.Popen(
        program("postgres", *words), env=environment, cwd="/", stderr=subprocess.DEVNULL
    )
    server = f"postgresql://kho:province-secret@127.0.0.1:{port}"
    wait_for(lambda: embedded.ready(f"{server}/postgres"))
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("create database kho")
    yield f"{server}/kho"
    stop(process)


def test_the_main_job_runs_on_a_given_server(url: str, tmp_path: Path) -> None:
    installation = Installation.create(tmp_path / "home", WAREHOUSE_URL=url)
    try:
        said = installation.ops("run", "--period", "2025-06-30/2025-07-01")
    finally:
        installation.ops("down", check=False)
    assert "province-secret" not in said
    assert not (installation.home / "postgres").exists(), "nothing embedded was started"
    release = installation.release()
    assert release is not None
    assert len(release["datasets"]) >= 10
    with psycopg.connect(url) as connection:
        version = connection.execute("show server_version").fetchone()
        merged = connection.execute(
            "select count(*), count(distinct dossier_key) from marts.fct_dossier where received_date "
            "between '2025-06-01' and '2025-07-02'"
        ).fetchone()
    assert version
    assert version[0].startswith("15")
    assert merged
    assert merged[0] == merged[1] > 1000
    summary = installation.summary()
    assert summary["succeeded"]
    for step in summary["steps"]:
        if step["step"] == "pull" and step["status"] == "success":
            for name, t in step["tables"].items():
                if t["announced"] != "unknown":
                    assert t["announced"] == t["landed"] + t["rejected"] + t["duplicates"], name


def test_a_wrong_address_is_one_clear_message(tmp_path: Path) -> None:
    installation = Installation.create(
        tmp_path / "home", WAREHOUSE_URL=f"postgresql://kho:a-long-secret@127.0.0.1:{free_port()}/kho"
    )
    said = installation.ops("url", check=False)
    installation.ops("down", check=False)
    assert "WAREHOUSE_URL" in said
    assert "could not enter" in said
    assert "a-long-secret" not in said
    assert "Traceback" not in said
