"""The warehouse after the vault's token key was changed: where landing and vault meet over handles."""

from __future__ import annotations

from connectors.contract import contract, contract_names
from landing import handles
from ops.outcomes import NothingToDo, recorded
from ops.settings import Settings
from vault.client import VaultClient


def renewing(settings: Settings) -> handles.Renew:
    """Asks the vault for the present form of handles; connects when it is first asked."""
    return lambda texts: VaultClient(settings.vault_socket, settings.vault_token).renewed(texts)


def renew_warehouse(settings: Settings) -> handles.Renewed:
    """Bring the handles of all raw tables to the vault's token key; NothingToDo where they are there already."""
    from ops import tasks  # which knows this module, too

    with recorded(settings.home, "renew_handles") as outcome, tasks.one_at_a_time(settings, "build"):
        specs = [tasks.table_spec(contract(name)) for name in contract_names()]
        done = handles.renew_warehouse(settings.login_url("loader"), specs, renewing(settings))
        outcome.details |= {"version": done.version, "rows": done.rows, "load_numbers": done.load_numbers}
        if not done.load_numbers:
            raise NothingToDo(
                f"the warehouse's tokens are of version {done.version} already, the vault's present one"
            )
        return done
