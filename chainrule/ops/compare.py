"""Comparisons and logical operations; their results are booleans, which have no gradient.

Read next: :mod:`chainrule.ops.reduce`.
"""

from __future__ import annotations

import numpy as np

from chainrule.core.primitive import Description, Primitive, register
from chainrule.core.tensor import Tensor, TensorLike, record
from chainrule.ops.declare import binary, drawn_apart, drawn_booleans, of_booleans, truth

__all__ = ["equal", "less", "less_equal", "logical_and", "logical_not", "logical_or"]

LESS = binary(
    "less", np.less, None, lambda b, x, y: b.less(x, y), drawn_apart, "Less", infer=truth,
    description=Description("a < b", ("", ""), "a boolean result has no gradient"),
)  # fmt: skip
LESS_EQUAL = binary(
    "less_equal", np.less_equal, None,
    lambda b, x, y: b.less_equal(x, y), drawn_apart, "LessOrEqual", infer=truth,
    description=Description("a <= b", ("", ""), "a boolean result has no gradient"),
)  # fmt: skip
EQUAL = binary(
    "equal", np.equal, None, lambda b, x, y: b.equal(x, y),
    lambda rng: ([rng.integers(0, 3, (3, 4)), rng.integers(0, 3, (3, 4))], {}), "Equal",
    infer=truth,
    description=Description("a == b", ("", ""), "a boolean result has no gradient"),
)  # fmt: skip
LOGICAL_AND = register(
    Primitive(
        "logical_and", infer=of_booleans, meaning=np.logical_and, elementwise=True,
        scalar=lambda b, x, y: b.both(x, y), domain=drawn_booleans(2), onnx="And",
        description=Description("a and b", ("", ""), "a boolean result has no gradient"),
    )
)  # fmt: skip
LOGICAL_OR = register(
    Primitive(
        "logical_or", infer=of_booleans, meaning=np.logical_or, elementwise=True,
        scalar=lambda b, x, y: b.either(x, y), domain=drawn_booleans(2), onnx="Or",
        description=Description("a or b", ("", ""), "a boolean result has no gradient"),
    )
)  # fmt: skip
LOGICAL_NOT = register(
    Primitive(
        "logical_not", infer=of_booleans, meaning=np.logical_not, elementwise=True,
        scalar=lambda b, x: b.select(x, b.constant(False), b.constant(True)),
        domain=drawn_booleans(1), onnx="Not",
        description=Description("not a", ("",), "a boolean result has no gradient"),
    )
)  # fmt: skip


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
