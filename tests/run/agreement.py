"""The two engines side by side: one step graph, the same data and order, and what came out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import nn
from chainrule.core.graph import Graph
from chainrule.optim import Optimizer
from chainrule.run.llvm.native import NativeProgram
from chainrule.run.program import ReferenceProgram
from chainrule.step.metrics import metrics_of
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.record import record_step

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A step graph with the state it starts from and the data it reads."""

    graph: Graph
    state: dict[str, Array]
    data: dict[str, Array]

    @property
    def rows(self) -> int:
        """How many rows the data has."""
        return len(next(iter(self.data.values())))

    def native(self, capacity: int, threads: int = 1) -> NativeProgram:
        """Return the case compiled for batches of up to `capacity` rows."""
        return NativeProgram(self.graph, self.state, self.data, capacity, threads)

    def reference(self) -> ReferenceProgram:
        """Return the case on the reference interpreter."""
        return ReferenceProgram(self.graph, self.state, self.data)


def network(
    sizes: Sequence[int], activation: str = "tanh", dtype: str = "float64", seed: int = 0
) -> nn.Sequential:
    """Return a network of Linear layers of `sizes` with `activation` between them."""
    layers: list[Any] = []
    for inputs, outputs in itertools.pairwise(sizes):
        if activation == "maxout" and outputs != sizes[-1]:
            layers += [nn.Maxout(inputs, outputs, pieces=3, dtype=dtype), nn.Identity()]
        else:
            layers += [nn.Linear(inputs, outputs, dtype=dtype), _activation(activation, dtype)]
    model = nn.Sequential(layers[:-1])
    nn.initialize(model, seed)
    return model


def _activation(name: str, dtype: str) -> Any:
    if name == "prelu, one a unit":
        return nn.PReLU(9, dtype=dtype)
    return (
        nn.PReLU(dtype=dtype)
        if name == "prelu"
        else nn.activation(name.replace("maxout", "identity"))
    )


# Losses with options or other targets than their name says.
VARIANTS: dict[str, Any] = {
    "one-hot": "cross_entropy",
    "smoothed": nn.CrossEntropy(0.1),
    "smoothed one-hot": nn.CrossEntropy(0.2),
    "huber, 0.3": nn.Huber(0.3),
    "divergence of classes": "kl_divergence",
    "several": nn.Several(("mse", "cross_entropy"), (1, 2), (1.0, 0.7)),
}


def targets(loss: str, rows: int, columns: int, dtype: str, rng: np.random.Generator) -> Array:
    """Return random targets for `loss`, one by name or of :data:`VARIANTS`."""
    kind = objective(VARIANTS.get(loss, loss)).kind
    if loss in ("one-hot", "smoothed one-hot"):
        return np.eye(columns, dtype=dtype)[rng.integers(0, columns, rows)]
    if loss == "kl_divergence":
        return rng.dirichlet(np.ones(columns), rows).astype(dtype)
    if kind in ("classes", "ordered"):
        return rng.integers(0, columns, rows)
    if kind == "several":
        each = (rng.normal(size=rows), rng.integers(0, columns - 1, rows))
        return np.stack(each, axis=1).astype(dtype)
    if kind == "quantiles":
        return rng.normal(size=(rows, 1)).astype(dtype)
    if kind == "labels":
        return (rng.random((rows, columns)) < 0.5).astype(dtype)
    if kind == "counts":
        return rng.poisson(2.0, (rows, columns)).astype(dtype)
    return rng.normal(size=(rows, columns)).astype(dtype)


def training(
    model: Any,
    loss: str,
    optimizer: Optimizer,
    x: Array,
    y: Array,
    metrics: Sequence[str] | None = None,
    **more: Any,
) -> Case:
    """Return the training step of `model` on the rows of `x` and `y`; `more` as record_step's."""
    aim = objective(VARIANTS.get(loss, loss))
    part = Part(x, y, weight=more.pop("weight", None))
    step = record_step(model, aim, optimizer, metrics_of(metrics, aim), part, **more)
    return Case(step.graph, step.state, part.arrays)


def shuffled(rows: int, epochs: int, seed: int = 0) -> Array:
    """Return `epochs` shuffles of the numbers of `rows` rows, one after another."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(rows) for _ in range(epochs)])


def distance(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Return the largest difference by name, relative to max(1, |theirs|); NaN equals NaN."""
    assert set(ours) == set(theirs)
    worst = 0.0
    for name, expected in theirs.items():
        a = np.asarray(ours[name], np.float64)
        b = np.asarray(expected, np.float64)
        assert a.shape == b.shape, name
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            gap = np.where(same, 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(b)))
        gap = np.where(np.isnan(gap), np.inf, gap)
        worst = max(worst, float(gap.max(initial=0.0)))
    return worst


def assert_agree(
    case: Case, order: Array, batch: int, bound: float, threads: int = 1, capacity: int = 0
) -> None:
    """Run both engines over `order`; their sums and state may differ by `bound`."""
    native, reference = case.native(capacity or batch, threads), case.reference()
    ours, theirs = native.run(order, batch), reference.run(order, batch)
    assert distance(ours, theirs) <= bound * max(1, len(order) // batch)
    assert distance(native.state, reference.state) <= bound
