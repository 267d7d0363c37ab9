"""An optimizer in ten lines, compiled into the step: `python examples/custom_optimizer.py`.

SignSGD follows the sign of an average of the gradients.  Source: Bernstein, Wang, Azizzadenesheli
and Anandkumar, "signSGD: compressed optimisation for non-convex problems", 2018.

Read next: `chainrule/optim/adam.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import chainrule as cr
from chainrule import data, nn, optim


@dataclass(frozen=True)
class SignSGD(optim.Optimizer):
    """``m = beta m + (1 - beta) g``, ``p = p - learning_rate sign(m)``."""

    learning_rate: float = 0.001
    beta: float = 0.9

    def slots(self) -> tuple[str, ...]:
        return ("m",)

    def update(self, g, p, slots, h: Mapping[str, cr.Tensor], t):
        rate, beta = h["learning_rate"].astype(g.dtype), h["beta"].astype(g.dtype)
        m = beta * slots["m"] + (1 - beta) * g
        return -rate * cr.sign(m), {"m": m}


digits = data.load("digits")
train, test = data.split(digits.y, 0.2, seed=0)
X = digits.X / 16
model = nn.Sequential([nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)])
run = cr.fit(
    model, (X[train], digits.y[train]), loss="cross_entropy", epochs=20, progress=False,
    optimizer=SignSGD(optim.Cosine(0.002)), engine="native",
)  # fmt: skip
accuracy = run.evaluate((X[test], digits.y[test]))["accuracy"]
print(f"accuracy {accuracy:.3f}")
assert accuracy > 0.95
