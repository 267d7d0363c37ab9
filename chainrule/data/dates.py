"""Parse dates as people write them, in one format or in several within a column.

The order of day and month (3/4/2024) is that of the cells in which one of them is above 12.

Read next: :mod:`chainrule.data.parse`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone

__all__ = ["DAY_FIRST", "ISO", "day_first_in", "find_date_format", "parse_any_date", "parse_date"]

ISO = "iso"
MONTH_FIRST = ("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y")
DAY_FIRST = ("%d/%m/%Y", "%d-%m-%Y", "%d/%m/%y")
_CLEAR = (
    "%d.%m.%Y", "%d.%m.%y", "%Y.%m.%d", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%b %d, %Y",
    "%B %d, %Y",
)  # fmt: skip

_ISO_START = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}")
_TIME = re.compile(r"(.*\d)[T ,]+(\d{1,2}):(\d\d)(?::(\d\d))?(?: ?([AaPp])[Mm])?")
_ORDERED = re.compile(r"(\d{1,2})([/-])(\d{1,2})\2(?:\d{4}|\d\d)(?:\D.*)?")
_MAY_BE = re.compile(r"\d|[^\W\d]{3,} ?\d")  # strptime takes 0.05 ms to refuse a word
_PROBED = 40  # cells tried first


def parse_date(cell: str, form: str = ISO) -> datetime | None:
    """Return the date of `cell`, converted to UTC without time zone, or None.

    `form` is a format of ``strptime``, "iso", or several formats joined by ``|``, of which the
    first that fits is used.  A time of day may follow.

    >>> parse_date("2024-02-29T10:30:00Z")
    datetime.datetime(2024, 2, 29, 10, 30)
    >>> parse_date("29/2/2024 1:05 PM", "iso|%d/%m/%Y")
    datetime.datetime(2024, 2, 29, 13, 5)
    """
    if not _MAY_BE.match(cell):
        return None
    for one in form.split("|"):
        moment = _parse_iso(cell) if one == ISO else _parse(cell, one)
        if moment is not None:
            return moment
    return None


def parse_any_date(cell: str) -> datetime | None:
    """Return the date of `cell` in the first format that fits, or None."""
    return parse_date(cell, "|".join((ISO, *MONTH_FIRST, *DAY_FIRST, *_CLEAR)))


def _parse_iso(cell: str) -> datetime | None:
    if not _ISO_START.match(cell):
        return None
    try:
        # Python 3.10 does not parse the suffix Z, slashes or unpadded parts.
        day, time = re.split(r"[T ]", cell + " ", maxsplit=1)
        year, month, number = re.split(r"[-/]", day)
        padded = f"{year}-{int(month):02}-{int(number):02} {time.strip()}".strip()
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", padded))
    except ValueError:
        return None
    return moment.astimezone(timezone.utc).replace(tzinfo=None) if moment.tzinfo else moment


def _parse(cell: str, form: str) -> datetime | None:
    timed = _TIME.fullmatch(cell)
    try:
        day = datetime.strptime(timed[1] if timed else cell, form)
        if timed is None:
            return day
        hour = int(timed[2])
        if timed[5]:
            hour = hour % 12 + 12 * (timed[5] in "pP")
        return day.replace(hour=hour, minute=int(timed[3]), second=int(timed[4] or 0))
    except ValueError:
        return None


def day_first_in(cells: Sequence[str]) -> bool | None:
    """Return whether `cells` have the day before the month; None if they do not show it.

    >>> day_first_in(["3/4/2024", "13/4/2024"]), day_first_in(["3/4/2024"])
    (True, None)
    """
    shown: set[bool] = set()
    if not any(_ORDERED.fullmatch(cell.strip()) for cell in _some(cells)):
        return None
    for cell in map(str.strip, cells):
        parts = _ORDERED.fullmatch(cell)
        if parts and (int(parts[1]) > 12) != (int(parts[3]) > 12):
            shown.add(int(parts[1]) > 12)
    return shown.pop() if len(shown) == 1 else None


def _some(cells: Sequence[str]) -> Sequence[str]:
    """Return some cells from all over the column, at an odd distance, as formats may alternate."""
    return cells[:: len(cells) // _PROBED | 1]


def find_date_format(
    cells: Sequence[str], day_first: bool | None = None, share: float = 1.0
) -> str:
    """Return the format of at least this `share` of `cells`, or several joined by ``|``; or "".

    One format is preferred to several.  Where day and month may be exchanged in every cell,
    `day_first` decides, and the month comes first if it is None.

    >>> find_date_format(["2024-01-31", "Mar 3, 2024", "1/2/2024"], day_first=True)
    'iso|%d/%m/%Y|%b %d, %Y'
    """
    probed = [parse_any_date(cell) is not None for cell in _some(cells)] or [False]
    if sum(probed) < (share - 0.1 if share < 1 else 1.0) * len(probed):
        return ""
    first, second = (DAY_FIRST, MONTH_FIRST) if day_first else (MONTH_FIRST, DAY_FIRST)
    for one in (ISO, *first, *second, *_CLEAR):
        if _read(cells, one) >= share * len(cells):
            return one
    for order in (first, second):
        forms = (ISO, *order, *_CLEAR)
        left, used = list(cells), []
        for one in forms:
            rest = [cell for cell in left if parse_date(cell, one) is None]
            if len(rest) < len(left):
                used.append(one)
            left = rest
        if len(cells) - len(left) >= share * len(cells):
            return "|".join(used)
    return ""


def _read(cells: Sequence[str], form: str) -> int:
    """Return how many `cells` the format reads; 0 if some of them show that it is not theirs."""
    if not any(parse_date(cell, form) for cell in _some(cells)):
        return 0
    return sum(parse_date(cell, form) is not None for cell in cells)
