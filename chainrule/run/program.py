"""A training step made ready to run: state that stays, data that is gathered, sums that come out.

The step is one graph.  Inputs whose names are also outputs are *state*: what
the step returns for them is what the next step gets.  The other inputs are
*data*: arrays from which each step gathers its rows.  The other outputs are
*sums*, added up over steps; those named ``watch/...`` are computed in the first
step and every tenth after it.  :func:`prepare` picks the engine: native code,
within which the reference interpreter computes, loudly, what the compiler has
no form for; or that interpreter alone.

Read next: :mod:`chainrule.step.record`, which records such graphs.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from chainrule.core.errors import DTypeError, GraphError, OptionError, did_you_mean
from chainrule.core.graph import Graph
from chainrule.core.spec import Dim
from chainrule.run import engines
from chainrule.run.arena import Arena, group
from chainrule.run.plan.fuse import WATCH_EVERY, is_watched
from chainrule.run.reference import Interpreter
from chainrule.transform.mode import for_predicting
from chainrule.transform.rows import pieces_fit

__all__ = [
    "ENGINES",
    "Engine",
    "Program",
    "ReferenceFunction",
    "ReferenceProgram",
    "RowFunction",
    "prepare",
    "prepare_function",
]

Array = np.ndarray[Any, Any]
T = TypeVar("T")
ROWS_AT_ONCE = 4096  # a function of many rows takes them in pieces of so many
ENGINES = ("auto", "native", "reference")


@dataclass(frozen=True)
class Engine:
    """What computes a graph: an engine by `name`, see :func:`prepare`, and its `threads`.

    Without `threads`, the environment variable ``CHAINRULE_THREADS`` or the machine's cores set
    the most there are.
    """

    name: str | None = None
    threads: int | None = None


class Program(Protocol):
    """A step graph with its state and data, on some engine.

    `state` are views, by name, into `arenas`, by the part of the name before
    the slash: ``parameter/0.weight`` and ``parameter/0.bias`` share one.
    """

    engine: str
    arenas: dict[str, Arena]
    state: dict[str, Array]

    def run(self, order: Array, batch_size: int) -> dict[str, float]:
        """Take one step for each `batch_size` rows of `order`, the last with what is left.

        Returns the sums, each added up over the steps in float64.
        """
        ...

    def explain(self) -> str:
        """Return in words how the step is run."""
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
        self.taken = 0  # steps, for what is watched in every tenth
        self.interpreter = Interpreter(graph)
        usual = {name: n for name, n in graph.outputs.items() if not is_watched(name)}
        watches = len(usual) < len(graph.outputs)
        self.usual = Interpreter(Graph(usual, graph.inputs)) if watches else self.interpreter
        self.arenas, self.state = group(state)

    def run(self, order: Array, batch_size: int) -> dict[str, float]:
        """Take one step for each `batch_size` rows of `order`, the last with what is left."""
        sums = {name: 0.0 for name in self.interpreter.graph.outputs if name not in self.state}
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
                    fresh[name] = value.copy()  # it may be other state, about to be overwritten
            for name, view in self.state.items():
                if fresh[name] is not view:
                    view[...] = fresh[name]
            for name, value in outputs.items():
                sums[name] += float(value)
        return sums

    def explain(self) -> str:
        """Return in words how the step is run."""
        nodes = len(self.interpreter.steps)
        return f"The reference interpreter runs all {nodes} operations, because {self.reason}."


class RowFunction(Protocol):
    """A graph of data with rows, ready to be called with any number of them.

    `whole` says that rows act on each other, so that all have to be given in one call.
    """

    engine: str
    whole: bool

    def __call__(self, data: Mapping[str, Array]) -> dict[str, Any]:
        """Return outputs by name: arrays of rows, and numbers added up over pieces of rows.

        Parameters have the value they have at the call, or had at :meth:`freeze`.
        """
        ...

    def freeze(self) -> None:
        """Keep a copy of the parameters as they are now, whatever becomes of them."""
        ...


class ReferenceFunction:
    """A function of rows on the reference interpreter; see :class:`RowFunction`."""

    engine = "reference"

    def __init__(self, graph: Graph):
        self.interpreter = Interpreter(graph)
        self.whole = not pieces_fit(graph.outputs.values())
        self.frozen: dict[str, Array] = {}

    def freeze(self) -> None:
        """Keep a copy of the parameters as they are now, whatever becomes of them."""
        self.frozen = {
            name: node.params["parameter"].value.copy()
            for name, node in self.interpreter.graph.inputs.items()
            if node.primitive.name == "parameter"
        }

    def __call__(self, data: Mapping[str, Array]) -> dict[str, Any]:
        """Return outputs by name: arrays of rows, and numbers added up over pieces of rows."""
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


def _by_row_twice(graph: Graph) -> str:
    """Return why pieces of `graph` can't be put together, where an output has rows for columns."""
    for name, node in graph.outputs.items():
        if any(isinstance(d, Dim) for d in node.spec.shape[1:]):
            return f"output {name!r}, {node.spec}, has a column for each row of the data"
    return ""


def prepare_function(
    graph: Graph, data: Collection[str], engine: Engine | str | None = None
) -> RowFunction:
    """Return `graph`, whose inputs are the `data` named and parameters, ready to be called.

    What differs between training and predicting is computed as it predicts.  Many rows are taken
    in pieces where each stands alone, and else, as in ``x - x.mean(0)``, all at once.  Chooses
    the engine and raises as :func:`prepare` does.
    """
    graph = for_predicting(graph)
    loose = [
        name
        for name, node in graph.inputs.items()
        if name not in data and node.primitive.name != "parameter"
    ]
    if loose:
        raise GraphError(f"no data is given for {', '.join(loose)}.")
    for name, node in graph.outputs.items():
        if node.spec.shape and not isinstance(node.spec.shape[0], Dim):
            raise GraphError(
                f"output {name!r}, {node.spec}, is neither one number nor an array of rows, so it "
                "can't be put together from pieces of the data; use evaluate(graph, values)."
            )
    chosen = _engine(engine)
    function: RowFunction = _on_engine(
        chosen.name,
        lambda native: native.NativeFunction(graph, set(data), chosen.threads),
        lambda reason: ReferenceFunction(graph),
        _by_row_twice(graph),
    )
    return function


def prepare(
    graph: Graph,
    state: Mapping[str, Array],
    data: Mapping[str, Array],
    batch_size: int,
    engine: Engine | str | None = None,
) -> Program:
    """Return the step `graph` ready to run on `engine`: "auto", "native" or "reference".

    A name alone is the :class:`Engine` of that name with as many threads as are worth it.

    None means the environment variable ``CHAINRULE_ENGINE``, or "auto": native
    code, with a warning where the reference interpreter computes nodes that have
    no native form, or everything, because llvmlite is missing.  Raises GraphError when the graph's
    inputs are not exactly `state` and `data`, OptionError for an unknown engine,
    or (engine "native") for a graph that can't be compiled, and ShapeError or
    DTypeError for an array that is not what its input says.
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
            raise DTypeError(f"input {name!r} holds {spec.dtype} values, not {array.dtype}.")
    chosen = _engine(engine)
    program: Program = _on_engine(
        chosen.name,
        lambda native: native.NativeProgram(graph, state, data, batch_size, chosen.threads),
        lambda reason: ReferenceProgram(graph, state, data, reason),
    )
    return program


def _engine(choice: Engine | str | None) -> Engine:
    return choice if isinstance(choice, Engine) else Engine(choice)


def _on_engine(
    engine: str | None,
    on_native: Callable[[Any], T],
    on_reference: Callable[[str], T],
    barred: str = "",
) -> T:
    """Return what the chosen engine makes; the reference engine is given why it was chosen.

    `barred` says why native code is out of the question, where it is.
    """
    choice = engine or os.environ.get("CHAINRULE_ENGINE") or "auto"
    if choice not in ENGINES:
        raise OptionError(f"unknown engine {choice!r}. {did_you_mean(choice, ENGINES)}")
    if choice == "reference":
        return on_reference("it was asked for")
    reason = barred
    if not barred:
        try:
            native = engines.load("native")
        except (ImportError, OSError) as error:  # not installed, or its library can't be loaded
            reason = f"llvmlite can't be loaded ({error})"
        else:
            made = on_native(native)
            _tell_of_stops(made, choice)
            return made
    if choice == "native":
        raise OptionError(f"engine='native' can't run this: {reason}.")
    warnings.warn(f"chainrule runs on the slower reference engine: {reason}.", stacklevel=4)
    return on_reference(reason)


def _tell_of_stops(made: Any, choice: str) -> None:
    """Warn of operations that the interpreter computes; raise where native code was asked for."""
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
