"""Dossiers as the warehouse holds them, with everything `mapping.yml` names; persons are handles of the vault.

A dossier is read from the one record that speaks for it (marts.fct_dossier), so that one that was migrated between two
systems is sent once. Handles, names of procedures and numbers of receipts stand in raw.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

#: Dossiers read at once.
BATCH = 1_000
#: National status of a step that asks for papers.
SUPPLEMENT = 5
#: National statuses of a dossier that ended by a refusal.
REFUSED = 3
_DOSSIERS = """
select
    f.dossier_key, f.source_code, f.dossier_id, f.dossier_code, f.load_number, f.origin,
    coalesce(nullif(f.national_code, ''), f.dossier_code) as national_code,
    f.procedure_code, d.procedure_name, f.sector_code, f.sector_name, f.channel, f.applicant_type,
    f.responsible_agency_code, f.submitted_at, f.received_at, f.due_at, f.completed_at, f.returned_at, f.received_date,
    case when f.status_code = %(refused)s then f.completed_at end as refused_at,
    f.status_code::int as status_code, f.is_vneid_account, f.online_payment_code,
    d.applicant_id_number, d.applicant_name, d.applicant_phone, d.applicant_email, d.subject_line,
    case when f.applicant_type = 1 then d.applicant_id_number end as citizen_id_number,
    case when f.channel = 2 then d.applicant_id_number end as account_holder
from marts.fct_dossier as f
inner join raw.dossier as d on f.source_code = d.source_code and f.dossier_id = d.dossier_id
where f.load_number > %(after)s and f.received_date between %(since)s and %(until)s
    and (f.responsible_agency_code = any(%(agencies)s) or starts_with(f.responsible_agency_code, %(below)s))
order by f.load_number, f.dossier_key
"""
_PAPERS = """
select source_code, dossier_id, paper_code, paper_name, is_result, is_digitised, is_reused, is_from_personal_storage,
    file_name, file_url
from raw.dossier_paper where (source_code, dossier_id) in (select * from unnest(%s::text[], %s::text[]))
order by paper_no
"""
_FEES = """
select source_code, dossier_id, fee_kind, fee_name, amount_vnd
from raw.dossier_fee where (source_code, dossier_id) in (select * from unnest(%s::text[], %s::text[])) order by fee_no
"""
_STEPS = """
select s.source_code, s.dossier_id, s.step_no, s.step_name, s.agency_code, s.officer_name, s.note, s.started_at,
    s.due_at, s.finished_at, s.finished_at is not null as is_finished, f.status_code::int as status_code
from raw.dossier_step as s
left join marts.fct_dossier_step as f
    on s.source_code = f.source_code and s.dossier_id = f.dossier_id and s.step_no = f.step_no
where (s.source_code, s.dossier_id) in (select * from unnest(%s::text[], %s::text[])) order by s.step_no
"""
Row = dict[str, Any]


@dataclass(frozen=True)
class Sendable:
    """One dossier: its row, with lists `papers`, `results`, `fees`, `supplements`, and its finished steps."""

    row: Row
    steps: tuple[Row, ...]

    @property
    def key(self) -> str:
        """Key of the dossier in the warehouse."""
        return str(self.row["dossier_key"])


def changed(
    connection: psycopg.Connection,
    unit: str,
    since: dt.date,
    after: int,
    except_for: Sequence[str] = (),
    until: dt.date = dt.date.max,
) -> Iterator[list[Sendable]]:
    """Dossiers of a unit received from `since` to `until` that a load after number `after` changed, in order.

    Some at a time; both days are included. `except_for`: units below this one that have an entry of their own.
    """
    given = {
        "refused": REFUSED,
        "after": after,
        "since": since,
        "until": until,
        "agencies": [unit],
        "below": f"{unit}.",
    }
    # Named, so that a year of dossiers is not held at once; the transaction sees one moment of the warehouse.
    with connection.cursor(name="sendable", row_factory=dict_row) as cursor:
        cursor.execute(_DOSSIERS, given)
        while rows := cursor.fetchmany(BATCH):
            kept = [
                r
                for r in rows
                if not any((r["responsible_agency_code"] + ".").startswith(e + ".") for e in except_for)
            ]
            yield list(_with_lists(connection, kept))


def _with_lists(connection: psycopg.Connection, rows: Sequence[Row]) -> Iterator[Sendable]:
    keys = ([r["source_code"] for r in rows], [r["dossier_id"] for r in rows])
    papers, fees, steps = (_grouped(connection, q, keys) for q in (_PAPERS, _FEES, _STEPS))
    for row in rows:
        key = (row["source_code"], row["dossier_id"])
        handed = [p for p in papers.get(key, ()) if not p["is_result"]]
        said = [p["is_digitised"] for p in handed if p["is_digitised"] is not None]
        whole = row | {
            "papers": handed,
            "results": [p for p in papers.get(key, ()) if p["is_result"]],
            "fees": fees.get(key, []),
            "supplements": [s for s in steps.get(key, ()) if s["status_code"] == SUPPLEMENT],
            # Without papers nothing is said of them.
            "has_digitised_paper": any(said) if said else None,
        }
        done = tuple(
            s | {"national_code": row["national_code"]} for s in steps.get(key, ()) if s["is_finished"]
        )
        yield Sendable(whole, done)


def _grouped(
    connection: psycopg.Connection, query: str, keys: tuple[list[str], list[str]]
) -> Mapping[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(query, keys).fetchall():  # type: ignore[arg-type]
            found.setdefault((row["source_code"], row["dossier_id"]), []).append(row)
    return found
