"""VNPT iGate 2.0 ("padman"), the dossier system of most provinces.

What it publishes: dossiers by search (a page with a total, or a slice without one) and one dossier's detail.
How it misbehaves: no way to ask what changed since a moment, so a run takes every window the search offers
and reads again each dossier the warehouse still holds as open; tokens expire mid-run; ``-to`` bounds are
inclusive; two date forms; booleans and flags as text. Whom to call: the VNPT office of the province.

Seen in public clients: the search parameters and the search item. Guessed: `GUESSED_DETAIL`, the part of
the detail beyond the search item, and the sign-in grant. All guesses stand in this module and nowhere else.
"""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any, ClassVar
from urllib.parse import quote

from connectors.base import Chunk, Interval, SourceChanged
from connectors.bulk import Shape
from connectors.contract import required
from connectors.dossiers import Detail, DossierSystem
from connectors.mapping import Path

_LEVELS = {"4": "full", "3": "partial", "2": "information", 4: "full", 3: "partial", 2: "information"}

#: Fields of the search item, seen in several clients.
_ITEM: dict[str, str | Path] = {
    "dossier_id": "id",
    "dossier_code": "code",
    "national_code": "nationCode",
    "procedure_code": "procedure.code",
    "procedure_name": "procedure.translate[vi]",
    "sector_code": "procedure.sector.code",
    "sector_name": "procedure.sector.name[vi]",
    "service_level": Path("procedureLevel.code", _LEVELS),
    "applicant_id_number": "applicant.data.identityNumber",
    "applicant_name": "applicant.data.ownerFullname",
    "subject_line": "applicant.data.noidungyeucaugiaiquyet",
    "receiving_agency_code": "agency.code",
    "receiving_officer_name": "accepter.fullname",
    "received_at": "acceptedDate",
    "due_at": "appointmentDate",
    "status_code": "dossierStatus.id",
    "status_name": "dossierStatus.name[vi]",
}
#: Fields of the detail that no public source shows: our guess, to be checked against a real installation.
GUESSED_DETAIL: dict[str, str | Path] = {
    "previous_code": "previousCode",
    "channel": Path("applyMethod.id", {0: 1, 1: 2, 2: 3}),
    "applicant_type": "applicant.type",
    "applicant_birth_year": "applicant.data.birthday",
    "applicant_phone": "applicant.data.phoneNumber",
    "applicant_email": "applicant.data.email",
    "applicant_address": "applicant.data.address",
    "applicant_commune_code": "applicant.data.village.code",
    "responsible_agency_code": "processingAgency.code",
    "submitted_at": "appliedDate",
    "completed_at": "completedDate",
    "returned_at": "returnedDate",
    "supplement_count": "supplementCount",
    "is_vneid_account": "vneidVerified",
    "online_payment_code": "onlinePayment",
}
_DOSSIER = {**_ITEM, **GUESSED_DETAIL}
#: Known, and not needed.
_IGNORED = (
    "procedure.id",
    "procedure.sector.id",
    "accepter.id",
    "currentTask",
    "eForm",
    "agency.id",
    "agency.name",
    "agency.parent",
    "agency.ancestors",
    "dossierTaskStatus",
    "procedureLevel.id",
    "procedureLevel.name",
    "applyMethod.name",
    "processingAgency.id",
    "processingAgency.name",
    "applicant.data.village.name",
)
_METHODS = {"truc-tuyen": "online", "tien-mat": "cash", "chuyen-khoan": "transfer"}
#: table -> (list in the detail, mapping, ignored); guessed like GUESSED_DETAIL.
_CHILDREN: dict[str, tuple[str, dict[str, str | Path], tuple[str, ...]]] = {
    "dossier_step": (
        "task",
        {
            "step_no": "order",
            "step_name": "name",
            "agency_code": "agency.code",
            "officer_name": "assignee.fullname",
            "started_at": "startDate",
            "due_at": "dueDate",
            "finished_at": "completedDate",
            "status_code": "statusId",
            "note": "opinion",
        },
        ("agency.id", "agency.name", "assignee.id"),
    ),
    "dossier_paper": (
        "dossierFormFile",
        {
            "paper_no": "order",
            "paper_code": "code",
            "paper_name": "name",
            "is_result": "isResult",
            "is_digitised": "digitised",
            # "2" means reused from another dossier of the same person: reused all the same.
            "is_reused": Path("reused", {"2": "1", 2: 1}),
            "is_from_personal_storage": "fromPersonalStorage",
            "file_name": "file.filename",
            "file_url": "file.url",
        },
        (),
    ),
    "dossier_fee": (
        "dossierFee",
        {
            "fee_no": "order",
            "fee_kind": "type",
            "fee_name": "name",
            "amount_vnd": "amount",
            "payment_method": Path("method", _METHODS),
            "paid_at": "paidDate",
        },
        (),
    ),
}
_AGENCY: dict[str, str | Path] = {
    "agency_code": "code",
    "agency_name": "name[vi]",
    "parent_agency_code": "parent.code",
    "agency_level": "level",
    "unit_code": "unitCode",
}


@functools.cache
def _shape() -> Shape:
    lists = [
        (key, Shape(table, m, ignored, required(table))) for table, (key, m, ignored) in _CHILDREN.items()
    ]
    return Shape("dossier", _DOSSIER, _IGNORED, required("dossier"), lists)


class IGate(DossierSystem):
    """One iGate installation."""

    dialect = "igate"
    #: All but returned (5), withdrawn (6), stopped (8) and refused (9).
    open_statuses = ("0", "1", "2", "3", "4")
    windows = ("accepted", "appointment", "result-returned")
    #: A migrated dossier alone has previousCode.
    optional = ("previous_code",)
    own_options: ClassVar[tuple[str, ...]] = (*DossierSystem.own_options, "spec")
    token_path: ClassVar[str] = "/auth/realms/digo/protocol/openid-connect/token"  # noqa: S105 - a path

    @staticmethod
    def shape() -> Shape:
        """The shape of a detail with its lists; made once."""
        return _shape()

    def login(self) -> str:
        """A token of the realm; [guess] client credentials."""
        answer = self.call(
            "POST",
            self.token_path,
            form={
                "grant_type": "client_credentials",
                "client_id": self.endpoint.login,
                "client_secret": self.endpoint.secret,
            },
            signed=False,
        )
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not token:
            raise SourceChanged(self._say("POST", self.token_path, "the answer holds no access_token"))
        return str(token)

    # --- reading -------------------------------------------------------------------------------------

    def announces(self) -> bool:
        """Whether this installation gives pages, which have a total, and not slices."""
        return self.endpoint.options.get("spec", "page") == "page"

    def window(self, name: str, interval: Interval) -> tuple[int | None, list[str], int | None]:
        """(announced by the first page, identifiers of all pages, announced by the last) of one window."""
        spec = "page" if self.announces() else "slice"
        params = {
            f"{name}-from": _iso(interval.start),
            # The upper bound is inclusive; our intervals are half-open.
            f"{name}-to": _iso(interval.end - dt.timedelta(milliseconds=1)),
            "spec": spec,
            "size": self.page_size,
            "sort": "appointmentDate,asc",
            "remove-status": "0",
        }
        path = "/pa/dossier/search"

        def read(page: int) -> tuple[list[str], int | None]:
            content, total = self._page(path, {**params, "page": page})
            if not self.announces():
                total = None
            elif total is None:
                raise SourceChanged(
                    self._say("GET", path, "a page without totalElements")
                    + " If this installation only gives slices, set spec: slice for this source."
                )
            return self.keys_of("GET", path, content), total  # ids only: a year's items would fill memory

        return self.read_pages(read)

    def _page(self, path: str, params: dict[str, Any]) -> tuple[list[Any], int | None]:
        answer = self.call("GET", path, params=params)
        content = answer.get("content") if isinstance(answer, dict) else None
        if not isinstance(content, list):
            raise SourceChanged(self._say("GET", path, "the answer holds no content list"))
        total = answer.get("totalElements")
        return content, total if type(total) is int else None

    def detail(self, dossier_id: str) -> Detail | None:
        """One dossier; None if the source no longer has it."""
        path = f"/pa/dossier/{quote(dossier_id, safe='')}/--online"
        return self.call("GET", path, absent=frozenset({404}), read=self.read)

    def agencies(self) -> Chunk:
        """All agencies of the installation."""
        records: list[Any] = []
        path = "/ba/agency/name+code"

        def read() -> tuple[int | None, list[str], int | None]:
            records.clear()

            def page_of(page: int) -> tuple[list[str], int | None]:
                content, total = self._page(path, {"page": page, "size": self.page_size})
                records.extend(content)
                return self.keys_of("GET", path, content), total

            return self.read_pages(page_of)

        self.counted_window("agencies", read)
        self.report.counts["agency"].announced = self.report.windows[-1]["announced_after"]
        chunk = Chunk()
        self.take(chunk, "agency", records, _AGENCY, ("id", "parent.id"))
        return chunk


def _iso(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
