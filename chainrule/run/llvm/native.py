"""The native engine: compiled steps and functions, with the results of the reference engine.

Read next: :mod:`chainrule.run.program`, which chooses between the engines.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from ctypes import c_int64, c_void_p
from threading import Lock
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError, RunError
from chainrule.core.graph import Graph, Node
from chainrule.core.other_arrays import as_array
from chainrule.core.spec import Dim, Spec, resolve
from chainrule.run.arena import Arena, group
from chainrule.run.llvm.caller import Caller, address_of
from chainrule.run.llvm.code import NativeCode
from chainrule.run.llvm.machine import (
    available_cores,
    host_name,
    llvm_version,
    thread_limit,
)
from chainrule.run.llvm.recent import native_code
from chainrule.run.llvm.training_loop import NativeTrainer
from chainrule.transform.rows import pieces_fit

__all__ = ["NativeFunction", "NativeProgram", "checked_order", "choices", "trainer"]

Array = np.ndarray[Any, Any]
ROWS_AT_ONCE = 1024  # a function of many rows processes them in pieces of this size
BRIEF = 64  # rows up to which a call is prepared in all details
FEW_BYTES = 16384  # inputs up to this size are copied, which is faster than changing the pointer
_forks: list[int] = []  # that this process has come from, since it loaded this module
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forks.append(os.getpid()))
FLOPS_WORTH_A_THREAD = 150_000  # a step with less work per thread runs on fewer threads


def choices(code: NativeCode, rows: int, threads: int | None) -> tuple[int, ...]:
    """Return the thread counts to try: `threads`, or 1, 2, 4, ... that `rows` rows keep busy."""
    limit = thread_limit(threads)
    if threads is not None:
        return (limit,)
    most = min(limit, max(1, int(code.flops(rows) / FLOPS_WORTH_A_THREAD)))
    return (*(2**i for i in range((most - 1).bit_length())), most)


class NativeProgram:
    """A compiled step with its state and data; see :class:`~chainrule.run.program.Program`."""

    engine = "native"
    in_epochs = True  # its code can be a part of the loop over epochs

    def __init__(
        self,
        graph: Graph,
        state: Mapping[str, Array],
        data: Mapping[str, Array],
        batch_size: int,
        threads: int | None = None,
    ):
        self.code = native_code(graph, set(state), set(data), batch_size)
        self._hold(state, data)
        self.caller = Caller(self.code, *choices(self.code, batch_size, threads))
        self.threads = self.caller.threads
        for name, array in (*self.state.items(), *self.data.items()):
            self.caller.give(name, array)

    def _hold(self, state: Mapping[str, Array], data: Mapping[str, Array]) -> None:
        """Keep a copy of the state, and the data as machine code reads them."""
        self.arenas, self.state = group(state)
        self.data = {name: np.ascontiguousarray(array) for name, array in data.items()}
        self.rows = min((len(array) for array in self.data.values()), default=0)

    def run(
        self, order: Array, batch_size: int, sums: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Run one step for each `batch_size` rows of `order`; the last batch may be smaller."""
        rows = checked_order(
            order, batch_size, self.code.capacity, self.rows if self.data else None
        )
        if "step" in self.state:  # which continues where a training was interrupted
            self.caller.taken = int(self.state["step"])
        self.caller(rows, batch_size, sums)
        return self.caller.totals()

    def explain(self) -> str:
        """Return a description of the step: its kernels, level by level, and the threads."""
        names = self.code.graph.names()
        lines = [f"Native code on up to {self.threads} of {available_cores()} cores; one step is:"]
        for node, reason in self.code.left_to_reference():
            lines.append(f"  (the interpreter computes {names[node]}: it {reason})")
        for level, kernels in enumerate(self.code.schedule.levels):
            if level:
                lines.append("  -- barrier --")
            for kernel in kernels:
                work = ", ".join(n.primitive.name for n in kernel.nodes)
                kept = ", ".join(names[n] for n in kernel.stores)
                rows, columns = kernel.view
                lines.append(f"  {kernel.kind} {rows} x {columns}: {work}; stores {kept}")
        return "\n".join(lines)

    def made_with(self) -> dict[str, str]:
        """Return what the last bits depend on; see :class:`~chainrule.run.program.Program`."""
        return {"processor": host_name(), "LLVM": llvm_version()}


def checked_order(order: Array, batch_size: int, capacity: int, length: int | None) -> Array:
    """Return row numbers as int64; raise for those outside 0..length-1, and for large batches.

    Machine code does not check bounds: it would access memory outside the arrays.
    """
    rows = np.ascontiguousarray(order, np.int64)
    if not 0 < batch_size <= capacity:
        raise OptionError(
            f"batch_size must be in 1..{capacity}, the range that this step was compiled for, "
            f"not {batch_size}."
        )
    if length is not None and len(rows) and not (rows.min() >= 0 and rows.max() < length):
        raise RunError(f"order contains row numbers outside 0..{length - 1}.")
    return rows


class NativeFunction:
    """A compiled function of rows; see :class:`~chainrule.run.program.RowFunction`."""

    engine = "native"
    in_epochs = True

    def __init__(
        self,
        graph: Graph,
        data: set[str],
        threads: int | None = None,
        frozen: Mapping[str, Array] | None = None,
    ):
        self.graph = graph
        self.whole = not pieces_fit(graph.outputs.values())
        self.asked = threads
        self.specs = {name: graph.inputs[name].spec for name in data}
        self.parameters = {
            name: node.params["parameter"]
            for name, node in graph.inputs.items()
            if node.primitive.name == "parameter"
        }
        self.is_frozen = frozen is not None
        self.frozen: dict[str, Array] = {}  # arranged for the code
        self._compile(ROWS_AT_ONCE)
        if frozen is not None:
            self.parameters = {}
            self.frozen = Arena({n: self.code.arrange(n, a) for n, a in frozen.items()}).views
            self._give_frozen()
        self.shapes = {name: graph.outputs[name].spec.shape[1:] for name in self.code.slots.wholes}
        self.rows = {name: spec.shape[1:] for name, spec in self.specs.items()}
        self.few = min((_few(spec) for spec in self.specs.values()), default=0)
        self.places = {
            name: np.zeros(resolve((self.few, *spec.shape[1:]), {}), spec.dtype)
            for name, spec in (self.specs.items() if self.few else ())
        }
        self.busy, self.forks = Lock(), len(_forks)

    def _compile(self, capacity: int) -> None:
        """Compile code for up to `capacity` rows at once, and create its callers."""
        code = native_code(self.graph, set(), set(self.specs), capacity, self.is_frozen)
        alone, several = Caller(code, 1), Caller(code, *choices(code, capacity, self.asked))
        # All or nothing: there may be no memory for the callers, or a Ctrl-C.
        self.code, self.alone, self.several = code, alone, several
        self.threads = several.threads
        self.blocks = {n: alone.buffers[node] for n, node in code.slots.wholes.items()}
        self._give_frozen()

    def _give_frozen(self) -> None:
        for name, view in self.frozen.items():
            self.alone.give(name, view)
            self.several.give(name, view)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle what the code was compiled from: machine code stays in its process."""
        frozen = {n: self.code.arrange(n, view, back=True) for n, view in self.frozen.items()}
        kept = frozen if self.is_frozen else None
        return NativeFunction, (self.graph, set(self.specs), self.asked, kept)

    def __call__(self, data: Mapping[str, Array]) -> dict[str, Any]:
        """Return outputs by name: arrays of rows, and scalars summed over the rows."""
        arrays = {name: np.asarray(as_array(data[name], name)) for name in self.specs}
        rows = next(iter(arrays.values())).shape[:1]
        for name, row in self.rows.items():
            if arrays[name].shape != rows + row:
                self._bind(arrays)
                break
        with self._turn():  # the buffers serve one call at a time
            self.hold(rows[0])
            one_step = rows[0] < ROWS_AT_ONCE
            return self._step(arrays, rows[0]) if one_step else self._steps(arrays, rows[0])

    def _turn(self) -> Any:
        """Return the lock that is held in a call."""
        if self.forks != len(_forks):  # another thread may have held it when this one was forked
            self.busy, self.forks = Lock(), len(_forks)
        return self.busy

    def brief(self) -> tuple[Callable[[Array], tuple[Array, float]], int] | None:
        """Return a function with less overhead; see :class:`~chainrule.run.program.RowFunction`."""
        code, turn = self.code, self._turn
        caller: Any = self.alone  # NumPy's arrays are no buffers to older stubs
        simple = len(self.specs) == len(self.blocks) == 1 and len(code.slots.sums) < 2
        if code.step is None or not simple or self.whole or code.slots.checked:
            return None
        (name,), ((output, block),) = self.specs, self.blocks.items()
        at, few, step = code.slots.arrays[name], self.few, code.step
        # Setting a number through a memoryview takes a third of the time that an array needs.
        table = memoryview(caller.table)
        sums: Any = memoryview(caller.sums)  # of float64
        places, counts = c_void_p(caller.places[0]), [c_int64(n) for n in range(BRIEF + 1)]
        inputs = [self.places[name][:n] for n in range(min(few, BRIEF) + 1)] if few else []
        outputs = [block[:n].reshape(n, *self.shapes[output]) for n in range(BRIEF + 1)]
        where = address_of(self.places[name]) if few else 0

        def call(array: Array) -> tuple[Array, float]:
            rows = len(array)
            with turn():
                table[at] = where
                sums[0] = 0.0
                try:
                    if rows <= few:
                        inputs[rows][...] = array
                    else:
                        array = np.ascontiguousarray(array)
                        table[at] = address_of(array)
                    step(places, counts[rows])
                finally:  # Ctrl-C must not leave the address of an array that goes away
                    table[at] = where
                return outputs[rows].copy(), sums[0]

        return call, BRIEF

    def hold(self, rows: int) -> None:
        """Compile for more rows at once if all of `rows` are needed in one call."""
        if self.whole and rows > self.code.capacity:
            self._compile(2 ** (rows - 1).bit_length())

    def _bind(self, arrays: Mapping[str, Array]) -> None:
        """Raise ShapeError for arrays that do not match their specs or one another."""
        lengths: dict[Dim, int] = {}
        for name, array in arrays.items():
            self.specs[name].bind(array, lengths, name)

    def _step(self, arrays: Mapping[str, Array], rows: int) -> dict[str, Any]:
        """Return the result of :meth:`__call__` for few rows: one step on one thread."""
        caller, few = self.alone, rows <= self.few
        for name, parameter in self.parameters.items():
            caller.give(name, parameter.value)
        for name, spec in self.specs.items():
            if few:
                self.places[name][:rows] = arrays[name]
                caller.give(name, self.places[name])
            else:
                caller.give(name, np.ascontiguousarray(arrays[name], spec.dtype))
        caller.step(rows)
        results: dict[str, Any] = caller.totals()
        for name, block in self.blocks.items():
            shape = rows, *self.shapes[name]
            found = block[:rows].copy()
            results[name] = found if found.shape == shape else found.reshape(shape)
        if not few:
            self._take_back(caller)
        return results

    def _take_back(self, caller: Caller) -> None:
        """Drop the references to the caller's data."""
        for name in self.specs:
            caller.arrays.pop(name, None)

    def _steps(self, arrays: Mapping[str, Array], rows: int) -> dict[str, Any]:
        """Return the result of :meth:`__call__` for many rows: in pieces, on several threads."""
        caller, most = self.several, self.code.capacity
        results: dict[str, Any] = dict.fromkeys(self.code.slots.sums, 0.0)
        for name, shape in self.shapes.items():
            results[name] = np.empty((rows, *shape), self.blocks[name].dtype)
        arrays = {n: np.ascontiguousarray(a, self.specs[n].dtype) for n, a in arrays.items()}
        for name, parameter in self.parameters.items():
            caller.give(name, parameter.value)
        for start in range(0, rows, most):
            count = min(most, rows - start)
            for name, array in arrays.items():
                caller.give(name, array[start : start + count] if start else array)
            caller(caller.natural[:count], most)
            for name, total in caller.totals().items():
                results[name] += total
            for name, node in self.code.slots.wholes.items():
                block = results[name][start : start + count]
                block[...] = caller.buffers[node][:count].reshape(block.shape)
        self._take_back(caller)
        return results


def trainer(
    program: NativeProgram,
    scoring: NativeFunction | None,
    shown: Mapping[Node, str],
    most: int,
) -> NativeTrainer | None:
    """Return what trains in whole epochs, see :func:`chainrule.run.program.trainer`."""
    if program.code.steps is None or not program.in_epochs:
        return None
    if scoring is None:
        return NativeTrainer(program.code, program.state, None, {})
    if not scoring.in_epochs:
        return None
    scoring.hold(most)
    if scoring.code.steps is None:
        return None
    names = {name: shown[p.node] for name, p in scoring.parameters.items()}
    return NativeTrainer(program.code, program.state, scoring.code, names)


def _few(spec: Spec) -> int:
    """Return how many rows of an input fit into FEW_BYTES; 0 if the row size depends on data."""
    if not all(isinstance(d, int) for d in spec.shape[1:]):
        return 0
    row = spec.dtype.itemsize * math.prod(d for d in spec.shape[1:] if isinstance(d, int))
    return min(FEW_BYTES // max(1, row), ROWS_AT_ONCE)
