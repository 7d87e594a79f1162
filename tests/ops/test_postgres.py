"""The embedded server: passwords asked for, Vietnamese letters known, made as root and as a plain user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from ops import postgres
from ops.settings import PROJECT, Settings, SettingsError
from tests.conftest import free_port


def with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{password}@{parts.hostname}:{parts.port}"))


def test_without_the_right_password_nobody_enters(server, monkeypatch):
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    for wrong in ("wrong", ""):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(with_password(server.admin, wrong)).close()
    rules = (postgres.data_folder(server.settings) / "pg_hba.conf").read_text().splitlines()
    methods = {line.split()[-1] for line in rules if line.strip() and not line.startswith("#")}
    assert methods == {"scram-sha-256"}
    with psycopg.connect(server.admin) as connection:
        stored = connection.execute("select rolpassword from pg_authid where rolname = 'postgres'").fetchone()
    assert stored is not None
    assert stored[0].startswith("SCRAM-SHA-256$")


def test_it_listens_on_loopback_alone(server):
    with psycopg.connect(server.admin) as connection:
        listening = connection.execute("select current_setting('listen_addresses')").fetchone()
        sockets = connection.execute("select current_setting('unix_socket_directories')").fetchone()
    assert (listening, sockets) == (("127.0.0.1",), ("",))


def test_it_knows_vietnamese_letters_and_time(server, database):
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "select lower('Đ'), upper('ằ'), lower('ĐỒNG THÁP'), current_setting('timezone'), "
            "getdatabaseencoding()"
        ).fetchone()
    assert row == ("đ", "Ằ", "đồng tháp", "Asia/Ho_Chi_Minh", "UTF8")


def test_its_log_repeats_no_statement(server, database):
    marker = "giá-trị-không-được-ghi"
    with psycopg.connect(database) as connection, pytest.raises(psycopg.Error):
        connection.execute(f"select '{marker}'::text, 1/0")
    with psycopg.connect(database) as connection, pytest.raises(psycopg.Error):
        connection.execute("select %s::text, 1/%s", (marker, 0))
    log = (server.settings.home / "postgres.log").read_text()
    assert "division by zero" in log
    assert marker not in log


def test_a_server_that_does_not_know_vietnamese_letters_is_refused(server, tmp_path):
    name = f"no_letters_{os.getpid()}"
    with psycopg.connect(server.admin, autocommit=True) as connection:
        connection.execute(
            f"create database {name} template template0 locale_provider libc locale 'C' encoding 'UTF8'"
        )
    url = urlunsplit(urlsplit(server.admin)._replace(path=f"/{name}"))
    given = Settings({"KHOCHUNG_HOME": str(tmp_path), "WAREHOUSE_URL": url}, dotenv=tmp_path / "no.env")
    with pytest.raises(SettingsError, match=r"does not know Vietnamese letters .*locale 'C.UTF-8'"):
        postgres.prepare(given)


def test_a_given_server_gets_the_two_other_databases(server, database, tmp_path):
    given = Settings({"KHOCHUNG_HOME": str(tmp_path), "WAREHOUSE_URL": database}, dotenv=tmp_path / "no.env")
    postgres.prepare(given)
    postgres.prepare(given)
    for url in (given.vault_database_url, given.airflow_database_url):
        psycopg.connect(url).close()


def test_a_server_that_cannot_be_entered_is_named_without_the_password(tmp_path):
    port = free_port()
    url = f"postgresql://me:sesame-open@127.0.0.1:{port}/kho"
    given = Settings({"KHOCHUNG_HOME": str(tmp_path), "WAREHOUSE_URL": url}, dotenv=tmp_path / "no.env")
    with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port}/kho \(WAREHOUSE_URL\)") as refused:
        postgres.prepare(given)
    assert "sesame" not in str(refused.value)
    assert not postgres.ready(url)


def test_a_database_of_another_login_is_not_made_by_the_wrong_one(server, database, tmp_path):
    parts = urlsplit(database)
    vault = urlunsplit(
        parts._replace(netloc=f"keeper:x@{parts.hostname}:{parts.port}", path="/of_the_keeper")
    )
    given = Settings(
        {"KHOCHUNG_HOME": str(tmp_path), "WAREHOUSE_URL": database, "VAULT_DATABASE_URL": vault},
        dotenv=tmp_path / "no.env",
    )
    with pytest.raises(SettingsError, match=r"database of_the_keeper of the login keeper .*ops prepare"):
        postgres.prepare(given)


def test_a_user_who_may_not_create_databases_is_told_what_to_do(server, database, tmp_path):
    role = f"plain_{os.getpid()}"
    with psycopg.connect(server.admin, autocommit=True) as connection:
        connection.execute(f"create role {role} login password 'plain-password'")
    parts = urlsplit(database)
    url = urlunsplit(parts._replace(netloc=f"{role}:plain-password@{parts.hostname}:{parts.port}"))
    given = Settings({"KHOCHUNG_HOME": str(tmp_path), "WAREHOUSE_URL": url}, dotenv=tmp_path / "no.env")
    with pytest.raises(SettingsError, match=r"may not create databases .*grant CREATEDB"):
        postgres.prepare(given)


def test_the_cluster_is_made_once(server):
    folder = postgres.data_folder(server.settings)
    before = (folder / "PG_VERSION").stat().st_mtime_ns
    postgres.create_cluster(server.settings)
    assert (folder / "PG_VERSION").stat().st_mtime_ns == before
    assert folder.stat().st_mode & 0o077 == 0
    assert not list(server.settings.home.glob(".p*")), "the password's file or half a cluster stayed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_plain_user_makes_and_serves_a_cluster_too(tmp_path):
    """The same code without root: no setpriv, no change of owner."""
    user = pwd.getpwnam("nobody")
    home = Path(tempfile.mkdtemp(prefix="kcu-", dir="/tmp"))
    os.chown(home, user.pw_uid, user.pw_gid)
    code = (
        "import os, subprocess, sys, psycopg\nfrom ops import postgres\nfrom ops.settings import Settings\n"
        "from tests.conftest import wait_for, stop\n"
        "s = Settings(dict(os.environ)); assert os.geteuid() != 0\n"
        "postgres.create_cluster(s); assert postgres.serve(s)[0].endswith('postgres')\n"
        "p = subprocess.Popen(postgres.serve(s), stderr=subprocess.DEVNULL)\n"
        "wait_for(lambda: postgres.ready(postgres.admin_url(s))); postgres.prepare(s)\n"
        "print(psycopg.connect(s.warehouse_url).execute(\"select lower('Đ')\").fetchone()[0]); stop(p)\n"
    )
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "KHOCHUNG_HOME": str(home), "HOME": str(home),
        "KHOCHUNG_POSTGRES_PORT": str(free_port()), "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    try:
        done = subprocess.run(
            # The right to read is kept, because the project may stand below a home that only root may enter.
            ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
             "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
             sys.executable, "-c", code],
            env=environment, cwd="/", capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.strip() == "đ"
    finally:
        shutil.rmtree(home, ignore_errors=True)
