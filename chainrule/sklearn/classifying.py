"""What the classifiers and the regressors add: how targets are read, and how they predict.

Read next: :mod:`chainrule.sklearn.mlp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight

from chainrule.core.errors import DataError, OptionError
from chainrule.sklearn.class_labels import Labels, checked_labels
from chainrule.sklearn.estimator import NetworkEstimator
from chainrule.sklearn.solvers import check_options, full_batch
from chainrule.sklearn.summed_losses import regression_objectives, summed
from chainrule.step.objective import Objective

__all__ = ["Classifying", "Regressing"]

Array = np.ndarray[Any, Any]


def _in_parts(estimator: Any) -> bool:
    if full_batch(estimator.solver):
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not "
            "stochastic."
        )
    return True


def _weights(X: Array, given: Any) -> Array | None:
    """Return checked weights of rows; raise DataError for negative ones, or only zeros."""
    if given is None:
        return None
    weight: Array = _check_sample_weight(given, X, dtype=np.float64)
    if (weight < 0).any():
        row = int(np.argmax(weight < 0))
        raise DataError(f"sample_weight[{row}] is {weight[row]}; weights can't be negative.")
    if not weight.any():
        raise DataError("every row has weight 0, so there is nothing to learn from.")
    return weight


@dataclass(eq=False, repr=False, kw_only=True)
class Classifying(ClassifierMixin, NetworkEstimator):  # type: ignore[misc]
    """Base of the classifiers.

    `class_weight` is None, "balanced" or a mapping from label to weight, as in scikit-learn.
    """

    class_weight: Mapping[Any, float] | str | None = None

    if TYPE_CHECKING:
        classes_: Array

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Train on rows X (rows, features) with labels y, and return the estimator.

        y: a label for each row, of any type that sorts, or 0 and 1 in (rows, labels).
        `sample_weight` (rows,) is scaled to a mean of 1.  `X_val`, `y_val` are scored after each
        epoch: `validation_scores_` (accuracy) and `validation_loss_curve_`.  Raises ValueError for
        data that can't be used, and OptionError, which is one, for a wrong parameter.
        """
        held = None if X_val is None and y_val is None else (X_val, y_val, sample_weight_val)
        return self._classify(X, y, sample_weight, held, None, incremental=False)

    @available_if(_in_parts)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Train one epoch on these rows, from where the last call ended.

        The first call needs all `classes` that will come, unless its y has them.
        """
        return self._classify(X, y, sample_weight, None, classes, incremental=True)

    def _classify(
        self, X: Any, y: Any, sample_weight: Any, held: Any, classes: Any, incremental: bool
    ) -> Any:
        check_options(self)
        keeps = self.warm_start or incremental
        first = not (keeps and hasattr(self, "network_"))
        X, y = self._rows(X, y=y, multi_output=True, reset=first)
        y = checked_labels(y)
        self._read_labels(y, classes, first, incremental)
        weight = _weights(X, sample_weight)
        codes = self._labels.encode(y)
        if self.class_weight is not None:
            if incremental and self.class_weight == "balanced":
                raise OptionError(
                    "class_weight='balanced' needs all rows at once; for partial_fit give a "
                    "mapping from label to weight."
                )
            by_class = compute_sample_weight(self.class_weight, y)
            weight = by_class if weight is None else weight * by_class
        if held is not None:
            Xv, yv = self._rows(held[0], y=held[1], multi_output=True, reset=False)
            yv = checked_labels(yv)
            held = (Xv, yv, self._labels.encode(yv), held[2])
        self._learn(X, y, codes, self._labels.outputs, weight, held, first, incremental)
        return self

    def _read_labels(self, y: Array, classes: Any, first: bool, incremental: bool) -> None:
        if first:
            self._labels = Labels.of(y, classes)
        elif incremental and classes is not None:
            if not np.array_equal(self.classes_, Labels.of(y, classes).classes):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                    f"{self.classes_!r}"
                )
        elif not incremental:
            found = Labels.of(y)
            if found.kind != self._labels.kind or not np.array_equal(found.classes, self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous "
                    f"call to fit. Previously got {self.classes_}, `y` has {found.classes}"
                )
        self.classes_ = self._labels.classes

    def _aims(self) -> tuple[Objective, Objective]:
        return summed(self._labels.objective), self._labels.objective

    def _score_outputs(self, y: Array, outputs: Array, weight: Array | None) -> float:
        return float(accuracy_score(y, self._labels.decode(outputs), sample_weight=weight))

    def predict(self, X: Any) -> Array:
        """Return the label of each row of X, or rows of 0 and 1 for several labels."""
        outputs = self._outputs(X)
        return self._labels.decode(outputs)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class (rows, classes), in the order of `classes_`."""
        outputs = self._outputs(X)
        return self._labels.probabilities(outputs)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of :meth:`predict_proba`."""
        with np.errstate(divide="ignore"):  # of a probability that rounds to 0
            return np.asarray(np.log(self.predict_proba(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(eq=False, repr=False, kw_only=True)
class Regressing(RegressorMixin, NetworkEstimator):  # type: ignore[misc]
    """Base of the regressors.

    `loss` is "squared_error", "absolute_error" or "poisson", a loss of chainrule for values or
    counts by name or as an object, such as ``nn.Huber(2.0)``, or a function of (output, target).
    """

    loss: str | Callable[..., Any] = "squared_error"

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Train on rows X (rows, features) with numbers y, and return the estimator.

        y: (rows,) or (rows, outputs).  `sample_weight` (rows,) is scaled to a mean of 1.  `X_val`,
        `y_val` are scored after each epoch: `validation_scores_` (R²) and
        `validation_loss_curve_`.  Raises ValueError for data that can't be used, and OptionError,
        which is one, for a wrong parameter.
        """
        held = None if X_val is None and y_val is None else (X_val, y_val, sample_weight_val)
        return self._regress(X, y, sample_weight, held, incremental=False)

    @available_if(_in_parts)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train one epoch on these rows, from where the last call ended."""
        return self._regress(X, y, sample_weight, None, incremental=True)

    def _regress(self, X: Any, y: Any, sample_weight: Any, held: Any, incremental: bool) -> Any:
        check_options(self)
        keeps = self.warm_start or incremental
        first = not (keeps and hasattr(self, "network_"))
        X, y = self._numbers(X, y, first)
        if first:
            self._flat = y.ndim == 1
        if held is not None:
            Xv, yv = self._numbers(held[0], held[1], False)
            held = (Xv, yv, yv, held[2])
        outputs = 1 if y.ndim == 1 else y.shape[1]
        self._learn(X, y, y, outputs, _weights(X, sample_weight), held, first, incremental)
        return self

    def _numbers(self, X: Any, y: Any, reset: bool) -> tuple[Array, Array]:
        X, y = self._rows(X, y=y, multi_output=True, y_numeric=True, reset=reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _aims(self) -> tuple[Objective, Objective]:
        return regression_objectives(self.loss)

    def _score_outputs(self, y: Array, outputs: Array, weight: Array | None) -> float:
        return float(r2_score(y, self._flattened(outputs), sample_weight=weight))

    def _flattened(self, outputs: Array) -> Array:
        values = self.run_.decide(outputs)
        return values[:, 0] if self._flat else values

    def predict(self, X: Any) -> Array:
        """Return values, (rows,) or (rows, outputs); for the loss "poisson" expected counts."""
        return self._flattened(self._outputs(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
