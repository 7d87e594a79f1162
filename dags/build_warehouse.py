"""From raw to marts and open_data, when anything new was loaded."""

from __future__ import annotations

import datetime as dt

from wiring import CITIZEN_CHECKS, DOSSIERS, NATIONAL_PORTAL, WAREHOUSE, chained_dag

from ops.settings import VIETNAM

# An asset is a doorbell: events may merge, so the build reads the load log for what is new.
build_warehouse = chained_dag(
    "build_warehouse",
    DOSSIERS | NATIONAL_PORTAL | CITIZEN_CHECKS,
    ["build", "check_warehouse"],
    WAREHOUSE,
    start_date=dt.datetime(2020, 1, 1, tzinfo=VIETNAM),
    doc_md=(
        "### Build the warehouse\n\n`build` has the vault make the pseudonyms that are lacking, then is one dbt "
        "process (models with their tests); `check_warehouse` is the quality gate. A failing test or gate stops the "
        "chain; readers keep the last good build."
    ),
    tags=["warehouse"],
)
