"""What was not chosen has no effect, so its gradient is 0, whatever it computed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.graph import reachable
from chainrule.run.program import prepare_function
from chainrule.transform.jacobian import push_forward

INF, NAN = math.inf, math.nan
Function = Callable[..., cr.Tensor]


def _unit(x: cr.Tensor) -> cr.Tensor:
    length = cr.norm(x, -1, keepdims=True)
    return cr.where(length > 0, x / length, 0.0)


# A function, its inputs, and the gradients of its sum as they are on paper.
CASES: dict[str, tuple[Function, list[Any], list[Any]]] = {
    "norm at 0": (cr.norm, [[0.0, 0.0]], [[0, 0]]),
    "norm of rows": (lambda x: cr.norm(x, 1), [[[0, 0], [3.0, 4]]], [[[0, 0], [0.6, 0.8]]]),
    "std of equal numbers": (cr.std, [[2.0, 2.0]], [[0, 0]]),
    "std of some columns": (lambda x: cr.std(x, 0), [[[1.0, 5], [3, 5]]], [[[-0.5, 0], [0.5, 0]]]),
    "hypotenuse": (lambda a, b: cr.norm(cr.stack([a, b])), [0.0, 0.0], [0, 0]),
    "unit vector": (_unit, [[[0.0, 0], [0, 2]]], [[[0, 0], [0.5, 0]]]),
    "log": (lambda x: cr.where(x > 0, cr.log(x), 0.0), [[0, 2.0, -1]], [[0, 0.5, 0]]),
    "log1p": (lambda x: cr.where(x > -1, cr.log1p(x), 0.0), [[-1, 1.0, -2]], [[0, 0.5, 0]]),
    "root": (lambda x: cr.where(x > 0, cr.sqrt(x), 0.0), [[0, 4.0, -1]], [[0, 0.25, 0]]),
    "quotient": (lambda x: cr.where(x == 0, 0.0, 1 / x), [[0, 2.0]], [[0, -0.25]]),
    "power": (lambda x: cr.where(x > 0, x**-0.5, 0.0), [[0, 4.0, -2]], [[0, -0.0625, 0]]),
    "x log x": (lambda x: cr.where(x > 0, x * cr.log(x), 0.0), [[0, 1.0]], [[0, 1]]),
    "exp": (lambda x: cr.where(x < 9, cr.exp(x), 0.0), [[1e4, 0.0]], [[0, 1]]),
    "sin": (lambda x: cr.where(cr.abs(x) < INF, cr.sin(x), 0.0), [[INF, 0.0]], [[0, 1]]),
    "the least": (lambda x: cr.minimum(cr.exp(x), 5.0), [[1e4, 0.0]], [[0, 1]]),
    "the largest": (lambda x: cr.maximum(cr.log(x), -9.0), [[0, 2.0]], [[0, 0.5]]),
    "clipped": (lambda x: cr.clip(1 / x, 0.0, 9.0), [[0, 1.0]], [[0, -1]]),
    "unknown targets": (
        lambda p, t: cr.where(t == t, (p - t) ** 2, 0.0), [[1.0, 2], [NAN, 1]], [[0, 2], [0, -2]]
    ),
    "rates of unknown targets": (
        lambda w, t: cr.where(t == t, cr.square(w * t), 0.0), [2.0, [NAN, 3.0]], [36, [0, 24]]
    ),
    "one within another": (
        lambda x: cr.where(x > 0, cr.where(x < 9, cr.log(x) * cr.exp(x), 1.0), 0.0),
        [[0, 1e4, 1.0]], [[0, 0, math.e]],
    ),
    "both branches": (
        lambda x: cr.where(x > 0, cr.log(x), 1 / x) + x, [[1.0, -0.5]], [[2, -3]]
    ),
    "a scalar choice": (
        lambda x: cr.where(x.sum() > 0, cr.log(x), 0.0), [[-1.0, 0, 1]], [[0, 0, 0]]
    ),
    "a power of exponent 0": (lambda x, y: x**y, [0.0, 0.0], [0, 0]),
    "an impossible class": (
        lambda x: cr.softmax(x) * [1.0, 2, 0], [[0.0, 0, -INF]], [[-0.25, 0.25, 0]]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_used_poisons_no_gradient(name: str) -> None:
    function, inputs, expected = CASES[name]
    tensors = [cr.tensor(np.asarray(x, float)) for x in inputs]
    for found, want in zip(cr.grad(function(*tensors).sum(), tensors), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), np.asarray(want, float), rtol=1e-12, atol=1e-15)


BY_ROWS: dict[str, Function] = {
    name: function
    for name, (function, _, _) in CASES.items()
    if name not in ("hypotenuse", "norm at 0", "rates of unknown targets", "std of equal numbers",
                    "std of some columns")
} | {"norm": lambda x: cr.norm(x, -1), "std": lambda x: cr.std(x, -1)}  # fmt: skip
EQUAL = ("norm", [[0.0, 0.0]], []), ("std", [[2.0, 2.0]], [])


@pytest.mark.parametrize("name", BY_ROWS)
def test_native_code_says_the_same(name: str) -> None:
    inputs = {**CASES, **{k: (BY_ROWS[k], x, y) for k, x, y in EQUAL}}[name][1]
    values = {f"x{i}": np.stack([np.asarray(x, float)] * 2) for i, x in enumerate(inputs)}
    leaves = [cr.input(key, ("n", *a.shape[1:]), "float64") for key, a in values.items()]
    slopes = cr.grad(BY_ROWS[name](*leaves).sum(), leaves)
    graph = cr.Graph(
        {f"d{i}": s for i, s in enumerate(slopes)}, dict(zip(values, leaves, strict=True))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some run on the interpreter in part
        found = prepare_function(graph, set(values))(values)
    for key, want in cr.evaluate(graph, values).items():
        assert np.isfinite(want).all()
        np.testing.assert_allclose(found[key], want, rtol=1e-9, atol=1e-12)


def test_a_gradient_that_is_0_by_chance_keeps_its_own_gradient() -> None:
    """(log x - log 2)² has slope 0 at 2, and the second derivative 2 / x²."""
    x = cr.tensor(np.float64(2.0))
    for f in ((cr.log(x) - math.log(2)) ** 2, cr.where(x > 0, (cr.log(x) - math.log(2)) ** 2, 0.0)):
        assert cr.grad(cr.grad(f, x), x).item() == pytest.approx(0.5, rel=1e-12)
    at = cr.tensor([0.0, 2.0])
    slope = cr.grad(cr.where(at > 0, cr.log(at), 0.0).sum(), at)
    assert cr.grad(slope.sum(), at).numpy().tolist() == [0, -0.25]
    assert np.isfinite(cr.hessian(cr.norm(at), at).numpy()).all()
    assert np.isfinite(cr.hessian(cr.norm(at * 0), at).numpy()).all()


@pytest.mark.parametrize("at", [2.0, 0.5])
def test_forward_mode_takes_the_branch_that_was_chosen(at: float) -> None:
    x, one = cr.tensor(np.float64(at)), cr.tensor(np.float64(1.0))
    for function, slope in (
        (lambda x: cr.where(x > 1, cr.log(x), 0.0), 1 / at if at > 1 else 0),
        (lambda x: cr.where(x > 1, 0.0, cr.log(x)), 1 / at if at < 1 else 0),
        (lambda x: cr.maximum(cr.log(x), 0.0), 1 / at if at > 1 else 0),
        (lambda x: cr.minimum(0.0, cr.log(x)), 1 / at if at < 1 else 0),
    ):
        assert push_forward(function(x), [x], [one]).item() == slope


def test_what_is_undefined_and_used_stays_so() -> None:
    x = cr.tensor(0.0)
    assert cr.grad(cr.sqrt(x), x).item() == INF
    assert math.isnan(cr.grad(cr.where(x == 0, x / x, 0.0), x).item())


@pytest.mark.parametrize(
    ("function", "choices"),
    [
        (cr.relu, 1),
        (cr.leaky_relu, 2),
        (lambda x: cr.where(x > 0, 2 * x, x / 3 + 1), 2),
        (cr.hard_tanh, 1),
        (lambda x: cr.where(x > 0, x, cr.exp(x)), 3),
    ],
)
def test_a_choice_is_applied_again_only_where_something_may_be_spoilt(
    function: Function, choices: int
) -> None:
    x = cr.tensor([1.0, -2.0])
    out = function(x)
    within = set(reachable([out.node]))
    slope = cr.grad(out.sum(), x)
    added = [n for n in reachable([slope.node]) if n.primitive.name == "where" and n not in within]
    assert len(added) == choices
