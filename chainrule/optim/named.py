"""Optimizers and schedules by name, for the command line and for ``optimizer="adam"``.

A class gets its name where it is defined, by the decorators `named` and `planned`.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.optim.optimizer import OPTIMIZERS, Optimizer
from chainrule.optim.schedules import SCHEDULES, Epochs, Schedule, Warmup

__all__ = ["optimizer", "optimizer_names", "schedule", "schedule_names"]


def optimizer_names() -> list[str]:
    """Return the names that :func:`optimizer` accepts."""
    return list(OPTIMIZERS)


def schedule_names() -> list[str]:
    """Return the names that :func:`schedule` accepts."""
    return list(SCHEDULES)


def optimizer(choice: str | Optimizer, learning_rate: float | Schedule | None = None) -> Optimizer:
    """Return the optimizer of that name, at its default or the given learning rate.

    An Optimizer is returned unchanged.  Raises OptionError for an unknown name.

    >>> optimizer("momentum", 0.1)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False)
    """
    if isinstance(choice, Optimizer):
        return choice
    key = str(choice).lower()
    if key not in OPTIMIZERS:
        raise OptionError(f"unknown optimizer {choice!r}. {did_you_mean(key, OPTIMIZERS)}")
    made = OPTIMIZERS[key]()
    if learning_rate is None:
        return made
    if not hasattr(made, "learning_rate"):
        raise OptionError(
            f"optimizer {key!r} has no learning rate: it finds the length of each step itself."
        )
    return OPTIMIZERS[key](learning_rate=learning_rate)


def schedule(
    name: str, rate: float, warmup: float | Epochs | None = None, **options: Any
) -> float | Schedule:
    """Return the schedule of that name for a hyper-parameter that starts, or peaks, at `rate`.

    `options` are the schedule's fields.  By default, "step" divides by ten every 10 epochs,
    "restarts" restarts after 10 epochs (then 20, 40, ...), "plateau" divides by ten after 5 epochs
    without improvement, and the others last as long as the training.  `warmup` is a number of
    steps (or epochs) of linear increase before it.  Raises OptionError for an unknown name.

    >>> schedule("cosine", 0.1)
    Cosine(start=0.1, end=0.0, steps=None)
    """
    key = str(name).lower().replace("-", "_")
    if key not in SCHEDULES:
        raise OptionError(f"unknown schedule {name!r}. {did_you_mean(key, SCHEDULES)}")
    try:
        plan = SCHEDULES[key](rate, **options)
    except TypeError as error:
        raise OptionError(f"schedule {key!r}: {error}.") from None
    return plan if warmup is None else Warmup(plan, warmup)
