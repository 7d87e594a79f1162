"""Reading clear values for a purpose: only under an agreement, within its quota, recorded, of the right person."""

from __future__ import annotations

import ast
import datetime as dt
import threading
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import yaml

from ops.settings import PROJECT
from tests.conftest import a_day_later, forget_readings, start_vault, stop
from tests.vault.test_sealing import PERSON, batch, clear_forms
from vault import server as api
from vault.client import VaultClient, VaultRefused
from vault.purposes import (
    MOST_AT_ONCE,
    AgreementError,
    NoAgreement,
    PurposeError,
    QuotaSpent,
    read_agreement,
    today,
)
from vault.server import application

DAY = dt.date(2025, 7, 1)
RECORD: dict[str, Any] = {
    "document": "Thỏa thuận 12/TT-C06 ngày 01/06/2025", "purpose": "citizen_check", "officer_code": "H20.14-0042",
    "daily_quota": 3, "valid_from": dt.date(2025, 6, 1), "valid_to": dt.date(2099, 12, 31),
}  # fmt: skip


@pytest.fixture
def vault(running) -> Any:
    """The module's vault, its quota untouched and its agreement in force."""
    forget_readings(running.database_url)
    agree(running)
    return running


def agree(vault: Any, **changes: Any) -> Path:
    path = vault.home / "agreements" / "citizen_check.yml"
    path.write_text(yaml.safe_dump(RECORD | changes, allow_unicode=True))
    return path


def landed(vault: Any, *people: dict[str, Any]) -> list[dict[str, Any]]:
    """Persons as they stand in a landed batch: tokens and references."""
    return vault.client.seal(batch(*(PERSON | p for p in people))).to_pylist()


def pair(row: dict[str, Any], name: str = "applicant_name") -> tuple[str, str]:
    return row["applicant_id_number"], row[name]


def log(vault: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(vault.database_url) as connection:
        return connection.execute(
            "select purpose, basis, who, subject, outcome, at <= now(), request_id "
            "from audit where action = 'disclose' and note = '' order by number"
        ).fetchall()


def refusals(vault: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(vault.database_url) as connection:
        return connection.execute(
            "select who, purpose, subject, note from audit where action = 'disclose' and outcome = 'refused' "
            "and note <> '' order by number"
        ).fetchall()


def test_number_and_name_are_given_and_the_reading_is_recorded(vault):
    (row,) = landed(vault, {})
    (given,), left = vault.client.disclose("citizen_check", [pair(row)])
    assert (given.token, given.outcome) == (row["applicant_id_number"], "disclosed")
    assert (given.identity_number, given.name) == (PERSON["applicant_id_number"], PERSON["applicant_name"])
    assert left == RECORD["daily_quota"] - 1
    assert log(vault) == [
        ("citizen_check", RECORD["document"], RECORD["officer_code"], given.token, "disclosed", True,
         given.request_id)
    ]  # fmt: skip
    for value in (PERSON["applicant_id_number"], PERSON["applicant_name"]):
        assert value not in repr(given)
        assert value not in str(log(vault))


def test_a_number_is_given_in_one_spelling_however_it_was_written(vault):
    (row,) = landed(vault, {"applicant_id_number": "0030.9900.7777"})
    assert vault.client.disclose("citizen_check", [pair(row)])[0][0].identity_number == "003099007777"


def test_no_rows_ask_for_the_quota_alone(vault):
    assert vault.client.disclose("citizen_check") == ([], RECORD["daily_quota"])
    assert log(vault) == []


def test_the_quota_ends_the_day_and_is_new_the_next(vault):
    (row,) = landed(vault, {})
    for left in (2, 1, 0):
        assert vault.client.disclose("citizen_check", [pair(row)])[1] == left
    with pytest.raises(QuotaSpent, match=r"0 of the 3 readings a day of document Thỏa thuận 12.*midnight"):
        vault.client.disclose("citizen_check", [pair(row)])
    assert len(log(vault)) == 3
    a_day_later(vault.database_url)
    assert vault.client.disclose("citizen_check", [pair(row)])[1] == 2


def test_a_batch_beyond_the_quota_is_not_given_in_part(vault):
    rows = landed(vault, *({"applicant_id_number": f"00309900{n:04d}"} for n in range(4)))
    with pytest.raises(QuotaSpent, match=r"3 of the 3 .* are left, 4 were asked for"):
        vault.client.disclose("citizen_check", [pair(r) for r in rows])
    assert log(vault) == []
    officer = RECORD["officer_code"]
    assert refusals(vault) == [
        (officer, "citizen_check", r["applicant_id_number"], "quota spent") for r in rows
    ]


def test_callers_at_once_never_get_more_than_the_quota_together(vault):
    (row,) = landed(vault, {})
    got: list[str] = []

    def ask() -> None:
        try:
            got.append(vault.client.disclose("citizen_check", [pair(row)])[0][0].outcome)
        except QuotaSpent:
            got.append("spent")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == ["disclosed"] * 3 + ["spent"] * 5
    assert len(log(vault)) == 3


def test_the_quota_outlives_the_vaults_process(vault):
    (row,) = landed(vault, {})
    vault.client.disclose("citizen_check", [pair(row)])
    vault.process.terminate()
    vault.process.wait()
    again = start_vault(vault.database_url, vault.home)
    try:
        assert again.client.disclose("citizen_check")[1] == 2
    finally:
        stop(again.process)
        # The module's vault is needed by the next test.
        restarted = start_vault(vault.database_url, vault.home)
        object.__setattr__(vault, "process", restarted.process)
        object.__setattr__(vault, "client", restarted.client)


@pytest.mark.parametrize(
    "column", ["applicant_phone", "applicant_address", "subject_line", "applicant_id_number"]
)
def test_nothing_but_the_name_is_given_under_a_names_place(vault, column):
    (row,) = landed(vault, {})
    (given,), left = vault.client.disclose("citizen_check", [pair(row, column)])
    assert (given.outcome, given.identity_number, given.name) == ("refused", None, None)
    assert left == RECORD["daily_quota"], "what was not given costs nothing"
    assert [r[4] for r in log(vault)] == ["refused"], "but it was tried, and that is kept"


def test_another_persons_name_is_refused(vault):
    one, other = landed(vault, {}, {"applicant_id_number": "003088000009", "applicant_name": "Trần Văn Khác"})
    token, _ = pair(one)
    (given,), _ = vault.client.disclose("citizen_check", [(token, pair(other)[1])])
    assert (given.outcome, given.name) == ("refused", None)


def test_a_number_the_population_database_does_not_know_is_not_given(vault):
    rows = landed(vault, {"applicant_id_number": "B1234567"}, {"applicant_id_number": "0012345678"})
    given, left = vault.client.disclose("citizen_check", [pair(r) for r in rows])
    assert [(d.outcome, d.identity_number, d.name) for d in given] == [("other_paper", None, None)] * 2
    assert left == RECORD["daily_quota"]


def test_what_the_vault_does_not_hold_is_said_without_an_error(vault):
    (row,) = landed(vault, {})
    with psycopg.connect(vault.database_url) as connection:
        connection.execute("delete from sealed_value where reference = %s", (row["applicant_name"],))
    asked = [pair(row), ("id1_" + "0" * 32, row["applicant_name"]), ("'; drop table audit; --", "x")]
    given, left = vault.client.disclose("citizen_check", asked)
    assert [d.outcome for d in given] == ["not_held"] * 3
    assert left == RECORD["daily_quota"]
    assert len(log(vault)) == 3


def test_more_persons_than_a_small_batch_are_refused(vault):
    with pytest.raises(VaultRefused, match=f"{MOST_AT_ONCE + 1} persons were asked for at once"):
        vault.client.disclose("citizen_check", [("id1_x", "ref1_x")] * (MOST_AT_ONCE + 1))


def test_a_purpose_nobody_declared_is_refused(vault):
    with pytest.raises(
        VaultRefused, match="the purpose 'marketing' is not declared; declared are citizen_check"
    ):
        vault.client.disclose("marketing", [("id1_x", "ref1_x")])
    with pytest.raises(VaultRefused, match="the purpose '' is not declared"):
        vault.client.disclose("", [])
    # What a caller types as a purpose or a token is not kept: it may be anything.
    assert refusals(vault) == [("service", "", "", "malformed")] * 2


def test_without_its_record_the_purpose_is_closed_at_once(vault):
    (row,) = landed(vault, {})
    path = agree(vault)
    path.unlink()
    with pytest.raises(
        NoAgreement, match=r"looked for the agreement record .*/citizen_check\.yml .*officer_code"
    ):
        vault.client.disclose("citizen_check", [pair(row)])
    agree(vault, valid_to=dt.date(2025, 6, 30))
    with pytest.raises(NoAgreement, match="in force from 2025-06-01 to 2025-06-30, not on"):
        vault.client.disclose("citizen_check", [pair(row)])
    agree(vault, daily_quota="many")
    with pytest.raises(NoAgreement, match="daily_quota is no int"):
        vault.client.disclose("citizen_check", [pair(row)])
    assert log(vault) == []
    token = row["applicant_id_number"]
    notes = ["no agreement in force"] * 2 + ["bad agreement record"]
    assert refusals(vault) == [("service", "citizen_check", token, note) for note in notes]


def test_only_the_bearer_may_ask(vault):
    stranger = VaultClient(vault.client.socket, "guessed")
    with pytest.raises(VaultRefused, match="no valid bearer token"):
        stranger.disclose("citizen_check")
    assert refusals(vault) == [("unknown", "", "", "no valid bearer token")]


def test_a_body_of_another_form_is_refused(vault):
    for table in (pa.table({"token": ["x"]}), pa.table({"token": [1], "name_reference": ["x"]})):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        with pytest.raises(VaultRefused, match="expected the text columns token and name_reference"):
            vault.client._call("POST", "/v1/disclose", sink.getvalue().to_pybytes())


def test_no_other_call_gives_a_clear_value(vault):
    (row,) = landed(vault, {})
    paths = {route.path for route in application(None, "token").routes}  # type: ignore[arg-type, attr-defined]
    rejects = {"/v1/rejects", "/v1/rejects/read", "/v1/rejects/replayed"}
    audit = {"/v1/audit/person", "/v1/audit/verify"}
    # What the last two give is told in test_dossier_purposes.py and test_reveal.py.
    given = {"/v1/disclose", "/v1/disclose/dossiers", "/v1/reveal"}
    collect = {f"/v1/collect/{n}" for n in ("begin", "used", "count", "delete")}
    sealing = {"/v1/seal", "/v1/renewed", "/v1/quarantine", "/v1/pseudonyms"}
    assert paths == {"/v1/health", "/v1/ready"} | sealing | given | rejects | audit | collect
    assert all(f" {path}``" in str(api.__doc__) for path in paths), "the API is documented"
    # What /v1/rejects/read gives is told in tests/ops/test_rejects.py.
    payload = str(PERSON).encode()
    vault.client.quarantine(
        [
            {
                "source_code": "igate_tien_giang", "table_name": "dossier", "key": "{}", "field": "due_at",
                "kind": "reject", "payload": payload, "batch_id": "b",
            }
        ]
    )  # fmt: skip
    sealed = vault.client.seal(batch(PERSON))
    number = vault.client.begin_collecting()
    answers = [
        str(vault.client.health()).encode(),
        sealed.serialize().to_pybytes(),
        str([vault.client.in_use(number, sealed), vault.client.unused(number)]).encode(),
        str(vault.client.delete_unused(number)).encode(),
        str(vault.client.rejects()).encode(),
        str(vault.client.pseudonyms([(row["applicant_id_number"], "H58.14")])).encode(),
        str(vault.client.renewed(pa.array(list(pair(row)), pa.string())).to_pylist()).encode(),
    ]
    assert vault.client.replayed([("b", "dossier", "{}", "due_at")], "c") == 1
    assert vault.client.replayed([("b", "dossier", "{}", "due_at")], "c") == 0
    for answer in answers:
        for column in ("applicant_id_number", "applicant_name"):
            for form in clear_forms(str(PERSON[column])):
                assert form not in answer, column
    assert row["applicant_name"].startswith("ref1_")


def test_one_place_alone_reads_clear_values_for_a_purpose():
    asking = {
        str(path.relative_to(PROJECT))
        for room in ("connectors", "landing", "expectations", "opendata", "ops", "dags", "vault")
        for path in (PROJECT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("disclose", "reveal")
    }
    assert asking == {"ops/population.py", "connectors/population.py", "vault/server.py", "vault/store.py"}


# --- agreement records ------------------------------------------------------------------------------


def record(tmp_path: Path, text: str) -> Path:
    (tmp_path / "citizen_check.yml").write_text(text)
    return tmp_path


def test_a_record_is_read_and_both_its_days_count(tmp_path):
    folder = record(tmp_path, yaml.safe_dump(RECORD | {"valid_to": DAY}, allow_unicode=True))
    for day in (RECORD["valid_from"], DAY):
        found = read_agreement(folder, "citizen_check", day)
        assert (found.daily_quota, found.document) == (3, RECORD["document"])
        assert RECORD["officer_code"] not in repr(found)
    for day in (RECORD["valid_from"] - dt.timedelta(days=1), DAY + dt.timedelta(days=1)):
        with pytest.raises(NoAgreement, match=f"not on {day}"):
            read_agreement(folder, "citizen_check", day)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"document": None}, "lacks document"), ({"officer_code": ""}, "lacks officer_code"),
        ({"officer_code": 42}, "officer_code is no text"), ({"daily_quota": True}, "daily_quota is no int"),
        ({"daily_quota": 0}, "daily_quota is below 1"), ({"valid_from": "hôm nay"}, "valid_from is no date"),
        ({"valid_to": dt.datetime(2025, 7, 1, 12)}, "valid_to is no date"),
        ({"valid_to": dt.date(2025, 5, 1)}, "valid_to comes before valid_from"),
        ({"purpose": "marketing"}, "purpose is not citizen_check"), ({"quota": 5}, "unknown entry quota"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_record_is_named_with_its_file(tmp_path, change, said):
    folder = record(tmp_path, yaml.safe_dump(RECORD | change, allow_unicode=True))
    with pytest.raises(AgreementError) as wrong:
        read_agreement(folder, "citizen_check", DAY)
    assert said in str(wrong.value)
    assert str(folder / "citizen_check.yml") in str(wrong.value)
    assert not isinstance(wrong.value, NoAgreement), "a mistake is not an absence"


@pytest.mark.parametrize("text", ["a: [", "", "- x", "\x00"])
def test_what_is_no_record_at_all_is_an_error_too(tmp_path, text):
    with pytest.raises(AgreementError, match="citizen_check"):
        read_agreement(record(tmp_path, text), "citizen_check", DAY)


def test_a_purpose_nobody_declared_has_no_record(tmp_path):
    with pytest.raises(PurposeError, match="not declared"):
        read_agreement(tmp_path, "../../etc/passwd", DAY)
    with pytest.raises(NoAgreement, match="KHOCHUNG_AGREEMENTS"):
        read_agreement(None, "citizen_check", DAY)


def test_the_day_is_the_vietnamese_one():
    assert today() == (dt.datetime.now(dt.UTC) + dt.timedelta(hours=7)).date()
