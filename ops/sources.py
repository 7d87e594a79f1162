"""The list of sources: ``ops/sources.yml`` as checked objects."""

from __future__ import annotations

import datetime as dt
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from connectors.base import Connector, Endpoint, Interval
from ops.settings import VIETNAM, SettingsError

ORIGINS = ("real", "simulated")
#: In place of a cron: the source is asked when dossiers were loaded.
AFTER_DOSSIERS = "@dossiers"
#: Options that are no matter of the connector's.
_OPTIONS = ("deletions", "table")
#: How dossiers that a source no longer lists are found, where `deletions` does not say otherwise.
DELETIONS = {"days": 90, "share": 0.01, "at_least": 5, "confirm_hours": 12}
_REQUIRED = ("title", "connector", "kind", "connection", "origin", "active_from", "schedule")


@dataclass(frozen=True)
class Source:
    """One entry of the list of sources."""

    code: str
    title: str
    connector: str
    kind: str
    connection: str
    origin: str
    active_from: dt.date
    active_until: dt.date | None
    schedule: str
    options: dict[str, Any]

    def connector_class(self) -> type[Connector]:
        """The connector's class; SettingsError names the module that was looked for."""
        module, _, name = self.connector.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as e:
            raise SettingsError(f"source {self.code}: looked for connector {self.connector}: {e}") from None
        if not (isinstance(found, type) and issubclass(found, Connector)):
            raise SettingsError(f"source {self.code}: {self.connector} is no Connector")
        known = {*found.common_options, *found.own_options, *_OPTIONS}
        if unknown := sorted(set(self.options) - known):
            raise SettingsError(
                f"source {self.code}: unknown word {', '.join(unknown)} in its options; {self.connector} knows "
                f"{', '.join(sorted(known))}"
            )
        policy = self.options.get("deletions", {})
        if not isinstance(policy, dict) or not set(policy) <= set(DELETIONS):
            raise SettingsError(
                f"source {self.code}: deletions: {policy!r} in its options; it may hold {', '.join(DELETIONS)}"
            )
        if hasattr(found, "tables"):
            return found
        # A connector for any table: the entry says which (files that are dropped).
        if not isinstance(table := self.options.get("table"), str):
            raise SettingsError(
                f"source {self.code}: {self.connector} needs `table: <contract>` in its options"
            )
        return type(found.__name__, (found,), {"tables": (table,)})

    def connect(self, base_url: str, login: str, secret: str) -> Connector:
        """A connector for this source; nothing is called yet."""
        return self.connector_class()(self.code, Endpoint(base_url, login, secret, dict(self.options)))

    def clip(self, interval: Interval) -> Interval | None:
        """The part of `interval` in which this source held data, or None."""
        start = max(interval.start, _midnight(self.active_from))
        end = min(interval.end, _midnight(self.active_until)) if self.active_until else interval.end
        return Interval(start, end) if start < end else None


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), VIETNAM)


def _wrong_dates(entry: dict[str, Any]) -> list[str]:
    names = [n for n in ("active_from", "active_until") if entry.get(n) is not None]
    # A date with a time is a date in Python's eyes, and would move midnight.
    wrong = [f"{n} {entry[n]!r} is no date (2025-07-01)" for n in names if type(entry[n]) is not dt.date]
    if not wrong and len(names) == 2 and entry["active_from"] >= entry["active_until"]:
        return [f"active_until {entry['active_until']} is not after active_from {entry['active_from']}"]
    return wrong


def read_sources(path: Path) -> dict[str, Source]:
    """{code: source}; SettingsError lists everything that is wrong, with the file."""
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise SettingsError(f"looked for the list of sources at {path} (setting KHOCHUNG_SOURCES)") from None
    except yaml.YAMLError as e:
        raise SettingsError(f"{path} is not readable YAML: {e}") from None
    entries = raw.get("sources") if isinstance(raw, dict) else None
    if not isinstance(entries, dict) or not entries:
        raise SettingsError(f"{path} holds no `sources:`")
    wrong: list[str] = []
    sources: dict[str, Source] = {}
    for code, entry in entries.items():
        if not isinstance(entry, dict):
            wrong.append(f"{code} is no list of settings")
            continue
        missing = [k for k in _REQUIRED if k not in entry]
        unknown = sorted(set(entry) - {*_REQUIRED, "active_until", "options"})
        if missing:
            wrong.append(f"{code} lacks {', '.join(missing)}")
        if unknown:
            wrong.append(f"{code} has the unknown setting {', '.join(unknown)}")
        if entry.get("origin") not in ORIGINS:
            wrong.append(f"{code}: origin {entry.get('origin')!r} is not {' or '.join(ORIGINS)}")
        wrong += [f"{code}: {why}" for why in _wrong_dates(entry)]
        if not missing and not unknown:
            sources[code] = Source(
                code=code, active_until=entry.get("active_until"), options=entry.get("options") or {},
                **{k: entry[k] for k in _REQUIRED},
            )  # fmt: skip
    if wrong:
        raise SettingsError(f"{path}: " + "; ".join(wrong))
    return sources


def check_sources(path: Path) -> None:
    """What a run would only meet at its first call of a source, told at once; SettingsError lists all of it."""
    from croniter import croniter  # type: ignore[import-untyped]

    wrong: list[str] = []
    for source in read_sources(path).values():
        try:
            source.connector_class()
        except SettingsError as e:
            wrong.append(str(e))
        if source.schedule != AFTER_DOSSIERS and not croniter.is_valid(source.schedule):
            wrong.append(
                f"source {source.code}: schedule {source.schedule!r} is no cron of five fields, as '0 0 * * *' is"
            )
    if wrong:
        raise SettingsError(f"{path}: " + "; ".join(wrong))
