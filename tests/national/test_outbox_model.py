"""Whatever happens in whatever order, what we note as accepted is what stands at the portal, once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from national import outbox
from national.mapping import hashed, read_mapping
from national.push import plan, push
from tests.national.world import KEY, OURS, QUICK, Killed, Portal, World

FAULTS = st.lists(
    st.sampled_from(
        ["", "", "lost_before", "lost_after", "expired", "busy", "killed_before", "killed_after"]
    ),
    max_size=12,
)
DOSSIERS = st.integers(1, 4)
TABLES = read_mapping()


class Way(RuleBasedStateMachine):
    """Loads, pushes, faults, deaths, and another writer, in any order."""

    new_world: Callable[[], World]

    @initialize()
    def begin(self) -> None:
        self.world, self.portal = type(self).new_world(), Portal()
        #: Codes somebody else wrote to, and what they then held.
        self.foreign: dict[str, dict] = {}

    @rule(number=DOSSIERS, status=st.sampled_from([2, 4, 5, 9, 10]), steps=st.integers(0, 2))
    def load(self, number: int, status: int, steps: int) -> None:
        self.world.put(number, status_code=status, steps=steps)

    @rule(number=DOSSIERS)
    def load_without_a_required_field(self, number: int) -> None:
        self.world.put(number, channel=None)

    @rule(number=DOSSIERS)
    def another_writer(self, number: int) -> None:
        code = f"H20.19-250702-{number:04d}"
        for item in self.portal.copy.find(code):
            changed = item | {"GhiChu": item.get("GhiChu", "") + "khác"}
            self.portal.copy.replace(code, changed)
            self.foreign[code] = changed

    @rule(number=DOSSIERS)
    def the_portal_loses_one(self, number: int) -> None:
        code = f"H20.19-250702-{number:04d}"
        self.portal.copy.delete(code)
        self.foreign.pop(code, None)

    @rule(faults=FAULTS)
    def sync(self, faults: list[str]) -> None:
        self.portal.plan = list(faults)
        with contextlib.suppress(Killed):
            self._sync()
        self.portal.plan = []

    @rule()
    def operator_gives_others_changes_up(self) -> None:
        for (code,) in self.world.rows("select national_code from national.dossier where state = 'conflict'"):
            self.foreign.pop(code, None)
        with self.world.connect() as connection:
            outbox.retry(connection, adopt=True)

    def _sync(self) -> None:
        with self.world.connect() as connection:
            plan(connection, OURS, KEY)
        push(self.world.connect, self.portal.exchange(), self.world.open, OURS, KEY, QUICK)

    @invariant()
    def nothing_stands_there_twice(self) -> None:
        if hasattr(self, "portal"):
            numbers = self.portal.copy.numbers()
            assert (numbers["doubled_codes"], numbers["doubled_progress"]) == (0, 0)

    @invariant()
    def nothing_of_another_writer_is_overwritten(self) -> None:
        for code, content in getattr(self, "foreign", {}).items():
            assert self.portal.copy.find(code) == [content]

    def teardown(self) -> None:
        if not hasattr(self, "portal"):
            return
        self._sync()
        self._sync()
        rows = self.world.rows(
            "select national_code, state, accepted_hash, draft_hash = accepted_draft_hash, lacking "
            "from national.dossier"
        )
        for code, state, accepted, current, lacking in rows:
            assert state in ("accepted", "held", "conflict"), (code, state)
            there = self.portal.copy.find(code)
            if state == "held":
                assert lacking == ["KenhThucHien"]
            elif state == "conflict":
                assert code in self.foreign
            elif code not in self.foreign and there:
                assert current
                assert hashed(TABLES["dossier"].masked(there[0], KEY), KEY) == accepted


def test_accepted_is_what_stands_there(server):
    def new_world() -> World:
        return World(server.new_database())

    Way.new_world = staticmethod(new_world)
    run_state_machine_as_test(
        Way,
        settings=settings(
            max_examples=8, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.timeout(7200)
@pytest.mark.prove
def test_accepted_is_what_stands_there_in_many_more_ways(server):
    Way.new_world = staticmethod(lambda: World(server.new_database()))
    run_state_machine_as_test(
        Way,
        settings=settings(
            max_examples=250, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
