from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opendata.catalogue import SmallCell
from opendata.disclosure import Withheld, withhold_small_cells

ROW = SmallCell(("received", "resolved"), 10, ("share",))
CELL = SmallCell(("received", "resolved"), 10, ("share",), "cell")


def table(received: list[int | None], resolved: list[int | None]) -> pa.Table:
    share = pa.array([0.5] * len(received))
    return pa.table(
        {
            "received": pa.array(received, pa.int64()),
            "resolved": pa.array(resolved, pa.int64()),
            "share": share,
        }
    )


def test_one_small_count_withholds_all_counts_of_its_row() -> None:
    hidden, tally = withhold_small_cells(table([57, 100, 9], [53, 96, 0]), ROW)
    assert hidden.to_pylist()[0] == {"received": 57, "resolved": 53, "share": 0.5, "withheld": False}
    hidden, tally = withhold_small_cells(table([57, 100], [4, 96]), ROW)
    assert hidden.to_pylist()[0] == {"received": None, "resolved": None, "share": None, "withheld": True}
    assert tally == Withheld(rows=1, cells=2, dossiers=57, dossiers_of=157)


def test_in_scope_cell_only_the_small_count_and_what_derives_from_it_go() -> None:
    hidden, tally = withhold_small_cells(table([57, 100], [4, 96]), CELL)
    assert hidden.to_pylist()[0] == {"received": 57, "resolved": None, "share": None, "withheld": True}
    assert tally == Withheld(rows=1, cells=1, dossiers=0, dossiers_of=157)


def test_zeros_and_the_threshold_itself_stay() -> None:
    hidden, tally = withhold_small_cells(table([0, 10], [0, 10]), ROW)
    assert tally.rows == 0
    assert hidden["received"].to_pylist() == [0, 10]


def test_types_and_order_of_columns_are_kept() -> None:
    hidden, _ = withhold_small_cells(table([1], [1]), ROW)
    assert hidden.schema.names == ["received", "resolved", "share", "withheld"]
    assert hidden.schema.field("received").type == pa.int64()


def test_a_count_below_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="column resolved holds a count below zero"):
        withhold_small_cells(table([10], [-1]), ROW)


@pytest.mark.parametrize(("dossiers", "share"), [(0, 0.0), (1, 0.01), (10, 0.01), (11, 0.05), (1000, 1.0)])
def test_the_share_is_told_in_steps(dossiers: int, share: float) -> None:
    assert Withheld(dossiers=dossiers, dossiers_of=1000).share_at_most == share


@given(
    st.lists(st.tuples(*[st.one_of(st.none(), st.integers(0, 40))] * 2), max_size=30),
    st.sampled_from([ROW, CELL]),
)
def test_no_small_count_is_ever_left(counts: list[tuple[int | None, int | None]], policy: SmallCell) -> None:
    hidden, tally = withhold_small_cells(table([a for a, _ in counts], [b for _, b in counts]), policy)
    left = [row[name] for row in hidden.to_pylist() for name in policy.count_columns]
    assert not [count for count in left if count is not None and 0 < count < 10]
    assert tally.rows == sum(hidden["withheld"].to_pylist())
