"""What all tests share: a real PostgreSQL, the vault, and the sandbox, each started once a session.

Everything lives in a temporary home, apart from whatever runs on this machine.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import requests

from ops import postgres as embedded
from ops.settings import PROJECT, Settings, free
from vault.audit import AUDIT_TOKEN
from vault.client import VaultClient

CLIENT_ID, CLIENT_SECRET = "kho-chung", "sandbox-secret-of-the-tests"
_numbers = itertools.count(1)
#: They take longest, much of it waiting: begun last, they would run on alone.
_LONG = ("test_scheduler", "test_leaks", "test_handles")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; otherwise the order stays."""
    items.sort(key=lambda i: i.path.stem not in _LONG)


#: Below what a system gives to outgoing connections, and a range for each worker: a port that was free when it was
#: asked for is still so when its program starts.
_ports = itertools.count(
    20000 + 3000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) + os.getpid() % 2000
)


def free_port(in_a_row: int = 1) -> int:
    """A port nobody listens on, the first of `in_a_row`; never the same twice."""
    while True:
        found = [next(_ports) for _ in range(in_a_row)]
        if all(free(port) for port in found):
            return found[0]


def wait_for(what, timeout: float = 60.0) -> None:  # type: ignore[no-untyped-def]
    """Poll until `what()` is true; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < deadline, f"not reached within {timeout} s"
        time.sleep(0.1)


def stop(process: subprocess.Popen) -> None:
    """End a child process, by force if need be."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def enters(url: str) -> bool:
    """Whether a login is let into its database."""
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@dataclass(frozen=True)
class Server:
    """The session's PostgreSQL: its settings, and databases for the asking."""

    settings: Settings

    @property
    def admin(self) -> str:
        return embedded.admin_url(self.settings)

    def new_database(self) -> str:
        name = f"test_{next(_numbers)}_{os.getpid()}"
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(f"create database {name} template template0")
        return urlunsplit(urlsplit(self.admin)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    home = Path(tempfile.mkdtemp(prefix="kho-chung-test-"))
    home.chmod(0o755)
    settings = Settings(
        {"KHOCHUNG_HOME": str(home), "KHOCHUNG_POSTGRES_PORT": str(free_port()), "PATH": os.environ["PATH"]},
        dotenv=home / "no.env",
    )
    embedded.create_cluster(settings)
    log = (home / "postgres.log").open("w")
    process = subprocess.Popen(
        [*embedded.serve(settings), "-c", "fsync=off"],
        cwd="/", stdout=log, stderr=log, env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    try:
        wait_for(lambda: embedded.ready(embedded.admin_url(settings)))
        yield Server(settings)
    finally:
        stop(process)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def database(server: Server) -> str:
    """URL of a fresh, empty database."""
    return server.new_database()


@dataclass(frozen=True)
class Vault:
    """A running vault: its client and where its own database and files are."""

    client: VaultClient
    database_url: str
    home: Path
    process: subprocess.Popen
    environment: dict[str, str]

    @property
    def auditor(self) -> VaultClient:
        """Who may ask about the audit."""
        return VaultClient(self.client.socket, (self.home / "keys" / AUDIT_TOKEN).read_text())


def start_vault(database_url: str, home: Path, **settings: str) -> Vault:
    """A vault process over `database_url` with its keys below `home`, and further `settings`."""
    socket_folder = Path(tempfile.mkdtemp(prefix="kcv-"))  # a unix socket's path must be short
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT),
        "VAULT_DATABASE_URL": database_url,
        "VAULT_SOCKET": str(socket_folder / "v.sock"),
        "VAULT_KEYS": str(home / "keys"),
        "VAULT_TOKEN_FILE": str(home / "token"),
        "VAULT_AGREEMENTS": str(home / "agreements"),
        **settings,
    }
    process = subprocess.Popen([sys.executable, "-m", "vault"], env=environment, cwd=PROJECT)
    wait_for(lambda: (socket_folder / "v.sock").exists() or process.poll() is not None)
    assert process.poll() is None, "the vault did not start"
    client = VaultClient(socket_folder / "v.sock", (home / "token").read_text())
    client.health()
    return Vault(client, database_url, home, process, environment)


@contextmanager
def unguarded(database_url: str) -> Iterator[psycopg.Connection]:
    """The audit without its triggers, as the owner of its table can have it; the vault does not know."""
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table audit disable trigger user")
        yield connection
        connection.execute("alter table audit enable trigger user")


def forget_readings(database_url: str) -> None:
    """As if nobody had read anything yet."""
    with unguarded(database_url) as connection:
        connection.execute("delete from audit")
        connection.execute("delete from meta where name = 'audit_head'")


def a_day_later(database_url: str) -> None:
    """As if what was read today had been read yesterday; the chain is broken by it."""
    with unguarded(database_url) as connection:
        connection.execute("update audit set at = at - interval '1 day'")


@pytest.fixture(scope="module")
def running(server: Server) -> Iterator[Vault]:
    """One vault for a module, with a folder for agreements; a module that needs another has a `running` of its own."""
    with tempfile.TemporaryDirectory() as folder:
        started = start_vault(server.new_database(), Path(folder))
        (started.home / "agreements").mkdir()
        yield started
        stop(started.process)


@pytest.fixture
def vault(server: Server, tmp_path: Path) -> Iterator[Vault]:
    """A fresh vault with its own database."""
    running = start_vault(server.new_database(), tmp_path / "vault")
    yield running
    stop(running.process)


@dataclass(frozen=True)
class Sandbox:
    """One running stand-in and its admin calls."""

    base_url: str

    def fault(self, **body: object) -> None:
        """Arm a fault, such as fault="status", status=503, calls=2."""
        requests.post(f"{self.base_url}/__sandbox__/faults", json=body, timeout=5).raise_for_status()

    def clock(self, moment: str) -> None:
        """Move the sandbox's clock (iGate only)."""
        requests.post(f"{self.base_url}/__sandbox__/now", json={"now": moment}, timeout=5).raise_for_status()


def start_sandbox(*words: str, **environment: str) -> tuple[Sandbox, subprocess.Popen]:
    """A sandbox process: ``start_sandbox("igate", "--world", "tien_giang")``."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", *words, "--port", str(port)], cwd=PROJECT,
        env={
            "PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "SANDBOX_CLIENT_ID": CLIENT_ID,
            "SANDBOX_CLIENT_SECRET": CLIENT_SECRET, **environment,
        },
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def up() -> bool:
        assert process.poll() is None, "the sandbox did not start"
        try:
            return requests.get(f"{url}/__sandbox__/health", timeout=2).ok
        except requests.RequestException:
            return False

    wait_for(up)
    return Sandbox(url), process


@pytest.fixture(scope="session")
def tien_giang() -> Iterator[Sandbox]:
    sandbox, process = start_sandbox("igate", "--world", "tien_giang")
    yield sandbox
    stop(process)


@pytest.fixture(scope="session")
def dong_thap() -> Iterator[Sandbox]:
    sandbox, process = start_sandbox("igate", "--world", "dong_thap")
    yield sandbox
    stop(process)


@pytest.fixture(scope="session")
def dong_thap_cu() -> Iterator[Sandbox]:
    sandbox, process = start_sandbox("opencps")
    yield sandbox
    stop(process)


@pytest.fixture(scope="session")
def portal() -> Iterator[Sandbox]:
    sandbox, process = start_sandbox("portal", SANDBOX_SIMULATED_EVALUATION="1")
    yield sandbox
    stop(process)


@pytest.fixture(scope="session")
def population() -> Iterator[Sandbox]:
    sandbox, process = start_sandbox("population")
    yield sandbox
    stop(process)


@pytest.fixture(autouse=True)
def no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave each sandbox without faults for the next test."""
    yield
    for name in ("tien_giang", "dong_thap", "dong_thap_cu", "portal", "population"):
        if name in request.fixturenames:
            sandbox = request.getfixturevalue(name)
            if hasattr(sandbox, "fault"):  # the sandbox's own tests know these names as plain addresses
                sandbox.fault(fault="clear")
