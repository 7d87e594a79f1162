"""What is particular to iGate: windows, dossiers still open, the margin, bounds, dossiers gone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import requests

from connectors.base import SourceChanged
from connectors.typing import VIETNAM

from .conformance import CASES, Case, Pulled, Wire, pull, span, wired

CASE: Case = next(c for c in CASES if c.code == "igate_tien_giang" and c.announces)
SHORT = span("2025-06-30T09:00", "2025-06-30T09:05")
WINDOWS = ("accepted", "appointment", "result-returned")


@pytest.fixture
def wire(tien_giang: Any) -> Iterator[Wire]:
    with wired(tien_giang.base_url, "content") as running:
        yield running


@pytest.fixture(scope="module")
def whole(tien_giang: Any) -> Pulled:
    return pull(CASE.connect(tien_giang.base_url), SHORT)


def ask(address: str, **params: Any) -> list[dict[str, Any]]:
    """Everything a search finds, asked for without the connector."""
    token = requests.post(
        f"{address}/auth/realms/digo/protocol/openid-connect/token", timeout=10,
        data={"grant_type": "client_credentials", "client_id": CASE.login, "client_secret": CASE.secret},
    ).json()["access_token"]  # fmt: skip
    found: list[dict[str, Any]] = []
    while True:
        page = requests.get(
            f"{address}/pa/dossier/search", timeout=10, headers={"Authorization": f"Bearer {token}"},
            params={**params, "page": len(found) // 200, "size": 200, "spec": "page"},
        ).json()  # fmt: skip
        found += page["content"]
        if len(found) >= page["totalElements"]:
            return found


def utc(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def ids(pulled: Pulled) -> set[str]:
    return set(pulled.tables["dossier"].column("dossier_id").to_pylist())


def test_a_pull_is_the_union_of_the_three_windows_each_dossier_once(tien_giang: Any, whole: Pulled) -> None:
    until = SHORT.end - dt.timedelta(seconds=1)
    found = {
        w: {
            d["id"]
            for d in ask(tien_giang.base_url, **{f"{w}-from": utc(SHORT.start), f"{w}-to": utc(until)})
        }
        for w in WINDOWS
    }
    assert all(found.values())
    assert ids(whole) == set.union(*found.values())
    count = whole.report.counts["dossier"]
    assert count.announced == sum(len(f) for f in found.values())
    assert count.duplicates == count.announced - len(ids(whole))


def test_dossiers_still_open_are_read_again_and_known_ones_count_as_duplicates(
    tien_giang: Any, whole: Pulled
) -> None:
    older = [d["id"] for d in ask(tien_giang.base_url, **{"accepted-from": "2025-06-20T01:00:00.000Z",
                                                          "accepted-to": "2025-06-20T01:05:00.000Z"})]  # fmt: skip
    assert older
    inside = sorted(ids(whole))[0]
    again = pull(CASE.connect(tien_giang.base_url), SHORT, still_open=lambda: [*older, inside])
    assert ids(again) == ids(whole) | set(older)
    before, after = whole.report.counts["dossier"], again.report.counts["dossier"]
    assert (after.announced or 0) == (before.announced or 0) + len(older) + 1
    assert after.duplicates == before.duplicates + len({*older, inside} & ids(whole))
    assert {"window": "still open in the warehouse", "asked": len(older) + 1} in again.report.windows


def test_a_dossier_gone_from_the_source_is_a_reject_and_the_count_balances(
    tien_giang: Any, whole: Pulled
) -> None:
    again = pull(CASE.connect(tien_giang.base_url), SHORT, still_open=lambda: ["f" * 24, "a/../b?c=d"])
    gone = [r for r in again.rejects if r.table == "dossier"]
    assert {(r.key["dossier_id"], r.reason) for r in gone} == {
        ("f" * 24, "the source no longer has this dossier"),
        ("a/../b?c=d", "the source no longer has this dossier"),
    }
    count = again.report.counts["dossier"]
    assert count.announced == len(ids(again)) + count.rejected + count.duplicates
    assert ids(again) == ids(whole)


def test_a_pull_in_which_every_dossier_is_gone_is_no_change_of_shape(tien_giang: Any) -> None:
    night = span("2025-06-15T02:00", "2025-06-15T02:01")
    again = pull(CASE.connect(tien_giang.base_url), night, still_open=lambda: ["f" * 24])
    assert (again.tables["dossier"].num_rows, again.report.counts["dossier"].rejected) == (0, 1)


def test_the_margin_looks_back_and_only_back(wire: Wire) -> None:
    pull(CASE.connect(wire.url, margin_days=2), span("2025-06-15T02:00", "2025-06-15T02:01"), chunks=2)
    searches = [parse_qs(urlsplit(c.target).query) for c in wire.seen if "/search" in c.target]
    froms = {v[0] for q in searches for k, v in q.items() if k.endswith("-from")}
    tos = {v[0] for q in searches for k, v in q.items() if k.endswith("-to")}
    assert froms == {"2025-06-12T19:00:00.000Z"}
    # The wire's upper bound is inclusive, an interval's end is not.
    assert tos == {"2025-06-14T19:00:59.999Z"}


def test_two_intervals_that_meet_share_no_dossier_of_one_window(tien_giang: Any, whole: Pulled) -> None:
    moments = [
        m for m in whole.tables["dossier"].column("received_at").to_pylist() if SHORT.start <= m < SHORT.end
    ]
    edge = sorted(moments)[len(moments) // 2].astimezone(VIETNAM)
    only = {"windows": ("accepted",)}

    def received(start: dt.datetime, end: dt.datetime) -> set[str]:
        interval = span(start.replace(tzinfo=None).isoformat(), end.replace(tzinfo=None).isoformat())
        return ids(pull(CASE.connect(tien_giang.base_url, policy=only), interval))

    before, after = received(SHORT.start, edge), received(edge, SHORT.end)
    assert before
    assert after
    assert not before & after
    assert before | after == received(SHORT.start, SHORT.end)
    at_edge = whole.tables["dossier"].filter(pc.equal(whole.tables["dossier"].column("received_at"), edge))
    assert set(at_edge.column("dossier_id").to_pylist()) <= after


def test_a_page_without_a_total_advises_slices(wire: Wire) -> None:
    wire.fault(on="/pa/dossier/search", status=200, body=b'{"content":[]}')
    with pytest.raises(SourceChanged, match="set spec: slice"):
        pull(CASE.connect(wire.url), SHORT)


def test_a_token_answer_without_a_token_says_so(wire: Wire) -> None:
    wire.fault(on="/token", status=200, body=b'{"expires_in":3600}')
    with pytest.raises(SourceChanged, match="no access_token"):
        pull(CASE.connect(wire.url), SHORT)


def test_a_migrated_dossier_knows_its_old_code(dong_thap: Any) -> None:
    day = {"accepted-from": "2025-06-29T17:00:00.000Z", "accepted-to": "2025-06-30T16:59:59.999Z"}
    moved = [d["id"] for d in ask(dong_thap.base_url, **day)][:60]
    assert moved
    night = span("2025-08-03T02:00", "2025-08-03T02:01")
    pulled = pull(CASE.connect(dong_thap.base_url), night, still_open=lambda: moved)
    rows = pulled.tables["dossier"].filter(
        pc.is_in(pulled.tables["dossier"].column("dossier_id"), value_set=pa.array(moved))
    )
    assert rows.num_rows == len(moved)
    assert rows.column("previous_code").null_count == 0
    pairs = zip(
        rows.column("previous_code").to_pylist(), rows.column("dossier_code").to_pylist(), strict=True
    )
    for old, new in pairs:
        assert old.startswith("000.")
        assert ".H58-" in old or ".H20-" in old
        assert new.startswith("H20.")


def test_most_details_go_the_quick_way(tien_giang: Any, whole: Pulled) -> None:
    connector: Any = CASE.connect(tien_giang.base_url)
    asked = sorted(ids(whole))[:80]
    connector.learn([connector.detail(i) for i in asked[: connector.learn_from]])
    again = [connector.detail(i) for i in asked]
    assert sum(d.record is None for d in again) > 0.9 * len(asked) > 20
