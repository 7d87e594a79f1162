"""What a failure of the database means for an operator: one message in place of a driver's words."""

from __future__ import annotations

import re

#: (what the server or its driver says, what it means and what to do). Drivers differ, the server's words do not.
_KNOWN = (
    (
        r"too many clients already|remaining connection slots|too many connections for",
        "the database has no free connection left (max_connections). Look who holds them: select usename, "
        "application_name, state, count(*) from pg_stat_activity group by 1, 2, 3. End what is idle, raise "
        "max_connections, or put a pooler in between",
    ),
    (
        r"No space left on device|could not extend file|could not write init file",
        "the disk of the database is full. Free space there, or enlarge it (df -h on the database's machine)",
    ),
    (
        r"read-only transaction",
        "the database takes no changes. Probably the address leads to a standby, or default_transaction_read_only is "
        "on: give the address of the primary",
    ),
    (
        r"Connection refused|No such file or directory|could not translate host name|timeout expired|"
        r"database system is (starting|shutting)|not yet accepting",
        "the database does not answer. Look whether it runs (make logs, or its own service) and whether the address "
        "is right",
    ),
    (
        r"server closed the connection|terminating connection|connection (is lost|already closed|not open)|"
        r"no connection to the server|SSL SYSCALL",
        "the connection to the database was lost on the way. Look at its log: was it restarted, or did somebody end "
        "the connection?",
    ),
)  # fmt: skip
_DRIVERS = ("psycopg", "adbc_driver_manager", "sqlalchemy")


class DatabaseTrouble(Exception):
    """The database failed a step; the message says how, and what to do."""


def database_trouble(error: BaseException) -> str | None:
    """What to tell of `error` if a database's failure is behind it; None for anything else.

    The server's words are not repeated: they may hold values.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if type(cause).__module__.partition(".")[0] in _DRIVERS:
            said = str(cause)
            for pattern, meaning in _KNOWN:
                if re.search(pattern, said):
                    return (
                        f"{meaning}. The address is the setting WAREHOUSE_URL, or the one of the step's own login "
                        f"(WAREHOUSE_LOADER_URL and the like){_where(said)}. Nothing half-done is "
                        "visible; the task will try again, or clear it once this is mended."
                    )
        cause = cause.__cause__ or cause.__context__
    return None


def _where(said: str) -> str:
    found = re.search(r'server (?:at|on socket) "([^"\s]+)"(?:, port (\d+))?', said)
    return f" ({':'.join(p for p in found.groups() if p)})" if found else ""
