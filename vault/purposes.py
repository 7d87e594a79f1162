"""What clear values may be read for: declared purposes, each under an agreement record, each reading recorded.

An agreement record is one YAML file, ``<folder>/<purpose>.yml``, written by whoever signed with the owner of
the other system; the vault reads it at every disclosure, so that removing the file stops all reading at once:

    document: "Thỏa thuận 12/TT-C06 ngày 01/06/2025"   # what was signed
    purpose: citizen_check
    officer_code: "H20.14-0042"                        # MaCanBo, under which the calls are made
    daily_quota: 500                                   # readings (persons, dossiers) a day, Vietnamese time
    valid_from: 2025-06-01
    valid_to: 2026-05-31                               # last day, included
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

VIETNAM = ZoneInfo("Asia/Ho_Chi_Minh")
#: Persons one call may ask for: enough to hide the way to the vault, too few to carry a list away.
MOST_AT_ONCE = 20
_FIELDS: dict[str, type] = {
    "document": str, "purpose": str, "officer_code": str, "daily_quota": int, "valid_from": dt.date,
    "valid_to": dt.date,
}  # fmt: skip


class PurposeError(Exception):
    """A request for clear values that names no known purpose, or asks in a form that is not offered."""


class AgreementError(Exception):
    """An agreement record cannot be read as one; the message names the file and what is wrong."""


class NoAgreement(AgreementError):
    """No agreement record is in force, so the purpose stays closed; the message says which and where."""


class QuotaSpent(Exception):
    """The agreement's daily quota leaves no room for what was asked; nothing was given."""


@dataclass(frozen=True)
class Purpose:
    """Which sealed columns make one person, and which kinds of identity numbers it is about."""

    identity: str
    name: str
    kinds: tuple[str, ...]


#: Purposes about persons. These, those about dossiers, repairs and reveal are all there is: nothing else gives a
#: clear value out.
PURPOSES = {
    # The national population database knows Vietnamese nationals by CCCD (12 digits) or CMND (9).
    "citizen_check": Purpose("applicant_id_number", "applicant_name", ("cccd", "cmnd")),
}


@dataclass(frozen=True)
class DossierPurpose:
    """Which sealed columns of a dossier are given: its person's (or its own, where nobody is known), and officers'."""

    fields: tuple[str, ...]
    officers: tuple[str, ...]


#: Purposes about dossiers; the quota of their agreements is in dossiers a day.
DOSSIER_PURPOSES = {
    # What the national portal asks of every dossier and of its progress (national/mapping.yml).
    "national_sync": DossierPurpose(
        (
            "applicant_id_number",
            "applicant_name",
            "applicant_phone",
            "applicant_email",
            "subject_line",
            "file_name",
            "file_url",
            "note",
        ),
        ("officer_name",),
    ),
}
#: Dossiers one call may ask for: two calls of the portal, and no list to carry away.
MOST_DOSSIERS = 50


@dataclass(frozen=True)
class Agreement:
    """One agreement record; both days are included. An officer's code may be a citizen's number."""

    document: str
    purpose: str
    officer_code: str = field(repr=False)
    daily_quota: int
    valid_from: dt.date
    valid_to: dt.date


@dataclass(frozen=True)
class Disclosure:
    """What one person's reading came to. Only ``disclosed`` carries values.

    `outcome`: ``disclosed``; ``not_held``, the vault has no such token or name (any more); ``other_paper``, the
    number is of a kind the purpose is not about; ``refused``, the name is not that person's, or the person's data are
    restricted (`vault.erasure`).
    """

    token: str
    outcome: str
    request_id: str
    identity_number: str | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class DossierDisclosure:
    """What one dossier's reading came to. Only ``disclosed`` carries values, by the handles that were asked for.

    `outcome`: ``disclosed``; ``not_held``, the vault knows no such dossier, or lacks one of the values (any more);
    ``refused``, a handle is none of this dossier's or of no column of the purpose, or the person's data are restricted.
    """

    outcome: str
    request_id: str
    values: dict[str, str] = field(default_factory=dict, repr=False)


def today() -> dt.date:
    """The day quotas and agreements are judged by: the Vietnamese one."""
    return dt.datetime.now(VIETNAM).date()


def read_agreement(folder: Path | None, purpose: str, day: dt.date) -> Agreement:
    """The agreement in force for `purpose` on `day`.

    Raises NoAgreement where there is none, it is for later, or it has ended; AgreementError where the record is
    no record.
    """
    declared = {**PURPOSES, **DOSSIER_PURPOSES}
    if purpose not in declared:
        raise PurposeError(f"the purpose {purpose!r} is not declared; declared are {', '.join(declared)}")
    if folder is None:
        raise NoAgreement("no folder of agreement records was given (KHOCHUNG_AGREEMENTS, VAULT_AGREEMENTS)")
    path = folder / f"{purpose}.yml"
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise NoAgreement(
            f"looked for the agreement record {path} (folder: setting KHOCHUNG_AGREEMENTS) and found none, so "
            f"{purpose} is switched off. Once an agreement is signed, write there: {', '.join(_FIELDS)}."
        ) from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as e:
        raise AgreementError(f"{path} cannot be read as YAML ({type(e).__name__})") from None
    given: dict[str, Any] = raw if isinstance(raw, dict) else {}
    wrong = [f"lacks {n}" for n in _FIELDS if given.get(n) in (None, "")]
    wrong += [f"has the unknown entry {n}" for n in given if n not in _FIELDS]
    # A boolean is a whole number in Python's eyes, a moment a date; neither is meant.
    wrong += [
        f"{n} is no {'text (put it in quotes)' if kind is str else kind.__name__}"
        for n, kind in _FIELDS.items()
        if given.get(n) not in (None, "") and type(given[n]) is not kind
    ]
    if not wrong:
        wrong += [f"purpose is not {purpose}"] * (given["purpose"] != purpose)
        wrong += ["daily_quota is below 1"] * (given["daily_quota"] < 1)
        wrong += ["valid_to comes before valid_from"] * (given["valid_to"] < given["valid_from"])
    if wrong:
        raise AgreementError(f"the agreement record {path}: {'; '.join(wrong)}")
    agreement = Agreement(**given)
    if not agreement.valid_from <= day <= agreement.valid_to:
        raise NoAgreement(
            f"the agreement record {path} (document {agreement.document}) is in force from "
            f"{agreement.valid_from} to {agreement.valid_to}, not on {day}, so {purpose} is switched off"
        )
    return agreement
