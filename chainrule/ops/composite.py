"""Operations composed of primitives, in forms that do not overflow.

They do not need gradient rules of their own, and run wherever the primitives do.

Read next: :mod:`chainrule.transform.grad`.
"""

from __future__ import annotations

import math

from chainrule.core.errors import OptionError
from chainrule.core.tensor import Tensor, TensorLike, as_tensor, root
from chainrule.ops.arithmetic import abs, maximum, minimum, relu, sign, stop_gradient, where
from chainrule.ops.elementary import erf, exp, expm1, log, log1p, sigmoid, tanh
from chainrule.ops.reduce import Axis

__all__ = [
    "all",
    "any",
    "argmin",
    "clip",
    "elu",
    "gelu",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "log_softmax",
    "logsumexp",
    "min",
    "mish",
    "norm",
    "relu6",
    "selu",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "square",
    "std",
    "var",
]

# With these constants, normal inputs of mean 0 and variance 1 give outputs of the same moments.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


def square(x: TensorLike) -> Tensor:
    """Return ``x * x``."""
    x = as_tensor(x)
    return x * x


def relu6(x: TensorLike) -> Tensor:
    """Return ``min(max(0, x), 6)``; its derivative at 0 and at 6 is 0."""
    return _limited(x, 0.0, 6.0)


def leaky_relu(x: TensorLike, slope: TensorLike = 0.01) -> Tensor:
    """Return ``x`` where positive, else ``slope * x``; `slope` may be a tensor, to be learned."""
    x = as_tensor(x)
    return where(x > 0, x, slope * x)


def elu(x: TensorLike, alpha: float = 1.0) -> Tensor:
    """Return ``x`` where positive, else ``alpha * (exp(x) - 1)``."""
    x = as_tensor(x)
    positive = x > 0
    # expm1 receives no positive number, so the branch not taken can't overflow into the gradient.
    return where(positive, x, alpha * expm1(where(positive, 0.0, x)))


def selu(x: TensorLike) -> Tensor:
    """Return ``SELU_SCALE * elu(x, SELU_ALPHA)``, which keeps outputs near mean 0, variance 1.

    Source: Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", 2017.
    """
    return SELU_SCALE * elu(x, SELU_ALPHA)


def silu(x: TensorLike) -> Tensor:
    """Return ``x * sigmoid(x)``, also called swish."""
    return as_tensor(x) * sigmoid(x)


def mish(x: TensorLike) -> Tensor:
    """Return ``x * tanh(softplus(x))``.

    Source: Misra, "Mish: a self regularized non-monotonic activation function", 2019.
    """
    return as_tensor(x) * tanh(softplus(x))


def softsign(x: TensorLike) -> Tensor:
    """Return ``x / (1 + |x|)``, in [-1, 1].

    >>> softsign([-3.0, 0.0, 1.0])
    Tensor([-0.75,  0.  ,  0.5 ], f32[3])
    """
    x = as_tensor(x)
    r = 1 / (1 + abs(x))
    # Far from 0 the slope r² would be r - |x| r², a difference of nearly equal numbers.
    return where(abs(x) < 1, x * r, sign(x) * (1 - r))


def hard_sigmoid(x: TensorLike) -> Tensor:
    """Return ``clip(x + 3, 0, 6) / 6``, a piecewise linear sigmoid; its ends have slope 0."""
    return _limited(as_tensor(x) + 3, 0.0, 6.0) / 6


def hard_tanh(x: TensorLike) -> Tensor:
    """Return ``clip(x, -1, 1)``; its derivative at -1 and at 1 is 0."""
    return _limited(x, -1.0, 1.0)


def hard_swish(x: TensorLike) -> Tensor:
    """Return ``x * hard_sigmoid(x)``, an approximation of ``silu(x)`` without exp.

    Source: Howard et al., "Searching for MobileNetV3", 2019.
    """
    return as_tensor(x) * hard_sigmoid(x)


def gelu(x: TensorLike, approximate: bool = False) -> Tensor:
    """Return ``x`` times the normal distribution function at ``x``, or its tanh approximation.

    Source: Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    """
    x = as_tensor(x)
    if approximate:
        # Beyond 10 the tanh is 1 to the last digit, and the cube of a huge x would overflow.
        near = clip(x, -10.0, 10.0)
        cubic = near + 0.044715 * near * near * near
        return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * cubic))
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


def softplus(x: TensorLike) -> Tensor:
    """Return ``log(1 + exp(x))`` without overflow.

    >>> softplus([-1000.0, 1000.0])
    Tensor([   0., 1000.], f32[2])
    """
    x = as_tensor(x)
    return relu(x) + log1p(exp(minus_abs(x)))


def minus_abs(x: Tensor) -> Tensor:
    """Return ``-|x|`` with slope 1 at 0, which gives :func:`softplus` its slope 1/2 there."""
    return where(x > 0, -x, x)


def _limited(x: TensorLike, low: float, high: float) -> Tensor:
    """Return ``clip(x, low, high)`` with slope 0 at both ends, for saturating activations."""
    x = as_tensor(x)
    return where((x > low) & (x < high), x, stop_gradient(clip(x, low, high)))


def clip(x: TensorLike, low: TensorLike | None, high: TensorLike | None) -> Tensor:
    """Return `x` limited to [low, high]; None means no limit.

    The gradient is 0 outside, and half at a limit, where `x` and the limit tie: see
    :func:`~chainrule.ops.arithmetic.maximum`.  Raises OptionError for numbers with
    ``low > high``.

    >>> clip([-1.0, 0.5, 3.0], 0.0, 1.0)
    Tensor([0. , 0.5, 1. ], f32[3])
    """
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and low > high:
        raise OptionError(f"clip: low={low} is above high={high}.")
    limited = as_tensor(x) if low is None else maximum(x, low)
    return limited if high is None else minimum(limited, high)


def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the smallest element over `axis`; elements that tie share the gradient equally.

    Raises ShapeError when there is no element to take.

    >>> min([[3.0, 1.0], [2.0, 5.0]], axis=1)
    Tensor([1., 2.], f32[2])
    """
    return as_tensor(x).min(axis, keepdims)


def any(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return whether any element over `axis` is not 0.

    >>> any([[False, True], [False, False]], axis=1)
    Tensor([ True, False], bool[2])
    """
    return as_tensor(x).any(axis, keepdims)


def all(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return whether no element over `axis` is 0.

    >>> all([[False, True], [True, True]], axis=1)
    Tensor([False,  True], bool[2])
    """
    return as_tensor(x).all(axis, keepdims)


def argmin(x: TensorLike, axis: int | None = None) -> Tensor:
    """Return the int64 index of the (first) smallest element along `axis`, or in the flat tensor.

    >>> argmin([3.0, 1.0, 2.0])
    Tensor(1, i64[])
    """
    return as_tensor(x).argmin(axis)


def var(x: TensorLike, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """Return the variance over `axis`: ``sum((x - mean(x))²) / (count - ddof)``.

    >>> var([1.0, 2.0, 3.0], ddof=1)
    Tensor(1., f32[])
    """
    return as_tensor(x).var(axis, keepdims, ddof=ddof)


def std(x: TensorLike, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """Return the standard deviation over `axis`, the square root of :func:`var`.

    Its gradient where all elements are equal is taken as 0.

    >>> std([1.0, 3.0])
    Tensor(1., f32[])
    """
    return as_tensor(x).std(axis, keepdims, ddof=ddof)


def norm(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the Euclidean norm over `axis`; its gradient at 0 is taken as 0, as in PyTorch."""
    return root(square(x).sum(axis, keepdims))


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
    """Return ``x`` minus its maximum over `axis`; gradients treat the maximum as a constant."""
    x = as_tensor(x)
    return x - stop_gradient(x.max(axis, keepdims=True))


def softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """Return ``exp(x) / sum(exp(x))`` over `axis`: positive numbers that sum to 1.

    >>> softmax([1000.0, 1000.0])
    Tensor([0.5, 0.5], f32[2])
    """
    unnormalized = exp(from_peak(x, axis))
    return unnormalized / unnormalized.sum(axis, keepdims=True)


# Functions of one number that the formulas of `explain` may use besides the primitives.
OF_ONE_NUMBER = (
    elu, gelu, hard_sigmoid, hard_swish, hard_tanh, leaky_relu, mish, relu6, selu, silu, softplus,
    softsign, square,
)  # fmt: skip
