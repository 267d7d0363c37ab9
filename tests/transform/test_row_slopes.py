"""Jacobians of networks from slopes kept apart by row equal those of the general transformation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.parameter import Parameter
from chainrule.nn.layer import initialize, parameters
from chainrule.transform.row_slopes import row_slopes

X = np.random.default_rng(0).normal(size=(5, 3))


class Odd:
    """Parameters of every broadcastable shape, and one used twice."""

    def __init__(self) -> None:
        def drawn(*shape: int) -> Parameter:
            return Parameter(shape, lambda s, g: g.uniform(0.5, 1.5, s), "float64")

        self.scalar, self.row, self.column, self.weight = (
            drawn(),
            drawn(4),
            drawn(1, 1),
            drawn(3, 4),
        )

    def __call__(self, x: Any) -> Any:
        z = cr.tanh(x @ self.weight + self.row) ** 2 * self.scalar / self.row + self.column
        return cr.stack([z.sum(1), (x * x @ self.weight).max(1) * self.scalar], 1)


def linear(inputs: int, outputs: int) -> Any:
    return nn.Linear(inputs, outputs, dtype="float64")


def apart(x: Any) -> Any:
    return x.reshape((x.shape[0], 3, 1)) * np.array([[1.0, 2.0]])


def dense(*sizes: int) -> Any:
    layers: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        layers += [linear(a, b), nn.Tanh()]
    return nn.Sequential(layers[:-1])


MODELS: dict[str, Callable[[], Any]] = {
    "one layer": lambda: dense(3, 2),
    "three layers": lambda: dense(3, 5, 4, 3),
    "odd": Odd,
    "a layer used twice": lambda: nn.Sequential([(twice := linear(3, 3)), nn.Sigmoid(), twice]),
    "steps": lambda: nn.Sequential([apart, linear(2, 2), nn.Flatten(), linear(6, 1)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_jacobian(name: str) -> None:
    model = MODELS[name]()
    initialize(model, 1)
    found = list(parameters(model).values())
    output = model(cr.input("x", ("n", 3), "float64"))
    slopes = row_slopes(output, found)
    assert slopes is not None
    values = cr.evaluate(cr.Graph(slopes.tensors), {"x": X})
    ours = slopes.jacobian(values, 5)
    general = cr.jacobian(model(cr.tensor(X)), found)
    theirs = [j.numpy().reshape(5, ours.shape[1], -1) for j in general]
    np.testing.assert_allclose(ours, np.concatenate(theirs, 2), rtol=1e-10, atol=1e-13)


def test_what_is_used_otherwise_has_none() -> None:
    x = cr.input("x", ("n", 3), "float64")
    w = Parameter((3, 2), lambda s, g: g.normal(size=s), "float64")
    assert row_slopes(x @ (w * 2.0), [w]) is None
    assert row_slopes((x - x.mean(0)) @ w, [w]) is None
    assert row_slopes(x @ w, [w]) is not None
