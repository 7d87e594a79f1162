"""The release as its readers meet it, from a real PostgreSQL to the files."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import frictionless
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opendata import release
from opendata.catalogue import CatalogueError, Text
from opendata.disclosure.earlier import remember
from opendata.files import FileRecord, record
from opendata.release import ReleaseError, Seen, publish, withdraw
from tests.opendata.conftest import TODAY, Warehouse

ENDINGS = (".csv", ".excel.csv", ".parquet", ".jsonl", ".xlsx")
MONTHLY = "dossier-results-monthly/dossier-results-monthly.simulated"


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def test_a_release_holds_every_dataset_in_every_format(warehouse: Warehouse) -> None:
    outcome = warehouse.publish()
    assert outcome.created
    assert outcome.rows == {
        "administrative-units": 5,
        "dossier-results-monthly": 62,
        "procedures": 4,
        "service-index-766": 2,
    }
    names = set(warehouse.files())
    tables = (
        "administrative-units/administrative-units.real",
        "administrative-units/administrative-unit-bridge.real",
        MONTHLY,
        "procedures/procedures.real",
        "service-index-766/service-index-766.real",
    )
    expected = {f"{table}{ending}" for table in tables for ending in ENDINGS}
    expected |= {f"{table}.csv-metadata.json" for table in tables}
    folders = {table.split("/")[0] for table in tables}
    records = (
        "changelog.json",
        "datapackage.json",
        "en/index.html",
        "dcat.jsonld",
        "dcat.rdf",
        "dcat.ttl",
        "dictionary.csv",
        "index.html",
        "schema-org.jsonld",
    )
    expected |= {f"{folder}/{name}" for folder in folders for name in records}
    whole = {"catalog.jsonld", "catalog.rdf", "catalog.ttl", "disclosure.json", "release.json"}
    # What the site holds beside the datasets is told in test_site.
    site = {name for name in names if name.partition("/")[0] not in folders}
    assert names - site == expected
    assert whole <= site


def test_all_formats_and_tables_come_from_one_read_at_one_moment(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes in the warehouse meanwhile stands in none of them."""
    read: list[str] = []
    stream = release._stream

    def watched(cursor: Any, resource: Any) -> Any:
        if not read:
            warehouse.sql(
                "update open_data.procedures set fee_vnd = 123; delete from open_data.service_index_766"
            )
        read.append(resource.table)
        return stream(cursor, resource)

    monkeypatch.setattr(release, "_stream", watched)
    outcome = warehouse.publish()
    assert (len(read), len(set(read))) == (5, 5), "each table once, for five formats"
    assert outcome.rows["service-index-766"] == 2
    stem = warehouse.current / "procedures" / "procedures.real"
    whole = [
        list(row.values())[2]
        for name in (".csv", ".excel.csv")
        for row in rows(Path(f"{stem}{name}").read_bytes())
    ]
    whole += [json.loads(line)["fee_vnd"] for line in Path(f"{stem}.jsonl").read_text().splitlines()]
    whole += pq.read_table(f"{stem}.parquet")["fee_vnd"].to_pylist()
    whole += [
        row[2]
        for row in openpyxl.load_workbook(f"{stem}.xlsx").worksheets[0].iter_rows(min_row=2, values_only=True)
    ]
    assert len(whole) == 5 * outcome.rows["procedures"]
    assert 123 not in {int(value or 0) for value in whole}


def test_only_columns_marked_for_publishing_leave(warehouse: Warehouse) -> None:
    warehouse.publish()
    everything = b"".join(warehouse.files().values())
    assert b"internal_note" not in everything
    assert "nội bộ".encode() not in everything
    assert pq.read_schema(warehouse.current / "procedures/procedures.real.parquet").names == [
        "procedure_code", "procedure_name", "fee_vnd", "origin",
    ]  # fmt: skip


def test_values_survive_the_way_into_the_files(warehouse: Warehouse) -> None:
    warehouse.publish()
    files = warehouse.files()
    procedures = rows(files["procedures/procedures.real.csv"])
    lines = [json.loads(line) for line in files["procedures/procedures.real.jsonl"].splitlines()]
    assert lines[3]["procedure_name"] == 'Cấp bản sao "trích lục", có phẩy\nvà xuống dòng'
    assert (lines[3]["fee_vnd"], lines[0]["fee_vnd"]) == (None, 120000000)
    assert [row["procedure_code"] for row in procedures] == ["1.000894", "1.001193", "1.004227", "2.000635"]
    assert procedures[3]["procedure_name"] == 'Cấp bản sao "trích lục", có phẩy\nvà xuống dòng'
    assert procedures[3]["fee_vnd"] == ""
    index = rows(files["service-index-766/service-index-766.real.csv"])
    assert index[0]["score"] == "84.1500"
    assert index[0]["captured_at"] == "2026-09-18T06:30:00+07:00"


def test_formulas_are_neutralised_for_spreadsheets_only(warehouse: Warehouse) -> None:
    warehouse.publish()
    files = warehouse.files()
    excel = files["procedures/procedures.real.excel.csv"]
    assert excel.startswith(b"\xef\xbb\xbf")
    assert rows(excel)[0]["procedure_name"] == '\'=HYPERLINK("x")'
    assert rows(files["procedures/procedures.real.csv"])[0]["procedure_name"] == '=HYPERLINK("x")'
    book = openpyxl.load_workbook(warehouse.current / "procedures/procedures.real.xlsx")
    data, explained = book.worksheets
    assert [cell.value for cell in data[2]][:3] == ["1.000894", '\'=HYPERLINK("x")', 120000000]
    assert all(cell.data_type != "f" for sheet in book for row in sheet for cell in row)
    assert {row[1].value for row in explained} >= {"procedure_code", "fee_vnd"}


def test_small_counts_are_withheld_in_every_format(warehouse: Warehouse) -> None:
    outcome = warehouse.publish()
    tally = outcome.withheld["dossier-results-monthly"]
    assert (tally.rows, tally.cells, tally.dossiers) == (1, 1, 0)
    files = warehouse.files()
    lines = [json.loads(line) for line in files[MONTHLY + ".jsonl"].splitlines()]
    (hidden,) = (line for line in lines if line["withheld"])
    assert (hidden["received_count"], hidden["overdue_count"]) == (57, None)
    for ending in (".csv", ".excel.csv"):
        (hidden,) = (row for row in rows(files[MONTHLY + ending]) if row["withheld"] == "true")
        assert hidden["sector_code"] == "LV98"
        counts = [hidden[name] for name in ("received_count", "completed_count", "overdue_count")]
        assert counts == ["57", "57", ""]
    table = pq.read_table(warehouse.current / f"{MONTHLY}.parquet").to_pylist()
    (hidden,) = (row for row in table if row["withheld"])
    assert (hidden["received_count"], hidden["overdue_count"]) == (57, None)
    (zero,) = (row for row in table if row["sector_code"] == "LV99")
    assert (zero["withheld"], zero["received_count"]) == (False, 0)


def test_the_public_record_does_not_give_a_withheld_cell_away(warehouse: Warehouse) -> None:
    warehouse.publish()
    document = json.loads(warehouse.files()["release.json"])
    table = document["datasets"][1]["tables"][0]
    assert (table["withheld_rows"], table["withheld_share_at_most"]) == (1, 0.01)
    assert "small_cell" in table
    assert "57" not in json.dumps({key: value for key, value in table.items() if key != "files"})
    report = json.loads(warehouse.files()["disclosure.json"])
    assert (report["withheld_cells"], report["unprotected_cells"]) == (1, 0)
    assert report["tables"][0]["withheld_cells"] == 1


def test_frictionless_finds_every_dataset_valid_with_its_checksums(warehouse: Warehouse) -> None:
    warehouse.publish()
    for path in warehouse.current.glob("*/datapackage.json"):
        report = frictionless.Package.from_descriptor(str(path)).validate()
        assert report.valid, report.flatten(["type", "note"])
        for resource in json.loads(path.read_text())["resources"]:
            assert (path.parent / resource["path"]).stat().st_size == resource["bytes"]


def test_unchanged_content_makes_no_new_release(warehouse: Warehouse) -> None:
    warehouse.publish()
    before = warehouse.files()
    again = warehouse.publish()
    assert (again.created, again.number) == (False, 1)
    assert "unchanged" in again.message
    assert warehouse.files() == before


def test_in_how_many_pieces_rows_are_written_and_read_back_changes_nothing(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opendata.files.PIECE_ROWS", 3)
    assert warehouse.publish().created
    monkeypatch.undo()
    assert not warehouse.publish().created  # the checksums of all files are the same


def test_changed_content_makes_the_next_release_and_keeps_the_old_one(warehouse: Warehouse) -> None:
    warehouse.publish()
    before = warehouse.files()
    warehouse.sql(
        "update open_data.procedures set procedure_name = 'Khai sinh' where procedure_code = '1.001193'"
    )
    assert warehouse.publish().number == 2
    old = warehouse.home / "open-data/releases/000001"
    assert {str(p.relative_to(old)): p.read_bytes() for p in old.rglob("*") if p.is_file()} == before
    assert os.readlink(warehouse.current) == "releases/000002"  # noqa: PTH115


@pytest.mark.parametrize(("provisional", "told"), [("2025-07", True), ("2025-06", False), (None, False)])
def test_a_last_period_with_provisional_rows_is_known(provisional: str | None, told: bool) -> None:
    months = ["2025-06", "2025-06", "2025-07"]
    batch = pa.RecordBatch.from_pylist([{"month": m, "early": m == provisional} for m in months])
    seen = Seen("month", None, "early")
    assert [b.num_rows for b in seen.watch([batch])] == [3]
    assert seen.period("here") == (date(2025, 6, 1), date(2025, 7, 31))
    assert seen.ends_provisional() is told
    assert seen.whole_until() == (date(2025, 6, 30) if told else date(2025, 7, 31))


def test_a_code_outside_its_list_stops_the_release_by_both_standards(warehouse: Warehouse) -> None:
    """Neither message repeats what stands in the cell."""
    warehouse.sql("update open_data.administrative_units set level = 'tỉnh lẻ' where unit_code = '28249'")
    with pytest.raises(ReleaseError) as refused:
        warehouse.publish()
    told = str(refused.value)
    assert "administrative-units-csv: constraint-error in column level (1 times)" in told
    assert "administrative-units.real.csv is not valid as CSV on the Web" in told
    assert "tỉnh lẻ" not in told


def test_a_dataset_that_is_declared_no_more_is_told_until_it_is_withdrawn(warehouse: Warehouse) -> None:
    warehouse.publish()
    before = warehouse.files()
    (gone,) = [k for k, e in warehouse.manifest["exposures"].items() if e["label"] == "procedures"]
    del warehouse.manifest["exposures"][gone]
    (warehouse.approvals / "procedures.yml").unlink()
    with pytest.raises(
        ReleaseError,
        match=r"release 000001 and no longer declared .*procedures.*\n- python -m opendata withdraw procedures --by",
    ):
        warehouse.publish()
    assert warehouse.files() == before
    withdraw(warehouse.home, "procedures", "Sở", Text("Trùng với danh mục khác", "Same as another"))
    assert warehouse.publish().number == 2
    assert "Trùng với danh mục khác" in (warehouse.current / "procedures" / "index.html").read_text()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("Hồ sơ của 003199123456", "identity number"),
        ("CMND-311234567", "identity number"),
        ("gọi 0912 345 678", "telephone number"),
        ("+84912345678", "telephone number"),
        ("thu@example.vn", "e-mail address"),
        ("id1_0123456789abcdef0123456789abcdef", "reference of the vault"),
    ],
)
def test_personal_data_in_a_finished_file_stops_the_release(
    warehouse: Warehouse, value: str, kind: str
) -> None:
    warehouse.publish()
    before = warehouse.files()
    warehouse.sql(
        f"update open_data.procedures set procedure_name = '{value}' where procedure_code = '1.001193'"
    )
    with pytest.raises(ReleaseError) as refusal:
        warehouse.publish()
    message = str(refusal.value)
    assert (
        f"procedures/procedures.real.csv, column procedure_name: 1 row(s) hold what looks like: {kind}"
        in message
    )
    assert "procedures.real.parquet" in message
    assert value not in message
    assert warehouse.files() == before


def test_a_name_in_a_finished_file_stops_the_release(warehouse: Warehouse) -> None:
    warehouse.sql(
        "update open_data.administrative_units set unit_name = 'Nguyễn Thị Hồng' where unit_code = '28249'"
    )
    with pytest.raises(
        ReleaseError, match=r"real\.csv, column unit_name: 1 row.*name of a person"
    ) as refusal:
        warehouse.publish()
    assert "Hồng" not in str(refusal.value)


def test_an_identity_number_stored_as_a_number_is_found_too(warehouse: Warehouse) -> None:
    warehouse.sql(
        "alter table open_data.administrative_units alter unit_code type bigint using 3199123400 + unit_code::bigint"
    )
    warehouse.model("administrative_units")["columns"]["unit_code"]["data_type"] = "bigint"
    with pytest.raises(ReleaseError, match=r"column unit_code: 3 row\(s\).*as a whole number"):
        warehouse.publish()


def test_amounts_with_a_unit_are_no_identity_numbers(warehouse: Warehouse) -> None:
    warehouse.sql("update open_data.procedures set fee_vnd = 312345678")
    assert warehouse.publish().created


def test_rows_of_two_origins_are_refused(warehouse: Warehouse) -> None:
    warehouse.sql("update open_data.procedures set origin = 'simulated' where procedure_code = '1.001193'")
    with pytest.raises(ReleaseError, match=r"procedures: its rows must be of one origin.*real, simulated"):
        warehouse.publish()


def test_simulated_rows_are_never_called_published_by_the_portal(warehouse: Warehouse) -> None:
    warehouse.sql("update open_data.service_index_766 set origin = 'simulated'")
    with pytest.raises(ReleaseError, match=r"service-index-766.*true of real captures only"):
        warehouse.publish()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("delete from {procedures}", "open_data.procedures has no rows"),
        ("alter table {procedures} rename fee_vnd to fee", "open_data.procedures cannot be read"),
        (
            "insert into {procedures} select * from {procedures}",
            r"procedures: 4 row\(s\) repeat the key \(procedure_code\)",
        ),
        ("update {monthly} set overdue_count = -1", "column overdue_count holds a count below zero"),
    ],
)
def test_bad_input_gives_a_clear_message_and_no_change(
    warehouse: Warehouse, statement: str, message: str
) -> None:
    warehouse.publish()
    before = warehouse.files()
    warehouse.sql(
        statement.format(procedures="open_data.procedures", monthly="open_data.dossier_results_monthly")
    )
    with pytest.raises(ReleaseError, match=message):
        warehouse.publish()
    assert warehouse.files() == before
    assert not list((warehouse.home / "open-data/releases").glob(".*"))


def test_parquet_says_how_it_is_sorted_and_what_each_column_spans(warehouse: Warehouse) -> None:
    warehouse.publish()
    file = pq.ParquetFile(warehouse.current / "procedures/procedures.real.parquet")
    group = file.metadata.row_group(0)
    assert [column.column_index for column in group.sorting_columns] == [0]
    assert group.column(0).statistics.min == "1.000894"
    assert group.column(0).statistics.max == "2.000635"


def test_the_same_rows_give_the_same_bytes_in_every_format(warehouse: Warehouse) -> None:
    warehouse.publish()
    first = {name: data for name, data in warehouse.files().items() if name.endswith(ENDINGS)}
    shutil.rmtree(warehouse.home / "open-data")
    time.sleep(1.1)  # a workbook and its archive keep whole seconds
    warehouse.publish()
    assert {name: data for name, data in warehouse.files().items() if name.endswith(ENDINGS)} == first


@pytest.mark.parametrize(
    ("damage", "recorded", "told"),
    [
        (lambda data: data + b" ", False, r"procedures.real.jsonl: size or checksum differs from the record"),
        (lambda data: data[: data[:-1].rfind(b"\n") + 1], True, r"procedures.real.jsonl: 3 rows, 4 recorded"),
        (
            lambda data: data.replace(b'"procedure_name"', b'"name"'),
            True,
            r"procedures.real.jsonl: columns procedure_code, name, fee_vnd",
        ),
        (
            lambda data: data.replace(b'"fee_vnd":15000', b'"fee_vnd":null'),
            True,
            r"procedures.real.jsonl: column\(s\) fee_vnd hold more or fewer values than Parquet",
        ),
    ],
    ids=["a byte more", "a row is lost", "a column is named otherwise", "a value is lost"],
)
def test_a_file_that_is_not_what_was_to_be_written_stops_the_release(
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
    recorded: bool,
    told: str,
) -> None:
    """The disk gives back something else, or the writer wrote it so: readers keep what they had."""
    warehouse.publish()
    before = warehouse.files()
    warehouse.sql("update open_data.procedures set procedure_name = 'Mới' where procedure_code = '1.001193'")
    write = release.write_files

    def damaged(*given: Any) -> list[FileRecord]:
        written = write(*given)
        for at, file in enumerate(written):
            if file.path == "procedures/procedures.real.jsonl":
                path = given[2].parent / file.path
                path.write_bytes(damage(path.read_bytes()))
                written[at] = record(path, given[2].parent, "jsonl") if recorded else file
        return written

    monkeypatch.setattr(release, "write_files", damaged)
    with pytest.raises(ReleaseError, match=told):
        warehouse.publish()
    assert warehouse.files() == before


def test_a_gate_that_says_no_without_raising_stops_the_release(warehouse: Warehouse) -> None:
    with pytest.raises(ReleaseError, match="gate did not succeed"):
        warehouse.publish(gate=lambda folder: {"success": False})
    assert not warehouse.current.exists()


def test_a_control_character_stops_the_release(warehouse: Warehouse) -> None:
    warehouse.sql(
        "update open_data.procedures set procedure_name = E'a\\x07b' where procedure_code = '1.001193'"
    )
    with pytest.raises(ReleaseError, match=r"open_data.procedures: a text holds control characters"):
        warehouse.publish()


def test_a_full_disk_is_told_and_leaves_nothing_behind(warehouse: Warehouse) -> None:
    warehouse.publish()
    before = warehouse.files()
    warehouse.sql(
        "insert into open_data.procedures select '3.' || n, repeat('x', 900), n, '', 'real' "
        "from generate_series(1000, 1300) n"
    )
    code = (
        "import resource, signal, sys; from pathlib import Path; from datetime import date;"
        "from opendata.release import ReleaseError, publish; home = Path(sys.argv[1]);"
        # A file may not grow beyond this, as if the disk ended there.
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); approvals = Path(sys.argv[3]);\n"
        "try: publish(home, home / 'manifest.json', sys.argv[2], 7, approvals=approvals, today=date(2026, 11, 20))\n"
        "except ReleaseError as refusal: print(refusal)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(warehouse.home), warehouse.url, str(warehouse.approvals)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "No room for the release in" in done.stdout, done.stderr
    assert "MiB free" in done.stdout
    assert warehouse.files() == before
    assert not list((warehouse.home / "open-data/releases").glob(".*"))


def test_a_gate_sees_the_built_release_and_can_stop_it(warehouse: Warehouse) -> None:
    def shut(folder: Path) -> None:
        assert folder.name.startswith(".building-")
        assert (folder / "release.json").exists()
        raise RuntimeError("shut")

    with pytest.raises(RuntimeError, match="shut"):
        warehouse.publish(gate=shut)
    assert not warehouse.current.exists()
    assert not list((warehouse.home / "open-data/releases").iterdir())
    warehouse.publish(gate=lambda folder: {"gate": "release", "success": True})
    assert json.loads(warehouse.files()["release.json"])["gate"] == {"gate": "release", "success": True}


def test_leftovers_of_a_killed_build_are_removed(warehouse: Warehouse) -> None:
    leftover = warehouse.home / "open-data/releases/.building-4711"
    leftover.mkdir(parents=True)
    (leftover / "half.csv").write_text("a")
    (warehouse.home / "open-data/.current-4711").symlink_to("nowhere")
    warehouse.publish()
    assert not leftover.exists()
    assert not (warehouse.home / "open-data/.current-4711").is_symlink()


def test_a_whole_release_killed_before_the_switch_is_switched_in(warehouse: Warehouse) -> None:
    warehouse.publish()
    warehouse.current.unlink()
    outcome = warehouse.publish()
    assert (outcome.created, outcome.number) == (True, 1)
    assert warehouse.files()


def _publish_in_process(home: Path, url: str, approvals: Path) -> None:
    publish(home, home / "manifest.json", url, 7, approvals=approvals, today=TODAY)


def test_two_publishers_at_once_make_one_release(warehouse: Warehouse) -> None:
    warehouse.write_manifest()
    arguments = (warehouse.home, warehouse.url, warehouse.approvals)
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=_publish_in_process, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert [path.name for path in (warehouse.home / "open-data/releases").iterdir()] == ["000001"]


def test_the_command_line_makes_no_release_that_no_gate_has_judged(warehouse: Warehouse) -> None:
    command = [sys.executable, "-m", "opendata", "release", "--home", str(warehouse.home)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, "invalid choice: 'release'" in run.stderr) == (2, True)
    assert not warehouse.current.exists()


def test_a_warehouse_that_does_not_answer_is_told_without_its_password(warehouse: Warehouse) -> None:
    warehouse.url = "postgresql://kho:geheim@127.0.0.1:1/postgres"
    with pytest.raises(ReleaseError, match="does not answer") as refused:
        warehouse.publish()
    assert "geheim" not in str(refused.value)


def test_a_missing_approval_stops_everything(warehouse: Warehouse) -> None:
    (warehouse.approvals / "procedures.yml").unlink()
    with pytest.raises(
        CatalogueError, match=r"dataset procedures: no approval; record the decision in .*procedures.yml"
    ):
        warehouse.publish()
    assert not (warehouse.home / "open-data").exists()


def look_long(folder: Path) -> dict[str, object]:
    """A gate that reads every table of the release it judges, as the real one does, in its own time."""
    rows = sum(pq.read_table(path).num_rows for path in folder.rglob("*.parquet"))
    time.sleep(1)
    return {"gate": "release", "success": True, "rows": rows}


@pytest.mark.prove
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("more", [0, 100_000], ids=["small", "a hundred thousand rows"])
def test_killed_at_twenty_moments_readers_always_see_a_whole_release(warehouse: Warehouse, more: int) -> None:
    """In reading, writing, verifying, in the gate, in the pages and the switch; at a real size, too."""
    warehouse.sql(
        "insert into open_data.procedures select '9.' || n, 'Thủ tục ' || n, n, '', 'real' "
        f"from generate_series(100000, {99_999 + more}) n"
    )
    took = warehouse.publish(look_long).seconds
    moments = random.Random(766)  # anywhere in a release, and a little after it
    command = [sys.executable, "-c", (
        "import sys; from pathlib import Path; from datetime import date; from opendata.release import publish;"
        "from tests.opendata.test_release import look_long;"
        "home = Path(sys.argv[1]); sys.stdout.write('ready\\n'); sys.stdout.flush();"
        "publish(home, home / 'manifest.json', sys.argv[2], 7, look_long, approvals=Path(sys.argv[3]),"
        "today=date(2026, 11, 20))"
    ), str(warehouse.home), warehouse.url, str(warehouse.approvals)]  # fmt: skip
    before = warehouse.files()
    judged = 0
    for attempt in range(20):
        warehouse.sql(
            f"update open_data.procedures set procedure_name = 'Lần {attempt}' where procedure_code = '1.001193'"
        )
        with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
            assert run.stdout
            run.stdout.readline()
            time.sleep(moments.uniform(0, 1.2 * took))
            judged += any((warehouse.home / "open-data/releases").glob(".building-*/*/schema-org.jsonld"))
            run.send_signal(signal.SIGKILL)
        now = warehouse.files()
        assert json.loads(now["release.json"])["gate"]["success"], "readers have only what a gate has judged"
        assert (
            now == before
            or b"L\xe1\xba\xa7n " + str(attempt).encode() in now["procedures/procedures.real.csv"]
        )
        warehouse.publish(look_long)
        before = warehouse.files()
        assert f"Lần {attempt}".encode() in before["procedures/procedures.real.csv"]
        assert not list((warehouse.home / "open-data/releases").glob(".building-*"))
    assert judged > 2, "some fell into verifying, the gate or the pages"


def test_what_a_withdrawn_dataset_told_stays_known(warehouse: Warehouse) -> None:
    warehouse.publish()
    withdraw(warehouse.home, "dossier-results-monthly", "Sở", Text("Nhầm.", "A mistake."))
    facts = remember(warehouse.home / "open-data" / "releases")
    told = [cells for (universe, _), cells in facts.items() if universe == ("dossiers received", "simulated")]
    assert sum(map(len, told)) == 62
    assert (warehouse.home / "open-data" / "disclosed.parquet").exists()
