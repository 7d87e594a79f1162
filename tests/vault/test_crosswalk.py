"""The crosswalk over the vault's real socket and database: who is joined, who stays apart, and how a link is undone."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import sys
import zlib
from collections import Counter
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from benchmarks.crosswalk import TARGET, measure
from connectors.contract import contract
from ops.settings import PROJECT
from tests.vault.test_erasure import erase
from tests.vault.test_process import refused
from tests.vault.test_purposes import agree, pair
from tests.vault.test_rotation import run
from tests.vault.test_sealing import PERSON, batch, everything_in, store_of
from vault import crosswalk
from vault.audit import AuditTrouble, Verdict
from vault.crosswalk import CrosswalkError
from vault.keys import FileKeys
from vault.store import Setup, Store

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


def now(store: Store, what: Any, *given: Any, **named: Any) -> Any:
    return store._do(lambda cursor: what(cursor, *given, **named))


def test_an_agency_sees_one_pseudonym_whichever_paper_was_shown(vault):
    a, b = seal(vault, record(CCCD), record(CMND, applicant_address=None))
    pairs = [(a, "H20.14"), (b, "H20.14")]
    apart, before = vault.client.pseudonyms(pairs)
    assert len(set(apart)) == 2
    match(vault)
    joined, after = vault.client.pseudonyms(pairs)
    assert joined == [apart[0]] * 2, "that of the CCCD"
    assert after != before, "what was answered before is void"


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
    assert now(store, crosswalk.canonical, [a, b, "id1_unknown"]) == {
        a: a,
        b: a,
        "id1_unknown": "id1_unknown",
    }
    assert now(store, crosswalk.canonical, [b], as_of=before) == {b: b}
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
    assert now(store_of(vault), crosswalk.canonical, [b]) == {b: a}


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
    joined = now(store_of(vault), crosswalk.persons)
    assert told["conflicts"] == {"two_cccd": 1}
    assert late not in joined.of(a)
    direct = seal(vault, record("003085000003", **{OTHER: "003085000004"}))
    told = match(vault)
    assert told["conflicts"] == {"two_cccd": 1}
    assert now(store_of(vault), crosswalk.persons).of(direct[0]) == {direct[0]}


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
    assert now(store, crosswalk.persons).of(b) == {a, b, c, d}
    joined_at = dt.datetime.now(dt.UTC)
    link = links(vault)[frozenset((a, b))]
    crosswalk.undo(store_of(vault), str(link["link_id"]), "lan.nt", "Biên bản 12/BB-TTDL ngày 05/07/2025")
    assert now(store, crosswalk.persons).of(b) == {b}
    assert now(store, crosswalk.persons).of(a) == {a, c, d}
    assert now(store, crosswalk.persons, as_of=joined_at).of(b) == {a, b, c, d}
    assert now(store, crosswalk.canonical, [b, c]) == {b: b, c: a}
    # Neither directly nor through the passport.
    told = match(vault)
    assert (told["linked"], told["apart"]) == ({}, {"undone_by_a_person": 3})
    assert now(store, crosswalk.persons).of(b) == {b}
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


@pytest.mark.prove
def test_of_homonyms_far_more_frequent_than_in_life_hardly_a_pair_is_joined_wrongly(vault):
    found = measure(vault.client, vault.database_url, vault.home / "keys")
    assert found.persons >= 20_000
    assert found.name_and_date < 0.99, "the homonyms are too few to try the rule"
    assert found.precision >= TARGET, found.false_by_trap
    assert not {"father and son", "cousins of one year", "twins but for the marks"} & set(found.false_by_trap)
    assert found.recall > 0.4
    assert found.told["linked"].keys() == {"attributes", "record"}
    assert {"not_unique", "confirmed_only_by_what_others_share"} <= found.told["apart"].keys()


# --- in the audit, for requests, and for who looked ----------------------------------------------------


def entries(vault: Any) -> list[dict[str, Any]]:
    with psycopg.connect(vault.database_url, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute("select * from audit order by number").fetchall()


def test_matching_and_undoing_stand_in_the_audit_for_both_papers_without_values(vault):
    a, b = seal(vault, record(CCCD), record(CMND))
    match(vault)
    ((link_id, detail),) = [(str(n["link_id"]), n["detail"]) for n in links(vault).values()]
    crosswalk.undo(store_of(vault), link_id, "H20-0042", "Biên bản 12/BB-TTDL")
    crosswalk.undo(store_of(vault), link_id, "H20-0042", "Biên bản 12/BB-TTDL")  # again: nothing more to say
    told = entries(vault)
    assert [(e["action"], e["outcome"], e["who"]) for e in told] == [
        ("match", "begun", "service"), ("link", "done", "service"), ("link", "done", "service"),
        ("match", "done", "service"), ("unlink", "done", "officer:H20-0042"), ("unlink", "done", "officer:H20-0042"),
    ]  # fmt: skip
    assert [e["subject"] for e in told] == ["", a, b, "", a, b]
    assert {e["request_id"] for e in told if e["subject"]} == {link_id}
    assert {e["asked"] for e in told if e["subject"]} == {f"cccd and cmnd by attributes: {detail}"}
    assert told[4]["basis"] == "Biên bản 12/BB-TTDL"
    # Neither entry names the other paper, and none a value.
    assert not any(b in str(e) for e in told if e["subject"] == a)
    assert store_of(vault).audit.verify().trouble is None
    for value in (CCCD, CMND, ME["applicant_name"], ME["applicant_phone"], str(BORN)):
        assert value not in str(told)


def test_nothing_is_opened_or_linked_where_the_audit_cannot_be_copied(vault, tmp_path):
    seal(vault, record(CCCD), record(CMND))
    setup = Setup(vault.database_url, FileKeys(vault.home / "keys"), audit_copy=tmp_path / "copy")
    (tmp_path / "copy").mkdir()
    store = Store(setup)
    shutil.rmtree(tmp_path / "copy")
    with pytest.raises(AuditTrouble, match="could not write"):
        crosswalk.match(store)
    assert (links(vault), entries(vault)) == ({}, [])
    (tmp_path / "copy").mkdir()
    assert crosswalk.match(store)["linked"] == {"attributes": 1}
    assert store.audit.verify() == Verdict(4, 4, None)


def test_who_looked_tells_of_all_papers_of_the_person_until_they_are_parted(vault):
    (vault.home / "agreements").mkdir()
    agree(vault)
    sealed = vault.client.seal(batch(record(CCCD), record(CMND), record("003085777"))).to_pylist()
    vault.client.disclose("citizen_check", [pair(r) for r in sealed])
    one, other = sealed[0]["applicant_id_number"], sealed[1]["applicant_id_number"]
    assert len(vault.auditor.who_looked(CCCD, "lan.nt")) == 1
    # The third paper is another one of the same kind.
    assert match(vault)["apart"] == {"not_unique": 1}
    vault.client.seal(batch(record("003085777", dossier_id="x", applicant_birth_year=dt.date(1985, 3, 18))))
    seal(vault, record(CCCD, **{OTHER: CMND}))
    assert match(vault)["linked"] == {"record": 1}
    for number in (CCCD, CMND):
        found = vault.auditor.who_looked(number, "lan.nt")
        assert [e["action"] for e in found[:3]] == ["disclose", "disclose", "who_looked"]
        assert [e["action"] for e in found].count("link") == 2
    told = [e["subject"] for e in entries(vault) if e["action"] == "who_looked"]
    assert Counter(told) == {one: 3, other: 2}, "recorded for each paper it answered for"
    (link,) = links(vault).values()
    crosswalk.undo(store_of(vault), str(link["link_id"]), "lan.nt", "BB 1")
    found = vault.auditor.who_looked(CMND, "lan.nt")
    assert [e["action"] for e in found].count("disclose") == 1


def test_a_request_on_one_of_several_papers_names_the_others_and_waits_for_a_word(vault):
    mai = {
        "applicant_name": "Lê Thị Mai",
        "applicant_phone": "0400000012",
        "applicant_address": "Số 7, ấp Mỹ Lợi",
    }
    a, b, _ = seal(vault, record(CCCD), record(CMND), record("003066000009", **mai))
    match(vault)
    refused(erase(vault, CMND), "2 linked papers", f"{b} and {a}", "Nothing was decided", "--papers all")
    assert store_of(vault).count("erasure_request") == 0
    done = erase(vault, CMND, papers="all")
    assert done.returncode == 0, done.stderr
    assert f"of the linked papers {a} too" in done.stdout
    with psycopg.connect(vault.database_url) as connection:
        kept = connection.execute("select holder from person_key where wrapped is null order by 1").fetchall()
        asked = connection.execute(
            "select request_id, decision, done_at is not null from erasure_request"
        ).fetchall()
        values = connection.execute(
            "select count(*) from sealed_value where field = 'applicant_name'"
        ).fetchone()
    persons = [h for (h,) in kept if h.startswith("id")]
    assert persons == sorted([a, b])
    assert len(kept) == 4, "and the dossier of each is closed"
    assert asked == [("YC-01/2026", "erase", True)] * 2
    assert values == (1,)
    assert links(vault, "true") == {}
    assert len((vault.home / "keys" / "erasures.jsonl").read_text().splitlines()) == 2
    assert {e["subject"] for e in entries(vault) if e["action"] == "decide"} == {a, b}
    # Asked again for either paper it changes nothing; for somebody else it is refused.
    assert erase(vault, CCCD).returncode == 0
    refused(erase(vault, "003066000009"), "is recorded already")
    # What is pulled again is linked no more.
    seal(vault, record(CCCD, **{OTHER: CMND}), record(CMND))
    assert match(vault)["linked"] == {}


def test_erasing_one_paper_alone_parts_it_and_a_record_that_shows_it_does_not_join_it_again(vault):
    a, b = seal(vault, record(CCCD, **{OTHER: CMND}), record(CMND))
    match(vault)
    done = erase(vault, CMND, papers="this")
    assert f"of the linked papers {a} none" in done.stdout
    assert links(vault, "true") == {}
    told = match(vault)
    assert (told["linked"], told["apart"]) == ({}, {"restricted_or_erased": 1})
    assert store_of(vault).reveal([a, b]).keys() == {a}


def test_a_restored_backup_with_the_links_of_before_loses_them_again(vault):
    seal(vault, record(CCCD), record(CMND))
    match(vault)
    with psycopg.connect(vault.database_url, row_factory=psycopg.rows.dict_row) as connection:
        keys = connection.execute("select * from person_key").fetchall()
        (link,) = connection.execute("select * from identity_link").fetchall()
    assert erase(vault, CCCD, papers="all").returncode == 0
    with psycopg.connect(vault.database_url) as connection:
        connection.execute("truncate person_key, erasure_request")
        for table, rows in (("person_key", keys), ("identity_link", [link])):
            for row in rows:
                connection.execute(
                    f"insert into {table} ({', '.join(row)}) values ({', '.join(['%s'] * len(row))})",
                    [*row.values()],
                )
    journal = vault.home / "keys" / "erasures.jsonl"
    Store(Setup(vault.database_url, FileKeys(vault.home / "keys"), erasures=journal))
    assert links(vault, "true") == {}
    assert store_of(vault).count("erasure_request") == 2


def test_a_restricted_persons_papers_are_not_linked_and_still_make_a_name_ambiguous(vault):
    seal(vault, record(CCCD), record(CMND))
    erase(vault, CMND, decision="restrict")
    told = match(vault)
    assert (told["linked"], told["apart"]) == ({}, {"restricted_or_erased": 1})
    seal(vault, record("003085009777"))
    assert match(vault)["apart"] == {"not_unique": 1}
    erase(vault, CMND, request="YC-02", decision="refuse")
    seal(vault, record("003085009777", dossier_id="two", applicant_birth_year=dt.date(1985, 3, 19)))
    assert match(vault)["linked"] == {}


def test_erasure_requests_of_an_earlier_version_stay_and_one_may_cover_several_papers_then(vault):
    with psycopg.connect(vault.database_url) as connection:
        connection.execute("drop index erasure_request_each_paper_once")
        connection.execute("alter table erasure_request add primary key (request_id)")
    assert erase(vault, CCCD).returncode == 0
    assert store_of(vault).count("erasure_request") == 1


def test_killed_while_it_links_it_goes_on_and_ends_as_if_it_had_not_been(vault):
    people = [
        {"applicant_birth_year": BORN + dt.timedelta(n), "applicant_phone": f"0410000{n:03d}",
         "applicant_address": f"Số {n}, ấp Mỹ Lợi"}
        for n in range(120)
    ]  # fmt: skip
    mine = [(f"003085{n:06d}", f"0030850{n:02d}" if n < 100 else f"00308{n:04d}") for n in range(120)]
    seal(vault, *(record(number, **p) for p, pair in zip(people, mine, strict=True) for number in pair))
    command = [sys.executable, "-c", KILLED, "match"]
    done = subprocess.run(command, env=vault.environment, cwd=PROJECT, timeout=60, check=False)
    assert done.returncode == -9
    made = len(links(vault))
    assert made == 20, "what was committed is whole links"
    assert len([e for e in entries(vault) if e["action"] == "link"]) == 2 * made
    told = match(vault)
    expected = {"attributes": len(links(vault)) - made}
    assert (told["linked"], told["already"]) == (expected, made)
    assert len([e for e in entries(vault) if e["action"] == "link"]) == 2 * len(links(vault))
    assert match(vault)["linked"] == {}


#: The vault's own command, killed in the middle of its third transaction of links.
KILLED = """
import os, signal
from vault import __main__, crosswalk
crosswalk._LINKS_AT_ONCE, link, calls = 10, crosswalk._link, []
def until_killed(*given):
    calls.append(1)
    made = link(*given)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return made
crosswalk._link = until_killed
__main__.main()
"""


def test_what_is_undone_or_erased_while_a_matching_runs_is_not_linked_by_it(vault, monkeypatch):
    mail = {"applicant_email": "hung@example.vn"}
    a, b, c = seal(vault, record(CCCD, **mail), record(CMND, **mail), record(PASSPORT, **mail))
    monkeypatch.setattr(crosswalk, "_LINKS_AT_ONCE", 1)
    store, other, calls = store_of(vault), store_of(vault), []

    def between() -> set[str]:
        # Asked before each transaction of links.
        calls.append(1)
        if len(calls) == 2:
            (first,) = links(vault).values()
            crosswalk.undo(other, str(first["link_id"]), "lan.nt", "BB 1")
        return set()

    monkeypatch.setattr(store, "restricted", between)
    crosswalk.match(store)
    assert now(store, crosswalk.persons).of(b) == {b}
    assert now(store, crosswalk.persons).of(a) == {a, c}


def test_the_commands_say_what_they_did_and_name_no_value(vault):
    a, b = seal(vault, record(CCCD), record(CMND))
    done = run(vault, "match")
    assert done.returncode == 0, done.stderr
    assert "2 papers compared" in done.stdout
    assert "Linked by: 1 attributes; linked before: 0" in done.stdout
    shown = run(vault, "links", "--officer", "H20-0042", given=CMND + "\n")
    (line,) = shown.stdout.splitlines()
    link_id = line.split()[0]
    assert f"cccd {a} and cmnd {b} by attributes (address, phone), rule 1" in line
    refused(run(vault, "unlink", "--link", link_id, "--officer", "x", "--basis", "BB 1"), "no account")
    parted = run(vault, "unlink", "--link", link_id, "--officer", "H20-0042", "--basis", "BB 12/TTDL")
    assert "undone, for good" in parted.stdout
    again = run(vault, "links", "--officer", "H20-0042", given=CCCD + "\n")
    assert "by H20-0042: BB 12/TTDL" in again.stdout
    assert "no other paper" in run(vault, "links", "--officer", "H20-0042", given="003085123456\n").stdout
    refused(run(vault, "links", "--officer", "H20-0042", given="000000001\n"), "found none")
    assert [e["subject"] for e in entries(vault) if e["action"] == "links"][:2] == [b, a]
    said = "".join(d.stdout + d.stderr for d in (done, shown, parted, again))
    for value in (CCCD, CMND, ME["applicant_name"], str(BORN)):
        assert value not in said


def test_a_person_with_a_restricted_paper_is_not_linked_further(vault):
    seal(vault, record(CCCD), record(CMND))
    match(vault)
    assert erase(vault, CMND, decision="restrict", papers="this").returncode == 0
    seal(vault, record(PASSPORT))
    told = match(vault)
    assert (told["linked"], told["already"], told["apart"]) == ({}, 1, {"restricted_or_erased": 2})
