"""Train with all rows in each step: a program whose every run is one iteration of L-BFGS or LM.

An optimizer and the graph that gathers gradients go in; a
:class:`~chainrule.run.program.Program` for the loop comes out, so that history, validation,
early stopping and the rest are those of any training.  One call of it is one epoch.

Read next: :mod:`chainrule.optim.lbfgs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.graph import Graph, reachable
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor, input
from chainrule.nn.layer import Layer, parameters
from chainrule.nn.losses import mse
from chainrule.optim.full_batch import Descent, FullBatch
from chainrule.optim.lbfgs import LBFGS, Minimum
from chainrule.optim.levenberg_marquardt import LeastSquares, LevenbergMarquardt
from chainrule.optim.optimizer import Optimizer
from chainrule.run.program import Engine, Program, prepare, prepare_function
from chainrule.step.objective import Objective
from chainrule.step.part import Part
from chainrule.step.record import Step, data_input, forward
from chainrule.transform.jacobian import push_forward
from chainrule.transform.mode import for_training
from chainrule.transform.row_slopes import row_slopes
from chainrule.transform.rows import pieces_fit, rows_stand_alone
from chainrule.transform.simplify import simplify

__all__ = ["FullBatchProgram", "check_alone", "full_batch_program"]

Array = np.ndarray[Any, Any]
ROWS_AT_ONCE = 1024  # what one pass of the compiled step gathers, where rows stand alone
MOST_BYTES = 2**32  # of a Jacobian


def check_alone(optimizer: Optimizer, watch: bool) -> None:
    """Raise OptionError for a full-batch optimizer where it can't do its work."""
    inside = [part for _, part in optimizer.walk() if isinstance(part, FullBatch)]
    if inside and inside[0] is not optimizer:
        raise OptionError(
            f"fit: {type(inside[0]).__name__} looks along its own steps, so it can't be part of "
            f"{type(optimizer).__name__}; give it alone."
        )
    if inside and watch:
        raise OptionError(
            f"fit: watch=True looks at mini-batches, and {type(optimizer).__name__} has none."
        )


class FullBatchProgram:
    """A step graph of a full-batch optimizer, run one iteration at a time.

    `reason` says why nothing is left to do, or is None.
    """

    def __init__(self, optimizer: FullBatch, program: Program, data: Part, chunk: int):
        self.optimizer, self.program, self.data, self.chunk = optimizer, program, data, chunk
        self.engine, self.arenas, self.state = program.engine, program.arenas, program.state
        self.rows = np.arange(len(data.x)) if data.rows is None else np.asarray(data.rows)
        marks = [name.removeprefix("gradient/") for name in self.state]
        self.trained = [m for m in marks if f"gradient/{m}" in self.state]
        views = [self.state[f"parameter/{path}"] for path in self.trained]
        self.epsilon = max(float(np.finfo(view.dtype).eps) for view in views)
        self.descent: Descent[Minimum | LeastSquares] | None = None
        self.placed = self.accepted = np.zeros(0)
        self.seen: dict[bytes, dict[str, float]] = {}
        self.reason: str | None = None

    def run(
        self, order: Array, batch_size: int, sums: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Take one iteration over all rows and return the sums at the point it leads to."""
        point = self._point()
        if self.descent is None or not np.array_equal(point, self.placed):  # set by someone else
            self.accepted = self.placed = point
            self.seen = {}
            self.descent = self.start(point)
        try:
            return self._iterate(self.descent)
        except BaseException:  # Ctrl-C in the middle of a search, which may stand anywhere
            self.place(self.accepted)
            raise

    def keep(self) -> dict[str, Array]:
        """Return what :meth:`go_on` needs: the point, and what the method knows of its way."""
        if self.descent is None:
            return {}
        return {"accepted": self.accepted, **self.descent.keep()}

    def go_on(self, kept: Mapping[str, Array]) -> None:
        """Continue from what :meth:`keep` returned; the state is the caller's to restore."""
        if kept:
            self.accepted, self.seen = kept["accepted"], {}
            self.descent = self.start(self.accepted, kept)
            self.place(self.accepted)

    def _iterate(self, descent: Descent[Minimum | LeastSquares]) -> dict[str, float]:
        if descent.here.reason is None:
            descent.advance()
        found = descent.here
        self.accepted, self.reason = found.point, found.reason
        key = self.accepted.tobytes()
        if key not in self.seen:
            self.look(self.accepted)
        self.seen = {key: self.seen[key]}
        self.place(self.accepted)
        return dict(self.seen[key])

    def start(
        self, point: Array, kept: Mapping[str, Array] | None = None
    ) -> Descent[Minimum | LeastSquares]:
        """Return the minimization from `point` on, or one that goes on with what was `kept`."""
        assert isinstance(self.optimizer, LBFGS)
        return self.optimizer.descent(self.look, point, self.epsilon, kept)

    def look(self, point: Array) -> tuple[float, Array]:
        """Return the mean loss at `point`, with penalties, and its gradient."""
        self.place(point)
        gradients = [self.state[f"gradient/{path}"] for path in self.trained]
        for gradient in gradients:
            gradient[...] = 0
        sums = self.program.run(self.rows, self.chunk)
        self.seen[point.tobytes()] = sums
        count = len(self.rows)
        value = (sums["loss"] + sums.get("penalty", 0.0)) / count
        return value, np.concatenate([g.ravel() for g in gradients]).astype(np.float64) / count

    def place(self, point: Array) -> None:
        """Give the parameters the values of `point`."""
        at = 0
        for path in self.trained:
            view = self.state[f"parameter/{path}"]
            view[...] = point[at : at + view.size].reshape(view.shape)
            at += view.size
        self.placed = self._point()

    def _point(self) -> Array:
        views = [self.state[f"parameter/{path}"].ravel() for path in self.trained]
        return np.concatenate(views).astype(np.float64)

    def explain(self) -> str:
        """Return in words how the step is run."""
        return f"{self.optimizer!r}, one iteration an epoch.\n{self.program.explain()}"

    def made_with(self) -> dict[str, str]:
        """Return what the last bits of a result may depend on."""
        return self.program.made_with()


class _LeastSquaresProgram(FullBatchProgram):
    """The same for Levenberg-Marquardt, which needs the residuals and their Jacobian."""

    def __init__(self, method: LevenbergMarquardt, program: Program, data: Part, chunk: int):
        super().__init__(method, program, data, chunk)
        self.method = method
        self.residual: Callable[[], dict[str, Array]]
        self.whole: Callable[[], Array]  # the Jacobian (rows, outputs, parameters)

    def ready(self, model: Layer, aim: Objective, seed: int, engine: Engine) -> None:
        """Record and compile the residuals ``output - y`` and what their Jacobian is made of."""
        if aim.function is not mse or self.data.weight is not None:
            own = "a loss of your own" if aim.kind == "custom" else f"loss {aim.name!r}"
            what = own if aim.function is not mse else "rows with weights"
            raise OptionError(
                f"fit: LevenbergMarquardt makes a plain sum of squares least, loss='mse', and not "
                f"{what}; optim.LBFGS() trains any loss on all rows."
            )
        arrays = {"x": self.data.x, "y": self.data.y}
        x, y = (data_input(name, array) for name, array in arrays.items())
        seen = for_training([forward(model, x)], input("step", (), np.int64), seed)
        if seen.penalties or seen.updates:
            raise OptionError(
                "fit: LevenbergMarquardt can't train layers that keep statistics or add penalties "
                "to the loss; optim.LBFGS() can."
            )
        residual = (seen.tensors[0] - y).reshape((y.shape[0], -1))
        found = parameters(model)
        chosen = [found[path] for path in self.trained]
        self.inputs = {"x": x.node, "y": y.node}
        self._check_size(chosen, int(residual.shape[1]))  # type: ignore[arg-type]
        if not rows_stand_alone([residual.node]):
            raise OptionError(
                "fit: LevenbergMarquardt needs each row's own derivatives, and in this model rows "
                "act on each other; optim.LBFGS() can train it."
            )
        self.residual = self._function({"residual": residual}, engine)
        slopes = row_slopes(residual, chosen)
        if slopes is not None:
            factors = self._function(slopes.tensors, engine)
            self.whole = lambda: slopes.jacobian(factors(), len(self.rows))
            return
        tangents = [Parameter(p.shape, _zeros, p.dtype, f"tangent of {p.name}") for p in chosen]  # type: ignore[arg-type]
        along = push_forward(residual, chosen, tangents)
        column = self._function({"column": along}, engine)
        self.whole = lambda: _by_columns(column, tangents)

    def _function(
        self, outputs: dict[str, Tensor], engine: Engine
    ) -> Callable[[], dict[str, Array]]:
        graph = simplify(Graph({n: t.node for n, t in outputs.items()}, self.inputs))
        function = prepare_function(graph, ["x", "y"], engine)
        data = {n: a if self.data.rows is None else a[self.rows] for n, a in self._arrays()}
        return lambda: function(data)

    def _arrays(self) -> list[tuple[str, Array]]:
        return [("x", self.data.x), ("y", self.data.y)]

    def _check_size(self, chosen: list[Parameter], width: int) -> None:
        columns = sum(p.value.size for p in chosen)
        size = len(self.rows) * width * columns * 8
        if size > MOST_BYTES:
            raise OptionError(
                f"fit: the Jacobian of {len(self.rows) * width:,} residuals to {columns:,} "
                f"parameters takes {size / 2**30:.0f} GiB, and at most {MOST_BYTES // 2**30} are "
                "used; train with optim.LBFGS(), fewer rows or a smaller model."
            )

    def start(
        self, point: Array, kept: Mapping[str, Array] | None = None
    ) -> Descent[Minimum | LeastSquares]:
        return self.method.descent(self._residuals, self._jacobian, point, self.epsilon, kept)

    def _residuals(self, point: Array) -> Array:
        self.place(point)
        values: Array = self.residual()["residual"]
        return values.astype(np.float64).ravel()

    def _jacobian(self, point: Array) -> Array:
        self.place(point)
        whole = self.whole()
        return whole.reshape(-1, whole.shape[-1])


def _zeros(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    return np.zeros(shape)


def _by_columns(column: Callable[[], dict[str, Array]], tangents: Sequence[Parameter]) -> Array:
    """Return the Jacobian by as many calls of `column` as `tangents` have elements."""
    columns = []
    for tangent in tangents:
        for place in np.ndindex(tangent.value.shape):
            tangent.value[place] = 1
            columns.append(column()["column"].astype(np.float64))
            tangent.value[place] = 0
    return np.stack(columns, axis=-1)


def full_batch_program(
    optimizer: FullBatch,
    model: Layer,
    aim: Objective,
    step: Step,
    data: Part,
    seed: int,
    engine: Engine,
) -> FullBatchProgram:
    """Return the `step` of a full-batch `optimizer` on `data`, ready to run.

    Raises OptionError where the loss is drawn at random, or is none the optimizer can do with.
    """
    _check_steady(optimizer, step.graph)
    totals = [step.graph.outputs[n] for n in ("loss", "penalty") if n in step.graph.outputs]
    chunk = min(len(data), ROWS_AT_ONCE) if pieces_fit(totals) else len(data)
    program = prepare(step.graph, step.state, data.arrays, chunk, engine)
    if isinstance(optimizer, LevenbergMarquardt):
        if "penalty" in step.graph.outputs:
            raise OptionError(
                "fit: LevenbergMarquardt makes a plain sum of squares least, without a "
                "regularizer; optim.LBFGS() takes one."
            )
        made = _LeastSquaresProgram(optimizer, program, data, chunk)
        made.ready(model, aim, seed, engine)
        return made
    return FullBatchProgram(optimizer, program, data, chunk)


def _check_steady(optimizer: FullBatch, graph: Graph) -> None:
    """Raise OptionError where the loss is another one each time it is computed."""
    step = graph.inputs["step"]
    for node in graph.nodes:
        if node.primitive.name == "uniform" and step in reachable(node.inputs):
            raise OptionError(
                f"fit: {type(optimizer).__name__} compares losses along its way, and this one is "
                f"drawn anew each time, at {node.line}, as by dropout or noise; leave that out, or "
                "train with mini-batches, optimizer='adam'."
            )
