"""Reveal: an officer reads the person of a dossier of his own agency, within his right, and every attempt is kept."""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from connectors.contract import contract
from tests.conftest import forget_readings, start_vault, stop
from tests.vault.test_sealing import PERSON, batch
from vault.client import VaultClient, VaultRefused
from vault.keys import FileKeys
from vault.reveal import RevealRefused, read_officers
from vault.store import Setup, Store

MINE, OTHER = "H58.14", "H58.15"
SECRET = "an-officers-secret-of-the-tests"
REASON = "Liên hệ công dân Nguyễn Thị Bằng Lăng bổ sung giấy tờ"
OFFICER: dict[str, Any] = {
    "name": "Lê Thị Tiếp Nhận", "agency": MINE, "purposes": ["settle_dossier"],
    "document": "Quyết định 45/QĐ-SNV ngày 01/06/2025", "daily_quota": 3,
    "secret_sha256": hashlib.sha256(SECRET.encode()).hexdigest(),
    "valid_from": dt.date(2025, 6, 1), "valid_to": dt.date(2099, 12, 31),
}  # fmt: skip
FIELDS = ["applicant_phone", "applicant_name"]
ASKED: dict[str, Any] = {
    "purpose": "settle_dossier", "source_code": "igate_tien_giang", "dossier_id": "d1", "reason": REASON,
    "fields": FIELDS,
}  # fmt: skip


@pytest.fixture(scope="module")
def running(server: Any) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        started = start_vault(server.new_database(), home, VAULT_OFFICERS=str(home / "officers.yml"))
        yield started
        stop(started.process)


@pytest.fixture
def vault(running: Any) -> Any:
    """The module's vault: one officer, nothing read yet, dossier d1 of the officer's agency."""
    forget_readings(running.database_url)
    appoint(running)
    seal(running, {})
    return running


def appoint(vault: Any, **changes: Any) -> None:
    (vault.home / "officers.yml").write_text(
        yaml.safe_dump({"H58.14-0042": OFFICER | changes}, allow_unicode=True)
    )


def seal(vault: Any, *changes: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [PERSON | {"responsible_agency_code": MINE} | c for c in changes]
    return vault.client.seal(batch(*rows)).to_pylist()


def ask(vault: Any, secret: str = SECRET, **changes: Any) -> dict[str, str]:
    return VaultClient(vault.client.socket, secret, patience=0).reveal(**ASKED | changes)


def log(vault: Any) -> list[dict[str, Any]]:
    with psycopg.connect(vault.database_url, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute("select * from audit order by number").fetchall()


def test_an_officer_reads_what_was_asked_of_a_dossier_of_the_own_agency(vault):
    assert ask(vault) == {n: PERSON[n] for n in FIELDS}
    (entry,) = log(vault)
    known = ("action", "who", "agency", "purpose", "basis", "asked", "source_code", "dossier_id", "outcome")
    assert tuple(entry[n] for n in known) == (
        "reveal", "H58.14-0042", MINE, "settle_dossier", OFFICER["document"], "applicant_name, applicant_phone",
        "igate_tien_giang", "d1", "disclosed",
    )  # fmt: skip
    assert entry["subject"] == seal(vault, {})[0]["applicant_id_number"]
    assert "Bằng Lăng" not in str(entry), "a reason may name a person, so it is encrypted"
    (told,) = vault.auditor.who_looked(PERSON["applicant_id_number"], "root")
    assert (told["who"], told["dossier_id"], told["reason"]) == ("H58.14-0042", "d1", REASON)


def test_the_number_itself_is_a_field_like_others(vault):
    assert ask(vault, fields=["applicant_id_number", "applicant_birth_year", "x"]) == {
        "applicant_id_number": PERSON["applicant_id_number"]
    }
    assert log(vault)[0]["asked"] == "applicant_id_number"


def test_the_dossier_of_another_agency_is_refused_and_both_are_kept(vault):
    seal(vault, {"dossier_id": "theirs", "responsible_agency_code": OTHER})
    with pytest.raises(VaultRefused) as theirs:
        ask(vault, dossier_id="theirs")
    with pytest.raises(VaultRefused) as nobodys:
        ask(vault, dossier_id="003099000001")
    assert str(theirs.value) == str(nobodys.value), "whether there is one is not told"
    assert [(e["outcome"], e["note"], e["dossier_id"], e["subject"] != "") for e in log(vault)] == [
        ("refused", "other agency", "theirs", True),
        ("refused", "not held", "", False),
    ]
    tried = vault.auditor.who_looked(PERSON["applicant_id_number"], "root")
    assert [(e["who"], e["outcome"]) for e in tried] == [("H58.14-0042", "refused")]


def test_a_dossier_handed_over_goes_with_its_agency(vault):
    seal(vault, {"dossier_id": "moved"})
    ask(vault, dossier_id="moved")
    seal(vault, {"dossier_id": "moved"}, {"dossier_id": "moved", "responsible_agency_code": OTHER})
    with pytest.raises(VaultRefused, match="no dossier of agency"):
        ask(vault, dossier_id="moved")


def test_whoever_claims_a_dossier_for_another_agency_opens_only_what_he_typed(vault):
    seal(vault, {"dossier_id": "claimed", "responsible_agency_code": OTHER})
    forged = {"dossier_id": "claimed", "applicant_name": "Tên Người Gõ", "applicant_phone": "0400000099"}
    seal(vault, forged)
    assert ask(vault, dossier_id="claimed") == {n: forged[n] for n in FIELDS}


def test_the_databases_owner_cannot_give_a_dossier_to_an_agency(vault):
    seal(vault, {"dossier_id": "theirs", "responsible_agency_code": OTHER})
    seal(vault, {"dossier_id": "mine", "applicant_name": "Trần Văn Của Tôi"})
    with psycopg.connect(vault.database_url) as connection:
        connection.execute("update sealed_dossier set agency = %s where dossier_id = 'theirs'", (MINE,))
        connection.execute(
            "update sealed_dossier set refs = (select refs from sealed_dossier where dossier_id = 'theirs') "
            "where dossier_id = 'mine'"
        )
    for dossier in ("theirs", "mine"):
        with pytest.raises(VaultRefused, match="no dossier of agency"):
            ask(vault, dossier_id=dossier)
    # Sealing again puts right what was altered.
    seal(vault, {"dossier_id": "mine", "applicant_name": "Trần Văn Của Tôi"})
    assert ask(vault, dossier_id="mine")["applicant_name"] == "Trần Văn Của Tôi"


def test_a_value_that_was_moved_is_not_given_and_that_is_kept(vault):
    (one,) = seal(vault, {"applicant_phone": "0400000055"})
    # Sealed apart, so that it stands in a ciphertext of its own.
    (other,) = seal(vault, {"dossier_id": "d2", "applicant_phone": "0400000056"})
    with psycopg.connect(vault.database_url) as connection:
        connection.execute(
            "update sealed_value set group_id = (select group_id from sealed_value where reference = %s) "
            "where reference = %s",
            (other["applicant_phone"], one["applicant_phone"]),
        )
    with pytest.raises(VaultRefused, match="does not prove itself: the vault's database was altered"):
        ask(vault, fields=["applicant_phone"])
    assert [(e["outcome"], e["note"]) for e in log(vault)] == [("refused", "does not prove itself")]


def test_what_a_dossier_no_longer_holds_is_not_read_by_it(vault):
    seal(vault, {"dossier_id": "corrected", "applicant_phone": "0400000077"})
    seal(vault, {"dossier_id": "corrected", "applicant_phone": "0400000078"})
    assert ask(vault, dossier_id="corrected")["applicant_phone"] == "0400000078"


def test_a_placeholders_dossier_is_read_too(vault):
    seal(vault, {"dossier_id": "nobody", "applicant_id_number": "000000001"})
    assert ask(vault, dossier_id="nobody") == {n: PERSON[n] for n in FIELDS}
    assert log(vault)[0]["subject"] == ""


def test_the_quota_ends_the_day(vault):
    for left in (2, 1, 0):
        transport = httpx.HTTPTransport(uds=str(vault.client.socket))
        with httpx.Client(transport=transport, base_url="http://vault") as http:
            answer = http.post("/v1/reveal", json=ASKED, headers={"Authorization": f"Bearer {SECRET}"})
        assert answer.json()["left"] == left
    with pytest.raises(VaultRefused, match=r"the 3 dossiers a day .* are used up.*midnight"):
        ask(vault)
    assert [(e["outcome"], e["note"]) for e in log(vault)[3:]] == [("refused", "quota spent")]


@pytest.mark.parametrize(
    ("changes", "said", "note"),
    [
        ({"purpose": "marketing"}, "not declared; there are settle_dossier", "unknown purpose"),
        ({"purpose": "inspect"}, "does not name this purpose", "other purpose"),
        ({"reason": "  vì vậy  "}, "state in `reason`", "no reason"),
        ({"reason": "x" * 501}, "state in `reason`", "no reason"),
        ({"fields": []}, "name in `fields`", "no fields"),
        ({"fields": ["status_code", "responsible_agency_code"]}, "none of these fields", "no such field"),
        ({"dossier_id": 7}, "expected JSON", "malformed"),
        ({"dossier_id": "d1\x1fH58.14"}, "no dossier of agency", "not held"),
    ],
)
def test_what_is_no_proper_request_is_refused_and_kept(vault, changes, said, note):
    with pytest.raises(VaultRefused, match=said):
        ask(vault, **changes)
    assert [(e["who"], e["outcome"], e["note"]) for e in log(vault)] == [("H58.14-0042", "refused", note)]


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"purpose": "\\ud800"}'])
def test_a_body_of_another_form_is_refused(vault, body):
    officer = VaultClient(vault.client.socket, SECRET, patience=0)
    with pytest.raises(VaultRefused, match="expected JSON"):
        officer._call("POST", "/v1/reveal", body)


def test_only_an_officer_reveals_and_an_officer_does_nothing_else(vault):
    for secret in (vault.client.token, "guessed"):
        with pytest.raises(VaultRefused, match="none of an officer"):
            ask(vault, secret)
    assert [(e["who"], e["note"]) for e in log(vault)] == [("unknown", "unknown officer")] * 2
    officer = VaultClient(vault.client.socket, SECRET, patience=0)
    for call in (officer.health, officer.rejects, lambda: officer.who_looked("003099000001", "x")):
        with pytest.raises(VaultRefused, match="no valid bearer token"):
            call()


def test_taken_out_of_the_file_an_officer_reads_nothing_more(vault):
    ask(vault)
    appoint(vault, valid_to=dt.date(2025, 6, 30))
    with pytest.raises(VaultRefused, match="in force from 2025-06-01 to 2025-06-30, not on"):
        ask(vault)
    (vault.home / "officers.yml").write_text("{}")
    with pytest.raises(VaultRefused, match="none of an officer"):
        ask(vault)
    (vault.home / "officers.yml").unlink()
    with pytest.raises(VaultRefused, match=r"looked for the officers .*officers\.yml .*switched off"):
        ask(vault)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": None}, "entry 1 lacks name"), ({"purposes": []}, "lacks purposes"),
        ({"purposes": ["marketing"]}, "names an unknown purpose"), ({"daily_quota": 0}, "daily_quota below 1"),
        ({"daily_quota": "many"}, "has in daily_quota no int"), ({"secret_sha256": "x"}, "no 64 hexadecimal"),
        ({"valid_to": dt.date(2020, 1, 1)}, "ends before it begins"), ({"phone": "1"}, "has an unknown field"),
        ({"agency": 58.14}, "has in agency no text"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_file_is_named_and_closes_it(tmp_path, change, said):
    path = tmp_path / "officers.yml"
    path.write_text(yaml.safe_dump({"003099000001": OFFICER | change}, allow_unicode=True))
    with pytest.raises(RevealRefused) as wrong:
        read_officers(path)
    assert said in str(wrong.value)
    assert str(path) in str(wrong.value)
    assert "003099000001" not in str(wrong.value)
    assert OFFICER["name"] not in str(wrong.value)


def test_two_officers_do_not_share_a_secret(tmp_path):
    path = tmp_path / "officers.yml"
    path.write_text(yaml.safe_dump({"a": OFFICER, "b": OFFICER}, allow_unicode=True))
    with pytest.raises(RevealRefused, match="two officers share a secret"):
        read_officers(path)


def test_the_contract_names_the_agency_and_tables_without_one_leave_no_dossier(vault):
    metadata = contract("dossier").clear_schema.metadata
    assert (metadata[b"dossier"], metadata[b"agency"]) == (
        b"source_code dossier_id",
        b"responsible_agency_code",
    )
    assert b"agency" not in contract("dossier_step").clear_schema.metadata
    store = Store(Setup(vault.database_url, FileKeys(vault.home / "keys")))
    before = store.count("sealed_dossier")
    with psycopg.connect(vault.database_url) as connection:
        connection.execute(
            "create table if not exists untouched as select xmin::text as x, * from sealed_dossier"
        )
    seal(vault, {})
    assert store.count("sealed_dossier") == before
    with psycopg.connect(vault.database_url) as connection:
        changed = connection.execute(
            "select count(*) from sealed_dossier d join untouched u using (source_code, dossier_id) "
            "where d.xmin::text <> u.x"
        ).fetchone()
        connection.execute("drop table untouched")
    assert changed == (0,), "an equal batch rewrites nothing"
