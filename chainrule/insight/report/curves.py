"""Training curves: losses, metrics, the learning rate and layer statistics over the epochs.

The curves of a run are drawn as SVG charts, or as sparklines for a terminal.

Read next: :mod:`chainrule.insight.report.report`, which shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.insight.render.chart import line_chart
from chainrule.insight.report.remarks import series
from chainrule.train.run import Run

__all__ = ["course", "layer_charts", "measures", "spans_widely", "spark"]

Array = np.ndarray[Any, Any]
MOST_LAYERS = 8  # per chart: the number of colors
STEPS = "▁▂▃▄▅▆▇█"
CLOCK = ("epoch", "learning_rate", "seconds", "samples_per_second", "layers")


def measures(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the losses and metrics in a history, without the validation ones."""
    names = dict.fromkeys(name for record in history for name in record)
    return [name for name in names if name not in CLOCK and not name.startswith("val_")]


def course(run: Run) -> list[str]:
    """Return a chart of each loss and metric over the epochs, and of the learning rate.

    Training and validation share a chart.  The epoch whose weights were kept is marked.
    """
    epochs = series(run.history, "epoch")
    best = {f"best epoch, {run.best_epoch}": float(run.best_epoch)} if run.best_epoch > 0 else {}
    charts = []
    for name in measures(run.history):
        pair = {"training": series(run.history, name)}
        held = series(run.history, f"val_{name}")
        if np.isfinite(held).any():
            pair["validation"] = held
        log = name == "loss" and spans_widely(*pair.values())
        charts.append(line_chart(pair, epochs, title=name.replace("_", " ").capitalize(),
                                 x_label="epoch", log_y=log, marks=best))  # fmt: skip
    rate = series(run.history, "learning_rate")
    if np.isfinite(rate).any() and np.ptp(rate[np.isfinite(rate)]) > 0:
        charts.append(line_chart({"learning rate": rate}, epochs, title="Learning rate",
                                 x_label="epoch", log_y=spans_widely(rate)))  # fmt: skip
    return charts


def spans_widely(*values: Array) -> bool:
    """Return whether `values` are positive and span a factor of more than 20."""
    joined = np.concatenate(values)
    joined = joined[np.isfinite(joined)]
    return bool(joined.size and joined.min() > 0 and joined.max() / joined.min() > 20)


def layer_charts(run: Run, title: Callable[[str], str]) -> list[str]:
    """Return charts of the inputs and gradients of each layer, [] if they were not recorded.

    `title` returns the name to show for the path of a layer.
    """
    watched = [record for record in run.history if record.get("layers")]
    if not watched:
        return []
    epochs = series(watched, "epoch")
    names = list(watched[-1]["layers"])
    if len(names) > MOST_LAYERS:
        picked = np.linspace(0, len(names) - 1, MOST_LAYERS).round().astype(int)
        names = [names[i] for i in dict.fromkeys(picked.tolist())]
    charts = []
    for key, words, log in (
        ("gradient_rms", "Gradient at the weighted sums, root mean square", True),
        ("input_std", "Standard deviation of each layer's input", False),
        ("input_zeros", "Share of zeros in each layer's input", False),
    ):
        lines = {
            title(name): series([r["layers"].get(name, {}) for r in watched], key) for name in names
        }
        if key == "input_zeros" and not any((line > 0).any() for line in lines.values()):
            continue
        lines = {name: line for name, line in lines.items() if np.isfinite(line).any()}
        if lines:
            wide = log and spans_widely(*lines.values())
            charts.append(line_chart(lines, epochs, title=words, x_label="epoch", log_y=wide))
    return charts


def spark(values: Any, width: int = 32, ends: tuple[float, float] | None = None) -> str:
    """Return `values` as at most `width` block characters, each the mean of an interval.

    `ends` are the values of the lowest and the highest block, by default the minimum and the
    maximum of the means.  An interval without finite values is a space.

    >>> spark([0, 1, 2, 3])
    '▁▃▆█'
    """
    array = np.asarray(values, np.float64).reshape(-1)
    parts = np.array_split(array, min(width, len(array))) if len(array) else []
    means = [float(p[np.isfinite(p)].mean()) if np.isfinite(p).any() else np.nan for p in parts]
    finite = [m for m in means if np.isfinite(m)]
    low, high = ends or (min(finite, default=0.0), max(finite, default=0.0))
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # a constant, up to rounding errors
        low = high
    top = len(STEPS) - 1
    return "".join(
        " " if not np.isfinite(m)
        else STEPS[0] if high <= low
        else STEPS[int(np.clip(np.floor((m - low) / (high - low) * top + 0.5), 0, top))]
        for m in means
    )  # fmt: skip
