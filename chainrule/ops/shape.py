"""Operations that move elements without changing them: reshape, transpose, slice, pad, concat.

The gradient of slice is pad and vice versa; the same holds for broadcast and sum.

Read next: :mod:`chainrule.ops.linalg`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import DTypeError, ShapeError
from chainrule.core.indexing import normalize_axes
from chainrule.core.primitive import Description, Primitive, register
from chainrule.core.spec import Dim, Shape, Spec, as_shape, broadcast_shapes, same_size
from chainrule.core.tensor import Tensor, TensorLike, as_tensor, record

__all__ = [
    "arange",
    "broadcast_to",
    "concat",
    "expand_dims",
    "pad",
    "reshape",
    "squeeze",
    "stack",
    "transpose",
]


def _reshape_infer(x: Spec, shape: Shape) -> Spec:
    if not same_size(x.shape, shape):
        raise ShapeError(f"{x} does not have as many elements as shape {shape}.")
    return Spec(shape, x.dtype)


RESHAPE = register(
    Primitive(
        "reshape", keeps_rows=True, infer=_reshape_infer, alias=True,
        meaning=lambda x, shape: np.reshape(x, shape),
        vjp=lambda g, out, x, shape: (g.reshape(x.shape),),
        domain=lambda rng: ([rng.normal(size=(3, 4))], {"shape": (2, 6)}), onnx="Reshape",
        description=Description(
            "reshape(a)", ("1",),
            "numbers are only moved, so each gradient returns to the place of its number",
        ),
    )
)  # fmt: skip


def _transpose_infer(x: Spec, axes: tuple[int, ...]) -> Spec:
    if sorted(axes) != list(range(x.ndim)):
        raise ShapeError(f"axes {axes} are not a permutation of the {x.ndim} axes of {x}.")
    return Spec(tuple(x.shape[a] for a in axes), x.dtype)


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes)), key=lambda i: axes[i]))


TRANSPOSE = register(
    Primitive(
        "transpose", keeps_rows=True, move=True, infer=_transpose_infer,
        meaning=lambda x, axes: np.transpose(x, axes),
        vjp=lambda g, out, x, axes: (transpose(g, _inverse(axes)),),
        domain=lambda rng: ([rng.normal(size=(2, 3, 4))], {"axes": (2, 0, 1)}), onnx="Transpose",
        description=Description(
            "transpose(a)", ("1",),
            "numbers are only moved, so each gradient returns to the place of its number",
        ),
    )
)  # fmt: skip


def _broadcast_infer(x: Spec, shape: Shape) -> Spec:
    if broadcast_shapes([x.shape, shape]) != shape:
        raise ShapeError(f"{x} does not broadcast to shape {shape}.")
    return Spec(shape, x.dtype)


BROADCAST = register(
    Primitive(
        "broadcast", keeps_rows=True, infer=_broadcast_infer, alias=True,
        meaning=lambda x, shape: np.broadcast_to(x, shape),
        vjp=lambda g, out, x, shape: (sum_to(g, x.shape),),
        domain=lambda rng: ([rng.normal(size=(3, 1))], {"shape": (2, 3, 4)}), onnx="Expand",
        description=Description(
            "repeat(a)", ("",),
            "a number used in several places receives the sum of their gradients",
        ),
    )
)  # fmt: skip


# --- slice and pad ------------------------------------------------------------------------------


def _slice_infer(x: Spec, starts: Any, stops: Any, steps: Any) -> Spec:
    lengths: list[int | Dim] = []
    for length, start, stop, step in zip(x.shape, starts, stops, steps, strict=True):
        if isinstance(length, Dim):
            if (start, stop, step) != (0, length, 1):
                raise ShapeError(f"axis of length {length} can only be taken whole.")
            lengths.append(length)
        elif not (0 <= start <= stop <= length and step >= 1):
            raise ShapeError(f"slice {start}:{stop}:{step} does not fit length {length} of {x}.")
        else:
            lengths.append(-(-(stop - start) // step))
    return Spec(lengths, x.dtype)


def _slice_meaning(x: Any, starts: Any, stops: Any, steps: Any) -> Any:
    return x[tuple(slice(a, b, s) for a, b, s in zip(starts, stops, steps, strict=True))]


def _slice_vjp(
    g: Tensor, out: Tensor, x: Tensor, starts: Any, stops: Any, steps: Any
) -> tuple[Tensor]:
    high, interior = [], []
    for length, start, step, kept in zip(x.shape, starts, steps, out.shape, strict=True):
        interior.append(step - 1)
        if isinstance(length, Dim) or isinstance(kept, Dim):
            high.append(0)
        else:
            spread = start + (kept - 1) * step + 1 if kept else start
            high.append(length - spread)
    return (record(PAD, g, low=tuple(starts), high=tuple(high), interior=tuple(interior)),)


SLICE = register(
    Primitive(
        "slice", keeps_rows=True, move=True,
        infer=_slice_infer, meaning=_slice_meaning, vjp=_slice_vjp,
        domain=lambda rng: (
            [rng.normal(size=(5, 7))], {"starts": (1, 2), "stops": (4, 7), "steps": (1, 2)}
        ),
        onnx="Slice",
        description=Description(
            "part(a)", ("",),
            "the selected numbers receive their gradients, the others none",
        ),
    )
)  # fmt: skip


def _padded(length: Any, low: int, high: int, interior: int) -> Any:
    if isinstance(length, Dim):
        if (low, high, interior) != (0, 0, 0):
            raise ShapeError(f"an axis of length {length} can't be padded.")
        return length
    return low + high + length + (length - 1) * interior * (length > 0)


def _pad_infer(x: Spec, low: Any, high: Any, interior: Any) -> Spec:
    if min((*low, *high, *interior), default=0) < 0:
        raise ShapeError(f"padding can't be negative: low={low}, high={high}.")
    return Spec([_padded(*a) for a in zip(x.shape, low, high, interior, strict=True)], x.dtype)


def _pad_places(shape: Any, low: Any, interior: Any) -> tuple[slice, ...]:
    return tuple(
        slice(start, start + length + max(length - 1, 0) * gap, gap + 1)
        for length, start, gap in zip(shape, low, interior, strict=True)
    )


def _pad_meaning(x: Any, low: Any, high: Any, interior: Any) -> Any:
    shape = [_padded(*a) for a in zip(x.shape, low, high, interior, strict=True)]
    out = np.zeros(shape, x.dtype)
    out[_pad_places(x.shape, low, interior)] = x
    return out


def _pad_vjp(g: Tensor, out: Tensor, x: Tensor, low: Any, high: Any, interior: Any) -> Any:
    fixed = [1 if isinstance(d, Dim) else d for d in x.shape]
    places = _pad_places(fixed, low, interior)
    stops = tuple(d if isinstance(d, Dim) else p.stop for d, p in zip(x.shape, places, strict=True))
    steps = tuple(p.step for p in places)
    return (record(SLICE, g, starts=tuple(low), stops=stops, steps=steps),)


def _pad_keeps_rows(low: Shape, high: Shape, interior: Shape) -> bool:
    return not (low[0] or high[0] or interior[0])


PAD = register(
    Primitive(
        "pad", keeps_rows=_pad_keeps_rows, move=True,
        infer=_pad_infer, meaning=_pad_meaning, vjp=_pad_vjp,
        domain=lambda rng: (
            [rng.normal(size=(2, 3))], {"low": (1, 0), "high": (0, 2), "interior": (0, 1)}
        ),
        onnx="Pad",
        description=Description(
            "pad(a)", ("1",),
            "the numbers inside the padding receive their gradients",
        ),
    )
)  # fmt: skip


# --- joining ------------------------------------------------------------------------------------


def _concat_infer(*specs: Spec, axis: int) -> Spec:
    first = specs[0]
    total = 0
    for spec in specs:
        length = spec.shape[axis] if spec.ndim == first.ndim else None
        if spec.dtype != first.dtype:
            raise DTypeError(f"{first} and {spec} differ in dtype.")
        rest = [d for a, d in enumerate(spec.shape) if a != axis]
        if length is None or rest != [d for a, d in enumerate(first.shape) if a != axis]:
            raise ShapeError(f"{first} and {spec} differ in an axis other than {axis}.")
        if isinstance(length, Dim):
            raise ShapeError(f"can't join along axis {axis}, whose length {length} is unknown.")
        total += length
    return Spec((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)


def _concat_vjp(g: Tensor, out: Tensor, *inputs: Tensor, axis: int) -> tuple[Tensor, ...]:
    parts, start = [], 0
    for x in inputs:
        stop = start + int(x.shape[axis])  # type: ignore[arg-type]
        parts.append(g[(slice(None),) * axis + (slice(start, stop),)])
        start = stop
    return tuple(parts)


CONCAT = register(
    Primitive(
        "concat", move=True, keeps_rows=lambda axis: axis != 0, infer=_concat_infer,
        meaning=lambda *arrays, axis: np.concatenate(arrays, axis=axis),
        vjp=_concat_vjp,
        domain=lambda rng: ([rng.normal(size=(2, 3)), rng.normal(size=(2, 1))], {"axis": 1}),
        onnx="Concat",
        description=Description(
            "join({})", (),
            "numbers are only moved, so each gradient returns to the place of its number",
        ),
    )
)  # fmt: skip
ARANGE = register(
    Primitive(
        "arange", infer=lambda length, dtype: Spec((length,), dtype),
        meaning=lambda length, dtype: np.arange(length, dtype=dtype),
        domain=lambda rng: ([], {"length": 5, "dtype": "int64"}), onnx="Range",
    )
)  # fmt: skip


def reshape(x: TensorLike, shape: Sequence[int | str | Dim]) -> Tensor:
    """Return the elements of `x` in row-major order with `shape`; one length may be -1.

    >>> reshape([1.0, 2.0, 3.0, 4.0], (2, -1)).shape
    (2, 2)
    """
    return as_tensor(x).reshape(tuple(shape))


def transpose(x: TensorLike, axes: Sequence[int] | None = None) -> Tensor:
    """Return `x` with its axes permuted; reversed when `axes` is None."""
    return as_tensor(x).transpose(*(axes or ()))


def broadcast_to(x: TensorLike, shape: Sequence[int | str | Dim]) -> Tensor:
    """Return `x` broadcast to `shape` as in NumPy."""
    x, target = as_tensor(x), as_shape(tuple(shape))
    return x if x.shape == target else record(BROADCAST, x, shape=target)


def sum_to(x: Tensor, shape: Shape) -> Tensor:
    """Return `x` summed to `shape`: the transpose of :func:`broadcast_to`."""
    if x.shape == shape:
        return x
    extra = x.ndim - len(shape)
    grown = [a for a in range(x.ndim) if a < extra or (shape[a - extra] == 1 and x.shape[a] != 1)]
    return x.sum(grown).reshape(shape)


def pad(x: TensorLike, widths: Sequence[tuple[int, int]]) -> Tensor:
    """Return `x` with zeros added before and after each axis: ``widths[axis] = (low, high)``.

    >>> pad([1.0, 2.0], [(1, 0)])
    Tensor([0., 1., 2.], f32[3])
    """
    x = as_tensor(x)
    if len(widths) != x.ndim:
        raise ShapeError(f"pad: {len(widths)} pairs of widths for a tensor of {x.ndim} axes.")
    low, high = (tuple(int(w[i]) for w in widths) for i in (0, 1))
    return record(PAD, x, low=low, high=high, interior=(0,) * x.ndim)


def concat(tensors: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """Return `tensors` joined along an existing `axis`.

    >>> concat([[1.0], [2.0, 3.0]])
    Tensor([1., 2., 3.], f32[3])
    """
    if not tensors:
        raise ShapeError("concat: no tensors were given.")
    parts = [as_tensor(t) for t in tensors]
    dtype = np.result_type(*(p.dtype for p in parts))
    (axis,) = normalize_axes(axis, parts[0].ndim)
    return record(CONCAT, *(p.astype(dtype) for p in parts), axis=axis)


def stack(tensors: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """Return `tensors` of the same shape joined along a new `axis`."""
    return concat([expand_dims(t, axis) for t in tensors], axis)


def expand_dims(x: TensorLike, axis: int) -> Tensor:
    """Return `x` with a new axis of length 1 at position `axis`."""
    x = as_tensor(x)
    (at,) = normalize_axes(axis, x.ndim + 1)
    return x.reshape((*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: TensorLike, axis: int) -> Tensor:
    """Return `x` without `axis`, whose length must be 1."""
    x = as_tensor(x)
    (at,) = normalize_axes(axis, x.ndim)
    if x.shape[at] != 1:
        raise ShapeError(f"squeeze: axis {axis} has length {x.shape[at]}, not 1.")
    return x.reshape((*x.shape[:at], *x.shape[at + 1 :]))


def arange(length: int | Dim, dtype: str = "int64") -> Tensor:
    """Return the integers from 0 up to but not including `length`."""
    return record(ARANGE, length=length, dtype=dtype)
