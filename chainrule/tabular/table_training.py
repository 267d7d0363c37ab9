"""Train on a table that is prepared, and score the network on its test rows.

The validation rows are used for early stopping, and the test rows once, for the scores.

Read next: :mod:`chainrule.tabular.scores`, :mod:`chainrule.cli.commands`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DivergedError, OptionError
from chainrule.data.encode import NumericEncoder
from chainrule.data.pipeline import Pipeline
from chainrule.data.pixels import PixelPipeline
from chainrule.data.target import Target
from chainrule.doctor.case import Case
from chainrule.doctor.finding import Findings
from chainrule.doctor.preflight import examine
from chainrule.optim.full_batch import FullBatch
from chainrule.tabular.build import Setup, build_model, build_optimizer, build_penalty
from chainrule.tabular.calibration import calibrate
from chainrule.tabular.class_scores import further_scores
from chainrule.tabular.conformal import calibrated, coverage
from chainrule.tabular.cross_fit import as_trained, averaged, crossed, validation_outputs
from chainrule.tabular.heads import head, problem_of
from chainrule.tabular.intervals import class_intervals, value_intervals
from chainrule.tabular.leak_findings import with_leaks
from chainrule.tabular.problem import Problem
from chainrule.tabular.scores import (
    MOST_CLASSES,
    confusion_matrix,
    error_quantiles,
    score_classes,
    score_values,
    worst_classes,
)
from chainrule.tabular.settings import Settings, choose_settings
from chainrule.tabular.suit_target import loss_of, outputs_of, suited
from chainrule.tabular.target_scores import class_distance, poisson_deviance
from chainrule.tabular.verdict import class_gains, value_gains
from chainrule.train.checkpoint import TABLE, Checkpoint
from chainrule.train.early_stopping import EarlyStopping
from chainrule.train.fit import fit
from chainrule.train.run import Run

__all__ = ["build", "fit_table", "preflight_table", "settings_for", "train_table"]

Array = NDArray[Any]
MOST_FITTED = 10_000  # training rows whose errors tell how wide intervals should be


def settings_for(problem: Problem, **asked: Any) -> Settings:
    """Return the settings for `problem` that :func:`chainrule.tabular.choose_settings` chooses.

    Raises OptionError for invalid settings.

    >>> from chainrule.tabular.problem import read_problem
    >>> settings_for(read_problem("iris")).bins, settings_for(read_problem("digits")).bins
    (8, 0)
    """
    encoders = getattr(problem.pipeline, "encoders", ())
    return choose_settings(
        problem.rows["train"],
        task=problem.pipeline.task,
        validated=problem.validation is not None,
        features=problem.train[0].shape[1],
        divides=problem.divides,
        numbers=sum(len(e.parts) or 1 for e in encoders if isinstance(e, NumericEncoder)),
        pixels=problem.pixels,
        **asked,
    )


def build(settings: Settings, problem: Problem) -> Setup:
    """Build the network, loss, optimizer and penalty of `settings` for `problem`.

    Raises OptionError for settings that do not fit the problem or one another.
    """
    codes = getattr(problem.pipeline, "category_codes", ())
    if settings.embedding is not None and not codes:
        raise OptionError("embedding: no column is embedded; give a column the role embedded.")
    target, rows = problem.pipeline.target, problem.train[0]
    loss = loss_of(settings, target)
    outputs = outputs_of(settings, target)
    return Setup(
        build_model(rows.shape[1], outputs, settings, codes, problem.pixels, rows, loss),
        loss,
        build_optimizer(settings),
        build_penalty(settings),
    )


def preflight_table(problem: Problem, settings: Settings) -> Findings:
    """Return what is wrong with the training that `settings` describe, before its first step.

    The arguments are those of :func:`fit_table`.

    >>> from chainrule.tabular.problem import read_problem
    >>> from chainrule.tabular.settings import choose_settings
    >>> iris = read_problem("iris")
    >>> settings = choose_settings(102, hidden=[64], optimizer="adam", learning_rate=30.0)
    >>> [f.cause for f in preflight_table(iris, settings)]
    ['learning_rate_too_high']
    """
    problem = crossed(suited(problem, settings), settings)
    made = build(settings, problem)
    model, data, held, names = as_trained(problem, made.model)
    found = examine(
        Case(
            model=model,
            data=data,
            loss=made.loss,
            optimizer=made.optimizer,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            validation=held and held[:2],
            regularizer=made.penalty,
            seed=settings.seed,
            more={"class_weight": settings.class_weight},
            feature_names=names,
        )
    )
    return with_leaks(found, problem.leaks)


def fit_table(
    problem: Problem,
    settings: Settings,
    *,
    threads: int | None = None,
    engine: str | None = None,
    devices: int | str | None = None,
    shard: str | None = None,
    precision: str | None = None,
    progress: bool = True,
    check: bool = False,
    callbacks: Iterable[object] = (),
    checkpoint: Checkpoint | None = None,
    threshold: str | float | None = None,
) -> Run:
    """Train on `problem`, score on its test rows, and return the run.

    Layer statistics are recorded in the history during training.  Predict for tables with
    :func:`predict_table`.  The temperature of class probabilities is chosen on the validation
    rows, and with `threshold` the decision between two classes, see
    :func:`chainrule.tabular.calibration.calibrate`.

    Where rows are divided into parts, the model that trains is a
    :class:`~chainrule.nn.cross_fitted.CrossFitted`: callbacks that predict in the middle of the
    training make ``nn.Sequential(moment.run.model.layers)`` of it, which takes rows without a part.

    Ctrl-C stops and keeps the best weights so far.  The other options are those of
    :func:`chainrule.train.fit.fit`; a training goes on by the same call with
    ``Checkpoint(folder, resume=True)``.
    Raises what :func:`chainrule.train.fit.fit` raises.

    >>> from chainrule.tabular.problem import read_problem
    >>> from chainrule.tabular.settings import choose_settings
    >>> problem = read_problem("iris")
    >>> run = fit_table(problem, choose_settings(102, epochs=2), progress=False)
    >>> [name for name in run.scores["test"] if "accuracy" in name]
    ['accuracy', 'balanced_accuracy']
    """
    if checkpoint is not None:  # the arrays alone would be resumed without the pipeline
        checkpoint = replace(checkpoint, files={TABLE: problem.name, **checkpoint.files})
    problem = crossed(suited(problem, settings), settings)
    run = train_table(
        problem, settings, threads=threads, engine=engine, devices=devices, shard=shard,
        precision=precision, progress=progress, check=check, callbacks=callbacks,
        checkpoint=checkpoint,
    )  # fmt: skip
    run.pipeline = _calibrated(run, problem)
    if run.findings is not None:
        run.findings = with_leaks(run.findings, problem.leaks)
    run.settings = {"data": problem.name, **settings.plain(), **run.settings}
    told = calibrate(run, problem, threshold)
    run.scores = _score(run, problem) | told
    return run


def train_table(problem: Problem, settings: Settings, *, watch: bool = True, **options: Any) -> Run:
    """Train as :func:`fit_table` does, without scores, on a problem that suits the settings.

    :func:`chainrule.tabular.suit_target.suited` and :func:`chainrule.tabular.cross_fit.crossed`
    make one.  Without `watch`, no statistics of layers are recorded.  `options` are
    those of :func:`chainrule.train.fit.fit`.
    """
    # A squared error may be decided by one odd row of few, and so would be when to stop.
    robust = problem.pipeline.task == "regression" and settings.loss in (None, "mse")
    stopping = None
    if settings.patience and problem.validation is not None:
        monitor = "val_mae" if robust else None
        stopping = EarlyStopping(settings.patience, monitor, settings.min_delta)
    made = build(settings, problem)
    model, data, held, names = as_trained(problem, made.model)
    try:
        run = fit(
            model,
            data,
            loss=made.loss,
            optimizer=made.optimizer,
            regularizer=made.penalty,
            sample_weight=problem.weights[0],
            class_weight=settings.class_weight if problem.pipeline.classes else None,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            validation=held,
            early_stopping=stopping,
            metrics=["r2", "mae"] if robust else None,
            seed=settings.seed,
            watch=watch and not isinstance(made.optimizer, FullBatch),
            feature_names=names,
            **options,
        )
    except DivergedError as error:
        error.run = averaged(error.run, problem)
        raise
    return averaged(run, problem)


def _score(run: Run, problem: Problem) -> dict[str, Any]:
    """Return the content of ``metrics.json``: scores on test rows, and those of the baseline.

    For several targets, `targets` holds those of each.
    """
    X, y = problem.test
    target = run.pipeline.target if run.pipeline else problem.pipeline.target
    if target.parts:
        each = {
            part.name: _score(head(run, part.name), problem_of(problem, place))
            for place, part in enumerate(target.parts)
        }
        about = {"target": target.name, "task": target.task, "rows": problem.rows}
        return {**about, "test": {}, "baseline": {"guess": None}, "targets": each}
    scores: dict[str, Any] = {"target": target.name, "task": target.task, "rows": problem.rows}
    if len(X) == 0:
        return scores
    if target.task == "regression":
        outputs = run.outputs(X)
        true, predicted = target.decode(y), target.decode(run.decide(outputs))
        guess = np.full(len(true), target.mean)
        return scores | {
            "test": _of_values(target, true, predicted),
            "baseline": {"guess": target.mean, **_of_values(target, true, guess)},
            "intervals": value_intervals(true, predicted),
            "prediction_interval": coverage(target, run.objective, outputs, true),
            **value_gains(true, predicted, target.mean, float(np.median(_decoded(problem)))),
            "error_quantiles": error_quantiles(true, predicted),
            "baseline_error_quantiles": error_quantiles(true, guess),
        }
    k = len(target.classes)
    outputs = run.outputs(X)
    probabilities, predicted = run.probabilities(outputs), run.decide(outputs)
    shares = np.bincount(problem.train[1], minlength=k) / len(problem.train[1])
    guess = np.broadcast_to(shares, probabilities.shape)
    matrix = confusion_matrix(y, predicted, k)
    more = further_scores(y, probabilities, predicted, target.classes)
    plain = further_scores(y, guess, guess.argmax(axis=1), target.classes).values
    scores |= {
        "test": _of_classes(target, y, probabilities, predicted) | _finite(more.values),
        "baseline": {
            "guess": target.classes[int(shares.argmax())],
            **_of_classes(target, y, guess, guess.argmax(axis=1)),
            **_finite(plain),
        },
        "intervals": class_intervals(y, probabilities, predicted) | more.intervals,
        **class_gains(y, probabilities, guess),
        "classes": list(target.classes),
        "by_class": more.by_class,
        "worst_classes": worst_classes(matrix, target.classes),
    }
    return scores | ({"confusion_matrix": matrix.tolist()} if k <= MOST_CLASSES else {})


def _calibrated(run: Run, problem: Problem) -> Pipeline | PixelPipeline:
    """Return the pipeline with what prediction intervals are made of, the validation errors."""
    pipeline = problem.pipeline
    if problem.validation is None or pipeline.task == "classification":
        return pipeline
    target, y = pipeline.target, problem.validation[1]
    some = np.unique(np.linspace(0, len(problem.train[1]) - 1, MOST_FITTED).astype(np.intp))
    outputs, fitted = validation_outputs(run, problem), run.outputs(problem.train[0][some])
    seen = problem.train[1][some]
    if target.task == "regression":
        found = calibrated(target, run.objective, outputs, y, (fitted, seen))
        return replace(pipeline, target=found)
    parts = []
    for k, (part, (aim, own)) in enumerate(zip(target.parts, run.objective.parts, strict=True)):
        if part.task == "regression":
            trained = (fitted[:, own], seen[:, k])
            part = calibrated(part, aim, outputs[:, own], y[:, k], trained)
        parts.append(part)
    return replace(pipeline, target=replace(target, parts=tuple(parts)))


def _decoded(problem: Problem) -> Array:
    """Return the target of the training rows in its own units."""
    return problem.pipeline.target.decode(problem.train[1])


def _of_values(target: Target, true: Array, predicted: Array) -> dict[str, float | None]:
    more = {"poisson_deviance": poisson_deviance(true, predicted)} if target.counts else {}
    return _finite(score_values(true, predicted) | more)


def _of_classes(
    target: Target, true: Array, probabilities: Array, chosen: Array
) -> dict[str, float]:
    more = {"class_distance": class_distance(true, chosen)} if target.ordered else {}
    return score_classes(true, probabilities, chosen) | more


def _finite(scores: dict[str, float]) -> dict[str, float | None]:
    """Replace NaN, which JSON does not support, by None."""
    return {name: value if np.isfinite(value) else None for name, value in scores.items()}
