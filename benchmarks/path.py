"""The product's own path from a page to typed, sealed batches; also what the other side of a comparison uses."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import orjson
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connectors.base import Chunk, Endpoint
from connectors.igate import IGate
from ops.ahead import ahead
from vault.keys import FileKeys
from vault.persons import Masters, new_keys
from vault.sealing import Ciphertexts, Sealer, ciphertexts

#: Seals the tables of one chunk together, as the product does.
Seal = Callable[[Sequence[pa.RecordBatch]], list[pa.RecordBatch]]


def _ids(bodies: list[bytes]) -> list[str]:
    # A pull knows which dossier it asked for; here it stands at the beginning of each page.
    return [body[7:31].decode() for body in bodies]


def chunks(bodies: list[bytes]) -> Iterator[Chunk]:
    """The connector's own path from bytes to typed batches, in its own chunk size."""
    connector = IGate("igate_tien_giang", Endpoint("http://nowhere"))
    first = [orjson.loads(body) for body in bodies[: connector.learn_from]]
    connector._layout = IGate.shape().learn(first)
    size = connector.chunk_size
    parts = (bodies[at : at + size] for at in range(0, len(bodies), size))
    # In a pull, the next part's answers arrive, and are accepted, while one part is typed.
    for part, details in ahead((part, [connector.read(body) for body in part]) for part in parts):
        chunk = connector.chunk(_ids(part), details)
        if chunk.rejects or chunk.quarantine:
            raise RuntimeError(f"a page broke its contract: {chunk.rejects[:1]}")
        yield chunk


def local_sealer() -> Sealer:
    """A sealer in this process, under keys of this run."""
    return Sealer(os.urandom(32), os.urandom(32))


_MASTERS = Masters(FileKeys(Path(tempfile.gettempdir())), {1: AESGCM(os.urandom(32))})


def encrypt(values: pa.Table) -> Ciphertexts:
    """The values of a sealed batch encrypted as the vault does it: a new key for each holder, wrapped."""
    keys = new_keys(values["holder"].unique().to_pylist())
    _MASTERS.wrap(1, keys)
    return ciphertexts(values, keys)


def seal_in_memory(sealer: Sealer, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Batches sealed, their values encrypted and thrown away."""
    sealed, values = sealer.seal_together(batches)
    encrypt(values)
    return sealed
