"""One training of a search, here or in a process of its own.

Read next: :mod:`chainrule.search.worker`, the process.
"""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from chainrule.core.errors import DivergedError, RunError
from chainrule.tabular.cross_fit import crossed
from chainrule.tabular.problem import Problem
from chainrule.tabular.settings import Settings
from chainrule.tabular.suit_target import suited
from chainrule.tabular.table_training import train_table
from chainrule.train.callbacks import Moment

__all__ = ["Outcome", "Worker", "train_trial"]

Report = Callable[[int, float], bool]


@dataclass(frozen=True)
class Outcome:
    """How a training ended: its lowest validation loss (infinite if it diverged), and its cost."""

    loss: float
    epochs: int
    pruned: bool
    seconds: float  # of processor time
    scores: dict[str, float]


class Reporter:
    """A callback that reports each validation loss, and stops where the answer asks for it."""

    def __init__(self, report: Report):
        self.report, self.pruned = report, False
        self.best, self.epochs, self.scores = math.inf, 0, dict[str, float]()

    def on_epoch(self, moment: Moment) -> bool:
        loss = float(moment.metrics["val_loss"])
        self.epochs = moment.epoch
        if loss < self.best:
            self.best = loss
            self.scores = {k: float(v) for k, v in moment.metrics.items() if k.startswith("val_")}
        self.pruned = self.report(moment.epoch, loss)
        return self.pruned


def train_trial(
    problem: Problem, settings: Settings, threads: int | None, report: Report
) -> Outcome:
    """Train on `problem`, and return the outcome; `report` is told the loss of each epoch.

    It returns True to prune the training.
    """
    began = time.process_time()
    watching = Reporter(report)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unlucky settings, which are part of a search
            train_table(
                crossed(suited(problem, settings), settings), settings, threads=threads,
                progress=False, watch=False, callbacks=[watching],
            )  # fmt: skip
        loss = watching.best
    except DivergedError:
        loss = math.inf
    seconds = time.process_time() - began
    return Outcome(loss, watching.epochs, watching.pruned, seconds, watching.scores)


class Worker:
    """A process that trains one trial after another on `problem`."""

    def __init__(self, problem: Problem):
        found = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chainrule.search.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": found},
            start_new_session=True,  # Ctrl-C is for the parent, which ends the workers
        )  # fmt: skip
        self._send(problem)

    def train(self, settings: Settings, threads: int | None, report: Report) -> Outcome:
        """Train in the process, as :func:`train_trial` does.

        Raises RunError if the process has ended, and what the training raises.
        """
        self._send((settings, threads))
        while True:
            answer = self._receive()
            if isinstance(answer, tuple):
                self._send(report(*answer))
            elif isinstance(answer, Outcome):
                return answer
            else:
                raise answer

    def close(self) -> None:
        """End the process, at once."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):  # of what was not read any more
                pipe.close()

    def _send(self, what: Any) -> None:
        assert self.process.stdin is not None
        try:
            pickle.dump(what, self.process.stdin)
            self.process.stdin.flush()
        except OSError as error:
            raise self._gone() from error

    def _receive(self) -> Any:
        assert self.process.stdout is not None
        try:
            return pickle.load(self.process.stdout)
        except EOFError as error:
            raise self._gone() from error

    def _gone(self) -> RunError:
        return RunError(f"tune: a worker has ended with status {self.process.wait()}.")
