"""How well the nearest rows tell the target of a row: what can be learned without a network.

Read next: :mod:`chainrule.doctor.rule`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["NEIGHBOURS", "neighbours_agree"]

Array = np.ndarray[Any, Any]
NEIGHBOURS = 5
COMPARED = 1000  # rows whose neighbours are looked for


def neighbours_agree(x: Array, y: Array, classes: bool) -> tuple[float, float]:
    """Return how much better than a constant the nearest rows tell each target, and its error.

    The share of the constant's error that the mean of `NEIGHBOURS` other rows takes away, with
    its standard error; the constant is the most frequent class, or the mean.
    """
    some = np.unique(np.linspace(0, len(x) - 1, min(COMPARED, len(x))).astype(int))
    x, y = x[some], y[some]
    spread = x.std(axis=0)
    x = ((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1))[:, spread > 0]
    near = np.square(x).sum(axis=1)
    distance = near[:, None] + near[None, :] - 2 * x @ x.T
    np.fill_diagonal(distance, np.inf)
    nearest = np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    if classes:
        votes = np.stack([np.bincount(row, minlength=int(y.max()) + 1) for row in y[nearest]])
        wrong = (votes.argmax(axis=1) != y).astype(float)
        base = (y != np.bincount(y).argmax()).astype(float)
    else:
        wrong = np.square(y[nearest].mean(axis=1) - y)
        base = np.square(y.mean() - y) * (1 + 1 / NEIGHBOURS)
    if not base.mean() > 0:
        return 1.0, 0.0
    gain = (base - wrong) / base.mean()
    return float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))
