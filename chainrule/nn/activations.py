"""Activation functions as layers; without them any stack of layers is one linear function.

Each names an initializer that preserves the variance of its signals, which
:class:`~chainrule.nn.layer.Sequential` uses for the Linear before it.

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
    """``max(0, x)``: cheap, does not saturate for x > 0; a unit that is never positive is dead."""

    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return relu(x)


@dataclass(frozen=True)
class ReLU6:
    """``min(max(0, x), 6)``: a ReLU with bounded outputs, which saturates on both sides."""

    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return relu6(x)


@dataclass(frozen=True)
class LeakyReLU:
    """``x`` where positive, else ``slope * x``: a ReLU whose units do not die.

    Raises OptionError for a slope that is not a finite number.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        in_range(self, "slope", -math.inf, math.inf, open_low=True)

    @property
    def suited_initializer(self) -> Initializer:
        """The He initializer for this slope."""
        return HeUniform(self.slope)

    def __call__(self, x: Tensor) -> Tensor:
        return leaky_relu(x, self.slope)


@dataclass(eq=False)
class PReLU:
    """``x`` where positive, else ``slope * x`` with a learned slope.

    All units share one slope, or with `units` each has its own; slopes start at `start`.
    x: (n, ..., units).  Penalties do not apply to slopes: at 0 they would make a plain ReLU.
    Raises OptionError for invalid options, and ShapeError if x has another width.
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
        """The He initializer for the initial slope."""
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
    """``x`` where positive, else ``alpha * (exp(x) - 1)``: its mean is near 0; it needs an exp.

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
    """``1.0507 * elu(x, 1.6733)``: keeps means near 0 and variances near 1 by itself."""

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
    """``clip(x + 3, 0, 6) / 6``: a piecewise linear sigmoid, constant for |x| > 3."""

    suited_initializer: ClassVar[Initializer] = GlorotUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return hard_sigmoid(x)


@dataclass(frozen=True)
class HardTanh:
    """``clip(x, -1, 1)``: a piecewise linear tanh, constant for |x| > 1."""

    suited_initializer: ClassVar[Initializer] = GlorotUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return hard_tanh(x)


@dataclass(frozen=True)
class GELU:
    """``x`` times the standard normal CDF at x, or its tanh approximation."""

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
    """``x * clip(x + 3, 0, 6) / 6``: approximates SiLU without exp; exactly 0 below -3."""

    suited_initializer: ClassVar[Initializer] = HeUniform()

    def __call__(self, x: Tensor) -> Tensor:
        return hard_swish(x)


@dataclass(frozen=True)
class Mish:
    """``x * tanh(log(1 + exp(x)))``: similar to SiLU, at a higher cost."""

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
    """``x`` itself: layers separated by it form one linear layer, a baseline to compare with."""

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
    """Return the names that :func:`activation` accepts."""
    return list(BY_NAME)


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return a new activation layer by name; raise OptionError for an unknown name.

    >>> activation("relu")
    ReLU()
    """
    if not isinstance(name, str):
        raise OptionError(f"an activation must be given by name, such as 'relu', not {name!r}.")
    key = name.lower().replace("-", "_")
    if key == "maxout":
        raise OptionError(
            "maxout has weights of its own: write nn.Maxout(inputs, outputs) in place of a "
            "Linear and its activation."
        )
    if key not in BY_NAME:
        raise OptionError(f"unknown activation {name!r}. {did_you_mean(key, BY_NAME)}")
    return BY_NAME[key]()
