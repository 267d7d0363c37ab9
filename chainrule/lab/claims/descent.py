"""Claims about training: mini-batches, learning rates, backpropagation and first weights.

Read next: :mod:`chainrule.lab.claims.edges`.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from chainrule.core.graph import Graph
from chainrule.core.tensor import tensor
from chainrule.lab.apparatus import epochs_to, mlp, started, sweep
from chainrule.lab.experiment import Budget, Effect, Findings, claim
from chainrule.lab.plots import Bars, Lines
from chainrule.lab.samples import sample
from chainrule.nn.initializers import Constant
from chainrule.nn.layer import parameters
from chainrule.nn.losses import cross_entropy
from chainrule.run.reference import Interpreter
from chainrule.transform.grad import grad

Array = np.ndarray[Any, Any]


@claim("mini-batch", "Mini-batches train faster than single rows and than all rows at once.",
       seeds=5)  # fmt: skip
def mini_batch(budget: Budget) -> Findings:
    """Count the epochs of 64-32-10 on digits until the training loss is 0.1, and their seconds.

    Each batch size is trained by SGD with 8 learning rates, and its fastest one counts.  Seconds
    are those of each training by the clock, while one runs on each core.
    """
    data = sample("digits")
    settings = [{"learning_rate": r} for r in (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0)]
    epochs, seconds = {}, {}
    for size, most in budget.each([(1, 10), (8, 20), (32, 40), (128, 80), (len(data.y), 150)]):
        found = sweep(budget, mlp(64, 32, 10), data, settings, most, batch_size=size,
                      validation=None)  # fmt: skip
        needed = epochs_to(np.nan_to_num(found.scores(), nan=np.inf), 0.1)
        rate = int(needed.mean(axis=1).argmin())
        took = np.array([r.seconds for r in found.runs.results]).reshape(needed.shape)[rate]
        name = f"batches of {size}" if size < len(data.y) else "all rows"
        epochs[name] = needed[rate]
        seconds[name] = needed[rate] * took / found.runs.epochs
    good = seconds["batches of 32"]
    return Findings(
        [
            Effect("single rows are the rival", "seconds over those with batches of 32",
                   seconds["batches of 1"] / good, 1.0, ratio=True),
            Effect("all rows at once are the rival", "seconds over those with batches of 32",
                   seconds["all rows"] / good, 1.0, ratio=True),
            Effect("all rows at once are the rival", "epochs over those with batches of 32",
                   epochs["all rows"] / epochs["batches of 32"], 1.0, ratio=True),
        ],
        Bars({name: 1000 * s for name, s in seconds.items()},
             "milliseconds to a training loss of 0.1"),
        {**{f"epochs, {n}": e for n, e in epochs.items()},
         **{f"milliseconds, {n}": 1000 * s for n, s in seconds.items()}},
    )  # fmt: skip


@claim("learning-rate", "Too low a learning rate learns slowly, too high a one not at all.")
def learning_rate(budget: Budget) -> Findings:
    """Train 64-32-32-10 on digits for 10 epochs by SGD with learning rates from 0.0003 to 10.

    A loss above ln 10, that of guessing, or one that is not finite, counts as ln 10.
    """
    data = sample("digits")
    rates = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
    ends = []
    for rate in budget.each(rates):
        found = sweep(budget, mlp(64, 32, 32, 10), data, [{"learning_rate": rate}], 10)
        losses = np.nan_to_num(found.scores()[0, :, -1], nan=np.inf)
        ends.append(np.minimum(losses, np.log(10)))
    best = int(np.mean(ends, axis=1).argmin())
    return Findings(
        [
            Effect("the rate is 0.0003", f"loss over that with rate {rates[best]:g}",
                   ends[0] / ends[best], 2.0, ratio=True),
            Effect("the rate is 0.01", f"loss over that with rate {rates[best]:g}",
                   ends[3] / ends[best], 2.0, ratio=True),
            Effect("the rate is 10", f"loss over that with rate {rates[best]:g}",
                   ends[-1] / ends[best], 2.0, ratio=True),
        ],
        Lines({"loss after 10 epochs": np.array(ends).T}, rates, "learning rate", "training loss",
              log_x=True, log_y=True),
        {f"loss, rate {r:g}": e for r, e in zip(rates, ends, strict=True)},
    )  # fmt: skip


@claim("backprop", "Backpropagation gives the gradient of all weights for the price of a few "
       "evaluations; numerical gradients cost two for each weight, and are less accurate.",
       seeds=5)  # fmt: skip
def backprop(budget: Budget) -> Findings:
    """Compare grad with central differences on 8-h-3, for h from 2 to 64, in time and error.

    Both run on the interpreter; differences move each weight by 0.01 in float32, and errors are
    relative to backpropagation in float64.  Times are processor seconds for one gradient of the
    loss of 32 rows, each the least of 5.
    """
    sizes, ratios, costs, errors = [2, 8, 32, 64], [], [], []
    for hidden in budget.each(sizes):
        for seed in range(budget.seeds):
            rng = np.random.default_rng(seed)
            x, y = rng.normal(size=(32, 8)), rng.integers(0, 3, 32)
            net = started(mlp(8, hidden, 3, act="tanh", dtype="float64"), seed)
            truth = flat(loss_and_gradient(net, x, y)[1]({}))
            net = started(mlp(8, hidden, 3, act="tanh"), seed)
            loss, slopes = loss_and_gradient(net, x.astype("float32"), y)
            exact, seconds = timed(lambda slopes=slopes: flat(slopes({})))
            rough, longer = timed(lambda net=net, loss=loss: differences(net, loss))
            single = timed(lambda loss=loss: loss({}))[1]
            ratios.append(longer / seconds)
            costs.append(seconds / single)
            errors.append([np.linalg.norm(g - truth) / np.linalg.norm(truth)
                           for g in (exact, rough)])  # fmt: skip
    ratio, cost = (np.reshape(a, (len(sizes), -1)) for a in (ratios, costs))
    off = np.reshape(errors, (len(sizes), -1, 2))
    weights = [8 * h + h + 3 * h + 3 for h in sizes]
    return Findings(
        [
            Effect(f"there are {weights[-1]} weights", "time of differences over backpropagation",
                   ratio[-1], 100.0, ratio=True),
            Effect("time is counted in evaluations of the loss",
                   "evaluations that backpropagation takes", cost[-1], 6.0, ratio=True, less=True),
            Effect("errors are compared", "error of differences over backpropagation, float32",
                   off[-1, :, 1] / off[-1, :, 0], 10.0, ratio=True),
        ],
        Lines({"differences": (ratio * cost).T, "backpropagation": cost.T}, weights, "weights",
              "time in evaluations of the loss", log_x=True, log_y=True),
        {"relative error of differences": off[-1, :, 1],
         "relative error of backpropagation": off[-1, :, 0]},
    )  # fmt: skip


def loss_and_gradient(net: Any, x: Array, y: Array) -> tuple[Interpreter, Interpreter]:
    """Return the interpreters of the mean loss, and of its gradient by every parameter."""
    loss = cross_entropy(net(tensor(x)), tensor(y)).mean()
    slopes = grad(loss, list(parameters(net).values()))
    named = {str(i): slope.node for i, slope in enumerate(slopes)}
    return Interpreter(Graph({"loss": loss.node})), Interpreter(Graph(named))


def flat(slopes: dict[str, Array]) -> Array:
    """Return all gradients as one vector."""
    return np.concatenate([np.ravel(slope) for slope in slopes.values()])


def differences(net: Any, loss: Interpreter, step: float = 0.01) -> Array:
    """Return ``(loss(w + step) - loss(w - step)) / (2 step)`` for each weight w."""
    found = []
    for parameter in parameters(net).values():
        kept = np.array(parameter.value)
        for i in range(kept.size):
            sides = []
            for sign in (1, -1):
                moved = kept.copy()
                moved.flat[i] += sign * step
                parameter.value = moved
                sides.append(float(loss({})["loss"]))
            found.append((sides[0] - sides[1]) / (2 * step))
        parameter.value = kept
    return np.array(found)


def timed(work: Any) -> tuple[Any, float]:
    """Return what `work` returns, and the processor seconds of the fastest of 5 calls."""
    times = []
    for _ in range(5):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
        if times[0] > 0.1:
            break
    return result, min(times)


@claim("random-start", "First weights must be random: units that start alike stay alike.")
def random_start(budget: Budget) -> Findings:
    """Train on digits from weights that are drawn, all 0 and all 0.1, for 20 epochs by SGD(0.1).

    The networks are 64-32-10 with tanh or ReLU, and a linear one, 64-10.  Units differ if
    their weights do.
    """
    data = sample("digits")
    starts = {"drawn": None, "at 0": Constant(0.0), "at 0.1": Constant(0.1)}
    units = {"tanh": "tanh units", "relu": "ReLU units", "linear": "a linear model"}
    scores, kinds = {}, {}
    for act, start in budget.each([(a, s) for a in units for s in starts]):
        sizes = (64, 10) if act == "linear" else (64, 32, 10)
        net = mlp(*sizes, act=None if act == "linear" else act, weight_init=starts[start])
        found = sweep(budget, net, data, [{"learning_rate": 0.1}], 20)
        scores[f"{act}, {start}"] = found.scores("val_accuracy")[0, :, -1]
        kinds[f"{act}, {start}"] = np.array(
            [len(np.unique(w.round(6), axis=1).T) for w in found.weights("0.weight")[0]]
        )
    effects = [
        Effect(f"the weights of {units[act]} start {start}",
               "accuracy of drawn weights less that of these",
               scores[f"{act}, drawn"] - scores[f"{act}, {start}"], 0.05)
        for act in ("tanh", "relu", "linear") for start in ("at 0", "at 0.1")
    ]  # fmt: skip
    different = {f"different units, {name}": count for name, count in kinds.items()}
    return Findings(effects, Bars(scores, "accuracy on test rows"), {**scores, **different})
