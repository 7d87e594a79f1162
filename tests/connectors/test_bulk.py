"""Reading by Arrow and reading key by key give the same: rows, rejects, undeclared values, errors."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.base import Chunk, SourceError
from connectors.bulk import NotOfThisShape
from connectors.dossiers import Detail
from connectors.igate import IGate
from connectors.typing import MissingColumn
from tests.connectors.test_mapping import ANYTHING, GOOD, SPOILED, igate


def both(records: list[Any]) -> list[Any]:
    """What the two ways make of `records`, in a form that can be compared."""
    contents = [orjson.dumps(r) for r in records]
    ids = [r["id"] if isinstance(r, dict) and isinstance(r.get("id"), str) else "?" for r in records]
    outcomes: list[Any] = []
    for layout in (None, IGate.shape().learn([GOOD])):
        connector = igate()
        connector._layout = layout
        try:
            chunk = connector.chunk(ids, [connector.read(c) for c in contents])
        except (SourceError, MissingColumn) as e:
            outcomes.append(str(e))
            continue
        outcomes.append(plain(connector, chunk))
    return outcomes


def plain(connector: IGate, chunk: Chunk) -> Any:
    rows = {t: sorted(map(repr, b.to_pylist())) for t, b in chunk.tables.items() if b.num_rows}
    rejects = sorted((r.table, str(r.key), r.field, r.reason) for r in chunk.rejects)
    kept = sorted(
        (q.table, q.kind, q.field, str(q.key), orjson.loads(q.payload).__repr__()) for q in chunk.quarantine
    )
    counts = {t: (c.rejected, c.duplicates, dict(c.undeclared)) for t, c in connector.report.counts.items()}
    return rows, rejects, kept, counts


def changed(*path: Any, value: Any) -> dict[str, Any]:
    record = copy.deepcopy(GOOD)
    here: Any = record
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return record


NAMES = [
    {"languageId": 46, "name": "Birth"},
    {"languageId": 228, "name": "Khai sinh"},
    {"languageId": 228, "name": "x"},
]


@given(records=st.lists(st.one_of(SPOILED, st.just(GOOD), ANYTHING), min_size=1, max_size=4))
@example(
    records=[
        GOOD,
        changed("procedure", "translate", value=NAMES),
        changed("procedure", "translate", value=[]),
    ]
)
@example(records=[changed("procedure", "translate", value=None), changed("procedure", value=None)])
@example(
    records=[changed("code", value="  Mã\u0000 số "), changed("code", value="Ma\u0303 so\u0302\u0301"), GOOD]
)
@example(
    records=[changed("code", value="--"), changed("nationCode", value="NULL"), changed("code", value=12)]
)
@example(
    records=[changed("dossierFee", 0, "amount", value=2**63), changed("dossierFee", 0, "amount", value=1.5)]
)
@example(records=[changed("dossierFee", 0, "amount", value=-1), changed("dossierFee", value=None)])
@example(records=[changed("task", value={"order": 1, "name": "một"}), GOOD])
@example(
    records=[changed("acceptedDate", value="31/02/2025"), changed("acceptedDate", value=1750036353000), GOOD]
)
@example(records=[changed("task", 0, "moi", value=1), changed("moi", value={"a": [1]})])
@example(
    records=[changed("dossierStatus", "id", value=True), changed("dossierFormFile", 0, "isResult", value="1")]
)
@example(records=[None, GOOD | {"id": None}])
@example(records=[GOOD | {"id": None}, GOOD | {"task": {"": None}}])
@settings(max_examples=150, deadline=None)
def test_both_ways_give_the_same(records: list[Any]) -> None:
    for position, record in enumerate(records):
        if isinstance(record, dict) and record.get("id") == GOOD["id"]:
            records[position] = record | {"id": f"{position:024d}"}
    one, other = both(records)
    if isinstance(one, str) and not isinstance(other, str):
        # One way sees that no record can be read and stops; the other rejects each of them.
        one = other if not other[0] else one
    assert one == other


def test_a_dossier_twice_is_a_duplicate_whichever_way_it_came() -> None:
    odd = changed("nationCode", value=7)
    one, other = both([GOOD, odd])
    assert one == other
    assert other[3]["dossier"] == (0, 1, {})


def test_a_good_dossier_goes_the_quick_way_and_every_change_of_shape_does_not() -> None:
    layout = IGate.shape().learn([GOOD])
    assert layout.accepts(orjson.dumps(GOOD))
    assert layout.accepts(orjson.dumps(GOOD, option=orjson.OPT_INDENT_2))
    assert layout.accepts(orjson.dumps(GOOD | {"previousCode": None, "eForm": {"any": [1, "x"]}}))
    for odd in (
        changed("task", 0, "order", value="1"), changed("moi", value=1), changed("code", value=1),
        {k: v for k, v in GOOD.items() if k != "code"}, [GOOD], None,
    ):  # fmt: skip
        assert not layout.accepts(orjson.dumps(odd)), odd


def test_an_installation_that_sends_text_for_numbers_is_learned() -> None:
    textual = changed("dossierStatus", "id", value="2")
    layout = IGate.shape().learn([textual, textual, GOOD])
    assert layout.accepts(orjson.dumps(textual))
    assert not layout.accepts(orjson.dumps(GOOD))
    (status,) = layout.read([orjson.dumps(textual)])["dossier"].columns["status_code"].to_pylist()
    assert status == "2"


def test_json_on_several_lines_is_one_record() -> None:
    layout = IGate.shape().learn([GOOD])
    found = layout.read([orjson.dumps(GOOD, option=orjson.OPT_INDENT_2), orjson.dumps(GOOD)])
    assert found["dossier"].columns["dossier_code"].to_pylist() == [GOOD["code"]] * 2
    assert found["dossier_step"].owners.tolist() == [0, 1]


def test_where_arrow_refuses_what_was_accepted_all_are_read_key_by_key() -> None:
    twice = orjson.dumps(GOOD)[:-1] + b',"code":"khac"}'
    connector = igate()
    connector._layout = IGate.shape().learn([GOOD])
    assert connector._layout.accepts(twice)
    with pytest.raises(NotOfThisShape):
        connector._layout.read([twice])
    chunk = connector.chunk([str(GOOD["id"])], [connector.read(twice)])
    assert chunk.tables["dossier"].column("dossier_code").to_pylist() == ["khac"]


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_what_is_no_whole_json_is_told_so(cut: int) -> None:
    layout = IGate.shape().learn([GOOD])
    with pytest.raises(orjson.JSONDecodeError):
        Detail.read(orjson.dumps(GOOD)[:cut], layout)


def test_the_schema_of_both_ways_is_the_contracts() -> None:
    connector = igate()
    connector._layout = IGate.shape().learn([GOOD])
    quick = connector.chunk([str(GOOD["id"])], [connector.read(orjson.dumps(GOOD))])
    slow = igate().chunk([str(GOOD["id"])], [Detail.read(orjson.dumps(GOOD))])
    for table, batch in quick.tables.items():
        assert isinstance(batch, pa.RecordBatch)
        assert batch.schema.equals(slow.tables[table].schema, check_metadata=True)
