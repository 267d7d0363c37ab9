"""A schedule that lowers the learning rate when a score of the epochs stops improving.

The current factor is a hyper-parameter, an input of the training graph;
:mod:`chainrule.train.rates` changes it after an epoch, so nothing is compiled again.

Read next: :mod:`chainrule.train.rates`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chainrule.core.errors import OptionError
from chainrule.core.tensor import Tensor
from chainrule.ops.arithmetic import maximum
from chainrule.optim.hyper import in_range, part_of, prefixed, whole
from chainrule.optim.schedules import Schedule, planned

__all__ = ["PlateauWatch", "ReduceOnPlateau", "check_monitor", "improves"]


@planned("plateau", patience=5)
@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Multiply by `factor` whenever `monitor` has not improved for `patience` epochs.

    `start` is a number or another schedule: the value is ``max(least, scale * start)``, where
    `scale` starts at 1.  An improvement must exceed the share `min_delta` of the best score; after
    a reduction, `cooldown` epochs are not counted.  `monitor` is an entry of the history, by
    default that of early stopping: ``val_loss``, or ``loss`` without validation.  Raises
    OptionError for a factor outside (0, 1), a patience below 1, or a min_delta outside [0, 1).

    >>> ReduceOnPlateau(0.1, patience=5).hyper()
    {'start': 0.1, 'least': 0.0, 'scale': 1.0}
    """

    start: float | Schedule
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 0.0
    cooldown: int = 0
    least: float = 0.0
    monitor: str | None = None

    def __post_init__(self) -> None:
        self.check_numbers(start=0.0, least=0.0)
        in_range(self, "min_delta", 0.0, 1.0)
        in_range(self, "factor", 0.0, 1.0, open_low=True)
        whole(self, "patience")
        whole(self, "cooldown", least=0)
        check_monitor(self)

    def levels(self) -> Iterable[float]:
        own = self.start.levels() if isinstance(self.start, Schedule) else (self.start,)
        return (*own, self.least)

    def hyper(self) -> dict[str, float]:
        if isinstance(self.start, Schedule):
            first = prefixed("start", self.start.hyper())
        else:
            first = {"start": float(self.start)}
        return {**first, "least": float(self.least), "scale": 1.0}

    def value(self, h: Mapping[str, Tensor], s: Tensor) -> Tensor:
        plan = self.start
        first = plan.value(part_of(h, "start"), s) if isinstance(plan, Schedule) else h["start"]
        return maximum(h["least"], h["scale"] * first)


def check_monitor(owner: Any) -> None:
    """Raise OptionError unless ``owner.monitor`` is a name, or None."""
    if owner.monitor is not None and not isinstance(owner.monitor, str):
        raise OptionError(
            f"{type(owner).__name__}: monitor must be the name of an entry of the history, such "
            f"as 'val_loss', not {owner.monitor!r}."
        )


def improves(score: float, best: float, min_delta: float) -> bool:
    """Return whether `score` is below `best` by more than the share `min_delta` of it.

    >>> improves(0.98e-6, 1e-6, 0.01), improves(0.995e-6, 1e-6, 0.01)
    (True, False)
    """
    margin = min_delta * abs(best) if math.isfinite(best) else 0.0
    return score < best - margin


@dataclass
class PlateauWatch:
    """The state of a :class:`ReduceOnPlateau` during training.

    >>> watch = PlateauWatch(ReduceOnPlateau(0.1, patience=2))
    >>> [watch.asks_to_lower(loss) for loss in (3.0, 2.0, 2.5, 2.0, 1.0)]
    [False, False, False, True, False]
    """

    plan: ReduceOnPlateau
    best: float = field(default=math.inf, init=False)
    waited: int = field(default=0, init=False)
    resting: int = field(default=0, init=False)

    def asks_to_lower(self, score: float) -> bool:
        """Record the `score` of an epoch (lower is better); return whether to reduce the rate."""
        if improves(score, self.best, self.plan.min_delta):
            self.best, self.waited = score, 0
        else:
            self.waited += 1
        if self.resting:
            self.resting -= 1
            self.waited = 0
        if self.waited < self.plan.patience:
            return False
        self.waited, self.resting = 0, self.plan.cooldown
        return True
