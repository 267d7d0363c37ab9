"""95 % confidence intervals of the scores of :mod:`chainrule.tabular.scores`.

They are for the sampling of the test rows.  The variation between training seeds is not included.

Read next: :mod:`chainrule.tabular.verdict`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.tabular.scores import log_losses

__all__ = [
    "class_intervals", "combined", "mean_interval", "student", "value_intervals", "wilson",
]  # fmt: skip

Array = NDArray[Any]
Interval = tuple[float, float]
NORMAL = 1.959964  # the 97.5 % quantile of the normal distribution


def wilson(hits: float, rows: float, z: float = NORMAL) -> Interval:
    """Return the Wilson interval (95 % by default) of the proportion ``hits / rows``.

    `hits` and `rows` may be fractions, where a share has the variance of a proportion of so many.

    ``center = (p + z²/2n) / (1 + z²/n)``, ``half = z / (1 + z²/n) * sqrt(p(1-p)/n + z²/4n²)``.
    Source: Wilson, Journal of the American Statistical Association 22, 1927.

    >>> [round(end, 3) for end in wilson(29, 30)]
    [0.833, 0.994]
    """
    share, weight = hits / rows, z * z / rows
    center = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / rows + weight / (4 * rows))
    return max(0.0, center - half), min(1.0, center + half)


def student(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t distribution, to three digits.

    Exact for one and two degrees of freedom, otherwise an expansion about the normal quantile.
    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 26.7.5.

    >>> [round(student(k), 2) for k in (1, 2, 10, 1000)]
    [12.71, 4.3, 2.23, 1.96]
    """
    if degrees == 1:
        return math.tan(math.pi * 0.475)
    if degrees == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z, n = NORMAL, degrees
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )


def mean_interval(values: Array) -> Interval | None:
    """Return the 95 % interval of the mean, ``mean -+ t * std / sqrt(rows)``, of `values` (rows,).

    None for a single row, and if a value is not finite.

    >>> [round(end, 2) for end in mean_interval(np.array([1.0, 2.0, 3.0]))]
    [-0.48, 4.48]
    """
    rows = len(values)
    if rows < 2 or not np.isfinite(values).all():
        return None
    half = student(rows - 1) * float(values.std(ddof=1)) / math.sqrt(rows)
    mean = float(values.mean())
    return mean - half, mean + half


def combined(values: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """Return the interval of the mean of `values` between 0 and 1 from their own intervals.

    Its ends are as far from the mean as the root of the sum of the squared distances, divided by
    their number (Zou and Donner, Statistics in Medicine 27, 2008).

    >>> [round(end, 3) for end in combined([0.5, 0.7], [(0.2, 0.8), (0.3, 0.9)])]
    [0.35, 0.78]
    """
    share = np.asarray(values, np.float64)
    low, high = np.asarray(intervals, np.float64).T
    below, above = (math.sqrt(float(((e - share) ** 2).sum())) / len(share) for e in (low, high))
    mean = float(share.mean())
    return max(0.0, mean - below), min(1.0, mean + above)


def class_intervals(
    true: Array, probabilities: Array, predicted: Array | None = None
) -> dict[str, list[float] | None]:
    """Return the 95 % interval of each score of :func:`~chainrule.tabular.scores.score_classes`.

    Each is ``[low, high]``, or None if there are too few rows.

    accuracy: :func:`wilson`.  balanced_accuracy: those of the classes, :func:`combined`.
    log_loss: :func:`mean_interval`, clipped at 0.

    >>> ends = class_intervals(np.array([0, 1]), np.eye(2))["accuracy"]
    >>> [round(end, 2) for end in ends]  # two rows, both right
    [0.34, 1.0]
    """
    hit = (probabilities.argmax(axis=1) if predicted is None else predicted) == true
    rows, hits = np.bincount(true), np.bincount(true, weights=hit)
    classes = np.flatnonzero(rows).tolist()
    near = [wilson(int(hits[k]), int(rows[k])) for k in classes]
    return {
        "accuracy": list(wilson(int(hit.sum()), len(hit))),
        "balanced_accuracy": list(combined((hits[classes] / rows[classes]).tolist(), near)),
        "log_loss": _not_below_0(mean_interval(log_losses(true, probabilities))),
    }


def value_intervals(true: Array, predicted: Array) -> dict[str, list[float] | None]:
    """Return the 95 % interval of each score of :func:`~chainrule.tabular.scores.score_values`.

    mae: :func:`mean_interval` of absolute errors.  rmse: the square roots of the interval of
    squared errors.  r2: the delta method for the ratio of the means ``S`` of squared errors ``s``
    and ``V`` of squared deviations ``v``: the standard error of ``S / V`` is that of the mean of
    ``s - (S / V) v``, divided by ``V``.

    >>> value_intervals(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 3.0]))["mae"]
    [0.0, 1.767...]
    """
    true = np.asarray(true, np.float64)
    error = np.asarray(predicted, np.float64) - true
    square, spread = error**2, (true - true.mean()) ** 2
    squares = _not_below_0(mean_interval(square))
    share = None
    if len(true) > 2 and spread.any() and np.isfinite(square).all():
        ratio = float(square.mean() / spread.mean())
        if ends := mean_interval((square - ratio * spread) / spread.mean()):
            share = [1 - ratio - ends[1], min(1.0, 1 - ratio - ends[0])]
    return {
        "mae": _not_below_0(mean_interval(np.abs(error))),
        "rmse": squares and [math.sqrt(end) for end in squares],
        "r2": share,
    }


def _not_below_0(ends: Interval | None) -> list[float] | None:
    return ends and [max(0.0, end) for end in ends]
