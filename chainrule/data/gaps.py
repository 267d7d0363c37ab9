"""Values that stand for "no value": those that the user names, and sentinels such as -999.

A sentinel counts as missing if hardly any other reading is left; the others are only told.

Read next: :mod:`chainrule.data.unread`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chainrule.core.wording import counted
from chainrule.data.parse import parse_number
from chainrule.data.table import Column, Table, column_from_text, format_number

__all__ = ["Sentinel", "find_sentinels", "gap_words", "said_gaps", "said_missing", "with_gaps"]

_NINES = tuple(sign * float("9" * k) for k in range(2, 7) for sign in (1, -1))
_LONG = 999  # no number with fewer nines is a sentinel because of its sign alone
_DIFFERENT = 3  # other values that there must be, at least
_VARIED = 10  # the same, for values that are only told
_FAR = 3.0  # times the range of the others between it and a sentinel above them
_LOW = 0.2  # of the median: where all other values are above that, 0 is doubtful
_APART = 5.0  # times the usual step between values that the others are from a doubtful 0


@dataclass(frozen=True)
class Sentinel:
    """A value that occurs `count` times, first in `row` (from 1), and may stand for "no value".

    `surely` tells whether it counts as missing; the other values are from `low` to `high`.
    """

    name: str
    value: float
    count: int
    row: int
    low: float
    high: float
    surely: bool

    def __str__(self) -> str:
        if self.surely:
            return f"{self._where}, counts as missing, as {self._others}"
        return self.doubted

    @property
    def doubted(self) -> str:
        """The same for a value that is kept, with what to do if it stands for no value."""
        said = f"--na '{self.name}={format_number(self.value)}'"
        return f"{self._where}, where {self._others}; if it stands for no value, say {said}"

    @property
    def _where(self) -> str:
        cells = counted(self.count, "cell")
        return f"{format_number(self.value)} in {cells}, first in row {self.row}"

    @property
    def _others(self) -> str:
        return f"all other values are from {self.low:g} to {self.high:g}"


def find_sentinels(column: Column) -> tuple[Sentinel, ...]:
    """Return the values of a column of numbers that probably stand for "no value".

    -999, -9999 and so on surely do where no other value is negative, or where they lie further
    away than the others are spread; 99 and 999 only where they lie three times as far.  A 0 or -1
    below values that are all far above 0 is told.

    >>> ages = np.array([*range(20, 60), -999.0, -999.0])
    >>> print(find_sentinels(Column("age", "number", ages, np.zeros(42, bool)))[0])
    -999 in 2 cells, first in row 41, counts as missing, as all other values are from 20 to 59
    """
    if column.kind != "number" or column.categorical:
        return ()
    values = column.values[~column.missing]
    if len(values) == 0 or (values.min() > 0 and values.max() < 99):
        return ()
    left, found = values, []
    for _ in range(2):  # a sentinel may hide another one
        for edge in {float(left.min()), float(left.max())} if len(left) else ():
            sentinel = _judge(column, left, edge)
            if sentinel is not None:
                found.append(sentinel)
        left = left[~np.isin(left, [sentinel.value for sentinel in found])]
    return tuple({sentinel.value: sentinel for sentinel in found}.values())


def _judge(column: Column, values: NDArray[np.float64], edge: float) -> Sentinel | None:
    nines = edge in _NINES
    if not nines and edge not in (0.0, -1.0):
        return None
    others = values[values != edge]
    count = len(values) - len(others)
    different = len(np.unique(others))
    if count < 2 or different < _DIFFERENT:
        return None
    low, high = float(others.min()), float(others.max())
    gap, spread = max(low - edge, edge - high), high - low
    if nines and edge < 0:
        surely = (low >= 0 and edge <= -_LONG) or gap > spread
    elif nines:
        surely = gap > _FAR * spread
    else:
        surely = False
        told = edge == -1.0 and low >= 0 and count >= max(5, 0.01 * len(values))
        steps = np.diff(np.unique(others))
        apart = low > _LOW * float(np.median(others)) and low > _APART * float(np.median(steps))
        zero = edge == 0.0 and apart and count <= len(others)
        if different < _VARIED or not (told or zero):
            return None
    if nines and not surely and (gap <= 0.5 * spread or different < _VARIED):
        return None
    row = column.row_number(int(np.argmax((column.values == edge) & ~column.missing)))
    return Sentinel(column.name, edge, count, row, low, high, surely)


def with_gaps(table: Table, na: Sequence[str]) -> Table:
    """Return `table` with the cells that are one of the words `na` missing.

    ``COLUMN=WORD`` holds for one column.  Numbers are compared as numbers, words without regard
    to case.

    >>> with_gaps(Table.from_arrays({"x": ["1", "unknown", "-999"]}), ["Unknown", "-999"])["x"].kind
    'number'
    """
    if not na:
        return table
    everywhere, own = gap_words(table.names, na)
    columns = [_without(c, everywhere | own.get(c.name, frozenset())) for c in table]
    same = all(a is b for a, b in zip(columns, table.columns, strict=True))
    return table if same else replace(table, columns=tuple(columns))


def said_missing(before: Table, after: Table, na: Sequence[str]) -> Iterator[str]:
    """Return the notes on the cells that are missing `after` :func:`with_gaps`."""
    pairs = zip(before, after, strict=True)
    return said_gaps({b.name: int((a.missing & ~b.missing).sum()) for b, a in pairs}, na)


def said_gaps(counts: Mapping[str, int], na: Sequence[str]) -> Iterator[str]:
    """Yield the notes on the cells of each column that are missing because they are one of `na`."""
    told = [f"{counted(count, 'cell')} of `{name}`" for name, count in counts.items() if count]
    words = ", ".join(map(repr, na))
    if told:
        yield f"missing, as they are {words}: {', '.join(told)}"
    elif na:
        yield f"no cell is {words}, so --na changes nothing"


def gap_words(
    names: Sequence[str], na: Sequence[str]
) -> tuple[frozenset[str], Mapping[str, frozenset[str]]]:
    """Return the words of `na` in lower case: those for all columns, and those for one by its name.

    >>> gap_words(["age"], ["Unknown", "age=0"])
    (frozenset({'unknown'}), {'age': frozenset({'0'})})
    """
    everywhere: set[str] = set()
    own: dict[str, frozenset[str]] = {}
    for word in na:
        name, sign, cell = word.rpartition("=")
        if sign and name.strip() in names:
            own[name.strip()] = own.get(name.strip(), frozenset()) | {cell.strip().lower()}
        else:
            everywhere.add(word.strip().lower())
    return frozenset(everywhere), own


def _without(column: Column, words: frozenset[str]) -> Column:
    numbers = [number for word in words if (number := parse_number(word)) is not None]
    if column.kind == "number":
        gone = np.isin(column.values, numbers) & ~column.missing
        if column.text is None and gone.any():
            missing = column.missing | gone
            return replace(column, values=np.where(missing, np.nan, column.values), missing=missing)
    else:
        cells = column.as_text()
        gone = np.array([
            cell.lower() in words or (bool(numbers) and parse_number(cell) in numbers)
            for cell in cells
        ], bool) & ~column.missing  # fmt: skip
    if not gone.any():
        return column
    text = (column.as_text() if column.text is None else column.text).copy()
    text[gone] = ""
    read = column_from_text(column.name, text.tolist(), column.writing)
    return replace(read, origin=column.origin, categorical=column.categorical)
