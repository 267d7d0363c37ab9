"""2. Layers and backpropagation.

One neuron draws one line. This chapter puts neurons into layers, follows the gradient backwards
through them number by number, and then lets the graph do it.

Read next: `docs/tutorial/3_training.py`.
"""

from __future__ import annotations

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.insight.render.chart import line_chart
from chainrule.insight.render.svg import Picture
from chainrule.lab.exercise import Exercise
from chainrule.lab.recipe import Recipe

# ## A problem that one neuron can't solve
#
# Exclusive or: the output is 1 if exactly one input is 1. No line separates the ones from the
# zeros. Two neurons and one that combines them can: the first adds the inputs, the second is active
# only if both are 1, and the output is the first minus twice the second.

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
xor = np.array([0, 1, 1, 0], "float32")

W1, b1 = np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([0.0, -1.0])
W2, b2 = np.array([1.0, -2.0]), 0.0
hidden = np.maximum(0, X @ W1 + b1)
print(hidden @ W2 + b2)
assert np.array_equal(hidden @ W2 + b2, xor)

# A layer of neurons is a matrix product: row i of the inputs times column j of the weights is the
# weighted sum of neuron j on example i. `np.maximum(0, ...)` is ReLU, an activation function that
# passes positive numbers and stops negative ones.
#
# ## Without an activation, layers are one layer
#
# Two matrix products in a row are one matrix product. Without the ReLU, depth gains nothing:

A, B = np.random.default_rng(0).normal(size=(2, 4, 4))
v = np.ones((1, 4))
assert np.allclose((v @ A) @ B, v @ (A @ B))

# ## The gradient, backwards, by hand
#
# The weights above were found by thinking. A network has to find them by their gradient. Take one
# row and other weights, so that there is an error to correct. First forward:

x = np.array([[1.0, 0.0]])
W1, b1 = np.array([[0.8, -0.5], [0.3, 0.9]]), np.array([0.1, 0.2])
W2, b2 = np.array([[0.6], [-1.2]]), np.array([0.05])
z1 = x @ W1 + b1
h = np.maximum(0, z1)
out = h @ W2 + b2
error = out - 1.0
print(f"z1 = {z1.round(3)}, h = {h.round(3)}, out = {out.round(3)}, loss = {(error**2).item():.4f}")

# Then backwards. Each line takes the gradient of a layer's output and returns that of its input
# and of its weights:

d_out = 2 * error  # the slope of the squared error
d_W2, d_b2 = h.T @ d_out, d_out[0]  # input times gradient of the output
d_h = d_out @ W2.T  # the weights carry the gradient back
d_z1 = d_h * (z1 > 0)  # ReLU passes it where it was active
d_W1, d_b1 = x.T @ d_z1, d_z1[0]
print(f"d_W2 = {d_W2.ravel().round(4)}, d_W1 = {d_W1.round(4).tolist()}")

# The second neuron was not active (its sum is negative), so its weights have gradient 0: this row
# teaches it nothing. The second row of `d_W1` is 0 as well, because the second input is 0.

assert np.all(d_W1[:, 1] == 0)
assert np.all(d_W1[1] == 0)

# ## The same by the graph
#
# Written with tensors, the forward pass is recorded as a graph. `cr.explain` goes back through it
# and says which rule each operation applies:

graph = {name: cr.tensor(value) for name, value in
         {"x": x, "W1": W1, "b1": b1, "W2": W2, "b2": b2}.items()}  # fmt: skip
activated = cr.relu(graph["x"] @ graph["W1"] + graph["b1"])
loss = ((activated @ graph["W2"] + graph["b2"] - 1.0) ** 2).sum()
explanation = cr.explain(loss, **graph)
for name, by_hand in {"W1": d_W1, "b1": d_b1, "W2": d_W2, "b2": d_b2}.items():
    assert np.allclose(explanation.gradients[name], by_hand, rtol=1e-4), name
print(explanation)

# The same as a drawing, from the inputs at the top to the loss at the bottom:

explanation

# ## Layers as objects
#
# `nn.Linear` holds a weight matrix and a bias, and `nn.Sequential` applies layers in turn.

model = nn.Sequential([nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)])
nn.initialize(model, seed=1)
print(model.summary())

cr.draw(model, "neurons")

# A network is explained layer by layer, and each of its neurons too. In the table, *gradient* is
# how strongly the loss depends on the output of the layer.

layers = cr.explain(model, X, xor[:, None], loss="mse")
print(layers)
print(layers.neuron("0", 2, row=1))

# ## It learns
#
# `cr.fit` repeats forward, backward and update. After 300 epochs the network computes exclusive or.

run = cr.fit(
    model, (X, xor[:, None]), loss="mse", optimizer=optim.Adam(0.05), epochs=300, batch_size=4,
    seed=1, progress=False,
)  # fmt: skip
print(run.predict(X).ravel().round(2))
assert np.abs(run.predict(X).ravel() - xor).max() < 0.1
Picture(line_chart({"loss": [r["loss"] for r in run.history]}, x_label="epoch", log_y=True))

# ## Exercises
#
# **1.** In the network by hand, change the bias of the second hidden neuron from 0.2 to 0.7.
# Which gradients are no longer 0? Compute them on paper, then run the cells again.
#
# **2.** This network was trained on the images of handwritten digits. Its accuracy is that of
# guessing. Look at the weights of its first layer, a column of numbers for each unit. What is the
# cause?

zeros = Exercise(Recipe("digits", hidden=(16,), epochs=10, validation=0.2), "zero_weights")
stuck = zeros.train()
print(f"accuracy {stuck.history[-1]['accuracy']:.2f}")
print(nn.parameters(stuck.model)["0.weight"].value[20:24, :6])

# **3.** Two half moons, two hidden layers, and a loss that hardly falls. The gradients of one of
# its layers were compared with central differences, and they do not agree. What has to be changed?

reversed_sign = Exercise(Recipe("moons", rows=400, hidden=(16, 16)), "gradient_reversed")
wrong = reversed_sign.train()
Picture(line_chart({"loss": [r["loss"] for r in wrong.history]}, x_label="epoch", y_label="loss"))

# ## Answers
#
# **1.** The sum of the second neuron is then 1 * (-0.5) + 0.7 = 0.2, which is positive. So its
# weight from the first input, its bias and its weight to the output have gradients.

z1 = x @ W1 + np.array([0.1, 0.7])
d_out = 2 * (np.maximum(0, z1) @ W2 + b2 - 1.0)
print((x.T @ (d_out @ W2.T * (z1 > 0))).round(4).tolist())

# **2.** If all weights start at 0, every unit computes the same and gets the same gradient: the
# units never become different. Here the outputs of the hidden units and the weights behind them are
# 0, so that every gradient but that of the last biases is 0.

print(zeros.check("initialization"))
assert zeros.check("initialization").startswith("Yes")

# **3.** A layer of the architecture has a wrong gradient rule. `cr.check_grads` finds such errors.

print(reversed_sign.check("architecture"))
assert reversed_sign.check("architecture").startswith("Yes")
