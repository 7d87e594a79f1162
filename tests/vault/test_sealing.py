"""Sealing over the vault's real socket: tokens, references, years, refusals, and what stands where."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import re
import string
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pyarrow as pa
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.contract import contract
from tests.conftest import start_vault, stop
from vault.client import VaultClient, VaultRefused
from vault.keys import FileKeys, KeyTrouble, derive, joint_fingerprint
from vault.persons import opened_record
from vault.sealing import NOBODY, PREFIX, Sealer, ciphertexts, encrypt, normalised_identity
from vault.store import Setup, Store, was_set_up


@pytest.fixture(scope="module")
def vault(server) -> Iterator[Any]:
    """One vault for this module: nothing here stops it, and counts are taken as differences."""
    with tempfile.TemporaryDirectory() as folder:
        running = start_vault(server.new_database(), Path(folder))
        yield running
        stop(running.process)


PERSON = {
    "source_code": "igate_tien_giang",
    "dossier_id": "d1",
    "applicant_id_number": "003099000001",
    "applicant_name": "Nguyễn Thị Bằng Lăng",
    "applicant_birth_year": dt.date(1999, 2, 28),
    "applicant_phone": "0400000001",
    "applicant_email": "bang_lang.0001@example.vn",
    "applicant_address": "Số 12/3, ấp Mỹ Lợi",
    "subject_line": "Xin cấp lại giấy khai sinh cho con là Trần Văn Sao",
    "receiving_officer_name": "Lê Thị Tiếp Nhận",
    "status_code": "2",
}


def batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=contract("dossier").clear_schema)


def column(seal: str | None, classification: str = "sensitive", kind: pa.DataType | None = None) -> pa.Field:
    meta = {"classification": classification} | ({"seal": seal} if seal else {})
    return pa.field("x", kind or pa.string(), metadata=meta)


def one_column(values: list[Any], field: pa.Field, subject: str = "") -> pa.RecordBatch:
    schema = pa.schema([field], metadata={"subject": subject} if subject else None)
    return pa.RecordBatch.from_arrays([pa.array(values, field.type)], schema=schema)


def tokens(client: VaultClient, *identities: str | None) -> list[str | None]:
    key = pa.field("row", pa.string(), metadata={"classification": "none"})
    schema = pa.schema([column("token", "identifying"), key], metadata={"group": "row"})
    rows = pa.RecordBatch.from_arrays(
        [pa.array(identities, pa.string()), pa.array([str(n) for n in range(len(identities))])], schema=schema
    )
    return client.seal(rows).column(0).to_pylist()


@pytest.mark.parametrize("group", ["", "x", "elsewhere"])
def test_numbers_without_the_key_of_their_rows_are_refused(vault, group):
    schema = pa.schema([column("token", "identifying")], metadata={"group": group} if group else None)
    with pytest.raises(VaultRefused, match="the key of its rows"):
        vault.client.seal(pa.RecordBatch.from_arrays([pa.array(["003099000001"])], schema=schema))


def test_one_number_in_any_spelling_is_one_token(vault):
    plain, dotted, spaced, dashed = tokens(
        vault.client, "012345678901", "0123.4567.8901", " 012 345 678 901 ", "012-345-678-901"
    )
    assert plain == dotted == spaced == dashed
    assert plain is not None
    assert plain.startswith("id1_")
    assert len(plain) == len("id1_") + 32


@pytest.mark.parametrize(
    "written",
    ["\u200b003099000001", "003\u200d099\ufeff000\u2060001", "\u202d003099000001\u202c", "００３０９９０００００１",
     "003\u2010099\u2011000\u2013001", "003\u2212099 000 001", "003\u00ad099000001", "003\u00a0099\u2009000001"],
)  # fmt: skip
def test_what_only_looks_the_same_is_the_same_number(written):
    assert normalised_identity(written) == "cccd:003099000001"


@pytest.mark.parametrize(
    "written", ["\u200b", "\u200b000000001", "０００００００００", "\u2013\u2014", "kh\u200bông có"]
)
def test_a_placeholder_in_disguise_is_one(written):
    assert normalised_identity(written) is None


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("003 099 000 001", "cccd:003099000001"), ("310.099.001", "cmnd:310099001"),
        ("1400123456", "tax:1400123456"), ("1400123456-001", "tax:1400123456001"),  # an office of it
        ("b 1234567", "passport:B1234567"), ("E01234567", "passport:E01234567"), ("1234567a", "passport:1234567A"),
        ("8f14e45f-ceea-467f-a0e6-0b1c2d3e4f5a", "techid:8F14E45FCEEA467FA0E60B1C2D3E4F5A"),
        ("DN-0123456789/2024", "paper:DN01234567892024"), ("12A", "paper:12A"),
        ("20250630123456", "number:20250630123456"), ("12345670", "number:12345670"),
        ("518273645", "cmnd:518273645"),  # the limit: also where it is a foreigner's passport
    ],
)  # fmt: skip
def test_the_form_of_a_number_tells_its_kind(written, normal):
    assert normalised_identity(written) == normal
    assert normalised_identity(normal.partition(":")[2]) == normal


@pytest.mark.parametrize(
    ("written", "first"),
    [("B1234567", "paper:B1234567"), ("8f14e45f-ceea-467f-a0e6-0b1c2d3e4f5a", "paper:8F14E45FCEEA467FA0E60B1C2D3E4F5A"),
     ("1" * 31 + "2", "number:" + "1" * 31 + "2"), ("003099000001", "cccd:003099000001")],
)  # fmt: skip
def test_a_vault_keeps_the_kinds_its_tokens_were_made_with(database, tmp_path, written, first):
    keys = FileKeys(tmp_path / "keys", create=True)
    made = hmac.digest(derive(keys.token_key(), "token"), first.encode(), hashlib.sha256)[:16].hex()
    now = Store(Setup(database, keys)).sealer.token(written)
    assert (now == f"id1_{made}") == (normalised_identity(written) == first)
    assert Store(Setup(database, keys)).sealer.token(written) == now
    with psycopg.connect(database) as connection:
        # What a database of the version before has not.
        connection.execute("delete from meta where name = 'identity_forms'")
    for _ in range(2):
        assert Store(Setup(database, keys)).sealer.token(written) == f"id1_{made}"


@given(st.text(st.characters(codec="ascii"), max_size=14))
def test_numbers_in_plain_letters_keep_the_token_they_had(text):
    bare = text if text.isdigit() else re.sub(r"[\s.\-/]", "", text).upper()
    normal = normalised_identity(text)
    assert normal is None or normal.partition(":")[2] == bare


def test_a_token_is_the_same_tomorrow_and_differs_between_persons(vault):
    first = tokens(vault.client, "003099000001", "003099000002", None)
    assert first == tokens(vault.client, "003099000001", "003099000002", None)
    assert first[0] != first[1]
    assert first[2] is None


def test_kinds_of_numbers_never_meet(vault):
    cmnd, cccd, passport, tax = tokens(vault.client, "310099001", "000310099001", "B310099001", "3100990010")
    assert len({cmnd, cccd, passport, tax}) == 4
    assert normalised_identity("310099001") == "cmnd:310099001"
    assert normalised_identity("003 099 000 001") == "cccd:003099000001"


@pytest.mark.parametrize(
    "placeholder",
    ["000000001", "000000000", "0", "1", "000000000001", "111111111", "999999999999", "123456789",
     "0123456789", "000.000.001", "  ", "-", "123456789012", "123456", "Không có", "N/A", "x", "chưa rõ"],
)  # fmt: skip
def test_a_placeholder_makes_nobody_one(vault, placeholder):
    assert tokens(vault.client, placeholder) == [None]
    a = PERSON | {"dossier_id": "a", "applicant_id_number": placeholder, "applicant_phone": "0400000002"}
    b = PERSON | {"dossier_id": "b", "applicant_id_number": placeholder, "applicant_phone": "0400000003"}
    sealed = vault.client.seal(batch(a, b))
    assert sealed.column("applicant_id_number").to_pylist() == [None, None]
    assert len(set(sealed.column("applicant_phone").to_pylist())) == 2


def test_a_reference_stands_for_person_field_and_value_together(vault):
    other_person = PERSON | {"dossier_id": "d2", "applicant_id_number": "003099000002"}
    other_value = PERSON | {"dossier_id": "d3", "applicant_name": "Nguyễn Thị Bằng Lăng B"}
    sealed = vault.client.seal(batch(PERSON, other_person, other_value, PERSON | {"dossier_id": "d4"}))
    names = sealed.column("applicant_name").to_pylist()
    assert names[0] == names[3]
    assert len(set(names)) == 3
    # The same text in two fields of one person.
    twice = vault.client.seal(batch(PERSON | {"applicant_address": PERSON["applicant_name"]}))
    assert twice.column("applicant_name")[0].as_py() != twice.column("applicant_address")[0].as_py()


def test_equal_batches_become_equal_rows_and_are_stored_once(vault):
    rows = [
        PERSON | {"dossier_id": f"d{n}", "applicant_id_number": f"0030880000{n:02d}",
                  "receiving_officer_name": "Lê Thị Bốn Mươi"}
        for n in range(40)
    ]  # fmt: skip
    before = vault.client.health()["sealed_values"]
    first = vault.client.seal(batch(*rows))
    stored = vault.client.health()["sealed_values"]
    assert (
        stored - before == 40 * 7 + 1
    )  # number, name, birth date, phone, e-mail, address, subject, each under its person; the officer is of all of them
    assert vault.client.seal(batch(*rows)).equals(first)
    assert vault.client.health()["sealed_values"] == stored


def test_the_ciphertext_is_committed_before_the_answer(vault):
    sealed = vault.client.seal(batch(PERSON))
    wanted = {
        sealed.column(n)[0].as_py()
        for n in sealed.schema.names
        if str(sealed.column(n)[0].as_py()).startswith(("id1_", "ref1_"))
    }
    with psycopg.connect(vault.database_url) as other:
        held = {r[0] for r in other.execute("select reference from sealed_value")}
    assert len(wanted) == 7
    assert wanted <= held


def test_year_drop_and_none(vault):
    born = one_column([dt.date(1999, 2, 28), None], column("year", "quasi_identifying", pa.date32()))
    sealed = vault.client.seal(born)
    assert sealed.column(0).type == pa.int16()
    assert sealed.column(0).to_pylist() == [1999, None]
    kept = pa.field("kept", pa.int32(), metadata={"classification": "none"})
    before = vault.client.health()["sealed_values"]
    both = pa.RecordBatch.from_arrays(
        [pa.array(["bí mật"]), pa.array([7], pa.int32())], schema=pa.schema([column("drop"), kept])
    )
    assert vault.client.seal(both).to_pydict() == {"kept": [7]}
    assert vault.client.health()["sealed_values"] == before


def test_the_sealed_batch_is_what_the_contract_may_land(vault):
    sealed = vault.client.seal(batch(PERSON))
    landed = contract("dossier").landed_schema
    assert sealed.schema.names == landed.names
    assert sealed.schema.types == landed.types
    assert vault.client.seal(batch()).num_rows == 0
    text = str(sealed.to_pylist())
    for name, value in PERSON.items():
        if name not in ("source_code", "dossier_id", "status_code"):
            assert str(value) not in text, name


def test_a_personal_class_without_a_seal_is_refused_by_name(vault):
    with pytest.raises(VaultRefused, match=r"'x' has the privacy class 'sensitive' and no seal"):
        vault.client.seal(one_column(["bí mật"], column(None)))


def test_a_column_without_any_class_is_refused(vault):
    with pytest.raises(VaultRefused, match=r"privacy class 'unknown'"):
        vault.client.seal(one_column(["bí mật"], pa.field("x", pa.string())))


def test_an_unknown_seal_is_refused(vault):
    with pytest.raises(VaultRefused, match=r"unknown seal 'rot13'"):
        vault.client.seal(one_column(["bí mật"], column("rot13")))


def test_a_subject_that_is_no_column_is_refused(vault):
    with pytest.raises(VaultRefused, match=r"subject 'nobody'"):
        vault.client.seal(one_column(["bí mật"], column("reference"), subject="nobody"))


def test_numbers_under_a_token_are_refused_and_not_repeated(vault):
    key = pa.field("row", pa.string(), metadata={"classification": "none"})
    schema = pa.schema([column("token", "identifying", pa.int64()), key], metadata={"group": "row"})
    numbers = pa.RecordBatch.from_pydict({"x": [3099000001], "row": ["1"]}, schema=schema)
    with pytest.raises(VaultRefused, match=r"'x'.*text") as refused:
        vault.client.seal(numbers)
    assert "3099000001" not in str(refused.value)


def test_a_body_that_is_no_arrow_is_refused(vault):
    with pytest.raises(VaultRefused, match="no Arrow stream"):
        vault.client._call("POST", "/v1/seal", b"not arrow")


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer", "Basic abc"])
@pytest.mark.parametrize("call", [("GET", "/v1/health"), ("POST", "/v1/seal"), ("POST", "/v1/quarantine")])
def test_without_the_bearer_nothing_is_answered(vault, header, call):
    transport = httpx.HTTPTransport(uds=str(vault.client.socket))
    with httpx.Client(transport=transport, base_url="http://vault") as http:
        answer = http.request(*call, headers={"Authorization": header} if header else {}, content=b"x")
    assert answer.status_code == 401
    assert answer.json() == {"error": "no valid bearer token"}


def test_a_wrong_token_is_told_at_once(vault):
    with pytest.raises(VaultRefused, match="bearer"):
        VaultClient(vault.client.socket, "wrong").health()


def test_quarantine_is_stored_encrypted_and_only_once(vault):
    row = {
        "source_code": "s", "table_name": "dossier", "key": '{"dossier_id": "d1"}', "field": "received_at",
        "kind": "reject", "payload": "Nguyễn Thị Bằng Lăng".encode(), "batch_id": "b1",
    }  # fmt: skip
    vault.client.quarantine([row])
    vault.client.quarantine([row])
    vault.client.quarantine([])
    with psycopg.connect(vault.database_url) as connection:
        found = connection.execute("select payload from quarantine where batch_id = 'b1'").fetchall()
    payloads = [r[0] for r in found]
    assert len(payloads) == 1
    assert row["payload"] not in payloads[0]
    assert opened_records(store_of(vault), "b1") == [row["payload"]]


def test_two_records_without_a_key_are_two_in_the_quarantine(vault):
    row = {"source_code": "s", "table_name": "dossier_step", "key": '{"step_no": null}', "field": "step_no",
           "kind": "reject", "batch_id": "two"}  # fmt: skip
    vault.client.quarantine(
        [row | {"payload": b"one"}, row | {"payload": b"other"}, row | {"payload": b"one"}]
    )
    assert sorted(opened_records(store_of(vault), "two")) == [b"one", b"other"]
    with psycopg.connect(vault.database_url) as connection:
        held = connection.execute(
            "select count(q.id) filter (where q.batch_id = 'two'), count(distinct k.holder) filter (where q.batch_id = "
            "'two'), count(*) filter (where q.id is null) from quarantine q full join person_key k on "
            "k.holder = q.holder where q.id is not null or k.holder like 'record:%'"
        ).fetchone()
    assert held == (2, 2, 0), "each has a key of its own, and what was sent again has left none"


def store_of(vault: Any) -> Store:
    return Store(Setup(vault.database_url, FileKeys(vault.home / "keys")))


def opened_records(store: Store, batch_id: str) -> list[bytes]:
    """What the quarantine holds of a batch, in clear."""

    def read(cursor: Any) -> list[bytes]:
        cursor.execute(
            "select q.table_name, q.key, q.payload, k.* from quarantine q join person_key k on k.holder = q.holder "
            "where q.batch_id = $1 order by q.id",
            (batch_id,),
        )
        return [opened_record(store.masters, row) for row in cursor.fetch_arrow_table().to_pylist()]

    return store._do(read)


def clear_forms(value: str) -> Iterator[bytes]:
    for text in (value, value.upper(), value.lower()):
        yield text.encode()
        yield text.encode("utf-16-le")
        yield base64.b64encode(text.encode())
        yield text.encode().hex().encode()


def everything_in(url: str) -> bytes:
    """All values of all tables as bytes: decoded, not as the pages stand on disk."""
    found = bytearray()
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in "
            "('pg_catalog', 'information_schema')"
        ).fetchall()
        assert len(tables) >= 4
        for (table,) in tables:
            for row in connection.execute(f"select * from {table}"):
                for value in row:
                    found += (value if isinstance(value, bytes) else str(value).encode()) + b"\n"
    return bytes(found)


def test_no_clear_value_stands_in_the_vaults_database(vault):
    vault.client.seal(batch(PERSON))
    vault.client.quarantine(
        [{"source_code": "s", "table_name": "dossier", "key": "k", "field": "f", "kind": "undeclared",
          "payload": PERSON["applicant_name"].encode(), "batch_id": "b"}]
    )  # fmt: skip
    held = everything_in(vault.database_url)
    assert b"ref1_" in held
    for name, value in PERSON.items():
        if name in ("source_code", "dossier_id", "status_code"):
            continue
        for form in clear_forms(str(value)):
            assert form not in held, name


def test_a_sealed_value_comes_back_from_the_store(vault):
    sealed = vault.client.seal(batch(PERSON))
    names = ("applicant_id_number", "applicant_name", "subject_line")
    references = {n: sealed.column(n)[0].as_py() for n in names}
    revealed = store_of(vault).reveal(list(references.values()))
    assert {n: revealed[r] for n, r in references.items()} == {n: PERSON[n] for n in names}


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=("Cs",)))), min_size=1))
def test_any_text_comes_back_from_the_vault(vault, values):
    sealed = vault.client.seal(one_column(values, column("reference"))).column(0).to_pylist()
    revealed = store_of(vault).reveal([r for r in sealed if r])
    assert [None if r is None else revealed[r] for r in sealed] == values


@given(
    digits=st.text(string.digits, min_size=1, max_size=13),
    gaps=st.lists(st.sampled_from(["", " ", ".", "-", "/", "\t"]), min_size=13, max_size=13),
)
def test_separators_never_change_a_token(digits, gaps):
    sealer = Sealer(b"t" * 32, b"r" * 32)
    spaced = "".join(d + g for d, g in zip(digits, gaps, strict=False))
    assert sealer.token(spaced) == sealer.token(digits)


MOVES = {
    "the ciphertext of another group": "update sealed_group set payload = (select g.payload from sealed_group g join "
    "sealed_value v on v.group_id = g.id where v.reference = %(other)s) where id = (select group_id from "
    "sealed_value where reference = %(phone)s)",
    "another group": "update sealed_value set group_id = (select group_id from sealed_value where reference = "
    "%(other)s) where reference = %(phone)s",
    "another place in its group": "update sealed_value set position = (select position from sealed_value where "
    "reference = %(name)s) where reference = %(phone)s",
    "no place in its group": "update sealed_value set position = 99 where reference = %(phone)s",
    "another field": "update sealed_value set field = 'applicant_name' where reference = %(phone)s",
}


@pytest.mark.parametrize("move", MOVES)
def test_a_ciphertext_moved_elsewhere_does_not_open(vault, move):
    number = 70 + list(MOVES).index(move)
    mine = PERSON | {"applicant_id_number": f"0030990000{number}", "dossier_id": "mine"}
    other = PERSON | {"applicant_id_number": f"0030990001{number}", "dossier_id": "other"}
    sealed = vault.client.seal(batch(mine, other))
    name, phone = (sealed.column(c)[0].as_py() for c in ("applicant_name", "applicant_phone"))
    store = store_of(vault)
    assert store.reveal([phone]) == {phone: PERSON["applicant_phone"]}
    with psycopg.connect(vault.database_url) as connection:
        moved = connection.execute(
            MOVES[move], {"name": name, "phone": phone, "other": sealed.column("applicant_phone")[1].as_py()}
        )
        assert moved.rowcount == 1
    with pytest.raises(InvalidTag):
        store.reveal([phone])


def test_rows_of_one_dossier_share_a_ciphertext_and_each_value_is_stored_once():
    paper = contract("dossier_paper").clear_schema
    rows = [
        {"source_code": "s", "dossier_id": d, "paper_no": n, "paper_name": "Đơn", "is_result": False,
         "file_name": f"don_{d}_{n}.pdf", "file_url": "/fi/file/1"}
        for d in ("a", "b") for n in (1, 2)
    ]  # fmt: skip
    sealed, values = Sealer(b"t" * 32, b"r" * 32).seal(pa.RecordBatch.from_pylist(rows, schema=paper))
    assert len(set(sealed.column("file_name").to_pylist())) == 4
    # The applicants are not known: what two dossiers have alike must not make their applicants one.
    assert len(set(sealed.column("file_url").to_pylist())) == 2
    holders = values["holder"].unique().to_pylist()
    assert [h[:5] for h in holders] == ["grp1_"] * 2
    made = ciphertexts(values, dict.fromkeys(holders, b"k" * 32))
    assert made.values.num_rows == 6
    assert made.groups["holder"].to_pylist() == holders
    in_groups = made.values.sort_by([("group_id", "ascending"), ("position", "ascending")])
    assert in_groups["position"].to_pylist() == [0, 1, 2, 0, 1, 2]


PAPER = {"source_code": PERSON["source_code"], "dossier_id": PERSON["dossier_id"], "paper_no": 1, "paper_name": "Đơn",
         "is_result": False, "file_name": "don_xin_phep.pdf"}  # fmt: skip


def of(table: str, *rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=contract(table).clear_schema)


def holders_of(vault: Any, *references: str) -> list[str]:
    with psycopg.connect(vault.database_url) as connection:
        return [
            connection.execute(
                "select g.holder from sealed_value v join sealed_group g on g.id = v.group_id where reference = %s",
                (reference,),
            ).fetchone()[0]  # type: ignore[index]
            for reference in references
        ]


def test_what_belongs_to_a_dossier_is_held_by_its_applicant(vault):
    nobody = {"dossier_id": "d7", "applicant_id_number": "000000001"}
    parts = of("dossier_paper", PAPER, PAPER | {"paper_no": 2, "dossier_id": "d7"})
    dossiers, papers = vault.client.seal_together([batch(PERSON, PERSON | nobody), parts])
    (token,) = tokens(vault.client, PERSON["applicant_id_number"])
    known, unknown = papers.column("file_name").to_pylist()
    mine, group = holders_of(vault, known, unknown)
    assert mine == token
    # A dossier whose applicant is not known is held by the same key as its papers.
    assert holders_of(vault, dossiers.column("applicant_name")[1].as_py()) == [group]
    assert group.startswith("grp1_")
    assert store_of(vault).reveal([known, unknown]) == dict.fromkeys([known, unknown], PAPER["file_name"])
    # At a replay they come without their dossier.
    assert vault.client.seal(parts).equals(papers)
    (stray,) = (
        vault.client.seal(of("dossier_paper", PAPER | {"dossier_id": "never sealed"}))
        .column("file_name")
        .to_pylist()
    )
    assert holders_of(vault, stray)[0].startswith("grp1_")


def test_an_officers_name_is_nobodys_and_the_same_in_every_dossier(vault):
    rows = [PERSON | {"dossier_id": f"o{n}", "applicant_id_number": f"0030660000{n:02d}"} for n in range(3)]
    (name,) = set(vault.client.seal(batch(*rows)).column("receiving_officer_name").to_pylist())
    assert holders_of(vault, name) == [NOBODY]
    step = {"source_code": "s", "dossier_id": "d1", "step_no": 1, "step_name": "x", "officer_name": "Lê Thị Bước",
            "started_at": dt.datetime(2025, 7, 1, tzinfo=dt.UTC)}  # fmt: skip
    steps = vault.client.seal(
        of("dossier_step", step, step | {"step_no": 2, "source_code": PERSON["source_code"]})
    )
    assert len(set(steps.column("officer_name").to_pylist())) == 1


def test_each_persons_key_is_made_once_and_stands_wrapped(vault):
    vault.client.seal(batch(PERSON, PERSON | {"dossier_id": "d9", "applicant_id_number": "003077000001"}))
    vault.client.seal(of("dossier_paper", PAPER | {"file_name": "giay_khac.pdf"}))
    with psycopg.connect(vault.database_url) as connection:
        rows = connection.execute(
            "select holder, master_version, wrapped from person_key where holder like 'id1%'"
        ).fetchall()
    assert len({h for h, _, _ in rows}) == len(rows)
    assert {v for _, v, _ in rows} == {1}
    wrapped = {h: w for h, _, w in rows}
    one, other = tokens(vault.client, PERSON["applicant_id_number"], "003077000001")
    masters = store_of(vault).masters
    keys = {masters.unwrap(1, h, wrapped[h]) for h in (one, other)}
    assert len(keys) == 2
    with pytest.raises(InvalidTag):
        masters.unwrap(1, one, wrapped[other])


def test_two_vaults_that_meet_the_same_persons_at_once_make_one_key_for_each(database, tmp_path):
    keys = FileKeys(tmp_path / "keys", create=True)
    stores = [Store(Setup(database, keys)) for _ in range(2)]
    batches = [
        batch(*(PERSON | {"applicant_id_number": f"00305500{i:04d}", "dossier_id": f"{n}-{i}",
                          "subject_line": f"{n}{i}"}
                for i in range(300)))
        for n in range(6)
    ]  # fmt: skip
    sealed: list[pa.RecordBatch] = []

    def work(store: Store, mine: list[pa.RecordBatch]) -> None:
        for one in mine:
            made, values = store.sealer.seal(one)
            store.keep(values)
            sealed.append(made)

    threads = [threading.Thread(target=work, args=(s, batches[n::2])) for n, s in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sealed) == 6
    references = [
        r for b in sealed for n in ("subject_line", "applicant_phone") for r in b.column(n).to_pylist()
    ]
    assert set(references) == set(stores[0].reveal(references))
    assert stores[0].count("person_key") == 301  # persons, and officers' names


OLD = """
create table meta (name text primary key, value text not null);
create table data_key (version smallint primary key, wrapped bytea not null,
    created_at timestamptz not null default now());
create table sealed_group (id bytea primary key, key_version smallint not null,
    payload bytea not null, created_at timestamptz not null default now());
create table sealed_value (reference text primary key, field text not null,
    group_id bytea not null, position integer not null);
create table quarantine (source_code text not null, table_name text not null, key text not null,
    field text not null, kind text not null, payload bytea not null, batch_id text not null,
    id bigint generated always as identity primary key, created_at timestamptz not null default now());
"""


def test_a_database_with_one_data_key_for_all_goes_on_working(database, tmp_path):
    keys = FileKeys(tmp_path / "keys", create=True)
    data_key, nonce = b"d" * 32, b"n" * 12
    wrapped = nonce + AESGCM(derive(keys.encryption_key(), "wrap")).encrypt(
        nonce, data_key, b"kho-chung/data-key"
    )
    sealer = Sealer(derive(keys.token_key(), "token"), derive(keys.token_key(), "reference"))
    token = sealer.token(PERSON["applicant_id_number"])
    reference = (
        PREFIX + sealer.digest(f"{token}\x1fapplicant_phone\x1f{PERSON['applicant_phone']}".encode()).hex()
    )
    payload = encrypt(data_key, msgspec.msgpack.encode((token, [PERSON["applicant_phone"]])), b"g" * 16)
    record = encrypt(data_key, b"whole", b'dossier/{"dossier_id": "d1"}')
    with psycopg.connect(database) as connection:
        connection.execute(OLD)
        joint = joint_fingerprint(keys.token_key(), keys.encryption_key())
        connection.execute("insert into meta values ('key_fingerprint', %s)", (joint,))
        connection.execute("insert into data_key values (1, %s)", (wrapped,))
        connection.execute("insert into sealed_group values (%s, 1, %s)", (b"g" * 16, payload))
        connection.execute(
            "insert into sealed_value values (%s, 'applicant_phone', %s, 0)", (reference, b"g" * 16)
        )
        connection.execute(
            "insert into quarantine values ('s', 'dossier', '{\"dossier_id\": \"d1\"}', 'f', 'reject', %s, 'b')",
            (record,),
        )
    assert was_set_up(database)
    for _ in range(2):
        store = Store(Setup(database, keys))
        assert store.reveal([reference]) == {reference: PERSON["applicant_phone"]}
        assert opened_records(store, "b") == [b"whole"]
        sealed, values = store.sealer.seal(batch(PERSON))
        store.keep(values)
        # The same person has the same references, and what was held is not stored again.
        assert sealed.column("applicant_phone")[0].as_py() == reference
        assert (store.count("sealed_value"), store.count("sealed_group")) == (8, 3)
        assert was_set_up(database)
        # The one key for all is gone, and with it whatever old copies hold: each has its own.
        with psycopg.connect(database) as connection:
            held = {h for (h,) in connection.execute("select holder from person_key").fetchall()}
        assert {h.partition(":")[0] for h in held} == {token, NOBODY, "record"}
    (tmp_path / "keys" / "token.key").write_bytes(b"w" * 32)
    with pytest.raises(KeyTrouble, match="token key"):
        Store(Setup(database, keys))
