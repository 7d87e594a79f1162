"""What a failure of the vault's own database means, without the server's words: they may hold values."""

from __future__ import annotations

import re

import adbc_driver_postgresql.dbapi as adbc

#: (SQLSTATE; what is said where the driver tells none; what it means and what to do).
_KNOWN = (
    (
        r"53100",
        r"No space left on device|could not extend file",
        "the disk of the vault's database is full. Free space there, or enlarge it (df -h on the database's machine)",
    ),
    (
        r"53300",
        r"too many clients already|remaining connection slots|too many connections for",
        "the vault's database has no free connection left for it (max_connections, or its login's limit). Look who "
        "holds them (pg_stat_activity), end what is idle, or raise the limit",
    ),
    (
        r"25006",
        r"read-only transaction",
        "the vault's database takes no changes. Probably VAULT_DATABASE_URL leads to a standby: give it the primary",
    ),
    (
        r"08...|57P0.",
        r"Connection refused|No such file or directory|could not translate host name|timeout expired|"
        r"server closed the connection|terminating connection|no connection to the server|database system is|"
        r"not yet accepting",
        "the vault's database does not answer. Look whether it runs (make logs, or its own service) and whether "
        "VAULT_DATABASE_URL leads to it",
    ),
)


def meaning(error: adbc.Error) -> str | None:
    """What to tell of `error`; None where nothing better than its own words is known, which belong into the log."""
    for state, words, means in _KNOWN:
        if re.fullmatch(state, error.sqlstate or "") or re.search(words, str(error)):
            return means
    return None
