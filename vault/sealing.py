"""Turn a clear Arrow batch into a sealed one, and the ciphertexts that must be stored before it lands.

The batch itself says what to do: field metadata ``seal`` is token, reference, year or drop, ``owner`` "nobody" for
values that are no matter of the row's person (an officer's name); schema metadata ``subject`` names the identity
column of the person a row is about, ``group`` the columns (joined by commas) whose equal values make rows belong
together: rows of a batch without a subject belong to the person of their group in another batch (a paper to its
dossier's), or to the group where no person is known. A field whose metadata name a personal class without a seal is
refused.

Every value has a *holder*, under whose key it is encrypted: the token of its person; without one, a keyed digest of
its group (``grp1_...``); else `NOBODY`. All new values that one holder has in a batch are one AES-GCM ciphertext: a
call for each value would cost more than all the rest. A reference is the proof of its own value: whoever moves it
elsewhere is found out.

Handles (tokens, references, groups) are made in version 1 and given out in the current one (`vault.handles`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
import re
import struct
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from vault.handles import Handles

TOKEN_VERSION = 1
PREFIX = f"ref{TOKEN_VERSION}_"
#: Holder of what belongs to no person and no group, such as officers' names, which many dossiers share.
NOBODY = "nobody"
#: Stands, in its current version, where an erased person's value stood: it opens nothing, and is the same for all.
UNLINKED = PREFIX + "0" * 32
_NONCE, _DIGEST, _GROUP = 12, 16, 16
_KINDS = {12: "cccd", 9: "cmnd", 10: "tax", 13: "tax"}
_TECH_ID, _PASSPORT = re.compile("[0-9A-F]{32}"), re.compile("[0-9A-Z]{6,9}")
#: Kinds with which tokens are made: a vault keeps those of its first start, for another prefix is another token. In
#: `FIRST_FORMS` passports and TechIDs were papers, and a TechID of digits alone a number.
FIRST_FORMS, FORMS = 1, 2
#: Numbers typed where none is known: they must never make two people one (irregularity 8).
#: A word ("không có") is none either: every paper's number has a digit.
_PLACEHOLDER = re.compile(r"\D*|0*\d?|(\d)\1+|0?123456789(0|012)?|1234(5(6(7(8)?)?)?)?")


#: By Unicode's category: dashes, and characters that only direct how others are shown.
_HYPHEN_OR_NOTHING = {"Pd": "-", "Cf": ""}

#: Finds the token of each text of a group's values, null where it is not known; None for a group it knows nothing of.
Persons = Callable[[str, pa.Array], pa.Array | None]


class SealingError(Exception):
    """A batch does not say how one of its personal columns is to be sealed."""


@dataclass(frozen=True)
class Ciphertexts:
    """What must be stored before a sealed batch may land.

    ``values``: reference, field, group_id, position; each reference once. ``groups``: id, holder, payload (nonce and
    AES-GCM ciphertext of the owner and of values that one holder has in a batch; what is nobody's, each for itself).
    """

    values: pa.Table
    groups: pa.Table


def normalised_identity(value: str) -> str | None:
    """An identity number with its type in front, or None for a placeholder that identifies nobody.

    12 digits are a CCCD, 9 a CMND, 10 or 13 a tax code, other digits a number. 32 hexadecimal digits are a TechID,
    six to nine characters with a letter among them a passport (ICAO 9303), anything else a paper; letters are in upper
    case. Digits of full width are digits, any dash is a hyphen, and what cannot be seen (a zero-width space) is
    nothing.

    The form alone tells the kind, for sources say none: a foreigner's passport of nine digits is taken for the CMND of
    that number.
    """
    if not value.isascii():
        plain = unicodedata.normalize("NFKC", value).replace("\u2212", "-")  # the minus sign
        value = "".join(_HYPHEN_OR_NOTHING.get(unicodedata.category(c), c) for c in plain)
    bare = value if value.isdigit() else re.sub(r"[\s.\-/]", "", value).upper()
    if _PLACEHOLDER.fullmatch(bare):
        return None
    if _TECH_ID.fullmatch(bare):
        return f"techid:{bare}"
    if bare.isdigit():
        return f"{_KINDS.get(len(bare), 'number')}:{bare}"
    return f"passport:{bare}" if _PASSPORT.fullmatch(bare) else f"paper:{bare}"


def _check_types(schema: pa.Schema) -> None:
    for spec in schema:
        seal = (spec.metadata or {}).get(b"seal", b"").decode()
        if seal in ("token", "reference") and not pa.types.is_string(spec.type):
            raise SealingError(f"column {spec.name!r} is {spec.type}; the seal {seal!r} needs text")
        if seal == "year" and not pa.types.is_date(spec.type):
            raise SealingError(f"column {spec.name!r} is {spec.type}; the seal 'year' needs a date")


def _is_subjects(spec: pa.Field) -> bool:
    """Whether a column is sealed under the row's person, or its group."""
    own = spec.metadata or {}
    return own.get(b"seal") == b"reference" and not own.get(b"owner")


class Sealer:
    """Seals batches under two derived keys; holds no state about persons."""

    def __init__(
        self, token_key: bytes, reference_key: bytes, handles: Handles | None = None, forms: int = FORMS
    ) -> None:
        self.handles = handles or Handles()
        self._forms = forms
        # Copies of a keyed state spare each value the key's own round.
        self._token_state = HMAC(token_key, SHA256())
        self._reference_state = hashlib.blake2b(key=reference_key, digest_size=_DIGEST)

    def seal(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.Table]:
        """`seal_together` of one batch."""
        (sealed,), values = self.seal_together([batch])
        return sealed, values

    def seal_together(
        self,
        batches: Sequence[pa.RecordBatch],
        persons: Persons | None = None,
        gone: Iterable[str] = (),
        unlinked: set[str] | None = None,
    ) -> tuple[list[pa.RecordBatch], pa.Table]:
        """The batches with personal columns sealed, and the clear values to encrypt (`ciphertexts`) and store first.

        Those are the text columns reference, field, holder, value; each reference once. What the tables of one chunk
        say of a person becomes one ciphertext. `persons` finds the tokens of groups of which no batch before tells.

        The holders `gone` are erased: a person's rows get no token, and `UNLINKED` in place of each reference, so that
        none of his dossiers joins another; so do rows of a group that is. `unlinked` takes the groups of such persons'
        rows, which must be closed as their keys are.
        """
        found = _Found(persons and self._first_version(persons))
        found.gone = self.handles.first(pa.array(sorted(gone), pa.string()))
        sealed = [self._seal(batch, found) for batch in batches]
        values = found.distinct()
        if unlinked is not None:
            unlinked.update(self.handles.current_of(found.unlinked))
        if self.handles.version > 1:
            at, holders = values.schema.get_field_index("holder"), values["holder"].combine_chunks()
            values = values.set_column(at, "holder", self.handles.current_of_few(holders))
        return sealed, values

    def _first_version(self, persons: Persons) -> Persons:
        """`persons` with handles in version 1, in which references are made."""

        def found(group: str, values: pa.Array) -> pa.Array | None:
            tokens = persons(group, values)
            return tokens if tokens is None else self.handles.first(tokens)

        return found

    def _seal(self, batch: pa.RecordBatch, found: _Found) -> pa.RecordBatch:
        meta = batch.schema.metadata or {}
        subject_name = meta.get(b"subject", b"").decode()
        if subject_name and subject_name not in batch.schema.names:
            raise SealingError(f"the subject {subject_name!r} is no column of the batch")
        _check_types(batch.schema)
        group = meta.get(b"group", b"").decode()
        tokens = self._tokens(batch.column(subject_name), found) if subject_name else None
        tokens = self._unlinked(batch, tokens, group, found)
        if tokens is not None and group:
            found.groups[group] = _grouped(batch, group), tokens
        holders = None
        if any(_is_subjects(spec) for spec in batch.schema):
            if tokens is None and group:
                tokens = found.persons_of(group, _grouped(batch, group))
                tokens = self._unlinked(batch, tokens, group, found)
            holders = self._holders(batch, tokens, group)
        closed = found.is_closed(holders)
        arrays: list[pa.Array] = []
        fields: list[pa.Field] = []
        for column, spec in zip(batch.columns, batch.schema, strict=True):
            own = spec.metadata or {}
            seal = own.get(b"seal", b"").decode()
            if not seal:
                if own.get(b"classification", b"") != b"none":
                    raise SealingError(
                        f"column {spec.name!r} has the privacy class "
                        f"{own.get(b'classification', b'').decode() or 'unknown'!r} and no seal; "
                        "give it both in its contract"
                    )
                arrays.append(column)
            elif seal == "token":
                made = (
                    tokens
                    if tokens is not None and spec.name == subject_name
                    else _without(self._tokens(column, found), found.gone)
                )
                arrays.append(self.handles.current_of_few(made))
                found.add(spec.name, arrays[-1], column, made)
            elif seal == "reference":
                owner = own.get(b"owner", b"").decode()
                if owner not in ("", NOBODY):
                    raise SealingError(f"column {spec.name!r} names the unknown owner {owner!r}")
                if owner or closed is None:
                    arrays.append(self._references(spec.name, column, None if owner else holders, found))
                else:
                    nothing = pa.scalar(None, pa.string())
                    made = self._references(spec.name, pc.if_else(closed, nothing, column), holders, found)
                    unlinked = pa.scalar(self.handles.current_one(UNLINKED))
                    arrays.append(pc.if_else(pc.and_(closed, column.is_valid()), unlinked, made))
            elif seal == "year":
                if tokens is not None:
                    self._keep_dates(spec.name, column, tokens, found)
                arrays.append(pc.year(column).cast(pa.int16()))
            elif seal == "drop":
                continue
            else:
                raise SealingError(f"column {spec.name!r} asks for the unknown seal {seal!r}")
            fields.append(pa.field(spec.name, arrays[-1].type))
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))

    def _keep_dates(self, name: str, column: pa.Array, tokens: pa.Array, found: _Found) -> None:
        """Whole birth dates of known persons: the row keeps the year, the vault the date (`vault.crosswalk`)."""
        # 1 January is what systems write where only the year is known: it would tell nothing more.
        year_alone = pc.equal(pc.day_of_year(column), 1)
        kept = pc.and_(tokens.is_valid(), pc.fill_null(pc.invert(year_alone), False))
        self._references(name, column.filter(kept).cast(pa.string()), tokens.filter(kept), found)

    def token(self, identity: str) -> str | None:
        """The token of one identity number, None for a placeholder."""
        made = self._token(identity)
        return made and self.handles.current_one(made)

    def _token(self, identity: str) -> str | None:
        normal = normalised_identity(identity)
        if normal is None:
            return None
        if self._forms == FIRST_FORMS:
            kind, _, bare = normal.partition(":")
            if kind in ("passport", "techid"):
                normal = f"{'number' if bare.isdigit() else 'paper'}:{bare}"
        state = self._token_state.copy()
        state.update(normal.encode())
        return f"id{TOKEN_VERSION}_{state.finalize()[:16].hex()}"

    def open(self, payload: bytes, group_id: bytes, key: bytes) -> tuple[str | None, list[str]]:
        """Owner and values of one group under its holder's key.

        The owner is the holder in the current version, None for nobody.

        InvalidTag if it was changed or stands under another id or holder.
        """
        owner, values = msgspec.msgpack.decode(decrypt(key, payload, group_id))
        # An earlier version encrypted texts, this one their bytes.
        plain = [v if isinstance(v, str) else v.decode() for v in values]
        return owner and self.handles.current_one(owner), plain

    def proves(self, reference: str, field: str, owner: str | None, value: str) -> bool:
        """Whether `reference` is the one that this value of this field of this owner gets."""
        if self.handles.version > 1:
            reference, owner = self.handles.first_one(reference), owner and self.handles.first_one(owner)
        if reference.startswith(PREFIX):
            message = b"\x1f".join([(owner or "").encode(), field.encode(), value.encode()])
            made: str | None = PREFIX + self._digests([message])[0].hex()
        else:
            made = self._token(value)
        return made is not None and hmac.compare_digest(made, reference)

    def digest(self, message: bytes) -> bytes:
        """16 bytes that stand for `message` and tell nobody without the keys what it is."""
        return self.handles.sealed_digest(self._digests([message])[0])

    def mark(self, payload: bytes) -> str:
        """By what a record without a key of its own is known again."""
        made = self._digests([payload])[0].hex()
        return made if self.handles.version == 1 else self.handles.current_one(f"dig1_{made}")

    def _digests(self, messages: Iterable[bytes]) -> list[bytes]:
        fresh, made = self._reference_state.copy, []
        for message in messages:
            state = fresh()
            state.update(message)
            made.append(state.digest())
        return made

    def _tokens(self, column: pa.Array, found: _Found) -> pa.Array:
        coded, known = column.dictionary_encode(), found.tokens
        numbers = coded.dictionary.to_pylist()
        known |= {v: self._token(v) for v in numbers if v not in known}
        return pa.array([known[v] for v in numbers], pa.string()).take(coded.indices)

    def _unlinked(
        self, batch: pa.RecordBatch, tokens: pa.Array | None, group: str, found: _Found
    ) -> pa.Array | None:
        """`tokens` with null for erased persons, the groups of whose rows are noted."""
        if tokens is None or not len(found.gone):
            return tokens
        erased = pc.is_in(tokens, found.gone)
        if not pc.any(erased).as_py():
            return tokens
        if not group:
            raise SealingError("rows of an erased person belong to no group (schema metadata `group`)")
        rows = batch.filter(erased)
        found.unlinked.update(self._holders(rows, None, group).unique().to_pylist())  # type: ignore[union-attr]
        return _without(tokens, found.gone)

    def group_of(self, dossier: tuple[str, str]) -> str:
        """Holder of what belongs to a dossier (source_code, dossier_id) of no known person."""
        message = "\x1f".join(["\x1esource_code,dossier_id", *dossier]).encode()
        return self.handles.current_one(f"grp{TOKEN_VERSION}_{self._digests([message])[0].hex()}")

    def _holders(self, batch: pa.RecordBatch, tokens: pa.Array | None, group: str) -> pa.Array | None:
        """Holder of each row: its person, else its group, else null; None if no row has any."""
        if not group or (tokens is not None and not tokens.null_count):
            return tokens
        unknown = pa.repeat(True, batch.num_rows) if tokens is None else tokens.is_null()
        # No reference's message begins so: a holder never equals one.
        joined = pc.binary_join_element_wise(f"\x1e{group}", _grouped(batch, group).filter(unknown), "\x1f")
        coded = joined.dictionary_encode()
        digests = self._digests(_raw(coded.dictionary))
        groups = _prefixed_hex(f"grp{TOKEN_VERSION}_", digests).take(coded.indices)
        return groups if tokens is None else pc.replace_with_mask(tokens, unknown, groups)

    def _references(self, name: str, column: pa.Array, holders: pa.Array | None, found: _Found) -> pa.Array:
        if holders is None:
            coded = column.dictionary_encode()
            values = coded.dictionary
            owners = pa.repeat("", len(values))
        else:
            present = column.is_valid()
            values, owners = column.filter(present), pc.fill_null(holders.filter(present), "")
        # Neither an owner nor a field name can hold the separator, so no two inputs meet.
        messages = pc.binary_join_element_wise(owners, name, values, "\x1f")
        made = self.handles.stepped("reference", b"".join(self._digests(_raw(messages))))
        references = _prefixed_hex(f"ref{self.handles.version}_", [made])
        found.add(name, references, values, owners)
        if holders is None:
            return references.take(coded.indices)
        places = np.full(len(column), -1)
        rows = np.flatnonzero(present.to_numpy(zero_copy_only=False))
        places[rows] = np.arange(len(rows))
        return references.take(pa.array(places, pa.int64(), mask=places < 0))


def encrypt(key: bytes, plain: bytes, bound_to: bytes) -> bytes:
    """Nonce and ciphertext of `plain`, readable only together with `bound_to`."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to)


def decrypt(key: bytes, payload: bytes, bound_to: bytes) -> bytes:
    """The reverse of `encrypt`; InvalidTag if anything was changed or swapped."""
    return AESGCM(key).decrypt(payload[:_NONCE], payload[_NONCE:], bound_to)


def _without(tokens: pa.Array, gone: pa.Array) -> pa.Array:
    """`tokens` with null for those in `gone`."""
    return pc.if_else(pc.is_in(tokens, gone), pa.scalar(None, pa.string()), tokens) if len(gone) else tokens


def _grouped(batch: pa.RecordBatch, group: str) -> pa.Array:
    """The columns of `group` as one text for each row."""
    names = group.split(",")
    if missing := [n for n in names if n not in batch.schema.names]:
        raise SealingError(f"the group {missing[0]!r} is no column of the batch")
    parts = [batch.column(n).cast(pa.string()) for n in names]
    return pc.binary_join_element_wise(*parts, "\x1f", null_handling="replace", null_replacement="")


def ciphertexts(values: pa.Table, keys: Mapping[str, bytes]) -> Ciphertexts:
    """Clear values, as `Sealer.seal` gives them, encrypted under the `keys` (32 bytes) of their holders.

    Values of a holder without a key vanish: it was erased.
    """
    values = values.combine_chunks()
    coded = values["holder"].combine_chunks().dictionary_encode()
    holders: list[str] = coded.dictionary.to_pylist()
    numbers = coded.indices.to_numpy().astype(np.int64)
    if gone := [n for n, holder in enumerate(holders) if holder not in keys]:
        kept = np.flatnonzero(~np.isin(numbers, gone))
        values, numbers = values.take(pa.array(kept)), numbers[kept]
    # Each of nobody's values for itself, behind all others: reading one need not open them all.
    units = numbers.copy()
    if NOBODY in keys and NOBODY in holders:
        alone = np.flatnonzero(numbers == holders.index(NOBODY))
        units[alone] = len(holders) + np.arange(len(alone))
    order = np.argsort(units, kind="stable")
    starts = np.flatnonzero(np.diff(units[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    plain = _raw(values["value"].combine_chunks())[order].tolist()
    holding = [holders[n] for n in numbers[order][starts].tolist()]
    # One call to the system for all of them.
    random = struct.iter_unpack(f"{_GROUP}s{_NONCE}s", os.urandom((_GROUP + _NONCE) * len(starts)))
    ids, payloads = [], []
    encode = msgspec.msgpack.Encoder().encode
    start, last = 0, None
    for holder, size, (group_id, nonce) in zip(holding, sizes.tolist(), random, strict=True):
        if holder != last:
            last, owner, encrypt = holder, None if holder == NOBODY else holder, AESGCM(keys[holder]).encrypt
        ids.append(group_id)
        payloads.append(nonce + encrypt(nonce, encode((owner, plain[start : start + size])), group_id))
        start += size
    id_array = pa.array(ids, pa.binary())
    group_of, position = np.empty(len(order), np.int64), np.empty(len(order), np.int32)
    group_of[order] = np.repeat(np.arange(len(starts)), sizes)
    position[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    placed = {"group_id": id_array.take(pa.array(group_of)), "position": pa.array(position)}
    made = {
        "id": id_array,
        "holder": pa.array(holding, pa.string()),
        "payload": pa.array(payloads, pa.binary()),
    }
    return Ciphertexts(
        pa.table({"reference": values["reference"], "field": values["field"]} | placed), pa.table(made)
    )


@dataclass
class _Found:
    """Values to seal: what each became, of which field, and whose they are."""

    persons: Persons | None = None
    parts: list[tuple[str, pa.Array, pa.Array, pa.Array]] = dataclasses.field(default_factory=list)
    #: Token of each identity number met.
    tokens: dict[str, str | None] = dataclasses.field(default_factory=dict)
    #: Values of each group met with a subject, and the token of each.
    groups: dict[str, tuple[pa.Array, pa.Array]] = dataclasses.field(default_factory=dict)

    #: Erased holders, and the groups in which erased persons were met.
    gone: pa.Array = dataclasses.field(default_factory=lambda: pa.array([], pa.string()))
    unlinked: set[str] = dataclasses.field(default_factory=set)

    def persons_of(self, group: str, values: pa.Array) -> pa.Array | None:
        """Token of each row's person; null, or None for all, where it is not known."""
        if group not in self.groups:
            return self.persons(group, values) if self.persons else None
        known, tokens = self.groups[group]
        return tokens.take(pc.index_in(values, known))

    def is_closed(self, holders: pa.Array | None) -> pa.Array | None:
        """Which rows have an erased holder; None if none has."""
        if holders is None or not (len(self.gone) or self.unlinked):
            return None
        closed = pc.is_in(holders, pa.concat_arrays([self.gone, pa.array(self.unlinked, pa.string())]))
        return closed if pc.any(closed).as_py() else None

    def add(self, name: str, references: pa.Array, values: pa.Array, owners: pa.Array) -> None:
        """`values` of the field `name` and of `owners`, which became `references`; a placeholder became null."""
        if references.null_count:
            valid = references.is_valid()
            references, values, owners = (a.filter(valid) for a in (references, values, owners))
        self.parts.append((name, references, values, owners))

    def distinct(self) -> pa.Table:
        """reference, field, holder, value; each reference once, as it was met first."""
        if not self.parts:
            return pa.table({n: pa.array([], pa.string()) for n in ("reference", "field", "holder", "value")})
        references = pa.concat_arrays([p[1] for p in self.parts])
        owners = pa.concat_arrays([p[3] for p in self.parts])
        table = pa.table(
            {
                "reference": references,
                "field": pa.concat_arrays([pa.repeat(p[0], len(p[1])) for p in self.parts]),
                "holder": pc.if_else(pc.equal(owners, ""), NOBODY, owners),
                "value": pa.concat_arrays([p[2] for p in self.parts]),
            }
        )
        coded = references.dictionary_encode()
        if len(coded.dictionary) == len(references):
            return table
        return table.take(pa.array(np.unique(coded.indices.to_numpy(), return_index=True)[1]))


def _raw(texts: pa.Array) -> np.ndarray:
    """The bytes of each text; Arrow makes them in a fifth of the time of Python's strings."""
    return texts.cast(pa.binary()).to_numpy(zero_copy_only=False)


def _prefixed_hex(prefix: str, digests: list[bytes]) -> pa.Array:
    """`prefix` and each digest in hexadecimal, as one array."""
    # The digits of all of them in one call.
    digits = np.frombuffer(b"".join(digests).hex().encode(), np.uint8).reshape(-1, 2 * _DIGEST)
    text = np.empty((len(digits), len(prefix) + 2 * _DIGEST), np.uint8)
    text[:, : len(prefix)] = np.frombuffer(prefix.encode(), np.uint8)
    text[:, len(prefix) :] = digits
    offsets = np.arange(len(digits) + 1, dtype=np.int32) * text.shape[1]
    return pa.StringArray.from_buffers(len(digits), pa.py_buffer(offsets), pa.py_buffer(text))
