"""The native engine: a step graph compiled to machine code, with its state, data and threads.

A step graph goes in, as for :class:`~chainrule.run.program.Program`, whose
meaning it shares; what comes out runs many steps in one call.

Read next: :mod:`chainrule.run.program`, which chooses between the engines.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Lock, current_thread, main_thread
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from chainrule.core.graph import Graph, Node
from chainrule.core.spec import Dim
from chainrule.run import cache
from chainrule.run.arena import Arena, group
from chainrule.run.emit import emit
from chainrule.run.fuse import Kernels, Unsupported, fuse
from chainrule.run.lower import lower
from chainrule.run.machine import (
    available_cores,
    host_features,
    host_name,
    host_target,
    target_machine,
    thread_limit,
)
from chainrule.run.schedule import Schedule, schedule
from chainrule.run.slots import SCALAR_BYTES, SCALARS_A_THREAD, Slots, slots_of
from chainrule.transform.simplify import simplify

__all__ = ["NativeCode", "NativeFunction", "NativeProgram", "Unsupported"]

Array = np.ndarray[Any, Any]
ROWS_AT_ONCE = 1024  # a function of many rows takes them in pieces of so many
FLOPS_WORTH_A_THREAD = 150_000  # a step with less work for each thread runs on fewer


class NativeCode:
    """Compiled code of a step graph, for batches of up to `capacity` rows."""

    def __init__(self, graph: Graph, state: set[str], data: set[str], capacity: int):
        self.graph = simplify(lower(graph))
        self.kernels: Kernels = fuse(self.graph)
        self.schedule: Schedule = schedule(self.kernels, state)
        self.capacity = capacity
        key = _key(self.graph, state, data, capacity)
        entry = cache.read(key)
        if entry is None:
            module, slots = emit(self.kernels, self.schedule, state, data, capacity, host_target())
            entry = slots.workspace.to_bytes(8, "little") + _compile(str(module))
            cache.write(key, entry)
        self.slots = slots_of(self.kernels, self.schedule, state)
        self.slots.workspace = int.from_bytes(entry[:8], "little")
        self.engine = _link(entry[8:])
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        kind = ctypes.CFUNCTYPE(None, pointer, pointer, number, number, number, number, pointer)
        self.steps = kind(self.engine.get_function_address("steps"))

    def flops(self, rows: int) -> float:
        """Return the floating-point operations of the products in one step of `rows` rows."""
        total = 0.0
        for kernel in self.kernels.order:
            if kernel.kind == "matmul" and kernel.anchor is not None:
                depth = kernel.anchor.inputs[0].spec.shape[1]
                sizes = [rows if isinstance(d, Dim) else d for d in (*kernel.view, depth)]
                total += 2.0 * math.prod(sizes)
        return total


def _key(graph: Graph, state: set[str], data: set[str], capacity: int) -> str:
    constants = [n.params["value"].tobytes() for n in graph.nodes if n.primitive.name == "constant"]
    machine = (host_target(), host_name(), host_features(), llvmlite.__version__)
    return cache.key_of(graph, b"".join(constants), sorted(state), sorted(data), capacity, machine)


def _compile(text: str) -> bytes:
    """Return the object code of LLVM assembly.

    The kernels come out of :mod:`~chainrule.run.emit` in nearly final form, so
    LLVM's usual optimizations cost seconds and gain nothing measurable; they
    are left out but for putting variables in registers.
    """
    machine = target_machine()
    module = llvm.parse_assembly(text)
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    return bytes(machine.emit_object(module))


def _link(code: bytes) -> Any:
    """Return an engine holding the object `code`."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Hold back Ctrl-C until the end of the block; only the main thread ever receives it."""
    if current_thread() is not main_thread():
        yield
        return
    held: list[tuple[int, Any]] = []
    usual = signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if held and callable(usual):
            usual(*held[0])


class _Caller:
    """Compiled code with the memory it works in and the threads that run it."""

    def __init__(self, code: NativeCode, threads: int):
        self.code, self.threads = code, threads
        slots: Slots = code.slots
        shapes: dict[str, Array] = {}
        for i, node in enumerate(slots.buffers):
            shape = [code.capacity if isinstance(d, Dim) else d for d in node.spec.shape]
            shapes[str(i)] = np.zeros(shape, node.spec.dtype)
        self.buffers = Arena(shapes)
        self.sums = np.zeros(max(1, len(slots.sums)))
        self.scratch = Arena(
            {
                "scalars": np.zeros(threads * SCALARS_A_THREAD * SCALAR_BYTES, np.uint8),
                "workspace": np.zeros(threads * max(64, slots.workspace), np.uint8),
            }
        )
        arrays = [self.buffers.views[str(i)] for i in range(len(slots.buffers))]
        arrays += [self.sums, self.scratch.views["scalars"], self.scratch.views["workspace"]]
        places = [a.ctypes.data for a in arrays]
        self.table = np.array([0] * len(slots.arrays) + places, np.uint64)
        self.meeting = Arena({"meeting": np.zeros(64, np.int32)}).views["meeting"]
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def give(self, name: str, array: Array) -> None:
        """Let the code read, and for state write, the input `name` in `array`."""
        self.table[self.code.slots.arrays[name]] = array.ctypes.data

    def buffer(self, node: Node) -> Array:
        """Return the memory that `node` is left in."""
        return self.buffers.views[str(list(self.code.slots.buffers).index(node))]

    def __call__(self, order: Array, batch_size: int) -> None:
        """Run one step for each `batch_size` of the rows numbered by `order` (int64)."""
        self.sums[:] = 0
        self.meeting[:] = 0
        given = (self.table.ctypes.data, order.ctypes.data, len(order), batch_size)
        place = self.meeting.ctypes.data
        # An interrupt between here and the last line would leave threads waiting for one another.
        with _interrupts_later() if self.threads > 1 else nullcontext():
            helpers = [
                self._crew().submit(self.code.steps, *given, i, self.threads, place)
                for i in range(1, self.threads)
            ]
            self.code.steps(*given, 0, self.threads, place)
            for helper in helpers:
                helper.result()

    def totals(self) -> dict[str, float]:
        """Return the sums of the last call by name."""
        return {name: float(self.sums[at]) for name, at in self.code.slots.sums.items()}

    def _crew(self) -> ThreadPoolExecutor:
        # A forked child has none of its parent's threads, only the object that counted them.
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(max(1, self.threads - 1), "chainrule")
            self._process = os.getpid()
        return self._pool


def _useful_threads(code: NativeCode, rows: int, threads: int | None) -> int:
    """Return the threads asked for, or as many as a step of `rows` rows keeps busy."""
    limit = thread_limit(threads)
    useful = max(1, int(code.flops(rows) / FLOPS_WORTH_A_THREAD))
    return limit if threads is not None else min(limit, useful)


class NativeProgram:
    """A compiled step with its state and data; see :class:`~chainrule.run.program.Program`."""

    engine = "native"

    def __init__(
        self,
        graph: Graph,
        state: Mapping[str, Array],
        data: Mapping[str, Array],
        batch_size: int,
        threads: int | None = None,
    ):
        self.code = NativeCode(graph, set(state), set(data), batch_size)
        self.arenas, self.state = group(state)
        self.data = {name: np.ascontiguousarray(array) for name, array in data.items()}
        self.threads = _useful_threads(self.code, batch_size, threads)
        self.caller = _Caller(self.code, self.threads)
        for name, array in (*self.state.items(), *self.data.items()):
            self.caller.give(name, array)

    def run(self, order: Array, batch_size: int) -> dict[str, float]:
        """Take one step for each `batch_size` rows of `order`, the last with what is left."""
        self.caller(np.ascontiguousarray(order, np.int64), batch_size)
        return self.caller.totals()

    def explain(self) -> str:
        """Return in words how the step is run: its kernels, level by level, and the threads."""
        names = self.code.graph.names()
        lines = [f"Native code on {self.threads} of {available_cores()} cores; one step is:"]
        for level, kernels in enumerate(self.code.schedule.levels):
            if level:
                lines.append("  -- the threads meet --")
            for kernel in kernels:
                work = ", ".join(n.primitive.name for n in kernel.nodes)
                kept = ", ".join(names[n] for n in kernel.stores)
                rows, columns = kernel.view
                lines.append(f"  {kernel.kind} {rows} x {columns}: {work}; stores {kept}")
        return "\n".join(lines)


class NativeFunction:
    """A compiled function of rows; see :class:`~chainrule.run.program.RowFunction`."""

    engine = "native"

    def __init__(self, graph: Graph, data: set[str], threads: int | None = None):
        self.graph = graph
        self.code = NativeCode(graph, set(), data, ROWS_AT_ONCE)
        self.threads = _useful_threads(self.code, ROWS_AT_ONCE, threads)
        self.alone = _Caller(self.code, 1)
        self.several = _Caller(self.code, self.threads) if self.threads > 1 else self.alone
        self.busy = Lock()

    def __call__(self, data: Mapping[str, Array]) -> dict[str, Any]:
        """Return outputs by name: arrays of rows, and numbers added up over the rows."""
        arrays = {
            name: np.ascontiguousarray(array, self.graph.inputs[name].spec.dtype)
            for name, array in data.items()
        }
        rows = len(next(iter(arrays.values())))
        for name, node in self.graph.inputs.items():
            if node.primitive.name == "parameter":
                arrays[name] = np.ascontiguousarray(node.params["parameter"].value)
        slots = self.code.slots
        results: dict[str, Any] = dict.fromkeys(slots.sums, 0.0)
        for name in slots.wholes:
            spec = self.graph.outputs[name].spec
            results[name] = np.empty((rows, *spec.shape[1:]), spec.dtype)
        with self.busy:  # the buffers are one caller's at a time
            caller = self.alone if rows < ROWS_AT_ONCE else self.several
            for name, array in arrays.items():
                caller.give(name, array)
            order = np.arange(rows)
            for start in range(0, rows, ROWS_AT_ONCE):
                part = order[start : start + ROWS_AT_ONCE]
                caller(part, ROWS_AT_ONCE)
                for name, total in caller.totals().items():
                    results[name] += total
                for name, node in slots.wholes.items():
                    block = results[name][start : start + len(part)]
                    block[...] = caller.buffer(node)[: len(part)].reshape(block.shape)
        return results
