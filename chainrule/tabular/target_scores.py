"""Scores that only some targets have: of counts, and of classes in an order.

Read next: :mod:`chainrule.tabular.scores`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["class_distance", "poisson_deviance"]

Array = NDArray[Any]


def poisson_deviance(true: Array, predicted: Array) -> float:
    """Return the mean of ``2 (t log(t / p) - t + p)``, for counts t and expected counts p above 0.

    It is 0 where every count is the expected one, and as large as the log-likelihood of Poisson's
    distribution falls short of that; ``t log(t / p)`` is 0 for t = 0.

    >>> poisson_deviance(np.array([0.0, 2.0]), np.array([1.0, 2.0]))
    1.0
    """
    t, p = np.asarray(true, np.float64), np.maximum(np.asarray(predicted, np.float64), 1e-12)
    ratio = np.where(t > 0, t, p) / p
    return float((2 * (t * np.log(ratio) - t + p)).mean())


def class_distance(true: Array, predicted: Array) -> float:
    """Return the mean number of classes between true and predicted class numbers, 0 if all hit.

    >>> class_distance(np.array([0, 1, 2]), np.array([0, 2, 0]))
    1.0
    """
    return float(np.abs(np.asarray(true, np.int64) - np.asarray(predicted, np.int64)).mean())
