"""Repair rules: the one thing rejected records are read for.

A rule is an entry of the reviewed file ``ops/repairs.yml``; the vault reads it at every reading, so that a rule taken
out of it opens nothing any more:

    rules:
      step_due_on_no_date:
        source: igate_tien_giang
        table: dossier_step
        field: due_at                          # of the contract, as the list of rejects names it
        when: "no date that exists"            # regular expression met by the reason
        then: {set: null}                      # or {parse: "%d-%m-%Y"}, {values: {"Có": true}}, {take: started_at}
        why: "Biên bản 12/BB-TTDL ngày 05/07/2025: ..."   # who decided it, and why it is right
        daily_quota: 5000                      # rejects read a day, Vietnamese time; 1000 if left out
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

#: The purpose under which readings are recorded.
PURPOSE = "reject_repair"
#: Payloads one call may ask for.
MOST_AT_ONCE = 200
#: Of one rule that says nothing else.
DAILY_QUOTA = 1_000
_FIELDS = ("source", "table", "field", "when", "then", "why")
_OPTIONAL = "daily_quota"
_REPAIRS: dict[str, tuple[type, ...]] = {
    "set": (type(None),),
    "parse": (str,),
    "values": (dict,),
    "take": (str,),
}


class RuleError(Exception):
    """The file of rules, or what was asked under one of them, is not right; the message says where."""


@dataclass(frozen=True)
class Rule:
    """What is done (`repair` and its `argument`) to `field` of the rejects it covers, at most `daily_quota` a day."""

    name: str
    source: str
    table: str
    field: str
    when: str
    repair: str
    argument: Any
    why: str
    daily_quota: int = DAILY_QUOTA

    def covers(self, source: str, table: str, field: str, reason: str | None = None) -> bool:
        """Whether a reject is this rule's; without a `reason`, as far as the rest tells."""
        mine = (source, table, field) == (self.source, self.table, self.field)
        return mine and (reason is None or re.search(self.when, reason) is not None)


def read_rules(path: Path) -> dict[str, Rule]:
    """{name: rule}; RuleError lists everything that is wrong, with the file."""
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise RuleError(f"looked for the repair rules at {path} (setting KHOCHUNG_REPAIRS)") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as e:
        raise RuleError(f"{path} cannot be read as YAML ({type(e).__name__})") from None
    entries = raw.get("rules") if isinstance(raw, dict) else None
    if not isinstance(entries, dict):
        raise RuleError(f"{path} holds no `rules:`; without any rule write `rules: {{}}`")
    rules: dict[str, Rule] = {}
    wrong: list[str] = []
    for name, entry in entries.items():
        troubles = _troubles(entry)
        wrong += [f"{name} {t}" for t in troubles]
        if not troubles:
            ((repair, argument),) = entry["then"].items()
            plain = {k: entry[k] for k in (*_FIELDS, _OPTIONAL) if k != "then" and k in entry}
            rules[str(name)] = Rule(name=str(name), repair=repair, argument=argument, **plain)
    if wrong:
        raise RuleError(f"{path}: {'; '.join(wrong)}")
    return rules


def _troubles(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return ["is no rule"]
    texts = [k for k in _FIELDS if k != "then"]
    found = [f"lacks the text {k}" for k in texts if not (isinstance(entry.get(k), str) and entry[k].strip())]
    found += [f"has the unknown entry {k}" for k in entry if k not in (*_FIELDS, _OPTIONAL)]
    quota = entry.get(_OPTIONAL, DAILY_QUOTA)
    if type(quota) is not int or quota < 1:
        found.append(f"needs a whole number above 0 in {_OPTIONAL}")
    if not found:
        try:
            re.compile(entry["when"])
        except re.error as e:
            found.append(f"has in `when` no regular expression ({e})")
    then = entry.get("then")
    if not isinstance(then, dict) or len(then) != 1 or next(iter(then)) not in _REPAIRS:
        return [*found, f"needs in `then` exactly one of {', '.join(_REPAIRS)}"]
    ((repair, argument),) = then.items()
    if not isinstance(argument, _REPAIRS[repair]):
        kinds = {
            "set": "null",
            "parse": "a form such as %d-%m-%Y",
            "values": "a table of values",
            "take": "a column",
        }
        found.append(f"needs {kinds[repair]} after `{repair}`")
    return found
