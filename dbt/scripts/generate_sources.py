"""Write dbt's sources file from the inbound contracts, so that a column is declared once.

Reads every ``connectors/contracts/*.yaml`` (Open Data Contract Standard v3) and writes
``models/staging/_sources.yml``; ``--check`` writes nothing and exits 1 when the file differs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject

DBT = Path(__file__).resolve().parents[1]
CONTRACTS = DBT.parent / "connectors" / "contracts"
TARGET = DBT / "models" / "staging" / "_sources.yml"
HEADER = "# Generated from the contracts by dbt/scripts/generate_sources.py; change the contract instead.\n"

Column = tuple[str, str, str]
LOADER_COLUMNS: list[Column] = [
    ("_origin", "text", "Origin of the row: real or simulated."),
    ("_batch_id", "text", "Batch that last changed the row."),
    ("_load_number", "bigint", "Number of the load that last changed the row."),
]
DOSSIER_CHANGE: list[Column] = [
    ("source_code", "text", "Source of the dossier."),
    ("dossier_id", "text", "Identifier of the dossier inside its source."),
    ("load_number", "bigint", "Load that changed the dossier, its steps, papers or fees."),
]
DOSSIER_DELETION: list[Column] = [
    ("source_code", "text", "Source of the dossier."),
    ("dossier_id", "text", "Identifier of the dossier inside its source."),
    ("missed_at", "timestamptz", "When the source's list of keys first lacked it."),
    ("deleted_at", "timestamptz", "When it was missing again and counts as deleted; null until then."),
    ("load_number", "bigint", "Load under which it was marked as deleted; null until then."),
]
PERSON_PSEUDONYM: list[Column] = [
    ("agency_code", "text", "Agency responsible for a dossier of the person."),
    ("person_token", "text", "Keyed token of the person's identity number."),
    ("pseudonym", "text", "What the agency sees in the person's place."),
]
LOAD_LOG: list[Column] = [
    ("load_number", "bigint", "Number of the load; loads become visible in this order."),
    ("batch_id", "text", "Batch that was loaded, once."),
    ("source_code", "text", "Source of the batch."),
    ("origin", "text", "real or simulated."),
    (
        "interval_start",
        "timestamptz",
        "First moment the batch covers; that of interval_end for found deletions.",
    ),
    ("interval_end", "timestamptz", "First moment the batch no longer covers."),
    ("loaded_at", "timestamptz", "When the load was committed."),
    ("counts", "jsonb", "Rows landed, inserted, changed, unchanged and removed, for each table."),
]

#: Tables of national/reconcile.py: name, description, Vietnamese, columns.
NATIONAL: list[tuple[str, str, str, list[Column]]] = [
    (
        "comparison",
        "One row for each comparison of our dossiers with the national portal's copy.",
        "Một dòng cho mỗi lần đối soát với bản hồ sơ của Cổng DVCQG.",
        [
            ("number", "integer", "Number of the comparison."),
            ("source", "text", "Who told it: export (the operator's file) or look_up."),
            ("first_day", "date", "First day of receipt compared; null for look-ups."),
            ("last_day", "date", "Last day of receipt compared; null for look-ups."),
            ("compared_at", "timestamptz", "When it was compared."),
        ],
    ),
    (
        "difference",
        "One row for each comparison and difference it found.",
        "Một dòng cho mỗi sai lệch của mỗi lần đối soát.",
        [
            ("number", "integer", "Comparison that found it."),
            ("class", "text", "Class of difference (docs/national.md)."),
            ("agency_code", "text", "Responsible agency of the dossier."),
            ("dossier_key", "text", "Key of the dossier here; null where it is missing here."),
            ("code_here", "text", "Code of the dossier here."),
            ("code_there", "text", "Code of the dossier at the portal."),
            ("fields", "text[]", "Fields that differ, by the portal's names."),
            ("cure", "text", "Who cures it: self, agency, operator."),
            ("origin", "text", "real or simulated; null where it is missing here."),
            ("received_date", "date", "Day of receipt it was compared under."),
            ("there", "jsonb", "What the portal holds in the fields that differ, by our columns' names."),
        ],
    ),
    (
        "standing",
        "One row for each dossier and class of difference that stands now.",
        "Một dòng cho mỗi hồ sơ và loại sai lệch hiện còn.",
        [
            ("class", "text", "Class of difference."),
            ("agency_code", "text", "Responsible agency of the dossier."),
            ("dossier_key", "text", "Key of the dossier here; null where it is missing here."),
            ("code_here", "text", "Code of the dossier here."),
            ("code_there", "text", "Code of the dossier at the portal."),
            ("fields", "text[]", "Fields that differ."),
            ("sources", "text[]", "Who told it."),
            ("origin", "text", "real or simulated; null where it is missing here."),
            ("received_date", "date", "Day of receipt it was compared under."),
            ("there", "jsonb", "What the portal holds in the fields that differ, by our columns' names."),
        ],
    ),
    (
        "dossier",
        "One row for each dossier of the units whose writer the warehouse is: how it stands with the portal.",
        "Một dòng cho mỗi hồ sơ của đơn vị giao cho kho gửi: tình trạng gửi lên Cổng.",
        [
            ("dossier_key", "text", "Key of the dossier."),
            ("agency_code", "text", "Responsible agency of the dossier."),
            ("national_code", "text", "Code it is sent under."),
            ("origin", "text", "real or simulated."),
            ("received_date", "date", "Day of receipt."),
            ("state", "text", "held, waiting, sending, accepted, refused or conflict."),
            ("lacking", "text[]", "Required fields that it lacks."),
            ("reasons", "text[]", "Fields in conflict, or why the vault gives no value."),
            ("last_answer", "text", "What the portal answered last, without the dossier's personal values."),
            ("called_at", "timestamptz", "When it was last sent or looked up."),
        ],
    ),
    (
        "progress",
        "One row for each finished step of these dossiers: how it stands with the portal.",
        "Một dòng cho mỗi bước đã xong của các hồ sơ đó: tình trạng gửi lên Cổng.",
        [
            ("dossier_key", "text", "Key of the dossier."),
            ("step_no", "integer", "Number of the step."),
            ("state", "text", "As of the dossier."),
            ("lacking", "text[]", "Required fields that it lacks."),
            ("reasons", "text[]", "As of the dossier."),
            ("last_answer", "text", "As of the dossier."),
            ("called_at", "timestamptz", "When it was last sent."),
        ],
    ),
    (
        "looked",
        "One row for each dossier that was looked up at the portal: when last.",
        "Một dòng cho mỗi hồ sơ đã tra cứu trên Cổng: lần gần nhất.",
        [
            ("dossier_key", "text", "Key of the dossier."),
            ("looked_at", "timestamptz", "When it was looked up last."),
        ],
    ),
    (
        "answer",
        "One row for each agency, code and class it answered: its newest answer.",
        "Một dòng cho mỗi cơ quan, mã hồ sơ và loại sai lệch đã trả lời: câu trả lời mới nhất.",
        [
            ("class", "text", "Class of difference."),
            ("code", "text", "Code of the dossier, here or there."),
            ("agency_code", "text", "Agency that answered."),
            ("answer", "text", "What it answered."),
            ("answered_at", "timestamptz", "When."),
        ],
    ),
    (
        "assumed",
        "One row for each scenario and dossier that an operator assumes to be otherwise.",
        "Một dòng cho mỗi kịch bản và hồ sơ giả định khác đi.",
        [
            ("scenario", "text", "Name of the scenario."),
            ("dossier_key", "text", "Key of the dossier."),
            ("base", "text", "What it takes the place of: warehouse (ours) or portal (its copy)."),
            ("changes", "jsonb", "Columns that are assumed to be otherwise than ours."),
            ("is_absent", "boolean", "Assumed not to be there at all."),
        ],
    ),
]


def columns_yaml(columns: list[Column]) -> list[dict[str, Any]]:
    """Return dbt's form of (name, type, description) triples."""
    return [{"name": name, "data_type": kind, "description": text} for name, kind, text in columns]


def warehouse_type(physical_type: str, seal: str | None) -> str:
    """Return the type in ``raw``: sealed values are text, except the year kept of a birth date."""
    if seal is None:
        return physical_type
    return "smallint" if seal == "year" else "text"


def table_yaml(contract: OpenDataContractStandard, table: SchemaObject) -> dict[str, Any]:
    """Return the dbt source table of one contract; raises ValueError where a column lacks type or text."""
    columns: list[Column] = []
    for column in table.properties or []:
        if not (column.name and column.physicalType and column.description):
            raise ValueError(
                f"Contract {contract.id}: column {column.name!r} needs name, physicalType and description; "
                f"complete it in {CONTRACTS}."
            )
        custom = {item.property: item.value for item in column.customProperties or []}
        if custom.get("seal") == "drop":
            continue  # never written, so there is no such column in raw
        columns.append(
            (column.name, warehouse_type(column.physicalType, custom.get("seal")), column.description)
        )
    vietnamese = contract.description.usage if contract.description else None
    return {
        "name": table.name,
        "description": table.description,
        "config": {"meta": {"vi": vietnamese}},
        "columns": columns_yaml(columns + LOADER_COLUMNS),
    }


def render() -> str:
    """Return the text of the sources file."""
    paths = sorted(CONTRACTS.glob("*.yaml"))
    if not paths:
        raise FileNotFoundError(f"No contract found: looked for *.yaml in {CONTRACTS}.")
    tables = []
    for path in paths:
        contract = OpenDataContractStandard.from_file(str(path))
        tables += [table_yaml(contract, table) for table in contract.schema_ or []]
    tables.append(
        {
            "name": "dossier_change",
            "description": "One row for each load and dossier that the load changed.",
            "config": {"meta": {"vi": "Một dòng cho mỗi hồ sơ bị thay đổi trong mỗi lần nạp."}},
            "columns": columns_yaml(DOSSIER_CHANGE),
        }
    )
    tables.append(
        {
            "name": "dossier_deletion",
            "description": "One row for each dossier that its source does not list any more.",
            "config": {"meta": {"vi": "Một dòng cho mỗi hồ sơ mà hệ thống nguồn không còn liệt kê."}},
            "columns": columns_yaml(DOSSIER_DELETION),
        }
    )
    tables.append(
        {
            "name": "person_pseudonym",
            "description": "One row for each responsible agency and person with a dossier there; none if erased.",
            "config": {
                "meta": {
                    "vi": "Một dòng cho mỗi cơ quan giải quyết và người có hồ sơ ở đó; người đã xóa thì không có."
                }
            },
            "columns": columns_yaml(PERSON_PSEUDONYM),
        }
    )
    load_log = {
        "name": "load_log",
        "description": "One row for each load that was committed.",
        "config": {
            "meta": {"vi": "Một dòng cho mỗi lần nạp đã hoàn tất."},
            "loaded_at_field": "loaded_at",
            "freshness": {"warn_after": {"count": 36, "period": "hour"}},
        },
        "columns": columns_yaml(LOAD_LOG),
    }
    document = {
        "version": 2,
        "sources": [
            {
                "name": "raw",
                "schema": "raw",
                "description": "What the sources hold, typed by contract; no personal value in clear.",
                "tables": tables,
            },
            {
                "name": "ops",
                "schema": "ops",
                "description": "Records of the pipeline's own runs.",
                "tables": [load_log],
            },
            {
                "name": "national",
                "schema": "national",
                "description": "What comparing with the national portal found; no personal value.",
                "tables": [
                    {
                        "name": name,
                        "description": description,
                        "config": {"meta": {"vi": vietnamese}},
                        "columns": columns_yaml(columns),
                    }
                    for name, description, vietnamese, columns in NATIONAL
                ],
            },
        ],
    }
    return HEADER + yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=10_000)


def main(arguments: list[str]) -> int:
    """Write the file, or with ``--check`` compare it; return the exit code."""
    text = render()
    if "--check" in arguments:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"{TARGET} differs from the contracts: run python dbt/scripts/generate_sources.py")
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
