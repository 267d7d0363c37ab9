"""Train one network many times, with other seeds, numbers and rows, on all cores.

The step is compiled once, and each core runs whole trainings, one after another, without Python.

Read next: :mod:`chainrule.train.variations`, then :mod:`chainrule.train.many_runs`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, cast

import numpy as np

from chainrule.core.errors import DivergedError, OptionError
from chainrule.core.graph import Graph
from chainrule.core.options import check_whole, checks_arguments
from chainrule.nn.layer import Layer, initialize, parameters
from chainrule.nn.regularizers import Regularizer
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.optimizer import Optimizer
from chainrule.run.program import Engine, Trainer, prepare, trainer, workers
from chainrule.run.reference import Interpreter
from chainrule.step.magnitudes import warn_of_distance
from chainrule.step.metrics import Metric, metrics_of
from chainrule.step.objective import Objective, objective
from chainrule.step.part import SHUFFLES, Part
from chainrule.step.read_parts import check_made
from chainrule.step.record import Step, model_dtype, record_step
from chainrule.step.update import choose_trained
from chainrule.step.weighting import ClassWeight
from chainrule.train.fit import fit
from chainrule.train.many_rows import Divider, take_rows
from chainrule.train.many_runs import Result, Runs
from chainrule.train.progress import Progress
from chainrule.train.rates import plateaus
from chainrule.train.run import Run
from chainrule.train.variations import Lifted, Variation, read_variations, shape_of

__all__ = ["fit_many"]

Array = np.ndarray[Any, Any]
CLOCK = ("epoch", "seconds", "samples_per_second")  # entries of a history that are no scores


@checks_arguments(
    positional="Features and targets go together: fit_many(model, (X, y), variations, loss=...).",
    learning_rate='Vary it, [{"learning_rate": 1e-3}], or set it: optimizer=optim.Adam(1e-3).',
    early_stopping="Every training of fit_many ends after the same number of epochs.",
)
def fit_many(
    model: Layer,
    data: tuple[Any, Any],
    variations: Sequence[Mapping[str, Any]] | int,
    *,
    loss: str | Callable[..., Any],
    optimizer: str | Optimizer = "adam",
    epochs: int = 10,
    batch_size: int = 32,
    validation: tuple[Any, ...] | float | None = None,
    metrics: Sequence[str | Callable[..., Any]] | None = None,
    sample_weight: Any = None,
    class_weight: ClassWeight | None = None,
    regularizer: Regularizer | Mapping[str, Regularizer] | None = None,
    seed: int = 0,
    threads: int | None = None,
    engine: str | None = None,
    progress: bool = True,
) -> Runs:
    """Train `model` once for each of the `variations`, and return all the runs.

    Each training gives the weights and the history of one call of :func:`chainrule.fit` with
    the same settings, bit for bit.  The step is compiled once, and the trainings share the
    cores; the interpreter of Python is needed only between them.  `model` is a pattern: it is
    not changed.  Weights that it was given are where every training starts; the others are
    drawn from its seed.

    `variations` is a list of dictionaries, one for each training, or a number n, for n
    trainings with the seeds ``seed, seed + 1, ...``.  A dictionary says what is different:

    - ``"seed"``: the seed of the weights, of the order of rows, and of noise;
    - a number of the optimizer by its name, such as ``"learning_rate"`` or ``"momentum"``, or
      a schedule for it; where parts of the optimizer have numbers of one name, it is given with
      its place, as in ``"1.learning_rate"``;
    - ``"rows"``: the rows to train on, as row numbers or as a mask;
    - ``"held_out"``: the rows to score after each epoch, as ``val_loss`` and so on;
    - ``"optimizer"`` and ``"regularizer"``, as a whole.

    With ``rows`` and ``held_out`` a training is that of ``fit(model, (X[rows], y[rows]),
    validation=(X[held_out], y[held_out]))``, with the weights of these rows.  The other arguments
    are those of :func:`chainrule.fit`.  `threads` is how many trainings run at a time.

    One compiled step serves all numbers, except that a 0 or a 1 may be another step than other
    numbers are; so are another kind of optimizer or penalty, and fewer rows than `batch_size`.
    Each such step is compiled once.

    ``runs[i]`` is an ordinary Run; see :class:`~chainrule.train.many_runs.Runs` for the arrays
    of losses and weights, the best run, and predictions of all of them together.  A training whose
    loss or weights become infinite or undefined does not end the others: ``runs.diverged`` tells
    which did, and ``runs[i]`` raises its DivergedError.

    Early stopping, checkpoints, and the doctor are not available.  Raises OptionError for them,
    for unknown names, for methods that use all rows at once (``optim.LBFGS``) and for
    ``optim.ReduceOnPlateau``; DataError, ShapeError or OptionError for what can't be trained.

    >>> import numpy as np
    >>> from chainrule import nn
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    >>> model = nn.Sequential([nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)])
    >>> rates = [{"seed": s, "learning_rate": r} for s in range(3) for r in (0.01, 0.1)]
    >>> runs = fit_many(model, (X, [0, 1, 1, 0]), rates, loss="cross_entropy", epochs=50,
    ...                 batch_size=4)
    >>> runs.losses.shape
    (6, 50)
    >>> runs.best().predict(X)
    array([0, 1, 1, 0])
    """
    check_made(model, optimizer)
    aim = objective(loss)
    asked = _Asked(
        model, data, aim, metrics_of(metrics, aim), check_whole("fit_many: epochs", epochs),
        check_whole("fit_many: batch_size", batch_size), validation, sample_weight, class_weight,
        Engine(engine, 1),
        {"loss": loss, "metrics": metrics, "epochs": epochs, "batch_size": batch_size,
         "class_weight": class_weight, "engine": engine, "threads": threads, "progress": False},
    )  # fmt: skip
    check_whole("fit_many: threads", 1 if threads is None else threads)
    seed = check_whole("fit_many: seed", seed, least=0, below=2**63)
    many = _Many(asked, variations, seed, optimizer_of(optimizer), regularizer)
    return many.train(workers(threads), progress)


@dataclass
class _Asked:
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


@dataclass
class _Training:
    """One training: its settings, rows, and the optimizer planned for its number of steps."""

    variation: Variation
    train: Part
    held: Part | None
    batch_size: int
    method: Optimizer

    def shape(self) -> Hashable:
        """Return what decides the code of its step."""
        kinds = (part and part.weight is not None for part in (self.train, self.held))
        return (
            shape_of(self.method), shape_of(self.variation.regularizer), self.batch_size, *kinds,
        )  # fmt: skip


class _Generator:
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


class _Many:
    """All trainings of a call of :func:`fit_many`, prepared."""

    def __init__(
        self,
        asked: _Asked,
        variations: Any,
        seed: int,
        optimizer: Optimizer,
        regularizer: Any,
    ):
        self.asked = asked
        self.model = copy.deepcopy(asked.model)
        self.found = parameters(self.model)
        self.fresh = [path for path, p in self.found.items() if not p.assigned]
        self.generator = _Generator()
        self.divider = Divider(
            self.model, asked.data, asked.validation, asked.aim, asked.sample_weight,
            asked.class_weight, seed,
        )  # fmt: skip
        self.whole = self.divider.whole
        found = read_variations(variations, len(self.whole), seed, optimizer, regularizer)
        if found[0].held_out is not None and asked.validation is not None:
            raise OptionError("fit_many: give either validation or 'held_out' rows, not both.")
        self.drawn: dict[int, dict[str, Array]] = {}
        self.rates: dict[Hashable, Graph | None] = {}
        self.trainings = [self._training(one) for one in found]
        first = self.trainings[0]
        initialize(self.model, found[0].seed, keep_assigned=True)
        warn_of_distance(self.model, first.train, asked.aim, asked.epochs * self._steps(first))

    def _steps(self, training: _Training) -> int:
        return -(-len(training.train) // training.batch_size)

    def _training(self, one: Variation) -> _Training:
        _check_method(one.optimizer)
        train, held = self.divider.divide(one)
        size = min(self.asked.batch_size, len(train))
        steps = -(-len(train) // size)
        method = one.optimizer.planned(self.asked.epochs * steps, steps)
        return _Training(one, train, held, size, method)

    # --- all of them ---------------------------------------------------------------------------

    def train(self, threads: int, progress: bool) -> Runs:
        """Train all of them on up to `threads` threads at a time."""
        started = time.perf_counter()
        groups: dict[Hashable, list[int]] = {}
        for i, training in enumerate(self.trainings):
            groups.setdefault(training.shape(), []).append(i)
        results: dict[int, Result] = {}
        weights = {
            path: np.empty((len(self.trainings), *p.value.shape), p.dtype)
            for path, p in self.found.items()
        }
        rows = self.asked.epochs * len(self.whole)
        with Progress(progress, len(self.trainings), rows) as bar:

            def note(i: int, result: Result) -> None:
                results[i] = result
                bar.advance(len(results), rows)

            for members in groups.values():
                _Group(self, members).train(threads, weights, note)
        rising = frozenset(m.name for m in self.asked.metrics if m.higher_is_better)
        done = [results[i] for i in range(len(results))]
        runs = Runs(
            [one.variation.given for one in self.trainings], self.asked.epochs,
            time.perf_counter() - started, done, weights, lambda i: self.run(i, runs), rising,
        )  # fmt: skip
        return runs

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

    def _rates(self, training: _Training) -> list[float] | None:
        """Return the learning rate at the end of each epoch, None where there is none."""
        graph = self.rates[training.shape()]
        if graph is None:
            return None
        rate, steps = Interpreter(graph), self._steps(training)
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

    def _fit(self, training: _Training) -> Run:
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


@dataclass
class _Group:
    """Trainings that share a step: it is compiled, and each thread takes the next training."""

    many: _Many
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
        self.lifted = Lifted(model_dtype(many.model))
        self.step: Step = record_step(
            many.model, asked.aim, first.method, asked.metrics, first.train,
            regularizer=self.lifted.penalty(first.variation.regularizer), seed=self.lifted.keys,
            carried=self.lifted.leaves,
        )  # fmt: skip
        self.trained = choose_trained(first.method, many.found)
        self.sums = [name for name in self.step.graph.outputs if name not in self.step.state]
        many.rates[first.shape()] = self.step.rate
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
            finally:
                with self.lock:
                    self.left.clear()

    def _next(self) -> int | None:
        with self.lock:
            return self.left.pop() if self.left else None

    def _one(self, training: _Training, engine: Trainer, whole: bool) -> Result:
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

    def _first(self, training: _Training) -> dict[str, Any]:
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
