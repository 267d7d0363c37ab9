"""Tables and charts of hidden layers, as fragments of HTML and SVG.

Each function takes a :class:`~chainrule.insight.hidden.statistics.Findings`, or a unit of it;
:func:`features_page` combines the fragments into a page.

Read next: :mod:`chainrule.insight.render.page`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError, OptionError
from chainrule.core.wording import counted
from chainrule.insight.hidden.statistics import Findings
from chainrule.insight.hidden.unit import Unit, exciting_inputs
from chainrule.insight.render.chart import bar_chart, histogram, image_grid, line_chart, scatter
from chainrule.insight.render.page import page

__all__ = [
    "correlation_figure",
    "features_page",
    "gradients_figure",
    "layers_table",
    "map_figure",
    "probes_figure",
    "unit_section",
    "units_figure",
    "units_tables",
    "weights_figure",
    "weights_grid",
]

Array = np.ndarray[Any, Any]
MOST_IMAGES = 32
MOST_DOTS = 300  # of a map
MOST_BARS = 8
MOST_CORRELATED = 1024  # units in a correlation matrix
MOST_COLUMNS = 12
MOST_UNITS = 256  # of a layer's table


def layers_table(f: Findings) -> str:
    """Return the table of layers: units, spread, dead units, saturation, probe."""
    head, *lines = f.cells()
    told = "".join(f"<p>{escape(remark)}</p>" for remark in f.remarks())
    return _table(head, lines, words=2) + told


def units_tables(f: Findings, most: int = MOST_UNITS) -> str:
    """Return for each hidden layer a table of its units: mean, spread and gradient."""
    parts = []
    for path in f.hidden:
        head, *lines = f.unit_cells(path)
        more = len(lines) - most
        told = f"<p>And {counted(more, 'more unit')}.</p>" if more > 0 else ""
        title = f"Layer {_name(path, f.described(path))}"
        parts.append(
            f"<details><summary>{escape(title)}</summary>{_table(head, lines[:most])}{told}"
            "</details>"
        )
    return "".join(parts)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], words: int = 0) -> str:
    """Return a table of text; all columns but the first `words` are aligned as numbers."""

    def line(cells: Sequence[str], kind: str) -> str:
        return "".join(
            f"<{kind}{' class=number' if i >= words else ''}>{escape(cell)}</{kind}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(cells, 'td')}</tr>" for cells in lines)
    return f'<div class="wide"><table><tr>{line(head, "th")}</tr>{body}</table></div>'


def weights_figure(f: Findings, most: int = MOST_IMAGES) -> str:
    """Return the first layer's weights with the largest norm: as images, or bars by feature."""
    if f.weights is None:
        return "<p>No layer has a weighted sum of the input.</p>"
    if f.view.image is not None:
        told = (
            " Positive weights are blue, negative ones orange; the largest 1 % have full color."
            if len(f.view.image) == 2 else ""
        )  # fmt: skip
        caption = f"<figcaption>The numbers are indices of units.{told}</figcaption>"
        return f"<figure>{weights_grid(f, most)}{caption}</figure>"
    charts = []
    for k in _by_length(f.weights)[:6]:
        weights = f.weights[k].reshape(-1)
        strongest = np.argsort(-np.abs(weights), kind="stable")[:MOST_BARS]
        bars = {f.view.names[i]: float(weights[i]) for i in strongest}
        charts.append(bar_chart(bars, title=f"unit {k}", label="weight"))
    return _charts(charts)


def weights_grid(f: Findings, most: int = MOST_IMAGES) -> str:
    """Return the first layer's weights with the largest norm as images in one ``<svg>``.

    Raises OptionError if rows are not images, or no layer has weights.
    """
    if f.weights is None or f.view.image is None:
        raise OptionError(
            "weights can be shown as images only if rows are images and a layer has weights; "
            "image_shape=(height, width) says that rows are images."
        )
    order = _by_length(f.weights)
    chosen = order[:most]
    images = [_clipped(w) for w in f.view.as_images(f.weights[chosen], original=False)]
    title = f"{len(chosen)} of {len(order)} units, largest norm of weights first"
    signed = len(f.view.image) == 2
    return image_grid(images, [str(k) for k in chosen], signed=signed, title=title)


def _by_length(weights: Array) -> Array:
    """Return the units by the norm of their weights, largest first."""
    lengths = np.sqrt(np.square(weights.reshape(len(weights), -1)).sum(axis=1))
    return np.argsort(-lengths, kind="stable")


def _clipped(weights: Array) -> Array:
    """Clip the weights at the 99 % quantile, because few large ones would hide the others."""
    most = np.quantile(np.abs(weights), 0.99)
    return np.clip(weights, -most, most)


def probes_figure(f: Findings) -> str:
    """Return the score of the linear probe at the input and after each layer, as bars."""
    if not f.probing:
        return ""
    bars = {_name(p.path, p.layer): p.score for p in f.probes}
    last = f.probes[-1]
    chart = bar_chart(
        bars, title=f"Linear probe: {last.measure} on {counted(last.held_out, 'held-out row')}"
    )
    return f"<figure>{chart}</figure>"


def map_figure(f: Findings, layer: str | int) -> str:
    """Return a layer's outputs along their first two principal components, by class."""
    points, share = f.map(layer)
    title = _name(str(layer), f.described(layer))
    chosen = slice(None, None, -(-len(points) // MOST_DOTS))
    shown = points[chosen]
    if f.goal is not None and f.goal.kind == "classes":
        codes = f.goal.target[chosen]
        groups = {
            f.class_names[c]: (shown[codes == c, 0], shown[codes == c, 1]) for c in np.unique(codes)
        }
    else:
        groups = {"rows": (shown[:, 0], shown[:, 1])}
    return scatter(
        groups, title=title, x_label=f"two principal components, {share:.0%} of the variance"
    )  # fmt: skip


def correlation_figure(f: Findings, layer: str | int) -> str:
    """Return the correlation matrix of a layer's units as one image.

    Units are sorted by the first principal axis, so that correlated units are close.
    """
    matrix = f.correlation(layer)
    order = np.linalg.eigh(matrix)[1][:, -1].argsort(kind="stable")
    pairs = f.correlated(layer, 5)
    told = ", ".join(f"{i} and {j} ({r:+.2f})" for i, j, r in pairs)
    drawn = image_grid([matrix[order][:, order]], columns=1, signed=True)
    return (
        f"<figure>{drawn}<figcaption>Correlation of the units of layer {_name(str(layer), '')}: "
        f"positive blue, negative orange, zero white. Strongest: {told}.</figcaption></figure>"
    )


def gradients_figure(f: Findings) -> str:
    """Return a chart of the loss's gradient, its root mean square at each layer with weights."""
    shown = [g for g in f.gradients if g.weights is not None] or list(f.gradients)
    sizes = {
        "at the layer's outputs": [g.output for g in shown],
        "at its parameters": [np.nan if g.weights is None else g.weights for g in shown],
    }
    named = ", ".join(_name(g.path, g.layer) for g in shown)
    chart = line_chart(
        sizes, title="Gradient of the loss by layer", log_y=True,
        x_label="layer with weights, from the input", y_label="root mean square",
    )  # fmt: skip
    return f"<figure>{chart}<figcaption>{escape(named)}</figcaption></figure>"


def units_figure(f: Findings, layer: str | int, most: int = 6) -> str:
    """Return for the units with the largest variance the rows with the highest activation."""
    path = f.activity.check_layer(layer)
    values = f.activity.values[path]
    alive = values.std(axis=0) > 0
    chosen = np.argsort(-values.std(axis=0), kind="stable")[: min(most, int(alive.sum()))]
    if not len(chosen):
        return "<p>No unit of this layer varies over the rows.</p>"
    if f.view.image is None:
        told = "Mean of the 5 % of rows with the highest activation, compared with all rows."
        bars = [_difference(f, values[:, k], f"unit {k}") for k in chosen.tolist()]
        return f"<p>{told}</p>{_charts(bars)}"
    told = "The rows with the highest activation, and last the input found by gradient ascent."
    inputs, _ = exciting_inputs(f.activity, path, chosen.tolist())
    lines = []
    for k, exciting in zip(chosen.tolist(), inputs, strict=True):
        order = np.argsort(-values[:, k], kind="stable")[:7]
        images = [*f.view.as_images(f.activity.rows[order]), *f.view.as_images(exciting[None])]
        captions = [f.class_of(i) for i in order] + ["ascent"]
        lines.append(image_grid(images, captions, title=f"unit {k}"))
    return f"<p>{told}</p>{_charts(lines)}"


def _difference(f: Findings, values: Array, title: str) -> str:
    """Return the mean of the 5 % of rows with the highest activation, as bars."""
    most = np.argsort(-values, kind="stable")[: max(1, len(values) // 20)]
    rows = f.activity.rows.reshape(len(f.activity.rows), -1)
    return _bars_of(f, title, rows[most].mean(axis=0, dtype=np.float64))


def _bars_of(f: Findings, title: str, row: Array) -> str:
    """Return the features of `row` that differ most from the mean row, as bars."""
    rows = f.activity.rows.reshape(len(f.activity.rows), -1)
    spread = rows.std(axis=0, dtype=np.float64)
    away = row.reshape(-1) - rows.mean(axis=0, dtype=np.float64)
    distance = np.divide(away, spread, out=np.zeros(len(spread)), where=spread > 0)
    order = np.argsort(-np.abs(distance), kind="stable")[:MOST_BARS]
    bars = {f.view.names[i]: float(distance[i]) for i in order}
    return bar_chart(bars, title=title, label="standard deviations from the mean")


def unit_section(f: Findings, unit: Unit) -> str:
    """Return one unit: its numbers, a histogram, and the rows and input that excite it most."""
    parts = [f"<pre>{escape(str(unit))}</pre>"]
    parts.append(f"<figure>{histogram(unit.values, x_label='activation')}</figure>")
    for title, numbers in (("highest activation", unit.most), ("lowest activation", unit.least)):
        at = f.places_of(numbers)
        rows = f.activity.rows[at]
        if f.view.image is not None:
            captions = [f"{f.class_of(i)} {unit.values[i]:.2g}".strip() for i in at]
            drawn = image_grid(f.view.as_images(rows), captions, title=f"Rows with the {title}")
            parts.append(f"<figure>{drawn}</figure>")
        else:
            table = _rows_table(f, numbers, rows, unit, at)
            parts.append(f"<h3>Rows with the {title}</h3>{table}")
    if f.view.image is not None:
        drawn = image_grid(f.view.as_images(unit.exciting[None]), ["ascent"], columns=4)
        parts.append(f"<figure>{drawn}<figcaption>The input with the highest activation found by "
                     "gradient ascent, each feature within its range in the rows.</figcaption>"
                     "</figure>")  # fmt: skip
    else:
        told = "Mean of the 5 % of rows with the highest activation"
        charts = [_difference(f, unit.values, told)]
        charts.append(_bars_of(f, "Input found by gradient ascent", unit.exciting))
        parts.append(_charts(charts))
    return "".join(parts)


def _rows_table(f: Findings, numbers: Array, rows: Array, unit: Unit, at: Array) -> str:
    """Return rows as a table with the names of the columns, in the units of the data."""
    shown = f.view.original(rows)[:, :MOST_COLUMNS]
    classes = ["class"] if f.class_names else []
    lines = [
        [str(number), f"{unit.values[i]:.4g}", *([f.class_of(i)] if classes else []),
         *(f"{value:.4g}" for value in row)]
        for number, row, i in zip(numbers.tolist(), shown, at.tolist(), strict=True)
    ]  # fmt: skip
    return _table(["row", "activation", *classes, *f.view.names[:MOST_COLUMNS]], lines)


def _charts(charts: list[str]) -> str:
    return f'<figure class="charts">{"".join(charts)}</figure>'


def _name(path: str, layer: str) -> str:
    return path if path == layer or not layer else f"{path} {layer}".strip()


def features_page(f: Findings, unit: Unit | None = None) -> str:
    """Return the page of all layers, or of one unit."""
    intro = f'<p class="faint">{escape(f.note)}</p>'
    if unit is not None:
        title = f"Unit {unit.index} of layer {unit.layer}: {unit.described}"
        return page(title, [("", unit_section(f, unit))], intro=intro)
    sections = [
        ("Layers", layers_table(f)),
        ("Units", units_tables(f)),
        ("Weights of the first layer", weights_figure(f)),
    ]
    if f.probing:
        sections.append(("Linear probes", probes_figure(f)))
    if f.goal is None or f.goal.kind == "classes":
        maps = [map_figure(f, path) for path in ("input", *f.hidden[-3:])]
        sections.append(("Principal components", _charts(maps)))
    for path in f.hidden[:1] + f.hidden[-1:] if len(f.hidden) > 1 else f.hidden:
        heading = f"Inputs that excite units of layer {_name(path, f.described(path))}"
        sections.append((heading, units_figure(f, path)))
    if f.hidden and f.values(f.hidden[-1]).shape[1] <= MOST_CORRELATED:
        sections.append(("Correlated units", correlation_figure(f, f.hidden[-1])))
    try:
        if f.gradients:
            sections.append(("Gradients", gradients_figure(f)))
    except ChainruleError:  # no targets, or a saved run without its loss
        pass
    return page(f"Hidden layers of {f.title}", sections, intro=intro)
