"""Claims about layers: what depth adds, what hidden layers learn, and how large a net should be.

Read next: :mod:`chainrule.lab.claims.sigmoids`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.lab.apparatus import mlp, outputs_of, started, sweep
from chainrule.lab.experiment import Budget, Effect, Findings, claim
from chainrule.lab.plots import Bars
from chainrule.lab.samples import sample
from chainrule.nn.initializers import TruncatedNormal
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
            Effect(f"{name} are learned", "accuracy that 3 more linear layers add",
                   deep - one, 0.03, less=True),
            Effect(f"{name} are learned", "accuracy that ReLU adds to 4 linear layers",
                   relu - deep, 0.05),
        ]  # fmt: skip
    return Findings(effects, Bars(bars, "accuracy on test rows"), bars)
