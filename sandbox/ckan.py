"""A stand-in for a CKAN catalogue's Action API (v3, as of CKAN 2.10): packages, resources with uploads, downloads.

Answers as CKAN does: `{"help", "success", "result"}` or `{"success": false, "error": {"__type", ...}}` with 403, 404 or
409; a deleted package keeps its name and is shown to those who may write; an upload is multipart. Everything is kept
in memory. Faults as for the other stand-ins: `status`, `truncate` and `drop_connection` among them, the last two after
the change was applied.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.faults import Faults
from sandbox.serving import reply, serve

NAME = "abcdefghijklmnopqrstuvwxyz0123456789-_"


class Refusal(Exception):
    """An error as CKAN words it."""

    def __init__(self, status: int, kind: str, **fields: Any) -> None:
        super().__init__(kind)
        self.status, self.error = status, {"__type": kind, **fields}


class Catalogue:
    """Packages and the files of their resources."""

    def __init__(self) -> None:
        self.packages: dict[str, dict[str, Any]] = {}
        self.files: dict[str, tuple[str, str, bytes]] = {}
        self.base = ""

    def find(self, given: dict[str, Any], writer: bool) -> dict[str, Any]:
        """Return the package of an id or name; a deleted one only to who may write."""
        wanted = given.get("id") or given.get("name_or_id")
        if not wanted:
            raise Refusal(409, "Validation Error", id=["Missing value"])
        for package in self.packages.values():
            if wanted in (package["id"], package["name"]) and (writer or package["state"] == "active"):
                return package
        raise Refusal(404, "Not Found Error", message="Not found")

    def package_show(self, given: dict[str, Any], writer: bool) -> dict[str, Any]:
        """Return a package."""
        return self.find(given, writer)

    def package_list(self, given: dict[str, Any], writer: bool) -> list[str]:
        """Return the names of active packages."""
        return sorted(p["name"] for p in self.packages.values() if p["state"] == "active")

    def package_create(self, given: dict[str, Any], writer: bool) -> dict[str, Any]:
        """Make a package."""
        name = str(given.get("name") or "")
        if len(name) < 2 or set(name) - set(NAME):
            raise Refusal(
                409, "Validation Error", name=["Must be purely lowercase alphanumeric (ascii) characters"]
            )
        if any(package["name"] == name for package in self.packages.values()):
            raise Refusal(409, "Validation Error", name=["That URL is already in use."])
        package: dict[str, Any] = {"id": str(uuid.uuid4()), "state": "active", "metadata_created": _now()}
        package |= {"resources": [], "extras": [], "tags": []}
        self._fill(package, given)
        self.packages[package["id"]] = package
        return package

    def package_patch(self, given: dict[str, Any], writer: bool) -> dict[str, Any]:
        """Change some fields of a package."""
        package = self.find(given, writer)
        self._fill(package, {key: value for key, value in given.items() if key != "id"})
        return package

    def package_delete(self, given: dict[str, Any], writer: bool) -> None:
        """Mark a package as deleted; it keeps its name."""
        self.find(given, writer)["state"] = "deleted"

    def resource_create(self, given: dict[str, Any], writer: bool) -> dict[str, Any]:
        """Add a resource with its upload."""
        package = self.find({"id": given.get("package_id")}, writer)
        resource = {
            "id": str(uuid.uuid4()),
            "package_id": package["id"],
            "state": "active",
            "created": _now(),
        }
        self._receive(resource, given)
        package["resources"].append(resource)
        return resource

    def resource_update(self, given: dict[str, Any], writer: bool) -> dict[str, Any]:
        """Replace a resource."""
        resource = self._resource(given)
        self._receive(resource, given)
        return resource

    def resource_delete(self, given: dict[str, Any], writer: bool) -> None:
        """Remove a resource and its file."""
        gone = self._resource(given)
        package = self.packages[gone["package_id"]]
        package["resources"] = [r for r in package["resources"] if r is not gone]
        self.files.pop(gone["id"], None)

    def status_show(self, given: dict[str, Any], writer: bool) -> dict[str, Any]:
        """Say which catalogue this is."""
        return {"ckan_version": "2.10.4", "site_title": "Sandbox", "extensions": []}

    def _resource(self, given: dict[str, Any]) -> dict[str, Any]:
        for package in self.packages.values():
            for resource in package["resources"]:
                if resource["id"] == given.get("id"):
                    return resource
        raise Refusal(404, "Not Found Error", message="Not found: Resource was not found.")

    def _fill(self, package: dict[str, Any], given: dict[str, Any]) -> None:
        if not isinstance(given.get("extras", []), list):
            raise Refusal(409, "Validation Error", extras=["Only lists of dicts allowed"])
        keys = [extra["key"] for extra in given.get("extras", [])]
        if len(keys) != len(set(keys)):
            raise Refusal(
                409, "Validation Error", extras=[{"key": ["There is a schema field with the same name"]}]
            )
        if "resources" in given:
            given = given | {"resources": self._list(package, given["resources"])}
        package.update(given, metadata_modified=_now())

    def _list(self, package: dict[str, Any], given: Any) -> list[dict[str, Any]]:
        """Return a package's new list of resources; files of those that are not on it are dropped."""
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            raise Refusal(409, "Validation Error", resources=["Only lists of dicts can be given"])
        before = {resource["id"]: resource for resource in package["resources"]}
        others = {r["id"] for p in self.packages.values() if p is not package for r in p["resources"]}
        if others & {one.get("id") for one in given}:
            raise Refusal(409, "Validation Error", resources=[{"id": ["Resource id already exists."]}])
        listed = []
        for one in given:
            held = before.get(str(one.get("id")), {"id": str(uuid.uuid4()), "created": _now()})
            # Where an upload lies, and its size, are the catalogue's own to say.
            own = {k: held[k] for k in ("url", "size", "url_type") if held.get("url_type") == "upload"}
            listed.append(
                held | one | own | {"id": held["id"], "package_id": package["id"], "state": "active"}
            )
        for gone in before.keys() - {one["id"] for one in listed}:
            self.files.pop(gone, None)
        return listed

    def _receive(self, resource: dict[str, Any], given: dict[str, Any]) -> None:
        upload = given.pop("upload", None)
        resource.update(given, last_modified=_now())
        if upload is not None:
            name, kind, data = upload
            self.files[resource["id"]] = upload
            resource.update(url_type="upload", size=len(data), mimetype=resource.get("mimetype") or kind)
            path = f"dataset/{resource['package_id']}/resource/{resource['id']}/download/{name.lower()}"
            resource["url"] = f"{self.base}{path}"


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat()


WRITES = {
    "package_create",
    "package_patch",
    "package_delete",
    "resource_create",
    "resource_update",
    "resource_delete",
}
READS = {"package_show", "package_list", "status_show"}


def create_app(key: str) -> FastAPI:
    """Return the application; `key` is the API token of who may write."""
    held = Catalogue()

    async def action(request: Request) -> Response:
        name = request.path_params["name"]
        held.base = str(request.base_url)
        writer = secrets.compare_digest(request.headers.get("authorization", "").encode(), key.encode())
        try:
            if name not in WRITES | READS:
                return reply(orjson.dumps(f"Bad request - Action name not known: {name}"), 400)
            if name in WRITES and not writer:
                raise Refusal(403, "Authorization Error", message="Access denied")
            result = getattr(held, name)(await _given(request), writer)
        except Refusal as refusal:
            body = {"help": str(request.url), "success": False, "error": refusal.error}
            return reply(orjson.dumps(body), refusal.status)
        return reply(orjson.dumps({"help": str(request.url), "success": True, "result": result}))

    async def download(request: Request) -> Response:
        found = held.files.get(request.path_params["resource"])
        if found is None:
            return Response("Resource data not found", 404)
        return Response(found[2], media_type=found[1])

    path = "/dataset/{package}/resource/{resource}/download/{name}"
    routes = [
        Route("/api/action/{name}", action, methods=["GET", "POST"]),
        Route("/api/3/action/{name}", action, methods=["GET", "POST"]),
        Route(path, download, methods=["GET"]),
    ]
    return serve("CKAN", routes, Faults())


async def _given(request: Request) -> dict[str, Any]:
    if request.method == "GET":
        return dict(request.query_params)
    if "multipart" in request.headers.get("content-type", ""):
        given: dict[str, Any] = {}
        async with request.form(max_part_size=2**30) as form:
            for field, value in form.items():
                if isinstance(value, UploadFile):
                    kind = value.content_type or "application/octet-stream"
                    given[field] = (value.filename or "file", kind, await value.read())
                else:
                    given[field] = value
        return given
    try:
        return dict(orjson.loads(await request.body() or b"{}"))
    except ValueError:
        raise Refusal(400, "Bad request - JSON Error", message="Error decoding JSON data") from None
