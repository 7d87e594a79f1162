"""What may be published: dbt's published models plus an approval record for each dataset.

A dataset is a dbt exposure (its label is the dataset id) over models of schema `open_data`. Deny by default:
only columns marked `publish: true` leave, and only under an approval that is complete, in force and has a
known licence. Every gap found is reported at once, with the file to mend.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from opendata.disclosure.policy import NOTHING_ABOUT_PERSONS, Policy, Shape, TablePolicy, read_policy

SCHEMA = "open_data"
APPROVALS = Path(__file__).parent / "approvals"
ORIGIN_COLUMNS = ("origin", "_origin")
EU = "http://publications.europa.eu/resource/authority"
# Authority lists of the EU's Publications Office, and ADMS's types of publishers, which DCAT-AP 3.0.1 prescribes.
THEMES = frozenset(
    ["AGRI", "ECON", "EDUC", "ENER", "ENVI", "GOVE", "HEAL", "INTR", "JUST", "REGI", "SOCI", "TECH", "TRAN"]
)
FREQUENCIES = frozenset(
    ["ANNUAL", "ANNUAL_2", "ANNUAL_3", "BIENNIAL", "BIMONTHLY", "BIWEEKLY", "CONT", "DAILY", "DAILY_2", "IRREG",
     "MONTHLY", "MONTHLY_2", "MONTHLY_3", "NEVER", "OTHER", "QUARTERLY", "TRIENNIAL", "UPDATE_CONT", "WEEKLY",
     "WEEKLY_2", "WEEKLY_3"]
)  # fmt: skip
PUBLISHER_TYPES = frozenset(
    ["Academia-ScientificOrganisation", "LocalAuthority", "NationalAuthority", "NonGovernmentalOrganisation",
     "NonProfitOrganisation", "RegionalAuthority", "StandardisationBody", "SupraNationalAuthority"]
)  # fmt: skip
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class CatalogueError(Exception):
    """What is declared does not suffice for publishing; the message lists every gap and where to mend it."""


@dataclass(frozen=True)
class Text:
    """The same words in Vietnamese and English."""

    vi: str
    en: str


@dataclass(frozen=True)
class Licence:
    """A licence the public can rely on: SPDX or Open Definition id, title, address and ADMS licence type.

    Where no lasting address of the document is known, `url` is where it is looked up, by the number and day that the
    title names (`is_looked_up`); `words` are the title in each language, where it has one for each.
    """

    id: str
    title: str
    url: str
    type: str = "Attribution"
    words: Text | None = None
    is_looked_up: bool = False


#: Where laws and decrees are looked up by their number: the national database of legal documents.
LAWS = "https://vbpl.vn/"
_ARTICLE_15 = Text(
    "Số liệu, quy trình, văn bản hành chính không thuộc phạm vi bảo hộ quyền tác giả: Điều 15 Luật Sở hữu trí tuệ số "
    "50/2005/QH11 ngày 29/11/2005; ghi nguồn khi dùng",
    "Figures, procedures and administrative documents are not subject to copyright: Article 15 of the Law on "
    "Intellectual Property, No. 50/2005/QH11 of 29 November 2005; name the source",
)
#: Licence of what the law leaves to everybody; its sources must say where they are public.
NOT_PROTECTED = "VN-50-2005-QH11-15"
# Anything else is refused: a licence nobody can look up gives the public no right.
LICENCES = {
    licence.id: licence
    for licence in (
        Licence(
            "CC-BY-4.0",
            "Creative Commons Attribution 4.0 International",
            "https://creativecommons.org/licenses/by/4.0/",
        ),
        Licence(
            "CC0-1.0",
            "Creative Commons Zero 1.0 Universal",
            "https://creativecommons.org/publicdomain/zero/1.0/",
            "PublicDomain",
        ),
        Licence(
            "ODC-By-1.0",
            "Open Data Commons Attribution License 1.0",
            "https://opendatacommons.org/licenses/by/1-0/",
        ),
        Licence(
            "ODbL-1.0",
            "Open Data Commons Open Database License 1.0",
            "https://opendatacommons.org/licenses/odbl/1-0/",
            "ViralEffect-ShareAlike",
        ),
        # Figures and administrative documents that an authority publishes are nobody's to license: the law says so.
        Licence(
            NOT_PROTECTED,
            f"{_ARTICLE_15.vi} ({_ARTICLE_15.en})",
            LAWS,
            "PublicDomain",
            _ARTICLE_15,
            is_looked_up=True,
        ),
    )
}


@dataclass(frozen=True)
class Code:
    """One value a column may hold, and what it means."""

    value: str
    label: Text


@dataclass(frozen=True)
class Column:
    """A published column; `data_type` is the PostgreSQL type of the enforced contract.

    `codes` is the whole list of its values where it has one (dbt's accepted_values and meta.codes), else empty.
    """

    name: str
    data_type: str
    description: Text
    unit: str | None = None
    codes: tuple[Code, ...] = ()
    required: bool = False


ORIGIN_CODES = (
    Code("real", Text("số liệu thật", "real")),
    Code("simulated", Text("số liệu mô phỏng, do máy sinh ra", "simulated, generated for trial runs")),
)


WITHHELD_COLUMN = Column(
    "withheld",
    "boolean",
    Text(
        "Đúng (true) khi dòng có số đếm không công bố: quá nhỏ, hoặc cho phép suy ra một số quá nhỏ.",
        "True where a count of the row is withheld: it is too small, or a count too small could be had from it.",
    ),
)


@dataclass(frozen=True)
class Resource:
    """One published model, which becomes one table of a dataset."""

    name: str
    table: str
    title: Text
    description: Text
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    origin_column: str | None
    origin: str | None
    period_column: str | None = None
    small_cell: TablePolicy | None = None
    provisional_column: str | None = None
    #: Schema, table and column that hold the last day of which the warehouse has data.
    covered_until: tuple[str, str, str] | None = None

    @property
    def read_columns(self) -> tuple[str, ...]:
        """Columns read from the warehouse: the published ones, and the origin even where it is not published."""
        names = tuple(column.name for column in self.columns)
        if self.origin_column and self.origin_column not in names:
            return (*names, self.origin_column)
        return names


@dataclass(frozen=True)
class Source:
    """Where the data of a dataset came from, and under which terms; in English where the approval says it."""

    title: str
    terms: str
    url: str | None = None
    title_en: str | None = None
    terms_en: str | None = None


@dataclass(frozen=True)
class AsPublished:
    """The body whose publication a dataset repeats, and the column that says when it was captured."""

    body: Text
    captured_column: str


@dataclass(frozen=True)
class Limits:
    """How far a table may change against the release before, in percent of its final rows, before somebody must agree.

    `grow` counts rows added to what was there already, not those of new periods; `revise` rows of which a value
    changed, a number by more than `by` percent. With `running`, numbers count up to the day of the release: that they
    grow is no revision, that they fall is. Rows that were provisional count in none of them.
    """

    shrink: float = 10
    grow: float = 50
    revise: float = 20
    by: float = 0
    running: bool = False


@dataclass(frozen=True)
class ApprovedChange:
    """The word of an office, and of whom there, that a change beyond the limits, against one release, is right."""

    against_release: int
    decided_by: str
    role: str
    decided_on: date
    reason: Text


@dataclass(frozen=True)
class Approval:
    """The decision to publish one dataset, as recorded in `opendata/approvals/<dataset>.yml`."""

    dataset: str
    approved_by: str
    role: str
    decided_on: date
    expires_on: date
    legal_basis: tuple[str, ...]
    classification: str
    licence: Licence
    update_frequency: Text
    spatial: Text
    temporal: Text
    contact: Text
    disclosure_policy: Text
    owner: Text
    owner_consent: str | None
    sources: tuple[Source, ...]
    frequency: str
    themes: tuple[str, ...]
    keywords: tuple[Text, ...]
    contact_email: str
    owner_type: str
    starts_on: date
    ends_on: date | None = None
    place_code: str | None = None
    limits: Limits = Limits()
    approved_changes: tuple[ApprovedChange, ...] = ()
    as_published: AsPublished | None = None
    disclosure: Policy = NOTHING_ABOUT_PERSONS
    approved_by_en: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A dataset that may be published: an exposure, its models and its approval."""

    id: str
    title: Text
    description: Text
    resources: tuple[Resource, ...]
    approval: Approval


def read_catalogue(manifest: Path, approvals: Path = APPROVALS, today: date | None = None) -> list[Dataset]:
    """Return every dataset that dbt's manifest exposes, sorted by id.

    Raises CatalogueError with all gaps at once: no manifest, no published column, no approval, expired or
    unknown licence, and so on. A dataset with a gap stops the release; it is never left out in silence.
    """
    document = _read_manifest(manifest)
    accepted = _accepted_values(document)
    on_day = today or date.today()
    gaps: list[str] = []
    datasets: list[Dataset] = []
    for exposure in sorted(document.get("exposures", {}).values(), key=lambda item: str(item.get("name"))):
        nodes = [document["nodes"].get(node) for node in exposure.get("depends_on", {}).get("nodes", [])]
        models = [node for node in nodes if node and node.get("resource_type") == "model"]
        if not any(model.get("schema") == SCHEMA for model in models):
            continue  # an exposure of something else, such as a dashboard
        dataset_id = str(exposure.get("label") or exposure["name"].replace("_", "-"))
        where = f"dataset {dataset_id} (exposure {exposure['name']})"
        for model in models:
            if model.get("schema") != SCHEMA:
                gaps.append(
                    f"{where}: depends on {_relation(model)}; only models of schema {SCHEMA} are published"
                )
        resources = [
            _resource(model, accepted, where, gaps) for model in models if model.get("schema") == SCHEMA
        ]
        # The model that carries the dataset's name stands first and lends it title and description; lists stand last.
        resources.sort(key=lambda one: (one.name != dataset_id, one.period_column is None, one.name))
        approval = _approval(approvals / f"{dataset_id}.yml", dataset_id, on_day, resources, gaps)
        meta = _meta(exposure)
        first = resources[0]
        title = Text(str(meta.get("title_vi") or first.title.vi), str(meta.get("title_en") or first.title.en))
        summary = Text(str(meta.get("vi") or "").strip(), str(exposure.get("description") or "").strip())
        description = summary if summary.vi and summary.en else first.description
        if approval is not None:
            of_tables = approval.disclosure.tables
            resources = [replace(one, small_cell=of_tables.get(one.name)) for one in resources]
            datasets.append(Dataset(dataset_id, title, description, tuple(resources), approval))
    if not datasets and not gaps:
        gaps.append(
            f"{manifest}: no exposure depends on a model of schema {SCHEMA}; "
            "declare one for each dataset in dbt/models/open_data"
        )
    if gaps:
        raise CatalogueError("Nothing is published until this is mended:\n- " + "\n- ".join(gaps))
    return sorted(datasets, key=lambda dataset: dataset.id)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CatalogueError(
            f"No dbt manifest at {path.absolute()}: run `dbt build` (or `dbt parse`) first"
        ) from None
    except ValueError as error:
        raise CatalogueError(f"{path} is not JSON ({error}): run `dbt parse` to write it again") from None


def _meta(node: Mapping[str, Any]) -> dict[str, Any]:
    # dbt 1.10 moved meta under config and still fills both in most places; config wins.
    return {**(node.get("meta") or {}), **((node.get("config") or {}).get("meta") or {})}


def _relation(model: Mapping[str, Any]) -> str:
    return f"{model.get('schema')}.{model.get('alias') or model['name']}"


def _strings(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, Iterable) else (str(value),)


def _accepted_values(document: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return {(model's unique id, column): values} of dbt's accepted_values tests."""
    found = {}
    for node in document["nodes"].values():
        test = node.get("test_metadata") or {}
        if test.get("name") == "accepted_values":
            given = test.get("kwargs") or {}
            values = given.get("values") or (given.get("arguments") or {}).get("values") or ()
            found[str(node.get("attached_node")), str(given.get("column_name"))] = tuple(map(str, values))
    return found


def _codes(column: str, declared: object, accepted: tuple[str, ...], found: list[str]) -> tuple[Code, ...]:
    """Return the code list of a column: each accepted value (or each labelled one) with labels in both languages."""
    if column in ORIGIN_COLUMNS and not declared:
        return ORIGIN_CODES
    labels = declared if isinstance(declared, Mapping) else {}
    labels = {str(value): label for value, label in labels.items()}
    codes = []
    for value in accepted or tuple(labels):
        label = labels.get(value)
        if not isinstance(label, Mapping) or not label.get("vi") or not label.get("en"):
            found.append(
                f"column {column}: code {value!r} has no label; write it in meta.codes with vi and en"
            )
        else:
            codes.append(Code(value, Text(str(label["vi"]), str(label["en"]))))
    if accepted and (unknown := [value for value in labels if value not in accepted]):
        found.append(
            f"column {column}: meta.codes labels what accepted_values does not hold: {', '.join(unknown)}"
        )
    return tuple(codes)


def _resource(
    model: Mapping[str, Any],
    accepted: Mapping[tuple[str, str], tuple[str, ...]],
    where: str,
    gaps: list[str],
) -> Resource:
    """Return what of a model may leave; gaps are appended to `gaps`."""
    meta = _meta(model)
    contract = (model.get("config") or {}).get("contract") or {}
    place = f"{where}: model {model['name']} ({model.get('original_file_path', '')}'s YAML)"
    found: list[str] = []
    if contract.get("enforced") is not True:
        found.append("its contract is not enforced (config: contract: {enforced: true})")
    columns: list[Column] = []
    for column in model.get("columns", {}).values():
        column_meta = _meta(column)
        if column_meta.get("publish") is not True:
            continue
        text = Text(str(column_meta.get("vi") or "").strip(), str(column.get("description") or "").strip())
        if not (text.vi and text.en):
            found.append(f"column {column['name']} is published without meta.vi or description")
        if not column.get("data_type"):
            found.append(f"column {column['name']} has no data_type")
        if str(column.get("data_type")).lower() in ("numeric", "decimal"):
            found.append(f"column {column['name']} is numeric without precision; write such as numeric(18,4)")
        unit = column_meta.get("unit")
        values = accepted.get((str(model.get("unique_id")), column["name"]), ())
        columns.append(
            Column(
                column["name"],
                str(column.get("data_type")),
                text,
                str(unit) if unit else None,
                _codes(column["name"], column_meta.get("codes"), values, found),
                any(item.get("type") == "not_null" for item in column.get("constraints") or ()),
            )
        )
    published = {column.name for column in columns}
    found += [
        f"column {column.name} is a number without a unit; write it in meta.unit (or its codes in meta.codes)"
        for column in columns
        if frictionless_type(column.data_type) in ("integer", "number")
        and not (column.unit or column.codes or column.name in _strings(meta.get("keys")))
    ]
    if not columns:
        found.append("no column has meta.publish: true, so nothing may leave")

    keys = _strings(meta.get("keys"))
    if not keys:
        found.append("meta.keys is missing (the columns that identify a row)")
    if missing := [key for key in keys if key not in published]:
        found.append(f"meta.keys names columns that are not published: {', '.join(missing)}")

    origin_column = next((name for name in ORIGIN_COLUMNS if name in model.get("columns", {})), None)
    origin = meta.get("origin")
    if origin_column is None and origin not in ("real", "simulated"):
        found.append("has neither a column `origin` nor meta.origin (real or simulated)")

    texts = {name: str(meta.get(name) or "").strip() for name in ("title_vi", "title_en", "description_vi")}
    found += [f"meta.{name} is missing" for name, text in texts.items() if not text]
    if not str(model.get("description") or "").strip():
        found.append("description is missing")

    period = meta.get("period_column")
    if period is not None and period not in published:
        found.append(f"meta.period_column {period!r} is not published")
    covered = str(meta.get("covered_until") or "").split(".") if "covered_until" in meta else None
    if covered is not None and not (len(covered) == 3 and all(covered)):
        found.append(
            "meta.covered_until names the schema, table and column of the last day the warehouse has data of "
            "(marts.as_of_day.last_covered_date)"
        )
        covered = None
    gaps += [f"{place}: {gap}" for gap in found]
    return Resource(
        name=str(model.get("alias") or model["name"]).replace("_", "-"),
        table=str(model.get("alias") or model["name"]),
        title=Text(texts["title_vi"], texts["title_en"]),
        description=Text(texts["description_vi"], str(model.get("description") or "").strip()),
        columns=tuple(columns),
        keys=keys,
        origin_column=origin_column,
        origin=None if origin_column else str(origin),
        period_column=str(period) if period else None,
        provisional_column="is_provisional" if "is_provisional" in published else None,
        covered_until=(covered[0], covered[1], covered[2]) if covered else None,
    )


FRICTIONLESS_TYPES = (
    (("smallint", "integer", "bigint", "int"), "integer"),
    (("numeric", "decimal", "double", "real", "float"), "number"),
    (("boolean", "bool"), "boolean"),
    (("timestamp",), "datetime"),
    (("date",), "date"),
)


def frictionless_type(data_type: str) -> str:
    """Return the Frictionless type of a PostgreSQL type."""
    kind = data_type.lower()
    return next((name for starts, name in FRICTIONLESS_TYPES if kind.startswith(starts)), "string")


def _columns_and_numbers(resource: Resource) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = tuple(column.name for column in resource.columns)
    kinds = {column.name: frictionless_type(column.data_type) for column in resource.columns}
    return names, tuple(name for name in names if kinds[name] in ("integer", "number"))


def _approval(
    path: Path, dataset_id: str, on_day: date, resources: list[Resource], gaps: list[str]
) -> Approval | None:
    """Return the approval of a dataset, or None after appending what is missing to `gaps`."""
    if not path.exists():
        gaps.append(f"dataset {dataset_id}: no approval; record the decision in {_shown(path)}")
        return None
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        gaps.append(f"{_shown(path)}: not YAML ({error})")
        return None
    found: list[str] = []

    def text(name: str) -> str:
        value = record.get(name)
        if not value or not str(value).strip():
            found.append(f"{name} is missing")
        return str(value or "").strip()

    def pair(name: str, holder: Mapping[str, Any] | None = None) -> Text:
        value = (record if holder is None else holder).get(name)
        if not isinstance(value, Mapping) or not value.get("vi") or not value.get("en"):
            found.append(f"{name} needs both vi and en")
            return Text("", "")
        return Text(str(value["vi"]).strip(), str(value["en"]).strip())

    def day(name: str) -> date:
        value = record.get(name)
        if not isinstance(value, date):
            found.append(f"{name} is missing or not a date (YYYY-MM-DD)")
            return on_day
        return value

    if text("dataset") != dataset_id:
        found.append(f"dataset must be `{dataset_id}`, as in the file's name")
    decided_on, expires_on = day("decided_on"), day("expires_on")
    if decided_on > on_day:
        found.append(f"decided_on {decided_on} is in the future")
    if expires_on < on_day:
        found.append(f"expired on {expires_on}; renew the decision or withdraw the dataset")
    licence = LICENCES.get(text("licence"))
    if licence is None:
        found.append(f"licence {record.get('licence')!r} is not known; known: {', '.join(LICENCES)}")
    if text("classification") != "public":
        found.append("classification must be `public`; anything else is not open data")
    legal_basis = _strings(record.get("legal_basis"))
    if not legal_basis:
        found.append("legal_basis is missing")
    consent = record.get("owner_consent")
    if record.get("owner_is_another_body") is not False and not consent:
        found.append("owner_consent is missing (or state `owner_is_another_body: false`)")
    sources = tuple(
        Source(
            str(item.get("title") or ""),
            str(item.get("terms") or ""),
            item.get("url"),
            item.get("title_en"),
            item.get("terms_en"),
        )
        for item in record.get("sources") or []
    )
    if not sources or not all(source.title and source.terms for source in sources):
        found.append("sources need a title and terms each")
    if licence and licence.id == NOT_PROTECTED and not all(source.url for source in sources):
        found.append(
            f"sources need a url each: {NOT_PROTECTED} holds for what an authority has published, so say where"
        )
    as_published = None
    if declared := record.get("as_published"):
        as_published = AsPublished(pair("body", declared), str(declared.get("captured_column") or ""))
        if not any(as_published.captured_column in resource.read_columns for resource in resources):
            found.append(
                f"as_published.captured_column {as_published.captured_column!r} is not published by any of its models"
            )
    else:
        # The last day of an open period is no day that the figures speak of.
        found += [
            f"model {one.table} has open periods (is_provisional) and no meta.covered_until, so nothing says up to "
            "which day it has data"
            for one in resources
            if one.period_column and one.provisional_column and one.covered_until is None
        ]
    approved_by, role = text("approved_by"), text("role")
    shapes = [Shape(one.name, *_columns_and_numbers(one), one.keys) for one in resources]
    disclosure = read_policy(record.get("disclosure"), shapes, found)

    def part(name: str) -> Mapping[str, Any]:
        value = record.get(name)
        return value if isinstance(value, Mapping) else {}

    def known(name: str, value: object, values: frozenset[str]) -> str:
        if value not in values:
            found.append(f"{name} {value!r} is not one of {', '.join(sorted(values))}")
        return str(value)

    frequency = known("update_frequency.code", part("update_frequency").get("code"), FREQUENCIES)
    owner_type = known("owner.type", part("owner").get("type"), PUBLISHER_TYPES)
    themes = tuple(known("themes", theme, THEMES) for theme in _strings(record.get("themes")))
    if not themes:
        found.append(f"themes is missing (of {', '.join(sorted(THEMES))})")
    keywords = tuple(
        Text(str(word.get("vi") or ""), str(word.get("en") or ""))
        for word in record.get("keywords") or []
        if isinstance(word, Mapping)
    )
    if not keywords or not all(word.vi and word.en for word in keywords):
        found.append("keywords need vi and en each")
    email = str(part("contact").get("email") or "")
    if not EMAIL.fullmatch(email):
        found.append("contact.email is missing or no e-mail address")
    starts_on, ends_on = part("temporal").get("start"), part("temporal").get("end")
    if not isinstance(starts_on, date) or not (ends_on is None or isinstance(ends_on, date)):
        found.append("temporal.start is missing or not a date (YYYY-MM-DD); temporal.end may be left out")
        starts_on, ends_on = on_day, None
    elif ends_on and ends_on < starts_on:
        found.append("temporal.end lies before temporal.start")
    place = part("spatial").get("code")
    if place is not None and not re.fullmatch(r"\d{2}|\d{5}", str(place)):
        found.append(f"spatial.code {place!r} is no statistical code (2 or 5 digits, as text)")
    limits = _limits(record.get("limits"), found)
    changes = []
    for item in record.get("approved_changes") or []:
        number, decided, reason = (item.get(name) for name in ("against_release", "decided_on", "reason"))
        office, role = (str(item.get(name) or "").strip() for name in ("decided_by", "role"))
        if (
            not isinstance(number, int)
            or not (office and role)
            or not isinstance(decided, date)
            or not isinstance(reason, Mapping)
        ):
            found.append(
                "approved_changes need against_release (number), decided_by (the office), role (who there), decided_on "
                "(date) and reason (vi, en)"
            )
        elif decided > on_day:
            found.append(f"approved_changes: decided_on {decided} is in the future")
        else:
            changes.append(ApprovedChange(number, office, role, decided, pair("reason", item)))
    pairs = {
        name: pair(name)
        for name in ("update_frequency", "spatial", "temporal", "contact", "disclosure_policy", "owner")
    }
    gaps += [f"dataset {dataset_id}: {_shown(path)}: {gap}" for gap in found]
    if found or licence is None:
        return None
    return Approval(
        dataset=dataset_id,
        approved_by=approved_by,
        approved_by_en=record.get("approved_by_en"),
        role=role,
        decided_on=decided_on,
        expires_on=expires_on,
        legal_basis=legal_basis,
        classification="public",
        licence=licence,
        owner_consent=str(consent) if consent else None,
        sources=sources,
        as_published=as_published,
        disclosure=disclosure,
        limits=limits,
        approved_changes=tuple(changes),
        frequency=frequency,
        themes=themes,
        keywords=keywords,
        contact_email=email,
        owner_type=owner_type,
        starts_on=starts_on,
        ends_on=ends_on,
        place_code=str(place) if place is not None else None,
        **pairs,
    )


def _limits(declared: object, found: list[str]) -> Limits:
    given = declared if isinstance(declared, Mapping) else {}
    names = {field.name for field in fields(Limits)}
    if unknown := [name for name in given if name not in names]:
        found.append(
            f"limits has {', '.join(map(str, unknown))}; known are {', '.join(sorted(names))}, in percent"
        )
    numbers = {name: value for name, value in given.items() if name in names}
    if not isinstance(numbers.get("running", False), bool):
        found.append("limits.running is true or false")
        return Limits()
    if any(not isinstance(value, int | float) or value < 0 for value in numbers.values()):
        found.append("limits are numbers of 0 and more, in percent")
        return Limits()
    return Limits(**numbers)


def _shown(path: Path) -> str:
    return f"opendata/approvals/{path.name}" if path.parent == APPROVALS else str(path)
