"""Many invented dossiers at once, made by PostgreSQL itself; and a process that sends them and may be killed."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
from collections.abc import Sequence

import psycopg

from national import outbox, reconcile
from national.exchange import Budget, Exchange
from national.push import Opened, Policy, plan, push
from national.writers import Unit, Writers
from tests.national.world import KEY, SCHEMA

#: Units in order of their use; the first four unless more are asked for.
UNITS = tuple(f"H20.{n}" for n in (19, *range(43, 58)))
OURS = Writers(
    "dossier_system", {u: Unit(u, "warehouse", dt.date(2024, 1, 1), decision="Công văn thử 1") for u in UNITS}
)
_FILL = f"""
insert into marts.fct_dossier (dossier_key, source_code, dossier_id, dossier_code, procedure_code, sector_code,
    sector_name, channel, applicant_type, responsible_agency_code, submitted_at, received_at, due_at, received_date,
    status_code, online_payment_code, origin, load_number)
select 'k' || n, 'igate', 'd' || n, 'H20-' || to_char(day, 'YYMMDD') || '-' || lpad(n::text, 6, '0'), '2.000815', 'G15',
    'Chứng thực', 1 + 2 * (n %% 2), 1, (array{list(UNITS)!r})[1 + n %% %(units)s], at, at, at + interval '2 days', day,
    4, 0, 'simulated', 1
from (select n, date '2024-01-01' + n %% 366 as day,
    (date '2024-01-01' + n %% 366)::timestamp at time zone 'Asia/Ho_Chi_Minh'
    + make_interval(secs => 27000 + n %% 28000) as at from generate_series(1, %(count)s) as n) as made;
insert into raw.dossier select source_code, dossier_id, 'Chứng thực bản sao', 'id1_' || dossier_id,
    'ref1_name_' || dossier_id, 'ref1_phone_' || dossier_id, null, 'ref1_subject_' || dossier_id from marts.fct_dossier;
insert into raw.dossier_step select source_code, dossier_id, s, 'Bước ' || s, responsible_agency_code, 'ref1_officer',
    null, received_at, null, received_at + make_interval(mins => s)
from marts.fct_dossier, generate_series(1, %(steps)s) s;
insert into marts.fct_dossier_step select source_code, dossier_id, step_no, 2 from raw.dossier_step;
analyze
"""


def fill(url: str, count: int, steps: int, units: int = 4) -> None:
    """`count` dossiers of some units over a year, each with `steps` finished steps."""
    with psycopg.connect(url) as connection:
        connection.execute(SCHEMA)
        outbox.prepare(connection)
        reconcile.prepare(connection)
        for statement in _FILL.split(";\n"):
            numbers = {"count": count, "steps": steps, "units": units}
            named = {k: v for k, v in numbers.items() if f"%({k})s" in statement}
            connection.execute(
                statement.encode() if named else statement.replace("%%", "%").encode(), named or None
            )


def opened(asked: Sequence[tuple[str, str, Sequence[str]]]) -> list[Opened]:
    """The vault's part: an identity number for a token, words for a reference."""
    return [
        Opened({h: f"003{int(h[5:]):09d}" if h.startswith("id1_") else f"giá trị {h}" for h in handles})
        for _, _, handles in asked
    ]


def send(
    url: str, address: str, policy: Policy, login: tuple[str, str], at_once: int = 4, patience: float = 2.0
) -> dict[str, int]:
    """Plan and send everything; what was done, and calls by service. What calls met with is kept in the database."""
    with contextlib.closing(outbox.Faults(lambda: psycopg.connect(url))) as faults:
        exchange = Exchange(
            address,
            *login,
            "H20",
            Budget(10_000_000),
            patience=(10.0, patience),
            at_once=at_once,
            tell=faults,
        )
        with psycopg.connect(url) as connection:
            plan(connection, OURS, KEY)
        report = push(lambda: psycopg.connect(url), exchange, opened, OURS, KEY, policy)
    if report.troubles:
        print(report.troubles)
    return dict(report.done) | {f"calls {s}": n for s, n in report.calls.items()}


if __name__ == "__main__":
    bad_days = Policy(settle=2.0, pause=0.2, workers=len(UNITS))
    print(
        send(sys.argv[1], sys.argv[2], bad_days, (sys.argv[3], sys.argv[4]), len(UNITS), float(sys.argv[5]))
    )
