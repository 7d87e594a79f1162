"""OpenCPS 2, the open-source dossier system that old Đồng Tháp ran until 30/6/2025.

What it publishes: dossiers by list (`start`, `end`, a total) and one dossier's detail.
How it misbehaves: windows are whole days, both ends included, and a date in any other form than dd/MM/yyyy is no
filter at all; there is no way to ask what changed since a moment, so a run takes every window the list offers and
reads again each dossier the warehouse still holds as open; `start` past the end gives the last page once more
(Liferay's paging); the header `groupId` chooses the site, and a wrong one answers with an empty list; names of
applicants come in capitals, numbers and booleans as text, no date as "". Whom to call: the province's operator.

Seen in the product's published source (release 3.1, 2020): sign-in, both lists, their paging, the list's fields, the
detail's path. Guessed: `GUESSED_DETAIL` and the lists of `_CHILDREN`; the product gives steps, papers and payments by
three calls of their own, which would be four calls a dossier. All guesses stand in this module and nowhere else. The
names of states and their national codes stand in `dbt/seeds/source_status.csv`.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
from typing import Any
from urllib.parse import quote

import orjson
import pyarrow as pa
import requests

from connectors.base import Chunk, Interval, SourceChanged, SourceRefused
from connectors.bulk import Shape
from connectors.contract import required
from connectors.dossiers import Detail, DossierSystem
from connectors.mapping import Path
from connectors.typing import MISSING, VIETNAM

BASE = "/o/rest/v2"
_LEVELS = {v: name for n, name in ((4, "full"), (3, "partial"), (2, "information")) for v in (n, str(n))}

#: Fields of the list's item and of the detail's model, seen in the source.
_ITEM: dict[str, str | Path] = {
    "dossier_id": "dossierId",
    "dossier_code": "dossierNo",
    "procedure_code": "serviceCode",
    "procedure_name": "serviceName",
    "sector_code": "domainCode",
    "sector_name": "domainName",
    "service_level": Path("serviceLevel", _LEVELS),
    "applicant_type": Path("applicantIdType", {"citizen": 1, "business": 2}),
    "applicant_id_number": "applicantIdNo",
    "applicant_name": "applicantName",
    "applicant_phone": "contactTelNo",
    "applicant_email": "contactEmail",
    "applicant_address": "address",
    "applicant_commune_code": "wardCode",
    # The product sends it to the national portal as TrichYeuHoSo.
    "subject_line": "dossierNote",
    "responsible_agency_code": "govAgencyCode",
    "submitted_at": "submitDate",
    "received_at": "receiveDate",
    "due_at": "dueDate",
    # To the national portal: NgayKetThucXuLy and NgayTra.
    "completed_at": "releaseDate",
    "returned_at": "finishDate",
    "status_code": "dossierStatus",
    "status_name": "dossierStatusText",
    # Of these two the channel is made.
    "_online": "online",
    "_by_post": "fromViaPostal",
}
#: Our guess, to be checked against a real installation: who received, and what else the contract wants. That the
#: detail holds sector and level, which the product shows in its list alone, is a guess as well.
GUESSED_DETAIL: dict[str, str | Path] = {
    "national_code": "dossierIdCTN",
    "receiving_agency_code": "receiveAgencyCode",
    "receiving_officer_name": "receiveUser",
    "applicant_birth_year": "applicantBirthDate",
    "supplement_count": "correctingCount",
    "is_vneid_account": "vneidVerified",
    "online_payment_code": "onlinePayment",
}
_DOSSIER = {**_ITEM, **GUESSED_DETAIL}
#: Known, and not needed.
_IGNORED = (
    "groupId",
    "referenceUid",
    "govAgencyName",
    "receiveAgencyName",
    "cityCode",
    "cityName",
    "districtCode",
    "districtName",
    "wardName",
    "extendDate",
    "cancellingDate",
    "dossierSubStatus",
    "dossierSubStatusText",
    "dossierOverdue",
    "viaPostal",
    "originality",
    "systemId",
)
_METHODS = {"Keypay": "online", "Tiền mặt": "cash", "Chuyển khoản": "transfer"}
#: table -> (list in the detail, mapping); the lists are guessed, many of their keys seen in calls of their own.
_CHILDREN: dict[str, tuple[str, dict[str, str | Path]]] = {
    "dossier_step": (
        "sequences",
        {
            "step_no": "sequenceNo",
            "step_name": "sequenceName",
            "agency_code": "govAgencyCode",
            "officer_name": "actionUser",
            "started_at": "startDate",
            "due_at": "dueDate",
            "finished_at": "endDate",
            "status_code": "dossierStatus",
            "note": "actionNote",
        },
    ),
    "dossier_paper": (
        "files",
        {
            "paper_no": "dossierPartNo",
            "paper_code": "fileTemplateNo",
            "paper_name": "dossierPartName",
            "is_result": Path("dossierPartType", {1: False, 2: True}),
            "is_digitised": "digitised",
            "is_reused": "reused",
            "is_from_personal_storage": "fromStorage",
            "file_name": "displayName",
            "file_url": "fileUrl",
        },
    ),
    "dossier_fee": (
        "payments",
        {
            "fee_no": "paymentNo",
            "fee_kind": "feeType",
            "fee_name": "paymentFee",
            "amount_vnd": "feeAmount",
            "payment_method": Path("paymentMethod", _METHODS),
            "paid_at": "confirmDatetime",
        },
    ),
}
_AGENCY: dict[str, str | Path] = {
    "agency_code": "itemCode",
    "agency_name": "itemName",
    "parent_agency_code": "parentItem.itemCode",
    # [guess] what a province keeps in the dictionary's free JSON.
    "agency_level": "metaData.level",
    "unit_code": "metaData.unitCode",
}
_AGENCY_IGNORED = (
    "dictItemId",
    "itemNameEN",
    "itemDescription",
    "level",
    "sibling",
    "treeIndex",
    "createDate",
    "modifiedDate",
    "groups",
    "parentItem.itemName",
    "parentItem.itemNameEN",
)


@functools.cache
def _shape() -> Shape:
    lists = [
        (key, Shape(table, m, ("paymentStatus",), required(table))) for table, (key, m) in _CHILDREN.items()
    ]
    return Shape("dossier", _DOSSIER, _IGNORED, required("dossier"), lists)


class OpenCPS(DossierSystem):
    """One OpenCPS installation."""

    dialect = "opencps"
    #: All but done, denied, unresolved and cancelled.
    open_statuses = (
        "new", "collecting", "receiving", "waiting", "processing", "pausing", "paying", "correcting",
        "cancelling", "handover", "releasing", "posting", "interoperating",
    )  # fmt: skip
    windows = ("Receive", "Due", "Release", "Finish")
    own_options = (*DossierSystem.own_options, "group_id")

    @staticmethod
    def shape() -> Shape:
        """The shape of a detail with its lists; made once."""
        return _shape()

    def _session(self) -> requests.Session:
        session = super()._session()
        if "groupId" not in session.headers:
            group = self.endpoint.options.get("group_id")
            if group is None:
                raise SourceRefused(
                    f"{self.source_code}: looked for group_id, the number of the province's site, in this source's "
                    "options in ops/sources.yml; ask the operator for it."
                )
            credentials = f"{self.endpoint.login}:{self.endpoint.secret}".encode()
            session.headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
            session.headers["groupId"] = str(group)
        return session

    def derive(self, table: str, columns: dict[str, Any]) -> None:
        """The channel, which this product says in two fields."""
        if table == "dossier":
            pair = (_plain(columns.pop(name)) for name in ("_online", "_by_post"))
            columns["channel"] = list(map(_channel, *pair))

    # --- reading -------------------------------------------------------------------------------------

    def window(self, name: str, interval: Interval) -> tuple[int | None, list[str], int | None]:
        """(announced by the first page, identifiers of all pages, announced by the last) of whole days."""
        first = interval.start.astimezone(VIETNAM)
        last = (interval.end - dt.timedelta(microseconds=1)).astimezone(VIETNAM)
        bounds = {f"from{name}Date": f"{first:%d/%m/%Y}", f"to{name}Date": f"{last:%d/%m/%Y}"}
        return self._list("/dossiers", "dossierId", bounds)

    def _list(
        self, place: str, key: str, params: dict[str, str], keep: list[Any] | None = None
    ) -> tuple[int | None, list[str], int | None]:
        """(announced by the first page, keys of all pages, announced by the last); rows go to `keep`."""
        path, size = BASE + place, self.page_size
        before: list[str] = []

        def read(page: int) -> tuple[list[str], int | None]:
            bounds = {"start": page * size, "end": (page + 1) * size}
            answer = self._call(path, params={**params, **bounds, "sort": "createDate", "order": "false"})
            rows = answer.get("data") if isinstance(answer, dict) else None
            total = answer.get("total") if isinstance(answer, dict) else None
            if not isinstance(rows, list) or type(total) is not int:
                raise SourceChanged(self._say("GET", path, "the answer holds no data list with its total"))
            keys = self.keys_of("GET", path, [_with_text(row, key) for row in rows], key)
            if page and bounds["start"] >= total and keys == before:
                return [], total  # past the end, which shows as the last page once more
            before[:] = keys
            if keep is not None:
                keep.extend(rows)
            return keys, total

        return self.read_pages(read)

    def _call(self, path: str, **words: Any) -> Any:
        # Every call carries user and password itself; there is nothing to sign in to again.
        return self.call("GET", path, signed=False, **words)

    def detail(self, dossier_id: str) -> Detail | None:
        """One dossier; None if the source no longer has it."""
        path = f"{BASE}/dossiers/{quote(dossier_id, safe='')}"
        return self._call(path, absent=frozenset({404}), read=self.read)

    def agencies(self) -> Chunk:
        """All agencies of the installation."""
        rows: list[Any] = []
        place = "/dictcollections/GOVERNMENT_AGENCY/dictitems"

        def read() -> tuple[int | None, list[str], int | None]:
            rows.clear()
            return self._list(place, "itemCode", {}, rows)

        self.counted_window("agencies", read)
        if not rows:
            raise SourceRefused(
                self._say("GET", BASE + place, "the site has no agencies at all")
                + " Compare group_id of this source in ops/sources.yml with the operator's: a wrong one answers so."
            )
        self.report.counts["agency"].announced = self.report.windows[-1]["announced_after"]
        chunk = Chunk()
        self.take(chunk, "agency", [_agency(row) for row in rows], _AGENCY, _AGENCY_IGNORED)
        return chunk


def _with_text(row: Any, key: str) -> Any:
    """`row` with its number `key` as text, as the warehouse keeps identifiers."""
    if isinstance(row, dict) and type(row.get(key)) is int:
        row[key] = str(row[key])
    return row


def _agency(row: Any) -> Any:
    """An entry of the dictionary with its one parent out of the list and its metaData out of the text."""
    if not isinstance(row, dict):
        return row
    parents, extra = row.get("parentItem"), row.get("metaData")
    try:
        extra = orjson.loads(extra) if isinstance(extra, str) else extra
    except orjson.JSONDecodeError:
        extra = None
    parent = parents[0] if isinstance(parents, list) and parents else None
    return {**row, "parentItem": parent, "metaData": extra}


def _channel(online: Any, by_post: Any) -> int | None:
    """1 in person, 2 online, 3 post; None where the source says nothing of it."""
    if online is MISSING or online is None:
        return None
    if str(online).strip().lower() in ("true", "1"):
        return 2
    return 3 if str(by_post).strip() == "1" else 1


def _plain(values: Any) -> list[Any]:
    return values.to_pylist() if isinstance(values, pa.Array) else values
