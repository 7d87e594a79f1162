"""20,000 dossiers with their progress through bad days, the sender killed three times: each stands there once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence

import psycopg
import pytest
import requests

from national import outbox
from national.mapping import hashed, read_mapping
from ops.settings import PROJECT
from sandbox.national_copy import Copy
from tests.conftest import CLIENT_ID, CLIENT_SECRET, start_sandbox, stop, wait_for
from tests.national import bulk
from tests.national.world import KEY

#: Each kind of fault befalls 5 in 100 calls, or items. Who sends waits `PATIENCE` seconds for an answer.
PATIENCE, LATE = 4.0, 6.0
FAULTS = [
    {"fault": "status", "status": 503, "rate": 0.05}, {"fault": "html200", "rate": 0.05},
    {"fault": "drop_connection", "rate": 0.05}, {"fault": "truncate", "rate": 0.05},
    {"fault": "late_answer", "ms": 1000 * LATE, "rate": 0.05}, {"fault": "expire_token", "rate": 0.05},
    {"fault": "refuse_items", "rate": 0.05},
]  # fmt: skip
#: Of several things that befall a call, its caller sees the first of these.
SEEN = {
    "late_answer": "no answer in time", "drop_connection": "connection ended within the answer",
    "truncate": "HTTP 200 with a part of an answer", "session": "session ended", "html200": "HTTP 200 with a page",
    "status 503": "HTTP 503",
}  # fmt: skip


def met_there(address: str, all_kinds: bool = True) -> Counter[str]:
    """What the sandbox did to calls and items, in the words of whoever made them."""
    told = requests.get(f"{address}/__sandbox__/held", timeout=30).json()["met"]
    kinds_met = {kind for kinds in told for kind in kinds.split("+")}
    assert not all_kinds or {"expire_token", "refuse_items", *SEEN} <= kinds_met, told
    seen: Counter[str] = Counter()
    for kinds, number in told.items():
        if kinds == "refuse_items":
            seen["busy"] += number
        elif kinds not in ("expire_token", "refuse_items, answer lost"):
            seen[next(words for kind, words in SEEN.items() if kind in kinds.split("+"))] += number
    return seen


def met_here(url: str) -> Counter[str]:
    """What we counted of it."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select kind, sum(number)::int from national.fault group by kind"
        ).fetchall()
    # That an item stands there, or not yet, is an answer and no fault.
    return Counter({kind: number for kind, number in rows if kind != "item refused"})


def called(url: str) -> dict[str, int]:
    """Dossiers and steps of calls of which the outbox does not know what came."""
    with psycopg.connect(url) as c:
        return {
            t: int(c.execute(f"select count(*) from national.{t} where state = 'sending'").fetchone()[0])  # type: ignore[index]
            for t in ("dossier", "progress")
        }


def wait_until_quiet(address: str) -> None:
    """Until the sandbox has answered all calls it was given."""
    wait_for(lambda: requests.get(f"{address}/__sandbox__/held", timeout=30).json()["under_way"] == 0)


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
            c.execute(
                f"select (select count(*) from {ours}) - count(*) from national.{t} where state = 'accepted'"
            ).fetchone()
            for t, ours in (("dossier", "marts.fct_dossier"), ("progress", "raw.dossier_step"))
        ]
    return sum(r[0] for r in rows if r)


def let_go_on(url: str) -> None:
    """Have what was put off tried by the next run."""
    with psycopg.connect(url) as c:
        outbox.retry(c)
        for table in ("dossier", "progress"):
            c.execute(f"update national.{table} set next_try_at = null")


def way(server, tmp_path, count: int, kills: int, faults: Sequence[dict], patience: float) -> None:
    """Send `count` dossiers with two steps each; all stand there once, and all faults are accounted for."""
    path = str(tmp_path / "copy.db")
    sandbox, process = start_sandbox("exchange", "--database", path, SANDBOX_FAULTS="[]")
    try:
        url = server.new_database()
        bulk.fill(url, count, 2, len(bulk.UNITS))
        requests.post(f"{sandbox.base_url}/__sandbox__/faults", json=faults, timeout=10).raise_for_status()
        words = [url, sandbox.base_url, CLIENT_ID, CLIENT_SECRET, str(patience)]
        command = [sys.executable, "-m", "tests.national.bulk", *words]
        cut_off: Counter[str] = Counter()
        for killed in range(kills):
            sender = subprocess.Popen(command, cwd=PROJECT)
            # Dossiers and steps: the first death is among dossiers, the last among steps.
            wanted = 3 * count * (kills - killed) // (kills + 1)
            while not 0 < left(url) <= wanted:
                if sender.poll() is not None:
                    # Where the portal refused too much in a row its run ends; the next hour's goes on.
                    assert (sender.returncode, left(url) > 0) == (0, True), (
                        "it ended before it could be killed"
                    )
                    let_go_on(url)
                    sender = subprocess.Popen(command, cwd=PROJECT)
                time.sleep(0.2)
            print(f"killed with {left(url)} to go")
            sender.kill()
            sender.wait()
            under_way = called(url)
            wait_until_quiet(sandbox.base_url)
            # What befell the calls it had under way, and nobody saw: by the sandbox's count, and no more than those.
            there, here = met_there(sandbox.base_url, all_kinds=False), met_here(url)
            assert not here - there, "we saw what did not happen"
            unseen = there - here - cut_off
            print(f"cut off by the kill: {dict(unseen)}; under way were {under_way}")
            items = unseen["busy"]
            assert items <= sum(under_way.values())
            assert sum(unseen.values()) - items <= len(bulk.UNITS)
            cut_off += unseen
        for _ in range(
            12
        ):  # where the portal was too busy too often, or a look-up failed, the next hour's run goes on
            done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
            print(done.stdout, done.stderr)
            if not left(url):
                break
            let_go_on(url)
        there, here = met_there(sandbox.base_url), met_here(url)
    finally:
        stop(process)
    print(f"met there {dict(there)}; here {dict(here)}; cut off by kills {dict(cut_off)}")
    stands_there_once(url, Copy(path))
    assert not here - there, "we saw what did not happen"
    assert there - here == cut_off, "each fault was seen, or cut off by a kill"


def test_every_fault_is_accounted_for(server, tmp_path):
    faults = [
        {"fault": "late_answer", "ms": 6000, "calls": 1} if f["fault"] == "late_answer" else f | {"rate": 0.1}
        for f in FAULTS
    ]
    way(server, tmp_path, 64, 0, faults, 5.0)


@pytest.mark.timeout(3600)
@pytest.mark.prove
def test_six_hundred_dossiers_and_a_kill(server, tmp_path):
    way(server, tmp_path, 600, 1, FAULTS, PATIENCE)


@pytest.mark.timeout(7200)
@pytest.mark.prove
def test_twenty_thousand_dossiers_with_faults_and_three_kills(server, tmp_path):
    began = time.monotonic()
    way(server, tmp_path, 20_000, 3, FAULTS, PATIENCE)
    print(f"{time.monotonic() - began:.0f} s")
