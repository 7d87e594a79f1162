"""Logins of persons, made from `ops/roles.yml` by operators, and the watchdog that ends sessions which exceed.

A person is a login in the group <database>_person (which may enter) and in the groups of his role. He owns nothing,
writes nothing and makes no temporary table; his password is SCRAM, known to him alone.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

from ops import postgres
from ops.health import WATCHDOG
from ops.roles import ROLES, AccessError, Names, Person, Roles, names_of
from ops.settings import VIETNAM, Settings

_LOCK = 7_662_028
WATCH_SECONDS = 5


def make_roles(settings: Settings, roles: Roles) -> list[str]:
    """Make groups and persons as the file has them, and end the access of whoever is no longer in it; what was done.

    One transaction; safe to run again. Takes a login that may make others (POSTGRES_ADMIN_URL, or WAREHOUSE_URL's).
    """
    names, done = names_of(settings), []
    today = dt.datetime.now(VIETNAM).date()
    with psycopg.connect(postgres.maker_url(settings), connect_timeout=10) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        may = connection.execute(
            "select rolsuper, rolcreaterole from pg_roles where rolname = current_user"
        ).fetchone()
        if may is None or not any(may):
            raise AccessError(
                "the login of WAREHOUSE_URL may not make logins for persons. Set POSTGRES_ADMIN_URL to an owner of "
                "the server for this one command: `.venv/bin/python -m ops roles apply`"
            )
        superuser = bool(may[0])
        groups = [names.person, *(names.group(r) for r in ROLES), *(names.agency(c) for c in roles.agencies)]
        for group in groups:
            if not exists(connection, group):
                do(connection, "create role {} nologin", group)
                done.append(f"group {group} made")
        do(connection, "grant connect on database {} to {}", names.database, names.person)
        for code in roles.agencies:
            _be_member(connection, names.agency(code), {names.group("agency")}, done)
        for person in roles.persons.values():
            _make_person(connection, names, person, roles.limits, today, superuser, done)
        for login in persons_in(connection, names) - set(roles.persons):
            _leave(connection, names, login, done)
        _make_watchdog(connection, settings, names, roles.limits)
    return done


def _make_person(
    connection: psycopg.Connection,
    names: Names,
    person: Person,
    limits: dict[str, int],
    today: dt.date,
    superuser: bool,
    done: list[str],
) -> None:
    login = person.login
    if not exists(connection, login):
        # Without a password nobody enters: `ops roles password` gives one.
        do(connection, "create role {} nologin", login)
        done.append(f"{login} ({person.name}) made")
    elif login not in persons_in(connection, names):
        raise AccessError(
            f"{login}: a login of this name stands on the server and is no person's of this warehouse"
        )
    over = person.until < today
    connection.execute(
        sql.SQL(
            "alter role {} {} nocreatedb nocreaterole inherit connection limit {} valid until {}"
        ).format(
            sql.Identifier(login), sql.SQL("nologin" if over else "login"), sql.Literal(limits["connections"]),
            sql.Literal(person.valid_until.isoformat()),
        )
    )  # fmt: skip
    wanted = {names.person} if over else {names.person, *names.groups_of(person)}
    _be_member(connection, login, wanted, done)
    if over:
        done.append(f"{login} ({person.name}): access ended on {person.until:%d/%m/%Y}")
    # What he has set for himself goes: these are where he begins, and the watchdog's limits are where he ends.
    do(connection, "alter role {} reset all", login)
    do(connection, "alter role {} in database {} reset all", login, names.database)
    begin = {
        "statement_timeout": f"{limits['statement']}s",
        "idle_in_transaction_session_timeout": f"{limits['pause']}s",
        "lock_timeout": f"{limits['lock']}s",
        "default_transaction_read_only": "on",
        "search_path": "marts",
        # He cannot raise this one. In kB.
        **({"temp_file_limit": "2097152"} if superuser else {}),
    }
    for setting, value in begin.items():
        connection.execute(
            sql.SQL("alter role {} in database {} set {} = {}").format(
                sql.Identifier(login), sql.Identifier(names.database), sql.Identifier(setting), sql.Literal(value)
            )
        )  # fmt: skip
    if not superuser:
        # Only so may this login, in the watchdog's name, end his sessions.
        do(connection, "grant {} to current_user", login)


def _leave(connection: psycopg.Connection, names: Names, login: str, done: list[str]) -> None:
    """The login stays without rights, so that nobody gets its name and what is told of it."""
    held = connection.execute(
        "select rolcanlogin or rolvaliduntil is null or rolvaliduntil > now() from pg_roles where rolname = %s",
        (login,),
    ).fetchone()
    if held == (True,):
        connection.execute(
            sql.SQL("alter role {} nologin connection limit 0 valid until {}").format(
                sql.Identifier(login), sql.Literal(dt.datetime.now(VIETNAM).isoformat())
            )
        )
        done.append(f"{login} is no longer listed: access ended")
    _be_member(connection, login, {names.person}, done)


def _be_member(connection: psycopg.Connection, role: str, wanted: set[str], done: list[str]) -> None:
    """Have `role` be a member of `wanted` and of nothing else."""
    rows = connection.execute(
        "select g.rolname, pg_get_userbyid(m.grantor) from pg_auth_members m join pg_roles g on g.oid = m.roleid "
        "where m.member = (select oid from pg_roles where rolname = %s)",
        (role,),
    ).fetchall()
    for group, grantor in rows:
        if group not in wanted:
            # A grant of somebody else's is revoked in his name.
            do(connection, "revoke {} from {} granted by {} cascade", group, role, grantor)
            done.append(f"{role} left {group}")
    for group in sorted(wanted - {r[0] for r in rows}):
        do(connection, "grant {} to {}", group, role)
        done.append(f"{role} joined {group}")


def persons_in(connection: psycopg.Connection, names: Names) -> set[str]:
    """Logins of persons, past ones too; not who made the group, whom PostgreSQL counts in."""
    rows = connection.execute(
        "select r.rolname from pg_auth_members m join pg_roles r on r.oid = m.member "
        "where m.roleid = (select oid from pg_roles where rolname = %s) and not m.admin_option",
        (names.person,),
    ).fetchall()
    return {r[0] for r in rows}


#: Ends sessions of persons and of nobody else, and tells whose and why. It runs with its maker's rights, because to
#: end another's session takes more than a step of the house has; so it takes no argument and looks up nothing by
#: search path. Queries are not told: they can hold values.
_WATCH = """
create or replace function access.watch() returns table (login name, why text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $watch$
declare
    membership record;
begin
    for membership in
        select g.rolname as group_name, r.rolname as login_name, pg_get_userbyid(m.grantor) as grantor
        from pg_auth_members p
        join pg_roles r on r.oid = p.member
        join pg_auth_members m on m.member = r.oid and m.roleid <> p.roleid
        join pg_roles g on g.oid = m.roleid
        where p.roleid = {group}::regrole and not p.admin_option and r.rolvaliduntil < now()
    loop
        execute format(
            'revoke %I from %I granted by %I cascade',
            membership.group_name, membership.login_name, membership.grantor
        );
        login := membership.login_name;
        why := 'access is over: left ' || membership.group_name;
        return next;
    end loop;
    return query
    with session as (
        select
            a.pid, a.usename, r.rolvaliduntil, a.state, a.query_start, a.state_change, a.xact_start,
            row_number() over (order by a.state = 'active' desc, a.state_change desc) as place
        from pg_stat_activity a
        join pg_auth_members p on p.member = a.usesysid
        join pg_roles r on r.oid = a.usesysid
        where p.roleid = {group}::regrole and not p.admin_option and not r.rolsuper and a.pid <> pg_backend_pid()
    ),
    waiting as (
        select l.pid, min(l.waitstart) as since
        from pg_locks l
        where not l.granted and l.pid not in (select s.pid from session s)
        group by l.pid
    ),
    -- A person who waits behind the house's own wait keeps nobody waiting: only who holds is named here.
    blocking as (
        select distinct unnest(pg_blocking_pids(w.pid)) as pid
        from waiting w
        where w.since < clock_timestamp() - {blocking}
    ),
    judged as (
        select
            s.pid,
            s.usename,
            case
                when s.rolvaliduntil < now() then 'access is over'
                when s.pid in (select b.pid from blocking b) then 'kept a step of the warehouse waiting'
                when s.state = 'active' and s.query_start < clock_timestamp() - {statement} then 'query took too long'
                when s.state like 'idle in transaction%' and s.state_change < clock_timestamp() - {pause}
                    then 'idle in a transaction'
                when s.xact_start < clock_timestamp() - {transaction} then 'transaction took too long'
                when s.place > {sessions} then 'too many sessions of persons'
            end as reason
        from session s
    )
    select j.usename, j.reason
    from judged j
    where j.reason is not null and pg_terminate_backend(j.pid);
end
$watch$
"""


def _make_watchdog(
    connection: psycopg.Connection, settings: Settings, names: Names, limits: dict[str, int]
) -> None:
    def seconds(name: str, share: float = 1.0) -> sql.Composable:
        return sql.SQL("interval {}").format(sql.Literal(f"{limits[name] * share:g} seconds"))

    connection.execute("create schema if not exists access")
    connection.execute(
        sql.SQL(cast(Any, _WATCH)).format(
            group=sql.Literal(f'"{names.person}"'), statement=seconds("statement", 1.5), pause=seconds("pause", 1.5),
            transaction=seconds("transaction"), blocking=seconds("blocking"), sessions=sql.Literal(limits["sessions"]),
        )
    )  # fmt: skip
    connection.execute("revoke all on function access.watch() from public")
    for login in sorted({_login(settings, "loader"), _login(settings, "dbt")}):
        do(connection, "grant usage on schema access to {}", login)
        do(connection, "grant execute on function access.watch() to {}", login)


def give_password(settings: Settings, roles: Roles, login: str) -> str:
    """Give a person a new password and return it; only its SCRAM verifier goes to the server."""
    if login not in roles.persons:
        raise AccessError(
            f"{login} is not in {settings.roles_file}; it lists {', '.join(roles.persons) or 'nobody'}"
        )
    password = secrets.token_urlsafe(15)
    with psycopg.connect(postgres.maker_url(settings), connect_timeout=10) as connection:
        if login not in persons_in(connection, names_of(settings)):
            raise AccessError(f"{login} is not made yet; run `.venv/bin/python -m ops roles apply` first")
        verifier = connection.pgconn.encrypt_password(
            password.encode(), login.encode(), b"scram-sha-256"
        ).decode()
        connection.execute(
            sql.SQL("alter role {} password {}").format(sql.Identifier(login), sql.Literal(verifier))
        )
    return password


def watch(settings: Settings) -> list[tuple[str, str]]:
    """End what persons' sessions may not do; (login, why) of each. Empty where no roles were made yet."""
    with psycopg.connect(
        settings.login_url("loader"), connect_timeout=10, application_name=WATCHDOG, autocommit=True
    ) as connection:
        return _watch(connection)


def _watch(connection: psycopg.Connection) -> list[tuple[str, str]]:
    # Also where the login may not look into the schema.
    made = connection.execute(
        "select from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'access' "
        "and p.proname = 'watch' and has_function_privilege(p.oid, 'execute')"
    ).fetchone()
    return connection.execute("select login, why from access.watch()").fetchall() if made is not None else []


def watch_for_ever(settings: Settings) -> None:
    """The watchdog as a service; it outlives the server's restarts."""
    while True:
        try:
            with psycopg.connect(
                settings.login_url("loader"), connect_timeout=10, application_name=WATCHDOG, autocommit=True
            ) as connection:
                while True:
                    for login, why in _watch(connection):
                        print(f"{dt.datetime.now(VIETNAM):%d/%m/%Y %H:%M:%S} {login}: {why}", flush=True)
                    time.sleep(WATCH_SECONDS)
        except psycopg.Error as e:
            print(f"kho chung: the watchdog was turned away: {str(e).splitlines()[0]}", flush=True)
            time.sleep(WATCH_SECONDS)


@contextlib.contextmanager
def watching(settings: Settings, then: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Meanwhile, end persons' sessions that hold this up, and do `then` after each look.

    Where either fails it is done again, and by `ops.access.protect` in the end.
    """
    over = threading.Event()

    def keep() -> None:
        while not over.wait(WATCH_SECONDS):
            with contextlib.suppress(psycopg.Error, AccessError):
                for login, why in watch(settings):
                    print(f"a session of {login} was ended: {why}", flush=True)
                then()

    keeper = threading.Thread(target=keep, name="access", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _login(settings: Settings, login: str) -> str:
    return unquote(urlsplit(settings.login_url(login)).username or "")


def exists(connection: psycopg.Connection, role: str) -> bool:
    """Whether the server has a role of this name."""
    return connection.execute("select from pg_roles where rolname = %s", (role,)).fetchone() is not None


def do(connection: psycopg.Connection, statement: str, *names: str) -> None:
    """Execute `statement` with the quoted `names` in place of its braces."""
    connection.execute(sql.SQL(cast(Any, statement)).format(*(sql.Identifier(n) for n in names)))
