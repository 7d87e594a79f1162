"""What a server of several containers needs of the code: logins made once, one builder at a time, health checks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ops import health, postgres, tasks
from ops.settings import PROJECT, Settings, SettingsError
from tests.conftest import Server, Vault, enters, wait_for


def settings(home: Path, **given: str) -> Settings:
    return Settings({"KHOCHUNG_HOME": str(home), **given}, dotenv=home / "no.env")


@pytest.fixture
def urls(server: Server, database: str) -> dict[str, str]:
    """The settings of an installation that has a server and nothing on it."""
    parts = urlsplit(server.admin)
    name = urlsplit(database).path.strip("/")

    def url(kind: str) -> str:
        return f"postgresql://{name}_{kind}:{kind}%2Fpassword@{parts.hostname}:{parts.port}/{name}_{kind}"

    return {
        "POSTGRES_ADMIN_URL": server.admin, "WAREHOUSE_URL": url("kho"), "AIRFLOW_DATABASE_URL": url("airflow"),
        "VAULT_DATABASE_URL": url("vault"),
    }  # fmt: skip


def test_prepare_makes_a_login_and_a_database_for_each_url_and_renews_passwords(urls, tmp_path):
    mine = [n for n in urls if n != "POSTGRES_ADMIN_URL"]
    for _ in ("the first time", "again"):
        postgres.prepare(settings(tmp_path, **urls))
        assert all(enters(urls[n]) for n in mine)
    crossed = urls["VAULT_DATABASE_URL"].rpartition("/")[2]
    assert not enters(urls["WAREHOUSE_URL"].rpartition("/")[0] + "/" + crossed), (
        "each database has its own login"
    )
    changed = {n: u.replace("%2Fpassword", "%2Fanother") if n in mine else u for n, u in urls.items()}
    postgres.prepare(settings(tmp_path, **changed))
    assert all(enters(changed[n]) for n in mine)
    assert not any(enters(urls[n]) for n in mine)


def test_a_url_without_a_login_is_named(urls, tmp_path):
    bare = urlsplit(urls["VAULT_DATABASE_URL"])
    given = {**urls, "VAULT_DATABASE_URL": f"postgresql://{bare.hostname}:{bare.port}{bare.path}"}
    with pytest.raises(SettingsError, match=bare.path.strip("/")):
        postgres.prepare(settings(tmp_path, **given))


def test_an_admin_who_cannot_enter_is_told_without_the_password(urls, tmp_path):
    wrong = urlsplit(urls["POSTGRES_ADMIN_URL"])
    url = f"postgresql://postgres:not-the-password@{wrong.hostname}:{wrong.port}/postgres"
    with pytest.raises(SettingsError, match="POSTGRES_ADMIN_URL") as told:
        postgres.prepare(settings(tmp_path, **{**urls, "POSTGRES_ADMIN_URL": url}))
    assert "not-the-password" not in str(told.value)


def test_programs_that_start_together_share_each_secret(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(PROJECT)!r}); from ops.settings import Settings; "
        "print(Settings().secret('airflow-jwt'))"
    )
    environment = {"KHOCHUNG_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    racing = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    said = {p.communicate()[0].strip() for p in racing}
    assert len(said) == 1
    assert len(said.pop()) > 40
    assert [p.name for p in (tmp_path / "secrets").iterdir()] == ["airflow-jwt"]


def test_a_secret_that_cannot_be_kept_says_so(tmp_path):
    (tmp_path / "secrets").write_text("a file where a folder should be")
    with pytest.raises(SettingsError, match=r"cannot make the secret sandbox-client .*KHOCHUNG_HOME"):
        settings(tmp_path).secret("sandbox-client")


def test_given_passwords_go_before_made_ones(tmp_path):
    given = settings(tmp_path, AIRFLOW_ADMIN_PASSWORD="from-the-operator", SANDBOX_CLIENT_SECRET="a/client")
    assert (given.admin_password, given.sandbox_secret) == ("from-the-operator", "a/client")
    assert not (tmp_path / "secrets").exists()
    assert len(settings(tmp_path).admin_password) > 40


def test_the_vaults_token_is_masked_wherever_it_lies(tmp_path):
    token = tmp_path / "elsewhere"
    token.write_text("token-of-the-vault\n")
    found = settings(tmp_path, VAULT_TOKEN_FILE=str(token))
    assert found.vault_token == "token-of-the-vault"
    assert "token-of-the-vault" in found.secrets_in_use()
    assert str(token) not in found.secrets_in_use(), "a path is no secret"


def test_airflow_on_several_machines_listens_and_is_called_by_name(tmp_path):
    apart = settings(
        tmp_path, KHOCHUNG_AIRFLOW_URL="http://airflow-api-server:8080/", KHOCHUNG_AIRFLOW_PORT="8080",
        WAREHOUSE_URL="postgresql://postgres/kho", AIRFLOW__API__BASE_URL="https://airflow.example.gov.vn",
    ).airflow_env()  # fmt: skip
    assert apart["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://airflow-api-server:8080/execution/"
    assert apart["AIRFLOW__API__HOST"] == "0.0.0.0"  # noqa: S104
    assert apart["AIRFLOW__API__BASE_URL"] == "https://airflow.example.gov.vn"
    alone = settings(tmp_path, KHOCHUNG_AIRFLOW_PORT="8080").airflow_env()
    assert alone["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert alone["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:8080"


# --- one at a time, on whichever machine -------------------------------------------------------------

HOLD = (
    "import sys, pathlib; from ops import tasks; from ops.settings import Settings\n"
    "with tasks.one_at_a_time(Settings(), sys.argv[1]):\n"
    "    print('holding', flush=True); sys.stdin.read()"
)


def hold(url: str, home: Path, name: str) -> subprocess.Popen:
    """A process of another machine, as far as files go: it has a home of its own."""
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, name], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": url, "PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.mark.parametrize("ending", [signal.SIGKILL, None], ids=["killed", "finished"])
def test_the_next_builder_waits_for_the_first_to_end(database, tmp_path, ending):
    first = hold(database, tmp_path / "one", "build")
    assert first.stdout
    assert first.stdout.readline() == "holding\n"
    entered = threading.Event()

    def second() -> None:
        with tasks.one_at_a_time(settings(tmp_path, WAREHOUSE_URL=database), "build"):
            entered.set()

    waiting = threading.Thread(target=second)
    waiting.start()
    try:
        # Another name is another lock, and shows that entering takes no time.
        with tasks.one_at_a_time(settings(tmp_path, WAREHOUSE_URL=database), "publish"):
            assert not entered.wait(1)
    finally:
        if ending:
            first.send_signal(ending)
        else:
            first.communicate("")
        first.wait(20)
        waiting.join(20)
    assert entered.is_set()


# --- health checks -----------------------------------------------------------------------------------


def test_a_health_check_imports_next_to_nothing():
    heavy = {"requests", "httpx", "pyarrow", "psycopg", "celery"}
    code = f"import sys, ops.health; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_vault_is_healthy_while_it_answers(vault: Vault, tmp_path):
    found = settings(
        tmp_path, VAULT_SOCKET=str(vault.client.socket), VAULT_TOKEN_FILE=str(vault.home / "token")
    )
    assert health.vault(found)
    wrong = tmp_path / "wrong"
    wrong.write_text("another-token")
    assert not health.vault(
        settings(tmp_path, VAULT_SOCKET=str(vault.client.socket), VAULT_TOKEN_FILE=str(wrong))
    )
    assert not health.vault(settings(tmp_path, VAULT_SOCKET=str(vault.client.socket))), "no token yet"
    vault.process.send_signal(signal.SIGKILL)
    vault.process.wait()
    assert not health.vault(found)


def test_airflows_parts_are_judged_by_their_heartbeats(tmp_path):
    said: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if said else 500)
            self.end_headers()
            self.wfile.write(said.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = settings(tmp_path, KHOCHUNG_AIRFLOW_URL=f"http://127.0.0.1:{server.server_port}")
    parts = ("api-server", "scheduler", "dag-processor", "triggerer")

    def healthy() -> list[bool]:
        return [health.airflow(p)(found) for p in parts]

    assert healthy() == [False] * 4
    heard = {
        "scheduler": {"status": "healthy"},
        "dag_processor": {"status": "unhealthy"},
        "triggerer": {"status": None},
    }
    said["/api/v2/monitor/health"] = json.dumps(heard).encode()
    assert healthy() == [True, True, False, False]
    said["/api/v2/monitor/health"] = b"<html>"
    assert healthy() == [True, False, False, False]
    server.shutdown()
    server.server_close()
    wait_for(lambda: healthy() == [False] * 4, 20)
