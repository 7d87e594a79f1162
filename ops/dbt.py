"""One dbt process for several commands: ``python -m ops.dbt '["seed"]' '["build", ...]'``.

Importing dbt costs seconds, so a build pays it once. The last line of the output is JSON: for each command its
words, whether it succeeded, and {status: count} with the nodes that failed.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ops.settings import PROJECT

#: Before the results in what this module prints.
MARK = "DBT-RESULTS "


def main() -> int:
    """Run the commands given as JSON lists until one fails."""
    from dbt.cli.main import dbtRunner  # here, so that importing MARK does not import dbt

    done: list[dict[str, Any]] = []
    for argument in sys.argv[1:]:
        words = json.loads(argument)
        result = dbtRunner().invoke(
            [*words, "--project-dir", str(PROJECT / "dbt"), "--profiles-dir", str(PROJECT / "dbt"),
             "--no-use-colors", "--quiet"]
        )  # fmt: skip
        nodes = list(getattr(result.result, "results", None) or [])
        statuses: dict[str, int] = {}
        for node in nodes:
            statuses[str(node.status)] = statuses.get(str(node.status), 0) + 1
        done.append(
            {
                "command": words[:2] if words[0] == "source" else words[:1],
                "success": bool(result.success),
                "statuses": statuses,
                "failed": [
                    {
                        "node": node.node.unique_id.split(".", 2)[-1],
                        "message": " ".join(str(node.message or "").split())[:300],
                        "rows": getattr(node, "failures", None),
                    }
                    for node in nodes
                    if str(node.status) in ("error", "fail", "runtime error")
                ],
                "exception": " ".join(str(result.exception).split())[:1500] if result.exception else None,
            }
        )
        if not result.success:
            break
    print(MARK + json.dumps(done, ensure_ascii=False), flush=True)
    return 0 if all(d["success"] for d in done) else 1


if __name__ == "__main__":
    sys.exit(main())
