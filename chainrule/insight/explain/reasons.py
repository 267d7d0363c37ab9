"""The columns that most moved each prediction for a table, for many rows at once.

It is :func:`~chainrule.insight.explain.attribution.attribute` with eight points on every path, so
that it takes a few passes over the network for each row.

Read next: :mod:`chainrule.insight.explain.attribution`, which says by how much it is off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import OptionError
from chainrule.data.pipeline import Pipeline
from chainrule.data.table import Table
from chainrule.insight.explain.attribution import columns_of
from chainrule.insight.explain.layer_graph import recorded, responses
from chainrule.insight.render.text import amount
from chainrule.insight.subject import as_seen
from chainrule.train.run import Run

__all__ = ["reasons_of", "shares"]

Array = NDArray[Any]
POINTS = 8
TOLD = 3  # columns of a row
AT_ONCE = 2**22  # numbers that a pass over the network holds


def shares(run: Run, X: Array) -> tuple[tuple[str, ...], Array]:
    """Return the names of the columns, and the share of each in the prediction of each row of X.

    X: features (rows, features) that the pipeline returned.  The shares (rows, columns) are
    integrated gradients from the features 0, the training mean of numbers:
    ``(x - 0) * mean of d output / d x``, summed over the features of a column, by the rule of
    Gauss and Legendre with 8 points.  The output is the value, in units of the target, or the logit
    of the predicted class minus the mean of the other logits, with two classes the log odds.
    Category numbers of an embedding have no share.
    Raises OptionError for a run without a pipeline of columns, for one with a projection, with
    several targets, or with a loss of another kind.
    """
    pipeline = run.pipeline
    groups = columns_of(pipeline)
    if not isinstance(pipeline, Pipeline) or not groups:
        raise OptionError(
            "reasons are told by column; this run has no columns, or projects them on directions."
        )
    if run.objective.kind == "several":
        count = len(run.objective.parts)
        raise OptionError(
            f"reasons (--explain) are told of one target, but this run predicts {count}; train a "
            "run for each."
        )
    if run.objective.kind not in ("classes", "values", "quantiles"):
        raise OptionError(
            f"reasons (--explain) can't be told with the loss {run.objective.name}; leave them out."
        )
    rows = as_seen(run.model, run.check(X))
    graph, _ = recorded(run.model, rows.shape[1:], rows.dtype)
    respond = responses(graph, graph.outputs["output"])
    outputs = run.outputs(X).reshape(len(rows), -1)
    pick = np.ones_like(outputs, shape=(len(rows), outputs.shape[1]))
    regression = pipeline.target.task == "regression"
    if regression:
        pick[:] = np.arange(outputs.shape[1]) == run.objective.median
    elif outputs.shape[1] > 1:
        pick[:] = -1 / (outputs.shape[1] - 1)
        pick[np.arange(len(rows)), outputs.argmax(axis=1)] = 1
    still = [code.feature for code in pipeline.category_codes]
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    parts = np.zeros(rows.shape)
    sizes = [[d for d in one.spec.shape[1:] if isinstance(d, int)] for one in graph.nodes]
    step = max(1, AT_ONCE // sum(map(math.prod, sizes)))  # that one row holds
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            x = (rows[some] * rows.dtype.type(node)).astype(rows.dtype)
            x[:, still] = rows[some][:, still]
            parts[some] += weight * respond({"x": x, "pick": pick[some]})["slope"]
    parts *= rows
    parts[:, still] = 0
    if regression:
        parts *= float(np.diff(pipeline.target.decode([0.0, 1.0]))[0])
    found = np.stack([parts[:, list(at)].sum(axis=1) for at in groups.values()], axis=1)
    return tuple(groups), found


def reasons_of(run: Run) -> Callable[[Table, Array], dict[str, Array]]:
    """Return a function of rows of a table and their features that returns their reasons.

    They are columns ``reason_1`` and so on, the largest shares first, such as
    ``area=142.7 (+12,345)``.
    """

    def reasons(table: Table, X: Array) -> dict[str, Array]:
        names, found = shares(run, X)
        order = np.argsort(-np.abs(found), axis=1, kind="stable")[:, :TOLD]
        cells = [table[name].as_text() for name in names]
        told: dict[str, Array] = {}
        for k in range(order.shape[1]):
            picked = order[:, k].tolist()
            sizes = found[np.arange(len(found)), order[:, k]].tolist()
            told[f"reason_{k + 1}"] = np.array(
                [
                    f"{names[i]}={cells[i][row]} ({'−' if size < 0 else '+'}{amount(abs(size))})"
                    for row, (i, size) in enumerate(zip(picked, sizes, strict=True))
                ],
                dtype=object,
            )
        return told

    return reasons
