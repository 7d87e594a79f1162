"""The crosswalk over the vault's real socket and database: who is joined, who stays apart, and how a link is undone."""

from __future__ import annotations

import datetime as dt
import json
import zlib
from collections import Counter
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from benchmarks.crosswalk import TARGET, measure
from connectors.contract import contract
from tests.vault.test_sealing import PERSON, batch, everything_in, store_of
from vault import crosswalk
from vault.crosswalk import CrosswalkError

OTHER = crosswalk.OTHER_PAPER
BORN = dt.date(1985, 3, 17)
CCCD, CMND, PASSPORT, TAX = "003085000001", "003085009", "B0030851", "0030850099"
ME = PERSON | {
    "applicant_name": "Nguyễn Văn Hùng", "applicant_birth_year": BORN, "applicant_phone": "0400000011",
    "applicant_email": None, "applicant_address": "Số 12/3, ấp Mỹ Lợi", "subject_line": None,
}  # fmt: skip


def record(number: str, **changed: Any) -> dict[str, Any]:
    # A dossier's number is no secret, an identity number is.
    return ME | {"applicant_id_number": number, "dossier_id": f"d{zlib.crc32(number.encode())}"} | changed


def seal(vault: Any, *records: dict[str, Any]) -> list[str]:
    """The tokens of the records' papers; a second paper, where one is given, is sealed as a reference."""
    clear = batch(*({k: v for k, v in r.items() if k != OTHER} for r in records))
    if any(OTHER in r for r in records):
        shown = pa.field(OTHER, pa.string(), metadata={"classification": "identifying", "seal": "reference"})
        schema = clear.schema.append(shown)
        columns = [*clear.columns, pa.array([r.get(OTHER) for r in records], pa.string())]
        clear = pa.RecordBatch.from_arrays(columns, schema=schema)
    return vault.client.seal(clear).column("applicant_id_number").to_pylist()


def match(vault: Any) -> dict[str, Any]:
    return crosswalk.match(store_of(vault))


def links(vault: Any, where: str = "undone_at is null") -> dict[frozenset[str], dict[str, Any]]:
    with psycopg.connect(vault.database_url, row_factory=psycopg.rows.dict_row) as connection:
        found = connection.execute(f"select * from identity_link where {where}").fetchall()
    return {frozenset((r["token_a"], r["token_b"])): r for r in found}


def conflicts(vault: Any) -> dict[frozenset[str], str]:
    with psycopg.connect(vault.database_url) as connection:
        found = connection.execute("select token_a, token_b, reason from identity_conflict").fetchall()
    return {frozenset(r[:2]): r[2] for r in found}


def token(vault: Any, number: str) -> str:
    return store_of(vault).sealer.token(number)


def test_a_link_says_when_why_and_by_which_rule(vault):
    a, b = seal(vault, record(CCCD), record(CMND, applicant_name="NGUYỄN  VĂN HÙNG ", applicant_address=None))
    before = dt.datetime.now(dt.UTC)
    told = match(vault)
    assert told["linked"] == {"attributes": 1}
    (link,) = links(vault).values()
    assert (link["evidence"], link["detail"], link["rule_version"]) == ("attributes", "phone", 1)
    assert {link["token_a"]: link["kind_a"], link["token_b"]: link["kind_b"]} == {a: "cccd", b: "cmnd"}
    assert dt.timedelta(0) <= link["matched_at"] - before < dt.timedelta(minutes=1)
    store = store_of(vault)
    assert crosswalk.canonical(store, [a, b, "id1_unknown"]) == {a: a, b: a, "id1_unknown": "id1_unknown"}
    assert crosswalk.canonical(store, [b], as_of=before) == {b: b}
    # Again: nothing new.
    assert match(vault) == told | {"linked": {}, "already": 1}
    assert crosswalk.report(store_of(vault))["links"] == {"attributes": 1}


#: What the second paper's record has otherwise, and why both stay apart; without a reason they are no candidates.
APART: dict[str, tuple[dict[str, Any], str | None]] = {
    "telephone and address differ": ({"applicant_phone": "0400000099", "applicant_address": "Số 9"}, "not_confirmed"),
    "the marks differ": ({"applicant_name": "Nguyễn Văn Hưng"}, "marks_differ"),
    "one was typed without marks": ({"applicant_name": "NGUYEN VAN HUNG"}, "name_without_marks"),
    "the father has the name": ({"applicant_birth_year": dt.date(1955, 3, 17)}, None),
    "a cousin of the same year has the name": ({"applicant_birth_year": dt.date(1985, 9, 2)}, None),
    "only the year is known": ({"applicant_birth_year": dt.date(1985, 1, 1)}, None),
    "no birth date is known": ({"applicant_birth_year": None}, None),
    "a digit too many": ({"applicant_id_number": "0030850099123456"}, "unknown_kind_of_number"),
    "a placeholder": ({"applicant_id_number": "000000001"}, None),
    "another CCCD": ({"applicant_id_number": "003085000777"}, None),
}  # fmt: skip


def test_what_is_not_proved_stays_apart_and_is_counted_by_reason(vault):
    expected: Counter[str] = Counter()
    for n, (changed, why) in enumerate(APART.values()):
        # Each pair lives in a house of its own, and was born on a day of its own.
        mine = {
            "applicant_birth_year": BORN + dt.timedelta(n), "applicant_phone": f"0400000{n:03d}",
            "applicant_address": f"Số {n}, ấp Mỹ Lợi",
        }  # fmt: skip
        seal(vault, record(f"0030850001{n:02d}", **mine), record(f"0030852{n:02d}", **mine | changed))
        expected[why or ""] += 1
    del expected[""]
    told = match(vault)
    assert (told["apart"], told["without_birth_date"]) == (expected, 2)
    assert links(vault) == {}


def test_a_cccd_that_tells_another_year_than_the_record_stays_apart(vault):
    seal(vault, record("003084000001"), record(CMND))
    assert match(vault)["apart"] == {"number_contradicts_birth_date": 1}


def test_a_number_under_which_two_names_stand_is_nobodys(vault):
    child = record(CMND, dossier_id="child", applicant_name="Nguyễn Thị Mai")
    seal(vault, record(CCCD), record(CMND), child)
    assert match(vault)["apart"] == {"several_names": 1}
    assert links(vault) == {}


def test_a_number_under_which_two_birth_dates_stand_is_nobodys(vault):
    seal(
        vault,
        record(CCCD),
        record(CMND),
        record(CMND, dossier_id="o", applicant_birth_year=dt.date(1985, 3, 18)),
    )
    assert match(vault)["apart"] == {"several_birth_dates": 1}


def test_what_a_household_shares_does_not_confirm(vault):
    mother = record("003160000009", applicant_name="Trần Thị Lan", applicant_birth_year=dt.date(1960, 5, 5))
    a, b = seal(vault, record(CCCD), record(CMND), mother)[:2]
    assert match(vault)["apart"] == {"confirmed_only_by_what_others_share": 1}
    # Their own e-mail does.
    mail = {"applicant_email": "Hung.NV@example.vn"}
    seal(vault, record(CCCD, **mail), record(CMND, applicant_email="hung.nv@example.vn "))
    assert match(vault)["linked"] == {"attributes": 1}
    assert links(vault)[frozenset((a, b))]["detail"] == "email"


def test_twins_of_one_name_are_never_one(vault):
    seal(vault, record(CCCD), record("003085000002"), record(CMND), record("003085008"))
    told = match(vault)
    assert (told["linked"], told["apart"]) == ({}, {"not_unique": 1})


def test_twins_whose_names_differ_in_marks_are_not_unique_either(vault):
    twin = record("003085000002", applicant_name="Nguyễn Văn Hưng")
    seal(vault, record(CCCD), record(CMND), twin)
    assert match(vault)["apart"] == {"not_unique": 1}


def test_a_record_that_shows_both_papers_is_evidence_without_a_name_or_date(vault):
    (a,) = seal(vault, record(CCCD, applicant_name=None, applicant_birth_year=None, **{OTHER: "003.085.009"}))
    told = match(vault)
    b = token(vault, CMND)
    assert told["linked"] == {"record": 1}
    assert links(vault)[frozenset((a, b))]["detail"] == OTHER
    assert crosswalk.canonical(store_of(vault), [b]) == {b: a}


def test_a_paper_shown_beside_two_cccds_is_a_conflict_for_a_person_to_look_at(vault):
    a, other = seal(
        vault,
        record(CCCD, **{OTHER: CMND}),
        record("003085000002", applicant_name="Lê Thị Mai", **{OTHER: CMND}),
    )
    told = match(vault)
    b = token(vault, CMND)
    assert (told["linked"], told["conflicts"]) == ({}, {"two_cccd": 2})
    assert conflicts(vault) == {frozenset((a, b)): "two_cccd", frozenset((other, b)): "two_cccd"}
    assert match(vault)["conflicts"] == {}, "told once"
    assert crosswalk.report(store_of(vault))["conflicts"] == {"two_cccd": 2}


def test_two_cccds_are_not_joined_by_way_of_other_papers_or_later(vault):
    a, p = seal(vault, record(CCCD, **{OTHER: CMND}), record(PASSPORT, applicant_name="Đỗ Thị B"))
    assert match(vault)["linked"] == {"record": 1}
    late, beside = seal(
        vault,
        record("003085000002", applicant_name="Đỗ Thị B", **{OTHER: PASSPORT}),
        record(PASSPORT, applicant_name="Đỗ Thị B", dossier_id="late", **{OTHER: CMND}),
    )
    assert beside == p
    told = match(vault)
    joined = crosswalk.persons(store_of(vault))
    assert told["conflicts"] == {"two_cccd": 1}
    assert late not in joined.of(a)
    direct = seal(vault, record("003085000003", **{OTHER: "003085000004"}))
    told = match(vault)
    assert told["conflicts"] == {"two_cccd": 1}
    assert crosswalk.persons(store_of(vault)).of(direct[0]) == {direct[0]}


def test_papers_shown_together_under_two_names_are_a_conflict(vault):
    father = record(CMND, applicant_name="Nguyễn Văn Cha", applicant_birth_year=dt.date(1955, 2, 2))
    seal(vault, record(CCCD, **{OTHER: CMND}), father)
    told = match(vault)
    assert (told["linked"], told["conflicts"]) == ({}, {"names_differ": 1})


def test_undoing_restores_the_former_persons_exactly_and_stays(vault):
    mail = {"applicant_email": "hung@example.vn"}
    a, b, c, d = seal(
        vault, record(CCCD, **mail), record(CMND, **mail), record(PASSPORT, **mail), record(TAX, **mail)
    )
    store = store_of(vault)
    assert match(vault)["linked"] == {"attributes": 3}, "no link more than parts them again"
    assert crosswalk.persons(store).of(b) == {a, b, c, d}
    joined_at = dt.datetime.now(dt.UTC)
    link = links(vault)[frozenset((a, b))]
    crosswalk.undo(store_of(vault), str(link["link_id"]), "lan.nt", "Biên bản 12/BB-TTDL ngày 05/07/2025")
    assert crosswalk.persons(store).of(b) == {b}
    assert crosswalk.persons(store).of(a) == {a, c, d}
    assert crosswalk.persons(store, as_of=joined_at).of(b) == {a, b, c, d}
    assert crosswalk.canonical(store, [b, c]) == {b: b, c: a}
    # Neither directly nor through the passport.
    told = match(vault)
    assert (told["linked"], told["apart"]) == ({}, {"undone_by_a_person": 3})
    assert crosswalk.persons(store).of(b) == {b}
    (undone,) = links(vault, "undone_at is not null").values()
    assert (undone["undone_by"], undone["undone_why"]) == ("lan.nt", "Biên bản 12/BB-TTDL ngày 05/07/2025")
    assert undone["matched_at"] == link["matched_at"]
    report = crosswalk.report(store_of(vault))
    assert (report["joined_persons"], report["joined_papers"], report["undone"]) == (1, 3, 1)


def test_undoing_asks_for_a_live_link_an_account_and_a_document(vault):
    seal(vault, record(CCCD), record(CMND))
    match(vault)
    link = str(next(iter(links(vault).values()))["link_id"])
    gone = "00000000-0000-4000-8000-000000000000"
    for link_id, who, why, message in (
        (gone, "lan.nt", "BB 1", f"looked for the link {gone}"),
        ("1; drop table identity_link", "lan.nt", "BB 1", "no UUID"),
        (link, "Nguyễn Thị Lan", "BB 1", "no account"),
        (link, "lan.nt", "  ", "names no document"),
        (link, "lan.nt", f"not {CCCD}", "nine digits"),
    ):
        with pytest.raises(CrosswalkError, match=message) as refused:
            crosswalk.undo(store_of(vault), link_id, who, why)
        assert CCCD not in str(refused.value)
    assert len(links(vault)) == 1
    crosswalk.undo(store_of(vault), link, "lan.nt", "BB 1")
    crosswalk.undo(store_of(vault), link, "lan.nt", "BB 1")  # the answer was not heard
    with pytest.raises(CrosswalkError, match="undone already"):
        crosswalk.undo(store_of(vault), link, "an.tv", "BB 2")


def test_neither_answers_nor_tables_hold_a_value_or_a_token(vault):
    tokens = seal(vault, record(CCCD, **{OTHER: CMND}), record(PASSPORT), record(TAX))
    told = json.dumps([match(vault), crosswalk.report(store_of(vault))])
    held = everything_in(vault.database_url)
    for value in (
        CCCD,
        CMND,
        PASSPORT,
        TAX,
        ME["applicant_name"],
        ME["applicant_phone"],
        str(BORN),
        "Mỹ Lợi",
    ):
        assert value not in told
        assert value.encode() not in held
    assert not any(t in told for t in tokens)


def test_a_second_paper_sealed_as_a_reference_does_not_show_the_link_in_the_row(vault):
    clear = record(CCCD, **{OTHER: CMND})
    seal(vault, clear)
    assert token(vault, CMND).encode() not in everything_in(vault.database_url)


def test_the_birth_date_is_kept_only_of_persons_the_record_names(vault):
    placeholder = record("000000001", dossier_id="p", applicant_birth_year=dt.date(1977, 7, 7))
    seal(vault, record(CCCD), placeholder)
    with psycopg.connect(vault.database_url) as connection:
        found = connection.execute(
            "select reference from sealed_value where field = 'applicant_birth_year'"
        ).fetchall()
    assert list(store_of(vault).reveal([r[0] for r in found]).values()) == ["1985-03-17"]
    assert "applicant_birth_year" in contract("dossier").landed_schema.names


def test_the_store_of_an_earlier_version_gets_the_tables(vault):
    with psycopg.connect(vault.database_url, autocommit=True) as connection:
        connection.execute("drop table identity_link, identity_conflict, crosswalk_run")
    store = store_of(vault)
    assert crosswalk.report(store) == {
        "rule_version": 1, "joined_papers": 0, "joined_persons": 0, "links": {}, "undone": 0, "conflicts": {},
        "last_run": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Trần Thị Hoà", "TRẦN THỊ HÒA", True),
        ("Lê Thúy", "Lê  Thuý ", True),
        ("Đỗ Văn Đức", "ĐỖ VĂN ĐỨC", True),
        ("Nguyễn Văn Hùng", "Nguyễn Văn Hưng", False),
        ("Đỗ Văn An", "Dỗ Văn An", False),
        ("Lê Thị Tú", "Lê Thị Tù", False),
    ],
)
def test_a_name_is_equal_in_every_spelling_and_only_then(one, other, same):
    assert (crosswalk.full_and_plain(one)[0] == crosswalk.full_and_plain(other)[0]) is same


def test_what_tells_nobody_is_not_compared():
    assert crosswalk.full_and_plain("Hùng") == ("", "")
    assert crosswalk.full_and_plain("Cao Minh Khoa") == ("cao minh khoa",) * 2
    assert crosswalk.comparable("phone", "+84 400 000 011") == crosswalk.comparable("phone", "0400.000.011")
    for role, value in (
        ("phone", "0000000000"),
        ("phone", "113"),
        ("email", "không có"),
        ("address", "ấp Mỹ Lợi"),
    ):
        assert crosswalk.comparable(role, value) == ""
    assert crosswalk.birth_year("003199000001") == 1999
    assert crosswalk.birth_year("003307000001") == 2007


def test_of_homonyms_far_more_frequent_than_in_life_hardly_a_pair_is_joined_wrongly(vault):
    found = measure(vault.client, vault.database_url, vault.home / "keys")
    assert found.persons >= 20_000
    assert found.name_and_date < 0.99, "the homonyms are too few to try the rule"
    assert found.precision >= TARGET, found.false_by_trap
    assert not {"father and son", "cousins of one year", "twins but for the marks"} & set(found.false_by_trap)
    assert found.recall > 0.4
    assert found.told["linked"].keys() == {"attributes", "record"}
    assert {"not_unique", "confirmed_only_by_what_others_share"} <= found.told["apart"].keys()
