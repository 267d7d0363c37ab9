"""Linear probes: how well a linear model predicts the targets from the outputs of a layer.

The probe is a ridge regression on one-hot classes, or on values, solved in closed form.  Its
penalty is chosen by generalized cross-validation on its training rows, and its score is measured
on held-out rows.

Sources: Alain and Bengio, "Understanding intermediate layers using linear classifier probes",
2016; Golub, Heath and Wahba, "Generalized cross-validation as a method for choosing a good
ridge parameter", 1979.

Read next: :mod:`chainrule.insight.hidden.learned`, which fits a probe to each layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Goal", "Probe", "probe", "ridge"]

Array = np.ndarray[Any, Any]
PENALTIES = tuple(10.0**k for k in range(-7, 2))  # shares of the number of training rows


@dataclass(frozen=True)
class Goal:
    """The target of a probe: `kind` "classes", "labels" or "values".

    `target` is (rows,) class indices, or (rows, columns).
    """

    kind: str
    target: Array
    classes: int = 0

    @property
    def measure(self) -> str:
        """The name of the score: "accuracy", or "R²" for values."""
        return "R²" if self.kind == "values" else "accuracy"

    def columns(self) -> Array:
        """Return the target as columns of numbers: one-hot for classes."""
        if self.kind == "classes":
            return np.eye(self.classes)[self.target]
        return self.target.astype(np.float64)

    def take(self, rows: Array) -> Goal:
        """Return the goal of some of the rows."""
        return Goal(self.kind, self.target[rows], self.classes)

    def score(self, predicted: Array) -> float:
        """Return the score of `predicted` columns: accuracy, or R² averaged over the columns."""
        if self.kind == "classes":
            return float((predicted.argmax(axis=1) == self.target).mean())
        columns = self.columns()
        if self.kind == "labels":
            return float(((predicted > 0.5) == (columns > 0.5)).mean())
        left = np.square(columns - predicted).sum(axis=0)
        spread = np.square(columns - columns.mean(axis=0)).sum(axis=0)
        return float(np.mean(1 - left[spread > 0] / spread[spread > 0])) if spread.any() else 0.0


@dataclass(frozen=True)
class Probe:
    """The score of a linear probe of one layer on held-out rows.

    `path` is "input" for the rows themselves.  `penalty` is the ridge penalty on standardized
    units, divided by the number of training rows.
    """

    path: str
    layer: str
    units: int
    score: float
    measure: str
    penalty: float
    rows: int
    held_out: int


def ridge(Z: Array, Y: Array, penalties: tuple[float, ...] = PENALTIES) -> tuple[Array, float]:
    """Return the weights W that minimize ``|Y - Z W|² + penalty n |W|²``, and the penalty.

    Z: (n, units), Y: (n, columns), both centered; W: (units, columns).  The penalty among
    `penalties` minimizes ``n |Y - Z W|² / (n - trace)²``, where `trace`, the effective number of
    parameters, is ``sum(s² / (s² + penalty n))`` over the singular values s of Z.

    >>> Z = np.array([[-1.0], [0.0], [1.0]])
    >>> W, penalty = ridge(Z, 2 * Z)
    >>> W.round(3).tolist(), penalty
    ([[2.0]], 1e-07)
    """
    n, units = Z.shape
    tall = units <= n
    squares, turned = np.linalg.eigh(Z.T @ Z if tall else Z @ Z.T)
    kept = squares > len(squares) * np.finfo(np.float64).eps * max(float(squares[-1]), 1e-300)
    squares, turned = squares[kept], turned[:, kept]
    # Y projected on the left singular vectors of Z.
    along = (turned.T @ (Z.T @ Y)) / np.sqrt(squares)[:, None] if tall else turned.T @ Y
    powers = np.square(along).sum(axis=1)
    beyond = max(float(np.square(Y).sum() - powers.sum()), 0.0)
    best, chosen = np.inf, penalties[-1]
    for penalty in penalties:
        shrunk = penalty * n / (squares + penalty * n)
        left = float((np.square(shrunk) * powers).sum()) + beyond
        free = n - float((1 - shrunk).sum())
        value = n * left / free**2 if free > 1e-9 * n else np.inf
        if value < best:
            best, chosen = value, penalty
    if tall:
        W = turned @ (along * (np.sqrt(squares) / (squares + chosen * n))[:, None])
    else:
        W = Z.T @ (turned @ (along / (squares + chosen * n)[:, None]))
    return W, chosen


def probe(
    path: str, layer: str, train: Array, train_goal: Goal, test: Array, test_goal: Goal
) -> Probe:
    """Fit a probe to the outputs `train` of a layer, (rows, units), and score it on `test`."""
    Z = train.astype(np.float64)
    mean, spread = Z.mean(axis=0), Z.std(axis=0)
    scale = np.where(spread > 1e-12 * np.abs(mean).max(initial=1.0), spread, np.inf)
    Y = train_goal.columns()
    W, penalty = ridge((Z - mean) / scale, Y - Y.mean(axis=0))
    predicted = ((test.astype(np.float64) - mean) / scale) @ W + Y.mean(axis=0)
    return Probe(
        path, layer, Z.shape[1], test_goal.score(predicted), train_goal.measure, penalty,
        len(Z), len(test),
    )  # fmt: skip
