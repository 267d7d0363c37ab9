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

from chainrule.core.errors import ChainruleError
from chainrule.core.wording import counted
from chainrule.nn.layer import summary
from chainrule.tabular.verdict import verdict
from chainrule.train.run import Run

__all__ = ["Finding", "all_dead", "find", "warnings"]

FEW_EPOCHS = 8  # with fewer there is no course of things to speak of
WORSE = 1.1  # so much above the best, the validation loss has turned
WEAK, STRONG = 1e-2, 1e2  # gradient of the first layer, measured by that of the last


@dataclass(frozen=True)
class Finding:
    """A remark: `weight` is "good", "note" or "bad", `text` one or two sentences."""

    weight: str
    text: str


def find(run: Run) -> list[Finding]:
    """Return what stands out in `run`, by its history and its scores."""
    inside = _dead_layers(run) or _gradients(run.history)
    found = [_against_the_guess(run.scores), _ending(run), *_course(run), *inside]
    return [finding for finding in found if finding is not None]


def warnings(run: Run) -> list[str]:
    """Return what a person has to know of a run that is no better than the plain guess.

    The first says so, the others what went wrong in training; [] for a run that is better.
    """
    if not verdict(run.scores).poor:
        return []
    return [finding.text for finding in find(run) if finding.weight == "bad"]


def _against_the_guess(scores: Mapping[str, Any]) -> Finding | None:
    found = verdict(scores)
    return Finding("bad" if found.poor else "note", found.text) if found.text else None


def all_dead(path: str, layer: str, units: int) -> Finding:
    """Return the remark on a layer that gives the same for every row."""
    named = f"{path} ({layer})" if layer else path
    return Finding(
        "bad",
        f"Layer {named}: all {counted(units, 'unit')} dead. No row moves them, so no gradient "
        "passes; try a smaller learning rate, biases that start at 0, or leaky_relu.",
    )


def _dead_layers(run: Run) -> list[Finding | None]:
    """Return a remark on each layer whose output was 0 for every row that was watched.

    It is that of the weights that are kept, where their epoch was watched, else of the last.
    """
    watched = {r["epoch"]: r["layers"] for r in run.history if r.get("layers")}
    if not watched:
        return []
    layers = watched.get(run.best_epoch) or watched[max(watched)]
    try:
        rows = [row for row in summary(run.model, run.features).rows if row.path]
    except ChainruleError:
        return []
    before = {row.path: rows[i - 1] for i, row in enumerate(rows) if i}
    return [
        all_dead(before[path].path, before[path].layer, int(before[path].shape[-1]))  # type: ignore[arg-type]
        for path, found in layers.items()
        if path in before and found.get("input_zeros") == 1
    ]


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
    if ratio == 0:
        return [Finding("bad", f"No gradient reaches layer {names[0]}: in most epochs it was 0 "
                               "there, so that layer learned nothing.")]  # fmt: skip
    course, times, size = ("fade", 1 / ratio, "smaller") if ratio <= WEAK else (
        "grow", ratio, "larger")  # fmt: skip
    told = f"{times:,.0f}" if times < 1e7 else f"{times:.1g}"
    return [Finding(
        "bad" if ratio <= WEAK else "note",
        f"Gradients {course} on their way back: in most epochs those at layer {names[0]} were "
        f"about {told} times {size} than those at layer {names[-1]}.",
    )]  # fmt: skip
