"""What the tasks of the DAGs do: each function is one hand-over between two rooms, recorded as an outcome.

Here, and only here, the rooms meet. Nothing in this module knows Airflow; arguments and results are small
and hold no row values, so that they may travel through XCom.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from connectors.base import Chunk, Connector, Interval, Request
from connectors.contract import Contract, contract
from connectors.file_drop import NothingDropped
from connectors.keys import KeyLister
from landing import deletions, loader
from landing.manifest import Manifest, TableEntry
from landing.writer import BatchWriter
from ops import access
from ops.ahead import ahead
from ops.dbt import MARK
from ops.handles import renewing
from ops.outcomes import NothingToDo, recorded, store_outcomes
from ops.persons import watching
from ops.pseudonyms import renew, unlink_loaded
from ops.settings import PROJECT, VIETNAM, Settings, SettingsError
from ops.sources import DELETIONS, Source, read_sources
from vault.client import VaultClient


class TaskError(Exception):
    """A step failed in a way an operator can act on."""


class MassDeletion(TaskError):
    """So many dossiers are missing from a source's list that the list must be wrong."""


class BatchRefused(TaskError):
    """Too many records of a batch broke their contract; trying again gives the same."""


@dataclasses.dataclass(frozen=True)
class Address:
    """What an Airflow connection says of a source."""

    base_url: str
    login: str = ""
    secret: str = dataclasses.field(default="", repr=False)


def _say(text: str) -> None:
    print(text, flush=True)  # task logs and the console of `make run` both take it from here


def table_spec(table: Contract) -> loader.TableSpec:
    """What the loader needs of a contract."""
    columns = table.landed_columns
    return loader.TableSpec(
        name=table.name,
        columns=tuple(c.name for c in columns),
        key=table.key,
        compared=tuple(c.name for c in columns if c.compare and c.name not in table.key),
        ddl=tuple(table.ddl()),
        change_key=table.change_key,
        complete_within=table.complete_within,
        parent=table.parent,
        handles=tuple(c.name for c in columns if c.holds_handle),
    )


def _specs(connector: type[Connector]) -> list[loader.TableSpec]:
    return [table_spec(contract(t)) for t in connector.tables]


def source(settings: Settings, code: str) -> Source:
    """The source `code` of the list; TaskError lists the ones there are."""
    sources = read_sources(settings.sources_file)
    if code not in sources:
        raise TaskError(
            f"looked for source {code!r} in {settings.sources_file}; it lists {', '.join(sources)}"
        )
    return sources[code]


# --- pull: source -> vault -> landing ---------------------------------------------------------------


def pull(settings: Settings, code: str, interval: Interval, address: Address) -> str:
    """Pull one interval of a source, seal it, land it; the folder of the batch."""
    entry = source(settings, code)
    clipped = entry.clip(interval)
    with recorded(settings.home, "pull", code) as outcome:
        outcome.details["interval"] = [interval.start.isoformat(), interval.end.isoformat()]
        if clipped is None:
            raise NothingToDo(f"{code} holds no data in this interval; see active_from and active_until")
        connector = entry.connect(address.base_url, address.login, address.secret)
        vault = VaultClient(settings.vault_socket, settings.vault_token)
        request = Request(
            clipped,
            lambda: _still_open(settings, code, type(connector)),
            _say,
            lambda: deletions.not_held(settings.login_url("loader"), code),
        )
        try:
            folder = land(settings.landing, entry, connector, request, vault)
        except NothingDropped as e:
            raise NothingToDo(str(e)) from None
        connector.landed()
        manifest = Manifest.read(folder)
        outcome.details |= batch_details(manifest)
        main = manifest.tables[connector.tables[0] if len(connector.tables) < 2 else _main_table(connector)]
        _say(
            f"{code}: landed {main.landed:,} records as batch {manifest.batch_id} ({manifest.calls:,} calls)"
        )
        return str(folder)


def batch_details(manifest: Manifest) -> dict[str, Any]:
    """What a landed batch came to, for its outcome record."""
    return {
        "batch_id": manifest.batch_id,
        "origin": manifest.origin,
        "calls": manifest.calls,
        "retries": manifest.retries,
        "notes": manifest.notes,
        "tables": {
            t: {
                "announced": "unknown" if e.announced is None else e.announced,
                "landed": e.landed,
                "rejected": e.rejected,
                "duplicates": e.duplicates,
                "undeclared": e.undeclared,
                "dropped": e.dropped,
            }
            for t, e in manifest.tables.items()
        },
    }


def check_citizens(settings: Settings, code: str, address: Callable[[], Address]) -> str:
    """Ask the population database about citizens within the day's quota; the folder of the batch."""
    from ops import population

    return population.check_citizens(settings, code, address)


def sync_national(
    settings: Settings,
    address: Callable[[], Address],
    dry_run: bool = False,
    period: str | None = None,
    urgent_only: bool = False,
) -> dict[str, Any]:
    """Send what waits for the national portal, for units the warehouse writes; counts of the run."""
    from ops import national

    return national.sync(settings, address, dry_run, period, urgent_only)


def reconcile_national(
    settings: Settings,
    address: Callable[[], Address],
    export: str | None = None,
    period: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Compare our dossiers with the portal's copy, and write what differs for agencies; counts and alerts."""
    from ops import national

    return national.reconcile(settings, address, export, period, dry_run)


def explain_national(settings: Settings, dry_run: bool = False) -> dict[str, Any]:
    """Score what the portal holds by the rules that score ours, and write what each costs; not in a dry run."""
    from ops import national

    if dry_run:
        raise NothingToDo("a dry run builds nothing, so there is nothing new to explain")
    return national.explain(settings)


def _main_table(connector: Connector) -> str:
    return "dossier" if "dossier" in connector.tables else connector.tables[0]


def land(landing: Path, entry: Source, connector: Connector, request: Request, vault: VaultClient) -> Path:
    """Read every chunk, seal it in the vault, write it; the folder of the landed batch."""
    pulled_at = dt.datetime.now(dt.UTC)
    chunks = ahead(connector.chunks(request))
    return land_chunks(landing, entry, connector, chunks, request.interval, vault, pulled_at)


def _sealed(chunks: Iterable[Chunk], vault: VaultClient, code: str, batch_id: str) -> Iterator[Chunk]:
    """`chunks` with their tables sealed, and what they set aside in the vault's quarantine."""
    for chunk in chunks:
        if chunk.quarantine:
            vault.quarantine(
                [
                    {
                        "source_code": code,
                        "table_name": q.table,
                        "key": json.dumps(q.key, sort_keys=True),
                        "field": q.field,
                        "kind": q.kind,
                        "payload": q.payload,
                        "batch_id": batch_id,
                    }
                    for q in chunk.quarantine
                ]
            )
        sealed = vault.seal_together(list(chunk.tables.values())) if chunk.tables else []
        yield dataclasses.replace(chunk, tables=dict(zip(chunk.tables, sealed, strict=True)))


def land_chunks(
    landing: Path,
    entry: Source,
    connector: Connector,
    chunks: Iterable[Chunk],
    interval: Interval,
    vault: VaultClient,
    pulled_at: dt.datetime,
    replay_of: str | None = None,
) -> Path:
    """Seal `chunks` in the vault and write them; the folder of the landed batch.

    `replay_of` is the batch whose rejects they are; what is rejected of those again is few of few, and no reason
    to refuse them.
    """
    with BatchWriter(landing, entry.code) as writer:
        # The vault seals the next chunk while one is written.
        for chunk in ahead(_sealed(chunks, vault, entry.code, writer.batch_id)):
            for table, batch in chunk.tables.items():
                writer.write(table, batch, contract(table).landed_schema)
            for r in chunk.rejects:
                writer.reject(r.table, json.dumps(r.key, sort_keys=True), r.field, r.reason)
        tables: dict[str, TableEntry] = {}
        for table, count in connector.report.counts.items():
            known = contract(table)
            landed = writer.rows(table)
            received = landed + count.rejected
            broken = count.rejected - count.aside
            if received and not replay_of and broken / received > known.reject_share:
                raise BatchRefused(
                    f"{entry.code}: {broken:,} of {received:,} records of {table} broke their contract, more "
                    f"than the {known.reject_share:.0%} it allows, so nothing was landed. Their payloads are in "
                    f"the vault's quarantine under batch {writer.batch_id}. Most frequent: "
                    f"{writer.most_frequent_reject(table)}. If the source has changed, change the connector's "
                    "mapping or the contract."
                )
            tables[table] = TableEntry(
                announced=count.announced, landed=landed, rejected=count.rejected,
                duplicates=count.duplicates, contract_version=known.version, undeclared=dict(count.undeclared),
                dropped=dict(count.dropped),
            )  # fmt: skip
        report = connector.report
        return writer.finish(
            source_code=entry.code, origin=entry.origin, dialect=connector.dialect,
            interval=(interval.start, interval.end), pulled_at=pulled_at, tables=tables,
            details={
                "windows": report.windows, "calls": report.calls, "retries": report.retries,
                "notes": report.notes, "replay_of": replay_of,
            },
        )  # fmt: skip


def _still_open(settings: Settings, code: str, connector: type[Connector]) -> list[str]:
    statuses = list(connector.open_statuses)
    if not statuses:
        return []
    with psycopg.connect(settings.login_url("loader")) as connection:
        found = connection.execute("select to_regclass('raw.dossier')").fetchone()
        if found is None or found[0] is None:
            return []
        loader.prepare(connection, [])  # a warehouse older than the table of deletions gets it here
        rows = connection.execute(
            "select dossier_id from raw.dossier r where source_code = %s and status_code = any(%s) and not exists "
            "(select from raw.dossier_deletion d where d.source_code = r.source_code and "
            "d.dossier_id = r.dossier_id and d.deleted_at is not null) order by 1",
            (code, statuses),
        ).fetchall()
    return [r[0] for r in rows]


# --- landing -> raw ---------------------------------------------------------------------------------


def stage(settings: Settings, code: str, folder: str) -> dict[str, str]:
    """Stage a landed batch for its gate; {table: staged table}, empty if it was loaded before."""
    with recorded(settings.home, "stage", code) as outcome:
        connector = source(settings, code).connector_class()
        names = loader.stage(
            settings.login_url("loader"), Path(folder), _specs(connector), renewing(settings)
        )
        outcome.details |= {"batch_id": Path(folder).name, "staged": names}
        return names


def check_landing(settings: Settings, code: str, staged: dict[str, str]) -> dict[str, Any]:
    """The landing gate on the staged batch; raises with what failed on how many rows."""
    from expectations.gates import check_landing as gate
    from expectations.results import GateFailed

    def judged() -> Any:
        folder = _staged_from(settings, code, staged)
        whole = _stage_again(settings, code, folder)
        try:
            result = gate(settings.login_url("publisher"), loader.STAGE, staged, settings.data_docs)
        except GateFailed:
            if whole():
                raise
        else:
            if whole():
                return result
        raise TaskError(
            f"{code}: PostgreSQL restarted while batch {folder.name} was checked and emptied its staging tables, so "
            "nothing was judged. The next attempt stages it again by itself."
        )

    return _gate(settings, "check_landing", code, judged, bool(staged))


def _staged_from(settings: Settings, code: str, staged: dict[str, str]) -> Path:
    """The landed batch that the staging tables `staged` were filled from."""
    table, name = next(iter(staged.items()))
    for folder in (settings.landing / code).iterdir():
        if loader.staged_name(folder.name, table) == name:
            return folder
    raise TaskError(f"looked in {settings.landing / code} for the batch staged as {name} and found none")


def _stage_again(settings: Settings, code: str, folder: Path) -> Callable[[], bool]:
    """Stage a batch again where a crash of PostgreSQL emptied its staging tables; tells whether they are whole.

    Landed files never change, so what a gate has said of the batch holds.
    """
    url, specs = settings.login_url("loader"), _specs(source(settings, code).connector_class())
    if not loader.is_staged(url, folder, specs):
        _say(f"{code}: the staging tables of batch {folder.name} are not what was staged; staging it again")
        loader.stage(url, folder, specs, renewing(settings))
    return lambda: loader.is_staged(url, folder, specs)


def load(settings: Settings, code: str, folder: str) -> dict[str, Any]:
    """Load a staged batch into raw, exactly once, without what joins an erased person's rows; counts by table."""
    with recorded(settings.home, "load", code) as outcome:
        connector = source(settings, code).connector_class()
        _stage_again(settings, code, Path(folder))
        vault = VaultClient(settings.vault_socket, settings.vault_token)
        done = loader.load(
            settings.login_url("loader"), Path(folder), _specs(connector),
            loaded=lambda connection, number: unlink_loaded(connection, vault, number),
        )  # fmt: skip
        outcome.details |= {
            "batch_id": done.batch_id,
            "load_number": done.load_number,
            "already_loaded": done.already,
            "tables": {t: dataclasses.asdict(c) for t, c in done.tables.items()},
        }
        total = sum(c.inserted + c.updated for c in done.tables.values())
        _say(f"{code}: load {done.load_number} wrote {total:,} rows")
        return {"load_number": done.load_number, "written": total}


def find_deletions(
    settings: Settings, code: str, interval: Interval, address: Address, just_read: int | None = None
) -> dict[str, Any]:
    """Mark the dossiers that the source does not list any more; raises where that looks like an outage.

    Those that it lists and no pull has brought, because they came late or were rejected, are read by the next pull.

    What is compared: the days of the interval, and as many before its end as the source's `deletions` says, from
    the first dossier that was there before the load `just_read`.
    """
    entry = source(settings, code)
    policy = {**DELETIONS, **entry.options.get("deletions", {})}
    with recorded(settings.home, "find_deletions", code) as outcome:
        connector = entry.connect(address.base_url, address.login, address.secret)
        if not isinstance(connector, KeyLister):
            raise TaskError(f"{code}: {entry.connector} lists no keys; take `deletions` out of its options")
        begin = min(interval.start, interval.end - dt.timedelta(days=policy["days"]))
        window = entry.clip(Interval(begin, interval.end))
        first = None
        if window is not None:
            first = deletions.first_received(
                settings.login_url("loader"), code, window.start, window.end, just_read
            )
        if window is None or first is None:
            raise NothingToDo(f"{code}: no dossier of these days was held before this load")
        # From midnight: some sources list by days.
        window = Interval(dt.datetime.combine(first.astimezone(VIETNAM), dt.time(), VIETNAM), window.end)
        # Of the days before the first pull nothing is lacking.
        begun = deletions.first_pulled(settings.login_url("loader"), code) or window.end
        edge = begun.astimezone(VIETNAM) - dt.timedelta(microseconds=1)
        edge = dt.datetime.combine(edge + dt.timedelta(days=1), dt.time(), VIETNAM)
        edge = min(max(edge, window.start), window.end)
        parts = [
            connector.keys(Interval(start, end)) if start < end else []
            for start, end in ((window.start, edge), (edge, window.end))
        ]
        keys = parts[0] + parts[1]
        found = deletions.compare(
            settings.login_url("loader"), code, window.start, window.end, keys, parts[1]
        )
        outcome.details |= {
            "window": [window.start.isoformat(), window.end.isoformat()],
            "held": found.held, "listed": found.listed, "missing": len(found.missing),
            "not_held": len(found.not_held),
        }  # fmt: skip
        allowed = max(policy["at_least"], int(policy["share"] * found.held))
        few = len(found.not_held) <= allowed
        deletions.note_not_held(settings.login_url("loader"), code, found.not_held if few else [])
        if found.not_held:
            days = f"{edge:%d/%m/%Y} to {window.end:%d/%m/%Y}"
            _say(
                f"{code}: {len(found.not_held):,} dossiers of {days} are in the source's list and not in the "
                "warehouse: "
                + (
                    "late or rejected; the next pull reads them"
                    if few
                    else f"more than {allowed:,}, so days are lacking. Pull these days again (Airflow: backfill)"
                )
            )
        if len(found.missing) > allowed or not keys:
            raise MassDeletion(
                f"{code}: {len(found.missing):,} of {found.held:,} dossiers received from {window.start:%d/%m/%Y} to "
                f"{window.end:%d/%m/%Y} are not in the source's own list of {found.listed:,}; more than {allowed:,} "
                "count as an outage, so nothing was marked. Run the task again when the source is well. If they "
                "really were deleted, raise share or at_least under `deletions` of this source for one run."
            )
        gone = connector.gone(found.missing)
        there = {*keys, *found.missing} - set(gone)
        done = deletions.mark(
            settings.login_url("loader"), code, entry.origin, window.start, there, gone,
            dt.timedelta(hours=policy["confirm_hours"]),
        )  # fmt: skip
        outcome.details |= {
            **dataclasses.asdict(done), "listed_elsewhere": len(found.missing) - len(gone),
            "calls": connector.report.calls,
        }  # fmt: skip
        said = (
            f"{code}: {found.held:,} dossiers compared with the source's list: {done.deleted:,} deleted, "
            f"{done.restored:,} back, {done.waiting:,} missing for the first time"
        )
        if done.load_number is None:
            raise NothingToDo(said)
        _say(said)
        return dataclasses.asdict(done)


def collect(settings: Settings, dry_run: bool = False) -> dict[str, Any]:
    """Have the vault delete what it stored and no landed file and no raw row names; what came of it."""
    from ops import collection

    with recorded(settings.home, "collect") as outcome, one_at_a_time(settings, "collect"):
        vault = VaultClient(settings.vault_socket, settings.vault_token)
        done = collection.collect(settings, vault, dry_run)
        outcome.details |= dataclasses.asdict(done)
        _say(
            f"collection {done.number}: {done.unused:,} of {done.stored:,} sealed values are named by none of "
            f"{done.batches:,} landed batches and no raw row; {done.values:,} values, {done.dossiers:,} dossiers' "
            f"links and {done.keys:,} keys were deleted"
        )
        return dataclasses.asdict(done)


# --- raw -> marts -> open_data ----------------------------------------------------------------------


#: Of which lists and rules the tables of the last whole build were made.
_BUILT_FROM = (
    "create table if not exists ops.built_from (part text primary key, checksum text not null, "
    "built_at timestamptz not null default now())"
)


def build(settings: Settings) -> dict[str, Any]:
    """Have the vault make the pseudonyms that are lacking, then run dbt over everything new.

    Models with their tests; all of it, the seeds too, where a rule or a list changed since the last whole build.
    """
    from ops import national

    with recorded(settings.home, "build") as outcome, one_at_a_time(settings, "build"):
        texts = _texts()
        with psycopg.connect(settings.login_url("loader")) as connection:
            # Every raw table exists, also before its first batch: the models read them all.
            loader.prepare(connection, [table_spec(contract(t)) for t in _all_tables()])
            connection.execute(_BUILT_FROM)
            built_from: dict[str, str] = dict(
                connection.execute("select part, checksum from ops.built_from").fetchall()
            )
            vault = VaultClient(settings.vault_socket, settings.vault_token)
            outcome.details["pseudonyms"] = dataclasses.asdict(renew(connection, vault))
        national.prepare(settings)
        # Whose they are is for those who may ask about the audit; that there are any, for whoever reads the summary.
        if alerts := vault.health()["alerts"]:
            outcome.details["vault_alerts"] = alerts
            _say(
                f"the vault raised {alerts:,} alerts of unusual volume today; .venv/bin/python -m ops audit-verify "
                "names them"
            )
        # Freshness last: a stale source is worth a warning, not a refused build.
        # Unit tests judge the rules, not the data: `make test` runs them.
        left_out = ["--exclude-resource-type", "seed", "--exclude-resource-type", "unit_test"]
        commands = [["build", *left_out], ["source", "freshness"]]
        if built_from != texts:
            # Rows that are kept were made by other rules or other lists than those of today.
            commands[0].append("--full-refresh")
            if built_from:
                _say("rules or lists changed since the last build, so all is made anew")
        if built_from.get("seeds") != texts["seeds"]:
            commands.insert(0, ["seed", "--full-refresh"])
        try:
            with watching(settings, lambda: access.protect(settings, tries=1)):
                outcome.details["dbt"] = _dbt(settings, commands)
        except TaskError:
            # What was made anew before a model or a test failed has no rights yet.
            with contextlib.suppress(TaskError):
                outcome.details["access"] = _protect(settings)
            raise
        outcome.details["access"] = _protect(settings)
        with psycopg.connect(settings.login_url("loader")) as connection:
            connection.cursor().executemany(
                "insert into ops.built_from values (%s, %s) "
                "on conflict (part) do update set checksum = excluded.checksum, built_at = excluded.built_at",
                list(texts.items()),
            )
        with contextlib.suppress(psycopg.Error):
            store_outcomes(settings.home, settings.login_url("loader"))
        return {"dbt": [c["statuses"] for c in outcome.details["dbt"]]}


def build_part(settings: Settings, part: str) -> dict[str, Any]:
    """Have dbt build some models anew with their tests, and give persons their rights on them."""
    words = ["build", "--exclude-resource-type", "seed", "unit_test", "--select", part]
    try:
        return {"dbt": _dbt(settings, [words])}
    finally:
        _protect(settings)


def _protect(settings: Settings) -> dict[str, Any]:
    """Give persons their rights on what was built; TaskError with what stands in the way."""
    try:
        with watching(settings):
            found = access.protect(settings)
    except (SettingsError, psycopg.Error) as e:
        raise TaskError(
            f"the tables are built, but the rights on them could not be given: {e} Agencies may not read what was "
            "made anew until `.venv/bin/python -m ops roles apply`, or the next build, succeeds."
        ) from None
    if found.unlisted:
        _say(
            f"read by no person, because {settings.roles_file} does not list them: {', '.join(found.unlisted)}"
        )
    return dataclasses.asdict(found)


def _all_tables() -> list[str]:
    from connectors.contract import contract_names

    return contract_names()


def _texts(project: Path = PROJECT) -> dict[str, str]:
    """SHA-256 of what a build is made from beside the loads: the lists (``seeds``) and the rules (``models``).

    Of the project's own file, too: the constants of rules stand there (``vars``).
    """
    return {
        part: hashlib.sha256(
            b"".join(
                str(path.relative_to(project)).encode() + path.read_bytes()
                for name in names
                for path in sorted((project / "dbt").glob(name))
                if path.suffix in {".sql", ".csv"} or path.name == "dbt_project.yml"
            )
        ).hexdigest()
        for part, names in {
            "seeds": ["seeds/**/*"],
            "models": ["dbt_project.yml", "macros/**/*", "models/**/*", "functions/**/*"],
        }.items()
    }


def _dbt(settings: Settings, commands: list[list[str]]) -> list[dict[str, Any]]:
    """One dbt process for all commands; their results, or TaskError with what failed."""
    done = subprocess.run(
        [sys.executable, "-m", "ops.dbt", *(json.dumps(c) for c in commands)],
        env=settings.dbt_process_env(), cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    _, mark, listed = done.stdout.rpartition(MARK)
    results: list[dict[str, Any]] = json.loads(listed) if mark else []
    for r in results:
        name = " ".join(r["command"])
        if r["success"]:
            _say(f"dbt {name}: {', '.join(f'{n} {s}' for s, n in sorted(r['statuses'].items()))}")
        elif r["command"][0] != "source":
            what = "; ".join(
                f"{n['node']}: {n['message']}" + (f" ({n['rows']} rows)" if n["rows"] else "")
                for n in r["failed"][:5]
            )
            raise TaskError(
                f"dbt {name} failed: {what or r['exception']}. Logs: {settings.home}/dbt/logs/dbt.log. Readers "
                "still have the last good build of each table."
            )
    if not results:
        raise TaskError(f"dbt did not run: {(done.stderr or done.stdout).strip()[-1200:]}")
    return results


def check_warehouse(settings: Settings) -> dict[str, Any]:
    """The warehouse gate; raises with what failed on how many rows."""
    from expectations.gates import check_warehouse as gate

    def work() -> Any:
        _need_first_loads(settings)
        return gate(settings.login_url("publisher"), settings.data_docs)

    return _gate(settings, "check_warehouse", None, work)


def _need_first_loads(settings: Settings) -> None:
    """Before the first release dossiers and catalogue come in any order: until both are built it is too early.

    What counts is what was built: a load since then rings for a build of its own. Once anything was released,
    a table without rows is a fault, and the gate says so.
    """
    if (settings.home / "open-data" / "current").exists():
        return
    with psycopg.connect(settings.login_url("publisher")) as connection:
        for table, rows, what in (
            ("fct_dossier", "true", "dossiers"),
            # Codes of dossiers that no catalogue knows have rows, too.
            ("dim_procedure", "is_known", "catalogue of procedures"),
        ):
            query = sql.SQL("select 1 from marts.{} where {} limit 1").format(
                sql.Identifier(table), sql.SQL(rows)
            )
            if connection.execute(query).fetchone() is None:
                raise NothingToDo(
                    f"the warehouse was built before any {what} was loaded (marts.{table} has no row); nothing to "
                    "check and publish until a source has brought it"
                )


def publish(settings: Settings) -> dict[str, Any]:
    """Build a release aside, gate it, switch it in; the last good release stays if anything fails."""
    from expectations.gates import check_release
    from opendata.release import publish as release

    with recorded(settings.home, "publish") as outcome, one_at_a_time(settings, "publish", "publisher"):
        _need_first_loads(settings)
        with psycopg.connect(settings.login_url("publisher")) as connection:
            row = connection.execute("select coalesce(max(load_number), 0) from ops.load_log").fetchone()
        number = int(row[0]) if row else 0

        def gate(folder: Path) -> dict[str, Any]:
            result = check_release(folder, settings.data_docs)
            outcome.details["release_gate"] = _checks(result)
            _tell_warnings("release gate", outcome.details["release_gate"])
            return result.as_dict()

        done = release(
            settings.home,
            settings.dbt_target / "manifest.json",
            settings.login_url("publisher"),
            number,
            gate,
            address=settings.site_url,
        )
        outcome.details |= {"load_number": number, **_plain(done)}
        _say(f"open data: {done.message}")
        return {"load_number": number}


def write_forms(settings: Settings) -> dict[str, Any]:
    """Write every agency's form II.06a and morning list as Excel, a folder for each agency."""
    from ops import forms

    with recorded(settings.home, "write_forms") as outcome:
        try:
            done = forms.write_all(settings.login_url("publisher"), settings.home / "forms")
        except forms.NoSuchForm as e:
            raise NothingToDo(str(e)) from None
        outcome.details |= dataclasses.asdict(done)
        _say(f"forms: {done.files:,} files for {done.agencies:,} agencies in {settings.home / 'forms'}")
        return dataclasses.asdict(done)


def push_catalogue(settings: Settings, dataset: str = "") -> dict[str, Any]:
    """Make the CKAN catalogue of the settings hold the current release (or one dataset of it), read back."""
    from opendata.ckan import push

    with recorded(settings.home, "push_catalogue") as outcome:
        address, current = settings.get("KHOCHUNG_CKAN_URL"), settings.home / "open-data" / "current"
        if not address:
            raise NothingToDo("no catalogue is set (KHOCHUNG_CKAN_URL)")
        if not (current / "release.json").exists():
            raise NothingToDo(f"there is no release in {current} yet")
        token, organisation = settings.get("KHOCHUNG_CKAN_TOKEN"), settings.get("KHOCHUNG_CKAN_ORGANISATION")
        # The folder itself: a release switched in meanwhile must not mix with this one.
        done = push(current.resolve(), address, token, organisation, dataset)
        outcome.details |= {"catalogue": address, "datasets": done.done}
        _say(f"catalogue: {done}")
        return {"datasets": len(done.done)}


def _gate(
    settings: Settings, step: str, code: str | None, gate: Callable[[], Any], wanted: bool = True
) -> dict[str, Any]:
    with recorded(settings.home, step, code) as outcome:
        if not wanted:
            outcome.details["reason"] = "this batch was loaded before"
            outcome.status = "skipped"
            return {}
        outcome.details |= _checks(gate())
        _say(f"{step}: {outcome.details['passed']} of {outcome.details['checks']} expectations hold")
        _tell_warnings(step, outcome.details)
        return {"passed": outcome.details["passed"]}


def _tell_warnings(step: str, details: dict[str, Any]) -> None:
    for warning in details["warnings"]:
        _say(f"{step}: warning, nothing is stopped: {warning}")


def _checks(result: Any) -> dict[str, Any]:
    checks = list(result.checks)
    return {
        "checks": len(checks),
        "passed": sum(1 for c in checks if c.success),
        "warnings": [str(c) for c in checks if not c.success and not c.required],
    }


def _plain(value: Any) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(value), default=str))


@contextlib.contextmanager
def one_at_a_time(settings: Settings, name: str, login: str = "loader") -> Iterator[None]:
    """Let one process in at a time, on whichever machine; the next waits, and a death frees the lock.

    The lock is held in the warehouse by `login`.
    """
    with contextlib.closing(psycopg.connect(settings.login_url(login), autocommit=True)) as connection:
        # A machine that vanished says no goodbye; the server would hold its lock for hours.
        for setting, value in (("idle", 60), ("interval", 10), ("count", 6)):
            connection.execute(f"set tcp_keepalives_{setting} = {value}")
        connection.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (f"kho-chung/{name}",))
        yield
