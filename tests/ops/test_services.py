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


def test_an_answer_of_another_homes_program_is_not_taken_for_ones_own(tmp_path, monkeypatch):
    port = free_port()
    given = {"KHOCHUNG_SITE_PORT": str(port), "PATH": os.environ["PATH"]}
    mine, other = (
        Supervisor(Settings({**given, "KHOCHUNG_HOME": str(tmp_path / n)}, dotenv=tmp_path / "no.env"))
        for n in ("mine", "other")
    )
    try:
        assert other.start(["site"]) == ["site"]
        # Both looked while the port was free, and the other was quicker.
        monkeypatch.setattr(mine, "_port_is_free", lambda name: None)
        with pytest.raises(ServiceError, match=rf"site was to listen on 127\.0\.0\.1:{port}, and another"):
            mine.start(["site"])
    finally:
        mine.down()
        other.down()


def test_a_home_that_cannot_be_written_is_named_with_its_setting(tmp_path):
    file = tmp_path / "file"
    file.touch()
    settings = Settings({"KHOCHUNG_HOME": str(file)}, dotenv=tmp_path / "no.env")
    with pytest.raises(SettingsError, match=rf"{file} \(KHOCHUNG_HOME\) and cannot write"):
        Supervisor(settings).start(["site"])
