"""The main job once, through the DAGs a scheduler runs: ``make run``.

Each DAG is executed with Airflow's own ``dag.test``: sources side by side in processes made from this one, the
rest one after another; services that were not running before are stopped at the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import json
import logging
import multiprocessing
import os
import secrets
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from ops import postgres
from ops.outcomes import RUN_ID, Outcome, read_outcomes
from ops.services import SANDBOXES, ServiceError, Supervisor, default_connections, drop_samples, locked
from ops.settings import PROJECT, VIETNAM, Period, Settings, SettingsError
from ops.sources import check_sources, read_sources


class RunFailed(ServiceError):
    """A DAG did not succeed; the message repeats what its failed steps said."""


_PR_SET_PDEATHSIG = 1
_TRACEBACKS = logging.Formatter()


class Redacted(logging.Filter):
    """Replaces secrets in every record; Airflow's own masking is not active under ``dag.test``."""

    def __init__(self, values: list[str]) -> None:
        super().__init__()
        self._values = values

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the record's text; every record passes."""
        text = record.getMessage()
        if (clean := self._cleaned(text)) != text:
            record.msg, record.args = clean, ()
        if record.exc_info:
            # Formatters take a traceback that is already text as it is.
            record.exc_text = self._cleaned(record.exc_text or _TRACEBACKS.formatException(record.exc_info))
        return True

    def _cleaned(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, "***")
        return text


def needed_services(settings: Settings) -> list[str]:
    """What the main job needs: the database, the vault, and the sandbox where it stands in."""
    names = ["postgres"] if settings.embedded else []
    names.append("vault")
    if settings.sandbox:
        names += [f"sandbox-{s.replace('_', '-')}" for s in SANDBOXES]
    return names


def prepare(settings: Settings, supervisor: Supervisor) -> list[str]:
    """Start services, databases and Airflow's metadata; the names of services this started."""
    started = supervisor.start([n for n in needed_services(settings) if n == "postgres"])
    postgres.prepare(settings)
    with ThreadPoolExecutor(1) as beside:
        migrated = beside.submit(_prepare_airflow, settings)
        started += supervisor.start([n for n in needed_services(settings) if n != "postgres"])
        migrated.result()
    drop_samples(settings)
    return started


def write_login(settings: Settings) -> str:
    """Give admin on Airflow's page its password, in the file Airflow reads; the password."""
    login = settings.home / "secrets" / "airflow-login"
    password = settings.admin_password
    login.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(login, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(json.dumps({"admin": password}))
    return password


def _prepare_airflow(settings: Settings) -> None:
    import importlib.metadata

    version = importlib.metadata.version("apache-airflow")
    marker = settings.home / "airflow" / f"migrated-{version}"
    identity = settings.airflow_database_url.rpartition("@")[2]
    if marker.exists() and marker.read_text() == identity:
        return
    marker.parent.mkdir(parents=True, exist_ok=True)
    migrate_airflow(settings)
    marker.write_text(identity)


def migrate_airflow(settings: Settings) -> None:
    """Bring Airflow's metadata to this version; seconds also where nothing is to do."""
    import subprocess

    airflow = str(Path(sys.executable).parent / "airflow")
    done = subprocess.run(
        [airflow, "db", "migrate"], env=settings.child_env(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServiceError(f"airflow db migrate failed: {(done.stderr or done.stdout).strip()[-1200:]}")


def run(settings: Settings, period: Period) -> Path:
    """Run the whole chain for `period`; the path of run-summary.json. Raises RunFailed."""
    with alone(settings):
        return _run(settings, period)


def alone(settings: Settings) -> contextlib.AbstractContextManager[None]:
    """No other run of this home begins or ends meanwhile: a run stops the services it started."""
    return locked(settings, "run", f"another run is under way in {settings.home}; waiting for its end")


def _run(settings: Settings, period: Period) -> Path:
    began = time.monotonic()
    if period.first > (today := dt.datetime.now(VIETNAM).date()):
        raise SettingsError(
            f"period {period} has not begun: today is {today}. Choose an earlier one (PERIOD=2024-06)."
        )
    supervisor = Supervisor(settings)
    run_id = f"run-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    check_sources(settings.sources_file)
    _say(f"Kho Chung: period {period}, run {run_id}")
    started = prepare(settings, supervisor)
    _say(f"services ready after {time.monotonic() - began:.0f} s: {', '.join(needed_services(settings))}")
    # In place of what was given: steps run in this process, and some of that is not for them.
    environment = {**settings.child_env(), **default_connections(settings), RUN_ID: run_id}
    os.environ.clear()
    os.environ.update(environment)
    # The console shows what the steps say; Airflow's own words are in its logs when a scheduler runs.
    os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "CRITICAL")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    failed: list[str] = []
    try:
        order = _order(settings)
        _dag(order[0][0], settings)
        with _processes(max(map(len, order))) as pool:
            for together in order:
                if failed and together[0] in ("build_warehouse", "publish_open_data"):
                    _say(f"{together[0]}: not run, because {', '.join(failed)} failed")
                    continue
                runs = {dag_id: pool.submit(_run_dag, dag_id, settings, period) for dag_id in together}
                failed += [dag_id for dag_id, r in runs.items() if r.result() != "success"]
    finally:
        supervisor.stop(started)
        summary = write_summary(settings, run_id, period, time.monotonic() - began)
    if summary is None:
        failed.append("writing the summary")
    if failed or summary is None:
        errors = [o for o in read_outcomes(settings.home, run_id) if o.status == "failed"]
        said = "\n".join(f"  {o.step} {o.source or ''}: {o.error}" for o in errors) or "  see the log above"
        raise RunFailed(f"{', '.join(failed)} failed:\n{said}\nThe last good release is unchanged.")
    _say(
        f"done in {time.monotonic() - began:.0f} s. Release: {settings.home}/open-data/current/index.html; "
        f"summary: {summary}; query it: make psql"
    )
    return summary


def _order(settings: Settings) -> list[list[str]]:
    """The DAGs in turn; those of one list need nothing of each other."""
    sources = read_sources(settings.sources_file).values()
    portal = ["ingest_national_portal"] if any(s.kind == "national_portal" for s in sources) else []
    others = [f"ingest_{s.kind}_{s.code}" for s in sources if s.kind not in ("national_portal", "population")]
    # After the dossiers: it asks about the citizens they name.
    citizens = ["ingest_population"] if any(s.kind == "population" for s in sources) else []
    return [
        dags
        for dags in (portal, others, citizens, ["build_warehouse"], ["publish_open_data", "write_forms"])
        if dags
    ]


@contextlib.contextmanager
def _processes(at_once: int) -> Iterator[ProcessPoolExecutor]:
    """Processes made from this one once it has read the DAGs; they end with it, however it ends.

    All are made at once, so no more than can be used.
    """
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(
            min(os.cpu_count() or 1, at_once), context, _die_with, (os.getpid(),)
        ) as pool:
            yield pool
    except BrokenProcessPool:
        raise RunFailed(
            "a process of this run was killed, perhaps for want of memory (dmesg tells). Nothing half-done is visible; "
            "run it again."
        ) from None


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before this was set
        os._exit(1)


def _run_dag(dag_id: str, settings: Settings, period: Period) -> str:
    at = time.monotonic()
    dag = _dag(dag_id, settings)
    ingest = "period" in dag.params
    # Manual runs of one logical date share one DagRun row, so each run takes its own moment.
    done = dag.test(
        logical_date=dt.datetime.now(dt.UTC),
        run_conf={"period": str(period)} if ingest else None,
    )
    state = str(getattr(done.state, "value", done.state))
    _say(f"{dag_id}: {state} after {time.monotonic() - at:.0f} s")
    return state


_dags: dict[str, Any] = {}


def _dag(dag_id: str, settings: Settings) -> Any:
    if not _dags:
        folder = str(PROJECT / "dags")
        if folder not in sys.path:
            sys.path.insert(0, folder)
        # Airflow reads its settings when it is imported, so not before the environment stands.
        from airflow.dag_processing.dagbag import DagBag

        _quiet(settings)
        bag = DagBag(dag_folder=folder)
        if bag.import_errors:
            raise RunFailed(f"a DAG file cannot be read: {bag.import_errors}")
        _dags.update(bag.dags)
        for dag in _dags.values():
            for each in dag.tasks:
                # Somebody waits at this run: a failure is told at once. Connectors retry their calls all the same.
                each.retries = 0
    return _dags[dag_id]


def _quiet(settings: Settings) -> None:
    redact = Redacted(settings.secrets_in_use())
    for handler in logging.getLogger().handlers:
        handler.addFilter(redact)
        handler.setLevel(logging.WARNING)


def _say(text: str) -> None:
    print(f"{dt.datetime.now():%H:%M:%S} {text}", flush=True)


def write_summary(settings: Settings, run_id: str, period: Period, seconds: float) -> Path | None:
    """What each step of a run announced, landed, rejected, loaded, checked, published, and how long it took.

    Where it cannot be written that is said, and the path is None: it must not hide what went wrong before.
    """
    outcomes = read_outcomes(settings.home, run_id)
    body = {
        "run_id": run_id,
        "period": str(period),
        "seconds": round(seconds, 1),
        "succeeded": all(o.status != "failed" for o in outcomes) and bool(outcomes),
        "steps": [_step(o) for o in outcomes],
    }
    path = settings.home / "run-summary.json"
    aside = path.with_suffix(".tmp")
    try:
        aside.write_text(json.dumps(body, ensure_ascii=False, indent=2) + "\n")
        aside.rename(path)
    except OSError as e:
        _say(f"could not write {path}: {e.strerror}. Free space on its disk; what was loaded stays")
        return None
    return path


def _step(o: Outcome) -> dict[str, Any]:
    step: dict[str, Any] = {
        "step": o.step,
        "status": o.status,
        "seconds": round(o.seconds, 1),
        "peak_mib": o.peak_mib,
    }
    if o.source:
        step["source"] = o.source
    if o.error:
        step["error"] = o.error
    return {**step, **o.details}
