"""Composites equal SciPy's functions, stay finite where the obvious formula would not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import chainrule as cr
from chainrule.core.tensor import Tensor

Function = Callable[[Any], Tensor]

# name: (ours, an independent statement in float64, order to which slopes are checked)
ALONG_ONE_AXIS: dict[str, tuple[Function, Callable[[Any], Any], int]] = {
    "softmax": (cr.softmax, lambda x: special.softmax(x, -1), 3),
    "softmax over axis 0": (lambda x: cr.softmax(x, 0), lambda x: special.softmax(x, 0), 2),
    "log_softmax": (cr.log_softmax, lambda x: special.log_softmax(x, -1), 3),
    "logsumexp": (cr.logsumexp, lambda x: special.logsumexp(x, -1), 3),
    "logsumexp, kept": (
        lambda x: cr.logsumexp(x, 0, keepdims=True),
        lambda x: special.logsumexp(x, 0, keepdims=True),
        2,
    ),
    "var": (cr.var, np.var, 3),
    "var over axis 0": (lambda x: cr.var(x, 0), lambda x: np.var(x, 0), 2),
    "std, kept": (
        lambda x: cr.std(x, -1, keepdims=True), lambda x: np.std(x, -1, keepdims=True), 2
    ),
    "norm": (lambda x: cr.norm(x, -1), lambda x: np.linalg.norm(x, axis=-1), 2),
    "norm of all": (cr.norm, lambda x: np.linalg.norm(x.ravel()), 3),
    "min": (lambda x: cr.min(x, 0), lambda x: np.min(x, 0), 2),
    "mean": (lambda x: cr.mean(x, (0, 1)), np.mean, 2),
}  # fmt: skip
ELEMENT_BY_ELEMENT: dict[str, tuple[Function, Callable[[Any], Any], int]] = {
    "square": (cr.square, lambda x: x**2, 3),
    "relu": (cr.relu, lambda x: np.where(x > 0, x, 0), 2),
    "leaky_relu": (cr.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x), 2),
    "elu": (cr.elu, lambda x: np.where(x > 0, x, special.expm1(np.minimum(x, 0))), 2),
    "silu": (cr.silu, lambda x: x * special.expit(x), 3),
    "gelu": (cr.gelu, lambda x: x * special.ndtr(x), 3),
    "gelu, approximate": (
        lambda x: cr.gelu(x, approximate=True),
        lambda x: x * special.expit(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
        3,
    ),
    "softplus": (cr.softplus, lambda x: np.logaddexp(0, x), 3),
    "relu6": (cr.relu6, lambda x: np.clip(x, 0, 6), 2),
    "selu": (
        cr.selu,
        lambda x: (
            1.0507009873554805
            * np.where(x > 0, x, 1.6732632423543772 * special.expm1(np.minimum(x, 0)))
        ),
        2,
    ),
    "mish": (cr.mish, lambda x: x * np.tanh(np.logaddexp(0, x)), 3),
    "softsign": (cr.softsign, lambda x: x / (1 + np.abs(x)), 2),
    "hard_sigmoid": (cr.hard_sigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1), 2),
    "hard_tanh": (cr.hard_tanh, lambda x: np.clip(x, -1, 1), 2),
    "hard_swish": (cr.hard_swish, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), 2),
    "clip": (lambda x: cr.clip(x, -1.0, 1.5), lambda x: np.clip(x, -1.0, 1.5), 2),
    "sigmoid": (cr.sigmoid, special.expit, 3),
    "erf": (cr.erf, special.erf, 3),
    "tanh": (cr.tanh, np.tanh, 3),
}  # fmt: skip
ALL = {**ALONG_ONE_AXIS, **ELEMENT_BY_ELEMENT}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(name: str, dtype: str) -> None:
    ours, statement, _ = ALL[name]
    x = np.random.default_rng(0).normal(0, 2, (5, 7)).astype(dtype)
    have = ours(cr.tensor(x)).numpy()
    assert have.dtype == dtype
    scale = 3e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(have, statement(x.astype(np.float64)), rtol=scale, atol=scale)


@pytest.mark.parametrize("name", ALL)
def test_slopes(name: str) -> None:
    ours, _, order = ALL[name]
    for seed in range(3):
        x = np.random.default_rng(seed).normal(0, 1.3, (3, 4))
        # Third differences in float64 keep about five digits at this step.
        cr.check_grads(ours, [x], order=order, seed=seed)


EXTREMES = np.array([-1000, -100, -30, -1e-30, 0, 1e-30, 30, 100, 1000])


@pytest.mark.parametrize("name", sorted(set(ELEMENT_BY_ELEMENT) - {"square"}))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_elements(name: str, dtype: str) -> None:
    ours, statement, _ = ALL[name]
    x = EXTREMES.astype(dtype)
    t = cr.tensor(x)
    with np.errstate(over="ignore", under="ignore"):
        want = statement(x.astype(np.float64))
    scale = 1e-6 if dtype == "float32" else 1e-13
    smallest = 1e-12 if name.startswith("gelu") else np.finfo(dtype).tiny
    np.testing.assert_allclose(ours(t).numpy(), want, rtol=scale, atol=smallest)
    first = cr.grad(ours(t).sum(), t)
    assert np.isfinite(first.numpy()).all()
    assert np.isfinite(cr.grad(first.sum(), t).numpy()).all()


ROWS = [
    [1000.0, 0.0, -1000.0],
    [1000.0, 1000.0, 1000.0],
    [-1000.0, -1000.0, -1001.0],
    [0.0, -math.inf, 1.0],
    [-math.inf, -math.inf, 3.0],
]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_extreme_rows(name: str, row: list[float]) -> None:
    ours, statement, _ = ALL[name]
    x = np.array(row)
    t = cr.tensor(x)
    np.testing.assert_allclose(ours(t).numpy(), statement(x), rtol=1e-13, atol=1e-300)
    # Weight the finite outputs, as a loss that masks the others would.
    finite = np.isfinite(ours(t).numpy())
    loss = cr.where(finite, ours(t), 0.0).sum()
    first = cr.grad(loss, t)
    assert np.isfinite(first.numpy()).all()
    assert np.isfinite(cr.grad((first * np.arange(3.0)).sum(), t).numpy()).all()


def test_logsumexp_of_nothing_but_minus_infinity_and_of_infinity() -> None:
    assert cr.logsumexp([-math.inf, -math.inf]).item() == -math.inf
    assert cr.logsumexp([math.inf, 0.0]).item() == math.inf


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (cr.softplus, 0.5),
        (cr.elu, 1.0),
        (lambda x: cr.elu(x, alpha=0.5), 0.5),
        (cr.sigmoid, 0.25),
        (cr.silu, 0.5),
        (cr.gelu, 0.5),
        (cr.relu, 0.0),
        (abs, 0.0),
        (lambda x: x**2, 0.0),
        (lambda x: x**1, 1.0),
        (lambda x: x**0, 0.0),
    ],
)
def test_slope_at_exactly_zero(function: Function, slope: float) -> None:
    x = cr.tensor(0.0)
    assert cr.grad(function(x), x).item() == slope


@pytest.mark.parametrize(
    ("function", "x", "slope"),
    [
        (cr.relu6, 0.0, 0.0),
        (cr.relu6, 6.0, 0.0),
        (lambda x: cr.clip(x, -1.0, 2.0), -1.0, 0.5),
        (lambda x: cr.clip(x, -1.0, 2.0), 2.0, 0.5),
        (lambda x: cr.maximum(x, x), 1.0, 1.0),
        (cr.hard_tanh, -1.0, 0.0),
        (cr.hard_tanh, 1.0, 0.0),
        (cr.hard_sigmoid, -3.0, 0.0),
        (cr.hard_sigmoid, 3.0, 0.0),
        (cr.hard_swish, -3.0, 0.0),
        (cr.hard_swish, 3.0, 1.0),
        (cr.softsign, 0.0, 1.0),
        (cr.softsign, 1.0, 0.25),
        (cr.softsign, -1.0, 0.25),
        (cr.selu, 0.0, np.float32(1.0507009873554805 * 1.6732632423543772)),
    ],
)
def test_slope_at_kinks_and_seams(function: Function, x: float, slope: float) -> None:
    at = cr.tensor(x)
    assert cr.grad(function(at), at).item() == slope


@pytest.mark.parametrize("name", sorted(set(ELEMENT_BY_ELEMENT) - {"square"}))
def test_numbers_near_the_end_of_float32_have_finite_values_and_slopes(name: str) -> None:
    ours, statement, _ = ALL[name]
    x = np.array([-3e38, -1e20, 1e20, 3e38], np.float32)
    t = cr.tensor(x)
    slope = cr.grad(ours(t).sum(), t).numpy()
    assert np.isfinite(slope).all()
    if name not in ("gelu, approximate", "selu"):  # the statement overflows; 1.05 * 3e38 does
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(ours(t).numpy(), statement(x.astype(float)), rtol=1e-6)


def test_the_slope_of_softsign_far_out_keeps_its_digits() -> None:
    x = cr.tensor(np.array([-1e6, 1e3, 1e9], np.float32))
    far = np.array([1e6, 1e3, 1e9], np.float64)
    np.testing.assert_allclose(cr.grad(cr.softsign(x).sum(), x).numpy(), (1 + far) ** -2, 1e-6)


@pytest.mark.parametrize(
    ("function", "curvature"),
    [(cr.softplus, 0.25), (cr.silu, 0.5), (lambda x: x**2, 2.0), (lambda x: x**1, 0.0)],
)
def test_curvature_at_exactly_zero(function: Function, curvature: float) -> None:
    x = cr.tensor(0.0)
    assert cr.grad(cr.grad(function(x), x), x).item() == curvature


def test_small_differences_survive() -> None:
    np.testing.assert_allclose(cr.softplus(-30.0).item(), math.exp(-30), rtol=1e-6)
    np.testing.assert_allclose(cr.log_softmax([0.0, -30.0])[0].item(), 0.0, atol=1e-12)
    np.testing.assert_allclose(cr.elu(-1e-10).item(), -1e-10, rtol=1e-6)


def test_clip_refuses_bounds_the_wrong_way_round() -> None:
    with pytest.raises(cr.OptionError, match="low=2 is above high=1"):
        cr.clip(1.0, 2, 1)


def test_integers_become_floats() -> None:
    assert cr.softmax([1, 2]).dtype == np.float64
    assert cr.mean([1, 2]).item() == 1.5
    assert cr.relu([-1, 2]).numpy().tolist() == [0, 2]
