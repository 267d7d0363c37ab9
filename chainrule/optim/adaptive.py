"""AdaGrad, RMSProp and AdaDelta, which scale steps by the size of past gradients.

Read next: :mod:`chainrule.optim.decay`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from chainrule.core.tensor import Tensor
from chainrule.ops.arithmetic import maximum
from chainrule.ops.elementary import sqrt
from chainrule.optim.hyper import in_range
from chainrule.optim.optimizer import Optimizer, Slots, check_learning_rate, named
from chainrule.optim.schedules import Schedule

__all__ = ["AdaDelta", "AdaGrad", "RMSProp"]

Number = float | Schedule
H = Mapping[str, Tensor]


@named("adagrad")
@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """AdaGrad: divide the gradient by the root of the sum of its past squares.

    ``s = s + g²``, ``p = p - learning_rate * g / (sqrt(s) + epsilon)``.

    Raises OptionError for a rate or epsilon that is not positive.

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011.

    >>> AdaGrad(0.1).slots()
    ('s',)
    """

    learning_rate: Number = 0.01
    epsilon: Number = 1e-10

    def __post_init__(self) -> None:
        check_learning_rate(self)
        in_range(self, "epsilon", 0.0, math.inf, open_low=True)

    def slots(self) -> tuple[str, ...]:
        return ("s",)

    def update(self, g: Tensor, p: Tensor, slots: Slots, h: H, t: Tensor) -> tuple[Tensor, Slots]:
        s = slots["s"] + g * g
        rate, epsilon = h["learning_rate"].astype(g.dtype), h["epsilon"].astype(g.dtype)
        return -(rate * g / (sqrt(s) + epsilon)), {"s": s}


@named("rmsprop")
@dataclass(frozen=True)
class RMSProp(Optimizer):
    """RMSProp: divide the gradient by the root of a running mean of its squares.

    ``v = rho * v + (1 - rho) * g²``, ``p = p - learning_rate * g / (sqrt(v) + epsilon)``.
    With `centered`, the variance ``v - m²`` replaces v, where m is the running mean of g; with
    `momentum`, ``b = momentum * b + g / (sqrt(v) + epsilon)`` and ``p = p - learning_rate * b``.
    Raises OptionError for a rate or epsilon that is not positive, or rho or momentum outside
    [0, 1).

    Sources: Tieleman and Hinton, lecture 6.5 of "Neural networks for machine learning", 2012;
    centered and with momentum: Graves, "Generating sequences with recurrent neural networks",
    2013.

    >>> RMSProp(centered=True, momentum=0.9).slots()
    ('v', 'm', 'b')
    """

    learning_rate: Number = 0.01
    rho: Number = 0.99
    epsilon: Number = 1e-8
    momentum: Number = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        check_learning_rate(self)
        in_range(self, "rho", 0.0, 1.0)
        in_range(self, "epsilon", 0.0, math.inf, open_low=True)
        in_range(self, "momentum", 0.0, 1.0)

    def slots(self) -> tuple[str, ...]:
        return ("v", *(("m",) if self.centered else ()), *(("b",) if self.momentum else ()))

    def update(self, g: Tensor, p: Tensor, slots: Slots, h: H, t: Tensor) -> tuple[Tensor, Slots]:
        rho, rest = h["rho"].astype(g.dtype), (1 - h["rho"]).astype(g.dtype)
        new = {"v": rho * slots["v"] + rest * (g * g)}
        squares = new["v"]
        if self.centered:
            m = new["m"] = rho * slots["m"] + rest * g
            squares = maximum(squares - m * m, 0.0)  # rounding may make it negative
        step = g / (sqrt(squares) + h["epsilon"].astype(g.dtype))
        if self.momentum:
            step = new["b"] = h["momentum"].astype(g.dtype) * slots["b"] + step
        return -(h["learning_rate"].astype(g.dtype) * step), new


@named("adadelta")
@dataclass(frozen=True)
class AdaDelta(Optimizer):
    """AdaDelta: scale the gradient by the ratio of root mean squares of changes and gradients.

    ``v = rho * v + (1 - rho) * g²``, ``d = sqrt(u + epsilon) / sqrt(v + epsilon) * g``,
    ``u = rho * u + (1 - rho) * d²``, ``p = p - learning_rate * d``.
    Raises OptionError for a rate or epsilon that is not positive, or rho outside [0, 1).

    Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012.

    >>> AdaDelta().learning_rate
    1.0
    """

    learning_rate: Number = 1.0
    rho: Number = 0.95
    epsilon: Number = 1e-6

    def __post_init__(self) -> None:
        check_learning_rate(self)
        in_range(self, "rho", 0.0, 1.0)
        in_range(self, "epsilon", 0.0, math.inf, open_low=True)

    def slots(self) -> tuple[str, ...]:
        return ("v", "u")

    def update(self, g: Tensor, p: Tensor, slots: Slots, h: H, t: Tensor) -> tuple[Tensor, Slots]:
        rho, rest = h["rho"].astype(g.dtype), (1 - h["rho"]).astype(g.dtype)
        epsilon = h["epsilon"].astype(g.dtype)
        v = rho * slots["v"] + rest * (g * g)
        d = sqrt(slots["u"] + epsilon) / sqrt(v + epsilon) * g
        u = rho * slots["u"] + rest * (d * d)
        return -(h["learning_rate"].astype(g.dtype) * d), {"v": v, "u": u}
