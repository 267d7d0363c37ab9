"""Rules on the end of the network: whether it fits the targets and the loss.

Read next: :mod:`chainrule.doctor.rules.start`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from chainrule.core.wording import counted
from chainrule.doctor.case import Case
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.rule import rule
from chainrule.doctor.specimens import (
    Probabilities,
    classes,
    network,
    numbers,
    on_probabilities,
    values,
)
from chainrule.doctor.survey import Array, Survey
from chainrule.nn.activations import ReLU, Sigmoid, Tanh
from chainrule.ops.composite import softmax

__all__ = [
    "loss_for_numbers", "one_output_for_classes", "output_cannot_vary", "output_range",
    "outputs_not_probabilities", "target_shape", "targets_not_probabilities",
]  # fmt: skip


def _halves() -> tuple[Array, Array]:
    return numbers(), np.full((240, 2), 0.5)


MOST_CLASSES = 20  # distinct targets; amounts usually have more
EVEN = 0.25  # share of the rarest target, of that which equally frequent ones would have
FEW_OUTSIDE = 0.01  # of the targets; a few outliers may lie beyond a tanh on purpose


@rule(
    "activation",
    sick=lambda: values(network(4, 8, 1, end=[softmax])),
    healthy=lambda: values(network(4, 8, 2, end=[softmax]), data=_halves()),
)
def output_cannot_vary(survey: Survey) -> Iterator[Finding]:
    """Softmax of one unit is 1 whatever enters it, and nothing can be learned."""
    last = survey.layers[-1] if survey.layers else None
    spread = float(np.ptp(survey.outputs))
    if last is None or last.slope.any() or spread > 1e-6:
        return
    value = float(survey.outputs.flat[0])
    if value == 0:
        return  # the last unit may be dead, which is a matter of its weights
    yield Finding(
        "output_cannot_vary", "activation", "fault",
        f"Every output is {value:g} for every row, and no weight can change it, so the network "
        "can't learn. A softmax over a single unit does this: it divides a number by itself.",
        "End with one unit and no activation for a number, with one sigmoid unit (or none, before "
        "binary_cross_entropy) for yes or no, or with one unit per class.",
        {"layer": survey.place(last.path)},
        (
            Evidence("spread of the outputs", spread, 1e-6, "outputs of all rows are the same"),
            Evidence("largest slope of the outputs", 0.0, 0.0, "no weight has any effect"),
        ),
        {"output": None}, 0.99,
    )  # fmt: skip


@rule(
    "activation",
    sick=lambda: values(network(4, 16, 1, end=[Sigmoid()]), scale=3.0),
    healthy=lambda: values(network(4, 16, 1, end=[Tanh()]), scale=0.2),
)
def output_range(survey: Survey) -> Iterator[Finding]:
    """Targets outside the range of the last activation can't be reached."""
    low, high = survey.bounds
    if survey.kind not in ("values", "counts") or survey.takes == "log rates":
        return
    y = survey.targets
    if low == -math.inf and high == math.inf:
        return
    margin = 1e-6 * max(1.0, float(np.abs(y).max()))
    outside = float(((y < low - margin) | (y > high + margin)).mean())
    if outside <= FEW_OUTSIDE:
        return
    path = survey.place(survey.layers[-1].path) if survey.layers else ""
    yield Finding(
        "output_range", "activation", "fault",
        f"The network ends in an activation that keeps outputs between {low:.4g} and {high:.4g}, "
        f"but {100 * outside:.0f} % of the targets lie outside: they run from {y.min():.4g} to "
        f"{y.max():.4g}.",
        "Leave out the last activation, so that outputs can be any number.",
        {"layer": path},
        (
            Evidence("share of targets out of reach", outside, FEW_OUTSIDE,
                     "a few outliers may be meant to be out of reach"),
        ),
        {"output": None}, min(0.97, 0.7 + outside),
    )  # fmt: skip


@rule(
    "activation",
    sick=lambda: on_probabilities(network(4, 16, 1, end=[ReLU()])),
    healthy=lambda: on_probabilities(network(4, 16, 1, end=[Sigmoid()])),
)
def outputs_not_probabilities(survey: Survey) -> Iterator[Finding]:
    """Find outputs that a loss takes for probabilities, and which are none."""
    if survey.takes != "probabilities":
        return
    low, high = survey.bounds
    path = survey.place(survey.layers[-1].path) if survey.layers else ""
    out = survey.outputs
    end = "softmax" if survey.kind == "classes" and out.shape[-1] > 1 else "sigmoid"
    if low < 0 or high > 1:
        bad = float(((out < 0) | (out > 1)).mean())
        yield Finding(
            "outputs_not_probabilities", "activation", "fault",
            f"The loss takes the outputs for probabilities, but nothing keeps them between 0 and "
            f"1: {100 * bad:.0f} % of those of the untrained network lie outside, where the loss "
            "has no slope.",
            f"End the network in a {end}, or use a loss that takes logits, such as cross_entropy.",
            {"layer": path},
            (Evidence("highest possible output", high, 1.0, "a probability") if high > 1
             else Evidence("lowest possible output", low, 0.0, "a probability"),),
            {"output": end}, 0.95,
        )  # fmt: skip
    elif end == "softmax" and float(np.abs(out.sum(axis=-1) - 1).max()) > 1e-3:
        off = float(np.abs(out.sum(axis=-1) - 1).max())
        yield Finding(
            "outputs_not_probabilities", "activation", "warning",
            "Every row belongs to one class, but the outputs of a row do not sum to 1, so the "
            "network can call all classes certain together; once it does, gradients vanish.",
            "End the network in a softmax instead of a sigmoid for each class.",
            {"layer": path},
            (Evidence("distance of the sum of a row from 1", off, 1e-3, "rounding"),),
            {"output": "softmax"}, 0.85,
        )  # fmt: skip


@rule(
    "loss",
    sick=lambda: classes(network(4, 16, 3), loss="mse",
                         data=(numbers(), np.eye(3)[np.arange(240) % 3])),
    healthy=lambda: values(),
)  # fmt: skip
def loss_for_numbers(survey: Survey) -> Iterator[Finding]:
    """Squared or absolute error on classes: gradients are small where the answer is most wrong."""
    if survey.kind != "values":
        return
    y = survey.targets
    distinct = np.unique(y)
    one_hot = y.shape[1] > 1 and len(distinct) == 2 and bool((y.sum(axis=1) == distinct[-1]).all())
    yes_no = bool(np.isin(distinct, (0.0, 1.0)).all()) and len(distinct) == 2
    if y.shape[1] == 1 and not yes_no:
        yield from _numbered(survey, distinct)
    if not (one_hot or yes_no):
        return
    better = "cross_entropy" if one_hot else "binary_cross_entropy"
    absolute = survey.aim.name == "mae"
    ends = survey.bounds != (-math.inf, math.inf)  # in an activation, which the loss applies itself
    yield Finding(
        "loss_for_numbers", "loss", "warning" if absolute else "note",
        f"The targets are {'one-hot classes' if one_hot else 'zeros and ones'}, but the loss "
        f"({survey.aim.name}) is one for numbers. "
        + ("Absolute error pulls every output to the commoner value." if absolute else
           "It learns more slowly, since its gradient is small where an answer is sure and wrong."),
        f"Use loss={better!r}, which takes raw outputs"
        + (", and leave out what follows the last layer." if ends else "."),
        {},
        (Evidence("distinct targets", len(distinct), 2, "classes, not quantities"),),
        {"loss": better} | ({"output": None} if ends else {}), 0.8 if absolute else 0.5,
    )  # fmt: skip


def _numbered(survey: Survey, distinct: Array) -> Iterator[Finding]:
    """Find targets that are as evenly spaced as the numbers of classes."""
    y, k = survey.targets, len(distinct)
    if not 3 <= k <= MOST_CLASSES or len(y) < 10 * k:
        return
    if np.ptp(np.diff(distinct)) > 1e-4 * (distinct[1] - distinct[0]):  # rounded, if standardized
        return
    from_0 = bool((distinct == np.arange(k)).all())
    shares = np.unique(y, return_counts=True)[1] / len(y)
    whole = np.asarray(survey.case.data[1]).dtype.kind in "iu"
    # Counts have values that are much rarer than others, and classes are usually kept as integers.
    likely = from_0 and whole and float(shares.min()) * k > EVEN
    what = f"the whole numbers 0 to {k - 1}" if from_0 else f"{k} values at equal distances"
    yield Finding(
        "loss_for_numbers", "loss", "warning" if likely else "note",
        f"The targets are {what}. If they are classes, the loss ({survey.aim.name}) treats them as "
        "amounts: it takes class 2 for more than class 1, and twice as far from class 0.",
        f"For classes, end the network with {k} units and use loss='cross_entropy'; if they are "
        "amounts, all is well.",
        {},
        (Evidence("distinct targets, evenly spaced", k, MOST_CLASSES,
                  "amounts rarely have so few values"),
         Evidence("share of the rarest, of an equal share", float(shares.min()) * k, EVEN,
                  "some counts are much rarer than others")),
        {}, 0.45,
    )  # fmt: skip


def _signed() -> Case:
    case = on_probabilities(network(4, 16, 1, end=[Sigmoid()]))
    return replace(case, data=(case.data[0], 2 * case.data[1] - 1))


@rule(
    "loss",
    sick=_signed,
    healthy=lambda: on_probabilities(network(4, 16, 1, end=[Sigmoid()])),
)
def targets_not_probabilities(survey: Survey) -> Iterator[Finding]:
    """Find targets outside [0, 1] under a loss that compares probabilities."""
    if survey.kind != "labels" or survey.takes != "probabilities":
        return
    y = survey.targets
    outside = float(((y < 0) | (y > 1)).mean())
    if outside <= 0:
        return
    yield Finding(
        "targets_not_probabilities", "loss", "fault",
        f"The loss compares probabilities, but {100 * outside:.0f} % of the targets are not "
        f"between 0 and 1: they run from {y.min():.4g} to {y.max():.4g}, and the loss has no "
        "lowest value for them.",
        "Use loss='mse' and no last activation for numbers, or write yes and no as 1 and 0.",
        {},
        (Evidence("share of targets outside [0, 1]", outside, 0.0, "a probability"),),
        {"loss": "mse", "output": None}, 0.95,
    )  # fmt: skip


def _paired() -> Case:
    return replace(on_probabilities(network(4, 16, 2, end=[Sigmoid()])), loss=Probabilities())


@rule(
    "loss",
    sick=_paired,
    healthy=lambda: on_probabilities(network(4, 16, 1, end=[Sigmoid()])),
)
def target_shape(survey: Survey) -> Iterator[Finding]:
    """Find targets that are broadcast against outputs of another number of columns."""
    columns, outputs = survey.targets.shape[1], int(np.prod(survey.outputs.shape[1:]))
    if survey.kind not in ("labels", "values", "counts") or columns == outputs:
        return
    yield Finding(
        "target_shape", "loss", "fault",
        f"A row has {counted(columns, 'target')} and {counted(outputs, 'output')}, which are "
        "broadcast: every output is compared with the same target, so all are pushed the same "
        "way.",
        "For classes use a loss of classes, such as cross_entropy with class numbers; otherwise "
        "give the network one output per target.",
        {},
        (Evidence("outputs per target", outputs / columns, 1.0, "they are compared in pairs"),),
        {"loss": "cross_entropy"}, 0.95,
    )  # fmt: skip


class _OfClasses(Probabilities):
    kind = "classes"


def _single() -> Case:
    return replace(on_probabilities(network(4, 16, 1, end=[Sigmoid()])), loss=_OfClasses())


@rule(
    "architecture",
    sick=_single,
    healthy=lambda: classes(),
)
def one_output_for_classes(survey: Survey) -> Iterator[Finding]:
    """Find a loss of classes over a single output, whose share is always 1."""
    outputs = int(np.prod(survey.outputs.shape[1:]))
    if survey.kind != "classes" or outputs != 1:
        return
    values_of = np.unique(survey.targets)
    yield Finding(
        "one_output_for_classes", "architecture", "fault",
        f"The loss compares classes, of which the targets have {len(values_of)}, but the network "
        "has one output. The only class gets all of the probability whatever the weights are.",
        f"Give the last layer one unit per class, {max(2, len(values_of))}, or use "
        "binary_cross_entropy for yes or no.",
        {"layer": survey.layers[-1].path if survey.layers else ""},
        (Evidence("outputs", 1, 2, "with one class there is nothing to choose"),),
        {}, 0.97,
    )  # fmt: skip
