"""Everything that goes wrong at the sources: what the operator sees of it, and what the warehouse then holds."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg.rows import dict_row

from connectors.base import Endpoint, PagingError, Request, SourceChanged, SourceUnavailable
from connectors.national_portal import Evaluation
from connectors.population import CheckRequest, Population
from connectors.typing import VIETNAM, MissingColumn, restored
from landing import loader
from landing.manifest import Manifest
from ops import tasks
from ops.settings import KNOWN, PROJECT
from ops.sources import read_sources
from sandbox.chance import uniform
from sandbox.faults import CALLS, HABITS, IRREGULARITIES, PROFILES, SWITCHES
from sandbox.generator import NOT_ARRIVED, month_block
from sandbox.people import DUMMY
from sandbox.spoil import CHANGES
from tests.conftest import Sandbox, Server, Vault, start_sandbox, start_vault, stop
from tests.connectors.citizens import ABSENT, OTHER_YEAR, RENAMED, SAME, asking, citizen
from tests.connectors.conformance import CASES, Case, Pulled, span, taste, wired

TABLES = ("agency", "dossier", "dossier_step", "dossier_paper", "dossier_fee")
OWN = "'_batch_id', '_load_number', '_pulled_at'"
TIEN_GIANG = next(c for c in CASES if c.code == "igate_tien_giang" and c.announces)
DONG_THAP_CU = next(c for c in CASES if c.code == "opencps_dong_thap")
MORNING = span("2025-06-30T09:00", "2025-06-30T09:05")
FREEZE = "2025-06-30T23:59:59+07:00"
LATER = "2025-12-31T23:59:59+07:00"


@dataclass
class Day:
    """One source with a sandbox of its own; each pull goes into a warehouse by the same vault."""

    case: Case
    sandbox: Sandbox
    vault: Vault
    landing: Path
    server: Server
    interval: Any = MORNING
    warehouse: str = ""
    #: Small ones, so that a few minutes are many pages and chunks; empty, the connector's own.
    sizes: dict[str, int] = field(default_factory=lambda: {"page_size": 40, "chunk_size": 60})

    def fresh(self) -> None:
        """Begin with an empty warehouse."""
        self.warehouse = self.server.new_database()

    def pull(self, asked: Sequence[str] = (), base_url: str = "", **options: Any) -> Manifest:
        """The source into the warehouse, by the real connector, vault, landing and loader.

        `asked` are dossiers that the warehouse holds as open; `base_url` leads to the sandbox by a way of its own.
        """
        sizes = {**self.sizes, **options}
        connector = self.case.connect(base_url or self.sandbox.base_url, margin_days=0, **sizes)
        request = Request(self.interval, lambda: asked)
        folder = tasks.land(self.landing, self.case.source, connector, request, self.vault.client)
        specs = tasks._specs(type(connector))
        loader.stage(self.warehouse, folder, specs)
        loader.load(self.warehouse, folder, specs)
        manifest = Manifest.read(folder)
        for table in ("agency", "dossier"):
            entry = manifest.tables[table]
            assert entry.announced == entry.landed + entry.rejected + entry.duplicates
        self.rejects = pq.read_table(folder / "rejects.parquet").to_pylist() if manifest.rejects_file else []
        return manifest

    def content(self, *without: str) -> dict[str, set[str]]:
        """Every row as text, without what each load says of itself, and without columns such as dossier.due_at."""
        found = {}
        with psycopg.connect(self.warehouse) as connection:
            for table in TABLES:
                left_out = [c.partition(".")[2] for c in without if c.startswith(f"{table}.")]
                ignored = ", ".join([OWN, *(f"'{c}'" for c in left_out)])
                ((columns,),) = connection.execute(
                    "select string_agg(format('%I', column_name), ', ' order by column_name) "
                    "from information_schema.columns where table_schema = 'raw' and table_name = "
                    f"'{table}' and column_name not in ({ignored})"
                ).fetchall()
                rows = connection.execute(
                    f"select to_jsonb(r)::text from (select {columns} from raw.{table}) r"
                )
                found[table] = {r[0] for r in rows.fetchall()}
        return found

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.warehouse) as connection:
            return connection.execute(query).fetchall()

    def ids(self) -> list[str]:
        return [r[0] for r in self.rows("select dossier_id from raw.dossier order by 1")]

    def smallest(self, since: str = "2000-01-01") -> str:
        """A dossier without fees and with few steps and papers: rejecting it breaks no table's limit."""
        self.fresh()
        self.pull()
        parts = " + ".join(
            f"{weight} * (select count(*) from raw.{t} t where t.dossier_id = d.dossier_id)"
            for t, weight in (("dossier_fee", 10), ("dossier_step", 1), ("dossier_paper", 1))
        )
        query = (
            f"select dossier_id from raw.dossier d where received_at >= '{since}' order by {parts}, 1 limit 1"
        )
        return self.rows(query)[0][0]

    def names(self, ids: list[str]) -> dict[str, str]:
        """How the applicants of these dossiers are called at the source."""
        connector = self.case.connect(self.sandbox.base_url)
        found = {i: orjson.loads(connector.detail(i).content) for i in ids}  # type: ignore[attr-defined]
        return {
            i: d["applicantName"] if "applicantName" in d else d["applicant"]["data"]["ownerFullname"]
            for i, d in found.items()
        }

    def landed(self) -> int:
        """Batches that stand, and none half-done."""
        home = self.landing / self.case.code
        assert not list(home.glob(".building*"))
        return len(list(home.glob("2*")))

    def quarantined(self, kind: str) -> int:
        with psycopg.connect(self.vault.database_url) as connection:
            return connection.execute("select count(*) from quarantine where kind = %s", (kind,)).fetchone()[
                0
            ]


@pytest.fixture(scope="module")
def own_vault(server: Server) -> Iterator[Vault]:
    home = Path(tempfile.mkdtemp(prefix="kcb-"))
    running = start_vault(server.new_database(), home)
    yield running
    stop(running.process)
    shutil.rmtree(home, ignore_errors=True)


def day(case: Case, words: tuple[str, ...], vault: Vault, server: Server, **more: Any) -> Iterator[Day]:
    sandbox, process = start_sandbox(*words)
    landing = Path(tempfile.mkdtemp(prefix="kcl-"))
    made = Day(case, sandbox, vault, landing, server, **more)
    made.fresh()
    made.pull()
    made.good = made.content()  # type: ignore[attr-defined]
    made.good_ids = made.ids()  # type: ignore[attr-defined]
    assert len(made.ids()) > 40
    yield made
    stop(process)
    shutil.rmtree(landing, ignore_errors=True)


@pytest.fixture(scope="module")
def igate_day(own_vault: Vault, server: Server) -> Iterator[Day]:
    yield from day(TIEN_GIANG, ("igate", "--world", "tien_giang"), own_vault, server)


@pytest.fixture(scope="module")
def opencps_day(own_vault: Vault, server: Server) -> Iterator[Day]:
    # One window of a quiet day: 53 dossiers.
    case = dataclasses.replace(DONG_THAP_CU, policy={"windows": ("Finish",)})
    yield from day(case, ("opencps",), own_vault, server, interval=span("2024-01-02", "2024-01-03"))


@pytest.fixture
def igate(igate_day: Day) -> Iterator[Day]:
    yield igate_day
    igate_day.sandbox.fault(fault="clear")
    igate_day.sandbox.clock(LATER)


@pytest.fixture
def opencps(opencps_day: Day) -> Iterator[Day]:
    yield opencps_day
    opencps_day.sandbox.fault(fault="clear")


# --- calls ------------------------------------------------------------------------------------------

TRANSPORT = [
    ({"fault": "status", "status": 503}, "HTTP 503"),
    ({"fault": "status", "status": 429, "retry_after": 1}, "HTTP 429"),
    ({"fault": "html200"}, "HTTP 200 with an HTML page instead of JSON"),
    ({"fault": "html403"}, "HTTP 403 with an HTML page instead of JSON"),
    ({"fault": "drop_connection"}, "no answer"),
    ({"fault": "truncate"}, "bytes that are not whole JSON"),
]


@pytest.mark.parametrize(("fault", "said"), TRANSPORT, ids=[t[1][:12] for t in TRANSPORT])
def test_a_spoiled_call_is_made_again_and_one_spoiled_for_good_stops_with_a_message(
    igate: Day, fault: dict[str, Any], said: str
) -> None:
    igate.sandbox.fault(**fault, calls=2)
    manifest = igate.pull()
    assert manifest.retries == 2
    assert igate.content() == igate.good
    before = igate.landed()
    igate.sandbox.fault(**{**fault, "calls": 10**6} | ({"retry_after": 0} if "retry_after" in fault else {}))
    with pytest.raises(SourceUnavailable, match=f"{said}.*5 times in a row.*Nothing was landed"):
        igate.pull()
    assert igate.landed() == before


def test_a_token_that_expires_in_the_middle_is_fetched_anew(igate: Day) -> None:
    igate.sandbox.fault(fault="expire_token", after=30)
    calls = igate.pull().calls
    igate.sandbox.fault(fault="clear")
    assert calls > igate.pull().calls
    assert igate.content() == igate.good


def test_slow_answers_change_nothing(igate: Day) -> None:
    igate.sandbox.fault(fault="latency", ms=30, rate=0.5)
    assert igate.pull().retries == 0
    assert igate.content() == igate.good


@pytest.mark.parametrize("mode", ["lose", "repeat"])
def test_rows_that_move_between_pages_are_read_again_and_a_list_that_stays_wrong_stops(
    igate: Day, mode: str
) -> None:
    igate.sandbox.fault(fault="drop_rows", mode=mode)
    assert any("attempt 1" in n for n in igate.pull().notes)
    assert igate.content() == igate.good
    before = igate.landed()
    igate.sandbox.fault(fault="drop_rows", mode=mode, calls=10**6)
    with pytest.raises(
        PagingError, match=r"in two readings\. A page was lost or repeated, so nothing was landed"
    ):
        igate.pull()
    assert igate.landed() == before


def test_a_row_of_a_list_without_its_key_stops(igate: Day) -> None:
    igate.sandbox.fault(fault="drop_rows", mode="null_key")
    with pytest.raises(SourceChanged, match="a row of the list holds no 'id'"):
        igate.pull()


# --- same meaning, other writing --------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["date_forms", "boolean_forms", "key_case"])
@pytest.mark.parametrize("name", ["igate", "opencps"])
def test_other_writings_mean_the_same(request: pytest.FixtureRequest, name: str, fault: str) -> None:
    one: Day = request.getfixturevalue(name)
    one.fresh()
    one.sandbox.fault(fault=fault)
    manifest = one.pull()
    assert {t: (e.rejected, e.undeclared) for t, e in manifest.tables.items()} == {t: (0, {}) for t in TABLES}
    assert one.content() == one.good


@pytest.mark.parametrize("name", ["igate", "opencps"])
def test_an_unsaid_channel_is_held_as_unsaid(request: pytest.FixtureRequest, name: str) -> None:
    one: Day = request.getfixturevalue(name)
    one.sandbox.fault(fault="no_channel")
    assert one.pull().tables["dossier"].rejected == 0
    assert one.rows("select count(channel) from raw.dossier") == [(0,)]
    one.sandbox.fault(fault="clear")
    one.pull()
    assert one.content() == one.good


@pytest.mark.parametrize(("name", "place"), [("igate", "Tiền Giang"), ("opencps", "Đồng Tháp")])
def test_agencies_under_new_names_are_the_same_agencies(
    request: pytest.FixtureRequest, name: str, place: str
) -> None:
    one: Day = request.getfixturevalue(name)
    one.sandbox.fault(fault="unit_names")
    one.pull()
    others = f"select count(*) from raw.agency where agency_name not like '% - tỉnh {place}'"
    assert one.rows(others) == [(0,)]
    assert one.rows("select count(*) from raw.agency") == [(len(one.good["agency"]),)]
    one.sandbox.fault(fault="clear")
    one.pull()
    assert one.content() == one.good


def test_some_agencies_under_new_names_are_the_same_agencies(igate: Day) -> None:
    igate.fresh()
    igate.sandbox.fault(fault="unit_names", rate=0.3)
    igate.pull()
    named = "select agency_code from raw.agency where agency_name like '% - tỉnh Tiền Giang' order by 1"
    some = igate.rows(named)
    assert 0.1 * len(igate.good["agency"]) < len(some) < 0.5 * len(igate.good["agency"])
    igate.pull()
    assert igate.rows(named) == some
    assert igate.content()["dossier"] == igate.good["dossier"]


BY_KEY = {
    "dossier": "dossier_id",
    "dossier_fee": "dossier_id, fee_no",
    "dossier_paper": "dossier_id, paper_no",
}


def beside(one: Day, table: str, column: str, **fault: Any) -> list[tuple[Any, Any]]:
    """(without, with the fault) each value of a column; nothing is rejected, and nothing else of the warehouse differs.

    At the end the fault is over, and the warehouse holds what the source says again.
    """
    query = f"select {column} from raw.{table} order by {BY_KEY[table]}"
    one.fresh()
    one.pull()
    plain, rest, whole = one.rows(query), one.content(f"{table}.{column}"), one.content()
    one.sandbox.fault(**fault)
    assert {e.rejected for e in one.pull().tables.values()} == {0}
    found = one.rows(query)
    assert one.content(f"{table}.{column}") == rest
    one.sandbox.fault(fault="clear")
    one.pull()
    assert one.content() == whole
    return [(a, b) for (a,), (b,) in zip(plain, found, strict=True)]


@pytest.mark.parametrize("name", ["igate", "opencps"])
def test_a_channel_that_only_the_desk_leaves_unsaid_moves_no_other(
    request: pytest.FixtureRequest, name: str
) -> None:
    seen = beside(request.getfixturevalue(name), "dossier", "channel", fault="no_channel", direct=True)
    assert {1, 2} <= {a for a, _ in seen}
    assert all(b == (None if a == 1 else a) for a, b in seen)


@pytest.mark.parametrize("name", ["igate", "opencps"])
def test_an_unsaid_due_date_is_held_as_unsaid(request: pytest.FixtureRequest, name: str) -> None:
    seen = beside(request.getfixturevalue(name), "dossier", "due_at", fault="no_due_date")
    assert any(a for a, _ in seen)
    assert {b for _, b in seen} == {None}


@pytest.mark.parametrize("name", ["igate", "opencps"])
def test_a_default_that_says_too_much_of_papers_is_held_as_said(
    request: pytest.FixtureRequest, name: str
) -> None:
    column = "is_from_personal_storage"
    seen = beside(request.getfixturevalue(name), "dossier_paper", column, fault="storage_default")
    assert {a for a, _ in seen} == {True, False}
    assert {b for _, b in seen} == {True}


@pytest.mark.parametrize("name", ["igate", "opencps"])
def test_times_of_payment_by_a_clock_of_twelve_hours_are_held_as_sent(
    request: pytest.FixtureRequest, name: str
) -> None:
    # Which half of the day was meant nobody can tell; the list of wrong data names those before the submission
    # (paid_before_submission, with the unit test of fct_dossier_wrong_data).
    one: Day = request.getfixturevalue(name)
    if name == "opencps":  # a day on which somebody paid in the afternoon
        one = dataclasses.replace(one, interval=span("2024-01-03", "2024-01-04"))
    seen = beside(one, "dossier_fee", "paid_at", fault="twelve_hour_times")
    local = [(a.astimezone(VIETNAM), b.astimezone(VIETNAM)) for a, b in seen if a is not None]
    assert [b is None for a, b in seen if a is None] == [True] * (len(seen) - len(local))
    assert any(a.hour > 12 for a, _ in local)
    assert all(b == a.replace(hour=a.hour % 12 or 12) for a, b in local)


# --- habits, switched off ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["igate", "opencps"])
def test_the_code_at_the_national_portal_is_held_beside_the_own_one(
    request: pytest.FixtureRequest, name: str
) -> None:
    one: Day = request.getfixturevalue(name)
    seen = beside(one, "dossier", "national_code", fault="other_national_code", off=True)
    own = [code for (code,) in one.rows("select dossier_code from raw.dossier order by dossier_id")]
    assert [b for _, b in seen] == own
    same = [a == b for a, b in seen]
    assert 0.7 < sum(same) / len(same) < 1
    assert all(a is None or a.startswith(f"{b}-") for a, b in seen if a != b)


@pytest.mark.parametrize("habit", ["applicant_words", "json_in_string"])
def test_other_words_for_applicants_and_agencies_mean_the_same(opencps: Day, habit: str) -> None:
    opencps.fresh()
    opencps.sandbox.fault(fault=habit, off=True)
    opencps.pull()
    assert opencps.content() == opencps.good
    assert opencps.rows("select distinct applicant_type from raw.dossier order by 1") == [(1,), (2,)]
    assert opencps.rows("select count(*) > 1 from raw.agency where unit_code is not null") == [(True,)]


def test_a_number_that_clerks_type_for_many_makes_nobody_of_them(igate: Day) -> None:
    connector = igate.case.connect(igate.sandbox.base_url)
    bounds = {"accepted-from": "2025-06-30T00:00:00.000+0700", "accepted-to": FREEZE, "size": 200}
    pages = [
        connector.call("GET", "/pa/dossier/search", params={**bounds, "page": n})["content"]
        for n in range(10)
    ]
    some = [d for p in pages for d in p if d["applicant"]["data"]["identityNumber"] == DUMMY]
    minute = dt.datetime.fromisoformat(some[0]["acceptedDate"][:16])
    one = dataclasses.replace(igate, interval=span(f"{minute}", f"{minute + dt.timedelta(minutes=1)}"))
    token = f"select applicant_id_number from raw.dossier where dossier_id = '{some[0]['id']}'"
    one.fresh()
    one.pull()
    assert one.rows(token) == [(None,)]
    igate.sandbox.fault(fault="dummy_identity", off=True)
    one.pull()
    assert one.rows(token) != [(None,)]


def test_pages_smaller_than_asked_for_are_read_to_their_end(igate: Day) -> None:
    calls = igate.pull(page_size=10_000).calls
    for more in ({"rows": 7}, {"off": True}):
        igate.fresh()
        igate.sandbox.fault(fault="page_limit", **more)
        assert (igate.pull(page_size=10_000).calls > calls) is ("rows" in more)
        assert igate.content() == igate.good


def test_pages_that_are_cut_where_rows_are_asked_for_by_number_stop(opencps: Day) -> None:
    before = opencps.landed()
    opencps.sandbox.fault(fault="page_limit", rows=20)
    with pytest.raises(PagingError, match="A page was lost or repeated, so nothing was landed"):
        opencps.pull()
    assert opencps.landed() == before


PORTAL = next(c for c in CASES if c.code == "national_portal")
H20 = "019d2be3-6a85-74ec-a344-751a7a0bbdb5"


def test_the_portal_may_answer_200_and_in_pages_of_any_size(portal: Sandbox) -> None:
    def some() -> Pulled:
        return taste(PORTAL.connect(portal.base_url, page_size=500), MORNING)

    whole = some()
    for fault in ({"fault": "created"}, {"fault": "page_limit"}, {"fault": "page_limit", "rows": 90}):
        portal.fault(**fault, off="rows" not in fault)
        found = some()
        assert found.tables == whole.tables
        assert found.report.windows == whole.report.windows
        assert (found.report.calls < whole.report.calls) is (fault == {"fault": "page_limit"})
        portal.fault(fault="clear")


@dataclass
class Warehouse:
    """An empty warehouse, into which a connector's pull goes by the real vault, landing and loader."""

    server: Server
    vault: Vault
    landing: Path

    def held(self, connector: Any, request: Request, query: str) -> list[dict[str, Any]]:
        """What a fresh one answers to `query` after one pull."""
        url, specs = self.server.new_database(), tasks._specs(type(connector))
        entry = read_sources(PROJECT / "ops" / "sources.yml")[connector.source_code]
        batch = tasks.land(self.landing, entry, connector, request, self.vault.client)
        loader.stage(url, batch, specs)
        loader.load(url, batch, specs)
        with psycopg.connect(url, row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()

    def measures(self, portal: Sandbox, endpoint: str, period: str = "2025-07") -> list[dict[str, Any]]:
        """One evaluation of the portal; its catalogue is left out of the pull."""
        connector: Any = PORTAL.connect(portal.base_url)
        connector.chunks = lambda _: iter([connector._evaluation(Evaluation(endpoint, period, H20))])
        return self.held(connector, Request(MORNING), "select * from raw.evaluation")


@pytest.fixture
def warehouse(server: Server, own_vault: Vault, tmp_path: Path) -> Warehouse:
    return Warehouse(server, own_vault, tmp_path / "landing")


def test_scores_where_nothing_was_counted_are_held_as_published(
    portal: Sandbox, warehouse: Warehouse
) -> None:
    def scores() -> set[tuple[str, float | None]]:
        found = [r for e in ("transparency", "handling-satisfaction") for r in warehouse.measures(portal, e)]
        return {
            (r["metric_code"].partition("_")[0], None if r["score"] is None else float(r["score"]))
            for r in found if r["denominator"] == 0
        }  # fmt: skip

    assert {("PETITION", 6.0), ("PUBLIC", None)} <= scores()
    portal.fault(fault="zero_denominators", off=True)
    assert {s for _, s in scores()} == {0.0}


def test_provisional_denominators_and_units_without_code_are_held_so(
    portal: Sandbox, warehouse: Warehouse
) -> None:
    def said() -> tuple[set[str | None], int]:
        found = warehouse.measures(portal, "transparency")
        return {r["data_quality_status"] for r in found}, sum(not r["department_code"] for r in found)

    flags, without = said()
    assert {"TEMP_NATIONAL_REPORT_DENOMINATOR", None} <= flags
    assert without > 100
    portal.fault(fault="provisional_denominators", off=True)
    assert said() == ({None}, 0)


def test_the_portal_counts_its_own_copy_and_both_counts_are_held(
    portal: Sandbox, warehouse: Warehouse
) -> None:
    def progress() -> tuple[int, int]:
        (own,) = (
            r for r in warehouse.measures(portal, "dvc-progress-tree")
            if (r["metric_code"], r["department_id"]) == ("TDGQ", H20)
        )  # fmt: skip
        return int(own["numerator"]), int(own["denominator"])

    national = progress()
    portal.fault(fault="national_copy", off=True)
    own = progress()
    # The dossiers of July 2025 whose detail says nationCode null; all but those of the province's own office.
    missing = (uniform(month_block("dong_thap", 202507).key, "national") < NOT_ARRIVED).sum()
    assert 0.9 * missing < own[1] - national[1] <= missing
    # Of what it has, more is called done than the province has done.
    assert national[0] / national[1] > own[0] / own[1]
    portal.fault(fault="clear")
    assert progress() == national


@pytest.mark.parametrize("variant", ["soap", "wrapper"])
@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "one_name_field", "off": True}, {"fault": "old_districts", "off": True},
        {"fault": "error_code_number"}, {"fault": "error_code_number", "rate": 0.5},
    ],
    ids=["parted name", "no districts", "number", "number at times"],
)  # fmt: skip
def test_other_forms_of_the_population_databases_answer_mean_the_same(
    population: Sandbox, warehouse: Warehouse, variant: str, fault: dict[str, Any]
) -> None:
    case = next(c for c in CASES if c.code == "population")
    people = [citizen(which) for which in (SAME, OTHER_YEAR, RENAMED, ABSENT, 7, 14, 21)]

    def outcomes() -> list[tuple[str, str]]:
        connector: Any = case.connect(population.base_url, variant=variant)
        connector.chunks = lambda request: Population.chunks(
            connector, request
        )  # the case has citizens of its own
        rows = warehouse.held(
            connector, CheckRequest(MORNING, **asking(*people)),
            "select outcome, differs_in from raw.citizen_check order by person_token",
        )  # fmt: skip
        assert len(rows) == len(people)
        return [(r["outcome"], r["differs_in"]) for r in rows]

    plain = outcomes()
    assert {o for o, _ in plain} == {"matched", "mismatch", "not_found"}
    population.fault(**fault)
    assert outcomes() == plain


def test_every_irregularity_has_a_switch_that_is_on_by_default() -> None:
    assert list(IRREGULARITIES) == list(range(1, 17))
    ordinary = {f["fault"] for f in PROFILES["realistic"]}
    for number, switches in IRREGULARITIES.items():
        assert switches, number
        assert set(switches) <= ordinary | set(HABITS), number
    for name in HABITS:
        assert name not in ordinary
    assert KNOWN["SANDBOX_FAULTS"][0] == "realistic"


# --- late, reshaped, damaged ------------------------------------------------------------------------


def test_late_dossiers_come_with_a_later_pull(igate: Day) -> None:
    igate.fresh()
    igate.sandbox.clock(FREEZE)
    igate.sandbox.fault(fault="late", rate=0.2, days=3)
    igate.pull()
    early = igate.ids()
    assert 0.5 * len(igate.good_ids) < len(early) < len(igate.good_ids)
    igate.sandbox.clock("2025-07-04T09:00:00+07:00")
    igate.pull()
    assert igate.content() == igate.good


def test_a_new_column_is_counted_and_quarantined_and_everything_lands(igate: Day) -> None:
    igate.fresh()
    before = igate.quarantined("undeclared")
    igate.sandbox.fault(fault="new_column")
    manifest = igate.pull()
    count = len(igate.good_ids)
    assert manifest.tables["dossier"].undeclared == {"digitalIdentityLevel": count}
    assert igate.quarantined("undeclared") == before + count
    assert igate.content() == igate.good


@pytest.mark.parametrize("fault", ["renamed_column", "removed_column"])
@pytest.mark.parametrize(("name", "key"), [("igate", "acceptedDate"), ("opencps", "receiveDate")])
def test_a_needed_column_gone_stops_by_name(
    request: pytest.FixtureRequest, name: str, key: str, fault: str
) -> None:
    one: Day = request.getfixturevalue(name)
    before = one.landed()
    one.sandbox.fault(fault=fault)
    with pytest.raises(
        MissingColumn, match=f"dossier.received_at is missing: looked for '{key}'.*renamed or removed it"
    ):
        one.pull()
    assert one.landed() == before
    assert one.content() == one.good


@pytest.mark.parametrize("fault", ["renamed_column", "removed_column"])
@pytest.mark.parametrize(("name", "key"), [("igate", "task"), ("opencps", "sequences")])
def test_a_list_gone_stops_by_name_and_empties_nothing(
    request: pytest.FixtureRequest, name: str, key: str, fault: str
) -> None:
    one: Day = request.getfixturevalue(name)
    before = one.landed()
    one.sandbox.fault(fault=fault, column=key)
    with pytest.raises(MissingColumn, match=f"list of dossier_step is missing: looked for '{key}'"):
        one.pull()
    assert one.landed() == before
    assert one.content() == one.good


@pytest.mark.parametrize("fault", ["renamed_column", "removed_column"])
def test_a_column_gone_that_may_be_empty_is_told_and_comes_back(igate: Day, fault: str) -> None:
    igate.sandbox.fault(fault=fault, column="applicant.data.phoneNumber", to="mobile")
    manifest = igate.pull()
    assert any(
        "dossier.applicant_phone: records without any 'applicant.data.phoneNumber'" in n
        for n in manifest.notes
    )
    sent = {"applicant.data.mobile": len(igate.good_ids)} if fault == "renamed_column" else {}
    assert manifest.tables["dossier"].undeclared == sent
    assert igate.content() != igate.good
    assert igate.rows("select count(applicant_phone) from raw.dossier") == [(0,)]
    igate.sandbox.fault(fault="clear")
    assert igate.pull().notes == []
    assert igate.content() == igate.good


DAMAGED = [
    ("wrong_type", "supplement_count", "not a smallint: "),
    ("impossible_date", "received_at", "not a timestamptz: no date that exists"),
    ("null_key", "", "the source answered without the dossier's key"),
]


@pytest.mark.parametrize(("fault", "column", "reason"), DAMAGED, ids=[d[0] for d in DAMAGED])
@pytest.mark.parametrize("name", ["igate", "opencps"])
def test_a_damaged_dossier_alone_is_rejected_and_heals_with_the_source(
    request: pytest.FixtureRequest, name: str, fault: str, column: str, reason: str
) -> None:
    one: Day = request.getfixturevalue(name)
    broken = one.smallest()
    one.fresh()
    one.sandbox.fault(fault=fault, ids=[broken])
    manifest = one.pull()
    assert manifest.tables["dossier"].rejected == 1
    (told,) = [r for r in one.rejects if r["table"] == "dossier"]
    assert (told["field"], json.loads(told["key"])["dossier_id"]) == (column, broken)
    assert told["reason"].startswith(reason)
    assert {r["reason"] for r in one.rejects if r["table"] != "dossier"} <= {"its dossier was rejected"}
    assert one.ids() == [i for i in one.good_ids if i != broken]
    # A later bad reading of a dossier that is held leaves it alone.
    one.sandbox.fault(fault="clear")
    one.pull()
    assert one.content() == one.good
    one.sandbox.fault(fault=fault, ids=[broken])
    one.pull()
    assert one.content() == one.good


def test_what_is_garbled_is_restored_only_without_any_doubt() -> None:
    def garble(text: str) -> str:
        return "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in text.encode())

    for name in ("Nguyễn Thị Hà", "Trần Văn Đức", "ĐỖ Ý NHI", "Âu Cơ", "Ngô An", "Tổ 5 – “ấp Trà”"):
        assert restored(garble(name)) == name
        assert restored(name) == name
    for plain in ("xã «Mỹ quá»", "thị XÃ", "THỊ XÃ”", "XÃ?", "Công ty 50°"):
        assert restored(plain) == plain
    for doubtful in (garble("Hà"), "XÃ” AN"):
        with pytest.raises(ValueError, match="or meant as it stands"):
            restored(doubtful)
    for lost in ("Ä?inh Nam", "KHÃ?NH", "Nguyá»\ufffdn"):
        with pytest.raises(ValueError, match="not all of it can be restored"):
            restored(lost)


@pytest.mark.parametrize("name", ["igate", "opencps"])
def test_garbled_names_are_restored_and_counted_and_what_is_lost_is_rejected(
    request: pytest.FixtureRequest, name: str
) -> None:
    one: Day = request.getfixturevalue(name)
    names = one.names(one.good_ids[41:])
    some = [i for i, n in names.items() if set(n.lower()) & set("ễầịđ")]
    assert len(some) > 3
    one.fresh()
    one.sandbox.fault(fault="mojibake", ids=some)
    manifest = one.pull()
    assert manifest.notes == [
        f"dossier.applicant_name: texts restored that were UTF-8 read as windows-1252: {len(some)}"
    ]
    assert one.content() == one.good
    # What windows-1252 has no letter for became a question mark: Đ in both cases, ờ and ọ in small letters.
    lost = next(i for i, n in names.items() if "Đ" in n and set(n.lower()) & set("ễầị"))
    one.fresh()
    one.sandbox.fault(fault="mojibake", ids=[lost], lossy=True)
    assert one.pull().tables["dossier"].rejected == 1
    (told,) = [r for r in one.rejects if r["table"] == "dossier"]
    assert (told["field"], told["reason"]) == (
        "applicant_name", "not a text: looks like UTF-8 read as windows-1252, and not all of it can be restored"
    )  # fmt: skip
    assert one.ids() == [i for i in one.good_ids if i != lost]


# --- all at once ------------------------------------------------------------------------------------

ALL_ON: list[dict[str, Any]] = [
    {"fault": "latency", "rate": 0.05, "ms": 20},
    {"fault": "status", "status": 503, "rate": 0.005, "burst": 2},
    {"fault": "status", "status": 429, "rate": 0.005, "retry_after": 0},
    *({"fault": f, "rate": 0.005} for f in ("html200", "html403", "drop_connection", "truncate")),
    {"fault": "expire_token", "after": 300},
    {"fault": "drop_rows"},
    *({"fault": f, "rate": 0.3} for f in ("date_forms", "boolean_forms", "key_case", "new_column")),
    *({"fault": f, "rate": 0.002} for f in ("mojibake", "wrong_type", "impossible_date", "null_key")),
    {"fault": "no_channel", "rate": 0.01, "direct": True},
    *({"fault": f, "rate": 0.01} for f in ("no_due_date", "storage_default", "twelve_hour_times")),
    {"fault": "unit_names", "rate": 0.3},
]  # fmt: skip
#: Of these columns the source says otherwise for those that the fault chose; they are held as said.
SAID = {
    "dossier.channel": "no_channel", "dossier.due_at": "no_due_date",
    "dossier_paper.is_from_personal_storage": "storage_default", "dossier_fee.paid_at": "twelve_hour_times",
    "agency.agency_name": "unit_names",
}  # fmt: skip


def chosen(table: str, row: str) -> bool:
    """Whether a fault of `SAID` that is on chose the dossier, or agency, of a row."""
    record = json.loads(row)
    rates = {f["fault"]: f["rate"] for f in ALL_ON if f["fault"] in SAID.values()}
    return any(
        crc32(f"{fault}:{record['agency_code' if table == 'agency' else 'dossier_id']}".encode())
        < rates[fault] * 2**32
        for column, fault in SAID.items()
        if column.startswith(f"{table}.")
    )


def disturb(one: Day) -> None:
    """With all faults on, the warehouse holds what it holds without, but for dossiers named as damaged; then all."""
    try:
        one.fresh()
        one.pull()
        good, plain = one.content(), one.content(*SAID)
        one.fresh()
        for fault in ALL_ON:
            one.sandbox.fault(**fault)
        manifest = one.pull()
        named = {json.loads(r["key"])["dossier_id"] for r in one.rejects if r["table"] == "dossier"}
        print(f"{one.case.code}: {len(good['dossier']):,} dossiers, {manifest.calls:,} calls, {manifest.retries:,} "
              f"made again, {len(named)} damaged and named")  # fmt: skip
        assert manifest.retries > 5
        assert 0 < len(named) < 0.02 * len(good["dossier"])
        held = one.content(*SAID)
        for table in TABLES:
            assert held[table] == {r for r in plain[table] if json.loads(r).get("dossier_id") not in named}
        told = {t: rows - good[t] for t, rows in one.content().items()}
        print(f"held as the source says otherwise: { {t: len(rows) for t, rows in told.items()} }")
        assert any(told.values())
        assert [r for t, rows in told.items() for r in rows if not chosen(t, r)] == []
        one.sandbox.fault(fault="clear")
        one.pull()
        assert one.content() == good
    finally:
        one.sandbox.fault(fault="clear")


def test_a_day_with_all_faults_holds_what_a_day_without_holds_but_for_the_damaged_named(
    igate_day: Day,
) -> None:
    disturb(dataclasses.replace(igate_day, interval=span("2025-06-30T09:00", "2025-06-30T09:25")))


@pytest.mark.prove
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("name", ["igate_day", "opencps_day"])
def test_a_month_with_all_faults_holds_what_a_month_without_holds_but_for_the_damaged_named(
    request: pytest.FixtureRequest, name: str
) -> None:
    one = request.getfixturevalue(name)
    case = dataclasses.replace(one.case, policy={})
    disturb(dataclasses.replace(one, case=case, interval=span("2024-06-01", "2024-07-01"), sizes={}))


def test_damage_of_the_realistic_profile_is_repaired_days_later(igate: Day) -> None:
    broken = igate.smallest("2025-06-30")
    igate.fresh()
    igate.sandbox.clock(FREEZE)
    faults = [f for f in PROFILES["realistic"] if "repaired_after" in f]
    assert len(faults) == 4
    for fault in faults:
        igate.sandbox.fault(**{**fault, "ids": [broken], "rate": 0})
    assert igate.pull().tables["dossier"].rejected == 1
    igate.sandbox.clock("2025-07-03T23:59:59+07:00")
    assert igate.pull().tables["dossier"].rejected == 0
    assert igate.content() == igate.good


# --- dossiers that the source no longer has, lists that it never sends -------------------------------


def test_a_purge_of_open_dossiers_lands_is_noted_and_empties_nothing(igate: Day) -> None:
    igate.fresh()
    igate.pull()
    purged = igate.good_ids[::2]
    igate.sandbox.fault(fault="delete", ids=purged)
    manifest = igate.pull(asked=purged)
    assert manifest.tables["dossier"].rejected == len(purged) > 0.02 * len(igate.good_ids)
    assert f"dossiers held as open that the source no longer has: {len(purged)}" in manifest.notes
    assert {(r["field"], r["reason"]) for r in igate.rejects} == {
        ("", "the source no longer has this dossier")
    }
    assert igate.content() == igate.good
    # Nor does a pull that meets nothing else.
    night = dataclasses.replace(igate, interval=span("2025-06-29T02:00", "2025-06-29T02:01"))
    manifest = night.pull(asked=purged)
    assert (manifest.tables["dossier"].landed, manifest.tables["dossier"].rejected) == (0, len(purged))
    assert night.content() == igate.good


@pytest.mark.parametrize(("lost", "said"), [(12, "12 of"), (10**6, "of")])
def test_dossiers_that_a_source_lists_and_then_does_not_have_are_an_error(
    igate: Day, lost: int, said: str
) -> None:
    before = igate.landed()
    with wired(igate.sandbox.base_url) as wire:
        wire.fault(lost, on="/--online", status=404)
        with pytest.raises(
            tasks.BatchRefused,
            match=f"{said} .* records of dossier broke their contract.*the source no longer has this dossier",
        ):
            # Also where the warehouse holds them as open: the source itself names them.
            igate.pull(base_url=wire.url, asked=igate.good_ids)
    assert igate.landed() == before
    assert igate.content() == igate.good


@pytest.mark.parametrize(("name", "key"), [("igate", "task"), ("opencps", "sequences")])
def test_a_list_that_an_installation_never_sends_is_named_in_its_options(
    request: pytest.FixtureRequest, name: str, key: str
) -> None:
    one: Day = request.getfixturevalue(name)
    one.fresh()
    one.sandbox.fault(fault="removed_column", column=key)
    with pytest.raises(MissingColumn, match=r"name it in absent_lists.*Nothing was landed"):
        one.pull(absent_lists=["another"])
    manifest = one.pull(absent_lists=[key])
    assert (manifest.tables["dossier_step"].landed, manifest.tables["dossier_step"].rejected) == (0, 0)
    assert one.content() == {**one.good, "dossier_step": set()}


# --- files ------------------------------------------------------------------------------------------


def test_a_dropped_table_that_is_corrected_and_corrected_back_ends_as_it_began(
    own_vault: Vault, server: Server, tmp_path: Path
) -> None:
    entry = read_sources(PROJECT / "ops" / "sources.yml")["population_counts"]
    kind, specs = entry.connector_class(), tasks._specs(entry.connector_class())
    folder = tmp_path / "dropped"
    folder.mkdir()
    warehouse = server.new_database()

    def run() -> list[tuple[int]]:
        connector = kind(
            entry.code, Endpoint(folder.as_uri(), options={**entry.options, "settle_seconds": 0})
        )
        batch = tasks.land(tmp_path / "landing", entry, connector, Request(MORNING), own_vault.client)
        connector.landed()
        loader.stage(warehouse, batch, specs)
        loader.load(warehouse, batch, specs)
        with psycopg.connect(warehouse) as connection:
            return connection.execute("select population from raw.population_count order by 1").fetchall()

    head = "Mã xã;Ngày chốt số liệu;Nhóm tuổi;Giới tính;Số dân\n"
    for people in (1234, 1300, 1234):
        (folder / "a.csv").write_text(f"{head}28249;01/07/2025;0-4;Nam;{people}\n")
        assert run() == [(people,)]
    assert run() == [(1234,)]
    # An upload that pauses: the rest arrives when the file lies in the archive.
    with (folder / "b.csv").open("w") as upload:
        upload.write(f"{head}28249;01/07/2025;0-4;Nữ;987\n")
        upload.flush()
        assert run() == [(987,), (1234,)]
        upload.write("28252;01/07/2025;0-4;Nam;5\n")
    assert run() == [(5,), (987,), (1234,)]


def test_every_fault_that_can_be_switched_is_shown() -> None:
    # Those of the way back are shown where it is.
    tests = PROJECT / "tests"
    shown = (
        Path(__file__),
        tests / "sandbox" / "test_exchange.py",
        *(tests / "national").glob("test_*.py"),
    )
    text = "".join(p.read_text() for p in shown)
    missing = [f for f in (*CALLS, *CHANGES, *SWITCHES, *HABITS, "late") if f'"{f}"' not in text]
    assert missing == []
