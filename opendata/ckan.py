"""Sending a release to a CKAN catalogue: create, update, withdraw. Doing it again changes nothing.

A push looks at what the catalogue holds and does only what is missing, so that after an error 500, half an answer or
a lost connection it is simply done again. What was sent is read back: the record, and each file by size and checksum.
A package is shown to readers when all its files are there. Simulated rows are refused by every catalogue but the
sandbox's.

Source: CKAN's Action API, https://docs.ckan.org/en/2.10/api/
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ckanapi import RemoteCKAN
from ckanapi.errors import CKANAPIError, NotAuthorized, NotFound, ValidationError

#: Marks our packages, so that we never write over somebody else's of the same name.
MARK = "kho_chung_dataset"
ATTEMPTS, PAUSE_SECONDS, TIMEOUT_SECONDS = 5, 0.5, 60
#: CKAN's own names of the licences of opendata.catalogue.
LICENCES = {"CC-BY-4.0": "cc-by", "CC0-1.0": "cc-zero", "ODC-By-1.0": "odc-by", "ODbL-1.0": "odc-odbl"}
Result = TypeVar("Result")


class PushError(Exception):
    """The catalogue does not hold the release; the message says which dataset and what to do."""


@dataclass
class Pushed:
    """What a push did, by dataset: created, updated, unchanged or withdrawn."""

    done: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "; ".join(f"{name} {what}" for name, what in self.done.items()) or "nothing to do"


def push(release: Path, address: str, key: str, organisation: str = "", only: str = "") -> Pushed:
    """Make the catalogue at `address` hold every dataset of the release folder (or `only` one), and prove it.

    Datasets withdrawn from the release are withdrawn there, too. Raises PushError.
    """
    document = json.loads((release / "release.json").read_text(encoding="utf-8"))
    wanted = [item for item in document["datasets"] if only in ("", item["id"])]
    if only and not wanted:
        known = ", ".join(item["id"] for item in document["datasets"])
        raise PushError(f"looked for dataset {only!r} in {release} and found none; it has {known}")
    simulated = [item["id"] for item in wanted if item["origin"] != "real"]
    if simulated and not _is_sandbox(address):
        raise PushError(
            f"Simulated data go to no catalogue but the sandbox's, and {address} is not on this machine: "
            f"{', '.join(simulated)}. Nothing was sent"
        )
    pushed = Pushed()
    with closing(RemoteCKAN(address, apikey=key)) as catalogue:
        for item in wanted:
            if (release / item["id"] / "datapackage.json").exists():
                work = partial(_converge, catalogue, release, item, document, organisation)
                pushed.done[item["id"]] = _again(item["id"], work)
        for notice in release.glob("*/withdrawn.json"):
            name = notice.parent.name
            if only in ("", name):
                pushed.done[name] = _again(name, partial(_remove, catalogue, name))
    return pushed


def withdraw(dataset: str, address: str, key: str) -> Pushed:
    """Take a dataset of ours out of the catalogue; one it does not hold is no error. Raises PushError."""
    with closing(RemoteCKAN(address, apikey=key)) as catalogue:
        return Pushed({dataset: _again(dataset, partial(_remove, catalogue, dataset))})


def _is_sandbox(address: str) -> bool:
    return urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1", "sandbox")


def _again(dataset: str, work: Callable[[], Result]) -> Result:
    """Do the work until it succeeds; what the catalogue refuses on purpose is not tried again."""
    for attempt in range(ATTEMPTS):
        try:
            return work()
        except NotAuthorized:
            raise PushError(
                f"{dataset}: the catalogue refuses our token; ask its keeper for one that may write"
            ) from None
        except ValidationError as error:
            told = {k: v for k, v in (error.error_dict or {}).items() if not k.startswith("__")}
            raise PushError(f"{dataset}: the catalogue refuses the record: {told}") from None
        except (CKANAPIError, OSError, ValueError) as error:
            # An error of the server, half an answer (not JSON), a lost connection.
            trouble = type(error).__name__
        time.sleep(PAUSE_SECONDS * 2**attempt)
    raise PushError(
        f"{dataset}: the catalogue did not answer soundly {ATTEMPTS} times ({trouble}). A new dataset stays "
        "unseen there; of one that was being replaced some files may be new and others old until you push again. "
        "What is there already is not sent twice"
    )


def _call(catalogue: RemoteCKAN, action: str, **given: Any) -> Any:
    upload = given.pop("upload", None)
    options = {"timeout": TIMEOUT_SECONDS}
    files = {"upload": upload} if upload else None
    return catalogue.call_action(action, given, files=files, requests_kwargs=options)


def _show(catalogue: RemoteCKAN, name: str) -> dict[str, Any] | None:
    try:
        found = dict(_call(catalogue, "package_show", id=name))
    except NotFound:
        return None
    if _extras(found).get(MARK) != name:
        raise PushError(
            f"{name}: the catalogue has a package of that name which is not ours; rename one. Nothing was changed"
        )
    return found


def _extras(package: dict[str, Any]) -> dict[str, str]:
    return {extra["key"]: extra["value"] for extra in package.get("extras", [])}


def _converge(
    catalogue: RemoteCKAN, release: Path, item: dict[str, Any], document: dict[str, Any], organisation: str
) -> str:
    """Bring one dataset in the catalogue to what the release holds; returns what was done."""
    name = item["id"]
    record = _record(release, item, document, organisation)
    found = _show(catalogue, name)
    if found and found["state"] == "active" and _same(found, record) and not _differing(found, release, item):
        return "unchanged"
    what = "created" if found is None else "updated"
    if found is None:
        found = _call(catalogue, "package_create", **record, state="draft")
    for resource, file in _differing(found, release, item):
        described = {"package_id": found["id"], "name": file["name"], "description": file["description"],
                     "format": file["format"], "hash": file["hash"], "mimetype": file["mediatype"]}  # fmt: skip
        with (release / name / file["path"]).open("rb") as data:
            upload = (file["path"], data, file["mediatype"])
            if resource is None:
                _call(catalogue, "resource_create", **described, upload=upload)
            else:
                _call(catalogue, "resource_update", id=resource["id"], **described, upload=upload)
    names = {file["name"] for file in _files(release, item)}
    for resource in found["resources"]:
        if resource["name"] not in names:
            _call(catalogue, "resource_delete", id=resource["id"])
    _check_files(catalogue, release, item)
    _call(catalogue, "package_patch", id=found["id"], **record, state="active")
    held = _show(catalogue, name)
    if held is None or held["state"] != "active" or not _same(held, record):
        raise OSError("the record read back is not the record sent")
    return what


def _record(
    release: Path, item: dict[str, Any], document: dict[str, Any], organisation: str
) -> dict[str, Any]:
    """Return a dataset's record in CKAN's words; all from the files of the release."""
    package = json.loads((release / item["id"] / "datapackage.json").read_text(encoding="utf-8"))
    licence = package["licenses"][0]
    extras = {
        MARK: item["id"],
        "origin": item["origin"],
        "title_en": package["title_en"],
        "notes_en": package["description_en"],
        "licence": f"{licence['title']} {licence['path']}",
        "spatial_text": package["spatial"]["vi"],
        "temporal_start": str(item["period"][0]),
        "temporal_end": str(item["period"][1] or ""),
        "frequency": package["updateFrequency"]["code"],
        "legal_basis": "; ".join(package["legalBasis"]),
    }
    record = {
        "name": item["id"],
        "title": package["title"],
        "notes": package["description"],
        "url": package["homepage"],
        "license_id": LICENCES.get(licence["name"], "other-at"),
        "author": package["owner"]["vi"],
        "maintainer": package["contact"]["vi"],
        "maintainer_email": package["contact"]["email"],
        "tags": [{"name": _tag(word)} for word in package["keywords"]],
        "extras": [{"key": key, "value": value} for key, value in sorted(extras.items())],
    }
    return record | ({"owner_org": organisation} if organisation else {})


def _tag(word: str) -> str:
    """CKAN's tags hold letters, digits, spaces and -_. alone."""
    return "".join(letter if letter.isalnum() or letter in " -_." else " " for letter in word).strip()


def _files(release: Path, item: dict[str, Any]) -> list[dict[str, Any]]:
    package = json.loads((release / item["id"] / "datapackage.json").read_text(encoding="utf-8"))
    return list(package["resources"])


def _same(found: dict[str, Any], record: dict[str, Any]) -> bool:
    """Whether the catalogue's record says what ours says; it adds fields of its own."""
    for name, value in record.items():
        if name == "extras":
            if not _extras(record).items() <= _extras(found).items():
                return False
        elif name == "tags":
            if {tag["name"] for tag in value} != {tag["name"] for tag in found.get("tags", [])}:
                return False
        elif found.get(name) != value:
            return False
    return True


def _differing(
    found: dict[str, Any], release: Path, item: dict[str, Any]
) -> list[tuple[dict[str, Any] | None, dict[str, Any]]]:
    """Return (resource there or None, file here) of each file the catalogue does not hold as it is."""
    there = {resource["name"]: resource for resource in found.get("resources", [])}
    pairs = [(there.get(file["name"]), file) for file in _files(release, item)]
    return [
        (resource, file)
        for resource, file in pairs
        if resource is None or resource.get("hash") != file["hash"] or resource.get("size") != file["bytes"]
    ]


def _check_files(catalogue: RemoteCKAN, release: Path, item: dict[str, Any]) -> None:
    """Read every file back from the catalogue; raises OSError where size or checksum is another."""
    held = _show(catalogue, item["id"]) or {"resources": []}
    there = {resource["name"]: resource for resource in held["resources"]}
    for file in _files(release, item):
        resource = there.get(file["name"])
        if resource is None:
            raise OSError(f"{file['name']} is not there")
        with catalogue.session.get(resource["url"], stream=True, timeout=TIMEOUT_SECONDS) as answer:
            digest, size = hashlib.sha256(), 0
            for part in answer.iter_content(2**16):
                digest.update(part)
                size += len(part)
        if size != file["bytes"] or f"sha256:{digest.hexdigest()}" != file["hash"]:
            # What is wrong there is sent again by the next attempt.
            _call(catalogue, "resource_delete", id=resource["id"])
            raise OSError(f"{file['name']} came back as something else")


def _remove(catalogue: RemoteCKAN, name: str) -> str:
    found = _show(catalogue, name)
    if found is None or found["state"] == "deleted":
        return "not there"
    _call(catalogue, "package_delete", id=found["id"])
    left = _show(catalogue, name)
    if left is not None and left["state"] != "deleted":
        raise OSError("still there")
    return "withdrawn"
