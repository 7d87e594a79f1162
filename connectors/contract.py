"""Contracts of the source tables: one ODCS v3 YAML declares each, everything else is derived from it.

From ``contracts/<table>.yaml`` come the Arrow schema a connector must deliver (clear values), the Arrow
schema that may be written (sealed values), the DDL of ``raw.<table>``, the keys and the reject rules.

ODCS has no precision and no sealing of its own: precision stands in ``physicalType``, the privacy class in
``classification``, the way a value is sealed in the custom property ``seal``. An unknown word in any of
them is an error, because a silent default would let a personal value through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow as pa
from open_data_contract_standard.model import OpenDataContractStandard, SchemaProperty

CONTRACTS = Path(__file__).parent / "contracts"

#: classification -> may the column leave the connector in clear?
PRIVACY_CLASSES = {
    "identifying": False,
    "quasi_identifying": False,
    "sensitive": False,
    "free_text": False,
    "none": True,
}
#: seal -> Arrow type once sealed (None: the column is dropped on receipt).
SEALS: dict[str, pa.DataType | None] = {
    "token": pa.string(),
    "reference": pa.string(),
    "year": pa.int16(),
    "drop": None,
}
#: owner of a sealed value that is no matter of its row's subject
NOBODY = "nobody"
_TIMESTAMP = pa.timestamp("us", "UTC")
_ARROW_OF_PHYSICAL: dict[str, pa.DataType] = {
    "text": pa.string(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamptz": _TIMESTAMP,
    "jsonb": pa.json_(),
}
_NUMERIC = re.compile(r"numeric\((\d+),\s*(\d+)\)")


class ContractError(Exception):
    """A contract file is missing, unreadable, or says something this project does not know."""


@dataclass(frozen=True)
class Column:
    """One column of a contract, with the types before and after sealing."""

    name: str
    clear_type: pa.DataType
    landed_type: pa.DataType | None
    physical_type: str
    required: bool
    classification: str
    seal: str | None
    description: str
    allowed_values: tuple[object, ...] | None
    minimum: float | None
    compare: bool
    #: ``nobody`` for what is no matter of the row's subject (an officer's name); None otherwise.
    owner: str | None = None
    #: Its heading in files and forms, and every custom property, for a connector that goes by them.
    business_name: str = ""
    custom: Mapping[str, object] = field(default_factory=dict, hash=False, compare=False)

    @property
    def holds_handle(self) -> bool:
        """Whether it lands tokens or references: of its own seal or, with the property ``handle``, of another's."""
        kinds = ("token", "reference")
        return self.seal in kinds or self.custom.get("handle") in kinds


@dataclass(frozen=True)
class Contract:
    """One source table: its columns, its key, and what happens to rows that break it."""

    name: str
    version: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    subject: str | None
    parent: str | None
    change_key: tuple[str, ...]
    complete_within: tuple[str, ...]
    reject_share: float
    indexed: tuple[str, ...] = ()
    #: Column of the agency a row's dossier belongs to: its officers may reveal the person of the row.
    agency: str | None = None
    custom: Mapping[str, object] = field(default_factory=dict, hash=False, compare=False)

    @property
    def landed_columns(self) -> tuple[Column, ...]:
        """Columns that are written; those sealed by ``drop`` are not."""
        return tuple(c for c in self.columns if c.landed_type is not None)

    @property
    def clear_schema(self) -> pa.Schema:
        """Arrow schema of a batch on its way to the vault; field metadata tell the vault what to do."""
        fields = []
        for c in self.columns:
            meta = {"classification": c.classification}
            if c.seal:
                meta["seal"] = c.seal
            if c.owner:
                meta["owner"] = c.owner
            fields.append(pa.field(c.name, c.clear_type, metadata=meta))
        meta = {"contract": self.name, "version": self.version}
        if self.subject:
            meta["subject"] = self.subject
        # Where no person is known, what belongs to one parent, or to one record, shares a key in the vault.
        meta["group"] = ",".join(self.complete_within or self.key)
        if self.agency:
            meta |= {"dossier": " ".join(self.key), "agency": self.agency}
        return pa.schema(fields, metadata=meta)

    @property
    def landed_schema(self) -> pa.Schema:
        """Arrow schema of landed Parquet files."""
        return pa.schema(
            [pa.field(c.name, c.landed_type) for c in self.landed_columns],
            metadata={"contract": self.name, "version": self.version},
        )

    def column(self, name: str) -> Column:
        """The column called `name`; ContractError if the contract has none."""
        for c in self.columns:
            if c.name == name:
                return c
        raise ContractError(f"contract {self.name} has no column {name!r}")

    def ddl(self, schema: str = "raw") -> list[str]:
        """Statements that make ``<schema>.<table>`` and its comments, safe to run again.

        A table of an earlier version of the contract gets the columns it lacks, empty for the rows it holds.
        """
        lines = [
            f'    "{c.name}" {c.physical_type}{" not null" if c.required else ""}'
            for c in self.landed_columns
        ]
        lines += [
            "    _origin text not null check (_origin in ('real', 'simulated'))",
            "    _batch_id text not null",
            "    _load_number bigint not null",
            "    _pulled_at timestamptz not null",
            f"    primary key ({', '.join(self.key)})",
        ]
        table = f'{schema}."{self.name}"'
        return [
            f"create table if not exists {table} (\n" + ",\n".join(lines) + "\n)",
            *self._new_columns(table),
            f"comment on table {table} is {_literal(self.description)}",
            *(
                f'comment on column {table}."{c.name}" is {_literal(c.description)}'
                for c in self.landed_columns
            ),
            *(
                f'create index if not exists "{self.name}_{c}" on {table} ("{c}") where "{c}" is not null'
                for c in self.indexed
            ),
            *(
                [f'create index if not exists "{self.name}__load" on {table} (_load_number)']
                if self.change_key
                else []
            ),
        ]

    def _new_columns(self, table: str) -> list[str]:
        # Asked for first: ALTER TABLE would wait for every reader, also where nothing is to be added.
        added = {c.name: c.physical_type for c in self.landed_columns if not c.required}
        if not added:
            return []
        wanted = ", ".join(_literal(name) for name in added)
        adding = ", ".join(f'add column if not exists "{name}" {kind}' for name, kind in added.items())
        return [
            f"do $$ begin if {len(added)} > (select count(*) from pg_attribute where not attisdropped "  # noqa: S608
            f"and attrelid = '{table}'::regclass and attname in ({wanted})) "
            f"then alter table {table} {adding}; end if; end $$"
        ]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _arrow_type(physical: str, where: str) -> pa.DataType:
    if physical in _ARROW_OF_PHYSICAL:
        return _ARROW_OF_PHYSICAL[physical]
    if m := _NUMERIC.fullmatch(physical):
        return pa.decimal128(int(m[1]), int(m[2]))
    known = ", ".join([*_ARROW_OF_PHYSICAL, "numeric(p, s)"])
    raise ContractError(f"{where}: physicalType {physical!r} is not one of {known}")


def _custom(holder: object) -> dict[str, object]:
    return {p.property: p.value for p in getattr(holder, "customProperties", None) or []}


def _column(prop: SchemaProperty, where: str) -> Column:
    custom = _custom(prop)
    name = prop.name or ""
    where = f"{where}.{name}"
    classification = prop.classification or ""
    if classification not in PRIVACY_CLASSES:
        raise ContractError(
            f"{where}: classification {classification!r} is not one of {', '.join(PRIVACY_CLASSES)}; "
            "every column needs a privacy class"
        )
    seal = custom.get("seal")
    if seal is not None and seal not in SEALS:
        raise ContractError(f"{where}: seal {seal!r} is not one of {', '.join(SEALS)}")
    if (seal is None) != PRIVACY_CLASSES[classification]:
        raise ContractError(
            f"{where}: class {classification!r} and seal {seal!r} contradict each other; a personal column "
            "needs a seal, any other must not have one"
        )
    physical = _arrow_type(prop.physicalType or "", where)
    if seal is None:
        clear, landed = physical, physical
    else:
        clear = pa.date32() if seal == "year" else pa.string()
        landed = SEALS[str(seal)]
        if landed is not None and landed != physical:
            raise ContractError(f"{where}: sealed by {seal!r} it becomes {landed}, not {prop.physicalType}")
    owner = custom.get("owner")
    if owner is not None and (owner != NOBODY or seal != "reference"):
        raise ContractError(
            f"{where}: owner {owner!r}; only a column sealed by 'reference' has one, {NOBODY!r}"
        )
    allowed = custom.get("allowedValues")
    minimum = custom.get("minimum")
    return Column(
        name=name,
        clear_type=clear,
        landed_type=landed,
        physical_type=prop.physicalType or "",
        required=bool(prop.required),
        classification=classification,
        seal=None if seal is None else str(seal),
        description=prop.description or "",
        allowed_values=tuple(allowed) if isinstance(allowed, list) else None,
        minimum=float(minimum) if isinstance(minimum, int | float) else None,
        compare=custom.get("compare", True) is not False,
        owner=None if owner is None else str(owner),
        business_name=prop.businessName or "",
        custom=custom,
    )


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(v) for v in value) if isinstance(value, list) else ()


def read_contract(path: Path) -> Contract:
    """The contract in one ODCS file; ContractError says what is wrong and where."""
    try:
        odcs = OpenDataContractStandard.from_file(str(path))
    except FileNotFoundError:
        raise ContractError(f"no contract at {path}") from None
    except Exception as e:  # the library raises YAML and pydantic errors alike
        raise ContractError(f"{path.name} is not a readable ODCS v3 contract: {e}") from e
    if not odcs.schema_ or len(odcs.schema_) != 1:
        raise ContractError(f"{path.name}: expected exactly one schema object")
    table = odcs.schema_[0]
    table_name = table.name or ""
    custom = _custom(table)
    columns = tuple(_column(p, table_name) for p in table.properties or [])
    key = tuple(
        p.name or ""
        for p in sorted(
            (p for p in table.properties or [] if p.primaryKey), key=lambda p: p.primaryKeyPosition or 0
        )
    )
    if not key:
        raise ContractError(f"{path.name}: no primaryKey, so rows could not be told apart")
    names = {c.name for c in columns}
    for option in ("subject", "agency", "changeKey", "completeWithin", "indexed"):
        wanted = custom.get(option) or []
        for name in [wanted] if isinstance(wanted, str) else _names(wanted):
            if name not in names:
                raise ContractError(f"{path.name}: {option} names {name!r}, which is no column")
    return Contract(
        name=table_name,
        version=str(odcs.version),
        description=table.description or "",
        columns=columns,
        key=key,
        subject=str(custom["subject"]) if "subject" in custom else None,
        agency=str(custom["agency"]) if "agency" in custom else None,
        parent=str(custom["parent"]) if "parent" in custom else None,
        change_key=_names(custom.get("changeKey")),
        complete_within=_names(custom.get("completeWithin")),
        reject_share=float(str(custom.get("rejectShare", 0))),
        indexed=_names(custom.get("indexed")),
        custom=custom,
    )


@cache
def contract(name: str) -> Contract:
    """The contract of the table `name` in ``connectors/contracts``."""
    found = read_contract(CONTRACTS / f"{name}.yaml")
    if found.name != name:
        raise ContractError(f"{name}.yaml declares the table {found.name!r}")
    return found


def required(table: str) -> tuple[str, ...]:
    """Names of the columns a record of `table` may not lack."""
    return tuple(c.name for c in contract(table).columns if c.required)


def contract_names() -> list[str]:
    """Names of all contracts, parents before their children."""
    names = sorted(p.stem for p in CONTRACTS.glob("*.yaml"))
    return sorted(names, key=lambda n: (contract(n).parent is not None, n))
