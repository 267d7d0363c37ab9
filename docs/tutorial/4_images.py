"""4. Images.

An image is a row of numbers, one for each pixel. Nobody tells the network what an edge or a loop
is: its hidden layers have to find such features themselves. This chapter trains a deep network on
images and looks at what they have found.

Read next: `docs/tutorial/5_compiled.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.insight.hidden.figures import weights_grid
from chainrule.insight.render.chart import bar_chart, heat_map, image_grid, line_chart, scatter
from chainrule.insight.render.svg import Picture
from chainrule.lab.exercise import Exercise
from chainrule.lab.recipe import Recipe

# ## The digits
#
# 1,797 handwritten digits, scanned and reduced to 8 by 8 pixels, with values from 0 to 16.

digits = data.load("digits")
X, y = digits.X / 16, digits.y
train, test = data.split(y, 0.2, seed=0)
Picture(image_grid(list(digits.X[:16].reshape(-1, 8, 8)), [str(label) for label in y[:16]]))

# ## A linear model first
#
# Always begin with the simplest model, so that you know what a larger one is worth. Without a
# hidden layer, each class has one weight for each pixel.

fit = {"loss": "cross_entropy", "optimizer": optim.Adam(0.003), "epochs": 30, "progress": False}
linear = cr.fit(nn.Linear(64, 10), (X[train], y[train]), **fit)
print(f"linear: {linear.evaluate((X[test], y[test]))['accuracy']:.3f}")

# ## Three hidden layers

model = nn.Sequential([
    nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(),
    nn.Linear(16, 10),
])  # fmt: skip
run = cr.fit(model, (X[train], y[train]), validation=0.15, early_stopping=8, **fit)
scores = run.evaluate((X[test], y[test]))
print(f"deep: {scores['accuracy']:.3f}")
assert scores["accuracy"] > 0.94
curves = {"training": run.history["loss"], "validation": run.history["val_loss"]}
Picture(line_chart(curves, x_label="epoch", y_label="loss", log_y=True))

# Which digits does it confuse? Rows are the true classes, columns the predicted ones:

predicted = run.predict(X[test])
confusion = np.zeros((10, 10), int)
np.add.at(confusion, (y[test], predicted), 1)
names = [str(k) for k in range(10)]
Picture(heat_map(confusion, names, names, row_label="true", column_label="predicted"))

# ## What the first layer sees
#
# A unit of the first layer has a weight for each pixel, so its weights are an image: blue where
# bright pixels raise its sum, orange where they lower it.

seen = cr.features(run, X[train], y[train], held_out=(X[test], y[test]), image_shape=(8, 8))
Picture(weights_grid(seen, 16))

# `print(seen)` lists all layers: how many units are dead, how flat the activations are, and how
# well a *linear probe* does. A probe is a linear classifier on the outputs of a layer: it measures
# how much of the problem is solved up to there.

print(seen)

probes = {probe.path: probe.score for probe in seen.probes}
assert probes["5"] > probes["input"]
Picture(bar_chart(probes, title="accuracy of a linear probe after each layer"))

# The classes drift apart from layer to layer. These are the first two principal components of the
# pixels:


def two_components(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the first two principal components of `values`, by class, for a scatter plot."""
    points = data.PCA(2).fit(values).transform(values)
    return {str(k): points[y[test] == k].T for k in range(5)}


Picture(scatter(two_components(X[test]), title="pixels, classes 0 to 4"))

# And after three hidden layers:

held = cr.features(run, X[test], y[test]).activity.values["5"]
Picture(scatter(two_components(held), title="last hidden layer, classes 0 to 4"))

# ## Why this answer?
#
# `cr.attribute` distributes the score of a class over the pixels: blue pixels spoke for the class,
# orange ones against it.

reasons = [cr.attribute(run, X[row]).values.reshape(8, 8) for row in test[:8]]
Picture(image_grid(reasons, [f"{label}" for label in predicted[:8]], signed=True))

# ## Fashion-MNIST
#
# 70,000 images of clothes, 28 by 28 pixels, ten classes. The data set is not part of chainrule; on
# Debian, the package dataset-fashion-mnist installs it. Here a deep network sees 5,000 of the
# images a few times.

CLASSES = ["T-shirt", "trouser", "pullover", "dress", "coat",
           "sandal", "shirt", "sneaker", "bag", "boot"]  # fmt: skip
if Path("/usr/share/datasets/fashion-mnist").is_dir():
    clothes = data.load("fashion-mnist")
    images, kind = clothes.X[:6000].reshape(-1, 784) / np.float32(255), clothes.y[:6000]
    deep = nn.Sequential([
        nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    ])  # fmt: skip
    wear = cr.fit(
        deep, (images[:5000], kind[:5000]), loss="cross_entropy", optimizer=optim.Adam(0.001),
        epochs=8, regularizer=nn.L2(1e-4), progress=False,
    )  # fmt: skip
    accuracy = wear.evaluate((images[5000:], kind[5000:]))["accuracy"]
    print(f"accuracy {accuracy:.3f} on 1,000 other images")
    assert accuracy > 0.78
    first = list(images[:16].reshape(-1, 28, 28))
    shown = Picture(image_grid(first, [CLASSES[k] for k in kind[:16]]))
    sleeves = cr.features(wear, images[5000:], kind[5000:], image_shape=(28, 28))
    weights = Picture(weights_grid(sleeves, 16))
else:
    shown = weights = "Fashion-MNIST is not installed."

shown

# The weights of the first layer show sleeves, collars and the gap between trouser legs:

weights

# With the whole data set and more epochs, `chainrule train fashion-mnist` comes close to 90 %.
#
# ## Exercises
#
# **1.** Train with `nn.Sigmoid()` instead of `nn.ReLU()`. What happens to the gradients in
# `cr.features(...)`?
#
# **2.** This network guesses. Some of its layers are fine. The table says where to look:

first_fault = Exercise(Recipe("digits", hidden=(32, 32), epochs=8, validation=0.2), "dead_layer")
broken = first_fault.train()
sample = first_fault.recipe.sample
print(cr.features(broken, sample.X[:300], sample.y[:300]))

# **3.** This network is 90 % right, and its loss stays near 1.5 however long it trains. The model:

second_fault = Exercise(Recipe("digits", hidden=(32,), epochs=30), "softmax_twice")
flat = second_fault.train()
print(f"loss {flat.history[-1]['loss']:.3f}")
print(flat.model)

# ## Answers
#
# **1.** The slope of a sigmoid is at most 1/4, so each sigmoid passes on a quarter of the gradient
# at most. Compare in the column *gradient* the line of a sigmoid with the line above it. Larger
# weights in the layers between make up for some of the loss.

sigmoids = nn.Sequential([
    nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 32), nn.Sigmoid(), nn.Linear(32, 16),
    nn.Sigmoid(), nn.Linear(16, 10),
])  # fmt: skip
dim = cr.fit(sigmoids, (X[train], y[train]), validation=0.15, early_stopping=8, **fit)
faint = cr.features(dim, X[train], y[train])
print(faint)

sizes = {name: [layer.output for layer in f.gradients]
         for name, f in {"ReLU": seen, "Sigmoid": faint}.items()}  # fmt: skip
passed = {name: np.divide(size[:-1:2], size[1::2]) for name, size in sizes.items()}
print({name: shares.round(2).tolist() for name, shares in passed.items()})
assert passed["Sigmoid"].max() <= 0.25 < passed["ReLU"].min()

# **2.** The biases of a layer start far below zero, so that no unit is ever active. No gradient
# gets past them.

print(first_fault.check("initialization"))
assert first_fault.check("initialization").startswith("Yes")

# **3.** The model ends in a softmax, and `cross_entropy` applies another one: it takes raw scores.

print(second_fault.check("activation"))
assert second_fault.check("activation").startswith("Yes")
