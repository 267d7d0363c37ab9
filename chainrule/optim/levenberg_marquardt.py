"""Levenberg-Marquardt: nonlinear least squares by steps between Gauss-Newton and gradient steps.

It uses residuals and their exact Jacobian, and estimates the covariance of the parameters.

Near the minimum, rounding hides differences between sums of squares, but not yet between
gradients: there a step is judged by the gradient.  That gains two to four digits.

Sources: Moré, "The Levenberg-Marquardt algorithm: implementation and theory", 1978, for the
scaling and the trust region; MINPACK's lmder for the constants.

Read next: :mod:`chainrule.train.curve`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.core.options import in_range
from chainrule.optim.full_batch import ROUNDING, Descent, FullBatch, check_start, iterates
from chainrule.optim.optimizer import named

__all__ = ["LeastSquares", "LevenbergMarquardt"]

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class LeastSquares:
    """A point of a least-squares problem, and how it was reached.

    `reason` says why the minimization stops here, or is None.
    """

    point: Array
    residuals: Array
    jacobian: Array
    iterations: int = 0
    evaluations: int = 1
    reason: str | None = None

    @cached_property
    def squares(self) -> float:
        """The sum of the squared residuals."""
        return _squares(self.residuals)

    @cached_property
    def scale(self) -> Array:
        """The norm of each column of the Jacobian."""
        norms: Array = np.sqrt(np.einsum("ij,ij->j", self.jacobian, self.jacobian))
        return norms

    def covariance(self) -> Array:
        """Return the covariance of the parameters, ``squares / (n - p) * inv(J^T J)``.

        n residuals, p parameters.  Parameters that the data do not determine have infinite
        variance; with n <= p there are no degrees of freedom left, and all entries are NaN.
        """
        n, p = self.jacobian.shape
        if n <= p:
            return np.full((p, p), np.nan)
        scale = np.where(self.scale > 0, self.scale, 1.0)
        _, s, v = np.linalg.svd(np.linalg.qr(self.jacobian / scale, mode="r"))
        known = s > n * EPSILON * s[0]
        half = v[known].T / s[known] / scale[:, None]
        found: Array = self.squares / (n - p) * (half @ half.T)
        loose = (np.abs(v[~known]) > math.sqrt(EPSILON)).any(axis=0)
        found[loose, loose] = np.inf
        return found


@named("levenberg_marquardt")
@dataclass(frozen=True)
class LevenbergMarquardt(FullBatch):
    """Levenberg-Marquardt with Moré's scaling and trust region.

    Step q from point x: ``min |J q + r|``, ``|scale * q| <= radius``, where scale is the largest
    norm of each column of J so far, so that the units of parameters do not matter.  The first
    radius is ``trust * |scale * x|``.  Stops when steps are smaller than `tolerance` times the
    parameters, or when rounding hides any improvement.

    Raises OptionError unless tolerance is in [0, 1) and trust positive.

    >>> x = np.array([0.0, 1.0, 2.0])
    >>> fit = LevenbergMarquardt().minimize(
    ...     lambda b: np.exp(-b[0] * x) - [1.0, 0.5, 0.25],
    ...     lambda b: (-x * np.exp(-b[0] * x))[:, None],
    ...     [0.1],
    ... )
    >>> fit.point.round(6), fit.reason is not None
    (array([0.693147]), True)
    """

    tolerance: float = 1e-12
    trust: float = 1.0

    def __post_init__(self) -> None:
        in_range(self, "tolerance", 0.0, 1.0)
        in_range(self, "trust", 0.0, math.inf, open_low=True)

    def minimize(
        self, residuals: Function, jacobian: Function, start: Any, iterations: int = 2000
    ) -> LeastSquares:
        """Return the point with the least sum of squares found from `start`.

        `residuals` maps parameters (p,) to (n,), `jacobian` to (n, p); see :meth:`iterate`.
        """
        found = None
        for found in self.iterate(residuals, jacobian, start):
            if found.iterations >= iterations:
                break
        assert found is not None
        return found

    def iterate(
        self, residuals: Function, jacobian: Function, start: Any, epsilon: float = EPSILON
    ) -> Iterator[LeastSquares]:
        """Yield the start and the point after each step; the last one has a `reason`.

        `epsilon` is the relative rounding error of the residuals.  Raises DivergedError if
        they are not finite at the start; later, a step to such a point is shortened.
        """
        return iterates(self.descent(residuals, jacobian, start, epsilon))

    def descent(
        self,
        residuals: Function,
        jacobian: Function,
        start: Any,
        epsilon: float = EPSILON,
        kept: Mapping[str, Array] | None = None,
    ) -> Descent[LeastSquares]:
        """Return a minimization at `start`; with what another one `kept` there, it continues it."""
        point = np.array(start, np.float64)
        with np.errstate(all="ignore"):
            count, looks = (0, 1) if kept is None else (int(n) for n in kept["counts"])
            here = LeastSquares(point, residuals(point), jacobian(point), count, looks)
            check_start(self, "residual", here.residuals)
            check_start(self, "the Jacobian", here.jacobian)
            descent = _Descent(self, residuals, jacobian, here, epsilon)
        if kept is not None:
            descent.scale, descent.radius = kept["scale"], float(kept["radius"])
            descent.evaluations = here.evaluations
        return descent


def _squares(residuals: Array) -> float:
    return float(residuals @ residuals)


class _Descent:
    """The state of a minimization: the current point and the radius of the trust region."""

    def __init__(
        self,
        method: LevenbergMarquardt,
        residuals: Function,
        jacobian: Function,
        here: LeastSquares,
        epsilon: float,
    ):
        self.method, self.residuals, self.jacobian = method, residuals, jacobian
        self.here, self.noise = here, epsilon**0.75
        self.scale = np.where(here.scale > 0, here.scale, 1.0)
        self.radius = method.trust * (_norm(self.scale * here.point) or 1.0)
        self.evaluations = 1

    def keep(self) -> dict[str, Array]:
        """Return, beside the point, what the steps to come depend on."""
        counts = np.array([self.here.iterations, self.evaluations])
        return {"scale": self.scale, "radius": np.array(self.radius), "counts": counts}

    def advance(self) -> None:
        """Take one accepted step, or set the reason to stop."""
        with np.errstate(all="ignore"):
            self._advance()

    def _advance(self) -> None:
        here = self.here
        if here.squares == 0 or not np.any(here.jacobian.T @ here.residuals):
            self._stay("every residual is zero" if here.squares == 0 else "the gradient is zero")
            return
        self.scale = np.maximum(self.scale, here.scale)
        tangent = _Tangent(here, self.scale)
        while True:
            step, damping = tangent.step(self.radius)
            size = _norm(step)
            if here.iterations == 0:
                self.radius = min(self.radius, size)
            point = here.point + step / self.scale
            r = self.residuals(point)
            self.evaluations += 1
            squares = _squares(r)
            # If residuals grew more than tenfold or are not finite, the exact value is useless.
            actual = 1 - squares / here.squares if squares < 100 * here.squares else -1.0
            promised, slope = tangent.promise(step, damping)
            ratio = actual / promised
            self._learn(ratio, actual, slope, size, damping)
            unclear = promised <= self.noise and abs(actual) <= self.noise
            if ratio >= 1e-4 or unclear:
                there = self._at(point, r)
                flatter = _slope(there, self.scale) < 0.99 * _slope(here, self.scale)
                if ratio < 1e-4 and not flatter:
                    self._stay(ROUNDING)
                    return
                if np.isfinite(there.jacobian).all():
                    self.here = there
            limit = self.method.tolerance * _norm(self.scale * self.here.point)
            if self.radius <= limit or (self.here is not here and damping == 0 and size <= limit):
                self._stay(f"steps became smaller than {self.method.tolerance:g} of the parameters")
                return
            if self.here is not here:
                return

    def _at(self, point: Array, residuals: Array) -> LeastSquares:
        count = self.here.iterations + 1
        return LeastSquares(point, residuals, self.jacobian(point), count, self.evaluations)

    def _stay(self, reason: str) -> None:
        h = self.here
        self.here = LeastSquares(
            h.point, h.residuals, h.jacobian, h.iterations, self.evaluations, reason
        )

    def _learn(
        self, ratio: float, actual: float, slope: float, size: float, damping: float
    ) -> None:
        """Enlarge the trust region if the linear model was accurate, and shrink it if not."""
        if ratio <= 0.25:
            # After an increase: the minimum of the parabola through the known values.
            shrink = 0.5 if actual >= 0 else 0.5 * slope / (slope + 0.5 * actual)
            shrink = max(0.1, shrink) if actual > -1 else 0.1
            self.radius = shrink * min(self.radius, size / 0.1)
        elif damping == 0 or ratio >= 0.75:
            self.radius = 2 * size


class _Tangent:
    """The linearized problem: the norm of ``J / scale q + r``."""

    def __init__(self, here: LeastSquares, scale: Array):
        # The last column of R is Q^T r, so that Q itself is never formed.
        augmented = np.column_stack([here.jacobian / scale, here.residuals])
        triangle = np.asarray(np.linalg.qr(augmented, mode="r"))
        u, self.s, self.v = np.linalg.svd(triangle[:, :-1], full_matrices=False)
        self.c = u.T @ triangle[:, -1]
        self.squares = here.squares
        self.known = self.s > EPSILON * max(here.jacobian.shape) * self.s[0]

    def step(self, radius: float) -> tuple[Array, float]:
        """Return the step within `radius`, and the damping that keeps it there."""
        damping = self._damping(radius)
        if damping:
            along = self.s * self.c / (self.s**2 + damping)
        else:
            along = np.where(self.known, self.c / np.where(self.known, self.s, 1.0), 0.0)
        return -self.v.T @ along, damping

    def _damping(self, radius: float) -> float:
        """Return λ with ``|q(λ)|`` within 10 % of `radius`, by safeguarded Newton steps; or 0."""
        if _norm(self.c[self.known] / self.s[self.known]) <= 1.1 * radius:
            return 0.0
        low, high = 0.0, _norm(self.s * self.c) / radius
        damping = 0.001 * high
        for _ in range(60):
            divisor = self.s**2 + damping
            q = self.s * self.c / divisor
            size = _norm(q)
            if abs(size - radius) <= 0.1 * radius:
                break
            low, high = (damping, high) if size > radius else (low, damping)
            damping += (size - radius) / radius * size**2 / float(np.sum(q**2 / divisor))
            if not low < damping < high:
                damping = max(0.001 * high, math.sqrt(low * high))
        return damping

    def promise(self, step: Array, damping: float) -> tuple[float, float]:
        """Return the relative decrease of the squares in the linear model, and half its slope."""
        bent = float(np.sum((self.s * (self.v @ step)) ** 2)) / self.squares
        held = damping * float(step @ step) / self.squares
        return bent + 2 * held, -(bent + held)


def _slope(place: LeastSquares, scale: Array) -> float:
    return _norm(place.jacobian.T @ place.residuals / scale)


def _norm(vector: Array) -> float:
    return float(np.linalg.norm(vector))
