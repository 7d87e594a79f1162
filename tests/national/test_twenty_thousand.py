"""20,000 dossiers with their progress through bad days, the sender killed three times: each stands there once."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

import psycopg
import pytest
import requests

from national import outbox
from national.mapping import hashed, read_mapping
from ops.settings import PROJECT
from sandbox.national_copy import Copy
from tests.conftest import CLIENT_ID, CLIENT_SECRET, start_sandbox, stop
from tests.national import bulk
from tests.national.world import KEY

#: Each kind of fault befalls 5 in 100 calls, or items.
FAULTS = [
    {"fault": "status", "status": 503, "rate": 0.05}, {"fault": "html200", "rate": 0.05},
    {"fault": "drop_connection", "rate": 0.05}, {"fault": "truncate", "rate": 0.05},
    {"fault": "late_answer", "ms": 2500, "rate": 0.01}, {"fault": "expire_token", "rate": 0.05},
    {"fault": "refuse_items", "rate": 0.05},
]  # fmt: skip


def stands_there_once(url: str, copy: Copy) -> None:
    """0 missing, 0 doubled, 0 differing, of dossiers and of progress."""
    tables = read_mapping()
    with psycopg.connect(url) as connection:
        states = connection.execute("select state, count(*) from national.dossier group by 1").fetchall()
        steps = connection.execute("select state, count(*) from national.progress group by 1").fetchall()
        accepted = dict(
            connection.execute("select national_code, accepted_hash from national.dossier").fetchall()
        )
    assert {s for s, _ in [*states, *steps]} == {"accepted"}
    there = {i["MaHoSo"]: hashed(tables["dossier"].masked(i, KEY), KEY) for i in copy.received()}
    assert there == accepted
    numbers = copy.numbers()
    assert numbers["dossier"] == len(accepted)
    assert numbers["progress"] == sum(n for _, n in steps)
    assert (numbers["doubled_codes"], numbers["doubled_progress"]) == (0, 0)


def left(url: str) -> int:
    """Dossiers and steps that do not stand there yet."""
    with psycopg.connect(url) as c:
        rows = [
            c.execute(f"select count(*) from national.{t} where state <> 'accepted'").fetchone()
            for t in ("dossier", "progress")
        ]
    return sum(r[0] for r in rows if r)


def way(server, tmp_path, count: int, kills: int) -> None:
    path = str(tmp_path / "copy.db")
    sandbox, process = start_sandbox("exchange", "--database", path, SANDBOX_FAULTS="[]")
    try:
        url = server.new_database()
        bulk.fill(url, count, 2)
        requests.post(f"{sandbox.base_url}/__sandbox__/faults", json=FAULTS, timeout=10).raise_for_status()
        command = [
            sys.executable,
            "-m",
            "tests.national.bulk",
            url,
            sandbox.base_url,
            CLIENT_ID,
            CLIENT_SECRET,
        ]
        for killed in range(kills):
            sender = subprocess.Popen(command, cwd=PROJECT)
            wanted = count * (killed + 1) // (kills + 2)
            while sender.poll() is None:
                with contextlib.suppress(psycopg.Error), psycopg.connect(url) as c:
                    row = c.execute(
                        "select count(*) from national.dossier where state = 'accepted'"
                    ).fetchone()
                    if row and row[0] >= wanted:
                        break
                time.sleep(0.2)
            assert sender.poll() is None, "it ended before it could be killed"
            sender.kill()
            sender.wait()
        for _ in range(6):  # what was tried too often waits for an operator, or for the next hour's run
            done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
            print(done.stdout)
            if not left(url):
                break
            with psycopg.connect(url) as c:
                outbox.retry(c)
                for table in ("dossier", "progress"):
                    c.execute(f"update national.{table} set next_try_at = null")
        calls = requests.get(f"{sandbox.base_url}/__sandbox__/held", timeout=30).json()["calls"]
        print(f"calls answered: {calls}")
    finally:
        stop(process)
    stands_there_once(url, Copy(path))


@pytest.mark.timeout(3600)
@pytest.mark.prove
def test_twenty_thousand_dossiers_with_faults_and_three_kills(server, tmp_path):
    way(server, tmp_path, 20_000, 3)
