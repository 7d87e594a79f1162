"""The manifest of a landed batch: what was announced, landed, rejected, doubled, and in which files.

A batch is a folder ``<landing>/<source>/<batch id>/`` with one Parquet file for each table, ``rejects.parquet``
and ``manifest.json``. The folder is written aside and renamed, so that a folder with that name is whole.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

MANIFEST = "manifest.json"


class LandingError(Exception):
    """A batch cannot be written, or what stands on disk is not what its manifest says."""


@dataclass
class TableEntry:
    """One table of a batch. `announced` is None where the source announces nothing."""

    announced: int | None
    landed: int
    rejected: int
    duplicates: int
    contract_version: str
    file: str | None = None
    bytes: int = 0
    sha256: str = ""
    undeclared: dict[str, int] = field(default_factory=dict)
    #: Values dropped on receipt, by path: kept nowhere.
    dropped: dict[str, int] = field(default_factory=dict)

    def balances(self) -> bool:
        """Announced = landed + rejected + duplicates, or nothing was announced."""
        return self.announced is None or self.announced == self.landed + self.rejected + self.duplicates


@dataclass
class Manifest:
    """What one pull landed. Times are ISO with offset; the interval is half-open."""

    batch_id: str
    source_code: str
    origin: str
    dialect: str
    interval_start: str
    interval_end: str
    pulled_at: str
    tables: dict[str, TableEntry]
    windows: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0
    retries: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    rejects_file: str | None = None
    #: The batch whose rejects this one brings, repaired; its `pulled_at` is that batch's.
    replay_of: str | None = None

    def to_json(self) -> str:
        """Readable JSON, Vietnamese letters as they are."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest in `folder`; LandingError says what was looked for."""
        path = folder / MANIFEST
        try:
            raw = json.loads(path.read_text())
        except FileNotFoundError:
            raise LandingError(
                f"looked for a landed batch at {folder} and found no {MANIFEST} in it. If the landing folder was "
                "moved or cleaned, clear the task that landed the batch; it will pull again."
            ) from None
        except ValueError as e:
            raise LandingError(f"{path} is not readable JSON ({e}); clear the task that landed it") from None
        raw["tables"] = {name: TableEntry(**entry) for name, entry in raw["tables"].items()}
        return cls(**raw)

    def check_balance(self) -> None:
        """LandingError names each table whose counts do not balance."""
        wrong = [
            f"{name}: announced {t.announced}, landed {t.landed}, rejected {t.rejected}, duplicates {t.duplicates}"
            for name, t in self.tables.items()
            if not t.balances()
        ]
        if wrong:
            raise LandingError(
                f"batch {self.batch_id} does not balance, so it is not kept: {'; '.join(wrong)}. The source "
                "changed while it was read, or its paging lost rows; run the task again."
            )

    def verify_files(self, folder: Path) -> None:
        """LandingError if a file is absent or differs from its checksum."""
        for name, entry in self.tables.items():
            if entry.file is None:
                continue
            path = folder / entry.file
            if not path.exists() or file_sha256(path) != entry.sha256:
                raise LandingError(
                    f"{path} is absent or was changed after landing (table {name}, batch {self.batch_id}). "
                    "Landed files are immutable: restore it, or clear the task that landed it to pull again."
                )

    def rejects(self, folder: Path) -> list[dict[str, str]]:
        """Rejected records: table, key (JSON), field, reason. Never a value."""
        if self.rejects_file is None:
            return []
        path = folder / self.rejects_file
        if not path.exists():
            raise LandingError(
                f"{path} is absent (rejects of batch {self.batch_id}). Landed files are immutable: restore it, "
                "or clear the task that landed it to pull again."
            )
        return pq.read_table(path).to_pylist()

    def rejected_keys(self, folder: Path) -> dict[str, list[dict[str, str | None]]]:
        """{table: keys of its rejected rows}; a part of a key that could not be read is None."""
        found: dict[str, list[dict[str, str | None]]] = {}
        for row in self.rejects(folder):
            found.setdefault(row["table"], []).append(json.loads(row["key"]))
        return found


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def new_batch_id(now: dt.datetime, entropy: bytes) -> str:
    """Sortable by time of the pull, and never twice the same: ``20250701T020304Z-1f2e3d4c``."""
    return f"{now.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{entropy.hex()[:8]}"
