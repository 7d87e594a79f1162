"""A province's server brought up from docker-compose.yml, driven by the commands of docs/deploy.md."""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from ops.settings import PROJECT
from tests.conftest import free_port

#: What an operator must give; compose refuses to start without.
PASSWORDS = (
    "POSTGRES_PASSWORD", "WAREHOUSE_PASSWORD", "AIRFLOW_DB_PASSWORD", "VAULT_DB_PASSWORD", "BROKER_PASSWORD",
    "AIRFLOW_ADMIN_PASSWORD", "LOADER_PASSWORD", "DBT_PASSWORD", "PUBLISHER_PASSWORD", "NATIONAL_PASSWORD",
    "ANALYST_PASSWORD", "AUDITOR_PASSWORD",
)  # fmt: skip
#: What the image is built on, and the images of others.
IMAGES = ("python:3.11-slim-bookworm", "postgres:17-trixie", "valkey/valkey:8.1", "nginx:1.28")


@functools.cache
def compose_command() -> list[str] | None:
    """Words of Compose v2 or v1, whichever is installed."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]):
            done = subprocess.run([*words, "version"], capture_output=True, check=False)
            if done.returncode == 0:
                return words
    return None


def docker(*words: str, check: bool = True) -> str:
    """Output of the docker command."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"docker {' '.join(words)}: {done.stderr[-2000:]}"
    return done.stdout


def why_not() -> str:
    """Why nothing can be brought up here; empty if it can."""
    if compose_command() is None:
        return "neither docker compose nor docker-compose is installed"
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "no docker engine answers"
    for image in IMAGES:
        if not docker("image", "ls", "-q", image).strip():
            pull = subprocess.run(
                ["docker", "pull", "-q", image], capture_output=True, text=True, check=False
            )
            if pull.returncode:
                return f"the image {image} is not here and cannot be pulled"
    return ""


@dataclass(frozen=True)
class Server:
    """One project of containers, its volumes and its two published ports."""

    name: str
    env_file: Path
    given: dict[str, str]
    files: tuple[str, ...] = ("docker-compose.yml",)

    @classmethod
    def create(cls, folder: Path, *files: str, **settings: str) -> Server:
        """`files` beside docker-compose.yml, and further `settings`."""
        given = {n: secrets.token_hex(24) for n in (*PASSWORDS, "SANDBOX_CLIENT_SECRET")}
        ports = {"AIRFLOW_BIND": f"127.0.0.1:{free_port()}", "SITE_BIND": f"127.0.0.1:{free_port()}"}
        env_file = folder / "env"
        env_file.write_text(
            "".join(f"{k}={v}\n" for k, v in {**given, **ports, "KHOCHUNG_SANDBOX": "1", **settings}.items())
        )
        names = ("docker-compose.yml", *files)
        return cls(f"khochung{secrets.token_hex(3)}", env_file, {**given, **ports, **settings}, names)

    def compose(self, *words: str, check: bool = True) -> str:
        command = compose_command()
        assert command
        done = subprocess.run(
            [*command, *(w for f in self.files for w in ("-f", f)), "-p", self.name, "--env-file", str(self.env_file),
             "--profile", "demo", *words],
            cwd=PROJECT, capture_output=True, text=True, check=False,
            env={k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "DOCKER_HOST", "BUILD_NETWORK")},
        )  # fmt: skip
        assert done.returncode == 0 or not check, (
            f"{' '.join(words)}: {done.stdout[-1500:]} {done.stderr[-3000:]}"
        )
        return done.stdout

    def up(self) -> None:
        self.compose("up", "-d")
        self.wait(lambda: not self.unwell(), 600)

    def remove(self, *but: str) -> None:
        """End everything; volumes go too, except those named."""
        self.compose("down", check=False)
        prefix = f"{self.name}_"
        for volume in docker("volume", "ls", "-q", "--filter", f"name={prefix}").split():
            if volume.startswith(prefix) and volume.removeprefix(prefix) not in but:
                docker("volume", "rm", volume)

    def containers(self) -> list[dict[str, Any]]:
        """What docker knows of each container of this project, ended ones too."""
        ids = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.name}").split()
        return json.loads(docker("inspect", *ids)) if ids else []

    @staticmethod
    def part(container: dict[str, Any]) -> str:
        return container["Config"]["Labels"]["com.docker.compose.service"]

    def unwell(self) -> list[str]:
        """Parts that are not healthy; `prepare` ended well is healthy."""
        return [
            f"{self.part(c)}: {c['State']['Status']} {c['State'].get('Health', {}).get('Status', '')}"
            for c in self.containers()
            if c["State"].get("Health", {}).get("Status") != "healthy"
            and not (
                self.part(c) == "prepare" and c["State"]["Status"] == "exited" and not c["State"]["ExitCode"]
            )
        ]

    def wait(self, what: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, f"not reached within {seconds:.0f} s; unwell: {self.unwell()}"
            time.sleep(1)

    def rows(self, query: str, database: str = "khochung") -> list[tuple[Any, ...]]:
        """Rows of one of the server's databases."""
        said = self.compose(
            "exec", "-T", "-e", f"PGPASSWORD={self.given['POSTGRES_PASSWORD']}", "postgres", "psql", "-h", "127.0.0.1",
            "-U", "postgres", "-d", database, "-Atqc", f"select coalesce(json_agg(q), '[]') from ({query}) q",
        )  # fmt: skip
        return [tuple(r.values()) for r in json.loads(said)]

    def run(self, dag_id: str, period: str) -> str:
        """Ask for a run of a DAG, again if the scheduler is just coming back; the run's id."""
        run_id = f"asked-{secrets.token_hex(4)}"
        conf = json.dumps({"period": period})
        words = (
            "exec",
            "-T",
            "airflow-scheduler",
            "python",
            "-m",
            "ops",
            "airflow",
            "dags",
            "trigger",
            dag_id,
        )

        def asked() -> bool:
            self.compose(*words, "--run-id", run_id, "--conf", conf, check=False)
            return bool(self.states(f"select 1 as x from dag_run where run_id = '{run_id}'"))

        self.wait(asked, 300)
        return run_id

    def states(self, query: str) -> list[tuple[Any, ...]]:
        return self.rows(query, "khochung_airflow")

    def page(self, path: str) -> requests.Response:
        answer = requests.get(f"http://{self.given['SITE_BIND']}{path}", timeout=10)
        answer.encoding = "utf-8"
        return answer
