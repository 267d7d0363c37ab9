"""Compare the predictions of a run with the targets.

:func:`predictions_on` returns a :class:`Predictions`: the true and predicted values, the
probabilities, the rows with the largest errors, and the rows as they are in the data.

Read next: :mod:`chainrule.insight.report.mistakes`, which shows them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import DataError
from chainrule.data.builtin import names as dataset_names
from chainrule.data.check_arrays import check_same_length
from chainrule.data.pipeline import Pipeline
from chainrule.data.pixels import PixelPipeline
from chainrule.data.table import Table
from chainrule.nn.scale import starts_with_scale
from chainrule.tabular.problem import Problem
from chainrule.train.run import Run

__all__ = ["Predictions", "Rows", "predictions_on"]

Array = np.ndarray[Any, Any]
SIDES = (8, 1000)  # range of the height of square images stored as flat rows of pixels


@dataclass(frozen=True)
class Rows:
    """Rows of a table or an array, as they were read.

    `numbers` are their indices in `source`; `names` are the columns of an array; `shape` is
    the shape of the image in each row, () if rows are not images; `left_out` is the name of
    the target column; `encoded` says that the values are scaled and encoded;
    `called` and `first` make the label of a row: a word, and the number of the first row.
    """

    source: Table | Array
    numbers: Array
    names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    left_out: str = ""
    encoded: bool = False
    called: str = "row"
    first: int = 1

    def __len__(self) -> int:
        return len(self.numbers)

    def name(self, row: int) -> str:
        """Return what to call a row: its number in the file, or its index in an array."""
        return f"{self.called} {self.first + int(self.numbers[row]):,}"

    def cells(self, rows: Sequence[int], most: int) -> list[list[tuple[str, str]]]:
        """Return names and values of at most `most` columns, of each of `rows`."""
        places = self.numbers[np.asarray(rows, np.intp)]
        if isinstance(self.source, Table):
            shown = [c for c in self.source if c.name != self.left_out][:most]
            columns = [(c.name, c.take(places).as_text().tolist()) for c in shown]
            return [[(name, str(column[k])) for name, column in columns] for k in range(len(rows))]
        flat = self.source[places].reshape(len(rows), -1)[:, :most]
        names = self.names or tuple(f"x{i}" for i in range(flat.shape[1]))
        return [[(n, f"{v:.4g}") for n, v in zip(names, row, strict=False)] for row in flat]

    @property
    def columns(self) -> int:
        """The number of columns without the target."""
        if isinstance(self.source, Table):
            return sum(column.name != self.left_out for column in self.source)
        return math.prod(self.source.shape[1:])

    def images(self, rows: Sequence[int]) -> list[Array]:
        """Return the images in `rows`, [] if rows are not images."""
        if not self.shape:
            return []
        places = self.numbers[np.asarray(rows, np.intp)]
        if isinstance(self.source, Table):
            pixels = [c for c in self.source if c.name != self.left_out]
            flat = np.stack([c.values[places] for c in pixels], axis=1)
            return list(flat.reshape(-1, *self.shape))
        return list(self.source[places].reshape(-1, *self.shape))


@dataclass(frozen=True)
class Predictions:
    """The predictions of a run for rows, and the targets.

    For `kind` "classes", `true` and `predicted` are class indices (rows,), `names` are the
    classes, `scores` (rows, classes) are probabilities, or logits if `certain` is False.  For
    "labels", they are 0 or 1 (rows, labels).  For "values", they are values in the units of the
    target (rows, columns).  `unseen` says that the run was not trained on these rows.
    """

    kind: str
    true: Array
    predicted: Array
    names: tuple[str, ...]
    rows: Rows
    scores: Array | None = None
    certain: bool = True
    unseen: bool = False

    def __len__(self) -> int:
        return len(self.true)

    def mistakes(self, most: int) -> list[int]:
        """Return at most `most` rows with the largest errors, largest first.

        For classes, misclassified rows by the score of the predicted class minus that of the true
        one.  For values, rows by absolute error, each column relative to its root mean square.
        For labels, rows by the number of wrong labels.
        """
        wrong = self.wrongness()
        order = np.argsort(-wrong, kind="stable")[:most]
        found: list[int] = order[wrong[order] > 0].tolist()
        return found

    def doubts(self, most: int) -> list[int]:
        """Return the rows with the smallest margin between the best two classes, [] if unknown."""
        if self.kind != "classes" or self.scores is None or self.scores.shape[1] < 2:
            return []
        two = np.partition(self.scores, -2, axis=1)[:, -2:]
        found: list[int] = np.argsort(two[:, 1] - two[:, 0], kind="stable")[:most].tolist()
        return found

    def wrongness(self) -> Array:
        """Return the error of each row as :meth:`mistakes` ranks it, 0 if it is correct."""
        if self.kind == "values":
            errors = np.abs(self.predicted - self.true)
            wrong: Array = (errors / (np.sqrt((errors**2).mean(axis=0)) + 1e-300)).max(axis=1)
            return wrong
        if self.kind == "labels" or self.scores is None:
            counted: Array = (self.predicted != self.true).reshape(len(self), -1).sum(axis=1) * 1.0
            return counted
        each = np.arange(len(self))
        margin = self.scores[each, self.predicted] - self.scores[each, self.true]
        # A wrong prediction with equal scores is a mistake, too, and the smallest.
        missed: Array = np.where(self.predicted != self.true, margin + 1e-300, 0.0)
        return missed


def predictions_on(run: Run, data: Any) -> Predictions | None:
    """Return the predictions of `run` for `data`, None if the loss does not define them.

    data: a :class:`~chainrule.tabular.problem.Problem`, whose test part is used; a pair (X, y) as
    `fit` takes it; or, for a run that was trained on a table, a table with its target.
    Raises DataError for data that do not fit the run.
    """
    if run.objective.kind == "several":  # head(run, target) is a run with one of them
        return None
    if isinstance(data, Problem):
        X, y, rows = *data.test, _test_rows(run, data)
        if run.pipeline is not None and run.pipeline.target.counts != data.pipeline.target.counts:
            y = run.pipeline.target.standardize(data.pipeline.target.decode(y))
    elif run.pipeline is not None and not isinstance(data, (tuple, list)):
        X, y, rows = _from_table(run, run.pipeline, Table.from_arrays(data))
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        X, y = run.encode(data[0]), data[1]
        shown = np.asarray(data[0])
        pixels = shown.dtype == np.uint8 and starts_with_scale(run.model)
        shape = _image_in(shown, pixels)
        rows = Rows(shown, np.arange(len(shown)), (), shape, called="index", first=0)
        check_same_length(shown, np.asarray(y))
    else:
        raise DataError(
            "report: data must be a pair (X, y), a Problem from tabular.read_problem or, for a run "
            f"trained on a table, a table with the target column; not {type(data).__name__}."
        )
    outputs = run.outputs(X)
    y = run.objective.target(y, ("n", *outputs.shape[1:]), outputs.dtype)  # type: ignore[arg-type]
    return _of_outputs(run, outputs, y, rows, isinstance(data, Problem))


def _test_rows(run: Run, problem: Problem) -> Rows:
    target = problem.pipeline.target.name
    if problem.raw is None:
        return Rows(problem.test[0], np.arange(len(problem.test[0])),
                    problem.pipeline.feature_names, encoded=True, called="test row")  # fmt: skip
    source, numbers = problem.raw
    if not isinstance(source, Table):
        shape = _image_in(source, True)
        return Rows(source, numbers, problem.pipeline.feature_names, shape, called="test row")
    return Rows(source, numbers, (), _image_of(run, source, target), target)


def _from_table(
    run: Run, pipeline: Pipeline | PixelPipeline, table: Table
) -> tuple[Array, Array, Rows]:
    target = pipeline.target
    X, y = pipeline.transform(table), target.encode_from(table)
    shape = _image_of(run, table, target.name)
    return X, y, Rows(table, np.arange(len(table)), (), shape, target.name)


def _image_of(run: Run, table: Table, target: str) -> tuple[int, ...]:
    """Return the shape of the images in the rows of `table`, () if rows are not images."""
    pixels = [column for column in table if column.name != target]
    if isinstance(run.pipeline, PixelPipeline):
        return _square(len(pixels))
    known = dataset_names().get(str(run.settings.get("data")))
    if known is None or known.image_shape is None or math.prod(known.image_shape) != len(pixels):
        return ()
    return known.image_shape if all(c.kind == "number" for c in pixels) else ()


def _image_in(X: Array, pixels: bool) -> tuple[int, ...]:
    """Return the shape of the images in the rows of X; rows of `pixels` may be flat."""
    shape: tuple[int, ...] = X.shape
    if X.ndim == 3 or (X.ndim == 4 and shape[-1] == 3):
        return shape[1:]
    if X.ndim == 4 and shape[-1] == 1:
        return shape[1:3]
    return _square(X.shape[1]) if X.ndim == 2 and pixels else ()


def _square(pixels: int) -> tuple[int, ...]:
    side = math.isqrt(pixels)
    return (side, side) if side * side == pixels and SIDES[0] <= side <= SIDES[1] else ()


def _of_outputs(run: Run, outputs: Array, y: Array, rows: Rows, unseen: bool) -> Predictions | None:
    aim = run.objective
    if aim.kind in ("classes", "ordered"):
        true = y if y.ndim == 1 else y.argmax(axis=1)
        scores = run.probabilities(outputs) if aim.probabilistic else outputs
        names = tuple(map(str, run.pipeline.classes)) if run.pipeline else ()
        names = names or tuple(str(k) for k in range(scores.shape[1]))
        return Predictions("classes", true.astype(np.intp), run.decide(outputs), names, rows,
                      scores, aim.probabilistic, unseen)  # fmt: skip
    if aim.kind == "labels":
        true, predicted = (y > 0.5).astype(np.intp), (outputs > 0).astype(np.intp)
        if outputs.shape[1:] == (1,):
            yes = aim.probabilities(outputs) if aim.probabilistic else outputs
            scores = np.concatenate([1 - yes if aim.probabilistic else -yes, yes], axis=1)
            names = ("0" if aim.probabilistic or y.min() >= 0 else "-1", "1")
            return Predictions("classes", true[:, 0], predicted[:, 0], names, rows, scores,
                          aim.probabilistic, unseen)  # fmt: skip
        if outputs.ndim != 2:
            return None
        labels = tuple(f"label {k}" for k in range(outputs.shape[1]))
        return Predictions("labels", true, predicted, labels, rows, unseen=unseen)
    if y.shape != aim.decide(outputs).shape or outputs.ndim != 2 or y.dtype.kind != "f":
        return None
    return _values(run, outputs, y, rows, unseen)


def _values(run: Run, outputs: Array, y: Array, rows: Rows, unseen: bool) -> Predictions:
    true, predicted = y.astype(np.float64), run.objective.decide(outputs).astype(np.float64)
    names: tuple[str, ...] = ("y",)
    if isinstance(run.pipeline, Pipeline):
        target = run.pipeline.target
        true, predicted, names = target.decode(true), target.decode(predicted), (target.name,)
    if true.shape[1] > 1:
        names = tuple(f"y{k}" for k in range(true.shape[1]))
    return Predictions("values", true, predicted, names, rows, unseen=unseen)
