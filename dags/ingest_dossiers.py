"""One DAG for each dossier system in the list of sources: dossiers of a day into raw."""

from __future__ import annotations

import datetime as dt

from wiring import DOSSIERS, ingest_dag

from ops.settings import VIETNAM, Settings
from ops.sources import read_sources

DOC = """
### Pull dossiers from **{title}** (`{code}`, origin: {origin})

`pull` reads every window the source's search offers for the interval and every dossier still held as open,
has the vault seal them, and lands Parquet with a manifest whose counts balance. `stage`, `check` and `load`
bring the batch into `raw` exactly once.

**Backfill:** `airflow backfill create --dag-id ingest_dossiers_{code} --from-date ... --to-date ...`.
**When it fails** the last line of the task's log says what was looked for, where, and what to do; clearing the
task is always safe.
"""

for source in read_sources(Settings().sources_file).values():
    if source.kind != "dossiers":
        continue
    # No end_date for a system that froze: Airflow would then also refuse a run asked for by hand; `pull` skips
    # days on which the source held nothing. Ticks at midnight make intervals of whole days, which the monthly
    # figures count by; what reaches the source later is caught by the margin of the next days.
    globals()[f"ingest_dossiers_{source.code}"] = ingest_dag(
        f"ingest_dossiers_{source.code}",
        source.code,
        source.connection,
        source.schedule,
        DOSSIERS,
        start_date=dt.datetime.combine(source.active_from, dt.time(), VIETNAM),
        doc_md=DOC.format(title=source.title, code=source.code, origin=source.origin),
        tags=["ingest", "dossiers", source.origin],
    )
