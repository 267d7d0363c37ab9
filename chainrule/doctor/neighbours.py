"""What the rows nearest to a row say of its target: a measure of what the inputs tell.

It needs no network, so it shows what a training could have learned, and which targets stand alone.

Read next: :mod:`chainrule.doctor.rules.neighbour_checks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["NEIGHBOURS", "VOTERS", "Neighbours"]

Array = np.ndarray[Any, Any]
COMPARED = 1000  # rows whose neighbours are looked for
NEIGHBOURS = 5  # whose mean, or vote, is taken for a prediction
VOTERS = 15  # enough for a majority that outvotes wrong labels, few enough to be near
FAR = 3.0  # robust spreads of the targets, within which nearly all of a normal distribution lie


@dataclass(frozen=True)
class Neighbours:
    """How well the nearest rows tell a target.

    gain
        The share of the best constant's error that the nearest `NEIGHBOURS` rows take away: of
        the wrong answers for classes, of the squared error for values; `error` is its standard
        error.
    odd
        Which of the compared rows have a target that nearly none should have: for classes, another
        label than more than half of the nearest `VOTERS` rows; for values, one farther than `FAR`
        robust spreads from the median of all.
    rows
        The compared rows, as numbers of the rows that were given.
    """

    gain: float
    error: float
    odd: Array
    rows: Array

    @classmethod
    def of(cls, x: Array, y: Array, kind: str) -> Neighbours | None:
        """Compare rows `x` (rows, columns) by their targets `y` (rows, targets) of a `kind`.

        Returns None for too few rows, or targets that are not classes, labels or values.
        """
        if len(x) <= 2 * VOTERS or kind not in ("classes", "labels", "values"):
            return None
        some = np.unique(np.linspace(0, len(x) - 1, min(COMPARED, len(x))).astype(int))
        x, y = x[some], y[some]
        spread = x.std(axis=0)
        x = ((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1))[:, spread > 0]
        near = np.square(x).sum(axis=1)
        distance = near[:, None] + near[None, :] - 2 * x @ x.T
        np.fill_diagonal(distance, np.inf)
        order = np.argsort(distance, axis=1)[:, :VOTERS]
        if kind != "values" and (y.shape[1] == 1 or bool((y.sum(axis=1) == 1).all())):
            numbers = y.argmax(axis=1) if y.shape[1] > 1 else np.unique(y, return_inverse=True)[1]
            y = np.eye(int(numbers.max()) + 1)[numbers.reshape(-1)]
            base = 1 - y[:, y.sum(axis=0).argmax()]
            votes = y[order[:, :NEIGHBOURS]].sum(axis=1).argmax(axis=1)
            wrong = 1 - y[np.arange(len(y)), votes]
            against = y[order].mean(axis=1)
            odd = (against.max(axis=1) > 0.5) & (y[np.arange(len(y)), against.argmax(axis=1)] == 0)
        else:
            middle = np.median(y, axis=0)
            base = np.square(y - y.mean(axis=0)).sum(axis=1) * (1 + 1 / NEIGHBOURS)
            wrong = np.square(y[order[:, :NEIGHBOURS]].mean(axis=1) - y).sum(axis=1)
            typical = 1.4826 * np.median(np.abs(y - middle), axis=0)  # that of a normal spread
            odd = ((np.abs(y - middle) > FAR * typical) & (typical > 0)).any(axis=1)
        if not base.mean() > 0:
            return None
        gain = (base - wrong) / base.mean()
        return cls(float(gain.mean()), float(gain.std() / np.sqrt(len(gain))), odd, some)
