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
from chainrule.data.encode import CategoryEncoder, NumericEncoder
from chainrule.data.gaps import with_gaps
from chainrule.data.pass_through import PassThrough
from chainrule.data.pipeline import Pipeline
from chainrule.data.pixels import PixelPipeline
from chainrule.data.table import Table
from chainrule.data.target import Target
from chainrule.data.unfamiliar import Unfamiliar, unfamiliar
from chainrule.step.objective import Objective
from chainrule.tabular.conformal import check_level, intervals_of, quantiles_of
from chainrule.train.run import Run

__all__ = ["columns_of", "predict_rows", "predict_table"]

Answers = dict[str, NDArray[Any]]
CELLS_AT_ONCE = 1_500_000  # features and cells of a block of rows


def predict_table(
    run: Run,
    table: Table | Mapping[str, Any],
    *,
    interval: float | None = None,
    tell: Callable[[str], None] | None = None,
) -> Answers:
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
    pipeline = _pipeline(run)
    if isinstance(table, (str, os.PathLike)):
        raise DataError(
            f"predict_table takes columns in memory; read the file first: "
            f"predict_table(run, chainrule.data.read_table({os.fspath(table)!r}))."
        )
    table = with_gaps(Table.from_arrays(table), getattr(pipeline, "na", ()))
    X = pipeline.transform(table)
    for line in unfamiliar(getattr(pipeline, "encoders", ()), table):
        if tell is None:
            warnings.warn(f"{table.source}: {line}.", stacklevel=2)
        else:
            tell(line)
    return _answers(run, X, interval)


def predict_rows(
    run: Run,
    rows: PassThrough,
    tell: Callable[[str], None],
    *,
    interval: float | None = None,
    more: Callable[[Table, NDArray[Any]], Answers] | None = None,
) -> None:
    """Add to `rows` of a stored table the columns that :func:`predict_table` returns, in blocks.

    `more` returns other columns to add to a block, for its table and its features.

    The columns and the lines passed to `tell` are the same, bit for bit.  Only where this can't
    be, the table is read whole: where a block alone can't be read, or where the network combines
    rows.  Raises DataError as :func:`predict_table` does.
    """
    pipeline = _pipeline(run)
    encoders = getattr(pipeline, "encoders", ())
    names = [encoder.name for encoder in encoders] or list(pipeline.feature_names)
    words = [e.name for e in encoders if isinstance(e, CategoryEncoder) or e.levels]
    plain = [e.name for e in encoders if isinstance(e, NumericEncoder) and _takes_booleans(e)]
    at_once = max(1, CELLS_AT_ONCE // (len(names) + len(pipeline.feature_names)))
    strange, written = Unfamiliar(encoders), getattr(pipeline, "writing", None)
    try:
        # Whether a block can be read without the others.
        alone = not (rows.mixes_booleans(plain) or rows.shows_marks() or written)
        for block in rows.blocks(names, words, at_once) if alone else ():
            block = with_gaps(block, getattr(pipeline, "na", ()))
            X = pipeline.transform(block)
            if len(block) < len(rows) and run.function({"x": run.check(X)}).whole:
                alone = False
                break
            strange.add(block)
            rows.add(_answers(run, X, interval) | (more(block, X) if more else {}))
    except DataError:
        alone = False
    if alone:
        for line in strange.lines():
            tell(line)
        return
    rows.forget()
    table = rows.whole()
    answers = predict_table(run, table, interval=interval, tell=tell)
    rows.add(answers | (more(table, pipeline.transform(table)) if more else {}))


def _takes_booleans(encoder: NumericEncoder) -> bool:
    """Whether the encoder reads text as numbers or as true and false, by what most cells are."""
    return not (encoder.levels or encoder.parts or encoder.spelling)


def _pipeline(run: Run) -> Pipeline | PixelPipeline:
    if run.pipeline is None:
        raise DataError(
            "this run was trained on arrays, not on a table with columns; "
            "use chainrule.load(run).predict(X)."
        )
    return run.pipeline


def _answers(run: Run, X: NDArray[Any], interval: float | None) -> Answers:
    """Return the columns that are predicted for the features of some rows."""
    target = _pipeline(run).target
    outputs = run.outputs(X)
    if not target.parts:
        return columns_of(target, run, outputs, interval)
    found = {}
    numbers = any(part.task == "regression" for part in target.parts)
    for part, (aim, own) in zip(target.parts, run.objective.parts, strict=True):
        share = interval if part.task == "regression" or not numbers else None
        for name, column in columns_of(part, aim, outputs[:, own], share).items():
            kind, *rest = name.split("_", 1)
            found["_".join([kind, part.name, *rest])] = column
    return found


def columns_of(
    target: Target, by: Run | Objective, outputs: NDArray[Any], interval: float | None
) -> Answers:
    """Return the columns predicted for a target by its `outputs` (rows, k), read as `by` does."""
    aim = by.objective if isinstance(by, Run) else by
    if interval is not None:
        ends = intervals_of(target, aim, outputs, interval)
    if target.task == "regression":
        columns = {"prediction": target.decode(aim.decide(outputs)[:, 0])}
        for level, column in quantiles_of(target, aim, outputs).items():
            columns[f"quantile_{level:g}"] = column
        if interval is not None:
            columns["low"], columns["high"] = ends
        return columns
    columns = {"prediction": target.decode(by.decide(outputs))}
    for name, column in zip(target.classes, by.probabilities(outputs).T, strict=True):
        columns[f"probability_{name}"] = column
    return columns
