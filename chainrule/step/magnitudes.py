"""Warn, before training, of numbers that are too large or too close together to learn from.

Features and targets as given go in; a warning or an error with the cure comes out.  It exists
because such a training runs to its end, and only the score tells that nothing was learned.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from chainrule.core.errors import DataError
from chainrule.core.graph import Graph
from chainrule.data.check_arrays import FEW, numbers_in_spread
from chainrule.nn.layer import Layer
from chainrule.nn.scale import starts_with_scale
from chainrule.run.reference import Interpreter
from chainrule.step.objective import Objective
from chainrule.step.part import Part
from chainrule.step.record import data_input, forward
from chainrule.transform.mode import for_predicting

__all__ = ["check_precision", "warn_of_bytes", "warn_of_distance"]

Array = np.ndarray[Any, Any]
_LOOKED_AT = 2**18  # numbers looked at, of rows from the whole array
_ROWS = 10_000
_STARTING = 256  # rows that the untrained network is asked about
_FAR, _VERY_FAR = 100.0, 1000.0  # distances to the targets, in spreads of the outputs, or in ones
_STEPS = 10.0  # steps that cover a distance of one, at the usual learning rates
_SPREADS = 50.0  # distances to the targets, in spreads of theirs
_LARGE = 30.0  # outputs of an untrained network that come from features of no usual scale
_SURE = 1000.0  # spread of the scores of an untrained network; it is about 1 for usual features
_PIXELS, _LARGEST_BYTE = 49, 100  # more in a row, and larger ones, are taken for pixels
_MOST_NAMED = 3


def check_precision(X: Array, y: Array, aim: Objective, dtype: np.dtype[Any]) -> None:
    """Warn of features that vary by less than `dtype` can represent; reject such targets.

    X, y: as given, before they are converted to the `dtype` that the model computes in.
    Raises DataError for real-valued targets of which nothing is left.
    """
    cure = "or give the layers dtype='float64'"
    if dtype == np.float64:
        cure = "or subtract a number near it"
    if aim.kind in ("values", "quantiles"):
        sample = _sample(y)
        found = numbers_in_spread(sample, _coarser(y.dtype, dtype))
        if (found < 1).any():
            column = int(np.argmin(found))
            raise DataError(
                f"y{_named(y, [column])} varies by {_spread(sample, column):.3g} about "
                f"{_middle(sample, column):.6g}, and {dtype} numbers there are "
                f"{np.spacing(dtype.type(_middle(sample, column))):.3g} apart, so that nothing is "
                "left to learn. Train on (y - y.mean()) / y.std(), computed in float64, and undo "
                f"it on what is predicted, {cure}."
            )
    if X.dtype.kind == "f" and X.dtype.itemsize <= dtype.itemsize:
        return  # nothing is converted
    sample = _sample(X)
    few = np.flatnonzero(numbers_in_spread(sample, dtype) < FEW)
    if len(few):
        worst = int(few[0])
        warnings.warn(
            f"X{_named(X, few.tolist())} varies by {_spread(sample, worst):.3g} about "
            f"{_middle(sample, worst):.6g}, and {dtype} numbers there are "
            f"{np.spacing(dtype.type(_middle(sample, worst))):.3g} apart, so that most of it is "
            "lost. Train on (X - X.mean(axis=0)) / X.std(axis=0), computed in float64, "
            f"{cure}.",
            stacklevel=5,
        )


def warn_of_bytes(model: Layer, X: Array) -> None:
    """Warn of rows of bytes that look like pixels laid flat, which `model` does not scale."""
    if X.dtype != np.uint8 or X.ndim != 2 or X.shape[1] < _PIXELS or starts_with_scale(model):
        return
    greatest = int(_sample(X).max())
    if greatest > _LARGEST_BYTE:
        warnings.warn(
            f"X is uint8 in rows of {X.shape[1]}, with values up to {greatest}, which are large "
            "for a network and are not scaled. For pixels laid flat, start the model with "
            "nn.Scale(1 / 255), or give X the shape (rows, height, width).",
            stacklevel=5,
        )


def warn_of_distance(model: Layer, train: Part, aim: Objective, steps: int) -> None:
    """Warn of real-valued targets so far from the outputs of `model` that training fails.

    steps: how many are to be taken.  The outputs of a network start at about 0 with a spread of
    about 1, those of one trained before where its targets were.  Where they are scores of classes
    or labels, warn if they are so large that the network is sure of everything.
    """
    if aim.kind not in ("values", "classes", "labels") or len(train) < 2:
        return
    some = train.spread_rows(_STARTING)
    x = data_input("x", train.x)
    graph = for_predicting(Graph({"output": forward(model, x)}, {"x": x}))
    outputs = Interpreter(graph)({"x": train.x[some]})["output"].astype(np.float64)
    if not np.isfinite(outputs).all():
        return
    if aim.kind != "values":
        _warn_of_scores(outputs)
        return
    y = train.y[train.spread_rows(_ROWS)].astype(np.float64)
    # The median looks past outliers, as robust losses do.
    distance = np.median(np.abs(train.y[some] - outputs), axis=0).reshape(-1)
    unit = np.maximum(1.0, outputs.std(axis=0).reshape(-1))
    spread = y.std(axis=0).reshape(-1)
    ones = distance / unit
    far = (ones > _VERY_FAR) | ((ones > _FAR) & (steps < _STEPS * ones))
    # Of many columns, as the pixels of an image, some may hardly vary.
    usual = np.maximum(spread, np.sqrt(np.square(spread).mean()))
    far |= (usual > 0) & (distance > _SPREADS * usual)
    if not far.any():
        return
    worst = int(np.argmax(far))
    start = outputs.reshape(len(outputs), -1)[:, worst]
    size = float(np.sqrt(np.square(start).mean()))
    cure = "(y - y.mean()) / y.std() and undo it on what is predicted, or let fit_table do both"
    if size > max(_LARGE, float(np.abs(y).max())):
        cure = "(X - X.mean(axis=0)) / X.std(axis=0)"
    warnings.warn(
        f"y{_named(y, [worst])} is about {_middle(y, worst):.3g} with a spread of "
        f"{spread[worst]:.3g}, while the model starts with outputs of about {start.mean():.2g} "
        f"with a spread of {start.std():.2g}: too far apart to be learned well. Train on {cure}.",
        stacklevel=4,
    )


def _warn_of_scores(outputs: Array) -> None:
    # Their spread, since scores that are large but alike are those of features too close together.
    spread = float(outputs.std(axis=0).max())
    if spread > _SURE:
        warnings.warn(
            f"the model starts with scores that spread by {spread:.2g}, and so is sure of wrong "
            "answers before it has learned any: numbers in X are probably too large. Train on "
            "(X - X.mean(axis=0)) / X.std(axis=0), or let fit_table do it.",
            stacklevel=5,
        )


def _sample(values: Array) -> Array:
    """Return rows from all over `values`, (rows, columns), few enough to hold."""
    columns = max(1, math.prod(values.shape[1:]))
    most = min(len(values), max(2, min(_ROWS, _LOOKED_AT // columns)))
    rows = values[:: max(1, len(values) // most)][: 2 * most]
    return np.asarray(rows).reshape(len(rows), -1)


def _coarser(given: np.dtype[Any], dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the float dtype of the fewest digits that numbers pass through."""
    return given if given.kind == "f" and given.itemsize < dtype.itemsize else dtype


def _middle(sample: Array, column: int) -> float:
    return float(sample.reshape(len(sample), -1)[:, column].mean(dtype=np.float64))


def _spread(sample: Array, column: int) -> float:
    return float(sample.reshape(len(sample), -1)[:, column].std(dtype=np.float64))


def _named(values: Array, columns: list[int]) -> str:
    """Return how to call the `columns` of an array, "" where there is but one."""
    if math.prod(values.shape[1:]) == 1:
        return ""
    more = len(columns) - _MOST_NAMED
    listed = ", ".join(map(str, columns[:_MOST_NAMED]))
    tail = f" and {more} more" if more > 0 else ""
    return f", column{'s' * (len(columns) > 1)} {listed}{tail},"
