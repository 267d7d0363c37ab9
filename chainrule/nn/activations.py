"""Activation functions as layers; without them any stack of layers is one linear function.

Each names the initializer that keeps its signals' variance, which
:class:`~chainrule.nn.layer.Sequential` gives to the Linear before it.

Read next: :mod:`chainrule.nn.maxout`, :mod:`chainrule.nn.catalogue`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from chainrule.core.errors import OptionError, ShapeError, did_you_mean
from chainrule.core.options import check_whole, float_dtype, in_range
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.nn.initializers import (
    Constant,
    GlorotUniform,
    HeUniform,
    Initializer,
    LeCunNormal,
)
from chainrule.ops.arithmetic import relu
from chainrule.ops.composite import (
    elu,
    gelu,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    leaky_relu,
    mish,
    relu6,
    selu,
    silu,
    softplus,
    softsign,
)
from chainrule.ops.elementary import sigmoid, tanh

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "HardSigmoid",
    "HardSwish",
    "HardTanh",
    "Identity",
    "LeakyReLU",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softsign",
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
class ReLU6:
    """``min(max(0, x), 6)``: a ReLU that stays small, and flat on both sides."""

    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return relu6(x)


@dataclass(frozen=True)
class LeakyReLU:
    """``x`` where positive, else ``slope * x``: a ReLU that does not die.

    Raises OptionError for a slope that is not a finite number.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        in_range(self, "slope", -math.inf, math.inf, open_low=True)

    @property
    def suited_initializer(self) -> Initializer:
        """He's, for this slope."""
        return HeUniform(self.slope)

    def __call__(self, x: Tensor) -> Tensor:
        return leaky_relu(x, self.slope)


@dataclass(eq=False)
class PReLU:
    """``x`` where positive, else ``slope * x`` with a slope that is learned.

    One slope for all units, or with `units` one for each; all begin at `start`.
    x: (n, ..., units).  Penalties leave slopes alone: zero would mean a plain ReLU.
    Raises OptionError for options that have no meaning, ShapeError for another width of x.
    Source: He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015.

    >>> import chainrule as cr
    >>> PReLU(start=0.5)(cr.tensor([-2.0, 2.0]))
    Tensor([-1.,  2.], f32[2])
    """

    units: int | None = None
    start: float = 0.25
    dtype: str = "float32"
    slope: Parameter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.units is not None:
            self.units = check_whole("PReLU: units", self.units)
        in_range(self, "start", -math.inf, math.inf, open_low=True)
        self.dtype = float_dtype("PReLU: dtype", self.dtype)
        shape = () if self.units is None else self.units
        self.slope = Parameter(shape, Constant(self.start), self.dtype, "slope", is_weight=False)

    @property
    def suited_initializer(self) -> Initializer:
        """He's, for the slope it starts with."""
        return HeUniform(self.start)

    def __call__(self, x: Tensor) -> Tensor:
        if self.units is not None and x.shape[-1:] != (self.units,):
            raise ShapeError(
                f"PReLU({self.units}) needs {self.units} units on the last axis, but got shape "
                f"{x.shape}."
            )
        return leaky_relu(x, self.slope)


@dataclass(frozen=True)
class ELU:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``: means closer to zero, costs an exp.

    Raises OptionError for an alpha that is not a number of at least 0.
    """

    alpha: float = 1.0
    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __post_init__(self) -> None:
        in_range(self, "alpha", 0.0, math.inf)

    def __call__(self, x: Tensor) -> Tensor:
        return elu(x, self.alpha)


@dataclass(frozen=True)
class SELU:
    """``1.0507 * elu(x, 1.6733)``: means stay near 0 and variances near 1 of themselves."""

    suited_initializer: ClassVar[Initializer] = LeCunNormal()

    def __call__(self, x: Tensor) -> Tensor:
        return selu(x)


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
class Softsign:
    """``x / (1 + |x|)``, in [-1, 1]: zero-centered, saturates slowly, needs no exp."""

    suited_initializer: ClassVar[Initializer] = GlorotUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return softsign(x)


@dataclass(frozen=True)
class HardSigmoid:
    """``clip(x + 3, 0, 6) / 6``: a sigmoid of straight lines, exactly flat beyond 3."""

    suited_initializer: ClassVar[Initializer] = GlorotUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return hard_sigmoid(x)


@dataclass(frozen=True)
class HardTanh:
    """``clip(x, -1, 1)``: a tanh of straight lines, exactly flat beyond 1."""

    suited_initializer: ClassVar[Initializer] = GlorotUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return hard_tanh(x)


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
class HardSwish:
    """``x * clip(x + 3, 0, 6) / 6``: near SiLU, without exp; exactly 0 below -3."""

    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return hard_swish(x)


@dataclass(frozen=True)
class Mish:
    """``x * tanh(log(1 + exp(x)))``: near SiLU, and dearer."""

    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return mish(x)


@dataclass(frozen=True)
class Softplus:
    """``log(1 + exp(x))``, a smooth ReLU."""

    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return softplus(x)


@dataclass(frozen=True)
class Identity:
    """``x`` itself: layers joined by it are one linear layer, the plain model to compare with."""

    suited_initializer: ClassVar[Initializer] = GlorotUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return x


BY_NAME: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "prelu": PReLU,
    "elu": ELU,
    "selu": SELU,
    "gelu": GELU,
    "silu": SiLU,
    "mish": Mish,
    "softplus": Softplus,
    "tanh": Tanh,
    "softsign": Softsign,
    "sigmoid": Sigmoid,
    "relu6": ReLU6,
    "hard_swish": HardSwish,
    "hard_tanh": HardTanh,
    "hard_sigmoid": HardSigmoid,
    "identity": Identity,
}


def activation_names() -> list[str]:
    """Return the names :func:`activation` knows."""
    return list(BY_NAME)


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return a new activation layer by name; raise OptionError naming the nearest.

    >>> activation("relu")
    ReLU()
    """
    if not isinstance(name, str):
        raise OptionError(f"an activation is chosen by its name, such as 'relu', not by {name!r}.")
    key = name.lower().replace("-", "_")
    if key == "maxout":
        raise OptionError(
            "maxout has weights of its own: write nn.Maxout(inputs, outputs) in place of Linear "
            "and activation."
        )
    if key not in BY_NAME:
        raise OptionError(f"unknown activation {name!r}. {did_you_mean(key, BY_NAME)}")
    return BY_NAME[key]()
