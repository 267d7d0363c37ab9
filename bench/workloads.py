"""The workloads: networks, their synthetic data, and their initial weights.

The name of a workload is the seed of its data and weights, so they are the same in every process.
The first five have targets; the others check that no optimization is specific to those five.

Read next: `bench/worker.py`.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Weights = list[tuple[Array, Array]]  # (inputs, outputs) and (outputs,) of each layer

HE = ("relu", "elu", "gelu", "silu")


@dataclass(frozen=True)
class Workload:
    """A network with its loss, optimizer, batch size and number of rows."""

    sizes: tuple[int, ...]
    activation: str
    loss: str
    optimizer: str
    rate: float
    batch: int
    rows: int
    marks: tuple[float, float] | None = None  # target speed relative to PyTorch and to JAX
    density: float | None = None  # the share of edges that are present in each layer

    @property
    def name(self) -> str:
        sizes = [str(size) for size in self.sizes]
        if len(sizes) > 6:
            inner = sizes[1:-1]
            sizes = [sizes[0], f"({inner[0]} x{len(inner)})", sizes[-1]]
        name = f"{'-'.join(sizes)} {self.activation} {self.loss} b{self.batch} {self.optimizer}"
        return name if self.density is None else f"{name}, {self.density:.0%} of the edges"

    @property
    def steps(self) -> int:
        """The steps of an epoch, the last of which may have fewer rows."""
        return math.ceil(self.rows / self.batch)

    def flops(self) -> float:
        """Return the operations of an epoch's matrix products, two for a multiply-add.

        Every layer has a product for its output, one for the gradient of its weights and, except
        for the first layer, one for the gradient of its inputs.
        """
        products = [2.0 * self.rows * i * o for i, o in pairwise(self.sizes)]
        return 3 * sum(products) - products[0]

    def data(self) -> tuple[Array, Array]:
        """Return X (rows, inputs) in float32, and y: classes in int64, or float32 (rows, outputs).

        A linear model with noise generates the targets, so the loss falls but not to zero.
        """
        rng = self.draws("data")
        X = rng.standard_normal((self.rows, self.sizes[0]), np.float32)
        teacher = rng.standard_normal((self.sizes[0], self.sizes[-1]), np.float32)
        scores = X @ teacher / np.float32(math.sqrt(self.sizes[0]))
        scores += np.float32(0.5) * rng.standard_normal(scores.shape, np.float32)
        if self.loss == "cross_entropy":
            return X, scores.argmax(axis=1)
        if self.loss == "binary_cross_entropy":
            return X, (scores > 0).astype(np.float32)
        return X, scores

    def weights(self) -> Weights:
        """Return the initial weights, He or Glorot normal by the activation, and zero biases."""
        return _weights(self)

    def masks(self) -> list[Array]:
        """Return which edges (inputs, outputs) each layer of a sparse workload has."""
        return [weight != 0 for weight, _ in self.weights()]

    def draws(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.name}/{purpose}".encode()))


@lru_cache(maxsize=1)  # every turn resets to them
def _weights(workload: Workload) -> Weights:
    rng, drawn = workload.draws("weights"), []
    for inputs, outputs in pairwise(workload.sizes):
        part = workload.density or 1.0
        variance = 2 / (part * (inputs if workload.activation in HE else inputs + outputs))
        weight = rng.standard_normal((inputs, outputs), np.float32)
        if workload.density is not None:
            weight[rng.random(weight.shape) >= workload.density] = 0
        drawn.append((weight * np.float32(math.sqrt(variance)), np.zeros(outputs, np.float32)))
    return drawn


def shortened(workload: Workload, steps: int) -> Workload:
    """Return the workload with at most `steps` full batches per epoch, plus its partial batch."""
    part = workload.rows % workload.batch
    return replace(workload, rows=min(workload.rows, steps * workload.batch + part))


CLASSES, YES_NO, VALUES = "cross_entropy", "binary_cross_entropy", "mse"
MARKED = (
    Workload((2, 16, 16, 3), "tanh", CLASSES, "sgd", 0.1, 10, 3_000, (100, 8)),
    Workload((64, 32, 10), "relu", CLASSES, "momentum", 0.02, 32, 8_192, (50, 8)),
    Workload((784, 128, 10), "relu", CLASSES, "adam", 1e-3, 64, 16_384, (4.5, 1.8)),
    Workload((784, 512, 512, 10), "relu", CLASSES, "momentum", 0.01, 128, 16_384, (2.6, 1.75)),
    Workload((1024, 2048, 2048, 1024), "relu", CLASSES, "adam", 1e-4, 512, 4_096, (2.4, 1.7)),
)
OTHERS = (
    Workload((30, 64, 1), "sigmoid", YES_NO, "adam", 1e-3, 32, 4_000),
    Workload((8, 50, 50, 50, 1), "tanh", VALUES, "sgd", 0.02, 100, 20_000),
    Workload((13, 100, 100, 3), "gelu", CLASSES, "adam", 1e-3, 16, 5_000),  # a last batch of 8
    Workload((128, 256, 128, 64, 10), "elu", CLASSES, "momentum", 0.01, 50, 10_000),
    Workload((64, *[64] * 12, 10), "tanh", CLASSES, "sgd", 0.02, 64, 8_192),
    Workload((3072, 100, 10), "relu", CLASSES, "adam", 3e-4, 256, 4_096),
    Workload((256, 1000, 256), "sigmoid", VALUES, "adam", 1e-3, 200, 8_192),  # a last batch of 192
    Workload((512, 768, 768, 100), "silu", CLASSES, "momentum", 0.01, 96, 7_680),
)
# For bench/sparse.py, with a share of the edges; no unit of the last layer is without edges.
SPARSE = (
    Workload((2048, 2048), "relu", VALUES, "sgd", 0.1, 128, 2_048, density=0.05),
    Workload((784, 2048, 2048, 10), "relu", CLASSES, "momentum", 0.01, 128, 4_096, density=0.05),
)
WORKLOADS = {workload.name: workload for workload in (*MARKED, *OTHERS)}


EVERY = {**WORKLOADS, **{workload.name: workload for workload in SPARSE}}


def mean_loss(workload: Workload, weights: Weights, X: Array, y: Array) -> float:
    """Return the mean loss of a network with these weights, in float64 with NumPy."""
    total = 0.0
    for start in range(0, len(X), 1024):
        h, target = X[start : start + 1024].astype(np.float64), y[start : start + 1024]
        for place, (weight, bias) in enumerate(weights):
            h = h @ np.asarray(weight, np.float64) + bias
            if place < len(weights) - 1:
                h = _activate(workload.activation, h)
        if workload.loss == CLASSES:
            shifted = h - h.max(axis=1, keepdims=True)
            chosen = shifted[np.arange(len(h)), target]
            losses = np.log(np.exp(shifted).sum(axis=1)) - chosen
        elif workload.loss == YES_NO:
            losses = (np.logaddexp(0, h) - target * h).mean(axis=1)
        else:
            losses = ((h - target) ** 2).mean(axis=1)
        total += float(losses.sum())
    return total / len(X)


def _activate(name: str, x: Array) -> Array:
    if name == "relu":
        return np.maximum(x, 0)
    if name == "tanh":
        return np.tanh(x)
    if name == "elu":
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    if name == "gelu":
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    gate = 1 / (1 + np.exp(-x))
    return gate if name == "sigmoid" else x * gate
