"""Ask the national population database about citizens the dossiers name: whom, under what, and how many a day.

Whom: citizens whose dossiers came in by an account not verified by VNeID (where it was, the dossier system holds the
answer already), never asked about before, or asked about under another name or year of birth. The newest dossiers go
first; what the agreement's daily quota leaves is asked on the next day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import psycopg

from connectors import population
from connectors.base import Interval
from connectors.contract import contract
from landing import loader
from landing.manifest import Manifest
from ops import tasks
from ops.outcomes import NothingToDo, recorded
from ops.settings import VIETNAM, Settings, SettingsError
from ops.sources import Source
from vault.client import VaultClient
from vault.purposes import Agreement, AgreementError, NoAgreement, QuotaSpent, read_agreement, today

PURPOSE = "citizen_check"
#: Persons read from the warehouse beyond the quota: those the vault has nothing to ask with cost none of it.
SLACK = 1_000
#: A person is described by the newest dossier; the answer of a dossier system is an account verified by VNeID. Only
#: dossiers of the source's own origin count: nobody invented is ever asked about in the real database.
_DUE = """
with person as (
    select
        applicant_id_number as token,
        (array_agg(applicant_name order by received_at desc, source_code, dossier_id))[1] as name_reference,
        (array_agg(applicant_birth_year order by received_at desc, source_code, dossier_id))[1] as birth_year,
        max(received_at) as received_at
    from raw.dossier
    where applicant_type = 1 and applicant_id_number is not null and applicant_name is not null
        and _origin = %(origin)s
        and (source_code, dossier_id) not in (
            select gone.source_code, gone.dossier_id from raw.dossier_deletion as gone where gone.deleted_at is not null
        )
    group by applicant_id_number
    having not coalesce(bool_or(is_vneid_account), false)
)
select person.token, person.name_reference, person.birth_year, count(*) over () as due
from person
left join lateral (
    select bool_or(outcome <> 'pending') as is_answered
    from raw.citizen_check as held
    where held.source_code = %(source)s and held.person_token = person.token
        and held.name_reference = person.name_reference
        and held.asked_birth_year is not distinct from person.birth_year
) as checked on true
where checked.is_answered is not true
order by checked.is_answered is not null, person.received_at desc, person.token
limit %(most)s
"""


def _say(text: str) -> None:
    print(text, flush=True)  # task logs and the console of `make run` both take it from here


def due(settings: Settings, entry: Source, most: int) -> tuple[list[population.Person], int]:
    """Up to `most` persons to ask about, and how many there are altogether; NothingToDo before any dossier."""
    with psycopg.connect(settings.login_url("loader")) as connection:
        loader.prepare(connection, [tasks.table_spec(contract(t)) for t in population.Population.tables])
        if connection.execute("select to_regclass('raw.dossier')").fetchone() == (None,):
            raise NothingToDo("no dossiers are loaded yet, so there is nobody to ask about")
        rows = connection.execute(
            _DUE, {"origin": entry.origin, "source": entry.code, "most": most}
        ).fetchall()
    return [population.Person(*row[:3]) for row in rows], rows[0][3] if rows else 0


def in_force(settings: Settings) -> Agreement:
    """The agreement to ask under; NothingToDo says which record is lacking, SettingsError what is wrong with it."""
    try:
        return read_agreement(settings.agreements, PURPOSE, today())
    except NoAgreement as e:
        raise NothingToDo(str(e)) from None
    except AgreementError as e:
        raise SettingsError(str(e)) from None


def check_citizens(settings: Settings, code: str, address: Callable[[], tasks.Address]) -> str:
    """Ask about whoever is due, within the day's quota, and land the outcomes; the folder of the batch.

    `address` is asked for only when somebody is to be asked about: switched off, the source needs no connection.

    Raises NothingToDo without an agreement in force, without anybody due, or with the quota spent.
    """
    entry = tasks.source(settings, code)
    with recorded(settings.home, "pull", code) as outcome:
        agreement = in_force(settings)
        midnight = dt.datetime.combine(today(), dt.time(), VIETNAM)
        day = entry.clip(Interval(midnight, midnight + dt.timedelta(days=1)))
        if day is None:
            raise NothingToDo(f"{code} is not active today; see active_from and active_until")
        people, number = due(settings, entry, agreement.daily_quota + SLACK)
        if not people:
            raise NothingToDo("every citizen the dossiers name is checked already")
        vault = VaultClient(settings.vault_socket, settings.vault_token)
        _, left = vault.disclose(PURPOSE)
        if left < 1:
            raise NothingToDo(
                f"the {agreement.daily_quota:,} readings a day of document {agreement.document} are used up; "
                f"{number:,} citizens stay pending until tomorrow"
            )

        def disclose(person: population.Person) -> population.Question | None:
            try:
                (given,), _ = vault.disclose(PURPOSE, [(person.token, person.name_reference)])
            except QuotaSpent as e:
                raise population.QuotaSpent(str(e)) from None
            if given.identity_number is None or given.name is None:
                return None
            return population.Question(given.request_id, given.identity_number, given.name)

        place = address()
        connector = entry.connect(place.base_url, place.login, place.secret)
        if not isinstance(connector, population.Population):
            raise SettingsError(f"source {code}: {entry.connector} does not answer questions about citizens")
        request = population.CheckRequest(
            day, on_progress=_say, people=people, disclose=disclose, officer_code=agreement.officer_code,
            agreement=agreement.document,
        )  # fmt: skip
        folder = tasks.land(settings.landing, entry, connector, request, vault)
        asked = connector.outcomes
        # A pending one was asked about and is due again.
        pending = number - asked.total() + asked["pending"]
        outcome.details |= tasks.batch_details(Manifest.read(folder))
        outcome.details |= {"outcomes": dict(sorted(asked.items())), "pending": pending}
        told = ", ".join(f"{n} {o}" for o, n in asked.most_common()) or "no answer"
        _say(f"{code}: {asked.total():,} citizens asked about ({told}); {pending:,} pending")
        return str(folder)


__all__ = ["PURPOSE", "check_citizens", "due", "in_force"]
