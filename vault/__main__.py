"""``python -m vault``: serve on a local socket.

Environment: VAULT_DATABASE_URL, VAULT_SOCKET, VAULT_KEYS (folder), VAULT_TOKEN_FILE (made if absent).
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import uvicorn

from vault.keys import FileKeys, KeyTrouble
from vault.server import application
from vault.store import Setup, Store


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


def main() -> None:
    """Start the vault; a wrong key or an unreachable database ends with one clear line."""
    os.umask(0o077)
    socket = Path(_setting("VAULT_SOCKET"))
    keys_folder = Path(_setting("VAULT_KEYS"))
    # Keys are made only for a vault that never had any: an empty folder beside a filled database is a loss.
    setup = Setup(
        _setting("VAULT_DATABASE_URL"), FileKeys(keys_folder, create=not (keys_folder / "made").exists())
    )
    try:
        store = Store(setup)
    except KeyTrouble as e:
        sys.exit(f"vault: {e}")
    (keys_folder / "made").touch()
    token = _bearer(Path(_setting("VAULT_TOKEN_FILE")))
    socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket.unlink(missing_ok=True)
    uvicorn.run(application(store, token), uds=str(socket), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
