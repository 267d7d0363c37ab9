"""Every optimizer solves the same problems: a parabola, Rosenbrock's valley, a logistic fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from scipy import optimize, special

from chainrule import nn, optim
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.optim.optimizer import Optimizer
from chainrule.run.program import Engine, prepare
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import record_step


@dataclass(eq=False)
class Point:
    """A model whose output is its one parameter, for every row: the place we stand."""

    start: list[float]
    at: Parameter = field(init=False)

    def __post_init__(self) -> None:
        self.at = Parameter((len(self.start),), lambda shape, _: np.array(self.start), "float64")

    def __call__(self, x: Tensor) -> Tensor:
        return x * 0.0 + self.at


def parabola(z: Tensor, _: Tensor) -> Tensor:
    """10 (a - 1)² + (b + 2)², least at (1, -2)."""
    return 10 * (z[:, 0] - 1) ** 2 + (z[:, 1] + 2) ** 2


def rosenbrock(z: Tensor, _: Tensor) -> Tensor:
    """Rosenbrock's curved valley, least at (1, 1)."""
    return 100 * (z[:, 1] - z[:, 0] ** 2) ** 2 + (1 - z[:, 0]) ** 2


RNG = np.random.default_rng(4)
X = RNG.normal(size=(80, 2))
Y = (X @ [1.5, -2.0] + RNG.logistic(size=80) > 0).astype(float)


def logistic_optimum() -> Any:
    """Return the least of the logistic loss, found by another program by other means."""

    def loss(p: Any) -> Any:
        z = X @ p
        return np.mean(np.logaddexp(0, z) - Y * z)

    def slope(p: Any) -> Any:
        return X.T @ (special.expit(X @ p) - Y) / len(X)

    return optimize.minimize(loss, np.zeros(2), jac=slope, tol=1e-12).x


def place(model: Any, loss: Any, x: Any, y: Any, method: Optimizer, steps: int) -> Any:
    nn.initialize(model)
    step = record_step(model, objective(loss), method, (), Part(x, y))
    program = prepare(step.graph, step.state, {"x": x, "y": y}, len(x), Engine("native", 1))
    program.run(np.tile(np.arange(len(x)), steps), len(x))
    return next(v for k, v in program.state.items() if k.startswith("parameter/")).ravel()


ROW = np.zeros((1, 2))
# name: (the optimizer for a parabola, for Rosenbrock, for the logistic fit)
OPTIMIZERS: dict[str, Callable[[str], Optimizer]] = {
    "sgd": lambda problem: optim.SGD(
        {"rosenbrock": 0.002, "parabola": 0.04, "logistic": 0.5}[problem]
    ),
    "momentum": lambda problem: optim.SGD(0.001 if problem == "rosenbrock" else 0.02, 0.9),
    "nesterov": lambda problem: optim.SGD(
        0.001 if problem == "rosenbrock" else 0.02, 0.9, nesterov=True
    ),
    "adam": lambda problem: optim.Adam(0.02 if problem == "logistic" else 0.1),
    "adamw": lambda problem: optim.AdamW(
        0.02 if problem == "logistic" else 0.1, weight_decay=0.0 if problem == "logistic" else 0.01
    ),
    "nadam": lambda problem: optim.Nadam(
        {"rosenbrock": 0.03, "parabola": 0.1, "logistic": 0.05}[problem]
    ),
    "amsgrad": lambda problem: optim.AMSGrad(0.05 if problem == "logistic" else 0.1),
    "radam": lambda problem: optim.RAdam(
        {"rosenbrock": 0.01, "parabola": 0.1, "logistic": 0.3}[problem]
    ),
    "lion": lambda problem: optim.Lion(
        # Its steps have one size, so it comes as near as the last of them.
        optim.Polynomial(
            0.01 if problem == "rosenbrock" else 0.05,
            1e-4,
            steps={"rosenbrock": 1500, "parabola": 800}.get(problem, 600),
        )
    ),
    "rmsprop": lambda problem: optim.RMSProp(
        optim.Exponential(0.05, 0.1, steps=500), 0.9, momentum=0.9, centered=problem == "parabola"
    ),
    "adagrad": lambda problem: optim.AdaGrad(0.5),
    "adadelta": lambda problem: optim.AdaDelta(
        optim.Polynomial(0.5, steps=4000) if problem == "rosenbrock" else 10.0, 0.9
    ),
    "averaged": lambda problem: optim.EMA(optim.Adam(0.05), 0.9),
    "accumulated": lambda problem: optim.Accumulate(2, optim.Adam(0.1)),
    "clipped momentum": lambda problem: optim.chain(
        optim.ClipNorm(1.0), optim.SGD(0.001 if problem == "rosenbrock" else 0.02, 0.9)
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parabola(name: str) -> None:
    at = place(Point([-3.0, 4.0]), parabola, ROW, ROW, OPTIMIZERS[name]("parabola"), 800)
    np.testing.assert_allclose(at, [1, -2], atol=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rosenbrock(name: str) -> None:
    steps = 4000 if name in ("sgd", "nadam", "radam", "adagrad", "adadelta") else 1500
    at = place(Point([0.0, 0.5]), rosenbrock, ROW, ROW, OPTIMIZERS[name]("rosenbrock"), steps)
    np.testing.assert_allclose(at, [1, 1], atol=0.05)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_logistic_regression(name: str) -> None:
    model = nn.Linear(2, 1, use_bias=False, dtype="float64")
    method = OPTIMIZERS[name]("logistic")
    at = place(model, "binary_cross_entropy", X, Y[:, None], method, 600)
    np.testing.assert_allclose(at, logistic_optimum(), atol=2e-3)
