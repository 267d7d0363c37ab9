"""The matrix product, over any number of batch axes, and the product that sums over them.

Read next: :mod:`chainrule.ops.index`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.core.errors import DTypeError, ShapeError
from chainrule.core.primitive import Description, Primitive, register
from chainrule.core.spec import Spec, broadcast_shapes, is_float
from chainrule.core.tensor import Tensor, TensorLike, as_tensor, record
from chainrule.ops.shape import sum_to

__all__ = ["matmul", "row_products"]


def _matmul_infer(a: Spec, b: Spec) -> Spec:
    if a.ndim < 2 or b.ndim < 2:
        raise ShapeError(f"{a} and {b} must both have at least 2 axes.")
    if not is_float(a.dtype):
        raise DTypeError(
            f"{a} must have a float dtype; convert it first, as in x.astype('float32')."
        )
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"{a} @ {b}: the last axis of the left ({a.shape[-1]}) must be as long as the "
            f"second to last axis of the right ({b.shape[-2]})."
        )
    batch = broadcast_shapes([a.shape[:-2], b.shape[:-2]])
    return Spec((*batch, a.shape[-2], b.shape[-1]), a.dtype)


def swap_last(x: Tensor) -> Tensor:
    """Return `x` with its last two axes exchanged."""
    return x.transpose(*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)


def _matmul_vjp(g: Tensor, out: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    left = sum_to(g @ swap_last(b), a.shape)
    if a.shape[:-2] == out.shape[:-2] != () and all(d == 1 for d in b.shape[:-2]):
        return left, row_products(a, g).reshape(b.shape)  # without a product for each matrix
    return left, sum_to(swap_last(a) @ g, b.shape)


MATMUL = register(
    Primitive(
        "matmul", keeps_rows=True, product="matmul", weighted=True,
        infer=_matmul_infer, meaning=np.matmul, vjp=_matmul_vjp, promote=(0, 1),
        domain=lambda rng: ([rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 2))], {}),
        onnx="MatMul",
        description=Description(
            "a @ b", ("upstream @ b.T", "a.T @ upstream"),
            "each matrix receives the gradient (upstream) times the other matrix, transposed",
        ),
    )
)  # fmt: skip


def _row_products_infer(a: Spec, b: Spec) -> Spec:
    if a.ndim < 2 or a.shape[:-1] != b.shape[:-1]:
        raise ShapeError(f"{a} and {b} must have 2 or more axes, all but the last of equal length.")
    if not is_float(a.dtype):
        raise DTypeError(
            f"{a} must have a float dtype; convert it first, as in x.astype('float32')."
        )
    return Spec((a.shape[-1], b.shape[-1]), a.dtype)


def _row_products_meaning(a: Any, b: Any) -> Any:
    rows = math.prod(a.shape[:-1])  # -1 is ambiguous where the last axis has no elements
    return a.reshape(rows, a.shape[-1]).T @ b.reshape(rows, b.shape[-1])


ROW_PRODUCTS = register(
    Primitive(
        "row_products", product="matmul",
        infer=_row_products_infer, meaning=_row_products_meaning, promote=(0, 1),
        vjp=lambda g, out, a, b: (b @ g.T, a @ g),
        domain=lambda rng: ([rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 2))], {}),
    )
)  # fmt: skip


def row_products(a: TensorLike, b: TensorLike) -> Tensor:
    """Return ``p[i, j] = sum of a[..., i] * b[..., j]`` over all axes but the last.

    This is the gradient of a weight that multiplies the last axis of `a`.

    >>> row_products([[1.0, 2.0], [3.0, 4.0]], [[1.0], [10.0]])
    Tensor([[31.],
            [42.]], f32[2,1])
    """
    return record(ROW_PRODUCTS, a, b)


def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """Return the matrix product ``a @ b``, batched over leading axes as in NumPy.

    >>> matmul([[1.0, 2.0]], [[3.0], [4.0]])
    Tensor([[11.]], f32[1,1])
    """
    return b.__rmatmul__(a) if isinstance(b, Tensor) else as_tensor(a) @ b
