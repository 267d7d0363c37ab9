"""A tutorial of chainrule, from a single tensor to a trained network.

Read it from top to bottom, then run it: `python docs/tour.py`.  It prints the results it
describes and asserts them; `tests/test_docs.py` runs it.

Read next: `docs/architecture.md`, then `chainrule/core/`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim, tabular
from chainrule.run.program import prepare
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import record_step

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def heading(text: str) -> None:
    """Print the heading of a section."""
    print(f"\n{text}\n{'-' * len(text)}")


def error_of(kind: type[Exception], call: Any) -> str:
    """Return the message with which `call` fails; fail if it does not."""
    try:
        call()
    except kind as error:
        print(f"{kind.__name__}: {error}\n")
        return str(error)
    raise AssertionError("no error was raised")


# 1. A tensor -------------------------------------------------------------------------------
#
# A tensor refers to a node of a graph.  An operation adds a node; values are computed only
# when they are needed.  Numbers and NumPy arrays can be used as operands.

heading("1. A tensor")

y = cr.tensor(2.0) * 3 + 1
print(y)
assert float(y) == 7.0
assert repr(y) == "Tensor(7., f32[])"

# 2. A neuron, and its gradient by hand -------------------------------------------------------
#
# A sigmoid neuron with two inputs applies the logistic function to a weighted sum.  Named
# inputs are leaves without a value; their values are given when the graph is evaluated.

heading("2. A neuron, and its gradient by hand")

names = ["w0", "x0", "w1", "x1", "w2"]
values = {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0}
w0, x0, w1, x1, w2 = leaves = [cr.input(name, ()) for name in names]
out = 1 / (1 + cr.exp(-(w0 * x0 + w1 * x1 + w2)))

# On paper: the sum is 2(-1) + (-3)(-2) - 3 = 1, so out = 1 / (1 + exp(-1)) = 0.7311.  The
# slope of the logistic function is out (1 - out) = 0.1966.  The chain rule multiplies it by
# the derivative of the sum with respect to each leaf: x0 for w0, w0 for x0, 1 for w2.

on_paper = {"w0": -0.1966, "x0": 0.3932, "w1": -0.3932, "x1": -0.5898, "w2": 0.1966}

# 3. A graph and its gradient -----------------------------------------------------------------
#
# `cr.grad` returns tensors: it records the gradient in the same graph, by the gradient rule of
# each operation.  The printed graph of both reads like a program.

heading("3. A graph and its gradient")

slopes = cr.grad(out, leaves)
outputs = {"out": out.node} | {f"d_{n}": s.node for n, s in zip(names, slopes, strict=True)}
neuron = cr.Graph(outputs)
print(neuron)
assert "exp(" in str(neuron)
cr.verify(neuron)  # each name is bound once, each shape and dtype is derived again

found = cr.evaluate(neuron, values)
assert abs(found["out"] - 0.7311) < 1e-4
for name, slope in on_paper.items():
    assert abs(found[f"d_{name}"] - slope) < 1e-4, name

# A gradient can be differentiated again.  For out = s(z), the second derivative with respect
# to w2 is s (1 - s) (1 - 2 s).

curvature = cr.grad(slopes[-1], w2)
s = 1 / (1 + np.exp(-1.0))
second = cr.evaluate(cr.Graph({"c": curvature.node}), values)["c"]
assert abs(second - s * (1 - s) * (1 - 2 * s)) < 1e-6

# `cr.check_grads` compares the gradients of any function with central differences, up to
# second order.

cr.check_grads(lambda w, x: cr.sigmoid((w * x).sum()), [np.array([2.0, -3.0]), np.ones(2)])

# Gradient descent by hand: fit a line to 3 t - 0.5.  `cr.grad` goes back no further than the
# tensors given to it, so the loop takes linear time.

t = np.linspace(-1, 1, 20)
slope, offset = cr.tensor(0.0), cr.tensor(0.0)
for _ in range(100):
    loss = ((slope * t + offset - (3 * t - 0.5)) ** 2).mean()
    along = cr.grad(loss, [slope, offset])
    slope, offset = slope - 0.3 * along[0], offset - 0.3 * along[1]
print(f"after 100 steps, the loss is {float(loss):.1g}")
assert abs(float(slope) - 3) < 1e-3
assert abs(float(offset) + 0.5) < 1e-3

# 4. Layers -----------------------------------------------------------------------------------
#
# A layer is any callable from tensor to tensor.  A layer with parameters is a dataclass with
# parameters as fields.  A parameter is named by its path through the fields.

heading("4. Layers")


@dataclass(eq=False)
class Gate:
    """Scale each feature by a learned number between 0 and 1."""

    width: int
    scale: cr.Parameter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.scale = cr.Parameter((self.width,), nn.Zeros(), "float32", "scale")

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        return x * cr.sigmoid(self.scale)


gated = nn.Sequential([Gate(2), nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)])
shapes = {name: p.shape for name, p in nn.parameters(gated).items()}
print(shapes)
assert list(shapes) == ["0.scale", "1.weight", "1.bias", "3.weight", "3.bias"]

# 5. The training step is one graph -----------------------------------------------------------
#
# Forward pass, loss, backward pass and update are one straight-line program, which is the
# input of the compiler.  The comment at the end of a line names its layer or stage.  `n` is
# the number of rows, which depends on the data.  Parameters, the step count and the learning
# rate are both inputs and outputs, so the step can be repeated.

heading("5. The training step is one graph")

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
xor = np.array([0, 1, 1, 0], "int32")
nn.initialize(gated, seed=0)
step = record_step(gated, objective("cross_entropy"), optim.SGD(0.5), (), Part(X, xor))
print(step.graph)
assert {"0", "1", "loss", "backward", "update"} <= {n.scope for n in step.graph.nodes}
after = cr.evaluate(step.graph, {**step.state, "x": X, "y": xor})
assert after["step"] == 1

# The same graph is compiled to machine code.  `explain` shows which operations share a pass
# over memory, and where threads wait for each other.  The results agree with the interpreter.

program = prepare(step.graph, step.state, {"x": X, "y": xor}, batch_size=4)
print(program.explain())
sums = program.run(np.arange(4), batch_size=4)
assert abs(sums["loss"] - after["loss"]) < 1e-5
for name in step.state:
    np.testing.assert_allclose(program.state[name], after[name], rtol=1e-5, atol=1e-6)

# 6. Fit --------------------------------------------------------------------------------------
#
# `cr.fit` repeats this step over shuffled batches.  The digits are 8x8 pixels from 0 to 16.

heading("6. Fit")

digits = data.load("digits")
learn, test = data.split(digits.y, 0.2, seed=0)  # stratified by class
pixels = digits.X / 16
model = nn.Sequential([nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)])
run = cr.fit(
    model, (pixels[learn], digits.y[learn]), loss="cross_entropy", optimizer=optim.Adam(3e-3),
    epochs=30, validation=0.1, early_stopping=5, seed=0, progress=False,
)  # fmt: skip
print(run.history[0])
assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(run.history[0])
assert run.history[-1]["loss"] < run.history[0]["loss"] / 5

scores = run.evaluate((pixels[test], digits.y[test]))
print(scores)
assert scores["accuracy"] > 0.95
assert run.predict_proba(pixels[test]).shape == (len(test), 10)
assert np.mean(run.predict(pixels[test]) == digits.y[test]) == scores["accuracy"]

# 7. Save and load ----------------------------------------------------------------------------
#
# A run is saved as a directory: weights in safetensors, the rest in readable JSON.

heading("7. Save and load")

with tempfile.TemporaryDirectory() as folder:
    place = run.save(Path(folder) / "digits")
    print(sorted(path.name for path in place.iterdir()))
    again = cr.load(place)
np.testing.assert_array_equal(again.predict(pixels[test]), run.predict(pixels[test]))

# 8. An unprepared table ----------------------------------------------------------------------
#
# `chainrule train examples/houses.csv --target price` makes the same calls.  The pipeline is
# fitted to the training rows alone, and its notes are its decisions (docs/table.md).

heading("8. An unprepared table")

problem = tabular.read_problem(EXAMPLES / "houses.csv", "price")
print("\n".join(problem.pipeline.notes))
houses = tabular.fit_table(problem, tabular.choose_settings(245, task="regression"), progress=False)
print(houses.scores["test"])
assert houses.scores["test"]["mae"] < houses.scores["baseline"]["mae"] / 2
new = data.read_table(EXAMPLES / "new-houses.csv")  # no price; a new kind of heating
assert tabular.predict_table(houses, new, tell=print)["prediction"].shape == (3,)

# 9. Error messages ---------------------------------------------------------------------------
#
# An error says what was wrong, where, and what to do.  It is raised before any training.

heading("9. Error messages")

column = error_of(cr.ShapeError, lambda: nn.mse(cr.tensor(X[:, :1]), cr.tensor(X[:, 0])))
assert "would broadcast" in column
typo = error_of(cr.OptionError, lambda: cr.fit(model, (X, xor), loss="mse", optimizer="adan"))
assert "Did you mean 'adam'?" in typo
hole = np.array([[0.0, 1.0], [2.0, np.nan]])
assert "column 1" in error_of(cr.DataError, lambda: cr.fit(gated, (hole, [0, 1]), loss="mse"))

print("All assertions passed.")
