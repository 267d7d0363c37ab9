"""Choose the temperature of the probabilities, and the threshold of a decision, on validation rows.

A network that was trained until its loss is low is often too sure of its answers.  One number, the
temperature, divides its logits; it changes no ranking of the classes (Guo, Pleiss, Sun and
Weinberger, "On calibration of modern neural networks", 2017).

Read next: :mod:`chainrule.tabular.class_scores`, which measures the calibration on test rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import OptionError
from chainrule.data.target import Target
from chainrule.tabular.cross_fit import validation_outputs
from chainrule.tabular.problem import Problem
from chainrule.tabular.scores import log_losses
from chainrule.train.run import Run

__all__ = ["calibrate", "check_threshold", "choose_threshold", "fit_temperature"]

Array = NDArray[Any]
SPREAD = 0.5  # standard deviation of the logarithm of temperatures that are expected
HOTTEST = 3.0  # largest logarithm of a temperature
FEWEST = 20  # validation rows for a temperature
MOST = 20_000  # validation rows that are used for it
PARTS = 5  # of the validation rows, each scored with the temperature of the others


def calibrate(run: Run, problem: Problem, threshold: str | float | None = None) -> dict[str, Any]:
    """Set the temperature and the threshold of `run`, and return how, as ``metrics.json`` has it.

    The temperature is that of :func:`fit_temperature` on the validation rows, if it lowers the
    log loss of rows that it was not fitted to by more than a standard error; otherwise it is 1.
    `threshold` is a rule of :func:`choose_threshold`, or a probability.
    Raises OptionError for a threshold that can't be chosen.
    """
    told: dict[str, Any] = {}
    target = problem.pipeline.target
    if target.task != "classification" or run.objective.kind != "classes":
        if threshold is not None:
            raise OptionError(_refusal(run, target))
        return told
    held = problem.validation
    if held is not None and len(held[0]) >= FEWEST and run.objective.probabilistic:
        logits = validation_outputs(run, problem, MOST).astype(np.float64)
        true = np.asarray(held[1][:MOST])
        if (found := _useful_temperature(logits, true)) is not None:
            run.temperature, before, after = found
            told["calibration"] = {
                "temperature": run.temperature,
                "rows": len(true),
                "log_loss_before": before,
                "log_loss": after,
            }
    if threshold is not None:
        run.threshold, rule = _threshold(run, problem, threshold), str(threshold)
        told["threshold"] = {
            "value": run.threshold,
            "rule": rule,
            "class": target.classes[1],
            "rows": 0 if held is None or not isinstance(_rule(threshold), str) else len(held[0]),
        }
    return told


def _refusal(run: Run, target: Target) -> str:
    """Return why there is no threshold for a target that is not trained on as classes."""
    if run.objective.kind == "ordered" and len(target.classes) == 2:
        return (
            "threshold can't be used with the loss ordinal, which classes in an order have; give "
            "the loss cross_entropy, which needs no order."
        )
    return f"threshold needs a target of two classes, but {target.name!r} is not one."


def fit_temperature(logits: Array, true: Array) -> float:
    """Return the temperature T that gives the classes `true` the lowest mean log loss.

    The loss is of ``softmax(logits / T)``.  The logarithm of T is expected near 0, with a standard
    deviation of 0.5, so that a few rows that are all correct do not make the network certain:
    minimized is ``rows * log loss + (log T)² / (2 * 0.5²)``.  logits: (rows, classes), true:
    (rows,).

    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(4000, 3))
    >>> shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    >>> true = (shares.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    >>> round(fit_temperature(3 * logits, true), 1)  # three times too sure
    3.0
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(true)), true]
    low, high = -HOTTEST, HOTTEST
    for _ in range(40):  # bisection for the slope over log(1 / T)
        middle = (low + high) / 2
        share = np.exp(shifted * math.exp(middle))
        mean = (share * shifted).sum(axis=1) / share.sum(axis=1)
        slope = float((mean - chosen).sum()) * math.exp(middle) + middle / SPREAD**2
        low, high = (low, middle) if slope > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


def _useful_temperature(logits: Array, true: Array) -> tuple[float, float, float] | None:
    """Return a temperature, and the log loss before and after, or None if it does not help."""
    before = _losses(logits, true, 1.0)
    after = np.empty_like(before)
    part = np.random.Generator(np.random.Philox(len(true))).permutation(len(true)) % PARTS
    for k in range(PARTS):
        out = part == k
        after[out] = _losses(logits[out], true[out], fit_temperature(logits[~out], true[~out]))
    gain = before - after
    if not gain.mean() > gain.std(ddof=1) / math.sqrt(len(gain)):
        return None
    found = fit_temperature(logits, true)
    return found, float(before.mean()), float(_losses(logits, true, found).mean())


def _losses(logits: Array, true: Array, temperature: float) -> Array:
    scaled = logits / temperature
    share = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return log_losses(true, share / share.sum(axis=1, keepdims=True))


def check_threshold(threshold: str | float) -> None:
    """Raise OptionError unless `threshold` is a rule or a probability.

    >>> check_threshold("cost=5")
    """
    _rule(threshold)


def _rule(threshold: str | float) -> str | float:
    """Return "balanced", "f1" or "cost=NUMBER", or a probability as a number."""
    said = str(threshold)
    if said in ("balanced", "f1"):
        return said
    words = said.removeprefix("cost=")
    try:
        number = float(words)
    except ValueError:
        number = math.nan
    if said.startswith("cost=") and 0 < number < math.inf:
        return said
    if not said.startswith("cost=") and 0 < number < 1:
        return number
    raise OptionError(
        f"threshold must be balanced, f1, cost=5 (a missed row of the second class costs five "
        f"false alarms) or a probability between 0 and 1, not {said!r}."
    )


def _threshold(run: Run, problem: Problem, threshold: str | float) -> float:
    rule, target = _rule(threshold), problem.pipeline.target
    if len(target.classes) != 2:
        raise OptionError(
            f"threshold needs a target of two classes; {target.name!r} has {len(target.classes)}."
        )
    if not isinstance(rule, str):
        return rule
    if problem.validation is None:
        raise OptionError(
            f"threshold {rule!r} is chosen on validation rows, and there are too few rows for any; "
            "give a probability."
        )
    probabilities = run.probabilities(validation_outputs(run, problem))
    positive = np.asarray(problem.validation[1]) == 1
    return choose_threshold(rule, positive, probabilities[:, 1])


def choose_threshold(rule: str, positive: Array, probability: Array) -> float:
    """Return the least probability at which a row is predicted positive.

    It is the best by `rule` on these rows: "balanced", the highest mean recall of the two classes;
    "f1", the highest F1; "cost=C", the lowest number of false alarms plus C times that of missed
    positives.  Of equally good ones it is that nearest to one half.  positive: bool (rows,).

    >>> p = np.array([0.1, 0.2, 0.3, 0.4])
    >>> round(choose_threshold("balanced", np.array([False, False, True, True]), p), 3)
    0.25
    """
    values, place = np.unique(probability.astype(np.float64), return_inverse=True)
    edges = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2, [1.0]])
    # Of the rows at each edge and above: taken for positive.
    hits = np.bincount(place, weights=positive, minlength=len(values))
    rows = np.bincount(place, minlength=len(values))
    found = np.append(np.cumsum(hits[::-1])[::-1], 0.0)
    said = np.append(np.cumsum(rows[::-1])[::-1], 0.0)
    yes, no = float(positive.sum()), float((~positive).sum())
    alarms, missed = said - found, yes - found
    if rule == "balanced":
        gain = found / max(yes, 1.0) - alarms / max(no, 1.0)
    elif rule == "f1":
        gain = 2 * found / np.maximum(said + yes, 1.0)
    else:
        gain = -(alarms + float(rule.removeprefix("cost=")) * missed)
    best = np.flatnonzero(gain >= gain.max() - 1e-12)
    return float(edges[best[np.abs(edges[best] - 0.5).argmin()]])
