"""The whole way: sealed dossiers, the real vault, the sandbox over HTTP, the commands of an operator."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import psycopg
import pytest
import requests

from ops import national
from ops.outcomes import NothingToDo, read_outcomes
from ops.settings import VIETNAM, SettingsError
from ops.tasks import Address
from tests.conftest import CLIENT_ID, CLIENT_SECRET
from tests.national.place import CODES, NAMES
from tests.national.world import MOMENT
from tests.vault.test_dossier_purposes import CLEAR


def test_clear_values_reach_the_portal_and_nothing_else(place, capsys):
    place.load()
    done = place.sync()
    assert done["done"] == {"dossier accepted": 6, "progress accepted": 12}
    for code, name in zip(CODES, NAMES, strict=True):
        found = place.held(code)
        (item,) = found["items"]
        assert item["ChuHoSo"] == name
        assert item["DinhDanhCHS"] == [
            {"LoaiDinhDanh": "1", "SoDinhDanh": f"0032000{NAMES.index(name) + 1:05d}"}
        ]
        assert item["TaiLieuNop"][0]["TenTepDinhKem"].startswith("to_khai_")
        assert [s["NoiDungXuLy"] for s in found["progress"]] == [f"Đủ hồ sơ của {name}", "Bước 2"]
    again = place.sync()
    assert (again["done"], again["calls"]) == ({}, {})
    kept = str(
        place.world.rows(
            "select d::text from national.dossier d union all select p::text from national.progress p"
        )
    )
    kept += capsys.readouterr().out + str(read_outcomes(place.settings.home))
    for value in [
        *NAMES,
        "00320000000",
        CLEAR["applicant_phone"],
        CLEAR["subject_line"],
        "to_khai",
        "Lê Văn",
    ]:
        assert value not in kept
    with psycopg.connect(place.vault.database_url) as connection:
        read = connection.execute(
            "select count(*), count(distinct dossier_id) from audit where purpose = 'national_sync' "
            "and outcome = 'disclosed'"
        ).fetchone()
    assert read is not None
    assert read[1] == 6
    assert read[0] == 6 + 6, "each reading is in the audit: of a dossier, and of its steps together"


def test_without_a_unit_or_an_agreement_nothing_is_called(place):
    place.load()
    place.agreement.unlink()
    with pytest.raises(NothingToDo, match=r"national_sync\.yml"):
        place.sync()
    place.declare({})
    with pytest.raises(NothingToDo, match="no unit whose writer is the warehouse"):
        place.sync()
    place.declare({"H20.19": {"writer": "all of us"}})
    with pytest.raises(SettingsError, match="writer is one of"):
        place.sync()


def test_a_spent_quota_sends_the_rest_another_day(place):
    place.load()
    text = place.agreement.read_text().replace("daily_quota: 500", "daily_quota: 8")
    place.agreement.write_text(text)
    done = place.sync()
    assert done["done"]["dossier accepted"] == 6
    assert "2 of the 8 dossiers a day" in done["troubles"][0]
    place.agreement.write_text(text.replace("daily_quota: 8", "daily_quota: 99"))
    assert place.sync()["left"]["progress"] == {"accepted": 12}


def test_a_day_without_changes_calls_nobody_but_for_the_checks_of_the_budget(place, monkeypatch):
    monkeypatch.setattr(national, "SPAN", (dt.datetime.now(VIETNAM).date() - MOMENT.date()).days)
    address = lambda: Address(place.exchange, CLIENT_ID, CLIENT_SECRET)  # noqa: E731
    place.load()
    place.sync()
    read = place.readings()
    before = place.calls()
    assert place.sync()["calls"] == {}
    place.load()  # a day's load with the same content
    assert place.sync()["calls"] == {}
    assert place.sync(period="2025-07")["calls"] == {}, "also where all of a month is planned again"
    assert place.calls() == before, "counted where they would have come in"
    assert place.readings() == read, "and the vault opened nothing"
    monkeypatch.setattr(national, "LOOKUPS", 4)
    assert national.reconcile(place.settings, address)["looked_up"] == {"same": 4}
    assert place.calls() - before == {"TraCuuHoSo": 4, "login": 1}


def test_a_dry_run_holds_nobody_and_changes_nothing(place, capsys):
    place.load()
    place.sync()
    place.load(status_code=9)
    place.world.put(9, channel=None)
    before, states = place.calls(), place.world.states()
    done = place.sync(dry_run=True)
    assert done["dry_run"] == {"update": 6, "held": 1, "progress": 2}
    asked = national.reconcile(place.settings, lambda: Address(""), period="2025-07", dry_run=True)
    assert asked["dry_run"] == {"look_up": 7}
    assert (place.calls(), place.world.states()) == (before, states)
    assert place.world.rows("select count(*) from national.looked") == [(0,)]
    everything = "".join(p.read_text() for p in (place.settings.home / "national").iterdir())
    everything += capsys.readouterr().out + str(read_outcomes(place.settings.home)) + str([done, asked])
    sealed_values = place.world.rows(
        "select applicant_id_number, applicant_name, applicant_phone, subject_line from raw.dossier union all "
        "select officer_name, note, file_name, file_url from raw.dossier_step join raw.dossier_paper using (dossier_id)"
    )
    handles = {v for row in sealed_values for v in row if v}
    clear = {*NAMES, *(n.upper() for n in NAMES), "Lê Văn Tiếp Nhận", "Đủ hồ sơ", "to_khai", "/fi/",
             CLEAR["applicant_phone"], CLEAR["subject_line"], "00320000"}  # fmt: skip
    assert len(handles) > 20
    assert [v for v in handles | clear if v in everything] == []
    assert all(code in everything for code in CODES)


def test_a_backfill_is_of_its_period_alone(place):
    place.load()
    place.world.put(7, received_date="2025-08-03")
    assert place.sync(period="2025-06")["calls"] == {}
    done = place.sync(period="2025-08-01/2025-08-31")
    # The vault does not know this one: it is held, and nothing of July was planned or sent.
    assert (done["planned"]["dossiers"], done["left"]["dossier"]) == (1, {"held": 1})
    assert place.sync(period="2025-07")["done"] == {"dossier accepted": 6, "progress accepted": 12}
    assert place.sync()["calls"] == {}
    with pytest.raises(SettingsError, match="is no period"):
        place.sync(period="July")


def test_by_the_clock_only_urgent_statuses_go_and_what_was_tried(place):
    place.load()
    place.load(status_code=5, numbers=[4])
    done = place.sync(urgent_only=True)
    assert done["left"]["dossier"] == {"accepted": 1, "waiting": 5}
    assert place.held(CODES[3])["items"][0]["TrangThaiHoSo"] == "5"
    assert len(place.held(CODES[3])["progress"]) == 2
    place.world.rows("update national.dossier set attempts = 1 where dossier_key = 'k2' returning 1")
    assert place.sync(urgent_only=True)["left"]["dossier"] == {"accepted": 2, "waiting": 4}
    assert place.sync()["left"]["dossier"] == {"accepted": 6}


def test_a_stop_stops_comparing_and_what_it_would_plan(place):
    place.load()
    place.sync()
    place.post("held", delete=[CODES[0]])
    place.export()
    national.command(place.settings, "stop", "cổng bảo trì đến 8 giờ")
    address = lambda: Address(place.exchange, CLIENT_ID, CLIENT_SECRET)  # noqa: E731
    before = place.calls()
    with pytest.raises(NothingToDo, match="bảo trì"):
        national.reconcile(place.settings, address)
    assert place.world.states() == {"accepted": 6}
    assert place.sync(dry_run=True)["dry_run"] == {}, "looking at what would be done is no planning"
    assert place.calls() == before
    national.command(place.settings, "resume", "cổng đã lại chạy")
    assert national.reconcile(place.settings, address)["classes"] == {"late": 1}


def test_what_calls_meet_with_is_counted_and_shown(place):
    place.load()
    place.post("faults", fault="status", status=503, calls=1)
    place.post("faults", fault="expire_token", after=2)
    done = place.sync()
    assert done["faults"]["login: HTTP 503"] == 1
    assert sum(n for kind, n in done["faults"].items() if kind.endswith(": session ended")) == 1
    assert "met today: login: HTTP 503: 1" in national.command(place.settings, "status")


def test_an_operator_looks_stops_tries_again_and_lets_go_on(place):
    place.load()
    (path,) = national.command(place.settings, "dry-run")
    shown = [json.loads(line) for line in open(path, encoding="utf-8")]  # noqa: SIM115, PTH123
    assert [s["action"] for s in shown].count("insert") == 6
    assert not any(name in str(shown) for name in NAMES)
    with pytest.raises(SettingsError, match="--why"):
        national.command(place.settings, "stop")
    national.command(place.settings, "stop", "cổng bảo trì đến 8 giờ")
    with pytest.raises(NothingToDo, match="bảo trì"):
        place.sync()
    assert place.world.states() == {}, "nothing is planned either"
    address = lambda: Address(place.exchange, CLIENT_ID, CLIENT_SECRET)  # noqa: E731
    with pytest.raises(NothingToDo, match="bảo trì"):
        national.reconcile(place.settings, address)
    assert "STOPPED" in national.command(place.settings, "status")[0]
    national.command(place.settings, "resume", "cổng đã lại chạy")
    place.sync()
    place.post("held", change={CODES[0]: {"TrangThaiHoSo": "9"}})
    place.load(status_code=10)
    place.sync()
    assert any(
        f"{CODES[0]} conflict: TrangThaiHoSo" in line for line in national.command(place.settings, "status")
    )
    with pytest.raises(SettingsError, match="name the dossiers"):
        national.command(place.settings, "retry", adopt=True)
    assert national.command(place.settings, "retry", codes=[CODES[0]], adopt=True) == [
        "1 records wait to be sent"
    ]


def test_another_password_is_told_with_what_to_do(place):
    place.load()
    with pytest.raises(Exception, match="Airflow connection national_exchange"):
        national.sync(place.settings, lambda: Address(place.exchange, CLIENT_ID, "sai"))
    assert place.world.states() == {"waiting": 6}


def test_a_morning_names_what_differs_and_the_next_sync_heals_it(place):
    place.load()
    place.sync()
    address = lambda: Address(place.exchange, CLIENT_ID, CLIENT_SECRET)  # noqa: E731
    assert "comparison" not in national.reconcile(place.settings, address), "no file, no comparison"
    place.post("held", delete=[CODES[0]], change={CODES[1]: {"TrangThaiHoSo": "9"}})
    exports = place.settings.national_exports
    exports.mkdir(parents=True)
    body = requests.get(f"{place.exchange}/__sandbox__/export", timeout=10).content
    (exports / "2025-07-10.csv").write_bytes(body)
    found = national.reconcile(place.settings, address)
    assert found["classes"] == {"late": 1, "content_differs": 1}
    assert (Path(found["folder"]) / "H20.19.xlsx").exists()
    page = (Path(found["folder"]) / "index.html").read_text()
    assert "83,33 %" in page
    assert not any(name in page for name in NAMES)
    assert "comparison" not in national.reconcile(place.settings, address), "the same file is compared once"
    assert place.sync()["done"]["conflict"] == 1
    assert national.command(place.settings, "compare", codes=["2025-07-10.csv"]) == ["1 files compared"]
    answered = [f"H20.19={found['folder']}/H20.19.xlsx"]
    assert national.command(place.settings, "answers", codes=answered) == ["0 answers of H20.19"]
    with pytest.raises(SettingsError, match="looked for the portal's export"):
        national.reconcile(place.settings, address, "nothing.csv")


def test_a_morning_without_a_file_tells_what_look_ups_found_and_has_it_sent_again(place, monkeypatch):
    place.load()
    place.sync()
    monkeypatch.setattr(national, "SPAN", (dt.datetime.now(VIETNAM).date() - MOMENT.date()).days)
    address = lambda: Address(place.exchange, CLIENT_ID, CLIENT_SECRET)  # noqa: E731
    place.post("held", delete=[CODES[0]])
    found = national.reconcile(place.settings, address)
    assert found["looked_up"] == {"same": 5, "missing_there": 1}
    assert found["look_ups"]["healed"] == {"missing_there": 1, "content_differs": 0}
    assert found["look_ups"]["alerts"] == ["Tra cứu: Tỷ lệ đồng bộ 83,33 % dưới mức 99 %"]
    assert (Path(found["folder"]) / "H20.19.xlsx").exists()
    assert "Tra cứu: Tỷ lệ đồng bộ" in (Path(found["folder"]) / "index.html").read_text()
    (path,) = national.command(place.settings, "dry-run")
    shown = [json.loads(line)["action"] for line in Path(path).read_text().splitlines()]
    assert shown == ["insert", "progress", "progress"]
    assert place.sync()["done"] == {"dossier accepted": 1, "progress accepted": 2}
    assert "folder" in national.reconcile(place.settings, address)
    assert place.world.rows("select count(*) from national.standing") == [(0,)]
