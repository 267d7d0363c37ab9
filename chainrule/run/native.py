"""The native engine: a step graph compiled to machine code, with its state, data and threads.

A step graph goes in, as for :class:`~chainrule.run.program.Program`, whose
meaning it shares; what comes out runs many steps in one call.

Read next: :mod:`chainrule.run.program`, which chooses between the engines.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from chainrule.core.graph import Graph
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

__all__ = ["NativeCode", "NativeProgram", "Unsupported"]

Array = np.ndarray[Any, Any]
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
        limit = thread_limit(threads)
        useful = max(1, int(self.code.flops(batch_size) / FLOPS_WORTH_A_THREAD))
        self.threads = limit if threads is not None else min(limit, useful)
        self._prepare()
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def _prepare(self) -> None:
        slots: Slots = self.code.slots
        rows = self.code.capacity
        shapes: dict[str, Array] = {}
        for i, node in enumerate(slots.buffers):
            size = math.prod(rows if isinstance(d, Dim) else d for d in node.spec.shape)
            shapes[str(i)] = np.zeros(size, node.spec.dtype)
        self.buffers = Arena(shapes)
        self.sums = np.zeros(max(1, len(slots.sums)))
        self.scratch = Arena(
            {
                "scalars": np.zeros(self.threads * SCALARS_A_THREAD * SCALAR_BYTES, np.uint8),
                "workspace": np.zeros(self.threads * max(64, slots.workspace), np.uint8),
            }
        )
        arrays = [self.state.get(name, self.data.get(name)) for name in slots.arrays]
        arrays += [self.buffers.views[str(i)] for i in range(len(slots.buffers))]
        arrays += [self.sums, self.scratch.views["scalars"], self.scratch.views["workspace"]]
        self.table = np.array([a.ctypes.data if a is not None else 0 for a in arrays], np.uint64)
        self.meeting = Arena({"meeting": np.zeros(64, np.int32)}).views["meeting"]

    def run(self, order: Array, batch_size: int) -> dict[str, float]:
        """Take one step for each `batch_size` rows of `order`, the last with what is left."""
        rows = np.ascontiguousarray(order, np.int64)
        self.sums[:] = 0
        self.meeting[:] = 0
        arguments = (
            self.table.ctypes.data, rows.ctypes.data, len(rows), batch_size
        )  # fmt: skip
        helpers = [
            self._crew().submit(
                self.code.steps, *arguments, i, self.threads, self.meeting.ctypes.data
            )
            for i in range(1, self.threads)
        ]
        self.code.steps(*arguments, 0, self.threads, self.meeting.ctypes.data)
        for helper in helpers:
            helper.result()
        return {name: float(self.sums[at]) for name, at in self.code.slots.sums.items()}

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

    def _crew(self) -> ThreadPoolExecutor:
        # A forked child has none of its parent's threads, only the object that counted them.
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(max(1, self.threads - 1), "chainrule")
            self._process = os.getpid()
        return self._pool
