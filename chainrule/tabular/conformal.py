"""Prediction intervals that contain the target as often as they say, whatever the network.

The method is split conformal prediction.  Rows that were not trained on, the validation rows, are
given a score: how far the target lies from the prediction, in units of the width that the network
expects there.  An interval of 90 % reaches as far as 90 % of these scores, so it contains the
target of a new row with a probability of at least 90 %, if its row could as well have been one of
them (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; Lei, G'Sell,
Rinaldo, Tibshirani and Wasserman, "Distribution-free predictive inference for regression", 2018).
No distribution is assumed.  The finite number of rows is allowed for: of n scores, that of rank
``ceil((n + 1) * level)`` is taken.

The expected width is a linear function of the prediction, the line that fits the sizes of the
errors on the training rows best, between 0.3 and 4 times their mean (locally weighted conformal
prediction: Papadopoulos and others, "Inductive confidence machines for regression", 2002; Lei and
others, 2018).  With the loss quantile it is the distance of the outer quantiles from the median
(conformalized quantile regression: Romano, Patterson and Candès, 2019, in the form of Sesia and
Candès, 2020, which stretches instead of shifts), and with the loss poisson the root of the
expected count, which is a count's standard deviation.

Read next: :mod:`chainrule.tabular.table_training`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import OptionError
from chainrule.core.options import is_number
from chainrule.core.wording import counted
from chainrule.data.target import Target
from chainrule.step.objective import Objective
from chainrule.tabular.intervals import wilson

__all__ = ["LEVEL", "calibrated", "check_level", "coverage", "intervals_of", "quantiles_of"]

Array = NDArray[Any]
LEVEL = 0.9  # of the intervals that are scored after training
MOST_KEPT = 1_000  # scores saved with a run; the quantiles of more are hardly better known
LEAST, MOST = 0.3, 4.0  # of the mean error: the range of the widths that depend on the prediction
NARROW = 0.01  # the least expected width, in standard deviations of the target


def check_level(level: Any) -> float:
    """Return the share of targets that an interval shall contain; raise OptionError if it is none.

    >>> check_level(0.9)
    0.9
    """
    if not is_number(level) or not 0 < level < 1:
        raise OptionError(f"interval must be a share between 0 and 1, such as 0.9, not {level!r}.")
    return float(level)


def calibrated(
    target: Target,
    aim: Objective,
    outputs: Array,
    true: Array,
    trained: tuple[Array, Array] | None = None,
) -> Target:
    """Return `target` with the calibration scores of rows that were not trained on.

    outputs: what the network returns for these rows, (rows, k).  true: their targets as
    ``target.encode`` returns them, (rows,).  trained: both for training rows, from which the
    expected widths are found; without them, they are the same for every row.
    """
    target = replace(target, widths=() if trained is None else _widths(aim, *trained))
    middle, below, above = _expected(target, aim, outputs)
    error = np.asarray(true, np.float64) - middle
    scores = np.sort(np.maximum(-error / below, error / above))
    scores = scores[np.isfinite(scores)]
    if len(scores) > MOST_KEPT:  # the scores at evenly spaced ranks
        ranks = np.arange(1, MOST_KEPT + 1) * (len(scores) + 1) / (MOST_KEPT + 1)
        scores = scores[np.ceil(ranks).astype(np.intp) - 1]
    return replace(target, errors=tuple(scores.tolist()))


def intervals_of(
    target: Target, aim: Objective, outputs: Array, level: float
) -> tuple[Array, Array]:
    """Return the lower and upper ends (rows,) of intervals for `outputs`, in units of the target.

    Raises OptionError if the target is no number, or if too few rows were left out of training
    for intervals of this level: it takes ``level / (1 - level)`` of them.

    >>> from chainrule.step.objective import objective
    >>> aim, outputs = objective("mse"), np.array([[0.0], [1.0]])
    >>> nine = calibrated(Target("y", "regression"), aim, np.zeros((9, 1)), np.arange(9) - 4.0)
    >>> intervals_of(nine, aim, outputs, 0.9)
    (array([-4., -3.]), array([4., 5.]))
    """
    check_level(level)
    if target.task != "regression":
        raise OptionError(
            f"interval needs a target of numbers, but {target.name!r} has classes, whose "
            "probabilities are predicted."
        )
    reach = _reach(target, level)
    if reach is None:
        needed, rows = _rows_needed(level), len(target.errors)
        told = f"this run was calibrated on {rows}" if rows else "this run has none"
        raise OptionError(
            f"an interval of {100 * level:g} % needs at least {counted(needed, 'validation row')} "
            f"to be calibrated on, and {told}."
        )
    middle, below, above = _expected(target, aim, outputs)
    low, high = target.decode(middle - reach * below), target.decode(middle + reach * above)
    return (np.maximum(low, 0.0) if target.counts else low), high


def quantiles_of(target: Target, aim: Objective, outputs: Array) -> dict[float, Array]:
    """Return the predicted quantiles (rows,) by level; {} if the loss trains none."""
    columns = np.sort(outputs, axis=1).T
    return {
        level: target.decode(column) for level, column in zip(aim.levels, columns, strict=False)
    }


def coverage(
    target: Target, aim: Objective, outputs: Array, true: Array, level: float = LEVEL
) -> dict[str, Any] | None:
    """Return how many of the targets `true` (rows,), in their units, lie in their intervals.

    The entries are the `level`, the share `covered` with its 95 % interval `between`, and the
    `mean_width` of the intervals.  None if intervals of this level can't be calibrated.
    """
    if _reach(target, level) is None:
        return None
    low, high = intervals_of(target, aim, outputs, level)
    inside = (low <= true) & (true <= high)
    return {
        "level": level,
        "covered": float(inside.mean()),
        "between": list(wilson(int(inside.sum()), len(inside))),
        "mean_width": float((high - low).mean()),
        "calibrated_on": len(target.errors),
    }


def _widths(aim: Objective, outputs: Array, true: Array) -> tuple[float, ...]:
    """Return the line that fits the sizes of errors by the prediction, and its least and most.

    () for losses that tell of the width themselves, and where there are no errors.
    """
    if aim.kind != "values":
        return ()
    middle = aim.decide(np.asarray(outputs, np.float64))[:, 0]
    size = np.abs(np.asarray(true, np.float64) - middle)
    mean, spread = float(size.mean()), float(middle.var())
    if not (math.isfinite(mean) and mean > 0):
        return ()
    shared = float(((middle - middle.mean()) * (size - mean)).mean())
    slope = shared / spread if spread > 0 else 0.0
    return mean - slope * float(middle.mean()), slope, LEAST * mean, MOST * mean


def _expected(target: Target, aim: Objective, outputs: Array) -> tuple[Array, Array, Array]:
    """Return the predictions and the widths expected below and above them, (rows,) each."""
    standard = np.asarray(outputs, np.float64)
    middle = aim.decide(standard)[:, 0]
    if aim.kind == "quantiles":
        quantiles = np.sort(standard, axis=1)
        below, above = middle - quantiles[:, 0], quantiles[:, -1] - middle
        return middle, np.maximum(below, NARROW), np.maximum(above, NARROW)
    if aim.kind == "counts":
        width = np.maximum(np.sqrt(middle), NARROW)
    elif target.widths:
        start, slope, least, most = target.widths
        width = np.clip(start + slope * middle, least, most)
    else:
        width = np.ones(len(middle))
    return middle, width, width


def _rows_needed(level: float) -> int:
    """Return how many scores an interval of `level` needs: (n + 1) * level must not exceed n."""
    return math.ceil(level / (1 - level) - 1e-9)


def _reach(target: Target, level: float) -> float | None:
    """Return the score that an interval of `level` reaches to, None if there are too few."""
    rank = math.ceil((len(target.errors) + 1) * level - 1e-9)
    return target.errors[rank - 1] if target.errors and rank <= len(target.errors) else None
