"""What hidden layers have learned: the patterns units look for, and what each layer makes of rows.

A model or a run and rows go in; a :class:`Features` comes out, which prints as text, shows itself
as a page, and whose arrays can be asked for by name.

Read next: :mod:`chainrule.insight.features_layers`, where the numbers come from.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, OptionError, RunError
from chainrule.core.spec import Shape
from chainrule.core.tensor import Tensor
from chainrule.data.check import check_same_length
from chainrule.data.projection import PCA
from chainrule.data.splits import split
from chainrule.data.table import Table
from chainrule.insight import words
from chainrule.insight.features_layers import Activity, as_seen, layer_sizes, record_activity
from chainrule.insight.features_probe import Goal, Probe, probe
from chainrule.insight.features_rows import RowView, row_view
from chainrule.insight.features_show import features_page
from chainrule.insight.features_unit import (
    Unit,
    correlated_pairs,
    correlation,
    unit_facts,
)
from chainrule.insight.narrate import table
from chainrule.insight.network import explain_network
from chainrule.nn.size import check_size
from chainrule.train.objective import Objective, objective
from chainrule.train.pixels import PixelPipeline
from chainrule.train.run import Run
from chainrule.train.step import check_rows, model_dtype

__all__ = ["Features", "LayerFacts", "LayerGradient", "features"]

Array = np.ndarray[Any, Any]
NUMBERS = 2**25  # held of all layers at once; rows are drawn so that they suffice
PROBE_ROWS = 2000  # that a probe learns from, at most
GRADIENT_ROWS = 256
WIDEST = 1024  # units of a layer that a map or a probe is made of; wider ones are thinned out
HELD_OUT = 0.3
MOST_CLASSES = 100  # that whole numbers without an objective may stand for


@dataclass(frozen=True)
class LayerFacts:
    """A layer in a line: the spread of its units, those that are dead, and how flat it is.

    `dead` are numbers of units; `saturated` is the share of activations that are nearly flat,
    None in a layer that is no activation that saturates.
    """

    path: str
    layer: str
    units: int
    mean: float
    std: float
    dead: tuple[int, ...]
    saturated: float | None


@dataclass(frozen=True)
class LayerGradient:
    """The gradient of the loss at a layer: root mean squares over its outputs and its weights.

    `weights` is None in a layer without parameters.
    """

    path: str
    layer: str
    output: float
    weights: float | None


@dataclass(frozen=True, repr=False)
class Features:
    """Hidden layers looked at: ``print`` it, :meth:`save` it as a page, or take its arrays.

    `activity` holds what each layer gives for the rows looked at, whose numbers in X are
    `numbers`; `goal` their targets as far as known; `note` says which rows they are.
    """

    title: str
    activity: Activity
    numbers: Array
    view: RowView
    note: str
    goal: Goal | None = None
    class_names: tuple[str, ...] = ()
    held_out: tuple[Activity, Goal] | None = None
    seed: int = 0
    follow: Callable[[], tuple[LayerGradient, ...]] | None = None

    # --- numbers --------------------------------------------------------------------------------

    @cached_property
    def layers(self) -> tuple[LayerFacts, ...]:
        """Facts on each layer, from the input to the output."""
        found = []
        for path, values in self.activity.values.items():
            flat = self.activity.saturated(path)
            found.append(LayerFacts(
                path, self.activity.describe(path), values.shape[1],
                float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)),
                tuple(self.activity.dead(path).tolist()),
                None if flat is None else float(flat.mean()),
            ))  # fmt: skip
        return tuple(found)

    @property
    def hidden(self) -> tuple[str, ...]:
        """The paths of hidden layers as the next ones see them: activations, or all but the last.

        Of a layer and the activation after it, the activation alone.
        """
        inner = self.activity.paths[:-1]
        acting = tuple(path for path in inner if self.activity.activation(path) is not None)
        return acting or inner

    def described(self, layer: str | int) -> str:
        """Return a layer in a few words; "input" is the rows themselves."""
        return "" if str(layer) == "input" else self.activity.describe(str(layer))

    def values(self, layer: str | int) -> Array:
        """Return what a layer gives for the rows looked at, (rows, units); "input" is the rows."""
        if str(layer) == "input":
            flat: Array = self.activity.rows.reshape(len(self.activity.rows), -1)
            return flat
        return self.activity.values[self.activity.check_layer(layer)]

    @cached_property
    def weights(self) -> Array | None:
        """What each unit of the first weighted layer multiplies each input with.

        (units, *features): the slope of the unit's weighted sum to the input at the mean row,
        which for a layer that is linear in the input, such as Linear, is its weights.  None
        where no layer has a weighted sum.
        """
        path = self.activity.first_weighted
        if path is None:
            return None
        units = self.activity.values[path].shape[1]
        mean = self.activity.rows.mean(axis=0, dtype=np.float64).astype(self.activity.rows.dtype)
        respond = self.activity.responses(path)
        each = max(1, 2**22 // max(units, mean.size))
        blocks = []
        for start in range(0, units, each):
            pick = np.eye(units, dtype=mean.dtype)[start : start + each]
            x = np.broadcast_to(mean, (len(pick), *mean.shape)).copy()
            blocks.append(respond({"x": x, "pick": pick})["slope"])
        return np.concatenate(blocks)

    @cached_property
    def probes(self) -> tuple[Probe, ...]:
        """A linear probe of the input and of each layer; OptionError where there are no targets."""
        if self.goal is None:
            raise OptionError("probes tell targets apart: give y, as in features(model, X, y).")
        if self.held_out is None:
            learn, test = split(len(self.numbers), HELD_OUT, self.seed)
            learn = learn[:: -(-len(learn) // PROBE_ROWS)]
            others, goal = self.activity, self.goal
        else:
            others, goal = self.held_out
            learn, test = np.arange(len(self.numbers)), np.arange(len(others.rows))
            learn = learn[:: -(-len(learn) // PROBE_ROWS)]
        found = []
        for path in ("input", *self.activity.paths):
            train, seen = (
                a.rows.reshape(len(a.rows), -1) if path == "input" else a.values[path]
                for a in (self.activity, others)
            )
            thin = slice(None, None, -(-train.shape[1] // WIDEST))
            found.append(probe(
                path, self.described(path), train[learn][:, thin], self.goal.take(learn),
                seen[test][:, thin], goal.take(test),
            ))  # fmt: skip
        return tuple(found)

    @cached_property
    def gradients(self) -> tuple[LayerGradient, ...]:
        """The gradient of the mean loss at each layer, of the first 256 rows looked at.

        Raises OptionError where there are no targets or no loss: give y, and for a model loss.
        """
        if self.follow is None:
            raise OptionError(
                "gradients are those of a loss against targets: give both, as in "
                "features(model, X, y, loss='cross_entropy'). A run knows its loss."
            )
        return self.follow()

    def map(self, layer: str | int) -> tuple[Array, float]:
        """Return the rows along a layer's two principal directions, (rows, 2), and their share.

        The share is that of the layer's variance.  A layer that varies in one direction only
        has zeros along the second; one that does not vary, in both.
        """
        values = self.values(layer)
        values = values[:, :: -(-values.shape[1] // WIDEST)].astype(np.float64)
        points = np.zeros((len(values), 2))
        if np.ptp(values, axis=0).max(initial=0) == 0:
            return points, 1.0
        fitted = PCA().fit(values)
        found = fitted.transform(values)[:, :2]
        points[:, : found.shape[1]] = found
        return points, float(fitted.explained_variance_ratio[:2].sum())

    def correlation(self, layer: str | int) -> Array:
        """Return the correlation of each pair of a layer's units over the rows, (units, units)."""
        return correlation(self.values(layer))

    def correlated(self, layer: str | int, count: int = 10) -> list[tuple[int, int, float]]:
        """Return the pairs of a layer's units that are most correlated, as (unit, unit, r)."""
        return correlated_pairs(self.values(layer), count)

    def unit(self, layer: str | int, index: int, count: int = 8) -> Unit:
        """Return what is known of one unit, with `count` rows that excite it most and least.

        Raises OptionError for a layer or unit that there is not.
        """
        path = self.activity.check_layer(layer)
        index = self.activity.check_unit(path, index)
        return unit_facts(self.activity, path, index, self.numbers, count)

    # --- what the pages need --------------------------------------------------------------------

    def places_of(self, numbers: Array) -> Array:
        """Return where rows with these `numbers` in X stand among the rows looked at."""
        return np.searchsorted(self.numbers, numbers)

    def class_of(self, place: int) -> str:
        """Return the class of a row looked at by its place, nothing where there are none."""
        if self.goal is None or self.goal.kind != "classes":
            return ""
        return self.class_names[int(self.goal.target[place])]

    # --- showing --------------------------------------------------------------------------------

    def cells(self) -> list[list[str]]:
        """Return the table of layers as text, its head first; the input has a line of its own."""
        scores = {p.path: f"{p.score:.3f}" for p in self.probes} if self.goal else {}
        rows = [["layer", "", "units", "mean", "std", "dead", "nearly flat"]]
        values = self.values("input")
        spread = [float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))]
        rows.append(["input", "", f"{values.shape[1]:,}", *map(words.number, spread), "", ""])
        for k in self.layers:
            flat = "" if k.saturated is None else f"{100 * k.saturated:.0f} %"
            spread = [k.mean, k.std]
            rows.append([k.path, k.layer, f"{k.units:,}", *map(words.number, spread),
                         f"{len(k.dead):,}", flat])  # fmt: skip
        if self.goal is None:
            return rows
        said = [f"probe {self.goal.measure}", *(scores[row[0]] for row in rows[1:])]
        return [[*row, score] for row, score in zip(rows, said, strict=True)]

    def __str__(self) -> str:
        lines = table(self.cells(), numbers=range(2, 8))
        return "\n".join([f"Hidden layers of {self.title}", self.note, "", *lines])

    __repr__ = __str__

    def html(self, layer: str | int | None = None, unit: int | None = None) -> str:
        """Return a page of all layers, or of one unit."""
        if layer is None and unit is None:
            return features_page(self)
        if layer is None or unit is None:
            raise OptionError("a unit is told by its layer and its number: give both.")
        return features_page(self, self.unit(layer, unit))

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"

    def save(
        self, path: str | os.PathLike[str], layer: str | int | None = None, unit: int | None = None
    ) -> Path:
        """Write the page of :meth:`html` to `path` and return it; RunError if it can't be."""
        target, text = Path(path), self.html(layer, unit)
        try:
            target.write_text(text, "utf-8")
        except OSError as error:
            raise RunError(f"can't write {str(target)!r}: {error.strerror}.") from error
        return target


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
    seed: int = 0,
    engine: str | None = None,
) -> Features:
    """Return what the hidden layers of a model or a run have learned, seen on the rows X.

    X, y
        Rows as the model is given them, and their targets, or for a run trained on a table
        a :class:`~chainrule.data.table.Table`.  Without y there are no probes and gradients.
    held_out
        A pair (X, y) to score the probes on, as in Alain and Bengio (2016): X are then training
        rows.  Without it, three in ten rows of X are held out; give rows that the network was not
        trained on, for on others its deep layers look better than they are.
    loss
        That of a model, for its gradients; a run knows its own.
    names, image_shape
        How rows are shown, where it does not follow from the pipeline or the shape of X; see
        :func:`chainrule.insight.features_rows.row_view`.
    rows
        At most so many rows are looked at, drawn at random by `seed`; fewer where the layers are
        so wide that they would take more than 128 MB.

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
    if not isinstance(thing, Run) and not callable(thing):
        raise OptionError(f"features takes a model or a run, not a {type(thing).__name__}.")
    check_size("features: rows", rows)
    network = thing.model if isinstance(thing, Run) else thing
    pipeline = thing.pipeline if isinstance(thing, Run) else None
    aim = _aim(thing, loss)
    raw, targets = _checked(thing, X, y)
    outputs, width = layer_sizes(network, raw)
    count = min(rows, len(raw), max(1, NUMBERS // width))
    numbers = _drawn(len(raw), count, seed)
    note = _note(len(raw), count, seed)
    seen = as_seen(network, raw[numbers])
    activity = record_activity(network, seen, engine=engine or _engine(thing))
    view = row_view(raw.shape[1:], seen, pipeline, names, image_shape)
    if targets is None:
        return Features(_title(thing), activity, numbers, view, note)
    goal, classes = goal_of(targets, aim, outputs, seen.dtype)
    classes = tuple(map(str, getattr(pipeline, "classes", ()))) or classes
    test = None
    if held_out is not None:
        others, answers = _checked(thing, *held_out)
        if answers is None:
            raise DataError("held_out needs a pair (X, y) with targets.")
        aims, _ = goal_of(answers, aim, outputs, seen.dtype)
        some = _drawn(len(others), min(count, len(others)), seed)
        scored = record_activity(
            network, as_seen(network, others[some]), engine=engine or _engine(thing)
        )
        test = (scored, aims.take(some))
    follow = None
    if aim is not None and aim.function is not None:
        few = numbers[:GRADIENT_ROWS]
        follow = partial(_gradients, network, raw[few], targets[few], aim)
    return Features(
        _title(thing), activity, numbers, view, note, goal.take(numbers), classes, test, seed,
        follow,
    )  # fmt: skip


def _aim(thing: Any, loss: Any) -> Objective | None:
    if loss is not None:
        return objective(loss)
    return thing.objective if isinstance(thing, Run) else None


def _engine(thing: Any) -> str | None:
    return thing.engine if isinstance(thing, Run) else None


def _title(thing: Any) -> str:
    if isinstance(thing, Run):
        return str(thing.settings.get("data") or "a run")
    return type(thing).__name__


def _checked(thing: Any, X: Any, y: Any) -> tuple[Array, Array | None]:
    """Return rows as the model is given them, and targets; tables go through the pipeline."""
    pipeline = thing.pipeline if isinstance(thing, Run) else None
    if isinstance(X, (Table, Mapping)):
        if pipeline is None:
            raise DataError("a table needs the pipeline of a run that was trained on one.")
        frame = Table.from_arrays(X)
        X = pipeline.transform(frame)
        if y is None and pipeline.target.name in frame.names:
            y = pipeline.target.encode(frame[pipeline.target.name], frame.source)
    elif isinstance(pipeline, PixelPipeline) and getattr(X, "dtype", None) == np.uint8:
        X = pipeline.encode(X)
    network = thing.model if isinstance(thing, Run) else thing
    found = check_rows(X, "X", model_dtype(network))
    if len(found) == 0:
        raise DataError("X has no rows to look at.")
    if isinstance(thing, Run):
        thing.outputs(found[:1])  # says what does not look like the training data
    if y is None:
        return found, None
    targets = np.asarray(y)
    check_same_length(found, targets)
    return found, targets


def _drawn(rows: int, count: int, seed: int) -> Array:
    """Return the numbers of `count` of the rows, in order."""
    if count >= rows:
        return np.arange(rows)
    generator = np.random.Generator(np.random.Philox(key=[seed, 1]))
    return np.sort(generator.choice(rows, count, replace=False))


def _note(rows: int, count: int, seed: int) -> str:
    if count == rows:
        return f"Seen on {rows:,} row{'s' * (rows != 1)}."
    return f"Seen on {count:,} of {rows:,} rows, drawn at random (seed {seed})."


def goal_of(
    targets: Array, aim: Objective | None, outputs: Shape, dtype: np.dtype[Any]
) -> tuple[Goal, tuple[str, ...]]:
    """Return what probes are to tell, and the classes' names if it is classes.

    Without an objective, text and at most 100 different whole numbers are classes.
    """
    if aim is not None and aim.kind != "custom":
        array = aim.target(targets, outputs, dtype)
        if aim.kind == "classes":
            codes = array.argmax(axis=1) if array.ndim == 2 else array
            classes = int(outputs[1])  # type: ignore[arg-type]
            return Goal("classes", codes, classes), tuple(map(str, range(classes)))
        kind = "labels" if aim.kind == "labels" else "values"
        return Goal(kind, array.reshape(len(array), -1)), ()
    if targets.ndim == 1 and targets.dtype.kind in "biuOUS":
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
        )
        for step in explained.layers
    )  # fmt: skip


def _rms(arrays: list[Array]) -> float:
    squares = [np.square(a.astype(np.float64)) for a in arrays]
    return math.sqrt(math.fsum(float(q.sum()) for q in squares) / max(1, sum(map(np.size, arrays))))
