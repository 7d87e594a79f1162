"""Arrow over the vault's socket: several batches or tables, one stream after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

#: A token or a reference of `vault.sealing`, of whatever version.
_REFERENCE = r"^(id|ref)\d+_[0-9a-f]{32}$"
ARROW = "application/vnd.apache.arrow.stream"


def written(parts: Iterable[pa.RecordBatch | pa.Table]) -> pa.Buffer:
    """Each of `parts` as a stream of its own."""
    sink = pa.BufferOutputStream()
    for part in parts:
        with pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write(part)
    return sink.getvalue()


def tables(body: bytes) -> list[pa.Table]:
    """The streams in `body`, with their metadata; ArrowException if it is anything else."""
    source = pa.BufferReader(body)
    if not body:
        raise pa.ArrowInvalid("no stream")
    found = []
    while source.tell() < source.size():
        reader = pa.ipc.open_stream(source)
        found.append(reader.read_all().replace_schema_metadata(reader.schema.metadata))
    return found


def batches(body: bytes) -> list[pa.RecordBatch]:
    """The streams in `body`, each as one batch."""
    found = []
    for table in tables(body):
        parts = table.combine_chunks().to_batches()
        batch = parts[0] if parts else pa.RecordBatch.from_pylist([], schema=table.schema)
        found.append(batch.replace_schema_metadata(table.schema.metadata))
    return found


def sealed_by(
    seal: Callable[[list[pa.RecordBatch]], Sequence[pa.RecordBatch]], whole: Sequence[pa.RecordBatch]
) -> list[pa.RecordBatch]:
    """`whole` batches, of which `seal` is given only the columns it needs: personal ones, and those that tell whose."""
    given = [batch.select(_needed(batch)) for batch in whole]
    return [
        _put_back(batch, part.schema.names, sealed)
        for batch, part, sealed in zip(whole, given, seal(given), strict=True)
    ]


def _needed(batch: pa.RecordBatch) -> list[str]:
    meta = batch.schema.metadata or {}
    named = b" ".join(meta.get(n, b"") for n in (b"subject", b"group", b"dossier", b"agency"))
    keys = set(named.decode().replace(",", " ").split())
    return [
        spec.name for spec in batch.schema
        if spec.name in keys or (spec.metadata or {}).get(b"classification") != b"none" or b"seal" in spec.metadata
    ] or batch.schema.names  # fmt: skip


def _put_back(batch: pa.RecordBatch, given: list[str], sealed: pa.RecordBatch) -> pa.RecordBatch:
    made = dict(zip(sealed.schema.names, sealed.columns, strict=True))
    untouched = {n: batch.column(n) for n in set(batch.schema.names) - set(given)}
    columns = {n: made.get(n, untouched.get(n)) for n in batch.schema.names if n in made or n in untouched}
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def references(batch: pa.RecordBatch) -> pa.Array:
    """Every token and reference in the text columns of a batch, each once."""
    found = [
        column.filter(pc.match_substring_regex(column, _REFERENCE))
        for column in batch.columns
        if pa.types.is_string(column.type)
    ]
    return pa.chunked_array(found, pa.string()).unique()
