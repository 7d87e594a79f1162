"""What is particular to the national portal: evaluation by period and unit, captures number by number, cursors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from connectors.base import Endpoint, PagingError, Request, SourceRefused, SourceUnavailable
from connectors.national_portal import EVALUATIONS, Evaluation, NationalPortal, PeriodError
from ops.settings import PROJECT

from .conformance import CASES, Wire, pull, span, taste, wired

CASE = next(c for c in CASES if c.code == "national_portal")
CAPTURES = PROJECT / "sandbox" / "data" / "captures"
H20 = "019d2be3-6a85-74ec-a344-751a7a0bbdb5"
H44 = "019d2be3-6a88-732b-8b17-b68020c8553a"
DAY = span("2026-09-01", "2026-09-02")
LIST = NationalPortal.list_path


@pytest.fixture
def wire(portal: Any) -> Iterator[Wire]:
    with wired(portal.base_url, "items") as running:
        yield running


def rows(portal: Any, question: Evaluation) -> list[dict[str, Any]]:
    connector = CASE.connect(portal.base_url)
    chunk = connector._evaluation(question)  # type: ignore[attr-defined]
    assert chunk.rejects == []
    return chunk.tables["evaluation"].to_pylist()


# The sandbox, as it knows no provincial ranking, has that one answered below.
@pytest.mark.parametrize("endpoint", [e for e in EVALUATIONS if e != "service-results"])
@pytest.mark.parametrize("period", ["2026", "2026-Q2", "2026-05"])
def test_every_endpoint_answers_for_every_kind_of_period_and_a_unit(
    portal: Any, endpoint: str, period: str
) -> None:
    found = rows(portal, Evaluation(endpoint, period, H20))
    assert {(r["endpoint"], r["period"], r["root_department_id"]) for r in found} == {(endpoint, period, H20)}
    units = {r["department_id"] for r in found}
    assert H20 in units
    assert len(units) > 30
    by_unit = [r["metric_code"] for r in found if r["department_id"] == H20]
    assert len(by_unit) == len(set(by_unit)) > 1


def test_the_ranking_of_the_country_has_34_provinces_and_the_country(portal: Any) -> None:
    found = rows(portal, Evaluation("service-results", "2025"))
    assert len({r["department_id"] for r in found}) == 35
    assert "national" in {r["department_id"] for r in found}


def test_the_ranking_inside_a_province_names_its_unit_by_code(wire: Wire) -> None:
    answer = {"overview": {"departmentName": "UBND tỉnh Đồng Tháp", "departmentCode": "H20", "totalScore": 68.32,
                           "totalMaxScore": 100, "ratio": 68.32},
              "evaluation": [{"departmentId": "u1", "departmentName": "Sở Y tế", "departmentCode": "H20.14",
                              "totalScore": 61, "ratio": 61.0, "childGroup": "AGENCY"}]}  # fmt: skip
    body = json.dumps({"code": "OK", "data": answer, "message": "OK"}).encode()
    for period in ("2026", "2026-Q2", "2026-05"):
        wire.fault(1, on="/service-results", status=201, body=body)
        connector = CASE.connect(wire.url)
        chunk = connector._evaluation(Evaluation("service-results", period, H20))  # type: ignore[attr-defined]
        found = chunk.tables["evaluation"].to_pylist()
        assert [(r["department_id"], r["metric_code"], float(r["score"])) for r in found] == [
            (H20, "TOTAL", 68.32), ("u1", "TOTAL", 61.0),
        ]  # fmt: skip
    kinds = [json.loads(c.body)["timeType"] for c in wire.seen]
    assert kinds == ["year", "quarter", "month"]


def test_one_procedure_can_be_asked_for_under_the_name_each_endpoint_gives_it() -> None:
    for endpoint, (_, _, key) in EVALUATIONS.items():
        if endpoint != "service-results":
            body = Evaluation(endpoint, "2026-08", H20, formality_id="x").body()
            assert (
                ([k for k in body if k.lower() == "formalityid"] == [key])
                if key
                else ("x" not in body.values())
            )


def test_a_catalogue_without_a_total_announces_nothing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    connector = CASE.connect(wire.url)
    post = NationalPortal.post

    def without(self: NationalPortal, path: str, *words: Any, **more: Any) -> Any:
        answer = post(self, path, *words, **more)
        if path == self.list_path:
            answer.pop("total")
        return answer

    monkeypatch.setattr(type(connector), "post", without)
    next(iter(connector.chunks(Request(CASE.interval))))
    assert connector.report.windows[0]["received"] > 0
    assert connector.report.counts["procedure"].announced is None


@pytest.mark.parametrize(
    ("endpoint", "period", "root", "said"),
    [
        ("khong-co", "2026", H20, "is not one of service-results"),
        ("transparency", "2026-13", H20, "expected 2026, 2026-Q3 or 2026-08"),
        ("transparency", "2026-Q5", H20, "expected 2026, 2026-Q3 or 2026-08"),
        ("transparency", "2026-07-01/2026-09-30", H20, "expected 2026, 2026-Q3 or 2026-08"),
        ("handling-satisfaction", "quý 3", H20, "2026-07-01/2026-09-30"),
        ("handling-satisfaction", "2026-02-30/2026-03-01", H20, "a day that does not exist"),
        ("handling-satisfaction", "2026-09-30/2026-07-01", H20, "ends before it starts"),
        ("transparency", "2026", "national", "needs a unit"),
    ],
)
def test_a_period_the_api_has_no_words_for_is_said_before_any_call(
    endpoint: str, period: str, root: str, said: str
) -> None:
    with pytest.raises(PeriodError) as wrong:
        Evaluation(endpoint, period, root).body()
    assert said in str(wrong.value)


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        ("2026", "2026-01-01", "2026-12-31"), ("2024-02", "2024-02-01", "2024-02-29"),
        ("2026-Q1", "2026-01-01", "2026-03-31"), ("2026-Q4", "2026-10-01", "2026-12-31"),
        ("2026-12", "2026-12-01", "2026-12-31"), ("2025-12-15/2026-03-14", "2025-12-15", "2026-03-14"),
    ],
)  # fmt: skip
def test_satisfaction_is_asked_for_by_days(period: str, first: str, last: str) -> None:
    body = Evaluation("handling-satisfaction", period, H20).body()
    assert (body["fromDate"], body["toDate"]) == (first, last)
    assert "timeType" not in body


@pytest.mark.parametrize(
    "option", [{"endpoint": "transparency"}, {"khoa": 1}, "transparency", 5, None,
               {"endpoint": "service-results", "period": "tháng 8"}],
)  # fmt: skip
def test_a_slip_in_the_list_of_sources_is_told_before_any_call(wire: Wire, option: Any) -> None:
    connector = CASE.connect(wire.url, evaluations=[option])
    with pytest.raises(SourceRefused, match="option evaluations in the list of sources"):
        pull(connector, DAY)
    assert wire.seen == []


# --- as published -----------------------------------------------------------------------------------


def capture(name: str) -> dict[str, Any]:
    return json.loads((CAPTURES / name).read_text(), parse_float=str, parse_int=str)["data"]


def same(found: Any, published: str | None) -> bool:
    """Equal as a number; null is null and never 0."""
    if published is None or found is None:
        return published is found is None
    return float(found) == float(published)


def by_measure(found: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    out = {(r["department_id"], r["metric_code"]): r for r in found}
    assert len(out) == len(found)
    return out


def test_the_ranking_is_as_published_number_by_number(portal: Any) -> None:
    published = capture("service-results_national_2026-09-17.json")
    found = by_measure(rows(portal, Evaluation("service-results", "2026")))
    seen = 0
    for unit in [published["overview"], *published["evaluation"]]:
        identifier = unit.get("departmentId") or "national"
        total = found[identifier, "TOTAL"]
        score = unit["totalScore"] if unit.get("totalScore") is not None else unit.get("score")
        assert same(total["score"], score)
        assert same(total["ratio"], unit.get("ratio"))
        assert total["department_name"] == unit["departmentName"].strip()
        # Of the country the radar has the points of groups, two of them as one.
        groups = unit.get("groupScores") or {g["code"]: g["score"] for g in published["radar"]}
        for code, points in groups.items():
            assert same(found[identifier, code]["score"], points)
            seen += 1
        seen += 1
    assert seen == len(found)


def test_transparency_is_as_published_number_by_number(portal: Any) -> None:
    published = capture("transparency_H44_2026Q3.json")
    found = by_measure(rows(portal, Evaluation("transparency", "2026-Q3", H44)))
    seen = 0
    for unit in [published["overview"], *published["evaluation"]]:
        for metric in unit["metrics"]:
            row = found[unit["departmentId"], metric["code"]]
            for column, key in (("numerator", "numerator"), ("denominator", "denominator"), ("ratio", "ratio"),
                                ("score", "score"), ("max_score", "maxScore")):  # fmt: skip
                assert same(row[column], metric.get(key)), (metric["code"], key)
            seen += 1
        seen += 1  # its TOTAL
    assert seen == len(found)


@pytest.mark.parametrize("endpoint", ["handling-satisfaction", "dossier-digitized"])
def test_null_stays_null_and_nought_nought(portal: Any, endpoint: str) -> None:
    question = Evaluation(endpoint, "2026-08", H20)
    answer = requests.post(
        f"{portal.base_url}/api/v1/reporting/evaluation/{endpoint}", json=question.body(), timeout=10
    ).json()["data"]
    found = by_measure(rows(portal, question))
    met: Counter[Any] = Counter()
    for unit in [answer["overview"], *answer["evaluation"]]:
        for metric in unit["metrics"]:
            row = found[unit["departmentId"], metric["code"]]
            for key in ("numerator", "denominator", "ratio", "score"):
                published = metric[key]
                assert same(row[key], None if published is None else str(published))
                met[published] += published is None or published == 0
    assert met[None] > 0
    assert met[0] > 0


def test_progress_is_as_published_number_by_number(portal: Any) -> None:
    published = capture("dvc-progress-tree_H44_2026Q3.json")
    found = by_measure(rows(portal, Evaluation("dvc-progress-tree", "2026-Q3", H44)))
    units = [published["parent"], *published["children"]]
    for unit in units:
        row = found[unit["departmentId"], "TDGQ"]
        assert same(row["numerator"], unit.get("totalOnTime"))
        assert same(row["denominator"], unit.get("totalReceived"))
        assert same(row["ratio"], unit.get("ratio"))
        average = found[unit["departmentId"], "AVG_PROCESSING_DAYS"]
        assert same(average["ratio"], unit.get("avgProcessingDays"))
    assert {d for d, _ in found} == {u["departmentId"] for u in units}


def test_a_pull_holds_the_evaluations_of_the_list_of_sources_with_their_time_of_capture(wire: Wire) -> None:
    options = CASE.source.options
    connector = CASE.connect(wire.url, evaluations=options["evaluations"], chunk_size=5000)
    connector.list_path = "/none"  # type: ignore[attr-defined]
    wire.fault(on="/none", status=201, body=b'{"code":"OK","data":{"items":[],"total":0,"lastId":null}}')
    tables = [c.tables["evaluation"] for c in connector.chunks(Request(DAY)) if "evaluation" in c.tables]
    assert len(tables) == len(options["evaluations"]) == 3
    captured = {str(t.column("captured_at")[0].as_py().date()) for t in tables}
    assert captured == {"2026-09-17", "2026-09-26"}


# --- refusals ---------------------------------------------------------------------------------------


def test_a_unit_answered_with_the_country_is_an_error(portal: Any, wire: Wire) -> None:
    # What the real portal does with a unit it does not accept.
    national = (CAPTURES / "service-results_national_2026-09-17.json").read_bytes()
    wire.fault(on="/service-results", status=201, body=national)
    connector = CASE.connect(wire.url)
    with pytest.raises(SourceUnavailable, match="answered about national"):
        connector._evaluation(Evaluation("service-results", "2026", H20))  # type: ignore[attr-defined]


def test_no_data_names_period_and_unit(wire: Wire) -> None:
    wire.fault(on="/transparency", status=201, body=b'{"code":"OK","data":null,"message":"OK"}')
    connector = CASE.connect(wire.url)
    with pytest.raises(SourceUnavailable, match=f"2027-01 and unit {H20}"):
        connector._evaluation(Evaluation("transparency", "2027-01", H20))  # type: ignore[attr-defined]


def test_an_envelope_that_is_not_ok_is_an_error(wire: Wire) -> None:
    wire.fault(on="/list-all", status=201, body=b'{"code":"SYSTEM_ERROR","data":{},"message":"003099012345"}')
    with pytest.raises(SourceUnavailable, match="SYSTEM_ERROR") as said:
        CASE.connect(wire.url)._list()  # type: ignore[attr-defined]
    assert "003099012345" not in str(said.value)


# --- the catalogue ----------------------------------------------------------------------------------


def test_the_cursor_is_followed_to_its_end(wire: Wire) -> None:
    first, keys, after = CASE.connect(wire.url, page_size=150)._list()  # type: ignore[attr-defined]
    assert first == after == len(keys) == len(set(keys)) == 2642
    cursors = [json.loads(c.body)["lastId"] for c in wire.seen]
    assert cursors[0] == ""
    assert cursors[1:] == keys[149::150] + ([keys[-1]] if len(keys) % 150 else [])


def test_a_cursor_that_goes_round_in_a_circle_is_an_error(wire: Wire) -> None:
    pages = [b'{"code":"OK","data":{"items":[{"id":"a"}],"total":2,"lastId":"%s"}}' % c for c in (b"a", b"b")]
    for _ in range(20):
        for page in pages:
            wire.fault(1, on="/list-all", status=201, body=page)
    with pytest.raises(PagingError):
        CASE.connect(wire.url).counted_window("c", CASE.connect(wire.url)._list)  # type: ignore[attr-defined]
    assert len(wire.seen) < 20


def test_a_procedure_withdrawn_between_list_and_detail_is_a_reject(wire: Wire) -> None:
    wire.fault(1, on="/get-formality-by-citizen", status=404)
    some = taste(CASE.connect(wire.url), DAY)
    (reject,) = [r for r in some.rejects if r.table == "procedure"]
    assert reject.reason == "the source has no detail of this procedure"
    assert reject.key["procedure_id"]


def fee(value: Any, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "FEE", "value": value, "currencyName": name, "description": "", **more}


VND_ID = "019b3fb2-b5b8-70ac-85e2-9409ec1eaffa"
FEES: list[tuple[list[Any], tuple[float | None, float | None, str | None]]] = [
    # fees -> fee_vnd, fee_amount, fee_currency
    ([fee(2000, "Việt Nam Đồng")], (2000, 2000, "VND")),
    ([fee(2000, "Đồng mới", currencyId=VND_ID)], (2000, 2000, "VND")),
    ([fee(10, "USD")], (None, 10, "USD")),
    ([fee(10, "USD"), fee(50_000, "Việt Nam Đồng")], (50_000, 10, "USD")),
    ([fee(12.5, "EUR")], (None, 12.5, "EUR")),
    ([fee(7)], (None, 7, None)),
    ([fee(0, "USD", description="Theo quy định")], (None, None, None)),
    ([fee(0, "Việt Nam Đồng")], (0, 0, "VND")),
    ([], (None, None, None)),
]


@pytest.mark.parametrize(("fees", "wanted"), FEES)
def test_a_fee_in_another_currency_is_kept_in_it_and_never_taken_for_dong(
    portal: Any, fees: list[Any], wanted: tuple[Any, ...]
) -> None:
    connector = CASE.connect(portal.base_url)
    methods = [{"submissionMethod": "ONLINE", "fees": fees}]
    detail = {"id": "a", "code": "1.001194", "name": "Thủ tục", "executionMethods": methods}
    chunk = connector._procedure_chunk(["a"], [detail])  # type: ignore[attr-defined]
    (row,) = chunk.tables["procedure_method"].to_pylist()
    told = tuple(None if row[c] is None else float(row[c]) for c in ("fee_vnd", "fee_amount"))
    assert (*told, row["fee_currency"]) == wanted
    notes = [n for n in connector.report.notes if "no fee_vnd" in n]
    foreign = {f["currencyName"] or "no currency named" for f in fees if f["value"]} - {
        "Việt Nam Đồng",
        "Đồng mới",
    }
    assert {n.partition(" with a fee in ")[2].partition(",")[0] for n in notes} == foreign
    assert all(n.endswith(": 1") for n in notes)


def test_the_catalogue_says_how_many_fees_are_in_usd(portal: Any) -> None:
    """17 procedures of the crawl have a fee in USD alone, and the captured 2.000815 one beside its fee in đồng."""
    connector = CASE.connect(portal.base_url, chunk_size=5000)
    (chunk,) = connector._procedures(Request(DAY))  # type: ignore[attr-defined]
    found = chunk.tables["procedure_method"].to_pylist()
    usd = [r for r in found if r["fee_currency"] == "USD"]
    assert len({r["procedure_id"] for r in usd}) == 18
    assert {r["fee_vnd"] for r in usd} == {None}
    assert {float(r["fee_amount"]) for r in usd} == {5, 10, 25, 50, 100, 145, 155, 165}
    assert [n for n in connector.report.notes if "in USD" in n] == [
        "ways of submitting a procedure with a fee in USD, which is no fee_vnd but stands in fee_amount and "
        f"fee_currency: {len(usd)}"
    ]


def test_a_public_site_is_asked_once_a_second_in_sequence_unless_it_is_ours() -> None:
    theirs = NationalPortal("national_portal", Endpoint("https://dichvucong.example"))
    assert (theirs.min_delay, theirs.concurrency) == (1.0, 1)
    ours = CASE.connect("http://127.0.0.1:1")
    assert (ours.min_delay, ours.concurrency) == (0.0, 4)


def test_the_captures_are_the_ones_the_notice_names() -> None:
    assert {p.name for p in Path(CAPTURES).glob("*H44*")} == {
        "dvc-progress-tree_H44_2026Q3.json", "totals_H44_2026Q3.csv", "transparency_H44_2026Q3.json",
    }  # fmt: skip
