"""``python -m vault``: serve on a local socket.

``python -m vault rotate``: change the master encryption key, also while the vault serves.
``python -m vault retoken``: change the token key; whatever else asks the vault waits until it is done.
``python -m vault erase --request ... --decision erase|restrict|refuse --basis ... --officer ... [--term ...]``: record
and carry out what was decided on a person's request; reads the identity number from standard input, where no other user
of the machine sees it.

Environment: VAULT_DATABASE_URL, VAULT_SOCKET, VAULT_KEYS (folder), VAULT_TOKEN_FILE (made if absent),
VAULT_AGREEMENTS (folder of agreement records; without it nothing is ever disclosed), VAULT_REPAIRS (file of repair
rules; without it the project's own), VAULT_ERASURES (journal of decisions on persons; without it erasures.jsonl beside
the keys), VAULT_KEY_PROVIDER (file or transit; see `vault.keys`), VAULT_OFFICERS (file of officers who may reveal;
without it nobody may), VAULT_AUDIT_COPY (folder of the audit's copy; without it there is none), VAULT_ALERT_TIMES and
VAULT_ALERT_LEAST (an alert where a day's readings of one caller are more than so many times his usual ones, and more
than so many).
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import secrets
import sys
from pathlib import Path
from urllib.parse import urlsplit

import adbc_driver_postgresql.dbapi as adbc
import uvicorn

from vault.audit import Alarm
from vault.erasure import DECISIONS, Request, RequestError
from vault.keys import KeyTrouble, provider
from vault.retoken import BATCH as RENAMED
from vault.rotation import BATCH
from vault.server import application
from vault.store import Setup, Store, was_set_up


def _setting(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        sys.exit(f"vault: looked for the setting {name} in the environment and found none; see .env.example")
    return value


def _bearer(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
            f.write(secrets.token_urlsafe(32))
    return path.read_text().strip()


def _alarm() -> Alarm:
    usual = Alarm()
    try:
        return Alarm(
            float(os.environ.get("VAULT_ALERT_TIMES") or usual.times),
            int(os.environ.get("VAULT_ALERT_LEAST") or usual.least),
        )
    except ValueError:
        sys.exit(
            "vault: VAULT_ALERT_TIMES is to be a number such as 3, VAULT_ALERT_LEAST a whole one such as 20"
        )


def _store(serving: bool, finishing: bool = False) -> Store:
    """The vault's store; a wrong key or an unreachable database ends with one clear line."""
    keys_folder = Path(_setting("VAULT_KEYS"))
    url = _setting("VAULT_DATABASE_URL")
    try:
        # Keys are made only for a vault that never had any: none beside a filled database is a loss, and so is
        # an emptied database beside data that were landed under keys now gone.
        never = serving and not (keys_folder / "made").exists() and not was_set_up(url)
        erasures = Path(os.environ.get("VAULT_ERASURES", "") or keys_folder / "erasures.jsonl")
        copy = os.environ.get("VAULT_AUDIT_COPY", "")
        keys = provider(os.environ, keys_folder, create=never)
        store = Store(
            Setup(
                url, keys, erasures=erasures, audit_copy=Path(copy) if copy else None, alarm=_alarm(),
                finishing=finishing,
            )
        )  # fmt: skip
    except KeyTrouble as e:
        sys.exit(f"vault: {e}")
    except adbc.Error as e:
        parts = urlsplit(url)
        sys.exit(
            f"vault: looked for its database at {parts.hostname}:{parts.port or 5432}{parts.path} "
            f"(VAULT_DATABASE_URL) and could not use it: {' '.join(str(e).split())}"
        )
    if serving:
        (keys_folder / "made").touch()
    return store


def _rotate(batch: int) -> None:
    store = _store(serving=False)
    try:
        done = store.rotate(batch)
    except KeyTrouble as e:
        sys.exit(f"vault: {e}")
    print(
        f"vault: {done.keys:,} keys were wrapped anew in {done.seconds:.0f} s; all lie under encryption key "
        f"{done.version} now ({store.masters.provider.place(done.version)}). Back it up, apart from the database. The "
        f"one before ({store.masters.provider.place(done.version - 1)}) is needed for older backups of the database "
        "alone: remove it once you keep none of those."
    )


def _retoken(batch: int) -> None:
    store = _store(serving=False, finishing=True)
    try:
        done = store.retoken(batch)
    except KeyTrouble as e:
        sys.exit(f"vault: {e}")
    print(
        f"vault: {done.rows:,} rows took handles of token key {done.version} in {done.seconds:.0f} s "
        f"({store.masters.provider.make_token_key(done.version)}). Back it up, apart from the database, and keep those "
        "before: every one of them is needed. Now bring the warehouse to it: .venv/bin/python -m ops renew-handles."
    )


def _decide(given: argparse.Namespace) -> None:
    store = _store(serving=False)
    token = store.sealer.token(sys.stdin.readline().strip())
    if token is None:
        sys.exit("vault: looked for an identity number on standard input and found none that names a person")
    try:
        deleted = store.decide(
            Request(
                given.request, token, given.decision, given.basis, given.officer,
                given.decided_at or dt.datetime.now(dt.UTC).isoformat(), given.term,
            )
        )  # fmt: skip
    except (RequestError, KeyTrouble) as e:
        sys.exit(f"vault: {e}")
    print(f"vault: request {given.request}: {given.decision}, recorded; {deleted:,} sealed values deleted")


def main() -> None:
    """Serve, or do what the command says."""
    os.umask(0o077)
    parser = argparse.ArgumentParser(prog="python -m vault")
    commands = parser.add_subparsers(dest="command")
    rotating = commands.add_parser("rotate", help="change the master encryption key")
    rotating.add_argument("--batch", type=int, default=BATCH, help="keys wrapped anew in one transaction")
    renaming = commands.add_parser("retoken", help="change the token key")
    renaming.add_argument("--batch", type=int, default=RENAMED, help="rows renamed in one transaction")
    erasing = commands.add_parser("erase", help="a decision on a person; identity number on standard input")
    erasing.add_argument("--request", required=True, help="number of the citizen's request")
    erasing.add_argument("--decision", required=True, choices=DECISIONS)
    erasing.add_argument("--basis", required=True, help="document and law it rests on")
    erasing.add_argument("--officer", required=True, help="code of who decided")
    erasing.add_argument("--decided-at", help="moment with its zone; now if left out")
    erasing.add_argument("--term", help="last day of a restriction, or of what stands against erasing")
    given = parser.parse_args()
    if given.command == "rotate":
        _rotate(given.batch)
    elif given.command == "retoken":
        _retoken(given.batch)
    elif given.command == "erase":
        _decide(given)
    else:
        _serve()


def _serve() -> None:
    socket = Path(_setting("VAULT_SOCKET"))
    store = _store(serving=True)
    token = _bearer(Path(_setting("VAULT_TOKEN_FILE")))
    socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket.unlink(missing_ok=True)
    folder = os.environ.get("VAULT_AGREEMENTS", "")
    agreements = Path(folder) if folder else None
    # Reviewed with the code, so its place is known.
    repairs = Path(os.environ.get("VAULT_REPAIRS", "") or Path(__file__).parents[1] / "ops" / "repairs.yml")
    officers = os.environ.get("VAULT_OFFICERS", "")
    served = application(store, token, agreements, repairs, Path(officers) if officers else None)
    uvicorn.run(served, uds=str(socket), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
