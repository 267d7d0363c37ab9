"""Reductions along axes, and the count that turns a sum into a mean.

Read next: :mod:`chainrule.ops.shape`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ShapeError
from chainrule.core.primitive import Description, Primitive, register
from chainrule.core.spec import Shape, Spec, is_float
from chainrule.core.tensor import Tensor, TensorLike, as_tensor
from chainrule.ops.compare import equal
from chainrule.ops.shape import broadcast_to

__all__ = ["argmax", "max", "mean", "sum"]

Axis = int | Sequence[int] | None


def _kept(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple(1 if a in axes else d for a, d in enumerate(shape))


def _reduced(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    kept = _kept(shape, axes)
    return kept if keepdims else tuple(d for a, d in enumerate(kept) if a not in axes)


def _sum_infer(x: Spec, axes: tuple[int, ...], keepdims: bool) -> Spec:
    dtype = x.dtype if is_float(x.dtype) else np.int64
    return Spec(_reduced(x.shape, axes, keepdims), dtype)


def _sum_meaning(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    return np.sum(x, axis=axes, keepdims=keepdims, dtype=None if is_float(x.dtype) else np.int64)


def _sum_vjp(g: Tensor, out: Tensor, x: Tensor, axes: Any, keepdims: bool) -> tuple[Tensor]:
    return (broadcast_to(g.reshape(_kept(x.shape, axes)), x.shape),)


SUM = register(
    Primitive(
        "sum", keeps_rows=True, infer=_sum_infer, meaning=_sum_meaning, vjp=_sum_vjp,
        combine=lambda b, x, y: b.add(x, y), identity=lambda dtype: 0,
        domain=lambda rng: ([rng.normal(size=(3, 4))], {"axes": (1,), "keepdims": False}),
        onnx="ReduceSum",
        description=Description(
            "sum(a)", ("1",),
            "a sum passes the gradient unchanged to each term",
        ),
    )
)  # fmt: skip


def _max_infer(x: Spec, axes: tuple[int, ...], keepdims: bool) -> Spec:
    if any(x.shape[a] == 0 for a in axes):
        raise ShapeError(f"no largest element along axes {axes} of an empty {x}.")
    return Spec(_reduced(x.shape, axes, keepdims), x.dtype)


def _max_meaning(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    _max_infer(Spec(x.shape, x.dtype), axes, keepdims)  # a length known only now may be 0
    return np.max(x, axis=axes, keepdims=keepdims)


def _argmax_meaning(x: Any, axis: int) -> Any:
    _max_infer(Spec(x.shape, x.dtype), (axis,), False)
    return np.argmax(x, axis=axis)


def _max_vjp(g: Tensor, out: Tensor, x: Tensor, axes: Any, keepdims: bool) -> tuple[Tensor]:
    # Elements that tie for the maximum share the gradient, so that its sum is kept.
    kept = _kept(x.shape, axes)
    winners = equal(x, out.reshape(kept)).astype(x.dtype)
    return (g.reshape(kept) * winners / winners.sum(axes, keepdims=True),)


def _lowest(dtype: str) -> float:
    return -math.inf if is_float(dtype) else 0 if dtype == "bool" else int(np.iinfo(dtype).min)


MAX = register(
    Primitive(
        "max", keeps_rows=True, infer=_max_infer, meaning=_max_meaning, vjp=_max_vjp,
        # NaN wins over any number, as in NumPy.
        combine=lambda b, x, y: b.select(b.either(b.less(x, y), b.math("is_nan", y)), y, x),
        identity=_lowest,
        domain=lambda rng: (
            [rng.permutation(12).reshape(3, 4) / 4.0], {"axes": (1,), "keepdims": False}
        ),
        onnx="ReduceMax",
        description=Description(
            "max(a)", ("",),
            "the largest number receives the whole gradient; equal ones share it",
        ),
    )
)  # fmt: skip
ARGMAX = register(
    Primitive(
        "argmax",
        keeps_rows=True,
        infer=lambda x, axis: Spec(_max_infer(x, (axis,), False).shape, np.int64),
        meaning=_argmax_meaning,
        domain=lambda rng: ([rng.normal(size=(3, 4))], {"axis": 1}),
        onnx="ArgMax",
    )
)


def _count_meaning(lengths: tuple[int, ...], dtype: str) -> Any:
    return np.array(math.prod(lengths), dtype=dtype)


COUNT = register(
    Primitive(
        "count", infer=lambda lengths, dtype: Spec((), dtype), meaning=_count_meaning,
        domain=lambda rng: ([], {"lengths": (3, 4), "dtype": "float64"}), onnx="Size",
    )
)  # fmt: skip


def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the sum of `x` over `axis` (all axes when None); integers are summed as int64.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([4., 6.], f32[2])
    """
    return as_tensor(x).sum(axis, keepdims)


def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the largest element over `axis`; elements that tie share the gradient equally.

    Raises ShapeError when there is no element to take.
    """
    return as_tensor(x).max(axis, keepdims)


def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the mean of `x` over `axis`: ``sum(x) / count``.

    >>> mean([1.0, 2.0, 6.0])
    Tensor(3., f32[])
    """
    return as_tensor(x).mean(axis, keepdims)


def argmax(x: TensorLike, axis: int | None = None) -> Tensor:
    """Return the int64 index of the (first) largest element along `axis`, or in the flat tensor.

    >>> argmax([[3.0, 1.0], [2.0, 5.0]]), argmax([[3.0, 1.0], [2.0, 5.0]], axis=1)
    (Tensor(3, i64[]), Tensor([0, 1], i64[2]))
    """
    return as_tensor(x).argmax(axis)
