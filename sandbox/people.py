"""Invented persons: names, numbers, addresses, all drawn from a person's key.

Nobody here exists: identity numbers begin with 003 and tax codes with 00 (assigned to no province), telephones
with 04 (no mobile network, and no longer a landline prefix), e-mail ends in example.vn.
"""

import unicodedata
from datetime import datetime
from functools import lru_cache

import numpy as np

from sandbox.chance import I64, U64, integer, keys_for, uniform
from sandbox.generator import (
    DAY,
    SEED,
    Block,
    agencies,
    block,
    blocks,
    local_seconds,
    mix_person,
    month_bounds,
)
from sandbox.reference import names

OFFICERS = 8
PERSONAL = ("identity_number", "name", "phone", "email", "address", "birthday", "file_name", "officer")
DUMMY = "000000001"  # what a client of the national portal sends when it has no number [seen]
STREETS = ("Nguyễn Huệ", "Lê Lợi", "Trần Hưng Đạo", "Hùng Vương", "Nguyễn Trãi", "Lý Thường Kiệt", "Ấp Bắc",
           "Phạm Hữu Lầu", "30 Tháng 4", "Đinh Bộ Lĩnh", "Thiên Hộ Dương", "Nguyễn Sinh Sắc")  # fmt: skip
HAMLETS = ("Bình Thạnh", "Mỹ Lợi", "Tân Hòa", "Long Phú", "Hòa An", "Phú Thuận", "An Thạnh", "Đông Hòa",
           "Tân Phú", "Mỹ Thành", "Bình Hưng", "Thạnh Lợi", "Nhơn Hòa", "Vĩnh Phước")  # fmt: skip
TRADES = ("Thương mại Dịch vụ", "Xây dựng", "Nông sản", "Thủy sản", "Vận tải", "Dược phẩm", "Lương thực",
          "Du lịch", "Cơ khí", "Thực phẩm")  # fmt: skip


@lru_cache(maxsize=200_000)
def ascii_of(text: str) -> str:
    """Return a text without Vietnamese marks, lower case, words joined by underscore."""
    plain = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    return "_".join("".join(c for c in plain if not unicodedata.combining(c)).lower().split())


def full_names(keys: np.ndarray) -> list[str]:
    """Return a full name for each key."""
    n = names()
    surname = np.searchsorted(n.surname_cdf, uniform(keys, "surname"))
    middle = np.searchsorted(n.middle_cdf, uniform(keys, "middle"))
    given = np.searchsorted(n.given_cdf, uniform(keys, "given"))
    female = integer(keys, "female name", len(n.female))
    thi = uniform(keys, "thi")
    woman = uniform(keys, "sex") < 0.5
    out = []
    for s, m, g, f, t, w in zip(surname.tolist(), middle.tolist(), given.tolist(), female.tolist(),
                                thi.tolist(), woman.tolist(), strict=True):  # fmt: skip
        family = n.surname[min(s, len(n.surname) - 1)]
        if not w:
            out.append(f"{family} {n.middle[min(m, len(n.middle) - 1)]} {n.given[min(g, len(n.given) - 1)]}")
        elif t < 0.55:
            out.append(f"{family} Thị {n.female[f].split()[-1]}")
        elif t < 0.8:
            out.append(f"{family} Thị {n.female[f]}")
        else:
            out.append(f"{family} {n.female[f]}")
    return out


@lru_cache(maxsize=8)
def officers(world: str) -> list[list[tuple[str, str]]]:
    """Return (identifier, full name) of the officers of each agency of a world."""
    listed = agencies(world)
    keys = keys_for(f"{SEED}:{world}:officer", len(listed) * OFFICERS)
    found = full_names(keys)
    ids = [f"{int(k):016x}{i:08x}" for i, k in enumerate(keys)]
    return [[(ids[a * OFFICERS + j], found[a * OFFICERS + j]) for j in range(OFFICERS)]
            for a in range(len(listed))]  # fmt: skip


def birth_dates(keys: U64) -> tuple[I64, I64, I64]:
    """Return (year, month, day) of birth for each person's key."""
    year = 1948 + (60 * np.sqrt(uniform(keys, "born")) * 0.97).astype(np.int64)
    return year, integer(keys, "birth month", 12) + 1, integer(keys, "birthday", 28) + 1


def identity_tails(keys: U64) -> I64:
    """Return the nine digits after 003 of a citizen's number for each person's key; two persons may share one.

    The first digit is century and sex (0/1 born before 2000, 2/3 since), two of the year follow.
    """
    year, _, _ = birth_dates(keys)
    woman = uniform(keys, "sex") < 0.5
    head = (np.where(year >= 2000, 2, 0) + woman) * 100 + year % 100
    return head * 1_000_000 + integer(keys, "number", 1_000_000)


class Applicants:
    """Personal values of the applicants of some rows, as parallel lists."""

    def __init__(self, person: I64, applicant: I64, key: np.ndarray, dummies: bool = True) -> None:
        keys = mix_person(person)
        citizen = applicant == 1
        human = full_names(keys)
        trade = integer(keys, "trade", len(TRADES)).tolist()
        born, month, day = birth_dates(keys)
        number = identity_tails(keys)
        tail = number % 1_000_000
        tax = integer(keys, "tax code", 100_000_000)
        dummy = (uniform(key, "dummy") < 0.004) & citizen & dummies
        phone = integer(keys, "phone", 100_000_000)
        mail = uniform(keys, "mail") < 0.42
        house = integer(keys, "house", 480) + 1
        street = integer(keys, "street", len(STREETS)).tolist()
        hamlet = integer(keys, "hamlet", len(HAMLETS)).tolist()
        in_town = (uniform(keys, "town") < 0.35).tolist()
        blank = (uniform(key, "no phone") < 0.03).tolist()
        no_birth = (uniform(key, "no birthday") < 0.04).tolist()

        self.name: list[str] = []
        self.number: list[str] = []
        self.birthday: list[str | None] = []
        self.phone: list[str | None] = []
        self.email: list[str | None] = []
        self.address: list[str] = []
        self.slug = [ascii_of(n) for n in human]
        for i, (person_name, is_citizen, kind) in enumerate(
            zip(human, citizen.tolist(), applicant.tolist(), strict=True)
        ):
            if is_citizen:
                self.name.append(person_name)
                self.number.append(DUMMY if dummy[i] else f"003{number[i]:09d}")
                self.birthday.append(None if no_birth[i] else f"{day[i]:02d}/{month[i]:02d}/{born[i]}")
            else:
                words = " ".join(person_name.split()[-2:])
                head = {2: "Công ty TNHH", 3: "Ban Quản lý dự án", 4: "Hợp tác xã"}[kind]
                self.name.append(f"{head} {TRADES[trade[i]]} {words}")
                self.number.append(f"00{tax[i]:08d}")
                self.birthday.append(None)
            self.phone.append(None if blank[i] else f"04{phone[i]:08d}")
            self.email.append(f"{self.slug[i]}.{tail[i] % 10000:04d}@example.vn" if mail[i] else None)
            self.address.append(
                f"Số {house[i]} đường {STREETS[street[i]]}" if in_town[i]
                else f"Số {house[i]}/{1 + house[i] % 9}, ấp {HAMLETS[hamlet[i]]}"
            )  # fmt: skip


def persons(world: str, start: int | datetime, end: int | datetime) -> dict[str, list[str]]:
    """Return every personal value of dossiers received in [start, end), so that leaks can be searched for.

    `start` and `end` are aware datetimes, or local seconds (see `generator`). Keys: identity_number, name, phone,
    email, address, birthday (dd/MM/yyyy), file_name (the part of file names that is a name without marks) and
    officer (all of the world's). Each list is sorted, without repetitions. Dossiers a world took over count by
    the day they were first received. The dummy identity number is left out: it is nobody's.
    """
    first = local_seconds(start) if isinstance(start, datetime) else start
    past = local_seconds(end) if isinstance(end, datetime) else end
    found: dict[str, set[str]] = {k: set() for k in PERSONAL}
    for number in blocks(world):
        if number and not _touches(number, first, past):
            continue
        whole: Block = block(world, number)
        part = whole.take(np.flatnonzero((whole.accepted >= first) & (whole.accepted < past)))
        if not len(part):
            continue
        a = Applicants(part.person, part.applicant, part.key)
        # [seen] OpenCPS gives names of applicants in capitals; elsewhere in its answers they stand as they are.
        capitals = [n.upper() for n in a.name] if world == "dong_thap_cu" else []
        for kind, values in (("identity_number", a.number), ("name", a.name + capitals), ("phone", a.phone),
                             ("email", a.email), ("address", a.address), ("birthday", a.birthday),
                             ("file_name", a.slug)):  # fmt: skip
            found[kind].update(v for v in values if v)
    found["identity_number"].discard(DUMMY)
    found["officer"].update(name for desk in officers(world) for _, name in desk)
    return {k: sorted(v) for k, v in found.items()}


def _touches(month: int, start: int, end: int) -> bool:
    low, high = month_bounds(month)
    return low * DAY < end and high * DAY > start
