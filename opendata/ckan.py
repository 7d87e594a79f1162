"""Sending a release to a CKAN catalogue: create, update, withdraw. Doing it again changes nothing.

New files go beside those in force, under a name that says so. Each is read back by size and checksum; then one call
puts record and list of files in force together, and the catalogue drops what is on the list no more. So readers have
the old files, or the new ones, whole, whatever call fails; and after an error 500, half an answer or a lost
connection the push is simply done again. Simulated rows are refused by every catalogue but the sandbox's.

Source: CKAN's Action API, https://docs.ckan.org/en/2.10/api/
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ckanapi import RemoteCKAN
from ckanapi.errors import CKANAPIError, NotAuthorized, NotFound, ValidationError

from opendata.catalogue import NOT_PROTECTED

#: Marks our packages, so that we never write over somebody else's of the same name.
MARK = "kho_chung_dataset"
ATTEMPTS, PAUSE_SECONDS, TIMEOUT_SECONDS = 5, 0.5, 60
#: Ends the name of a file that is not in force yet; CKAN has no hidden files in a package that is shown.
BESIDE = " (đang tải lên, chưa có hiệu lực / being uploaded, not in force yet)"
#: CKAN's own names of the licences of opendata.catalogue.
LICENCES = {"CC-BY-4.0": "cc-by", "CC0-1.0": "cc-zero", "ODC-By-1.0": "odc-by", "ODbL-1.0": "odc-odbl",
            NOT_PROTECTED: "other-pd"}  # fmt: skip
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
                try:
                    pushed.done[item["id"]] = _again(item["id"], work)
                except PushError:
                    # As far as the catalogue still listens; what stays says that it is not in force.
                    with suppress(PushError, CKANAPIError, OSError, ValueError):
                        _clear(catalogue, item["id"])
                    raise
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
        f"{dataset}: the catalogue did not answer soundly {ATTEMPTS} times ({trouble}). Readers there have what they "
        "had, or all of the new release if only its last answer was lost; a new dataset stays unseen. Push again when "
        "the catalogue answers: what is there already is not sent twice"
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
    name, files = item["id"], _files(release, item)
    record = _record(release, item, document, organisation)
    found = _show(catalogue, name)
    if found and _in_force(found, record, files):
        return "unchanged"
    what = "created" if found is None else "updated"
    if found is None:
        found = _call(catalogue, "package_create", **record, state="draft")
    listed = [_held(catalogue, found, release / name, file) for file in files]
    # Names, record, state and list in one call: CKAN drops the files that are not on the list.
    _call(catalogue, "package_patch", id=found["id"], **record, state="active", resources=listed)
    held = _show(catalogue, name)
    if held is None or not _in_force(held, record, files):
        raise OSError("the record read back is not the record sent")
    return what


def _held(catalogue: RemoteCKAN, found: dict[str, Any], folder: Path, file: dict[str, Any]) -> dict[str, Any]:
    """Return the resource that holds a file, read back whole; sent beside what is in force where none does."""
    described = _described(file)
    for resource in found.get("resources", []):
        if resource["name"].removesuffix(BESIDE) == file["name"] and _is_whole(catalogue, resource, file):
            return resource | described
    with (folder / file["path"]).open("rb") as data:
        resource = _call(
            catalogue, "resource_create", package_id=found["id"], **described | {"name": file["name"] + BESIDE},
            upload=(file["path"], data, file["mediatype"]),
        )  # fmt: skip
    if not _is_whole(catalogue, resource, file):
        raise OSError(f"{file['name']} came back as something else")
    return dict(resource) | described


def _clear(catalogue: RemoteCKAN, name: str) -> None:
    """Take away what stands beside the files in force where readers could see it."""
    found = _show(catalogue, name)
    if found and found["state"] == "active":
        for resource in found["resources"]:
            if resource["name"].endswith(BESIDE):
                _call(catalogue, "resource_delete", id=resource["id"])


def _described(file: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": file["name"],
        "description": file["description"],
        "format": file["format"],
        "hash": file["hash"],
        "mimetype": file["mediatype"],
    }


def _in_force(found: dict[str, Any], record: dict[str, Any], files: list[dict[str, Any]]) -> bool:
    """Whether readers are shown this record and these files, and no others."""
    there = [(r["name"], r.get("hash"), r.get("size")) for r in found.get("resources", [])]
    return (
        found["state"] == "active"
        and _same(found, record)
        and there == [(file["name"], file["hash"], file["bytes"]) for file in files]
    )


def _is_whole(catalogue: RemoteCKAN, resource: dict[str, Any], file: dict[str, Any]) -> bool:
    """Read a file back from the catalogue: whether it has the size and checksum of ours."""
    if resource.get("hash") != file["hash"] or resource.get("size") != file["bytes"]:
        return False
    digest, size = hashlib.sha256(), 0
    with catalogue.session.get(resource["url"], stream=True, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return False
        answer.raise_for_status()
        for part in answer.iter_content(2**16):
            digest.update(part)
            size += len(part)
    return size == file["bytes"] and f"sha256:{digest.hexdigest()}" == file["hash"]


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


def _remove(catalogue: RemoteCKAN, name: str) -> str:
    found = _show(catalogue, name)
    if found is None or found["state"] == "deleted":
        return "not there"
    _call(catalogue, "package_delete", id=found["id"])
    left = _show(catalogue, name)
    if left is not None and left["state"] != "deleted":
        raise OSError("still there")
    return "withdrawn"
