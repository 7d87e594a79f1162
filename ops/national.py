"""Sending dossiers to the national portal: where the room `national` meets settings, vault and warehouse."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from connectors.base import SourceUnavailable
from national import outbox, push
from national.exchange import Budget, Exchange
from national.writers import Writers, WritersError, read_writers
from ops import tasks
from ops.outcomes import NothingToDo, recorded
from ops.settings import VIETNAM, Settings, SettingsError
from vault.client import VaultClient, VaultRefused
from vault.purposes import MOST_DOSSIERS, AgreementError, NoAgreement, QuotaSpent, read_agreement, today

PURPOSE = "national_sync"
#: Airflow connection of the portal's server-to-server side.
CONNECTION = "national_exchange"


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
    """The warehouse by the login of the tasks that load, which owns the outbox."""
    return psycopg.connect(settings.login_url("loader"), connect_timeout=10)


class OfVault:
    """Clear values of dossiers from the vault, in memory, under the purpose `national_sync`."""

    def __init__(self, settings: Settings) -> None:
        self._client = VaultClient(settings.vault_socket, settings.vault_token)

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


def sync(settings: Settings, address: Callable[[], tasks.Address], dry_run: bool = False) -> dict[str, Any]:
    """Plan and send for every unit the warehouse writes; counts. NothingToDo where it writes none.

    `dry_run` writes what would be sent, without personal data, to a file below the home, and calls nobody.
    """
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
                outcome.details |= _dry(settings, connection, declared)
                return outcome.details
            outcome.details["planned"] = dict(push.plan(connection, declared, hash_key(settings)))
        try:
            read_agreement(settings.agreements, PURPOSE, today())
        except NoAgreement as e:
            raise NothingToDo(str(e)) from None
        except AgreementError as e:
            raise SettingsError(str(e)) from None
        place = address()
        exchange = Exchange(
            place.base_url, place.login, place.secret, settings.get("KHOCHUNG_NATIONAL_UNIT"),
            Budget(settings.national_calls),
        )  # fmt: skip
        try:
            report = push.push(
                lambda: connect(settings), exchange, OfVault(settings), declared, hash_key(settings)
            )
        except push.NotForThere as e:
            raise SettingsError(str(e)) from None
        except outbox.Stopped as e:
            raise NothingToDo(str(e)) from None
        outcome.details |= {
            "done": dict(sorted(report.done.items())), "left": report.left, "calls": report.calls,
            "troubles": report.troubles,
        }  # fmt: skip
        told = ", ".join(f"{n:,} {what}" for what, n in sorted(report.done.items())) or "nothing to send"
        _say(f"national portal: {told}; {sum(report.calls.values()):,} calls")
        for trouble in report.troubles:
            _say(f"trouble: {trouble}")
        if report.troubles and not any(n for what, n in report.done.items() if "accepted" in what):
            raise SourceUnavailable("; ".join(report.troubles)[:2000])
        return outcome.details


def _dry(settings: Settings, connection: psycopg.Connection, declared: Writers) -> dict[str, Any]:
    folder = settings.home / "national"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"dry-run-{dt.datetime.now(VIETNAM):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}.jsonl"
    counted: dict[str, int] = {}
    with path.open("w", encoding="utf-8") as f:
        for record in push.dry_run(connection, declared, hash_key(settings)):
            counted[record["action"]] = counted.get(record["action"], 0) + 1
            f.write(json.dumps(record, ensure_ascii=False) + "\n")
    _say(f"dry run: {', '.join(f'{n:,} {a}' for a, n in sorted(counted.items())) or 'nothing'}; {path}")
    return {"dry_run": counted, "file": str(path)}


# --- commands ------------------------------------------------------------------------------------------------------


def command(
    settings: Settings, action: str, why: str = "", codes: Sequence[str] = (), adopt: bool = False
) -> list[str]:
    """Lines of `python -m ops national <action>`: status, stop, resume, retry, dry-run."""
    if action == "dry-run":
        done = sync(settings, lambda: tasks.Address(""), dry_run=True)
        return [str(done["file"])]
    with connect(settings) as connection:
        outbox.prepare(connection)
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


def _status(connection: psycopg.Connection) -> list[str]:
    lines = []
    with contextlib.suppress(outbox.Stopped):
        outbox.check_switch(connection)
    row = connection.execute("select why, by, at from national.switch where is_stopped").fetchone()
    if row:
        lines.append(f"STOPPED by {row[1]} at {row[2].astimezone(VIETNAM):%d/%m/%Y %H:%M}: {row[0]}")
    for table, states in outbox.counts(connection).items():
        lines += [f"{table}: {', '.join(f'{n:,} {s}' for s, n in sorted(states.items()))}"] * bool(states)
    for unit, code, state, reasons, answer in connection.execute(
        "select unit_code, national_code, state, array_to_string(lacking || reasons, ', '), last_answer "
        "from national.dossier where state in ('held', 'refused', 'conflict') order by state, unit_code, national_code "
        "limit 50"
    ).fetchall():
        lines.append(f"{unit} {code} {state}: {reasons or answer or ''}")
    return lines


def _operator() -> str:
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or "operator"


__all__ = ["CONNECTION", "PURPOSE", "OfVault", "command", "sync", "writers"]
