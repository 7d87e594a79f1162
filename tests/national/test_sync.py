"""The whole way: sealed dossiers, the real vault, the sandbox over HTTP, the commands of an operator."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import yaml

from ops import national
from ops.outcomes import NothingToDo, read_outcomes
from ops.settings import VIETNAM, Settings, SettingsError
from ops.tasks import Address
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Vault, start_sandbox, stop
from tests.national.world import MOMENT, World
from tests.vault.test_dossier_purposes import CLEAR, sealed
from tests.vault.test_purposes import RECORD

CODES = [f"H20.19-250702-{n:04d}" for n in range(1, 7)]
NAMES = [f"Nguyễn Thị Thử {n}" for n in range(1, 7)]


@pytest.fixture(scope="module")
def exchange() -> Iterator[str]:
    sandbox, process = start_sandbox("exchange", SANDBOX_FAULTS="[]")
    yield sandbox.base_url
    stop(process)


class Place:
    """One installation: its settings, its warehouse, the portal it sends to."""

    def __init__(self, database: str, vault: Vault, home: Any, exchange: str) -> None:
        self.world = World(database)
        self.vault = vault
        self.exchange = exchange
        self.agreement = vault.home / "agreements" / "national_sync.yml"
        self.agreement.parent.mkdir(exist_ok=True)
        record = RECORD | {"purpose": "national_sync", "daily_quota": 500}
        self.agreement.write_text(yaml.safe_dump(record, allow_unicode=True))
        self.writers = home / "writers.yml"
        self.declare({"H20.19": {"writer": "warehouse", "since": dt.date(2025, 7, 1), "decision": "CV 1"}})
        self.settings = Settings(
            {
                "KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": database, "VAULT_SOCKET": str(vault.client.socket),
                "VAULT_TOKEN_FILE": str(vault.home / "token"), "KHOCHUNG_AGREEMENTS": str(self.agreement.parent),
                "KHOCHUNG_NATIONAL_WRITERS": str(self.writers),
            },
            dotenv=home / "no.env",
        )  # fmt: skip
        self.post("held", clear=True)
        self.post("faults", fault="clear")

    def declare(self, units: dict[str, Any]) -> None:
        text = yaml.safe_dump({"default": {"writer": "dossier_system"}, "units": units}, allow_unicode=True)
        self.writers.write_text(text)

    def post(self, path: str, **body: Any) -> None:
        requests.post(f"{self.exchange}/__sandbox__/{path}", json=body, timeout=10).raise_for_status()

    def held(self, code: str) -> dict[str, Any]:
        return requests.get(f"{self.exchange}/__sandbox__/held", params={"code": code}, timeout=10).json()

    def load(self, **changes: Any) -> None:
        """Six dossiers, whose persons stand here as the vault sealed them."""
        numbers = range(1, 7)
        self.world.put(*numbers, **changes)
        dossiers = sealed(self.vault, "dossier", *[
            CLEAR | {"source_code": "igate", "dossier_id": f"d{n}", "applicant_id_number": f"0032000{n:05d}",
                     "applicant_name": NAMES[n - 1]} for n in numbers])  # fmt: skip
        papers = sealed(self.vault, "dossier_paper", *[
            {"source_code": "igate", "dossier_id": f"d{n}", "paper_no": 1, "file_name": f"to_khai_{n}.pdf",
             "file_url": f"/fi/{n}"} for n in numbers])  # fmt: skip
        steps = sealed(self.vault, "dossier_step", *[
            {"source_code": "igate", "dossier_id": f"d{n}", "step_no": 1, "step_name": "Bước 1", "started_at": MOMENT,
             "officer_name": "Lê Văn Tiếp Nhận", "note": f"Đủ hồ sơ của {NAMES[n - 1]}"} for n in numbers])  # fmt: skip
        with self.world.connect() as c:
            for d in dossiers:
                c.execute(
                    "update raw.dossier set applicant_id_number = %s, applicant_name = %s, applicant_phone = %s, "
                    "subject_line = %s where dossier_id = %s",
                    (d["applicant_id_number"], d["applicant_name"], d["applicant_phone"], d["subject_line"],
                     d["dossier_id"]),
                )  # fmt: skip
            for p in papers:
                c.execute("update raw.dossier_paper set file_name = %s, file_url = %s where dossier_id = %s",
                          (p["file_name"], p["file_url"], p["dossier_id"]))  # fmt: skip
            for s in steps:
                c.execute("update raw.dossier_step set officer_name = %s, note = case when step_no = 1 then %s end "
                          "where dossier_id = %s", (s["officer_name"], s["note"], s["dossier_id"]))  # fmt: skip

    def sync(self, **options: Any) -> dict[str, Any]:
        return national.sync(
            self.settings, lambda: Address(self.exchange, CLIENT_ID, CLIENT_SECRET), **options
        )


@pytest.fixture
def place(database: str, vault: Vault, tmp_path: Any, exchange: str) -> Place:
    return Place(database, vault, tmp_path, exchange)


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
    assert read[0] == 6 + 12, "each reading is in the audit"


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
    assert "83.33 %" in page
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
    assert found["look_ups"]["alerts"] == ["Tra cứu: Tỷ lệ đồng bộ 83.33 % dưới mức 99 %"]
    assert (Path(found["folder"]) / "H20.19.xlsx").exists()
    assert "Tra cứu: Tỷ lệ đồng bộ" in (Path(found["folder"]) / "index.html").read_text()
    (path,) = national.command(place.settings, "dry-run")
    shown = [json.loads(line)["action"] for line in Path(path).read_text().splitlines()]
    assert shown == ["insert", "progress", "progress"]
    assert place.sync()["done"] == {"dossier accepted": 1, "progress accepted": 2}
    assert "folder" in national.reconcile(place.settings, address)
    assert place.world.rows("select count(*) from national.standing") == [(0,)]
