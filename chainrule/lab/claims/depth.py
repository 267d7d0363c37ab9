"""Claims about layers: what depth adds, what hidden layers learn, and how large a net should be.

Read next: :mod:`chainrule.lab.claims.sigmoids`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.insight.hidden.probe import Goal, probe
from chainrule.lab.apparatus import mlp, outputs_of, started, sweep
from chainrule.lab.experiment import Budget, Effect, Findings, claim
from chainrule.lab.plots import Bars
from chainrule.lab.samples import Sample, sample
from chainrule.nn.initializers import TruncatedNormal
from chainrule.nn.layer import Layer
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


@claim("hidden-features", "Hidden layers extract features: classes are easier to tell apart, by a "
       "linear model, with each layer.")  # fmt: skip
def hidden_features(budget: Budget) -> Findings:
    """Fit linear probes (ridge regression) to pixels and to the outputs of each hidden layer.

    The networks are trained on digits (64-64-64-64-10) and on xor (3-16-16-16-2) for 40 epochs by
    Adam(0.003).  The probe of layers that were not trained tells what random features are worth.
    """
    scores: dict[str, Array] = {}
    effects = []
    for name, width in budget.each([("digits", 64), ("xor", 16)]):
        data = sample(name, 400)
        net = mlp(data.X.shape[1], width, width, width, data.classes)
        found = sweep(budget, net, data, [{}], 40, optimizer=Adam(0.003))
        trained = [[probe_score(m, data, k) for k in (0, 2, 4, 6)] for m in found.models(0)]
        drawn = [[probe_score(started(net, s), data, k) for k in (0, 2, 4, 6)]
                 for s in range(budget.seeds)]  # fmt: skip
        learned, random = np.array(trained), np.array(drawn)
        layers = ["pixels" if name == "digits" else "inputs", "layer 1", "layer 2", "layer 3"]
        for k, layer in enumerate(layers):
            scores[f"{name}, {layer}"] = learned[:, k]
            if k:
                scores[f"{name}, {layer}, not trained"] = random[:, k]
                effects.append(
                    Effect(
                        f"{layer} of {name} is added",
                        "accuracy of the probe that the layer adds",
                        learned[:, k] - learned[:, k - 1],
                        0.0,
                    )
                )
        effects.append(
            Effect(
                f"all layers of {name} are taken together",
                "accuracy that training adds to random features",
                learned[:, 3] - random[:, 3],
                0.0,
            )
        )
    return Findings(effects, Bars(scores, "accuracy of a linear probe on test rows"), scores)


def probe_score(model: Layer, data: Sample, layers: int) -> float:
    """Return the accuracy on test rows of a linear probe of the outputs after some layers."""
    train, test = ((outputs_of(model, X, layers) if layers else X) for X in (data.X, data.X_test))
    goals = [Goal("classes", y, data.classes) for y in (data.y, data.y_test)]
    return probe("", "", train, goals[0], test, goals[1]).score


@claim("regularizer", "Control a network by a regularizer, not by its size: a large one with a "
       "penalty beats small ones without.")  # fmt: skip
def regularizer(budget: Budget) -> Findings:
    """Train networks of 2 to 32 hidden units without, and of 64 with L2 penalties, on few rows.

    The data are 100 rows each of made-up sets, trained for 200 epochs by Adam(0.01).  The best of
    5 sizes, and the best of 5 penalties, are those of the lowest mean loss on 600 held-out rows.
    """
    sizes, penalties = [2, 4, 8, 16, 32], [1e-4, 1e-3, 3e-3, 1e-2, 3e-2]
    effects: list[Effect] = []
    ends: dict[str, Array] = {}
    for name in budget.each(["moons", "clusters", "friedman"]):
        data = few_rows(name)
        inputs, outputs = data.X.shape[1], data.classes or 1
        small = np.concatenate([
            sweep(budget, mlp(inputs, size, outputs), data, [{}], 200, optimizer=Adam(0.01))
            .scores("val_loss")[:, :, -1]
            for size in sizes
        ])  # fmt: skip
        settings = [{"regularizer": L2(p)} for p in (0.0, *penalties)]
        net = mlp(inputs, 64, outputs)
        large = sweep(budget, net, data, settings, 200, optimizer=Adam(0.01))
        plain, *fined = large.scores("val_loss")[:, :, -1]
        best, penalty = int(small.mean(axis=1).argmin()), int(np.mean(fined, axis=1).argmin())
        ends |= {f"{name}, {sizes[best]} units": small[best],
                 f"{name}, 64 units": plain,
                 f"{name}, 64 units, L2({penalties[penalty]:g})": fined[penalty]}  # fmt: skip
        effects.append(Effect(f"the data are {name}", "held-out loss of the best smaller size over "
                              "that of 64 units with the best penalty",
                              small[best] / fined[penalty], 1.0, ratio=True))  # fmt: skip
    return Findings(effects, Bars(ends, "loss on held-out rows"), ends)


def few_rows(name: str) -> Sample:
    """Return 100 rows of a made-up sample, whose values are a column if there are no classes."""
    data = sample(name, 100)
    if data.classes:
        return data
    return Sample(data.X, data.y[:, None], data.X_test, data.y_test[:, None], 0)
