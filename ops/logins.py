"""Logins of the warehouse, each with the least rights of its work.

| Login | Is | May |
|---|---|---|
| loader | the steps from pull to load, collect | owns raw, landing_stage, ops |
| dbt | the build | reads raw, ops and national; owns seeds, staging, intermediate, marts, ioc, open_data |
| publisher | the gates, publish | reads landing_stage, ops, marts, open_data |
| national | sending to the national portal, comparing; build makes the tables | reads raw, marts; owns national |
| analyst | a person with questions | reads marts |
| auditor | a person who looks at what was run | reads ops: loads and outcomes, which hold no row of anybody |

The database's owner (WAREHOUSE_URL) is for operators and for making these; no task is given it. The vault and Airflow
enter databases of their own, which admit nobody else. Tokens of persons stand in raw, landing_stage (while a batch is
checked), staging and intermediate, and in no schema that people read; open_data is confidential, too: cells that could
tell of somebody are withheld only on the way out. Objects are made by their schema's owner alone, so that
default privileges reach also what dbt drops and makes anew in each build.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

from ops.settings import LOGINS, TASK_LOGINS, Settings, SettingsError

OWNS = {
    "loader": ("raw", "landing_stage", "ops"),
    "dbt": ("seeds", "staging", "intermediate", "marts", "ioc", "open_data"),
    "national": ("national",),
}
READS = {
    "dbt": ("raw", "ops", "national"),
    "publisher": ("landing_stage", "ops", "marts", "open_data"),
    "national": ("raw", "marts"),
    "analyst": ("marts",),
    "auditor": ("ops",),
}
#: The logins that each step of ops.tasks enters the warehouse by.
OF_STEP = {
    "pull": {"loader"},
    "check_citizens": {"loader"},
    "stage": {"loader"},
    "check_landing": {"loader", "publisher"},
    "load": {"loader"},
    "find_deletions": {"loader"},
    "build": {"loader", "dbt", "national"},
    "check_warehouse": {"publisher"},
    "publish": {"publisher"},
    "write_forms": {"publisher"},
    "push_catalogue": set(),
    "collect": {"loader"},
    "sync_national": {"national"},
    "reconcile_national": {"national"},
    "explain_national": {"dbt", "national"},
}
#: What Airflow's own processes sign in with. Airflow takes the first of them away from its tasks, and leaves the rest.
_AIRFLOW_DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
_AIRFLOWS_OWN = (
    f"{_AIRFLOW_DATABASE}_ASYNC",
    "AIRFLOW__CELERY__BROKER_URL",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__CORE__FERNET_KEY",
)
_LOCK = 7_662_027


@contextlib.contextmanager
def only_for(step: str) -> Iterator[Settings]:
    """Settings for one step of ops.tasks; until its end no other login stands in this process's environment.

    That keeps passwords out of what a task starts, prints or dumps; it does not hold back code that reads the
    files of its own user.
    """
    hidden = {f"WAREHOUSE_{login.upper()}_URL" for login in LOGINS if login not in OF_STEP[step]}
    if os.environ.get(_AIRFLOW_DATABASE, "").startswith("airflow-db-not-allowed"):
        hidden |= set(_AIRFLOWS_OWN)  # a task of a scheduler or worker; `make run` is Airflow and task in one
    kept = {name: os.environ.pop(name) for name in hidden if name in os.environ}
    try:
        yield Settings()
    finally:
        os.environ.update(kept)


def make_login(connection: psycopg.Connection, name: str, password: str) -> None:
    """Make a login if there is none of this name."""
    if connection.execute("select 1 from pg_roles where rolname = %s", (name,)).fetchone():
        return
    connection.execute(
        sql.SQL("create role {} login password {}").format(sql.Identifier(name), sql.Literal(password))
    )


def set_password(connection: psycopg.Connection, name: str, password: str) -> None:
    """Give a login the password that the settings say it has; it may have stood there before with another."""
    connection.execute(
        sql.SQL("alter role {} password {}").format(sql.Identifier(name), sql.Literal(password))
    )


def shut(connection: psycopg.Connection, database: str) -> None:
    """Have a database admit its own login and whoever was granted it, and nobody else."""
    connection.execute(
        sql.SQL("revoke connect, temporary on database {} from public").format(sql.Identifier(database))
    )


def admit(connection: psycopg.Connection, database: str, name: str) -> None:
    """Let a login into a database that was shut, with tables of its own for the time of a session."""
    _do(connection, "grant connect, temporary on database {} to {}", database, name)


def prepare(settings: Settings, url: str) -> None:
    """Make the logins, their schemas and their rights, in one transaction; safe to run again, also during a build.

    `url` enters the warehouse's database as somebody who may make logins. What one login owned before there were
    several goes to the login whose schema it stands in.
    """
    found = _given(settings)
    database = urlsplit(settings.warehouse_url).path.strip("/")
    owner = unquote(urlsplit(settings.warehouse_url).username or "")
    with psycopg.connect(url, connect_timeout=10) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        shut(connection, database)
        connection.execute("revoke create on schema public from public")
        for login, (name, password) in found.items():
            make_login(connection, name, password)
            set_password(connection, name, password)
            if login not in OWNS:
                _do(connection, "grant connect on database {} to {}", database, name)
            else:
                admit(connection, database, name)
                # Operators may do what these may; and who hands out a login's objects must be a member of it.
                _do(connection, "grant {} to {}", name, owner)
        _keep_from_people(connection, [owner, *(found[n][0] for n in (*OWNS, "publisher"))])
        before = [owner, *(found[login][0] for login in OWNS)]
        for login, schemas in OWNS.items():
            for schema in schemas:
                _own(connection, schema, found[login][0], before)
        for login in found:
            for maker, owned in OWNS.items():
                for schema in owned:
                    if schema in READS.get(login, ()):
                        _let_read(connection, schema, found[maker][0], found[login][0])
                    elif maker != login:
                        _let_read_no_more(connection, schema, found[maker][0], found[login][0])


def check(settings: Settings) -> None:
    """Make sure that every login given by a setting enters; SettingsError names those that do not."""
    shut_out = []
    for login in _given(settings):
        try:
            psycopg.connect(settings.login_url(login), connect_timeout=10).close()
        except psycopg.OperationalError:
            shut_out.append(f"WAREHOUSE_{login.upper()}_URL")
    if shut_out:
        raise SettingsError(
            f"the logins of {', '.join(shut_out)} cannot enter the warehouse, and the login of WAREHOUSE_URL may not "
            "make any. Set POSTGRES_ADMIN_URL and run `.venv/bin/python -m ops prepare`, or take these settings out: "
            "then one login does everything."
        )


def _given(settings: Settings) -> dict[str, tuple[str, str]]:
    """{login: (name, password)} of those the installation has; SettingsError where they do not fit together."""
    database = urlsplit(settings.warehouse_url).path
    found: dict[str, tuple[str, str]] = {}
    for login in LOGINS:
        if not settings.embedded and not settings.get(f"WAREHOUSE_{login.upper()}_URL"):
            continue
        parts = urlsplit(settings.login_url(login))
        name, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not name or not password or parts.path != database:
            raise SettingsError(
                f"WAREHOUSE_{login.upper()}_URL is not postgresql://user:password@host:port{database}, a login of "
                "the warehouse's database (looked in the environment and .env)"
            )
        found[login] = (name, password)
    lacking = [f"WAREHOUSE_{n.upper()}_URL" for n in TASK_LOGINS if n not in found]
    if lacking:
        raise SettingsError(
            f"looked for {', '.join(lacking)} in the environment and .env and found nothing; either all tasks have "
            f"logins of their own ({', '.join(TASK_LOGINS)}), or WAREHOUSE_URL's does everything"
        )
    names = [name for name, _ in found.values()] + [unquote(urlsplit(settings.warehouse_url).username or "")]
    if len(set(names)) < len(names):
        raise SettingsError(
            "two of WAREHOUSE_URL and WAREHOUSE_..._URL name the same login; each needs one of its own"
        )
    return found


def _do(connection: psycopg.Connection, statement: str, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*(sql.Identifier(n) for n in names)))  # type: ignore[arg-type]


def _keep_from_people(connection: psycopg.Connection, house: list[str]) -> None:
    """Let only the house take advisory locks, by which steps wait for each other, and nobody make large objects.

    PostgreSQL lets everybody do both: a reader could hold up every build, or fill the disk. Takes the server's
    owner; without, the watchdog (ops/persons.py) ends whoever keeps a step waiting.
    """
    if connection.execute("select rolsuper from pg_roles where rolname = current_user").fetchone() != (True,):
        return
    rows = connection.execute(
        "select oid::regprocedure::text, proname ~ 'advisory' from pg_proc where pronamespace = "
        "'pg_catalog'::regnamespace and (proname ~ '^pg_(try_)?advisory_' or proname in "
        "('lo_creat', 'lo_create', 'lo_from_bytea', 'pg_logical_emit_message')) "
        "and (has_function_privilege('public', oid, 'execute') or (proname ~ 'advisory' and exists "
        "(select from unnest(%s::text[]) h where not has_function_privilege(h, pg_proc.oid, 'execute'))))",
        (house,),
    ).fetchall()
    for function, is_lock in rows:
        connection.execute(sql.SQL(f"revoke execute on function {function} from public"))
        for name in house if is_lock else ():
            connection.execute(
                sql.SQL(f"grant execute on function {function} to {{}}").format(sql.Identifier(name))
            )


def _own(connection: psycopg.Connection, schema: str, name: str, before: list[str]) -> None:
    """Make `schema`, or hand it over with what one of the logins `before` owned in it."""
    _do(connection, "create schema if not exists {} authorization {}", schema, name)
    held = connection.execute(
        "select pg_get_userbyid(nspowner) from pg_namespace where nspname = %s", (schema,)
    ).fetchone()
    if held != (name,):
        _do(connection, "alter schema {} owner to {}", schema, name)
    rows = connection.execute(
        "select relname from pg_class where relnamespace = to_regnamespace(%s) and relkind in ('r', 'p', 'v', 'm') "
        "and pg_get_userbyid(relowner) = any(%s) and pg_get_userbyid(relowner) <> %s",
        (schema, before, name),
    ).fetchall()
    for (table,) in rows:
        _do(connection, "alter table {}.{} owner to {}", schema, table, name)


def _let_read(connection: psycopg.Connection, schema: str, maker: str, reader: str) -> None:
    """Let `reader` read what stands in `schema` and what `maker` will make there."""
    _do(connection, "grant usage on schema {} to {}", schema, reader)
    _do(
        connection,
        "alter default privileges for role {} in schema {} grant select on tables to {}",
        maker, schema, reader,
    )  # fmt: skip
    # Only what is lacking: a grant on a table that a build is just dropping would fail one of the two.
    rows = connection.execute(
        "select relname from pg_class where relnamespace = to_regnamespace(%s) and relkind in ('r', 'p', 'v', 'm') "
        "and pg_get_userbyid(relowner) = %s and not has_table_privilege(%s, oid, 'select')",
        (schema, maker, reader),
    ).fetchall()
    for (table,) in rows:
        _do(connection, "grant select on {}.{} to {}", schema, table, reader)


def _let_read_no_more(connection: psycopg.Connection, schema: str, maker: str, reader: str) -> None:
    """Take back what an earlier version let `reader` read; nothing is locked where it may read nothing."""
    may = connection.execute(
        "select from pg_namespace where nspname = %s and has_schema_privilege(%s, oid, 'usage')",
        (schema, reader),
    ).fetchone()
    if may is None:
        return
    _do(connection, "revoke all on schema {} from {}", schema, reader)
    _do(connection, "revoke all on all tables in schema {} from {}", schema, reader)
    _do(
        connection,
        "alter default privileges for role {} in schema {} revoke all on tables from {}",
        maker, schema, reader,
    )  # fmt: skip
