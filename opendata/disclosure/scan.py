"""The last look: finished files are read back, decoded, and searched for what looks like personal data.

Numbers, e-mails and references of the vault are searched everywhere, in pages and records too. A person's name is a
cell of three to five words that are all parts of names in the right places, or such words after Ông or Bà. Names of two
words are not told from other words. Long text is refused unless the approval says what it is: nobody reads free text
before it is published.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from opendata.files import FileRecord, formulas, read_back

# Patterns of personal data (RE2: no look-around). UUIDs are taken out first: a run of digits in one is no identity.
UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
PERSONAL_PATTERNS = {
    "identity number (12 or 9 digits)": r"(^|[^0-9])([0-9]{12}|[0-9]{9})([^0-9]|$)",
    "telephone number": r"(^|[^0-9.])(\+?84|0)[ .-]?([35789]([ .-]?[0-9]){8}|2([ .-]?[0-9]){9})([^0-9]|$)",
    "e-mail address": r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
    "reference of the vault": r"(ref|id)[1-9]_[0-9A-Za-z]",
}
VAULT_REFERENCE = re.compile(r"(?:ref|id)[1-9]_[0-9a-f]{8}")
#: Longer cells are taken for free text.
LONGEST_LABEL = 120
#: The formats that a spreadsheet opens; what it would run as a formula has an apostrophe before it there.
FOR_SPREADSHEETS = ("excel.csv", "xlsx")
FORMULA = "a formula that a spreadsheet would run"
#: A place whose name is that of a person.
PLACES = frozenset(["Hồ Chí Minh"])
HONORIFIC = re.compile(r"\b(?:[Ôô]ng|ÔNG|[Bb]à|BÀ)(?:\s*[:/]\s*(?:[Bb]à)?)?\s+(\S+(?:\s+\S+){1,4})")


@dataclass(frozen=True)
class Finding:
    """Personal data suspected in a finished file: where, of which kind, on how many rows. Never the value."""

    path: str
    column: str
    kind: str
    rows: int

    def __str__(self) -> str:
        return f"{self.path}, column {self.column}: {self.rows} row(s) hold what looks like: {self.kind}"


class FileScan:
    """What looks like personal data in one finished file of a table, which is read back in pieces.

    `schema` is that of the table, as its Parquet file tells it. `quantities` names whole-number columns declared as
    counts or with a unit, where 9 digits are no identity number; `texts` those whose text the approval vouches for
    (column: what it holds), where names and long text are expected. Times, dates, decimals and booleans cannot hold
    one and are skipped.
    """

    def __init__(
        self,
        file: FileRecord,
        schema: pa.Schema,
        quantities: frozenset[str],
        texts: Mapping[str, str] | None = None,
    ) -> None:
        self._file, self._schema, self._quantities, self._texts = file, schema, quantities, texts or {}
        self._rows: Counter[tuple[str, str]] = Counter()

    def look(self, piece: pa.Table) -> None:
        """Search some rows of the file, decoded."""
        for field in self._schema:
            counts = _in_column(piece[field.name], field, self._quantities, self._texts)
            if pa.types.is_string(field.type) and self._file.format in FOR_SPREADSHEETS:
                counts[FORMULA] = _rows(formulas(piece[field.name]))
            self._rows.update({(field.name, kind): rows for kind, rows in counts.items()})

    @property
    def findings(self) -> list[Finding]:
        """What was found so far, by column and kind."""
        return [
            Finding(self._file.path, name, kind, rows) for (name, kind), rows in self._rows.items() if rows
        ]


def scan_files(
    root: Path, records: list[FileRecord], quantities: frozenset[str], texts: Mapping[str, str] | None = None
) -> list[Finding]:
    """Read the finished files of one table back, decoded, and return what looks like personal data (`FileScan`)."""
    schema = next(pq.read_schema(root / file.path) for file in records if file.format == "parquet")
    findings: list[Finding] = []
    for file in records:
        scan = FileScan(file, schema, quantities, texts)
        for piece in read_back(root / file.path, file.format):
            scan.look(piece)
        findings += scan.findings
    return findings


def scan_changes(
    root: Path,
    path: Path,
    schema: pa.Schema,
    quantities: frozenset[str],
    texts: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Read a finished list of changes back and return what looks like personal data in it, or runs as a formula.

    `schema`, `quantities` and `texts` are as in `FileScan`: each value is searched as what the column it comes from
    holds.
    """
    found: Counter[tuple[str, str]] = Counter()
    for piece in read_back(path, "csv"):
        told = [(name, piece[name], name) for name in piece.column_names if name in schema.names]
        for name in pc.unique(piece["column"]).drop_null().to_pylist():
            lines = piece.filter(pc.equal(piece["column"], name))
            told += [(name, lines[side], f"{side} of {name}") for side in ("before", "after")]
        for name in piece.column_names:
            found[name, FORMULA] += _rows(formulas(piece[name]))
        for name, values, place in told:
            counts = _in_column(values, schema.field(name), quantities, texts or {})
            found.update({(place, kind): rows for kind, rows in counts.items()})
    where = path.relative_to(root).as_posix()
    return [Finding(where, place, kind, rows) for (place, kind), rows in found.items() if rows]


#: Pages and records hold these beside the words of people; each could hold nine digits in a row, or look like a number
#: to call: checksums, sizes in bytes, numbers with their thousands apart.
NO_WORDS = re.compile(
    rf"{UUID}|\b[0-9a-f]{{64}}\b|\b[0-9]+ B\b|(?<![0-9.,])[1-9][0-9]{{0,2}}(?:[.,][0-9]{{3}})+(?![0-9])"
)


def scan_words(root: Path, path: Path, declared: str) -> list[str]:
    """Search the words of a finished page, feed, dictionary or JSON record; return what is wrong, never the value.

    What stands in `declared` (the contacts and sources of the approvals) may stand there, too. Of a page its words and
    the attributes that are read out are searched, not the numbers of its tables: they come from files searched before.
    """
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".csv":
        words: Iterator[str] = (cell for row in csv.reader(io.StringIO(text)) for cell in row)
    elif path.suffix in (".json", ".jsonld"):
        words = _strings_of(json.loads(text))
    else:
        words = iter(_Words(text).found)
    counts = dict.fromkeys(PERSONAL_PATTERNS, 0)
    for word in set(words):
        plain = NO_WORDS.sub(" ", word)
        for kind, pattern in PERSONAL_PATTERNS.items():
            found = (match[0].strip(" ,;()") for match in re.finditer(pattern, plain))
            counts[kind] += any(match not in declared for match in found)
    where = path.relative_to(root).as_posix()
    return [
        f"{where}: {count} place(s) hold what looks like: {kind}" for kind, count in counts.items() if count
    ]


def _strings_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings_of(part)


class _Words(HTMLParser):
    """The words of a page or feed, each run of them alone; no scripts, which repeat a record, and no style."""

    READ_OUT = ("content", "title", "aria-label", "alt", "placeholder")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._skipped = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the words of attributes; note whether what follows is to be left out."""
        given = dict(attrs)
        self._skipped = tag in ("script", "style") or (tag == "td" and given.get("class") == "n")
        if not given.get("http-equiv"):
            self.found += [value for name in self.READ_OUT if (value := given.get(name))]

    def handle_endtag(self, tag: str) -> None:
        """Go on after what was left out."""
        self._skipped = False

    def handle_data(self, data: str) -> None:
        """Take the words between tags."""
        if not self._skipped:
            self.found.append(data)


def _in_column(
    values: pa.ChunkedArray, field: pa.Field, quantities: frozenset[str], texts: Mapping[str, str]
) -> dict[str, int]:
    """Return how many values, typed or as text, of a column that is declared as `field` hold each kind."""
    if pa.types.is_string(field.type):
        return _in_text(values, field.name in texts)
    if pa.types.is_integer(field.type) and field.name not in quantities:
        return _in_whole_numbers(values.cast(pa.string()))
    return {}


def _in_whole_numbers(digits: pa.ChunkedArray) -> dict[str, int]:
    # An identity number read as a number has lost its leading zeros, so 9 to 12 digits all count.
    return {"identity number (as a whole number)": _matches(digits, r"^-?[0-9]{9,12}$")}


def _in_text(column: pa.ChunkedArray, vouched_for: bool) -> dict[str, int]:
    """Return how many cells of a column hold each kind; values repeat, so each is looked at once."""
    counted = pc.value_counts(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    values, times = counted.field("values"), counted.field("counts")
    text = pc.replace_substring_regex(values, UUID, "")

    def rows(mask: pa.Array) -> int:
        return int(pc.sum(times.filter(pc.fill_null(mask, False))).as_py() or 0)

    counts = {
        kind: rows(pc.match_substring_regex(text, pattern)) for kind, pattern in PERSONAL_PATTERNS.items()
    }
    if not vouched_for:
        named = pa.array(
            [value is not None and holds_a_name(value) for value in values.to_pylist()], pa.bool_()
        )
        counts[
            "name of a person (if it is none, say what the column holds in the approval's disclosure.texts)"
        ] = rows(named)
        counts["free text (if it is none, say what the column holds in the approval's disclosure.texts)"] = (
            rows(pc.greater(pc.utf8_length(values), LONGEST_LABEL))
        )
    return counts


@cache
def _parts() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    read = yaml.safe_load((Path(__file__).parent / "names.yml").read_text(encoding="utf-8"))
    surnames, middle, given = (
        frozenset(read[kind].split()) for kind in ("surnames", "middle_names", "given_names")
    )
    return surnames, middle | given | surnames, given


def holds_a_name(text: str) -> bool:
    """Return whether a text is a person's name, or names one after Ông or Bà."""
    text = unicodedata.normalize("NFC", text).strip()
    if text in PLACES:
        return False
    return _is_name(text, 3) or any(
        _is_name(" ".join(match[1].split()[:words]).rstrip(",.;:)"), 2)
        for match in HONORIFIC.finditer(text)
        for words in range(2, 6)
    )


def _is_name(text: str, least: int) -> bool:
    surnames, inner, given = _parts()
    words = text.split()
    if not least <= len(words) <= 5:
        return False
    if text.isupper():
        words = [word.capitalize() for word in words]
    return words[0] in surnames and words[-1] in given and all(word in inner for word in words[1:-1])


def _matches(text: pa.ChunkedArray, pattern: str) -> int:
    return _rows(pc.match_substring_regex(text, pattern))


def _rows(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)
