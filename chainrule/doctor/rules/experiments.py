"""Rules that find a cause by experiment: by short trainings with one thing changed.

Where a training ended poorly and nothing that was seen says why, the change that helps most
points to the cause.

Read next: :mod:`chainrule.doctor.fork`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.doctor.course import Course
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.fork import Bench
from chainrule.doctor.rule import rule
from chainrule.doctor.rules.ending import NO_BETTER
from chainrule.doctor.specimens import classes
from chainrule.doctor.survey import Survey
from chainrule.optim.adam import Adam

__all__ = ["could_learn_more"]

POOR = 0.75  # of the best constant's loss overcome: less is worth a search
GAP = 0.2  # by which the nearest rows take more of the error away than the training did
HELPS = 0.3  # of the loss on held-out rows, taken away with two seeds
FINAL = 3  # changes that are tried for long
RIVAL = 0.7  # of the best gain: as good an answer, for a ranking
ALIKE = 0.1  # difference of gains within which the smaller change is named first
WIDE = 32  # units of a hidden layer, at least, in the experiment of wider layers


@dataclass(frozen=True)
class _Try:
    """A change to be tried: its category, and what it says in words."""

    category: str
    change: Mapping[str, Any]
    words: str
    advice: str


def _tries(survey: Survey) -> Iterator[_Try]:
    """Yield the changes that apply, the smallest first."""
    x, case = survey.columns, survey.case
    centers, spreads = np.abs(x.mean(axis=0)), x.std(axis=0)
    varied = (spreads > 0) & survey.raw
    yield _Try("learning_rate", {"schedule": None}, "a learning rate that does not fall",
               "Let the learning rate fall later, or not at all.")  # fmt: skip
    yield _Try("learning_rate", {"learning_rate": 10.0}, "a learning rate ten times as high",
               "Multiply the learning rate by 10.")  # fmt: skip
    yield _Try("learning_rate", {"learning_rate": 100.0}, "a learning rate a hundred times as high",
               "Multiply the learning rate by 100.")  # fmt: skip
    yield _Try("learning_rate", {"learning_rate": 0.1}, "a learning rate a tenth as high",
               "Divide the learning rate by 10.")  # fmt: skip
    if varied.any() and (
        float(np.median(centers[varied] / spreads[varied])) > 1
        or not 0.3 < float(np.median(spreads[varied])) < 3
    ):
        yield _Try("preprocessing", {"preprocess": "standardize"}, "standardized inputs",
                   "Standardize the inputs: (X - X.mean(0)) / X.std(0).")  # fmt: skip
    if survey.batch_size > 64:
        yield _Try("batch", {"batch_size": 32}, "batches of 32 in as many epochs",
                   "Use batches of 32.")  # fmt: skip
    yield _Try("epochs", {"epochs": 4}, "four times as many epochs", "Train for more epochs.")
    yield _Try("activation", {"activation": "relu"}, "relu in the hidden layers",
               "Use relu in the hidden layers.")  # fmt: skip
    yield _Try("architecture", {"width": WIDE}, f"{WIDE} units in each hidden layer, or more",
               "Give the hidden layers more units.")  # fmt: skip
    yield _Try("initialization", {"init": None}, "default first weights",
               "Leave weight_init and bias_init at their defaults.")  # fmt: skip
    yield _Try("initialization", {}, "other first weights", "Train again with another seed.")
    if not isinstance(case.optimizer, Adam) and case.optimizer != "adam":
        yield _Try("optimizer", {"optimizer": "adam"}, "Adam at its default learning rate",
                   "Use Adam at its default learning rate.")  # fmt: skip


@rule(
    "learning_rate", stage="after",
    sick=lambda: classes(optimizer=Adam(2e-4), epochs=60),
    healthy=lambda: classes(epochs=60),
)  # fmt: skip
def could_learn_more(course: Course) -> Iterator[Finding]:
    """Find by experiment what kept a training from learning what the nearest rows tell."""
    learned, survey = course.learned, course.survey
    if learned is None or learned > POOR or course.diverged or course.by_hand:
        return
    # A plateau is what is to be explained.
    if any(f.level != "note" and f.cause != "plateau" for f in course.found):
        return
    near = survey.neighbours
    # Where the nearest rows can't be asked, only what learned nothing at all is looked into.
    if learned > NO_BETTER if near is None else near.gain < learned + GAP:
        return
    bench = Bench.of(survey, sum(float(r.get("seconds", 0.0)) for r in course.history))
    if bench is None or not survey.layers:
        return
    course.tell(
        "Training has ended; looking for what kept it from learning more. Ctrl-C ends this."
    )
    before = bench.ended
    hidden = [layer for layer in survey.layers if not layer.last]
    narrowest = min(hidden or survey.layers, key=lambda layer: layer.units)
    told: set[str] = set()
    tells = "" if near is None else (
        f" The nearest rows take {100 * near.gain:.0f} % of the error away.")  # fmt: skip
    for gain, reached, one in _experiments(bench):
        first = not told
        if one.category in told:
            continue
        told.add(one.category)
        yield Finding(
            "could_learn_more", one.category, "warning" if first else "note",
            f"{course.overcame.capitalize()}, and there is more to learn: "
            f" with {one.words}, short trainings reach a loss of {reached:.4g} on rows that "
            f"they have not seen, where this one has {before:.4g}.{tells}",
            one.advice,
            {"layer": narrowest.path} if "width" in one.change else {},
            (Evidence("share of the held-out loss that the change takes away", gain, HELPS,
                      "more than other first weights do; the best is tried with two seeds"),
             Evidence("share of the constant's loss overcome", learned, POOR,
                      "a training that ended well needs no search")),
            one.change, min(0.75, 0.4 + 0.35 * gain) if first else 0.3 + 0.2 * gain,
        )  # fmt: skip


def _experiments(bench: Bench) -> list[tuple[float, float, _Try]]:
    """Return the changes that help, the best first: the gain, the loss reached, and the change.

    All are tried for a while, the best `FINAL` longer, and the best of these with another seed;
    its gain is the smaller one.
    """
    before = bench.ended
    if not 0 < before < np.inf:
        return []
    forks = [(fork, one) for one in _tries(bench.survey) if bench.left > 0
             and (fork := bench.fork(one.change, int(not one.change))) is not None]  # fmt: skip
    whole = bench.left
    for fork, _ in forks:
        fork.advance(min(bench.left, 0.4 * whole / len(forks)))
    forks = [pair for pair in forks if pair[0].taken]
    if not forks:
        return []
    forks.sort(key=lambda pair: pair[0].loss)
    final = forks[:FINAL]
    for fork, _ in final:
        fork.advance(min(bench.left, 0.4 * whole / FINAL))
    found = [(1 - fork.loss / before, fork.loss, one) for fork, one in final]
    best = max(gain for gain, _, _ in found)
    good = [one for one in found if one[0] >= max(HELPS, RIVAL * best)]
    order = [one.change for one in _tries(bench.survey)]
    # Of changes that help alike, the first of the list is named: the smallest.
    good.sort(key=lambda g: (g[0] < best - ALIKE, order.index(g[2].change)))
    if not good:
        return []
    gain, reached, first = good[0]
    again = bench.fork(first.change, 2) if bench.left > 0 else None
    if again is None:
        return []
    again.advance(max(0.2 * whole, bench.left))
    gain = min(gain, 1 - again.loss / before)
    return [(gain, max(reached, again.loss), first), *good[1:]] if gain >= HELPS else []
