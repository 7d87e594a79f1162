"""Disclosure control against an attacker who tries every possible table."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opendata.catalogue import APPROVALS, frictionless_type
from opendata.disclosure.audit import audit
from opendata.disclosure.earlier import apply, remember
from opendata.disclosure.granularity import coarsened
from opendata.disclosure.policy import Shape, TablePolicy, read_policy
from opendata.disclosure.protect import Protection, Withheld, protect_release, verify
from opendata.disclosure.suppression import naive, suppress
from opendata.disclosure.system import PUBLISHED, WITHHELD, Counted, DisclosureError, System, build
from ops.settings import PROJECT

MONTH, COMMUNE, SECTOR = (
    {"month": "time.month"},
    {"commune": "residence.commune"},
    {"sector": "sector.sector"},
)
CHANNEL, AGENCY = {"channel": "channel.channel"}, {"agency": "agency.body"}


def policy(
    name: str,
    dimensions: Mapping[str, Any],
    counts: Mapping[str, Any],
    rows: pa.Table,
    threshold: int,
    **more: Any,
) -> TablePolicy:
    numbers = [
        field.name
        for field in rows.schema
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    ]
    shape = Shape(name, tuple(rows.column_names), tuple(numbers), tuple(dimensions))
    declared = {"dimensions": dict(dimensions), "counts": dict(counts), **more}
    gaps: list[str] = []
    read = read_policy(
        {"about_persons": True, "threshold": threshold, "tables": {name: declared}}, [shape], gaps
    )
    assert not gaps
    return read.tables[name]


def table(
    name: str,
    dimensions: Mapping[str, Any],
    columns: Mapping[str, Any],
    counts: Mapping[str, Any] | None = None,
    threshold: int = 3,
    **more: Any,
) -> Counted:
    rows = pa.table({key: pa.array(values) for key, values in columns.items()})
    counts = counts or {"n": {"of": "dossiers"}}
    return Counted(name, name, "simulated", rows, policy(name, dimensions, counts, rows, threshold, **more))


def grid(name: str, values: list[list[int]], threshold: int = 3, totals: bool = True) -> list[Counted]:
    """A table of sectors by communes, and the totals of both, as three datasets."""
    sectors, communes = range(len(values)), range(len(values[0]))
    cells = [(f"s{i}", f"c{j}", values[i][j]) for i in sectors for j in communes]
    whole = table(
        name,
        SECTOR | COMMUNE,
        {"sector": [c[0] for c in cells], "commune": [c[1] for c in cells], "n": [c[2] for c in cells]},
        threshold=threshold,
    )
    if not totals:
        return [whole]
    by_sector = {"sector": [f"s{i}" for i in sectors], "n": [sum(values[i]) for i in sectors]}
    by_commune = {
        "commune": [f"c{j}" for j in communes],
        "n": [sum(row[j] for row in values) for j in communes],
    }
    return [
        whole,
        table(name + " by sector", SECTOR, by_sector, threshold=threshold),
        table(name + " by commune", COMMUNE, by_commune, threshold=threshold),
    ]


Shown = list[list[int | None]]


def attack(
    shown: Shown, row_totals: list[int | None], column_totals: list[int | None], least: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Try every table of two rows with cells from `least` to `most`; the lowest and highest of each cell."""
    rows = []
    for cells, total in zip(shown, row_totals, strict=True):
        choices = [range(least, most + 1) if cell is None else (cell,) for cell in cells]
        tried = np.array(list(itertools.product(*choices)))
        rows.append(tried if total is None else tried[tried.sum(axis=1) == total])
    first, second = rows
    sums = first[:, None, :] + second[None, :, :]
    fits = np.ones(sums.shape[:2], dtype=bool)
    for column, total in enumerate(column_totals):
        if total is not None:
            fits &= sums[:, :, column] == total
    left = (first[fits.any(axis=1)], second[fits.any(axis=0)])
    return np.array([one.min(axis=0) for one in left]), np.array([one.max(axis=0) for one in left])


def seen(system: System, values: list[list[int]]) -> tuple[Shown, list[int | None], list[int | None]]:
    """What a reader sees of a grid and its totals."""
    cells = {(levels, codes): cell for cell, (_, levels, codes) in enumerate(system.keys)}

    def show(wanted: tuple[str, ...]) -> int | None:
        (cell,) = (cell for (_, codes), cell in cells.items() if codes == wanted)
        return int(system.values[cell]) if system.state[cell] == PUBLISHED else None

    rows, columns = range(len(values)), range(len(values[0]))
    inner = [[show((f"c{j}", f"s{i}")) for j in columns] for i in rows]
    return inner, [show((f"s{i}",)) for i in rows], [show((f"c{j}",)) for j in columns]


def numbers(system: System) -> dict[int, tuple[int, int]]:
    """Row and column of each inner cell."""
    return {
        cell: (int(codes[1][1:]), int(codes[0][1:]))
        for cell, (_, levels, codes) in enumerate(system.keys)
        if len(levels) == 2
    }


small_grids = st.integers(2, 3).flatmap(
    lambda wide: st.lists(st.lists(st.integers(0, 4), min_size=wide, max_size=wide), min_size=2, max_size=2)
)


@settings(max_examples=80, deadline=None)
@given(small_grids, st.integers(0, 2**6 - 1))
def test_the_audit_bounds_cells_as_an_attacker_who_tries_every_table(
    values: list[list[int]], hidden: int
) -> None:
    """Any choice of withheld cells, good or bad: the audit and the attacker agree on each of them."""
    system = build(grid("t", values))
    where = numbers(system)
    for position, cell in enumerate(where):
        if hidden >> position & 1:
            system.state[cell] = WITHHELD
    done = audit(system)
    sight = seen(system, values)
    # Where no row is 0, the attacker knows that each holds something.
    there = int(all(all(row) for row in values))
    low, high = attack(*sight, there, 12)
    low_but_for_rows, _ = attack(*sight, 0, 12)
    for cell in done.audited.tolist():
        at = where[cell]
        safe = low_but_for_rows[at] <= 1 and high[at] - low[at] >= 3
        assert (cell not in done.failed) == safe, system.name(cell)
        if cell in done.failed:
            assert (done.failed[cell].low, done.failed[cell].high) == (low[at], high[at])


@settings(max_examples=80, deadline=None)
@given(small_grids)
def test_no_attacker_bounds_a_cell_of_a_protected_release(values: list[list[int]]) -> None:
    system = build(grid("t", values))
    try:
        suppress(system)
    except DisclosureError:
        return  # too small a table to hide anything in: refused, not published
    sight = seen(system, values)
    there = int(all(all(row) for row in values))
    low, high = attack(*sight, there, 9)
    low_but_for_rows, _ = attack(*sight, 0, 9)
    for cell, at in numbers(system).items():
        if system.small[cell]:
            assert system.state[cell] == WITHHELD
            assert low_but_for_rows[at] <= 1
            assert high[at] - low[at] >= 3


def two_by_three() -> list[list[int]]:
    return [[2, 20, 30], [25, 14, 16]]


def test_naive_suppression_is_found_out_and_the_report_says_so() -> None:
    system = build(grid("t", two_by_three(), threshold=10))
    beside = naive(system)
    assert (beside.withheld, beside.exactly, beside.too_closely) == (1, 1, 0)
    report = protect_release(grid("t", two_by_three(), threshold=10)).report
    assert report["without_complementary"]["a_reader_would_get_exactly"] == 1
    assert report["unprotected_cells"] == 0
    assert report["withheld_cells"] == 4


def test_a_complementary_cell_that_comes_back_is_found_and_named_without_its_value() -> None:
    tables = grid("t", two_by_three(), threshold=10)
    system = build(tables)
    suppress(system)
    extra = [c for c in np.flatnonzero(system.state == WITHHELD).tolist() if not system.small[c]]
    for cell in extra:
        system.state[cell] = PUBLISHED
        done = audit(system)
        assert [system.name(failed) for failed in done.failed] == [
            "t, table t, column n, sector=s0, commune=c0"
        ]
        system.state[cell] = WITHHELD


def test_finished_tables_are_audited_from_what_they_show() -> None:
    tables = grid("t", two_by_three(), threshold=10)
    finished = {key: rows for key, (rows, _) in protect_release(tables).tables.items()}
    system = build(tables)
    suppress(system)
    assert not verify(system, finished).failed
    finished["t", "t"] = tables[0].rows
    with pytest.raises(DisclosureError, match=r"(?s)1 small cell.*sector=s0, commune=c0") as refused:
        verify(system, finished)
    assert "=2" not in str(refused.value)


def test_primary_and_complementary_cells_look_alike() -> None:
    rows, tally = protect_release(grid("t", two_by_three(), threshold=10)).tables["t", "t"]
    hidden = [row for row in rows.to_pylist() if row["withheld"]]
    assert len(hidden) == tally.cells == 4
    assert {tuple(sorted(row)) for row in hidden} == {("commune", "n", "sector", "withheld")}
    assert {row["n"] for row in hidden} == {None}


def test_datasets_that_share_margins_are_protected_together() -> None:
    """Months by agency, months by commune: neither shows the month, but both add up to it."""
    agencies = table("by agency", MONTH | AGENCY,
        {"month": ["2025-01"] * 3, "agency": ["a", "b", "c"], "n": [4, 40, 56]}, threshold=10)  # fmt: skip
    communes = table("by commune", MONTH | COMMUNE,
        {"month": ["2025-01"] * 2, "commune": ["x", "y"], "n": [70, 30]}, threshold=10)  # fmt: skip
    alone = protect_release([agencies])
    assert alone.tables["by agency", "by agency"][1].cells == 1
    together = protect_release([agencies, communes])
    withheld = {name: tally.cells for (name, _), (_, tally) in together.tables.items()}
    assert sum(withheld.values()) == 2


def test_a_rest_too_small_is_protected_as_well() -> None:
    """97 of 100 online tells of 3 others, though no table has a column for them."""
    columns = {"month": ["2025-01", "2025-02"], "n": [100, 80], "online": [97, 40]}
    counts = {"n": {"of": "dossiers"}, "online": {"of": "dossiers", "channel.channel": "online"}}
    rows, _ = protect_release([table("t", MONTH, columns, counts, threshold=10)]).tables["t", "t"]
    first, second = rows.to_pylist()
    assert None in (first["n"], first["online"])
    assert (second["n"], second["online"], second["withheld"]) == (80, 40, False)


def test_the_others_are_zero_where_a_cell_is_its_total() -> None:
    rows, tally = protect_release(grid("t", [[0, 30, 0], [30, 0, 40]], threshold=10)).tables["t", "t"]
    assert tally.cells == 0
    assert rows["n"].to_pylist() == [0, 30, 0, 30, 0, 40]


def test_shares_go_with_their_counts_and_are_refused_without() -> None:
    columns = {"month": ["2025-01", "2025-02"], "n": [100, 80], "late": [4, 40], "late_percent": [4.0, 50.0]}
    counts = {"n": {"of": "dossiers"}, "late": {"of": "dossiers", "outcome.outcome": "late"}}
    declared = table("t", MONTH, columns, counts, threshold=10, derived={"late_percent": ["late", "n"]})
    first, second = protect_release([declared]).tables["t", "t"][0].to_pylist()
    assert (first["late"], first["late_percent"], second["late_percent"]) == (None, None, 50.0)


def test_a_share_without_its_counts_is_refused() -> None:
    gaps: list[str] = []
    alone = SOUND | {"derived": {"days": ["late"]}}
    read_policy({"about_persons": True, "threshold": 10, "tables": {"t": alone}}, [SHAPE], gaps)
    assert [gap for gap in gaps if "published only beside the counts it is made of" in gap]


def test_a_number_nobody_spoke_of_goes_with_any_count() -> None:
    columns = {"month": ["2025-01", "2025-02"], "n": [4, 80], "mean_days": [2.5, 3.5]}
    rows, _ = protect_release([table("t", MONTH, columns, threshold=10)]).tables["t", "t"]
    assert rows["mean_days"].to_pylist() == [None, 3.5]


EXEMPT = {"n": {"of": "dossiers"}, "late": {"of": "dossiers", "outcome.outcome": "late"}}
BASIS = [{"counts": ["n", "late"], "basis": "QĐ 766/QĐ-TTg: published by the portal"}]


def test_an_exempt_total_beside_an_exempt_part_is_not_refused() -> None:
    """97 of 100 late, both public by law: that 3 were not follows from exempt figures alone."""
    columns = {"agency": ["a", "b"], "n": [100, 5], "late": [97, 2]}
    rows, tally = protect_release([table("t", AGENCY, columns, EXEMPT, threshold=10, exempt=BASIS)]).tables[
        "t", "t"
    ]
    assert tally.cells == 0
    assert rows["late"].to_pylist() == [97, 2]


def test_an_exempt_total_is_known_to_the_attacker_and_never_withheld() -> None:
    totals = table("totals", AGENCY, {"agency": ["a"], "n": [62]}, threshold=10,
        exempt=[{"counts": ["n"], "basis": "public by law"}])  # fmt: skip
    parts = table("parts", AGENCY | SECTOR,
        {"agency": ["a"] * 3, "sector": ["x", "y", "z"], "n": [4, 18, 40]}, threshold=10)  # fmt: skip
    result = protect_release([parts, totals])
    assert result.tables["totals", "totals"][0]["n"].to_pylist() == [62]
    assert result.tables["parts", "parts"][0]["n"].to_pylist() == [None, None, 40]


def leave_release(folder: Path, tables: list[Counted]) -> Protection:
    """Protect tables and leave them in the folder as publishing does."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_release(folder, protect_release(tables, folder))


def write_release(folder: Path, protection: Protection) -> Protection:
    """Leave what is protected in the folder of releases as publishing does."""
    number = len(list(folder.glob("0*"))) + 1
    made = folder / f"{number:06d}"
    for one in protection.counted.values():
        (made / one.dataset).mkdir(parents=True)
        rows, _ = protection.tables[one.dataset, one.table]
        pq.write_table(rows, made / one.dataset / f"{one.table}.{one.origin}.parquet")
    (made / "disclosure.json").write_text(json.dumps(protection.report), encoding="utf-8")
    return protection


def release(folder: Path, tables: list[Counted]) -> dict[str, list[int | None]]:
    """Leave a release; return the counts it shows by table."""
    shown = leave_release(folder, tables).tables
    return {name: rows["n"].to_pylist() for (name, _), (rows, _) in shown.items()}


def by_agency(*counts: int) -> Counted:
    return table("by agency", AGENCY, {"agency": ["a", "b", "c"], "n": list(counts)}, threshold=10)


def test_what_an_earlier_release_told_protects_nothing_today(tmp_path: Path) -> None:
    """18 stood in the first release; with the whole told in the second, hiding 18 beside the 4 would hide nothing."""
    whole = table("whole", {}, {"n": [62]}, threshold=10)
    assert release(tmp_path / "fresh" / "releases", [by_agency(4, 18, 40), whole])["by agency"] == [
        None,
        None,
        40,
    ]
    assert release(tmp_path / "r" / "releases", [by_agency(4, 18, 40)]) == {"by agency": [None, 18, 40]}
    second = release(tmp_path / "r" / "releases", [by_agency(4, 18, 40), whole])
    assert second == {"by agency": [None, 18, 40], "whole": [None]}


def by_commune(*counts: int, **more: Any) -> Counted:
    columns = {"month": ["2026-11"] * 3, "commune": ["x", "y", "z"], "n": list(counts)}
    return table("by commune", MONTH | COMMUNE, columns, threshold=10, **more)


def test_one_dossier_more_than_in_the_open_month_is_not_found_by_subtraction(tmp_path: Path) -> None:
    assert release(tmp_path / "releases", [by_commune(12, 30, 40)]) == {"by commune": [12, 30, 40]}
    assert release(tmp_path / "releases", [by_commune(13, 30, 55)]) == {"by commune": [None, 30, 55]}
    # The third looks back at both: 20 is 8 more than the first told.
    assert release(tmp_path / "releases", [by_commune(20, 31, 56)]) == {"by commune": [None, None, None]}
    assert release(tmp_path / "releases", [by_commune(22, 40, 70)]) == {"by commune": [22, 40, 70]}


def test_one_dossier_less_than_before_is_not_found_either(tmp_path: Path) -> None:
    release(tmp_path / "releases", [by_commune(40, 30, 90)])
    assert release(tmp_path / "releases", [by_commune(38, 30, 70)]) == {"by commune": [None, 30, 70]}


def test_a_change_is_not_found_by_a_total_either(tmp_path: Path) -> None:
    """Without another cell withheld, the month less the others would be 13."""
    whole = [table("whole", MONTH, {"month": ["2026-11"], "n": [n]}, threshold=10) for n in (82, 98)]
    release(tmp_path / "releases", [by_commune(12, 30, 40), whole[0]])
    shown = release(tmp_path / "releases", [by_commune(13, 30, 55), whole[1]])
    assert shown["by commune"][0] is None
    assert [*shown["by commune"], *shown["whole"]].count(None) >= 2


def test_areas_of_a_closed_period_do_not_tell_what_their_district_grew_by(tmp_path: Path) -> None:
    """Districts while the quarter is open, communes when it is whole: 81 communes' dossiers less 80 of before."""
    district = {"district": "residence.district"}
    counts = {"district": ["d", "e"], "n": [80, 50]}
    release(tmp_path / "releases", [table("areas", district, counts, threshold=10)])
    finer = {"district": ["d", "d", "e"], "commune": ["x", "y", "z"], "n": [41, 40, 70]}
    shown = release(tmp_path / "releases", [table("areas", district | COMMUNE, finer, threshold=10)])["areas"]
    assert shown[2] == 70
    assert None in shown[:2]


def test_a_change_that_the_law_publishes_or_earlier_releases_told_stops_nothing(tmp_path: Path) -> None:
    basis = [{"counts": ["n"], "basis": "public by law"}]
    for counts in ((12, 30, 40), (13, 30, 55)):
        shown = release(tmp_path / "law" / "releases", [by_commune(*counts, exempt=basis)])
        assert shown == {"by commune": list(counts)}
    for counts in ((12, 30, 40), (13, 30, 55)):  # as releases did before they looked back
        release(tmp_path / str(counts[0]) / "releases", [by_commune(*counts)])
    told = tmp_path / "12" / "releases"
    shutil.move(tmp_path / "13" / "releases" / "000001", told / "000002")
    assert release(told, [by_commune(13, 30, 55)]) == {"by commune": [13, 30, 55]}


def test_small_changes_everywhere_are_withheld_and_refuse_nothing(tmp_path: Path) -> None:
    """Communes of 40 are not too fine, though each of them has one dossier more than the last time."""

    def areas(count: int) -> Counted:
        columns = {"commune": [f"c{n}" for n in range(200)], "n": [count] * 200}
        return table("areas", COMMUNE, columns, threshold=10)

    assert release(tmp_path / "releases", [areas(40)])["areas"] == [40] * 200
    assert release(tmp_path / "releases", [areas(41)])["areas"] == [None] * 200
    assert release(tmp_path / "releases", [areas(60)])["areas"] == [60] * 200


small_changes = st.lists(st.tuples(st.integers(3, 12), st.integers(0, 12)), min_size=2, max_size=3)


@settings(max_examples=60, deadline=None)
@given(small_changes, st.booleans())
@example([(3, 1), (6, 4)], True)  # its row says that one is left of the three, and so how far the six fell
def test_no_reader_of_two_releases_finds_a_small_change(pairs: list[tuple[int, int]], totals: bool) -> None:
    """All pairs of counts that agree with both releases, tried one by one."""
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))

    def made(counts: list[int]) -> list[Counted]:
        names = [f"c{i}" for i in range(len(counts))]
        parts = [table("parts", COMMUNE, {"commune": names, "n": counts})]
        return parts + ([table("whole", {}, {"n": [sum(counts)]})] if totals else [])

    facts: dict[Any, Any] = {}
    for item in (first := build(made(before))).keys:
        (of, levels, codes) = item
        facts.setdefault((of, levels), {})[codes] = {int(first.values[first.numbers[of, levels][codes]])}
    system = build(made(after), facts)
    apply(system, facts)
    try:
        suppress(system)
    except DisclosureError:
        return
    seen = {codes: int(system.values[cell]) if system.state[cell] == PUBLISHED else None
            for (_, _, codes), cell in zip(system.keys, range(len(first.keys)), strict=False)}  # fmt: skip
    shown = [seen[(f"c{i}",)] for i in range(len(before))]
    there = int(all(after))
    fits = [
        world
        for world in itertools.product(*(range(26) if n is None else (n,) for n in shown))
        if (not totals or seen[()] is None or sum(world) == seen[()]) and (not there or all(world))
    ]
    for at, (old, new) in enumerate(pairs):
        if 0 < abs(new - old) < 3:
            possible = {world[at] - old for world in fits}
            assert min(map(abs, possible)) <= 1
            assert max(possible) - min(possible) >= 3


def test_a_total_told_earlier_still_adds_up(tmp_path: Path) -> None:
    """The whole is published no more, but it was."""
    whole = table("whole", {}, {"n": [62]}, threshold=10)
    first = release(tmp_path / "releases", [by_agency(4, 18, 40), whole])
    assert first == {"by agency": [None, None, 40], "whole": [62]}
    assert release(tmp_path / "releases", [by_agency(4, 18, 40)]) == {"by agency": [None, None, 40]}


def test_the_same_data_are_protected_in_the_same_way_again(tmp_path: Path) -> None:
    tables = grid("t", [[2, 20, 30, 11], [25, 14, 16, 12], [4, 40, 13, 50]], threshold=10)
    shown = [release(tmp_path / "releases", tables) for _ in range(3)]
    assert shown[0] == shown[1] == shown[2]


def test_what_was_told_outlives_the_release(tmp_path: Path) -> None:
    releases = tmp_path / "open-data" / "releases"
    release(releases, [by_agency(4, 18, 40)])
    protect_release([by_agency(4, 18, 40)], releases)
    shutil.rmtree(releases / "000001")
    whole = table("whole", {}, {"n": [62]}, threshold=10)
    assert release(releases, [by_agency(4, 18, 40), whole])["whole"] == [None]


def test_a_small_count_told_earlier_is_not_shown_again_and_stops_nothing(tmp_path: Path) -> None:
    lower = table("by agency", AGENCY, {"agency": ["a", "b", "c"], "n": [4, 18, 40]}, threshold=3)
    assert release(tmp_path / "releases", [lower]) == {"by agency": [4, 18, 40]}
    assert release(tmp_path / "releases", [by_agency(4, 18, 40)]) == {"by agency": [None, 18, 40]}


RESOLVED = {name: {"of": "resolved", "outcome.outcome": name} for name in ("in_time", "late")}


def by_sector_and_channel(late: list[int], **more: Any) -> Counted:
    rows = {"sector": ["s"] * 2, "channel": ["x", "y"], "in_time": [50, 50], "late": late}
    channels = {"sector": "sector.group", "channel": "channel.group"}
    return table("results", channels, rows, RESOLVED, threshold=10, **more)


def by_procedure(*counts: int) -> Counted:
    rows = {
        "sector": ["s"] * len(counts),
        "procedure": [f"p{n}" for n in range(len(counts))],
        "n": list(counts),
    }
    procedures = {"sector": "sector.group", "procedure": "procedure.procedure"}
    return table("durations", procedures, rows, {"n": {"of": "resolved"}}, threshold=10)


CHANNELS = {"put": {"channel": "all"}, "vi": "Gộp kênh", "en": "Channels together"}


def test_what_an_earlier_release_told_under_another_policy_stops_nothing_today(tmp_path: Path) -> None:
    """By channel nobody could tell 3 late from 5. Together they are 8, and at least 2: 102 by procedure, 100 in time.

    The first release says so whatever is withheld today; of what is withheld, no more can be told than it did.
    """
    first = leave_release(tmp_path / "releases", [by_sector_and_channel([3, 5]), by_procedure(102, 6)]).tables
    assert first["results", "results"][0]["late"].to_pylist() == [None, None]
    assert first["durations", "durations"][0]["n"].to_pylist() == [102, None]
    together = coarsened(by_sector_and_channel([3, 5], coarsen=[CHANNELS]), 1)
    second = leave_release(tmp_path / "releases", [together, by_procedure(102, 6)])
    assert second.tables["results", "results"][0]["late"].to_pylist() == [None]
    assert second.tables["durations", "durations"][0]["n"].to_pylist() == [102, None]
    assert second.report["unprotected_cells"] == 0
    assert second.report["cells_told_already"] > 0
    assert leave_release(tmp_path / "alone" / "releases", [together]).report["cells_told_already"] == 0


def test_what_today_would_tell_beside_an_earlier_release_is_still_refused(tmp_path: Path) -> None:
    """The first release holds 8 late ones at 2 or more, as above; that they are at most 9 the law's total would add."""
    leave_release(tmp_path / "releases", [by_sector_and_channel([3, 5]), by_procedure(102, 6)])
    together = coarsened(by_sector_and_channel([3, 5], coarsen=[CHANNELS]), 1)
    basis = [{"counts": ["n"], "basis": "public by law"}]
    late = {"of": "resolved", "outcome.outcome": "late"}
    law = table(
        "law",
        {"province": "agency.province"},
        {"province": ["a"], "n": [9]},
        {"n": late},
        threshold=10,
        exempt=basis,
    )
    other = table(
        "others", {"sector": "sector.group"}, {"sector": ["s", "t"], "n": [8, 1]}, {"n": late}, threshold=10
    )
    with pytest.raises(DisclosureError, match="opendata withdraw") as refused:
        leave_release(tmp_path / "releases", [together, by_procedure(102, 6), other, law])
    assert "They are held by: others, table others; " in str(refused.value)
    assert "law, table law" not in str(refused.value), "what is public by law cannot be left out"


def test_finer_counts_told_earlier_are_the_least_of_their_whole(tmp_path: Path) -> None:
    units = {"agency": "agency.body", "sector": "sector.sector"}
    columns = {"agency": ["a", "a", "b"], "sector": ["x", "y", "x"], "n": [15, 25, 30]}
    release(tmp_path / "releases", [table("by sector", units, columns, threshold=10)])
    system = build([by_agency(40, 31, 4)])
    assert apply(system, remember(tmp_path / "releases")) == 1
    changes = {
        key[2]: int(n) for key, n in zip(system.keys, system.values, strict=True) if "since" in key[0][0]
    }
    assert changes == {("b",): 1}
    shown = release(tmp_path / "releases", [by_agency(40, 31, 4)])
    assert shown == {"by agency": [40, None, None]}


def test_an_earlier_release_that_cannot_be_read_stops_the_release(tmp_path: Path) -> None:
    release(tmp_path / "releases", [by_agency(4, 18, 40)])
    (tmp_path / "releases" / "000001" / "by agency" / "by agency.simulated.parquet").write_bytes(b"torn")
    with pytest.raises(DisclosureError, match="What release 000001 told cannot be read"):
        protect_release([by_agency(4, 18, 40)], tmp_path / "releases")


def test_a_cell_that_cannot_be_protected_stops_the_release_and_is_named() -> None:
    basis = [{"counts": ["n"], "basis": "public by law"}]
    totals = table("totals", AGENCY, {"agency": ["a"], "n": [7]}, threshold=10, exempt=basis)
    parts = table(
        "parts", AGENCY | SECTOR, {"agency": ["a"] * 2, "sector": ["x", "y"], "n": [4, 3]}, threshold=10
    )
    with pytest.raises(DisclosureError, match="parts, table parts, column n, agency=a, sector=x") as refused:
        protect_release([parts, totals])
    assert "They are held by: parts, table parts. Coarsen one of these" in str(refused.value)
    assert "python -m opendata withdraw parts --by" in str(refused.value)
    assert " 4" not in str(refused.value).replace(" 4 small", "")


def test_a_zero_hides_what_a_small_exempt_total_would_give_away() -> None:
    """By law one dossier of the agency is known; in which sector is not, unless all others are shown to have none."""
    basis = [{"counts": ["n"], "basis": "public by law"}]
    totals = table("totals", AGENCY, {"agency": ["a"], "n": [1]}, threshold=10, exempt=basis)
    parts = table(
        "parts",
        AGENCY | SECTOR,
        {"agency": ["a"] * 3, "sector": ["x", "y", "z"], "n": [0, 1, 0]},
        threshold=10,
    )
    shown = protect_release([parts, totals]).tables["parts", "parts"][0]["n"].to_pylist()
    assert sorted(shown, key=str) == [0, None, None]
    assert shown[1] is None


def test_too_many_linked_cells_are_refused_with_advice() -> None:
    system = build(grid("t", [[3, 30, 3, 40], [40, 3, 30, 3], [3, 30, 3, 50]], threshold=10))
    system.state[system.small] = WITHHELD
    with pytest.raises(DisclosureError, match=r"linked with each other, more than the 2 .*Coarsen one of"):
        audit(system, limit=2)


def test_a_table_of_which_too_much_would_be_withheld_is_refused_with_advice() -> None:
    months = [f"2025-{m:02d}" for m in range(1, 13) for _ in range(300)]
    communes = [f"c{c}" for _ in range(12) for c in range(300)]
    fine = table("t", MONTH | COMMUNE, {"month": months, "commune": communes, "n": [7] * 3600}, threshold=10)
    with pytest.raises(DisclosureError, match=r"100 % of what n counts .*without commune 0 % would lie"):
        protect_release([fine])


def test_each_count_of_a_table_is_judged_alone() -> None:
    """Of six hundred thousand in time all can be seen; of the late ones none."""
    communes = [f"c{c}" for c in range(300)]
    columns = {"commune": communes, "in_time": [2000] * 300, "late": [70] * 300}
    counts = {name: {"of": "dossiers", "outcome.outcome": name} for name in ("in_time", "late")}
    with pytest.raises(DisclosureError, match=r"100 % of what late counts lies in withheld cells"):
        protect_release([table("t", COMMUNE, columns, counts, threshold=100)])


def test_a_count_of_several_kinds_is_bounded_by_all_of_them() -> None:
    """On time at the month's end and at the quarter's are two questions; both are asked of the same dossiers."""
    columns = {
        "period": ["2025-01", "2025-02", "2025-03", "2025-Q1"],
        "level": ["month", "month", "month", "quarter"],
        "whole": [100, 200, 300, 604],
        "on_time": [96, 190, 280, 560],
    }
    period = {"period": {"level": "time.month", "level_column": "level"}}
    judged = [
        {"of": f"judged at the end of a {level}", "where": {"level": level}} for level in ("month", "quarter")
    ]
    counts = {
        "whole": [{"of": "dossiers"}, *judged],
        "on_time": [one | {"outcome.outcome": "on_time"} for one in judged],
    }
    rows, _ = protect_release([table("t", period, columns, counts, threshold=10)]).tables["t", "t"]
    shown = rows.to_pylist()
    # 100 less 96: four were late. 604 less the months: four of a month that nobody published.
    assert None in (shown[0]["whole"], shown[0]["on_time"])
    assert None in [row["whole"] for row in shown]
    of_one_kind = {"whole": counts["whole"][0], "on_time": {"of": "dossiers", "outcome.outcome": "on_time"}}
    with pytest.raises(DisclosureError, match=r"the parts by .* hold more than the whole"):
        protect_release([table("t", period, columns, of_one_kind, threshold=10)])


def test_a_table_that_is_public_at_its_source_needs_its_basis() -> None:
    gaps: list[str] = []
    declared = {"about_persons": True, "threshold": 10, "tables": {"t": {"public": "QĐ 766/QĐ-TTg"}}}
    policy = read_policy(declared, [SHAPE], gaps)
    assert (gaps, dict(policy.tables), policy.public) == ([], {}, {"t": "QĐ 766/QĐ-TTg"})
    read_policy(declared | {"tables": {"t": {"public": ""}}}, [SHAPE], gaps)
    assert gaps == [
        "disclosure.tables.t: public needs the basis: where, and by what law, its numbers are public already"
    ]


def test_rows_of_several_levels_know_the_level_above_from_a_column() -> None:
    """Communes of one quarter and districts of another: what they add up to is asked by district, too."""
    places = {
        "area": {"level": "residence.commune", "level_column": "level"},
        "district": "residence.district",
        "quarter": "time.quarter",
    }
    rows = {
        "quarter": ["2025-Q1"] * 3 + ["2025-Q2"] * 2,
        "level": ["commune"] * 3 + ["district"] * 2,
        "area": ["c1", "c2", "c3", "d1", "d2"],
        "district": ["d1", "d1", "d2", "d1", "d2"],
        "n": [4, 40, 50, 30, 40],
    }
    quarters = table(
        "whole", {"quarter": "time.quarter"}, {"quarter": ["2025-Q1", "2025-Q2"], "n": [94, 70]}, threshold=10
    )
    shown = (
        protect_release([table("t", places, rows, threshold=10), quarters])
        .tables["t", "t"][0]["n"]
        .to_pylist()
    )
    assert shown[0] is None
    assert shown[3:] == [30, 40]
    assert shown.count(None) == 2


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"commune": ["x", "y"], "n": [30, 71]}, "hold more than the whole|count the same dossiers"),
        ({"commune": ["x", "x"], "n": [30, 70]}, "two rows hold the same commune"),
        ({"commune": ["x", "y"], "n": [30, -1]}, "column n holds a count below zero"),
    ],
)
def test_tables_that_contradict_each_other_are_refused(second: dict[str, list[Any]], message: str) -> None:
    whole = table("whole", MONTH, {"month": ["2025-01"], "n": [100]})
    parts = table("parts", MONTH | COMMUNE, {"month": ["2025-01"] * 2, **second})
    if "two rows" in message or "below" in message:
        parts = table("parts", COMMUNE, second)
    with pytest.raises(DisclosureError, match=message):
        protect_release([whole, parts])


def test_months_add_up_to_quarters_and_communes_to_their_province() -> None:
    months = table("months", MONTH | COMMUNE | {"province": "residence.province"}, {
        "month": ["2025-01", "2025-02", "2025-03"], "commune": ["x"] * 3, "province": ["82"] * 3, "n": [4, 40, 41],
    }, threshold=10)  # fmt: skip
    quarters = table("quarters", {"quarter": "time.quarter", "province": "residence.province"},
        {"quarter": ["2025-Q1"], "province": ["82"], "n": [85]}, threshold=10)  # fmt: skip
    beside = naive(build([months, quarters]))
    assert beside.exactly == 1
    result = protect_release([months, quarters])
    assert sum(tally.cells for _, tally in result.tables.values()) == 2


def test_two_rows_tell_of_two_dossiers_but_of_nobody() -> None:
    """A commune's 7 with two channels below it: that rows are there says 2 or more, which alone refuses nothing."""
    whole = table("whole", MONTH | COMMUNE,
        {"month": ["2025-01"] * 3, "commune": ["x", "y", "z"], "n": [7, 30, 40]}, threshold=10)  # fmt: skip
    parts = table("parts", MONTH | COMMUNE | CHANNEL, {
        "month": ["2025-01"] * 6, "commune": ["x", "x", "y", "y", "z", "z"], "channel": ["1", "2"] * 3,
        "n": [3, 4, 15, 15, 20, 20],
    }, threshold=10)  # fmt: skip
    result = protect_release([whole, parts])
    assert result.tables["whole", "whole"][0]["n"].to_pylist() == [None, 30, 40]
    assert result.tables["parts", "parts"][0]["n"].to_pylist()[:2] == [None, None]


def test_tables_in_a_circle_are_named() -> None:
    pairs = {
        "a": {"month": "time.month", "agency": "agency.body"},
        "b": {"quarter": "time.quarter", "sector": "sector.sector"},
        "c": {"sector": "sector.sector", "agency": "agency.body"},
    }
    codes = {"month": "2025-01", "quarter": "2025-Q1", "agency": "x", "sector": "y"}
    tables = [
        table(n, dims, {d: [codes[d]] for d in dims} | {"n": [50]}, threshold=10) for n, dims in pairs.items()
    ]
    assert build(tables).cycles() == {"dossiers": ["a", "b", "c"]}
    assert build(tables[:2]).cycles() == {}
    assert build(grid("t", two_by_three())).cycles() == {}


def circle(counts: np.ndarray) -> list[Counted]:
    """Months by agency, quarters by sector, sectors by agency, of two of each; every month in a quarter of its own."""
    month, quarter, agency, sector = ("2025-01", "2025-04"), ("2025-Q1", "2025-Q2"), ("a", "b"), ("x", "y")
    pairs = [(i, j) for i in range(2) for j in range(2)]

    def pair(name: str, dims: dict[str, str], codes: list[tuple[str, str]], axis: int) -> Counted:
        sums = counts.sum(axis=axis)
        columns = {d: [codes[k][at[k]] for at in pairs] for k, d in enumerate(dims)}
        return table(name, dims, columns | {"n": [int(sums[at]) for at in pairs]})

    return [
        pair("by agency", {"month": "time.month"} | AGENCY, [month, agency], 2),
        pair("by sector", {"quarter": "time.quarter"} | SECTOR, [quarter, sector], 1),
        pair("agencies", AGENCY | SECTOR, [agency, sector], 0),
    ]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=8, max_size=8), st.integers(0, 2**12 - 1))
def test_tables_in_a_circle_are_bounded_as_by_an_attacker_who_tries_every_division(
    values: list[int], hidden: int
) -> None:
    """That each two agree where they meet says less than that all three come from one division by all three."""
    most = 4
    whole = np.array(values).reshape(2, 2, 2)
    tables = circle(whole)
    system = build(tables)
    system.present_rows = []
    places = [cell for number in range(3) for cell in system.places[number, "n"][1].tolist()]
    for position, cell in enumerate(places):
        if hidden >> position & 1:
            system.state[cell] = WITHHELD
    done = audit(system)
    worlds = np.indices((most + 1,) * 8, dtype=np.int8).reshape(8, -1).T.reshape(-1, 2, 2, 2)
    seen_by = np.concatenate([worlds.sum(axis=axis).reshape(-1, 4) for axis in (3, 2, 1)], axis=1)
    shown = [n for n, cell in enumerate(places) if system.state[cell] == PUBLISHED]
    possible = seen_by[(seen_by[:, shown] == system.values[places][shown]).all(axis=1)]
    low, high = possible.min(axis=0), possible.max(axis=0)
    for cell in done.audited.tolist():
        at = places.index(cell)
        assert (cell not in done.failed) == (low[at] <= 1 and high[at] - low[at] >= 3), system.name(cell)
        if cell in done.failed:
            assert done.failed[cell].low == low[at]
            # Where nothing shown holds it, it grows beyond what the attacker tries.
            assert done.failed[cell].high == high[at] or done.failed[cell].high > most


def test_a_circle_too_large_to_divide_in_common_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opendata.disclosure.system.MOST_COMMON", 7)
    with pytest.raises(
        DisclosureError, match=r"go round in a circle, and more than 7 cells .* coarser level"
    ):
        build(circle(np.full((2, 2, 2), 5)))


def test_rows_of_several_levels_of_a_tree_stand_in_one_table() -> None:
    tree = {"code": {"level": "agency.body", "level_column": "level", "parent_column": "parent"}}
    rows = {
        "code": ["H20", "a", "b", "a1", "a2"],
        "level": ["province", "body", "body", "unit", "unit"],
        "parent": ["", "H20", "H20", "a", "a"],
        "n": [100, 40, 60, 4, 36],
    }
    protected, tally = protect_release([table("t", tree, rows, threshold=10)]).tables["t", "t"]
    assert protected["n"].to_pylist()[:3] == [100, 40, 60]
    assert protected["n"].to_pylist()[3:] == [None, None]
    assert tally.cells == 2


def test_a_table_without_margins_keeps_all_but_its_small_cells() -> None:
    rows, tally = protect_release(grid("t", [[0, 9, 10], [1, 50, 60]], threshold=10, totals=False)).tables[
        "t", "t"
    ]
    assert rows["n"].to_pylist() == [0, None, 10, None, 50, 60]
    assert tally == Withheld(rows=2, cells=2, dossiers=10, dossiers_of=130, share=10 / 130)


@pytest.mark.parametrize(("share", "step"), [(0.0, 0.0), (0.001, 0.01), (0.0101, 0.05), (1.0, 1.0)])
def test_the_share_is_told_in_steps(share: float, step: float) -> None:
    assert Withheld(share=share).share_at_most == step


SHAPE = Shape("t", ("month", "n", "late", "days", "origin"), ("n", "late", "days"), ("month", "origin"))
SOUND: dict[str, Any] = {"dimensions": {"month": "time.month"}, "counts": {"n": {"of": "dossiers"}}}


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (None, "disclosure is missing"),
        ({"threshold": 10}, "about_persons must be true or false"),
        ({"about_persons": False, "tables": {"t": SOUND}}, "one of them is wrong"),
        ({"about_persons": True, "threshold": 1, "tables": {"t": SOUND}}, "at least 3"),
        (
            {"about_persons": True, "threshold": 10, "most_withheld_percent": 50, "tables": {"t": SOUND}},
            "from 1 to 10",
        ),
        ({"about_persons": True, "threshold": 10}, "disclosure.tables is missing"),
        ({"about_persons": True, "threshold": 10, "tables": {"u": SOUND}}, "'u' is no table of the dataset"),
        ({"about_persons": True, "threshold": 10, "tables": {"u": SOUND}}, "says nothing of table t"),
    ],
)
def test_a_gap_in_a_policy_is_told(declared: object, message: str) -> None:
    gaps: list[str] = []
    read_policy(declared, [SHAPE], gaps)
    assert any(message in gap for gap in gaps), gaps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dimensions": {}}, "says nothing of the key month"),
        (
            {"dimensions": {"month": "time.week"}},
            "'time.week' is no level of opendata/disclosure/hierarchies.yml",
        ),
        ({"dimensions": {"month": "time.month", "place": "place.commune"}}, "'place' is no published column"),
        ({"counts": {}}, "counts is missing"),
        ({"counts": {"n": {}}}, "needs `of`"),
        ({"counts": {"origin": {"of": "dossiers"}}}, "'origin' is no published number"),
        ({"counts": {"n": {"of": "d", "time.month": "2025-01"}}}, "time is also a dimension"),
        ({"safe": {"days": ""}}, "needs a reason"),
        ({"exempt": [{"counts": ["n"]}]}, "basis"),
        ({"exempt": [{"counts": ["late"], "basis": "law"}]}, "late, which is in no counts"),
        ({"derived": {"days": ["late"]}}, "late is not among the counts"),
        ({"count": {}}, "unknown count"),
        ({"counted_for_each": ["level"]}, "counted_for_each: level is no published column"),
        ({"coarsen": [{"put": {"month": "all"}}]}, "say in vi and en"),
        ({"coarsen": [{"vi": "Gộp", "en": "Together"}]}, "each step needs vi, en, and put"),
        (
            {"coarsen": [{"put": {"place": "all"}, "vi": "Gộp", "en": "Together"}]},
            "coarsen: place is no published column",
        ),
    ],
)
def test_a_gap_in_the_policy_of_a_table_is_told(changes: dict[str, Any], message: str) -> None:
    gaps: list[str] = []
    read_policy({"about_persons": True, "threshold": 10, "tables": {"t": SOUND | changes}}, [SHAPE], gaps)
    assert any(message in gap and gap.startswith("disclosure.tables.t: ") for gap in gaps), gaps


def repository_models() -> dict[str, tuple[Shape, dict[str, str]]]:
    """Each published model's shape, and the types of its columns, as its YAML declares them."""
    models = {}
    for path in (PROJECT / "dbt" / "models" / "open_data").glob("*.yml"):
        for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models", []):
            meta = {column["name"]: column["config"]["meta"] for column in model["columns"]}
            columns = [column for column in model["columns"] if meta[column["name"]].get("publish")]
            numbers = [
                c["name"] for c in columns if frictionless_type(c["data_type"]) in ("integer", "number")
            ]
            keys = tuple(model["config"]["meta"]["keys"])
            name = model["name"].replace("_", "-")
            shape = Shape(name, tuple(c["name"] for c in columns), tuple(numbers), keys)
            models[name] = shape, {c["name"]: c["data_type"] for c in columns}
    return models


def repository_policies(gaps: list[str]) -> list[tuple[TablePolicy, dict[str, str], tuple[str, ...]]]:
    """The policy of each table that counts persons, with the types of its columns and its keys."""
    models, found = repository_models(), []
    for path in APPROVALS.glob("*.yml"):
        declared = yaml.safe_load(path.read_text(encoding="utf-8"))["disclosure"]
        shapes = [models[name][0] for name in declared.get("tables", {}) if name in models]
        for name, one in read_policy(declared, shapes, gaps).tables.items():
            found.append((one, models[name][1], models[name][0].keys))
    return found


def test_the_policies_of_the_repository_fit_the_published_models() -> None:
    gaps: list[str] = []
    assert len(repository_policies(gaps)) >= 9
    assert not gaps
