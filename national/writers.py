"""Who writes a unit's dossiers to the national portal: `writers.yml` as checked objects."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("writers.yml")
WRITERS = ("dossier_system", "warehouse")


class WritersError(Exception):
    """The list of writers is wrong; the message lists every entry that is."""


@dataclass(frozen=True)
class Unit:
    """One unit and its writer."""

    code: str
    writer: str
    since: dt.date | None = None
    adopt: bool = False
    decision: str = ""


@dataclass(frozen=True)
class Writers:
    """The declared writer of every unit."""

    default: str
    units: Mapping[str, Unit]

    def of(self, agency_code: str) -> Unit:
        """The entry that holds for an agency: its own, else that of the nearest above it, else the default."""
        at = agency_code
        while at:
            if at in self.units:
                return self.units[at]
            at = at.rpartition(".")[0]
        return Unit("", self.default)

    @property
    def ours(self) -> list[Unit]:
        """Units the warehouse writes."""
        return [u for u in self.units.values() if u.writer == "warehouse"]


def read_writers(path: Path = FILE) -> Writers:
    """The list of writers; WritersError lists what is wrong with it."""
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as e:
        raise WritersError(
            f"looked for the list of writers in {path} (KHOCHUNG_NATIONAL_WRITERS): {e}"
        ) from None
    if not isinstance(body, dict) or set(body) != {"default", "units"}:
        raise WritersError(f"{path}: default and units are wanted, and nothing else")
    wrong: list[str] = []
    default = body["default"] if isinstance(body["default"], dict) else {}
    if default != {"writer": "dossier_system"}:
        wrong.append("default: {writer: dossier_system} is the only default: a unit is ours by its own entry")
    units: dict[str, Unit] = {}
    for code, given in (body["units"] or {}).items():
        trouble = list(_troubles(given))
        wrong += [f"{code}: {t}" for t in trouble]
        if not trouble:
            units[str(code)] = Unit(code=str(code), **given)
    if wrong:
        raise WritersError(f"{path}: {'; '.join(wrong)}")
    return Writers("dossier_system", units)


def _troubles(given: Any) -> list[str]:
    if not isinstance(given, dict) or given.get("writer") not in WRITERS:
        return [f"writer is one of {', '.join(WRITERS)}"]
    wrong = []
    if unknown := sorted(set(given) - {"writer", "since", "adopt", "decision"}):
        wrong.append(f"unknown {', '.join(unknown)}")
    if given["writer"] == "warehouse":
        if type(given.get("since")) is not dt.date:
            wrong.append("since is wanted: a date such as 2025-07-01")
        if not given.get("decision"):
            wrong.append("decision is wanted: who decided that the warehouse writes")
    if not isinstance(given.get("adopt", False), bool):
        wrong.append("adopt is true or false")
    return wrong
