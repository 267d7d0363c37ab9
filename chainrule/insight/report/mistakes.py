"""Confusion matrix, calibration, residuals and largest errors of a run, as HTML.

All text from the data is escaped.

Read next: :mod:`chainrule.insight.report.report`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np

from chainrule.insight.render.chart import heat_map, histogram, line_chart, scatter
from chainrule.insight.render.png import data_uri
from chainrule.insight.render.text import amount
from chainrule.insight.report.predictions import Predictions
from chainrule.tabular.class_scores import reliability
from chainrule.tabular.scores import confusion_matrix

__all__ = ["agreement", "worst_rows"]

Array = np.ndarray[Any, Any]
MOST_CLASSES = 30  # of a confusion matrix that is drawn
MOST_POINTS = 600  # of a scatter plot
MOST_ROWS, MOST_IMAGES = 12, 24
MOST_CELLS = 16  # of a row that is shown
MOST_COLUMNS = 4  # of a target with several
FEW_TO_CALIBRATE = 50  # rows
SURENESS = (0.0, 0.5, 0.7, 0.9, 0.99, 1.1)  # edges of the bins of confidence
LONGEST = 60  # characters of a cell


def agreement(predictions: Predictions) -> str:
    """Return charts of predictions against targets: a confusion matrix, or a scatter plot."""
    if predictions.kind == "classes":
        return _classes(predictions)
    if predictions.kind == "labels":
        return _labels(predictions)
    charts = []
    for k, name in enumerate(predictions.names[:MOST_COLUMNS]):
        charts += _values(predictions.true[:, k], predictions.predicted[:, k], name)
    more = len(predictions.names) - MOST_COLUMNS
    note = f"<p class='faint'>And {more:,} more columns.</p>" if more > 0 else ""
    return f'<figure class="charts">{"".join(charts)}</figure>{note}'


def _classes(predictions: Predictions) -> str:
    names, k = predictions.names, len(predictions.names)
    matrix = confusion_matrix(predictions.true, predictions.predicted, k)
    charts = []
    if k <= MOST_CLASSES:
        charts.append(heat_map(matrix, names, names, title="Confusion matrix",
                               row_label="true class", column_label="predicted class"))  # fmt: skip
    if (
        predictions.certain
        and predictions.scores is not None
        and len(predictions) >= FEW_TO_CALIBRATE
    ):
        charts += [_reliability(predictions), _calibration(predictions)]
    table = _by_class(matrix, names) if k > 2 else ""
    return f'<figure class="charts">{"".join(charts)}</figure>{table}'


def _reliability(predictions: Predictions) -> str:
    """Return a chart of the accuracy over the confidence, with the interval of each bin."""
    scores: Array = predictions.scores  # type: ignore[assignment]
    bins = reliability(predictions.true, scores)
    sure = np.array([one["confidence"] for one in bins])
    low, high = np.array([one["ends"] for one in bins]).T
    lines = {
        "accuracy": [one["accuracy"] for one in bins],
        "95 % from": low,
        "95 % to": high,
        "accuracy = confidence": sure,
    }
    return line_chart(lines, sure, title="Reliability", x_label="confidence", y_label="accuracy")


def _calibration(predictions: Predictions) -> str:
    """Return a table of the accuracy by bins of confidence, the largest probability of a row.

    The accuracy is that of the most probable class, also where a threshold decides otherwise.
    """
    scores: Array = predictions.scores  # type: ignore[assignment]
    sure = scores.max(axis=1).astype(np.float64)
    right = predictions.true == scores.argmax(axis=1)
    lines = []
    for low, high in pairwise(SURENESS):
        inside = (sure >= low) & (sure < high)
        if inside.any():
            words = f"{100 * low:.0f} to {100 * high:.0f} %" if low else f"under {100 * high:.0f} %"
            words = words if high <= 1 else f"over {100 * low:.0f} %"
            lines.append(
                f"<tr><td>{words}</td><td class='number'>{inside.sum():,}</td><td class='number'>"
                f"{100 * sure[inside].mean():.1f} %</td><td class='number'>"
                f"<b>{100 * right[inside].mean():.1f} %</b></td></tr>"
            )
    return (
        "<div><h3>Calibration</h3><table><tr><th>confidence</th>"
        "<th class='number'>rows</th><th class='number'>mean confidence</th>"
        f"<th class='number'>accuracy</th></tr>{''.join(lines)}</table></div>"
    )


def _by_class(matrix: Array, names: Sequence[str]) -> str:
    """Return a table of the classes, lowest recall first."""
    rows, said, hits = matrix.sum(axis=1), matrix.sum(axis=0), matrix.diagonal()
    present = np.flatnonzero(rows)
    order = present[np.argsort(hits[present] / rows[present], kind="stable")][:MOST_CLASSES]
    lines = []
    for k in order.tolist():
        wrong = matrix[k].copy()
        wrong[k] = 0
        taken = f"{escape(names[int(wrong.argmax())])} ({wrong.max():,})" if wrong.any() else ""
        right = f"{hits[k] / said[k]:.1%}" if said[k] else "–"
        lines.append(
            f"<tr><td>{escape(names[k])}</td><td class='number'>{rows[k]:,}</td>"
            f"<td class='number'>{hits[k] / rows[k]:.1%}</td><td class='number'>{right}</td>"
            f"<td>{taken}</td></tr>"
        )
    more = len(present) - len(order)
    note = f"<p class='faint'>And {more:,} more classes with higher recall.</p>" if more else ""
    return (
        "<h3>By class, lowest recall first</h3><div class='wide'><table><tr><th>class</th>"
        "<th class='number'>rows</th><th class='number'>recall</th>"
        "<th class='number'>precision</th><th>most often confused with</th></tr>"
        f"{''.join(lines)}</table></div>{note}"
    )


def _labels(predictions: Predictions) -> str:
    lines = []
    for k, name in enumerate(predictions.names):
        true, said = predictions.true[:, k] == 1, predictions.predicted[:, k] == 1
        found = f"{(said & true).sum() / true.sum():.1%}" if true.any() else "–"
        right = f"{(said & true).sum() / said.sum():.1%}" if said.any() else "–"
        lines.append(
            f"<tr><td>{escape(name)}</td><td class='number'>{true.sum():,}</td>"
            f"<td class='number'>{(true == said).mean():.1%}</td>"
            f"<td class='number'>{found}</td><td class='number'>{right}</td></tr>"
        )
    return (
        "<div class='wide'><table><tr><th>label</th><th class='number'>rows with it</th>"
        "<th class='number'>accuracy</th><th class='number'>recall</th>"
        f"<th class='number'>precision</th></tr>{''.join(lines)}</table></div>"
    )


def _values(true: Array, said: Array, name: str) -> list[str]:
    picked = np.arange(len(true))
    if len(true) > MOST_POINTS:  # the largest errors, and an even sample of the others
        order = np.argsort(-np.abs(said - true), kind="stable")
        even = order[MOST_POINTS // 6 :: max(1, len(true) // (MOST_POINTS * 5 // 6))]
        picked = np.concatenate([order[: MOST_POINTS // 6], even])
    both = np.concatenate([true[picked], said[picked]])
    ends = np.array([both.min(), both.max()])
    points = scatter({"a row": (true[picked], said[picked]), "predicted = true": (ends, ends)},
                     title=f"Predicted and true: {name}", x_label="true",
                     y_label="predicted", line="predicted = true")  # fmt: skip
    errors = histogram(said - true, title=f"Errors: {name}", x_label="predicted − true",
                       y_label="rows")  # fmt: skip
    return [points, errors]


def worst_rows(predictions: Predictions) -> str:
    """Return the rows with the largest errors, as images or with their values."""
    most = MOST_IMAGES if predictions.rows.shape else MOST_ROWS
    worst, said = predictions.mistakes(most), ""
    if not worst:
        worst, said = predictions.doubts(most), "<p>Every row is predicted correctly.</p>"
        if not worst:
            return said
        said = ("<p>Every row is predicted correctly. These have the smallest margin between "
                "the two most probable classes.</p>")  # fmt: skip
    told = [_told(predictions, row) for row in worst]
    images = predictions.rows.images(worst)
    cells = predictions.rows.cells(worst, MOST_CELLS) if not images else [[] for _ in worst]
    cards = "".join(
        f'<article class="{"image" if images else "row"}">'
        + (f'<img src="{data_uri(images[i])}" alt="">' if images else "")
        + f"<div><p>{told[i]}</p>{_cells(cells[i], predictions.rows.columns)}"
        f'<p class="faint">{escape(predictions.rows.name(row))}</p></div></article>'
        for i, row in enumerate(worst)
    )
    encoded = (
        "<p class='faint'>The values are the inputs of the network, scaled and encoded.</p>"
        if predictions.rows.encoded
        else ""
    )
    return f'{said}{encoded}<div class="cards{" images" if images else ""}">{cards}</div>'


def _told(predictions: Predictions, row: int) -> str:
    """Return the prediction for a row and its target."""
    true, said = predictions.true[row], predictions.predicted[row]
    if predictions.kind == "values":
        pairs = list(zip(predictions.names, said, true, strict=True))[:MOST_COLUMNS]
        several = len(predictions.names) > 1
        return "<br>".join(
            f"{escape(name) + ': ' if several else ''}predicted <b>{amount(s)}</b>, true "
            f"<b>{amount(t)}</b> ({'+' if s > t else '−'}{amount(abs(s - t))})"
            for name, s, t in pairs
        )
    if predictions.kind == "labels":
        missed = [predictions.names[k] for k in np.flatnonzero((true == 1) & (said == 0))]
        wrong = [predictions.names[k] for k in np.flatnonzero((true == 0) & (said == 1))]
        parts = [f"missed <b>{escape(', '.join(missed))}</b>"] * bool(missed)
        parts += [f"wrongly predicted <b>{escape(', '.join(wrong))}</b>"] * bool(wrong)
        return ", ".join(parts)
    names = predictions.names
    if not predictions.certain or predictions.scores is None:
        return f"predicted <b>{escape(names[said])}</b>, true <b>{escape(names[true])}</b>"
    sure = _percent(predictions.scores[row, said])
    if true == said:
        return f"predicted <b>{escape(names[said])}</b> ({sure}), correct"
    real = _percent(predictions.scores[row, true])
    return (
        f"<span>predicted <b>{escape(names[said])}</b> ({sure}),</span> "
        f"<span>true <b>{escape(names[true])}</b> ({real})</span>"
    )


def _percent(share: float) -> str:
    r"""Format a probability in percent, without rounding it to 0 or 100 %.

    >>> _percent(0.99996), _percent(0.123), _percent(1e-9)
    ('over 99.9\xa0%', '12.3\xa0%', 'under 0.1\xa0%')
    """
    if share >= 0.9995:
        return "over 99.9\xa0%"
    return "under 0.1\xa0%" if share < 0.0005 else f"{100 * share:.1f}\xa0%"


def _cells(cells: Sequence[tuple[str, str]], columns: int) -> str:
    if not cells:
        return ""
    pairs = "".join(
        f"<span><i>{escape(name)}</i> {escape(_short(value)) or '–'}</span>"
        for name, value in cells
    )
    more = columns - len(cells)
    return f'<p class="cells">{pairs}{f"<span>and {more:,} more</span>" if more > 0 else ""}</p>'


def _short(value: str) -> str:
    try:
        return f"{float(value):.6g}" if len(value) > 8 else value
    except ValueError:
        return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
