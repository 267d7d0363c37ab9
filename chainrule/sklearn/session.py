"""A network with its compiled training step, which lives on between calls of `partial_fit`.

It trains by the same graph as :func:`chainrule.fit`.  Unlike there, rows can be replaced while the
optimizer keeps its moments, and the strength of the penalty is an input of the graph, so that a
search over it compiles nothing twice.

Read next: :mod:`chainrule.sklearn.estimator`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.core.primitive import lookup
from chainrule.core.tensor import Tensor, input, record
from chainrule.nn.layer import Layer, parameters
from chainrule.ops.composite import square
from chainrule.ops.reduce import sum
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.optimizer import Optimizer
from chainrule.run.program import Engine, prepare
from chainrule.sklearn.telling import Telling
from chainrule.step.objective import Objective
from chainrule.step.part import Part
from chainrule.step.record import ROWS, model_dtype, record_step
from chainrule.train.full_batch_program import full_batch_program
from chainrule.train.progress import Progress
from chainrule.train.rates import Rates
from chainrule.train.set_up import Training

__all__ = ["Session"]

Array = np.ndarray[Any, Any]
STRENGTH = "penalty/strength"
CHUNK_SECONDS = 0.1  # how long the engine runs before Python looks up: bar, Ctrl-C


@dataclass
class Session:
    """The training of `model` for `aim` by `method`, in steps of at most `batch_size` rows.

    `epochs` is the length that schedules plan for, `seed` that of dropout and noise.
    """

    model: Layer
    aim: Objective
    method: Optimizer
    batch_size: int
    epochs: int
    seed: int
    kept: dict[str, Array] = field(default_factory=dict)  # the state to go on from
    _training: Training | None = None
    _rates: Rates | None = None
    _copies: dict[str, Array] = field(default_factory=dict)  # of the rows; empty if not copied
    _chunk: int = 1  # steps in one call of the engine

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle all but the compiled step, which is compiled again when needed."""
        self._keep()
        return self.__dict__ | {"_training": None, "_rates": None, "_copies": {}}

    @property
    def training(self) -> Training:
        """What :meth:`give` prepared."""
        assert self._training is not None
        return self._training

    @property
    def rates(self) -> Rates:
        """The learning rates of what :meth:`give` prepared."""
        assert self._rates is not None
        return self._rates

    @property
    def state(self) -> Mapping[str, Array]:
        """The values that steps change, by name."""
        return self.training.program.state

    def give(self, part: Part, alpha: float, replaced: bool) -> None:
        """Let the next steps train on `part`, with the penalty ``alpha / 2 * sum(w²) / rows``.

        If rows will be `replaced`, they are copied, into memory that the next ones overwrite.
        """
        if replaced and part.weight is None:  # later ones may be weighted, by the same program
            part = replace(part, weight=np.ones(len(part), model_dtype(self.model)))
        room = len(self._copies["x"]) if self._copies else 0
        if replaced and len(part) <= room:
            for name, array in part.arrays.items():
                self._copies[name][: len(part)] = array
        else:
            self._keep()
            self._copies = {}
            if replaced:
                self._copies = _with_room(part, max(self.batch_size, len(part), 2 * room))
                arrays = self._copies
                part = Part(arrays["x"], arrays["y"], None, arrays["weight"])
            self._prepare(part)
        full = isinstance(self.method, FullBatch)
        self.state[STRENGTH][...] = alpha / 2 / (len(part) if full else 1)
        self._take_weights()

    def _prepare(self, part: Part) -> None:
        steps = -(-len(part) // self.batch_size)
        full = isinstance(self.method, FullBatch)
        strength = input(STRENGTH, (), np.float64)

        def penalty(p: Tensor) -> Tensor:
            charge = strength.astype(p.dtype) * sum(square(p))
            if full:
                return charge
            return charge / record(lookup("count"), lengths=(ROWS,), dtype=p.dtype.name)

        step = record_step(
            self.model, self.aim, self.method.planned(self.epochs * steps, steps), (), part,
            regularizer=penalty, seed=self.seed, carried={STRENGTH: strength},
        )  # fmt: skip
        program: Any
        if isinstance(self.method, FullBatch):
            program = full_batch_program(
                self.method, self.model, self.aim, step, part, self.seed, Engine()
            )
        else:
            program = prepare(step.graph, step.state, part.arrays, self.batch_size, Engine())
        for name, value in self.kept.items():
            program.state[name][...] = value
        self._training = Training(
            self.model, self.aim, (), self.method, part, None, step, program, self.batch_size,
            self.epochs, self.seed,
        )  # fmt: skip
        self._rates = Rates(self.method, step.rate, program.state)

    def _keep(self) -> None:
        """Copy the state, to go on from in another program."""
        if self._training is not None:
            self.kept = {name: value.copy() for name, value in self.state.items()}

    def _take_weights(self) -> None:
        """Continue from the weights that the model has now: they may have been set."""
        for path, parameter in parameters(self.model).items():
            name = self.training.step.shown.get(path, f"parameter/{path}")
            if not np.array_equal(self.state[name], parameter.value):
                self.state[name][...] = parameter.value
                self.state[f"parameter/{path}"][...] = parameter.value

    def weights(self) -> dict[str, Array]:
        """Return copies of the parameters, and of averages that predictions use, by kind."""
        shown = {name.split("/")[0] for name in self.training.step.shown.values()}
        arenas = self.training.program.arenas
        return {kind: arenas[kind].buffer.copy() for kind in sorted({"parameter"} | shown)}

    def run(self, order: Array, epoch: int, bar: Progress, telling: Telling) -> tuple[float, int]:
        """Train one epoch on the rows of `order`, or as many as the callbacks want.

        Returns the mean loss, with the penalty, and the number of rows that were taken.
        """
        program, size = self.training.program, self.batch_size
        sums: dict[str, float] | None = None
        done = 0
        while done < len(order):
            tick = time.perf_counter()
            chunk = 1 if telling.callbacks.each_step else self._chunk
            part = order[done : done + chunk * size]
            before, sums = sums or {}, program.run(part, size, sums)
            done += len(part)
            bar.advance(epoch, done)
            steps = -(-len(part) // size)
            took = max(time.perf_counter() - tick, 1e-6)
            self._chunk = max(1, int(steps * min(4.0, CHUNK_SECONDS / took)))
            if telling.end_steps(steps, part, (before, sums), self.rates.now()):
                break
        assert sums is not None
        return (sums["loss"] + sums.get("penalty", 0.0)) / done, done


def _with_room(part: Part, rows: int) -> dict[str, Array]:
    """Return copies of the arrays of `part`, with room for so many `rows`."""
    arrays = {}
    for name, array in part.arrays.items():
        arrays[name] = np.zeros((rows, *array.shape[1:]), array.dtype)
        arrays[name][: len(array)] = array
    return arrays
