"""The parts of a training: what a user gave, checked, encoded and divided.

The ``data`` and ``validation`` of :func:`chainrule.fit` go in; the rows that train and the rows
held out come out, each with its targets as the loss reads them and its weights.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, OptionError
from chainrule.core.options import is_number
from chainrule.core.other_arrays import is_masked
from chainrule.core.wording import counted
from chainrule.data.check_arrays import check_same_length
from chainrule.data.frames import column_names, read_array
from chainrule.data.splits import split
from chainrule.nn.layer import Layer, check_input
from chainrule.nn.scale import reads_pixels
from chainrule.step.logits import check_logits
from chainrule.step.magnitudes import check_precision, warn_of_bytes
from chainrule.step.objective import Objective, check_target
from chainrule.step.part import Part
from chainrule.step.record import check_rows, data_input, forward, model_dtype
from chainrule.step.weighting import ClassWeight, class_weights, row_weights

__all__ = [
    "check_feature_names",
    "check_made",
    "check_pair",
    "hold_out",
    "names_of",
    "read_pair",
    "read_parts",
]

Array = np.ndarray[Any, Any]
_IMAGES_AT_ONCE = 1_000  # looked at for a bright pixel
_DARKEST = 16  # greatest number of images whose pixels have 4 bits, or that are no images


def read_parts(
    model: Layer,
    data: tuple[Any, Any],
    validation: tuple[Any, ...] | float | None,
    aim: Objective,
    sample_weight: Any,
    class_weight: ClassWeight | None,
    seed: int,
) -> tuple[Part, Part | None]:
    """Return the part that trains and the part held out, if any.

    Raises DataError, ShapeError or OptionError for what can't be trained or scored on.
    """
    dtype = model_dtype(model)
    X, y = check_pair(_without_masked(data, sample_weight), "X", "y", dtype)
    if _pixels(model, X):
        _check_pixels(X)
    check_precision(X, np.asarray(y), aim, dtype)
    warn_of_bytes(model, X)
    recorded = forward(model, data_input("x", X))
    check_logits(model, aim, recorded)
    output = recorded.shape
    check_input([model], X)
    target = aim.target(y, output, dtype)
    by_class = None if class_weight is None else class_weights(class_weight, target)
    train = Part(
        X, target, None, row_weights(sample_weight, by_class, target, dtype, aim.elementwise)
    )
    if validation is None:
        return train, None
    if is_number(validation) or isinstance(validation, bool):
        return _hold_out(train, y, float(validation), aim, seed)  # type: ignore[arg-type]
    pair: Any = validation
    own = None
    if isinstance(pair, (tuple, list)) and len(pair) == 3:
        *pair, own = pair
    Xv, yv = check_pair(_without_masked(pair, own), "X of validation", "y of validation", dtype)
    if Xv.shape[1:] != X.shape[1:]:
        raise DataError(f"validation rows have shape {Xv.shape[1:]}, training rows {X.shape[1:]}.")
    if _pixels(model, Xv) != _pixels(model, X):
        raise DataError(
            f"validation holds {Xv.dtype} and X {X.dtype}; images in uint8 are scaled by 1/255 and "
            "other numbers are not, so give both in one form."
        )
    check_input([model], Xv)
    held_target = aim.target(yv, output, dtype)
    return train, Part(
        Xv, held_target, None, row_weights(own, by_class, held_target, dtype, aim.elementwise)
    )


def names_of(data: Any) -> tuple[str, ...] | None:
    """Return the names of the columns of X in ``data = (X, y)``, if X is a frame."""
    return column_names(data[0]) if isinstance(data, (tuple, list)) and data else None


def read_pair(data: Any, columns: Sequence[str] | None = None) -> Any:
    """Return (X, y), or (X, y, weights), with arrays and frames of other libraries as NumPy arrays.

    The columns of a frame X are taken in the order of `columns`, if they are given.  What is
    neither is returned as it is.  Raises DataError as :func:`chainrule.data.frames.read_array`.
    """
    if not isinstance(data, (tuple, list)) or not 2 <= len(data) <= 3:
        return data
    X, *others = data
    named = zip(others, ("y", "weights"), strict=False)
    return (read_array(X, "X", columns), *(read_array(one, name) for one, name in named))


def _pixels(model: Layer, X: Array) -> bool:
    return reads_pixels(model, X.dtype, X.ndim)


def _check_pixels(X: Array) -> None:
    """Raise DataError or warn of images with no bright pixel: they would be scaled to nothing."""
    greatest = 0
    for start in range(0, len(X), _IMAGES_AT_ONCE):
        greatest = max(greatest, int(X[start : start + _IMAGES_AT_ONCE].max()))
        if greatest > _DARKEST:
            return
    if greatest <= 1:
        raise DataError(
            "X is uint8 in the shape of images, which is scaled by 1/255, but holds only 0 and 1. "
            "Give X.astype(bool) to keep these values, or start the model with nn.Scale(1)."
        )
    warnings.warn(
        "X is uint8 in the shape of images, which is scaled by 1/255, but no number in it is above "
        f"{greatest}. If they are no pixels of 0 to 255, start the model with "
        f"nn.Scale(1 / {greatest}), or give X.astype(float) to keep them.",
        stacklevel=5,
    )


def _without_masked(data: Any, weight: Any) -> Any:
    """Return ``data = (X, y)`` with 0 for targets of weight 0: not known, often they are NaN."""
    if weight is None or not isinstance(data, (tuple, list)) or len(data) != 2:
        return data
    y, weights = np.asarray(data[1]), np.asarray(weight)
    if is_masked(data[1]) and y.dtype.kind == "f":
        y = data[1].filled(np.nan)  # where the weight is not 0, this is refused as NaN
    if y.shape != weights.shape or y.dtype.kind != "f":
        return data
    return data[0], np.where(weights == 0, 0, y)


def check_made(model: Any, optimizer: Any) -> None:
    """Raise OptionError for a class where a thing made by calling it belongs, or a bare list."""
    for what, given, call in (("model", model, "(...)"), ("optimizer", optimizer, "()")):
        if isinstance(given, type):
            name = given.__name__
            raise OptionError(f"{what} is the class {name}; call it: {name}{call}.")
    if not callable(model) and hasattr(model, "forward"):
        raise OptionError(
            f"model is a {type(model).__name__} with a method forward; a layer computes in "
            "__call__, so rename forward to __call__."
        )
    if not callable(model):
        listed = isinstance(model, (list, tuple))
        hint = "wrap it: nn.Sequential([...])" if listed else "such as nn.Linear or nn.Sequential"
        raise OptionError(f"model is a {type(model).__name__}, and must be a layer; {hint}.")


def check_feature_names(names: Sequence[str] | None, part: Part) -> None:
    """Raise OptionError unless there is a name for each number of a row, or `names` is None."""
    if names is None:
        return
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise OptionError("feature_names must be a list of texts, one for each column of X.")
    width = int(np.prod(part.x.shape[1:]))
    if len(names) != width:
        raise OptionError(
            f"feature_names has {counted(len(names), 'name')}, but X has "
            f"{counted(width, 'column')}; give one name for each."
        )


def check_pair(data: Any, x_name: str, y_name: str, dtype: np.dtype[Any]) -> tuple[Array, Any]:
    """Return checked features and raw targets of ``data = (X, y)``.

    Raises DataError when it is not a pair, lengths differ, or a value can't be used in `dtype`.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise DataError(f"data must be a pair ({x_name}, {y_name}), not {type(data).__name__}.")
    X = check_rows(data[0], x_name, dtype)
    y = check_target(data[1], y_name)
    check_same_length(X, y)
    return X, y


def hold_out(y: Array, fraction: float, aim: Objective, seed: int) -> tuple[Array, Array]:
    """Return the numbers of the rows that train and of those held out by ``validation=fraction``.

    Classes `y` keep their shares.
    """
    stratify = aim.kind == "classes" and np.ndim(y) == 1
    return split(y if stratify else len(y), fraction, seed)


def _hold_out(
    whole: Part, y: Array, fraction: float, aim: Objective, seed: int
) -> tuple[Part, Part]:
    """Return the rows that train and the rows held out."""
    if not 0 < fraction < 1:
        raise OptionError(
            "fit: validation must be a pair (X, y), or the fraction of rows to hold out, between "
            f"0 and 1, both excluded; got {fraction:g}."
        )
    train, held = hold_out(y, fraction, aim, seed)
    parts = replace(whole, rows=train), replace(whole, rows=held)
    for part, which in zip(parts, ("that train", "held out"), strict=True):
        if part.total_weight == 0:
            raise DataError(
                f"fit: the {counted(len(part), 'row')} {which} by validation={fraction:g} have "
                "weight 0 only, so they tell nothing; choose the rows yourself, "
                "validation=(X, y, weights)."
            )
    return parts
