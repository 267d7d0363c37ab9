"""Join the notes on columns that were dropped for the same reason.

Read next: :mod:`chainrule.data.columns`, which writes most of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["group_notes"]

MOST_NAMES = 6  # of columns dropped for one reason, before "and 12 more"
_DROPPED = re.compile(r"dropped `(.*)`: (.*)", re.DOTALL)


def group_notes(notes: Iterable[str]) -> list[str]:
    """Join notes on columns dropped for the same reason.

    >>> group_notes(["dropped `a`: every value is 0", "dropped `b`: every value is 0"])
    ['dropped `a`, `b`: every value is 0']
    """
    grouped: dict[str, list[str]] = {}
    for note in notes:
        match = _DROPPED.fullmatch(note)
        if match:
            grouped.setdefault(match[2], []).append(f"`{match[1]}`")
        else:
            grouped[note] = []
    return [_dropped(found, why) if found else why for why, found in grouped.items()]


def _dropped(found: list[str], why: str) -> str:
    more = len(found) - MOST_NAMES
    listed = found if more <= 1 else [*found[:MOST_NAMES], f"and {more} more"]
    return f"dropped {', '.join(listed)}: {why}"
