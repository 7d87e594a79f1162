"""Officers enter the warehouse of a server with psql, over TLS, by the steps of docs/access.md."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ops.settings import PROJECT
from tests.conftest import free_port
from tests.deploy.server import Server, docker, why_not


def test_the_officers_file_opens_a_port_of_postgresql_with_tls_and_nothing_else():
    added = yaml.safe_load((PROJECT / "docker" / "people.yml").read_text())
    assert set(added) == {"services", "networks"}
    assert added["networks"] == {"people": None}
    ((name, service),) = added["services"].items()
    assert name == "postgres"
    assert set(service) == {"ports", "volumes", "networks"}
    assert service["ports"] == ["${POSTGRES_BIND:-127.0.0.1:5432}:5432"]
    assert [v.rpartition("}")[2] for v in service["volumes"]] == [":/etc/postgresql-tls:ro"]
    command = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]["postgres"]["command"]
    assert "-cssl=${POSTGRES_SSL:-off}" in command
    for kind in ("cert_file=/etc/postgresql-tls/server.crt", "key_file=/etc/postgresql-tls/server.key"):
        assert f"-cssl_{kind}" in command


@pytest.fixture
def server() -> Iterator[tuple[Server, Path, str]]:
    if why := why_not():
        pytest.skip(why)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        tls = home / "tls"
        tls.mkdir()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost", "-keyout", tls / "server.key", "-out", tls / "server.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
        # PostgreSQL's user in its container, as the page says.
        docker("run", "--rm", "--user", "0", "--entrypoint", "chown", "-v", f"{tls}:/tls", "postgres:17-trixie", "999",
               "/tls/server.key")  # fmt: skip
        port = str(free_port())
        made = Server.create(
            home,
            "docker/people.yml",
            POSTGRES_BIND=f"127.0.0.1:{port}",
            POSTGRES_TLS=str(tls),
            POSTGRES_SSL="on",
        )
        try:
            made.compose("up", "-d", "postgres", "prepare")
            made.wait(
                lambda: any(
                    Server.part(c) == "prepare" and c["State"]["Status"] == "exited"
                    for c in made.containers()
                ),
                300,
            )
            yield made, tls / "server.crt", port
        finally:
            made.remove()


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_psql_enters_from_outside_over_tls_that_it_verified(server: tuple[Server, Path, str]) -> None:
    made, authority, port = server

    def psql(where: str) -> subprocess.CompletedProcess[str]:
        # From a container of its own, as from an officer's machine.
        question = "select current_user, ssl from pg_stat_ssl where pid = pg_backend_pid()"
        return subprocess.run(
            ["docker", "run", "--rm", "--network", "host", "-e", "PGPASSWORD", "-v", f"{authority}:/authority.crt:ro",
             "--entrypoint", "psql", "postgres:17-trixie", where, "-Atc", question],
            env={"PGPASSWORD": made.given["ANALYST_PASSWORD"], "PATH": os.environ["PATH"]},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    where = f"host=localhost port={port} user=khochung_analyst sslmode=verify-full sslrootcert=/authority.crt dbname="
    done = psql(where + "khochung")
    assert done.stdout.strip() == "khochung_analyst|t", done.stderr
    for database in ("khochung_vault", "khochung_airflow"):
        assert "permission denied for database" in psql(where + database).stderr
