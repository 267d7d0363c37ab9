"""Rules on the loss function: whether it rewards right answers, row by row.

Read next: :mod:`chainrule.doctor.rules.optimizers`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from chainrule.core.tensor import Tensor, tensor
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.rule import rule
from chainrule.doctor.specimens import classes, labels, network, values
from chainrule.doctor.survey import Array, Survey
from chainrule.nn.activations import ReLU
from chainrule.nn.losses import CrossEntropy, cross_entropy
from chainrule.ops.arithmetic import stop_gradient
from chainrule.ops.composite import square
from chainrule.ops.reduce import mean

__all__ = [
    "label_smoothing_too_strong", "loss_accepts_one_answer", "loss_mixes_rows",
    "loss_prefers_wrong_answers", "loss_without_gradient", "right_answers_out_of_reach",
]  # fmt: skip

MOST_SMOOTHED = 0.5  # the usual value is 0.1
FEW = 16  # rows that are also given to the loss one by one
OUT_OF_REACH = 0.25  # of the loss of guessing
SURE = 20.0  # a score that leaves no doubt


def _negative(output: Tensor, target: Tensor) -> Tensor:
    return -square(output[:, 0] - target)


def _loss_of(survey: Survey, outputs: Array, targets: Array) -> float:
    """Return the mean loss of these outputs; NaN where the loss can't take them."""
    function = survey.aim.function
    if function is None:
        return math.nan
    try:
        return float(function(tensor(outputs), tensor(targets)).mean())
    except Exception:  # a function of the user's, given what it may not expect
        return math.nan


def _answers(survey: Survey) -> tuple[Array, Array] | None:
    """Return outputs that are all right and outputs that are all wrong, where that is clear."""
    y, shape = survey.sample[1], survey.outputs.shape
    dtype = survey.outputs.dtype
    if len(y) < 2:
        return None
    if y.dtype.kind in "iu" and y.ndim == 1 and len(shape) == 2 and shape[1] > int(y.max()):
        right = np.full(shape, -SURE, dtype)
        right[np.arange(len(y)), y] = SURE
        return right, -right
    if y.ndim == 1 and shape[1:] == (1,):
        y = y[:, None]
    if y.shape != shape or not np.ptp(y.astype(np.float64)):
        return None
    if set(np.unique(y).tolist()) == {0.0, 1.0}:
        right = ((y * 2 - 1) * SURE).astype(dtype)
        return right, -right
    return y.astype(dtype), (2 * y.mean(axis=0) - y).astype(dtype)


@rule("loss", sick=lambda: values(loss=_negative), healthy=lambda: values())
def loss_prefers_wrong_answers(survey: Survey) -> Iterator[Finding]:
    """Find a loss that is higher for right answers than for wrong ones, as with a wrong sign."""
    answers = _answers(survey)
    if survey.aim.kind != "custom" or answers is None:
        return
    right, wrong = (_loss_of(survey, one, survey.sample[1]) for one in answers)
    if not right > wrong:
        return
    yield Finding(
        "loss_prefers_wrong_answers", "loss", "fault",
        f"The loss {survey.aim.name} is {right:.4g} if every answer is right and {wrong:.4g} if "
        "every answer is wrong, so training looks for wrong answers.",
        "Change the sign of the loss, or use the one that chainrule has.",
        {},
        (Evidence("loss of right answers less that of wrong ones", right - wrong, 0.0,
                  "right answers have to cost less"),),
        {}, 0.99,
    )  # fmt: skip


def _yes_alone(output: Tensor, target: Tensor) -> Tensor:
    return mean(target * square(output - target), 1)


@rule("loss", sick=lambda: labels(loss=_yes_alone), healthy=lambda: labels())
def loss_accepts_one_answer(survey: Survey) -> Iterator[Finding]:
    """Find a loss for yes-or-no labels that one answer to everything satisfies."""
    y = survey.sample[1]
    if survey.aim.kind != "custom" or set(np.unique(y).tolist()) != {0.0, 1.0}:
        return
    if y.shape != survey.outputs.shape:
        return
    for scale in (SURE, 1.0):  # scores, or probabilities
        dtype = survey.outputs.dtype
        off = -scale if scale > 1 else 0.0
        right = _loss_of(survey, np.where(y > 0.5, scale, off).astype(dtype), y)
        wrong = _loss_of(survey, np.where(y > 0.5, off, scale).astype(dtype), y)
        for answer, value in (("yes", scale), ("no", off)):
            same = _loss_of(survey, np.full(y.shape, value, dtype), y)
            if not wrong > 0 or not abs(right) <= 1e-3 * wrong or not same <= right + 1e-3 * wrong:
                continue
            yield Finding(
                "loss_accepts_one_answer", "loss", "fault",
                f"The loss {survey.aim.name} is {same:.4g} if every row is answered with "
                f"“{answer}”, no more than for right answers: the network can learn to say "
                f"“{answer}” to everything.",
                "Use loss='binary_cross_entropy', which counts both kinds of rows.",
                {},
                (Evidence("loss of one answer over that of wrong answers", same / wrong, 1e-3,
                          "about the share of the other rows is expected"),),
                {"loss": "binary_cross_entropy"}, 0.95,
            )  # fmt: skip
            return


def _every_pair(output: Tensor, target: Tensor) -> Tensor:
    return mean(square(output - target.reshape((-1,))))


@rule("loss", sick=lambda: values(loss=_every_pair), healthy=lambda: values())
def loss_mixes_rows(survey: Survey) -> Iterator[Finding]:
    """Find a loss of a batch that is not the mean of the losses of its rows."""
    y, outputs = survey.sample[1][:FEW], survey.outputs[:FEW]
    if survey.aim.kind != "custom" or len(y) < 4:
        return
    whole = _loss_of(survey, outputs, y)
    one_by_one = float(
        np.mean([_loss_of(survey, outputs[i : i + 1], y[i : i + 1]) for i in range(len(y))])
    )
    if _alike(whole, one_by_one):
        return
    ratio = whole / one_by_one if one_by_one else math.inf
    summed = abs(ratio / len(y) - 1) < 0.05
    pairs = [
        _loss_of(survey, outputs[i : i + 1], y[j : j + 1])
        for i in range(len(y))
        for j in range(len(y))
    ]
    level, told, cure, confidence = "note", (
        "Rows count together, as in a mean over some of them or a loss that is normalized by the "
        "batch: the loss depends on the batch size."
    ), "Make sure that this is meant.", 0.4  # fmt: skip
    if summed:
        level, confidence = "warning", 0.7
        told = "It is a sum over the rows, so steps grow with the batch size."
        cure = "Take the mean over the rows."
    elif _alike(whole, float(np.mean(pairs))):
        level, confidence = "fault", 0.97
        told = ("Each output is compared with the targets of all rows, as happens where shapes "
                "(rows, 1) and (rows,) are broadcast.")  # fmt: skip
        cure = "Give output and target the same shape, and return one number per row."
    yield Finding(
        "loss_mixes_rows", "loss", level,
        f"The loss {survey.aim.name} of {len(y)} rows together is {whole:.4g}, and the mean of "
        f"their losses one by one is {one_by_one:.4g}. {told}",
        cure,
        {},
        (Evidence("loss of a batch over the mean of its rows", ratio, 1.0,
                  "rows should count one by one"),),
        {}, confidence,
    )  # fmt: skip


def _alike(a: float, b: float) -> bool:
    return not abs(a - b) > 1e-3 * max(abs(a), abs(b))


@rule(
    "loss",
    sick=lambda: values(loss=_detached),
    healthy=lambda: values(),
)
def loss_without_gradient(survey: Survey) -> Iterator[Finding]:
    """Find a loss whose gradient to the outputs is 0 for every row."""
    if not survey.layers:
        return
    last = survey.layers[-1]
    if last.gradient.any() or not last.slope.any() or not survey.loss > 1e-6:
        return
    yield Finding(
        "loss_without_gradient", "loss", "fault",
        f"The loss {survey.aim.name} is {survey.loss:.4g}, but its gradient to the outputs is 0 "
        "for every row, so no step changes anything.",
        "Compute the loss from the outputs themselves: without stop_gradient, rounding, "
        "comparisons or argmax.",
        {},
        (Evidence("largest gradient at the outputs", 0.0, 0.0, "it has to say which way is down"),),
        {}, 0.97,
    )  # fmt: skip


def _detached(output: Tensor, target: Tensor) -> Tensor:
    return square(stop_gradient(output[:, 0]) - target)


@rule(
    "loss",
    sick=lambda: classes(loss=CrossEntropy(label_smoothing=0.9)),
    healthy=lambda: classes(loss=cross_entropy),
)
def label_smoothing_too_strong(survey: Survey) -> Iterator[Finding]:
    """Find label smoothing that leaves little of the labels."""
    smoothing = float(getattr(survey.aim.function, "label_smoothing", 0.0) or 0.0)
    if smoothing < MOST_SMOOTHED:
        return
    yield Finding(
        "label_smoothing_too_strong", "loss", "warning",
        f"Label smoothing of {smoothing:g} asks the network to be nearly unsure of every row.",
        "Use label smoothing of 0.1 at most.",
        {},
        (Evidence("label smoothing", smoothing, MOST_SMOOTHED, "0.1 is usual"),),
        {"loss": "cross_entropy"}, 0.9,
    )  # fmt: skip


@rule(
    "activation",
    sick=lambda: labels(network(4, 16, 1, end=[ReLU()])),
    healthy=lambda: labels(),
)
def right_answers_out_of_reach(survey: Survey) -> Iterator[Finding]:
    """Find outputs that an activation keeps so small, or on one side, that the loss stays high."""
    y, shape = survey.sample[1], survey.outputs.shape
    low, high = survey.bounds
    if (low == -math.inf and high == math.inf) or not survey.layers or not survey.loss > 0:
        return
    low, high = max(low, -SURE), min(high, SURE)
    if y.dtype.kind in "iu" and y.ndim == 1 and len(shape) == 2 and shape[1] > int(y.max()):
        best = np.full((1, *shape), low)
        best[0, np.arange(len(y)), y] = high
    elif y.shape == shape and set(np.unique(y).tolist()) == {0.0, 1.0}:
        # A loss may reward sure scores, or the very numbers of the targets.
        best = np.array([np.where(y > 0.5, high, low), np.clip(y, low, high)])
    else:
        return
    reached = min(_loss_of(survey, one.astype(survey.outputs.dtype), y) for one in best)
    guess = survey.guess_loss or survey.loss
    share = reached / guess
    if not share > OUT_OF_REACH:
        return
    yield Finding(
        "right_answers_out_of_reach", "activation", "fault",
        f"The network ends in an activation that keeps outputs between {low:.3g} and {high:.3g}. "
        f"Even if every answer is right, the loss {survey.aim.name} is {reached:.4g}, where "
        f"guessing has {guess:.4g}: it applies its own sigmoid or softmax to any numbers.",
        "Leave out what follows the last layer.",
        {"layer": survey.place(survey.layers[-1].path)},
        (Evidence("loss of the best outputs in reach over that of guessing", share, OUT_OF_REACH,
                  "right answers should cost little"),),
        {"output": None}, 0.97,
    )  # fmt: skip
