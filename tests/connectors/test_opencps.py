"""What is particular to OpenCPS: windows of whole days, Liferay's paging, the site's number, states by name."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import requests

from connectors.base import SourceRefused
from connectors.dossiers import Detail
from connectors.opencps import OpenCPS
from connectors.typing import VIETNAM
from ops.settings import PROJECT
from tests.e2e.installation import Installation

from .conformance import CASES, Case, Pulled, Wire, pull, span, wired

CASE: Case = next(c for c in CASES if c.code == "opencps_dong_thap")
GROUP = str(CASE.source.options["group_id"])
#: Sundays; the week around them has something in each window.
QUIET, SUNDAY = span("2025-06-15T02:00", "2025-06-15T02:01"), span("2024-01-07", "2024-01-08")
DAY = {"fromReceiveDate": "20/06/2025", "toReceiveDate": "20/06/2025"}
NEW_YEAR = span("2024-01-01", "2024-01-02")


@pytest.fixture
def wire(dong_thap_cu: Any) -> Iterator[Wire]:
    with wired(dong_thap_cu.base_url, "data") as running:
        yield running


@pytest.fixture(scope="module")
def whole(dong_thap_cu: Any) -> Pulled:
    return pull(CASE.connect(dong_thap_cu.base_url, margin_days=5, page_size=200, chunk_size=2000), SUNDAY)


def ask(address: str, path: str = "/dossiers", **params: Any) -> Any:
    """An answer of the source, asked for without the connector."""
    answer = requests.get(
        f"{address}/o/rest/v2{path}", timeout=30, params=params, auth=(CASE.login, CASE.secret),
        headers={"groupId": GROUP},
    )  # fmt: skip
    return answer.json()


def ids(pulled: Pulled) -> set[str]:
    return set(pulled.tables["dossier"].column("dossier_id").to_pylist())


def test_a_pull_is_the_union_of_the_four_windows_each_dossier_once(dong_thap_cu: Any, whole: Pulled) -> None:
    bounds = ("02/01/2024", "07/01/2024")
    found = {
        w: {str(d["dossierId"]) for d in ask(dong_thap_cu.base_url, **{f"from{w}Date": bounds[0],
                                                                        f"to{w}Date": bounds[1]})["data"]}
        for w in OpenCPS.windows
    }  # fmt: skip
    assert all(found.values())
    assert ids(whole) == set.union(*found.values())
    count = whole.report.counts["dossier"]
    assert count.announced == sum(len(f) for f in found.values())
    assert count.duplicates == count.announced - len(ids(whole))
    assert (count.rejected, sum(c.rejected for c in whole.report.counts.values())) == (0, 0)


def test_a_window_is_the_whole_days_that_interval_and_margin_touch(wire: Wire) -> None:
    pull(CASE.connect(wire.url, margin_days=2), span("2025-06-14", "2025-06-15"), chunks=2)
    asked = [parse_qs(urlsplit(c.target).query) for c in wire.seen if "/dossiers?" in c.target]
    days = {(k.removesuffix("Date"), v[0]) for q in asked for k, v in q.items() if k.endswith("Date")}
    # The half-open interval ends before the 15th; the wire's last day is included.
    firsts, lasts = ({d for k, d in days if k.startswith(side)} for side in ("from", "to"))
    assert (firsts, lasts) == ({"12/06/2025"}, {"14/06/2025"})
    assert {k for k, _ in days} == {side + w for side in ("from", "to") for w in OpenCPS.windows}


def test_the_last_page_repeated_past_the_end_is_the_end(wire: Wire) -> None:
    pull(CASE.connect(wire.url, page_size=50, margin_days=3), QUIET, chunks=2)
    pages = [parse_qs(urlsplit(c.target).query) for c in wire.seen if "/dossiers?" in c.target]
    received = [int(q["start"][0]) for q in pages if "fromReceiveDate" in q]
    total = ask(wire.url, fromReceiveDate="12/06/2025", toReceiveDate="15/06/2025", start=0, end=1)["total"]
    assert total > 100
    assert received == list(range(0, total + 50, 50))[: -(-total // 50) + 1]


def test_dossiers_still_open_are_read_again_and_a_gone_one_is_a_reject(
    dong_thap_cu: Any, whole: Pulled
) -> None:
    listed = ask(dong_thap_cu.base_url, **DAY, start=0, end=30)["data"]
    older = [str(d["dossierId"]) for d in listed]
    gone = ["99000000", "a/../b?c=d"]
    again = pull(CASE.connect(dong_thap_cu.base_url), NEW_YEAR, still_open=lambda: [*older, *gone, older[0]])
    assert ids(again) == set(older)
    assert {(r.key["dossier_id"], r.reason) for r in again.rejects if r.table == "dossier"} == {
        (g, "the source no longer has this dossier") for g in gone
    }
    count = again.report.counts["dossier"]
    assert (count.announced, count.rejected, count.duplicates) == (33, 2, 1)
    assert {"window": "still open in the warehouse", "asked": 33} in again.report.windows


def test_each_dossier_knows_who_received_who_decides_and_where_the_applicant_lives(whole: Pulled) -> None:
    rows, agencies = whole.tables["dossier"], whole.tables["agency"].column("agency_code")
    receiving, responsible = rows.column("receiving_agency_code"), rows.column("responsible_agency_code")
    for codes in (receiving, responsible, whole.tables["dossier_step"].column("agency_code")):
        assert pc.all(pc.is_in(codes, value_set=agencies.combine_chunks())).as_py()
        assert pc.all(pc.match_substring_regex(codes, r"^000\.\d\d\.\d\d\.H20$")).as_py()
    assert pc.any(pc.not_equal(receiving, responsible)).as_py()
    communes = whole.tables["agency"].filter(
        pc.equal(whole.tables["agency"].column("agency_level"), "COMMUNE")
    )
    known = communes.column("unit_code").combine_chunks()
    assert pc.all(pc.is_in(rows.column("applicant_commune_code"), value_set=known)).as_py()
    parents = whole.tables["agency"].column("parent_agency_code")
    assert parents.null_count == 1
    assert set(parents.drop_null().to_pylist()) <= set(agencies.to_pylist())


def test_values_are_typed_as_the_source_means_them(dong_thap_cu: Any, whole: Pulled) -> None:
    wanted = {1: ("false", 0), 2: ("true", 0), 3: ("false", 1)}
    for channel, said in wanted.items():
        rows = whole.tables["dossier"].filter(pc.equal(whole.tables["dossier"].column("channel"), channel))
        assert rows.num_rows
        row = rows.slice(0, 1).to_pylist()[0]
        record = ask(dong_thap_cu.base_url, f"/dossiers/{row['dossier_id']}")
        assert (record["online"], record["fromViaPostal"]) == said
        for column, key in (("submitted_at", "submitDate"), ("received_at", "receiveDate"), ("due_at", "dueDate"),
                            ("completed_at", "releaseDate"), ("returned_at", "finishDate")):  # fmt: skip
            moment = dt.datetime.strptime(record[key], "%d/%m/%Y %H:%M:%S").replace(tzinfo=VIETNAM)
            assert row[column] == moment
        assert row["service_level"] == {4: "full", 3: "partial", 2: "information"}[record["serviceLevel"]]
        assert row["applicant_type"] == {"citizen": 1, "business": 2}[record["applicantIdType"]]
        steps = whole.tables["dossier_step"].filter(
            pc.equal(whole.tables["dossier_step"].column("dossier_id"), row["dossier_id"])
        )
        assert steps.num_rows == len(record["sequences"])
    fees = whole.tables["dossier_fee"]
    assert set(fees.column("payment_method").to_pylist()) >= {"online", "cash", "transfer"}
    assert pc.all(pc.equal(fees.column("paid_at").is_null(), fees.column("payment_method").is_null())).as_py()


def test_every_state_has_a_national_code_and_is_open_or_final() -> None:
    with (PROJECT / "dbt" / "seeds" / "source_status.csv").open() as f:
        codes = {
            r["source_status_code"]: r["status_code"] for r in csv.DictReader(f) if r["dialect"] == "opencps"
        }
    final = {"done", "denied", "unresolved", "cancelled"}
    assert codes.keys() == {*OpenCPS.open_statuses, *final}
    assert {codes[name] for name in final} == {"10", "3", "8", "7"}
    assert set(codes.values()) <= {str(n) for n in range(1, 11)}


def test_served_states_are_known_ones(whole: Pulled) -> None:
    found = {*whole.tables["dossier"].column("status_code").to_pylist(),
             *whole.tables["dossier_step"].column("status_code").to_pylist()}  # fmt: skip
    assert found <= {*OpenCPS.open_statuses, "done", "denied", "unresolved", "cancelled"}
    assert {"done", "processing"} <= found


def test_a_date_that_does_not_exist_and_a_key_nobody_knows_are_told_and_spoil_nothing_else(
    dong_thap_cu: Any,
) -> None:
    connector = CASE.connect(dong_thap_cu.base_url)
    listed = ask(dong_thap_cu.base_url, **DAY, start=0, end=3)
    asked = [str(d["dossierId"]) for d in listed["data"]]
    good, bad, new = (ask(dong_thap_cu.base_url, f"/dossiers/{i}") for i in asked)
    bad["receiveDate"] = "31/02/2025 08:00:00"
    new["nickname"] = "Tí"
    new["sequences"][0]["mood"] = "vui"
    details = [Detail.read(orjson.dumps(d)) for d in (good, bad, new)]
    chunk = connector.chunk(asked, details)  # type: ignore[attr-defined]
    assert chunk.tables["dossier"].column("dossier_id").to_pylist() == [asked[0], asked[2]]
    assert set(chunk.tables["dossier_step"].column("dossier_id").to_pylist()) == {asked[0], asked[2]}
    first = chunk.rejects[0]
    assert (first.field, first.key["dossier_id"]) == ("received_at", asked[1])
    assert first.reason == "not a timestamptz: no date that exists, in none of the known forms"
    assert {r.reason for r in chunk.rejects[1:]} == {"its dossier was rejected"}
    counts = connector.report.counts
    assert (dict(counts["dossier"].undeclared), dict(counts["dossier_step"].undeclared)) == (
        {"nickname": 1}, {"mood": 1})  # fmt: skip
    kept = {(q.table, q.field, q.kind) for q in chunk.quarantine if q.kind == "undeclared"}
    assert kept == {("dossier", "nickname", "undeclared"), ("dossier_step", "mood", "undeclared")}


def test_a_dossier_without_a_word_on_its_channel_has_none(dong_thap_cu: Any) -> None:
    one = ask(dong_thap_cu.base_url, **DAY, start=0, end=1)
    record = ask(dong_thap_cu.base_url, f"/dossiers/{one['data'][0]['dossierId']}")
    for said, channel in ((None, None), ("True", 2), (True, 2), ("false", 1)):
        record["online"] = said
        detail = Detail.read(orjson.dumps(record))
        chunk = CASE.connect(dong_thap_cu.base_url).chunk([str(record["dossierId"])], [detail])  # type: ignore[attr-defined]
        assert chunk.tables["dossier"].column("channel").to_pylist() == [channel]
        record["dossierId"] = int(record["dossierId"])


def test_a_missing_and_a_wrong_number_of_the_site_are_told_apart(dong_thap_cu: Any) -> None:
    with pytest.raises(SourceRefused, match="looked for group_id"):
        pull(CASE.connect(dong_thap_cu.base_url, group_id=None), NEW_YEAR)
    with pytest.raises(SourceRefused, match=r"no agencies at all.*Compare group_id"):
        pull(CASE.connect(dong_thap_cu.base_url, group_id=1), NEW_YEAR)


def test_a_wrong_password_is_refused_at_once_and_not_quoted(wire: Wire) -> None:
    with pytest.raises(SourceRefused, match="HTTP 401") as caught:
        pull(CASE.connect(wire.url, secret="mật-khẩu-sai"), NEW_YEAR)
    assert len(wire.seen) == 1
    assert "sai" not in str(caught.value)
    assert wire.seen[0].headers["Authorization"].split()[1] not in str(caught.value)


def test_a_name_of_an_applicant_comes_in_capitals_and_is_left_so(whole: Pulled) -> None:
    names = whole.tables["dossier"].column("applicant_name")
    assert pc.all(pc.equal(names, pc.utf8_upper(names))).as_py()
    assert isinstance(names.combine_chunks(), pa.StringArray)


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_a_dossier_open_at_the_merger_stands_in_both_systems_and_counts_once(tmp_path: Path) -> None:
    installation = Installation.create(tmp_path / "home")
    try:
        installation.ops("run", "--period", "2025-06-30/2025-07-01")
        installation.ops("url")
        ((pairs, same, counted_once),) = installation.rows(
            """
            select
                count(*),
                count(*) filter (where old.applicant_id_number is not distinct from new.applicant_id_number
                    and old.procedure_code = new.procedure_code and old.received_at = new.received_at),
                count(*) filter (where fact.record_count = 2 and fact.first_dossier_id = old.dossier_id
                    and fact.receiving_agency_code = old.receiving_agency_code
                    and fact.responsible_agency_code = new.responsible_agency_code)
            from raw.dossier as new
            inner join raw.dossier as old
                on new.previous_code = old.dossier_code and old.source_code = 'opencps_dong_thap'
            inner join marts.fct_dossier as fact
                on new.source_code = fact.source_code and new.dossier_id = fact.dossier_id
            """
        )
        ((facts, records),) = installation.rows(
            "select count(*), sum(record_count) from marts.fct_dossier where source_code like '%dong_thap' "
            "and first_source_code like '%dong_thap'"
        )
        ((doubled,),) = installation.rows(
            "select count(*) from marts.fct_dossier where source_code = 'opencps_dong_thap' and dossier_code in "
            "(select previous_code from raw.dossier)"
        )
    finally:
        installation.ops("down", check=False)
    assert pairs == same == counted_once > 100
    assert records - facts == pairs
    assert doubled == 0


def test_most_details_go_the_quick_way(dong_thap_cu: Any) -> None:
    connector: Any = CASE.connect(dong_thap_cu.base_url)
    asked = [str(d["dossierId"]) for d in ask(dong_thap_cu.base_url, **DAY, start=0, end=80)["data"]]
    connector.learn([connector.detail(i) for i in asked[: connector.learn_from]])
    again = [connector.detail(i) for i in asked]
    assert sum(d.record is None for d in again) > 0.9 * len(asked) > 50
