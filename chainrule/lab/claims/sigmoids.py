"""Claims about sigmoid and tanh: saturation, centered outputs, and the cost of exp.

Read next: :mod:`chainrule.lab.claims.relus`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.graph import Graph
from chainrule.core.tensor import Tensor, input, tensor
from chainrule.lab.apparatus import best_setting, epochs_to, mlp, outputs_of, started, sweep
from chainrule.lab.experiment import Budget, Effect, Findings, claim
from chainrule.lab.plots import Bars, Lines
from chainrule.lab.samples import Sample, sample
from chainrule.nn.activations import activation
from chainrule.nn.layer import Layer, Linear, Sequential
from chainrule.nn.losses import cross_entropy
from chainrule.ops.elementary import sigmoid
from chainrule.run.program import Engine, RowFunction, prepare_function
from chainrule.transform.grad import grad

Array = np.ndarray[Any, Any]


def weight_gradient(model: Layer, X: Array, y: Array, layer: int = 0) -> Array:
    """Return the gradient of the mean loss by the weights of a layer: (inputs, outputs)."""
    loss = cross_entropy(model(tensor(X)), tensor(y)).mean()
    found: Array = grad(loss, model.layers[layer].weight).numpy()  # type: ignore[attr-defined]
    return found


def fall_by_scale(name: str, data: Sample, seed: int, scales: list[float]) -> list[float]:
    """Return the norm of the first layer's gradient, with its weights multiplied by `scales`."""
    model = started(mlp(64, 32, 10, act=name), seed)
    first, norms = model.layers[0].weight.value, []  # type: ignore[attr-defined]
    for scale in scales:
        model.layers[0].weight.value = scale * first  # type: ignore[attr-defined]
        norms.append(float(np.linalg.norm(weight_gradient(model, data.X[:300], data.y[:300]))))
    return norms


@claim("saturation", "Saturated sigmoid units stop the gradient.")
def saturation(budget: Budget) -> Findings:
    """Multiply the first weights of 64-32-10 by up to 100, and measure the gradient by them.

    Rows are 300 digits.  Then compare the gradients by the weights of the first and of the last
    layer, in networks with 5 hidden layers of 32 units.  No network is trained.
    """
    data, scales = sample("digits"), [1.0, 3.0, 10.0, 30.0, 100.0]
    norms = {
        name: np.array([fall_by_scale(name, data, s, scales) for s in range(budget.seeds)])
        for name in budget.each(["sigmoid", "tanh", "relu"])
    }
    norms = {name: n / n[:, :1] for name, n in norms.items()}
    deep = {
        name: np.array([
            np.linalg.norm(weight_gradient(net, data.X[:300], data.y[:300], 0))
            / np.linalg.norm(weight_gradient(net, data.X[:300], data.y[:300], 10))
            for net in (started(mlp(64, *[32] * 5, 10, act=name), s) for s in range(budget.seeds))
        ])
        for name in ("sigmoid", "relu")
    }  # fmt: skip
    return Findings(
        [
            Effect("weights are 100 times as large", "gradient that sigmoid keeps",
                   norms["sigmoid"][:, -1], 0.2, ratio=True, less=True),
            Effect("weights are 100 times as large",
                   "gradient that ReLU keeps over what sigmoid keeps",
                   norms["relu"][:, -1] / norms["sigmoid"][:, -1], 2.0, ratio=True),
            Effect("5 hidden layers follow one another",
                   "gradient of the first layer over that of the last, sigmoid",
                   deep["sigmoid"], 0.1, ratio=True, less=True),
            Effect("5 hidden layers follow one another",
                   "the same for ReLU over that for sigmoid", deep["relu"] / deep["sigmoid"], 2.0,
                   ratio=True),
        ],
        Lines(norms, scales, "factor of the first weights", "share of the gradient left",
              log_x=True, log_y=True),
    )  # fmt: skip


@claim("tanh-centered", "Tanh outputs are centered, unlike those of sigmoid, but it saturates too.")
def tanh_centered(budget: Budget) -> Findings:
    """Measure the mean of each hidden output of 64-32-10 on digits, and the gradient left.

    |mean| is averaged over units.  The inputs are standardized, or also shifted by 1.  The gradient
    is that with respect to the first weights, after they were multiplied by 100.
    """
    data, scales = sample("digits"), [1.0, 3.0, 10.0, 30.0, 100.0]
    means, norms = {}, {}
    for name in budget.each(["sigmoid", "tanh"]):
        for shift in (0, 1):
            models = [started(mlp(64, 32, 10, act=name), s) for s in range(budget.seeds)]
            units = [outputs_of(model, data.X + shift, 2).mean(axis=0) for model in models]
            means[name, shift] = np.abs(units).mean(axis=1)
        found = np.array([fall_by_scale(name, data, s, scales) for s in range(budget.seeds)])
        norms[name] = found / found[:, :1]
    return Findings(
        [
            *(
                effect
                for shift, when in enumerate(("inputs are centered", "inputs are shifted by 1"))
                for effect in (
                    Effect(when, "|mean| of tanh outputs", means["tanh", shift], 0.1, less=True),
                    Effect(when, "|mean| of sigmoid outputs less that of tanh",
                           means["sigmoid", shift] - means["tanh", shift], 0.2),
                )
            ),
            Effect("weights are 100 times as large", "gradient that tanh keeps",
                   norms["tanh"][:, -1], 0.2, ratio=True, less=True),
        ],
        Lines(norms, scales, "factor of the first weights", "share of the gradient left",
              log_x=True, log_y=True),
        {f"|mean| of {name} outputs, inputs + {shift}": m for (name, shift), m in means.items()},
    )  # fmt: skip


@claim("one-sign", "If the inputs of a unit are all positive, as sigmoid outputs are, the "
       "gradients by its weights are all of one sign.")  # fmt: skip
def one_sign(budget: Budget) -> Findings:
    """Count the units of the second hidden layer whose weights get gradients of one sign.

    The network is 64-16-16-10, before training; gradients are those of the loss of 1, 2, 4, ...
    rows of digits.
    """
    data, counts = sample("digits"), [1, 2, 4, 8, 16, 32, 128]
    shares = {}
    for name in budget.each(["sigmoid", "tanh"]):
        shares[name] = np.empty((budget.seeds, len(counts)))
        for seed in range(budget.seeds):
            model = started(mlp(64, 16, 16, 10, act=name), seed)
            order = np.random.default_rng(seed).permutation(len(data.y))
            for k, count in enumerate(counts):
                tried = [order[i * count : (i + 1) * count] for i in range(8)]
                found = [weight_gradient(model, data.X[rows], data.y[rows], 2) for rows in tried]
                shares[name][seed, k] = np.mean(
                    [(g > 0).all(axis=0) | (g < 0).all(axis=0) for g in found]
                )
    one, batch = 0, counts.index(32)
    return Findings(
        [
            Effect("one row is taken", "share of units with one sign, sigmoid",
                   shares["sigmoid"][:, one], 0.99),
            Effect("one row is taken", "share of units with one sign, tanh",
                   shares["tanh"][:, one], 0.1, less=True),
            Effect("a batch of 32 rows is taken", "share of units with one sign, sigmoid",
                   shares["sigmoid"][:, batch], 0.9),
        ],
        Lines(shares, counts, "rows", "share of units with one sign", log_x=True),
    )  # fmt: skip


@dataclass(frozen=True)
class Shifted:
    """Sigmoid, less `shift`: with 0.5 it is centered, and otherwise the same function."""

    shift: float

    def __call__(self, x: Tensor) -> Tensor:
        return sigmoid(x) - self.shift


@claim("not-centered", "Inputs and hidden outputs that are not centered slow training down.",
       seeds=5)  # fmt: skip
def not_centered(budget: Budget) -> Findings:
    """Count the epochs to a training loss of 0.1 on digits, 64-32-32-10 by SGD.

    First every input is increased by 0, 1 or 3 spreads, with tanh units; then the inputs are
    centered and the units are sigmoid, or sigmoid less 0.5.  Each is trained with 9
    learning rates, and its fastest one counts; never there counts as 60 epochs.
    """
    data = sample("digits")
    settings = [{"learning_rate": r} for r in (0.01, 0.03, 0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0)]
    trials: dict[str, tuple[Any, float]] = {
        "tanh, inputs centered": ("tanh", 0.0),
        "tanh, inputs shifted by 1": ("tanh", 1.0),
        "tanh, inputs shifted by 3": ("tanh", 3.0),
        "sigmoid - 0.5": (Shifted(0.5), 0.0),
        "sigmoid": (Shifted(0.0), 0.0),
    }
    needed = {}
    for name, (act, shift) in budget.each(trials.items()):
        moved = Sample(data.X + np.float32(shift), data.y, data.X_test, data.y_test, data.classes)
        net = mlp(64, 32, 32, 10, act=act, weight_init="glorot_uniform")
        found = sweep(budget, net, moved, settings, 60, validation=None)
        needed[name] = best_setting(epochs_to(found.scores(), 0.1))
    centered, one, three, half, plain = needed.values()
    return Findings(
        [
            Effect("inputs are shifted by 1 spread", "epochs over those with centered inputs",
                   one / centered, 1.0, ratio=True),
            Effect("inputs are shifted by 3 spreads", "epochs over those with centered inputs",
                   three / centered, 1.0, ratio=True),
            Effect("hidden outputs are those of sigmoid", "epochs over those with sigmoid - 0.5",
                   plain / half, 1.0, ratio=True),
        ],
        Bars(needed, "epochs to a training loss of 0.1"),
        needed,
    )  # fmt: skip


@claim("exp-cost", "The exp of an activation costs little next to the matrix product.", seeds=5)
def exp_cost(budget: Budget) -> Findings:
    """Time layers of 8 to 512 units on 2,048 rows with and without their activation, natively.

    Each seed is one round, in which all layers take turns on one thread; a time is the least
    processor time of 20 calls.  The cost of an activation is the time that it adds, as a share
    of the time of x W + b without it.
    """
    widths, names = [8, 32, 128, 512], ["relu", "sigmoid", "tanh"]
    X = np.random.default_rng(0).normal(size=(2048, 512)).astype("float32")
    added = {name: np.empty((budget.seeds, len(widths))) for name in names}
    for k, width in budget.each(enumerate(widths)):
        linear = started(Linear(width, width), 0)
        calls = [compiled(linear, width),
                 *(compiled(Sequential([linear, activation(name)]), width)
                                     for name in names)]  # fmt: skip
        for seed in range(budget.seeds):
            times = np.full((20, len(calls)), np.inf)
            for turn in times:
                for i, call in enumerate(calls):
                    begin = time.process_time()
                    call({"x": X[:, :width]})
                    turn[i] = time.process_time() - begin
            best = times.min(axis=0)
            for name, own in zip(names, best[1:], strict=True):
                added[name][seed, k] = own / best[0] - 1
    return Findings(
        [
            Effect(f"layers have {width} units", "time that sigmoid adds to that of the product",
                   added["sigmoid"][:, k], 0.25, less=True)
            for k, width in enumerate(widths)
        ],
        Lines(added, widths, "units of the layer", "time added to that of the product", log_x=True),
        {f"{name}, {width} units": added[name][:, k] for name in names
         for k, width in enumerate(widths)},
    )  # fmt: skip


def compiled(model: Layer, width: int) -> RowFunction:
    """Return `model`, whose rows have `width` numbers, compiled for one thread."""
    x = input("x", ("n", width))
    return prepare_function(Graph({"y": model(x).node}, {"x": x.node}), ["x"], Engine(None, 1))
