"""LSUV initialization: scale the weights so that layer outputs have variance 1 on a batch.

Other initializers assume a distribution of inputs and a kind of activation; this one measures
the outputs, so it suits any.

Read next: :mod:`chainrule.nn.activations`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import DataError, OptionError
from chainrule.core.graph import Graph, Node
from chainrule.core.tensor import tensor
from chainrule.nn.initializers import Orthogonal
from chainrule.nn.layer import Layer, initialize, parameters
from chainrule.nn.scale import reads_pixels
from chainrule.run.reference import Interpreter
from chainrule.transform.mode import for_predicting

__all__ = ["lsuv"]


def lsuv(model: Layer, X: Any, seed: int = 0) -> None:
    """Initialize weights so that ``x @ weight`` of each layer has variance 1 on the rows of `X`.

    Weights start orthogonal (sparse ones as drawn) and all other parameters as their layers
    define, from `seed`; then, layer by layer in the order of the data, each weight is divided by
    the standard deviation of ``x @ weight`` over all rows and units.  A weight used twice is
    scaled at its first use.  Training continues from these values.

    X: (rows, ...) as for training, a few hundred rows or more; uint8 images are scaled by 1/255.
    Raises OptionError if no weight of the model multiplies data, and DataError if X is not
    numeric, or naming a weight whose product does not vary.
    Source: Mishkin and Matas, "All you need is a good init", 2016.

    >>> from chainrule import nn
    >>> X = 7 * np.random.default_rng(0).normal(size=(64, 5))
    >>> model = nn.Sequential([nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)])
    >>> nn.lsuv(model, X)
    >>> round(float(np.var(model[0](X.astype("float32")).numpy())), 3)
    1.0
    """
    initialize(model, seed)
    named = parameters(model)
    if not named:
        raise OptionError("lsuv: the model has no parameters.")
    dtype = next(iter(named.values())).dtype
    rows = np.asarray(X)
    if rows.dtype.kind not in "buif" or rows.size == 0:
        raise DataError(f"lsuv: X must be rows of numbers, not {rows.dtype} of shape {rows.shape}.")
    scale = 1 / 255 if reads_pixels(model, rows.dtype, rows.ndim) else 1.0
    output = model(tensor(rows.astype(dtype) * dtype.type(scale)))
    graph = for_predicting(Graph({"output": output}))
    products = _first_products(graph, {p.node: path for path, p in named.items()})
    if not products:
        raise OptionError("lsuv: no parameter of the model multiplies data as a matrix.")
    for place, (path, parameter) in enumerate(named.items()):
        if path in products and parameter.ndim > 1:  # sparse weights stay as drawn
            generator = np.random.Generator(np.random.Philox(key=[seed, place]))
            parameter.value = Orthogonal()(parameter.value.shape, generator)
    for path, product in products.items():
        values = Interpreter(Graph({"product": product}))({})["product"]
        spread = float(np.std(values, dtype=np.float64))
        if not 0 < spread < np.inf:
            raise DataError(
                f"lsuv: the product with {path!r} has standard deviation {spread:.4g} on X, so it "
                "can't be scaled to 1. Check that the rows of X differ and are finite."
            )
        named[path].value = named[path].value / spread


def _first_products(graph: Graph, named: dict[Node, str]) -> dict[str, Node]:
    """Return the first product with each parameter as right factor, in the order of the data."""
    found: dict[str, Node] = {}
    for node in graph.nodes:
        if node.primitive.weighted and node.inputs[1] in named:
            found.setdefault(named[node.inputs[1]], node)
    return found
