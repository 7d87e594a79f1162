"""Many JSON records at once, decoded by Arrow straight into columns.

Python never holds the values of a record that keeps to the shape of its source; that takes half the time of
dictionaries, and none of the interpreter's lock. `Shape` says what is known of a record from its mapping;
`Shape.learn` sees in the first records which kind of JSON each value is (one installation sends ``"true"``, another
``true``); `Layout` tells as each record arrives whether it is of that shape, and reads those that are. Any other record
is *odd*: the connector reads it leniently, key by key, with `connectors.mapping.flatten`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from connectors.mapping import VIETNAMESE, Path, declared_keys

#: Whole numbers beyond 64 bits are odd: Arrow has no room for them.
_INTEGER = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_KINDS: dict[type, tuple[Any, pa.DataType]] = {
    str: (str, pa.string()),
    int: (_INTEGER, pa.int64()),
    bool: (bool, pa.bool_()),
    float: (float, pa.float64()),
}
#: An entry of a list of names; ``name[vi]`` in a mapping takes the Vietnamese one.
_NAMES = pa.list_(pa.struct([("languageId", pa.int64()), ("name", pa.string())]))


class _Name(msgspec.Struct, gc=False):
    languageId: _INTEGER | None = None  # noqa: N815 - the source's key
    name: str | None = None


class NotOfThisShape(Exception):
    """Arrow could not read records that were accepted; they are to be read leniently."""


@dataclass(frozen=True)
class Read:
    """Records of one table as columns; `owners` is the position of the record each row stood in."""

    columns: dict[str, pa.Array]
    owners: np.ndarray


class Shape:
    """What is known of the records of one source's table before any is seen.

    `mapping` and `ignored` are as for `connectors.mapping.flatten`; keys of `required` columns must be there in
    every record, if only as null; `lists` are keys whose entries are records of other tables.
    """

    def __init__(
        self,
        table: str,
        mapping: Mapping[str, str | Path],
        ignored: Sequence[str] = (),
        required: Sequence[str] = (),
        lists: Sequence[tuple[str, Shape]] = (),
    ) -> None:
        self.table = table
        self.mapping = dict(mapping)
        self.specs = {c: w if isinstance(w, Path) else Path(w) for c, w in mapping.items()}
        self.paths = {c: s.path for c, s in self.specs.items()}
        self.lists = dict(lists)
        self.known = declared_keys(mapping, [*ignored, *self.lists])
        self.leaves = {p.removesuffix("[vi]"): p.endswith("[vi]") for p in self.paths.values()}
        self.required = frozenset(
            ancestor
            for c in required
            if c in self.paths
            for ancestor in _ancestors(self.paths[c].removesuffix("[vi]"))
        )

    def learn(self, samples: Sequence[Any]) -> Layout:
        """The layout in which most of `samples` (decoded JSON) would be accepted."""
        kinds: dict[tuple[str, str], dict[type, int]] = {}
        for record in samples:
            self._note(record, kinds)
        settled = {place: max(seen, key=seen.__getitem__) for place, seen in kinds.items()}
        return Layout(self, settled)

    def _note(self, record: Any, kinds: dict[tuple[str, str], dict[type, int]]) -> None:
        for path in self.leaves:
            value = _at(record, path)
            if type(value) in _KINDS:
                seen = kinds.setdefault((self.table, path), {})
                seen[type(value)] = seen.get(type(value), 0) + 1
        for key, shape in self.lists.items():
            entries = record.get(key) if isinstance(record, dict) else None
            for entry in entries if isinstance(entries, list) else ():
                shape._note(entry, kinds)


class Layout:
    """A shape with the kind of JSON each value is; made by `Shape.learn`."""

    def __init__(self, shape: Shape, kinds: Mapping[tuple[str, str], type]) -> None:
        self.shape = shape
        struct, fields = _layout(shape, kinds, "")
        self._decoder = msgspec.json.Decoder(struct)
        self._schema = pa.schema(fields)

    def accepts(self, content: bytes) -> bool:
        """Whether `content` is one whole record of this shape, with nothing undeclared in it."""
        try:
            self._decoder.decode(content)
        except msgspec.DecodeError:
            return False
        return True

    def read(self, contents: Sequence[bytes]) -> dict[str, Read]:
        """Columns of accepted records by table: the shape's own, and one for each of its lists.

        Raises NotOfThisShape where Arrow sees what `accepts` did not.
        """
        if any(b"\n" in c for c in contents):
            # A line feed in JSON can only stand between values: in a text it is written as an escape.
            contents = [c.replace(b"\n", b" ") for c in contents]
        lines = b"\n".join(contents)
        try:
            table = pj.read_json(
                pa.BufferReader(lines),
                read_options=pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),
                parse_options=pj.ParseOptions(
                    explicit_schema=self._schema, unexpected_field_behavior="ignore"
                ),
            )
        except pa.ArrowInvalid as e:
            raise NotOfThisShape from e
        if table.num_rows != len(contents):
            raise NotOfThisShape
        top = _as_struct(table)
        found = {self.shape.table: Read(_columns(self.shape, top), np.arange(len(contents)))}
        for key, shape in self.shape.lists.items():
            lists = pc.struct_field(top, key)
            entries, owners = pc.list_flatten(lists), pc.list_parent_indices(lists)
            found[shape.table] = Read(_columns(shape, entries), owners.to_numpy(zero_copy_only=False))
        return found


def _as_struct(table: pa.Table) -> pa.StructArray:
    arrays = [c.combine_chunks() if c.num_chunks != 1 else c.chunk(0) for c in table.columns]
    return pa.StructArray.from_arrays(arrays, fields=list(table.schema))


def _columns(shape: Shape, records: pa.StructArray) -> dict[str, pa.Array]:
    columns = {}
    for column, spec in shape.specs.items():
        path = spec.path.removesuffix("[vi]")
        array = pc.struct_field(records, path.split("."))
        if path != spec.path:
            array = _vietnamese(array)
        if spec.values is not None:
            table = spec.values
            # An unknown code stays as it is: the contract rejects it and says so.
            array = each_distinct(array, lambda v, t=table: t.get(v, v))  # type: ignore[misc]
        columns[column] = array
    return columns


def each_distinct(array: pa.Array, function: Any, to: pa.DataType | None = None) -> pa.Array:
    """`function` of every value, called once for each distinct one; for codes, of which there are few."""
    coded = array.dictionary_encode()
    made = [None if v is None else function(v) for v in coded.dictionary.to_pylist()]
    try:
        values = pa.array(made, to)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        values = pa.array([None if v is None else str(v) for v in made], pa.string())
    return values.take(coded.indices)


def _vietnamese(names: pa.ListArray) -> pa.Array:
    entries, owners = pc.list_flatten(names), pc.list_parent_indices(names)
    texts = pc.struct_field(entries, "name")
    ours = pc.equal(pc.struct_field(entries, "languageId"), VIETNAMESE)
    if len(entries) == len(names) and names.null_count == 0 and pc.all(ours, skip_nulls=False).as_py():
        return texts  # one name each, as good as always
    positions = np.flatnonzero(pc.fill_null(ours, False).to_numpy(zero_copy_only=False))
    owning, first = np.unique(owners.to_numpy(zero_copy_only=False)[positions], return_index=True)
    places = np.full(len(names), -1)
    places[owning] = positions[first]
    return texts.take(pa.array(places, pa.int64(), mask=places < 0))


def _layout(
    shape: Shape, kinds: Mapping[tuple[str, str], type], path: str
) -> tuple[type[msgspec.Struct], list[pa.Field]]:
    """The struct that accepts the object at `path`, and the Arrow fields of what is taken from it."""
    declared: list[Any] = []
    fields: list[pa.Field] = []
    keys = sorted(shape.known[path])
    for number, key in enumerate(keys):
        full = f"{path}.{key}" if path else key
        kind: Any = msgspec.Raw  # known and not taken: passed over unread
        if full in shape.known:
            kind, below = _layout(shape, kinds, full)
            if below:
                fields.append(pa.field(key, pa.struct(below)))
        elif full in shape.lists:
            entry, below = _layout(shape.lists[full], kinds, "")
            kind = list[entry]  # type: ignore[valid-type]
            fields.append(pa.field(key, pa.list_(pa.struct(below))))
        elif shape.leaves.get(full) is True:
            kind = list[_Name]
            fields.append(pa.field(key, _NAMES))
        elif full in shape.leaves:
            kind, arrow = _KINDS[kinds.get((shape.table, full), str)]
            fields.append(pa.field(key, arrow))
        optional = kind if kind is msgspec.Raw else kind | None
        if full in shape.required:
            declared.append((f"f{number}", optional))
        else:
            declared.append((f"f{number}", optional | msgspec.UnsetType, msgspec.UNSET))
    # Keys may be words of Python's own; a required field may follow one that is not.
    struct = msgspec.defstruct(
        f"{shape.table}_{path or 'record'}", declared, rename={f"f{n}": k for n, k in enumerate(keys)},
        forbid_unknown_fields=True, gc=False, kw_only=True,
    )  # fmt: skip
    return struct, fields


def _ancestors(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]


def _at(record: Any, path: str) -> Any:
    for key in path.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record
