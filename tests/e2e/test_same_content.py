"""Many small days, each built on the one before, end in the same content as one full refresh: by checksum.

The days bring what real ones do: rows of an earlier day that come late, dossiers that moved on since they were read,
windows read out of order, the merger's second system, deletions and their return, a changed catalogue, and open
dossiers that become overdue because a day passed.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from connectors.base import Interval
from connectors.contract import contract, contract_names
from landing import deletions, loader
from ops import national, tasks
from ops.pseudonyms import renew
from ops.settings import VIETNAM, Settings
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Sandbox, Server, start_sandbox, start_vault, stop
from tests.ops.test_population import SOURCES
from vault.client import VaultClient

# A dozen dbt processes: a slow proof.
pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]
OLD, NEW = "igate_tien_giang", "igate_dong_thap"
#: Columns that say which load or build wrote a row, not what it says.
_WRITTEN = {"load_number", "linked_in_load", "month_fingerprint", "period_fingerprint"}
#: Models that keep rows from build to build; what they hold must be what a full refresh would give them.
KEPT = (
    "marts.fct_dossier", "marts.fct_dossier_step", "marts.fct_dossier_paper", "marts.fct_dossier_fee",
    "marts.fct_dossier_status_history", "marts.fct_handover", "marts.fct_service_index_dossier",
    "marts.fct_form_06a", "marts.fct_open_dossier_monthly", "marts.fct_received_by_area_monthly",
    "intermediate.int_dossiers__record", "intermediate.int_dossiers__holding", "intermediate.int_form_06a__daily",
    "intermediate.int_form_06a__transfer",
    "intermediate.int_dossiers__happened",
    "intermediate.int_service_index__clause_month", "intermediate.int_service_index__counted_total",
)  # fmt: skip


def at(month: int, day: int, hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime(2025, month, day, hour, minute, tzinfo=VIETNAM)


def window(month: int, day: int, minutes: int = 10) -> Interval:
    return Interval(at(month, day, 8), at(month, day, 8, minutes))


@dataclass
class Place:
    """A small installation over two stand-ins whose clock it sets."""

    settings: Settings
    sandboxes: dict[str, Sandbox]

    def clock(self, moment: dt.datetime) -> None:
        for sandbox in self.sandboxes.values():
            sandbox.clock(moment.isoformat())

    def read(self, code: str, interval: Interval) -> dict[str, Any]:
        """One window pulled, staged and loaded; how many rows of dossiers the load wrote."""
        where = self.sandboxes[code]
        folder = tasks.pull(
            self.settings, code, interval, tasks.Address(where.base_url, CLIENT_ID, CLIENT_SECRET)
        )
        tasks.stage(self.settings, code, folder)
        return tasks.load(self.settings, code, folder)

    def build(self, *words: str) -> None:
        with psycopg.connect(self.settings.login_url("loader")) as connection:
            loader.prepare(connection, [tasks.table_spec(contract(t)) for t in contract_names()])
            renew(connection, VaultClient(self.settings.vault_socket, self.settings.vault_token))
        national.prepare(self.settings)
        tasks._dbt(self.settings, [["build", "--exclude-resource-type", "seed", "test", "unit_test", *words]])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.warehouse_url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def delete(self, keys: list[str], there: list[str]) -> None:
        """The source lists `there` again and has not listed `keys`, twice."""
        for _ in range(2):
            deletions.mark(
                self.settings.login_url("loader"),
                OLD,
                "simulated",
                at(6, 27, 8),
                there,
                keys,
                dt.timedelta(0),
            )

    def checksums(self) -> dict[str, str]:
        """{table: checksum of its rows}, but for what says only when a row was written."""
        found = {}
        for table, columns in self.rows(
            "select format('%I.%I', table_schema, table_name), array_agg(column_name::text order by column_name) "
            "from information_schema.columns join information_schema.tables using (table_schema, table_name) "
            "where table_schema in ('intermediate', 'marts', 'ioc', 'open_data') and table_type = 'BASE TABLE' "
            "group by 1 order by 1"
        ):
            row = f"row({', '.join(c for c in columns if c not in _WRITTEN)})::text"
            # A record that is gone leaves a mark for the models that have its rows yet; nothing else reads it.
            there = "where not is_removed" if "is_removed" in columns else ""
            ((checksum,),) = self.rows(
                f"select count(*) || ' ' || coalesce(md5(string_agg(md5({row}), '' order by md5({row}))), '') "
                f"from {table} {there}"
            )
            found[table] = checksum
        return found


@pytest.fixture(scope="module")
def place(server: Server) -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="kcs-"))
    vault = start_vault(server.new_database(), home / "own")
    sources = {code: {**SOURCES[OLD], "title": code, "connection": code} for code in (OLD, NEW)}
    (home / "sources.yml").write_text(yaml.safe_dump({"sources": sources}, allow_unicode=True))
    settings = Settings(
        {
            "KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": server.new_database(), "PATH": os.environ["PATH"],
            "KHOCHUNG_SOURCES": str(home / "sources.yml"),
            "VAULT_SOCKET": str(vault.client.socket), "VAULT_TOKEN_FILE": str(home / "own" / "token"),
        },
        dotenv=home / "no.env",
    )  # fmt: skip
    started = {
        code: start_sandbox("igate", "--world", world)
        for code, world in ((OLD, "tien_giang"), (NEW, "dong_thap"))
    }
    try:
        yield Place(settings, {code: sandbox for code, (sandbox, _) in started.items()})
    finally:
        for _, process in started.values():
            stop(process)
        stop(vault.process)
        shutil.rmtree(home, ignore_errors=True)


def test_many_small_days_end_like_one_full_refresh(place: Place) -> None:
    written: list[int] = []

    def day(now: dt.datetime, *windows: tuple[str, Interval]) -> None:
        place.clock(now)
        for code, interval in windows:
            written.append(place.read(code, interval)["written"])
        place.build()

    place.clock(at(6, 27, 12))
    written.append(place.read(OLD, window(6, 27))["written"])
    tasks._dbt(place.settings, [["seed"]])
    place.build()
    day(at(6, 30, 12), (OLD, window(6, 30)))
    # An earlier day comes late, and one read before has moved on.
    day(at(7, 1, 12), (OLD, window(6, 26)), (OLD, window(6, 27)), (NEW, window(7, 1)))
    # The new system knows the old one's open dossiers under codes of its own.
    day(at(7, 2, 12), (NEW, window(7, 2)), (NEW, window(6, 30)))
    # A source that loses dossiers, and finds one of them again; the catalogue learns of a procedure.
    keys = [
        k for (k,) in place.rows(f"select dossier_id from raw.dossier where source_code = '{OLD}' order by 1")
    ]
    place.delete(keys[:4], [])
    day(at(7, 3, 12), (NEW, window(7, 3)))
    ((code,),) = place.rows(
        "select procedure_code from marts.fct_dossier group by 1 order by count(*) desc limit 1"
    )
    with psycopg.connect(place.settings.login_url("loader")) as connection:
        connection.execute(
            "insert into ops.load_log (load_number, batch_id, source_code, origin, interval_start, interval_end, "
            "pulled_at, counts) select max(load_number) + 1, 'catalogue', 'national_portal', 'real', %s, %s, %s, '{}' "
            "from ops.load_log",
            (at(7, 2, 0), at(7, 3, 0), at(7, 3, 1)),
        )
        connection.execute(
            "insert into raw.procedure (source_code, procedure_id, procedure_code, procedure_name, result_names, "
            "_origin, _batch_id, _load_number, _pulled_at) select 'national_portal', 'p', %s, 'Thủ tục', 'Giấy phép', "
            "'real', 'catalogue', max(load_number), now() from ops.load_log",
            (code,),
        )
    place.delete([], keys[:1])
    # The source came back from a backup of days ago, and with it what steps it had then.
    day(at(7, 1, 18), (NEW, window(7, 1)))
    # Nothing but the passing of weeks, which makes open dossiers overdue; then all of it once more.
    day(at(7, 25, 12), (NEW, window(7, 24)))
    day(at(7, 28, 12), *((NEW, window(7, d)) for d in (1, 2, 3)), (NEW, window(6, 30)))

    assert sum(n > 0 for n in written) >= 9, "a window that was read before may bring nothing new"
    ((removed,),) = place.rows("select count(*) from raw.dossier_removal")
    assert removed, "steps were taken back"
    assert place.rows("select count(*) > 0 from marts.fct_dossier where record_count > 1") == [(True,)]
    assert place.rows("select count(*) > 0 from marts.fct_handover") == [(True,)]
    assert place.rows("select count(*) > 0 from marts.fct_dossier where is_overdue and not is_resolved") == [
        (True,)
    ]
    assert place.rows(
        f"select dossier_id from marts.fct_dossier where source_code = '{OLD}' and dossier_id in "
        f"('{keys[0]}', '{keys[1]}', '{keys[2]}', '{keys[3]}')"
    ) in ([(keys[0],)], []), (
        "what its source deleted is gone; the one that came back may be the new system's by now"
    )
    by_days = place.checksums()
    assert set(KEPT) <= set(by_days)
    assert all(not by_days[t].startswith("0 ") for t in KEPT)

    place.build("--full-refresh")
    at_once = place.checksums()
    assert {t for t in by_days if by_days[t] != at_once.get(t)} == set()
    assert by_days.keys() == at_once.keys()

    # One row that an incremental build had left behind would be seen.
    with psycopg.connect(place.settings.warehouse_url) as connection:
        connection.execute(
            "update marts.fct_dossier set is_overdue = not is_overdue where dossier_key = "
            "(select min(dossier_key) from marts.fct_dossier where is_overdue is not null)"
        )
    assert place.checksums()["marts.fct_dossier"] != by_days["marts.fct_dossier"]
