"""Score settings on every row of a table: train several times, each on all but one fold of rows.

Read next: :func:`chainrule.tabular.problem.fold_problems`, which divides the rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.tabular.problem import Problem
from chainrule.tabular.settings import Settings
from chainrule.tabular.table_training import fit_table

__all__ = ["cross_validate"]


def cross_validate(
    problems: Sequence[Problem],
    choose: Callable[[Problem], Settings],
    *,
    threads: int | None = None,
    engine: str | None = None,
    devices: int | str | None = None,
    shard: str | None = None,
    precision: str | None = None,
    threshold: str | float | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train on each of `problems`, with the settings that `choose` returns, and return the scores.

    The result has ``folds``, their number, and ``scores``: for each score of
    ``run.scores["test"]`` the ``values`` of the folds, their ``mean``, and their standard
    ``deviation`` (None if a fold has no such score).  The deviation tells how much a score varies
    with the rows to train on and to test on; the folds share training rows, so it is no standard
    error of the mean.  `watch` is called with the number of folds done, and of all.
    Raises KeyboardInterrupt, which names the fold, if a training is interrupted, and what
    :func:`~chainrule.tabular.table_training.fit_table` raises.

    >>> from chainrule.tabular.problem import fold_problems
    >>> from chainrule.tabular.settings import choose_settings
    >>> problems = fold_problems("iris", folds=3)
    >>> found = cross_validate(problems, lambda p: choose_settings(85, hidden=[8]))
    >>> found["folds"], len(found["scores"]["accuracy"]["values"])
    (3, 3)
    """
    tested: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        # A fold keeps no weights, as this warning says; KeyboardInterrupt tells of it.
        warnings.filterwarnings("ignore", "interrupted in epoch")
        for k, problem in enumerate(problems, start=1):
            run = fit_table(
                problem, choose(problem), threads=threads, engine=engine, devices=devices,
                shard=shard, precision=precision, progress=False, threshold=threshold,
            )  # fmt: skip
            if run.stopped == "interrupted":
                raise KeyboardInterrupt(f"interrupted in fold {k} of {len(problems)}")
            tested.append(run.scores["test"])
            if watch is not None:
                watch(k, len(problems))
    return {
        "folds": len(tested),
        "scores": {name: _told([one[name] for one in tested]) for name in tested[0]},
    }


def _told(values: list[Any]) -> dict[str, Any]:
    if None in values:
        return {"values": values, "mean": None, "deviation": None}
    array = np.array(values, np.float64)
    return {
        "values": values,
        "mean": float(array.mean()),
        "deviation": float(array.std(ddof=1)),
    }
