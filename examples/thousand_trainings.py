"""A thousand trainings of one network, to find a learning rate and to see what chance decides.

Run: `python examples/thousand_trainings.py`

Read next: `docs/many.md`.
"""

from __future__ import annotations

import time

import numpy as np

import chainrule as cr
from chainrule import data, nn

iris = data.load("iris")
X = ((iris.X - iris.X.mean(0)) / iris.X.std(0)).astype("float32")
train, held = data.split(iris.y, 0.3, seed=0)

rates = np.geomspace(1e-4, 1, 10)
variations = [
    {"seed": seed, "learning_rate": float(rate), "rows": train, "held_out": held}
    for rate in rates
    for seed in range(100)
]
began = time.perf_counter()
runs = cr.fit_many(
    nn.Sequential([nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)]), (X, iris.y), variations,
    loss="cross_entropy", epochs=20, batch_size=16,
)  # fmt: skip
print(f"{len(variations)} trainings in {time.perf_counter() - began:.1f} s")

losses = runs.scores("val_loss")[:, -1].reshape(len(rates), 100)
for rate, row in zip(rates, losses, strict=True):
    low, middle, high = np.nanquantile(row, [0.05, 0.5, 0.95])
    print(f"learning rate {rate:.4f}: loss {middle:.3f}, nine of ten seeds {low:.3f} to {high:.3f}")
best = rates[np.nanmedian(losses, axis=1).argmin()]
print(f"best: {best:.4f}")
assert 1e-3 < best < 0.5
