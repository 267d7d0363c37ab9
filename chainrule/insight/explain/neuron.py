"""One neuron in numbers: its weighted sum, its activation, and how its gradient is computed.

A graph of a network and its loss goes in, with the layer's path and the unit's number.  Out
comes a :class:`Neuron`, each of whose numbers can be recomputed from the others it shows::

    weighted_sum = inputs @ weights;  total = weighted_sum + bias;  activation = f(total)
    gradient of activation = sum of weight * gradient over the units it feeds, and what comes
        by other paths, as from the loss
    gradient of total = gradient of activation * slope of f at total
    gradient of weight i = input i * gradient of total

Read next: :mod:`chainrule.insight.explain.layerwise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.graph import Graph, Node, reachable
from chainrule.core.spec import Dim
from chainrule.core.tensor import Tensor, tensor
from chainrule.core.wording import counted
from chainrule.insight.render.text import number, table
from chainrule.ops.shape import broadcast_to
from chainrule.run.reference import evaluate
from chainrule.transform.grad import grad, pull_back

__all__ = ["Neuron", "Outgoing", "explain_neuron", "weighted_sums"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Outgoing:
    """The edges from a neuron to the units of `layer`: their weights, and the units' gradients."""

    layer: str
    units: Array
    weights: Array
    gradients: Array

    @property
    def parts(self) -> Array:
        """The gradient through each edge: its weight times the gradient of the unit it feeds."""
        parts: Array = self.weights * self.gradients
        return parts


@dataclass(frozen=True, repr=False)
class Neuron:
    """Unit `unit` of `layer` on row `row`; ``print`` it, or take its numbers.

    sources, inputs, weights
        The inputs it is connected to: their numbers, values and weights.
    bias, total, activation, slope
        ``total = inputs @ weights + bias``, ``activation = f(total)``, slope the derivative of f.
    outgoing, other
        The units it feeds, and the part of its gradient that does not come through these edges.
    gradient, total_gradient
        Of the loss to `activation` and to `total`.
    skipping
        The part of `total_gradient` that bypasses the activation, as by a shortcut.
    """

    layer: str
    unit: int
    row: int
    rows: int
    sources: Array
    inputs: Array
    weights: Array
    bias: float | None
    total: float
    function: str
    activation: float
    slope: float
    outgoing: tuple[Outgoing, ...]
    other: float
    gradient: float
    total_gradient: float
    skipping: float
    names: tuple[str, ...] = ()

    @property
    def weighted_sum(self) -> float:
        """The sum of inputs times weights."""
        return float(self.inputs.astype(np.float64) @ self.weights.astype(np.float64))

    @property
    def weight_gradients(self) -> Array:
        """This row's part of each weight's gradient: input times the gradient of the total."""
        gradients: Array = self.inputs * self.total_gradient
        return gradients

    def __str__(self) -> str:
        return self.tell()

    __repr__ = __str__

    def tell(self, most: int = 8, digits: int = 4) -> str:
        """Return the neuron as text, with the `most` largest of its edges."""

        def said(value: float) -> str:
            return number(float(value), digits)

        lines = [f"Unit {self.unit} of layer {self.layer}, row {self.row} of {self.rows}", ""]
        lines += [f"Forward: {counted(len(self.inputs), 'input')}, each times its weight"]
        products = self.inputs.astype(np.float64) * self.weights
        columns = [self.named(), self.inputs, self.weights, products]
        lines += _largest(("input", "value", "weight", "value × weight"), columns, most, said)
        summed = [("weighted sum", said(self.weighted_sum))]
        if self.bias is not None:
            summed += [("+ bias", said(self.bias)), ("= total", said(self.total))]
        if self.function:
            summed += [(f"{self.function} of it", said(self.activation))]
        lines += table(summed, numbers=(1,))
        lines += ["", *self._back(most, said)]
        return "\n".join(lines)

    def named(self) -> list[str]:
        """Return the name of each input: its column, or its number."""
        numbers = self.sources.tolist()
        return [self.names[i] if i < len(self.names) else str(i) for i in numbers]

    def _back(self, most: int, said: Any) -> list[str]:
        lines = ["Backward: the gradient, from the units that it feeds"]
        told = []
        for out in self.outgoing:
            units = "1 unit" if len(out.units) == 1 else f"{len(out.units):,} units"
            lines.append(f"  {units} of layer {out.layer}")
            columns = [list(map(str, out.units)), out.gradients, out.weights, out.parts]
            heads = ("unit", "its gradient", "weight", "gradient × weight")
            lines += _largest(heads, columns, most, said)
            told.append((f"sum from layer {out.layer}", said(out.parts.sum())))
        if self.other or not self.outgoing:
            where = "other paths, as the loss or a shortcut" if self.outgoing else "the loss"
            told.append((f"from {where}", said(self.other)))
        if self.function:
            told.append(("= gradient of the activation", said(self.gradient)))
            told.append((f"× slope of {self.function} there", said(self.slope)))
            if self.skipping:
                told.append(("+ what bypasses the activation", said(self.skipping)))
        told.append(("= gradient of the total" + " and of the bias" * (self.bias is not None),
                     said(self.total_gradient)))  # fmt: skip
        lines += table(told, numbers=(1,))
        lines += ["", "Each weight's gradient: its input × the gradient of the total"]
        columns = [self.named(), self.inputs, self.weight_gradients]
        return lines + _largest(("weight of input", "input", "gradient"), columns, most, said)

    def to_dict(self) -> dict[str, Any]:
        """Return every number as plain data for JSON."""
        return {
            "layer": self.layer, "unit": self.unit, "row": self.row, "rows": self.rows,
            "sources": self.sources.tolist(), "inputs": self.inputs.tolist(),
            "weights": self.weights.tolist(), "bias": self.bias, "total": self.total,
            "function": self.function, "activation": self.activation, "slope": self.slope,
            "outgoing": [
                {"layer": o.layer, "units": o.units.tolist(), "weights": o.weights.tolist(),
                 "gradients": o.gradients.tolist()} for o in self.outgoing
            ],
            "other": self.other, "gradient": self.gradient, "skipping": self.skipping,
            "total_gradient": self.total_gradient,
            "weight_gradients": self.weight_gradients.tolist(),
        }  # fmt: skip


def _largest(heads: tuple[str, ...], columns: Sequence[Any], most: int, said: Any) -> list[str]:
    """Return the rows whose last number is largest, and the sum of the others."""
    weights = np.asarray(columns[-1], np.float64)
    order = np.argsort(-np.abs(weights), kind="stable")
    rows = [(columns[0][i], *(said(column[i]) for column in columns[1:])) for i in order[:most]]
    rest = order[most:]
    if rest.size:
        blank = ("",) * (len(heads) - 2)
        rows.append((f"{rest.size:,} others", *blank, said(weights[rest].sum())))
    return ["  " + line for line in table([heads, *rows], tuple(range(1, len(heads))))]


def weighted_sums(output: Node) -> dict[str, Node]:
    """Return the weighted sums over the rows behind `output`, by the path of their layer."""
    found: dict[str, Node] = {}
    for node in reachable([output]):
        over_rows = node.spec.ndim == 2 and isinstance(node.spec.shape[0], Dim)
        dense = node.primitive.name == "matmul" and node.inputs[1].spec.ndim == 2
        if over_rows and (dense or node.primitive.name == "sparse_matmul"):
            path, again = node.scope, 2
            while path in found:
                path, again = f"{node.scope}#{again}", again + 1
            found[path] = node
    return found


@dataclass(frozen=True)
class _Place:
    """The nodes of a layer of neurons: its weighted sums with bias, and its activations."""

    sums: Node
    total: Node
    bias: Node | None
    activation: Node


def explain_neuron(
    graph: Graph,
    values: Mapping[str, Array],
    layer: str,
    unit: int,
    row: int = 0,
    names: Sequence[str] = (),
    layers: Mapping[str, str] | None = None,
) -> Neuron:
    """Return unit `unit` of `layer` in numbers; `graph` has the outputs ``loss`` and ``output``.

    `names` are the names of the inputs, `layers` those of the layers by path.  Raises
    OptionError for a unit or row out of range.
    """
    sums = weighted_sums(graph.outputs["output"])
    place = _locate(graph, sums[layer])
    rows = len(next(iter(values.values())))
    units = int(place.sums.spec.shape[1])  # type: ignore[arg-type]
    for what, given, limit in (("unit", unit, units), ("row", row, rows)):
        if isinstance(given, bool) or not isinstance(given, (int, np.integer)):
            raise OptionError(f"{what} must be a whole number, not {given!r}.")
        if not 0 <= given < limit:
            raise OptionError(f"there is no {what} {given}: they are numbered 0 to {limit - 1}.")
    fed = {path: node for path, node in sums.items() if node.inputs[0] is place.activation}
    found = _numbers(graph, values, place, fed)
    sources, weights = _incoming(place.sums, found["weights"], unit)
    outgoing = tuple(
        _outgoing(path, node, found[f"fed/{path}"], found[f"fed gradient/{path}"][row], unit)
        for path, node in fed.items()
    )
    gradient = float(found["activation gradient"][row, unit])
    total_gradient = float(found["total gradient"][row, unit])
    slope = float(found["slope"][row, unit])
    through = sum(float(o.parts.astype(np.float64).sum()) for o in outgoing)
    same = place.activation is place.total
    bias = None if place.bias is None else float(np.broadcast_to(
        found["bias"], (1, units))[0, unit])  # fmt: skip
    return Neuron(
        layer, int(unit), int(row), rows, sources, found["inputs"][row][sources], weights, bias,
        float(found["total"][row, unit]), "" if same else _function(graph, place, layers or {}),
        float(found["activation"][row, unit]), slope, outgoing,
        _remainder(gradient, through), gradient, total_gradient,
        0.0 if same else _remainder(total_gradient, gradient * slope), tuple(names),
    )  # fmt: skip


def _remainder(whole: float, part: float) -> float:
    """Return ``whole - part``, or zero if that is only rounding error."""
    rest = whole - part
    return 0.0 if abs(rest) <= 1e-5 * (abs(whole) + abs(part)) else rest


def _locate(graph: Graph, sums: Node) -> _Place:
    users = [n for n in graph.nodes if sums in n.inputs and n.primitive.name == "add"]
    total, bias = sums, None
    for user in users:
        [other] = [i for i in user.inputs if i is not sums] or [sums]
        if not any(isinstance(d, Dim) for d in other.spec.shape) and user.scope == sums.scope:
            total, bias = user, other
    return _Place(sums, total, bias, _activation(graph, total))


def _activation(graph: Graph, total: Node) -> Node:
    """Return the last value computed elementwise from `total` alone, outside of the loss."""
    inside = {total}
    for node in graph.nodes:
        if node.scope.split(".")[0] == "loss" or not node.primitive.elementwise:
            continue
        changing = [i for i in node.inputs if any(isinstance(d, Dim) for d in i.spec.shape)]
        if changing and inside.issuperset(changing) and node.spec.shape == total.spec.shape:
            inside.add(node)
    outside = [n for n in graph.nodes if n not in inside]
    used = {i for n in outside for i in n.inputs} | {graph.outputs["output"]}
    return max((n for n in inside if n in used), key=lambda node: node.serial, default=total)


def _function(graph: Graph, place: _Place, layers: Mapping[str, str]) -> str:
    """Return the function from the total to the activation, in a few words."""
    changing = {place.total}
    between: list[Node] = []
    for node in graph.nodes:
        if node.serial <= place.activation.serial and not changing.isdisjoint(node.inputs):
            changing.add(node)
            between.append(node)
    own = place.total.scope
    said = [layers.get(n.scope) or n.primitive.name for n in between if n.scope != own]
    return ", ".join(dict.fromkeys(said or [n.primitive.name for n in between]))


def _numbers(
    graph: Graph, values: Mapping[str, Array], place: _Place, fed: Mapping[str, Node]
) -> dict[str, Array]:
    """Return the values and gradients needed to explain a neuron, for all units and rows."""
    total, activation = Tensor(place.total), Tensor(place.activation)
    wanted = [activation, total, *(Tensor(node) for node in fed.values())]
    slopes = grad(Tensor(graph.outputs["loss"]), wanted, unused="zero")
    ones = broadcast_to(tensor(np.ones((), activation.dtype)), activation.shape)
    asked = {
        "inputs": place.sums.inputs[0], "weights": place.sums.inputs[1], "total": place.total,
        "activation": place.activation, "slope": pull_back(activation, ones, [total])[0].node,
        "activation gradient": slopes[0].node, "total gradient": slopes[1].node,
    }  # fmt: skip
    if place.bias is not None:
        asked["bias"] = place.bias
    for (path, node), slope in zip(fed.items(), slopes[2:], strict=True):
        asked |= {f"fed/{path}": node.inputs[1], f"fed gradient/{path}": slope.node}
    return evaluate(Graph(asked, graph.inputs), values)


def _incoming(sums: Node, weights: Array, unit: int) -> tuple[Array, Array]:
    """Return the indices of the inputs that `unit` sums, and their weights."""
    if sums.primitive.name == "matmul":
        return np.arange(len(weights)), weights[:, unit]
    wiring = sums.params["wiring"]
    ends = (wiring.sources, wiring.targets)
    sources, targets = ends[::-1] if sums.params["transposed"] else ends
    edges = np.flatnonzero(targets == unit)
    return sources[edges], weights[edges]


def _outgoing(path: str, sums: Node, weights: Array, gradients: Array, unit: int) -> Outgoing:
    """Return the edges from `unit` to the units of the weighted sums `sums`."""
    if sums.primitive.name == "matmul":
        return Outgoing(path, np.arange(weights.shape[1]), weights[unit], gradients)
    wiring = sums.params["wiring"]
    ends = (wiring.sources, wiring.targets)
    sources, targets = ends[::-1] if sums.params["transposed"] else ends
    edges = np.flatnonzero(sources == unit)
    return Outgoing(path, targets[edges], weights[edges], gradients[targets[edges]])
