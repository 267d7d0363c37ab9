"""Train those of many trainings that share a compiled step, on all cores.

Read next: :mod:`chainrule.run.llvm.training_loop`, the loop in machine code.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from chainrule.nn.layer import parameters
from chainrule.run.program import Trainer, prepare, trainer
from chainrule.step.part import SHUFFLES, Part
from chainrule.step.record import Step, model_dtype, record_step
from chainrule.step.update import choose_trained
from chainrule.train.many_runs import Result, Runs
from chainrule.train.many_trainings import ManyTrainings, Training
from chainrule.train.progress import Progress
from chainrule.train.variations import Lifted

__all__ = ["train_all"]

Array = np.ndarray[Any, Any]
CLOCK = ("epoch", "seconds", "samples_per_second")  # entries of a history that are no scores


def train_all(many: ManyTrainings, threads: int, progress: bool) -> Runs:
    """Train all of them, up to `threads` at a time, and return the runs."""
    started = time.perf_counter()
    groups: dict[Hashable, list[int]] = {}
    for i, training in enumerate(many.trainings):
        groups.setdefault(training.shape(many.alike), []).append(i)
    count = len(many.trainings)
    results: dict[int, Result] = {}
    weights = {path: np.empty((count, *p.value.shape), p.dtype) for path, p in many.found.items()}
    rows = many.asked.epochs * len(many.whole)
    with Progress(progress, count, rows) as bar:

        def note(i: int, result: Result) -> None:
            results[i] = result
            bar.advance(len(results), rows)

        for members in groups.values():
            Group(many, members).train(threads, weights, note)
    return Runs(
        [one.variation.given for one in many.trainings],
        many.asked.epochs,
        time.perf_counter() - started,
        [results[i] for i in range(count)],
        weights,
        many.run,
        frozenset(m.name for m in many.asked.metrics if m.higher_is_better),
    )


@dataclass
class Group:
    """Trainings that share a step: it is compiled, and each thread takes the next training."""

    many: ManyTrainings
    members: list[int]
    left: list[int] = field(init=False)
    lock: Any = field(init=False, default_factory=Lock)

    def train(
        self, threads: int, weights: Mapping[str, Array], note: Callable[[int, Result], None]
    ) -> None:
        """Train all members; `weights` are filled in, and `note` is called after each."""
        many, asked = self.many, self.many.asked
        first = many.trainings[self.members[0]]
        self.left = self.members[::-1]
        self.lifted = Lifted(model_dtype(many.model) if many.alike else None)
        self.step: Step = record_step(
            many.model, asked.aim, first.method, asked.metrics, first.train,
            regularizer=self.lifted.penalty(first.variation.regularizer), seed=self.lifted.keys,
            carried=self.lifted.leaves,
        )  # fmt: skip
        for i in self.members:
            many.trainings[i].rate = self.step.rate
        self.trained = choose_trained(first.method, many.found)
        self.sums = [name for name in self.step.graph.outputs if name not in self.step.state]
        self.shown = {path: self.step.shown.get(path, f"parameter/{path}") for path in many.found}
        program = prepare(
            self.step.graph, self.step.state, first.train.arrays, first.batch_size, asked.engine
        )
        template = many.template()
        scoring = None if first.held is None else template.function(first.held.arrays)
        parts = [many.trainings[i].held for i in self.members]
        most = max(len(part) if part is not None else 0 for part in parts)
        names = {many.found[path].node: name for path, name in self.shown.items()}
        count = min(threads, len(self.members))
        made = [trainer(program, scoring, names, most) for _ in range(count)]
        engines = [one for one in made if one is not None]
        if not engines:  # there is no machine code, or not for all of a step
            for i in self.members:
                run, result = many.fit_alone(i)
                for path, p in parameters(run.model).items():
                    weights[path][i] = p.value
                note(i, result)
            return

        def work(engine: Trainer) -> None:
            while (i := self._next()) is not None:
                result = self._one(many.trainings[i], engine, scoring is not None and scoring.whole)
                for path, name in self.shown.items():
                    weights[path][i] = engine.state[name]
                with self.lock:
                    note(i, result)

        if len(engines) == 1:
            work(engines[0])
            return
        with ThreadPoolExecutor(len(engines), "chainrule") as pool:
            try:
                for done in [pool.submit(work, engine) for engine in engines]:
                    done.result()
            finally:  # if one failed, or was interrupted, the others end soon
                with self.lock:
                    self.left.clear()
                for engine in engines:
                    engine.stopped = True

    def _next(self) -> int | None:
        with self.lock:
            return self.left.pop() if self.left else None

    def _one(self, training: Training, engine: Trainer, whole: bool) -> Result:
        """Return the result of `training`, whose weights are in the state of `engine` then."""
        asked = self.many.asked
        train, held, seed = training.train, training.held, training.variation.seed
        with self.lock:
            state = self._first(training)
        for name, value in state.items():
            engine.state[name][...] = value
        rows = np.arange(len(train)) if train.rows is None else train.rows
        scored = None
        if held is not None:
            chosen = np.arange(len(held)) if held.rows is None else held.rows
            block = len(held) if whole or self.many.divider.fraction is None else held.rows_at_once
            scored = held.arrays, chosen, block
        started = time.perf_counter()
        done, totals, scores = engine.train(
            train.arrays, rows, training.batch_size, asked.epochs, seed, SHUFFLES,
            lambda epoch: train.order(seed, epoch), scored,
        )  # fmt: skip
        seconds = time.perf_counter() - started

        def columns() -> dict[str, Array]:
            found = self._columns("", totals, train, done)
            if held is not None and scores is not None:
                found |= self._columns("val_", scores, held, done)
            return found

        return Result(columns, seconds, done < asked.epochs)

    def _first(self, training: Training) -> dict[str, Any]:
        """Return the state that `training` starts from, by name."""
        many = self.many
        for path, value in many.start(training.variation.seed).items():
            many.found[path].value = value
        state: dict[str, Any] = {f"parameter/{path}": p.value for path, p in many.found.items()}
        for path, p in self.trained.items():
            state |= {f"{name}/{path}": v for name, v in training.method.slots_of(p).items()}
        state |= {f"hyper/{name}": value for name, value in training.method.hyper().items()}
        return state | self.lifted.values(training.variation) | {"step": 0}

    def _columns(self, prefix: str, totals: Array, part: Part, done: int) -> dict[str, Array]:
        """Return the entries of a history that `totals` of epochs stand for; NaN after `done`."""
        totals[done:] = math.nan
        sums = dict(zip(self.sums, totals.T, strict=False))
        rows = len(part)
        found = {f"{prefix}loss": sums["loss"] / part.total_weight}
        if "penalty" in sums and not prefix:
            found["penalty"] = sums["penalty"] / rows
        for m in self.many.asked.metrics:
            means = (sums[m.name] / rows).tolist()
            found[f"{prefix}{m.name}"] = np.array([m.finish(mean, part) for mean in means])
        return found
