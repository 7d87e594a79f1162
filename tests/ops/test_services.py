"""Programs under the supervisor."""

from __future__ import annotations

import os
import socket

import pytest

from ops.services import ServiceError, Supervisor
from ops.settings import Settings, SettingsError
from tests.conftest import free_port


def test_a_port_that_another_program_holds_is_named_at_once(tmp_path):
    port = free_port()
    given = {"KHOCHUNG_HOME": str(tmp_path), "KHOCHUNG_SITE_PORT": str(port), "PATH": os.environ["PATH"]}
    services = Supervisor(Settings(given, dotenv=tmp_path / "no.env"))
    try:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            taken.listen()
            with pytest.raises(
                ServiceError, match=rf"127\.0\.0\.1:{port}, and another .* set KHOCHUNG_SITE_PORT"
            ):
                services.start(["site"])
        assert services.start(["site"]) == ["site"]
        assert services.start(["site"]) == []
    finally:
        services.down()


def test_a_home_that_cannot_be_written_is_named_with_its_setting(tmp_path):
    file = tmp_path / "file"
    file.touch()
    settings = Settings({"KHOCHUNG_HOME": str(file)}, dotenv=tmp_path / "no.env")
    with pytest.raises(SettingsError, match=rf"{file} \(KHOCHUNG_HOME\) and cannot write"):
        Supervisor(settings).start(["site"])
