"""Floor 4, optimizers: graph functions that read like the published equations.

Read next: :mod:`chainrule.optim.optimizer`.
"""

from __future__ import annotations

from chainrule.optim.adam import Adam
from chainrule.optim.clip import ClipNorm, ClipValue
from chainrule.optim.named import optimizer, optimizer_names
from chainrule.optim.optimizer import Chain, Optimizer, chain
from chainrule.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "Chain",
    "ClipNorm",
    "ClipValue",
    "Optimizer",
    "chain",
    "optimizer",
    "optimizer_names",
]
