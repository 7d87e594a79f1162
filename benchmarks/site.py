"""First render of the site's pages in headless Chromium, on a phone's screen, against an empty page of the server.

The pages are those of the installation's current release (KHOCHUNG_HOME); where it has none, of a release of the tests'
small warehouse. Each page is opened cold, in a profile of its own, in turn with the empty one. What is taken is the
browser's own first-contentful-paint, from the start of the navigation.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import requests
from playwright.sync_api import Browser, sync_playwright

from benchmarks.world import Line, World, _until, free_port
from ops.settings import Settings
from tests.opendata.conftest import new_warehouse, read_manifest
from tests.opendata.test_browser import SIZES, chromium

TIMES, MOST_SECONDS, MOST_KB = 3, 1.0, 150
#: What the server answers to a health check: two letters, as HTML.
EMPTY = "/__health__"
PAINTED = """() => new Promise((done) => new PerformanceObserver((list) => {
  for (const entry of list.getEntriesByName("first-contentful-paint")) done(entry.startTime);
}).observe({ type: "paint", buffered: true }))"""


def run(world: World, long: bool) -> Iterator[Line]:
    """Seconds of the slowest page, how much longer than an empty one they take, and kB; `long` is not needed."""
    program = chromium()
    if program is None:
        print("site: no Chromium on the path; apt-get install chromium brings one. Nothing was measured")
        return
    root, whose = _release(world)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "ops.site", str(root), str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # it tells every request there
    pages: dict[str, list[float]] = {place: [] for place in _places(root)}
    times: list[float] = []
    try:
        _until(lambda: _answers(address), server, "the site")
        with sync_playwright() as playwright:
            flags = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=program, args=flags)
            _paint(browser, address + EMPTY)  # the browser's own beginning is not ours
            for _ in range(TIMES):
                for place, seconds in pages.items():
                    empty = _paint(browser, address + EMPTY)
                    seconds.append(_paint(browser, address + place))
                    times.append(seconds[-1] / empty)
            browser.close()
        sizes = {place: len(requests.get(address + place, timeout=60).content) / 1000 for place in pages}
    finally:
        server.terminate()
        server.wait(30)
    medians = {place: statistics.median(seconds) for place, seconds in pages.items()}
    slowest = max(medians, key=lambda place: medians[place])
    behind = f"{slowest}; {len(pages)} pages of {whose}, median {statistics.median(medians.values()):.3f} s"
    yield Line("site: first render of the slowest page, s", medians[slowest], f"under {MOST_SECONDS:.0f}",
               medians[slowest] < MOST_SECONDS, behind)  # fmt: skip
    yield Line("site: first render of a page / of an empty page", statistics.median(times), "-", None, "")
    largest = max(sizes, key=lambda place: sizes[place])
    yield Line(
        "site: largest page, kB", sizes[largest], f"under {MOST_KB}", sizes[largest] < MOST_KB, largest
    )


def _release(world: World) -> tuple[Path, str]:
    """Return the folder that the server gets, and whose release is in it."""
    installed = Settings().home / "open-data"
    if (installed / "current" / "index.html").exists():
        return installed, "the installation's release"
    folder = world.home / "site"
    folder.mkdir()
    made = new_warehouse(world.database(), read_manifest(), folder)
    made.publish()
    return made.home / "open-data", "the tests' warehouse"


def _places(root: Path) -> list[str]:
    """Return the addresses of the start, the list and every dataset, in both languages."""
    document = json.loads((root / "current" / "release.json").read_text(encoding="utf-8"))
    datasets = [f"/{item['id']}/{end}" for item in document["datasets"] for end in ("", "en/")]
    return ["/", "/en/", "/danh-muc/", "/en/list/", *datasets]


def _answers(address: str) -> bool:
    try:
        return requests.get(address + EMPTY, timeout=2).ok
    except requests.RequestException:
        return False


def _paint(browser: Browser, url: str) -> float:
    """Return the seconds until the browser first painted something of the page."""
    context = browser.new_context(viewport=SIZES["phone"])  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    seconds = float(page.evaluate(PAINTED)) / 1000
    context.close()
    return seconds
