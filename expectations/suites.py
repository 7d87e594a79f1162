"""What is expected of the data, declared: landing rules from the contracts, the others from YAML beside this file.

A rule names an expectation of Great Expectations. Only types on the allow-list may be used: their results hold
counts, never values of rows. (A type such as `expect_column_max_to_be_between` reports a value as its observation.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from open_data_contract_standard.model import OpenDataContractStandard, SchemaProperty

HERE = Path(__file__).parent
CONTRACTS = HERE.parent / "connectors" / "contracts"

# What the vault leaves in place of personal values: kind, version of the token key, and 32 hexadecimal digits. Form
# and length are two rules, because PostgreSQL is four times slower with {32} than with + (3.9 against 0.95 µs a value).
SEALED = {
    "token": ("^id[1-9]_[0-9a-f]+$", len("id1_") + 32),
    "reference": ("^ref[1-9]_[0-9a-f]+$", len("ref1_") + 32),
}
# Citizen identity numbers: 12 digits, the first is 0 (codes of provinces 001 to 096).
IDENTITY_PATTERN = "(^|[^0-9])0[0-9]{11}([^0-9]|$)"

# Map expectations count rows; of the table ones only those whose observation is a count or names of columns.
SAFE_TYPES = frozenset(
    {
        "expect_column_value_lengths_to_equal",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_to_exist",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_unique",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_regex",
        "expect_compound_columns_to_be_unique",
        "expect_table_columns_to_match_ordered_list",
        "expect_table_columns_to_match_set",
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
    }
)


class SuiteError(Exception):
    """A suite cannot be built from its declaration; the message names the file and the entry."""


@dataclass(frozen=True)
class Rule:
    """One expectation on one table. A rule that is not `required` only warns."""

    type: str
    description: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    required: bool = True
    # Column, operator (==, !=, >, >=, <, <=) and constant that a row must meet for the rule to look at it.
    where: tuple[str, str, Any] | None = None
    # The description in Vietnamese; rules of the release must have one, since the public reads them.
    vi: str = ""

    def __post_init__(self) -> None:
        if self.type not in SAFE_TYPES:
            raise SuiteError(
                f"{self.type} is not on the allow-list: its result may hold values of rows. "
                f"Use one of: {', '.join(sorted(SAFE_TYPES))}; "
                "or prove another safe and add it to expectations/suites.py"
            )

    @property
    def columns(self) -> str:
        """Names of the columns the rule looks at, for messages; empty for a rule on the whole table."""
        named = [self.arguments.get(key) for key in ("column", "column_A", "column_B")]
        listed = self.arguments.get("column_list") or []
        return ", ".join(str(name) for name in [*named, *listed] if name)


@dataclass(frozen=True)
class Suite:
    """The rules for one table."""

    name: str
    rules: tuple[Rule, ...]


def column_rule(
    kind: str, column: str, description: str, *, required: bool = True, vi: str = "", **arguments: Any
) -> Rule:
    """Return `expect_column_values_<kind>` for one column."""
    return Rule(f"expect_column_values_{kind}", description, {"column": column, **arguments}, required, vi=vi)


def key_rule(columns: list[str]) -> Rule:
    """Return the rule that `columns` together identify a row."""
    what, vi = "The key identifies one row.", "Khóa xác định đúng một dòng."
    if len(columns) == 1:
        return column_rule("to_be_unique", columns[0], what, vi=vi)
    return Rule("expect_compound_columns_to_be_unique", what, {"column_list": columns}, vi=vi)


# Moments in the order in which they happen; a few sources type them by hand, so these only warn.
IN_ORDER = (
    ("received_at", "due_at"),
    ("received_at", "completed_at"),
    ("completed_at", "returned_at"),
    ("started_at", "finished_at"),
)


def contract_names() -> list[str]:
    """Return the names of all contracts."""
    return sorted(path.stem for path in CONTRACTS.glob("*.yaml"))


def landing_suite(contract: str, now: datetime | None = None) -> Suite:
    """Return the rules for a staged batch of `contract`, from its ODCS file.

    Raises SuiteError if there is no such contract, or a sealed column whose form is not known.
    """
    path = CONTRACTS / f"{contract}.yaml"
    if not path.exists():
        raise SuiteError(f"No contract {contract!r} at {path}; known: {', '.join(contract_names())}")
    declared = OpenDataContractStandard.from_file(str(path))
    properties = (declared.schema_ or [])[0].properties or []
    return Suite(f"landing.{contract}", tuple(_landing_rules(properties, contract, now or datetime.now(UTC))))


def _landing_rules(properties: list[SchemaProperty], contract: str, now: datetime) -> Iterator[Rule]:
    landed = [prop for prop in properties if _custom(prop).get("seal") != "drop"]
    names = [str(prop.name) for prop in landed]
    yield Rule(
        "expect_table_columns_to_match_set",
        "Every column of the contract is there.",
        {"column_set": names, "exact_match": False},
    )
    keys = sorted((p for p in landed if p.primaryKey), key=lambda p: p.primaryKeyPosition or 0)
    yield key_rule([str(prop.name) for prop in keys])
    for prop in landed:
        name, custom = str(prop.name), _custom(prop)
        if prop.required:
            yield column_rule("to_not_be_null", name, "The contract requires a value.")
        if allowed := custom.get("allowedValues"):
            yield column_rule("to_be_in_set", name, "Only values the contract allows.", value_set=allowed)
        if (minimum := custom.get("minimum")) is not None:
            yield column_rule("to_be_between", name, f"At least {minimum}.", min_value=minimum)
        seal = custom.get("seal")
        # A handle was sealed by an earlier load and only repeats here. Its digits are random: what they look like
        # says nothing (one in some hundreds holds a 0 and eleven digits), its form says all.
        if (form := seal or custom.get("handle")) in SEALED:
            what = "Sealed by the vault: no personal value stands here in clear."
            pattern, length = SEALED[str(form)]
            yield column_rule("to_match_regex", name, what, regex=pattern)
            yield Rule("expect_column_value_lengths_to_equal", what, {"column": name, "value": length})
        elif seal == "year":
            yield column_rule(
                "to_be_between", name, "A year, not a date.", min_value=1850, max_value=now.year
            )
        elif seal is not None or prop.classification != "none":
            raise SuiteError(
                f"contract {contract}, column {name}: class {prop.classification!r} with seal {seal!r} "
                f"has no rule; known seals: {', '.join(SEALED)}, year, drop"
            )
        elif prop.physicalType == "text" and not prop.primaryKey and not allowed:
            # Declared free of personal data: checked, not believed.
            what = "No citizen identity number stands in a column declared free of personal data."
            yield column_rule("to_not_match_regex", name, what, regex=IDENTITY_PATTERN)
        if name == "received_at":
            tomorrow = (now + timedelta(days=1)).replace(microsecond=0)
            what = "Received neither before 2000 nor in the future."
            earliest = datetime(2000, 1, 1, tzinfo=UTC)
            yield column_rule(
                "to_be_between", name, what, min_value=earliest, max_value=tomorrow, mostly=0.99
            )
    for earlier, later in IN_ORDER:
        if earlier in names and later in names:
            yield Rule(
                "expect_column_pair_values_a_to_be_greater_than_b",
                f"{later} is not before {earlier}.",
                {
                    "column_A": later,
                    "column_B": earlier,
                    "or_equal": True,
                    "ignore_row_if": "either_value_is_missing",
                    "mostly": 0.99,
                },
                required=False,
            )


def _custom(prop: SchemaProperty) -> dict[str, Any]:
    return {str(item.property): item.value for item in prop.customProperties or []}


def declared_suites(path: Path) -> dict[str, tuple[Rule, ...]]:
    """Return the rules of a YAML file by table: `tables: {name: [{expect, because, vi, severity, where, ...}]}`.

    `expect` is the expectation's name without `expect_`; `because` says why, `vi` the same in Vietnamese; `severity`
    is fail (default) or warn; the other entries are its arguments. Raises SuiteError naming the entry that is wrong.
    """
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    suites: dict[str, tuple[Rule, ...]] = {}
    for table, entries in document["tables"].items():
        rules = []
        for number, entry in enumerate(entries, start=1):
            arguments = dict(entry)
            try:
                kind, because = f"expect_{arguments.pop('expect')}", arguments.pop("because")
                severity, where = arguments.pop("severity", "fail"), arguments.pop("where", None)
                vi = arguments.pop("vi", "")
                if severity not in ("fail", "warn"):
                    raise SuiteError(f"severity {severity!r} is neither fail nor warn")
                condition = (str(where[0]), str(where[1]), where[2]) if where else None
                rules.append(Rule(kind, because, arguments, severity == "fail", condition, vi))
            except (KeyError, SuiteError) as error:
                raise SuiteError(f"{path.name}, table {table}, entry {number}: {error}") from None
        suites[table] = tuple(rules)
    return suites


def declared_windows(path: Path) -> dict[str, str]:
    """Return the tables of a YAML file of which the last twelve months are looked at, each with its column of time."""
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")).get("last_year") or {})


def release_suites(document: Mapping[str, Any], extra: Mapping[str, tuple[Rule, ...]]) -> dict[str, Suite]:
    """Return a suite for each table of a release by table name, from its release.json and `release.yml`.

    Raises SuiteError for a rule without Vietnamese words: its page shows them.
    """
    suites = {}
    for dataset in document["datasets"]:
        for table in dataset["tables"]:
            name = table["name"]
            rules = [*_release_rules(table, dataset["origin"]), *extra.get(name, ())]
            if silent := [rule.description for rule in rules if not rule.vi]:
                raise SuiteError(
                    f"table {name}: say in Vietnamese, too (vi), what the page shows: {', '.join(silent)}"
                )
            suites[name] = Suite(f"release.{name}", tuple(rules))
    return suites


def _release_rules(table: Mapping[str, Any], origin: str) -> Iterator[Rule]:
    yield Rule(
        "expect_table_row_count_to_equal",
        "As many rows as recorded.",
        {"value": table["rows"]},
        vi="Đủ số dòng như đã ghi của bản phát hành.",
    )
    yield Rule(
        "expect_table_columns_to_match_ordered_list",
        "Exactly the columns marked for publishing.",
        {"column_list": table["columns"]},
        vi="Có đúng những cột được công bố, không thừa cột nào.",
    )
    yield key_rule(table["keys"])
    if "origin" in table["columns"]:
        what = f"All rows are {origin}, as the file's name says."
        vi = f"Mọi dòng là số liệu {'thật' if origin == 'real' else 'mô phỏng'}, đúng như tên tệp."
        yield column_rule("to_be_in_set", "origin", what, vi=vi, value_set=[origin])
    policy = table["small_cell"]
    if not policy:
        return
    for name in policy["count_columns"]:
        yield Rule(
            "expect_column_values_to_be_between",
            f"No count between 1 and {policy['threshold'] - 1} leaves.",
            {"column": name, "min_value": policy["threshold"]},
            where=(name, "!=", 0),
            vi=f"Không số đếm nào từ 1 đến {policy['threshold'] - 1} được công bố.",
        )
    hidden = policy["measure_columns"] + (policy["count_columns"] if policy["scope"] == "row" else [])
    for name in hidden:
        what = "Nothing stands beside a withheld count from which it could be had back."
        vi = "Bên ô không công bố không có số nào cho phép suy ra ô đó."
        yield Rule(
            "expect_column_values_to_be_null", what, {"column": name}, where=("withheld", "==", True), vi=vi
        )
