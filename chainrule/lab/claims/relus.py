"""Claims about ReLU and its relatives: speed, dead units, means, and Maxout.

Read next: :mod:`chainrule.lab.claims.preparation`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.lab.apparatus import any_at, best_setting, epochs_to, mlp, outputs_of, started, sweep
from chainrule.lab.experiment import Budget, Effect, Findings, claim
from chainrule.lab.plots import Bars, Lines
from chainrule.lab.samples import Sample, sample
from chainrule.nn.initializers import Constant
from chainrule.nn.layer import Layer, Linear, Sequential, parameters
from chainrule.nn.maxout import Maxout
from chainrule.optim.adam import Adam

Array = np.ndarray[Any, Any]


def units_off(model: Layer, data: Sample) -> Array:
    """Return which hidden units have a negative input for every training row: bool (units,)."""
    layers = range(1, len(model.layers), 2)  # type: ignore[attr-defined]
    return np.concatenate([(outputs_of(model, data.X, k) <= 0).all(axis=0) for k in layers])


@claim("dead-relu", "A high learning rate or unlucky initial weights kill ReLU units; initial "
       "biases of 0.01 keep some alive.")  # fmt: skip
def dead_relu(budget: Budget) -> Findings:
    """Count the ReLU units that are 0 for every training row, after 20 epochs on digits.

    The network has two hidden layers of 64 units and is trained by Adam, with learning rates from
    0.001 to 0.1.  Its initial biases are 0, or 0.01, or -4, for which many units start at 0.
    """
    data = sample("digits")
    rates = [0.001, 0.003, 0.01, 0.03, 0.1]
    dead = {}
    for bias in budget.each([0.0, 0.01, -4.0]):
        net = mlp(64, 64, 64, 10, bias_init=Constant(bias))
        settings = [{"learning_rate": rate} for rate in rates]
        found = sweep(budget, net, data, settings, 20, optimizer="adam")
        dead[bias] = np.array(
            [
                [units_off(model, data).mean() for model in found.models(i)]
                for i in range(len(rates))
            ]
        )
    effects = [
        Effect("the learning rate is high", "dead units at rate 0.1 less those at 0.001",
               dead[0.0][4] - dead[0.0][0], 0.05),
        Effect("biases start at -4", "dead units less those with biases of 0, rate 0.001",
               dead[-4.0][0] - dead[0.0][0], 0.05),
    ]  # fmt: skip
    for i in (2, 4):
        effects.append(Effect(f"biases start at 0.01 and the rate is {rates[i]}",
                              "dead units with biases of 0 less those with 0.01",
                              dead[0.0][i] - dead[0.01][i]))  # fmt: skip
    named = {f"biases start at {bias:g}": shares.T for bias, shares in dead.items()}
    chart = Lines(named, rates, "learning rate", "share of dead units", log_x=True)
    return Findings(effects, chart)


@claim("leaky-relu", "Leaky ReLU and ELU units do not die: one that is off for all rows still "
       "learns.")  # fmt: skip
def leaky_relu(budget: Budget) -> Findings:
    """Start with biases of -6, for which many units are off: negative for every training row.

    After 30 epochs on digits by SGD (64-64-10, learning rate 0.3), count those of them that are on
    for some row, and compare the loss.
    """
    data = sample("digits")
    revived, loss = {}, {}
    for name in budget.each(["relu", "leaky_relu", "elu"]):
        net = mlp(64, 64, 10, act=name, bias_init=Constant(-6.0))
        found = sweep(budget, net, data, [{"learning_rate": 0.3}], 30)
        after = [units_off(model, data) for model in found.models(0)]
        before = [units_off(started(net, seed), data) for seed in range(budget.seeds)]
        revived[name] = np.array([1 - a[b].mean() for a, b in zip(after, before, strict=True)])
        loss[name] = found.scores()[0, :, -1]
    bars = {
        f"{name}, {what}": values[name]
        for what, values in (("units that came on", revived), ("training loss", loss))
        for name in loss
    }
    return Findings(
        [
            Effect("units are ReLU", "share of units that came on", revived["relu"], 0.01,
                   less=True),
            *(
                effect
                for name, told in (("leaky_relu", "leaky ReLU"), ("elu", "ELU"))
                for effect in (
                    Effect(f"units are {told}", "share of units that came on", revived[name], 0.1),
                    Effect(f"units are {told}", "training loss of ReLU over that of these",
                           loss["relu"] / loss[name], 1.0, ratio=True),
                )
            ),
        ],
        Bars(bars, "share of units that came on, and training loss"),
        bars,
    )  # fmt: skip


@claim("elu-mean", "The outputs of ELU have a mean closer to 0 than those of ReLU.")
def elu_mean(budget: Budget) -> Findings:
    """Measure the mean of each hidden unit over the training rows of digits, against its deviation.

    For each unit that varies, the mean is divided by the standard deviation; the absolute values
    are averaged over both hidden layers of 64-64-64-10, before and after 20 epochs of Adam(0.003).
    """
    data = sample("digits")
    names = ["relu", "leaky_relu", "elu", "tanh"]
    start, end = {}, {}
    for name in budget.each(names):
        net = mlp(64, 64, 64, 10, act=name)
        start[name] = np.array([mean_over_spread(started(net, s), data)
                                for s in range(budget.seeds)])  # fmt: skip
        found = sweep(budget, mlp(64, 64, 64, 10, act=name), data, [{}], 20, optimizer=Adam(0.003))
        end[name] = np.array([mean_over_spread(model, data) for model in found.models(0)])
    bars = {f"{name}, {when}": values[name] for when, values in
            (("before", start), ("after", end)) for name in names}  # fmt: skip
    return Findings(
        [
            Effect("before training", "|mean| / deviation of ReLU less that of ELU",
                   start["relu"] - start["elu"]),
            Effect("after training", "|mean| / deviation of ReLU less that of ELU",
                   end["relu"] - end["elu"]),
        ],
        Bars(bars, "|mean| / deviation of a hidden unit, before and after training"),
        bars,
    )  # fmt: skip


def mean_over_spread(model: Layer, data: Sample) -> float:
    """Return the mean over hidden units of |mean| / standard deviation over the training rows."""
    found = []
    for k in range(2, len(model.layers), 2):  # type: ignore[attr-defined]
        outputs = outputs_of(model, data.X, k)
        varied = outputs.std(axis=0) > 1e-6
        found.append(np.abs(outputs.mean(axis=0))[varied] / outputs.std(axis=0)[varied])
    return float(np.concatenate(found).mean())


@claim("relu-faster", "ReLU networks train faster than sigmoid and tanh networks: 6 times, "
       "textbooks say.", seeds=5)  # fmt: skip
def relu_faster(budget: Budget) -> Findings:
    """Count the epochs until the training loss on digits is 0.05, with 1, 3 and 6 hidden layers.

    Hidden layers have 32 units.  Each network is trained by SGD with each of 11 learning rates,
    and its fastest one counts.  One that does not get there in 60 epochs counts as 60.  The 6 comes
    from a convolutional network on CIFAR-10 against tanh (Krizhevsky, Sutskever, Hinton 2012).
    """
    data = sample("digits")
    settings = [
        {"learning_rate": r} for r in (0.05, 0.1, 0.14, 0.2, 0.28, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0)
    ]
    needed: dict[str, Any] = {}
    effects = []
    cases = [(depth, name) for depth in (1, 3, 6) for name in ("relu", "tanh", "sigmoid")]
    for depth, name in budget.each(cases):
        net = mlp(64, *[32] * depth, 10, act=name)
        losses = sweep(budget, net, data, settings, 60).scores()
        needed[f"{name}, {depth} hidden"] = found = best_setting(epochs_to(losses, 0.05))
        if name != "relu":
            times = found / needed[f"relu, {depth} hidden"]
            layers = f"{depth} hidden layer{'s' * (depth > 1)}"
            effects += [
                Effect(f"{how} than {name}, {layers}", f"epochs of {name} over those of ReLU",
                       times, bound, ratio=True, at_least=any_at(found, losses.shape[-1]))
                for how, bound in (("faster", 1.0), ("6 times faster", 6.0))
                if bound == 1.0 or name == "tanh"
            ]  # fmt: skip
    return Findings(effects, Bars(needed, "epochs to a training loss of 0.05"), needed)


@claim("maxout", "Maxout with two pieces can compute ReLU and leaky ReLU exactly, and has twice "
       "the parameters per unit.")  # fmt: skip
def maxout(budget: Budget) -> Findings:
    """Build ReLU, leaky ReLU and |x| from Maxout layers of two pieces, for random W and b.

    The first piece is x W + b; the second is 0, 0.01 of it, or its negative.  The greatest
    difference of the outputs over 256 rows is rounding in float32.  Then networks with one hidden
    layer are trained on digits for 20 epochs by Adam: Maxout, ReLU with as many units, and ReLU
    with as many parameters in the hidden layer.
    """
    gaps: dict[str, list[float]] = {"ReLU": [], "leaky ReLU": [], "|x|": []}
    for seed in range(budget.seeds):
        rng = np.random.default_rng(seed)
        x, W, b = (rng.normal(size=s).astype("float32") for s in ((256, 8), (8, 16), 16))
        z = x @ W + b
        wanted = {"ReLU": (0.0, np.maximum(z, 0)),
                  "leaky ReLU": (0.01, np.where(z > 0, z, z / 100)),
                  "|x|": (-1.0, np.abs(z))}  # fmt: skip
        layer = Maxout(8, 16)
        layer.weight[0].value, layer.bias[0].value = W, b
        for name, (factor, values) in wanted.items():
            layer.weight[1].value, layer.bias[1].value = factor * W, factor * b
            gaps[name].append(float(np.abs(outputs_of(layer, x) - values).max()))
    effects = [Effect(f"it computes {name}", "greatest difference of the outputs", gap, 1e-5,
                      less=True) for name, gap in gaps.items()]  # fmt: skip
    nets = {"ReLU, 64 units": mlp(64, 64, 10), "ReLU, 32 units": mlp(64, 32, 10),
            "Maxout, 32 units": Sequential([Maxout(64, 32), Linear(32, 10)])}  # fmt: skip
    counts = [sum(p.value.size for p in parameters(started(n.layers[0], 0)).values())
              for n in nets.values()]  # fmt: skip
    effects.append(Effect("parameters are counted", "those of Maxout over those of ReLU",
                          counts[2] / counts[1], 1.99))  # fmt: skip
    data = sample("digits")
    scores = {
        f"{name}: {count:,} hidden parameters": sweep(
            budget, net, data, [{}], 20, optimizer="adam"
        ).scores("val_accuracy")[0, :, -1]
        for (name, net), count in zip(budget.each(nets.items()), counts, strict=True)
    }
    return Findings(effects, Bars(scores, "accuracy on test rows"), scores)
