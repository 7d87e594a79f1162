"""A whole installation in a folder of its own, driven by the same commands a person types."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from ops.services import SANDBOXES, default_connections
from ops.settings import PROJECT, Settings
from tests.conftest import free_port


@dataclass(frozen=True)
class Installation:
    """State below `home`; services on ports of their own."""

    home: Path
    environment: dict[str, str]

    @classmethod
    def create(cls, home: Path, **environment: str) -> Installation:
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o755)
        # The same keys everywhere, so that two installations seal alike and can be compared by checksum.
        keys = home / "vault" / "keys"
        keys.mkdir(parents=True, mode=0o700)
        for name in ("token", "encryption"):
            path = keys / f"{name}.key"
            path.write_bytes(hashlib.sha256(name.encode()).digest())
            path.chmod(0o600)
        return cls(
            home,
            {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(PROJECT),
                "HOME": str(home),
                "KHOCHUNG_HOME": str(home),
                "KHOCHUNG_POSTGRES_PORT": str(free_port()),
                "KHOCHUNG_AIRFLOW_PORT": str(free_port()),
                "KHOCHUNG_SITE_PORT": str(free_port()),
                "KHOCHUNG_SANDBOX_PORT": str(free_port(len(SANDBOXES))),
                **environment,
            },
        )

    @property
    def settings(self) -> Settings:
        return Settings(self.environment, dotenv=self.home / "no.env")

    def start(self, *words: str) -> subprocess.Popen:
        """``python -m ops <words>`` in the background, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "ops", *words], env=self.environment, cwd=PROJECT, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def ops(self, *words: str, check: bool = True) -> str:
        """``python -m ops <words>``; everything it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "ops", *words], env=self.environment, cwd=PROJECT, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def airflow(self, *words: str) -> str:
        """Airflow's own command in this installation."""
        env = {**self.settings.child_env(), **default_connections(self.settings)}
        done = subprocess.run(
            [str(Path(sys.executable).parent / "airflow"), *words], env=env, cwd=PROJECT, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the warehouse."""
        with psycopg.connect(self.settings.warehouse_url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def airflow_rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of Airflow's metadata."""
        with psycopg.connect(self.settings.airflow_database_url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def release(self) -> dict[str, Any] | None:
        """``release.json`` of the current release, if there is one."""
        path = self.home / "open-data" / "current" / "release.json"
        return json.loads(path.read_text()) if path.exists() else None

    def summary(self) -> dict[str, Any]:
        """``run-summary.json``."""
        return json.loads((self.home / "run-summary.json").read_text())

    def checksums(self) -> dict[str, str]:
        """{table: checksum of its business content}: what must be equal however often something was killed."""
        ignored = "'_batch_id', '_load_number', '_pulled_at', 'load_number', 'captured_at', 'loaded_at'"
        found: dict[str, str] = {}
        tables = self.rows(
            "select table_schema, table_name, string_agg(format('%I', column_name), ', ' order by column_name) "
            "from information_schema.columns join information_schema.tables using (table_schema, table_name) "
            "where table_schema in ('raw', 'marts', 'open_data') and table_type = 'BASE TABLE' "
            f"and column_name not in ({ignored}) group by 1, 2 order by 1, 2"
        )
        for schema, table, columns in tables:
            ((checksum,),) = self.rows(
                f"select md5(string_agg(md5(row({columns})::text), '' order by md5(row({columns})::text))) "
                f'from {schema}."{table}"'
            )
            found[f"{schema}.{table}"] = checksum or ""
        return found
