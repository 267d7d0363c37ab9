"""Resolve axes, a -1 in a shape and ``x[...]``, using shapes alone.

Read next: :mod:`chainrule.core.tensor`, which records the operations planned here.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ShapeError
from chainrule.core.spec import Dim, Shape, as_shape

__all__ = ["fill_in", "normalize_axes", "plan_index"]


def normalize_axes(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return `axis` as a tuple of distinct non-negative ints; None means every axis.

    >>> normalize_axes(-1, 3)
    (2,)
    """
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in axes:
        if not -ndim <= a < ndim:
            raise ShapeError(f"axis {a} is out of range for a tensor of {ndim} axes.")
    result = tuple(a % ndim for a in axes)
    if len(set(result)) != len(result):
        raise ShapeError(f"axes {axes} name one axis twice.")
    return result


def fill_in(old: Shape, new: tuple[Any, ...]) -> Shape:
    """Return `new` with one -1 replaced by the length that keeps the number of elements.

    >>> fill_in((Dim("n"), 28, 28), (-1, 784))
    (n, 784)
    """
    if -1 not in new:
        return as_shape(new)
    if new.count(-1) > 1:
        raise ShapeError(f"only one length may be -1, not {new}.")
    rest = as_shape([d for d in new if d != -1])
    symbols = [d for d in old if isinstance(d, Dim) and d not in rest]
    have = math.prod(d for d in old if isinstance(d, int))
    want = math.prod(d for d in rest if isinstance(d, int))
    missing: int | Dim
    if symbols:
        if len(symbols) > 1 or have != want:
            raise ShapeError(
                f"can't reshape {old} into {new}: length {symbols[0]} is known only when data "
                "arrives and must stay an axis of its own."
            )
        missing = symbols[0]
    elif want == 0 or have % want:
        raise ShapeError(f"can't reshape {old} ({have} elements) into {new}.")
    else:
        missing = have // want
    return as_shape([missing if d == -1 else d for d in new])


def plan_index(shape: Shape, key: Any) -> tuple[tuple[int, ...], Shape, tuple[int, ...], Shape]:
    """Return starts, stops and steps along every axis, and the final shape, for ``x[key]``.

    `key` consists of ints, slices with a positive step, None and Ellipsis.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    for k in keys:
        if not (k is None or k is ... or isinstance(k, slice) or _is_number(k)):
            raise ShapeError(
                f"can't index with {k!r}. An index array must be the only index, as in x[rows]; "
                "slice in a second step, as in x[rows][:, 0]."
            )
    if sum(k is ... for k in keys) > 1:
        raise ShapeError("an index can have only one '...'.")
    given = sum(1 for k in keys if k is not None and k is not ...)
    if given > len(shape):
        raise ShapeError(f"{given} indices for a tensor of {len(shape)} axes.")
    spread = next((i for i, k in enumerate(keys) if k is ...), len(keys))
    keys[spread : spread + 1] = [slice(None)] * (len(shape) - given)
    axes, kept_shape = [], []
    lengths = iter(shape)
    for k in keys:
        if k is None:
            kept_shape.append(1)
            continue
        *bounds, kept = _one_axis(k, next(lengths))
        axes.append(bounds)
        if kept is not None:
            kept_shape.append(kept)
    starts, stops, steps = zip(*axes, strict=True) if axes else ((), (), ())
    return tuple(starts), tuple(stops), tuple(steps), tuple(kept_shape)


def _is_number(key: Any) -> bool:
    """Return whether `key` is an integer; arrays may have ``__index__`` too, booleans are masks."""
    scalar = not isinstance(key, (bool, np.bool_)) and getattr(key, "ndim", 0) == 0
    return scalar and hasattr(key, "__index__")


def _one_axis(key: Any, length: int | Dim) -> tuple[Any, ...]:
    """Return start, stop, step along one axis, and the new length (None if it is dropped)."""
    if isinstance(key, slice) and key == slice(None):
        return 0, length, 1, length
    if isinstance(length, Dim):
        raise ShapeError(
            f"an axis of length {length}, known only when data arrives, must be taken whole, "
            "with ':'."
        )
    if isinstance(key, slice):
        start, stop, step = key.indices(length)
        if step < 1:
            raise ShapeError(f"slices need a positive step, not {step}.")
        stop = max(start, stop)
        return start, stop, step, -(-(stop - start) // step)
    index = operator.index(key)
    if not -length <= index < length:
        raise ShapeError(f"index {index} is out of range for an axis of length {length}.")
    index %= length
    return index, index + 1, 1, None
