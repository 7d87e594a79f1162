"""Callers' side of the vault: seal a batch, hand over a quarantine, read for a purpose. Keeps nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from vault import streams
from vault.purposes import Disclosure, DossierDisclosure, NoAgreement, QuotaSpent

#: A reject as the quarantine knows it: batch, table, key (JSON), field.
RejectKey = tuple[str, str, str, str]

#: The vault restarts within seconds under its supervisor; a caller waits that out.
PATIENCE = 60.0


class VaultUnavailable(Exception):
    """The vault does not answer; nothing can be landed without it."""


class VaultRefused(Exception):
    """The vault answered, and refused; the message is its own and holds no values."""


@dataclass
class VaultClient:
    """A connection to the vault's socket."""

    socket: Path
    token: str = field(repr=False)
    patience: float = PATIENCE

    def __post_init__(self) -> None:
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://vault", timeout=120.0
        )

    def health(self) -> dict[str, Any]:
        """What the vault says of itself."""
        return self._call("GET", "/v1/health", b"").json()

    def seal(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """`seal_together` of one batch."""
        return self.seal_together([batch])[0]

    def seal_together(self, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """The sealed forms of clear batches; their ciphertexts are committed when this returns, or none of them."""
        return streams.sealed_by(self._seal, batches)

    def _seal(self, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
        return streams.batches(self._call("POST", "/v1/seal", streams.written(batches).to_pybytes()).content)

    def renewed(self, handles: pa.Array) -> pa.Array:
        """Tokens and references (texts) of any version of the token key in their present form; nulls stay."""
        table = pa.table({"handle": handles})
        (answer,) = streams.tables(
            self._call("POST", "/v1/renewed", streams.written([table]).to_pybytes()).content
        )
        return answer["handle"].combine_chunks()

    def quarantine(self, rows: Sequence[dict[str, Any]]) -> None:
        """Store rows with source_code, table_name, key, field, kind, payload (bytes) and batch_id."""
        if not rows:
            return
        table = pa.Table.from_pylist(list(rows))
        self._call("POST", "/v1/quarantine", streams.written([table]).to_pybytes())

    def disclose(self, purpose: str, people: Sequence[tuple[str, str]] = ()) -> tuple[list[Disclosure], int]:
        """Number and name of at most 20 (token, reference of a name), and what is left of today's quota.

        Every reading is recorded under the purpose's agreement; without people only the quota is told. Raises
        NoAgreement, QuotaSpent, or VaultRefused.
        """
        table = pa.table(
            {
                "token": pa.array([t for t, _ in people], pa.string()),
                "name_reference": pa.array([n for _, n in people], pa.string()),
            }
        ).replace_schema_metadata({"purpose": purpose})
        answer = self._call("POST", "/v1/disclose", streams.written([table]).to_pybytes())
        (given,) = streams.tables(answer.content)
        return [Disclosure(**row) for row in given.to_pylist()], int(given.schema.metadata[b"quota_left"])

    def disclose_dossiers(
        self, purpose: str, asked: Sequence[tuple[str, str, Sequence[str]]] = ()
    ) -> tuple[list[DossierDisclosure], int]:
        """Clear values of at most 50 (source, dossier, handles), and what is left of today's quota, in dossiers.

        Every reading is recorded under the purpose's agreement; without dossiers only the quota is told. Raises
        NoAgreement, QuotaSpent, or VaultRefused.
        """
        table = pa.table(
            {
                "source_code": pa.array([s for s, _, _ in asked], pa.string()),
                "dossier_id": pa.array([d for _, d, _ in asked], pa.string()),
                "handles": pa.array([" ".join(h) for _, _, h in asked], pa.string()),
            }
        ).replace_schema_metadata({"purpose": purpose})
        answer = self._call("POST", "/v1/disclose/dossiers", streams.written([table]).to_pybytes())
        (given,) = streams.tables(answer.content)
        left = int(given.schema.metadata[b"quota_left"])
        return [
            DossierDisclosure(r["outcome"], r["request_id"], json.loads(r["values"]))
            for r in given.to_pylist()
        ], left

    def pseudonyms(self, pairs: Sequence[tuple[str, str]] = ()) -> tuple[list[str | None], str]:
        """Pseudonym of each of at most 20,000 (token, agency), None of an erased person; and the answer's state.

        Where the state is another than that of an earlier answer, the earlier one is void. Raises VaultRefused.
        """
        table = pa.table(
            {
                "token": pa.array([t for t, _ in pairs], pa.string()),
                "agency": pa.array([a for _, a in pairs], pa.string()),
            }
        )
        answer = self._call("POST", "/v1/pseudonyms", streams.written([table]).to_pybytes())
        (given,) = streams.tables(answer.content)
        return given["pseudonym"].to_pylist(), given.schema.metadata[b"state"].decode()

    def rejects(self) -> list[dict[str, Any]]:
        """What is quarantined of rejected records, without payloads.

        source_code, batch_id, table_name, key, field, created_at, replayed_at, replay_batch.
        """
        (held,) = streams.tables(self._call("POST", "/v1/rejects", b"").content)
        return held.to_pylist()

    def read_rejects(self, rule: str, rejects: Sequence[RejectKey]) -> list[bytes | None]:
        """Payloads of at most 200 rejects that a rule of the repairs' file covers; None if replayed, or not held.

        Every reading is recorded under the rule. Raises QuotaSpent where that is more than the rule's day still allows.
        """
        answer = self._call("POST", "/v1/rejects/read", _rejects(rejects, {"rule": rule}))
        (given,) = streams.tables(answer.content)
        return given["payload"].to_pylist()

    def replayed(self, rejects: Sequence[RejectKey], batch_id: str) -> int:
        """Mark rejects as replayed by the loaded batch `batch_id`; how many were not yet."""
        answer = self._call("POST", "/v1/rejects/replayed", _rejects(rejects, {"batch_id": batch_id}))
        return int(answer.json()["marked"])

    def reveal(
        self, purpose: str, source_code: str, dossier_id: str, reason: str, fields: Sequence[str]
    ) -> dict[str, str]:
        """Clear values by field of the person of one dossier; `token` must be an officer's own secret.

        VaultRefused for a dossier of another agency, a purpose not the officer's, or a quota that is spent.
        """
        asked = {
            "purpose": purpose, "source_code": source_code, "dossier_id": dossier_id, "reason": reason,
            "fields": list(fields),
        }  # fmt: skip
        return self._call("POST", "/v1/reveal", json.dumps(asked).encode()).json()["values"]

    def who_looked(self, identity_number: str, by: str) -> list[dict[str, Any]]:
        """Entries of the audit about one person, oldest first (`vault.server` lists what each has).

        `token` must be the audit's own (`vault.audit.AUDIT_TOKEN`).
        """
        asked = json.dumps({"identity_number": identity_number, "by": by}).encode()
        return self._call("POST", "/v1/audit/person", asked).json()["entries"]

    def verify_audit(self, by: str) -> dict[str, Any]:
        """Read the whole audit and its copy: entries, copied (None without a copy), trouble (None if whole), alerts.

        Alerts are those since it was read last, and of 24 hours. `token` as in `who_looked`.
        """
        return self._call("POST", "/v1/audit/verify", json.dumps({"by": by}).encode()).json()

    def begin_collecting(self) -> int:
        """Open a collection of what no landed row names (`vault.collection`); its number."""
        return int(self._call("POST", "/v1/collect/begin", b"").json()["number"])

    def in_use(self, number: int, batch: pa.RecordBatch) -> int:
        """Tell a collection of the references, and dossiers, that a batch of rows holds; how many references."""
        found = streams.references(batch)
        told = [pa.table({"reference": found})] if len(found) else []
        if {"source_code", "dossier_id"} <= set(batch.schema.names):
            dossiers = pa.Table.from_batches([batch.select(["source_code", "dossier_id"])])
            told.append(dossiers.drop_null().group_by(["source_code", "dossier_id"]).aggregate([]))
        for table in told:
            body = streams.written([table.replace_schema_metadata({"number": str(number)})])
            self._call("POST", "/v1/collect/used", body.to_pybytes())
        return len(found)

    def unused(self, number: int) -> dict[str, Any]:
        """What a collection would delete: stored, unused, dossiers, and why it would be refused (None if not)."""
        return self._call("POST", "/v1/collect/count", json.dumps({"number": number}).encode()).json()

    def delete_unused(self, number: int) -> dict[str, Any]:
        """Have a collection delete what is unused: values, dossiers, keys. VaultRefused if that is too much."""
        while True:
            done = self._call("POST", "/v1/collect/delete", json.dumps({"number": number}).encode()).json()
            if done.pop("done"):
                return done

    def _call(self, method: str, path: str, body: bytes) -> httpx.Response:
        deadline, trouble, told = time.monotonic() + self.patience, "", ""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": streams.ARROW}
        while True:
            try:
                answer = self._http.request(method, path, content=body, headers=headers)
            except httpx.TransportError as e:
                trouble, told = type(e).__name__, ""
            else:
                if answer.status_code == 200:
                    return answer
                if answer.status_code < 500:
                    said = str(answer.json().get("error"))
                    if path.startswith("/v1/disclose") and answer.status_code == 403:
                        raise NoAgreement(said)
                    if path.startswith(("/v1/disclose", "/v1/rejects/read")) and answer.status_code == 429:
                        raise QuotaSpent(said)
                    raise VaultRefused(f"the vault refused {path}: {said}")
                trouble, told = f"HTTP {answer.status_code}", ""
                if answer.headers.get("content-type") == "application/json":
                    told = str(answer.json().get("error")).rstrip(".")
            # Sealing the same batch again gives the same references, so a repeat does no harm.
            if told and time.monotonic() > deadline:
                raise VaultUnavailable(
                    f"the vault could not answer {path} for {self.patience:.0f} s ({trouble}): {told}. Nothing was "
                    "landed; once that is mended, clear the failed task."
                )
            if time.monotonic() > deadline:
                raise VaultUnavailable(
                    f"the vault did not answer {path} at its socket {self.socket} for {self.patience:.0f} s "
                    f"({trouble}). Nothing was landed. Look at its log (make logs), start it with `make up`, "
                    "then clear the failed task."
                )
            time.sleep(0.5)


def _rejects(rejects: Sequence[RejectKey], metadata: dict[str, str]) -> bytes:
    names = ("batch_id", "table_name", "key", "field")
    columns = [pa.array([r[at] for r in rejects], pa.string()) for at in range(len(names))]
    table = pa.table(dict(zip(names, columns, strict=True))).replace_schema_metadata(metadata)
    return streams.written([table]).to_pybytes()
