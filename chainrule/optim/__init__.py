"""Floor 4, optimizers: graph functions written like the published equations.

Read next: :mod:`chainrule.optim.optimizer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.core.errors import no_attribute
from chainrule.optim import (
    adam,
    adaptive,
    clip,
    lbfgs,
    levenberg_marquardt,
    schedules,
    sgd,
    wrappers,
)
from chainrule.optim.adam import *  # noqa: F403
from chainrule.optim.adaptive import *  # noqa: F403
from chainrule.optim.clip import *  # noqa: F403
from chainrule.optim.decay import MaxNorm, WeightDecay
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.groups import Groups, freeze, groups
from chainrule.optim.lbfgs import *  # noqa: F403
from chainrule.optim.levenberg_marquardt import *  # noqa: F403
from chainrule.optim.named import optimizer, optimizer_names, schedule, schedule_names
from chainrule.optim.optimizer import Chain, Optimizer, chain
from chainrule.optim.plateau import ReduceOnPlateau
from chainrule.optim.schedules import *  # noqa: F403
from chainrule.optim.sgd import *  # noqa: F403
from chainrule.optim.wrappers import *  # noqa: F403

__all__ = [
    "Chain",
    "FullBatch",
    "Groups",
    "MaxNorm",
    "Optimizer",
    "ReduceOnPlateau",
    "WeightDecay",
    "chain",
    "freeze",
    "groups",
    "optimizer",
    "optimizer_names",
    "schedule",
    "schedule_names",
]
# Every public name of these files is exported, so a new optimizer needs no edit here.
__all__ += adam.__all__
__all__ += adaptive.__all__
__all__ += clip.__all__
__all__ += lbfgs.__all__
__all__ += levenberg_marquardt.__all__
__all__ += schedules.__all__
__all__ += sgd.__all__
__all__ += wrappers.__all__

if not TYPE_CHECKING:  # a type checker should still report unknown names

    def __getattr__(name: str) -> Any:
        raise no_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
