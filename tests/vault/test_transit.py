"""Master keys wrapped by a transit server: a server that speaks its API, away, refusing, wrong; the files alone."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vault.test_sealing import PERSON, batch
from vault.keys import FileKeys, KeyTrouble, TransitKeys, provider
from vault.store import Setup, Store

TOKEN = "hvs.of-the-tests"


class Server(ThreadingHTTPServer):
    """Encrypts and decrypts under keys it never gives away, for one token."""

    sealed = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.keys = {"kho-chung": AESGCM(os.urandom(32))}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """POST /v1/transit/encrypt/<key> and /v1/transit/decrypt/<key>."""

    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        *_, what, name = self.path.split("/")
        self.server.asked.append(f"{what} {name}")
        status, answer = self.work(what, name, body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def work(self, what: str, name: str, body: dict[str, str]) -> tuple[int, Any]:
        if self.server.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if self.headers["X-Vault-Token"] != TOKEN or name not in self.server.keys:
            return 403, {"errors": ["permission denied"]}
        cipher = self.server.keys[name]
        if what == "encrypt":
            nonce = os.urandom(12)
            wrapped = nonce + cipher.encrypt(nonce, base64.b64decode(body["plaintext"]), None)
            return 200, {"data": {"ciphertext": "vault:v1:" + base64.b64encode(wrapped).decode()}}
        try:
            wrapped = base64.b64decode(body["ciphertext"].removeprefix("vault:v1:"))
            plain = cipher.decrypt(wrapped[:12], wrapped[12:], None)
        except (InvalidTag, ValueError):
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": base64.b64encode(plain).decode()}}

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: tests are quiet."""


@pytest.fixture
def transit() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def keys(folder: Path, transit: Server, create: bool = True, **changes: str) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "transit-token").write_text(TOKEN)
    settings = {
        "VAULT_KEY_PROVIDER": "transit", "VAULT_TRANSIT_ADDRESS": transit.address, "VAULT_TRANSIT_KEY": "kho-chung",
        "VAULT_TRANSIT_TOKEN_FILE": str(folder / "transit-token"), **changes,
    }  # fmt: skip
    return provider(settings, folder / "keys", create)


def test_the_vault_works_on_wrapped_keys_and_no_file_holds_a_clear_one(database, tmp_path, transit):
    mine = keys(tmp_path, transit)
    assert isinstance(mine, TransitKeys)
    store = Store(Setup(database, mine))
    sealed, values = store.sealer.seal(batch(PERSON))
    store.keep(values)
    assert store.rotate().version == 2
    again = Store(Setup(database, keys(tmp_path, transit, create=False)))
    reference = sealed.column("applicant_phone")[0].as_py()
    assert again.reveal([reference]) == {reference: PERSON["applicant_phone"]}
    assert again.sealer.seal(batch(PERSON))[0].equals(sealed)
    assert again.retoken().version == 2
    again = Store(Setup(database, keys(tmp_path, transit, create=False)))
    assert again.reveal(again.sealer.handles.current_of([reference])) == {
        again.sealer.handles.current_one(reference): PERSON["applicant_phone"]
    }
    files = sorted((tmp_path / "keys").iterdir())
    assert [f.name for f in files] == [
        "encryption.2.wrapped", "encryption.wrapped", "token.2.wrapped", "token.wrapped"
    ]  # fmt: skip
    for file in files:
        assert file.stat().st_mode & 0o077 == 0
        assert file.read_text().startswith("vault:v1:")
    for clear in (mine.token_key(), mine.token_key(2), mine.encryption_key(1), mine.encryption_key(2)):
        assert len(clear) == 32
        assert all(
            base64.b64encode(clear) not in f.read_bytes() and clear not in f.read_bytes() for f in files
        )


def test_a_server_that_is_away_or_refuses_is_named_with_what_to_do(tmp_path, transit):
    keys(tmp_path, transit).token_key()
    ready = keys(tmp_path, transit, create=False)
    transit.sealed = True
    with pytest.raises(
        KeyTrouble, match=r"refused to decrypt a master key under 'kho-chung' \(HTTP 503\).*sealed"
    ):
        ready.token_key()
    transit.sealed = False
    with pytest.raises(KeyTrouble, match=r"HTTP 403.*VAULT_TRANSIT_KEY"):
        keys(tmp_path, transit, create=False, VAULT_TRANSIT_KEY="another").token_key()
    (tmp_path / "transit-token").write_text("revoked")
    with pytest.raises(KeyTrouble, match=r"HTTP 403.*transit-token") as refusal:
        ready.token_key()
    assert "revoked" not in str(refusal.value)
    with pytest.raises(KeyTrouble, match=r"no answer .*VAULT_TRANSIT_CA_FILE"):
        keys(tmp_path, transit, create=False, VAULT_TRANSIT_ADDRESS="http://127.0.0.1:1").token_key()
    with pytest.raises(KeyTrouble, match="VAULT_TRANSIT_TOKEN_FILE"):
        keys(tmp_path, transit, create=False, VAULT_TRANSIT_TOKEN_FILE=str(tmp_path / "none")).token_key()


def test_a_lost_wrapped_key_is_not_made_anew_and_a_damaged_one_is_told(tmp_path, transit):
    keys(tmp_path, transit).token_key()
    path = tmp_path / "keys" / "token.wrapped"
    path.write_text("vault:v1:AAAA")
    with pytest.raises(KeyTrouble, match="HTTP 400"):
        keys(tmp_path, transit, create=False).token_key()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KeyTrouble, match=r"token\.wrapped holds no wrapped key.*backup"):
        keys(tmp_path, transit, create=False).token_key()
    path.unlink()
    with pytest.raises(KeyTrouble, match=r"token\.wrapped and found none"):
        keys(tmp_path, transit, create=False).token_key()


def test_another_provider_or_one_without_its_settings_is_told(tmp_path):
    assert type(provider({}, tmp_path, False)) is FileKeys
    with pytest.raises(KeyTrouble, match="VAULT_KEY_PROVIDER is 'paper'; known are file and transit"):
        provider({"VAULT_KEY_PROVIDER": "paper"}, tmp_path, False)
    with pytest.raises(KeyTrouble, match="VAULT_TRANSIT_KEY, VAULT_TRANSIT_TOKEN_FILE, which"):
        provider({"VAULT_KEY_PROVIDER": "transit", "VAULT_TRANSIT_ADDRESS": "x"}, tmp_path, False)
