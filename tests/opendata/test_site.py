"""The site as a release leaves it: every page in both languages, from the release's files, safe to read anywhere."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urljoin, urlsplit
from xml.etree import ElementTree

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import yaml
from openpyxl import load_workbook
from rdflib import Graph
from rdflib.namespace import DCAT

from opendata.catalogue import APPROVALS, CatalogueError
from opendata.dcat import SPDX
from opendata.files import neutralise_formulas
from opendata.site import RESERVED, name_places, next_update, read_planned
from opendata.words import BUSINESS_ZONE, ENGLISH, FREQUENCIES, THEMES, VIETNAMESE, fold
from tests.conftest import free_port, stop, wait_for
from tests.opendata.conftest import Warehouse, new_warehouse
from tests.ops.test_site import _answers

ADDRESS = "https://dulieu.example.gov.vn/mo"
EVIL = """</script><script>alert("1")</script>'"&amp;=1+1"""


class Page(HTMLParser):
    """What a page holds: elements with their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._inside: list[str] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.elements.append((tag, given))
        self._inside.append(tag)
        if tag == "script":
            self.scripts.append((given, ""))

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        inside = self._inside[-1] if self._inside else ""
        if inside == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif inside != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [given for name, given in self.elements if name == tag]


def parsed(data: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(data)  # noqa: S314 - our own file


def pages(warehouse: Warehouse) -> dict[str, Page]:
    return {name: Page(data.decode()) for name, data in warehouse.files().items() if name.endswith(".html")}


GATE = {"gate": "release", "success": True, "checks": [
    {"name": f"release.procedures.{kind} (row_count)", "description": "As many rows as recorded.", "required": True,
     "success": True, "unexpected_rows": None, "notes": "", "vi": "Đủ số dòng."} for kind in ("parquet", "csv")
] + [{"name": "release.procedures.parquet (withheld)", "description": "Few rows are withheld.", "required": False,
      "success": False, "unexpected_rows": 1212, "notes": "", "vi": "Ít dòng phải giữ lại."}]}  # fmt: skip


@pytest.fixture(scope="module")
def released(postgres: str, _manifest: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Two releases, of which the second has another fee; only read by the tests."""
    made = new_warehouse(postgres, _manifest, tmp_path_factory.mktemp("site"))
    made.publish(address=ADDRESS, gate=lambda folder: GATE)
    made.sql("update open_data.procedures set fee_vnd = 7000 where procedure_code = '1.001193'")
    made.publish(address=ADDRESS, gate=lambda folder: GATE)
    return made


@pytest.fixture(scope="module")
def found(released: Warehouse) -> dict[str, Page]:
    return pages(released)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([*(f"Xã {n}" for n in range(10)), "Sở Tư pháp"] * 2, True),  # all ten, and another
        ([*(f"Xã {n}" for n in range(6)), *(f"Thủ tục {n}" for n in range(500))], True),  # most of the ten
        ([*(f"Xã {n}" for n in range(5)), *(f"Thủ tục {n}" for n in range(500))], False),  # half of them
        (["Xã 1", "Xã 2", None, "Sở Tư pháp", ""], True),  # mostly such
        (["Xã 1", "Sở Tư pháp", "Sở Y tế", "Xã 1"], False),
        ([None], False),
    ],
)
def test_a_dataset_is_found_by_places_if_a_column_names_most_of_them_or_mostly_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str | None], expected: bool
) -> None:
    monkeypatch.setattr("opendata.files.PIECE_ROWS", 3)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"unit_name": pa.array(names, pa.string())}), path)
    assert name_places({"unit_name": [path]}, {f"xã {n}" for n in range(10)}) is expected
    assert not name_places({"unit_name": [path]}, set())


def test_every_page_stands_in_both_languages_and_says_the_other(found: dict[str, Page]) -> None:
    assert len(found) == 31
    for name, page in found.items():
        if name == "404.html":  # has no place of its own
            continue
        language = page.all("html")[0]["lang"]
        assert language == ("en" if "en" in name.split("/") else "vi"), name
        (switch,) = (link for link in page.all("a") if link.get("class") == "switch")
        other = urljoin(f"https://x/{name}", switch["href"]).removeprefix("https://x/")
        assert found[other].all("html")[0]["lang"] == switch["hreflang"] != language
        alternates = {link["hreflang"]: link["href"] for link in page.all("link") if "hreflang" in link}
        address = f"{ADDRESS}/latest/{name.removesuffix('index.html')}"
        assert alternates[language] == address
        assert {link["href"] for link in page.all("link") if link["rel"] == "canonical"} == {address}
        assert len(page.all("h1")) == 1


def test_every_link_inside_the_site_leads_to_a_file(released: Warehouse, found: dict[str, Page]) -> None:
    files = set(released.files())
    checked = 0
    for name, page in found.items():
        for link in (*page.all("a"), *page.all("link")):
            target = link["href"]
            if urlsplit(target).scheme or target.startswith(("#", "/mo/")):
                continue
            path = urlsplit(urljoin(f"https://x/{name}", target)).path.removeprefix("/")
            assert unquote(path) in files, f"{name} links to {target}"
            checked += 1
    assert checked > 500


def test_old_releases_and_the_page_for_unknown_addresses_are_linked_from_the_top(
    found: dict[str, Page],
) -> None:
    assert "/mo/releases/000001/procedures/index.html" in [
        a["href"] for a in found["procedures/index.html"].all("a")
    ]
    assert "/mo/latest/en/" in [a["href"] for a in found["404.html"].all("a")]


def test_pages_load_nothing_and_run_only_what_their_policy_names(released: Warehouse) -> None:
    for name, data in released.files().items():
        if not name.endswith(".html"):
            continue
        text, page = data.decode(), Page(data.decode())
        (policy,) = (
            m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"
        )
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        for tag, given in page.elements:
            assert not {"src", "srcset", "style", "ping", "background", "poster", "data"} & set(given), (
                name,
                tag,
            )
            assert not [key for key in given if key.startswith("on")], (name, tag)
            assert tag not in ("iframe", "object", "embed", "img", "base"), name
            if tag == "link":
                assert given["rel"] in ("canonical", "alternate", "icon"), name
        styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
        run = [body for given, body in page.scripts if "type" not in given]
        assert len(styles) == 1
        for body in (*styles, *run):
            digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy, name
        assert "url(" not in styles[0]
        assert "@import" not in styles[0]
        assert bool(run) == (name in ("index.html", "en/index.html"))


def test_every_page_says_the_origin(found: dict[str, Page]) -> None:
    for name, page in found.items():
        if name.startswith("dossier-results-monthly/"):
            assert ("SIMULATED DATA" if "/en/" in name else "DỮ LIỆU MÔ PHỎNG") in page.text
            assert re.search(r"^\[(MÔ PHỎNG|SIMULATED)\]", page.text.strip())
        elif name.split("/")[0] in ("service-index-766", "procedures", "administrative-units"):
            assert "MÔ PHỎNG" not in page.text
            assert ("Real figures" if "/en/" in name else "Số liệu thật") in page.text
        elif name != "404.html":
            assert ("SIMULATED DATA" if name.startswith("en/") else "DỮ LIỆU MÔ PHỎNG") in page.text, name


def test_a_dataset_page_tells_what_a_reader_asks(released: Warehouse, found: dict[str, Page]) -> None:
    page = found["dossier-results-monthly/index.html"]
    words = re.sub(r"\s+", " ", page.text)
    record = json.loads(released.files()["release.json"])
    (entry,) = (item for item in record["datasets"] if item["id"] == "dossier-results-monthly")
    for file in entry["tables"][0]["files"]:
        assert file["sha256"] in words
        assert VIETNAMESE.size(file["bytes"]) in words
        assert f"../{file['path']}" in [a["href"] for a in page.all("a") if "download" in a]
    assert "Số liệu đến 1/7/2025" in words
    assert "đừng mở bằng bảng tính: ô giống công thức để nguyên như nguồn" in words
    assert "1 trên 62 dòng có ô không công bố" in words
    assert "số nguyên, hồ sơ" in words
    assert "Creative Commons Attribution 4.0 International" in words
    assert "bản phát hành 000002 [bộ dữ liệu]" in words
    units = re.sub(r"\s+", " ", found["administrative-units/index.html"].text)
    assert "province tỉnh" in units
    captured = re.sub(r"\s+", " ", found["service-index-766/index.html"].text)
    assert "theo công bố của Cổng Dịch vụ công quốc gia" in captured
    assert "Số liệu đến 18/9/2026 (kỳ cuối chưa đủ ngày, tạm tính)" in captured


def test_every_dataset_page_has_a_way_to_report_an_error(released: Warehouse, found: dict[str, Page]) -> None:
    """A letter to the dataset's own desk that says which dataset, release and page, and asks what is needed."""
    datasets = [item["id"] for item in json.loads(released.files()["release.json"])["datasets"]]
    assert len(datasets) == 4
    words = {
        "": ("Báo lỗi: %s, bản 000002", "Báo lỗi số liệu", "Sai thế nào:"),
        "en/": ("Error report: %s, release 000002", "Report an error", "What is wrong:"),
    }
    for dataset in datasets:
        desk = yaml.safe_load((APPROVALS / f"{dataset}.yml").read_text(encoding="utf-8"))["contact"]["email"]
        for folder, (subject, label, asked) in words.items():
            page = found[f"{dataset}/{folder}index.html"]
            (letter,) = (
                a["href"] for a in page.all("a") if a["href"].startswith("mailto:") and "?" in a["href"]
            )
            assert label in page.text
            parts = urlsplit(letter)
            assert parts.path == desk
            assert desk in page.text, "for who has no mail program"
            told = parse_qs(parts.query)
            assert told["subject"] == [subject % dataset]
            assert asked in told["body"][0]
            address = told["body"][0].rsplit(" ", 1)[1]
            assert address.endswith(f"/releases/000002/{dataset}/{folder}")
            assert (released.current / dataset / folder / "index.html").exists()


def test_the_law_is_named_by_number_and_day_where_no_address_of_it_is_known(found: dict[str, Page]) -> None:
    vietnamese, english = (
        re.sub(r"\s+", " ", found[f"procedures/{folder}index.html"].text) for folder in ("", "en/")
    )
    assert (
        "Luật Sở hữu trí tuệ số 50/2005/QH11 ngày 29/11/2005; ghi nguồn khi dùng. Tra theo số hiệu tại"
        in vietnamese
    )
    assert "Law on Intellectual Property, No. 50/2005/QH11 of 29 November 2005; name the source." in english
    assert "không thuộc phạm vi bảo hộ" not in english.replace(_source_of("procedures"), "")
    for path in APPROVALS.glob("*.yml"):
        for basis in yaml.safe_load(path.read_text(encoding="utf-8"))["legal_basis"]:
            assert re.search(r"(số )?\d+/\d{4}/\S+ ngày \d{1,2}/\d{1,2}/\d{4}", basis), (path.name, basis)


def _source_of(dataset: str) -> str:
    record = yaml.safe_load((APPROVALS / f"{dataset}.yml").read_text(encoding="utf-8"))
    return str(record["sources"][0]["terms"])


def test_what_the_gate_found_is_told_in_the_language_of_the_page(found: dict[str, Page]) -> None:
    english, vietnamese = (
        re.sub(r"\s+", " ", found[f"procedures/{place}index.html"].text).split(start)[1]
        for place, start in (("en/", "Release gate"), ("", "Cửa kiểm tra phát hành"))
    )
    assert english.startswith(": 2 of 3 checks hold.")
    assert "As many rows as recorded.Few rows are withheld. Warning: 1,212 rows break it." in english
    assert vietnamese.startswith(": 2 trên 3 phép kiểm đạt.")
    assert "Đủ số dòng.Ít dòng phải giữ lại. Cảnh báo: 1.212 dòng không đạt." in vietnamese
    assert "Few rows" not in vietnamese


def test_freshness_is_the_day_up_to_which_nothing_is_lacking(warehouse: Warehouse) -> None:
    """Rows that are provisional are not counted as there; days to come in a calendar are no lack."""
    warehouse.sql(
        "alter table open_data.dossier_results_monthly add column is_provisional boolean default false"
    )
    warehouse.sql(
        "update open_data.dossier_results_monthly set is_provisional = true where month = '2025-07-01'"
    )
    columns = warehouse.model("dossier_results_monthly")["columns"]
    columns["is_provisional"] = columns["origin"] | {"name": "is_provisional", "data_type": "boolean"}
    warehouse.sql("create table open_data.as_of_day as select date '2025-07-01' as last_covered_date")
    meta = warehouse.model("dossier_results_monthly")["config"]["meta"]
    meta["covered_until"] = "open_data.as_of_day.last_covered_date"
    units = warehouse.model("administrative_units")
    units["config"]["meta"] |= {"period_column": "valid_from"}
    warehouse.sql(
        "update open_data.administrative_units set valid_from = '2099-12-31' where level = 'commune'"
    )
    warehouse.publish()
    told = {name: re.sub(r"\s+", " ", page.text) for name, page in pages(warehouse).items()}
    words = "Số liệu đến 1/7/2025 (đủ đến 1/6/2025; kỳ sau đó chưa đủ ngày, tạm tính)"
    assert words in told["dossier-results-monthly/index.html"]
    assert words in told["index.html"]
    english = told["dossier-results-monthly/en/index.html"]
    assert (
        "Figures up to 1 July 2025 (complete up to 1 June 2025; what follows lacks days, provisional)"
        in english
    )
    assert "Số liệu đến 31/12/2099 ·" in told["administrative-units/index.html"]


def test_without_a_gate_the_page_claims_none(warehouse: Warehouse) -> None:
    warehouse.publish()
    assert "Cửa kiểm tra phát hành" not in pages(warehouse)["procedures/index.html"].text


def test_the_preview_shows_the_first_rows_of_the_finished_file(released: Warehouse) -> None:
    for place, origin, sector in (
        ("", "số liệu mô phỏng, do máy sinh ra", "sector_code bằng tiếng Việt"),
        ("en/", "simulated, generated for trial runs", "sector_code in English"),
    ):
        page = released.files()[f"dossier-results-monthly/{place}index.html"].decode()
        (table,) = re.findall(r'<table class="rows".*?</table>', page, re.DOTALL)
        rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        assert len(rows) == 11
        cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", rows[1])]
        first = [re.sub("<small.*", "", cell) for cell in cells]
        assert first == ["2025-06-01", "LV01", "Lĩnh vực 1", "1", "137", "117", "12", "simulated", "false"]
        # Names of columns and codes are said in the page's language.
        assert f'<small lang="{"en" if place else "vi"}">{origin}</small>' in cells[7]
        assert f"sector_code<small>{sector}</small>" in rows[0]
    whole = released.files()["administrative-units/index.html"].decode()
    assert "Toàn bộ 3 dòng</h3>" in whole
    assert "All 3 rows</h3>" in released.files()["administrative-units/en/index.html"].decode()


def test_a_page_says_which_counts_are_shown_however_small_and_by_what_law(warehouse: Warehouse) -> None:
    record = yaml.safe_load((warehouse.approvals / "dossier-results-monthly.yml").read_text(encoding="utf-8"))
    table = record["disclosure"]["tables"]["dossier-results-monthly"]
    table["exempt"] = [{"counts": ["overdue_count"], "basis": "Quyết định <b>1</b>/QĐ-TTg"}]
    warehouse.change_approval("dossier-results-monthly", disclosure=record["disclosure"])
    warehouse.publish()
    basis = '<span lang="vi">Quyết định &lt;b&gt;1&lt;/b&gt;/QĐ-TTg</span>'
    # The law's words are long: folded, so that a reader on a phone comes to the picture.
    folded = "</p>\n<details><summary>%s</summary><p>%s.</p></details>"
    page = warehouse.files()["dossier-results-monthly/index.html"].decode()
    assert f"<p>Không che <code>overdue_count</code>, dù số nhỏ.{folded % ('Căn cứ', basis)}" in page
    page = warehouse.files()["dossier-results-monthly/en/index.html"].decode()
    assert f"<p>Not withheld, however small: <code>overdue_count</code>.{folded % ('Basis', basis)}" in page
    table["exempt"][0]["basis_en"] = "Decision <b>1</b>"
    warehouse.change_approval("dossier-results-monthly", disclosure=record["disclosure"])
    assert warehouse.publish().number == 2, "other words on a page are another release"
    page = warehouse.files()["dossier-results-monthly/en/index.html"].decode()
    assert folded % ("Basis", "Decision &lt;b&gt;1&lt;/b&gt;") in page
    assert folded % ("Căn cứ", basis) in warehouse.files()["dossier-results-monthly/index.html"].decode()


def test_who_approved_and_where_figures_come_from_is_said_in_the_language_of_the_page(
    warehouse: Warehouse,
) -> None:
    source = {
        "title": "Nguồn <1>",
        "terms": "Công khai",
        "title_en": "Source <1>",
        "url": "https://x.example.vn",
    }
    warehouse.change_approval("procedures", approved_by="Sở A", approved_by_en="Office A", sources=[source])
    warehouse.publish()
    page = {place: warehouse.files()[f"procedures/{place}index.html"].decode() for place in ("", "en/")}
    assert '<dd><span lang="vi">Sở A</span>, ' in page[""]
    assert "<dd>Office A, " in page["en/"]
    # What has no English words stands in Vietnamese, and says so.
    link = '<a href="https://x.example.vn">'
    assert (
        f'{link}<span lang="vi">Nguồn &lt;1&gt;</span></a>. <span lang="vi">Công khai</span></dd>' in page[""]
    )
    assert f'{link}Source &lt;1&gt;</a>. <span lang="vi">Công khai</span></dd>' in page["en/"]
    assert "by decision of Office A of" in warehouse.files()["procedures/dcat.ttl"].decode()


def test_every_approval_of_the_repository_says_its_sources_and_its_office_in_english_too() -> None:
    records = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in APPROVALS.glob("*.yml")]
    assert len(records) > 10
    for record in records:
        assert record["approved_by_en"], record["dataset"]
        assert all(source["title_en"] and source["terms_en"] for source in record["sources"]), record[
            "dataset"
        ]


def test_history_tells_what_each_release_changed(released: Warehouse) -> None:
    history = (
        released.files()["procedures/index.html"].decode().split('id="history"')[1].split("</section>")[0]
    )
    assert re.findall(r">(0000\d\d)</a>", history) == ["000002", "000001"]
    words = re.sub(r"\s+", " ", history)
    assert words.index("thêm 0, bớt 0, sửa 1 dòng") < words.index("lần đầu công bố")
    (changes,) = re.findall(r'href="/mo/(releases/000002/procedures/[^"]*\.changes\.csv)"', history)
    assert "7000" in (released.home / "open-data" / changes).read_text(encoding="utf-8")
    assert ': <a href="/mo/releases/000002' in history, "of one table, no name is needed"
    same = released.files()["administrative-units/index.html"].decode().split('id="history"')[1]
    assert "số liệu không đổi" in same


def test_the_first_page_lists_datasets_by_their_titles_in_its_language(released: Warehouse) -> None:
    for place in ("index.html", "en/index.html"):
        titles = re.findall(r'<h3><a href="[^"]*">(.*?)</a></h3>', released.files()[place].decode())
        assert len(titles) == 4
        assert titles == sorted(titles, key=fold)


def test_filters_are_links_and_the_index_holds_every_dataset(
    found: dict[str, Page], released: Warehouse
) -> None:
    links = [a["href"] for a in found["danh-muc/index.html"].all("a")]
    assert "../danh-muc/place-82/index.html" in links
    inside = [
        item["data-id"] for item in found["danh-muc/place-82/index.html"].all("li") if "data-id" in item
    ]
    assert inside == ["dossier-results-monthly"]
    for place, words in (("danh-muc", VIETNAMESE), ("en/list", ENGLISH)):
        page = released.files()[f"{place}/index.html"].decode()
        themes = re.findall(r'href="[^"]*/theme-[^"]*">(.*?)</a>', page)
        assert sorted(themes) == sorted(words.say(THEMES[code]) for code in ("GOVE", "REGI"))
        assert themes == sorted(themes, key=fold)
    for place, heading in (
        ("danh-muc/frequency-monthly", "Tần suất cập nhật: Hằng tháng"),
        ("en/list/frequency-monthly", "Update frequency: Monthly"),
    ):
        assert f"<h1>{heading}</h1>" in released.files()[f"{place}/index.html"].decode()
    (index,) = (
        json.loads(body)
        for given, body in found["index.html"].scripts
        if given.get("type") == "application/json"
    )
    assert len(index["datasets"]) == 4
    (monthly,) = (entry for entry in index["datasets"] if entry["id"] == "dossier-results-monthly")
    assert {"kết", "quả", "giải", "quyết"} <= set(monthly["title"].split())
    assert "| hồ sơ trễ hạn | late applications" in monthly["keywords"]
    assert {"đồng", "tháp"} <= set(monthly["about"].split())
    assert monthly["facets"] == ["theme-gove", "place-82", "frequency-monthly"]


def test_what_sources_wrote_is_text_everywhere(warehouse: Warehouse) -> None:
    """Names with markup, quotes and formulas: in data, in declarations, in the index, feed and machine records."""
    quoted = EVIL.replace("'", "''")
    warehouse.sql(
        f"update open_data.procedures set procedure_name = '{quoted}' where procedure_code = '1.001193'"
    )
    model = warehouse.model("procedures")
    model["config"]["meta"] |= {"title_vi": f"Tên {EVIL}", "title_en": f"Name {EVIL}"}
    model["columns"]["procedure_name"]["description"] = f"{EVIL} in English"
    model["columns"]["origin"]["config"]["meta"]["codes"] = {
        "real": {"vi": EVIL, "en": EVIL},
        EVIL: {"vi": "khác", "en": "other"},
    }
    warehouse.change_approval("procedures", spatial={"vi": f"Nơi {EVIL}", "en": EVIL})
    warehouse.publish()
    seen = 0
    for name, page in pages(warehouse).items():
        # Nothing of it became an element: the only scripts are ours, and those that hold JSON.
        kinds = [given.get("type") for given, _ in page.scripts]
        assert kinds in ([], ["application/json", None], ["application/ld+json"]), name
        for given, body in page.scripts:
            if "type" in given:
                json.loads(body)
        seen += EVIL in page.text
    assert seen > 10
    for name, data in warehouse.files().items():
        if name.endswith((".atom", ".xml")):
            parsed(data)
    feed = parsed(warehouse.files()["feed.atom"])
    titles = [node.text for node in feed.iter("{http://www.w3.org/2005/Atom}title")]
    assert f"Tên {EVIL}" in titles


def test_feed_sitemap_and_robots_name_addresses_that_stand(released: Warehouse) -> None:
    files = released.files()
    atom = {"a": "http://www.w3.org/2005/Atom"}
    for name, start in (("feed.atom", "[MÔ PHỎNG]"), ("en/feed.atom", "[SIMULATED]")):
        feed = parsed(files[name])
        entries = feed.findall("a:entry", atom)
        # Four datasets at first, then the one that changed, newest first.
        assert len(entries) == 5
        links = [entry.find("a:link", atom).get("href", "") for entry in entries]  # type: ignore[union-attr]
        assert links[0].startswith(f"{ADDRESS}/releases/000002/procedures/")
        assert sum(str(entry.findtext("a:title", "", atom)).startswith(start) for entry in entries) == 1
        for link in links:
            place = link.removeprefix(f"{ADDRESS}/")
            assert (released.home / "open-data" / place / "index.html").exists()
    places = [
        node.text or ""
        for node in parsed(files["sitemap.xml"]).iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")
    ]
    assert len(places) == len(set(places)) == 2 * (4 + 4)
    for place in places:
        assert f"{place.removeprefix(ADDRESS + '/latest/')}index.html" in files
    robots = files["robots.txt"].decode()
    assert f"Sitemap: {ADDRESS}/sitemap.xml" in robots
    assert "Disallow: /mo/releases/" in robots


def test_the_page_holds_its_record_for_search_engines(released: Warehouse, found: dict[str, Page]) -> None:
    page = found["procedures/en/index.html"]
    (body,) = (body for given, body in page.scripts if given.get("type") == "application/ld+json")
    assert json.loads(body) == json.loads(released.files()["procedures/schema-org.jsonld"])
    assert json.loads(body)["@type"] == "Dataset"


def test_a_dataset_that_bears_the_name_of_a_page_is_refused(warehouse: Warehouse) -> None:
    assert {"en", "danh-muc", "ke-hoach", "gioi-thieu"} == RESERVED
    (warehouse.approvals / "procedures.yml").rename(warehouse.approvals / "danh-muc.yml")
    warehouse.change_approval("danh-muc", dataset="danh-muc")
    warehouse.manifest["exposures"]["exposure.kho_chung.procedures"]["label"] = "danh-muc"
    with pytest.raises(CatalogueError, match="dataset danh-muc: the site has a page of that name"):
        warehouse.publish()
    assert not warehouse.current.exists()


def test_planned_datasets_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "planned.yml"
    assert read_planned(path) == []
    path.write_text(
        "- {title: {vi: A, en: B}, description: {vi: C, en: D}, due: 2027-03-31, frequency: MONTHLY}\n"
    )
    (item,) = read_planned(path)
    assert (item.title.vi, item.due, item.frequency) == ("A", date(2027, 3, 31), "MONTHLY")
    path.write_text("- {title: {vi: A, en: B}, due: 2027-03-31}\n")
    with pytest.raises(
        CatalogueError, match=r"planned.yml: each planned dataset needs title and description"
    ):
        read_planned(path)
    path.write_text(
        "- {title: {vi: A, en: B}, description: {vi: C, en: D}, due: 2027-03-31, frequency: SOON}\n"
    )
    with pytest.raises(CatalogueError, match="frequency 'SOON' is not one of"):
        read_planned(path)


@pytest.mark.parametrize(
    ("frequency", "made", "next_day"),
    [
        ("DAILY", date(2026, 12, 31), date(2027, 1, 1)),
        ("MONTHLY", date(2026, 11, 1), date(2026, 12, 1)),
        ("MONTHLY", date(2026, 12, 31), date(2027, 1, 1)),
        ("QUARTERLY", date(2026, 9, 30), date(2026, 10, 1)),
        ("QUARTERLY", date(2026, 10, 1), date(2027, 1, 1)),
        ("ANNUAL", date(2026, 1, 1), date(2027, 1, 1)),
        ("IRREG", date(2026, 1, 1), None),
    ],
)
def test_the_calendar_names_the_day_after_the_next_whole_period(
    frequency: str, made: date, next_day: date | None
) -> None:
    assert next_update(frequency, made) == next_day


def test_the_calendar_lists_what_is_planned_and_when_each_dataset_is_updated(
    released: Warehouse, found: dict[str, Page]
) -> None:
    for place in ("ke-hoach/index.html", "en/planned/index.html"):
        table = released.files()[place].decode().rsplit("<tbody>", 1)[1]
        assert len(re.findall("<tr>", table)) == 4
    text = found["ke-hoach/index.html"].text
    for item in read_planned():
        assert all(words in text for words in (item.title.vi, item.description.vi, VIETNAMESE.day(item.due)))
    made = datetime.fromisoformat(json.loads(released.files()["release.json"])["created_at"])
    day = next_update("MONTHLY", made.astimezone(BUSINESS_ZONE).date())
    assert day
    page = released.files()["ke-hoach/index.html"].decode()
    # On small screens the heads of the columns are gone: each cell names its own.
    updated = '<td data-label="Cập nhật">Hằng tháng, khi một tháng đủ số liệu</td>'
    assert f'<td data-label="Lần tới">từ {VIETNAMESE.day(day)}</td>{updated}' in page


def test_the_picture_is_chosen_for_the_data_with_its_numbers_beside_it(
    found: dict[str, Page], released: Warehouse
) -> None:
    page = released.files()["administrative-units/en/index.html"].decode()
    picture, *_ = re.findall(r"<svg class=.*?</svg>", page, re.DOTALL)
    assert 'role="img" aria-labelledby="t0 d0"' in picture
    # Three rows: two provinces, one commune; codes in words.
    assert '<title id="t0">Rows by level in English</title>' in picture
    table = page.split("The numbers of this chart")[1].split("</table>")[0]
    assert re.findall(r'row">(.*?)</th><td class="n">(.*?)</td>', table) == [
        ("province", "2"),
        ("commune", "1"),
    ]
    silent = (
        released.files()["service-index-766/index.html"]
        .decode()
        .split('id="chart"')[1]
        .split("</section>")[0]
    )
    assert "<svg" not in silent
    assert "Không vẽ" in silent


def test_every_theme_and_frequency_has_a_name() -> None:
    from opendata import catalogue

    assert set(THEMES) == catalogue.THEMES
    assert set(FREQUENCIES) == catalogue.FREQUENCIES
    assert fold("Tỷ lệ ĐÚNG hạn, phường Mỹ Tho") == "ty le dung han, phuong my tho"


# --- the examples of the page, as a reader would run them


@pytest.fixture(scope="module")
def served(
    postgres: str, _manifest: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    made = new_warehouse(postgres, _manifest, tmp_path_factory.mktemp("examples"))
    port = free_port()
    command = [sys.executable, "-m", "ops.site", str(made.home / "open-data"), str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: _answers(port))
        made.publish(address=f"http://127.0.0.1:{port}")
        yield made
        stop(process)


def snippet(warehouse: Warehouse, dataset: str, program: str) -> str:
    page = warehouse.files()[f"{dataset}/index.html"].decode()
    (found,) = re.findall(rf'<code class="{program}">(.*?)</code>', page, re.DOTALL)
    return html.unescape(found)


DATASETS = ("administrative-units", "dossier-results-monthly", "procedures", "service-index-766")


def test_a_harvester_finds_every_page_and_file_that_the_catalogue_names(served: Warehouse) -> None:
    """Over HTTP from the address for harvesters, with the types it asks for; sizes and checksums are as recorded."""
    start = json.loads(served.files()["procedures/datapackage.json"])["homepage"].split("/latest/")[0]
    types = {"ttl": "text/turtle", "jsonld": "application/ld+json", "rdf": "application/rdf+xml"}
    for ending, kind in types.items():
        answer = requests.get(f"{start}/latest/catalog.{ending}", timeout=10)
        assert answer.headers["Content-Type"].split(";")[0] == kind
        graph = Graph().parse(data=answer.content, format=kind)
        assert len(set(graph.objects(None, DCAT.dataset))) == 4
    pages = {str(page) for name in (DCAT.landingPage, DCAT.accessURL) for page in graph.objects(None, name)}
    assert len(pages) >= 4
    for page in pages:
        assert requests.get(page, timeout=10).status_code == 200, page
    files = list(graph.subject_objects(DCAT.downloadURL))
    assert len(files) == 25
    for distribution, address in files:
        data = requests.get(str(address), timeout=10).content
        assert len(data) == int(str(graph.value(distribution, DCAT.byteSize)))
        checksum = graph.value(graph.value(distribution, SPDX.checksum), SPDX.checksumValue)
        assert hashlib.sha256(data).hexdigest() == str(checksum)


def test_the_example_for_python_runs_as_it_stands_on_the_page(
    served: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(served.files()["release.json"])["datasets"]
    for dataset, entry in zip(DATASETS, rows, strict=True):
        script = tmp_path / "example.py"
        script.write_text(snippet(served, dataset, "python"), encoding="utf-8")
        data = runpy.run_path(str(script))["data"]
        assert len(data) == entry["tables"][0]["rows"]
        assert list(data.columns) == entry["tables"][0]["columns"]
    assert "period" in capsys.readouterr().out


def test_the_example_for_duckdb_runs_as_it_stands_on_the_page(
    served: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dataset in DATASETS:
        monkeypatch.chdir(served.current / dataset)
        assert sum(row[-1] for row in duckdb.sql(snippet(served, dataset, "duckdb")).fetchall()) > 0


def test_the_example_for_r_runs_as_it_stands_on_the_page(served: Warehouse) -> None:
    program = shutil.which("Rscript")
    if program is None:
        pytest.skip("looked for Rscript on the path; apt-get install r-base-core brings it")
    for dataset in DATASETS:
        lines = snippet(served, dataset, "r")
        done = subprocess.run(
            [program, "-e", lines + "\nstopifnot(nrow(data) > 1)"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def as_text_columns(warehouse: Warehouse, dataset: str) -> list[str]:
    page = warehouse.files()[f"{dataset}/index.html"].decode()
    return re.findall(r'<code class="as-text">(.*?)</code>', page)


def test_the_page_names_the_columns_that_a_spreadsheet_would_spoil(served: Warehouse) -> None:
    assert {dataset: as_text_columns(served, dataset) for dataset in DATASETS} == {
        "administrative-units": ["unit_code"],
        "dossier-results-monthly": [],
        "procedures": ["procedure_code"],
        "service-index-766": ["period"],
    }


def test_a_spreadsheet_shows_what_the_page_promises(served: Warehouse, tmp_path: Path) -> None:
    """The workbooks as they open; the CSV for Excel imported as the page says: UTF-8, and Text where it says so."""
    program = shutil.which("soffice")
    if program is None:
        pytest.skip("looked for soffice on the path; apt-get install libreoffice-calc-nogui brings it")

    def opened(files: list[Path], *options: str) -> list[list[tuple[Any, ...]]]:
        profile = f"-env:UserInstallation=file://{tmp_path}/profile"
        command = [
            program,
            "--headless",
            profile,
            *options,
            "--convert-to",
            "xlsx",
            "--outdir",
            str(tmp_path),
        ]
        subprocess.run([*command, *map(str, files)], check=True, capture_output=True, timeout=120)
        books = [load_workbook(tmp_path / file.with_suffix(".xlsx").name) for file in files]
        return [list(book.worksheets[0].iter_rows(values_only=True)) for book in books]

    def shown(value: object) -> object:
        if isinstance(value, date):  # a moment, too
            return value.strftime("%Y-%m-%d")
        if isinstance(value, bool):
            return f"={str(value).upper()}()"  # as the spreadsheet keeps a truth value it read from text
        return float(value) if isinstance(value, int | Decimal) else value

    datasets = ("dossier-results-monthly", "procedures")
    typed = [next(served.current.glob(f"{dataset}/{dataset}.*.parquet")) for dataset in datasets]
    books = opened([path.with_suffix(".xlsx") for path in typed])
    for dataset, path, book in zip(datasets, typed, books, strict=True):
        data = neutralise_formulas(pq.read_table(path))
        data = data.select([f.name for f in data.schema if not str(f.type).startswith("timestamp")])
        wanted = [tuple(map(shown, row.values())) for row in data.to_pylist()]
        text = as_text_columns(served, dataset)
        header = book[0]
        kinds = "/".join(f"{at}/{2 if name in text else 1}" for at, name in enumerate(header, 1))
        (plain,) = opened([path.with_suffix(".excel.csv")], f"--infilter=CSV:44,34,76,1,{kinds}")
        for rows in (book, plain):
            assert rows[0] == header
            kept = [at for at, name in enumerate(header) if name in data.column_names]
            assert [tuple(shown(row[at]) for at in kept) for row in rows[1:]] == wanted


def test_every_older_release_is_read_from_its_own_address(served: Warehouse) -> None:
    """Parquet by one stable address for the newest release and one for each before; its page stands there, too."""
    root = json.loads(served.files()["procedures/datapackage.json"])["homepage"].split("/latest/")[0]
    old = served.current.resolve().name

    def fees(place: str) -> list[Decimal]:
        answer = requests.get(f"{root}/{place}/procedures/procedures.real.parquet", timeout=10)
        assert answer.status_code == 200
        return pq.read_table(io.BytesIO(answer.content))["fee_vnd"].to_pylist()

    before = fees("latest")
    served.sql("update open_data.procedures set fee_vnd = 7070 where procedure_code = '1.001193'")
    number = f"{served.publish(address=root).number:06d}"
    assert fees("latest") == fees(f"releases/{number}") != before
    assert fees(f"releases/{old}") == before
    page = requests.get(f"{root}/latest/procedures/", timeout=10).text
    (link,) = re.findall(rf'href="([^"]*/releases/{old}/procedures/index.html)"', page)
    cited = requests.get(urljoin(root, link), timeout=10)
    assert cited.status_code == 200
    # Who comes there by a citation finds the newest one.
    (newest,) = re.findall(r'<a href="([^"]*/latest/procedures/)"', cited.text)
    assert f">{number}</a>" in requests.get(urljoin(root, newest), timeout=10).text
