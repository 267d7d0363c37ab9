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
from chainrule.nn.initializers import GlorotUniform
from chainrule.nn.layer import Layer, Linear, Sequential, parameters
from chainrule.nn.losses import cross_entropy
from chainrule.ops.elementary import sigmoid
from chainrule.run.program import Engine, RowFunction, prepare_function
from chainrule.transform.grad import grad

Array = np.ndarray[Any, Any]


def weight_gradient(model: Layer, X: Array, y: Array, layer: int = 0) -> Array:
    """Return the gradient of the mean loss with respect to the weights of a layer."""
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


@dataclass(frozen=True)
class Shifted:
    """Sigmoid, less `shift`, times `factor`; with a shift of 0.5 it is centered."""

    shift: float
    factor: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        return (sigmoid(x) - self.shift) * self.factor


@dataclass(frozen=True)
class Scaled:
    """Draw Glorot weights, and multiply them by `factor`."""

    factor: float

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return self.factor * GlorotUniform()(shape, generator)


@claim("saturation", "Saturated sigmoid units have a slope near 0, and hardly learn.")
def saturation(budget: Budget) -> Findings:
    """Multiply the initial weights of the hidden layer of 64-32-10 by up to 100, on digits.

    Measured are the slope s (1 - s) of the hidden units, averaged over units and 300 rows, and the
    gradient with respect to their weights.  Then the networks are trained for 20 epochs by
    SGD(0.3): how far do these weights move, and how much do the outputs of the units change?
    """
    data, scales = sample("digits"), [1.0, 3.0, 10.0, 30.0, 100.0]
    X, y = data.X[:300], data.y[:300]
    shape = (budget.seeds, len(scales))
    norms = {name: np.empty(shape) for name in ("sigmoid", "relu")}
    slope, distance, change, loss = (np.empty(shape) for _ in range(4))
    for k, scale in budget.each(enumerate(scales)):
        nets = {
            name: Sequential([Linear(64, 32, weight_init=Scaled(scale)), activation(name),
                              Linear(32, 10)])
            for name in norms
        }  # fmt: skip
        found = sweep(budget, nets["sigmoid"], data, [{"learning_rate": 0.3}], 20)
        loss[:, k] = found.scores()[0, :, -1]
        for seed, after in enumerate(found.weights("0.weight")[0]):
            for name, net in nets.items():
                norms[name][seed, k] = np.linalg.norm(weight_gradient(started(net, seed), X, y))
            outputs = outputs_of(nets["sigmoid"], X, 2)
            slope[seed, k] = (outputs * (1 - outputs)).mean()
            hidden = parameters(nets["sigmoid"])["0.weight"]
            distance[seed, k] = np.linalg.norm(after - hidden.value)
            hidden.value, bias = after, found.weights("0.bias")[0, seed]
            parameters(nets["sigmoid"])["0.bias"].value = bias
            change[seed, k] = np.abs(outputs_of(nets["sigmoid"], X, 2) - outputs).mean()
    kept = {f"gradient, {name}": n / n[:, :1] for name, n in norms.items()}
    when = "weights are 100 times as large"
    return Findings(
        [
            Effect("weights are not multiplied", "mean slope of the sigmoid units", slope[:, 0],
                   0.1),
            Effect(when, "mean slope of the sigmoid units", slope[:, -1], 0.025, less=True),
            Effect(when, "gradient that sigmoid keeps", kept["gradient, sigmoid"][:, -1], 0.1,
                   ratio=True, less=True),
            Effect(when, "gradient that ReLU keeps over what sigmoid keeps",
                   kept["gradient, relu"][:, -1] / kept["gradient, sigmoid"][:, -1], 2.0,
                   ratio=True),
            Effect(f"{when}, after training, in weights",
                   "distance that they moved over that without the factor",
                   distance[:, -1] / distance[:, 0], 0.1, ratio=True, less=True),
            Effect(f"{when}, after training, in outputs",
                   "change of the units' outputs over that without the factor",
                   change[:, -1] / change[:, 0], 0.1, ratio=True, less=True),
            Effect(f"{when}, after training, in outputs",
                   "training loss over that without the factor",
                   loss[:, -1] / loss[:, 0], 1.0, ratio=True),
        ],
        Lines({**kept, "slope of sigmoid": slope / slope[:, :1],
               "distance moved, sigmoid": distance / distance[:, :1]}, scales,
              "factor of the initial weights", "share that is left", log_x=True, log_y=True),
    )  # fmt: skip


@claim("deep-sigmoid", "The slope of sigmoid is at most 1/4, so that many sigmoid layers shrink "
       "the gradient although no unit is saturated.")  # fmt: skip
def deep_sigmoid(budget: Budget) -> Findings:
    """Measure slopes and gradients of 64-32-32-32-32-32-10 on 300 digits, before training.

    The gradients are those with respect to the weights of each layer.  The function
    4 (sigmoid - 1/2) is sigmoid with 4 times the slope, and centered: it tells what the slope does.
    """
    data = sample("digits")
    X, y = data.X[:300], data.y[:300]
    acts: dict[str, Any] = {"sigmoid": "sigmoid", "4 (sigmoid - 1/2)": Shifted(0.5, 4.0),
                            "relu": "relu"}  # fmt: skip
    norms, flat = {}, []
    for name, act in budget.each(acts.items()):
        net = mlp(64, *[32] * 5, 10, act=act, weight_init=Scaled(1.0))
        norms[name] = np.empty((budget.seeds, 6))
        for seed in range(budget.seeds):
            model = started(net, seed)
            norms[name][seed] = [np.linalg.norm(weight_gradient(model, X, y, 2 * k))
                                 for k in range(6)]  # fmt: skip
            if name == "sigmoid":
                outputs = np.array([outputs_of(model, X, 2 * k) for k in range(1, 6)])
                flat.append((outputs * (1 - outputs) < 0.1).mean())
    shares = {name: n / n[:, -1:] for name, n in norms.items()}
    first = {name: share[:, 0] for name, share in shares.items()}
    return Findings(
        [
            Effect("units are counted", "share of sigmoid outputs with a slope below 0.1", flat,
                   0.05, less=True),
            Effect("5 hidden layers follow one another",
                   "gradient of the first layer over that of the last, sigmoid",
                   first["sigmoid"], 0.1, ratio=True, less=True),
            *(
                Effect("5 hidden layers follow one another",
                       f"the same for {name} over that for sigmoid",
                       first[name] / first["sigmoid"], 10.0, ratio=True)
                for name in list(acts)[1:]
            ),
        ],
        Lines(shares, range(1, 7), "layer", "gradient over that of the last layer", log_y=True),
        {"share of sigmoid outputs with a slope below 0.1": flat,
         **{f"gradient of the first layer over that of the last, {n}": v
            for n, v in first.items()}},
    )  # fmt: skip


@claim("tanh-centered", "Tanh outputs are centered, unlike those of sigmoid, but it saturates too.")
def tanh_centered(budget: Budget) -> Findings:
    """Measure the mean of each hidden output of 64-32-10 on digits, and the gradient left.

    |mean| is averaged over units.  The inputs are standardized, or also shifted by 1.  The gradient
    is that with respect to the weights of the hidden layer, after they were multiplied by 100.
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
        Lines(norms, scales, "factor of the initial weights", "share of the gradient left",
              log_x=True, log_y=True),
        {f"|mean| of {name} outputs, inputs + {shift}": m for (name, shift), m in means.items()},
    )  # fmt: skip


@claim("one-sign", "If the inputs of a unit are all positive, as sigmoid outputs are, the "
       "gradients with respect to its weights are all of one sign.")  # fmt: skip
def one_sign(budget: Budget) -> Findings:
    """Count the units of the second hidden layer whose weights have gradients of one sign.

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


@claim("not-centered", "Inputs and hidden outputs that are not centered slow training down.",
       seeds=5)  # fmt: skip
def not_centered(budget: Budget) -> Findings:
    """Count the epochs to a training loss of 0.1 on digits, 64-32-32-10 by SGD.

    First every input is increased by 0, 1 or 3 standard deviations, with tanh units; then the
    inputs are centered and the units are sigmoid, or sigmoid less 0.5.  Each is trained with 9
    learning rates, and its fastest one counts; a training that does not get there counts as 60
    epochs.
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
            Effect("inputs are shifted by 1 standard deviation",
                   "epochs over those with centered inputs", one / centered, 1.0, ratio=True),
            Effect("inputs are shifted by 3 standard deviations",
                   "epochs over those with centered inputs", three / centered, 1.0, ratio=True),
            Effect("hidden outputs are those of sigmoid", "epochs over those with sigmoid - 0.5",
                   plain / half, 1.0, ratio=True),
        ],
        Bars(needed, "epochs to a training loss of 0.1"),
        needed,
    )  # fmt: skip


@claim("exp-cost", "The exp of an activation costs little next to the matrix product: less than "
       "a quarter.", seeds=5)  # fmt: skip
def exp_cost(budget: Budget) -> Findings:
    """Time layers of 8 to 512 units with each activation and without it, in native code.

    A layer is called with as many rows as make 2^18 outputs, so that calls themselves cost little.
    Each seed is one round of 50 turns, in which all layers run once on one thread, in an order
    that is drawn; a time is the median processor time of the turns.  The cost of exp is the time of
    a layer with sigmoid or tanh less that of the layer with ReLU, which has no exp, as a share of
    the time of x W + b alone.
    """
    widths, names = [8, 32, 128, 512], ["relu", "sigmoid", "tanh"]
    cost = {name: np.empty((budget.seeds, len(widths))) for name in names}
    for k, width in budget.each(enumerate(widths)):
        X = np.random.default_rng(0).normal(size=(2**18 // width, width)).astype("float32")
        linear = started(Linear(width, width), 0)
        calls = [compiled(linear, width),
                 *(compiled(Sequential([linear, activation(name)]), width)
                                     for name in names)]  # fmt: skip
        for seed in range(budget.seeds):
            rng, times = np.random.default_rng(seed), np.empty((50, len(calls)))
            for turn in times:
                for i in rng.permutation(len(calls)):
                    begin = time.process_time()
                    calls[i]({"x": X})
                    turn[i] = time.process_time() - begin
            product, relu, *others = np.median(times, axis=0)
            cost["relu"][seed, k] = (relu - product) / product
            for name, own in zip(names[1:], others, strict=True):
                cost[name][seed, k] = (own - relu) / product
    return Findings(
        [
            Effect(f"layers have {width} units",
                   f"time of {name} less that of ReLU, over that of the product",
                   cost[name][:, k], 0.25, less=True)
            for k, width in enumerate(widths) for name in names[1:]
        ],
        Lines({"ReLU less no activation": cost["relu"],
               **{f"{name} less ReLU": cost[name] for name in names[1:]}}, widths,
              "units of the layer", "time over that of the product", log_x=True),
        {f"{name}, {width} units": cost[name][:, k] for name in names
         for k, width in enumerate(widths)},
    )  # fmt: skip


def compiled(model: Layer, width: int) -> RowFunction:
    """Return `model`, whose rows have `width` numbers, compiled for one thread."""
    x = input("x", ("n", width))
    return prepare_function(Graph({"y": model(x).node}, {"x": x.node}), ["x"], Engine(None, 1))
