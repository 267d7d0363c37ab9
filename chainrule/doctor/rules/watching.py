"""Rules on a training while it runs: what has gone wrong since its start.

Each measures a trend: the layers now beside those at the start, how far each epoch moved the
weights, and the losses up to now.  Where the loss is low, nothing is wrong.

Read next: :mod:`chainrule.doctor.rules.ending`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.core.wording import counted
from chainrule.data.moments import root_mean_square
from chainrule.doctor.case import Case
from chainrule.doctor.course import Course
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.layer_facts import LayerFacts
from chainrule.doctor.rule import rule
from chainrule.doctor.rules.ending import FEW_STEPS, HALF, SETTLED
from chainrule.doctor.rules.signal import FLAT, MOSTLY, saturation
from chainrule.doctor.rules.start import MANY_DEAD
from chainrule.doctor.specimens import classes, network, numbers, values
from chainrule.doctor.survey import Array
from chainrule.nn.activations import Sigmoid, Tanh
from chainrule.nn.layer import Linear, Sequential
from chainrule.nn.maxout import Maxout
from chainrule.optim.adam import Adam
from chainrule.optim.schedules import Exponential
from chainrule.optim.sgd import SGD

__all__ = [
    "layer_left_behind", "maxout_pieces_unused", "overfitting", "plateau", "saturated_in_training",
    "steps_faded", "zig_zag",
]  # fmt: skip

SAME = 0.2  # share of slopes that are the largest; of a smooth activation, one row's is
SOUND = 0.3  # share of flat slopes at the start, up to which a layer was not saturated
WINDOW, WINDOW_SHARE = 10, 0.3  # epochs of a plateau: at least 10, and this share of those planned
GENTLE = 0.3  # mean slope of activations; that of a sigmoid is 0.25 at most
HARDLY = 0.1  # of their length, by which weights have to move to learn something
FLAT_LOSS = 0.01  # of the loss, by which it may still fall in the window of a plateau
REACHED = 0.5  # of what the nearest rows can tell; a network tells more than they do
LEFT_BEHIND = 0.02  # of the movement of the layer that moved most
MUCH = 0.5  # of its length, by which another layer has moved: there was time enough
STEEP = 0.1  # gradient over that at the start: there is still a slope to go down
FADED_STEPS = 0.01  # of the longest steps
ONE_SIGN = 0.9  # share of the gradients of a unit that have one sign; by chance, about half
BACK = -0.5  # cosine of the changes of two epochs; noise alone has -0.5 at least
ONE_PIECE = 0.5  # of the units, which use one piece only: half of the layer is linear
OFFSET = 3.0  # spreads of a column between 0 and its mean
RISEN = 2.0  # times the lowest validation loss
WORSE_ANSWERS = 0.1  # of accuracy or R²: without it, the network is only too sure of its errors
RISING = 10  # epochs since the lowest validation loss, and a tenth of those planned


def _high(course: Course, most: float) -> bool:
    """Whether the loss is high: less than `most` of the best constant's is overcome."""
    return not course.diverged and course.learned is not None and course.learned < most


def _reachable(course: Course) -> float:
    """Return the share of a constant's error that can surely be overcome: what neighbours tell."""
    known = course.survey.neighbours
    return 0.0 if known is None else known.gain - 2 * known.error


@rule(
    "learning_rate", stage="while",
    sick=lambda: classes(network(4, 16, 3, between=[Tanh()]), optimizer=SGD(2.0, 0.9)),
    healthy=lambda: values(network(4, 16, 1, between=[Tanh()]), epochs=60),
)  # fmt: skip
def saturated_in_training(course: Course) -> Iterator[Finding]:
    """Find layers that were not saturated at the start and are now, while the loss is high."""
    if not _high(course, SETTLED):
        return
    for before, after in zip(course.survey.layers, course.layers, strict=False):
        if _has_corner(before):
            continue  # ReLU and its variants die instead
        then, now = saturation(before), saturation(after)
        if then > SOUND or now <= MOSTLY or after.dead >= MANY_DEAD:  # died_in_training says so
            continue
        sums = [root_mean_square(f.product) for f in (before, after)]
        yield Finding(
            "saturated_in_training", "learning_rate", "warning",
            f"Layer {after.path} has become saturated: its activation is nearly flat for "
            f"{100 * now:.0f} % of rows and units, and was for {100 * then:.0f} % at the start. "
            f"Steps that were too long have grown its weighted sums from {sums[0]:.3g} to "
            f"{sums[1]:.3g} (root mean square), and hardly any gradient passes now.",
            "Divide the learning rate by 10, or put batch normalization before the activation.",
            {"layer": after.path},
            (Evidence("share of nearly flat slopes", now, MOSTLY,
                      f"slopes below {FLAT:g} of the largest"),
             Evidence("the same at the start", then, SOUND, "it was not saturated"),
             _overcome(course, SETTLED)),
            {"learning_rate": 0.1}, 0.75,
        )  # fmt: skip
        return  # later layers suffer from this one


def _has_corner(layer: LayerFacts) -> bool:
    """Whether many rows have the very same slope: that of the straight part of a ReLU."""
    slopes = np.abs(layer.slope)
    return bool((slopes == slopes.max(axis=0)).mean() > SAME)


def _overcome(course: Course, most: float) -> Evidence:
    assert course.learned is not None
    return Evidence("share of the constant's loss overcome", course.learned, most,
                    "with a low loss, nothing is wrong")  # fmt: skip


def _plateau_length(course: Course) -> int:
    return max(WINDOW, int(np.ceil(WINDOW_SHARE * course.survey.case.epochs)))


def _sigmoids() -> Case:
    return classes(network(4, *[16] * 4, 3, between=[Sigmoid()]), optimizer=SGD(0.1), epochs=60)


@rule("activation", stage="while", sick=_sigmoids, healthy=lambda: values(epochs=60))
def plateau(course: Course) -> Iterator[Finding]:
    """Find a loss that has stopped falling, far above what the nearest rows show to be possible.

    The window is a share of the planned epochs, so that slow but steady trainings are left alone;
    a fall that the noise between epochs could hide is none.
    """
    length, losses = _plateau_length(course), course.losses
    steps = course.survey.steps // course.survey.case.epochs * length
    if len(losses) < length + 2 or steps < FEW_STEPS or not _high(course, HALF):
        return
    window = losses[-length:]
    level = float(np.median(window))
    slope = np.polyfit(np.arange(length), window, 1)
    left = window - np.polyval(slope, np.arange(length))
    error = float(left.std()) * np.sqrt(12 / length)  # of the fall over the whole window
    fall = (2 * error - float(slope[0]) * length) / max(level, 1e-12)
    learned, reach = course.learned, _reachable(course)
    if fall > FLAT_LOSS or learned is None or learned > REACHED * reach:
        return
    bent = [f for f, start in zip(course.layers, course.survey.layers, strict=False)
            if f.slope.ndim == 2 and not f.last and not _has_corner(start)]  # fmt: skip
    slopes = [float(np.abs(f.slope).mean()) for f in bent]
    known = bool(course.followed) and len(course.moves) >= length
    moved = float(np.median(course.moves[-length:], axis=1).sum()) if known else 0.0
    change: dict[str, Any]
    if slopes and max(slopes) < GENTLE:
        category, change = "activation", {"activation": "relu"}
        why = (f" The activations have a mean slope of {max(slopes):.2g} at most, and gradients "
               "are multiplied by it at each layer.")  # fmt: skip
        cure = "Use relu or tanh in the hidden layers."
    elif not known:  # all weights are frozen, or the doctor did not see these epochs
        return
    elif (root := course.explains("plateau")) is not None:
        category, change, why = root.category, {}, ""
        cure = "First mend what was found before it."
    elif moved < HARDLY:
        category, change = "learning_rate", {"learning_rate": 10.0}
        why = f" In these epochs the weights moved by {100 * moved:.2g} %: the steps are too short."
        cure = "Stop, and multiply the learning rate by 10."
    else:
        category, change = "learning_rate", {"learning_rate": 0.1}
        why = f" The weights moved by {100 * moved:.2g} % in these epochs, without any gain."
        cure = "Stop, and divide the learning rate by 10, or use more units."
    yield Finding(
        "plateau", category, "warning",
        f"The loss has been on a plateau of {level:.4g} for the last {counted(length, 'epoch')}. "
        f"Training overcame {100 * max(0.0, learned):.0f} % of the loss of the best constant, but "
        f"the nearest rows alone take {100 * reach:.0f} % of its error away.{why}",
        cure,
        {"epoch": len(losses) - length},
        (Evidence("fall of the loss over these epochs, at most", fall, FLAT_LOSS,
                  "of itself, with twice its standard error"),
         Evidence("share of the constant's loss overcome", learned, REACHED * reach,
                  "half of what the nearest rows tell")),
        change, 0.6 if change.get("learning_rate") != 0.1 else 0.4,
    )  # fmt: skip


def _positive() -> Case:
    X, tanh = numbers() * 0.4 + 4, network(4, 16, 1, between=[Tanh()])
    return values(tanh, data=(X, values().data[1]), batch_size=80, optimizer=SGD(0.04), epochs=60)


@rule("preprocessing", stage="while", sick=_positive, healthy=lambda: values(epochs=60))
def zig_zag(course: Course) -> Iterator[Finding]:
    """Find inputs of one sign that make the first layer's steps go back and forth."""
    if not course.layers or len(course.turns) < WINDOW or not _high(course, HALF):
        return
    layer = course.layers[0]
    x, gradient = layer.inputs, layer.gradient
    if x.ndim != 2 or gradient.ndim != 2 or x.shape[1] < 3:
        return
    positive = float((x >= 0).mean()) if x.max() > 0 else float((x <= 0).mean())
    if positive < 1:
        return
    of_weights = np.sign(x.T.astype(np.float64) @ gradient)
    units = of_weights[:, of_weights.any(axis=0)]
    agree = float((np.abs(units.sum(axis=0)) / x.shape[1] / 2 + 0.5).mean()) if units.size else 0.0
    turn = float(np.median(course.turns[-WINDOW:]))
    if agree < ONE_SIGN or turn > BACK:
        return
    sign = "positive" if x.max() > 0 else "negative"
    yield Finding(
        "zig_zag", "preprocessing", "warning",
        f"The inputs of layer {layer.path} are all {sign}, so the gradients of the weights of a "
        f"unit share a sign ({100 * agree:.0f} % of them do): its weights can only rise together "
        "or fall together. Where some should rise and others fall, the steps zig-zag: each "
        "epoch takes back the change of the one before, and training is slow.",
        "Subtract the mean of each column: standardize the inputs, (X - X.mean(0)) / X.std(0).",
        {"layer": layer.path},
        (Evidence("share of the gradients of a unit that have one sign", agree, ONE_SIGN,
                  "by chance, about half"),
         Evidence("cosine of the changes of two epochs", turn, BACK,
                  f"the median of {WINDOW}; -1 goes straight back"),
         _overcome(course, HALF)),
        {"preprocess": "standardize"}, 0.8,
    )  # fmt: skip


def _uneven() -> Case:
    return classes(network(4, *[16] * 7, 3, between=[Sigmoid()]), optimizer=SGD(0.3))


@rule("initialization", stage="while", sick=_uneven, healthy=lambda: classes(epochs=60))
def layer_left_behind(course: Course) -> Iterator[Finding]:
    """Find a layer whose weights hardly moved while those of the others did."""
    if course.steps < FEW_STEPS or not course.moves or not _high(course, HALF):
        return
    moved = dict(zip(course.followed, np.sum(course.moves, axis=0).tolist(), strict=True))
    if len(moved) < 3:
        return
    path = min(moved, key=lambda name: moved[name])
    others = max(moved.values())
    if not others > MUCH or moved[path] >= LEFT_BEHIND * others:
        return
    name = path.removesuffix(".weight")
    yield Finding(
        "layer_left_behind", "initialization", "warning",
        f"The weights of layer {name} hardly move: in {course.steps:,} steps they moved by "
        f"{100 * moved[path]:.2g} % of their length, those of another layer by "
        f"{100 * others:.0f} %. It stays what it was at random.",
        "Leave weight_init at its default; if gradients fade on their way to this layer, use relu "
        "or batch normalization.",
        {"layer": name},
        (Evidence("movement of this layer over the largest of a layer", moved[path] / others,
                  LEFT_BEHIND, "in healthy networks it is 0.1 and more"),
         _overcome(course, HALF)),
        {"init": None}, 0.6,
    )  # fmt: skip


def _gradient_left(course: Course) -> float:
    """Return the gradient of the weights over that at the start, the median of the layers."""
    sizes = [
        [_root(f.inputs, f.gradient) for f in layers]
        for layers in (course.survey.layers, course.layers)
    ]
    ratios = [now / then for then, now in zip(*sizes, strict=False) if then > 0]
    return float(np.median(ratios)) if ratios else 0.0


def _root(x: Array, gradient: Array) -> float:
    rows = [np.asarray(a, np.float64).reshape(-1, a.shape[-1]) for a in (x, gradient)]
    return float(np.linalg.norm(rows[0].T @ rows[1]))


def _fading() -> Case:
    return classes(optimizer=Adam(Exponential(3e-3, factor=0.01, steps=20)), epochs=40)


@rule("learning_rate", stage="while", sick=_fading, healthy=lambda: classes(epochs=60))
def steps_faded(course: Course) -> Iterator[Finding]:
    """Find weights that have stopped moving while the loss is high."""
    if len(course.moves) < WINDOW or not _high(course, HALF):
        return
    sizes = np.median(course.moves, axis=1)
    last, most = float(sizes[-WINDOW // 2 :].max()), float(sizes.max())
    learned, reach = course.learned, _reachable(course)
    if _gradient_left(course) < STEEP:  # dead or saturated: the steps are not to blame
        return
    if not most > 0 or last > FADED_STEPS * most or learned is None or learned > REACHED * reach:
        return
    yield Finding(
        "steps_faded", "learning_rate", "warning",
        f"The weights have stopped moving while the loss is high: an epoch changes them by "
        f"{100 * last:.2g} % now, and did by {100 * most:.2g} % in epoch "
        f"{int(sizes.argmax()) + 1}. The loss is {course.losses[-1]:.4g}, "
        f"{100 * (1 - learned):.0f} % of that of the best constant.",
        "Let the learning rate fall more slowly, or keep it constant.",
        {"epoch": len(course.moves)},
        (Evidence("gradient of the weights over that at the start", _gradient_left(course), STEEP,
                  "there is still a slope to go down"),
         Evidence("length of an epoch's steps over the longest", last / most, FADED_STEPS,
                  "what is left of training at this pace is lost"),
         Evidence("share of the constant's loss overcome", learned, REACHED * reach,
                  "half of what the nearest rows tell")),
        {"learning_rate": 10.0}, 0.8,
    )  # fmt: skip


def _one_piece() -> Case:
    model = Sequential([Maxout(4, 16), Linear(16, 1)])
    return values(model, data=(numbers() * 0.4 + 10, values().data[1]), epochs=40)


@rule(
    "preprocessing", stage="while",
    sick=_one_piece,
    healthy=lambda: values(Sequential([Maxout(4, 16), Linear(16, 1)]), epochs=60),
)  # fmt: skip
def maxout_pieces_unused(course: Course) -> Iterator[Finding]:
    """Find Maxout units of which one piece is the largest on every row: they are linear."""
    if not _high(course, SETTLED):
        return
    for path, places in course.maxout_pieces.items():
        now, then = (_pieces_used(layers, places) for layers in
                     (course.layers, course.survey.layers))  # fmt: skip
        linear = float((now.sum(axis=0) <= 1).mean())
        if linear < ONE_PIECE:
            continue
        before = float((then.sum(axis=0) <= 1).mean())
        grown = before < linear / 2
        x = course.layers[places[0]].inputs
        offset = float(np.median(np.abs(x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12)))
        category, cure, change = (
            ("learning_rate", "Divide the learning rate by 10.", {"learning_rate": 0.1}) if grown
            else ("preprocessing", "Standardize the inputs: (X - X.mean(0)) / X.std(0).",
                  {"preprocess": "standardize"}) if offset > OFFSET
            else ("initialization", "Leave weight_init and bias_init at their defaults.",
                  {"init": None})
        )  # fmt: skip
        yield Finding(
            "maxout_pieces_unused", category, "warning",
            f"Layer {path}: {100 * linear:.0f} % of the Maxout units use one piece on every row, "
            f"so they are linear ({100 * before:.0f} % were at the start), and "
            f"{int((~now).sum())} of {now.size} pieces are never chosen and receive no gradient.",
            cure,
            {"layer": path},
            (Evidence("share of units that use one piece only", linear, ONE_PIECE,
                      "half of the layer is linear"),
             Evidence("mean of an input column over its spread", offset, OFFSET,
                      "far from 0, one piece is the largest on every row"),
             _overcome(course, SETTLED)),
            change, 0.75,
        )  # fmt: skip


def _pieces_used(layers: list[LayerFacts], places: list[int]) -> Array:
    """Return which piece (pieces, units) is chosen on any row."""
    return np.array([(layers[i].slope != 0).any(axis=0) for i in places])


def _memorized() -> Case:
    X = numbers(160, 20)
    y = (X[:, 0] + np.random.default_rng(1).normal(size=160) > 0).astype(int)
    held = numbers(100, 20, seed=5)
    answers = (held[:, 0] + np.random.default_rng(2).normal(size=100) > 0).astype(int)
    return Case(
        network(20, 128, 2), (X, y), "cross_entropy", Adam(3e-3), 150, validation=(held, answers)
    )  # fmt: skip


def _score_lost(course: Course, best: int, late: int) -> float | None:
    """Return how much accuracy, or R², was lost from epoch `best` to the last `late`, or None."""
    for name in ("val_accuracy", "val_label_accuracy", "val_r2"):
        scores = [float(r[name]) for r in course.history if r.get(name) is not None]
        if len(scores) == len(course.history):
            return scores[best] - float(np.median(scores[-late:]))
    return None


@rule("epochs", stage="while", sick=_memorized, healthy=lambda: classes(epochs=60, validation=0.3))
def overfitting(course: Course) -> Iterator[Finding]:
    """Find a validation loss that rose far above its lowest while the training loss fell."""
    held = np.array([r["val_loss"] for r in course.history if r.get("val_loss") is not None])
    losses = course.losses
    if course.diverged or len(held) != len(losses) or course.stopped_early:
        return
    wait = max(RISING, course.survey.case.epochs // 10)
    if len(held) <= wait:
        return
    best = int(held.argmin())
    last = float(np.median(held[-wait:]))  # it jumps from epoch to epoch
    ratio = last / held[best] if held[best] > 0 else 1.0
    since = len(held) - 1 - best
    if ratio < RISEN or best > 0.7 * len(held) or since < wait or losses[-1] > losses[best]:
        return
    lost = _score_lost(course, best, wait)
    yield Finding(
        "overfitting", "epochs", "warning" if lost is None or lost > WORSE_ANSWERS else "note",
        f"The network overfits: the validation loss was lowest after epoch {best + 1} "
        f"({held[best]:.4g}) and was {last:.4g} in the last {wait}, while the training loss "
        f"fell from {losses[best]:.4g} to {losses[-1]:.4g}.",
        "Stop early (early_stopping=10), or use dropout, weight decay or more data.",
        {"epoch": best + 1},
        (Evidence("validation loss over the lowest", ratio, RISEN,
                  f"the median of {wait} epochs, so that noise does not count"),),
        {"early_stopping": 10}, 0.8,
    )  # fmt: skip
