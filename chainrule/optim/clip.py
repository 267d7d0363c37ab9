"""Gradient clipping, for use before an optimizer in a chain.

Read next: :mod:`chainrule.optim.optimizer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.ops.arithmetic import maximum, minimum
from chainrule.ops.elementary import sqrt
from chainrule.ops.shape import stack
from chainrule.optim.hyper import in_range
from chainrule.optim.optimizer import Optimizer, Slots
from chainrule.optim.schedules import Schedule

__all__ = ["ClipNorm", "ClipValue"]


@dataclass(frozen=True)
class ClipValue(Optimizer):
    """Limit every element of the gradient to [-limit, limit]."""

    limit: float | Schedule
    stage: ClassVar[str] = "any"

    def __post_init__(self) -> None:
        in_range(self, "limit", 0.0, math.inf, open_low=True)

    def update(
        self, g: Tensor, p: Tensor, slots: Slots, h: Mapping[str, Tensor], t: Tensor
    ) -> tuple[Tensor, Slots]:
        limit = h["limit"].astype(g.dtype)
        return maximum(minimum(g, limit), -limit), {}


@dataclass(frozen=True)
class ClipNorm(Optimizer):
    """Scale all gradients so that their global norm is at most `max_norm`.

    ``g = g * min(1, max_norm / norm)``, norm the Euclidean norm over all
    parameters.  Source: Pascanu, Mikolov and Bengio, "On the difficulty of
    training recurrent neural networks", 2013.
    """

    max_norm: float | Schedule
    stage: ClassVar[str] = "any"

    def __post_init__(self) -> None:
        in_range(self, "max_norm", 0.0, math.inf, open_low=True)

    def update_all(
        self,
        gradients: Sequence[Tensor],
        parameters: Sequence[Parameter],
        slots: Sequence[Slots],
        h: Mapping[str, Tensor],
        t: Tensor,
    ) -> tuple[list[Tensor], list[Slots]]:
        squares = [(g * g).sum().astype(np.float64) for g in gradients]
        norm = sqrt(stack(squares).sum())
        # A gradient of exactly zero must stay zero, not become 0 * inf.
        factor = minimum(1.0, self.settled(h, t)["max_norm"] / maximum(norm, 1e-300))
        return [g * factor.astype(g.dtype) for g in gradients], [{} for _ in slots]
