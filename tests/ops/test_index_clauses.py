"""Each clause of the note on QĐ 766 decides some of the dossiers made by hand: dropped, it breaks their unit tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from ops import tasks
from ops.settings import PROJECT, Settings
from tests.conftest import Server
from tests.ops.empty_warehouse import empty_warehouse

# Some twenty dbt processes: a slow proof.
pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]
CLAUSES = PROJECT / "dbt" / "macros" / "service_index_counting.sql"
MODELS = ["fct_service_index_dossier", "int_service_index__counted_total"]
#: What each clause says once it is dropped: as if the note had no such sentence.
WITHOUT = {
    "index_is_received": "true",
    "index_moment_of_use": "{{ received_at }}",
    "index_is_synchronised": "true",
    "index_received_or_share_of_last_year": "coalesce({{ received }}, 0)",
    "index_processed_at": "null::timestamptz",
    "index_returned_at": "null::timestamptz",
    "index_stopped_at": "null::timestamptz",
    "index_supplement_pending_since": "null::timestamptz",
    "index_is_late_by_supplements": "false",
    "index_without_waiting": "{{ ended_at }}",
    "index_limit_or_legal_maximum": "{{ due_at }}",
    "index_is_on_time": "true",
    "index_is_on_time_without_end": "true",
    "index_is_online": "true",
    "index_has_result_where_required": "true",
    "index_times_synchronised": "{{ numerator }}",
    "index_has_a_fee": "true",
    "index_is_of_fee_procedure": "true",
    "index_owes_nothing": "false",
    "index_is_paid_online": "true",
    "index_requires_result": "true",
    "index_has_result_link": "true",
    "index_has_papers_and_result": "true",
    "index_has_digitised_component": "true",
    "index_has_component_from_store": "true",
    "index_has_vneid_account": "false",
}

#: One process parses once; then each clause is dropped from what was parsed, and the unit tests run.
DROP = """
import json, sys
from dbt.cli.main import dbtRunner
words = json.loads(sys.argv[1])
place = ["--project-dir", words["project"], "--profiles-dir", words["project"], "--quiet", "--no-use-colors"]
parsed = dbtRunner().invoke(["parse", *place])
assert parsed.success, parsed.exception
manifest = parsed.result
macros = {m.name: m for m in manifest.macros.values() if m.package_name == "kho_chung"}
# A model is also what the macro that it calls by one name says.
judging = macros["judged_by_the_index"].macro_sql
models = {n.name: n.raw_code + judging * ("judged_by_the_index" in n.raw_code)
          for n in manifest.nodes.values() if n.name in words["models"]}

def results(names):
    select = [f"test_type:unit,{name}" for name in names]
    done = dbtRunner(manifest=manifest).invoke(["test", "--select", *select, *place])
    assert done.result is not None, done.exception
    # Hooks of the project stand among the results, too.
    return {r.node.name: str(r.status) for r in done.result.results if r.node.resource_type == "unit_test"}

found = {"": results(models)}
for name, said in words["without"].items():
    whole = macros[name].macro_sql
    macros[name].macro_sql = whole[: whole.index("%}") + 2] + said + "{% endmacro %}"
    found[name] = results([m for m, code in models.items() if name in code])
    macros[name].macro_sql = whole
    print(name, sorted(found[name].items()), file=sys.stderr, flush=True)
print("FOUND " + json.dumps(found))
"""


@pytest.fixture(scope="module")
def warehouse(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A warehouse whose tables are all there and empty."""
    settings = empty_warehouse(server, tmp_path_factory)
    tables = [
        "--exclude-resource-type",
        "seed",
        "test",
        "unit_test",
        "--select",
        "+int_service_index__counted_total",
    ]
    tasks._dbt(settings, [["seed"], ["build", *tables]])
    return settings


def test_every_clause_is_written_down_once_more() -> None:
    macros = re.findall(r"macro (index_\w+)", CLAUSES.read_text(encoding="utf-8"))
    assert sorted(macros) == sorted(WITHOUT)


def test_a_clause_that_is_dropped_breaks_a_unit_test(warehouse: Settings) -> None:
    words = json.dumps({"project": str(PROJECT / "dbt"), "models": MODELS, "without": WITHOUT})
    done = subprocess.run(
        [sys.executable, "-c", DROP, words], env=warehouse.dbt_process_env(), cwd=PROJECT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    _, mark, told = done.stdout.rpartition("FOUND ")
    assert mark, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, dict[str, str]] = json.loads(told)
    assert len(found[""]) == 8
    assert set(found.pop("").values()) == {"pass"}, "with every clause"
    assert {name for name, tests in found.items() if "fail" not in tests.values()} == set()
    assert {s for tests in found.values() for s in tests.values()} == {"pass", "fail"}, (
        "no error, but another count"
    )
