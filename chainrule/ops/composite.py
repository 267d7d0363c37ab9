"""Operations written with other operations, in forms that do not overflow.

Anything expressible this way belongs here, needs no gradient rule of its own,
and runs everywhere the primitives do.

Read next: :mod:`chainrule.transform.grad`.
"""

from __future__ import annotations

import math

from chainrule.core.errors import OptionError
from chainrule.core.tensor import Tensor, TensorLike, as_tensor
from chainrule.ops.elementwise import (
    abs,
    erf,
    exp,
    expm1,
    log,
    log1p,
    maximum,
    minimum,
    sigmoid,
    sqrt,
    stop_gradient,
    tanh,
    where,
)
from chainrule.ops.reduce import Axis, mean

__all__ = [
    "clip", "elu", "from_peak", "gelu", "leaky_relu", "log_softmax", "logsumexp", "min", "norm",
    "relu", "silu",
    "softmax", "softplus", "square", "std", "var",
]  # fmt: skip


def square(x: TensorLike) -> Tensor:
    """Return ``x * x``."""
    x = as_tensor(x)
    return x * x


def relu(x: TensorLike) -> Tensor:
    """Return ``max(0, x)``; its derivative at 0 is 0.

    >>> relu([-1.0, 2.0])
    Tensor([0., 2.], f32[2])
    """
    return maximum(x, 0.0)


def leaky_relu(x: TensorLike, slope: float = 0.01) -> Tensor:
    """Return ``x`` where positive, else ``slope * x``."""
    x = as_tensor(x)
    return where(x > 0, x, slope * x)


def elu(x: TensorLike, alpha: float = 1.0) -> Tensor:
    """Return ``x`` where positive, else ``alpha * (exp(x) - 1)``."""
    x = as_tensor(x)
    # expm1 sees no positive number, so the branch not taken can't overflow into the gradient.
    # On a tie minimum sends the gradient to its second input: the slope at 0 is alpha.
    return where(x > 0, x, alpha * expm1(minimum(0.0, x)))


def silu(x: TensorLike) -> Tensor:
    """Return ``x * sigmoid(x)``."""
    return as_tensor(x) * sigmoid(x)


def gelu(x: TensorLike, approximate: bool = False) -> Tensor:
    """Return ``x`` times the normal distribution function at ``x``, or its tanh approximation.

    Source: Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    """
    x = as_tensor(x)
    if approximate:
        return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


def softplus(x: TensorLike) -> Tensor:
    """Return ``log(1 + exp(x))`` without overflow.

    >>> softplus([-1000.0, 1000.0])
    Tensor([   0., 1000.], f32[2])
    """
    x = as_tensor(x)
    # min(-x, x) is -|x| whose slope at 0 is 1, not 0: there softplus has slope 1/2.
    return maximum(x, 0.0) + log1p(exp(minimum(-x, x)))


def clip(x: TensorLike, low: float, high: float) -> Tensor:
    """Return `x` limited to [low, high]; outside, the gradient is 0."""
    if low > high:
        raise OptionError(f"clip: low={low} is above high={high}.")
    return minimum(maximum(x, low), high)


def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the smallest element over `axis`."""
    return -((-as_tensor(x)).max(axis, keepdims))


def var(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the variance over `axis`: the mean squared distance from the mean."""
    x = as_tensor(x)
    return mean(square(x - mean(x, axis, keepdims=True)), axis, keepdims)


def std(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the standard deviation over `axis`, the square root of :func:`var`."""
    return sqrt(var(x, axis, keepdims))


def norm(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the Euclidean length over `axis`."""
    return sqrt(square(x).sum(axis, keepdims))


def logsumexp(x: TensorLike, axis: int = -1, keepdims: bool = False) -> Tensor:
    """Return ``log(sum(exp(x)))`` over `axis` without overflow.

    >>> round(float(logsumexp([1000.0, 1000.0])), 3)
    1000.693
    """
    x = as_tensor(x)
    peak = stop_gradient(x.max(axis, keepdims=True))
    # All of -inf would give inf - inf; an infinite peak is replaced by 0.
    peak = where(abs(peak) == math.inf, 0.0, peak)
    total = log(exp(x - peak).sum(axis, keepdims=True)) + peak
    return total if keepdims else total.sum(axis)


def log_softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """Return the logarithm of :func:`softmax`, ``x - logsumexp(x)``."""
    shifted = from_peak(x, axis)
    return shifted - log(exp(shifted).sum(axis, keepdims=True))


def from_peak(x: TensorLike, axis: int = -1) -> Tensor:
    """Return ``x`` less its largest element over `axis`, a constant as far as gradients go."""
    x = as_tensor(x)
    return x - stop_gradient(x.max(axis, keepdims=True))


def softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """Return ``exp(x) / sum(exp(x))`` over `axis`: positive numbers that sum to 1.

    >>> softmax([1000.0, 1000.0])
    Tensor([0.5, 0.5], f32[2])
    """
    unnormalized = exp(from_peak(x, axis))
    return unnormalized / unnormalized.sum(axis, keepdims=True)
