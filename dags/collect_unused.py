"""Sealed values that no landed row names any more, deleted once a week."""

from __future__ import annotations

import datetime as dt

from airflow.sdk import CronTriggerTimetable
from wiring import TIMEZONE, chained_dag

from ops.settings import VIETNAM

# Sunday noon: nothing is landed then, and a collection waits for landings to end.
collect_unused = chained_dag(
    "collect_unused",
    CronTriggerTimetable("0 12 * * 0", timezone=TIMEZONE),
    ["collect"],
    None,
    start_date=dt.datetime(2025, 1, 1, tzinfo=VIETNAM),
    doc_md=(
        "### Collect unused ciphertexts\n\nThe vault is told every reference that stands in a landed file or a raw "
        "row, and deletes what it stored more than a week ago and nobody named: what a crash between sealing and "
        "landing left. More than a hundredth of what is stored counts as a landing folder that is missing; an officer "
        "may confirm it (docs/operations.md)."
    ),
    tags=["vault"],
)
