"""``python -m vault``: serve on a local socket.

``python -m vault rotate``: change the master encryption key, also while the vault serves.
``python -m vault retoken``: change the token key; whatever else asks the vault waits until it is done.
``python -m vault erase --request ... --decision erase|restrict|refuse --basis ... --officer ... [--term ...]
[--papers all|this]``: record and carry out what was decided on a person's request; reads the identity number from
standard input, where no other user of the machine sees it.
``python -m vault collect --number ... --unused ... --officer ...``: delete what a collection found unused and was
refused to delete, because it is much (`vault.collection`).

``python -m vault match``: link the papers of one person (`vault.crosswalk`), also while the vault serves.
``python -m vault links --officer ...``: how the papers of one person are linked; identity number on standard input.
``python -m vault unlink --link ... --officer ... --basis ...``: part two papers again, for good.

Environment: VAULT_DATABASE_URL, VAULT_SOCKET, VAULT_KEYS (folder), VAULT_TOKEN_FILE (made if absent; so is the
token for calls about the audit, ``audit.token`` beside the keys),
VAULT_AGREEMENTS (folder of agreement records; without it nothing is ever disclosed), VAULT_REPAIRS (file of repair
rules; without it the project's own), VAULT_ERASURES (journal of decisions on persons; without it erasures.jsonl beside
the keys), VAULT_KEY_PROVIDER (file or transit; see `vault.keys`), VAULT_OFFICERS (file of officers who may reveal;
without it nobody may), VAULT_AUDIT_COPY (folder of the audit's copy; without it there is none), VAULT_ALERT_TIMES and
VAULT_ALERT_LEAST (an alert where a day's readings of one caller are more than so many times his usual ones, and more
than so many), VAULT_ALERT_SEALED (or a day's persons never held before), VAULT_ALERT_REFUSALS (or a day's refusals of
one caller, or about one person).
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import secrets
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import adbc_driver_postgresql.dbapi as adbc
import uvicorn
from cryptography.exceptions import InvalidTag

from vault import crosswalk
from vault.audit import AUDIT_TOKEN, Alarm, AuditTrouble
from vault.collection import CollectionError
from vault.erasure import DECISIONS, Request, RequestError
from vault.keys import KeyTrouble, provider
from vault.retoken import BATCH as RENAMED
from vault.rotation import BATCH
from vault.server import application
from vault.store import Setup, Store, was_set_up


def _setting(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        sys.exit(f"vault: looked for the setting {name} in the environment and found none; see .env.example")
    return value


def _bearer(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
            f.write(secrets.token_urlsafe(32))
    return path.read_text().strip()


def _alarm() -> Alarm:
    usual = Alarm()
    try:
        return Alarm(
            float(os.environ.get("VAULT_ALERT_TIMES") or usual.times),
            int(os.environ.get("VAULT_ALERT_LEAST") or usual.least),
            int(os.environ.get("VAULT_ALERT_SEALED") or usual.sealed),
            int(os.environ.get("VAULT_ALERT_REFUSALS") or usual.refusals),
        )
    except ValueError:
        sys.exit(
            "vault: VAULT_ALERT_TIMES is to be a number such as 3, VAULT_ALERT_LEAST a whole one such as 20, so are "
            "VAULT_ALERT_SEALED and VAULT_ALERT_REFUSALS"
        )


def _store(serving: bool, finishing: bool = False) -> Store:
    """The vault's store; a wrong key or an unreachable database ends with one clear line."""
    keys_folder = Path(_setting("VAULT_KEYS"))
    url = _setting("VAULT_DATABASE_URL")
    try:
        # Keys are made only for a vault that never had any: none beside a filled database is a loss, and so is
        # an emptied database beside data that were landed under keys now gone.
        never = serving and not (keys_folder / "made").exists() and not was_set_up(url)
        erasures = Path(os.environ.get("VAULT_ERASURES", "") or keys_folder / "erasures.jsonl")
        copy = os.environ.get("VAULT_AUDIT_COPY", "")
        keys = provider(os.environ, keys_folder, create=never)
        store = Store(
            Setup(
                url, keys, erasures=erasures, audit_copy=Path(copy) if copy else None, alarm=_alarm(),
                finishing=finishing,
            )
        )  # fmt: skip
    except KeyTrouble as e:
        sys.exit(f"vault: {e}")
    except adbc.Error as e:
        parts = urlsplit(url)
        sys.exit(
            f"vault: looked for its database at {parts.hostname}:{parts.port or 5432}{parts.path} "
            f"(VAULT_DATABASE_URL) and could not use it: {' '.join(str(e).split())}"
        )
    if serving:
        (keys_folder / "made").touch()
    return store


def _rotate(batch: int) -> None:
    store = _store(serving=False)
    try:
        done = store.rotate(batch)
    except KeyTrouble as e:
        sys.exit(f"vault: {e}")
    print(
        f"vault: {done.keys:,} keys were wrapped anew in {done.seconds:.0f} s; all lie under encryption key "
        f"{done.version} now ({store.masters.provider.place(done.version)}). Back it up, apart from the database. The "
        f"one before ({store.masters.provider.place(done.version - 1)}) is needed for older backups of the database "
        "alone: remove it once you keep none of those."
    )


def _retoken(batch: int) -> None:
    store = _store(serving=False, finishing=True)
    try:
        done = store.retoken(batch)
    except KeyTrouble as e:
        sys.exit(f"vault: {e}")
    print(
        f"vault: {done.rows:,} rows took handles of token key {done.version} in {done.seconds:.0f} s "
        f"({store.masters.provider.make_token_key(done.version)}). Back it up, apart from the database, and keep those "
        "before: every one of them is needed. Now bring the warehouse to it: .venv/bin/python -m ops renew-handles."
    )


def _person(store: Store) -> str:
    token = store.sealer.token(sys.stdin.readline().strip())
    if token is None:
        sys.exit("vault: looked for an identity number on standard input and found none that names a person")
    return token


def _decide(given: argparse.Namespace) -> None:
    store = _store(serving=False)
    token, *others = crosswalk.papers_of(store, _person(store))
    if others and not given.papers:
        sys.exit(
            f"vault: this person has {len(others) + 1} linked papers, {token} and {', '.join(others)}. Nothing was "
            "decided. Say --papers all to decide on all of them, or --papers this on the one whose number was given."
        )
    holders = [token, *others] if given.papers == "all" else [token]
    try:
        deleted = store.decide(
            *(
                Request(
                    given.request, holder, given.decision, given.basis, given.officer,
                    given.decided_at or dt.datetime.now(dt.UTC).isoformat(), given.term,
                )
                for holder in holders
            )
        )  # fmt: skip
    except (AuditTrouble, RequestError, KeyTrouble) as e:
        sys.exit(f"vault: {e}")
    print(f"vault: request {given.request}: {given.decision}, recorded; {deleted:,} sealed values deleted")
    if others:
        print(f"vault: of the linked papers {', '.join(others)} {'too' if len(holders) > 1 else 'none'}")


def _match() -> None:
    store = _store(serving=False)
    began = time.monotonic()
    try:
        told = crosswalk.match(store)
    except AuditTrouble as e:
        sys.exit(f"vault: {e}")
    except InvalidTag:
        sys.exit("vault: a value does not prove itself: the vault's database was altered. Restore it")

    def counted(by: str) -> str:
        return ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in told[by].items()) or "none"

    print(
        f"vault: {told['papers']:,} papers compared in {time.monotonic() - began:.0f} s, "
        f"{told['without_birth_date']:,} of them without a birth date. "
        f"Linked by: {counted('linked')}; linked before: {told['already']:,}. "
        f"Pairs that stayed apart: {counted('apart')}. New conflicts (table identity_conflict): {counted('conflicts')}."
    )


def _links(given: argparse.Namespace) -> None:
    store = _store(serving=False)
    try:
        found = crosswalk.links(store, _person(store), given.officer)
    except (AuditTrouble, crosswalk.CrosswalkError) as e:
        sys.exit(f"vault: {e}")
    for n in found:
        print(
            f"{n['link_id']}  {n['kind_a']} {n['token_a']} and {n['kind_b']} {n['token_b']} by {n['evidence']} "
            f"({n['detail']}), rule {n['rule_version']}, {n['matched_at'].isoformat(timespec='seconds')}"
            + (
                f"; undone {n['undone_at'].isoformat(timespec='seconds')} by {n['undone_by']}: {n['undone_why']}"
                if n["undone_at"]
                else ""
            )
        )
    if not found:
        print("vault: no other paper is linked, or was, to the one with this number")


def _unlink(given: argparse.Namespace) -> None:
    store = _store(serving=False)
    try:
        crosswalk.undo(store, given.link, given.officer, given.basis)
    except (AuditTrouble, crosswalk.CrosswalkError) as e:
        sys.exit(f"vault: {e}")
    print(f"vault: the link {given.link} is undone, for good: the rule joins these papers no more")


def _collect(number: int, unused: int, officer: str) -> None:
    collection = _store(serving=False).collection
    try:
        collection.confirm(number, unused, officer)
        while not (done := collection.delete(number)).done:
            pass
    except (CollectionError, AuditTrouble) as e:
        sys.exit(f"vault: {e}")
    print(
        f"vault: collection {number}: {done.values:,} sealed values, {done.dossiers:,} dossiers' links and "
        f"{done.keys:,} keys deleted"
    )


def main() -> None:
    """Serve, or do what the command says."""
    os.umask(0o077)
    parser = argparse.ArgumentParser(prog="python -m vault")
    commands = parser.add_subparsers(dest="command")
    rotating = commands.add_parser("rotate", help="change the master encryption key")
    rotating.add_argument("--batch", type=int, default=BATCH, help="keys wrapped anew in one transaction")
    renaming = commands.add_parser("retoken", help="change the token key")
    renaming.add_argument("--batch", type=int, default=RENAMED, help="rows renamed in one transaction")
    erasing = commands.add_parser("erase", help="a decision on a person; identity number on standard input")
    erasing.add_argument("--request", required=True, help="number of the citizen's request in the register")
    erasing.add_argument("--decision", required=True, choices=DECISIONS)
    erasing.add_argument(
        "--basis", required=True, help="document and law it rests on; no name or number of a person"
    )
    erasing.add_argument("--officer", required=True, help="code of who decided")
    erasing.add_argument("--decided-at", help="moment with its zone; now if left out")
    erasing.add_argument("--term", help="last day of a restriction, or of what stands against erasing")
    erasing.add_argument(
        "--papers", choices=("all", "this"), help="of a person with linked papers: all, or this one"
    )
    collecting = commands.add_parser("collect", help="delete what a refused collection found unused")
    collecting.add_argument("--number", required=True, type=int, help="of the collection, from its refusal")
    collecting.add_argument("--unused", required=True, type=int, help="how much may go, from its refusal")
    collecting.add_argument("--officer", required=True, help="code of who answers for it")
    commands.add_parser("match", help="link the papers of one person")
    linked = commands.add_parser(
        "links", help="how a person's papers are linked; identity number on standard input"
    )
    linked.add_argument("--officer", required=True, help="code of who asks")
    parting = commands.add_parser("unlink", help="part two papers again, for good")
    parting.add_argument("--link", required=True, help="the link's id, as `links` tells it")
    parting.add_argument("--officer", required=True, help="code of who decided")
    parting.add_argument("--basis", required=True, help="document it stands in; no number of a person")
    given = parser.parse_args()
    if given.command == "rotate":
        _rotate(given.batch)
    elif given.command == "retoken":
        _retoken(given.batch)
    elif given.command == "erase":
        _decide(given)
    elif given.command == "collect":
        _collect(given.number, given.unused, given.officer)
    elif given.command == "match":
        _match()
    elif given.command == "links":
        _links(given)
    elif given.command == "unlink":
        _unlink(given)
    else:
        _serve()


def _serve() -> None:
    socket = Path(_setting("VAULT_SOCKET"))
    store = _store(serving=True)
    token = _bearer(Path(_setting("VAULT_TOKEN_FILE")))
    socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket.unlink(missing_ok=True)
    folder = os.environ.get("VAULT_AGREEMENTS", "")
    agreements = Path(folder) if folder else None
    # Reviewed with the code, so its place is known.
    repairs = Path(os.environ.get("VAULT_REPAIRS", "") or Path(__file__).parents[1] / "ops" / "repairs.yml")
    officers = os.environ.get("VAULT_OFFICERS", "")
    # Beside the keys: whoever seals can read neither.
    audit_token = _bearer(Path(_setting("VAULT_KEYS")) / AUDIT_TOKEN)
    served = application(store, token, agreements, repairs, Path(officers) if officers else None, audit_token)
    uvicorn.run(served, uds=str(socket), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
