"""What agencies see in a person's place: ``raw.person_pseudonym``, kept in step with the dossiers before each build.

One row for each responsible agency and person who has a dossier there, with the pseudonym the vault made. It joins
tokens to pseudonyms, so it stands where tokens stand: in ``raw``, which only loading and building may read.

The vault is asked about pairs that are new, and about all where what its earlier answers depended on has changed (a
person was erased, a key was changed). All is one transaction: a kill leaves the table as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
import pyarrow as pa
from psycopg import sql

from ops.unlink import unlink
from vault.client import VaultClient
from vault.pseudonyms import MOST_AT_ONCE
from vault.sealing import UNLINKED

_TABLE = (
    "create table if not exists raw.person_pseudonym (agency_code text not null, person_token text not null, "
    "pseudonym text not null, vault_state text not null, primary key (agency_code, person_token))"
)
_WANTED = (
    "create temp table wanted on commit drop as select distinct responsible_agency_code as agency_code, "
    "applicant_id_number as person_token from raw.dossier "
    "where responsible_agency_code is not null and applicant_id_number is not null"
)
_UNKNOWN = (
    "select person_token, agency_code from wanted "
    "left join raw.person_pseudonym held using (agency_code, person_token) where held.vault_state is distinct from %s"
)
#: Two statements: an OR over both would look each row up in tables without an index.
_GONE = (
    "delete from raw.person_pseudonym held where not exists (select from wanted "
    "where wanted.agency_code = held.agency_code and wanted.person_token = held.person_token)"
)
_ERASED = (
    "delete from raw.person_pseudonym held using answered where answered.pseudonym is null "
    "and answered.agency_code = held.agency_code and answered.person_token = held.person_token"
)
#: Persons in no agency's list: all their dossiers were pulled again and lost the token, and a check has it still.
_ELSEWHERE = "select person_token from raw.citizen_check except select person_token from wanted"
_KEEP = (
    "insert into raw.person_pseudonym (agency_code, person_token, pseudonym, vault_state) "
    "select agency_code, person_token, pseudonym, vault_state from answered where pseudonym is not null "
    "on conflict (agency_code, person_token) do update set pseudonym = excluded.pseudonym, "
    "vault_state = excluded.vault_state"
)


@dataclass(frozen=True)
class Renewed:
    """What was done: pairs the vault was asked about, pairs of erased persons among them, rows removed.

    `unlinked` is how many rows of ``raw`` lost an erased person's handles (`ops.unlink`).
    """

    asked: int
    erased: int
    removed: int
    unlinked: int = 0


def renew(connection: psycopg.Connection, vault: VaultClient) -> Renewed:
    """Bring the table up to ``raw.dossier`` and the vault; committed when this returns.

    `connection` enters as the loader, with nothing begun. Raises VaultUnavailable, VaultRefused.
    """
    connection.execute(_TABLE)
    connection.execute(_WANTED)
    connection.execute("analyze wanted")
    connection.execute(
        "create temp table answered (agency_code text, person_token text, pseudonym text, vault_state text) "
        "on commit drop"
    )
    asked = erased = 0
    # Without dossiers there is nothing to ask, and no need of the vault.
    if connection.execute("select from wanted limit 1").fetchone() is not None:
        _, state = vault.pseudonyms()
        with connection.cursor("unknown") as unknown:
            unknown.execute(_UNKNOWN, (state,))
            while pairs := unknown.fetchmany(MOST_AT_ONCE):
                given, state = vault.pseudonyms(pairs)
                with (
                    connection.cursor() as cursor,
                    cursor.copy(
                        "copy answered (person_token, agency_code, pseudonym, vault_state) from stdin"
                    ) as rows,
                ):
                    for pair, pseudonym in zip(pairs, given, strict=True):
                        rows.write_row((*pair, pseudonym, state))
                asked += len(pairs)
                erased += given.count(None)
    connection.execute("analyze answered")
    removed = connection.execute(_GONE).rowcount + connection.execute(_ERASED).rowcount
    connection.execute(_KEEP)
    void = connection.execute("select distinct person_token from answered where pseudonym is null").fetchall()
    gone = [str(token) for (token,) in void] + _gone_elsewhere(connection, vault)
    unlinked = sum(unlink(connection, gone, _handle(vault)).values()) if gone else 0
    if asked or removed:
        connection.execute("analyze raw.person_pseudonym")
    connection.commit()
    return Renewed(asked, erased, removed, unlinked)


def unlink_loaded(connection: psycopg.Connection, vault: VaultClient, number: int) -> None:
    """Have load `number`, in its own transaction, bring nothing back that joins an erased person's rows.

    Landed files keep their tokens for ever: a batch may have been landed before its person was erased.
    """
    gone: list[str] = []
    for table, column in (("dossier", "applicant_id_number"), ("citizen_check", "person_token")):
        if connection.execute("select to_regclass(%s)", (f"raw.{table}",)).fetchone() == (None,):
            continue
        with connection.cursor(f"loaded_{table}") as loaded:
            loaded.execute(
                sql.SQL("select distinct {0} from {1} where _load_number = %s and {0} is not null").format(
                    sql.Identifier(column), sql.Identifier("raw", table)
                ),
                (number,),
            )
            gone += _erased(loaded, vault)
    if gone:
        unlink(connection, gone, _handle(vault))


def _erased(held: psycopg.ServerCursor, vault: VaultClient) -> list[str]:
    """The tokens in the one column of `held` that are erased persons'; the pseudonyms of others are thrown away."""
    gone: list[str] = []
    while rows := held.fetchmany(MOST_AT_ONCE):
        given, _ = vault.pseudonyms([(token, "") for (token,) in rows])
        gone += [token for (token,), pseudonym in zip(rows, given, strict=True) if pseudonym is None]
    return gone


def _gone_elsewhere(connection: psycopg.Connection, vault: VaultClient) -> list[str]:
    """Tokens of erased persons that stand in checks and in no agency's list."""
    if connection.execute("select to_regclass('raw.citizen_check')").fetchone() == (None,):
        return []
    with connection.cursor("elsewhere") as held:
        held.execute(_ELSEWHERE)
        return _erased(held, vault)


def _handle(vault: VaultClient) -> str:
    """What stands, now, in the place of an erased person's reference."""
    return str(vault.renewed(pa.array([UNLINKED]))[0])
