"""Rights of persons on tables, as `ops/roles.yml` has them, given anew after every build.

A table that dbt makes anew has neither policy nor grant, and there are no default privileges for persons: what nobody
thought of is read by nobody. A policy names its agencies' codes as literals: what a role sees is computed here, not for
each row or query.

Row security is not forced upon owners: dbt's login and operators see everything (builds and backups must), and no
person is a member of either. Views get security_invoker, and a function that is security definer is refused: both
would read with their owner's rights.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import psycopg
from psycopg import sql

from ops.persons import do, exists, make_roles, persons_in, watch, watching
from ops.roles import ALL_ROWS, LOGIN, ROLES, SCHEMAS, AccessError, Names, Roles, names_of, read_roles, scopes
from ops.settings import VIETNAM, Settings

#: How often `protect` tries to lock a table, for how long each time but the last, and the last: then the watchdog has
#: ended whoever holds it.
_TRIES, _SHORT, _LONG = 4, "2s", "40s"


@dataclass
class Protected:
    """What `protect` came to: tables changed, by name, and what it found that the file does not know."""

    changed: list[str]
    unlisted: list[str]
    not_made: list[str]


def protect(settings: Settings, roles: Roles | None = None, tries: int = _TRIES) -> Protected:
    """Give every table of marts and ioc its policies, then its grants, each table in one transaction.

    Only what differs is touched, so nothing is locked where nothing changed. AccessError where a table cannot be
    protected; it is then read by no person.
    """
    roles = roles or read_roles(settings.roles_file)
    names = names_of(settings)
    result = Protected([], [], [])
    today = dt.datetime.now(VIETNAM).date()
    with psycopg.connect(settings.login_url("dbt"), connect_timeout=10, autocommit=True) as connection:
        connection.execute("set lock_timeout = '40s'")
        groups = [*(names.group(r) for r in ROLES), *(names.agency(c) for c in roles.agencies)]
        result.not_made = [g for g in groups if not exists(connection, g)]
        functions = connection.execute(
            "select oid::regprocedure::text from pg_proc where prosecdef and pronamespace in "
            "(select oid from pg_namespace where nspname = any(%s))",
            (list(SCHEMAS),),
        ).fetchall()
        if functions:
            raise AccessError(
                f"{functions[0][0]} is security definer: whoever calls it reads with its owner's rights, past every "
                "policy. Make it security invoker (dbt/functions) and build again."
            )
        given = _Rights(
            names, roles, _house(connection, names), set(result.not_made), _scopes(connection, roles, today)
        )
        found = {
            row[0]: _Table(*row)
            for row in connection.execute(
                "select n.nspname || '.' || c.relname, c.oid::bigint, c.relkind::text, c.relrowsecurity, "
                "coalesce(c.reloptions @> '{security_invoker=true}', false), pg_get_userbyid(c.relowner) "
                "from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = any(%s) "
                "and c.relkind in ('r', 'p', 'v', 'm') and c.relname !~ '__dbt_(tmp|backup)' order by 1",
                (list(SCHEMAS),),
            ).fetchall()
        }
        for schema in {name.partition(".")[0] for name in found}:
            _let_enter(connection, schema, given)
        for name, table in found.items():
            if name not in roles.tables:
                result.unlisted.append(name)
            if given.apply(connection, table, tries):
                result.changed.append(name)
    _let_auditors_read(settings, names)
    return result


@dataclass(frozen=True)
class _Table:
    name: str
    oid: int
    kind: str
    has_row_security: bool
    is_invokers: bool
    owner: str

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(*self.name.split("."))


@dataclass(frozen=True)
class _Rights:
    names: Names
    roles: Roles
    house: set[str]
    not_made: set[str]
    scopes: dict[str, list[str]]

    def apply(self, connection: psycopg.Connection, table: _Table, tries: int) -> bool:
        """Bring one table to what the file says; whether anything had to change."""
        who = self.roles.tables.get(table.name, {})
        for left in reversed(range(tries)):
            try:
                policies, grants = (
                    self._policies(connection, table, who),
                    self._grants(connection, table, who),
                )
                if not policies and not grants:
                    return False
                return self._execute(connection, table, policies, grants, _SHORT if left else _LONG)
            except psycopg.errors.LockNotAvailable:
                if left:
                    time.sleep(1)  # who waits for a lock holds up every reader behind him; now they pass
            except (psycopg.errors.UndefinedTable, psycopg.errors.InternalError_):
                return False  # a build is just making it anew; the next round sees the new one
        raise AccessError(
            f"{table.name} is held by a session that does not let go, so its rights could not be given and agencies "
            "may not read it. Look at pg_stat_activity, then run `.venv/bin/python -m ops roles apply`."
        )

    def _execute(
        self,
        connection: psycopg.Connection,
        table: _Table,
        policies: list[sql.Composed],
        grants: list[sql.Composed],
        patience: str,
    ) -> bool:
        """Policies first, grants second, in one transaction."""
        with connection.transaction():
            connection.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(patience)))
            if table.kind != "v":
                # A grant alone locks nothing, and would fail the build that is just swapping the table, or itself.
                mode = "access exclusive" if policies else "access share"
                connection.execute(
                    sql.SQL("lock table {} in {} mode").format(table.identifier, sql.SQL(mode))
                )
            now = connection.execute("select to_regclass(%s)::oid::bigint", (table.name,)).fetchone()
            if now != (table.oid,):
                return False
            for statement in [*policies, *grants]:
                connection.execute(statement)
        return True

    def _policies(
        self, connection: psycopg.Connection, table: _Table, who: Mapping[str, str]
    ) -> list[sql.Composed]:
        if table.kind == "v":
            # Else a view reads with its owner's rights, past every policy.
            return (
                [sql.SQL("alter view {} set (security_invoker = true)").format(table.identifier)]
                if who and not table.is_invokers
                else []
            )
        own_rows = any(rows != ALL_ROWS for rows in who.values())
        if own_rows and table.kind == "m":
            raise AccessError(
                f"{table.name} is a materialized view, which knows no policies; make it a table"
            )
        wanted = self._wanted_policies(connection, table, who) if own_rows else {}
        held = {
            row[0]: (row[1], row[2])
            for row in connection.execute(
                "select polname, array(select pg_get_userbyid(r) from unnest(polroles) r order by 1)::text[], "
                "case when polcmd = 'r' and polpermissive then pg_get_expr(polqual, polrelid) end "
                "from pg_policy where polrelid = %s",
                (table.oid,),
            ).fetchall()
        }
        statements = []
        if table.has_row_security != own_rows:
            # A table that no role reads in part must not hide its rows by old policies.
            word = sql.SQL("enable" if own_rows else "disable")
            statements.append(sql.SQL("alter table {} {} row level security").format(table.identifier, word))
        for name in held:
            if held[name] != wanted.get(name):
                statements.append(
                    sql.SQL("drop policy {} on {}").format(sql.Identifier(name), table.identifier)
                )
        for name, (to, expression) in wanted.items():
            if held.get(name) != (to, expression):
                statements.append(
                    sql.SQL("create policy {} on {} for select to {} using ({})").format(
                        sql.Identifier(name), table.identifier,
                        sql.SQL(", ").join(sql.Identifier(t) for t in to), sql.SQL(cast(Any, expression)),
                    )
                )  # fmt: skip
        return statements

    def _wanted_policies(
        self, connection: psycopg.Connection, table: _Table, who: Mapping[str, str]
    ) -> dict[str, tuple[list[str], str]]:
        """{name: (roles, expression)}; the expression as PostgreSQL writes it, so that it can be compared."""
        whole = {n for n in self.house if n != table.owner}
        whole |= {self.names.group(r) for r, rows in who.items() if rows == ALL_ROWS} - self.not_made
        wanted = {"whole": (sorted(whole), "true")} if whole else {}
        for code, seen in self.scopes.items():
            group = self.names.agency(code)
            if group not in self.not_made and seen:
                codes = connection.execute("select quote_literal(%s::text[]::text)", (seen,)).fetchone()
                wanted[group] = ([group], f"({who['agency']} = ANY ({codes[0] if codes else ''}::text[]))")
        return wanted

    def _grants(
        self, connection: psycopg.Connection, table: _Table, who: Mapping[str, str]
    ) -> list[sql.Composed]:
        """Grants to the roles named, and to nobody else beside the house: also none by hand, and none on columns."""
        wanted = {self.names.group(role) for role in who} - self.not_made
        rows = connection.execute(
            "with granted as (select (aclexplode(relacl)).* from pg_class where oid = %(table)s union all "
            "select (aclexplode(attacl)).* from pg_attribute where attrelid = %(table)s) "
            "select case grantee when 0 then 'public' else pg_get_userbyid(grantee) end, "
            "array_agg(distinct privilege_type)::text[] from granted group by 1",
            {"table": table.oid},
        ).fetchall()
        statements = []
        for name, rights in rows:
            if name == table.owner or ((name in self.house or name in wanted) and rights == ["SELECT"]):
                wanted.discard(name)
                continue
            grantee = sql.SQL("public") if name == "public" else sql.Identifier(name)
            statements.append(sql.SQL("revoke all on {} from {}").format(table.identifier, grantee))
            if name in self.house:
                wanted.add(name)
        for name in sorted(wanted):
            statements.append(
                sql.SQL("grant select on {} to {}").format(table.identifier, sql.Identifier(name))
            )
        return statements


def _house(connection: psycopg.Connection, names: Names) -> set[str]:
    """Logins of the house that read all of a schema (ops/logins.py): a task need not be told who they are."""
    rows = connection.execute(
        "select distinct pg_get_userbyid(a.grantee) from pg_default_acl d join pg_namespace n on "
        "n.oid = d.defaclnamespace cross join lateral aclexplode(d.defaclacl) a where n.nspname = any(%s) "
        "and d.defaclobjtype = 'r' and a.grantee not in (0, d.defaclrole)",
        (list(SCHEMAS),),
    ).fetchall()
    mine = re.compile(rf"{re.escape(names.database)}_(person|agency(_.*)?|ioc|(analyst|auditor)_person)")
    return {r[0] for r in rows if not mine.fullmatch(r[0]) and not LOGIN.fullmatch(r[0])}


def _let_enter(connection: psycopg.Connection, schema: str, given: _Rights) -> None:
    roles = {
        role for table, who in given.roles.tables.items() if table.startswith(f"{schema}.") for role in who
    }
    for group in sorted({given.names.group(r) for r in roles} - given.not_made):
        if connection.execute("select has_schema_privilege(%s, %s, 'usage')", (group, schema)).fetchone() != (
            True,
        ):
            do(connection, "grant usage on schema {} to {}", schema, group)


def _let_auditors_read(settings: Settings, names: Names) -> None:
    group = names.group("auditor")
    with psycopg.connect(settings.login_url("loader"), connect_timeout=10) as connection:
        connection.execute("set lock_timeout = '3s'")
        if not exists(connection, group):
            return
        rows = connection.execute(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'ops' "
            "and c.relkind in ('r', 'p', 'v') and pg_get_userbyid(c.relowner) = current_user "
            "and not has_table_privilege(%s, c.oid, 'select')",
            (group,),
        ).fetchall()
        if rows:
            do(connection, "grant usage on schema ops to {}", group)
        for (table,) in rows:
            do(connection, "grant select on ops.{} to {}", table, group)


def _scopes(connection: psycopg.Connection, roles: Roles, today: dt.date) -> dict[str, list[str]]:
    parents: dict[str, str | None] = {}
    successors: dict[str, str] = {}
    if connection.execute("select to_regclass('marts.dim_agency')").fetchone() != (None,):
        for code, parent, successor, ended in connection.execute(
            "select agency_code, parent_agency_code, successor_agency_code, valid_to from marts.dim_agency"
        ).fetchall():
            parents[code] = parent
            if successor and ended <= today:
                successors[code] = successor
    return scopes(roles.agencies, parents, successors)


def apply(settings: Settings) -> list[str]:
    """The whole of the file, once: groups, persons, policies, grants; what was done, line by line."""
    roles = read_roles(settings.roles_file)
    done = make_roles(settings, roles)
    done += [f"{login}: {why}" for login, why in watch(settings)]
    with watching(settings):
        found = protect(settings, roles)
    done += [f"{table}: rights given anew" for table in found.changed]
    return done + [
        f"{table} is not in {settings.roles_file.name}: no person reads it" for table in found.unlisted
    ]


def show(settings: Settings) -> list[str]:
    """Who reads what: each person of the file, how he stands in the server, and the agencies he sees."""
    roles, names = read_roles(settings.roles_file), names_of(settings)
    today = dt.datetime.now(VIETNAM).date()
    lines = []
    with psycopg.connect(settings.login_url("dbt"), connect_timeout=10) as connection:
        seen = _scopes(connection, roles, today)
        stand = {
            row[0]: row[1:]
            for row in connection.execute(
                "select r.rolname, r.rolcanlogin, array(select g.rolname from pg_auth_members m join pg_roles g on "
                "g.oid = m.roleid where m.member = r.oid)::text[] from pg_roles r where r.rolname = any(%s)",
                (list({*roles.persons, *persons_in(connection, names)}),),
            ).fetchall()
        }
    for person in roles.persons.values():
        enters, groups = stand.get(person.login, (None, []))
        state = {None: "not made", True: "enters", False: "access over"}[enters]
        if enters and not names.groups_of(person) <= set(groups):
            state = "not as listed"
        lines.append(f"{person.login}  {person.role}  until {person.until:%d/%m/%Y}  {state}  {person.name}")
        lines += [f"    {code} sees {len(seen[code])}: {', '.join(seen[code])}" for code in person.agencies]
    lines += [f"{login}  no longer listed" for login in sorted(set(stand) - set(roles.persons))]
    return lines
