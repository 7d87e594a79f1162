"""Our dossiers and the national portal's copy of them, side by side."""

from __future__ import annotations

import datetime as dt

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task
from wiring import DEFAULTS, DRY_RUN, RECEIVED, TIMEZONE, address, enter

from ops.settings import VIETNAM

DOC = """
### Compare with what the national portal holds

`reconcile_national` compares the newest file of the portal's operator (put into `KHOCHUNG_NATIONAL_EXPORTS`) with all
dossiers of its days, looks some thousand up, and writes `national.standing`, an Excel file an agency and a page below
`<home>/national/reconciliation-<number>`. Nothing is sent; the next `sync_national_portal` heals what is ours.
`explain_national` scores what the portal holds by our rules and writes files and page again with what each costs.
`export` names a file to compare again; `period` is the **backfill**: dossiers received then are looked up. `dry_run`
calls nobody; a file says what would be compared and looked up. The task is **skipped** while an operator has stopped it
(`python -m ops national stop --why ...`). **When it fails**, clearing is safe: a comparison is whole, or is not there.
"""


@dag(
    dag_id="reconcile_national_portal",
    # Before offices open, after the night's loads and build.
    schedule=CronTriggerTimetable("0 6 * * *", timezone=TIMEZONE),
    catchup=False,
    max_active_runs=1,
    start_date=dt.datetime(2025, 7, 1, tzinfo=VIETNAM),
    dagrun_timeout=dt.timedelta(hours=3),
    default_args=DEFAULTS,
    params={
        "export": Param(
            None, type=["null", "string"], title="Export / Tệp kết xuất", description="Compare it again."
        ),
        "period": RECEIVED,
        "dry_run": DRY_RUN,
    },
    doc_md=DOC,
    tags=["national", "reconcile"],
)
def reconcile_national_portal() -> None:
    """Compare, look up, write; then what it costs."""

    @task
    def reconcile_national() -> dict:
        asked = get_current_context()["params"]
        where = lambda: address("national_exchange")  # noqa: E731
        return enter("reconcile_national", where, asked["export"], asked["period"], asked["dry_run"])

    @task
    def explain_national() -> dict:
        return enter("explain_national", get_current_context()["params"]["dry_run"])

    reconcile_national() >> explain_national()


reconcile_national_portal()
