"""Scores of class probabilities beyond accuracy: ranking, precision, calibration, with intervals.

Each class is scored against the rest.  With two classes, the scores are those of the second, the
positive class; with more, the means over the classes that occur.  Intervals are of 95 %, for the
sampling of the rows.

Read next: :mod:`chainrule.tabular.scores`, the scores that need no class against the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.tabular.intervals import combined, mean_interval, wilson
from chainrule.tabular.scores import MOST_CLASSES, check_pair

__all__ = [
    "BINS",
    "ClassScores",
    "average_precision",
    "brier",
    "calibration_error",
    "further_scores",
    "lift",
    "reliability",
    "roc_auc",
]

Array = NDArray[Any]
Interval = tuple[float, float]
BINS = 15  # of equal width, as Guo et al. (2017) use them
TOP = 0.1  # share of the rows with the highest probability, whose lift is told
_OF_CLASS = ("auc", "average_precision", "precision", "recall", "f1", "lift")


@dataclass(frozen=True)
class ClassScores:
    """Scores by name, their intervals, and both for each class.

    `values` and `intervals` have auc, average_precision, precision, recall, f1, lift (with two
    classes), brier and calibration_error.  NaN, and None, where a score is not defined.
    """

    values: dict[str, float]
    intervals: dict[str, list[float] | None]
    by_class: list[dict[str, Any]]


def roc_auc(positive: Array, score: Array) -> tuple[float, Array]:
    """Return the area under the ROC curve, and the influence of each row on it (rows,).

    The area is the probability that a positive row has a higher score than a negative one, ties
    counting one half.  positive: bool (rows,).  The influence of a positive row is
    ``(V - area) / share of positives``, where V is the share of negatives below it, and likewise
    for negative rows; the variance of the area is the mean squared influence, divided by the rows
    (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988; Sun and Xu, 2014, for the ranks).
    NaN if all rows are positive, or none.

    >>> roc_auc(np.array([False, True, True]), np.array([0.1, 0.3, 0.1]))[0]
    0.75
    """
    yes = int(positive.sum())
    no = len(positive) - yes
    influence = np.zeros(len(positive))
    if yes == 0 or no == 0:
        return math.nan, influence
    ranks = _ranks(score)
    above = np.empty(len(positive))  # share of the other class that is on the right side
    above[positive] = (ranks[positive] - _ranks(score[positive])) / no
    above[~positive] = 1 - (ranks[~positive] - _ranks(score[~positive])) / yes
    area = float(above[positive].mean())
    influence = (above - area) * np.where(positive, len(positive) / yes, len(positive) / no)
    return area, influence


def _ranks(score: Array) -> Array:
    """Return the rank of each number, from 1; equal numbers share their mean rank."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: Array = (last - (count - 1) / 2)[place]
    return ranks


def average_precision(positive: Array, score: Array) -> float:
    """Return the average precision, ``sum of (recall_k - recall_(k-1)) * precision_k``.

    k runs over the distinct scores, highest first: rows with at least this score are taken for
    positive.  NaN if no row is positive.

    >>> round(average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.1])), 3)
    0.833
    """
    yes = int(positive.sum())
    if yes == 0:
        return math.nan
    values, place = np.unique(-score, return_inverse=True)
    rows = np.cumsum(np.bincount(place, minlength=len(values)))
    hits = np.cumsum(np.bincount(place, weights=positive, minlength=len(values)))
    return float((np.diff(hits, prepend=0.0) * hits / rows).sum() / yes)


def lift(positive: Array, score: Array, share: float = TOP) -> tuple[float, Interval | None]:
    """Return how many times more positives the best `share` of the rows has than all, and where.

    Of rows that tie at the edge of the best, each counts in part.  The interval is that of a ratio
    of means, for the same edge.  NaN if no row is positive.

    >>> lift(np.arange(20) < 4, -np.arange(20.0))[0]
    5.0
    """
    rate = float(positive.mean())
    if rate == 0:
        return math.nan, None
    wanted = max(1, round(share * len(score)))
    edge = np.partition(score, -wanted)[-wanted]
    above, level = score > edge, score == edge
    part = above + level * (wanted - int(above.sum())) / int(level.sum())
    share = wanted / len(score)
    value = float((part * positive).mean() / share / rate)
    ends = mean_interval(value + (part / share - value) * positive / rate)
    return value, ends and (max(0.0, ends[0]), ends[1])


def brier(true: Array, probabilities: Array) -> Array:
    """Return the Brier score of each row (rows,): ``sum over classes of (probability - truth)²``.

    With two classes it is half of this, ``(probability of the second - truth)²``.

    >>> brier(np.array([0, 1]), np.array([[0.8, 0.2], [0.6, 0.4]])).round(2).tolist()
    [0.04, 0.36]
    """
    told = probabilities.astype(np.float64)
    chosen = told[np.arange(len(true)), true]
    scores: Array = (told**2).sum(axis=1) - 2 * chosen + 1
    return scores / 2 if told.shape[1] == 2 else scores


def reliability(true: Array, probabilities: Array, bins: int = BINS) -> list[dict[str, Any]]:
    """Return confidence and accuracy in `bins` of equal width of the confidence.

    The confidence of a row is its largest probability.  Each entry has low and high (the ends of
    the bin), rows, confidence and accuracy (means over its rows), and the 95 % interval of the
    accuracy, ends.  Bins without rows are left out.
    """
    sure, right, place = _binned(true, probabilities, bins)
    found = []
    for k in np.unique(place).tolist():
        inside = place == k
        rows, hits = int(inside.sum()), int(right[inside].sum())
        found.append(
            {
                "low": k / bins,
                "high": (k + 1) / bins,
                "rows": rows,
                "confidence": float(sure[inside].mean()),
                "accuracy": hits / rows,
                "ends": list(wilson(hits, rows)),
            }
        )
    return found


def calibration_error(true: Array, probabilities: Array, bins: int = BINS) -> Array:
    """Return what each row (rows,) adds to the expected calibration error, the mean of them.

    The error is ``sum over bins of (rows in the bin / rows) * |accuracy - confidence|``, for `bins`
    of equal width of the confidence, the largest probability of a row (Guo, Pleiss, Sun and
    Weinberger, "On calibration of modern neural networks", 2017).  A row adds the difference
    between its confidence and whether it was right, with the sign of its bin.  With few rows the
    error of perfect probabilities is above 0.

    >>> calibration_error(np.array([0, 1]), np.array([[0.9, 0.1], [0.9, 0.1]])).mean().round(2)
    np.float64(0.4)
    """
    sure, right, place = _binned(true, probabilities, bins)
    gap = sure - right
    sign = np.sign(np.bincount(place, weights=gap, minlength=bins))
    added: Array = sign[place] * gap
    return added


def _binned(true: Array, probabilities: Array, bins: int) -> tuple[Array, Array, Array]:
    """Return the confidence of each row, whether its most probable class is right, and its bin."""
    sure = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == true).astype(np.float64)
    return sure, right, np.minimum((sure * bins).astype(np.intp), bins - 1)


def further_scores(
    true: Array, probabilities: Array, predicted: Array, names: Sequence[Any]
) -> ClassScores:
    """Score class probabilities (rows, classes) and predicted classes (rows,).

    auc: :func:`roc_auc`, with the interval of Wilson for as many rows as give its variance.
    average_precision: :func:`average_precision`, its interval that of a proportion of the positive
    rows (Boyd, Eng and Page, 2013).  precision and recall: proportions.  f1: ``2 J / (1 + J)``,
    where J, the share of rows both predicted and true among those that are either, is a proportion.
    lift: :func:`lift` at 10 % of the rows.  brier and calibration_error: means over the rows.
    Means over classes combine their intervals by :func:`~chainrule.tabular.intervals.combined`.

    >>> scored = further_scores(np.array([0, 1, 1]), np.eye(2)[[0, 1, 1]], np.array([0, 1, 1]),
    ...                         ["no", "yes"])
    >>> scored.values["auc"], scored.values["f1"]
    (1.0, 1.0)
    """
    check_pair(true, probabilities)
    values: dict[str, float] = {}
    ends: dict[str, list[float] | None] = {}
    by_class: list[dict[str, Any]] = []
    k = len(names)
    if k <= MOST_CLASSES:
        found = {i: _one_class(true == i, probabilities[:, i], predicted == i) for i in range(k)}
        present = [i for i in found if (true == i).any()]
        by_class = [
            {"class": names[i], "rows": int((true == i).sum()), **_listed(found[i].scores)}
            for i in present
        ]
        if k == 2:
            told = found[1].scores
        else:
            told = _mean_of([found[i] for i in present])
        values |= {name: value for name, (value, _) in told.items()}
        ends |= {name: None if near is None else list(near) for name, (_, near) in told.items()}
    for name, rows in (
        ("brier", brier(true, probabilities)),
        ("calibration_error", calibration_error(true, probabilities)),
    ):
        values[name] = float(np.maximum(rows.mean(), 0.0)) + 0.0  # rounded, it may be below 0
        near = mean_interval(rows)
        ends[name] = near and [max(0.0, near[0]), near[1]]
    return ClassScores(values, ends, by_class)


@dataclass(frozen=True)
class _OneClass:
    """The scores of a class against the rest, each with its interval, and what the AUC is of."""

    scores: dict[str, tuple[float, Interval | None]]
    influence: Array
    fewest: int


def _one_class(yes: Array, score: Array, said: Array) -> _OneClass:
    hits, rows, told = int((yes & said).sum()), int(yes.sum()), int(said.sum())
    either = rows + told - hits
    area, influence = roc_auc(yes, score)
    fewest = min(rows, len(yes) - rows)
    precise = average_precision(yes, score)
    scores: dict[str, tuple[float, Interval | None]] = {
        "auc": (area, _area_interval(area, influence, fewest)),
        "average_precision": (precise, wilson(precise * rows, rows) if rows else None),
        "precision": (hits / told if told else 0.0, wilson(hits, told) if told else None),
        "recall": (hits / rows if rows else 0.0, wilson(hits, rows) if rows else None),
        "f1": (_f1(hits / either), _of_union(hits, either)) if either else (0.0, None),
        "lift": lift(yes, score),
    }
    return _OneClass(scores, influence, fewest)


def _f1(share: float) -> float:
    return 2 * share / (1 + share)


def _of_union(hits: int, either: int) -> Interval:
    low, high = wilson(hits, either)
    return _f1(low), _f1(high)


def _area_interval(area: float, influence: Array, fewest: int) -> Interval | None:
    """Return Wilson's interval for as many rows as a proportion of this variance would have.

    Without a variance, all pairs are in order: there are as many pairs without a common row as the
    rarer class has rows.
    """
    if math.isnan(area):
        return None
    variance = float((influence**2).mean()) / len(influence)
    rows = area * (1 - area) / variance if variance > 0 and 0 < area < 1 else fewest
    return wilson(area * rows, rows)


def _mean_of(classes: Sequence[_OneClass]) -> dict[str, tuple[float, Interval | None]]:
    """Return the means of the scores over classes; the lift of several classes has none."""
    found: dict[str, tuple[float, Interval | None]] = {}
    for name in _OF_CLASS:
        if name in ("auc", "lift"):
            continue
        values = [one.scores[name][0] for one in classes]
        near = [one.scores[name][1] or (0.0, 1.0) for one in classes]
        found[name] = float(np.mean(values)), combined(values, near)
    sound = [one for one in classes if not math.isnan(one.scores["auc"][0])]
    if not sound:
        return {"auc": (math.nan, None), **found}
    area = float(np.mean([one.scores["auc"][0] for one in sound]))
    influence = np.mean([one.influence for one in sound], axis=0)
    fewest = min(one.fewest for one in sound)
    return {"auc": (area, _area_interval(area, influence, fewest)), **found}


def _listed(scores: dict[str, tuple[float, Interval | None]]) -> dict[str, Any]:
    """Return scores as JSON has them, each with its interval."""
    return {
        name: {
            "value": None if math.isnan(value) else value,
            "interval": None if near is None else list(near),
        }
        for name, (value, near) in scores.items()
    }
