"""What the hidden layers of a run make of some rows, in short, for its report.

A run and its rows go in; the table of layers, the patterns of the first one and maps of the rows
come out as HTML, and a remark where many units are dead.  At most `ROWS` rows are looked at, by
the interpreter, which needs no compiling.

Read next: :mod:`chainrule.insight.hidden.learned`, which tells more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError
from chainrule.core.wording import counted
from chainrule.insight.hidden.learned import Features, features
from chainrule.insight.report.findings import Finding, all_dead
from chainrule.tabular.problem import Problem
from chainrule.train.run import Run

__all__ = ["find_dead", "look_inside"]

ROWS = 500
MANY_DEAD = 0.2  # of a layer's units
MOST_WORK = 2e10  # floating-point operations of the interpreter: about a second


def look_inside(run: Run, data: Any, flops: int) -> Features | None:
    """Return the hidden layers of `run` on training rows of a problem, or on rows (X, y).

    `flops` are those of predicting a row; a network is looked at on fewer rows where it is
    large.  None where it has no layers to look at, or would take too long.
    """
    rows = int(min(ROWS, MOST_WORK / max(1, flops)))
    try:
        if isinstance(data, Problem):
            X, y = _some(data.train, rows)
            return features(run, X, y, held_out=_some(data.test, rows), engine="reference")
        X, y = _some(data, rows) if isinstance(data, (tuple, list)) else (data, None)
        return features(run, X, y, rows=rows, engine="reference")
    except ChainruleError:  # a model of no layers, a loss of no targets: there is no such view
        return None


def _some(pair: Sequence[Any], rows: int) -> tuple[Any, Any]:
    """Return at most `rows` rows, drawn at random, so that no more of a file are read."""
    X, y = np.asanyarray(pair[0]), np.asarray(pair[1])
    if len(X) <= rows:
        return X, y
    chosen = np.random.Generator(np.random.Philox(0)).choice(len(X), rows, replace=False)
    return X[np.sort(chosen)], y[np.sort(chosen)]


def find_dead(seen: Features) -> list[Finding]:
    """Return a remark for each layer with many units that no row looked at moves."""
    found = []
    for layer in seen.layers:
        dead = len(layer.dead)
        if seen.activity.activation(layer.path) is None or dead < MANY_DEAD * layer.units:
            continue
        if dead == layer.units:
            found.append(all_dead(layer.path, layer.layer, layer.units))
            continue
        found.append(Finding(
            "note",
            f"In layer {layer.path} ({layer.layer}) {dead:,} of {layer.units:,} units are dead: "
            f"none of the {counted(len(seen.numbers), 'row')} looked at moves them.",
        ))  # fmt: skip
    return found
