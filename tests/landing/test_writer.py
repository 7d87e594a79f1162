"""Landed batches: whole or not there, balanced, immutable."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.contract import contract
from landing import loader
from landing.manifest import LandingError, Manifest, TableEntry, new_batch_id
from landing.writer import BatchWriter
from ops.settings import PROJECT
from tests.landing.samples import SOURCE, SPECS, dossier, reject_of, step, write

SCHEMA = contract("dossier").landed_schema


def visible(landing: Path) -> list[Path]:
    return sorted(p for p in landing.rglob("*"))


def test_a_batch_is_its_files_and_a_manifest_with_their_checksums(tmp_path):
    folder = write(tmp_path, [dossier(1), dossier(2)], [step(1, 1)], [reject_of(2, 1)])
    assert sorted(p.name for p in folder.iterdir()) == [
        "dossier.parquet", "dossier_step.parquet", "manifest.json", "rejects.parquet"]  # fmt: skip
    manifest = Manifest.read(folder)
    manifest.verify_files(folder)
    assert manifest.batch_id == folder.name
    assert manifest.tables["dossier"].landed == pq.read_metadata(folder / "dossier.parquet").num_rows == 2
    assert pq.read_schema(folder / "dossier.parquet").names == SCHEMA.names
    assert manifest.rejected_keys(folder) == {
        "dossier_step": [{"source_code": SOURCE, "dossier_id": "d2", "step_no": "1"}]
    }


def test_an_error_inside_leaves_nothing(tmp_path):
    def broken() -> None:
        with BatchWriter(tmp_path, SOURCE) as writer:
            writer.write("dossier", pa.RecordBatch.from_pylist([dossier(1)], schema=SCHEMA), SCHEMA)
            assert visible(tmp_path / SOURCE), "nothing was being built"
            raise RuntimeError("the source went away")

    with pytest.raises(RuntimeError):
        broken()
    assert visible(tmp_path / SOURCE) == []


def test_leaving_without_finish_leaves_nothing(tmp_path):
    with BatchWriter(tmp_path, SOURCE) as writer:
        writer.write("dossier", pa.RecordBatch.from_pylist([dossier(1)], schema=SCHEMA), SCHEMA)
    assert visible(tmp_path / SOURCE) == []


def test_counts_that_do_not_balance_are_not_kept(tmp_path):
    with pytest.raises(LandingError, match=r"dossier: announced 5, landed 2, rejected 1, duplicates 1"):
        write(tmp_path, [dossier(1), dossier(2)], announced=5, rejected=1, duplicates=1)
    assert visible(tmp_path / SOURCE) == []


@given(st.integers(0, 99), st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(0, 130))
def test_a_table_balances_when_all_announced_rows_are_accounted_for(landed, rejected, duplicates, announced):
    entry = TableEntry(announced, landed, rejected, duplicates, "1.0.0")
    assert entry.balances() == (announced is None or landed + rejected + duplicates == announced)


def test_a_batch_becomes_visible_whole_at_once(tmp_path):
    """A reader that looks all the time never sees a batch folder without its manifest."""
    watcher = subprocess.Popen(
        [sys.executable, "-c", (
            "import pathlib, sys\n"
            "home = pathlib.Path(sys.argv[1]); seen = set()\n"
            "while not (home / 'stop').exists():\n"
            "    for p in home.glob('[!.]*/'):\n"
            "        if p.name != 'stop' and p.name not in seen:\n"
            "            seen.add(p.name)\n"
            "            names = {f.name for f in p.iterdir()}\n"
            "            if not {'manifest.json', 'dossier.parquet'} <= names: sys.exit(f'half a batch: {names}')\n"
            "print(len(seen))"
        ), str(tmp_path / SOURCE)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    (tmp_path / SOURCE).mkdir()
    for _ in range(20):
        write(tmp_path, [dossier(1)])
    time.sleep(0.5)
    (tmp_path / SOURCE / "stop").touch()
    said, _ = watcher.communicate(timeout=30)
    assert watcher.returncode == 0, said
    assert int(said) == 20


def test_a_killed_writer_leaves_nothing_visible_and_is_swept_later(tmp_path):
    code = (
        "import os, sys, pathlib, pyarrow as pa\n"
        "from tests.landing.samples import *\n"
        "w = BatchWriter(pathlib.Path(sys.argv[1]), SOURCE)\n"
        "s = contract('dossier').landed_schema\n"
        "w.write('dossier', pa.RecordBatch.from_pylist([dossier(1)], schema=s), s)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT, check=False)
    assert done.returncode == -9
    assert [p.name for p in (tmp_path / SOURCE).glob("[!.]*")] == []
    (left,) = (tmp_path / SOURCE).iterdir()
    write(tmp_path, [dossier(1)])
    assert left.exists(), "it could have been another run's, still at work"
    old = time.time() - 7 * 3600
    os.utime(left, (old, old))
    write(tmp_path, [dossier(1)])
    assert not left.exists()


def _sealed_off(path: Path) -> None:
    """A folder nobody may write to; root may everywhere, so a file stands in its way."""
    if os.geteuid() == 0:
        path.write_text("in the way")
    else:
        path.mkdir(mode=0o500)


def test_a_landing_folder_that_cannot_be_written_is_named(tmp_path):
    _sealed_off(tmp_path / SOURCE)
    with pytest.raises(LandingError, match=r"cannot write to the landing folder .*KHOCHUNG_HOME.*clear the"):
        BatchWriter(tmp_path, SOURCE)


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as f:
        while True:
            f.write(b"\0" * 512)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("when", ["while writing", "at the end"])
def test_a_full_disk_is_one_clear_message_and_leaves_nothing(tmp_path, monkeypatch, when):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        # Random references do not compress; where the writing must succeed, the disk fills up after it.
        rows = 40_000 if when == "while writing" else 1
        noise = [dossier(n, applicant_phone=os.urandom(64).hex()) for n in range(rows)]
        monkeypatch.setattr(BatchWriter, "reject", lambda *_: _fill(small / "filler"))
        with pytest.raises(LandingError, match=r"No space left.*Free space"):
            write(small, noise, [], [reject_of(1, 1)])
        assert visible(small / SOURCE) == []
        (small / "filler").unlink(missing_ok=True)
        write(small, [dossier(1)])  # with space again it goes on
    finally:
        subprocess.run(["umount", str(small)], check=False)


def test_a_changed_landed_file_is_detected(tmp_path, database):
    folder = write(tmp_path, [dossier(1)])
    path = folder / "dossier.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(LandingError, match=r"dossier.parquet is absent or was changed after landing"):
        loader.stage(database, folder, SPECS)
    path.unlink()
    with pytest.raises(LandingError, match=r"is absent or was changed"):
        Manifest.read(folder).verify_files(folder)
    with psycopg.connect(database) as connection:
        assert connection.execute("select to_regclass('raw.dossier')").fetchone() == (None,)


def test_a_batch_that_is_gone_is_named_with_what_to_do(tmp_path):
    with pytest.raises(LandingError, match=r"looked for a landed batch at .* clear the task that landed"):
        Manifest.read(tmp_path / "gone")
    (tmp_path / "manifest.json").write_text('{"batch_id": ')
    with pytest.raises(LandingError, match=r"manifest.json is not readable JSON"):
        Manifest.read(tmp_path)


def test_rejects_that_are_gone_are_named(tmp_path):
    folder = write(tmp_path, [dossier(1)], [], [reject_of(1, 1)])
    (folder / "rejects.parquet").unlink()
    with pytest.raises(LandingError, match=r"rejects.parquet is absent"):
        Manifest.read(folder).rejected_keys(folder)


def test_a_batch_with_other_columns_than_its_contract_is_refused(tmp_path):
    clear = contract("dossier").clear_schema  # the birth date is still a date here
    row = dossier(1) | {"applicant_birth_year": dt.date(1980, 1, 1)}
    unsealed = pa.RecordBatch.from_pylist([row], schema=clear)
    with BatchWriter(tmp_path, SOURCE) as w, pytest.raises(LandingError, match="columns of its contract"):
        w.write("dossier", unsealed, SCHEMA)


def test_naive_times_cannot_reach_a_file(tmp_path):
    naive = pa.schema(
        [f.with_type(pa.timestamp("us")) if pa.types.is_timestamp(f.type) else f for f in SCHEMA]
    )
    row = dossier(1) | {"received_at": dt.datetime(2025, 6, 30, 8)}
    with (
        BatchWriter(tmp_path, SOURCE) as writer,
        pytest.raises(LandingError, match="columns of its contract"),
    ):
        writer.write("dossier", pa.RecordBatch.from_pylist([row], schema=naive), SCHEMA)


def test_batch_ids_sort_by_time_and_are_never_twice_the_same(tmp_path):
    early, late = dt.datetime(2025, 6, 30, 23, 59, tzinfo=dt.UTC), dt.datetime(2025, 7, 1, tzinfo=dt.UTC)
    assert new_batch_id(early, b"\xff" * 8) < new_batch_id(late, b"\x00" * 8)
    assert write(tmp_path, [dossier(1)]).name != write(tmp_path, [dossier(1)]).name


def test_a_manifest_reads_back_as_it_was_written(tmp_path):
    folder = write(tmp_path, [dossier(1)], [step(1, 1)])
    manifest = Manifest.read(folder)
    assert json.loads(manifest.to_json()) == json.loads((folder / "manifest.json").read_text())
