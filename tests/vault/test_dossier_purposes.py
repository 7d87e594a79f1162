"""Values of dossiers for the national portal: only their own, under an agreement, within its quota, recorded."""

from __future__ import annotations

from typing import Any

import psycopg
import pyarrow as pa
import pytest
import yaml

from connectors.contract import contract
from tests.conftest import forget_readings
from tests.vault.test_purposes import RECORD
from vault.client import VaultRefused
from vault.purposes import MOST_DOSSIERS, NoAgreement, QuotaSpent

PURPOSE = "national_sync"
CLEAR = {
    "source_code": "igate_dong_thap", "applicant_id_number": "003200000001", "applicant_name": "Nguyễn Thị Thử",
    "applicant_phone": "0400000001", "subject_line": "Xin chứng thực", "receiving_officer_name": "Lê Văn Nhận",
    "responsible_agency_code": "H20.19", "applicant_address": "12 đường Thử",
}  # fmt: skip


@pytest.fixture
def vault(running) -> Any:
    forget_readings(running.database_url)
    agree(running)
    return running


def agree(vault: Any, **changes: Any) -> None:
    record = RECORD | {"purpose": PURPOSE, "daily_quota": 5} | changes
    (vault.home / "agreements" / f"{PURPOSE}.yml").write_text(yaml.safe_dump(record, allow_unicode=True))


def sealed(vault: Any, table: str, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    schema = contract(table).clear_schema
    columns = [pa.array([r.get(f.name) for r in rows], f.type) for f in schema]
    return vault.client.seal(pa.RecordBatch.from_arrays(columns, schema=schema)).to_pylist()


def landed(vault: Any, number: str, **changes: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A dossier, one of its papers, one of its steps, as they stand in raw."""
    own = {"source_code": "igate_dong_thap", "dossier_id": number}
    (dossier,) = sealed(vault, "dossier", CLEAR | {"dossier_id": number} | changes)
    (paper,) = sealed(vault, "dossier_paper", own | {"paper_no": 1, "file_name": "a.pdf", "file_url": "/f/1"})
    (step,) = sealed(vault, "dossier_step", own | {"step_no": 1, "officer_name": "Lê Văn Nhận", "note": "Đủ"})
    return dossier, paper, step


def asked(number: str, *handles: str | None) -> tuple[str, str, list[str]]:
    return "igate_dong_thap", number, [h for h in handles if h]


def test_values_of_a_dossier_with_its_papers_and_steps_are_given_and_recorded(vault):
    d, p, s = landed(vault, "d1")
    values = {
        d["applicant_id_number"]: "003200000001",
        d["applicant_name"]: "Nguyễn Thị Thử",
        d["subject_line"]: "Xin chứng thực",
        p["file_name"]: "a.pdf",
        p["file_url"]: "/f/1",
        s["note"]: "Đủ",
        s["officer_name"]: "Lê Văn Nhận",
    }
    (given,), left = vault.client.disclose_dossiers(PURPOSE, [asked("d1", *values)])
    assert (given.outcome, given.values, left) == ("disclosed", values, 4)
    with psycopg.connect(vault.database_url) as connection:
        rows = connection.execute(
            "select who, agency, purpose, basis, subject, source_code, dossier_id, outcome, asked, request_id "
            "from audit where action = 'disclose'"
        ).fetchall()
    columns = "applicant_id_number, applicant_name, file_name, file_url, note, officer_name, subject_line"
    assert rows == [
        (RECORD["officer_code"], "H20.19", PURPOSE, RECORD["document"], d["applicant_id_number"],
         "igate_dong_thap", "d1", "disclosed", columns, given.request_id)
    ]  # fmt: skip
    for value in given.values.values():
        assert value not in repr(given)


def test_a_handle_of_another_dossier_opens_nothing(vault):
    landed(vault, "d1")
    other, paper, _ = landed(vault, "d2", applicant_id_number="003200000002", applicant_name="Người Khác")
    for handle in (other["applicant_name"], other["applicant_id_number"], paper["file_name"]):
        (given,), _ = vault.client.disclose_dossiers(PURPOSE, [asked("d1", handle)])
        assert (given.outcome, given.values) == ("refused", {})


def test_a_column_that_is_none_of_the_purpose_opens_nothing(vault):
    d, _, _ = landed(vault, "d1")
    for column in ("applicant_address", "receiving_officer_name"):
        (given,), _ = vault.client.disclose_dossiers(PURPOSE, [asked("d1", d["applicant_name"], d[column])])
        assert (given.outcome, given.values) == ("refused", {})


def test_a_dossier_of_nobody_known_opens_its_own(vault):
    d, p, _ = landed(vault, "d3", applicant_id_number="000000001")
    assert d["applicant_id_number"] is None
    _, other, _ = landed(vault, "d4", applicant_id_number="000000001")
    (own, foreign), _ = vault.client.disclose_dossiers(
        PURPOSE, [asked("d3", d["applicant_name"], p["file_name"]), asked("d3", other["file_name"])]
    )
    assert own.outcome == "disclosed"
    assert foreign.outcome == "refused"


def test_what_the_vault_does_not_hold_is_told(vault):
    d, _, _ = landed(vault, "d1")
    (unknown, lost), left = vault.client.disclose_dossiers(
        PURPOSE, [asked("nobody"), asked("d1", d["applicant_name"], "ref1_" + "a" * 32)]
    )
    assert (unknown.outcome, lost.outcome, left) == ("not_held", "not_held", 5)


def test_the_quota_is_in_dossiers_and_gives_nothing_beyond(vault):
    d, _, _ = landed(vault, "d1")
    one = asked("d1", d["applicant_name"])
    assert vault.client.disclose_dossiers(PURPOSE, [one] * 4)[1] == 1
    with pytest.raises(QuotaSpent, match="1 of the 5 dossiers a day"):
        vault.client.disclose_dossiers(PURPOSE, [one] * 2)
    assert vault.client.disclose_dossiers(PURPOSE) == ([], 1)


def test_without_an_agreement_or_under_another_purpose_nothing_is_given(vault):
    d, _, _ = landed(vault, "d1")
    one = asked("d1", d["applicant_name"])
    with pytest.raises(VaultRefused, match="not declared for dossiers"):
        vault.client.disclose_dossiers("citizen_check", [one])
    with pytest.raises(VaultRefused, match="about dossiers"):
        vault.client.disclose(PURPOSE, [(d["applicant_id_number"], d["applicant_name"])])
    with pytest.raises(VaultRefused, match=f"at most {MOST_DOSSIERS}"):
        vault.client.disclose_dossiers(PURPOSE, [one] * (MOST_DOSSIERS + 1))
    (vault.home / "agreements" / f"{PURPOSE}.yml").unlink()
    with pytest.raises(NoAgreement, match=r"national_sync\.yml"):
        vault.client.disclose_dossiers(PURPOSE, [one])
    with psycopg.connect(vault.database_url) as connection:
        assert connection.execute("select count(*) from audit where outcome = 'disclosed'").fetchone() == (0,)
