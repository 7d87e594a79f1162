"""Persons read what their role lets them and no more: tried as each of them on a warehouse that dbt really built."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
import sqlalchemy
import yaml

from connectors.base import Interval
from ops import access, docs, logins, national, persons, postgres, tasks
from ops.forms import COUNTS
from ops.outcomes import read_outcomes
from ops.roles import AccessError, names_of, read_roles, scopes
from ops.settings import LOGINS, PROJECT, VIETNAM, Settings
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Sandbox, Server, start_vault, stop
from tests.ops.test_logins import given_server
from tests.ops.test_population import SOURCES
from tests.ops.test_pseudonyms import MORNING, another_dossier

TODAY = dt.datetime.now(VIETNAM).date()
#: Tables of which agencies see their own rows, and those of them that hold dossiers by their keys.
DOSSIERS = (
    "fct_dossier", "fct_dossier_step", "fct_dossier_paper", "fct_dossier_fee", "fct_dossier_status_history",
    "fct_dossier_wrong_data", "fct_handover", "fct_service_index_dossier",
)  # fmt: skip
FACTS = (
    *DOSSIERS, "fct_citizen_check", "fct_national_difference", "fct_national_set_aside",
    "fct_service_index_cause_dossier",
)  # fmt: skip
#: Views over these, which show each reader what he sees of them.
VIEWS = ("bridge_dossier_commune", "form_06a_trace", "morning_list", "service_index_trace")
#: Of old Tiền Giang the departments of justice and of trade, and the province, which the new one has taken over.
JUSTICE, TRADE, OLD_PROVINCE, PROVINCE = "000.00.19.H58", "000.00.07.H58", "000.00.00.H58", "H20"
#: Of the new province the department of justice.
SUCCESSOR = "H20.19"
#: Models that say who took over from whom, with the views that go with a table when it is made anew.
_AGENCIES = ("int_agencies__succession", "dim_agency", "int_agencies__succession+,config.materialized:view")
NUMBER = "003099000077"
#: What persons may read.
BUILT = "('marts'::regnamespace, 'ioc'::regnamespace)"


@dataclass
class Place:
    """A built warehouse and its list of persons; a person is named here without the database's suffix."""

    settings: Settings
    file: Path
    passwords: dict[str, str] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        # Roles are the whole server's.
        return names_of(self.settings).database

    def login(self, person: str) -> str:
        return f"{person}.{self.suffix}"

    def url(self, person: str) -> str:
        if person == "owner":
            return self.settings.warehouse_url
        if person in LOGINS:
            return self.settings.login_url(person)
        where = urlsplit(self.settings.warehouse_url)
        return f"postgresql://{self.login(person)}:{quote(self.passwords[person])}@{where.hostname}:{where.port}{where.path}"

    def rows(self, person: str, *statements: str) -> list[tuple[Any, ...]]:
        """What the last statement gives, all of them in one session."""
        with psycopg.connect(self.url(person)) as connection:
            for statement in statements:
                cursor = connection.execute(statement)  # type: ignore[call-overload]
            found = cursor.fetchall() if cursor.description else []
            connection.rollback()
        return found

    def said(self, person: str, *statements: str) -> str:
        """What a person is told; nothing if he is let."""
        try:
            self.rows(person, *statements)
        except psycopg.Error as e:
            return str(e)
        return ""

    def admin(self, *statements: str) -> None:
        with psycopg.connect(postgres.maker_url(self.settings), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def write(self, **changes: Any) -> None:
        """The list of persons: that of the test, with `changes` of a person, None taking him out."""
        body = yaml.safe_load((PROJECT / "ops" / "roles.yml").read_text())
        people: dict[str, Any] = {
            "justice": {"role": "agency", "agencies": [JUSTICE]},
            "trade": {"role": "agency", "agencies": [TRADE]},
            "both": {"role": "agency", "agencies": [TRADE, JUSTICE]},
            "province": {"role": "agency", "agencies": [PROVINCE]},
            "nobody": {"role": "agency", "agencies": ["H44.01"]},
            "successor": {"role": "agency", "agencies": [SUCCESSOR]},
            "reader": {"role": "analyst"}, "centre": {"role": "ioc"}, "looks": {"role": "auditor"},
            **changes,
        }  # fmt: skip
        body["persons"] = {
            self.login(n): {"name": n, "until": TODAY + dt.timedelta(30), "decision": "mẫu", **given}
            for n, given in people.items() if given is not None
        }  # fmt: skip
        body["limits"] = {
            **body["limits"],
            "statement": 4,
            "pause": 2,
            "lock": 2,
            "transaction": 8,
            "blocking": 1,
        }
        body["tables"] = {**body["tables"], **self.more_tables}
        self.file.write_text(yaml.safe_dump(body, allow_unicode=True))

    after_build: dict[str, Any] = field(default_factory=dict)
    more_tables: dict[str, dict[str, str]] = field(default_factory=dict)

    def dbt(self, *models: str) -> None:
        """Have dbt make tables anew, and nothing after it."""
        tasks._dbt(self.settings, [["run", "--full-refresh", "--select", *models]])

    def remake(self, table: str) -> None:
        """Put a table in another's place, in one transaction, as dbt does, and the views over it anew."""
        with psycopg.connect(self.url("dbt")) as connection:
            views = connection.execute(
                "select viewname, definition from pg_views where schemaname = 'marts'"
            ).fetchall()
            for statement in (
                f"create table marts.{table}__dbt_tmp as select * from marts.{table}",
                f"alter table marts.{table} rename to {table}__dbt_backup",
                f"alter table marts.{table}__dbt_tmp rename to {table}",
                f"drop table marts.{table}__dbt_backup cascade",
            ):
                connection.execute(statement)  # type: ignore[call-overload]
            for name, definition in views:
                if connection.execute("select to_regclass(%s)", (f"marts.{name}",)).fetchone() == (None,):
                    connection.execute(
                        f"create view marts.{name} with (security_invoker = true) as {definition}"
                    )  # type: ignore[call-overload]

    def state(self) -> dict[str, Any]:
        """{table: row security, grants, policies} of marts and ioc."""
        return {
            name: rest
            for name, *rest in self.rows(
                "owner",
                "select relnamespace::regnamespace || '.' || relname, relrowsecurity, "
                "(select array_agg(a::text order by a::text) from unnest(relacl) a), "
                "(select array_agg(polname || ' ' || pg_get_expr(polqual, polrelid) order by polname) from pg_policy "
                f"where polrelid = c.oid) from pg_class c where relnamespace in {BUILT} and relkind in ('r', 'v')",
            )
        }


@pytest.fixture(scope="module")
def place(server: Server, tien_giang: Sandbox) -> Iterator[Place]:
    home = Path(tempfile.mkdtemp(prefix="kcr-"))
    vault = start_vault(server.new_database(), home / "own")
    (home / "sources.yml").write_text(yaml.safe_dump({"sources": SOURCES}, allow_unicode=True))
    with given_server(server, home) as given:
        settings = Settings(
            {
                **given, "PATH": os.environ["PATH"], "POSTGRES_ADMIN_URL": server.admin,
                "KHOCHUNG_SOURCES": str(home / "sources.yml"), "KHOCHUNG_ROLES": str(home / "roles.yml"),
                "VAULT_SOCKET": str(vault.client.socket), "VAULT_TOKEN_FILE": str(home / "own" / "token"),
            },
            dotenv=home / "no.env",
        )  # fmt: skip
        made = Place(settings, home / "roles.yml")
        postgres.prepare(settings)
        try:
            folder = tasks.pull(
                settings,
                "igate_tien_giang",
                MORNING,
                tasks.Address(tien_giang.base_url, CLIENT_ID, CLIENT_SECRET),
            )
            tasks.stage(settings, "igate_tien_giang", folder)
            tasks.load(settings, "igate_tien_giang", folder)
            token = made.rows(
                "owner",
                "select applicant_id_number from raw.dossier where applicant_id_number is not null limit 1",
            )[0][0]
            for number, agency in enumerate((JUSTICE, JUSTICE, TRADE, TRADE, OLD_PROVINCE)):
                another_dossier(made, f"of-{number}", agency, token)  # type: ignore[arg-type]
                _details(made, f"of-{number}")
            _differences(made)
            made.write()
            access.apply(settings)
            tasks.build(settings)
            made.after_build = made.state()
            for person in read_roles(made.file).persons:
                made.passwords[person.split(".")[0]] = persons.give_password(
                    settings, read_roles(made.file), person
                )
            yield made
        finally:
            stop(vault.process)
            _drop_roles(made)
            shutil.rmtree(home, ignore_errors=True)


def _details(made: Place, dossier_id: str) -> None:
    """Steps, papers and fees as of another dossier; and this one is open at the merger, and has a wrong day."""
    with psycopg.connect(made.url("loader")) as connection:
        for table in ("dossier_step", "dossier_paper", "dossier_fee"):
            connection.execute(
                f"create temp table detail as select * from raw.{table} where dossier_id = "  # type: ignore[arg-type]
                f"(select min(dossier_id) from raw.{table} where dossier_id not like 'of-%')"
            )
            connection.execute("update detail set dossier_id = %s", (dossier_id,))
            connection.execute(f"insert into raw.{table} select * from detail")  # type: ignore[arg-type]
            connection.execute("drop table detail")
        connection.execute(
            "update raw.dossier set status_code = '2', completed_at = null, returned_at = null, "
            "due_at = received_at - interval '2 days' where dossier_id = %s",
            (dossier_id,),
        )


def _differences(made: Place) -> None:
    """The national portal lacks each of these dossiers, and none is sent, for it lacks its applicant's name."""
    national.prepare(made.settings)
    with psycopg.connect(made.url("owner")) as connection:
        connection.execute(
            "with made as (insert into national.comparison (source, first_day, last_day, here, there) "
            "select 'export', min(received_at)::date, max(received_at)::date, count(*), 0 from raw.dossier "
            "returning number) insert into national.difference (number, class, agency_code, code_here, cure, "
            "since_number, received_date) select number, 'missing_there', responsible_agency_code, dossier_id, "
            "'agency', number, received_at::date from raw.dossier, made where dossier_id like 'of-%'"
        )
        connection.execute(
            "insert into national.dossier (dossier_key, source_code, dossier_id, unit_code, agency_code, "
            "national_code, origin, received_date, state, lacking, draft, draft_hash, mapping_version) "
            "select dossier_id, source_code, dossier_id, responsible_agency_code, responsible_agency_code, dossier_id, "
            "'simulated', received_at::date, 'held', '{ChuHoSo}', '{}', '', 1 from raw.dossier "
            "where dossier_id like 'of-%'"
        )


def _drop_roles(made: Place) -> None:
    with psycopg.connect(postgres.maker_url(made.settings), autocommit=True) as connection:
        rows = connection.execute(
            "select rolname from pg_roles where rolname like %s or rolname ~ %s order by 1",
            (f"%.{made.suffix}", f"^{made.suffix}_(person|agency.*|ioc|analyst_person|auditor_person)$"),
        ).fetchall()
        for (role,) in rows:
            connection.execute(f'drop owned by "{role}"')
            connection.execute(f'drop role "{role}"')


@pytest.fixture(autouse=True)
def as_listed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test begins with the list of `Place.write`, applied."""
    yield
    if "place" in request.fixturenames:
        found: Place = request.getfixturevalue("place")
        found.more_tables = {}
        found.write()
        access.apply(found.settings)


def of(place: Place, table: str, *agencies: str) -> int:
    column = "responsible_agency_code"
    return place.rows(
        "owner", f"select count(*) from marts.{table} where {column} = any('{{{','.join(agencies)}}}')"
    )[0][0]


def everything(place: Place, table: str) -> int:
    return place.rows("owner", f"select count(*) from marts.{table}")[0][0]


# --- what each sees ---------------------------------------------------------------------------------


@pytest.mark.parametrize("table", FACTS)
def test_an_agency_sees_its_own_rows_and_those_above_it_see_them_too(place: Place, table: str):
    seen = {
        p: place.rows(p, f"select count(*) from {table}")[0][0]
        for p in ("justice", "trade", "both", "nobody", "province")
    }
    assert seen == {
        "justice": of(place, table, JUSTICE), "trade": of(place, table, TRADE),
        "both": of(place, table, JUSTICE, TRADE), "nobody": 0, "province": everything(place, table),
    }  # fmt: skip
    assert 0 < seen["justice"] < seen["both"] < seen["province"]
    assert place.rows("justice", f"select distinct responsible_agency_code from {table}") == [(JUSTICE,)]


def test_an_agency_recomputes_its_index_with_its_own_dossiers_alone(place: Place):
    """The same question by two persons: each reckons with what he sees, by numbers checked here without the macro."""
    period = place.rows(
        "owner",
        "select period from marts.fct_service_index_cause_dossier where period_kind = 'month' "
        f"and responsible_agency_code = '{JUSTICE}' order by 1 limit 1",
    )[0][0]
    codes = place.rows(
        "owner",
        "select responsible_agency_code, array_agg(distinct dossier_code), count(distinct version_key) "
        f"from marts.fct_service_index_cause_dossier where period = '{period}' and dossier_code is not null "
        f"and responsible_agency_code in ('{JUSTICE}', '{TRADE}') group by 1",
    )
    both = sorted({code for _, own, _ in codes for code in own})
    asked = f"select * from service_index_if_cured('{period}', array{both})"
    for person, agency in (("justice", JUSTICE), ("trade", TRADE)):
        told = {(unit, i): rest for unit, i, *rest in place.rows(person, asked)}
        assert {unit for unit, _ in told} == {agency, OLD_PROVINCE}
        (seen,) = (number for of_agency, _, number in codes if of_agency == agency)
        assert all(0 < count <= seen for count, *_ in told.values())
        of = place.rows(
            "owner",
            "select s.department_code, s.indicator_code, s.numerator, s.denominator, s.max_score, "
            "sum(c.numerator_cure), sum(c.denominator_cure) from marts.fct_service_index_score s "
            "join marts.fct_service_index_cause_dossier c using (period, indicator_code) "
            f"where s.counted_by = 'portal_copy' and period = '{period}' "
            f"and c.responsible_agency_code = '{agency}' and c.dossier_code is not null "
            "and s.department_code in (c.department_code, c.root_department_code) "
            "and indicator_code in ('PROGRESS_ON_TIME', 'ORIGINAL_RESULT_AVAILABLE', 'DOSSIER_SYNC') "
            "group by 1, 2, 3, 4, 5",
        )
        assert of
        for unit, indicator, met, counted, most, more_met, more_counted in of:
            above, below = met + more_met, counted + more_counted
            below = max(above, below) if indicator == "DOSSIER_SYNC" else below
            wanted = round(float(most * above / below), 2) if below else 0
            assert float(told[unit, indicator][2]) == pytest.approx(wanted, abs=0.006), (unit, indicator)
    assert place.rows("nobody", asked) == []
    assert "permission denied" in place.said("centre", asked), "figures, and no dossier"


def test_a_pseudonym_is_seen_by_its_agency_alone(place: Place):
    """The same person at two agencies; who received the dossier for another sees neither dossier nor pseudonym."""
    query = (
        "select applicant_pseudonym from fct_dossier "
        "where dossier_id like 'of-%' and applicant_pseudonym is not null"
    )
    justice, trade = (set(place.rows(p, query)) for p in ("justice", "trade"))
    assert justice
    assert trade
    assert not justice & trade
    received = place.rows(
        "owner",
        "select receiving_agency_code from marts.fct_dossier where responsible_agency_code <> receiving_agency_code",
    )
    assert received, "some are received elsewhere"


def test_the_other_roles(place: Place):
    for table in FACTS:
        assert place.rows("reader", f"select count(*) from {table}") == [(everything(place, table),)]
        for other in ("centre", "looks"):
            assert "permission denied" in place.said(other, f"select from marts.{table}")
        for login in ("publisher", "analyst"):
            assert place.rows(login, f"select count(*) from marts.{table}") == [(everything(place, table),)]
    assert place.rows("centre", "select count(*) from dim_agency") == [(everything(place, "dim_agency"),)]
    assert place.rows("looks", "select count(*) from ops.load_log") != [(0,)]
    assert "permission denied" in place.said("looks", "select from marts.dim_agency")
    assert place.rows(
        "justice", "select marts.deadline(timestamptz '2025-06-30 08:00+07', 5, 'WORKING_DAY') is not null"
    ) == [(True,)]
    for person in ("justice", "reader", "centre"):
        assert "permission denied" in place.said(person, "select from ops.load_log")


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_of_the_marts_shows_what_its_reader_sees_of_dossiers(place: Place, view: str):
    def own(*agencies: str) -> int:
        codes = f"any('{{{','.join(agencies)}}}')"
        # The form's rows are those of the agency then, which may have been another one's.
        form = f"and v.agency_code = {codes} " if view == "form_06a_trace" else ""
        return place.rows(
            "owner",
            f"select count(*) from marts.{view} as v join marts.fct_dossier as d using (dossier_key) "
            f"where d.responsible_agency_code = {codes} {form}",
        )[0][0]

    below = [
        row[0] for row in place.rows("province", "select distinct responsible_agency_code from fct_dossier")
    ]
    seen = {
        p: place.rows(p, f"select count(*) from {view}")[0][0]
        for p in ("justice", "both", "nobody", "province")
    }
    assert seen == {
        "justice": own(JUSTICE), "both": own(JUSTICE, TRADE), "nobody": 0, "province": own(*below),
    }  # fmt: skip
    assert seen["province"] == everything(place, view) or view == "form_06a_trace"
    assert 0 < seen["justice"] < seen["both"] < seen["province"]
    assert place.rows("reader", f"select count(*) from {view}") == [(everything(place, view),)]
    assert "permission denied" in place.said("centre", f"select from {view}")


def test_each_number_of_the_index_is_the_sum_of_dossiers_its_agency_sees(place: Place):
    """Every period and indicator: what the warehouse counted, against the rows that the number's own officer reads."""
    for person, unit, column in (
        ("justice", JUSTICE, "responsible_agency_code"),
        ("trade", TRADE, "responsible_agency_code"),
        ("province", OLD_PROVINCE, "root_department_code"),
    ):
        listed = {
            (period, indicator): (procedures if counts_procedures else met, cases)
            for period, indicator, counts_procedures, procedures, met, cases in place.rows(
                person,
                "select period, indicator_code, counts_procedures, "
                "count(distinct procedure_code) filter (where is_in_numerator), "
                "count(*) filter (where is_in_numerator), count(*) filter (where is_in_denominator) "
                f"from service_index_trace where {column} = '{unit}' group by 1, 2, 3",
            )
        }
        counted = place.rows(
            person,
            "select period, indicator_code, numerator, denominator from fct_service_index_score "
            f"where counted_by = 'warehouse' and department_code = '{unit}' and numerator is not null",
        )
        assert {len(period) for period, *_ in counted} == {4, 7}, "years, months and quarters"
        assert sum(cases for _, cases in listed.values()) > 0
        for period, indicator, numerator, denominator in counted:
            met, cases = listed[period, indicator]
            assert (numerator, denominator) == (met, None if denominator is None else cases), (
                period, indicator, unit,
            )  # fmt: skip


def test_what_no_source_counts_is_null_with_its_reason_and_the_total_says_so(place: Place):
    """Each of the 21 indicators stands for every unit and period that was counted; none is left out, 0 or full."""
    for person, unit in (("justice", JUSTICE), ("reader", OLD_PROVINCE)):
        rows = place.rows(
            person,
            "select period, count(*), count(distinct indicator_code), count(score), "
            "count(*) filter (where (score is null) = (null_reason is null)), "
            "sum(max_score) filter (where score is not null) from fct_service_index_score "
            f"where counted_by = 'warehouse' and department_code = '{unit}' group by 1",
        )
        assert {len(period) for period, *_ in rows} == {4, 7}
        told = dict(
            place.rows(
                person,
                "select period, computable from fct_service_index_total "
                f"where counted_by = 'warehouse' and department_code = '{unit}'",
            )
        )
        for period, indicators, different, scored, unexplained, points in rows:
            assert (indicators, different, unexplained) == (21, 21, 0), period
            assert 0 < scored < 21
            assert told[period] == f"{float(points):g} of 100 points computable"


def test_officers_read_the_form_of_their_agency(place: Place):
    for table in ("fct_form_06a", "fct_open_dossier_monthly"):
        seen = place.rows("justice", f"select distinct agency_code from {table}")
        assert seen == [(JUSTICE,)]
        assert len(place.rows("province", f"select distinct agency_code from {table}")) > 1
        assert place.rows("nobody", f"select count(*) from {table}") == [(0,)]
        assert place.rows("reader", f"select count(*) from {table}") == [(everything(place, table),)]


def test_each_number_of_the_form_is_the_sum_of_its_dossiers(place: Place):
    """Every agency, sector, period and column, as an analyst sees them; and of an agency that has all its dossiers."""
    cells = {cell for cell in COUNTS if not cell.endswith("_total")}
    # Handovers come after these days; the unit test of the view has them.
    later = {"resolved_overdue", "transferred_in", "transferred_out"}
    found = {cell for (cell,) in place.rows("reader", "select distinct cell_code from form_06a_trace")}
    assert cells - later <= found <= cells
    counts = " union all ".join(
        f"select form_key, '{cell}' as cell_code, {cell} as number from fct_form_06a where {cell} <> 0"
        for cell in sorted(cells)
    )
    differs = (
        f"with form as ({counts}), listed as (select form_key, cell_code, count(*) as number, "
        "count(distinct dossier_key) as dossiers from form_06a_trace group by 1, 2) "
        "select * from form full join listed using (form_key, cell_code) "
        "where form.number is distinct from listed.number or listed.number <> listed.dossiers"
    )
    assert place.rows("reader", differs) == []
    assert place.rows("justice", differs) == []
    assert place.rows("reader", "select count(distinct period_kind || closing) from fct_form_06a") == [(6,)]


def test_codes_to_repair_are_those_of_the_readers_dossiers(place: Place):
    for person in ("justice", "province", "reader", "nobody"):
        listed, broken = (
            place.rows(person, f"select {count} from {table}")[0][0]
            for count, table in (
                ("coalesce(sum(dossier_count), 0)::integer", "unknown_code"),
                ("count(*)", "fct_dossier_wrong_data where rule_code like 'unknown\\_%'"),
            )
        )
        assert listed == broken, person
        assert listed > 0 or person in ("justice", "nobody")
    assert "permission denied" in place.said("centre", "select from unknown_code")


def test_every_code_of_a_dossier_has_a_member_in_its_dimension(place: Place):
    """Known or not: no join by code loses a dossier, and those that are not known are the ones listed for repair."""
    found = 0
    for kind, dimension, code in (
        ("procedure", "procedure", "procedure_code"),
        ("receiving_agency", "agency", "agency_code"),
        ("responsible_agency", "agency", "agency_code"),
        ("applicant_commune", "administrative_unit", "unit_code"),
    ):
        used = f"select {kind}_code from fct_dossier"
        without = (
            f"select count(*) from fct_dossier where {kind}_code not in (select {code} from dim_{dimension})"
        )
        assert place.rows("reader", without) == [(0,)], kind
        unknown = place.rows(
            "reader",
            f"select {code}, member_code from dim_{dimension} where not is_known and {code} in ({used}) order by 1",
        )
        assert {member for _, member in unknown} <= {"unknown"}
        listed = place.rows(
            "reader", f"select distinct code from unknown_code where code_kind = '{kind}' order by 1"
        )
        assert [(c,) for c, _ in unknown] == listed, kind
        found += len(unknown)
    assert found
    lost = "select count(*) from bridge_dossier_commune where new_commune_code not in "
    assert place.rows("reader", lost + "(select unit_code from dim_administrative_unit)") == [(0,)]


def test_facts_and_form_call_the_same_dossiers_overdue(place: Place):
    """Dossier by dossier on the as-of day, of those whose state a source did not change after it."""
    rows = place.rows(
        "reader",
        "with late as (select dossier_key from form_06a_trace join as_of_day "
        "on period = to_char(as_of_date, 'YYYY-MM') where closing = 'calendar' and cell_code = 'open_overdue'), "
        "changed as (select dossier_key from fct_dossier_status_history cross join as_of_day "
        "where valid_from_date > as_of_date) "
        "select fact.is_overdue, late.dossier_key is not null, count(*) from fct_dossier fact cross join as_of_day "
        "left join late using (dossier_key) where report_group in ('open', 'paused') "
        "and received_date <= as_of_date and dossier_key not in (select dossier_key from changed) group by 1, 2",
    )
    found = {(fact, form): count for fact, form, count in rows}
    assert set(found) == {(True, True), (False, False)}, found


def test_the_cookbook_leads_from_a_number_to_its_dossiers(place: Place):
    text = (PROJECT / "docs" / "cookbook.md").read_text(encoding="utf-8")
    (late,) = re.findall(r"```sql\n(.*?);\n```", text[text.index("## From a number of form") :], re.DOTALL)[
        :1
    ]
    ((counted,),) = place.rows(
        "justice",
        f"select sum(open_overdue) from fct_form_06a where agency_code = '{JUSTICE}' and period = '2025-06' "
        "and closing = 'calendar'",
    )
    assert len(place.rows("justice", late)) == counted > 0
    assert place.rows("trade", late) == []
    index = text[text.index("## From a number of the index") :]
    behind, beside = re.findall(r"```sql\n(.*?);\n```", index, re.DOTALL)[:2]
    numbers = place.rows("justice", beside)
    assert numbers
    assert all(r[1] == r[2] and r[3] == r[4] for r in numbers)
    (progress,) = [r for r in numbers if r[0] == "PROGRESS_ON_TIME"]
    dossiers = place.rows("justice", behind)
    assert len(dossiers) == progress[3] > 0
    assert sum(outcome == "met" for _, outcome, *_ in dossiers) == progress[1]
    assert place.rows("trade", behind) == []


def test_the_cookbook_counts_what_the_facts_hold(place: Place):
    """Its answers add up to what a plainer question counts; nothing stands twice after two handovers."""
    text = (PROJECT / "docs" / "cookbook.md").read_text(encoding="utf-8")
    asked = dict(re.findall(r"^## (\d+)\..*?```sql\n(.*?);\n```", text, re.DOTALL | re.MULTILINE))
    open_now = "report_group in ('open', 'paused')"
    ((overdue,),) = place.rows("reader", f"select count(*) from fct_dossier where {open_now} and is_overdue")
    by_unit = place.rows("reader", asked["1"])
    assert sum(count for _, count, _ in by_unit) == overdue > 0
    assert by_unit == place.rows(
        "reader", "select officer_unit_code, count(*), max(-days_left) from morning_list "
        "where list_kind = 'overdue' group by 1 order by 2 desc, 1"
    )  # fmt: skip
    # A commune of the area most dossiers come from, in place of the example's.
    ((commune, received),) = place.rows(
        "reader",
        "select min(area.commune_code), max(series.received) from dim_comparable_area area join "
        "(select area_code, sum(received) as received from fct_received_by_area_monthly group by 1) series "
        "using (area_code) where not area.is_old_commune group by area_code order by 2 desc, 1 limit 1",
    )
    assert asked["3"].count("'28249'") == 1
    series = place.rows("reader", asked["3"].replace("'28249'", f"'{commune}'"))
    assert sum(row[2] for row in series) == received > 0
    (years,) = re.findall(r"## The merged province.*?```sql\n(.*?);\n```", text, re.DOTALL)
    by_province = place.rows(
        "reader",
        "select coalesce(province_code, 'unknown'), sum(received), sum(resolved) from fct_received_by_area_monthly "
        "group by 1",
    )
    assert sorted((row[1], *row[3:5]) for row in place.rows("reader", years)) == sorted(by_province)
    inherited = place.rows("reader", asked["4"])
    ((handed_over,),) = place.rows(
        "reader",
        f"select count(*) from fct_dossier where {open_now} and dossier_key in (select dossier_key from fct_handover)",
    )
    assert sum(row[4] for row in inherited) == handed_over > 0


def test_the_rows_of_an_abolished_body_are_its_successors(place: Place):
    """By the decisions from which handovers follow: the new province's department of the same name has taken over."""
    before = place.rows("justice", "select count(*) from fct_dossier")[0][0]
    assert before
    assert place.rows("successor", "select count(*) from fct_dossier") == [(0,)], (
        "the warehouse knows no such body"
    )
    with psycopg.connect(place.url("loader")) as connection:
        connection.execute(
            "create temp table body as select * from raw.agency where agency_code = %s", (JUSTICE,)
        )
        connection.execute("update body set agency_code = %s, parent_agency_code = %s", (SUCCESSOR, PROVINCE))
        connection.execute("insert into raw.agency select * from body")
    try:
        place.dbt(*_AGENCIES)
        access.apply(place.settings)
        assert place.rows("successor", "select count(*) from fct_dossier") == [(before,)]
        assert place.rows("justice", "select count(*) from fct_dossier") == [(0,)]
        assert place.rows("province", "select count(*) from fct_dossier") == [
            (everything(place, "fct_dossier"),)
        ]
        assert any(
            f"{SUCCESSOR} sees 2: {JUSTICE}, {SUCCESSOR}" in line for line in access.show(place.settings)
        )
    finally:
        with psycopg.connect(place.url("loader")) as connection:
            connection.execute("delete from raw.agency where agency_code = %s", (SUCCESSOR,))
        place.dbt(*_AGENCIES)


def test_codes_that_a_role_sees():
    parents: dict[str, str | None] = {
        "P": None, "D": "P", "D.1": "D", "C": "P", "P2": None, "D2": "P2", "LOOP": "LOOP2", "LOOP2": "LOOP",
    }  # fmt: skip
    agencies = ("P", "D", "D.1", "P2", "D2", "LOOP", "ELSEWHERE")
    assert scopes(agencies, parents, {}) == {
        "P": ["C", "D", "D.1", "P"], "D": ["D", "D.1"], "D.1": ["D.1"], "P2": ["D2", "P2"], "D2": ["D2"],
        "LOOP": ["LOOP", "LOOP2"], "ELSEWHERE": ["ELSEWHERE"],
    }  # fmt: skip
    handed = scopes(agencies, parents, {"D": "D2"})
    assert (handed["D2"], handed["D"], handed["P"]) == (["D", "D.1", "D2"], [], ["C", "P"])
    assert handed["P2"] == ["D", "D.1", "D2", "P2"], "those above the successor"
    assert handed["D.1"] == ["D.1"], "not abolished itself"
    twice = scopes(agencies, parents, {"D": "C", "C": "D2"})
    assert twice["D2"] == ["C", "D", "D.1", "D2"], "handed on"


@pytest.mark.parametrize(("ended", "successors"), [(TODAY, {"D": "D2"}), (TODAY + dt.timedelta(1), {})])
def test_a_body_keeps_its_dossiers_until_its_last_day(
    server: Server, ended: dt.date, successors: dict[str, str]
):
    with psycopg.connect(server.new_database()) as connection:
        connection.execute(
            "create schema marts create table dim_agency "
            "(agency_code text, parent_agency_code text, successor_agency_code text, valid_to date)"
        )
        connection.execute(
            "insert into marts.dim_agency values ('D', null, 'D2', %s), ('D2', null, null, null)", (ended,)
        )
        given = read_roles(PROJECT / "ops" / "roles.yml")
        person = dataclasses.replace(next(iter(given.persons.values())), agencies=("D", "D2"))
        seen = access._scopes(connection, dataclasses.replace(given, persons={"a.b": person}), TODAY)
    assert seen == scopes(("D", "D2"), {"D": None, "D2": None}, successors)


# --- what tables and columns mean -----------------------------------------------------------------------


def test_an_officer_reads_what_each_table_and_column_means(place: Place):
    """In psql and DBeaver, as comments: Vietnamese and English."""
    rows = place.rows(
        "justice",
        "select c.relname, a.attname, case when a.attnum is null then obj_description(c.oid) "
        "else col_description(c.oid, a.attnum) end from pg_class c left join pg_attribute a on a.attrelid = c.oid "
        "and a.attnum > 0 and not a.attisdropped where c.relnamespace in ('marts'::regnamespace, 'ioc'::regnamespace) "
        "and c.relkind in ('r', 'v') union all select relname, null, obj_description(oid) from pg_class "
        "where relnamespace in ('marts'::regnamespace, 'ioc'::regnamespace) and relkind in ('r', 'v')",
    )
    assert len(rows) > 300
    assert not [r for r in rows if " · " not in (r[2] or "")]
    said = {r[:2]: r[2] for r in rows}
    assert said["fct_dossier_fee", "is_owed"].startswith("Còn phải nộp: có số tiền")
    assert said["fct_dossier_fee", "is_owed"].endswith(" · An amount is due and no payment is recorded.")
    assert said["fct_dossier_fee", None].endswith(
        " · One row for each fee or charge that a system recorded for a dossier."
    )


def test_an_officer_reads_what_a_code_means(place: Place):
    """Seeds are closed to him, so it stands in the comment: each code that any row has, in both languages."""
    ((said,),) = place.rows(
        "justice",
        "select col_description(attrelid, attnum) from pg_attribute "
        "where attrelid = 'fct_dossier'::regclass and attname = 'status_code'",
    )
    vi, en = said.split(" · ")
    assert "; 6: Yêu cầu thực hiện nghĩa vụ tài chính; " in vi
    assert "; 6: waiting for a financial duty; " in en
    manifest = json.loads((place.settings.dbt_target / "manifest.json").read_text(encoding="utf-8"))
    explained = 0
    for node in docs.tables(manifest):
        for column in node["columns"].values() if node["schema"] != "open_data" else ():
            if not (known := [code for code, _, _ in docs.codes(manifest, column)]):
                continue
            # A capital letter of a code stands for a number: covered_N_of_M_days.
            written = {
                code: re.compile(re.sub(r"(?<=_)[NM](?=_)", r"\\d+", re.escape(code))) for code in known
            }
            table = docs.relation(node)
            ((comment,),) = place.rows(
                "owner", "select col_description(attrelid, attnum) from pg_attribute where "
                f"attrelid = '{table}'::regclass and attname = '{column['name']}'")  # fmt: skip
            used = place.rows("owner", f"select distinct {column['name']}::text from {table}")
            # A clause may be of two parts: processed+legal_maximum.
            for part in {part for (whole,) in used if whole for part in whole.split("+")}:
                stated = next((code for code, pattern in written.items() if pattern.fullmatch(part)), part)
                for words in comment.split(" · "):
                    meant = re.search(rf"(?<!\w){re.escape(stated)}(?!\w)", words)
                    assert meant, f"{table}.{column['name']}: {part}"
                    explained += 1
    assert explained > 50


def test_superset_finds_tables_and_meanings_as_an_officer(place: Place):
    """By SQLAlchemy's inspector, which Superset asks: tables and views of the first schema, each column's comment."""
    engine = sqlalchemy.create_engine(
        place.url("justice").replace("postgresql:", "postgresql+psycopg2:"), poolclass=sqlalchemy.NullPool
    )
    found = sqlalchemy.inspect(engine)
    assert found.default_schema_name == "marts", "tables stand without their schema, as in the cookbook"
    for table in (*found.get_table_names(), *found.get_view_names()):
        said = [found.get_table_comment(table)["text"], *(c["comment"] for c in found.get_columns(table))]
        assert [s for s in said if " · " not in (s or "")] == [], table
    assert {*FACTS, "dim_agency"} <= set(found.get_table_names())
    assert set(VIEWS) <= set(found.get_view_names())


def test_the_catalogue_is_written_and_opens_offline(place: Place):
    page = docs.write(place.settings)
    text = page.read_text(encoding="utf-8")
    for table in place.rows(
        "owner", "select schemaname || '.' || tablename from pg_tables where schemaname in ('marts', 'ioc')"
    ):
        assert f'<section id="{table[0]}">' in text
    assert "Còn phải nộp: có số tiền mà chưa ghi nhận đã nộp." in text
    assert "An amount is due and no payment is recorded." in text
    assert "<td>igate_tien_giang</td><td>simulated</td><td>30/06/2025 08:15</td>" in text
    fees = text[text.index('<section id="marts.fct_dossier_fee">') :].partition("</section>")[0]
    for said in (
        "raw.dossier_fee",
        "igate_tien_giang: 30/06/2025 08:15",
        'href="#exposure.cookbook"',
        "own rows",
        "khochung@example.gov.vn",
        'href="dbt.html#!/model/model.kho_chung.fct_dossier_fee"',
    ):
        assert said in fees, "readers, source, freshness, use, owner, lineage"
    assert (
        "<dt>Đếm theo" in text[text.index('<section id="marts.fct_form_06a">') :].partition("</section>")[0]
    )
    assert "<code>marts.deadline(received_at timestamptz, amount numeric" in text
    for written in (page, page.with_name("dbt.html")):
        loaded = re.findall(
            r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?(https?:[^\"' >]+)",
            written.read_text(encoding="utf-8"),
        )
        assert not loaded, "nothing is fetched from elsewhere"


# --- rebuilt by dbt -----------------------------------------------------------------------------------


def test_rights_survive_that_dbt_makes_every_table_anew(place: Place):
    before = place.state()
    assert {name.partition(".")[0] for name in before} == {"marts", "ioc"}
    named = "select relnamespace::regnamespace || '.' || relname, oid::bigint from pg_class"
    numbered = f"{named} where relnamespace in {BUILT}"
    oids = dict(place.rows("owner", numbered))
    place.dbt("intermediate", "marts", "ioc")
    after = dict(place.rows("owner", numbered))
    assert all(after[t] != oids[t] for t in before), "all were made anew"
    assert not place.rows("owner", f"select from pg_class where relrowsecurity and relnamespace in {BUILT}")
    assert "permission denied" in place.said("centre", "select from ioc.dossier_service")
    for table in (*FACTS, "dim_agency"):
        for person in ("justice", "province", "reader", "centre"):
            assert "permission denied" in place.said(person, f"select from marts.{table}"), (
                "nothing by default"
            )
    tasks._protect(place.settings)
    assert place.state() == before
    flags = place.rows(
        "owner",
        "select relname, relrowsecurity, relforcerowsecurity from pg_class "
        f"where relnamespace = 'marts'::regnamespace and relname in {FACTS} order by 1",
    )
    assert flags == [(t, True, False) for t in sorted(FACTS)], "owners see everything, and no person is one"
    assert place.rows("justice", "select count(*) from fct_dossier") == [(of(place, "fct_dossier", JUSTICE),)]
    assert "permission denied" in place.said("justice", "select from ioc.dossier_service")
    # What was made anew is attacked as what stood before is by the tests of these names.
    for table in ("fct_dossier", "fct_handover"):
        test_every_way_to_read_gives_the_same_rows(place, table)
    for view in VIEWS:
        test_a_view_of_the_marts_shows_what_its_reader_sees_of_dossiers(place, view)
    test_a_policy_cannot_be_put_off(place)
    test_no_message_tells_of_a_row_that_is_hidden(place)
    test_statistics_tell_an_agency_nothing(place)
    for statement in FORBIDDEN:
        test_what_an_officer_may_not_do(place, statement)


def test_a_build_gives_the_rights_and_tells(place: Place):
    """That of the fixture, into an empty warehouse; nobody applied anything after it."""
    (told,) = [o.details["access"] for o in read_outcomes(place.settings.home) if o.step == "build"]
    assert told["unlisted"] == []
    assert told["not_made"] == []
    assert place.after_build == place.state()


def test_a_build_whose_rights_cannot_be_given_fails_and_says_so(place: Place):
    place.admin(
        "create function marts.leaks() returns bigint language sql security definer "
        "as 'select count(*) from marts.fct_dossier'"
    )
    try:
        with pytest.raises(
            tasks.TaskError, match=r"rights .* could not be given: marts.leaks\(\) is security definer"
        ):
            tasks._protect(place.settings)
    finally:
        place.admin("drop function marts.leaks()")


def test_policies_come_before_grants(place: Place):
    """A table without policies is never granted, not for a moment: seen from another session all the while."""
    place.remake("fct_dossier")
    seen: set[tuple[bool, bool]] = set()
    over = threading.Event()

    def look() -> None:
        with psycopg.connect(place.url("owner"), autocommit=True) as connection:
            while not over.is_set():
                row = connection.execute(
                    "select relrowsecurity, has_table_privilege(%s, oid, 'select') from pg_class "
                    "where oid = 'marts.fct_dossier'::regclass", (names_of(place.settings).group("agency"),),
                ).fetchone()  # fmt: skip
                assert row is not None
                seen.add(tuple(row))  # type: ignore[arg-type]

    looker = threading.Thread(target=look)
    looker.start()
    access.protect(place.settings)
    over.set()
    looker.join()
    assert seen >= {(True, True)}
    assert (False, True) not in seen


def test_applying_again_changes_nothing(place: Place):
    access.apply(place.settings)
    rows = (
        "select oid, xmin::text from pg_policy union all "
        "select oid, xmin::text from pg_class where relnamespace = 'marts'::regnamespace"
    )
    before = sorted(place.rows("owner", rows))
    assert access.apply(place.settings) == []
    assert sorted(place.rows("owner", rows)) == before


def test_what_was_granted_by_hand_is_taken_back(place: Place):
    before = place.state()
    group = names_of(place.settings).agency(JUSTICE)
    place.admin(
        "grant select (dossier_code, applicant_pseudonym) on marts.fct_dossier to public",
        f'grant insert on marts.dim_agency to "{group}"',
        f'create policy more on marts.fct_dossier for select to "{group}" using (true)',
        f'create policy wide on marts.fct_dossier_step to "{group}" using (true)',
        f'alter policy "{group}" on marts.fct_citizen_check using (true)',
        f'create policy more on marts.fct_handover for select to "{group}" using (true)',
        f'alter policy "{group}" on marts.fct_dossier_fee using (is_owed)',
        f'drop policy "{group}" on marts.fct_dossier_paper',
        "alter table marts.fct_dossier_status_history disable row level security",
        "grant select on marts.fct_dossier_wrong_data to public",
        f'create policy more on marts.fct_service_index_dossier for select to "{group}" using (true)',
        f'alter policy "{group}" on marts.fct_national_difference using (true)',
        f'alter policy "{group}" on marts.fct_national_set_aside using (true)',
        f'alter policy "{group}" on marts.fct_service_index_cause_dossier using (true)',
    )
    assert set(access.protect(place.settings).changed) == {f"marts.{t}" for t in (*FACTS, "dim_agency")}
    assert place.state() == before
    assert place.rows(
        "owner",
        "select count(*) from pg_attribute where attacl is not null and attrelid = 'marts.fct_dossier'::regclass",
    ) == [(0,)]


def test_no_person_has_rights_by_default(place: Place):
    rows = place.rows(
        "owner",
        "select distinct pg_get_userbyid(a.grantee) from pg_default_acl d, aclexplode(d.defaclacl) a "
        "where a.grantee <> d.defaclrole",
    )
    house = {
        urlsplit(place.settings.login_url(n)).username
        for n in ("dbt", "publisher", "national", "analyst", "auditor")
    }
    assert {r[0] for r in rows} <= house


def test_a_table_that_is_not_listed_is_read_by_no_person(place: Place):
    with psycopg.connect(place.url("dbt")) as connection:
        connection.execute("create table marts.anew as select * from marts.fct_dossier")
    try:
        assert access.protect(place.settings).unlisted == ["marts.anew"]
        for person in ("justice", "province", "reader", "centre", "looks"):
            assert "permission denied" in place.said(person, "select from marts.anew")
    finally:
        place.admin("drop table marts.anew")


def test_a_view_shows_each_reader_his_own_rows(place: Place):
    """As the owner's, it would show everybody everything."""
    with psycopg.connect(place.url("dbt")) as connection:
        connection.execute("create view marts.overdue as select * from marts.fct_dossier")
    try:
        place.more_tables = {"marts.overdue": {"agency": "all", "analyst": "all"}}
        place.write()
        assert "permission denied" in place.said("justice", "select from marts.overdue")
        access.apply(place.settings)
        assert place.rows("justice", "select count(*) from overdue") == [(of(place, "fct_dossier", JUSTICE),)]
        assert place.rows("reader", "select count(*) from overdue") == [(everything(place, "fct_dossier"),)]
    finally:
        place.admin("drop view marts.overdue")


def test_every_table_of_marts_is_listed_in_the_repository():
    listed = read_roles(PROJECT / "ops" / "roles.yml").tables
    models = {f"marts.{p.stem}" for p in (PROJECT / "dbt" / "models" / "marts").glob("*.sql")}
    assert {t for t in listed if t.startswith("marts.")} == models


def test_whatever_holds_a_person_or_a_dossier_is_given_to_agencies_by_rows(place: Place):
    listed = read_roles(PROJECT / "ops" / "roles.yml").tables
    held = place.rows(
        "owner", "select distinct table_name, table_type, coalesce(reloptions @> '{security_invoker=true}', false) "
        "from information_schema.columns join information_schema.tables using (table_schema, table_name) "
        "join pg_class on oid = to_regclass(table_schema || '.' || table_name) "
        "where table_schema = 'marts' and "
        "column_name in ('applicant_pseudonym', 'dossier_key', 'dossier_id', 'dossier_code')"
    )  # fmt: skip
    assert {t for t, kind, _ in held if kind == "BASE TABLE"} == set(FACTS)
    assert {(t, invokers) for t, kind, invokers in held if kind == "VIEW"} == {(v, True) for v in VIEWS}
    for table in FACTS:
        assert listed[f"marts.{table}"] == {"agency": "responsible_agency_code", "analyst": "all"}
    for view in VIEWS:
        assert listed[f"marts.{view}"] == {"agency": "all", "analyst": "all"}, "what he sees of the tables"


# --- attacks --------------------------------------------------------------------------------------------


#: What an officer is refused.
FORBIDDEN = (
    "set role {dbt}", "set role {trade}", "set session authorization {dbt}", "set local role postgres",
    "select * from raw.dossier", "select * from staging.stg_dossiers__dossier", "select * from seeds.channel",
    "select * from intermediate.int_dossiers__record", "select * from open_data.dossier_results_monthly",
    "select * from ops.load_log", "select * from access.watch()",
    "create temp table t (x int)", "create table marts.t (x int)", "create table public.t (x int)",
    "create schema mine", "create view marts.v as select 1", "create temp view v as select 1",
    "create function marts.f(text) returns boolean language plpgsql cost 0.0000001 as 'begin return true; end'",
    "create function public.f() returns int language sql as 'select 1'",
    "select * into temp t from marts.fct_dossier", "insert into marts.fct_dossier (dossier_key) values ('x')",
    "update marts.fct_dossier set dossier_key = dossier_key", "delete from marts.fct_dossier",
    "truncate marts.fct_dossier", "begin; lock table marts.fct_dossier in access exclusive mode",
    "select * from marts.fct_dossier for update",
    "alter table marts.fct_dossier disable row level security", "drop policy whole on marts.fct_dossier",
    "alter policy whole on marts.fct_dossier to public", "create policy mine on marts.fct_dossier using (true)",
    "alter table marts.fct_dossier owner to current_user",
    "create statistics s on origin, channel from marts.fct_dossier",
    "create index on marts.fct_dossier (dossier_key)", "comment on table marts.fct_dossier is 'x'",
    "copy marts.fct_dossier from stdin", "copy marts.fct_dossier to program 'cat'", "copy (select 1) to '/tmp/x'",
    "copy marts.fct_dossier to '/tmp/x'", "select pg_read_file('PG_VERSION')", "select lo_create(0)",
    "select lo_from_bytea(0, 'x')", "select pg_advisory_lock(hashtextextended('kho-chung/build', 0))",
    "select pg_try_advisory_xact_lock(1)", "select * from pg_statistic", "select * from pg_statistic_ext_data",
    "select * from pg_authid", "select * from pg_largeobject", "select * from pg_user_mapping",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename <> current_user and usename is not null",
    "set temp_file_limit = -1", "set session_replication_role = replica", "load 'auto_explain'",
    "alter role current_user valid until 'infinity'", "alter role current_user connection limit -1",
    "alter role current_user bypassrls", "alter role {trade} password 'x'", "create role another",
    "grant {trade} to current_user", "create extension dblink", "create extension file_fdw",
    "create server s foreign data wrapper x", "listen x; select pg_logical_emit_message(false, 'x', 'y')",
    "create publication p for table marts.fct_dossier",
    "create event trigger e on ddl_command_end execute function f()",
    "alter system set row_security = off", "alter database {database} set row_security = off",
)  # fmt: skip


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_what_an_officer_may_not_do(place: Place, statement: str):
    text = statement.replace("{dbt}", f'"{urlsplit(place.settings.login_url("dbt")).username}"')
    text = text.replace("{trade}", f'"{names_of(place.settings).agency(TRADE)}"').replace(
        "{database}", place.suffix
    )
    with psycopg.connect(place.url("justice"), autocommit=True) as connection:
        # He can take this off, so it protects nothing.
        connection.execute("set default_transaction_read_only = off")
        with pytest.raises(psycopg.Error) as told:
            connection.execute(text)  # type: ignore[call-overload]
    refused = "permission denied|must be (owner|a superuser|superuser)|only superusers|is not allowed"
    if text.startswith(("create event trigger", "create server")):
        refused += "|does not exist"
    assert re.search(refused, str(told.value)), told.value


def test_a_policy_cannot_be_put_off(place: Place):
    assert "would be affected by row-level security" in place.said(
        "justice", "set row_security = off", "select * from marts.fct_dossier"
    )
    own = of(place, "fct_dossier", JUSTICE)
    for role in (names_of(place.settings).agency(JUSTICE), names_of(place.settings).group("agency")):
        seen = place.rows("justice", f'set role "{role}"', "select count(*) from marts.fct_dossier")[0][0]
        assert seen == (own if role.endswith("h58") else 0)


@pytest.mark.parametrize("table", DOSSIERS)
def test_every_way_to_read_gives_the_same_rows(place: Place, table: str):
    own = {
        r[0]
        for r in place.rows(
            "owner", f"select dossier_key from marts.{table} where responsible_agency_code = '{JUSTICE}'"
        )
    }
    every = {r[0] for r in place.rows("owner", f"select dossier_key from marts.{table}")}
    assert own < every
    query = f"select dossier_key from marts.{table}"
    ways = {
        "plain": [query],
        "cursor": [f"declare c cursor for {query}", "fetch all from c"],
        "held cursor": [f"declare c cursor with hold for {query}", "commit", "fetch all from c"],
        "prepared": [f"prepare p as {query}", "execute p"],
        "prepared for another role": [
            f'set role "{names_of(place.settings).group("agency")}"', f"prepare p as {query}",
            "execute p", "reset role", "execute p",
        ],
        "with": [f"with d as materialized ({query}) select * from d"],
        "exists": [f"{query} d where exists (select from marts.{table} e where e.dossier_key <> d.dossier_key)"],
        "join": [f"select d.dossier_key from marts.{table} d "
                 "full join marts.fct_citizen_check s using (responsible_agency_code)"],
        "union": [f"{query} union all {query}"],
        "table": [f"select (t).dossier_key from (table marts.{table}) t"],
        "xml": ["select unnest(xpath('//dossier_key/text()', query_to_xml('" + query + "', false, false, '')))::text"],
        "cursor of xml": [
            f"declare c cursor for {query}",
            "select unnest(xpath('//dossier_key/text()', cursor_to_xml('c', 100000, false, false, '')))::text",
        ],
        "table to xml": ["select unnest(xpath('//dossier_key/text()', "
                         f"table_to_xml('marts.{table}', false, false, '')))::text"],
        "function": ["select (r).dossier_key from "
            f"(select jsonb_populate_record(null::marts.{table}, to_jsonb(d)) r "
            f"from marts.{table} d) x"],
        "read committed lock": [f"select dossier_key from marts.{table} tablesample system (100)"],
        "ctid": [f"select dossier_key from marts.{table} where ctid > '(0,0)'"],
        "system columns": [f"select dossier_key from marts.{table} "
                           "where tableoid::regclass::text ~ 'fct' and xmin::text <> ''"],
    }  # fmt: skip
    for way, statements in ways.items():
        found = place.said("justice", *statements)
        if way.endswith("xml") and "libxml" in found:
            continue  # this server was built without it
        assert found == "", way
        seen = {r[0] for r in place.rows("justice", *statements)} - {None}
        assert seen == own, way
    for copied in (f"marts.{table} (dossier_key)", f"({query})"):
        with (
            psycopg.connect(place.url("justice")) as connection,
            connection.cursor().copy(f"copy {copied} to stdout") as out,
        ):
            assert {bytes(r).decode().strip() for r in out if r} == own


def test_no_message_tells_of_a_row_that_is_hidden(place: Place):
    """Casts quote what they cannot read; functions that are not leakproof must not meet a hidden row."""
    attempts = [
        "select * from marts.fct_dossier where dossier_code::int = 1",
        "select * from marts.fct_dossier where dossier_code::xid = '1'::xid",
        "select count(*) filter (where dossier_code::int > 0) from marts.fct_dossier",
        "select * from marts.fct_dossier where ('x' || dossier_key)::date < now()",
        "select * from marts.fct_dossier where dossier_id::uuid is not null and dossier_code::numeric > 0",
        "select * from marts.fct_dossier order by dossier_code::int limit 1",
        "select * from marts.fct_dossier d join marts.dim_agency a on d.dossier_code::int = 1",
        *(f"select * from marts.{t} where dossier_key::int > 0" for t in (*DOSSIERS[1:], *VIEWS)),
        "select * from marts.fct_dossier_wrong_data w join marts.fct_handover h on w.dossier_key::int > 0",
        "select * from marts.fct_citizen_check where applicant_pseudonym::int > 0",
        "select max(('{' || dossier_code)::json::text) from marts.fct_dossier",
    ]
    own = {
        v
        for r in place.rows("justice", "select dossier_code, dossier_key, dossier_id from fct_dossier")
        for v in r
    }
    own |= {r[0] for r in place.rows("justice", "select applicant_pseudonym from fct_citizen_check")}
    hidden = {
        v
        for r in place.rows("owner", "select dossier_code, dossier_key, dossier_id from marts.fct_dossier")
        for v in r
    } | {r[0] for r in place.rows("owner", "select applicant_pseudonym from marts.fct_citizen_check")}
    hidden -= own
    assert len(hidden) > len(own)
    for statement in attempts:
        told = place.said("justice", statement)
        assert "invalid input syntax" in told or "out of range" in told, (
            f"it is tried on rows of his own: {statement}: {told}"
        )
        assert not [v for v in hidden if v in told], statement
        assert place.said("nobody", statement) == "", f"where he has none, no row is met: {statement}"
    # Were the condition tried on another's row, it would divide by nought.
    for table in FACTS:
        probe = (
            f"select count(*) from marts.{table} "
            "where 1 / (case when responsible_agency_code = '{}' then 0 else 1 end) = 1"
        )
        assert place.said("justice", probe.format(TRADE)) == ""
        assert "division by zero" in place.said("justice", probe.format(JUSTICE))
        for statement in (probe, "prepare p as " + probe):
            asked = [statement.format(TRADE), *(["execute p"] if statement.startswith("prepare") else [])]
            assert (
                place.said(
                    "justice", "set enable_seqscan = off", "set plan_cache_mode = force_generic_plan", *asked
                )
                == ""
            )


def test_statistics_tell_an_agency_nothing(place: Place):
    with psycopg.connect(place.url("dbt"), autocommit=True) as connection:
        connection.execute(
            "create statistics marts.together (mcv) on responsible_agency_code, sector_code from marts.fct_dossier"
        )
        for table in FACTS:
            connection.execute(f"analyze marts.{table}")  # type: ignore[call-overload]
    try:
        for view in ("pg_stats", "pg_stats_ext"):
            query = f"select count(*) from {view} where schemaname = 'marts' and tablename in {FACTS}"
            assert place.rows("dbt", query) != [(0,)]
            assert place.rows("justice", query) == [(0,)]
            assert place.rows("province", query) == [(0,)]
        assert place.rows(
            "justice",
            "select count(*) from pg_stats where schemaname not in ('pg_catalog', 'information_schema', 'marts')",
        ) == [(0,)]
    finally:
        place.admin("drop statistics marts.together")


def test_others_queries_are_not_seen(place: Place):
    with psycopg.connect(place.url("trade")) as other:
        other.execute("select 'of trade alone' from marts.fct_dossier limit 1")
        seen = place.rows(
            "justice", f"select query from pg_stat_activity where usename = '{place.login('trade')}'"
        )
    assert seen
    assert "of trade alone" not in str(seen)


# --- persons ----------------------------------------------------------------------------------------------


def test_a_person_enters_by_name_with_limits_and_inherits(place: Place):
    rows = place.rows(
        "justice", "select current_user, current_setting('statement_timeout'), current_setting('lock_timeout'), "
        "current_setting('idle_in_transaction_session_timeout'), current_setting('temp_file_limit'), "
        "current_setting('transaction_read_only')"
    )  # fmt: skip
    assert rows == [(place.login("justice"), "4s", "2s", "2s", "2GB", "on")]
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(contextlib.closing(psycopg.connect(place.url("justice"))))
        assert "too many connections" in place.said("justice", "select 1")


def test_a_password_is_kept_as_scram_and_a_new_one_ends_the_old(place: Place):
    old = place.url("looks")
    place.passwords["looks"] = persons.give_password(
        place.settings, read_roles(place.file), place.login("looks")
    )
    assert place.said("looks", "select 1") == ""
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(old).close()
    with pytest.raises(AccessError, match=r"is not in .*roles.yml"):
        persons.give_password(place.settings, read_roles(place.file), "khong.ai")


def test_a_leaver_is_out_at_once(place: Place):
    with psycopg.connect(place.url("trade"), autocommit=True) as open_session:
        open_session.execute("select 1")
        place.write(trade=None)
        done = access.apply(place.settings)
        assert f"{place.login('trade')} is no longer listed: access ended" in done
        with pytest.raises(psycopg.OperationalError):
            open_session.execute("select 1")
    assert "FATAL" in place.said("trade", "select 1")
    assert memberships(place, "trade") == {names_of(place.settings).person}
    assert f"{place.login('trade')}  no longer listed" in access.show(place.settings)


def memberships(place: Place, person: str) -> set[str]:
    return {
        r[0]
        for r in place.rows(
            "owner",
            "select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid "
            "join pg_roles r on r.oid = m.member "
            f"where r.rolname = '{place.login(person)}'",
        )
    }


def test_access_ends_on_its_day_without_anybodys_hand(place: Place):
    """VALID UNTIL keeps out who would enter; the watchdog ends who is in, and takes the memberships."""
    with psycopg.connect(place.url("justice"), autocommit=True) as open_session:
        place.admin(f"""alter role "{place.login("justice")}" valid until '{dt.datetime.now(VIETNAM)}'""")
        ended = persons.watch(place.settings)
        assert (place.login("justice"), "access is over") in ended
        with pytest.raises(psycopg.OperationalError):
            open_session.execute("select 1")
    assert "password authentication failed" in place.said("justice", "select 1")
    assert memberships(place, "justice") == {names_of(place.settings).person}
    place.write(justice={"role": "agency", "agencies": [JUSTICE], "until": TODAY - dt.timedelta(1)})
    assert any("access ended on" in line for line in access.apply(place.settings))
    assert any(
        "access over" in line for line in access.show(place.settings) if place.login("justice") in line
    )


def test_a_person_who_changes_office_sees_the_new_one_alone(place: Place):
    place.write(both={"role": "agency", "agencies": [JUSTICE]})
    access.apply(place.settings)
    assert place.rows("both", "select distinct responsible_agency_code from fct_dossier") == [(JUSTICE,)]


def test_a_membership_given_by_hand_is_taken_back(place: Place):
    dbt = urlsplit(place.settings.login_url("dbt")).username
    place.admin(f'grant "{dbt}" to "{place.login("trade")}"')
    assert f"{place.login('trade')} left {dbt}" in access.apply(place.settings)
    assert memberships(place, "trade") == {
        names_of(place.settings).person,
        names_of(place.settings).agency(TRADE),
    }


def test_a_login_of_the_house_cannot_be_listed_as_a_person(place: Place):
    place.admin(f'create role "may.{place.suffix}" login')
    place.write(may={"role": "analyst"})
    with pytest.raises(AccessError, match="is no person's of this warehouse"):
        access.apply(place.settings)
    place.admin(f'drop role "may.{place.suffix}"')


# --- the watchdog -----------------------------------------------------------------------------------------


def until_ended(place: Place, seconds: float) -> tuple[str, str]:
    """What the watchdog ends first, looking every half second."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ended := persons.watch(place.settings):
            return ended[0]
        time.sleep(0.5)
    raise AssertionError("nothing was ended")


def test_a_query_ends_though_its_reader_lifted_his_own_limit(place: Place):
    told: list[str] = []

    def hog() -> None:
        told.append(
            place.said(
                "justice",
                "set statement_timeout = 0",
                "select 1",
                # In the list of columns the rows are not stored first: no limit but time ends it.
                "select count(*) from (select generate_series(1, 100000000000)) as s",
            )
        )

    query = threading.Thread(target=hog)
    query.start()
    assert until_ended(place, 20) == (place.login("justice"), "query took too long")
    query.join(10)
    assert "terminat" in told[0]


def test_who_is_idle_in_a_transaction_is_ended_though_he_lifted_his_own_limit(place: Place):
    with contextlib.closing(psycopg.connect(place.url("trade"))) as idle:
        idle.execute("set idle_in_transaction_session_timeout = 0")
        idle.execute("select count(*) from marts.fct_dossier")
        assert until_ended(place, 10) == (place.login("trade"), "idle in a transaction")


def test_the_house_and_other_work_are_left_alone(place: Place):
    with contextlib.ExitStack() as stack:
        for login in ("dbt", "loader", "publisher", "national", "analyst", "owner"):
            connection = stack.enter_context(contextlib.closing(psycopg.connect(place.url(login))))
            connection.execute("select 1")
        polite = stack.enter_context(
            contextlib.closing(psycopg.connect(place.url("reader"), autocommit=True))
        )
        time.sleep(5)
        assert persons.watch(place.settings) == []
        polite.execute("select 1")


def test_a_reader_holds_up_a_build_only_until_the_watchdog_sees_him(place: Place):
    """dbt puts a table in another's place under an exclusive lock, which waits for every open reader."""
    with contextlib.closing(psycopg.connect(place.url("province"))) as reader:
        reader.execute("set idle_in_transaction_session_timeout = 0")
        reader.execute("select count(*) from marts.fct_citizen_check")
        with psycopg.connect(place.url("dbt")) as connection:
            connection.execute("set lock_timeout = '300ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                connection.execute("alter table marts.fct_citizen_check rename to away")
            connection.rollback()
        began = time.monotonic()
        swap = threading.Thread(target=place.remake, args=("fct_citizen_check",))
        swap.start()
        ended: list[tuple[str, str]] = []
        while swap.is_alive() and time.monotonic() - began < 30:
            ended += persons.watch(place.settings)
            with contextlib.suppress(psycopg.OperationalError):
                reader.execute("select 1")  # not idle, so that only the wait of the build tells against him
            time.sleep(0.2)
        swap.join(1)
        assert time.monotonic() - began < 6
        assert ended == [(place.login("province"), "kept a step of the warehouse waiting")]
    tasks._protect(place.settings)
    assert place.rows("province", "select count(*) from fct_citizen_check") == [
        (everything(place, "fct_citizen_check"),)
    ]


def test_who_waits_behind_the_build_is_not_ended_for_it(place: Place):
    """Only who holds what a step waits for is: here an owner's session, which the watchdog leaves alone."""
    with (
        psycopg.connect(place.url("dbt")) as holds,
        contextlib.closing(psycopg.connect(place.url("trade"))) as waits,
    ):
        holds.execute("lock table marts.dim_date in access exclusive mode")
        waits.execute("set lock_timeout = '4s'")
        told: list[str] = []

        def wait() -> None:
            try:
                waits.execute("select count(*) from marts.dim_date")
            except psycopg.Error as e:
                told.append(type(e).__name__)

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(2.5)
        assert persons.watch(place.settings) == []
        waiting.join(10)
        assert told in (["LockNotAvailable"], ["QueryCanceled"])


def test_while_dbt_runs_rights_come_back_before_its_end(place: Place):
    with persons.watching(place.settings, lambda: access.protect(place.settings, tries=1)):
        place.remake("fct_dossier")
        assert "permission denied" in place.said("justice", "select from marts.fct_dossier")
        deadline = time.monotonic() + 4 * persons.WATCH_SECONDS
        while place.said("justice", "select from marts.fct_dossier"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert place.rows("justice", "select count(*) from fct_dossier") == [
            (of(place, "fct_dossier", JUSTICE),)
        ]


# --- the list -----------------------------------------------------------------------------------------------


def test_the_list_of_the_repository_is_right():
    found = read_roles(PROJECT / "ops" / "roles.yml")
    assert {p.role for p in found.persons.values()} == {"agency", "analyst", "ioc", "auditor"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b["persons"].update({"khochung_dbt": {}}), "a login is small letters"),
        (lambda b: b["persons"]["nguyen.van.mau"].update(until="mai"), "until is the last day"),
        (lambda b: b["persons"]["nguyen.van.mau"].pop("until"), "until is the last day"),
        (lambda b: b["persons"]["nguyen.van.mau"].pop("decision"), "who allowed it"),
        (lambda b: b["persons"]["nguyen.van.mau"].update(agencies=[]), "agencies are codes"),
        (lambda b: b["persons"]["nguyen.van.mau"].update(agencies=["H20'; drop"]), "agencies are codes"),
        (lambda b: b["persons"]["tran.thi.mau"].update(agencies=["H20"]), "of no other"),
        (lambda b: b["persons"]["tran.thi.mau"].update(role="superuser"), "wanted: name, role"),
        (lambda b: b.update(handovers=[]), "dbt/seeds/handover_decision.csv"),
        (lambda b: b["tables"].update({"raw.dossier": {"analyst": "all"}}), "wanted: a table of marts or ioc"),
        (lambda b: b["tables"].update({"marts.fct_dossier": {"ioc": "responsible_agency_code"}}), "ioc: all"),
        (lambda b: b["tables"].update({"marts.fct_dossier": {"agency": "true) or (true"}}), "the column"),
        (lambda b: b["limits"].update(statement=0), "above 0"),
        (lambda b: b.update(more=1), "nothing else"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused_and_the_entry_named(tmp_path: Path, change: Any, said: str):
    body = yaml.safe_load((PROJECT / "ops" / "roles.yml").read_text())
    change(body)
    (tmp_path / "roles.yml").write_text(yaml.safe_dump(body))
    with pytest.raises(AccessError, match=re.escape(said)):
        read_roles(tmp_path / "roles.yml")


def test_a_build_gives_the_rights_by_the_login_of_its_step():
    assert logins.OF_STEP["build"] == {"loader", "dbt", "national"}, "the last makes its empty tables"


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_heavy_queries_and_idle_transactions_do_not_stop_the_nightly_load(place: Place, tien_giang: Sandbox):
    """Two readers who lifted their own limits hold what the build replaces, and come again when they are ended."""
    before, held = place.state(), everything(place, "fct_dossier")
    over = threading.Event()
    heavy: list[str] = []
    idle: list[str] = []

    def ask() -> None:
        while not over.wait(0.2):
            heavy.append(
                place.said(
                    "justice",
                    "set statement_timeout = 0",
                    "select count(*) from (select generate_series(1, 100000000000) from marts.dim_agency) as s",
                )
            )

    def sit() -> None:
        while not over.wait(0.2):
            try:
                with psycopg.connect(place.url("trade")) as connection:
                    connection.execute("set idle_in_transaction_session_timeout = 0")
                    connection.execute("select count(*) from marts.dim_procedure")
                    over.wait(6)
                    connection.execute("select 1")
            except psycopg.Error as e:
                idle.append(str(e))

    readers = [threading.Thread(target=ask), threading.Thread(target=sit)]
    for reader in readers:
        reader.start()
    try:
        later = Interval(MORNING.end, MORNING.end + dt.timedelta(minutes=5))
        folder = tasks.pull(
            place.settings, "igate_tien_giang", later, tasks.Address(tien_giang.base_url, CLIENT_ID, CLIENT_SECRET)
        )  # fmt: skip
        tasks.stage(place.settings, "igate_tien_giang", folder)
        assert tasks.load(place.settings, "igate_tien_giang", folder)["written"]
        ended = len([*heavy, *idle])
        tasks.build(place.settings)
        ended = len([*heavy, *idle]) - ended
    finally:
        over.set()
        for _ in range(60):  # who asks now is ended, too
            if not any(reader.is_alive() for reader in readers):
                break
            persons.watch(place.settings)
            time.sleep(0.5)
    assert ended > 0, "the build met them"
    assert any("terminat" in told for told in heavy)
    assert any("terminat" in told for told in idle)
    assert everything(place, "fct_dossier") > held
    assert place.state() == before
    assert place.rows("trade", "select count(*) from fct_dossier") == [(of(place, "fct_dossier", TRADE),)]
