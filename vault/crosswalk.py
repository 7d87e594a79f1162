"""The same person under several identity papers, joined in the vault only: dated, with evidence, reversibly.

Each paper (CCCD, CMND, passport, tax code) has a token of its own. A link says that two tokens are one person; a
person is what live links hold together; its canonical token is that of its CCCD, of which a citizen has but one, and
nobody else the same (Luật Căn cước 26/2023/QH15, Điều 12); without one, the smallest. An undone link stays, with who
undid it, when and why.

What is used of what the vault holds sealed (`ROLES`): full names, birth dates (the rows keep the year alone),
telephones, e-mails, addresses below the commune, and the papers' numbers: which kind each is, and the year of birth
a CCCD tells (NĐ 137/2015/NĐ-CP, Điều 13; the fourth digit is century and sex, two of the year follow). Nothing of
the rows: neither commune nor dossier. Values are opened some thousand at a time and kept, in memory, as keyed
digests; only dates are kept as they are.

Two papers are linked
- by a record that shows both: a value of `OTHER_PAPER` beside the paper the record is about, unless both papers are
  known under names of which none is common;
- by attributes: full names that are equal with all their marks (and have some: without marks Hùng and Hưng are one);
  equal birth dates, whole ones (1 January is what systems write where only the year is known); no other paper of
  either kind under that name, marks left aside, and that date; and a telephone, e-mail or address that is equal, and
  that no paper has whose name or birth date is another: what a household shares would make two of its members one.

Whatever is not unique, not confirmed or contradicts itself stays apart, and is counted by reason. A link that would
join two CCCDs is never made: it is written into ``identity_conflict``, for a person to look at. What a person has
undone is not linked again, nor brought together again by way of a third paper. Who asked that the use of his data be
restricted (`vault.erasure`) counts where a name is to be unique, and is not linked; of an erased person nothing is
there to be compared, and its links are deleted.

Matching and undoing are commands (``python -m vault match``, ``unlink``), so that no caller of the socket joins or
parts anybody. Both stand in the audit: a matching before it opens the first value, and every link, made or undone, as
one entry for each of its two papers, in the transaction that makes or undoes it.

Known limit: two persons of one name and one birth date who share a telephone that no third person has, each seen
with another kind of paper, look like one. ``python -m benchmarks crosswalk`` shows how often.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import unicodedata
import uuid
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vault.audit import Audit, Entry
from vault.persons import beside
from vault.sealing import Sealer, normalised_identity

if TYPE_CHECKING:
    from vault.store import Store

#: Of the rule that stands above; each link names the one it was made by.
RULE_VERSION = 1
#: A contract gives a second paper of the applicant under this name, with the seal `reference`: a token would show the
#: link in the row. No source of today has one.
OTHER_PAPER = "applicant_other_id_number"
#: Sealed columns, and what they tell of their owner.
ROLES = {
    "applicant_name": "name",
    "applicant_birth_year": "birth date",
    "applicant_phone": "phone",
    "applicant_email": "email",
    "applicant_address": "address",
    OTHER_PAPER: "paper",
}
#: As the audit names the rule.
_RULE = f"vault/crosswalk.py, rule {RULE_VERSION}"
#: References of these stand in no landed row (it keeps the year): such a value is in use as long as its person's token.
NOT_LANDED = ("applicant_birth_year",)
CONFIRMING = ("phone", "email", "address")
_BLOCKS_AT_ONCE = 10_000
#: Links made in one transaction: the audit waits for it, and with it every reading of clear values.
_LINKS_AT_ONCE = 500
#: Under which matching and undoing stand in the audit.
PURPOSE = "crosswalk"
#: Kinds of `normalised_identity` that are a person's papers; any other number is a slip of the keyboard.
KINDS = ("cccd", "cmnd", "passport", "techid", "paper", "tax")  # in this order they are linked

SCHEMA = """
create table if not exists identity_link (link_id uuid primary key default gen_random_uuid(),
    token_a text not null, token_b text not null, kind_a text not null, kind_b text not null,
    evidence text not null check (evidence in ('record', 'attributes')), detail text not null,
    rule_version smallint not null, matched_at timestamptz not null default now(),
    undone_at timestamptz, undone_by text, undone_why text,
    check ((undone_at is null) = (undone_by is null) and (undone_at is null) = (undone_why is null)));
create unique index if not exists identity_link_each_pair_once on identity_link
    (least(token_a, token_b), greatest(token_a, token_b));
create index if not exists identity_link_a on identity_link (token_a);
create index if not exists identity_link_b on identity_link (token_b);
create table if not exists identity_conflict (conflict_id uuid primary key default gen_random_uuid(),
    token_a text not null, token_b text not null, reason text not null, evidence text not null,
    rule_version smallint not null, found_at timestamptz not null default now());
create unique index if not exists identity_conflict_each_once on identity_conflict
    (least(token_a, token_b), greatest(token_a, token_b), reason);
create table if not exists crosswalk_run (run_id uuid primary key default gen_random_uuid(),
    rule_version smallint not null, finished_at timestamptz not null default clock_timestamp(), counts jsonb not null)
"""
#: Grave, acute, tilde, hook above, dot below.
_TONES = "\u0300\u0301\u0303\u0309\u0323"
_WITHOUT_TONES = str.maketrans("", "", _TONES)
#: A paper, and those that live links join to it, directly or by way of others.
_PAPERS = """
with recursive person(token) as (
    select $1::text union
    select case when l.token_a = p.token then l.token_b else l.token_a end from person p
    join identity_link l on (l.token_a = p.token or l.token_b = p.token) and l.undone_at is null
) select token from person"""
_WHO = re.compile(r"[\w.@-]{2,64}", re.ASCII)
#: A CCCD, a CMND, a telephone: what must not stand in a reason.
_NUMBER = re.compile(r"\d{9}")


class CrosswalkError(Exception):
    """An undoing that names no live link, or not who decided it and why."""


@dataclass(frozen=True)
class Candidate:
    """Two papers that evidence says are one person's; `detail` names attributes, never values."""

    token_a: str
    token_b: str
    kind_a: str
    kind_b: str
    evidence: str
    detail: str

    @property
    def cccd(self) -> set[str]:
        """Those of the two that are CCCDs."""
        return {t for t, kind in ((self.token_a, self.kind_a), (self.token_b, self.kind_b)) if kind == "cccd"}


@dataclass
class Components:
    """Persons as sets of tokens. Only links between two persons are added, so that undoing one parts them again."""

    members: dict[str, set[str]] = field(default_factory=dict)

    def of(self, token: str) -> set[str]:
        """All tokens of the person who has `token`."""
        return self.members.get(token, {token})

    def join(self, token_a: str, token_b: str) -> None:
        """Make one person of two."""
        both = self.of(token_a) | self.of(token_b)
        for token in both:
            self.members[token] = both


# --- values in the form in which they are compared -----------------------------------------------------


def full_and_plain(name: str) -> tuple[str, str]:
    """A full name in the form of comparison, and without marks; both empty where it is one word, or none.

    The tone stands behind each word: Hoà and Hòa are two spellings of one name.
    """
    words = unicodedata.normalize("NFD", name).casefold().replace("đ", "d\u0335").split()
    if len(words) < 2:
        return "", ""
    full = " ".join(w.translate(_WITHOUT_TONES) + "".join(c for c in w if c in _TONES) for w in words)
    return full, "".join(c for c in full if not unicodedata.combining(c))


def whole_birth_date(value: str) -> int | None:
    """Days (proleptic ordinal) of an ISO date; None for 1 January, which may be a year alone."""
    day = dt.date.fromisoformat(value)
    return None if (day.month, day.day) == (1, 1) else day.toordinal()


def birth_year(cccd: str) -> int:
    """The year of birth in the 12 digits of a CCCD."""
    return 1900 + int(cccd[3]) // 2 * 100 + int(cccd[4:6])


def comparable(role: str, value: str) -> str:
    """A telephone, e-mail or address in the form of comparison; empty where it is none that could tell a person."""
    if role == "phone":
        digits = re.sub(r"\D", "", value)
        digits = re.sub(r"^(00)?84(?=\d{9}$)", "0", digits)
        return digits if re.fullmatch(r"0\d{9,10}", digits) and len(set(digits[1:])) > 2 else ""
    if role == "email":
        bare = value.strip().casefold()
        return bare if "@" in bare[1:] else ""
    text = " ".join(re.findall(r"\w+", unicodedata.normalize("NFC", value).casefold()))
    # Without a number it is a hamlet, and many persons'.
    return text if re.search(r"\d", text) else ""


# --- reading what the vault holds -----------------------------------------------------------------------


@dataclass
class _Seen:
    """All papers the vault holds, by a number of our own, and digests of what it knows of each."""

    sealer: Sealer
    codes: dict[str, int] = field(default_factory=dict)
    #: By code: kind, and the year of birth in a CCCD (0: none).
    kinds: list[str] = field(default_factory=list)
    years: array = field(default_factory=lambda: array("q"))
    #: (code, digest without marks, digest with them), flat.
    names: array = field(default_factory=lambda: array("q"))
    #: (code, day), flat.
    births: array = field(default_factory=lambda: array("q"))
    #: (code, number of the role in CONFIRMING, digest), flat.
    attributes: array = field(default_factory=lambda: array("q"))
    #: (token of the record's paper, token of the other one it shows).
    papers: set[tuple[str, str]] = field(default_factory=set)

    def add(self, reference: str, name: str, owner: str | None, value: str) -> None:
        """One opened value: a paper's number, or what `name` tells of its owner."""
        if reference.startswith("id"):
            self._number(self._code(reference), normalised_identity(value) or "")
            return
        role = ROLES.get(name)
        # Values of nobody known belong to a record, not to a person.
        if role is None or owner is None or not owner.startswith("id"):
            return
        code = self._code(owner)
        if role == "name":
            full, plain = full_and_plain(value)
            if plain:
                self.names.extend((code, self._digest("name", plain), self._digest("name", full)))
        elif role == "birth date":
            day = whole_birth_date(value)
            if day is not None:
                self.births.extend((code, day))
        elif role == "paper":
            token = self.sealer.token(value)
            if token is not None and token != owner:
                self._number(self._code(token), normalised_identity(value) or "")
                self.papers.add((owner, token))
        elif bare := comparable(role, value):
            self.attributes.extend((code, CONFIRMING.index(role), self._digest(role, bare)))

    def _code(self, token: str) -> int:
        code = self.codes.setdefault(token, len(self.codes))
        if code == len(self.kinds):
            self.kinds.append("")
            self.years.append(0)
        return code

    def _number(self, code: int, normal: str) -> None:
        kind, _, digits = normal.partition(":")
        self.kinds[code] = kind
        self.years[code] = birth_year(digits) if kind == "cccd" else 0

    def _digest(self, role: str, value: str) -> int:
        digest = self.sealer.digest(f"crosswalk\x1f{role}\x1f{value}".encode())
        return int.from_bytes(digest[:8], "little", signed=True)


def _read(store: Store) -> _Seen:
    seen = _Seen(store.sealer)
    for references in store.references(ROLES):
        for reference, (name, owner, value) in store.opened(references).items():
            seen.add(reference, name, owner, value)
    return seen


# --- the rule -------------------------------------------------------------------------------------------


def _table(flat: array, *names: str) -> pa.Table:
    """The distinct rows of a flat list of whole numbers."""
    columns = np.array(flat, np.int64).reshape(-1, len(names)).T
    return pa.table(dict(zip(names, columns, strict=True))).group_by(list(names)).aggregate([])


def _more_than_one(table: pa.Table, of: str) -> set[int]:
    """Codes that stand with more than one value of the column `of`."""
    counted = table.group_by(["code", of]).aggregate([]).group_by("code").aggregate([(of, "count")])
    return set(counted.filter(pc.field(f"{of}_count") > 1)["code"].to_pylist())


@dataclass
class _Judge:
    """What the rule needs to know beyond one block, and the reasons why papers stayed apart."""

    seen: _Seen
    apart: Counter[str]
    several_names: set[int]
    several_dates: set[int]
    #: By code: digests that another paper has as well, with the attribute's name and whether no other person has it.
    evidence: dict[int, dict[int, tuple[str, bool]]] = field(default_factory=dict)

    def pair(self, a: int, b: int, day: int, full: dict[int, set[int]], plain: int) -> str | None:
        """The attributes that confirm two papers of one block; None, with the reason counted, if they stay apart."""
        both = {a, b}
        common = self.evidence.get(a, {}).keys() & self.evidence.get(b, {}).keys()
        found = [self.evidence[a][digest] for digest in common]
        confirmed = sorted({name for name, personal in found if personal})
        year = dt.date.fromordinal(day).year
        if both & self.several_names:
            why = "several_names"
        elif both & self.several_dates:
            why = "several_birth_dates"
        elif any(self.seen.years[code] not in (0, year) for code in both):
            why = "number_contradicts_birth_date"
        elif any(full[code] == {plain} for code in both):
            why = "name_without_marks"
        elif not (full[a] & full[b]) - {plain}:
            why = "marks_differ"
        elif not found:
            why = "not_confirmed"
        elif not confirmed:
            why = "confirmed_only_by_what_others_share"
        else:
            return ", ".join(confirmed)
        self.apart[why] += 1
        return None


def _blocks(names: pa.Table, births: pa.Table) -> pa.Table:
    """Rows of block, code, plain, full, day: papers under one name without marks and one date, two or more."""
    known = names.join(births, "code", join_type="inner")
    keys = known.group_by(["plain", "day", "code"]).aggregate([]).group_by(["plain", "day"])
    shared = keys.aggregate([("code", "count")]).filter(pc.field("code_count") > 1).select(["plain", "day"])
    shared = shared.append_column("block", pa.array(range(len(shared)), pa.int64()))
    return known.join(shared, ["plain", "day"], join_type="inner").sort_by(
        [("block", "ascending"), ("code", "ascending")]
    )


def _shared(attributes: pa.Table, blocks: pa.Table) -> pa.Table:
    """Rows of block, code, role, digest, personal: attributes of the papers in blocks that another paper has as well.

    `personal` where no paper outside the block has it. A paper in several blocks, which is nobody's, stands in one.
    """
    place = blocks.group_by(["code"]).aggregate([("block", "min")])
    held = attributes.join(place, "code")
    # A paper in no block is a person of its own.
    alone = pc.subtract(pa.scalar(-1, pa.int64()), held["code"])
    held = held.append_column("block", pc.coalesce(held["block_min"], alone))
    spread = held.group_by("digest").aggregate([("block", "min"), ("block", "max"), ("code", "count")])
    spread = spread.filter(pc.field("code_count") > 1)
    personal = pc.equal(spread["block_min"], spread["block_max"])
    spread = spread.select(["digest"]).append_column("personal", personal)
    wanted = held.filter(pc.field("block") >= 0).select(["block", "code", "role", "digest"])
    return wanted.join(spread, "digest", join_type="inner")


def _by_attributes(seen: _Seen, apart: Counter[str]) -> Iterator[Candidate]:
    names = _table(seen.names, "code", "plain", "full")
    births = _table(seen.births, "code", "day")
    blocks = _blocks(names, births)
    tokens = list(seen.codes)
    judge = _Judge(seen, apart, _more_than_one(names, "plain"), _more_than_one(births, "day"))
    shared = _shared(_table(seen.attributes, "code", "role", "digest"), blocks)
    for rows in _runs(blocks, shared, judge):
        full: dict[int, set[int]] = defaultdict(set)
        for row in rows:
            full[row["code"]].add(row["full"])
        kinds: dict[str, list[int]] = defaultdict(list)
        for code in full:
            kinds[seen.kinds[code]].append(code)
        apart["unknown_kind_of_number"] += sum(len(kinds[k]) for k in kinds if k not in KINDS)
        for one, other in combinations(sorted(k for k in kinds if k in KINDS), 2):
            if len(kinds[one]) > 1 or len(kinds[other]) > 1:
                apart["not_unique"] += 1
                continue
            a, b = kinds[one][0], kinds[other][0]
            detail = judge.pair(a, b, rows[0]["day"], full, rows[0]["plain"])
            if detail is not None:
                yield Candidate(tokens[a], tokens[b], one, other, "attributes", detail)


def _runs(blocks: pa.Table, shared: pa.Table, judge: _Judge) -> Iterator[list[dict[str, int]]]:
    """The rows of each block, after the judge was given what confirms them."""
    for start in range(0, (pc.max(blocks["block"]).as_py() or 0) + 1, _BLOCKS_AT_ONCE):
        part = (pc.field("block") >= start) & (pc.field("block") < start + _BLOCKS_AT_ONCE)
        judge.evidence = defaultdict(dict)
        for row in shared.filter(part).to_pylist():
            judge.evidence[row["code"]][row["digest"]] = (CONFIRMING[row["role"]], row["personal"])
        for _, rows in groupby(blocks.filter(part).to_pylist(), key=itemgetter("block")):
            yield list(rows)


def _by_records(seen: _Seen, apart: Counter[str]) -> tuple[list[Candidate], list[tuple[Candidate, str]]]:
    """Papers shown together, and those of them that contradict each other, with the reason."""
    known = defaultdict(set)
    wanted = {seen.codes[token] for pair in seen.papers for token in pair}
    for at in range(0, len(seen.names), 3):
        if seen.names[at] in wanted:
            known[seen.names[at]].add(seen.names[at + 1])
    claims: dict[str, list[Candidate]] = defaultdict(list)
    conflicts: list[tuple[Candidate, str]] = []
    for owner, paper in sorted(seen.papers):
        a, b = seen.codes[owner], seen.codes[paper]
        kinds = seen.kinds[a], seen.kinds[b]
        candidate = Candidate(owner, paper, *kinds, "record", OTHER_PAPER)
        if not set(kinds) <= set(KINDS):
            apart["unknown_kind_of_number"] += 1
        elif known[a] and known[b] and not known[a] & known[b]:
            conflicts.append((candidate, "names_differ"))
        else:
            claims[paper].append(candidate)
    agreed: list[Candidate] = []
    for shown in claims.values():
        # Which of two citizens a paper belongs to, its number does not tell; the first to come is not the right one.
        if len({c.token_a for c in shown if c.kind_a == "cccd"}) > 1:
            conflicts += [(c, "two_cccd") for c in shown]
        else:
            agreed += shown
    return agreed, conflicts


# --- links ----------------------------------------------------------------------------------------------


@dataclass
class _Standing:
    """The links as they were read last, and those made since by this run."""

    #: `state` of the links when they were read: whoever else changes a link changes it.
    as_of: str = ""
    persons: Components = field(default_factory=Components)
    cccd: set[str] = field(default_factory=set)
    undone: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def read(self, cursor: adbc.Cursor) -> None:
        """Read the links anew, unless they are as they were."""
        now = state(cursor)
        if now == self.as_of:
            return
        self.as_of, self.persons, self.cccd, self.undone = now, Components(), set(), defaultdict(set)
        cursor.execute(
            "select token_a, token_b, kind_a = 'cccd', kind_b = 'cccd', undone_at is null from identity_link "
            "order by matched_at, link_id"
        )
        for part in cursor.fetch_record_batch():
            for a, b, a_is_cccd, b_is_cccd, live in zip(*(c.to_pylist() for c in part.columns), strict=True):
                self.cccd |= {t for t, is_cccd in ((a, a_is_cccd), (b, b_is_cccd)) if is_cccd}
                if live:
                    self.persons.join(a, b)
                else:
                    self.undone[a].add(b)
                    self.undone[b].add(a)

    def refuses(self, c: Candidate, closed: set[str]) -> str | None:
        """Why a link is not made; None if it may be. `closed`: papers whose persons must not be linked further."""
        mine, others = self.persons.of(c.token_a), self.persons.of(c.token_b)
        if c.token_b in mine:
            return "already"
        if (mine | others) & closed:
            return "restricted_or_erased"
        if any(self.undone[token] & others for token in mine if token in self.undone):
            return "undone_by_a_person"
        return "two_cccd" if len(self.cccd & (mine | others) | c.cccd) > 1 else None


def match(store: Store) -> dict[str, Any]:
    """Look for papers of one person among all that is sealed, and link them; counts, which are also kept.

    ``papers`` seen; ``without_birth_date``, of them; ``linked`` and ``conflicts``, new ones by evidence and by reason;
    ``already`` known to be one person; ``apart``, pairs of papers (of kinds, where a kind is not unique) under one name
    and date that stayed apart, by reason. Sealing goes on meanwhile. Killed at any moment, it leaves whole links, and
    goes on when it is started again; running again links nothing twice. Raises AuditTrouble where the audit cannot be
    copied: nothing more is opened or linked then. Holds 180 MiB and 1.2 kB a paper (measured up to 271,000 papers).
    """
    run_id = str(uuid.uuid4())

    def entry(outcome: str, asked: str = "") -> Entry:
        return Entry(
            "match", "service", outcome, purpose=PURPOSE, basis=_RULE, asked=asked, request_id=run_id
        )

    store.audit.record(entry("begun"))
    seen = _read(store)
    apart: Counter[str] = Counter()
    candidates, conflicts = _by_records(seen, apart)
    # A CCCD's links come first: whoever undoes one parts that paper alone, not those that hang on it.
    candidates += sorted(
        _by_attributes(seen, apart), key=lambda c: (c.kind_a, c.kind_b, c.token_a, c.token_b)
    )
    counts = {
        "papers": len(seen.codes),
        "without_birth_date": len(seen.codes) - len(np.unique(np.array(seen.births, np.int64)[::2])),
    }
    del seen
    standing, refused, linked = _Standing(), Counter[str](), Counter[str]()
    for start in range(0, len(candidates), _LINKS_AT_ONCE):
        part, restricted = candidates[start : start + _LINKS_AT_ONCE], store.restricted()
        made, why = store._do(lambda cursor, p=part, r=restricted: _link(cursor, store.audit, p, standing, r))  # type: ignore[misc]
        store.audit.copied()
        linked.update(c.evidence for c in made)
        refused.update(reason for _, reason in why)
        conflicts += [(c, reason) for c, reason in why if reason == "two_cccd"]

    def finish(cursor: adbc.Cursor) -> dict[str, Any]:
        beside(cursor)
        erased = _erased(cursor, [c for c, _ in conflicts])
        found = [
            {"token_a": c.token_a, "token_b": c.token_b, "reason": why, "evidence": c.evidence}
            for c, why in conflicts
            if not {c.token_a, c.token_b} & erased
        ]
        written = _add(cursor, "identity_conflict", found)
        stayed = apart + Counter({why: n for why, n in refused.items() if why not in ("already", "two_cccd")})
        told = counts | {
            "linked": dict(linked),
            "already": refused["already"],
            "conflicts": dict(Counter(row["reason"] for row in written)),
            "apart": dict(sorted(stayed.items())),
        }
        cursor.execute(
            f"insert into crosswalk_run (rule_version, counts) values ({RULE_VERSION}, $1::text::jsonb)",  # noqa: S608
            (json.dumps(told),),
        )
        asked = f"{counts['papers']} papers, {linked.total()} linked"
        store.audit.append(cursor, [entry("done", asked)])
        return told

    told = store._do(finish)
    store.audit.copied()
    return told


def _link(
    cursor: adbc.Cursor,
    audit: Audit,
    candidates: Sequence[Candidate],
    standing: _Standing,
    restricted: set[str],
) -> tuple[list[Candidate], list[tuple[Candidate, str]]]:
    """Link those candidates that may be; what was linked, and what was not with the reason."""
    # One at a time: each judges by the links that stand.
    cursor.execute("lock table identity_link in exclusive mode")
    # Nobody is erased between this reading and the link.
    beside(cursor)
    standing.read(cursor)
    closed = restricted | _erased(cursor, candidates)
    made: list[Candidate] = []
    refused: list[tuple[Candidate, str]] = []
    for c in candidates:
        if why := standing.refuses(c, closed):
            refused.append((c, why))
            continue
        made.append(c)
        standing.persons.join(c.token_a, c.token_b)
        standing.cccd |= c.cccd
    added = _add(cursor, "identity_link", [vars(c) for c in made], "link_id::text as link_id")
    standing.as_of = state(cursor)
    audit.append(cursor, [e for link in added for e in _entries("link", "service", _RULE, link)])
    return made, refused


def _entries(action: str, who: str, basis: str, link: dict[str, Any]) -> list[Entry]:
    """What the audit says of a link, for each of its papers; neither entry names the other paper."""
    asked = f"{link['kind_a']} and {link['kind_b']} by {link['evidence']}: {link['detail']}"
    return [
        Entry(action, who, "done", purpose=PURPOSE, basis=basis, asked=asked, subject=token, request_id=link["link_id"])
        for token in (link["token_a"], link["token_b"])
    ]  # fmt: skip


def _erased(cursor: adbc.Cursor, candidates: Sequence[Candidate]) -> set[str]:
    """Papers of the candidates whose persons were erased."""
    wanted = " ".join(sorted({t for c in candidates for t in (c.token_a, c.token_b)}))
    cursor.execute(
        "select holder from person_key where holder = any(string_to_array($1, ' ')) and erased_at is not null",
        (wanted,),
    )
    return {h for (h,) in cursor.fetchall()}


def _add(cursor: adbc.Cursor, table: str, rows: list[dict[str, Any]], *told: str) -> list[dict[str, Any]]:
    """Insert rows that do not stand in `table` yet; those that were inserted, with the columns `told`."""
    if not rows:
        return []
    names = ", ".join(rows[0])
    cursor.execute("drop table if exists pg_temp.incoming_pair")
    cursor.adbc_ingest("incoming_pair", pa.Table.from_pylist(rows), mode="create", temporary=True)
    added = _rows(
        cursor,
        f"with added as (insert into {table} ({names}, rule_version) "  # noqa: S608 - our own names
        f"select {names}, {RULE_VERSION} from pg_temp.incoming_pair on conflict do nothing "
        f"returning {', '.join([names, *told])}) select * from added",
    )
    cursor.execute("drop table pg_temp.incoming_pair")
    return added


def _rows(cursor: adbc.Cursor, query: str, given: tuple = ()) -> list[dict[str, Any]]:
    cursor.execute(query, given or None)
    return list(cursor.fetch_arrow_table().to_pylist())


def undo(store: Store, link_id: str, who: str, why: str) -> None:
    """Part again what a link joined, for good; CrosswalkError where there is no such live link.

    `who` is the account of whoever decided it, no name; `why` the document it stands in, without numbers of persons.
    Recorded with it in the audit, for both papers; AuditTrouble where that cannot be copied.
    """
    if not _WHO.fullmatch(who):
        raise CrosswalkError("who undoes it is no account (2 to 64 letters, digits, and . @ _ -)")
    if not why.strip() or _NUMBER.search(why):
        raise CrosswalkError(
            "the basis names no document, or holds a number of nine digits or more; name the document"
        )
    try:
        wanted = str(uuid.UUID(link_id))
    except ValueError:
        raise CrosswalkError("the link's id is no UUID; `python -m vault links` tells the ids") from None
    store.audit.copied()

    def act(cursor: adbc.Cursor) -> list[dict[str, Any]]:
        cursor.execute("lock table identity_link in exclusive mode")
        found = _rows(
            cursor,
            "select link_id::text as link_id, token_a, token_b, kind_a, kind_b, evidence, detail, undone_at, "
            "undone_by, undone_why from identity_link where link_id = $1::text::uuid",
            (wanted,),
        )
        if found and found[0]["undone_at"] is None:
            cursor.execute(
                "update identity_link set undone_at = clock_timestamp(), undone_by = $2, undone_why = $3 "
                "where link_id = $1::text::uuid",
                (wanted, who, why),
            )
            store.audit.append(cursor, _entries("unlink", f"officer:{who}", why, found[0]))
        return found

    found = store._do(act)
    store.audit.copied()
    if not found:
        raise CrosswalkError(f"looked for the link {wanted} in identity_link and found none")
    before = found[0]
    # Who did not hear the answer asks again.
    if before["undone_at"] is not None and (before["undone_by"], before["undone_why"]) != (who, why):
        raise CrosswalkError(f"the link {wanted} was undone already, at {before['undone_at'].isoformat()}")


def papers(cursor: adbc.Cursor, token: str) -> list[str]:
    """The token, and those of the person's other papers as they are linked now."""
    cursor.execute(_PAPERS, (token,))
    return [token, *sorted({t for (t,) in cursor.fetchall()} - {token})]


def papers_of(store: Store, token: str) -> list[str]:
    """`papers`, asked of the store."""
    return store._do(lambda cursor: papers(cursor, token))


def forget(cursor: adbc.Cursor, tokens: Iterable[str]) -> None:
    """Delete the links and conflicts of erased papers."""
    given = (" ".join(tokens),)
    for table in ("identity_link", "identity_conflict"):
        cursor.execute(
            f"delete from {table} where token_a = any(string_to_array($1, ' ')) or "  # noqa: S608 - our own names
            "token_b = any(string_to_array($1, ' '))",
            given,
        )


def links(store: Store, token: str, who: str) -> list[dict[str, Any]]:
    """All links, undone ones too, of the papers of one person, oldest first; recorded before this returns.

    link_id, token_a, token_b, kind_a, kind_b, evidence, detail, rule_version, matched_at, undone_at, undone_by,
    undone_why. `who` is the account of whoever asks.
    """
    if not _WHO.fullmatch(who):
        raise CrosswalkError("who asks is no account (2 to 64 letters, digits, and . @ _ -)")

    def read(cursor: adbc.Cursor) -> tuple[list[str], list[dict[str, Any]]]:
        mine = papers(cursor, token)
        found = _rows(
            cursor,
            "select link_id::text as link_id, token_a, token_b, kind_a, kind_b, evidence, detail, rule_version, "
            "matched_at, undone_at, undone_by, undone_why from identity_link where "
            "token_a = any(string_to_array($1, ' ')) or token_b = any(string_to_array($1, ' ')) "
            "order by matched_at, link_id",
            (" ".join(mine),),
        )
        return mine, found

    mine, found = store._do(read)
    asked = f"{len(found)} links"
    store.audit.record(
        *(Entry("links", f"officer:{who}", "answered", purpose=PURPOSE, asked=asked, subject=t) for t in mine)
    )
    return found


def persons(cursor: adbc.Cursor, as_of: dt.datetime | None = None) -> Components:
    """Persons as they were joined at a moment (with its zone), or are now."""
    if as_of is None:
        rows = _rows(cursor, "select token_a, token_b from identity_link where undone_at is null")
    else:
        rows = _rows(
            cursor,
            "select token_a, token_b from identity_link where matched_at <= $1::text::timestamptz and "
            "(undone_at is null or undone_at > $1::text::timestamptz)",
            (as_of.isoformat(),),
        )
    joined = Components()
    for row in rows:
        joined.join(row["token_a"], row["token_b"])
    return joined


def canonical(cursor: adbc.Cursor, tokens: Iterable[str], as_of: dt.datetime | None = None) -> dict[str, str]:
    """The canonical token of each; a paper that is linked to none is its own."""
    rows = _rows(
        cursor,
        "select token_a as token from identity_link where kind_a = 'cccd' union "
        "select token_b from identity_link where kind_b = 'cccd'",
    )
    cccd = {row["token"] for row in rows}
    joined = persons(cursor, as_of)
    return {t: min(joined.of(t), key=lambda each: (each not in cccd, each)) for t in tokens}


def state(cursor: adbc.Cursor) -> str:
    """A name of how papers are joined now: another one as soon as a link is made, undone or deleted."""
    cursor.execute(
        "select count(*), count(undone_at), coalesce(max(matched_at)::text, '') from identity_link"
    )
    return ".".join(str(n) for n in cursor.fetchall()[0])


def report(store: Store) -> dict[str, Any]:
    """How many persons and links there are, by evidence; conflicts by reason; counts of the last run (None: never)."""

    def read(cursor: adbc.Cursor) -> dict[str, Any]:
        def counted(query: str) -> dict[str, int]:
            return {row["what"]: row["n"] for row in _rows(cursor, query)}

        links = counted(
            "select evidence as what, count(*) as n from identity_link where undone_at is null group by 1"
        )
        ends = _rows(
            cursor,
            "select count(distinct token) as n from identity_link cross join lateral "
            "(values (token_a), (token_b)) ends (token) where undone_at is null",
        )
        runs = _rows(
            cursor,
            "select rule_version, finished_at, counts::text as counts from crosswalk_run "
            "order by finished_at desc limit 1",
        )
        return {
            "rule_version": RULE_VERSION,
            "joined_papers": ends[0]["n"],
            # Every link made one person of two.
            "joined_persons": ends[0]["n"] - sum(links.values()),
            "links": links,
            "undone": sum(counted("select 'all' as what, count(undone_at) as n from identity_link").values()),
            "conflicts": counted("select reason as what, count(*) as n from identity_conflict group by 1"),
            "last_run": None
            if not runs
            else {
                "rule_version": runs[0]["rule_version"],
                "finished_at": runs[0]["finished_at"].isoformat(),
                **json.loads(runs[0]["counts"]),
            },
        }

    return store._do(read)
