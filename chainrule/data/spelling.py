"""Parse formatted numbers: decimal commas, grouped thousands, currencies and percentages.

A column is parsed only if one format fits all of its cells.  If several formats fit and give
different numbers (83,879 may be thousands or a decimal), the decimal mark decides, if it is known.

Read next: :mod:`chainrule.data.writing`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

__all__ = [
    "SPELLINGS",
    "advise",
    "decimal_mark",
    "find_spelling",
    "forms_for",
    "number_parts",
    "parse_spelled",
]

_GAP = "[ '\u2019\u00a0\u202f]"  # between thousands: spaces and apostrophes
SPELLINGS = {
    "1234.5": re.compile(r"(0|[1-9]\d*)(\.\d+)?"),
    "1,234.5": re.compile(r"([1-9]\d{0,2}(,\d{3})+|0|[1-9]\d*)(\.\d+)?"),
    "1.234,5": re.compile(r"([1-9]\d{0,2}(\.\d{3})+|0|[1-9]\d*)(,\d+)?"),
    "1 234.5": re.compile(rf"([1-9]\d{{0,2}}({_GAP}\d{{3}})+|0|[1-9]\d*)(\.\d+)?"),
    "1 234,5": re.compile(rf"([1-9]\d{{0,2}}({_GAP}\d{{3}})+|0|[1-9]\d*)(,\d+)?"),
}
"""The number formats, named by an example; a sign and a unit may be added.

Leading zeros are not allowed, because they make a code such as 007.
"""

_UNIT = "[€$£¥₹₽₩₺%]|EUR|USD|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|CZK|HUF|CAD|AUD|BRL|Rs|kr|zł"
_PARTS = re.compile(rf"([+-]?)({_UNIT})?\s*([+-]?)(\d(?:(?:[\d.,]|{_GAP})*\d)?)\s*({_UNIT})?")
_MOSTLY = 0.8  # least share of numbers in a text column for advice on the other cells


def number_parts(cell: str) -> tuple[str, str, str] | None:
    """Return (sign, unit, digits with their marks) of a cell that looks like a number, or None.

    >>> number_parts("-1.200,50 €"), number_parts("red")
    (('-', '€', '1.200,50'), None)
    """
    parts = _PARTS.fullmatch(cell.replace("\u2212", "-"))
    if parts is None or (parts[1] and parts[3]) or (parts[2] and parts[5]):
        return None
    return parts[1] + parts[3], (parts[2] or "") + (parts[5] or ""), parts[4]


def parse_spelled(cell: str, spelling: str) -> float | None:
    """Return `cell` as a number in the format `spelling`, or None.

    >>> parse_spelled("1.234,50", "1.234,5"), parse_spelled("-€1,200", "€1,234.5")
    (1234.5, -1200.0)
    >>> parse_spelled("44.9", "1234.5%") is None  # 44.9 %, or 4490 %?
    True
    """
    parts = number_parts(cell)
    return None if parts is None else _value(parts, spelling)


def _value(parts: tuple[str, str, str], spelling: str) -> float | None:
    """Return the number of :func:`number_parts` in the format `spelling`, or None."""
    unit, form = _split(spelling)
    if parts[1] != unit or not SPELLINGS[form].fullmatch(parts[2]):
        return None
    digits = re.sub(_GAP, "", parts[2])
    if decimal_mark(form) == ",":
        digits = digits.replace(".", "").replace(",", ".")
    return float(f"{parts[0]}{digits.replace(',', '')}")


@lru_cache(maxsize=256)
def _split(spelling: str) -> tuple[str, str]:
    """Return (unit, form), as in ("€", "1,234.5")."""
    bare = spelling.removesuffix("%")
    form = next((form for form in SPELLINGS if bare.endswith(form)), "1234.5")
    return spelling[len(bare) :] or bare.removesuffix(form), form


def decimal_mark(spelling: str) -> str:
    """Return the decimal mark of a format: ``.`` or ``,``.

    >>> decimal_mark("€1.234,5")
    ','
    """
    return "," if spelling.removesuffix("%").endswith(",5") else "."


def forms_for(unit: str) -> list[str]:
    """Return the formats of numbers with the unit `unit` ("" for none)."""
    return [f"{form}%" if unit == "%" else f"{unit}{form}" for form in SPELLINGS]


def find_spelling(cells: Sequence[str], decimal: str = "") -> tuple[str, list[float]] | None:
    """Return the format that parses every cell, and the numbers; None if there is none.

    If several formats parse every cell and give different numbers, it is the one with the mark
    `decimal`, or none if that is "".

    >>> find_spelling(["3,50", "12"])
    ('1.234,5', [3.5, 12.0])
    >>> find_spelling(["83,879", "12,500"]) is None
    True
    >>> find_spelling(["83,879", "12,500"], decimal=".")
    ('1,234.5', [83879.0, 12500.0])
    """
    found = _readings(cells)
    if decimal and any(values != found[0][1] for _, values in found[1:]):
        found = [reading for reading in found if decimal_mark(reading[0]) == decimal]
    if not found or any(values != found[0][1] for _, values in found[1:]):
        return None
    return found[0]


def _readings(cells: Sequence[str]) -> list[tuple[str, list[float]]]:
    every = []
    for cell in cells:
        parts = number_parts(cell)
        if parts is None:
            return []
        every.append(parts)
    found = []
    for spelling in forms_for(every[0][1]) if every else ():
        values = []
        for parts in every:
            value = _value(parts, spelling)
            if value is None:
                break
            values.append(value)
        else:
            found.append((spelling, values))
    return found


def advise(words: Sequence[str], name: str = "COLUMN") -> str:
    """Return why a column of `words` that look like numbers is text; "" if they do not.

    >>> print(advise(["83,879", "12,500"], "price"))
    cells such as '83,879' may be thousands or decimals; say --role 'price=number(thousands=",")'
    """
    if _readings(words):
        comma = next((word for word in words if "," in word or "." in word), words[0])
        mark = "," if "," in comma else "."
        return (
            f"cells such as {comma!r} may be thousands or decimals; say "
            f"--role '{name}=number(thousands=\"{mark}\")'"
        )
    numbers = [word for word in words if _readings([word])]
    if len(numbers) < max(2, _MOSTLY * len(words)):
        return ""
    odd = next((word for word in words if not _readings([word])), None)
    if odd is None:
        return (
            f"its numbers are written in several formats, such as {words[0]!r}; use plain numbers"
        )
    return f"most cells are numbers, but not {odd!r}; correct or clear the cells that are not"
