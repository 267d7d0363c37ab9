"""Check a training before its first step.

Read next: :mod:`chainrule.doctor.survey`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chainrule.doctor.case import Case
from chainrule.doctor.course import Course, follow
from chainrule.doctor.finding import Finding, Findings
from chainrule.doctor.rule import RULES
from chainrule.doctor.rules import data, ending, last_layer, signal, start, steps
from chainrule.doctor.survey import Survey
from chainrule.nn.layer import Layer
from chainrule.nn.regularizers import Regularizer
from chainrule.optim.optimizer import Optimizer
from chainrule.tabular.problem import Problem, build
from chainrule.tabular.settings import Settings

__all__ = ["diagnose", "examine", "preflight", "preflight_table"]

# The files whose rules are run; importing them has entered their rules in the table.
FILES = (data, ending, last_layer, signal, start, steps)


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
    return examine(
        Case(model, data, loss, optimizer, epochs, batch_size, validation, regularizer, seed)
    )


def preflight_table(problem: Problem, settings: Settings) -> Findings:
    """Return what is wrong with the training that `settings` describe for a table.

    The arguments are those of :func:`chainrule.tabular.problem.fit_table`.

    >>> from chainrule.tabular.problem import read_problem
    >>> from chainrule.tabular.settings import choose_settings
    >>> iris = read_problem("iris")
    >>> [f.cause for f in preflight_table(iris, choose_settings(102, learning_rate=30.0))]
    ['learning_rate_too_high']
    """
    made = build(settings, problem)
    return examine(
        Case(
            model=made.model,
            data=problem.train,
            loss=made.loss,
            optimizer=made.optimizer,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            validation=problem.validation,
            regularizer=made.penalty,
            seed=settings.seed,
        )
    )


def examine(case: Case) -> Findings:
    """Return what the rules find in `case`."""
    survey = Survey(case)
    return Findings.ranked(_found(survey, "before"))


def diagnose(case: Case) -> Findings:
    """Train `case` from start to end, and return what was wrong with it, before and after.

    The model of the case is trained.
    """
    survey = Survey(case)
    before = list(_found(survey, "before"))
    return Findings.ranked([*before, *_found(follow(survey), "after")])


def _found(facts: Survey | Course, stage: str) -> Iterator[Finding]:
    for one in RULES.values():
        if one.stage == stage:
            yield from one.check(facts)
