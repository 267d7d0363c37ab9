"""Shapes and dtypes: what is known about a value before it is computed.

A :class:`Spec` is a shape and a dtype.  A shape entry is an ``int``, or a
:class:`Dim`: a named length that is only known when data arrives.  Graphs are
recorded once with the number of rows as a ``Dim`` and then run with any
number of rows, so a last partial batch does not need a second graph.

Read next: :mod:`chainrule.core.graph`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from chainrule.core.errors import DTypeError, ShapeError, did_you_mean

__all__ = [
    "Dim",
    "Shape",
    "Spec",
    "as_dtype",
    "as_shape",
    "broadcast_shapes",
    "is_float",
    "resolve",
]


@dataclass(frozen=True)
class Dim:
    """A named length, equal only to a length of the same name.

    >>> Dim("n") == Dim("n"), Dim("n") == 3
    (True, False)
    """

    name: str

    def __repr__(self) -> str:
        return self.name


Shape: TypeAlias = "tuple[int | Dim, ...]"

SUPPORTED = tuple(
    np.dtype(name) for name in ("bool", "uint8", "uint32", "int32", "int64", "float32", "float64")
)
_SUPPORTED, _DTYPE = frozenset(SUPPORTED), np.dtype  # for a quick answer while recording
SHORT_NAMES = {
    "bool": "bool", "uint8": "u8", "uint32": "u32", "int32": "i32", "int64": "i64",
    "float32": "f32", "float64": "f64",
}  # fmt: skip


def as_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return `dtype` as a NumPy dtype, or raise :class:`DTypeError` if it is not supported."""
    if type(dtype) is _DTYPE and dtype in _SUPPORTED:
        return dtype
    try:
        result = np.dtype(dtype)
    except TypeError:
        hint = did_you_mean(str(dtype), [d.name for d in SUPPORTED])
        raise DTypeError(f"{dtype!r} is not a dtype. {hint}") from None
    if result not in SUPPORTED:
        names = ", ".join(d.name for d in SUPPORTED)
        raise DTypeError(f"dtype {result} is not supported; convert to one of {names} first.")
    return result


def is_float(dtype: DTypeLike) -> bool:
    """Return whether `dtype` is float32 or float64, the dtypes that have gradients."""
    return np.dtype(dtype).kind == "f"


def as_shape(shape: int | str | Dim | Sequence[int | str | Dim]) -> Shape:
    """Return `shape` as a tuple; a string names a :class:`Dim`.

    >>> as_shape(("n", 784))
    (n, 784)
    """
    if type(shape) is tuple and all(type(e) is Dim or (type(e) is int and e >= 0) for e in shape):
        return shape
    entries = (shape,) if isinstance(shape, (int, str, Dim)) else tuple(shape)
    result: list[int | Dim] = []
    for entry in entries:
        if isinstance(entry, Dim):
            result.append(entry)
        elif isinstance(entry, str):
            result.append(Dim(entry))
        elif int(entry) < 0:
            raise ShapeError(f"a length can't be negative: {tuple(entries)}.")
        else:
            result.append(int(entry))
    return tuple(result)


@dataclass(frozen=True)
class Spec:
    """The shape and dtype of a value.

    >>> Spec(("n", 784), "float32")
    f32[n,784]
    """

    shape: Shape
    dtype: np.dtype[Any]

    def __init__(self, shape: int | str | Dim | Sequence[int | str | Dim], dtype: DTypeLike):
        object.__setattr__(self, "shape", as_shape(shape))
        object.__setattr__(self, "dtype", as_dtype(dtype))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"{SHORT_NAMES[self.dtype.name]}[{','.join(map(str, self.shape))}]"

    def bind(self, value: np.ndarray[Any, Any], dims: dict[Dim, int], name: str) -> None:
        """Check that `value` fits this spec, and store the length of each Dim in `dims`.

        Raises :class:`ShapeError` naming the value and the axis that does not fit.
        """
        if value.ndim != self.ndim:
            raise ShapeError(
                f"{name!r} must have {self.ndim} axes, {self}, but its shape is {value.shape}."
            )
        for axis, (want, have) in enumerate(zip(self.shape, value.shape, strict=True)):
            expected = dims.setdefault(want, have) if isinstance(want, Dim) else want
            if expected != have:
                raise ShapeError(
                    f"{name!r} has length {have} along axis {axis}, but {self} needs {expected}."
                )


def broadcast_shapes(shapes: Iterable[Shape]) -> Shape:
    """Return the shape that NumPy broadcasting gives; a :class:`Dim` fits itself and 1.

    >>> broadcast_shapes([(Dim("n"), 1), (10,)])
    (n, 10)
    """
    shapes = list(shapes)
    ndim = max((len(shape) for shape in shapes), default=0)
    result: list[int | Dim] = [1] * ndim
    for shape in shapes:
        for axis, length in enumerate(shape, start=ndim - len(shape)):
            if length != 1 and result[axis] not in (1, length):
                listed = " and ".join(str(s) for s in shapes)
                raise ShapeError(
                    f"shapes {listed} do not broadcast: lengths {result[axis]} and {length} differ "
                    f"on axis {axis - ndim}. Lengths must be equal, or one of them 1."
                )
            if length != 1:
                result[axis] = length
    return tuple(result)


def same_size(a: Shape, b: Shape) -> bool:
    """Return whether two shapes have the same number of elements, whatever their Dims are."""
    symbols_a = sorted(d.name for d in a if isinstance(d, Dim))
    symbols_b = sorted(d.name for d in b if isinstance(d, Dim))
    numbers_a = math.prod(d for d in a if isinstance(d, int))
    numbers_b = math.prod(d for d in b if isinstance(d, int))
    return symbols_a == symbols_b and numbers_a == numbers_b


def resolve(value: Any, dims: Mapping[Dim, int]) -> Any:
    """Return `value` with every Dim in it, at any depth of tuples, replaced by its length."""
    if isinstance(value, Dim):
        if value not in dims:
            raise ShapeError(
                f"length {value} does not occur in any input, so its value is unknown; "
                "give the graph an input that has it."
            )
        return dims[value]
    if isinstance(value, tuple):
        return tuple(resolve(entry, dims) for entry in value)
    return value


def dims_in(value: Any) -> set[Dim]:
    """Return the Dims that occur in `value`, at any depth of tuples."""
    if isinstance(value, Dim):
        return {value}
    if isinstance(value, tuple):
        return set().union(*map(dims_in, value))
    return set()
