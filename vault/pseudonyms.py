"""Pseudonyms: what an agency sees in a person's place, another one at each agency.

``ps1_`` and the first 16 bytes, in hexadecimal, of an HMAC-SHA-256 over the person's token, under a key of the agency;
that key is an HMAC-SHA-256 over the agency's code under a key derived from the token key (`vault.keys.derive`). So

- two agencies' pseudonyms of one person have nothing in common: HMAC under different keys is as good as chance, and
  whoever learns the key of one agency learns neither another's nor the one above them;
- nobody without the vault can make the pseudonym of a given person. Numbers of identity papers could be tried through
  (a citizen's has 12 digits, most of them known), but each trial needs the key, and that of the tokens besides;
- no clear value is needed to make one, and none can be had from one;
- within an agency a person always has the same one, whichever paper was shown (`vault.crosswalk`): it may count and
  follow its own applicants. 128 bits are enough
  that two persons never meet.

A code is all that tells agencies apart: the successor of an agency, such as those of the merger of 1/7/2025, has other
pseudonyms, and joins its predecessor's list by dossiers or not at all. A new token key gives every
  agency new ones.

Whose person is erased (`vault.erasure`) has none any more. What was made before is void as soon as the answer's
``state`` is another: the caller then asks anew for all it keeps. A restricted person keeps them: they say nothing.

Every call is one entry of the audit. It holds no clear value, so it is not held up where the audit's copy cannot be
written just then; where database and copy contradict each other nothing is given.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa

from vault import crosswalk
from vault.audit import Audit, Entry
from vault.handles import Handles
from vault.keys import derive, fingerprint
from vault.persons import temporary

#: Pairs of one call: a bound on what one mistake gives away unseen, and a quarter of a second.
MOST_AT_ONCE = 20_000
VERSION = 1
#: A table of a million keys need not be read through to find the few that were destroyed.
SCHEMA = "create index if not exists person_key_erased on person_key (holder) where erased_at is not null"
_TOKEN = re.compile(r"id\d+_[0-9a-f]{32}")
_COLUMNS = ["token", "agency"]


class PseudonymError(Exception):
    """A question that is none; the message repeats nothing of it."""


class Pseudonyms:
    """Makes them under keys of its own; `do` runs a function of a cursor in one transaction of the vault's database."""

    def __init__(self, do: Callable[..., Any], token_key: bytes, audit: Audit, handles: Handles) -> None:
        self._do = do
        self._handles = handles
        self._key = derive(token_key, "pseudonym")
        self._audit = audit

    def give(self, asked: pa.Table) -> tuple[pa.Array, str]:
        """Pseudonym of each row of `asked` (text columns token, agency), null for an erased person; and the state.

        Recorded before this returns; no rows ask for the state alone, and are not. PseudonymError for what is no
        token, or too much at once; AuditCut where the audit is not whole.
        """
        if asked.schema.names != _COLUMNS or set(asked.schema.types) != {pa.string()}:
            raise PseudonymError("expected the text columns token and agency")
        if asked.num_rows > MOST_AT_ONCE:
            raise PseudonymError(f"{asked.num_rows} were asked for at once; at most {MOST_AT_ONCE} are given")
        if any(asked[n].null_count for n in _COLUMNS):
            raise PseudonymError("a token or an agency is lacking")
        tokens, agencies = (asked[n].combine_chunks().dictionary_encode() for n in _COLUMNS)
        named, codes = tokens.dictionary.to_pylist(), agencies.dictionary.to_pylist()
        if not all(map(_TOKEN.fullmatch, named)):
            raise PseudonymError("a value of the column token is none")
        # The warehouse may still hold handles of before.
        named = self._handles.current_of(named)
        # The state first: an erasure that comes between makes the answer too old, never the state too new.
        state, persons = self._do(lambda cursor: (self._state(cursor), persons_behind(cursor, named)))
        people = [persons[t] for t in named]
        keys = [derive(self._key, code) for code in codes]
        pairs = zip(tokens.indices.to_pylist(), agencies.indices.to_pylist(), strict=True)
        given = pa.array([_pseudonym(keys[a], people[t]) for t, a in pairs], pa.string())
        if asked.num_rows:
            said = f"{len(given)} pseudonyms of {len(named)} persons for {len(codes)} agencies"
            note = f"{given.null_count} of erased persons, not given" if given.null_count else ""
            self._audit.note(
                Entry("pseudonyms", "service", "answered", purpose="build", asked=said, note=note)
            )
        return given, state

    def _state(self, cursor: adbc.Cursor) -> str:
        """A name of all that earlier answers depended on: the key, who is erased, whose papers are joined."""
        cursor.execute("select count(*) from person_key where erased_at is not null and holder like 'id%'")
        return f"{fingerprint(self._key)}.{cursor.fetchall()[0][0]}.{crosswalk.state(cursor)}"


def _pseudonym(key: bytes, person: str | None) -> str | None:
    if person is None:
        return None
    return f"ps{VERSION}_{hmac.digest(key, person.encode(), hashlib.sha256)[:16].hex()}"


def persons_behind(cursor: adbc.Cursor, tokens: Sequence[str]) -> dict[str, str | None]:
    """The person that each token stands for, by the one token all its pseudonyms are made of; None if erased.

    Papers that `vault.crosswalk` has joined are one person's.
    """
    temporary(cursor, "asked_token", pa.table({"holder": pa.array(tokens, pa.string())}))
    cursor.execute(
        "select holder from pg_temp.asked_token join person_key using (holder) where erased_at is not null"
    )
    erased = {h for (h,) in cursor.fetchall()}
    cursor.execute("drop table pg_temp.asked_token")
    joined = crosswalk.canonical(cursor, tokens)
    return {t: None if t in erased else joined[t] for t in tokens}
