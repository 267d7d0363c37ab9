"""Scores of predictions on held-out rows, as plain numbers that JSON can store.

Read next: :mod:`chainrule.tabular.verdict`, which compares them with a baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError

__all__ = [
    "HIGHER",
    "MEASURES",
    "QUANTILES",
    "SHORT",
    "check_pair",
    "confusion_matrix",
    "error_quantiles",
    "log_losses",
    "score_classes",
    "score_values",
    "worst_classes",
]

QUANTILES = (0.5, 0.75, 0.9, 0.95, 1.0)
MEASURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log loss",
    "auc": "AUC",
    "average_precision": "average precision",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "lift": "lift of the best 10 %",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "r2": "R² (variance explained)",
    "poisson_deviance": "mean Poisson deviance",
    "class_distance": "mean distance in classes",
}
SHORT = (
    "accuracy", "balanced_accuracy", "log_loss", "auc", "calibration_error", "class_distance",
    "mae", "rmse", "r2", "poisson_deviance",
)  # fmt: skip
"""The scores that are printed; the others are in metrics.json and in the report."""
HIGHER = (
    "accuracy", "balanced_accuracy", "auc", "average_precision", "precision", "recall", "f1",
    "lift", "r2",
)  # fmt: skip
"""The scores that are better the higher they are."""
MOST_CLASSES = 100  # a larger matrix would fill metrics.json with zeros

Array = NDArray[Any]


def confusion_matrix(true: Array, predicted: Array, classes: int) -> NDArray[np.int64]:
    """Count rows by true class (row of the matrix) and predicted class (column).

    true, predicted: class indices (rows,); the result has shape (classes, classes).

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    check_pair(true, predicted)
    cells = np.asarray(true) * classes + np.asarray(predicted)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def score_classes(
    true: Array, probabilities: Array, predicted: Array | None = None
) -> dict[str, float]:
    """Score class probabilities (rows, classes) against true class indices (rows,).

    accuracy: share of rows whose predicted class is correct, by default the most probable one.
    balanced_accuracy: mean recall of the classes present.  log_loss: mean of :func:`log_losses`.
    :func:`chainrule.tabular.class_scores.further_scores` has more.

    >>> score_classes(np.array([0, 0, 1]), np.eye(2)[[0, 1, 1]])["balanced_accuracy"]
    0.75
    """
    check_pair(true, probabilities)
    hit = (probabilities.argmax(axis=1) if predicted is None else predicted) == true
    rows = np.bincount(true)
    hits = np.bincount(true, weights=hit)
    present = rows > 0
    return {
        "accuracy": float(hit.mean()),
        "balanced_accuracy": float((hits[present] / rows[present]).mean()),
        "log_loss": float(log_losses(true, probabilities).mean()) + 0.0,
    }


def log_losses(true: Array, probabilities: Array) -> Array:
    """Return ``-log(probability of the true class)`` of each row (rows,), at most 36.8.

    >>> log_losses(np.array([1, 0]), np.array([[0.5, 0.5], [1.0, 0.0]])).round(3).tolist()
    [0.693, -0.0]
    """
    chosen = probabilities[np.arange(len(true)), true].astype(np.float64)
    losses: Array = -np.log(np.maximum(chosen, 1e-16))
    return losses


def score_values(true: Array, predicted: Array) -> dict[str, float]:
    """Score predicted values by mean absolute error, root mean square error, and R².

    ``r2 = 1 - mean((true - predicted)²) / variance(true)``, NaN if `true` is constant.

    >>> score_values(np.array([1.0, 3.0]), np.array([1.0, 2.0]))["r2"]
    0.5
    """
    check_pair(true, predicted)
    error = np.asarray(predicted, np.float64) - np.asarray(true, np.float64)
    square, spread = float((error**2).mean()), float(np.var(true))
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": square**0.5,
        "r2": 1 - square / spread if spread > 0 else float("nan"),
    }


def error_quantiles(true: Array, predicted: Array) -> dict[str, float]:
    """Return the quantiles of the absolute error, for the shares in `QUANTILES`.

    >>> error_quantiles(np.zeros(3), np.array([-1.0, 2.0, 3.0]))["0.5"]
    2.0
    """
    check_pair(true, predicted)
    error = np.abs(np.asarray(predicted, np.float64) - np.asarray(true, np.float64))
    return {f"{share:g}": float(np.quantile(error, share)) for share in QUANTILES}


def worst_classes(matrix: Array, names: Sequence[Any], most: int = 10) -> list[dict[str, Any]]:
    """Return the classes with the lowest recall, worst first.

    Each entry has class, rows, recall, and taken_for, the class it was most often confused
    with (None if every row is correct).  Classes without rows are left out.

    >>> worst_classes(np.array([[1, 3], [0, 2]]), ["a", "b"])[0]["taken_for"]
    'b'
    """
    rows = matrix.sum(axis=1)
    present = np.flatnonzero(rows)
    recall = matrix[present, present] / rows[present]
    order = present[np.lexsort((-rows[present], recall))][:most]
    found = []
    for k in order.tolist():
        wrong = matrix[k].copy()
        wrong[k] = 0
        found.append(
            {
                "class": names[k],
                "rows": int(rows[k]),
                "recall": float(matrix[k, k] / rows[k]),
                "taken_for": names[int(wrong.argmax())] if wrong.any() else None,
            }
        )
    return found


def check_pair(true: Array, predicted: Array) -> None:
    """Raise DataError unless there are as many predictions as true values, and at least one."""
    if len(true) != len(predicted) or len(true) == 0:
        raise DataError(
            f"scores need equal numbers of predictions and true values, at least one; got "
            f"{len(predicted)} and {len(true)}."
        )
