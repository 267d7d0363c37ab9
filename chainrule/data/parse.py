"""Parse the text cells of a column as numbers, booleans or dates, if all of them can be.

Columns of files and of arrays are parsed by the same rules.

Read next: :mod:`chainrule.data.table`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.data.dates import find_date_format, parse_date
from chainrule.data.spelling import decimal_mark, find_spelling
from chainrule.data.writing import UNKNOWN, Writing

__all__ = ["MISSING", "Kind", "parse_number", "parse_text"]

Kind = Literal["number", "boolean", "date", "text"]

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "?")
"""Cells (stripped, lower case) that mean "no value".

``none`` is not among them: it is a class in too many tables.
"""

_CODE = re.compile(r"0[0-9]+")
_BOOLEANS = {"true": True, "false": False}
_DTYPES: dict[Kind, tuple[Any, Any]] = {
    "number": (np.float64, math.nan),
    "boolean": (np.bool_, False),
    "date": ("datetime64[us]", np.datetime64("NaT")),
}


def parse_number(cell: str) -> float | None:
    """Return `cell` as a number, or None.

    >>> parse_number("1e3"), parse_number("1,5"), parse_number("0x10")
    (1000.0, None, None)
    """
    try:
        return float(cell)
    except ValueError:
        return None


def parse_text(
    cells: Sequence[str], writing: Writing = UNKNOWN
) -> tuple[Kind, NDArray[Any], NDArray[np.bool_], str]:
    """Parse a column of strings as the most specific kind.

    Returns (kind, values, missing, date format or number format).  Digits with a leading zero
    (``007``) are codes and stay text; a column without any value is text.  `writing` decides
    where the cells can be read in two ways.

    >>> kind, values, missing, _ = parse_text(["1", "NA", "2.5"])
    >>> kind, values.tolist(), missing.tolist()
    ('number', [1.0, nan, 2.5], [False, True, False])
    """
    stripped = [cell.strip() for cell in cells]
    missing = np.array([cell.lower() in MISSING for cell in stripped], dtype=bool)
    present = [cell for cell, gone in zip(stripped, missing, strict=True) if not gone]
    if present:
        different = list(dict.fromkeys(present))  # each is parsed once
        kind, parsed, form = _parse_cells(different, writing)
        if parsed is not None:
            dtype, gap = _DTYPES[kind]
            place = dict(zip(different, parsed, strict=True))
            values = np.full(len(cells), gap, dtype=dtype)
            values[~missing] = np.array([place[cell] for cell in present], dtype=dtype)
            return kind, values, missing, form
    text = np.array(stripped, dtype=object)
    text[missing] = ""
    return "text", text, missing, ""


def _parse_cells(cells: list[str], writing: Writing) -> tuple[Kind, list[Any] | None, str]:
    """Return (kind, values, format) of different cells; the values of text are None."""
    grouped = _grouped_by_points(cells, writing)
    numbers = None if grouped else _all(cells, _number_not_code)
    if numbers is not None:
        return "number", numbers, ""
    booleans = _all(cells, lambda cell: _BOOLEANS.get(cell.lower()))
    if booleans is not None:
        return "boolean", booleans, ""
    spelled = find_spelling(cells, writing.decimal)
    if spelled is not None:
        return "number", spelled[1], spelled[0]
    form = find_date_format(cells, writing.day_first)
    if form:
        return "date", [parse_date(cell, form) for cell in cells], form
    return "text", None, ""


def _grouped_by_points(cells: list[str], writing: Writing) -> bool:
    """Whether points group thousands in `cells`, as in 1.234, so that they are no plain numbers."""
    if writing.decimal != "," or not any("." in cell for cell in cells):
        return False
    spelled = find_spelling(cells, ",")
    return spelled is not None and decimal_mark(spelled[0]) == ","


def _number_not_code(cell: str) -> float | None:
    return None if _CODE.fullmatch(cell) else parse_number(cell)


def _all(cells: list[str], parse: Callable[[str], Any]) -> list[Any] | None:
    """Return every cell parsed, or None if one can't be parsed."""
    values = []
    for cell in cells:
        value = parse(cell)
        if value is None:
            return None
        values.append(value)
    return values
