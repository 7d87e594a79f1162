"""``python -m ops <command>``: what the Makefile calls."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import shlex
import shutil
import sys
from pathlib import Path

from ops import postgres, services
from ops.settings import LOGINS, PROJECT, Settings, SettingsError, parse_period
from ops.sources import check_sources
from ops.trouble import database_trouble

#: Commands whose further words are another program's.
_OTHERS = (["psql"], ["client"], ["airflow"], ["dbt"], ["vault"])
#: Commands of dbt that make no table.
_DBT_READS = ("test", "list", "ls", "compile", "show", "parse", "debug")


def _up(settings: Settings) -> None:
    from ops import run

    check_sources(settings.sources_file)
    supervisor = services.Supervisor(settings)
    with run.alone(settings):
        print("starting the database, the vault and the sandbox", flush=True)
        run.prepare(settings, supervisor)
        password = run.write_login(settings)
        print(
            "starting Airflow: its page, scheduler, reader of DAGs and triggerer; about a minute", flush=True
        )
        supervisor.start(
            ["airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"], 180
        )
        supervisor.start(["site", "watchdog"])
    print(f"Airflow   http://127.0.0.1:{settings.airflow_port}/   user admin, password {password}")
    print(f"Open data http://127.0.0.1:{settings.site_port}/")
    if settings.sandbox:
        for source, port in services.sandbox_ports(settings).items():
            print(f"Sandbox   http://127.0.0.1:{port}/   {source}")
    print("Warehouse make psql, or: make -s url")
    print("Stop      make down")


def _prepare(settings: Settings) -> None:
    from ops import run

    postgres.prepare(settings)
    run.migrate_airflow(settings)
    run.write_login(settings)
    services.drop_samples(settings)
    print("ready: logins, databases, Airflow's metadata, secrets")


def _airflow(settings: Settings, words: list[str]) -> None:
    command = [*services.SERVICES["airflow-api-server"].command(settings)[:1], *words]
    os.execve(command[0], command, services.SERVICES["airflow-api-server"].environment(settings))  # noqa: S606


def _vault(settings: Settings, words: list[str]) -> None:
    if settings.embedded:
        services.Supervisor(settings).start(["postgres"])
    command = [*services.SERVICES["vault"].command(settings), *words]
    os.execve(command[0], command, services.SERVICES["vault"].environment(settings))  # noqa: S606


def _url(settings: Settings, login: str) -> None:
    if login and login not in LOGINS:
        raise SettingsError(f"looked for the login {login!r} and found none; there are {', '.join(LOGINS)}")
    services.Supervisor(settings).start(["postgres"])
    postgres.prepare(settings)
    print(settings.login_url(login) if login else settings.warehouse_url)


def _psql(settings: Settings, words: list[str]) -> None:
    services.Supervisor(settings).start(["postgres"])
    postgres.prepare(settings)
    psql = postgres.command("psql")[-1]
    os.execvp(psql, [psql, settings.warehouse_url, *words])  # noqa: S606 - becomes psql


def _client(settings: Settings, words: list[str]) -> None:
    urls = {"warehouse": settings.warehouse_url, "vault": settings.vault_database_url}
    environment = {**os.environ, **postgres.client_env(settings, urls.get(words[0], ""))} if words else {}
    program = shutil.which(words[1], path=environment["PATH"]) if len(words) > 1 else None
    if words[:1] not in (["warehouse"], ["vault"]) or program is None:
        raise SettingsError(
            f"looked for a database (warehouse or vault) and a program of PostgreSQL in {' '.join(words[:2])!r} and "
            "found none; a right command is: client vault pg_dump --file=vault.sql"
        )
    if settings.embedded:
        services.Supervisor(settings).start(["postgres"])
    # In the environment: a command line can be read by every user of the machine.
    os.execve(program, words[1:], environment)  # noqa: S606


def _rejects(settings: Settings, given: argparse.Namespace) -> None:
    import datetime as dt

    from connectors.base import SourceError
    from expectations.results import GateFailed
    from landing.manifest import LandingError
    from ops import rejects
    from ops.outcomes import NothingToDo
    from ops.tasks import TaskError
    from vault.client import VaultClient, VaultRefused, VaultUnavailable
    from vault.repairs import RuleError

    if settings.embedded:
        services.Supervisor(settings).start(["postgres", "vault"])
    vault = VaultClient(settings.vault_socket, settings.vault_token, patience=10)
    try:
        if given.action == "replay":
            done = rejects.replay(settings, vault, given.rule, given.source, given.batch, given.dry_run)
            for r in done:
                still = "; ".join(f"{n:,} still rejected, {why}" for why, n in r.still.items())
                print(
                    f"{r.source} {r.table} of batch {r.replay_of}: {r.repaired:,} of {r.read:,} repaired by "
                    f"{', '.join(r.rules)}{f'; {still}' if still else ''}"
                    + (f"; loaded as batch {r.landed}" if r.landed else "")
                    + (f"; the rest another day: {r.spent}" if r.spent else "")
                )
            if not done:
                print(f"no open reject is covered by a rule of {settings.repairs_file}")
            elif given.dry_run:
                print("dry run: nothing was landed")
            elif any(r.landed for r in done):
                print(
                    "The warehouse is built of it by the next run: make run, or trigger build_warehouse in Airflow."
                )
            return
        found = [
            r
            for r in rejects.all_rejects(settings, vault)
            if given.source in (None, r.source) and given.batch in (None, r.batch)
        ]
        rules = rejects.checked_rules(settings)
        if not found:
            print("no rejected records")
        elif given.action == "list":
            print("\n".join(rejects.listing(found, rules, dt.datetime.now(dt.UTC))))
        else:
            print("\n".join(rejects.showing(found, rules)))
    except (
        GateFailed, LandingError, NothingToDo, RuleError, SourceError, TaskError, VaultRefused, VaultUnavailable,
    ) as e:  # fmt: skip
        raise services.ServiceError(str(e)) from None


def _collect(settings: Settings, dry_run: bool) -> None:
    from landing.manifest import LandingError
    from ops import tasks
    from ops.collection import LandingUnderWay, TooMuchUnused
    from ops.trouble import DatabaseTrouble
    from vault.client import VaultRefused, VaultUnavailable

    if settings.embedded and not settings.get("VAULT_SOCKET"):
        services.Supervisor(settings).start(["postgres", "vault"])
    try:
        refused = tasks.collect(settings, dry_run)["refused"]
    except (
        DatabaseTrouble, LandingError, LandingUnderWay, TooMuchUnused, VaultRefused, VaultUnavailable,
    ) as e:  # fmt: skip
        raise services.ServiceError(str(e)) from None
    if refused:
        print(f"without --dry-run it would be refused: {refused}")


def _roles(settings: Settings, given: argparse.Namespace) -> None:
    from ops import access, persons, tasks
    from ops.roles import read_roles

    if given.action == "watch":
        persons.watch_for_ever(settings)
    if settings.embedded:
        services.Supervisor(settings).start(["postgres"])
    roles = read_roles(settings.roles_file)
    if given.action == "password":
        if not given.login:
            raise SettingsError("whose password? python -m ops roles password nguyen.van.a")
        print(persons.give_password(settings, roles, given.login))
    elif given.action == "show":
        print("\n".join(access.show(settings)) or "nobody is listed")
    else:
        # A build gives rights, too.
        with tasks.one_at_a_time(settings, "build"):
            print("\n".join(access.apply(settings)) or "everything is as listed")


def _audit(settings: Settings, command: str) -> int:
    from ops import audit
    from vault.client import VaultClient, VaultRefused, VaultUnavailable

    # A socket that was named is a vault somebody else runs (a container of its own).
    if settings.embedded and not settings.get("VAULT_SOCKET"):
        services.Supervisor(settings).start(["postgres", "vault"])
    vault = VaultClient(settings.vault_socket, settings.vault_audit_token, patience=10)
    try:
        if command == "audit-verify":
            found = vault.verify_audit(audit.caller())
            print("\n".join(audit.alerts(found)), file=sys.stderr, end="\n" if found["alerts"] else "")
            if found["trouble"]:
                raise services.ServiceError(audit.verdict(found))
            print(audit.verdict(found))
            return 2 if found["alerts"] else 0
        if entries := vault.who_looked(audit.identity_number(), audit.caller()):
            print("\n".join(audit.table(entries)))
        else:
            print("nobody looked: the audit has no entry about this person")
    except (VaultRefused, VaultUnavailable) as e:
        raise services.ServiceError(str(e)) from None
    return 0


def _catalogue(settings: Settings, given: argparse.Namespace) -> None:
    from opendata import ckan
    from ops import tasks
    from ops.outcomes import NothingToDo

    address = settings.get("KHOCHUNG_CKAN_URL")
    try:
        if given.action == "push":
            tasks.push_catalogue(settings, given.dataset)
        elif not address or not given.dataset:
            raise SettingsError("catalogue withdraw needs the id of a dataset, and KHOCHUNG_CKAN_URL set")
        else:
            print(f"catalogue: {ckan.withdraw(given.dataset, address, settings.get('KHOCHUNG_CKAN_TOKEN'))}")
    except (ckan.PushError, NothingToDo) as e:
        raise SettingsError(str(e)) from None


def _form(settings: Settings, given: argparse.Namespace) -> None:
    import psycopg

    from ops import forms, tasks
    from ops.outcomes import NothingToDo

    if settings.embedded:
        services.Supervisor(settings).start(["postgres"])
    if given.name == "all":
        try:
            tasks.write_forms(settings)
        except (NothingToDo, forms.FormNotWritten) as e:
            raise services.ServiceError(str(e)) from None
        except psycopg.errors.UndefinedTable as e:
            raise services.ServiceError(_not_built(e)) from None
        return
    if not given.agency:
        raise SettingsError(
            "--agency is wanted, its code as used, such as H20.44; `form all` writes every agency's"
        )
    if given.name == "II.06a" and not given.period:
        raise SettingsError("form II.06a needs --period, such as 2025-06, 2025-Q2 or 2025")
    name = forms.file_name(given.name, given.agency)
    if given.name == "II.06a":
        name = forms.form_name(given.agency, given.period, given.closing, given.with_subordinates)
    path = Path(given.output) if given.output else settings.home / "forms" / name
    try:
        url = settings.login_url("analyst")
        if given.name == "II.06a":
            form = forms.form_06a(url, given.agency, given.period, given.closing, given.with_subordinates)
            path.parent.mkdir(parents=True, exist_ok=True)
            forms.write_06a(form, path)
        else:
            found = forms.morning_list(url, given.agency)
            path.parent.mkdir(parents=True, exist_ok=True)
            forms.write_morning_list(found, path)
    except forms.NoSuchForm as e:
        raise services.ServiceError(str(e)) from None
    except psycopg.errors.UndefinedTable as e:
        raise services.ServiceError(_not_built(e)) from None
    print(path)


def _not_built(error: Exception) -> str:
    return f"the warehouse lacks a table of the forms ({str(error).splitlines()[0]}); build it: make run"


def _renew_handles(settings: Settings) -> None:
    from landing.manifest import LandingError
    from ops import handles
    from ops.outcomes import NothingToDo
    from vault.client import VaultRefused, VaultUnavailable

    if settings.embedded and not settings.get("VAULT_SOCKET"):
        services.Supervisor(settings).start(["postgres", "vault"])
    try:
        done = handles.renew_warehouse(settings)
    except NothingToDo as e:
        print(e)
        return
    except (LandingError, VaultRefused, VaultUnavailable) as e:
        raise services.ServiceError(str(e)) from None
    rows = ", ".join(f"{n:,} of {table}" for table, n in done.rows.items())
    print(
        f"rows with tokens of version {done.version} now: {rows}. The marts follow with the next build: make run, or "
        "trigger build_warehouse in Airflow."
    )


def _clean(settings: Settings) -> None:
    """Remove what this project made in its home, and nothing else that may lie there."""
    made = (
        ".postgres.making", "airflow", "data-docs", "dbt", "docs", "drop", "forms", "landing", "locks", "logs",
        "national", "open-data", "outcomes", "ports.json", "postgres", "run-summary.json", "run-summary.tmp", "secrets",
        "supervisor", "vault",
    )  # fmt: skip
    for name in made:
        path = settings.home / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # of others something lies there, or it is a volume
        settings.home.rmdir()
    print(f"removed the state in {settings.home}")


def _national(settings: Settings, given: argparse.Namespace) -> None:
    from ops import national
    from ops.outcomes import NothingToDo

    if settings.embedded:
        services.Supervisor(settings).start(["postgres"])
    try:
        if given.action == "what-if":
            if not given.dossiers:
                raise SettingsError(
                    "national what-if needs --dossiers FILE (docs/national.md says what it holds)"
                )
            print("\n".join(national.assume(settings, Path(given.dossiers), given.base)))
            return
        asked = (given.action, given.why, given.code, given.adopt, given.period)
        print("\n".join(national.command(settings, *asked)))
    except NothingToDo as e:
        print(e)


def _dbt(settings: Settings, words: list[str]) -> None:
    # A table made alone would stand by other rules than its neighbours, and nobody would have a right to read it.
    if words[:1] not in ([w] for w in _DBT_READS):
        raise SettingsError(
            f"looked for one of {', '.join(_DBT_READS)} and found {' '.join(words[:1]) or 'nothing'}; a right command "
            "is: dbt test --select test_type:unit,fct_dossier. Tables are made by a build: make run"
        )
    if settings.embedded:
        services.Supervisor(settings).start(["postgres"])
    environment = {**settings.dbt_process_env(), "DBT_PROJECT_DIR": str(PROJECT / "dbt")}
    command = [str(Path(sys.executable).with_name("dbt")), *words]
    os.execve(command[0], command, environment)  # noqa: S606 - becomes dbt


def _docs(settings: Settings) -> None:
    from ops import docs

    if settings.embedded:
        services.Supervisor(settings).start(["postgres"])
    print(docs.write(settings))


def main() -> int:
    """Run one command; a failure is one message and exit code 1, an alert of the vault's audit 2."""
    parser = argparse.ArgumentParser(prog="python -m ops")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="the main job once")
    one.add_argument("--period", help="2024, 2024-06, or 2025-06-16/2025-07-15")
    commands.add_parser("up", help="everything stays up")
    commands.add_parser("down", help="stop everything")
    address = commands.add_parser("url", help="print the warehouse's URL")
    address.add_argument("login", nargs="?", default="", help=f"the URL of this login: {', '.join(LOGINS)}")
    commands.add_parser("status", help="which services run")
    commands.add_parser("logs", help="the ends of the services' logs")
    commands.add_parser("clean", help="remove all state")
    commands.add_parser(
        "env", help="print the environment for Airflow's own command, for eval; holds secrets"
    )
    commands.add_parser("psql", help="enter the warehouse; further words are psql's")
    commands.add_parser(
        "client", help="a program of PostgreSQL with a database: client vault pg_dump --file=vault.sql"
    )
    commands.add_parser(
        "airflow", help="Airflow's own command in this installation, such as: airflow dags list"
    )
    commands.add_parser(
        "vault", help="the vault's own commands: rotate, retoken, erase, match, ... (python -m vault -h)"
    )
    commands.add_parser(
        "prepare", help="make logins, databases and secrets on a given server; safe to repeat"
    )
    execute = commands.add_parser(
        "exec", help="become a service (called by the supervisor and by containers)"
    )
    execute.add_argument("service")
    rejected = commands.add_parser("rejects", help="rejected records: list, show, replay by rules")
    rejected.add_argument("action", choices=("list", "show", "replay"), nargs="?", default="list")
    rejected.add_argument("--source", help="of this source only")
    rejected.add_argument("--batch", help="of this batch only")
    rejected.add_argument("--rule", help="replay: by this rule of ops/repairs.yml only")
    rejected.add_argument("--dry-run", action="store_true", help="replay: say what would come of it")
    commands.add_parser(
        "who-looked", help="who read or tried to read a person's data; the identity number on standard input"
    )
    commands.add_parser(
        "audit-verify", help="read the vault's whole audit and its copy; tell what is wrong, and alerts (2)"
    )
    named = commands.add_parser(
        "roles", help="who reads what by a name of his own: show, apply, password LOGIN"
    )
    named.add_argument("action", choices=("show", "apply", "password", "watch"), nargs="?", default="show")
    named.add_argument(
        "login", nargs="?", default="", help="password: a new one for this person, printed once"
    )
    collecting = commands.add_parser(
        "collect", help="have the vault delete what it stored and no landed file and no raw row names"
    )
    collecting.add_argument("--dry-run", action="store_true", help="count only")
    commands.add_parser(
        "renew-handles",
        help="bring the warehouse's tokens to the vault's changed token key (after: vault retoken)",
    )
    form = commands.add_parser(
        "form",
        help="write a report as Excel: II.06a, or morning-list; all: both of every agency, for its own people",
    )
    form.add_argument("name", choices=("II.06a", "morning-list", "all"))
    form.add_argument("--agency", help="its code as used, such as H20.44")
    form.add_argument("--period", help="II.06a: 2025-06, 2025-Q2 or 2025")
    form.add_argument(
        "--closing", choices=("calendar", "administrative"), default="calendar",
        help="II.06a: by the calendar, or closed on the 14th",
    )  # fmt: skip
    form.add_argument(
        "--with-subordinates", action="store_true",
        help="II.06a: with all units below the agency, as one body; handovers inside cancel out",
    )  # fmt: skip
    form.add_argument("--output", help="the file; otherwise one below forms/ of the installation")
    portal = commands.add_parser(
        "national",
        help="the national portal: status, stop, resume, retry, dry-run, compare, answers, explain, what-if",
    )
    portal.add_argument(
        "action",
        choices=("status", "stop", "resume", "retry", "dry-run", "compare", "answers", "explain", "what-if"),
        nargs="?",
        default="status",
    )
    portal.add_argument("--why", default="", help="stop, resume: the reason, for whoever comes next")
    portal.add_argument(
        "--code",
        action="append",
        default=[],
        help="retry: the dossier of this code; compare: an export file; answers: AGENCY=FILE",
    )
    portal.add_argument("--dossiers", help="what-if: a CSV file with the dossiers as they are assumed")
    portal.add_argument(
        "--base", choices=("portal", "warehouse"), default="portal",
        help="what-if: they take the place of the portal's copy (as ours, where nothing else is said), or of ours",
    )  # fmt: skip
    portal.add_argument(
        "--period", help="dry-run: of dossiers received in 2024, 2024-06 or 2024-06-03/2024-06-09"
    )
    portal.add_argument(
        "--adopt", action="store_true", help="retry: replace what somebody else wrote at the portal"
    )
    sending = commands.add_parser(
        "catalogue", help="the CKAN catalogue: push the current release, or withdraw"
    )
    sending.add_argument("action", choices=("push", "withdraw"))
    sending.add_argument(
        "dataset", nargs="?", default="", help="its id, such as procedures; push: all if left out"
    )
    commands.add_parser(
        "dbt", help="dbt's own command, to try a rule: dbt test --select test_type:unit,fct_dossier"
    )
    commands.add_parser("docs", help="write the catalogue of tables and columns as pages that open offline")
    commands.add_parser("sandbox", help="run every stand-in, in the foreground")
    # What follows psql, client, airflow, dbt or vault is theirs, also where it begins with a dash.
    words = sys.argv[2:] if sys.argv[1:2] in _OTHERS else []
    given = parser.parse_args(sys.argv[1:2] if words else None)
    try:
        settings = Settings()
        if given.command == "run":
            from ops import run  # heavy, and only needed here

            run.run(settings, parse_period(given.period) if given.period else settings.period)
        elif given.command == "up":
            _up(settings)
        elif given.command == "down":
            services.Supervisor(settings).down()
        elif given.command == "url":
            _url(settings, given.login)
        elif given.command == "psql":
            _psql(settings, words)
        elif given.command == "client":
            _client(settings, words)
        elif given.command == "status":
            print("\n".join(sorted(services.Supervisor(settings).running())) or "nothing runs")
        elif given.command == "logs":
            supervisor = services.Supervisor(settings)
            for name in services.SERVICES:
                print(f"== {supervisor.logs / name}.log\n{supervisor.tail(name)}")
        elif given.command == "env":
            env = {**settings.airflow_env(), **settings.dbt_env(), **services.default_connections(settings)}
            env["PYTHONPATH"] = str(PROJECT)
            print("\n".join(f"export {k}={shlex.quote(v)}" for k, v in env.items()))
        elif given.command == "rejects":
            _rejects(settings, given)
        elif given.command in ("who-looked", "audit-verify"):
            return _audit(settings, given.command)
        elif given.command == "national":
            _national(settings, given)
        elif given.command == "collect":
            _collect(settings, given.dry_run)
        elif given.command == "renew-handles":
            _renew_handles(settings)
        elif given.command == "form":
            _form(settings, given)
        elif given.command == "catalogue":
            _catalogue(settings, given)
        elif given.command == "dbt":
            _dbt(settings, words)
        elif given.command == "docs":
            _docs(settings)
        elif given.command == "roles":
            _roles(settings, given)
        elif given.command == "clean":
            _clean(settings)
        elif given.command == "airflow":
            _airflow(settings, words)
        elif given.command == "vault":
            if not words:
                parser.error("vault needs a command: rotate, retoken, erase, collect, match, links or unlink")
            _vault(settings, words)
        elif given.command == "prepare":
            _prepare(settings)
        elif given.command == "exec":
            services.execute(settings, given.service)
        elif given.command == "sandbox":
            return services.sandboxes(settings)
    except (SettingsError, services.ServiceError) as e:
        print(f"kho chung: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        print(
            f"kho chung: could not write {e.filename or settings.home}: {e.strerror}. Free space on its disk, or give "
            "another place (KHOCHUNG_HOME), then do it again; nothing half-done is visible.",
            file=sys.stderr,
        )
        return 1
    except Exception as e:
        told = database_trouble(e)
        if told is None:
            raise
        print(f"kho chung: {told}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
