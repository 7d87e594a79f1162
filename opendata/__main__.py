"""`python -m opendata release ...`: make a release of the open datasets by hand."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from opendata.catalogue import CatalogueError
from opendata.release import ReleaseError, newest_load, publish


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 released or unchanged, 1 refused)."""
    parser = argparse.ArgumentParser(prog="python -m opendata", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    release = commands.add_parser("release", help="build, verify and switch in a release")
    release.add_argument("--home", type=Path, default=Path(os.environ.get("KHOCHUNG_HOME", "var")))
    release.add_argument("--manifest", type=Path, default=Path("dbt/target/manifest.json"))
    release.add_argument("--url", default=os.environ.get("WAREHOUSE_URL"), help="or WAREHOUSE_URL")
    release.add_argument("--load-number", type=int, help="load that the data reflect; default: newest loaded")
    options = parser.parse_args(argv)
    if not options.url:
        parser.error("no warehouse given: looked at --url and WAREHOUSE_URL; `make -s url` prints one")
    try:
        load_number = options.load_number
        if load_number is None:
            load_number = newest_load(options.url)
        outcome = publish(options.home, options.manifest, options.url, load_number, gate=None)
    except (CatalogueError, ReleaseError) as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    sys.stdout.write(f"{outcome.message}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
