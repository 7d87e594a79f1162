"""Start one stand-in server on loopback.

    python -m sandbox igate --world tien_giang --port 9101
    python -m sandbox igate --world dong_thap --port 9102
    python -m sandbox portal --port 9103
    python -m sandbox population --port 9104
    python -m sandbox opencps --port 9105
    python -m sandbox exchange --port 9106
    python -m sandbox ckan --port 9107

All but the portal take the client's credentials from SANDBOX_CLIENT_ID and SANDBOX_CLIENT_SECRET.
"""

import argparse
import os
import sys
from datetime import datetime

import uvicorn


def main() -> int:
    """Read the command line and serve until stopped; 2 when a setting is missing."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("system", choices=["igate", "opencps", "portal", "population", "exchange", "ckan"])
    parser.add_argument("--world", choices=["tien_giang", "dong_thap"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", default=os.environ.get("SANDBOX_EXCHANGE_FILE") or ":memory:",
                        help="exchange: file of its copy (or SANDBOX_EXCHANGE_FILE); none: in memory")  # fmt: skip
    parser.add_argument("--now", type=datetime.fromisoformat, default=os.environ.get("SANDBOX_NOW") or None,
                        help="the server's clock, such as 2025-07-15T23:59:59+07:00 (or SANDBOX_NOW)")  # fmt: skip
    options = parser.parse_args()
    if isinstance(options.now, datetime) and options.now.tzinfo is None:
        parser.error("--now needs an offset, such as 2025-07-15T23:59:59+07:00")
    if options.system == "igate" and not options.world:
        parser.error("igate needs --world tien_giang or --world dong_thap")
    if options.system != "portal":
        missing = [n for n in ("SANDBOX_CLIENT_ID", "SANDBOX_CLIENT_SECRET") if not os.environ.get(n)]
        if missing:
            print(f"sandbox: {' and '.join(missing)} not set in the environment; set the credentials that the "
                  "connector will use, then start again", file=sys.stderr)  # fmt: skip
            return 2
    client = (os.environ.get("SANDBOX_CLIENT_ID", ""), os.environ.get("SANDBOX_CLIENT_SECRET", ""))
    if options.system == "igate":
        from sandbox.igate import create_app

        app = create_app(options.world, *client, options.now)
    elif options.system == "opencps":
        from sandbox.opencps import create_app as create_opencps

        app = create_opencps(*client, options.now)
    elif options.system == "population":
        from sandbox.population import create_app as create_population

        app = create_population(*client)
    elif options.system == "ckan":
        from sandbox.ckan import create_app as create_ckan

        app = create_ckan(client[1])
    elif options.system == "exchange":
        from sandbox.exchange import create_app as create_exchange

        app = create_exchange(*client, options.database)
    else:
        from sandbox.portal import create_app as create_portal

        app = create_portal()
    # Loopback, unless it is the one program of a container.
    host = os.environ.get("SANDBOX_BIND", "127.0.0.1")
    uvicorn.run(app, host=host, port=options.port, log_level="warning", access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
