"""What a build costs: all of it anew, and a day more on a year's history and on ten years'; QĐ 766 for all units.

Raw rows are made by PostgreSQL itself, in the shape in which loads leave them: 505 dossiers a day of 160 agencies and
900 procedures, with four steps, three papers and, for two in five, a fee. Then the product's own dbt builds them, tests
included; its start-up and its reading of the project are left out.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
from collections.abc import Iterator

import psycopg

from benchmarks.world import Line, World
from connectors.contract import contract, contract_names
from landing import loader
from ops import national, tasks
from ops.pseudonyms import renew
from ops.settings import VIETNAM, Settings
from vault.client import VaultClient

#: Dossiers of a year, as old Đồng Tháp received in 2024; of some years; and of ten.
SIZES = (184_325, 614_000, 1_843_250)
PER_DAY, CHANGED, AGENCIES, PROCEDURES = 505, 1_000, 160, 900
#: Still open at the end: what came in fifteen days. A province with ten years behind it has no more of them.
OPEN = 15 * PER_DAY
LAST_DAY = dt.date(2025, 12, 29)
#: Seconds allowed to a full rebuild of the largest, and to the index of the smallest; how much longer a day may take.
REBUILD, INDEX, DAY = 600.0, 30.0, 1.5
#: A rebuild is linear while a dossier of the largest costs no more than so much of one of the smallest.
LINEAR = 1.2

_LINEAGE = "'simulated' as _origin, 'bench' as _batch_id, {load}::bigint as _load_number, now() as _pulled_at"
_CHANCE = "((hashint4({n} + {shift})::bigint + 2147483648) / 4294967296.0)"
#: One dossier of number n, received on `day`; a tenth is the first agency's, the others share the rest less evenly.
_DOSSIERS = f"""
select
    n, day, chance, (power(chance, 3) * {PROCEDURES})::int as procedure, n <= {{total}} - {OPEN} as is_over,
    'H20.' || case
        when other < 0.1 then 1 else 2 + floor(power((other - 0.1) / 0.9, 3) * {AGENCIES - 1})::int
    end as agency
from (
    select
        n, date '{LAST_DAY}' + ceil((n - {{total}}) / {PER_DAY}.0)::int as day,
        {_CHANCE.format(n="n", shift=0)} as chance, {_CHANCE.format(n="n", shift=7_000_000)} as other
    from generate_series({{first}}, {{last}}) as n
) as made
"""
#: {table: (its columns, what they hold, of which rows)}
_ROWS = {
    "dossier": (
        """source_code, dossier_id, dossier_code, national_code, procedure_code, procedure_name, sector_code,
        sector_name, service_level, channel, applicant_type, applicant_commune_code, receiving_agency_code,
        responsible_agency_code, submitted_at, received_at, due_at, completed_at, returned_at, status_code,
        supplement_count, is_vneid_account,
        online_payment_code""",
        """'igate_dong_thap', n::text, agency || '-' || n, case when chance < 0.95 then agency || '-' || n end,
        '1.' || lpad(procedure::text, 6, '0'), 'Thủ tục ' || procedure, 'LV' || procedure % 70,
        'Lĩnh vực ' || procedure % 70, case when chance < 0.6 then 'full' else 'partial' end,
        1 + (chance * 10)::int % 3, 1, (28000 + (chance * 700)::int)::text,
        case when chance < 0.3 then 'H20.1' else agency end, agency, day + interval '8 hours', day + interval '9 hours',
        day + (chance * 30)::int + interval '17 hours',
        case when is_over then day + (chance * 31)::int + interval '15 hours' end,
        case when is_over then day + (chance * 31)::int + interval '16 hours' end,
        case when is_over then '5' else '2' end, (chance * 100)::int % 5 / 2, chance > 0.3, (chance * 100)::int % 3""",
        "dossier",
    ),
    "dossier_step": (
        "source_code, dossier_id, step_no, step_name, agency_code, started_at, due_at, finished_at, status_code",
        """'igate_dong_thap', n::text, k, 'Thẩm định, giải quyết hồ sơ', agency,
        day + interval '9 hours' + k * interval '150 minutes', day + (chance * 30)::int + interval '17 hours',
        case when is_over or k < 4 then day + interval '11 hours' + k * interval '150 minutes' end, '2'""",
        "dossier cross join generate_series(1, 4) as k",
    ),
    "dossier_paper": (
        """source_code, dossier_id, paper_no, paper_code, paper_name, is_result, is_digitised, is_from_personal_storage,
        file_name""",
        """'igate_dong_thap', n::text, k, 'KQ.G15.' || procedure, 'Giấy tờ ' || k, k = 3, chance > 0.4, chance > 0.9,
        case when chance > 0.2 then 'file-' || n end""",
        "dossier cross join generate_series(1, 3) as k where k < 3 or is_over",
    ),
    "dossier_fee": (
        "source_code, dossier_id, fee_no, fee_kind, fee_name, amount_vnd, payment_method, paid_at",
        """'igate_dong_thap', n::text, 1, 1, 'Lệ phí', case when n % 7 = 0 then 0 else 50000 end,
        case when chance > 0.5 then 'online' else 'cash' end,
        case when n % 50 > 0 then day + interval '10 hours' end""",
        "dossier where n % 5 < 2",
    ),
}  # fmt: skip


def run(world: World, long: bool) -> Iterator[Line]:
    """Lines of a year's history; with `long`, of the larger ones and what they say of the smaller."""
    full: dict[int, float] = {}
    day: dict[int, float] = {}
    for total in SIZES if long else SIZES[:1]:
        settings = _warehouse(world, total)
        full[total], models = _build(settings, "--full-refresh")
        index = sum(s for name, s in models.items() if "service_index" in name)
        if total == SIZES[0]:
            yield Line(
                "QĐ 766, all units, 12 months, s",
                index,
                f"< {INDEX:.0f}",
                index < INDEX,
                _slowest(models, "service_index"),
            )
        behind = f"{1e6 * full[total] / total:.0f} µs a dossier; {_slowest(models)}"
        last = total == SIZES[-1]
        yield Line(
            f"full rebuild of {total:,} dossiers, s", full[total], f"< {REBUILD:.0f}" if last else "-",
            full[total] < REBUILD if last else None, behind,
        )  # fmt: skip
        _a_night(settings)
        _pass(settings)
        _another_day(settings, total)
        built, models = _build(settings)
        gate = _gate(settings)
        day[total] = built + gate
        yield Line(
            f"a day more on {total:,} dossiers, s",
            day[total],
            "-",
            None,
            f"gate {gate:.1f} s; {_slowest(models)}",
        )
    if long:
        small, large = SIZES[0], SIZES[-1]
        ratio = day[large] / day[small]
        yield Line(
            "a day on ten years / on one",
            ratio,
            f"<= {DAY}",
            ratio <= DAY,
            f"{day[large]:.1f} s, {day[small]:.1f} s",
        )
        ratio = full[large] / large / (full[small] / small)
        yield Line(
            "rebuild of ten years / of one, a dossier",
            ratio,
            f"<= {LINEAR}",
            ratio <= LINEAR,
            "three sizes above",
        )


def _warehouse(world: World, total: int) -> Settings:
    """A warehouse with the raw rows of `total` dossiers and its seeds; nothing is built."""
    settings = Settings(
        {"KHOCHUNG_HOME": str(world.home / f"build_{total}"), "WAREHOUSE_URL": world.database()},
        dotenv=world.home / "no.env",
    )
    with psycopg.connect(settings.warehouse_url) as connection:
        loader.prepare(connection, [tasks.table_spec(contract(t)) for t in contract_names()])
        lineage = _LINEAGE.format(load=1)
        written = "_origin, _batch_id, _load_number, _pulled_at"
        connection.execute(
            f"""insert into raw.agency
            (source_code, agency_code, agency_name, parent_agency_code, agency_level, {written})
            select 'igate_dong_thap', 'H20' || case when k > 0 then '.' || k else '' end, 'Cơ quan ' || k,
            case when k > 0 then 'H20' end, case when k > 0 then 'DEPARTMENT' else 'PROVINCE' end, {lineage}
            from generate_series(0, {AGENCIES}) as k"""  # type: ignore[arg-type]
        )
        connection.execute(
            f"""insert into raw.procedure
            (source_code, procedure_id, procedure_code, procedure_name, result_names, {written})
            select 'national_portal', k::text, '1.' || lpad(k::text, 6, '0'), 'Thủ tục ' || k, 'Giấy phép', {lineage}
            from generate_series(0, {PROCEDURES}) as k"""  # type: ignore[arg-type]
        )
        first = LAST_DAY - dt.timedelta(days=total // PER_DAY)
        _load(connection, 1, first, LAST_DAY, total, 1, total)
        connection.execute(
            "insert into ops.load_log select 0, 'catalogue', 'national_portal', origin, interval_start, "
            "interval_end, pulled_at, loaded_at, counts from ops.load_log"
        )
        connection.commit()
        renew(
            connection, VaultClient(settings.home / "no.sock", "")
        )  # nobody has a number, so no vault is asked
    with psycopg.connect(settings.warehouse_url, autocommit=True) as connection:
        for table in _ROWS:
            connection.execute(f"vacuum analyze raw.{table}")  # type: ignore[call-overload]
    national.prepare(settings)
    tasks._dbt(settings, [["seed"]])
    return settings


def _load(
    connection: psycopg.Connection,
    number: int,
    begin: dt.date,
    end: dt.date,
    total: int,
    first: int,
    last: int,
) -> None:
    """Rows of dossiers `first` to `last`, as load `number` of the days from `begin` to `end` leaves them."""
    connection.execute(
        "insert into ops.load_log (load_number, batch_id, source_code, origin, interval_start, interval_end, "
        "pulled_at, counts) values (%s, %s, 'igate_dong_thap', 'simulated', %s, %s, now(), '{}')",
        (
            number,
            f"bench-{number}",
            *(dt.datetime.combine(d, dt.time(), VIETNAM) for d in (begin, end + dt.timedelta(1))),
        ),
    )
    dossiers = _DOSSIERS.format(total=total, first=first, last=last)
    for table, (columns, values, source) in _ROWS.items():
        connection.execute(
            f"insert into raw.{table} ({columns}, _origin, _batch_id, _load_number, _pulled_at) "  # type: ignore[arg-type]
            f"with dossier as ({dossiers}) select {values}, {_LINEAGE.format(load=number)} from {source}"
        )


def _a_night(settings: Settings) -> None:
    """What PostgreSQL does by itself after hundreds of new tables and before the next day: clean up and write out."""
    with psycopg.connect(settings.warehouse_url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")


def _another_day(settings: Settings, total: int) -> None:
    """A day's new dossiers, and as many open ones that ended as a day moves on."""
    day = LAST_DAY + dt.timedelta(1)
    with psycopg.connect(settings.warehouse_url) as connection:
        _load(connection, 2, day, day, total, total + 1, total + PER_DAY)
        connection.execute(
            "update raw.dossier set status_code = '5', completed_at = %(now)s, returned_at = %(now)s, _load_number = 2 "
            "where (source_code, dossier_id) in (select source_code, dossier_id from raw.dossier "
            "where completed_at is null and _load_number = 1 order by received_at desc limit %(changed)s)",
            {"now": dt.datetime.combine(day, dt.time(10), VIETNAM), "changed": CHANGED},
        )


def _build(settings: Settings, *words: str) -> tuple[float, dict[str, float]]:
    """One build with its tests: seconds without dbt's start, and {model: its own seconds}."""
    tasks._dbt(settings, [["build", "--exclude-resource-type", "seed", "unit_test", *words]])
    results = json.loads((settings.dbt_target / "run_results.json").read_text(encoding="utf-8"))
    return results["elapsed_time"], {
        r["unique_id"].split(".")[2]: r["execution_time"]
        for r in results["results"]
        if r["unique_id"].startswith("model.")
    }


def _gate(settings: Settings) -> float:
    """Seconds of the warehouse gate; that an expectation fails on made-up rows is no matter here."""
    from expectations.gates import GateFailed, check_warehouse  # takes seconds, which count as start-up

    began = time.perf_counter()
    with contextlib.suppress(GateFailed):
        check_warehouse(settings.login_url("publisher"), settings.data_docs)
    return time.perf_counter() - began


def _pass(settings: Settings) -> None:
    """The gate of the day before passed."""
    from expectations.gates import remember_passed

    remember_passed(settings.login_url("publisher"), settings.data_docs)


def _slowest(models: dict[str, float], part: str = "") -> str:
    most = sorted((n for n in models if part in n), key=lambda n: -models[n])[:4]
    return ", ".join(f"{name} {models[name]:.1f}" for name in most)
