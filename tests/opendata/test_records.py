"""The records of a release, read by those who would read them: validators, catalogues, search engines, people."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from functools import cache
from pathlib import Path

import csvw
import frictionless
import pyshacl
import pytest
from rdflib import DCTERMS, RDF, SH, Graph, Literal, URIRef
from rdflib.compare import isomorphic
from rdflib.namespace import DCAT

from opendata.catalogue import CatalogueError
from opendata.dcat import SPDX, read_portal
from opendata.periods import days_of
from tests.opendata.conftest import Warehouse

SHAPES = Path(__file__).parent / "fixtures" / "dcat-ap-3.0.1"
FORMATS = {"ttl": "turtle", "jsonld": "json-ld", "rdf": "xml"}
#: We hold no geometry of any place ("no borrowed boundaries").
NOT_HELD = {DCAT.bbox, DCAT.centroid}


@cache
def shapes(name: str) -> Graph:
    return Graph().parse(SHAPES / name)


def validated(graph: Graph, name: str, vocabulary: bool) -> list[tuple[str, str, str]]:
    """(severity, path, node) of every result of one file of shapes."""
    _, report, _ = pyshacl.validate(
        graph + shapes("vocabulary.ttl") if vocabulary else graph,
        shacl_graph=shapes(name),
    )
    assert isinstance(report, Graph)
    return [
        (
            str(report.value(result, SH.resultSeverity)).rpartition("#")[2],
            str(report.value(result, SH.resultPath)),
            str(report.value(result, SH.focusNode)),
        )
        for result in report.subjects(RDF.type, SH.ValidationResult)
    ]


def wrong_in(release: Path) -> list[str]:
    """All that the official shapes of DCAT-AP, CSV on the Web and Frictionless find in a release."""
    graph = Graph().parse(release / "catalog.ttl")
    wrong = [
        f"{name}: {result}"
        for name in ("html_shacl_shapes.ttl", "shacl_dcat-ap-SHACL.ttl")
        for result in validated(graph, name, vocabulary=True)
    ]
    wrong += [
        f"recommended: {result}"
        for result in validated(graph, "html_shacl_shapes_recommended.ttl", vocabulary=False)
        # A period that goes on has no last day.
        if URIRef(result[1]) not in {*NOT_HELD, DCAT.endDate}
    ]
    for path in sorted(release.glob("*/*-metadata.json")):
        read = csvw.CSVW(str(path), validate=True)
        wrong += [] if read.is_valid else [f"{path.name}: {len(read.warnings)} notes of CSV on the Web"]
    for path in sorted(release.glob("*/datapackage.json")):
        with frictionless.system.use_context(trusted=False):
            report = frictionless.Package.from_descriptor(str(path)).validate()
        wrong += [] if report.valid else [f"{path}: {report.stats}"]
    return wrong


@pytest.fixture
def released(warehouse: Warehouse) -> Warehouse:
    warehouse.publish()
    return warehouse


def test_the_catalogue_satisfies_the_official_shapes_of_dcat_ap(released: Warehouse) -> None:
    graph = Graph().parse(released.current / "catalog.ttl")
    assert len(list(graph.subjects(RDF.type, DCAT.Dataset))) == 4
    assert validated(graph, "html_shacl_shapes.ttl", vocabulary=True) == []
    assert validated(graph, "shacl_dcat-ap-SHACL.ttl", vocabulary=True) == []


def test_nothing_recommended_is_missing_that_we_hold(released: Warehouse) -> None:
    graph = Graph().parse(released.current / "catalog.ttl")
    found = validated(graph, "html_shacl_shapes_recommended.ttl", vocabulary=False)
    missing = [result for result in found if URIRef(result[1]) not in NOT_HELD]
    # A period that goes on has no last day.
    open_ended = [result for result in missing if result[1] == str(DCAT.endDate)]
    assert {node.split("/")[-2] for _, _, node in open_ended} <= {"administrative-units", "procedures"}
    assert [result for result in missing if result not in open_ended] == []


def test_of_a_whole_release_every_record_and_table_is_validated(released: Warehouse) -> None:
    release = released.current.resolve()
    assert wrong_in(release) == []
    graph = Graph().parse(release / "catalog.ttl")
    graph.remove((None, DCTERMS.publisher, None))
    graph.serialize(release / "catalog.ttl")
    plain = release / "administrative-units" / "administrative-units.real.csv"
    plain.write_text(plain.read_text(encoding="utf-8").replace("province", "kingdom"), encoding="utf-8")
    found = "\n".join(wrong_in(release))
    assert "publisher" in found
    assert "administrative-units.real.csv-metadata.json" in found
    assert "administrative-units/datapackage.json" in found


def test_the_shapes_find_what_is_wrong(released: Warehouse) -> None:
    graph = Graph().parse(released.current / "catalog.ttl")
    dataset = next(graph.subjects(RDF.type, DCAT.Dataset))
    graph.remove((dataset, DCTERMS.title, None))
    graph.set((dataset, DCTERMS.accrualPeriodicity, URIRef("http://example.org/now-and-then")))
    found = validated(graph, "shacl_dcat-ap-SHACL.ttl", vocabulary=True)
    assert {path for _, path, _ in found} == {str(DCTERMS.title), str(DCTERMS.accrualPeriodicity)}


def test_the_three_serialisations_say_the_same(released: Warehouse) -> None:
    for stem in ("catalog", "procedures/dcat"):
        turtle, *others = (
            Graph().parse(released.current / f"{stem}.{ending}", format=name)
            for ending, name in FORMATS.items()
        )
        assert len(turtle) > 50
        assert all(isomorphic(turtle, other) for other in others)


def test_checksums_and_sizes_of_the_record_are_those_of_the_files(released: Warehouse) -> None:
    graph = Graph().parse(released.current / "catalog.ttl")
    seen = 0
    for distribution in graph.subjects(RDF.type, DCAT.Distribution):
        address = str(graph.value(distribution, DCAT.downloadURL))
        data = (released.home / "open-data" / address.split("/", 3)[3]).read_bytes()
        checksum = graph.value(distribution, SPDX.checksum)
        assert str(graph.value(checksum, SPDX.checksumValue)) == hashlib.sha256(data).hexdigest()
        assert int(graph.value(distribution, DCAT.byteSize)) == len(data)  # type: ignore[arg-type]
        seen += 1
    assert seen == 5 * 5


def test_the_record_says_from_when_to_when_the_rows_speak(released: Warehouse) -> None:
    graph = Graph().parse(released.current / "dossier-results-monthly" / "dcat.ttl")
    (period,) = graph.subjects(RDF.type, DCTERMS.PeriodOfTime)
    assert graph.value(period, DCAT.startDate) == Literal(
        "2025-06-01", datatype=URIRef("http://www.w3.org/2001/XMLSchema#date")
    )
    assert str(graph.value(period, DCAT.endDate)) == "2025-07-01"


def test_csv_on_the_web_is_valid_for_every_table(released: Warehouse) -> None:
    paths = sorted(released.current.glob("*/*-metadata.json"))
    assert len(paths) == 5
    for path in paths:
        read = csvw.CSVW(str(path), validate=True)
        assert read.is_valid, [str(warning.message) for warning in read.warnings]
    # The file beside its description is found by its own name (tabular-data-model, 5.3).
    plain = released.current / "procedures" / "procedures.real.csv"
    assert csvw.CSVW(str(plain)).common_props["dc:title"]


def test_csv_on_the_web_refuses_what_is_not_in_a_code_list(released: Warehouse) -> None:
    plain = released.current.resolve() / "administrative-units" / "administrative-units.real.csv"
    plain.write_text(plain.read_text(encoding="utf-8").replace("province", "kingdom"), encoding="utf-8")
    read = csvw.CSVW(f"{plain}-metadata.json", validate=True)
    assert not read.is_valid


def test_the_dictionary_tells_every_column_and_code_in_both_languages(released: Warehouse) -> None:
    data = released.files()["administrative-units/dictionary.csv"]
    assert data.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    assert {"table": "administrative-units", "column": "level", "code": "province", "type": "", "unit": "",
            "is_key": "", "is_always_given": "", "vi": "tỉnh", "en": "province"} in rows  # fmt: skip
    assert all(row["vi"] and row["en"] for row in rows)
    fee = next(
        row
        for row in csv.DictReader(
            io.StringIO(released.files()["procedures/dictionary.csv"].decode("utf-8-sig"))
        )
        if row["column"] == "fee_vnd"
    )
    assert (fee["type"], fee["unit"], fee["is_key"]) == ("number", "đồng", "false")


def test_search_engines_find_a_dataset_with_its_files(released: Warehouse) -> None:
    record = json.loads(released.files()["procedures/schema-org.jsonld"])
    assert (record["@context"], record["@type"]) == ("https://schema.org", "Dataset")
    assert {"csv", "parquet"} <= {item["name"].rpartition(".")[2] for item in record["distribution"]}
    assert record["license"].startswith("https://")


def test_a_simulated_origin_stands_in_every_record_and_file_name(released: Warehouse) -> None:
    files = released.files()
    for name, data in files.items():
        folder, _, file = name.partition("/")
        if folder == "dossier-results-monthly" and file != "dictionary.csv":
            assert "simulated" in name or any(
                word in data.decode() for word in ("MÔ PHỎNG", "SIMULATED", "simulated")
            ), name
        elif folder == "procedures" and file != "dictionary.csv":
            assert "simulated" not in name, name
            assert "MÔ PHỎNG" not in data.decode("utf-8", "replace"), name
    assert "[MÔ PHỎNG] Kết quả giải quyết hồ sơ theo tháng" in files["catalog.ttl"].decode()


def test_the_public_address_stands_in_every_record(warehouse: Warehouse) -> None:
    warehouse.publish(address="https://dulieu.example.gov.vn")
    for name in ("catalog.ttl", "procedures/dcat.jsonld", "procedures/schema-org.jsonld"):
        text = warehouse.files()[name].decode()
        assert "https://dulieu.example.gov.vn/latest/procedures/" in text, name
        assert "127.0.0.1" not in text, name


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("2026", ("2026-01-01", "2026-12-31")),
        ("2026-Q1", ("2026-01-01", "2026-03-31")),
        ("2024-02", ("2024-02-01", "2024-02-29")),
        ("2026-08-15", ("2026-08-15", "2026-08-15")),
        ("2026-08-01/2026-08-15", ("2026-08-01", "2026-08-15")),
        ("2026-08-15/2026-08-01", None),
        ("2026-13", None),
        ("quý 3", None),
    ],
)
def test_a_period_is_read_as_its_days(text: str, days: tuple[str, str] | None) -> None:
    found = days_of(text)
    assert (found and tuple(day.isoformat() for day in found)) == days


def test_a_portal_that_does_not_say_whose_it_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "portal.yml"
    path.write_text("title: {vi: Dữ liệu mở}\nlicence: none\n", encoding="utf-8")
    with pytest.raises(CatalogueError) as refused:
        read_portal(path)
    for part in (
        "title needs both",
        "publisher needs both",
        "publisher.type",
        "publisher.email",
        "licence 'none'",
        "first_issued",
    ):
        assert part in str(refused.value)
