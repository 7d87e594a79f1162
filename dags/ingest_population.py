"""Identity checks against the national population database, after dossiers were loaded."""

from __future__ import annotations

import datetime as dt

from wiring import CITIZEN_CHECKS, DOSSIERS, ingest_dag

from ops.settings import VIETNAM, Settings
from ops.sources import read_sources

DOC = """
### Ask **{title}** about the citizens new dossiers name

`pull` asks one citizen a call, within the daily quota of the agreement record (`KHOCHUNG_AGREEMENTS`,
`citizen_check.yml`); the clear values come from the vault, which records every reading. Citizens with an account
verified by VNeID and those asked about before are left out; whoever the quota leaves is asked on the next day.
`stage`, `check` and `load` bring the outcomes into `raw.citizen_check`.

**Skipped** means: no agreement record in force (the log says which file is lacking), nobody to ask about, or the quota
is used up. **When it fails**, clearing the task is safe; it asks nobody twice whose answer was landed.
"""

for source in read_sources(Settings().sources_file).values():
    if source.kind != "population":
        continue
    # An asset is a doorbell: whom to ask about is read from the warehouse. Dossiers are loaded every day, which is
    # also how often the quota is new.
    ingest_population = ingest_dag(
        "ingest_population",
        source.code,
        source.connection,
        DOSSIERS,
        CITIZEN_CHECKS,
        step="check_citizens",
        start_date=dt.datetime.combine(source.active_from, dt.time(), VIETNAM),
        doc_md=DOC.format(title=source.title),
        tags=["ingest", source.kind, source.origin],
    )
