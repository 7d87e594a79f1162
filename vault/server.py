"""The vault's API over a local socket; batches travel as Arrow IPC streams.

| call | body | answer |
|---|---|---|
| ``GET /v1/health`` | - | ``{"status": "ok", "sealed_values": n}`` |
| ``POST /v1/seal`` | one clear batch | the sealed batch; its ciphertexts are stored before it is answered |
| ``POST /v1/quarantine`` | rows: source_code, table_name, key, field, kind, payload, batch_id | ``{"stored": n}`` |
| ``POST /v1/disclose`` | rows: token, name_reference | rows: token, outcome, request_id, identity_number, name |

Every call carries ``Authorization: Bearer <token>``. An answer never repeats a value it was given.

``/v1/disclose`` is the only call that gives clear values, at most 20 persons' at once: for one declared purpose (schema
metadata ``purpose``; `vault.purposes.PURPOSES`), under an agreement record in force (else 403), within its daily quota
(else 429, and nothing is given). Each person is recorded in the table ``disclosure`` (purpose, document, officer code,
token, outcome, when) before the answer, whose metadata ``quota_left`` say what is left of the day; no rows ask for
that alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vault.client import ARROW
from vault.purposes import (
    MOST_AT_ONCE,
    AgreementError,
    NoAgreement,
    PurposeError,
    QuotaSpent,
    read_agreement,
    today,
)
from vault.sealing import SealingError
from vault.store import Store

_REFUSALS = {SealingError: 422, PurposeError: 422, NoAgreement: 403, AgreementError: 403, QuotaSpent: 429}


def application(store: Store, token: str, agreements: Path | None = None) -> Starlette:
    """The ASGI application over `store`; callers need `token`. `agreements` is the folder of agreement records."""

    def guarded(work: Callable[[bytes], Response]) -> Callable:
        async def endpoint(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not secrets.compare_digest(given.encode(), token.encode()):
                return JSONResponse({"error": "no valid bearer token"}, 401)
            body = await request.body()
            try:
                return await run_in_threadpool(work, body)
            except tuple(_REFUSALS) as e:
                return JSONResponse({"error": str(e)}, _REFUSALS[type(e)])
            except pa.ArrowException:
                return JSONResponse({"error": "the body is no Arrow stream this call knows"}, 422)

        return endpoint

    def health(_: bytes) -> Response:
        return JSONResponse({"status": "ok", "sealed_values": store.count("sealed_value")})

    def seal(body: bytes) -> Response:
        batch = _one_batch(body)
        sealed, ciphertexts = store.sealer.seal(batch)
        store.keep(ciphertexts)
        return Response(_stream(sealed), media_type=ARROW)

    def quarantine(body: bytes) -> Response:
        rows = pa.ipc.open_stream(body).read_all()
        payloads = [
            store.sealer.encrypt(p, f"{t}/{k}".encode())
            for p, t, k in zip(
                rows["payload"].to_pylist(),
                rows["table_name"].to_pylist(),
                rows["key"].to_pylist(),
                strict=True,
            )
        ]
        at = rows.schema.get_field_index("payload")
        store.quarantine(rows.set_column(at, "payload", pa.array(payloads, pa.binary())))
        return JSONResponse({"stored": rows.num_rows})

    def disclose(body: bytes) -> Response:
        asked = pa.ipc.open_stream(body).read_all()
        if asked.schema.names != ["token", "name_reference"] or set(asked.schema.types) != {pa.string()}:
            raise PurposeError("expected the text columns token and name_reference")
        if asked.num_rows > MOST_AT_ONCE:
            raise PurposeError(
                f"{asked.num_rows} persons were asked for at once; at most {MOST_AT_ONCE} are given"
            )
        purpose = (asked.schema.metadata or {}).get(b"purpose", b"").decode()
        agreement = read_agreement(agreements, purpose, today())
        people = [(str(t), str(n)) for t, n in zip(*(c.to_pylist() for c in asked.columns), strict=True)]
        given, left = store.disclose(agreement, people)
        names = ("token", "outcome", "request_id", "identity_number", "name")
        schema = pa.schema([(n, pa.string()) for n in names], metadata={"quota_left": str(left)})
        columns = [pa.array([getattr(d, n) for d in given], pa.string()) for n in names]
        return Response(_stream(pa.RecordBatch.from_arrays(columns, schema=schema)), media_type=ARROW)

    return Starlette(
        routes=[
            Route("/v1/health", guarded(health)),
            Route("/v1/seal", guarded(seal), methods=["POST"]),
            Route("/v1/quarantine", guarded(quarantine), methods=["POST"]),
            Route("/v1/disclose", guarded(disclose), methods=["POST"]),
        ]
    )


def _one_batch(body: bytes) -> pa.RecordBatch:
    reader = pa.ipc.open_stream(body)
    table = reader.read_all().combine_chunks()
    batches = table.to_batches()
    if batches:
        return batches[0].replace_schema_metadata(reader.schema.metadata)
    return pa.RecordBatch.from_pylist([], schema=reader.schema)


def _stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()
