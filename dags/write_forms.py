"""Each agency's reports as Excel, after each good build."""

from __future__ import annotations

import datetime as dt

from wiring import WAREHOUSE, chained_dag

from ops.settings import VIETNAM

write_forms = chained_dag(
    "write_forms",
    [WAREHOUSE],
    ["write_forms"],
    None,
    start_date=dt.datetime(2020, 1, 1, tzinfo=VIETNAM),
    doc_md=(
        "### Write the agencies' forms\n\nForm II.06a of the running month and the last whole one, and the morning "
        "list, as Excel, a folder for each agency (docs/access.md). Each file is put in place at once; a failure "
        "leaves the last ones."
    ),
    tags=["warehouse"],
)
