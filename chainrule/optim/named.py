"""Optimizers and schedules by name, for the command line and for ``optimizer="adam"``.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.optim.adam import Adam, AdamW, AMSGrad, Lion, Nadam
from chainrule.optim.adaptive import AdaDelta, AdaGrad, RMSProp
from chainrule.optim.lbfgs import LBFGS
from chainrule.optim.levenberg_marquardt import LevenbergMarquardt
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.plateau import ReduceOnPlateau
from chainrule.optim.schedule import (
    Cosine,
    CosineRestarts,
    Epochs,
    Exponential,
    OneCycle,
    Polynomial,
    Schedule,
    StepDecay,
    Warmup,
    epochs,
)
from chainrule.optim.sgd import SGD

__all__ = ["optimizer", "optimizer_names", "schedule", "schedule_names"]

BY_NAME: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "momentum": partial(SGD, momentum=0.9),
    "nesterov": partial(SGD, momentum=0.9, nesterov=True),
    "adam": Adam,
    "adamw": AdamW,
    "nadam": Nadam,
    "amsgrad": AMSGrad,
    "lion": Lion,
    "rmsprop": RMSProp,
    "adagrad": AdaGrad,
    "adadelta": AdaDelta,
}
# These find the length of their steps themselves.
WITHOUT_RATE: dict[str, Callable[[], Optimizer]] = {
    "lbfgs": LBFGS,
    "levenberg_marquardt": LevenbergMarquardt,
}
SCHEDULES: dict[str, Callable[..., float | Schedule]] = {
    "constant": float,
    "step": partial(StepDecay, every=epochs(10)),
    "exponential": Exponential,
    "cosine": Cosine,
    "restarts": partial(CosineRestarts, steps=epochs(10)),
    "linear": Polynomial,
    "polynomial": partial(Polynomial, power=2.0),
    "one_cycle": OneCycle,
    "plateau": partial(ReduceOnPlateau, patience=5),
}


def optimizer_names() -> list[str]:
    """Return the names :func:`optimizer` knows."""
    return [*BY_NAME, *WITHOUT_RATE]


def schedule_names() -> list[str]:
    """Return the names :func:`schedule` knows."""
    return list(SCHEDULES)


def optimizer(choice: str | Optimizer, learning_rate: float | Schedule | None = None) -> Optimizer:
    """Return the optimizer of that name, at its default or the given learning rate.

    An Optimizer is returned as it is.  Raises OptionError naming the nearest.

    >>> optimizer("momentum", 0.1)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False)
    """
    if isinstance(choice, Optimizer):
        return choice
    key = str(choice).lower()
    if key in WITHOUT_RATE:
        if learning_rate is not None:
            raise OptionError(
                f"optimizer {key!r} has no learning rate: it finds the length of each step itself."
            )
        return WITHOUT_RATE[key]()
    if key not in BY_NAME:
        raise OptionError(f"unknown optimizer {choice!r}. {did_you_mean(key, optimizer_names())}")
    return BY_NAME[key]() if learning_rate is None else BY_NAME[key](learning_rate=learning_rate)


def schedule(
    name: str, rate: float, warmup: float | Epochs | None = None, **options: Any
) -> float | Schedule:
    """Return the schedule of that name for a hyper-parameter that starts, or peaks, at `rate`.

    Without `options`, the schedule's fields, "step" divides by ten and "restarts" begins anew
    every 10 epochs (then 20, 40, ...), "plateau" divides by ten after 5 epochs without progress,
    and the others last as long as the training.  `warmup` is a number of steps (or epochs) of
    linear rise before it.  Raises OptionError naming the nearest.

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
