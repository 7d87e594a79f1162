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
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec
import numpy as np
import orjson
import pyarrow as pa

from connectors.base import Chunk, Connector, Quarantined, Request, SourceChanged
from connectors.bulk import Layout, NotOfThisShape, Shape
from connectors.contract import required
from connectors.mapping import Path, flatten, listed, undeclared
from connectors.typing import MISSING

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


#: A migrated dossier alone has previousCode; absent is not missing.
_OPTIONAL = ("previous_code",)


@functools.cache
def detail_shape() -> Shape:
    """The shape of a detail, with its three lists."""
    lists = [
        (key, Shape(table, m, ignored, required(table))) for table, (key, m, ignored) in _CHILDREN.items()
    ]
    return Shape("dossier", _DOSSIER, _IGNORED, required("dossier"), lists)


class Detail(msgspec.Struct, gc=False):
    """One dossier as received, and decoded where it is odd (see `connectors.bulk`)."""

    content: bytes
    record: dict[str, Any] | None = None

    @classmethod
    def read(cls, content: bytes, layout: Layout | None = None) -> Detail:
        """JSONDecodeError if the answer is cut. What is no dossier lacks everything."""
        if layout is not None and layout.accepts(content):
            return cls(content)
        answer = orjson.loads(content)
        return cls(content, answer if isinstance(answer, dict) else {})

    def entry(self, key: str, index: int) -> Any:
        """The record, or one entry of its list `key`: decoded once more, for the few that are rejected."""
        record = orjson.loads(self.content)
        return listed(record[key])[index] if key else record


@dataclass
class _Origin(Sequence[Any]):
    """The record that each row of a table came from."""

    ids: list[str]
    details: Sequence[Detail | None]
    key: str
    owners: np.ndarray

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, position: Any) -> Any:
        owner = int(self.owners[position])
        detail = self.details[owner]
        if detail is None:
            return {"id": self.ids[owner]}
        return detail.entry(self.key, position - int(np.searchsorted(self.owners, owner)))


class IGate(Connector):
    """Dossiers, their steps, papers and fees, and the agencies of one iGate installation."""

    dialect = "igate"
    tables = ("agency", "dossier", "dossier_step", "dossier_paper", "dossier_fee")
    #: All but returned (5), withdrawn (6), stopped (8) and refused (9).
    open_statuses = ("0", "1", "2", "3", "4")
    #: 401, 429 and 5xx are the base's; public clients of iGate read for up to 180 s.
    read_timeout: ClassVar[float] = 180.0
    token_path: ClassVar[str] = "/auth/realms/digo/protocol/openid-connect/token"  # noqa: S105 - a path
    #: The three windows the search offers. A dossier may stand in several; it is read once.
    windows: ClassVar[tuple[str, ...]] = ("accepted", "appointment", "result-returned")
    #: So many details show the form of each value; they are read one after another.
    learn_from: ClassVar[int] = 40
    _layout: Layout | None = None

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

    def chunks(self, request: Request) -> Iterator[Chunk]:
        """Agencies first, then every dossier of the windows and every one still open, each once."""
        yield self._agencies()
        count = self.report.counts["dossier"]
        wanted: dict[str, None] = {}
        announced = 0
        start = request.interval.start - self.margin
        for window in self.windows:
            keys = self.counted_window(
                f"{window} in the interval",
                lambda w=window: self._window(w, start, request.interval.end),  # type: ignore[misc]
            )
            announced += len(keys)
            wanted.update(dict.fromkeys(keys))
        asked = list(request.still_open())
        announced += len(asked)
        wanted.update(dict.fromkeys(asked))
        if asked:
            self.report.windows.append({"window": "still open in the warehouse", "asked": len(asked)})
        count.announced = announced if self._announces() else None
        count.duplicates += announced - len(wanted)
        ids = list(wanted)
        wanted.clear()
        # The first few are read leniently and show in which form this installation sends each value.
        first = ids[: self.learn_from]
        details = [self._detail(i) for i in first]
        self._layout = detail_shape().learn([d.record for d in details if d is not None])
        yield self._chunk(first, details)
        parts = [ids[p : p + self.chunk_size] for p in range(len(first), len(ids), self.chunk_size)]
        done = len(first)
        for part, details in zip(parts, self.calls_ahead(self._detail, parts), strict=True):
            done += len(part)
            yield self._chunk(part, details)
            request.on_progress(f"{self.source_code}: {done:,} of {len(ids):,} dossiers")

    # --- reading -------------------------------------------------------------------------------------

    def _announces(self) -> bool:
        return self.endpoint.options.get("spec", "page") == "page"

    def _window(
        self, window: str, start: dt.datetime, end: dt.datetime
    ) -> tuple[int | None, list[str], int | None]:
        spec = "page" if self._announces() else "slice"
        params = {
            f"{window}-from": _iso(start),
            # The upper bound is inclusive; our intervals are half-open.
            f"{window}-to": _iso(end - dt.timedelta(milliseconds=1)),
            "spec": spec,
            "size": self.page_size,
            "sort": "appointmentDate,asc",
            "remove-status": "0",
        }
        path = "/pa/dossier/search"

        def read(page: int) -> tuple[list[str], int | None]:
            content, total = self._page(path, {**params, "page": page})
            if not self._announces():
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

    def _detail(self, dossier_id: str) -> Any:
        path = f"/pa/dossier/{quote(dossier_id, safe='')}/--online"
        return self.call("GET", path, absent=frozenset({404}), read=self._read)

    def _read(self, content: bytes) -> Detail:
        return Detail.read(content, self._layout)

    def _agencies(self) -> Chunk:
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

    # --- typing --------------------------------------------------------------------------------------

    def _chunk(self, ids: list[str], details: Sequence[Detail | None]) -> Chunk:
        chunk = Chunk()
        clean = [p for p, d in enumerate(details) if d is not None and d.record is None]
        if clean and self._layout is not None:
            try:
                found = self._layout.read([d.content for p in clean if (d := details[p])])
            except NotOfThisShape:
                details = [d and Detail.read(d.content) for d in details]
                clean = []
            else:
                part = [ids[p] for p in clean], [details[p] for p in clean]
                self._part(chunk, *part, {t: (r.columns, r.owners) for t, r in found.items()})
        if len(clean) < len(ids):
            taken = set(clean)
            odd = [p for p in range(len(ids)) if p not in taken]
            self._odd(chunk, [ids[p] for p in odd], [details[p] for p in odd])
        return chunk

    def _odd(self, chunk: Chunk, ids: list[str], details: Sequence[Detail | None]) -> None:
        """Dossiers that do not keep to the shape, or that the source no longer has."""
        shape = detail_shape()
        records = [{"id": i} if d is None else d.record or {} for i, d in zip(ids, details, strict=True)]
        columns, _ = flatten(records, shape.mapping)
        for name in _OPTIONAL:
            columns[name] = [None if v is MISSING else v for v in columns[name]]
        found: dict[str, tuple[Any, np.ndarray]] = {"dossier": (columns, np.arange(len(ids)))}
        self._quarantine_undeclared(chunk, "dossier", shape, ids, records)
        for key, entry in shape.lists.items():
            lists = [listed(r.get(key)) for r in records]
            owners = np.repeat(np.arange(len(ids)), [len(entries) for entries in lists])
            flat = list(chain.from_iterable(lists))
            found[entry.table] = (flatten(flat, entry.mapping)[0], owners)
            self._quarantine_undeclared(chunk, entry.table, entry, [ids[o] for o in owners], flat)
        self._part(chunk, ids, details, found)

    def _part(
        self,
        chunk: Chunk,
        ids: list[str],
        details: Sequence[Detail | None],
        found: dict[str, tuple[dict[str, Any], np.ndarray]],
    ) -> None:
        """Type dossiers and what belongs to them; `found` is {table: (columns, position of each row's dossier)}."""
        shape = detail_shape()
        columns, owners = found["dossier"]
        own_ids = columns["dossier_id"]
        # A dossier the source no longer has keeps its place, so that the balance stays honest.
        gone = {p: "the source no longer has this dossier" for p, d in enumerate(details) if d is None}
        answered = own_ids.to_pylist() if isinstance(own_ids, pa.Array) else own_ids
        gone |= {
            p: "the source answered with another dossier"
            for p, (asked, own) in enumerate(zip(ids, answered, strict=True))
            if isinstance(own, str) and own != asked
        }
        origin = _Origin(ids, details, "", owners)
        bad = {r.position for r in self.typed(chunk, "dossier", columns, origin, shape.paths, gone).rejects}
        for key, entry in shape.lists.items():
            columns, owners = found[entry.table]
            columns["dossier_id"] = (
                own_ids.take(pa.array(owners))
                if isinstance(own_ids, pa.Array)
                else [own_ids[o] for o in owners]
            )
            refused = {p: "its dossier was rejected" for p, o in enumerate(owners) if o in bad} if bad else {}
            paths = {c: f"{key}[].{p}" for c, p in entry.paths.items()}
            self.typed(chunk, entry.table, columns, _Origin(ids, details, key, owners), paths, refused)

    def _quarantine_undeclared(
        self, chunk: Chunk, table: str, shape: Shape, ids: Sequence[str], records: Sequence[Any]
    ) -> None:
        for position, extra in undeclared(records, shape.known, Counter()):
            self.report.counts[table].undeclared.update(dict.fromkeys(extra, 1))
            chunk.quarantine.append(
                Quarantined(
                    table, {"dossier_id": ids[position]}, ", ".join(extra), "undeclared", orjson.dumps(extra)
                )
            )


def _iso(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
