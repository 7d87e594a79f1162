"""A release: every dataset read once from the warehouse, built aside, verified from its files, switched in at once.

`<home>/open-data/releases/000001/` is immutable; `<home>/open-data/current` is a symbolic link to the release
the public sees. A build that dies leaves only `.building-<pid>`, which the next one removes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as postgres
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from opendata import dcat, site, tabular
from opendata.catalogue import APPROVALS, SCHEMA, WITHHELD_COLUMN, Column, Dataset, Resource, read_catalogue
from opendata.disclosure.protect import Protection, Withheld, protect_release
from opendata.disclosure.system import Counted, DisclosureError
from opendata.files import (
    BUSINESS_ZONE,
    VAULT_REFERENCE,
    FileRecord,
    as_text,
    read_csv_as_text,
    record,
    scan_files,
    write_files,
)
from opendata.periods import days_of

# Long enough for a release being built beside us, short enough to be told within the task's timeout.
LOCK_SECONDS = 600
# For trial runs; a province gives its own, which then stands in every record.
DEFAULT_ADDRESS = "http://127.0.0.1:8090"

Gate = Callable[[Path], Mapping[str, Any] | None]


class ReleaseError(Exception):
    """The release is refused; readers still see the last good one. The message says what to do."""


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
    period: tuple[date, date] | None = None


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
class ReleaseOutcome:
    """What publishing did. `withheld` has exact numbers for the run summary; the public files have steps."""

    number: int
    created: bool
    folder: Path
    message: str
    rows: dict[str, int]
    withheld: dict[str, Withheld]
    seconds: float


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
    releases.mkdir(parents=True, exist_ok=True)
    with _only_publisher(root):
        for leftover in [*releases.glob(".building-*"), *root.glob(".current-*")]:
            # We hold the lock, so whoever wrote these is gone.
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
        building = releases / f".building-{os.getpid()}"
        building.mkdir()
        try:
            builds = _build(building, datasets, url)
            digest = _content_digest(builds, address)
            newest = _newest(releases)
            rows = {build.dataset.id: sum(table.rows for table in build.tables) for build in builds}
            withheld = {
                t.resource.name: t.withheld for b in builds for t in b.tables if t.resource.small_cell
            }

            def outcome(number: int, created: bool, message: str) -> ReleaseOutcome:
                seconds = round(time.monotonic() - started, 3)
                return ReleaseOutcome(
                    number, created, releases / f"{number:06d}", message, rows, withheld, seconds
                )

            if (
                newest
                and _read_json(releases / f"{newest:06d}" / "release.json").get("content_sha256") == digest
            ):
                # Killed between the last two steps, a whole release may stand there without being current.
                switched = _switch(root, newest)
                done = "switched in, it was complete" if switched else "content unchanged, no new release"
                return outcome(newest, switched, f"Release {newest:06d}: {done}")
            number = newest + 1
            document = _describe(building, builds, number, load_number, digest, address)
            _verify(building, builds, document)
            if gate is not None:
                document["gate"] = gate(building)
                _write_json(building / "release.json", document)
            for path in [*building.rglob("*"), building]:
                _sync(path)
            building.rename(releases / f"{number:06d}")
            _sync(releases)
            _switch(root, number)
            return outcome(
                number, True, f"Release {number:06d}: {len(builds)} datasets, {sum(rows.values())} rows"
            )
        finally:
            shutil.rmtree(building, ignore_errors=True)


def newest_load(url: str) -> int:
    """Return the newest load number in the warehouse's load log; 0 where nothing was loaded."""
    with closing(_connect(url)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("select coalesce(max(load_number), 0) from ops.load_log")
        row = cursor.fetchone()
        return int(row[0]) if row else 0


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


def _build(building: Path, datasets: Sequence[Dataset], url: str) -> list[Build]:
    """Read each model once, in one snapshot, and write its data files."""
    read: list[tuple[Dataset, str, list[tuple[Resource, pa.Table]]]] = []
    with closing(_connect(url)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("set transaction isolation level repeatable read, read only")
        for dataset in datasets:
            tables = [(resource, _read(cursor, resource)) for resource in dataset.resources]
            origin = _origin(dataset, tables)
            if dataset.approval.as_published and origin != "real":
                raise ReleaseError(
                    f"{dataset.id}: its approval says `as_published`, which is true of real captures only, "
                    f"but the rows are {origin}; remove as_published from the approval or load real captures"
                )
            read.append((dataset, origin, tables))
    protection = _protect(building, read)
    builds: list[Build] = []
    for dataset, origin, tables in read:
        folder = building / dataset.id
        folder.mkdir()
        build = Build(dataset, origin)
        build.tables = [
            _write(resource, table, origin, folder, dataset, protection) for resource, table in tables
        ]
        builds.append(build)
    return builds


def _protect(
    building: Path, read: Sequence[tuple[Dataset, str, list[tuple[Resource, pa.Table]]]]
) -> Protection:
    """Withhold, over all datasets together, what could reveal a person; leaves the report in disclosure.json."""
    counted = [
        Counted(dataset.id, resource.name, origin, table, resource.small_cell)
        for dataset, origin, tables in read
        for resource, table in tables
        if resource.small_cell
    ]
    try:
        protection = protect_release(counted, building.parent)
    except DisclosureError as error:
        raise ReleaseError(f"The release is refused, readers keep the last good one. {error}") from None
    _write_json(building / "disclosure.json", protection.report)
    return protection


def _read(cursor: Any, resource: Resource) -> pa.Table:
    """Return the published columns of a model (and its origin) typed by its contract and sorted by its keys."""
    columns = ", ".join(_quoted(name) for name in resource.read_columns)
    try:
        # Names come from dbt's manifest and are quoted; there is no value in the statement.
        cursor.execute(f"select {columns} from {_quoted(SCHEMA)}.{_quoted(resource.table)}")  # noqa: S608
        table = cursor.fetch_arrow_table()
    except postgres.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise ReleaseError(
            f"{SCHEMA}.{resource.table} cannot be read ({reason}); run `dbt build` with this manifest's project first"
        ) from None
    types = {column.name: column.data_type for column in resource.columns}
    for position, name in enumerate(table.column_names):
        column = _typed(table[name], types.get(name, "text"), f"{SCHEMA}.{resource.table}.{name}")
        table = table.set_column(position, name, column)
    if table.num_rows == 0:
        raise ReleaseError(
            f"{SCHEMA}.{resource.table} has no rows; an empty table is not published. "
            "Build the warehouse from a load first"
        )
    table = table.sort_by([(key, "ascending") for key in resource.keys])
    return table.replace_schema_metadata(None)


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


def _origin(dataset: Dataset, tables: Sequence[tuple[Resource, pa.Table]]) -> str:
    """Return the one origin of a dataset; refuses mixed, missing or unknown origins."""
    found: set[str | None] = set()
    for resource, table in tables:
        found |= (
            set(pc.unique(table[resource.origin_column]).to_pylist())
            if resource.origin_column
            else {resource.origin}
        )
    if len(found) == 1 and (origin := found.pop()) in ("real", "simulated"):
        return str(origin)
    raise ReleaseError(
        f"{dataset.id}: its rows must be of one origin, real or simulated, but are "
        f"{', '.join(sorted(str(value) for value in found)) or 'of an unknown one'}; "
        "separate real and simulated rows in the model before publishing"
    )


# --- writing


def _write(
    resource: Resource, table: pa.Table, origin: str, folder: Path, dataset: Dataset, protection: Protection
) -> Table:
    """Write the files of one table, as protected, and return what was written."""
    captured = None
    named = dataset.approval.as_published
    if named and named.captured_column in table.column_names:
        days = pc.drop_null(table[named.captured_column])
        if len(days):
            extremes = pc.min_max(days).as_py()
            captured = (_day(extremes["min"]), _day(extremes["max"]))
    period = _period(table, resource)
    columns = resource.columns
    withheld = Withheld()
    if resource.small_cell:
        table, withheld = protection.tables[dataset.id, resource.name]
        columns = (*columns, WITHHELD_COLUMN)
    table = table.select([column.name for column in columns])
    stem = f"{resource.name}.{origin}"
    files = write_files(table, folder, stem)
    head = as_text(table.slice(0, site.PREVIEW_ROWS))
    preview = [[_shown(value) for value in row.values()] for row in head.to_pylist()]
    return Table(resource, origin, columns, table.num_rows, withheld, files, preview, captured, period)


def _period(table: pa.Table, resource: Resource) -> tuple[date, date] | None:
    """Return the first and last day that the column of periods speaks of, if the model names one."""
    if resource.period_column is None:
        return None
    spans = [days_of(value) for value in pc.unique(pc.drop_null(table[resource.period_column])).to_pylist()]
    if not spans:
        return None
    if None in spans:
        raise ReleaseError(
            f"{SCHEMA}.{resource.table}: column {resource.period_column} (meta.period_column) holds what is no day, "
            "month, quarter, year or first/last day; mend the model"
        )
    return min(span[0] for span in spans if span), max(span[1] for span in spans if span)


def _day(value: datetime | date) -> date:
    return value.date() if isinstance(value, datetime) else value


def _shown(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _content_digest(builds: Sequence[Build], address: str) -> str:
    """Return the SHA-256 of all that readers would see but the number and time of the release."""
    content = [(tabular.datapackage(build), asdict(build.dataset.approval)) for build in builds]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False, default=str).encode())
    digest.update((site.template_digest() + address).encode())
    digest.update(dcat.PORTAL.read_bytes())
    return digest.hexdigest()


def _describe(
    building: Path, builds: Sequence[Build], number: int, load_number: int, digest: str, address: str
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
                        "files": [asdict(file) for file in table.files],
                    }
                    for table in build.tables
                ],
                "datapackage": asdict(described),
            }
        )
    dcat.write(dcat.catalogue_graph(builds, edition, portal), building, "catalog")
    site.write_pages(building, builds, number, created_at, load_number)
    _write_json(building / "release.json", document)
    return document


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
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
            for file in table.files:
                path = building / file.path
                if record(path, building, file.format) != file:
                    wrong.append(f"{file.path}: size or checksum differs from the record")
                if file.format == "parquet":
                    parquet = pq.read_metadata(path)
                    rows, columns = parquet.num_rows, parquet.schema.to_arrow_schema().names
                else:
                    back = read_csv_as_text(path)
                    rows, columns = back.num_rows, [name.removeprefix("\ufeff") for name in back.column_names]
                if rows != recorded["rows"]:
                    wrong.append(f"{file.path}: {rows} rows, {recorded['rows']} recorded")
                if columns != names:
                    wrong.append(
                        f"{file.path}: columns {', '.join(columns)}; published are {', '.join(names)}"
                    )
            policy = table.resource.small_cell
            quantities = {column.name for column in table.columns if column.unit}
            quantities |= set(policy.count_columns) if policy else set()
            findings = scan_files(building, table.files, frozenset(quantities))
            wrong += [f"dataset {build.dataset.id}: {finding}" for finding in findings]
        wrong += _frictionless_errors(building / build.dataset.id / "datapackage.json", build.dataset.id)
    for page in [*building.rglob("*.html"), *building.rglob("*.json")]:
        if VAULT_REFERENCE.search(page.read_text(encoding="utf-8")):
            wrong.append(f"{page.relative_to(building)}: holds a reference of the vault")
    if wrong:
        raise ReleaseError(
            "The release is stopped, readers keep the last good one. Mend the model or its publish marks:\n- "
            + "\n- ".join(wrong)
        )


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
