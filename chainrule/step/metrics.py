"""Metrics: scores of predictions that are reported beside the loss.

Each is one number per row as graph, averaged over rows, and then turned into
what is reported (a square root, a share of variance).

Read next: :mod:`chainrule.step.record`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.pickling import check_named
from chainrule.core.tensor import Tensor
from chainrule.nn.losses import mae, mse, ordered_log_probabilities
from chainrule.ops.composite import min
from chainrule.ops.elementary import exp
from chainrule.ops.reduce import argmax, mean
from chainrule.step.objective import Objective
from chainrule.step.part import Part

__all__ = ["Metric", "metric"]


# What else a record of the history, or the step it comes from, has by name.
RESERVED = frozenset({
    "epoch", "loss", "penalty", "learning_rate", "seconds", "samples_per_second", "layers",
    "step", "x", "y", "weight",
})  # fmt: skip


def _just_the_mean(average: float, part: Part) -> float:
    return average


def _root(average: float, part: Part) -> float:
    return math.sqrt(average)


@dataclass(frozen=True)
class _OfRates:
    """A metric of rates, for outputs that are their logarithms."""

    per_row: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.per_row(exp(prediction), target)


@dataclass(frozen=True)
class _OfColumn:
    """A metric of values, for outputs of which one column is the prediction."""

    per_row: Callable[[Tensor, Tensor], Tensor]
    column: int

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.per_row(prediction[:, self.column : self.column + 1], target)


@dataclass(frozen=True)
class _OfOrder:
    """A metric of classes, for outputs that are the logits of continuation ratios."""

    per_row: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self.per_row(ordered_log_probabilities(prediction), target)


@dataclass(frozen=True)
class Metric:
    """A name, its value per row as graph, and what to report of the average over rows.

    `finish` also receives the rows averaged over, for a measure that compares with the
    targets' spread.
    `higher_is_better` tells early stopping which way is up.
    """

    name: str
    per_row: Callable[[Tensor, Tensor], Tensor]
    finish: Callable[[float, Part], float] = _just_the_mean
    higher_is_better: bool = False

    def __getstate__(self) -> dict[str, Any]:
        check_named(f"the metric {self.name!r}", self.per_row)
        return self.__dict__


def _correct(prediction: Tensor, target: Tensor) -> Tensor:
    """Return 1 where the right class is predicted, else 0; one column is a yes-or-no question."""
    if prediction.ndim < 2 or prediction.shape[1] == 1:
        return _all_labels_correct(prediction, target)
    hit = argmax(prediction, 1) == (target if target.ndim == 1 else argmax(target, 1))
    return hit.astype(np.float32)


def _all_labels_correct(prediction: Tensor, target: Tensor) -> Tensor:
    """Return 1 where each of a row's yes-or-no labels is right, else 0."""
    hit = ((prediction > 0) == (target > 0.5)).astype(np.float32)
    return min(hit, range(1, hit.ndim)) if hit.ndim > 1 else hit


def _labels_correct(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the share of a row's yes-or-no labels that are right."""
    hit = ((prediction > 0) == (target > 0.5)).astype(np.float32)
    return mean(hit, range(1, hit.ndim)) if hit.ndim > 1 else hit


def _share_of_variance(mean_square: float, part: Part) -> float:
    return 1 - mean_square / part.variance if part.variance > 0 else float("nan")


BY_NAME = {
    m.name: m
    for m in (
        Metric("accuracy", _correct, higher_is_better=True),
        Metric("label_accuracy", _labels_correct, higher_is_better=True),
        Metric("mse", mse),
        Metric("rmse", mse, _root),
        Metric("mae", mae),
        Metric("r2", mse, _share_of_variance, higher_is_better=True),
    )
}


def metric(choice: str | Callable[[Tensor, Tensor], Tensor]) -> Metric:
    """Return the metric of that name, or one that averages a callable of (prediction, target).

    accuracy: share of rows whose class, or whose every label, is right.  label_accuracy: share of
    yes-or-no labels right.  mse, rmse, mae: squared, root squared and absolute
    error.  r2: ``1 - mse / variance``, the share of the target's variance explained.
    Raises OptionError naming the nearest, or for a function of your own that is named like a
    metric of chainrule: a saved run knows metrics by their names.
    """
    if callable(choice):
        name = getattr(choice, "__name__", "metric")
        if name not in BY_NAME:
            return Metric(name, choice)
        if choice not in (mse, mae):
            raise OptionError(
                f"metrics: {name!r} is the name of a metric of chainrule, which a saved run would "
                f"take in place of yours. Rename the function, or give the name, [{name!r}], for "
                "chainrule's."
            )
        choice = name
    if choice not in BY_NAME:
        raise OptionError(f"unknown metric {choice!r}. {did_you_mean(str(choice), BY_NAME)}")
    return BY_NAME[choice]


def metrics_of(choices: Sequence[Any] | None, aim: Objective) -> tuple[Metric, ...]:
    """Return the chosen metrics, or the one that suits the objective when nothing was chosen.

    Raises OptionError for an unknown name, and for a name that is taken.
    """
    if isinstance(choices, str):
        raise OptionError(f"metrics must be a list, such as [{choices!r}], not {choices!r}.")
    if choices is None:
        choices = [aim.metric] if aim.metric else []
    found = [metric(choice) for choice in choices]
    _check_names([m.name for m in found])
    return tuple(_suited(m, aim) for m in found)


def _suited(known: Metric, aim: Objective) -> Metric:
    """Return a metric chosen by name in the form that fits what the outputs mean."""
    if BY_NAME.get(known.name) is not known:
        return known
    if aim.kind == "labels" and known.name == "accuracy":
        # Several labels a row look like one-hot rows; only the objective tells them apart.
        return replace(known, per_row=_all_labels_correct)
    if aim.kind == "counts":  # outputs are logarithms of what is predicted
        return replace(known, per_row=_OfRates(known.per_row))
    if aim.kind == "quantiles":
        return replace(known, per_row=_OfColumn(known.per_row, aim.median))
    if aim.kind == "ordered":
        return replace(known, per_row=_OfOrder(known.per_row))
    return known


def _check_names(names: Sequence[str]) -> None:
    """Raise OptionError for a name that would hide another entry of the history."""
    for i, name in enumerate(names):
        if name in names[:i]:
            raise OptionError(f"metrics: two are named {name!r}; give each a name of its own.")
        if name in RESERVED or name.startswith("val_") or "/" in name:
            raise OptionError(
                f"metrics: {name!r} is a name the history keeps for itself; rename the function."
            )
