"""Elementwise arithmetic, selection and other piecewise linear operations.

In a gradient rule `g` is the gradient of the output, `out` the output, and
the inputs have their usual names.  Inputs broadcast as in NumPy.

Read next: :mod:`chainrule.ops.elementary`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from chainrule.core.errors import DTypeError
from chainrule.core.primitive import Description, Primitive, register
from chainrule.core.spec import Spec, as_dtype, broadcast_shapes, is_float
from chainrule.core.tensor import Tensor, TensorLike, as_tensor, record
from chainrule.ops.declare import binary, drawn, drawn_apart, no_booleans, same_dtype, unary
from chainrule.ops.elementary import log

__all__ = [
    "abs",
    "add",
    "cast",
    "div",
    "floor",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "pow",
    "relu",
    "sign",
    "stop_gradient",
    "sub",
    "where",
]

ADD = binary(
    "add", np.add, lambda g, out, x, y: (g, g),
    lambda b, x, y: b.add(x, y), drawn(-2, 2, 2), "Add", linear=True, increasing=True,
    description=Description(
        "a + b", ("1", "1"),
        "a sum passes the gradient unchanged to each term",
    ),
)  # fmt: skip


def add(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x + y``."""
    return record(ADD, x, y)


SUB = binary(
    "sub", np.subtract, lambda g, out, x, y: (g, -g),
    lambda b, x, y: b.sub(x, y), drawn(-2, 2, 2), "Sub", infer=no_booleans, linear=True,
    description=Description(
        "a - b", ("1", "-1"),
        "a difference passes the gradient unchanged to its first term",
        "the subtracted term receives the negative gradient",
    ),
)  # fmt: skip


def sub(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x - y``."""
    return record(SUB, x, y)


MUL = binary(
    "mul", np.multiply, lambda g, out, x, y: (g * y, g * x),
    lambda b, x, y: b.mul(x, y), drawn(-2, 2, 2), "Mul",
    description=Description(
        "a * b", ("b", "a"),
        "each factor receives the gradient times the other factor",
    ),
)  # fmt: skip


def mul(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x * y``."""
    return record(MUL, x, y)


DIV = binary(
    "div", np.true_divide, lambda g, out, x, y: (g / y, -g * out / y),
    lambda b, x, y: b.div(x, y), drawn(0.5, 2, 2), "Div", floating=True,
    undefined=lambda x, y: "a division by zero" if y == 0 else "",
    description=Description(
        "a / b", ("1 / b", "-a / b**2"),
        "the numerator receives the gradient divided by the denominator",
        "the denominator receives the gradient times minus the quotient over the denominator",
    ),
)  # fmt: skip


def div(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x / y``; integers are divided as floats."""
    return record(DIV, x, y)


def _pow_vjp(g: Tensor, out: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    # x**0 is constant even at x = 0, where y * x**(y - 1) would be 0 * inf; and log(x) is only
    # needed, and only defined, for positive x.
    slope = where(y == 0, 0.0, y * x ** where(y == 0, 1.0, y - 1))
    return g * slope, g * out * log(where(x > 0, x, 1.0))


def _pow_undefined(x: float, y: float) -> str:
    if x < 0 and not float(y).is_integer():
        return "a negative number to a power that is not an integer"
    return "zero to a negative power" if x == 0 and y < 0 else ""


POW = binary(
    "pow", np.power, _pow_vjp,
    lambda b, x, y: b.pow(x, y), drawn(0.5, 2, 2), "Pow", floating=True,
    undefined=_pow_undefined,
    description=Description(
        "a**b", ("b * a**(b - 1)", "a**b * log(a)"),
        "the exponent becomes a factor and is reduced by one",
        "with respect to the exponent, the slope of a power is the power times log of the base",
    ),
)  # fmt: skip


def pow(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x ** y``; its gradient to `y` is taken as 0 where x is not positive."""
    return record(POW, x, y)


def _shared(g: Tensor, tie: Tensor, *lost: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of a choice between two: all to the chosen one, on a tie half each."""
    given = where(tie, 0.5 * g, g)
    return tuple(where(out, 0.0, given) for out in lost)


MAXIMUM = binary(
    "maximum", np.maximum, lambda g, out, x, y: _shared(g, x == y, x < y, y < x),
    lambda b, x, y: b.select(b.either(b.less(y, x), b.math("is_nan", x)), x, y), drawn_apart, "Max",
    choice=True, increasing=True,
    description=Description(
        "max(a, b)",
        ("1 if a > b else 1/2 if a == b else 0", "0 if a > b else 1/2 if a == b else 1"),
        "the larger number receives the whole gradient, the other none; equal ones half each",
    ),
)  # fmt: skip


def maximum(x: TensorLike, y: TensorLike) -> Tensor:
    """Return the larger of `x` and `y`; on a tie each gets half the gradient, NaN is passed on.

    >>> maximum([-1.0, 2.0], 0.0)
    Tensor([0., 2.], f32[2])
    """
    return record(MAXIMUM, x, y)


MINIMUM = binary(
    "minimum", np.minimum, lambda g, out, x, y: _shared(g, x == y, y < x, x < y),
    lambda b, x, y: b.select(b.either(b.less(x, y), b.math("is_nan", x)), x, y), drawn_apart, "Min",
    choice=True, increasing=True,
    description=Description(
        "min(a, b)",
        ("1 if a < b else 1/2 if a == b else 0", "0 if a < b else 1/2 if a == b else 1"),
        "the smaller number receives the whole gradient, the other none; equal ones half each",
    ),
)  # fmt: skip


def minimum(x: TensorLike, y: TensorLike) -> Tensor:
    """Return the smaller of `x` and `y`; on a tie each gets half the gradient, NaN is passed on."""
    return record(MINIMUM, x, y)


def _where_infer(condition: Spec, x: Spec, y: Spec) -> Spec:
    if condition.dtype != np.bool_:
        raise DTypeError(f"the condition must be boolean, not {condition}.")
    return Spec(broadcast_shapes([condition.shape, x.shape, y.shape]), x.dtype)


WHERE = register(
    Primitive(
        "where", choice=True, elementwise=True, infer=_where_infer, meaning=np.where,
        promote=(1, 2),
        vjp=lambda g, out, c, x, y: (None, where(c, g, 0.0), where(c, 0.0, g)),
        scalar=lambda b, c, x, y: b.select(c, x, y),
        domain=lambda rng: (
            [rng.random((3, 4)) < 0.5, rng.normal(size=(3, 4)), rng.normal(size=4)], {}
        ),
        onnx="Where",
        description=Description(
            "b if a else c", ("", "1 if a else 0", "0 if a else 1"),
            "the selected branch receives the whole gradient, the other none, whatever its value",
        ),
    )
)  # fmt: skip


def where(condition: TensorLike, x: TensorLike, y: TensorLike) -> Tensor:
    """Return elements of `x` where `condition` is True, else of `y`.

    >>> where([True, False], 1.0, [5.0, 6.0])
    Tensor([1., 6.], f32[2])
    """
    # A Python number takes the dtype of the other branch, never that of the condition.
    if isinstance(x, (int, float)):
        y = as_tensor(y)
    x = as_tensor(x, y if isinstance(y, Tensor) else None)
    return record(WHERE, condition, x, as_tensor(y, x))


NEG = unary(
    "neg", np.negative, lambda g, out, x: (-g,),
    lambda b, x: b.negate(x), (-2, 2), "Neg", infer=no_booleans, floating=False, linear=True,
    description=Description("-a", ("-1",), "the gradient changes sign"),
)  # fmt: skip


def neg(x: TensorLike) -> Tensor:
    """Return ``-x``."""
    return record(NEG, x)


ABS = unary(
    "abs", np.abs, lambda g, out, x: (g * sign(x),),
    lambda b, x: b.math("abs", x), (-2, 2), "Abs", floating=False,
    description=Description(
        "abs(a)", ("sign(a)",),
        "the gradient changes sign where the number is negative; at 0, where the slope jumps "
        "from -1 to 1, it is taken as 0",
    ),
)  # fmt: skip


def abs(x: TensorLike) -> Tensor:
    """Return ``|x|``; its derivative at 0 is taken as 0."""
    return record(ABS, x)


RELU = unary(
    "relu", lambda x: np.maximum(x, x.dtype.type(0)),
    lambda g, out, x: (where(out > 0, g, 0.0),),
    lambda b, x: b.select(b.less_equal(x, b.constant(0)), b.constant(0), x),
    (-2, 2), "Relu", infer=no_booleans, floating=False, increasing=True,
    description=Description(
        "relu(a)", ("1 if a > 0 else 0",),
        "a positive number receives the gradient unchanged, a negative one receives none; "
        "at 0, where the slope jumps from 0 to 1, it is taken as 0",
    ),
)  # fmt: skip


def relu(x: TensorLike) -> Tensor:
    """Return ``max(0, x)``; its derivative at 0 is taken as 0, as in PyTorch and JAX."""
    return record(RELU, x)


SIGN = unary(
    "sign", np.sign, lambda g, out, x: (None,),
    lambda b, x: b.select(
        b.less(b.constant(0), x), b.constant(1),
        b.select(b.less(x, b.constant(0)), b.constant(-1), x),
    ),
    (-2, 2), "Sign", infer=no_booleans, floating=False,
    description=Description("sign(a)", ("",), "the slope of a step is 0: no gradient flows back"),
)  # fmt: skip


def sign(x: TensorLike) -> Tensor:
    """Return -1, 0 or 1 by the sign of `x`."""
    return record(SIGN, x)


FLOOR = unary(
    "floor", np.floor, lambda g, out, x: (None,),
    lambda b, x: b.math("floor", x), (-2, 2), "Floor",
    description=Description("floor(a)", ("",), "the slope of a step is 0: no gradient flows back"),
)  # fmt: skip


def floor(x: TensorLike) -> Tensor:
    """Return the largest integer not above `x`, as a float."""
    return record(FLOOR, x)


CAST = register(
    Primitive(
        "cast", linear=True, elementwise=True, onnx="Cast",
        infer=lambda x, dtype: Spec(x.shape, dtype),
        meaning=lambda x, dtype: np.asarray(x).astype(dtype),
        vjp=lambda g, out, x, dtype: (g.astype(x.dtype) if is_float(x.dtype) else None,),
        scalar=lambda b, x, dtype: b.convert(x, dtype),
        domain=lambda rng: ([rng.normal(size=(3, 4))], {"dtype": "float64"}),
        description=Description("a", ("1",), "a conversion passes the gradient unchanged"),
    )
)  # fmt: skip


def cast(x: TensorLike, dtype: DTypeLike) -> Tensor:
    """Return `x` converted to `dtype`."""
    return as_tensor(x).astype(as_dtype(dtype))


STOP_GRADIENT = register(
    Primitive(
        "stop_gradient", infer=same_dtype, meaning=np.asarray, elementwise=True, alias=True,
        scalar=lambda b, x: x, domain=drawn(-2, 2), onnx="Identity",
        description=Description(
            "stop_gradient(a)", ("",),
            "the gradient is intentionally stopped here",
        ),
    )
)  # fmt: skip


def stop_gradient(x: TensorLike) -> Tensor:
    """Return `x`, treated as a constant when gradients are taken."""
    return record(STOP_GRADIENT, x)
