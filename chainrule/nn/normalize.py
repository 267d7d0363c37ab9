"""Normalization layers, which keep the mean and variance of activations fixed.

Batch normalization normalizes a column over the rows of the batch, layer normalization a row
over its columns.

Read next: :mod:`chainrule.nn.residual`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from chainrule.core.errors import ShapeError
from chainrule.core.options import check_whole, float_dtype, in_range
from chainrule.core.parameter import Parameter
from chainrule.core.primitive import lookup
from chainrule.core.tensor import Tensor, record
from chainrule.nn.initializers import Constant, Zeros
from chainrule.ops.arithmetic import maximum
from chainrule.ops.composite import square
from chainrule.ops.elementary import sqrt
from chainrule.ops.reduce import mean
from chainrule.ops.training import by_mode, updating

__all__ = ["BatchNorm", "LayerNorm", "RMSNorm"]


def _check_width(owner: BatchNorm | LayerNorm | RMSNorm) -> None:
    owner.features = check_whole(f"{type(owner).__name__}: features", owner.features)
    owner.dtype = float_dtype(f"{type(owner).__name__}: dtype", owner.dtype)
    in_range(owner, "epsilon", 0.0, math.inf, open_low=True)


def _check_input(owner: BatchNorm | LayerNorm | RMSNorm, x: Tensor) -> None:
    if x.ndim < 2 or x.shape[-1] != owner.features:
        raise ShapeError(
            f"{type(owner).__name__}({owner.features}) needs rows of {owner.features} features on "
            f"the last axis, but got shape {x.shape}."
        )


def _parameter(
    owner: BatchNorm | LayerNorm | RMSNorm, start: Callable[..., object], name: str
) -> Parameter:
    return Parameter(owner.features, start, owner.dtype, name)  # type: ignore[arg-type]


@dataclass(eq=False)
class BatchNorm:
    """Normalize each feature over the batch: ``scale * (x - mean) / sqrt(var + epsilon) + shift``.

    Training uses the mean and variance of the batch, and keeps running averages,
    ``running = (1 - momentum) * running + momentum * batch`` (with the unbiased variance), which
    prediction uses.  x: (n, ..., features); scale and shift, (features,), start at 1 and 0.
    A batch of one row has variance 0: its values become the shift.  Raises OptionError for sizes
    that are not positive integers or numbers out of range, and ShapeError for an input of
    another width.

    Source: Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift", 2015.

    >>> import chainrule as cr
    >>> BatchNorm(1, epsilon=1.0)(cr.tensor([[2.0]]))  # predicts: running mean 0, variance 1
    Tensor([[1.4142135]], f32[1,1])
    """

    keeps_scale: ClassVar[bool] = True
    features: int
    momentum: float = 0.1
    epsilon: float = 1e-5
    dtype: str = "float32"
    scale: Parameter = field(init=False, repr=False)
    shift: Parameter = field(init=False, repr=False)
    running_mean: Parameter = field(init=False, repr=False)
    running_var: Parameter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_width(self)
        in_range(self, "momentum", 0.0, 1.0, open_low=True)
        self.scale = _parameter(self, Constant(1.0), "scale")
        self.shift = _parameter(self, Zeros(), "shift")
        self.running_mean = _parameter(self, Zeros(), "running_mean")
        self.running_var = _parameter(self, Constant(1.0), "running_var")
        self.running_mean.trainable = self.running_var.trainable = False

    def __call__(self, x: Tensor) -> Tensor:
        _check_input(self, x)
        axes = tuple(range(x.ndim - 1))
        center = mean(x, axes)
        apart = x - center
        spread = mean(square(apart), axes)
        rows = record(lookup("count"), lengths=x.shape[:-1], dtype=self.dtype)
        unbiased = spread * (rows / maximum(rows - 1.0, 1.0))
        kept, m = 1.0 - self.momentum, self.momentum
        trained = apart / sqrt(spread + self.epsilon) * self.scale + self.shift
        trained = updating(trained, self.running_mean, kept * self.running_mean + m * center)
        trained = updating(trained, self.running_var, kept * self.running_var + m * unbiased)
        factor = self.scale / sqrt(self.running_var + self.epsilon)
        return by_mode(trained, (x - self.running_mean) * factor + self.shift)


@dataclass(eq=False)
class LayerNorm:
    """Normalize each row over its features: ``scale * (x - mean) / sqrt(var + epsilon) + shift``.

    It is the same in training and prediction, whatever the batch.  x: (n, ..., features); scale
    and shift, (features,), start at 1 and 0.  Raises as :class:`BatchNorm` does.

    Source: Ba, Kiros and Hinton, "Layer normalization", 2016.

    >>> import chainrule as cr
    >>> LayerNorm(2)(cr.tensor([[1.0, 3.0]]))
    Tensor([[-0.999995,  0.999995]], f32[1,2])
    """

    keeps_scale: ClassVar[bool] = True
    features: int
    epsilon: float = 1e-5
    dtype: str = "float32"
    scale: Parameter = field(init=False, repr=False)
    shift: Parameter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_width(self)
        self.scale = _parameter(self, Constant(1.0), "scale")
        self.shift = _parameter(self, Zeros(), "shift")

    def __call__(self, x: Tensor) -> Tensor:
        _check_input(self, x)
        apart = x - mean(x, -1, keepdims=True)
        spread = mean(square(apart), -1, keepdims=True)
        return apart / sqrt(spread + self.epsilon) * self.scale + self.shift


@dataclass(eq=False)
class RMSNorm:
    """Divide each row by its root mean square: ``scale * x / sqrt(mean(x²) + epsilon)``.

    It is :class:`LayerNorm` without the mean and the shift, at less cost.  x: (n, ..., features);
    scale, (features,), starts at 1.  Raises as :class:`BatchNorm` does.

    Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.

    >>> import chainrule as cr
    >>> RMSNorm(2, epsilon=0.5)(cr.tensor([[0.0, 1.0]]))
    Tensor([[0., 1.]], f32[1,2])
    """

    keeps_scale: ClassVar[bool] = True
    features: int
    epsilon: float = 1e-5
    dtype: str = "float32"
    scale: Parameter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_width(self)
        self.scale = _parameter(self, Constant(1.0), "scale")

    def __call__(self, x: Tensor) -> Tensor:
        _check_input(self, x)
        return x / sqrt(mean(square(x), -1, keepdims=True) + self.epsilon) * self.scale


# The normalizations that a network for tables can use in its hidden layers, by name.
NORMS: dict[str, Callable[[int], Callable[[Tensor], Tensor]]] = {
    "batch": BatchNorm,
    "layer": LayerNorm,
    "rms": RMSNorm,
}
