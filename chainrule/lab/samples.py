"""Data for experiments: small sets of rows, bundled or made up, standardized and divided.

A name, a number of rows and a seed go in; rows to train on and rows to judge by come out.

Read next: :mod:`chainrule.lab.recipe`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.data.builtin import load
from chainrule.data.splits import split

__all__ = ["MADE", "SHIPPED", "Sample", "sample"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Maker: TypeAlias = "Callable[[int, np.random.Generator], tuple[Array, Array]]"
_TEST_ROWS = 600


@dataclass(frozen=True)
class Sample:
    """Standardized rows: ``(X, y)`` to train on, ``(X_test, y_test)`` to judge by.

    y holds class numbers, or real values of mean 0 and spread 1, for which `classes` is 0.
    """

    X: Array
    y: Array
    X_test: Array
    y_test: Array
    classes: int


def _blobs(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Four round clouds in five dimensions."""
    centers = rng.normal(0.0, 2.5, (4, 5))
    y = rng.integers(0, 4, rows)
    return centers[y] + rng.normal(size=(rows, 5)), y


def _moons(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two half circles that reach into each other."""
    y = rng.integers(0, 2, rows)
    angle = rng.uniform(0, np.pi, rows)
    X = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    X = np.where(y[:, None] == 1, np.array([1.0, 0.5]) - X, X)
    return X + rng.normal(0.0, 0.12, (rows, 2)), y


def _xor(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Class 1 where two numbers differ in sign; a third column has no bearing on it."""
    signs = rng.choice([-1.0, 1.0], (rows, 2))
    X = np.concatenate([signs + rng.normal(0.0, 0.3, (rows, 2)), rng.normal(size=(rows, 1))], 1)
    return X, (signs[:, 0] != signs[:, 1]).astype(np.int64)


def _rings(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Three rings around one another."""
    y = rng.integers(0, 3, rows)
    angle, radius = rng.uniform(0, 2 * np.pi, rows), 0.4 + y + rng.normal(0.0, 0.12, rows)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), y


def _clusters(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Three classes of two clouds each on the corners of a cube, mixed with idle columns."""
    corners = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], float)
    chosen = rng.permutation(8)[:6]
    cloud = rng.integers(0, 6, rows)
    useful = 1.6 * corners[chosen[cloud]] + rng.normal(0.0, 0.7, (rows, 3))
    mixed = useful @ rng.normal(size=(3, 3))
    return np.concatenate([useful, mixed, rng.normal(size=(rows, 4))], axis=1), cloud % 3


def _friedman(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Friedman's first function of ten columns, of which five matter."""
    X = rng.uniform(size=(rows, 10))
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2
    return X, y + 10 * X[:, 3] + 5 * X[:, 4] + rng.normal(0.0, 0.7, rows)


def _plane(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Sum six columns, weighted, with some noise."""
    X = rng.normal(size=(rows, 6))
    return X, X @ rng.normal(size=6) + rng.normal(0.0, 0.4, rows)


def _wave(rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """One period and a half of a sine over one column, with a slope over another."""
    X = rng.uniform(-1.5, 1.5, (rows, 2))
    return X, np.sin(np.pi * X[:, 0]) + 0.4 * X[:, 1] + rng.normal(0.0, 0.1, rows)


SHIPPED = ("iris", "wine", "breast-cancer", "digits", "diabetes")
MADE: Mapping[str, Maker] = {
    "blobs": _blobs,
    "moons": _moons,
    "xor": _xor,
    "rings": _rings,
    "clusters": _clusters,
    "friedman": _friedman,
    "plane": _plane,
    "wave": _wave,
}
VALUED = ("diabetes", "friedman", "plane", "wave")


@lru_cache(maxsize=64)
def sample(name: str, rows: int = 0, seed: int = 0) -> Sample:
    """Return the data set of that `name`; read its arrays, do not write into them.

    `rows` says how many rows a made-up set has to train on; of bundled sets a fifth is kept to
    judge by.  Columns, and real targets, have a mean of 0 and a spread of 1 over the rows to train
    on.  Raises OptionError naming the nearest.

    >>> sample("moons", 200).X.shape, sample("iris").X.shape
    ((200, 2), (120, 4))
    """
    if name in SHIPPED:
        data = load(name)
        X, y = data.X.astype(np.float64), data.y
        train, test = split(y, 0.2, seed=seed)
    elif name in MADE:
        X, y = MADE[name](rows + _TEST_ROWS, np.random.default_rng([seed, 1]))
        train, test = np.arange(rows), np.arange(rows, rows + _TEST_ROWS)
    else:
        raise OptionError(f"There is no sample {name!r}. {did_you_mean(name, [*SHIPPED, *MADE])}")
    spread = X[train].std(axis=0)
    X = ((X - X[train].mean(axis=0)) / np.where(spread > 0, spread, 1.0)).astype(np.float32)
    classes = 0
    if name in VALUED:
        y = ((y - y[train].mean()) / y[train].std()).astype(np.float32)
    else:
        y = y.astype(np.int64)
        classes = int(y.max()) + 1
    return Sample(X[train], y[train], X[test], y[test], classes)
