"""The national portal's procedure catalogue and QĐ 766 evaluation into raw."""

from __future__ import annotations

import datetime as dt

from wiring import NATIONAL_PORTAL, ingest_dag

from ops.settings import VIETNAM, Settings
from ops.sources import read_sources

for source in read_sources(Settings().sources_file).values():
    if source.kind != "national_portal":
        continue
    # At midnight the portal is quiet, and the catalogue is in before the day's dossiers are built.
    ingest_national_portal = ingest_dag(
        "ingest_national_portal",
        source.code,
        source.connection,
        source.schedule,
        NATIONAL_PORTAL,
        start_date=dt.datetime.combine(source.active_from, dt.time(), VIETNAM),
        doc_md=(
            "### Pull the national portal\n\nThe whole procedure catalogue with details, and each evaluation listed "
            "under `evaluations` in the list of sources. A public site: one call a second, in sequence, unless the "
            "list of sources says that the address is our own."
        ),
        tags=["ingest", "national-portal", source.origin],
    )
