"""The processes of one machine under one supervisor (supervisord), which restarts what falls over.

Airflow's scheduler, dag-processor and triggerer exit for good when PostgreSQL is away for some seconds; the
supervisor brings them back. Programs start as ``python -m ops exec <program>``, so that no secret stands in
the supervisor's configuration.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from supervisor.xmlrpc import SupervisorTransport

from ops import health, postgres
from ops.settings import KNOWN, PROJECT, Settings, SettingsError, free
from ops.sources import read_sources

SANDBOXES = {
    "igate_tien_giang": ["igate", "--world", "tien_giang"],
    "igate_dong_thap": ["igate", "--world", "dong_thap"],
    "national_portal": ["portal"],
    "population": ["population"],
    "opencps_dong_thap": ["opencps"],
    # No source: the national portal's side that dossiers are sent to (`national/`).
    "national_exchange": ["exchange"],
}
#: Sources whose stand-in drops files: the module that writes them.
DROPS = {"population_counts": "sandbox.population_counts"}
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")


class ServiceError(Exception):
    """A service did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Service:
    """One supervised program: its command, its environment, and how to tell that it answers."""

    name: str
    command: Callable[[Settings], list[str]]
    environment: Callable[[Settings], dict[str, str]]
    healthy: Callable[[Settings], bool]
    stop_signal: str = "TERM"
    #: Seconds it is given to end by itself.
    patience: int = 30
    #: The setting its port comes from, and the port; None if it listens on none.
    port: tuple[str, Callable[[Settings], int]] | None = None


def _vault_environment(settings: Settings) -> dict[str, str]:
    # The vault alone knows its database and its keys; no other process is given these.
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(PROJECT),
        "VAULT_DATABASE_URL": settings.vault_database_url,
        "VAULT_SOCKET": str(settings.vault_socket),
        "VAULT_KEYS": str(settings.home / "vault" / "keys"),
        "VAULT_TOKEN_FILE": str(settings.vault_token_file),
        "VAULT_AGREEMENTS": str(settings.agreements),
        "VAULT_REPAIRS": str(settings.repairs_file),
        **{
            n: settings.get(n)
            for n in KNOWN
            if n.startswith(("VAULT_KEY_", "VAULT_TRANSIT_", "VAULT_ERASURES"))
        },
        "VAULT_OFFICERS": str(settings.officers_file),
        **{
            n: settings.get(n)
            for n in (
                "VAULT_AUDIT_COPY",
                "VAULT_ALERT_TIMES",
                "VAULT_ALERT_LEAST",
                "VAULT_ALERT_SEALED",
                "VAULT_ALERT_REFUSALS",
            )
        },
    }


def _sandbox_environment(settings: Settings) -> dict[str, str]:
    return {
        **{k: v for k, v in settings.given.items() if k.startswith("SANDBOX_")},
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(PROJECT),
        "SANDBOX_FAULTS": settings.get("SANDBOX_FAULTS"),
        "SANDBOX_CLIENT_ID": "kho-chung",
        "SANDBOX_CLIENT_SECRET": settings.sandbox_secret,
    }


def _watchdog_environment(settings: Settings) -> dict[str, str]:
    wanted = ("WAREHOUSE_URL", "WAREHOUSE_LOADER_URL", "KHOCHUNG_POSTGRES_PORT")
    return {
        **{k: v for k, v in settings.given.items() if k in wanted or k.startswith("PGSSL")},
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(PROJECT),
        "KHOCHUNG_HOME": str(settings.home),
    }


def sandbox_ports(settings: Settings) -> dict[str, int]:
    """{source: port} of the sandbox."""
    return {name: settings.sandbox_port + i for i, name in enumerate(SANDBOXES)}


def _sandbox(source: str, words: list[str]) -> Service:
    def port(s: Settings) -> int:
        return sandbox_ports(s)[source]

    return Service(
        f"sandbox-{source.replace('_', '-')}",
        lambda s: [sys.executable, "-m", "sandbox", *words, "--port", str(port(s))],
        _sandbox_environment,
        lambda s: bool(health.answers(f"http://127.0.0.1:{port(s)}/__sandbox__/health")),
        port=("KHOCHUNG_SANDBOX_PORT", port),
    )


def _airflow(component: str) -> Service:
    return Service(
        f"airflow-{component}",
        lambda s: [str(Path(sys.executable).parent / "airflow"), component],
        lambda s: {**s.child_env(), **default_connections(s)},
        health.airflow(component),
        # The scheduler waits for its tasks, however long they take; every step survives being killed.
        patience=10,
        port=("KHOCHUNG_AIRFLOW_PORT", lambda s: s.airflow_port) if component == "api-server" else None,
    )


def _site_command(settings: Settings) -> list[str]:
    folder = settings.home / "open-data"
    folder.mkdir(parents=True, exist_ok=True)
    return [sys.executable, "-m", "ops.site", str(folder), str(settings.site_port)]


SERVICES: dict[str, Service] = {
    s.name: s
    for s in (
        Service(
            "postgres",
            postgres.serve,
            lambda s: {"PATH": os.defpath, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
            lambda s: postgres.ready(postgres.admin_url(s)),
            stop_signal="INT",  # fast shutdown: sessions end, nothing is lost
            port=("KHOCHUNG_POSTGRES_PORT", lambda s: s.postgres_port),
        ),
        Service("vault", lambda s: [sys.executable, "-m", "vault"], _vault_environment, health.vault),
        *(_sandbox(source, words) for source, words in SANDBOXES.items()),
        *(_airflow(component) for component in AIRFLOW),
        Service(
            "site",
            _site_command,
            lambda s: {"PATH": os.defpath, "PYTHONPATH": str(PROJECT)},
            lambda s: bool(health.answers(f"http://127.0.0.1:{s.site_port}/__health__")),
            port=("KHOCHUNG_SITE_PORT", lambda s: s.site_port),
        ),
        Service(
            "watchdog",
            lambda s: [sys.executable, "-m", "ops", "roles", "watch"],
            _watchdog_environment,
            health.watchdog,
        ),
    )
}


#: Programs of an installation spread over containers or machines; one machine needs none of them.
APART: dict[str, Service] = {
    "airflow-worker": Service(
        "airflow-worker",
        # The log folder is shared, so that workers need not serve theirs; the home is shared too, and two
        # workers must not take each other's file of a process id for their own.
        lambda s: [
            *_airflow("celery").command(s), "worker", "--skip-serve-logs", "--pid", "/tmp/worker.pid",  # noqa: S108
        ],
        lambda s: {**s.child_env(), **default_connections(s)},
        health.worker,
    ),
    "sandbox": Service(
        "sandbox",
        lambda s: [sys.executable, "-m", "ops", "sandbox"],
        lambda s: s.given,
        health.sandbox,
    ),
}  # fmt: skip
PROGRAMS = {**SERVICES, **APART}


def default_connections(settings: Settings) -> dict[str, str]:
    """Airflow connections to the sandbox, for sources that were given none of their own.

    None for a source declared real, or invented rows would pass for real ones; the portal's are real, replayed.
    """
    if not settings.sandbox:
        return {}
    sources = read_sources(settings.sources_file)
    real = {code for code, s in sources.items() if s.origin == "real" and s.kind != "national_portal"}
    host, secret = settings.get("KHOCHUNG_SANDBOX_HOST"), quote(settings.sandbox_secret, safe="")
    found: dict[str, str] = {}
    for source, port in sandbox_ports(settings).items():
        name = f"AIRFLOW_CONN_{source.upper()}"
        if name not in settings.given and source not in real:
            path = "/api/v1" if source == "national_portal" else ""
            found[name] = f"http://kho-chung:{secret}@{host}:{port}{path}"
    for source in DROPS:
        if (name := f"AIRFLOW_CONN_{source.upper()}") not in settings.given and source not in real:
            found[name] = _drop_folder(settings, source).as_uri()
    return found


def _drop_folder(settings: Settings, source: str) -> Path:
    return settings.home / "drop" / source


def drop_samples(settings: Settings) -> None:
    """Have the sandbox's offices drop their files, once, into the folders that `default_connections` names."""
    for source, module in DROPS.items() if settings.sandbox else ():
        folder = _drop_folder(settings, source)
        if f"AIRFLOW_CONN_{source.upper()}" in settings.given or folder.exists():
            continue
        done = subprocess.run(
            [sys.executable, "-m", module, str(folder)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServiceError(
                f"the sandbox could not drop files into {folder}: {done.stderr.strip()[-400:]}"
            )


@contextlib.contextmanager
def locked(settings: Settings, name: str, waiting: str = "") -> Iterator[None]:
    """One process of this home at a time; the next one says `waiting`, and waits. A death frees the lock."""
    path = settings.home / "locks" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a")
    except OSError as e:
        raise SettingsError(
            f"looked for the folder of all state at {settings.home} (KHOCHUNG_HOME) and cannot write there: "
            f"{e.strerror}: {e.filename}"
        ) from None
    with opened as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                print(waiting, flush=True)
            fcntl.flock(f, fcntl.LOCK_EX)
        yield


class Supervisor:
    """The supervisord of one home; started when the first service is."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._folder = settings.home / "supervisor"
        self._socket = settings.vault_socket.parent.parent / "supervisor.sock"
        if settings.vault_socket.is_relative_to(settings.home):
            self._socket = settings.home / "supervisor.sock"

    @property
    def logs(self) -> Path:
        """Folder of the services' logs."""
        return self.settings.home / "logs"

    def _call(self) -> Any:
        return xmlrpc.client.ServerProxy(
            "http://127.0.0.1", transport=SupervisorTransport(None, None, f"unix://{self._socket}")
        )

    def alive(self) -> bool:
        """Whether this home's supervisor answers."""
        try:
            return bool(self._call().supervisor.getState())
        except (OSError, xmlrpc.client.Error):
            return False

    def running(self) -> set[str]:
        """Names of services that run or are starting."""
        if not self.alive():
            return set()
        infos = self._call().supervisor.getAllProcessInfo()
        return {i["name"] for i in infos if i["statename"] in ("RUNNING", "STARTING", "BACKOFF")}

    def _configuration(self) -> str:
        lines = [
            "[unix_http_server]", f"file={self._socket}", "chmod=0700",
            "[supervisord]", f"logfile={self.logs}/supervisor.log", f"pidfile={self._folder}/supervisord.pid",
            f"directory={PROJECT}", "umask=077", "nodaemon=false",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        ]  # fmt: skip
        for service in SERVICES.values():
            lines += [
                f"[program:{service.name}]",
                f"command={sys.executable} -m ops exec {service.name}",
                "autostart=false", "autorestart=true", "startsecs=2", "startretries=1000000",
                f"stopsignal={service.stop_signal}", f"stopwaitsecs={service.patience}",
                "stopasgroup=false", "killasgroup=true",
                "redirect_stderr=true", f"stdout_logfile={self.logs}/{service.name}.log",
                "stdout_logfile_maxbytes=20MB", "stdout_logfile_backups=2",
            ]  # fmt: skip
        return "\n".join(lines).replace("%", "%%") + "\n"

    def _start_supervisor(self) -> None:
        if self.alive():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        conf = self._folder / "supervisord.conf"
        conf.write_text(self._configuration())
        env = {
            **self.settings.given,
            "KHOCHUNG_HOME": str(self.settings.home),
            "PYTHONPATH": str(PROJECT),
            "PATH": os.environ.get("PATH", os.defpath),
        }
        done = subprocess.run(
            [str(Path(sys.executable).parent / "supervisord"), "-c", str(conf)],
            env=env, capture_output=True, text=True, cwd=PROJECT, check=False,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self.alive():
            if done.returncode or time.monotonic() > deadline:
                raise ServiceError(
                    f"the supervisor did not start: {(done.stderr or done.stdout).strip()[-400:]} "
                    f"(log: {self.logs}/supervisor.log)"
                )
            time.sleep(0.1)

    def start(self, names: Iterable[str], timeout: float = 180) -> list[str]:
        """Start the services and wait until each answers; the names that were not running."""
        with locked(self.settings, "start"):
            return self._start(names, timeout)

    def _start(self, names: Iterable[str], timeout: float) -> list[str]:
        self._start_supervisor()
        wanted = [n for n in names if n != "postgres" or self.settings.embedded]
        if "postgres" in wanted:
            postgres.create_cluster(self.settings)
        started = [n for n in wanted if n not in self.running()]
        for name in started:
            self._port_is_free(name)
            try:
                self._call().supervisor.startProcess(name, False)
            except xmlrpc.client.Fault as e:
                if "ALREADY_STARTED" not in e.faultString:
                    raise ServiceError(f"{name}: {e.faultString}") from None
        for name in wanted:
            self._await(name, timeout)
        return started

    def _port_is_free(self, name: str) -> None:
        """Told before the start: a program whose port is taken would only be seen not to answer."""
        if (wanted := SERVICES[name].port) is None:
            return
        setting, port = wanted[0], wanted[1](self.settings)
        if not free(port):
            raise self._port_is_taken(name, setting, port)

    def _port_is_taken(self, name: str, setting: str, port: int) -> ServiceError:
        chosen = (
            ""
            if self.settings.get(setting)
            else f", or remove {self.settings.home}/ports.json to have one chosen"
        )
        return ServiceError(
            f"{name} was to listen on 127.0.0.1:{port}, and another program does. Stop that program "
            f"(`ss -ltnp 'sport = :{port}'` names it), or set {setting} to a free port in the environment or "
            f".env{chosen}, then start again."
        )

    def _listens(self, name: str, port: int) -> bool:
        """Whether the answer came from this home's program: another one may have taken the port meanwhile."""
        pid = int(self._call().supervisor.getProcessInfo(name)["pid"])
        try:
            program = psutil.Process(pid)
            return any(
                c.laddr.port == port
                for p in (program, *program.children(recursive=True))
                for c in p.net_connections("tcp")
                if c.status == psutil.CONN_LISTEN
            )
        except psutil.NoSuchProcess:
            return False

    def _await(self, name: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        wanted = SERVICES[name].port
        while True:
            if SERVICES[name].healthy(self.settings):
                if wanted is None or self._listens(name, wanted[1](self.settings)):
                    return
                if self._states({name}) & {"BACKOFF", "EXITED", "FATAL"}:
                    raise self._port_is_taken(name, wanted[0], wanted[1](self.settings))
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{name} did not answer within {timeout:.0f} s. Its log, {self.logs}/{name}.log, ends with:\n"
                    + self.tail(name)
                )
            time.sleep(0.2)

    def tail(self, name: str, lines: int = 15) -> str:
        """Last lines of a service's log."""
        path = self.logs / f"{name}.log"
        return (
            "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"
        )

    def stop(self, names: Iterable[str]) -> None:
        """Stop services, last started first; the supervisor goes with the last of them."""
        if not self.alive():
            return
        for name in reversed(list(names)):
            try:
                self._call().supervisor.stopProcess(name, True)
            except xmlrpc.client.Fault as e:
                if "NOT_RUNNING" not in e.faultString:
                    raise ServiceError(f"{name}: {e.faultString}") from None
        if not self.running():
            self.down()

    def down(self) -> None:
        """Stop everything of this home; returns when nothing is left."""
        pid_file = self._folder / "supervisord.pid"
        pid = int(pid_file.read_text()) if pid_file.exists() else 0
        # Somebody else may be stopping the same supervisor: then it is gone before our call is answered.
        with contextlib.suppress(OSError, http.client.HTTPException, xmlrpc.client.Error):
            # Airflow and the vault before PostgreSQL, so that they can say goodbye to it; all at once.
            others = self.running() - {"postgres"}
            for name in others:
                with contextlib.suppress(xmlrpc.client.Fault):
                    self._call().supervisor.stopProcess(name, False)
            deadline = time.monotonic() + 40
            while time.monotonic() < deadline and self._states(others) & {"RUNNING", "STARTING", "STOPPING"}:
                time.sleep(0.1)
            self._call().supervisor.shutdown()
        deadline = time.monotonic() + 60
        while pid and _lives(pid):
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"the supervisor (process {pid}) did not stop within 60 s; see {self.logs}"
                )
            time.sleep(0.1)
        pid_file.unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)
        self.settings.vault_socket.unlink(missing_ok=True)

    def _states(self, names: set[str]) -> set[str]:
        return {i["statename"] for i in self._call().supervisor.getAllProcessInfo() if i["name"] in names}


def _lives(pid: int) -> bool:
    """Whether a supervisor of this project runs under `pid`; one that only waits to be reaped does not."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return words[0] != "Z" and b"supervisord" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def execute(settings: Settings, name: str) -> None:
    """Become the program of a service (called by the supervisor)."""
    service = _program(name)
    command = service.command(settings)
    if shutil.which(command[0]) is None:
        raise SettingsError(f"{name}: looked for the program {command[0]} and found none; run make install")
    os.chdir(PROJECT)
    os.execvpe(command[0], command, service.environment(settings))  # noqa: S606 - this is the point


def _program(name: str) -> Service:
    if name not in PROGRAMS:
        raise SettingsError(f"no service {name!r}; known are {', '.join(PROGRAMS)}")
    return PROGRAMS[name]


def sandboxes(settings: Settings) -> int:
    """Run every stand-in until one of them ends; a container restarts them together."""
    services = [s for n, s in SERVICES.items() if n.startswith("sandbox-")]
    running = {
        s.name: subprocess.Popen(s.command(settings), env=s.environment(settings), cwd=PROJECT)
        for s in services
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            for name, process in running.items():
                if process.poll() is not None:
                    print(f"kho chung: {name} ended with {process.returncode}", file=sys.stderr)
                    return 1
            time.sleep(0.5)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
