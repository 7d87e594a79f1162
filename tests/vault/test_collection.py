"""What nobody uses is collected, and nothing else: on its way, young, restricted, or told wrongly, it stays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from tests.conftest import start_vault, stop
from tests.vault.test_erasure import PERSONAL
from tests.vault.test_rotation import run
from tests.vault.test_sealing import PAPER, PERSON, batch, of
from vault import collection, streams
from vault.audit import AuditTrouble
from vault.client import VaultRefused
from vault.collection import CollectionError
from vault.erasure import Request
from vault.keys import FileKeys
from vault.store import Setup, Store

#: 1 January is no birth date to the vault, and not kept.
NO_DATE = {"applicant_birth_year": dt.date(1990, 1, 1)}


class Kept:
    """A store and what was sealed into it."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.home = home
        self.store = Store(
            Setup(url, FileKeys(home / "keys", create=True), home / "erasures.jsonl", home / "copy")
        )

    def seal(self, *people: int, **words: Any) -> list[str]:
        """Seal a dossier of each of `people`; every reference of theirs, in order."""
        from vault.reveal import dossiers

        clear = batch(
            *(
                PERSON | NO_DATE | {"applicant_id_number": f"003099{n:06d}", "dossier_id": f"d{n}"} | words
                for n in people
            )
        )
        sealed, values = self.store.sealer.seal(clear)
        self.store.keep(values)
        self.store.keep_dossiers(dossiers(clear, sealed, self.store.sealer.digest))
        return [r for n in PERSONAL for r in sealed.column(n).to_pylist()]

    def age(self, days: int = 8) -> None:
        """As if everything had been stored so many days earlier."""
        self.do(f"update sealed_group set created_at = created_at - interval '{days} days'")
        self.do(f"update sealed_dossier set stored_at = stored_at - interval '{days} days'")

    def do(self, statement: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def held(self) -> set[str]:
        return {r for (r,) in self.rows("select reference from sealed_value")}

    def begin(self, used: list[str], dossiers: list[str] | None = None) -> int:
        """Open a collection that is told what is used."""
        number = self.store.collection.begin()
        self.store.collection.use(number, pa.table({"reference": used}))
        named = [f"d{n}" for n in range(1, 1000)] if dossiers is None else dossiers
        source = [PERSON["source_code"]] * len(named)
        self.store.collection.use(number, pa.table({"source_code": source, "dossier_id": named}))
        return number

    def collect(self, number: int, part: int = collection.BATCH) -> collection.Deleted:
        while not (done := self.store.collection.delete(number, part)).done:
            pass
        return done


@pytest.fixture
def kept(database: str, tmp_path: Path) -> Iterator[Kept]:
    (tmp_path / "copy").mkdir()
    made = Kept(database, tmp_path)
    yield made
    made.store.audit.copied()
    assert not made.rows("select from audit limit 1") or made.store.audit.verify().trouble is None


def test_a_birth_date_which_no_row_holds_stays_as_long_as_its_person(kept):
    used = kept.seal(1, 2, applicant_birth_year=dt.date(1990, 5, 17))
    kept.age()
    dates = "select reference from sealed_value where field = 'applicant_birth_year'"
    officer = kept.rows("select reference from sealed_value where field = 'receiving_officer_name'")[0][0]
    assert len(kept.rows(dates)) == 2
    number = kept.begin([*(r for at, r in enumerate(used) if at % 2 == 0), officer])
    assert kept.store.collection.count(number).unused == len(used) // 2 + 1
    kept.collect(number)
    ((left,),) = kept.rows(dates)
    assert kept.store.reveal([left]) == {left: "1990-05-17"}


OFFICER = "select count(*) from sealed_value where field = 'receiving_officer_name'"


def test_what_nobody_names_goes_with_ciphertext_key_and_link_and_the_rest_opens(kept):
    used, unused = kept.seal(1, 2), kept.seal(3, 4)
    kept.store.quarantine(_reject())
    kept.age()
    officer = kept.rows("select reference from sealed_value where field = 'receiving_officer_name'")[0][0]
    number = kept.begin([*used, officer], ["d1", "d2"])
    assert kept.store.collection.count(number) == collection.Counted(25, 12, 2, None)
    assert kept.held() == {*used, *unused, officer}, "counting deletes nothing"
    assert kept.collect(number) == collection.Deleted(12, 2, 2, True)
    assert set(kept.store.reveal([*used, *unused, officer])) == {*used, officer}
    assert kept.rows("select dossier_id from sealed_dossier order by 1") == [("d1",), ("d2",)]
    assert kept.rows("select count(*) from sealed_group") == [(3,)]
    assert kept.rows("select count(*) from person_key") == [(4,)], "two persons, nobody, one record"
    assert kept.rows("select count(*) from quarantine") == [(1,)]
    said = kept.rows(
        "select action, outcome, asked, note from audit where action = 'collect' order by number"
    )
    assert said == [
        ("collect", "begun", f"collection {number}", "12 of 25 values, 2 dossiers' links unused"),
        ("collect", "done", f"collection {number}", "12 values, 2 dossiers' links, 2 keys deleted"),
    ]
    # Asked again, after an answer that was lost.
    assert kept.store.collection.delete(number) == collection.Deleted(12, 2, 2, True)
    # What was collected and comes after all is stored anew.
    assert kept.seal(3, 4) == unused
    assert set(kept.store.reveal(unused)) == set(unused)


def test_a_value_that_shares_its_ciphertext_is_reached_no_more_and_the_others_open(kept):
    used = kept.seal(1)
    kept.age()
    phone = used[PERSONAL.index("applicant_phone")]
    officers = [r for (r,) in kept.rows("select reference from sealed_value where field like 'receiving%'")]
    number = kept.begin([*officers, *(r for r in used if r != phone)])
    assert kept.collect(number) == collection.Deleted(1, 0, 0, True)
    assert set(kept.store.reveal(used)) == set(used) - {phone}
    assert kept.seal(1) == used
    assert set(kept.store.reveal(used)) == set(used)


def test_what_is_young_stays(kept):
    old = kept.seal(1)
    kept.age(8)
    young = kept.seal(2)
    kept.age(collection.GRACE.days - 1)
    number = kept.begin(["ref1_" + "0" * 32], [])
    kept.collect(number)
    assert kept.held() & {*old, *young} == set(young)
    assert kept.rows("select dossier_id from sealed_dossier") == [("d2",)]


def test_what_is_sealed_while_a_collection_is_open_stays_however_old(kept):
    """The batch will land with references whose ciphertexts were stored, and used by nobody, long ago."""
    again, never = kept.seal(1), kept.seal(2)
    kept.age()
    number = kept.begin(["ref1_" + "0" * 32], [])
    assert kept.store.collection.count(number).unused == 13
    assert kept.seal(1) == again, "after it was counted"
    done = kept.collect(number)
    assert set(kept.store.reveal([*again, *never])) == set(again)
    assert kept.rows("select dossier_id from sealed_dossier") == [("d1",)]
    # The officer was on the way, too.
    assert (done.values, kept.rows(OFFICER)) == (6, [(1,)])


def test_what_is_sealed_between_two_parts_stays(kept):
    again = kept.seal(1, 2, 3)
    kept.age()
    number = kept.begin(["ref1_" + "0" * 32], [])
    kept.store.collection.delete(number, 5)
    assert kept.seal(1, 2, 3) == again
    kept.collect(number, 5)
    assert set(kept.store.reveal(again)) == set(again)
    assert kept.rows("select count(*) from sealed_dossier") == [(3,)]


def test_killed_between_two_parts_it_goes_on_to_the_same_end(kept):
    used, unused = kept.seal(1, 2), kept.seal(3, 4)
    kept.age()
    number = kept.begin(used)
    first = kept.store.collection.delete(number, 5)
    assert (first.values, first.done) == (5, False)
    kept.store = Kept(kept.url, kept.home).store
    assert kept.collect(number, 5).values == 13
    assert kept.held() == set(used)
    assert set(kept.store.reveal([*used, *unused])) == set(used)
    outcomes = kept.rows("select outcome from audit where action = 'collect' order by number")
    assert outcomes == [("begun",), ("done",)]


def test_what_restricted_persons_have_stays_and_an_erased_one_keeps_the_empty_key(kept):
    restricted, erased = kept.seal(1), kept.seal(2)
    kept.age()
    for name, person in (("restrict", restricted[0]), ("erase", erased[0])):
        kept.store.decide(Request(name, person, name, "b", "o", dt.datetime.now(dt.UTC).isoformat()))
    kept.collect(kept.begin(["ref1_" + "0" * 32], ["d2"]))
    assert kept.held() == set(restricted)
    assert kept.rows("select dossier_id from sealed_dossier order by 1") == [("d1",), ("d2",)]
    assert kept.rows(f"select wrapped from person_key where holder = '{erased[0]}'") == [(None,)]


def test_a_collection_that_is_told_of_nothing_deletes_nothing(kept):
    held = kept.seal(1)
    kept.age()
    number = kept.store.collection.begin()
    with pytest.raises(CollectionError, match="nothing at all that is in use"):
        kept.store.collection.delete(number)
    assert set(kept.store.reveal(held)) == set(held)


def test_more_than_may_go_in_a_week_needs_an_officer(kept):
    used, unused = kept.seal(1), kept.seal(*range(2, 14))
    kept.age()
    first = kept.begin([*used, *unused[:-1]])  # two values: an address line's and the officer's
    kept.collect(first)
    number = kept.begin(used)
    counted = kept.store.collection.count(number)
    assert (counted.unused, counted.refused is None) == (71, True)
    kept.do("update collection set deleted = 60 where number = (select min(number) from collection)")
    with pytest.raises(CollectionError, match=rf"found 71 of 77 .*--number {number} --unused 71") as told:
        kept.store.collection.delete(number)
    assert "ref1_" not in str(told.value)
    assert set(kept.store.reveal(unused[:-1])) == set(unused[:-1])
    with pytest.raises(CollectionError, match="counted another number than 5"):
        kept.store.collection.confirm(number, 5, "H20-0042")
    kept.store.collection.confirm(number, 71, "H20-0042")
    assert kept.collect(number).values == 71
    said = kept.rows("select who, outcome, note from audit where action = 'collect' order by number")
    assert ("officer:H20-0042", "confirmed", "71 unused") in said
    kept.do("update collection set begun_at = begun_at - interval '8 days', deleted = 1000")
    kept.seal(20)
    kept.age()
    assert kept.store.collection.count(kept.begin(used)).refused is None, "a week later it counts no more"


def test_the_share_of_what_is_stored_counts_once_much_is_stored(kept, monkeypatch):
    monkeypatch.setattr(collection, "LEAST", 2)
    held = kept.seal(*range(1, 50))
    kept.age()
    assert collection.SHARE * (len(held) + 1) < 3
    assert kept.store.collection.count(kept.begin(held[2:])).refused, "the officer is the third"
    assert kept.store.collection.count(kept.begin(held[1:])).refused is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("server_began = server_began - interval '1 second'", "PostgreSQL was started since"),
        ("begun_at = begun_at - interval '24 hours'", "began too long ago"),
        ("ended_at = now()", "is over"),
    ],
)
def test_a_collection_whose_marks_may_be_gone_deletes_nothing(kept, change, said):
    held = kept.seal(1)
    kept.age()
    number = kept.begin(["ref1_" + "0" * 32])
    kept.store.collection.delete(number, 1)
    kept.do(f"update collection set {change} where number = {number}")
    left = kept.held()
    for call in (
        lambda: kept.store.collection.use(number, pa.table({"reference": held})),
        lambda: kept.store.collection.count(number),
    ):
        with pytest.raises(CollectionError, match=said):
            call()
    if "ended_at" not in change:
        with pytest.raises(CollectionError, match=said):
            kept.store.collection.delete(number)
    assert kept.held() == left


def test_what_is_told_after_the_count_is_in_use_too(kept):
    used, unused = kept.seal(1), kept.seal(2)
    kept.age()
    number = kept.begin(["ref1_" + "0" * 32])
    assert kept.store.collection.count(number).unused == 13
    kept.store.collection.use(number, pa.table({"reference": used}))
    assert kept.collect(number).values == 7
    assert set(kept.store.reveal([*used, *unused])) == set(used)
    assert kept.rows("select stored, unused from collection") == [(13, 7)]


def test_a_person_restricted_after_the_count_keeps_everything(kept):
    held = kept.seal(1)
    kept.age()
    number = kept.begin(["ref1_" + "0" * 32], [])
    assert kept.store.collection.count(number).unused == 7
    kept.store.decide(Request("r", held[0], "restrict", "b", "o", dt.datetime.now(dt.UTC).isoformat()))
    kept.collect(number)
    assert kept.held() == set(held)
    assert kept.rows("select count(*) from sealed_dossier") == [(1,)]


def test_a_second_collection_ends_the_first_and_forgets_its_marks(kept):
    used = kept.seal(1)
    first = kept.begin(used)
    second = kept.store.collection.begin()
    with pytest.raises(CollectionError, match="another was begun since"):
        kept.store.collection.use(first, pa.table({"reference": used}))
    assert kept.rows("select count(*) from collection_used") == [(0,)]
    with pytest.raises(CollectionError, match=f"no collection {second + 1}"):
        kept.store.collection.count(second + 1)


def test_nothing_is_deleted_that_cannot_be_recorded(kept):
    held = kept.seal(1)
    kept.age()
    number = kept.begin(["ref1_" + "0" * 32])
    copy = kept.home / "copy"
    copy.rename(kept.home / "away")
    try:
        with pytest.raises(AuditTrouble):
            kept.store.collection.delete(number)
    finally:
        (kept.home / "away").rename(copy)
    assert set(kept.store.reveal(held)) == set(held)
    assert kept.collect(number).values == 7


def test_a_database_of_an_earlier_version_is_given_what_a_collection_needs(kept):
    kept.seal(1)
    kept.do("drop table collection, collection_used, collection_dossier, collection_unused")
    kept.do("alter table sealed_dossier drop column stored_at")
    kept.store = Kept(kept.url, kept.home).store
    assert kept.store.collection.begin() == 1
    assert kept.rows("select count(*) from sealed_dossier where stored_at > now() - interval '1 hour'") == [
        (1,)
    ]


# --- over the socket --------------------------------------------------------------------------------


def test_over_the_socket_a_refusal_is_told_and_stands_in_the_audit(vault):
    vault.client.seal(batch(PERSON))
    number = vault.client.begin_collecting()
    with pytest.raises(VaultRefused, match="told of nothing at all"):
        vault.client.delete_unused(number)
    with pytest.raises(VaultRefused, match="no collection 99"):
        vault.client.unused(99)
    body = streams.written([pa.table({"reference": [PERSON["applicant_name"]]})]).to_pybytes()
    for path, given in (
        ("count", b"{}"),
        ("count", b"\xff"),
        ("used", body),
        ("used", b"x"),
        ("delete", b"[]"),
    ):
        with pytest.raises(VaultRefused) as told:
            vault.client._call("POST", f"/v1/collect/{path}", given)
        assert PERSON["applicant_name"] not in str(told.value)
    with psycopg.connect(vault.database_url) as connection:
        found = connection.execute("select action, who, outcome, note from audit order by number").fetchall()
    assert found == [("collect", "service", "refused", "not collected")] * 2


def test_every_column_of_a_batch_is_looked_through_for_references(vault):
    sealed = vault.client.seal(batch(PERSON))
    papers = vault.client.seal(of("dossier_paper", PAPER))
    number = vault.client.begin_collecting()
    names = [n for n in sealed.schema.names if str(sealed.column(n)[0].as_py()).startswith(("ref1_", "id1_"))]
    assert vault.client.in_use(number, sealed) == len(names) == 7
    assert vault.client.in_use(number, papers) == 1
    assert vault.client.in_use(number, sealed.slice(0, 0)) == 0
    assert vault.client.unused(number) == {"stored": 9, "unused": 0, "dossiers": 0, "refused": None}
    with psycopg.connect(vault.database_url) as connection:
        assert connection.execute("select source_code, dossier_id from collection_dossier").fetchall() == [
            (PERSON["source_code"], PERSON["dossier_id"])
        ]


def test_an_officer_confirms_by_a_command_of_the_vaults_own(server, tmp_path):
    running = start_vault(server.new_database(), tmp_path / "vault")
    try:
        sealed = running.client.seal(
            batch(*(PERSON | NO_DATE | {"applicant_id_number": f"003088{n:06d}"} for n in range(20)))
        )
        with psycopg.connect(running.database_url) as connection:
            connection.execute("update sealed_group set created_at = created_at - interval '8 days'")
        number = running.client.begin_collecting()
        running.client.in_use(number, sealed.slice(0, 1))
        with pytest.raises(
            VaultRefused, match=f"found 114 of 121 .*vault collect --number {number} --unused 114"
        ):
            running.client.delete_unused(number)
        wrong = run(running, "collect", f"--number={number}", "--unused=113", "--officer=H20-0042")
        assert wrong.returncode == 1
        assert wrong.stderr.startswith("vault: collection")
        done = run(running, "collect", f"--number={number}", "--unused=114", "--officer=H20-0042")
        assert done.returncode == 0, done.stderr
        assert "114 sealed values, 0 dossiers' links and 19 keys deleted" in done.stdout
        assert running.client.health()["sealed_values"] == 7
        assert running.auditor.verify_audit("root")["trouble"] is None
    finally:
        stop(running.process)


def _reject() -> pa.Table:
    row = {
        "source_code": "s", "table_name": "dossier", "key": "{}", "field": "due_at", "kind": "reject",
        "batch_id": "b", "payload": b"whole",
    }  # fmt: skip
    return pa.Table.from_pylist([row])
