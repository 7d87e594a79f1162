"""The site in a real browser: search, no script, two sizes, accessibility, and no byte from anywhere else.

Needs Debian's Chromium (`apt-get install chromium`) or another that is found on the path; skipped where there is none.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, sync_playwright

from opendata.words import fold
from tests.conftest import free_port, stop, wait_for
from tests.opendata.conftest import Warehouse, new_warehouse
from tests.opendata.places import MONTHS, add_places
from tests.ops.test_site import _answers

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZES = {"phone": {"width": 360, "height": 740}, "desk": {"width": 1280, "height": 900}}
#: One of every kind of page, in both languages.
PLACES = (
    "/", "/en/", "/danh-muc/", "/en/list/", "/danh-muc/theme-gove/", "/en/list/place-82/", "/ke-hoach/", "/en/planned/",
    "/gioi-thieu/", "/en/about/", "/dossier-results-monthly/", "/dossier-results-monthly/en/", "/administrative-units/",
    "/administrative-units/en/", "/service-index-766/", "/timeliness-by-commune-monthly/",
    "/timeliness-by-commune-monthly/en/", "/timeliness-by-commune-quarterly/", "/timeliness-by-commune-quarterly/en/",
    "/population-by-commune/", "/population-by-commune/en/", "/no/such/page/",
)  # fmt: skip
OF_THE_PROVINCE = {
    "dossier-results-monthly", "timeliness-by-commune-monthly", "timeliness-by-commune-quarterly",
    "population-by-commune",
}  # fmt: skip
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def address(
    postgres: str, _manifest: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    made: Warehouse = new_warehouse(postgres, _manifest, tmp_path_factory.mktemp("browser"))
    add_places(made)
    port = free_port()
    command = [sys.executable, "-m", "ops.site", str(made.home / "open-data"), str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: _answers(port))
        made.publish(address=f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
        stop(process)


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium()
    if program is None:
        pytest.skip(
            f"no browser: looked for {', '.join(PROGRAMS)} on the path; apt-get install chromium brings one"
        )
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own sandbox refuses root
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=root)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page with nothing else in its context; what it writes to its console fails the test."""
    context = browser.new_context(viewport={"width": 360, "height": 740})
    opened, told = context.new_page(), []
    opened.on("console", lambda message: told.append(message.text))
    opened.on("pageerror", lambda error: told.append(str(error)))
    yield opened
    context.close()
    assert told == []


def shown(page: Page) -> list[str]:
    cards = page.locator("#results > li:visible")
    return [str(card.get_attribute("data-id")) for card in cards.all()]


def test_search_finds_without_accents_and_filters_narrow(page: Page, address: str) -> None:
    page.goto(address)
    titles = page.locator("#results > li:visible h3").all_inner_texts()
    assert len(titles) == 7
    assert titles == sorted(titles, key=fold), "from A to Z, until something is asked"
    page.fill("#q", "dong thap")
    assert set(shown(page)) == OF_THE_PROVINCE
    assert page.inner_text("#count") == "4 bộ dữ liệu"
    page.fill("#q", "ĐƠN VỊ hành chính")
    assert shown(page)[0] == "administrative-units"
    page.fill("#q", "kết quả <zzz>")
    assert "Không có bộ dữ liệu nào khớp" in page.inner_text("#count")
    page.fill("#q", "")
    page.select_option("#place", "place-82")
    assert set(shown(page)) == OF_THE_PROVINCE
    assert page.url.endswith("?place=place-82")
    page.reload()
    assert set(shown(page)) == OF_THE_PROVINCE, "the address keeps what was asked"
    page.fill("#q", "nhóm tuổi")
    assert shown(page) == ["population-by-commune"]
    assert page.inner_text("#count") == "1 bộ dữ liệu"


def test_late_dossiers_by_commune_are_found_first_seen_and_taken_home(page: Page, address: str) -> None:
    """A journalist's way on a phone: search, the page found first, its pictures by commune, a CSV that Excel opens."""
    page.goto(address)
    for asked in ("hồ sơ quá hạn theo xã", "ho so qua han theo xa", "hồ sơ trễ hạn xã", "overdue by commune"):
        page.fill("#q", asked)
        assert shown(page)[0] == "timeliness-by-commune-monthly", asked
    page.fill("#q", "hồ sơ quá hạn theo xã")
    page.click("#results > li:visible h3 a")
    assert page.inner_text("h1") == "Hồ sơ quá hạn, đúng hạn theo xã và tháng"
    assert "Số liệu đến 12/9/2025" in page.inner_text(".fresh")
    drawn = {figure.locator("figcaption").inner_text(): figure for figure in page.locator("figure").all()}
    # The newest month that has all its days, all communes; the sums of the file, not of the page.
    tiles = drawn["Theo địa bàn: Số hồ sơ giải quyết quá hạn trong tháng, tháng 8/2025 (hồ sơ)"]
    with page.expect_download() as waiting:
        page.click("#download a.button:has-text('CSV cho Excel')")
    data = waiting.value.path().read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(data.decode("utf-8-sig").splitlines()))
    late = {
        row["commune_name"]: int(row["resolved_overdue"]) for row in rows if row["year_month"] == "2025-08"
    }
    assert len(late) == 102
    said = [tile.inner_text().rsplit(None, 1) for tile in tiles.locator(".grid li").all()]
    assert sorted(int(number) for _, number in said) == sorted(late.values())
    report = page.get_by_role("link", name="Báo lỗi số liệu")
    report.focus()
    box = report.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= SIZES["phone"]["width"]
    assert min(box["width"], box["height"]) >= 24, "large enough for a finger (WCAG 2.5.8)"
    assert str(report.get_attribute("href")).startswith("mailto:khochung@example.gov.vn?subject=")
    names = " ".join(name for name, _ in said)
    assert all(name.removeprefix("Xã ").removeprefix("Phường ") in names for name in late)
    assert all(tile.is_visible() for tile in tiles.locator(".grid li").all())
    bars = drawn["Số hồ sơ giải quyết quá hạn trong tháng: 10 địa bàn cao nhất, tháng 8/2025 (hồ sơ)"]
    assert bars.locator("rect.bar").count() == 10
    lines = drawn["Diễn biến theo thời gian: Số hồ sơ giải quyết quá hạn trong tháng (hồ sơ)"]
    sums = [
        sum(int(row["resolved_overdue"]) for row in rows if row["year_month"] == month) for month in MONTHS
    ]
    lines.locator("summary").click()
    assert [int(cell.replace(".", "")) for cell in lines.locator("td").all_inner_texts()] == sums
    page.click("#download .note summary")
    assert "Quyết định 766/QĐ-TTg" in page.inner_text("#download .note")
    page.click("a.switch")
    words = page.inner_text("#chart")
    assert "By place: Dossiers resolved late in the month, August 2025 (dossiers)" in words
    assert "hồ sơ" not in words.lower()


def test_search_finds_by_words_that_people_type(page: Page, address: str) -> None:
    """Keywords of both languages, beginnings of words, accents as typed; communes by their names."""
    page.goto(address)
    results = {"dossier-results-monthly", "timeliness-by-commune-monthly", "timeliness-by-commune-quarterly"}
    for asked in (
        "hồ sơ trễ hạn",
        "ho so tre han",
        "late applications",
        "application",
        "trễ h",
        "QUÁ HẠN hồ sơ",
    ):
        page.fill("#q", asked)
        assert set(shown(page)) <= results, asked
        assert "dossier-results-monthly" in shown(page), asked
    for asked in ("sáp nhập", "sap nhap", "merger", "mergers", "bridge old"):
        page.fill("#q", asked)
        assert shown(page)[0] == "administrative-units", asked
    page.fill("#q", "mỹ tho")
    assert set(shown(page)) == OF_THE_PROVINCE
    page.fill("#q", "hạn")
    with_accents = shown(page)
    page.fill("#q", "hân")
    assert shown(page) == [], "what is typed with accents is meant with them"
    assert with_accents


@pytest.mark.prove
def test_finding_reading_and_downloading_need_no_script(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(address)
    assert len(shown(page)) == 7
    assert not page.is_visible("#find")
    page.click("text=Danh mục từ A đến Z")
    page.click("nav.facets a:text-is('Tỉnh Đồng Tháp')")
    assert set(shown(page)) == OF_THE_PROVINCE
    page.click("#results a:text-is('Kết quả giải quyết hồ sơ theo tháng')")
    assert page.inner_text("h1") == "Kết quả giải quyết hồ sơ theo tháng"
    with page.expect_download() as waiting:
        page.locator("#download a.button:has-text('CSV cho Excel')").first.click()
    data = waiting.value.path().read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    assert "Lĩnh vực 1".encode() in data
    page.click("a.switch")
    assert page.inner_text("h1") == "Dossier results by month"
    context.close()


@pytest.mark.prove
@pytest.mark.parametrize("size", SIZES)
def test_every_kind_of_page_is_accessible_and_fits(browser: Browser, address: str, size: str) -> None:
    """WCAG 2.2 AA and axe's best practices, with every fold opened; nothing is wider than the screen."""
    # The pages' own policy would keep the checker out.
    context = browser.new_context(viewport=SIZES[size], bypass_csp=True)  # type: ignore[arg-type]
    page = context.new_page()
    found = []
    for place in PLACES:
        page.goto(address + place)
        page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true })")
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if wide > 0:
            found.append(f"{place}: {wide} pixels too wide")
        answer = Axe().run(page, options={"runOnly": RULES}).response
        assert len(answer["passes"]) > 10, "the checker saw a page"
        found += [f"{place}: {one['id']} {one['nodes'][0]['html'][:120]}" for one in answer["violations"]]
    context.close()
    assert found == []


@pytest.mark.prove
def test_the_checker_sees_what_is_wrong(browser: Browser, address: str) -> None:
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(address)
    page.evaluate("document.querySelector('label').remove()")
    answer = Axe().run(page, options={"runOnly": RULES}).response
    assert {one["id"] for one in answer["violations"]} >= {"label"}
    context.close()


@pytest.mark.prove
def test_with_the_network_cut_nothing_is_missed(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport=SIZES["phone"])  # type: ignore[arg-type]
    elsewhere: list[str] = []
    asked: list[str] = []

    def gate(route: Route) -> None:
        url = route.request.url
        asked.append(url)
        if urlsplit(url).netloc == urlsplit(address).netloc:
            route.continue_()
        else:
            elsewhere.append(url)
            route.abort()

    context.route("**/*", gate)
    page = context.new_page()
    for place in PLACES:
        page.goto(address + place, wait_until="networkidle")
    assert elsewhere == []
    # A page is one file: style, script, picture and index are in it.
    assert len(asked) == len(PLACES)
    assert context.cookies() == []
    context.close()


@pytest.mark.prove
def test_a_page_is_light(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    for place in PLACES:
        answer = page.goto(address + place)
        assert answer is not None
        assert len(answer.body()) < 150_000, place
    context.close()
