"""The list of roles, `ops/roles.yml`: who reads what in the warehouse by a name of his own, and what follows from it.

| Role in the file | Group in PostgreSQL | Reads |
|---|---|---|
| agency | <database>_agency_<code>, each in <database>_agency | of tables with dossiers the rows of its agencies |
| analyst | <database>_analyst_person | all rows of marts and ioc |
| ioc | <database>_ioc | the operations centre's figures |
| auditor | <database>_auditor_person | ops: loads and outcomes |

Here is what the file says, checked, and which agencies' dossiers each agency sees; `ops.persons` makes logins of it,
`ops.access` gives them their rights on tables.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from ops.settings import VIETNAM, Settings, SettingsError

SCHEMAS = ("marts", "ioc")
ROLES = ("agency", "analyst", "ioc", "auditor")
LIMITS = ("connections", "statement", "pause", "lock", "transaction", "blocking", "sessions")
ALL_ROWS = "all"
#: Names of persons hold a dot and those of the house never do.
LOGIN = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")
_CODE = re.compile(r"[A-Z0-9]+(\.[A-Z0-9]+)*")
_TABLE = re.compile(r"(marts|ioc)\.[a-z][a-z0-9_]*")
_COLUMN = re.compile(r"[a-z][a-z0-9_]*")


class AccessError(SettingsError):
    """The list of roles is wrong, or PostgreSQL does not allow what it asks."""


@dataclass(frozen=True)
class Person:
    """One who enters by a login of his own until the end of the day `until` (Vietnamese time)."""

    login: str
    name: str
    role: str
    agencies: tuple[str, ...]
    until: dt.date
    decision: str

    @property
    def valid_until(self) -> dt.datetime:
        """The first moment he may not enter any more."""
        return dt.datetime.combine(self.until + dt.timedelta(days=1), dt.time(), VIETNAM)


@dataclass(frozen=True)
class Roles:
    """What the file says; `tables` is {"marts.fct_dossier": {role: "all" or a column}}."""

    persons: dict[str, Person]
    limits: dict[str, int]
    tables: dict[str, dict[str, str]]

    @property
    def agencies(self) -> list[str]:
        """Codes of the agencies that have a role."""
        return sorted({code for p in self.persons.values() for code in p.agencies})


def read_roles(path: Path) -> Roles:
    """Read the list of roles; AccessError names the entry that is wrong."""
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as e:
        raise AccessError(f"looked for the list of roles in {path} (KHOCHUNG_ROLES): {e}") from None
    if not isinstance(body, dict) or set(body) != {"persons", "limits", "tables"}:
        raise AccessError(
            f"{path}: persons, limits and tables are wanted, and nothing else (handovers between agencies stand in "
            "dbt/seeds/handover_decision.csv)"
        )

    def wrong(where: str, what: str) -> AccessError:
        return AccessError(f"{path}: {where}: {what}")

    persons = {}
    for login, given in (body["persons"] or {}).items():
        if not isinstance(given, dict) or not LOGIN.fullmatch(str(login)) or len(login) > 60:
            raise wrong(str(login), "a login is small letters and digits with a dot, such as nguyen.van.a")
        agencies = tuple(given.get("agencies") or ())
        if set(given) - {"name", "role", "agencies", "until", "decision"} or given.get("role") not in ROLES:
            raise wrong(login, f"wanted: name, role ({', '.join(ROLES)}), agencies, until, decision")
        if type(given.get("until")) is not dt.date:
            raise wrong(login, "until is the last day of access, such as 2026-12-31; nobody stays for ever")
        if not given.get("name") or not given.get("decision"):
            raise wrong(login, "name and decision are wanted: who it is, and who allowed it")
        if (given["role"] == "agency") != bool(agencies) or not all(
            isinstance(c, str) and _CODE.fullmatch(c) for c in agencies
        ):
            raise wrong(login, "agencies are codes such as H20.19, of the role agency and of no other")
        persons[login] = Person(
            login, given["name"], given["role"], agencies, given["until"], given["decision"]
        )
    limits = body["limits"]
    if not isinstance(limits, dict) or set(limits) != set(LIMITS):
        raise wrong("limits", f"wanted: {', '.join(LIMITS)}")
    if not all(type(n) is int and n > 0 for n in limits.values()):
        raise wrong("limits", "whole numbers above 0 are wanted")
    tables = body["tables"] or {}
    for table, who in tables.items():
        if not _TABLE.fullmatch(str(table)) or not isinstance(who, dict) or set(who) - set(ROLES):
            raise wrong(
                str(table), f"wanted: a table of {' or '.join(SCHEMAS)}, and for roles what they read"
            )
        for role, rows in who.items():
            if rows != ALL_ROWS and (role != "agency" or not _COLUMN.fullmatch(str(rows))):
                raise wrong(table, f"{role}: {ALL_ROWS}, or for agencies the column with the agency's code")
    return Roles(persons, dict(limits), dict(tables))


@dataclass(frozen=True)
class Names:
    """Names of the groups; roles are the whole server's, so each begins with the warehouse's database."""

    database: str

    @property
    def person(self) -> str:
        """Whoever is a person; may enter the database."""
        return f"{self.database}_person"

    def group(self, role: str) -> str:
        """Group of a role of the file. The logins <database>_analyst and _auditor are older, and of the house."""
        return f"{self.database}_{role}{'_person' if role in ('analyst', 'auditor') else ''}"

    def agency(self, code: str) -> str:
        """Group of one agency."""
        return f"{self.group('agency')}_{code.replace('.', '_').lower()}"

    def groups_of(self, person: Person) -> set[str]:
        """Groups a person belongs into beside `person`."""
        return {self.agency(c) for c in person.agencies} or {self.group(person.role)}


def names_of(settings: Settings) -> Names:
    """Names of the groups in this installation."""
    return Names(urlsplit(settings.warehouse_url).path.strip("/"))


def scopes(
    agencies: Collection[str],
    parents: Mapping[str, str | None],
    successors: Mapping[str, str],
) -> dict[str, list[str]]:
    """For each of `agencies` the codes whose dossiers it sees, sorted.

    A code is seen by itself and everybody above it. Where a body was handed over, its successor stands above it in its
    parent's place, and it sees nothing any more itself.
    `parents` is {code: code of the agency above} of all known agencies, `successors` {abolished code: code}.
    """
    seen: dict[str, set[str]] = {code: set() for code in agencies}
    for code in {*parents, *successors, *agencies}:
        at: str | None = code
        passed: set[str] = set()
        # A circle, which only wrong data hold, ends where it began.
        while at is not None and at not in passed:
            passed.add(at)
            if at not in successors and at in seen:
                seen[at].add(code)
            at = successors.get(at) or parents.get(at)
    return {code: sorted(found) for code, found in seen.items()}
