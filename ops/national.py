"""Sending dossiers to the national portal: where the room `national` meets settings, vault and warehouse."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from connectors.base import SourceError, SourceUnavailable
from national import outbox, push, reports, what_if
from national import reconcile as comparing
from national.exchange import Budget, Exchange
from national.writers import Writers, WritersError, read_writers
from ops import tasks
from ops.outcomes import NothingToDo, recorded
from ops.settings import VIETNAM, Settings, SettingsError, parse_period
from vault.client import VaultClient, VaultRefused
from vault.purposes import MOST_DOSSIERS, AgreementError, NoAgreement, QuotaSpent, read_agreement, today

PURPOSE = "national_sync"
#: Airflow connection of the portal's server-to-server side.
CONNECTION = "national_exchange"
#: Dossiers looked up in one reconciliation, of those received in the last so many days.
LOOKUPS, SPAN = 2_000, 400


def _say(text: str) -> None:
    print(text, flush=True)  # task logs and the console both take it from here


def writers(settings: Settings) -> Writers:
    """The declared writers; SettingsError lists what is wrong with them."""
    try:
        return read_writers(settings.national_writers)
    except WritersError as e:
        raise SettingsError(str(e)) from None


def hash_key(settings: Settings) -> bytes:
    """Key of the hashes in the outbox; without it every dossier would be looked up and sent anew."""
    return settings.secret("national-hash").encode()


def connect(settings: Settings) -> psycopg.Connection:
    """The warehouse by the login that owns the outbox."""
    return psycopg.connect(settings.login_url("national"), connect_timeout=10)


def prepare(settings: Settings) -> None:
    """Make the tables of this room, which models read also where no portal is configured: they are empty then."""
    with connect(settings) as connection:
        outbox.prepare(connection)
        comparing.prepare(connection)


class OfVault:
    """Clear values of dossiers from the vault, in memory, under the purpose `national_sync`."""

    def __init__(self, client: VaultClient) -> None:
        self._client = client

    def left(self) -> int:
        """Dossiers that may still be read today."""
        return self._client.disclose_dossiers(PURPOSE)[1]

    def __call__(self, asked: Sequence[tuple[str, str, Sequence[str]]]) -> list[push.Opened]:
        """Values of each (source, dossier, handles); SourceUnavailable where the day's quota is used up."""
        found: list[push.Opened] = []
        for at in range(0, len(asked), MOST_DOSSIERS):
            try:
                given, _ = self._client.disclose_dossiers(PURPOSE, asked[at : at + MOST_DOSSIERS])
            except (QuotaSpent, NoAgreement, VaultRefused) as e:
                raise SourceUnavailable(f"the vault gives no more values: {e}") from None
            found += [push.Opened(d.values, "" if d.outcome == "disclosed" else d.outcome) for d in given]
        return found


def sync(
    settings: Settings,
    address: Callable[[], tasks.Address],
    dry_run: bool = False,
    period: str | None = None,
    urgent_only: bool = False,
) -> dict[str, Any]:
    """Plan and send for every unit the warehouse writes; counts. NothingToDo where it writes none.

    `dry_run` writes what would be sent, without personal data, to a file below the home, and calls nobody. `period`
    (of receipt, as of `parse_period`): all dossiers of it are planned again, and no other is sent. `urgent_only`: of
    urgent status, and what was tried before.
    """
    days = _days(period)
    with recorded(settings.home, "sync_national") as outcome:
        declared = writers(settings)
        if not declared.ours:
            raise NothingToDo(
                f"{settings.national_writers} names no unit whose writer is the warehouse, so each unit's own dossier "
                "system sends its dossiers; differences are told by reconcile_national_portal"
            )
        with connect(settings) as connection:
            if connection.execute("select to_regclass('marts.fct_dossier')").fetchone() == (None,):
                raise NothingToDo("the warehouse was not built yet, so there is nothing to send")
            outbox.prepare(connection)
            if dry_run:
                outcome.details |= _dry_sync(settings, connection, declared, days)
                return outcome.details
            try:
                outbox.check_switch(connection)
            except outbox.Stopped as e:
                raise NothingToDo(str(e)) from None
            planned = push.plan(connection, declared, hash_key(settings), period=days)
            outcome.details["planned"] = dict(planned)
        try:
            read_agreement(settings.agreements, PURPOSE, today())
        except NoAgreement as e:
            raise NothingToDo(str(e)) from None
        except AgreementError as e:
            raise SettingsError(str(e)) from None
        try:
            with _exchange(settings, address()) as exchange:
                vault = OfVault(VaultClient(settings.vault_socket, settings.vault_token))
                report = push.push(
                    lambda: connect(settings), exchange, vault, declared, hash_key(settings), period=days,
                    urgent_only=urgent_only,
                )  # fmt: skip
        except push.NotForThere as e:
            raise SettingsError(str(e)) from None
        except outbox.Stopped as e:
            raise NothingToDo(str(e)) from None
        outcome.details |= {
            "done": dict(sorted(report.done.items())), "left": report.left, "calls": report.calls,
            "faults": report.faults, "troubles": report.troubles,
        }  # fmt: skip
        told = ", ".join(f"{n:,} {what}" for what, n in sorted(report.done.items())) or "nothing to send"
        _say(f"national portal: {told}; {sum(report.calls.values()):,} calls")
        for trouble in report.troubles:
            _say(f"trouble: {trouble}")
        if report.troubles and not any(n for what, n in report.done.items() if "accepted" in what):
            raise SourceUnavailable("; ".join(report.troubles)[:2000])
        return outcome.details


def reconcile(
    settings: Settings,
    address: Callable[[], tasks.Address],
    export: str | None = None,
    period: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Compare with the newest file of the portal's operator, look some dossiers up, write what differs for agencies.

    `export` names the file to compare (again); default: the newest that was not compared. `period` (of receipt, as of
    `parse_period`): of it dossiers are looked up; default: the last days. `dry_run` writes what would be compared and
    looked up to a file below the home, and calls nobody. NothingToDo without a warehouse, and while an operator has
    stopped it.
    """
    days = _days(period) or (dt.datetime.now(VIETNAM).date() - dt.timedelta(days=SPAN), dt.date.max)
    with recorded(settings.home, "reconcile_national") as outcome, connect(settings) as connection:
        if connection.execute("select to_regclass('marts.fct_dossier')").fetchone() == (None,):
            raise NothingToDo("the warehouse was not built yet, so there is nothing to compare")
        outbox.prepare(connection)
        comparing.prepare(connection)
        declared = writers(settings)
        path = settings.national_exports / export if export else _new_export(settings, connection)
        if dry_run:
            outcome.details |= _dry_reconcile(settings, connection, path, days)
            return outcome.details
        try:
            # Nothing at all: what a comparison finds is planned to be sent again.
            outbox.check_switch(connection)
        except outbox.Stopped as e:
            raise NothingToDo(str(e)) from None
        if path is None:
            _say(f"no new export of the portal's operator in {settings.national_exports} (.csv)")
        else:
            outcome.details |= _compare(settings, connection, path, declared)
        place = address()
        try:
            with _exchange(settings, place) as exchange:
                # The sandbox knows simulated dossiers alone, and nobody else may be asked about them.
                origin = "simulated" if exchange.is_sandbox() else "real"
                looked = comparing.look_up(connection, exchange, LOOKUPS, days[0], origin, days[1])
        except (SourceError, outbox.Stopped) as e:
            outcome.details["trouble"] = str(e)
            if path is None:
                raise NothingToDo(str(e)) if isinstance(e, outbox.Stopped) else e from None
            _say(f"trouble: {e}")
        else:
            outcome.details["looked_up"] = dict(looked)
            _say("looked up: " + (", ".join(f"{n:,} {w}" for w, n in sorted(looked.items())) or "nobody"))
            if found := comparing.compare_looked(connection, declared):
                outcome.details["look_ups"] = _told(connection, found)
        if forgotten := comparing.forget(connection):
            outcome.details["forgotten"] = forgotten
        told = "comparison" in outcome.details or "look_ups" in outcome.details
        if told or outbox.set_aside(connection):
            outcome.details["folder"] = str(_write(settings, connection))
        return outcome.details


def explain(settings: Settings) -> dict[str, Any]:
    """Have dbt count and score what the portal holds, then write the files of agencies and the page with the points.

    What it builds are the models with the tag `national`, which the daily build has, too; NothingToDo before it.
    """
    with recorded(settings.home, "explain_national") as outcome:
        with connect(settings) as connection:
            if connection.execute("select to_regclass('marts.fct_service_index_score')").fetchone() == (
                None,
            ):
                raise NothingToDo("the warehouse was not built yet, so there is no score to explain")
        with tasks.one_at_a_time(settings, "build", "dbt"):
            outcome.details |= tasks.build_part(settings, "tag:national")
        with connect(settings) as connection:
            comparing.prepare(connection)
            outcome.details["alerts"] = comparing.count_alerts(connection)
            for said in outcome.details["alerts"]:
                _say(f"ALERT: {said}")
            if connection.execute("select 1 from national.comparison limit 1").fetchone():
                outcome.details["folder"] = str(_write(settings, connection))
        return outcome.details


def _compare(
    settings: Settings, connection: psycopg.Connection, path: Path, declared: Writers
) -> dict[str, Any]:
    try:
        found = comparing.compare_export(connection, path, declared)
    except comparing.ExportError as e:
        raise SettingsError(str(e)) from None
    return {"file": path.name} | _told(connection, found)


def _told(connection: psycopg.Connection, found: comparing.Compared) -> dict[str, Any]:
    """Have healed what we write, and say what a comparison came to."""
    healed = comparing.heal(connection, found.number)
    alerts = comparing.alerts(connection, found.number)
    _say(
        f"{found.source}: {found.here:,} dossiers here, {found.there:,} there, {found.share:.2f} % synchronised; "
        f"{', '.join(f'{n:,} {c}' for c, n in sorted(found.classes.items())) or 'no difference'}"
    )
    for said in alerts:
        _say(f"ALERT: {said}")
    return {
        "comparison": found.number, "here": found.here, "there": found.there, "unreadable": found.unreadable,
        "share": round(found.share, 2), "classes": dict(found.classes), "healed": healed, "alerts": alerts,
    }  # fmt: skip


def _write(settings: Settings, connection: psycopg.Connection) -> Path:
    """Write what stands: a file for each agency and a page, in the folder of the newest comparison."""
    alerts = [
        said
        for (number,) in connection.execute(
            "select max(number) from national.comparison group by source order by source"
        ).fetchall()
        for said in comparing.alerts(connection, number)
    ] + comparing.count_alerts(connection)
    row = connection.execute("select max(number) from national.comparison").fetchone()
    folder = settings.home / "national" / f"reconciliation-{row[0] if row else 0}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = connection.execute("select distinct agency_code from national.standing").fetchall()
    told = {str(agency) for (agency,) in rows} | {r["agency_code"] for r in outbox.set_aside(connection)}
    told |= {
        r["unit_code"]
        for r in comparing.counts(connection)
        if "." in r["unit_code"] and comparing.is_beyond(int(r["count_here"]), int(r["count_there"]))
    }
    agencies = sorted(a for a in told if re.fullmatch(r"[A-Z0-9.]+", a))
    for agency in agencies:
        reports.write_agency(connection, agency, folder / f"{agency}.xlsx")
    (folder / "index.html").write_text(reports.summary(connection, alerts), encoding="utf-8")
    _say(f"{len(agencies):,} agencies' files: {folder}")
    return folder


def _new_export(settings: Settings, connection: psycopg.Connection) -> Path | None:
    folder = settings.national_exports
    known = {r[0] for r in connection.execute("select file_name from national.comparison").fetchall()}
    found = sorted(p for p in folder.glob("*.csv") if p.name not in known) if folder.exists() else []
    return found[-1] if found else None


@contextlib.contextmanager
def _exchange(settings: Settings, place: tasks.Address) -> Iterator[Exchange]:
    """The portal; what its calls meet with is counted in the warehouse."""
    with contextlib.closing(outbox.Faults(lambda: connect(settings))) as faults:
        yield Exchange(
            place.base_url, place.login, place.secret, settings.get("KHOCHUNG_NATIONAL_UNIT"),
            Budget(settings.national_calls), tell=faults,
        )  # fmt: skip


def _days(period: str | None) -> push.Period | None:
    asked = parse_period(period) if period else None
    return (asked.first, asked.last) if asked else None


def _dry_sync(
    settings: Settings, connection: psycopg.Connection, declared: Writers, days: push.Period | None
) -> dict[str, Any]:
    return _dry(settings, push.dry_run(connection, declared, hash_key(settings), period=days))


def _dry_reconcile(
    settings: Settings, connection: psycopg.Connection, path: Path | None, days: push.Period
) -> dict[str, Any]:
    rows = comparing.to_look_up(connection, LOOKUPS, *days, origins=("real", "simulated"))
    connection.rollback()
    files = [{"action": "compare", "file": path.name}] if path else []
    asked = [
        {"action": "look_up", "code": r["code"], "agency": r["agency_code"], "why": r["why"]} for r in rows
    ]
    return _dry(settings, [*files, *asked])


def _dry(settings: Settings, records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Write what would be done, a line each, to a file below the home; how many of each, and the file."""
    folder = settings.home / "national"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"dry-run-{dt.datetime.now(VIETNAM):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}.jsonl"
    counted: dict[str, int] = {}
    with path.open("w", encoding="utf-8") as f:
        for record in records:
            counted[record["action"]] = counted.get(record["action"], 0) + 1
            f.write(json.dumps(record, ensure_ascii=False) + "\n")
    _say(f"dry run: {', '.join(f'{n:,} {a}' for a, n in sorted(counted.items())) or 'nothing'}; {path}")
    return {"dry_run": counted, "file": str(path)}


# --- commands ------------------------------------------------------------------------------------------------------


def command(
    settings: Settings,
    action: str,
    why: str = "",
    codes: Sequence[str] = (),
    adopt: bool = False,
    period: str | None = None,
) -> list[str]:
    """Lines of `python -m ops national <action>`: status, stop, resume, retry, dry-run, compare, answers, explain.

    compare: `codes` are names of export files; answers: pairs "agency=file.xlsx".
    """
    if action == "explain":
        done = explain(settings)
        return [f"built and written: {done.get('folder', 'nothing was compared yet, so there is no page')}"]
    if action == "dry-run":
        done = sync(settings, lambda: tasks.Address(""), dry_run=True, period=period)
        return [str(done["file"])]
    with connect(settings) as connection:
        outbox.prepare(connection)
        comparing.prepare(connection)
        if action == "compare":
            for name in codes:
                _compare(settings, connection, settings.national_exports / name, writers(settings))
                _write(settings, connection)
            return [f"{len(codes)} files compared"]
        if action == "answers":
            lines = []
            for agency, _, path in (c.partition("=") for c in codes):
                try:
                    lines.append(
                        f"{reports.read_answers(connection, agency, Path(path))} answers of {agency}"
                    )
                except reports.AnswersError as e:
                    raise SettingsError(str(e)) from None
            return lines or ["no file was named: --code H20.19=H20.19.xlsx"]
        if action in ("stop", "resume"):
            if len(why.strip()) < 5:
                raise SettingsError(f"national {action} needs --why: whoever comes next must know the reason")
            (outbox.stop if action == "stop" else outbox.resume)(connection, why.strip(), _operator())
            return [f"sending is {'stopped' if action == 'stop' else 'let go on'}: {why.strip()}"]
        if action == "retry":
            if adopt and not codes:
                raise SettingsError(
                    "national retry --adopt replaces what somebody else wrote there; name the dossiers: --code ..."
                )
            return [f"{outbox.retry(connection, codes, adopt):,} records wait to be sent"]
        lines = _status(connection)
    return lines or ["the outbox is empty"]


def assume(settings: Settings, path: Path, base: str) -> list[str]:
    """Lines of `python -m ops national what-if`: points now and with the dossiers of a file as it has them.

    All rows stand in a CSV file below the home.
    """
    with connect(settings) as connection, psycopg.connect(settings.login_url("dbt")) as reader:
        comparing.prepare(connection)
        if reader.execute("select to_regclass('intermediate.int_national__what_if')").fetchone() == (None,):
            raise NothingToDo("the warehouse was not built yet, so there is no score to change")
        try:
            assumed = what_if.read_assumed(path)
            rows = what_if.what_if(connection, reader, assumed, base)
            unpredicted = reader.execute(
                "select distinct indicator_no, indicator_code, not_predicted_because "
                "from marts.fct_service_index_explained where not_predicted_because is not null order by 1, 2"
            ).fetchall()
        except what_if.AssumptionError as e:
            raise SettingsError(str(e)) from None
    if not rows:
        return [f"{len(assumed):,} dossiers change no figure of the index"]
    file = settings.home / "national" / f"{rows[0]['scenario']}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8-sig", newline="") as f:
        out = csv.DictWriter(f, [n for n in rows[0] if n != "scenario"], extrasaction="ignore")
        out.writeheader()
        out.writerows(rows)
    lines = [f"{len(assumed):,} dossiers, in place of {base}'s:"]
    units: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        units.setdefault((row["unit_code"], row["period"]), []).append(row)
    for (unit, period), of in units.items():
        gained = sum(r["score_then"] - (r["score"] or 0) for r in of)
        lines.append(f"{unit} {of[0]['unit_name']}, {period}: {gained:+.2f} points")
        if "." not in unit:
            lines += [
                f"  {r['indicator_code']}: {r['score'] if r['score'] is not None else '-'} -> {r['score_then']} "
                f"({r['numerator_then']:.0f}/{r['denominator_then']:.0f})"
                for r in of
            ]
    told = "; ".join(f"{number} {code} ({why})" for number, code, why in unpredicted)
    return [*lines, f"not predicted: {told or 'nothing'}", f"all rows: {file}"]


def _status(connection: psycopg.Connection) -> list[str]:
    lines = []
    with contextlib.suppress(outbox.Stopped):
        outbox.check_switch(connection)
    row = connection.execute("select why, by, at from national.switch where is_stopped").fetchone()
    if row:
        lines.append(f"STOPPED by {row[1]} at {row[2].astimezone(VIETNAM):%d/%m/%Y %H:%M}: {row[0]}")
    for table, states in outbox.counts(connection).items():
        lines += [f"{table}: {', '.join(f'{n:,} {s}' for s, n in sorted(states.items()))}"] * bool(states)
    lines += [f"met today: {service}: {kind}: {n:,}" for _, service, kind, n in outbox.faults(connection)]
    for unit, code, state, reasons, answer in connection.execute(
        "select unit_code, national_code, state, array_to_string(lacking || reasons, ', '), last_answer "
        "from national.dossier where state in ('held', 'refused', 'conflict') order by state, unit_code, national_code "
        "limit 50"
    ).fetchall():
        lines.append(f"{unit} {code} {state}: {reasons or answer or ''}")
    return lines


def _operator() -> str:
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or "operator"


__all__ = ["CONNECTION", "PURPOSE", "OfVault", "assume", "command", "explain", "reconcile", "sync", "writers"]
