"""L-BFGS against SciPy's and Newton's equations; its line search against the two conditions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import optimize

import chainrule as cr
from chainrule import optim
from chainrule.optim.lbfgs import _inverse_hessian_times
from chainrule.optim.line_search import Trial, strong_wolfe


def rosenbrock(p: Any) -> tuple[float, Any]:
    return float(optimize.rosen(p)), optimize.rosen_der(p)


@pytest.mark.parametrize("start", [[-1.2, 1.0], [10.0, -30.0], [-1.0] * 20])
def test_rosenbrock_in_no_more_evaluations_than_scipy(start: list[float]) -> None:
    found = optim.LBFGS().minimize(rosenbrock, start)
    np.testing.assert_allclose(found.point, 1, atol=1e-8)
    theirs = optimize.minimize(
        rosenbrock, start, jac=True, method="L-BFGS-B",
        options={"gtol": 1e-8, "ftol": 0, "maxiter": 1000},
    )  # fmt: skip
    assert found.evaluations <= 1.3 * theirs.nfev
    assert found.reason == "no part of the gradient is larger than 1e-08"


def logistic(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(100, 5))
    y = rng.random(100) < 0.5

    def function(w: Any) -> tuple[float, Any]:
        z = x @ w
        slope = x.T @ (1 / (1 + np.exp(-z)) - y) / 100 + 0.02 * w
        return float(np.mean(np.logaddexp(0, z) - y * z) + 0.01 * w @ w), slope

    return function


@pytest.mark.parametrize("seed", range(3))
def test_logistic_regression_is_scipy_s(seed: int) -> None:
    function = logistic(seed)
    ours = optim.LBFGS(tolerance=1e-12).minimize(function, np.zeros(5))
    theirs = optimize.minimize(function, np.zeros(5), jac=True, method="BFGS", tol=1e-10)
    np.testing.assert_allclose(ours.point, theirs.x, atol=1e-8)


def test_the_two_loops_are_the_matrix_they_stand_for() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 4))
    hessian = a @ a.T + np.eye(4)
    steps = rng.normal(size=(3, 4))
    pairs = [(s, hessian @ s) for s in steps]
    s, y = pairs[-1]
    inverse = np.eye(4) * (s @ y) / (y @ y)
    for s, y in pairs:  # the BFGS formula, (7.16) of the book
        v = np.eye(4) - np.outer(y, s) / (s @ y)
        inverse = v.T @ inverse @ v + np.outer(s, s) / (s @ y)
    g = rng.normal(size=4)
    np.testing.assert_allclose(_inverse_hessian_times(g, pairs), inverse @ g, rtol=1e-10)


def test_a_parabola_is_solved_and_the_gradient_s_length_does_not_matter() -> None:
    for scale in (1e-6, 1.0, 1e6):
        found = optim.LBFGS(tolerance=0.0).minimize(
            lambda p, c=scale: (float(c * (p[0] ** 2 + 10 * p[1] ** 2)), c * p * [2, 20]),
            [3.0, 1.0],
        )
        np.testing.assert_allclose(found.point, 0, atol=1e-10)


CURVES: dict[str, Any] = {
    "a parabola": (lambda a: ((a - 3) ** 2, 2 * (a - 3))),
    "far away": (lambda a: ((a - 3e4) ** 2, 2 * (a - 3e4))),
    "near": (lambda a: ((a - 1e-5) ** 2 * 1e5, 2e5 * (a - 1e-5))),
    "a cubic": (lambda a: (a**3 - 2 * a, 3 * a**2 - 2)),
    "More and Thuente's first": (
        lambda a: (-a / (a**2 + 2), (a**2 - 2) / (a**2 + 2) ** 2)
    ),
    "a wall": (lambda a: (-a, -1.0) if a < 0.3 else (np.inf, np.inf)),
    "waves": (lambda a: (np.sin(5 * a) - a, 5 * np.cos(5 * a) - 1 - 5)),
}  # fmt: skip


@pytest.mark.parametrize("first", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize(
    "name", ["a parabola", "far away", "near", "a cubic", "More and Thuente's first"]
)
def test_both_conditions_hold(name: str, first: float) -> None:
    def look(step: float) -> Trial:
        value, slope = CURVES[name](step)
        return Trial(step, value, slope, np.zeros(1), np.zeros(1))

    start = look(0.0)
    found = strong_wolfe(look, start, first, 1e-4, 0.5, 0.0)
    assert found is not None
    assert found.value <= start.value + 1e-4 * found.step * start.slope
    assert abs(found.slope) <= 0.5 * abs(start.slope)


def test_where_the_function_ends_the_step_stays_inside() -> None:
    def look(step: float) -> Trial:
        value, slope = CURVES["a wall"](step)
        return Trial(step, value, slope, np.zeros(1), np.zeros(1))

    found = strong_wolfe(look, look(0.0), 1.0, 1e-4, 0.9, 0.0)
    assert found is not None
    assert 0.2 < found.step < 0.3


def test_an_unbounded_function_ends() -> None:
    found = optim.LBFGS().minimize(lambda p: (float(-p[0]), np.array([-1.0])), [0.0], iterations=5)
    assert found.point[0] > 1


def test_rounding_ends_the_search() -> None:
    def coarse(p: Any) -> tuple[float, Any]:
        return float(np.float32(1000 + (p[0] - 1) ** 2)), 2 * (p - 1) + 1e-3

    found = optim.LBFGS(tolerance=0.0).minimize(coarse, [5.0], iterations=200)
    assert found.reason == "rounding hides any further improvement"
    assert found.point[0] == pytest.approx(1, abs=0.02)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"memory": 0}, "LBFGS: memory must be a positive integer, not 0"),
    ({"memory": 2.5}, "memory must be a positive integer"),
    ({"memory": 2.0}, "memory must be a positive integer"),  # a list can't be cut there
    ({"memory": math.inf}, "memory must be a positive integer"),
    ({"tolerance": -1.0}, r"tolerance must be in \[0, inf\), not -1"),
    ({"c1": 0.0}, r"c1 must be in \(0, 1\), not 0"),
    ({"c2": 1.0}, r"c2 must be in \(0, 1\), not 1"),
    ({"c1": 0.5, "c2": 0.1}, "c1 must be smaller than c2"),
]


@pytest.mark.parametrize(("options", "words"), BAD)
def test_bad_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(cr.OptionError, match=words):
        optim.LBFGS(**options)


def test_a_start_that_is_not_finite_is_refused() -> None:
    with pytest.raises(cr.DivergedError, match="LBFGS: the value is nan at the start"):
        optim.LBFGS().minimize(lambda p: (float("nan"), p), [1.0])


def test_small_units_do_not_end_the_search_at_once() -> None:
    def parabola(x: Any) -> tuple[float, Any]:
        return 1e-12 * float((x - 3) @ (x - 3)), 2e-12 * (x - 3)

    found = optim.LBFGS().minimize(parabola, [0.0, 10.0])
    np.testing.assert_allclose(found.point, [3.0, 3.0])
