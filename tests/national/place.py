"""An installation that sends: sealed dossiers, the real vault, the sandbox over HTTP."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg
import requests
import yaml

from ops import national
from ops.settings import Settings
from ops.tasks import Address
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Vault
from tests.national.world import MOMENT, World
from tests.vault.test_dossier_purposes import CLEAR, sealed
from tests.vault.test_purposes import RECORD

CODES = [f"H20.19-250702-{n:04d}" for n in range(1, 7)]
NAMES = [f"Nguyễn Thị Thử {n}" for n in range(1, 7)]


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
        self.environment = {
            "KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": database, "VAULT_SOCKET": str(vault.client.socket),
            "VAULT_TOKEN_FILE": str(vault.home / "token"), "KHOCHUNG_AGREEMENTS": str(self.agreement.parent),
            "KHOCHUNG_NATIONAL_WRITERS": str(self.writers),
        }  # fmt: skip
        self.settings = Settings(self.environment, dotenv=home / "no.env")
        self.post("held", clear=True)
        self.post("faults", fault="clear")

    def declare(self, units: dict[str, Any]) -> None:
        text = yaml.safe_dump({"default": {"writer": "dossier_system"}, "units": units}, allow_unicode=True)
        self.writers.write_text(text)

    def post(self, path: str, **body: Any) -> None:
        requests.post(f"{self.exchange}/__sandbox__/{path}", json=body, timeout=10).raise_for_status()

    def held(self, code: str) -> dict[str, Any]:
        return requests.get(f"{self.exchange}/__sandbox__/held", params={"code": code}, timeout=10).json()

    def calls(self) -> Counter[str]:
        """Calls that came in at the portal, by service."""
        told = requests.get(f"{self.exchange}/__sandbox__/held", timeout=10).json()["calls"]
        return Counter(told)

    def readings(self) -> int:
        """Readings of dossiers in the vault's audit."""
        with psycopg.connect(self.vault.database_url) as connection:
            row = connection.execute(
                "select count(*) from audit where purpose = 'national_sync' and outcome = 'disclosed'"
            ).fetchone()
        return int(row[0]) if row else 0

    def export(self) -> None:
        """The file of the portal's operator, handed over."""
        self.settings.national_exports.mkdir(parents=True, exist_ok=True)
        body = requests.get(f"{self.exchange}/__sandbox__/export", timeout=10).content
        (self.settings.national_exports / "2025-07-10.csv").write_bytes(body)

    def load(self, numbers: Sequence[int] = range(1, 7), **changes: Any) -> None:
        """Dossiers, six if not said, whose persons stand here as the vault sealed them."""
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
