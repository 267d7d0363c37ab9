"""An operation of your own, with gradient and native code: `python examples/custom_operation.py`.

Most operations are functions of existing ones, and need nothing of this: their gradient and native
code follow.  A record is worth it if the gradient can be computed better than by composition.

Read next: `chainrule/core/primitive.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.primitive import Description
from chainrule.core.tensor import record
from chainrule.ops.declare import unary

# The value as NumPy, the gradient as tensors, and the value as scalar instructions of any backend.
CUBE = unary(
    "cube", lambda x: x * x * x, lambda g, out, x: (3 * g * x * x,),
    lambda b, x: b.mul(b.mul(x, x), x), (-2, 2), increasing=True,
    description=Description("a**3", ("3 * a**2",), "the slope of a cube is three times the square"),
)  # fmt: skip


def cube(x: cr.Tensor) -> cr.Tensor:
    """Return ``x³``."""
    return record(CUBE, x)


@nn.register_layer
@dataclass(frozen=True)
class Cube:
    """The operation as a layer, so that a run can be saved."""

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        return cube(x)


print(cr.explain(cube(cr.tensor(2.0))))
cr.check_grads(cube, [np.linspace(-2, 2, 9)])  # first and second order

X = np.random.default_rng(0).uniform(-1, 1, (400, 2)).astype("float32")
y = X[:, :1] * X[:, 1:]
model = nn.Sequential([nn.Linear(2, 16), Cube(), nn.Linear(16, 1)])
run = cr.fit(
    model, (X, y), loss="mse", optimizer=optim.Adam(0.01), epochs=60, engine="native",
    progress=False,
)  # fmt: skip
print(f"loss {run.history[0]['loss']:.4f}, then {run.history[-1]['loss']:.6f}")
assert run.history[-1]["loss"] < run.history[0]["loss"] / 10
