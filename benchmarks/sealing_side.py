"""The vault's sealing as a process of its own, without its database: frames of Arrow on standard input and output."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from benchmarks.path import local_sealer, seal_in_memory
from ops.settings import PROJECT
from vault import streams


class SealingProcess:
    """Seals batches in another process, as the vault does; a context manager."""

    def __enter__(self) -> SealingProcess:
        command = [sys.executable, "-m", "benchmarks.sealing_side"]
        self._process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def seal(self, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """The sealed forms of the tables of one chunk."""
        return streams.sealed_by(self._seal, batches)

    def _seal(self, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
        _send(self._process.stdin, batches)
        return _receive(self._process.stdout)


def _send(stream: Any, batches: Sequence[pa.RecordBatch]) -> None:
    body = streams.written(batches)
    stream.write(struct.pack("<q", len(body)))
    stream.write(body)
    stream.flush()


def _receive(stream: Any) -> list[pa.RecordBatch]:
    (size,) = struct.unpack("<q", stream.read(8))
    return streams.batches(stream.read(size))


def main() -> None:
    """Answer until the input ends."""
    sealer = local_sealer()
    given: Any = sys.stdin.buffer
    answers = sys.stdout.buffer
    while given.peek(1):
        _send(answers, seal_in_memory(sealer, _receive(given)))


if __name__ == "__main__":
    main()
