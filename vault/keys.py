"""Keys of the vault: a token key (a join key over everything landed) and an encryption key, kept apart.

The file provider serves one machine: a folder only its owner may read. Other providers (transit, PKCS#11)
have the same two methods. Losing the token key means that new data no longer join old data; losing the
encryption key means that no sealed value can be read again. Back both up, apart from the database.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

KEY_BYTES = 32


class KeyTrouble(Exception):
    """A key is missing, unreadable by right, or not the one the vault was set up with."""


class KeyProvider(Protocol):
    """Where master keys come from."""

    def token_key(self) -> bytes:
        """32 bytes under which identities are tokenised and references made."""

    def encryption_key(self) -> bytes:
        """32 bytes under which data keys are wrapped."""


@dataclass(frozen=True)
class FileKeys:
    """Two files of 32 random bytes in `folder`, made at first use, readable by their owner alone."""

    folder: Path
    create: bool = field(default=False)

    def token_key(self) -> bytes:
        """See KeyProvider."""
        return self._key("token.key")

    def encryption_key(self) -> bytes:
        """See KeyProvider."""
        return self._key("encryption.key")

    def _key(self, name: str) -> bytes:
        path = self.folder / name
        if not path.exists():
            if not self.create:
                raise KeyTrouble(
                    f"looked for the vault key {path} and found none, although this vault holds sealed values. "
                    "Put the key back from its backup; a new key would not join the data landed so far."
                )
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
                f.write(os.urandom(KEY_BYTES))
                f.flush()
                os.fsync(f.fileno())
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyTrouble(f"{path} may be read by others (mode {mode:o}); run: chmod 600 {path}")
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise KeyTrouble(
                f"{path} holds {len(key)} bytes instead of {KEY_BYTES}; put it back from its backup"
            )
        return key


def derive(key: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose, so that a token never equals a reference."""
    return hmac.digest(key, f"kho-chung/{purpose}".encode(), hashlib.sha256)


def fingerprint(provider: KeyProvider) -> str:
    """A short name of both keys that tells nothing about them."""
    both = derive(provider.token_key(), "fingerprint") + derive(provider.encryption_key(), "fingerprint")
    return hashlib.sha256(both).hexdigest()[:16]
