"""Format counts with their nouns, for errors, notes and reports.

Read next: :mod:`chainrule.core.errors`.
"""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a count followed by its noun; `plural` is for irregular plurals.

    >>> counted(1, "row"), counted(12345, "row"), counted(0, "class", "classes")
    ('1 row', '12,345 rows', '0 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
