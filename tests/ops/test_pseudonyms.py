"""Agencies see pseudonyms of their own: in a warehouse that was really built, by the logins it is read with."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from connectors.base import Interval
from ops import postgres, pseudonyms, tasks
from ops.outcomes import read_outcomes
from ops.settings import VIETNAM, Settings
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Sandbox, Server, Vault, start_vault, stop
from tests.ops.test_logins import given_server
from tests.ops.test_population import RECORD, SOURCES
from tests.vault.test_erasure import erase
from tests.vault.test_sealing import tokens
from vault.client import VaultClient
from vault.sealing import UNLINKED

MORNING = Interval(
    dt.datetime(2025, 6, 30, 8, tzinfo=VIETNAM), dt.datetime(2025, 6, 30, 8, 15, tzinfo=VIETNAM)
)
#: An invented person who goes to two agencies, and twice to one of them.
NUMBER = "003099000042"
TOKEN = r"id[0-9]+_[0-9a-f]{32}"
_REFERENCES = (
    "select applicant_id_number, applicant_name, applicant_phone, applicant_email, applicant_address, subject_line "
    "from raw.dossier where dossier_id like 'of-%' order by dossier_id"
)
#: Who reads the warehouse and builds none of it.
READERS = ("analyst", "publisher", "auditor")


@dataclass(frozen=True)
class Place:
    """A built warehouse, each part of which has a login of its own."""

    settings: Settings
    vault: Vault

    def rows(self, query: str, login: str = "owner") -> list[tuple[Any, ...]]:
        url = self.settings.warehouse_url if login == "owner" else self.settings.login_url(login)
        with psycopg.connect(url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def list_of(self, agency: str) -> set[str]:
        """The persons in the list of an agency."""
        rows = self.rows(
            "select applicant_pseudonym from marts.fct_dossier where applicant_pseudonym is not null "
            f"and responsible_agency_code = '{agency}'",
            "analyst",
        )
        return {p for (p,) in rows}

    def renew(self) -> pseudonyms.Renewed:
        with psycopg.connect(self.settings.login_url("loader")) as connection:
            return pseudonyms.renew(connection, self.vault.client)

    def mart_rows(self) -> dict[str, int]:
        """Rows of every mart."""
        names = self.rows("select table_name from information_schema.tables where table_schema = 'marts'")
        assert len(names) > 15
        return {name: self.rows(f"select count(*) from marts.{name}")[0][0] for (name,) in names}

    def facts(self) -> dict[str, tuple[Any, ...]]:
        """{dossier: responsible agency, pseudonym, transaction that wrote the row}."""
        found = self.rows(
            "select dossier_id, responsible_agency_code, applicant_pseudonym, xmin::text from marts.fct_dossier"
        )
        return {d: rest for d, *rest in found}  # type: ignore[misc]


def another_dossier(place: Place, dossier_id: str, agency: str, token: str) -> None:
    """A dossier of the person at the agency, like one that was loaded."""
    with psycopg.connect(place.settings.login_url("loader")) as connection:
        columns = [
            c for (c,) in connection.execute(
                "select column_name from information_schema.columns "
                "where (table_schema, table_name) = ('raw', 'dossier')"
            )
        ]  # fmt: skip
        changed = {
            "dossier_id": dossier_id, "dossier_code": dossier_id, "responsible_agency_code": agency,
            "applicant_id_number": token, "national_code": None, "previous_code": None, "applicant_type": 1,
            "is_vneid_account": False,
        }  # fmt: skip
        connection.execute(
            sql.SQL(
                "insert into raw.dossier ({}) select {} from raw.dossier where applicant_type = 1 and "
                "applicant_name is not null order by dossier_id limit 1"
            ).format(
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join(
                    sql.Literal(changed[c]) if c in changed else sql.Identifier(c) for c in columns
                ),
            )
        )


@pytest.fixture(scope="module")
def built(server: Server, tien_giang: Sandbox, population: Sandbox) -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="kcp-"))
    vault = start_vault(server.new_database(), home / "own")
    (home / "sources.yml").write_text(yaml.safe_dump({"sources": SOURCES}, allow_unicode=True))
    (home / "own" / "agreements").mkdir()
    (home / "own" / "agreements" / "citizen_check.yml").write_text(yaml.safe_dump(RECORD, allow_unicode=True))
    with given_server(server, home) as given:
        settings = Settings(
            {
                **given, "PATH": os.environ["PATH"], "POSTGRES_ADMIN_URL": server.admin,
                "KHOCHUNG_SOURCES": str(home / "sources.yml"), "VAULT_SOCKET": str(vault.client.socket),
                "VAULT_TOKEN_FILE": str(home / "own" / "token"),
                "KHOCHUNG_AGREEMENTS": str(home / "own" / "agreements"),
            },
            dotenv=home / "no.env",
        )  # fmt: skip
        postgres.prepare(settings)
        place = Place(settings, vault)
        try:
            address = tasks.Address(tien_giang.base_url, CLIENT_ID, CLIENT_SECRET)
            folder = tasks.pull(settings, "igate_tien_giang", MORNING, address)
            tasks.stage(settings, "igate_tien_giang", folder)
            tasks.load(settings, "igate_tien_giang", folder)
            (person,) = tokens(vault.client, NUMBER)
            for number, agency in enumerate(agencies(place) + agencies(place)[:1]):
                another_dossier(place, f"of-{number}", agency, str(person))
            asked = tasks.check_citizens(
                settings, "population", lambda: tasks.Address(population.base_url, CLIENT_ID, CLIENT_SECRET)
            )
            tasks.stage(settings, "population", asked)
            tasks.load(settings, "population", asked)
            tasks.build(settings)
            yield place
        finally:
            stop(vault.process)
            shutil.rmtree(home, ignore_errors=True)


def agencies(place: Place) -> list[str]:
    """The two agencies with the most dossiers."""
    rows = place.rows(
        "select responsible_agency_code from raw.dossier group by 1 order by count(*) desc, 1 limit 2"
    )
    return [a for (a,) in rows]


def seen(place: Place, login: str) -> tuple[set[str], list[str]]:
    """Columns that a login reads, in whichever schema, the server's own among them; and those that hold a token."""
    columns, found = set(), []
    with psycopg.connect(place.settings.login_url(login)) as connection:
        tables = connection.execute(
            "select n.nspname, c.relname, array_agg(a.attname::text), array_agg(a.atttypid = 'bytea'::regtype) "
            "from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid "
            "where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'v', 'm', 'p', 'f') "
            "and has_schema_privilege(n.oid, 'usage') and has_column_privilege(c.oid, a.attnum, 'select') group by 1, 2"
        ).fetchall()
        for schema, table, names, are_bytes in tables:
            texts = [
                sql.SQL("encode({}, 'escape')" if is_bytes else "{}::text").format(sql.Identifier(name))  # type: ignore[arg-type]
                for name, is_bytes in zip(names, are_bytes, strict=True)
            ]
            hits = [sql.SQL("bool_or({} ~ {})").format(text, sql.Literal(TOKEN)) for text in texts]
            query = sql.SQL("select {} from {}").format(
                sql.SQL(", ").join(hits), sql.Identifier(schema, table)
            )
            columns |= {f"{schema}.{table}.{name}" for name in names}
            holds = connection.execute(query).fetchone() or ()
            found += [f"{schema}.{table}.{name}" for name, hit in zip(names, holds, strict=True) if hit]
    return columns, sorted(found)


@pytest.mark.parametrize(
    ("login", "reads"),
    [
        ("analyst", "marts.fct_citizen_check.applicant_pseudonym"),
        ("publisher", "open_data.procedures.procedure_code"),
        ("auditor", "ops.outcome.details"),
    ],
)
def test_no_column_that_a_reader_reads_holds_a_token(built, login, reads):
    columns, found = seen(built, login)
    assert reads in columns
    assert found == []


def test_the_search_finds_a_token_wherever_it_is_planted(built):
    ((token,),) = built.rows("select applicant_id_number from raw.dossier where dossier_id = 'of-0'")
    plants = {
        "marts.planted": "dbt", "open_data.planted": "dbt", "ops.planted": "loader", "landing_stage.planted": "loader"
    }  # fmt: skip
    kinds = {
        "plain": f"'{token}'", "inside": f"'x {token} y'", "json": f"jsonb_build_object('a', array['{token}'])",
        "list": f"array['{token}']", "bytes": f"convert_to('{token}', 'UTF8')",
    }  # fmt: skip
    made = ", ".join(f"{value} as {name}" for name, value in kinds.items())
    try:
        for table, owner in plants.items():
            with psycopg.connect(built.settings.login_url(owner)) as connection:
                connection.execute(f"create table {table} as select {made}")
        for login, schemas in {
            "analyst": ["marts"], "publisher": ["landing_stage", "marts", "open_data", "ops"], "auditor": ["ops"],
        }.items():  # fmt: skip
            wanted = sorted(f"{schema}.planted.{kind}" for schema in schemas for kind in kinds)
            assert seen(built, login)[1] == wanted
    finally:
        for table, owner in plants.items():
            with psycopg.connect(built.settings.login_url(owner)) as connection:
                connection.execute(f"drop table if exists {table}")


@pytest.mark.parametrize("login", READERS)
@pytest.mark.parametrize(
    "table", ["raw.person_pseudonym", "staging.stg_dossiers__pseudonym", "intermediate.int_citizens__check",
              "intermediate.int_dossiers__one_per_dossier"],
)  # fmt: skip
def test_what_joins_tokens_to_pseudonyms_is_read_by_none_of_them(built, login, table):
    assert built.rows(f"select exists (select from {table})") == [(True,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        built.rows(f"select * from {table}", login)


def test_two_agencies_lists_have_nobody_in_common_and_one_knows_its_own_again(built):
    first, second = agencies(built)
    lists = {a: built.list_of(a) for a in (first, second)}
    assert len(lists[first]) > 5
    assert len(lists[second]) > 5
    assert not lists[first] & lists[second]
    facts = built.facts()
    assert facts["of-0"][1] == facts["of-2"][1], "one person at one agency is one"
    assert facts["of-0"][1] != facts["of-1"][1], "and another at the other"
    # Who has a number has a pseudonym, as many as there are persons at an agency.
    rows = built.rows(
        "select responsible_agency_code, count(distinct applicant_id_number), count(distinct applicant_pseudonym), "
        "bool_and((applicant_id_number is null) = (applicant_pseudonym is null)) "
        "from raw.dossier join marts.fct_dossier using (source_code, dossier_id, responsible_agency_code) group by 1"
    )
    assert len(rows) > 2
    assert all(persons == names and whole for _, persons, names, whole in rows)


def test_a_check_is_shown_once_to_each_agency_of_the_citizen(built):
    citizens = built.rows(
        "select d.responsible_agency_code, p.pseudonym, c.outcome from raw.dossier d "
        "join raw.person_pseudonym p on (d.responsible_agency_code, d.applicant_id_number) = "
        "(p.agency_code, p.person_token) "
        "join intermediate.int_citizens__check c on c.person_token = p.person_token and c.is_current "
        "where d.applicant_type = 1 and d.applicant_name is not null group by 1, 2, 3"
    )
    shown = built.rows(
        "select responsible_agency_code, applicant_pseudonym, outcome from marts.fct_citizen_check", "analyst"
    )
    assert sorted(citizens) == sorted(shown)
    assert {"matched", "pending"} <= {o for _, _, o in shown}
    ((told,),) = built.rows(
        "select string_agg(column_name, ' ' order by ordinal_position) from information_schema.columns "
        "where (table_schema, table_name) = ('marts', 'fct_citizen_check')",
        "analyst",
    )
    assert told == (
        "responsible_agency_code applicant_pseudonym outcome basis differs_in agreement checked_date origin"
    ), "no key, number or moment that two agencies would have in common"


def test_only_new_pairs_are_asked_for_and_those_that_are_gone_go(built):
    ((held,),) = built.rows("select count(*) from raw.person_pseudonym")
    first = next(o for o in read_outcomes(built.settings.home) if o.step == "build")
    assert first.details["pseudonyms"] == {"asked": held, "erased": 0, "removed": 0, "unlinked": 0}
    assert built.renew() == pseudonyms.Renewed(0, 0, 0)
    (token,) = tokens(built.vault.client, "003099000043")
    another_dossier(built, "new", agencies(built)[0], str(token))
    assert built.renew() == pseudonyms.Renewed(1, 0, 0)
    with psycopg.connect(built.settings.login_url("loader")) as connection:
        connection.execute("delete from raw.dossier where dossier_id = 'new'")
    assert built.renew() == pseudonyms.Renewed(0, 0, 1)
    assert built.rows("select count(*) from raw.person_pseudonym") == [(held,)]


def test_a_kill_on_the_way_leaves_the_table_as_it_was(built):
    before = built.rows("select * from raw.person_pseudonym order by 1, 2")

    class Dying(VaultClient):
        """The real vault, and a caller who dies after his first answer."""

        def pseudonyms(self, pairs=()):  # type: ignore[no-untyped-def]
            if pairs:
                raise KeyboardInterrupt
            return super().pseudonyms()[0], "another state"

    dying = Dying(built.vault.client.socket, built.vault.client.token)
    with pytest.raises(KeyboardInterrupt), psycopg.connect(built.settings.login_url("loader")) as connection:
        pseudonyms.renew(connection, dying)
    assert built.rows("select * from raw.person_pseudonym order by 1, 2") == before
    assert built.renew().asked == 0


def test_the_next_build_takes_an_erased_person_out_and_rewrites_nobody_else(built):
    """Last in this file: the person stays erased."""
    before, marts = built.facts(), built.mart_rows()
    ((token,),) = built.rows("select applicant_id_number from raw.dossier where dossier_id = 'of-0'")
    given = built.rows(_REFERENCES)
    listed = built.rows(
        "select from marts.fct_citizen_check where applicant_pseudonym in "
        "(select applicant_pseudonym from marts.fct_dossier where dossier_id like 'of-%')"
    )
    ((others,),) = built.rows(f"select count(*) from raw.dossier where applicant_id_number <> '{token}'")
    done = erase(built.vault, NUMBER)
    assert done.returncode == 0, done.stderr
    tasks.build(built.settings)
    details = [o for o in read_outcomes(built.settings.home) if o.step == "build"][-1].details["pseudonyms"]
    assert (details["erased"], details["removed"]) == (2, 2)
    after = built.facts()
    assert {d for d in after if after[d] != before[d]} == {"of-0", "of-1", "of-2"}
    assert {after[d][1] for d in ("of-0", "of-1", "of-2")} == {None}
    # No mart loses a row but the list of checked citizens, which has one for each agency of his.
    assert len(listed) == 2
    marts["fct_citizen_check"] -= len(listed)
    assert built.mart_rows() == marts
    gone = {before[d][1] for d in ("of-0", "of-1")}
    for schema, table in (("marts", "fct_citizen_check"), ("marts", "fct_dossier")):
        names = {p for (p,) in built.rows(f"select applicant_pseudonym from {schema}.{table}")}
        assert not gone & names
    # Nor does anything in raw, or in what is built of it, join his dossiers any more.
    ((_, *first), *_) = bare = built.rows(_REFERENCES)
    assert [row[0] for row in bare] == [None] * 3
    assert {r for row in bare for r in row} == {None, UNLINKED}
    assert [[r is None for r in row[1:]] for row in bare] == [[r is None for r in row[1:]] for row in given]
    assert UNLINKED in first
    for schema, table, column in (
        ("raw", "person_pseudonym", "person_token"), ("raw", "citizen_check", "person_token"),
        ("intermediate", "int_citizens__check", "person_token"),
    ):  # fmt: skip
        assert built.rows(f"select from {schema}.{table} where {column} = '{token}'") == []
    assert len(built.rows("select from raw.dossier where applicant_id_number is not null")) == others
    assert details["unlinked"] >= 3
    assert built.renew() == pseudonyms.Renewed(0, 0, 0), "nothing is left to do"
    # However a token came back (a load brings none: tests/ops/test_unlink.py), the next build takes it out.
    another_dossier(built, "of-9", agencies(built)[0], token)
    assert built.renew().unlinked == 1
    # So does a check, also where no dossier has the token any more.
    with psycopg.connect(built.settings.login_url("loader")) as connection:
        connection.execute(
            "update raw.citizen_check set person_token = %s where check_id = (select min(check_id) from "
            "raw.citizen_check)",
            (token,),
        )
    assert built.renew().unlinked == 1
    assert built.rows("select applicant_id_number from raw.dossier where dossier_id = 'of-9'") == [(None,)]
    assert built.rows(f"select from raw.citizen_check where person_token = '{token}'") == []
    assert built.renew() == pseudonyms.Renewed(0, 0, 0)
    with psycopg.connect(built.settings.login_url("loader")) as connection:
        connection.execute("delete from raw.dossier where dossier_id = 'of-9'")


@pytest.mark.prove
def test_a_warehouse_of_the_version_before_gets_the_column(built):
    with psycopg.connect(built.settings.login_url("dbt")) as connection:
        connection.execute("alter table marts.fct_dossier drop column applicant_pseudonym cascade")
    with psycopg.connect(built.settings.login_url("loader")) as connection:
        connection.execute("update ops.built_from set checksum = 'of that version' where part = 'models'")
    before = built.rows("select count(*) from marts.fct_dossier")
    # Its tests come along: every dossier has the pseudonym that the vault made.
    tasks.build(built.settings)
    assert built.rows("select count(*) from marts.fct_dossier") == before
    assert len(built.list_of(agencies(built)[0])) > 5
