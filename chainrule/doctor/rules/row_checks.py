"""Rules on the rows: how many there are, whether they tell the target, and whom they resemble.

Read next: :mod:`chainrule.doctor.rules.data`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from chainrule.core.wording import counted
from chainrule.doctor.case import Case
from chainrule.doctor.course import Course
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.fork import Bench
from chainrule.doctor.neighbours import NEIGHBOURS
from chainrule.doctor.rule import rule
from chainrule.doctor.specimens import classes, numbers, values
from chainrule.doctor.survey import Survey

__all__ = [
    "class_missing", "copied_rows", "few_rows", "other_validation", "targets_unlearnable",
    "tiny_inputs", "tiny_targets", "truncated_inputs",
]  # fmt: skip

FEW = 20  # rows to learn from
DISTINCT = 0.2  # of the rows; continuous measurements hardly ever repeat
SHIFT = 1.5  # spreads of a column between the means of training and validation rows
STRETCH = 4.0  # times as wide as the column is in the training rows
TELLS = 0.15  # of a constant's loss on other rows, overcome: something can be learned
MEMORIZED = 0.6  # of a constant's loss overcome on the rows of training themselves
BY_HEART = 0.3  # the same, of a copy whose time is short, and that has become worse on other rows
LOOK = 0.1  # seconds between two looks at the held-out loss
TINY = 1e-3  # root mean square of inputs, or spread of targets; usual ones are near 1


@rule(
    "data",
    sick=lambda: classes(X=numbers(), data=(numbers()[:8], np.arange(8) % 3)),
    healthy=lambda: classes(),
)
def few_rows(survey: Survey) -> Iterator[Finding]:
    """Find a training on a handful of rows."""
    rows = len(survey.train)
    if rows >= FEW or survey.columns.shape[1] < 2:
        return
    if len(np.unique(survey.columns)) <= 4:
        return  # a truth table, such as XOR
    yield Finding(
        "few_rows", "data", "warning",
        f"There are {counted(rows, 'row')} to learn from: the network can memorize them, and what "
        "it learns will hold for few others.",
        "Collect more rows, or use a model with fewer parameters.",
        {},
        (Evidence("training rows", rows, FEW, "a network fits a handful of rows exactly"),),
        {}, 0.9,
    )  # fmt: skip


def _copies() -> Case:
    some = np.random.default_rng(0).integers(0, 8, 240)
    sound = classes()
    return classes(data=(numbers()[some], np.asarray(sound.data[1])[some]))


@rule("data", sick=_copies, healthy=lambda: classes())
def copied_rows(survey: Survey) -> Iterator[Finding]:
    """Find training rows that are copies of a few."""
    x = survey.columns
    if len(x) < 50 or x.shape[1] < 2 or not np.ptp(x, axis=0).any():
        return
    distinct = len({row.tobytes() for row in x})
    share = distinct / len(x)
    if share > DISTINCT or bool((x == np.rint(x)).all()):
        return  # rows of whole numbers, such as categories, repeat by nature
    yield Finding(
        "copied_rows", "data", "warning",
        f"Only {distinct:,} of {len(x):,} training rows differ: the others are copies, and add "
        "nothing to learn from.",
        "Look at how the rows were collected or joined, and drop the copies.",
        {},
        (Evidence("share of different rows", share, DISTINCT, "measurements hardly ever repeat"),),
        {}, 0.9,
    )  # fmt: skip


def _two_of_three() -> Case:
    X = numbers()
    return classes(data=(X, (X[:, 0] > 0).astype(int)))


@rule("data", sick=_two_of_three, healthy=lambda: classes())
def class_missing(survey: Survey) -> Iterator[Finding]:
    """Find an output unit for a class of which there is no row."""
    y, width = survey.train.y, survey.outputs.shape[-1]
    if survey.kind != "classes" or y.ndim != 1 or width < 3:
        return
    rows = y if survey.train.rows is None else y[survey.train.rows]
    there = np.bincount(rows.astype(np.int64), minlength=width)[:width]
    absent = np.flatnonzero(there == 0)
    if not len(absent):
        return
    yield Finding(
        "class_missing", "data", "warning",
        f"There is no training row of class {absent[0]}, and the network has an output for it "
        f"({counted(len(absent), 'class', 'classes')} of {width} without rows): it will learn "
        "never to predict it.",
        "Look at how the rows were selected or the classes numbered, or leave the output out.",
        {"class": int(absent[0])},
        (Evidence("rows of the class", 0, 1, "a class is learned from its rows"),),
        {}, 0.9,
    )  # fmt: skip


def _shifted(factor: float, offset: float) -> Case:
    X, y = classes().data
    held = (np.asarray(X)[:60] * factor + offset, np.asarray(y)[:60])
    return classes(data=(np.asarray(X)[60:], np.asarray(y)[60:]), validation=held)


@rule("data", sick=lambda: _shifted(-1.0, 4.0), healthy=lambda: _shifted(1.0, 0.0))
def other_validation(survey: Survey) -> Iterator[Finding]:
    """Find validation rows that look unlike the training rows."""
    x, held = survey.columns, survey.held_columns
    if held is None or len(held) < 10:
        return
    spread = x.std(axis=0)
    varied = spread > 0
    if not varied.any():
        return
    shifts = np.abs(held.mean(axis=0) - x.mean(axis=0))[varied] / spread[varied]
    widths = held.std(axis=0)[varied] / spread[varied]
    shift, width = float(np.median(shifts)), float(np.median(widths))
    units = width > STRETCH or width < 1 / STRETCH
    if shift <= SHIFT and not units:
        return
    text = (f"The validation rows differ from the training rows: in the median column, their mean "
            f"is {shift:.3g} spreads away, and their spread is {width:.3g} times as "
            "large.")  # fmt: skip
    yield Finding(
        "other_validation", "preprocessing" if units else "data", "warning",
        text + (" They are in other units." if units else " They come from somewhere else."),
        "Scale them as the training rows were scaled, by the training rows' mean and spread."
        if units else "Draw training and validation rows from the same data.",
        {},
        (Evidence("distance of the means, in spreads of the training rows", shift, SHIFT,
                  "rows of one source differ by much less"),
         Evidence("spread over that of the training rows", width, STRETCH, "about 1 is expected")),
        {}, 0.9,
    )  # fmt: skip


@rule(
    "preprocessing",
    sick=lambda: classes(X=numbers() * 1e-5),
    healthy=lambda: classes(X=numbers() * 0.1),
)
def tiny_inputs(survey: Survey) -> Iterator[Finding]:
    """Find inputs so small that hardly any signal, or gradient, comes of them."""
    if not survey.raw.any():
        return
    size = np.where(survey.raw, np.sqrt(np.square(survey.columns).mean(axis=0)), 0.0)
    largest = int(size.argmax())
    if not 0 < size[largest] < TINY:
        return
    yield Finding(
        "tiny_inputs", "preprocessing", "warning",
        f"The inputs are tiny: column {survey.column(largest)!r}, the largest, has a root mean "
        f"square of {size[largest]:.3g}. "
        "The first layer's sums, and the gradients of its weights, are as small.",
        "Standardize the inputs: (X - X.mean(0)) / X.std(0).",
        {"column": survey.column(largest)},
        (Evidence("largest root mean square of a column", float(size[largest]), TINY,
                  "standardized columns have 1"),),
        {"preprocess": "standardize"}, 0.97,
    )  # fmt: skip


@rule(
    "preprocessing",
    sick=lambda: values(scale=1e-5),
    healthy=lambda: values(scale=0.1),
)
def tiny_targets(survey: Survey) -> Iterator[Finding]:
    """Find targets whose spread is far below what the first outputs and the steps are."""
    if survey.kind != "values":
        return
    spread = float(survey.targets.std(axis=0).max())
    if not 0 < spread < TINY:
        return
    yield Finding(
        "tiny_targets", "preprocessing", "warning",
        f"The targets spread by {spread:.3g}, far less than outputs change in a step, so the "
        "network can't be told from a constant.",
        "Standardize the targets: (y - y.mean()) / y.std().",
        {},
        (Evidence("spread of the targets", spread, TINY, "standardized targets have 1"),),
        {"target": "standardize"}, 0.9,
    )  # fmt: skip


@rule(
    "preprocessing",
    sick=lambda: classes(X=np.trunc(numbers() / 1.5)),
    healthy=lambda: classes(X=np.rint(numbers() * 20)),
)
def truncated_inputs(survey: Survey) -> Iterator[Finding]:
    """Find inputs that look like standardized numbers whose decimals were cut off."""
    x = survey.columns
    varied = (np.ptp(x, axis=0) > 0) & ~survey.codes
    if not varied.any() or len(x) < 50 or not bool((x == np.rint(x)).all()):
        return
    x = x[:, varied]
    zeros = float((x == 0).mean())
    signs = float(((x < 0).any(axis=0) & (x > 0).any(axis=0)).mean())
    if zeros < 0.5 or signs < 0.5 or np.abs(x).max() > 5:
        return
    yield Finding(
        "truncated_inputs", "preprocessing", "warning",
        f"The inputs are whole numbers from {x.min():g} to {x.max():g}, and {100 * zeros:.0f} % of "
        "them are 0: they look like standardized numbers whose decimals were cut off.",
        "Convert to integers before scaling, not after, or keep the numbers as they are.",
        {},
        (Evidence("share of zeros", zeros, 0.5, "with whole numbers of both signs"),),
        {}, 0.75,
    )  # fmt: skip


# --- after training -------------------------------------------------------------------------------


def _shuffled() -> Case:
    sound = classes(epochs=40)
    y = np.random.default_rng(0).permutation(np.asarray(sound.data[1]))
    return classes(data=(sound.data[0], y), epochs=40)


@rule("data", stage="after", sick=_shuffled, healthy=lambda: classes(epochs=60))
def targets_unlearnable(course: Course) -> Iterator[Finding]:
    """Find targets that neither the training nor the nearest rows can tell from the inputs."""
    survey = course.survey
    few = len(survey.columns) < 60 or survey.targets.shape[1] != 1
    if few or course.diverged or course.learned is None:
        return
    held = [r["val_loss"] for r in course.history if r.get("val_loss") is not None]
    guess = survey.held_guess_loss
    if held and guess:
        gained = 1 - min(held) / guess
        chance = 2 / math.sqrt(len(survey.held_out or ()))  # what luck may gain on so many rows
        if gained > min(TELLS, chance):
            return
    near = survey.neighbours
    if near is None or near.gain > max(0.1, 2 * near.error):
        return
    agree, error, what = near.gain, near.error, "The inputs do not tell the targets"
    if held and guess:
        seen = f"the best validation loss is {min(held):.4g}, where a constant has {guess:.4g}"
    elif course.learned <= MEMORIZED:
        seen = course.overcame
    else:  # memorized or learned: other rows show which
        best = _memorized(course)
        if best is None:
            return
        what = "What was learned does not hold for other rows"
        seen = (
            "a copy trained on four fifths of the rows is no better than a constant on the others "
            f"(a loss of {best[0]:.4g} against {best[1]:.4g})"
        )
    yield Finding(
        "targets_unlearnable", "data", "warning",
        f"{what}: {seen}, and the {NEIGHBOURS} rows nearest to a row "
        f"tell its target no better than a constant does ({100 * agree:.0f} % less error, standard "
        f"error {100 * error:.0f} %).",
        "Check that rows and targets belong together: that neither was sorted or shuffled alone, "
        "that the labels are right, and that there are rows enough.",
        {},
        (Evidence("error that the nearest rows take away", agree, max(0.1, 2 * error),
                  "a tenth, or twice the standard error"),),
        {}, 0.85,
    )  # fmt: skip


def _memorized(course: Course) -> tuple[float, float] | None:
    """Return the lowest loss on held-out rows of a network that learns the others by heart.

    The second number is that of the best constant.  Returns None where the network learns
    something that holds for other rows, or does not come so far in the time there is.
    """
    if course.by_hand:
        return None
    bench = Bench.of(course.survey, sum(float(r.get("seconds", 0.0)) for r in course.history))
    fork = None if bench is None else bench.fork({}, engine="auto")
    if bench is None or fork is None:
        return None
    guess, losses = fork.survey.held_guess_loss, []
    while bench.left > 0 and guess is not None and guess > 0:
        before = fork.taken
        fork.advance(min(bench.left, LOOK))
        losses.append(fork.loss)
        if 1 - losses[-1] / guess > TELLS:
            return None
        if fork.learned > BY_HEART and losses[-1] > guess:
            return min(losses), guess
        if fork.taken == before:
            return None
    return None
