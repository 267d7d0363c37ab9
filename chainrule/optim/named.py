"""Optimizers by name, for the command line and for ``optimizer="adam"``.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.optim.adam import Adam
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.sgd import SGD

__all__ = ["optimizer", "optimizer_names"]

BY_NAME: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "momentum": partial(SGD, momentum=0.9),
    "nesterov": partial(SGD, momentum=0.9, nesterov=True),
    "adam": Adam,
}


def optimizer_names() -> list[str]:
    """Return the names :func:`optimizer` knows."""
    return list(BY_NAME)


def optimizer(choice: str | Optimizer, learning_rate: float | None = None) -> Optimizer:
    """Return the optimizer of that name, at its default or the given learning rate.

    An Optimizer is returned as it is.  Raises OptionError naming the nearest.

    >>> optimizer("momentum", 0.1)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False)
    """
    if isinstance(choice, Optimizer):
        return choice
    key = str(choice).lower()
    if key not in BY_NAME:
        raise OptionError(f"unknown optimizer {choice!r}. {did_you_mean(key, BY_NAME)}")
    return BY_NAME[key]() if learning_rate is None else BY_NAME[key](learning_rate=learning_rate)
