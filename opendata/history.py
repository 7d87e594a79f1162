"""What happens to releases after they were made: changelog, withdrawal, retention.

`<home>/open-data/withdrawn.json` says which datasets are withdrawn. What is taken out of the public folder goes to
`<home>/open-data/archive/<release>/<dataset>`, which no server shows: disclosure control must know for ever what was
once published, and a withdrawal can be taken back.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rdflib import Graph, URIRef

from opendata import dcat
from opendata.catalogue import Text

WITHDRAWN = "withdrawn.json"
CHANGELOG = "changelog.json"
CHANGES = "changes.csv"
ARCHIVE = "archive"
NOTICE = "notice.html"
KEPT_INSTEAD = "kept_instead"
TEMPLATES = Path(__file__).parent / "templates"
#: Every release of so many days is kept; of older ones the last of each month.
KEPT_DAYS = 400


@dataclass(frozen=True)
class Withdrawal:
    """A dataset taken back: when, by which office, why."""

    dataset: str
    at: str
    by: str
    reason: Text
    title: Text


def withdrawals(root: Path) -> dict[str, Withdrawal]:
    """Return {dataset: its withdrawal} of the datasets that are withdrawn now."""
    path = root / WITHDRAWN
    if not path.exists():
        return {}
    return {
        item["dataset"]: Withdrawal(
            item["dataset"], item["at"], item["by"], Text(**item["reason"]), Text(**item["title"])
        )
        for item in json.loads(path.read_text(encoding="utf-8"))
    }


def record_withdrawal(root: Path, item: Withdrawal) -> None:
    """Record that a dataset is withdrawn; what follows from it can be done again until it is done."""
    _write_withdrawals(root, {**withdrawals(root), item.dataset: item})


def restore(root: Path, dataset: str) -> bool:
    """Take a withdrawal back for releases to come; returns whether there was one. Old releases keep the notice."""
    held = withdrawals(root)
    if held.pop(dataset, None) is None:
        return False
    _write_withdrawals(root, held)
    return True


def _write_withdrawals(root: Path, held: Mapping[str, Withdrawal]) -> None:
    aside = root / f".{WITHDRAWN}-{os.getpid()}"
    aside.write_text(
        json.dumps([asdict(w) for w in held.values()], ensure_ascii=False, indent=2) + "\n", "utf-8"
    )
    aside.replace(root / WITHDRAWN)


def apply_withdrawals(root: Path) -> int:
    """Put a notice in place of each withdrawn dataset in every release; returns how many were replaced.

    Its records leave the catalogue files of the release, too. A kill in between is mended by the next call.
    """
    done = 0
    for item in withdrawals(root).values():
        for release in _releases(root):
            if KEPT_INSTEAD in json.loads((release / "release.json").read_text(encoding="utf-8")):
                continue  # its data are away already
            folder = release / item.dataset
            kept = root / ARCHIVE / release.name / item.dataset
            if (not folder.exists() and kept.exists()) or (
                folder.exists() and not (folder / WITHDRAWN).exists()
            ):
                if folder.exists():
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    if (
                        kept.exists()
                    ):  # half moved by a call that was killed; what stands in the release is whole
                        shutil.rmtree(kept)
                    folder.rename(kept)
                _forget_in_catalogue(release, item.dataset)
                _forget_in_record(release, item.dataset)
                write_notice(folder, item)
                done += 1
    return done


def write_notice(folder: Path, item: Withdrawal) -> None:
    """Write the notice that stands where a withdrawn dataset stood: a page and a record."""
    aside = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    heading = Text("Bộ dữ liệu đã được thu hồi", "This dataset has been withdrawn")
    (aside / "en").mkdir()
    for page in (aside / "index.html", aside / "en" / "index.html"):  # as the dataset's pages stood
        _page(page, heading, item.title, item.reason, item.by, item.at[:10])
    (aside / WITHDRAWN).write_text(json.dumps(asdict(item), ensure_ascii=False, indent=2) + "\n", "utf-8")
    aside.rename(folder)


def _page(path: Path, heading: Text, title: Text, reason: Text, by: str, on: str) -> None:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template(NOTICE)
    path.write_text(page.render(heading=heading, title=title, reason=reason, by=by, on=on), encoding="utf-8")


def _forget_in_record(release: Path, dataset: str) -> None:
    """Move a dataset of release.json from those that stand in the release to those withdrawn from it."""
    document = json.loads((release / "release.json").read_text(encoding="utf-8"))
    document["datasets"] = [one for one in document["datasets"] if one["id"] != dataset]
    document["withdrawn"] = sorted({*document.get("withdrawn", ()), dataset})
    aside = release / ".release.json"
    aside.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8")
    aside.replace(release / "release.json")


def _forget_in_catalogue(release: Path, dataset: str) -> None:
    """Take a dataset's triples out of the release's catalogue files."""
    path = release / "catalog.ttl"
    if not path.exists():
        return
    graph = Graph().parse(path)
    ours = re.compile(rf"/(latest|releases/\d{{6}})/{re.escape(dataset)}/")
    for triple in list(graph):
        if any(isinstance(part, URIRef) and ours.search(part) for part in triple):
            graph.remove(triple)
    for prefix, namespace in dcat.PREFIXES.items():
        graph.bind(prefix, namespace)
    dcat.write(graph, release, "catalog")


# --- changelog


def last_published(root: Path, previous: Path | None, dataset: str) -> Path | None:
    """Return the folder of a dataset as it was published last: in the release before, or what a withdrawal took out.

    Its parent is named by the release. None where it never was published.
    """
    if previous is None:
        return None
    taken_out = sorted((root / ARCHIVE).glob(f"[0-9]*/{dataset}"), reverse=True)
    return next((f for f in (previous / dataset, *taken_out) if (f / "datapackage.json").exists()), None)


def changelog(previous: Path | None, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the changelog of a dataset: the new entry, then those of its folder `previous`, newest first."""
    old: list[dict[str, Any]] = []
    if previous is not None and (previous / CHANGELOG).exists():
        old = json.loads((previous / CHANGELOG).read_text(encoding="utf-8"))
    return [dict(entry), *old]


def coarsened(folder: Path, table: str) -> dict[str, str] | None:
    """Return how a table was divided more coarsely than declared when a dataset's folder was published, or None."""
    entries = changelog(folder, {})[1:]
    tables = entries[0]["tables"] if entries else []
    return next((item.get("coarsened") for item in tables if item["name"] == table), None)


# --- retention


def expired(made: Sequence[tuple[int, date]], today: date, current: int) -> dict[int, int]:
    """Return {release to be put away: release of the same month that stays}, of (number, day it was made)."""
    last_of_month: dict[tuple[int, int], int] = {}
    for number, day in sorted(made):
        last_of_month[day.year, day.month] = number
    return {
        number: last_of_month[day.year, day.month]
        for number, day in sorted(made)
        if day < today - timedelta(days=KEPT_DAYS)
        and number != current
        and last_of_month[day.year, day.month] != number
    }


def put_away(root: Path, today: date | None = None) -> list[int]:
    """Move the data of releases past their time into the archive, leaving a notice; returns their numbers."""
    current = int((root / "current").resolve().name) if (root / "current").exists() else 0
    documents = {
        path: json.loads((path / "release.json").read_text(encoding="utf-8")) for path in _releases(root)
    }
    made = [
        (int(path.name), datetime.fromisoformat(document["created_at"]).date())
        for path, document in documents.items()
        if KEPT_INSTEAD not in document
    ]
    for number, instead in expired(made, today or datetime.now(UTC).date(), current).items():
        release = root / "releases" / f"{number:06d}"
        documents[release][KEPT_INSTEAD] = instead
        aside = release / ".release.json"
        aside.write_text(json.dumps(documents[release], ensure_ascii=False, indent=2) + "\n", "utf-8")
        aside.replace(release / "release.json")
    return [
        int(release.name)
        for release, document in documents.items()
        if KEPT_INSTEAD in document and _empty(root, release, int(document[KEPT_INSTEAD]))
    ]


def _empty(root: Path, release: Path, instead: int) -> bool:
    """Move the data of a release that is marked into the archive; False where that was done before."""
    left = [path for path in release.iterdir() if path.name not in ("release.json", "index.html")]
    if not left:
        return False
    _page(
        release / "index.html",
        Text(
            f"Bản phát hành {release.name} đã hết thời hạn lưu", f"Release {release.name} is no longer kept"
        ),
        Text(
            f"Còn bản {instead:06d}, bản cuối của tháng",
            f"Release {instead:06d} stays, the last of its month",
        ),
        Text(
            f"Mọi bản phát hành được lưu {KEPT_DAYS} ngày; sau đó lưu bản cuối của mỗi tháng",
            f"Each release is kept for {KEPT_DAYS} days; after that the last one of each month",
        ),
        "",
        "",
    )
    archive = root / ARCHIVE / release.name
    archive.mkdir(parents=True, exist_ok=True)
    for path in left:
        if path.is_dir() and not (path / WITHDRAWN).exists():
            path.rename(archive / path.name)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return True


def _releases(root: Path) -> Iterator[Path]:
    folder = root / "releases"
    yield from sorted(path for path in folder.glob("*") if path.name.isdigit()) if folder.exists() else ()
