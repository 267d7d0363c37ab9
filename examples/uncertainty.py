"""Predict a mean and a standard deviation: `python examples/uncertainty.py`.

The network has two outputs, m and s, and the loss is minus the logarithm of the normal density of
the target: ``s + (y - m)² / (2 exp(2 s))``, where exp(s) is the standard deviation.

Source: Nix and Weigend, "Estimating the mean and variance of the target probability
distribution", 1994.

Read next: `examples/custom_layer.py`.
"""

from __future__ import annotations

import numpy as np

import chainrule as cr
from chainrule import nn, optim


def normal_loss(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
    """Return the negative log-likelihood of each row, less a constant."""
    mean, log_deviation = output[:, 0], output[:, 1]
    distance = (target[:, 0] - mean) * cr.exp(-log_deviation)
    return log_deviation + 0.5 * distance * distance


rng = np.random.default_rng(0)
x = rng.uniform(-2, 2, (2000, 1)).astype("float32")
noise = 0.1 + 0.3 * np.abs(x)  # known here, and to be found by the network
y = (np.sin(2 * x) + noise * rng.normal(size=x.shape)).astype("float32")

model = nn.Sequential([nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2)])
run = cr.fit(
    model, (x[:1600], y[:1600]), loss=normal_loss, optimizer=optim.Adam(0.005), epochs=80,
    progress=False,
)  # fmt: skip

outputs = run.outputs(x[1600:])
mean, deviation = outputs[:, :1], np.exp(outputs[:, 1:])
inside = (np.abs(y[1600:] - mean) < 1.96 * deviation).mean()
print(f"{inside:.1%} of the test rows lie inside their 95 % interval")
assert 0.9 < inside < 0.99
for at in (0.0, 1.0, 2.0):
    m, s = run.outputs(np.array([[at]], "float32"))[0]
    print(f"x = {at}: {m:.2f} ± {np.exp(s):.2f}; the noise is {0.1 + 0.3 * at:.2f}")
