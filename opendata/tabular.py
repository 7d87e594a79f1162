"""What programs and people read about a table: data dictionary, Frictionless Data Package, CSV on the Web.

All follow from the catalogue and the finished files; nothing is declared here. Times in `edition` are left out where
it is None, so that the same content always gives the same bytes.

Sources: Data Package v1 (specs.frictionlessdata.io), CSVW (W3C, tabular-metadata, 17/12/2015).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from opendata.catalogue import Column, Text, frictionless_type
from opendata.files import neutralised

if TYPE_CHECKING:
    from opendata.release import Build, Table

MEDIA_TYPES = {
    "csv": "text/csv",
    "excel.csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "jsonl": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
DICTIONARY = "dictionary.csv"
CSVW_TYPES = {
    "integer": "integer",
    "number": "decimal",
    "boolean": "boolean",
    "datetime": "dateTime",
    "date": "date",
    "string": "string",
}
#: Simulated rows must be told from real ones in every record, also in one that was copied elsewhere.
SIMULATED = Text("[MÔ PHỎNG] ", "[SIMULATED] ")


@dataclass(frozen=True)
class Edition:
    """Which release is described: its number, when it was made, and the address the public knows (no final slash)."""

    number: int
    created_at: datetime
    address: str

    @property
    def latest(self) -> str:
        """Address that always shows the newest release."""
        return f"{self.address}/latest"

    @property
    def fixed(self) -> str:
        """Address of this release for ever."""
        return f"{self.address}/releases/{self.number:06d}"


def titled(text: Text, origin: str) -> Text:
    """Return a title with its origin before it, where that is not real."""
    mark = SIMULATED if origin == "simulated" else Text("", "")
    return Text(mark.vi + text.vi, mark.en + text.en)


def datapackage(build: Build, edition: Edition | None = None) -> dict[str, Any]:
    """Return the Frictionless descriptor of a dataset."""
    dataset, approval = build.dataset, build.dataset.approval
    title = titled(dataset.title, build.origin)
    resources: list[dict[str, Any]] = []
    for table in build.tables:
        table_title = titled(table.resource.title, build.origin)
        for file in table.files:
            described: dict[str, Any] = {
                "name": f"{table.resource.name}-{file.format.replace('.', '-')}",
                "title": table_title.vi,
                "title_en": table_title.en,
                "description": table.resource.description.vi,
                "description_en": table.resource.description.en,
                "path": PurePosixPath(file.path).name,
                "format": file.format.rpartition(".")[2],
                "mediatype": MEDIA_TYPES[file.format],
                "bytes": file.bytes,
                "hash": f"sha256:{file.sha256}",
            }
            if file.format == "csv":
                described |= {
                    "type": "table",
                    "profile": "tabular-data-resource",
                    "encoding": "utf-8",
                    "rows": table.rows,
                    "schema": {
                        "fields": [_field(column, table) for column in table.columns],
                        "primaryKey": list(table.resource.keys),
                        "missingValues": [""],
                    },
                }
            else:
                # The same rows in other clothes: size and checksum are enough, the schema stands above.
                described |= {"type": "file", "profile": "data-resource"}
            resources.append(described)
    document = {
        "name": dataset.id,
        "title": title.vi,
        "title_en": title.en,
        "description": dataset.description.vi,
        "description_en": dataset.description.en,
        "origin": build.origin,
        "keywords": [word.vi for word in approval.keywords],
        "keywords_en": [word.en for word in approval.keywords],
        "licenses": [
            {"name": approval.licence.id, "title": approval.licence.title, "path": approval.licence.url}
        ],
        "sources": [
            {"title": source.title, "terms": source.terms, **({"path": source.url} if source.url else {})}
            for source in approval.sources
        ],
        "contributors": [{"title": approval.owner.vi, "role": "publisher"}],
        "owner": asdict(approval.owner),
        "spatial": asdict(approval.spatial),
        "temporal": asdict(approval.temporal),
        "updateFrequency": {"code": approval.frequency, **asdict(approval.update_frequency)},
        "contact": {"email": approval.contact_email, **asdict(approval.contact)},
        "disclosurePolicy": asdict(approval.disclosure_policy),
        "legalBasis": list(approval.legal_basis),
        "resources": resources,
    }
    if edition is not None:
        document |= {
            "id": f"{edition.latest}/{dataset.id}/#dataset",
            "homepage": f"{edition.latest}/{dataset.id}/",
            "created": edition.created_at.isoformat(),
            "version": f"{edition.number}.0.0",
        }
    return document


def _field(column: Column, table: Table) -> dict[str, Any]:
    constraints: dict[str, Any] = {}
    if (column.required and not _withholdable(column, table)) or column.name in table.resource.keys:
        constraints["required"] = True
    if column.codes:
        constraints["enum"] = [code.value for code in column.codes]
    return {
        "name": column.name,
        "type": frictionless_type(column.data_type),
        "description": column.description.vi,
        "description_en": column.description.en,
        **({"unit": column.unit} if column.unit else {}),
        **({"constraints": constraints} if constraints else {}),
        **(
            {"codes": [{"value": c.value, "label": c.label.vi, "label_en": c.label.en} for c in column.codes]}
            if column.codes
            else {}
        ),
    }


def _withholdable(column: Column, table: Table) -> bool:
    """Whether a value the warehouse always has may be missing in the files."""
    policy = table.resource.small_cell
    return policy is not None and column.name not in table.resource.keys and column.name != "origin"


def csvw(build: Build, table: Table, edition: Edition) -> dict[str, Any]:
    """Return the CSVW description of a table's CSV file (to stand beside it as `<file>-metadata.json`)."""
    approval = build.dataset.approval
    title = titled(table.resource.title, build.origin)
    file = next(file for file in table.files if file.format == "csv")
    columns = []
    for column in table.columns:
        kind: Any = CSVW_TYPES[frictionless_type(column.data_type)]
        if column.codes and kind == "string":
            kind = {"base": "string", "format": "|".join(re.escape(code.value) for code in column.codes)}
        described = {
            "name": column.name,
            "titles": column.name,
            "datatype": kind,
            "null": "",
            "dc:description": _both(column.description),
        }
        if column.unit:
            described["schema:unitText"] = column.unit
        if column.name in table.resource.keys:
            described["required"] = True
        columns.append(described)
    return {
        "@context": ["http://www.w3.org/ns/csvw", {"@language": "vi"}],
        "url": PurePosixPath(file.path).name,
        "dc:title": _both(title),
        "dc:description": _both(table.resource.description),
        "dc:publisher": approval.owner.vi,
        "dc:license": {"@id": approval.licence.url},
        "dc:isPartOf": {"@id": f"{edition.latest}/{build.dataset.id}/#dataset"},
        "dc:modified": {"@value": edition.created_at.isoformat(), "@type": "xsd:dateTime"},
        "dc:type": build.origin,
        "dialect": {"encoding": "utf-8", "lineTerminators": ["\n"], "header": True},
        "tableSchema": {"columns": columns, "primaryKey": list(table.resource.keys)},
    }


def _both(text: Text) -> list[dict[str, str]]:
    return [{"@value": text.vi, "@language": "vi"}, {"@value": text.en, "@language": "en"}]


DICTIONARY_COLUMNS = (
    "table", "column", "code", "type", "unit", "is_key", "is_always_given", "vi", "en",
)  # fmt: skip


def dictionary(build: Build) -> bytes:
    """Return the data dictionary as CSV with BOM: a row for each column, then one for each of its codes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(DICTIONARY_COLUMNS)
    for table in build.tables:
        writer.writerows([neutralised(value) for value in row] for row in dictionary_rows(table))
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def dictionary_rows(table: Table) -> list[Sequence[str]]:
    """Return the rows of a table's dictionary, as text, in the order of DICTIONARY_COLUMNS."""
    rows: list[Sequence[str]] = []
    for column in table.columns:
        is_key = column.name in table.resource.keys
        always = is_key or (column.required and not _withholdable(column, table))
        start = (table.resource.name, column.name)
        rows.append(
            (*start, "", frictionless_type(column.data_type), column.unit or "", str(is_key).lower(),
             str(always).lower(), column.description.vi, column.description.en)
        )  # fmt: skip
        rows += [(*start, c.value, "", "", "", "", c.label.vi, c.label.en) for c in column.codes]
    return rows
