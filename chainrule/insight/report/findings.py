"""What stands out in a training: short remarks, each with the numbers it rests on.

A run goes in, lines come out.  A remark is made only where the numbers leave little doubt; most
trainings deserve none.

Read next: :mod:`chainrule.insight.report.report`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.train.run import Run
from chainrule.train.scores import beats_guess

__all__ = ["Finding", "find", "wilson"]

FEW_EPOCHS = 8  # with fewer there is no course of things to speak of
WORSE = 1.1  # so much above the best, the validation loss has turned
WEAK, STRONG = 1e-2, 1e2  # gradient of the first layer, measured by that of the last


@dataclass(frozen=True)
class Finding:
    """A remark: `weight` is "good", "note" or "bad", `text` one or two sentences."""

    weight: str
    text: str


def wilson(hits: int, rows: int, z: float = 1.96) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a share, of which `hits` of `rows` were seen.

    ``center = (p + z²/2n) / (1 + z²/n)``, ``half = z / (1 + z²/n) * sqrt(p(1-p)/n + z²/4n²)``.
    Source: Wilson, Journal of the American Statistical Association 22, 1927.

    >>> [round(end, 3) for end in wilson(29, 30)]
    [0.833, 0.994]
    """
    share, weight = hits / rows, z * z / rows
    center = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / rows + weight / (4 * rows))
    return max(0.0, center - half), min(1.0, center + half)


def find(run: Run) -> list[Finding]:
    """Return what stands out in `run`, by its history and its scores."""
    found = [_against_the_guess(run.scores), _ending(run), *_course(run), *_gradients(run.history)]
    return [finding for finding in found if finding is not None]


def _against_the_guess(scores: Mapping[str, Any]) -> Finding | None:
    if not scores or beats_guess(scores):
        return None
    return Finding(
        "bad",
        "On rows it has not seen the network is no better than the plain guess, so it learned "
        "nothing that holds for new rows.",
    )


def _ending(run: Run) -> Finding | None:
    epochs, planned = len(run.history), run.settings.get("epochs")
    if run.stopped == "interrupted":
        kept = f"; the weights of epoch {run.best_epoch} were kept" if run.best_epoch else ""
        of = f" of {planned}" if planned else ""
        return Finding("note", f"Training was interrupted after epoch {epochs}{of}{kept}.")
    if run.stopped:
        return Finding("good", f"Training ended early: {run.stopped}.")
    return None


def series(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray[Any, Any]:
    """Return an entry of every record as numbers, NaN where it is absent."""
    values = [record.get(name) for record in history]
    return np.array([math.nan if v is None else v for v in values], np.float64)


def _course(run: Run) -> list[Finding | None]:
    """Return what the losses tell: overfitting, not done yet, not learning at all."""
    loss, held = series(run.history, "loss"), series(run.history, "val_loss")
    epochs = len(loss)
    if epochs < FEW_EPOCHS or not np.isfinite(loss).all():
        return []
    if loss[-1] > 0.99 * loss[0] > 0:
        return [Finding("bad", f"The training loss hardly moved: {loss[0]:.4g} in the first epoch, "
                               f"{loss[-1]:.4g} in the last.")]  # fmt: skip
    if not np.isfinite(held).all():
        return []
    lowest = int(held.argmin())
    best = run.best_epoch - 1 if 0 < run.best_epoch <= lowest + 1 else lowest
    last = max(3, epochs // 10)  # the lowest of them must be worse: one epoch may be by chance
    if held[-last:].min() > WORSE * held[best] > 0 and loss[-1] < loss[best]:
        return [Finding(
            "note",
            f"After epoch {best + 1} the training loss fell on, from {loss[best]:.4g} to "
            f"{loss[-1]:.4g}, while the validation loss rose from {held[best]:.4g} to "
            f"{held[-1]:.4g}: what it learned from there on holds for the training rows alone "
            "(overfitting).",
        )]  # fmt: skip
    tenth = max(1, epochs // 10)
    if run.stopped is None and lowest == epochs - 1 and held[-1] < 0.98 * held[-1 - tenth]:
        return [Finding(
            "note",
            f"The validation loss still fell in the last epochs, from {held[-1 - tenth]:.4g} to "
            f"{held[-1]:.4g} in {tenth}: more epochs may do better.",
        )]  # fmt: skip
    return []


def _gradients(history: Sequence[Mapping[str, Any]]) -> list[Finding | None]:
    """Return whether gradients vanish or grow on their way back through the layers."""
    watched = [record["layers"] for record in history if record.get("layers")]
    if not watched or len(watched[-1]) < 3:
        return []
    names = list(watched[-1])
    first, last = (np.array([r[n]["gradient_rms"] for r in watched]) for n in (names[0], names[-1]))
    seen = last > 0
    if not seen.any():
        return []
    ratio = float(np.median(first[seen] / last[seen]))
    if WEAK < ratio < STRONG:
        return []
    course, times = ("fade", 1 / ratio if ratio else math.inf) if ratio <= WEAK else ("grow", ratio)
    size = "smaller" if ratio <= WEAK else "larger"
    return [Finding(
        "bad" if ratio <= WEAK else "note",
        f"Gradients {course} on their way back: in most epochs those at layer {names[0]} were "
        f"about {times:,.0f} times {size} than those at layer {names[-1]}.",
    )]  # fmt: skip
