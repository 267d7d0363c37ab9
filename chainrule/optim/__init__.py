"""Floor 4, optimizers: graph functions that read like the published equations.

Read next: :mod:`chainrule.optim.optimizer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.core.errors import no_attribute
from chainrule.optim.adam import Adam, AdamW, AMSGrad, Lion, Nadam
from chainrule.optim.adaptive import AdaDelta, AdaGrad, RMSProp
from chainrule.optim.clip import ClipNorm, ClipValue
from chainrule.optim.decay import MaxNorm, WeightDecay
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.groups import Groups, freeze, groups
from chainrule.optim.lbfgs import LBFGS, Minimum
from chainrule.optim.levenberg_marquardt import LeastSquares, LevenbergMarquardt
from chainrule.optim.named import optimizer, optimizer_names, schedule, schedule_names
from chainrule.optim.optimizer import Chain, Optimizer, chain
from chainrule.optim.plateau import ReduceOnPlateau
from chainrule.optim.schedule import (
    Cosine,
    CosineRestarts,
    Exponential,
    OneCycle,
    Piecewise,
    Polynomial,
    Schedule,
    StepDecay,
    Warmup,
    epochs,
    tabulate,
)
from chainrule.optim.sgd import SGD
from chainrule.optim.wrappers import Accumulate, Averaged

__all__ = [
    "LBFGS",
    "SGD",
    "AMSGrad",
    "Accumulate",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Averaged",
    "Chain",
    "ClipNorm",
    "ClipValue",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "FullBatch",
    "Groups",
    "LeastSquares",
    "LevenbergMarquardt",
    "Lion",
    "MaxNorm",
    "Minimum",
    "Nadam",
    "OneCycle",
    "Optimizer",
    "Piecewise",
    "Polynomial",
    "RMSProp",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
    "Warmup",
    "WeightDecay",
    "chain",
    "epochs",
    "freeze",
    "groups",
    "optimizer",
    "optimizer_names",
    "schedule",
    "schedule_names",
    "tabulate",
]

if not TYPE_CHECKING:  # a type checker knows the names, and must go on telling of others

    def __getattr__(name: str) -> Any:
        raise no_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
