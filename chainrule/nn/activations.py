"""Activation functions as layers; without them any stack of layers is one linear function.

Each names the initializer that keeps its signals' variance, which
:class:`~chainrule.nn.layer.Sequential` gives to the Linear before it.

Read next: :mod:`chainrule.nn.losses`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.tensor import Tensor
from chainrule.nn.initializers import GlorotUniform, HeUniform, Initializer
from chainrule.ops.composite import elu, gelu, leaky_relu, relu, silu, softplus
from chainrule.ops.elementwise import sigmoid, tanh

__all__ = [
    "ELU",
    "GELU",
    "LeakyReLU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "activation",
    "activation_names",
]


@dataclass(frozen=True)
class ReLU:
    """``max(0, x)``: cheap, does not saturate for positive x; a unit never positive is dead."""

    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return relu(x)


@dataclass(frozen=True)
class LeakyReLU:
    """``x`` where positive, else ``slope * x``: a ReLU that does not die."""

    slope: float = 0.01
    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return leaky_relu(x, self.slope)


@dataclass(frozen=True)
class ELU:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``: means closer to zero, costs an exp."""

    alpha: float = 1.0
    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return elu(x, self.alpha)


@dataclass(frozen=True)
class Sigmoid:
    """``1 / (1 + exp(-x))``, in [0, 1]: saturates on both sides and is not zero-centered."""

    suited_initializer: ClassVar[Initializer] = GlorotUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return sigmoid(x)


@dataclass(frozen=True)
class Tanh:
    """``tanh(x)``, in [-1, 1]: zero-centered, saturates on both sides."""

    suited_initializer: ClassVar[Initializer] = GlorotUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return tanh(x)


@dataclass(frozen=True)
class GELU:
    """``x`` times the normal distribution function at x, or its tanh approximation."""

    approximate: bool = False
    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return gelu(x, self.approximate)


@dataclass(frozen=True)
class SiLU:
    """``x * sigmoid(x)``."""

    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return silu(x)


@dataclass(frozen=True)
class Softplus:
    """``log(1 + exp(x))``, a smooth ReLU."""

    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return softplus(x)


BY_NAME: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "softplus": Softplus,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
}


def activation_names() -> list[str]:
    """Return the names :func:`activation` knows."""
    return list(BY_NAME)


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return a new activation layer by name; raise OptionError naming the nearest.

    >>> activation("relu")
    ReLU()
    """
    key = name.lower().replace("-", "_")
    if key not in BY_NAME:
        raise OptionError(f"unknown activation {name!r}. {did_you_mean(key, BY_NAME)}")
    return BY_NAME[key]()
