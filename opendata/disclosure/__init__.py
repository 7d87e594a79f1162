"""Disclosure control: nobody can be found in what is published, not by subtraction either. See docs/disclosure.md."""

from opendata.disclosure.policy import Policy, Shape, TablePolicy, read_policy
from opendata.disclosure.protect import Protection, Withheld, protect_release
from opendata.disclosure.system import Counted, DisclosureError

__all__ = [
    "Counted",
    "DisclosureError",
    "Policy",
    "Protection",
    "Shape",
    "TablePolicy",
    "Withheld",
    "protect_release",
    "read_policy",
]
