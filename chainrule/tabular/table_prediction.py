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
from chainrule.data.gaps import with_gaps
from chainrule.data.table import Table
from chainrule.data.unfamiliar import unfamiliar
from chainrule.train.run import Run

__all__ = ["predict_table"]


def predict_table(
    run: Run, table: Table | Mapping[str, Any], *, tell: Callable[[str], None] | None = None
) -> dict[str, NDArray[Any]]:
    """Predict for the rows of `table`, a Table or a mapping of columns, matched by name.

    Returns ``prediction`` (classes as in the training table, or values in the units of the
    target) and, for classification, ``probability_CLASS`` for each class.
    `tell` is called with a line on each difference from the training data: a new category, a
    number or date far out of range, a cell that can't be read.  By default it is a warning.
    Raises DataError if the run was not trained on a table, or if columns do not fit.
    """
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
    table = with_gaps(Table.from_arrays(table), getattr(run.pipeline, "na", ()))
    X = run.pipeline.transform(table)
    for line in unfamiliar(getattr(run.pipeline, "encoders", ()), table):
        if tell is None:
            warnings.warn(f"{table.source}: {line}.", stacklevel=2)
        else:
            tell(line)
    if target.task == "regression":
        return {"prediction": target.decode(run.decide(run.outputs(X)))}
    probabilities = run.probabilities(run.outputs(X))
    columns = {"prediction": target.decode(probabilities.argmax(axis=1))}
    for name, column in zip(target.classes, probabilities.T, strict=True):
        columns[f"probability_{name}"] = column
    return columns
