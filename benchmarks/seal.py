"""Sealing in memory: tokens, references, a key for each person and its encryption; and changing the master key."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.path import chunks, encrypt, local_sealer
from benchmarks.world import Line, World, pages, ratio, rounds
from vault.keys import FileKeys
from vault.persons import new_keys
from vault.store import Setup, Store

#: What a dossier holds of its applicant.
PERSONAL = ("applicant_id_number", "applicant_name", "applicant_phone", "applicant_email", "applicant_address",
            "subject_line")  # fmt: skip
PERSONS = 200_000


def run(world: World, long: bool = False) -> Iterator[Line]:
    """Records a second on one core, the ratio to bare encryption, and minutes for 200,000 persons' new wrapping."""
    batches = [chunk.tables["dossier"] for chunk in chunks(pages())]
    number = sum(b.num_rows for b in batches)
    sealer = local_sealer()
    cipher = AESGCM(os.urandom(32))
    values = [b.column(n).to_pylist() for b in batches for n in PERSONAL]

    # Seconds of processor time: one core's, however busy the others are.
    def bare() -> float:
        began = time.process_time()
        for column in values:
            for value in column:
                if value is not None:
                    cipher.encrypt(os.urandom(12), value.encode(), b"")
        return time.process_time() - began

    def ours() -> float:
        began = time.process_time()
        for batch in batches:
            encrypt(sealer.seal(batch)[1])
        return time.process_time() - began

    rounds({"ours": ours}, 1)
    seconds = rounds({"seal": ours, "AESGCM.encrypt": bare}, 7)
    rate = number / statistics.median(seconds["seal"])
    value, behind = ratio(seconds, "seal", "AESGCM.encrypt")
    yield Line(
        f"seal {number:,} dossiers, a key each, 1,000 records/s", rate / 1000, ">= 50", rate >= 50_000, behind
    )
    yield Line("  over AESGCM.encrypt of each value, one key", value, "", None, behind)
    yield _rotation(world.database(), world.home / "rotated-keys")


def _rotation(url: str, folder: Path) -> Line:
    store = Store(Setup(url, FileKeys(folder, create=True)))
    holders = [f"id1_{n:032x}" for n in range(PERSONS)]
    wrapped = store.masters.wrap(1, new_keys(holders))
    into = "copy person_key (holder, master_version, wrapped) from stdin"
    with psycopg.connect(url) as connection, connection.cursor() as cursor, cursor.copy(into) as copy:
        for holder, key in zip(holders, wrapped, strict=True):
            copy.write_row((holder, 1, key))
    began = time.perf_counter()
    done = store.rotate()
    minutes = (time.perf_counter() - began) / 60
    return Line(f"rotate {done.keys:,} keys, minutes", minutes, "<= 5", minutes <= 5, f"{60 * minutes:.1f} s")
