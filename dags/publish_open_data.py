"""A numbered release of the open datasets, after each good build."""

from __future__ import annotations

import datetime as dt

from wiring import OPEN_DATA, WAREHOUSE, chained_dag

from ops.settings import VIETNAM, Settings

publish_open_data = chained_dag(
    "publish_open_data",
    [WAREHOUSE],
    # Only where a catalogue is set; a release stands whether or not the catalogue is well.
    ["publish", "push_catalogue"] if Settings().get("KHOCHUNG_CKAN_URL") else ["publish"],
    OPEN_DATA,
    start_date=dt.datetime(2020, 1, 1, tzinfo=VIETNAM),
    doc_md=(
        "### Publish open data\n\nBuilt aside, checked from its files, switched in at once; if anything fails, the "
        "last good release stays. Unchanged data make no new release."
    ),
    tags=["open-data"],
)
