"""3. Training.

A network learns by many small steps. This chapter looks at each choice: how far a step goes, which
rows it sees, how it moves, from where it starts, and in which units the data comes. Each experiment
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


RATES = 10.0 ** np.arange(-3, 1.1, 0.5)  # 0.001, 0.003, ... 10
SEEDS, EPOCHS, LEVEL = 3, 20, 0.05


def losses(X=X, optimizer="sgd", batch_size=16, rates=RATES) -> np.ndarray:
    """Return the loss of each epoch with each of `rates` and each seed: (rates, seeds, epochs)."""
    runs = cr.fit_many(
        network(), (X[train], y[train]),
        [{"learning_rate": rate, "seed": seed} for rate in rates for seed in range(SEEDS)],
        loss="cross_entropy", optimizer=optimizer, epochs=EPOCHS, batch_size=batch_size,
        progress=False,
    )  # fmt: skip
    return runs.losses.reshape(len(rates), SEEDS, EPOCHS)


def needed(**options) -> np.ndarray:
    """Return the epochs with each rate until the loss is at `LEVEL`, the mean over seeds: (rates,).

    A training that does not get there counts as all epochs.
    """
    below = losses(**options) <= LEVEL
    return np.where(below.any(axis=2), below.argmax(axis=2) + 1, EPOCHS).mean(axis=1)


def compared(by_name: dict[str, np.ndarray], rates=RATES) -> Picture:
    """Print the best rate of each, and draw the epochs needed by rate."""
    for name, epochs in by_name.items():
        best = f"{epochs.min():.1f} epochs with learning rate {rates[epochs.argmin()]:.2g}"
        print(f"{name}: {best}" if epochs.min() < EPOCHS else f"{name}: never")
    return Picture(line_chart(by_name, rates, x_label="learning rate",
                              y_label=f"epochs to a loss of {LEVEL}", log_x=True))  # fmt: skip


# ## The learning rate
#
# The learning rate is how far a step goes along the gradient. If it is too low, training takes
# forever. If it is too high, steps jump over the valley that they should go down.

usual = losses()
shown = {f"{RATES[k]:.2g}": usual[k, 0] for k in (0, 4, 6, 8)}
print({rate: round(float(series[-1]), 4) for rate, series in shown.items()})
assert usual[6, 0, -1] < usual[4, 0, -1] < usual[0, 0, -1]
assert np.isnan(usual[8, 0, -1])  # undefined: the training diverged
Picture(line_chart(shown, x_label="epoch", y_label="loss", log_y=True))

# `cr.find_learning_rate` raises the rate during a short training of a copy, and suggests one from
# where the loss falls. It is where to start, not the best one.

found = cr.find_learning_rate(
    network(), (X[train], y[train]), loss="cross_entropy", optimizer="sgd"
)
print(found)

# The best rate depends on all other choices. Two choices are therefore compared fairly only if
# each is given its own best rate. The next pictures show how many epochs a training needs until its
# loss is 0.05, for nine rates, on average over three seeds. Compare the lowest points of the lines.
#
# ## Mini-batches
#
# The gradient over all rows is exact, but it costs a pass over all rows for a single step. A few
# rows, drawn at random, give nearly the same direction for a fraction of the work. With batches of
# 16, a training takes 9 steps in each epoch, with a batch of all rows only one. A larger batch has
# less noise and allows a higher rate, but that does not make up for the fewer steps.

rows = len(train)
by_batch = {f"{size} rows": needed(batch_size=size) for size in (4, 16, rows)}
assert by_batch["16 rows"].min() < by_batch[f"{rows} rows"].min()
compared(by_batch)

# ## Optimizers
#
# Plain gradient descent uses only the present gradient. Momentum keeps a part of the last step,
# which helps along a valley. Adam also divides by the usual size of each weight's gradient, so that
# all weights move at a similar speed.

methods = {"SGD": "sgd", "momentum": optim.SGD(0.1, momentum=0.9), "Adam": "adam"}
by_method = {name: needed(optimizer=method) for name, method in methods.items()}
assert RATES[by_method["momentum"].argmin()] < RATES[by_method["SGD"].argmin()]
compared(by_method)

# Each with its own best rate, the three differ little on this small problem. The rates differ more:
# with momentum 0.9, the parts that are kept of a steady gradient add up to ten steps, so that the
# best rate is about a tenth of that without. At a single rate, either of them can be made to win.
#
# ## Initialization
#
# Weights start at random, so that units differ. Their size matters too: a layer should pass signals
# on at about the size at which they came. If weights are too small, signals fade from layer to
# layer; if they are too large, they explode. Here is the root mean square of the outputs of ten
# layers, the square root of the mean of their squares:


def root_mean_squares(standard_deviation: float) -> list[float]:
    """Return the root mean square of the outputs of each of ten layers of 64 ReLU units."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(200, 64))
    found = []
    for _ in range(10):
        weight = rng.normal(0, standard_deviation, (64, 64))
        signal = np.maximum(0, signal @ weight)
        found.append(float(np.sqrt(np.square(signal).mean())))
    return found


he = np.sqrt(2 / 64)  # the standard deviation of He initialization, for 64 inputs and ReLU
by_size = {
    name: root_mean_squares(factor * he)
    for name, factor in {"He": 1, "a third of it": 1 / 3, "three times": 3}.items()
}
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

wide = 10.0 ** np.arange(-7, 1.1, 0.5)  # large numbers need low rates, so these are tried too
columns = {"raw": wine.X, "standardized": X}
by_scale = {name: needed(X=values, rates=wide) for name, values in columns.items()}
assert by_scale["standardized"].min() < by_scale["raw"].min() / 2
compared(by_scale, wide)

# With `check=True`, the doctor sees it before the first step:

raw = cr.fit(
    network(), (wine.X[train], y[train]), loss="cross_entropy", optimizer=optim.SGD(0.001),
    epochs=5, batch_size=16, progress=False, check=True,
)  # fmt: skip
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
