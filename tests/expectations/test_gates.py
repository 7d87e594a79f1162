from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
import yaml

from expectations import gates
from expectations.gates import check_landing, check_warehouse
from expectations.results import GateFailed
from expectations.suites import HERE, Rule, SuiteError, contract_names, declared_suites, landing_suite

Stage = Callable[..., dict[str, str]]
CANARY = "Nguyễn Thị Canary 003199123456"
SPOILED = f"update staged.dossier_7 set applicant_name = '{CANARY}', channel = 9 where dossier_id like '%7'"


def written(docs: Path) -> str:
    """Everything the gate wrote, decoded: JSON escapes and HTML entities must not hide a value."""
    texts = []
    for path in docs.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            texts += (
                [text, json.dumps(json.loads(text), ensure_ascii=False)] if path.suffix == ".json" else [text]
            )
    return "\n".join(texts)


def test_a_batch_that_keeps_its_contract_passes_every_check(postgres: str, stage: Stage, docs: Path) -> None:
    result = check_landing(postgres, "staged", stage(*contract_names()), docs)
    assert result.success
    assert not result.warnings
    assert len(result.checks) > 80
    index = (docs / "index.html").read_text(encoding="utf-8")
    assert "http" not in index, "a page that needs the internet shows nothing without it"
    links = re.findall(r'href="([^"]+)"', index)
    assert len(links) == len(contract_names())
    assert all((docs / unquote(link)).exists() for link in links)
    assert len(list(docs.glob("gx/uncommitted/data_docs/local_site/validations/**/*.html"))) == len(
        contract_names()
    )


def test_a_clear_personal_value_shuts_the_gate_and_is_not_repeated(
    postgres: str, stage: Stage, docs: Path
) -> None:
    with pytest.raises(GateFailed) as failure:
        check_landing(postgres, "staged", stage("dossier", spoil=SPOILED), docs)
    message = str(failure.value)
    assert "Gate landing: 3 of" in message
    assert "landing.dossier (applicant_name): column_values_to_match_regex failed on 2 row(s)" in message
    assert "landing.dossier (channel): column_values_to_be_in_set failed on 2 row(s)" in message
    assert CANARY not in message
    text = written(docs)
    assert "applicant_name" in text
    assert "không đạt · failed" in (docs / "index.html").read_text(encoding="utf-8")
    assert "Canary" not in text
    assert "003199123456" not in text


def test_the_search_for_the_canary_would_find_it(
    postgres: str, stage: Stage, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "RESULT_FORMAT", {"result_format": "SUMMARY", "partial_unexpected_count": 20})
    monkeypatch.setattr(gates, "strip_values", lambda result: None)
    with pytest.raises(GateFailed):
        check_landing(postgres, "staged", stage("dossier", spoil=SPOILED), docs)
    assert "003199123456" in written(docs)


def test_each_of_the_two_locks_holds_without_the_other(
    postgres: str, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = stage("dossier", spoil=SPOILED)
    with monkeypatch.context() as only_format:
        only_format.setattr(gates, "strip_values", lambda result: None)
        only_format.setattr(gates, "_raised", lambda info: "")
        only_format.setattr(
            gates, "_as_check", lambda suite, rule, result: gates.Check("", "", True, True, 0)
        )
        check_landing(postgres, "staged", tables, tmp_path / "a")
    monkeypatch.setattr(gates, "RESULT_FORMAT", {"result_format": "SUMMARY", "partial_unexpected_count": 20})
    with pytest.raises(GateFailed):
        check_landing(postgres, "staged", tables, tmp_path / "b")
    assert "003199123456" not in written(tmp_path / "a") + written(tmp_path / "b")


def test_an_error_of_the_database_quotes_no_value(postgres: str, stage: Stage, docs: Path) -> None:
    # The column has become text, so the comparison with a number fails inside PostgreSQL.
    spoil = f"alter table staged.dossier_7 alter supplement_count type text using '{CANARY}'"
    with pytest.raises(GateFailed, match=r"supplement_count.*could not be evaluated: .*Error") as failure:
        check_landing(postgres, "staged", stage("dossier", spoil=spoil), docs)
    assert "003199123456" not in str(failure.value) + written(docs)


def test_the_password_is_written_nowhere(postgres: str, stage: Stage, docs: Path) -> None:
    check_landing(postgres, "staged", stage("agency"), docs)
    password = urlsplit(postgres).password
    assert password
    assert password not in written(docs)


def test_a_missing_column_and_a_missing_table_are_named(postgres: str, stage: Stage, docs: Path) -> None:
    tables = stage("agency", spoil="alter table staged.agency_7 drop agency_name") | {"dossier": "dossier_7"}
    with pytest.raises(GateFailed) as failure:
        check_landing(postgres, "staged", tables, docs)
    assert "landing.agency: table_columns_to_match_set failed" in str(failure.value)
    assert "staged.dossier_7 cannot be read" in str(failure.value)


def test_a_warning_does_not_shut_the_gate(postgres: str, stage: Stage, docs: Path) -> None:
    spoil = "update staged.dossier_7 set due_at = received_at - interval '1 day'"
    result = check_landing(postgres, "staged", stage("dossier", spoil=spoil), docs)
    assert [check.unexpected_rows for check in result.warnings] == [20]
    assert "due_at, received_at" in result.warnings[0].name


@pytest.mark.parametrize("contract", contract_names())
def test_every_contract_gives_a_suite_that_guards_all_its_sealed_columns(contract: str) -> None:
    suite = landing_suite(contract)
    assert suite.name == f"landing.{contract}"
    assert {rule.type for rule in suite.rules} >= {"expect_table_columns_to_match_set"}


def test_an_expectation_that_reports_values_is_refused() -> None:
    with pytest.raises(SuiteError, match="not on the allow-list"):
        Rule("expect_column_max_to_be_between", "The maximum is a value of a row.", {"column": "a"})


def test_a_wrong_entry_in_a_declared_suite_is_named(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.yml"
    path.write_text(
        "tables: {marts.a: [{expect: column_values_to_be_null, column: a, because: x, severity: bad}]}"
    )
    with pytest.raises(SuiteError, match=r"warehouse.yml, table marts.a, entry 1: severity 'bad'"):
        declared_suites(path)


def test_declared_rules_look_only_at_the_rows_they_name(
    postgres: str, stage: Stage, docs: Path, tmp_path: Path
) -> None:
    stage(
        "dossier",
        spoil="update staged.dossier_7 set completed_at = null, is_vneid_account = false where channel = 1",
    )
    path = tmp_path / "warehouse.yml"
    rule = "expect: column_values_to_not_be_null, column: completed_at, because: x"
    path.write_text(f"tables: {{staged.dossier_7: [{{{rule}, where: [is_vneid_account, '==', true]}}]}}")
    assert check_warehouse(postgres, docs, path).success
    path.write_text(f"tables: {{staged.dossier_7: [{{{rule}, where: [is_vneid_account, '==', false]}}]}}")
    with pytest.raises(GateFailed, match=r"failed on 20 row\(s\)"):
        check_warehouse(postgres, docs, path)


def test_of_a_large_table_a_year_is_looked_at_and_what_came_since_the_gate_passed(
    postgres: str, stage: Stage, docs: Path, tmp_path: Path
) -> None:
    path = tmp_path / "warehouse.yml"
    path.write_text(
        "last_year: {staged.dossier_7: received_at}\n"
        "tables: {staged.dossier_7: [{expect: column_values_to_not_be_null, column: completed_at, because: x}]}"
    )
    stage("dossier", spoil="alter table staged.dossier_7 add column load_number bigint default 1")

    def change(rows: str, age: str, load: int, completed: str = "null") -> None:
        """Five dossiers, told apart by their place, as another load has them."""
        with psycopg.connect(postgres) as connection:
            connection.execute(
                f"update staged.dossier_7 set received_at = received_at - interval '{age}', load_number = {load}, "
                f"completed_at = {completed} where dossier_id in "
                f"(select dossier_id from staged.dossier_7 order by dossier_id {rows} limit 5)"
            )

    change("offset 0", "2 years", 1)
    with pytest.raises(GateFailed, match=r"failed on 5 row\(s\)"):
        check_warehouse(postgres, docs, path)  # nothing ever passed: all is looked at
    gates.remember_passed(postgres, docs, path)
    assert check_warehouse(postgres, docs, path).success, "older than a year, and of a load that passed"
    change("offset 5", "2 years", 2)
    for _ in range(2):
        with pytest.raises(GateFailed, match=r"failed on 5 row\(s\)"):
            check_warehouse(postgres, docs, path)  # a backfill, until it is mended
    change("offset 5", "0 years", 3, "received_at")
    assert check_warehouse(postgres, docs, path).success
    change("offset 5", "0 years", 3)
    assert check_warehouse(postgres, docs, path).success, "what passed is not looked at again"
    change("offset 10", "2 months", 3)
    with pytest.raises(GateFailed, match=r"failed on 5 row\(s\)"):
        check_warehouse(postgres, docs, path)
    change("offset 10", "0 months", 3, "received_at")
    (docs / gates.PASSED).write_text("no JSON")
    with pytest.raises(GateFailed, match=r"failed on 10 row\(s\)"):
        check_warehouse(postgres, docs, path)  # what it was is not known


def test_pages_keep_the_last_runs_only(
    postgres: str, stage: Stage, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "RUNS_KEPT", 2)
    tables = stage("agency")
    for _ in range(3):
        check_landing(postgres, "staged", tables, docs)
    pages = [path for path in docs.rglob("*.html") if "validations" in path.parts]
    index = (docs / "index.html").read_text(encoding="utf-8")
    assert len(pages) == 2
    assert len(set(re.findall(r"validations/landing/agency/landing/([^/]+)/", index))) == 2


def test_two_gates_at_once_leave_both_results(postgres: str, stage: Stage, docs: Path) -> None:
    stage("agency", "evaluation")
    command = [
        sys.executable,
        "-m",
        "expectations",
        "landing",
        "--url",
        postgres,
        "--docs",
        str(docs),
        "--schema",
        "staged",
    ]
    runs = [
        subprocess.Popen([*command, "--table", f"{name}={name}_7"], stdout=subprocess.PIPE, text=True)
        for name in ("agency", "evaluation")
    ]
    assert [run.communicate()[0].split(":")[0] for run in runs] == ["Gate landing", "Gate landing"]
    index = (docs / "index.html").read_text(encoding="utf-8")
    assert "landing/agency" in index
    assert "landing/evaluation" in index


def test_results_serialise(postgres: str, stage: Stage, docs: Path) -> None:
    result: dict[str, Any] = check_landing(postgres, "staged", stage("agency"), docs).as_dict()
    assert json.loads(json.dumps(result))["gate"] == "landing"


def test_catching_a_shut_gate_does_not_import_great_expectations() -> None:
    code = "import sys, expectations.results; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("declared", "folder"), [("warehouse.yml", "marts"), ("release.yml", "open_data")])
def test_declared_rules_name_tables_and_columns_that_dbt_declares(declared: str, folder: str) -> None:
    models: dict[str, set[str]] = {}
    for path in (HERE.parent / "dbt" / "models" / folder).glob("*.yml"):
        for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models") or []:
            models[model["name"]] = {column["name"] for column in model.get("columns") or []}
    suites = declared_suites(HERE / declared)
    assert suites
    for table, rules in suites.items():
        columns = models[table.removeprefix("marts.").replace("-", "_")]
        named = {name for rule in rules for name in rule.columns.split(", ") if name}
        named |= {rule.where[0] for rule in rules if rule.where}
        assert named <= columns, f"{declared}, {table}"
