"""Predict for the rows of a table, whose columns are matched by name.

Read next: :mod:`chainrule.data.unfamiliar`, :mod:`chainrule.cli.predict`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from chainrule.core.errors import DataError
from chainrule.data.table import Table
from chainrule.data.target import Target
from chainrule.data.unfamiliar import unfamiliar
from chainrule.step.objective import Objective
from chainrule.tabular.conformal import check_level, intervals_of, quantiles_of
from chainrule.train.run import Run

__all__ = ["predict_table"]


def predict_table(
    run: Run,
    table: Table | Mapping[str, Any],
    *,
    interval: float | None = None,
    tell: Callable[[str], None] | None = None,
) -> dict[str, NDArray[Any]]:
    """Predict for the rows of `table`, a Table or a mapping of columns, matched by name.

    Returns ``prediction`` (classes as in the training table, or values in the units of the
    target) and, for classification, ``probability_CLASS`` for each class.  With the loss quantile,
    ``quantile_0.05`` and so on are the predicted quantiles.  With `interval`, a share such as 0.9,
    ``low`` and ``high`` are the ends of an interval that contains the target of a new row that
    often: it was calibrated on the validation rows, see :mod:`chainrule.tabular.conformal`.
    Of several targets, each name is followed by that of the target: ``prediction_price``,
    ``probability_color_red``, ``low_price``; those that are numbers have intervals.
    `tell` is called with a line on each difference from the training data: a new category, a
    number or date far out of range, a cell that can't be read.  By default it is a warning.
    Raises DataError if the run was not trained on a table, or if columns do not fit, and
    OptionError for an interval of classes, or of a run with too few validation rows.
    """
    if interval is not None:
        check_level(interval)
    if run.pipeline is None:
        raise DataError(
            "this run was trained on arrays, not on a table with columns; "
            "use chainrule.load(run).predict(X)."
        )
    target = run.pipeline.target
    if isinstance(table, (str, os.PathLike)):
        raise DataError(
            f"predict_table takes columns in memory; read the file first: "
            f"predict_table(run, chainrule.data.read_table({os.fspath(table)!r}))."
        )
    table = Table.from_arrays(table)
    X = run.pipeline.transform(table)
    for line in unfamiliar(getattr(run.pipeline, "encoders", ()), table):
        if tell is None:
            warnings.warn(f"{table.source}: {line}.", stacklevel=2)
        else:
            tell(line)
    outputs = run.outputs(X)
    if not target.parts:
        return _columns(target, run.objective, outputs, interval)
    found = {}
    numbers = any(part.task == "regression" for part in target.parts)
    for part, (aim, own) in zip(target.parts, run.objective.parts, strict=True):
        share = interval if part.task == "regression" or not numbers else None
        for name, column in _columns(part, aim, outputs[:, own], share).items():
            kind, *rest = name.split("_", 1)
            found["_".join([kind, part.name, *rest])] = column
    return found


def _columns(
    target: Target, aim: Objective, outputs: NDArray[Any], interval: float | None
) -> dict[str, NDArray[Any]]:
    """Return the columns predicted for a target by its `outputs` (rows, k)."""
    if interval is not None:
        ends = intervals_of(target, aim, outputs, interval)
    if target.task == "regression":
        columns = {"prediction": target.decode(aim.decide(outputs)[:, 0])}
        for level, column in quantiles_of(target, aim, outputs).items():
            columns[f"quantile_{level:g}"] = column
        if interval is not None:
            columns["low"], columns["high"] = ends
        return columns
    probabilities = aim.probabilities(outputs)
    columns = {"prediction": target.decode(probabilities.argmax(axis=1))}
    for name, column in zip(target.classes, probabilities.T, strict=True):
        columns[f"probability_{name}"] = column
    return columns
