"""The static site of a release: for people, in Vietnamese and English, from the release's files and declarations.

Vietnamese pages stand at the top, English ones under `en/`; a dataset's pages stand both in its own folder, so that
a withdrawal takes them with it. Every byte comes from the release itself: style and script are inline and named by
their checksum in the pages' content policy. Nothing needs the script: it only filters the list that is there.

All text goes through the templates' autoescape; what is written into a script element is JSON without `<`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from opendata import charts
from opendata.catalogue import LAWS, CatalogueError, Text, frictionless_type
from opendata.dcat import PORTAL, Portal, read_portal
from opendata.files import as_text, pieces
from opendata.history import CHANGELOG
from opendata.tabular import Edition
from opendata.words import (
    BUSINESS_ZONE,
    ENGLISH,
    FORMATS,
    FREQUENCIES,
    THEMES,
    TYPES,
    UNITS,
    VIETNAMESE,
    Language,
    fold,
)

if TYPE_CHECKING:
    from opendata.release import Build, Table

TEMPLATES = Path(__file__).parent / "templates"
PLANNED = Path(__file__).parent / "planned.yml"
PREVIEW_ROWS = 10
#: So many releases stand in the history of a page, and in the feed.
HISTORY = 20
LANGUAGES = (VIETNAMESE, ENGLISH)
#: Months from one update to the next, for the release calendar; datasets made as data come in have each day.
MONTHS_BETWEEN = {"MONTHLY": 1, "BIMONTHLY": 2, "QUARTERLY": 3, "ANNUAL_2": 6, "ANNUAL": 12}
EACH_DAY = frozenset(["CONT", "UPDATE_CONT", "DAILY_2", "DAILY"])
#: Texts that Excel and LibreOffice make something else of when they open a CSV file.
READ_AS_NUMBER = r"(?i)^(\d[\d.,:/ -]*(e\d+)?|true|false)$"
#: Names of the site's own folders: no dataset may be called so.
PAGES = {
    "home": Text("", "en/"),
    "list": Text("danh-muc/", "en/list/"),
    "planned": Text("ke-hoach/", "en/planned/"),
    "about": Text("gioi-thieu/", "en/about/"),
}
RESERVED = frozenset(place.split("/")[0] for text in PAGES.values() for place in (text.vi, text.en) if place)


@dataclass(frozen=True)
class Facet:
    """One value of a filter: of themes, places or frequencies."""

    kind: str
    code: str
    label: Text

    @property
    def slug(self) -> str:
        """Its place below the list."""
        return f"{self.kind}-{self.code.lower().replace('_', '-')}"


FACETS = {
    "theme": Text("Chủ đề", "Theme"),
    "place": Text("Địa bàn", "Place"),
    "frequency": Text("Tần suất cập nhật", "Update frequency"),
}


@dataclass(frozen=True)
class Past:
    """One release in the history of a dataset: what it brought, and where its changes stand row by row."""

    number: int
    created_at: datetime
    rows: int
    #: `first`, `same` or `changed`
    change: str
    added: int
    removed: int
    revised: int
    #: (reason, office that decided it and day; empty in changelogs of before)
    reasons: tuple[tuple[Text, str, date | None], ...]
    kept: bool
    #: (file of changes, title of its table)
    files: tuple[tuple[str, Text], ...]


@dataclass(frozen=True)
class Planned:
    """A dataset that is to come: what, until when, and on what it waits."""

    title: Text
    description: Text
    due: date
    frequency: str


class Shown:
    """One dataset as its page shows it: declarations, and what the release's files say."""

    def __init__(self, build: Build, folder: Path, document: Mapping[str, Any]):
        self.build, self.folder = build, folder
        self.dataset, self.approval = build.dataset, build.dataset.approval
        self.id, self.origin = build.dataset.id, build.origin
        self.simulated = build.origin == "simulated"
        self.recorded = next(item for item in document["datasets"] if item["id"] == self.id)
        self._gate = document.get("gate")
        self._number = document["number"]
        self._created_at = document["created_at"]

    @property
    def sort_vi(self) -> str:
        """Where it stands in the Vietnamese list from A to Z."""
        return fold(self.dataset.title.vi)

    @property
    def sort_en(self) -> str:
        """Where it stands in the English list from A to Z."""
        return fold(self.dataset.title.en)

    @property
    def tables(self) -> Sequence[Table]:
        """Its tables, the one that carries its name first."""
        return self.build.tables

    def record(self, table: Table) -> Mapping[str, Any]:
        """Return what release.json says of a table."""
        return next(item for item in self.recorded["tables"] if item["name"] == table.resource.name)

    def files(self, table: Table) -> list[Any]:
        """Return the files of a table in the order in which readers should meet them."""
        order = list(FORMATS)
        return sorted(table.files, key=lambda file: order.index(file.format))

    @cached_property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(item["rows"] for item in self.recorded["tables"])

    @cached_property
    def freshness(self) -> Text:
        """Return the last day the figures speak of, where a column tells; else the approved words.

        Where the last period lacks days, the day up to which nothing is lacking stands beside it.
        """
        spoken = [table for table in self.tables if table.period]
        if not spoken:
            return self.approval.temporal
        table = max(spoken, key=lambda one: ((one.period or (date.min, date.min))[1], one.is_provisional))
        last = (table.period or (date.min, date.min))[1]
        if not table.is_provisional:
            return _dated("Số liệu đến %s", "Figures up to %s", last)
        if self.build.captured or table.whole_until is None or table.whole_until >= last:
            return _dated("Số liệu đến %s (kỳ cuối chưa đủ ngày, tạm tính)",
                          "Figures up to %s (last period not complete, provisional)", last)  # fmt: skip
        return _dated("Số liệu đến %s (đủ đến %s; kỳ sau đó chưa đủ ngày, tạm tính)",
                      "Figures up to %s (complete up to %s; what follows lacks days, provisional)",
                      last, table.whole_until)  # fmt: skip

    @property
    def next_on(self) -> date | None:
        """Return the first day after this release on which new figures may come; None where nothing tells."""
        made = datetime.fromisoformat(self._created_at).astimezone(BUSINESS_ZONE).date()
        return next_update(self.approval.frequency, made)

    def exempt(self, table: Table) -> list[tuple[str, str | None, list[str]]]:
        """Return (legal basis, its English, columns of counts) of what a table shows however small it is."""
        policy = table.resource.small_cell
        found: dict[str, list[str]] = {}
        for count in policy.counts if policy else ():
            if count.exempt and count.column not in found.setdefault(count.exempt, []):
                found[count.exempt].append(count.column)
        english = policy.bases_en if policy else {}
        return [(basis, english.get(basis), columns) for basis, columns in found.items()]

    def preview(self, table: Table) -> list[list[str | None]]:
        """Return the first rows of a table, as text, read from its Parquet file; None where a cell is empty."""
        path = next(file.path for file in table.files if file.format == "parquet")
        with pq.ParquetFile(self.folder / path) as file:
            batch = next(file.iter_batches(PREVIEW_ROWS), None)
        if batch is None:
            return []
        rows = as_text(pa.Table.from_batches([batch])).to_pylist()
        return [[_shown(row[column.name]) for column in table.columns] for row in rows]

    def snippets(self, address: str, language: Language) -> list[tuple[str, str]]:
        """Return (program, lines) that read the first table from its address at `address`."""
        table = self.tables[0]
        path = {file.format: f"{address}/{quote(file.path)}" for file in table.files}
        local = next(file.path for file in table.files if file.format == "parquet").rpartition("/")[2]
        text = [c.name for c in table.columns if frictionless_type(c.data_type) == "string"]
        column = next((name for name in ("origin", *text) if name in text), table.columns[0].name)
        classes = ",\n    ".join(f'{_r_name(name)} = "character"' for name in text)
        after = language.t("sau khi tải tệp Parquet về", "after downloading the Parquet file")
        return [
            (
                "Python",
                f'import pandas as pd\n\ndata = pd.read_parquet("{path["parquet"]}")\nprint(data.head())',
            ),
            (
                "R",
                f'data <- read.csv("{path["csv"]}",\n  encoding = "UTF-8", na.strings = "",\n'
                f"  colClasses = c(\n    {classes}))\nhead(data)",
            ),
            ("DuckDB", f'-- {after}\nSELECT "{column}", count(*) FROM \'{local}\' GROUP BY "{column}";'),
        ]

    @cached_property
    def typed_as_text(self) -> list[str]:
        """Return the columns of the first table whose texts a spreadsheet takes for numbers, dates or truth values.

        Codes would lose their leading zeros there, and 2025-06 would become a day of June.
        """
        path = next(file.path for file in self.tables[0].files if file.format == "parquet")
        left = [c.name for c in self.tables[0].columns if frictionless_type(c.data_type) == "string"]
        found = set()
        for piece in pieces(self.folder / path, left):
            looks = {name: pc.match_substring_regex(piece[name], READ_AS_NUMBER) for name in left}
            found |= {name for name, mask in looks.items() if pc.any(mask).as_py()}
        return [name for name in left if name in found]

    @cached_property
    def _charts(self) -> list[tuple[Table, charts.Chart]]:
        return [(table, chart) for table in self.tables for chart in charts.choose(table, self.folder)]

    def pictures(self, language: Language) -> list[tuple[Table, charts.Chart, Markup]]:
        """Return the pictures chosen for its tables, with codes in words."""
        told = [
            (
                table,
                charts.labelled(
                    chart,
                    {c.name: {code.value: code.label for code in c.codes} for c in table.columns}
                    | {charts.NAMES: {c.name: charts.clause(c) for c in table.columns}},
                    language,
                ),
            )
            for table, chart in self._charts
        ]
        return [
            (table, chart, charts.draw(chart, str(index), language))
            for index, (table, chart) in enumerate(told)
        ]

    @cached_property
    def quality(self) -> dict[str, Any] | None:
        """Return what the release gate found here: checks, passed, and the rules; None where it did not run.

        A rule is (words, rows that break it: 0 where it holds, None where it does not count rows).
        """
        results = (self._gate or {}).get("checks")
        if results is None:
            return None
        names = tuple(f"release.{table.resource.name}." for table in self.tables)
        ours = [item for item in results if item["name"].startswith(names)]
        rules: dict[Text, int | None] = {}
        for item in ours:
            words = Text(item["vi"], item["description"])
            if not item["success"]:
                rules[words] = item["unexpected_rows"]
            rules.setdefault(words, 0)
        return {
            "checks": len(ours),
            "passed": sum(1 for item in ours if item["success"]),
            "rules": list(rules.items()),
        }

    @cached_property
    def history(self) -> list[Past]:
        """Return what its changelog tells of each release, newest first."""
        entries = json.loads((self.folder / self.id / CHANGELOG).read_text(encoding="utf-8"))
        return [self._past(entry) for entry in entries[:HISTORY]]

    def _past(self, entry: Mapping[str, Any]) -> Past:
        number = entry["release"]
        release = self.folder if number == self._number else self.folder.parent / f"{number:06d}"
        place = release / self.id
        told = [table["changes"] for table in entry["tables"] if table["changes"]]
        sums = {name: sum(changes[name] for changes in told) for name in ("added", "removed", "revised")}
        titles = {table.resource.name: table.resource.title for table in self.tables}
        columns = any(changes["columns_added"] or changes["columns_removed"] for changes in told)
        return Past(
            number=number,
            created_at=datetime.fromisoformat(entry["created_at"]),
            rows=sum(table["rows"] for table in entry["tables"]),
            change="first" if not told else "changed" if columns or any(sums.values()) else "same",
            **sums,
            reasons=tuple(
                (
                    Text(item["vi"], item["en"]),
                    ", ".join(filter(None, (item.get("role"), item.get("decided_by")))),
                    date.fromisoformat(item["decided_on"]) if "decided_on" in item else None,
                )
                for item in entry["approved"]
            ),
            kept=(place / "datapackage.json").exists(),
            files=tuple(
                (path.name, titles.get(path.name.partition(".")[0], Text(path.name, path.name)))
                for path in sorted(place.glob("*.changes.csv"))
            ),
        )

    @cached_property
    def facets(self) -> list[Facet]:
        """Return the values by which it can be found."""
        code = self.approval.place_code or "VN"
        # The first words are the name; what follows tells its past.
        name = Text(
            *(
                re.split(r"[;,(]", text)[0].strip()
                for text in (self.approval.spatial.vi, self.approval.spatial.en)
            )
        )
        place = name if self.approval.place_code else Text("Cả nước", "Viet Nam")
        return [
            *(Facet("theme", theme, THEMES[theme]) for theme in self.approval.themes),
            Facet("place", code, place),
            Facet("frequency", self.approval.frequency, FREQUENCIES[self.approval.frequency]),
        ]

    def _named(self) -> dict[str, list[Path]]:
        """Return where the columns of names of its tables stand: {column: Parquet files}."""
        found: dict[str, list[Path]] = {}
        for table in self.tables:
            path = next(file.path for file in table.files if file.format == "parquet")
            for column in table.columns:
                if column.name.endswith("_name") and frictionless_type(column.data_type) == "string":
                    found.setdefault(column.name, []).append(self.folder / path)
        return found

    @property
    def communes(self) -> set[str]:
        """Return the names of the province's communes, where a table has rows for each, in small letters."""
        named = self._named()
        columns = [name.replace("_code", "_name") for name in charts.PLACES]
        return {text for name in columns for texts in _texts(name, named.get(name, ())) for text in texts}

    def index(self, places: set[str]) -> dict[str, Any]:
        """Return its entry in the search index: its words as they are written, by weight, and its filters.

        `places` are the names of the province's communes, which stand in the index once for all datasets.
        """
        columns = [column.description for table in self.tables for column in table.columns]
        columns += [
            code.label for table in self.tables for column in table.columns for code in column.codes[:50]
        ]
        names = [column.name.replace("_", " ") for table in self.tables for column in table.columns]
        titles = [self.dataset.title, *(table.resource.title for table in self.tables)]
        about = [self.dataset.description, *(facet.label for facet in self.facets)]
        return {
            "id": self.id,
            "title": _phrases(titles),
            "keywords": _phrases(self.approval.keywords),
            "about": _phrases(about),
            "columns": " ".join(dict.fromkeys(_phrases(columns).split() + " ".join(names).split())),
            "places": name_places(self._named(), places),
            "facets": [facet.slug for facet in self.facets],
        }


def name_places(columns: Mapping[str, Sequence[Path]], places: set[str]) -> bool:
    """Return whether a column of names ({column: Parquet files}) holds most of `places`, or mostly such.

    In pieces, and no more names are kept than there are places: a column may have as many as rows.
    """
    for column, paths in columns.items() if places else ():
        names: set[str] = set()
        shared: set[str] = set()
        for texts in _texts(column, paths):
            shared |= texts & places
            if len(names) < len(places):
                names |= texts
        if 2 * len(shared) > min(len(places), len(names)):
            return True
    return False


def _texts(column: str, paths: Iterable[Path]) -> Iterator[set[str]]:
    """Yield the texts of a column of Parquet files in small letters, as sets of many rows each."""
    for path in paths:
        for piece in pieces(path, [column]):
            yield {text.lower() for text in pc.unique(piece[column]).to_pylist() if text}


def next_update(frequency: str, made: date) -> date | None:
    """Return the first day after `made` on which a dataset of this frequency may have new figures, or None.

    A month (quarter, half, year) must be over before its figures are whole.
    """
    if frequency in EACH_DAY:
        return made + timedelta(days=1)
    if frequency not in MONTHS_BETWEEN:
        return None
    step = MONTHS_BETWEEN[frequency]
    month = made.year * 12 + made.month - 1
    month += step - month % step
    return date(month // 12, month % 12 + 1, 1)


def _dated(vi: str, en: str, *days: date) -> Text:
    return Text(vi % tuple(map(VIETNAMESE.day, days)), en % tuple(map(ENGLISH.day, days)))


def _phrases(texts: Iterable[Text]) -> str:
    """Return texts in both languages as words of small letters; a bar stands between two texts."""
    parts = dict.fromkeys(
        unicodedata.normalize("NFC", part).lower() for text in texts for part in (text.vi, text.en)
    )
    return " | ".join(" ".join(re.findall(r"\w+", part)) for part in parts)


def _r_name(name: str) -> str:
    return name if re.fullmatch(r"[a-z][a-z0-9_]*", name) else f"`{name}`"


def _shown(value: object) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_planned(path: Path = PLANNED) -> list[Planned]:
    """Return the published list of planned datasets; empty where the province declares none."""
    if not path.exists():
        return []
    items = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    planned = []
    for item in items:
        try:
            pair = {
                name: Text(str(item[name]["vi"]), str(item[name]["en"])) for name in ("title", "description")
            }
            planned.append(Planned(**pair, due=_day(item["due"]), frequency=str(item["frequency"])))
        except (KeyError, TypeError):
            raise CatalogueError(
                f"{path}: each planned dataset needs title and description (vi, en), due (a day) and frequency; "
                f"looked at {item!r}"
            ) from None
        if planned[-1].frequency not in FREQUENCIES:
            raise CatalogueError(
                f"{path}: frequency {item['frequency']!r} is not one of {', '.join(FREQUENCIES)}"
            )
    return planned


def _day(value: object) -> date:
    if not isinstance(value, date):
        raise TypeError
    return value


def template_digest() -> str:
    """Return the SHA-256 of all that pages are made of apart from the data: changed pages are a changed release."""
    digest = hashlib.sha256()
    made_of = [
        *TEMPLATES.iterdir(),
        *(Path(__file__).with_name(name) for name in ("site.py", "words.py", "charts.py")),
    ]
    for path in sorted([*made_of, *([PLANNED] if PLANNED.exists() else [])]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def write_pages(folder: Path, builds: Sequence[Build], document: Mapping[str, Any], address: str) -> None:
    """Write the site into the release at `folder`, whose data files and records are finished.

    `document` is the content of its release.json, `address` where the public finds the site (no final slash).
    Raises CatalogueError for a dataset whose name a page of the site has.
    """
    if taken := [build.dataset.id for build in builds if build.dataset.id in RESERVED]:
        raise CatalogueError(
            f"dataset {', '.join(taken)}: the site has a page of that name; give its exposure another label"
        )
    _Site(folder, builds, document, address).write()


def rewrite_lists(
    folder: Path, builds: Sequence[Build], document: Mapping[str, Any], address: str, aside: Path
) -> None:
    """Make anew what lists datasets, in the release at `folder` that readers see: pages, feeds, sitemap.

    They are written to the folder `aside`, on the same disk, and each then takes the place of the old one at once.
    """
    site = _Site(folder, builds, document, address, aside)
    site.write_lists()
    new = {path.relative_to(aside) for path in aside.rglob("*") if path.is_file()}
    for path in sorted(new):
        (aside / path).replace(folder / path)
    for place in (PAGES["list"].vi, PAGES["list"].en):
        # Values of filters that no dataset has any more.
        for page in (folder / place).glob("*/index.html"):
            if page.relative_to(folder) not in new:
                shutil.rmtree(page.parent)


class _Site:
    """The pages of one release, written into `out`: the release itself where nothing else is said."""

    def __init__(
        self,
        folder: Path,
        builds: Sequence[Build],
        document: Mapping[str, Any],
        address: str,
        out: Path | None = None,
    ):
        self.folder, self.document, self.out = folder, document, out or folder
        self.edition = Edition(document["number"], datetime.fromisoformat(document["created_at"]), address)
        self.portal: Portal = read_portal(PORTAL)
        self.shown = [Shown(build, folder, document) for build in builds]
        self.planned = read_planned()
        facets = {facet for shown in self.shown for facet in shown.facets}
        self.facets = {
            language: {
                kind: sorted(
                    (f for f in facets if f.kind == kind), key=lambda f: _sort_key(f, kind, language)
                )
                for kind in FACETS
            }
            for language in LANGUAGES
        }
        style, script = (_source(name) for name in ("style.css", "search.js"))
        self.environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters |= {
            "kind": frictionless_type,
            "clause": charts.clause,
            "quote": quote,
            "utc": _utc,
            "json": _json,
        }
        self.environment.globals |= {
            "style": style,
            "script": script,
            "policy": _content_policy(style, script),
            "portal": self.portal,
            "edition": self.edition,
            "number": f"{self.edition.number:06d}",
            "document": document,
            "datasets": self.shown,
            "planned": self.planned,
            "facet_kinds": FACETS,
            "formats": FORMATS,
            "types": TYPES,
            "units": UNITS,
            "laws": LAWS,
            "frequencies": FREQUENCIES,
            "any_simulated": any(shown.simulated for shown in self.shown),
            "all_simulated": all(shown.simulated for shown in self.shown),
            # Old releases and the page for unknown addresses are linked from the server's root.
            "top": urlsplit(address).path.rstrip("/"),
        }

    def write(self) -> None:
        """Write every page, the feeds, and what search engines ask for."""
        self.write_lists()
        for language in LANGUAGES:
            for shown in self.shown:
                place = Text(f"{shown.id}/", f"{shown.id}/en/")
                machine = json.loads(
                    (self.folder / shown.id / "schema-org.jsonld").read_text(encoding="utf-8")
                )
                self._page("dataset.html", place, language, shown=shown, machine=machine)

    def write_lists(self) -> None:
        """Write all but the pages of single datasets."""
        index = self._index()
        for language in LANGUAGES:
            for name in PAGES:
                self._page(f"{name}.html", PAGES[name], language, chosen=None, listed=self.shown, index=index)
            for facet in (facet for group in self.facets[language].values() for facet in group):
                place = Text(*(f"{start}{facet.slug}/" for start in (PAGES["list"].vi, PAGES["list"].en)))
                listed = [shown for shown in self.shown if facet in shown.facets]
                self._page("list.html", place, language, chosen=facet, listed=listed)
            feed = Text("feed.atom", "en/feed.atom")
            self._write(language.say(feed), "feed.xml", language, feed, updates=self._updates())
        # Shown at any address, however deep, so its links begin at the server's root.
        self._write(
            "404.html",
            "404.html",
            VIETNAMESE,
            PAGES["home"],
            root=f"{self.environment.globals['top']}/latest/",
        )
        self._write("sitemap.xml", "sitemap.xml", VIETNAMESE, Text("", ""), places=self._places())
        robots = f"User-agent: *\nDisallow: {self.environment.globals['top']}/releases/\n\nSitemap: "
        (self.out / "robots.txt").write_text(
            f"{robots}{self.edition.address}/sitemap.xml\n", encoding="utf-8"
        )

    def _index(self) -> dict[str, Any]:
        """Return what the search looks in."""
        places = set().union(*(shown.communes for shown in self.shown))
        words = dict.fromkeys(word for name in sorted(places) for word in re.findall(r"\w+", name))
        return {
            "places": " ".join(words),
            "datasets": [shown.index(places) for shown in self.shown],
        }

    def _page(self, template: str, place: Text, language: Language, **values: Any) -> None:
        self._write(f"{language.say(place)}index.html", template, language, place, **values)

    def _write(self, target: str, template: str, language: Language, place: Text, **values: Any) -> None:
        root = values.pop("root", "../" * target.count("/"))

        def href(name: str) -> str:
            """Return the relative address of one of the site's pages in this language."""
            return f"{root}{language.say(PAGES[name])}index.html"

        def page_of(shown: Shown) -> str:
            return f"{root}{shown.id}/{language.t('', 'en/')}index.html"

        page = self.environment.get_template(template).render(
            language=language,
            facets=self.facets[language],
            t=language.t,
            say=language.say,
            num=language.number,
            size=language.size,
            day=language.day,
            root=root,
            place=place,
            href=href,
            page_of=page_of,
            **values,
        )
        path = self.out / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")

    def _updates(self) -> list[tuple[Past, Shown]]:
        """Return the releases in which the data of a dataset changed, newest first."""
        found = [(past, shown) for shown in self.shown for past in shown.history if past.change != "same"]
        return sorted(found, key=lambda item: (-item[0].number, item[1].id))[: 3 * HISTORY]

    def _places(self) -> list[Text]:
        """Return the places of all pages that search engines should know."""
        return [*PAGES.values(), *(Text(f"{shown.id}/", f"{shown.id}/en/") for shown in self.shown)]


def _sort_key(facet: Facet, kind: str, language: Language) -> Any:
    return list(FREQUENCIES).index(facet.code) if kind == "frequency" else fold(language.say(facet.label))


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def _content_policy(style: str, script: str) -> str:
    """Return the pages' content policy: our own style and script by their checksums, and nothing else."""
    style_sum, script_sum = (
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in (style, script)
    )
    return (
        f"default-src 'none'; style-src {style_sum}; script-src {script_sum}; img-src data:; "
        "base-uri 'none'; form-action 'self'"
    )


def _json(value: object) -> Markup:
    """Return JSON for a script element: what could end the element or begin another is written as an escape."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - see above


def _utc(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")
