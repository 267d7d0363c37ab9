"""L-BFGS: a quasi-Newton method that uses the last few steps and changes of the gradient.

It minimizes a function that returns a value and a gradient.  All other computation is float64.

Source: Nocedal and Wright, "Numerical optimization", 2006, algorithms 7.4 and 7.5.

Read next: :mod:`chainrule.train.full_batch_program`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.optim.full_batch import ROUNDING, Descent, FullBatch, check_start, iterates
from chainrule.optim.hyper import in_range, whole
from chainrule.optim.line_search import Trial, strong_wolfe
from chainrule.optim.optimizer import named

__all__ = ["LBFGS", "Minimum"]

Array = np.ndarray[Any, Any]
Function = Callable[[Array], tuple[float, Array]]
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Minimum:
    """A point of a minimization; `reason` says why the minimization stops here, or is None."""

    point: Array
    value: float
    gradient: Array
    iterations: int = 0
    evaluations: int = 1
    reason: str | None = None


@named("lbfgs")
@dataclass(frozen=True)
class LBFGS(FullBatch):
    """L-BFGS with a line search for the strong Wolfe conditions.

    ``direction = -H gradient``, where H estimates the inverse Hessian from the last `memory` steps
    s and changes of the gradient y, starting from ``s.y / y.y`` times the identity; then a step
    along it with ``value <= value0 + c1 * step * slope0`` and ``|slope| <= c2 * |slope0|``.
    Stops when no part of the gradient is larger than ``tolerance * min(1, largest at the start)``,
    or when rounding hides any improvement.

    Raises OptionError unless memory is a positive integer, tolerance at least 0, and
    ``0 < c1 < c2 < 1``.

    >>> def parabola(x):
    ...     return float((x - 3) @ (x - 3)), 2 * (x - 3)
    >>> LBFGS().minimize(parabola, [0.0, 10.0]).point
    array([3., 3.])
    """

    memory: int = 10
    tolerance: float = 1e-8
    c1: float = 1e-4
    c2: float = 0.9

    def __post_init__(self) -> None:
        whole(self, "memory")
        in_range(self, "tolerance", 0.0, math.inf)
        in_range(self, "c1", 0.0, 1.0, open_low=True)
        in_range(self, "c2", 0.0, 1.0, open_low=True)
        if self.c1 >= self.c2:
            raise OptionError(
                f"LBFGS: c1 must be smaller than c2, or no step may fulfil both conditions; got "
                f"c1={self.c1!r}, c2={self.c2!r}."
            )

    def minimize(self, function: Function, start: Any, iterations: int = 1000) -> Minimum:
        """Return the lowest point found from `start`; `function` returns a value and a gradient.

        Raises DivergedError if they are not finite at the start.
        """
        found = None
        for found in self.iterate(function, start):
            if found.iterations >= iterations:
                break
        assert found is not None
        return found

    def iterate(
        self, function: Function, start: Any, epsilon: float = EPSILON
    ) -> Iterator[Minimum]:
        """Yield the start and the point after each step; the last one has a `reason`.

        `epsilon` is the relative rounding error of the values.
        """
        return iterates(self.descent(function, start, epsilon))

    def descent(
        self,
        function: Function,
        start: Any,
        epsilon: float = EPSILON,
        kept: Mapping[str, Array] | None = None,
    ) -> Descent[Minimum]:
        """Return a minimization at `start`; with what another one `kept` there, it continues it."""
        return _Descent(self, function, np.array(start, np.float64), epsilon, kept)


class _Descent:
    """The state of a minimization: the current point and the last steps."""

    def __init__(
        self,
        method: LBFGS,
        function: Function,
        point: Array,
        epsilon: float,
        kept: Mapping[str, Array] | None,
    ):
        self.method, self.function, self.epsilon = method, function, epsilon
        value, gradient = function(point)
        check_start(method, "the value", value)
        check_start(method, "the gradient", gradient)
        self.here = Minimum(point, float(value), np.array(gradient, np.float64))
        self.limit = method.tolerance * min(1.0, _largest(self.here))
        self.pairs: list[tuple[Array, Array]] = []
        if kept is not None:
            self.limit = float(kept["limit"])
            self.pairs = list(zip(kept["steps"], kept["changes"], strict=True))
            count, looks = (int(n) for n in kept["counts"])
            self.here = replace(self.here, iterations=count, evaluations=looks)
        self._rest()

    def keep(self) -> dict[str, Array]:
        """Return, beside the point, what the steps to come depend on."""
        size = (len(self.pairs), len(self.here.point))
        return {
            "limit": np.array(self.limit),
            "steps": np.array([s for s, _ in self.pairs]).reshape(size),
            "changes": np.array([y for _, y in self.pairs]).reshape(size),
            "counts": np.array([self.here.iterations, self.here.evaluations]),
        }

    def advance(self) -> None:
        """Take one step, or set the reason why there is none."""
        here, pairs = self.here, self.pairs
        with np.errstate(all="ignore"):
            there = self._step(here)
            if there.reason is not None and pairs:
                pairs.clear()  # retry without the curvature, which may be wrong
                there = self._step(there)
        self.here = there
        if there.reason is not None:
            return
        s, y = there.point - here.point, there.gradient - here.gradient
        if s @ y > EPSILON * float(np.linalg.norm(s)) * float(np.linalg.norm(y)):
            pairs.append((s, y))
            del pairs[: -self.method.memory]
        self._rest()

    def _rest(self) -> None:
        """Set the reason to stop where the gradient gives one."""
        self.here = replace(self.here, reason=_rests(self.here, self.limit))

    def _step(self, here: Minimum) -> Minimum:
        """Return the point after one line search, or the same one with a reason."""
        method, pairs, count = self.method, self.pairs, here.evaluations

        def look(step: float) -> Trial:
            nonlocal count
            count += 1
            point = here.point + step * direction
            value, gradient = self.function(point)
            slopes = np.array(gradient, np.float64)
            return Trial(step, float(value), float(slopes @ direction), point, slopes)

        direction = -_inverse_hessian_times(here.gradient, pairs)
        slope = float(direction @ here.gradient)
        # Without curvature the length of a step is unknown: try at most 1, in parameter units.
        first = 1.0 if pairs else 1 / max(1.0, float(np.linalg.norm(here.gradient)))
        start = Trial(0.0, here.value, slope, here.point, here.gradient)
        found = None
        if slope < 0:
            found = strong_wolfe(look, start, first, method.c1, method.c2, 10 * self.epsilon)
        if found is None:
            return replace(here, evaluations=count, reason=ROUNDING)
        return Minimum(found.point, found.value, found.gradient, here.iterations + 1, count)


def _largest(here: Minimum) -> float:
    return float(np.abs(here.gradient).max(initial=0.0))


def _rests(here: Minimum, limit: float) -> str | None:
    largest = _largest(here)
    if largest == 0:
        return "the gradient is zero"
    return f"no part of the gradient is larger than {limit:g}" if largest <= limit else None


def _inverse_hessian_times(gradient: Array, pairs: list[tuple[Array, Array]]) -> Array:
    """Return ``H @ gradient`` by the two-loop recursion, algorithm 7.4."""
    q = gradient.copy()
    weights = []
    for s, y in reversed(pairs):
        weight = (s @ q) / (s @ y)
        q -= weight * y
        weights.append(weight)
    if pairs:
        s, y = pairs[-1]
        q *= (s @ y) / (y @ y)
    for (s, y), weight in zip(pairs, reversed(weights), strict=True):
        q += (weight - (y @ q) / (s @ y)) * s
    return q
