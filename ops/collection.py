"""What the vault holds and no landed row names: told to it, and deleted by it (`vault.collection`).

In use is what stands in a landed file or in a row of ``raw``; everything after them is made from them. Both are read
in batches, so that memory stays the same however much there is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from landing.manifest import LandingError, Manifest
from landing.writer import under_way
from ops.outcomes import NothingToDo
from ops.settings import Settings
from vault.client import VaultClient, VaultRefused

#: Rows read at once.
_ROWS = 16_384
_TEXT_COLUMNS = (
    "select c.relname, array_agg(a.attname::text order by a.attnum) from pg_class c "
    "join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
    "and a.atttypid = 'text'::regtype where c.relnamespace = to_regnamespace('raw') and c.relkind in ('r', 'p') "
    "group by 1 order by 1"
)


class LandingUnderWay(NothingToDo):
    """A batch that was sealed may be landed any moment; the message names it, and the next collection does the work."""


class TooMuchUnused(Exception):
    """So much is named nowhere that something must be missing; the message is the vault's."""


@dataclasses.dataclass(frozen=True)
class Collected:
    """What a collection found and deleted; in a dry run nothing is deleted, and `refused` says why it would not be."""

    number: int
    batches: int
    stored: int
    unused: int
    unused_dossiers: int
    values: int = 0
    dossiers: int = 0
    keys: int = 0
    refused: str | None = None


def collect(settings: Settings, vault: VaultClient, dry_run: bool = False) -> Collected:
    """Have the vault delete what no landed file and no raw row names.

    Raises LandingUnderWay, LandingError where a landed file is absent, TooMuchUnused.
    """
    if not settings.landing.is_dir():
        raise LandingError(f"looked for the landed batches in {settings.landing} and found no such folder")
    number = vault.begin_collecting()
    # After it was begun: what is sealed from now on, the vault marks by itself.
    if going := under_way(settings.landing):
        raise LandingUnderWay(
            f"being landed now: {', '.join(going)} (below {settings.landing}). What is sealed for them stands in no "
            "landed file yet, so nothing was collected. Run this again when they are landed; what a killed run left "
            "counts as such for six hours."
        )
    batches = 0
    for folder in _batches(settings.landing):
        batches += 1
        for rows in _landed(folder):
            vault.in_use(number, rows)
    for rows in _raw(settings.login_url("loader")):
        vault.in_use(number, rows)
    counted = vault.unused(number)
    found = Collected(number, batches, counted["stored"], counted["unused"], counted["dossiers"])
    if dry_run:
        return dataclasses.replace(found, refused=counted["refused"])
    if counted["refused"]:
        raise TooMuchUnused(counted["refused"])
    try:
        return dataclasses.replace(found, **vault.delete_unused(number))
    except VaultRefused as e:
        raise TooMuchUnused(str(e)) from None


def _batches(landing: Path) -> Iterator[Path]:
    """Folders of landed batches, a landing's own folder for what it builds left out."""
    for home in sorted(landing.iterdir()):
        if home.is_dir():
            yield from sorted(p for p in home.iterdir() if p.is_dir() and p.name[0] != ".")


def _landed(folder: Path) -> Iterator[pa.RecordBatch]:
    """Text columns of the files of one landed batch."""
    for name, entry in Manifest.read(folder).tables.items():
        if entry.file is None:
            continue
        path = folder / entry.file
        try:
            file = pq.ParquetFile(path)
            texts = [f.name for f in file.schema_arrow if pa.types.is_string(f.type)]
            yield from file.iter_batches(_ROWS, columns=texts)
        except (OSError, pa.ArrowException) as e:
            raise LandingError(
                f"{path} (table {name}) is absent or cannot be read ({type(e).__name__}), so it is not known which "
                "sealed values it names, and nothing was collected. Restore the file from its backup, then try again."
            ) from None


def _raw(url: str) -> Iterator[pa.RecordBatch]:
    """Text columns of all tables of ``raw``."""
    with psycopg.connect(url) as connection:
        tables: list[tuple[Any, ...]] = connection.execute(_TEXT_COLUMNS).fetchall()
    with adbc.connect(url) as connection, connection.cursor() as cursor:
        for table, columns in tables:
            listed = ", ".join('"' + c.replace('"', '""') + '"' for c in columns)
            cursor.execute(f'select {listed} from raw."{table}"')  # noqa: S608 - names the catalogue gave
            yield from cursor.fetch_record_batch()
