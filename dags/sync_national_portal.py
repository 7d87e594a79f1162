"""Dossiers to the national portal, for units the warehouse writes."""

from __future__ import annotations

import datetime as dt

from airflow.sdk import (
    Asset,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    Param,
    dag,
    get_current_context,
    task,
)
from wiring import DEFAULTS, TIMEZONE, WAREHOUSE, address, enter

from ops.settings import VIETNAM

DOC = """
### Send dossiers to the national portal, where the warehouse is the declared writer

`sync_national` plans what changed since it last planned (keyed hash of the sendable content), then sends it, urgent
statuses first, one worker a unit. Who writes stands in `national/writers.yml`; by default nobody is written by us and
the task is **skipped**. It is skipped, too, without an agreement record `national_sync.yml`, and while an operator has
stopped it (`python -m ops national stop --why ...`).

With the parameter `dry_run` nothing is sent: a file without personal data says what would be. **When it fails**,
clearing is safe: what is uncertain is looked up at the portal before anything is sent again. A backfill is an earlier
`since` in `national/writers.yml`: what the portal holds already costs no call.
"""


@dag(
    dag_id="sync_national_portal",
    # After each build; hourly besides, for what waits to be tried again and for urgent statuses.
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("30 * * * *", timezone=TIMEZONE), assets=[WAREHOUSE]
    ),
    catchup=False,
    max_active_runs=1,
    start_date=dt.datetime(2025, 7, 1, tzinfo=VIETNAM),
    dagrun_timeout=dt.timedelta(hours=6),
    default_args=DEFAULTS,
    params={"dry_run": Param(False, type="boolean", title="Dry run / Chạy thử", description="Send nothing.")},
    doc_md=DOC,
    tags=["national", "push"],
)
def sync_national_portal() -> None:
    """One task: plan and send."""

    @task(outlets=[Asset("kho-chung/national-portal/outbox")])
    def sync_national() -> dict:
        dry = bool(get_current_context()["params"].get("dry_run"))
        return enter("sync_national", lambda: address("national_exchange"), dry)

    sync_national()


sync_national_portal()
