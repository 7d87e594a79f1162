"""Versions of handles: what stands in the place of a person or a value, and changes its form with the token key.

A handle is a token (``id1_...``), a reference (``ref1_...``), a group (``grp1_...``) or the mark of a quarantined
record (``dig1_...``): kind, version of the token key, 16 bytes in hexadecimal. `vault.sealing` makes version 1 under
token key 1. A later version is its 16 bytes encrypted as one block of AES-256 under a key derived from that version's
token key. A block cipher is a one-to-one map: two handles are equal in one version exactly where they are in another,
so joins and row counts stay equal, also of persons whose values nobody can read any more. And the map needs no table:
who has the keys goes through it in both directions, anybody else in none.

Token key 1 is therefore kept for good, and alone tells nothing of handles of a later version: whoever has it can try
identity numbers until one fits a handle of version 1, but not take the step to the next without the next key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

from vault.keys import derive

#: Kind -> what its key is derived for.
KINDS = {"id": "token", "ref": "reference", "grp": "reference", "dig": "digest"}
#: One digit stands in a handle.
MOST_VERSIONS = 9
_BYTES = 16
_SHAPE = rf"^(id|ref|grp|dig)[1-{MOST_VERSIONS}]_[0-9a-f]{{32}}$"


class HandleError(Exception):
    """A handle is of a version this vault has no key for; the message repeats nothing of it."""


class Handles:
    """The versions there are; `keys` are the token keys (32 bytes) from version 2 on. Holds no state about persons."""

    def __init__(self, keys: Mapping[int, bytes] | None = None) -> None:
        keys = keys or {}
        self.version = max(keys, default=1)
        self._ciphers = {
            # One block for each handle, and no two blocks equal: the case this mode is right for.
            (version, part): Cipher(AES256(derive(key, f"handles/{part}")), ECB())  # noqa: S305
            for version, key in keys.items()
            for part in set(KINDS.values())
        }

    def current(self, handles: pa.Array) -> pa.Array:
        """Texts, with every handle of another version in the current one; what is no handle stays. HandleError."""
        return self._mapped(handles, self.version)

    def current_of_few(self, handles: pa.Array) -> pa.Array:
        """`current` of texts that repeat: each distinct one is worked out once."""
        if self.version == 1:
            return handles
        coded = handles.dictionary_encode()
        return self.current(coded.dictionary).take(coded.indices)

    def first(self, handles: pa.Array) -> pa.Array:
        """Texts, with every handle in version 1."""
        return self._mapped(handles, 1)

    def current_one(self, handle: str) -> str:
        """`current` of one."""
        return handle if self.version == 1 else str(self.current(pa.array([handle]))[0])

    def first_one(self, handle: str) -> str:
        """`first` of one."""
        return str(self.first(pa.array([handle]))[0])

    def current_of(self, handles: Iterable[str]) -> list[str]:
        """`current` of several."""
        return list(self.current(pa.array(list(handles), pa.string())).to_pylist())

    def every_version(self, handle: str) -> list[str]:
        """All forms of one handle, the oldest first."""
        given = pa.array([handle])
        return [str(self._mapped(given, version)[0]) for version in range(1, self.version + 1)]

    def sealed_digest(self, digest: bytes) -> bytes:
        """16 bytes made under token key 1, as the current version has them."""
        return self.stepped("digest", digest)

    def stepped(self, part: str, blocks: bytes) -> bytes:
        """Blocks of 16 bytes of version 1, one after another, in the current version."""
        return self._stepped(part, blocks, 1, self.version)

    def _mapped(self, handles: pa.Array, version: int) -> pa.Array:
        if self.version == 1 or not len(handles):
            return handles
        waiting = pc.fill_null(pc.match_substring_regex(handles, _SHAPE), False)
        while pc.any(waiting).as_py():
            # All of the kind and version of the first that waits: mostly there is but one.
            prefix, _, _ = handles[pc.index(waiting, True).as_py()].as_py().partition("_")
            chosen = pc.and_(waiting, pc.fill_null(pc.starts_with(handles, f"{prefix}_"), False))
            waiting = pc.and_not(waiting, chosen)
            kind, before = prefix[:-1], int(prefix[-1])
            if before == version:
                continue
            if before > self.version:
                raise HandleError(
                    f"handles of version {before} were given, and this vault has token keys up to version "
                    f"{self.version} only: its database was put back from a backup older than the change of the "
                    "key. Run `python -m vault retoken` (docs/operations.md)."
                )
            raw = self._stepped(KINDS[kind], _bytes_of(handles.filter(chosen), prefix), before, version)
            handles = pc.replace_with_mask(handles, chosen, _texts_of(f"{kind}{version}_", raw))
        return handles

    def _stepped(self, part: str, blocks: bytes, before: int, after: int) -> bytes:
        """Blocks of one version in another."""
        if before > 1:
            blocks = self._ciphers[before, part].decryptor().update(blocks)
        return blocks if after == 1 else self._ciphers[after, part].encryptor().update(blocks)


def _bytes_of(handles: pa.Array, prefix: str) -> bytes:
    """The 16 bytes of each, one after another."""
    texts = b"".join(handles.cast(pa.binary()).to_pylist())
    digits = np.frombuffer(texts, np.uint8).reshape(len(handles), -1)[:, len(prefix) + 1 :]
    return bytes.fromhex(digits.tobytes().decode())


def _texts_of(prefix: str, raw: bytes) -> pa.Array:
    number = len(raw) // _BYTES
    text = np.empty((number, len(prefix) + 2 * _BYTES), np.uint8)
    text[:, : len(prefix)] = np.frombuffer(prefix.encode(), np.uint8)
    text[:, len(prefix) :] = np.frombuffer(raw.hex().encode(), np.uint8).reshape(number, 2 * _BYTES)
    offsets = np.arange(number + 1, dtype=np.int32) * text.shape[1]
    return pa.StringArray.from_buffers(number, pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))
