"""Settings, periods, the list of sources: what is read, what is refused, and in which words."""

from __future__ import annotations

import calendar
import datetime as dt
import fnmatch
import logging
import re
import socket
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ops.__main__ import _clean
from ops.run import Redacted
from ops.services import default_connections, sandbox_ports
from ops.settings import KNOWN, PROJECT, VIETNAM, Settings, SettingsError, parse_period
from ops.sources import check_sources, read_sources


def settings(home: Path, **given: str) -> Settings:
    return Settings({"KHOCHUNG_HOME": str(home), **given}, dotenv=home / "no.env")


# --- periods ----------------------------------------------------------------------------------------


@given(st.integers(2, 9998), st.integers(1, 12))
def test_a_month_is_all_its_days_also_in_leap_years(year, month):
    period = parse_period(f"{year:04d}-{month:02d}")
    assert (period.last - period.first).days + 1 == calendar.monthrange(year, month)[1]
    assert (period.first.year, period.first.month, period.first.day) == (year, month, 1)
    assert (period.last.year, period.last.month) == (year, month)


@given(st.integers(2, 9998))
def test_a_year_is_its_twelve_months(year):
    period = parse_period(f"{year:04d}")
    assert period.first == parse_period(f"{year:04d}-01").first
    assert period.last == parse_period(f"{year:04d}-12").last
    assert (period.last - period.first).days + 1 == (366 if calendar.isleap(year) else 365)


@given(st.dates(dt.date(2, 1, 1), dt.date(9990, 1, 1)), st.integers(0, 900))
def test_two_days_are_both_included_and_read_back_as_written(first, days):
    last = first + dt.timedelta(days=days)
    period = parse_period(f"{first}/{last}")
    assert (period.first, period.last) == (first, last)
    assert parse_period(str(period)) == period
    assert parse_period(f"{first}") == parse_period(f"{first}/{first}")


def test_a_period_is_half_open_midnights_in_vietnam():
    period = parse_period("2024-02")
    assert period.start == dt.datetime(2024, 1, 31, 17, tzinfo=dt.UTC)
    assert period.end == dt.datetime(2024, 2, 29, 17, tzinfo=dt.UTC)
    assert period.start.tzinfo is VIETNAM


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2025-07-15/2025-06-16", "it ends before it starts"),
        ("2023-02-29", "day is out of range"),
        ("2024-13", "month must be in 1..12"),
        ("0000", "year 0 is out of range"),
        ("tháng 6", "none of these forms"),
        ("2024-6", "none of these forms"),
        ("2024-06-01/2024-07", "none of these forms"),
        (" 2024", "none of these forms"),
        ("2024\n", "none of these forms"),
        ("9999", "out of range"),
        ("", "none of these forms"),
    ],
)
def test_what_is_no_period_is_refused_with_the_forms_there_are(text, why):
    with pytest.raises(SettingsError) as refused:
        parse_period(text)
    assert why in str(refused.value)
    assert repr(text) in str(refused.value)
    assert "2025-06-16/2025-07-15" in str(refused.value)


# --- .env -------------------------------------------------------------------------------------------


def test_the_environment_goes_before_dotenv_and_dotenv_before_the_default(tmp_path):
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "# a comment\n\n PERIOD = '2024' \nKHOCHUNG_SITE_PORT=8123\nAIRFLOW_CONN_X=http://a:b=c@h/p?q=1\n"
    )
    found = Settings({"KHOCHUNG_SITE_PORT": "8124", "KHOCHUNG_HOME": str(tmp_path)}, dotenv)
    assert str(found.period) == "2024-01-01/2024-12-31"
    assert found.site_port == 8124
    assert found.given["AIRFLOW_CONN_X"] == "http://a:b=c@h/p?q=1"
    assert found.get("KHOCHUNG_SANDBOX") == "1"
    empty = Settings({"PERIOD": ""}, tmp_path / "none")
    assert str(empty.period) == KNOWN["PERIOD"][0], "an empty setting is one not given"


@pytest.mark.parametrize("line", ["PERIOD", "export PERIOD=2024", "1X=2", "period=2024"])
def test_a_line_that_is_no_setting_is_named(tmp_path, line):
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"# one\n{line}\n")
    with pytest.raises(SettingsError, match=re.escape(f"{dotenv} line 2 is not NAME=value")):
        Settings({}, dotenv)


def test_the_example_lists_exactly_the_known_settings_with_their_defaults():
    lines = (PROJECT / ".env.example").read_text().splitlines()
    listed = dict(
        m.groups()
        for line in lines
        if (m := re.fullmatch(r"#([A-Z][A-Z0-9_]*)=(.*)", line))  # type: ignore[misc]
    )
    connections = {n for n in listed if n.startswith("AIRFLOW_CONN_")}
    assert {n: v for n, v in listed.items() if n not in connections} == {n: d for n, (d, _) in KNOWN.items()}
    sources = read_sources(PROJECT / "ops" / "sources.yml").values()
    assert connections == {f"AIRFLOW_CONN_{s.connection.upper()}" for s in sources}
    # Uncommented as a whole it is still readable.
    assert not [line for line in lines if line and not line.startswith("#")], "an example changes nothing"


def test_the_example_can_be_uncommented(tmp_path):
    text = re.sub(r"(?m)^#([A-Z][A-Z0-9_]*=)", r"\1", (PROJECT / ".env.example").read_text())
    dotenv = tmp_path / ".env"
    dotenv.write_text(text)
    found = Settings({"KHOCHUNG_HOME": str(tmp_path)}, dotenv)
    assert found.embedded
    assert found.sandbox
    assert "client-secret" in found.secrets_in_use()


@pytest.mark.parametrize("value", ["yes", "true", "2"])
def test_the_sandbox_is_on_or_off(tmp_path, value):
    with pytest.raises(SettingsError, match=r"KHOCHUNG_SANDBOX=.*expected 0 or 1"):
        _ = settings(tmp_path, KHOCHUNG_SANDBOX=value).sandbox


# --- databases and secrets --------------------------------------------------------------------------


def test_one_url_moves_all_three_databases(tmp_path):
    found = settings(tmp_path, WAREHOUSE_URL="postgres://me:a%40b@db.example:6432/kho")
    assert not found.embedded
    assert found.warehouse_url == "postgresql://me:a%40b@db.example:6432/kho"
    assert found.vault_database_url.endswith("@db.example:6432/kho_vault")
    assert found.airflow_database_url.endswith("@db.example:6432/kho_airflow")
    assert found.dbt_env()["KHOCHUNG_PG_PASSWORD"] == "a@b"
    apart = settings(tmp_path, WAREHOUSE_URL="postgresql://h/kho", VAULT_DATABASE_URL="postgresql://v/kv")
    assert apart.vault_database_url == "postgresql://v/kv"


@pytest.mark.parametrize(
    "url", ["mysql://h/d", "postgresql://h", "postgresql:///d", "kho", "postgresql://h/"]
)
def test_a_warehouse_url_of_another_form_is_refused(tmp_path, url):
    with pytest.raises(SettingsError, match=r"WAREHOUSE_URL is not postgresql://.*no\.env"):
        _ = settings(tmp_path, WAREHOUSE_URL=url).warehouse_url


def test_a_secret_is_made_once_for_the_owner_alone(tmp_path):
    first = settings(tmp_path).secret("warehouse")
    assert settings(tmp_path).secret("warehouse") == first
    assert len(first) >= 40
    path = tmp_path / "secrets" / "warehouse"
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    assert settings(tmp_path).secret("vault") != first


def test_every_secret_is_known_to_the_masking(tmp_path):
    found = settings(
        tmp_path,
        WAREHOUSE_URL="postgresql://me:url-password@h/d",
        VAULT_DATABASE_URL="postgresql://me:enc%40ded-pass@h/d",
        AIRFLOW_CONN_X="https://id:conn-password@h",
        AIRFLOW_CONN_Y='{"conn_type": "http", "host": "h", "password": "json-password"}',
        SANDBOX_CLIENT_SECRET="given-secret",
        SOME_TOKEN="given-token",
    )
    made = found.secret("vault-api")
    masked = found.secrets_in_use()
    for secret in ("url-password", "enc%40ded-pass", "enc@ded-pass", "conn-password", "json-password",
                   "given-secret", "given-token", made):  # fmt: skip
        assert secret in masked, secret
    assert masked == sorted(masked, key=len, reverse=True), "longest first, or a part of one would stay"
    assert not [s for s in masked if len(s) < 8], "short ones would tear holes into every line"


def test_secrets_are_cleaned_from_log_records():
    redact = Redacted(["url-password", "pass"])
    record = logging.LogRecord("x", logging.INFO, "f", 1, "to %s as %s", ("h:url-password@", "me"), None)
    assert redact.filter(record)
    assert record.getMessage() == "to h:***@ as me"
    clean = logging.LogRecord("x", logging.INFO, "f", 1, "%d rows", (7,), None)
    assert redact.filter(clean)
    assert (clean.getMessage(), clean.args) == ("7 rows", (7,))


def test_secrets_are_cleaned_from_tracebacks_too():
    redact = Redacted(["url-password"])
    try:
        raise ValueError("cannot enter url-password@h")
    except ValueError:
        import sys

        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    assert redact.filter(record)
    assert "url-password" not in logging.Formatter().format(record)
    assert "ValueError" in logging.Formatter().format(record)


def test_the_vaults_token_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"looked for the vault's token at .*vault-api.*make up"):
        _ = settings(tmp_path).vault_token


def test_a_deep_home_still_has_a_socket_short_enough(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    assert len(str(settings(deep).vault_socket)) <= 100
    assert settings(deep).vault_socket == settings(deep).vault_socket
    assert settings(tmp_path / "a").vault_socket != settings(tmp_path / "b").vault_socket


# --- ports and the sandbox --------------------------------------------------------------------------


def test_a_port_is_the_first_free_one_and_stays(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        chosen = settings(tmp_path).port("KHOCHUNG_SITE_PORT", first)
        assert chosen > first
    assert settings(tmp_path).port("KHOCHUNG_SITE_PORT", first) == chosen, "though the first is free again"
    assert settings(tmp_path).port("KHOCHUNG_AIRFLOW_PORT", chosen) != chosen
    assert settings(tmp_path, KHOCHUNG_SITE_PORT="8123").site_port == 8123


@pytest.mark.parametrize("value", ["http", "80", "65536", "-1", "8080.5"])
def test_what_is_no_port_is_named(tmp_path, value):
    with pytest.raises(SettingsError, match=r"KHOCHUNG_AIRFLOW_PORT=.*expected a port"):
        _ = settings(tmp_path, KHOCHUNG_AIRFLOW_PORT=value).airflow_port


def test_ports_of_several_services_never_overlap(tmp_path):
    found = settings(tmp_path)
    sandbox = found.port("KHOCHUNG_SANDBOX_PORT", 29101, 3)
    assert settings(tmp_path).port("KHOCHUNG_SITE_PORT", sandbox + 1) not in range(sandbox, sandbox + 3)


def test_the_sandbox_stands_in_only_where_no_connection_was_given(tmp_path):
    given = settings(
        tmp_path, KHOCHUNG_SANDBOX_PORT="29301", AIRFLOW_CONN_IGATE_DONG_THAP="https://id:pw@igate.example.vn"
    )
    assert sandbox_ports(given) == {
        "igate_tien_giang": 29301, "igate_dong_thap": 29302, "national_portal": 29303, "population": 29304,
        "opencps_dong_thap": 29305, "national_exchange": 29306}  # fmt: skip
    made = default_connections(given)
    secret = given.secret("sandbox-client")
    assert made == {
        "AIRFLOW_CONN_IGATE_TIEN_GIANG": f"http://kho-chung:{secret}@127.0.0.1:29301",
        "AIRFLOW_CONN_NATIONAL_PORTAL": f"http://kho-chung:{secret}@127.0.0.1:29303/api/v1",
        "AIRFLOW_CONN_POPULATION": f"http://kho-chung:{secret}@127.0.0.1:29304",
        "AIRFLOW_CONN_OPENCPS_DONG_THAP": f"http://kho-chung:{secret}@127.0.0.1:29305",
        "AIRFLOW_CONN_NATIONAL_EXCHANGE": f"http://kho-chung:{secret}@127.0.0.1:29306",
        "AIRFLOW_CONN_POPULATION_COUNTS": (given.home / "drop" / "population_counts").as_uri(),
    }
    assert default_connections(settings(tmp_path, KHOCHUNG_SANDBOX="0")) == {}


def test_the_sandbox_never_stands_in_for_a_source_declared_real(tmp_path):
    listed = yaml.safe_load((PROJECT / "ops" / "sources.yml").read_text())
    listed["sources"]["igate_dong_thap"]["origin"] = listed["sources"]["population_counts"]["origin"] = "real"
    (tmp_path / "sources.yml").write_text(yaml.safe_dump(listed))
    made = default_connections(settings(tmp_path, KHOCHUNG_SOURCES=str(tmp_path / "sources.yml")))
    assert "AIRFLOW_CONN_IGATE_TIEN_GIANG" in made
    assert "AIRFLOW_CONN_NATIONAL_PORTAL" in made, "what it replays is real"
    assert not {"AIRFLOW_CONN_IGATE_DONG_THAP", "AIRFLOW_CONN_POPULATION_COUNTS"} & set(made)


def test_the_owner_of_a_server_is_no_business_of_tasks(tmp_path):
    given = settings(tmp_path, POSTGRES_ADMIN_URL="postgresql://postgres:owner-secret@127.0.0.1/postgres")
    assert "owner-secret" not in str(given.child_env())


# --- sources ----------------------------------------------------------------------------------------

GOOD = """sources:
  s:
    title: S
    connector: connectors.igate:IGate
    kind: dossiers
    connection: s
    origin: simulated
    active_from: 2025-07-01
    schedule: "15 1 * * *"
"""


def sources(tmp_path: Path, text: str) -> dict:
    path = tmp_path / "sources.yml"
    path.write_text(text)
    return read_sources(path)


def test_the_projects_own_list_of_sources_is_whole():
    found = read_sources(PROJECT / "ops" / "sources.yml")
    assert {"igate_tien_giang", "igate_dong_thap", "national_portal"} <= set(found)
    for entry in found.values():
        assert entry.connector_class().tables
    assert found["national_portal"].origin == "real"
    assert found["igate_dong_thap"].origin == "simulated"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("    origin: simulated\n", ""), ["s lacks origin"]),
        (("origin: simulated", "origin: fake"), ["s: origin 'fake' is not real or simulated"]),
        (("    kind:", "    colour: red\n    kind:"), ["s has the unknown setting colour"]),
        (("    title: S\n    connector: connectors.igate:IGate\n", ""), ["s lacks title, connector"]),
        (("sources:", "quellen:"), ["holds no `sources:`"]),
        (("sources:", "sources: {"), ["is not readable YAML"]),
        (("2025-07-01", "hôm qua"), ["s: active_from"]),
        (("kind: dossiers", "kind: dossiers\n    active_until: 2025-06-30"), ["s: active_until"]),
    ],
)
def test_a_wrong_entry_is_named_with_its_file(tmp_path, change, words):
    assert change[0] in GOOD
    with pytest.raises(SettingsError) as refused:
        sources(tmp_path, GOOD.replace(*change))
    for word in [*words, str(tmp_path / "sources.yml")]:
        assert word in str(refused.value)


def test_an_entry_that_is_no_mapping_is_named(tmp_path):
    with pytest.raises(SettingsError, match="s is no list of settings"):
        sources(tmp_path, "sources:\n  s: connectors.igate\n")


def test_every_wrong_entry_is_told_at_once(tmp_path):
    text = GOOD.replace("origin: simulated", "origin: fake") + GOOD.removeprefix("sources:\n").replace(
        "  s:", "  t:"
    ).replace("    kind: dossiers\n", "")
    with pytest.raises(SettingsError, match=r"s: origin 'fake'.*; t lacks kind"):
        sources(tmp_path, text)


def test_a_list_of_sources_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"looked for the list of sources at .*KHOCHUNG_SOURCES"):
        read_sources(tmp_path / "none.yml")


@pytest.mark.parametrize(
    "connector", ["connectors.nowhere:IGate", "connectors.igate:Nobody", "connectors.igate", "json:dumps"]
)
def test_a_connector_that_is_not_there_is_named(tmp_path, connector):
    entry = sources(tmp_path, GOOD.replace("connectors.igate:IGate", connector))["s"]
    with pytest.raises(SettingsError, match=f"source s: .*{connector}"):
        entry.connector_class()


def test_what_a_source_would_only_fail_by_later_is_told_before_anything_starts(tmp_path):
    entry = {
        "title": "t", "kind": "dossiers", "connection": "c", "origin": "simulated", "active_from": dt.date(2025, 1, 1),
        "connector": "connectors.igate:IGate", "schedule": "0 0 * * *",
    }  # fmt: skip
    path = tmp_path / "sources.yml"
    wrong = {
        "no_module": {**entry, "connector": "connectors.opencsp:OpenCPS"},
        "no_cron": {**entry, "schedule": "every day"},
        "no_option": {**entry, "options": {"concurency": 4, "spec": "slice", "deletions": {}}},
        "no_policy": {**entry, "options": {"deletions": {"shares": 0.5}}},
    }
    path.write_text(yaml.safe_dump({"sources": {"right": entry, **wrong}}, allow_unicode=True))
    with pytest.raises(SettingsError) as caught:
        check_sources(path)
    said = str(caught.value)
    assert str(path) in said
    assert "source no_module: looked for connector connectors.opencsp:OpenCPS" in said
    assert "source no_cron: schedule 'every day' is no cron" in said
    assert "source no_policy: deletions: {'shares': 0.5} in its options; it may hold days, share" in said
    assert "source no_option: unknown word concurency in its options; connectors.igate:IGate knows" in said
    assert "source right" not in said
    check_sources(PROJECT / "ops" / "sources.yml")


def test_an_interval_is_clipped_to_when_the_source_held_data(tmp_path):
    from connectors.base import Interval

    text = GOOD.replace("kind:", "active_until: 2025-07-10\n    kind:")
    entry = sources(tmp_path, text)["s"]

    def clip(first: str, last: str) -> str | None:
        asked = parse_period(f"{first}/{last}")
        found = entry.clip(Interval(asked.start, asked.end))
        return found and f"{found.start:%m-%d}/{found.end:%m-%d}"

    assert clip("2025-06-01", "2025-08-01") == "07-01/07-10"
    assert clip("2025-07-03", "2025-07-04") == "07-03/07-05"
    assert clip("2025-06-01", "2025-06-30") is None
    assert clip("2025-07-10", "2025-07-11") is None


def test_clean_takes_away_all_state_and_nothing_else(tmp_path):
    """What it removes is what commands and services of this project make in a home."""
    home = tmp_path / "var"
    code = "".join(p.read_text() for p in (PROJECT / "ops").glob("*.py"))
    # The officials' agreements are put there by people, and stay.
    made = set(re.findall(r'\.home / "([^"]+)"', code)) - {"vault.sock", "supervisor.sock", "agreements"}
    assert {"landing", "docs", "postgres", "run-summary.json"} <= made
    for name in made:
        (home / name).mkdir(parents=True)
        (home / name / "held").write_text("")
    (home / "mine.txt").write_text("")
    _clean(settings(home))
    assert [p.name for p in home.iterdir()] == ["mine.txt"]
    (home / "mine.txt").unlink()
    _clean(settings(home))
    assert not home.exists()


def test_the_source_of_every_data_file_is_told():
    for folder, files in (("dbt/seeds", "*.csv"), ("sandbox/data", "**/*.*")):
        told = (PROJECT / folder / "README.md").read_text(encoding="utf-8")
        patterns = [w.strip("`") for w in re.findall(r"`[^`]+`", told)]
        for path in (PROJECT / folder).glob(files):
            name = str(path.relative_to(PROJECT / folder))
            assert name == "README.md" or any(
                fnmatch.fnmatch(name, p) or fnmatch.fnmatch(path.stem, p) for p in patterns
            ), path
