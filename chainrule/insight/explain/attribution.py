"""Attribute one prediction to its input features: how much each feature contributed to the output.

A model or a run and one row go in; an :class:`Attribution` comes out, with a number for each
feature, computed from the graph's gradient.

Sources: Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image
classification models and saliency maps", 2014; Sundararajan, Taly and Yan, "Axiomatic attribution
for deep networks", 2017.

Read next: :mod:`chainrule.insight.hidden.learned`, which examines many rows.
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

__all__ = ["METHODS", "Attribution", "attribute", "columns_of"]

Array = np.ndarray[Any, Any]
METHODS = ("integrated_gradients", "saliency")
PANELS = 16  # number of panels that the path is divided into at first
ROUNDS = 24  # at most so many rounds of halving panels
MOST_POINTS = 2**16
AT_ONCE = 2**22  # numbers per batch of rows
TOLD = 12  # features shown as text and as bars


@dataclass(frozen=True, repr=False)
class Attribution(Shown):
    """The attribution of one output of the network to the features of one row.

    values
        Of the row's shape.  For "saliency" the derivative of the output with respect to each
        feature; for "integrated_gradients" the feature's share of ``value - baseline_value``.
    value, baseline_value
        The output, before any softmax, for the row and for the `baseline`.
    gap
        ``values.sum() - (value - baseline_value)``, the error of the numerical integration; at
        most `tolerance` times the difference if :attr:`complete`.  None for "saliency".
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
        """The sum of the attributions minus the difference they explain."""
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
        """The attribution of each column of the table, summed over its features."""
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
            return f"{head}: its derivative with respect to each feature."
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
            # Two grids: a grid scales all its images the same way, and only the second has a sign.
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
    """Return how much each feature of the row `x` contributed to one output of the network.

    thing, x
        A model or a run, and one row of its input; for a run trained on a table also a mapping
        from column names to cells.
    method
        "saliency": the slope ``d output / d x_i`` at x.  "integrated_gradients":
        ``(x_i - b_i) * mean of d output / d x_i on the straight line from b to x``, where `b` is
        the baseline; these add up to ``output(x) - output(b)``, within the relative `tolerance`.
    baseline
        A row like x to compare with; by default 0 in the model's input, which is black for
        pixels and the training mean for standardized columns.  Category numbers of an embedding
        can't be interpolated: they are kept as in x and get no share.
    output
        The index or the class of the output; by default the largest output, that is, the
        predicted class.
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
        tolerance, view, columns_of(pipeline),
    )  # fmt: skip


def _one_row(subject: Subject, x: Any, name: str) -> Array:
    """Return the model's input for one row, (1, *features)."""
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
    """Return the shape of a row if the first layer determines it, else None."""
    try:
        return row_shape(network)
    except OptionError:
        return None


def _baseline(subject: Subject, given: Any, row: Array) -> Array:
    """Return the baseline row as the model's input, (1, *features)."""
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


def columns_of(pipeline: Any) -> dict[str, tuple[int, ...]]:
    """Return the features that each column of the table became, where this is known."""
    if not isinstance(pipeline, Pipeline) or pipeline.projection is not None:
        return {}
    found, start = {}, 0
    for encoder in pipeline.encoders:
        stop = start + len(encoder.feature_names)
        found[encoder.name] = tuple(range(start, stop))
        start = stop
    return found


def _rounding(value: float) -> float:
    """Return the float32 rounding error of a sum as large as `value`."""
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
        """Return the output and its gradient at `places`, from 0 (the start) to 1 (the end)."""
        flat = places.reshape(-1, *(1,) * self.start.ndim)
        x = (self.start * (1 - flat) + self.end * flat).astype(self.start.dtype)
        pick = np.zeros((len(x), self.units), x.dtype)
        pick[:, self.unit] = 1
        found = self.respond({"x": x, "pick": pick})
        return found["activation"], found["slope"]


def _integrate(path: _Path, room: float) -> Array:
    """Return the integral of each derivative along the path, times the feature's difference.

    The path is divided into panels, each integrated by the three-point Gauss-Legendre rule.
    Over each panel, too, the shares must add up to the change of the output; a panel where they
    do not, because of a kink, is halved, until all gaps together are within `room`.
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
