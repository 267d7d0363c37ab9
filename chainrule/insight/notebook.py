"""Display tensors, graphs, models and runs as HTML in a notebook.

`chainrule` calls :func:`register` when it is imported in IPython.

Read next: :mod:`chainrule.insight.drawing.draw`.
"""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError
from chainrule.core.graph import Graph
from chainrule.core.tensor import Tensor
from chainrule.insight.drawing.draw import draw
from chainrule.insight.render.chart import line_chart
from chainrule.insight.render.svg import alone
from chainrule.insight.render.text import short
from chainrule.nn.catalogue import ActivationTable
from chainrule.nn.layer import Layer, Sequential
from chainrule.nn.network import Network
from chainrule.nn.neurons import Neurons
from chainrule.nn.summary import Summary
from chainrule.train.run import Run

__all__ = ["graph_html", "model_html", "register", "run_html", "tensor_html", "text_html"]

MOST_ROWS, MOST_COLUMNS = 10, 12  # of a tensor
_CLOCK = ("epoch", "seconds", "samples_per_second", "layers")


def register(shell: Any) -> None:
    """Register HTML formatters for tensors, graphs, models and runs in the IPython `shell`."""
    formatter = shell.display_formatter.formatters["text/html"]
    for kind, show in (
        (Tensor, tensor_html),
        (Graph, graph_html),
        (Sequential, model_html),
        (Network, model_html),
        (Neurons, model_html),
        (Run, run_html),
        (Summary, text_html),
        (ActivationTable, text_html),
    ):
        formatter.for_type(kind, show)


def tensor_html(tensor: Tensor) -> str | None:
    """Return the type and numbers of a tensor as a table.

    None, so that the text is shown, if it depends on inputs or does not have 1 or 2 axes.
    """
    graph = Graph({"value": tensor})
    if any(node.primitive.name == "input" for node in graph.inputs.values()):
        return None
    value = tensor.numpy()
    if value.ndim not in (1, 2):
        return None
    rows = value.reshape(1, -1) if value.ndim == 1 else value
    cells = "".join(
        f"<tr>{''.join(f'<td>{escape(short(v))}</td>' for v in row[:MOST_COLUMNS])}"
        f"{'<td>…</td>' if rows.shape[1] > MOST_COLUMNS else ''}</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = "<tr><td>⋮</td></tr>" if len(rows) > MOST_ROWS else ""
    head = f"<code>Tensor {escape(str(tensor.node.spec))}</code>"
    return f"<div>{head}<table>{cells}{more}</table></div>"


def graph_html(graph: Graph) -> str:
    """Return the drawing of a graph."""
    return draw(graph)._repr_html_()


def text_html(thing: object) -> str:
    """Return the text of `thing` preformatted."""
    return f"<pre>{escape(str(thing))}</pre>"


def model_html(model: Layer) -> str | None:
    """Return the drawing of a model; None, so that the text is shown, if it can't be drawn."""
    try:
        return draw(model)._repr_html_()
    except ChainruleError:
        return None


def run_html(run: Run) -> str:
    """Return the measurements of a run's last epoch and a chart of the losses."""
    last = run.history[-1] if run.history else {}
    told = {name: value for name, value in last.items() if name not in _CLOCK}
    heads = "".join(f"<th>{escape(name)}</th>" for name in told)
    cells = "".join(f"<td>{escape(short(value))}</td>" for value in told.values())
    stopped = f"<p>stopped: {escape(run.stopped)}</p>" if run.stopped else ""
    curves = {
        name: [np.nan if record.get(name) is None else record[name] for record in run.history]
        for name in ("loss", "val_loss")
        if any(record.get(name) is not None for record in run.history)
    }
    epochs = [record["epoch"] for record in run.history]
    chart = alone(line_chart(curves, epochs, x_label="epoch")) if len(epochs) > 1 else ""
    return (
        f"<div><p><b>{escape(repr(run).splitlines()[0])}</b></p>"
        f"<table><tr>{heads}</tr><tr>{cells}</tr></table>{stopped}{chart}</div>"
    )
