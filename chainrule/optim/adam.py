"""Adam: a step for each weight by the running mean and spread of its gradient.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from chainrule.core.options import in_range
from chainrule.core.tensor import Tensor
from chainrule.ops.elementwise import sqrt
from chainrule.optim.optimizer import Optimizer, Slots, check_learning_rate

__all__ = ["Adam"]


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam, with bias correction.

    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g²``,
    ``p = p - learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)``.
    Raises OptionError for a rate or epsilon that is not positive, or betas outside [0, 1).

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015.

    >>> Adam(1e-3).slots()
    ('m', 'v')
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_learning_rate(self)
        in_range(self, "beta1", 0.0, 1.0)
        in_range(self, "beta2", 0.0, 1.0)
        # Without it a gradient that has always been 0 would give 0 / 0.
        in_range(self, "epsilon", 0.0, math.inf, open_low=True)

    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    def update(
        self, g: Tensor, p: Tensor, slots: Slots, h: Mapping[str, Tensor], t: Tensor
    ) -> tuple[Tensor, Slots]:
        beta1, beta2 = h["beta1"], h["beta2"]

        def like_g(scalar: Tensor) -> Tensor:
            # 1 - beta must be formed in float64: float32 has only 2 good digits of 1 - 0.999.
            return scalar.astype(g.dtype)

        m = like_g(beta1) * slots["m"] + like_g(1 - beta1) * g
        v = like_g(beta2) * slots["v"] + like_g(1 - beta2) * (g * g)
        rate = like_g(h["learning_rate"] / (1 - beta1**t))
        spread = sqrt(v) * like_g(1 / sqrt(1 - beta2**t)) + like_g(h["epsilon"])
        return -(rate * m / spread), {"m": m, "v": v}
