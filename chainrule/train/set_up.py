"""A training before its first step: the parts of the data, the step, and the compiled program.

:func:`chainrule.fit` runs it, and :mod:`chainrule.train.replay` runs it once more.

Read next: :mod:`chainrule.train.loop`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.doctor.case import Case
from chainrule.nn.layer import Layer, initialize, parameters
from chainrule.optim.full_batch import FullBatch
from chainrule.optim.named import optimizer as optimizer_of
from chainrule.optim.optimizer import Optimizer
from chainrule.run.program import Engine, Program, prepare
from chainrule.step.metrics import Metric
from chainrule.step.objective import Objective
from chainrule.step.part import Part
from chainrule.step.record import Step, record_step
from chainrule.train.full_batch_program import full_batch_program

__all__ = ["Training", "prepare_training"]

Array = np.ndarray[Any, Any]


@dataclass
class Training:
    """What a training needs to run: `batches` of the rows of `train` go through the `program`.

    `method` is the optimizer; `held_out` are the validation rows, None if there are none.
    """

    model: Layer
    aim: Objective
    metrics: tuple[Metric, ...]
    method: Optimizer
    train: Part
    held_out: Part | None
    step: Step
    program: Program
    batch_size: int
    epochs: int
    seed: int

    @property
    def steps(self) -> int:
        """The steps of an epoch."""
        return -(-len(self.train) // self.batch_size)

    def connect(self) -> None:
        """Let the parameters of the model have the values that the program computes with."""
        for path, parameter in parameters(self.model).items():
            shown = self.step.shown.get(path, f"parameter/{path}")
            parameter.watch(self.program.state[shown])

    def disconnect(self) -> None:
        """Leave the model with copies of its present values."""
        for parameter in parameters(self.model).values():
            parameter.unwatch()

    def copies(self) -> dict[str, Array]:
        """Return a copy of the state, by kind, for :meth:`put_back`."""
        return {kind: arena.buffer.copy() for kind, arena in self.program.arenas.items()}

    def put_back(self, copies: Mapping[str, Array]) -> None:
        """Set the state, or some kinds of it, to what it was when `copies` were made."""
        for kind, copy in copies.items():
            self.program.arenas[kind].buffer[:] = copy

    def finite(self) -> bool:
        """Whether every number of the parameters is finite."""
        return next(self.not_finite(), None) is None

    def not_finite(self) -> Iterator[tuple[str, Array]]:
        """Yield the parameters that hold a number that is not finite, by their names in the state.

        All are looked at in one array first, where they are of one dtype.
        """
        views = self.program.arenas["parameter"].views
        dtypes = {view.dtype for view in views.values()}
        if len(dtypes) == 1:
            whole = self.program.arenas["parameter"].buffer.view(dtypes.pop())
            if np.isfinite(whole).all():
                return
        yield from ((n, v) for n, v in views.items() if not np.isfinite(v).all())

    def order(self, epoch: int) -> Array:
        """Return the numbers of the rows in the order in which `epoch`, from 1, takes them."""
        return self.train.order(self.seed, epoch)

    def batches(self, epoch: int) -> Iterator[Array]:
        """Yield the numbers of the rows of each batch of `epoch`, in their order."""
        order = self.order(epoch)
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]


def prepare_training(
    case: Case,
    model: Layer,
    aim: Objective,
    parts: tuple[Part, Part | None],
    metrics: Sequence[Metric] = (),
    watch: bool = False,
) -> Training:
    """Record and compile the training of `model` on `parts` that the settings of `case` ask for.

    The weights not set yet are drawn.  `watch` is that of :func:`chainrule.fit`.
    """
    initialize(model, case.seed, keep_assigned=True)
    method = optimizer_of(case.optimizer)
    train, held_out = parts
    whole = isinstance(method, FullBatch)
    batch_size = len(train) if whole else min(case.batch_size, len(train))
    steps = -(-len(train) // batch_size)
    step = record_step(
        model, aim, method.planned(case.epochs * steps, steps), metrics, train,
        watch=watch, regularizer=case.regularizer, seed=case.seed,
    )  # fmt: skip
    names = ("engine", "threads", "devices", "shard", "precision")
    engine = Engine(*(case.more.get(name) for name in names))
    program: Program
    if isinstance(method, FullBatch):
        program = full_batch_program(method, model, aim, step, train, case.seed, engine)
    else:
        program = prepare(step.graph, step.state, train.arrays, batch_size, engine)
    return Training(
        model, aim, tuple(metrics), method, train, held_out, step, program, batch_size,
        case.epochs, case.seed,
    )  # fmt: skip
