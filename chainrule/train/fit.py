"""The training loop: sample a batch, forward, backward, update; watch, stop, keep the best.

Read next: :mod:`chainrule.train.run`, what it returns.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, OptionError, did_you_mean
from chainrule.core.options import check_whole, checks_arguments
from chainrule.data.frames import read_array
from chainrule.doctor.case import Case
from chainrule.doctor.survey import Survey
from chainrule.doctor.watch import Watch
from chainrule.nn.layer import Layer, parameters
from chainrule.nn.layer_config import model_config
from chainrule.nn.regularizers import Regularizer
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.plateau import ReduceOnPlateau
from chainrule.run.blas import one_blas_thread
from chainrule.run.program import Engine
from chainrule.step.magnitudes import warn_of_distance
from chainrule.step.metrics import metrics_of
from chainrule.step.objective import objective
from chainrule.step.part import Part
from chainrule.step.read_parts import (
    check_feature_names,
    check_made,
    names_of,
    read_pair,
    read_parts,
)
from chainrule.step.weighting import ClassWeight
from chainrule.train.callbacks import Callbacks
from chainrule.train.checkpoint import (
    Checkpoint,
    Kept,
    Saver,
    check_folder,
    held,
    newest,
    read_start,
)
from chainrule.train.description import check_same, describe
from chainrule.train.early_stopping import EarlyStopping
from chainrule.train.full_batch_program import check_alone
from chainrule.train.loop import Loop, OnEpoch
from chainrule.train.progress import Progress
from chainrule.train.rates import Rates, plateaus
from chainrule.train.run import Run
from chainrule.train.set_up import Training, prepare_training

__all__ = ["EarlyStopping", "fit"]

UNSCALED = {"unscaled_inputs", "unscaled_targets"}  # of which the doctor tells more than a warning


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
    devices: int | str | None = None,
    shard: str | None = None,
    precision: str | None = None,
    progress: bool = True,
    watch: bool = False,
    check: bool = False,
    on_epoch: OnEpoch | None = None,
    callbacks: Iterable[object] = (),
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    feature_names: Sequence[str] | None = None,
) -> Run:
    """Train `model` on ``data = (X, y)`` by mini-batches, and return the run.

    X
        Numbers, (rows, ...).  uint8 in the shape of images, (rows, height, width) with or without
        channels, is taken for pixels of 0 to 255 and scaled by 1/255, unless the model starts with
        an ``nn.Scale`` of its own.  All other numbers keep their values.  X may be larger than
        memory: ``numpy.load("x.npy", mmap_mode="r")`` is read row by row.  X and y may be arrays
        of PyTorch, JAX or pyarrow, which are read where they lie, or frames and series of pandas,
        polars or pyarrow; see :func:`chainrule.data.frames.read_array`.
    y
        Class numbers (rows,), one-hot rows, yes-or-no labels, or real values, as `loss` asks.
    loss
        One of :mod:`chainrule.nn.losses` or its name, such as "cross_entropy", "mse" or
        ``nn.Huber(2.0)``; or a function of (output, target) tensors that returns one number per
        row, or one in all.
    optimizer, epochs, batch_size
        With ``optim.LBFGS()`` or ``optim.LevenbergMarquardt()``, an epoch is one iteration over
        all rows, whatever `batch_size`, and training ends if nothing more can be gained.
    seed
        Draws the first weights and shuffles.  Weights that were set or trained before are kept.
    validation, early_stopping
        Data in the form of `data`, or the fraction of rows to hold out; and a number of epochs
        without improvement after which training ends and the best weights are restored.
    sample_weight, class_weight
        How much each row counts in the loss, not in the metrics, scaled to a mean of 1: an array
        (rows,), and a mapping from class number to weight, or "balanced".  For labels, values and
        counts, `sample_weight` may have the shape of y; a 0 masks an unknown target.  Validation
        rows are weighted by their class, and by their own weights if `validation` is
        (X, y, weights).
    regularizer
        A penalty that is added to the loss, such as ``nn.L2(1e-4)`` for all weights but biases,
        or a mapping that selects weights: ``{"0.*": nn.L1(1e-3)}``.  The history lists its value
        as "penalty".
    watch
        Record statistics of every layer in each record under "layers", from every tenth step; see
        :func:`chainrule.step.probes.watch_report`.  This costs a few percent.
    check
        Let the doctor check the set-up before the first step and watch the layers: ``run.findings``
        says what is wrong, why, and what to change.  Warnings and faults are also printed, if
        `progress` is set.  The check takes up to about a second before the first step, and then up
        to 5 % of the time, more for the smallest networks.
    on_epoch
        Called with the run and each record of the history.  If it returns True, training ends.
    callbacks
        Objects with any of the methods ``on_epoch``, ``on_step`` and ``on_end``, which are given a
        :class:`~chainrule.train.callbacks.Moment`, see :mod:`chainrule.train.callbacks`.  If one
        of the first two returns True, training ends.  An exception in a callback, or in
        `on_epoch`, ends it too, and the model keeps its best weights.
    checkpoint
        A folder in which the training is saved every minute, when it is interrupted (by SIGTERM,
        too) and when it ends; or a :class:`~chainrule.train.checkpoint.Checkpoint`, which says how
        often.  :func:`chainrule.resume` goes on from there.
    feature_names
        The names of the columns of X (None: those of a frame), which findings use instead of
        numbers, and by which the columns of later frames are matched.
    threads, engine, devices, shard, precision
        See :func:`chainrule.run.program.prepare`.  With ``engine="xla"`` and ``devices="all"``,
        or a number, each device computes a part of every batch; the result is that of one device,
        but for rounding.  ``shard="parameters"`` divides parameters and the state of the optimizer
        among the devices, too.  ``precision="bf16"`` computes the matrix products of a step, not
        those of predictions, from numbers rounded to bfloat16.

    Ctrl-C ends training after the present step and keeps the best weights so far.  The run holds
    `model` itself, so training it again changes what an earlier run predicts.  To keep both, save
    the run, or train a ``copy.deepcopy``.

    Warns of a model that can't be saved, such as one with a lambda, of features that vary by less
    than the model's dtype can tell, and of real targets far from the first outputs of the model.
    Raises DataError, ShapeError or OptionError, before any training, for what can't be trained;
    RunError for a folder of checkpoints that can't be written or that holds another training; and
    DivergedError if the loss, a weight or the monitored score becomes infinite or undefined: its
    ``epoch``, ``step`` and ``rows`` tell where, and its ``findings`` why.

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
    feature_names = names_of(data) if feature_names is None else feature_names
    data, validation = read_pair(data), read_pair(validation, feature_names)
    sample_weight = read_array(sample_weight, "sample_weight")
    asked = Callbacks(callbacks)
    plan = _plan(checkpoint)
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
    given = {path: p.value.copy() for path, p in parameters(model).items() if p.assigned}
    case = Case(
        untrained, data, loss, method, epochs, int(batch_size), validation, regularizer, int(seed),
        {"early_stopping": stopping, "sample_weight": sample_weight, "class_weight": class_weight,
         "metrics": metrics, "threads": threads, "engine": engine, "devices": devices,
         "shard": shard, "precision": precision},
        feature_names,
    )  # fmt: skip
    training = prepare_training(case, model, aim, (train, held_out), measures, watch)
    run = Run(
        model=model,
        objective=aim,
        metrics=measures,
        features=train.x.shape[1:],
        feature_dtype=train.x.dtype.name,
        flat_target=np.ndim(data[1]) == 1,
        feature_names=None if feature_names is None else tuple(feature_names),
        settings={
            "optimizer": repr(method),
            "epochs": epochs,
            "batch_size": len(train) if isinstance(method, FullBatch) else int(batch_size),
            "seed": int(seed),
            "rows": len(train),
        },
        engine=Engine(engine, threads, devices, shard, precision),
    )
    loop = Loop(training, run, Rates(method, training.step.rate, training.program.state), stopping)
    loop.callbacks = asked
    with held(plan), Progress(progress, epochs, len(train)) as bar:
        if plan is not None:
            own = on_epoch is not None or bool(asked)
            flags = {"watch": watch, "check": check, "on_epoch": own}
            kept = _kept(plan, training, case, own)
            loop.saver = Saver(plan, lambda: describe(training, case, given, plan, flags), kept)
        if check:
            if untrained is not model:
                run.keep_case(case, fit)
            with one_blas_thread():
                loop.watch = Watch(Survey(case, model, aim, train, held_out))
            if loop.saver is None or loop.saver.resumed is None:
                bar.tell(loop.watch.before.serious)
        told = loop.watch is not None and {f.cause for f in loop.watch.before.serious} & UNSCALED
        if not told and not isinstance(method, FullBatch):  # which takes steps of any length
            with one_blas_thread():
                warn_of_distance(model, train, aim, epochs * training.steps)
        with loop.telling_end():
            loop.train(bar, on_epoch)
        if loop.watch is not None:
            bar.tell(loop.watch.late.serious)
    return run


def _kept(plan: Checkpoint, training: Training, case: Case, on_epoch: bool) -> Kept | None:
    """Return the checkpoint to go on from, None to begin; raise RunError if it is of another."""
    found = newest(Path(plan.folder)) if plan.resume else None
    if found is not None:
        files = read_start(Path(plan.folder))
        on_epoch = on_epoch or bool(found.about.get("ended"))  # then it has nothing left to do
        check_same(files, training, case, str(plan.folder), on_epoch)
    return found


def _plan(asked: Checkpoint | str | os.PathLike[str] | None) -> Checkpoint | None:
    """Return the checkpoints asked for; raise RunError for a folder that can't be used."""
    if asked is None:
        return None
    plan = asked if isinstance(asked, Checkpoint) else Checkpoint(asked)
    check_folder(plan)
    return plan


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
