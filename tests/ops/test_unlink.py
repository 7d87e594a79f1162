"""A replay of landing into an empty warehouse, after a person was erased: nothing of the person's joins again."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import stop
from tests.e2e.test_operator_failures import installation
from vault.client import VaultUnavailable
from vault.erasure import Request
from vault.keys import FileKeys
from vault.sealing import UNLINKED
from vault.store import Setup, Store

PERSONAL = (
    "select dossier_id, applicant_id_number, applicant_name, applicant_phone, subject_line, receiving_officer_name "
    "from raw.dossier order by 1"
)


def test_a_replay_of_landing_does_not_bring_an_erased_person_back(tmp_path, database, vault, tien_giang):
    place = installation(tmp_path / "home", database, vault, tien_giang.base_url)

    def held() -> dict[str, tuple]:
        with psycopg.connect(database) as connection:
            return {d: tuple(values) for d, *values in connection.execute(PERSONAL).fetchall()}

    folder = place.pull()
    place.load(folder)
    before = held()
    token = next(t for t, *_ in before.values() if t)
    mine = {d for d, (t, *_) in before.items() if t == token}
    store = Store(Setup(vault.database_url, FileKeys(vault.home / "keys")))
    store.decide(
        Request("YC-01/2026", token, "erase", "Luật 91/2025/QH15", "H20-0042", "2026-01-01T00:00:00+07:00")
    )
    with psycopg.connect(database) as connection:
        connection.execute("drop schema raw, ops, landing_stage cascade")
    place.load(folder)
    after = held()
    assert {d: v for d, v in after.items() if d not in mine} == {
        d: v for d, v in before.items() if d not in mine
    }
    for dossier in mine:
        assert after[dossier][0] is None
        assert set(after[dossier][1:-1]) <= {UNLINKED, None}
        assert after[dossier][-1] == before[dossier][-1], "an officer's name is no matter of the person's"
    with psycopg.connect(database) as connection:
        files = connection.execute(
            "select file_name from raw.dossier_paper where dossier_id = any(%s)", (sorted(mine),)
        ).fetchall()
    names = {name for (name,) in files}
    assert names <= {UNLINKED, None}
    # Without the vault nobody knows who was erased: nothing is loaded.
    with psycopg.connect(database) as connection:
        connection.execute("drop schema raw, ops, landing_stage cascade")
    stop(vault.process)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ops.tasks.VaultClient", lambda *given: type(vault.client)(*given, patience=0))
        with pytest.raises(VaultUnavailable, match="/v1/pseudonyms"):
            place.load(folder)
    with psycopg.connect(database) as connection:
        assert connection.execute("select count(*) from raw.dossier").fetchone() == (0,)
