"""Everything that goes wrong at the sources: what the operator sees of it, and what the warehouse then holds."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pyarrow.parquet as pq
import pytest

from connectors.base import PagingError, Request, SourceChanged, SourceUnavailable
from connectors.typing import MissingColumn, restored
from landing import loader
from landing.manifest import Manifest
from ops import tasks
from sandbox.faults import CALLS, PROFILES, SWITCHES
from sandbox.spoil import CHANGES
from tests.conftest import Sandbox, Server, Vault, start_sandbox, start_vault, stop
from tests.connectors.citizens import OTHER_YEAR, SAME, asking, citizen
from tests.connectors.conformance import CASES, Case, span

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

    def pull(self, **options: Any) -> Manifest:
        """The source into the warehouse, by the real connector, vault, landing and loader."""
        connector = self.case.connect(self.sandbox.base_url, margin_days=0, **self.sizes, **options)
        folder = tasks.land(
            self.landing, self.case.source, connector, Request(self.interval), self.vault.client
        )
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
        """Every row of the warehouse as text, without what each load says of itself."""
        ignored = ", ".join([OWN, *(f"'{c}'" for c in without)])
        found = {}
        with psycopg.connect(self.warehouse) as connection:
            for table in TABLES:
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


@pytest.mark.parametrize("name", ["igate", "opencps"])
def test_agencies_under_new_names_are_the_same_agencies(request: pytest.FixtureRequest, name: str) -> None:
    one: Day = request.getfixturevalue(name)
    one.sandbox.fault(fault="unit_names")
    one.pull()
    assert one.rows("select count(*) from raw.agency where agency_name not like '% - tỉnh Đồng Tháp'") == [
        (0,)
    ]
    assert one.rows("select count(*) from raw.agency") == [(len(one.good["agency"]),)]
    one.sandbox.fault(fault="clear")
    one.pull()
    assert one.content() == one.good


def test_the_population_wrapper_may_say_its_code_as_a_number(population: Sandbox) -> None:
    case = next(c for c in CASES if c.code == "population")
    population.fault(fault="error_code_number")
    connector = case.connect(population.base_url, variant="wrapper")
    people = (citizen(SAME), citizen(OTHER_YEAR))
    from connectors.population import CheckRequest

    chunks = list(connector.chunks(CheckRequest(MORNING, **asking(*people))))
    rows = {r["person_token"]: r["outcome"] for c in chunks for r in c.tables["citizen_check"].to_pylist()}
    assert [rows[p.person.token] for p in people] == ["matched", "mismatch"]


def test_what_these_systems_always_do_is_held_as_it_is(igate: Day, opencps: Day) -> None:
    count = "select count(*) from raw.dossier where "
    for one in (igate, opencps):
        assert one.rows(count + "national_code <> dossier_code")[0][0] > 0
        assert one.rows("select distinct applicant_type from raw.dossier order by 1") == [(1,), (2,)]


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
    assert igate.content("applicant_phone") != igate.good
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
]  # fmt: skip


def disturb(one: Day) -> None:
    """With all faults on, the warehouse holds what it holds without, but for dossiers named as damaged; then all."""
    try:
        one.fresh()
        one.pull()
        good = one.content()
        one.fresh()
        for fault in ALL_ON:
            one.sandbox.fault(**fault)
        manifest = one.pull()
        named = {json.loads(r["key"])["dossier_id"] for r in one.rejects if r["table"] == "dossier"}
        print(f"{one.case.code}: {len(good['dossier']):,} dossiers, {manifest.calls:,} calls, {manifest.retries:,} "
              f"made again, {len(named)} damaged and named")  # fmt: skip
        assert manifest.retries > 5
        assert 0 < len(named) < 0.02 * len(good["dossier"])
        held = one.content()
        for table in TABLES:
            assert held[table] == {r for r in good[table] if json.loads(r).get("dossier_id") not in named}
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


def test_every_fault_that_can_be_switched_is_shown_here() -> None:
    text = Path(__file__).read_text()
    missing = [f for f in (*CALLS, *CHANGES, *SWITCHES, "late") if f'"{f}"' not in text]
    assert missing == []
