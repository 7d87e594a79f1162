"""Invented citizens whom the sandbox's population database knows, does not know, or knows otherwise."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np

from connectors.base import Chunk, Request
from connectors.population import CheckRequest, Person, Population, Question
from sandbox.generator import mix_person
from sandbox.people import Applicants, birth_dates

#: Numbers of persons in the sandbox, by what its database holds of them.
SAME, YEAR_ONLY, ABSENT, RENAMED, OTHER_YEAR = 0, 28, 126, 140, 287
OFFICER = "H20.14-0042"
NOW = dt.datetime(2025, 7, 1, 9, tzinfo=dt.UTC)


@dataclasses.dataclass(frozen=True)
class Citizen:
    """One of them as the dossiers write it."""

    person: Person
    number: str
    name: str


def citizen(which: int, /, **changes: Any) -> Citizen:
    """The citizen of one number of the sandbox, or one about whom the dossiers say otherwise."""
    person = np.array([which])
    keys = mix_person(person)
    drawn = Applicants(person, np.array([1]), keys)
    year = changes.pop("birth_year", int(birth_dates(keys)[0][0]))
    who = Person(f"id1_{which:032x}", f"ref1_{which:032x}", year)
    return dataclasses.replace(Citizen(who, drawn.number[0], drawn.name[0]), **changes)


def asking(*citizens: Citizen, **more: Any) -> dict[str, Any]:
    """What a CheckRequest needs beside the interval, with a vault that holds just these."""
    held = {c.person.token: c for c in citizens}
    count = iter(range(1, 10**6))

    def disclose(person: Person) -> Question | None:
        found = held.get(person.token)
        return found and Question(f"kc-{next(count):06d}", found.number, found.name)

    return {
        "people": [c.person for c in citizens], "disclose": disclose, "officer_code": OFFICER,
        "agreement": "Thỏa thuận 12/TT-C06", "clock": lambda: NOW, **more,
    }  # fmt: skip


def checked(connector: Population, request: Request) -> Iterator[Chunk]:
    """`chunks` of the connector about eight of them, for the conformance suite."""
    some = [citizen(n) for n in (SAME, YEAR_ONLY, ABSENT, RENAMED, OTHER_YEAR, 7, 14, 21)]
    return Population.chunks(connector, CheckRequest(request.interval, **asking(*some)))
