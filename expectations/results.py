"""What a gate found. Apart from the gates, so that a caller who only catches GateFailed need not import GX (10 s)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Check:
    """The result of one rule: `unexpected_rows` is None where the rule does not count rows."""

    name: str
    description: str
    required: bool
    success: bool
    unexpected_rows: int | None
    notes: str = ""
    #: The description in Vietnamese, for the rules that the public reads.
    vi: str = ""

    def __str__(self) -> str:
        rows = "" if self.unexpected_rows is None else f" on {self.unexpected_rows} row(s)"
        return f"{self.name} failed{rows}: {self.description}{f' ({self.notes})' if self.notes else ''}"


@dataclass(frozen=True)
class GateResult:
    """What a gate found. `success` is about required checks; failed others are `warnings`."""

    gate: str
    success: bool
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def warnings(self) -> list[Check]:
        """Checks that failed but only warn."""
        return [check for check in self.checks if not check.success and not check.required]

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON: gate, success, seconds, checks."""
        return asdict(self)


NEXT_STEP = {
    "landing": "The batch stays outside raw. Mend the source or its contract, then clear the task.",
    "warehouse": "Nothing is published. Find the rows in SQL (make psql), mend model or source, build again.",
    "release": "Readers keep the last good release. Mend the model or its publish marks, then publish again.",
}


class GateFailed(Exception):
    """A gate is shut. The message names table, column, expectation and number of rows, never a value."""

    def __init__(self, result: GateResult, docs: Path) -> None:
        failed = [check for check in result.checks if check.required and not check.success]
        lines = "\n".join(f"- {check}" for check in failed)
        super().__init__(
            f"Gate {result.gate}: {len(failed)} of {len(result.checks)} checks failed:\n{lines}\n"
            f"{NEXT_STEP[result.gate]} Pages: {docs / 'index.html'}"
        )
        self.result = result
