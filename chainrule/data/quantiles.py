"""Exact quantiles of every feature, also of rows that do not fit in memory.

They can't be merged from the quantiles of blocks, so rows in blocks are read several times.

Read next: :mod:`chainrule.data.scaling`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chainrule.data.fitting import Rows

__all__ = ["quantiles_of", "quantiles_of_blocks"]

Array = NDArray[np.float64]
_SIGN = np.uint64(1 << 63)
_DIGITS = 256


def quantiles_of(rows: Array, shares: Sequence[float]) -> Array:
    """Return the quantiles of the columns of `rows`, shape (shares, features).

    Between two neighboring values, the quantile is interpolated linearly, as in np.quantile.

    >>> quantiles_of(np.array([[1.0], [2.0], [4.0], [8.0]]), [0.5, 1.0]).tolist()
    [[3.0], [8.0]]
    """
    ranks = _ranks(len(rows), shares)
    return _interpolate(np.partition(rows, ranks, axis=0)[ranks], len(rows), shares)


def quantiles_of_blocks(rows: Rows, shares: Sequence[float]) -> Array:
    """Return bitwise the same as `quantiles_of` all `rows`, with memory for a few chunks.

    Radix selection on integer keys that have the order of the floats: each of eight passes finds
    one more byte of the quantile, the most significant first, by counting that byte of the keys
    that agree with the bytes found so far.
    """
    rows.check_again()
    count, width = 0, 0
    for chunk in rows:
        count, width = count + len(chunk), chunk.shape[1]
    ranks = _ranks(count, shares)
    left = np.repeat(np.array(ranks)[:, None], width, axis=1)  # rank among the keys that agree
    prefix = np.zeros((len(ranks), width), np.uint64)
    columns = np.arange(width) * _DIGITS
    for shift in range(56, -1, -8):
        counts = np.zeros((len(ranks), width * _DIGITS), np.intp)
        for chunk in rows:
            keys = _keys(chunk.astype(np.float64)) >> np.uint64(shift)
            digits = (keys & np.uint64(_DIGITS - 1)).astype(np.intp) + columns
            for r in range(len(ranks)):
                agree = (keys >> np.uint64(8)) == prefix[r]
                counts[r] += np.bincount(digits[agree], minlength=width * _DIGITS)
        below = counts.reshape(len(ranks), width, _DIGITS).cumsum(axis=2)
        digit = (below <= left[:, :, None]).sum(axis=2)
        before = np.take_along_axis(below, np.maximum(digit - 1, 0)[:, :, None], axis=2)[:, :, 0]
        left = left - np.where(digit > 0, before, 0)
        prefix = prefix << np.uint64(8) | digit.astype(np.uint64)
    return _interpolate(_values(prefix), count, shares)


def _ranks(count: int, shares: Sequence[float]) -> list[int]:
    """Return the sorted ranks of the values on both sides of each quantile."""
    places = {int(f(share * (count - 1))) for share in shares for f in (np.floor, np.ceil)}
    return sorted(places)


def _interpolate(ordered: Array, count: int, shares: Sequence[float]) -> Array:
    ranks = _ranks(count, shares)
    found = []
    for share in shares:
        place = share * (count - 1)
        low, high = (ordered[ranks.index(int(f(place)))] for f in (np.floor, np.ceil))
        found.append(low + (high - low) * (place - np.floor(place)))
    return np.array(found)


def _keys(values: Array) -> NDArray[np.uint64]:
    """Return integers in the order of the floats: the bits of negative floats are inverted."""
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _values(keys: NDArray[np.uint64]) -> Array:
    return np.where(keys & _SIGN, keys & ~_SIGN, ~keys).view(np.float64)
