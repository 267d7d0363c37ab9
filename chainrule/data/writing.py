"""How a file writes numbers and dates, inferred from all of its columns, or said by the user.

A ``.`` before decimals in one column tells that ``,`` groups thousands in another one.

Read next: :mod:`chainrule.data.parse`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from chainrule.core.errors import OptionError
from chainrule.data.dates import day_first_in
from chainrule.data.spelling import number_parts

__all__ = ["UNKNOWN", "Writing", "infer_writing", "split_role"]

_MOSTLY = 0.95  # least share of numbers in a column whose marks count
_PROBED = 50  # cells tried first
_SURELY_GROUPED = 44  # cells of three digits: decimals without trailing zeros do so in 1 % of cases
_NO_THOUSANDTHS = "$£¥"  # prices in these are not written with a comma and three decimals
_OPEN = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
_POINT = re.compile(r"(?:.*\d)?\.(?:\d{1,2}|\d{4,})|0\.\d+|\d{4,}\.\d+|.*,\d{3}[.,].*")
_COMMA = re.compile(r"(?:.*\d)?,(?:\d{1,2}|\d{4,})|0,\d+|\d{4,},\d+|.*\.\d{3}[.,].*")
_ROLE = re.compile(r"(number|date|cyclic)\((.*)\)")


@dataclass(frozen=True)
class Writing:
    """How the cells of a column are written, as far as it is known.

    `decimal` is the mark before decimals; `day_first` whether 3/4/2024 is in April; `why` tells,
    for the note on the column, how the mark became known if its own cells do not show it.
    """

    decimal: str = ""
    day_first: bool | None = None
    why: str = ""


UNKNOWN = Writing()


@dataclass
class _Marks:
    """What the cells of a column show: marks before decimals, each with a cell; open cells."""

    shown: dict[str, str] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    bare: list[int] = field(default_factory=list)
    unit: str = ""


def infer_writing(
    texts: Mapping[str, Sequence[str]], shown: Mapping[str, tuple[str, str]] | None = None
) -> dict[str, Writing]:
    """Return how the columns `texts`, the cells by name, are written.

    What a mark means follows from the column, from the other columns, and from `shown`: by mark,
    the name of another column of the file and a cell with that decimal mark.  If nothing shows
    it, the more common reading is guessed, and `why` says so.

    >>> infer_writing({"price": ["83,879", "12,500"], "size": ["0.5", "2.25"]})["price"]
    Writing(decimal='.', day_first=None, why="as '0.5' in `size` shows")
    """
    marks = {name: found for name, cells in texts.items() if (found := _marks(cells))}
    file = dict(shown or {})
    for name, found in marks.items():
        if len(found.shown) == 1:
            mark, cell = next(iter(found.shown.items()))
            file.setdefault(mark, (name, cell))
    orders = {name: day_first_in(cells) for name, cells in texts.items() if name not in marks}
    known = {order for order in orders.values() if order is not None}
    order = known.pop() if len(known) == 1 else None
    written = {}
    for name in texts:
        if name not in marks:
            own = orders[name]
            written[name] = Writing(day_first=order if own is None else own)
        else:
            written[name] = _decide(name, marks[name], file)
    return written


def _marks(cells: Sequence[str]) -> _Marks | None:
    """Return what `cells` show; None if they are not nearly all numbers."""
    probed = cells[:: -(-len(cells) // _PROBED)] if cells else []
    if sum(number_parts(cell.strip()) is not None for cell in probed if cell) < 0.6 * len(
        [cell for cell in probed if cell]
    ):
        return None
    found, numbers, present = _Marks(), 0, 0
    for cell, count in Counter(map(str.strip, cells)).items():
        if not cell:
            continue
        present += count
        parts = number_parts(cell)
        if parts is None:
            continue
        numbers += count
        found.unit = parts[1] or found.unit
        digits = "".join(mark for mark in parts[2] if mark in "0123456789.,")
        if digits.isdecimal():
            found.bare.append(int(digits))
        elif _OPEN.fullmatch(digits):
            found.open.append(digits)
        elif _POINT.fullmatch(digits):
            found.shown.setdefault(".", cell)
        elif _COMMA.fullmatch(digits):
            found.shown.setdefault(",", cell)
    return found if numbers and numbers >= _MOSTLY * present else None


def _decide(name: str, found: _Marks, file: Mapping[str, tuple[str, str]]) -> Writing:
    """Return how a column of numbers is written, given the decimal marks of the `file`."""
    if found.shown:
        return Writing(next(iter(found.shown)) if len(found.shown) == 1 else "")
    marks = {"," if "," in digits else "." for digits in found.open}
    if len(marks) != 1:
        return Writing()
    mark = marks.pop()
    other = "." if mark == "," else ","
    if found.unit == "%":
        return Writing(mark, why="as a percentage is not in the thousands")
    if len(file) == 1:
        decimal, (where, cell) = next(iter(file.items()))
        return Writing(decimal, why=f"as {cell!r} in `{where}` shows")
    if mark == "." and not found.unit:
        return Writing(mark)
    if mark == "," and found.unit and found.unit in _NO_THOUSANDTHS:
        return Writing(other, why=f"as prices in {found.unit} have no three decimals")
    zero = any(digits.endswith("0") for digits in found.open)
    grouped = zero or len(found.open) >= _SURELY_GROUPED
    if found.bare and max(found.bare) < 1000 and grouped:
        return Writing(other, why=f"as only numbers below 1000 have no {mark!r}")
    decimal = mark if found.bare and max(found.bare) >= 1000 else other
    turned = "is before decimals" if decimal == other else "groups thousands"
    way = "decimal" if decimal == other else "thousands"
    return Writing(
        decimal,
        why=f"a guess, because nothing in the table shows what {mark!r} means; if it {turned}, say "
        f"--role '{name}=number({way}=\"{mark}\")'",
    )


def split_role(role: str) -> tuple[str, Writing | None]:
    """Return the role without what it says of the cells, and that, or None.

    Raises OptionError for what can't be said.

    >>> split_role('number(thousands=",")')
    ('number', Writing(decimal='.', day_first=None, why='as given'))
    >>> split_role("date(dayfirst)")[1].day_first
    True
    >>> split_role("category")
    ('category', None)
    """
    parts = _ROLE.fullmatch(role.strip())
    if parts is None:
        return role, None
    base, said = parts[1], Writing(why="as given")
    # Commas separate what is said, but not those in quotes or directly behind an equals sign.
    for word in re.findall(r"""\w+\s*=\s*(?:"."|'.'|.)|\w+""", parts[2]):
        name, _, mark = (part.strip() for part in word.partition("="))
        mark = mark.strip("\"'") or mark
        if base == "number" and name == "decimal" and mark in (".", ","):
            said = replace(said, decimal=mark)
        elif base == "number" and name == "thousands" and mark in (".", ","):
            said = replace(said, decimal="," if mark == "." else ".")
        elif base != "number" and name in ("dayfirst", "monthfirst") and not mark:
            said = replace(said, day_first=name == "dayfirst")
        else:
            said = Writing()
            break
    if not (said.decimal or said.day_first is not None):
        raise OptionError(
            f'Role {role!r} is unknown: write number(thousands=","), number(decimal=","), '
            "date(dayfirst) or date(monthfirst)."
        )
    return base, said
