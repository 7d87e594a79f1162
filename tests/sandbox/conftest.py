"""Servers of the sandbox as subprocesses on free ports of loopback."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).parents[2]
CLIENT = {"client_id": "kho-chung", "client_secret": "chỉ-để-thử"}
Start = Callable[..., str]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Return a function that starts a server and gives its address; all are stopped at the end."""
    running: list[subprocess.Popen[bytes]] = []
    logs = tmp_path_factory.mktemp("sandbox")

    def begin(*arguments: str, **environment: str) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = (logs / f"{port}.log").open("wb")
        env = {**os.environ, "SANDBOX_CLIENT_ID": CLIENT["client_id"],
               "SANDBOX_CLIENT_SECRET": CLIENT["client_secret"], **environment}  # fmt: skip
        command = [sys.executable, "-m", "sandbox", *arguments, "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        running.append(process)
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            if process.poll() is not None:
                break
            try:
                if requests.get(f"{address}/__sandbox__/health", timeout=5).ok:
                    return address
            except requests.ConnectionError:
                time.sleep(0.1)
        raise AssertionError(f"{' '.join(command)} did not start: {(logs / f'{port}.log').read_text()}")

    yield begin
    for process in running:
        process.terminate()
    for process in running:
        process.wait(20)


class Gate:
    """A logged-in caller of an iGate server."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.session = requests.Session()
        self.login()

    def login(self) -> None:
        answer = self.session.post(f"{self.address}/auth/realms/digo/protocol/openid-connect/token",
                                   data={"grant_type": "client_credentials", **CLIENT}, timeout=30)  # fmt: skip
        assert answer.status_code == 200
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def get(self, path: str, **params: Any) -> requests.Response:
        query = {k.replace("_", "-"): v for k, v in params.items()}
        return self.session.get(f"{self.address}{path}", params=query, timeout=60)

    def page(self, **params: Any) -> dict[str, Any]:
        answer = self.get("/pa/dossier/search", **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def every(self, **params: Any) -> list[dict[str, Any]]:
        """Return all items, paging until the server says it was the last page."""
        found: list[dict[str, Any]] = []
        for number in range(10_000):
            page = self.page(page=number, size=200, **params)
            found += page["content"]
            if page["last"]:
                assert self.page(page=number + 1, size=200, **params)["empty"]
                return found
        raise AssertionError("no last page")

    def detail(self, identifier: str) -> dict[str, Any]:
        answer = self.get(f"/pa/dossier/{identifier}/--online")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def fault(self, **wanted: Any) -> None:
        assert requests.post(f"{self.address}/__sandbox__/faults", json=wanted, timeout=10).ok


@pytest.fixture(scope="session")
def tien_giang(start: Start) -> Gate:
    return Gate(start("igate", "--world", "tien_giang"))


@pytest.fixture(scope="session")
def dong_thap(start: Start) -> Gate:
    return Gate(start("igate", "--world", "dong_thap"))


@pytest.fixture(scope="session")
def portal(start: Start) -> str:
    return start("portal")
