"""Tables that agencies drop as files: population counts, yearly indices, reports of vertical agencies.

Publishes: whatever lies in a folder (a share, an SFTP target), as CSV or XLSX; one source is one folder and
one contract. Misbehaves: every office has its own headings, encodings, number and date forms, titles and
signatures; files are sent twice, corrected, sent half. Whom to call: the office named in the list of sources.

A new table needs a contract and an entry in the list of sources, no code (docs/drop-a-file.md). Only
aggregates come this way: a contract with personal columns, or a file that looks like a list of persons, is
refused. The folder itself is the record: what was taken lies unchanged in ``da-nhan/<end of the run's
interval>/``, named by the order of taking, its size and checksum; what was refused stays with a message beside it,
``<name>.tu-choi.txt``. Whoever still has a file open when it is taken writes on into the archive: a file there that
has grown is read again, whole. Names of files and sheets may be persons' (*Danh sách hộ Nguyễn Văn A*): they stand in
the folder, and sealed beside a rejected record. Everywhere else a file is called by its time and checksum, a sheet by
its number.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
import hashlib
import os
import re
import sys
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from connectors.base import Chunk, Connector, Endpoint, Request, SourceError, SourceRefused
from connectors.cells import Unclear, Writing, as_decimal, decimal_mark, plain
from connectors.contract import contract
from connectors.sheet_tables import (
    Layout,
    Miss,
    Records,
    Words,
    find,
    fold,
    is_number,
    letter,
    looks_like_persons,
    records,
)
from connectors.sheets import UNPACKED_LIMIT, Reading, Refused, Sheet, readings
from connectors.typing import VIETNAM, Reject

ARCHIVE = "da-nhan"
REFUSAL, RECEIPT = ".tu-choi.txt", ".da-nhan.txt"
#: Names of copies under way, of Excel's locks, of what file managers leave.
_PASSING = re.compile(
    r"~\$.*|\..*|.*\.(part|partial|tmp|temp|filepart|crdownload|download|!ut)|thumbs\.db|desktop\.ini|.*~",
    re.IGNORECASE,
)
#: A citizen's number, in one or in groups; or any paper's number behind its name.
_IDENTITY = re.compile(
    r"(?<![0-9])0(?:[ .\u00a0-]?[0-9]){11}(?![0-9])"
    r"|(?:cccd|cmnd|cmtnd|căn cước|chứng minh|hộ chiếu|định danh)\D{0,20}[A-Z]?(?:[ .]?[0-9]){7}",
    re.IGNORECASE,
)
#: What is left of one where it became a number: no noughts in front. Province, century and sex, year of birth; amounts
#: of money end in noughts.
_LEFT_OF_ONE = re.compile(r"(?:[1-9]|[1-9][0-9])(?:[01][0-9]{2}|[23][0-2][0-9])[0-9]{6}(?<!000)")
#: A file of the archive: which one it was of its day, how many bytes were taken, start of their checksum, its name.
_KEPT = re.compile(r"(?:(?P<number>[0-9]+)-(?P<size>[0-9]+)_)?(?P<sha>[0-9a-f]{16})_(?P<name>.+)", re.DOTALL)
_LISTED = 30
_IN_VIETNAMESE = (
    ("required, but empty", "bắt buộc nhưng để trống"),
    ("not one of the allowed values", "không thuộc các giá trị cho phép"),
    ("below the minimum", "nhỏ hơn mức tối thiểu"),
    ("not a ", "không đọc được đúng kiểu dữ liệu"),
)


class NothingDropped(SourceError):
    """No new file lies in the folder: nothing to do, and no failure."""


class FilesRefused(SourceRefused):
    """Every new file was refused; messages lie beside them."""


@dataclass(frozen=True)
class Kept:
    """One file of the archive, as its place and name tell; `size` of those taken is None in older archives."""

    path: Path
    number: int
    size: int | None
    sha: str
    name: str

    @property
    def order(self) -> tuple[str, int, int]:
        """Its place among all that were taken."""
        return self.path.parent.name, self.number, self.path.stat().st_mtime_ns


@dataclass
class Dropped:
    """One file of the folder: `day` is its place in the archive, None while it waits or has grown there."""

    path: Path
    name: str
    day: str | None
    sha256: str = ""
    content: bytes = field(default=b"", repr=False)
    state: tuple[int, int, int] = (0, 0, 0)

    @property
    def shown(self) -> str:
        """What it is called outside the folder and the vault."""
        return _called(self.state[1], self.sha256)


@dataclass
class Understood:
    """A file as columns of one table: plain values, where each record stands, what else was in it."""

    reading: Reading
    writing: Writing
    columns: dict[str, list[Any]]
    #: The same as they were written.
    cells: dict[str, list[Any]]
    wrong: dict[int, tuple[str, Unclear]]
    sheets: list[tuple[Layout, Records]]
    skipped: list[str]

    def places(self) -> list[tuple[str, int]]:
        """(sheet, row as Excel numbers it) of each record."""
        return [(r.sheet, row) for _, r in self.sheets for row in r.rows]


@dataclass
class _Written(Sequence[Any]):
    """Records as they were written, made where one is asked for."""

    understood: Understood
    name: str
    places: list[tuple[str, int]]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, position: Any) -> Any:
        sheet, row = self.places[position]
        cells = {n: v[position] for n, v in self.understood.cells.items()}
        return {**cells, "_file": self.name, "_sheet": sheet, "_row": row}


class FileDrop(Connector):
    """One folder of files for one table; `tables` comes from the list of sources."""

    dialect: ClassVar[str] = "file_drop"
    own_options: ClassVar[tuple[str, ...]] = ("settle_seconds", "decimal_mark", "encoding", "totals")
    #: A file that changed within this many seconds is looked at again after them, and left if it grew.
    settle_seconds: ClassVar[float] = 30.0
    largest_file: ClassVar[int] = 200 * 1024 * 1024

    def __init__(self, source_code: str, endpoint: Endpoint) -> None:
        super().__init__(source_code, endpoint)
        (self.table,) = self.tables
        self.words = Words(contract(self.table))
        parts = urlsplit(endpoint.base_url)
        if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
            raise SourceRefused(
                f"{source_code}: its Airflow connection must be a folder such as file:///srv/nhan-tep/dan-so."
            )
        self.folder = Path(unquote(parts.path))
        options = endpoint.options
        self.settle = float(options.get("settle_seconds", self.settle_seconds))
        self._taken: list[Dropped] = []
        self._archive_day = ""

    # --- the folder ----------------------------------------------------------------------------------

    def chunks(self, request: Request) -> Iterator[Chunk]:
        """Every new file, and again what earlier runs of this interval or later ones took, newest first.

        A record that stands in two files counts as it is in the one taken later. Raises NothingDropped where there
        is nothing new, FilesRefused where nothing of what is new can be taken.
        """
        self._archive_day = f"{request.interval.end.astimezone(VIETNAM):%Y-%m-%d}"
        kept = self._kept()
        waiting = self._waiting(kept)
        grown = {f.path for f in waiting}
        files = [*waiting, *self._archived([k for k in kept if k.path not in grown], self._archive_day)]
        refused: list[str] = []
        seen: set[tuple[Any, ...]] = set()
        for file in files:
            try:
                chunk = self._chunk(file, seen if len(files) > 1 else None)
            except Refused as e:
                if file.day is not None:
                    raise SourceRefused(
                        f"{self.source_code}: {file.path.parent}, {file.shown} was taken before and does not fit the "
                        f"contract any more: {e.en}"
                    ) from None
                self._refuse(file, e)
                refused.append(file.shown)
                self.report.notes.append(f"refused {file.shown}: {' '.join(e.en.splitlines()[:3])}")
                request.on_progress(f"{self.source_code}: {self.report.notes[-1]}")
                continue
            if file.day is None:
                self._taken.append(file)
            yield from _sliced(chunk, self.table)
            request.on_progress(f"{self.source_code}: read {file.shown}")
        if not self.report.windows:
            if refused:
                raise FilesRefused(
                    f"{self.source_code}: nothing to take in {self.folder}: {'; '.join(self.report.notes)}. Each "
                    f"refused file has a message beside it (*{REFUSAL}) that ends with its sha256; put a corrected "
                    "file in its place."
                )
            raise NothingDropped(f"{self.source_code}: no new file in {self.folder}")

    def landed(self) -> None:
        """Move the files just landed into the archive, unchanged; called once their batch stands."""
        # Never below an earlier run's: whoever is run again must read what came later, too.
        days = [p.name for p in (self.folder / ARCHIVE).glob("????-??-??")]
        folder = self.folder / ARCHIVE / max([self._archive_day, *days])
        number = max((k.number for k in self._kept() if k.path.parent == folder), default=0)
        # Oldest first: what a death leaves waiting is newer than what was moved.
        for file in reversed(self._taken):
            try:
                if _state(file.path) != file.state:
                    continue  # replaced meanwhile: the next run takes what lies there now
                folder.mkdir(parents=True, exist_ok=True)
                number += 1
                name = f"{number:04}-{file.state[0]}_{file.sha256[:16]}_{file.name}"
                kept = file.path.rename(folder / _fitting(name))
                kept.chmod(0o444)
                for suffix in (REFUSAL, RECEIPT):
                    (self.folder / _fitting(file.name, suffix)).unlink(missing_ok=True)
            except FileNotFoundError:
                continue
            except OSError as e:
                raise self._no_rights(folder, e, file.shown) from None
        self._taken = []

    def _kept(self) -> list[Kept]:
        """The archive, in the order of taking."""
        found = [(p, _KEPT.fullmatch(p.name)) for p in (self.folder / ARCHIVE).glob("????-??-??/*")]
        kept = [
            Kept(p, int(m["number"] or 0), int(m["size"]) if m["size"] else None, m["sha"], m["name"])
            for p, m in found if m
        ]  # fmt: skip
        return sorted(kept, key=lambda k: k.order)

    def _waiting(self, kept: list[Kept]) -> list[Dropped]:
        """Files that wait, or grew after they were taken, and stand still; newest first, without those answered."""
        grown = {k.path: k for k in kept if k.size is not None and k.path.stat().st_size > k.size}
        try:
            found = [
                p for p in self.folder.iterdir()
                if p.is_file() and not p.is_symlink() and not _PASSING.fullmatch(p.name)
                and not p.name.endswith((REFUSAL, RECEIPT))
            ]  # fmt: skip
            before = {p: _state(p) for p in (*found, *grown)}
            if any(time.time() - changed / 1e9 < self.settle for _, _, changed in before.values()):
                time.sleep(self.settle)
        except FileNotFoundError:
            raise SourceRefused(
                f"{self.source_code}: looked for the folder {self.folder} and found none. Make it, or correct this "
                "source's Airflow connection."
            ) from None
        except OSError as e:
            raise self._no_rights(self.folder, e) from None
        waiting = []
        for path in sorted(before, key=lambda p: (before[p][1], p.name), reverse=True):
            known = grown.get(path)
            name = known.name if known else path.name
            open_in_excel = (path.parent / f"~${name}").exists()
            try:
                if open_in_excel or _state(path) != before[path]:
                    self.report.notes.append(
                        f"{_called(before[path][1])} is still being written; it is left for the next run"
                    )
                    continue
                file = Dropped(path, name, None, state=before[path])
                if file.state[0] > self.largest_file:
                    with path.open("rb") as opened:
                        file.sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
                else:
                    file.content = path.read_bytes()
                    file.sha256 = hashlib.sha256(file.content).hexdigest()
            except FileNotFoundError:
                continue
            except OSError as e:
                raise self._no_rights(path.parent, e, _called(before[path][1])) from None
            if not self._answered(file) and (known is None or self._is_longer(file, known)):
                waiting.append(file)
        return self._new(waiting, kept)

    def _is_longer(self, file: Dropped, known: Kept) -> bool:
        """Whether a file of the archive begins with what was taken of it; a note says so."""
        with file.path.open("rb") as opened:
            taken = hashlib.sha256(opened.read(known.size or 0)).hexdigest()
        if taken[:16] != known.sha:
            return False  # whoever reads the archive again stops at it
        self.report.notes.append(
            f"{file.shown} grew from {known.size:,} to {file.state[0]:,} bytes after it was taken on "
            f"{known.path.parent.name}: somebody was still writing it. It is read again, whole"
        )
        return True

    def _new(self, waiting: list[Dropped], kept: list[Kept]) -> list[Dropped]:
        """`waiting` without what would change nothing: files that came last, coming again in the same order.

        One that was taken before, and others since, is a correction taken back: its rows count anew.
        """
        order = [k.sha for k in kept]
        came = [f.sha256[:16] for f in reversed(waiting)]
        same = next(
            n for n in range(len(came), -1, -1) if n <= len(order) and came[:n] == order[len(order) - n :]
        )
        for file in waiting[len(waiting) - same :]:
            self._answer(
                file, RECEIPT,
                "Tệp này đã được nhận trước đây (nội dung giống hệt), không cần gửi lại.\n"
                "This very file was taken before; there is no need to send it again.\n",
            )  # fmt: skip
            self.report.notes.append(f"{file.shown} was taken before")
        new = waiting[: len(waiting) - same]
        for file in new:
            if file.sha256[:16] in order:
                self.report.notes.append(
                    f"{file.shown} was taken before, and others since: it is taken again, and its rows count anew"
                )
        return new

    def _archived(self, kept: list[Kept], day: str) -> list[Dropped]:
        """What runs of this interval or later ones took, latest first: a run again gives the same rows."""
        files = []
        for k in reversed(kept):
            if k.path.parent.name >= day:
                content = k.path.read_bytes()[: k.size]  # while it grows, what was taken of it
                sha = hashlib.sha256(content).hexdigest()
                if sha[:16] != k.sha:
                    raise SourceRefused(
                        f"{self.source_code}: {k.path.parent}, "
                        f"{_called(k.path.stat().st_mtime_ns, k.sha)} was changed after it was taken (its "
                        "checksum is not the one in its name). Files in the archive are immutable: restore it."
                    )
                files.append(Dropped(k.path, k.name, k.path.parent.name, sha, content, _state(k.path)))
        return files

    def _answered(self, file: Dropped) -> bool:
        """Whether a message beside the file is about what the file holds now."""
        for suffix in (REFUSAL, RECEIPT):
            beside = self.folder / _fitting(file.name, suffix)
            if not beside.exists():
                continue
            # What was refused stays so; what was taken before may be sent again to take a correction back.
            is_later = suffix == RECEIPT and file.state[2] > beside.stat().st_mtime_ns
            said = beside.read_text(encoding="utf-8", errors="replace")
            if f"sha256: {file.sha256}" in said and not is_later:
                return True
        return False

    def _refuse(self, file: Dropped, why: Refused) -> None:
        self._answer(
            file, REFUSAL,
            f"Tệp {file.name} chưa được nhận vào kho dữ liệu.\n\nLý do: {why.vi}\n\n"
            "Hãy sửa rồi gửi lại tệp (cùng tên hoặc tên khác). Không dòng nào của tệp đã được ghi nhận.\n\n"
            f"---\n{file.name} was not taken.\n\nReason: {why.en}\n\nCorrect it and send it again. No row of it "
            "was taken.\n",
        )  # fmt: skip

    def _answer(self, file: Dropped, suffix: str, text: str) -> None:
        beside = self.folder / _fitting(file.name, suffix)
        now = dt.datetime.now(VIETNAM)
        try:
            beside.write_text(
                # With a BOM, so that Notepad shows the letters.
                f"{text}\n{now:%d/%m/%Y %H:%M} sha256: {file.sha256}\n",
                encoding="utf-8-sig",
                newline="\r\n",
            )
        except OSError as e:
            raise self._no_rights(self.folder, e, f"the message beside the {file.shown}") from None

    def _no_rights(self, folder: Path, e: OSError, what: str = "") -> SourceRefused:
        where = f"{folder}, {what}" if what else str(folder)
        return SourceRefused(
            f"{self.source_code}: {where}: {e.strerror or type(e).__name__}. This user must read, write and rename in "
            f"{self.folder}."
        )

    # --- one file ------------------------------------------------------------------------------------

    def _chunk(self, file: Dropped, seen: set[tuple[Any, ...]] | None) -> Chunk:
        """One file as a typed chunk; Refused if it cannot be taken as a whole."""
        known = contract(self.table)
        if file.state[0] > self.largest_file:
            limit = f"{self.largest_file >> 20} MB"
            raise Refused(
                f"tệp lớn hơn {limit}; hãy chia nhỏ.", f"the file is larger than {limit}; split it."
            )
        understood = self._understood(file.content)
        places = understood.places()
        _check_totals(understood, self.endpoint.options.get("totals", "check") == "check")
        refused = {p: why.en for p, (_, why) in understood.wrong.items()}
        told = {p: (column, why.vi) for p, (column, why) in understood.wrong.items()}
        for p, other in _contradictions(understood.columns, known.key).items():
            sheet, row = places[other]
            at = f"{sheet}!{row}" if sheet else str(row)
            refused.setdefault(p, "another row of the file has the same key and other values")
            told.setdefault(p, ("", f"trùng khóa với dòng {at} nhưng khác giá trị"))
        chunk = Chunk()
        count = self.report.counts[self.table]
        before = dataclasses.replace(count, dropped=count.dropped.copy())
        result = self.typed(
            chunk, self.table, understood.columns, _Written(understood, file.name, places), None, refused
        )
        chunk.rejects = [
            dataclasses.replace(
                r,
                key=_placed(r.key, file, understood.reading, places[r.position]),
                field=understood.wrong[r.position][0] if r.position in understood.wrong else r.field,
            )
            for r in result.rejects
        ]
        if len(chunk.rejects) > known.reject_share * len(places):
            self.report.counts[self.table] = before
            raise _too_many(chunk.rejects, told, understood, self.words)
        chunk.quarantine = [
            dataclasses.replace(q, key=r.key, field=r.field)
            for q, r in zip(chunk.quarantine, chunk.rejects, strict=True)
        ]
        self._quarantine_undeclared(chunk, file, understood)
        if seen is not None:
            batch = chunk.tables[self.table]
            keys = list(zip(*(batch.column(k).to_pylist() for k in known.key), strict=True))
            chunk.tables[self.table] = batch.filter(pa.array([k not in seen for k in keys], pa.bool_()))
            count.duplicates += batch.num_rows - chunk.tables[self.table].num_rows
            seen.update(keys)
        count.announced = (count.announced or 0) + len(places)
        number_of = understood.reading.number_of
        self.report.windows.append(
            {
                "window": file.shown, "sha256": file.sha256, "reading": understood.reading.how,
                "announced_before": len(places), "announced_after": len(places), "received": len(places),
                "left_out": [
                    {"sheet": number_of(r.sheet), "why": why, "rows": len(rows), "first": rows[0]}
                    for _, r in understood.sheets for why, rows in r.left_out.items()
                ],
                "sheets_skipped": [number_of(name) for name in understood.skipped],
            }
        )  # fmt: skip
        return chunk

    def _understood(self, content: bytes) -> Understood:
        """The table in a file, by the first reading of its bytes in which the contract's headings stand."""
        best = Miss(-1, "tệp trống", "the file is empty")
        where = number = ""
        for reading in readings(content, self.endpoint.options.get("encoding"), UNPACKED_LIMIT):
            found = [(sheet, find(sheet, self.words)) for sheet in reading.sheets if not sheet.is_hidden]
            layouts = [f for _, f in found if isinstance(f, Layout)]
            missed = [(s.name, f) for s, f in found if isinstance(f, Miss)]
            # Two known headings are a table of this kind that went wrong, not a page of instructions.
            wrong = [(name, miss) for name, miss in missed if miss.score > 1] if layouts else missed
            for name, miss in wrong:
                if miss.score > best.score or layouts:
                    best, where, number = miss, name, reading.number_of(name)
            if layouts and reading.is_torn:
                raise Refused(
                    "một dấu nháy kép mở mà không đóng đã gộp nhiều dòng vào một ô. Hãy bỏ dấu nháy đó rồi gửi lại.",
                    "a quote that was opened and not closed has drawn several rows into one cell. Remove it.",
                )
            if layouts and not wrong:
                return self._columns(reading, layouts, [name for name, _ in missed])
            if layouts:
                break
        vi, en = (f"trang '{where}': ", f"sheet {number}: ") if where else ("", "")
        raise Refused(vi + best.vi + ".", en + best.en + ".")

    def _columns(self, reading: Reading, layouts: list[Layout], skipped: list[str]) -> Understood:
        persons = [p for layout in layouts for p in looks_like_persons(layout)]
        sheets = [(layout, records(layout)) for layout in layouts]
        known = {id(x.sheet): {*x.columns.values(), *x.spread} for x in layouts}
        # Also where no record is read: the whole file would lie in the archive as it is.
        if persons or any(_has_identity(s, known.get(id(s), ())) for s in reading.sheets):
            where = f" (cột {', '.join(persons)})" if persons else ""
            raise Refused(
                f"tệp có dữ liệu từng người{where}. Ở đây chỉ nhận số liệu tổng hợp; hãy xóa tệp khỏi thư mục "
                "này ngay.",
                "the file holds data on single persons. Only aggregates are taken here; remove the file from this "
                "folder at once.",
            )
        if not any(r.rows for _, r in sheets):
            raise Refused(
                "dưới dòng tiêu đề không có dòng dữ liệu nào.", "there is no row of data below the headings."
            )
        names = list(dict.fromkeys(n for _, r in sheets for n in r.columns))
        cells = {
            n: [c for _, r in sheets for c in (r.columns[n] if n in r.columns else [None] * len(r.rows))]
            for n in names
        }
        if reading.is_assumed and not _headings_tell(layouts) and _beyond_ascii(cells):
            raise Refused(
                "không rõ bảng mã chữ Việt của tệp. Hãy lưu lại dạng CSV UTF-8.",
                "the encoding of its Vietnamese letters cannot be told. Save it as CSV UTF-8.",
            )
        table = contract(self.table)
        numbers = [c for c in self.words.columns if c.name in cells and is_number(c)]
        said = self.endpoint.options.get("decimal_mark") or table.custom.get("decimalMark")
        written = (
            (v, pa.types.is_integer(c.clear_type))
            for c in numbers
            for v in cells[c.name]
            if isinstance(v, str)
        )
        writing = Writing(decimal_mark(written, str(said) if said else None), layouts[0].sheet.since_1904)
        wrong: dict[int, tuple[str, Unclear]] = {}
        columns: dict[str, list[Any]] = {}
        for name in names:
            columns[name], bad = plain(cells[name], table.column(name), writing)
            for position, why in bad.items():
                wrong.setdefault(position, (name, why))
        return Understood(reading, writing, columns, cells, wrong, sheets, skipped)

    def _quarantine_undeclared(self, chunk: Chunk, file: Dropped, understood: Understood) -> None:
        for _, r in understood.sheets:
            for position, extra in r.undeclared:
                key = _placed({}, file, understood.reading, (r.sheet, r.rows[position]))
                self.quarantine_undeclared(chunk, self.table, key, extra)


# --- checks -----------------------------------------------------------------------------------------


def _contradictions(columns: dict[str, list[Any]], key: Sequence[str]) -> dict[int, int]:
    """{record: another one with the same key and other values}; which of them is right nobody can tell."""
    keys = list(zip(*(columns[k] for k in key if k in columns), strict=True))
    first: dict[tuple[Any, ...], int] = {}
    found: dict[int, int] = {}
    for position, own in enumerate(keys):
        other = first.setdefault(own, position)
        if other != position and any(v[position] != v[other] for v in columns.values()):
            found[position] = other
            found.setdefault(other, position)
    return found


def _check_totals(understood: Understood, wanted: bool) -> None:
    """Refused where a total row is not the sum of the rows right above it or right below it."""
    start = 0
    for layout, r in understood.sheets:
        of = {at: name for name, at in layout.columns.items()} | dict.fromkeys(
            layout.spread, layout.measure or ""
        )
        for position, name in of.items() if wanted and r.totals else ():
            column = layout.words.contract.column(name)
            if not pa.types.is_integer(column.clear_type) or column.custom.get("additive") is False:
                continue
            own = [i for i, at in enumerate(r.positions) if at in (None, position)]
            values = [as_decimal(understood.columns[name][start + i], None) or 0 for i in own]
            sums = [0]
            for v in values:
                sums.append(sums[-1] + int(v))
            first = {s: i for i, s in reversed(list(enumerate(sums)))}
            last = {s: i for i, s in enumerate(sums)}
            for row, before, cells in r.totals:
                total = as_decimal(cells.get(position), understood.writing.mark)
                at = bisect.bisect_left(own, before)
                if total is None or first.get(sums[at] - int(total), at + 1) <= at:
                    continue
                if last.get(sums[at] + int(total), at - 1) < at:
                    place = f"trang '{r.sheet}', " if r.sheet else ""
                    raise Refused(
                        f"{place}dòng tổng {row}, cột {letter(position)}: không bằng tổng các dòng liền trên hoặc liền "
                        "dưới. Có thể thiếu dòng, hoặc dấu ngăn nghìn bị hiểu khác.",
                        f"the total in row {row}, column {letter(position)}, is not the sum of the rows next to it. "
                        "Rows may be missing, or marks for thousands may mean something else.",
                    )
        start += len(r.rows)


def _too_many(
    rejects: Sequence[Reject], told: dict[int, tuple[str, str]], understood: Understood, words: Words
) -> Refused:
    """The refusal of a file with more wrong records than its contract allows: where and why, never the values."""
    places, number_of = understood.places(), understood.reading.number_of
    lines: dict[tuple[str, str], None] = {}  # a row spread out is many records, and told once
    for r in rejects:
        sheet, row = places[r.position]
        column, why = told.get(r.position, (r.field, ""))
        why = why or next((v for e, v in _IN_VIETNAMESE if r.reason.startswith(e)), r.reason)
        vi = f"dòng {row}" + (f", cột {words.label(column)}" if column else "") + f": {why}"
        en = f"row {row}: {r.field} {r.reason}".replace(":  ", ": ").rstrip()
        lines[(f"trang '{sheet}', {vi}", f"sheet {number_of(sheet)}, {en}") if sheet else (vi, en)] = None
    vis, ens = ([f"- {pair[i]}" for pair in list(lines)[:_LISTED]] for i in (0, 1))
    if len(lines) > _LISTED:
        vis.append(f"- và {len(lines) - _LISTED:,} chỗ khác")
        ens.append(f"- and {len(lines) - _LISTED:,} more")
    return Refused(
        f"{len(rejects):,} trên {len(places):,} bản ghi không đúng quy định:\n" + "\n".join(vis),
        f"{len(rejects):,} of {len(places):,} records break the contract:\n" + "\n".join(ens),
    )


def _placed(
    key: dict[str, str | None], file: Dropped, reading: Reading, place: tuple[str, int]
) -> dict[str, str | None]:
    """The key of a record, and where it stands; `_file` is the start of the file's sha256."""
    sheet, row = place
    return {**key, "_file": file.sha256[:16], "_sheet": reading.number_of(sheet), "_row": str(row)}


def _has_identity(sheet: Sheet, known: Container[int]) -> bool:
    """Whether a cell looks like a citizen's identity number; those of `known` columns may be large counts."""
    return any(
        (isinstance(c, str) and _IDENTITY.search(c))
        or (p not in known and isinstance(c, str | int | float) and _LEFT_OF_ONE.fullmatch(_digits(c)))
        for row in sheet.rows
        for p, c in enumerate(row)
    )


def _digits(cell: str | int | float) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _headings_tell(layouts: list[Layout]) -> bool:
    """Whether a heading that was known has letters beyond ASCII: then the encoding is the right one."""
    return any(
        not fold(row[p]).isascii()
        for x in layouts
        for row in x.sheet.rows[x.top : x.bottom + 1]
        for p in (*x.columns.values(), *x.spread)
        if p < len(row) and row[p] is not None
    )


def _beyond_ascii(columns: dict[str, list[Any]]) -> bool:
    return any(isinstance(c, str) and not c.isascii() for cells in columns.values() for c in cells)


def _sliced(chunk: Chunk, table: str, size: int = 50_000) -> Iterator[Chunk]:
    """The chunk in pieces that the vault takes easily."""
    batch = chunk.tables[table]
    yield dataclasses.replace(chunk, tables={table: batch.slice(0, size)})
    for start in range(size, batch.num_rows, size):
        yield Chunk({table: batch.slice(start, size)})


def _called(changed: int, sha256: str = "") -> str:
    """A file by what it is found with: when it last changed (nanoseconds of 1970), and the start of its sha256."""
    try:
        moment = f"{dt.datetime.fromtimestamp(changed / 1e9, VIETNAM):%d/%m/%Y %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        moment = "an unknown time"  # a share may give any number
    return f"file of {moment}" + (f" (sha256 {sha256[:16]})" if sha256 else "")


def _fitting(name: str, suffix: str = "") -> str:
    """`name` and `suffix` as the name of a file, the end of `name` cut where a file system takes no more."""
    cut = os.fsencode(name)[: 255 - len(suffix)]
    return (name if len(os.fsencode(name)) == len(cut) else cut.decode(errors="ignore")) + suffix


def _state(path: Path) -> tuple[int, int, int]:
    """Size, and when content and file last changed: any write changes one of them."""
    s = path.stat()
    return s.st_size, s.st_mtime_ns, s.st_ctime_ns


def main(arguments: Sequence[str]) -> int:
    """Say how a file would be read, and take nothing: ``<contract> <file> [option=value ...]``."""
    table, name, *options = arguments
    path = Path(name).absolute()
    kind = type("FileDrop", (FileDrop,), {"tables": (table,)})
    reader = kind("try", Endpoint(path.parent.as_uri(), options=dict(o.split("=", 1) for o in options)))
    content = path.read_bytes()
    try:
        chunk = reader._chunk(Dropped(path, path.name, None, content=content, state=_state(path)), None)
    except Refused as e:
        print(f"{e.vi}\n---\n{e.en}")
        return 1
    (window,) = reader.report.windows
    print(f"{path.name}: {window['received']:,} records, read as {window['reading']}")
    for left in window["left_out"]:
        sheet = left["sheet"] and f", sheet {left['sheet']}"
        print(f"  left out: {left['rows']} rows, the first {left['first']}: {left['why']}{sheet}")
    for heading, times in reader.report.counts[table].undeclared.items():
        print(f"  to quarantine: {heading}, {times:,} values")
    for heading, times in reader.report.counts[table].dropped.items():
        print(f"  dropped, in no place kept: {heading}, {times:,} values")
    for r in chunk.rejects:
        sheet = r.key["_sheet"] and f" of sheet {r.key['_sheet']}"
        print(f"  rejected: row {r.key['_row']}{sheet}: {r.field} {r.reason}")
    print(chunk.tables[table].slice(0, 5).to_pandas().drop(columns="source_code").to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
