"""The vault's sealing as a process of its own, without its database: frames of Arrow on standard input and output."""

from __future__ import annotations

import struct
import subprocess
import sys

import pyarrow as pa

from benchmarks.path import local_sealer
from ops.settings import PROJECT


class SealingProcess:
    """Seals batches in another process, as the vault does; a context manager."""

    def __enter__(self) -> SealingProcess:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sealing_side"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def seal(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The sealed form of `batch`."""
        assert self._process.stdin
        assert self._process.stdout
        _send(self._process.stdin, batch)
        return _receive(self._process.stdout)


def _send(stream: object, batch: pa.RecordBatch) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    body = sink.getvalue()
    stream.write(struct.pack("<q", len(body)))  # type: ignore[attr-defined]
    stream.write(body)  # type: ignore[attr-defined]
    stream.flush()  # type: ignore[attr-defined]


def _receive(stream: object) -> pa.RecordBatch:
    (size,) = struct.unpack("<q", stream.read(8))  # type: ignore[attr-defined]
    return next(iter(pa.ipc.open_stream(stream.read(size))))  # type: ignore[attr-defined]


def main() -> None:
    """Answer until the input ends."""
    sealer = local_sealer()
    given, answers = sys.stdin.buffer, sys.stdout.buffer
    while given.peek(1):
        sealed, _ = sealer.seal(_receive(given))
        _send(answers, sealed)


if __name__ == "__main__":
    main()
