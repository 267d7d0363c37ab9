"""Steps and functions whose graph has rows on another axis than the first, or on two axes.

Native code treats a value as rows by columns, and each thread takes some of the rows.  That does
not fit ``x @ x.T`` for n rows x, which has n columns.  With a number in place of n it is a matrix
like any other, so such graphs are compiled for each number of rows that occurs: in a training, that
of a full batch and that of the last one.

Read next: :mod:`chainrule.run.llvm.native`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np

from chainrule.core.errors import ShapeError
from chainrule.core.graph import Graph, Node
from chainrule.core.spec import Dim, Spec, dims_in, resolve
from chainrule.run.llvm.caller import Caller
from chainrule.run.llvm.code import NativeCode
from chainrule.run.llvm.native import NativeFunction, NativeProgram, checked_order, choices
from chainrule.run.llvm.recent import native_code
from chainrule.run.plan.view import view_of
from chainrule.run.reference import Interpreter

__all__ = [
    "FunctionByRows",
    "ProgramByRows",
    "native_function",
    "native_program",
    "results_of",
    "with_rows",
]

Array = np.ndarray[Any, Any]
MOST_CALLERS = 16  # numbers of rows whose memory is kept, the last ones
FEW = 2  # the rows for which a function is compiled to see what native code can do


def with_rows(graph: Graph, rows: int) -> Graph:
    """Return `graph` with the number `rows` in place of every length that depends on data.

    >>> import chainrule as cr
    >>> x = cr.input("x", ("n", 3))
    >>> print(with_rows(cr.Graph({"y": x @ x.T}), 5))
    graph(x: f32[5,3]):
      %1: f32[3,5] = transpose(x, axes=(1,0))
      %2: f32[5,5] = matmul(x, %1)
      return y=%2
    """
    nodes = list(dict.fromkeys((*graph.inputs.values(), *graph.nodes)))
    found = (dims_in((n.spec.shape, *n.params.values())) for n in nodes)
    lengths = dict.fromkeys(set().union(*found), rows)
    new: dict[Node, Node] = {}
    for node in nodes:
        if node.symbolic or dims_in(node.spec.shape):
            params = {k: resolve(v, lengths) for k, v in node.params.items() if k != "spec"}
            spec = Spec(resolve(node.spec.shape, lengths), node.spec.dtype)
        else:
            params, spec = dict(node.params), node.spec
        inputs = tuple(new[i] for i in node.inputs)
        kept = spec is node.spec and inputs == node.inputs
        new[node] = (
            node if kept else Node(node.primitive, inputs, params, spec, node.scope, node.line)
        )
    return Graph(
        {name: new[node] for name, node in graph.outputs.items()},
        {name: new[node] for name, node in graph.inputs.items()},
    )


class _Codes:
    """The code for each number of rows, with its memory and threads."""

    def __init__(self, graph: Graph, state: set[str], threads: int | None):
        self.graph, self.state, self.threads = graph, state, threads
        self.callers: dict[int, Caller] = {}

    def code(self, rows: int) -> NativeCode:
        """Return the code for batches of exactly `rows` rows."""
        return native_code(with_rows(self.graph, rows), self.state, set(), 1)

    def caller(self, rows: int) -> Caller:
        """Return what runs the code for `rows` rows."""
        if rows not in self.callers:
            if len(self.callers) == MOST_CALLERS:
                del self.callers[next(iter(self.callers))]
            code = self.code(rows)
            self.callers[rows] = Caller(code, *choices(code, rows, self.threads))
        caller = self.callers[rows] = self.callers.pop(rows)  # it was used last
        return caller


class ProgramByRows(NativeProgram):
    """A step compiled for each number of rows; see :class:`~chainrule.run.program.Program`."""

    in_epochs = False

    def __init__(
        self,
        graph: Graph,
        state: Mapping[str, Array],
        data: Mapping[str, Array],
        batch_size: int,
        threads: int | None = None,
    ):
        self.codes = _Codes(graph, set(state), threads)
        self.code = self.codes.code(batch_size)
        self._hold(state, data)
        self.capacity = batch_size
        self.caller = self.codes.caller(batch_size)
        self.threads = self.caller.threads
        self.taken = 0
        outputs = graph.outputs.items()
        self.sums = [n for n, o in outputs if n not in state and view_of(o.spec.shape) == (1, 1)]

    def run(
        self, order: Array, batch_size: int, sums: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Run one step for each `batch_size` rows of `order`; the last batch may be smaller."""
        rows = checked_order(order, batch_size, self.capacity, self.rows if self.data else None)
        if "step" in self.state:  # which continues where a training was interrupted
            self.taken = int(self.state["step"])
        totals = dict(sums) if sums else dict.fromkeys(self.sums, 0.0)
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            caller = self.codes.caller(len(chosen))
            for name, view in self.state.items():
                caller.give(name, view)
            for name, array in self.data.items():
                caller.give(name, array[chosen])
            caller.taken = self.taken
            self.taken += 1
            others = dict.fromkeys(caller.code.slots.sums, 0.0)  # arrays of one row have one number
            caller(caller.natural, 1, others | totals)
            totals = {name: caller.totals()[name] for name in self.sums}
        return totals


class FunctionByRows:
    """A function compiled for each number of rows; see `RowFunction` in `run/program.py`."""

    engine = "native"
    whole = True
    in_epochs = False

    def __init__(
        self, graph: Graph, threads: int | None = None, frozen: Mapping[str, Array] | None = None
    ):
        self.graph, self.asked = graph, threads
        self.codes = _Codes(graph, set(), threads)
        self.code = self.codes.code(FEW)
        self.parameters = {
            name: node.params["parameter"]
            for name, node in graph.inputs.items()
            if node.primitive.name == "parameter"
        }
        self.data = [name for name in graph.inputs if name not in self.parameters]
        self.frozen = None if frozen is None else {n: value.copy() for n, value in frozen.items()}
        self.busy, self.process = Lock(), os.getpid()

    def brief(self) -> None:
        """Return None: the code to call depends on the number of rows."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle what the code was compiled from: machine code stays in its process."""
        return FunctionByRows, (self.graph, self.asked, self.frozen)

    def __call__(self, data: Mapping[str, Array]) -> dict[str, Any]:
        """Return outputs by name: arrays of rows, and numbers for scalars."""
        lengths: dict[Dim, int] = {}
        given = self.frozen
        if given is None:
            given = {name: p.value for name, p in self.parameters.items()}
        for name in self.data:
            spec = self.graph.inputs[name].spec
            array = np.ascontiguousarray(data[name], spec.dtype)
            spec.bind(array, lengths, name)
            given = given | {name: array}
        rows = len(given[self.data[0]])
        if len(set(lengths.values())) > 1:
            raise ShapeError(
                "data have different numbers of rows: "
                f"{', '.join(f'{name} {len(given[name])}' for name in self.data)}."
            )
        if not rows:  # nothing to compile
            empty = Interpreter(self.graph)(given)
            return {name: a if a.ndim else float(a) for name, a in empty.items()}
        if self.process != os.getpid():  # a lock held by another thread at the fork stays held
            self.busy, self.process = Lock(), os.getpid()
        with self.busy:  # the buffers serve one call at a time
            caller = self.codes.caller(rows)
            for name, array in given.items():
                caller.give(name, array)
            try:
                caller(caller.natural, 1)
                return results_of(caller)
            finally:
                for name in self.data:  # drop the references to the caller's data
                    caller.arrays.pop(name, None)


def results_of(caller: Caller) -> dict[str, Any]:
    """Return the outputs of the last call: scalars are sums, and so are arrays of one number."""
    results: dict[str, Any] = {}
    totals, slots = caller.totals(), caller.code.slots
    for name, node in caller.code.graph.outputs.items():
        shape = resolve(node.spec.shape, {})
        if name in slots.wholes:
            results[name] = caller.buffers[slots.wholes[name]].reshape(shape).copy()
        elif name in slots.sums:
            results[name] = np.full(shape, totals[name], node.spec.dtype) if shape else totals[name]
    return results


def native_program(
    graph: Graph,
    state: Mapping[str, Array],
    data: Mapping[str, Array],
    batch_size: int,
    threads: int | None,
) -> NativeProgram:
    """Return the compiled step, by rows if the usual code would leave something out."""
    if _gives_columns_by_row(graph):
        return ProgramByRows(graph, state, data, batch_size, threads)
    usual = NativeProgram(graph, state, data, batch_size, threads)
    if not usual.code.left_to_reference():
        return usual
    by_rows = ProgramByRows(graph, state, data, batch_size, threads)
    return usual if by_rows.code.left_to_reference() else by_rows


def native_function(
    graph: Graph,
    data: set[str],
    threads: int | None,
    frozen: Mapping[str, Array] | None = None,
) -> NativeFunction | FunctionByRows:
    """Return the compiled function, by rows if the usual code would leave something out."""
    if _gives_columns_by_row(graph):
        return FunctionByRows(graph, threads, frozen)
    usual = NativeFunction(graph, data, threads, frozen)
    if not usual.code.left_to_reference():
        return usual
    by_rows = FunctionByRows(graph, threads, frozen)
    return usual if by_rows.code.left_to_reference() else by_rows


def _gives_columns_by_row(graph: Graph) -> bool:
    return any(dims_in(node.spec.shape[1:]) for node in graph.outputs.values())
