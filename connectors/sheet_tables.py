"""Where a contract's table stands on a sheet: headings, titles, totals and notes told apart from records.

A column is known by its name, its ``businessName`` or one of its ``aliases`` in the contract, whatever rows
of title stand above; headings may fill several rows with merged cells. A table may also be spread out: where
headings are values of contract columns (``Nam`` and ``Nữ`` under each age band), each such cell is a record.

Custom properties read here. Of a table: ``ignored`` (headings known and not wanted), ``captions`` (headings
that only group others). Of a column: ``aliases``; ``valueAliases`` ({as written: value}) and ``valuePatterns``
([[regular expression, value]]); ``titleLabels`` (words in a line above the table, after which its value
stands); ``additive: false`` (a total row need not be its sum).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from connectors.contract import Column, Contract, ContractError
from connectors.sheets import Refused, Sheet

#: Rows of headings, and how far down they may begin.
HEADING_ROWS, SEARCHED_ROWS = 4, 60
_TOTAL = ("tổng", "tổng số", "tổng cộng", "cộng", "chung", "toàn tỉnh", "cả tỉnh", "total", "grand total")
_TOTAL_BEGINS = re.compile(r"(tổng|cộng|total)\b")
#: Headings of lists of persons: such a file is not for this door, whatever else it holds.
_PERSONS = re.compile(
    r"họ (và )?(chữ đệm và )?tên|số (cccd|cmnd|cmt|căn cước|định danh|điện thoại|giấy tờ)|\b(cccd|cmnd|sđt|email)\b"
    r"|căn cước|định danh cá nhân|ngày,? (tháng,? năm )?sinh|địa chỉ|nơi ở|chủ hộ|full ?name|date of birth|identity"
)
_DAY = re.compile(
    r"(\d{1,2})\s*(?:[/.-]|tháng)\s*(\d{1,2})\s*(?:[/.-]|năm)\s*(\d{4})", re.IGNORECASE
)  # also: ngày 01 tháng 7 năm 2025


@functools.lru_cache(maxsize=1 << 14, typed=True)
def fold(value: object) -> str:
    """Text for comparison: NFC, lower case, single spaces, plain dashes, no colon or asterisk at the end.

    Tone marks stay: *Nam* is a sex and *Năm* a year.
    """
    text = unicodedata.normalize("NFC", str(value)).casefold()
    return " ".join(re.sub("[\u2010-\u2015\u2212]", "-", text).split()).strip(" :*")


def letter(position: int) -> str:
    """Name of a column as Excel shows it: 0 is A, 26 is AA."""
    name = ""
    position += 1
    while position:
        position, rest = divmod(position - 1, 26)
        name = chr(65 + rest) + name
    return name


class Values:
    """How the values of one column may be written; `known` says whether its values can be told at all."""

    def __init__(self, column: Column) -> None:
        self._written = {fold(v): v for v in column.allowed_values or ()}
        aliases = column.custom.get("valueAliases") or {}
        patterns = column.custom.get("valuePatterns") or []
        if not isinstance(aliases, dict) or not isinstance(patterns, list):
            raise ContractError(
                f"{column.name}: valueAliases is {{as written: value}}, valuePatterns [[regex, value]]"
            )
        self._written |= {fold(k): v for k, v in aliases.items()}
        self._patterns = [(re.compile(str(p)), str(v)) for p, v in patterns]
        self._allowed = None if column.allowed_values is None else set(column.allowed_values)
        self.known = bool(self._written)
        self._seen: dict[tuple[Any, type], Any] = {}

    def of(self, cell: Any) -> Any:
        """The value a cell stands for; the cell itself where it is none of them."""
        if not (self._written or self._patterns) or isinstance(cell, bool) or not isinstance(cell, str | int):
            return cell
        if (cell, type(cell)) not in self._seen:
            self._seen[(cell, type(cell))] = self._value(cell)
        return self._seen[(cell, type(cell))]

    def _value(self, cell: str | int) -> Any:
        text = fold(cell)
        if text in self._written:
            return self._written[text]
        for pattern, value in self._patterns:
            if m := pattern.fullmatch(text):
                made = m.expand(value)
                if self._allowed is None or fold(made) in self._written:
                    return self._written.get(fold(made), made)
        return cell

    def holds(self, text: str) -> bool:
        """Whether `text` is one of the values."""
        return self.known and self.of(text) in set(self._written.values())


class Words:
    """The words of one contract: which heading means which column."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.columns = tuple(c for c in contract.columns if c.name != "source_code")
        personal = [c.name for c in self.columns if c.classification != "none"]
        if personal:
            raise ContractError(
                f"contract {contract.name} has personal columns ({', '.join(personal)}); files that are dropped hold "
                "aggregates only. Lists of persons come from their own system through a connector and the vault."
            )
        self.values = {c.name: Values(c) for c in self.columns}
        self.headings: dict[str, str] = {}
        self._own: dict[str, set[str]] = {}
        for c in self.columns:
            for word in (c.name, c.business_name, *_words(c.custom, "aliases", c.name)):
                taken = self.headings.setdefault(fold(word), c.name) if word else c.name
                if taken != c.name:
                    raise ContractError(
                        f"contract {contract.name}: {word!r} is a heading of {taken} and of {c.name}"
                    )
        self.ignored = {fold(w) for w in _words(contract.custom, "ignored", contract.name)}
        self.captions = {fold(w) for w in _words(contract.custom, "captions", contract.name)}

    @functools.cached_property
    def measures(self) -> list[str]:
        """Required columns outside the key that hold whole numbers or decimals."""
        return [
            c.name for c in self.columns if c.required and c.name not in self.contract.key and is_number(c)
        ]

    def knows(self, text: str) -> bool:
        """Whether a text of a heading means anything: a column, a caption, a sum, a value."""
        plain = self.ignored | self.captions | self.headings.keys() | set(_TOTAL)
        return text in plain or any(v.holds(text) for v in self.values.values())

    def label(self, name: str) -> str:
        """A column's name for people."""
        column = self.contract.column(name)
        return f"'{column.business_name}' ({name})" if column.business_name else f"'{name}'"


def is_number(column: Column) -> bool:
    """Whether a column holds whole numbers or decimals."""
    return pa.types.is_integer(column.clear_type) or pa.types.is_decimal(column.clear_type)


def _words(custom: Mapping[str, object], name: str, where: str) -> list[str]:
    value = custom.get(name) or []
    if not isinstance(value, list) or not all(isinstance(w, str) for w in value):
        raise ContractError(f"{where}: {name} must be a list of texts")
    return value


@dataclass
class Layout:
    """Where the table of a contract stands on a sheet."""

    sheet: Sheet
    words: Words
    top: int
    bottom: int
    columns: dict[str, int]
    #: {position: {column: value}} of headings that are values; their cells hold `measure`.
    spread: dict[int, dict[str, Any]] = field(default_factory=dict)
    measure: str | None = None
    constants: dict[str, Any] = field(default_factory=dict)
    undeclared: dict[int, str] = field(default_factory=dict)


@dataclass
class Miss:
    """The best that was found of a table, in words."""

    score: int
    vi: str
    en: str


def find(sheet: Sheet, words: Words) -> Layout | Miss:
    """The table of a contract on a sheet, or what comes nearest to it."""
    best = Miss(0, "không dòng nào mang tiêu đề của bảng", "no row holds the headings of the table")
    for bottom in range(min(len(sheet.rows), SEARCHED_ROWS)):
        if not any(c is not None for c in sheet.rows[bottom]):
            continue
        for top in range(bottom, max(-1, bottom - HEADING_ROWS), -1):
            found = _layout(sheet, words, top, bottom)
            if isinstance(found, Layout):
                return found
            if found.score > best.score:
                best = found
    return best


def _layout(sheet: Sheet, words: Words, top: int, bottom: int) -> Layout | Miss:
    paths = _paths(sheet, top, bottom)
    layout = Layout(sheet, words, top, bottom, {})
    doubled: list[tuple[str, int, int]] = []
    rest: dict[int, list[str]] = {}
    for position, path in paths.items():
        name = words.headings.get(" / ".join(path)) or words.headings.get(path[-1])
        if name is None:
            rest[position] = path
        elif name in layout.columns:
            doubled.append((name, layout.columns[name], position))
        else:
            layout.columns[name] = position
    wanted = [c.name for c in words.columns if c.required and c.name not in layout.columns]
    for name in wanted:
        value = _from_title(sheet, words.contract.column(name), top)
        if value is not None:
            layout.constants[name] = value
    wanted = [n for n in wanted if n not in layout.constants]
    measures = [n for n in words.measures if n in wanted]
    if len(measures) == 1:
        dimensions = [n for n in wanted if n != measures[0]]
        layout.spread = _spread(words, rest, dimensions, measures[0])
        if layout.spread:
            layout.measure = measures[0]
            wanted = []
            if _caption_above(sheet, layout):
                return Miss(0, "", "")
    score = len(layout.columns)
    if doubled:
        name, one, other = doubled[0]
        where = f"{letter(one)}, {letter(other)}"
        return Miss(
            score,
            f"hai cột ({where}) cùng mang tiêu đề của {words.label(name)}; hãy đổi tên hoặc bỏ một cột",
            f"two columns ({where}) both have the heading of {words.label(name)}; rename or remove one",
        )
    if wanted or not layout.columns:
        return _missing(words, layout, wanted, rest, bottom)
    for position, path in rest.items():
        is_sum = bool(layout.spread) and not set(path).isdisjoint(_TOTAL)
        if position not in layout.spread and not is_sum and path[-1] not in words.ignored | words.captions:
            layout.undeclared[position] = " / ".join(path)
    return layout


def _missing(words: Words, layout: Layout, wanted: list[str], rest: dict[int, list[str]], row: int) -> Miss:
    names = ", ".join(words.label(n) for n in wanted)
    seen = ", ".join(words.label(n) for n in layout.columns)
    others = ", ".join(letter(p) for p, path in rest.items() if not all(map(words.knows, path)))
    return Miss(
        len(layout.columns),
        f"thiếu cột bắt buộc {names}. Ở dòng tiêu đề {row + 1} nhận ra {seen or 'không cột nào'}"
        + (f"; không nhận ra tiêu đề của cột {others}" if others else ""),
        f"missing required column {names}. Heading row {row + 1} has {seen or 'none of the columns'}"
        + (f"; the headings of columns {others} are not known" if others else ""),
    )


def _paths(sheet: Sheet, top: int, bottom: int) -> dict[int, list[str]]:
    """{position: texts of its headings from above, each once}; positions without any are left out."""
    width = max((len(r) for r in sheet.rows[top : bottom + 1]), default=0)
    grid = [[*sheet.rows[r], *[None] * width][:width] for r in range(top, bottom + 1)]
    if sheet.merged is not None:
        for first, left, last, right in sheet.merged:
            if top <= first and last <= bottom and left < width:
                for row in range(first, last + 1):
                    grid[row - top][left : min(right + 1, width)] = [grid[first - top][left]] * (
                        min(right + 1, width) - left
                    )
    else:
        # A text file keeps a merged cell's text in its first cell alone; the cells it spanned have headings below.
        for row in range(len(grid) - 1):
            for position in range(1, width):
                spanned = None not in grid[row + 1][position - 1 : position + 1]
                if grid[row][position] is None and spanned:
                    grid[row][position] = grid[row][position - 1]
    paths: dict[int, list[str]] = {}
    for position in range(width):
        texts = [fold(row[position]) for row in grid if row[position] is not None]
        path = [t for i, t in enumerate(texts) if i == 0 or t != texts[i - 1]]
        if path:
            paths[position] = path
    return paths


def _spread(
    words: Words, rest: dict[int, list[str]], dimensions: list[str], measure: str
) -> dict[int, dict[str, Any]]:
    """Columns whose headings are values of `dimensions`; empty unless they are, all of them, each once."""
    found: dict[int, dict[str, Any]] = {}
    captions = words.captions | {w for w, c in words.headings.items() if c in (*dimensions, measure)}
    for position, path in rest.items():
        values: dict[str, Any] = {}
        strange = False
        for part in path:
            name = next((d for d in dimensions if d not in values and words.values[d].holds(part)), None)
            if name is not None:
                values[name] = words.values[name].of(part)
            elif part not in captions and part not in words.ignored:
                strange = True
        if values and strange and not any(p in _TOTAL for p in path):
            return {}  # a year or a place above the values: they would not mean what they say
        if len(values) == len(dimensions) and not strange:
            found[position] = values
    distinct = {tuple(sorted(v.items())) for v in found.values()}
    return found if dimensions and len(distinct) == len(found) else {}


def _caption_above(sheet: Sheet, layout: Layout) -> bool:
    """Whether a merged heading stands above spread columns but not above all: it must be read, too."""
    everything = {*layout.columns.values(), *layout.spread}
    for first, left, last, right in sheet.merged or ():
        covered = set(range(left, right + 1)) & everything
        if first <= layout.top - 1 <= last and covered & set(layout.spread) and covered != everything:
            return True
    return False


def _from_title(sheet: Sheet, column: Column, top: int) -> Any:
    """The value of a column that a line above the table states, such as the day of the figures."""
    labels = [fold(w) for w in _words(column.custom, "titleLabels", column.name)]
    found: list[Any] = []
    for row in sheet.rows[:top] if labels else ():
        for position, cell in enumerate(row):
            text = "" if cell is None else fold(cell)
            label = next((w for w in labels if w in text), None)
            if label is None:
                continue
            told: Any = text.partition(label)[2].strip(" :()")
            if not told:
                told = next((c for c in row[position + 1 :] if c is not None), None)
            if pa.types.is_date(column.clear_type) and isinstance(told, str):
                day = _DAY.search(told)
                told = f"{day[3]}-{int(day[2]):02d}-{int(day[1]):02d}" if day else None
            if told is not None and told not in found:
                found.append(told)
    if len(found) > 1:
        raise Refused(
            f"phần trên bảng ghi {len(found)} giá trị khác nhau cho '{column.business_name or column.name}'",
            f"the lines above the table give {len(found)} different values of {column.name}",
        )
    return found[0] if found else None


# --- rows -------------------------------------------------------------------------------------------


@dataclass
class Records:
    """Records of a sheet as cells, column by column, and what else stood among them."""

    sheet: str
    columns: dict[str, list[Any]]
    #: For each record its row as Excel numbers it, and its position where the table is spread out.
    rows: list[int] = field(default_factory=list)
    positions: list[int | None] = field(default_factory=list)
    #: For each row of data with values of undeclared columns: (record, {heading: cell}).
    undeclared: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    #: Rows that are no records: {why: rows}.
    left_out: dict[str, list[int]] = field(default_factory=dict)
    #: (row, number of records before it, {position: cell}) of total rows.
    totals: list[tuple[int, int, dict[int, Any]]] = field(default_factory=list)


def records(layout: Layout) -> Records:
    """The records below the headings of `layout`."""
    words, sheet = layout.words, layout.sheet
    heads = [[None if c is None else fold(c) for c in r] for r in sheet.rows[layout.top : layout.bottom + 1]]
    keys = [layout.columns[k] for k in words.contract.key if k in layout.columns]
    taken = set(layout.columns.values())
    headed = set(_paths(sheet, layout.top, layout.bottom))
    numbers = {layout.columns[m] for m in words.measures if m in layout.columns} | set(layout.spread)
    names = [*layout.columns, *layout.constants]
    if layout.measure:
        names += [*next(iter(layout.spread.values())), layout.measure]
    out = Records(sheet.name, {n: [] for n in names})
    begun = False
    # Below the last number and a gap there are signatures only, also where they stand under a key's heading.
    backwards = range(len(sheet.rows) - 1, layout.bottom, -1)
    last = next((i for i in backwards if _counted(dict(enumerate(sheet.rows[i])), numbers)), 0)
    gap = False
    for index in range(layout.bottom + 1, len(sheet.rows)):
        row = sheet.rows[index]
        cells = {p: c for p, c in enumerate(row) if c is not None}
        if not cells:
            gap = True
            continue
        folded = {p: fold(c) for p, c in cells.items() if isinstance(c, str)}
        why = ""
        if not begun and _numbers_columns(cells):
            why = "numbers of columns"
        elif any(len(folded) > 1 and all(h[p : p + 1] == [t] for p, t in folded.items()) for h in heads):
            why = "headings again"
        elif _is_total(folded, [k for k in keys if k not in cells]):
            why = "totals"
            out.totals.append((index + 1, len(out.rows), {p: cells[p] for p in numbers if p in cells}))
        elif _is_note(cells, keys, taken, numbers) or (numbers and gap and index > last):
            why = "notes"
        begun, gap = True, bool(why)
        if why:
            out.left_out.setdefault(why, []).append(index + 1)
            continue
        extra = {f"{h} ({letter(p)})": cells[p] for p, h in layout.undeclared.items() if p in cells}
        extra |= {f"({letter(p)})": c for p, c in cells.items() if p not in headed}
        if extra:
            out.undeclared.append((len(out.rows), extra))
        for position, values in layout.spread.items() or ((None, {}),):
            out.rows.append(index + 1)
            out.positions.append(position)
            for name, at in layout.columns.items():
                out.columns[name].append(words.values[name].of(cells.get(at)))
            for name, value in {**layout.constants, **values}.items():
                out.columns[name].append(value)
            if layout.measure and position is not None:
                out.columns[layout.measure].append(cells.get(position))
    return out


def _numbers_columns(cells: dict[int, Any]) -> bool:
    """A row such as (A) (B) (1) (2) (3=1+2) below the headings."""
    texts = [re.sub(r"[()\s]|=.*", "", str(c)) for c in cells.values()]
    numbers = [int(t) for t in texts if t.isdecimal() and len(t) < 4]
    plain = all(re.fullmatch(r"\d{1,3}|[A-Za-z]", t) for t in texts)
    return plain and len(texts) > 1 and numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 1


def _is_total(folded: dict[int, str], empty_keys: list[int]) -> bool:
    """A total says so in a cell of its own; one that goes on (Tổng số xã A) lacks a part of the key as well."""
    return any(t in _TOTAL or (empty_keys and _TOTAL_BEGINS.match(t)) for t in folded.values())


def _counted(cells: dict[int, Any], numbers: set[int]) -> bool:
    return any(re.search("[0-9]", str(cells[p])) for p in numbers if cells.get(p) is not None)


def _is_note(cells: dict[int, Any], keys: list[int], taken: set[int], numbers: set[int]) -> bool:
    """A signature, a remark, the name of a group: no digit where numbers stand, and no whole key."""
    if numbers:
        return not _counted(cells, numbers) and not all(k in cells for k in keys)
    return len(taken & cells.keys()) < min(2, len(taken))


def looks_like_persons(layout: Layout) -> list[str]:
    """Letters of columns whose headings belong to a list of persons."""
    return [letter(p) for p, heading in layout.undeclared.items() if _PERSONS.search(heading)]
