"""Check a training before its first step.

Read next: :mod:`chainrule.doctor.survey`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainrule.doctor.case import Case
from chainrule.doctor.finding import Findings
from chainrule.doctor.rule import check_stage
from chainrule.doctor.rules import start  # noqa: F401 - the package enters all of its rules
from chainrule.doctor.survey import Survey
from chainrule.nn.layer import Layer
from chainrule.nn.regularizers import Regularizer
from chainrule.optim.optimizer import Optimizer
from chainrule.step.read_parts import names_of, read_pair

__all__ = ["examine", "examine_survey", "preflight"]


def preflight(
    model: Layer,
    data: tuple[Any, Any],
    *,
    loss: str | Callable[..., Any],
    optimizer: str | Optimizer = "adam",
    epochs: int = 10,
    batch_size: int = 32,
    validation: tuple[Any, ...] | float | None = None,
    regularizer: Regularizer | Mapping[str, Regularizer] | None = None,
    seed: int = 0,
    feature_names: Sequence[str] | None = None,
) -> Findings:
    """Return what is wrong with a training before its first step, the most serious first.

    The arguments are those of :func:`chainrule.fit`.  The data, the output and the loss, the
    initial weights and signals, and a few steps on one batch are checked on a sample of rows; the
    model is not changed.  It takes about a second.
    Raises what ``fit`` raises for a training that can't begin.

    >>> import numpy as np
    >>> from chainrule import nn
    >>> X = np.random.default_rng(0).normal(size=(64, 2))
    >>> model = nn.Sequential([nn.Linear(2, 8), nn.Linear(8, 1)])
    >>> found = preflight(model, (X, X[:, 0] * X[:, 1]), loss="mse")
    >>> [finding.cause for finding in found.serious]
    ['no_nonlinearity']
    """
    names = names_of(data) if feature_names is None else feature_names
    data, validation = read_pair(data), read_pair(validation, names)
    return examine(
        Case(
            model, data, loss, optimizer, epochs, batch_size, validation, regularizer, seed,
            feature_names=names,
        )
    )  # fmt: skip


def examine(case: Case) -> Findings:
    """Return what the rules find in `case` before its first step; its model is not changed."""
    return examine_survey(Survey.of(case))


def examine_survey(survey: Survey) -> Findings:
    """Return what the rules find in the `survey` of a training."""
    return Findings.ranked(check_stage("before", survey))
