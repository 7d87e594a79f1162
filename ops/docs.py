"""The catalogue of the warehouse: ``python -m ops docs``, two pages below docs/ of the installation that open offline.

`index.html` says in Vietnamese and English what each table and column of marts, ioc and open_data means, the grain
first, who answers for it, who reads it, where it comes from, how fresh that is and what uses it; `dbt.html` is dbt's
own site with the lineage. All is read from dbt's artefacts and the list of roles: nothing is written twice.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ops.dbt import MARK
from ops.roles import ALL_ROWS, read_roles
from ops.settings import PROJECT, VIETNAM, Settings, SettingsError

SCHEMAS = ("marts", "ioc", "open_data")
#: How a description begins, so that what a row is stands first.
GRAIN = ("One row", "Một dòng")
#: What counts of dossiers are grouped by (`meta.grouped_by`): one of the three places, the system, the whole province,
#: nothing of dossiers at all; or a column of the model that says it row by row.
GROUPS = (
    "receiving_one_stop",
    "responsible_agency",
    "applicant_commune",
    "system",
    "province",
    "no_dossiers",
)
_TEMPLATES = (PROJECT / "ops" / "templates", PROJECT / "opendata" / "templates")


@dataclass(frozen=True)
class Load:
    """How fresh a source is: its newest moment that any load covers, exclusive, and the raw tables that it fills."""

    source: str
    origin: str
    covered: dt.datetime
    loaded: dt.datetime
    tables: frozenset[str]


class DocsError(SettingsError):
    """The catalogue cannot be written, or something in it is not described; every gap is named at once."""


def write(settings: Settings) -> Path:
    """Write the pages of a built warehouse; path of the first. DocsError names what lacks a description."""
    done = subprocess.run(
        [sys.executable, "-m", "ops.dbt", json.dumps(["docs", "generate", "--static"])],
        env=settings.dbt_process_env(), cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        told = done.stdout.rpartition(MARK)[2] or done.stderr
        raise DocsError(f"dbt could not read the warehouse (is it built? make run): {told.strip()[-1000:]}")
    manifest, catalog = (
        json.loads((settings.dbt_target / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("manifest", "catalog")
    )
    if found := gaps(manifest, catalog):
        raise DocsError("the catalogue has gaps, mend them in the YAML of dbt/models:\n" + "\n".join(found))
    with psycopg.connect(settings.login_url("dbt"), connect_timeout=10) as connection:
        loads = connection.execute(
            "select source_code, max(origin), max(interval_end), max(loaded_at), "
            "array_agg(distinct table_name) filter (where table_name is not null) from ops.load_log "
            "left join lateral jsonb_object_keys(counts) as table_name on true "
            "group by source_code order by source_code"
        ).fetchall()
    fresh = [Load(s, o, until, at, frozenset(f"raw.{t}" for t in of or ())) for s, o, until, at, of in loads]
    page = _page(manifest, read_roles(settings.roles_file).tables, fresh).render(
        tables=tables(manifest),
        functions=sorted(manifest["functions"].values(), key=relation),
        exposures=sorted(manifest["exposures"].values(), key=lambda e: str(e["name"])),
        loads=fresh,
        generated_at=dt.datetime.fromisoformat(catalog["metadata"]["generated_at"]),
        schemas=SCHEMAS,
    )
    folder = settings.home / "docs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dbt.html").write_bytes((settings.dbt_target / "static_index.html").read_bytes())
    (folder / "index.html").write_text(page, encoding="utf-8")
    return folder / "index.html"


def tables(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Models of SCHEMAS as dbt's manifest has them, in the order of schemas, then by name."""
    found = [
        n for n in manifest["nodes"].values() if n["resource_type"] == "model" and n["schema"] in SCHEMAS
    ]
    return sorted(found, key=lambda n: (SCHEMAS.index(n["schema"]), n["name"]))


def gaps(manifest: Mapping[str, Any], catalog: Mapping[str, Any] | None = None) -> list[str]:
    """What is not described in both languages, does not say its grain first, or belongs to nobody.

    With dbt's catalogue of what stands in PostgreSQL, also columns that no model declares.
    """
    found = []
    for node in tables(manifest):
        name = relation(node)
        for said, grain, language in zip(both(node), GRAIN, ("description", "meta.vi"), strict=True):
            if not said.startswith(grain):
                found.append(f"{name}: {language} does not begin with what a row is ({grain} ...)")
        if counts(node) and meta(node).get("grouped_by") not in (*GROUPS, *node["columns"]):
            found.append(
                f"{name}: meta.grouped_by does not say which place it counts by: {', '.join(GROUPS)}, or its column"
            )
        if not owner(manifest, node).get("name"):
            found.append(f"{name}: no owner (a group with an owner, in dbt/models/groups.yml)")
        for column in node["columns"].values():
            if not all(both(column)):
                found.append(f"{name}.{column['name']}: description or meta.vi is missing")
            try:
                codes(manifest, column)
            except DocsError as e:
                found.append(f"{name}.{column['name']}: {e}")
        stands = ((catalog or {}).get("nodes", {}).get(node["unique_id"]) or {}).get("columns", {})
        found += [f"{name}.{c}: no model declares it" for c in stands if c not in node["columns"]]
    for exposure in manifest["exposures"].values():
        if not all(both(exposure)) or not exposure["owner"].get("name"):
            found.append(f"exposure {exposure['name']}: description, meta.vi or owner is missing")
    return found


def counts(node: Mapping[str, Any]) -> bool:
    """Whether rows of a model are counts: it holds no single dossier, and is no dimension or bridge of the marts."""
    return "dossier_key" not in node["columns"] and (
        node["schema"] != "marts" or str(node["name"]).startswith("fct_")
    )


def meta(node: Mapping[str, Any]) -> dict[str, Any]:
    """What a model or column says of itself; dbt has moved it under config and fills both in most places."""
    return {**(node.get("meta") or {}), **((node.get("config") or {}).get("meta") or {})}


def both(node: Mapping[str, Any]) -> tuple[str, str]:
    """What dbt says of something, in English and in Vietnamese; empty where it says nothing."""
    return str(node.get("description") or "").strip(), str(meta(node).get("vi") or "").strip()


def codes(manifest: Mapping[str, Any], column: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Codes of a column, each with its meaning in Vietnamese and in English; DocsError if its `codes_of` names nothing.

    They stand once: in its own `codes`, in a seed, or at another model's column, as dbt/macros/persist_docs.sql has it.
    """
    said, of = meta(column).get("codes") or {}, str(meta(column).get("codes_of") or "")
    try:
        if "." in of:
            model, name = of.split(".")
            said = meta(manifest["nodes"][f"model.kho_chung.{model}"]["columns"][name])["codes"]
        elif of:
            with (PROJECT / "dbt" / "seeds" / f"{of}.csv").open(encoding="utf-8", newline="") as text:
                head, *rows = csv.reader(text)
            vi, en = (next(n for n, c in enumerate(head) if c.endswith(end)) for end in ("_vi", "_en"))
            return [(row[0], row[vi], row[en]) for row in rows]
    except (KeyError, OSError, StopIteration, ValueError):
        raise DocsError(
            f"codes_of: {of}: no such seed with _vi and _en, nor a model.column with codes"
        ) from None
    return [(str(code), words["vi"], words["en"]) for code, words in said.items()]


def relation(node: Mapping[str, Any]) -> str:
    """Name of a model in PostgreSQL."""
    return f"{node['schema']}.{node.get('alias') or node['name']}"


def owner(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Who answers for a model: the owner of its group; empty without one."""
    groups = {g["name"]: g["owner"] for g in manifest.get("groups", {}).values()}
    return dict(groups.get(node["config"].get("group") or node.get("group"), {}))


def _page(
    manifest: Mapping[str, Any], read_by: Mapping[str, Mapping[str, str]], loads: Sequence[Load]
) -> Any:
    def sources_of(node: Mapping[str, Any]) -> list[str]:
        seen, found, left = set(), set(), [node["unique_id"]]
        while left:
            one = left.pop()
            if one.startswith("source."):
                found.add(f"{manifest['sources'][one]['schema']}.{manifest['sources'][one]['name']}")
            elif one not in seen:
                seen.add(one)
                left += manifest["parent_map"].get(one, [])
        return sorted(found)

    def loads_of(node: Mapping[str, Any]) -> list[Load]:
        return [load for load in loads if not load.tables.isdisjoint(sources_of(node))]

    def readers(node: Mapping[str, Any]) -> list[tuple[str, bool]]:
        return [(role, rows == ALL_ROWS) for role, rows in read_by.get(relation(node), {}).items()]

    def used_by(node: Mapping[str, Any]) -> list[str]:
        return sorted(
            e["name"] for e in manifest["exposures"].values() if node["unique_id"] in e["depends_on"]["nodes"]
        )

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals.update(
        both=both, relation=relation, owner=lambda node: owner(manifest, node), sources_of=sources_of,
        readers=readers, used_by=used_by, loads_of=loads_of, meta=meta, counts=counts,
        codes=lambda column: codes(manifest, column),
        time=lambda moment: moment.astimezone(VIETNAM).strftime("%d/%m/%Y %H:%M"),
    )  # fmt: skip
    environment.filters["code"] = _code
    return environment.get_template("docs.html")


def _code(said: str) -> Markup:
    """A description, which is Markdown so far as it names values in backticks."""
    named = Markup("<code>{}</code>")
    return Markup("").join(named.format(p) if n % 2 else p for n, p in enumerate(said.split("`")))
