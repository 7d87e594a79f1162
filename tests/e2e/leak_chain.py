"""One source through pull, stage, gate and load, as a process of its own whose whole output is kept.

``python tests/e2e/leak_chain.py SEALED CODE URL LOGIN SECRET START END``; SEALED=0 puts a vault in place that
seals nothing, so that the search for leaks can be shown to find what it looks for.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
import sys
from typing import Any

import pyarrow as pa

from connectors.base import Interval
from connectors.contract import contract
from ops import tasks
from ops.settings import VIETNAM, Settings


class NoVault:
    """Gives batches back as they came and keeps quarantine in clear."""

    settings: Settings

    def __init__(self, *_: Any) -> None:
        dossier = contract("dossier")
        columns = tuple(
            dataclasses.replace(c, landed_type=pa.date32(), physical_type="date") if c.seal == "year" else c
            for c in dossier.columns
        )
        object.__setattr__(dossier, "columns", columns)

    def seal_together(self, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        return batches

    def quarantine(self, rows: list[dict[str, Any]]) -> None:
        with (self.settings.home / "quarantine.txt").open("ab") as f:
            f.writelines(r["payload"] + b"\n" for r in rows)

    def pseudonyms(self, pairs: list[tuple[str, str]]) -> tuple[list[str], str]:
        return ["ps" for _ in pairs], "nobody is erased"


def main() -> None:
    sealed, code, url, login, secret, start, end = sys.argv[1:]
    logging.basicConfig(level=logging.DEBUG)
    settings = Settings()
    if sealed == "0":
        NoVault.settings = settings
        tasks.VaultClient = NoVault  # type: ignore[misc, assignment]
    first, last = (dt.datetime.fromisoformat(t).replace(tzinfo=VIETNAM) for t in (start, end))
    folder = tasks.pull(settings, code, Interval(first, last), tasks.Address(url, login, secret))
    assert folder
    staged = tasks.stage(settings, code, folder)
    # What Airflow would keep as XCom stands in the output, too.
    print(json.dumps([folder, staged]))
    if sealed == "1" and code == "canary":  # once is enough: the gate's own start costs seconds
        print(json.dumps(tasks.check_landing(settings, code, staged)))
    print(json.dumps(tasks.load(settings, code, folder)))


if __name__ == "__main__":
    main()
