"""chainrule: a network, its gradient and its training step as one readable graph.

>>> import chainrule as cr
>>> w, x = cr.tensor(2.0), cr.tensor(-1.0)
>>> out = cr.sigmoid(w * x)
>>> [round(float(slope), 4) for slope in cr.grad(out, [w, x])]
[-0.105, 0.21]

Read next: ``docs/tour.py``, then :mod:`chainrule.core`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from chainrule.core.errors import (
    ChainruleError,
    DataError,
    DivergedError,
    DTypeError,
    GraphError,
    OptionError,
    RunError,
    ShapeError,
    no_attribute,
)
from chainrule.core.graph import Graph, set_drawer, set_exporter
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor, input, tensor
from chainrule.core.verify import verify
from chainrule.ops import (
    arithmetic,
    compare,
    composite,
    elementary,
    index,
    linalg,
    random,
    reduce,
    shape,
    sparse,
)
from chainrule.ops.arithmetic import *  # noqa: F403
from chainrule.ops.compare import *  # noqa: F403
from chainrule.ops.composite import *  # noqa: F403
from chainrule.ops.elementary import *  # noqa: F403
from chainrule.ops.index import *  # noqa: F403
from chainrule.ops.linalg import *  # noqa: F403
from chainrule.ops.random import *  # noqa: F403
from chainrule.ops.reduce import *  # noqa: F403
from chainrule.ops.shape import *  # noqa: F403
from chainrule.ops.sparse import *  # noqa: F403
from chainrule.run.program import evaluate
from chainrule.transform.grad import grad
from chainrule.transform.gradient_check import check_grads
from chainrule.transform.jacobian import hessian, jacobian

if TYPE_CHECKING:
    from chainrule import data as data
    from chainrule import insight as insight
    from chainrule import nn as nn
    from chainrule import optim as optim
    from chainrule import tabular as tabular
    from chainrule import train as train
    from chainrule.doctor.preflight import preflight
    from chainrule.insight.drawing.draw import draw
    from chainrule.insight.explain.attribution import attribute
    from chainrule.insight.explain.explanation import explain
    from chainrule.insight.hidden.learned import features
    from chainrule.insight.range_finder import find_learning_rate
    from chainrule.insight.report.report import report
    from chainrule.interop.export import export
    from chainrule.interop.from_onnx import from_onnx
    from chainrule.interop.tensorboard import TensorBoard
    from chainrule.interop.torch_stacks import from_torch, to_torch
    from chainrule.nn.catalogue import activations
    from chainrule.search.tune import tune
    from chainrule.train.checkpoint import Checkpoint
    from chainrule.train.curve import fit_curve
    from chainrule.train.early_stopping import EarlyStopping
    from chainrule.train.fit import fit
    from chainrule.train.many import fit_many
    from chainrule.train.resuming import resume
    from chainrule.train.run import Run, load
    from chainrule.train.weight_files import load_weights, save_weights

__version__ = "0.1.0"

__all__ = [
    "ChainruleError",
    "Checkpoint",
    "DTypeError",
    "DataError",
    "DivergedError",
    "EarlyStopping",
    "Graph",
    "GraphError",
    "OptionError",
    "Parameter",
    "Run",
    "RunError",
    "ShapeError",
    "Tensor",
    "TensorBoard",
    "activations",
    "attribute",
    "check_grads",
    "draw",
    "evaluate",
    "explain",
    "export",
    "features",
    "find_learning_rate",
    "fit",
    "fit_curve",
    "fit_many",
    "from_onnx",
    "from_torch",
    "grad",
    "hessian",
    "input",
    "jacobian",
    "load",
    "load_weights",
    "preflight",
    "report",
    "resume",
    "save_weights",
    "tensor",
    "to_torch",
    "tune",
    "verify",
]
# A name that a file of operations lists is public, so that a new one is written there alone.
__all__ += arithmetic.__all__
__all__ += compare.__all__
__all__ += composite.__all__
__all__ += elementary.__all__
__all__ += index.__all__
__all__ += linalg.__all__
__all__ += random.__all__
__all__ += reduce.__all__
__all__ += shape.__all__
__all__ += sparse.__all__

# Training brings tables, layers and optimizers along; a graph alone needs none of them.
_LATER = {
    "Checkpoint": "chainrule.train.checkpoint",
    "EarlyStopping": "chainrule.train.early_stopping",
    "Run": "chainrule.train.run",
    "TensorBoard": "chainrule.interop.tensorboard",
    "activations": "chainrule.nn.catalogue",
    "attribute": "chainrule.insight.explain.attribution",
    "draw": "chainrule.insight.drawing.draw",
    "explain": "chainrule.insight.explain.explanation",
    "export": "chainrule.interop.export",
    "features": "chainrule.insight.hidden.learned",
    "find_learning_rate": "chainrule.insight.range_finder",
    "fit": "chainrule.train.fit",
    "fit_many": "chainrule.train.many",
    "fit_curve": "chainrule.train.curve",
    "from_onnx": "chainrule.interop.from_onnx",
    "from_torch": "chainrule.interop.torch_stacks",
    "to_torch": "chainrule.interop.torch_stacks",
    "load": "chainrule.train.run",
    "load_weights": "chainrule.train.weight_files",
    "save_weights": "chainrule.train.weight_files",
    "preflight": "chainrule.doctor.preflight",
    "report": "chainrule.insight.report.report",
    "resume": "chainrule.train.resuming",
    "tune": "chainrule.search.tune",
}
_PACKAGES = frozenset({"data", "insight", "nn", "optim", "tabular", "train"})


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    if name in _PACKAGES:
        return import_module(f"chainrule.{name}")
    for package in () if name.startswith("_") else ("nn", "optim", "data", "tabular"):
        if name in import_module(f"chainrule.{package}").__all__:
            text = (
                f"module 'chainrule' has no attribute {name!r}. It is chainrule.{package}.{name}."
            )
            raise AttributeError(text)
    raise no_attribute(__name__, name, [*__all__, *_PACKAGES])


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES])


def _draw(*args: Any, **options: Any) -> Any:
    """Draw with :mod:`chainrule.insight.drawing.draw`, loaded by the first picture asked for."""
    return import_module("chainrule.insight.drawing.draw").draw(*args, **options)


set_drawer(_draw)


def _write_onnx(*args: Any) -> Any:
    """Export with :mod:`chainrule.interop.export`, loaded by the first export."""
    return import_module("chainrule.interop.export").export(*args)


set_exporter(_write_onnx)


def _greet_notebook() -> None:
    """Where IPython runs, let it show tensors, graphs, models and runs as what they are."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        import_module("chainrule.insight.notebook").register(shell)


_greet_notebook()
