"""What the site serves: the current release, every release, and nothing else of its folder."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.settings import PROJECT
from tests.conftest import free_port, stop, wait_for


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.site", str(tmp_path), str(port)], cwd=PROJECT, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: _answers(port))
    yield tmp_path, port
    stop(process)


def _answers(port: int) -> bool:
    try:
        return get(port, "/__health__")[0] == 200
    except OSError:
        return False


def get(port: int, path: str) -> tuple[int, bytes, str]:
    """Status, body and type of exactly this path: no client cleans it first."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.getheader("Content-Type", "")


def test_latest_and_each_release_have_addresses(site: tuple[Path, int]) -> None:
    folder, port = site
    assert "Chưa có bản phát hành" in get(port, "/")[1].decode()
    for number in ("000001", "000002"):
        (folder / "releases" / number / "procedures").mkdir(parents=True)
        (folder / "releases" / number / "index.html").write_text(number)
        (folder / "releases" / number / "procedures" / "dcat.ttl").write_text(number)
    (folder / "current").symlink_to("releases/000002")
    assert get(port, "/")[1] == get(port, "/latest/")[1] == b"000002"
    assert get(port, "/latest/procedures/dcat.ttl") == (200, b"000002", "text/turtle; charset=utf-8")
    assert get(port, "/releases/000001/procedures/dcat.ttl")[1] == b"000001"
    assert get(port, "/procedures")[0] == 301
    (folder / "aside").symlink_to("releases/000001")
    (folder / "aside").replace(folder / "current")
    assert get(port, "/latest/")[1] == b"000001", "the link is followed at every request"


@pytest.mark.parametrize(
    "path",
    ["/archive/x.csv", "/releases/../archive/x.csv", "/releases/%2e%2e/archive/x.csv", "/latest/../../archive/x.csv",
     "/releases/.building-1/x.csv", "/.lock", "//archive/x.csv", "/releases/..%2farchive/x.csv"],
)  # fmt: skip
def test_nothing_else_of_the_folder_is_public(site: tuple[Path, int], path: str) -> None:
    folder, port = site
    (folder / ".lock").write_text("secret")
    for private in ("archive", "releases/.building-1"):
        (folder / private).mkdir(parents=True)
        (folder / private / "x.csv").write_text("secret")
    (folder / "releases" / "000001").mkdir(parents=True)
    (folder / "current").symlink_to("releases/000001")
    status, body, _ = get(port, path)
    assert status == 404
    assert b"secret" not in body


def test_an_unknown_address_gets_the_page_of_the_release(site: tuple[Path, int]) -> None:
    folder, port = site
    (folder / "releases" / "000001").mkdir(parents=True)
    (folder / "releases" / "000001" / "404.html").write_text("không tìm thấy")
    (folder / "releases" / "000001" / "feed.atom").write_text("<feed/>")
    (folder / "current").symlink_to("releases/000001")
    assert get(port, "/latest/no/such/page") == (404, "không tìm thấy".encode(), "text/html; charset=utf-8")
    assert get(port, "/feed.atom")[2] == "application/atom+xml; charset=utf-8"


def test_every_answer_forbids_guessing_framing_and_telling_where_a_reader_came_from(
    site: tuple[Path, int],
) -> None:
    _, port = site
    for path in ("/", "/__health__", "/nowhere"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        headers = connection.getresponse().headers
        for name, value in (
            ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"),
        ):  # fmt: skip
            assert headers[name] == value, path
