"""Compare the loss of a network on test rows with that of a baseline, the plain guess.

Both losses are computed on the same rows, so the comparison is paired: the mean difference per
row, with its standard error.  Accuracy is not enough: if 8 % of the rows are positive, even a good
network may never predict the positive class.

Read next: :mod:`chainrule.tabular.intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.wording import counted
from chainrule.tabular.intervals import student
from chainrule.tabular.scores import log_losses

__all__ = ["Verdict", "class_gains", "value_gains", "verdict"]

Array = NDArray[Any]
NEARLY = 0.01  # predictions that vary less than this count as equal
LITTLE = 0.02  # share of the guess's loss: a smaller gain is negligible
FEW = 10  # rows: with fewer, all predictions may be equal by chance
ROUNDING = 1e-6  # of the guess's loss: smaller gains are rounding


@dataclass(frozen=True)
class Verdict:
    """The result of comparing a network with the plain guess on test rows.

    `outcome` is "better"; "hardly" if only the loss is better, by less than 2 %; "mixed" if
    another measure is significantly better but the loss significantly worse; "unsure" if there
    are too few rows; "same" if the gain is shown to be less than 2 %; or "worse".
    `text` explains it with the numbers; it is "" for "better".
    """

    outcome: str
    text: str = ""

    @property
    def poor(self) -> bool:
        """Whether the network is hardly better than the plain guess, the same, or worse."""
        return self.outcome in ("hardly", "same", "worse")


def class_gains(true: Array, probabilities: Array, guess: Array) -> dict[str, Any]:
    """Return the gain in log loss over the guess, and whether predictions are equal for all rows.

    true: class indices (rows,).  probabilities, guess: (rows, classes).

    >>> found = class_gains(np.array([0, 1]), np.eye(2), np.full((2, 2), 0.5))
    >>> round(found["gain_over_guess"]["log_loss"]["mean"], 3)
    0.693
    """
    gain = log_losses(true, guess) - log_losses(true, probabilities)
    return {
        "gain_over_guess": {"log_loss": _mean_and_error(gain)},
        "same_for_every_row": bool(np.ptp(probabilities, axis=0).max() < NEARLY),
    }


def value_gains(true: Array, predicted: Array, mean: float, median: float) -> dict[str, Any]:
    """Return the gains in squared error over `mean` and in absolute error over `median`.

    true, predicted: (rows,), in the units of the target.

    >>> found = value_gains(np.array([0.0, 2.0]), np.array([0.0, 1.0]), 1.0, 1.0)
    >>> found["gain_over_guess"]["squared_error"]["mean"]
    0.5
    """
    true = np.asarray(true, np.float64)
    error = np.asarray(predicted, np.float64) - true
    squared = (true - mean) ** 2 - error**2
    absolute = np.abs(true - median) - np.abs(error)
    with np.errstate(invalid="ignore"):  # predictions may not be finite
        spread = np.ptp(predicted)
    return {
        "gain_over_guess": {
            "squared_error": _mean_and_error(squared),
            "absolute_error": _mean_and_error(absolute),
        },
        "same_for_every_row": bool(spread < NEARLY * np.ptp(true)),
    }


def _mean_and_error(gain: Array) -> dict[str, float | None]:
    if not np.isfinite(gain).all():  # some predictions are not finite
        return {"mean": None, "standard_error": None}
    rows = len(gain)
    error = float(gain.std(ddof=1)) / math.sqrt(rows) if rows > 1 else None
    return {"mean": float(gain.mean()), "standard_error": error}


def verdict(scores: Mapping[str, Any]) -> Verdict:
    """Return the verdict on the ``run.scores`` of a table.

    A network is better if its mean gain in loss over the plain guess is larger than `t` standard
    errors, where `t` is the 97.5 % quantile of Student's distribution.  If the loss is not
    significantly better, the balanced accuracy or the absolute error may be.

    Of several targets, the network is poor if it is for each.

    >>> gain = {"log_loss": {"mean": 0.021, "standard_error": 0.005}}
    >>> verdict({"gain_over_guess": gain, "rows": {"test": 800}, "task": "classification",
    ...          "baseline": {"log_loss": 0.279}})
    Verdict(outcome='better', text='')
    """
    if "targets" in scores:
        return _of_several({name: verdict(one) for name, one in scores["targets"].items()})
    gains = scores.get("gain_over_guess")
    if not gains:  # trained on arrays, or by an older version
        return Verdict("better")
    loss, *others = gains.values()
    rows = scores["rows"]["test"]
    whole = _guessed(scores)
    clear = _clear(loss, rows, ROUNDING * whole)
    if clear > 0 and loss["mean"] >= LITTLE * whole:
        return Verdict("better")
    regression = scores["task"] == "regression"
    other = any(_clear(gain, rows, 0.0) > 0 for gain in others) if regression else _tells(scores)
    if other and _clear(loss, rows, 0.0) < 0:
        return Verdict("mixed", _mixed(scores, regression))
    if clear > 0 and not other:
        return Verdict("hardly", (
            f"On {counted(rows, 'row')} not seen in training the network is hardly better than the "
            f"plain guess: {_measured(scores)}, a gain of "
            f"{100 * loss['mean'] / whole:.1f} %."
        ))  # fmt: skip
    return Verdict("better") if other else _not_better(scores, loss)


def _of_several(found: Mapping[str, Verdict]) -> Verdict:
    """Return the verdict on several targets: poor if every one is, with what is said of each."""
    text = " ".join(f"Target {name!r}: {one.text}" for name, one in found.items() if one.text)
    worst = next(iter(found.values())).outcome if all(v.poor for v in found.values()) else "mixed"
    return Verdict(worst if text else "better", text)


def _guessed(scores: Mapping[str, Any]) -> float:
    """Return the mean loss of the plain guess."""
    guess = scores["baseline"]
    return float(guess["rmse"] ** 2 if scores["task"] == "regression" else guess["log_loss"])


def _clear(gain: Mapping[str, Any], rows: int, least: float) -> int:
    """Return 1 if the gain is significantly above 0, -1 if significantly below, else 0."""
    mean, error = gain["mean"], gain["standard_error"]
    if mean is None:
        return -1
    if error is None or abs(mean) <= max(least, student(rows - 1) * error):
        return 0
    return 1 if mean > 0 else -1


def _tells(scores: Mapping[str, Any]) -> bool:
    """Whether the balanced accuracy is significantly above that of the plain guess."""
    return bool(
        scores["intervals"]["balanced_accuracy"][0] > scores["baseline"]["balanced_accuracy"]
    )


def _measured(scores: Mapping[str, Any]) -> str:
    key, name = ("rmse", "root mean square error") if scores["task"] == "regression" else (
        "log_loss", "log loss")  # fmt: skip
    score, guess = scores["test"][key], scores["baseline"][key]
    return f"{name} {'undefined' if score is None else f'{score:.4g}'} against {guess:.4g}"


def _mixed(scores: Mapping[str, Any], regression: bool) -> str:
    if regression:
        return (
            "Most rows are predicted better than by the plain guess, but a few have large errors: "
            f"{_measured(scores)}."
        )
    low, high = scores["intervals"]["balanced_accuracy"]
    return (
        f"The network distinguishes the classes (balanced accuracy "
        f"{100 * scores['test']['balanced_accuracy']:.1f} %, 95 % interval {100 * low:.1f} to "
        f"{100 * high:.1f} %), but its probabilities are worse than the class shares: "
        f"{_measured(scores)}. With class weights this is expected; otherwise it is "
        "overconfident: stop earlier, or use more regularization."
    )


def _not_better(scores: Mapping[str, Any], loss: Mapping[str, Any]) -> Verdict:
    rows, gain, error = scores["rows"]["test"], loss["mean"], loss["standard_error"]
    same = scores["same_for_every_row"] and rows >= FEW
    most = math.inf if error is None or gain is None else gain + student(rows - 1) * error
    none = same or most < LITTLE * _guessed(scores)
    outcome = "worse" if _clear(loss, rows, 0.0) < 0 else "same" if none else "unsure"
    measured = _measured(scores)
    unit = "squared error" if scores["task"] == "regression" else "log loss"
    doubt = "" if error is None else f", standard error {error:.2g}"
    told = "" if gain is None else f" (gain in {unit} {gain:.2g}{doubt})"
    if outcome == "unsure":
        are = "is" if rows == 1 else "are"
        return Verdict(outcome, (
            f"{counted(rows, 'row')} not seen in training {are} too few to tell whether the "
            f"network is better than the plain guess: {measured}{told}."
        ))  # fmt: skip
    how = "worse than" if outcome == "worse" else "no better than"
    text = (
        f"On {counted(rows, 'row')} not seen in training the network is {how} the plain guess: "
        f"{measured}{told}."
    )
    return Verdict(outcome, text + " It predicts nearly the same for every row." * same)
