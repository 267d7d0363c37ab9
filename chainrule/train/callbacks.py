"""Callbacks: objects that a training tells of its epochs and steps, and that may end it.

A callback is any object with one or more of three methods; it needs no base class:

- ``on_epoch(moment)`` is called after each epoch; if it returns True, training ends.
- ``on_step(moment)`` is called after each step; if it returns True, training ends.
- ``on_end(moment)`` is called once, when training has ended, for whatever reason.

Each is given a :class:`Moment`.  Callbacks look at a training: with and without them the weights
are the same, bit for bit.  Steps run in machine code, hundreds in one call; only with an
``on_step`` does each step return to Python.

Read next: :mod:`chainrule.train.loop`, which calls them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.graph import Graph
from chainrule.nn.layer import parameters
from chainrule.run.reference import Interpreter
from chainrule.step.part import Part
from chainrule.step.record import data_input, forward, record_totals
from chainrule.train.run import Run
from chainrule.train.set_up import Training
from chainrule.transform.grad import grad
from chainrule.transform.mode import for_predicting

__all__ = ["Callbacks", "Moment"]

Array = np.ndarray[Any, Any]
METHODS = ("on_epoch", "on_step", "on_end")
APART = ("epoch", "layers")  # entries of a record that are no metrics
ROWS = 256  # that gradients are computed on


@dataclass(frozen=True)
class Moment:
    """Where a training is, as its callbacks are told.

    `epoch` counts from 1, and `step` is the number of steps taken since the training began.
    `metrics` are read-only: after an epoch the numbers of its record in the history (``loss``,
    ``val_loss``, metrics, ``learning_rate``, ``seconds``, ...); after a step the mean ``loss`` of
    its batch, before the update, and the ``learning_rate``.  `run` is the run on its way: its
    model, settings and history.  `error` is the exception that ended the training, if one did.

    >>> from chainrule.nn.layer import Linear
    >>> from chainrule.train.fit import fit
    >>> class Largest:
    ...     def on_epoch(self, moment):
    ...         print(moment.epoch, moment.step, abs(moment.weights()["weight"]).max() < 3)
    >>> X = np.eye(4, dtype="float32")
    >>> run = fit(Linear(4, 1), (X, X[:, :1]), loss="mse", epochs=2, batch_size=2,
    ...           callbacks=[Largest()])
    1 2 True
    2 4 True
    """

    run: Run
    epoch: int
    step: int
    metrics: Mapping[str, float]
    error: BaseException | None = None
    _gradients: Gradients | None = field(default=None, repr=False)

    def weights(self) -> dict[str, Array]:
        """Return copies of the weights of now, by their paths in the model."""
        return {path: np.array(p.value) for path, p in parameters(self.run.model).items()}

    def gradients(self) -> dict[str, Array]:
        """Return the gradient of the mean loss to each trained weight, by path.

        It is computed anew, by the reference interpreter, on at most 256 training rows, spread
        evenly, without penalties and without noise such as dropout.
        """
        assert self._gradients is not None
        return self._gradients.now()


@dataclass(frozen=True)
class Gradients:
    """The graph of the gradients of a training, recorded when it is first needed."""

    training: Training

    @cached_property
    def _interpreter(self) -> Interpreter:
        part = self.training.train
        data = {name: data_input(name, array) for name, array in part.arrays.items()}
        output = forward(self.training.model, data["x"])
        loss, _ = record_totals(self.training.aim, (), output, data["y"], data.get("weight"))
        inputs = {name: leaf.node for name, leaf in data.items()}
        plain = for_predicting(Graph({"loss": loss.node}, inputs))
        trained = {n: p for n, p in parameters(self.training.model).items() if p.trainable}
        slopes = grad(type(loss)(plain.outputs["loss"]), list(trained.values()), unused="zero")
        found = {path: slope.node for path, slope in zip(trained, slopes, strict=True)}
        return Interpreter(Graph(found, plain.inputs))

    def now(self) -> dict[str, Array]:
        part = self.training.train
        rows = part.spread_rows(ROWS)
        return self._interpreter({name: array[rows] for name, array in part.arrays.items()})


class Callbacks:
    """The callbacks of a training, and which of them are told of what."""

    def __init__(self, given: Iterable[object] = ()):
        if not isinstance(given, Iterable):
            raise OptionError(f"callbacks must be a list of objects, not {given!r}.")
        self.given = list(given)
        for one in self.given:
            _check(one)
        self.each_step = any(hasattr(one, "on_step") for one in self.given)

    def __bool__(self) -> bool:
        return bool(self.given)

    def ask(self, method: str, moment: Moment) -> str:
        """Tell all that have the `method`; return the name of the one that asks to stop, or ""."""
        asked = ""
        for one in self.given:
            if hasattr(one, method):
                stop = getattr(one, method)(moment)
                if isinstance(stop, (bool, np.bool_)) and stop:  # not a path, a number, a run
                    asked = asked or type(one).__name__
        return asked

    def end(self, moment: Moment) -> None:
        """Tell all of the end, also where one of them fails."""
        with ExitStack() as stack:
            for one in reversed(self.given):
                if hasattr(one, "on_end"):
                    stack.callback(one.on_end, moment)


def metrics_in(record: Mapping[str, Any]) -> Mapping[str, float]:
    """Return the numbers of a record of the history, read-only."""
    return MappingProxyType({k: v for k, v in record.items() if k not in APART})


def batch_metrics(
    before: Mapping[str, float], sums: Mapping[str, float], part: Part, rate: float | None
) -> Mapping[str, float]:
    """Return what is told of a step: `sums` of the epoch `before` it and after it."""
    loss = (sums["loss"] - before.get("loss", 0.0)) / part.total_weight
    return MappingProxyType({"loss": loss} | ({} if rate is None else {"learning_rate": rate}))


def _check(one: object) -> None:
    """Raise OptionError for an object that training would never call."""
    name = type(one).__name__
    if inspect.isclass(one):
        raise OptionError(f"callbacks: give an object, {one.__name__}(...), not the class.")
    own = [n for n in dir(one) if n.startswith("on_") and callable(getattr(one, n))]
    for method in own:
        if method not in METHODS:
            raise OptionError(
                f"callbacks: {name} has a method {method!r}, which training would not call. "
                f"{did_you_mean(method, METHODS)}"
            )
    if not own:
        hint = " Give the function as on_epoch=... instead." if callable(one) else ""
        raise OptionError(f"callbacks: {name} has none of {', '.join(METHODS)}.{hint}")
