"""A release: every dataset read once from the warehouse, built aside, verified from its files, switched in at once.

`<home>/open-data/releases/000001/` is immutable; `<home>/open-data/current` is a symbolic link to the release
the public sees. A build that dies leaves only `.building-<pid>`, which the next one removes.
"""

from __future__ import annotations

import errno
import fcntl
import filecmp
import hashlib
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as postgres
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from opendata import dcat, difference, history, site, tabular
from opendata.catalogue import (
    APPROVALS,
    SCHEMA,
    WITHHELD_COLUMN,
    Code,
    Column,
    Dataset,
    Resource,
    Text,
    read_catalogue,
)
from opendata.disclosure.earlier import remember
from opendata.disclosure.granularity import protect_as_finely_as_allowed
from opendata.disclosure.policy import ALL
from opendata.disclosure.protect import Protection, Withheld
from opendata.disclosure.renewal import keep, write_tallies
from opendata.disclosure.scan import VAULT_REFERENCE, FileScan, Finding, scan_changes, scan_words
from opendata.disclosure.system import Counted, DisclosureError
from opendata.files import (
    BUSINESS_ZONE,
    FileRecord,
    as_text,
    give_back,
    read_back,
    record,
    write_files,
)
from opendata.periods import days_of

# Long enough for a release being built beside us, short enough to be told within the task's timeout.
LOCK_SECONDS = 600
BATCH_ROWS = 100_000
# For trial runs; a province gives its own, which then stands in every record.
DEFAULT_ADDRESS = "http://127.0.0.1:8090"

Gate = Callable[[Path], Mapping[str, Any] | None]


class ReleaseError(Exception):
    """The release is refused; readers still see the last good one. The message says what to do."""


class NoRows(ReleaseError):
    """A table is empty."""


@dataclass
class Table:
    """One finished table of a dataset, with everything its page and descriptors say about it."""

    resource: Resource
    origin: str
    columns: tuple[Column, ...]
    rows: int
    withheld: Withheld
    files: list[FileRecord]
    preview: list[list[str]]
    captured: tuple[date, date] | None = None
    #: First and last day the rows speak of: no day without data, and none after a capture.
    period: tuple[date, date] | None = None
    #: What changed against the release before; its rows stand in a file of so many lines (None: there is none).
    changes: difference.Difference | None = None
    changed_lines: int | None = None
    #: Its last period lacks days.
    is_provisional: bool = False
    #: The last day of its last period that lacks none.
    whole_until: date | None = None
    #: How it is divided more coarsely than declared, so that less is withheld.
    coarsened: Text | None = None


@dataclass
class Build:
    """One dataset of the release being built."""

    dataset: Dataset
    origin: str
    tables: list[Table] = field(default_factory=list)

    @property
    def captured(self) -> tuple[date, date] | None:
        """First and last day of capture, where the dataset repeats what another body published."""
        days = [day for table in self.tables if table.captured for day in table.captured]
        return (min(days), max(days)) if days else None

    @property
    def period(self) -> tuple[date, date | None]:
        """First and last day the rows speak of; where no column tells, as approved (None: open)."""
        days = [day for table in self.tables if table.period for day in table.period]
        if days:
            return min(days), max(days)
        return self.dataset.approval.starts_on, self.dataset.approval.ends_on


@dataclass(frozen=True)
class Waiting:
    """A dataset, or a table of it, that is declared and approved and cannot be published yet."""

    dataset: str
    table: str
    title: Text
    reason: Text


NO_ROWS = Text("Chưa có số liệu trong kho.", "The warehouse has no rows of it yet.")
TOO_SMALL = Text(
    "Số đếm còn quá nhỏ: hơn 10 % hồ sơ sẽ nằm trong ô không công bố, dù đã gộp. Công bố khi có đủ số liệu.",
    "Its counts are too small as yet: more than 10 % of the dossiers would lie in withheld cells, however coarse. "
    "It comes out when there are more.",
)


@dataclass(frozen=True)
class ReleaseOutcome:
    """What publishing did. `withheld` has exact numbers for the run summary; the public files have steps."""

    number: int
    created: bool
    folder: Path
    message: str
    rows: dict[str, int]
    withheld: dict[str, Withheld]
    seconds: float


def _refuse_vanished(previous: Path | None, builds: Sequence[Build], withdrawn: Mapping[str, object]) -> None:
    """ReleaseError where a table of the release before is declared no more: its address would end without a word."""
    if previous is None:
        return
    declared = {table.resource.name for build in builds for table in build.tables}
    gone = {
        f"{table['name']} (dataset {dataset['id']})": str(dataset["id"])
        for dataset in _read_json(previous / "release.json")["datasets"]
        if dataset["id"] not in withdrawn
        for table in dataset["tables"]
        if table["name"] not in declared
    }
    if gone:
        commands = "\n- ".join(_withdrawing(dataset) for dataset in dict.fromkeys(gone.values()))
        raise ReleaseError(
            f"Published in release {previous.name} and no longer declared or without rows: {', '.join(gone)}. Put it "
            f"back into its exposure (dbt/models/exposures.yml), or withdraw it, so that readers find a notice:\n"
            f"- {commands}"
        )


def _withdrawing(dataset: str) -> str:
    return f"python -m opendata withdraw {dataset} --by <office> --reason-vi ... --reason-en ..."


def publish(
    home: Path,
    manifest: Path,
    url: str,
    load_number: int,
    gate: Gate | None = None,
    *,
    approvals: Path = APPROVALS,
    today: date | None = None,
    address: str = DEFAULT_ADDRESS,
) -> ReleaseOutcome:
    """Build, verify, gate and switch in a release under `<home>/open-data`.

    `gate` is called with the folder built aside, before readers see it; raising stops the release, and a mapping
    it returns is kept in release.json. `address` is where the public finds the site, for records that leave it.
    Unchanged content makes no new release. Raises CatalogueError or ReleaseError; either way `current` is as before.
    """
    started = time.monotonic()
    datasets = read_catalogue(manifest, approvals, today)
    root = home / "open-data"
    releases = root / "releases"
    with _room_on_disk(root):
        releases.mkdir(parents=True, exist_ok=True)
    with _only_publisher(root), _room_on_disk(root):
        _clear_leftovers(root)
        history.apply_withdrawals(root)
        withdrawn = history.withdrawals(root)
        datasets = [dataset for dataset in datasets if dataset.id not in withdrawn]
        if not datasets:
            raise ReleaseError(
                "Every dataset is withdrawn; restore one (python -m opendata restore), then publish"
            )
        building = releases / f".building-{os.getpid()}"
        building.mkdir()
        try:
            newest = _newest(releases)
            previous = releases / f"{newest:06d}" if newest else None
            known = {path.name for path in releases.glob("[0-9]*/*/")}
            builds, waiting = _build(building, datasets, url, known, previous)
            _refuse_vanished(previous, builds, withdrawn)
            digest = _content_digest(builds, waiting, withdrawn, address)
            rows = {build.dataset.id: sum(table.rows for table in build.tables) for build in builds}
            withheld = {
                t.resource.name: t.withheld for b in builds for t in b.tables if t.resource.small_cell
            }

            def outcome(number: int, created: bool, message: str) -> ReleaseOutcome:
                seconds = round(time.monotonic() - started, 3)
                return ReleaseOutcome(
                    number, created, releases / f"{number:06d}", message, rows, withheld, seconds
                )

            if previous and _read_json(previous / "release.json").get("content_sha256") == digest:
                # Killed between the last two steps, a whole release may stand there without being current.
                switched = _switch(root, newest)
                done = "switched in, it was complete" if switched else "content unchanged, no new release"
                return outcome(newest, switched, f"Release {newest:06d}: {done}")
            number = newest + 1
            _compare(building, builds, previous)
            document = _describe(building, builds, waiting, number, load_number, digest, address, previous)
            for item in withdrawn.values():
                history.write_notice(building / item.dataset, item)
            _verify(building, builds, document)
            if gate is not None:
                document["gate"] = _judged(gate(building))
                _write_json(building / "release.json", document)
                if _read_json(building / "release.json").get("gate") != document["gate"]:
                    raise ReleaseError(
                        "The gate's results cannot be read back from release.json; publish again"
                    )
            # After the gate: the pages show what it found.
            site.write_pages(building, builds, document, address)
            _verify_pages(building, builds)
            _share_unchanged(building, previous)
            for path in [*building.rglob("*"), building]:
                _sync(path)
            write_tallies(root, {f"{b.dataset.id}/{t.resource.name}": t.withheld for b in builds for t in b.tables
                                 if t.resource.small_cell})  # fmt: skip
            _remember_listing(root, number, builds, address)
            building.rename(releases / f"{number:06d}")
            _sync(releases)
            _switch(root, number)
            history.put_away(root)
            message = f"Release {number:06d}: {len(builds)} datasets, {sum(rows.values())} rows"
            for reason, said in ((NO_ROWS, "without rows so far"), (TOO_SMALL, "too small so far")):
                if named := [one.table for one in waiting if one.reason == reason]:
                    message += f"; {said}, and so not in it: {', '.join(named)}"
            return outcome(number, True, message)
        finally:
            shutil.rmtree(building, ignore_errors=True)


#: What the pages that list datasets were made of, beside the releases: not public.
LISTING = "listing.json"


def _remember_listing(root: Path, number: int, builds: Sequence[Build], address: str) -> None:
    """Keep what the lists of a release are made of, so that a withdrawal can make them anew."""
    # Exact tallies are no part of it, and the rows that changed stand in their files.
    bare = [
        replace(b, tables=[replace(t, withheld=Withheld(), changes=None) for t in b.tables]) for b in builds
    ]
    aside = root / f".{LISTING}"
    aside.write_bytes(msgspec.json.encode({"release": number, "address": address, "builds": bare}))
    aside.replace(root / LISTING)


def _list_anew(root: Path) -> None:
    """Make the pages, feeds and sitemap of the release that readers see without what is withdrawn."""
    release = (root / "current").resolve()
    try:
        kept = json.loads((root / LISTING).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return  # of before this was kept; the next release has none of it
    if not release.exists() or int(release.name) != kept["release"]:
        return
    withdrawn = history.withdrawals(root)
    builds = [b for b in msgspec.convert(kept["builds"], list[Build]) if b.dataset.id not in withdrawn]
    aside = release.parent / f".lists-{os.getpid()}"
    aside.mkdir()
    try:
        site.rewrite_lists(release, builds, _read_json(release / "release.json"), kept["address"], aside)
    finally:
        shutil.rmtree(aside)


def withdraw(home: Path, dataset: str, by: str, reason: Text) -> int:
    """Take a dataset back from every release, leaving a notice; returns in how many it stood.

    The release that readers see lists it no more, at once; lists of older ones lead to the notice. The next releases
    are made without it until `history.restore`. Raises ReleaseError where no release has it.
    """
    root = home / "open-data"
    if not by.strip() or not reason.vi.strip() or not reason.en.strip():
        raise ReleaseError("A withdrawal needs who decided it and the reason in Vietnamese and English")
    with _only_publisher(root), _room_on_disk(root):
        _clear_leftovers(root)
        found = [
            _read_json(path / "datapackage.json")
            for path in sorted((root / "releases").glob(f"[0-9]*/{dataset}"))
            if (path / "datapackage.json").exists()
        ]
        if not found and dataset not in history.withdrawals(root):
            known = sorted(path.parent.name for path in (root / "current").glob("*/datapackage.json"))
            raise ReleaseError(
                f"looked for dataset {dataset!r} in {root / 'releases'} and found none; the current release has "
                f"{', '.join(known) or 'nothing'}"
            )
        if found:
            title = Text(str(found[-1].get("title")), str(found[-1].get("title_en")))
            moment = datetime.now(UTC).replace(microsecond=0).isoformat()
            try:
                # What was published stays known to its readers, also when the files are gone.
                remember(root / "releases")
            except DisclosureError as error:
                raise ReleaseError(f"Nothing is withdrawn yet. {error}") from None
            history.record_withdrawal(root, history.Withdrawal(dataset, moment, by, reason, title))
        done = history.apply_withdrawals(root)
        _list_anew(root)
        return done


def restore(home: Path, dataset: str) -> bool:
    """Let the next releases hold a withdrawn dataset again; returns whether it was withdrawn."""
    root = home / "open-data"
    with _only_publisher(root):
        return history.restore(root, dataset)


def _clear_leftovers(root: Path) -> None:
    # We hold the lock, so whoever wrote these is gone.
    for leftover in [*(root / "releases").glob(".*"), *root.glob(".current-*"), *root.glob(f".{history.WITHDRAWN}-*"),
                     *(root / "releases").glob("[0-9]*/.*")]:  # fmt: skip
        shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()


def _judged(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a gate's result as it will be read back; one that failed without raising is a refusal, too."""
    if result is None:
        return None
    plain = dict(json.loads(json.dumps(result, default=str)))
    if plain.get("success") is False:
        raise ReleaseError("The release gate did not succeed; its report says which expectation failed")
    return plain


@contextmanager
def _room_on_disk(root: Path) -> Iterator[None]:
    """Turn a full disk into a message; nothing of the release is left behind."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        place = root if root.exists() else root.parent
        free = shutil.disk_usage(place).free // 2**20
        raise ReleaseError(
            f"No room for the release in {root} ({os.strerror(error.errno)}; {free:,} MiB free on that disk). Readers "
            "still have the last good release and nothing was left behind; make room or enlarge it, then publish again"
        ) from None


@contextmanager
def _only_publisher(root: Path) -> Iterator[None]:
    """Hold the lock of the releases; wait for another publisher, whose death also frees it."""
    with (root / ".lock").open("w") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ReleaseError(
                        f"Another publisher has held {root / '.lock'} for {LOCK_SECONDS} s; "
                        "wait for it or end it, then publish again"
                    ) from None
                time.sleep(0.2)
        yield


# --- reading


def _connect(url: str) -> Any:
    try:
        return postgres.connect(url)
    except postgres.Error as error:
        # The driver repeats the URL; the reason is enough and holds no password.
        reason = re.sub(r"postgres(ql)?://\S+", "<url>", str(error)).strip().splitlines()[0]
        raise ReleaseError(
            f"The warehouse does not answer ({reason}); check WAREHOUSE_URL, `make -s url` starts the embedded one"
        ) from None


@dataclass
class Rows:
    """The rows of a model on their way into files, and what was seen of them."""

    resource: Resource
    origin: str
    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    withheld: Withheld = field(default_factory=Withheld)
    columns: tuple[Column, ...] = ()
    covered_until: date | None = None
    coarsened: Text | None = None


def _build(
    building: Path, datasets: Sequence[Dataset], url: str, known: Collection[str], previous: Path | None
) -> tuple[list[Build], list[Waiting]]:
    """Read each model once, in one snapshot, and write its data files; returns also what still waits.

    A dataset without rows waits for its first ones (a source that is not connected yet), a table too small to be
    published for more of them; one that is `known` to readers is refused then.

    Tables with a disclosure policy are held in memory, all of them before any is written, since what protects one
    may depend on another; the rest flows batch by batch.
    """
    builds: list[Build] = []
    with closing(_connect(url)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("set transaction isolation level repeatable read, read only")
        origins, waiting = {}, []
        for dataset in datasets:
            try:
                origins[dataset.id] = _origin(dataset, cursor)
            except NoRows:
                if dataset.id in known or len(datasets) == 1:
                    raise
                waiting.append(Waiting(dataset.id, dataset.id, dataset.title, NO_ROWS))
        datasets = [dataset for dataset in datasets if dataset.id in origins]
        if not datasets:
            raise NoRows("No published model has any row; build the warehouse from a load first")
        counted = {
            (dataset.id, resource.name): _whole(cursor, resource)
            for dataset in datasets
            for resource in dataset.resources
            if resource.small_cell
        }
        protection, protected_until = _protected(building, datasets, origins, counted, previous, cursor)
        waiting += _left_out(protection, datasets, previous)
        for dataset in datasets:
            origin = origins[dataset.id]
            if dataset.approval.as_published and origin != "real":
                raise ReleaseError(
                    f"{dataset.id}: its approval says `as_published`, which is true of real captures only, "
                    f"but the rows are {origin}; remove as_published from the approval or load real captures"
                )
            folder = building / dataset.id
            build = Build(dataset, origin)
            for resource in dataset.resources:
                key = (dataset.id, resource.name)
                if key in protection.left_out:
                    continue
                folder.mkdir(exist_ok=True)
                if resource.small_cell:
                    table, withheld = protection.tables[key]
                    resource, coarser = _as_counted(resource, protection, key)
                    rows = Rows(
                        resource, origin, table.schema, table.to_batches(BATCH_ROWS), withheld,
                        (*resource.columns, WITHHELD_COLUMN), protected_until[key], coarser,
                    )  # fmt: skip
                else:
                    until = _covered_until(cursor, resource)
                    schema, batches = _stream(cursor, resource)
                    rows = Rows(
                        resource, origin, schema, batches, columns=resource.columns, covered_until=until
                    )
                build.tables.append(_write(rows, folder, dataset))
                give_back()
            if build.tables:
                builds.append(build)
    if not builds:
        raise ReleaseError(
            "The release is refused: no table can be published yet.\n- "
            + "\n- ".join(protection.left_out.values())
        )
    return builds, waiting


def _left_out(protection: Protection, datasets: Sequence[Dataset], previous: Path | None) -> list[Waiting]:
    """Return the tables that wait because they are too small; ReleaseError where readers have one already."""
    published = _read_json(previous / "release.json")["datasets"] if previous else []
    known = {(dataset["id"], table["name"]) for dataset in published for table in dataset["tables"]}
    if gone := known & protection.left_out.keys():
        raise ReleaseError(
            "The release is refused, readers keep the last good one. Published before, and too fine now:\n- "
            + "\n- ".join(protection.left_out[key] for key in sorted(gone))
            + "\nGive its policy a coarser step (`coarsen` in its approval), or withdraw it:\n- "
            + "\n- ".join(_withdrawing(dataset) for dataset in sorted({dataset for dataset, _ in gone}))
        )
    return [
        Waiting(dataset.id, resource.name, resource.title, TOO_SMALL)
        for dataset in datasets
        for resource in dataset.resources
        if (dataset.id, resource.name) in protection.left_out
    ]


#: What stands in a column with a list of codes where it divides no more.
TOGETHER = Code(ALL, Text("gộp chung", "all together"))


def _as_counted(
    resource: Resource, protection: Protection, key: tuple[str, str]
) -> tuple[Resource, Text | None]:
    """Return a resource as its table was counted, by coarser steps maybe, and what is said of them."""
    described = next(i for i in protection.report["tables"] if (i["dataset"], i["table"]) == key)
    taken = described.get("declared_steps", [])[: described.get("steps", 0)]
    put = {(column, value) for step in taken for column, value in step["put"]}
    columns = tuple(
        replace(column, codes=(*column.codes, TOGETHER))
        if column.codes and (column.name, ALL) in put
        else column
        for column in resource.columns
    )
    told = [step for number, step in enumerate(taken) if not _overtaken(step, taken[number + 1 :])]
    said = Text(*("; ".join(step[language] for step in told) for language in ("vi", "en")))
    counted = replace(resource, small_cell=protection.counted[key].policy, columns=columns)
    return counted, said if taken else None


def _overtaken(step: Mapping[str, Any], later: Sequence[Mapping[str, Any]]) -> bool:
    """Whether later steps put something else into every column that a step changed: it is no news any more."""
    changed = {column for column, _ in (*step["put"], *step["take"])}
    return bool(changed) and changed <= {c for one in later for c, _ in (*one["put"], *one["take"])}


def _protected(
    building: Path,
    datasets: Sequence[Dataset],
    origins: Mapping[str, str],
    counted: Mapping[tuple[str, str], pa.Table],
    previous: Path | None,
    cursor: Any,
) -> tuple[Protection, Mapping[tuple[str, str], date | None]]:
    """Withhold, over all datasets together, what could reveal a person.

    Returns what may leave, and the last day it has data of, by (dataset, table). Where no period closed since the
    release `previous`, its tables are kept as they stand there, and with them that day. Leaves the report in
    disclosure.json.
    """
    covered: dict[tuple[str, str], date | None] = {}
    tables = []
    for dataset in datasets:
        for resource in dataset.resources:
            if resource.small_cell:
                covered[dataset.id, resource.name] = _covered_until(cursor, resource)
                table = counted[dataset.id, resource.name]
                _refuse_empty_periods(table, dataset, resource)
                tables.append(
                    Counted(
                        dataset.id,
                        resource.name,
                        origins[dataset.id],
                        table,
                        resource.small_cell,
                        resource.keys,
                    )
                )
    number = int(previous.name) if previous else 0
    agreed = [d.id for d in datasets if any(c.against_release == number for c in d.approval.approved_changes)]
    try:
        protection = keep(tables, previous, agreed) or protect_as_finely_as_allowed(tables, building.parent)
    except DisclosureError as error:
        raise ReleaseError(f"The release is refused, readers keep the last good one. {error}") from None
    for item in protection.report["tables"]:
        key = (item["dataset"], item["table"])
        today = covered[key]
        # A table that is kept says it already.
        told = item.setdefault("covered_until", today and today.isoformat())
        covered[key] = date.fromisoformat(told) if told else None
    _write_json(building / "disclosure.json", protection.report)
    return protection, covered


def _covered_until(cursor: Any, resource: Resource) -> date | None:
    """Return the last day of which the warehouse has data for a table; None where its model names no such day."""
    if resource.covered_until is None:
        return None
    schema, table, column = resource.covered_until
    where = ".".join(resource.covered_until)
    try:
        cursor.execute(f"select max({_quoted(column)}) from {_quoted(schema)}.{_quoted(table)}")  # noqa: S608
        (day,) = cursor.fetchone()
    except postgres.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise ReleaseError(
            f"{where}, the last day {SCHEMA}.{resource.table} has data of, cannot be read ({reason}); run `dbt build` "
            "with this manifest's project first"
        ) from None
    if not isinstance(day, date):
        raise ReleaseError(
            f"{where}: looked for the last day {SCHEMA}.{resource.table} has data of and found {day!r}; build the "
            "warehouse from a load first"
        )
    return _day(day)


def _refuse_empty_periods(table: pa.Table, dataset: Dataset, resource: Resource) -> None:
    """Refuse a month (quarter, year) in which nothing at all was counted: something was not loaded."""
    if resource.period_column is None or resource.small_cell is None:
        return
    counts = list({count.column for count in resource.small_cell.counts})
    sums = table.group_by(resource.period_column).aggregate([(name, "sum") for name in counts]).to_pylist()
    empty = sorted(
        str(row[resource.period_column]) for row in sums if not any(row[f"{c}_sum"] for c in counts)
    )
    if empty:
        raise ReleaseError(
            f"{dataset.id}: {SCHEMA}.{resource.table} counts nothing at all in {', '.join(empty)}; an empty month is "
            "not published. Load that period, or leave its rows out of the model"
        )


def _stream(cursor: Any, resource: Resource) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the schema and batches of a model's published columns, typed by its contract, sorted by its keys."""
    columns = ", ".join(_quoted(column.name) for column in resource.columns)
    # By bytes, as Arrow sorts, on whatever server.
    text = {column.name for column in resource.columns if column.data_type.lower() in ("text", "varchar")}
    order = ", ".join(f'{_quoted(key)} collate "C"' if key in text else _quoted(key) for key in resource.keys)
    types = {column.name: column.data_type for column in resource.columns}
    where = f"{SCHEMA}.{resource.table}"
    try:
        # Names come from dbt's manifest and are quoted; there is no value in the statement.
        cursor.execute(f"select {columns} from {_quoted(SCHEMA)}.{_quoted(resource.table)} order by {order}")  # noqa: S608
        reader = cursor.fetch_record_batch()
        batches = (_typed_batch(batch, types, where) for batch in reader if batch.num_rows)
        first = next(batches, None)
    except postgres.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise ReleaseError(
            f"{where} cannot be read ({reason}); run `dbt build` with this manifest's project first"
        ) from None
    if first is None:
        raise ReleaseError(
            f"{where} has no rows; an empty table is not published. Build the warehouse from a load first"
        )
    return first.schema, _with_distinct_keys(chain((first,), batches), resource, where)


def _whole(cursor: Any, resource: Resource) -> pa.Table:
    schema, batches = _stream(cursor, resource)
    return pa.Table.from_batches(list(batches), schema)


def _typed_batch(batch: pa.RecordBatch, types: Mapping[str, str], where: str) -> pa.RecordBatch:
    names = batch.schema.names
    columns = [
        _typed(pa.chunked_array([column]), types[name], f"{where}.{name}").combine_chunks()
        for name, column in zip(names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names)


def _with_distinct_keys(
    batches: Iterable[pa.RecordBatch], resource: Resource, where: str
) -> Iterator[pa.RecordBatch]:
    """Pass batches on that are sorted by the keys; refuses a key that is empty or stands twice."""
    keys = list(resource.keys)
    last: pa.RecordBatch | None = None
    for batch in batches:
        picked = pa.Table.from_batches([batch.select(keys)])
        if empty := [key for key in keys if picked[key].null_count]:
            raise ReleaseError(
                f"{where}: key column(s) {', '.join(empty)} are empty in some rows; mend the model"
            )
        both = pa.concat_tables([pa.Table.from_batches([last]), picked]) if last else picked
        same = reduce(pc.and_, (pc.equal(both[key][1:], both[key][:-1]) for key in keys))
        if twice := int(pc.sum(same).as_py() or 0):
            raise ReleaseError(
                f"{where}: {twice} row(s) repeat the key ({', '.join(keys)}) of another; mend the model or meta.keys"
            )
        last = picked.slice(picked.num_rows - 1).to_batches()[0]
        yield batch


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _typed(column: pa.ChunkedArray, data_type: str, where: str) -> pa.ChunkedArray:
    """Return a column as it will be published; ADBC gives numeric as text and times in UTC."""
    kind = data_type.lower()
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if kind.startswith(("numeric", "decimal")):
        if match := re.search(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)", kind):
            return column.cast(pa.decimal128(int(match[1]), int(match[2] or 0)))
        scales = pc.utf8_length(pc.replace_substring_regex(column, r"^[^.]*\.?", ""))
        return column.cast(pa.decimal128(38, int(pc.max(scales).as_py() or 0)))
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", tz=BUSINESS_ZONE if column.type.tz else None))
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        return column.cast(pa.string())
    simple = (
        pa.types.is_string,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_date,
    )
    if not any(test(column.type) for test in simple):
        raise ReleaseError(f"{where}: {data_type} is no type for open data; cast it in the model")
    return column


def _origin(dataset: Dataset, cursor: Any) -> str:
    """Return the one origin of a dataset; refuses mixed, missing or unknown origins."""
    found: set[str | None] = set()
    for resource in dataset.resources:
        if resource.origin_column is None:
            found.add(resource.origin)
            continue
        column = _quoted(resource.origin_column)
        try:
            cursor.execute(f"select distinct {column}::text from {_quoted(SCHEMA)}.{_quoted(resource.table)}")  # noqa: S608
            held = {row[0] for row in cursor.fetchall()}
        except postgres.Error as error:
            reason = str(error).strip().splitlines()[0]
            raise ReleaseError(
                f"{SCHEMA}.{resource.table} cannot be read ({reason}); run `dbt build` with this manifest's "
                "project first"
            ) from None
        if not held:
            raise NoRows(
                f"{SCHEMA}.{resource.table} has no rows; an empty table is not published. Build the warehouse from a "
                "load first"
            )
        found |= held
    if len(found) == 1 and (origin := found.pop()) in ("real", "simulated"):
        return str(origin)
    raise ReleaseError(
        f"{dataset.id}: its rows must be of one origin, real or simulated, but are "
        f"{', '.join(sorted(str(value) for value in found)) or 'of an unknown one'}; "
        "separate real and simulated rows in the model before publishing"
    )


# --- writing


def _write(rows: Rows, folder: Path, dataset: Dataset) -> Table:
    """Write the files of one table from one pass over its rows; returns what was written."""
    resource, named = rows.resource, dataset.approval.as_published
    seen = Seen(resource.period_column, named.captured_column if named else None, resource.provisional_column)
    table = Table(resource, rows.origin, rows.columns, 0, rows.withheld, [], [], coarsened=rows.coarsened)
    explained = [tabular.DICTIONARY_COLUMNS, *tabular.dictionary_rows(table)]
    stem = f"{resource.name}.{rows.origin}"
    try:
        table.files = write_files(
            seen.watch(rows.batches), rows.schema, folder, stem, resource.keys, explained
        )
    except ValueError as error:
        raise ReleaseError(f"{dataset.id}: {SCHEMA}.{resource.table}: {error}") from None
    table.rows, table.preview, table.captured = seen.rows, seen.preview, seen.captured
    table.period = seen.period(f"{SCHEMA}.{resource.table}")
    table.is_provisional, table.whole_until = seen.ends_provisional(), seen.whole_until()
    last = min((day for day in (rows.covered_until, seen.captured and seen.captured[1]) if day), default=None)
    if resource.period_column is None and rows.covered_until:
        # No column tells, but all there is up to that day is in it.
        table.period = (min(dataset.approval.starts_on, rows.covered_until), rows.covered_until)
    elif table.period and last and last < table.period[1]:
        table.period = (min(table.period[0], last), last)
        table.is_provisional = True
    return table


@dataclass
class Seen:
    """What is noted of rows while they pass."""

    period_column: str | None
    captured_column: str | None
    provisional_column: str | None
    rows: int = 0
    preview: list[list[str]] = field(default_factory=list)
    captured: tuple[date, date] | None = None
    periods: set[object] = field(default_factory=set)
    #: Those with provisional rows.
    provisional: set[object] = field(default_factory=set)

    def watch(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches on."""
        for batch in batches:
            if not self.rows:
                head = as_text(pa.Table.from_batches([batch.slice(0, site.PREVIEW_ROWS)]))
                self.preview = [[_shown(value) for value in row.values()] for row in head.to_pylist()]
            self.rows += batch.num_rows
            if self.period_column:
                self.periods |= set(pc.unique(batch[self.period_column]).to_pylist())
                if self.provisional_column:
                    open_rows = batch.filter(pc.fill_null(batch[self.provisional_column], False))
                    self.provisional |= set(pc.unique(open_rows[self.period_column]).to_pylist())
            if self.captured_column and self.captured_column in batch.schema.names:
                extremes = pc.min_max(batch[self.captured_column]).as_py()
                if extremes["min"] is not None:
                    days = [_day(extremes["min"]), _day(extremes["max"]), *(self.captured or ())]
                    self.captured = (min(days), max(days))
            yield batch

    def period(self, where: str) -> tuple[date, date] | None:
        """Return the first and last day the periods speak of."""
        spans = [days_of(value) for value in self.periods if value is not None]
        if None in spans:
            raise ReleaseError(
                f"{where}: column {self.period_column} (meta.period_column) holds what is no day, month, quarter, year "
                "or first/last day; mend the model"
            )
        whole = [span for span in spans if span]
        return (min(span[0] for span in whole), max(span[1] for span in whole)) if whole else None

    def whole_until(self) -> date | None:
        """Return the last day of the last period without provisional rows."""
        ends = self._ends()
        return max((end for value, end in ends.items() if value not in self.provisional), default=None)

    def _ends(self) -> dict[object, date]:
        return {v: span[1] for v in self.periods if v is not None and (span := days_of(v))}

    def ends_provisional(self) -> bool:
        """Whether the last period has provisional rows."""
        ends = self._ends()
        last = max(ends.values(), default=None)
        return any(ends.get(value) == last for value in self.provisional if value is not None)


def _day(value: datetime | date) -> date:
    return value.date() if isinstance(value, datetime) else value


def _shown(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _content_digest(
    builds: Sequence[Build],
    waiting: Sequence[Waiting],
    withdrawn: Mapping[str, history.Withdrawal],
    address: str,
) -> str:
    """Return the SHA-256 of all that readers would see but the number and time of the release."""
    content: list[Any] = [(tabular.datapackage(build), asdict(build.dataset.approval)) for build in builds]
    content += [(table.period, table.coarsened) for build in builds for table in build.tables]
    content += [asdict(one) for one in waiting]
    content += [(asdict(item), None) for item in withdrawn.values()]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False, default=str).encode())
    digest.update((site.template_digest() + address).encode())
    digest.update(dcat.PORTAL.read_bytes())
    return digest.hexdigest()


def _describe(
    building: Path,
    builds: Sequence[Build],
    waiting: Sequence[Waiting],
    number: int,
    load_number: int,
    digest: str,
    address: str,
    previous: Path | None,
) -> dict[str, Any]:
    """Write descriptors, pages and release.json; return the content of release.json."""
    created_at = datetime.now(UTC).replace(microsecond=0)
    edition, portal = tabular.Edition(number, created_at, address), dcat.read_portal()
    document: dict[str, Any] = {
        "number": number,
        "created_at": created_at.isoformat(),
        "load_number": load_number,
        "content_sha256": digest,
        "datasets": [],
        "waiting": [asdict(one) for one in waiting],
        "gate": None,
    }
    for build in builds:
        folder = building / build.dataset.id
        _write_json(folder / "datapackage.json", tabular.datapackage(build, edition))
        described = record(folder / "datapackage.json", building, "datapackage")
        (folder / tabular.DICTIONARY).write_bytes(tabular.dictionary(build))
        for table in build.tables:
            plain = next(file for file in table.files if file.format == "csv")
            _write_json(building / f"{plain.path}-metadata.json", tabular.csvw(build, table, edition))
        _write_json(
            folder / history.CHANGELOG,
            history.changelog(
                history.last_published(building.parent.parent, previous, build.dataset.id),
                _entry(build, number, created_at),
            ),
        )
        dcat.write(dcat.dataset_graph(build, edition, portal), folder, "dcat")
        _write_json(folder / "schema-org.jsonld", dcat.schema_org(build, edition, portal))
        document["datasets"].append(
            {
                "id": build.dataset.id,
                "title": build.dataset.title.vi,
                "title_en": build.dataset.title.en,
                "origin": build.origin,
                "period": [day and day.isoformat() for day in build.period],
                "tables": [
                    {
                        "name": table.resource.name,
                        "rows": table.rows,
                        "keys": list(table.resource.keys),
                        "columns": [column.name for column in table.columns],
                        "small_cell": table.resource.small_cell.public if table.resource.small_cell else None,
                        # Not the number of dossiers: of a single withheld row that would be the cell itself.
                        "withheld_rows": table.withheld.rows,
                        "withheld_share_at_most": table.withheld.share_at_most,
                        "coarsened": table.coarsened and asdict(table.coarsened),
                        "changes": _told(table.changes),
                        "files": [asdict(file) for file in table.files],
                    }
                    for table in build.tables
                ],
                "datapackage": asdict(described),
            }
        )
    dcat.write(dcat.catalogue_graph(builds, edition, portal), building, "catalog")
    _write_json(building / "release.json", document)
    return document


def _entry(build: Build, number: int, created_at: datetime) -> dict[str, Any]:
    """Return what the changelog of a dataset says about this release."""
    against = {table.changes.against for table in build.tables if table.changes}
    agreed = [c for c in build.dataset.approval.approved_changes if c.against_release in against]
    return {
        "release": number,
        "origin": build.origin,
        "created_at": created_at.isoformat(),
        "period": [day and day.isoformat() for day in build.period],
        "approved": [
            {
                "decided_by": c.decided_by,
                "role": c.role,
                "decided_on": c.decided_on.isoformat(),
                **asdict(c.reason),
            }
            for c in agreed
        ],
        "tables": [
            {
                "name": table.resource.name,
                "rows": table.rows,
                "csv_sha256": next(file.sha256 for file in table.files if file.format == "csv"),
                "coarsened": table.coarsened and asdict(table.coarsened),
                "changes": _told(table.changes),
            }
            for table in build.tables
        ],
    }


def _told(found: difference.Difference | None) -> dict[str, Any] | None:
    if found is None:
        return None
    kept = ("against", "added", "removed", "revised", "columns_added", "columns_removed")
    return {name: getattr(found, name) for name in kept}


def _compare(building: Path, builds: Sequence[Build], previous: Path | None) -> None:
    """Compare each table with the release before; write what changed, refuse what nobody agreed to."""
    told: list[str] = []
    for build in builds:
        before = history.last_published(building.parent.parent, previous, build.dataset.id)
        for table in build.tables:
            new = next(building / file.path for file in table.files if file.format == "parquet")
            old = before and before / new.name
            if before is None or old is None or not old.exists():
                continue
            captured = build.dataset.approval.as_published
            ignored = [captured.captured_column] if captured else []
            found = difference.compare(
                old, new, table.resource, int(before.parent.name), ignored, build.dataset.approval.limits
            )
            was_withdrawn = before.parent != previous
            if was_withdrawn and found.rows is None:
                continue  # another table under its name: to withdraw the one before was the decision
            table.changes = replace(found, rows=None)
            if history.coarsened(before, table.resource.name) == (
                table.coarsened and asdict(table.coarsened)
            ):
                told += difference.objections(
                    found, build.dataset.approval, f"{build.dataset.id}, {table.resource.name}"
                )
            # After a withdrawal a list of changes would show again what was taken back.
            if found.rows is not None and not was_withdrawn:
                table.changed_lines = found.rows.num_rows
                difference.write_changes(found.rows, _changes(building, build, table))
            del found
            give_back()
    if told:
        raise ReleaseError(
            "The release is stopped, readers keep the last good one. More changed than the approvals allow:\n- "
            + "\n- ".join(told)
        )


def _changes(building: Path, build: Build, table: Table) -> Path:
    return building / build.dataset.id / f"{table.resource.name}.{table.origin}.{history.CHANGES}"


def _share_unchanged(building: Path, previous: Path | None) -> None:
    """Let files that did not change be the same file on the disk as in the release before."""
    if previous is None:
        return
    for path in building.rglob("*"):
        old = previous / path.relative_to(building)
        if path.is_file() and old.is_file() and filecmp.cmp(old, path, shallow=False):
            aside = path.with_name(f".{path.name}")
            os.link(old, aside)
            aside.replace(path)


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return {}


# --- verifying and switching in


def _verify(building: Path, builds: Sequence[Build], document: Mapping[str, Any]) -> None:
    """Read the finished files back; raises ReleaseError naming every one that is not as recorded."""
    wrong: list[str] = []
    by_name = {table["name"]: table for item in document["datasets"] for table in item["tables"]}
    for build in builds:
        for table in build.tables:
            recorded = by_name[table.resource.name]
            names = [column.name for column in table.columns]
            policy, texts = table.resource.small_cell, build.dataset.approval.disclosure.texts
            quantities = frozenset(
                {column.name for column in table.columns if column.unit}
                | set(policy.count_columns if policy else ())
            )
            findings: list[Finding] = []
            schema, filled = pa.schema([]), Counter[str]()
            for file in sorted(table.files, key=lambda file: file.format != "parquet"):
                path = building / file.path
                if record(path, building, file.format) != file:
                    wrong.append(f"{file.path}: size or checksum differs from the record")
                    continue
                if file.format == "parquet":
                    schema = pq.read_schema(path)
                # Once for all questions, and in pieces: a table may be larger than the memory.
                scan = FileScan(file, schema, quantities, texts)
                rows, columns, held = 0, [], Counter[str]()
                for piece in read_back(path, file.format):
                    rows, columns = rows + piece.num_rows, piece.column_names
                    if columns == names == schema.names:
                        held.update(_filled(piece))
                        scan.look(piece)
                if rows != recorded["rows"]:
                    wrong.append(f"{file.path}: {rows} rows, {recorded['rows']} recorded")
                if columns != names:
                    wrong.append(
                        f"{file.path}: columns {', '.join(columns)}; published are {', '.join(names)}"
                    )
                elif file.format == "parquet":
                    filled = held
                elif uneven := [name for name in names if held[name] != filled[name]]:
                    wrong.append(
                        f"{file.path}: column(s) {', '.join(uneven)} hold more or fewer values than Parquet"
                    )
                findings += scan.findings
            if any(line.startswith(f"{file.path}: ") for line in wrong for file in table.files):
                continue  # it is not what it should be, whatever stands in it
            if table.changed_lines is not None:
                path = _changes(building, build, table)
                lines = sum(piece.num_rows for piece in read_back(path, "csv"))
                if lines != table.changed_lines:
                    wrong.append(f"{path.name}: {lines} lines, {table.changed_lines} changes were found")
                findings += scan_changes(building, path, schema, quantities, texts)
            wrong += [f"dataset {build.dataset.id}: {finding}" for finding in findings]
            plain = next(building / file.path for file in table.files if file.format == "csv")
            wrong += _csvw_errors(plain, build.dataset.id)
        wrong += _frictionless_errors(building / build.dataset.id / "datapackage.json", build.dataset.id)
    _refuse(wrong)


def _verify_pages(building: Path, builds: Sequence[Build]) -> None:
    """Read pages and records back; raises ReleaseError naming every one that holds what looks like personal data."""
    told = [site.read_portal(site.PORTAL).email]
    for build in builds:
        approval = build.dataset.approval
        told += [approval.contact_email, approval.contact.vi, approval.contact.en]
        told += [
            text
            for source in approval.sources
            for text in (source.title, source.terms, source.url, source.title_en, source.terms_en)
            if text
        ]
    declared = "\n".join(told)
    pages = [page for ending in ("html", "json", "jsonld", "atom") for page in building.rglob(f"*.{ending}")]
    wrong = [
        f"{page.relative_to(building)}: holds a reference of the vault"
        for page in pages
        if VAULT_REFERENCE.search(page.read_text(encoding="utf-8"))
    ]
    for page in [*pages, *building.rglob(tabular.DICTIONARY)]:
        # Of the data files' own records the values are addresses and checksums; their words stand in the others, too.
        if not page.name.startswith(("dcat.", "catalog.")):
            wrong += scan_words(building, page, declared)
    _refuse(wrong)


def _refuse(wrong: Sequence[str]) -> None:
    if wrong:
        raise ReleaseError(
            "The release is stopped, readers keep the last good one. Mend the model or its publish marks:\n- "
            + "\n- ".join(wrong)
        )


def _filled(piece: pa.Table) -> dict[str, int]:
    """Return how many values each column holds; an empty text is none, as in CSV."""
    return {
        field.name: int(pc.sum(pc.not_equal(piece[field.name], "")).as_py() or 0)
        if pa.types.is_string(field.type)
        else len(piece) - piece[field.name].null_count
        for field in piece.schema
    }


def _frictionless_errors(path: Path, dataset: str) -> list[str]:
    """Return what Frictionless finds wrong, without its notes: they repeat cell values."""
    import frictionless  # costs a second; a refused catalogue should not wait for it

    with frictionless.system.use_context(trusted=False):
        report = frictionless.Package.from_descriptor(str(path)).validate()
    errors: dict[str, int] = {}
    for task in report.tasks:
        for error in task.errors:
            field_name = getattr(error, "field_name", "")
            name = f"{task.name}: {error.type}{f' in column {field_name}' if field_name else ''}"
            errors[name] = errors.get(name, 0) + 1
    for error in report.errors:
        errors[error.type] = errors.get(error.type, 0) + 1
    return [
        f"dataset {dataset}: not valid by Frictionless: {name} ({count} times)"
        for name, count in errors.items()
    ]


def _csvw_errors(path: Path, dataset: str) -> list[str]:
    """Return whether a CSV breaks what its description for the web says, without the notes: they repeat cell values."""
    import csvw

    described = csvw.CSVW(f"{path}-metadata.json", validate=True)
    if described.is_valid:
        return []
    return [
        f"dataset {dataset}: {path.name} is not valid as CSV on the Web ({len(described.warnings)} notes)"
    ]


def _newest(releases: Path) -> int:
    numbers = [int(path.name) for path in releases.iterdir() if re.fullmatch(r"\d{6}", path.name)]
    return max(numbers, default=0)


def _switch(root: Path, number: int) -> bool:
    """Point `current` at a release in one step; returns whether it pointed elsewhere before."""
    current, target = root / "current", f"releases/{number:06d}"
    if current.is_symlink() and current.readlink() == Path(target):
        return False
    aside = root / f".current-{os.getpid()}"
    aside.symlink_to(target)
    aside.replace(current)
    _sync(root)
    return True


def _sync(path: Path) -> None:
    """Bring a file or folder to the disk, so that a power cut cannot leave a renamed release half empty."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
