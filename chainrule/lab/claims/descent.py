"""Claims about training: mini-batches, learning rates, backpropagation and initial weights.

Read next: :mod:`chainrule.lab.claims.edges`.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from chainrule.core.graph import Graph
from chainrule.core.tensor import tensor
from chainrule.lab.apparatus import any_at, epochs_to, mlp, started, sweep
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

    Each batch size is trained by SGD with 17 learning rates from 0.001 to 10, and its fastest one
    counts.  How long an epoch takes does not depend on the rate: for each seed it is the least over
    the rates, by the clock, since other work on the machine can only add to it.
    """
    data = sample("digits")
    rates = 10.0 ** np.arange(-3, 1.1, 0.25)
    epochs, seconds, best, late = {}, {}, {}, {}
    for size, most in budget.each([(1, 10), (8, 20), (32, 40), (128, 80), (len(data.y), 150)]):
        found = sweep(budget, mlp(64, 32, 10), data, [{"learning_rate": r} for r in rates], most,
                      batch_size=size, validation=None)  # fmt: skip
        needed = epochs_to(found.scores(), 0.1)
        fastest = int(needed.mean(axis=1).argmin())
        took = np.array([np.inf if r.diverged else r.seconds for r in found.runs.results])
        name = {1: "single rows", len(data.y): "all rows"}.get(size, f"batches of {size}")
        epochs[name], best[name] = needed[fastest], rates[fastest]
        late[name] = any_at(needed[fastest], found.runs.epochs)
        seconds[name] = needed[fastest] * took.reshape(needed.shape).min(axis=0) / found.runs.epochs
    return Findings(
        [
            Effect(f"the rival is {rival}, counted in {unit}",
                   f"{unit} of {rival} over those of batches of 32",
                   values[rival] / values["batches of 32"], 1.0, ratio=True, at_least=late[rival])
            for rival in ("single rows", "all rows")
            for unit, values in (("epochs", epochs), ("seconds", seconds))
        ],
        Bars({f"{unit}, {name}": count / values["batches of 32"]
              for unit, values in (("epochs", epochs), ("seconds", seconds))
              for name, count in values.items()},
             "relative to batches of 32"),
        {**{f"epochs, {name}": count for name, count in epochs.items()},
         **{f"milliseconds, {name}": 1000 * took for name, took in seconds.items()},
         **{f"best learning rate, {name}": rate for name, rate in best.items()}},
    )  # fmt: skip


@claim("learning-rate", "A learning rate that is too low learns slowly; one that is too high does "
       "not learn.")  # fmt: skip
def learning_rate(budget: Budget) -> Findings:
    """Train 64-32-32-10 on digits for 40 epochs by SGD with learning rates from 0.0003 to 10.

    Too low: the epochs to a training loss of 0.3 are compared with those of the fastest rate, and
    the first loss with the last one, to tell that it learns at all.  A training that does not get
    there counts as 40 epochs.  Too high: the last loss is compared with ln 10, that of guessing;
    a loss that is higher, or not finite, counts as ln 10.
    """
    data = sample("digits")
    rates = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
    losses = np.array([
        sweep(budget, mlp(64, 32, 32, 10), data, [{"learning_rate": rate}], 40).scores()[0]
        for rate in budget.each(rates)
    ])  # fmt: skip
    needed = epochs_to(losses, 0.3)
    best = int(needed.mean(axis=1).argmin())
    guessed = np.fmin(losses[:, :, -1], np.log(10)) / np.log(10)
    effects = []
    for k in (0, rates.index(0.01)):
        when = f"too low, {rates[k]:g}"
        effects += [
            Effect(when, f"epochs to a loss of 0.3 over those with rate {rates[best]:g}",
                   needed[k] / needed[best], 2.0, ratio=True,
                   at_least=any_at(needed[k], losses.shape[-1])),
            Effect(when, "loss of the first epoch over that of the last",
                   losses[k, :, 0] / losses[k, :, -1], 1.0, ratio=True),
        ]  # fmt: skip
    effects += [
        Effect("too high, 10", "last loss over that of guessing", guessed[-1], 0.95),
        Effect(f"right, {rates[best]:g}", "last loss over that of guessing", guessed[best], 0.05,
               less=True),
    ]  # fmt: skip
    return Findings(
        effects,
        Lines({"loss after the last epoch": guessed.T}, rates, "learning rate",
              "training loss over that of guessing", log_x=True, log_y=True),
        {f"epochs to a loss of 0.3, rate {rate:g}": count
         for rate, count in zip(rates, needed, strict=True)},
    )  # fmt: skip


@claim("backprop", "Backpropagation gives the gradient with respect to all weights for the price "
       "of a few evaluations of the loss; central differences take two evaluations for each "
       "weight, and are less accurate.", seeds=5)  # fmt: skip
def backprop(budget: Budget) -> Findings:
    """Compare grad with central differences on 8-h-3, for h from 2 to 64, in time and error.

    Both run on the reference interpreter in float32.  Errors are relative to backpropagation in
    float64, for h = 8; differences are given the best of 5 steps from 0.1 to 0.001.  Times are
    processor seconds for one gradient of the loss of 32 rows, each the least of 5.
    """
    sizes, ratios, costs, errors = [2, 8, 32, 64], [], [], []
    for hidden in budget.each(sizes):
        for seed in range(budget.seeds):
            rng = np.random.default_rng(seed)
            x, y = rng.normal(size=(32, 8)), rng.integers(0, 3, 32)
            net = started(mlp(8, hidden, 3, act="tanh"), seed)
            loss, slopes = loss_and_gradient(net, x.astype("float32"), y)
            exact, seconds = timed(lambda slopes=slopes: flat(slopes({})))
            longer = timed(lambda net=net, loss=loss: differences(net, loss))[1]
            ratios.append(longer / seconds)
            costs.append(seconds / timed(lambda loss=loss: loss({}))[1])
            if hidden == 8:
                finer = started(mlp(8, hidden, 3, act="tanh", dtype="float64"), seed)
                truth = flat(loss_and_gradient(finer, x, y)[1]({}))
                rough = [differences(net, loss, h) for h in (0.1, 0.03, 0.01, 0.003, 0.001)]
                off = [np.linalg.norm(g - truth) / np.linalg.norm(truth) for g in (exact, *rough)]
                errors.append([off[0], min(off[1:])])
    ratio, cost = (np.reshape(a, (len(sizes), -1)) for a in (ratios, costs))
    own, other = np.array(errors).T
    weights = [8 * h + h + 3 * h + 3 for h in sizes]
    return Findings(
        [
            Effect(f"there are {weights[-1]} weights", "time of differences over backpropagation",
                   ratio[-1], 100.0, ratio=True),
            Effect(f"there are {weights[-1]} weights",
                   "time of backpropagation over that of the loss", cost[-1], 6.0, ratio=True,
                   less=True),
            Effect("errors are compared", "error of differences over backpropagation",
                   other / own, 10.0, ratio=True),
        ],
        Lines({"differences": (ratio * cost).T, "backpropagation": cost.T}, weights, "weights",
              "time over that of one evaluation of the loss", log_x=True, log_y=True),
        {"relative error of differences": other, "relative error of backpropagation": own},
    )  # fmt: skip


def loss_and_gradient(net: Any, x: Array, y: Array) -> tuple[Interpreter, Interpreter]:
    """Return interpreters of the mean loss, and of its gradient with respect to all parameters."""
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


@claim("random-start", "Initial weights must be random: units that start alike stay alike.")
def random_start(budget: Budget) -> Findings:
    """Train on digits from weights that are drawn, all 0 and all 0.1, for 20 epochs by SGD(0.1).

    The networks are 64-32-10 with tanh or ReLU, and a linear one, 64-10.  After training, units
    of the first layer differ if any of their weights do by more than 1e-6.
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
            [len(np.unique(w.round(6), axis=1).T) / sizes[1] for w in found.weights("0.weight")[0]]
        )
    effects = []
    for act, start in ((a, s) for a in units for s in ("at 0", "at 0.1")):
        when = f"the weights of {units[act]} start {start}"
        effects += [
            Effect(when, "share of different units less that of drawn weights",
                   kinds[f"{act}, {start}"] - kinds[f"{act}, drawn"], -0.5, less=True),
            Effect(when, "accuracy of drawn weights less that of these",
                   scores[f"{act}, drawn"] - scores[f"{act}, {start}"], 0.05),
        ]  # fmt: skip
    shown = {**{f"accuracy: {name}": values for name, values in scores.items()},
             **{f"different: {name}": share for name, share in kinds.items()}}  # fmt: skip
    chart = Bars(shown, "accuracy on test rows, and share of different units")
    return Findings(effects, chart, shown)
