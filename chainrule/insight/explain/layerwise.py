"""A network on given rows, forward and backward: each layer's input, output and gradient.

A model or a run, rows and their targets go in.  Out comes a :class:`NetworkExplanation`: layer
by layer the statistics of values and gradients, and from there any single neuron
(:mod:`chainrule.insight.explain.neuron`) in numbers that can be checked by hand.  The model is
explained in inference mode: without dropout, with running statistics.

Read next: :mod:`chainrule.insight.explain.neuron`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, OptionError, did_you_mean
from chainrule.core.graph import Graph, Node
from chainrule.core.parameter import Parameter
from chainrule.core.spec import is_float
from chainrule.core.tensor import Tensor
from chainrule.data.check_arrays import check_same_length
from chainrule.data.table import Table
from chainrule.insight.explain.layer_graph import LayerStep, described, layer_at, layer_ends
from chainrule.insight.explain.layerwise_page import network_page
from chainrule.insight.explain.neuron import Neuron, explain_neuron, weighted_sums
from chainrule.insight.render.page import Shown
from chainrule.insight.render.text import number, table
from chainrule.insight.subject import subject_of
from chainrule.nn.embedding import EmbedColumns
from chainrule.nn.layer import parameters
from chainrule.run.reference import evaluate
from chainrule.step.objective import Objective
from chainrule.step.record import check_rows, data_input, forward, model_dtype, record_totals
from chainrule.train.run import Run
from chainrule.transform.grad import grad
from chainrule.transform.mode import for_predicting

__all__ = ["NetworkExplanation", "encode_row", "explain_network"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, repr=False)
class NetworkExplanation(Shown):
    """Forward and backward pass of a network: ``print`` it, then open a :meth:`neuron`."""

    loss: float
    loss_name: str
    layers: tuple[LayerStep, ...]
    input: Array
    input_gradient: Array | None
    graph: Graph
    values: Mapping[str, Array]
    names: tuple[str, ...] = ()
    embedded: Mapping[Node, tuple[str, ...]] = field(default_factory=dict)

    def __getitem__(self, layer: str | int) -> LayerStep:
        """Return a layer by its path, such as ``"0"`` or ``"2.0"``; OptionError for another."""
        for step in self.layers:
            if step.path == str(layer):
                return step
        paths = [step.path for step in self.layers]
        raise OptionError(f"there is no layer {str(layer)!r}. {did_you_mean(str(layer), paths)}")

    def neuron(self, layer: str | int, unit: int, row: int = 0) -> Neuron:
        """Return one neuron in numbers: inputs, weights, sum, activation, and gradients.

        Raises OptionError for a layer that has no weighted sums, and for a unit or row out of
        range.
        """
        sums = weighted_sums(self.graph.outputs["output"])
        if str(layer) not in sums:
            raise OptionError(
                f"layer {str(layer)!r} has no weighted sum over its inputs to open. "
                f"{did_you_mean(str(layer), sums)}"
            )
        given = sums[str(layer)].inputs[0]
        names = self.names if given is _first(self.graph) else self.embedded.get(given, ())
        layers = {step.path: step.layer for step in self.layers}
        return explain_neuron(self.graph, self.values, str(layer), unit, row, names, layers)

    def __str__(self) -> str:
        rows = len(self.input)
        lines = [
            f"loss {number(self.loss)} ({self.loss_name}, "
            + ("one row)" if rows == 1 else f"mean of {rows} rows)"),
            "",
            "Forward pass, and the gradient of each layer's output:",
        ]
        rows_told = [("layer", "", "output", "mean", "std", "zeros", "gradient")]
        back = "" if self.input_gradient is None else _norm(self.input_gradient)
        rows_told += [("x", "input", _shape(self.input), *_spread(self.input), back)]
        rows_told += [
            (s.path, s.layer, _shape(s.output), *_spread(s.output),
             _norm(s.gradient)) for s in self.layers
        ]  # fmt: skip
        lines += table(rows_told, numbers=(3, 4, 5, 6))
        lines += ["", "Norms of parameters and of their gradients:"]
        told = [("", "shape", "weight", "gradient", "gradient / weight")]
        told += [
            (f"{s.path}.{name}" if s.path else name, _shape(value),
             _norm(value), _norm(s.gradients[name]), _ratio(s.gradients[name], value))
            for s in self.layers for name, value in s.parameters.items()
        ]  # fmt: skip
        lines += table(told, numbers=(2, 3, 4))
        return "\n".join(lines)

    __repr__ = __str__

    def html(self, neurons: Sequence[Neuron] = (), intro: str = "") -> str:
        """Return a page of the layers and of `neurons`; `intro` is a line under the title."""
        return network_page(str(self), self.layers, neurons, intro)

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics of every layer as plain data for JSON."""
        return {
            "loss": self.loss,
            "loss_name": self.loss_name,
            "rows": len(self.input),
            "layers": [
                {
                    "path": s.path, "layer": s.layer, "shape": list(s.output.shape),
                    "mean": float(s.output.mean()), "std": float(s.output.std()),
                    "zeros": float((s.output == 0).mean()), "gradient_norm": _length(s.gradient),
                    "parameters": {
                        name: {"shape": list(value.shape), "norm": _length(value),
                               "gradient_norm": _length(s.gradients[name])}
                        for name, value in s.parameters.items()
                    },
                }
                for s in self.layers
            ],
        }  # fmt: skip


def _length(array: Array) -> float:
    return float(np.linalg.norm(array.astype(np.float64)))


def _shape(array: Array) -> str:
    return "×".join(map(str, array.shape))


def _norm(array: Array) -> str:
    return number(_length(array))


def _ratio(gradient: Array, value: Array) -> str:
    length = _length(value)
    return number(_length(gradient) / length) if length else ""


def _spread(output: Array) -> tuple[str, str, str]:
    wide = output.astype(np.float64)
    zeros = f"{100 * float((output == 0).mean()):.0f} %"
    return number(float(wide.mean())), number(float(wide.std())), zeros


def _first(graph: Graph) -> Node:
    """Return the input of the first layer: the rows converted to the model's dtype."""
    node = graph.inputs["x"]
    for later in graph.nodes:
        if later.inputs[:1] == (node,) and not later.scope and later.primitive.elementwise:
            node = later
    return node


def explain_network(
    model: Any, x: Any, y: Any, loss: str | Callable[[Tensor, Tensor], Tensor] | None = None
) -> NetworkExplanation:
    """Return the forward and backward pass of a model or run on the rows `x` and targets `y`.

    x: rows of the model's input, or a single row; y: their targets.  `loss` may be omitted for
    a run.  Raises OptionError without a loss, and DataError or ShapeError for rows and targets
    that do not fit.
    """
    subject = subject_of(model, "explain takes a model or a run, not a")
    network, aim, names = subject.network, subject.objective(loss), subject.feature_names
    if aim is None:
        raise OptionError(
            "to explain a model, give a loss: explain(model, x, y, "
            "loss='cross_entropy'). A run has its own."
        )
    rows, targets = np.asarray(x), np.asarray(y)
    if targets.ndim == 0 or (targets.ndim == rows.ndim == 1 and len(rows) != len(targets)):
        rows, targets = rows[None], targets[None]
    dtype = model_dtype(network)
    rows = check_rows(rows, "x", dtype)
    check_same_length(rows, targets)
    xs = data_input("x", rows)
    output = forward(network, xs)
    target = aim.target(targets, output.shape, dtype)
    ys = data_input("y", target)
    mean, _ = record_totals(aim, (), output, ys)
    graph = for_predicting(Graph({"loss": mean, "output": output}, {"x": xs, "y": ys}))
    return _explained(network, graph, aim, {"x": rows, "y": target}, names)


def encode_row(run: Run, rows: Table, row: int) -> tuple[Array, Array]:
    """Return row number `row` (from 1) of `rows` as the input and target of the run's model.

    Raises DataError for a run without a pipeline, and for columns or a row that are not there.
    """
    if run.pipeline is None:
        raise DataError(
            "this run was trained on arrays, so it has no columns to match; "
            "use chainrule.explain(run, x, y)."
        )
    if not 1 <= row <= len(rows):
        raise DataError(
            f"{rows.source} has no row {row}: its rows are numbered 1 to {len(rows):,}."
        )
    one = rows.take(np.array([row - 1]))
    return run.pipeline.transform(one), run.pipeline.target.encode_from(one)


def _explained(
    network: Any,
    graph: Graph,
    aim: Objective,
    values: dict[str, Array],
    names: tuple[str, ...],
) -> NetworkExplanation:
    ends = layer_ends(graph)
    own = {p.node: path for path, p in parameters(network).items()}
    used = {node: own[node] for node in graph.nodes if node in own}
    x = graph.inputs["x"]
    wanted = [Tensor(n) for n in (*ends.values(), *used, x) if is_float(n.spec.dtype)]
    received = grad(Tensor(graph.outputs["loss"]), wanted, unused="zero")
    slopes = {t.node: g for t, g in zip(wanted, received, strict=True)}
    asked: dict[str, Node] = {"loss": graph.outputs["loss"]}
    for path, node in ends.items():
        asked |= {f"value/{path}": node, f"gradient/{path}": slopes[node].node}
    for node, path in used.items():
        asked[f"parameter/{path}"] = slopes[node].node
    if x in slopes:
        asked["x"] = slopes[x].node
    found = evaluate(Graph(asked, graph.inputs), values)
    layers = []
    for path in ends:
        mine = {name: node for node, name in used.items() if _owner(name, ends) == path}
        short = {name: name.removeprefix(f"{path}.") if path else name for name in mine}
        layers.append(LayerStep(
            path, described(network, path), found[f"value/{path}"], found[f"gradient/{path}"],
            {short[name]: _value(node) for name, node in mine.items()},
            {short[name]: found[f"parameter/{name}"] for name in mine},
        ))  # fmt: skip
    return NetworkExplanation(
        float(found["loss"]), aim.name, tuple(layers), values["x"], found.get("x"), graph, values,
        names, _embedded(network, ends, names),
    )  # fmt: skip


def _embedded(
    network: Any, ends: Mapping[str, Node], names: tuple[str, ...]
) -> dict[Node, tuple[str, ...]]:
    """Return the names of the outputs of layers that embed columns: ``column[k]``."""
    found = {path: layer_at(network, path) for path in ends}
    return {
        ends[path]: layer.output_names(names)
        for path, layer in found.items()
        if isinstance(layer, EmbedColumns) and layer.features == len(names)
    }


def _value(node: Node) -> Array:
    parameter: Parameter = node.params["parameter"]
    return parameter.value.copy()


def _owner(name: str, ends: Mapping[str, Node]) -> str:
    """Return the layer that the parameter `name` belongs to: the longest path that prefixes it."""
    fitting = [path for path in ends if not path or name.startswith(f"{path}.")]
    return max(fitting, key=len, default=next(iter(ends)))
