"""Floor 4, networks: layers as plain dataclasses, activations, initializers, losses.

>>> from chainrule import nn
>>> model = nn.Sequential([nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)])
>>> {name: p.shape for name, p in nn.parameters(model).items()}
{'0.weight': (4, 8), '0.bias': (8,), '2.weight': (8, 3), '2.bias': (3,)}

Read next: :mod:`chainrule.nn.layer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.core.errors import no_attribute
from chainrule.nn import losses
from chainrule.nn.activations import (
    ELU,
    GELU,
    SELU,
    HardSigmoid,
    HardSwish,
    HardTanh,
    Identity,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
    activation,
    activation_names,
)
from chainrule.nn.catalogue import Activation, ActivationTable
from chainrule.nn.config import from_config, register_layer, to_config
from chainrule.nn.embedding import EmbedColumns, Embedding
from chainrule.nn.initializers import (
    Constant,
    Eye,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LeCunNormal,
    LeCunUniform,
    MaxoutNormal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Zeros,
    initializer,
)
from chainrule.nn.layer import (
    Flatten,
    Layer,
    Linear,
    Sequential,
    initialize,
    parameters,
    summary,
)
from chainrule.nn.losses import *  # noqa: F403 - each of its names, once
from chainrule.nn.lsuv import lsuv
from chainrule.nn.maxout import Maxout
from chainrule.nn.network import Network
from chainrule.nn.neurons import Neurons
from chainrule.nn.noise import Dropout, GaussianNoise
from chainrule.nn.normalize import BatchNorm, LayerNorm
from chainrule.nn.regularizers import L1, L2, ActivityPenalty, Elastic
from chainrule.nn.residual import Residual
from chainrule.nn.scale import Scale
from chainrule.nn.wiring import Density, Edges, ImageFields, LocalFields, SparseLinear

__all__ = [
    "ELU",
    "GELU",
    "L1",
    "L2",
    "SELU",
    "Activation",
    "ActivationTable",
    "ActivityPenalty",
    "BatchNorm",
    "Constant",
    "Density",
    "Dropout",
    "Edges",
    "Elastic",
    "EmbedColumns",
    "Embedding",
    "Eye",
    "Flatten",
    "GaussianNoise",
    "GlorotNormal",
    "GlorotUniform",
    "HardSigmoid",
    "HardSwish",
    "HardTanh",
    "HeNormal",
    "HeUniform",
    "Identity",
    "ImageFields",
    "Layer",
    "LayerNorm",
    "LeCunNormal",
    "LeCunUniform",
    "LeakyReLU",
    "Linear",
    "LocalFields",
    "Maxout",
    "MaxoutNormal",
    "Mish",
    "Network",
    "Neurons",
    "Orthogonal",
    "PReLU",
    "ReLU",
    "ReLU6",
    "Residual",
    "Scale",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sparse",
    "SparseLinear",
    "Tanh",
    "TruncatedNormal",
    "Zeros",
    "activation",
    "activation_names",
    "from_config",
    "initialize",
    "initializer",
    "lsuv",
    "parameters",
    "register_layer",
    "summary",
    "to_config",
]
__all__ += losses.__all__

if not TYPE_CHECKING:  # a type checker knows the names, and must go on telling of others

    def __getattr__(name: str) -> Any:
        raise no_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
