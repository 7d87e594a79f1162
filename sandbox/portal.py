"""The national public-service portal's public REST API of 2026 (no token), on real data.

The catalogue is built from the crawl of July 2026 (2,642 procedures of six ministries and the courts); the
evaluation endpoints replay real captures byte for byte, and only for exactly the bodies that were captured.
For another unit the portal was seen to answer for the whole country ("Cả nước"); where no national answer of
that endpoint and period was captured, `data` is null.

With SANDBOX_SIMULATED_EVALUATION=1 the evaluation endpoints answer for any unit and period with invented
figures in the real shapes (see `evaluation`): for tests of the connector only, never for publication.
"""

import os
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.evaluation import ENDPOINTS, simulated
from sandbox.faults import Faults
from sandbox.reference import DATA, made_id, result_of, rows
from sandbox.serving import serve

H44 = "019d2be3-6a88-732b-8b17-b68020c8553a"
CAPTURES = DATA / "captures"
_QUARTER = {"timeType": "quarter", "year": 2026, "quarter": 3, "rootDepartmentId": H44, "currentPage": 1}
# Path after /api/v1/reporting, the body that was sent, the file that holds the answer.
REPLAYED: list[tuple[str, dict[str, Any], str]] = [
    ("evaluation/service-results", {"timeType": "year", "year": 2026, "departmentType": "ADMINISTRATIVE_UNIT"},
     "service-results_national_2026-09-17.json"),
    ("evaluation/dvc-progress-tree", _QUARTER | {"pageSize": 100}, "dvc-progress-tree_H44_2026Q3.json"),
    ("evaluation/transparency", _QUARTER | {"pageSize": 200}, "transparency_H44_2026Q3.json"),
    ("formalities", {"currentPage": 1, "pageSize": 10}, "formalities_page1.json"),
]  # fmt: skip
NATIONAL = {("evaluation/service-results", "year", 2026): "service-results_national_2026-09-17.json"}
CAPTURED_DETAIL = {"2.000815": "formality_detail_2.000815.json"}

TIME_UNITS = {"working_day": "WORKING_DAY", "day": "DAY", "hour": "HOUR", "month": "MONTH", "": "OTHER"}
METHODS = {"direct": "DIRECT", "online": "ONLINE", "postal": "POSTAL"}
VND = {"currencyId": "019b3fb2-b5b8-70ac-85e2-9409ec1eaffa", "currencyName": "Việt Nam Đồng"}
USD = {"currencyId": "019b3fb2-dee2-76ab-aa53-22d4d903a2bb", "currencyName": "USD"}
MINISTRIES = {
    "bo-tu-phap": ("G15", "Bộ Tư pháp"), "bo-tai-chinh": ("G12", "Bộ Tài chính"),
    "bo-nong-nghiep-mt": ("G10", "Bộ Nông nghiệp và Môi trường"), "bo-cong-an": ("G01", "Bộ Công an"),
    "bo-xay-dung": ("G17", "Bộ Xây dựng"), "ngan-hang-nha-nuoc": ("G19", "Ngân hàng Nhà nước Việt Nam"),
    "toa-an-nhan-dan": ("TAND", "Tòa án nhân dân"),
}  # fmt: skip
TYPES = {
    "TTHC được giao luật quy định chi tiết": "ASSIGNED_REGULATION",
    "TTHC không được luật giao cho địa phương quy định": "NOT_ASSIGNED_REGULATION",
    "Loại khác": "OTHER",
}


class Catalogue:
    """The procedures as the portal lists and details them, in the order of their codes."""

    def __init__(self) -> None:
        listed = sorted(rows("procedures.csv"), key=lambda r: r["code"])
        self.terms: dict[str, list[dict[str, str]]] = {}
        for r in rows("tthc_channels_deadlines.csv"):
            self.terms.setdefault(r["code"], []).append(r)
        # The crawl gives 15 procedures the address of another one; these get an invented identifier.
        used: set[str] = set()
        self.rows: list[dict[str, str]] = []
        self.ids: list[str] = []
        self.items: list[bytes] = []
        for r in listed:
            found = r["url"].rsplit("/", 1)[-1]
            own = found if found not in used else made_id(f"formality:{r['code']}")
            used.add(own)
            self.rows.append(r)
            self.ids.append(own)
            self.items.append(orjson.dumps({
                "id": own, "code": r["code"], "codeNotation": r["code"], "name": r["name"], "type": "STANDARD",
                "categories": [r["sector"]],
            }))  # fmt: skip
        self.place = {i: n for n, i in enumerate(self.ids)}
        self._search = [f"{r['code']} {r['name']}".lower() for r in self.rows]

    def chosen(self, q: str, department: str, category: str) -> list[int]:
        """Return the positions of procedures that match the filters; empty filters match all."""
        q = q.strip().lower()
        return [
            i for i, r in enumerate(self.rows)
            if (not q or q in self._search[i])
            and (not department or MINISTRIES[r["ministry_dir"]][0] == department)
            and (not category or made_id(f"category:{r['sector']}") == category)
        ]  # fmt: skip

    def detail(self, identifier: str) -> bytes | None:
        """Return the detail of a procedure as JSON: the capture where there is one, else built from the crawl."""
        at = self.place.get(identifier)
        if at is None:
            return None
        row = self.rows[at]
        if row["code"] in CAPTURED_DETAIL:
            return (CAPTURES / CAPTURED_DETAIL[row["code"]]).read_bytes().strip()
        return orjson.dumps(self._built(row, identifier))

    def _methods(self, code: str) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        for r in self.terms.get(code, []):
            number: Any = None
            if r["duration"]:
                value = float(r["duration"])
                # [seen] the portal mixes int, float and text here.
                number = [int(value) if value.is_integer() else value, value, r["duration"]][len(out) % 3]
            raw = r["fee_raw"]
            fees = []
            if r["fee_vnd"]:
                fees = [{"type": "FEE", "value": int(float(r["fee_vnd"])), "attachment": None,
                         "description": "" if r["fee_vnd"] == "0" else raw, **VND}]  # fmt: skip
            elif raw.endswith("USD") and raw.split()[0].replace(",", "").isdigit():
                fees = [{"type": "FEE", "value": int(raw.split()[0].replace(",", "")), "attachment": None,
                         "description": "", **USD}]  # fmt: skip
            out.append({
                "submissionMethod": METHODS[r["channel"]], "processingTime": number,
                "processingTimeUnit": TIME_UNITS[r["unit"]], "description": raw, "fees": fees,
            })  # fmt: skip
        return out

    def _built(self, r: dict[str, str], identifier: str) -> dict[str, Any]:
        body, body_name = MINISTRIES[r["ministry_dir"]]
        category = {"id": made_id(f"category:{r['sector']}"), "name": r["sector"],
                    # The crawl holds no code of a sector; whoever reads it sees that this one was made up.
                    "code": f"{body}-SIM{made_id(r['sector'])[:4].upper()}"}  # fmt: skip
        result, result_code = result_of(r["result"])
        agencies = [a.strip() for a in r["executing_agency"].replace(";", ",").split(",") if a.strip()]
        online = "online" in r["channels"]
        empty_lists = (
            "formalityTargetType", "serviceGroupIds", "legalBasisIds", "departmentAuthorityIds",
            "departmentAuthorizedIds", "departmentCoordinatingIds", "departmentDetails", "departmentsAuthority",
            "departmentsAuthorized", "departmentsCoordinating", "unitGroupExecutingIds", "unitGroupAuthorityIds",
            "unitGroupAuthorizedIds", "unitGroupCoordinatingIds", "unitGroupsExecuting", "unitGroupsAuthority",
            "unitGroupsAuthorized", "unitGroupsCoordinating", "serviceGroupsDetails", "legalBasisesDetails",
            "fees", "profileComponents", "targetObjects", "procedureRelatedGroup", "returningMethods",
            "executionSteps", "executionCases", "cases",
        )  # fmt: skip
        subjects = [s.strip() for s in r["subjects"].split(",") if s.strip()]
        return {
            "id": identifier, "code": r["code"], "codeNotation": r["code"],
            "executionMethods": self._methods(r["code"]), "description": "", "name": r["name"],
            "decisionNo": "", "formalityType": TYPES.get(r["type"]), "state": "UPDATED", "isInternal": False,
            "type": "STANDARD", "isWard": "xã" in r["level"], "isProvince": "tỉnh" in r["level"],
            "isMinistry": "bộ" in r["level"], "isOtherAgency": "khác" in r["level"], "isUndetermined": False,
            "isVertical": False, "isFullProcess": False, "isSharedService": False, "note": "", "keywords": "",
            "categoryIds": [category["id"]], "categoriesDetails": [category], "category": category,
            "resultIds": [made_id(f"result:{result_code or result}")],
            "resultsDetails": [{"id": made_id(f"result:{result_code or result}"), "name": result,
                                "code": result_code or None}],
            "subjectTypeIds": [made_id(f"subject:{s}") for s in subjects],
            "subjectTypesDetails": [{"id": made_id(f"subject:{s}"), "name": s, "code": None} for s in subjects],
            "departmentExecutingIds": [made_id(f"executing:{a}") for a in agencies],
            "departmentsExecuting": [{"id": made_id(f"executing:{a}"), "name": a, "code": None}
                                     for a in agencies],
            "departmentPromulgateId": made_id(f"body:{body}"), "departmentPromulgateCode": body,
            "departmentPromulgateName": body_name,
            # The crawl holds neither time; a made-up one would pass for the portal's.
            "createdAt": None, "updatedAt": None,
            "executingAgencies": r["executing_agency"], "authorizedAgencies": "",
            "dossierReceivingAddresses": "", "delegatedAgencies": "", "coordinatingAgencies": "",
            "requirementsAndConditions": "",
            "procedureProposal": {
                "id": made_id(f"proposal:{r['decision_no']}"), "proposalNumber": r["decision_no"],
                "decisionDate": None, "decisionNumber": None, "publicationDate": None,
                "issuingAgency": {"id": made_id(f"body:{body}"), "name": body_name}, "proposalType": "STANDARD",
            } if r["decision_no"] else None,
            "isOfflineOnly": not online, "isNonTerritorial": False,
        } | {name: [] for name in empty_lists}  # fmt: skip


def whole(value: Any, default: int) -> int:
    """Return a whole number of at least 1, as the portal reads a page number; the default for anything else."""
    try:
        return max(1, int(value or default))
    except (TypeError, ValueError):
        return default


def envelope(data: bytes) -> bytes:
    """Return data in the portal's envelope."""
    return b'{"code":"OK","data":' + data + b',"message":"OK"}'


def create_app() -> FastAPI:
    """Return the portal's application."""
    catalogue = Catalogue()
    faults = Faults()
    simulate = os.environ.get("SANDBOX_SIMULATED_EVALUATION") == "1"

    def reply(body: bytes, status: int = 201) -> Response:
        status = 200 if status == 201 and not faults.has("created") else status
        return Response(body, status, media_type="application/json")

    async def body_of(request: Request) -> dict[str, Any] | None:
        try:
            body = orjson.loads(await request.body() or b"{}")
        except orjson.JSONDecodeError:
            return None
        return body if isinstance(body, dict) else None

    bad = b'{"code":"BAD_REQUEST","data":null,"message":"Body must be a JSON object"}'

    async def list_all(request: Request) -> Response:
        body = await body_of(request)
        if body is None:
            return reply(bad, 400)
        found = catalogue.chosen(str(body.get("q") or ""), str(body.get("departmentCode") or ""),
                                 str(body.get("categoryId") or ""))  # fmt: skip
        limit = min(whole(body.get("limit"), 20), faults.page_limit(200))
        last = str(body.get("lastId") or "")
        start = 0
        if last:
            at = catalogue.place.get(last)
            start = len(found) if at is None else sum(1 for i in found if i <= at)
        part = found[start : start + limit]
        items = faults.rows([catalogue.items[i] for i in part])
        last_id = orjson.dumps(catalogue.ids[part[-1]] if part else (last or None))
        total = str(len(found)).encode()
        return reply(envelope(b'{"items":[' + b",".join(items) + b'],"lastId":' + last_id + b',"total":' + total
                              + b"}"))  # fmt: skip

    async def detail(request: Request) -> Response:
        body = await body_of(request)
        if body is None:
            return reply(bad, 400)
        found = catalogue.detail(str(body.get("id") or ""))
        if found is None:
            return reply(b'{"code":"NOT_FOUND","data":null,"message":"Formality not found"}', 404)
        return reply(envelope(found))

    async def reporting(request: Request) -> Response:
        body = await body_of(request)
        if body is None:
            return reply(bad, 400)
        path = request.url.path.removeprefix("/api/v1/reporting/")
        for known, sent, name in REPLAYED:
            if path == known and body == sent:
                return reply(faults.plain_scores((CAPTURES / name).read_bytes()))
        if path == "formalities":
            return reply(formalities(body))
        if simulate:
            answer = simulated(
                path.removeprefix("evaluation/"), body, faults.has("national_copy"),
                not faults.has("provisional_denominators"),
            )  # fmt: skip
            return reply(faults.plain_scores(envelope(orjson.dumps(answer))))
        national = NATIONAL.get((path, str(body.get("timeType")), body.get("year") or 0))
        return reply((CAPTURES / national).read_bytes() if national else envelope(b"null"))

    def formalities(body: dict[str, Any]) -> bytes:
        # Only page 1 of ten was captured (of 5,741); other pages are of the crawl's 2,642.
        found = catalogue.chosen(str(body.get("q") or ""), "", "")
        size = min(whole(body.get("pageSize"), 10), faults.page_limit(200))
        page = whole(body.get("currentPage"), 1)
        items = []
        for i in found[(page - 1) * size : page * size]:
            department = made_id(f"body:{MINISTRIES[catalogue.rows[i]['ministry_dir']][0]}")
            items.append(orjson.dumps({
                "id": catalogue.ids[i], "code": catalogue.rows[i]["code"], "name": catalogue.rows[i]["name"],
                "state": "UPDATED", "departmentId": department, "publishingDepartmentIds": [department],
                "appliedDepartmentIds": [],
            }))  # fmt: skip
        pagination = orjson.dumps({"total": len(found), "currentPage": page, "pageSize": size,
                                   "totalPages": -(-len(found) // size)})  # fmt: skip
        return envelope(
            b'{"items":[' + b",".join(faults.rows(items)) + b'],"pagination":' + pagination + b"}"
        )

    submitting = "/api/v1/submitting/formality"
    routes = [
        Route(f"{submitting}/list-all-public-formality-by-citizen", list_all, methods=["POST"]),
        Route(f"{submitting}/list-all-formality-by-citizen", list_all, methods=["POST"]),
        Route("/api/v1/configuring/formality/get-formality-by-citizen", detail, methods=["POST"]),
        Route("/api/v1/reporting/formalities", reporting, methods=["POST"]),
        *[Route(f"/api/v1/reporting/evaluation/{e}", reporting, methods=["POST"]) for e in ENDPOINTS],
    ]
    return serve("National portal sandbox", routes, faults)
