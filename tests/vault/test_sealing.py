"""Sealing over the vault's real socket: tokens, references, years, refusals, and what stands where."""

from __future__ import annotations

import base64
import datetime as dt
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pyarrow as pa
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.contract import contract
from tests.conftest import start_vault, stop
from vault.client import VaultClient, VaultRefused
from vault.keys import FileKeys
from vault.sealing import Sealer, normalised_identity
from vault.store import Setup, Store


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
    return client.seal(one_column(list(identities), column("token", "identifying"))).column(0).to_pylist()


def test_one_number_in_any_spelling_is_one_token(vault):
    plain, dotted, spaced, dashed = tokens(
        vault.client, "012345678901", "0123.4567.8901", " 012 345 678 901 ", "012-345-678-901"
    )
    assert plain == dotted == spaced == dashed
    assert plain is not None
    assert plain.startswith("id1_")
    assert len(plain) == len("id1_") + 32


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
     "0123456789", "000.000.001", "  ", "-", "123456789012"],
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
    rows = [PERSON | {"dossier_id": f"d{n}", "applicant_id_number": f"0030880000{n:02d}"} for n in range(40)]
    before = vault.client.health()["sealed_values"]
    first = vault.client.seal(batch(*rows))
    stored = vault.client.health()["sealed_values"]
    assert (
        stored - before == 40 * 7
    )  # number, name, phone, e-mail, address, subject, officer; each under its person
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
    with pytest.raises(VaultRefused, match=r"'x'.*text") as refused:
        vault.client.seal(one_column([3099000001], column("token", "identifying", pa.int64())))
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
    store = store_of(vault)
    assert store.sealer.decrypt(payloads[0], b'dossier/{"dossier_id": "d1"}') == row["payload"]


def test_two_records_without_a_key_are_two_in_the_quarantine(vault):
    row = {"source_code": "s", "table_name": "dossier_step", "key": '{"step_no": null}', "field": "step_no",
           "kind": "reject", "batch_id": "two"}  # fmt: skip
    vault.client.quarantine(
        [row | {"payload": b"one"}, row | {"payload": b"other"}, row | {"payload": b"one"}]
    )
    with psycopg.connect(vault.database_url) as connection:
        found = connection.execute("select payload from quarantine where batch_id = 'two'").fetchall()
    opened = {store_of(vault).sealer.decrypt(p, b'dossier_step/{"step_no": null}') for (p,) in found}
    assert (len(found), opened) == (2, {b"one", b"other"})


def store_of(vault: Any) -> Store:
    return Store(Setup(vault.database_url, FileKeys(vault.home / "keys")))


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
    sealer = Sealer(b"t" * 32, b"r" * 32, b"d" * 32)
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
    sealed, ciphertexts = Sealer(b"t" * 32, b"r" * 32, b"d" * 32).seal(
        pa.RecordBatch.from_pylist(rows, schema=paper)
    )
    assert len(set(sealed.column("file_name").to_pylist())) == 4
    assert len(set(sealed.column("file_url").to_pylist())) == 1
    assert ciphertexts.values.num_rows == 5
    assert ciphertexts.groups.num_rows == 2
    assert ciphertexts.values["position"].to_pylist() == [0, 1, 2, 0, 1]
