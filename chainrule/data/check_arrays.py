"""Check arrays before training: dtype, shape, finite values, labels.

A single NaN in the data turns every weight into NaN after one step, so it is reported here, with
its row and column.

Read next: :mod:`chainrule.data.table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.core.errors import DataError
from chainrule.core.other_arrays import is_masked
from chainrule.core.wording import counted
from chainrule.data.frames import read_array

__all__ = [
    "FEW",
    "check_classes",
    "check_features",
    "check_numbers",
    "check_same_length",
    "numbers_in_spread",
]

# Arrays given together, as for a model of two inputs.
_SEVERAL = (
    "A model takes one array: join several with np.hstack((A, B)), and take its columns apart in "
    "the model, as in a function of x that uses x[:, :k] and x[:, k:]."
)
_LOOKED_AT = 2**22  # values checked at once
FEW = 4.0  # floats per standard deviation: the rounding error is then 7 % of it
_ROUNDED = 16  # rounding error of a sum of a few numbers, in units in the last place
_FEW = 4096  # up to this many values, a mask is faster than a sum with warnings suppressed


def check_numbers(values: ArrayLike, name: str) -> NDArray[Any]:
    """Return `values` as a numeric array of shape (rows, ...), unchanged in dtype.

    Arrays and frames of other libraries are read by :func:`chainrule.data.frames.read_array`.
    Raises DataError on text or objects, rows of unequal length, no rows, and NaN, infinity or
    masked values (with position and count).  Indices in messages count from 0.

    >>> check_numbers([1, 2], "y").tolist()
    [1, 2]
    """
    given: Any = values
    values = read_array(values, name)
    if isinstance(given, Mapping) and _are_arrays(given.values()):
        raise DataError(f"{name} is a dictionary of arrays. {_SEVERAL}")
    try:
        array = np.asarray(values)
    except ValueError as error:
        if isinstance(given, (list, tuple)) and _are_arrays(given):
            raise DataError(f"{name} holds several arrays. {_SEVERAL}") from error
        raise DataError(f"{name} has rows of unequal length; they must be equal.") from error
    if is_masked(values):  # NumPy returns what is below the mask
        hidden = np.argwhere(np.ma.getmaskarray(values))  # type: ignore[arg-type]
        raise DataError(
            f"{_place(name, hidden[0].tolist(), array.ndim)} is masked; {len(hidden)} such "
            f"{'value' if len(hidden) == 1 else 'values'} in {len(np.unique(hidden[:, 0]))} of "
            f"{len(array)} rows. Fill them first, as with filled(0), or drop their rows."
        )
    if array.dtype.kind not in "buif":
        if array.dtype.kind == "c":
            raise DataError(
                f"{name} contains complex numbers ({array.dtype}), which are not supported. "
                "Give their real and imaginary parts as separate features."
            )
        holds = "objects or text" if array.dtype.kind in "OUS" else str(array.dtype)
        raise DataError(
            f"{name} must contain numbers, not {holds} (dtype {array.dtype}). Convert it with "
            "np.asarray(..., dtype=np.float32). For tables, use chainrule.tabular.read_problem and "
            "fit_table to train, and chainrule.tabular.predict_table(run, table) to predict."
        )
    if array.ndim == 0:
        raise DataError(f"{name} must be an array with rows, not the scalar {array}.")
    if len(array) == 0:
        raise DataError(f"{name} has no rows; its shape is {array.shape}.")
    if array.dtype.kind == "f":
        _check_finite(array, name)
    return array


def _are_arrays(parts: Iterable[Any]) -> bool:
    return all(isinstance(part, np.ndarray) and part.ndim > 1 for part in parts)


def check_features(X: ArrayLike, name: str = "X") -> NDArray[Any]:
    """Return `X` as `check_numbers` does; also raise DataError if it has no features.

    >>> check_features([[1.0, 2.0]]).shape
    (1, 2)
    """
    array = check_numbers(X, name)
    if array.size == 0:
        raise DataError(f"{name} has rows but no features; its shape is {array.shape}.")
    return array


def check_same_length(X: NDArray[Any], y: NDArray[Any]) -> None:
    """Raise DataError unless `X` and `y` have the same number of rows."""
    if len(X) != len(y):
        if X.ndim > 1 and X.shape[1] == len(y):
            raise DataError(
                f"X has {counted(len(X), 'row')} and y has {len(y)}; its shape is {X.shape}. "
                f"{_SEVERAL if X.ndim > 2 else 'Give X the shape (rows, features), as X.T.'}"
            )
        raise DataError(
            f"X has {counted(len(X), 'row')} and y has {len(y)}; each row needs one target. "
            f"Shapes: X {X.shape}, y {y.shape}."
        )


def check_classes(y: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Return labels `y` as int64 of shape (rows,), each from 0 to ``n_classes - 1``.

    Raises DataError, with the first invalid row, otherwise.

    >>> check_classes([0.0, 2.0], 3).tolist()
    [0, 2]
    """
    labels = check_numbers(y, "y")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"y must be class indices of shape (rows,); its shape is {labels.shape}. "
            "Convert one-hot rows with y.argmax(axis=1)."
        )
    for wrong, problem in (
        (labels != np.floor(labels), "is not a whole number"),
        (labels < 0, "is negative"),
        (labels >= n_classes, f"is out of range for {n_classes} classes"),
    ):
        rows = np.flatnonzero(wrong)
        if len(rows):
            raise DataError(
                f"y[{rows[0]}] = {labels[rows[0]]} {problem} ({len(rows)} such rows); "
                f"labels go from 0 to {n_classes - 1}."
            )
    return labels.astype(np.int64)


def numbers_in_spread(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """Return the number of distinct floats of `dtype` per standard deviation of each column.

    ``std / spacing(max(abs))`` of `values`, shape (rows, columns); infinity for a column that
    varies only by rounding.  Below 1, nearly all rows are rounded to the same number.

    >>> numbers_in_spread(np.array([[0.0, 1e9], [4.0, 1e9 + 4]]), np.dtype("float32")).tolist()
    [4194304.0, 0.03125]
    """
    if values.dtype.kind not in "iuf" or values.dtype.itemsize < 4:
        return np.full(values.shape[1], np.inf)
    largest = np.abs(values.astype(np.float64)).max(axis=0)
    # Subtract before converting: int64 is exact where float64 is not.
    signed = values.astype(np.int64) if values.dtype.kind == "u" else values
    with np.errstate(over="ignore", invalid="ignore"):
        spread = (signed - signed[:1]).std(axis=0, dtype=np.float64)
        spacing = np.spacing(largest.astype(dtype)).astype(np.float64)
    rounding = _ROUNDED * np.spacing(largest) if values.dtype == np.float64 else 0.0
    return np.where(spread > rounding, spread / spacing, np.inf)


def _place(name: str, place: Sequence[int], axes: int) -> str:
    """Return an element of an array in words, as in ``X[17, 2] (row 17, column 2)``."""
    index = ", ".join(map(str, place))
    column = f", column {place[1]}" if axes == 2 else ""
    return f"{name}[{index}] (row {place[0]}{column})"


def _check_finite(array: NDArray[Any], name: str) -> None:
    if array.size <= _FEW and np.count_nonzero(np.isfinite(array)) == array.size:
        return
    # The sum is finite only if every term is, and needs no mask as large as the data.
    # If large finite terms overflow, the exact check below decides.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(array)):
            return
    count, rows = 0, 0
    place: tuple[int, ...] = ()
    step = max(1, _LOOKED_AT * len(array) // max(1, array.size))
    for start in range(0, len(array), step):  # the array may be larger than memory
        bad = ~np.isfinite(array[start : start + step])
        if not place and bad.any():
            first, *rest = (int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
            place = (start + first, *rest)
        count += int(bad.sum())
        rows += int(bad.reshape(len(bad), -1).any(axis=1).sum())
    if count == 0:
        return
    word = "NaN" if np.isnan(array[place]) else "infinite"
    raise DataError(
        f"{_place(name, place, array.ndim)} is {word}; {count} such "
        f"{'value' if count == 1 else 'values'} in {rows} of {len(array)} rows. "
        "Fill or drop them first."
    )
