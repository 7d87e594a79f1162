"""Turn a clear Arrow batch into a sealed one, and the ciphertexts that must be stored before it lands.

The batch itself says what to do: field metadata ``seal`` is token, reference, year or drop; schema metadata
``subject`` names the identity column of the person a row is about. A field whose metadata name a personal
class without a seal is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN_VERSION = 1
PREFIX = f"ref{TOKEN_VERSION}_"
_NONCE = 12
#: Numbers typed where none is known: they must never make two people one (irregularity 8).
_PLACEHOLDER = re.compile(r"0*\d?|(\d)\1+|0?123456789(0|012)?")


class SealingError(Exception):
    """A batch does not say how one of its personal columns is to be sealed."""


@dataclass
class Ciphertexts:
    """Sealed values to store, each once: reference, field, AES-GCM nonce and ciphertext."""

    references: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)

    def table(self, key_version: int) -> pa.Table:
        """Columns reference, field, key_version, payload (nonce followed by ciphertext)."""
        return pa.table(
            {
                "reference": pa.array(self.references, pa.string()),
                "field": pa.array(self.fields, pa.string()),
                "key_version": pa.array([key_version] * len(self.references), pa.int16()),
                "payload": pa.array(self.payloads, pa.binary()),
            }
        )


def normalised_identity(value: str) -> str | None:
    """An identity number with its type in front, or None for a placeholder that identifies nobody.

    12 digits are a CCCD, 9 a CMND, 10 or 13 a tax code; anything else keeps its letters in upper case.
    """
    bare = value if value.isdigit() else re.sub(r"[\s.\-/]", "", value).upper()
    if not bare or _PLACEHOLDER.fullmatch(bare):
        return None
    if bare.isdigit():
        kind = {12: "cccd", 9: "cmnd", 10: "tax", 13: "tax"}.get(len(bare), "number")
        return f"{kind}:{bare}"
    return f"paper:{bare}"


def _check_types(schema: pa.Schema) -> None:
    for spec in schema:
        seal = (spec.metadata or {}).get(b"seal", b"").decode()
        if seal in ("token", "reference") and not pa.types.is_string(spec.type):
            raise SealingError(f"column {spec.name!r} is {spec.type}; the seal {seal!r} needs text")
        if seal == "year" and not pa.types.is_date(spec.type):
            raise SealingError(f"column {spec.name!r} is {spec.type}; the seal 'year' needs a date")


class Sealer:
    """Seals batches under two derived keys and one data key; holds no state about persons."""

    def __init__(self, token_key: bytes, reference_key: bytes, data_key: bytes) -> None:
        self._token_key = token_key
        self._reference_key = reference_key
        self._cipher = AESGCM(data_key)

    def seal(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Ciphertexts]:
        """The batch with personal columns sealed, and what to store first."""
        subject_name = (batch.schema.metadata or {}).get(b"subject", b"").decode()
        store = Ciphertexts()
        seen: set[str] = set()
        arrays: list[pa.Array] = []
        fields: list[pa.Field] = []
        subjects: list[str | None] | None = None
        if subject_name and subject_name not in batch.schema.names:
            raise SealingError(f"the subject {subject_name!r} is no column of the batch")
        _check_types(batch.schema)
        if subject_name:
            subjects = self._tokens(subject_name, batch.column(subject_name).to_pylist(), store, seen)
        for column, spec in zip(batch.columns, batch.schema, strict=True):
            meta = spec.metadata or {}
            seal = meta.get(b"seal", b"").decode()
            if not seal:
                if meta.get(b"classification", b"") != b"none":
                    raise SealingError(
                        f"column {spec.name!r} has the privacy class "
                        f"{meta.get(b'classification', b'').decode() or 'unknown'!r} and no seal; "
                        "give it both in its contract"
                    )
                arrays.append(column)
                fields.append(pa.field(spec.name, spec.type))
            elif seal == "token":
                values = (
                    subjects
                    if spec.name == subject_name and subjects is not None
                    else self._tokens(spec.name, column.to_pylist(), store, seen)
                )
                arrays.append(pa.array(values, pa.string()))
                fields.append(pa.field(spec.name, pa.string()))
            elif seal == "reference":
                values = self._references(spec.name, column.to_pylist(), subjects, store, seen)
                arrays.append(pa.array(values, pa.string()))
                fields.append(pa.field(spec.name, pa.string()))
            elif seal == "year":
                arrays.append(pc.year(column).cast(pa.int16()))
                fields.append(pa.field(spec.name, pa.int16()))
            elif seal != "drop":
                raise SealingError(f"column {spec.name!r} asks for the unknown seal {seal!r}")
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)), store

    def encrypt(self, plain: bytes, bound_to: bytes) -> bytes:
        """Nonce and ciphertext of `plain`, readable only together with `bound_to`."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, bound_to)

    def decrypt(self, payload: bytes, bound_to: bytes) -> bytes:
        """The reverse of `encrypt`; InvalidTag if anything was changed or swapped."""
        return self._cipher.decrypt(payload[:_NONCE], payload[_NONCE:], bound_to)

    def token(self, identity: str) -> str | None:
        """The token of one identity number, None for a placeholder."""
        normal = normalised_identity(identity)
        if normal is None:
            return None
        digest = hmac.digest(self._token_key, normal.encode(), hashlib.sha256)
        return f"id{TOKEN_VERSION}_{digest[:16].hex()}"

    def _tokens(
        self, name: str, values: Iterable[str | None], store: Ciphertexts, seen: set[str]
    ) -> list[str | None]:
        made: dict[str, str | None] = {}
        out: list[str | None] = []
        for value in values:
            if value is None:
                out.append(None)
                continue
            if value not in made:
                token = made[value] = self.token(value)
                if token is not None:
                    self._store(token, name, value, store, seen)
            out.append(made[value])
        return out

    def _references(
        self,
        name: str,
        values: list[str | None],
        subjects: list[str | None] | None,
        store: Ciphertexts,
        seen: set[str],
    ) -> list[str | None]:
        # Neither an owner nor a field name can hold the separator, so no two inputs meet.
        field_bytes = b"\x1f" + name.encode() + b"\x1f"
        made: dict[tuple[str | None, str], str] = {}
        out: list[str | None] = []
        fresh: list[tuple[bytes, bytes]] = []
        blake2b, key_bytes = hashlib.blake2b, self._reference_key
        owners: Iterable[str | None] = subjects if subjects is not None else [None] * len(values)
        for key in zip(owners, values, strict=True):
            owner, value = key
            if value is None:
                out.append(None)
                continue
            reference = made.get(key)  # type: ignore[arg-type]
            if reference is None:
                plain = value.encode()
                message = (owner.encode() if owner else b"") + field_bytes + plain
                reference = PREFIX + blake2b(message, key=key_bytes, digest_size=16).hexdigest()
                made[key] = reference  # type: ignore[index]
                if reference not in seen:
                    seen.add(reference)
                    store.references.append(reference)
                    fresh.append((reference.encode(), plain))
            out.append(reference)
        # One call to the system for all nonces of the column.
        nonces = os.urandom(_NONCE * len(fresh))
        encrypt = self._cipher.encrypt
        for at, (bound_to, plain) in zip(range(0, len(nonces), _NONCE), fresh, strict=True):
            nonce = nonces[at : at + _NONCE]
            store.payloads.append(nonce + encrypt(nonce, plain, bound_to))
        store.fields += [name] * len(fresh)
        return out

    def _store(self, reference: str, name: str, value: str, store: Ciphertexts, seen: set[str]) -> None:
        if reference in seen:
            return
        seen.add(reference)
        store.references.append(reference)
        store.fields.append(name)
        store.payloads.append(self.encrypt(value.encode(), reference.encode()))
