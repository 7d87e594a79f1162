"""Each login may do its work and nothing else: tried as each of them on a real server."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import yaml

from connectors.contract import contract, contract_names
from landing import loader
from national import outbox
from ops import logins, postgres, tasks
from ops.outcomes import recorded, store_outcomes
from ops.services import SERVICES
from ops.settings import LOGINS, PROJECT, TASK_LOGINS, Settings, SettingsError
from tests.conftest import Server, enters

EVERYBODY = (*LOGINS, "owner", "airflow", "vault")
SCHEMAS = {schema for owned in logins.OWNS.values() for schema in owned}


@dataclasses.dataclass(frozen=True)
class House:
    """A warehouse whose schemas hold a table each, made by whoever makes them in real life."""

    settings: Settings

    def url(self, login: str) -> str:
        return {
            "owner": self.settings.warehouse_url,
            "airflow": self.settings.airflow_database_url,
            "vault": self.settings.vault_database_url,
        }.get(login) or self.settings.login_url(login)

    def attempt(self, login: str, statement: str, database: str | None = None) -> str:
        """What a login is told who does `statement`: nothing is kept of it, and nothing said if it is let."""
        url = self.url(login)
        if database:
            url = urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
        try:
            with psycopg.connect(url) as connection:
                connection.execute(statement)  # type: ignore[call-overload]
                connection.rollback()
        except psycopg.Error as e:
            return str(e)
        return ""


@pytest.fixture(scope="module")
def house(server: Server) -> House:
    found = server.settings
    postgres.prepare(found)
    with psycopg.connect(found.login_url("loader")) as connection:
        loader.prepare(connection, [tasks.table_spec(contract(t)) for t in contract_names()])
        connection.execute("create unlogged table if not exists landing_stage.b1__dossier (x int)")
    with psycopg.connect(found.login_url("national")) as connection:
        outbox.prepare(connection)
    with recorded(found.home, "load"):
        pass
    store_outcomes(found.home, found.login_url("loader"))
    with psycopg.connect(found.login_url("dbt")) as connection:
        for schema in logins.OWNS["dbt"]:
            # As dbt does it: made aside, renamed, the old one dropped.
            connection.execute(f"drop table if exists {schema}.one")
            connection.execute(f"create table {schema}.one__dbt_tmp as select 1 as x")
            connection.execute(f"alter table {schema}.one__dbt_tmp rename to one")
    return House(found)


TABLE = {
    "raw": "raw.dossier", "landing_stage": "landing_stage.b1__dossier", "ops": "ops.load_log",
    "national": "national.switch",
    **{schema: f"{schema}.one" for schema in logins.OWNS["dbt"]},
}  # fmt: skip


def owns(login: str, schema: str) -> bool:
    return login == "owner" or schema in logins.OWNS.get(login, ())


@pytest.mark.parametrize("login", ["owner", *LOGINS])
@pytest.mark.parametrize("schema", sorted(SCHEMAS))
def test_a_login_reads_and_writes_what_is_its_own_and_no_more(house, login, schema):
    table = TABLE[schema]
    mine = owns(login, schema)
    reads = mine or schema in logins.READS.get(login, ())
    said = house.attempt(login, f"select count(*) from {table}")
    assert (said == "") if reads else ("permission denied" in said), said
    for statement in (
        f"delete from {table}", f"truncate {table}", f"drop table {table} cascade",
        f"alter table {table} add column y int", f"create table {schema}.mine (x int)",
        f"create view {schema}.seen as select * from {table}",
        f"drop schema {schema} cascade",
    ):  # fmt: skip
        said = house.attempt(login, statement)
        if mine:
            assert said == "", statement
        else:
            assert "permission denied" in said or "must be owner" in said, (statement, said)


def test_a_reader_cannot_let_others_read(house):
    """PostgreSQL only warns whoever grants what he may not."""
    with psycopg.connect(house.settings.login_url("analyst"), autocommit=True) as connection:
        connection.execute("grant select on marts.one to public")
    assert "permission denied" in house.attempt("loader", "select * from marts.one")
    assert "permission denied" in house.attempt("auditor", "select * from marts.one")


@pytest.mark.parametrize(
    ("login", "schemas"),
    [
        ("loader", {"raw", "landing_stage", "ops"}),
        ("dbt", {"raw", "ops", "national", "seeds", "staging", "intermediate", "marts", "ioc", "open_data"}),
        ("publisher", {"landing_stage", "ops", "marts", "open_data"}),
        ("national", {"raw", "marts", "national"}),
        ("analyst", {"marts"}),
        ("auditor", {"ops"}),
    ],
)
def test_what_each_may_read_written_down_once_more(house, login, schemas):
    """Beside the rules themselves, so that a rule made wider by mistake is seen."""
    with psycopg.connect(house.url(login)) as connection:
        rows = connection.execute(
            "select distinct n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where "
            "c.relkind in ('r', 'v', 'm', 'p') and n.nspname not in ('pg_catalog', 'information_schema') "
            "and n.nspname !~ '^pg_' and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')"
        ).fetchall()
    assert {r[0] for r in rows} == schemas


@pytest.mark.parametrize("login", EVERYBODY)
def test_a_login_enters_its_own_database_and_no_other(house, login):
    own = "khochung" if login in (*LOGINS, "owner") else f"khochung_{login}"
    for database in ("khochung", "khochung_vault", "khochung_airflow", "postgres", "template1"):
        said = house.attempt(login, "select 1", database)
        if database == own:
            assert said == ""
        else:
            assert f'permission denied for database "{database}"' in said


@pytest.mark.parametrize("login", EVERYBODY)
def test_a_login_is_no_master_of_the_server(house, login):
    for statement in (
        "create role another login", "alter role current_user superuser",
        "copy (select 1) to program 'cat'", "select pg_read_file('PG_VERSION')",
        "select rolpassword from pg_authid", "alter role postgres password 'x'",
        "set role postgres", "alter role khochung_vault password 'x'" if login != "vault" else "set role khochung",
    ):  # fmt: skip
        said = house.attempt(login, statement)
        assert "permission denied" in said or "must be" in said, (statement, said)


@pytest.mark.parametrize("login", ["publisher", "analyst", "auditor"])
def test_who_only_reads_makes_nothing_anywhere(house, login):
    for statement in (
        "create temp table t (x int)", "create schema mine", "create table public.t (x int)", "set role khochung_dbt",
    ):  # fmt: skip
        assert "permission denied" in house.attempt(login, statement), statement


def test_tables_that_dbt_makes_anew_can_be_read_at_once(house):
    with psycopg.connect(house.url("dbt")) as connection:
        connection.execute("create table marts.anew__dbt_tmp as select 1 as x")
        connection.execute("alter table marts.anew__dbt_tmp rename to anew")
    assert house.attempt("analyst", "select * from marts.anew") == ""
    assert house.attempt("publisher", "select * from marts.anew") == ""
    with psycopg.connect(house.url("dbt")) as connection:
        connection.execute("drop table marts.anew")


def test_what_an_earlier_version_let_an_analyst_read_is_taken_back(house):
    """open_data is confidential: cells are withheld only on the way out."""
    analyst = urlsplit(house.url("analyst")).username
    with psycopg.connect(house.url("dbt")) as connection:
        connection.execute(f"grant usage on schema open_data to {analyst}")
        connection.execute(f"grant select on open_data.one to {analyst}")
        connection.execute(
            f"alter default privileges for role current_user in schema open_data grant select on tables to {analyst}"
        )
    assert house.attempt("analyst", "select * from open_data.one") == ""
    for _ in ("the first time", "again"):
        postgres.prepare(house.settings)
    assert "permission denied" in house.attempt("analyst", "select * from open_data.one")
    with psycopg.connect(house.url("dbt")) as connection:
        connection.execute("create table open_data.later as select 1 as x")
        left = connection.execute(
            "select relname from pg_class where relnamespace = 'open_data'::regnamespace "
            "and has_table_privilege(%s, oid, 'select')",
            (analyst,),
        ).fetchall()
        connection.rollback()
    assert left == []
    assert house.attempt("publisher", "select * from open_data.one") == ""
    assert house.attempt("analyst", "select * from marts.one") == ""


def test_what_the_loading_login_held_of_the_way_to_the_portal_goes_to_its_own(house):
    """An earlier version had one login for both."""
    loading, national = (urlsplit(house.url(n)).username for n in ("loader", "national"))
    with psycopg.connect(house.settings.warehouse_url) as connection:
        connection.execute(f"grant usage on schema marts to {loading}")
        connection.execute(f"grant select on all tables in schema marts to {loading}")
        connection.execute(f"alter schema national owner to {loading}")
        connection.execute(f"alter table national.switch owner to {loading}")
    assert house.attempt("loader", "select * from national.switch, marts.one") == ""
    postgres.prepare(house.settings)
    for table in ("national.switch", "marts.one"):
        assert "permission denied" in house.attempt("loader", f"select * from {table}")
    with psycopg.connect(house.url("national")) as connection:
        rows = connection.execute(
            "select distinct pg_get_userbyid(relowner) from pg_class where relnamespace = 'national'::regnamespace"
        ).fetchall()
        assert rows == [(national,)]


def test_every_schema_of_dbt_is_made_and_no_more():
    project = yaml.safe_load((PROJECT / "dbt" / "dbt_project.yml").read_text())
    named = {m["+schema"] for m in project["models"]["kho_chung"].values()}
    assert {*named, project["seeds"]["kho_chung"]["+schema"]} == set(logins.OWNS["dbt"])


def test_every_step_of_a_task_knows_its_logins():
    steps = {
        name for name, f in inspect.getmembers(tasks, inspect.isfunction)
        if f.__module__ == "ops.tasks" and next(iter(inspect.signature(f).parameters), "") == "settings"
        and name[0] != "_" and name not in ("source", "one_at_a_time", "build_part")
    }  # fmt: skip
    assert steps == set(logins.OF_STEP)
    assert set().union(*logins.OF_STEP.values()) == set(TASK_LOGINS)


# --- an older installation, a given server ------------------------------------------------------------


@pytest.fixture
def given(server: Server, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of a given server, whose owner's login may not make others; all roles go at the end."""
    with given_server(server, tmp_path) as settings_of_it:
        yield settings_of_it


@contextlib.contextmanager
def given_server(server: Server, home: Path) -> Iterator[dict[str, str]]:
    """See `given`."""
    database = server.new_database()
    name = urlsplit(database).path.strip("/")
    place = server.admin.rpartition("@")[2].partition("/")[0]
    roles = {n: f"{name}_{n}" for n in ("kho", *LOGINS, "airflow", "vault")}
    urls = {n: f"postgresql://{role}:{n}-password@{place}/{name}" for n, role in roles.items()}
    with psycopg.connect(server.admin, autocommit=True) as connection:
        connection.execute(f"create role {roles['kho']} login password 'kho-password'")
        connection.execute(f"alter database {name} owner to {roles['kho']}")
    yield {
        "KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": urls["kho"],
        "AIRFLOW_DATABASE_URL": urls["airflow"] + "_airflow", "VAULT_DATABASE_URL": urls["vault"] + "_vault",
        **{f"WAREHOUSE_{n.upper()}_URL": urls[n] for n in LOGINS},
    }  # fmt: skip
    with psycopg.connect(server.admin, autocommit=True) as connection:
        for suffix in ("", "_airflow", "_vault"):
            connection.execute(f"drop database if exists {name}{suffix}")
        for role in roles.values():
            connection.execute(f"drop role if exists {role}")


def settings(given: dict[str, str], **more: str) -> Settings:
    return Settings({**given, **more}, dotenv=Path(given["KHOCHUNG_HOME"]) / "no.env")


def without_logins(given: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in given.items() if not (k.startswith("WAREHOUSE_") and k != "WAREHOUSE_URL")}


def test_one_login_becomes_several_and_what_it_owned_goes_to_them(server, given, capsys):
    alone = settings(without_logins(given), POSTGRES_ADMIN_URL=server.admin)
    postgres.prepare(alone)
    assert "one login (WAREHOUSE_URL) does all work" in capsys.readouterr().err
    assert {alone.login_url(n) for n in LOGINS} == {alone.warehouse_url}
    with psycopg.connect(alone.warehouse_url) as connection:
        loader.prepare(connection, [tasks.table_spec(contract("dossier"))])
        connection.execute("create schema marts; create table marts.fct_dossier as select 1 as x")
        connection.execute("create schema staging; create view staging.v as select * from raw.dossier")
    for database in ("airflow", "vault"):  # as somebody else's hand may have left them
        with psycopg.connect(server.admin, autocommit=True) as connection:
            name = urlsplit(given[f"{database.upper()}_DATABASE_URL"]).path[1:]
            connection.execute(f"grant connect on database {name} to public")
    apart = settings(given, POSTGRES_ADMIN_URL=server.admin)
    postgres.prepare(apart)
    for login in (*LOGINS, "airflow", "vault"):
        for database, url in (("airflow", apart.airflow_database_url), ("vault", apart.vault_database_url)):
            mine = given.get(f"WAREHOUSE_{login.upper()}_URL") or given[f"{login.upper()}_DATABASE_URL"]
            crossed = urlunsplit(urlsplit(mine)._replace(path=urlsplit(url).path))
            assert enters(crossed) == (login == database), (login, database)
    postgres.prepare(apart)
    assert capsys.readouterr().err == ""
    with psycopg.connect(apart.login_url("loader")) as connection:
        loader.prepare(connection, [tasks.table_spec(contract(t)) for t in contract_names()])
        connection.execute("delete from raw.dossier")
    with psycopg.connect(apart.login_url("dbt")) as connection:
        assert connection.execute("select count(*) from staging.v").fetchone() == (0,)
        connection.execute("drop table marts.fct_dossier; create table marts.fct_dossier as select 2 as x")
    with psycopg.connect(apart.login_url("analyst")) as connection:
        assert connection.execute("select x from marts.fct_dossier").fetchone() == (2,)
    with psycopg.connect(apart.warehouse_url) as connection:  # operators still see all
        for table in ("raw.dossier", "staging.v", "marts.fct_dossier", "ops.load_log"):
            connection.execute(f"select count(*) from {table}")


def test_an_owner_who_may_make_logins_makes_them_without_the_servers(server, given):
    postgres.prepare(settings(without_logins(given), POSTGRES_ADMIN_URL=server.admin))
    name = urlsplit(given["WAREHOUSE_URL"]).username
    with psycopg.connect(server.admin, autocommit=True) as connection:
        connection.execute(f"alter role {name} createrole")
    for _ in ("the first time", "again"):
        postgres.prepare(settings(given))
    with psycopg.connect(settings(given).login_url("loader")) as connection:
        loader.prepare(connection, [])


def test_logins_that_cannot_enter_are_named_without_their_passwords(server, given):
    postgres.prepare(settings(without_logins(given), POSTGRES_ADMIN_URL=server.admin))
    with pytest.raises(SettingsError, match=r"WAREHOUSE_LOADER_URL, WAREHOUSE_DBT_URL.*ops prepare") as told:
        postgres.prepare(settings(given))
    assert "-password" not in str(told.value)
    postgres.prepare(settings(given, POSTGRES_ADMIN_URL=server.admin))
    postgres.prepare(settings(given))  # now they do, and the server's owner may be forgotten
    changed = {
        **given,
        "WAREHOUSE_ANALYST_URL": given["WAREHOUSE_ANALYST_URL"].replace("analyst-pass", "another-pass"),
    }
    postgres.prepare(settings(changed, POSTGRES_ADMIN_URL=server.admin))
    assert enters(changed["WAREHOUSE_ANALYST_URL"])
    assert not enters(given["WAREHOUSE_ANALYST_URL"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"WAREHOUSE_DBT_URL": ""}, r"looked for WAREHOUSE_DBT_URL .*loader, dbt, publisher, national"),
        ({"WAREHOUSE_DBT_URL": "postgresql://a:b@h/elsewhere"}, r"WAREHOUSE_DBT_URL is not postgresql://"),
        ({"WAREHOUSE_DBT_URL": "WAREHOUSE_LOADER_URL"}, r"name the same login"),
        ({"WAREHOUSE_DBT_URL": "WAREHOUSE_URL"}, r"name the same login"),
    ],
)  # fmt: skip
def test_logins_that_do_not_fit_together_are_told(server, given, change, said):
    change = {k: given.get(v, v) for k, v in change.items()}
    with pytest.raises(SettingsError, match=said):
        postgres.prepare(settings({**given, **change}, POSTGRES_ADMIN_URL=server.admin))


# --- what stands in a task's environment --------------------------------------------------------------

TASK = """
import json, os, subprocess, sys
from ops.logins import only_for
# What Airflow does to the process of a task before it begins.
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = "airflow-db-not-allowed:///"
seen = {}
with only_for(sys.argv[1]) as settings:
    child = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    seen["child"] = json.loads(subprocess.run(child, capture_output=True, check=True).stdout)
    seen["given"] = settings.given
    seen["dbt"] = settings.dbt_process_env() if "dbt" in settings.get("WAREHOUSE_DBT_URL") else {}
seen["after"] = dict(os.environ)
print(json.dumps(seen))
"""


@pytest.mark.parametrize("step", ["load", "build", "publish"])
def test_a_tasks_environment_holds_its_own_login_and_no_key(server, given, vault, step):
    full = settings(
        given, POSTGRES_ADMIN_URL=server.admin, VAULT_KEYS=str(vault.home / "keys"), PATH=os.environ["PATH"],
        AIRFLOW__CELERY__BROKER_URL="redis://:broker-password@broker:6379/0",
    )  # fmt: skip
    environment = SERVICES["airflow-scheduler"].environment(full)
    done = subprocess.run(
        [sys.executable, "-c", TASK, step],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout)
    own = logins.OF_STEP[step]
    foreign = {f"{n}-password" for n in ("kho", "vault", "airflow", "broker", *LOGINS) if n not in own}
    foreign |= {urlsplit(server.admin).password or "", full.secret("airflow-jwt"), full.secret("airflow-api")}
    for key in (vault.home / "keys").iterdir():
        foreign |= {key.read_bytes().hex() or key.name, str(key)}
    for place in ("child", "given"):
        text = json.dumps(seen[place])
        assert [secret for secret in foreign if secret in text] == [], place
        assert all(f"{n}-password" in text for n in own), "its own it has"
        assert not [n for n in seen[place] if n in ("VAULT_DATABASE_URL", "VAULT_KEYS", "POSTGRES_ADMIN_URL")]
    if "dbt" in own:
        text = json.dumps(seen["dbt"])
        assert "dbt-password" in text
        assert [n for n in ("loader-password", *foreign) if n in text] == []
    assert seen["after"]["WAREHOUSE_LOADER_URL"] == given["WAREHOUSE_LOADER_URL"], (
        "the next step finds its own"
    )
    # The same with an embedded server, whose logins stand in files of its owner alone.
    inside = Settings({"KHOCHUNG_HOME": given["KHOCHUNG_HOME"], "PATH": os.environ["PATH"]}, full.dotenv)
    text = json.dumps(SERVICES["airflow-scheduler"].environment(inside))
    assert not [n for n in ("warehouse", "vault", *LOGINS) if inside.secret(n) in text]


def test_a_task_is_told_where_the_vault_listens_and_nothing_else_of_it(vault):
    found = Settings(
        {**vault.environment, "KHOCHUNG_HOME": str(vault.home)}, vault.home / "no.env"
    ).child_env()
    assert found["VAULT_SOCKET"] == vault.environment["VAULT_SOCKET"]
    assert found["VAULT_TOKEN_FILE"] == vault.environment["VAULT_TOKEN_FILE"]
    assert not {n for n in found if n.startswith("VAULT_")} - {"VAULT_SOCKET", "VAULT_TOKEN_FILE"}
