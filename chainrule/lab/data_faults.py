"""Faults of the data: how they were prepared, and what they are.

Read next: :mod:`chainrule.lab.trial`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.doctor.case import Case
from chainrule.lab.breakage import (
    Array,
    Place,
    classes,
    column_of,
    fault,
    of_classes,
    one_column,
    values,
)
from chainrule.lab.recipe import Recipe

Rng = np.random.Generator
Rows = Callable[[Recipe, Array], Array]


def _prepared(recipe: Recipe, rows: Rows) -> Case:
    """Return the case with its features, to train and to validate, as `rows` makes them."""
    case = recipe.case()
    case.data = (rows(recipe, case.data[0]), case.data[1])
    if isinstance(case.validation, tuple):
        case.validation = (rows(recipe, case.validation[0]), case.validation[1])
    return case


def _aimed(recipe: Recipe, target: Callable[[Array], Array]) -> Case:
    """Return the case with its targets as `target` makes them."""
    case = recipe.case()
    case.data = (case.data[0], target(case.data[1]))
    if isinstance(case.validation, tuple):
        case.validation = (case.validation[0], target(case.validation[1]))
    return case


def _relabeled(recipe: Recipe, y: Array) -> Case:
    case = recipe.case()
    case.data = (case.data[0], y)
    return case


def _wider(case: Case, recipe: Recipe, columns: int) -> Case:
    """Return the case with a model for so many columns more than the recipe's."""
    wide = replace(recipe)
    first: Any = case.model.layers[0]  # type: ignore[attr-defined]
    kind = type(first)
    case.model.layers[0] = kind(  # type: ignore[attr-defined]
        wide.sample.X.shape[1] + columns, first.outputs, weight_init=first.weight_init
    )
    return case


# Preprocessing.


def _large(recipe: Recipe, X: Array) -> Array:
    return X * np.float32(1e4)


@fault("preprocessing", structural=True, suits=lambda r: not r.batch_norm, rows=_large)
def inputs_not_scaled(recipe: Recipe, rng: Rng) -> Case:
    """All inputs are ten thousand times too large."""
    return _prepared(recipe, _large)


def _tiny(recipe: Recipe, X: Array) -> Array:
    return X * np.float32(1e-5)


@fault("preprocessing", structural=True, suits=lambda r: not r.batch_norm, rows=_tiny)
def inputs_scaled_to_nothing(recipe: Recipe, rng: Rng) -> Case:
    """All inputs are a hundred thousand times too small."""
    return _prepared(recipe, _tiny)


def _one_large(recipe: Recipe, X: Array) -> Array:
    X = X.copy()
    X[:, column_of(recipe)] *= 1e6
    return X


@fault("preprocessing", structural=True, place=one_column, rows=_one_large)
def one_column_not_scaled(recipe: Recipe, rng: Rng) -> Case:
    """One column is a million times larger than the others."""
    return _prepared(recipe, _one_large)


def _off_center(recipe: Recipe, X: Array) -> Array:
    return X + np.float32(100.0)


@fault("preprocessing", structural=True, suits=lambda r: not r.batch_norm, rows=_off_center)
def inputs_not_centered(recipe: Recipe, rng: Rng) -> Case:
    """All inputs lie around 100 instead of 0, and so are positive."""
    return _prepared(recipe, _off_center)


def _one_far(recipe: Recipe, X: Array) -> Array:
    X = X.astype(np.float64)
    X[:, column_of(recipe)] += 1e9
    return X


@fault("preprocessing", structural=True, place=one_column, rows=_one_far)
def one_column_far_away(recipe: Recipe, rng: Rng) -> Case:
    """One column is a small number above a billion, of which float32 keeps nothing."""
    return _prepared(recipe, _one_far)


@fault(
    "preprocessing",
    structural=True,
    suits=values,
    answers=lambda recipe, outputs: (outputs - 5e5) / 1e5,
)
def targets_not_scaled(recipe: Recipe, rng: Rng) -> Case:
    """Targets lie around 500,000 with a spread of 100,000."""
    return _aimed(recipe, lambda y: (y * 1e5 + 5e5).astype("float32"))


@fault(
    "preprocessing",
    structural=True,
    suits=values,
    answers=lambda recipe, outputs: outputs * 1e5,
)
def targets_scaled_to_nothing(recipe: Recipe, rng: Rng) -> Case:
    """Targets have a spread of 0.00001, far below what the steps of training can tell."""
    return _aimed(recipe, lambda y: (y * 1e-5).astype("float32"))


def _in_other_units(recipe: Recipe, X: Array) -> Array:
    return X * np.float32(8.0) + np.float32(20.0)


@fault(
    "preprocessing",
    "data",
    structural=True,
    suits=lambda recipe: recipe.validation > 0,
    harm="deceives",
)
def validation_not_scaled(recipe: Recipe, rng: Rng) -> Case:
    """The rows that train were standardized, and those that validate were not."""
    case = recipe.case()
    assert isinstance(case.validation, tuple)
    case.validation = (_in_other_units(recipe, case.validation[0]), case.validation[1])
    return case


@fault("preprocessing", "data", structural=True, suits=values)
def sentinel_left_in(recipe: Recipe, rng: Rng) -> Case:
    """A fifth of the numbers of every column are missing and written as -999."""
    case = recipe.case()
    X = case.data[0]
    X[rng.random(X.shape) < 0.2] = -999.0
    return case


@fault("preprocessing", "data", structural=True, suits=values)
def rows_far_out(recipe: Recipe, rng: Rng) -> Case:
    """One row in twenty is ten thousand times too large."""
    case = recipe.case()
    case.data[0][rng.random(len(case.data[0])) < 0.05] *= 1e4
    return case


def _rough(recipe: Recipe, X: Array) -> Array:
    cut: Array = np.trunc(X / 3.0).astype("float32")
    return cut


@fault("preprocessing", "data", structural=True, rows=_rough)
def decimals_cut_off(recipe: Recipe, rng: Rng) -> Case:
    """Inputs were turned into integers after they had been scaled, so that most are 0."""
    return _prepared(recipe, _rough)


# Data.


@fault("data")
def targets_shuffled(recipe: Recipe, rng: Rng) -> Case:
    """Features and targets do not belong together: one of them was shuffled."""
    return _relabeled(recipe, rng.permutation(recipe.parts()[0][1]))


@fault("data", suits=of_classes, place=lambda recipe: Place(rows=_noisy_rows(recipe)))
def labels_wrong(recipe: Recipe, rng: Rng) -> Case:
    """The labels of 45 in 100 rows are drawn at random among the wrong ones."""
    y = recipe.parts()[0][1].copy()
    wrong = list(_noisy_rows(recipe))
    count = recipe.sample.classes
    y[wrong] = (y[wrong] + rng.integers(1, count, len(wrong))) % count
    return _relabeled(recipe, y)


def _noisy_rows(recipe: Recipe) -> tuple[int, ...]:
    chosen = np.random.default_rng([recipe.seed, 5]).random(recipe.train_rows) < 0.45
    return tuple(int(i) for i in np.flatnonzero(chosen))


@fault("data", suits=classes, place=lambda recipe: Place(rows=_noisy_rows(recipe)))
def classes_off_by_one(recipe: Recipe, rng: Rng) -> Case:
    """For nearly half of the rows, classes are numbered from another start."""
    y = recipe.parts()[0][1].copy()
    wrong = list(_noisy_rows(recipe))
    y[wrong] = (y[wrong] + 1) % recipe.sample.classes
    return _relabeled(recipe, y)


@fault("data", suits=values, place=lambda recipe: Place(rows=_noisy_rows(recipe)))
def targets_wrong_by_far(recipe: Recipe, rng: Rng) -> Case:
    """Nearly half of the targets have the wrong sign and are ten times too large."""
    y = recipe.parts()[0][1].copy()
    wrong = list(_noisy_rows(recipe))
    y[wrong] *= -10.0
    return _relabeled(recipe, y)


@fault("data", structural=True, suits=lambda r: r.data in ("clusters", "moons", "rings", "digits"))
def one_class_hardly_there(recipe: Recipe, rng: Rng) -> Case:
    """Of every class but one, a row or two are left: 99 to 1."""
    case = recipe.case()
    X, y = case.data
    count = recipe.sample.classes
    keep = np.flatnonzero(y == 0)
    few = [np.flatnonzero(y == k)[: max(1, len(keep) // 100)] for k in range(1, count)]
    rows = np.concatenate([keep, *few])
    case.data = (X[rows], y[rows])
    return case


@fault("data", structural=True, suits=classes)
def one_class_missing(recipe: Recipe, rng: Rng) -> Case:
    """Not a row of the last class is among those that train."""
    case = recipe.case()
    X, y = case.data
    there = y != recipe.sample.classes - 1
    case.data = (X[there], y[there])
    return case


@fault("data", structural=True, suits=lambda r: r.validation > 0, harm="deceives")
def validation_repeats_training(recipe: Recipe, rng: Rng) -> Case:
    """The rows that validate are among the rows that train, few with random targets."""
    long = replace(recipe, hidden=(128, 128), activation="relu", batch_norm=False, dropout=0.0)
    long = replace(long, optimizer="adam", learning_rate=3e-3, epochs=400, l2=0.0, batch_size=16)
    case = long.case()
    X, y = case.data
    X, y = X[:60], rng.permutation(y[:60])
    case.data, case.validation = (X, y), (X[:30], y[:30])
    return case


@fault("data", structural=True, suits=lambda r: r.validation > 0, harm="deceives")
def validation_from_elsewhere(recipe: Recipe, rng: Rng) -> Case:
    """The rows that validate come from elsewhere: columns are shifted and in another order."""
    case = recipe.case()
    assert isinstance(case.validation, tuple)
    X, y = case.validation
    case.validation = (X[:, ::-1] * np.float32(-1.5) + np.float32(3.0), y)
    return case


def _without_answer(recipe: Recipe, X: Array) -> Array:
    empty = np.random.default_rng(0).normal(size=(len(X), 1)).astype("float32")
    return np.concatenate([X, empty], axis=1)


@fault(
    "data",
    structural=True,
    place=lambda recipe: Place(column=recipe.sample.X.shape[1]),
    rows=_without_answer,
)
def answer_among_columns(recipe: Recipe, rng: Rng) -> Case:
    """A column holds the target, which will not be there when the model is asked."""
    case = _wider(recipe.case(), recipe, 1)

    def with_answer(X: Array, y: Array) -> Array:
        column = 3.0 * (y - y.mean()) / y.std()
        return np.concatenate([X, column[:, None].astype("float32")], axis=1)

    case.data = (with_answer(*case.data), case.data[1])
    if isinstance(case.validation, tuple):
        case.validation = (with_answer(*case.validation), case.validation[1])
    return case


def _constant(recipe: Recipe, X: Array) -> Array:
    X = X.copy()
    X[:, : max(1, (9 * X.shape[1]) // 10)] = 1.0
    return X


@fault("data", "preprocessing", structural=True, rows=_constant)
def columns_constant(recipe: Recipe, rng: Rng) -> Case:
    """Nine columns in ten hold the same number in every row."""
    return _prepared(recipe, _constant)


def _noise_added(recipe: Recipe, X: Array) -> Array:
    noise = np.random.default_rng([len(X), 7]).normal(0.0, 2.0, (len(X), 300))
    return np.concatenate([X, noise.astype("float32")], axis=1)


@fault("data", "preprocessing", suits=lambda r: r.train_rows <= 600, rows=_noise_added)
def columns_of_noise(recipe: Recipe, rng: Rng) -> Case:
    """Three hundred columns of noise stand beside the few that matter."""
    case = _prepared(recipe, _noise_added)
    return _wider(case, recipe, 300)


@fault("data", "epochs", structural=True)
def hardly_any_rows(recipe: Recipe, rng: Rng) -> Case:
    """There are eight rows to train on."""
    case = recipe.case()
    y = case.data[1]
    rows = rng.permutation(len(y))[:8]
    case.data = (case.data[0][rows], y[rows])
    return case


@fault("data", structural=True)
def rows_repeated(recipe: Recipe, rng: Rng) -> Case:
    """All rows to train on are copies of eight."""
    case = recipe.case()
    X, y = case.data
    rows = rng.permutation(len(y))[:8][rng.integers(0, 8, len(y))]
    case.data = (X[rows], y[rows])
    return case
