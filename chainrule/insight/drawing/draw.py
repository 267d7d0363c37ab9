"""Draw models, runs, graphs, tensors, training steps and compiled programs.

:func:`draw` returns a :class:`Drawing`, which can be written as text, SVG, HTML and DOT.  Graphs
and layers are on lower floors and can't import it, so :mod:`chainrule` installs it as the function
that ``graph.draw()`` and ``model.draw()`` call.

Read next: :mod:`chainrule.insight.render.diagram`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.graph import Graph, reachable
from chainrule.core.tensor import Tensor, input
from chainrule.insight.drawing.kernels import (
    Passes,
    compile_passes,
    gone_after,
    kernel_labels,
    kernels_of,
    passes_of,
)
from chainrule.insight.drawing.layers import few, layers
from chainrule.insight.drawing.operations import operations
from chainrule.insight.drawing.unit_columns import columns_svg, neurons
from chainrule.insight.render.diagram import Diagram
from chainrule.insight.render.dot import to_dot
from chainrule.insight.render.page import Shown, escape, page, read_asset, write
from chainrule.insight.render.svg import alone, to_svg
from chainrule.insight.render.terminal import to_text
from chainrule.insight.subject import Subject, subject_of
from chainrule.nn.layer import parameters, row_shape
from chainrule.nn.neurons import Neurons
from chainrule.optim.named import optimizer as optimizer_named
from chainrule.optim.optimizer import Optimizer
from chainrule.step.objective import Objective
from chainrule.step.part import Part
from chainrule.step.record import ROWS, Step, forward, model_dtype, record_step
from chainrule.transform.mode import for_predicting

__all__ = ["FORMATS", "LEVELS", "Drawing", "check_format", "draw"]

LEVELS = ("layers", "neurons", "ops", "kernels")
_REFUSAL = (
    "draw takes a model, a run, a graph, a tensor, a training step or a compiled program, not a"
)
FORMATS = {".svg": "svg", ".html": "html", ".dot": "dot", ".txt": "text"}


def check_format(path: str | os.PathLike[str]) -> str:
    """Return the name of the format for the extension of `path`.

    Raises OptionError for an unknown extension.

    >>> check_format("net.svg")
    'svg'
    """
    extension = Path(path).suffix.lower()
    if extension not in FORMATS:
        raise OptionError(
            f"{str(path)!r}: drawings are written as {', '.join(FORMATS)}, not "
            f"{extension or 'a file without extension'}."
        )
    return FORMATS[extension]


class Drawing(Shown):
    """A drawing, available as :meth:`text`, :meth:`svg`, :meth:`html` and :meth:`dot`.

    Printing it shows the text, a notebook displays the SVG, and :meth:`save` writes a file.
    """

    def __init__(self, title: str, diagram: Diagram, passes: Passes | None = None):
        self.title, self.diagram, self.passes = title, diagram, passes

    def text(self) -> str:
        """Return the drawing as text for a terminal."""
        head = f"{self.passes.outline}\n" if self.passes else ""
        return f"{head}{to_text(self.diagram)}"

    @cached_property
    def _plain(self) -> str:
        """The SVG without its style, which is in the style of a page."""
        is_columns = self.diagram.columns is not None
        return columns_svg(self.diagram) if is_columns else to_svg(self.diagram)

    def svg(self) -> str:
        """Return the drawing as an SVG file with a style that affects nothing else on a page."""
        return alone(self._plain)

    def html(self) -> str:
        """Return the drawing as an HTML page; for kernels, with the graph after each pass."""
        sections = [("", f'<div class="wide">{self._plain}</div>')]
        if self.passes is not None:
            sections += _pass_sections(self.passes)
        is_columns = self.diagram.columns is not None  # these show the note in the SVG
        note = self.passes.outline if self.passes else "" if is_columns else self.diagram.note
        return page(
            self.title,
            sections,
            script=read_asset("drawing/drawing.js"),
            style=read_asset("render/drawing.css") + read_asset("drawing/drawing_page.css"),
            intro=(f'<p class="faint">{note}</p>' if note else "")
            + '<pre id="told" aria-live="polite"></pre>',
        )

    def dot(self) -> str:
        """Return the drawing in the DOT language."""
        return to_dot(self.diagram)

    def save(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the drawing to `path`, in the format of its extension, and return the path.

        Raises OptionError for an unknown extension, RunError if it can't be written.
        """
        return write(path, self.written_as(path))

    def written_as(self, path: str | os.PathLike[str]) -> str:
        """Return the content of a file named `path`; raises OptionError as :meth:`save` does."""
        text: str = getattr(self, check_format(path))()
        return text if text.endswith("\n") else text + "\n"

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x: auto">{self.svg()}</div>'


def draw(
    thing: Any,
    level: str | None = None,
    *,
    features: int | Sequence[int] | None = None,
    loss: str | Callable[[Tensor, Tensor], Tensor] | None = None,
    optimizer: str | Optimizer | None = None,
) -> Drawing:
    """Return a drawing of `thing`: a model, a run, a graph, a tensor, a step or a program.

    level
        "layers" (the default for models and runs), "neurons" (units, and weights as lines:
        positive blue, negative orange, wider if larger in magnitude; the default for
        :class:`~chainrule.nn.Neurons`), "ops" (every operation; the
        default for graphs and tensors) or "kernels" (the kernels of the native engine, and the
        barriers between its threads; in HTML also the graph after each pass).
    features
        The shape of one row, for a model whose first layer does not determine it.
    loss, optimizer
        With an optimizer the whole training step is drawn: forward, loss, backward, update.
        A run has its own loss; a model needs one.

    A drawing of more than 300 boxes is folded by layer.  Raises OptionError for
    an unknown level, or one at which `thing` cannot be drawn.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> print(draw(nn.Sequential([nn.Linear(2, 3), nn.Tanh()])))
    ○  x               f32[n,2]
    ●  0 Linear(2, 3)  f32[n,3]  9 parameters  matmul, add
    ●  1 Tanh          f32[n,3]  → output  tanh
    """
    if level is not None and level not in LEVELS:
        raise OptionError(f"draw: unknown level {level!r}. {did_you_mean(level, LEVELS)}")
    if hasattr(thing, "code") and hasattr(thing.code, "kernels"):
        return _draw_code(thing.code, level or "kernels")
    subject = None if isinstance(thing, (Graph, Tensor, Step)) else subject_of(thing, _REFUSAL)
    model = subject.network if subject else None
    if level is None and isinstance(model, Neurons) and optimizer is None:
        level = "neurons"
    if level == "neurons":
        return _draw_neurons(subject)
    level = level or ("layers" if model is not None else "ops")
    graph = _graph_of(subject, level, features, loss, optimizer) if subject else _own_graph(thing)
    name = subject.title("Run") if subject else _name(thing)
    if level == "kernels":
        passes = compile_passes(graph)
        return Drawing(f"{name}: kernels", kernels_of(passes), passes)
    diagram = operations(graph)
    if level == "layers":
        return Drawing(f"{name}: layers", layers(diagram, graph, model))
    return Drawing(f"{name}: operations", few(diagram, model))


def _name(thing: Any) -> str:
    return "Training step" if isinstance(thing, Step) else type(thing).__name__


def _draw_code(code: Any, level: str) -> Drawing:
    if level == "kernels":
        passes = passes_of(code)
        return Drawing("Program: kernels", kernels_of(passes), passes)
    if level != "ops":
        raise OptionError(
            f"draw: a compiled program has the levels 'ops' and 'kernels', not {level!r}."
        )
    return Drawing("Program: operations", few(operations(code.graph)))


def _draw_neurons(subject: Subject | None) -> Drawing:
    if subject is None:
        raise OptionError(
            "draw: level='neurons' needs a model or a run; draw a graph with level='ops'."
        )
    pipeline, names = subject.pipeline, list(subject.feature_names)
    outputs = list(getattr(pipeline, "classes", None) or ())
    if pipeline is not None and not outputs:
        outputs = [pipeline.target.name]
    diagram = neurons(subject.network, names or None, outputs or None)
    return Drawing(f"{subject.title('Run')}: neurons", diagram)


def _own_graph(thing: Graph | Tensor | Step) -> Graph:
    if isinstance(thing, Step):
        return thing.graph
    return thing if isinstance(thing, Graph) else Graph({"value": thing})


def _graph_of(
    subject: Subject,
    level: str,
    features: int | Sequence[int] | None,
    loss: str | Callable[[Tensor, Tensor], Tensor] | None,
    optimizer: str | Optimizer | None,
) -> Graph:
    model, run = subject.network, subject.run
    if run is not None:
        shape, dtype = run.features, np.dtype(run.feature_dtype)
    else:
        shape, dtype = row_shape(model, features), model_dtype(model)
    if optimizer is not None:
        aim = subject.objective(loss)
        if aim is None:
            raise OptionError(
                "draw: the training step of a model needs a loss, such as loss='mse'."
            )
        return _record_step(model, aim, optimizer_named(optimizer), shape, dtype)
    x = input("x", (ROWS, *shape), dtype)
    outputs = {"output": forward(model, x).node}
    if level != "layers":  # layers show dropout, too
        outputs = for_predicting(Graph(outputs, {"x": x})).outputs
    read = set(reachable(outputs.values()))
    named = {path: p.node for path, p in parameters(model).items() if p.node in read}
    return Graph(outputs, {"x": x.node, **named})


def _record_step(
    model: Any, aim: Objective, optimizer: Optimizer, shape: tuple[int, ...], dtype: Any
) -> Graph:
    output = forward(model, input("x", (ROWS, *shape), dtype))
    columns = tuple(d for d in output.shape[1:] if isinstance(d, int))
    if aim.kind in ("classes", "ordered"):
        y = np.zeros((1,), np.int32)
    elif aim.kind == "several":
        y = np.zeros((1, len(aim.parts)), output.dtype)
    elif aim.kind == "quantiles":
        y = np.zeros((1, 1), output.dtype)
    else:
        y = np.zeros((1, *columns), output.dtype)
    return record_step(model, aim, optimizer, (), Part(np.zeros((1, *shape), dtype), y)).graph


def _pass_sections(passes: Passes) -> list[tuple[str, str]]:
    """Return the graph after each pass; operations that a later pass removes are dashed."""
    figures = []
    labels = kernel_labels(passes)
    for i, (name, graph) in enumerate(passes.graphs):
        final = i == len(passes.graphs) - 1
        count = len(graph) - len(graph.inputs)
        diagram = operations(graph, labels if final else None)
        shown = few(diagram)
        gone = set() if final else gone_after(graph, passes.graphs[-1][1])
        marked = frozenset(
            k for k, box in enumerate(shown.boxes) if shown is diagram and box.nodes[-1] in gone
        )
        told = f"{count} operations" + (f", {len(gone)} removed later (dashed)" if gone else "")
        figures.append(
            f"<figure><figcaption><b>{escape(name)}</b>, {told}</figcaption>"
            f"{to_svg(shown, marked)}</figure>"
        )
    idle = f"<p>Passes without effect: {', '.join(passes.idle)}.</p>" if passes.idle else ""
    body = f'{idle}<div class="passes">{"".join(figures)}</div>'
    return [("The graph after each pass", body)]
