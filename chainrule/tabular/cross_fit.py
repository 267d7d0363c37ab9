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
from chainrule.data.splits import folds, stratified_folds
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
    groups = None if problem.groups is None else np.concatenate(problem.groups)
    whole = len(problem.train[0]) if groups is None else len(np.unique(groups))
    if held is None or not problem.divides or whole < count:
        raise OptionError(
            f"cross_fit: {problem.name} can't be divided into {count} parts, because "
            f"{_hindrance(problem)}; leave cross_fit out."
        )
    X, y = (np.concatenate(both) for both in zip(problem.train, held, strict=True))
    classes = _strata(y) if problem.pipeline.classes else None
    parts = _parts(len(y), classes, groups, count, settings.seed)
    given = [own for own in problem.weights if own is not None]
    weights = np.concatenate(given) if given else None
    return replace(
        problem, train=(X, y), validation=(X, y), weights=(weights, weights), parts=parts,
        groups=None, train_rows=None,
    )  # fmt: skip


def _hindrance(problem: Problem) -> str:
    """Return why the rows of `problem` can't be divided."""
    if problem.validation is None:
        return "it has too few rows"
    if problem.groups is not None:
        return "its rows are in too few groups, or most of them in one"
    return "its validation rows are fixed" if not problem.divides else "it has too few rows"


def _strata(y: Array) -> Array:
    """Return the classes of rows, with those of a single row among those of the largest class."""
    counts = np.bincount(y)
    return np.where(counts[y] > 1, y, counts.argmax())


def _parts(n: int, classes: Array | None, groups: Array | None, count: int, seed: int) -> Array:
    """Return the part of each of `n` rows, from 0."""
    if groups is not None:
        codes = np.unique(groups, return_inverse=True)[1]
        return _parts(int(codes.max()) + 1, None, None, count, seed)[codes]
    pairs = folds(n, count, seed) if classes is None else stratified_folds(classes, count, seed)
    parts = np.empty(n, np.intp)
    for part, (_, rows) in enumerate(pairs):
        parts[rows] = part
    return parts


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
