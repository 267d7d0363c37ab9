"""Emit the LLVM module of a schedule: a function per kernel and the loop over steps.

The code does not allocate memory.  For each batch, the loop runs the levels in order and
waits for the other threads at a barrier between levels.

Read next: :mod:`chainrule.run.llvm.native`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from llvmlite import ir

from chainrule.core.graph import Node
from chainrule.run.llvm.barrier import emit_barrier, without_denormals
from chainrule.run.llvm.body import Body, Context
from chainrule.run.llvm.gemm import Gemm, Target
from chainrule.run.llvm.instructions import I32, I64, least, loop
from chainrule.run.llvm.kernel_code import KernelCode
from chainrule.run.llvm.vector import memory_type
from chainrule.run.plan.fuse import WATCH_EVERY, Kernel, Kernels, is_watched
from chainrule.run.plan.levels import Schedule, has_stops
from chainrule.run.plan.slots import SCALAR_BYTES, SCALARS_A_THREAD, Slots, slots_of
from chainrule.run.plan.view import PRODUCTS, operands_of, unmoved, view_of

__all__ = ["emit"]

POINTER = ir.IntType(8).as_pointer()


def around(b: ir.IRBuilder, part: str, thread: ir.Value) -> AbstractContextManager[None]:
    """Emit what surrounds a part of a step: nothing; bench/kernels.py replaces it by clocks."""
    return nullcontext()


def emit(
    kernels: Kernels,
    plan: Schedule,
    state: set[str],
    data: set[str],
    capacity: int,
    target: Target,
    packed: Mapping[Node, Gemm] | None = None,
) -> tuple[ir.Module, Slots]:
    """Return the module with its entry ``steps``, and its slots.

    ``void steps(i8** table, i64* order, i64 rows, i64 batch, i64 before, i64 thread,
    i64 threads, i32* barrier)`` runs one step for each `batch` rows of `order`, after
    `before` earlier steps; `capacity` is the largest batch.  If a step stops for the
    interpreter, the module has an entry for each level instead: ``void level_0(i8** table,
    i64* order, i64 rows, i64 thread, i64 threads)`` and so on.  The weights of `packed` products
    are arranged for them.
    """
    context = Context(
        kernels=kernels,
        plan=plan,
        state=state,
        data=data,
        capacity=capacity,
        target=target,
        module=ir.Module("chainrule"),
        slots=slots_of(kernels, plan, state),
        leaf_names={node: name for name, node in kernels.graph.inputs.items()},
        packed=packed or {},
    )
    return _emit_module(context), context.slots


SIGNATURE = ir.FunctionType(ir.VoidType(), [POINTER.as_pointer(), I64.as_pointer(), I64, I64, I64])


class _Call(NamedTuple):
    """A function of a step, and whether it runs in watched steps only."""

    function: ir.Function
    watched: bool


def _emit_module(context: Context) -> ir.Module:
    module, levels = context.module, []
    for i, kernels in enumerate(context.plan.levels):
        functions = []
        for j, kernel in enumerate(kernels):
            if kernel.kind != "reference":
                function = ir.Function(module, SIGNATURE, f"{kernel.kind}_{i}_{j}")
                KernelCode(context, kernel, function).emit()
                functions.append(_Call(function, kernel.watched))
        levels.append(functions)
    commits = []
    for watched in (False, True):
        commit = ir.Function(module, SIGNATURE, "commit_watched" if watched else "commit")
        _Frame(context, Kernel("commit", (1, 1)), commit).emit_commit(watched)
        commits.append(_Call(commit, watched))
    prologue = ir.Function(module, SIGNATURE, "prologue")
    _Frame(context, Kernel("prologue", (1, 1)), prologue).emit_prologue()
    stops = has_stops(context.plan)
    # The commit overwrites values that other threads may be reading: scalars in their
    # prologue, and state that is copied because a kernel needs its old value.
    if len(levels) == 1 or stops or context.plan.copies or _numbers_as_operands(context):
        levels.append([])
    levels[-1] += commits
    levels[0].insert(0, _Call(prologue, False))
    for call in (c for calls in levels for c in calls):
        call.function.linkage = "internal"
    if stops:
        for i, calls in enumerate(levels):
            usual = [c for c in calls if not c.watched]
            _emit_level(module, f"level_{i}", usual, context.target.family)
            late = [c for c in calls if c.watched]
            _emit_level(module, f"watched_{i}", late, context.target.family)
    else:
        _emit_steps(module, levels, context.target.family)
    return module


def _numbers_as_operands(context: Context) -> bool:
    """Return whether kernels of the last level read a scalar that the commit overwrites."""
    single = {
        node
        for name, node in context.graph.inputs.items()
        if name in context.state and view_of(node.spec.shape) == (1, 1)
    }
    operands = {
        unmoved(operand)
        for kernel in context.plan.levels[-1]
        if kernel.kind in PRODUCTS.values() and kernel.anchor is not None
        for operand in operands_of(kernel.anchor)
    }
    for kernel in context.plan.levels[-1]:
        operands |= context.kernels.far_of(kernel)
    return not single.isdisjoint(operands)


def _emit_level(module: ir.Module, name: str, calls: Sequence[_Call], family: str) -> None:
    """Emit an entry that runs one level, for steps that stop for the interpreter."""
    level = ir.Function(module, SIGNATURE, name)
    b = ir.IRBuilder(level.append_basic_block("entry"))
    with without_denormals(b, family):
        for call in calls:
            b.call(call.function, level.args)
    b.ret_void()


def _emit_steps(module: ir.Module, levels: Sequence[Sequence[_Call]], family: str) -> None:
    """Emit the loop over batches, which runs all levels with barriers between them."""
    types = [POINTER.as_pointer(), I64.as_pointer(), *[I64] * 5, I32.as_pointer()]
    steps = ir.Function(module, ir.FunctionType(ir.VoidType(), types), "steps")
    table, order, rows, batch, before, thread, threads, arrivals = steps.args
    b = ir.IRBuilder(steps.append_basic_block("entry"))
    barrier = emit_barrier(module, family)
    with without_denormals(b, family), loop(b, I64(0), rows, batch) as start:
        count = least(b, batch, b.sub(rows, start))
        chosen = b.gep(order, [start])
        turn = b.urem(b.add(before, b.udiv(start, batch)), I64(WATCH_EVERY))
        watching = b.icmp_unsigned("==", turn, I64(0))
        for calls in levels:
            for call in calls:
                with (
                    b.if_then(watching) if call.watched else nullcontext(),
                    around(b, call.function.name, thread),
                ):
                    b.call(call.function, [table, chosen, count, thread, threads])
            with around(b, "wait for the others", thread):
                b.call(barrier, [arrivals, b.trunc(threads, I32)])
    b.ret_void()
    _emit_step(module, steps)


def _emit_step(module: ir.Module, steps: ir.Function) -> None:
    """Emit ``void step(i8** table, i64 rows)``, one step on one thread that gathers no rows."""
    step = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER.as_pointer(), I64]), "step")
    table, rows = step.args
    b = ir.IRBuilder(step.append_basic_block("entry"))
    order, arrivals = (ir.Constant(steps.args[i].type, None) for i in (1, 7))
    b.call(steps, [table, order, rows, rows, I64(0), I64(0), I64(1), arrivals])
    b.ret_void()


class _Frame(Body):
    """The code that runs before and after the kernels of a step."""

    def emit_prologue(self) -> None:
        """Compute, for each thread, the scalars that the kernels use."""
        slots = self.context.slots
        base = self.own(slots.scalars_index, SCALARS_A_THREAD * SCALAR_BYTES, I64)
        for i, node in enumerate(slots.scalars):
            dtype = node.spec.dtype.name
            value = self.rules.register(self.whole.value(node), dtype, 0)
            place = self.b.bitcast(self.b.gep(base, [I64(i)]), memory_type(dtype).as_pointer())
            self.b.store(self.to_memory(value, dtype), place)
        self.b.ret_void()
        size = self.context.module.globals.get("workspace_bytes")
        if size is not None:
            size.initializer = I64(slots.workspace)

    def emit_commit(self, watched: bool) -> None:
        """Emit the first thread's work: accumulate the sums and write scalar state.

        If `watched`, accumulate only the sums of watched steps.
        """
        e = self.context
        numbers = {
            name: node
            for name, node in e.graph.outputs.items()
            if name in e.state
            and not watched
            and node is not e.graph.inputs[name]
            and view_of(node.spec.shape) == (1, 1)
            and node not in e.plan.in_place
        }
        with self.b.if_then(self.b.icmp_unsigned("==", self.thread, I64(0))):
            sums = self.pointer(e.slots.sums_index, ir.DoubleType())
            for name, at in e.slots.sums.items():
                if is_watched(name) != watched:
                    continue
                node = e.graph.outputs[name]
                value = self.rules.convert(self.whole.value(node), "float64")
                place = self.b.gep(sums, [I64(at)])
                number = self.rules.register(value, "float64", 0)
                self.b.store(self.b.fadd(self.b.load(place), number), place)
            fresh = {
                name: self.rules.register(self.whole.value(node), node.spec.dtype.name, 0)
                for name, node in numbers.items()
            }
            for name, raw in fresh.items():
                dtype = numbers[name].spec.dtype.name
                place = self.pointer(e.slots.arrays[name], memory_type(dtype))
                self.b.store(self.to_memory(raw, dtype), place)
            for name, node in e.plan.copies.items():
                if not watched and view_of(node.spec.shape) != (1, 1):
                    self._copy(name, node)
        self.b.ret_void()

    def _copy(self, name: str, node: Node) -> None:
        kind = memory_type(node.spec.dtype.name)
        source = self.array(node)
        target = self.pointer(self.context.slots.arrays[name], kind)
        size = math.prod(d for d in node.spec.shape if isinstance(d, int))
        with loop(self.b, I64(0), I64(size)) as i:
            self.b.store(self.b.load(self.b.gep(source, [i])), self.b.gep(target, [i]))
