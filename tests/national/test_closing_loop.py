"""The loop closed: what the portal holds is our push; 500 of its dossiers are broken, each is named, and healed: by our
push where we are the writer, by the portal's operator where only he can. After each cure the published score is as
predicted, to the dossier and to the cent. The real sandbox over HTTP, vault, connectors, PostgreSQL and dbt.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import requests
import yaml
from openpyxl import load_workbook

from connectors.base import Endpoint, Interval
from connectors.contract import contract, contract_names
from connectors.national_portal import Evaluation, NationalPortal
from landing import loader
from national import reconcile, reports, what_if
from ops import national, tasks
from ops.pseudonyms import renew
from ops.settings import VIETNAM, Settings
from sandbox.exchange import H20
from sandbox.national_copy import national_procedure
from sandbox.portal import Catalogue
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Sandbox, Server, start_sandbox, start_vault, stop
from tests.vault.test_purposes import RECORD

# Minutes: a day's dossiers with their progress are sent, and some models built eight times.
pytestmark = [pytest.mark.prove, pytest.mark.timeout(3600)]
DAY = dt.date(2025, 7, 1)
MONTH = "2025-07"
SOURCE = {
    "title": "igate", "connector": "connectors.igate:IGate", "kind": "dossiers", "connection": "igate_dong_thap",
    "origin": "simulated", "active_from": DAY, "schedule": "0 0 * * *", "options": {"margin_days": 0},
}  # fmt: skip
#: Some minutes of a later day: until then data reach, so that what has no end by its day is late.
LATER = (dt.datetime(2025, 7, 18, 8, 0, tzinfo=VIETNAM), dt.datetime(2025, 7, 18, 8, 10, tzinfo=VIETNAM))
#: How many are broken in each way: 500 in all.
DELETED, LATE, RESTATED, RENAMED, DOUBLED, INVENTED = 150, 120, 80, 50, 60, 40
#: Indicators that count dossiers: of each it is predicted what a cure changes.
COUNTED_BY_DOSSIER = {
    "DOSSIER_SYNC", "PROGRESS_ON_TIME", "ONLINE_DOSSIER", "PAYMENT_DOSSIER", "ORIGINAL_RESULT_AVAILABLE",
    "SO_HOA_GIAY_TO_GIAI_QUYET", "REUSED_DIGITIZED_DATA", "SYNCED_WITH_DVCQG_PERSONAL_STORAGE",
    "CITIZEN_DATA_CONNECTED_DOSSIER",
}  # fmt: skip
#: Those that count procedures: with one online dossier, with one that has a fee.
COUNTED_BY_PROCEDURE = {"ONLINE_SERVICE_USED", "PAYMENT_SERVICE_USED"}
#: What the operator's file does not tell of a dossier nobody has here; without any of it the prediction is whole.
NOT_IN_THE_FILE: dict[str, Any] = {
    "TaiLieuNop": [], "DanhSachLePhi": [], "DanhSachGiayToKetQua": [], "HoSoCoThanhPhanSoHoa": "0",
}  # fmt: skip


class Place:
    """One installation that writes for the whole province, and the portal."""

    def __init__(self, settings: Settings, exchange: Sandbox) -> None:
        self.settings = settings
        self.exchange = exchange

    def rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.warehouse_url) as connection:
            return connection.execute(query, given).fetchall()  # type: ignore[arg-type]

    def held(self, **body: Any) -> None:
        requests.post(f"{self.exchange.base_url}/__sandbox__/held", json=body, timeout=60).raise_for_status()

    def items(self, code: str) -> list[dict[str, Any]]:
        """What the portal holds under a code."""
        found = requests.get(f"{self.exchange.base_url}/__sandbox__/held", params={"code": code}, timeout=60)
        return list(found.json()["items"])

    def item(self, code: str) -> dict[str, Any]:
        (item,) = self.items(code)
        return dict(item)

    def compare(self) -> reconcile.Compared:
        """The operator's file of the day, compared."""
        path = self.settings.home / "e.csv"
        asked = {"from": f"{DAY}", "to": f"{DAY}"}
        path.write_bytes(
            requests.get(f"{self.exchange.base_url}/__sandbox__/export", params=asked, timeout=60).content
        )
        with national.connect(self.settings) as connection:
            return reconcile.compare_export(
                connection, path, national.writers(self.settings), DAY, DAY, taken=dt.date(2025, 7, 20)
            )

    def steps(self, code: str) -> list[dict[str, Any]]:
        """Progress of a dossier there."""
        found = requests.get(f"{self.exchange.base_url}/__sandbox__/held", params={"code": code}, timeout=60)
        return sorted(found.json()["progress"], key=str)

    def rules(self) -> Callable[..., float]:
        """Points of an indicator from its totals, by the list of indicators (rules 7.4(a))."""
        listed = {
            code: (Decimal(most), Decimal(full))
            for code, most, full in self.rows(
                "select indicator_code, max_score::text, full_at::text from seeds.service_index_indicator"
            )
        }

        def points(indicator: str, above: float, below: float, decimals: int = 6) -> float:
            most, full = listed[indicator]
            got = min(most, most * Decimal(str(above)) / (Decimal(str(below)) * full))
            return float(got.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))

        return points

    def copy_totals(self, indicator: str, a: int = 0, b: int = 0) -> tuple[float, float]:
        """Numerator and denominator of what the portal holds, with a cure."""
        ((above, below),) = self.rows(
            "select portal_copy_numerator, portal_copy_denominator from marts.fct_service_index_explained "
            "where unit_code = 'H20' and period = %s and indicator_code = %s",
            MONTH, indicator,
        )  # fmt: skip
        above, below = float(above) + a, float(below) + b
        return above, max(above, below) if indicator == "DOSSIER_SYNC" else below

    def land(self, table: str, batch: pa.RecordBatch) -> None:
        """Rows of the national portal, as they are loaded."""
        with psycopg.connect(self.settings.warehouse_url) as connection:
            for row in batch.to_pylist():
                row |= {
                    "source_code": "national_portal", "_origin": "simulated", "_batch_id": "b", "_load_number": 1,
                    "_pulled_at": dt.datetime.now(VIETNAM),
                }  # fmt: skip
                marks = ", ".join(f"%({n})s" for n in row)
                words = f"insert into raw.{table} ({', '.join(row)}) values ({marks})"
                connection.execute(words, row)  # type: ignore[arg-type]

    def list_procedures(self, portal: str) -> None:
        """The catalogue as far as the day's dossiers need it: what gives a result, what costs a fee."""
        catalogue = Catalogue()
        codes = {
            national_procedure(c) for (c,) in self.rows("select distinct procedure_code from raw.dossier")
        }
        ids = [i for i, r in zip(catalogue.ids, catalogue.rows, strict=True) if r["code"] in codes]
        source = NationalPortal("national_portal", Endpoint(f"{portal}/api/v1", options={"min_delay": 0}))
        chunk = source._procedure_chunk(ids, [source.post(source.detail_path, {"id": i}) for i in ids])
        assert len(chunk.tables["procedure"]) == len(ids) > 50
        for table, batch in chunk.tables.items():
            self.land(table, batch)

    def publish(self) -> None:
        """The portal's scores of the month, as the connector reads them; scored."""
        portal = NationalPortal("national_portal", Endpoint(f"{self.exchange.base_url}/api/v1"))
        with psycopg.connect(self.settings.warehouse_url) as connection:
            connection.execute("delete from raw.evaluation")
        for endpoint in (
            "dvc-progress-tree", "provide-online-tree", "transparency", "formality-online-payment-tree",
            "dossier-digitized",
        ):  # fmt: skip
            self.land("evaluation", portal._evaluation(Evaluation(endpoint, MONTH, H20)).tables["evaluation"])

    def explain(self) -> None:
        national.explain(self.settings)

    def score_it(self) -> None:
        tasks._dbt(
            self.settings, [["run", "--select", "fct_service_index_score", "fct_service_index_explained"]]
        )

    def published(self) -> dict[str, Any]:
        """{indicator: numerator, denominator, points} of the province as published."""
        return {
            r[0]: (float(r[1]), float(r[2]), None if r[3] is None else float(r[3]))
            for r in self.rows(
                "select indicator_code, published_numerator, published_denominator, "
                "coalesce(published_score, score_of_published_totals) from marts.fct_service_index_explained "
                "where unit_code = 'H20' and period = %s and published_denominator > 0",
                MONTH,
            )
        }

    def sync(self) -> dict[str, Any]:
        return national.sync(
            self.settings, lambda: tasks.Address(self.exchange.base_url, CLIENT_ID, CLIENT_SECRET)
        )


@pytest.fixture(scope="module")
def place(server: Server) -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="kcl-"))
    vault = start_vault(server.new_database(), home / "own")
    igate, one = start_sandbox("igate", "--world", "dong_thap")
    exchange, other = start_sandbox("exchange", SANDBOX_FAULTS="[]")
    portal, third = start_sandbox("portal")
    (home / "sources.yml").write_text(yaml.safe_dump({"sources": {"igate_dong_thap": SOURCE}}))
    ours = {"H20": {"writer": "warehouse", "since": DAY, "decision": "Công văn thử 1"}}
    (home / "writers.yml").write_text(
        yaml.safe_dump({"default": {"writer": "dossier_system"}, "units": ours})
    )
    (home / "own" / "agreements").mkdir(parents=True, exist_ok=True)
    record = RECORD | {"purpose": national.PURPOSE, "daily_quota": 100_000}
    (home / "own" / "agreements" / "national_sync.yml").write_text(yaml.safe_dump(record, allow_unicode=True))
    settings = Settings(
        {
            "KHOCHUNG_NATIONAL_WRITERS": str(home / "writers.yml"),
            "KHOCHUNG_AGREEMENTS": str(home / "own" / "agreements"),
            "KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": server.new_database(), "PATH": os.environ["PATH"],
            "KHOCHUNG_SOURCES": str(home / "sources.yml"), "VAULT_SOCKET": str(vault.client.socket),
            "VAULT_TOKEN_FILE": str(home / "own" / "token"),
        },
        dotenv=home / "no.env",
    )  # fmt: skip
    made = Place(settings, exchange)
    try:
        igate.clock("2025-07-20T17:00:00")
        day = Interval(
            dt.datetime.combine(DAY, dt.time(), VIETNAM), dt.datetime.combine(DAY, dt.time(23, 59), VIETNAM)
        )
        address = tasks.Address(igate.base_url, CLIENT_ID, CLIENT_SECRET)
        for interval in (day, Interval(*LATER)):
            folder = tasks.pull(settings, "igate_dong_thap", interval, address)
            tasks.stage(settings, "igate_dong_thap", folder)
            tasks.load(settings, "igate_dong_thap", folder)
        with psycopg.connect(settings.login_url("loader")) as connection:
            loader.prepare(connection, [tasks.table_spec(contract(t)) for t in contract_names()])
            renew(connection, vault.client)
        made.list_procedures(portal.base_url)
        national.prepare(settings)
        tasks._dbt(settings, [["seed"], [
            "build", "--exclude-resource-type", "seed", "test", "unit_test", "--select", "+tag:national",
            "+service_index_trace", "+service_index_if_cured",
        ]])  # fmt: skip
        yield made
    finally:
        for process in (one, other, third, vault.process):
            stop(process)
        shutil.rmtree(home, ignore_errors=True)


def test_what_is_broken_is_named_and_its_cure_raises_the_score_as_predicted(place: Place) -> None:
    done = place.sync()
    assert done["troubles"] == []
    # Of some the clerk typed no number: they are held, the portal has not got them, and all of the rest is there.
    unsent = {
        c for (c,) in place.rows("select national_code from national.dossier where state <> 'accepted'")
    }
    assert set(done["left"]["dossier"]) == {"accepted", "held"}
    assert set(done["left"]["progress"]) <= {"accepted", "held", "waiting"}
    found = place.compare()
    named = place.rows("select class, code_here from national.difference where number = %s", found.number)
    assert set(named) == {("missing_there", c) for c in unsent}
    reported = dict(place.rows(
        "select responsible_agency_code, count(*) from marts.fct_service_index_dossier "
        "where counted_month = '2025-07-01' and dossier_sync not like 'excluded%%' group by 1"
    ))  # fmt: skip
    place.held(reported={unit: int(n) for unit, n in reported.items()})
    place.publish()
    place.explain()
    whole = place.published()

    # Of those whose end the note and the copy tell alike; first the only ones of their procedures, which go with them.
    codes = [
        c for (c,) in place.rows(
            "select coalesce(nullif(d.national_code, ''), d.dossier_code) from marts.fct_dossier d "
            "join marts.fct_service_index_dossier i using (dossier_key) "
            "where d.received_date = %s and i.progress_on_time = 'met:processed' and d.due_at < '2025-07-17' "
            "and d.supplement_count = 0 and d.status_code in (9, 10) order by (select count(*) "
            "from marts.fct_service_index_dossier o where o.procedure_code = i.procedure_code), d.dossier_key", DAY,
        ) if c not in unsent
    ]  # fmt: skip
    wanted = DELETED + LATE + RESTATED + RENAMED + DOUBLED + INVENTED
    assert wanted == 500
    assert len(codes) >= wanted
    groups: list[list[str]] = []
    for size in (DELETED, LATE, RESTATED, RENAMED, DOUBLED, INVENTED):
        groups.append(codes[:size])
        codes = codes[size:]
    deleted, late, restated, renamed, doubled, copied = groups
    invented = [f"la-{n}" for n in range(INVENTED)]
    before = {code: place.item(code) for code in [*deleted, *late, *restated, *renamed, *doubled]}
    steps = {code: place.steps(code) for code in deleted}
    place.held(
        delete=deleted,
        change={c: {"NgayKetThucXuLy": "20251231170000"} for c in late}
        | {c: {"TrangThaiHoSo": "4"} for c in restated},
        rename={c: f"{c}-X" for c in renamed},
        double={c: c for c in doubled},
        items=[
            place.item(c) | NOT_IN_THE_FILE | {"MaHoSo": other, "NgayTiepNhan": f"20250701{n:06d}"}
            for n, (other, c) in enumerate(zip(invented, copied, strict=True))
        ],
    )

    found = place.compare()
    told = {
        (r[0], r[1], r[2], tuple(r[3])) for r in place.rows(
            "select class, code_here, code_there, fields from national.difference where number = %s", found.number
        )
    }  # fmt: skip
    assert told == (
        {("missing_there", c, None, ()) for c in [*deleted, *unsent]}
        | {("content_differs", c, c, ("NgayKetThucXuLy",)) for c in late}
        | {("content_differs", c, c, ("TrangThaiHoSo",)) for c in restated}
        | {("code_differs", c, f"{c}-X", ()) for c in renamed}
        | {("duplicated_there", c, c, ()) for c in doubled}
        | {("missing_here", None, c, ()) for c in invented}
    )
    # Each class says who cures it.
    cures = dict(place.rows(
        "select class, string_agg(distinct cure, ',') from national.difference where number = %s group by class",
        found.number,
    ))  # fmt: skip
    assert cures == {
        "missing_there": "self", "content_differs": "self", "code_differs": "operator", "duplicated_there": "operator",
        "missing_here": "agency",
    }  # fmt: skip

    place.publish()
    place.explain()
    score = place.published()
    # What curing each of the 500 would change, and what curing a whole cause would, in points.
    behind = place.rows(
        "select indicator_code, cause, procedure_code, numerator_cure, denominator_cure, met_there_in_province, "
        "coalesce(dossier_key, '') in (select dossier_key from national.dossier where state <> 'accepted') "
        "from marts.fct_service_index_cause_dossier where period = %s", MONTH,
    )  # fmt: skip
    # How many dossiers make a procedure count there: it does with one, and no more with two.
    met = {(i, procedure): n for i, _, procedure, _, _, n, _ in behind if procedure}

    def moved(indicator: str, cause: str, of_all: bool = False, done: bool = False) -> tuple[int, int]:
        """What curing a cause changes in both totals, without what cannot be sent; `done`: it is cured now."""
        above = below = 0
        of_procedure: Counter[str] = Counter()
        for i, c, procedure, a, b, _, unsendable in behind:
            if (i, c) == (indicator, cause) and (of_all or not unsendable):
                of_procedure[procedure] += a
                below += b
        for procedure, a in of_procedure.items():
            if procedure is None:
                above += a
                continue
            now = met[indicator, procedure]
            assert now + a >= 0
            above += (now + a > 0) - (now > 0)
            if done:
                met[indicator, procedure] += a
        return above, below

    gains = {
        (i, cause): float(p) for i, cause, p in place.rows(
            "select indicator_code, cause, points_if_cured from marts.fct_service_index_cause "
            "where unit_code = 'H20' and period = %s and dossier_count > 0", MONTH,
        )
    }  # fmt: skip
    assert {row[1] for row in behind} >= {
        "missing_there", "dates_differ", "status_differs", "duplicated_there", "missing_here",
    }  # fmt: skip
    indicators = {row[0] for row in behind} & set(score)
    assert indicators == COUNTED_BY_DOSSIER | COUNTED_BY_PROCEDURE
    points = place.rules()
    assert {i for i, _ in gains} == indicators
    for (indicator, cause), gain in gains.items():
        now, then = (
            place.copy_totals(indicator),
            place.copy_totals(indicator, *moved(indicator, cause, of_all=True)),
        )
        assert points(indicator, *then) - points(indicator, *now) == pytest.approx(gain, abs=2e-6), cause
    # Assumed to be there, they change what their cure is said to.
    with (
        national.connect(place.settings) as own,
        psycopg.connect(place.settings.login_url("dbt")) as reader,
    ):
        assumed = what_if.what_if(own, reader, {c: what_if.Assumed({}) for c in deleted}, "portal")
    for row in assumed:
        if (row["unit_code"], row["period"]) == ("H20", MONTH):
            above, below = moved(row["indicator_code"], "missing_there")
            assert row["numerator_then"] == row["numerator"] + above
            # 1.4 divides by the greater of what was received here and there.
            if row["indicator_code"] != "DOSSIER_SYNC":
                assert row["denominator_then"] == row["denominator"] + below
    assert {"PROGRESS_ON_TIME", "DOSSIER_SYNC"} | COUNTED_BY_PROCEDURE <= {
        r["indicator_code"] for r in assumed
    }
    # Some procedures have all of their dossiers among those deleted: they count there no more.
    assert all(moved(i, "missing_there")[0] > 0 for i in COUNTED_BY_PROCEDURE)
    assert place.rows("select count(*) from national.assumed") == [(0,)]
    # With all that differs taken back the portal would score what we score, each unit and indicator; of 1.4 alone it
    # has more, for it holds what our systems do not say they synchronised.
    cured = place.rows(
        "select c.unit_code, c.indicator_code, c.score_if_cured - w.warehouse_score "
        "from marts.service_index_if_cured(%s) as c join marts.fct_service_index_explained w "
        "on w.unit_code = c.unit_code and w.period = %s and w.indicator_code = c.indicator_code "
        "where c.indicator_code <> 'DOSSIER_SYNC'",
        MONTH, MONTH,
    )  # fmt: skip
    assert len(cured) > 100
    assert {row for row in cured if row[2] != 0} == set()
    assert {row[1] for row in cured} >= COUNTED_BY_PROCEDURE
    # Each agency reads which, and what it costs.
    (folder,) = sorted((place.settings.home / "national").glob("reconciliation-*"))[-1:]
    costs = [
        r[11] for path in folder.glob("*.xlsx")
        for r in load_workbook(path)["Sai lệch"].iter_rows(min_row=6, values_only=True)
        if r[3] == "Chưa có trên Cổng DVCQG"
    ]  # fmt: skip
    assert len(costs) == DELETED + len(unsent)
    assert sum(1 for c in costs if c) >= DELETED

    def cured(*causes: str) -> None:
        """The portal is asked for its score again: totals and points of every indicator are as predicted."""
        nonlocal score
        place.publish()
        place.score_it()
        after = place.published()
        for indicator in sorted(indicators):
            changes = [moved(indicator, c, done=True) for c in causes]
            a, b = (sum(change[at] for change in changes) for at in (0, 1))
            was = score[indicator]
            above = was[0] + a
            below = max(sum(reported.values()), above) if indicator == "DOSSIER_SYNC" else was[1] + b
            assert after[indicator] == (above, below, points(indicator, above, below, 2)), (indicator, causes)
        # And of every other one, as it was.
        assert {i: after[i] for i in set(after) - indicators} == {
            i: score[i] for i in set(score) - indicators
        }
        score = after

    # Ours: what is missing is inserted; what somebody else changed is told, and replaced once an operator gives it up.
    with national.connect(place.settings) as connection:
        assert reconcile.heal(connection, found.number) == {
            "missing_there": DELETED, "content_differs": LATE + RESTATED,
        }  # fmt: skip
    done = place.sync()
    assert done["left"]["dossier"]["conflict"] == done["done"]["conflict"] == LATE + RESTATED
    assert {code: place.item(code) for code in deleted} == {code: before[code] for code in deleted}
    assert {code: place.steps(code) for code in deleted} == steps, "their progress after them"
    assert place.item(late[0])["NgayKetThucXuLy"] == "20251231170000", "not overwritten"
    cured("missing_there")
    for given_up, cause in ((late, "dates_differ"), (restated, "status_differs")):
        national.command(place.settings, "retry", codes=given_up, adopt=True)
        assert place.sync()["done"]["dossier accepted"] == len(given_up)
        assert {code: place.item(code) for code in given_up} == {code: before[code] for code in given_up}
        cured(cause)
    # The operator's: on request he gives the right code back, keeps one of two, and removes what nobody has.
    place.held(rename={f"{c}-X": c for c in renamed})
    cured("code_differs")
    place.held(keep_once=doubled)
    cured("duplicated_there")
    place.held(delete=invented)
    cured("missing_here")

    assert {i: score[i] for i in indicators} == {i: whole[i] for i in indicators}
    left = place.rows(
        "select class, code_here from national.difference where number = %s", place.compare().number
    )
    assert set(left) == {("missing_there", c) for c in unsent}


def test_each_morning_an_agency_reads_which_differ_why_what_that_costs_and_what_was_healed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two mornings: the warehouse writes for one small agency, another one has to mend its own."""
    suitable = dict(place.rows(
        "select d.responsible_agency_code, array_agg(coalesce(nullif(d.national_code, ''), d.dossier_code) "
        "order by d.dossier_key desc) from marts.fct_dossier d join marts.fct_service_index_dossier i "
        "using (dossier_key) where d.received_date = %s and i.progress_on_time = 'met:processed' "
        "and d.due_at is not null and d.supplement_count = 0 and d.status_code in (9, 10) "
        "and d.dossier_key not in (select dossier_key from national.difference where dossier_key is not null) "
        "group by 1 having count(*) between 5 and 30 order by 1", DAY,
    ))  # fmt: skip
    (ours, sent), (theirs, own) = list(suitable.items())[:2]
    home = place.settings.home
    (home / "writers.yml").write_text(yaml.safe_dump({"default": {"writer": "dossier_system"}, "units": {
        ours: {"writer": "warehouse", "since": DAY, "decision": "Công văn thử 1", "adopt": True},
    }}, allow_unicode=True))  # fmt: skip
    settings = place.settings
    settings.national_exports.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(national, "LOOKUPS", 20)
    monkeypatch.setattr(national, "SPAN", 4000)
    address = lambda: tasks.Address(place.exchange.base_url, CLIENT_ID, CLIENT_SECRET)  # noqa: E731

    def morning(name: str) -> dict[str, Any]:
        """The operator's file of the night, compared."""
        asked = {"from": f"{DAY}", "to": f"{DAY + dt.timedelta(days=2)}"}
        found = requests.get(f"{place.exchange.base_url}/__sandbox__/export", params=asked, timeout=60)
        (settings.national_exports / name).write_bytes(found.content)
        return national.reconcile(settings, address)

    def sheet(agency: str, folder: str, name: str) -> list[tuple[Any, ...]]:
        rows = load_workbook(Path(folder) / f"{agency}.xlsx")[name].iter_rows(min_row=6, values_only=True)
        return [r for r in rows if r[0]]

    place.held(
        delete=[*sent[:3], *own[:2]],
        change={own[2]: {"NgayKetThucXuLy": "20251231170000"}},
        # A later day is in the file, so what lacks of this one is not just late.
        items=[place.item(own[3]) | {"MaHoSo": "la-sau", "NgayTiepNhan": "20250703080000"}],
    )
    first = morning("2025-07-20.csv")
    assert first["healed"]["missing_there"] == 3, "of ours alone"
    assert {
        r[1] for r in sheet(ours, first["folder"], "Sai lệch") if r[3] == "Chưa có trên Cổng DVCQG"
    } >= set(sent[:3])
    assert national.sync(settings, address)["done"]["dossier accepted"] >= 3

    second = morning("2025-07-21.csv")
    folder = national.explain(settings)["folder"]
    assert folder == second["folder"]
    # Which, and why.
    told = {r[1] or r[2]: r for r in sheet(theirs, folder, "Sai lệch")}
    assert {code: (r[3], r[4], r[5]) for code, r in told.items() if code in {*own, "la-sau"}} == {
        own[0]: ("Chưa có trên Cổng DVCQG", None, "Cơ quan xử lý"),
        own[1]: ("Chưa có trên Cổng DVCQG", None, "Cơ quan xử lý"),
        own[2]: ("Nội dung khác nhau", "NgayKetThucXuLy", "Cơ quan xử lý"),
        "la-sau": ("Có trên Cổng, không có trong kho", None, "Cơ quan xử lý"),
    }
    # What it costs: of 2.1, as of all, the share that there would be less the share that is, times its points.
    for code in own[:3]:
        rows = place.rows(
            "select s.max_score, s.full_at, s.numerator, s.denominator, sum(case when c.procedure_code is null "
            "then c.numerator_cure else sign(c.met_there + c.numerator_cure) - sign(c.met_there) end)::integer, "
            "sum(c.denominator_cure), s.indicator_code from marts.fct_service_index_cause_dossier c "
            "join marts.fct_dossier d using (dossier_key) join marts.fct_service_index_score s "
            "on s.counted_by = 'portal_copy' and s.department_code = c.department_code and s.period = c.period "
            "and s.indicator_code = c.indicator_code where c.period_kind = 'month' "
            "and coalesce(nullif(d.national_code, ''), d.dossier_code) = %s group by 1, 2, 3, 4, 7", code,
        )  # fmt: skip
        gains = {
            indicator: float(most * (min(1, (met + a) / (below * full)) - min(1, met / (n * full))))
            for most, full, met, n, a, b, indicator in rows
            # 1.4 divides by the greater of what was received here and there.
            for below in [max(met + a, n + b) if indicator == "DOSSIER_SYNC" else n + b]
        }
        assert gains["PROGRESS_ON_TIME"] != 0
        assert told[code][11] == pytest.approx(sum(gains.values()), abs=2e-5)
    assert next(r[1] for r in sheet(theirs, folder, "Sai lệch")) in own[:3], "what costs most comes first"
    assert any(r[5] == "Chưa có trên Cổng DVCQG" for r in load_workbook(Path(folder) / f"{theirs}.xlsx")[
        "Điểm 766"].iter_rows(min_row=5, values_only=True))  # fmt: skip
    # And what may be healed has been: they stand there, and the agency reads so.
    left = place.rows("select code_here from national.standing where class = 'missing_there'")
    assert not {code for (code,) in left} & set(sent[:3])
    assert {(code, 1) for code in sent[:3]} == {(c, len(place.items(c))) for c in sent[:3]}
    healed = place.rows(
        "select code_here from marts.fct_national_difference where not is_standing and healed_at is not null "
        "and responsible_agency_code = %s", ours,
    )  # fmt: skip
    assert {code for (code,) in healed} >= set(sent[:3])
    page = (Path(folder) / "index.html").read_text(encoding="utf-8")
    assert "hồ sơ đã hết sai lệch" in page
    assert not any(code in page for code in (*sent, *own))
    # What no cure predicts is named, with the reason.
    why = reports.UNPREDICTED["rule_not_published"]
    assert f"<p>{why}: 3.4 " in page
    scores = list(
        load_workbook(Path(folder) / f"{theirs}.xlsx")["Điểm 766"].iter_rows(min_row=5, values_only=True)
    )
    assert {r[0][:3] for r in scores if r[5] == why} == {"3.4", "4.5"}, "published of each unit"
    # Of how many procedures with fees, the portal says: so ours and its copy have points.
    (of_fees,) = [r for r in scores if r[0] and r[0].startswith("3.5 ")]
    assert None not in of_fees[2:5]
