"""Elementwise operations: one result per element, inputs broadcast as in NumPy.

Each record reads as mathematics: in a gradient rule `g` is the gradient of
the output, `out` the output, and the inputs have their usual names.

Read next: :mod:`chainrule.ops.reduce`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from chainrule.core.errors import DTypeError
from chainrule.core.primitive import Primitive, register
from chainrule.core.spec import Spec, as_dtype, broadcast_shapes, is_float
from chainrule.core.tensor import Tensor, TensorLike, as_tensor, record

__all__ = [
    "abs", "add", "arctan", "cast", "cos", "div", "equal", "erf", "exp", "expm1", "floor", "less",
    "less_equal", "log", "log1p", "logical_and", "logical_not", "logical_or", "maximum",
    "minimum", "mul", "neg", "pow", "relu", "sigmoid", "sign", "sin", "sqrt", "stop_gradient",
    "sub", "tanh", "where",
]  # fmt: skip

TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)


# --- type rules and test domains --------------------------------------------------------------


def _same(*specs: Spec) -> Spec:
    return Spec(broadcast_shapes(s.shape for s in specs), specs[0].dtype)


def _number(*specs: Spec) -> Spec:
    if specs[0].dtype == np.bool_:
        raise DTypeError(f"{specs[0]} holds booleans; convert it first, as in x.astype('float32').")
    return _same(*specs)


def _truth(*specs: Spec) -> Spec:
    return Spec(broadcast_shapes(s.shape for s in specs), np.bool_)


def _logical(*specs: Spec) -> Spec:
    for spec in specs:
        if spec.dtype != np.bool_:
            raise DTypeError(f"needs booleans, not {spec}; compare first, as in x > 0.")
    return _truth(*specs)


def _uniform(low: float, high: float, arity: int = 1) -> Callable[[Any], tuple[list[Any], Any]]:
    return lambda rng: ([rng.uniform(low, high, s) for s in [(3, 4), (4,)][:arity]], {})


def _apart(rng: Any) -> tuple[list[Any], dict[str, Any]]:
    """Two arrays whose elements differ clearly, so that a maximum has a derivative."""
    x = rng.uniform(-2, 2, (3, 4))
    return [x, x + rng.choice([-1.0, 1.0], (3, 4)) * rng.uniform(0.2, 1, (3, 4))], {}


def _booleans(arity: int) -> Callable[[Any], tuple[list[Any], dict[str, Any]]]:
    return lambda rng: ([rng.random((3, 4)) < 0.5 for _ in range(arity)], {})


def _unary(
    name: str,
    meaning: Callable[..., Any],
    vjp: Callable[..., tuple[Any, ...]],
    scalar: Callable[..., Any],
    domain: tuple[float, float],
    onnx: str | None = None,
    infer: Callable[..., Spec] = _same,
    floating: bool = True,
) -> Primitive:
    return register(
        Primitive(
            name,
            infer=infer,
            meaning=meaning,
            vjp=vjp,
            scalar=scalar,
            elementwise=True,
            promote=(0,) if floating else (),
            floating=floating,
            costly=floating,
            domain=_uniform(*domain),
            onnx=onnx,
        )
    )


def _binary(
    name: str,
    meaning: Callable[..., Any],
    vjp: Callable[..., tuple[Any, ...]] | None,
    scalar: Callable[..., Any],
    domain: Callable[[Any], tuple[list[Any], dict[str, Any]]],
    onnx: str,
    infer: Callable[..., Spec] = _same,
    floating: bool = False,
) -> Primitive:
    return register(
        Primitive(
            name,
            infer=infer,
            meaning=meaning,
            vjp=vjp,
            scalar=scalar,
            elementwise=True,
            promote=(0, 1),
            floating=floating,
            costly=floating,
            domain=domain,
            onnx=onnx,
        )
    )


# --- arithmetic -------------------------------------------------------------------------------

ADD = _binary(
    "add", np.add, lambda g, out, x, y: (g, g),
    lambda b, x, y: b.add(x, y), _uniform(-2, 2, 2), "Add",
)  # fmt: skip
SUB = _binary(
    "sub", np.subtract, lambda g, out, x, y: (g, -g),
    lambda b, x, y: b.sub(x, y), _uniform(-2, 2, 2), "Sub", infer=_number,
)  # fmt: skip
MUL = _binary(
    "mul", np.multiply, lambda g, out, x, y: (g * y, g * x),
    lambda b, x, y: b.mul(x, y), _uniform(-2, 2, 2), "Mul",
)  # fmt: skip
DIV = _binary(
    "div", np.true_divide, lambda g, out, x, y: (g / y, -g * out / y),
    lambda b, x, y: b.div(x, y), _uniform(0.5, 2, 2), "Div", floating=True,
)  # fmt: skip


def _pow_vjp(g: Tensor, out: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    # x**0 is constant even at x = 0, where y * x**(y - 1) would be 0 * inf; and log(x) is only
    # needed, and only defined, for positive x.
    slope = where(y == 0, 0.0, y * x ** where(y == 0, 1.0, y - 1))
    return g * slope, g * out * log(where(x > 0, x, 1.0))


POW = _binary(
    "pow", np.power, _pow_vjp,
    lambda b, x, y: b.pow(x, y), _uniform(0.5, 2, 2), "Pow", floating=True,
)  # fmt: skip


def _shared(g: Tensor, tie: Tensor, *lost: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of a choice of one of two: all to the chosen, on a tie half to each."""
    given = where(tie, 0.5 * g, g)
    return tuple(where(out, 0.0, given) for out in lost)


MAXIMUM = _binary(
    "maximum", np.maximum, lambda g, out, x, y: _shared(g, x == y, x < y, y < x),
    lambda b, x, y: b.select(b.either(b.less(y, x), b.math("is_nan", x)), x, y), _apart, "Max",
)  # fmt: skip
MINIMUM = _binary(
    "minimum", np.minimum, lambda g, out, x, y: _shared(g, x == y, y < x, x < y),
    lambda b, x, y: b.select(b.either(b.less(x, y), b.math("is_nan", x)), x, y), _apart, "Min",
)  # fmt: skip

# --- comparison and logic -----------------------------------------------------------------------

LESS = _binary(
    "less", np.less, None, lambda b, x, y: b.less(x, y), _apart, "Less", infer=_truth,
)  # fmt: skip
LESS_EQUAL = _binary(
    "less_equal", np.less_equal, None,
    lambda b, x, y: b.less_equal(x, y), _apart, "LessOrEqual", infer=_truth,
)  # fmt: skip
EQUAL = _binary(
    "equal", np.equal, None, lambda b, x, y: b.equal(x, y),
    lambda rng: ([rng.integers(0, 3, (3, 4)), rng.integers(0, 3, (3, 4))], {}), "Equal",
    infer=_truth,
)  # fmt: skip
LOGICAL_AND = register(
    Primitive(
        "logical_and", infer=_logical, meaning=np.logical_and, elementwise=True,
        scalar=lambda b, x, y: b.both(x, y), domain=_booleans(2), onnx="And",
    )
)  # fmt: skip
LOGICAL_OR = register(
    Primitive(
        "logical_or", infer=_logical, meaning=np.logical_or, elementwise=True,
        scalar=lambda b, x, y: b.either(x, y), domain=_booleans(2), onnx="Or",
    )
)  # fmt: skip
LOGICAL_NOT = register(
    Primitive(
        "logical_not", infer=_logical, meaning=np.logical_not, elementwise=True,
        scalar=lambda b, x: b.select(x, b.constant(False), b.constant(True)),
        domain=_booleans(1), onnx="Not",
    )
)  # fmt: skip


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
    )
)  # fmt: skip

# --- functions of one variable ------------------------------------------------------------------

NEG = _unary(
    "neg", np.negative, lambda g, out, x: (-g,),
    lambda b, x: b.negate(x), (-2, 2), "Neg", infer=_number, floating=False,
)  # fmt: skip
ABS = _unary(
    "abs", np.abs, lambda g, out, x: (g * sign(x),),
    lambda b, x: b.math("abs", x), (-2, 2), "Abs", floating=False,
)  # fmt: skip
RELU = _unary(
    "relu", lambda x: np.maximum(x, x.dtype.type(0)),
    lambda g, out, x: (where(out > 0, g, 0.0),),
    lambda b, x: b.select(b.less_equal(x, b.constant(0)), b.constant(0), x),
    (-2, 2), "Relu", infer=_number, floating=False,
)  # fmt: skip
SIGN = _unary(
    "sign", np.sign, lambda g, out, x: (None,),
    lambda b, x: b.select(
        b.less(b.constant(0), x), b.constant(1),
        b.select(b.less(x, b.constant(0)), b.constant(-1), x),
    ),
    (-2, 2), "Sign", infer=_number, floating=False,
)  # fmt: skip
FLOOR = _unary(
    "floor", np.floor, lambda g, out, x: (None,),
    lambda b, x: b.math("floor", x), (-2, 2), "Floor",
)  # fmt: skip
EXP = _unary(
    "exp", np.exp, lambda g, out, x: (g * out,), lambda b, x: b.math("exp", x), (-2, 2), "Exp"
)
EXPM1 = _unary(
    "expm1", np.expm1, lambda g, out, x: (g * exp(x),), lambda b, x: b.math("expm1", x), (-2, 2)
)
LOG = _unary(
    "log", np.log, lambda g, out, x: (g / x,), lambda b, x: b.math("log", x), (0.5, 3), "Log"
)
LOG1P = _unary(
    "log1p", np.log1p, lambda g, out, x: (g / (1 + x),), lambda b, x: b.math("log1p", x), (-0.5, 2)
)
SQRT = _unary(
    "sqrt", np.sqrt, lambda g, out, x: (g * 0.5 / out,),
    lambda b, x: b.math("sqrt", x), (0.5, 3), "Sqrt",
)  # fmt: skip
SIN = _unary(
    "sin", np.sin, lambda g, out, x: (g * cos(x),), lambda b, x: b.math("sin", x), (-3, 3), "Sin"
)
COS = _unary(
    "cos", np.cos, lambda g, out, x: (-g * sin(x),), lambda b, x: b.math("cos", x), (-3, 3), "Cos"
)
ARCTAN = _unary(
    "arctan", np.arctan, lambda g, out, x: (g / (1 + x * x),),
    lambda b, x: b.math("arctan", x), (-3, 3), "Atan",
)  # fmt: skip
TANH = _unary(
    "tanh", np.tanh, lambda g, out, x: (g * (1 - out * out),),
    lambda b, x: b.math("tanh", x), (-2, 2), "Tanh",
)  # fmt: skip


def _stable_sigmoid(x: Any) -> Any:
    # exp of a non-positive number never overflows, whichever side x is on.
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


SIGMOID = _unary(
    "sigmoid", _stable_sigmoid, lambda g, out, x: (g * out * (1 - out),),
    lambda b, x: b.math("sigmoid", x), (-3, 3), "Sigmoid",
)  # fmt: skip

_erf_elements = np.frompyfunc(math.erf, 1, 1)
ERF = _unary(
    "erf", lambda x: np.asarray(_erf_elements(x)).astype(x.dtype),
    lambda g, out, x: (g * TWO_OVER_SQRT_PI * exp(-x * x),),
    lambda b, x: b.math("erf", x), (-2, 2), "Erf",
)  # fmt: skip
STOP_GRADIENT = register(
    Primitive(
        "stop_gradient", infer=_same, meaning=np.asarray, elementwise=True, alias=True,
        scalar=lambda b, x: x, domain=_uniform(-2, 2), onnx="Identity",
    )
)  # fmt: skip
CAST = register(
    Primitive(
        "cast", infer=lambda x, dtype: Spec(x.shape, dtype), elementwise=True, onnx="Cast",
        meaning=lambda x, dtype: np.asarray(x).astype(dtype),
        vjp=lambda g, out, x, dtype: (g.astype(x.dtype) if is_float(x.dtype) else None,),
        scalar=lambda b, x, dtype: b.convert(x, dtype),
        domain=lambda rng: ([rng.normal(size=(3, 4))], {"dtype": "float64"}),
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


def less(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x < y`` as booleans."""
    return record(LESS, x, y)


def less_equal(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x <= y`` as booleans."""
    return record(LESS_EQUAL, x, y)


def equal(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x == y`` as booleans."""
    return record(EQUAL, x, y)


def logical_and(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x and y`` of booleans."""
    return record(LOGICAL_AND, x, y)


def logical_or(x: TensorLike, y: TensorLike) -> Tensor:
    """Return ``x or y`` of booleans."""
    return record(LOGICAL_OR, x, y)


def logical_not(x: TensorLike) -> Tensor:
    """Return ``not x`` of booleans."""
    return record(LOGICAL_NOT, x)


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


def sqrt(x: TensorLike) -> Tensor:
    """Return the square root of `x`."""
    return record(SQRT, x)


def sin(x: TensorLike) -> Tensor:
    """Return the sine of `x`, in radians."""
    return record(SIN, x)


def cos(x: TensorLike) -> Tensor:
    """Return the cosine of `x`, in radians."""
    return record(COS, x)


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
