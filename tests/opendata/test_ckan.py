"""Sending a release to a CKAN catalogue, over HTTP to the sandbox's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from ckanapi import RemoteCKAN

from opendata import ckan
from opendata.catalogue import Text
from opendata.release import withdraw
from ops.settings import PROJECT
from tests.conftest import Sandbox, free_port, stop, wait_for
from tests.opendata.conftest import Warehouse

KEY = "catalogue-token-of-the-tests"


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setattr(ckan, "PAUSE_SECONDS", 0.01)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "ckan", "--port", str(port)], cwd=PROJECT,
        env={"PYTHONPATH": str(PROJECT), "SANDBOX_CLIENT_ID": "ckan", "SANDBOX_CLIENT_SECRET": KEY},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def up() -> bool:
        assert process.poll() is None
        try:
            return requests.get(f"{url}/__sandbox__/health", timeout=2).ok
        except requests.RequestException:
            return False

    wait_for(up)
    yield Sandbox(url)
    stop(process)


def show(catalogue: Sandbox, name: str) -> dict:
    return RemoteCKAN(catalogue.base_url).call_action("package_show", {"id": name})


def test_a_release_is_created_unchanged_updated_and_withdrawn(
    warehouse: Warehouse, catalogue: Sandbox
) -> None:
    warehouse.publish()
    first = ckan.push(warehouse.current, catalogue.base_url, KEY)
    assert set(first.done.values()) == {"created"}
    assert len(first.done) == 4
    held = show(catalogue, "dossier-results-monthly")
    assert held["title"] == "[MÔ PHỎNG] Kết quả giải quyết hồ sơ theo tháng"
    assert held["state"] == "active"
    assert {r["format"] for r in held["resources"]} == {"csv", "parquet", "jsonl", "xlsx"}
    plain = next(r for r in held["resources"] if r["name"].endswith("monthly-csv"))
    back = requests.get(plain["url"], timeout=5).content
    assert back == warehouse.files()["dossier-results-monthly/dossier-results-monthly.simulated.csv"]
    before = [show(catalogue, name) for name in first.done]
    assert set(ckan.push(warehouse.current, catalogue.base_url, KEY).done.values()) == {"unchanged"}
    assert [show(catalogue, name) for name in first.done] == before, "doing it again changes nothing"

    warehouse.sql("update open_data.procedures set fee_vnd = 9 where procedure_code = '1.001193'")
    warehouse.publish()
    again = ckan.push(warehouse.current, catalogue.base_url, KEY)
    assert {name for name, what in again.done.items() if what == "updated"} == {"procedures"}
    assert len(show(catalogue, "procedures")["resources"]) == 5, "files were replaced, none added"

    withdraw(warehouse.home, "procedures", "Sở", Text("Lý do", "Reason"))
    assert ckan.push(warehouse.current, catalogue.base_url, KEY).done["procedures"] == "withdrawn"
    names = RemoteCKAN(catalogue.base_url).call_action("package_list")
    assert "procedures" not in names
    assert len(names) == 3
    assert ckan.withdraw("service-index-766", catalogue.base_url, KEY).done == {
        "service-index-766": "withdrawn"
    }
    assert ckan.withdraw("service-index-766", catalogue.base_url, KEY).done == {
        "service-index-766": "not there"
    }
    assert ckan.push(warehouse.current, catalogue.base_url, KEY).done["service-index-766"] == "updated"
    assert show(catalogue, "service-index-766")["state"] == "active"


def test_the_command_sends_the_current_release_and_withdraws(
    warehouse: Warehouse, catalogue: Sandbox
) -> None:
    warehouse.publish()

    def ops(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PROJECT),
            "KHOCHUNG_HOME": str(warehouse.home),
        }
        return subprocess.run(
            [sys.executable, "-m", "ops", "catalogue", *words], env=environment | settings, cwd=PROJECT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    there = {"KHOCHUNG_CKAN_URL": catalogue.base_url, "KHOCHUNG_CKAN_TOKEN": KEY}
    done = ops("push", "procedures", **there)
    assert "procedures created" in done.stdout + done.stderr
    assert RemoteCKAN(catalogue.base_url).call_action("package_list") == ["procedures"]
    assert "procedures withdrawn" in ops("withdraw", "procedures", **there).stdout
    assert RemoteCKAN(catalogue.base_url).call_action("package_list") == []
    for words, told in ((["push"], "no catalogue is set"), (["withdraw"], "needs the id of a dataset")):
        refused = ops(*words)
        assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
        assert told in refused.stderr


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "status", "status": 500, "calls": 3},
        {"fault": "truncate", "calls": 2},
        {"fault": "drop_connection", "calls": 2},
    ],
)
def test_errors_and_half_answers_double_nothing(
    warehouse: Warehouse, catalogue: Sandbox, fault: dict
) -> None:
    warehouse.publish()
    catalogue.fault(**fault)
    done = ckan.push(warehouse.current, catalogue.base_url, KEY, only="procedures").done
    assert done["procedures"] in ("created", "updated")
    held = show(catalogue, "procedures")
    assert len(held["resources"]) == 5
    assert len({resource["name"] for resource in held["resources"]}) == 5


@pytest.mark.prove
@pytest.mark.parametrize(
    "fault", [{"fault": "status", "status": 500}, {"fault": "truncate"}, {"fault": "drop_connection"}]
)
def test_an_error_at_any_call_of_a_push_leaves_the_catalogue_whole(
    warehouse: Warehouse, catalogue: Sandbox, fault: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of a push fails once, at the first, the second, until there is no such call any more."""
    warehouse.publish()
    ckan.push(warehouse.current, catalogue.base_url, KEY, only="procedures")
    ours, call, at = RemoteCKAN(catalogue.base_url, apikey=KEY), ckan._call, 0
    calls: list[str] = []

    def counted(there: RemoteCKAN, action: str, **given: Any) -> Any:
        calls.append(action)
        if len(calls) == at:
            catalogue.fault(**fault, calls=1)
        return call(there, action, **given)

    monkeypatch.setattr(ckan, "_call", counted)
    while len(calls) >= at:
        at += 1
        for resource in show(catalogue, "procedures")["resources"]:
            ours.call_action("resource_delete", {"id": resource["id"]})
        calls.clear()
        # An answer lost after the last change is found done when it is tried again.
        done = ckan.push(warehouse.current, catalogue.base_url, KEY, only="procedures").done
        assert done["procedures"] in ("updated", "unchanged")
        held = show(catalogue, "procedures")
        assert held["state"] == "active"
        assert sorted(resource["name"] for resource in held["resources"]) == sorted(
            f"procedures-{kind}" for kind in ("csv", "excel-csv", "jsonl", "parquet", "xlsx")
        )
    assert at > 9


def test_a_catalogue_that_stays_ill_is_told_and_shows_nothing_half_done(
    warehouse: Warehouse, catalogue: Sandbox
) -> None:
    warehouse.publish()
    catalogue.fault(fault="status", status=500, calls=1000)
    with pytest.raises(ckan.PushError, match=r"procedures: the catalogue did not answer soundly 5 times"):
        ckan.push(warehouse.current, catalogue.base_url, KEY, only="procedures")
    catalogue.fault(fault="clear")
    assert RemoteCKAN(catalogue.base_url).call_action("package_list") == []


def test_a_package_of_somebody_else_is_left_alone(warehouse: Warehouse, catalogue: Sandbox) -> None:
    warehouse.publish()
    theirs = RemoteCKAN(catalogue.base_url, apikey=KEY)
    theirs.call_action("package_create", {"name": "procedures", "title": "Của cơ quan khác"})
    with pytest.raises(ckan.PushError, match="which is not ours"):
        ckan.push(warehouse.current, catalogue.base_url, KEY, only="procedures")
    with pytest.raises(ckan.PushError, match="which is not ours"):
        ckan.withdraw("procedures", catalogue.base_url, KEY)
    assert show(catalogue, "procedures")["title"] == "Của cơ quan khác"


def test_a_wrong_token_is_a_clear_message(warehouse: Warehouse, catalogue: Sandbox) -> None:
    warehouse.publish()
    with pytest.raises(ckan.PushError, match="refuses our token"):
        ckan.push(warehouse.current, catalogue.base_url, "wrong", only="procedures")


def test_simulated_data_go_to_no_catalogue_outside(warehouse: Warehouse) -> None:
    warehouse.publish()
    with pytest.raises(ckan.PushError, match=r"Simulated data.*dossier-results-monthly\. Nothing was sent"):
        ckan.push(warehouse.current, "https://data.example.gov.vn", KEY)


def test_a_file_that_came_back_changed_is_sent_again(warehouse: Warehouse, catalogue: Sandbox) -> None:
    warehouse.publish()
    ckan.push(warehouse.current, catalogue.base_url, KEY, only="procedures")
    plain = next(r for r in show(catalogue, "procedures")["resources"] if r["name"] == "procedures-csv")
    wrong = {"id": plain["id"], "hash": "sha256:0"}
    RemoteCKAN(catalogue.base_url, apikey=KEY).call_action(
        "resource_update", wrong, files={"upload": ("x.csv", b"half", "text/csv")}
    )
    assert ckan.push(warehouse.current, catalogue.base_url, KEY, only="procedures").done == {
        "procedures": "updated"
    }
    again = next(r for r in show(catalogue, "procedures")["resources"] if r["name"] == "procedures-csv")
    assert (
        requests.get(again["url"], timeout=5).content == warehouse.files()["procedures/procedures.real.csv"]
    )
    assert json.loads((Path(warehouse.current) / "release.json").read_text())["number"] == 1
