"""Histograms of the weights of each layer, before and after training.

The initial weights are drawn again from the seed.  This is reliable only if the network was built
and trained in one call, as by :func:`chainrule.tabular.table_training.fit_table`.

Read next: :mod:`chainrule.insight.report.report`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.insight.render.chart import line_chart
from chainrule.nn.layer import initialize, parameters
from chainrule.nn.layer_config import from_config, to_config
from chainrule.train.run import Run

__all__ = ["first_weights", "weight_charts"]

Array = np.ndarray[Any, Any]
MOST_CHARTS = 12
MOST_DRAWN = 4_000_000  # weights that are drawn again, which takes half a second
MOST_COUNTED = 100_000  # weights of a layer in a histogram: of more, an even sample
BINS = 40


def first_weights(run: Run) -> dict[str, Array]:
    """Return the parameters of `run` before training, {} if they can't be known."""
    found = parameters(run.model)
    if run.pipeline is None or sum(p.value.size for p in found.values()) > MOST_DRAWN:
        return {}
    fresh = from_config(to_config(run.model))
    initialize(fresh, int(run.settings["seed"]))
    return {path: p.value for path, p in parameters(fresh).items()}


def weight_charts(run: Run, title: Callable[[str], str]) -> tuple[list[str], int]:
    """Return a histogram of each weight array, without biases, and the number omitted."""
    found = {
        path: p.value
        for path, p in parameters(run.model).items()
        if p.value.size > 1 and (p.value.ndim > 1 or path.rsplit(".", 1)[-1] == "weight")
    }
    before = first_weights(run)
    charts = []
    for path, value in list(found.items())[:MOST_CHARTS]:
        kinds = {"before training": before.get(path), "after": value}
        counted = {k: _few(v) for k, v in kinds.items() if v is not None}
        ends = np.concatenate(list(counted.values()))
        edges = np.histogram_bin_edges(ends, BINS)
        lines = {k: np.histogram(v, edges)[0] / len(v) for k, v in counted.items()}
        layer, _, name = path.rpartition(".")
        words = f"{title(layer)}: {name}" if layer else name
        charts.append(line_chart(lines, (edges[:-1] + edges[1:]) / 2, title=words,
                                 x_label="weight", y_label="share of weights"))  # fmt: skip
    return charts, len(found) - len(charts)


def _few(value: Array) -> Array:
    flat: Array = value.reshape(-1).astype(np.float64)
    return flat[:: max(1, len(flat) // MOST_COUNTED)]
