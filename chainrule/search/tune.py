"""Search the settings of a training on a table: ``chainrule.tune``.

Read next: :mod:`chainrule.search.tuned`, the result.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from chainrule.core.claim import claimed
from chainrule.core.errors import DataError, DivergedError, OptionError, RunError
from chainrule.core.options import check_whole
from chainrule.core.wording import counted
from chainrule.data.table import Table
from chainrule.run.program import workers
from chainrule.search.space import (
    LAYERS,
    UNITS,
    Choices,
    Range,
    as_settings,
    default_space,
    space_of,
)
from chainrule.search.study import Study
from chainrule.search.trials import Outcome, Report, Worker, train_trial
from chainrule.search.tuned import Tried, Tuned, ranked
from chainrule.tabular.build import check_settings
from chainrule.tabular.problem import Problem, read_problem
from chainrule.tabular.settings import Settings
from chainrule.tabular.table_training import settings_for

__all__ = ["tune"]

Train = Callable[[Settings, Report], Outcome]
MOST_BYTES = 2**28  # of the training rows that the fingerprint is made of


def tune(
    source: Problem | str | os.PathLike[str] | Table | Mapping[str, Any],
    target: str | None = None,
    *,
    trials: int = 100,
    jobs: int = 1,
    space: Mapping[str, Any] | Iterable[str] | None = None,
    file: str | os.PathLike[str] | None = None,
    seed: int = 0,
    threads: int | None = None,
    watch: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Tuned:
    """Try settings for a training on a table, and return the best and all others.

    source, target
        A problem, or what :func:`chainrule.tabular.read_problem` reads.
    trials
        How many trainings there are in all; with a `file`, those of earlier calls count.
    jobs
        How many trainings run at once, each in a process with its share of the `threads` (all
        cores).  With one, they run in this process.
    space
        What is searched: by default the learning rate, the hidden layers, dropout, weight decay,
        the batch size, the optimizer and the activation.  A mapping, or the names alone, limits
        it: a pair of numbers is a range, a list choices, None the default range, as in
        ``{"learning_rate": (1e-4, 0.1), "hidden": [(64,), (64, 64)], "dropout": None}``.
    file
        An SQLite file that keeps each trial when it has ended; the same call goes on from it.
        Without one, trials are kept in memory.
    settings
        Settings that are given and not searched, those of :class:`chainrule.tabular.Settings`.
    watch
        Called after each trial with how many there are, and how many there will be.

    Settings are drawn by Optuna's TPE sampler; a training is pruned when its validation loss is
    above the median of the earlier trainings at the same epoch.  The score of a trial is its
    lowest validation loss; test rows are not looked at.  Many trials fit the validation rows by
    chance, so test the best settings on the test rows: ``fit_table(problem, found.settings)``.

    Ctrl-C ends the search with the trials so far; without any it is raised.  Raises OptionError
    without the package optuna (the extra ``tune``) and for settings that do not exist or fit;
    DataError if there are too few rows to hold some out for validation; RunError for a file that
    can't be used or that holds another search.
    """
    trials, jobs = check_whole("tune: trials", trials), check_whole("tune: jobs", jobs)
    problem = source
    if not isinstance(problem, Problem):
        problem = read_problem(source, target, seed=seed)  # type: ignore[arg-type]
    if problem.validation is None:
        raise DataError(
            f"tune: {problem.name} has too few rows to hold some out for validation, by which "
            "settings could be compared."
        )
    given = {k: v for k, v in settings.items() if v is not None} | {"seed": seed}
    search = _search(problem, given, space)
    place = None if file is None else Path(file).absolute()
    share = max(1, workers(threads) // jobs)
    with ExitStack() as stack:
        if place is not None:
            stack.enter_context(_held(place))
        study = Study(search.space, search.epochs, seed, place, search.identity())
        left = trials - len(study.trials)
        if left > 0:
            run = _Run(study, search, left, trials, watch)
            small = replace(problem, raw=None, test=(problem.test[0][:0], problem.test[1][:0]))
            if jobs == 1:
                run.alone(lambda settings, report: train_trial(small, settings, threads, report))
            else:
                run.together(_workers(stack, small, min(jobs, left)), share)
        return _result(study, search)


@dataclass(frozen=True)
class _Search:
    """What is searched: the space, and the settings that are fixed."""

    problem: Problem
    fixed: dict[str, Any]
    space: dict[str, Range | Choices]
    epochs: int

    def settings(self, params: Mapping[str, Any]) -> Settings:
        """Return the settings with drawn parameters."""
        return settings_for(self.problem, **{**self.fixed, **as_settings(params)})

    def identity(self) -> dict[str, Any]:
        """Return what has to be the same for a search to go on."""
        X, y = self.problem.train
        digest = hashlib.sha256()
        stride = 1 + X.nbytes // MOST_BYTES
        for array in (X[::stride], y[::stride]):
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return {
            "data": self.problem.name, "training data": digest.hexdigest(),
            **{name: str(value) for name, value in self.fixed.items()},
            **{f"range of {name}": str(part) for name, part in self.space.items()},
        }  # fmt: skip


def _search(problem: Problem, given: dict[str, Any], asked: Any) -> _Search:
    rows = problem.rows["train"]
    if asked is None:
        space = default_space(rows, list(given))
    else:
        asked = asked if isinstance(asked, Mapping) else dict.fromkeys(asked)
        space = space_of(asked, rows)
        if twice := [name for name in asked if name in given]:
            raise OptionError(f"tune: {twice[0]} is given and searched; leave one of them out.")
    fixed = dict(given)
    if asked is None:  # for the methods of the space, which have constant rates by default
        fixed.setdefault("schedule", "cosine")
    # All trainings have the same number of epochs, so that they can be compared epoch by epoch.
    plain = {"hidden": (64,)} if {LAYERS, UNITS, "hidden"} & set(space) else {}
    base = settings_for(problem, **{**fixed, **plain})
    fixed.setdefault("epochs", base.epochs)
    fixed.setdefault("patience", base.patience or 0)
    search = _Search(problem, fixed, space, base.epochs)
    ways = {search.settings(params).cross_fit for params in _corners(space)}
    if "members" in space or len(ways) > 1:  # losses are compared on the same validation rows
        fixed.setdefault("cross_fit", 1)
    several = bool(problem.pipeline.target.parts)
    for params in _corners(space):  # an unknown name is told before any training
        check_settings(search.settings(params), None if several else problem.pipeline.task)
    return search


def _corners(space: Mapping[str, Range | Choices]) -> Iterable[dict[str, Any]]:
    """Yield parameters in which every choice, and both ends of every range, occur."""
    ends: dict[str, list[Any]] = {}
    for name, part in space.items():
        if isinstance(part, Choices):
            ends[name] = list(part.values)
        else:
            ends[name] = [int(v) if part.whole else v for v in (part.low, part.high)]
    for i in range(max(map(len, ends.values()))):
        yield {name: values[i % len(values)] for name, values in ends.items()}


@dataclass
class _Run:
    """The trials of one call, trained here or by workers; ends early at Ctrl-C."""

    study: Study
    search: _Search
    left: int
    total: int
    watch: Callable[[int, int], None] | None

    def trial(self, train: Train) -> None:
        """Train with the settings that the study asks for, and tell it how that went."""
        trial, params = self.study.ask()
        settings = self.search.settings(params)
        outcome = train(settings, lambda epoch, loss: self.study.hopeless(trial, epoch, loss))
        about = {"epochs": outcome.epochs, "seconds": outcome.seconds, "scores": outcome.scores,
                 "loss": outcome.loss if math.isfinite(outcome.loss) else None}  # fmt: skip
        self.study.tell(trial, outcome.loss, outcome.pruned, about)
        if self.watch is not None:
            self.watch(len(self.study.trials), self.total)

    def alone(self, train: Train) -> None:
        """Train one after another."""
        try:
            for _ in range(self.left):
                self.trial(train)
        except KeyboardInterrupt:
            if not self.study.trials:
                raise

    def together(self, hands: list[Worker], threads: int) -> None:
        """Train in the processes of all workers, each with some `threads`."""
        lock = Lock()

        def work(hand: Worker) -> None:
            while True:
                with lock:
                    if not self.left:
                        return
                    self.left -= 1
                self.trial(lambda settings, report: hand.train(settings, threads, report))

        with ThreadPoolExecutor(len(hands)) as pool:
            futures = [pool.submit(work, hand) for hand in hands]
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException as error:
                self.left = 0
                for hand in hands:
                    hand.close()
                if not isinstance(error, KeyboardInterrupt) or not self.study.trials:
                    raise


def _workers(stack: ExitStack, problem: Problem, count: int) -> list[Worker]:
    """Start workers, which end with the `stack`."""
    if isinstance(problem.train[0], np.memmap):
        raise OptionError(
            "tune: jobs need the rows in memory, and those of this table are on disk; leave jobs "
            "out."
        )
    hands = []
    for _ in range(count):
        hands.append(Worker(problem))
        stack.callback(hands[-1].close)
    return hands


def _held(file: Path) -> AbstractContextManager[None]:
    """Hold the file of a study, whose folder is made if it is not there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"tune: can't make the folder of {str(file)!r}: {error}.") from error
    refusal = f"another search is under way in {str(file)!r}; give another file."
    return claimed(file.parent / f".{file.name}.lock", refusal)


def _result(study: Study, search: _Search) -> Tuned:
    found = tuple(
        Tried(
            number, study.values(t.params), about["loss"], about["epochs"],
            t.state.name == "PRUNED", about["seconds"], about["scores"],
        )
        for number, t in enumerate(study.trials)
        if "loss" in (about := t.user_attrs)  # and not added by something else
    )  # fmt: skip
    if all(t.loss is None or t.pruned for t in found):
        raise DivergedError(
            f"tune: none of {counted(len(found), 'training')} ended with a finite validation loss; "
            "limit the space to lower learning rates."
        )
    best = search.settings(ranked(found)[0].params)
    return Tuned(search.problem.name, best, found, study.importances())
