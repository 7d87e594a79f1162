"""Sending a release to a CKAN catalogue, over HTTP to the sandbox's."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
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


@dataclass
class Readers:
    """What somebody without a token finds in the catalogue, file by file."""

    catalogue: Sandbox
    releases: dict[Path, dict[str, bytes]] = field(default_factory=dict)

    def whole(self, release: Path, name: str) -> dict[str, bytes]:
        """A dataset of a release: its files by the name of their resource."""
        if release not in self.releases:
            package = json.loads((release / name / "datapackage.json").read_text())
            self.releases[release] = {
                r["name"]: (release / name / r["path"]).read_bytes() for r in package["resources"]
            }
        return self.releases[release]

    def found(self, name: str) -> dict[str, bytes]:
        """Every file in force, as it is downloaded; its record must be true of it."""
        read = {}
        for resource in show(self.catalogue, name)["resources"]:
            answer = requests.get(resource["url"], timeout=5)
            assert answer.ok, resource["name"]
            if resource["name"].endswith(ckan.BESIDE):
                continue
            assert resource["name"] not in read
            read[resource["name"]] = answer.content
            assert resource["hash"] == f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        return read


FAULTS = ({"fault": "status", "status": 500}, {"fault": "truncate"}, {"fault": "drop_connection"})
ILL = [
    pytest.param(fault, calls, id=f"{fault['fault']}, {'once' if calls == 1 else 'from then on'}",
                 marks=[] if (fault, calls) == (FAULTS[0], 10_000) else [pytest.mark.prove])
    for fault in FAULTS for calls in (1, 10_000)
]  # fmt: skip


@pytest.mark.parametrize(("fault", "calls"), ILL)
def test_whatever_call_of_an_update_fails_readers_have_the_old_files_whole_or_the_new(
    warehouse: Warehouse, catalogue: Sandbox, fault: dict, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogue is ill at the first call, the second, until there is no such call any more; downloads, too."""
    warehouse.publish()
    old = warehouse.current.resolve()
    warehouse.sql("update open_data.procedures set fee_vnd = 9 where procedure_code = '1.001193'")
    warehouse.publish()
    new = warehouse.current.resolve()
    readers, at, made = Readers(catalogue), 0, [0]
    assert len(readers.whole(new, "procedures")) == 5
    ask = requests.Session.request

    def counted(session: requests.Session, method: str, url: str, **given: Any) -> requests.Response:
        if at and "/__sandbox__/" not in url:
            made[0] += 1
            if made[0] == at:
                catalogue.fault(**fault, calls=calls)
        return ask(session, method, url, **given)

    def push(release: Path) -> ckan.Pushed:
        return ckan.push(release, catalogue.base_url, KEY, only="procedures")

    monkeypatch.setattr(requests.Session, "request", counted)
    monkeypatch.setattr(ckan, "ATTEMPTS", 2)
    push(old)
    seen = set()
    while made[0] >= at:
        at, made[0] = at + 1, 0
        try:
            done = push(new).done["procedures"]
        except ckan.PushError:
            done = "failed"
        catalogue.fault(fault="clear")
        past, at = at, 0
        found = readers.found("procedures")
        wanted = [readers.whole(new, "procedures")]
        if done == "failed":
            wanted.append(readers.whole(old, "procedures"))
        assert found in wanted, f"call {past}"
        seen.add((done, found == wanted[0]))
        push(new)
        assert readers.found("procedures") == readers.whole(new, "procedures")
        assert len(show(catalogue, "procedures")["resources"]) == 5, "nothing is left beside"
        push(old)
        assert readers.found("procedures") == readers.whole(old, "procedures")
        at = past
    assert at > 10
    assert ("updated", True) in seen
    assert (("failed", False) in seen) == (calls > 1)


def test_while_an_update_goes_on_readers_have_the_old_files_and_then_the_new(
    warehouse: Warehouse, catalogue: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.publish()
    ckan.push(warehouse.current, catalogue.base_url, KEY)
    old = warehouse.current.resolve()
    warehouse.sql("update open_data.procedures set fee_vnd = 9 where procedure_code = '1.001193'")
    warehouse.publish()
    readers, call, seen = Readers(catalogue), ckan._call, []
    both = [readers.whole(release, "procedures") for release in (old, warehouse.current.resolve())]

    def watched(there: RemoteCKAN, action: str, **given: Any) -> Any:
        answer = call(there, action, **given)
        seen.append(both.index(readers.found("procedures")))
        return answer

    monkeypatch.setattr(ckan, "_call", watched)
    ckan.push(warehouse.current, catalogue.base_url, KEY, only="procedures")
    assert seen == sorted(seen)
    assert seen.count(0) > 5
    assert seen[-1] == 1


def test_a_file_that_is_not_stored_whole_never_comes_in_force(
    warehouse: Warehouse, catalogue: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogue says it has the file, with our checksum, and gives back half of it."""
    warehouse.publish()
    ckan.push(warehouse.current, catalogue.base_url, KEY)
    old = warehouse.current.resolve()
    warehouse.sql("update open_data.procedures set fee_vnd = 9 where procedure_code = '1.001193'")
    warehouse.publish()
    call = ckan._call

    def halved(there: RemoteCKAN, action: str, **given: Any) -> Any:
        if "upload" in given:
            name, data, kind = given["upload"]
            half = data.read()[:-100]
            given["upload"] = (name, half + b" " * 100, kind)
        return call(there, action, **given)

    readers = Readers(catalogue)
    with monkeypatch.context() as patched:
        patched.setattr(ckan, "_call", halved)
        with pytest.raises(ckan.PushError, match="procedures: the catalogue did not answer soundly"):
            ckan.push(warehouse.current, catalogue.base_url, KEY, only="procedures")
    assert readers.found("procedures") == readers.whole(old, "procedures")
    assert len(show(catalogue, "procedures")["resources"]) == 5, "what was sent in vain is taken away"
    ckan.push(warehouse.current, catalogue.base_url, KEY, only="procedures")
    assert readers.found("procedures") == readers.whole(warehouse.current.resolve(), "procedures")


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
