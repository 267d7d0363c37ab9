"""Prepare a training step, or a function of rows, to run on an engine.

A step is one graph.  Inputs whose names are also outputs are *state*: the values
that the step returns for them are the inputs of the next step.  The other inputs
are *data*: arrays from which each step gathers its rows.  The other outputs are
*sums*, accumulated over steps; those named ``watch/...`` are computed in the first
step and every tenth after it.  :func:`prepare` selects the engine: native code, in
which the reference interpreter computes the operations that can't be compiled (with
a warning), or the reference interpreter alone.

Read next: :mod:`chainrule.step.record`, which records such graphs.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from chainrule.core.errors import (
    DTypeError,
    GraphError,
    OptionError,
    did_you_mean,
    not_installed,
)
from chainrule.core.graph import Graph, Node
from chainrule.core.spec import Dim
from chainrule.run import engines
from chainrule.run.arena import Arena, group
from chainrule.run.plan.fuse import WATCH_EVERY, is_watched
from chainrule.run.reference import Interpreter
from chainrule.run.reference import evaluate as reference_values
from chainrule.transform.mode import for_predicting
from chainrule.transform.rows import pieces_fit

__all__ = [
    "ENGINES",
    "Brief",
    "Engine",
    "Program",
    "ReferenceFunction",
    "ReferenceProgram",
    "RowFunction",
    "evaluate",
    "prepare",
    "prepare_function",
    "trainer",
    "workers",
]

Array = np.ndarray[Any, Any]
T = TypeVar("T")
Brief = Callable[[Array], tuple[Array, float]]
ROWS_AT_ONCE = 4096  # a function of many rows processes them in pieces of this size
ENGINES = ("auto", "native", "reference", "xla")


@dataclass(frozen=True)
class Engine:
    """The engine that computes a graph: its `name` (see :func:`prepare`) and how it does so.

    If `threads` is None, the environment variable ``CHAINRULE_THREADS`` or else the number of
    cores limits how many are used.  The engine "xla" has threads of its own; it computes steps on
    so many `devices` ("all": those that JAX finds, None: one), each with a part of every batch.
    With `shard` "parameters", each device also keeps only a part of the parameters and of the
    state of the optimizer; with `precision` "bf16", steps compute products in bfloat16.
    """

    name: str | None = None
    threads: int | None = None
    devices: int | str | None = None
    shard: str | None = None
    precision: str | None = None


class Program(Protocol):
    """A step graph with its state and data, prepared for an engine.

    `state` contains views by name into `arenas`.  There is one arena for each prefix of a name
    before the slash: ``parameter/0.weight`` and ``parameter/0.bias`` share one.
    """

    engine: str
    arenas: dict[str, Arena]
    state: dict[str, Array]

    def run(
        self, order: Array, batch_size: int, sums: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Run one step for each `batch_size` rows of `order`; the last batch may be smaller.

        Returns the sums, each accumulated over the steps in float64.  Those of an earlier call
        can be given as `sums`, and are continued: the result is the same, to the last bit, as if
        the steps of both calls had been run in one.
        """
        ...

    def explain(self) -> str:
        """Return a description of how the step is run."""
        ...

    def made_with(self) -> dict[str, str]:
        """Return the versions and hardware that the last bits of a result may depend on."""
        ...


class Trainer(Protocol):
    """A prepared step that trains in whole epochs, with state of its own.

    After `stopped` is set, from any thread, trainings end early.
    """

    stopped: bool
    arenas: dict[str, Arena]
    state: dict[str, Array]

    def train(
        self,
        data: Mapping[str, Array],
        rows: Array,
        batch_size: int,
        epochs: int,
        seed: int,
        stream: int,
        order: Callable[[int], Array],
        held: tuple[Mapping[str, Array], Array, int] | None,
    ) -> tuple[int, Array, Array | None]:
        """Train from the present `state`, and return the epochs that were finite, and their sums.

        Epoch e, counted from 1, takes the `rows` of `data` as ``order(e)`` returns them, which is
        ``Generator(Philox(key=[seed, stream + e])).permutation(rows)``.  Sums are (epochs, sums),
        in the order of the outputs of the graph.  `held` are the arrays that are scored after each
        epoch, the numbers of their rows, and how many of them are summed at once.
        """
        ...


class ReferenceProgram:
    """A step on the reference interpreter; see :class:`Program`."""

    engine = "reference"

    def __init__(
        self,
        graph: Graph,
        state: Mapping[str, Array],
        data: Mapping[str, Array],
        reason: str = "it was asked for",
    ):
        self.data = dict(data)
        self.reason = reason
        self.taken = 0  # steps so far; watched outputs are computed in every tenth
        self.interpreter = Interpreter(graph)
        usual = {name: n for name, n in graph.outputs.items() if not is_watched(name)}
        watches = len(usual) < len(graph.outputs)
        self.usual = Interpreter(Graph(usual, graph.inputs)) if watches else self.interpreter
        self.arenas, self.state = group(state)

    def run(
        self, order: Array, batch_size: int, sums: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Run one step for each `batch_size` rows of `order`; the last batch may be smaller."""
        names = [name for name in self.interpreter.graph.outputs if name not in self.state]
        totals = {name: sums[name] if sums else 0.0 for name in names}
        if "step" in self.state:  # which continues where a training was interrupted
            self.taken = int(self.state["step"])
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = {name: array[rows] for name, array in self.data.items()}
            watching = self.taken % WATCH_EVERY == 0
            self.taken += 1
            step = self.interpreter if watching else self.usual
            outputs = step({**self.state, **batch})
            fresh = {name: outputs.pop(name) for name in self.state}
            for name, value in fresh.items():
                if value.base is not None and value is not self.state[name]:
                    fresh[name] = value.copy()  # it may be a view of state about to be overwritten
            for name, view in self.state.items():
                if fresh[name] is not view:
                    view[...] = fresh[name]
            for name, value in outputs.items():
                totals[name] += float(value)
        return totals

    def explain(self) -> str:
        """Return a description of how the step is run."""
        nodes = len(self.interpreter.steps)
        return f"The reference interpreter runs all {nodes} operations, because {self.reason}."

    def made_with(self) -> dict[str, str]:
        """Return nothing: NumPy's version is told of every training."""
        return {}


class RowFunction(Protocol):
    """A graph prepared to be called with any number of rows of data.

    `whole` is True if the result of a row depends on other rows, so that one call needs them all.
    """

    engine: str
    whole: bool

    def __call__(self, data: Mapping[str, Array]) -> dict[str, Any]:
        """Return outputs by name: arrays of rows, and scalars summed over pieces of rows.

        Uses the current values of the parameters, or a copy if it was prepared with `frozen`.
        """
        ...

    def brief(self) -> tuple[Brief, int] | None:
        """Return a function with less overhead, and the most rows that it takes.

        It takes the only data, in memory order and of the right type and shape, and returns the
        only output and the only sum.  None if there are more of these, or it is not faster.
        """
        ...


class ReferenceFunction:
    """A function of rows on the reference interpreter; see :class:`RowFunction`."""

    engine = "reference"

    def __init__(self, graph: Graph, frozen: Mapping[str, Array] | None = None):
        self.interpreter = Interpreter(graph)
        self.whole = not pieces_fit(graph.outputs.values())
        self.frozen = {name: value.copy() for name, value in (frozen or {}).items()}

    def brief(self) -> None:
        """Return None: nothing is faster."""

    def __call__(self, data: Mapping[str, Array]) -> dict[str, Any]:
        """Return outputs by name: arrays of rows, and scalars summed over pieces of rows."""
        rows = len(next(iter(data.values())))
        count = max(1, rows if self.whole else ROWS_AT_ONCE)
        pieces = [
            self.interpreter(
                self.frozen | {name: array[i : i + count] for name, array in data.items()}
            )
            for i in range(0, max(1, rows), count)
        ]
        return {
            name: np.concatenate([p[name] for p in pieces])
            if first.ndim
            else float(sum(float(p[name]) for p in pieces))
            for name, first in pieces[0].items()
        }


def prepare_function(
    graph: Graph,
    data: Collection[str],
    engine: Engine | str | None = None,
    frozen: bool = False,
) -> RowFunction:
    """Prepare `graph`, whose inputs are parameters and the named `data`, to be called.

    If `frozen`, it keeps a copy of the parameters, so that later changes have no effect on it.

    Operations that differ between training and prediction run in prediction mode.  Many rows are
    processed in pieces if rows are independent, and all at once otherwise (``x - x.mean(0)``).
    Chooses the engine and raises errors as :func:`prepare` does.
    """
    graph = for_predicting(graph)
    loose = [
        name
        for name, node in graph.inputs.items()
        if name not in data and node.primitive.name != "parameter"
    ]
    if loose:
        raise GraphError(f"data is missing for these inputs: {', '.join(loose)}.")
    for name, node in graph.outputs.items():
        if node.spec.shape and not isinstance(node.spec.shape[0], Dim):
            raise GraphError(
                f"output {name!r}, {node.spec}, is neither a scalar nor an array of rows, so it "
                "can't be computed from pieces of the data; use evaluate(graph, values)."
            )
    chosen = _engine(engine)
    leaves = graph.inputs.items() if frozen else ()
    values = {n: p.params["parameter"].value for n, p in leaves if n not in data}
    kept = values if frozen else None
    function: RowFunction
    if chosen.name == "xla":
        function = _xla().XlaFunction(graph, data, kept)
        return function
    function = _on_engine(
        chosen,
        lambda native: native.native_function(graph, set(data), chosen.threads, kept),
        lambda reason: ReferenceFunction(graph, kept),
    )
    return function


def prepare(
    graph: Graph,
    state: Mapping[str, Array],
    data: Mapping[str, Array],
    batch_size: int,
    engine: Engine | str | None = None,
) -> Program:
    """Prepare the step `graph` to run on `engine`: "auto", "native", "reference" or "xla".

    A name is the :class:`Engine` of that name with a number of threads chosen for speed.

    None selects the environment variable ``CHAINRULE_ENGINE``, or else "auto": native
    code, with a warning if the reference interpreter computes some nodes (they can't be
    compiled) or all nodes (llvmlite is missing).  "xla" is used only if it is asked for.

    Raises GraphError if the graph's inputs are not exactly `state` and `data`, OptionError for an
    unknown engine or an option that it does not have, for `devices` that are not there, or (engine
    "native" or "xla") for a graph that can't be compiled, and ShapeError or DTypeError for an array
    that does not match its input.
    """
    given = set(state) | set(data)
    if given != set(graph.inputs) or not set(state) <= set(graph.outputs):
        odd = sorted(given ^ set(graph.inputs)) or sorted(set(state) - set(graph.outputs))
        raise GraphError(f"state and data do not match the step's inputs: {', '.join(odd)}.")
    dims: dict[Dim, int] = {}
    for name, array in (*state.items(), *data.items()):
        spec = graph.inputs[name].spec
        spec.bind(array, dims, name)
        if array.dtype != spec.dtype:
            raise DTypeError(f"input {name!r} must be {spec.dtype}, but is {array.dtype}.")
    chosen = _engine(engine)
    program: Program
    if chosen.name == "xla":
        program = _xla().program(
            graph, state, data, batch_size, chosen.devices, chosen.shard, chosen.precision
        )
        return program
    program = _on_engine(
        chosen,
        lambda native: native.native_program(graph, state, data, batch_size, chosen.threads),
        lambda reason: ReferenceProgram(graph, state, data, reason),
    )
    return program


def evaluate(
    graph: Graph, values: Mapping[str, Any] | None = None, engine: str = "reference"
) -> dict[str, Any]:
    """Evaluate `graph` on input `values` by name, and return its outputs by name.

    Parameters without a value have their current one.  `engine` is "reference", node by node
    with NumPy, or "xla", which compiles the graph first (for that, JAX must be installed).
    Raises GraphError for a missing or unknown input, ShapeError or DTypeError for a value of
    the wrong shape or dtype, and OptionError if `engine` can't compute the graph.

    >>> import chainrule as cr
    >>> x = cr.input("x", ("n",))
    >>> evaluate(Graph({"total": x.sum()}), {"x": [1.0, 2.0]})
    {'total': array(3., dtype=float32)}
    """
    if engine == "reference":
        return reference_values(graph, values)
    if engine != "xla":
        raise OptionError(f"evaluate: engine must be 'reference' or 'xla', not {engine!r}.")
    found: dict[str, Any] = _xla().values(graph, values or {})
    return found


def trainer(
    program: Program, scoring: RowFunction | None, shown: Mapping[Node, str], most: int
) -> Trainer | None:
    """Return what runs the step of `program` in whole epochs without Python, for one thread.

    Every call returns another one, with memory of its own.  `scoring` is prepared for the same
    engine and called after each epoch with at most `most` rows; `shown` names the state that it
    reads for the node of a parameter.  None if the interpreter computes the step, or a part of it.
    """
    if program.engine != "native":
        return None
    made: Trainer | None = engines.load("native").trainer(program, scoring, shown, most)
    return made


def workers(threads: int | None) -> int:
    """Return how many threads :class:`Engine` allows, 1 where there is no compiled engine."""
    try:
        limit: int = engines.load("machine").thread_limit(threads)
    except (ImportError, OSError) as error:
        if not engines.is_missing(error):
            raise
        return 1
    return limit


def _xla() -> Any:
    """Return the XLA engine; raise OptionError if JAX can't be loaded."""
    try:
        return engines.load("xla")
    except (ImportError, OSError) as error:
        if not engines.is_missing(error):
            raise
        install = "jax, or jax[cuda13] for NVIDIA's GPUs"
        raise not_installed("engine='xla'", "jax", install, error) from None


def _engine(choice: Engine | str | None) -> Engine:
    """Return the chosen engine, by its name; raise OptionError if there is none."""
    given = choice if isinstance(choice, Engine) else Engine(choice)
    name = given.name or os.environ.get("CHAINRULE_ENGINE") or "auto"
    if name not in ENGINES:
        raise OptionError(f"unknown engine {name!r}. {did_you_mean(name, ENGINES)}")
    for option in ("devices", "shard", "precision"):
        value = getattr(given, option)
        if value is not None and name != "xla":
            raise OptionError(f"{option}={value!r} needs engine='xla', not {name!r}.")
    return replace(given, name=name)


def _on_engine(
    chosen: Engine,
    on_native: Callable[[Any], T],
    on_reference: Callable[[str], T],
) -> T:
    """Build the program with the chosen engine; the reference engine gets the reason for it."""
    if chosen.name == "reference":
        return on_reference("it was asked for")
    try:
        native = engines.load("by_rows")
    except (ImportError, OSError) as error:  # not installed, or its library can't be loaded
        if not engines.is_missing(error):
            raise
        reason = f"llvmlite can't be loaded ({error})"
    else:
        made = on_native(native)
        _tell_of_stops(made, chosen.name)
        return made
    if chosen.name == "native":
        raise OptionError(f"engine='native' can't run this: {reason}.")
    warnings.warn(f"chainrule runs on the slower reference engine: {reason}.", stacklevel=4)
    return on_reference(reason)


def _tell_of_stops(made: Any, choice: str | None) -> None:
    """Warn about operations left to the interpreter, or raise if `choice` is "native"."""
    left = made.code.left_to_reference()
    if not left:
        return
    node, reason = left[0]
    more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
    what = f"{node.primitive.name} {node.spec}{more}, recorded at {node.line}, {reason}"
    if choice == "native":
        raise OptionError(f"engine='native' can't run this: {what}.")
    warnings.warn(
        f"chainrule computes some operations on the slower reference interpreter: {what}.",
        stacklevel=5,
    )
