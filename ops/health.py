"""Whether a program answers: ``python -m ops.health <program>``, exit code 0 if it does.

The health checks of containers call this every few seconds, so it imports next to nothing.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ops.settings import Settings, SettingsError

SECONDS = 5.0
#: By this name the watchdog is seen in pg_stat_activity.
WATCHDOG = "kho-chung-watchdog"


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


def _ask(connection: http.client.HTTPConnection, path: str, **headers: str) -> bytes | None:
    """The body of a 200, or None for whatever else happens."""
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def answers(url: str) -> bytes | None:
    """The body of a 200 from an http address, or None."""
    parts = urlsplit(url)
    return _ask(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS), parts.path)


def _read(body: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(body or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def vault(settings: Settings) -> bool:
    """Whether the vault answers at its socket and reaches its database."""
    try:
        token = settings.vault_token
    except (SettingsError, OSError):
        return False
    body = _ask(_OverSocket(settings.vault_socket), "/v1/ready", Authorization=f"Bearer {token}")
    return _read(body).get("status") == "ok"


def airflow(component: str) -> Callable[[Settings], bool]:
    """A check of one of Airflow's programs, by what its API says of their heartbeats."""

    def healthy(settings: Settings) -> bool:
        body = answers(f"{settings.airflow_url}/api/v2/monitor/health")
        if body is None or component == "api-server":
            return body is not None
        return _read(body).get(component.replace("-", "_"), {}).get("status") == "healthy"

    return healthy


def worker(settings: Settings) -> bool:
    """Whether the Celery worker of this container answers through the broker."""
    from celery import Celery  # only in the image of docker-compose.yml

    app = Celery(broker=settings.given["AIRFLOW__CELERY__BROKER_URL"])
    return bool(app.control.ping(destination=[f"celery@{socket.gethostname()}"], timeout=SECONDS))


def sandbox(settings: Settings) -> bool:
    """Whether every stand-in of this machine answers."""
    return all(answers(f"http://127.0.0.1:{port}/__sandbox__/health") for port in settings.sandbox_ports)


def watchdog(settings: Settings) -> bool:
    """Whether the watchdog is in the warehouse."""
    import psycopg

    try:
        with psycopg.connect(settings.login_url("loader"), connect_timeout=int(SECONDS)) as connection:
            query = "select from pg_stat_activity where application_name = %s"
            return connection.execute(query, (WATCHDOG,)).fetchone() is not None
    except psycopg.Error:
        return False


CHECKS: dict[str, Callable[[Settings], bool]] = {
    "vault": vault,
    "sandbox": sandbox,
    "watchdog": watchdog,
    "airflow-worker": worker,
    **{f"airflow-{c}": airflow(c) for c in ("api-server", "scheduler", "dag-processor", "triggerer")},
}

if __name__ == "__main__":
    sys.exit(0 if CHECKS[sys.argv[1]](Settings()) else 1)
