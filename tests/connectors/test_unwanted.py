"""What nobody may keep is dropped before anything is set aside, whatever a source calls it, and counted by name."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest

from connectors.base import Chunk
from connectors.contract import contract, contract_names
from connectors.dossiers import Detail
from connectors.igate import IGate
from connectors.opencps import OpenCPS
from connectors.unwanted import is_unwanted, without
from tests.connectors.test_mapping import GOOD, igate


@pytest.mark.parametrize(
    "name",
    [
        "DanToc", "TonGiao", "tenDanToc", "ma_ton_giao", "Dân tộc", "TÔN GIÁO", "ethnicity", "religionName",
        "Cha", "Me", "VoChong", "NguoiDaiDien", "ChuHo", "QuanHe", "motherName", "father", "hoTenCha", "ho_ten_me",
        "Họ và tên cha", "soDinhDanhMe", "SoCCCDVo", "cccdChong", "ngaySinhCha", "spouseIdentityNumber",
        "guardianPhone", "hoTenCon", "ChuHo.SoDinhDanh", "applicant.data.motherName", "họ tên mẹ (F)",
        "nguoiGiamHo", "thanhVienHoGiaDinh",
    ],
)  # fmt: skip
def test_names_of_every_dialect_are_known(name: str) -> None:
    assert is_unwanted(name)


@pytest.mark.parametrize(
    "name",
    [
        "ChuHoSo", "SoGiayToChuHoSo", "TenChuHoSo", "parent", "ancestors", "parentItem", "children", "name", "hoTen",
        "nationCode", "method", "message", "medium", "tenBo", "maBo", "chapter", "content", "vong", "metadata",
        "phoneNumber", "identityNumber", "", "hoten" * 200,
    ],
)  # fmt: skip
def test_names_of_other_things_are_left(name: str) -> None:
    assert not is_unwanted(name)


def test_no_column_of_any_source_or_contract_is_dropped() -> None:
    for kind in (IGate, OpenCPS):
        shape = kind.shape()
        for each in (shape, *shape.lists.values()):
            assert not [p for p in each.paths.values() if is_unwanted(p)]
    for name in contract_names():
        assert not [c.name for c in contract(name).columns if is_unwanted(c.name)]


def test_it_is_found_in_lists_in_pairs_of_a_form_and_in_json_within_a_text() -> None:
    dropped: Counter[str] = Counter()
    value = {
        "a": [{"TonGiao": "x", "b": 1}, "c"],
        "form": [{"label": "Dân tộc", "value": "x"}, {"label": "Ghi chú", "value": "y"}],
        "packed": orjson.dumps({"Cha": {"HoVaTen": "x"}, "d": 2}).decode(),
        "odd": "{no json",
        "as is": '{"e": 1}',
    }
    assert without(value, dropped) == {
        "a": [{"b": 1}, "c"],
        "form": [{"label": "Ghi chú", "value": "y"}],
        "packed": '{"d":2}',
        "odd": "{no json",
        "as is": '{"e": 1}',
    }
    assert dropped == {"a[].TonGiao": 1, "form[].Dân tộc": 1, "packed.Cha": 1}


def test_a_column_that_a_contract_drops_stands_in_no_rejected_record() -> None:
    dropped: Counter[str] = Counter()
    assert without({"a": {"bloodGroup": "O"}, "b": 1}, dropped, frozenset({"bloodGroup"})) == {
        "a": {},
        "b": 1,
    }
    assert dropped == {"a.bloodGroup": 1}


@pytest.mark.parametrize("accepted", [True, False])
def test_neither_an_accepted_nor_a_rejected_record_keeps_it(accepted: bool) -> None:
    connector = igate()
    record: dict[str, Any] = GOOD | {"motherName": "Chim Gáy", "mood": "vui", "TonGiao": "Gõ Kiến"}
    if not accepted:
        record["acceptedDate"] = "31/02/2025"
    chunk = connector.chunk([str(GOOD["id"])], [Detail.read(orjson.dumps(record))])
    assert bool(chunk.rejects) is not accepted
    said = b"".join(q.payload for q in chunk.quarantine).decode()
    assert "Chim" not in said
    assert "Kiến" not in said
    assert "vui" in said
    count = connector.report.counts["dossier"]
    assert count.dropped == {"motherName": 1, "TonGiao": 1}
    assert count.undeclared == {"mood": 1}


@pytest.mark.parametrize("bad", ["nothing", "dossier", "paper"])
def test_each_dropped_value_counts_once_in_its_own_table(bad: str) -> None:
    """However many of a record's walks meet it: beside its columns, in its payload, in its dossier's payload."""
    connector = igate()
    paper = GOOD["dossierFormFile"][0] | {"fatherName": "Chim Gáy", "thing": {"Dân tộc": "x", "kept": 1}}  # type: ignore[index]
    record: dict[str, Any] = GOOD | {
        "motherName": "Gõ Kiến", "form": {"TonGiao": "y", "more": [{"ChuHo": 1}, {"ChuHo": 2}]},
        "dossierFormFile": [paper, paper | {"order": "no number" if bad == "paper" else 2}],
    }  # fmt: skip
    if bad == "dossier":
        record["acceptedDate"] = "31/02/2025"
    chunk = connector.chunk([str(GOOD["id"])], [Detail.read(orjson.dumps(record))])
    rejected = Counter(r.table for r in chunk.rejects)
    assert (rejected["dossier"], rejected["dossier_paper"]) == {
        "nothing": (0, 0), "dossier": (1, 2), "paper": (0, 1)
    }[bad]  # fmt: skip
    counts = connector.report.counts
    assert counts["dossier"].dropped == {"motherName": 1, "form.TonGiao": 1, "form.more[].ChuHo": 2}
    assert counts["dossier_paper"].dropped == {"fatherName": 2, "thing.Dân tộc": 2}


def test_of_the_rows_of_a_list_each_dropped_value_counts_once() -> None:
    connector, chunk = igate(), Chunk()
    form = {"Me": "z", "kept": 1}
    records = [{"ma": "a", "ten": "A", "Cha": "x"}, {"ma": "b", "ten": None, "Cha": "y", "form": form}]
    result = connector.take(chunk, "agency", records, {"agency_code": "ma", "agency_name": "ten"})
    assert [r.position for r in result.rejects] == [1]
    assert connector.report.counts["agency"].dropped == {"Cha": 2, "form.Me": 1}
