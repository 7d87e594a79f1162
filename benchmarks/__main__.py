"""``python -m benchmarks [name ...] [--long]``: one line for each ratio."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator

from benchmarks import (
    access,
    against_dlt,
    build,
    crosswalk,
    decode,
    load,
    national,
    pull,
    release,
    seal,
    site,
)
from benchmarks.world import Line, World, world

ALL: dict[str, Callable[[World, bool], Iterator[Line]]] = {
    "decode": decode.run,
    "seal": seal.run,
    "load": load.run,
    "dlt": against_dlt.run,
    "pull": pull.run,
    "crosswalk": crosswalk.run,
    "access": access.run,
    "build": build.run,
    "release": release.run,
    "site": site.run,
    "national": national.run,
}


def main() -> None:
    """Run the benchmarks named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", help=", ".join(ALL))
    parser.add_argument(
        "--long", action="store_true", help="a month and a year for memory; ten years for builds"
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(ALL):
        parser.error(f"no benchmark {', '.join(unknown)}; known are {', '.join(ALL)}")
    began = time.monotonic()
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, load average {os.getloadavg()[0]:.1f}; medians of the rounds"
    )
    with world() as here:
        for name in given.names or ALL:
            for line in ALL[name](here, given.long):
                print(line, flush=True)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
