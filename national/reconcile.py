"""Two copies of the truth side by side: our dossiers, and the portal's as its operator's file or a look-up tells them.

| Class | Means | Told by | Cure |
|---|---|---|---|
| missing_there | we have it, the portal has not | file, look-up | self where the warehouse writes, else agency |
| late | the same, but received so lately that it may still be on its way | file, look-up | self |
| missing_here | the portal has it, we have not | file | agency |
| content_differs | both have it, and `fields` differ | file, look-up (`LOOKED_AT`) | as missing_there |
| code_differs | both have it under two codes; found by content | file | operator |
| duplicated_there | the portal has it more than once | file, look-up | operator |

Nothing personal is compared here but by the keyed hashes of the outbox, and then told as "differs" alone.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import itertools
import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from connectors.base import BudgetSpent, SourceUnavailable
from national import outbox
from national.exchange import Exchange, Found
from national.mapping import VIETNAM, MappingError, read_mapping
from national.writers import Writers

CLASSES = {
    "missing_there": "Chưa có trên Cổng DVCQG",
    "late": "Mới tiếp nhận, chưa lên Cổng",
    "missing_here": "Có trên Cổng, không có trong kho",
    "content_differs": "Nội dung khác nhau",
    "code_differs": "Khác mã hồ sơ",
    "duplicated_there": "Trùng trên Cổng",
}
#: Who told it.
SOURCES = {"export": "Tệp kết xuất", "look_up": "Tra cứu", "statistics": "Thống kê của Cổng"}
CURES = {"self": "Hệ thống tự xử lý", "agency": "Cơ quan xử lý", "operator": "Đề nghị đơn vị vận hành Cổng"}
#: Class -> the sources that can tell it. The portal's statistics name no dossier, so they tell none of these.
TOLD_BY = {
    "missing_there": ("export", "look_up"), "late": ("export", "look_up"), "missing_here": ("export",),
    "content_differs": ("export", "look_up"), "code_differs": ("export",), "duplicated_there": ("export", "look_up"),
}  # fmt: skip
#: Class -> who cures it where the warehouse writes the unit's dossiers, and where it does not.
CURED_BY = {
    "missing_there": ("self", "agency"), "late": ("self", "self"), "missing_here": ("agency", "agency"),
    "content_differs": ("self", "agency"), "code_differs": ("operator", "operator"),
    "duplicated_there": ("operator", "operator"),
}  # fmt: skip
#: What the portal's statistics count (`marts.fct_national_count`), in the order they are told.
COUNTS = {
    "received": "Hồ sơ tiếp nhận", "on_time": "Giải quyết trước hạn, đúng hạn", "synchronised": "Đã đồng bộ lên Cổng",
    "online": "Nộp trực tuyến", "with_duty": "Có nghĩa vụ tài chính", "paid_online": "Thanh toán trực tuyến",
    "with_result": "Có kết quả điện tử",
}  # fmt: skip
#: Counts of the portal and ours may differ by so much of the greater, and by so many dossiers: the portal counts at
#: another hour than we read.
COUNT_BOUND, COUNT_LEAST = 0.02, 10
#: Columns of the operator's file [guess], and the fields of the portal they hold.
COLUMNS = {
    "Mã hồ sơ": "MaHoSo", "Mã TTHC": "MaTTHC", "Mã đơn vị": "DonViXuLy", "Kênh thực hiện": "KenhThucHien",
    "Ngày tiếp nhận": "NgayTiepNhan", "Ngày hẹn trả": "NgayHenTra", "Ngày kết thúc xử lý": "NgayKetThucXuLy",
    "Ngày trả": "NgayTra", "Trạng thái": "TrangThaiHoSo", "Thanh toán trực tuyến": "DuocThanhToanTrucTuyen",
    "Xác thực VNeID": "TaiKhoanDuocXacThucVoiVNeID",
}  # fmt: skip
#: Fields in the order of the columns of `there`.
_READ = (
    "MaTTHC", "DonViXuLy", "KenhThucHien", "NgayTiepNhan", "NgayHenTra", "NgayKetThucXuLy", "NgayTra", "TrangThaiHoSo",
    "DuocThanhToanTrucTuyen", "TaiKhoanDuocXacThucVoiVNeID",
)  # fmt: skip
#: The portal's statuses by name [seen in three sources].
STATUSES = {
    "Mới đăng ký": 1, "Được tiếp nhận": 2, "Không được tiếp nhận": 3, "Đang xử lý": 4, "Yêu cầu bổ sung giấy tờ": 5,
    "Yêu cầu thực hiện nghĩa vụ tài chính": 6, "Công dân yêu cầu rút hồ sơ": 7, "Dừng xử lý": 8, "Đã xử lý xong": 9,
    "Đã trả kết quả": 10,
}  # fmt: skip
_LOCK = 7_662_032
_TIMES = ("NgayTiepNhan", "NgayHenTra", "NgayKetThucXuLy", "NgayTra")
#: Fields that a look-up compares.
LOOKED_AT = ("TrangThaiHoSo", "KenhThucHien", *_TIMES)
#: Fields that the file compares, in the order they are told, and the columns of the warehouse they stand in. None is
#: personal, so what the portal holds is kept by these names in `there`, where it differs.
COMPARED = {
    "KenhThucHien": "channel", "TrangThaiHoSo": "status_code", "MaTTHC": "procedure_code",
    "DonViXuLy": "responsible_agency_code", "NgayTiepNhan": "received_at", "NgayHenTra": "due_at",
    "NgayKetThucXuLy": "completed_at", "NgayTra": "returned_at", "DuocThanhToanTrucTuyen": "online_payment_code",
    "TaiKhoanDuocXacThucVoiVNeID": "is_vneid_account",
}  # fmt: skip
SCHEMA = """
create table if not exists national.comparison (
    number integer generated always as identity primary key, source text not null, file_name text,
    first_day date, last_day date, compared_at timestamptz not null default now(), here bigint not null,
    there bigint not null, unreadable bigint not null default 0);
create table if not exists national.difference (
    number integer not null references national.comparison, class text not null, agency_code text, dossier_key text,
    code_here text, code_there text, fields text[] not null default '{}', cure text not null, origin text,
    since_number integer not null);
alter table national.difference add column if not exists received_date date;
alter table national.difference add column if not exists there jsonb;
create index if not exists difference_of on national.difference (number, agency_code);
-- How many of each class: they outlive the differences themselves (`forget`).
alter table national.comparison add column if not exists classes jsonb;
create table if not exists national.looked (
    dossier_key text primary key, looked_at timestamptz not null, load_number bigint not null,
    class text, fields text[] not null default '{}');
alter table national.looked add column if not exists there jsonb;
create table if not exists national.answer (
    class text not null, code text not null, agency_code text not null, answer text not null, note text,
    answered_at timestamptz not null default now(), primary key (class, code, agency_code));
-- Dossiers as an operator assumes them: `changes` over ours, in place of `base` (ours, or the portal's copy).
create table if not exists national.assumed (
    scenario text not null, dossier_key text not null, base text not null check (base in ('warehouse', 'portal')),
    changes jsonb not null default '{}', is_absent boolean not null default false, primary key (scenario, dossier_key));
-- What stands now: of the file the newest comparison of each day, of look-ups the newest; once for each dossier and
-- class. Of the file's differences those are left out that a later look at the portal no longer found; and under which
-- code the portal has a dossier only the file can tell, so there a look-up's "missing" is none.
create or replace view national.standing as
with newest_of_day as (
    select d.day::date as day, max(c.number) as number
    from national.comparison c
    cross join lateral generate_series(c.first_day, c.last_day, interval '1 day') as d (day)
    where c.source = 'export'
    group by d.day
),
latest as (
    select d.*
    from newest_of_day n
    join national.difference d on d.number = n.number and d.received_date = n.day
    union all
    select d.*
    from national.difference d
    where d.number = (select max(number) from national.comparison where source = 'look_up')
),
told as (
    select d.*, c.source, c.compared_at, s.compared_at as since_at
    from latest d
    join national.comparison c on c.number = d.number
    join national.comparison s on s.number = d.since_number
    left join national.looked k
        on c.source = 'export' and k.dossier_key = d.dossier_key and k.looked_at > c.compared_at
    where k.dossier_key is null or not (
        d.class = 'late'
        or (d.class = 'missing_there' and k.class is distinct from 'missing_there')
        or (d.class = 'content_differs' and k.class is null and d.fields <@ '{LOOKED_AT}'::text[]))
)
select t.class, t.agency_code, t.dossier_key, t.code_here, t.code_there,
    array_remove(array_agg(distinct f.field order by f.field), null) as fields, min(t.cure) as cure,
    min(t.origin) as origin, array_agg(distinct t.source order by t.source) as sources, min(t.since_at) as since_at,
    min(t.received_date) as received_date,
    jsonb_object_agg(h.key, h.value order by t.compared_at) filter (where h.key is not null) as there
from told t
left join lateral unnest(t.fields) as f (field) on true
left join lateral jsonb_each(t.there) as h on true
where not (t.source = 'look_up' and t.class in ('missing_there', 'late')
    and t.dossier_key in (select e.dossier_key from told e where e.class = 'code_differs'))
group by t.class, t.agency_code, t.dossier_key, t.code_here, t.code_there
""".replace("LOOKED_AT", ",".join(LOOKED_AT))
_DIFFERING = ", ".join(f"case when t.{c} is distinct from h.{c} then '{f}' end" for f, c in COMPARED.items())
_THERE = " || ".join(
    f"case when t.{c} is distinct from h.{c} then jsonb_build_object('{c}', t.{c}) else '{{}}' end"
    for c in COMPARED.values()
)
_WHOLE = "jsonb_build_object(" + ", ".join(f"'{c}', t.{c}" for c in COMPARED.values()) + ")"
_COMPARE = (
    """
create temp table here on commit drop as
select
    f.dossier_key, f.origin, f.responsible_agency_code, f.dossier_code,
    coalesce(nullif(f.national_code, ''), f.dossier_code) as code, f.received_date,
    date_trunc('second', f.received_at) as received_at, date_trunc('second', f.due_at) as due_at,
    date_trunc('second', f.completed_at) as completed_at, date_trunc('second', f.returned_at) as returned_at,
    regexp_replace(f.procedure_code, '(\\.[0-9]{2,3})*\\.H[0-9]+$', '') as procedure_code,
    f.channel, f.status_code, f.online_payment_code, f.is_vneid_account
from marts.fct_dossier as f
where f.received_date between %(first)s and %(last)s;
create index on here (code);
create index on here (received_at);
create index on there (code);
analyze here;
analyze there;
-- By its own code, or the one it had when it was filed; of several rows the first stands for it.
create temp table matched on commit drop as
select distinct on (dossier_key) dossier_key, row_no, true as by_code from (
    select h.dossier_key, t.row_no, 1 as rank from here h join there t on t.code = h.code
    union all
    select h.dossier_key, t.row_no, 2 from here h join there t on t.code = h.dossier_code where h.dossier_code <> h.code
) as pair order by dossier_key, rank, row_no;
create index on matched (dossier_key);
create index on matched (row_no);
-- By content, where that is unique on both sides.
insert into matched
select min(h.dossier_key), min(t.row_no), false
from (select * from here where dossier_key not in (select dossier_key from matched)) as h
join (select * from there where row_no not in (select row_no from matched)) as t
    using (procedure_code, responsible_agency_code, received_at)
group by procedure_code, responsible_agency_code, received_at
having count(*) = 1;
analyze matched;
create temp table found on commit drop as
-- Rows beyond the one that stands for a dossier: under its code again, or of the same content under another.
select 'duplicated_there' as class, h.responsible_agency_code as agency_code, h.dossier_key, h.code as code_here,
    t.code as code_there, '{}'::text[] as fields, h.origin, h.received_date, WHOLE_ROW as there
from there t
join here h on t.code in (h.code, h.dossier_code)
join matched m on m.dossier_key = h.dossier_key and m.row_no <> t.row_no
where t.row_no not in (select row_no from matched)
union all
select 'duplicated_there', h.responsible_agency_code, h.dossier_key, h.code, t.code, '{}', h.origin, h.received_date,
    WHOLE_ROW
from there t
join lateral (
    select min(o.dossier_key) as dossier_key, min(o.code) as code, min(o.origin) as origin,
        min(o.received_date) as received_date, min(o.responsible_agency_code) as responsible_agency_code
    from here o
    join matched m on m.dossier_key = o.dossier_key
    where (o.procedure_code, o.responsible_agency_code, o.received_at)
        = (t.procedure_code, t.responsible_agency_code, t.received_at)
    having count(*) = 1
) as h on true
where t.row_no not in (select row_no from matched)
    and not exists (select 1 from here o where t.code in (o.code, o.dossier_code))
union all
select 'code_differs', h.responsible_agency_code, h.dossier_key, h.code, t.code, '{}', h.origin, h.received_date, null
from matched m join here h using (dossier_key) join there t using (row_no)
where t.code <> h.code
union all
select case when h.received_date > %(late)s then 'late' else 'missing_there' end, h.responsible_agency_code,
    h.dossier_key, h.code, null, '{}', h.origin, h.received_date, null
from here h where h.dossier_key not in (select dossier_key from matched)
union all
select 'content_differs', h.responsible_agency_code, h.dossier_key, h.code, t.code, d.fields, h.origin, h.received_date,
    d.there
from matched m join here h using (dossier_key) join there t using (row_no)
cross join lateral (select
    array_remove(array[
    DIFFERING_FIELDS
    ], null) as fields,
    DIFFERING_VALUES as there
) as d
where cardinality(d.fields) > 0;
insert into found
select 'missing_here', t.responsible_agency_code, null, null, t.code, '{}', null,
    (t.received_at at time zone 'Asia/Ho_Chi_Minh')::date, WHOLE_ROW
from there t
where t.row_no not in (select row_no from matched)
    and not exists (select 1 from found f where f.class = 'duplicated_there' and f.code_there = t.code)
""".replace("WHOLE_ROW", _WHOLE)
    .replace("DIFFERING_FIELDS", _DIFFERING)
    .replace("DIFFERING_VALUES", _THERE)
)


class ExportError(Exception):
    """The operator's file cannot be read; the message says what was looked for."""


@dataclass
class Compared:
    """What one comparison came to."""

    number: int
    source: str
    here: int
    there: int
    unreadable: int
    classes: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        """Share of our dossiers that stand there, in per cent; 100 where we have none."""
        lacking = self.classes["missing_there"] + self.classes["late"]
        return 100.0 if not self.here else 100.0 * (self.here - lacking) / self.here


def prepare(connection: psycopg.Connection) -> None:
    """Make the tables beside the outbox's (`national.outbox.prepare` first), or those that a version before had not."""
    connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
    newest = "select 1 from pg_attribute where attrelid = to_regclass('national.comparison') and attname = 'classes'"
    if connection.execute(newest).fetchone() is None:
        connection.execute(SCHEMA)
    connection.commit()


def compare_export(
    connection: psycopg.Connection,
    path: Path,
    writers: Writers,
    first: dt.date | None = None,
    last: dt.date | None = None,
    tolerance: int = 1,
    taken: dt.date | None = None,
) -> Compared:  # fmt: skip
    """Compare all dossiers received in these days (both included) with the operator's file of the same days.

    `first`, `last`: default those of the file's own rows. `tolerance`: days a dossier may take to get there; `taken`:
    the day the file was made (default: the last day).
    One transaction: a comparison is whole, or it is not there.
    """
    connection.execute(
        "create temp table there (row_no integer, code text, procedure_code text, responsible_agency_code text, "
        "channel smallint, received_at timestamptz, due_at timestamptz, completed_at timestamptz, "
        "returned_at timestamptz, status_code smallint, online_payment_code smallint, is_vneid_account boolean) "
        "on commit drop"
    )
    rows = unreadable = 0
    with connection.cursor() as cursor, cursor.copy("copy there from stdin") as copy:
        for row in read_export(path):
            if row is None:
                unreadable += 1
                continue
            rows += 1
            copy.write_row((rows, *row))
    span = connection.execute(
        "select min(received_at at time zone 'Asia/Ho_Chi_Minh')::date, "
        "max(received_at at time zone 'Asia/Ho_Chi_Minh')::date from there"
    ).fetchone()
    if span is not None:
        first, last = first or span[0], last or span[1]
    if first is None or last is None:
        connection.rollback()
        raise ExportError(
            f"{path} holds no row that can be read ({unreadable:,} cannot); nothing was compared"
        )
    given = {
        "first": first, "last": last,
        "late": (taken or last) - dt.timedelta(days=tolerance),
    }  # fmt: skip
    for statement in _COMPARE.split(";\n"):
        # %% of no parameter would be wrong here: each statement is given only what it names.
        named = {k: v for k, v in given.items() if f"%({k})s" in statement}
        connection.execute(statement.encode(), named or None)
    here = _number(connection, "select count(*) from here")
    number = _number(
        connection,
        "insert into national.comparison (source, file_name, first_day, last_day, here, there, unreadable) "
        "values ('export', %s, %s, %s, %s, %s, %s) returning number",
        (path.name, first, last, here, rows, unreadable),
    )
    _keep(connection, number, writers)
    connection.commit()
    return compared(connection, number)


def _keep(connection: psycopg.Connection, number: int, writers: Writers) -> None:
    """Store what was found, with its cure and the comparison it was first seen in."""
    ours = [u.code for u in writers.ours]
    not_ours = [u.code for u in writers.units.values() if u.writer != "warehouse"]
    connection.execute(
        """
        with unit as (
            select f.*, coalesce(
                (select length(u) from unnest(%(ours)s::text[]) u
                 where f.agency_code = u or starts_with(f.agency_code, u || '.') order by 1 desc limit 1), 0) as own,
            coalesce(
                (select length(u) from unnest(%(others)s::text[]) u
                 where f.agency_code = u or starts_with(f.agency_code, u || '.') order by 1 desc limit 1), 0) as other
            from found f
        )
        insert into national.difference (number, class, agency_code, dossier_key, code_here, code_there, fields, cure,
            origin, since_number, received_date, there)
        select %(number)s, u.class, u.agency_code, u.dossier_key, u.code_here, u.code_there, u.fields,
            %(cures)s::jsonb -> u.class ->> case when u.own > u.other then 0 else 1 end,
            u.origin,
            coalesce((
                select min(d.since_number) from national.difference d
                where d.number = (select max(c.number) from national.comparison c
                                  where c.number < %(number)s and c.source = (
                                      select n.source from national.comparison n where n.number = %(number)s))
                    and d.class = u.class and d.code_here is not distinct from u.code_here
                    and d.code_there is not distinct from u.code_there), %(number)s),
            least(greatest(u.received_date, c.first_day), c.last_day), u.there
        from unit u
        join national.comparison c on c.number = %(number)s
        """,
        {"number": number, "ours": ours, "others": not_ours, "cures": json.dumps(CURED_BY)},
    )
    _count_classes(connection)


def _count_classes(connection: psycopg.Connection) -> None:
    """Note beside each comparison that has it not how many of each class it found."""
    connection.execute(
        "update national.comparison c set classes = coalesce((select jsonb_object_agg(f.class, f.found) from "
        "(select d.class, count(*) as found from national.difference d where d.number = c.number group by d.class) f"
        "), '{}') where c.classes is null"
    )


#: Days after which of a difference that is told again and again only the first and the last telling are kept, and after
#: which one that is told no more is forgotten: as long as its dossier may be looked up (ops.national.SPAN).
WHOLE, ENDED = 30, 400


def forget(connection: psycopg.Connection, whole: int = WHOLE, ended: int = ENDED) -> int:
    """Delete what nobody asks for of old comparisons; how many rows. What stands stays, and every count of a class.

    A difference is the same while each comparison of its source tells it (`since_number`); its first and last telling
    say since when it stood, and until when.
    """
    _count_classes(connection)
    deleted = connection.execute(
        """
        with telling as (
            select d.ctid as at, d.number, d.since_number, c.compared_at,
                max(c.compared_at) over run as last_at, max(d.number) over run as last_number
            from national.difference d
            join national.comparison c on c.number = d.number
            window run as (partition by d.class, d.code_here, d.code_there, d.since_number)
        ),
        stands as (
            select max(c.number) as number
            from national.comparison c
            cross join lateral generate_series(c.first_day, c.last_day, interval '1 day') as d (day)
            where c.source = 'export'
            group by d.day
            union
            select max(number) from national.comparison where source = 'look_up'
        )
        delete from national.difference d using telling t
        where d.ctid = t.at
            and t.number not in (select s.number from stands s where s.number is not null)
            and (
                t.last_at < now() - make_interval(days => %(ended)s)
                or (
                    t.compared_at < now() - make_interval(days => %(whole)s)
                    and t.number not in (t.since_number, t.last_number)
                )
            )
        """,
        {"whole": whole, "ended": ended},
    ).rowcount
    connection.commit()
    return deleted


def compared(connection: psycopg.Connection, number: int) -> Compared:
    """A stored comparison."""
    row = connection.execute(
        "select number, source, here, there, unreadable, classes from national.comparison where number = %s",
        (number,),
    ).fetchone()
    if row is None:
        raise ExportError(f"looked for comparison {number} in national.comparison and found none")
    return Compared(row[0], row[1], row[2], row[3], row[4], Counter(row[5] or {}))


def heal(connection: psycopg.Connection, number: int) -> dict[str, int]:
    """Have the outbox look again at what we write and what the comparison found otherwise; how many of each class.

    What is missing there waits to be sent, and its progress after it, also where it was a conflict before; but not what
    the operator's file has under another code, which a look-up cannot tell: it would stand there twice. What differs
    waits, too: the look before an update tells whether somebody else changed it (a conflict, not overwritten).
    """
    done: dict[str, int] = {}
    for name, base, states in (
        ("missing_there", ", base_hash = null, reasons = '{}'", ["accepted", "conflict"]),
        ("content_differs", "", ["accepted"]),
    ):
        rows = connection.execute(
            f"update national.dossier o set state = 'waiting', next_try_at = null, attempts = 0{base} "  # noqa: S608
            "from national.difference d where d.number = %s and d.class = %s and d.cure = 'self' "
            "and d.dossier_key = o.dossier_key and o.state = any(%s) and o.dossier_key not in "
            "(select dossier_key from national.standing where class = 'code_differs') returning o.dossier_key",
            (number, name, states),
        ).fetchall()
        done[name] = len(rows)
        if base:
            outbox.send_progress_anew(connection, [r[0] for r in rows])
    connection.commit()
    return done


# --- looking up ------------------------------------------------------------------------------------------------


def to_look_up(
    connection: psycopg.Connection, most: int, first: dt.date, last: dt.date, origins: Sequence[str]
) -> list[dict[str, Any]]:
    """The `most` dossiers, received from `first` to `last`, that are to be looked up first, and why each is.

    Said to be corrected by its agency since it was looked at; changed since; then open, or found to differ; then the
    longest unseen.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "with corrected as (select code, max(answered_at) as answered_at from national.answer "
            "where answer = 'Đã sửa' group by code) "
            "select f.dossier_key, coalesce(nullif(f.national_code, ''), f.dossier_code) as code, f.load_number, "
            "f.responsible_agency_code as agency_code, f.status_code, f.channel, f.received_at, f.due_at, "
            "f.completed_at, f.returned_at, case "
            "when a.answered_at > coalesce(l.looked_at, '-infinity') then 'said to be corrected' "
            "when coalesce(l.load_number, -1) < f.load_number then 'changed' "
            "when l.class is not null then 'differed' when not f.is_resolved then 'open' else 'longest unseen' end "
            "as why from marts.fct_dossier f left join national.looked l using (dossier_key) "
            "left join corrected a on a.code = coalesce(nullif(f.national_code, ''), f.dossier_code) "
            "where f.received_date between %s and %s and f.origin = any(%s) "
            "order by coalesce(a.answered_at > coalesce(l.looked_at, '-infinity'), false) desc, "
            "coalesce(l.load_number, -1) >= f.load_number, f.is_resolved and l.class is null, "
            "l.looked_at nulls first, f.dossier_key "
            "limit %s",
            (first, last, list(origins), most),
        ).fetchall()


def look_up(
    connection: psycopg.Connection,
    exchange: Exchange,
    most: int,
    first: dt.date,
    origin: str,
    last: dt.date = dt.date.max,
) -> Counter[str]:
    """Look `most` dossiers up at the portal, in the order of `to_look_up`, as many at once as `exchange` allows.

    What each came to is kept in `national.looked`; `LOOKED_AT` is compared, nothing personal. One that fails, tried
    several times, puts off its own dossier; SourceUnavailable where three in a row do. outbox.Stopped where an operator
    stopped all calls.
    """
    outbox.check_switch(connection)
    table = read_mapping()["dossier"]
    rows = to_look_up(connection, most, first, last, [origin])
    counted: Counter[str] = Counter()
    for ours, found in _side_by_side(connection, exchange, rows):
        if isinstance(found, Exception):
            counted["left by the budget" if isinstance(found, BudgetSpent) else "put off"] += 1
            continue
        name, fields = "same", []
        there: dict[str, object] = {}
        if found is None:
            name = "missing_there"
        elif found[2]:
            name = "duplicated_there"
        else:
            for f in LOOKED_AT:
                told = found[0].get(f) or ""
                if table.field(f).write(ours) != told:
                    fields.append(f)
                    with contextlib.suppress(MappingError):
                        there[COMPARED[f]] = table.field(f).read(told)
            name = "content_differs" if fields else "same"
        counted[name] += 1
        connection.execute(
            "insert into national.looked (dossier_key, looked_at, load_number, class, fields, there) "
            "values (%s, clock_timestamp(), %s, %s, %s, %s) on conflict (dossier_key) "
            "do update set looked_at = excluded.looked_at, load_number = excluded.load_number, class = excluded.class, "
            "fields = excluded.fields, there = excluded.there",
            (
                ours["dossier_key"],
                ours["load_number"],
                None if name == "same" else name,
                fields,
                json.dumps(there, default=str) if fields else None,
            ),
        )
        connection.commit()
    return counted


#: Look-ups that fail in a row, each tried several times, when looking up ends.
_FAILING = 3
Looked = tuple[dict[str, Any], Found | BudgetSpent | SourceUnavailable]


def _side_by_side(
    connection: psycopg.Connection, exchange: Exchange, rows: Sequence[dict[str, Any]]
) -> Iterator[Looked]:
    """Each row, in its order, with what the portal holds under its `code`, or why that is not known."""
    failed = 0
    listed = iter(rows)
    under_way: deque[tuple[dict[str, Any], Future[Found]]] = deque()
    with ThreadPoolExecutor(exchange.at_once, "national-look") as pool:
        try:
            while True:
                # Some wait for a thread, so that none is idle while what came of another is put down.
                for row in itertools.islice(listed, 2 * exchange.at_once - len(under_way)):
                    outbox.check_switch(connection)
                    under_way.append((row, pool.submit(exchange.look_up, row["code"])))
                if not under_way:
                    return
                row, answer = under_way.popleft()
                try:
                    found: Found | BudgetSpent | SourceUnavailable = answer.result()
                    failed = 0
                except BudgetSpent as e:
                    found = e
                except SourceUnavailable as e:
                    found, failed = e, failed + 1
                    if failed == _FAILING:
                        raise
                yield row, found
        finally:
            for _, answer in under_way:
                answer.cancel()


def compare_looked(connection: psycopg.Connection, writers: Writers, tolerance: int = 1) -> Compared | None:
    """Store what all look-ups so far came to as a comparison of its own; None where nobody was looked up.

    A look-up older than what the portal accepted from us since says nothing any more. `tolerance`: as of
    `compare_export`, by the day of the look-up.
    """
    connection.execute(
        "create temp table found on commit drop as "
        "select case when l.class = 'missing_there' and f.received_date > "
        "(l.looked_at at time zone 'Asia/Ho_Chi_Minh')::date - %s::integer then 'late' else l.class end as class, "
        "f.responsible_agency_code as agency_code, l.dossier_key, c.code as code_here, "
        "case when l.class <> 'missing_there' then c.code end as code_there, l.fields, f.origin, f.received_date, "
        "l.there "
        "from national.looked l join marts.fct_dossier f using (dossier_key) "
        "cross join lateral (select coalesce(nullif(f.national_code, ''), f.dossier_code) as code) as c "
        "left join national.dossier o using (dossier_key) where o.accepted_at is null or o.accepted_at <= l.looked_at",
        (tolerance,),
    )
    here = _number(connection, "select count(*) from found")
    if not here:
        connection.rollback()
        return None
    lacking = _number(connection, "select count(*) from found where class in ('missing_there', 'late')")
    number = _number(
        connection,
        "insert into national.comparison (source, here, there) values ('look_up', %s, %s) returning number",
        (here, here - lacking),
    )
    connection.execute("delete from found where class is null")
    _keep(connection, number, writers)
    connection.commit()
    return compared(connection, number)


# --- alerts ------------------------------------------------------------------------------------------------------


def alerts(
    connection: psycopg.Connection, number: int, least: float = 99.0, growth: float = 1.2
) -> list[str]:
    """Sentences for whoever is on duty: a low share, a class that was not there before, a class that grew."""
    now = compared(connection, number)
    row = connection.execute(
        "select max(number) from national.comparison where source = %s and number < %s", (now.source, number)
    ).fetchone()
    before = compared(connection, row[0]) if row and row[0] else None
    told = []
    if now.share < least:
        told.append(f"Tỷ lệ đồng bộ {said(now.share, 2)} % dưới mức {least:g} %")
    for name, count in sorted(now.classes.items()) if before else ():
        was = before.classes[name] if before else 0
        if not was:
            told.append(f"Loại sai lệch mới: {CLASSES[name]} ({said(count)})")
        elif count > was * growth and count - was >= 10:
            told.append(f"{CLASSES[name]}: tăng từ {said(was)} lên {said(count)}")
    return [f"{SOURCES[now.source]}: {each}" for each in told]


def said(number: Any, decimals: int = 0) -> str:
    """A number as Vietnamese write it: 1.234,50."""
    return f"{number:,.{decimals}f}".translate(str.maketrans(",.", ".,"))


def counts(connection: psycopg.Connection, unit: str | None = None) -> list[dict[str, Any]]:
    """Rows of `marts.fct_national_count` of the newest month that can be judged (else quarter, else year).

    `unit`: its code; default: all. Nothing before the marts were built.
    """
    if connection.execute("select to_regclass('marts.fct_national_count')").fetchone() == (None,):
        return []
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "with of_unit as (select * from marts.fct_national_count where %(unit)s::text in (unit_code, '') "
            "and difference_class in ('same', 'counts_differ')) "
            "select * from of_unit where period = (select period from of_unit where period !~ '/' "
            "order by period ~ '^[0-9]{4}-[0-9]{2}$' desc, period ~ 'Q' desc, period desc limit 1)",
            {"unit": unit or ""},
        ).fetchall()
    order = list(COUNTS)
    return sorted(rows, key=lambda r: (r["unit_code"], order.index(r["count_name"])))


def is_beyond(ours: int, theirs: int, bound: float = COUNT_BOUND, least: int = COUNT_LEAST) -> bool:
    """Whether two counts differ by more than `bound` of the greater and by at least `least` dossiers."""
    off = abs(theirs - ours)
    return off >= least and off > bound * max(ours, theirs)


def count_alerts(connection: psycopg.Connection) -> list[str]:
    """Sentences where the portal's own counts are beyond the bound: each count of a province, of agencies how many."""
    told: list[str] = []
    agencies: set[str] = set()
    for row in counts(connection):
        ours, theirs = int(row["count_here"]), int(row["count_there"])
        if not is_beyond(ours, theirs):
            continue
        if "." in row["unit_code"]:
            agencies.add(row["unit_code"])
            continue
        why = (
            "các hồ sơ sai lệch đã nêu tên giải thích được"
            if row["is_explained_by_dossiers"]
            else "chưa có hồ sơ nào giải thích"
        )
        told.append(
            f"{COUNTS[row['count_name']]}, {row['unit_name']}, kỳ {row['period']}: Cổng {said(theirs)}, "
            f"kho {said(ours)} (lệch {said(theirs - ours)}, quá {100 * COUNT_BOUND:g} %); {why}"
        )
    if agencies:
        told.append(f"{said(len(agencies))} cơ quan lệch số liệu quá {100 * COUNT_BOUND:g} %")
    return [f"{SOURCES['statistics']}: {each}" for each in told]


# --- the file ----------------------------------------------------------------------------------------------------


def read_export(path: Path) -> Iterator[Sequence[object] | None]:
    """Rows of the operator's file for `there` (without their number); None for a row that cannot be read.

    ExportError where the file or its columns are not what an export is.
    """
    try:
        handle = path.open(encoding="utf-8-sig", newline="")
    except OSError as e:
        raise ExportError(f"looked for the portal's export at {path}: {e.strerror}") from None
    with handle:
        head = handle.readline()
        separator = ";" if head.count(";") > head.count(",") else ","
        columns = [
            COLUMNS.get(c.strip(), "") for c in next(csv.reader(io.StringIO(head), delimiter=separator), [])
        ]
        if lacking := sorted(c for c, f in COLUMNS.items() if f not in columns):
            raise ExportError(
                f"{path} lacks the columns {', '.join(lacking)} in its first line; compare with COLUMNS in "
                "national/reconcile.py, and add its own words there"
            )
        places = {f: columns.index(f) for f in COLUMNS.values()}
        moments: dict[str, str | None] = {}
        for cells in csv.reader(handle, delimiter=separator):
            try:
                yield _row({f: cells[at].strip() for f, at in places.items()}, moments)
            except (IndexError, ValueError, KeyError):
                yield None


def _row(cells: Mapping[str, str], moments: dict[str, str | None]) -> Sequence[object]:
    code = cells["MaHoSo"]
    if not code:
        raise ValueError("no code")
    if not cells["TrangThaiHoSo"]:
        raise ValueError("no status")
    return (code, *(value_of(f, cells[f], moments) for f in _READ))


def value_of(name: str, text: str, moments: dict[str, str | None]) -> object:
    """A field as the operator writes it, as our column has it; ValueError or KeyError where it cannot be read."""
    if not text:
        return None
    if name in _TIMES:
        return _moment(text, moments)
    if name == "TrangThaiHoSo":
        return int(text) if text.isdigit() else STATUSES[text]
    if name == "TaiKhoanDuocXacThucVoiVNeID":
        return {"1": True, "0": False}[text]
    if name == "MaTTHC":
        return _national(text)
    if name == "DonViXuLy":
        return text
    return int(text) or (None if name == "KenhThucHien" else 0)


def _moment(text: str, known: dict[str, str | None]) -> str | None:
    """`02/07/2025 08:12:33` as PostgreSQL reads it; ValueError for anything else."""
    if not text:
        return None
    if text not in known:
        if len(known) > 500_000:
            known.clear()
        known[text] = dt.datetime.strptime(text, "%d/%m/%Y %H:%M:%S").replace(tzinfo=VIETNAM).isoformat()
    return known[text]


def _national(code: str) -> str:
    """A procedure's code without a province's suffix, as the warehouse has it."""
    head, dot, tail = code.rpartition(".")
    if not dot or not (tail[:1] == "H" and tail[1:].isdigit()):
        return code
    parts = head.split(".")
    while len(parts) > 2 and parts[-1].isdigit() and len(parts[-1]) in (2, 3):
        parts.pop()
    return ".".join(parts)


def _number(connection: psycopg.Connection, query: str, given: Sequence[object] = ()) -> int:
    row = connection.execute(query, given).fetchone()  # type: ignore[arg-type]
    return int(row[0]) if row else 0
