"""Short trainings beside the one that ended: what would have become of it with one thing changed.

A fork starts from first weights of its own, and is judged by rows that it has not seen.

Read next: :mod:`chainrule.doctor.rules.experiments`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError
from chainrule.core.graph import Graph
from chainrule.doctor.case import Case
from chainrule.doctor.cure import cured
from chainrule.doctor.survey import Survey
from chainrule.nn.layer import Layer, parameters
from chainrule.optim.full_batch import FullBatch
from chainrule.run.program import prepare
from chainrule.run.reference import Interpreter
from chainrule.step.objective import Objective
from chainrule.step.part import Part
from chainrule.step.record import data_input, forward, record_step, record_totals
from chainrule.transform.mode import for_predicting

__all__ = ["Bench", "Fork"]

Array = np.ndarray[Any, Any]
MOST_ROWS = 20_000  # that a fork is trained on
JUDGED = 2_000  # rows that it is judged by
FEWEST = 50  # rows of which some are held out; fewer train and judge at once
HELD_OUT = 0.2
LEAST, MOST = 3.0, 5.0  # seconds for all forks of a training; between, half of its own time
AT_ONCE = 50  # steps between two looks at the clock, at most: no more than there is time for


class Bench:
    """The rows that forks of a training are trained on and judged by, and the time for them.

    `judge` returns the loss of a model on the rows held out.
    """

    def __init__(self, survey: Survey, seconds: float):
        self.survey = survey
        self.deadline = time.perf_counter() + min(MOST, max(LEAST, seconds / 2))
        self.case = _divided(survey.case)
        self.own = Survey.of(self.case)

    @classmethod
    def of(cls, survey: Survey, seconds: float) -> Bench | None:
        """Return the bench of a training that took so many `seconds`; None where it can't be."""
        case = survey.case
        weighted = any(
            case.more.get(name) is not None for name in ("sample_weight", "class_weight")
        )
        if case.model is survey.model or weighted or isinstance(survey.optimizer, FullBatch):
            return None
        if any(isinstance(part, np.memmap) for part in case.data) or survey.aim.function is None:
            return None
        try:
            return cls(survey, seconds)
        except ChainruleError:
            return None

    @property
    def ended(self) -> float:
        """The loss of the training that ended on the rows held out."""
        return loss_on(self.survey.model, self.own)

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self.deadline - time.perf_counter()

    def fork(
        self, change: Mapping[str, Any], seed: int = 0, engine: str = "reference"
    ) -> Fork | None:
        """Return the training with a `change` and another seed; None where it can't be made."""
        try:
            case = replace(self.case, seed=self.case.seed + seed)
            return Fork(cured(case, change) if change else case, engine)
        except ChainruleError:
            return None


def _divided(case: Case) -> Case:
    """Return `case` on at most `MOST_ROWS` rows, with validation rows beside them."""
    X, y = np.asarray(case.data[0]), np.asarray(case.data[1])
    order = np.random.default_rng(case.seed).permutation(len(X))[:MOST_ROWS]
    if isinstance(case.validation, tuple):
        return replace(case, data=(X[order], y[order]), validation=case.validation[:2])
    if len(X) < FEWEST:
        return replace(case, validation=(X, y))
    held, kept = np.split(order, [round(HELD_OUT * len(order))])
    return replace(case, data=(X[kept], y[kept]), validation=(X[held], y[held]))


class Fork:
    """A training of `case` from its first weights, taken a few steps at a time.

    Compiling a changed network would take longer than these few steps do, so the interpreter is
    the usual `engine`.
    """

    def __init__(self, case: Case, engine: str = "reference"):
        self.survey = Survey.of(case)
        part = self.survey.train
        step = record_step(
            self.survey.model, self.survey.aim, self.survey.optimizer, (), part,
            regularizer=case.regularizer, seed=case.seed,
        )  # fmt: skip
        self._program = prepare(step.graph, step.state, part.arrays, self.survey.batch_size, engine)
        for path, parameter in parameters(self.survey.model).items():
            parameter.watch(self._program.state[step.shown.get(path, f"parameter/{path}")])
        self._epoch, self._order = 0, np.zeros(0, np.intp)
        self.taken, self.finite = 0, True

    def advance(self, seconds: float) -> None:
        """Take the steps of the case, as far as the `seconds` allow."""
        batch, began = self.survey.batch_size, time.perf_counter()
        spent, taken, at_once = 0.0, 0, 1
        while self.taken < self.survey.steps and self.finite and spent < seconds:
            if not len(self._order):
                self._epoch += 1
                self._order = self.survey.train.order(self.survey.case.seed, self._epoch)
            now, self._order = np.split(self._order, [at_once * batch])
            self.finite = math.isfinite(self._program.run(now, batch)["loss"])
            self.taken += -(-len(now) // batch)
            taken += -(-len(now) // batch)
            spent = time.perf_counter() - began
            at_once = max(1, min(AT_ONCE, int((seconds - spent) * taken / spent)))

    @property
    def loss(self) -> float:
        """Its present loss on the rows held out; infinite where it diverged."""
        found = loss_on(self.survey.model, self.survey) if self.finite else math.inf
        return found if math.isfinite(found) else math.inf

    @property
    def learned(self) -> float:
        """The share of the best constant's loss that it has overcome on its training rows."""
        guess = self.survey.guess_loss
        if not self.finite or guess is None or not guess > 0:
            return 0.0
        return 1 - _loss(self.survey.model, self.survey, self.survey.train) / guess


def loss_on(model: Layer, survey: Survey) -> float:
    """Return the mean loss of a `model` on the held-out rows of `survey`."""
    assert survey.held_out is not None
    return _loss(model, survey, survey.held_out)


def _loss(model: Layer, survey: Survey, part: Part) -> float:
    some, aim = part.spread_rows(JUDGED), survey.aim
    x, y = part.x[some], part.y[some]
    return float(_judging(model, aim, x, y)({"x": x, "y": y})["loss"])


def _judging(model: Layer, aim: Objective, x: Array, y: Array) -> Interpreter:
    rows, targets = data_input("x", x), data_input("y", y)
    loss, _ = record_totals(aim, (), forward(model, rows), targets)
    graph = Graph({"loss": loss.node}, {"x": rows.node, "y": targets.node})
    return Interpreter(for_predicting(graph))
