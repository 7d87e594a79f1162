"""From one release to the next: what changed, what must be agreed to, what is taken back, what is kept."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rdflib import RDF, Graph
from rdflib.namespace import DCAT

from opendata import history
from opendata.__main__ import main as opendata_main
from opendata.catalogue import APPROVALS, CatalogueError, Column, Resource, Text, _limits
from opendata.difference import FEW, compare
from opendata.release import ReleaseError, restore, withdraw
from tests.opendata.conftest import Warehouse

REASON = Text("Có thể nhận ra người nộp", "Applicants could be recognised")
OFFICE = "Sở Khoa học và Công nghệ"
ROLE = "Phó Giám đốc phụ trách dữ liệu"
MANY = (
    "insert into open_data.procedures select '3.' || n, 'Thủ tục ' || n, 0, '', 'real' "
    "from generate_series(1001, 1040) n"
)


def changelog(warehouse: Warehouse, dataset: str) -> list[dict]:
    return json.loads(warehouse.files()[f"{dataset}/changelog.json"])


def test_what_changed_is_told_row_by_row_and_in_the_changelog(warehouse: Warehouse) -> None:
    warehouse.publish()
    warehouse.sql("update open_data.procedures set fee_vnd = 9 where procedure_code = '1.001193'")
    warehouse.sql("delete from open_data.procedures where procedure_code = '1.000894'")
    warehouse.sql("insert into open_data.procedures values ('9.000001', 'Thủ tục mới', 1, '', 'real')")
    warehouse.publish()
    lines = list(
        csv.DictReader(
            io.StringIO(warehouse.files()["procedures/procedures.real.changes.csv"].decode("utf-8-sig"))
        )
    )
    assert [(r["change"], r["procedure_code"], r["column"], r["before"], r["after"]) for r in lines] == [
        ("removed", "1.000894", "", "", ""),
        ("revised", "1.001193", "fee_vnd", "0", "9"),
        ("added", "9.000001", "", "", ""),
    ]
    newest, first = changelog(warehouse, "procedures")
    assert (newest["release"], first["release"]) == (2, 1)
    told = newest["tables"][0]["changes"]
    assert (told["against"], told["added"], told["removed"], told["revised"]) == (1, 1, 1, 1)
    assert first["tables"][0]["changes"] is None


def test_a_spreadsheet_opens_the_changes_with_their_accents_and_runs_nothing(warehouse: Warehouse) -> None:
    warehouse.publish()
    warehouse.sql(
        "update open_data.procedures set procedure_name = '=cmd|calc' where procedure_code = '1.001193'"
    )
    warehouse.sql("update open_data.procedures set fee_vnd = -5 where procedure_code = '1.004227'")
    warehouse.publish()
    written = warehouse.files()["procedures/procedures.real.changes.csv"]
    assert written.startswith(b"\xef\xbb\xbf")
    lines = list(csv.DictReader(io.StringIO(written.decode("utf-8-sig"))))
    assert [(line["before"], line["after"]) for line in lines] == [
        ("Đăng ký khai sinh", "'=cmd|calc"),
        ("15000", "-5"),
    ]


def test_what_looks_like_a_person_is_found_in_the_changes_too(warehouse: Warehouse) -> None:
    """Only the value that is gone looks like one: the finished table alone would not show it."""
    warehouse.change_approval(
        "procedures",
        disclosure={"about_persons": False, "texts": {"procedure_name": "names of procedures"}},
    )
    warehouse.sql(
        "update open_data.procedures set procedure_name = 'Nguyễn Văn An' where procedure_code = '1.001193'"
    )
    warehouse.publish()
    warehouse.change_approval("procedures", disclosure={"about_persons": False})
    warehouse.sql(
        "update open_data.procedures set procedure_name = 'Khai sinh' where procedure_code = '1.001193'"
    )
    with pytest.raises(
        ReleaseError, match=r"procedures\.real\.changes\.csv, column before of procedure_name: 1 row"
    ) as told:
        warehouse.publish()
    assert "Nguyễn" not in str(told.value)


def test_files_that_did_not_change_are_kept_once(warehouse: Warehouse) -> None:
    warehouse.publish()
    warehouse.sql("update open_data.procedures set fee_vnd = 9 where procedure_code = '1.001193'")
    warehouse.publish()
    releases = warehouse.home / "open-data/releases"

    def file(number: int, name: str) -> Path:
        return releases / f"{number:06d}" / name

    same = "administrative-units/administrative-units.real.parquet"
    assert file(1, same).stat().st_ino == file(2, same).stat().st_ino
    changed = "procedures/procedures.real.csv"
    assert file(1, changed).stat().st_ino != file(2, changed).stat().st_ino


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("delete from open_data.procedures where procedure_code > '3.1010'", "rows lost"),
        ("insert into open_data.procedures select procedure_code || 'x', procedure_name, fee_vnd, '', 'real' "
         "from open_data.procedures", "rows were added to what was final"),
        ("update open_data.procedures set fee_vnd = 5 where procedure_code > '3.1010'", "rows were revised"),
        ("delete from open_data.dossier_results_monthly where month = '2025-07-01'", "nothing is left of 2025-07-01"),
    ],
)  # fmt: skip
def test_a_change_beyond_the_limits_needs_somebodys_word(
    warehouse: Warehouse, statement: str, told: str
) -> None:
    warehouse.sql(MANY)
    warehouse.publish()
    before = warehouse.files()
    warehouse.sql(statement)
    with pytest.raises(ReleaseError) as refused:
        warehouse.publish()
    assert told in str(refused.value)
    assert "against release 000001" in str(refused.value)
    assert warehouse.files() == before
    agreed = [
        {
            "against_release": 1,
            "decided_by": OFFICE,
            "role": ROLE,
            "decided_on": date(2026, 11, 19),
            "reason": {"vi": "Rà soát", "en": "Reviewed"},
        }
    ]
    for name in ("procedures", "dossier-results-monthly"):
        warehouse.change_approval(name, approved_changes=agreed)
    assert warehouse.publish().number == 2
    assert changelog(warehouse, "procedures")[0]["approved"] == [
        {"decided_by": OFFICE, "role": ROLE, "decided_on": "2026-11-19", "vi": "Rà soát", "en": "Reviewed"}
    ]
    page = warehouse.files()["procedures/index.html"].decode()
    assert f'Lý do: Rà soát (quyết định của <span lang="vi">{ROLE}, {OFFICE}</span>, 19/11/2026)' in page


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"decided_by": " "}, "need .*decided_by"),
        ({"role": None}, "need .*role"),
        ({"decided_on": date(2027, 1, 1)}, "2027-01-01 is in the future"),
    ],
)
def test_a_word_without_its_office_or_from_the_future_is_a_gap(
    warehouse: Warehouse, change: dict[str, object], told: str
) -> None:
    word = {"against_release": 1, "decided_by": OFFICE, "role": ROLE, "decided_on": date(2026, 11, 19),
            "reason": {"vi": "a", "en": "b"}} | change  # fmt: skip
    warehouse.change_approval("procedures", approved_changes=[word])
    with pytest.raises(CatalogueError, match=f"approved_changes.* {told}"):
        warehouse.publish()


def test_another_release_is_not_covered_by_an_old_word(warehouse: Warehouse) -> None:
    agreed = [{"against_release": 7, "decided_by": OFFICE, "role": ROLE, "decided_on": date(2026, 11, 19),
               "reason": {"vi": "a", "en": "b"}}]  # fmt: skip
    warehouse.change_approval("procedures", approved_changes=agreed)
    warehouse.sql(MANY)
    warehouse.publish()
    warehouse.sql("delete from open_data.procedures where procedure_code > '3.1010'")
    with pytest.raises(ReleaseError, match="rows lost"):
        warehouse.publish()


def test_a_renamed_column_is_a_clear_message(warehouse: Warehouse) -> None:
    warehouse.publish()
    before = warehouse.files()
    warehouse.sql("alter table open_data.procedures rename fee_vnd to fee")
    columns = warehouse.model("procedures")["columns"]
    columns["fee"] = {**columns.pop("fee_vnd"), "name": "fee"}
    with pytest.raises(ReleaseError, match=r"column\(s\) fee_vnd are gone, fee are new \(renamed\?\)"):
        warehouse.publish()
    assert warehouse.files() == before


def test_a_name_used_again_for_other_rows_leads_to_a_withdrawal_that_works(warehouse: Warehouse) -> None:
    """The message names the commands; done as it says, the old releases have a notice and the new dataset begins."""
    warehouse.publish()
    before = warehouse.files()
    warehouse.sql(
        "alter table open_data.procedures rename procedure_code to form_code; "
        "update open_data.procedures set form_code = 'M' || form_code"
    )
    model = warehouse.model("procedures")
    model["columns"]["form_code"] = {**model["columns"].pop("procedure_code"), "name": "form_code"}
    model["config"]["meta"]["keys"] = ["form_code"]
    with pytest.raises(ReleaseError, match="its rows are named by other columns") as refused:
        warehouse.publish()
    assert warehouse.files() == before
    for word in ("withdraw", "restore"):
        (command,) = re.findall(rf"`python -m opendata ({word} procedures[^`]*)`", str(refused.value))
        words = shlex.split(command.replace("<office>", shlex.quote(OFFICE)))
        assert opendata_main([*words, "--home", str(warehouse.home)]) == 0
    assert warehouse.publish().number == 2
    (path,) = (warehouse.current / "procedures").glob("*.parquet")
    assert "form_code" in pq.read_table(path).column_names
    assert changelog(warehouse, "procedures")[0]["tables"][0]["changes"] is None
    assert not list((warehouse.current / "procedures").glob("*.changes.csv"))
    old = warehouse.home / "open-data/releases/000001/procedures"
    assert {path.name for path in old.iterdir()} == {"en", "index.html", "withdrawn.json"}


def test_a_dataset_waits_for_its_first_rows_and_is_never_emptied_again(warehouse: Warehouse) -> None:
    warehouse.sql(
        "create table kept as table open_data.service_index_766; truncate open_data.service_index_766"
    )
    done = warehouse.publish()
    assert "without rows so far, and so not in it: service-index-766" in done.message
    assert "service-index-766" not in done.rows
    warehouse.sql("insert into open_data.service_index_766 table kept; drop table kept")
    assert warehouse.publish().rows["service-index-766"] == 2
    warehouse.sql("truncate open_data.service_index_766")
    with pytest.raises(ReleaseError, match=r"open_data.service_index_766 has no rows"):
        warehouse.publish()


def test_an_empty_month_is_refused(warehouse: Warehouse) -> None:
    warehouse.sql(
        "insert into open_data.dossier_results_monthly values "
        "('2025-08-01', 'LV01', 'Lĩnh vực 1', 1, 0, 0, 0, 'simulated')"
    )
    with pytest.raises(
        ReleaseError, match="counts nothing at all in 2025-08-01; an empty month is not published"
    ):
        warehouse.publish()


def test_rows_that_were_provisional_and_new_months_are_no_revision(tmp_path: Path) -> None:
    text = Text("", "")
    resource = Resource(
        "t", "t", text, text, (), ("month", "place"), None, "real", "month",
        provisional_column="is_provisional",
    )  # fmt: skip

    def table(name: str, rows: list[tuple[str, str, int, bool]]) -> Path:
        names = ("month", "place", "count", "is_provisional")
        pq.write_table(
            pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), tmp_path / name
        )
        return tmp_path / name

    old = table("old", [("2025-06", "a", 1, False), ("2025-06", "b", 2, False), ("2025-07", "a", 3, True)])
    new = table("new", [("2025-06", "a", 9, False), ("2025-07", "a", 8, False), ("2025-07", "b", 1, False),
                        ("2025-08", "a", 1, True), ("2025-06", "c", 1, False)])  # fmt: skip
    found = compare(old, new, resource, 4)
    assert (found.added, found.removed, found.revised) == (3, 1, 2)
    assert (found.final_before, found.final_added, found.final_removed, found.final_revised) == (2, 1, 1, 1)
    assert compare(old, new, resource, 4, ["count"]).final_revised == 0


def test_a_quarter_that_goes_from_districts_to_communes_is_no_loss_but_revised_final_rows_are(
    tmp_path: Path,
) -> None:
    """With the limits that the approval of the quarterly timeliness has."""
    record = yaml.safe_load((APPROVALS / "timeliness-by-commune-quarterly.yml").read_text(encoding="utf-8"))
    gaps: list[str] = []
    limits = _limits(record.get("limits"), gaps)
    assert not gaps
    text = Text("", "")
    resource = Resource(
        "t", "t", text, text, (), ("quarter", "area"), None, "real", "quarter",
        provisional_column="is_provisional",
    )  # fmt: skip
    final = [("2025-Q2", f"commune {n}", 20, False) for n in range(50)]

    def table(name: str, rows: list[tuple[str, str, int, bool]]) -> Path:
        columns = zip(("quarter", "area", "late", "is_provisional"), zip(*rows, strict=True), strict=True)
        pq.write_table(pa.table({column: list(values) for column, values in columns}), tmp_path / name)
        return tmp_path / name

    old = table("old", final + [("2025-Q3", f"district {n}", 90, True) for n in range(20)])
    closed = table("closed", final + [("2025-Q3", f"commune {n}", 20, False) for n in range(50)])
    found = compare(old, closed, resource, 4)
    assert (found.removed, found.final_removed, found.final_added, found.final_revised) == (20, 0, 0, 0)
    revised = table("revised", [(q, area, late + 1, open_) for q, area, late, open_ in final])
    found = compare(table("before", final), revised, resource, 4)
    assert 100 * found.final_revised / found.final_before > limits.revise
    fewer = compare(table("whole", final), table("fewer", final[:30]), resource, 4)
    assert 100 * fewer.final_removed / fewer.final_before > limits.shrink


#: What a month brings to the final rows of each table: keys, number before, number after. A closed month of papers is
#: some hundredths fuller, the last one by a third; the index moves by what came late; citizens count up to the day.
MONTHS = [f"2025-{month:02d}" for month in range(1, 13)]
REVISED = {
    "digitisation-monthly": [
        (month, system, kind, 4000, 4120 if month < "2025-12" or kind == "handed_in" else 5400)
        for month in MONTHS for system in ("a", "b") for kind in ("handed_in", "result")
    ],
    "service-index-766-counted": [
        (month, province, indicator, 9000, 9180)
        for month in MONTHS for province in ("H20", "H58") for indicator in "abcdefgh"
    ],
    "citizen-check-coverage": [
        (province, outcome, "", 5000, 9000) for province in ("H20", "H58") for outcome in "abcdef"
    ],
}  # fmt: skip


@pytest.mark.parametrize("dataset", sorted(REVISED))
def test_a_months_usual_revision_passes_and_a_landslide_needs_somebodys_word(
    dataset: str, tmp_path: Path
) -> None:
    """With the limits that each dataset's approval has."""
    record = yaml.safe_load((APPROVALS / f"{dataset}.yml").read_text(encoding="utf-8"))
    gaps: list[str] = []
    limits = _limits(record["limits"], gaps)
    assert not gaps
    assert limits.revise < 100
    text = Text("", "")
    resource = Resource(
        "t", "t", text, text, (Column("n", "integer", text),), ("a", "b", "c"), None, "simulated", None
    )

    def table(name: str, values: list[int | None]) -> Path:
        a, b, c = zip(*(row[:3] for row in REVISED[dataset]), strict=True)
        held = pa.array(values, pa.int32())
        pq.write_table(pa.table({"a": a, "b": b, "c": c, "n": held}), tmp_path / name)
        return tmp_path / name

    def revised(values: list[int | None]) -> float:
        found = compare(old, table("new", values), resource, 4, (), limits)
        assert found.revised == len(values), "all that changed is listed"
        return 0.0 if found.final_revised <= FEW else 100 * found.final_revised / found.final_before

    old = table("old", [row[3] for row in REVISED[dataset]])
    assert revised([row[4] for row in REVISED[dataset]]) <= limits.revise
    assert revised([row[3] // 2 for row in REVISED[dataset]]) > limits.revise, "half is gone"
    assert revised([None for _ in REVISED[dataset]]) > limits.revise, "nothing can be seen"
    doubled = revised([2 * row[3] for row in REVISED[dataset]])
    assert (doubled > limits.revise) == (not limits.running)


def test_a_withdrawal_leaves_a_notice_in_every_release(warehouse: Warehouse) -> None:
    warehouse.publish()
    warehouse.sql("update open_data.procedures set fee_vnd = 9 where procedure_code = '1.001193'")
    warehouse.publish()
    assert withdraw(warehouse.home, "procedures", OFFICE, REASON) == 2
    root = warehouse.home / "open-data"
    for number in ("000001", "000002"):
        folder = root / "releases" / number / "procedures"
        assert {path.name for path in folder.iterdir()} == {"en", "index.html", "withdrawn.json"}
        page = (folder / "index.html").read_text(encoding="utf-8")
        assert REASON.vi in page
        assert OFFICE in page
        assert (root / "archive" / number / "procedures" / "procedures.real.parquet").exists()
    graph = Graph().parse(warehouse.current / "catalog.ttl")
    assert len(list(graph.subjects(RDF.type, DCAT.Dataset))) == 3
    assert not [part for triple in graph for part in triple if "/procedures" in str(part)]
    assert withdraw(warehouse.home, "procedures", OFFICE, REASON) == 0

    third = warehouse.publish()
    assert third.number == 3
    assert "procedures" not in third.rows
    assert REASON.en in (warehouse.current / "procedures" / "index.html").read_text(encoding="utf-8")
    assert restore(warehouse.home, "procedures")
    assert warehouse.publish().rows["procedures"] == 4
    assert not (root / "releases" / "000002" / "procedures" / "procedures.real.csv").exists()


def test_nothing_lists_a_dataset_from_the_moment_it_is_withdrawn(warehouse: Warehouse) -> None:
    """Filters that only it had are gone, its words are found no more, and the release before stays as it was."""
    warehouse.publish()
    warehouse.sql(
        "update open_data.administrative_units set unit_name = 'Tỉnh khác' where valid_from < '2005-01-01'"
    )
    warehouse.publish()
    title = "Kết quả giải quyết hồ sơ theo tháng"
    listed = {name for name, data in warehouse.files().items() if title in data.decode("utf-8", "ignore")}
    assert {"index.html", "danh-muc/index.html", "feed.atom", "release.json"} <= listed
    old = (warehouse.home / "open-data/releases/000001/index.html").read_bytes()
    withdraw(warehouse.home, "dossier-results-monthly", OFFICE, REASON)

    files = warehouse.files()
    left = {
        name
        for name, data in files.items()
        if b"dossier-results-monthly" in data or title in data.decode("utf-8", "ignore")
    }
    assert left == {
        "release.json", "disclosure.json", "dossier-results-monthly/index.html",
        "dossier-results-monthly/en/index.html",
        "dossier-results-monthly/withdrawn.json",
    }  # fmt: skip
    document = json.loads(files["release.json"])
    assert document["withdrawn"] == ["dossier-results-monthly"]
    assert len(document["datasets"]) == 3
    assert "3 bộ dữ liệu" in files["index.html"].decode()
    assert "danh-muc/place-82/index.html" not in files
    assert not [name for name in files if "/." in name or name.startswith(".")]
    assert (warehouse.home / "open-data/releases/000001/index.html").read_bytes() == old
    assert not list((warehouse.home / "open-data/releases").glob(".*"))


def test_what_is_restored_is_judged_against_what_was_withdrawn(warehouse: Warehouse) -> None:
    warehouse.sql(MANY)
    warehouse.publish()
    withdraw(warehouse.home, "procedures", OFFICE, REASON)
    warehouse.publish()
    restore(warehouse.home, "procedures")
    warehouse.sql(
        "update open_data.procedures set procedure_name = 'Thủ tục khác' where procedure_code > '3.1010'"
    )
    with pytest.raises(ReleaseError, match=r"procedures, against release 000001: 30 rows were revised, 68"):
        warehouse.publish()
    word = {"against_release": 1, "decided_by": OFFICE, "role": ROLE, "decided_on": date(2026, 11, 19),
            "reason": {"vi": "Sửa tên", "en": "Names mended"}}  # fmt: skip
    warehouse.change_approval("procedures", approved_changes=[word])
    assert warehouse.publish().number == 3
    newest, first = changelog(warehouse, "procedures")
    assert (newest["release"], first["release"]) == (3, 1)
    told = newest["tables"][0]["changes"]
    assert (told["against"], told["revised"]) == (1, 30)
    assert newest["approved"][0]["decided_by"] == OFFICE
    assert not list((warehouse.current / "procedures").glob("*.changes.csv")), (
        "it would show what was withdrawn"
    )


def test_a_withdrawal_killed_half_way_is_finished_by_the_next_release(warehouse: Warehouse) -> None:
    warehouse.publish()
    root = warehouse.home / "open-data"
    history.record_withdrawal(
        root, history.Withdrawal("procedures", "2026-11-20T00:00:00+00:00", OFFICE, REASON, REASON)
    )
    (root / "archive/000001").mkdir(parents=True)
    (root / "releases/000001/procedures").rename(root / "archive/000001/procedures")
    assert "procedures" not in warehouse.publish().rows
    assert (root / "releases/000001/procedures/withdrawn.json").exists()


def test_withdrawing_what_is_not_there_names_what_is(warehouse: Warehouse) -> None:
    warehouse.publish()
    with pytest.raises(ReleaseError, match=r"looked for dataset 'procedure'.*administrative-units, dossier"):
        withdraw(warehouse.home, "procedure", OFFICE, REASON)
    with pytest.raises(ReleaseError, match="needs who decided it"):
        withdraw(warehouse.home, "procedures", OFFICE, Text("", ""))


def test_the_command_withdraws_and_restores(warehouse: Warehouse) -> None:
    warehouse.publish()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "opendata", *words, "--home", str(warehouse.home)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    reason = ("--by", OFFICE, "--reason-vi", REASON.vi, "--reason-en", REASON.en)
    assert "procedures is withdrawn from 1 release(s)" in run("withdraw", "procedures", *reason).stdout
    refused = run("withdraw", "nothing", *reason)
    assert (refused.returncode, "found none" in refused.stderr, "Traceback" in refused.stderr) == (
        1,
        True,
        False,
    )
    assert "may be published again" in run("restore", "procedures").stdout
    assert run("restore", "procedures").returncode == 1


def test_old_releases_go_but_for_the_last_of_each_month() -> None:
    made = [
        (n, date(2025, month, day))
        for n, (month, day) in enumerate([(1, 5), (1, 31), (2, 1), (2, 2), (3, 1)], 1)
    ]
    assert history.expired(made, date(2026, 12, 1), current=5) == {1: 2, 3: 4}
    assert history.expired(made, date(2026, 2, 20), current=5) == {1: 2}
    assert history.expired(made, date(2026, 12, 1), current=3) == {1: 2}
    assert history.expired(made, date(2025, 3, 2), current=5) == {}


def test_a_release_past_its_time_leaves_a_notice_and_its_rows_to_disclosure_control(
    warehouse: Warehouse,
) -> None:
    warehouse.publish()
    for fee in (9, 10):
        warehouse.sql(f"update open_data.procedures set fee_vnd = {fee} where procedure_code = '1.001193'")
        warehouse.publish()
    root = warehouse.home / "open-data"
    for number in (1, 2):
        path = root / f"releases/00000{number}/release.json"
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | {"created_at": f"2025-01-0{number}T00:00:00+00:00"}))
    assert history.put_away(root, date(2026, 11, 20)) == [1]
    assert {path.name for path in (root / "releases/000001").iterdir()} == {"index.html", "release.json"}
    assert "000002" in (root / "releases/000001/index.html").read_text(encoding="utf-8")
    assert (root / "archive/000001/procedures/procedures.real.parquet").exists()
    assert (root / "releases/000002/procedures/procedures.real.parquet").exists()
    assert history.put_away(root, date(2026, 11, 20)) == []
