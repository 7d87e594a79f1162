"""What the benchmarks stand on: a PostgreSQL of their own, the vault, the sandbox, pages held in memory."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import requests

from ops import postgres
from ops.settings import PROJECT, Settings
from sandbox.encode import Encoder
from sandbox.generator import local_seconds
from sandbox.igate import Store
from sandbox.serving import HANOI
from vault.client import VaultClient

#: The last full week of Tiền Giang's own system; 12,120 dossiers received.
WEEK = (dt.date(2025, 6, 16), dt.date(2025, 6, 23))
CLIENT_ID, CLIENT_SECRET = "kho-chung", "sandbox-secret-of-the-benchmarks"


def rounds(ways: dict[str, Callable[[], float | None]], times: int) -> dict[str, list[float]]:
    """Seconds of each way, taken in turn `times` times, so that a busy moment hits all of them.

    A way that returns a number measured itself; otherwise its wall time is taken.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(times):
        for name, way in ways.items():
            began = time.perf_counter()
            own = way()
            seconds[name].append(time.perf_counter() - began if own is None else own)
    return seconds


@dataclass(frozen=True)
class Line:
    """One figure: what, its ratio, the target, and the two times behind it."""

    name: str
    value: float
    target: str
    passed: bool | None
    behind: str

    def __str__(self) -> str:
        word = {True: "pass", False: "MISS", None: "-"}[self.passed]
        return f"{self.name:<58} {self.value:>6.2f}  {self.target:<9} {word:<5} {self.behind}"


def ratio(seconds: dict[str, list[float]], over: str, under: str) -> tuple[float, str]:
    """The median of each round's `over` by its `under`, and both in seconds, for the line.

    The two of one round follow each other: a machine that is slow for a while is so for both.
    """
    behind = "; ".join(
        f"{n} {statistics.median(seconds[n]):.3g} s ({min(seconds[n]):.3g} to {max(seconds[n]):.3g})"
        for n in (over, under)
    )
    return statistics.median(o / u for o, u in zip(seconds[over], seconds[under], strict=True)), behind


@functools.cache
def pages(first: dt.date = WEEK[0], end: dt.date = WEEK[1]) -> list[bytes]:
    """Detail pages of all dossiers received in `[first, end)`, byte for byte as the sandbox serves them."""
    store = Store(
        Encoder("tien_giang"), local_seconds(dt.datetime(2025, 6, 30, 23, 59, 59, tzinfo=HANOI)), 2 << 30
    )
    numbers, rows = store.search(
        {
            "accepted-from": f"{first}T00:00:00.000+0700",
            "accepted-to": f"{end - dt.timedelta(1)}T23:59:59.999+0700",
        }
    )
    return [detail for _, detail in store.fetch(numbers.tolist(), rows.tolist())]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _until(what: Callable[[], bool], process: subprocess.Popen, name: str) -> None:
    deadline = time.monotonic() + 60
    while not what():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not start (exit {process.poll()})")
        time.sleep(0.1)


@dataclass
class World:
    """A home that vanishes with the run."""

    home: Path
    settings: Settings
    databases: int = 0

    def database(self) -> str:
        """URL of a fresh database."""
        self.databases += 1
        admin = postgres.admin_url(self.settings)
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"create database bench_{self.databases} template template0")
        return urlunsplit(urlsplit(admin)._replace(path=f"/bench_{self.databases}"))

    @contextlib.contextmanager
    def vault(self, database: str = "", agreements: Path | None = None) -> Iterator[VaultClient]:
        """The vault as its own process over its own database, or the one at the URL `database`.

        `agreements`: folder of agreement records; without it nothing is disclosed.
        """
        folder = Path(tempfile.mkdtemp(prefix="kcv-"))  # a unix socket's path must be short
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "VAULT_DATABASE_URL": database or self.database(),
            "VAULT_SOCKET": str(folder / "v.sock"), "VAULT_KEYS": str(folder / "keys"),
            "VAULT_TOKEN_FILE": str(folder / "token"),
        }  # fmt: skip
        if agreements:
            environment["VAULT_AGREEMENTS"] = str(agreements)
        with _running([sys.executable, "-m", "vault"], environment) as process:
            _until((folder / "v.sock").exists, process, "the vault")
            yield VaultClient(folder / "v.sock", (folder / "token").read_text().strip())
        shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def sandbox(self, *words: str) -> Iterator[str]:
        """A stand-in as its own process (default: Tiền Giang's); its address."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "SANDBOX_CLIENT_ID": CLIENT_ID,
            "SANDBOX_CLIENT_SECRET": CLIENT_SECRET,
        }  # fmt: skip

        def up() -> bool:
            with contextlib.suppress(requests.RequestException):
                return requests.get(f"{url}/__sandbox__/health", timeout=2).ok
            return False

        words = words or ("igate", "--world", "tien_giang")
        command = [sys.executable, "-m", "sandbox", *words, "--port", str(port)]
        with _running(command, environment) as process:
            _until(up, process, "the sandbox")
            yield url


@contextlib.contextmanager
def _running(
    command: list[str], environment: dict[str, str], cwd: Path = PROJECT
) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(command, env=environment, cwd=cwd)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Start PostgreSQL with the product's own settings in a temporary home."""
    home = Path(tempfile.mkdtemp(prefix="kho-chung-bench-"))
    home.chmod(0o755)
    settings = Settings(
        {"KHOCHUNG_HOME": str(home), "KHOCHUNG_POSTGRES_PORT": str(free_port()), "PATH": os.environ["PATH"]},
        dotenv=home / "no.env",
    )
    try:
        postgres.create_cluster(settings)
        with (home / "postgres.log").open("w") as log:
            process = subprocess.Popen(
                postgres.serve(settings), cwd="/", stdout=log, stderr=log,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            )  # fmt: skip
        try:
            _until(lambda: postgres.ready(postgres.admin_url(settings)), process, "PostgreSQL")
            yield World(home, settings)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    finally:
        shutil.rmtree(home, ignore_errors=True)
