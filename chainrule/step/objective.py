"""The objective of a training: a loss, and how targets and predictions are read with it.

`y` may be class numbers, one-hot rows, yes-or-no labels or real values.  Here
it is checked once, against the model's output, and given the one shape that
can't broadcast by accident.

Read next: :mod:`chainrule.step.record`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, OptionError, ShapeError, did_you_mean
from chainrule.core.pickling import check_named
from chainrule.core.spec import Dim, Shape, is_float
from chainrule.core.tensor import Tensor
from chainrule.core.wording import counted
from chainrule.data.check_arrays import check_classes, check_numbers
from chainrule.nn.layer_config import to_config
from chainrule.nn.losses import LEVELS, LOSSES, WITH_OPTIONS, Quantile
from chainrule.nn.several import Several

__all__ = ["Objective", "objective"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Objective:
    """A loss and the kind of prediction it trains.

    kind is "classes" (one of k), "ordered" (one of k with an order, from k - 1 outputs),
    "labels" (k yes-or-no answers), "values" (real numbers), "quantiles" (an output for each
    level), "counts" (outputs are logarithms of rates), "several" (targets with
    a loss and outputs of their own, see :attr:`parts`) or "custom" (an
    unknown loss: outputs are left as they are).  `probabilistic` says whether
    outputs for classes and labels are logits of probabilities; the scores of
    hinge losses are not, and their targets must be certain.
    """

    name: str
    function: Callable[..., Tensor] | None
    kind: str
    metric: str | None
    probabilistic: bool = True

    def __getstate__(self) -> dict[str, Any]:
        check_named("the loss", self.function)
        return self.__dict__

    @property
    def elementwise(self) -> bool:
        """Whether the loss looks at each column of the target alone, and so can weigh it."""
        return self.kind in ("labels", "values", "counts")

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the quantiles that the outputs are, () where they are none."""
        if self.kind != "quantiles":
            return ()
        return self.function.levels if isinstance(self.function, Quantile) else LEVELS

    @property
    def parts(self) -> tuple[tuple[Objective, slice], ...]:
        """The objective of each of several targets, and its columns of the outputs."""
        if not isinstance(self.function, Several):
            return ()
        return tuple(zip(map(objective, self.function.losses), self.function.columns, strict=True))

    @property
    def median(self) -> int:
        """The output that stands for the prediction: the level nearest to one half."""
        return int(np.abs(np.array(self.levels) - 0.5).argmin()) if self.levels else 0

    def target(self, y: Any, output: Shape, dtype: np.dtype[Any]) -> Array:
        """Return `y` checked against the model's `output` shape and ready for the loss.

        Raises DataError or ShapeError naming what does not fit.
        """
        array = check_target(y)
        if self.kind == "classes":
            return self._class_target(array, output, dtype)
        if self.kind == "ordered":
            return self._ordered_target(array, output)
        if self.kind == "several":
            return self._several_targets(array, output, dtype)
        if self.kind == "custom":
            return as_float(array, dtype) if is_float(array.dtype) else array
        if self.kind in ("labels", "counts") and array.size:
            self._check_bounds(array)
        if self.kind == "quantiles":
            output = self._one_column(output)
        if array.shape[1:] != output[1:] and array.ndim == 1 and output[1:] == (1,):
            array = array[:, None]
        if array.shape[1:] != output[1:]:
            raise ShapeError(
                f"y has shape {array.shape} but the model's output is {output}: they would "
                f"broadcast, not pair up. {self._cure_of_shapes(array, output)}"
            )
        return as_float(array, dtype)

    def _one_column(self, output: Shape) -> Shape:
        """Return the shape of the targets of quantiles: a column where `output` has the levels."""
        if len(output) != 2 or output[1] != len(self.levels):
            raise ShapeError(
                f"{self.name} needs one output for each of the {len(self.levels)} levels "
                f"{', '.join(f'{q:g}' for q in self.levels)}, but the model's output is {output}."
            )
        return (output[0], 1)

    def _several_targets(self, array: Array, output: Shape, dtype: np.dtype[Any]) -> Array:
        """Return targets of shape (rows, targets), each checked by its own objective."""
        wanted = max(columns.stop for _, columns in self.parts)
        if output[1:] != (wanted,) or array.shape[1:] != (len(self.parts),):
            raise ShapeError(
                f"{self.name}: y must have a column for each of the {len(self.parts)} targets, not "
                f"shape {array.shape}, and the model {wanted} outputs, not {output}."
            )
        for k, (aim, columns) in enumerate(self.parts):
            aim.target(array[:, k], (output[0], columns.stop - columns.start), dtype)
        return as_float(array, dtype)

    def _ordered_target(self, array: Array, output: Shape) -> Array:
        """Return class numbers of shape (rows,), 0 to the number of outputs."""
        if len(output) != 2 or array.ndim != 1:
            raise ShapeError(
                f"{self.name} needs class numbers of shape (rows,) and one output fewer than there "
                f"are classes; y has shape {array.shape} and the model's output is {output}."
            )
        labels: Array = check_classes(array, int(output[1]) + 1).astype(np.int32)  # type: ignore[arg-type]
        return labels

    def _cure_of_shapes(self, array: Array, output: Shape) -> str:
        """Return what to change where targets and output of a loss of pairs do not fit."""
        wanted = array.shape[1] if array.ndim == 2 else 1
        if array.ndim > 2 or len(output) != 2 or array[:1].size == math.prod(output[1:]):  # type: ignore[arg-type]
            return f"Give y the shape (rows, {_columns(output)})."
        if self.kind == "values" and array.ndim == 1 and _whole_below(array, int(output[1])):  # type: ignore[arg-type]
            return (
                f"y holds the whole numbers {array.min():.0f} to {array.max():.0f}: if they are "
                f"classes, keep {output[1]} units and use loss='cross_entropy'; if they are "
                "amounts, end the model with 1 unit."
            )
        units = f"End the model with {counted(wanted, 'unit')}, one for each column of y"
        if self.kind == "labels" and wanted == 1:
            return (
                f"{units}; or, for {output[1]} classes numbered from 0, use loss="
                f"{'cross_entropy' if self.probabilistic else 'multiclass_hinge'!r}."
            )
        return f"{units}."

    def _check_bounds(self, array: Array) -> None:
        """Raise DataError naming the first row that is not a label, or no count."""
        if self.kind == "counts":
            bad, need = array < 0, "targets of 0 or more"
        elif self.probabilistic:
            bad, need = (array < 0) | (array > 1), "targets between 0 and 1"
        else:
            no = -1 if array.min() < 0 else 0
            bad, need = (array != no) & (array != 1), "targets of 0 and 1, or of -1 and 1"
        if bad.any():
            row = int(np.argwhere(bad)[0][0])
            raise DataError(f"{self.name} needs {need}, but y[{row}] is {array[row]}.")

    def _class_target(self, array: Array, output: Shape, dtype: np.dtype[Any]) -> Array:
        if len(output) != 2 or output[1] == 1:
            raise ShapeError(
                f"{self.name} needs one output for each class, but the model's output is "
                f"{output}; end it with one unit for each class, or use "
                f"loss={self._for_labels!r} for a single yes-or-no output."
            )
        classes = int(output[1])  # type: ignore[arg-type]
        if array.ndim == 2 and array.shape[1] == classes:
            sums = array.sum(axis=1)
            if array.min() < 0 or not np.allclose(sums, 1, atol=1e-4):
                row = int(np.argmax((array < 0).any(axis=1) | ~np.isclose(sums, 1, atol=1e-4)))
                raise DataError(
                    f"y[{row}] = {array[row]} is not a one-hot row or set of probabilities. For "
                    f"several labels a row use loss={self._for_labels!r}."
                )
            if self.probabilistic:
                return as_float(array, dtype)
            if (unsure := array.max(axis=1) < 1).any():
                row = int(np.argmax(unsure))
                raise DataError(
                    f"{self.name} needs the right class of each row, but y[{row}] = {array[row]} "
                    "leaves it open; use loss='cross_entropy' for probabilities."
                )
            array = array.argmax(axis=1)
        if array.ndim != 1:
            raise ShapeError(
                f"y has shape {array.shape}; {self.name} with {classes} outputs needs class "
                f"numbers of shape (rows,) or one-hot rows (rows, {classes}). "
                + ("Use y.ravel()." if array.shape[1:] == (1,) else "")
            )
        # 32 bits: half the work of comparing, and room for every class there is.
        labels: Array = check_classes(array, classes).astype(np.int32)
        return labels

    @property
    def _for_labels(self) -> str:
        """The loss to recommend for yes-or-no labels."""
        return "binary_cross_entropy" if self.probabilistic else "hinge"

    def probabilities(self, outputs: Array) -> Array:
        """Return class or label probabilities for raw `outputs`; raise OptionError without any."""
        z: Array = outputs.astype(np.float64)
        p: Array
        if not self.probabilistic or self.kind not in ("classes", "ordered", "labels"):
            raise OptionError(
                f"loss {self.name!r} trains no probabilities; use predict, or train with "
                "cross_entropy or binary_cross_entropy."
            )
        if self.kind == "classes":
            e = np.exp(z - z.max(axis=1, keepdims=True))
            p = e / e.sum(axis=1, keepdims=True)
        elif self.kind == "ordered":
            stay, past = np.exp(-np.logaddexp(0, z)), np.exp(-np.logaddexp(0, -z))
            reached = np.cumprod(np.pad(past, ((0, 0), (1, 0)), constant_values=1.0), axis=1)
            p = reached * np.pad(stay, ((0, 0), (0, 1)), constant_values=1.0)
        else:
            e = np.exp(-np.abs(z))
            p = np.where(z >= 0, 1, e) / (1 + e)
        result: Array = p.astype(outputs.dtype)
        return result

    def decide(self, outputs: Array) -> Array:
        """Return what raw `outputs` predict: class numbers, 0/1 labels, values, medians, counts."""
        decided: Array = outputs
        if self.kind == "classes":
            decided = outputs.argmax(axis=1)
        elif self.kind == "ordered":
            decided = self.probabilities(outputs).argmax(axis=1)
        elif self.kind == "quantiles":  # in order, where the network's may cross
            decided = np.sort(outputs, axis=1)[:, self.median, None]
        elif self.kind == "labels":
            decided = (outputs > 0).astype(np.int64)
        elif self.kind == "counts":
            decided = np.exp(outputs)
        elif self.kind == "several":
            each = [aim.decide(outputs[:, columns]).reshape(-1) for aim, columns in self.parts]
            decided = np.stack(each, axis=1).astype(outputs.dtype)
        return decided

    def saved(self) -> Any:
        """Return the loss as plain JSON values: its name, or its class and options."""
        own = type(self.function) in WITH_OPTIONS or self.kind == "several"
        return to_config(self.function) if own else self.name


def check_recorded(who: str, result: Any) -> None:
    """Raise OptionError unless the `result` of a function of the user's is a tensor."""
    if not isinstance(result, Tensor):
        raise OptionError(
            f"{who} returned {type(result).__name__}, not a tensor, so there is no graph to follow "
            "back. Compute with chainrule's functions and operators, without float(), .item(), "
            ".numpy() or NumPy's functions, and return the result."
        )


def check_range(array: Array, name: str, dtype: np.dtype[Any]) -> None:
    """Raise DataError, with row and column, for a number too large for the float `dtype`."""
    if array.dtype.kind != "f" or array.dtype.itemsize <= dtype.itemsize or array.size == 0:
        return
    limit = float(np.finfo(dtype).max)
    for extreme, at in ((array.max(), array.argmax), (array.min(), array.argmin)):
        if abs(extreme) > limit:
            row, *rest = (int(i) for i in np.unravel_index(int(at()), array.shape))
            column = f", column {rest[0]}" if len(rest) == 1 else ""
            index = ", ".join(map(str, (row, *rest)))
            raise DataError(
                f"{name}[{index}] (row {row}{column}) is {extreme:.3g}, too large for {dtype}, in "
                f"which the model computes (up to {limit:.3g}). Rescale it, or give the layers "
                "dtype='float64'."
            )


def as_float(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return `array` in the float `dtype` a model computes in; itself if it is already.

    Raises DataError for a number too large for it.
    """
    check_range(array, "y", dtype)
    converted: Array = array.astype(dtype, copy=False)
    return converted


def check_target(y: Any, name: str = "y") -> Array:
    """Return `y` as an array of finite numbers; raise DataError naming what is none."""
    try:
        kind = np.asarray(y).dtype
    except ValueError:  # rows of unequal length, which the next check names
        kind = np.dtype(np.float64)
    if kind.kind in "OUSM":
        raise DataError(
            f"{name} holds {kind} values; the loss needs numbers. Number the classes "
            "first: names, y = numpy.unique(y, return_inverse=True)."
        )
    array: Array = check_numbers(y, name)
    return array


def _whole_below(y: Array, classes: int) -> bool:
    """Return whether `y` holds whole numbers that can be those of so many classes, from 0."""
    numbers = y.dtype.kind in "biuf" and len(y) > 0
    return bool(numbers and y.min() >= 0 and 2 <= y.max() < classes and (y == np.rint(y)).all())


def _columns(output: Shape) -> str:
    return ", ".join(str(d) for d in output[1:]) if len(output) > 1 else ""


# The metric that is reported beside a loss, by the kind of its target.
METRIC_OF = {
    "classes": "accuracy", "ordered": "accuracy", "labels": "label_accuracy",
    "values": "r2", "quantiles": "r2", "counts": "r2",
}  # fmt: skip
BY_NAME = {
    loss.name: Objective(
        loss.name, loss.function, loss.kind, METRIC_OF[loss.kind], loss.probabilistic
    )
    for loss in LOSSES.values()
}


def objective(loss: str | Callable[[Tensor, Tensor], Tensor]) -> Objective:
    """Return the objective for a loss by name, for a loss of chainrule, or for any function.

    Raises OptionError naming the nearest, or for a class that was not called.

    >>> objective("mse").kind
    'values'
    >>> from chainrule import nn
    >>> objective(nn.Huber(2.0)).name
    'huber'
    """
    if isinstance(loss, type):
        raise OptionError(f"loss {loss.__name__} is a class; call it: {loss.__name__}().")
    if isinstance(loss, Several):
        return Objective("several", loss, "several", None)
    if (name := WITH_OPTIONS.get(type(loss))) is not None:
        return replace(BY_NAME[name], function=loss)  # type: ignore[arg-type]
    for known in BY_NAME.values():
        if loss in (known.name, known.function):
            return known
    if callable(loss):
        return Objective(getattr(loss, "__name__", "loss"), loss, "custom", None)
    raise OptionError(f"unknown loss {loss!r}. {did_you_mean(str(loss), BY_NAME)}")


def check_output(output: Any) -> None:
    """Raise unless a model's output is a tensor with the rows of its input as first axis."""
    check_recorded("the model", output)
    if not output.shape or not isinstance(output.shape[0], Dim):
        raise ShapeError(
            f"the model's output has shape {output.shape}; its first axis must be the rows of "
            "the input."
        )
