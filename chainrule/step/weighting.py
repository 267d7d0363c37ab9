"""How much each row counts in the loss: sample weights and class weights, checked.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from chainrule.core.errors import DataError, OptionError
from chainrule.core.options import is_number
from chainrule.core.wording import counted
from chainrule.data.check_arrays import check_numbers

__all__ = ["ClassWeight", "class_weights", "row_weights"]

Array: TypeAlias = "np.ndarray[Any, Any]"
ClassWeight: TypeAlias = "Mapping[int, float] | str"


def class_weights(choice: ClassWeight, target: Array) -> Array:
    """Return the weight of each class, in the order of their numbers.

    "balanced" gives class k the weight ``rows / (classes * rows of k)``, so that each class
    counts as much as another, as in scikit-learn.  A mapping gives weights by class number, 1
    where it gives none.  Raises OptionError for what is neither, DataError for targets that are
    no class numbers.

    >>> class_weights("balanced", np.array([0, 0, 0, 1]))
    array([0.66666667, 2.        ])
    """
    labels = _labels(target)
    count = int(labels.max()) + 1
    if not isinstance(choice, Mapping):
        if choice != "balanced":
            raise OptionError(
                f"class_weight must be 'balanced' or a mapping such as {{0: 1.0, 1: 5.0}}, "
                f"not {choice!r}."
            )
        rows = np.bincount(labels, minlength=count)
        # A class without rows has no weight to find; it counts nothing, whatever is chosen.
        return np.where(rows > 0, len(labels) / (np.count_nonzero(rows) * np.maximum(rows, 1)), 1.0)
    weights = np.ones(max([count, *(int(k) + 1 for k in choice if _is_class(k))]))
    for label, weight in choice.items():
        if not _is_class(label):
            raise OptionError(f"class_weight: {label!r} is not a class number (0, 1, 2, ...).")
        if not is_number(weight) or not 0 <= weight < math.inf:
            raise OptionError(
                f"class_weight: class {label} needs a weight in [0, inf), not {weight!r}."
            )
        weights[int(label)] = weight
    return weights


def _is_class(label: Any) -> bool:
    whole = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
    return whole and bool(label >= 0)


def _labels(target: Array) -> Array:
    """Return encoded targets as class numbers."""
    flat = target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target
    if flat.ndim == 2 and np.isin(flat, (0, 1)).all() and (flat.sum(axis=1) == 1).all():
        flat = flat.argmax(axis=1)
    if flat.ndim != 1 or (flat != np.floor(flat)).any() or (flat < 0).any():
        raise DataError(
            "class_weight needs one class for each row, as class numbers, one-hot rows or 0/1 "
            f"labels; these targets, of shape {target.shape}, are none. Use sample_weight."
        )
    labels: Array = flat.astype(np.int64)
    return labels


def row_weights(
    sample_weight: Any,
    by_class: Array | None,
    target: Array,
    dtype: np.dtype[Any],
    elementwise: bool = False,
) -> Array | None:
    """Return the weight of each row of `target`, of mean 1; None where all count alike.

    Where the loss is `elementwise`, there may be one for each element of the target: (n, k).
    Sample and class weights multiply.  Their mean is made 1, so that a learning rate means the
    same with and without them.  Raises DataError for weights that do not fit the rows.
    """
    if sample_weight is None and by_class is None:
        return None
    weights = np.ones(len(target))
    if sample_weight is not None:
        given = check_numbers(sample_weight, "sample_weight")
        masks = elementwise and given.shape == target.shape
        if given.shape != (len(target),) and not masks:
            also = f", or the shape {target.shape} of the targets" if elementwise else ""
            raise DataError(
                f"sample_weight has shape {given.shape}; it must hold one number for each of the "
                f"{counted(len(target), 'row')}{also}."
            )
        if (given < 0).any():
            place = tuple(int(i) for i in np.argwhere(given < 0)[0])
            index = ", ".join(map(str, place))
            raise DataError(f"sample_weight[{index}] is {given[place]}; weights can't be negative.")
        weights = given.astype(np.float64)
    if by_class is not None:
        labels = _labels(target)
        weights = (
            weights * np.append(by_class, np.ones(max(0, labels.max() + 1 - len(by_class))))[labels]
        )
    largest = weights.max()
    if largest == 0:
        raise DataError("every row has weight 0, so there is nothing to learn from.")
    weights = weights / largest  # a sum of them is finite then
    scaled: Array = (weights * (weights.size / weights.sum())).astype(dtype)
    return scaled
