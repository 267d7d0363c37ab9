"""Class labels of any type as the numbers that a loss reads, and back.

Read next: :mod:`chainrule.sklearn.estimator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from chainrule.core.errors import DataError
from chainrule.step.objective import Objective, objective

__all__ = ["Labels", "checked_labels"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Labels:
    """The sorted `classes` of a target of some `kind`.

    "binary" and "multiclass": one label a row, two classes (or one) and more.  "multilabel": a row
    of 0 and 1, a column for each class.

    >>> found = Labels.of(np.array(["b", "a", "b"]))
    >>> found.encode(np.array(["a", "b"])), found.decode(np.array([[3.0], [-1.0]]))
    (array([False,  True]), array(['b', 'a'], dtype='<U1'))
    """

    kind: Literal["binary", "multiclass", "multilabel"]
    classes: Array

    @classmethod
    def of(cls, y: Array, classes: Any = None) -> Labels:
        """Return the labels in `y`; `classes` lists those that may come later, too."""
        found = unique_labels(y) if classes is None else unique_labels(classes)
        if y.ndim == 2:
            return cls("multilabel", found if classes is not None else np.arange(y.shape[1]))
        return cls("multiclass" if len(found) > 2 else "binary", found)

    @property
    def outputs(self) -> int:
        """The number of outputs of a network: one for two classes."""
        return 1 if self.kind == "binary" else len(self.classes)

    @property
    def objective(self) -> Objective:
        """The loss of a network that predicts them."""
        return objective("cross_entropy" if self.kind == "multiclass" else "binary_cross_entropy")

    def encode(self, y: Array) -> Array:
        """Return booleans for two classes, class numbers for more, and rows of 0 and 1.

        Raises DataError for a label that is not among the classes.
        """
        if self.kind == "multilabel":
            if y.ndim != 2 or y.shape[1] != len(self.classes):
                raise DataError(
                    f"y has shape {y.shape}; it must have a column for each of the "
                    f"{len(self.classes)} labels."
                )
            return y
        if y.ndim != 1:
            raise DataError(f"y has shape {y.shape}; it must hold one class for each row.")
        if unknown := set(np.unique(y).tolist()) - set(self.classes.tolist()):
            raise DataError(
                f"y holds classes that are not in classes_ = {self.classes}: "
                f"{', '.join(repr(label) for label in sorted(unknown, key=repr))}. Give all "
                "classes to the first call of partial_fit, as classes=[...]."
            )
        numbers: Array = np.searchsorted(self.classes, y)
        # The only class is the first of two: its rows are "no".
        return numbers.astype(bool) if self.kind == "binary" else numbers

    def decode(self, outputs: Array) -> Array:
        """Return the labels that the raw `outputs` of a network stand for."""
        if self.kind == "multiclass":
            return np.asarray(self.classes[outputs.argmax(axis=1)])
        if self.kind == "multilabel":
            return (outputs > 0).astype(np.int64)
        yes = (outputs[:, 0] > 0) & (len(self.classes) == 2)
        return np.asarray(self.classes[yes.astype(np.intp)])

    def probabilities(self, outputs: Array) -> Array:
        """Return the probability of each class (rows, classes) for raw `outputs`."""
        found = self.objective.probabilities(outputs)
        if self.kind != "binary":
            return found
        if len(self.classes) == 1:
            return np.ones_like(found)
        return np.hstack([1 - found, found])


def checked_labels(y: Any) -> Array:
    """Return a target of classes as an array: (rows,), or rows of 0 and 1.

    Raises ValueError for what is no target of classes, and DataError for several classes a row.
    """
    check_classification_targets(y)
    kind = type_of_target(y)
    if kind == "multilabel-indicator":
        return np.asarray(y.toarray() if hasattr(y, "toarray") else y).astype(np.int64)
    if kind == "multiclass-multioutput":
        raise DataError(
            "y has several columns of more than two classes each; fit one classifier for each "
            "column, as sklearn.multioutput.MultiOutputClassifier does."
        )
    return np.asarray(column_or_1d(y, warn=True))
