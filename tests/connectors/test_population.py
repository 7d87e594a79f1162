"""The population database over real HTTP: what is sent, what each answer means, what a fault says, and no more."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Endpoint, SourceChanged, SourceError, SourceRefused, SourceUnavailable
from connectors.contract import contract
from connectors.population import (
    LOOKUP,
    VERIFY,
    CheckRequest,
    Person,
    Population,
    Question,
    QuotaSpent,
    plain,
    shown,
    tree,
)
from ops.settings import PROJECT
from tests.conftest import CLIENT_ID, CLIENT_SECRET

from .citizens import ABSENT, NOW, OFFICER, OTHER_YEAR, RENAMED, SAME, YEAR_ONLY, Citizen, asking, citizen
from .conformance import Wire, span, wired

DAY = span("2025-07-01", "2025-07-02")
DAN = "{http://dancuquocgia.bca}"
KNOWN = [SAME, YEAR_ONLY, 7, 14, 21]


@pytest.fixture
def wire(population: Any) -> Iterator[Wire]:
    with wired(population.base_url) as running:
        yield running


def ask(
    wire: Wire, *citizens: Citizen, options: dict[str, Any] | None = None, **more: Any
) -> dict[str, dict]:
    """{token: row} of the outcomes; the connector is kept in `ask.last`."""
    kind = type("Population", (Population,), {"backoff": 0.01})
    connector = kind("population", Endpoint(wire.url, CLIENT_ID, CLIENT_SECRET, options or {}))
    ask.last = connector  # type: ignore[attr-defined]
    chunks = list(connector.chunks(CheckRequest(DAY, **asking(*citizens, **more))))
    assert len(chunks) == 1
    assert chunks[0].rejects == []
    rows = chunks[0].tables["citizen_check"].to_pylist()
    assert connector.report.counts["citizen_check"].announced == len(rows)
    return {r["person_token"]: r for r in rows}


def outcome(wire: Wire, one: Citizen, **more: Any) -> tuple[str, str | None, str | None]:
    row = ask(wire, one, **more)[one.person.token]
    return row["outcome"], row["operation"], row["differs_in"]


def sent(wire: Wire) -> list[ElementTree.Element]:
    """The requests that went out, without the signing in."""
    bodies = [ElementTree.fromstring(c.body) for c in wire.seen if c.path != "/token"]  # noqa: S314
    return [b.find("{http://schemas.xmlsoap.org/soap/envelope/}Body")[0] for b in bodies]  # type: ignore[index]


def answer_with(wire: Wire, body: str, status: int = 200, calls: int = 10**9) -> None:
    wire.fault(
        calls, status=status, body=body.encode(), headers={"Content-Type": "text/xml"}, signed_only=True
    )


def envelope(inner: str) -> str:
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
        + inner
        + "</s:Body></s:Envelope>"
    )


def soap_fault(code: str, text: str) -> str:
    return envelope(f"<s:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring></s:Fault>")


# --- what the answers mean --------------------------------------------------------------------------


def test_a_citizen_who_is_who_the_dossier_says_is_matched_by_one_question_without_any_record(
    wire: Wire,
) -> None:
    assert outcome(wire, citizen(SAME)) == ("matched", "verify", None)
    assert [r.tag for r in sent(wire)] == [DAN + VERIFY], "a record nobody needs is not asked for"


def test_an_empty_name_is_not_found(wire: Wire) -> None:
    assert outcome(wire, citizen(ABSENT)) == ("not_found", "lookup", None)


def test_a_number_with_another_name_is_a_mismatch_and_says_in_what(wire: Wire) -> None:
    assert outcome(wire, citizen(RENAMED)) == ("mismatch", "lookup", "name")
    assert outcome(wire, citizen(RENAMED, birth_year=1950)) == ("mismatch", "lookup", "both")
    stranger = citizen(SAME, name="Phạm Văn Nào Khác", birth_year=1991)
    assert outcome(wire, stranger) == ("mismatch", "lookup", "both")


def test_only_the_year_of_birth_known_is_no_mismatch(wire: Wire) -> None:
    wrapper = {"variant": "wrapper"}
    assert outcome(wire, citizen(YEAR_ONLY), options=wrapper) == ("matched", "lookup", None)
    assert outcome(wire, citizen(OTHER_YEAR), options=wrapper) == ("mismatch", "lookup", "birth_year")
    assert outcome(wire, citizen(OTHER_YEAR, birth_year=None), options=wrapper) == ("matched", "lookup", None)


@pytest.mark.parametrize(
    "inner",
    [
        "<Ho>PHAM</Ho><ChuDem>VĂN</ChuDem><Ten>Đức</Ten>", "<Ho/><ChuDem/><Ten>phạm văn đức</Ten>",
        "<Ten>  PHAM  VAN DUC </Ten>",
    ],
)  # fmt: skip
def test_a_name_counts_the_same_parted_or_whole_marked_or_bare(wire: Wire, inner: str) -> None:
    one = citizen(SAME, name="Phạm Văn Đức")
    answer_with(wire, envelope("<r><TonTai>false</TonTai></r>"), calls=1)
    answer_with(
        wire,
        envelope(f"<CongdanCollection><CongDan><HoVaTen>{inner}</HoVaTen></CongDan></CongdanCollection>"),
    )
    assert outcome(wire, one) == ("matched", "lookup", None)


@pytest.mark.parametrize("text", ["true", "True", "1"])
def test_existence_is_read_in_every_spelling(wire: Wire, text: str) -> None:
    answer_with(wire, envelope(f"<KetQuaXacThuc><TonTai>{text}</TonTai></KetQuaXacThuc>"))
    assert outcome(wire, citizen(ABSENT)) == ("matched", "verify", None)


def test_the_rows_hold_tokens_and_nothing_clear(wire: Wire) -> None:
    people = [citizen(n) for n in (SAME, ABSENT, RENAMED, OTHER_YEAR)]
    rows = ask(wire, *people)
    text = str(rows) + str(ask.last.report) + str(ask.last.outcomes)  # type: ignore[attr-defined]
    for one in people:
        for value in (one.number, one.name, plain(one.name)):
            assert value not in text
        assert rows[one.person.token]["name_reference"] == one.person.name_reference
    assert {r["agreement"] for r in rows.values()} == {"Thỏa thuận 12/TT-C06"}
    assert {r["checked_at"] for r in rows.values()} == {NOW}
    assert OFFICER not in text
    columns = {c.name for c in contract("citizen_check").columns}
    assert not columns & {"identity_number", "name", "birth_date", "officer_code"}
    assert "number" not in repr(Question("kc-1", "003190316585", "Trần Thị Thương"))


# --- what is sent -----------------------------------------------------------------------------------


def test_a_verification_names_officer_number_and_bare_name_in_the_documented_order(wire: Wire) -> None:
    one = citizen(SAME, name="Đặng Thị Ỷ  Bình")
    ask(wire, one, options={"service_code": "1.001193"})
    first = sent(wire)[0]
    assert [(c.tag, c.text) for c in first] == [
        (DAN + "MaYeuCau", "kc-000001"), (DAN + "MaDichVu", "1.001193"), (DAN + "MaCanBo", OFFICER),
        (DAN + "SoDinhDanh", one.number), (DAN + "HoVaTen", "DANG THI Y BINH"),
    ]  # fmt: skip
    call = next(c for c in wire.seen if c.path != "/token")
    assert call.headers["SOAPAction"] == '""'
    assert call.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert call.headers["Authorization"].startswith("Bearer ")
    assert call.path == "/dancu/1.0.0"


def test_a_lookup_adds_the_year_of_birth_and_has_a_request_number_of_its_own(wire: Wire) -> None:
    row = ask(wire, citizen(RENAMED))[citizen(RENAMED).person.token]
    first, second = sent(wire)
    assert first.tag == DAN + VERIFY
    assert second.tag == DAN + LOOKUP
    assert [c.tag.removeprefix(DAN) for c in second] == [
        "MaYeuCau", "MaDVC", "MaTichHop", "MaCanBo", "SoDinhDanh", "HoVaTen", "NgayThangNamSinh",
    ]  # fmt: skip
    assert [(c.tag, c.text) for c in second[-1]] == [(DAN + "Nam", "1993")]
    assert second.findtext(DAN + "MaTichHop") == "037"
    assert [r.findtext(DAN + "MaYeuCau") for r in (first, second)] == ["kc-000001", "kc-000002"]
    assert row["check_id"] == "kc-000002", "the number of the call that gave the outcome"


def test_an_old_number_of_nine_digits_goes_under_its_own_name(wire: Wire) -> None:
    ask(wire, citizen(SAME, number="310099001"))
    for request in sent(wire):
        assert request.findtext(DAN + "SoCMND") == "310099001"
        assert request.find(DAN + "SoDinhDanh") is None


def test_a_name_with_signs_of_xml_stays_a_name(wire: Wire) -> None:
    ask(wire, citizen(SAME, name="An </dan:HoVaTen><x>&"))
    assert sent(wire)[0].findtext(DAN + "HoVaTen") == "AN </DAN:HOVATEN><X>&"


def test_the_wrapper_of_dong_thap_is_spoken_too(wire: Wire) -> None:
    wrapper = {"variant": "wrapper"}
    assert outcome(wire, citizen(SAME), options=wrapper) == ("matched", "lookup", None)
    assert outcome(wire, citizen(ABSENT), options=wrapper) == ("not_found", "lookup", None)
    assert outcome(wire, citizen(RENAMED), options=wrapper) == ("mismatch", "lookup", "name")
    calls = [c for c in wire.seen if c.path != "/token"]
    assert {c.path for c in calls} == {"/congdan/1.0.0"}
    body = requests.models.complexjson.loads(calls[0].body)
    assert set(body) == {"maYeuCau", "maDVC", "maCanBo", "soDinhDanh", "soCMND", "hoVaTen", "ngayThangNam",
                         "userNameService"}  # fmt: skip
    with pytest.raises(SourceRefused, match="variant 'csv' is not one of soap, wrapper"):
        ask(wire, citizen(SAME), options={"variant": "csv"})


def test_what_the_wrapper_refuses_is_said_without_the_citizen(wire: Wire) -> None:
    with pytest.raises(SourceRefused, match=r"error 1: MaCanBo is missing\."):
        ask(wire, *map(citizen, KNOWN), options={"variant": "wrapper"}, officer_code="")


def test_citizens_are_asked_about_one_after_the_other(wire: Wire) -> None:
    wire.delay = 0.01
    ask(wire, *map(citizen, KNOWN))
    assert wire.peak == 1
    for request in sent(wire):
        assert len(request.findall(DAN + "SoDinhDanh")) == 1


def test_no_connector_can_ask_for_a_list_of_persons() -> None:
    for path in (PROJECT / "connectors").glob("*.py"):
        words = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
        docstrings = {ast.get_docstring(n, clean=False) for n in ast.walk(ast.parse(path.read_text()))
                      if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)}  # fmt: skip
        said = [w for w in words if isinstance(w, str) and w not in docstrings]
        assert not [w for w in said if re.search(r"CungCap|DanhSach|GetRequest|GetResult", w)], path.name
    tree_ = ast.parse(Path(PROJECT / "connectors/population.py").read_text())
    asked = [n for n in ast.walk(tree_) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
             and n.func.attr == "_ask"]  # fmt: skip
    assert {ast.unparse(n.args[0]) for n in asked} == {"VERIFY", "LOOKUP"}, "two operations and no third"


@pytest.mark.parametrize("operation", ["CungCapDanhSachTheoDiaPhuong", "CungCapThongTinHoGiaDinh"])
def test_the_sandbox_does_not_offer_lists_either(population: Any, operation: str) -> None:
    token = requests.post(
        f"{population.base_url}/token", timeout=5,
        data={"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "grant_type": "client_credentials"},
    ).json()["access_token"]  # fmt: skip
    body = envelope(f'<d:{operation} xmlns:d="http://dancuquocgia.bca"/>')
    refused = requests.post(
        f"{population.base_url}/dancu/1.0.0",
        data=body,
        headers={"Authorization": f"Bearer {token}"},
        timeout=5,
    )
    assert refused.status_code == 500
    assert "is not offered" in refused.text


# --- quota ------------------------------------------------------------------------------------------


def rationed(calls: int, *citizens: Citizen) -> Any:
    """A vault that gives so many readings and no more."""
    inner = asking(*citizens)["disclose"]
    left = [calls]

    def disclose(person: Person) -> Question | None:
        if not left[0]:
            raise QuotaSpent("the quota is used up")
        left[0] -= 1
        return inner(person)

    return disclose


def test_the_quota_ends_the_run_and_keeps_its_answers(wire: Wire) -> None:
    people = [citizen(n) for n in KNOWN]
    rows = ask(wire, *people, disclose=rationed(3, *people))
    assert list(rows) == [p.person.token for p in people[:3]]
    assert "stopped after 3 of 5 persons: the quota is used up" in ask.last.report.notes  # type: ignore[attr-defined]


def test_each_call_has_one_reading_of_the_vault(wire: Wire) -> None:
    people = [citizen(RENAMED), citizen(SAME)]
    rows = ask(wire, *people, disclose=rationed(2, *people))
    assert [r["outcome"] for r in rows.values()] == ["mismatch"]
    assert len(sent(wire)) == 2


def test_a_citizen_not_confirmed_with_no_quota_left_to_look_up_is_pending(wire: Wire) -> None:
    people = [citizen(RENAMED), citizen(SAME)]
    rows = ask(wire, *people, disclose=rationed(1, *people))
    assert [(r["outcome"], r["operation"]) for r in rows.values()] == [("pending", "verify")]


def test_nothing_to_ask_with_is_an_outcome_and_no_call(wire: Wire) -> None:
    one = citizen(SAME)
    rows = ask(wire, one, disclose=lambda _: None)
    assert rows[one.person.token]["outcome"] == "not_askable"
    assert rows[one.person.token]["operation"] is None
    assert wire.seen == []


def test_a_plain_request_is_a_mistake_of_the_caller(wire: Wire) -> None:
    from connectors.base import Request

    with pytest.raises(TypeError, match="CheckRequest"):
        next(Population("population", Endpoint(wire.url)).chunks(Request(DAY)))


# --- trouble ----------------------------------------------------------------------------------------


def failure(kind: type[SourceError], wire: Wire, *citizens: Citizen, **more: Any) -> str:
    people = citizens or tuple(map(citizen, KNOWN))
    with pytest.raises(kind) as caught:
        ask(wire, *people, **more)
    said = str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    for one in people:
        for value in (one.number, one.name, plain(one.name), OFFICER):
            assert value not in said
    assert "population: POST /dancu/1.0.0" in said
    return said


def test_a_soap_fault_of_the_callers_making_is_said_and_not_repeated(wire: Wire) -> None:
    said = failure(SourceRefused, wire, officer_code="")
    assert "SOAP fault Client: MaCanBo is missing." in said
    assert "compare officer code" in said
    assert len(sent(wire)) == 3, "three citizens, one call each: then it is not about them"


def test_a_fault_of_the_service_is_tried_again_and_then_said(wire: Wire, population: Any) -> None:
    population.fault(fault="soap_fault", text="hệ thống bận", calls=2)
    assert outcome(wire, citizen(SAME)) == ("matched", "verify", None)
    assert ask.last.report.retries == 2  # type: ignore[attr-defined]
    population.fault(fault="soap_fault", text="hệ thống bận", calls=100)
    said = failure(SourceUnavailable, wire)
    assert "HTTP 500, 3 times in a row" in said
    assert "It said: SOAP fault Server: hệ thống bận." in said


def test_a_fault_with_status_200_is_a_fault_all_the_same(wire: Wire) -> None:
    answer_with(wire, soap_fault("s:Server.Timeout", "hết giờ"))
    assert "SOAP fault Server.Timeout: hết giờ" in failure(SourceUnavailable, wire)


def test_a_fault_about_one_citizen_leaves_the_others_their_answers(wire: Wire) -> None:
    people = [citizen(n) for n in KNOWN]
    answer_with(wire, soap_fault("s:Client", "tên không hợp lệ"), 500, calls=1)
    outcomes = [r["outcome"] for r in ask(wire, *people).values()]
    assert outcomes == ["refused", *["matched"] * 4]
    answer_with(wire, soap_fault("s:Server", "lỗi bản ghi"), 500, calls=3)
    outcomes = [r["outcome"] for r in ask(wire, *people).values()]
    assert outcomes == ["pending", *["matched"] * 4], "a fault of the service is asked again on another day"


@pytest.mark.parametrize("trouble", [{"status": 503}, {"hang": 5.0}, {"cut": True}])
def test_a_service_that_falls_silent_does_not_cost_the_answers_it_gave(
    wire: Wire, trouble: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Population, "read_timeout", 0.3)
    people = [citizen(n) for n in KNOWN]
    inner = asking(*people)["disclose"]

    def disclose(person: Person) -> Question | None:
        if person == people[2].person:
            wire.fault(**trouble)
        return inner(person)

    rows = ask(wire, *people, disclose=disclose)
    assert [r["outcome"] for r in rows.values()] == ["matched"] * 2
    (note,) = ask.last.report.notes  # type: ignore[attr-defined]
    assert note.startswith("stopped after 2 of 5 persons: population: POST /dancu/1.0.0")


def test_faults_in_a_row_after_answers_are_nobodys_outcome(wire: Wire) -> None:
    people = [citizen(n) for n in KNOWN]
    inner = asking(*people)["disclose"]

    def disclose(person: Person) -> Question | None:
        if person == people[2].person:
            answer_with(wire, soap_fault("s:Client", "hết hạn khai thác"), 500)
        return inner(person)

    rows = ask(wire, *people, disclose=disclose)
    assert list(rows) == [p.person.token for p in people[:2]]
    (note,) = ask.last.report.notes  # type: ignore[attr-defined]
    assert "stopped after 2 of 5" in note
    assert "hết hạn khai thác" in note


@pytest.mark.parametrize(
    "body",
    [
        envelope(""), envelope("<KetQua>x</KetQua>"), envelope("<r><TonTai>có</TonTai></r>"), "<a/>",
        envelope("<r><TonTai/></r>"), '{"Envelope": "x"}',
    ],
)  # fmt: skip
def test_another_shape_is_called_so(wire: Wire, body: str) -> None:
    answer_with(wire, body)
    failure(SourceChanged, wire)


@pytest.mark.parametrize(
    "citizens",
    ["", "<CongDan/>", "<CongDan><HoVaTen/></CongDan>", "<CongDan><HoVaTen><Ten>A</Ten></HoVaTen></CongDan>" * 2,
     "<CongDan><SoDinhDanh>003000000001</SoDinhDanh><HoVaTen><Ten>A</Ten></HoVaTen></CongDan>"],
)  # fmt: skip
def test_a_lookup_that_gives_none_or_several_or_another_is_an_error(wire: Wire, citizens: str) -> None:
    answer_with(wire, envelope("<r><TonTai>false</TonTai></r>"), calls=1)
    answer_with(wire, envelope(f"<CongdanCollection>{citizens}</CongdanCollection>"))
    said = failure(SourceChanged, wire)
    assert "no single CongDan" in said or "another citizen" in said


# --- messages and XML -------------------------------------------------------------------------------

FIELDS = {"SoDinhDanh": "003190316585", "HoVaTen": "TRAN THI THUONG", "MaCanBo": OFFICER}


@pytest.mark.parametrize(
    "text",
    [
        "Không tìm thấy Trần Thị Thương", "TRAN THI  THUONG sai năm sinh", "số 003 190 316 585 không có",
        "trùng với 003190316586", "xem hồ sơ 123456", "Họ tên đúng: Nguyễn Thị Bưởi", "Thuong Tran Thi khong khop",
        "họ tên đúng: nguyễn thị bưởi", "HO TEN DUNG: NGUYEN THI BUOI", "Nguyễn không hợp lệ", "Tên đúng: Mã Hạn",
        "sinh 01/01/1990", "TRANTHITHUONG", "số 3190 không hợp lệ", "thương không hợp lệ", "mã-hạn: Bưởi@ví.dụ",
        "mã lệ không đúng",
    ],
)  # fmt: skip
def test_a_faults_text_that_may_name_anybody_is_not_shown(text: str) -> None:
    assert shown(text, FIELDS) == " (its text is not shown, because it may name somebody)"


def test_a_word_of_the_name_sent_is_not_shown_where_it_is_a_harmless_one_otherwise() -> None:
    assert shown("mã hết hạn", FIELDS) == ": mã hết hạn"
    assert shown("mã hết hạn", FIELDS | {"HoVaTen": "MA VAN HAN"}).startswith(" (its text is not shown")


def test_a_faults_text_that_names_nobody_is_shown() -> None:
    assert shown("Mã cán bộ   không hợp lệ", FIELDS) == ": Mã cán bộ không hợp lệ"
    assert shown("MaCanBo is missing", FIELDS) == ": MaCanBo is missing"
    assert shown("Hệ thống bận, vui lòng thử lại sau 30 phút", FIELDS).endswith("sau 30 phút")
    assert "30 giây" not in shown("Hệ thống bận, vui lòng thử lại sau 30 giây", FIELDS), (
        "one unknown word is enough"
    )
    assert shown("", FIELDS) == ""
    assert len(shown("lỗi " * 500, FIELDS)) < 210


def test_a_name_in_the_place_of_a_code_is_not_shown(wire: Wire) -> None:
    answer_with(wire, soap_fault("s:Client.NguyenThiBuoi", "tên không hợp lệ"), 500)
    said = failure(SourceRefused, wire)
    assert "SOAP fault of no known code: tên không hợp lệ" in said
    assert "Buoi" not in said


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;">]>', '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>', "<!DOCTYPE a>",
    ],
)  # fmt: skip
def test_a_document_type_and_with_it_every_entity_is_refused(wire: Wire, declaration: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(ValueError, match="DOCTYPE"):
            tree(f"{declaration}<a>&x;&c;</a>".encode(encoding))
    answer_with(wire, f'<?xml version="1.0"?>{declaration}' + envelope("<r><TonTai>true</TonTai></r>"))
    assert "DOCTYPE" in failure(SourceChanged, wire)


@pytest.mark.parametrize("text", ["<a>", "<a>&b;</a>", "x", "", "<a></b>", "<a>\x00</a>"])
def test_what_is_no_xml_is_named_without_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not well-formed XML$") as refused:
        tree(text.encode())
    assert refused.value.__suppress_context__


def test_xml_becomes_dictionaries_by_local_names() -> None:
    text = '<x:a xmlns:x="u"><x:b> 1 </x:b><c><d/><d>2</d><d>3</d></c></x:a>'
    assert tree(text.encode()) == {"a": {"b": "1", "c": {"d": ["", "2", "3"]}}}


def test_half_an_envelope_is_asked_for_again(wire: Wire) -> None:
    answer_with(wire, envelope("<r><TonTai>true</TonTai></r>")[:-20], calls=2)
    assert outcome(wire, citizen(SAME)) == ("matched", "verify", None)
    answer_with(wire, envelope("<r>")[:40])
    assert "3 times in a row" in failure(SourceUnavailable, wire)


@given(st.text(max_size=30))
def test_a_plain_name_is_bare_capitals_once_and_again(name: str) -> None:
    once = plain(name)
    assert plain(once) == once
    assert once == " ".join(once.split())


def test_vietnamese_letters_lose_their_marks() -> None:
    assert plain("Đặng  Thị Ỷ Bình") == "DANG THI Y BINH"
    assert plain("nguyễn ái quốc") == "NGUYEN AI QUOC"
