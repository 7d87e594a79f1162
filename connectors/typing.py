"""From untidy values to typed Arrow columns, and the records that could not be typed.

Work goes column by column: the common case is one Arrow call for a whole column; only a column that Arrow
refuses is walked value by value, to find which records are wrong and why. Facts on the forms met:
``domain`` notes, irregularities 3 (dates), 4 (booleans).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import functools
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from connectors.contract import Column, Contract

VIETNAM = ZoneInfo("Asia/Ho_Chi_Minh")
#: A moment outside these years is a slip of the pen (0204, 2925), never a dossier.
EARLIEST, LATEST = dt.datetime(1990, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
#: So many values show whether a column's texts repeat.
_SAMPLE = 100
_ABSENT = frozenset({"", "--", "null", "NULL"})


#: Marks a key the source did not send at all, which differs from sending null.
MISSING = msgspec.UNSET


class MissingColumn(Exception):
    """A required column is absent from every record of a batch: the source changed its shape."""


@dataclass(frozen=True)
class Reject:
    """One record that broke its contract: where it stands, what was wrong. Never the value itself."""

    table: str
    key: dict[str, str | None]
    field: str
    reason: str
    position: int


@dataclass
class Typed:
    """A typed batch with the rejected records beside it."""

    batch: pa.RecordBatch
    rejects: list[Reject] = field(default_factory=list)
    #: Columns that no record sent, and texts put right by `restored`, by column.
    unsent: list[str] = field(default_factory=list)
    restored: dict[str, int] = field(default_factory=dict)


def parse_timestamp(value: Any) -> dt.datetime:
    """One moment in any form met in the field, as UTC; ValueError if it is none.

    Forms: ISO with offset or Z, ``yyyyMMddHHmmss``, ``yyyyMMdd``, ``dd/MM/yyyy[ HH:mm[:ss]]``,
    ``yyyy-MM-dd[ HH:mm:ss]``, ``yyyy/MM/dd``, epoch milliseconds. Without an offset it is Vietnamese time.
    """
    try:
        moment = _moment(value).astimezone(dt.UTC)
    except OverflowError:  # the year 1 in Vietnam is the year 0 in UTC
        raise ValueError("outside 1990 to 2100") from None
    if not EARLIEST <= moment < LATEST:
        raise ValueError("outside 1990 to 2100")
    return moment


def parse_date(value: Any) -> dt.date:
    """One calendar day in any of the forms of `parse_timestamp`, as it was in Vietnam; ValueError if none.

    Birth dates reach back before 1990, so the bounds are 1880 to 2100 here.
    """
    moment = _moment(value)
    try:
        # A moment without an offset keeps its day: Vietnam had other offsets before 1975.
        day = (moment if moment.tzinfo is VIETNAM else moment.astimezone(VIETNAM)).date()
    except OverflowError:
        raise ValueError("outside 1880 to 2100") from None
    if not 1880 <= day.year < 2100:
        raise ValueError("outside 1880 to 2100")
    return day


def _moment(value: Any) -> dt.datetime:
    if isinstance(value, bool | dict | list):
        raise ValueError(f"a {type(value).__name__} is not a moment")
    if isinstance(value, int | float):
        if not 10**11 < value < 10**13:  # below that it would be seconds, which no source sends
            raise ValueError("not epoch milliseconds")
        return dt.datetime.fromtimestamp(value / 1000, dt.UTC)
    text = str(value).strip()
    if text.isdecimal() and len(text) == 13:
        return _moment(int(text))
    try:
        if text.isdecimal():
            moment = dt.datetime.strptime(text, _DIGITS[len(text)])
        elif "/" in text:
            date, _, time = text.partition(" ")
            form = "%d/%m/%Y" if text.index("/") < 4 else "%Y/%m/%d"
            if time:
                form += " %H:%M:%S" if time.count(":") == 2 else " %H:%M"
            moment = dt.datetime.strptime(f"{date} {time}".strip(), form)
        else:
            moment = dt.datetime.fromisoformat(text)
    except (ValueError, KeyError):
        # Python's own message would quote the value, and reasons are written in clear.
        raise ValueError("no date that exists, in none of the known forms") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=VIETNAM)


_DIGITS = {14: "%Y%m%d%H%M%S", 8: "%Y%m%d"}

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
#: The spellings met, so that a whole column is one look-up a value; others go the slow way.
_BOOLEAN_FAST = {None: None, True: True, False: False, "1": True, "0": False} | {
    spelling: value for word, value in (("true", True), ("false", False)) for spelling in (word, word.title())
}


def parse_boolean(value: Any) -> bool:
    """``true``, ``"True"``, ``"1"``, ``1`` and their opposites; ValueError for anything else (also ``2``)."""
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    try:
        return _BOOLEANS[str(value).strip().lower()]
    except KeyError:
        raise ValueError("no boolean") from None


# UTF-8 read as windows-1252 or Latin-1 ("Nguyá»…n"). A byte that follows in a sequence, as the character it became:
_FOLLOWS = "\u0080-\u00bf" + "".join(
    c for b in range(0x80, 0xA0) if (c := bytes([b]).decode("cp1252", "ignore"))
)
#: Followers that people also type behind a letter: XÃ” may be a quotation's end.
_ORDINARY = "\u00a0‘’“”–—…•«»°"
#: No Vietnamese text holds these; Ä, Å and Æ are no Vietnamese letters, and á» or áº need a follower of their own.
_GARBLED = re.compile(
    f"[ÄÅÆ][{_FOLLOWS}?\ufffd]|á[º»][{_FOLLOWS}?\ufffd]|Ã(?![{_ORDINARY}])[{_FOLLOWS}]|Ã[?\ufffd](?=\\w)|â€[{_FOLLOWS}]"
)
_PERHAPS = re.compile(f"Ã[{_ORDINARY}]")
_VIETNAMESE = re.compile(r"[\x20-\x7e\s\u00a0-\u00ff\u0102\u0103\u0110\u0111\u0128\u0129\u0168\u0169\u01a0\u01a1\u01af"
                         r"\u01b0\u0300-\u036f\u1ea0-\u1ef9\u2010-\u2026\u20ab\u20ac]*")  # fmt: skip
#: The same in a column's UTF-8, to see at once that a column has none of it.
_SUSPECT = re.compile(
    rb"\xc3[\x83-\x86\xa1\xa2](?:\?|\xef\xbf\xbd|\xc2[\x80-\xbf]|\xe2[\x80\x82\x84]|\xc5[\x92\x93\xa0\xa1\xb8\xbd\xbe]|\xc6\x92|\xcb[\x86\x9c])"
)
_TO_BYTE = {c: b for b in range(256) if (c := bytes([b]).decode("cp1252", "ignore"))} | {
    chr(b): b for b in (*range(0x80), *range(0x80, 0x100))
}


def restored(text: str) -> str:
    """`text`, put right if it is UTF-8 that was read as windows-1252; ValueError where that cannot be told or undone.

    Put right only if it holds what no Vietnamese text does and all of it becomes Vietnamese; any doubt is a reject,
    never a guess.
    """
    sure, perhaps = _GARBLED.search(text), _PERHAPS.search(text)
    if not (sure or perhaps):
        return text
    try:
        whole = bytes(map(_TO_BYTE.__getitem__, text)).decode()
    except (KeyError, UnicodeDecodeError):
        whole = ""
    if not _VIETNAMESE.fullmatch(whole):
        whole = ""
    if sure and whole:
        return whole
    if sure:
        raise ValueError("looks like UTF-8 read as windows-1252, and not all of it can be restored")
    if whole:
        raise ValueError("could be UTF-8 read as windows-1252, or meant as it stands")
    return text


def _parse_string(value: Any) -> str:
    if isinstance(value, bool | float | dict | list):
        raise ValueError(f"a {type(value).__name__} is not text")
    # Before trimming: the second half of a garbled à is a space of its own.
    text = unicodedata.normalize("NFC", restored(str(value))).strip()
    if "\x00" in text:
        raise ValueError("holds a NUL byte")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode") from None
    return text


_WHOLE = re.compile(r"[+-]?[0-9]+")
#: 1.000 is a thousand in Vietnamese writing and one elsewhere.
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{3})+")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _parse_integer(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError("a boolean is not a number")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("not a whole number")
    # int() alone would take 1_000 and digits of other scripts, and refuses 5,000 digits with advice.
    text = str(int(value) if isinstance(value, float) else value).strip()
    if len(text) > 40 or not _WHOLE.fullmatch(text):
        raise ValueError("no whole number")
    return int(text)


def _parse_decimal(value: Any) -> decimal.Decimal:
    if isinstance(value, bool):
        raise ValueError("a boolean is not a number")
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError("no number")
    if isinstance(value, str) and _THOUSANDS.fullmatch(text):
        raise ValueError("its point may separate thousands or a fraction, and the source does not say which")
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:  # an exponent beyond all bounds
        raise ValueError("too large") from None


def _fit(number: decimal.Decimal, to: pa.Decimal128Type) -> decimal.Decimal:
    try:
        fitted = number.quantize(decimal.Decimal(1).scaleb(-to.scale), rounding=decimal.ROUND_HALF_UP)
    except (decimal.InvalidOperation, decimal.Overflow):
        raise ValueError("too large") from None
    if abs(fitted) >= decimal.Decimal(10) ** (to.precision - to.scale):
        raise ValueError("too large")
    return fitted


@functools.cache
def _absent() -> pa.Array:
    # Made at first use: the first pa.array of a process imports pandas, which a mere `make url` need not pay.
    return pa.array(sorted(_ABSENT))


def _as_array(values: list[Any] | pa.Array) -> pa.Array:
    """Values as text; whole numbers keep their digits. Raises where unclear."""
    if isinstance(values, pa.Array):
        if not (pa.types.is_string(values.type) or pa.types.is_integer(values.type)):
            raise pa.ArrowTypeError("neither text nor whole numbers")
        return values.cast(pa.string())
    try:
        return pa.array(values, pa.string())
    except pa.ArrowTypeError:
        if any(type(v) is not int for v in values if v is not None):
            raise
        return pa.array(values, pa.int64()).cast(pa.string())


def _texts(values: list[Any] | pa.Array) -> pa.Array:
    """Values as trimmed NFC text, absent ones null; numbers keep their digits. Raises where unclear."""
    array = _as_array(values)
    # Most texts of a source are names and codes that come again and again: each is looked at once.
    if len(array) > 500 and 2 * pc.count_distinct(array[:_SAMPLE]).as_py() < _SAMPLE:
        coded = array.dictionary_encode()
        return _clean(coded.dictionary).take(coded.indices)
    return _clean(array)


def _clean(array: pa.Array) -> pa.Array:
    data = array.buffers()[2]
    raw = data.to_pybytes() if data is not None else b""
    if b"\x00" in raw:
        raise pa.ArrowInvalid("holds a NUL byte")
    if _SUSPECT.search(raw):
        raise pa.ArrowInvalid("perhaps UTF-8 read as windows-1252; each value needs a closer look")
    # Arrow normalises at 6 us a sentence; asking Python about the whole column at once costs a tenth. What
    # is normal when strung together is normal in its parts.
    if not raw.isascii() and not unicodedata.is_normalized("NFC", raw.decode()):
        array = pc.utf8_normalize(array, form="NFC")
    array = pc.utf8_trim_whitespace(array)
    absent = pc.is_in(array, value_set=_absent())
    return pc.if_else(absent, pa.scalar(None, pa.string()), array) if pc.any(absent).as_py() else array


def _within(array: pa.Array, low: Any, high: Any) -> bool:
    bounds = pc.min_max(array)
    return not bounds["min"].is_valid or (low <= bounds["min"].as_py() and bounds["max"].as_py() < high)


#: Without an offset it is the time of Viet Nam, which has kept to +07:00 since 1975.
_DAY_FIRST_TIME = r"^([0-9]{2})/([0-9]{2})/([0-9]{4}) ([0-9]{2}:[0-9]{2}:[0-9]{2})$"
_DAY_FIRST = r"^([0-9]{2})/([0-9]{2})/([0-9]{4})$"


def _fast(values: list[Any] | pa.Array, to: pa.DataType) -> pa.Array | None:
    """The whole column in a few Arrow calls, or None where a value needs a closer look."""
    try:
        if isinstance(values, pa.Array) and not pa.types.is_string(values.type):
            if values.type == to:
                return values
            if pa.types.is_integer(values.type) and pa.types.is_integer(to):
                return values.cast(to)
            if pa.types.is_boolean(to) or not pa.types.is_integer(values.type):
                return _fast(values.to_pylist(), to)
        if pa.types.is_string(to):
            return _texts(values)
        if pa.types.is_timestamp(to):
            array = _texts(values)
            if pc.any(pc.match_substring(array, "/")).as_py():
                array = pc.replace_substring_regex(array, _DAY_FIRST_TIME, r"\3-\2-\1T\4+07:00")
            array = array.cast(to)
            return array if _within(array, EARLIEST, LATEST) else None
        if pa.types.is_date(to):
            # Not pc.strptime: it makes 3 March of 31/02.
            array = pc.replace_substring_regex(_texts(values), _DAY_FIRST, r"\3-\2-\1").cast(to)
            return array if _within(array, dt.date(1880, 1, 1), dt.date(2100, 1, 1)) else None
        if pa.types.is_boolean(to):
            plain = values.to_pylist() if isinstance(values, pa.Array) else values
            return pa.array([_BOOLEAN_FAST[v] for v in plain], to)
        if pa.types.is_integer(to):
            types = {str} if isinstance(values, pa.Array) else {type(v) for v in values}
            if types <= {int, type(None)}:
                return pa.array(values, to)
            if not types <= {str, type(None)}:  # Arrow would cut 1.5 to 1 without a word
                return None
            array = _texts(values)
            # Arrow reads 0x10 as 16.
            return None if pc.any(pc.match_substring_regex(array, "[xX]")).as_py() else array.cast(to)
        if pa.types.is_decimal(to):
            if isinstance(values, pa.Array):
                if not pa.types.is_integer(values.type):
                    return None
            elif any(v is not None and type(v) is not int for v in values):
                return None
            return pa.array(values, pa.int64()).cast(pa.decimal128(38, to.scale)).cast(to)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError, KeyError):
        return None
    return None


def _parse_birth(value: Any) -> dt.date:
    """A birth date of which the row keeps the year; many records know no more than the year, or month and year."""
    if isinstance(value, str) and (known := _YEAR.fullmatch(value.strip())):
        return parse_date(f"{known[1]}-01-01")
    return parse_date(value)


_YEAR = re.compile(r"(?:(?:0?[1-9]|1[0-2])[-/])?([0-9]{4})")


def _parser(to: pa.DataType) -> Callable[[Any], Any]:
    if pa.types.is_string(to):
        return _parse_string
    if pa.types.is_timestamp(to):
        return parse_timestamp
    if pa.types.is_date(to):
        return parse_date
    if pa.types.is_boolean(to):
        return parse_boolean
    if pa.types.is_decimal(to):
        return lambda v: _fit(_parse_decimal(v), to)
    if pa.types.is_integer(to):
        limit = 2 ** (to.bit_width - 1)

        def bounded(value: Any) -> int:
            number = _parse_integer(value)
            if not -limit <= number < limit:
                raise ValueError("too large")
            return number

        return bounded
    raise TypeError(f"no parser for {to}")


def typed_column(
    values: list[Any] | pa.Array, column: Column, array: pa.Array | None = None
) -> tuple[pa.Array, dict[int, str]]:
    """`values` as an Arrow array of the column's clear type, and {position: what is wrong}.

    `array` is what `_fast` made of them already, if it was asked.
    """
    to = column.clear_type
    if array is None:
        array = _fast(values, to)
    wrong: dict[int, str] = {}
    if array is None:
        parse = _parse_birth if column.seal == "year" else _parser(to)
        out: list[Any] = []
        for position, value in enumerate(values.to_pylist() if isinstance(values, pa.Array) else values):
            if value is None or value is MISSING or (isinstance(value, str) and value.strip() in _ABSENT):
                out.append(None)
                continue
            try:
                out.append(parse(value))
            except ValueError as e:
                out.append(None)
                wrong[position] = f"not a {column.physical_type}: {e}"
        array = pa.array(out, to)
    if column.required and array.null_count:
        for position in pc.indices_nonzero(array.is_null()).to_pylist():
            wrong.setdefault(position, "required, but empty")
    if column.allowed_values is not None:
        allowed = pa.array(column.allowed_values).cast(to)
        ok = pc.or_kleene(array.is_null(), pc.is_in(array, value_set=allowed))
        if not pc.all(ok).as_py():
            for position in pc.indices_nonzero(pc.invert(ok)).to_pylist():
                wrong.setdefault(
                    position, "not one of the allowed values " + ", ".join(map(str, column.allowed_values))
                )
    if column.minimum is not None:
        low = pc.less(array.cast(pa.float64()), column.minimum)
        if pc.any(low).as_py():
            for position in pc.indices_nonzero(pc.fill_null(low, False)).to_pylist():
                wrong.setdefault(position, f"below the minimum {column.minimum:g}")
    return array, wrong


def typed_batch(
    contract: Contract,
    columns: Mapping[str, list[Any] | pa.Array],
    source_paths: dict[str, str] | None = None,
    refused: dict[int, str] | None = None,
    seen: bool = False,
) -> Typed:
    """Type `columns` (a list or array for each contract column, all of one length) against `contract`.

    A list may hold MISSING for a key the source did not send. Records in `refused` ({position: reason})
    are rejected whatever they hold, such as children of a rejected parent.

    Raises MissingColumn when a required column is absent from every record, unless other records read with
    these had it (`seen`).
    """
    names = [c.name for c in contract.columns]
    length = len(next(iter(columns.values()))) if columns else 0
    arrays: list[pa.Array] = []
    wrong: dict[int, tuple[str, str]] = {p: ("", why) for p, why in (refused or {}).items()}
    unsent: list[str] = []
    put_right: dict[str, int] = {}
    for column in contract.columns:
        values = columns.get(column.name)
        if values is None:
            values = [MISSING] * length
        array = _fast(values, column.clear_type)
        if array is None and isinstance(values, list) and MISSING in values:
            # Records already refused, such as a dossier the source no longer has, do not tell what is missing; one
            # that holds the column tells that it is there.
            asked = [v for p, v in enumerate(values) if p not in refused] if refused else values
            if column.required and asked and not seen and all(v is MISSING for v in values):
                path = (source_paths or {}).get(column.name, column.name)
                raise MissingColumn(
                    f"required column {contract.name}.{column.name} is missing: looked for {path!r} in "
                    f"{len(asked)} records and found it in none. The source has probably renamed or removed it; "
                    "compare its answer with the connector's mapping."
                )
            if column.name in columns and asked and all(v is MISSING for v in asked):
                unsent.append(column.name)
            values = [None if v is MISSING else v for v in values]
        if array is None and pa.types.is_string(column.clear_type):
            number = _count_restored(values)
            if number:
                put_right[column.name] = number
        array, bad = typed_column(values, column, array)
        arrays.append(array)
        for position, reason in bad.items():
            wrong.setdefault(position, (column.name, reason))
    batch = pa.RecordBatch.from_arrays(arrays, schema=contract.clear_schema)
    if not wrong:
        return Typed(batch, [], unsent, put_right)
    rejects = [
        Reject(
            table=contract.name,
            key={k: _key_text(batch.column(names.index(k))[p]) for k in contract.key},
            field=field_name,
            reason=reason,
            position=p,
        )
        for p, (field_name, reason) in sorted(wrong.items())
    ]
    keep = pa.array([p not in wrong for p in range(length)], pa.bool_())
    return Typed(batch.filter(keep), rejects, unsent, put_right)


def _count_restored(values: list[Any] | pa.Array) -> int:
    number = 0
    for value in values.to_pylist() if isinstance(values, pa.Array) else values:
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                number += restored(value) != value
    return number


def _key_text(value: pa.Scalar) -> str | None:
    return None if not value.is_valid else str(value.as_py())


def repeated_rows(batch: pa.RecordBatch, key: Sequence[str]) -> set[int]:
    """Positions of rows whose key stood in an earlier row of `batch`."""
    # One number for each key: Arrow's grouping takes twice as long.
    numbers: Any = np.zeros(batch.num_rows, np.int64)
    for name in key:
        coded = batch.column(name).dictionary_encode(null_encoding="encode")
        numbers = numbers * len(coded.dictionary) + coded.indices.to_numpy()
    if pc.count_distinct(pa.array(numbers)).as_py() == batch.num_rows:
        return set()
    return first_repeated(list(zip(*(batch.column(k).to_pylist() for k in key), strict=True)))


def first_repeated(keys: Sequence[tuple[Any, ...]]) -> set[int]:
    """Positions of rows whose key stood earlier in `keys` (the first one is kept)."""
    seen: set[tuple[Any, ...]] = set()
    again: set[int] = set()
    for position, key in enumerate(keys):
        if key in seen:
            again.add(position)
        seen.add(key)
    return again
