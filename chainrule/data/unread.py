"""Cells that can't be read as the numbers or dates of their column: missing, counted and told.

Enters a column, leaves it as numbers or dates, with the rows of the cells that are neither.  It
exists because one ``tbd`` among thousand dates must not cost the column, nor stop a prediction,
while a column that is something else altogether must not become one of gaps in silence.

Read next: :mod:`chainrule.data.encode`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError
from chainrule.core.wording import counted
from chainrule.data.parse import DATE_FORMATS, ISO, parse_date, parse_number
from chainrule.data.spelling import SPELLINGS, parse_spelled
from chainrule.data.table import Column

__all__ = ["Settled", "Unread", "held_out_notes", "read_dates", "read_numbers", "respell", "settle"]

MOSTLY = 0.95  # of a text column's cells must be numbers, or dates, to make it a column of them
_LEAST = 20  # cells must be read for that; of fewer, one bad cell says too much
_PROBED = 200  # cells that are tried before all of a long column are
_MOST_OTHERWISE = 0.05  # of a new column may be numbers or dates in another form than training's
_CODE = re.compile(r"0[0-9]+")
_UNIT = re.compile(r"[€$£¥%]")

Reader = Callable[[str], Any]


@dataclass(frozen=True)
class Unread:
    """How many cells of a column could not be read, and the first: its text and its row, from 1."""

    count: int
    cell: str
    row: int

    @classmethod
    def of(cls, column: Column, rows: NDArray[np.intp]) -> Unread:
        """Return what is told of the cells `rows` of `column`."""
        cells = column.as_text() if column.cells is None else column.cells
        return cls(len(rows), str(cells[rows[0]]).strip(), column.row_number(rows[0]))

    def __add__(self, later: Unread) -> Unread:
        """Return what is told of these cells and of those in `later` rows."""
        return replace(self, count=self.count + later.count)

    def __str__(self) -> str:
        cells = f"{counted(self.count, 'cell')} that can't be read"
        verb = "counts" if self.count == 1 else "count"
        first = "" if self.count == 1 else "the first "
        return f"{cells} {verb} as missing, {first}{self.cell!r} in row {self.row}"


@dataclass(frozen=True)
class Settled:
    """A column as training reads it: as what, if that had to be found out, and the cells unread."""

    column: Column
    read_as: str = ""
    unread: Unread | None = None

    def note(self, unread: Unread | None) -> str:
        """Return the line on how it was read, "" for none; `unread` are the cells to tell of."""
        told = "; ".join(str(part) for part in (self.read_as, unread) if part)
        return f"`{self.column.name}`: {told}" if told else ""


def held_out_notes(found: Mapping[str, Unread]) -> tuple[str, ...]:
    """Return the lines on cells, by column, in rows that training does not see."""
    return tuple(f"`{name}`, rows held out: {unread}" for name, unread in found.items())


def settle(column: Column) -> Settled:
    """Return a text column of which nearly all cells are numbers, dates or booleans as such.

    At least 95 % of the cells, and 20, must be read in one spelling or format, and no other may
    be a code such as 007; the rest become missing, as infinity does among numbers.  Any other
    column is returned as it is.
    """
    if column.kind == "number":
        filled, rows = _without_infinity(column)
        return Settled(filled, "", Unread.of(column, rows) if len(rows) else None)
    cells = column.as_text()[~column.missing].tolist() if column.kind == "text" else []
    if len(cells) < _LEAST:
        return Settled(column)
    probed = cells[:: -(-len(cells) // _PROBED)]
    promising = len(probed) == len(cells) or _find_form(probed, slack=0.05) is not None
    found = _find_form(cells) if promising else None
    if found is None:
        return _as_booleans(column, cells)
    kind, form = found
    settled, rows = _fill(column, kind, form, _reader(kind, form))
    return Settled(settled, f"read as {kind}s", Unread.of(column, rows))


def _as_booleans(column: Column, cells: list[str]) -> Settled:
    """Return a column of which nearly all `cells` are true or false as one of booleans."""
    read = sum(_read_boolean(cell) is not None for cell in cells)
    if read < max(MOSTLY * len(cells), _LEAST):
        return Settled(column)
    filled, rows = _fill(column, "number", "", _read_boolean)
    values = filled.values == 1
    booleans = replace(filled, kind="boolean", values=values)
    return Settled(booleans, "read as true or false", Unread.of(column, rows))


def _without_infinity(column: Column) -> tuple[Column, NDArray[np.intp]]:
    """Return a column of numbers with infinity as missing, and the rows that held it."""
    rows = np.flatnonzero(np.isinf(column.values) & ~column.missing)
    if len(rows) == 0:
        return column, rows
    values, missing = column.values.copy(), column.missing.copy()
    values[rows], missing[rows] = np.nan, True
    return replace(column, values=values, missing=missing), rows


def _find_form(cells: list[str], slack: float = 0.0) -> tuple[str, str] | None:
    """Return (kind, form) that reads nearly all of `cells`, or None."""
    unit = Counter(map(_unit, cells)).most_common(1)[0][0]
    forms = [f"{form}%" if unit == "%" else f"{unit}{form}" for form in SPELLINGS]
    numbers = [("number", form) for form in (*([] if unit else [""]), *forms)]
    distinct = list(dict.fromkeys(cells))
    for kinds in (numbers, [("date", form) for form in DATE_FORMATS]):
        read = [dict(zip(distinct, map(_reader(*kind), distinct), strict=True)) for kind in kinds]
        counts = [sum(values[cell] is not None for cell in cells) for values in read]
        most = max(counts)
        if most < max((MOSTLY - slack) * len(cells), _LEAST):
            continue
        best = counts.index(most)
        if kinds is not numbers:
            return kinds[best]
        odd = any(_CODE.fullmatch(cell) for cell, value in read[best].items() if value is None)
        # 83,879 is a number in two spellings: then no choice is made for a person.
        tied = [values for values, count in zip(read, counts, strict=True) if count == most]
        return None if odd or any(_differ(tied[0], values) for values in tied[1:]) else kinds[best]
    return None


def _unit(cell: str) -> str:
    found = _UNIT.search(cell)
    return found[0] if found else ""


def _differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return any(v is not None and other[c] is not None and v != other[c] for c, v in one.items())


def _reader(kind: str, form: str) -> Reader:
    """Return what reads a cell as a number spelled, or a date written, in `form`; else None."""
    if kind == "date":
        # Year first is never misread, however training wrote its dates.
        return lambda cell: parse_date(cell, form) or parse_date(cell, ISO)
    if form:
        return lambda cell: parse_spelled(cell, form)
    return lambda cell: None if _CODE.fullmatch(cell) else _finite(parse_number(cell))


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _fill(column: Column, kind: str, form: str, read: Reader) -> tuple[Column, NDArray[np.intp]]:
    """Return `column` as numbers or dates, and the rows of the cells that are neither."""
    cells = column.as_text() if column.cells is None else column.cells
    numbers = kind == "number"
    dtype, gap = ("float64", np.nan) if numbers else ("datetime64[us]", np.datetime64("NaT"))
    values: NDArray[Any] = np.full(len(column), gap, dtype=dtype)
    seen: dict[str, Any] = {}
    unread = []
    for row in np.flatnonzero(~column.missing).tolist():
        cell = cells[row].strip()
        if cell not in seen:
            seen[cell] = read(cell)
        if seen[cell] is None:
            unread.append(row)
        else:
            values[row] = seen[cell]
    missing = column.missing.copy()
    missing[unread] = True
    kept = None if form in ("", ISO) else np.array(cells, dtype=object)
    filled = Column(
        column.name, "number" if numbers else "date", values, missing,
        "" if numbers else form, kept, column.origin, form if numbers else "",
    )  # fmt: skip
    return filled, np.array(unread, dtype=np.intp)


def read_numbers(column: Column, spelling: str, where: str) -> tuple[Column, NDArray[np.intp]]:
    """Return `column` as numbers in the `spelling` of training, and rows that can't be read.

    Infinity can't, since no network learns from it.  Raises DataError where half of the cells
    can't be read, or more than one in twenty is a number or a date written otherwise.
    """
    if column.kind == "date" and not column.missing.all():
        raise DataError(
            f"{where}: column {column.name!r} held numbers in training and holds dates here."
        )
    infinite = np.array([], np.intp)
    if column.kind == "number":
        column, infinite = _without_infinity(column)
    same = column.spelling == spelling and column.kind in ("number", "boolean")
    if same or column.missing.all():
        return column, infinite
    if column.kind != "text" and column.cells is None:
        return respell(column, spelling, where), infinite
    read = _reader("number", spelling)
    if not spelling and _is_boolean(column):
        read = _read_boolean
    filled, rows = _fill(column, "number", spelling, read)
    wanted = "had a number there"
    if spelling:
        wanted = f"wrote its numbers as {spelling}; write them so"
    _check(column, rows, where, wanted)
    return filled, np.union1d(rows, infinite)


def _is_boolean(column: Column) -> bool:
    """Whether most cells of a text column are true or false: then training had them alone."""
    cells = column.as_text()[~column.missing].tolist()
    return 2 * sum(_read_boolean(cell) is not None for cell in cells) > len(cells)


def _read_boolean(cell: str) -> float | None:
    return {"true": 1.0, "false": 0.0}.get(cell.lower())


def read_dates(column: Column, form: str, where: str) -> tuple[Column, NDArray[np.intp]]:
    """Return `column` as dates in the format `form` of training, and rows that can't be read.

    Raises DataError as `read_numbers` does.
    """
    none = np.array([], np.intp)
    if column.missing.all():
        return _fill(column, "date", form, lambda cell: None)[0], none
    if column.kind == "date" and column.date_format in (form, ISO):
        return column, none
    if column.kind not in ("text", "date"):
        raise DataError(
            f"{where}: column {column.name!r} held dates in training and holds {column.kind} here."
        )
    filled, rows = _fill(column, "date", form, _reader("date", form))
    shape = "with the year first" if form == ISO else repr(form)
    _check(
        column, rows, where,
        f"wrote its dates as {shape}. Write them so, or with the year first, as 2024-01-31",
    )  # fmt: skip
    return filled, rows


def _check(column: Column, rows: NDArray[np.intp], where: str, wanted: str) -> None:
    """Raise DataError if the cells `rows` are too many to be slips."""
    if len(rows) == 0:
        return
    present = int((~column.missing).sum())
    cells = (column.as_text() if column.cells is None else column.cells)[rows]
    otherwise = sum(_is_otherwise(str(cell).strip()) for cell in cells)
    if 2 * len(rows) < present and otherwise <= _MOST_OTHERWISE * present:
        return
    raise DataError(
        f"{where}: row {column.row_number(rows[0])} of column {column.name!r} holds "
        f"{str(cells[0])!r}, but training {wanted}."
    )


def _is_otherwise(cell: str) -> bool:
    """Whether `cell` is a number or a date in any form."""
    unit = _unit(cell)
    spelled = (f"{form}%" if unit == "%" else f"{unit}{form}" for form in SPELLINGS)
    readers: Iterable[Reader] = (
        _reader("number", ""),
        *(_reader("number", form) for form in spelled),
        *(_reader("date", form) for form in DATE_FORMATS),
    )
    return any(read(cell) is not None for read in readers)


def respell(column: Column, spelling: str, where: str) -> Column:
    """Return `column` with its numbers read in the `spelling` of training ("": plain).

    Raises DataError on the first cell that is spelled otherwise.
    """
    gone = column.missing
    if column.spelling == spelling or gone.all() or column.kind not in ("number", "text"):
        return column
    if not spelling:
        return replace(column, kind="text", values=column.as_text(), cells=None, spelling="")
    plain = column.kind == "number" and column.cells is None
    cells = column.as_text().tolist()
    values = np.full(len(column), np.nan)
    for row in np.flatnonzero(~gone).tolist():
        value = parse_spelled(cells[row], spelling)
        if value is None or (plain and value != column.values[row]):
            raise DataError(
                f"{where}: row {column.row_number(row)} of column {column.name!r} holds "
                f"{cells[row]!r}, but training wrote its numbers as {spelling}; write them so."
            )
        values[row] = value
    return replace(column, kind="number", values=values, cells=None, spelling=spelling)
