"""The national population database (CSDLQG về dân cư) as provinces reach it: SOAP 1.1, one citizen a call.

Two operations, as seen in clients: XacThucThongTinCongDan (does a citizen of this number and name exist) and
TraCuuThongTinCongDan (the record). The path ``/congdan/1.0.0`` plays Đồng Tháp's own REST wrapper of the lookup. It
knows exactly the invented persons of `people`, but for some in a hundred: not recorded, recorded under another name,
born in another year, known by year of birth alone. Manners seen: nobody found is a record with an empty Ten; the
whole name stands in Ten; names are compared without marks, case and blanks; a call names its officer.

Nothing gives lists of persons: the batch operations (CungCapDanhSachTheo...) end in a fault, as every operation but
the two does.
"""

import os
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.chance import uniform
from sandbox.faults import Faults
from sandbox.generator import PEOPLE, mix_person, person_commune
from sandbox.people import ascii_of, birth_dates, full_names, identity_tails
from sandbox.reference import communes
from sandbox.serving import serve

# Đồng Tháp's LGSP takes client_id, client_secret and grant_type in the body [seen]; the paths of services below it
# follow its catalogue service, /dldc/1.0.0 [guess].
TOKEN_PATH = "/token"
SOAP_PATH = "/dancu/1.0.0"
WRAPPER_PATH = "/congdan/1.0.0"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
REQUEST = "http://dancuquocgia.bca"
RESPONSE = "http://www.mic.gov.vn/dancu/1.0"
VERIFY, LOOKUP = "XacThucThongTinCongDan", "TraCuuThongTinCongDan"
# Where the database and the dossier systems disagree, in shares of persons.
ABSENT, RENAMED, OTHER_YEAR, YEAR_ONLY = 0.006, 0.014, 0.006, 0.034


class Fault(Exception):
    """A request the service refuses; becomes a SOAP fault."""

    def __init__(self, text: str, code: str = "Client") -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Citizen:
    """One record of the database. `month` and `day` are 0 where only the year is known."""

    number: str
    name: str
    woman: bool
    year: int
    month: int
    day: int
    commune: int


def plain(name: str) -> str:
    """Return a name as it is compared: no marks, no case, no blanks."""
    return ascii_of(name).replace("_", "")


class Register:
    """All invented citizens by number."""

    def __init__(self) -> None:
        people = np.arange(max(first + size for first, size in PEOPLE.values()), dtype=np.int64)
        tails = identity_tails(mix_person(people))
        # Stable: a number two persons happen to share belongs to the first, and the other is told no.
        self._person = np.argsort(tails, kind="stable")
        self._tails = tails[self._person]

    def find(self, number: str) -> Citizen | None:
        """Return the record of a number of twelve digits, None where the database has none."""
        if not (len(number) == 12 and number.isdecimal() and number.startswith("003")):
            return None
        at = int(np.searchsorted(self._tails, int(number[3:])))
        if at == len(self._tails) or self._tails[at] != int(number[3:]):
            return None
        person = self._person[at : at + 1]
        keys = mix_person(person)
        (year,), (month,), (day,) = (a.tolist() for a in birth_dates(keys))
        (name,) = full_names(keys)
        words = name.split()
        u = float(uniform(keys, "population record")[0])
        if u < ABSENT:
            return None
        if (u := u - ABSENT) < RENAMED:
            name = f"{words[0]} {words[-1]}" if len(words) > 2 else f"{name} Anh"
        elif (u := u - RENAMED) < OTHER_YEAR:
            year += 1
        elif u - OTHER_YEAR < YEAR_ONLY:
            month = day = 0
        woman = bool(uniform(keys, "sex")[0] < 0.5)
        return Citizen(number, name, woman, year, month, day, int(person_commune(person)[0]))


def read_request(body: bytes) -> tuple[str, dict[str, Any]]:
    """Return (operation, its fields) of a SOAP request; Fault where it is none."""
    try:
        text = body.decode()
        if "<!DOCTYPE" in text:
            raise Fault("DTD is not allowed in a SOAP message")
        root = ElementTree.fromstring(text)  # noqa: S314 - no DTD, so no entities
    except (UnicodeDecodeError, ElementTree.ParseError):
        raise Fault("the request is not well-formed XML in UTF-8") from None
    parts = root.findall(f"{{{ENVELOPE}}}Body/*")
    if root.tag != f"{{{ENVELOPE}}}Envelope" or len(parts) != 1:
        raise Fault("a SOAP 1.1 envelope with one request is expected")
    space, _, operation = parts[0].tag.rpartition("}")
    if space != f"{{{REQUEST}":
        raise Fault(f"the request must stand in the namespace {REQUEST}")
    fields: dict[str, Any] = {}
    for child in parts[0]:
        inner = {c.tag.rpartition("}")[2]: (c.text or "").strip() for c in child}
        fields[child.tag.rpartition("}")[2]] = inner or (child.text or "").strip()
    return operation, fields


def element(name: str, value: Any) -> str:
    """Return an element of the response namespace; dictionaries nest, empty text makes an empty element."""
    inner = (
        "".join(element(k, v) for k, v in value.items()) if isinstance(value, dict) else escape(str(value))
    )
    return f"<ns1:{name}>{inner}</ns1:{name}>" if inner else f"<ns1:{name}/>"


def soap(inner: str) -> bytes:
    """Return an envelope around the given body."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope xmlns:soapenv="{ENVELOPE}"><soapenv:Header/>'
        f"<soapenv:Body>{inner}</soapenv:Body></soapenv:Envelope>"
    ).encode()


def record(citizen: Citizen | None, parted: bool = False, districts: bool = True) -> str:
    """Return the answer to a lookup: nobody is a record whose every part is empty.

    `parted`: family, middle and given name apart; `districts`: as they were until 1/7/2025.
    """
    place: dict[str, str] = {
        "MaTinhThanh": "",
        "MaQuanHuyen": "",
        "MaPhuongXa": "",
        "ChiTiet": "",
        "QuocGia": "",
    }
    if citizen:
        c = communes()
        # Old records keep the district of three digits after districts ended [guess].
        place |= {
            "MaTinhThanh": str(c.province[citizen.commune]),
            "MaQuanHuyen": c.districts[citizen.commune] if districts else "",
            "MaPhuongXa": c.codes[citizen.commune], "QuocGia": "VN",
        }  # fmt: skip
    full = citizen is not None and citizen.day
    # [seen] everything in Ten.
    family, middle, given = "", "", citizen.name.upper() if citizen else ""
    if parted and citizen:
        family, *between, given = given.split()
        middle = " ".join(between)
    body = {
        "SoDinhDanh": citizen.number if citizen else "", "SoCMND": "",
        "HoVaTen": {"Ho": family, "ChuDem": middle, "Ten": given},
        "GioiTinh": ("2" if citizen.woman else "1") if citizen else "",
        "DanToc": "01" if citizen else "", "TonGiao": "00" if citizen else "",
        "TinhTrangHonNhan": "", "NhomMau": "00" if citizen else "",
        "NgayThangNamSinh": {
            "Nam": citizen.year if citizen else "",
            "NgayThangNam": f"{citizen.year}{citizen.month:02d}{citizen.day:02d}" if citizen and full else "",
        },
        "QueQuan": place, "ThuongTru": place, "NoiOHienTai": place, "QuocTich": "VN" if citizen else "",
    }  # fmt: skip
    inner = element("CongDan", body)
    return f'<ns1:CongdanCollection xmlns:ns1="{RESPONSE}">{inner}</ns1:CongdanCollection>'


def fault(error: Fault) -> bytes:
    """Return a SOAP 1.1 fault."""
    return soap(
        f"<soapenv:Fault><faultcode>soapenv:{error.code}</faultcode><faultstring>{escape(str(error))}"
        "</faultstring></soapenv:Fault>"
    )


def create_app(client_id: str, client_secret: str) -> FastAPI:
    """Return the application; callers sign in with the given client."""
    register = Register()
    lifetime = int(os.environ.get("SANDBOX_TOKEN_SECONDS", "3600"))
    faults = Faults()
    tokens: dict[str, float] = {}
    faults.on_expire = tokens.clear
    calls: Counter[str] = Counter()
    armed: list[Fault] = []

    def json(value: Any, status: int = 200) -> Response:
        return Response(orjson.dumps(value), status, media_type="application/json")

    def allowed(request: Request) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return tokens.get(given, 0) > time.monotonic()

    async def token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        right = form.get("grant_type") == "client_credentials"
        right &= secrets.compare_digest(form.get("client_id", "").encode(), client_id.encode())
        right &= secrets.compare_digest(form.get("client_secret", "").encode(), client_secret.encode())
        if not right:
            return json({"error": "invalid_client"}, 401)
        made = secrets.token_urlsafe(24)
        tokens[made] = time.monotonic() + lifetime
        return json({"access_token": made, "token_type": "Bearer", "expires_in": lifetime})

    def answer(operation: str, fields: dict[str, Any]) -> str:
        calls[operation] += 1
        if armed:
            raise armed.pop(0)
        if operation not in (VERIFY, LOOKUP):
            raise Fault(f"operation {operation} is not offered to this unit")
        for needed in ("MaYeuCau", "MaCanBo"):
            if not fields.get(needed):
                raise Fault(f"{needed} is missing")
        number = str(fields.get("SoDinhDanh") or fields.get("SoCMND") or "")
        if not number or not fields.get("HoVaTen"):
            raise Fault("SoDinhDanh or SoCMND, and HoVaTen, are needed")
        found = register.find(number)
        if operation == LOOKUP:  # the number alone decides [guess]
            return record(found, not faults.has("one_name_field"), faults.has("old_districts"))
        there = found is not None and plain(found.name) == plain(str(fields["HoVaTen"]))
        return (
            f'<dan:KetQuaXacThucResponse xmlns:dan="{REQUEST}"><dan:TonTai>{str(there).lower()}</dan:TonTai>'
            "</dan:KetQuaXacThucResponse>"
        )

    async def service(request: Request) -> Response:
        if not allowed(request):
            return json({"fault": {"code": 900901, "message": "Invalid Credentials"}}, 401)
        try:
            body, status = soap(answer(*read_request(await request.body()))), 200
        except Fault as error:
            body, status = fault(error), 500  # SOAP 1.1 says so
        return Response(body, status, media_type="text/xml")

    async def wrapper(request: Request) -> Response:
        if not allowed(request):
            return json({"fault": {"code": 900901, "message": "Invalid Credentials"}}, 401)
        try:
            given = orjson.loads(await request.body())
            fields = {k[0].upper() + k[1:]: v for k, v in given.items()}
            # [seen in another province's wrapper] the SOAP text stands in the message.
            # [seen] the code is a number at some, a text at others.
            code = 0 if faults.due("error_code_number") else "0"
            return json({"error_code": code, "message": soap(answer(LOOKUP, fields)).decode()})
        except (orjson.JSONDecodeError, AttributeError):
            return json({"error_code": "1", "message": "the body is no JSON object"}, 400)
        except Fault as error:
            return json({"error_code": "1", "message": str(error)})

    async def counted(request: Request) -> Response:
        """Calls by operation since the start."""
        return json(dict(calls))

    def arm(wanted: Any) -> None:
        """The faults every stand-in knows, and soap_fault (code, text, calls)."""
        if isinstance(wanted, dict) and wanted.get("fault") == "soap_fault":
            one = Fault(wanted.get("text", "try later"), wanted.get("code", "Server"))
            armed.extend([one] * int(wanted.get("calls", 1)))
            return
        faults.set(wanted)
        if wanted == {"fault": "clear"}:
            armed.clear()

    routes = [
        Route(TOKEN_PATH, token, methods=["POST"]),
        Route(SOAP_PATH, service, methods=["POST"]),
        Route(WRAPPER_PATH, wrapper, methods=["POST"]),
        Route("/__sandbox__/calls", counted, methods=["GET"]),
    ]
    return serve(
        "Population database sandbox", routes, faults,
        arm=arm, state=lambda: faults.state() | {"soap_fault": len(armed)},
    )  # fmt: skip
