"""Both copies side by side: what was broken is named, just that, with who can cure it; what is ours heals."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
import requests
from openpyxl import load_workbook

from connectors.base import SourceUnavailable
from national import outbox, reconcile, reports
from national.exchange import Budget, Exchange, Uncertain
from national.push import plan, push
from national.writers import Unit, Writers
from sandbox.national_copy import export_csv
from tests.conftest import CLIENT_ID, CLIENT_SECRET
from tests.national.world import KEY, MOMENT, OURS, QUICK, Portal, World
from tests.ops.test_forms import models, put

DAY = MOMENT.date()
THEIRS = Writers("dossier_system", {})


def code(n: int) -> str:
    return f"H20.19-250702-{n:04d}"


@pytest.fixture
def copies(world: World, gate: Portal) -> tuple[World, Portal]:
    """Twenty dossiers that stand in both."""
    for n in range(1, 21):
        world.put(n, steps=1, received_at=MOMENT + dt.timedelta(minutes=n))
    sync(world, gate)
    return world, gate


def sync(world: World, gate: Portal) -> None:
    with world.connect() as c:
        plan(c, OURS, KEY)
    push(world.connect, gate.exchange(), world.open, OURS, KEY, QUICK)


def export(gate: Portal, path: Path) -> Path:
    path.write_bytes(b"".join(export_csv(gate.copy.received())))
    return path


def differences(world: World, number: int) -> set[tuple[str, str | None, str | None]]:
    rows = world.rows(
        "select class, code_here, code_there from national.difference where number = %s", number
    )
    return {(r[0], r[1], r[2]) for r in rows}


def compare(world: World, path: Path, writers: Writers = OURS, **options: object) -> reconcile.Compared:
    with world.connect() as c:
        return reconcile.compare_export(c, path, writers, **options)  # type: ignore[arg-type]


def broken(world: World, gate: Portal) -> set[tuple[str, str | None, str | None]]:
    """Break the portal's copy in every known way; the differences that follow."""
    copy = gate.copy
    copy.delete(code(1))
    copy.delete(code(2))
    copy.replace(code(3), copy.find(code(3))[0] | {"MaHoSo": "H20.19-250702-99999"})
    copy.insert([copy.find(code(4))[0]])
    copy.insert([copy.find(code(5))[0] | {"MaHoSo": "H20.19-250702-88888"}])
    copy.replace(code(6), copy.find(code(6))[0] | {"TrangThaiHoSo": "9", "NgayHenTra": ""})
    copy.insert([copy.find(code(7))[0] | {"MaHoSo": "lạ", "NgayTiepNhan": "20250702235959"}])
    return {
        ("missing_there", code(1), None), ("missing_there", code(2), None),
        ("code_differs", code(3), "H20.19-250702-99999"), ("duplicated_there", code(4), code(4)),
        ("duplicated_there", code(5), "H20.19-250702-88888"), ("content_differs", code(6), code(6)),
        ("missing_here", None, "lạ"),
    }  # fmt: skip


def test_two_copies_of_one_content_do_not_differ(copies, tmp_path):
    world, gate = copies
    found = compare(world, export(gate, tmp_path / "e.csv"))
    assert (found.here, found.there, found.unreadable, dict(found.classes), found.share) == (
        20,
        20,
        0,
        {},
        100.0,
    )


def test_just_what_was_broken_is_named_with_its_class(copies, tmp_path):
    world, gate = copies
    wanted = broken(world, gate)
    found = compare(world, export(gate, tmp_path / "e.csv"), taken=DAY + dt.timedelta(days=5))
    assert differences(world, found.number) == wanted
    fields = world.rows("select fields from national.difference where class = 'content_differs'")
    assert fields == [(["TrangThaiHoSo", "NgayHenTra"],)]
    assert found.share == 90.0


def test_each_class_says_who_can_cure_it(copies, tmp_path):
    world, gate = copies
    broken(world, gate)
    path = export(gate, tmp_path / "e.csv")
    late = dt.timedelta(days=5)
    below = Writers("dossier_system", {**OURS.units, "H20.19.02": Unit("H20.19.02", "dossier_system")})
    for writers, mine in ((OURS, "self"), (THEIRS, "agency"), (below, "self")):
        number = compare(world, path, writers, taken=DAY + late).number
        cures = dict(
            world.rows("select distinct class, cure from national.difference where number = %s", number)
        )
        assert cures == {
            "missing_there": mine, "content_differs": mine, "code_differs": "operator", "duplicated_there": "operator",
            "missing_here": "agency"}  # fmt: skip


def test_each_class_says_which_source_can_tell_it(copies, tmp_path):
    """Told by the file alone, then by look-ups alone: no more and no less than is promised of each class."""
    world, gate = copies
    broken(world, gate)
    gate.copy.delete(code(8))
    world.put(8, received_at=MOMENT + dt.timedelta(days=9), received_date=DAY + dt.timedelta(days=9))
    compare(world, export(gate, tmp_path / "e.csv"), last=DAY + dt.timedelta(days=9))
    with world.connect() as c:
        reconcile.look_up(c, gate.exchange(), 20, DAY, "simulated")
        # As if it had been looked up on the day of its receipt.
        c.execute("update national.looked set looked_at = %s", (MOMENT + dt.timedelta(days=9),))
        c.execute("update national.dossier set accepted_at = null")
        reconcile.compare_looked(c, OURS)
    rows = world.rows(
        "select distinct d.class, c.source from national.difference d join national.comparison c using (number)"
    )
    assert {c: {s for k, s in rows if k == c} for c in reconcile.CLASSES} == {
        c: set(sources) for c, sources in reconcile.TOLD_BY.items()
    }


def test_what_was_received_just_now_is_late_and_not_missing(copies, tmp_path):
    world, gate = copies
    gate.copy.delete(code(1))
    found = compare(world, export(gate, tmp_path / "e.csv"))
    assert dict(found.classes) == {"late": 1}


def test_a_difference_keeps_the_comparison_it_was_first_seen_in(copies, tmp_path):
    world, gate = copies
    gate.copy.delete(code(1))
    path = export(gate, tmp_path / "e.csv")
    first = compare(world, path, taken=DAY + dt.timedelta(days=5)).number
    gate.copy.delete(code(2))
    second = compare(world, export(gate, path), taken=DAY + dt.timedelta(days=5)).number
    seen = dict(
        world.rows("select code_here, since_number from national.difference where number = %s", second)
    )
    assert seen == {code(1): first, code(2): second}


def test_what_we_write_heals_and_what_others_changed_is_told(copies, tmp_path):
    world, gate = copies
    broken(world, gate)
    path = tmp_path / "e.csv"
    late = {"taken": DAY + dt.timedelta(days=5)}
    number = compare(world, export(gate, path), **late).number
    with world.connect() as c:
        assert reconcile.heal(c, number) == {"missing_there": 2, "content_differs": 1}
    sync(world, gate)
    assert world.states()["conflict"] == 1
    left = compare(world, export(gate, path), **late)
    assert set(left.classes) == {"code_differs", "duplicated_there", "content_differs", "missing_here"}
    assert len(gate.copy.progress(code(1))) == 1, "progress follows its dossier again"


def test_old_tellings_are_forgotten_but_for_the_first_and_last_and_what_stands(copies, tmp_path):
    """Six comparisons, 500, 450, 300, 60, 10 and 0 days old: of each difference what is kept of its tellings."""
    world, gate = copies
    ago = (500, 450, 300, 60, 10, 0)
    #: Dossier -> the comparisons (0 to 5) that tell it.
    told = {1: (0, 1), 2: (0, 1, 2, 3, 4), 3: (0, 1, 2, 3, 4, 5), 4: (1, 2, 4), 5: (3,), 6: (0, 1, 2)}
    numbers = []
    whole = {item["MaHoSo"]: item for item in gate.copy.received()}
    for at in range(len(ago)):
        lacking = {code(n) for n, of in told.items() if at in of}
        gate.copy.clear()
        gate.copy.insert(item for known, item in whole.items() if known not in lacking)
        numbers.append(
            compare(world, export(gate, tmp_path / "e.csv"), taken=DAY + dt.timedelta(days=5)).number
        )
    before = [reconcile_counts(world, n) for n in numbers]
    assert before == [{"missing_there": sum(1 for of in told.values() if at in of)} for at in range(6)]
    with world.connect() as c:
        for number, days in zip(numbers, ago, strict=True):
            c.execute(
                "update national.comparison set compared_at = now() - make_interval(days => %s) where number = %s",
                (days, number),
            )
    standing = world.rows("select * from national.standing")
    with world.connect() as c:
        assert reconcile.forget(c) == 2 + 3 + 3 + 1
        assert reconcile.forget(c) == 0
    kept: dict[str, list[int]] = {}
    for name, number in world.rows("select code_here, number from national.difference order by number"):
        kept.setdefault(name, []).append(numbers.index(number))
    # 4 was told by two comparisons, then not, then again: two differences.
    assert kept == {code(2): [0, 4], code(3): [0, 4, 5], code(4): [1, 2, 4], code(5): [3], code(6): [0, 2]}
    assert world.rows("select * from national.standing") == standing
    assert [reconcile_counts(world, n) for n in numbers] == before


def reconcile_counts(world: World, number: int) -> dict[str, int]:
    with world.connect() as c:
        return dict(reconcile.compared(c, number).classes)


def test_an_operators_file_that_is_none_is_told(world, tmp_path):
    world.put(1)
    with pytest.raises(reconcile.ExportError, match="looked for the portal's export"):
        compare(world, tmp_path / "none.csv")
    bad = tmp_path / "bad.csv"
    bad.write_text("Mã hồ sơ;Ngày tiếp nhận\na;b\n")
    with pytest.raises(reconcile.ExportError, match="lacks the columns Kênh thực hiện"):
        compare(world, bad)
    bad.write_text(",".join(reconcile.COLUMNS) + "\n")
    with pytest.raises(reconcile.ExportError, match="no row that can be read"):
        compare(world, bad)
    assert world.rows("select count(*) from national.comparison") == [(0,)]


def test_rows_that_cannot_be_read_are_counted(copies, tmp_path):
    world, gate = copies
    path = export(gate, tmp_path / "e.csv")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    lines[1] = lines[1].replace("Đang xử lý", "Đang làm gì đó")
    lines[2] = lines[2].split(",")[0]
    path.write_text("\n".join(lines).replace(",", ";"))
    found = compare(world, path, taken=DAY + dt.timedelta(days=5))
    assert (found.there, found.unreadable, dict(found.classes)) == (18, 2, {"missing_there": 2})


def test_looking_up_keeps_to_its_budget_and_takes_turns(copies):
    world, gate = copies
    gate.copy.replace(code(3), gate.copy.find(code(3))[0] | {"TrangThaiHoSo": "9"})
    gate.copy.delete(code(4))
    exchange = gate.exchange(most=1 + 8)  # one to sign in
    with world.connect() as c:
        counted = reconcile.look_up(c, exchange, 10, DAY, "simulated")
    assert counted["left by the budget"] == 2
    assert counted["same"] + counted["content_differs"] + counted["missing_there"] == 8
    for _ in range(2):
        with world.connect() as c:
            reconcile.look_up(c, gate.exchange(), 10, DAY, "simulated")
    assert world.rows("select count(*) from national.looked") == [(20,)], "all had their turn"
    assert world.rows("select class, fields from national.looked where class is not null order by class") == [
        ("content_differs", ["TrangThaiHoSo"]), ("missing_there", [])]  # fmt: skip
    world.put(9, status_code=10)
    with world.connect() as c:
        reconcile.look_up(c, gate.exchange(), 1, DAY, "simulated")
    assert world.rows("select class from national.looked where dossier_key = 'k9'") == [("content_differs",)]


class Unanswering(Portal):
    """Gives no answer to look-ups of some codes."""

    def __init__(self, *codes: str) -> None:
        super().__init__()
        self.codes = codes

    def __call__(self, path: str, body: Any) -> Any:
        if body.get("service") == "TraCuuHoSo" and body["mahoso"] in self.codes:
            raise Uncertain("no answer in time")
        return super().__call__(path, body)


def test_a_look_up_that_fails_puts_off_its_own_dossier_and_three_in_a_row_end_it(world):
    gate = Unanswering()
    world.put(*range(1, 13), steps=0)
    sync(world, gate)
    gate.codes = (code(2), code(7))
    with world.connect() as c:
        assert reconcile.look_up(c, gate.exchange(), 12, DAY, "simulated") == {"same": 10, "put off": 2}
        gate.codes = tuple(code(n) for n in range(1, 13))
        with pytest.raises(SourceUnavailable, match="5 times in a row"):
            reconcile.look_up(c, gate.exchange(), 12, DAY, "simulated")
    assert world.rows("select count(*) from national.looked") == [(10,)]


def test_look_ups_go_side_by_side_no_more_than_are_allowed_in_one_session(world, exchange):
    requests.post(f"{exchange}/__sandbox__/held", json={"clear": True}, timeout=10).raise_for_status()
    faults = f"{exchange}/__sandbox__/faults"
    for body in ({"fault": "clear"}, {"fault": "latency", "ms": 30, "rate": 1.0}):
        requests.post(faults, json=body, timeout=10).raise_for_status()
    world.put(*range(1, 41), steps=0)
    own = Exchange(exchange, CLIENT_ID, CLIENT_SECRET, "H20", Budget(999), at_once=3)
    with world.connect() as c:
        assert reconcile.look_up(c, own, 40, DAY, "simulated") == {"missing_there": 40}
    assert own.budget.calls == {"login": 1, "TraCuuHoSo": 40}
    told = requests.get(f"{exchange}/__sandbox__/held", timeout=10).json()
    assert told["most_at_once"] == 3


def test_alerts_tell_a_low_share_a_new_class_and_growth(copies, tmp_path):
    world, gate = copies
    path = tmp_path / "e.csv"
    first = compare(world, export(gate, path)).number
    kept = [gate.copy.find(code(n))[0] for n in range(4, 14)]
    for n in range(1, 13):
        gate.copy.delete(code(n))
    second = compare(world, export(gate, path), taken=DAY + dt.timedelta(days=5)).number
    with world.connect() as c:
        assert reconcile.alerts(c, first) == []
        said = reconcile.alerts(c, second)
    assert said == [
        "Tệp kết xuất: Tỷ lệ đồng bộ 40,00 % dưới mức 99 %",
        "Tệp kết xuất: Loại sai lệch mới: Chưa có trên Cổng DVCQG (12)",
    ]
    # One more is no growth by ten; back to three, and by ten again.
    late = {"taken": DAY + dt.timedelta(days=5)}
    gate.copy.delete(code(13))
    third = compare(world, export(gate, path), **late).number
    gate.copy.insert(kept)
    fourth = compare(world, export(gate, path), **late).number
    for item in kept:
        gate.copy.delete(item["MaHoSo"])
    fifth = compare(world, export(gate, path), **late).number
    with world.connect() as c:
        assert [reconcile.alerts(c, n)[1:] for n in (third, fourth, fifth)] == [
            [], [], ["Tệp kết xuất: Chưa có trên Cổng DVCQG: tăng từ 3 lên 13"],
        ]  # fmt: skip


def test_an_agency_reads_its_differences_and_answers(copies, tmp_path):
    world, gate = copies
    broken(world, gate)
    compare(world, export(gate, tmp_path / "e.csv"), taken=DAY + dt.timedelta(days=5))
    path = tmp_path / "H20.19.xlsx"
    with world.connect() as c:
        assert reports.write_agency(c, "H20.19", path) == 7
        assert reports.write_agency(c, "H20.1", tmp_path / "other.xlsx") == 0
    book = load_workbook(path)
    sheet = book.active
    assert sheet["A3"].value == "SỐ LIỆU MÔ PHỎNG"
    sheet["H6"], sheet["I6"], sheet["H8"] = "Đã sửa", "gửi lại 3/7", "Không đồng ý"
    book.save(path)
    with world.connect() as c:
        assert reports.read_answers(c, "H20.19", path) == 2
        assert reports.read_answers(c, "H20.19", path) == 2
    assert set(world.rows("select class, answer, note from national.answer")) == {
        ("code_differs", "Đã sửa", "gửi lại 3/7"),
        ("duplicated_there", "Không đồng ý", None),
    }
    sheet["H7"] = "có lẽ"
    book.save(path)
    with world.connect() as c, pytest.raises(reports.AnswersError, match="H7"):
        reports.read_answers(c, "H20.19", path)
    sheet["H7"] = None
    book.save(path)
    with world.connect() as c, pytest.raises(reports.AnswersError, match=r"never told to H20\.1 "):
        reports.read_answers(c, "H20.1", path)
    path.write_text("no workbook")
    with world.connect() as c, pytest.raises(reports.AnswersError, match="looked for an agency's answers"):
        reports.read_answers(c, "H20.19", path)
    with world.connect() as c:
        reports.write_agency(c, "H20.19", path)
    said = {r[10] for r in load_workbook(path).active.iter_rows(min_row=6, values_only=True) if r[10]}
    assert {s.partition(" (")[0] for s in said} == {"Đã sửa", "Không đồng ý"}, "still here, whatever was said"
    with world.connect() as c:
        page = reports.summary(c)
    assert "Không đồng ý <strong>1</strong>; Đã sửa <strong>1</strong>." in page


def test_what_an_agency_says_it_corrected_is_looked_up_first_and_goes_if_it_is_so(copies, tmp_path):
    world, gate = copies
    kept = [gate.copy.find(code(n))[0] for n in (17, 18)]
    for n in (17, 18, 19):
        gate.copy.delete(code(n))
    compare(world, export(gate, tmp_path / "e.csv"), taken=DAY + dt.timedelta(days=5))
    look_up(world, gate)
    path = tmp_path / "a.xlsx"
    with world.connect() as c:
        assert reports.write_agency(c, "H20.19", path) == 3
    book = load_workbook(path)
    by_code = {row[1].value: row[7] for row in book.active.iter_rows(min_row=6)}
    # Two are said to be corrected, one truly; another was, and nobody says so.
    by_code[code(18)].value, by_code[code(19)].value = "Đã sửa", "Đã sửa"
    book.save(path)
    for item in kept:
        gate.copy.insert([item])
    with world.connect() as c:
        assert reports.read_answers(c, "H20.19", path) == 2
        first = reconcile.to_look_up(c, 2, DAY, DAY, ["simulated"])
        assert {(r["code"], r["why"]) for r in first} == {
            (code(18), "said to be corrected"),
            (code(19), "said to be corrected"),
        }
        assert reconcile.look_up(c, gate.exchange(), 2, DAY, "simulated") == {"same": 1, "missing_there": 1}
        reconcile.compare_looked(c, OURS)
    assert {k[1] for k in standing(world)} == {code(17), code(19)}
    with world.connect() as c:
        assert "said to be corrected" not in {
            r["why"] for r in reconcile.to_look_up(c, 9, DAY, DAY, ["simulated"])
        }


def look_up(world: World, gate: Portal) -> reconcile.Compared:
    with world.connect() as c:
        reconcile.look_up(c, gate.exchange(), 20, DAY, "simulated")
        found = reconcile.compare_looked(c, OURS)
    assert found is not None
    return found


def standing(world: World) -> dict[tuple[str, str | None], list[str]]:
    return {(r[0], r[1]): r[2] for r in world.rows("select class, code_here, sources from national.standing")}


def test_what_a_look_up_found_stands_beside_what_the_file_told(copies, tmp_path):
    world, gate = copies
    broken(world, gate)
    with world.connect() as c:
        assert reconcile.compare_looked(c, OURS) is None, "nobody was looked up"
    compare(world, export(gate, tmp_path / "e.csv"), taken=DAY + dt.timedelta(days=5))
    gate.copy.replace(code(8), gate.copy.find(code(8))[0] | {"TrangThaiHoSo": "9"})
    found = look_up(world, gate)
    assert (found.source, found.here, found.classes["missing_there"]) == ("look_up", 20, 3)
    both = ["export", "look_up"]
    assert standing(world) == {
        ("missing_there", code(1)): both, ("missing_there", code(2)): both, ("code_differs", code(3)): ["export"],
        ("duplicated_there", code(4)): both, ("duplicated_there", code(5)): ["export"],
        ("content_differs", code(6)): both, ("content_differs", code(8)): ["look_up"],
        ("missing_here", None): ["export"],
    }  # fmt: skip
    with world.connect() as c:
        assert reports.write_agency(c, "H20.19", tmp_path / "a.xlsx") == 8
        assert any("Tra cứu: Tỷ lệ đồng bộ 85,00 %" in a for a in reconcile.alerts(c, found.number))
    rows = list(load_workbook(tmp_path / "a.xlsx").active.iter_rows(min_row=6, values_only=True))
    assert {r[9] for r in rows if r[1] == code(8)} == {"Tra cứu"}
    assert {r[9] for r in rows if r[1] == code(6)} == {"Tệp kết xuất, Tra cứu"}


def test_a_later_look_up_takes_away_what_the_file_told_and_heals_what_is_ours(copies, tmp_path):
    world, gate = copies
    kept = gate.copy.find(code(2))[0]
    gate.copy.delete(code(1))
    gate.copy.delete(code(2))
    compare(world, export(gate, tmp_path / "e.csv"), taken=DAY + dt.timedelta(days=5))
    gate.copy.insert([kept])
    found = look_up(world, gate)
    assert standing(world) == {("missing_there", code(1)): ["export", "look_up"]}
    with world.connect() as c:
        assert reconcile.heal(c, found.number)["missing_there"] == 1
    sync(world, gate)
    with world.connect() as c:
        again = reconcile.compare_looked(c, OURS)
    assert again is not None
    assert dict(again.classes) == {}, "what was sent since is not told by an older look-up"
    assert look_up(world, gate).here == 20
    assert standing(world) == {}


def test_what_stands_there_under_another_code_is_not_sent_a_second_time(copies, tmp_path):
    world, gate = copies
    gate.copy.replace(code(3), gate.copy.find(code(3))[0] | {"MaHoSo": "H20.19-250702-99999"})
    gate.copy.delete(code(4))
    compare(world, export(gate, tmp_path / "e.csv"), taken=DAY + dt.timedelta(days=5))
    found = look_up(world, gate)
    assert found.classes["missing_there"] == 2, "a look-up cannot tell them apart"
    with world.connect() as c:
        assert reconcile.heal(c, found.number)["missing_there"] == 1
    sync(world, gate)
    assert gate.copy.find(code(3)) == []
    assert len(gate.copy.find(code(4))) == 1


def test_what_differed_is_looked_at_again_before_what_is_done(copies):
    world, gate = copies
    world.put(*range(1, 21), status_code=10)
    sync(world, gate)
    gate.copy.delete(code(20))
    look_up(world, gate)
    with world.connect() as c:
        assert reconcile.look_up(c, gate.exchange(), 1, DAY, "simulated") == {"missing_there": 1}


def test_a_stop_ends_looking_up_too(copies):
    world, gate = copies
    with world.connect() as c:
        outbox.stop(c, "cổng bảo trì", "người trực")
        with pytest.raises(outbox.Stopped, match="bảo trì"):
            reconcile.look_up(c, gate.exchange(), 5, DAY, "simulated")
    assert world.rows("select count(*) from national.looked") == [(0,)]


def test_the_page_shows_figures_and_no_dossier(copies, tmp_path):
    world, gate = copies
    # One dossier is another agency's here than there.
    for n, unit in ((1, "H20.19"), (2, "H20.43"), (4, "H20.19"), (5, "H20.19")):
        world.put(n, steps=1, received_at=MOMENT + dt.timedelta(minutes=n), responsible_agency_code=unit)
    path = tmp_path / "e.csv"
    taken = {"taken": DAY + dt.timedelta(days=5)}
    compare(world, export(gate, path), **taken)
    broken(world, gate)
    number = compare(world, export(gate, path), **taken).number
    world.put(30, applicant_name=None)
    sync(world, gate)
    with world.connect() as c:
        page = reports.summary(c, reconcile.alerts(c, number))
    assert "90,00 %" in page
    assert "<td>H20.19</td><td>1</td><td>0</td>\n<td>0</td>" in page, "held for its applicant's name"
    for name in (*reconcile.CLASSES.values(), *reconcile.SOURCES.values(), *reconcile.CURES.values()):
        assert name in page or name == "Thống kê của Cổng", name
    assert "SỐ LIỆU MÔ PHỎNG" in page
    # Table by agency, the most first; their bars; both comparisons, and the line between them.
    rows = re.findall(r'<td class="name">(.*?)</td>.*?<td>(\d+)</td></tr>', page, re.DOTALL)
    assert rows == [("H20.19", "6"), ("H20.43", "1")]
    bars = re.findall(r'<text x="0" y="\d+">(H20\S*) *</text>\s*<rect [^>]*width="([\d.]+)"', page)
    assert [(a, round(float(w))) for a, w in bars] == [("H20.19", 360), ("H20.43", 60)]
    assert re.findall(r"<td>(\d)</td><td>Tệp kết xuất</td>", page) == ["2", "1"]
    (line,) = re.findall(r'points="(.*?)"', page)
    assert line.split() == ["4.0,96.0", "716.0,24.0"], "one differed, then seven: from left to right, upwards"
    assert "250702" not in page


def counts_of(world: World, *rows: tuple[str, str, str, int, int | None, int, str, bool | None]) -> None:
    """The portal's statistics as the marts have them."""
    columns = models()["fct_national_count"]["columns"]
    with world.connect() as c:
        typed = ", ".join(f"{d['name']} {d['data_type']}" for d in columns)
        c.execute(f"create table marts.fct_national_count ({typed})")  # type: ignore[call-overload]
    for unit, period, name, here, held, there, kind, explained in rows:
        put(
            world.url, "fct_national_count", unit_code=unit, unit_name=f"Đơn vị {unit}", period=period, count_name=name,
            count_here=here, count_held=held, count_there=there, difference=there - here, difference_class=kind,
            is_explained_by_dossiers=explained, origin="simulated",
        )  # fmt: skip


def test_the_portals_own_counts_are_alerted_beyond_the_bound_and_shown(copies, tmp_path):
    world, gate = copies
    broken(world, gate)
    compare(world, export(gate, tmp_path / "e.csv"), taken=DAY + dt.timedelta(days=5))
    with world.connect() as c:
        assert reconcile.count_alerts(c) == [], "no marts yet"
    counts_of(
        world,
        # 2.1 % and 21 dossiers; 2.0 % and 20; 9 of 90 dossiers, which are few.
        ("H20", "2025-07", "received", 1000, 979, 979, "counts_differ", True),
        ("H20", "2025-07", "on_time", 1000, 985, 980, "counts_differ", False),
        ("H20", "2025-07", "online", 90, 90, 81, "counts_differ", False),
        ("H20", "2025-07", "synchronised", 950, 950, 950, "same", True),
        ("H20.19", "2025-07", "received", 40, 40, 80, "counts_differ", False),
        ("H20.19", "2025-07", "online", 20, 20, 20, "same", True),
        # Another kind of period, an older month, and one that our data do not cover.
        ("H20", "2025-Q3", "received", 10, 10, 9000, "counts_differ", False),
        ("H20", "2025-06", "received", 10, 10, 9000, "counts_differ", False),
        ("H20", "2025-08", "received", 10, None, 9000, "not_covered", None),
    )
    with world.connect() as c:
        assert reconcile.count_alerts(c) == [
            "Thống kê của Cổng: Hồ sơ tiếp nhận, Đơn vị H20, kỳ 2025-07: Cổng 979, kho 1.000 (lệch -21, quá 2 %); "
            "các hồ sơ sai lệch đã nêu tên giải thích được",
            "Thống kê của Cổng: 1 cơ quan lệch số liệu quá 2 %",
        ]
        page = reports.summary(c, reconcile.count_alerts(c))
        reports.write_agency(c, "H20.19", tmp_path / "a.xlsx")
    assert "kỳ 07/2025:\nĐơn vị H20 (H20)" in page
    assert (
        "<td>1.000</td>\n<td>979</td><td>979</td>\n<td>-21</td><td>Lệch do các hồ sơ sai lệch đã nêu</td>"
        in page
    )
    assert "<td>-20</td><td>Lệch ít, trong giới hạn</td>" in page
    assert "9.000" not in page
    sheet = load_workbook(tmp_path / "a.xlsx")["Số liệu Cổng"]
    assert sheet["A1"].value == "SỐ LIỆU CỔNG CÔNG BỐ, KỲ 07/2025 - H20.19"
    assert list(sheet.iter_rows(min_row=6, values_only=True)) == [
        ("Hồ sơ tiếp nhận", 40, 40, 80, 40, "Lệch, chưa có hồ sơ nào giải thích"),
        ("Nộp trực tuyến", 20, 20, 20, 0, "Khớp"),
    ]
