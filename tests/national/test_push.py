"""What is sent, when, and what comes of it: real PostgreSQL, and the portal's rules as the sandbox has them."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import psycopg
import pytest
import requests
from openpyxl import load_workbook

from national import outbox, reports
from national.exchange import Budget, Exchange, Uncertain
from national.mapping import hashed, read_mapping
from national.push import NotForThere, Report, dry_run, plan, push
from tests.conftest import CLIENT_ID, CLIENT_SECRET
from tests.national.world import KEY, OURS, QUICK, UNIT, Killed, Portal, World


def run(world: World, gate: Portal, writers: Any = OURS, most: int = 100_000, **policy: Any) -> Report:
    with world.connect() as connection:
        plan(connection, writers, KEY)
    return push(
        world.connect, gate.exchange(most), world.open, writers, KEY, dataclasses.replace(QUICK, **policy)
    )


def settled(world: World, gate: Portal) -> None:
    """Everything we answer for stands there once, and as we have it."""
    tables = read_mapping()
    for code, accepted in world.rows("select national_code, accepted_hash from national.dossier"):
        (item,) = gate.copy.find(code)
        assert hashed(tables["dossier"].masked(item, KEY), KEY) == accepted
    numbers = gate.copy.numbers()
    assert (numbers["doubled_codes"], numbers["doubled_progress"]) == (0, 0)
    steps = world.rows("select count(*) from national.progress where state = 'accepted'")[0][0]
    assert numbers["progress"] == steps == world.rows("select count(*) from national.progress")[0][0]


def test_dossiers_come_first_and_their_progress_after(world, gate):
    world.put(*range(1, 8))
    report = run(world, gate)
    assert gate.written() == ["DongBoHoSoMC"] * 2 + ["CapNhatTienDoHoSoMC"] * 5
    assert report.done == {"dossier accepted": 7, "progress accepted": 14}
    settled(world, gate)
    item = gate.copy.find("H20.19-250702-0003")[0]
    assert item["ChuHoSo"] == "Nguyễn Thị Thử 3"
    assert item["DinhDanhCHS"] == [{"LoaiDinhDanh": "1", "SoDinhDanh": "003200000003"}]
    assert item["TaiLieuNop"][0]["DuocTaiSuDung"] == "", "unknown is never told as no"


def test_a_day_without_changes_calls_nobody(world, gate):
    world.put(1, 2)
    run(world, gate)
    gate.calls.clear()
    opened = world.opened
    assert run(world, gate).calls == {}
    world.load += 1
    world.put(1, 2)  # loaded again, with the same content
    assert run(world, gate).calls == {}
    assert world.opened == opened


def test_what_changed_is_updated_after_a_look(world, gate):
    world.put(1, 2)
    run(world, gate)
    gate.calls.clear()
    world.put(2, status_code=5)
    report = run(world, gate)
    assert [s for s, _ in gate.calls] == ["TraCuuHoSo", "DongBoHoSoMC"]
    assert report.done == {"dossier accepted": 1}
    assert gate.copy.find("H20.19-250702-0002")[0]["TrangThaiHoSo"] == "5"
    settled(world, gate)


def test_a_required_field_that_lacks_holds_the_dossier_with_the_reason(world, gate):
    world.put(1)
    world.put(2, channel=None)
    world.put(3, applicant_id_number=None)
    world.put(4, status_code=99)
    run(world, gate)
    assert dict(world.rows("select dossier_key, lacking::text from national.dossier where state = 'held'")) == {
        "k2": "{KenhThucHien}", "k3": "{DinhDanhCHS}", "k4": "{TrangThaiHoSo}"}  # fmt: skip
    assert gate.copy.numbers()["dossier"] == 1
    world.put(3)
    run(world, gate)
    assert gate.copy.numbers()["dossier"] == 2, "and goes when it is there"


@pytest.mark.parametrize("fault", ["lost_before", "lost_after", "expired", "busy"])
@pytest.mark.parametrize("call", [0, 1, 3])
def test_every_fault_at_every_call_ends_with_each_once(world, gate, fault, call):
    world.put(1, 2, 3)
    gate.plan = [""] * call + [fault]
    run(world, gate)
    settled(world, gate)
    world.put(1, 2, status_code=10)
    gate.plan = [""] * call + [fault, fault]
    run(world, gate)
    settled(world, gate)
    assert gate.copy.find("H20.19-250702-0001")[0]["TrangThaiHoSo"] == "10"


def test_a_lost_answer_is_looked_up_and_never_sent_again(world, gate):
    world.put(1)
    gate.plan = ["lost_after", "", "lost_after"]
    run(world, gate)
    assert [s for s, _ in gate.calls] == [
        "DongBoHoSoMC", "TraCuuHoSo", "CapNhatTienDoHoSoMC", "TraCuuHoSo"]  # fmt: skip
    settled(world, gate)


class Deaf(Portal):
    """Gives no answer to look-ups of one dossier, so many times (five are one look-up); -1: of any, ever."""

    def __init__(self, code: str, times: int) -> None:
        super().__init__()
        self.code, self.times = code, times

    def __call__(self, path: str, body: Any) -> Any:
        if body.get("service") == "TraCuuHoSo" and self.times and self.code in body["mahoso"]:
            self.times -= 1
            raise Uncertain("no answer in time")
        return super().__call__(path, body)


def test_a_look_up_that_fails_puts_off_its_own_dossier_alone(world):
    world.put(*range(1, 8))
    gate = Deaf("0002", 5)
    gate.plan = ["lost_after"]
    report = run(world, gate)
    assert report.troubles == []
    assert report.done["look-ups put off"] == 1
    assert report.faults["TraCuuHoSo: no answer in time"] == 5
    settled(world, gate)
    world.put(*range(1, 8), status_code=9)
    gate.times = 5
    assert run(world, gate).troubles == []
    settled(world, gate)


def test_a_look_up_that_fails_each_time_ends_the_run_after_all_others(world):
    world.put(*range(1, 8))
    gate = Deaf("0002", -1)
    gate.plan = ["lost_after"]
    report = run(world, gate)
    assert "5 times in a row" in report.troubles[0]
    assert world.states() == {"accepted": 6, "sending": 1}
    gate.times = 0
    run(world, gate)
    settled(world, gate)


def test_a_portal_that_answers_no_look_up_ends_the_run_at_the_third(world):
    world.put(*range(1, 8))
    gate = Deaf("H20", -1)
    gate.plan = ["lost_after"]
    report = run(world, gate)
    assert report.done["look-ups put off"] == 3
    assert report.calls["TraCuuHoSo"] <= 5 * 5
    gate.times = 0
    run(world, gate)
    settled(world, gate)


def test_sessions_are_used_again_and_given_up_when_none_is_let_in(world, gate):
    world.put(*range(1, 8))
    assert run(world, gate).calls["login"] == 1
    world.put(8)
    gate.plan = ["expired"] * 99
    report = run(world, gate)
    assert "the session is refused, also after signing in again" in report.troubles[0]
    assert report.calls["login"] == 5
    gate.plan = []
    run(world, gate)
    settled(world, gate)


@pytest.mark.parametrize("moment", ["killed_before", "killed_after"])
@pytest.mark.parametrize("call", [0, 1, 3])
def test_killed_at_a_call_and_begun_again_ends_the_same(world, gate, moment, call):
    world.put(*range(1, 8))
    gate.plan = [""] * call + [moment]
    with pytest.raises(Killed):
        run(world, gate)
    run(world, gate)
    settled(world, gate)


def test_a_refusal_sets_one_aside_and_its_words_name_nobody(world, gate):
    world.put(1, 2, 3, steps=0)
    check = gate.services.dossiers

    def grumbling(body: Any) -> Any:
        bad = [i for i in body["data"] if i["MaHoSo"].endswith("0002") and i["TrangThaiHoSo"] == "4"]
        rest = [i for i in body["data"] if i not in bad]
        told = check(body | {"data": rest}) if rest else (0, "", [])
        if not bad:
            return told
        words = "Hồ sơ của NGUYEN THI THỬ 2 (số 0032 0000 0002, đt 04.00000002) không hợp lệ"
        return -1, words, [{"MaHoSo": bad[0]["MaHoSo"], "error_code": "-1", "message": words}]

    gate.services.dossiers = grumbling
    run(world, gate)
    assert world.states() == {"accepted": 2, "refused": 1}
    said = world.rows("select last_answer from national.dossier where state = 'refused'")[0][0]
    assert "không hợp lệ" in said
    assert not any(w in said for w in ("THỬ", "NGUYEN", "0032", "00000002"))
    gate.calls.clear()
    run(world, gate)
    assert gate.calls == [], "it is not tried again by itself"
    with world.connect() as connection:
        assert outbox.retry(connection, ["H20.19-250702-0002"]) == 1
    world.put(2, steps=0, status_code=9)
    run(world, gate)
    assert world.states() == {"accepted": 3}


def test_what_is_set_aside_goes_again_when_its_content_changes(world, gate):
    world.put(1, 2)
    real = gate.services.dossiers

    def picky(body: Any) -> Any:
        bad = [i for i in body["data"] if i["MaHoSo"].endswith("0002") and i["TrangThaiHoSo"] == "4"]
        told = (
            real(body | {"data": [i for i in body["data"] if i not in bad]})
            if len(bad) < len(body["data"])
            else ()
        )
        return (
            (-1, "Sai lĩnh vực", [{"MaHoSo": bad[0]["MaHoSo"], "message": "Sai lĩnh vực"}]) if bad else told
        )

    gate.services.dossiers = picky
    run(world, gate)
    assert world.states() == {"accepted": 1, "refused": 1}
    world.put(2, status_code=9)
    run(world, gate)
    settled(world, gate)


def test_its_agency_reads_what_is_not_sent_and_why(world, gate, tmp_path):
    world.put(1)
    world.put(2, channel=None, applicant_id_number=None)
    world.put(3, responsible_agency_code="H20.19.02")
    world.put(4)
    world.closed["d3"] = "refused"
    real = gate.services.dossiers
    words = "Hồ sơ của NGUYEN THI THỬ 4 sai lĩnh vực"
    gate.services.dossiers = lambda body: (
        (
            -1,
            words,
            [{"MaHoSo": i["MaHoSo"], "message": words} for i in body["data"] if i["MaHoSo"].endswith("4")],
        )
        if any(i["MaHoSo"].endswith("4") for i in body["data"])
        else real(body)
    )
    run(world, gate, dossiers=1)
    gate.copy.replace(
        "H20.19-250702-0001", gate.copy.find("H20.19-250702-0001")[0] | {"ChuHoSo": "Người Khác"}
    )
    world.put(1, status_code=9)
    run(world, gate)
    with world.connect() as connection:
        reports.write_agency(connection, "H20.19", tmp_path / "H20.19.xlsx")
        reports.write_agency(connection, "H20.20", tmp_path / "H20.20.xlsx")
    sheet = load_workbook(tmp_path / "H20.19.xlsx")["Chưa gửi"]
    told = {r[1][-4:]: r[3:5] for r in sheet.iter_rows(min_row=6, values_only=True)}
    assert told == {
        "0001": ("Không gửi đè", "Trên Cổng khác ở: ChuHoSo"),
        "0002": ("Chưa gửi lên Cổng", "Thiếu: Kênh thực hiện, Số định danh của chủ hồ sơ"),
        "0003": ("Chưa gửi lên Cổng", "Dữ liệu cá nhân bị hạn chế sử dụng, hoặc không thuộc hồ sơ này"),
        "0004": ("Cổng từ chối", "Cổng trả lời: Hồ sơ của […] sai lĩnh vực"),
    }
    other = load_workbook(tmp_path / "H20.20.xlsx")["Chưa gửi"]
    assert list(other.iter_rows(min_row=6, values_only=True)) == [], "nothing of another agency"


def test_units_are_sent_side_by_side(world):
    """Neither unit's first call is answered before the other's has come."""
    world.put(1, 2)
    world.put(3, 4, responsible_agency_code="H20.20")
    both = threading.Barrier(2, timeout=30)

    class Meeting(Portal):
        def __call__(self, path: str, body: Any) -> Any:
            if body.get("service") == "DongBoHoSoMC":
                both.wait()
            return super().__call__(path, body)

    gate = Meeting()
    run(
        world,
        gate,
        dataclasses.replace(OURS, units={u: dataclasses.replace(UNIT, code=u) for u in ("H20.19", "H20.20")}),
    )
    settled(world, gate)


def test_no_more_calls_are_under_way_than_are_allowed(world, exchange):
    units = {u: dataclasses.replace(UNIT, code=u) for u in ("H20.19", "H20.20", "H20.43")}
    for at, unit in enumerate(units):
        world.put(*range(10 * at + 1, 10 * at + 9), responsible_agency_code=unit)
    faults = f"{exchange}/__sandbox__/faults"
    requests.post(faults, json={"fault": "latency", "ms": 30, "rate": 1.0}, timeout=10).raise_for_status()
    writers = dataclasses.replace(OURS, units=units)
    with world.connect() as connection:
        plan(connection, writers, KEY)
    login = (CLIENT_ID, CLIENT_SECRET)
    push(
        world.connect,
        Exchange(exchange, *login, "H20", Budget(999), at_once=2),
        world.open,
        writers,
        KEY,
        QUICK,
    )
    told = requests.get(f"{exchange}/__sandbox__/held", timeout=10).json()
    assert (told["dossier"], told["most_at_once"]) == (24, 2)


def test_an_operator_may_have_it_tried_again_and_new_rules_do(world, gate):
    world.put(1, steps=0)
    gate.faults.set({"fault": "refuse_items", "calls": 99})
    real, gate.services.faults = gate.services.faults, gate.faults
    gate.plan = ["busy"]
    run(world, gate, tries=1)
    assert world.states() == {"refused": 1}
    gate.services.faults = real
    newer = {n: dataclasses.replace(t, version=t.version + 1) for n, t in read_mapping().items()}
    with world.connect() as connection:
        plan(connection, OURS, KEY, newer)
    assert world.states() == {"waiting": 1}


def test_a_portal_that_does_not_say_which_was_refused_is_asked_and_told_one_by_one(world, gate):
    world.put(1, 2, 3, steps=0)
    gate.faults.set({"fault": "item_results", "off": True})
    gate.plan = ["busy"]
    report = run(world, gate)
    assert report.done["refused without saying which"] == 3
    settled(world, gate)
    sent = [len(data) for s, data in gate.calls if s == "DongBoHoSoMC"]
    assert sent == [3, 1]


def test_what_somebody_else_wrote_is_told_and_not_overwritten(world, gate):
    world.put(1, 2, steps=0)
    run(world, gate)
    code = "H20.19-250702-0001"
    gate.copy.replace(code, gate.copy.find(code)[0] | {"TrangThaiHoSo": "9", "ChuHoSo": "Người Khác"})
    world.put(1, 2, steps=0, status_code=10)
    report = run(world, gate)
    assert report.done["conflict"] == 1
    assert world.rows("select reasons from national.dossier where state = 'conflict'") == [
        (["ChuHoSo", "TrangThaiHoSo"],)
    ]
    assert gate.copy.find(code)[0]["TrangThaiHoSo"] == "9"
    assert gate.copy.find("H20.19-250702-0002")[0]["TrangThaiHoSo"] == "10"
    with world.connect() as connection:
        outbox.retry(connection, [code], adopt=True)
    run(world, gate)
    assert gate.copy.find(code)[0]["TrangThaiHoSo"] == "10"
    settled(world, gate)


def test_what_is_given_up_is_replaced_also_where_our_content_is_again_what_it_was(world, gate):
    world.put(1)
    run(world, gate)
    code = "H20.19-250702-0001"
    gate.copy.replace(code, gate.copy.find(code)[0] | {"TrangThaiHoSo": "9"})
    world.put(1, status_code=5)
    assert run(world, gate).done["conflict"] == 1
    with world.connect() as connection:
        outbox.retry(connection, [code], adopt=True)
    world.put(1)
    run(world, gate)
    assert gate.copy.find(code)[0]["TrangThaiHoSo"] == "4"
    settled(world, gate)


@pytest.mark.parametrize("adopt", [False, True])
def test_what_an_earlier_writer_left_is_replaced_only_by_decision(world, gate, adopt):
    world.put(1, steps=1)
    gate.copy.insert(
        [{"MaHoSo": "H20.19-250702-0001", "TrangThaiHoSo": "9", "NgayTiepNhan": "20250702000000"}]
    )
    writers = dataclasses.replace(OURS, units={"H20.19": dataclasses.replace(UNIT, adopt=adopt)})
    report = run(world, gate, writers)
    assert report.done["stood there already"] == 1
    held = gate.copy.find("H20.19-250702-0001")
    assert held[0]["TrangThaiHoSo"] == ("4" if adopt else "9")
    assert world.states() == ({"accepted": 1} if adopt else {"conflict": 1})
    assert gate.copy.numbers()["progress"] == adopt


def test_what_the_portal_lost_is_sent_anew_with_its_progress(world, gate):
    world.put(1)
    run(world, gate)
    gate.copy.delete("H20.19-250702-0001")
    world.put(1, status_code=9)
    assert run(world, gate).done["gone there"] == 1
    settled(world, gate)


@pytest.mark.parametrize("end", ["lost", "taken back"])
def test_a_conflict_ends_where_what_somebody_else_wrote_is_gone(world, gate, end):
    world.put(1)
    run(world, gate)
    code = "H20.19-250702-0001"
    (ours,) = gate.copy.find(code)
    gate.copy.replace(code, ours | {"GhiChu": "khác"})
    world.put(1, status_code=9)
    assert run(world, gate).done == {"conflict": 1}
    assert gate.copy.find(code) == [ours | {"GhiChu": "khác"}]
    if end == "lost":
        gate.copy.delete(code)
    else:
        gate.copy.replace(code, ours)
    assert run(world, gate).done[{"lost": "gone there"}.get(end, "taken back there")] == 1
    assert gate.copy.find(code)[0]["TrangThaiHoSo"] == "9"
    settled(world, gate)


def test_a_conflict_is_looked_at_once_a_day_and_so_many_a_run(world, gate):
    world.put(1, 2, 3, steps=0)
    run(world, gate)
    for item in [*gate.copy.received()]:
        gate.copy.replace(item["MaHoSo"], item | {"GhiChu": "khác"})
    world.put(1, 2, 3, steps=0, status_code=9)
    assert run(world, gate, recheck=3600.0).done == {"conflict": 3}
    assert run(world, gate, recheck=3600.0).calls == {}
    with world.connect() as c:
        c.execute("update national.dossier set next_try_at = now()")
    assert run(world, gate, recheck=3600.0, conflicts=2).calls == {"login": 1, "TraCuuHoSo": 2}
    assert run(world, gate, recheck=3600.0, conflicts=2).calls == {"login": 1, "TraCuuHoSo": 1}
    assert world.rows("select distinct reasons from national.dossier where state = 'conflict'") == [
        (["GhiChu"],)
    ]


def test_progress_that_was_sent_and_changed_here_is_told_and_not_sent_twice(world, gate):
    world.put(1)
    run(world, gate)
    with world.connect() as c:
        c.execute("update raw.dossier_step set step_name = 'Bước khác' where step_no = 2")
    world.put(1)
    with world.connect() as c:
        c.execute("update raw.dossier_step set step_name = 'Bước khác' where step_no = 2")
    run(world, gate)
    assert world.states("progress") == {"accepted": 1, "conflict": 1}
    assert gate.copy.numbers()["progress"] == 2


def test_only_units_that_are_ours_are_sent(world, gate):
    world.put(1)
    world.put(2, responsible_agency_code="H20.20")
    world.put(3, responsible_agency_code="H20.19.02")
    world.put(4, responsible_agency_code="H20.190")
    world.put(5, received_date="2025-06-30")
    run(world, gate)
    assert {r[0] for r in world.rows("select dossier_key from national.dossier")} == {"k1", "k3"}


def test_simulated_dossiers_leave_nowhere_but_to_the_sandbox(world, gate):
    world.put(1)
    with world.connect() as connection:
        plan(connection, OURS, KEY)
    real = gate.exchange()
    real._sandbox = False
    with pytest.raises(NotForThere, match="simulated"):
        push(world.connect, real, world.open, OURS, KEY, QUICK)
    world.put(1, origin="real")
    with world.connect() as connection:
        connection.execute("update national.dossier set origin = 'real'")
    with pytest.raises(NotForThere, match="is the sandbox"):
        push(world.connect, gate.exchange(), world.open, OURS, KEY, QUICK)
    assert gate.calls == []


def test_the_stop_switch_stops_and_lets_go_on(world, gate):
    world.put(1)
    with world.connect() as connection:
        outbox.stop(connection, "cổng báo lỗi", "an.nguyen")
    with pytest.raises(outbox.Stopped, match=r"an\.nguyen.*cổng báo lỗi"):
        run(world, gate)
    assert gate.calls == []
    with world.connect() as connection:
        outbox.resume(connection, "đã sửa", "an.nguyen")
    run(world, gate)
    settled(world, gate)


def test_a_stop_in_the_middle_of_a_run_leaves_nothing_unknown(world, gate):
    world.put(*range(1, 30))

    def stopping(asked: Any) -> Any:
        if gate.written():
            with world.connect() as connection:
                outbox.stop(connection, "cổng báo lỗi", "an.nguyen")
        return World.open(world, asked)

    with world.connect() as connection:
        plan(connection, OURS, KEY)
    report = push(world.connect, gate.exchange(), stopping, OURS, KEY, dataclasses.replace(QUICK, ahead=1))
    assert "an.nguyen" in report.troubles[0]
    states = world.states()
    assert set(states) == {"accepted", "waiting"}
    assert gate.copy.numbers()["dossier"] == states["accepted"] < 29
    with world.connect() as connection:
        outbox.resume(connection, "đã sửa", "an.nguyen")
    run(world, gate)
    settled(world, gate)


def test_what_is_planned_anew_while_a_call_is_made_ready_goes_in_another(world, gate):
    world.put(1, 2, steps=0)
    with world.connect() as connection:
        plan(connection, OURS, KEY)

    def changing(asked: Any) -> Any:
        given = World.open(world, asked)
        if not gate.written() and world.opened == 2:
            # The code it will stand under is another, too: under the old one it must not be sent.
            world.put(2, steps=0, national_code="G22.99-0002", status_code=5)
            with world.connect() as connection:
                plan(connection, OURS, KEY)
        return given

    push(world.connect, gate.exchange(), changing, OURS, KEY, QUICK)
    assert gate.copy.find("H20.19-250702-0002") == []
    assert gate.copy.find("G22.99-0002")[0]["TrangThaiHoSo"] == "5"
    settled(world, gate)


def test_urgent_statuses_and_their_progress_go_first(world, gate):
    world.put(*range(1, 9))
    world.put(7, status_code=5)
    run(world, gate, dossiers=1)
    order = [data[0]["MaHoSo"][-1] for s, data in gate.calls if s == "DongBoHoSoMC"]
    assert order[0] == "7"
    assert next(d for s, d in gate.calls if s == "CapNhatTienDoHoSoMC")[0]["MaHoSo"].endswith("7")


def test_calls_are_filled(world, gate):
    world.put(*range(1, 28), steps=3)
    run(world, gate, dossiers=5, progress=10)
    sizes = {
        service: [len(data) for s, data in gate.calls if s == service]
        for service in ("DongBoHoSoMC", "CapNhatTienDoHoSoMC")
    }
    assert sizes == {"DongBoHoSoMC": [5] * 5 + [2], "CapNhatTienDoHoSoMC": [10] * 8 + [1]}


def test_the_budget_ends_a_run_and_the_next_goes_on(world, gate):
    world.put(*range(1, 20))
    first = run(world, gate, most=3)
    assert sum(first.calls.values()) == 3
    assert "3 calls of this run" in first.troubles[0]
    assert world.states() == {"accepted": 10, "waiting": 9}, "the call made ready and not made is none"
    run(world, gate)
    settled(world, gate)


def test_one_worker_a_unit(world, gate):
    world.put(1)
    with world.connect() as connection, outbox.worker(connection, "H20.19") as got:
        assert got
        assert run(world, gate).done == {"units another process sends": 1}
    assert gate.calls == []
    run(world, gate)
    settled(world, gate)


def test_what_the_vault_does_not_give_is_held(world, gate):
    world.put(1, 2)
    world.closed["d2"] = "refused"
    run(world, gate)
    assert world.rows("select dossier_key, reasons from national.dossier where state = 'held'") == [
        ("k2", ["refused"])
    ]


def test_a_dry_run_shows_what_would_be_sent_and_nobody(world, gate):
    world.put(1, 2)
    run(world, gate)
    world.put(1, status_code=9)
    world.put(3)
    world.put(4, channel=None)
    with world.connect() as connection:
        shown = list(dry_run(connection, OURS, KEY))
    assert sorted((s["action"], s["item"]["MaHoSo"]) for s in shown if "TrangThaiHoSo" in s["item"]) == [
        ("held", "H20.19-250702-0004"), ("insert", "H20.19-250702-0003"), ("update", "H20.19-250702-0001")]  # fmt: skip
    text = str(shown)
    assert "ref1_" not in text
    assert "id1_" not in text
    assert world.states() == {"accepted": 2}


def test_the_outbox_holds_no_clear_value(world, gate):
    world.put(*range(1, 6))
    gate.plan = ["", "lost_after", "busy"]
    run(world, gate)
    text = str(
        world.rows("select d::text from national.dossier d union all select p::text from national.progress p")
    )
    for value in {v for v in world.values.values() if v}:
        assert value not in text


def test_an_account_is_asked_for_once_and_only_of_what_was_filed_online(world, gate):
    world.put(1, 2, steps=0)
    world.put(4, steps=0, channel=2)
    run(world, gate)
    assert [s for s, _ in gate.calls].count("TraCuuTechID") == 1
    assert gate.copy.find("H20.19-250702-0001")[0]["MaDoiTuong"] is None
    held = gate.copy.find("H20.19-250702-0004")[0]["MaDoiTuong"]
    assert (
        held == gate.services.tech_id({"provider": "wso2is", "SoDinhDanh": "003200000004"})[0]["TECHNICALID"]
    )


def test_a_closed_port_is_told_with_what_to_do(world):
    world.put(1)
    exchange = Exchange("http://127.0.0.1:9", "u", "p", "H20", Budget(50), patience=(0.2, 0.2), pause=0)
    assert exchange.is_sandbox() is False
    exchange._sandbox = True
    with world.connect() as connection:
        plan(connection, OURS, KEY)
    (told,) = push(world.connect, exchange, world.open, OURS, KEY, QUICK).troubles
    assert "login at http://127.0.0.1:9" in told
    assert world.states() == {"waiting": 1}


def test_planning_killed_is_planned_again(world):
    world.put(1, 2)
    with psycopg.connect(world.url) as connection:
        connection.execute(
            "create function boom() returns trigger language plpgsql as $$ begin raise 'x'; end $$"
        )
        connection.execute(
            "create trigger t before insert on national.planned for each row execute function boom()"
        )
    with world.connect() as connection, pytest.raises(psycopg.Error):
        plan(connection, OURS, KEY)
    assert world.states() == {}
    with psycopg.connect(world.url) as connection:
        connection.execute("drop trigger t on national.planned")
    with world.connect() as connection:
        assert plan(connection, OURS, KEY)["dossiers"] == 2


def test_an_earlier_first_day_is_the_backfill(world, gate):
    world.put(1)
    world.put(2, received_date="2025-06-20")
    run(world, gate)
    assert gate.copy.numbers()["dossier"] == 1
    earlier = dataclasses.replace(UNIT, since=UNIT.since.replace(month=6))
    gate.calls.clear()
    run(world, gate, dataclasses.replace(OURS, units={"H20.19": earlier}))
    assert gate.written().count("DongBoHoSoMC") == 1
    settled(world, gate)
