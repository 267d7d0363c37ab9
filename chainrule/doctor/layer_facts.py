"""The layers of a network, as some rows pass them: what enters and leaves each, and its slopes.

Read next: :mod:`chainrule.doctor.survey`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.graph import Graph, Node, reachable
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor, tensor
from chainrule.nn.layer import Layer, parameters
from chainrule.run.reference import Interpreter
from chainrule.step.objective import Objective
from chainrule.step.part import Part
from chainrule.step.probes import LayerProbe, layer_probes
from chainrule.step.record import data_input, forward, record_totals
from chainrule.transform.grad import grad
from chainrule.transform.mode import for_predicting

__all__ = ["WEIGHT", "LayerFacts", "Probes", "longest_chain"]

Array = np.ndarray[Any, Any]
WEIGHT = re.compile(r"\.?weight(\.\d+)?$")  # the end of the path of a layer's weight


@dataclass(frozen=True)
class LayerFacts:
    """A layer with weights, as some rows pass it.

    `inputs` (rows, features) enter its product with the weights, `product` (rows, units) leaves
    it; `slope` is the derivative of what follows (bias, normalization, activation), up to the
    next layer with weights, to each element of the product: that of a sum with one weight for each
    unit, of about 1 and of either sign, because the plain sum behind a normalization or a softmax
    is the same for every row.  `gradient` is that of the mean loss to the product; `weight` and
    `bias` are None where they are not parameters.  `feeds` are the places of the layers that get
    what it computes, also through others, and `alone` is whether nothing gets past it from the
    inputs to the output, as through a layer beside it or a shortcut.  `bends` is whether `slope`
    depends on `product` at all, as behind an activation, on whatever rows.
    """

    path: str
    inputs: Array
    product: Array
    slope: Array
    gradient: Array
    weight: Array | None
    bias: Array | None
    feeds: tuple[int, ...]
    alone: bool
    connected: bool  # whether a gradient can come back to it at all
    bends: bool

    @property
    def units(self) -> int:
        """How many units it has."""
        return int(self.product.shape[-1])

    @property
    def last(self) -> bool:
        """Whether no other layer gets what it computes: there may be several such heads."""
        return not self.feeds

    @property
    def dead(self) -> float:
        """The share of units whose slope is 0 for every row, so that no gradient passes them."""
        return float((self.slope == 0).all(axis=0).mean())


@dataclass(frozen=True)
class Probes:
    """The graph that measures each layer on some rows, with the weights of the moment."""

    interpreter: Interpreter
    paths: list[str]
    feeds: list[tuple[int, ...]]
    alone: list[bool]
    connected: list[bool]
    bends: list[bool]
    weights: list[Parameter | None]
    biases: list[Parameter | None]

    @classmethod
    def of(cls, model: Layer, aim: Objective, part: Part) -> Probes:
        """Return the probes of `model` for rows like those of `part`."""
        x, y = data_input("x", part.x), data_input("y", part.y)
        output = forward(model, x)
        loss, _ = record_totals(aim, (), output, y)
        plain = for_predicting(
            Graph({"output": output.node, "loss": loss.node}, {"x": x.node, "y": y.node})
        )
        output, loss = Tensor(plain.outputs["output"]), Tensor(plain.outputs["loss"])
        probes = layer_probes(output)
        found = parameters(model)
        by_node = {p.node: (path, p) for path, p in found.items()}
        gradients = grad(loss, [*(p.product for p in probes), *found.values()], unused="zero")
        wanted, connected = {"output": output.node, "loss": loss.node}, []
        for path, gradient in zip(found, gradients[len(probes) :], strict=True):
            wanted[f"weight gradient/{path}"] = gradient.node
        before = [set(reachable([probe.input.node])) for probe in probes]
        feeds, alone, bends = [], [], []
        for i, probe in enumerate(probes):
            own = probe.product.node
            feeds.append(tuple(k for k in range(i + 1, len(probes)) if own in before[k]))
            alone.append(plain.inputs["x"] not in reachable([output.node], [own]))
            after = probes[feeds[i][0]].input if feeds[i] else output
            slope = grad(_mixed(after).sum(), probe.product, unused="zero")
            bends.append(own in reachable([slope.node]))
            connected.append(probe.product.node in reachable([after.node], (), _differentiated))
            wanted |= {
                f"{i}/inputs": probe.input.node,
                f"{i}/product": probe.product.node,
                f"{i}/slope": slope.node,
                f"{i}/gradient": gradients[i].node,
            }
        known = [by_node.get(probe.product.node.inputs[1], ("", None)) for probe in probes]
        paths = _paths(probes, [path for path, _ in known])
        biases = [found.get(f"{path}.bias") for path in paths]
        return cls(
            Interpreter(Graph(wanted, plain.inputs)), paths, feeds, alone, connected,
            bends, [weight for _, weight in known], biases,
        )  # fmt: skip

    def read(self, part: Part, some: Array) -> tuple[list[LayerFacts], dict[str, Array]]:
        """Return the layers, and all that was computed, for some rows of `part`."""
        values = self.interpreter({"x": part.x[some], "y": part.y[some]})
        layers = []
        parts = zip(self.paths, self.weights, self.biases, strict=True)
        for i, (path, weight, bias) in enumerate(parts):
            layers.append(
                LayerFacts(
                    path=path,
                    inputs=values[f"{i}/inputs"],
                    product=values[f"{i}/product"],
                    slope=values[f"{i}/slope"],
                    gradient=values[f"{i}/gradient"],
                    weight=None if weight is None else weight.value.copy(),
                    bias=None if bias is None else bias.value.copy(),
                    feeds=self.feeds[i],
                    alone=self.alone[i],
                    connected=self.connected[i],
                    bends=self.bends[i],
                )
            )
        return layers, values


def _paths(probes: Sequence[LayerProbe], weights: Sequence[str]) -> list[str]:
    """Return the paths of the layers: those of a model that is a class from its `weights`.

    Where a layer is passed twice, "#2" follows its path.
    """
    found: list[str] = []
    for probe, weight in zip(probes, weights, strict=True):
        own = WEIGHT.sub("", weight) if weight and not probe.product.node.scope else ""
        path, again = own or probe.layer, 2
        while path in found:
            path, again = f"{own or probe.layer}#{again}", again + 1
        found.append(path)
    return found


def _mixed(x: Tensor) -> Tensor:
    """Return `x` with each unit multiplied by a number of its own: about 1, or about -1."""
    width = x.shape[-1]
    if x.ndim < 2 or not isinstance(width, int):
        return x
    rng = np.random.default_rng(0)
    # Slightly different ones, so that two copies of a unit do not cancel out.
    factors = rng.choice([-1.0, 1.0], width) * rng.uniform(0.95, 1.05, width)
    return x * tensor(factors.astype(x.dtype))


def longest_chain(layers: Sequence[LayerFacts]) -> list[LayerFacts]:
    """Return the most layers of which each feeds the next one."""
    after: list[list[int]] = [[] for _ in layers]
    for i in reversed(range(len(layers))):
        after[i] = [i, *max((after[k] for k in layers[i].feeds), key=len, default=[])]
    return [layers[i] for i in max(after, key=len, default=[])]


def _differentiated(node: Node) -> tuple[Node, ...]:
    """Return the inputs that a gradient goes on to."""
    return node.inputs if node.primitive.vjp is not None else ()
