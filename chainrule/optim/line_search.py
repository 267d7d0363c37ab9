"""Line search for a step that fulfils the strong Wolfe conditions.

They are ``value <= start + c1 * step * slope0`` and ``|slope| <= c2 * |slope0|``.

Sources: Nocedal and Wright, "Numerical optimization", 2006, algorithms 3.5 and 3.6; where
rounding hides the decrease, Hager and Zhang's approximate condition, 2005.

Read next: :mod:`chainrule.optim.lbfgs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Trial", "strong_wolfe"]

Array = np.ndarray[Any, Any]
MOST_TRIALS = 40


@dataclass(frozen=True)
class Trial:
    """The result at a `step` along the direction: the value, its slope, and the gradient."""

    step: float
    value: float
    slope: float
    point: Array
    gradient: Array


def strong_wolfe(
    look: Callable[[float], Trial], start: Trial, first: float, c1: float, c2: float, noise: float
) -> Trial | None:
    """Return a trial that fulfils the strong Wolfe conditions, or None if none is found.

    `look` evaluates a step, `start` is the trial at step 0, whose slope is negative, `first` the
    first step to try, and `noise` the relative rounding error of values.

    >>> def look(step):
    ...     return Trial(step, (step - 3) ** 2, 2 * (step - 3), np.zeros(1), np.zeros(1))
    >>> strong_wolfe(look, look(0.0), 1.0, 1e-4, 0.1, 0.0).step
    3.0
    """
    search = _Search(look, start, c1, c2, noise)
    before, step = start, first
    while search.left():
        trial = search.look(step)
        if not search.low_enough(trial) or (before is not start and trial.value >= before.value):
            return search.zoom(before, trial)
        if search.flat_enough(trial):
            return trial
        if trial.slope >= 0:
            return search.zoom(trial, before)
        before, step = trial, min(10 * trial.step, max(2 * trial.step, _guess(before, trial)))
    return before if before.value < start.value else None


class _Search:
    """The state of a search: the two conditions and the number of trials."""

    def __init__(
        self, look: Callable[[float], Trial], start: Trial, c1: float, c2: float, noise: float
    ):
        self.look_at, self.start, self.c1, self.c2, self.noise = look, start, c1, c2, noise
        self.trials = 0

    def left(self) -> bool:
        return self.trials < MOST_TRIALS

    def look(self, step: float) -> Trial:
        self.trials += 1
        trial = self.look_at(step)
        if math.isfinite(trial.value) and math.isfinite(trial.slope):
            return trial
        return Trial(step, math.inf, math.inf, trial.point, trial.gradient)

    def low_enough(self, trial: Trial) -> bool:
        start = self.start
        if trial.value <= start.value + self.c1 * trial.step * start.slope:
            return True
        # Within rounding, test the slope instead: for a parabola this condition is the same.
        unclear = trial.value <= start.value + self.noise * abs(start.value)
        return unclear and trial.slope <= (2 * self.c1 - 1) * start.slope

    def flat_enough(self, trial: Trial) -> bool:
        return abs(trial.slope) <= -self.c2 * self.start.slope

    def zoom(self, low: Trial, high: Trial) -> Trial | None:
        """Narrow the interval: `low` is the best so far, and its slope points to `high`."""
        while self.left():
            width = high.step - low.step
            step = _guess(low, high)
            # Not too near to an end, or the interval would hardly shrink.
            if not 0.1 <= (step - low.step) / width <= 0.9:
                step = low.step + 0.5 * width
            if step in (low.step, high.step):
                break
            trial = self.look(step)
            if not self.low_enough(trial) or trial.value > low.value + self._slack(low):
                high = trial
            elif self.flat_enough(trial):
                return trial
            else:
                if trial.slope * width >= 0:
                    high = low
                low = trial
        return low if low.value < self.start.value else None

    def _slack(self, low: Trial) -> float:
        return self.noise * abs(low.value) if low is self.start else 0.0


def _guess(a: Trial, b: Trial) -> float:
    """Return the minimum of the cubic through both values and slopes; NaN if there is none."""
    if not (math.isfinite(a.value) and math.isfinite(b.value)) or a.step == b.step:
        return math.nan
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if square < 0:
        return math.nan
    d2 = math.copysign(math.sqrt(square), b.step - a.step)
    bottom = b.slope - a.slope + 2 * d2
    if bottom == 0:
        return math.nan
    return b.step - (b.step - a.step) * (b.slope + d2 - d1) / bottom
