from __future__ import annotations

import pytest

from tests.national.world import Portal, World


@pytest.fixture
def world(database: str) -> World:
    return World(database)


@pytest.fixture
def gate() -> Portal:
    return Portal()
