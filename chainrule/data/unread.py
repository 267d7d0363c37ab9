"""Read columns of numbers or dates in which a few cells can't be parsed.

A few such cells (``tbd`` among a thousand dates) count as missing, and are counted and reported.
If there are too many, the column stays text in training, and prediction raises an error.

Read next: :mod:`chainrule.data.encode`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError
from chainrule.core.wording import counted
from chainrule.data.dates import ISO, find_date_format, parse_any_date, parse_date
from chainrule.data.gaps import Sentinel, find_sentinels
from chainrule.data.parse import parse_number
from chainrule.data.spelling import decimal_mark, forms_for, number_parts, parse_spelled
from chainrule.data.table import Column
from chainrule.data.writing import Writing

__all__ = ["Settled", "Unread", "held_out_notes", "read_dates", "read_numbers", "respell", "settle"]

MOSTLY = 0.95  # least share of numbers, or dates, in a text column to be read as one
_LEAST = 20  # least number of such cells, because one bad cell of few is a large share
_FEWEST = 3  # the same if no cell is bad but those in GAP_WORDS
_PROBED = 200  # cells tried first in a long column
_MOST_OTHERWISE = 0.05  # most cells, as a share, in another format than in training
_CODE = re.compile(r"0[0-9]+")
GAP_WORDS = frozenset([
    "-", "--", "---", ".", "..", "*", "none", "nil", "missing", "unknown", "unk", "tbd", "n.a.",
    "n.a", "na.", "n/k", "nd", "n.d.", "not available", "not applicable", "no data", "keine",
    "k.a.", "s/o", "#value!", "#ref!", "#div/0!", "#num!", "#name?", "-nan",
])  # fmt: skip
"""Words (lower case) that mean "no value" in a column whose other cells are numbers or dates."""

Reader = Callable[[str], Any]


@dataclass(frozen=True)
class Unread:
    """The number of unreadable cells of a column, and the text and row (from 1) of the first."""

    count: int
    cell: str
    row: int

    @classmethod
    def of(cls, column: Column, rows: NDArray[np.intp]) -> Unread:
        """Return the summary of the cells `rows` of `column`."""
        cells = column.as_text() if column.cells is None else column.cells
        return cls(len(rows), str(cells[rows[0]]).strip(), column.row_number(rows[0]))

    def __add__(self, later: Unread) -> Unread:
        """Return the summary of these cells and of those in `later` rows."""
        return replace(self, count=self.count + later.count)

    def __str__(self) -> str:
        cells = f"{counted(self.count, 'cell')} that can't be read"
        verb = "counts" if self.count == 1 else "count"
        first = "" if self.count == 1 else "the first "
        return f"{cells} {verb} as missing, {first}{self.cell!r} in row {self.row}"


@dataclass(frozen=True)
class Settled:
    """A column as it is read in training: `read_as` if inferred from text, and unread cells.

    `sentinels` are values that stand for missing cells, or may do so.
    """

    column: Column
    read_as: str = ""
    unread: Unread | None = None
    sentinels: tuple[Sentinel, ...] = ()

    def note(self, unread: Unread | None) -> str:
        """Return the note on how it was read and on the cells `unread`; "" if there is none."""
        told = "; ".join(str(part) for part in (self.read_as, unread, *self.sentinels) if part)
        return f"`{self.column.name}`: {told}" if told else ""

    @property
    def gaps(self) -> tuple[float, ...]:
        """The numbers that surely stand for missing cells."""
        return tuple(sentinel.value for sentinel in self.sentinels if sentinel.surely)

    def without_sentinels(self) -> Settled:
        """Return the column with the cells missing that surely stand for no value."""
        found = replace(self, sentinels=find_sentinels(self.column))
        if not found.gaps:
            return found
        column = self.column
        missing = column.missing | np.isin(column.values, found.gaps)
        values = np.where(missing, np.nan, column.values)
        return replace(found, column=replace(column, values=values, missing=missing))


def held_out_notes(found: Mapping[str, Unread]) -> tuple[str, ...]:
    """Return the notes on unread cells, by column, in validation and test rows."""
    return tuple(f"`{name}`, rows held out: {unread}" for name, unread in found.items())


def settle(column: Column) -> Settled:
    """Convert a text column if nearly all its cells are numbers, dates or booleans.

    At least 95 % of the cells, and at least 20 cells, must fit one format, and no other cell may
    be a code such as 007; the rest become missing.  Words such as "-" and "unknown" do not count
    among the cells.  In number columns, infinity becomes missing.
    Any other column is returned unchanged.
    """
    if column.categorical:
        return Settled(column)
    if column.kind == "number":
        filled, rows = _without_infinity(column)
        return Settled(filled, "", Unread.of(column, rows) if len(rows) else None)
    cells = column.as_text()[~column.missing].tolist() if column.kind == "text" else []
    cells = [cell for cell in cells if cell.lower() not in GAP_WORDS]
    if len(cells) < _FEWEST:
        return Settled(column)
    probed = cells[:: -(-len(cells) // _PROBED)]
    written = column.writing
    promising = len(probed) == len(cells) or _find_form(probed, written, 0.05) is not None
    found = _find_form(cells, written) if promising else None
    if found is None:
        return _as_booleans(column, cells)
    kind, form = found
    settled, rows = _fill(column, kind, form, _reader(kind, form))
    return Settled(settled, f"read as {kind}s", Unread.of(column, rows))


def _as_booleans(column: Column, cells: list[str]) -> Settled:
    """Convert a text column to booleans if nearly all `cells` are true or false."""
    read = sum(_read_boolean(cell) is not None for cell in cells)
    if read < len(cells) if len(cells) < _LEAST else read < max(MOSTLY * len(cells), _LEAST):
        return Settled(column)
    filled, rows = _fill(column, "number", "", _read_boolean)
    values = filled.values == 1
    booleans = replace(filled, kind="boolean", values=values)
    return Settled(booleans, "read as true or false", Unread.of(column, rows))


def _without_infinity(column: Column) -> tuple[Column, NDArray[np.intp]]:
    """Return a number column with infinity as missing, and the rows of infinity."""
    rows = np.flatnonzero(np.isinf(column.values) & ~column.missing)
    if len(rows) == 0:
        return column, rows
    values, missing = column.values.copy(), column.missing.copy()
    values[rows], missing[rows] = np.nan, True
    return replace(column, values=values, missing=missing), rows


def _find_form(cells: list[str], writing: Writing, slack: float = 0.0) -> tuple[str, str] | None:
    """Return (kind, format) that parses nearly all `cells`, or None."""
    least = len(cells) if len(cells) < _LEAST else max((MOSTLY - slack) * len(cells), _LEAST)
    unit = Counter(map(_unit, cells)).most_common(1)[0][0]
    forms = [*([] if unit else [""]), *forms_for(unit)]
    distinct = list(dict.fromkeys(cells))
    read = [{cell: _reader("number", form)(cell) for cell in distinct} for form in forms]
    counts = [sum(values[cell] is not None for cell in cells) for values in read]
    most = max(counts)
    if most >= least:
        tied = [form for form, count in zip(forms, counts, strict=True) if count == most]
        best = forms.index(tied[0])
        if any(_differ(read[best], read[forms.index(form)]) for form in tied[1:]):
            # 83,879 is a different number in two formats; the decimal mark of the file decides.
            meant = [form for form in tied if decimal_mark(form or "1234.5") == writing.decimal]
            if not meant:
                return None
            best = forms.index(meant[0])
        odd = any(_CODE.fullmatch(cell) for cell, value in read[best].items() if value is None)
        return None if odd else ("number", forms[best])
    form = find_date_format(cells, writing.day_first, least / len(cells))
    return ("date", form) if form else None


def _unit(cell: str) -> str:
    parts = number_parts(cell)
    return parts[1] if parts else ""


def _differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return any(v is not None and other[c] is not None and v != other[c] for c, v in one.items())


def _reader(kind: str, form: str) -> Reader:
    """Return a function that parses a cell in the format `form`, or returns None."""
    if kind == "date":
        # Dates with the year first are not ambiguous, so they are always accepted.
        return lambda cell: parse_date(cell, form) or parse_date(cell, ISO)
    if form:
        return lambda cell: parse_spelled(cell, form)
    return lambda cell: None if _CODE.fullmatch(cell) else _finite(parse_number(cell))


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _fill(column: Column, kind: str, form: str, read: Reader) -> tuple[Column, NDArray[np.intp]]:
    """Return `column` as numbers or dates, and the rows of cells that `read` can't parse."""
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
        "" if numbers else form, kept, column.origin, form if numbers else "", column.writing,
    )  # fmt: skip
    return filled, np.array(unread, dtype=np.intp)


def read_numbers(column: Column, spelling: str, where: str) -> tuple[Column, NDArray[np.intp]]:
    """Return `column` as numbers in the format `spelling`, and the rows that can't be read.

    Infinity counts as unreadable, because it can't be trained on.  Raises DataError if half of
    the cells can't be read, or if more than 5 % are numbers or dates in another format.
    """
    if column.kind == "date" and not column.missing.all():
        raise DataError(
            f"{where}: column {column.name!r} holds dates, but held numbers in training."
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
    wanted = "had numbers there"
    if spelling:
        wanted = f"had numbers in the format {spelling}; use the same format"
    _check(column, rows, where, wanted)
    return filled, np.union1d(rows, infinite)


def _is_boolean(column: Column) -> bool:
    """Whether most cells of a text column are true or false, so that training had booleans."""
    cells = column.as_text()[~column.missing].tolist()
    return 2 * sum(_read_boolean(cell) is not None for cell in cells) > len(cells)


def _read_boolean(cell: str) -> float | None:
    return {"true": 1.0, "false": 0.0}.get(cell.lower())


def read_dates(column: Column, form: str, where: str) -> tuple[Column, NDArray[np.intp]]:
    """Return `column` as dates in the format `form`, and the rows that can't be read.

    Raises DataError as `read_numbers` does.
    """
    none = np.array([], np.intp)
    if column.missing.all():
        return _fill(column, "date", form, lambda cell: None)[0], none
    if column.kind == "date" and column.date_format in (form, ISO):
        return column, none
    if column.kind not in ("text", "date"):
        raise DataError(
            f"{where}: column {column.name!r} holds {column.kind}, but held dates in training."
        )
    filled, rows = _fill(column, "date", form, _reader("date", form))
    shape = "with the year first" if form == ISO else f"in the format {form!r}"
    _check(
        column, rows, where,
        f"had dates {shape}. Use the same format, or put the year first, as in 2024-01-31",
    )  # fmt: skip
    return filled, rows


def _check(column: Column, rows: NDArray[np.intp], where: str, wanted: str) -> None:
    """Raise DataError if there are too many unreadable cells, which are in `rows`."""
    if len(rows) == 0:
        return
    cells = column.as_text() if column.cells is None else column.cells
    gaps = sum(str(cell).strip().lower() in GAP_WORDS for cell in cells[rows])
    present = int((~column.missing).sum()) - gaps
    rows = rows[[str(cell).strip().lower() not in GAP_WORDS for cell in cells[rows]]]
    if len(rows) == 0:
        return
    cells = cells[rows]
    otherwise = sum(_is_otherwise(str(cell).strip()) for cell in cells)
    if 2 * len(rows) < present and otherwise <= _MOST_OTHERWISE * present:
        return
    raise DataError(
        f"{where}: row {column.row_number(rows[0])} of column {column.name!r} holds "
        f"{str(cells[0])!r}, but training {wanted}."
    )


def _is_otherwise(cell: str) -> bool:
    """Whether `cell` is a number or a date in any format."""
    forms = ("", *forms_for(_unit(cell)))
    numbers = any(_reader("number", form)(cell) is not None for form in forms)
    return numbers or parse_any_date(cell) is not None


def respell(column: Column, spelling: str, where: str) -> Column:
    """Return `column` with its numbers parsed in the format `spelling` ("": plain numbers).

    Raises DataError on the first cell in another format.
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
                f"{cells[row]!r}, but training had numbers in the format {spelling}; use it too."
            )
        values[row] = value
    return replace(column, kind="number", values=values, cells=None, spelling=spelling)
