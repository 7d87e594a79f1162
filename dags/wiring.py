"""What the DAG files share: defaults, assets, and the one way a task enters the rooms."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from airflow.sdk import Asset, CronDataIntervalTimetable, Param, dag, get_current_context, task

TIMEZONE = "Asia/Ho_Chi_Minh"
DOSSIERS = Asset("kho-chung/raw/dossiers")
NATIONAL_PORTAL = Asset("kho-chung/raw/national-portal")
CITIZEN_CHECKS = Asset("kho-chung/raw/citizen-checks")
WAREHOUSE = Asset("kho-chung/warehouse")
OPEN_DATA = Asset("kho-chung/open-data")

DEFAULTS = {
    "owner": "kho-chung",
    "retries": 5,
    "retry_delay": dt.timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": dt.timedelta(minutes=30),
    "execution_timeout": dt.timedelta(hours=2),
}
PERIOD = Param(
    None,
    type=["null", "string"],
    title="Period / Kỳ dữ liệu",
    description="Pull this period instead of the run's data interval: 2024, 2024-06, 2024-06-03 or "
    "2025-06-16/2025-07-15 (both days included). Running a period again doubles nothing.",
)
RECEIVED = Param(
    None,
    type=["null", "string"],
    title="Backfill / Kỳ tiếp nhận",
    description="Only dossiers received in this period, and all of them: 2024, 2024-06, 2024-06-03 or "
    "2025-06-16/2025-07-15 (both days included).",
)
DRY_RUN = Param(
    False,
    type="boolean",
    title="Dry run / Chạy thử",
    description="Call nobody; write what would be done, without personal data, to a file.",
)


def enter(step: str, *arguments: Any) -> Any:
    """Run one step of ops.tasks with settings and masking; failures that no retry can mend end the task."""
    import os

    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
    from airflow.sdk.log import mask_secret

    from connectors.base import BudgetSpent, MissingColumn, SourceChanged, SourceRefused
    from connectors.contract import ContractError
    from expectations.results import GateFailed
    from opendata.catalogue import CatalogueError
    from ops import tasks
    from ops.collection import TooMuchUnused
    from ops.logins import only_for
    from ops.outcomes import RUN_ID, NothingToDo
    from ops.settings import SettingsError
    from ops.tasks import BatchRefused

    final = (
        BatchRefused, BudgetSpent, CatalogueError, ContractError, GateFailed, MissingColumn, SettingsError,
        SourceChanged, SourceRefused, TooMuchUnused,
    )  # fmt: skip
    with only_for(step) as settings:
        for secret in settings.secrets_in_use():
            mask_secret(secret)
        os.environ.setdefault(RUN_ID, str(get_current_context()["run_id"]))
        try:
            return getattr(tasks, step)(settings, *arguments)
        except NothingToDo as e:
            raise AirflowSkipException(str(e)) from None
        except final as e:
            raise AirflowFailException(str(e)) from None


def interval() -> Any:
    """The half-open interval of this run: the period asked for, else the data interval."""
    from connectors.base import Interval
    from ops.settings import parse_period

    context = get_current_context()
    period = context["params"].get("period")
    if period:
        asked = parse_period(period)
        return Interval(asked.start, asked.end)
    return Interval(context["data_interval_start"], context["data_interval_end"])


def address(connection_id: str) -> Any:
    """Address and credentials of a source from its Airflow connection."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    from ops.settings import PROJECT, SettingsError
    from ops.tasks import Address

    try:
        found = Connection.get(connection_id)
    except AirflowNotFoundException:
        raise SettingsError(
            f"looked for the Airflow connection {connection_id!r} (environment AIRFLOW_CONN_{connection_id.upper()}, "
            f"{PROJECT / '.env'}, Airflow's page under Admin, Connections) and found none. Make it with the source's "
            "address, user and secret. The sandbox (KHOCHUNG_SANDBOX=1) stands in only for the sources it knows "
            "(sandbox/README.md), and for none whose origin is real."
        ) from None
    if found.conn_type == "file":  # file:///srv/folder, or as JSON with the folder as its host
        return Address("file://" + quote(f"/{found.schema or (found.host or '').lstrip('/')}"))
    scheme = found.conn_type if found.conn_type in ("http", "https") else found.schema or "https"
    port = f":{found.port}" if found.port else ""
    # Airflow's URI form puts the path of an address into `schema`.
    path = f"/{found.schema}" if found.schema and found.conn_type in ("http", "https") else ""
    host = (found.host or "").removeprefix("http://").removeprefix("https://")
    return Address(f"{scheme}://{host}{port}{path}", found.login or "", found.password or "")


def ingest_dag(
    dag_id: str,
    source_code: str,
    connection_id: str,
    schedule: Any,
    asset: Asset,
    step: str = "pull",
    deletions: bool = False,
    **options: Any,
) -> Any:
    """Pull, stage, check, load for one source; then look for what it deleted, if it lists its keys.

    A cron gives each run its data interval; anything else gives none, and `step` then finds out what to pull.
    """
    timed = isinstance(schedule, str)

    @dag(
        dag_id=dag_id,
        schedule=CronDataIntervalTimetable(schedule, timezone=TIMEZONE) if timed else schedule,
        catchup=False,
        # One run of a source at a time: a source's owner agreed to one reader.
        max_active_runs=1,
        dagrun_timeout=dt.timedelta(hours=6),
        default_args=DEFAULTS,
        params={"period": PERIOD} if timed else {},
        **options,
    )
    def ingest() -> None:
        @task
        def pull() -> str:
            if timed:
                return enter(step, source_code, interval(), address(connection_id))
            return enter(step, source_code, lambda: address(connection_id))

        @task
        def stage(folder: str) -> dict:
            return enter("stage", source_code, folder)

        @task
        def check(staged: dict) -> dict:
            return enter("check_landing", source_code, staged)

        @task(outlets=[asset])
        def load(folder: str) -> dict:
            return enter("load", source_code, folder)

        folder = pull()
        loaded = load(folder)
        check(stage(folder)) >> loaded
        if deletions:

            @task(outlets=[asset])
            def find_deletions(loaded: dict) -> dict:
                number = loaded["load_number"]
                return enter("find_deletions", source_code, interval(), address(connection_id), number)

            find_deletions(loaded)

    return ingest()


def chained_dag(dag_id: str, schedule: Any, steps: list[str], asset: Asset | None, **options: Any) -> Any:
    """Steps of ops.tasks one after another; the last one announces `asset`, if there is one."""

    @dag(
        dag_id=dag_id,
        schedule=schedule,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=dt.timedelta(hours=3),
        default_args=DEFAULTS,
        **options,
    )
    def chained() -> None:
        previous = None
        for step in steps:
            last = step == steps[-1]
            current = task(task_id=step, outlets=[asset] if last and asset else [])(_call(step))()
            if previous is not None:
                previous >> current
            previous = current

    return chained()


def _call(step: str) -> Callable[[], dict]:
    def call() -> dict:
        return enter(step)

    return call
