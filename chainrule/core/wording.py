"""Format counts with their nouns, and lists of numbers, for errors, notes and reports.

Read next: :mod:`chainrule.core.errors`.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["counted", "listed"]

TOLD = 8  # numbers that a text lists


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a count followed by its noun; `plural` is for irregular plurals.

    >>> counted(1, "row"), counted(12345, "row"), counted(0, "class", "classes")
    ('1 row', '12,345 rows', '0 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(numbers: Sequence[int]) -> str:
    """Return the first of the numbers, such as those of the rows of a batch, as text.

    >>> listed((5, 6)), listed(range(10))
    ('5, 6', '0, 1, 2, 3, 4, 5, 6, 7 ...')
    """
    return ", ".join(map(str, numbers[:TOLD])) + (" ..." if len(numbers) > TOLD else "")
