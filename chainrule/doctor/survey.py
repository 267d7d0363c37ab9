"""What a training looks like before its first step, measured on a sample of its rows.

A :class:`~chainrule.doctor.case.Case` goes in; a :class:`Survey` comes out, whose values are
computed when a rule asks for them.  The weights of the model are never changed.

Read next: :mod:`chainrule.doctor.rule`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.core.graph import Graph, Node, reachable
from chainrule.core.spec import is_float
from chainrule.core.tensor import tensor
from chainrule.doctor.case import Case
from chainrule.doctor.layer_facts import LayerFacts, Probes
from chainrule.doctor.neighbours import Neighbours
from chainrule.nn.cross_fitted import CrossFitted
from chainrule.nn.embedding import EmbedColumns
from chainrule.nn.layer import Flatten, Layer, Sequential, initialize, parameters
from chainrule.nn.normalize import BatchNorm
from chainrule.nn.regularizers import penalties
from chainrule.nn.scale import Scale, input_factor
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.optimizer import Optimizer
from chainrule.run.reference import Interpreter
from chainrule.step.objective import Objective, objective
from chainrule.step.part import Part
from chainrule.step.read_parts import check_feature_names, read_parts
from chainrule.step.record import data_input, forward, record_step
from chainrule.transform.bounds import bounds

__all__ = ["Slope", "Survey"]

Array = np.ndarray[Any, Any]
ROWS = 256  # of the training rows that layers are measured on
GUESS_ROWS = 2000  # that the best constant is found on
COLUMN_ROWS = 10_000  # that columns are measured on
MOST_ELEMENTS = 2**24  # of an array of rows that is made to measure them; fewer rows if wide
MOST_SLOPES = 16  # weights whose gradients are checked, spread over a deep network
OVERFIT_STEPS, OVERFIT_SECONDS = 60, 0.8  # of the training on one batch


@dataclass(frozen=True)
class Slope:
    """The slope of the loss along the gradient of the weights at `path`."""

    path: str
    claimed: float  # by the gradient: its norm
    measured: float  # by finite differences

    @property
    def ratio(self) -> float:
        """The gradient over the measured slope: 1 for a right one."""
        return self.claimed / self.measured


class Survey:
    """What can be measured of a `case` before its first step.

    `model` has its first weights; `train` and `held_out` are the checked rows of the case.
    """

    def __init__(
        self, case: Case, model: Layer, aim: Objective, train: Part, held_out: Part | None
    ):
        self.case, self.model, self.aim = case, model, aim
        self.train, self.held_out = train, held_out
        self.optimizer = self.planned(case.optimizer)

    @classmethod
    def of(cls, case: Case) -> Survey:
        """Return the survey of `case`, on a copy of its model.

        Raises what :func:`chainrule.fit` raises for a case that can't be trained.
        """
        model, aim = copy.deepcopy(case.model), objective(case.loss)
        weights = case.more.get("sample_weight"), case.more.get("class_weight")
        parts = read_parts(
            model, case.data, case.validation, aim, weights[0], weights[1], case.seed
        )
        check_feature_names(case.feature_names, parts[0])
        initialize(model, case.seed, keep_assigned=True)
        return cls(case, model, aim, *parts)

    def planned(self, optimizer: str | Optimizer) -> Optimizer:
        """Return `optimizer` with its schedules spread over the steps of this training."""
        method: Optimizer = optimizer_of(optimizer)
        return method.planned(self.steps, self.steps // self.case.epochs)

    # --- the settings ----------------------------------------------------------------------

    @property
    def kind(self) -> str:
        """What a target is, as in :class:`~chainrule.step.objective.Objective`; "" if unknown."""
        if self.aim.kind != "custom":
            return self.aim.kind
        return str(getattr(self.aim.function, "kind", ""))

    @property
    def takes(self) -> str:
        """What the loss takes outputs for: "logits", "probabilities", "values" ..., or ""."""
        if self.aim.kind in ("custom", "several"):
            return str(getattr(self.aim.function, "takes", ""))
        if self.aim.kind in ("classes", "ordered", "labels"):
            return "logits" if self.aim.probabilistic else "scores"
        return "log rates" if self.aim.kind == "counts" else "values"

    @property
    def batch_size(self) -> int:
        """The rows of a batch: no more than there are, and all for a full-batch method."""
        full = isinstance(optimizer_of(self.case.optimizer), FullBatch)
        return len(self.train) if full else min(self.case.batch_size, len(self.train))

    @property
    def steps(self) -> int:
        """The steps that the training takes."""
        return self.case.epochs * math.ceil(len(self.train) / self.batch_size)

    # --- the data --------------------------------------------------------------------------

    @cached_property
    def columns(self) -> Array:
        """Some rows of the features, as the model scales them, flat: (rows, features)."""
        return self._columns(self.train)

    def column(self, k: int) -> str | int:
        """Return the name of column `k` of `columns`, or `k` where columns have no names."""
        names = self.case.feature_names
        return k if names is None else names[k]

    @cached_property
    def codes(self) -> Array:
        """Which of `columns` are category codes, of which only the looked-up vectors count."""
        first = _leading_layer(self.model)
        coded = np.zeros(self.columns.shape[1], bool)
        if isinstance(first, EmbedColumns):
            coded[[column for column, _, _ in first.columns]] = True
        elif self.columns.shape[1]:
            x = data_input("x", self.train.x)
            coded[:] = x.node not in reachable([forward(self.model, x).node], (), _numbers)
        return coded

    @cached_property
    def raw(self) -> Array:
        """Which of `columns` the first layer is given as they are: neither codes nor normalized."""
        normalized = isinstance(_leading_layer(self.model), BatchNorm)
        return ~self.codes & (not normalized)

    @cached_property
    def held_columns(self) -> Array | None:
        """Some rows of the validation features, flat; None without any, and if all rows train."""
        if self.held_out is None or isinstance(self.model, CrossFitted):
            return None
        return self._columns(self.held_out)

    def _columns(self, part: Part) -> Array:
        x = part.x[part.spread_rows(_column_rows(part))]
        factor = input_factor(self.model, part.x.dtype, part.x.ndim)
        flat: Array = np.asarray(x, np.float64).reshape(len(x), -1) * factor
        return flat[:, :-1] if isinstance(self.model, CrossFitted) else flat  # without the part

    @cached_property
    def targets(self) -> Array:
        """The targets of the rows of `columns`, flat: (rows, targets)."""
        y = self.train.y[self.train.spread_rows(_column_rows(self.train))]
        return np.asarray(y, np.float64).reshape(len(y), -1)

    @cached_property
    def neighbours(self) -> Neighbours | None:
        """What the nearest training rows tell of a row's target, by rows of X; None if unknown."""
        found = Neighbours.of(self.columns, self.targets, self.kind)
        if found is None:
            return None
        return replace(found, rows=self.train.spread_rows(_column_rows(self.train))[found.rows])

    # --- the network -----------------------------------------------------------------------

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Between which numbers every output must lie, as far as the graph shows."""
        output = forward(self.model, data_input("x", self.train.x))
        return bounds(output.node)

    @cached_property
    def _probes(self) -> Probes:
        return Probes.of(self.model, self.aim, self.train)

    @cached_property
    def _measured(self) -> tuple[list[LayerFacts], dict[str, Array]]:
        return self.measure()

    def measure(
        self, most: int = ROWS, rows: Array | None = None
    ) -> tuple[list[LayerFacts], dict[str, Array]]:
        """Return the layers as some training rows pass them with the weights of now.

        The rows are at most `most`, spread evenly, or those given by their numbers.  Beside the
        layers returns all that was computed, by name.
        """
        some = self.train.spread_rows(most) if rows is None else rows
        return self._probes.read(self.train, some)

    def place(self, path: str, own: bool = False, step: int = 1) -> str:
        """Return the path of the layer behind the one at `path` (with `step` -1, before it).

        With `own`, it is the nearest one that is not a layer of chainrule.  Where the layers do not
        follow one another in a Sequential, or there is none, `path` itself is returned.
        """
        layers = self.model.layers if isinstance(self.model, Sequential) else ()
        found = [i for i in range(len(layers)) if path.split(".")[0] == str(i)]
        if not found:
            return path
        behind = range(found[0] + step, len(layers) if step > 0 else -1, step)
        for i in behind:
            kind = getattr(layers[i], "__module__", "") if callable(layers[i]) else ""
            if not own or not str(kind).startswith("chainrule.nn"):
                return str(i)
        return path

    @cached_property
    def sample(self) -> tuple[Array, Array]:
        """The rows that layers are measured on, and their targets."""
        some = self.train.spread_rows(ROWS)
        return self.train.x[some], self.train.y[some]

    @cached_property
    def _plain(self) -> Interpreter:
        graph = self._probes.interpreter.graph
        weights = {f"parameter/{path}": p.node for path, p in parameters(self.model).items()}
        outputs = {name: graph.outputs[name] for name in ("output", "loss")}
        return Interpreter(Graph(outputs, {**graph.inputs, **weights}))

    def predict(self, x: Array) -> Array:
        """Return the outputs of the model for rows `x`, at most as many as those of `sample`."""
        return self._plain({"x": x, "y": self.sample[1][: len(x)]})["output"]

    @cached_property
    def slopes(self) -> list[Slope]:
        """The slope of the loss along the gradient of weights, claimed and measured.

        Of many weights, some that are spread over the network are checked.  Parameters whose
        gradient is 0, and those where two step lengths disagree, as beside a kink, are left out.
        """
        x, y = self.sample
        found = parameters(self.model)
        paths = [path for path in self.gradients if found[path].is_weight]
        checked = []
        for k in np.unique(np.linspace(0, len(paths) - 1, min(MOST_SLOPES, len(paths)), dtype=int)):
            path, gradient = paths[k], self.gradients[paths[k]]
            norm = float(np.linalg.norm(gradient.astype(np.float64)))
            if not norm > 0 or not math.isfinite(norm):
                continue
            value, size = found[path].value, float(np.linalg.norm(found[path].value))
            measured = []
            for share in (1e-3, 3e-4):
                length = share * max(size, 1e-3)
                step = length * gradient / norm
                ends = [
                    self._plain({"x": x, "y": y, f"parameter/{path}": value + side})["loss"]
                    for side in (step, -step)
                ]
                measured.append((float(ends[0]) - float(ends[1])) / (2 * length))
            noise = 1e-5 * max(abs(self.loss), 1e-12) / (3e-4 * max(size, 1e-3))
            agree = abs(measured[0] - measured[1]) < 0.1 * abs(measured[1])
            if agree and abs(measured[1]) > noise:
                checked.append(Slope(path, norm, measured[1]))
        return checked

    @property
    def layers(self) -> list[LayerFacts]:
        """The layers with weights, in the order in which rows pass them."""
        return self._measured[0]

    @property
    def outputs(self) -> Array:
        """The outputs of the untrained model for some rows."""
        return self._measured[1]["output"]

    @property
    def loss(self) -> float:
        """The mean loss of the untrained model on these rows."""
        return float(self._measured[1]["loss"])

    @property
    def gradients(self) -> dict[str, Array]:
        """The gradient of the mean loss to each parameter that is trained, by path."""
        trained = {path for path, p in parameters(self.model).items() if p.trainable}
        start = "weight gradient/"
        named = {k.removeprefix(start): v for k, v in self._measured[1].items() if start in k}
        return {path: value for path, value in named.items() if path in trained}

    @cached_property
    def penalty(self) -> float:
        """What the regularizer adds to the first loss."""
        terms = penalties(self.case.regularizer, parameters(self.model))
        return sum(float(term) for term in terms)

    @cached_property
    def guess_loss(self) -> float | None:
        """The loss of the best constant prediction, None where it is not known how to make it."""
        return self._guess_loss(self.train)

    @cached_property
    def held_guess_loss(self) -> float | None:
        """The loss on the validation rows of the constant that is best for them, or None."""
        return None if self.held_out is None else self._guess_loss(self.held_out)

    def _guess_loss(self, part: Part) -> float | None:
        if self.aim.function is None or self.kind in ("", "ordered", "several"):
            return None
        width = math.prod(self.outputs.shape[1:])
        some = part.spread_rows(max(1, min(GUESS_ROWS, MOST_ELEMENTS // width)))
        y = part.y[some]
        weight = np.ones(len(y)) if part.weight is None else part.weight[some]
        if weight.ndim > 1 or not weight.sum() > 0:
            return None
        rows = y.reshape(len(y), -1)
        if self.kind == "classes" and rows.shape[1] == 1:
            codes = rows[:, 0].astype(int)
            mean, middle = (
                np.bincount(codes, w, minlength=width) / w.sum() for w in (weight, np.ones(len(y)))
            )
            middle = np.rint(middle)  # the median of one-hot rows
        elif self.kind == "quantiles":
            mean = middle = np.quantile(rows[:, 0], self.aim.levels)
        else:
            mean, middle = np.average(rows, axis=0, weights=weight), np.median(rows, axis=0)
        if len(mean) != width:
            return None
        guesses = [mean, middle]
        if self.takes in ("logits", "log rates"):
            p = np.clip(mean, 1e-6, None)
            binary = self.takes == "logits" and self.kind == "labels"
            guesses = [np.log(p) - (np.log(np.clip(1 - p, 1e-6, None)) if binary else 0)]
        shape = (len(y), *self.outputs.shape[1:])
        outputs = [
            np.broadcast_to(g.reshape(shape[1:]), shape).astype(self.outputs.dtype) for g in guesses
        ]
        losses = [self._mean_loss(o, y, weight) for o in outputs]
        # The median of one-hot rows is often no distribution, and has no cross-entropy.
        return min(filter(math.isfinite, losses), default=None)

    def _mean_loss(self, outputs: Array, y: Array, weight: Array) -> float:
        assert self.aim.function is not None
        losses = self.aim.function(tensor(outputs), tensor(y))
        if losses.shape != (len(y),):
            return float(losses.mean())
        return float(np.average(losses.numpy(), weights=weight))

    # --- a few steps -----------------------------------------------------------------------

    @cached_property
    def overfit(self) -> tuple[list[float], float]:
        """What :meth:`overfit_by` returns for the optimizer of the case."""
        return self.overfit_by(self.optimizer)

    def overfit_by(self, optimizer: Optimizer) -> tuple[list[float], float]:
        """Train on one batch by a planned `optimizer`, for at most `OVERFIT_STEPS` steps.

        Returns the loss before each step, and the median over the parameters of the first
        step's relative change: the norm of the change over the norm of the weights.  It ends
        where the loss is no longer finite.  The model keeps its weights.
        Without any step for full-batch methods.
        """
        if isinstance(optimizer, FullBatch):
            return [], 0.0
        some = self.train.spread_rows(self.batch_size)
        step = record_step(
            self.model, self.aim, optimizer, (), self.train, regularizer=self.case.regularizer
        )
        interpreter, state = Interpreter(step.graph), dict(step.state)
        data = {name: array[some] for name, array in self.train.arrays.items()}
        began, losses, change = time.perf_counter(), [], 0.0
        for k in range(OVERFIT_STEPS):
            found = interpreter(state | data)
            losses.append(float(found["loss"]) / len(some))
            if k == 0:
                change = _relative_change(state, found)
            if not math.isfinite(losses[-1]) or time.perf_counter() - began > OVERFIT_SECONDS:
                break
            state = {name: found[name] for name in state}
        return losses, change


def _leading_layer(model: Layer) -> Layer | None:
    """Return the first layer of a Sequential that does more than scale, or None."""
    if not isinstance(model, Sequential):
        return model
    inner = (_leading_layer(one) for one in model.layers if not isinstance(one, (Scale, Flatten)))
    return next(filter(None, inner), None)


def _numbers(node: Node) -> Sequence[Node]:
    """Return the inputs of a node that count as numbers: not codes beside a table of vectors."""
    floats = [one for one in node.inputs if is_float(one.spec.dtype)]
    return floats or (node.inputs if is_float(node.spec.dtype) else ())


def _column_rows(part: Part) -> int:
    """Return how many rows of `part` columns are measured on."""
    width = max(1, math.prod(part.x.shape[1:]))
    return int(max(ROWS, min(COLUMN_ROWS, MOST_ELEMENTS // width)))


def _relative_change(before: dict[str, Array], after: dict[str, Array]) -> float:
    """Return the median, over parameters that are not zero, of the relative change."""
    with np.errstate(all="ignore"):
        ratios = [
            float(np.linalg.norm(after[name] - value) / np.linalg.norm(value))
            for name, value in before.items()
            if name.startswith("parameter/") and np.linalg.norm(value) > 0
        ]
    return float(np.median(ratios)) if ratios else 0.0
