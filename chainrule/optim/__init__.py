"""Floor 4, optimizers: graph functions that read like the published equations.

Read next: :mod:`chainrule.optim.optimizer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.core.errors import no_attribute
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

if not TYPE_CHECKING:  # a type checker knows the names, and must go on telling of others

    def __getattr__(name: str) -> Any:
        raise no_attribute(__name__, name, __all__)
