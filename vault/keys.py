"""Master keys of the vault: a token key (a join key over everything landed) and encryption keys, kept apart.

Both have versions: number 1 stands in ``token.key`` and ``encryption.key``, those that `vault.retoken` and
`vault.rotation` make in ``token.2.key``, ``encryption.2.key`` and so on. Encryption keys wrap the keys of persons
(`vault.persons`); every token key stays in use (`vault.handles`). Losing a token key means that new data no longer join
old data; losing the encryption key in use means that no sealed value can be read again. Back both up, apart from the
database.

`FileKeys` serves one machine: a folder only its owner may read. `TransitKeys` keeps the same files, each wrapped by a
key that never leaves a server which speaks HashiCorp Vault's transit API; without it a copied disk yields nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import httpx

KEY_BYTES = 32
#: Seconds a transit server may take for one key.
TRANSIT_TIMEOUT = 10.0


class KeyTrouble(Exception):
    """A key is missing, unreadable by right, or not the one the vault was set up with."""


class KeyProvider(Protocol):
    """Where master keys come from."""

    def token_key(self, version: int = 1) -> bytes:
        """32 bytes under which handles of a version are made; KeyTrouble if there is no such version."""

    def make_token_key(self, version: int) -> str:
        """Make a version, unless it is there already; where it stands, for a message."""

    def encryption_key(self, version: int = 1) -> bytes:
        """32 bytes under which the keys of persons are wrapped; KeyTrouble if there is no such version."""

    def make_encryption_key(self, version: int) -> str:
        """Make a version, unless it is there already; where it stands, for a message."""

    def place(self, version: int) -> str:
        """Where a version of the encryption key stands."""


@dataclass(frozen=True)
class FileKeys:
    """Files of 32 random bytes in `folder`, the first of each made at first use, readable by their owner alone."""

    folder: Path
    create: bool = field(default=False)

    def token_key(self, version: int = 1) -> bytes:
        """See KeyProvider."""
        return self._key(self._token(version), self.create and version == 1)

    def make_token_key(self, version: int) -> str:
        """See KeyProvider."""
        self._key(self._token(version), create=True)
        return str(self._token(version))

    def encryption_key(self, version: int = 1) -> bytes:
        """See KeyProvider."""
        return self._key(self._encryption(version), self.create and version == 1)

    def make_encryption_key(self, version: int) -> str:
        """See KeyProvider."""
        self._key(self._encryption(version), create=True)
        return self.place(version)

    def place(self, version: int) -> str:
        """See KeyProvider."""
        return str(self._encryption(version))

    def _token(self, version: int) -> Path:
        return self._path("token" if version == 1 else f"token.{version}")

    def _encryption(self, version: int) -> Path:
        return self._path("encryption" if version == 1 else f"encryption.{version}")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def _key(self, path: Path, create: bool) -> bytes:
        if not path.exists():
            if not create:
                raise KeyTrouble(
                    f"looked for the vault key {path} and found none, although this vault holds sealed values. "
                    "Put the key back from its backup; a new key would not join the data landed so far."
                )
            self._write(path, self._closed(os.urandom(KEY_BYTES)))
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyTrouble(f"{path} may be read by others (mode {mode:o}); run: chmod 600 {path}")
        key = self._opened(path)
        if len(key) != KEY_BYTES:
            raise KeyTrouble(
                f"{path} holds {len(key)} bytes instead of {KEY_BYTES}; put it back from its backup"
            )
        return key

    def _write(self, path: Path, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Aside first: a kill must not leave half a key under its name.
        aside = path.with_suffix(".new")
        aside.unlink(missing_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        aside.rename(path)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _closed(self, key: bytes) -> bytes:
        return key

    def _opened(self, path: Path) -> bytes:
        return path.read_bytes()


@dataclass(frozen=True)
class Transit:
    """A server with HashiCorp Vault's transit API: its address, the key's name, a file with the token, its CA."""

    address: str
    key: str
    token_file: Path
    ca_file: str = ""

    def call(self, what: str, given: dict[str, str]) -> dict[str, str]:
        """`data` of ``POST /v1/transit/<what>/<key>``; KeyTrouble says what to look at, and repeats no key."""
        try:
            token = self.token_file.read_text().strip()
        except OSError as e:
            raise KeyTrouble(
                f"looked for the token of the transit server in {self.token_file} (VAULT_TRANSIT_TOKEN_FILE): "
                f"{e.strerror}"
            ) from None
        url = f"{self.address.rstrip('/')}/v1/transit/{what}/{quote(self.key, safe='')}"
        try:
            trust = ssl.create_default_context(cafile=self.ca_file or None)
            answer = httpx.post(
                url, json=given, headers={"X-Vault-Token": token}, timeout=TRANSIT_TIMEOUT, verify=trust,
                trust_env=False,
            )  # fmt: skip
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as e:
            raise KeyTrouble(
                f"asked the transit server {self.address} (VAULT_TRANSIT_ADDRESS) to {what} a master key and got no "
                f"answer ({type(e).__name__}). Start it or unseal it, or look at the address and at its authority's "
                "certificate (VAULT_TRANSIT_CA_FILE); then start the vault again."
            ) from None
        if answer.status_code != 200:
            raise KeyTrouble(
                f"the transit server {self.address} refused to {what} a master key under {self.key!r} (HTTP "
                f"{answer.status_code}). Look at the rights of the token in {self.token_file}, at the key's name "
                "(VAULT_TRANSIT_KEY), and whether that server is sealed; then start the vault again."
            )
        try:
            data = answer.json()["data"]
        except (ValueError, KeyError, TypeError):
            data = None
        if not isinstance(data, dict):
            raise KeyTrouble(f"what answers at {self.address} (VAULT_TRANSIT_ADDRESS) is no transit server")
        return data


@dataclass(frozen=True, kw_only=True)
class TransitKeys(FileKeys):
    """Files in `folder` that hold the master keys as the transit server wrapped them."""

    transit: Transit

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.wrapped"

    def _closed(self, key: bytes) -> bytes:
        return str(
            self.transit.call("encrypt", {"plaintext": base64.b64encode(key).decode()}).get("ciphertext", "")
        ).encode()

    def _opened(self, path: Path) -> bytes:
        try:
            wrapped = path.read_text("ascii").strip()
            return base64.b64decode(
                self.transit.call("decrypt", {"ciphertext": wrapped}).get("plaintext", "")
            )
        except (UnicodeDecodeError, binascii.Error, TypeError):
            raise KeyTrouble(f"{path} holds no wrapped key; put it back from its backup") from None


def provider(environment: Mapping[str, str], folder: Path, create: bool) -> KeyProvider:
    """The provider that VAULT_KEY_PROVIDER names: ``file`` (or nothing), or ``transit``."""
    name = environment.get("VAULT_KEY_PROVIDER", "") or "file"
    if name == "file":
        return FileKeys(folder, create)
    if name != "transit":
        raise KeyTrouble(f"VAULT_KEY_PROVIDER is {name!r}; known are file and transit")
    wanted = ("VAULT_TRANSIT_ADDRESS", "VAULT_TRANSIT_KEY", "VAULT_TRANSIT_TOKEN_FILE")
    if missing := [n for n in wanted if not environment.get(n)]:
        raise KeyTrouble(
            f"looked for the setting {', '.join(missing)}, which VAULT_KEY_PROVIDER=transit needs"
        )
    address, key, token_file = (environment[n] for n in wanted)
    transit = Transit(address, key, Path(token_file), environment.get("VAULT_TRANSIT_CA_FILE", ""))
    return TransitKeys(folder, create, transit=transit)


def derive(key: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose, so that a token never equals a reference."""
    return hmac.digest(key, f"kho-chung/{purpose}".encode(), hashlib.sha256)


def fingerprint(key: bytes) -> str:
    """A short name of a key that tells nothing about it."""
    return hashlib.sha256(derive(key, "fingerprint")).hexdigest()[:16]


def joint_fingerprint(token_key: bytes, encryption_key: bytes) -> str:
    """The one name of both keys under which an earlier version knew them."""
    both = derive(token_key, "fingerprint") + derive(encryption_key, "fingerprint")
    return hashlib.sha256(both).hexdigest()[:16]
