"""Measure how much better than a guess a trained model predicts rows it has not seen.

A case goes in; its skill and its loss on sound rows come out, also where the training breaks off.

Read next: :mod:`chainrule.lab.faults`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from chainrule.core.errors import DivergedError
from chainrule.doctor.case import Case
from chainrule.lab.recipe import Recipe
from chainrule.train.fit import fit
from chainrule.train.run import Run

__all__ = ["Outcome", "skill_of", "try_out"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Rows: TypeAlias = "Callable[[Recipe, Array], Array]"
Answers: TypeAlias = "Callable[[Recipe, Array], Array]"


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    skill: the accuracy, from 0 for the plain guess to 1, or the r2 of real values, on sound rows;
    -1 at least.  surprise: the loss on them as a share of the plain guess's; infinite where the
    outputs are no scores.  seen: the skill on the training's own validation rows, or None.
    diverged: what was said where training broke off.
    """

    skill: float
    surprise: float
    seen: float | None
    diverged: str
    fell: bool
    run: Run | None


def try_out(
    recipe: Recipe,
    case: Case,
    rows: Rows | None = None,
    answers: Answers | None = None,
    alone: bool = False,
) -> Outcome:
    """Train `case`, made of `recipe`, and judge it by the sound rows of `recipe`.

    `rows` makes of sound rows what this model takes, `answers` of its outputs those of a sound
    model.  With `alone` it is asked about each row by itself.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = fit(case.model, case.data, progress=False, **case.options())
    except DivergedError as error:
        return Outcome(-1.0, np.inf, None, str(error), False, None)
    sound = recipe.sample
    X, y = sound.X_test, sound.y_test
    given = X if rows is None else rows(recipe, X)
    outputs = _outputs(run, given, alone)
    if answers is not None:
        outputs = answers(recipe, outputs)
    losses = [record["loss"] for record in run.history]
    seen = None
    if isinstance(case.validation, tuple):
        own = _outputs(run, case.validation[0], False)
        own = own if answers is None else answers(recipe, own)
        target = case.validation[1]
        if np.shape(target) == (len(own),) and (recipe.kind == "values" or answers is None):
            seen = skill_of(recipe, own, target)
    return Outcome(
        skill_of(recipe, outputs, y),
        surprise_of(recipe, outputs, y),
        seen,
        "",
        losses[-1] < losses[0],
        run,
    )


def _outputs(run: Run, X: Array, alone: bool) -> Array:
    if not alone:
        return run.outputs(X)
    return np.concatenate([run.outputs(X[i : i + 1]) for i in range(len(X))])


def skill_of(recipe: Recipe, outputs: Array, y: Array) -> float:
    """Return how much better than the plain guess `outputs` are: 1 is perfect, 0 the guess."""
    if not np.isfinite(outputs).all():
        return -1.0
    if recipe.kind == "values":
        wrong = np.square(outputs.astype(float).reshape(-1) - y).mean() / y.var()
        return max(-1.0, 1.0 - float(wrong))
    decided = outputs.argmax(1) if recipe.kind == "classes" else (outputs.reshape(-1) > 0)
    guess = np.bincount(y).max() / len(y)
    return max(-1.0, float(((decided == y).mean() - guess) / (1 - guess)))


def surprise_of(recipe: Recipe, outputs: Array, y: Array) -> float:
    """Return the log loss, or squared error, as a share of the plain guess's."""
    if not np.isfinite(outputs).all():
        return np.inf
    z = outputs.astype(float)
    if recipe.kind == "values":
        return float(np.square(z.reshape(-1) - y).mean() / y.var())
    if recipe.kind == "labels":
        z = np.stack([np.zeros(len(z)), z.reshape(-1)], axis=1)
    shares = np.bincount(y) / len(y)
    shares = shares[shares > 0]
    z = z - z.max(axis=1, keepdims=True)
    logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return float(-logs[np.arange(len(y)), y].mean() / -(shares * np.log(shares)).sum())
