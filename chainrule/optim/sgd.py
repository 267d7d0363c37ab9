"""Stochastic gradient descent: plain, with momentum, and with Nesterov momentum.

Read next: :mod:`chainrule.optim.adam`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chainrule.core.errors import OptionError
from chainrule.core.tensor import Tensor
from chainrule.optim.hyper import in_range
from chainrule.optim.optimizer import Optimizer, Slots, check_learning_rate, named
from chainrule.optim.schedules import Schedule

__all__ = ["SGD"]


@named("nesterov", momentum=0.9, nesterov=True)
@named("momentum", momentum=0.9)
@named("sgd")
@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: ``v = momentum * v + g``, ``p = p - learning_rate * v``.

    Without momentum, ``p = p - learning_rate * g``; with `nesterov` the step is
    ``learning_rate * (g + momentum * v)``.  Raises OptionError for a learning
    rate that is not positive or a momentum outside [0, 1).

    Sources: Polyak 1964; Sutskever, Martens, Dahl and Hinton, "On the
    importance of initialization and momentum in deep learning", 2013.

    >>> SGD(0.1, momentum=0.9).slots()
    ('v',)
    """

    learning_rate: float | Schedule = 0.01
    momentum: float | Schedule = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_learning_rate(self)
        in_range(self, "momentum", 0.0, 1.0)
        if self.nesterov and not self.momentum:
            raise OptionError("SGD: nesterov=True needs a momentum, such as momentum=0.9.")

    def slots(self) -> tuple[str, ...]:
        return ("v",) if self.momentum else ()

    def update(
        self, g: Tensor, p: Tensor, slots: Slots, h: Mapping[str, Tensor], t: Tensor
    ) -> tuple[Tensor, Slots]:
        rate = h["learning_rate"].astype(g.dtype)
        if not self.momentum:
            return -(rate * g), {}
        momentum = h["momentum"].astype(g.dtype)
        v = momentum * slots["v"] + g
        step = g + momentum * v if self.nesterov else v
        return -(rate * step), {"v": v}
