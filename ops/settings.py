"""Settings: from the environment, from ``.env``, from what the first start made; nothing else is asked.

Passwords are made once under ``<home>/secrets`` (readable by the owner alone). Every secret this module
hands out is known to `secrets_in_use`, so that logs can be cleaned of them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import secrets
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

PROJECT = Path(__file__).resolve().parent.parent
VIETNAM = ZoneInfo("Asia/Ho_Chi_Minh")
DEFAULT_PERIOD = "2025-06-16/2025-07-15"

#: name -> (default, what it is). `.env.example` lists the same; a test compares them.
KNOWN: dict[str, tuple[str, str]] = {
    "KHOCHUNG_HOME": ("var", "folder of all state; below the project if relative"),
    "WAREHOUSE_URL": ("", "postgresql://user:password@host:port/database; empty: the embedded server"),
    "AIRFLOW_DATABASE_URL": (
        "",
        "Airflow's metadata; empty: database <warehouse>_airflow of the same server",
    ),
    "VAULT_DATABASE_URL": ("", "the vault's database; empty: database <warehouse>_vault of the same server"),
    "WAREHOUSE_LOADER_URL": (
        "",
        "the warehouse by a login of the tasks that load (ops/logins.py); empty on a given server: by WAREHOUSE_URL's",
    ),
    "WAREHOUSE_DBT_URL": ("", "the same for the build"),
    "WAREHOUSE_PUBLISHER_URL": ("", "the same for the gates and the publication"),
    "WAREHOUSE_NATIONAL_URL": ("", "the same for what is sent to the national portal and compared with it"),
    "WAREHOUSE_ANALYST_URL": ("", "a login for people who read marts"),
    "WAREHOUSE_AUDITOR_URL": ("", "a login for people who read what was run and loaded"),
    "VAULT_SOCKET": ("", "the vault's socket; empty: <home>/vault/vault.sock"),
    "VAULT_TOKEN_FILE": ("", "file with the token of the vault's API; empty: <home>/secrets/vault-api"),
    "VAULT_KEY_PROVIDER": ("file", "master keys of the vault: file, or transit (wrapped by a server)"),
    "VAULT_TRANSIT_ADDRESS": ("", "transit: https://host:port of a server with HashiCorp Vault's API"),
    "VAULT_TRANSIT_KEY": ("", "transit: name of the key there"),
    "VAULT_TRANSIT_TOKEN_FILE": ("", "transit: file with the token of the vault there"),
    "VAULT_TRANSIT_CA_FILE": ("", "transit: certificate of its authority, PEM; empty: those of the system"),
    "VAULT_ERASURES": ("", "journal of decisions on persons; empty: <home>/vault/keys/erasures.jsonl"),
    "POSTGRES_ADMIN_URL": (
        "",
        "an owner of the given server, by whom logins and databases of the three URLs are made at a start "
        "(`python -m ops prepare` does just that); to be removed afterwards",
    ),
    "KHOCHUNG_SOURCES": ("ops/sources.yml", "list of sources"),
    "KHOCHUNG_NATIONAL_WRITERS": (
        "national/writers.yml",
        "who writes each unit's dossiers to the national portal",
    ),
    "KHOCHUNG_NATIONAL_UNIT": ("H20", "code under which we sign in to the national portal (madonvi)"),
    "KHOCHUNG_NATIONAL_CALLS": ("20000", "most calls of the national portal in one run"),
    "KHOCHUNG_NATIONAL_EXPORTS": (
        "",
        "folder in which the portal operator's export files are put; empty: <home>/national/exports",
    ),
    "KHOCHUNG_REPAIRS": ("ops/repairs.yml", "repair rules for rejected records"),
    "KHOCHUNG_ROLES": ("ops/roles.yml", "who reads what in the warehouse by a name of his own"),
    "KHOCHUNG_AGREEMENTS": (
        "",
        "folder of agreement records, under which clear values may be read; empty: <home>/agreements",
    ),
    "KHOCHUNG_OFFICERS": (
        "",
        "file of officers who may reveal persons of their agency's dossiers; empty: officers.yml in the folder of "
        "agreement records",
    ),
    "VAULT_AUDIT_COPY": (
        "",
        "folder on another host to which the vault copies its audit before each answer; empty: no copy",
    ),
    "VAULT_ALERT_TIMES": ("3", "an alert where a caller reads more a day than so many times the usual"),
    "VAULT_ALERT_LEAST": ("20", "and more than so many"),
    "VAULT_ALERT_SEALED": ("250000", "an alert where more persons never held before are sealed in a day"),
    "VAULT_ALERT_REFUSALS": (
        "20",
        "an alert where a caller, or what is about one person, is refused more often a day",
    ),
    "KHOCHUNG_SANDBOX": ("1", "1: sources without an Airflow connection use the sandbox; 0: they fail"),
    "KHOCHUNG_SANDBOX_HOST": ("127.0.0.1", "machine the sandbox runs on"),
    "SANDBOX_FAULTS": (
        "realistic",
        "bad days of the sandbox: a profile, or JSON (sandbox/README.md); []: none",
    ),
    "SANDBOX_CLIENT_SECRET": ("", "what the sandbox's clients sign in with; empty: made at the first start"),
    "AIRFLOW_ADMIN_PASSWORD": ("", "password of admin on Airflow's page; empty: made at the first start"),
    "KHOCHUNG_AIRFLOW_URL": (
        "",
        "http://host:port at which tasks on other machines reach Airflow's API; empty: loopback",
    ),
    "KHOCHUNG_POSTGRES_PORT": ("", "port of the embedded server; empty: the first free one from 54329"),
    "KHOCHUNG_AIRFLOW_PORT": ("", "port of Airflow's page; empty: the first free one from 8080"),
    "KHOCHUNG_SITE_URL": (
        "",
        "where the public finds the site, such as https://dulieu.example.gov.vn; it stands in every record that "
        "leaves it; empty: the site's port on loopback",
    ),
    "KHOCHUNG_CKAN_URL": ("", "a CKAN catalogue each release is sent to; empty: none"),
    "KHOCHUNG_CKAN_TOKEN": ("", "its API token"),
    "KHOCHUNG_CKAN_ORGANISATION": ("", "the organisation there that owns our datasets, by name"),
    "KHOCHUNG_SITE_PORT": ("", "port of the published site; empty: the first free one from 8090"),
    "KHOCHUNG_SANDBOX_PORT": (
        "",
        "first of six ports of the sandbox; empty: the first free ones from 9101",
    ),
    "PERIOD": (DEFAULT_PERIOD, "what `make run` pulls: 2024-06, 2024, or 2025-06-16/2025-07-15"),
}
#: Logins of the warehouse beside its owner; what each may do stands in ops/logins.py.
LOGINS = ("loader", "dbt", "publisher", "national", "analyst", "auditor")
#: Those that tasks enter by.
TASK_LOGINS = ("loader", "dbt", "publisher", "national")
#: Settings that stand for several ports in a row.
_PORTS_OF = {"KHOCHUNG_SANDBOX_PORT": 6}


class SettingsError(Exception):
    """A setting is missing or wrong; the message lists what was looked for and where."""


@dataclass(frozen=True)
class Period:
    """Whole days, first and last included, in Vietnamese time."""

    first: dt.date
    last: dt.date

    @property
    def start(self) -> dt.datetime:
        """Midnight at which the period begins."""
        return dt.datetime.combine(self.first, dt.time(), VIETNAM)

    @property
    def end(self) -> dt.datetime:
        """Midnight after the last day: intervals are half-open."""
        return dt.datetime.combine(self.last + dt.timedelta(days=1), dt.time(), VIETNAM)

    def __str__(self) -> str:
        return f"{self.first}/{self.last}"


def parse_period(text: str) -> Period:
    """``2024``, ``2024-06``, ``2024-06-03`` or ``2025-06-16/2025-07-15`` (both days included)."""
    try:
        if m := re.fullmatch(r"(\d{4}-\d{2}-\d{2})(?:/(\d{4}-\d{2}-\d{2}))?", text):
            first = dt.date.fromisoformat(m[1])
            last = dt.date.fromisoformat(m[2] or m[1])
            if first > last:
                raise ValueError("it ends before it starts")
            return Period(first, last)
        if m := re.fullmatch(r"(\d{4})(?:-(\d{2}))?", text):
            year, month = int(m[1]), int(m[2] or 1)
            first = dt.date(year, month, 1)
            after = dt.date(year + 1, 1, 1) if not m[2] or month == 12 else dt.date(year, month + 1, 1)
            return Period(first, after - dt.timedelta(days=1))
        raise ValueError("it is written in none of these forms")
    except ValueError as e:
        raise SettingsError(
            f"PERIOD={text!r} is no period: {e}. Expected a year (2024), a month (2024-06), a day (2024-06-03) "
            "or two days with a slash (2025-06-16/2025-07-15)."
        ) from None


def _dotenv(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    if path.exists():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            name, equals, value = text.partition("=")
            if not equals or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name.strip()):
                raise SettingsError(f"{path} line {number} is not NAME=value")
            found[name.strip()] = value.strip().strip("\"'")
    return found


class Settings:
    """All settings of one installation; reading them starts nothing."""

    def __init__(self, environ: dict[str, str] | None = None, dotenv: Path = PROJECT / ".env") -> None:
        self.dotenv = dotenv
        self._given = {**_dotenv(dotenv), **(dict(os.environ) if environ is None else environ)}
        self.home = self._path("KHOCHUNG_HOME")

    def get(self, name: str) -> str:
        """The value of a known setting: environment, then .env, then its default."""
        return self._given.get(name) or KNOWN[name][0]

    @property
    def given(self) -> dict[str, str]:
        """Everything in the environment and .env, for child processes."""
        return dict(self._given)

    def _path(self, name: str) -> Path:
        path = Path(self.get(name)).expanduser()
        return path if path.is_absolute() else PROJECT / path

    @property
    def sources_file(self) -> Path:
        """The list of sources."""
        return self._path("KHOCHUNG_SOURCES")

    @property
    def national_writers(self) -> Path:
        """Who writes each unit's dossiers to the national portal."""
        return self._path("KHOCHUNG_NATIONAL_WRITERS")

    @property
    def national_calls(self) -> int:
        """Most calls of the national portal in one run."""
        given = self.get("KHOCHUNG_NATIONAL_CALLS")
        if not given.isdigit() or int(given) < 1:
            raise SettingsError(
                f"KHOCHUNG_NATIONAL_CALLS={given!r}: expected a whole number above 0 (environment or .env)"
            )
        return int(given)

    @property
    def national_exports(self) -> Path:
        """Folder of the portal operator's export files."""
        given = self.get("KHOCHUNG_NATIONAL_EXPORTS")
        return self._path("KHOCHUNG_NATIONAL_EXPORTS") if given else self.home / "national" / "exports"

    @property
    def repairs_file(self) -> Path:
        """The repair rules for rejected records; the vault reads it, too."""
        return self._path("KHOCHUNG_REPAIRS")

    @property
    def roles_file(self) -> Path:
        """List of persons and roles."""
        return self._path("KHOCHUNG_ROLES")

    @property
    def agreements(self) -> Path:
        """Folder of agreement records; the vault reads it, too."""
        return (
            self._path("KHOCHUNG_AGREEMENTS") if self.get("KHOCHUNG_AGREEMENTS") else self.home / "agreements"
        )

    @property
    def officers_file(self) -> Path:
        """File of officers who may reveal; only the vault reads it."""
        return (
            self._path("KHOCHUNG_OFFICERS")
            if self.get("KHOCHUNG_OFFICERS")
            else self.agreements / "officers.yml"
        )

    @property
    def landing(self) -> Path:
        """Folder of landed batches."""
        return self.home / "landing"

    @property
    def data_docs(self) -> Path:
        """Folder of Great Expectations' Data Docs."""
        return self.home / "data-docs"

    @property
    def dbt_target(self) -> Path:
        """Folder of dbt's artefacts."""
        return self.home / "dbt" / "target"

    @property
    def period(self) -> Period:
        """What `make run` pulls."""
        return parse_period(self.get("PERIOD"))

    @property
    def sandbox(self) -> bool:
        """Whether sources without a connection of their own are answered by the sandbox."""
        value = self.get("KHOCHUNG_SANDBOX")
        if value not in ("0", "1"):
            raise SettingsError(f"KHOCHUNG_SANDBOX={value!r}: expected 0 or 1 (environment or {self.dotenv})")
        return value == "1"

    # --- secrets and ports ---------------------------------------------------------------------------

    def secret(self, name: str) -> str:
        """A password made once under <home>/secrets."""
        path = self.home / "secrets" / name
        if not path.exists():
            aside = path.with_name(f".{name}-{secrets.token_hex(6)}")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.parent.chmod(0o700)
                with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
                    f.write(secrets.token_urlsafe(32))
                # Linked when whole: services that start together read one and the same secret.
                with contextlib.suppress(FileExistsError):  # another process was faster
                    os.link(aside, path)
                aside.unlink()
            except OSError as e:
                raise SettingsError(
                    f"cannot make the secret {name} in {path.parent}: {e.strerror}. Correct the rights of the folder "
                    "(setting KHOCHUNG_HOME), or give the secret by its own setting (.env.example)"
                ) from None
        return path.read_text().strip()

    @property
    def admin_password(self) -> str:
        """Password of admin on Airflow's page."""
        return self.get("AIRFLOW_ADMIN_PASSWORD") or self.secret("airflow-admin")

    @property
    def sandbox_secret(self) -> str:
        """What the sandbox's clients sign in with."""
        return self.get("SANDBOX_CLIENT_SECRET") or self.secret("sandbox-client")

    def secrets_in_use(self) -> list[str]:
        """Every secret value that must not stand in a log: made here, or inside a given URL."""
        folder = self.home / "secrets"
        paths = [p for p in folder.iterdir() if p.is_file() and p.name[0] != "."] if folder.exists() else []
        if self.get("VAULT_TOKEN_FILE") and self.vault_token_file.exists():
            paths.append(self.vault_token_file)
        values = [p.read_text().strip() for p in paths]
        for name, value in self._given.items():
            if name.endswith("_URL") or name.startswith("AIRFLOW_CONN_"):
                password = _password(value)
                # As written in the URL, and as the server hears it.
                values += [password, _unquote(password)]
            elif re.search(r"PASSWORD|SECRET|TOKEN", name) and not name.endswith("_FILE"):
                values.append(value)
        return sorted({v for v in values if len(v) >= 8}, key=len, reverse=True)

    def port(self, name: str, first: int, count: int = 1) -> int:
        """The first of `count` ports: as set, as chosen before, or the first free ones from `first`."""
        if given := self.get(name):
            if not given.isdigit() or not 1024 <= int(given) <= 65535 - count:
                raise SettingsError(
                    f"{name}={given!r}: expected a port from 1024 to 65535 (environment or .env)"
                )
            return int(given)
        path = self.home / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        if name not in ports:
            port = first
            taken = {p + i for n, p in ports.items() for i in range(_PORTS_OF.get(n, 1))}
            while any(not free(port + i) or port + i in taken for i in range(count)):
                port += count
            ports[name] = port
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(f".{os.getpid()}")
            aside.write_text(json.dumps(ports, indent=2))
            aside.rename(path)
        return ports[name]

    @cached_property
    def postgres_port(self) -> int:
        """Port of the embedded server."""
        return self.port("KHOCHUNG_POSTGRES_PORT", 54329)

    @cached_property
    def airflow_port(self) -> int:
        """Port of Airflow's page and API."""
        return self.port("KHOCHUNG_AIRFLOW_PORT", 8080)

    @cached_property
    def site_port(self) -> int:
        """Port of the published site."""
        return self.port("KHOCHUNG_SITE_PORT", 8090)

    @property
    def site_url(self) -> str:
        """Address of the site for its readers, without a final slash."""
        given = self.get("KHOCHUNG_SITE_URL").rstrip("/")
        if not given:
            return f"http://127.0.0.1:{self.site_port}"
        parts = urlsplit(given)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise SettingsError(
                f"KHOCHUNG_SITE_URL={given!r}: expected such as https://dulieu.example.gov.vn (environment or .env)"
            )
        return given

    @cached_property
    def sandbox_port(self) -> int:
        """First of the sandbox's six ports."""
        return self.port("KHOCHUNG_SANDBOX_PORT", 9101, _PORTS_OF["KHOCHUNG_SANDBOX_PORT"])

    @property
    def sandbox_ports(self) -> range:
        """All ports of the sandbox."""
        return range(self.sandbox_port, self.sandbox_port + _PORTS_OF["KHOCHUNG_SANDBOX_PORT"])

    # --- databases -----------------------------------------------------------------------------------

    @property
    def embedded(self) -> bool:
        """Whether the warehouse is the embedded server."""
        return not self.get("WAREHOUSE_URL")

    @property
    def warehouse_url(self) -> str:
        """URL of the warehouse, with its password."""
        if self.embedded:
            password = quote(self.secret("warehouse"))
            return f"postgresql://khochung:{password}@127.0.0.1:{self.postgres_port}/khochung"
        url = self.get("WAREHOUSE_URL")
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not parts.path.strip("/"):
            raise SettingsError(
                "WAREHOUSE_URL is not postgresql://user:password@host:port/database (looked in the environment "
                f"and {self.dotenv})"
            )
        return urlunsplit(parts._replace(scheme="postgresql"))

    @property
    def logins_apart(self) -> bool:
        """Whether the warehouse has a login for each kind of work; on a given server by setting only."""
        return self.embedded or any(self.get(f"WAREHOUSE_{login.upper()}_URL") for login in LOGINS)

    def login_url(self, login: str) -> str:
        """URL by which one of LOGINS enters the warehouse; the warehouse's own where one login does everything."""
        if given := self.get(f"WAREHOUSE_{login.upper()}_URL"):
            return urlunsplit(urlsplit(given)._replace(scheme="postgresql"))
        if not self.embedded:
            return self.warehouse_url
        password = quote(self.secret(login))
        return f"postgresql://khochung_{login}:{password}@127.0.0.1:{self.postgres_port}/khochung"

    def _sibling(self, setting: str, role: str, suffix: str) -> str:
        if given := self.get(setting):
            return given
        if self.embedded:
            password = quote(self.secret(role))
            return f"postgresql://khochung_{role}:{password}@127.0.0.1:{self.postgres_port}/khochung_{suffix}"
        parts = urlsplit(self.warehouse_url)
        return urlunsplit(parts._replace(path=f"{parts.path}_{suffix}"))

    @property
    def airflow_database_url(self) -> str:
        """URL of Airflow's metadata database."""
        return self._sibling("AIRFLOW_DATABASE_URL", "airflow", "airflow")

    @property
    def vault_database_url(self) -> str:
        """URL of the vault's database."""
        return self._sibling("VAULT_DATABASE_URL", "vault", "vault")

    # --- environments of child processes -------------------------------------------------------------

    @property
    def airflow_url(self) -> str:
        """Where tasks and health checks reach Airflow's API."""
        return self.get("KHOCHUNG_AIRFLOW_URL").rstrip("/") or f"http://127.0.0.1:{self.airflow_port}"

    def airflow_env(self) -> dict[str, str]:
        """What Airflow reads; also turns its telemetry off."""
        url = self.airflow_database_url.replace("postgresql://", "postgresql+psycopg2://", 1)
        everywhere = bool(self.get("KHOCHUNG_AIRFLOW_URL"))
        home = self.home / "airflow"
        return {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # Every file of dags/ is a DAG file; guessing by words in it would skip some.
            "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",
            "AIRFLOW__CORE__EXECUTOR": self._given.get("AIRFLOW__CORE__EXECUTOR", "LocalExecutor"),
            "AIRFLOW__CORE__PARALLELISM": self._given.get("AIRFLOW__CORE__PARALLELISM", "4"),
            "AIRFLOW__CORE__DEFAULT_TIMEZONE": "Asia/Ho_Chi_Minh",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__FERNET_KEY": _fernet(self.secret("airflow-fernet")),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "secrets" / "airflow-login"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            # psycopg 3 speaks both ways, so no third driver is needed.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url.replace("+psycopg2", "+psycopg"),
            # What a browser calls it; behind a proxy that is another address than the tasks'.
            "AIRFLOW__API__BASE_URL": self._given.get("AIRFLOW__API__BASE_URL", self.airflow_url),
            "AIRFLOW__API__HOST": "0.0.0.0" if everywhere else "127.0.0.1",  # noqa: S104 - asked for
            "AIRFLOW__API__PORT": str(self.airflow_port),
            "AIRFLOW__API__SECRET_KEY": self.secret("airflow-api"),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": self.secret("airflow-jwt"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "SCARF_ANALYTICS": "false",
        }

    def dbt_env(self) -> dict[str, str]:
        """What dbt's profile reads."""
        parts = urlsplit(self.login_url("dbt"))
        return {
            "KHOCHUNG_PG_HOST": parts.hostname or "",
            "KHOCHUNG_PG_PORT": str(parts.port or 5432),
            "KHOCHUNG_PG_USER": parts.username or "",
            "KHOCHUNG_PG_PASSWORD": _unquote(parts.password),
            "KHOCHUNG_PG_DATABASE": parts.path.strip("/"),
            "DBT_PROFILES_DIR": str(PROJECT / "dbt"),
            "DBT_TARGET_PATH": str(self.dbt_target),
            "DBT_LOG_PATH": str(self.home / "dbt" / "logs"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
            "DO_NOT_TRACK": "1",
        }

    def dbt_process_env(self) -> dict[str, str]:
        """Environment of a dbt process: its own login and nothing of the others, of sources or of Airflow."""
        # PGSSL...: how the province's server is to be trusted.
        wanted = re.compile(r"PATH|HOME|TMPDIR|PGSSL\w+|DBT_\w+")
        kept = {n: v for n, v in self._given.items() if wanted.fullmatch(n)}
        return {"PATH": os.defpath, **kept, **self.dbt_env(), **self._of_project()}

    def _of_project(self) -> dict[str, str]:
        # initdb without a locale would fall silent on lower('Đ').
        return {"PYTHONPATH": str(PROJECT), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}

    def child_env(self) -> dict[str, str]:
        """Environment of Airflow's processes: what was given, plus Airflow's settings, less what tasks have no use for.

        Tasks inherit it. The owners of server and warehouse, the vault's login and keys, and the logins of people are
        none of their business; Airflow's own login stands in its settings, which Airflow keeps from tasks.
        """
        env = {**self._given, **self.airflow_env()}
        people = {f"WAREHOUSE_{login.upper()}_URL" for login in LOGINS if login not in TASK_LOGINS}
        vault = {n for n in env if n.startswith("VAULT_")} - {"VAULT_SOCKET", "VAULT_TOKEN_FILE"}
        for name in {"POSTGRES_ADMIN_URL", "AIRFLOW_DATABASE_URL"} | people | vault:
            env.pop(name, None)
        if not self.embedded and self.logins_apart:
            parts = urlsplit(self.warehouse_url)
            env["WAREHOUSE_URL"] = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        env["KHOCHUNG_HOME"] = str(self.home)
        env.setdefault("PATH", os.defpath)
        return {**env, **self._of_project()}

    @property
    def vault_socket(self) -> Path:
        """Socket of the vault. Unix sockets allow 107 bytes, so a deep home gets one under /tmp."""
        if given := self.get("VAULT_SOCKET"):
            return Path(given)
        path = self.home / "vault" / "vault.sock"
        if len(str(path)) <= 100:
            return path
        return Path("/tmp") / f"khochung-{self.secret('vault-socket-name')[:12]}" / "vault.sock"  # noqa: S108

    @property
    def vault_audit_token(self) -> str:
        """Bearer token of the vault's calls about its audit; it lies beside the keys, which tasks cannot read."""
        folder = self._given.get("VAULT_KEYS") or self.home / "vault" / "keys"
        path = Path(folder) / "audit.token"
        try:
            return path.read_text().strip()
        except OSError as e:
            raise SettingsError(
                f"looked for the token of the vault's audit at {path}: {e.strerror}. The vault makes it beside its "
                "keys when it starts; ask where the keys are, as their owner (compose: docker-compose exec vault "
                "python -m ops ...)"
            ) from None

    @property
    def vault_token(self) -> str:
        """Bearer token of the vault's API."""
        path = self.vault_token_file
        if not path.exists():
            raise SettingsError(
                f"looked for the vault's token at {path} and found none; start the vault (make up)"
            )
        return path.read_text().strip()

    @property
    def vault_token_file(self) -> Path:
        """Where the vault leaves its token for its callers."""
        given = self.get("VAULT_TOKEN_FILE")
        return Path(given) if given else self.home / "secrets" / "vault-api"


def _password(address: str) -> str:
    """The password in a URL or in a connection written as JSON; empty if there is none."""
    if address.lstrip().startswith("{"):
        try:
            return str(json.loads(address).get("password") or "")
        except ValueError:
            return ""
    return urlsplit(address).password or "" if "://" in address else ""


def _unquote(text: str | None) -> str:
    from urllib.parse import unquote

    return unquote(text or "")


def _fernet(secret: str) -> str:
    import base64
    import hashlib

    return base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).decode()


def free(port: int) -> bool:
    """Whether nobody listens on this port of this machine."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
