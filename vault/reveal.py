"""Reveal: one officer reads values of the person of one dossier, for one purpose, with a stated reason.

Officers stand in one YAML file (VAULT_OFFICERS), written by whoever answers for the vault and read at each call, so
that an officer taken out of it reads nothing any more:

    H58.14-0042:                                    # code of the officer, as the audit names him
      name: "Lê Thị Tiếp Nhận"
      agency: "H58.14"                              # the one agency whose dossiers may be read
      purposes: [settle_dossier]
      document: "Quyết định 45/QĐ-SNV ngày 01/06/2025"   # by which the right was given
      daily_quota: 50                               # dossiers a day, Vietnamese time
      secret_sha256: "..."                          # of the officer's bearer secret: 64 hexadecimal digits
      valid_from: 2025-06-01
      valid_to: 2026-05-31                          # last day, included

What belongs to a dossier, and whose it is, the vault knows from the sealing: a contract names the columns of the
dossier's key and of the agency that decides (schema metadata ``dossier`` and ``agency``), and each sealed row leaves
the references made in it, the person's token and the agency as one row of ``sealed_dossier``, proved by a keyed hash
over all of it. What a source says last holds. The vault never asks the warehouse.

Who holds what can do what:

- the socket and the vault's bearer token: seal, but not reveal. A batch that claims a dossier for another agency
  replaces its references by those of the claimed values, so it opens only what its author typed;
- an officer's secret and the socket: read dossiers of that agency up to the daily quota, each recorded under his name;
- the vault's database: not a value (the ciphertexts), no other agency for a dossier (the proof); an earlier row of
  the same dossier may be put back, which lets its earlier agency read its earlier values;
- the file of officers: add himself. It belongs to root, outside the reach of the vault's callers, and changes of it
  are to be reviewed as those of agreements are.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from vault.purposes import today
from vault.sealing import SealingError

#: What an officer may reveal for; nothing else.
PURPOSES = {
    "settle_dossier": "giải quyết hồ sơ",
    "answer_citizen": "trả lời chính công dân",
    "inspect": "thanh tra, kiểm tra",
}
LONGEST_REASON = 500
_FIELDS: dict[str, type] = {
    "name": str, "agency": str, "purposes": list, "document": str, "daily_quota": int, "secret_sha256": str,
    "valid_from": dt.date, "valid_to": dt.date,
}  # fmt: skip
_PROVED = ("source_code", "dossier_id", "agency", "token", "refs")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class RevealRefused(Exception):
    """Nothing is revealed; `note` says why in one word for the audit, `status` is the answer's."""

    def __init__(self, note: str, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.note = note
        self.status = status


@dataclass(frozen=True)
class Officer:
    """One entry of the file of officers. A code may be a citizen's number, so neither is printed."""

    code: str = field(repr=False)
    name: str = field(repr=False)
    agency: str
    purposes: tuple[str, ...]
    document: str
    daily_quota: int
    secret_sha256: str = field(repr=False)
    valid_from: dt.date
    valid_to: dt.date


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked: values of `fields` of the person of one dossier."""

    purpose: str
    source_code: str
    dossier_id: str
    reason: str
    fields: list[str]


@dataclass(frozen=True)
class Dossier:
    """What the vault holds of a dossier: the person's token (empty for a placeholder), the agency, references."""

    source_code: str
    dossier_id: str
    agency: str
    token: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Revealed:
    """The answer: clear values by field (those the dossier has), and what is left of the officer's day."""

    request_id: str
    values: dict[str, str] = field(repr=False)
    left: int


def read_request(body: bytes) -> Request:
    """The request in a JSON body; RevealRefused says what is wrong, and repeats nothing of it."""
    try:
        asked = msgspec.json.decode(body, type=Request)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise RevealRefused(
            "malformed",
            "expected JSON with the texts purpose, source_code, dossier_id, reason and the list of texts fields",
            422,
        ) from None
    if asked.purpose not in PURPOSES:
        raise RevealRefused(
            "unknown purpose", f"the purpose is not declared; there are {', '.join(PURPOSES)}", 422
        )
    if not 10 <= len(asked.reason.strip()) <= LONGEST_REASON:
        raise RevealRefused(
            "no reason", f"state in `reason`, in 10 to {LONGEST_REASON} letters, why this is read", 422
        )
    if not asked.fields:
        raise RevealRefused(
            "no fields", "name in `fields` the columns to be read, such as applicant_phone", 422
        )
    return asked


def officer_of(path: Path | None, secret: str) -> Officer:
    """The officer whose bearer secret this is; RevealRefused if it is nobody's."""
    found = next(
        (
            o
            for o in read_officers(path).values()
            if hmac.compare_digest(hashlib.sha256(secret.encode()).hexdigest(), o.secret_sha256)
        ),
        None,
    )
    if found is None:
        raise RevealRefused("unknown officer", f"the bearer secret is none of an officer in {path}", 401)
    return found


def in_force(officer: Officer, purpose: str, path: Path | None, day: dt.date | None = None) -> None:
    """RevealRefused unless the officer may read for `purpose` on `day`."""
    day = day or today()
    if not officer.valid_from <= day <= officer.valid_to:
        raise RevealRefused(
            "not in force",
            f"the officer's entry in {path} is in force from {officer.valid_from} to {officer.valid_to}, not on {day}",
        )
    if purpose not in officer.purposes:
        raise RevealRefused("other purpose", f"the officer's entry in {path} does not name this purpose")


def read_officers(path: Path | None) -> dict[str, Officer]:
    """{code: officer}; RevealRefused lists what is wrong with the file."""
    if path is None:
        raise RevealRefused(
            "no officers", "no file of officers was given (KHOCHUNG_OFFICERS, VAULT_OFFICERS)"
        )
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise RevealRefused(
            "no officers",
            f"looked for the officers who may reveal in {path} (setting KHOCHUNG_OFFICERS) and found none, so reveal "
            "is switched off; docs/operations.md shows an entry",
        ) from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as e:
        raise RevealRefused("bad officers", f"{path} cannot be read as YAML ({type(e).__name__})") from None
    wrong: list[str] = []
    found: dict[str, Officer] = {}
    entries = raw.items() if isinstance(raw, dict) else ()
    if not isinstance(raw, dict):
        wrong.append("holds no entries")
    for number, (code, entry) in enumerate(entries, 1):
        # By its place: the code may be a citizen's number.
        troubles = _troubles(code, entry)
        wrong += [f"entry {number} {t}" for t in troubles]
        if not troubles:
            found[code] = Officer(code=code, **entry | {"purposes": tuple(entry["purposes"])})
    hashes = [o.secret_sha256 for o in found.values()]
    if len(set(hashes)) < len(hashes):
        wrong.append("two officers share a secret")
    if wrong:
        raise RevealRefused("bad officers", f"the file of officers {path}: {'; '.join(wrong)}")
    return found


def _troubles(code: Any, entry: Any) -> list[str]:
    if not isinstance(code, str) or not isinstance(entry, dict):
        return ["is no officer (a code in quotes, and its fields)"]
    wrong = [f"lacks {n}" for n in _FIELDS if entry.get(n) in (None, "", [])]
    wrong += ["has an unknown field"] * bool(entry.keys() - _FIELDS.keys())
    wrong += [
        f"has in {n} no {'text (put it in quotes)' if kind is str else kind.__name__}"
        for n, kind in _FIELDS.items()
        if entry.get(n) not in (None, "", []) and type(entry[n]) is not kind
    ]
    if not wrong:
        wrong += ["names an unknown purpose"] * any(p not in PURPOSES for p in entry["purposes"])
        wrong += ["has a daily_quota below 1"] * (entry["daily_quota"] < 1)
        wrong += ["has in secret_sha256 no 64 hexadecimal digits"] * (
            not _SHA256.fullmatch(entry["secret_sha256"])
        )
        wrong += ["ends before it begins"] * (entry["valid_to"] < entry["valid_from"])
    return wrong


def dossiers(
    batch: pa.RecordBatch, sealed: pa.RecordBatch, digest: Callable[[bytes], bytes]
) -> pa.Table | None:
    """Rows of ``sealed_dossier`` for a batch whose schema names them; None for any other.

    source_code, dossier_id, agency, token (may be empty), refs (references, one space between), proof (16 bytes),
    row (place in the batch: of a dossier met twice the last one holds).
    """
    meta = batch.schema.metadata or {}
    key = meta.get(b"dossier", b"").decode().split()
    if not key:
        return None
    named = [*key, meta.get(b"agency", b"").decode()]
    for name in named:
        if name not in sealed.schema.names or not pa.types.is_string(sealed.schema.field(name).type):
            raise SealingError(f"the dossier's column {name!r} is no text column of the batch")
    if len(key) != 2:
        raise SealingError("the schema's metadata `dossier` names not the two columns source and dossier")
    subject = meta.get(b"subject", b"").decode()
    seals = {f.name: (f.metadata or {}).get(b"seal", b"") for f in batch.schema}
    columns = [sealed.column(n) for n in sealed.schema.names if seals.get(n) in (b"token", b"reference")]
    source, dossier, agency = (pc.fill_null(sealed.column(n), "") for n in named)
    token = pc.fill_null(sealed.column(subject), "") if subject else pa.repeat("", len(source))
    nothing = pa.repeat("", len(source))
    refs = pc.binary_join_element_wise(*columns, nothing, " ", null_handling="skip")
    refs = pc.utf8_rtrim(refs, " ")
    # With their lengths, so that no text can pass for two.
    lengths = [pc.binary_length(c).cast(pa.string()) for c in (source, dossier, agency)]
    messages = pc.binary_join_element_wise("dossier", *lengths, source, dossier, agency, token, refs, "\x1f")
    proofs = [digest(m) for m in messages.cast(pa.binary()).to_pylist()]
    return pa.table(
        {
            "source_code": source, "dossier_id": dossier, "agency": agency, "token": token, "refs": refs,
            "proof": pa.array(proofs, pa.binary()), "row": pa.array(range(len(source)), pa.int32()),
        }
    )  # fmt: skip


def proved(row: dict[str, Any], digest: Callable[[bytes], bytes]) -> Dossier | None:
    """The dossier of a row of ``sealed_dossier``; None if the vault did not write it so."""
    if not hmac.compare_digest(digest(message_of(row)), row["proof"]):
        return None
    texts = [row[n] for n in _PROVED]
    return Dossier(texts[0], texts[1], texts[2], texts[3], tuple(row["refs"].split(" ")))


def message_of(row: dict[str, Any]) -> bytes:
    """What a row of ``sealed_dossier`` is proved by the digest of; the same as in `dossiers`."""
    texts = [row[n] for n in _PROVED]
    lengths = [str(len(text.encode())) for text in texts[:3]]
    return "\x1f".join(["dossier", *lengths, *texts]).encode()
