"""Analyze the hidden layers of a model or a run on some rows.

:func:`features` returns a :class:`Features`, which can be printed, saved as a page, and gives the
results as arrays.

Read next: :mod:`chainrule.insight.hidden.statistics`, which computes the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, OptionError
from chainrule.core.options import check_whole
from chainrule.core.spec import Shape
from chainrule.core.tensor import Tensor
from chainrule.core.wording import counted
from chainrule.insight.explain.layerwise import explain_network
from chainrule.insight.hidden.activity import layer_sizes, record_activity
from chainrule.insight.hidden.figures import features_page
from chainrule.insight.hidden.probe import Goal
from chainrule.insight.hidden.statistics import Findings, LayerGradient
from chainrule.insight.render.page import Shown
from chainrule.insight.render.text import table
from chainrule.insight.subject import as_seen, given_rows, subject_of
from chainrule.step.objective import Objective

__all__ = ["Features", "features"]

Array = np.ndarray[Any, Any]
NUMBERS = 2**25  # most outputs of all layers in memory; it limits the rows
GRADIENT_ROWS = 256
MOST_CLASSES = 100  # distinct integer targets treated as classes without an objective


@dataclass(frozen=True, repr=False)
class Features(Findings, Shown):
    """The analysis of hidden layers: print it, :meth:`save` it as a page, or use its arrays."""

    def __str__(self) -> str:
        lines = table(self.cells(), numbers=range(2, 9))
        remarks = ["", *self.remarks()] if self.remarks() else []
        return "\n".join([f"Hidden layers of {self.title}", self.note, "", *lines, *remarks])

    __repr__ = __str__

    def html(self, layer: str | int | None = None, unit: int | None = None) -> str:
        """Return a page of all layers, or of one unit."""
        if layer is None and unit is None:
            return features_page(self)
        if layer is None or unit is None:
            raise OptionError("html needs both the layer and the number of a unit, or neither.")
        return features_page(self, self.unit(layer, unit))


def features(
    thing: Any,
    X: Any,
    y: Any = None,
    *,
    held_out: tuple[Any, Any] | None = None,
    loss: str | Callable[[Tensor, Tensor], Tensor] | None = None,
    names: Sequence[str] | None = None,
    image_shape: Sequence[int] | None = None,
    rows: int = 4000,
    row_numbers: Array | None = None,
    seed: int = 0,
    engine: str | None = None,
) -> Features:
    """Return an analysis of the hidden layers of a model or a run on the rows X.

    X, y
        Rows as the model takes them, and their targets, or for a run trained on a table
        a :class:`~chainrule.data.table.Table`.  Without y there are no probes and gradients.
    held_out
        A pair (X, y) to score the probes on, as in Alain and Bengio (2016): X are then training
        rows.  Without it, 30 % of X are held out; X should then be rows that the network was not
        trained on, because on training rows its deep layers look better than they are.
    loss
        The loss of a model, for its gradients; a run has its own.
    names, image_shape
        How to show rows, if it does not follow from the pipeline or the shape of X; see
        :func:`chainrule.insight.row_view.row_view`.
    rows
        The largest number of rows to use, drawn at random by `seed`; fewer if the outputs of all
        layers would take more than 128 MB.
    row_numbers
        The number to show for each row of X, by default its index.

    Raises DataError, OptionError or ShapeError for rows and targets that do not fit.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Sequential([nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)])
    >>> model[0].weight.value = [[1.0, -1.0, 0.0], [2.0, 0.0, 0.0]]
    >>> f = cr.features(model, [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], engine="reference")
    >>> f.layers[1].dead  # -x0 is never above 0, nor is 0
    (1, 2)
    >>> f.unit(0, 0).most.tolist(), f.unit(0, 0).exciting.tolist()
    ([2, 0, 1], [1.0, 1.0])
    """
    subject = subject_of(thing, "features takes a model or a run, not a")
    check_whole("features: rows", rows)
    network, title, aim = subject.network, subject.title("a run"), subject.objective(loss)
    runs_on = engine or subject.engine
    raw, targets = given_rows(subject, X, y)
    outputs, width = layer_sizes(network, raw)
    count = min(rows, len(raw), max(1, NUMBERS // width))
    numbers = _drawn(len(raw), count, seed)
    note = _note(len(raw), count, seed)
    seen = as_seen(network, raw[numbers])
    activity = record_activity(network, seen, engine=runs_on)
    view = subject.view(raw.shape[1:], seen, names, image_shape)
    called = numbers if row_numbers is None else np.asarray(row_numbers)[numbers]
    if targets is None:
        return Features(title, activity, called, view, note)
    goal, found = goal_of(targets, aim, outputs, seen.dtype)
    classes = tuple(map(str, getattr(subject.pipeline, "classes", ()))) or found
    test = None
    if held_out is not None:
        if not isinstance(held_out, (tuple, list)) or len(held_out) != 2 or held_out[1] is None:
            raise DataError("held_out must be a pair (X, y): rows and their targets.")
        others, answers = given_rows(subject, *held_out)
        assert answers is not None
        aims, _ = goal_of(answers, aim, outputs, seen.dtype, found)
        some = _drawn(len(others), min(count, len(others)), seed)
        scored = record_activity(network, as_seen(network, others[some]), engine=runs_on)
        test = (scored, aims.take(some))
    follow = None
    if aim is not None and aim.function is not None:
        few = numbers[:GRADIENT_ROWS]
        follow = partial(_gradients, network, raw[few], targets[few], aim)
    return Features(
        title, activity, called, view, note, goal.take(numbers), classes, test, seed,
        follow,
    )  # fmt: skip


def _drawn(rows: int, count: int, seed: int) -> Array:
    """Return the indices of `count` of the rows, in order."""
    if count >= rows:
        return np.arange(rows)
    generator = np.random.Generator(np.random.Philox(key=[seed, 1]))
    return np.sort(generator.choice(rows, count, replace=False))


def _note(rows: int, count: int, seed: int) -> str:
    if count == rows:
        return f"Measured on {counted(rows, 'row')}."
    return f"Measured on {count:,} of {rows:,} rows, drawn at random (seed {seed})."


def goal_of(
    targets: Array,
    aim: Objective | None,
    outputs: Shape,
    dtype: np.dtype[Any],
    like: tuple[str, ...] | None = None,
) -> tuple[Goal, tuple[str, ...]]:
    """Return the target of the probes, and the names of the classes if there are any.

    Without an objective, text and at most 100 distinct whole numbers are classes.  `like` are the
    classes of other targets, () for values; these targets must have no other classes.
    """
    if aim is not None and aim.kind != "custom":
        array = aim.target(targets, outputs, dtype)
        if aim.kind in ("classes", "ordered"):
            codes = array.argmax(axis=1) if array.ndim == 2 else array
            classes = int(outputs[1]) + (aim.kind == "ordered")  # type: ignore[arg-type]
            return Goal("classes", codes, classes), tuple(map(str, range(classes)))
        kind = "labels" if aim.kind == "labels" else "values"
        return Goal(kind, array.reshape(len(array), -1)), ()
    if like:
        place = {name: code for code, name in enumerate(like)}
        told = [str(entry) for entry in targets.tolist()]
        if new := next((name for name in told if name not in place), None):
            raise DataError(f"held_out has the class {new!r}, which y does not contain.")
        return Goal("classes", np.array([place[name] for name in told]), len(like)), like
    if like is None and targets.ndim == 1 and targets.dtype.kind in "biuOUS":
        known, codes = np.unique(targets, return_inverse=True)
        if len(known) <= MOST_CLASSES or targets.dtype.kind in "OUS":
            return Goal("classes", codes, len(known)), tuple(map(str, known.tolist()))
    return Goal("values", targets.reshape(len(targets), -1).astype(np.float64)), ()


def _gradients(network: Any, X: Array, y: Array, aim: Objective) -> tuple[LayerGradient, ...]:
    assert aim.function is not None
    explained = explain_network(network, X, y, aim.function)
    return tuple(
        LayerGradient(
            step.path, step.layer, _rms([step.gradient]),
            _rms(list(step.gradients.values())) if step.gradients else None,
            tuple(_rms([unit]) for unit in step.gradient.reshape(len(X), -1).T),
        )
        for step in explained.layers
    )  # fmt: skip


def _rms(arrays: list[Array]) -> float:
    squares = [np.square(a.astype(np.float64)) for a in arrays]
    return math.sqrt(math.fsum(float(q.sum()) for q in squares) / max(1, sum(map(np.size, arrays))))
