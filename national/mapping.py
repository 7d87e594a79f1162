"""What is sent, in the portal's words: `mapping.yml` as checked objects, and the three forms of an item.

A *draft* holds handles of the vault where persons stand; its keyed hash tells whether a dossier changed, without any
clear value. A *clear* item is made of a draft for one call and kept nowhere. A *masked* item has keyed hashes in the
place of personal values; it is what the outbox keeps and what the portal's own words are compared with.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import hmac
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

VIETNAM = ZoneInfo("Asia/Ho_Chi_Minh")
FILE = Path(__file__).with_name("mapping.yml")
FORMS = (
    "text", "moment", "iso", "flag", "switch", "code", "amount", "number", "identity", "account",
)  # fmt: skip
_WORDS = {
    "column", "otherwise", "form", "codes", "rows", "fields", "absent", "most", "required", "personal",
    "constant", "why",
}  # fmt: skip
Item = dict[str, Any]
#: How a masked personal value begins; no value of the portal does.
MASK = "\u2317"
#: How a handle of the vault begins in a draft.
HANDLE = "\u26bf"
_REPLACED = "[…]"


class MappingError(Exception):
    """The mapping, or a value it meets, is wrong; the message names the field, never a value."""


@dataclass(frozen=True)
class Field:
    """One field of the portal's tables."""

    name: str
    column: str = ""
    otherwise: str = ""
    form: str = "text"
    codes: dict[Any, str] = field(default_factory=dict)
    rows: str = ""
    fields: tuple[Field, ...] = ()
    absent: Any = ""
    most: int = 0
    required: bool = False
    personal: bool = False
    constant: str = ""
    why: str = ""

    @property
    def is_list(self) -> bool:
        """Whether the portal has a list there."""
        return bool(self.rows) or self.absent == []

    @functools.cached_property
    def names(self) -> dict[str, Any]:
        """The portal's code -> ours."""
        return {theirs: ours for ours, theirs in self.codes.items()}

    def read(self, value: Any) -> Any:
        """A value as the portal writes it, in our words; MappingError for a code the mapping does not know."""
        if value in (None, "", self.absent):
            return None
        if self.form == "code":
            if value not in self.names:
                raise MappingError(f"{self.name}: the portal's code is not in the mapping")
            return self.names[value]
        if self.form == "moment":
            try:
                return dt.datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=VIETNAM)
            except ValueError:
                raise MappingError(f"{self.name}: not written as yyyyMMddHHmmss") from None
        if self.form == "flag":
            return value == "1"
        return value

    def write(self, row: Mapping[str, Any]) -> Any:
        """The field of a draft; `absent` where the row has no value, MappingError for a code without a counterpart."""
        if self.rows:
            return [{f.name: f.write(r) for f in self.fields} for r in row.get(self.rows) or ()]
        if self.constant:
            return self.constant
        value = row.get(self.column) if self.column else None
        if value in (None, "") and self.otherwise:
            value = row.get(self.otherwise)
            return self.absent if value in (None, "") else str(value)
        if value in (None, ""):
            return self.absent
        if self.personal:
            return HANDLE + str(value)
        return self._written(value)

    def _written(self, value: Any) -> Any:
        if self.form == "code":
            if value not in self.codes:
                raise MappingError(f"{self.name}: code {value!r} has no counterpart at the portal")
            return self.codes[value]
        if self.form in ("moment", "iso"):
            local = value.astimezone(VIETNAM)
            return local.strftime("%Y%m%d%H%M%S" if self.form == "moment" else "%Y-%m-%dT%H:%M:%S")
        if self.form == "flag":
            return "1" if value else "0"
        if self.form == "switch":
            return bool(value)
        if self.form == "number":
            return int(value)
        if self.form == "amount":
            return str(int(Decimal(value)))
        text = str(value)
        return text[: self.most] if self.most else text


@dataclass(frozen=True)
class Table:
    """All fields of one service."""

    name: str
    version: int
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field:
        """A field by its name."""
        return next(f for f in self.fields if f.name == name)

    @functools.cached_property
    def personal(self) -> frozenset[str]:
        """Names of fields, lists included, that hold a personal value."""
        return frozenset(f.name for f in self.fields if f.personal or any(g.personal for g in f.fields))

    def draft(self, row: Mapping[str, Any]) -> tuple[Item, list[str]]:
        """The draft of a row, and what keeps it from being sent: names of fields, sorted."""
        made: Item = {}
        lacking: list[str] = []
        for f in self.fields:
            try:
                made[f.name] = f.write(row)
            except MappingError:
                made[f.name] = f.absent
                lacking.append(f.name)
            if f.required and made[f.name] in ("", None, []) and f.name not in lacking:
                lacking.append(f.name)
        return made, sorted(lacking)

    def masked(self, item: Mapping[str, Any], key: bytes) -> Item:
        """A clear item, ours or the portal's, without anything personal and in one writing."""
        return _masked(self.fields, item, key)

    def filled(self, draft: Item, values: Mapping[str, str], accounts: Mapping[str, str | None]) -> Item:
        """A clear item: each handle replaced by its value, an account's by the portal's id of it (None: it has none).

        KeyError where the vault gave no value for a handle.
        """
        return {f.name: _filled(f, draft.get(f.name, f.absent), values, accounts) for f in self.fields}

    def differing(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
        """Names of fields in which two masked items differ."""
        return [f.name for f in self.fields if one.get(f.name, f.absent) != other.get(f.name, f.absent)]


def handles(draft: Any) -> Iterator[str]:
    """All handles of a draft."""
    if isinstance(draft, str):
        if draft.startswith(HANDLE):
            yield draft[len(HANDLE) :]
    elif isinstance(draft, dict):
        for value in draft.values():
            yield from handles(value)
    elif isinstance(draft, list):
        for value in draft:
            yield from handles(value)


def hashed(item: Any, key: bytes) -> str:
    """Keyed hash of a draft or a masked item: 32 hexadecimal digits."""
    text = json.dumps(item, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hmac.digest(key, text.encode(), hashlib.sha256).hex()[:32]


def identity(number: str) -> list[Item]:
    """DinhDanhCHS of a number: 1 a CCCD of 12 digits, 2 a CMND of 9; other papers have no kind there."""
    digits = re.sub(r"[\s.\-]", "", number)
    kind = {12: "1", 9: "2"}.get(len(digits)) if digits.isdigit() else None
    return [{"LoaiDinhDanh": kind, "SoDinhDanh": digits}] if kind else []


def scrubbed(words: str, values: Iterable[str], most: int = 400) -> str:
    """The portal's words without any of a dossier's personal values, whatever their case, marks or spacing."""
    plain, where = _plain(words)
    cut: list[tuple[int, int]] = []
    for value in {*values}:
        wanted = _plain(value)[0]
        at = plain.find(wanted) if len(wanted) >= 3 else -1
        while at >= 0:
            cut.append((where[at], where[at + len(wanted) - 1] + 1))
            at = plain.find(wanted, at + 1)
    out, end = "", 0
    for first, last in sorted(cut):
        if last > end:
            out += words[end:first] + _REPLACED if first >= end else ""
            end = last
    # Another person's number or telephone goes, too; a dossier's code (H20.19-250702-0001) stays.
    return re.sub(r"(?<![\w.-])\+?(?:\d[ .]?){8,12}\d(?![\w-])", _REPLACED, out + words[end:])[:most]


def _plain(text: str) -> tuple[str, list[int]]:
    """Letters and digits of a text in small letters without marks, and where each stood."""
    letters: list[str] = []
    where: list[int] = []
    for at, char in enumerate(text):
        for c in unicodedata.normalize("NFD", char.lower().replace("đ", "d")):
            if c.isalnum():
                letters.append(c)
                where.append(at)
    return "".join(letters), where


def _masked(fields: Iterable[Field], item: Mapping[str, Any], key: bytes) -> Item:
    made: Item = {}
    for f in fields:
        value = item.get(f.name)
        if f.is_list:
            if f.form == "identity":
                made[f.name] = _mask(value, key) if value else []
            else:
                made[f.name] = [_masked(f.fields, one, key) for one in value or () if isinstance(one, dict)]
        elif value in (None, ""):
            made[f.name] = f.absent
        else:
            made[f.name] = _mask(value, key) if f.personal else value
    return made


def _filled(f: Field, value: Any, values: Mapping[str, str], accounts: Mapping[str, str | None]) -> Any:
    if f.fields:
        return [
            {g.name: _filled(g, row.get(g.name, g.absent), values, accounts) for g in f.fields}
            for row in value
        ]
    if not isinstance(value, str) or not value.startswith(HANDLE):
        return value
    handle = value[len(HANDLE) :]
    if f.form == "account":
        return accounts.get(handle)
    clear = values[handle]
    if f.form == "identity":
        return identity(clear)
    return clear[: f.most] if f.most else clear


def _mask(value: Any, key: bytes) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return MASK + hmac.digest(key, text.encode(), hashlib.sha256).hex()[:16]


# --- the file --------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def read_mapping(path: Path = FILE) -> dict[str, Table]:
    """{"dossier": ..., "progress": ...}; MappingError lists all that is wrong with the file."""
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as e:
        raise MappingError(f"looked for the mapping to the national portal in {path}: {e}") from None
    wrong: list[str] = []
    if not isinstance(body, dict) or set(body) != {"version", "dossier", "progress"}:
        raise MappingError(f"{path}: version, dossier and progress are wanted, and nothing else")
    tables = {
        name: Table(name, int(body["version"]), tuple(_fields(body[name], name, wrong)))
        for name in ("dossier", "progress")
    }
    if wrong:
        raise MappingError(f"{path}: {'; '.join(wrong)}")
    return tables


def _fields(given: Any, where: str, wrong: list[str]) -> Iterator[Field]:
    for name, spec in given.items() if isinstance(given, dict) else ():
        at = f"{where}.{name}"
        if not isinstance(spec, dict) or set(spec) - _WORDS:
            wrong.append(f"{at} may hold {', '.join(sorted(_WORDS))}")
            continue
        sources = [w for w in ("column", "constant", "rows", "why") if w in spec]
        if len(sources) != 1:
            wrong.append(f"{at} needs exactly one of column, constant, rows, why")
        if spec.get("form", "text") not in FORMS:
            wrong.append(f"{at}: form is one of {', '.join(FORMS)}")
        codes = spec.get("codes") or {}
        if (spec.get("form") == "code") != bool(codes):
            wrong.append(f"{at}: codes belong to form code")
        if len(set(codes.values())) < len(codes):
            wrong.append(f"{at}: a code of the portal stands there twice, so it cannot be read back")
        if spec.get("required") and spec.get("constant"):
            wrong.append(f"{at}: a constant is never lacking")
        nested = tuple(_fields(spec["fields"], at, wrong)) if "fields" in spec else ()
        if bool(nested) != ("rows" in spec):
            wrong.append(f"{at}: rows and fields belong together")
        kept = {k: v for k, v in spec.items() if k != "fields"}
        if "rows" in spec:
            kept["absent"] = []
        yield Field(name=name, fields=nested, **kept)
