"""The national portal over real HTTP."""

from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.evaluation import ENDPOINTS

from .conftest import Start

CAPTURES = Path(__file__).parents[2] / "sandbox/data/captures"
H44 = "019d2be3-6a88-732b-8b17-b68020c8553a"
H20 = "019d2be3-6a85-74ec-a344-751a7a0bbdb5"
QUARTER = {"timeType": "quarter", "year": 2026, "quarter": 3, "rootDepartmentId": H44, "currentPage": 1}
NATIONAL = {"timeType": "year", "year": 2026, "departmentType": "ADMINISTRATIVE_UNIT"}
LIST = "submitting/formality/list-all-public-formality-by-citizen"
DETAIL = "configuring/formality/get-formality-by-citizen"


def post(portal: str, path: str, body: Any) -> requests.Response:
    answer = requests.post(f"{portal}/api/v1/{path}", json=body, timeout=30)
    assert answer.status_code == 201, answer.text
    return answer


def test_the_cursor_passes_every_procedure_once(portal: str) -> None:
    seen: list[str] = []
    last = ""
    while True:
        body = {"limit": 200, "lastId": last, "q": "", "categoryId": "", "departmentCode": ""}
        data = post(portal, LIST, body).json()["data"]
        assert data["total"] == 2642
        seen += [item["id"] for item in data["items"]]
        if not data["items"] or data["lastId"] == last:
            break
        last = data["lastId"]
    assert len(seen) == len(set(seen)) == 2642


def test_captures_are_replayed_byte_for_byte(portal: str) -> None:
    for path, body, name in (
        ("reporting/evaluation/service-results", NATIONAL, "service-results_national_2026-09-17.json"),
        ("reporting/evaluation/dvc-progress-tree", {**QUARTER, "pageSize": 100},
         "dvc-progress-tree_H44_2026Q3.json"),
        ("reporting/evaluation/transparency", {**QUARTER, "pageSize": 200}, "transparency_H44_2026Q3.json"),
        ("reporting/formalities", {"currentPage": 1, "pageSize": 10}, "formalities_page1.json"),
    ):  # fmt: skip
        assert post(portal, path, body).content == (CAPTURES / name).read_bytes()
    detail = post(portal, DETAIL, {"id": "019d2bfd-8e22-77ef-819f-e49460350904"}).content
    assert (CAPTURES / "formality_detail_2.000815.json").read_bytes().strip() in detail


def test_a_built_detail_has_every_key_of_the_captured_one(portal: str) -> None:
    captured = post(portal, DETAIL, {"id": "019d2bfd-8e22-77ef-819f-e49460350904"}).json()["data"]
    birth = post(portal, LIST, {"limit": 1, "lastId": "", "q": "1.001193"}).json()["data"]["items"][0]
    built = post(portal, DETAIL, {"id": birth["id"]}).json()["data"]
    assert set(captured) == set(built)
    assert built["isWard"]
    assert not built["isMinistry"]
    assert built["resultsDetails"][0]["code"] == "KQ.G15.000031"
    assert {m["submissionMethod"] for m in built["executionMethods"]} == {"ONLINE", "POSTAL", "DIRECT"}
    missing = requests.post(f"{portal}/api/v1/{DETAIL}", json={"id": "không có"}, timeout=10)
    assert missing.status_code == 404


def test_another_unit_gets_the_country_or_nothing(portal: str) -> None:
    path = "reporting/evaluation/service-results"
    answer = post(portal, path, {"timeType": "year", "year": 2026, "rootDepartmentId": H20}).json()
    assert answer["data"]["overview"]["departmentName"] == "Cả nước"
    assert post(portal, path, {**NATIONAL, "year": 2024}).json() == {
        "code": "OK",
        "data": None,
        "message": "OK",
    }
    tree = post(portal, "reporting/evaluation/dvc-progress-tree", {**QUARTER, "rootDepartmentId": H20}).json()
    assert tree["data"] is None


@pytest.fixture(scope="module")
def invented(start: Start) -> str:
    return start("portal", SANDBOX_SIMULATED_EVALUATION="1")


def test_invented_figures_keep_the_shapes_of_the_real_ones(invented: str, portal: str) -> None:
    def shape(value: Any) -> Any:
        return {k: shape(v) for k, v in value.items()} if isinstance(value, dict) else None

    for endpoint, size in (("dvc-progress-tree", 100), ("transparency", 200)):
        path = f"reporting/evaluation/{endpoint}"
        real = post(portal, path, {**QUARTER, "pageSize": size}).json()["data"]
        made = post(invented, path, {**QUARTER, "pageSize": size, "rootDepartmentId": H20}).json()["data"]
        assert set(real) == set(made)
        for key in real:
            if isinstance(real[key], list) and real[key] and made[key]:
                assert shape(real[key][0]).keys() == shape(made[key][0]).keys()
            elif isinstance(real[key], dict):
                assert shape(real[key]).keys() == shape(made[key]).keys()
    ranking = post(invented, "reporting/evaluation/service-results", {**NATIONAL, "year": 2025}).json()[
        "data"
    ]
    assert len(ranking["evaluation"]) == 34


def test_every_endpoint_answers_for_any_unit_and_period(invented: str) -> None:
    for endpoint in ENDPOINTS:
        body = {"timeType": "month", "year": 2026, "month": 5, "rootDepartmentId": H20, "currentPage": 1,
                "pageSize": 200}  # fmt: skip
        path = f"reporting/evaluation/{endpoint}"
        if endpoint == "handling-satisfaction":
            assert post(invented, path, body).json()["data"] is None  # it wants fromDate and toDate
            body = {"fromDate": "2026-05-01", "toDate": "2026-05-31", "rootDepartmentId": H20}
        data = post(invented, path, body).json()["data"]
        assert data
        rows = data.get("evaluation") or data.get("children")
        assert len(rows) > 30
        has_code = "departmentCode" in rows[0]
        assert has_code is (endpoint not in ("transparency", "handling-satisfaction"))
        assert post(invented, path, body).json()["data"] == data


def test_the_portal_can_be_spoiled_too(start: Start) -> None:
    portal = start("portal", SANDBOX_FAULTS='[{"fault": "html200", "calls": 1}]')
    first = requests.post(f"{portal}/api/v1/{LIST}", json={"limit": 20}, timeout=10)
    assert "Request Rejected" in first.text
    good = post(portal, LIST, {"limit": 20}).json()["data"]["items"]
    requests.post(f"{portal}/__sandbox__/faults", json={"fault": "drop_rows", "mode": "lose"}, timeout=10)
    assert post(portal, LIST, {"limit": 20}).json()["data"]["items"] == good[:-1]
