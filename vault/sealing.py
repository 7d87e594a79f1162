"""Turn a clear Arrow batch into a sealed one, and the ciphertexts that must be stored before it lands.

The batch itself says what to do: field metadata ``seal`` is token, reference, year or drop; schema metadata
``subject`` names the identity column of the person a row is about, ``group`` the column whose equal values make
rows belong together. A field whose metadata name a personal class without a seal is refused.

All new values of a row, or of the rows of a group, are one AES-GCM ciphertext: a call for each value would cost
more than all the rest. A reference is the proof of its own value: whoever moves it elsewhere is found out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
import re
import struct
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

TOKEN_VERSION = 1
PREFIX = f"ref{TOKEN_VERSION}_"
_NONCE, _DIGEST, _GROUP = 12, 16, 16
#: Numbers typed where none is known: they must never make two people one (irregularity 8).
_PLACEHOLDER = re.compile(r"0*\d?|(\d)\1+|0?123456789(0|012)?")


class SealingError(Exception):
    """A batch does not say how one of its personal columns is to be sealed."""


@dataclass(frozen=True)
class Ciphertexts:
    """What must be stored before a sealed batch may land.

    ``values``: reference, field, group_id, position; each reference once. ``groups``: id, payload (nonce and
    AES-GCM ciphertext of the owner and all values of one row, or of the rows that belong together).
    """

    values: pa.Table
    groups: pa.Table


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
        # Copies of a keyed state spare each value the key's own round.
        self._token_state = HMAC(token_key, SHA256())
        self._reference_state = hashlib.blake2b(key=reference_key, digest_size=_DIGEST)
        self._cipher = AESGCM(data_key)

    def seal(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Ciphertexts]:
        """The batch with personal columns sealed, and what to store first."""
        meta = batch.schema.metadata or {}
        subject_name = meta.get(b"subject", b"").decode()
        if subject_name and subject_name not in batch.schema.names:
            raise SealingError(f"the subject {subject_name!r} is no column of the batch")
        _check_types(batch.schema)
        found = _Found(_groups(batch, meta.get(b"group", b"").decode()))
        owners: pa.Array | None = None
        if subject_name:
            owners = self._tokens(subject_name, batch.column(subject_name), found)
        arrays: list[pa.Array] = []
        fields: list[pa.Field] = []
        for column, spec in zip(batch.columns, batch.schema, strict=True):
            seal = (spec.metadata or {}).get(b"seal", b"").decode()
            if not seal:
                if (spec.metadata or {}).get(b"classification", b"") != b"none":
                    raise SealingError(
                        f"column {spec.name!r} has the privacy class "
                        f"{(spec.metadata or {}).get(b'classification', b'').decode() or 'unknown'!r} and no seal; "
                        "give it both in its contract"
                    )
                arrays.append(column)
            elif seal == "token":
                known = owners is not None and spec.name == subject_name
                arrays.append(owners if known else self._tokens(spec.name, column, found))
            elif seal == "reference":
                arrays.append(self._references(spec.name, column, owners, found))
            elif seal == "year":
                arrays.append(pc.year(column).cast(pa.int16()))
            elif seal == "drop":
                continue
            else:
                raise SealingError(f"column {spec.name!r} asks for the unknown seal {seal!r}")
            fields.append(pa.field(spec.name, arrays[-1].type))
        sealed = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        return sealed, self._ciphertexts(found, owners)

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
        state = self._token_state.copy()
        state.update(normal.encode())
        return f"id{TOKEN_VERSION}_{state.finalize()[:16].hex()}"

    def open(self, payload: bytes, group_id: bytes) -> tuple[str | None, list[str]]:
        """Owner and values of one group; InvalidTag if it was changed or stands under another id."""
        owner, values = msgspec.msgpack.decode(self.decrypt(payload, group_id))
        return owner, values

    def proves(self, reference: str, field: str, owner: str | None, value: str) -> bool:
        """Whether `reference` is the one that this value of this field of this owner gets."""
        if reference.startswith(PREFIX):
            digest = self.digest(b"\x1f".join([(owner or "").encode(), field.encode(), value.encode()]))
            made: str | None = PREFIX + digest.hex()
        else:
            made = self.token(value)
        return made is not None and hmac.compare_digest(made, reference)

    def digest(self, message: bytes) -> bytes:
        """16 bytes that stand for `message` and tell nobody without the key what it is."""
        state = self._reference_state.copy()
        state.update(message)
        return state.digest()

    def _tokens(self, name: str, column: pa.Array, found: _Found) -> pa.Array:
        coded = column.dictionary_encode()
        tokens = pa.array([self.token(v) for v in coded.dictionary.to_pylist()], pa.string())
        found.add(name, tokens, coded.dictionary, _first_rows(coded))
        return tokens.take(coded.indices)

    def _references(self, name: str, column: pa.Array, owners: pa.Array | None, found: _Found) -> pa.Array:
        if owners is None:
            coded = column.dictionary_encode()
            values, rows = coded.dictionary, _first_rows(coded)
            owner: pa.Array | str = ""
        else:
            present = column.is_valid()
            values, rows = column.filter(present), pc.indices_nonzero(present).to_numpy().astype(np.int64)
            owner = pc.fill_null(owners.filter(present), "")
        # Neither an owner nor a field name can hold the separator, so no two inputs meet.
        messages = pc.binary_join_element_wise(owner, name, values, "\x1f").cast(pa.binary())
        references = _prefixed_hex([self.digest(m) for m in messages.to_pylist()])
        found.add(name, references, values, rows)
        if owners is None:
            return references.take(coded.indices)
        places = np.full(len(column), -1)
        places[rows] = np.arange(len(rows))
        return references.take(pa.array(places, pa.int64(), mask=places < 0))

    def _ciphertexts(self, found: _Found, owners: pa.Array | None) -> Ciphertexts:
        """Every value found once, those of a group in one ciphertext."""
        references, fields, values, rows = found.distinct()
        groups = found.groups[rows]
        order = np.argsort(groups, kind="stable")
        starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
        sizes = np.diff(starts, append=len(order))
        plain = values.take(pa.array(order)).to_pylist()
        if owners is None:
            owning: list[str | None] = [None] * len(starts)
        else:
            owning = owners.take(pa.array(rows[order][starts])).to_pylist()
        # One call to the system for all of them.
        random = struct.iter_unpack(f"{_GROUP}s{_NONCE}s", os.urandom((_GROUP + _NONCE) * len(starts)))
        ids, payloads = [], []
        encode, encrypt = msgspec.msgpack.Encoder().encode, self._cipher.encrypt
        start = 0
        for owner, size, (group_id, nonce) in zip(owning, sizes.tolist(), random, strict=True):
            ids.append(group_id)
            payloads.append(nonce + encrypt(nonce, encode((owner, plain[start : start + size])), group_id))
            start += size
        id_array = pa.array(ids, pa.binary())
        positions = np.arange(len(order)) - np.repeat(starts, sizes)
        return Ciphertexts(
            pa.table(
                {
                    "reference": references.take(pa.array(order)),
                    "field": fields.take(pa.array(order)),
                    "group_id": id_array.take(pa.array(np.repeat(np.arange(len(starts)), sizes))),
                    "position": pa.array(positions, pa.int32()),
                }
            ),
            pa.table({"id": id_array, "payload": pa.array(payloads, pa.binary())}),
        )


@dataclass
class _Found:
    """Values to seal: what each became, and the row it stood in first."""

    #: Group of each row of the batch.
    groups: np.ndarray
    parts: list[tuple[str, pa.Array, pa.Array, np.ndarray]] = dataclasses.field(default_factory=list)

    def add(self, name: str, references: pa.Array, values: pa.Array, rows: np.ndarray) -> None:
        """`values` of the field `name`, which became `references`; a placeholder became null."""
        if references.null_count:
            valid = references.is_valid()
            references, values = references.filter(valid), values.filter(valid)
            rows = rows[valid.to_numpy(zero_copy_only=False)]
        self.parts.append((name, references, values, rows))

    def distinct(self) -> tuple[pa.Array, pa.Array, pa.Array, np.ndarray]:
        """References, fields, values and rows; each reference once, as it was met first."""
        if not self.parts:
            return pa.array([], pa.string()), pa.array([], pa.string()), pa.array([], pa.string()), _NO_ROWS
        references = pa.concat_arrays([p[1] for p in self.parts])
        fields = pa.concat_arrays([pa.repeat(p[0], len(p[1])) for p in self.parts])
        values = pa.concat_arrays([p[2] for p in self.parts])
        rows = np.concatenate([p[3] for p in self.parts])
        first = _first_rows(references.dictionary_encode())
        if len(first) < len(references):
            kept = pa.array(first)
            references, fields, values, rows = (
                references.take(kept),
                fields.take(kept),
                values.take(kept),
                rows[first],
            )
        return references, fields, values, rows


_NO_ROWS = np.array([], np.int64)


def _groups(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """A number for each row: rows of equal `name` belong together; without one, each row for itself."""
    if not name:
        return np.arange(batch.num_rows)
    if name not in batch.schema.names:
        raise SealingError(f"the group {name!r} is no column of the batch")
    return batch.column(name).dictionary_encode(null_encoding="encode").indices.to_numpy()


def _first_rows(coded: pa.DictionaryArray) -> np.ndarray:
    """Position at which each entry of the dictionary is met first."""
    indices = coded.indices
    positions = np.arange(len(indices))
    if indices.null_count:
        valid = indices.is_valid().to_numpy(zero_copy_only=False)
        positions, indices = positions[valid], indices.drop_null()
    return positions[np.unique(indices.to_numpy(), return_index=True)[1]]


def _prefixed_hex(digests: list[bytes]) -> pa.Array:
    """``ref1_`` and the digest in hexadecimal, as one array."""
    raw = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST)
    text = np.empty((len(raw), len(PREFIX) + 2 * _DIGEST), np.uint8)
    text[:, : len(PREFIX)] = np.frombuffer(PREFIX.encode(), np.uint8)
    text[:, len(PREFIX) :] = _HEX[raw].reshape(len(raw), 2 * _DIGEST)
    offsets = np.arange(len(raw) + 1, dtype=np.int32) * text.shape[1]
    return pa.StringArray.from_buffers(len(raw), pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))


#: Two hexadecimal digits for each byte.
_HEX = np.array([list(f"{b:02x}".encode()) for b in range(256)], np.uint8)
