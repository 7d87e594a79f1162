"""Erased, restricted, refused: what is gone, what stays equal, and that no backup or re-pull brings a person back."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pyarrow as pa
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import start_vault, stop
from tests.vault.test_process import again, refused
from tests.vault.test_purposes import agree, pair
from tests.vault.test_rotation import run
from tests.vault.test_sealing import PAPER, PERSON, batch, clear_forms, of
from vault import persons
from vault.erasure import Request, RequestError, erased, note, read
from vault.keys import FileKeys, KeyTrouble
from vault.repairs import Rule
from vault.sealing import UNLINKED, decrypt, encrypt
from vault.store import Setup, Store

OTHER = PERSON | {"dossier_id": "d2", "applicant_id_number": "003099000002", "applicant_phone": "0400000009"}
PERSONAL = ("applicant_id_number", "applicant_name", "applicant_phone", "applicant_email", "applicant_address",
            "subject_line")  # fmt: skip
TABLES = ("person_key", "sealed_group", "sealed_value", "sealed_dossier", "erasure_request", "quarantine")


def erase(
    vault: Any, number: str = PERSON["applicant_id_number"], request: str = "YC-01/2026", **words: str
) -> Any:
    options = {"decision": "erase", "basis": "Luật 91/2025/QH15", "officer": "H20-0042"} | words
    given = [f"--{k.replace('_', '-')}={v}" for k, v in {"request": request, **options}.items()]
    return run(vault, "erase", *given, given=number + "\n")


def references(sealed: Any, row: int = 0) -> list[str]:
    return [sealed.column(n)[row].as_py() for n in PERSONAL]


def store_of(vault: Any) -> Store:
    return Store(Setup(vault.database_url, FileKeys(vault.home / "keys")))


def rows(vault: Any, query: str, *given: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(vault.database_url) as connection:
        return connection.execute(query, given or None).fetchall()  # type: ignore[call-overload]


def held(vault: Any, wanted: list[str]) -> set[str]:
    found = rows(vault, "select reference from sealed_value where reference = any(%s)", wanted)
    return {r for (r,) in found}


def unlinked(first: Any, again: Any) -> None:
    """`again` is `first` without a token, and with references that open nothing; the other row is as it was."""
    assert again.slice(1).equals(first.slice(1))
    assert None not in references(first)
    assert references(again) == [None] + [UNLINKED] * (len(PERSONAL) - 1)
    for name in ("dossier_id", "received_at", "applicant_birth_year", "receiving_officer_name"):
        assert again.column(name).equals(first.column(name)), name


def test_an_erased_person_is_gone_and_a_repull_stores_nothing_and_brings_no_token_back(vault):
    first = vault.client.seal(batch(PERSON, OTHER))
    papers = vault.client.seal(of("dossier_paper", PAPER))
    file = papers.column("file_name")[0].as_py()
    done = erase(vault, "003.099.000.001")
    assert done.returncode == 0, done.stderr
    assert "8 sealed values deleted" in done.stdout
    mine, other = references(first), references(first, 1)
    assert held(vault, [*mine, file]) == set()
    assert set(store_of(vault).reveal([*mine, file, *other])) == set(other)
    second = vault.client.seal(batch(PERSON, OTHER))
    unlinked(first, second)
    bare = vault.client.seal(of("dossier_paper", PAPER))
    shown = [bare.column(n)[0].as_py() for n in ("file_name", "file_url")]
    assert shown == [UNLINKED, None], (
        "nor do papers join another dossier's; what was never there is not told of"
    )
    assert vault.client.seal(batch(PERSON, OTHER)).equals(second), "the same again: no row changes twice"
    assert vault.client.seal(of("dossier_paper", PAPER)).equals(bare)
    later = vault.client.seal(batch(PERSON | {"dossier_id": "later"}))
    assert references(later) == references(second), "a dossier that comes after the erasure"
    late = vault.client.seal(of("dossier_paper", PAPER | {"dossier_id": "later"}))
    assert late.column("file_name")[0].as_py() == UNLINKED, "a paper that comes without its dossier"
    nameless = vault.client.seal(batch(PERSON | {"applicant_id_number": None}))
    assert references(nameless) == references(second), "nor where the source leaves out whose it is"
    assert held(vault, [*mine, file, UNLINKED]) == set()
    assert rows(vault, "select 1 from sealed_group where holder like 'grp%%'") == []
    assert rows(vault, "select dossier_id from sealed_dossier where token = %s", mine[0]) == []
    assert rows(vault, "select count(*) from sealed_dossier where refs like %s", f"%{mine[0]}%") == [(0,)]
    assert len(rows(vault, "select 1 from sealed_dossier where token = %s", other[0])) == 1
    kept = rows(vault, "select wrapped, erased_at is null from person_key where holder = %s", mine[0])
    assert kept == [(None, False)]
    ((decision, basis, officer, finished),) = rows(
        vault, "select decision, basis, officer, done_at is not null from erasure_request"
    )
    assert (decision, basis, officer, finished) == ("erase", "Luật 91/2025/QH15", "H20-0042", True)
    assert erase(vault).returncode == 0  # again, it changes nothing
    assert vault.client.seal(batch(PERSON, OTHER)).equals(second)
    said = done.stdout + done.stderr + (vault.home / "keys" / "erasures.jsonl").read_text()
    for form in clear_forms(PERSON["applicant_id_number"]):
        assert form not in said.encode()


def test_what_was_quarantined_of_an_erased_person_goes_with_it(vault):
    row = {"source_code": "s", "table_name": "dossier", "field": "due_at", "kind": "reject", "batch_id": "b"}
    vault.client.seal(batch(PERSON, OTHER))
    paper = row | {
        "source_code": PERSON["source_code"],
        "table_name": "dossier_paper",
        "payload": b'{"file": "x.pdf"}',
    }
    vault.client.quarantine(
        [
            paper | {"key": '{"dossier_id": "d1"}'},
            paper | {"key": '{"dossier_id": "d2"}'},
            row | {"key": "1", "payload": b'{"applicant": {"identityNumber": "003 099 000 001"}}'},
            row | {"key": "2", "payload": b'{"applicant": {"identityNumber": "003099000002"}}'},
            row | {"key": "3", "payload": b'[{"_subject": 3099000001}, "x", 3.5, true, null]'},
            row | {"key": "4", "payload": "Bằng Lăng;003099000001".encode()},
        ]
    )
    assert erase(vault).returncode == 0
    assert rows(vault, "select key from quarantine order by 1") == [
        ("2",), ("3",), ('{"dossier_id": "d2"}',)
    ]  # fmt: skip


def test_a_backup_opens_no_record_of_an_erased_person_under_the_keys_of_today(vault):
    """Neither his values nor what was quarantined of him, once the master key has changed and the old one is gone."""
    row = {"source_code": "s", "table_name": "dossier", "field": "due_at", "kind": "reject", "batch_id": "b"}
    sealed = vault.client.seal(batch(PERSON, OTHER))
    vault.client.quarantine(
        [
            row | {"key": str(n), "payload": b'{"n": "%s"}' % p}
            for n, p in enumerate((b"003099000001", b"003099000002"))
        ]
    )
    backup = {t: rows(vault, f"select * from {t}") for t in ("quarantine", "sealed_group", "person_key")}
    keys = [wrapped for _, _, wrapped, *_ in backup["person_key"]]
    assert erase(vault).returncode == 0
    # What a copy of the disk holds of it: rows that were deleted are no longer in the file.
    (path,) = rows(
        vault, "select current_setting('data_directory') || '/' || pg_relation_filepath('person_key')"
    )[0]
    with psycopg.connect(vault.database_url, autocommit=True) as connection:
        connection.execute("checkpoint")
    on_disk = Path(path).read_bytes()
    assert sum(wrapped in on_disk for wrapped in keys) == len(keys) - 2, "his key and his record's are gone"
    assert run(vault, "rotate").returncode == 0
    (vault.home / "keys" / "encryption.key").unlink()
    store = store_of(vault)

    def everything(cursor: Any) -> list[Any]:
        cursor.execute("select holder, master_version, wrapped from person_key where wrapped is not null")
        return cursor.fetchall()

    today = [store.masters.unwrap(v, h, w) for h, v, w in store._do(everything)]
    opened = [
        plain for _, _, table, key, _, _, payload, *_ in backup["quarantine"]
        for plain in [tried(k, payload, f"{table}/{key}".encode()) for k in today] if plain
    ]  # fmt: skip
    assert opened == [b'{"n": "003099000002"}']
    assert set(store.reveal([*references(sealed), *references(sealed, 1)])) == set(references(sealed, 1))


def tried(key: bytes, payload: bytes, bound_to: bytes) -> bytes | None:
    try:
        return decrypt(key, payload, bound_to)
    except InvalidTag:
        return None


def test_what_is_rejected_of_an_erased_person_later_is_stored_nowhere(vault):
    row = {"source_code": PERSON["source_code"], "table_name": "dossier", "field": "due_at", "kind": "reject"}
    vault.client.seal(batch(PERSON, OTHER))
    assert erase(vault).returncode == 0
    step = row | {"table_name": "dossier_step", "payload": b'{"note": "x"}'}
    vault.client.quarantine(
        [
            r | {"batch_id": "repull"}
            for r in (
                row | {"key": "1", "payload": b'{"applicant": {"identityNumber": "003 099 000 001"}}'},
                row | {"key": "2", "payload": b'{"applicant": {"identityNumber": "003099000002"}}'},
                step | {"key": '{"dossier_id": "d1"}'},
                step | {"key": '{"dossier_id": "d2"}'},
            )
        ]
    )
    assert rows(vault, "select key from quarantine order by 1") == [("2",), ('{"dossier_id": "d2"}',)]


def test_a_rejected_record_of_a_restricted_person_is_not_given_and_that_is_recorded(vault):
    place = {"table_name": "dossier", "field": "due_at", "batch_id": "b"}
    row = place | {"source_code": PERSON["source_code"], "kind": "reject"}
    vault.client.seal(batch(PERSON, OTHER))
    payloads = [b'{"applicant": {"identityNumber": "%s"}}' % n for n in (b"003 099 000 001", b"003099000002")]
    vault.client.quarantine([row | {"key": str(n), "payload": p} for n, p in enumerate(payloads)])
    assert erase(vault, decision="restrict").returncode == 0
    rule = Rule("mine", PERSON["source_code"], "dossier", "due_at", ".", "set", None, "BB 12")
    asked = pa.Table.from_pylist(
        [{n: (place | {"key": k})[n] for n in ("batch_id", "table_name", "key", "field")} for k in "01"]
    )
    assert store_of(vault).read_rejects(rule, asked) == [None, payloads[1]]
    assert sorted(rows(vault, "select outcome, note from audit where action = 'read_reject'")) == [
        ("disclosed", ""), ("refused", "restricted")
    ]  # fmt: skip
    assert erase(vault, request="YC-02/2026", decision="refuse").returncode == 0
    assert store_of(vault).read_rejects(rule, asked) == payloads


def test_a_restored_backup_does_not_bring_an_erased_person_back(vault):
    sealed = vault.client.seal(batch(PERSON, OTHER))
    mine, other = references(sealed), references(sealed, 1)
    backup = {t: rows(vault, f"select * from {t}") for t in TABLES}
    assert erase(vault).returncode == 0
    erase(vault, OTHER["applicant_id_number"], "YC-02/2026", decision="restrict")
    stop(vault.process)
    with psycopg.connect(vault.database_url) as connection, connection.cursor() as cursor:
        for table, content in backup.items():
            cursor.execute(f"truncate {table}")
            for line in content:
                marks = ", ".join(["%s"] * len(line))
                cursor.execute(f"insert into {table} overriding system value values ({marks})", line)
    # So it would be without the journal.
    assert set(store_of(vault).reveal(mine)) == set(mine)
    started = start_vault(vault.database_url, vault.home)
    try:
        assert held(vault, mine) == set()
        assert rows(vault, "select wrapped from person_key where holder = %s", mine[0]) == [(None,)]
        assert store_of(vault).restricted() == {other[0]}
        assert rows(vault, "select token, refs from sealed_dossier where dossier_id = 'd1'") == [("", "")]
        assert len(rows(vault, "select 1 from sealed_dossier where token = %s", other[0])) == 1
        unlinked(sealed, started.client.seal(batch(PERSON, OTHER)))
        assert held(vault, mine) == set()
    finally:
        stop(started.process)


def test_a_restricted_person_is_not_read_until_the_term_and_sealing_goes_on(vault):
    (vault.home / "agreements").mkdir()
    agree(vault)
    sealed = vault.client.seal(batch(PERSON, OTHER)).to_pylist()
    asked = [pair(r) for r in sealed]
    assert erase(vault, decision="restrict", term="2099-01-01").returncode == 0
    assert [d.outcome for d in vault.client.disclose("citizen_check", asked)[0]] == ["refused", "disclosed"]
    later = vault.client.seal(batch(PERSON | {"applicant_phone": "0400000088"})).to_pylist()[0]
    assert held(vault, [later["applicant_phone"]])
    assert store_of(vault).reveal([later["applicant_phone"], sealed[0]["applicant_name"]]) == {}
    # The latest decision counts, and a term ends.
    assert erase(vault, request="YC-03", decision="refuse", basis="Luật Lưu trữ 33/2024/QH15").returncode == 0
    assert store_of(vault).reveal([later["applicant_phone"]])
    assert erase(vault, request="YC-04", decision="restrict", term="2025-01-01").returncode == 0
    assert [d.outcome for d in vault.client.disclose("citizen_check", asked[:1])[0]] == ["disclosed"]
    assert len(rows(vault, "select 1 from erasure_request")) == 3


def test_one_number_is_one_decision_and_nobody_is_not_erased(vault):
    assert erase(vault).returncode == 0
    refused(
        erase(vault, OTHER["applicant_id_number"]), "YC-01/2026 is recorded already", "a number of its own"
    )
    refused(erase(vault, "000000001", "YC-05"), "standard input", "found none")
    refused(erase(vault, request="YC-06", term="sometime"), "term a day such as")
    assert [r.request_id for r in read(vault.home / "keys" / "erasures.jsonl")] == ["YC-01/2026"]
    assert store_of(vault).count("erasure_request") == 1


def request(**changes: Any) -> Request:
    return Request(
        **{"request_id": "1", "holder": "id1_x", "decision": "erase", "basis": "b", "officer": "o",
           "decided_at": "2026-01-01T00:00:00+07:00"} | changes
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"request": "003099000001"}, "in the register"), ({"request": "Nguyễn Thị Bưởi"}, "in the register"),
        ({"request": "YC/003.099.000.001"}, "in the register"), ({"basis": "CMND 310123456"}, "nine digits or more"),
        ({"basis": "Đơn của công dân 003 099 000 001"}, "nine digits or more"), ({"officer": "Lê Thị Nhận"}, "no name"),
    ],
)  # fmt: skip
def test_what_may_name_somebody_is_recorded_nowhere(place, words, said):
    store, journal = place
    given = {"request_id": words.get("request", "YC-1"), **{k: v for k, v in words.items() if k != "request"}}
    with pytest.raises(RequestError, match=said) as refused:
        store.decide(request(**given))
    assert not any(value in str(refused.value) for value in words.values())
    assert not journal.exists()
    assert (store.count("erasure_request"), store.count("audit")) == (0, 0)


def test_what_a_journal_of_before_says_in_clear_still_counts(database, tmp_path):
    journal = tmp_path / "erasures.jsonl"
    token = "id1_" + "0" * 32
    note(journal, request(holder=token, request_id="003099000001", basis="CMND 310123456"))
    store = Store(Setup(database, FileKeys(tmp_path / "keys", create=True), erasures=journal))
    assert store._do(erased) == {token}


@pytest.fixture(scope="module")
def place(server: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    home: Path = tmp_path_factory.mktemp("decisions")
    journal = home / "erasures.jsonl"
    return Store(Setup(server.new_database(), FileKeys(home, create=True), erasures=journal)), journal


def test_a_line_of_the_journal_cut_short_is_ended_and_another_is_told(tmp_path):
    journal = tmp_path / "keys" / "erasures.jsonl"
    note(journal, request())
    note(journal, request())
    with journal.open("a") as f:
        f.write('{"request_id": "2", "hol')
    note(journal, request(request_id="3"))
    assert [r.request_id for r in read(journal)] == ["1", "3"]
    assert journal.stat().st_mode & 0o077 == 0
    journal.write_text('{"request_id": "2"}\n')
    with pytest.raises(KeyTrouble, match=r"erasures\.jsonl .*line 1"):
        read(journal)


def test_a_journal_that_cannot_be_read_keeps_the_vault_down(vault):
    (vault.home / "keys" / "erasures.jsonl").write_text('["x"]\n')
    refused(again(vault), "erasures.jsonl", "line 1", "backup")


@pytest.mark.parametrize(
    ("change", "said"),
    [({"basis": ""}, "lacks basis"), ({"decision": "forget"}, "none of erase, restrict, refuse"),
     ({"decided_at": "2026-01-01T00:00:00"}, "its zone"), ({"term": "1/1/2026"}, "term a day")],
)  # fmt: skip
def test_what_a_request_lacks_is_said(change, said):
    with pytest.raises(RequestError, match=said):
        request(**change)


def test_a_person_sealed_by_an_earlier_version_is_erased_too(database, tmp_path):
    store = Store(Setup(database, FileKeys(tmp_path, create=True)))
    sealed, values = store.sealer.seal(batch(PERSON, OTHER))
    store.keep(values)
    with psycopg.connect(database) as connection:
        # As it stood then: under the one key for all.
        (data_key,) = persons.new_keys(["x"]).values()
        wrapped = store.masters.wrap(1, {persons.DATA_KEY: data_key})[0]
        connection.execute("insert into person_key values (%s, 1, %s)", (persons.DATA_KEY, wrapped))
        for group, payload, holder in connection.execute(
            "select id, payload, holder from sealed_group"
        ).fetchall():
            wrapped = connection.execute(
                "select wrapped from person_key where holder = %s", (holder,)
            ).fetchone()[0]  # type: ignore[index]
            owner, plain = store.sealer.open(payload, group, store.masters.unwrap(1, holder, wrapped))
            old = encrypt(data_key, msgspec.msgpack.encode((owner, plain)), group)
            connection.execute(
                "update sealed_group set holder = null, payload = %s where id = %s", (old, group)
            )
        connection.execute("delete from person_key where holder <> %s", (persons.DATA_KEY,))
    mine, other = references(sealed), references(sealed, 1)
    store = Store(Setup(database, FileKeys(tmp_path)))
    assert set(store.reveal([*mine, *other])) == {*mine, *other}
    # And the birth date, whose reference stands in no row.
    assert store.decide(request(holder=mine[0])) == len(mine) + 1
    assert set(store.reveal([*mine, *other])) == set(other)


# --- any order --------------------------------------------------------------------------------------

_examples = itertools.count(1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("seal"), st.integers(0, 3), st.sampled_from(["0400000001", "0400000002", "0400000003"])),
        st.tuples(st.just("reveal"), st.none(), st.none()),
        st.tuples(st.just("rotate"), st.none(), st.none()),
        st.tuples(st.just("erase"), st.integers(0, 3), st.none()),
        st.tuples(st.sampled_from(["restrict", "refuse"]), st.integers(0, 3), st.none()),
        st.tuples(st.just("restart"), st.none(), st.none()),
        st.tuples(st.just("collect"), st.integers(0, 3), st.none()),
    ),
    min_size=1, max_size=14,
)  # fmt: skip


@pytest.fixture(scope="module")
def setup(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    home: Path = tmp_path_factory.mktemp("keys")
    made = Setup(server.new_database(), FileKeys(home, create=True), erasures=home / "erasures.jsonl")
    Store(made)
    return made


def collect_all_of(store: Store, url: str, person: str) -> None:
    """A collection that is told of everything but what one person has."""
    with psycopg.connect(url) as connection:
        connection.execute("update sealed_group set created_at = created_at - interval '8 days'")
        connection.execute("update collection set begun_at = begun_at - interval '8 days'")
        used = connection.execute(
            "select v.reference from sealed_value v join sealed_group g on g.id = v.group_id where g.holder <> %s",
            (person,),
        ).fetchall()
    number = store.collection.begin()
    store.collection.use(number, pa.table({"reference": ["ref1_" + "0" * 32, *(r for (r,) in used)]}))
    while not store.collection.delete(number, batch=2).done:
        pass


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_in_any_order_the_vault_holds_what_a_dictionary_would(setup, steps):
    example = next(_examples)
    store = Store(setup)
    model: dict[str, tuple[int, str]] = {}
    seen: dict[tuple[int, str], str] = {}
    erased: set[int] = set()
    restricted: set[int] = set()
    for number, (act, person, phone) in enumerate([*steps, ("reveal", None, None)]):
        identity = f"003{example:06d}{person or 0:03d}"
        if act == "seal":
            row = PERSON | {"applicant_id_number": identity, "applicant_phone": phone}
            (sealed,) = store.seal([batch(row | {"dossier_id": f"{example}-{person}"})])
            reference = sealed.column("applicant_phone")[0].as_py()
            token = sealed.column("applicant_id_number")[0].as_py()
            if person in erased:
                assert (token, reference) == (None, UNLINKED)
            else:
                assert token == store.sealer.token(identity)
                assert seen.setdefault((person, phone), reference) == reference
                model[reference] = (person, phone)
        elif act == "reveal":
            expected = {r: v for r, (p, v) in model.items() if p not in restricted}
            assert store.reveal(list(seen.values())) == expected
        elif act == "rotate":
            store.rotate(batch=2)
        elif act == "restart":
            store = Store(setup)
        elif act == "collect":
            collect_all_of(store, setup.url, str(store.sealer.token(identity)))
            model = {r: v for r, v in model.items() if v[0] != person or person in restricted}
        else:
            moment = (dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=number)).isoformat()
            token = str(store.sealer.token(identity))
            store.decide(Request(f"{example}-{number}", token, act, "b", "o", moment))
            (restricted.add if act == "restrict" else restricted.discard)(person)
            if act == "erase":
                erased.add(person)
                model = {r: v for r, v in model.items() if v[0] != person}
