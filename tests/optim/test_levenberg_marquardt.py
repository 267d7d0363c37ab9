"""Levenberg-Marquardt against SciPy's, on problems whose answers are known, and at its edges."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import optimize

import chainrule as cr
from chainrule import optim


def rosenbrock(p: Any) -> Any:
    return np.array([10 * (p[1] - p[0] ** 2), 1 - p[0]])


def rosenbrock_slopes(p: Any) -> Any:
    return np.array([[-20 * p[0], 10.0], [-1.0, 0.0]])


@pytest.mark.parametrize("start", [(-1.2, 1.0), (10.0, -30.0), (0.0, 0.0)])
def test_rosenbrock(start: tuple[float, float]) -> None:
    found = optim.LevenbergMarquardt().minimize(rosenbrock, rosenbrock_slopes, start)
    np.testing.assert_allclose(found.point, [1, 1], rtol=1e-12)
    assert found.squares < 1e-24
    assert found.iterations < 60


def exponentials(seed: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 4, 40)
    y = 3 * np.exp(-0.7 * t) + 1.2 + rng.normal(0, 0.05, 40)

    def residuals(p: Any) -> Any:
        return p[0] * np.exp(-p[1] * t) + p[2] - y

    def slopes(p: Any) -> Any:
        e = np.exp(-p[1] * t)
        return np.stack([e, -p[0] * t * e, np.ones_like(t)], 1)

    return residuals, slopes, rng.uniform(0.5, 2, 3)


@pytest.mark.parametrize("seed", range(4))
def test_scipy_finds_the_same_least_squares(seed: int) -> None:
    residuals, slopes, start = exponentials(seed)
    ours = optim.LevenbergMarquardt().minimize(residuals, slopes, start)
    theirs = optimize.least_squares(
        residuals, start, slopes, method="lm", ftol=1e-15, xtol=1e-15, gtol=1e-15
    )
    np.testing.assert_allclose(ours.point, theirs.x, rtol=1e-7)
    assert ours.squares <= 2 * theirs.cost * (1 + 1e-12)
    scaled = slopes(ours.point).T @ residuals(ours.point)
    assert np.abs(scaled).max() < 1e-12


def test_every_step_goes_down_and_the_units_of_parameters_do_not_matter() -> None:
    residuals, slopes, start = exponentials(1)
    unit = np.array([1e-6, 1e3, 1e9])
    method = optim.LevenbergMarquardt()
    plain = list(method.iterate(residuals, slopes, start))
    scaled = list(
        method.iterate(
            lambda p: residuals(p * unit), lambda p: slopes(p * unit) * unit, start / unit
        )
    )
    squares = [found.squares for found in plain]
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(squares))
    assert plain[-1].reason is not None
    assert all(found.reason is None for found in plain[:-1])
    for a, b in zip(plain[:6], scaled[:6], strict=True):
        np.testing.assert_allclose(a.point, b.point * unit, rtol=1e-8)


def test_more_parameters_than_residuals() -> None:
    found = optim.LevenbergMarquardt().minimize(
        lambda p: np.array([p[0] * p[1] * p[2] - 8]),
        lambda p: np.array([[p[1] * p[2], p[0] * p[2], p[0] * p[1]]]),
        [1.0, 1.0, 1.0],
    )
    assert np.prod(found.point) == pytest.approx(8)
    assert np.isnan(found.covariance()).all()


def test_a_region_that_is_not_finite_is_stepped_back_from() -> None:
    found = optim.LevenbergMarquardt(trust=100.0).minimize(
        lambda p: np.array([np.log(p[0]) + 3, 0.0]),
        lambda p: np.array([[1 / p[0]], [0.0]]),
        [1.0],
    )
    assert found.point[0] == pytest.approx(np.exp(-3))


def test_reasons() -> None:
    method = optim.LevenbergMarquardt()
    exact = method.minimize(lambda p: p - 2, lambda p: np.eye(1), [2.0])
    assert exact.reason == "every residual is zero"
    flat = method.minimize(
        lambda p: np.array([1.0, p[0] ** 2]), lambda p: np.array([[0.0], [2 * p[0]]]), [0.0]
    )
    assert flat.reason == "the gradient is zero"
    assert method.minimize(rosenbrock, rosenbrock_slopes, [-1.2, 1], iterations=3).reason is None


def test_what_can_t_be_is_refused() -> None:
    with pytest.raises(cr.OptionError, match=r"tolerance must be in \[0, 1\), not -1"):
        optim.LevenbergMarquardt(tolerance=-1.0)
    with pytest.raises(cr.OptionError, match=r"trust must be in \(0, inf\), not 0"):
        optim.LevenbergMarquardt(trust=0.0)
    with pytest.raises(cr.DivergedError, match=r"residual\[1\] is nan at the start"):
        optim.LevenbergMarquardt().minimize(
            lambda p: np.array([1.0, np.nan]), lambda p: np.ones((2, 1)), [1.0]
        )
