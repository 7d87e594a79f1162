"""One DAG for each system of the province in the list of sources: its records of a day into raw."""

from __future__ import annotations

import datetime as dt

from wiring import DOSSIERS, ingest_dag

from ops.settings import VIETNAM, Settings
from ops.sources import read_sources

DOC = """
### Pull dossiers from **{title}** (`{code}`, origin: {origin})

`pull` reads what the source holds for the interval (of a dossier system: every window its search offers, and
every dossier still held as open), has the vault seal it, and lands Parquet with a manifest whose counts balance.
`stage`, `check` and `load` bring the batch into `raw` exactly once. `find_deletions` compares the source's list of
keys with what is held and marks what is gone; it is skipped when nothing is.

**Backfill:** `airflow backfill create --dag-id ingest_{kind}_{code} --from-date ... --to-date ...`.
**When it fails** the last line of the task's log says what was looked for, where, and what to do; clearing the
task is always safe.
"""

for source in read_sources(Settings().sources_file).values():
    if source.kind in ("national_portal", "population"):
        continue
    dag_id = f"ingest_{source.kind}_{source.code}"
    # No end_date for a system that froze: Airflow would then also refuse a run asked for by hand; `pull` skips
    # days on which the source held nothing. Ticks at midnight make intervals of whole days, which the monthly
    # figures count by; what reaches the source later is caught by the margin of the next days.
    globals()[dag_id] = ingest_dag(
        dag_id,
        source.code,
        source.connection,
        source.schedule,
        DOSSIERS,
        deletions="deletions" in source.options,
        start_date=dt.datetime.combine(source.active_from, dt.time(), VIETNAM),
        doc_md=DOC.format(title=source.title, code=source.code, kind=source.kind, origin=source.origin),
        tags=["ingest", source.kind, source.origin],
    )
