"""The training loop: sample a batch, forward, backward, update; watch, stop, keep the best.

Read next: :mod:`chainrule.train.run`, what it returns.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from chainrule.core.errors import DataError, DivergedError, OptionError, did_you_mean
from chainrule.core.options import check_whole, checks_arguments, in_range
from chainrule.doctor.case import Case
from chainrule.doctor.survey import Survey
from chainrule.doctor.watch import Watch
from chainrule.nn.layer import Layer, initialize, parameters
from chainrule.nn.layer_config import model_config
from chainrule.nn.regularizers import Regularizer
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.plateau import ReduceOnPlateau, check_monitor, improves
from chainrule.run.program import Engine, Program, prepare
from chainrule.step.magnitudes import warn_of_distance
from chainrule.step.metrics import metrics_of
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.probes import watch_report
from chainrule.step.read_parts import check_feature_names, check_made, read_parts
from chainrule.step.record import Step, record_step
from chainrule.step.weighting import ClassWeight
from chainrule.train.full_batch_program import FullBatchProgram, check_alone, full_batch_program
from chainrule.train.progress import Progress
from chainrule.train.rates import Rates, plateaus
from chainrule.train.run import Run

__all__ = ["EarlyStopping", "fit"]

Array = np.ndarray[Any, Any]
OnEpoch: TypeAlias = "Callable[[Run, dict[str, Any]], Any]"
CHUNK_SECONDS = 0.1  # how long the engine runs before Python looks up: bar, Ctrl-C, finite loss

SMALLER = (
    "Lower the learning rate, standardize the inputs and (for real values) the targets, or clip "
    "gradients: optim.chain(optim.ClipNorm(1.0), ...)."
)


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when `monitor` has not improved by the share `min_delta` for `patience` epochs.

    `min_delta` is relative to the best score that counted: 0.001 asks for 0.1 % of it.  The
    weights with the best score of all are restored, by whatever margin it was the best.
    `monitor` names an entry of the history; by default ``val_loss``, or ``loss`` where there is
    no validation.  Better is lower, but higher for accuracies and r2.  Raises OptionError for a
    patience below 1 and a min_delta outside [0, 1).
    """

    patience: int = 10
    monitor: str | None = None
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        check_whole("EarlyStopping: patience", self.patience)
        in_range(self, "min_delta", 0.0, 1.0)
        check_monitor(self)


@checks_arguments(
    positional="Features and targets go together: fit(model, (X, y), loss=...).",
    learning_rate="It belongs to the optimizer: optimizer=optim.Adam(1e-3).",
    lr="It belongs to the optimizer: optimizer=optim.Adam(1e-3).",
)
def fit(
    model: Layer,
    data: tuple[Any, Any],
    *,
    loss: str | Callable[..., Any],
    optimizer: str | Optimizer = "adam",
    epochs: int = 10,
    batch_size: int = 32,
    validation: tuple[Any, ...] | float | None = None,
    metrics: Sequence[str | Callable[..., Any]] | None = None,
    early_stopping: EarlyStopping | int | None = None,
    sample_weight: Any = None,
    class_weight: ClassWeight | None = None,
    regularizer: Regularizer | Mapping[str, Regularizer] | None = None,
    seed: int = 0,
    threads: int | None = None,
    engine: str | None = None,
    progress: bool = True,
    watch: bool = False,
    check: bool = False,
    on_epoch: OnEpoch | None = None,
    feature_names: Sequence[str] | None = None,
) -> Run:
    """Train `model` on ``data = (X, y)`` by mini-batches, and return the run.

    X: (rows, ...) numbers.  uint8 in the shape of images, (rows, height, width) with or without
    channels, is taken for pixels of 0 to 255 and scaled by 1/255, unless the model starts with
    an ``nn.Scale`` of its own; every other number keeps its value.
    y: class numbers (rows,), one-hot rows, yes-or-no labels, or real values,
    as `loss` asks.  `loss` is one of :mod:`chainrule.nn.losses` or its name, such
    as "cross_entropy", "binary_cross_entropy", "mse" or ``nn.Huber(2.0)``, or
    a function of (output, target) tensors giving one number per row or one in all.

    Weights that were set or trained before are continued from; the others are
    drawn from `seed`, which also shuffles.  `validation` is data of the same
    form, or the fraction of rows to hold out.  With `early_stopping` (or a
    number of epochs to be patient) the best weights are restored.  X may be larger
    than memory: ``numpy.load("x.npy", mmap_mode="r")`` is read row by row.  `threads`
    and `engine` are explained at :func:`chainrule.run.program.prepare`.
    `sample_weight` (rows,) and `class_weight` (a mapping from class number to weight, or
    "balanced") say how much each row counts in the loss, not in the metrics; they are scaled
    to a mean of 1.  For labels, values and counts `sample_weight` may have the shape of y: 0
    masks what is not known.  Validation rows count by their class, and by their own weights where
    `validation` is (X, y, weights).  `regularizer`, such as ``nn.L2(1e-4)``, is added to the loss
    for all weights but biases, or a mapping says for which: ``{"0.*": nn.L1(1e-3)}``; the
    history tells it apart as "penalty".

    With ``optim.LBFGS()`` or ``optim.LevenbergMarquardt()`` an epoch is one iteration over all
    rows, whatever `batch_size`, and training ends where nothing is left to gain.

    With `watch`, each record also describes every layer under "layers": see
    :func:`chainrule.step.probes.watch_report`; it costs a few percent.  Every tenth step is looked
    at, so of epochs of fewer steps some have no such entry.
    With `check`, the doctor checks the set-up before the first step and watches the layers while
    they train: ``run.findings`` says what is wrong, why, and what to change.  With `progress`, a
    warning or fault is also printed when it is found.  Before the first step it takes up to a
    second or so, and then up to 5 % of the time; a DivergedError has ``findings``, too.
    `feature_names` are the names of the columns of X, which findings use instead of numbers.
    `on_epoch` is called with the run and each history record; returning True, and nothing
    else, stops.  Ctrl-C ends training and keeps the best weights so far.

    The run holds `model` itself, so training it again changes what an earlier run predicts;
    save the run, or train a ``copy.deepcopy``, to keep both.

    A model that can't be saved, such as one with a lambda, is trained with a warning.
    Raises DataError, ShapeError or OptionError for what can't be trained, before
    any training, among it real targets that vary by less than the model's dtype can tell; warns of
    such features, and of real targets far from what the model starts with; and raises
    DivergedError when the loss, a weight or the score monitored
    becomes infinite or undefined.

    >>> import numpy as np
    >>> from chainrule import nn
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    >>> model = nn.Sequential([nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)])
    >>> run = fit(model, (X, [0, 1, 1, 0]), loss="cross_entropy", epochs=200, batch_size=4,
    ...           optimizer="adam", progress=False)
    >>> len(run.history)
    200
    """
    epochs = check_whole("fit: epochs", epochs)
    check_whole("fit: batch_size", batch_size)
    check_whole("fit: threads", 1 if threads is None else threads)
    check_whole("fit: seed", seed, least=0, below=2**63)
    check_made(model, optimizer)
    aim, method = objective(loss), optimizer_of(optimizer)
    check_alone(method, watch)
    stopping, measures = _stopping(early_stopping), metrics_of(metrics, aim)
    asking = (stopping, *(plan for _, plan in plateaus(method)))
    for one in asking:
        _check_monitored(one, [m.name for m in measures], validation is not None)
    train, held_out = read_parts(
        model, data, validation, aim, sample_weight, class_weight, int(seed)
    )
    check_feature_names(feature_names, train)
    for one in asking:
        _check_spread(one, train, held_out)
    _warn_of_saving(model)
    # A trial of remedies starts from the first weights, so they are kept before they are drawn.
    untrained = _copied(model) if check else model
    initialize(model, int(seed), keep_assigned=True)
    case = Case(
        untrained, data, loss, method, epochs, int(batch_size), validation, regularizer, int(seed),
        {"early_stopping": stopping, "sample_weight": sample_weight, "class_weight": class_weight,
         "metrics": metrics, "threads": threads, "engine": engine},
        feature_names,
    )  # fmt: skip
    batch_size = len(train) if isinstance(method, FullBatch) else int(batch_size)
    steps = -(-len(train) // batch_size)
    planned = method.planned(epochs * steps, steps)
    if not isinstance(method, FullBatch):  # which takes steps of any length
        warn_of_distance(model, train, aim, epochs * steps)
    step = record_step(
        model, aim, planned, measures, train, watch=watch, regularizer=regularizer, seed=int(seed)
    )
    run = Run(
        model=model,
        objective=aim,
        metrics=measures,
        features=train.x.shape[1:],
        feature_dtype=train.x.dtype.name,
        flat_target=np.ndim(data[1]) == 1,
        settings={
            "optimizer": repr(method),
            "epochs": epochs,
            "batch_size": batch_size,
            "seed": int(seed),
            "rows": len(train),
        },
        engine=Engine(engine, threads),
    )
    batch_size = min(batch_size, len(train))
    program: Program
    if isinstance(method, FullBatch):
        program = full_batch_program(method, model, aim, step, train, int(seed), run.engine)
    else:
        program = prepare(step.graph, step.state, train.arrays, batch_size, run.engine)
    rates = Rates(method, step.rate, program.state)
    loop = _Loop(run, program, step, rates, train, held_out, stopping, int(seed))
    with Progress(progress, epochs, len(train)) as bar:
        if check:
            if untrained is not model:
                run.keep_case(case, fit)
            loop.watch = Watch(Survey(case, model, aim, train, held_out))
            bar.tell(loop.watch.before.serious)
        loop.train(epochs, batch_size, bar, on_epoch)
        if loop.watch is not None:
            bar.tell(loop.watch.late.serious)
    return run


def _copied(model: Layer) -> Layer:
    """Return a copy of an untrained model, or the model where it can't be copied."""
    try:
        return copy.deepcopy(model)
    except Exception:  # a layer of the user's may hold anything
        return model


def _stopping(asked: EarlyStopping | int | None) -> EarlyStopping | None:
    """Return the early stopping asked for; a number is its patience."""
    if asked is None or isinstance(asked, EarlyStopping):
        return asked
    return EarlyStopping(check_whole("fit: early_stopping", asked))


def _check_monitored(
    asking: EarlyStopping | ReduceOnPlateau | None, metrics: Sequence[str], validated: bool
) -> None:
    """Raise OptionError, before any training, for a monitor the history will not have."""
    if asking is None:
        return
    names = ["loss", *metrics]
    names += [f"val_{name}" for name in names] if validated else []
    monitor = asking.monitor
    if monitor is not None and monitor not in names:
        unseen = "" if validated else " Without validation=... there are no val_ entries."
        raise OptionError(
            f"{type(asking).__name__}: the history will have no {monitor!r} to monitor. "
            f"{did_you_mean(monitor, names)}{unseen}"
        )


def _warn_of_saving(model: Layer) -> None:
    """Warn, before any training, of a model that can be trained but not saved."""
    try:
        model_config(model)
    except Exception as error:  # a layer of the user's may fail to be made again, too
        warnings.warn(f"fit trains this model, but the run can't be saved: {error}", stacklevel=4)


def _check_spread(
    asking: EarlyStopping | ReduceOnPlateau | None, train: Part, held_out: Part | None
) -> None:
    """Raise DataError where r2 is monitored on targets that do not vary: it is undefined there."""
    part = {"r2": train, "val_r2": held_out}.get((asking and asking.monitor) or "")
    if asking is not None and part is not None and part.variance == 0:
        which = "training" if part is train else "validation"
        raise DataError(
            f"{type(asking).__name__}: {asking.monitor!r} can't be monitored, because all "
            f"{len(part)} {which} targets are the same, and r2 compares errors with their "
            "variance, which is 0. Monitor a loss, or choose rows whose targets differ."
        )


@dataclass
class _Loop:
    """The state of one training: the program, the best weights so far, and when they were."""

    run: Run
    program: Program
    step: Step
    rates: Rates
    data: Part
    held_out: Part | None
    stopping: EarlyStopping | None
    seed: int
    best: float = math.inf
    best_epoch: int = 0
    best_weights: list[Array] = field(default_factory=list)
    counted: float = math.inf  # the last score that improved by the margin of early stopping
    counted_epoch: int = 0
    chunk: int = 1  # steps in one call of the engine
    watch: Watch | None = None

    def train(
        self,
        epochs: int,
        batch_size: int,
        bar: Progress,
        on_epoch: OnEpoch | None,
    ) -> None:
        monitor = self._monitor()
        self.best_weights = [weights.copy() for weights in self._weights()]
        for path, parameter in parameters(self.run.model).items():
            shown = self.step.shown.get(path, f"parameter/{path}")
            parameter.watch(self.program.state[shown])
        restore = self.stopping is not None
        try:
            for epoch in range(1, epochs + 1):
                record = self._epoch(epoch, batch_size, bar)
                self.run.history.append(record)
                if self.held_out is not None:
                    scores = self.run.totals(self.held_out)
                    record.update({f"val_{name}": value for name, value in scores.items()})
                self._check_end(monitor, record)
                self._remember(epoch, self._lower_is_better(record, monitor))
                self.rates.look(partial(self._lower_is_better, record))
                bar.finish_epoch(record)
                if self.watch is not None:
                    bar.tell(self.watch.end_epoch(record).serious)
                if on_epoch is not None and self._ask(on_epoch, record):
                    self.run.stopped = f"on_epoch asked to stop at epoch {epoch}"
                    break
                if isinstance(self.program, FullBatchProgram) and self.program.reason:
                    self.run.stopped = f"{self.program.reason}, after {epoch} iterations"
                    break
                if self.stopping and epoch - self.counted_epoch >= self.stopping.patience:
                    self.run.stopped = self._why_stopped(self.stopping, monitor)
                    break
        except KeyboardInterrupt:
            self.run.stopped = "interrupted"
            restore = restore or self.held_out is not None
        except DivergedError as error:
            restore = True
            if self.watch is not None:
                self.run.findings = self.watch.finish(str(error))
                error.findings, error.run = self.run.findings, self.run
                if self.run.findings.serious:
                    error.args = (f"{error} The doctor found: {self.run.findings[0].text}",)
            raise
        finally:
            self._finish(restore)
        if self.watch is not None:
            self.run.findings = self.watch.finish(stopped=self.run.stopped)

    def _why_stopped(self, stopping: EarlyStopping, monitor: str) -> str:
        found = "has not improved for"
        if stopping.min_delta:
            way = "rose" if self._more_is_better(monitor) else "fell"
            found = f"{way} less than {100 * stopping.min_delta:.3g} % in"
        return f"{monitor} {found} {stopping.patience} epochs; restored epoch {self.best_epoch}"

    def _ask(self, on_epoch: OnEpoch, record: dict[str, Any]) -> bool:
        """Return whether `on_epoch` ends training; weights it sets are trained on from there."""
        state = self.program.state
        before = {name: state[name].copy() for name in self.step.shown.values()}
        stop = on_epoch(self.run, record)
        for path, name in self.step.shown.items():
            if not np.array_equal(before[name], state[name]):
                state[f"parameter/{path}"][...] = state[name]  # an average was set, not they
        return isinstance(stop, (bool, np.bool_)) and bool(stop)  # not a path, a number, a run

    def _finish(self, restore: bool) -> None:
        """Leave the model with weights of its own: the best ones, or those of the last step."""
        if restore:
            for weights, best in zip(self._weights(), self.best_weights, strict=True):
                weights[:] = best
        self.run.best_epoch = self.best_epoch
        for parameter in parameters(self.run.model).values():
            parameter.unwatch()

    def _weights(self) -> list[Array]:
        """Return the memory of the parameters, and of their averages where these are shown."""
        kinds = {"parameter"} | {name.split("/")[0] for name in self.step.shown.values()}
        return [self.program.arenas[kind].buffer for kind in sorted(kinds)]

    def _monitor(self) -> str:
        if self.stopping and self.stopping.monitor:
            return self.stopping.monitor
        return "loss" if self.held_out is None else "val_loss"

    def _epoch(self, epoch: int, batch_size: int, bar: Progress) -> dict[str, Any]:
        """Train one epoch and return its record."""
        started, rows = time.perf_counter(), len(self.data)
        order = self.data.order(self.seed, epoch)
        sums: dict[str, float] = {}
        done = 0
        while done < rows:
            tick = time.perf_counter()
            part = order[done : done + self.chunk * batch_size]
            for name, value in self.program.run(part, batch_size).items():
                sums[name] = sums.get(name, 0.0) + value
            done += len(part)
            where = f"epoch {epoch}, within its first {done:,} rows"
            self._check_finite("the loss", sums["loss"], where)
            bar.advance(epoch, done)
            if self.watch is not None:
                bar.tell(self.watch.look().serious)
            taken = max(time.perf_counter() - tick, 1e-6)
            steps = -(-len(part) // batch_size)
            self.chunk = max(1, int(steps * min(4.0, CHUNK_SECONDS / taken)))
        seconds = time.perf_counter() - started
        record: dict[str, Any] = {"epoch": epoch, "loss": sums["loss"] / self.data.total_weight}
        if "penalty" in sums:
            record["penalty"] = sums["penalty"] / rows
        for m in self.run.metrics:
            record[m.name] = m.finish(sums[m.name] / rows, self.data)
        if (rate := self.rates.now()) is not None:
            record["learning_rate"] = rate
        record["seconds"] = seconds
        record["samples_per_second"] = rows / seconds
        if sums.get("watch/rows"):  # an epoch of under ten steps may have none that is watched
            record["layers"] = watch_report(self.step.probes, sums)
        return record

    def _check_end(self, monitor: str, record: dict[str, Any]) -> None:
        """Raise DivergedError for what the loss, taken before each update, does not show."""
        where = f"epoch {record['epoch']}"
        for name, value in self.program.state.items():
            if name.startswith("parameter/") and not np.isfinite(value).all():
                bad = float(value[~np.isfinite(value)].flat[0])
                self._check_finite(name.removeprefix("parameter/"), bad, where)
        if monitor.removeprefix("val_") == "loss":
            self._check_finite(monitor, record[monitor], where)
        else:
            where += ", though the weights are finite"
            cure = "Let the metric return a finite number for such predictions, or monitor a loss."
            self._check_finite(monitor, record[monitor], where, cure)

    def _check_finite(self, what: str, value: float, where: str, cure: str = SMALLER) -> None:
        if math.isfinite(value):
            return
        kept = (
            f"the weights of epoch {self.best_epoch} are kept"
            if self.best_epoch
            else ("no epoch was completed")
        )
        raise DivergedError(f"{what} became {value} in {where}; {kept}. {cure}")

    def _lower_is_better(self, record: dict[str, Any], name: str | None) -> float:
        """Return an entry of the `record` (None: the monitor), negated if higher is better."""
        name = name or self._monitor()
        return float(-record[name] if self._more_is_better(name) else record[name])

    def _more_is_better(self, name: str) -> bool:
        better = {m.name for m in self.run.metrics if m.higher_is_better}
        return name.removeprefix("val_") in better

    def _remember(self, epoch: int, score: float) -> None:
        """Keep a copy of the weights if this epoch is the best so far."""
        if score < self.best:  # never true of NaN, so those weights are not kept
            self.best, self.best_epoch = score, epoch
            self.best_weights = [weights.copy() for weights in self._weights()]
        if improves(score, self.counted, self.stopping.min_delta if self.stopping else 0.0):
            self.counted, self.counted_epoch = score, epoch
