"""Claims about layers: what depth adds, what hidden layers learn, and how large a net should be.

Read next: :mod:`chainrule.lab.claims.sigmoids`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.core.tensor import tensor
from chainrule.insight.hidden.probe import Goal, probe
from chainrule.lab.apparatus import mlp, outputs_of, started, sweep
from chainrule.lab.experiment import Budget, Effect, Findings, claim
from chainrule.lab.plots import Bars
from chainrule.lab.samples import Sample, sample
from chainrule.nn.initializers import TruncatedNormal
from chainrule.nn.layer import Layer
from chainrule.nn.losses import cross_entropy, mse
from chainrule.nn.regularizers import L2
from chainrule.optim.adam import Adam

Array = np.ndarray[Any, Any]


@claim("linear-depth", "Without a nonlinearity, the layers of a network are one linear function.")
def linear_depth(budget: Budget) -> Findings:
    """Compare four linear layers with the product of their weights, and with one layer.

    The outputs are those of networks that were not trained, in float32.  The accuracies are those
    on test rows of data that no line separates, after training with Adam.
    """
    exact = []
    for seed in range(budget.seeds):
        model = started(mlp(8, 32, 32, 32, 3, act=None, bias_init=TruncatedNormal(0.5)), seed)
        x = np.random.default_rng(seed).normal(size=(100, 8)).astype("float32")
        W, b = np.eye(8), np.zeros(8)
        for layer in model.layers:  # type: ignore[attr-defined]
            W, b = W @ layer.weight.value, b @ layer.weight.value + layer.bias.value
        exact.append(np.abs(outputs_of(model, x) - (x @ W + b)).max() / np.abs(x @ W + b).max())
    effects = [Effect("the weights are multiplied", "digits that agree", -np.log10(exact), 5.0)]
    bars: dict[str, Array] = {}
    for name in budget.each(["rings", "xor", "moons"]):
        data = sample(name, 400)
        inputs, classes = data.X.shape[1], data.classes
        nets = {
            "one layer": mlp(inputs, classes),
            "4 linear layers": mlp(inputs, 32, 32, 32, classes, act=None),
            "4 layers with ReLU": mlp(inputs, 32, 32, 32, classes),
        }
        one, deep, relu = (
            sweep(budget, net, data, [{}], 60, optimizer=Adam(0.01)).scores("val_accuracy")[
                0, :, -1
            ]
            for net in nets.values()
        )
        bars |= {f"{name}, {net}": v for net, v in zip(nets, (one, deep, relu), strict=True)}
        effects += [
            Effect(f"the data are {name}", "accuracy that 3 more linear layers add",
                   deep - one, 0.03, less=True),
            Effect(f"the data are {name}", "accuracy that ReLU adds to 4 linear layers",
                   relu - deep, 0.05),
        ]  # fmt: skip
    return Findings(effects, Bars(bars, "accuracy on test rows"), bars)


@claim("hidden-features", "Hidden layers extract features: a linear model tells classes better "
       "apart by their outputs than by the inputs, and better with each layer.")  # fmt: skip
def hidden_features(budget: Budget) -> Findings:
    """Fit linear probes (ridge regression) to the inputs and to the outputs of each hidden layer.

    The networks are trained on digits (64-64-64-64-10) and on xor (3-16-16-16-2) for 40 epochs by
    Adam(0.003).  Two rivals have the same budget without learned features: a linear model that is
    trained for as long in the same way, and a probe of one random ReLU layer with as many units
    as the three layers together.  On xor, the first layer leaves later ones nothing to add, as
    its accuracy shows, so that they are counted on digits only.
    """
    scores: dict[str, Array] = {}
    effects = []
    for name, width in budget.each([("digits", 64), ("xor", 16)]):
        data = sample(name, 400)
        inputs, classes = data.X.shape[1], data.classes
        net, wide = mlp(inputs, width, width, width, classes), mlp(inputs, 3 * width, classes)
        found = sweep(budget, net, data, [{}], 40, optimizer=Adam(0.003))
        linear = sweep(budget, mlp(inputs, classes), data, [{}], 40, optimizer=Adam(0.003))
        probes = np.array([[probe_score(model, data, k) for k in (0, 2, 4, 6)]
                           for model in found.models(0)])  # fmt: skip
        own = dict(zip(["inputs", "layer 1", "layer 2", "layer 3"], probes.T, strict=True))
        own["a linear model"] = linear.scores("val_accuracy")[0, :, -1]
        own[f"{3 * width} random units"] = np.array(
            [probe_score(started(wide, seed), data, 2) for seed in range(budget.seeds)]
        )
        scores |= {f"{name}, {what}": values for what, values in own.items()}
        steps = list(itertools.pairwise(own))[: 3 if name == "digits" else 1]
        effects += [
            Effect(f"{after} of {name} is added to {before}", "accuracy of the probe that it adds",
                   own[after] - own[before])
            for before, after in steps
        ]  # fmt: skip
        effects += [
            Effect(f"the rival of layer 3 of {name} is {rival}",
                   "accuracy of the probe of layer 3 less that of the rival",
                   own["layer 3"] - own[rival])
            for rival in list(own)[4:]
        ]  # fmt: skip
    return Findings(effects, Bars(scores, "accuracy on test rows"), scores)


def probe_score(model: Layer, data: Sample, layers: int) -> float:
    """Return the accuracy on test rows of a linear probe of the outputs after some layers."""
    train, test = ((outputs_of(model, X, layers) if layers else X) for X in (data.X, data.X_test))
    goals = [Goal("classes", y, data.classes) for y in (data.y, data.y_test)]
    return probe("", "", train, goals[0], test, goals[1]).score


@claim("regularizer", "Control a network by a regularizer, not by its size: a large one with a "
       "penalty beats small ones without.", seeds=20)  # fmt: skip
def regularizer(budget: Budget) -> Findings:
    """Train networks of 1 to 32 hidden units without, and of 64 with L2 penalties, on few rows.

    Each seed draws data of its own: 100 rows to train on, for 200 epochs by Adam(0.01), 100 to
    choose by, and 500 to score.  The best of 6 sizes, and the best of 6 penalties, are chosen for
    each draw by the loss on the rows to choose by; what counts is their loss on the rows to score.
    """
    sizes, penalties = [1, 2, 4, 8, 16, 32], [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    effects: list[Effect] = []
    ends: dict[str, Array] = {}
    measured: dict[str, Array] = {}
    for name in budget.each(["moons", "clusters", "friedman"]):
        drawn = [few_rows(name, seed) for seed in range(budget.seeds)]
        inputs, outputs = drawn[0].X.shape[1], drawn[0].classes or 1
        small = [held_out(budget, drawn, mlp(inputs, size, outputs), [{}])[0] for size in sizes]
        settings = [{"regularizer": L2(p)} for p in (0.0, *penalties)]
        plain, *fined = held_out(budget, drawn, mlp(inputs, 64, outputs), settings)
        size, best = chosen(small)
        penalty, large = chosen(fined)
        ends |= {f"{name}, chosen size": best, f"{name}, 64 units": plain[1],
                 f"{name}, 64 units, chosen L2": large}  # fmt: skip
        measured |= {
            f"{name}, chosen size": np.array(sizes)[size],
            f"{name}, logarithm of the chosen L2": np.log10(penalties)[penalty],
        }
        effects.append(Effect(f"the data are {name}", "loss of the chosen smaller size over that "
                              "of 64 units with the chosen penalty", best / large, 1.0,
                              ratio=True))  # fmt: skip
    chart = Bars(ends, "loss on the rows to score")
    losses = {f"loss, {n}": values for n, values in ends.items()}
    return Findings(effects, chart, losses | measured)


def few_rows(name: str, seed: int) -> Sample:
    """Return 100 rows of a made-up sample, whose values are a column if there are no classes."""
    data = sample(name, 100, seed)
    if data.classes:
        return data
    return Sample(data.X, data.y[:, None], data.X_test, data.y_test[:, None], 0)


def held_out(
    budget: Budget, drawn: Sequence[Sample], net: Layer, settings: Sequence[Mapping[str, Any]]
) -> list[Array]:
    """Train `net` on the rows of each draw: for each setting, its held-out losses (2, seeds).

    The first are those of the rows to choose by, the second those of the rows to score.
    """
    X, y = (np.concatenate([getattr(data, part) for data in drawn]) for part in ("X", "y"))
    together = Sample(X, y, X[:0], y[:0], drawn[0].classes)
    found = sweep(
        budget, net, together, settings, 200, lambda seed: {"rows": np.arange(100) + 100 * seed},
        optimizer=Adam(0.01), validation=None,
    )  # fmt: skip
    measure = cross_entropy if together.classes else mse
    losses = []
    for setting in range(len(settings)):
        rows = [
            measure(model(tensor(data.X_test)), tensor(data.y_test)).numpy()
            for model, data in zip(found.models(setting), drawn, strict=True)
        ]
        losses.append(np.array([[each[:100].mean(), each[100:].mean()] for each in rows]).T)
    return losses


def chosen(losses: Sequence[Array]) -> tuple[Array, Array]:
    """Return which candidate each draw chooses, and the loss of that one on the rows to score."""
    stacked = np.array(losses)  # (candidates, 2, seeds)
    best = stacked[:, 0].argmin(axis=0)
    return best, stacked[best, 1, np.arange(stacked.shape[2])]
