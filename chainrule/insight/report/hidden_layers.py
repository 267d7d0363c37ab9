"""Analyze the hidden layers of a run for its report.

At most `ROWS` rows are used.  The interpreter computes them, because for so few rows compiling
takes longer.

Read next: :mod:`chainrule.insight.hidden.learned`, the full analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError
from chainrule.core.wording import counted
from chainrule.insight.hidden.learned import Features, features
from chainrule.insight.report.remarks import Remark, all_dead
from chainrule.tabular.problem import Problem
from chainrule.train.run import Run

__all__ = ["find_dead", "look_inside"]

ROWS = 500
MANY_DEAD = 0.2  # share of a layer's units
MOST_WORK = 2e10  # floating-point operations of the interpreter: about a second


def look_inside(run: Run, data: Any, flops: int) -> Features | None:
    """Return the hidden layers of `run` on training rows of a problem, or on rows (X, y).

    `flops` are the operations to predict a row; fewer rows are used for a larger network.
    Return None if the hidden layers cannot be analyzed.
    """
    rows = int(min(ROWS, MOST_WORK / max(1, flops)))
    try:
        if isinstance(data, Problem):
            X, y = _some(data.train, rows)
            return features(run, X, y, held_out=_some(data.test, rows), engine="reference")
        X, y = _some(data, rows) if isinstance(data, (tuple, list)) else (data, None)
        return features(run, X, y, rows=rows, engine="reference")
    except ChainruleError:  # such as a model without layers or a loss without targets
        return None


def _some(pair: Sequence[Any], rows: int) -> tuple[Any, Any]:
    """Return at most `rows` rows, drawn at random, without reading the others from a file."""
    X, y = np.asanyarray(pair[0]), np.asarray(pair[1])
    if len(X) <= rows:
        return X, y
    chosen = np.random.Generator(np.random.Philox(0)).choice(len(X), rows, replace=False)
    return X[np.sort(chosen)], y[np.sort(chosen)]


def find_dead(seen: Features) -> list[Remark]:
    """Return a remark for each layer with many dead units."""
    found = []
    for layer in seen.layers:
        dead = len(layer.dead)
        if seen.activity.activation(layer.path) is None or dead < MANY_DEAD * layer.units:
            continue
        if dead == layer.units:
            found.append(all_dead(layer.path, layer.layer, layer.units))
            continue
        found.append(Remark(
            "note",
            f"In layer {layer.path} ({layer.layer}) {dead:,} of {layer.units:,} units are dead: "
            f"they learn from none of the {counted(len(seen.numbers), 'row')}.",
        ))  # fmt: skip
    return found
