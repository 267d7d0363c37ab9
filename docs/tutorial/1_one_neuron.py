"""1. One neuron by hand.

This tutorial goes from a single neuron to a deep network on images, and to the machine code that
trains it. Each chapter is a Python script with comments. Run as a script, it prints text. Its
charts are shown in the page and the notebook that `make docs` makes from it. You need Python and
school mathematics.

Read next: `docs/tutorial/2_layers.py`.
"""

from __future__ import annotations

import math

import numpy as np

import chainrule as cr
from chainrule.insight.render.chart import line_chart, scatter
from chainrule.insight.render.svg import Picture
from chainrule.lab.exercise import Exercise
from chainrule.lab.recipe import Recipe

# ## Forward
#
# A neuron multiplies each input by a weight, adds the products and a bias, and applies a function
# to the sum: the activation function. Here it is the logistic function, also called sigmoid, which
# maps any number to one between 0 and 1:
#
# $$z = w_0 x_0 + w_1 x_1 + b, \qquad p = \frac{1}{1 + e^{-z}}$$

w0, w1, b = 1.0, -2.0, 0.5
x0, x1 = 1.5, 0.5
z = w0 * x0 + w1 * x1 + b
p = 1 / (1 + math.exp(-z))
print(f"z = {z}, p = {p:.4f}")
assert z == 1.0

zs = np.linspace(-6, 6, 121)
Picture(line_chart({"sigmoid": 1 / (1 + np.exp(-zs))}, zs, x_label="z", y_label="p"))

# ## Loss
#
# Let this input belong to class 0, so that the target is y = 0. The loss says how wrong the
# neuron is. For a probability, the usual loss is the cross-entropy: minus the logarithm of the
# probability that the neuron gives to the true class.
#
# $$L = -y \log p - (1 - y) \log (1 - p)$$

y = 0.0
loss = -y * math.log(p) - (1 - y) * math.log(1 - p)
print(f"loss = {loss:.4f}")

# A neuron that knows nothing says p = 0.5, and its loss is log 2 = 0.6931. This neuron does worse:
# it is rather sure of the wrong class.

assert loss > math.log(2)

# ## Gradient by hand
#
# How does the loss change if a weight changes a little? The weight changes z, z changes p, and p
# changes the loss. The chain rule multiplies the derivatives along this path:
#
# $$\frac{dL}{dw_0} = \frac{dL}{dp} \cdot \frac{dp}{dz} \cdot \frac{dz}{dw_0}$$
#
# - dL/dp = (1 - y) / (1 - p) - y / p;
# - dp/dz = p (1 - p), the slope of the logistic function;
# - dz/dw0 = x0, because w0 is multiplied by x0.
#
# The first two multiply to p - y: the error of the neuron. The gradient of a weight is therefore
# the error times the input.

by_steps = ((1 - y) / (1 - p) - y / p) * (p * (1 - p)) * x0
by_hand = {"w0": (p - y) * x0, "w1": (p - y) * x1, "b": p - y}
print({name: round(gradient, 4) for name, gradient in by_hand.items()})
assert math.isclose(by_steps, by_hand["w0"])

# ## Checked by chainrule
#
# `cr.explain` computes the same from the formula, and shows every step. Print an explanation to
# read it as text; in a notebook it is drawn. Each box is a value, with its gradient below.

formula = "-log(1 - 1 / (1 + exp(-(w0*x0 + w1*x1 + b))))"
explanation = cr.explain(formula, w0=w0, x0=x0, w1=w1, x1=x1, b=b)
for name, gradient in by_hand.items():
    assert math.isclose(explanation.gradients[name], gradient, rel_tol=1e-5), name
assert all(check.agrees for check in explanation.check().values())  # central differences
explanation

# ## Descent
#
# The gradient points in the direction in which the loss rises. So each weight takes a small step
# against its gradient. The size of the step is the learning rate.

rate = 0.5
losses = []
for _ in range(20):
    p = 1 / (1 + math.exp(-(w0 * x0 + w1 * x1 + b)))
    losses.append(-math.log(1 - p))
    w0, w1, b = w0 - rate * p * x0, w1 - rate * p * x1, b - rate * p
print(f"p = {p:.4f}, loss = {losses[-1]:.4f}")
assert losses[-1] < 0.1
Picture(line_chart({"loss": losses}, x_label="step", y_label="loss"))

# ## Many rows
#
# One row is not a problem to learn. Here are a hundred points of two classes. The loss is now the
# mean over all rows, and so is its gradient. The code is the same with arrays. `cr.grad` records
# the gradient, so that nobody has to derive it.

rng = np.random.default_rng(0)
X = np.concatenate([rng.normal([-1, 1], 0.8, (50, 2)), rng.normal([1, -0.5], 0.8, (50, 2))])
labels = np.repeat([0.0, 1.0], 50)

weight, bias = cr.tensor(np.zeros(2)), cr.tensor(0.0)
for _ in range(50):
    score = (X * weight).sum(axis=1) + bias
    mean_loss = cr.mean(cr.softplus(score) - labels * score)
    slope, shift = cr.grad(mean_loss, [weight, bias])
    weight, bias = weight - 0.5 * slope, bias - 0.5 * shift
print(f"loss = {float(mean_loss):.4f}, weights = {weight.numpy().round(2)}")

# `softplus(score) - y * score` is the cross-entropy of the sigmoid, in a form that does not
# overflow. The neuron says class 1 where its score is positive. The border between the classes is a
# line: a single neuron can draw no other.

right = (score.numpy() > 0) == (labels == 1)
print(f"accuracy {right.mean():.2f}")
assert right.mean() > 0.9
(v0, v1), c = weight.numpy(), float(bias)
border = np.array([-1.5, 1.5])
groups = {"class 0": X[:50].T, "class 1": X[50:].T, "border": (border, -(c + v0 * border) / v1)}
Picture(scatter(groups, x_label="x0", y_label="x1", line="border"))

# ## Exercises
#
# **1.** The target of the first neuron is y = 1 instead of 0. Compute the loss and the gradients by
# hand, then check them with `cr.explain("-log(1 / (1 + exp(-(w0*x0 + w1*x1 + b))))", ...)`.
#
# **2.** Something is wrong with the training below. A small network learns the iris flowers, and
# this is its loss in each epoch. What is the cause? Answer with one of these: activation, loss,
# learning_rate, epochs, optimizer, batch, initialization, preprocessing, architecture, data.

exercise = Exercise(Recipe("iris", hidden=(8,), epochs=20, validation=0.2), "rate_far_too_high")
run = exercise.train()
Picture(line_chart({"loss": [r["loss"] for r in run.history]}, x_label="epoch", y_label="loss"))

# Your answer goes to `exercise.check("...")`. The doctor of chainrule has looked at the training,
# and checks it:

print(exercise.check("data"))

# ## Answers
#
# **1.** The error is p - y = 0.7311 - 1 = -0.2689, so the gradients are -0.4034, -0.1345 and
# -0.2689, and the loss is 0.3133.

fresh = cr.explain(
    "-log(1 / (1 + exp(-(w0*x0 + w1*x1 + b))))", w0=1.0, x0=1.5, w1=-2.0, x1=0.5, b=0.5
)
print(f"{fresh.value:.4f}", {n: round(fresh.gradients[n], 4) for n in ("w0", "w1", "b")})
assert round(fresh.value, 4) == 0.3133

# **2.**

answer = exercise.check("learning_rate")
print(answer)
assert answer.startswith("Yes")
