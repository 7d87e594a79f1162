"""The national population database (CSDLQG về dân cư, Đề án 06): is this citizen who the dossier says.

What it offers here: two questions about one citizen, XacThucThongTinCongDan (does the number belong to the name:
yes or no) and TraCuuThongTinCongDan (the record). The first is asked always, the second only where the first says
no, to tell "nobody has this number" from "somebody else has it": the record's other values are dropped unread. The
batch operations (CungCapDanhSachTheo...) give lists of persons; this connector has no way to call them, and no
connector may.

How it misbehaves: nobody found is no error but a record with an empty Ten; the whole name stands in Ten; names are
sent in capitals without marks; success and failure both come as SOAP, faults with HTTP 500. Whom to call: C06 (Bộ
Công an), through the province's LGSP.

Seen in public clients: both operations, their fields and namespaces, the record, the LGSP's token call, the fields
of Đồng Tháp's REST wrapper. Guessed, and standing in `PATHS` and `_wrapped` alone: the paths below the LGSP, and the
wrapper's answer (taken to be another province's: SOAP text in ``message``).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit
from xml.parsers import expat
from xml.sax.saxutils import escape

import orjson
import requests
import requests.adapters

from connectors.base import (
    Chunk,
    Connector,
    Endpoint,
    Request,
    SourceChanged,
    SourceError,
    SourceRefused,
    SourceUnavailable,
)
from connectors.typing import parse_boolean

VERIFY, LOOKUP = "XacThucThongTinCongDan", "TraCuuThongTinCongDan"
#: [guess] below the LGSP, after its catalogue service /dldc/1.0.0; option `path` goes before.
PATHS = {"soap": "/dancu/1.0.0", "wrapper": "/congdan/1.0.0"}
_ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
_REQUEST = "http://dancuquocgia.bca"
#: MaTichHop of the lookup, the same in every client seen.
_INTEGRATION = "037"


class QuotaSpent(Exception):
    """The agreement's quota of the day is used up; whoever was not asked stays pending."""


class CitizenRefused(SourceError):
    """The service has a fault for an answer about one citizen; the next may fare better.

    `outcome` is ``refused`` where the fault lies in what was sent, ``pending`` where it is the service's own; `cause`
    is what to raise if it is not about that citizen at all.
    """

    def __init__(self, cause: SourceError, request_id: str) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.request_id = request_id
        self.outcome = "refused" if isinstance(cause, SourceRefused) else "pending"


@dataclass(frozen=True)
class Person:
    """Whom to ask about, without any clear value."""

    token: str
    name_reference: str
    birth_year: int | None


@dataclass(frozen=True)
class Question:
    """The clear values of one call, in memory for its length; `request_id` is the vault's record of the reading."""

    request_id: str
    identity_number: str = dataclasses.field(repr=False)
    name: str = dataclasses.field(repr=False)


def _nobody(_: Person) -> Question | None:
    return None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class CheckRequest(Request):
    """Whom to ask about and on whose behalf.

    `disclose` gives the clear values for one call about one person, None where there are none to ask with; it raises
    QuotaSpent when the day is used up.
    """

    people: Sequence[Person] = ()
    disclose: Callable[[Person], Question | None] = _nobody
    officer_code: str = dataclasses.field(default="", repr=False)
    agreement: str = ""
    clock: Callable[[], dt.datetime] = _now


def plain(name: str) -> str:
    """A name as it is sent: capitals, no marks, single blanks."""
    bare = unicodedata.normalize("NFD", name.replace("đ", "d").replace("Đ", "D"))
    return " ".join("".join(c for c in bare if not unicodedata.combining(c)).upper().split())


class Population(Connector):
    """Outcomes of identity checks, one citizen a call, in sequence."""

    dialect = "population"
    tables = ("citizen_check",)
    #: Every repeated call is one more that the database's owner sees.
    own_options: ClassVar[tuple[str, ...]] = ("variant", "path", "service_code")
    attempts: ClassVar[int] = 3
    concurrency: ClassVar[int] = 1
    token_path: ClassVar[str] = "/token"  # noqa: S105 - a path
    #: So many faults in a row are no longer about citizens.
    faults_in_a_row: ClassVar[int] = 3

    def __init__(self, source_code: str, endpoint: Endpoint) -> None:
        super().__init__(source_code, endpoint)
        self._variant = str(endpoint.options.get("variant", "soap"))
        if self._variant not in PATHS:
            raise SourceRefused(
                f"{source_code}: the option variant {self._variant!r} is not one of {', '.join(PATHS)} "
                "(ops/sources.yml)"
            )
        self._path = str(endpoint.options.get("path", PATHS[self._variant]))
        self._service = str(endpoint.options.get("service_code", ""))
        #: What the last SOAP fault said, fit to be shown.
        self._fault = ""
        self.outcomes: Counter[str] = Counter()

    def login(self) -> str:
        """A token of the LGSP: client_id, client_secret and grant_type in the body (Đồng Tháp's)."""
        answer = self.call(
            "POST",
            self.token_path,
            form={
                "client_id": self.endpoint.login,
                "client_secret": self.endpoint.secret,
                "grant_type": "client_credentials",
            },
            signed=False,
        )
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise SourceChanged(self._say("POST", self.token_path, "the answer holds no access_token"))
        return token

    def chunks(self, request: Request) -> Iterator[Chunk]:
        """One chunk: an outcome for each person taken up before the quota or the service ended.

        A service that stops answering after it has answered ends the run, not its answers: those were paid for
        with quota. Persons not taken up stay pending.
        """
        if not isinstance(request, CheckRequest):
            raise TypeError("the population database answers questions about persons: give a CheckRequest")
        rows: list[dict[str, Any]] = []
        answered = faults = 0
        stopped = ""
        for person in request.people:
            try:
                row = self._check(person, request)
            except QuotaSpent as e:
                stopped = str(e)
            except SourceUnavailable as e:
                if not answered:
                    raise
                stopped = str(e)
            except CitizenRefused as e:
                row = self._row(person, request, e.request_id, e.outcome)
                faults += 1
                if faults == self.faults_in_a_row:
                    if not answered:
                        raise e.cause from None
                    stopped = str(e)
                    del rows[1 - faults :]  # nor were the ones before about those citizens
            else:
                answered += row["operation"] is not None
                faults = 0
            if stopped:
                self.report.notes.append(
                    f"stopped after {len(rows):,} of {len(request.people):,} persons: {stopped}"
                )
                break
            rows.append(row)
            if len(rows) % 100 == 0:
                request.on_progress(f"{self.source_code}: {len(rows):,} persons")
        self.outcomes.update(row["outcome"] for row in rows)
        count = self.report.counts["citizen_check"]
        count.announced = len(rows)
        self.report.windows.append(
            {"window": "persons", "announced_before": len(request.people), "announced_after": len(rows),
             "received": len(rows)}
        )  # fmt: skip
        chunk = Chunk()
        columns = {k: [r[k] for r in rows] for k in _COLUMNS}
        self.typed(chunk, "citizen_check", columns, rows)
        yield chunk

    def _check(self, person: Person, request: CheckRequest) -> dict[str, Any]:
        question = request.disclose(person)
        if question is None:
            return self._row(person, request, f"none-{person.token}", "not_askable")
        if self._variant == "soap":
            if self._verify(question, request):
                return self._row(person, request, question.request_id, "matched", "verify")
            # One reading of the vault is one call: the second call is a reading of its own.
            try:
                again = request.disclose(person)
            except QuotaSpent:
                return self._row(person, request, question.request_id, "pending", "verify")
            if again is None:
                return self._row(person, request, question.request_id, "not_askable", "verify")
            question = again
        outcome, differs_in = self._look_up(question, person, request)
        return self._row(person, request, question.request_id, outcome, "lookup", differs_in)

    def _row(
        self, person: Person, request: CheckRequest, check_id: str, outcome: str,
        operation: str | None = None, differs_in: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        year = person.birth_year
        return {
            "check_id": check_id, "person_token": person.token, "name_reference": person.name_reference,
            # The vault keeps the year of a date; no more than the year is known here.
            "asked_birth_year": f"{year}-01-01" if year else None,
            "operation": operation, "outcome": outcome, "differs_in": differs_in, "agreement": request.agreement,
            "checked_at": request.clock().isoformat(),
        }  # fmt: skip

    # --- the two questions ---------------------------------------------------------------------------

    def _verify(self, question: Question, request: CheckRequest) -> bool:
        fields = {
            "MaYeuCau": question.request_id, "MaDichVu": self._service, "MaCanBo": request.officer_code,
            **_numbered(question), "HoVaTen": plain(question.name),
        }  # fmt: skip
        body = self._ask(VERIFY, fields)
        for part in body.values():
            if isinstance(part, dict) and "TonTai" in part:
                try:
                    return parse_boolean(part["TonTai"])
                except ValueError:
                    break
        raise SourceChanged(self._say("POST", self._path, "the answer to a verification holds no TonTai"))

    def _look_up(self, question: Question, person: Person, request: CheckRequest) -> tuple[str, str | None]:
        fields: dict[str, Any] = {
            "MaYeuCau": question.request_id, "MaDVC": self._service, "MaTichHop": _INTEGRATION,
            "MaCanBo": request.officer_code, **_numbered(question), "HoVaTen": plain(question.name),
        }  # fmt: skip
        if person.birth_year:
            fields["NgayThangNamSinh"] = {"Nam": str(person.birth_year)}
        body = self._wrapped(fields) if self._variant == "wrapper" else self._ask(LOOKUP, fields)
        collection = body.get("CongdanCollection")
        citizen = collection.get("CongDan") if isinstance(collection, dict) else None
        name = citizen.get("HoVaTen") if isinstance(citizen, dict) else None
        if not isinstance(citizen, dict) or not isinstance(name, dict) or "Ten" not in name:
            raise SourceChanged(
                self._say(
                    "POST", self._path, "the answer to a lookup holds no single CongDan with HoVaTen/Ten"
                )
            )
        if not name["Ten"]:
            return "not_found", None
        own = str(citizen.get("SoDinhDanh") or "")
        if len(question.identity_number) == 12 and own and own != question.identity_number:
            raise SourceChanged(self._say("POST", self._path, "the answer is about another citizen"))
        # Some records part the name, most have all of it in Ten.
        whole = " ".join(str(name.get(part) or "") for part in ("Ho", "ChuDem", "Ten"))
        born = citizen.get("NgayThangNamSinh")
        year = str((born.get("Nam") or born.get("NgayThangNam") or "") if isinstance(born, dict) else "")[:4]
        other_name = _letters(whole) != _letters(question.name)
        other_year = bool(year and person.birth_year) and year != str(person.birth_year)
        if not other_name and not other_year:
            return "matched", None
        return "mismatch", "both" if other_name and other_year else "name" if other_name else "birth_year"

    def _ask(self, operation: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Children of the SOAP body of one answer; both questions go through here, and no other can be asked."""
        self._fault = ""
        try:
            answer = self.call("POST", self._path, body={operation: fields})
        except SourceUnavailable as e:
            if not self._fault:
                raise
            raise CitizenRefused(SourceUnavailable(f"{e} {self._fault}"), str(fields["MaYeuCau"])) from None
        return self._body(answer)

    def _wrapped(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Children of the SOAP body that Đồng Tháp's REST wrapper gives for a lookup."""
        names = ("MaYeuCau", "MaDVC", "MaCanBo", "SoDinhDanh", "SoCMND", "HoVaTen")
        body = {n[0].lower() + n[1:]: fields.get(n, "") for n in names}
        body["ngayThangNam"] = fields.get("NgayThangNamSinh", {}).get("Nam", "")
        body["userNameService"] = self.endpoint.login
        answer = self.call("POST", self._path, body=body)
        said = answer.get("message") if isinstance(answer, dict) else None
        if isinstance(said, str) and said.lstrip()[:1] == "<":
            try:
                return self._body(tree(said.encode()))
            except ValueError as e:
                raise SourceChanged(
                    self._say("POST", self._path, f"the message holds no SOAP: {e}")
                ) from None
        if isinstance(said, str) and str(answer.get("error_code", "0")) not in ("0", "SUCCESSFUL"):
            cause = SourceRefused(
                self._say(
                    "POST", self._path, f"error {_code(str(answer['error_code']))}{shown(said, fields)}"
                )
            )
            raise CitizenRefused(cause, str(fields["MaYeuCau"]))
        raise SourceChanged(self._say("POST", self._path, "the answer holds no message with a SOAP envelope"))

    def _body(self, answer: Any) -> dict[str, Any]:
        envelope = answer.get("Envelope") if isinstance(answer, dict) else None
        body = envelope.get("Body") if isinstance(envelope, dict) else None
        if not isinstance(body, dict):
            raise SourceChanged(self._say("POST", self._path, "the answer is no SOAP envelope with a body"))
        return body

    # --- the wire ------------------------------------------------------------------------------------

    def _session(self) -> requests.Session:
        session = super()._session()
        if self._variant == "soap" and not isinstance(session.adapters.get("http://"), _Soap):
            session.mount("http://", _Soap(self))
            session.mount("https://", _Soap(self))
        return session

    def fault(self, url: str, fault: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        """Take note of a SOAP fault; CitizenRefused if asking again would change nothing."""
        code = str(fault.get("faultcode") or "").rpartition(":")[2]
        said = f"SOAP fault {_code(code)}{shown(str(fault.get('faultstring') or ''), fields)}"
        if code.partition(".")[0] != "Server":
            cause = SourceRefused(
                self._say("POST", urlsplit(url).path, said)
                + " The service refuses what is sent: compare officer code, service code and path with the agreement."
            )
            raise CitizenRefused(cause, str(fields.get("MaYeuCau", "")))
        self._fault = f"It said: {said}."


_COLUMNS = (
    "check_id", "person_token", "name_reference", "asked_birth_year", "operation", "outcome", "differs_in",
    "agreement", "checked_at",
)  # fmt: skip


def _numbered(question: Question) -> dict[str, str]:
    kind = "SoCMND" if len(question.identity_number) == 9 else "SoDinhDanh"
    return {kind: question.identity_number}


def _letters(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", plain(text))


#: What a service's text may consist of to be shown. No list holds every name; this one holds none.
_PHRASES = (
    "bản ghi|bận|bắt buộc|bị|cán bộ|cho|chưa|của|cơ sở|dữ liệu|dịch vụ|đã|đăng nhập|để|định danh|định dạng|được|đơn vị|"
    "gián đoạn|giấy phép|hạn mức|hệ thống|hết|hết giờ|hết hạn|hoặc|họ tên|hợp lệ|kết nối|khai thác|không|khớp|là|lỗi|"
    "mã|máy chủ|năm sinh|ngày sinh|nội bộ|phút|quá|quá tải|quyền|sai|sau|số|số lượng|tạm ngừng|tài khoản|tại|tên|"
    "tham số|thiếu|thông tin|thời gian|thử lại|tìm thấy|tồn tại|trong|truy cập|truy vấn|trường|từ chối|và|vui lòng|"
    "vượt|với|xác thực|xử lý|yêu cầu|"
    "a|access|after|again|allowed|an|at|authorized|bad|be|busy|call|caller|client|code|connection|data|database|denied|"
    "down|error|exceeded|expected|expired|failed|field|for|format|found|gateway|has|internal|invalid|is|it|later|limit|"
    "maximum|message|missing|mustunderstand|namespace|not|of|offered|officer|operation|out|overloaded|parameter|"
    "permission|please|quota|reached|receiver|refused|request|required|schema|sender|server|service|session|stopped|"
    "successful|system|temporarily|the|this|time|timeout|to|token|too many|try|unauthorized|unavailable|unit|unknown|"
    "unsuccessful|user|value|version|versionmismatch|wrong"
)  # fmt: skip
#: Names of the service's own fields, as they are written.
_FIELDS = "MaYeuCau|MaDichVu|MaDVC|MaTichHop|MaCanBo|SoDinhDanh|SoCMND|HoVaTen|NgayThangNamSinh"
_HARMLESS = re.compile(rf"(?:(?:{_PHRASES}|[0-9]{{1,3}})(?: |$))*")
_UNSHOWN = " (its text is not shown, because it may name somebody)"


def shown(text: str, fields: Mapping[str, Any]) -> str:
    """What a service said, for a message; nothing of a text that may name anybody, the citizen asked about or another.

    It must consist of `_PHRASES`, `_FIELDS` and short numbers, with no capital but the first letter, and must hold no
    word of the name that was sent.
    """
    words = re.findall(r"\w+", unicodedata.normalize("NFC", text))
    if not words:
        return ""
    sent = set(plain(str(fields.get("HoVaTen") or "")).split())
    if not _harmless(words) or sent & {plain(w) for w in words}:
        return _UNSHOWN
    return f": {' '.join(text.split())[:200]}"


def _code(text: str) -> str:
    """A code of a fault, or of an error, if it is of harmless words or a number; a service can write anything there."""
    words = re.findall(r"\w+", text.lower())
    return text.strip() if _harmless(words) or re.fullmatch(r"-?[0-9]{1,5}", text) else "of no known code"


def _harmless(words: Sequence[str]) -> bool:
    own = [w for w in words if w not in _FIELDS.split("|")]
    own[:1] = [w[:1].lower() + w[1:] for w in words[:1] if w in own[:1]]
    return bool(words) and _HARMLESS.fullmatch(" ".join(own)) is not None


class _Soap(requests.adapters.HTTPAdapter):
    """Carries a JSON call as SOAP 1.1, and the answer back as JSON, so that the base's policy holds unchanged."""

    def __init__(self, connector: Population) -> None:
        super().__init__()
        self._connector = connector

    def send(self, request: requests.PreparedRequest, *args: Any, **words: Any) -> requests.Response:
        """Send one call; anything but a JSON body (the token's form) goes as it is."""
        if not str(request.headers.get("Content-Type", "")).startswith("application/json"):
            return super().send(request, *args, **words)
        ((operation, fields),) = orjson.loads(request.body or b"{}").items()
        request.headers.update(
            {"Content-Type": "text/xml; charset=utf-8", "Accept": "text/xml", "SOAPAction": '""'}
        )
        request.prepare_body(_envelope(operation, fields), None)
        response = super().send(request, *args, **words)
        start = response.content[:200].lstrip().lower()
        if not start.startswith(b"<") or start.startswith((b"<html", b"<!doctype html")):
            return response
        try:
            answer = tree(response.content)
        except ValueError as e:
            if "DOCTYPE" in str(e):
                raise SourceChanged(
                    self._connector._say("POST", urlsplit(request.url or "").path, str(e))
                ) from None
            # Cut on its way, like a cut JSON text: the base tries again.
            raise requests.exceptions.ContentDecodingError("not whole XML") from None
        envelope = answer.get("Envelope")
        body = envelope.get("Body") if isinstance(envelope, dict) else None
        status = response.status_code
        if isinstance(body, dict) and isinstance(body.get("Fault"), dict):
            self._connector.fault(request.url or "", body["Fault"], fields)
            status = 500  # some gateways send faults with 200
        return _replaced(response, status, orjson.dumps(answer))


def _replaced(response: requests.Response, status: int, content: bytes) -> requests.Response:
    answer = requests.Response()
    answer.status_code, answer.url, answer.request = status, response.url, response.request
    answer.headers.update(response.headers)
    answer.headers["Content-Type"] = "application/json"
    answer.raw = io.BytesIO(content)
    return answer


def _envelope(operation: str, fields: Mapping[str, Any]) -> bytes:
    def element(name: str, value: Any) -> str:
        inner = (
            "".join(element(k, v) for k, v in value.items())
            if isinstance(value, dict)
            else escape(str(value))
        )
        return f"<dan:{name}>{inner}</dan:{name}>"

    return (
        f'<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="{_ENVELOPE}" '
        f'xmlns:dan="{_REQUEST}"><soapenv:Header/><soapenv:Body>{element(operation, fields)}</soapenv:Body>'
        "</soapenv:Envelope>"
    ).encode()


def tree(content: bytes) -> dict[str, Any]:
    """XML as nested dictionaries by local names: an element is its text or its children; repeated ones make a list.

    ValueError if it is not well-formed, or declares a document type: entities, and with them references to files,
    addresses and endless repetition, exist by declaration only.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    open_ones: list[tuple[str, dict[str, Any], list[str]]] = [("", {}, [])]

    def start(name: str, _: dict[str, str]) -> None:
        open_ones.append((name.rpartition(" ")[2], {}, []))

    def end(_: str) -> None:
        name, children, text = open_ones.pop()
        value: Any = children or "".join(text).strip()
        siblings = open_ones[-1][1]
        if name not in siblings:
            siblings[name] = value
        elif isinstance(siblings[name], list):
            siblings[name].append(value)
        else:
            siblings[name] = [siblings[name], value]

    def declared(*_: Any) -> None:
        raise ValueError("an XML document type declaration (DOCTYPE), which SOAP forbids; nothing was read")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda text: open_ones[-1][2].append(text)
    parser.StartDoctypeDeclHandler = declared
    try:
        parser.Parse(content, True)
    except expat.ExpatError:
        # Its message gives a place, but the line there may hold a person.
        raise ValueError("not well-formed XML") from None
    return open_ones[0][1]
