"""The matrix product, over any number of batch axes.

Read next: :mod:`chainrule.ops.index`.
"""

from __future__ import annotations

import numpy as np

from chainrule.core.errors import DTypeError, ShapeError
from chainrule.core.primitive import Description, Primitive, register
from chainrule.core.spec import Spec, broadcast_shapes, is_float
from chainrule.core.tensor import Tensor, TensorLike, as_tensor
from chainrule.ops.shape import sum_to

__all__ = ["matmul"]


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
    return sum_to(g @ swap_last(b), a.shape), sum_to(swap_last(a) @ g, b.shape)


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


def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """Return the matrix product ``a @ b``, batched over leading axes as in NumPy.

    >>> matmul([[1.0, 2.0]], [[3.0], [4.0]])
    Tensor([[11.]], f32[1,1])
    """
    return b.__rmatmul__(a) if isinstance(b, Tensor) else as_tensor(a) @ b
