"""A layer of your own, which is saved and loaded like any other: `python examples/custom_layer.py`.

Read next: `examples/custom_optimizer.py`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field

import numpy as np

import chainrule as cr
from chainrule import nn, optim


@nn.register_layer
@dataclass(eq=False)
class Gaussians:
    """Distances to learned centers: ``exp(-|x - center|²)``, a column for each center."""

    inputs: int
    centers: int
    center: cr.Parameter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = (self.centers, self.inputs)
        self.center = cr.Parameter(shape, nn.TruncatedNormal(1.0), "float32", "center")

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        difference = x[:, None, :] - self.center
        return cr.exp(-cr.square(difference).sum(axis=2))


rng = np.random.default_rng(0)
X = rng.uniform(-2, 2, (600, 2)).astype("float32")
ring = (np.abs(np.sqrt((X**2).sum(1)) - 1.2) < 0.4).astype("int32")  # no line separates it

model = nn.Sequential([Gaussians(2, 24), nn.Linear(24, 2)])
cr.check_grads(lambda x: model(x), [X[:3].astype("float64")])
run = cr.fit(
    model, (X[:500], ring[:500]), loss="cross_entropy", optimizer=optim.Adam(0.03), epochs=60,
    progress=False,
)  # fmt: skip
accuracy = run.evaluate((X[500:], ring[500:]))["accuracy"]
print(f"accuracy {accuracy:.3f}")
assert accuracy > 0.85

with tempfile.TemporaryDirectory() as folder:
    again = cr.load(run.save(f"{folder}/ring"))
assert np.array_equal(again.predict(X), run.predict(X))
