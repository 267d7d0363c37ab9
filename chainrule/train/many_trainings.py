"""The trainings of :func:`chainrule.fit_many`, prepared, and each of them as a run.

Read next: :mod:`chainrule.train.many_group`, which trains those that share their code.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from chainrule.core.errors import DivergedError, OptionError
from chainrule.core.graph import Graph
from chainrule.nn.layer import Layer, initialize, parameters
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.optimizer import Optimizer
from chainrule.run.program import Engine
from chainrule.run.reference import Interpreter
from chainrule.step.magnitudes import warn_of_distance
from chainrule.step.metrics import Metric
from chainrule.step.objective import Objective
from chainrule.step.part import Part
from chainrule.step.weighting import ClassWeight
from chainrule.train.fit import fit
from chainrule.train.many_rows import Divider, take_rows
from chainrule.train.many_runs import Result, Runs
from chainrule.train.rates import plateaus
from chainrule.train.run import Run
from chainrule.train.variations import Variation, read_variations, shape_of

__all__ = ["Asked", "ManyTrainings", "Training"]

Array = np.ndarray[Any, Any]
CLOCK = ("epoch", "seconds", "samples_per_second")  # entries of a history that are no scores


@dataclass
class Asked:
    """The arguments of :func:`fit_many` that all trainings share, and those of fit."""

    model: Layer
    data: tuple[Any, Any]
    aim: Objective
    metrics: tuple[Metric, ...]
    epochs: int
    batch_size: int
    validation: Any
    sample_weight: Any
    class_weight: ClassWeight | None
    engine: Engine
    options: dict[str, Any]
    feature_names: tuple[str, ...] | None = None


@dataclass
class Training:
    """One training: its settings, rows, and the optimizer planned for its number of steps."""

    variation: Variation
    train: Part
    held: Part | None
    batch_size: int
    method: Optimizer
    rate: Graph | None = None  # computes the learning rate from the state, once it is recorded

    def shape(self, alike: bool) -> Hashable:
        """Return what decides the code of its step; `alike` are parameters of one dtype."""
        kinds = (part and part.weight is not None for part in (self.train, self.held))
        return (
            shape_of(self.method), shape_of(self.variation.regularizer), self.batch_size, *kinds,
            alike or repr(self.variation.regularizer),
        )  # fmt: skip


class Generator:
    """One random generator set to many streams, in a quarter of the time of making them."""

    def __init__(self) -> None:
        self.bits = np.random.Philox(key=[0, 0])
        self.generator = np.random.Generator(self.bits)
        self.first = self.bits.state

    def at(self, seed: int, place: int) -> np.random.Generator:
        """Return the generator in the state of ``Generator(Philox(key=[seed, place]))``."""
        self.first["state"]["key"] = np.array([seed, place], np.uint64)
        self.bits.state = self.first
        return self.generator


class ManyTrainings:
    """All trainings of a call of :func:`fit_many`, prepared."""

    def __init__(
        self,
        asked: Asked,
        variations: Any,
        seed: int,
        optimizer: Optimizer,
        regularizer: Any,
    ):
        self.asked = asked
        self.model = copy.deepcopy(asked.model)
        self.found = parameters(self.model)
        self.fresh = [path for path, p in self.found.items() if not p.assigned]
        self.generator = Generator()
        self.alike = len({p.dtype for p in self.found.values()}) < 2
        self.divider = Divider(
            self.model, asked.data, asked.validation, asked.aim, asked.sample_weight,
            asked.class_weight, seed,
        )  # fmt: skip
        self.whole = self.divider.whole
        found = read_variations(variations, len(self.whole), seed, optimizer, regularizer)
        if found[0].held_out is not None and asked.validation is not None:
            raise OptionError("fit_many: give either validation or 'held_out' rows, not both.")
        self.drawn: dict[int, dict[str, Array]] = {}
        self.trainings = [self._prepared(one) for one in found]
        first = self.trainings[0]
        initialize(self.model, found[0].seed, keep_assigned=True)
        warn_of_distance(self.model, first.train, asked.aim, asked.epochs * self.steps(first))

    def steps(self, training: Training) -> int:
        return -(-len(training.train) // training.batch_size)

    def _prepared(self, one: Variation) -> Training:
        _check_method(one.optimizer)
        train, held = self.divider.divide(one)
        size = min(self.asked.batch_size, len(train))
        steps = -(-len(train) // size)
        method = one.optimizer.planned(self.asked.epochs * steps, steps)
        return Training(one, train, held, size, method)

    def start(self, seed: int) -> dict[str, Array]:
        """Return the weights that `fit` would draw from `seed`, by path."""
        if seed not in self.drawn:
            drawn = {}
            for place, (path, p) in enumerate(self.found.items()):
                if path in self.fresh:
                    drawn[path] = p.draw(self.generator.at(seed, place))
            self.drawn = {seed: drawn}  # variations of one seed often follow one another
        return self.drawn[seed]

    def template(self) -> Run:
        """Return a run of the model, without a history."""
        asked = self.asked
        return Run(
            model=self.model,
            objective=asked.aim,
            metrics=asked.metrics,
            features=self.whole.x.shape[1:],
            feature_dtype=self.whole.x.dtype.name,
            flat_target=np.ndim(asked.data[1]) == 1,
            feature_names=asked.feature_names,
            engine=Engine(asked.engine.name, asked.options["threads"]),
        )

    def run(self, i: int, runs: Runs) -> Run:
        """Return the run of training `i`; raise the DivergedError of fit if it diverged."""
        training, asked = self.trainings[i], self.asked
        if runs.results[i].diverged:
            return self._fit(training)
        run = self.template()
        run.model = copy.deepcopy(self.model)
        for path, p in parameters(run.model).items():
            p.value = runs.parameters[path][i]
        result = runs.results[i]
        rows = len(training.train)
        columns = {name: values.tolist() for name, values in result.columns.items()}
        if "learning_rate" not in columns and (rates := self._rates(training)) is not None:
            columns["learning_rate"] = rates
        each = result.seconds / asked.epochs
        for e in range(asked.epochs):
            record: dict[str, Any] = {"epoch": e + 1}
            last: dict[str, Any] = {}
            for name, values in columns.items():
                (last if name.startswith("val_") else record)[name] = values[e]
            record |= {"seconds": each, "samples_per_second": rows / each, **last}
            run.history.append(record)
        score = run.history["val_loss" if training.held is not None else "loss"]
        run.best_epoch = int(np.argmin(score)) + 1
        run.settings = {
            "optimizer": repr(training.variation.optimizer), "epochs": asked.epochs,
            "batch_size": asked.batch_size, "seed": training.variation.seed, "rows": rows,
        }  # fmt: skip
        return run

    def _rates(self, training: Training) -> list[float] | None:
        """Return the learning rate at the end of each epoch, None where there is none."""
        graph = training.rate
        if graph is None:
            return None
        rate, steps = Interpreter(graph), self.steps(training)
        known = {f"hyper/{name}": np.array(v) for name, v in training.method.hyper().items()}
        known = {name: known.get(name, np.array(0)) for name in graph.inputs}
        found = []
        for epoch in range(1, self.asked.epochs + 1):
            if "step" in known:
                known["step"] = np.array(epoch * steps)
            found.append(float(rate(known)["learning_rate"]))
        return found

    def fit_alone(self, i: int) -> tuple[Run, Result]:
        """Return the run of training `i` by fit, and what is kept of it."""
        started, diverged = time.perf_counter(), False
        try:
            run = self._fit(self.trainings[i])
        except DivergedError as error:
            run, diverged = cast(Run, error.run), True
        epochs = self.asked.epochs
        names = [name for name in run.history[0] if name not in CLOCK] if run.history else ["loss"]
        columns = {}
        for name in names:
            columns[name] = np.full(epochs, math.nan)
            columns[name][: len(run.history)] = [record[name] for record in run.history]
        return run, Result(lambda: columns, time.perf_counter() - started, diverged)

    def _fit(self, training: Training) -> Run:
        """Return the run that fit returns for the settings of `training`, or raise its error."""
        one, asked = training.variation, self.asked
        validation = asked.validation
        X, y = (take_rows(given, one.rows) for given in asked.data)
        if one.held_out is not None:
            validation = tuple(take_rows(given, one.held_out) for given in asked.data)
        weight = asked.sample_weight
        if weight is not None:
            weight = take_rows(weight, one.rows)
        model = copy.deepcopy(self.model)
        for path in self.fresh:
            parameters(model)[path].forget()
        return fit(
            model, (X, y), optimizer=one.optimizer, regularizer=one.regularizer, seed=one.seed,
            validation=validation, sample_weight=weight,
            **asked.options,
        )  # fmt: skip


def _check_method(optimizer: Optimizer) -> None:
    """Raise OptionError for an optimizer that needs Python between steps or epochs."""
    if any(isinstance(part, FullBatch) for _, part in optimizer.walk()):
        raise OptionError(
            f"fit_many trains by mini-batches, and {type(optimizer).__name__} uses all rows in "
            "each step; call fit for each."
        )
    if any(plateaus(optimizer)):
        raise OptionError(
            "fit_many can't use ReduceOnPlateau, which looks at the scores between epochs; give "
            "another schedule, or call fit for each."
        )
