"""Dossiers to the national portal, for units the warehouse writes."""

from __future__ import annotations

import datetime as dt

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, dag, get_current_context, task
from wiring import DEFAULTS, DRY_RUN, RECEIVED, TIMEZONE, WAREHOUSE, address, enter

from ops.settings import VIETNAM

DOC = """
### Send dossiers to the national portal, where the warehouse is the declared writer

`sync_national` plans what changed since it last planned (keyed hash of the sendable content), then sends it, urgent
statuses first, one worker a unit. By the clock it sends only urgent statuses and what was tried before; after a build,
or started by hand, everything. Who writes stands in `national/writers.yml`; by default we write nobody and the task is
**skipped**, as it is without an agreement record `national_sync.yml`, and while an operator has stopped it
(`python -m ops national stop --why ...`): then nothing is planned either.

`dry_run` calls nobody; a file without personal data says what would be sent. `period` is the **backfill**: what was
received then is planned again and sent, from the unit's `since` on; what the portal holds already costs no call. **When
it fails**, clearing is safe: what is uncertain is looked up at the portal before anything is sent again.
"""


@dag(
    dag_id="sync_national_portal",
    # After each build; hourly besides, for urgent statuses and what waits to be tried again.
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("30 * * * *", timezone=TIMEZONE), assets=[WAREHOUSE]
    ),
    catchup=False,
    max_active_runs=1,
    start_date=dt.datetime(2025, 7, 1, tzinfo=VIETNAM),
    dagrun_timeout=dt.timedelta(hours=6),
    default_args=DEFAULTS,
    params={"dry_run": DRY_RUN, "period": RECEIVED},
    doc_md=DOC,
    tags=["national", "push"],
)
def sync_national_portal() -> None:
    """One task: plan and send."""

    @task(outlets=[Asset("kho-chung/national-portal/outbox")])
    def sync_national() -> dict:
        context = get_current_context()
        asked, hourly = context["params"], context["dag_run"].run_type == "scheduled"
        where = lambda: address("national_exchange")  # noqa: E731
        return enter("sync_national", where, asked["dry_run"], asked["period"], hourly)

    sync_national()


sync_national_portal()
