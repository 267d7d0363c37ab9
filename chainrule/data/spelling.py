"""Parse formatted numbers: decimal commas, grouped thousands, currencies and percentages.

A column is parsed only if one format fits all of its cells.  If several formats fit and give
different numbers (83,879 may be thousands or a decimal), the column stays text.

Read next: :mod:`chainrule.data.parse`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["SPELLINGS", "advise", "find_spelling", "parse_spelled"]

SPELLINGS = {
    "1234.5": re.compile(r"(0|[1-9]\d*)(\.\d+)?"),
    "1,234.5": re.compile(r"([1-9]\d{0,2}(,\d{3})+|0|[1-9]\d*)(\.\d+)?"),
    "1.234,5": re.compile(r"([1-9]\d{0,2}(\.\d{3})+|0|[1-9]\d*)(,\d+)?"),
}
"""The number formats, named by an example; a sign and a unit may be added.

Leading zeros are not allowed, because they make a code such as 007.
"""

_UNITS = "€$£¥%"
_PARTS = re.compile(rf"([+-]?)([{_UNITS}]?)\s*([+-]?)(\d[\d.,]*)\s*([{_UNITS}]?)")
_MOSTLY = 0.8  # least share of numbers in a text column for advice on the other cells


def parse_spelled(cell: str, spelling: str) -> float | None:
    """Return `cell` as a number in the format `spelling`, or None.

    >>> parse_spelled("1.234,50", "1.234,5"), parse_spelled("-€1,200", "€1,234.5")
    (1234.5, -1200.0)
    >>> parse_spelled("44.9", "1234.5%") is None  # 44.9 %, or 4490 %?
    True
    """
    parts = _PARTS.fullmatch(cell)
    if parts is None:
        return None
    sign, before, inner, digits, after = parts.groups()
    unit, form = _split(spelling)
    if (before + after) != unit or (sign and inner) or not SPELLINGS[form].fullmatch(digits):
        return None
    plain = digits.replace(".", "").replace(",", ".") if form == "1.234,5" else digits
    return float(f"{sign}{inner}{plain.replace(',', '')}")


def _split(spelling: str) -> tuple[str, str]:
    """Return (unit, form), as in ("€", "1,234.5")."""
    form = spelling.strip(_UNITS)
    return spelling.replace(form, ""), form


def find_spelling(cells: Sequence[str]) -> tuple[str, list[float]] | None:
    """Return the format that parses every cell, and the numbers; None if there is none.

    If several formats parse every cell, they must give the same numbers.

    >>> find_spelling(["3,50", "12"])
    ('1.234,5', [3.5, 12.0])
    >>> find_spelling(["83,879", "12,500"]) is None
    True
    """
    found = _readings(cells)
    if not found or any(values != found[0][1] for _, values in found[1:]):
        return None
    return found[0]


def _readings(cells: Sequence[str]) -> list[tuple[str, list[float]]]:
    first = _PARTS.fullmatch(cells[0]) if cells else None
    if first is None or (first[2] and first[5]):
        return []
    unit = first[2] + first[5]
    found = []
    for form in SPELLINGS:
        spelling = f"{form}%" if unit == "%" else f"{unit}{form}"
        values = []
        for cell in cells:
            value = parse_spelled(cell, spelling)
            if value is None:
                break
            values.append(value)
        else:
            found.append((spelling, values))
    return found


def advise(words: Sequence[str]) -> str:
    """Return why a column of `words` that look like numbers is text; "" if they do not.

    >>> advise(["83,879", "12,500"])
    "cells such as '83,879' may be thousands or decimals; write them as 83879 or 83.879"
    """
    if _readings(words):
        comma = next((word for word in words if "," in word or "." in word), words[0])
        digits = re.sub(rf"[{_UNITS}\s]", "", comma)
        whole, part = re.sub("[.,]", "", digits), digits.replace(",", ".")
        return (
            f"cells such as {comma!r} may be thousands or decimals; write them as {whole} or {part}"
        )
    numbers = [word for word in words if any(_reads(word))]
    if len(numbers) < max(2, _MOSTLY * len(words)):
        return ""
    odd = next((word for word in words if not any(_reads(word))), None)
    if odd is None:
        return (
            f"its numbers are written in several formats, such as {words[0]!r}; use plain numbers"
        )
    return f"most cells are numbers, but not {odd!r}; correct or clear the cells that are not"


def _reads(word: str) -> list[bool]:
    return [True for _ in _readings([word])]
