"""``python -m vault``: serve on a local socket.

Environment: VAULT_DATABASE_URL, VAULT_SOCKET, VAULT_KEYS (folder), VAULT_TOKEN_FILE (made if absent),
VAULT_AGREEMENTS (folder of agreement records; without it nothing is ever disclosed), VAULT_REPAIRS (file of repair
rules; without it the project's own), VAULT_OFFICERS (file of officers who may reveal; without it nobody may),
VAULT_AUDIT_COPY (folder of the audit's copy; without it there is none), VAULT_ALERT_TIMES and VAULT_ALERT_LEAST (an
alert where a day's readings of one caller are more than so many times his usual ones, and more than so many).
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from urllib.parse import urlsplit

import adbc_driver_postgresql.dbapi as adbc
import uvicorn

from vault.audit import Alarm
from vault.keys import FileKeys, KeyTrouble
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


def main() -> None:
    """Start the vault; a wrong key or an unreachable database ends with one clear line."""
    os.umask(0o077)
    socket = Path(_setting("VAULT_SOCKET"))
    keys_folder = Path(_setting("VAULT_KEYS"))
    url = _setting("VAULT_DATABASE_URL")
    try:
        # Keys are made only for a vault that never had any: none beside a filled database is a loss, and so is
        # an emptied database beside data that were landed under keys now gone.
        never = not (keys_folder / "made").exists() and not was_set_up(url)
        copy = os.environ.get("VAULT_AUDIT_COPY", "")
        store = Store(
            Setup(url, FileKeys(keys_folder, create=never), Path(copy) if copy else None, alarm=_alarm())
        )
    except KeyTrouble as e:
        sys.exit(f"vault: {e}")
    except adbc.Error as e:
        parts = urlsplit(url)
        sys.exit(
            f"vault: looked for its database at {parts.hostname}:{parts.port or 5432}{parts.path} "
            f"(VAULT_DATABASE_URL) and could not use it: {' '.join(str(e).split())}"
        )
    (keys_folder / "made").touch()
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
