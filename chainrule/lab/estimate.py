"""The mean of a measurement over seeds, with its 95 % confidence interval.

Read next: :mod:`chainrule.lab.experiment`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.tabular.intervals import student

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Any, ratio: bool = False) -> Estimate:
        """Estimate from `values` (seeds,) by Student's t: ``mean ± t(n - 1) s / sqrt(n)``.

        Ratios are averaged as logarithms.  A single number that is not in an array is exact, an
        array of one number has an infinite interval.  Raises OptionError for numbers that are not
        finite.

        >>> Estimate.of(2.0), Estimate.of([1.0, 4.0, 2.0], ratio=True).mean
        (Estimate(mean=2.0, low=2.0, high=2.0), 2.0)
        """
        array = np.asarray(values, np.float64)
        if not np.isfinite(array).all() or (ratio and (array <= 0).any()):
            raise OptionError(f"a measurement is not finite, or a ratio not positive: {array}.")
        if array.ndim == 0:
            return cls(float(array), float(array), float(array))
        array = np.log(array) if ratio else array
        n, mean = len(array), float(array.mean())
        half = student(n - 1) * float(array.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
        ends = [mean, mean - half, mean + half]
        return cls(*(_exp(end) if ratio else end for end in ends))

    def __str__(self) -> str:
        if self.high - self.low <= 1e-6 * abs(self.mean):
            return f"{self.mean:.4g}"
        half = max(self.high - self.mean, self.mean - self.low)
        if not math.isfinite(half):
            return f"{self.mean:.3g} (one seed)"
        if half < 1e-5:
            return f"{self.mean:.2g} ({self.low:.2g} to {self.high:.2g})"
        digits = max(0, 1 - math.floor(math.log10(half)))
        return f"{self.mean:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def _exp(power: float) -> float:
    return math.exp(power) if power < 700 else math.inf
