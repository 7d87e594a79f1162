"""`python -m opendata release|withdraw|restore`: make a release of the open datasets by hand, or take one back."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from opendata.catalogue import CatalogueError, Text
from opendata.release import DEFAULT_ADDRESS, ReleaseError, newest_load, publish, restore, withdraw


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 done or unchanged, 1 refused)."""
    parser = argparse.ArgumentParser(prog="python -m opendata", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    release = commands.add_parser("release", help="build, verify and switch in a release")
    release.add_argument("--manifest", type=Path, default=Path("dbt/target/manifest.json"))
    release.add_argument("--url", default=os.environ.get("WAREHOUSE_URL"), help="or WAREHOUSE_URL")
    release.add_argument("--load-number", type=int, help="load that the data reflect; default: newest loaded")
    release.add_argument(
        "--address",
        default=os.environ.get("KHOCHUNG_SITE_URL") or DEFAULT_ADDRESS,
        help="where the public finds the site, or KHOCHUNG_SITE_URL",
    )
    taken = commands.add_parser("withdraw", help="take a dataset back from every release, leaving a notice")
    taken.add_argument("dataset")
    taken.add_argument("--by", required=True, help="office that decided it")
    taken.add_argument("--reason-vi", required=True)
    taken.add_argument("--reason-en", required=True)
    given = commands.add_parser("restore", help="let the next releases hold a withdrawn dataset again")
    given.add_argument("dataset")
    for command in (release, taken, given):
        command.add_argument("--home", type=Path, default=Path(os.environ.get("KHOCHUNG_HOME", "var")))
    options = parser.parse_args(argv)
    if options.command == "release" and not options.url:
        parser.error("no warehouse given: looked at --url and WAREHOUSE_URL; `make -s url` prints one")
    try:
        sys.stdout.write(_run(options) + "\n")
    except (CatalogueError, ReleaseError) as refusal:
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
    if options.command == "restore":
        if not restore(options.home, options.dataset):
            raise ReleaseError(f"{options.dataset} is not withdrawn, so nothing is restored")
        return f"{options.dataset} may be published again; releases of before keep the notice"
    load_number = options.load_number
    if load_number is None:
        load_number = newest_load(options.url)
    outcome = publish(
        options.home, options.manifest, options.url, load_number, gate=None, address=options.address
    )
    return outcome.message


if __name__ == "__main__":
    sys.exit(main())
