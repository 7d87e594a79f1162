"""Precision and recall of the vault's crosswalk on generated homonyms, over the vault's own process and database.

Names follow the frequencies of `sandbox/data`; households share an address and often a telephone; clerks write in
capitals, without marks, a year alone, a shop's telephone, a parent's number. Homonyms are planted far more often than
they live (`SHARES`), so that the rule is tried where it may err. Everything is a function of the number of persons.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from benchmarks.world import Line, World
from connectors.contract import contract
from ops.settings import PROJECT
from sandbox.chance import keys_for
from sandbox.people import HAMLETS, STREETS, ascii_of, birth_dates, full_names
from vault.client import VaultClient
from vault.crosswalk import OTHER_PAPER, ROLES, report
from vault.keys import FileKeys
from vault.store import Setup, Store

PERSONS, LONG = 24_000, 200_000
TARGET = 0.999
#: Households of each size, from one member up.
SIZES = (12, 16, 22, 28, 14, 8)
#: Homonyms, of the households large enough, or (strangers) of all persons.
SHARES = {
    "father and son": 0.02,
    "twins but for the marks": 0.02,
    "twins of one name": 0.004,
    "cousins of one year": 0.01,
    "strangers": 0.01,
}
_MARKS = (("Hùng", "Hưng"), ("Tú", "Tư"), ("Hoa", "Hòa"), ("Thủy", "Thúy"), ("Lan", "Lân"), ("Đức", "Dực"))
_SHOPS = 60
_AT_ONCE = 5_000


@dataclass
class Person:
    """An invented person; `papers` are numbers by kind, `trap` what was planted."""

    name: str
    born: dt.date
    woman: bool
    household: int
    address: str
    phone: str
    email: str | None = None
    trap: str = ""
    papers: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Measured:
    """Pairs of papers: joined, joined rightly, and those that are one person's; false ones by what was planted.

    `name_and_date` is the precision of joining whatever has an equal name and birth date, without further proof.
    """

    persons: int
    papers: int
    joined: int
    right: int
    all_true: int
    false_by_trap: dict[str, int]
    name_and_date: float
    told: dict[str, Any]
    seconds: float
    mebibytes: float

    @property
    def precision(self) -> float:
        """Share of the joined pairs that are one person's; 0 where none was joined."""
        return self.right / self.joined if self.joined else 0.0

    @property
    def recall(self) -> float:
        """Share of one person's pairs that were joined."""
        return self.right / self.all_true


def population(count: int) -> list[Person]:
    """`count` persons in households, homonyms among them, with their papers."""
    chance = random.Random(count)
    keys = keys_for("crosswalk", count)
    names = full_names(keys)
    years, months, days = (a.tolist() for a in birth_dates(keys))
    people: list[Person] = []
    household = 0
    while len(people) < count:
        size = min(chance.choices(range(1, 7), SIZES)[0], count - len(people))
        house = chance.randint(1, 480)
        address = (
            f"Số {house} đường {chance.choice(STREETS)}"
            if chance.random() < 0.35
            else f"Số {house}/{1 + house % 9}, ấp {chance.choice(HAMLETS)}"
        )
        members = []
        for place in range(size):
            at = len(people) + place
            woman = " Thị " in names[at]
            born = dt.date(years[at], months[at], days[at])
            members.append(Person(names[at], born, woman, household, address, f"04{at:08d}"))
        _family(members, chance)
        people += members
        household += 1
    for person in chance.sample(people, int(count * SHARES["strangers"])):
        other = chance.choice(people)
        if other.household != person.household:
            person.name, person.born, person.woman = other.name, other.born, other.woman
            person.trap = other.trap = "strangers"
    for at, person in enumerate(people):
        _equip(person, at, people, chance)
    return people


def _family(members: list[Person], chance: random.Random) -> None:
    """Children bear the first member's surname and are a generation younger; some are homonyms."""
    head, children = members[0], members[2:]
    for child in children:
        child.name = " ".join([head.name.split()[0], *child.name.split()[1:]])
        child.born = child.born.replace(year=min(head.born.year + chance.randint(20, 34), 2010))
    if children and chance.random() < SHARES["father and son"]:
        children[0].name, children[0].woman = head.name, head.woman
        head.trap = children[0].trap = "father and son"
    if len(children) < 2 or children[0].trap:
        return
    one, other = children[:2]
    draw = chance.random()
    for trap in ("twins but for the marks", "twins of one name", "cousins of one year"):
        if 0 <= draw < SHARES[trap]:
            one.trap = other.trap = trap
            other.name, other.woman = one.name, one.woman
            other.born = one.born if "twins" in trap else one.born.replace(month=one.born.month % 12 + 1)
            if trap == "twins but for the marks":
                stem = one.name.split()[:-1]
                one.name, other.name = (" ".join([*stem, given]) for given in chance.choice(_MARKS))
        draw -= SHARES[trap]


def _equip(person: Person, at: int, people: list[Person], chance: random.Random) -> None:
    adult = person.born.year < 2005
    if not adult or chance.random() < 0.25:
        person.phone = next(
            p for p in people[max(0, at - 6) : at + 1] if p.household == person.household
        ).phone
    if adult and chance.random() < 0.3:
        person.email = f"{ascii_of(person.name)}.{at}@example.vn"
    if person.trap and chance.random() < 0.5:
        # The hardest: each of two homonyms is seen with one paper, of another kind.
        person.papers.append(_cccd(person, at) if at % 2 else f"003{at % 1_000_000:06d}")
        return
    if chance.random() < 0.9:
        person.papers.append(_cccd(person, at))
    if not person.papers or (person.born.year < 2003 and chance.random() < 0.4):
        person.papers.append(f"003{at % 1_000_000:06d}")
    if chance.random() < 0.08:
        person.papers.append(f"P{at:07d}")
    if adult and chance.random() < 0.1:
        person.papers.append(f"00{at:08d}")


def _cccd(person: Person, at: int) -> str:
    century = (2 if person.born.year >= 2000 else 0) + person.woman
    return f"003{century}{person.born.year % 100:02d}{at % 1_000_000:06d}"


def records(people: list[Person]) -> Iterator[dict[str, Any]]:
    """One to three records of each paper, as clerks write them; ``paper_of`` is the person who holds the number."""
    chance = random.Random(len(people))
    for at, person in enumerate(people):
        for place, number in enumerate(person.papers):
            moved = place > 0 and chance.random() < 0.12
            changed = place > 0 and chance.random() < 0.15
            for _ in range(chance.choices((1, 2, 3), (6, 3, 1))[0]):
                yield {
                    "paper_of": at,
                    "applicant_id_number": number,
                    "applicant_name": _written(person.name, chance),
                    "applicant_birth_year": _dated(person.born, chance),
                    "applicant_phone": _phone(
                        f"04{50_000_000 + at:08d}" if changed else person.phone, chance
                    ),
                    "applicant_email": person.email if chance.random() < 0.8 else None,
                    "applicant_address": None
                    if chance.random() < 0.1
                    else f"Số {at % 480}, ấp {HAMLETS[at % len(HAMLETS)]}"
                    if moved
                    else person.address,
                    OTHER_PAPER: person.papers[1]
                    if place == 0 and len(person.papers) > 1 and chance.random() < 0.03
                    else None,
                }
        # A child's dossier under the number of who brought it.
        if (
            at
            and person.born.year > 2000
            and people[at - 1].household == person.household
            and chance.random() < 0.02
        ):
            yield {
                "paper_of": at - 1, "applicant_id_number": people[at - 1].papers[0], "applicant_name": person.name,
                "applicant_birth_year": person.born, "applicant_phone": person.phone, "applicant_email": None,
                "applicant_address": person.address, OTHER_PAPER: None,
            }  # fmt: skip


def _written(name: str, chance: random.Random) -> str:
    draw = chance.random()
    return name.upper() if draw < 0.15 else ascii_of(name).replace("_", " ").upper() if draw < 0.18 else name


def _dated(born: dt.date, chance: random.Random) -> dt.date | None:
    draw = chance.random()
    if draw < 0.04:
        return None
    # What a connector makes of a year alone; then a slip of the keyboard.
    return born.replace(month=1, day=1) if draw < 0.07 else born.replace(day=5) if draw < 0.073 else born


def _phone(own: str, chance: random.Random) -> str | None:
    draw = chance.random()
    return None if draw < 0.04 else f"0499{chance.randrange(_SHOPS):06d}" if draw < 0.06 else own


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[list[int], pa.RecordBatch]]:
    clear = contract("dossier").clear_schema
    key = ("source_code", "dossier_id")
    names = [*key, "applicant_id_number", *(n for n in ROLES if n != OTHER_PAPER)]
    shown = pa.field(
        OTHER_PAPER, pa.string(), metadata={"classification": "identifying", "seal": "reference"}
    )
    schema = pa.schema(
        [*(clear.field(n) for n in names), shown],
        metadata={"subject": "applicant_id_number", "group": ",".join(key)},
    )
    held = [{"source_code": "benchmark", "dossier_id": str(n), **row} for n, row in enumerate(rows)]
    for start in range(0, len(held), _AT_ONCE):
        part = held[start : start + _AT_ONCE]
        yield [r.pop("paper_of") for r in part], pa.RecordBatch.from_pylist(part, schema=schema)


def measure(client: VaultClient, database_url: str, keys: Path, count: int = PERSONS) -> Measured:
    """Seal the records of `count` persons, match, and compare what is joined with the truth.

    `keys` is the folder of the vault's keys: matching is a command of its own, beside the vault that serves.
    """
    people = population(count)
    holder: dict[str, int] = {}
    for holders, batch in _batches(records(people)):
        sealed = client.seal(batch).column("applicant_id_number").to_pylist()
        holder.update(zip(sealed, holders, strict=True))
    began = time.perf_counter()
    mebibytes = _match(database_url, keys)
    seconds = time.perf_counter() - began
    told = report(Store(Setup(database_url, FileKeys(keys))))["last_run"]
    persons: dict[str, set[str]] = {token: {token} for token in holder}
    with psycopg.connect(database_url) as connection:
        for a, b in connection.execute("select token_a, token_b from identity_link where undone_at is null"):
            both = persons[a] | persons[b]
            persons.update(dict.fromkeys(both, both))
    joined, right, wrong = 0, 0, Counter[str]()
    for tokens in {id(p): p for p in persons.values()}.values():
        for a, b in combinations(sorted(tokens), 2):
            joined += 1
            right += holder[a] == holder[b]
            if holder[a] != holder[b]:
                wrong[people[holder[a]].trap or "by chance"] += 1
    true = sum(n * (n - 1) // 2 for n in Counter(holder.values()).values())
    alone = _naive(people)
    return Measured(count, len(holder), joined, right, true, dict(wrong), alone, told, seconds, mebibytes)


def _match(database_url: str, keys: Path) -> float:
    """Run the vault's own command; the most memory it held, in MiB."""
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "VAULT_DATABASE_URL": database_url,
        "VAULT_KEYS": str(keys),
    }  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-m", "vault", "match"], env=environment, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"the matching ended with {child.returncode}")
    return used.ru_maxrss / 1024


def _naive(people: list[Person]) -> float:
    alike: dict[tuple[str, dt.date], list[int]] = defaultdict(list)
    for at, person in enumerate(people):
        alike[person.name, person.born] += [at] * len(person.papers)
    pairs = [a == b for group in alike.values() for a, b in combinations(group, 2)]
    return sum(pairs) / len(pairs)


def run(here: World, long: bool) -> Iterator[Line]:
    """Precision, which has a target, and recall."""
    database = here.database()
    with here.vault(database) as client:
        keys = client.socket.parent / "keys"
        found = measure(client, database, keys, LONG if long else PERSONS)
    behind = (
        f"{found.joined - found.right} of {found.joined} joined pairs false {found.false_by_trap or ''}; "
    )
    behind += f"by name and birth date alone {found.name_and_date:.4f}"
    passed = found.precision >= TARGET
    yield Line(
        "crosswalk: precision on homonyms, %", 100 * found.precision, f">= {100 * TARGET:.1f}", passed, behind
    )
    behind = f"{found.right} of {found.all_true} pairs; {found.papers} papers in {found.seconds:.0f} s"
    yield Line("crosswalk: recall, %", 100 * found.recall, "-", None, behind)
    yield Line(
        "crosswalk: peak MiB of the matching", found.mebibytes, "<= 1024", found.mebibytes <= 1024,
        f"{found.persons:,} persons, {found.papers:,} papers",
    )  # fmt: skip
    apart = ", ".join(f"{why} {n}" for why, n in found.told["apart"].items())
    yield Line("crosswalk: pairs that stayed apart", sum(found.told["apart"].values()), "-", None, apart)
