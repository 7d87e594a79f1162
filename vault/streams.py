"""Arrow over the vault's socket: several batches or tables, one stream after another."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

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
