"""Periods as models write them, and the days they hold."""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, timedelta


def days_of(value: object) -> tuple[date, date] | None:
    """Return the first and last day of a period, or None where it is none.

    A period is a date, or text: 2026, 2026-Q3, 2026-08, 2026-08-15, or 2026-08-01/2026-08-15 (both days included).
    """
    if isinstance(value, datetime):
        return value.date(), value.date()
    if isinstance(value, date):
        return value, value
    text = str(value)
    try:
        if "/" in text:
            first, last = (date.fromisoformat(part) for part in text.split("/"))
            return (first, last) if first <= last else None
        if re.fullmatch(r"\d{4}", text):
            return date(int(text), 1, 1), date(int(text), 12, 31)
        if found := re.fullmatch(r"(\d{4})-Q([1-4])", text):
            year, quarter = int(found[1]), int(found[2])
            return date(year, quarter * 3 - 2, 1), _end_of(year, quarter * 3)
        if found := re.fullmatch(r"(\d{4})-(\d{2})", text):
            return date(int(found[1]), int(found[2]), 1), _end_of(int(found[1]), int(found[2]))
        return date.fromisoformat(text), date.fromisoformat(text)
    except ValueError:
        return None


def _end_of(year: int, month: int) -> date:
    return date(year, month, 1) + timedelta(days=calendar.monthrange(year, month)[1] - 1)
