"""Count, mean, variance and covariance of rows, accumulated chunk by chunk.

The textbook formula, the mean of squares minus the square of the mean, cancels if the mean is
large compared to the spread, so the centered moments of chunks are merged instead.

Read next: :mod:`chainrule.data.scaling`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError
from chainrule.data.fitting import Rows

__all__ = ["Moments", "root_mean_square"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Mean, minimum, maximum and scatter about the mean of `count` rows.

    `scatter` is the sum of ``(x - mean)**2`` of each feature, shape (features,), or of
    ``outer(x - mean, x - mean)``, shape (features, features).

    >>> rows = np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]])
    >>> halves = Moments.of(rows[:2], True).merge(Moments.of(rows[2:], True))
    >>> halves.mean.tolist(), (halves.scatter / 2).round(12).tolist()
    ([3.0, 3.0], [[4.0, -1.0], [-1.0, 7.0]])
    """

    count: int
    mean: Array
    scatter: Array
    least: Array
    greatest: Array

    @classmethod
    def of(cls, rows: NDArray[np.generic], products: bool) -> Moments:
        """Return the moments of `rows`; with `products`, the scatter is a matrix."""
        values = rows.astype(np.float64)
        mean = values.mean(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            away = values - mean
            scatter = away.T @ away if products else np.square(away).sum(axis=0)
        return cls(len(values), mean, scatter, values.min(axis=0), values.max(axis=0))

    def merge(self, other: Moments) -> Moments:
        """Return the moments of the union of both sets of rows.

        ``scatter = a.scatter + b.scatter + outer(gap, gap) * a.count * b.count / count`` with
        ``gap = b.mean - a.mean``: Chan, Golub and LeVeque, "Updating formulae and a pairwise
        algorithm for computing sample variances", 1979.
        """
        count = self.count + other.count
        gap = other.mean - self.mean
        square = np.outer(gap, gap) if self.scatter.ndim == 2 else gap * gap
        return Moments(
            count,
            self.mean + gap * (other.count / count),
            self.scatter + other.scatter + square * (self.count * other.count / count),
            np.minimum(self.least, other.least),
            np.maximum(self.greatest, other.greatest),
        )

    @classmethod
    def learn(cls, rows: Rows, products: bool = False) -> Moments:
        """Return the moments of all `rows`; raise DataError if squares overflow."""
        found: Moments | None = None
        for chunk in rows:
            fresh = cls.of(chunk, products)
            found = fresh if found is None else found.merge(fresh)
        if found is None:
            raise DataError(f"{rows.asker} got no rows to fit to.")
        sizes = np.diagonal(found.scatter) if products else found.scatter
        if not np.isfinite(sizes).all():
            feature = int(np.flatnonzero(~np.isfinite(sizes))[0])
            raise DataError(
                f"{rows.asker}: feature {feature} goes from {found.least[feature]:g} to "
                f"{found.greatest[feature]:g}, and its square overflows; scale it down first."
            )
        return found

    @property
    def varies(self) -> NDArray[np.bool_]:
        """Which features have more than one value."""
        return self.least < self.greatest


def root_mean_square(values: NDArray[Any]) -> float:
    """Return the square root of the mean of ``values**2``, added up in float64.

    >>> root_mean_square(np.array([3.0, -4.0, 0.0, 0.0]))
    2.5
    """
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))
