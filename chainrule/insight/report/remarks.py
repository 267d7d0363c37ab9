"""Remarks on a training run, such as overfitting or dead layers, each with its numbers.

A remark is made only if the numbers leave little doubt.  Most runs get none.

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

__all__ = ["Remark", "all_dead", "remarks_on", "summary_of", "warnings_on"]

FEW_EPOCHS = 8  # with fewer epochs, no remark on the training curve is made
WORSE = 1.1  # ratio to the best validation loss above which it counts as risen
WEAK, STRONG = 1e-2, 1e2  # ratio of the gradient at the first layer to that at the last


@dataclass(frozen=True)
class Remark:
    """A remark: `weight` is "good", "note" or "bad", `text` one or two sentences."""

    weight: str
    text: str


def remarks_on(run: Run) -> list[Remark]:
    """Return the remarks on `run`, from its history and its scores.

    What the doctor looks at, too, is left to it in a run that it has checked.
    """
    found = [_against_the_guess(run.scores), _ending(run)]
    if run.findings is None:
        found += [*_course(run), *(_dead_layers(run) or _gradients(run.history))]
    return [remark for remark in found if remark is not None]


def summary_of(run: Run) -> list[str]:
    """Return the texts of the remarks, and the causes that the doctor found above a note."""
    found = () if run.findings is None else run.findings.serious
    return [r.text for r in remarks_on(run)] + [f.told for f in found if not f.because]


def warnings_on(run: Run) -> list[str]:
    """Return warnings for a run that is not better than the plain guess, [] for a better run.

    The first warning says so; the others say what went wrong in training.
    """
    if not verdict(run.scores).poor:
        return []
    return [remark.text for remark in remarks_on(run) if remark.weight == "bad"]


def _against_the_guess(scores: Mapping[str, Any]) -> Remark | None:
    found = verdict(scores)
    return Remark("bad" if found.poor else "note", found.text) if found.text else None


def all_dead(path: str, layer: str, units: int) -> Remark:
    """Return the remark on a layer whose output is the same for every row."""
    named = f"{path} ({layer})" if layer else path
    return Remark(
        "bad",
        f"Layer {named}: all {counted(units, 'unit')} dead. They are constant over the rows, so "
        "no gradient passes; try a smaller learning rate, biases that start at 0, or leaky_relu.",
    )


def _dead_layers(run: Run) -> list[Remark | None]:
    """Return a remark on each layer whose output was 0 for every recorded row.

    Statistics of the epoch whose weights were kept are used if recorded, else the last ones.
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


def _ending(run: Run) -> Remark | None:
    epochs, planned = len(run.history), run.settings.get("epochs")
    if run.stopped == "interrupted":
        kept = f"; the weights of epoch {run.best_epoch} were kept" if run.best_epoch else ""
        of = f" of {planned}" if planned else ""
        return Remark("note", f"Training was interrupted after epoch {epochs}{of}{kept}.")
    if run.stopped:
        return Remark("good", f"Training ended early: {run.stopped}.")
    return None


def series(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray[Any, Any]:
    """Return the entry `name` of every record as an array, NaN where it is missing."""
    values = [record.get(name) for record in history]
    return np.array([math.nan if v is None else v for v in values], np.float64)


def _course(run: Run) -> list[Remark | None]:
    """Return remarks on the losses: overfitting, stopped too early, or not learning."""
    loss, held = series(run.history, "loss"), series(run.history, "val_loss")
    epochs = len(loss)
    if epochs < FEW_EPOCHS or not np.isfinite(loss).all():
        return []
    if loss[-1] > 0.99 * loss[0] > 0:
        return [Remark("bad", f"The training loss hardly changed: {loss[0]:.4g} in the first "
                               f"epoch, {loss[-1]:.4g} in the last.")]  # fmt: skip
    if not np.isfinite(held).all():
        return []
    lowest = int(held.argmin())
    best = run.best_epoch - 1 if 0 < run.best_epoch <= lowest + 1 else lowest
    last = max(3, epochs // 10)  # all of these epochs must be worse: one may be by chance
    if held[-last:].min() > WORSE * held[best] > 0 and loss[-1] < loss[best]:
        return [Remark(
            "note",
            f"Overfitting: after epoch {best + 1} the training loss kept falling, from "
            f"{loss[best]:.4g} to {loss[-1]:.4g}, while the validation loss rose from "
            f"{held[best]:.4g} to {held[-1]:.4g}.",
        )]  # fmt: skip
    tenth = max(1, epochs // 10)
    if run.stopped is None and lowest == epochs - 1 and held[-1] < 0.98 * held[-1 - tenth]:
        return [Remark(
            "note",
            f"The validation loss was still falling at the end, from {held[-1 - tenth]:.4g} to "
            f"{held[-1]:.4g} in {counted(tenth, 'epoch')}: more epochs may improve it.",
        )]  # fmt: skip
    return []


def _gradients(history: Sequence[Mapping[str, Any]]) -> list[Remark | None]:
    """Return a remark if gradients vanish or explode from the last layer to the first."""
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
        return [Remark("bad", f"No gradient reaches layer {names[0]}: in most epochs it was 0 "
                               "there, so that layer learned nothing.")]  # fmt: skip
    course, times, size = ("vanish", 1 / ratio, "smaller") if ratio <= WEAK else (
        "explode", ratio, "larger")  # fmt: skip
    told = f"{times:,.0f}" if times < 1e7 else f"{times:.1g}"
    return [Remark(
        "bad" if ratio <= WEAK else "note",
        f"Gradients {course} during backpropagation: in most epochs those at layer {names[0]} "
        f"were about {told} times {size} than those at layer {names[-1]}.",
    )]  # fmt: skip
