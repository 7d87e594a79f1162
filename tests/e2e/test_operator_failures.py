"""What an operator meets: a full disk, a read-only one, a wrong clock, an expired certificate, a full database.

Each ends with one message of what was looked for, where, and what to do; nothing half-done is visible; and once it
is mended the same step goes through.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import requests
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connectors.base import ClockWrong, Interval, SourceRefused
from landing.manifest import MANIFEST, LandingError, Manifest
from ops import postgres as embedded
from ops import tasks
from ops.outcomes import read_outcomes
from ops.run import write_summary
from ops.settings import PROJECT, VIETNAM, Settings, parse_period
from ops.trouble import DatabaseTrouble
from tests.conftest import CLIENT_ID, CLIENT_SECRET, Sandbox, Vault, free_port, stop, wait_for

SOURCE = "igate_tien_giang"
MINUTES = Interval(
    dt.datetime(2025, 6, 30, 8, tzinfo=VIETNAM), dt.datetime(2025, 6, 30, 8, 3, tzinfo=VIETNAM)
)
ENTRY = {
    "title": "iGate", "connector": "connectors.igate:IGate", "kind": "dossiers", "connection": SOURCE,
    "origin": "simulated", "active_from": dt.date(2020, 1, 1), "schedule": "0 0 * * *", "options": {"margin_days": 0},
}  # fmt: skip
DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Place:
    """An installation with nothing loaded."""

    settings: Settings
    address: tasks.Address

    def pull(self, address: tasks.Address | None = None) -> str:
        return tasks.pull(self.settings, SOURCE, MINUTES, address or self.address)

    def load(self, folder: str) -> int:
        tasks.stage(self.settings, SOURCE, folder)
        return tasks.load(self.settings, SOURCE, folder)["written"]

    def landed(self) -> list[str]:
        """Whatever stands in the landing folder, whole or begun."""
        home = self.settings.landing / SOURCE
        return sorted(p.name for p in home.iterdir()) if home.exists() else []

    def told(self) -> str:
        """The last failure, as it was recorded."""
        return [o for o in read_outcomes(self.settings.home) if o.status == "failed"][-1].error or ""


def installation(home: Path, warehouse: str, vault: Vault, base_url: str) -> Place:
    home.mkdir(exist_ok=True)
    (home / "sources.yml").write_text(yaml.safe_dump({"sources": {SOURCE: ENTRY}}))
    settings = Settings(
        {
            "PATH": os.environ["PATH"], "KHOCHUNG_HOME": str(home), "WAREHOUSE_URL": warehouse,
            "VAULT_SOCKET": vault.environment["VAULT_SOCKET"], "KHOCHUNG_SOURCES": str(home / "sources.yml"),
            "VAULT_TOKEN_FILE": vault.environment["VAULT_TOKEN_FILE"],
        },
        dotenv=home / "no.env",
    )  # fmt: skip
    return Place(settings, tasks.Address(base_url, CLIENT_ID, CLIENT_SECRET))


@pytest.fixture
def place(tmp_path: Path, database: str, vault: Vault, tien_giang: Sandbox) -> Place:
    return installation(tmp_path / "home", database, vault, tien_giang.base_url)


# --- the landing folder -----------------------------------------------------------------------------


def fill(folder: Path) -> Path:
    """Write into a folder until its disk is full; the file to delete again."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    return filler


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[str], None]]:
    """A small disk under a folder; called with other options, it is mounted anew with them."""
    folder.mkdir()

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if os.geteuid() != 0 or not mount("size=48k"):
        pytest.skip("mounting a small disk needs root")
    try:
        yield lambda options: pytest.fail(options) if not mount(f"remount,{options}") else None
    finally:
        # Lazily: a file just read may be open until the collector comes by.
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def disk(place: Place) -> Iterator[Callable[[str], None]]:
    with small_disk(place.settings.landing) as mounted:
        yield mounted


def test_a_full_disk_of_the_home_is_one_message(tmp_path):
    home = tmp_path / "home"
    with small_disk(home):
        fill(home)
        given = {"KHOCHUNG_HOME": str(home), "PYTHONPATH": str(PROJECT), "PATH": os.environ["PATH"]}
        command = [sys.executable, "-m", "ops", "run", "--period", "2025-06-30"]
        done = subprocess.run(command, env=given, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert f"kho chung: could not write {home}" in done.stderr
    assert "No space left on device. Free space on its disk" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_summary_that_cannot_be_written_hides_no_failure(tmp_path, capsys):
    folder = tmp_path / "full"
    with small_disk(folder):
        fill(folder)
        assert (
            write_summary(Settings({"KHOCHUNG_HOME": str(folder)}), "r", parse_period("2025-06-30"), 1.0)
            is None
        )
    assert f"could not write {folder}/run-summary.json: No space left on device" in capsys.readouterr().out


def test_a_full_disk_is_told_and_the_next_run_lands(place, disk):
    with pytest.raises(LandingError) as failure:
        place.pull()
    assert "No space left on device. Nothing was landed. Free space" in str(failure.value)
    assert str(place.settings.landing) in str(failure.value)
    assert str(failure.value) in place.told()
    assert place.landed() == []
    disk("size=64m")
    assert place.load(place.pull()) > 0
    assert len(place.landed()) == 1


def test_a_read_only_landing_folder_is_told_before_the_source_is_asked(place, disk):
    disk("size=64m,ro")
    with pytest.raises(
        LandingError, match=r"cannot write to the landing folder .*Read-only file system.*rights"
    ):
        place.pull(tasks.Address("http://127.0.0.1:9", "x", "x"))
    disk("rw")
    assert place.landed() == []
    assert place.load(place.pull()) > 0


# --- a clock, a certificate -------------------------------------------------------------------------


class Front(http.server.BaseHTTPRequestHandler):
    """Stands before the sandbox, with a clock of its own."""

    protocol_version = "HTTP/1.1"
    behind: str
    shift = dt.timedelta()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {k: v for k, v in self.headers.items() if k in ("Authorization", "Content-Type")}
        answer = requests.request(
            self.command, self.behind + self.path, data=body, headers=headers, timeout=60
        )
        self.send_response_only(answer.status_code)
        moment = dt.datetime.now(dt.UTC) + self.shift
        self.send_header("Date", f"{moment:%a, %d %b %Y %H:%M:%S GMT}")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = _pass_on  # noqa: N815 - the library's names

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def front(behind: str, shift: dt.timedelta, context: ssl.SSLContext | None = None) -> Iterator[str]:
    handler = type("Shifted", (Front,), {"behind": behind, "shift": shift})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("shift", [DAY, -DAY])
def test_a_clock_wrong_by_a_day_is_told_and_nothing_is_landed(place, shift):
    with front(place.address.base_url, shift) as url, pytest.raises(ClockWrong) as failure:
        place.pull(tasks.Address(url, CLIENT_ID, CLIENT_SECRET))
    here, there = dt.datetime.now(VIETNAM), dt.datetime.now(VIETNAM) + shift
    for word in (SOURCE, f"{here:%d/%m/%Y}", f"{there:%d/%m/%Y}", "Nothing was landed", "timedatectl"):
        assert word in str(failure.value)
    assert str(failure.value) in place.told()
    assert place.landed() == []


def test_a_clock_wrong_by_minutes_is_noted_and_the_batch_lands(place):
    with front(place.address.base_url, dt.timedelta(minutes=10)) as url:
        folder = place.pull(tasks.Address(url, CLIENT_ID, CLIENT_SECRET))
    notes = Manifest.read(Path(folder)).notes
    assert [n for n in notes if n.startswith("clocks: this machine's clock says")]
    assert place.load(folder) > 0


def test_a_batch_from_the_future_is_not_loaded(place):
    folder = Path(place.pull())
    manifest = Manifest.read(folder)
    manifest.pulled_at = (dt.datetime.now(dt.UTC) + DAY).isoformat()
    (folder / MANIFEST).write_text(manifest.to_json())
    with pytest.raises(
        LandingError, match=r"says it was pulled at .* but by the database's clock .*clear the pull"
    ):
        place.load(str(folder))
    with psycopg.connect(place.settings.warehouse_url) as connection:
        assert connection.execute("select count(*) from raw.dossier").fetchone() == (0,)
    assert place.load(place.pull()) > 0


def certificate(folder: Path, ends: dt.datetime, issuer: Any = None) -> tuple[Any, Path]:
    """(key and name, file) of a certificate valid until `ends`; without an issuer it is an authority's own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "site" if issuer else "authority")])
    signer, signer_name = issuer or (key, name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        import ipaddress

        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    path = folder / f"{'site' if issuer else 'authority'}-{ends:%Y}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    return (key, name), path


def trust(place: Place, authority: Path) -> None:
    """Name the province's own authority in the list of sources."""
    entry = {**ENTRY, "options": {**ENTRY.get("options", {}), "ca_file": str(authority)}}
    place.settings.sources_file.write_text(yaml.safe_dump({"sources": {SOURCE: entry}}))


def test_an_expired_certificate_is_told_and_a_renewed_one_heals(place, tmp_path):
    later = dt.datetime.now(dt.UTC) + 365 * DAY
    authority, trusted = certificate(tmp_path, later)

    def pull(ends: dt.datetime) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(tmp_path, ends, authority)[1])
        with front(place.address.base_url, dt.timedelta(), context) as url:
            return place.pull(tasks.Address(url, CLIENT_ID, CLIENT_SECRET))

    with pytest.raises(
        SourceRefused, match=r"could not be verified.*authority of the province's own.*ca_file"
    ):
        pull(later)
    trust(place, tmp_path / "forgotten.pem")
    with pytest.raises(SourceRefused, match=r"looked for .*forgotten\.pem \(ca_file .*found no file"):
        pull(later)
    trust(place, trusted)
    with pytest.raises(SourceRefused) as failure:
        pull(dt.datetime.now(dt.UTC) - DAY)
    for word in (
        SOURCE, "127.0.0.1", "could not be verified: certificate has expired", "clock says",
        f"{dt.datetime.now(VIETNAM):%d/%m/%Y}", "renew the certificate", "Nothing was landed",
    ):  # fmt: skip
        assert word in str(failure.value)
    assert str(failure.value) in place.told()
    assert place.landed() == []
    assert place.load(pull(later)) > 0


# --- the database -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_server() -> Iterator[str]:
    """URL of a real server that takes six connections."""
    home = Path(tempfile.mkdtemp(prefix="kho-chung-few-"))
    home.chmod(0o755)
    settings = Settings(
        {"KHOCHUNG_HOME": str(home), "KHOCHUNG_POSTGRES_PORT": str(free_port()), "PATH": os.environ["PATH"]},
        dotenv=home / "no.env",
    )
    embedded.create_cluster(settings)
    few = "fsync=off max_connections=6 superuser_reserved_connections=0 autovacuum=off max_wal_senders=0"
    words = [w for one in few.split() for w in ("-c", one)]
    with (home / "postgres.log").open("w") as log:
        process = subprocess.Popen(
            [*embedded.serve(settings), *words], cwd="/", stdout=log, stderr=log,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
    try:
        wait_for(lambda: embedded.ready(embedded.admin_url(settings)))
        yield embedded.admin_url(settings)
    finally:
        stop(process)
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def taken(url: str, leaving: int) -> Iterator[None]:
    """All connections of the server in use, but for `leaving`."""
    held = []
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            held.append(psycopg.connect(url))
    try:
        for _ in range(leaving):
            held.pop().close()
        # The server frees the place a moment after its client has gone.
        wait_for(lambda: not leaving or _free(url))
        yield
    finally:
        for connection in held:
            connection.close()
        wait_for(lambda: _free(url))


def _free(url: str) -> bool:
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False


@pytest.mark.parametrize("leaving", [0, 1])
def test_a_database_full_of_connections_is_told_and_heals(tmp_path, small_server, vault, tien_giang, leaving):
    place = installation(tmp_path / "home", small_server, vault, tien_giang.base_url)
    folder = place.pull()
    with taken(small_server, leaving), pytest.raises(DatabaseTrouble) as failure:
        place.load(folder)
    for word in (
        "no free connection left (max_connections)",
        "pg_stat_activity",
        "WAREHOUSE_URL",
        "clear it",
    ):
        assert word in str(failure.value)
    assert "password" not in str(failure.value)
    assert str(failure.value) in place.told()
    with psycopg.connect(small_server) as connection:
        raw = connection.execute("select to_regclass('raw.dossier')").fetchone()
        if raw != (None,):
            assert connection.execute("select count(*) from raw.dossier").fetchone() == (0,)
    assert place.load(folder) > 0
    with psycopg.connect(small_server) as connection:
        connection.execute("drop schema raw, ops, landing_stage cascade")


def test_a_full_disk_of_the_database_is_told_and_heals(tmp_path, server, vault, tien_giang):
    disk = Path(tempfile.mkdtemp(prefix="kho-chung-space-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    with psycopg.connect(server.admin, autocommit=True) as connection:
        try:
            home = connection.execute("show data_directory").fetchone()
            assert home is not None
            owner = Path(home[0]).stat()
            os.chown(disk, owner.st_uid, owner.st_gid)
            connection.execute(f"create tablespace small location '{disk}'")
            connection.execute("create database small template template0 tablespace small")
            place = installation(
                tmp_path / "home", urlunsplit(urlsplit(server.admin)._replace(path="/small")), vault,
                tien_giang.base_url,
            )  # fmt: skip
            folder = place.pull()
            filler = fill(disk)
            with pytest.raises(DatabaseTrouble) as failure:
                place.load(folder)
            assert "the disk of the database is full. Free space there" in str(failure.value)
            assert str(failure.value) in place.told()
            filler.unlink()
            assert place.load(folder) > 0
        finally:
            connection.execute("drop database if exists small with (force)")
            connection.execute("drop tablespace if exists small")
            subprocess.run(["umount", "-l", str(disk)], check=True)
            disk.rmdir()
