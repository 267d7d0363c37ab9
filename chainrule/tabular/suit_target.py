"""The target as the loss reads it: which losses fit, how many outputs, in which units.

Read next: :mod:`chainrule.tabular.table_training`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from chainrule.core.errors import DataError, OptionError
from chainrule.core.tensor import Tensor
from chainrule.data.target import Target
from chainrule.nn.losses import LOSSES
from chainrule.nn.several import Several
from chainrule.step.objective import objective
from chainrule.tabular.build import build_loss
from chainrule.tabular.problem import Pair, Problem
from chainrule.tabular.settings import Settings

__all__ = ["loss_of", "outputs_of", "suited", "task_of"]


def task_of(loss: str | None) -> str | None:
    """Return the task that `loss` decides, or None.

    >>> task_of("poisson"), task_of("mse")
    ('regression', None)
    """
    kind = LOSSES[loss].kind if loss in LOSSES else ""
    return "regression" if kind in ("counts", "quantiles") else None


def loss_of(settings: Settings, target: Target) -> str | Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of `settings` for `target`: by default ordinal for classes in an order.

    Several targets have a sum of their losses, each divided by that of a plain guess: 1 for
    standardized numbers, ``log(k)`` for k classes.
    Raises OptionError for a loss that does not fit.
    """
    if target.parts:
        return _loss_of_several(settings, target)
    if target.ordered and settings.loss is None and not settings.label_smoothing:
        return "ordinal"
    loss = build_loss(settings, target.task)
    if loss == "ordinal" and not target.ordered:
        raise OptionError(
            f"the loss ordinal needs the order of the classes of {target.name!r}: give "
            f"--role {target.name}={'<'.join(map(str, target.classes[:4]))}, in the right order."
        )
    return loss


def _loss_of_several(settings: Settings, target: Target) -> Several:
    for name in ("loss", "label_smoothing", "class_weight"):
        if getattr(settings, name):
            raise OptionError(
                f"{name} can't be set for several targets: numbers have the loss mse, classes "
                "cross_entropy, and classes in an order ordinal."
            )
    parts = target.parts
    return Several(
        tuple(str(loss_of(settings, part)) for part in parts),
        tuple(outputs_of(settings, part) for part in parts),
        tuple(math.log(len(part.classes)) if part.classes else 1.0 for part in parts),
    )


def outputs_of(settings: Settings, target: Target) -> int:
    """Return the number of outputs of the network that `settings` describe for `target`."""
    loss = loss_of(settings, target)
    if isinstance(loss, Several):
        return sum(loss.outputs)
    aim = objective(loss)
    if aim.kind == "ordered":
        return len(target.classes) - 1
    return len(target.classes) or len(aim.levels) or 1


def suited(problem: Problem, settings: Settings) -> Problem:
    """Return `problem` with its target in the units that the loss of `settings` needs.

    Counts are divided by their mean, so that their zero stays zero.
    Raises DataError for a count below 0.
    """
    target = problem.pipeline.target
    if target.parts:
        return problem
    counts = objective(loss_of(settings, target)).kind == "counts"
    if counts == target.counts:
        return problem
    changed = replace(target, counts=counts)

    def again(pair: Pair) -> Pair:
        values = target.decode(pair[1])
        rounding = 1e-6 * (abs(target.mean) + target.scale)  # of what was standardized
        if counts and (values < -rounding).any():
            raise DataError(
                f"target {target.name!r} has values below 0, such as {values.min():.6g}; the loss "
                f"{settings.loss} needs counts, 0 or more."
            )
        return pair[0], changed.standardize(values)

    return replace(
        problem,
        pipeline=replace(problem.pipeline, target=changed),
        train=again(problem.train),
        validation=problem.validation and again(problem.validation),
        test=again(problem.test),
    )
