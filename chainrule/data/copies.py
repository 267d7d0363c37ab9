"""Find rows that are copies of others, so that a test on them is no test.

Read next: :mod:`chainrule.data.splits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.table import Column, Table

__all__ = ["row_codes"]

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(31))
_LOOKED_AT = 20_000  # rows on which it is judged whether measurements repeat
_BY_CHANCE = 10.0  # times as many equal rows as independent columns would have are copies
_VARIED = 0.5  # values of a column for each different row; words and grades have fewer


def row_codes(table: Table, names: Sequence[str], rows: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Return a number for each of `rows`, equal where all cells of the columns `names` are equal.

    Returns an empty array if no rows are equal, or if they are so by nature: where no column holds
    measurements, which hardly ever repeat, or where independent columns would have as many.

    >>> sizes = [*range(50), *range(20)]
    >>> table = Table.from_arrays({"size": sizes, "price": [3.5 * size for size in sizes]})
    >>> codes = row_codes(table, ["size", "price"], np.arange(70))
    >>> bool(codes[7] == codes[57]), bool(codes[7] == codes[8])
    (True, False)
    """
    columns = [table[name] for name in names]
    codes = np.zeros(len(rows), np.uint64)
    for column in columns:
        codes = _mixed(codes ^ _bits(column)[rows])
    some = slice(0, _LOOKED_AT)
    _, counts = np.unique(codes[some], return_counts=True)
    pairs = float((counts * (counts - 1) / 2).sum())
    if pairs == 0 and len(rows) <= _LOOKED_AT:
        return np.array([], np.uint64)
    expected, varied = len(codes[some]) ** 2 / 2, False
    for column in columns:
        _, equal = np.unique(_bits(column)[rows[some]], return_counts=True)
        expected *= float(((equal / equal.sum()) ** 2).sum())
        measured = column.kind in ("number", "date")
        varied |= measured and len(equal) >= _VARIED * len(counts)
    by_nature = not varied or 0 < pairs <= _BY_CHANCE * expected
    return np.array([], np.uint64) if by_nature else codes


def _bits(column: Column) -> NDArray[np.uint64]:
    """Return the cells of `column` as 64 bits each, equal for equal cells."""
    if column.kind == "text":
        # Numbered as they appear: hash(cell) differs from process to process, and so would splits.
        seen: dict[Any, int] = {}
        cells = (seen.setdefault(cell, len(seen)) for cell in column.values.tolist())
        return np.fromiter(cells, np.uint64, len(column))
    if column.kind == "boolean":
        return column.values.astype(np.uint64) + 2 * column.missing.astype(np.uint64)
    if column.kind == "date":
        return np.ascontiguousarray(column.values).view(np.uint64)
    numbers = np.where(column.missing, np.nan, column.values) + 0.0  # -0 is 0
    return np.ascontiguousarray(numbers).view(np.uint64)


def _mixed(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return `codes` scattered over all numbers, so that different rows hardly ever meet."""
    with np.errstate(over="ignore"):
        codes = (codes + _MIX[0]) * _MIX[1]
    return np.asarray(codes ^ (codes >> _MIX[2]), np.uint64)
