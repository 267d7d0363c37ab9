"""One of several targets that a network predicts, as a run and a problem of its own.

Everything that works for a run of one target then works for each of several: scores, predictions,
explanations, reports.

Read next: :mod:`chainrule.tabular.table_training`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.data.target import Target
from chainrule.nn.layer import Sequential
from chainrule.nn.several import Columns
from chainrule.tabular.problem import Pair, Problem
from chainrule.train.run import Run

__all__ = ["head", "problem_of"]


def head(run: Run, target: str) -> Run:
    """Return a run that predicts one of the targets of `run`, with the same weights.

    `run` was trained on a table with several targets; of one with a single target, it is returned.
    Raises OptionError for a target that it does not predict.

    >>> from chainrule.tabular.problem import read_problem
    >>> from chainrule.tabular.settings import choose_settings
    >>> from chainrule.tabular.table_training import fit_table
    >>> iris = read_problem("iris", "target,petal_length_cm")
    >>> run = fit_table(iris, choose_settings(102, epochs=2), progress=False)
    >>> head(run, "petal_length_cm").scores["test"].keys() >= {"r2", "mae"}
    True
    """
    pipeline = run.pipeline
    names = () if pipeline is None else pipeline.target.names
    if pipeline is None or target not in names:
        raise OptionError(f"the run does not predict {target!r}. {did_you_mean(target, names)}")
    if not pipeline.target.parts:
        return run
    place = names.index(target)
    aim, columns = run.objective.parts[place]
    return Run(
        model=Sequential([run.model, Columns(columns.start, columns.stop)]),
        objective=aim,
        metrics=(),
        features=run.features,
        feature_dtype=run.feature_dtype,
        flat_target=True,
        feature_names=run.feature_names,
        settings=run.settings,
        history=run.history,
        stopped=run.stopped,
        best_epoch=run.best_epoch,
        scores=run.scores.get("targets", {}).get(target, {}),
        pipeline=replace(pipeline, target=pipeline.target.parts[place]),
        engine=run.engine,
    )


def problem_of(problem: Problem, place: int) -> Problem:
    """Return `problem` with the target at `place` of several alone."""
    part: Target = problem.pipeline.target.parts[place]

    def own(pair: Pair) -> Pair:
        column = pair[1][:, place]
        return pair[0], column.astype(np.int64) if part.classes else column

    return replace(
        problem,
        pipeline=replace(problem.pipeline, target=part),
        train=own(problem.train),
        validation=problem.validation and own(problem.validation),
        test=own(problem.test),
    )
