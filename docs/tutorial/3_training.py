"""3. Training.

A network learns by many small steps. This chapter looks at each choice: which rows a step sees,
how it moves, how far, from where it starts, and in which units the data comes. Each experiment
trains small networks on a few hundred rows, so that you can repeat it with other numbers.

Read next: `docs/tutorial/4_images.py`.
"""

from __future__ import annotations

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.insight.render.chart import line_chart
from chainrule.insight.render.svg import Picture
from chainrule.lab.exercise import Exercise
from chainrule.lab.recipe import Recipe

wine = data.load("wine")  # 13 measurements of 178 wines from 3 vineyards
train, test = data.split(wine.y, 0.25, seed=0)
scale = data.Standardize().fit(wine.X[train])
X, y = scale.transform(wine.X), wine.y


def network() -> nn.Sequential:
    """Return a new network with one hidden layer of 16 units."""
    return nn.Sequential([nn.Linear(13, 16), nn.ReLU(), nn.Linear(16, 3)])


def losses(**options) -> list[float]:
    """Return the loss of each epoch of a training with `options`."""
    usual = {"loss": "cross_entropy", "optimizer": optim.SGD(0.1), "epochs": 20, "batch_size": 16}
    try:
        run = cr.fit(network(), (X[train], y[train]), progress=False, **usual | options)
    except cr.DivergedError as error:  # the loss became infinite or undefined
        print(f"{options}: diverged in epoch {error.epoch}")
        run = error.run
    return run.history["loss"]


# ## Mini-batches
#
# The gradient over all rows is exact, but it costs a pass over all rows for a single step. A few
# rows, drawn at random, give nearly the same direction for a fraction of the work. In the picture,
# each training sees all rows 20 times. With batches of 16 it takes 9 steps in each epoch, with a
# batch of all rows only one.

rows = len(train)
by_batch = {f"{size} rows": losses(batch_size=size) for size in (4, 16, rows)}
print({name: round(series[-1], 4) for name, series in by_batch.items()})
assert by_batch["16 rows"][-1] < by_batch[f"{rows} rows"][-1]
Picture(line_chart(by_batch, x_label="epoch", y_label="loss", log_y=True))

# ## The learning rate
#
# The learning rate is how far a step goes along the gradient. If it is too low, training takes
# forever. If it is too high, steps jump over the valley that they should go down.

by_rate = {f"{rate:g}": losses(optimizer=optim.SGD(rate)) for rate in (0.001, 0.1, 5.0)}
print({name: round(series[-1], 4) for name, series in by_rate.items()})
assert by_rate["0.1"][-1] < min(by_rate["0.001"][-1], by_rate["5"][-1])
Picture(line_chart(by_rate, x_label="epoch", y_label="loss", log_y=True))

# `cr.find_learning_rate` raises the rate during a short training of a copy, and suggests one from
# where the loss falls. It is where to start, not the best one.

found = cr.find_learning_rate(
    network(), (X[train], y[train]), loss="cross_entropy", optimizer="sgd"
)
print(found)

# ## Optimizers
#
# Plain gradient descent uses only the present gradient. Momentum keeps a part of the last step,
# which helps along a valley. Adam also divides by the usual size of each weight's gradient, so that
# all weights move at a similar speed.

methods = {
    "SGD": optim.SGD(0.02),
    "momentum": optim.SGD(0.02, momentum=0.9),
    "Adam": optim.Adam(0.02),
}
by_method = {name: losses(optimizer=method) for name, method in methods.items()}
print({name: round(series[-1], 4) for name, series in by_method.items()})
assert by_method["momentum"][-1] < by_method["SGD"][-1]
Picture(line_chart(by_method, x_label="epoch", y_label="loss", log_y=True))

# ## Initialization
#
# Weights start at random, so that units differ. Their size matters too: a layer should pass signals
# on at about the size at which they came. If weights are too small, signals fade from layer to
# layer; if they are too large, they explode. Here is the spread of the outputs of ten layers:


def spreads(standard_deviation: float) -> list[float]:
    """Return the spread of the outputs of each of ten layers of 64 ReLU units."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(200, 64))
    found = []
    for _ in range(10):
        weight = rng.normal(0, standard_deviation, (64, 64))
        signal = np.maximum(0, signal @ weight)
        found.append(float(np.sqrt(np.square(signal).mean())))
    return found


he = np.sqrt(2 / 64)  # the standard deviation of He initialization, for 64 inputs and ReLU
by_size = {"He": spreads(he), "a third of it": spreads(he / 3), "three times": spreads(3 * he)}
assert 0.3 < by_size["He"][-1] < 3
Picture(line_chart(by_size, x_label="layer", y_label="root mean square", log_y=True))

# `nn.Linear` chooses He initialization before a ReLU and Glorot initialization before a tanh,
# unless `weight_init` says otherwise.
#
# ## Preprocessing
#
# The columns of the wines have units of their own: proline is in the hundreds, the hue near 1. A
# column of large numbers decides the weighted sums alone, and no learning rate suits all weights.
# `data.Standardize` gives each column mean 0 and standard deviation 1, by the training rows only.

raw = cr.fit(
    network(), (wine.X[train], y[train]), loss="cross_entropy", optimizer=optim.SGD(0.02),
    epochs=20, batch_size=16, progress=False, check=True,
)  # fmt: skip
by_scale = {"raw": raw.history["loss"], "standardized": losses(optimizer=optim.SGD(0.02))}
print({name: round(series[-1], 4) for name, series in by_scale.items()})
assert by_scale["standardized"][-1] < by_scale["raw"][-1] / 2
Picture(line_chart(by_scale, x_label="epoch", y_label="loss", log_y=True))

# With `check=True`, the doctor has seen it before the first step:

print(raw.findings[0])
assert raw.findings[0].cause == "unscaled_inputs"

# ## Does it predict?
#
# All of the above looked at rows that the network was trained on. What counts are other rows. The
# test rows were used for nothing so far, not even to standardize.

run = cr.fit(
    network(), (X[train], y[train]), loss="cross_entropy", optimizer=optim.Adam(0.01), epochs=100,
    batch_size=16, validation=0.2, early_stopping=10, progress=False,
)  # fmt: skip
scores = run.evaluate((X[test], y[test]))
print(f"test accuracy {scores['accuracy']:.3f}")
assert scores["accuracy"] > 0.9
curves = {"training": run.history["loss"], "validation": run.history["val_loss"]}
Picture(line_chart(curves, x_label="epoch", y_label="loss", log_y=True))

# ## Exercises
#
# In each exercise a sound training was broken in one place. Look at what is shown, decide on a
# cause, and ask `check`. The causes are: activation, loss, learning_rate, epochs, optimizer, batch,
# initialization, preprocessing, architecture, data.
#
# **1.** The loss of this network on the digits:

first = Exercise(Recipe("digits", hidden=(32,), epochs=10, validation=0.2), "rate_too_low")
run = first.train()
Picture(line_chart({"training": run.history["loss"], "validation": run.history["val_loss"]}))

# **2.** This one learns the wines. Its accuracy on the validation rows is lower than that of the
# network above. The columns of its inputs have these means:

second = Exercise(Recipe("wine", hidden=(16,), epochs=20, validation=0.2), "inputs_not_scaled")
run = second.train()
print(second.case().data[0].mean(axis=0).round())
print(
    f"accuracy {run.history[-1]['accuracy']:.2f}, validation {run.history[-1]['val_accuracy']:.2f}"
)

# **3.** Twelve hidden layers on the digits. The line is the size of the gradient of the loss at
# each layer:

third = Exercise(Recipe("digits", hidden=(16,), epochs=5, validation=0.2), "many_sigmoid_layers")
run = third.train()
digits = third.recipe.sample
seen = cr.features(run, digits.X[:200], digits.y[:200])
sizes = [layer.output for layer in seen.gradients]
Picture(line_chart({"gradient": sizes}, x_label="layer", log_y=True))

# ## Answers

for exercise, answer in (
    (first, "learning_rate"),
    (second, "preprocessing"),
    (third, "activation"),
):
    told = exercise.check(answer)
    print(told, end="\n\n")
    assert told.startswith("Yes")
