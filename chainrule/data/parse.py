"""Parse the text cells of a column as numbers, booleans or dates, if all of them can be.

Columns of files and of arrays are parsed by the same rules.

Read next: :mod:`chainrule.data.table`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.data.spelling import find_spelling

__all__ = ["DATE_FORMATS", "ISO", "MISSING", "Kind", "parse_date", "parse_number", "parse_text"]

Kind = Literal["number", "boolean", "date", "text"]

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "?")
"""Cells (stripped, lower case) that mean "no value".

``none`` is not among them: it is a class in too many tables.
"""

ISO = "iso"
DATE_FORMATS = (ISO, "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y.%m.%d")
"""Tried in this order; the first that parses every cell is used."""

_CODE = re.compile(r"0[0-9]+")
_BOOLEANS = {"true": True, "false": False}
_ISO_START = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}")


def parse_number(cell: str) -> float | None:
    """Return `cell` as a number, or None.

    >>> parse_number("1e3"), parse_number("1,5"), parse_number("0x10")
    (1000.0, None, None)
    """
    try:
        return float(cell)
    except ValueError:
        return None


def parse_date(cell: str, form: str = ISO) -> datetime | None:
    """Return the date of `cell` in the format `form`, converted to UTC without time zone, or None.

    >>> parse_date("2024-02-29T10:30:00Z")
    datetime.datetime(2024, 2, 29, 10, 30)
    >>> parse_date("29/2/2024", "%d/%m/%Y")
    datetime.datetime(2024, 2, 29, 0, 0)
    """
    try:
        if form != ISO:
            return datetime.strptime(cell, form)
        if not _ISO_START.match(cell):
            return None
        # Python 3.10 does not parse the suffix Z, slashes or unpadded parts.
        day, time = re.split(r"[T ]", cell + " ", maxsplit=1)
        year, month, number = re.split(r"[-/]", day)
        padded = f"{year}-{int(month):02}-{int(number):02} {time.strip()}".strip()
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", padded))
    except ValueError:
        return None
    return moment.astimezone(timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment


def parse_text(cells: Sequence[str]) -> tuple[Kind, NDArray[Any], NDArray[np.bool_], str]:
    """Parse a column of strings as the most specific kind.

    Returns (kind, values, missing, date format or number format).  Digits with a leading zero
    (``007``) are codes and stay text; a column without any value is text.

    >>> kind, values, missing, _ = parse_text(["1", "NA", "2.5"])
    >>> kind, values.tolist(), missing.tolist()
    ('number', [1.0, nan, 2.5], [False, True, False])
    """
    stripped = [cell.strip() for cell in cells]
    missing = np.array([cell.lower() in MISSING for cell in stripped], dtype=bool)
    present = [cell for cell, gone in zip(stripped, missing, strict=True) if not gone]
    where = ~missing
    if present:
        numbers = _all(present, _number_not_code)
        if numbers is not None:
            return "number", _scatter(numbers, where, np.float64, math.nan), missing, ""
        booleans = _all(present, lambda cell: _BOOLEANS.get(cell.lower()))
        if booleans is not None:
            return "boolean", _scatter(booleans, where, np.bool_, False), missing, ""
        spelled = find_spelling(present)
        if spelled is not None:
            form, numbers = spelled
            return "number", _scatter(numbers, where, np.float64, math.nan), missing, form
        for form in DATE_FORMATS:
            dates = _all(present, lambda cell, form=form: parse_date(cell, form))  # type: ignore[misc]
            if dates is not None:
                moments = _scatter(dates, where, "datetime64[us]", np.datetime64("NaT"))
                return "date", moments, missing, form
    text = np.array(stripped, dtype=object)
    text[missing] = ""
    return "text", text, missing, ""


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


def _scatter(values: list[Any], where: NDArray[np.bool_], dtype: Any, fill: Any) -> NDArray[Any]:
    column = np.full(len(where), fill, dtype=dtype)
    column[where] = np.array(values, dtype=dtype)
    return column
