"""The three gates: the staged batch, the warehouse, the finished release. Each runs in one Great Expectations process.

Data are checked in a context that lives in memory, so the warehouse's URL and password are never written. Results
go, stripped to counts, into a file-backed context under the docs folder, whose pages (Data Docs) keep the last runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import html
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Before the first import of great_expectations: it reads this once.
os.environ["GX_ANALYTICS_ENABLED"] = "false"

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)
from great_expectations.expectations.row_conditions import Column
from psycopg import sql

from expectations.results import Check, GateFailed, GateResult
from expectations.suites import (
    HERE,
    Rule,
    Suite,
    declared_suites,
    declared_windows,
    landing_suite,
    release_suites,
)

# SUMMARY alone keeps up to 20 values of rows in results and pages; 0 stops the query itself from fetching any.
RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": 0}
# What of a result may be kept; everything else (lists of values, messages of the database) is dropped.
KEPT_NUMBERS = (
    "element_count",
    "missing_count",
    "missing_percent",
    "unexpected_count",
    "unexpected_percent",
    "unexpected_percent_nonmissing",
    "unexpected_percent_total",
)
RUNS_KEPT = 20
SITE = "gx/uncommitted/data_docs/local_site"


def check_landing(url: str, schema: str, tables: Mapping[str, str], docs_dir: Path) -> GateResult:
    """Check staged tables (`contract name: table name`, in `schema`) against their contracts.

    Returns the result, or raises GateFailed. `url` is a PostgreSQL URL.
    """
    suites = {(schema, table): landing_suite(contract) for contract, table in tables.items()}
    return _check("landing", docs_dir, lambda context: _warehouse_batches(context, url, suites))


def check_warehouse(url: str, docs_dir: Path, declared: Path = HERE / "warehouse.yml") -> GateResult:
    """Check the marts against `warehouse.yml`; returns the result, or raises GateFailed.

    Of large tables (`last_year`) the newest twelve months are looked at, and what loads wrote since it last passed.
    """
    suites = {}
    for name, rules in declared_suites(declared).items():
        schema, _, table = name.partition(".")
        suites[(schema, table)] = Suite(f"warehouse.{table}", rules)
    newest = _newest_rows(url, declared_windows(declared))
    looked_at = _not_passed(docs_dir, newest)
    result = _check(
        "warehouse", docs_dir, lambda context: _warehouse_batches(context, url, suites, looked_at)
    )
    _remember_passed(docs_dir, newest)
    return result


def remember_passed(url: str, docs_dir: Path, declared: Path = HERE / "warehouse.yml") -> None:
    """Hold what stands in the large tables now for passed: a gate that begins after this looks at what comes later."""
    _remember_passed(docs_dir, _newest_rows(url, declared_windows(declared)))


def check_release(folder: Path, docs_dir: Path, declared: Path = HERE / "release.yml") -> GateResult:
    """Check the finished files in a release folder, read back; returns the result, or raises GateFailed."""
    return _check("release", docs_dir, lambda context: _release_batches(context, folder, declared))


# --- what is checked


@dataclass(frozen=True)
class Newest:
    """What a large table holds: its identity in PostgreSQL, its newest load, the moment a year before its newest."""

    column: str
    oid: int
    load_number: int
    since: str


#: File beside the results: {table: [identity, newest load]} when the warehouse gate last passed.
PASSED = "warehouse-passed.json"


def _newest_rows(url: str, windows: Mapping[str, str]) -> dict[str, Newest]:
    """Return what each large table holds; one that cannot be read is left out, and its check says why."""
    found: dict[str, Newest] = {}
    with contextlib.suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as connection:
        for name, column in windows.items():
            table = sql.Identifier(*name.split("."))
            with contextlib.suppress(psycopg.Error):
                row = connection.execute(
                    sql.SQL(
                        "select %s::regclass::oid::bigint, coalesce(max(load_number), 0), "
                        "coalesce((max({})::timestamp - interval '12 months')::text, '-infinity') from {}"
                    ).format(sql.Identifier(column), table),
                    (name,),
                ).fetchone()
                if row:
                    found[name] = Newest(column, *row)
    return found


def _not_passed(docs_dir: Path, newest: Mapping[str, Newest]) -> dict[str, str]:
    """Return {table: condition} on the rows to look at. A table that was made anew since is looked at whole."""
    try:
        passed = json.loads((docs_dir / PASSED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        passed = {}
    found = {}
    for name, now in newest.items():
        oid, load_number = passed.get(name) or (0, 0)
        if oid == now.oid and load_number <= now.load_number:
            found[name] = (
                f'"{now.column}" is null or "{now.column}" > \'{now.since}\' or load_number > {load_number}'
            )
    return found


def _remember_passed(docs_dir: Path, newest: Mapping[str, Newest]) -> None:
    docs_dir.mkdir(parents=True, exist_ok=True)
    aside = docs_dir / f"{PASSED}.{os.getpid()}"
    aside.write_text(json.dumps({name: [now.oid, now.load_number] for name, now in newest.items()}))
    aside.replace(docs_dir / PASSED)


GATED = ("csv", "excel.csv", "parquet")

Batches = Iterator[tuple[Suite, Any]]


def _warehouse_batches(
    context: Any,
    url: str,
    suites: Mapping[tuple[str, str], Suite],
    looked_at: Mapping[str, str] | None = None,
) -> Batches:
    """Yield each suite with the batch of its table, or with what to do about a table that cannot be read.

    `looked_at`: the condition on the rows of a table, where not all are looked at.
    """
    source = context.data_sources.add_postgres(
        "warehouse", connection_string=_sqlalchemy_url(url), create_temp_table=False
    )
    for (schema, table), suite in suites.items():
        try:
            if condition := (looked_at or {}).get(f"{schema}.{table}"):
                query = f'select * from "{schema}"."{table}" where {condition}'  # noqa: S608
                asset = source.add_query_asset(table, query=query)
            else:
                asset = source.add_table_asset(table, table_name=table, schema_name=schema)
            yield suite, asset.add_batch_definition_whole_table("all").get_batch()
        except Exception as error:
            # Great Expectations wraps every reason in its own classes; texts may repeat the URL.
            yield (
                suite,
                f"{schema}.{table} cannot be read ({type(error).__name__}); is it built, is the server up?",
            )


def _sqlalchemy_url(url: str) -> str:
    """Return `url` with the driver named and a host, which Great Expectations insists on."""
    named = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg2://", url)
    return re.sub(r"^(postgresql\+psycopg2://(?:[^@/]*@)?)(?=/|$)", r"\1localhost", named)


def _release_batches(context: Any, folder: Path, declared: Path) -> Batches:
    document = json.loads((folder / "release.json").read_text(encoding="utf-8"))
    suites = release_suites(document, declared_suites(declared))
    source = context.data_sources.add_pandas("release")
    for dataset in document["datasets"]:
        for table in dataset["tables"]:
            suite = suites[table["name"]]
            # Workbook and JSON Lines hold the same rows; the release itself reads them back.
            for file in (file for file in table["files"] if file["format"] in GATED):
                typed = file["format"] == "parquet"
                # The Parquet file carries the types; of the text files, shape and key are looked at.
                rules = suite.rules if typed else suite.rules[:3]
                named = Suite(f"{suite.name}.{file['format'].replace('.', '_')}", rules)
                try:
                    frame = _frame(folder / file["path"], typed)
                except (OSError, pa.ArrowException) as error:
                    yield named, f"{file['path']} cannot be read back ({type(error).__name__})"
                    continue
                asset = source.add_dataframe_asset(named.name)
                batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
                yield named, batch


def _frame(path: Path, typed: bool) -> pd.DataFrame:
    """Read a finished file back: Parquet with its types (decimals as floats), CSV as text."""
    if not typed:
        with path.open("rb") as file:
            names = csv.open_csv(file).schema.names
        convert = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True)
        parse = csv.ParseOptions(newlines_in_values=True)
        return csv.read_csv(path, convert_options=convert, parse_options=parse).to_pandas()
    table = pq.read_table(path)
    for position, kind in enumerate(table.schema.types):
        if pa.types.is_decimal(kind):
            table = table.set_column(
                position, table.field(position).name, table.column(position).cast(pa.float64())
            )
    return table.to_pandas()


# --- how it is checked


def _check(gate: str, docs_dir: Path, batches: Callable[[Any], Batches]) -> GateResult:
    started = time.monotonic()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    checks: list[Check] = []
    results: list[Any] = []
    for suite, batch in batches(context):
        if isinstance(batch, str):
            checks.append(Check(suite.name, "The table can be read.", True, False, None, batch))
            continue
        expectations = [_expectation(rule, number) for number, rule in enumerate(suite.rules)]
        found = batch.validate(
            gx.ExpectationSuite(name=suite.name, expectations=expectations), result_format=RESULT_FORMAT
        )
        # Failed metrics come first in the results, so a rule is found again by its number.
        for result in sorted(found.results, key=lambda item: item.expectation_config.meta["rule"]):
            strip_values(result)
            checks.append(_as_check(suite, suite.rules[result.expectation_config.meta["rule"]], result))
        results.append((suite.name, found))
    _write_docs(docs_dir, gate, results)
    success = all(check.success for check in checks if check.required)
    outcome = GateResult(gate, success, checks, round(time.monotonic() - started, 3))
    if not success:
        raise GateFailed(outcome, docs_dir)
    return outcome


def _expectation(rule: Rule, number: int) -> Any:
    kind = getattr(gxe, "".join(word.capitalize() for word in rule.type.split("_")))
    condition = {}
    if rule.where:
        column, operator, value = rule.where
        condition = {"row_condition": OPERATORS[operator](Column(column), value)}
    return kind(
        **rule.arguments,
        **condition,
        description=rule.description,
        severity="critical" if rule.required else "warning",
        meta={"rule": number},
    )


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
}


def strip_values(result: Any) -> None:
    """Leave in a result only counts and, of what went wrong inside, the class of the exception."""
    kept = {name: result.result[name] for name in KEPT_NUMBERS if name in result.result}
    observed = result.result.get("observed_value")
    if isinstance(observed, int) or result.expectation_config.type.startswith("expect_table_columns"):
        kept["observed_value"] = observed
    result.result = kept
    raised = _raised(result.exception_info)
    result.exception_info = {
        "raised_exception": bool(raised),
        "exception_message": raised or None,
        "exception_traceback": None,
    }


def _raised(info: Mapping[str, Any] | None) -> str:
    """Return the class names of the exceptions in `info`; their texts may quote values, so they are left out."""
    if not info or info.get("raised_exception") is False:
        return ""
    texts = [json.dumps(value, default=str) for value in info.values()]
    names = {
        name for text in texts for name in re.findall(r"\b(?:\w+\.)*([A-Z]\w*(?:Error|Exception))\b", text)
    }
    return ", ".join(sorted(names)) or "an exception"


def _as_check(suite: Suite, rule: Rule, result: Any) -> Check:
    kind = rule.type.removeprefix("expect_")
    where = f"{suite.name}{f' ({rule.columns})' if rule.columns else ''}"
    raised = result.exception_info["exception_message"]
    notes = f"could not be evaluated: {raised}; is the column there, is its type right?" if raised else ""
    observed = result.result.get("observed_value")
    if isinstance(observed, int):
        notes = f"{observed} rows"
    if (mostly := rule.arguments.get("mostly")) is not None and not raised:
        notes = f"{mostly:.0%} of rows must pass"
    return Check(
        name=f"{where}: {kind}",
        description=rule.description,
        required=rule.required,
        success=bool(result.success),
        unexpected_rows=result.result.get("unexpected_count"),
        notes=notes,
        vi=rule.vi,
    )


# --- the pages


def _write_docs(docs_dir: Path, gate: str, results: list[tuple[str, Any]]) -> None:
    """Store results and build their pages and the index; two processes take turns."""
    if not results:
        return
    docs_dir.mkdir(parents=True, exist_ok=True)
    with _turn(docs_dir / ".lock"):
        context = gx.get_context(mode="file", project_root_dir=docs_dir)
        context.enable_analytics(False)
        keys = []
        run = RunIdentifier(run_name=gate, run_time=datetime.now(UTC))
        for suite, result in results:
            result.meta |= {"run_id": run, "validation_time": run.run_time}
            identifier = ExpectationSuiteIdentifier(name=suite)
            key = ValidationResultIdentifier(identifier, run, batch_identifier=suite)
            context.validation_results_store.store_validation_results(result, key, identifier)
            keys.append(key)
        _forget_old_runs(docs_dir)
        context.build_data_docs(resource_identifiers=keys)
        (docs_dir / "index.html").write_text(_index(docs_dir), encoding="utf-8")


_INDEX = """<!doctype html><html lang="vi"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Kho Chung: kiểm tra chất lượng</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}th,td{{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ccc}}
.no{{color:#a00;font-weight:600}}</style>
<h1>Kiểm tra chất lượng · Quality reports</h1>
<p>Mới nhất trước; chỉ có số đếm, không có giá trị. · Newest first; counts only, never values.</p>
<div style="overflow-x:auto"><table><tr><th>Lúc · Time (UTC)</th><th>Cổng · Gate</th><th>Bảng · Table</th>
<th>Đạt · Passed</th><th>Kết quả · Result</th></tr>
{rows}</table></div></html>
"""


def _index(docs_dir: Path) -> str:
    """The list of all kept results. Great Expectations' own list takes its table from the internet's scripts."""
    stored = docs_dir / "gx" / "uncommitted" / "validations"
    rows = []
    for path in sorted(stored.rglob("*.json"), key=lambda p: (p.parent.name, p.name), reverse=True):
        result = json.loads(path.read_text(encoding="utf-8"))
        page = f"{SITE}/validations/{path.relative_to(stored).with_suffix('.html').as_posix()}"
        moment = datetime.strptime(path.parent.name, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
        counted = result["statistics"]
        failed = {r["expectation_config"].get("severity") for r in result["results"] if not r["success"]}
        verdict = "đạt · passed" if not failed else "cảnh báo · warning"
        if failed - {"warning"}:
            verdict = '<span class="no">không đạt · failed</span>'
        rows.append(
            f"<tr><td>{moment:%Y-%m-%d %H:%M:%S}</td><td>{html.escape(path.parent.parent.name)}</td>"
            f"<td>{html.escape(result['suite_name'])}</td>"
            f"<td>{counted['successful_expectations']}/{counted['evaluated_expectations']}</td>"
            f'<td><a href="{html.escape(quote(page))}">{verdict}</a></td></tr>\n'
        )
    return _INDEX.format(rows="".join(rows))


def _forget_old_runs(docs_dir: Path) -> None:
    """Keep the newest runs of each suite: the index page reads every stored result, so it must not grow for ever."""
    stored = docs_dir / "gx" / "uncommitted" / "validations"
    pages = docs_dir / SITE / "validations"
    runs = {path.parent for path in stored.rglob("*.json")}  # <suite>/<gate>/<time>/<table>.json
    for of_suite in {run.parent for run in runs}:
        for old in sorted(of_suite.iterdir())[:-RUNS_KEPT]:
            shutil.rmtree(old)
            shutil.rmtree(pages / old.relative_to(stored), ignore_errors=True)


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
