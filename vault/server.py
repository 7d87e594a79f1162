"""The vault's API over a local socket; batches travel as Arrow IPC streams.

| call | body | answer |
|---|---|---|
| ``GET /v1/ready`` | - | ``{"status": "ok"}``; costs nothing, for checks every few seconds |
| ``GET /v1/health`` | - | ``{"status": "ok", "sealed_values": n, "alerts": n}``, alerts of today |
| ``POST /v1/seal`` | clear batches, each a stream | the sealed ones; their ciphertexts are stored before the answer |
| ``POST /v1/quarantine`` | rows: source_code, table_name, key, field, kind, payload, batch_id | ``{"stored": n}`` |
| ``POST /v1/renewed`` | rows: handle (token or reference of any version) | rows: handle, as it is now |
| ``POST /v1/disclose`` | rows: token, name_reference | rows: token, outcome, request_id, identity_number, name |
| ``POST /v1/disclose/dossiers`` | rows: source_code, dossier_id, handles | rows: outcome, request_id, values (JSON) |
| ``POST /v1/pseudonyms`` | rows: token, agency | rows: pseudonym (null: an erased person) |
| ``POST /v1/rejects`` | - | rows: what is quarantined of rejected records, without payloads |
| ``POST /v1/rejects/read`` | rows: batch_id, table_name, key, field | rows: payload |
| ``POST /v1/rejects/replayed`` | rows: batch_id, table_name, key, field | ``{"marked": n}`` |
| ``POST /v1/reveal`` | JSON: purpose, source_code, dossier_id, reason, fields | ``{"request_id", "values", "left"}`` |
| ``POST /v1/audit/person`` | JSON: identity_number, by | ``{"entries": [...]}``, oldest first |
| ``POST /v1/audit/verify`` | JSON: by | ``{"entries": n, "copied": n, "trouble": text, "alerts": [...]}`` |
| ``POST /v1/collect/begin`` | - | ``{"number": n}``: a collection of what is unused is open (`vault.collection`) |
| ``POST /v1/collect/used`` | rows: reference, or source_code, dossier_id | ``{"marked": n}`` |
| ``POST /v1/collect/count`` | JSON: number | ``{"stored": n, "unused": n, "dossiers": n, "refused": text}`` |
| ``POST /v1/collect/delete`` | JSON: number | ``{"values": n, "dossiers": n, "keys": n, "done": bool}``; until done |

Every call carries ``Authorization: Bearer <token>``; ``/v1/reveal`` an officer's own secret in the token's place, the
two calls of the audit a token of their own that lies beside the vault's keys. An answer never repeats a value it was
given.

Four calls give clear values. ``/v1/disclose`` gives them of at most 20 persons at once: for one declared purpose
(schema metadata ``purpose``; `vault.purposes.PURPOSES`), under an agreement record in force (else 403), within its
daily quota (else 429, and nothing is given); the answer's metadata ``quota_left`` say what is left of the day, no rows
ask for that alone. ``/v1/disclose/dossiers`` gives, under the same conditions, values of at most 50 dossiers by their
handles (one space between), for a purpose of `vault.purposes.DOSSIER_PURPOSES`: only handles of the dossier's own
person, or of the dossier where nobody is known, and names of officers. ``/v1/rejects/read`` gives whole rejected
records, at most 200 at once, for one rule of
``ops/repairs.yml`` (schema metadata ``rule``; `vault.repairs`): only rejects of that rule's source, table and field
that were not replayed yet, within the rule's quota a day (else 429, and nothing is given). ``/v1/reveal`` gives an
officer fields of the person of one dossier of the officer's own agency (`vault.reveal`), within a quota a day (else
429).

``/v1/seal`` refuses identity numbers without the key of the rows they stand in (422). Persons of whom it stores
something for the first time are counted by day; more than VAULT_ALERT_SEALED raise an alert, and are sealed all the
same.

Every reading by these four, and every refusal of them, is one entry of the audit for each person or record, committed
and copied before the answer (`vault.audit`). Where that cannot be done, 424, and nothing is given. ``/v1/audit/person``
and ``/v1/audit/verify`` are recorded there, too; ``by`` is who asks, as the caller says. Each entry of the answer has
number, at, action, who, agency, purpose, basis, asked, source_code, dossier_id, outcome, note, reason, request_id.

``/v1/pseudonyms`` gives what agencies see in a person's place (`vault.pseudonyms`), of at most 20,000 pairs of person
and agency at once; no clear value goes in or out. A call is one entry of the audit, with how many were asked for. The
answer's metadata ``state`` names what its pseudonyms depend on: where it is another than before, what was answered
before is void. No rows ask for that alone, and leave no entry.

``/v1/collect/used`` names its collection in the schema metadata ``number``. One that is over, or would delete more than
may go, is refused with 409; ``/v1/collect/delete``, which stands in the audit too, deletes nothing then.

Every sealed value is encrypted under the key of its person (`vault.persons`). What is sealed for an erased person
(`vault.erasure`) gets no token and is stored nowhere; of a restricted person nothing is given.
Changing the master key or the token key, deciding on persons, and joining the papers of one person (`vault.crosswalk`)
are commands of ``python -m vault``, not calls; of the links no call tells, but ``/v1/audit/person`` answers for all
papers linked to the one asked about. While the token key is changed (`vault.retoken`) every call but the first two is
answered by 503 and done by nobody. So is every call while the vault's database fails: the answer says how.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, cast

import adbc_driver_postgresql.dbapi as adbc
import msgspec
import pyarrow as pa
from cryptography.exceptions import InvalidTag
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vault import streams
from vault.audit import Asking, AuditTrouble, Entry
from vault.collection import CollectionError
from vault.handles import HandleError
from vault.keys import KeyTrouble
from vault.pseudonyms import PseudonymError
from vault.purposes import (
    DOSSIER_PURPOSES,
    MOST_AT_ONCE,
    MOST_DOSSIERS,
    PURPOSES,
    AgreementError,
    NoAgreement,
    PurposeError,
    QuotaSpent,
    read_agreement,
    today,
)
from vault.repairs import MOST_AT_ONCE as MOST_REJECTS
from vault.repairs import PURPOSE as REPAIR
from vault.repairs import RuleError, read_rules
from vault.reveal import RevealRefused, in_force, officer_of, read_request
from vault.sealing import SealingError
from vault.store import Store
from vault.trouble import meaning

_REFUSALS = {
    SealingError: 422, PurposeError: 422, NoAgreement: 403, AgreementError: 403, QuotaSpent: 429, RuleError: 403,
    AuditTrouble: 424, PseudonymError: 422, CollectionError: 409, HandleError: 422,
}  # fmt: skip
#: In the audit; an answer's own words may repeat what the caller typed.
_NOTES = {
    PurposeError: "malformed", NoAgreement: "no agreement in force", AgreementError: "bad agreement record",
    QuotaSpent: "quota spent", RuleError: "no such rule", AuditTrouble: "cannot be copied",
    PseudonymError: "malformed", CollectionError: "not collected", HandleError: "malformed",
}  # fmt: skip
#: What the answer of /v1/audit/person says of each entry.
_SHOWN = (
    "number", "action", "who", "agency", "purpose", "basis", "asked", "source_code", "dossier_id", "outcome", "note",
    "reason", "request_id",
)  # fmt: skip
_REJECT = ["batch_id", "table_name", "key", "field"]


def application(
    store: Store,
    token: str,
    agreements: Path | None = None,
    repairs: Path | None = None,
    officers: Path | None = None,
    audit_token: str = "",
) -> Starlette:
    """The ASGI application over `store`; callers need `token`, those who ask about the audit `audit_token`.

    `agreements` is the folder of agreement records, `repairs` the file of repair rules, `officers` that of officers;
    without one of these, or of the tokens, nobody is given what it allows.
    """

    def guarded(work: Callable[[bytes], Response]) -> Callable:
        async def endpoint(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not _same(given, token):
                return JSONResponse({"error": "no valid bearer token"}, 401)
            body = await request.body()
            try:
                return await run_in_threadpool(work, body)
            except tuple(_REFUSALS) as e:
                return JSONResponse({"error": str(e)}, _REFUSALS[type(e)])
            except pa.ArrowException:
                return JSONResponse({"error": "the body is no Arrow stream this call knows"}, 422)

        return endpoint

    def audited(
        action: str, work: Callable[[bytes, Asking, str], Response], under: str | None = token
    ) -> Callable:
        """An endpoint of which every refusal is recorded; `under` this bearer token (None: `work` looks itself)."""

        def answer(body: bytes, asking: Asking, bearer: str) -> Response:
            try:
                if under is not None:
                    if not _same(bearer, under):
                        raise RevealRefused("no valid bearer token", "no valid bearer token", 401)
                    asking.who = "service"
                return work(body, asking, bearer)
            except RevealRefused as e:
                status, note, said = e.status, e.note, str(e)
            except tuple(_NOTES) as e:
                status, note, said = next(
                    (_REFUSALS[k], n, str(e)) for k, n in _NOTES.items() if isinstance(e, k)
                )
            except (pa.ArrowException, msgspec.MsgspecError, UnicodeDecodeError):
                status, note, said = 422, "malformed", "the body is none this call knows"
            except InvalidTag:
                status, note = 409, "does not prove itself"
                said = "a value does not prove itself: the vault's database was altered. Nothing is given; restore it"
            store.audit.refused(asking, note)
            return JSONResponse({"error": said}, status)

        async def endpoint(request: Request) -> Response:
            bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
            return await run_in_threadpool(answer, await request.body(), Asking(action), bearer)

        return endpoint

    def ready(_: bytes) -> Response:
        store.ping()
        return JSONResponse({"status": "ok"})

    def health(_: bytes) -> Response:
        held = {"sealed_values": store.count("sealed_value"), "alerts": store.audit.alerts_today()}
        return JSONResponse({"status": "ok", **held})

    def seal(body: bytes) -> Response:
        clear = streams.batches(body)
        for batch in clear:
            _belongs_to_rows(batch.schema)
        return _arrow(*store.seal(clear))

    def renewed(body: bytes) -> Response:
        (rows,) = streams.tables(body)
        if rows.schema.names != ["handle"] or rows.schema.types != [pa.string()]:
            raise HandleError("expected the text column handle")
        return _arrow(pa.table({"handle": store.renewed(rows["handle"].combine_chunks())}))

    def quarantine(body: bytes) -> Response:
        (rows,) = streams.tables(body)
        store.quarantine(rows)
        return JSONResponse({"stored": rows.num_rows})

    def disclose(body: bytes, asking: Asking, _: str) -> Response:
        (asked,) = streams.tables(body)
        if asked.schema.names != ["token", "name_reference"] or set(asked.schema.types) != {pa.string()}:
            raise PurposeError("expected the text columns token and name_reference")
        if asked.num_rows > MOST_AT_ONCE:
            raise PurposeError(
                f"{asked.num_rows} persons were asked for at once; at most {MOST_AT_ONCE} are given"
            )
        purpose = (asked.schema.metadata or {}).get(b"purpose", b"").decode()
        if purpose in DOSSIER_PURPOSES:
            raise PurposeError(f"{purpose} is about dossiers; ask /v1/disclose/dossiers")
        people = [(str(t), str(n)) for t, n in zip(*(c.to_pylist() for c in asked.columns), strict=True)]
        asking.subjects = [person for person, _ in people]
        asking.purpose = purpose if purpose in PURPOSES else ""
        agreement = read_agreement(agreements, purpose, today())
        asking.who, asking.basis = agreement.officer_code, agreement.document
        given, left = store.disclose(agreement, people)
        names = ("token", "outcome", "request_id", "identity_number", "name")
        schema = pa.schema([(n, pa.string()) for n in names], metadata={"quota_left": str(left)})
        columns = [pa.array([getattr(d, n) for d in given], pa.string()) for n in names]
        return _arrow(pa.RecordBatch.from_arrays(columns, schema=schema))

    def disclose_dossiers(body: bytes, asking: Asking, _: str) -> Response:
        (asked,) = streams.tables(body)
        if asked.schema.names != ["source_code", "dossier_id", "handles"] or set(asked.schema.types) != {
            pa.string()
        }:
            raise PurposeError("expected the text columns source_code, dossier_id and handles")
        if asked.num_rows > MOST_DOSSIERS:
            raise PurposeError(
                f"{asked.num_rows} dossiers were asked for at once; at most {MOST_DOSSIERS} are given"
            )
        purpose = (asked.schema.metadata or {}).get(b"purpose", b"").decode()
        if purpose not in DOSSIER_PURPOSES:
            raise PurposeError(
                f"this purpose is not declared for dossiers; declared are {', '.join(DOSSIER_PURPOSES)}"
            )
        asking.purpose = purpose
        agreement = read_agreement(agreements, purpose, today())
        asking.who, asking.basis = agreement.officer_code, agreement.document
        rows = [(str(s), str(d), str(h or "").split()) for s, d, h in zip(
            *(c.to_pylist() for c in asked.columns), strict=True)]  # fmt: skip
        given, left = store.disclose_dossiers(agreement, rows, asking)
        schema = pa.schema([(n, pa.string()) for n in ("outcome", "request_id", "values")],
                           metadata={"quota_left": str(left)})  # fmt: skip
        columns = [
            pa.array([d.outcome for d in given], pa.string()),
            pa.array([d.request_id for d in given], pa.string()),
            pa.array([json.dumps(d.values, ensure_ascii=False) for d in given], pa.string()),
        ]
        return _arrow(pa.RecordBatch.from_arrays(columns, schema=schema))

    def pseudonyms(body: bytes, asking: Asking, _: str) -> Response:
        (asked,) = streams.tables(body)
        asking.purpose = "build"
        given, state = store.pseudonyms.give(asked)
        schema = pa.schema([("pseudonym", pa.string())], metadata={"state": state})
        return _arrow(pa.RecordBatch.from_arrays([given], schema=schema))

    def rejects(_: bytes) -> Response:
        return _arrow(store.rejects())

    def read_rejects(body: bytes, asking: Asking, _: str) -> Response:
        asking.purpose = REPAIR
        asked = _rejects_of(body)
        if asked.num_rows > MOST_REJECTS:
            raise RuleError(
                f"{asked.num_rows} rejects were asked for at once; at most {MOST_REJECTS} are given"
            )
        if repairs is None:
            raise RuleError("no file of repair rules was given (KHOCHUNG_REPAIRS, VAULT_REPAIRS)")
        name = (asked.schema.metadata or {}).get(b"rule", b"").decode()
        rules = read_rules(repairs)
        if name not in rules:
            raise RuleError(
                f"looked for the repair rule {name!r} in {repairs}; it holds {', '.join(rules) or 'none'}"
            )
        asking.basis, asking.source_code = rules[name].why, rules[name].source
        payloads = store.read_rejects(rules[name], asked.replace_schema_metadata(None))
        return _arrow(pa.table({"payload": pa.array(payloads, pa.binary())}))

    def replayed(body: bytes) -> Response:
        done = _rejects_of(body)
        batch = (done.schema.metadata or {}).get(b"batch_id", b"").decode()
        if not batch:
            raise RuleError("the batch that replayed these rejects is not named")
        return JSONResponse({"marked": store.replayed(done.replace_schema_metadata(None), batch)})

    def reveal(body: bytes, asking: Asking, bearer: str) -> Response:
        officer = officer_of(officers, bearer)
        asking.who, asking.agency, asking.basis = officer.code, officer.agency, officer.document
        asked = read_request(body)
        asking.purpose = asked.purpose
        in_force(officer, asked.purpose, officers)
        given = store.reveal_of_dossier(officer, asked, asking)
        return JSONResponse({"request_id": given.request_id, "values": given.values, "left": given.left})

    def person(body: bytes, asking: Asking, _: str) -> Response:
        asked = msgspec.json.decode(body, type=_Person)
        asking.purpose = "audit"
        rows = store.who_looked(asked.identity_number, asked.by)
        return JSONResponse(
            {"entries": [{n: r[n] for n in _SHOWN} | {"at": r["at"].isoformat()} for r in rows]}
        )

    def verify(body: bytes, asking: Asking, _: str) -> Response:
        by = msgspec.json.decode(body, type=_By).by
        alerts = store.audit.alerts()
        found = store.audit.verify()
        trouble = found.trouble
        try:
            outcome = "broken" if trouble else "whole"
            store.audit.record(
                Entry("verify", f"operator:{by}", outcome, purpose="audit", note=trouble or "")
            )
        except AuditTrouble as e:
            trouble = trouble or str(e)
        told = {"entries": found.entries, "copied": found.copied, "trouble": trouble, "alerts": alerts}
        return JSONResponse(told)

    def begin_collecting(_: bytes) -> Response:
        return JSONResponse({"number": store.collection.begin()})

    def used(body: bytes) -> Response:
        (rows,) = streams.tables(body)
        if rows.schema.names not in (["reference"], ["source_code", "dossier_id"]) or set(
            rows.schema.types
        ) != {pa.string()}:
            raise CollectionError("expected the text column reference, or source_code and dossier_id")
        number = (rows.schema.metadata or {}).get(b"number", b"").decode()
        if not number.isdecimal():
            raise CollectionError("the collection is not named in the schema's metadata `number`")
        return JSONResponse({"marked": store.collection.use(int(number), rows.replace_schema_metadata(None))})

    def count_unused(body: bytes) -> Response:
        return JSONResponse(dataclasses.asdict(store.collection.count(_number(body))))

    def delete_unused(body: bytes, asking: Asking, _: str) -> Response:
        return JSONResponse(dataclasses.asdict(store.collection.delete(_number(body))))

    return Starlette(
        routes=[
            Route("/v1/ready", guarded(ready)),
            Route("/v1/health", guarded(health)),
            Route("/v1/seal", guarded(seal), methods=["POST"]),
            Route("/v1/renewed", guarded(renewed), methods=["POST"]),
            Route("/v1/quarantine", guarded(quarantine), methods=["POST"]),
            Route("/v1/disclose", audited("disclose", disclose), methods=["POST"]),
            Route("/v1/disclose/dossiers", audited("disclose", disclose_dossiers), methods=["POST"]),
            Route("/v1/pseudonyms", audited("pseudonyms", pseudonyms), methods=["POST"]),
            Route("/v1/rejects", guarded(rejects), methods=["POST"]),
            Route("/v1/rejects/read", audited("read_reject", read_rejects), methods=["POST"]),
            Route("/v1/rejects/replayed", guarded(replayed), methods=["POST"]),
            Route("/v1/reveal", audited("reveal", reveal, under=None), methods=["POST"]),
            Route("/v1/audit/person", audited("who_looked", person, under=audit_token), methods=["POST"]),
            Route("/v1/audit/verify", audited("verify", verify, under=audit_token), methods=["POST"]),
            Route("/v1/collect/begin", guarded(begin_collecting), methods=["POST"]),
            Route("/v1/collect/used", guarded(used), methods=["POST"]),
            Route("/v1/collect/count", guarded(count_unused), methods=["POST"]),
            Route("/v1/collect/delete", audited("collect", delete_unused), methods=["POST"]),
        ],
        # Also of the record of a refusal: nothing can be written then.
        exception_handlers={
            KeyTrouble: lambda _, e: JSONResponse({"error": str(e)}, 503),
            adbc.Error: _database_failed,
        },
    )


def _database_failed(_: Request, e: Exception) -> Response:
    said = meaning(cast(adbc.Error, e))
    if said is None:
        raise e
    return JSONResponse({"error": said}, 503)


def _same(given: str, wanted: str) -> bool:
    return bool(wanted) and secrets.compare_digest(given.encode(), wanted.encode())


class _By(msgspec.Struct):
    # A login, not a sentence: it stands in the audit as it was given.
    by: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][\w.@-]{0,63}$")]


class _Person(_By):
    identity_number: str


class _Number(msgspec.Struct):
    number: int


def _number(body: bytes) -> int:
    try:
        return msgspec.json.decode(body, type=_Number).number
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise CollectionError("expected JSON with the whole number `number`, a collection's") from None


def _belongs_to_rows(schema: pa.Schema) -> None:
    """SealingError for tokens of numbers alone: those of a table stand beside the key of its rows."""
    seals = {f.name: (f.metadata or {}).get(b"seal", b"") for f in schema}
    key = (schema.metadata or {}).get(b"group", b"").decode()
    if b"token" in seals.values() and (not key or any(seals.get(n, b"?") for n in key.split(","))):
        raise SealingError(
            "a batch with identity numbers must hold, in clear, the columns that its schema's metadata `group` names: "
            "the key of its rows, or of their dossier"
        )


def _rejects_of(body: bytes) -> pa.Table:
    (asked,) = streams.tables(body)
    if asked.schema.names != _REJECT or set(asked.schema.types) != {pa.string()}:
        raise RuleError(f"expected the text columns {', '.join(_REJECT)}")
    return asked


def _arrow(*parts: pa.RecordBatch | pa.Table) -> Response:
    return Response(streams.written(parts).to_pybytes(), media_type=streams.ARROW)
