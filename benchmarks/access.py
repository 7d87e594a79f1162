"""What row security costs: the cookbook asked by an agency's person, and by an owner with the same filter written out.

Questions are those of docs/cookbook.md, as they stand there. Tables have the columns and indexes of the models (read
from `dbt`), rows are made by PostgreSQL itself: 1.8 million dossiers of ten years in the order in which daily loads
leave them, with their steps and fees, 160 agencies with a role each.
"""

from __future__ import annotations

import datetime as dt
import re
import statistics
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import yaml

from benchmarks.world import Line, World, rounds
from ops import access, persons
from ops.roles import read_roles
from ops.settings import PROJECT, Settings

MARTS = PROJECT / "dbt" / "models" / "marts"
DETAILS = PROJECT / "dbt" / "macros" / "dossier_details.sql"
DOSSIERS, AGENCIES, DAYS = 1_800_000, 160, 3_650
#: Shares of the agencies: one with a tenth of all dossiers, a middling one, and the smallest.
SIZES = {"large": "H20.1", "middling": "H20.50", "small": "H20.160"}
#: Milliseconds allowed to each, those from which on the ratio counts, and the ratio.
MOST, COUNTS, RATIO = 500.0, 20.0, 1.2
#: Of so many rounds the fastest counts: what slows a query down comes from elsewhere, and never makes it faster.
ROUNDS = 15

#: How one dossier is made of a number: an agency, a day, and two chances that are the same in every table.
#: A tenth is the first agency's; the others share the rest ever less evenly.
_CHANCE, _OTHER = (
    f"((hashint4(n + {shift})::bigint + 2147483648) / 4294967296.0)" for shift in (0, 7_000_000)
)
_ONE_DOSSIER = (
    f"select n, k, {_CHANCE} as chance, date '2016-01-01' + (n::bigint * {DAYS} / {DOSSIERS})::int as day, 'H20.' || "
    f"case when {_OTHER} < 0.1 then 1 else 2 + floor(power(({_OTHER} - 0.1) / 0.9, 3) * {AGENCIES - 1})::int end "
    f"as agency, n < {DOSSIERS} * 0.98 as is_over from generate_series(1, {DOSSIERS}) as n"
)
_ONE_EACH = (
    "select n, k, 0.5 as chance, date '2016-01-01' + n as day, 'H20.1' as agency, true as is_over from "
)
#: {table: (where it is declared, what its rows are made of)}; in the order of loading, by day and then agency.
_TABLES = {
    "fct_dossier": ("_marts.yml", f"{_ONE_DOSSIER}, generate_series(1, 1) as k"),
    "fct_dossier_step": ("_marts.yml", f"{_ONE_DOSSIER}, generate_series(1, 2) as k"),
    "fct_dossier_fee": (
        "_dossier_details.yml",
        f"{_ONE_DOSSIER}, generate_series(1, 1) as k where n % 2 = 0",
    ),
    "fct_handover": (
        "_handover.yml",
        f"{_ONE_DOSSIER}, generate_series(1, 1) as k where n % 10 = 0 and n > 1700000",
    ),
    "fct_citizen_check": (
        "_citizen_check.yml",
        f"{_ONE_DOSSIER}, generate_series(1, 1) as k where n % 4 = 0",
    ),
    "as_of_day": (
        "_morning_list.yml",
        f"{_ONE_EACH} generate_series({DAYS}, {DAYS}) as n, generate_series(1, 1) as k",
    ),
    "dim_date": ("_marts.yml", f"{_ONE_EACH} generate_series(0, 4379) as n, generate_series(1, 1) as k"),
    "dim_procedure": ("_marts.yml", f"{_ONE_EACH} generate_series(0, 900) as n, generate_series(1, 1) as k"),
    "dim_procedure_version": (
        "_marts.yml",
        f"{_ONE_EACH} generate_series(0, 900) as n, generate_series(1, 1) as k",
    ),
    "dim_comparable_area": (
        "_comparable.yml",
        f"{_ONE_EACH} generate_series(0, 700) as n, generate_series(0, 1) as k",
    ),
}
#: Values that are not the same for all rows, of columns by name; of one table where its own says something else.
_VALUES = {
    "dossier_key": "md5(n::text)", "dossier_id": "n::text", "dossier_code": "'H20.' || n",
    "first_dossier_id": "n::text", "source_code": "'igate_dong_thap'",
    "first_source_code": "case when chance < 0.1 then 'igate_tien_giang' else 'igate_dong_thap' end",
    "record_count": "case when chance < 0.1 then 2 else 1 end",
    "procedure_code": "'1.' || lpad((power(chance, 3) * 900)::int::text, 6, '0')",
    "responsible_agency_code": "agency",
    "receiving_agency_code": "case when chance < 0.3 then 'H20.01.01' else agency end",
    "applicant_commune_code": "(28000 + (chance * 700)::int)::text",
    "applicant_pseudonym": "md5(agency || '-' || n / 2)", "channel": "1 + (chance * 10)::int % 3",
    "received_date": "day", "received_at": "day + interval '9 hours'",
    "due_date": "day + (chance * 30)::int", "due_at": "day + (chance * 30)::int + interval '17 hours'",
    "completed_date": "case when is_over then day + (chance * 31)::int end",
    "is_resolved": "is_over", "is_overdue": "chance > 0.95", "is_online": "chance * 10 % 2 < 1",
    "is_transferred_in": "false", "supplement_count": "(chance * 100)::int % 5 / 2",
    "report_group": "case when is_over then 'resolved' else 'open' end", "load_number": "n / 500",
    "status_code": "9", "applicant_type": "1", "origin": "'simulated'", "sector_name": "'Đất đai'",
    "service_level": "'full'", "sector_code": "'G15-DD' || (chance * 90)::int",
    "completed_at": "day + interval '33 days'",
    "procedure_code_as_written": "'1.' || lpad((power(chance, 3) * 900)::int::text, 6, '0') || '.H20'",
    "outcome": "case when chance < 0.02 then 'mismatch' else 'matched' end", "differs_in": "'name'",
    "is_current_record": "true",
    "step_key": "md5('step' || n || '-' || k)", "step_no": "k", "step_name": "'Thẩm định, giải quyết hồ sơ'",
    "agency_code": "agency || '.01'", "started_at": "day + k", "started_date": "day + k",
    "finished_at": "case when is_over or k = 1 then day + k + 1 end",
    "fee_key": "md5('fee' || n)", "fee_no": "1", "fee_name": "'Lệ phí giải quyết thủ tục'", "amount_vnd": "50000",
    "is_owed": "n % 50 = 0",
    "handover_key": "md5('handover' || n)", "handover_no": "1", "from_agency_code": "'000.00.19.H58'",
    "to_agency_code": "agency", "handover_date": "date '2025-07-01'", "decision_no": "'202/2025/QH15'",
    "as_of_date": "day", "date_day": "day", "calendar_year": "extract(year from day)", "is_working_day": "n % 7 < 5",
    "working_day_number": "n * 5 / 7", "holiday_name": "case when n % 365 = 40 then 'Tết Nguyên Đán' end",
    "dim_procedure.procedure_code": "'1.' || lpad(n::text, 6, '0')",
    "dim_procedure_version.procedure_code": "'1.' || lpad(n::text, 6, '0')",
    "valid_from": "date '2025-01-01'", "known_from": "date '2025-01-01'", "procedure_name": "'Thủ tục ' || n",
    "time_limit_in_person": "10", "time_limit_in_person_unit": "'WORKING_DAY'",
    "time_limit_online": "8", "time_limit_online_unit": "'WORKING_DAY'",
    "commune_code": "(28000 + n)::text", "is_old_commune": "k = 1", "area_code": "(28000 + n / 3 * 3)::text",
    "area_name": "'Vùng ' || n / 3",
}  # fmt: skip


def run(world: World, long: bool) -> Iterator[Line]:
    """One line for each question and size of agency; `long` is not needed."""
    settings, people = _warehouse(world)
    for size, code in SIZES.items():
        with (
            psycopg.connect(settings.warehouse_url, autocommit=True) as owner,
            psycopg.connect(people[size], autocommit=True) as person,
        ):
            (rows,) = person.execute("select count(*) from marts.fct_dossier").fetchone() or (0,)
            for name, question in questions().items():
                yield _line(f"{name}, {size} agency ({rows:,} dossiers)", question, code, owner, person)


def questions() -> dict[str, str]:
    """{number and title: SQL} of the cookbook."""
    text = (PROJECT / "docs" / "cookbook.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^## (\d+\. [^·\n]*\S) ·.*?```sql\n(.*?);\n```", text, re.DOTALL | re.MULTILINE))


def written_out(question: str, code: str) -> str:
    """The question with the agency's filter in place of each table that row security filters."""

    def filtered(found: re.Match[str]) -> str:
        name = found[2] or f" as {found[1]}"
        return f"(select * from marts.{found[1]} where responsible_agency_code = any('{{{code}}}')){name}"

    tables = "|".join(sorted((t for t in _TABLES if t.startswith("fct_")), key=len, reverse=True))
    return re.sub(rf"\bmarts\.({tables})\b( as \w+)?", filtered, question)


def _line(name: str, question: str, code: str, owner: psycopg.Connection, person: psycopg.Connection) -> Line:
    by_owner = written_out(question, code)
    if sorted(map(str, owner.execute(by_owner).fetchall())) != sorted(  # type: ignore[call-overload]
        map(str, person.execute(question).fetchall())  # type: ignore[call-overload]
    ):
        raise RuntimeError(f"{name}: row security gives other rows than the filter")

    def asked(connection: psycopg.Connection, query: str) -> float:
        began = time.perf_counter()
        connection.execute(query).fetchall()
        return time.perf_counter() - began

    seconds = rounds(
        {"person": lambda: asked(person, question), "owner": lambda: asked(owner, by_owner)}, ROUNDS
    )
    took, written = (min(seconds[way]) * 1000 for way in ("person", "owner"))
    ratio = took / written
    passed = took < MOST and (took <= COUNTS or ratio <= RATIO)
    plans = "the same plan" if _plan(person, question) == _plan(owner, by_owner) else "another plan"
    median = statistics.median(seconds["person"]) * 1000
    behind = f"person {took:.1f} ms (median {median:.1f}), owner {written:.1f} ms, {plans}"
    return Line(name, ratio, f"<= {RATIO}, {MOST:.0f} ms", passed, behind)


def _plan(connection: psycopg.Connection, query: str) -> list[str]:
    """Kinds of the plan's nodes with their tables and indexes, from the top."""
    (found,) = connection.execute("explain (format json) " + query).fetchone() or ([],)  # type: ignore[operator]
    nodes: list[str] = []

    def walk(node: dict[str, Any]) -> None:
        if node["Node Type"] != "Subquery Scan":  # the filter written out stands in a subquery of its own
            nodes.append(" ".join(str(node.get(k, "")) for k in ("Node Type", "Relation Name", "Index Name")))
        for below in node.get("Plans", ()):
            walk(below)

    walk(found[0]["Plan"])
    return nodes


def _warehouse(world: World) -> tuple[Settings, dict[str, str]]:
    """A warehouse with generated facts and its roles; its settings, and the URL of each size's person."""
    url = world.database()
    file = world.home / "roles.yml"
    body = yaml.safe_load((PROJECT / "ops" / "roles.yml").read_text())
    until, decision = dt.date.today() + dt.timedelta(30), "benchmark"
    entry = {"role": "agency", "until": until, "decision": decision}
    body["persons"] = {f"{size}.bench": {**entry, "name": size, "agencies": [c]} for size, c in SIZES.items()}
    agencies = [f"H20.{n}" for n in range(1, AGENCIES + 1)]
    body["persons"]["everywhere.bench"] = {**entry, "name": "160 agencies", "agencies": agencies}
    file.write_text(yaml.safe_dump(body, allow_unicode=True))
    settings = Settings(
        {"KHOCHUNG_HOME": str(world.home), "WAREHOUSE_URL": url, "KHOCHUNG_ROLES": str(file)},
        dotenv=world.home / "no.env",
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create schema marts; create schema ops")
        for table, (declared_in, rows) in _TABLES.items():
            _make(connection, table, declared_in, rows)
            connection.execute(f"vacuum analyze marts.{table}")  # type: ignore[call-overload]
    roles = read_roles(file)
    persons.make_roles(settings, roles)
    access.protect(settings, roles)
    where = urlsplit(url)
    return settings, {
        size: f"postgresql://{size}.bench:{quote(persons.give_password(settings, roles, f'{size}.bench'))}"
        f"@{where.hostname}:{where.port}{where.path}"
        for size in SIZES
    }


def _make(connection: psycopg.Connection, table: str, declared_in: str, rows: str) -> None:
    """Make a mart as its model has it, indexes too, and fill it."""
    models = yaml.safe_load((MARTS / declared_in).read_text())["models"]
    columns: list[dict[str, Any]] = next(m["columns"] for m in models if m["name"] == table)
    listed = ", ".join(f"{c['name']} {c['data_type']}" for c in columns)
    names = [c["name"] for c in columns]
    said = [_VALUES.get(f"{table}.{name}", _VALUES.get(name, "null")) for name in names]
    values = ", ".join(f"({v})::{c['data_type']}" for v, c in zip(said, columns, strict=True))
    statements = [
        f"create unlogged table marts.{table} ({listed})",
        f"insert into marts.{table} select {values} from ({rows}) as m order by m.day, m.agency",
    ]
    model = (MARTS / f"{table}.sql").read_text()
    if "recorded_for_dossiers" in model:
        model = DETAILS.read_text().replace("[key]", f"['{table.rpartition('_')[2]}_key']")
    for found, unique in re.findall(r"\{'columns': \[([^\]]+)\](, 'unique': true)?\}", model):
        statements.append(
            f"create {'unique' if unique else ''} index on marts.{table} ({found.replace(chr(39), '')})"
        )
    for statement in statements:
        connection.execute(statement)  # type: ignore[call-overload]
