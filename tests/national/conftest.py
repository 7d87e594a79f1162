from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Vault, start_sandbox, stop
from tests.national.place import Place
from tests.national.world import Portal, World


@pytest.fixture
def world(database: str) -> World:
    return World(database)


@pytest.fixture
def gate() -> Portal:
    return Portal()


@pytest.fixture(scope="module")
def exchange() -> Iterator[str]:
    sandbox, process = start_sandbox("exchange", SANDBOX_FAULTS="[]")
    yield sandbox.base_url
    stop(process)


@pytest.fixture
def place(database: str, vault: Vault, tmp_path: Any, exchange: str) -> Place:
    return Place(database, vault, tmp_path, exchange)
