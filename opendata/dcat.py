"""Records for catalogues: DCAT-AP 3.0.1 as Turtle, JSON-LD and RDF/XML, and schema.org `Dataset`.

Every node has an address of its own (no blank nodes), so the same release always gives the same triples. The
vocabularies are those DCAT-AP prescribes: the EU Publications Office's authority lists, IANA media types, ADMS
publisher and licence types, SPDX checksums. What we do not know (a bounding box, for instance) is left out.

Source: DCAT-AP 3.0.1 (SEMIC, 2025), https://semiceu.github.io/DCAT-AP/releases/3.0.1/
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rdflib import DCTERMS, FOAF, RDF, SKOS, XSD, Graph, Literal, Namespace, URIRef
from rdflib.namespace import DCAT

from opendata.catalogue import EU, LICENCES, PUBLISHER_TYPES, CatalogueError, Licence, Text
from opendata.tabular import MEDIA_TYPES, Edition, titled

if TYPE_CHECKING:
    from opendata.release import Build, Table

PORTAL = Path(__file__).parent / "portal.yml"
ADMS, SPDX, VCARD, DCATAP, LOCN = (
    Namespace(address)
    for address in (
        "http://www.w3.org/ns/adms#",
        "http://spdx.org/rdf/terms#",
        "http://www.w3.org/2006/vcard/ns#",
        "http://data.europa.eu/r5r/",
        "http://www.w3.org/ns/locn#",
    )
)
IANA = "https://www.iana.org/assignments/media-types"
#: JSON Lines has no entry of its own in either list: its lines are JSON.
FILE_TYPES = {"csv": "CSV", "excel.csv": "CSV", "parquet": "PARQUET", "jsonl": "JSON", "xlsx": "XLSX"}
NO_MEDIA_TYPE = {"jsonl"}
VERSIONS_OF = {
    "csv": Text("CSV, UTF-8", "CSV, UTF-8"),
    "excel.csv": Text("CSV cho Excel, có BOM", "CSV for Excel, with BOM"),
    "parquet": Text("Parquet", "Parquet"),
    "jsonl": Text("JSON Lines", "JSON Lines"),
    "xlsx": Text("Excel", "Excel workbook"),
}
#: {ending: what rdflib calls it}; the addresses a harvester is given.
SERIALISATIONS = {"ttl": "turtle", "jsonld": "json-ld", "rdf": "pretty-xml"}
PREFIXES = {"dcat": DCAT, "dct": DCTERMS, "foaf": FOAF, "adms": ADMS, "spdx": SPDX, "vcard": VCARD,
            "dcatap": DCATAP, "skos": SKOS, "locn": LOCN}  # fmt: skip


@dataclass(frozen=True)
class Portal:
    """The catalogue as a whole: title, description, publisher and the licence of its records."""

    title: Text
    description: Text
    publisher: Text
    publisher_type: str
    email: str
    licence: Licence
    first_issued: date


def read_portal(path: Path = PORTAL) -> Portal:
    """Return what portal.yml says; raises CatalogueError naming everything that is missing in it."""
    record = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    found: list[str] = []

    def pair(name: str) -> Text:
        value = record.get(name) or {}
        if not value.get("vi") or not value.get("en"):
            found.append(f"{name} needs both vi and en")
        return Text(str(value.get("vi")), str(value.get("en")))

    title, description, publisher = pair("title"), pair("description"), pair("publisher")
    body = record.get("publisher") or {}
    if body.get("type") not in PUBLISHER_TYPES:
        found.append(f"publisher.type is not one of {', '.join(sorted(PUBLISHER_TYPES))}")
    if "@" not in str(body.get("email")):
        found.append("publisher.email is missing")
    licence = LICENCES.get(str(record.get("licence")))
    if licence is None:
        found.append(f"licence {record.get('licence')!r} is not known; known: {', '.join(LICENCES)}")
    first = record.get("first_issued")
    if not isinstance(first, date):
        found.append("first_issued is missing or not a date")
    if found or licence is None or not isinstance(first, date):
        raise CatalogueError(f"{path}: {'; '.join(found)}")
    return Portal(title, description, publisher, str(body["type"]), str(body["email"]), licence, first)


def catalogue_graph(builds: Sequence[Build], edition: Edition, portal: Portal) -> Graph:
    """Return the whole catalogue: its own record and that of each dataset."""
    graph = _graph()
    catalogue = URIRef(f"{edition.latest}/#catalogue")
    publisher = _portal_publisher(graph, edition, portal)
    homepage = URIRef(f"{edition.latest}/")
    taxonomy = URIRef(f"{EU}/data-theme")
    for triple in (
        (catalogue, RDF.type, DCAT.Catalog),
        (catalogue, DCTERMS.publisher, publisher),
        (catalogue, DCTERMS.issued, Literal(portal.first_issued)),
        (catalogue, DCTERMS.modified, Literal(edition.created_at)),
        (catalogue, DCTERMS.license, _licence(graph, portal.licence)),
        (catalogue, DCTERMS.spatial, _country()),
        (catalogue, DCAT.themeTaxonomy, taxonomy),
        (catalogue, FOAF.homepage, homepage),
        (homepage, RDF.type, FOAF.Document),
    ):
        graph.add(triple)
    for language in _languages():
        graph.add((catalogue, DCTERMS.language, language))
    _texts(graph, catalogue, DCTERMS.title, portal.title)
    _texts(graph, catalogue, DCTERMS.description, portal.description)
    for build in builds:
        graph += dataset_graph(build, edition, portal)
        graph.add((catalogue, DCAT.dataset, dataset_address(build, edition)))
    return graph


def dataset_address(build: Build, edition: Edition) -> URIRef:
    """Return the address that names a dataset, whatever its release."""
    return URIRef(f"{edition.latest}/{build.dataset.id}/#dataset")


def dataset_graph(build: Build, edition: Edition, portal: Portal) -> Graph:
    """Return the record of one dataset with a distribution for each of its files."""
    graph, approval = _graph(), build.dataset.approval
    page = URIRef(f"{edition.latest}/{build.dataset.id}/")
    dataset = dataset_address(build, edition)

    def named(part: str) -> URIRef:
        return URIRef(f"{page}#{part}")

    contact, owner, period = named("contact"), named("owner"), named("period")
    # Words of the decision, so that a reader of the record alone knows by whom and on what basis.
    provenance, conditions = named("provenance"), named("disclosure-policy")
    for triple in (
        (dataset, RDF.type, DCAT.Dataset),
        (dataset, DCTERMS.identifier, Literal(str(dataset))),
        (dataset, DCTERMS.publisher, _portal_publisher(graph, edition, portal)),
        (dataset, DCTERMS.creator, owner),
        (dataset, DCTERMS.issued, Literal(approval.decided_on)),
        (dataset, DCTERMS.modified, Literal(edition.created_at)),
        (dataset, DCTERMS.accrualPeriodicity, URIRef(f"{EU}/frequency/{approval.frequency}")),
        (dataset, DCTERMS.accessRights, URIRef(f"{EU}/access-right/PUBLIC")),
        (dataset, DCTERMS.spatial, _country()),
        (dataset, DCTERMS.temporal, period),
        (dataset, DCTERMS.provenance, provenance),
        (dataset, DCAT.contactPoint, contact),
        (dataset, DCAT.landingPage, page),
        (dataset, URIRef(f"{DCAT}version"), Literal(str(edition.number))),
        (page, RDF.type, FOAF.Document),
        (owner, RDF.type, FOAF.Agent),
        (owner, DCTERMS.type, URIRef(f"http://purl.org/adms/publishertype/{approval.owner_type}")),
        (contact, RDF.type, VCARD.Organization),
        (contact, RDF.type, VCARD.Kind),
        (contact, VCARD.hasEmail, URIRef(f"mailto:{approval.contact_email}")),
        (period, RDF.type, DCTERMS.PeriodOfTime),
        (provenance, RDF.type, DCTERMS.ProvenanceStatement),
        (conditions, RDF.type, DCTERMS.RightsStatement),
    ):
        graph.add(triple)
    first, last = build.period
    graph.add((period, DCAT.startDate, Literal(first)))
    if last:
        graph.add((period, DCAT.endDate, Literal(last)))
    if approval.place_code:
        place = named("place")
        graph.add((dataset, DCTERMS.spatial, place))
        graph.add((place, RDF.type, DCTERMS.Location))
        graph.add((place, DCTERMS.identifier, Literal(approval.place_code)))
        _texts(graph, place, SKOS.prefLabel, approval.spatial)
    for language in _languages():
        graph.add((dataset, DCTERMS.language, language))
    for theme in approval.themes:
        graph.add((dataset, DCAT.theme, URIRef(f"{EU}/data-theme/{theme}")))
    origin = Text("dữ liệu mô phỏng", "simulated data")
    for word in [*approval.keywords, *([origin] if build.origin == "simulated" else [])]:
        _texts(graph, dataset, DCAT.keyword, word)
    _texts(graph, dataset, DCTERMS.title, titled(build.dataset.title, build.origin))
    _texts(graph, dataset, DCTERMS.description, build.dataset.description)
    _texts(graph, owner, FOAF.name, approval.owner)
    _texts(graph, contact, VCARD.fn, approval.contact)
    _texts(graph, conditions, SKOS.prefLabel, approval.disclosure_policy)
    _texts(graph, provenance, SKOS.prefLabel, _decision(build))
    for table in build.tables:
        for file in table.files:
            graph.add(
                (dataset, DCAT.distribution, _distribution(graph, build, table, file, edition, conditions))
            )
    return graph


def _distribution(
    graph: Graph, build: Build, table: Table, file: Any, edition: Edition, conditions: URIRef
) -> URIRef:
    page = f"{edition.latest}/{build.dataset.id}/"
    node = URIRef(f"{page}#{table.resource.name}-{file.format.replace('.', '-')}")
    checksum = URIRef(f"{node}-checksum")
    schema = URIRef(f"{edition.fixed}/{build.dataset.id}/datapackage.json")
    kind = VERSIONS_OF[file.format]
    title = titled(table.resource.title, build.origin)
    for triple in (
        (node, RDF.type, DCAT.Distribution),
        (node, DCAT.accessURL, URIRef(page)),
        (node, DCAT.downloadURL, URIRef(f"{edition.fixed}/{file.path}")),
        (node, DCAT.byteSize, Literal(file.bytes, datatype=XSD.nonNegativeInteger)),
        (node, DCTERMS["format"], URIRef(f"{EU}/file-type/{FILE_TYPES[file.format]}")),
        (node, DCTERMS.license, _licence(graph, build.dataset.approval.licence)),
        (node, DCTERMS.rights, conditions),
        (node, DCTERMS.modified, Literal(edition.created_at)),
        (node, DCTERMS.conformsTo, schema),
        (node, DCATAP.availability, URIRef(f"{EU}/planned-availability/STABLE")),
        (node, SPDX.checksum, checksum),
        (schema, RDF.type, DCTERMS.Standard),
        (checksum, RDF.type, SPDX.Checksum),
        (checksum, SPDX.algorithm, SPDX.checksumAlgorithm_sha256),
        (checksum, SPDX.checksumValue, Literal(file.sha256, datatype=XSD.hexBinary)),
    ):
        graph.add(triple)
    if file.format not in NO_MEDIA_TYPE:
        graph.add((node, DCAT.mediaType, URIRef(f"{IANA}/{MEDIA_TYPES[file.format]}")))
    for language in _languages():
        graph.add((node, DCTERMS.language, language))
    _texts(graph, node, DCTERMS.title, Text(f"{title.vi} ({kind.vi})", f"{title.en} ({kind.en})"))
    _texts(graph, node, DCTERMS.description, table.resource.description)
    return node


def schema_org(build: Build, edition: Edition, portal: Portal) -> dict[str, Any]:
    """Return the schema.org `Dataset` of a dataset, as search engines read it from a page."""
    approval = build.dataset.approval
    title = titled(build.dataset.title, build.origin)
    first, last = build.period
    page = f"{edition.latest}/{build.dataset.id}/"
    return {
        "@context": "https://schema.org",
        "@type": "Dataset",
        "@id": str(dataset_address(build, edition)),
        "name": title.vi,
        "alternateName": title.en,
        "description": f"{build.dataset.description.vi} / {build.dataset.description.en}",
        "url": page,
        "identifier": str(dataset_address(build, edition)),
        "version": str(edition.number),
        "license": approval.licence.url,
        "isAccessibleForFree": True,
        "inLanguage": ["vi", "en"],
        "keywords": [*(w.vi for w in approval.keywords), *(w.en for w in approval.keywords), build.origin],
        "creator": {"@type": "Organization", "name": approval.owner.vi},
        "publisher": {"@type": "Organization", "name": portal.publisher.vi, "email": portal.email},
        "datePublished": approval.decided_on.isoformat(),
        "dateModified": edition.created_at.isoformat(),
        "spatialCoverage": {"@type": "Place", "name": approval.spatial.vi},
        "temporalCoverage": f"{first}/{last or '..'}",
        "includedInDataCatalog": {
            "@type": "DataCatalog",
            "name": portal.title.vi,
            "url": f"{edition.latest}/",
        },
        "variableMeasured": [
            {
                "@type": "PropertyValue",
                "name": column.name,
                "description": column.description.vi,
                **({"unitText": column.unit} if column.unit else {}),
            }
            for table in build.tables
            for column in table.columns
        ],
        "distribution": [
            {
                "@type": "DataDownload",
                "name": file.path.rpartition("/")[2],
                "encodingFormat": MEDIA_TYPES[file.format],
                "contentUrl": f"{edition.fixed}/{file.path}",
                "contentSize": f"{file.bytes} B",
                "sha256": file.sha256,
            }
            for table in build.tables
            for file in table.files
        ],
    }


def write(graph: Graph, folder: Path, stem: str) -> list[Path]:
    """Write a graph as Turtle, JSON-LD and RDF/XML; return the files."""
    paths = []
    for ending, name in SERIALISATIONS.items():
        path = folder / f"{stem}.{ending}"
        if name != "json-ld":
            text = graph.serialize(format=name)
        else:
            # rdflib writes nodes in the order of a set.
            document = json.loads(graph.serialize(format=name, auto_compact=True))
            document["@graph"] = sorted(document.get("@graph", []), key=lambda node: node["@id"])
            text = json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def _graph() -> Graph:
    graph = Graph(bind_namespaces="core")
    for prefix, namespace in PREFIXES.items():
        graph.bind(prefix, namespace)
    return graph


def _texts(graph: Graph, subject: URIRef, predicate: URIRef, text: Text) -> None:
    graph.add((subject, predicate, Literal(text.vi, lang="vi")))
    graph.add((subject, predicate, Literal(text.en, lang="en")))


def _languages() -> tuple[URIRef, URIRef]:
    return URIRef(f"{EU}/language/VIE"), URIRef(f"{EU}/language/ENG")


def _country() -> URIRef:
    return URIRef(f"{EU}/country/VNM")


def _licence(graph: Graph, licence: Licence) -> URIRef:
    node = URIRef(licence.url)
    graph.add((node, RDF.type, DCTERMS.LicenseDocument))
    graph.add((node, DCTERMS.type, URIRef(f"http://purl.org/adms/licencetype/{licence.type}")))
    if licence.words:
        _texts(graph, node, DCTERMS.title, licence.words)
    else:
        graph.add((node, DCTERMS.title, Literal(licence.title)))
    return node


def _portal_publisher(graph: Graph, edition: Edition, portal: Portal) -> URIRef:
    node = URIRef(f"{edition.latest}/#publisher")
    graph.add((node, RDF.type, FOAF.Agent))
    graph.add((node, DCTERMS.type, URIRef(f"http://purl.org/adms/publishertype/{portal.publisher_type}")))
    graph.add((node, FOAF.mbox, URIRef(f"mailto:{portal.email}")))
    _texts(graph, node, FOAF.name, portal.publisher)
    return node


def _decision(build: Build) -> Text:
    approval = build.dataset.approval
    basis, office = "; ".join(approval.legal_basis), approval.approved_by_en or approval.approved_by
    return Text(
        f"Công bố theo quyết định của {approval.approved_by} ngày {approval.decided_on:%d/%m/%Y}. Căn cứ: {basis}",
        f"Published by decision of {office} of {approval.decided_on}. Basis: {basis}",
    )
