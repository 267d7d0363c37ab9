"""Compile a graph to machine code, or read the code from the cache on disk.

:class:`NativeCode` contains the functions to call and the slots that they expect.

Read next: :mod:`chainrule.run.llvm.caller`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeAlias

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from chainrule.core.graph import Graph, Node
from chainrule.core.spec import Dim
from chainrule.run.llvm import cache
from chainrule.run.llvm.emit import emit
from chainrule.run.llvm.gemm import Gemm
from chainrule.run.llvm.gemm_prepack import arranged, restored
from chainrule.run.llvm.machine import host_features, host_name, host_target, target_machine
from chainrule.run.llvm.product_code import weights_to_pack
from chainrule.run.plan.fuse import Kernels, fuse
from chainrule.run.plan.levels import Schedule, has_stops, schedule
from chainrule.run.plan.lower import copy_moved
from chainrule.run.plan.memory import MemoryPlan, plan_memory
from chainrule.run.plan.passes import PASSES
from chainrule.run.plan.slots import Slots, slots_of
from chainrule.run.plan.view import Unsupported, operands_of, summed

__all__ = ["NativeCode", "link", "object_code", "optimized"]

Array = np.ndarray[Any, Any]
_Planned: TypeAlias = tuple[Kernels, Schedule, Slots]


@contextmanager
def _without_collector() -> Iterator[None]:
    """Leave cycles for later: looking for them among all emitted instructions takes 0.1 s."""
    collects = gc.isenabled()
    try:
        if collects:
            _stopped.append(True)
            gc.disable()
        yield
    finally:
        if collects:
            _collect_again()


_stopped: list[bool] = []


def _collect_again() -> None:
    """Start the collector again if it was stopped here."""
    if _stopped:
        _stopped.clear()
        gc.enable()


if hasattr(os, "register_at_fork"):  # the thread that compiles does not go on in a child
    os.register_at_fork(after_in_child=_collect_again)


class NativeCode:
    """Compiled code of a step graph, for batches of up to `capacity` rows.

    `steps` runs many steps in one call.  If some nodes are left to the interpreter, it
    is None, and `levels` run the parts of a step between stops; `watched_levels` run
    the additional work of watched steps.  With `frozen`, large weights are taken as
    :meth:`arrange` returns them, and rows in their order, from where they are; `step` runs one
    step on one thread.
    """

    def __init__(
        self, graph: Graph, state: set[str], data: set[str], capacity: int, frozen: bool = False
    ):
        for rewrite in PASSES:
            graph = rewrite(graph)
        self.graph = copy_moved(graph, state)
        self.capacity, self.frozen = capacity, frozen
        self.in_order = data if frozen else set()
        self.key = _key(self.graph, state, data, capacity, frozen)
        plan: _Planned | None = None
        entry = cache.read(self.key)
        if entry is None:
            with _without_collector():
                entry, plan = self._compile(state, data)
            cache.write(self.key, entry)
        head, _, machine_code = entry.partition(b"\n")
        about = json.loads(head)
        self.kernels, self.schedule, self.slots = plan or self._plan(state, about["refused"])
        self.slots.workspace = about["workspace"]
        self.packed = self._packed(self.kernels, self.schedule)
        self.engine = link(machine_code)
        self._find_entries()
        # For numbers of threads to choose from, the one that was the fastest in the last program.
        self.fastest: dict[tuple[int, ...], int] = {}

    def _plan(self, state: set[str], refused: dict[str, str]) -> _Planned:
        nodes: dict[Node, str] = {self.graph.nodes[int(i)]: why for i, why in refused.items()}
        kernels = fuse(self.graph, nodes, self.in_order)
        plan = schedule(kernels, state)
        return kernels, plan, slots_of(kernels, plan, state)

    def _compile(self, state: set[str], data: set[str]) -> tuple[bytes, _Planned]:
        """Return the cache entry, and what was compiled.

        The entry contains the refused nodes, the workspace size, and the object code.
        """
        refused: dict[str, str] = {}
        while True:
            kernels, plan, _ = self._plan(state, refused)
            try:
                module, slots = emit(
                    kernels, plan, state, data - self.in_order, self.capacity, host_target(),
                    self._packed(kernels, plan),
                )  # fmt: skip
                break
            except Unsupported as problem:  # exclude the node and start again
                refused[str(self.graph.nodes.index(problem.node))] = problem.reason
        head = json.dumps({"refused": refused, "workspace": slots.workspace})
        return head.encode() + b"\n" + object_code(str(module)), (kernels, plan, slots)

    def _packed(self, kernels: Kernels, plan: Schedule) -> dict[Node, Gemm]:
        """Return the products that can take their weights arranged; the interpreter does not."""
        if not self.frozen or has_stops(plan):
            return {}
        return weights_to_pack(kernels, self.capacity, host_target())

    def arrange(self, name: str, array: Array, back: bool = False) -> Array:
        """Return input `name` as the code takes it, or, with `back`, as it was before that."""
        for node, gemm in self.packed.items():
            right, weight = node.inputs[1], operands_of(node)[1]
            if weight is not self.graph.inputs[name]:
                continue
            if back:
                matrix = restored(gemm, array)
                return matrix if weight is right else matrix.T
            return arranged(gemm, array if weight is right else array.T)
        return array

    def _find_entries(self) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        many = ctypes.CFUNCTYPE(None, pointer, pointer, *[number] * 5, pointer)
        one = ctypes.CFUNCTYPE(None, pointer, pointer, number, number, number)
        self.steps: Any = None
        self.step: Any = None
        self.levels: list[Any] = []
        self.watched_levels: list[Any] = []
        if has_stops(self.schedule):
            for kind, entries in (("level", self.levels), ("watched", self.watched_levels)):
                entries += [
                    one(self.engine.get_function_address(f"{kind}_{i}"))
                    for i in range(len(self.schedule.levels) + 1)
                ]
        else:
            self.steps = many(self.engine.get_function_address("steps"))
            if self.frozen:
                alone = ctypes.CFUNCTYPE(None, pointer, number)
                self.step = alone(self.engine.get_function_address("step"))

    @cached_property
    def memory(self) -> MemoryPlan:
        """Where each stored value is in the memory of a caller."""
        return plan_memory(self.kernels, self.schedule, self.slots, self.capacity)

    def left_to_reference(self) -> list[tuple[Node, str]]:
        """Return the nodes that the interpreter computes, each with the reason."""
        return [
            (kernel.nodes[0], kernel.reason)
            for kernel in self.kernels.order
            if kernel.kind == "reference"
        ]

    def flops(self, rows: int) -> float:
        """Return the floating-point operations of the products in one step of `rows` rows."""
        total = 0.0
        for kernel in self.kernels.order:
            if kernel.kind in ("sparse", "edges") and kernel.anchor is not None:
                length = kernel.anchor.inputs[0].spec.shape[0]
                edges = kernel.anchor.params["wiring"].edges
                total += 2.0 * edges * (rows if isinstance(length, Dim) else length)
            elif kernel.kind == "matmul" and kernel.anchor is not None:
                lengths = (*kernel.view, *summed(kernel.anchor))
                total += 2.0 * math.prod(rows if isinstance(d, Dim) else d for d in lengths)
        return total


def _key(graph: Graph, state: set[str], data: set[str], capacity: int, frozen: bool) -> str:
    constants = [n.params["value"].tobytes() for n in graph.nodes if n.primitive.name == "constant"]
    machine = (host_target(), host_name(), host_features(), llvmlite.__version__)
    # The text of the graph does not give the positions of leaves, on which the layout depends.
    place = {node: i for i, node in enumerate(graph.nodes)}
    leaves = [place.get(node) for node in graph.inputs.values()]
    return cache.key_of(
        graph, leaves, b"".join(constants), sorted(state), sorted(data), capacity, frozen, machine
    )


def object_code(text: str) -> bytes:
    """Compile LLVM assembly to object code for this machine."""
    machine = target_machine()
    return bytes(machine.emit_object(optimized(text, machine)))


def optimized(text: str, machine: Any) -> Any:
    """Return LLVM assembly as a module that is ready to be compiled for `machine`.

    :mod:`~chainrule.run.llvm.emit` writes kernels in nearly final form, so LLVM's
    standard optimizations take seconds without a measurable gain.  Only inlining and
    the promotion of variables to registers are run.
    """
    module = llvm.parse_assembly(text)
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    return module


def link(code: bytes) -> Any:
    """Return an execution engine with the object `code` loaded."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine
