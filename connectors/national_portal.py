"""The national public-service portal (Cổng DVCQG), public REST API of the 2026 site.

What it publishes: the procedure catalogue (a cursor list, one detail a procedure) and the QĐ 766 evaluation
(one answer holds a unit and all its children). How it misbehaves: success is HTTP 201; errors come as an
HTML page with status 200 or 403; no "changed since"; an unaccepted unit is answered with the country, so
the unit in the answer is checked each time; ``formalityId`` and ``formalityID``; two of six groups leave
departmentCode out; null differs from 0. Whom to call: Văn phòng Chính phủ, which also gives the official
channel; until then the pace is one call a second, in sequence.

Shapes: captures of September 2026 (see NOTICE); `provide-online-tree`, `formality-online-payment-tree`,
`handling-satisfaction` and `dossier-digitized` follow contract notes of public clients.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from connectors.base import (
    Chunk,
    Connector,
    PagingError,
    Request,
    SourceChanged,
    SourceRefused,
    SourceUnavailable,
)
from connectors.mapping import Path, flatten
from connectors.typing import MISSING

_CHANNELS = {"DIRECT": 1, "ONLINE": 2, "POSTAL": 3, "OTHER": None}
_PROCEDURE: dict[str, str | Path] = {
    "procedure_id": "id",
    "procedure_code": "code",
    "procedure_name": "name",
    "state": "state",
    "procedure_type": "type",
    "sector_code": "category.code",
    "sector_name": "category.name",
    "issuing_agency_code": "departmentPromulgateCode",
    "issuing_agency_name": "departmentPromulgateName",
    "is_ministry_level": "isMinistry",
    "is_province_level": "isProvince",
    "is_commune_level": "isWard",
    "decision_number": "procedureProposal.proposalNumber",
    "source_created_at": "createdAt",
    "source_updated_at": "updatedAt",
}
_METHOD: dict[str, str | Path] = {
    "channel": Path("submissionMethod", _CHANNELS),
    "duration": "processingTime",
    "duration_unit": "processingTimeUnit",
}

#: endpoint -> (shape, page size the site itself uses, key of the procedure filter)
EVALUATIONS: dict[str, tuple[str, int | None, str | None]] = {
    "service-results": ("ranking", None, None),
    "transparency": ("metrics", 200, "formalityId"),
    "handling-satisfaction": ("metrics", 200, None),
    "dossier-digitized": ("metrics", 200, "formalityID"),
    "dvc-progress-tree": ("progress", 100, "formalityId"),
    "provide-online-tree": ("online", 200, "formalityId"),
    "formality-online-payment-tree": ("payment", 100, "formalityId"),
}
_PERIOD = re.compile(r"(?P<year>\d{4})(?:-Q(?P<quarter>[1-4])|-(?P<month>0[1-9]|1[0-2]))?")
_SPAN = re.compile(r"(\d{4}-\d{2}-\d{2})/(\d{4}-\d{2}-\d{2})")
NATIONAL = "national"


class PeriodError(SourceRefused, ValueError):
    """A period is written in a form the evaluation API has no words for."""


@dataclass(frozen=True)
class Evaluation:
    """One question to the evaluation API: endpoint, period, unit, and a procedure where wanted.

    `period` is ``2026``, ``2026-Q3``, ``2026-08``, or for handling-satisfaction also ``from/to`` in days.
    `root` is the portal's UUID of the unit, or ``national`` for the ranking of provinces.
    """

    endpoint: str
    period: str
    root: str = NATIONAL
    formality_id: str | None = None

    def body(self) -> dict[str, Any]:
        """The JSON body the portal expects; PeriodError where it has no words for the period."""
        if self.endpoint not in EVALUATIONS:
            raise PeriodError(f"evaluation endpoint {self.endpoint!r} is not one of {', '.join(EVALUATIONS)}")
        _, page_size, filter_key = EVALUATIONS[self.endpoint]
        if self.endpoint == "handling-satisfaction":
            first, last = _span(self.period)
            body: dict[str, Any] = {"fromDate": first.isoformat(), "toDate": last.isoformat()}
        else:
            m = _PERIOD.fullmatch(self.period)
            if not m:
                raise PeriodError(
                    f"period {self.period!r} for {self.endpoint}: expected 2026, 2026-Q3 or 2026-08"
                )
            kind = "quarter" if m["quarter"] else "month" if m["month"] else "year"
            body = {"timeType": kind, "year": int(m["year"])}
            if kind != "year":
                body[kind] = int(m[kind])
        if self.root == NATIONAL:
            if self.endpoint != "service-results":
                raise PeriodError(f"{self.endpoint} needs a unit; only service-results ranks the country")
            return {**body, "departmentType": "ADMINISTRATIVE_UNIT"}
        body["rootDepartmentId"] = self.root
        if page_size:
            body |= {"currentPage": 1, "pageSize": page_size}
        if self.formality_id and filter_key:
            body[filter_key] = self.formality_id
        return body


def _span(period: str) -> tuple[dt.date, dt.date]:
    """First and last day of a period, both included."""
    if m := _SPAN.fullmatch(period):
        try:
            first, last = dt.date.fromisoformat(m[1]), dt.date.fromisoformat(m[2])
        except ValueError:
            raise PeriodError(f"period {period!r} holds a day that does not exist") from None
        if first > last:
            raise PeriodError(f"period {period!r} ends before it starts")
        return first, last
    m = _PERIOD.fullmatch(period)
    if not m:
        raise PeriodError(f"period {period!r}: expected 2026, 2026-Q3, 2026-08 or 2026-07-01/2026-09-30")
    year = int(m["year"])
    if m["month"]:
        month, months = int(m["month"]), 1
    elif m["quarter"]:
        month, months = int(m["quarter"]) * 3 - 2, 3
    else:
        month, months = 1, 12
    after = month + months
    end = dt.date(year + (after > 12), (after - 1) % 12 + 1, 1)
    return dt.date(year, month, 1), end - dt.timedelta(days=1)


class NationalPortal(Connector):
    """Procedure catalogue and evaluation of the national portal."""

    dialect = "national_portal"
    tables = ("procedure", "procedure_method", "evaluation")
    success_statuses: ClassVar[frozenset[int]] = frozenset({200, 201})
    #: A public site that is not ours: one call a second, in sequence.
    own_options: ClassVar[tuple[str, ...]] = ("evaluations", "captured")
    min_delay: ClassVar[float] = 1.0
    concurrency: ClassVar[int] = 1
    list_path: ClassVar[str] = "/submitting/formality/list-all-public-formality-by-citizen"
    detail_path: ClassVar[str] = "/configuring/formality/get-formality-by-citizen"

    def chunks(self, request: Request) -> Iterator[Chunk]:
        """The whole catalogue in chunks, then each evaluation asked for in the source's options."""
        questions = [self._question(q) for q in self.endpoint.options.get("evaluations", [])]
        yield from self._procedures(request)
        for question in questions:
            yield self._evaluation(question)

    def _question(self, option: Any) -> Evaluation:
        # Before the first call: a slip in the list of sources should not cost a whole catalogue.
        try:
            question = Evaluation(**{k: str(v) for k, v in dict(option).items()})
            question.body()
        except (TypeError, ValueError) as e:
            raise PeriodError(
                f"{self.source_code}: option evaluations in the list of sources: {e}. Expected endpoint, period, and "
                "root (the unit's UUID) for all but the ranking of the country."
            ) from None
        return question

    def post(self, path: str, body: dict[str, Any], absent: frozenset[int] = frozenset()) -> Any:
        """`data` of the envelope, None for a status in `absent`; SourceChanged if it is no such envelope."""
        answer = self.call("POST", path, body=body, signed=False, absent=absent)
        if answer is None and absent:
            return None
        if not isinstance(answer, dict) or "data" not in answer:
            raise SourceChanged(self._say("POST", path, "the answer is no {code, data, message} envelope"))
        if answer.get("code") != "OK":
            raise SourceUnavailable(self._say("POST", path, f"code {str(answer.get('code'))[:40]!r}"))
        return answer["data"]

    # --- catalogue -----------------------------------------------------------------------------------

    def _procedures(self, request: Request) -> Iterator[Chunk]:
        ids = self.counted_window("procedure catalogue", self._list)
        self.report.counts["procedure"].announced = self.report.windows[-1]["announced_after"]
        for position in range(0, len(ids), self.chunk_size):
            part = ids[position : position + self.chunk_size]
            # A procedure withdrawn between list and detail is a reject, not the end of the pull.
            details = self.map_calls(
                lambda i: self.post(self.detail_path, {"id": i}, absent=frozenset({404})), part
            )
            yield self._procedure_chunk(part, details)
            request.on_progress(
                f"{self.source_code}: {min(position + self.chunk_size, len(ids)):,} of {len(ids):,} procedures"
            )

    def _list(self) -> tuple[int | None, list[str], int | None]:
        keys: list[str] = []
        cursor, first = "", None
        passed: set[str] = set()
        while True:
            data = self.post(
                self.list_path,
                {"limit": self.page_size, "lastId": cursor, "q": "", "categoryId": "", "departmentCode": ""},
            )
            items = data.get("items") if isinstance(data, dict) else None
            if not isinstance(items, list):
                raise SourceChanged(self._say("POST", self.list_path, "the answer holds no items list"))
            total = data.get("total")
            total = total if type(total) is int else None
            first = total if first is None else first
            keys += self.keys_of("POST", self.list_path, items)
            following = data.get("lastId")
            if not items or not following or following == cursor:
                return first, keys, total
            if following in passed:
                raise PagingError(
                    self._say("POST", self.list_path, "its cursor goes round in a circle")
                    + " Nothing was landed. Run the task again; if it repeats, the portal's paging has changed."
                )
            passed.add(following)
            cursor = following

    def apart(self, table: str) -> Collection[str]:
        """The ways in which a procedure is handed in."""
        return ("executionMethods",) if table == "procedure" else ()

    def _procedure_chunk(self, ids: list[str], details: list[Any]) -> Chunk:
        chunk = Chunk()
        gone = {
            p: "the source has no detail of this procedure"
            for p, (i, d) in enumerate(zip(ids, details, strict=True))
            if not isinstance(d, dict) or d.get("id") != i
        }
        records = [{"id": i} if p in gone else d for p, (i, d) in enumerate(zip(ids, details, strict=True))]
        columns, paths = flatten(records, _PROCEDURE)
        columns["result_names"] = [
            "; ".join(str(r["name"]) for r in _dicts(d.get("resultsDetails")) if r.get("name"))
            for d in records
        ]
        result = self.typed(chunk, "procedure", columns, records, paths, gone)
        bad = {r.position for r in result.rejects}
        methods: list[Any] = []
        owners: list[int] = []
        numbers: list[int] = []
        for position, record in enumerate(records):
            listed = record.get("executionMethods") or []
            # What is no list is one entry, to be rejected.
            listed = listed if isinstance(listed, list) else [listed]
            methods += listed
            owners += [position] * len(listed)
            numbers += range(1, len(listed) + 1)
        flat, paths = flatten(methods, _METHOD)
        fees = [_fees(m) if isinstance(m, dict) else [] for m in methods]
        for currency in sorted({str(c or "") for told in fees for _, c in told} - {"VND"}):
            self._tally(
                f"ways of submitting a procedure with a fee in {currency or 'no currency named'}, which is no fee_vnd "
                "but stands in fee_amount and fee_currency",
                sum(any(c == (currency or None) for _, c in told) for told in fees),
            )
        flat |= {
            "procedure_id": [ids[o] for o in owners],
            "method_no": numbers,
            # A duration of 0 with unit OTHER means that the text has it.
            "duration": [None if not d or d is MISSING else d for d in flat["duration"]],
            "fee_vnd": [next((int(v) for v, c in told if c == "VND"), None) for told in fees],
            "fee_amount": [told[0][0] if told else None for told in fees],
            "fee_currency": [told[0][1] if told else None for told in fees],
            "fee_text": [_fee_text(m) if isinstance(m, dict) else None for m in methods],
        }
        refused = {p: "not an object" for p, m in enumerate(methods) if not isinstance(m, dict)}
        refused |= {p: "its procedure was rejected" for p, o in enumerate(owners) if o in bad}
        self.typed(chunk, "procedure_method", flat, methods, paths, refused)
        return chunk

    # --- evaluation ----------------------------------------------------------------------------------

    def _evaluation(self, question: Evaluation) -> Chunk:
        path = f"/reporting/evaluation/{question.endpoint}"
        data = self.post(path, question.body())
        shape = EVALUATIONS[question.endpoint][0]
        if not isinstance(data, dict) or not data:
            raise SourceUnavailable(
                self._say("POST", path, f"no data for period {question.period} and unit {question.root}")
                + " A month is published only after it ends; check the period and the unit's UUID."
            )
        head = data.get("parent") if shape in ("progress", "online", "payment") else data.get("overview")
        if not isinstance(head, dict):
            raise SourceChanged(self._say("POST", path, "the answer holds neither overview nor parent"))
        if "departmentId" not in head and head.get("departmentCode"):
            # The ranking's overview names a unit by its code alone; the country has none.
            head = {**head, "departmentId": question.root}
        if shape == "ranking" and "groupScores" not in head:
            # Points of its groups stand beside it, those of online services and online payment as one.
            head = {**head, "groupScores": {g.get("code"): g.get("score") for g in _dicts(data.get("radar"))}}
        answered = head.get("departmentId") or NATIONAL
        if answered != question.root:
            raise SourceUnavailable(
                self._say("POST", path, f"asked for unit {question.root}, answered about {answered}")
                + " The portal answers with the country when it does not accept a unit; check its UUID."
            )
        children = (data.get("children") if "children" in data else data.get("evaluation")) or []
        if not isinstance(children, list) or not all(isinstance(unit, dict) for unit in children):
            raise SourceChanged(self._say("POST", path, "its units are no list of objects"))
        rows: list[dict[str, Any]] = []
        for unit in [head, *children]:
            rows += _measures(shape, unit)
        pagination = data.get("pagination")
        total = pagination.get("total") if isinstance(pagination, dict) else None
        if isinstance(total, int) and total != len(children):
            self.report.notes.append(
                f"{question.endpoint} {question.period}: pagination announces {total} units, the answer holds "
                f"{len(children)}"
            )
        # A replay says when its captures were taken; a live answer is captured now.
        captured = (self.endpoint.options.get("captured") or {}).get(
            f"{question.endpoint} {question.period}"
        ) or dt.datetime.now(dt.UTC).isoformat()
        for row in rows:
            row |= {
                "endpoint": question.endpoint,
                "period": question.period,
                "root_department_id": question.root,
                "captured_at": str(captured),
            }
        chunk = Chunk()
        names = [
            "endpoint", "period", "root_department_id", "department_id", "department_code", "department_name",
            "metric_code", "metric_name", "numerator", "denominator", "ratio", "score", "max_score",
            "data_quality_status", "captured_at",
        ]  # fmt: skip
        self.typed(chunk, "evaluation", {n: [r.get(n) for r in rows] for n in names}, rows)
        return chunk


def _dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; nothing where there is no list."""
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _unit(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "department_id": row.get("departmentId") or NATIONAL,
        "department_code": row.get("departmentCode"),
        "department_name": row.get("departmentName"),
    }


def _first(row: dict[str, Any], *names: str) -> Any:
    # Parents say totalScore and totalMaxScore, children score and maxScore.
    return next((row[n] for n in names if row.get(n) is not None), None)


def _measures(shape: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The long form of one unit's row: one dict for each measure."""
    unit = _unit(row)
    score = _first(row, "totalScore", "score")
    maximum = _first(row, "totalMaxScore", "maxScore")
    out: list[dict[str, Any]] = []

    def add(code: Any, name: str | None = None, **values: Any) -> None:
        out.append({**unit, "metric_code": code, "metric_name": name, **values})

    if shape == "ranking":
        add("TOTAL", "Tổng điểm", ratio=row.get("ratio"), score=score, max_score=maximum)
        scores = row.get("groupScores")
        for code, points in (scores if isinstance(scores, dict) else {}).items():
            add(code, score=points)
    elif shape == "metrics":
        add("TOTAL", "Tổng điểm của nhóm", ratio=row.get("ratio"), score=score, max_score=maximum)
        for m in _dicts(row.get("metrics")):
            add(
                m.get("code"), m.get("name"), numerator=m.get("numerator"), denominator=m.get("denominator"),
                ratio=m.get("ratio"), score=m.get("score"), max_score=m.get("maxScore"),
                data_quality_status=m.get("dataQualityStatus"),
            )  # fmt: skip
    elif shape == "progress":
        add(
            "TDGQ", "Tiến độ giải quyết", numerator=row.get("totalOnTime"),
            denominator=row.get("totalReceived"), ratio=row.get("ratio"), score=score, max_score=maximum,
        )  # fmt: skip
        add("AVG_PROCESSING_DAYS", "Số ngày xử lý trung bình", ratio=row.get("avgProcessingDays"))
        for code, key in (("TOTAL_OVERDUE", "totalOverdue"), ("TOTAL_COMPLETED", "totalCompleted")):
            if key in row:
                add(code, numerator=row[key])
    else:
        group = "CLGQ" if shape == "online" else "TTTT"
        add(group, ratio=row.get("ratio"), score=score, max_score=maximum)
        for key, value in row.items():
            if isinstance(value, int | float) and key not in _SCORES and not isinstance(value, bool):
                add(key, numerator=value)
    return out


_SCORES = frozenset({"totalScore", "totalMaxScore", "score", "maxScore", "ratio", "scoreDelta", "stt"})


#: đồng by identifier and by name [seen]: what the portal calls a currency may change, its identifier does not.
_VND = frozenset({"019b3fb2-b5b8-70ac-85e2-9409ec1eaffa", "việt nam đồng", "vnd"})


def _fees(method: dict[str, Any]) -> list[tuple[int | float, str | None]]:
    """Amount and currency of each fee; embassies and ministries charge some in USD, beside others in đồng."""
    found: list[tuple[int | float, str | None]] = []
    for fee in _dicts(method.get("fees")):
        value = fee.get("value")
        # 0 beside a text is a placeholder, not a fee of nothing.
        if isinstance(value, int | float) and (value or not fee.get("description")):
            names = [str(fee.get(k) or "").strip() for k in ("currencyId", "currencyName")]
            ours = any(n.lower() in _VND for n in names)
            found.append((value, "VND" if ours else names[1].upper() or None))
    return found


def _fee_text(method: dict[str, Any]) -> str | None:
    texts = [str(f.get("description") or "").strip() for f in _dicts(method.get("fees"))]
    return "; ".join(t for t in texts if t) or None
