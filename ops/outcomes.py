"""Outcome records: what each attempt of each step did, success or not, as one JSON file.

They are written beside the data and not only into the database, because the database may be what failed;
`store_outcomes` loads them into ``ops.outcome`` when it is there. No record holds a row value.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import resource
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from ops.trouble import DatabaseTrouble, database_trouble

RUN_ID = "KHOCHUNG_RUN_ID"


class NothingToDo(Exception):
    """A step has nothing to work on, which is no failure; the message says why."""


@dataclass
class Outcome:
    """One attempt of one step. `details` are counts and names, never row values."""

    step: str
    source: str | None
    run_id: str
    started_at: str
    ended_at: str = ""
    status: str = "running"
    error: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    #: The most memory in MiB that the process, or a child it waited for, held by the end of the step.
    peak_mib: int = 0

    @property
    def seconds(self) -> float:
        """How long the attempt took."""
        if not self.ended_at:
            return 0.0
        return (
            dt.datetime.fromisoformat(self.ended_at) - dt.datetime.fromisoformat(self.started_at)
        ).total_seconds()


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")


@contextlib.contextmanager
def recorded(
    home: Path, step: str, source: str | None = None, run_id: str | None = None
) -> Iterator[Outcome]:
    """Record one attempt: the record is written whatever happens inside, with the message of a failure."""
    outcome = Outcome(step, source, run_id or os.environ.get(RUN_ID, "unnamed"), _now())
    try:
        yield outcome
        if outcome.status == "running":
            outcome.status = "success"
    except BaseException as e:
        outcome.status = "skipped" if isinstance(e, NothingToDo) else "failed"
        told = database_trouble(e)
        outcome.error = (f"{DatabaseTrouble.__name__}: {told}" if told else f"{type(e).__name__}: {e}")[:4000]
        if told:
            raise DatabaseTrouble(told) from None
        raise
    finally:
        outcome.ended_at = _now()
        outcome.peak_mib = _peak_mib()
        with contextlib.suppress(OSError):  # a full disk must not hide the failure it caused
            _write(home, outcome)


def _peak_mib() -> int:
    # Of the process's whole life, so never less than what the step took.
    return (
        max(resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) // 1024
    )


def _write(home: Path, outcome: Outcome) -> None:
    folder = home / "outcomes" / outcome.started_at[:10]
    folder.mkdir(parents=True, exist_ok=True)
    stamp = outcome.started_at.replace(":", "").replace("+0000", "Z")
    path = folder / f"{stamp}-{outcome.step}-{secrets.token_hex(3)}.json"
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(asdict(outcome), ensure_ascii=False, indent=1))
    aside.rename(path)


def read_outcomes(home: Path, run_id: str | None = None) -> list[Outcome]:
    """Outcome records in the order they began; those of one run if `run_id` is given."""
    found = []
    for path in sorted((home / "outcomes").glob("*/*.json")):
        try:
            outcome = Outcome(**json.loads(path.read_text()))
        except (ValueError, TypeError):
            continue  # half of a record that a full disk cut off
        if run_id is None or outcome.run_id == run_id:
            found.append(outcome)
    return found


def store_outcomes(home: Path, url: str) -> int:
    """Load records that ``ops.outcome`` does not hold yet; how many were new."""
    with psycopg.connect(url) as connection:
        connection.execute("select pg_advisory_xact_lock(7662026)")
        if connection.execute("select to_regnamespace('ops')").fetchone() == (None,):
            connection.execute("create schema ops")
        connection.execute(
            "create table if not exists ops.outcome (record text primary key, run_id text not null, step text "
            "not null, source_code text, status text not null, started_at timestamptz not null, "
            "ended_at timestamptz, error text, details jsonb not null)"
        )
        row = connection.execute("select coalesce(max(record), '') from ops.outcome").fetchone()
        # A step may take hours and stands under the day it began, so the newest two days held may still grow.
        since = ""
        if row and row[0]:
            since = str(dt.date.fromisoformat(row[0][:10]) - dt.timedelta(days=1))
        paths = [p for p in sorted((home / "outcomes").glob("*/*.json")) if p.parent.name >= since]
        new = 0
        for path in paths:
            try:
                raw = json.loads(path.read_text())
            except ValueError:
                continue
            new += connection.execute(
                "insert into ops.outcome values (%s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
                (
                    f"{path.parent.name}/{path.name}", raw["run_id"], raw["step"], raw["source"], raw["status"],
                    raw["started_at"], raw["ended_at"] or None, raw["error"], json.dumps(raw["details"]),
                ),
            ).rowcount  # fmt: skip
    return new
