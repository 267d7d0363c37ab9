"""A network explained, as a page: its layers in tables and bars, and neurons opened below.

The text and the layers of a :class:`~chainrule.insight.explain.layerwise.NetworkExplanation` go
in, and the requested neurons; a self-contained page comes out.

Read next: :mod:`chainrule.insight.render.page`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from chainrule.insight.explain.layer_graph import LayerStep
from chainrule.insight.explain.neuron import Neuron
from chainrule.insight.render.chart import bar_chart, histogram
from chainrule.insight.render.page import page

__all__ = ["network_page"]

_BARS = 12
_MOST_LAYERS = 24  # that have a histogram each


def network_page(
    text: str, layers: Sequence[LayerStep], neurons: Sequence[Neuron] = (), intro: str = ""
) -> str:
    """Return the page as HTML; `intro` is a line of text under the title."""
    sections = [
        ("Layers, forward and backward", _layers(text, layers)),
        ("Outputs of each layer, and their gradients", _spread(layers)),
    ]
    for neuron in neurons:
        title = f"Unit {neuron.unit} of layer {neuron.layer}, row {neuron.row}"
        sections.append((title, _neuron(neuron)))
    return page(
        "A network, forward and backward",
        sections,
        intro=f"<p>{escape(intro)}</p>" if intro else "",
    )


def _layers(text: str, layers: Sequence[LayerStep]) -> str:
    gradients = {_called(step.path, step.layer): _norm(step.gradient) for step in layers}
    ratios = {
        f"{step.path}.{name}".lstrip("."): _norm(step.gradients[name]) / length
        for step in layers
        for name, value in step.parameters.items()
        if (length := _norm(value))
    }
    charts = bar_chart(gradients, title="Gradient of the loss at each output", label="norm")
    charts += bar_chart(ratios, title="Gradient norm / weight norm", label="norm / norm")
    return f'<pre>{escape(text)}</pre><figure class="charts">{charts}</figure>'


def _called(path: str, layer: str) -> str:
    return f"{path} {layer.partition('(')[0]}".strip()


def _spread(layers: Sequence[LayerStep]) -> str:
    charts = "".join(
        histogram(step.output, title=f"{_called(step.path, step.layer)}: output")
        + histogram(step.gradient, title=f"{_called(step.path, step.layer)}: gradient")
        for step in layers[:_MOST_LAYERS]
    )
    left = len(layers) - _MOST_LAYERS
    more = f"<p>{left} more layers are not shown.</p>" if left > 0 else ""
    return f'<figure class="charts">{charts}</figure>{more}'


def _neuron(neuron: Neuron) -> str:
    names = neuron.named()
    inputs = {
        names[i]: float(neuron.inputs[i] * neuron.weights[i])
        for i in _largest(neuron.inputs * neuron.weights)
    }
    charts = bar_chart(inputs, title="Forward: value × weight", label="of the weighted sum")
    for out in neuron.outgoing:
        parts = {f"unit {out.units[i]}": float(out.parts[i]) for i in _largest(out.parts)}
        charts += bar_chart(parts, title=f"Backward from layer {out.layer}",
                            label="its gradient × weight")  # fmt: skip
    slopes = neuron.weight_gradients
    weights = {names[i]: float(slopes[i]) for i in _largest(slopes)}
    charts += bar_chart(weights, title="Gradient of each weight")
    return f'<pre>{escape(str(neuron))}</pre><figure class="charts">{charts}</figure>'


def _largest(values: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> list[int]:
    chosen: list[int] = np.argsort(-np.abs(values), kind="stable")[:_BARS].tolist()
    return chosen


def _norm(array: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> float:
    return float(np.linalg.norm(array.astype(np.float64)))
