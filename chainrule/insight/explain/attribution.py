"""Why one prediction came out as it did: how much each number of the input had to do with it.

A model or a run and one row go in; an :class:`Attribution` comes out, with a number for each
feature, by the graph's own gradient.

Sources: Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image
classification models and saliency maps", 2014; Sundararajan, Taly and Yan, "Axiomatic attribution
for deep networks", 2017.

Read next: :mod:`chainrule.insight.hidden.learned`, which looks at many rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, OptionError, ShapeError, did_you_mean
from chainrule.data.pipeline import Pipeline
from chainrule.insight.explain.layer_graph import recorded, responses
from chainrule.insight.render.chart import bar_chart, image_grid
from chainrule.insight.render.page import Shown, page
from chainrule.insight.render.svg import alone
from chainrule.insight.render.text import number, table
from chainrule.insight.row_view import RowView
from chainrule.insight.subject import Subject, as_seen, given_rows, subject_of
from chainrule.nn.layer import row_shape

__all__ = ["METHODS", "Attribution", "attribute"]

Array = np.ndarray[Any, Any]
METHODS = ("integrated_gradients", "saliency")
PANELS = 16  # that the path is first cut into
ROUNDS = 24  # of cutting panels in two
MOST_POINTS = 2**16
AT_ONCE = 2**22  # numbers of rows held at once
TOLD = 12  # features in text and in bars


@dataclass(frozen=True, repr=False)
class Attribution(Shown):
    """What each feature of one row did to one output of the network.

    values
        Shaped as the row.  For "saliency" the slope of the output to each feature; for
        "integrated_gradients" its share of ``value - baseline_value``.
    value, baseline_value
        The output, before any softmax, for the row and for the `baseline`.
    gap
        ``values.sum() - (value - baseline_value)``, the error of integrating; at most
        `tolerance` times the difference where :attr:`complete`.  None for "saliency".
    """

    title: str
    method: str
    output: int
    output_name: str
    values: Array
    row: Array
    baseline: Array
    value: float
    baseline_value: float
    tolerance: float
    view: RowView
    columns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def gap(self) -> float | None:
        """How far the attributions are from adding up to the difference they explain."""
        if self.method == "saliency":
            return None
        return float(self.values.sum() - (self.value - self.baseline_value))

    @property
    def complete(self) -> bool:
        """Whether the attributions add up, within `tolerance` of the difference."""
        room = self.tolerance * abs(self.value - self.baseline_value) + _rounding(self.value)
        return self.gap is not None and abs(self.gap) <= room

    @property
    def by_feature(self) -> dict[str, float]:
        """The attribution of each feature by name."""
        return dict(zip(self.view.names, self.values.reshape(-1).tolist(), strict=True))

    @property
    def by_column(self) -> dict[str, float]:
        """The attribution of each column of the table, that of all its features together."""
        flat = self.values.reshape(-1)
        return {name: float(flat[list(at)].sum()) for name, at in self.columns.items()}

    def __str__(self) -> str:
        named = self.by_column or self.by_feature
        strongest = sorted(named, key=lambda name: -abs(named[name]))[:TOLD]
        rows = [(name, number(named[name])) for name in strongest]
        more = f"  and {len(named) - TOLD:,} more" if len(named) > TOLD else ""
        return "\n".join([self._told(), *table(rows, numbers=(1,)), *([more] if more else [])])

    __repr__ = __str__

    def _told(self) -> str:
        method = self.method.replace("_", " ").capitalize()
        head = f"{method} of output {self.output_name} = {number(self.value)}"
        if self.gap is None:
            return f"{head}: its slope to each feature."
        share = "they add up" if self.complete else "they do NOT add up"
        return (
            f"{head}, {number(self.baseline_value)} at the baseline; {share}, with a gap of "
            f"{number(self.gap)}."
        )

    def svg(self) -> str:
        """Return the picture: the row beside its attributions as images, or bars by feature."""
        if self.view.image is not None and len(self.view.image) == 2:
            row, shares = (
                self.view.as_images(a[None], original)[0]
                for a, original in ((self.row, True), (self.values, False))
            )
            # One grid stretches all images alike, and only the second has a sign.
            shown = image_grid([row], ["the row"], columns=1)
            signed = image_grid([shares], [self.output_name], columns=1, signed=True)
            return f"{shown}{signed}"
        named = self.by_column or self.by_feature
        strongest = sorted(named, key=lambda name: -abs(named[name]))[:TOLD]
        label = "slope" if self.gap is None else f"share of {self.output_name}"
        return bar_chart({name: named[name] for name in strongest}, label=label)

    def html(self) -> str:
        """Return a page with the picture."""
        told = "Blue raises the output, orange lowers it."
        body = (
            f"<p>{escape(self._told())}</p>"
            f'<figure class="charts">{self.svg()}</figure><p class="faint">{told}</p>'
        )
        return page(self.title, [("", body)])

    def _repr_html_(self) -> str:
        return f"<div><p>{escape(self._told())}</p>{alone(self.svg())}</div>"


def attribute(
    thing: Any,
    x: Any,
    method: str = "integrated_gradients",
    baseline: Any = None,
    output: int | str | None = None,
    *,
    tolerance: float = 1e-3,
    names: Sequence[str] | None = None,
    image_shape: Sequence[int] | None = None,
) -> Attribution:
    """Return how much each feature of the row `x` had to do with one output of the network.

    thing, x
        A model or a run, and one row as it is given them; for a run trained on a table also a
        mapping of its columns to cells.
    method
        "saliency": the slope ``d output / d x_i`` at x.  "integrated_gradients":
        ``(x_i - b_i) * mean of d output / d x_i on the straight line from b to x``, with `b` the
        baseline; these add up to ``output(x) - output(b)``, to within `tolerance` of it.
    baseline
        A row like x to compare with; by default 0 in what the model is given, which is black for
        pixels and the training mean for standardized columns.  Category numbers of an embedding
        have no line between them: they stay as in x, and have no share.
    output
        The number or the class of the output; by default the largest, which is the predicted
        class.
    names, image_shape
        See :func:`chainrule.insight.row_view.row_view`.

    Raises OptionError for an unknown method or output and a tolerance outside (0, 1); DataError
    or ShapeError for rows that do not fit.

    >>> import chainrule as cr
    >>> def f(x):
    ...     return (x[:, 0] * x[:, 1])[:, None] + x[:, 2:]
    >>> found = cr.attribute(f, [2.0, 3.0, 1.0])
    >>> found.values.round(3).tolist(), found.value, found.complete
    ([3.0, 3.0, 1.0], 7.0, True)
    """
    if method not in METHODS:
        raise OptionError(f"attribute: unknown method {method!r}. {did_you_mean(method, METHODS)}")
    if not (isinstance(tolerance, (int, float)) and 0 < tolerance < 1):
        raise OptionError(f"attribute: tolerance must be between 0 and 1, not {tolerance!r}.")
    subject = subject_of(thing, "attribute takes a model or a run, not a")
    network, pipeline = subject.network, subject.pipeline
    raw = _one_row(subject, x, "x")
    row = as_seen(network, raw)
    start = _baseline(subject, baseline, row)
    graph, _ = recorded(network, row.shape[1:], row.dtype)
    respond = responses(graph, graph.outputs["output"])
    units = int(np.prod([d for d in graph.outputs["output"].spec.shape if isinstance(d, int)]))
    classes = tuple(map(str, getattr(pipeline, "classes", ()) or range(units)))
    path = _Path(respond, start[0], row[0], units)
    chosen = _output(output, classes, units) if output is not None else path.largest()
    path.unit = chosen
    value, slope = (found[0] for found in path.at(np.ones(1)))
    below = float(path.at(np.zeros(1))[0][0])
    values = slope.astype(np.float64)
    if method == "integrated_gradients":
        values = _integrate(path, tolerance * abs(float(value) - below))
    view = subject.view(row.shape[1:], row, names, image_shape)
    name = classes[chosen] if len(classes) == units else str(chosen)
    return Attribution(
        f"Why {name}?", method, chosen, name, values, row[0], start[0], float(value), below,
        tolerance, view, _columns(pipeline),
    )  # fmt: skip


def _one_row(subject: Subject, x: Any, name: str) -> Array:
    """Return one row as the model is given it, (1, *features)."""
    if isinstance(x, Mapping):
        cells = {key: [cell] if np.ndim(cell) == 0 else cell for key, cell in x.items()}
        rows, _ = given_rows(subject, cells, None)
    else:
        array = np.asarray(x)
        shape = subject.run.features if subject.run else _told_shape(subject.network)
        batch = array.ndim > 1 and (array.shape[1:] == shape or len(array) == 1)
        alone = not batch and (array.shape == shape or subject.run is None)
        rows, _ = given_rows(subject, array[None] if alone else array, None)
    if len(rows) != 1:
        raise DataError(f"attribute explains one row, but {name} has {len(rows)}; give {name}[0].")
    return rows


def _told_shape(network: Any) -> tuple[int, ...] | None:
    """Return the shape of a row as the first layer tells it, None where it does not."""
    try:
        return row_shape(network)
    except OptionError:
        return None


def _baseline(subject: Subject, given: Any, row: Array) -> Array:
    """Return the row to compare with, (1, *features), as the model sees it."""
    codes = [code.feature for code in getattr(subject.pipeline, "category_codes", ())]
    if given is not None:
        start = as_seen(subject.network, _one_row(subject, given, "baseline"))
        if start.shape != row.shape:
            raise ShapeError(
                f"the baseline has shape {start.shape[1:]}, but x has {row.shape[1:]}."
            )
    else:
        start = np.zeros_like(row)
    start = start.copy()
    if codes:
        start[:, codes] = row[:, codes]
    return start


def _output(output: int | str, classes: Sequence[str], units: int) -> int:
    if isinstance(output, str):
        if output not in classes:
            raise OptionError(f"there is no output {output!r}. {did_you_mean(output, classes)}")
        return classes.index(output)
    whole = isinstance(output, (int, np.integer)) and not isinstance(output, bool)
    if not whole or not 0 <= output < units:
        raise OptionError(f"output must be 0 to {units - 1}, not {output!r}.")
    return int(output)


def _columns(pipeline: Any) -> dict[str, tuple[int, ...]]:
    """Return which features each column of the table became, where they are told apart."""
    if not isinstance(pipeline, Pipeline) or pipeline.projection is not None:
        return {}
    found, start = {}, 0
    for encoder in pipeline.encoders:
        stop = start + len(encoder.feature_names)
        found[encoder.name] = tuple(range(start, stop))
        start = stop
    return found


def _rounding(value: float) -> float:
    """Return what float32 leaves open of a sum as large as `value`."""
    return 16 * float(np.finfo(np.float32).eps) * max(1.0, abs(value))


@dataclass
class _Path:
    """One output of the network along the straight line from `start` to `end`."""

    respond: Any
    start: Array
    end: Array
    units: int
    unit: int = 0

    def largest(self) -> int:
        """Return the output that is largest at the end."""
        x = np.broadcast_to(self.end, (self.units, *self.end.shape)).copy()
        found = self.respond({"x": x, "pick": np.eye(self.units, dtype=x.dtype)})
        return int(found["activation"].argmax())

    def at(self, places: Array) -> tuple[Array, Array]:
        """Return the output and its slopes at `places`, 0 at the start and 1 at the end."""
        flat = places.reshape(-1, *(1,) * self.start.ndim)
        x = (self.start * (1 - flat) + self.end * flat).astype(self.start.dtype)
        pick = np.zeros((len(x), self.units), x.dtype)
        pick[:, self.unit] = 1
        found = self.respond({"x": x, "pick": pick})
        return found["activation"], found["slope"]


def _integrate(path: _Path, room: float) -> Array:
    """Return the integral of each slope along the path, times the feature's difference.

    The path is cut into panels, each integrated by Gauss and Legendre's rule of three points.
    Over each panel, too, the shares must add up to what the output gains; where they do not,
    for there is a kink, it is cut in two, until all gaps together are within `room`.
    """
    nodes, weights = np.polynomial.legendre.leggauss(3)
    nodes, weights = (nodes + 1) / 2, weights / 2
    difference = path.end.astype(np.float64) - path.start
    total = np.zeros(path.start.shape)
    edges = np.linspace(0, 1, PANELS + 1)
    left, right = edges[:-1], edges[1:]
    each = max(1, AT_ONCE // (len(nodes) * path.start.size))
    points, noise = 0, _rounding(float(path.at(np.ones(1))[0][0]))
    for turn in range(ROUNDS):
        limit = max(room / (4 * max(PANELS, len(left))), noise / 4)
        last = turn == ROUNDS - 1 or points > MOST_POINTS
        cut = np.zeros(len(left), bool)
        for first in range(0, len(left), each):
            some = slice(first, first + each)
            a, b = left[some], right[some]
            _, slopes = path.at((a[:, None] + (b - a)[:, None] * nodes).reshape(-1))
            slopes = slopes.reshape(len(a), len(nodes), *path.start.shape).astype(np.float64)
            shares = np.einsum("pn...,n,p->p...", slopes, weights, b - a) * difference
            gains = path.at(b)[0].astype(np.float64) - path.at(a)[0]
            gaps = np.abs(shares.reshape(len(a), -1).sum(axis=1) - gains)
            cut[some] = (gaps > limit) & (not last)
            total += shares[~cut[some]].sum(axis=0)
        points += len(left) * (len(nodes) + 2)
        if not cut.any():
            break
        a, b = left[cut], right[cut]
        middle = (a + b) / 2
        left, right = np.concatenate([a, middle]), np.concatenate([middle, b])
    return total
