"""Small trainings that rules are tried on: sound ones, to be broken one way at a time.

Read next: :mod:`chainrule.doctor.rules.last_layer`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.core.tensor import Tensor
from chainrule.doctor.case import Case
from chainrule.nn.activations import ReLU
from chainrule.nn.layer import Layer, Linear, Sequential
from chainrule.ops.composite import clip
from chainrule.ops.elementary import log
from chainrule.optim.adam import Adam

__all__ = ["Probabilities", "classes", "labels", "network", "numbers", "on_probabilities", "values"]

Array = np.ndarray[Any, Any]


def numbers(rows: int = 240, columns: int = 4, seed: int = 0) -> Array:
    """Return standard normal features."""
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def network(*sizes: int, between: Sequence[Layer] = (ReLU(),), end: Sequence[Layer] = ()) -> Layer:
    """Return linear layers of these sizes with the layers `between` them, and those at the end."""
    layers: list[Layer] = []
    for i, (width, following) in enumerate(itertools.pairwise(sizes)):
        layers += between if i else ()
        layers.append(Linear(width, following))
    return Sequential([*layers, *end])


def classes(model: Layer | None = None, X: Array | None = None, **changes: Any) -> Case:
    """Return a sound training on three classes, with `changes` of its fields."""
    X = numbers() if X is None else X
    y = np.digitize(numbers()[:, 0] + numbers()[:, 1] ** 2, [0.3, 1.3])
    sound = Case(model or network(4, 16, 3), (X, y), "cross_entropy", Adam(3e-3), 20)
    return replace(sound, **changes)


def values(model: Layer | None = None, scale: float = 1.0, **changes: Any) -> Case:
    """Return a sound training on a real-valued target of about -1 to 3, with `changes`."""
    X = numbers()
    y = (np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]) * scale
    sound = Case(model or network(4, 16, 1), (X, y), "mse", Adam(3e-3), 20)
    return replace(sound, **changes)


def labels(model: Layer | None = None, **changes: Any) -> Case:
    """Return a sound training on labels of 0 and 1 with one output, with `changes`."""
    X = numbers()
    y = (X[:, :1] + X[:, 1:2] > 0.3).astype(np.float32)
    case = Case(model or network(4, 16, 1), (X, y), "binary_cross_entropy", Adam(3e-3), 60)
    return replace(case, **changes)


class Probabilities:
    """Binary cross-entropy of probabilities, as other libraries have it."""

    kind = "labels"
    takes = "probabilities"
    __name__ = "cross_entropy_of_probabilities"

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        p = clip(output, 1e-7, 1 - 1e-7)
        return -(target * log(p) + (1 - target) * log(1 - p)).mean(1)


def on_probabilities(model: Layer) -> Case:
    """Return a training of `model`, of one output, by a cross-entropy that takes probabilities."""
    X = numbers()
    return Case(model, (X, (X[:, :1] > 0).astype(np.float32)), Probabilities(), Adam(3e-3), 20)
