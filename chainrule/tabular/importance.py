"""What the predictions for a table depend on: which columns, and how.

The importance of a column is by how much the error on test rows rises when its cells are dealt to
other rows (Breiman, "Random forests", 2001; for any model Fisher, Rudin and Dominici, "All models
are wrong, but many are useful", 2019).  The dependence on a column is the mean prediction over test
rows that are all given the same cell (Friedman, "Greedy function approximation", 2001).  Both tell
of the network, not of the world: of two columns that say the same, one may look unimportant.

Read next: :mod:`chainrule.insight.report.dependence`, which draws both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.data.pipeline import Pipeline
from chainrule.data.table import Column, Table
from chainrule.nn.layer import parameters
from chainrule.tabular.problem import Problem
from chainrule.tabular.scores import log_losses
from chainrule.train.run import Run

__all__ = ["Dependence", "Importance", "importance", "partial_dependence"]

Array = NDArray[Any]
REPEATS = 5  # shuffles of each column
MOST_ROWS = 2_000  # test rows whose cells are shuffled
FEWEST_ROWS = 50
WORK = 4e9  # multiplications in all, about half a second on two cores
MOST_COLUMNS = 40  # shuffled several times; of more, those that matter in one shuffle of few rows
GRID = 20  # numbers at which a dependence is computed
MOST_WORDS = 12
SAMPLE = 200  # test rows over which a dependence is the mean
MOST_CURVES = 4  # classes of a dependence


@dataclass(frozen=True)
class Importance:
    """The rise of the `error` on `rows` test rows when a column is shuffled, largest first.

    `measure` is "log loss", or "root mean square error" in the units of the target.  `means` and
    `deviations` are over `repeats` shuffles, by column.  `left_out` columns are less important than
    these by one shuffle, or do not fit the time.
    """

    measure: str
    error: float
    means: Mapping[str, float]
    deviations: Mapping[str, float]
    rows: int
    repeats: int
    left_out: int = 0


@dataclass(frozen=True)
class Dependence:
    """The mean prediction at each cell of a column: `curves` (one for each class, or one) by name.

    `places` are numbers (rows of a grid, the years of dates), or words.
    """

    column: str
    places: Sequence[float] | Sequence[str]
    curves: Mapping[str, Array]


@dataclass(frozen=True)
class _Rows:
    """Test rows as the encoders of the pipeline give them, and the features of each column."""

    run: Run
    pipeline: Pipeline
    table: Table
    X: Array
    y: Array
    groups: Mapping[str, slice]

    def errors(self, X: Array, y: Array) -> Array:
        """Return the loss of each row: the log loss, or the squared error in the target's units."""
        outputs = self.outputs(X)
        target = self.pipeline.target
        if target.task == "classification":
            return log_losses(y, self.run.probabilities(outputs))
        error: Array = (target.decode(self.run.decide(outputs)) - target.decode(y)) ** 2
        return error

    def outputs(self, X: Array) -> Array:
        return self.run.outputs(self.pipeline.project(X))


def importance(
    run: Run, problem: Problem, *, repeats: int = REPEATS, seed: int = 0
) -> Importance | None:
    """Return the permutation importance of the columns of `problem` on its test rows.

    All features that a column became are shuffled together.  At most 2,000 rows are used, and
    fewer for large tables and networks, so that it takes about half a second.
    None for a problem without a table in memory, of one test row, or of another kind of loss.
    """
    rows = _test_rows(run, problem, MOST_ROWS)
    if rows is None:
        return None
    base = rows.errors(rows.X, rows.y)
    if not np.isfinite(base).all():
        return None
    root = rows.pipeline.target.task == "regression"
    weights = sum(p.value.size for p in parameters(run.model).values())
    cost = weights + 10 * rows.X.shape[1]  # of a row
    names = list(rows.groups)
    if len(names) > MOST_COLUMNS:
        few = _first(rows, max(FEWEST_ROWS, int(WORK / 4 / cost / len(names))))
        risen = _shuffled(few, names, 1, seed, root)[0].mean(axis=1)
        names = [names[i] for i in np.argsort(-risen, kind="stable")[:MOST_COLUMNS]]
    used = _first(rows, max(FEWEST_ROWS, int(WORK / cost / len(names) / repeats)))
    found, error = _shuffled(used, names, repeats, seed, root)
    order = np.argsort(-found.mean(axis=1), kind="stable").tolist()
    return Importance(
        "root mean square error" if root else "log loss",
        error,
        {names[i]: float(found[i].mean()) for i in order},
        {names[i]: float(found[i].std(ddof=1)) if repeats > 1 else 0.0 for i in order},
        len(used.X),
        repeats,
        len(rows.groups) - len(names),
    )


def _shuffled(
    rows: _Rows, names: Sequence[str], repeats: int, seed: int, root: bool
) -> tuple[Array, float]:
    """Return the rise of the error for each column and shuffle, and the error without any."""
    count = len(rows.X)
    copies, answers = np.tile(rows.X, (repeats, 1)), np.tile(rows.y, repeats)

    def total(errors: Array) -> Array:
        mean: Array = errors.reshape(repeats, count).mean(axis=1)
        return np.sqrt(mean) if root else mean

    error = float(total(rows.errors(copies, answers))[0])
    found = np.empty((len(names), repeats))
    for i, name in enumerate(names):
        place = rows.groups[name]
        draw = np.random.Generator(np.random.Philox(key=[seed, i]))
        mixed = np.concatenate([draw.permutation(count) for _ in range(repeats)])
        copies[:, place] = rows.X[mixed, place]
        found[i] = total(rows.errors(copies, answers)) - error
        copies[:, place] = np.tile(rows.X[:, place], (repeats, 1))
    return found, error


def partial_dependence(run: Run, problem: Problem, names: Sequence[str]) -> list[Dependence]:
    """Return the dependence of the predictions on each of the columns `names`, for test rows.

    The cells are those of test rows: 20 evenly spaced quantiles of numbers and dates, and the 12
    most frequent words.  The mean is over at most 200 rows.  Predictions are the probabilities of
    the second of two classes, or of the four most frequent ones, or values.
    """
    rows = _test_rows(run, problem, MOST_ROWS)
    if rows is None:
        return []
    found = (_dependence(rows, name) for name in names)
    return [one for one in found if one is not None]


def _dependence(rows: _Rows, name: str) -> Dependence | None:
    column = rows.table[name]
    encoder = next(e for e in rows.pipeline.encoders if e.name == name)
    picked, places = _cells(encoder, column)
    if len(picked) < 2:
        return None
    place, some = rows.groups[name], _first(rows, SAMPLE).X
    X = np.repeat(some[None], len(picked), axis=0)
    X[:, :, place] = rows.X[picked, None, place]
    outputs = rows.outputs(X.reshape(-1, X.shape[-1]))
    target = rows.pipeline.target
    if target.task == "regression":
        values = target.decode(rows.run.decide(outputs)).reshape(len(picked), -1)
        return Dependence(name, places, {target.name: values.mean(axis=1)})
    shares = rows.run.probabilities(outputs).reshape(len(picked), len(some), -1).mean(axis=1)
    classes = np.argsort(-np.bincount(rows.y, minlength=shares.shape[1]), kind="stable")
    chosen = [1] if shares.shape[1] == 2 else classes[:MOST_CURVES].tolist()
    return Dependence(name, places, {str(target.classes[k]): shares[:, k] for k in chosen})


def _cells(encoder: Any, column: Column) -> tuple[Array, list[Any]]:
    """Return rows of `column` with the cells of a dependence, and these as numbers or words."""
    there = np.flatnonzero(~column.missing)
    if hasattr(encoder, "read") and not encoder.levels:
        values, missing, _ = encoder.read(column, "")
        there = np.flatnonzero(~missing)
        last = values[there, -1]
        if encoder.parts:  # the last is of days since 1970
            last = 1970 + last / 365.2425
        order = np.argsort(last, kind="stable")
        _, first = np.unique(last[order], return_index=True)
        even = np.unique(np.linspace(0, len(order) - 1, GRID).round().astype(np.intp))
        if len(first) <= GRID:
            even = first
        picked = there[order[even]]
        return picked, last[order[even]].tolist()
    words = column.as_text()[there].astype(str)
    said, first, counts = np.unique(words, return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_WORDS]
    if encoder.levels:  # in their own order
        known = {word: i for i, word in enumerate(encoder.levels)}
        order = np.array(sorted(order, key=lambda i: known.get(str(said[i]), len(known))))
    return there[first[order]], said[order].tolist()


def _test_rows(run: Run, problem: Problem, most: int) -> _Rows | None:
    """Return at most `most` test rows, drawn at random, None if they are not in memory."""
    pipeline = run.pipeline
    if not isinstance(pipeline, Pipeline) or problem.raw is None:
        return None
    table, numbers = problem.raw
    probable = run.objective.probabilistic or pipeline.task == "regression"
    if not isinstance(table, Table) or len(numbers) < 2 or not probable or pipeline.target.parts:
        return None
    drawn = np.random.Generator(np.random.Philox(0)).permutation(len(numbers))[:most]
    numbers = numbers[drawn]
    plain = replace(pipeline, projection=None)
    groups, start = {}, 0
    for encoder in pipeline.encoders:
        stop = start + len(encoder.feature_names)
        groups[encoder.name] = slice(start, stop)
        start = stop
    shown = Table(tuple(table[name].take(numbers) for name in groups), table.source)
    X = plain.transform(table, numbers)
    return _Rows(run, pipeline, shown, X, problem.test[1][drawn], groups)


def _first(rows: _Rows, count: int) -> _Rows:
    return replace(rows, X=rows.X[:count], y=rows.y[:count])
