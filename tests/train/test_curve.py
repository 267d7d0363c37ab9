"""fit_curve finds certified values, its errors are SciPy's, and it says what it can't do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import optimize

import chainrule as cr
from chainrule import optim

# NIST's BoxBOD, "higher level of difficulty": most programs fail from this start.
DAYS = np.array([1.0, 2, 3, 5, 7, 10])
DEMAND = np.array([109.0, 149, 149, 191, 213, 224])


def saturation(x: Any, b1: Any, b2: Any) -> Any:
    return b1 * (1 - cr.exp(-b2 * x))


@pytest.mark.parametrize("engine", [None, "reference", "native"])
def test_certified_values_from_a_start_far_away(engine: str | None) -> None:
    curve = cr.fit_curve(saturation, DAYS, DEMAND, {"b1": 1.0, "b2": 1.0}, engine=engine)
    assert curve.values == pytest.approx({"b1": 2.1380940889e2, "b2": 5.4723748542e-1}, rel=1e-10)
    assert curve.errors == pytest.approx({"b1": 1.2354515176e1, "b2": 1.0455993237e-1}, rel=1e-9)
    assert curve.deviation == pytest.approx(1.7088072423e1, rel=1e-10)
    assert curve.converged
    np.testing.assert_allclose(
        curve.predict(DAYS), 213.80940889 * (1 - np.exp(-0.54723748542 * DAYS))
    )
    for word in ("b1  213.80941", "± 12.4", "6 rows", "17.0881", "stopped: steps became smaller"):
        assert word in repr(curve)


def test_values_and_covariance_are_scipy_s() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([rng.uniform(0, 3, 60), rng.normal(size=60)], 1)
    y = 2 * np.sin(1.3 * x[:, 0]) + 0.7 * x[:, 1] - 0.4 + rng.normal(0, 0.1, 60)
    curve = cr.fit_curve(
        lambda x, a, w, b, c: a * cr.sin(w * x[:, 0]) + b * x[:, 1] + c,
        x, y, {"a": 1, "w": 1, "b": 0, "c": 0},
    )  # fmt: skip
    theirs, covariance = optimize.curve_fit(
        lambda x, a, w, b, c: a * np.sin(w * x[:, 0]) + b * x[:, 1] + c, x, y, [1, 1, 0, 0]
    )
    np.testing.assert_allclose(list(curve.values.values()), theirs, rtol=1e-6)
    np.testing.assert_allclose(curve.covariance, covariance, rtol=1e-4, atol=1e-9)


def test_rows_that_act_on_each_other_are_computed_whole() -> None:
    x = np.linspace(0, 1, 12_000)  # more than are computed in one piece
    y = 3 * (x - x.mean())
    curve = cr.fit_curve(lambda x, a: a * (x - x.mean()), x, y, {"a": 1.0})
    assert curve.values["a"] == pytest.approx(3, rel=1e-12)


def test_many_rows_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_ENGINE", "native")
    x = np.linspace(0, 1, 10_001)
    curve = cr.fit_curve(lambda x, a, b: a * x + b, x, 2 * x - 1, {"a": 0.0, "b": 0.0})
    assert curve.values == pytest.approx({"a": 2, "b": -1}, rel=1e-10)


def test_a_constant_and_a_default() -> None:
    curve = cr.fit_curve(lambda x, c, k=2.0: c * k, [1, 2, 3], [4, 5, 6], {"c": 1.0})
    assert curve.values == pytest.approx({"c": 2.5})


def test_what_the_data_do_not_determine_has_infinite_error() -> None:
    curve = cr.fit_curve(
        lambda x, a, b, c: (a + b) * x + c, DAYS, 3 * DAYS + 1, {"a": 1.0, "b": 1.0, "c": 0.0}
    )
    assert curve.values["a"] + curve.values["b"] == pytest.approx(3)
    assert np.isinf([curve.errors["a"], curve.errors["b"]]).all()
    assert curve.errors["c"] < 1e-6


def test_as_many_parameters_as_rows_leave_no_error_to_tell() -> None:
    curve = cr.fit_curve(lambda x, a, b: a * x + b, [0, 1], [1, 3], {"a": 0.0, "b": 0.0})
    assert curve.values == pytest.approx({"a": 2, "b": 1})
    assert np.isnan([curve.deviation, *curve.errors.values()]).all()


def test_too_few_iterations_are_told() -> None:
    curve = cr.fit_curve(saturation, DAYS, DEMAND, {"b1": 1.0, "b2": 1.0}, iterations=2)
    assert not curve.converged
    assert curve.reason == "not done after 2 iterations"


START = {"b1": 1.0, "b2": 1.0}
WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "no start": (
        lambda: cr.fit_curve(saturation, DAYS, DEMAND, {}), cr.OptionError, "name each parameter",
    ),
    "an unknown name": (
        lambda: cr.fit_curve(saturation, DAYS, DEMAND, {"b1": 1.0, "bb2": 1.0}),
        cr.OptionError, "no parameter 'bb2'. Did you mean 'b2'",
    ),
    "a missing name": (
        lambda: cr.fit_curve(saturation, DAYS, DEMAND, {"b1": 1.0}),
        cr.OptionError, "no first guess for b2",
    ),
    "a guess that is none": (
        lambda: cr.fit_curve(saturation, DAYS, DEMAND, {"b1": "x", "b2": 1.0}),  # type: ignore[dict-item]
        cr.OptionError, r"start\['b1'\] must be a finite number, not 'x'",
    ),
    "one unused": (
        lambda: cr.fit_curve(lambda x, b1, b2: b1 * x, DAYS, DEMAND, START),
        cr.OptionError, "does not depend on b2",
    ),
    "a float": (
        lambda: cr.fit_curve(lambda x, b1, b2: 1.0, DAYS, DEMAND, START),  # type: ignore[arg-type,return-value]
        cr.OptionError, "returned float, not a tensor",
    ),
    "another shape": (
        lambda: cr.fit_curve(lambda x, b1, b2: (b1 * x[:, None]) * b2, DAYS, DEMAND, START),
        cr.ShapeError, "one number for each row",
    ),
    "unequal rows": (
        lambda: cr.fit_curve(saturation, DAYS, DEMAND[:4], START), cr.DataError, "6.*4|4.*6",
    ),
    "too few rows": (
        lambda: cr.fit_curve(saturation, DAYS[:1], DEMAND[:1], START),
        cr.DataError, "1 row can't determine 2",
    ),
    "not finite": (
        lambda: cr.fit_curve(lambda x, b1, b2: b1 * cr.log(x - b2), DAYS, DEMAND, START),
        cr.DivergedError, "with b1 = 1, b2 = 1 the function is -inf in row 0, where x is 1",
    ),
    "another optimizer": (
        lambda: cr.fit_curve(saturation, DAYS, DEMAND, START, optimizer=optim.Adam()),  # type: ignore[arg-type]
        cr.OptionError, "must be an optim.LevenbergMarquardt",
    ),
    "no iterations": (
        lambda: cr.fit_curve(saturation, DAYS, DEMAND, START, iterations=0),
        cr.OptionError, "positive integer, not 0",
    ),
    "no function": (
        lambda: cr.fit_curve("a * x", DAYS, DEMAND, START),  # type: ignore[arg-type]
        cr.OptionError, "must be a function",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_with_words(name: str) -> None:
    call, kind, words = WRONG[name]
    with pytest.raises(kind, match=words):
        call()
