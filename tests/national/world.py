"""A small warehouse of invented dossiers, and the portal's own rules within this process."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from national import outbox, reconcile
from national.exchange import Budget, Exchange, Uncertain
from national.mapping import VIETNAM
from national.push import Opened, Policy
from national.writers import Unit, Writers
from sandbox.exchange import Services
from sandbox.faults import Faults
from sandbox.national_copy import Copy

KEY = b"a key of the tests"
SCHEMA = """
create schema raw; create schema marts;
create table raw.dossier (source_code text, dossier_id text, procedure_name text, applicant_id_number text,
    applicant_name text, applicant_phone text, applicant_email text, subject_line text,
    primary key (source_code, dossier_id));
create table raw.dossier_paper (source_code text, dossier_id text, paper_no int, paper_code text, paper_name text,
    is_result boolean, is_digitised boolean, is_reused boolean, is_from_personal_storage boolean, file_name text,
    file_url text, primary key (source_code, dossier_id, paper_no));
create table raw.dossier_fee (source_code text, dossier_id text, fee_no int, fee_kind smallint, fee_name text,
    amount_vnd numeric(18, 0), primary key (source_code, dossier_id, fee_no));
create table raw.dossier_step (source_code text, dossier_id text, step_no int, step_name text, agency_code text,
    officer_name text, note text, started_at timestamptz, due_at timestamptz, finished_at timestamptz,
    primary key (source_code, dossier_id, step_no));
create table marts.fct_dossier_step (source_code text, dossier_id text, step_no int, status_code smallint,
    primary key (source_code, dossier_id, step_no));
create table marts.fct_dossier (dossier_key text primary key, source_code text, dossier_id text, dossier_code text,
    national_code text, procedure_code text, sector_code text, sector_name text, channel smallint,
    applicant_type smallint, responsible_agency_code text, submitted_at timestamptz, received_at timestamptz,
    due_at timestamptz, completed_at timestamptz, returned_at timestamptz, received_date date, status_code smallint,
    is_vneid_account boolean, online_payment_code smallint, origin text, load_number bigint,
    is_resolved boolean generated always as (status_code in (9, 10)) stored)
"""
_PERSON = ("applicant_id_number", "applicant_name")
MOMENT = dt.datetime(2025, 7, 2, 8, 12, 33, tzinfo=VIETNAM)
UNIT = Unit("H20.19", "warehouse", dt.date(2025, 7, 1), decision="Công văn thử 1")
OURS = Writers("dossier_system", {"H20.19": UNIT})
QUICK = Policy(workers=2, settle=0.0, pause=0.02, dossiers=5, progress=3, recheck=0.0)


def clear(number: int) -> dict[str, str]:
    """The person of a dossier: handle -> value."""
    return {
        f"id1_{number}": f"0032000{number:05d}",
        f"ref1_name{number}": f"Nguyễn Thị Thử {number}",
        f"ref1_phone{number}": f"04{number:08d}",
        f"ref1_subject{number}": f"Xin chứng thực của bà Nguyễn Thị Thử {number}",
        f"ref1_note{number}": "Hồ sơ đầy đủ",
        f"ref1_file{number}": f"to_khai_{number}.pdf",
        f"ref1_url{number}": f"/fi/file/{number}",
        "ref1_officer": "Lê Văn Tiếp Nhận",
    }


class World:
    """Dossiers of the warehouse, changed by loads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.load = 0
        self.values: dict[str, str] = {}
        #: Dossiers the vault does not give, and why.
        self.closed: dict[str, str] = {}
        self.opened = 0
        with psycopg.connect(url) as connection:
            connection.execute(SCHEMA)
            outbox.prepare(connection)
            reconcile.prepare(connection)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url)

    def put(self, *numbers: int, steps: int = 2, **changes: Any) -> None:
        """Load dossiers (again), with columns changed."""
        self.load += 1
        with self.connect() as c:
            for n in numbers:
                self.values |= clear(n)
                fact = {
                    "dossier_key": f"k{n}", "source_code": "igate", "dossier_id": f"d{n}", "dossier_code":
                    f"H20.19-250702-{n:04d}", "national_code": None, "procedure_code": "2.000815", "sector_code": "G15",
                    "sector_name": "Chứng thực", "channel": 1, "applicant_type": 1, "responsible_agency_code": "H20.19",
                    "submitted_at": MOMENT, "received_at": MOMENT, "due_at": MOMENT + dt.timedelta(days=2),
                    "completed_at": None, "returned_at": None, "received_date": MOMENT.date(), "status_code": 4,
                    "is_vneid_account": None, "online_payment_code": 0, "origin": "simulated", "load_number": self.load,
                } | {k: v for k, v in changes.items() if k not in _PERSON}  # fmt: skip
                person = {
                    "source_code": "igate", "dossier_id": f"d{n}", "procedure_name": "Chứng thực bản sao",
                    "applicant_id_number": f"id1_{n}", "applicant_name": f"ref1_name{n}", "applicant_phone":
                    f"ref1_phone{n}", "applicant_email": None, "subject_line": f"ref1_subject{n}",
                } | {k: v for k, v in changes.items() if k in _PERSON}  # fmt: skip
                _upsert(c, "marts.fct_dossier", fact, ["dossier_key"])
                _upsert(c, "raw.dossier", person, ["source_code", "dossier_id"])
                key = {"source_code": "igate", "dossier_id": f"d{n}"}
                _upsert(c, "raw.dossier_fee", key | {
                    "fee_no": 1, "fee_kind": 2, "fee_name": "Lệ phí", "amount_vnd": 10000,
                }, [*key, "fee_no"])  # fmt: skip
                for no, result in ((1, False), (2, True)):
                    _upsert(c, "raw.dossier_paper", key | {
                        "paper_no": no, "paper_code": f"KQ{no}", "paper_name": "Giấy", "is_result": result,
                        "is_digitised": True, "is_reused": None, "is_from_personal_storage": False,
                        "file_name": f"ref1_file{n}", "file_url": f"ref1_url{n}",
                    }, [*key, "paper_no"])  # fmt: skip
                for no in range(1, steps + 1):
                    at = MOMENT + dt.timedelta(hours=no)
                    _upsert(c, "raw.dossier_step", key | {
                        "step_no": no, "step_name": f"Bước {no}", "agency_code": "H20.19",
                        "officer_name": "ref1_officer", "note": f"ref1_note{n}" if no == 1 else None, "started_at": at,
                        "due_at": None, "finished_at": at + dt.timedelta(minutes=30),
                    }, [*key, "step_no"])  # fmt: skip
                    _upsert(c, "marts.fct_dossier_step", key | {"step_no": no, "status_code": 2 if no == 1 else 4},
                            [*key, "step_no"])  # fmt: skip

    def open(self, asked: Sequence[tuple[str, str, Sequence[str]]]) -> list[Opened]:
        """The vault's part."""
        self.opened += len(asked)
        return [
            Opened(why=self.closed[d]) if d in self.closed else Opened({h: self.values[h] for h in handles})
            for _, d, handles in asked
        ]

    def rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(query, given).fetchall()  # type: ignore[arg-type]

    def states(self, table: str = "dossier") -> dict[str, int]:
        with self.connect() as connection:
            return outbox.counts(connection)[table]


def _upsert(c: psycopg.Connection, table: str, row: Mapping[str, Any], key: Sequence[str]) -> None:
    names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    sets = ", ".join(f"{n} = excluded.{n}" for n in row if n not in key) or f"{key[0]} = excluded.{key[0]}"
    c.execute(
        f"insert into {table} ({names}) values ({marks}) on conflict ({', '.join(key)}) do update set {sets}",
        list(row.values()),
    )


class Killed(BaseException):
    """The process ends here."""


class Portal:
    """The sandbox's own rules, reached without HTTP; `plan` says what befalls the next calls, one word each."""

    def __init__(self) -> None:
        self.copy = Copy()
        self.faults = Faults()
        self.faults.set({"fault": "clear"})
        self.services = Services(self.copy, self.faults)
        self.plan: list[str] = []
        self.session = 0
        # Its server answers one call after the other, however many come at once.
        self.one_by_one = threading.Lock()
        self.calls: list[tuple[str, Any]] = []

    def __call__(self, path: str, body: Mapping[str, Any]) -> Any:
        if path == "/mapi/login":
            self.session += 1
            return {"session": f"s{self.session}", "error_code": 0}
        fault = self.plan.pop(0) if self.plan else ""
        if fault == "expired":
            self.session += 1
        if body["session"] != f"s{self.session}":
            return {"error_code": -1, "message": "Phiên làm việc (session) đã hết hạn"}
        self.calls.append((body["service"], body.get("data") or body.get("mahoso")))
        if fault == "lost_before":
            raise Uncertain("no answer")
        if fault == "killed_before":
            raise Killed
        if fault == "busy":
            self.faults.set({"fault": "refuse_items", "calls": 1})
        with self.one_by_one:
            answer = self.services.answer(dict(body))
        self.faults.armed.clear()
        if fault == "lost_after":
            raise Uncertain("no answer")
        if fault == "killed_after":
            raise Killed
        return answer

    def written(self) -> list[str]:
        """Services that change something, in the order they were called."""
        return [s for s, _ in self.calls if s in ("DongBoHoSoMC", "CapNhatTienDoHoSoMC")]

    def exchange(self, most: int = 100_000) -> Exchange:
        made = Exchange("http://sandbox.invalid", "u", "p", "H20", Budget(most), post=self, pause=0)
        made._sandbox = True
        return made
