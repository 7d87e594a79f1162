"""`python -m opendata withdraw|restore`: take an open dataset back from every release, or let it be published again.

Releases are made by the DAG publish_open_data alone: readers are switched to what the release gate has judged.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from opendata.catalogue import Text
from opendata.release import ReleaseError, restore, withdraw


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 done or unchanged, 1 refused)."""
    parser = argparse.ArgumentParser(prog="python -m opendata", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    taken = commands.add_parser("withdraw", help="take a dataset back from every release, leaving a notice")
    taken.add_argument("dataset")
    taken.add_argument("--by", required=True, help="office that decided it")
    taken.add_argument("--reason-vi", required=True)
    taken.add_argument("--reason-en", required=True)
    given = commands.add_parser("restore", help="let the next releases hold a withdrawn dataset again")
    given.add_argument("dataset")
    for command in (taken, given):
        command.add_argument("--home", type=Path, default=Path(os.environ.get("KHOCHUNG_HOME", "var")))
    options = parser.parse_args(argv)
    try:
        sys.stdout.write(_run(options) + "\n")
    except ReleaseError as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    return 0


def _run(options: argparse.Namespace) -> str:
    if options.command == "withdraw":
        reason = Text(options.reason_vi, options.reason_en)
        count = withdraw(options.home, options.dataset, options.by, reason)
        return (
            f"{options.dataset} is withdrawn from {count} release(s), a notice stands in its place, and no page lists "
            "it. Publish to make a release without it, and withdraw it from the catalogues it was sent to"
        )
    if not restore(options.home, options.dataset):
        raise ReleaseError(f"{options.dataset} is not withdrawn, so nothing is restored")
    return f"{options.dataset} may be published again; releases of before keep the notice"


if __name__ == "__main__":
    sys.exit(main())
