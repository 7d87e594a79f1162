"""The iGate dialect over real HTTP."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import requests

from sandbox.generator import WORLDS, migrated_block
from sandbox.people import persons

from .conftest import CLIENT, Gate, Start

DAY_OF_JUNE = {"accepted-from": "2025-06-19T17:00:00.000Z", "accepted-to": "2025-06-20T16:59:59.999Z"}
DAY_OF_JULY = {"accepted-from": "2025-07-01T17:00:00.000Z", "accepted-to": "2025-07-02T16:59:59.999Z"}


def contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and contains(whole[k], v) for k, v in part.items())
    return whole == part


def test_wrong_credentials_are_refused(tien_giang: Gate) -> None:
    url = f"{tien_giang.address}/auth/realms/digo/protocol/openid-connect/token"
    wrong = {"grant_type": "client_credentials", **CLIENT, "client_secret": "khác"}
    answer = requests.post(url, data=wrong, timeout=10)
    assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})
    assert (
        requests.post(url, data={"grant_type": "password", **CLIENT}, timeout=10).json()["expires_in"] == 3600
    )


def test_a_token_is_needed_everywhere_and_ends(start: Start) -> None:
    gate = Gate(start("igate", "--world", "tien_giang", SANDBOX_TOKEN_SECONDS="3600"))
    for path in (
        "/pa/dossier/search",
        "/pa/dossier/000000000000000000000000/--online",
        "/ba/agency/name+code",
    ):
        answer = requests.get(gate.address + path, timeout=10)
        assert (answer.status_code, answer.json()) == (401, {"error": "invalid_token"})
    gate.fault(fault="expire_token")
    assert gate.get("/pa/dossier/search", **DAY_OF_JUNE).status_code == 401
    gate.login()
    assert gate.get("/pa/dossier/search", **DAY_OF_JUNE).status_code == 200
    short = Gate(start("igate", "--world", "tien_giang", SANDBOX_TOKEN_SECONDS="0"))
    assert short.get("/pa/dossier/search").status_code == 401


def test_pages_reach_the_announced_total_and_end(tien_giang: Gate) -> None:
    first = tien_giang.page(page=0, size=200, **DAY_OF_JUNE)
    assert first["first"]
    assert first["numberOfElements"] == len(first["content"]) == 200
    every = tien_giang.every(**DAY_OF_JUNE)
    assert len(every) == first["totalElements"] == len({d["id"] for d in every})
    assert first["totalPages"] == -(-len(every) // 200)
    sliced = tien_giang.every(spec="slice", **DAY_OF_JUNE)
    assert sliced == every
    assert "totalElements" not in tien_giang.page(spec="slice", **DAY_OF_JUNE)


def test_a_page_holds_at_most_200(tien_giang: Gate) -> None:
    page = tien_giang.page(size=5000, **DAY_OF_JUNE)
    assert page["size"] == len(page["content"]) == 200


def test_both_ends_of_a_window_are_inclusive(tien_giang: Gate) -> None:
    some = tien_giang.page(size=200, **DAY_OF_JUNE)["content"][150]
    at = datetime.strptime(some["acceptedDate"], "%Y-%m-%dT%H:%M:%S.%f%z")
    utc = at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")  # noqa: UP017
    local = at.strftime("%Y-%m-%dT%H:%M:%S.000+0700")
    for since, until in ((utc, utc), (local, utc), (local, local)):
        found = tien_giang.every(**{"accepted-from": since, "accepted-to": until})
        assert some["id"] in {d["id"] for d in found}
        assert {d["acceptedDate"] for d in found} == {some["acceptedDate"]}
    later = (at + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S.000+0700")
    after = tien_giang.every(**{"accepted-from": later, "accepted-to": DAY_OF_JUNE["accepted-to"]})
    assert some["id"] not in {d["id"] for d in after}


def test_every_filter_narrows(dong_thap: Gate) -> None:
    every = dong_thap.every(**DAY_OF_JULY)
    sample = next(d for d in every if d["agency"]["ancestors"][0]["code"] == "H20.01")

    def narrowed(**extra: str) -> list[dict[str, Any]]:
        found = dong_thap.every(**DAY_OF_JULY, **extra)
        assert 0 < len(found) < len(every)
        return found

    assert {d["dossierStatus"]["id"] for d in narrowed(dossier_status="4,6,9")} <= {4, 6, 9}
    assert {d["procedure"]["id"] for d in narrowed(procedure_id=sample["procedure"]["id"])} == {
        sample["procedure"]["id"]
    }
    assert len(narrowed(sector_id=sample["procedure"]["sector"]["id"])) >= 1
    assert [d["id"] for d in narrowed(code=sample["code"])] == [sample["id"]]
    office = sample["agency"]["ancestors"][0]["id"]
    assert all(office in [a["id"] for a in d["agency"]["ancestors"]] or d["agency"]["id"] == office
               for d in narrowed(ancestor_agency_id=office))  # fmt: skip
    assert dong_thap.page(**DAY_OF_JULY, remove_status="1")["empty"]
    dates = [d["acceptedDate"] for d in dong_thap.page(**DAY_OF_JULY, sort="acceptedDate,desc")["content"]]
    assert dates == sorted(dates, reverse=True)


def test_the_other_windows_are_of_appointment_and_of_return(dong_thap: Gate) -> None:
    window = {"appointment-from": "2025-07-09T17:00:00.000Z", "appointment-to": "2025-07-10T16:59:59.999Z"}
    due = dong_thap.every(**window)
    assert due
    assert all(d["appointmentDate"].startswith("2025-07-10") for d in due)
    window = {k.replace("appointment", "result-returned"): v for k, v in window.items()}
    back = dong_thap.every(**window)
    assert back
    for d in back[:100]:
        assert dong_thap.detail(d["id"])["returnedDate"].startswith("2025-07-10")


def test_the_detail_holds_the_whole_item_and_more(dong_thap: Gate) -> None:
    for item in dong_thap.page(size=200, **DAY_OF_JULY)["content"]:
        detail = dong_thap.detail(item["id"])
        assert contains(detail, item)
        assert detail["task"][0]["order"] == 1
        assert 1 <= len(detail["task"]) <= 5
        assert detail["processingAgency"]["code"]
        if item["dossierStatus"]["id"] == 5:
            assert detail["completedDate"] <= detail["returnedDate"]
    missing = dong_thap.get("/pa/dossier/000000000000000000000000/--online")
    assert (missing.status_code, missing.json()) == (404, {"message": "dossier not found"})


def test_what_was_open_on_30_june_stands_in_both_systems_and_goes_on_in_the_new(
    tien_giang: Gate, dong_thap: Gate
) -> None:
    old = {d["code"]: d for d in tien_giang.every(dossier_status="1,2,3")}
    before = dong_thap.every(**{"accepted-from": "2023-12-31T17:00:00.000Z",
                                "accepted-to": "2025-06-30T16:59:59.999Z"})  # fmt: skip
    taken = migrated_block()
    assert len(before) == len(taken)
    assert int((taken.origin == WORLDS["tien_giang"].number).sum()) == len(old)
    assert len(set(taken.previous)) == len(taken)
    moved = [dong_thap.detail(d["id"]) for d in before[::20]]
    assert 50 < sum(d["previousCode"] in old for d in moved) < len(moved)
    assert all(d["previousCode"] in old or ".H20-" in d["previousCode"] for d in moved)
    for new in moved:
        assert new["code"].startswith("H20.")
        twin = old.get(new["previousCode"])
        if twin:
            person = {k: new["applicant"]["data"][k] for k in ("ownerFullname", "identityNumber")}
            assert contains(twin["applicant"]["data"], person)
            assert twin["acceptedDate"] == new["acceptedDate"]
            assert new["procedure"]["code"].removesuffix(".H20") == twin["procedure"]["code"].removesuffix(
                ".H58"
            )
        if new["completedDate"]:
            assert new["completedDate"] > "2025-06-30T23:59:59"
    assert tien_giang.page(**DAY_OF_JULY)["empty"]


def test_since_july_receiving_and_deciding_are_often_two_agencies(dong_thap: Gate) -> None:
    items = dong_thap.page(size=200, **DAY_OF_JULY)["content"]
    details = [dong_thap.detail(i["id"]) for i in items]
    assert sum(d["agency"]["code"] != d["processingAgency"]["code"] for d in details) > 40


def test_agencies_form_a_tree(tien_giang: Gate, dong_thap: Gate) -> None:
    for gate, root, communes in ((tien_giang, "000.00.00.H58", 164), (dong_thap, "H20", 102)):
        listed = gate.get("/ba/agency/name+code", size=200).json()
        more = gate.get("/ba/agency/name+code", size=200, page=1).json()
        every = listed["content"] + more["content"]
        assert len(every) == listed["totalElements"] == len({a["code"] for a in every})
        assert [a["code"] for a in every if a["parent"] is None] == [root]
        assert sum(a["level"] == "COMMUNE" and len(a["unitCode"]) == 5 for a in every) == communes


def test_the_clock_decides_what_is_known(start: Start) -> None:
    gate = Gate(start("igate", "--world", "dong_thap", "--now", "2025-07-02T10:00:00+07:00"))
    early = gate.every(**DAY_OF_JULY)
    assert max(d["acceptedDate"] for d in early) <= "2025-07-02T10:00:00.000+0700"
    assert any(d["dossierStatus"]["id"] == 2 for d in early)
    moved = requests.post(
        f"{gate.address}/__sandbox__/now", json={"now": "2025-07-20T00:00:00+07:00"}, timeout=10
    )
    assert moved.json() == {"now": "2025-07-20T00:00:00+07:00"}
    assert len(gate.every(**DAY_OF_JULY)) > len(early)


def test_persons_names_everybody_a_window_serves(tien_giang: Gate) -> None:
    start_of_day = datetime.fromisoformat("2025-06-20T00:00:00+07:00")
    found = {
        k: set(v) for k, v in persons("tien_giang", start_of_day, start_of_day + timedelta(days=1)).items()
    }
    for item in tien_giang.page(size=200, **DAY_OF_JUNE)["content"]:
        detail = tien_giang.detail(item["id"])
        data = detail["applicant"]["data"]
        assert data["ownerFullname"] in found["name"]
        assert data["identityNumber"] in found["identity_number"] | {"000000001"}
        assert data["phoneNumber"] is None or data["phoneNumber"] in found["phone"]
        assert data["address"] in found["address"]
        assert data["birthday"] is None or data["birthday"] in found["birthday"]
        files = [p["file"]["filename"] for p in detail["dossierFormFile"] if p["file"]]
        assert all(any(part in name for part in found["file_name"]) for name in files)
        assert {
            detail["accepter"]["fullname"],
            *(t["assignee"]["fullname"] for t in detail["task"]),
        } <= found["officer"]


def test_faults_spoil_as_many_calls_as_asked(start: Start) -> None:
    gate = Gate(start("igate", "--world", "tien_giang"))
    gate.fault(fault="html200", calls=1)
    spoiled = gate.get("/pa/dossier/search", **DAY_OF_JUNE)
    assert spoiled.status_code == 200
    assert "Request Rejected" in spoiled.text
    gate.fault(fault="status", status=429, retry_after=1, calls=1)
    busy = gate.get("/pa/dossier/search", **DAY_OF_JUNE)
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "1")
    good = gate.page(size=50, **DAY_OF_JUNE)["content"]
    gate.fault(fault="drop_rows", mode="lose")
    assert gate.page(size=50, **DAY_OF_JUNE)["content"] == good[:-1]
    gate.fault(fault="drop_rows", mode="repeat")
    assert gate.page(size=50, **DAY_OF_JUNE)["content"] == [*good[:-1], good[0]]
    assert gate.page(size=50, **DAY_OF_JUNE)["content"] == good
    unknown = requests.post(f"{gate.address}/__sandbox__/faults", json={"fault": "rain"}, timeout=10)
    assert unknown.status_code == 400
    assert "html200" in unknown.json()["message"]


@pytest.mark.parametrize("query", [{"accepted-from": "16/06/2025"}, {"page": "-1"}, {"sort": "id,asc"},
                                   {"dossier-status": "đang"}])  # fmt: skip
def test_what_cannot_be_read_is_a_400(tien_giang: Gate, query: dict[str, str]) -> None:
    answer = tien_giang.get("/pa/dossier/search", **query)
    assert answer.status_code == 400
    assert answer.json()["message"]
