"""Old Đồng Tháp: its numbers as published, and the OpenCPS dialect over real HTTP."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
import requests

from sandbox import opencps
from sandbox.generator import migrated_block, month_block, months
from sandbox.opencps import BASE, GROUP, WORLD
from sandbox.people import DUMMY, persons

from .conftest import CLIENT, Gate, Start

DAY = {"fromReceiveDate": "20/06/2025", "toReceiveDate": "20/06/2025"}
YEAR = {"fromReceiveDate": "01/01/2024", "toReceiveDate": "31/12/2024"}


class Old:
    """A caller of old Đồng Tháp's system."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.session = requests.Session()
        self.session.auth = (CLIENT["client_id"].encode(), CLIENT["client_secret"].encode())  # type: ignore[assignment]
        self.session.headers["groupId"] = GROUP

    def get(self, path: str, **params: Any) -> requests.Response:
        return self.session.get(self.address + BASE + path, params=params, timeout=60)

    def page(self, **params: Any) -> dict[str, Any]:
        answer = self.get("/dossiers", **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def every(self, **params: Any) -> list[dict[str, Any]]:
        return self.page(**params)["data"]

    def detail(self, dossier_id: int) -> dict[str, Any]:
        return self.get(f"/dossiers/{dossier_id}").json()


@pytest.fixture(scope="module")
def old(start: Start) -> Old:
    return Old(start("opencps"))


def test_the_year_2024_holds_184457_dossiers_of_which_125174_online(old: Old) -> None:
    blocks = [month_block(WORLD, m) for m in months(WORLD) if m // 100 == 2024]
    assert sum(map(len, blocks)) == 184_457
    assert sum(int((b.channel == 2).sum()) for b in blocks) == 125_174
    assert old.page(**YEAR, start=0, end=1)["total"] == 184_457
    assert old.page(**YEAR, online="true", start=0, end=1)["total"] == 125_174


def test_the_first_quarter_of_2024_has_the_published_shares(old: Old) -> None:
    blocks = [month_block(WORLD, m) for m in opencps.FIRST_QUARTER]
    received, online = sum(map(len, blocks)), sum(int((b.channel == 2).sum()) for b in blocks)
    owing = sum(int((opencps.charges(b) > 0).sum()) for b in blocks)
    paid = sum(int(opencps.paid_online(b).sum()) for b in blocks)
    assert (received, online, owing, paid) == (41_786, 21_691, 18_107, 6_457)
    # No whole number of dossiers comes closer.
    assert online == round(received * 0.5191)
    assert paid == round(owing * 0.3566)
    quarter = {"fromReceiveDate": "01/01/2024", "toReceiveDate": "31/03/2024"}
    assert old.page(**quarter, online="true", start=0, end=1)["total"] == 21_691


def test_the_list_of_services_has_841_full_and_561_partial_of_1739() -> None:
    level = opencps.service_levels()
    assert Counter(level.tolist()) == {4: 841, 3: 561, 2: 337, 0: 61}
    filed = np.concatenate([month_block(WORLD, m).procedure for m in opencps.FIRST_QUARTER])
    online = np.concatenate([month_block(WORLD, m).channel == 2 for m in opencps.FIRST_QUARTER])
    assert (level[filed] > 0).all()
    assert (level[filed[online]] >= 3).all()


def test_served_payments_are_the_counted_ones(old: Old) -> None:
    number = 202402
    block = month_block(WORLD, number)
    rows = np.arange(0, len(block), 37)
    paid = opencps.paid_online(block)
    encoder = opencps.OpenCPSEncoder()
    for i in encoder.ids(number, block, rows)[:40]:
        row = int(i) % 1_000_000
        detail = old.detail(int(i))
        assert (detail["onlinePayment"] != "0") == paid[row]
        assert [p["feeAmount"] for p in detail["payments"]] == [
            a for a in [int(opencps.charges(block)[row])] if a
        ]


def test_user_password_and_site_are_needed(old: Old) -> None:
    for path in ("/dossiers", "/dossiers/1000000", "/dictcollections/GOVERNMENT_AGENCY/dictitems"):
        url = old.address + BASE + path
        assert requests.get(url, headers={"groupId": GROUP}, timeout=10).status_code == 401
        wrong = (CLIENT["client_id"], "sai")
        assert requests.get(url, headers={"groupId": GROUP}, auth=wrong, timeout=10).status_code == 401
    assert old.session.get(f"{old.address}{BASE}/dossiers", headers={"groupId": "1"}, timeout=10).json() == {
        "total": 0, "data": []}  # fmt: skip


def test_pages_go_by_start_and_end_and_the_last_repeats_past_it(old: Old) -> None:
    every = old.every(**DAY)
    total = old.page(**DAY, start=0, end=1)["total"]
    assert len(every) == total == len({d["dossierId"] for d in every}) > 300
    paged: list[dict[str, Any]] = []
    while len(paged) < total:
        paged += old.every(**DAY, start=len(paged), end=len(paged) + 150)
    assert paged == every
    last = old.every(**DAY, start=total // 150 * 150, end=total // 150 * 150 + 150)
    assert old.every(**DAY, start=9000, end=9150) == last
    assert old.page(**DAY, status="denied", start=300, end=450) == {"total": 0, "data": []}


def test_windows_are_whole_days_and_an_unreadable_date_is_no_filter(old: Old) -> None:
    for window in opencps.WINDOWS:
        found = old.every(**{f"from{window}Date": "19/06/2025", f"to{window}Date": "20/06/2025"})
        key = f"{window.lower()}Date"
        assert {d[key][:10] for d in found} == {"19/06/2025", "20/06/2025"}
    for text in ("2025-06-20", "20/06/2025 08:00:00", "31/02/2025"):
        assert old.page(fromReceiveDate=text, start=0, end=1)["total"] > 184_457


def test_every_filter_narrows(old: Old) -> None:
    every = old.every(**DAY)
    one = every[100]
    for query, key in (
        ({"status": one["dossierStatus"]}, "dossierStatus"), ({"agency": one["govAgencyCode"]}, "govAgencyCode"),
        ({"service": one["serviceCode"]}, "serviceCode"), ({"domain": one["domainCode"]}, "domainCode"),
        ({"online": one["online"]}, "online"), ({"dossierNo": one["dossierNo"]}, "dossierNo"),
    ):  # fmt: skip
        found = old.every(**DAY, **query)
        assert {d[key] for d in found} == {one[key]}
        assert 0 < len(found) < len(every)
    dates = [d["receiveDate"] for d in old.every(**DAY, sort="receiveDate", order="true")]
    assert dates == sorted(dates, reverse=True)


def test_the_detail_holds_the_whole_item_and_three_lists(old: Old) -> None:
    for item in old.every(**DAY)[:200]:
        detail = old.detail(item["dossierId"])
        assert item.items() <= detail.items()
        assert [s["sequenceNo"] for s in detail["sequences"]] == [
            str(n + 1) for n in range(len(detail["sequences"]))
        ]
        assert detail["sequences"][0]["startDate"] == detail["receiveDate"]
        assert detail["receiveAgencyCode"].endswith(".H20")
        assert len(detail["wardCode"]) == 5
        assert (item["dossierStatus"] == "done") == bool(item["finishDate"])
    missing = old.get("/dossiers/19999999")
    assert missing.status_code == 404
    assert old.get("/dossiers/không-phải-số").status_code == 404


def test_an_item_is_the_same_alone_and_among_others(old: Old) -> None:
    one = old.every(**DAY)[7]
    assert old.every(**DAY, dossierNo=one["dossierNo"]) == [one]


def test_agencies_form_a_tree_of_old_codes(old: Old) -> None:
    found = old.get("/dictcollections/GOVERNMENT_AGENCY/dictitems").json()
    codes = {a["itemCode"]: a for a in found["data"]}
    assert len(codes) == found["total"]
    assert [c for c, a in codes.items() if not a["parentItem"]] == ["000.00.00.H20"]
    assert all(a["parentItem"][0]["itemCode"] in codes for a in codes.values() if a["parentItem"])
    assert sum('"COMMUNE"' in a["metaData"] for a in codes.values()) == 141
    assert sum('"DISTRICT"' in a["metaData"] for a in codes.values()) == 12


def test_what_was_open_here_on_30_june_is_what_the_new_system_took_over(old: Old, dong_thap: Gate) -> None:
    left = {d["dossierNo"]: d for d in old.every(status="waiting,processing,paying")}
    assert {c for c in migrated_block().previous if ".H20-" in c} == left.keys()
    assert len(left) > 2_000
    window = {"accepted-from": "2023-12-31T17:00:00.000Z", "accepted-to": "2025-06-30T16:59:59.999Z"}
    some = [dong_thap.detail(d["id"]) for d in dong_thap.every(**window)[::20]]
    ours = [d for d in some if ".H20-" in d["previousCode"]]
    assert len(ours) > 80
    for after in ours:
        before = left[after["previousCode"]]
        person = after["applicant"]["data"]
        assert before["applicantName"] == person["ownerFullname"].upper()
        assert before["applicantIdNo"] == person["identityNumber"]
        assert before["serviceCode"] == after["procedure"]["code"]
        assert before["wardCode"] == person["village"]["code"]
        moment = datetime.strptime(before["receiveDate"], "%d/%m/%Y %H:%M:%S")
        assert after["acceptedDate"] == f"{moment:%Y-%m-%dT%H:%M:%S}.000+0700"


def test_the_clock_decides_what_is_known_and_stops_on_30_june(start: Start) -> None:
    old = Old(start("opencps", "--now", "2025-06-20T10:00:00+07:00"))
    early = old.every(**DAY)
    assert max(d["receiveDate"] for d in early) <= "20/06/2025 10:00:00"
    assert "processing" in {d["dossierStatus"] for d in early}
    moved = requests.post(
        f"{old.address}/__sandbox__/now", json={"now": "2026-01-01T00:00:00+07:00"}, timeout=10
    )
    assert moved.json() == {"now": "2025-06-30T23:59:59+07:00"}
    assert len(old.every(**DAY)) > len(early)


def test_persons_names_everybody_a_day_serves(old: Old) -> None:
    first = datetime.fromisoformat("2025-06-20T00:00:00+07:00")
    found = {k: set(v) for k, v in persons(WORLD, first, first + timedelta(days=1)).items()}
    for item in old.every(**DAY)[:150]:
        detail = old.detail(item["dossierId"])
        assert detail["applicantName"] in found["name"]
        assert detail["applicantIdNo"] in found["identity_number"] | {DUMMY}
        assert detail["contactTelNo"] in found["phone"] | {""}
        assert detail["contactEmail"] in found["email"] | {""}
        assert detail["address"] in found["address"]
        assert detail["applicantBirthDate"] in found["birthday"] | {""}
        assert {detail["receiveUser"], *(s["actionUser"] for s in detail["sequences"])} <= found["officer"]
        files = [f["displayName"] for f in detail["files"] if f["displayName"]]
        assert all(any(part in name for part in found["file_name"]) for name in files)


def test_faults_spoil_as_many_calls_as_asked(start: Start) -> None:
    old = Old(start("opencps"))

    def fault(**wanted: Any) -> None:
        assert requests.post(f"{old.address}/__sandbox__/faults", json=wanted, timeout=10).ok

    good = old.every(**DAY, start=0, end=50)
    fault(fault="html200")
    assert "Request Rejected" in old.get("/dossiers", **DAY).text
    fault(fault="status", status=429, retry_after=1)
    assert old.get(f"/dossiers/{good[0]['dossierId']}").status_code == 429
    fault(fault="drop_rows", mode="lose")
    assert old.every(**DAY, start=0, end=50) == good[:-1]
    assert old.every(**DAY, start=0, end=50) == good
    assert (
        requests.post(f"{old.address}/__sandbox__/faults", json={"fault": "rain"}, timeout=10).status_code
        == 400
    )
    assert old.get("/dossiers", start="a").status_code == 400
