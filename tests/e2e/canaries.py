"""A tiny iGate whose dossiers hold known personal values of every class; some records break their contract."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: One value for each class of personal data; all invented (003 is assigned to no province, 04 to no network).
CANARIES = {
    "identity number": "003099000001",
    "name": "Nguyễn Thị Chim Khuyên",
    "phone": "0499000001",
    "e-mail": "chim_khuyen.0001@example.vn",
    "address": "Số 77/7, ấp Chim Khuyên",
    "birth date": "28/02/1999",
    "receiving officer": "Lê Thị Chào Mào",
    "officer of a step": "Trần Văn Sáo Sậu",
    "free text": "xin xác nhận cho cháu Vàng Anh ở nhà bà ngoại",
    "note of a step": "đã gọi điện cho bà Bìm Bịp hai lần",
    "file name": "don_xin_chim_khuyen.pdf",
    "undeclared column": "Phạm Thị Chim Én",
    "rejected record": "Võ Thị Chim Cút",
    "rejected step": "Đặng Văn Chìa Vôi",
}
#: What nobody may keep, by the key it is sent under: not even the vault's quarantine holds it.
DROPPED = {
    "motherName": "Phạm Thị Chim Gáy",
    "sodinhdanhCha": "003099000002",
    "tonGiao": "Đạo Chim Gõ Kiến",
    "Dân tộc": "Dân tộc Bồ Nông",
}
GOOD = 120
AGENCY = {"id": "a" * 24, "code": "000.00.14.H58"}
NAMED_AGENCY = {**AGENCY, "name": [{"languageId": 228, "name": "UBND huyện Cái Bè"}]}


def dossier(number: int, **changes: Any) -> dict[str, Any]:
    c = CANARIES
    words = [{"languageId": 228, "name": "Đang xử lý"}]
    return {
        "id": f"{number:024x}", "code": f"000.00.14.H58-250630-{number:04d}", "nationCode": None,
        "procedure": {
            "id": "b" * 24, "code": "1.001193",
            "translate": [{"languageId": 228, "name": "Thủ tục đăng ký khai sinh"}],
            "sector": {"id": "c" * 24, "code": "G15-HT", "name": [{"languageId": 228, "name": "Hộ tịch"}]},
        },
        "applicant": {
            "type": 1,
            "data": {
                "ownerFullname": c["name"], "identityNumber": c["identity number"], "birthday": c["birth date"],
                "phoneNumber": c["phone"], "email": c["e-mail"], "address": c["address"],
                "village": {"code": "28360", "name": "Xã Mỹ Lợi A"}, "noidungyeucaugiaiquyet": c["free text"],
            },
        },
        "accepter": {"id": "d" * 24, "fullname": c["receiving officer"]},
        "appliedDate": "2025-06-30T08:00:00.000+0700", "acceptedDate": "2025-06-30T08:12:33.000+0700",
        "appointmentDate": "2025-07-04T17:00:00.000+0700", "completedDate": None, "returnedDate": None,
        "currentTask": [], "agency": {**NAMED_AGENCY, "parent": None, "ancestors": []},
        "dossierStatus": {"id": 2, "name": words}, "dossierTaskStatus": {"id": "e" * 24, "name": words},
        "procedureLevel": {"id": "f" * 24, "code": "4", "name": words},
        "applyMethod": {"id": 0, "name": "Trực tiếp"}, "processingAgency": NAMED_AGENCY, "supplementCount": 0,
        "vneidVerified": "true", "onlinePayment": "0",
        "task": [step(1)],
        "dossierFormFile": [
            {"order": 1, "code": "G1", "name": "Tờ khai", "isResult": False, "digitised": "1", "reused": "0",
             "fromPersonalStorage": "0", "file": {"filename": c["file name"], "url": f"/fi/file/{c['file name']}"}}
        ],
        "dossierFee": [
            {"order": 1, "type": 2, "name": "Lệ phí", "amount": 5000, "method": "tien-mat", "paidDate": None}
        ],
        **changes,
    }  # fmt: skip


def step(order: int, **changes: Any) -> dict[str, Any]:
    return {
        "order": order, "name": "Tiếp nhận", "agency": AGENCY,
        "assignee": {"id": "d" * 24, "fullname": CANARIES["officer of a step"]},
        "startDate": "2025-06-30T08:12:33.000+0700", "dueDate": None, "completedDate": None, "statusId": 2,
        "opinion": CANARIES["note of a step"], **changes,
    }  # fmt: skip


def dossiers(bad: int) -> dict[str, dict[str, Any]]:
    """`GOOD` dossiers, and `bad` ones whose date is a person's name; each refusal must not repeat it."""
    found = [dossier(n) for n in range(GOOD)]
    found[0]["applicant"]["data"] |= {"nickname": CANARIES["undeclared column"], **DROPPED}
    late = step(
        2, startDate=CANARIES["rejected step"], assignee={"id": "1", "fullname": CANARIES["rejected step"]}
    )
    found[1]["task"].append(late)
    for n in range(GOOD, GOOD + bad):
        refused = dossier(n, acceptedDate=f"{CANARIES['rejected record']} 31/02/2025")
        refused["applicant"]["data"] |= {"ownerFullname": CANARIES["rejected record"], **DROPPED}
        refused["eForm"] = {
            "data": DROPPED,
            "fields": [{"label": "Họ tên mẹ", "value": DROPPED["motherName"]}],
        }
        found.append(refused)
    return {d["id"]: d for d in found}


@contextmanager
def canary_server(bad: int) -> Iterator[str]:
    """Serve `dossiers(bad)` on loopback; the address."""
    held = dossiers(bad)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._json(
                {"access_token": "canary-token-0123456789", "token_type": "Bearer", "expires_in": 3600}
            )

        def do_GET(self) -> None:
            where = urlsplit(self.path)
            asked = parse_qs(where.query)
            page = int(asked.get("page", ["0"])[0])
            if where.path == "/pa/dossier/search":
                self._page(list(held.values()) if "accepted-from" in asked else [], page)
            elif where.path == "/ba/agency/name+code":
                self._page([{**NAMED_AGENCY, "level": "DISTRICT", "parent": None, "unitCode": "00817"}], page)
            else:
                self._json(held[where.path.split("/")[3]])

        def _page(self, items: list[Any], page: int) -> None:
            part = items if page == 0 else []
            self._json(
                {"content": part, "totalElements": len(items), "totalPages": 1, "number": page, "size": 200,
                 "numberOfElements": len(part), "first": page == 0, "last": True, "empty": not part}
            )  # fmt: skip

        def _json(self, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
