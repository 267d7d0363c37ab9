"""Elementwise operations: one result per element, inputs broadcast as in NumPy.

Each record reads as mathematics: in a gradient rule `g` is the gradient of
the output, `out` the output, and the inputs have their usual names.

Read next: :mod:`chainrule.ops.compare`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from chainrule.core.errors import DTypeError
from chainrule.core.primitive import Description, Primitive, register
from chainrule.core.spec import Spec, as_dtype, broadcast_shapes, is_float
from chainrule.core.tensor import Tensor, TensorLike, as_tensor, record
from chainrule.ops.declare import binary, drawn, drawn_apart, no_booleans, same_dtype, unary

__all__ = [
    "abs", "add", "arctan", "cast", "cos", "div", "erf", "exp", "expm1", "floor", "log", "log1p",
    "log2", "maximum", "minimum", "mul", "neg", "pow", "relu", "sigmoid", "sign", "sin", "sqrt",
    "stop_gradient", "sub", "tan", "tanh", "where",
]  # fmt: skip

TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)


# --- arithmetic -------------------------------------------------------------------------------

ADD = binary(
    "add", np.add, lambda g, out, x, y: (g, g),
    lambda b, x, y: b.add(x, y), drawn(-2, 2, 2), "Add",
    description=Description(
        "a + b", ("1", "1"),
        "a sum hands the gradient on to each term as it is",
    ),
)  # fmt: skip
SUB = binary(
    "sub", np.subtract, lambda g, out, x, y: (g, -g),
    lambda b, x, y: b.sub(x, y), drawn(-2, 2, 2), "Sub", infer=no_booleans,
    description=Description(
        "a - b", ("1", "-1"),
        "a difference hands the gradient on as it is to what stands first",
        "what is subtracted receives the gradient with its sign turned",
    ),
)  # fmt: skip
MUL = binary(
    "mul", np.multiply, lambda g, out, x, y: (g * y, g * x),
    lambda b, x, y: b.mul(x, y), drawn(-2, 2, 2), "Mul",
    description=Description(
        "a * b", ("b", "a"),
        "each factor receives the gradient times the other factor",
    ),
)  # fmt: skip
DIV = binary(
    "div", np.true_divide, lambda g, out, x, y: (g / y, -g * out / y),
    lambda b, x, y: b.div(x, y), drawn(0.5, 2, 2), "Div", floating=True,
    description=Description(
        "a / b", ("1 / b", "-a / b**2"),
        "the numerator receives the gradient divided by the denominator",
        "the denominator receives the gradient times minus the quotient over the denominator",
    ),
)  # fmt: skip


def _pow_vjp(g: Tensor, out: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    # x**0 is constant even at x = 0, where y * x**(y - 1) would be 0 * inf; and log(x) is only
    # needed, and only defined, for positive x.
    slope = where(y == 0, 0.0, y * x ** where(y == 0, 1.0, y - 1))
    return g * slope, g * out * log(where(x > 0, x, 1.0))


POW = binary(
    "pow", np.power, _pow_vjp,
    lambda b, x, y: b.pow(x, y), drawn(0.5, 2, 2), "Pow", floating=True,
    description=Description(
        "a**b", ("b * a**(b - 1)", "a**b * log(a)"),
        "the exponent comes down as a factor, and is one less",
        "to its exponent, the slope of a power is the power itself times log of the base",
    ),
)  # fmt: skip


def _shared(g: Tensor, tie: Tensor, *lost: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of a choice of one of two: all to the chosen, on a tie half to each."""
    given = where(tie, 0.5 * g, g)
    return tuple(where(out, 0.0, given) for out in lost)


MAXIMUM = binary(
    "maximum", np.maximum, lambda g, out, x, y: _shared(g, x == y, x < y, y < x),
    lambda b, x, y: b.select(b.either(b.less(y, x), b.math("is_nan", x)), x, y), drawn_apart, "Max",
    description=Description(
        "max(a, b)",
        ("1 if a > b else 1/2 if a == b else 0", "0 if a > b else 1/2 if a == b else 1"),
        "the larger one receives the whole gradient, the other nothing; equal ones half each",
    ),
)  # fmt: skip
MINIMUM = binary(
    "minimum", np.minimum, lambda g, out, x, y: _shared(g, x == y, y < x, x < y),
    lambda b, x, y: b.select(b.either(b.less(x, y), b.math("is_nan", x)), x, y), drawn_apart, "Min",
    description=Description(
        "min(a, b)",
        ("1 if a < b else 1/2 if a == b else 0", "0 if a < b else 1/2 if a == b else 1"),
        "the smaller one receives the whole gradient, the other nothing; equal ones half each",
    ),
)  # fmt: skip

# --- selection ------------------------------------------------------------------------------------


def _where_infer(condition: Spec, x: Spec, y: Spec) -> Spec:
    if condition.dtype != np.bool_:
        raise DTypeError(f"the condition must be boolean, not {condition}.")
    return Spec(broadcast_shapes([condition.shape, x.shape, y.shape]), x.dtype)


WHERE = register(
    Primitive(
        "where", infer=_where_infer, meaning=np.where, elementwise=True, promote=(1, 2),
        vjp=lambda g, out, c, x, y: (None, where(c, g, 0.0), where(c, 0.0, g)),
        scalar=lambda b, c, x, y: b.select(c, x, y),
        domain=lambda rng: (
            [rng.random((3, 4)) < 0.5, rng.normal(size=(3, 4)), rng.normal(size=4)], {}
        ),
        onnx="Where",
        description=Description(
            "b if a else c", ("", "1 if a else 0", "0 if a else 1"),
            "the branch that is taken receives the whole gradient, the other nothing, whatever "
            "it is",
        ),
    )
)  # fmt: skip

# --- functions of one variable ------------------------------------------------------------------

NEG = unary(
    "neg", np.negative, lambda g, out, x: (-g,),
    lambda b, x: b.negate(x), (-2, 2), "Neg", infer=no_booleans, floating=False,
    description=Description("-a", ("-1",), "the gradient turns its sign"),
)  # fmt: skip
ABS = unary(
    "abs", np.abs, lambda g, out, x: (g * sign(x),),
    lambda b, x: b.math("abs", x), (-2, 2), "Abs", floating=False,
    description=Description(
        "abs(a)", ("sign(a)",),
        "the gradient turns its sign where the number did; at 0, where the slope jumps from "
        "-1 to 1, it is taken as 0",
    ),
)  # fmt: skip
RELU = unary(
    "relu", lambda x: np.maximum(x, x.dtype.type(0)),
    lambda g, out, x: (where(out > 0, g, 0.0),),
    lambda b, x: b.select(b.less_equal(x, b.constant(0)), b.constant(0), x),
    (-2, 2), "Relu", infer=no_booleans, floating=False,
    description=Description(
        "relu(a)", ("1 if a > 0 else 0",),
        "what is positive passes the gradient on, the rest stops it; at 0, where the slope "
        "jumps from 0 to 1, it is taken as 0",
    ),
)  # fmt: skip
SIGN = unary(
    "sign", np.sign, lambda g, out, x: (None,),
    lambda b, x: b.select(
        b.less(b.constant(0), x), b.constant(1),
        b.select(b.less(x, b.constant(0)), b.constant(-1), x),
    ),
    (-2, 2), "Sign", infer=no_booleans, floating=False,
    description=Description("sign(a)", ("",), "a step is flat: nothing flows back"),
)  # fmt: skip
FLOOR = unary(
    "floor", np.floor, lambda g, out, x: (None,),
    lambda b, x: b.math("floor", x), (-2, 2), "Floor",
    description=Description("floor(a)", ("",), "steps are flat: nothing flows back"),
)  # fmt: skip
EXP = unary(
    "exp",
    np.exp,
    lambda g, out, x: (g * out,),
    lambda b, x: b.math("exp", x),
    (-2, 2),
    "Exp",
    description=Description("exp(a)", ("out",), "exp is its own slope"),
)
EXPM1 = unary(
    "expm1",
    np.expm1,
    lambda g, out, x: (g * exp(x),),
    lambda b, x: b.math("expm1", x),
    (-2, 2),
    description=Description(
        "exp(a) - 1",
        ("exp(a)",),
        "exp is its own slope, and a constant has none",
    ),
)
LOG = unary(
    "log",
    np.log,
    lambda g, out, x: (g / x,),
    lambda b, x: b.math("log", x),
    (0.5, 3),
    "Log",
    description=Description("log(a)", ("1 / a",), "the slope of log is one over its argument"),
)
LOG1P = unary(
    "log1p",
    np.log1p,
    lambda g, out, x: (g / (1 + x),),
    lambda b, x: b.math("log1p", x),
    (-0.5, 2),
    description=Description(
        "log(1 + a)",
        ("1 / (1 + a)",),
        "the slope of log is one over its argument",
    ),
)
LOG2 = unary(
    "log2", np.log2, lambda g, out, x: (g / (math.log(2) * x),),
    lambda b, x: b.mul(b.math("log", x), b.constant(1 / math.log(2))), (0.5, 3),
    description=Description(
        "log2(a)", ("1 / (a * log(2))",), "the slope of log2 is 1/log(2) over its argument"
    ),
)  # fmt: skip
SQRT = unary(
    "sqrt", np.sqrt, lambda g, out, x: (g * 0.5 / out,),
    lambda b, x: b.math("sqrt", x), (0.5, 3), "Sqrt",
    description=Description(
        "sqrt(a)", ("1 / (2 * out)",),
        "the slope of a root is one over twice the root",
    ),
)  # fmt: skip
SIN = unary(
    "sin",
    np.sin,
    lambda g, out, x: (g * cos(x),),
    lambda b, x: b.math("sin", x),
    (-3, 3),
    "Sin",
    description=Description("sin(a)", ("cos(a)",), "the slope of sin is cos"),
)
COS = unary(
    "cos",
    np.cos,
    lambda g, out, x: (-g * sin(x),),
    lambda b, x: b.math("cos", x),
    (-3, 3),
    "Cos",
    description=Description("cos(a)", ("-sin(a)",), "the slope of cos is -sin"),
)
TAN = unary(
    "tan", np.tan, lambda g, out, x: (g * (1 + out * out),),
    lambda b, x: b.div(b.math("sin", x), b.math("cos", x)), (-1, 1), "Tan",
    description=Description("tan(a)", ("1 + out**2",), "the slope of tan is 1 + tan²"),
)  # fmt: skip
ARCTAN = unary(
    "arctan", np.arctan, lambda g, out, x: (g / (1 + x * x),),
    lambda b, x: b.math("arctan", x), (-3, 3), "Atan",
    description=Description(
        "arctan(a)", ("1 / (1 + a**2)",),
        "the slope of arctan is one over one plus the square of its argument",
    ),
)  # fmt: skip
TANH = unary(
    "tanh", np.tanh, lambda g, out, x: (g * (1 - out * out),),
    lambda b, x: b.math("tanh", x), (-2, 2), "Tanh",
    description=Description(
        "tanh(a)", ("1 - out**2",),
        "the slope of tanh is 1 - tanh², near 0 where it saturates",
    ),
)  # fmt: skip


def _stable_sigmoid(x: Any) -> Any:
    # exp of a non-positive number never overflows, whichever side x is on.
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


SIGMOID = unary(
    "sigmoid", _stable_sigmoid, lambda g, out, x: (g * out * (1 - out),),
    lambda b, x: b.math("sigmoid", x), (-3, 3), "Sigmoid",
    description=Description(
        "sigmoid(a)", ("out * (1 - out)",),
        "the slope of sigmoid is sigmoid · (1 - sigmoid), near 0 where it saturates",
    ),
)  # fmt: skip

_erf_elements = np.frompyfunc(math.erf, 1, 1)
ERF = unary(
    "erf", lambda x: np.asarray(_erf_elements(x)).astype(x.dtype),
    lambda g, out, x: (g * TWO_OVER_SQRT_PI * exp(-x * x),),
    lambda b, x: b.math("erf", x), (-2, 2), "Erf",
    description=Description(
        "erf(a)", ("2 / sqrt(pi) * exp(-a**2)",),
        "the slope of erf is a bell curve, 2/√π at 0",
    ),
)  # fmt: skip
STOP_GRADIENT = register(
    Primitive(
        "stop_gradient", infer=same_dtype, meaning=np.asarray, elementwise=True, alias=True,
        scalar=lambda b, x: x, domain=drawn(-2, 2), onnx="Identity",
        description=Description(
            "stop_gradient(a)", ("",),
            "the gradient is stopped here on purpose",
        ),
    )
)  # fmt: skip
CAST = register(
    Primitive(
        "cast", infer=lambda x, dtype: Spec(x.shape, dtype), elementwise=True, onnx="Cast",
        meaning=lambda x, dtype: np.asarray(x).astype(dtype),
        vjp=lambda g, out, x, dtype: (g.astype(x.dtype) if is_float(x.dtype) else None,),
        scalar=lambda b, x, dtype: b.convert(x, dtype),
        domain=lambda rng: ([rng.normal(size=(3, 4))], {"dtype": "float64"}),
        description=Description("a", ("1",), "the same number in another dtype"),
    )
)  # fmt: skip


# --- the same, as functions ---------------------------------------------------------------------


def add(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x + y``."""
    return record(ADD, x, y)


def sub(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x - y``."""
    return record(SUB, x, y)


def mul(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x * y``."""
    return record(MUL, x, y)


def div(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x / y``; integers are divided as floats."""
    return record(DIV, x, y)


def pow(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x ** y``; its gradient to `y` is taken as 0 where x is not positive."""
    return record(POW, x, y)


def maximum(x: TensorLike, y: TensorLike) -> Tensor:
    """Return the larger of `x` and `y`; on a tie each gets half the gradient, NaN is passed on.

    >>> maximum([-1.0, 2.0], 0.0)
    Tensor([0., 2.], f32[2])
    """
    return record(MAXIMUM, x, y)


def minimum(x: TensorLike, y: TensorLike) -> Tensor:
    """Return the smaller of `x` and `y`; on a tie each gets half the gradient, NaN is passed on."""
    return record(MINIMUM, x, y)


def where(condition: TensorLike, x: TensorLike, y: TensorLike) -> Tensor:
    """Return elements of `x` where `condition` holds, else of `y`.

    >>> where([True, False], 1.0, [5.0, 6.0])
    Tensor([1., 6.], f32[2])
    """
    # A Python number takes the dtype of the other branch, never that of the condition.
    if isinstance(x, (int, float)):
        y = as_tensor(y)
    x = as_tensor(x, y if isinstance(y, Tensor) else None)
    return record(WHERE, condition, x, as_tensor(y, x))


def neg(x: TensorLike) -> Tensor:
    """Return ``-x``."""
    return record(NEG, x)


def abs(x: TensorLike) -> Tensor:
    """Return ``|x|``; its derivative at 0 is taken as 0."""
    return record(ABS, x)


def relu(x: TensorLike) -> Tensor:
    """Return ``max(0, x)``; its derivative at 0 is taken as 0, as in PyTorch and JAX."""
    return record(RELU, x)


def sign(x: TensorLike) -> Tensor:
    """Return -1, 0 or 1 by the sign of `x`."""
    return record(SIGN, x)


def floor(x: TensorLike) -> Tensor:
    """Return the largest integer not above `x`, as a float."""
    return record(FLOOR, x)


def exp(x: TensorLike) -> Tensor:
    """Return ``e ** x``.

    >>> exp(0.0)
    Tensor(1., f32[])
    """
    return record(EXP, x)


def expm1(x: TensorLike) -> Tensor:
    """Return ``e ** x - 1``, accurate near 0."""
    return record(EXPM1, x)


def log(x: TensorLike) -> Tensor:
    """Return the natural logarithm of `x`."""
    return record(LOG, x)


def log1p(x: TensorLike) -> Tensor:
    """Return ``log(1 + x)``, accurate near 0."""
    return record(LOG1P, x)


def log2(x: TensorLike) -> Tensor:
    """Return the logarithm of `x` to base 2.

    >>> log2([0.5, 1.0, 8.0])
    Tensor([-1.,  0.,  3.], f32[3])
    """
    return record(LOG2, x)


def sqrt(x: TensorLike) -> Tensor:
    """Return the square root of `x`."""
    return record(SQRT, x)


def sin(x: TensorLike) -> Tensor:
    """Return the sine of `x`, in radians."""
    return record(SIN, x)


def cos(x: TensorLike) -> Tensor:
    """Return the cosine of `x`, in radians."""
    return record(COS, x)


def tan(x: TensorLike) -> Tensor:
    """Return the tangent of `x`, in radians.

    >>> tan(0.0)
    Tensor(0., f32[])
    """
    return record(TAN, x)


def arctan(x: TensorLike) -> Tensor:
    """Return the angle in (-pi/2, pi/2) whose tangent is `x`."""
    return record(ARCTAN, x)


def tanh(x: TensorLike) -> Tensor:
    """Return the hyperbolic tangent of `x`, in [-1, 1]."""
    return record(TANH, x)


def sigmoid(x: TensorLike) -> Tensor:
    """Return the logistic function ``1 / (1 + exp(-x))``, in [0, 1], without overflow.

    >>> sigmoid([-1000.0, 0.0, 1000.0])
    Tensor([0. , 0.5, 1. ], f32[3])
    """
    return record(SIGMOID, x)


def erf(x: TensorLike) -> Tensor:
    """Return the error function of `x`."""
    return record(ERF, x)


def stop_gradient(x: TensorLike) -> Tensor:
    """Return `x`, treated as a constant when gradients are taken."""
    return record(STOP_GRADIENT, x)


def cast(x: TensorLike, dtype: DTypeLike) -> Tensor:
    """Return `x` converted to `dtype`."""
    return as_tensor(x).astype(as_dtype(dtype))
