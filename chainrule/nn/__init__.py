"""Floor 4, networks: layers as plain dataclasses, activations, initializers and losses.

>>> from chainrule import nn
>>> model = nn.Sequential([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)])
>>> {name: p.shape for name, p in nn.parameters(model).items()}
{'0.weight': (4, 8), '0.bias': (8,), '2.weight': (8, 3), '2.bias': (3,)}

Read next: :mod:`chainrule.nn.layer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.core.errors import no_attribute
from chainrule.nn import (
    activations,
    cross_fitted,
    embedding,
    initializers,
    losses,
    maxout,
    members,
    neurons,
    noise,
    normalize,
    pieces,
    regularizers,
    residual,
    scale,
    several,
    wiring,
)
from chainrule.nn.activations import *  # noqa: F403
from chainrule.nn.catalogue import Activation, ActivationTable
from chainrule.nn.cross_fitted import *  # noqa: F403
from chainrule.nn.embedding import *  # noqa: F403
from chainrule.nn.initializers import *  # noqa: F403
from chainrule.nn.layer import (
    Flatten,
    Layer,
    Linear,
    Sequential,
    initialize,
    parameters,
    summary,
)
from chainrule.nn.layer_config import from_config, register_layer, register_public, to_config
from chainrule.nn.losses import *  # noqa: F403
from chainrule.nn.lsuv import lsuv
from chainrule.nn.maxout import *  # noqa: F403
from chainrule.nn.members import *  # noqa: F403
from chainrule.nn.network import Network
from chainrule.nn.neurons import *  # noqa: F403
from chainrule.nn.noise import *  # noqa: F403
from chainrule.nn.normalize import *  # noqa: F403
from chainrule.nn.pieces import *  # noqa: F403
from chainrule.nn.regularizers import *  # noqa: F403
from chainrule.nn.residual import *  # noqa: F403
from chainrule.nn.scale import *  # noqa: F403
from chainrule.nn.several import *  # noqa: F403
from chainrule.nn.wiring import *  # noqa: F403

__all__ = [
    "Flatten",
    "Layer",
    "Linear",
    "Network",
    "Sequential",
    "from_config",
    "initialize",
    "lsuv",
    "parameters",
    "register_layer",
    "summary",
    "to_config",
]
# Every public name of these files is exported, so a new layer needs no edit here.
__all__ += activations.__all__
__all__ += cross_fitted.__all__
__all__ += embedding.__all__
__all__ += initializers.__all__
__all__ += losses.__all__
__all__ += maxout.__all__
__all__ += members.__all__
__all__ += neurons.__all__
__all__ += noise.__all__
__all__ += normalize.__all__
__all__ += pieces.__all__
__all__ += regularizers.__all__
__all__ += residual.__all__
__all__ += scale.__all__
__all__ += several.__all__
__all__ += wiring.__all__

register_public(globals()[name] for name in __all__)

__all__ += ["Activation", "ActivationTable"]  # facts about layers, not parts of a model

if not TYPE_CHECKING:  # a type checker should still report unknown names

    def __getattr__(name: str) -> Any:
        raise no_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
