"""Rules on the data: whether they can be learned from as they are.

Read next: :mod:`chainrule.doctor.preflight`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from chainrule.core.wording import counted
from chainrule.data.check_arrays import FEW, numbers_in_spread
from chainrule.data.moments import root_mean_square
from chainrule.doctor.case import Case
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.rule import rule
from chainrule.doctor.specimens import classes, network, numbers, values
from chainrule.doctor.survey import Array, Survey
from chainrule.optim.adam import Adam

__all__ = [
    "constant_inputs", "few_of_a_class", "leaking_column", "repeated_rows", "unscaled_inputs",
    "unscaled_targets",
]  # fmt: skip

LARGE = 30.0  # root mean square of a column; standardized ones have 1, and pixels less
COPY = 0.999999  # correlation with the target
MANY_CONSTANT = 0.5  # of the columns
FEW_ROWS = 50  # of a rare class, from which little is learned unless they are weighted
SPREADS = 1000.0  # of the widest column over the narrowest


@rule(
    "preprocessing",
    sick=lambda: classes(X=numbers() * np.array([1, 1, 5000, 1])),
    healthy=lambda: classes(X=numbers() * np.array([1, 2, 0.5, 3])),
)
def unscaled_inputs(survey: Survey) -> Iterator[Finding]:
    """Columns of large or very different sizes make gradients of very different sizes."""
    if not survey.raw.any():
        return
    place, x = np.flatnonzero(survey.raw), survey.columns[:, survey.raw]
    size, spread = np.sqrt(np.square(x).mean(axis=0)), x.std(axis=0)
    varied = spread[spread > 0]
    if not len(varied):
        return
    # The middle of the others, so that a rare indicator column does not set the measure.
    ratio = float(spread.max() / np.median(varied))
    largest = int(size.argmax())
    wide, large = ratio > SPREADS, bool(size[largest] > LARGE)
    if not (wide or large):
        return
    column = survey.column(int(place[largest]))
    told = f"column {column!r} has a root mean square of {size[largest]:.4g}"
    why = "The first layer's gradients are as large, so that usual learning rates do not suit it."
    if wide:
        told += f", and the widest column spreads {ratio:,.0f} times as far as the middle one"
        why = "The first layer's gradients are as unequal, so that no rate suits all of it."
    lost = bool((numbers_in_spread(x, np.dtype(np.float32)) < FEW).any())
    yield Finding(
        "unscaled_inputs", "preprocessing", "fault" if lost else "warning",
        f"Inputs are not scaled: {told}. {why}",
        "Standardize the inputs: (X - X.mean(0)) / X.std(0), with the mean and spread of the "
        "training rows.",
        {"column": column},
        (*[Evidence("largest root mean square of a column", float(size[largest]), LARGE,
                    "standardized columns have 1")] * large,
         *[Evidence("widest spread over the middle one", ratio, SPREADS,
                    "columns should be alike")] * wide),
        {"preprocess": "standardize"},
        0.98 if lost else min(0.9, 0.6 + 0.1 * float(np.log10(size[largest] / LARGE + 1))),
    )  # fmt: skip


@rule(
    "data",
    sick=lambda: classes(X=numbers() * 0 + 1),
    healthy=lambda: classes(X=np.c_[numbers()[:, :3], np.ones(240)]),
)
def constant_inputs(survey: Survey) -> Iterator[Finding]:
    """Columns that never vary tell nothing; where all are so, there is nothing to learn from."""
    still = np.ptp(survey.columns, axis=0) == 0
    if not still.all():
        yield from _partly_constant(survey, still)
        return
    yield Finding(
        "constant_inputs", "data", "fault",
        f"None of the {counted(len(still), 'input column')} varies: every row looks the same to "
        "the network.",
        "Look at how the features are made; something has replaced them by a constant.",
        {},
        (Evidence("columns that vary", 0, 1, "predictions follow from what varies"),),
        {}, 0.95,
    )  # fmt: skip


def _partly_constant(survey: Survey, still: Array) -> Iterator[Finding]:
    """Find that half of the columns or more never vary."""
    share, column = float(still.mean()), survey.column(int(still.argmax()))
    if share < MANY_CONSTANT:
        return
    yield Finding(
        "constant_inputs", "data", "note",
        f"{int(still.sum())} of {counted(len(still), 'input column')}, such as column {column!r}, "
        "never vary, and tell nothing.",
        "Look at how these features are made, or leave them out.",
        {"column": column},
        (Evidence("share of columns that never vary", share, MANY_CONSTANT,
                  "few columns are made to be constant"),),
        {}, 0.6,
    )  # fmt: skip


def _repeated() -> Case:
    sound = classes()
    X, y = sound.data
    return Case(sound.model, (X, y), "cross_entropy", Adam(3e-3), 5, validation=(X[:60], y[:60]))


def _apart() -> Case:
    X, y = classes().data
    return classes(data=(X[:180], y[:180]), validation=(X[180:], y[180:]))


@rule("data", sick=_repeated, healthy=_apart)
def repeated_rows(survey: Survey) -> Iterator[Finding]:
    """Rows that are both trained on and validated on make the validation score too good."""
    if survey.held_columns is None:
        return
    train, held = _texts(survey.columns), _texts(survey.held_columns)
    both = sum(text in train for text in held)
    share, distinct = both / len(held), len(train) / max(1, len(survey.columns))
    # Rows of few distinct values, such as categories, repeat by chance.
    if share <= 0.05 or both < 5 or distinct < 0.9:
        return
    yield Finding(
        "repeated_rows", "data", "warning",
        f"{100 * share:.0f} % of the validation rows are training rows too, so the validation "
        "score says how well they are remembered, not how well new rows are predicted.",
        "Remove repeated rows before splitting the data.",
        {"rows": both},
        (Evidence("share of validation rows seen in training", share, 0.05,
                  "a few rows may be equal by chance"),),
        {}, 0.8,
    )  # fmt: skip


def _texts(rows: Array) -> set[bytes]:
    return {row.tobytes() for row in np.ascontiguousarray(rows)}


def _leaking() -> Case:
    sound = classes()
    X, y = sound.data
    return classes(X=np.c_[X[:, :3], 2.0 * y + 1])


@rule("data", sick=_leaking, healthy=lambda: classes())
def leaking_column(survey: Survey) -> Iterator[Finding]:
    """Find columns that are the target in other numbers, and not known when they are needed."""
    y = survey.targets
    if y.shape[1] != 1 or survey.columns.shape[1] < 2 or len(y) < 30 or y.std() == 0:
        return
    for column, correlation in _copies(survey.columns, y[:, 0]):
        yield Finding(
            "leaking_column", "data", "warning",
            f"Column {survey.column(column)!r} is the target in other numbers: the correlation is "
            "1 to six digits. The network will learn to copy it.",
            "Leave the column out, unless it is really known before the target is.",
            {"column": survey.column(column)},
            (Evidence("correlation with the target", correlation, COPY,
                      "measured columns are never so close"),),
            {}, 0.8,
        )  # fmt: skip


def _copies(x: Array, y: Array) -> list[tuple[int, float]]:
    """Return the columns that are the target in other numbers, each with its correlation."""
    spread = x.std(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = ((x - x.mean(axis=0)) * (y - y.mean())[:, None]).mean(axis=0) / (spread * y.std())
    return [(int(k), float(r[k])) for k in np.flatnonzero((spread > 0) & (np.abs(r) > COPY))]


def _rare() -> Case:
    X = numbers(1000)
    return Case(network(4, 16, 2), (X, (np.arange(1000) % 200 == 0).astype(int)), "cross_entropy")


@rule("data", sick=_rare, healthy=lambda: classes())
def few_of_a_class(survey: Survey) -> Iterator[Finding]:
    """Of a rare class little can be learned, and accuracy does not show it."""
    if survey.kind not in ("classes", "labels") or survey.targets.shape[1] != 1:
        return
    numbers_of, counts = np.unique(survey.targets[:, 0], return_counts=True)
    if len(counts) < 2 or len(counts) > 50:
        return
    rarest = int(counts.argmin())
    share = float(counts[rarest] / counts.sum())
    if share >= 0.02:
        return
    few = share * len(survey.train) < FEW_ROWS and survey.train.weight is None
    yield Finding(
        "few_of_a_class", "data", "warning" if few else "note",
        f"Class {numbers_of[rarest]:g} makes up {100 * share:.2g} % of the rows "
        f"({counted(int(counts[rarest]), 'row')} of those looked at); a network that never "
        "predicts it is right nearly always.",
        "Look at its recall rather than at the accuracy, and try class_weight='balanced'.",
        {"class": float(numbers_of[rarest])},
        (Evidence("share of the rarest class", share, 0.02, "one row in fifty"),),
        {"class_weight": "balanced"}, 0.6,
    )  # fmt: skip


@rule("preprocessing", sick=lambda: values(scale=300.0), healthy=lambda: values(scale=3.0))
def unscaled_targets(survey: Survey) -> Iterator[Finding]:
    """Find targets far larger than the outputs that a network starts with."""
    low, high = survey.bounds
    if survey.kind != "values" or (math.isfinite(low) and math.isfinite(high)):
        return
    y = survey.targets
    size = root_mean_square(y)
    first = root_mean_square(survey.outputs)
    ratio = size / max(1.0, first)
    if ratio <= LARGE:
        return
    yield Finding(
        "unscaled_targets", "preprocessing", "warning",
        f"The targets have a root mean square of {size:.4g}, and the untrained network gives "
        f"numbers of about {first:.2g}: most of the training will be spent on growing the last "
        "layer, with gradients as large as the targets.",
        "Train on (y - y.mean()) / y.std() and undo it on predictions, or let fit_table do both.",
        {},
        (Evidence("size of the targets over that of the outputs", ratio, LARGE,
                  "standardized targets have about 1"),),
        {"target": "standardize"}, min(0.78, 0.6 + 0.06 * float(np.log10(ratio))),
    )  # fmt: skip
