"""A real scheduler takes the chain from the sources to a release; PostgreSQL goes away in between."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests

from ops import tasks
from ops.settings import PROJECT
from ops.sources import read_sources
from tests.conftest import wait_for
from tests.e2e.installation import Installation

pytestmark = pytest.mark.timeout(900)
BACKFILL = "2025-06-30"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation.create(tmp_path_factory.mktemp("up"))
    try:
        said = installation.ops("up")
        assert "user admin, password" in said
        yield installation
    finally:
        installation.ops("down", check=False)


def state(up: Installation, dag_id: str, kind: str) -> set[str]:
    return {
        s
        for (s,) in up.airflow_rows(
            f"select state from dag_run where dag_id = '{dag_id}' and run_type = '{kind}'"
        )
    }


def failures(up: Installation) -> list[tuple]:
    return up.airflow_rows(
        "select dag_id, task_id, state, try_number from task_instance where state in ('failed', 'upstream_failed')"
    )


def test_a_backfill_runs_a_real_interval_and_the_chain_reaches_a_release(up: Installation) -> None:
    # The scheduler begins by itself with the newest interval of the portal; dossiers come by backfill.
    wait_for(
        lambda: up.airflow_rows("select 1 from dag where dag_id = 'ingest_dossiers_igate_tien_giang'"), 120
    )
    up.airflow(
        "backfill", "create", "--dag-id", "ingest_dossiers_igate_tien_giang",
        "--from-date", BACKFILL, "--to-date", BACKFILL,
    )  # fmt: skip

    def published() -> bool:
        assert not failures(up), failures(up)
        release = up.release()
        return release is not None and any(d.get("id", d.get("dataset")) for d in release["datasets"])

    wait_for(published, 600)
    loads = up.rows(
        "select interval_start, interval_end from ops.load_log where source_code = 'igate_tien_giang' order by 1"
    )
    assert len(loads) == 1
    start, end = loads[0]
    assert start < end, "a backfilled run has a real interval"
    day = dt.datetime.fromisoformat(f"{BACKFILL}T00:00:00+07:00")
    assert (start, end) in ((day, day + dt.timedelta(days=1)), (day - dt.timedelta(days=1), day))
    assert up.rows("select count(*) from marts.fct_dossier")[0][0] > 1000
    assert requests.get(f"http://127.0.0.1:{up.settings.site_port}/", timeout=5).ok


def test_the_published_site_shows_the_simulated_origin(up: Installation) -> None:
    page = requests.get(f"http://127.0.0.1:{up.settings.site_port}/", timeout=5)
    page.encoding = "utf-8"
    assert "DỮ LIỆU MÔ PHỎNG" in page.text


def test_the_portals_own_points_are_reproduced_for_every_unit_it_published(up: Installation) -> None:
    # The province, its agencies and communes; dbt's own test compares, and would be content with no row.
    assert up.rows(
        "select count(distinct department_id), count(*) filter (where difference <> 0 or difference is null) "
        "from marts.fct_service_index_score where counted_by = 'portal' and origin = 'real' "
        "and indicator_code = 'PROGRESS_ON_TIME' and published_score is not null"
    ) == [(164, 0)]


def test_each_published_score_follows_from_its_published_totals_or_is_flagged_with_what_lacks(
    up: Installation,
) -> None:
    found = {
        (code, verdict, reason): units
        for code, verdict, reason, units in up.rows(
            "select score_code, verdict, reason, count(distinct department_id) "
            "from marts.fct_service_index_published where origin = 'real' group by 1, 2, 3"
        )
    }
    # Its numerator stands in for a denominator that the portal has not yet, and it says so.
    provisional = "provisional: TEMP_NATIONAL_REPORT_DENOMINATOR"
    assert {k: n for k, n in found.items() if k[1] != "totals_not_published"} == {
        ("PROGRESS_ON_TIME", "reproduced", None): 164,
        ("PUBLISH_ON_TIME", "reproduced", None): 16,
        ("PUBLIC_UPDATE_ON_TIME", "reproduced", None): 16,
        ("PUBLIC_CONTENT_FULL", "reproduced", None): 16,
        ("DOSSIER_SYNC", "reproduced", provisional): 16,
        ("transparency/TOTAL", "reproduced", provisional): 16,
        # 34 provinces and the country: the sum of their groups.
        ("service-results/TOTAL", "reproduced", None): 35,
    }
    # Of the ranking's groups nothing but points is published: each names the indicators whose totals lack.
    with (PROJECT / "dbt" / "seeds" / "service_index_indicator.csv").open(encoding="utf-8", newline="") as f:
        group_of = {row["indicator_code"]: row["group_code"] for row in csv.DictReader(f)}
    groups = {g: {i for i, of in group_of.items() if of == g} for g in set(group_of.values())}
    country = {"CKMB", "TDGQ", "MDHL", "MDSH"}
    wanted = {g: (codes, 34 + (g in country)) for g, codes in groups.items()}
    wanted["ONLINE_SERVICE"] = (groups["CLGQ"] | groups["TTTT"], 1)
    assert {
        code: (set(reason.removeprefix("no_totals_of: ").split(", ")), n)
        for (code, verdict, reason), n in found.items()
        if verdict == "totals_not_published"
    } == wanted


def test_the_cookbook_answers_an_analyst(up: Installation) -> None:
    # Of a day's dossiers none need lie in the commune of the example, and nobody is checked without an agreement.
    may_be_empty = {"3", "10"}
    text = (PROJECT / "docs" / "cookbook.md").read_text(encoding="utf-8")
    found = re.findall(r"^## (\d+)\..*?```sql\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert [number for number, _ in found] == [str(n) for n in range(1, 11)]
    with psycopg.connect(up.settings.login_url("analyst")) as connection:
        for number, query in found:
            rows = connection.execute(query).fetchall()
            assert rows or number in may_be_empty, f"question {number} has no answer"


def test_agencies_have_their_forms_after_the_build(up: Installation) -> None:
    known = {
        code for (code,) in up.rows(
            "select distinct agency_code from marts.fct_form_06a join marts.dim_agency using (agency_code) "
            "where is_known"
        )
    }  # fmt: skip
    assert len(known) > 1

    def written() -> bool:
        files = (up.home / "forms").glob("*/*.xlsx")
        return known <= {f.parent.name for f in files if f.name.startswith("morning-list")}

    wait_for(written, 300)
    assert not failures(up), failures(up)
    forms = [f.name for f in (up.home / "forms").glob("*/II.06a_*.xlsx")]
    assert any(name.endswith("_14.xlsx") for name in forms), "closed on the 14th"
    assert any(name.endswith("_with-subordinates.xlsx") for name in forms), "the province with its units"


def test_every_unit_test_of_the_rules_holds(up: Installation) -> None:
    (done,) = tasks._dbt(up.settings, [["test", "--select", "test_type:unit"]])
    # The hook that runs after them is told as "success", a unit test never is.
    assert done["statuses"].pop("success") == 1
    assert set(done["statuses"]) == {"pass"}
    assert done["statuses"]["pass"] > 40


def test_airflows_page_needs_a_login(up: Installation) -> None:
    base = f"http://127.0.0.1:{up.settings.airflow_port}"
    assert requests.get(f"{base}/api/v2/dags", timeout=10).status_code in (401, 403)
    password = json.loads((up.home / "secrets" / "airflow-login").read_text())["admin"]
    token = requests.post(f"{base}/auth/token", json={"username": "admin", "password": password}, timeout=10)
    assert token.status_code == 201, token.text
    bearer = {"Authorization": f"Bearer {token.json()['access_token']}"}
    # One for each source; build_warehouse, publish_open_data, write_forms, collect_unused, and two of the way back.
    dags = len(read_sources(up.settings.sources_file)) + 6
    assert requests.get(f"{base}/api/v2/dags", headers=bearer, timeout=10).json()["total_entries"] == dags


def test_logs_and_metadata_hold_no_secret_of_this_installation(up: Installation) -> None:
    secrets = [
        (p.name, p.read_text().strip())
        for p in (up.home / "secrets").iterdir()
        if p.name not in ("airflow-login", "vault-socket-name")
    ]
    assert len(secrets) >= 6
    logs = [
        p for folder in ("logs", "airflow", "outcomes", "supervisor") for p in (up.home / folder).rglob("*")
    ]
    texts = [p.read_bytes() for p in logs if p.is_file()]
    assert texts
    for name, secret in secrets:
        assert not any(secret.encode() in t for t in texts), f"the secret {name} stands in a log"
    xcoms = up.airflow_rows("select value::text from xcom")
    assert xcoms
    assert not any(secret in str(x) for x in xcoms for _, secret in secrets)


def test_everything_comes_back_after_postgresql_restarted(up: Installation) -> None:
    postmaster = int((up.home / "postgres" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGINT)
    # Long enough away for Airflow's processes to give up.
    time.sleep(10)
    expected = {"postgres", "vault", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"}

    def healthy() -> bool:
        if not expected <= set(up.ops("status", check=False).split()):
            return False
        try:
            health = requests.get(
                f"http://127.0.0.1:{up.settings.airflow_port}/api/v2/monitor/health", timeout=5
            ).json()
        except (requests.RequestException, ValueError):
            return False
        return all(health[c]["status"] == "healthy" for c in ("scheduler", "dag_processor", "triggerer"))

    wait_for(healthy, 180)
    assert up.rows("select count(*) from marts.fct_dossier")[0][0] > 1000


def test_down_leaves_nothing_behind(up: Installation) -> None:
    up.ops("down")
    assert up.ops("status").strip() == "nothing runs"
    mine = str(up.home).encode()
    left = [
        p.parent.name
        for p in Path("/proc").glob("[0-9]*/environ")
        if p.parent.name != str(os.getpid()) and mine in _read(p)
    ]
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
