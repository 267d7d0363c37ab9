"""Rules on how a training ended: diverged, stuck, unsteady, or too early.

Read next: :mod:`chainrule.doctor.preflight`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from chainrule.core.wording import counted
from chainrule.doctor.case import Case
from chainrule.doctor.course import Course
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.layer_facts import WEIGHT
from chainrule.doctor.rule import rule
from chainrule.doctor.rules.signal import of_two_slopes
from chainrule.doctor.rules.start import MANY_DEAD
from chainrule.doctor.specimens import classes, network, values
from chainrule.nn.activations import Sigmoid
from chainrule.optim.adam import Adam
from chainrule.optim.sgd import SGD

__all__ = ["died_in_training", "diverged", "still_falling", "stuck", "unsteady"]

NO_BETTER = 0.05  # of the best constant's loss overcome: nothing was learned
WELL = 0.97  # overcome: nothing is left to complain of
LATE_GAIN = 0.1  # of the whole fall, in the last fifth of the epochs
LATE_SHARE = 0.25  # of the loss itself, in the same time
FEW_STEPS = 50
FEW_EPOCHS = 20
FEWEST_EPOCHS = 3  # to tell a loss that falls from one that has just begun to
HALF = 0.5  # overcome: what is left may be noise
SETTLED = 0.85  # overcome: small losses change by much of themselves from noise alone
GROWN = 10.0  # times the first loss
FLAT_SLOPE = 0.3  # mean slope of an activation: after five such layers, a gradient is 1/400
STILL = 0.1  # relative change of the weights, from start to end
BOUNCE = 0.25  # of the loss, by which it changes from epoch to epoch


@rule(
    "learning_rate", stage="after",
    sick=lambda: values(optimizer=SGD(2.0), epochs=5),
    healthy=lambda: values(epochs=5),
)  # fmt: skip
def diverged(course: Course) -> Iterator[Finding]:
    """Find a training whose loss grew without bound."""
    losses = course.losses
    first = max(float(losses[0]), course.survey.loss) if len(losses) else math.inf
    grown = math.inf if course.diverged else float(losses[-1]) / first if len(losses) > 1 else 0.0
    if not grown > GROWN:
        return
    x = course.survey.columns[:, course.survey.raw]
    size = float(np.sqrt(np.square(x).mean(axis=0)).max(initial=0.0))
    scaled = size < 100
    told = course.diverged.split(";")[0] if course.diverged else (
        f"the loss grew from {losses[0]:.4g} to {losses[-1]:.4g}")  # fmt: skip
    why = "The steps are too long." if scaled else (
        f"The inputs are not scaled (root mean square up to {size:.3g}), and gradients grow with "
        "them.")  # fmt: skip
    yield Finding(
        "diverged", "learning_rate" if scaled else "preprocessing", "fault",
        f"Training diverged: {told}. {why}",
        "Divide the learning rate by 10, and again until the loss falls." if scaled
        else "Standardize the inputs: (X - X.mean(0)) / X.std(0).",
        {"epoch": len(losses) + bool(course.diverged)},
        (Evidence("last loss over the first", grown, GROWN, "a loss should fall"),
         *[Evidence("largest root mean square of an input column", size, 100.0,
                    "gradients of the first layer grow with its inputs")] * (not scaled)),
        {"learning_rate": 0.1} if scaled else {"preprocess": "standardize"}, 0.85,
    )  # fmt: skip


@rule(
    "learning_rate", stage="while",
    sick=lambda: values(network(4, 16, 8, 1), scale=10.0, optimizer=SGD(0.1), epochs=30),
    healthy=lambda: values(network(4, 16, 8, 1)),
)  # fmt: skip
def died_in_training(course: Course) -> Iterator[Finding]:
    """Find layers that were alive at the start and are dead now."""
    pieces = {i for places in course.maxout_pieces.values() for i in places}  # one unit together
    pairs = zip(course.survey.layers, course.layers, strict=False)
    for i, (before, after) in enumerate(pairs):
        if after.slope.ndim != 2 or before.slope.ndim != 2 or i in pieces:
            continue
        then, now = (f.dead for f in (before, after))
        if now < MANY_DEAD or then > 0.5:
            continue
        yield Finding(
            "died_in_training", "learning_rate", "fault",
            f"Layer {after.path} died: {100 * now:.0f} % of its units are flat for every row, and "
            f"{100 * then:.0f} % were at the start. A step that was too long pushed them to where "
            "no gradient reaches them.",
            "Divide the learning rate by 10, or use leaky_relu.",
            {"layer": after.path},
            (Evidence("share of dead units", now, MANY_DEAD, "most of the layer"),),
            {"learning_rate": 0.1}, 0.8,
        )  # fmt: skip
        return


def _sigmoids() -> Case:
    return classes(network(4, *[8] * 5, 3, between=[Sigmoid()]), optimizer=SGD(0.01))


@rule("activation", stage="after", sick=_sigmoids, healthy=lambda: classes(epochs=60))
def stuck(course: Course) -> Iterator[Finding]:
    """Find a training that ended where the best constant is, and say what held it there."""
    learned = course.learned
    if learned is None or learned > NO_BETTER or course.diverged or not course.layers:
        return
    if course.by_hand:
        return
    hidden = [f for f in course.layers if not f.last]
    slopes = [float(np.abs(f.slope).mean()) for f in hidden if f.slope.ndim == 2]
    flat = bool(slopes) and max(slopes) < FLAT_SLOPE and min(slopes) > 0
    flat = flat and not all(of_two_slopes(f) for f in hidden)
    moved = _moved(course)
    text = (f"After {counted(len(course.losses), 'epoch')} the network is no better than a "
            f"constant: the loss is {course.losses[-1]:.4g}, that of the best constant "
            f"{course.survey.guess_loss:.4g}.")  # fmt: skip
    overcome = Evidence(
        "share of the constant's loss overcome", learned, NO_BETTER, "nothing learned"
    )
    if flat:
        yield Finding(
            "stuck", "activation", "warning",
            text + f" The activations of the hidden layers have a mean slope of {max(slopes):.2g} "
            "at most, and gradients are multiplied by it at each layer.",
            "Use relu or tanh in the hidden layers.",
            {"layer": hidden[0].path},
            (overcome, Evidence("largest mean slope of a layer's activation", max(slopes),
                                FLAT_SLOPE, "gradients are multiplied by it")),
            {"activation": "relu"}, 0.75,
        )  # fmt: skip
    few = course.steps < FEW_STEPS and moved < 1
    if not course.followed or not (moved < STILL or few):
        return
    evidence = (
        overcome,
        *[Evidence("relative change of the weights", moved, STILL,
                   "they have to move to learn")] * (moved < STILL),
        *[Evidence("training steps", course.steps, FEW_STEPS, "most networks need hundreds")] * few,
    )  # fmt: skip
    text += f" In {course.steps:,} steps the weights have moved by {100 * moved:.2g} %"
    root = None if few else course.explains("stuck")
    if root is not None:
        if not flat:
            yield Finding(
                "stuck", root.category, "warning", f"{text}.",
                "First mend what was found before it.", {}, evidence, {}, 0.7,
            )  # fmt: skip
        return
    yield Finding(
        "stuck", "epochs" if few else "learning_rate", "warning",
        text + f": the steps are too {'few' if few else 'short'}.",
        "Train for more epochs." if few else "Multiply the learning rate by 10.",
        {}, evidence, {"epochs": 10} if few else {"learning_rate": 10.0}, 0.8 if few else 0.7,
    )  # fmt: skip


def _moved(course: Course) -> float:
    """Return the median relative change, from start to end, of the weights that are trained."""
    trained = {WEIGHT.sub("", path) or "model" for path in course.followed}
    pairs = zip(course.survey.layers, course.layers, strict=False)
    moved = [
        float(np.linalg.norm(b.weight - a.weight) / max(1e-12, float(np.linalg.norm(a.weight))))
        for a, b in pairs
        if a.weight is not None and b.weight is not None and a.path.split("#")[0] in trained
    ]
    return float(np.median(moved)) if moved else 0.0


@rule(
    "epochs", stage="after",
    sick=lambda: classes(optimizer=Adam(6e-3), epochs=4),
    healthy=lambda: classes(optimizer=Adam(1e-2), epochs=300),
)  # fmt: skip
def still_falling(course: Course) -> Iterator[Finding]:
    """Find a training that ended while its loss was falling as fast as before."""
    losses, learned = course.losses, course.learned
    # One that early stopping or the user ended, or that converged, needs no more epochs.
    if course.diverged or course.stopped or not len(losses) or learned is None or learned > WELL:
        return
    if any(f.cause == "plateau" for f in course.found):  # which says that it no longer falls
        return
    first = max(course.survey.loss, float(losses[0]))
    fall = first - float(losses[-1])
    late = max(1, len(losses) // 5)
    start = float(losses[-1 - late]) if len(losses) > late else first
    share = (start - float(losses[-1])) / fall if fall > 0 else 0.0
    if len(losses) < FEWEST_EPOCHS and course.steps >= FEW_STEPS:
        return  # every loss falls so soon
    hardly = course.steps < FEW_STEPS and learned < HALF
    falls = share >= LATE_GAIN and fall >= 1e-3 * first
    # After a wild start the fall is all behind, however much is still to come.
    drop = 1 - float(losses[-1]) / start if start > 0 else 0.0
    halving = learned < 0 and drop > LATE_SHARE
    if not (falls or hardly or halving):
        return
    few = len(losses) <= FEW_EPOCHS or course.steps < FEW_STEPS
    level = "warning" if learned < HALF else "note"
    text = (
        f"The loss was still falling when training ended after {counted(len(losses), 'epoch')} "
        f"({course.steps:,} steps): "
    )
    last = f"in the last {counted(late, 'epoch')}"
    if share >= LATE_GAIN and len(losses) > late:
        text += f"{100 * share:.0f} % of its whole fall, from {first:.4g} to {losses[-1]:.4g}, "
        text += f"came {last}."
    elif halving:
        text += f"it fell from {start:.4g} to {losses[-1]:.4g} {last}."
    else:
        text = (
            f"Training ended after {counted(course.steps, 'step')}, before the loss of "
            f"{losses[-1]:.4g} could settle."
        )
    evidence = (
        *[Evidence("share of the fall in the last fifth of the epochs", share, LATE_GAIN,
                   "it had not settled")] * falls,
        *[Evidence("share of its loss lost in the last fifth of the epochs", drop, LATE_SHARE,
                   "it was still worse than a constant")] * halving,
        *[Evidence("training steps", course.steps, FEW_STEPS, "most networks need hundreds")]
        * hardly,
        Evidence("share of the constant's loss overcome", learned, HALF, "half of what there is")
        if learned < HALF else
        Evidence("share of the constant's loss overcome", learned, WELL,
                 "above it, there is nothing left to learn"),
    )  # fmt: skip
    confidence = 0.6 + 0.15 * min(1.0, share)
    faster = not few and course.explains("still_falling") is None  # there was time for more
    if faster:
        yield Finding(
            "still_falling", "learning_rate", level, text, "Multiply the learning rate by 3.",
            {"epoch": len(losses)}, evidence, {"learning_rate": 3.0}, confidence,
        )  # fmt: skip
        text = f"More epochs would let the loss of {losses[-1]:.4g} fall further, too."
    yield Finding(
        "still_falling", "epochs", level, text, "Train for more epochs.",
        {}, evidence, {"epochs": 4}, confidence if few else confidence - 0.1,
    )  # fmt: skip


@rule(
    "learning_rate", stage="after",
    sick=lambda: values(optimizer=SGD(0.25), epochs=40),
    healthy=lambda: values(epochs=40),
)  # fmt: skip
def unsteady(course: Course) -> Iterator[Finding]:
    """Find a loss that jumps up and down from epoch to epoch instead of settling."""
    losses = course.losses[len(course.losses) // 2 :]
    learned = course.learned
    if course.diverged or len(losses) < 5 or learned is None or learned > SETTLED:
        return
    steps = np.diff(losses)
    rises = float((steps > 0).mean())
    bounce = float(np.median(np.abs(steps)) / max(1e-12, float(np.median(losses))))
    if bounce < BOUNCE or rises < 0.25:
        return
    yield Finding(
        "unsteady", "learning_rate", "warning",
        f"In the second half of training the loss jumps up and down: from one epoch to the next it "
        f"typically rises or falls by {100 * bounce:.0f} %, and it rose in {100 * rises:.0f} % of "
        "the epochs. The steps are too long to settle.",
        "Divide the learning rate by 10, or let it fall by a schedule such as cosine.",
        {},
        (Evidence("median change from epoch to epoch", bounce, BOUNCE, "of the loss itself"),),
        {"learning_rate": 0.1}, 0.75,
    )  # fmt: skip
