"""Divide the rows that train into parts, each left out by some members, which are validated on it.

Validation rows of their own are few, so that chance decides when training stops, and they are not
trained on.  With parts, every row is trained on by most members and validates the others.

Read next: :mod:`chainrule.nn.cross_fitted`, :mod:`chainrule.tabular.table_training`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import OptionError
from chainrule.data.splits import split_folds
from chainrule.nn.cross_fitted import CrossFitted
from chainrule.nn.layer import Sequential
from chainrule.nn.members import AverageMembers
from chainrule.tabular.problem import Pair, Problem
from chainrule.tabular.settings import Settings
from chainrule.train.run import Run

__all__ = ["as_trained", "averaged", "crossed", "validation_outputs"]

Array = NDArray[Any]
NUMBER = "(part)"  # the name of the column behind the features


def crossed(problem: Problem, settings: Settings) -> Problem:
    """Return `problem` with its training and validation rows divided as `settings` say.

    All of these rows then train and validate, and ``problem.parts`` holds the part of each.
    Classes keep their shares, and rows of one group are in one part.  With a `cross_fit` of 1, and
    if the rows are divided already, the problem is returned as it is.
    Raises OptionError for rows that can't be divided.
    """
    held, count = problem.validation, settings.cross_fit
    if count == 1 or problem.parts is not None:
        return problem
    if held is None or not problem.divides:
        reason = "it has too few rows" if held is None else "its validation rows are fixed"
        raise OptionError(
            f"cross_fit: {problem.name} can't be divided into {count} parts, because {reason}; "
            "leave cross_fit out."
        )
    X, y = (np.concatenate(both) for both in zip(problem.train, held, strict=True))
    groups = None if problem.groups is None else np.concatenate(problem.groups)
    classes = y if problem.pipeline.classes and np.bincount(y).min() > 1 else None
    parts = np.empty(len(y), np.intp)
    for part, (_, _, rows) in enumerate(split_folds(len(y), classes, groups, count, settings.seed)):
        parts[rows] = part
    given = [own for own in problem.weights if own is not None]
    weights = np.concatenate(given) if given else None
    return replace(
        problem, train=(X, y), validation=(X, y), weights=(weights, weights), parts=parts,
        groups=None, train_rows=None,
    )  # fmt: skip


def as_trained(
    problem: Problem, model: Sequential
) -> tuple[Sequential, Pair, tuple[Any, ...] | None, tuple[str, ...]]:
    """Return what :func:`chainrule.fit` is given: model, data, validation, names of the features.

    If the rows are divided, their parts stand behind the features, see
    :class:`~chainrule.nn.cross_fitted.CrossFitted`.
    """
    parts, names = problem.parts, problem.feature_names
    held = problem.validation and (*problem.validation, problem.weights[1])
    if parts is None or held is None:
        return model, problem.train, held, names
    (X, y), own = problem.train, _crossed_model(model, parts)
    train = own.numbered(X, parts, held=False), y
    return own, train, (own.numbered(X, parts, held=True), *held[1:]), (*names, NUMBER)


def averaged(run: Run, problem: Problem) -> Run:
    """Return `run`, trained with rows in parts, as one that averages all members."""
    if problem.parts is None:
        return run
    assert isinstance(run.model, Sequential)
    return replace(
        run, model=Sequential(run.model.layers), features=problem.train[0].shape[1:],
        feature_names=problem.feature_names, _functions={},
    )  # fmt: skip


def validation_outputs(run: Run, problem: Problem, most: int | None = None) -> Array:
    """Return the outputs for (the first `most` of) the validation rows, which no member has seen.

    If the rows are divided, they are the average of the members that left a row out.
    """
    assert problem.validation is not None
    X = problem.validation[0][:most]
    if problem.parts is None:
        return run.outputs(X)
    assert isinstance(run.model, Sequential)
    own = _crossed_model(run.model, problem.parts)
    crossed_run = replace(
        run, model=own, features=(X.shape[1] + 1,), feature_names=None, _functions={}
    )
    return crossed_run.outputs(own.numbered(X, problem.parts[:most], held=True))


def _crossed_model(model: Sequential, parts: Array) -> CrossFitted:
    last = model.layers[-1]
    assert isinstance(last, AverageMembers)
    return CrossFitted(model.layers, last.members, int(parts.max()) + 1)
