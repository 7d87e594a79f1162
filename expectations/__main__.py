"""`python -m expectations landing|warehouse|release ...`: run one gate by hand."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 passed, 1 shut)."""
    home = Path(os.environ.get("KHOCHUNG_HOME", "var"))
    parser = argparse.ArgumentParser(prog="python -m expectations", description=__doc__)
    parser.add_argument("gate", choices=["landing", "warehouse", "release"])
    parser.add_argument("--url", default=os.environ.get("WAREHOUSE_URL"), help="or WAREHOUSE_URL")
    parser.add_argument("--docs", type=Path, default=home / "data-docs", help="folder of the result pages")
    parser.add_argument("--schema", default="raw", help="landing: schema of the tables to check")
    parser.add_argument(
        "--table", action="append", default=[], help="landing: contract=table, once for each table"
    )
    parser.add_argument(
        "--folder", type=Path, default=home / "open-data" / "current", help="release to check"
    )
    options = parser.parse_args(argv)
    if options.gate != "release" and not options.url:
        parser.error("no warehouse given: looked at --url and WAREHOUSE_URL; `make -s url` prints one")

    # Costs seconds, so not before the arguments are known to be right.
    from expectations.gates import check_landing, check_release, check_warehouse
    from expectations.results import GateFailed
    from expectations.suites import contract_names

    try:
        if options.gate == "landing":
            pairs = options.table or [f"{name}={name}" for name in contract_names()]
            tables = dict(pair.split("=", 1) for pair in pairs)
            result = check_landing(options.url, options.schema, tables, options.docs)
        elif options.gate == "warehouse":
            result = check_warehouse(options.url, options.docs)
        else:
            result = check_release(options.folder, options.docs)
    except GateFailed as shut:
        sys.stderr.write(f"{shut}\n")
        return 1
    for warning in result.warnings:
        sys.stdout.write(f"warning: {warning}\n")
    sys.stdout.write(f"Gate {result.gate}: {len(result.checks)} checks in {result.seconds} s, open\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
