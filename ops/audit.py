"""Who looked at a person, and whether the record of it is whole: the vault's audit for people."""

from __future__ import annotations

import datetime as dt
import getpass
import os
import pwd
import sys
from collections.abc import Sequence
from typing import Any

from ops.settings import VIETNAM

_HEADS = (
    "lúc (when)",
    "ai (who)",
    "mục đích (purpose)",
    "văn bản (document)",
    "hồ sơ (dossier)",
    "kết quả (outcome)",
)


def caller() -> str:
    """The login this runs under, as the system knows it; an environment could say anything."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have no name
        return f"uid_{os.getuid()}"


def identity_number() -> str:
    """One identity number from standard input; not echoed where somebody types it."""
    if sys.stdin.isatty():
        return getpass.getpass("identity number (not shown): ").strip()
    return sys.stdin.readline().strip()


def table(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a table of audit entries, Vietnamese time; a stated reason stands below its entry."""
    rows = [_HEADS]
    for e in entries:
        at = dt.datetime.fromisoformat(e["at"]).astimezone(VIETNAM)
        who = f"{e['who']} ({e['agency']})" if e["agency"] else e["who"]
        dossier = f"{e['source_code']}/{e['dossier_id']}" if e["dossier_id"] else ""
        outcome = f"{e['action']}: {e['outcome']}" + (f", {e['note']}" if e["note"] else "")
        outcome += f" [{e['asked']}]" if e["asked"] else ""
        rows.append((f"{at:%d/%m/%Y %H:%M:%S}", who, e["purpose"], e["basis"], dossier, outcome))
    widths = [max(len(r[c]) for r in rows) for c in range(len(_HEADS))]
    lines = ["  ".join(v.ljust(w) for v, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    for place in range(len(entries), 0, -1):
        if reason := entries[place - 1]["reason"]:
            lines.insert(place + 1, f"    lý do (reason): {' '.join(reason.split())}")
    return lines


def alerts(found: dict[str, Any]) -> list[str]:
    """One line for each alert since the audit was read last."""
    return [
        f"ALERT {dt.datetime.fromisoformat(a['at']).astimezone(VIETNAM):%d/%m/%Y %H:%M:%S}, entry {a['number']}, "
        f"{a['who']}: {a['note']}. Ask who did it and why (docs/operations.md, unusual volume)"
        for a in found["alerts"]
    ]


def verdict(found: dict[str, Any]) -> str:
    """One line for what reading the whole audit came to."""
    copied = (
        "no copy (VAULT_AUDIT_COPY is not set)"
        if found["copied"] is None
        else f"{found['copied']:,} in the copy"
    )
    counted = f"{found['entries']:,} entries read, {copied}"
    return f"the audit is whole: {counted}" if not found["trouble"] else f"{found['trouble']} ({counted})"
