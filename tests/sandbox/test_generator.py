"""The invented dossiers: always the same, and in proportion to what was published."""

import subprocess
import sys
from datetime import date
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from sandbox import generator, people
from sandbox.encode import Encoder
from sandbox.reference import DAY, Calendar, calendar, communes, day_number, procedures

ROOT = Path(__file__).parents[2]
END_OF_2025 = day_number(date(2026, 1, 1)) * DAY - 1


def fingerprint() -> str:
    made = Encoder("tien_giang").encode(
        202506, generator.block("tien_giang", 202506), np.arange(0, 50_000, 97), generator.FREEZE
    )
    return blake2b(b"".join(detail for _, _, detail in made)).hexdigest()


def test_another_process_invents_the_same_dossiers() -> None:
    code = "from tests.sandbox.test_generator import fingerprint; print(fingerprint())"
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert other.stdout.strip() == fingerprint(), other.stderr


def test_a_row_is_encoded_alike_alone_and_among_others() -> None:
    encoder, block = Encoder("dong_thap"), generator.block("dong_thap", 202507)
    many = encoder.encode(202507, block, np.arange(100, 140), END_OF_2025)
    assert encoder.encode(202507, block, np.array([117]), END_OF_2025)[0] == many[17]


def test_tien_giang_received_158485_dossiers_in_the_first_104_days_of_2020() -> None:
    blocks = [generator.block("tien_giang", m) for m in (202001, 202002, 202003, 202004)]
    assert sum(len(b) for b in blocks) == 158_485
    end = day_number(date(2020, 4, 14)) * DAY
    # Published as resolved by then: 150,495.
    assert sum(int((b.done < end).sum()) for b in blocks) == pytest.approx(150_495, rel=0.01)


def test_the_new_dong_thap_received_37000_by_21_july_of_which_27000_online() -> None:
    block = generator.block("dong_thap", 202507)
    early = block.accepted < day_number(date(2025, 7, 22)) * DAY
    assert int(early.sum()) == 37_000
    assert int((early & (block.channel == 2)).sum()) == pytest.approx(27_000, abs=150)


def test_about_two_in_a_hundred_end_late() -> None:
    block = generator.block("dong_thap", 202508)
    dated = block.due_last != generator.NONE
    assert 0.012 < float((block.done[dated] > block.due_last[dated]).mean()) < 0.03


def test_dossiers_are_received_in_office_hours_of_working_days_only() -> None:
    block = generator.block("tien_giang", 202502)  # holds the end of the Tết holidays of 2025
    assert calendar().is_working(block.accepted // DAY).all()
    second = block.accepted % DAY
    assert (((second >= 27_000) & (second <= 41_400)) | ((second >= 46_800) & (second <= 61_200))).all()


def test_office_time_runs_back_and_forth() -> None:
    c: Calendar = calendar()
    moments = generator.block("tien_giang", 202504).accepted
    again = c.from_work(c.to_work(moments))
    assert (c.to_work(again) == c.to_work(moments)).all()
    # 26/4/2025 was worked in exchange for 2/5/2025.
    assert c.is_working(np.array([day_number(date(2025, 4, 26))])).all()
    assert not c.is_working(np.array([day_number(date(2025, 5, 2))])).any()


def test_events_of_a_dossier_come_in_order() -> None:
    for world, month in (("tien_giang", 202503), ("dong_thap", 202509)):
        b = generator.block(world, month)
        assert (b.applied <= b.accepted).all()
        assert (b.accepted < b.done).all()
        assert (b.done <= b.returned).all()
        waits = b.wait_from != generator.NONE
        assert ((b.accepted <= b.wait_from) & (b.wait_from <= b.wait_to) & (b.wait_to <= b.done))[waits].all()


def test_a_province_lists_1800_procedures_and_a_few_make_most_dossiers() -> None:
    p = procedures("H20")
    assert len(p.codes) == len(set(p.codes)) == 1800
    assert sum(c.endswith(".H20") for c in p.codes) > 100
    assert np.sort(p.weight)[-20:].sum() > 0.6


def test_communes_are_those_of_the_day() -> None:
    c = communes()
    assert len(c.codes) == 305
    assert len(set(c.new_codes)) == 102
    assert set(c.successor.tolist()) == set(range(102))


def test_codes_of_one_system_are_never_given_twice() -> None:
    for world in ("tien_giang", "dong_thap"):
        found: list[str] = []
        for number in generator.blocks(world)[:4]:
            found += generator.codes(world, generator.block(world, number))
        assert len(found) == len(set(found))


def test_people_are_nobody() -> None:
    day = day_number(date(2025, 6, 20)) * DAY
    found = people.persons("tien_giang", day, day + DAY)
    assert len(found["identity_number"]) > 1000
    assert all((n.startswith("003") and len(n) == 12) or (n.startswith("00") and len(n) == 10)
               for n in found["identity_number"])  # fmt: skip
    assert all(p.startswith("04") and len(p) == 10 for p in found["phone"])
    assert all(e.endswith("@example.vn") for e in found["email"])
