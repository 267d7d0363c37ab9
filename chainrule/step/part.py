"""One side of a split: which rows of the features and targets train, or test.

Rows are copied in blocks, never as a whole, so a memory-mapped array may be larger than memory.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from threading import local
from typing import Any

import numpy as np

__all__ = ["Part"]

Array = np.ndarray[Any, Any]
SHUFFLES = 2**32  # where the streams of shuffles begin; those of parameters begin at 0
BLOCK_BYTES = 2**22  # what is held of an array at once when its rows are gone through


class _Kept(local):
    """A generator for each thread, as making one takes longer than a shuffle of a few rows."""

    def __init__(self) -> None:
        self.bits = np.random.Philox(key=0)
        self.generator = np.random.Generator(self.bits)


_kept = _Kept()


def _begun(seed: int, stream: int) -> np.random.Generator:
    """Return ``Generator(Philox(key=[seed, stream]))``, which the thread's next call sets back."""
    none = np.zeros(4, np.uint64)
    _kept.bits.state = {
        "bit_generator": "Philox",
        "state": {"counter": none, "key": np.array([seed, stream], np.uint64)},
        "buffer": none, "buffer_pos": 4, "has_uint32": 0, "uinteger": 0,
    }  # fmt: skip
    return _kept.generator


@dataclass(frozen=True)
class Part:
    """The `rows` (None: all) of features `x`, encoded targets `y` and row weights `weight`.

    >>> part = Part(np.zeros((4, 2)), np.array([1.0, 5.0, 9.0, 7.0]), np.array([0, 3]))
    >>> len(part), part.variance
    (2, 9.0)
    """

    x: Array
    y: Array
    rows: Array | None = None
    weight: Array | None = None

    def __len__(self) -> int:
        return len(self.x) if self.rows is None else len(self.rows)

    @property
    def arrays(self) -> dict[str, Array]:
        """Return the whole arrays by the names that graphs know them by."""
        weights = {} if self.weight is None else {"weight": self.weight}
        return {"x": self.x, "y": self.y, **weights}

    def spread_rows(self, most: int) -> Array:
        """Return the numbers of at most `most` rows, spread evenly over those of the part."""
        some = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(np.intp))
        chosen: Array = some if self.rows is None else self.rows[some]
        return chosen

    def order(self, seed: int, epoch: int) -> Array:
        """Return the numbers of the rows in the order in which `epoch` takes them."""
        generator = _begun(seed, SHUFFLES + epoch)
        return generator.permutation(len(self.x) if self.rows is None else self.rows)

    def blocks(self, whole: bool = False) -> Iterator[dict[str, Array]]:
        """Yield the arrays of the rows in order; all at once if `whole` or nothing is copied."""
        if self.rows is None:
            yield self.arrays
            return
        for rows in [self.rows] if whole else self._pieces(self.x, self.y):
            yield {name: array[rows] for name, array in self.arrays.items()}

    @cached_property
    def total_weight(self) -> float:
        """The sum of the rows' weights, each row counting 1 where there are none."""
        if self.weight is None:
            return float(len(self))
        chosen = self.weight if self.rows is None else self.weight[self.rows]
        return float(chosen.sum(dtype=np.float64)) * len(chosen) / chosen.size

    @cached_property
    def variance(self) -> float:
        """The variance of the targets, averaged over their columns; 0 where they do not vary."""
        first = self.y[0 if self.rows is None else self.rows[0]]
        if all((self.y[rows] == first).all() for rows in self._pieces(self.y)):
            return 0.0  # and not the rounding of its mean
        pieces = self._pieces(self.y)
        mean = sum(self.y[rows].sum(axis=0, dtype=np.float64) for rows in pieces) / len(self)
        pieces = self._pieces(self.y)
        squares = sum(np.square(self.y[rows] - mean).sum(axis=0) for rows in pieces)
        return float(np.mean(squares) / len(self))

    @property
    def rows_at_once(self) -> int:
        """How many rows :meth:`blocks` yields at a time."""
        return len(self) if self.rows is None else self._count(self.x, self.y)

    def _count(self, *arrays: Array) -> int:
        widest = max(array.nbytes // len(array) for array in arrays)
        return max(1, BLOCK_BYTES // max(1, widest))

    def _pieces(self, *arrays: Array) -> Iterator[Any]:
        """Yield indices of rows, so few at a time that they take `BLOCK_BYTES` of `arrays`."""
        count = self._count(*arrays)
        for start in range(0, len(self), count):
            stop = start + count
            yield slice(start, stop) if self.rows is None else self.rows[start:stop]
