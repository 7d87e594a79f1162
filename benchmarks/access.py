"""What row security costs: an agency's person against an owner's query with the same filter written out.

Tables have the columns and indexes of the models (read from `dbt/models/marts`), rows are made by PostgreSQL itself:
1.8 million dossiers of ten years in the order in which daily loads leave them, 160 agencies with a role each.
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
DOSSIERS, AGENCIES, DAYS = 1_800_000, 160, 3_650
#: Shares of the agencies: one with a tenth of all dossiers, a middling one, and the smallest.
SIZES = {"large": "H20.1", "middling": "H20.50", "small": "H20.160"}
#: Day after which questions about "now" and "this year" are asked.
NOW, YEAR = "date '2025-12-31'", "date '2025-01-01'"
#: Milliseconds allowed to each, those from which on the ratio counts, and the ratio.
MOST, COUNTS, RATIO = 500.0, 20.0, 1.2
#: Of so many rounds the fastest counts: what slows a query down comes from elsewhere, and never makes it faster.
ROUNDS = 15

#: Questions of the cookbook; {dossier} and {check} are the tables, with the filter written out or without.
QUESTIONS = {
    "overdue now by unit": (
        "select responsible_agency_code, count(*) from {dossier} as d where not is_resolved and is_overdue group by 1"
    ),
    "median processing time by procedure": (
        "select procedure_code, count(*), percentile_cont(0.5) within group (order by completed_date - received_date), "
        "percentile_cont(0.5) within group (order by due_date - received_date) from {dossier} as d "
        f"where received_date >= {YEAR} and completed_date is not null group by 1"
    ),
    "one commune over five years": (
        "select extract(year from received_date), count(*) from {dossier} as d where applicant_commune_code = '28315' "
        "and received_date >= date '2021-01-01' group by 1"
    ),
    "open and inherited": (
        "select first_source_code, count(*) from {dossier} as d where not is_resolved and record_count > 1 group by 1"
    ),
    "received away from the agency": (
        "select date_trunc('month', received_date), avg((receiving_agency_code <> responsible_agency_code)::int) "
        f"from {{dossier}} as d where received_date >= {YEAR} group by 1"
    ),
    "online share by procedure": (
        "select procedure_code, avg(is_online::int) from {dossier} as d "
        f"where received_date >= {YEAR} group by 1 having count(*) >= 50"
    ),
    "due on the first day after Tết": (
        "select count(*), count(*) filter (where is_overdue) from {dossier} as d where due_date = date '2025-02-03'"
    ),
    "returned more than once": (
        "select dossier_code, supplement_count from {dossier} as d where supplement_count > 1 "
        f"and received_date >= {YEAR}"
    ),
    "applicant's check failed": (
        "select c.outcome, count(*) from {dossier} as d join {check} as c using (applicant_pseudonym) "
        "where c.outcome in ('mismatch', 'not_found') and not d.is_resolved group by 1"
    ),
}

#: Values that are not the same for all rows; n numbers the dossiers in the order of loading.
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
    "completed_date": "case when n < {dossiers} * 0.98 then day + (chance * 31)::int end",
    "is_resolved": "n < {dossiers} * 0.98", "is_overdue": "chance > 0.95", "is_online": "chance * 10 % 2 < 1",
    "is_transferred_in": "false", "supplement_count": "(chance * 100)::int % 5 / 2",
    "report_group": "case when n < {dossiers} * 0.98 then 'resolved' else 'open' end", "load_number": "n / 500",
    "status_code": "9", "applicant_type": "1", "origin": "'simulated'", "sector_name": "'Đất đai'",
    "service_level": "'full'", "sector_code": "'G15-DD' || (chance * 90)::int",
    "completed_at": "day + interval '33 days'",
    "procedure_code_as_written": "'1.' || lpad((power(chance, 3) * 900)::int::text, 6, '0') || '.H20'",
    "outcome": "case when chance < 0.02 then 'mismatch' else 'matched' end",
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
            for name, question in QUESTIONS.items():
                yield _line(f"{name}, {size} agency ({rows:,} dossiers)", question, code, owner, person)


def _line(name: str, question: str, code: str, owner: psycopg.Connection, person: psycopg.Connection) -> Line:
    filtered = "(select * from marts.{} where responsible_agency_code = any('{{{}}}'))"
    written_out = question.format(
        dossier=filtered.format("fct_dossier", code), check=filtered.format("fct_citizen_check", code)
    )
    plain = question.format(dossier="marts.fct_dossier", check="marts.fct_citizen_check")
    if sorted(map(str, owner.execute(written_out).fetchall())) != sorted(
        map(str, person.execute(plain).fetchall())
    ):
        raise RuntimeError(f"{name}: row security gives other rows than the filter")

    def asked(connection: psycopg.Connection, query: str) -> float:
        began = time.perf_counter()
        connection.execute(query).fetchall()
        return time.perf_counter() - began

    seconds = rounds(
        {"person": lambda: asked(person, plain), "owner": lambda: asked(owner, written_out)}, ROUNDS
    )
    took, written = (min(seconds[way]) * 1000 for way in ("person", "owner"))
    ratio = took / written
    passed = took < MOST and (took <= COUNTS or ratio <= RATIO)
    plans = "the same plan" if _plan(person, plain) == _plan(owner, written_out) else "another plan"
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
        _make(connection, "fct_dossier", "_marts.yml", DOSSIERS)
        _make(connection, "fct_citizen_check", "_citizen_check.yml", DOSSIERS, "where n % 4 = 0")
        for table in ("fct_dossier", "fct_citizen_check"):
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


def _make(
    connection: psycopg.Connection, table: str, declared_in: str, dossiers: int, where: str = ""
) -> None:
    """Make a mart as its model has it, indexes too, and fill it."""
    models = yaml.safe_load((MARTS / declared_in).read_text())["models"]
    columns: list[dict[str, Any]] = next(m["columns"] for m in models if m["name"] == table)
    listed = ", ".join(f"{c['name']} {c['data_type']}" for c in columns)
    values = ", ".join(
        f"({_VALUES.get(c['name'], 'null').format(dossiers=dossiers)})::{c['data_type']}" for c in columns
    )
    # A tenth is the first agency's; the others share the rest ever less evenly.
    # By hashes, so that both tables know a dossier by the same agency.
    chance, other = (
        f"((hashint4(n + {shift})::bigint + 2147483648) / 4294967296.0)" for shift in (0, 7_000_000)
    )
    made = (
        f"select n, {chance} as chance, date '2016-01-01' + (n::bigint * {DAYS} / {dossiers})::int as day, 'H20.' || "
        f"case when {other} < 0.1 then 1 else 2 + floor(power(({other} - 0.1) / 0.9, 3) * {AGENCIES - 1})::int end "
        f"as agency from generate_series(1, {dossiers}) as n"
    )
    statements = [
        f"create unlogged table marts.{table} ({listed})",
        f"insert into marts.{table} select {values} from ({made} {where}) as m order by m.day, m.agency",
    ]
    model = (MARTS / f"{table}.sql").read_text()
    for found, unique in re.findall(r"\{'columns': \[([^\]]+)\](, 'unique': true)?\}", model):
        statements.append(
            f"create {'unique' if unique else ''} index on marts.{table} ({found.replace(chr(39), '')})"
        )
    for statement in statements:
        connection.execute(statement)  # type: ignore[call-overload]
