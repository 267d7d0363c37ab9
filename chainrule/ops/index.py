"""Select rows by index, and its transpose, add rows at indices.

Read next: :mod:`chainrule.ops.random`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import DTypeError, ShapeError
from chainrule.core.indexing import normalize_axes
from chainrule.core.primitive import Description, Primitive, register
from chainrule.core.spec import Dim, Spec
from chainrule.core.tensor import Tensor, TensorLike, as_tensor, record
from chainrule.core.wording import counted
from chainrule.ops.shape import arange, expand_dims

__all__ = ["gather", "one_hot", "scatter_add", "take"]


def _check_indices(indices: Spec) -> None:
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"indices must be integers, not {indices}.")


def _gather_infer(x: Spec, indices: Spec) -> Spec:
    _check_indices(indices)
    if x.ndim == 0:
        raise ShapeError("a scalar has no rows to select.")
    return Spec((*indices.shape, *x.shape[1:]), x.dtype)


def _in_range(indices: Any, rows: int) -> Any:
    """Return `indices`, or raise ShapeError for one out of range; negatives count from the end."""
    outside = (indices < -rows) | (indices >= rows)
    if outside.any():
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        bad = indices[place] if place else indices
        raise ShapeError(f"index {bad} at {place} is out of range for {counted(rows, 'row')}.")
    return indices


def _scatter_meaning(updates: Any, indices: Any, rows: int) -> Any:
    out = np.zeros((rows, *updates.shape[indices.ndim :]), updates.dtype)
    np.add.at(out, _in_range(indices, rows), updates)
    return out


def _scatter_infer(updates: Spec, indices: Spec, rows: int | Dim) -> Spec:
    _check_indices(indices)
    if updates.shape[: indices.ndim] != indices.shape:
        raise ShapeError(f"updates {updates} must begin with the shape of indices {indices}.")
    return Spec((rows, *updates.shape[indices.ndim :]), updates.dtype)


GATHER = register(
    Primitive(
        "gather", move=True, indexed=True, infer=_gather_infer,
        meaning=lambda x, indices: x[_in_range(indices, x.shape[0])],
        vjp=lambda g, out, x, indices: (scatter_add(g, indices, x.shape[0]), None),
        domain=lambda rng: ([rng.normal(size=(4, 3)), rng.integers(0, 4, (5,))], {}),
        onnx="Gather",
        description=Description(
            "a[b]", ("", ""),
            "each selected row receives its gradient",
        ),
    )
)  # fmt: skip
SCATTER_ADD = register(
    Primitive(
        "scatter_add", product="scatter", indexed=True,
        infer=_scatter_infer, meaning=_scatter_meaning,
        vjp=lambda g, out, updates, indices, rows: (gather(g, indices), None),
        domain=lambda rng: ([rng.normal(size=(5, 3)), rng.integers(0, 4, (5,))], {"rows": 4}),
        onnx="ScatterND",
    )
)  # fmt: skip


def gather(x: TensorLike, indices: TensorLike) -> Tensor:
    """Return the rows of `x` at the integers `indices`: ``x[indices]``.

    Raises ShapeError at run time, naming the first index out of range.

    >>> gather([10.0, 20.0, 30.0], [2, 0])
    Tensor([30., 10.], f32[2])
    """
    return record(GATHER, x, indices)


def take(x: TensorLike, indices: TensorLike, axis: int | None = None) -> Tensor:
    """Return the elements of `x` along `axis` at the integers `indices`.

    As in :func:`numpy.take`, `x` is flattened if `axis` is None; for axis 0 it is
    :func:`gather`.  Raises ShapeError at run time, naming the first index out of range.

    >>> take([[1.0, 2.0], [3.0, 4.0]], [1, 0], axis=1)
    Tensor([[2., 1.],
            [4., 3.]], f32[2,2])
    """
    x, indices = as_tensor(x), as_tensor(indices)
    if axis is None:
        return gather(x.reshape(-1), indices)
    (at,) = normalize_axes(axis, x.ndim)
    if at == 0:
        return gather(x, indices)
    first = gather(x.transpose(at, *(a for a in range(x.ndim) if a != at)), indices)
    taken = range(indices.ndim)
    rest = range(indices.ndim, first.ndim)
    return first.transpose(*rest[:at], *taken, *rest[at:])


def scatter_add(updates: TensorLike, indices: TensorLike, rows: int | Dim) -> Tensor:
    """Return `rows` rows of zeros, with each update added to the row at its index.

    >>> scatter_add([1.0, 2.0, 5.0], [0, 0, 2], rows=3)
    Tensor([3., 0., 5.], f32[3])
    """
    return record(SCATTER_ADD, updates, indices, rows=rows)


def one_hot(indices: TensorLike, classes: int, dtype: Any = np.float32) -> Tensor:
    """Return `indices` one-hot encoded: along a new last axis, 1 at the index and 0 elsewhere.

    >>> one_hot([1, 0], 2)
    Tensor([[0., 1.],
            [1., 0.]], f32[2,2])
    """
    return is_class(indices, classes).astype(dtype)


def is_class(indices: TensorLike, classes: int) -> Tensor:
    """Return :func:`one_hot` as booleans.

    >>> is_class([1, 0], 2)
    Tensor([[False,  True],
            [ True, False]], bool[2,2])
    """
    column = expand_dims(indices, -1)
    # uint8 can't represent 300 classes; int32 can, at half the cost of int64.
    wide = "int64" if column.dtype.itemsize == 8 else "int32"
    return column == arange(classes, wide)
