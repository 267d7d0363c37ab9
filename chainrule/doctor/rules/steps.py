"""Rules on the first steps: whether they go the right way, and are of a sensible length.

Read next: :mod:`chainrule.doctor.rules.data`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from chainrule.core.errors import OptionError
from chainrule.core.wording import counted
from chainrule.doctor.case import Case
from chainrule.doctor.cure import cured
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.rule import rule
from chainrule.doctor.specimens import classes, network, numbers
from chainrule.doctor.survey import Survey
from chainrule.nn.activations import ReLU
from chainrule.nn.layer import named_layers
from chainrule.nn.normalize import BatchNorm
from chainrule.optim.adam import Adam
from chainrule.optim.schedules import Schedule
from chainrule.optim.sgd import SGD

__all__ = [
    "last_batch_of_one", "learning_rate_too_high", "learning_rate_too_low", "momentum_too_high",
]  # fmt: skip

FAR = 0.5  # relative change of the weights in one step; a thousandth to a hundredth is usual
WORSE = 2.0  # times the first loss, on the batch that is being fitted
LITTLE = 1e-3  # of the weights' own length in all steps together
VISIBLE = 0.1  # the same, for a network that learns
MOST_TENTHS = 6  # by which a learning rate that is too high is tried to be lowered


@rule(
    "learning_rate",
    sick=lambda: classes(optimizer=Adam(3.0)),
    healthy=lambda: classes(optimizer=Adam(3e-3)),
)
def learning_rate_too_high(survey: Survey) -> Iterator[Finding]:
    """Find steps so long that the loss rises on the very batch that they are taken for."""
    losses, change = survey.overfit
    if not _too_long(losses, change):
        return
    ratio, factor = _growth(losses), _accepted(survey)
    far = Evidence("relative change of the weights in the first step", change, FAR,
                   "the weights' own length")  # fmt: skip
    if ratio <= WORSE:
        remedy = f"Divide the learning rate by 10, and again until the change is below {FAR:g}."
        yield Finding(
            "learning_rate_too_high", "learning_rate", "warning",
            "The learning rate is too high: the first step changes the weights by "
            f"{change:.3g} times their own length, so it replaces them rather than adjusting them.",
            _advice(factor) or remedy,
            {"step": 1}, (far,), {"learning_rate": factor or 0.1}, 0.7,
        )  # fmt: skip
        return
    grown = Evidence("loss after over before", ratio, WORSE, "on one batch the loss should fall")
    broken = math.isinf(ratio)
    told = "is no longer a number" if broken else f"is {ratio * losses[0]:.4g}"
    yield Finding(
        "learning_rate_too_high", "learning_rate", "fault",
        f"The learning rate is too high: trained on a single batch, the loss {told} after "
        f"{counted(len(losses), 'step')} and was {losses[0]:.4g} at first.",
        _advice(factor) or "Divide the learning rate by 10, and again until the loss falls.",
        {"step": len(losses)},
        (grown, *[far] * (change > FAR)),
        {"learning_rate": factor or 0.1}, 0.9 if broken or change > FAR else 0.75,
    )  # fmt: skip
    adaptive = [k for k in survey.optimizer.hyper() if k.split(".")[-1] == "epsilon"]
    if adaptive:
        yield Finding(
            "learning_rate_too_high", "optimizer", "note",
            "The optimizer divides gradients by their size, so its steps are about as long as the "
            "learning rate, however small the gradients become.",
            "If a lower learning rate does not help, try SGD with momentum and clipped gradients.",
            {"step": len(losses)}, (grown,), {}, 0.4,
        )  # fmt: skip


def _growth(losses: Sequence[float]) -> float:
    """Return the loss of the last steps over the first; infinite where it is no number."""
    if not math.isfinite(losses[-1]):
        return math.inf
    late = sorted(losses[-max(3, len(losses) // 4) :])
    return late[len(late) // 2] / max(losses[0], 1e-12)


def _too_long(losses: Sequence[float], change: float) -> bool:
    """Whether the steps of :attr:`Survey.overfit` are too long."""
    if not losses or change > FAR:  # a step so long needs no more steps to be told
        return bool(losses)
    judged = len(losses) >= 5 or not math.isfinite(losses[-1])
    return judged and _growth(losses) > WORSE


def _accepted(survey: Survey) -> float | None:
    """Return the factor of the learning rate, 0.1 or a power of it, that passes the same check.

    None where none does, or there is no learning rate.
    """
    for tenths in range(1, MOST_TENTHS + 1):
        factor = float(f"1e-{tenths}")
        try:
            mended = cured(survey.case, {"learning_rate": factor})
        except OptionError:
            return None
        if not _too_long(*survey.overfit_by(survey.planned(mended.optimizer))):
            return factor
    return None


def _advice(factor: float | None) -> str:
    if factor is None:
        return ""
    return f"Divide the learning rate by {1 / factor:,.0f}; with that, it passes this check."


@rule(
    "learning_rate",
    sick=lambda: classes(optimizer=SGD(1e-8)),
    healthy=lambda: classes(optimizer=SGD(0.1)),
)
def learning_rate_too_low(survey: Survey) -> Iterator[Finding]:
    """Find steps that together move the weights by almost nothing."""
    losses, change = survey.overfit
    if any(isinstance(part, Schedule) for _, part in survey.optimizer.walk()):
        return  # the first step, of a warmup, may be much shorter than the others
    if len(losses) < 5 or not math.isfinite(losses[-1]) or not change > 0:
        return
    reach = change * survey.steps
    fell = 1 - losses[-1] / losses[0] if losses[0] > 0 else 0.0
    if reach >= LITTLE or fell > 0.01:
        return
    factor = 10.0 ** round(math.log10(VISIBLE / reach))
    yield Finding(
        "learning_rate_too_low", "learning_rate", "warning",
        f"A step changes the weights by {change:.2g} of their length, so all {survey.steps:,} "
        f"steps together change them by {100 * reach:.2g} % at most: they stay random.",
        f"Multiply the learning rate by {factor:,.0f}.",
        {},
        (Evidence("greatest relative change of the weights in all steps", reach, LITTLE,
                  "random weights have to change visibly"),),
        {"learning_rate": factor}, 0.85,
    )  # fmt: skip


@rule(
    "optimizer",
    sick=lambda: classes(optimizer=SGD(0.01, momentum=0.999)),
    healthy=lambda: classes(optimizer=SGD(0.01, momentum=0.9)),
)
def momentum_too_high(survey: Survey) -> Iterator[Finding]:
    """Momentum m sums about 1 / (1 - m) steps; a longer sum than the training is not an average."""
    for name, value in survey.optimizer.hyper().items():
        if name.split(".")[-1] != "momentum" or not 0 < value < 1:
            continue
        memory = 1 / (1 - value)
        if value < 0.99 or memory < survey.steps / 10:
            continue
        yield Finding(
            "momentum_too_high", "optimizer", "warning",
            f"Momentum {value:g} adds up about {memory:,.0f} steps, and there are "
            f"{survey.steps:,} in all: the weights keep running past what they should reach.",
            "Use momentum 0.9.",
            {},
            (Evidence("steps that momentum adds up", memory, survey.steps / 10,
                      "a tenth of all steps"),),
            {"momentum": 0.9}, 0.7,
        )  # fmt: skip


def _one_left() -> Case:
    X = numbers(241)
    return Case(network(4, 16, 2, between=[BatchNorm(16), ReLU()]), (X, (X[:, 0] > 0).astype(int)),
                "cross_entropy", Adam(3e-3), 5, 40)  # fmt: skip


@rule(
    "batch",
    sick=_one_left,
    healthy=lambda: classes(network(4, 16, 3, between=[BatchNorm(16)]), batch_size=40),
)
def last_batch_of_one(survey: Survey) -> Iterator[Finding]:
    """Batch normalization of one row has a variance of 0 and gives every unit its bias."""
    if len(survey.train) % survey.batch_size != 1 and survey.batch_size != 1:
        return
    for path, layer in named_layers(survey.model):
        if not isinstance(layer, BatchNorm):
            continue
        rows, size = len(survey.train), survey.batch_size + 1
        size = next((k for k in range(size, rows + 1) if rows % k != 1), size)
        yield Finding(
            "last_batch_of_one", "batch", "warning",
            f"{rows:,} rows in batches of {survey.batch_size} leave a last batch of one row, for "
            f"which batch normalization (layer {path}) has a variance of 0: its output is the "
            "same whatever the row is.",
            f"Use a batch size that leaves more rows, such as {size}.",
            {"layer": path},
            (Evidence("rows in the last batch", 1, 2, "a variance needs two rows"),),
            {"batch_size": size}, 0.9,
        )  # fmt: skip
        return
