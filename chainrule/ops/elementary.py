"""Elementwise elementary functions: exp, log, sqrt, sin, tanh, sigmoid, erf and others.

In a gradient rule `g` is the gradient of the output, `out` the output and `x` the input.

Read next: :mod:`chainrule.ops.compare`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.core.primitive import Description
from chainrule.core.tensor import Tensor, TensorLike, record
from chainrule.ops.declare import unary

__all__ = [
    "arctan",
    "cos",
    "erf",
    "exp",
    "expm1",
    "log",
    "log1p",
    "log2",
    "sigmoid",
    "sin",
    "sqrt",
    "tan",
    "tanh",
]

TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)

EXP = unary(
    "exp",
    np.exp,
    lambda g, out, x: (g * out,),
    lambda b, x: b.math("exp", x),
    (-2, 2),
    "Exp",
    increasing=True,
    description=Description("exp(a)", ("out",), "the slope of exp is exp itself"),
)


def exp(x: TensorLike) -> Tensor:
    """Return ``e ** x``.

    >>> exp(0.0)
    Tensor(1., f32[])
    """
    return record(EXP, x)


EXPM1 = unary(
    "expm1",
    np.expm1,
    lambda g, out, x: (g * exp(x),),
    lambda b, x: b.math("expm1", x),
    (-2, 2),
    increasing=True,
    description=Description(
        "exp(a) - 1",
        ("exp(a)",),
        "the slope of exp is exp itself",
    ),
)


def expm1(x: TensorLike) -> Tensor:
    """Return ``e ** x - 1``, accurate near 0."""
    return record(EXPM1, x)


def _log_undefined(edge: float) -> Callable[[float], str]:
    """Return the `undefined` function of a logarithm whose argument is zero at input `edge`."""
    words = "the logarithm of zero", "the logarithm of a negative number"
    return lambda x: words[x < edge] if x <= edge else ""


LOG = unary(
    "log",
    np.log,
    lambda g, out, x: (g / x,),
    lambda b, x: b.math("log", x),
    (0.5, 3),
    "Log",
    undefined=_log_undefined(0),
    description=Description("log(a)", ("1 / a",), "the slope of log is one over its argument"),
)


def log(x: TensorLike) -> Tensor:
    """Return the natural logarithm of `x`."""
    return record(LOG, x)


LOG1P = unary(
    "log1p",
    np.log1p,
    lambda g, out, x: (g / (1 + x),),
    lambda b, x: b.math("log1p", x),
    (-0.5, 2),
    undefined=_log_undefined(-1),
    description=Description(
        "log(1 + a)",
        ("1 / (1 + a)",),
        "the slope of log is one over its argument",
    ),
)


def log1p(x: TensorLike) -> Tensor:
    """Return ``log(1 + x)``, accurate near 0."""
    return record(LOG1P, x)


LOG2 = unary(
    "log2", np.log2, lambda g, out, x: (g / (math.log(2) * x),),
    lambda b, x: b.mul(b.math("log", x), b.constant(1 / math.log(2))), (0.5, 3),
    undefined=_log_undefined(0),
    description=Description(
        "log2(a)", ("1 / (a * log(2))",), "the slope of log2 is 1/log(2) over its argument"
    ),
)  # fmt: skip


def log2(x: TensorLike) -> Tensor:
    """Return the logarithm of `x` to base 2.

    >>> log2([0.5, 1.0, 8.0])
    Tensor([-1.,  0.,  3.], f32[3])
    """
    return record(LOG2, x)


SQRT = unary(
    "sqrt", np.sqrt, lambda g, out, x: (g * 0.5 / out,),
    lambda b, x: b.math("sqrt", x), (0.5, 3), "Sqrt",
    undefined=lambda x: "the square root of a negative number" if x < 0 else "",
    increasing=True,
    description=Description(
        "sqrt(a)", ("1 / (2 * out)",),
        "the slope of a root is one over twice the root",
    ),
)  # fmt: skip


def sqrt(x: TensorLike) -> Tensor:
    """Return the square root of `x`."""
    return record(SQRT, x)


SIN = unary(
    "sin",
    np.sin,
    lambda g, out, x: (g * cos(x),),
    lambda b, x: b.math("sin", x),
    (-3, 3),
    "Sin",
    description=Description("sin(a)", ("cos(a)",), "the slope of sin is cos"),
)


def sin(x: TensorLike) -> Tensor:
    """Return the sine of `x`, in radians."""
    return record(SIN, x)


COS = unary(
    "cos",
    np.cos,
    lambda g, out, x: (-g * sin(x),),
    lambda b, x: b.math("cos", x),
    (-3, 3),
    "Cos",
    description=Description("cos(a)", ("-sin(a)",), "the slope of cos is -sin"),
)


def cos(x: TensorLike) -> Tensor:
    """Return the cosine of `x`, in radians."""
    return record(COS, x)


TAN = unary(
    "tan", np.tan, lambda g, out, x: (g * (1 + out * out),),
    lambda b, x: b.div(b.math("sin", x), b.math("cos", x)), (-1, 1), "Tan",
    description=Description("tan(a)", ("1 + out**2",), "the slope of tan is 1 + tan²"),
)  # fmt: skip


def tan(x: TensorLike) -> Tensor:
    """Return the tangent of `x`, in radians.

    >>> tan(0.0)
    Tensor(0., f32[])
    """
    return record(TAN, x)


ARCTAN = unary(
    "arctan", np.arctan, lambda g, out, x: (g / (1 + x * x),),
    lambda b, x: b.math("arctan", x), (-3, 3), "Atan",
    increasing=True,
    description=Description(
        "arctan(a)", ("1 / (1 + a**2)",),
        "the slope of arctan is one over one plus the square of its argument",
    ),
)  # fmt: skip


def arctan(x: TensorLike) -> Tensor:
    """Return the angle in (-pi/2, pi/2) whose tangent is `x`."""
    return record(ARCTAN, x)


TANH = unary(
    "tanh", np.tanh, lambda g, out, x: (g * (1 - out * out),),
    lambda b, x: b.math("tanh", x), (-2, 2), "Tanh",
    increasing=True,
    description=Description(
        "tanh(a)", ("1 - out**2",),
        "the slope of tanh is 1 - tanh², near 0 where it saturates",
    ),
)  # fmt: skip


def tanh(x: TensorLike) -> Tensor:
    """Return the hyperbolic tangent of `x`, in [-1, 1]."""
    return record(TANH, x)


def _stable_sigmoid(x: Any) -> Any:
    # exp of a non-positive number never overflows.
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


SIGMOID = unary(
    "sigmoid", _stable_sigmoid, lambda g, out, x: (g * out * (1 - out),),
    lambda b, x: b.math("sigmoid", x), (-3, 3), "Sigmoid",
    increasing=True,
    description=Description(
        "sigmoid(a)", ("out * (1 - out)",),
        "the slope of sigmoid is sigmoid · (1 - sigmoid), near 0 where it saturates",
    ),
)  # fmt: skip


def sigmoid(x: TensorLike) -> Tensor:
    """Return the logistic function ``1 / (1 + exp(-x))``, in [0, 1], without overflow.

    >>> sigmoid([-1000.0, 0.0, 1000.0])
    Tensor([0. , 0.5, 1. ], f32[3])
    """
    return record(SIGMOID, x)


_erf_elements = np.frompyfunc(math.erf, 1, 1)
ERF = unary(
    "erf", lambda x: np.asarray(_erf_elements(x)).astype(x.dtype),
    lambda g, out, x: (g * TWO_OVER_SQRT_PI * exp(-x * x),),
    lambda b, x: b.math("erf", x), (-2, 2), "Erf",
    increasing=True,
    description=Description(
        "erf(a)", ("2 / sqrt(pi) * exp(-a**2)",),
        "the slope of erf is a bell curve, 2/√π at 0",
    ),
)  # fmt: skip


def erf(x: TensorLike) -> Tensor:
    """Return the error function of `x`."""
    return record(ERF, x)
