"""Random initialization: from a shape and a generator to the first value of a parameter.

Weights are stored as (inputs, outputs), so ``fan_in, fan_out = shape``.  Too
large a spread saturates sigmoids and tanh, too small a one lets signals and
gradients fade from layer to layer; Glorot's and He's choices keep their
variance.

Sources: Glorot and Bengio, "Understanding the difficulty of training deep
feedforward neural networks", 2010; He, Zhang, Ren and Sun, "Delving deep into
rectifiers", 2015.

Read next: :mod:`chainrule.nn.layer`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError, ShapeError, did_you_mean

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "Zeros",
    "initializer",
]

Initializer = Callable[[tuple[int, ...], np.random.Generator], Any]


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 2:
        raise ShapeError(
            f"a parameter of shape {shape} has no fan-in and fan-out; use Zeros or Constant."
        )
    return math.prod(shape[:-1]), shape[-1]


@dataclass(frozen=True)
class GlorotUniform:
    """Draw from U(-a, a) with ``a = sqrt(6 / (fan_in + fan_out))``, for tanh and sigmoid.

    >>> w = GlorotUniform()((100, 50), np.random.default_rng(0))
    >>> bool(abs(w).max() <= (6 / 150) ** 0.5)
    True
    """

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        limit = math.sqrt(6 / sum(_fans(shape)))
        return generator.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class GlorotNormal:
    """Draw from N(0, s²) with ``s = sqrt(2 / (fan_in + fan_out))``, for tanh and sigmoid."""

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return generator.normal(0.0, math.sqrt(2 / sum(_fans(shape))), shape)


@dataclass(frozen=True)
class HeUniform:
    """Draw from U(-a, a) with ``a = sqrt(6 / fan_in)``, for ReLU and its kin."""

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        limit = math.sqrt(6 / _fans(shape)[0])
        return generator.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class HeNormal:
    """Draw from N(0, s²) with ``s = sqrt(2 / fan_in)``, for ReLU and its kin."""

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return generator.normal(0.0, math.sqrt(2 / _fans(shape)[0]), shape)


@dataclass(frozen=True)
class Zeros:
    """Fill with 0, the usual start of biases."""

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return np.zeros(shape)


@dataclass(frozen=True)
class Constant:
    """Fill with `value`; 0.01 for the biases of ReLU units makes fewer of them start dead.

    >>> Constant(0.01)((2,), np.random.default_rng(0))
    array([0.01, 0.01])
    """

    value: float

    def __call__(self, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
        return np.full(shape, self.value)


BY_NAME: dict[str, Initializer] = {
    "glorot_uniform": GlorotUniform(),
    "glorot_normal": GlorotNormal(),
    "he_uniform": HeUniform(),
    "he_normal": HeNormal(),
    "zeros": Zeros(),
}


def initializer(choice: str | Initializer) -> Initializer:
    """Return the initializer of that name, or `choice` itself when it is one.

    Raises OptionError naming the nearest.
    """
    if not isinstance(choice, str):
        return choice
    if choice not in BY_NAME:
        raise OptionError(f"unknown initializer {choice!r}. {did_you_mean(choice, BY_NAME)}")
    return BY_NAME[choice]
