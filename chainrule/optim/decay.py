"""Weight decay and a limit on weight norms, for use after an optimizer in a chain.

Read next: :mod:`chainrule.optim.groups`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.ops.arithmetic import maximum, minimum
from chainrule.ops.elementary import sqrt
from chainrule.optim.hyper import in_range
from chainrule.optim.optimizer import Optimizer, Slots
from chainrule.optim.schedules import Schedule

__all__ = ["MaxNorm", "WeightDecay", "check_decay", "decayed"]


@dataclass(frozen=True)
class WeightDecay(Optimizer):
    """Shrink weights in each step, decoupled from the gradient: ``p = p + change - rate * p``.

    Biases and scales do not decay unless `everywhere`.  Unlike that of
    :class:`~chainrule.optim.adam.AdamW`, `rate` is not multiplied by the learning rate.
    Raises OptionError for a rate outside [0, 1).

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.

    >>> from chainrule import optim
    >>> optim.chain(optim.SGD(0.1), WeightDecay(1e-4)).hyper()["1.rate"]
    0.0001
    """

    rate: float | Schedule
    everywhere: bool = False
    stage: ClassVar[str] = "change"

    def __post_init__(self) -> None:
        in_range(self, "rate", 0.0, 1.0)

    def update(
        self, g: Tensor, p: Parameter, slots: Slots, h: Mapping[str, Tensor], t: Tensor
    ) -> tuple[Tensor, Slots]:
        return decayed(g, p, h["rate"], self.everywhere), {}


@dataclass(frozen=True)
class MaxNorm(Optimizer):
    """Limit the norm of each unit's incoming weights to `limit`.

    With ``q = p + change``, each column of q (weights that share an index on the last axis)
    becomes ``q * min(1, limit / norm(q))``.  Biases, which have one axis, are not limited.
    Raises OptionError for a limit that is not positive.

    Source: Srebro and Shraibman, "Rank, trace-norm and max-norm", 2005; as used with dropout in
    Srivastava and others, 2014.
    """

    limit: float | Schedule
    stage: ClassVar[str] = "change"

    def __post_init__(self) -> None:
        in_range(self, "limit", 0.0, math.inf, open_low=True)

    def update(
        self, g: Tensor, p: Parameter, slots: Slots, h: Mapping[str, Tensor], t: Tensor
    ) -> tuple[Tensor, Slots]:
        if p.ndim < 2:
            return g, {}
        q = p + g
        norm = sqrt((q * q).sum(tuple(range(p.ndim - 1)), keepdims=True))
        tiny = 1e-30  # avoids 0 / 0 for weights that are all zero
        return q * minimum(1.0, h["limit"].astype(g.dtype) / maximum(norm, tiny)) - p, {}


def check_decay(owner: object, name: str) -> None:
    """Raise OptionError unless the decay ``owner.name`` is a number of at least 0."""
    in_range(owner, name, 0.0, math.inf)


def decayed(change: Tensor, p: Parameter, rate: Tensor, everywhere: bool) -> Tensor:
    """Return ``change - rate * p`` if `p` is a weight or `everywhere` is set, else `change`."""
    if not (everywhere or p.is_weight):
        return change
    return change - rate.astype(change.dtype) * p
