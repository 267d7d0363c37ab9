"""5. The compiled program.

So far, `cr.fit` was a black box. This chapter opens it: what a training step is, how it becomes
machine code, and how fast that is.

Read next: `docs/architecture.md`.
"""

from __future__ import annotations

import re
import time

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.insight.render.chart import bar_chart
from chainrule.insight.render.svg import Picture
from chainrule.lab.exercise import Exercise
from chainrule.lab.recipe import Recipe
from chainrule.run.llvm.code import optimized
from chainrule.run.llvm.emit import emit
from chainrule.run.llvm.machine import host_target, target_machine
from chainrule.run.program import prepare
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import record_step

# ## A step is a graph
#
# Forward pass, loss, backward pass and update are recorded once, as one program without branches.
# Each line is an operation, with the type of its result. `n` is the number of rows of a batch. The
# comment at the end says where the line comes from: a layer, the loss, the metrics, the backward
# pass or the update.

rng = np.random.default_rng(0)
X = rng.normal(size=(2048, 4)).astype("float32")
y = (X[:, 0] * X[:, 1] > 0).astype("int32")

small = nn.Sequential([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)])
nn.initialize(small, seed=0)
step = record_step(small, objective("cross_entropy"), optim.SGD(0.1), (), Part(X, y))
print(step.graph)

# Find in it: the two products of the forward pass, the gradient of the loss with respect to the
# scores, and the lines that multiply a gradient by the learning rate, change its sign and add it to
# `parameter/0.weight`.

assert "matmul(x, parameter/0.weight)" in str(step.graph)

# The gradient is in the graph as any other value. Here are the operations by where they come from:

by_scope: dict[str, int] = {}
for node in step.graph.nodes:
    if not node.primitive.leaf:
        scope = node.scope if node.scope in ("loss", "backward", "update") else "layers"
        by_scope[scope] = by_scope.get(scope, 0) + 1
Picture(bar_chart(by_scope, title="operations of a training step"))

# ## Passes, and kernels
#
# The graph is simplified first: constants are computed, multiplications by 1 are removed, equal
# lines are merged. Then operations are *fused*: a kernel is one pass over memory, and computes all
# the operations that can be done while a value is in a register. A bias and an activation are
# applied while a tile of the matrix product is in registers; the update of a weight follows the
# product that computes its gradient, which is never stored.

drawing = cr.draw(small, "kernels", loss="cross_entropy", optimizer="sgd")
print(str(drawing).splitlines()[0])
drawing

# `drawing.save("step.html")` writes a page that shows the graph after each pass.
#
# ## The program
#
# `prepare` compiles the step. `explain` lists its kernels in order. At a barrier, all threads wait
# for each other: a gradient of a weight needs all rows of the batch.

program = prepare(step.graph, step.state, {"x": X, "y": y}, batch_size=32, engine="native")
print(program.explain())

# A call runs many steps, without Python between them:

first = program.run(np.arange(32), batch_size=32)["loss"] / 32
program.run(np.tile(np.arange(2048), 20), batch_size=32)
last = program.run(np.arange(32), batch_size=32)["loss"] / 32
print(f"loss {first:.3f} before, {last:.3f} after 20 epochs")
assert last < first

# The interpreter computes the same step with NumPy, node by node. It defines what is right:

again = record_step(small, objective("cross_entropy"), optim.SGD(0.1), (), Part(X, y))
native = prepare(again.graph, dict(again.state), {"x": X, "y": y}, 32, engine="native")
slow = prepare(again.graph, dict(again.state), {"x": X, "y": y}, 32, engine="reference")
for engine in (native, slow):
    engine.run(np.arange(64), batch_size=32)
for name in again.state:
    np.testing.assert_allclose(native.state[name], slow.state[name], rtol=1e-4, atol=1e-6)

# ## Machine code
#
# Each kernel is written as LLVM assembly, which LLVM turns into instructions of this processor.
# This is the first loop with fused multiply-adds, up to its jump. Each of them multiplies and adds
# a whole vector of numbers at once.

code = program.code
data_names = {"x", "y"}
module, _ = emit(code.kernels, code.schedule, set(step.state), data_names, 32, host_target())
machine = target_machine()
assembly = machine.emit_assembly(optimized(str(module), machine))
lines = [line.strip() for line in assembly.splitlines()]
is_fma = re.compile(r"vfn?m(add|sub)|fml[as]")
at = next(i for i, line in enumerate(lines) if is_fma.match(line))
jump = next(i for i in range(at, len(lines)) if re.match(r"j[a-z]+\s|b\.|cbn?z", lines[i]))
print("\n".join(lines[max(0, at - 6) : jump + 1]))
print(f"{len(lines)} lines, {sum(bool(is_fma.match(line)) for line in lines)} fused multiply-adds")
assert sum(bool(is_fma.match(line)) for line in lines) > 10

# ## Speed
#
# How much is gained? Here is the same training step, written by hand in NumPy:


def numpy_step(weights: list[np.ndarray], x: np.ndarray, labels: np.ndarray) -> None:
    """Take one step of gradient descent on a batch, in place."""
    W1, b1, W2, b2 = weights
    h = np.maximum(0, x @ W1 + b1)
    scores = h @ W2 + b2
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    d = e / e.sum(axis=1, keepdims=True)
    d[np.arange(len(x)), labels] -= 1
    d /= len(x)
    d_h = d @ W2.T * (h > 0)
    for weight, gradient in ((W1, x.T @ d_h), (b1, d_h.sum(0)), (W2, h.T @ d), (b2, d.sum(0))):
        weight -= np.float32(0.1) * gradient


def microseconds(call, steps: int) -> float:
    """Return the time of a step, the least of seven calls of `steps` steps."""
    times = []
    for _ in range(7):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1e6 * min(times) / steps


names = ("0.weight", "0.bias", "2.weight", "2.bias")
weights = [nn.parameters(small)[name].value.copy() for name in names]
order = np.arange(2048)


def by_numpy() -> None:
    """Run an epoch of 64 steps."""
    for rows in order.reshape(-1, 32):
        numpy_step(weights, X[rows], y[rows])


found = {
    "reference interpreter": microseconds(lambda: slow.run(order, batch_size=32), 64),
    "NumPy by hand": microseconds(by_numpy, 64),
    "machine code": microseconds(lambda: program.run(order, batch_size=32), 64),
}
print({name: f"{value:.1f} µs" for name, value in found.items()})
assert found["machine code"] < found["NumPy by hand"] / 3
Picture(bar_chart(found, title="microseconds for a step of 32 rows"))

# The small network gains most: in NumPy, each of some twenty calls takes longer to start than to
# compute. The larger the matrices, the more of the time is spent in multiply-adds, which no program
# can do without. [Performance](../performance.md) compares with other libraries.
#
# ## Exercises
#
# **1.** Record the step of `nn.Linear(4, 2)` with `optim.Adam(0.01)`. How many operations does the
# update have, compared with that of SGD?
#
# **2.** A network learns two half moons, but less well than it could. The program tells why. These
# are the lines of the graph that compute the gradients of the weights. Compare the layers:

exercise = Exercise(Recipe("moons", rows=400, hidden=(16, 16)), "gradient_cut")
exercise.train()
case = exercise.case()
nn.initialize(case.model, seed=0)
inputs, targets = case.data[0].astype("float32"), case.data[1]
cut = record_step(case.model, objective(case.loss), optim.SGD(0.1), (), Part(inputs, targets))
for name in list(nn.parameters(case.model))[::2]:
    written = cut.graph.outputs[f"parameter/{name}"]
    change = written.inputs[1]  # minus the learning rate times the gradient
    gradient = change.inputs[0].inputs[1]
    print(f"gradient of {name}: {gradient.primitive.name} of {gradient.inputs[0].primitive.name}")

# ## Answers
#
# **1.** SGD multiplies the gradient by the rate and subtracts it. Adam also keeps two averages, of
# the gradient and of its square, corrects both, and divides by a square root.


def operations(method: optim.Optimizer) -> int:
    """Return how many operations the update of `nn.Linear(4, 2)` by `method` has."""
    line = nn.Linear(4, 2)
    nn.initialize(line, seed=0)
    graph = record_step(line, objective("cross_entropy"), method, (), Part(X, y)).graph
    return sum(node.scope == "update" and not node.primitive.leaf for node in graph.nodes)


print(operations(optim.SGD(0.1)), operations(optim.Adam(0.01)))
assert operations(optim.Adam(0.01)) > 3 * operations(optim.SGD(0.1))

# **2.**

print(exercise.check("architecture"))
assert exercise.check("architecture").startswith("Yes")
