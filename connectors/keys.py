"""What a connector offers that can list the keys of its records without reading them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from connectors.base import Interval


@runtime_checkable
class KeyLister(Protocol):
    """Finds deletions: a key that is not listed, and whose record cannot be had either, is gone."""

    def keys(self, interval: Interval) -> list[str]:
        """Keys of all records received in the interval, each once; raises SourceError unless the list is whole."""

    def gone(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` whose record the source says it does not have."""
