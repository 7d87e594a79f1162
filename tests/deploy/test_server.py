"""The compose file brought up for real: the main job, a killed worker, PostgreSQL away, secrets, rights.

Needs a docker engine and the images, from a registry or made beforehand; `BUILD_NETWORK=host` builds over the
machine's own network.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.deploy.server import Server, docker, why_not
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]
PERIOD = "2025-06-30/2025-07-01"
DOSSIERS = ("igate_tien_giang", "opencps_dong_thap", "igate_dong_thap")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if reason := why_not():
        pytest.skip(reason)
    made = Server.create(tmp_path_factory.mktemp("server"))
    try:
        made.compose("build", "prepare")
        made.up()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def undisturbed(server: Server) -> dict[str, str]:
    """Checksums of the warehouse after the main job, with nothing in its way."""
    known(server)
    runs = {source: server.run(f"ingest_dossiers_{source}", PERIOD) for source in DOSSIERS}
    finish(server, runs)
    return content(server)


def known(server: Server) -> None:
    """Wait until the scheduler knows the DAGs; it begins by itself with the newest day of each source."""
    wanted = ", ".join(f"'ingest_dossiers_{s}'" for s in DOSSIERS)
    server.wait(lambda: len(server.states(f"select dag_id from dag where dag_id in ({wanted})")) == 3, 300)


def finish(server: Server, runs: dict[str, str]) -> None:
    """Wait until the runs asked for are done, and everything they rang for."""
    wanted = "', '".join(runs.values())
    server.wait(
        lambda: (
            {("success",)}
            == set(server.states(f"select distinct state from dag_run where run_id in ('{wanted}')"))
        ),
        1200,
    )
    server.wait(
        lambda: (
            server.page("/releases/000001/").ok
            and not server.states("select 1 as x from dag_run where state in ('queued', 'running')")
        ),
        1200,
    )


def content(server: Server) -> dict[str, str]:
    found = Installation.checksums(server)  # type: ignore[arg-type]
    assert len([t for t in found if t.startswith("raw.")]) > 5
    assert server.rows("select count(*) as n from marts.fct_dossier")[0][0] > 1000
    return found


def test_every_part_becomes_healthy(server: Server) -> None:
    assert server.unwell() == []
    parts = sorted(server.part(c) for c in server.containers())
    assert parts.count("airflow-worker") == 2
    assert len(parts) == 13


def test_nobody_is_root_and_no_root_can_be_written(server: Server) -> None:
    for container in server.containers():
        part = server.part(container)
        assert container["HostConfig"]["ReadonlyRootfs"], part
        assert container["HostConfig"]["CapDrop"] == ["ALL"], part
        assert container["HostConfig"]["Memory"] > 0, part
        if part == "prepare":
            continue
        top = docker("top", container["Id"], "-eo", "pid,uid,comm").splitlines()[1:]
        assert top
        assert {line.split()[1] for line in top} <= {"10001", "999", "101"}, part
        for place in ("/etc/x", "/usr/x", "/opt/x", "/root/x"):
            said = docker("exec", container["Id"], "sh", "-c", f"touch {place} 2>&1; true")
            assert "Read-only file system" in said or "Permission denied" in said, f"{part} {place}"


def test_what_lies_on_the_volumes_belongs_to_nobody_else(server: Server) -> None:
    mine = {"airflow-worker": "10001", "vault": "10001", "postgres": "999", "broker": "999"}
    for container in server.containers():
        part = server.part(container)
        for mount in container["Mounts"] if part in mine else ():
            if mount["Type"] == "volume":
                left = docker("exec", container["Id"], "find", mount["Destination"], "!", "-user", mine[part])
                assert left == "", f"{part} {mount['Destination']}"


def test_secrets_are_where_they_are_needed_and_nowhere_else(
    server: Server, undisturbed: dict[str, str]
) -> None:
    def script(part: str, text: str) -> str:
        return server.compose("exec", "-T", part, "python", "-c", text)

    made = json.loads(
        script(
            "airflow-scheduler",
            "import json, pathlib; print(json.dumps({p.name: p.read_text().strip() for p in "
            "pathlib.Path('/var/lib/kho-chung/secrets').iterdir()}))",
        )
    )
    assert {"airflow-fernet", "airflow-jwt", "airflow-api", "airflow-login"} <= set(made)
    made["vault token"] = script("vault", "print(open('/run/vault/token').read().strip())").strip()
    for key in ("token", "encryption"):
        read = f"print(open('/var/lib/vault/keys/{key}.key', 'rb').read().hex())"
        made[f"{key} key"] = script("vault", read).strip()
    assert script("airflow-worker", "import os; print(os.listdir('/var/lib/vault'))").strip() == "[]"
    airflow = {f"airflow-{n}" for n in ("api-server", "scheduler", "dag-processor", "triggerer", "worker")}
    allowed = {
        "POSTGRES_PASSWORD": {"postgres", "prepare"},
        "WAREHOUSE_PASSWORD": {"prepare"},
        "LOADER_PASSWORD": {"prepare", "airflow-worker", "watchdog"},
        "DBT_PASSWORD": {"prepare", "airflow-worker"},
        "PUBLISHER_PASSWORD": {"prepare", "airflow-worker"},
        "NATIONAL_PASSWORD": {"prepare", "airflow-worker"},
        "ANALYST_PASSWORD": {"prepare"},
        "AUDITOR_PASSWORD": {"prepare"},
        "VAULT_DB_PASSWORD": {"prepare", "vault"},
        "AIRFLOW_DB_PASSWORD": {"prepare"} | airflow,
        "BROKER_PASSWORD": {"prepare", "broker"} | airflow,
        "AIRFLOW_ADMIN_PASSWORD": {"prepare"},
        "SANDBOX_CLIENT_SECRET": {"sandbox", "airflow-worker"},
    }
    known = {name: set[str]() for name in allowed}
    for container in server.containers():
        part, told = server.part(container), json.dumps(container)
        log = docker("logs", container["Id"])
        for name, secret in made.items():
            assert secret not in told, f"docker inspect shows {name} of {part}"
            assert secret not in log, f"the log of {part} shows {name}"
        for name in allowed:
            assert server.given[name] not in log, f"the log of {part} shows {name}"
            if server.given[name] in told:
                known[name].add(part)
    assert known == allowed
    logs = script(
        "airflow-scheduler",
        "import pathlib; print(*[p.read_text(errors='replace') for f in ('airflow', 'outcomes', 'dbt') for p in "
        "pathlib.Path('/var/lib/kho-chung', f).rglob('*') if p.is_file() and p.suffix in ('.log', '.json')])",
    )
    assert len(logs) > 10_000
    for name, secret in {**made, **{n: server.given[n] for n in allowed}}.items():
        assert secret not in logs, f"{name} stands in a task's log"


def test_a_release_of_the_main_job_is_served(server: Server, undisturbed: dict[str, str]) -> None:
    home = server.page("/")
    assert home.ok
    assert "DỮ LIỆU MÔ PHỎNG" in home.text
    assert home.headers["Content-Security-Policy"] == "frame-ancestors 'none'; base-uri 'none'"
    now, first = server.page("/release.json"), server.page("/releases/000001/release.json")
    assert now.json() == first.json()
    table = next(t for d in now.json()["datasets"] for t in d["tables"])
    for file in table["files"]:
        dataset = server.page("/" + file["path"])
        assert dataset.ok, file
        assert len(dataset.content) == file["bytes"]
    assert server.page("/releases/.building-1/").status_code == 404
    assert 'href="000001/"' in server.page("/releases/").text


def test_both_workers_take_part(server: Server, undisturbed: dict[str, str]) -> None:
    hosts = server.states("select distinct hostname from task_instance where state = 'success'")
    workers = {c["Config"]["Hostname"] for c in server.containers() if server.part(c) == "airflow-worker"}
    assert {h for (h,) in hosts} == workers


def test_postgresql_away_for_a_while_needs_no_hand(server: Server, undisturbed: dict[str, str]) -> None:
    server.compose("stop", "postgres")
    # Long enough for Airflow's programs to give up.
    time.sleep(15)
    server.compose("start", "postgres")
    finish(server, {"igate_tien_giang": server.run("ingest_dossiers_igate_tien_giang", PERIOD)})
    assert content(server) == undisturbed, "the same interval again changes nothing"
    server.wait(lambda: not server.unwell(), 600)


def test_a_worker_killed_during_the_pull_changes_nothing(server: Server, undisturbed: dict[str, str]) -> None:
    # From nothing again, but under the same keys, so that the same person has the same token.
    server.remove("vault-keys")
    server.up()
    known(server)
    source = "igate_tien_giang"
    runs = {source: server.run(f"ingest_dossiers_{source}", PERIOD)}
    pulling = (
        "select hostname, try_number, state from task_instance where task_id = 'pull' "
        f"and run_id = '{runs[source]}'"
    )
    victim = ""

    def in_the_middle() -> bool:
        nonlocal victim
        for host, _, state in server.states(pulling):
            begun = f"ls -d /var/lib/kho-chung/landing/{source}/.building-*"
            if state == "running" and docker("exec", host, "sh", "-c", begun, check=False):
                victim = host
        return bool(victim)

    server.wait(in_the_middle, 120)
    docker("kill", victim)
    runs |= {s: server.run(f"ingest_dossiers_{s}", PERIOD) for s in DOSSIERS if s != source}
    finish(server, runs)
    ((host, tries, state),) = server.states(pulling)
    assert (tries, state) == (2, "success")
    assert host != victim, "the other worker took it over"
    assert content(server) == undisturbed
    batches = server.rows(f"select count(*) as n from ops.load_log where source_code = '{source}'")
    assert batches == [(1,)], "the half batch of the killed worker was never seen"
    docker("start", victim)
    server.wait(lambda: not server.unwell(), 120)
