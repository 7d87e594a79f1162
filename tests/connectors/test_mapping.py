"""Records of any shape: what is not there is MISSING or null, what is wrong is a reject, nothing crashes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.base import Chunk, Endpoint, PagingError, SourceChanged, SourceError
from connectors.dossiers import Detail
from connectors.igate import _DOSSIER, IGate
from connectors.mapping import Path, declared_keys, flatten, undeclared
from connectors.national_portal import EVALUATIONS, Evaluation, NationalPortal
from connectors.typing import MISSING, MissingColumn

MAPPING: dict[str, str | Path] = {
    "code": "code",
    "sector": "procedure.sector.code",
    "name": "procedure.name[vi]",
    "level": Path("level", {"4": "full", 4: "full"}),
}
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4), st.sampled_from(["2025-06-16", "31/02/2025", "4"]),
)  # fmt: skip
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text("abi", max_size=2), inner, max_size=2)
    ),
    max_leaves=5,
)


def column(records: list[Any], path: str) -> list[Any]:
    return flatten(records, {"c": path})[0]["c"]


def test_never_sent_is_missing_and_null_is_null() -> None:
    records = [{"a": {"b": 1}}, {"a": {}}, {}, {"a": None}, {"a": {"b": None}}]
    assert column(records, "a.b") == [1, MISSING, MISSING, None, None]
    assert column(records, "a.b.c") == [None, MISSING, MISSING, None, None]


def test_something_else_than_an_object_makes_what_is_below_it_null() -> None:
    for other in ("text", 5, 0, "", True, [], [{"b": 1}], 1.5):
        assert column([{"a": other}, {}], "a.b") == [None, MISSING], other
        assert column([other, {}], "a") == [None, MISSING], other


def test_the_vietnamese_name_is_picked() -> None:
    names = [{"languageId": 46, "name": "Birth"}, {"languageId": 228, "name": "Khai sinh"}]
    odd: list[Any] = [names, [], [{"languageId": 46}], [5, None], "Khai tử", None, {"name": "x"}]
    assert column([{"n": n} for n in odd], "n[vi]") == [
        "Khai sinh", None, None, None, "Khai tử", None, {"name": "x"},
    ]  # fmt: skip


def test_an_unknown_code_stays_as_it_is_for_the_contract_to_reject() -> None:
    levels = [{"level": v} for v in ("4", 4, "9", None, {"x": 1}, [1])]
    columns, paths = flatten(levels, MAPPING)
    assert columns["level"] == ["full", "full", "9", None, {"x": 1}, [1]]
    assert paths["level"] == "level"


def test_undeclared_values_are_found_by_path_and_counted() -> None:
    known = declared_keys(MAPPING, ignored=["procedure.id", "more"])
    records = [
        {"code": 1, "new": 2, "procedure": {"id": 1, "sector": {"code": 1, "phụ": 3}}},
        {"code": 1, "more": {"anything": 1}, "procedure": "text"},
        "no object", None, {"new": None},
    ]  # fmt: skip
    counts: Counter[str] = Counter()
    assert undeclared(records, known, counts) == [
        (0, {"new": 2, "procedure.sector.phụ": 3}), (4, {"new": None}),
    ]  # fmt: skip
    assert counts == {"new": 2, "procedure.sector.phụ": 1}


# --- records of any shape ---------------------------------------------------------------------------


def shaped(mapping: dict[str, str | Path]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that resemble what a mapping expects, with anything in the place of anything."""
    known = declared_keys(mapping)

    def below(path: str) -> st.SearchStrategy[Any]:
        fields = {}
        for key in sorted(known.get(path, ())):
            inner = f"{path}.{key}" if path else key
            fields[key] = st.one_of(below(inner), ANYTHING) if inner in known else ANYTHING
        return st.fixed_dictionaries({}, optional={**fields, "la": ANYTHING})

    return below("")


CHILD_LISTS = ("task", "dossierFormFile", "dossierFee")
GOOD = {
    "id": "0" * 24, "code": "000.00.14.H58-250616-0123", "nationCode": None,
    "procedure": {"id": "1", "code": "1.001193", "translate": [{"languageId": 228, "name": "Khai sinh"}],
                  "sector": {"id": "1", "code": "G15", "name": []}},
    "procedureLevel": {"id": "1", "code": "4"}, "applicant": {"type": 1, "data": {"identityNumber": "003099012345"}},
    "agency": {"id": "1", "code": "000.00.14.H58"}, "processingAgency": {"id": "1", "code": "000.00.14.H58"},
    "acceptedDate": "2025-06-16T08:12:33.000+0700", "dossierStatus": {"id": 2, "name": []},
    "task": [{"order": 1, "name": "Tiếp nhận", "startDate": "16/06/2025 08:12:33"}],
    "dossierFormFile": [{"order": 1, "name": "Đơn", "isResult": False}],
    "dossierFee": [{"order": 1, "amount": 8000}],
}  # fmt: skip
#: A good dossier with anything in the place of one or two of its values.
SPOILED = st.dictionaries(st.sampled_from([*GOOD, "la"]), ANYTHING, max_size=2).map(lambda d: GOOD | d)


def igate() -> IGate:
    return IGate("igate", Endpoint("http://127.0.0.1:1"))


def check(connector: Any, chunk: Chunk, table: str, asked: int) -> None:
    """Nothing is lost: what was asked for is typed, rejected or a duplicate; all payloads are kept."""
    count = connector.report.counts[table]
    assert chunk.tables[table].num_rows + count.rejected + count.duplicates == asked
    assert len([q for q in chunk.quarantine if q.kind == "reject"]) == len(chunk.rejects)


@given(records=st.lists(st.one_of(SPOILED, shaped(_DOSSIER), ANYTHING, st.none()), min_size=1, max_size=3))
@example(records=[GOOD | {"task": {"order": 1}}])
@example(records=[GOOD | {"dossierFee": 5, "task": "x", "dossierFormFile": True}])
@example(records=[GOOD | {"task": [None, 5, "x", [], {}]}])
@example(records=[None, None])
@example(records=[[], GOOD])
@settings(max_examples=70, deadline=None)
def test_dossiers_of_any_shape_are_rows_rejects_or_a_missing_column(records: list[Any]) -> None:
    connector = igate()
    ids = [f"{position:024d}" for position in range(len(records))]
    for key, record in zip(ids, records, strict=True):
        if isinstance(record, dict) and record.get("id") == GOOD["id"]:
            record["id"] = key
    details = [None if r is None else Detail.read(orjson.dumps(r)) for r in records]
    try:
        chunk = connector.chunk(ids, details)
    except (SourceError, MissingColumn):
        return
    check(connector, chunk, "dossier", len(records))


def test_a_good_dossier_is_typed_whole() -> None:
    connector = igate()
    record = GOOD | {"la": {"x": 1}, "procedure": GOOD["procedure"] | {"moi": 2}}  # type: ignore[operator]
    chunk = connector.chunk([str(GOOD["id"])], [Detail.read(orjson.dumps(record))])
    assert chunk.rejects == []
    assert {t: b.num_rows for t, b in chunk.tables.items()} == {
        "dossier": 1, "dossier_step": 1, "dossier_paper": 1, "dossier_fee": 1,
    }  # fmt: skip
    assert connector.report.counts["dossier"].undeclared == {"la": 1, "procedure.moi": 1}
    (kept,) = chunk.quarantine
    assert (kept.kind, orjson.loads(kept.payload)) == ("undeclared", {"la": {"x": 1}, "procedure.moi": 2})
    assert repr(kept.payload) not in repr(kept)


def test_a_dossier_gone_or_answered_by_another_is_a_reject_with_its_reason() -> None:
    connector = igate()
    other = Detail.read(orjson.dumps(GOOD))
    chunk = connector.chunk(["a" * 24, "b" * 24], [None, other])
    assert [(r.key["dossier_id"], r.reason) for r in chunk.rejects if r.table == "dossier"] == [
        ("a" * 24, "the source no longer has this dossier"),
        (GOOD["id"], "the source answered with another dossier"),
    ]
    assert {r.reason for r in chunk.rejects if r.table != "dossier"} == {"its dossier was rejected"}
    assert chunk.tables["dossier"].num_rows == 0


def test_a_renamed_key_stops_the_pull_by_name() -> None:
    renamed = {("ma" if k == "code" else k): v for k, v in GOOD.items()}
    with pytest.raises(MissingColumn, match=r"dossier\.dossier_code.*'code'"):
        igate().chunk([str(GOOD["id"])], [Detail.read(orjson.dumps(renamed))])


def test_a_list_that_is_none_and_entries_that_are_no_objects_are_rejects() -> None:
    for wrong in ({"order": 1, "amount": None}, "x", 5, [None, "x"]):
        connector = igate()
        record = GOOD | {"dossierFee": wrong}
        chunk = connector.chunk([str(GOOD["id"])], [Detail.read(orjson.dumps(record))])
        assert {r.table for r in chunk.rejects} == {"dossier_fee"}
        assert chunk.tables["dossier"].num_rows == 1


# --- the portal -------------------------------------------------------------------------------------

PROCEDURE = {
    "id": "p0", "code": "1.001193", "name": "Khai sinh", "state": "UPDATED", "type": "STANDARD",
    "category": {"code": "G15", "name": "Hộ tịch"}, "resultsDetails": [{"name": "Giấy khai sinh"}],
    "executionMethods": [{"submissionMethod": "ONLINE", "processingTime": 1, "processingTimeUnit": "DAY",
                          "fees": [{"value": 8000, "description": ""}]}],
}  # fmt: skip
LISTS = st.lists(st.one_of(ANYTHING, st.just({"fees": "x"}), st.just({"fees": [5], "name": {}})), max_size=2)
SPOILED_PROCEDURE = st.dictionaries(
    st.sampled_from([*PROCEDURE, "la"]), st.one_of(ANYTHING, LISTS), max_size=2
).map(lambda d: PROCEDURE | d)


def portal() -> NationalPortal:
    return NationalPortal("national_portal", Endpoint("http://127.0.0.1:1"))


@given(records=st.lists(st.one_of(SPOILED_PROCEDURE, ANYTHING), min_size=1, max_size=3))
@example(records=[PROCEDURE | {"executionMethods": 5, "resultsDetails": {"name": 1}}])
@example(records=[PROCEDURE | {"executionMethods": {"fees": [None, {"value": True}]}}])
@settings(max_examples=70, deadline=None)
def test_procedures_of_any_shape_are_rows_rejects_or_a_missing_column(records: list[Any]) -> None:
    connector = portal()
    ids = [f"p{position}" for position in range(len(records))]
    records = [r | {"id": i} if isinstance(r, dict) and r.get("id") == "p0" else r
               for i, r in zip(ids, records, strict=True)]  # fmt: skip
    try:
        chunk = connector._procedure_chunk(ids, orjson.loads(orjson.dumps(records)))
    except (SourceError, MissingColumn):
        return
    check(connector, chunk, "procedure", len(records))


class Answering(NationalPortal):
    """The portal with one answer, whatever is asked; what is under test begins after the wire."""

    answer: Any = None

    def call(self, *args: Any, **words: Any) -> Any:
        return self.answer


ROOT = "019d2be3-6a88-732b-8b17-b68020c8553a"
UNIT = st.dictionaries(
    st.sampled_from(["departmentId", "departmentName", "groupScores", "metrics", "score", "ratio", "totalOnTime"]),
    ANYTHING, max_size=4,
)  # fmt: skip


@pytest.mark.parametrize("endpoint", EVALUATIONS)
@given(
    data=st.one_of(
        ANYTHING,
        st.dictionaries(
            st.sampled_from(["parent", "overview", "children", "evaluation", "pagination"]),
            st.one_of(ANYTHING, UNIT.map(lambda u: u | {"departmentId": ROOT}), st.lists(UNIT, max_size=2)),
        ),
    )
)
@settings(max_examples=25, deadline=None)
def test_evaluations_of_any_shape_are_rows_rejects_or_an_error(endpoint: str, data: Any) -> None:
    connector = Answering("national_portal", Endpoint("http://127.0.0.1:1"))
    connector.answer = {"code": "OK", "data": data, "message": "OK"}
    period = "2026-08"
    try:
        connector._evaluation(Evaluation(endpoint, period, ROOT))
    except (SourceError, MissingColumn):
        return


@given(answer=ANYTHING)
@settings(max_examples=100, deadline=None)
def test_an_envelope_of_any_shape_is_data_or_an_error(answer: Any) -> None:
    connector = Answering("national_portal", Endpoint("http://127.0.0.1:1"))
    connector.answer = answer
    with pytest.raises(SourceError):
        connector.post("/x", {})


class Listing(IGate):
    """iGate whose every page is the same, which no real one survives; for the shape of its rows only."""

    content: Any = None

    def call(self, *args: Any, **words: Any) -> Any:
        return {"content": self.content, "totalElements": 1}


@pytest.mark.parametrize("row", [{}, {"id": None}, {"id": ""}, {"id": 5}, {"id": {}}, None, "x", []])
def test_a_row_without_an_identifier_says_so(row: Any) -> None:
    connector = Listing("igate", Endpoint("http://127.0.0.1:1"))
    for content in ([row], row):
        connector.content = content
        if content == [] or content is None:
            continue
        with pytest.raises(SourceChanged, match="holds no"):
            connector.agencies()


def test_a_list_whose_pages_are_all_the_same_is_not_read_for_ever() -> None:
    connector = Listing("igate", Endpoint("http://127.0.0.1:1"))
    connector.content = [{"id": "a", "code": "x", "name": []}]
    with pytest.raises(PagingError, match="page 1 of a list is page 0 again"):
        connector.agencies()


@given(
    count=st.integers(0, 60), size=st.integers(1, 25), announced=st.sampled_from(["right", "none", "low", "high"]),
    lost=st.booleans(), repeated=st.booleans(),
)  # fmt: skip
def test_any_list_in_any_pages_is_read_whole_or_not_at_all(
    count: int, size: int, announced: str, lost: bool, repeated: bool
) -> None:
    ids = [str(n) for n in range(count)]
    sent = list(ids)
    if lost and sent:
        sent.pop(len(sent) // 2)
    if repeated and sent:
        sent.insert(0, sent[-1])
    total = {"right": count, "none": None, "low": count - 1, "high": count + 1}[announced]
    connector = Listing("igate", Endpoint("http://127.0.0.1:1"))

    def read() -> tuple[int | None, list[str], int | None]:
        return connector.read_pages(lambda page: (sent[page * size : (page + 1) * size], total))

    whole = len(set(sent)) == len(sent) and total in (None, len(sent))
    try:
        found = connector.counted_window("a list", read)
    except PagingError:
        assert not whole or any(
            sent[a : a + size] == sent[a + size : a + 2 * size] for a in range(0, len(sent), size)
        )
    else:
        assert whole
        assert found == sent
        assert connector.report.windows == [
            {"window": "a list", "announced_before": total, "announced_after": total, "received": len(sent)}
        ]
