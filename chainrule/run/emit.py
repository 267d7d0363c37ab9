"""Kernels to LLVM: one function for each kernel, one that runs the whole loop of steps.

A schedule goes in; an LLVM module comes out, with the table of what each
pointer it is given must point to (:class:`Slots`).  Nothing is allocated and
nothing is interpreted inside: the loop gathers a batch, runs the levels,
meets the other threads at a barrier between levels, and goes on.

Read next: :mod:`chainrule.run.native`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from llvmlite import ir

from chainrule.core.graph import Node
from chainrule.core.spec import Dim
from chainrule.run.fuse import ROW_UNROLL, Kernel, Kernels, passes, view_of
from chainrule.run.gemm import Gemm, Target, Tile
from chainrule.run.schedule import Schedule, split_of
from chainrule.run.vector import Value, VectorBuilder, element_type, memory_type, splat

__all__ = ["Slots", "emit", "slots_of"]

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
POINTER = I8.as_pointer()
GROUP = 4  # vectors of a column reduction carried side by side
SCALAR_BYTES = 8
SPINS = 4000  # turns a thread spins at a barrier before it yields to others


@dataclass
class Slots:
    """What each entry of the pointer table is, in order of its index.

    `arrays` are inputs by name; `buffers` are stored nodes; then come the sums,
    the scalars of each thread, and the workspace of each thread.
    """

    arrays: dict[str, int] = field(default_factory=dict)
    buffers: dict[Node, int] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)  # position in the block of sums
    scalars: list[Node] = field(default_factory=list)
    workspace: int = 0  # bytes a thread

    @property
    def sums_index(self) -> int:
        """The table entry of the block of sums (float64)."""
        return len(self.arrays) + len(self.buffers)

    @property
    def scalars_index(self) -> int:
        """The table entry of the threads' scalars."""
        return self.sums_index + 1

    @property
    def workspace_index(self) -> int:
        """The table entry of the threads' workspace."""
        return self.sums_index + 2


def slots_of(kernels: Kernels, plan: Schedule, state: set[str]) -> Slots:
    """Return the slots that code for `kernels` expects, but for the size of the workspace."""
    graph = kernels.graph
    slots = Slots()
    for name in graph.inputs:
        slots.arrays[name] = len(slots.arrays)
    for node in (n for kernel in kernels.order for n in kernel.stores):
        if node not in plan.in_place:
            slots.buffers[node] = len(slots.arrays) + len(slots.buffers)
    slots.sums = {name: i for i, name in enumerate(n for n in graph.outputs if n not in state)}
    return slots


def emit(
    kernels: Kernels,
    plan: Schedule,
    state: set[str],
    data: set[str],
    capacity: int,
    target: Target,
) -> tuple[ir.Module, Slots]:
    """Return the module with its entry ``steps``, and its slots.

    ``void steps(i8** table, i64* order, i64 rows, i64 batch, i64 thread, i64 threads,
    i32* meeting)`` takes one step for each `batch` rows of `order`; `capacity` is the
    largest batch.
    """
    return _Emitter(kernels, plan, state, data, capacity, target).run()


@contextmanager
def loop(b: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int = 1) -> Iterator[ir.Value]:
    """Emit the body for start, start + step, ... below stop."""
    before = b.block
    head, body, done = (b.append_basic_block(n) for n in ("head", "body", "done"))
    b.branch(head)
    b.position_at_end(head)
    index = b.phi(I64)
    index.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", index, stop), body, done)
    b.position_at_end(body)
    yield index
    index.add_incoming(b.add(index, I64(step)), b.block)
    b.branch(head)
    b.position_at_end(done)


def _least(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed("<", x, y), x, y)


def _power_of_two(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


class _Emitter:
    def __init__(
        self,
        kernels: Kernels,
        plan: Schedule,
        state: set[str],
        data: set[str],
        capacity: int,
        target: Target,
    ):
        self.kernels, self.plan, self.state, self.data = kernels, plan, state, data
        self.capacity, self.target = capacity, target
        self.graph = kernels.graph
        self.module = ir.Module("chainrule")
        self.leaf_names = {node: name for name, node in self.graph.inputs.items()}
        self.slots = slots_of(kernels, plan, state)

    def run(self) -> tuple[ir.Module, Slots]:
        arguments = [POINTER.as_pointer(), I64.as_pointer(), I64, I64, I64]
        signature = ir.FunctionType(ir.VoidType(), arguments)
        levels = []
        for i, kernels in enumerate(self.plan.levels):
            functions = []
            for j, kernel in enumerate(kernels):
                function = ir.Function(self.module, signature, f"{kernel.kind}_{i}_{j}")
                Body(self, kernel, function).emit()
                functions.append(function)
            levels.append(functions)
        commit = ir.Function(self.module, signature, "commit")
        Body(self, Kernel("commit", (1, 1)), commit).emit_commit()
        prologue = ir.Function(self.module, signature, "prologue")
        Body(self, Kernel("prologue", (1, 1)), prologue).emit_prologue()
        if len(levels) == 1:
            levels.append([])  # the commit writes what the prologue of other threads reads
        levels[-1].append(commit)
        levels[0].insert(0, prologue)
        for function in (f for fs in levels for f in fs):
            function.linkage = "internal"
        self._emit_loop(levels)
        return self.module, self.slots

    def _emit_loop(self, levels: Sequence[Sequence[ir.Function]]) -> None:
        types = [POINTER.as_pointer(), I64.as_pointer(), I64, I64, I64, I64, I32.as_pointer()]
        steps = ir.Function(self.module, ir.FunctionType(ir.VoidType(), types), "steps")
        table, order, rows, batch, thread, threads, meeting = steps.args
        b = ir.IRBuilder(steps.append_basic_block("entry"))
        meet = _emit_meeting(self.module)
        head, body, done = (b.append_basic_block(n) for n in ("head", "body", "done"))
        entry = b.block
        b.branch(head)
        b.position_at_end(head)
        start = b.phi(I64)
        start.add_incoming(I64(0), entry)
        b.cbranch(b.icmp_signed("<", start, rows), body, done)
        b.position_at_end(body)
        count = _least(b, batch, b.sub(rows, start))
        chosen = b.gep(order, [start])
        for functions in levels:
            for function in functions:
                b.call(function, [table, chosen, count, thread, threads])
            b.call(meet, [meeting, b.trunc(threads, I32)])
        start.add_incoming(b.add(start, batch), b.block)
        b.branch(head)
        b.position_at_end(done)
        b.ret_void()


def _emit_meeting(module: ir.Module) -> ir.Function:
    """Emit a barrier: the last to arrive starts the next generation, the others wait for it.

    Waiters spin a while and then yield the processor at every turn, so that an
    oversubscribed machine still makes progress.
    """
    pointer = I32.as_pointer()
    meet = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, I32]), "meet")
    meet.linkage = "internal"
    pause = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause")
    relax = ir.Function(module, ir.FunctionType(I32, []), "sched_yield")
    arrived, threads = meet.args
    b = ir.IRBuilder(meet.append_basic_block("entry"))
    alone, several, last, wait, turn, rest, done = (
        meet.append_basic_block(n)
        for n in ("alone", "several", "last", "wait", "turn", "rest", "done")
    )
    b.cbranch(b.icmp_unsigned("==", threads, I32(1)), alone, several)
    b.position_at_end(alone)
    b.ret_void()
    b.position_at_end(several)
    # The two counters stand on cache lines of their own.
    generation = b.gep(arrived, [I32(32)])
    present = b.load_atomic(generation, "acquire", 4)
    before = b.atomic_rmw("add", arrived, I32(1), "acq_rel")
    b.cbranch(b.icmp_unsigned("==", b.add(before, I32(1)), threads), last, wait)
    b.position_at_end(last)
    b.store_atomic(I32(0), arrived, "monotonic", 4)
    b.store_atomic(b.add(present, I32(1)), generation, "release", 4)
    b.ret_void()
    b.position_at_end(wait)
    turns = b.phi(I32)
    turns.add_incoming(I32(0), several)
    now = b.load_atomic(generation, "acquire", 4)
    b.cbranch(b.icmp_unsigned("!=", now, present), done, turn)
    b.position_at_end(turn)
    b.call(pause, [])
    more = b.add(turns, I32(1))
    turns.add_incoming(more, turn)
    b.cbranch(b.icmp_unsigned("<", more, I32(SPINS)), wait, rest)
    b.position_at_end(rest)
    b.call(relax, [])
    turns.add_incoming(I32(SPINS), rest)
    b.branch(wait)
    b.position_at_end(done)
    b.ret_void()
    return meet


class Site:
    """A place in the code where values are wanted: a row, a run of columns, and what is known.

    Values found at an outer site (a row, the whole kernel) are seen by the
    sites inside it.
    """

    def __init__(
        self,
        body: Body,
        outer: Site | None = None,
        row: ir.Value | None = None,
        column: ir.Value | None = None,
        lanes: int = 0,
        count: int = 0,
    ):
        self.body, self.outer = body, outer
        self.row, self.column, self.lanes, self.count = row, column, lanes, count
        self.known: dict[Node, Value] = {}

    def find(self, node: Node) -> Value | None:
        site: Site | None = self
        while site is not None:
            if node in site.known:
                return site.known[node]
            site = site.outer
        return None

    def value(self, node: Node) -> Value:
        """Return the value of `node` here, emitting what it takes."""
        for needed in self.body.needed([node], self.find):
            self.known[needed] = self.body.compute(needed, self)
        found = self.find(node)
        assert found is not None
        return found


class Body:
    """The code of one kernel."""

    def __init__(self, emitter: _Emitter, kernel: Kernel, function: ir.Function):
        self.emitter, self.kernel, self.function = emitter, kernel, function
        self.table, self.order, self.rows, self.thread, self.threads = function.args
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        self.rules = VectorBuilder(self.b)
        self.members = set(kernel.nodes)
        self.whole = Site(self)
        self.pointers: dict[Any, ir.Value] = {}

    # --- where things are -------------------------------------------------------------------

    def pointer(self, index: int, kind: ir.Type) -> ir.Value:
        """Return entry `index` of the table as a pointer to `kind`, loaded once at the entry."""
        key = (index, str(kind))
        if key not in self.pointers:
            with self.b.goto_entry_block():
                raw = self.b.load(self.b.gep(self.table, [I64(index)]))
                self.pointers[key] = self.b.bitcast(raw, kind.as_pointer())
        return self.pointers[key]

    def _own(self, index: int, size: int, kind: ir.Type) -> ir.Value:
        """Return this thread's part, `size` bytes long, of table entry `index`."""
        key = ("own", index, str(kind))
        if key not in self.pointers:
            base = self.pointer(index, I8)
            with self.b.goto_entry_block():
                part = self.b.gep(base, [self.b.mul(self.thread, I64(size))])
                self.pointers[key] = self.b.bitcast(part, kind.as_pointer())
        return self.pointers[key]

    def array(self, node: Node) -> ir.Value:
        """Return a pointer to the elements of a stored node or a leaf."""
        slots, kind = self.emitter.slots, memory_type(node.spec.dtype.name)
        if node in slots.buffers:
            return self.pointer(slots.buffers[node], kind)
        if node in self.emitter.plan.in_place:
            name = self.emitter.plan.in_place[node][0]
        else:
            name = self.emitter.leaf_names[node]
        return self.pointer(slots.arrays[name], kind)

    def split(self) -> tuple[ir.Value, ir.Value]:
        """Return the first and the end of this thread's part of the kernel's work."""
        kind, length = split_of(self.kernel)
        b = self.b
        if kind == "one":
            whole = b.icmp_unsigned("==", self.thread, I64(0))
            return I64(0), b.select(whole, I64(1), I64(0))
        if kind == "batch":
            total, grain = self.rows, 2
        elif kind == "rows":
            total, grain = I64(length), 4
        else:
            total, grain = I64(length), 16
        share = b.udiv(b.add(total, b.sub(self.threads, I64(1))), self.threads)
        share = b.mul(b.udiv(b.add(share, I64(grain - 1)), I64(grain)), I64(grain))
        first = _least(b, b.mul(self.thread, share), total)
        return first, _least(b, b.add(first, share), total)

    # --- values -----------------------------------------------------------------------------

    def is_ready(self, node: Node) -> bool:
        """Whether `node` is loaded rather than computed here."""
        if node in self.members:
            return node.primitive.leaf and node is self.kernel.anchor
        return node.primitive.leaf or node in self.emitter.kernels.home

    def is_uniform(self, node: Node) -> bool:
        """Whether `node` is one number that depends on leaves alone: see the prologue."""
        if view_of(node.spec.shape) != (1, 1) or node in self.emitter.kernels.home:
            return False
        if node.primitive.name == "constant" or self.kernel.kind == "prologue":
            return False
        kernels = self.emitter.kernels
        return not any(s in kernels.home for s in kernels.sources(node))

    def needed(self, roots: Sequence[Node], find: Callable[[Node], Value | None]) -> list[Node]:
        """Return what must be computed for `roots`, oldest first."""
        seen: set[Node] = set()
        pending = list(roots)
        while pending:
            node = pending.pop()
            if node in seen or find(node) is not None:
                continue
            seen.add(node)
            if not self.is_ready(node) and not self.is_uniform(node):
                pending.extend(node.inputs)
        return sorted(seen, key=lambda n: n.serial)

    def compute(self, node: Node, site: Site) -> Value:
        """Emit `node` at `site`, whose known values include its inputs."""
        name = node.primitive.name
        if name == "constant":
            return self._constant(node, site)
        if self.is_uniform(node):
            return self._uniform(node)
        if node.primitive.leaf or (node in self.emitter.kernels.home and node not in self.members):
            return self.load(node, site)
        if name in ("reshape", "broadcast", "stop_gradient"):
            value = site.find(node.inputs[0])
            assert value is not None
            return value
        if name == "arange":
            return self._arange(node, site)
        if name == "count":
            return self._count(node)
        values = [site.find(i) for i in node.inputs]
        result = node.primitive.scalar(self.rules, *values, **node.params)  # type: ignore[misc]
        return self.rules.convert(result, node.spec.dtype.name)

    def _constant(self, node: Node, site: Site) -> Value:
        array = node.params["value"]
        if array.size == 1:
            return Value(array.reshape(()).item(), node.spec.dtype.name)
        kind = memory_type(node.spec.dtype.name)
        name = f"constant_{node.serial}"
        data = self.emitter.module.globals.get(name)
        if data is None:
            data = ir.GlobalVariable(self.emitter.module, ir.ArrayType(kind, array.size), name)
            data.global_constant, data.linkage = True, "internal"
            data.initializer = ir.Constant(
                data.value_type, [kind(x) for x in array.ravel().tolist()]
            )
        return self._load_at(node, self.b.bitcast(data, kind.as_pointer()), site)

    def _uniform(self, node: Node) -> Value:
        """Load a number that the prologue computed for this thread."""
        slots = self.emitter.slots
        if node not in slots.scalars:
            slots.scalars.append(node)
        dtype = node.spec.dtype.name
        base = self._own(slots.scalars_index, SCALARS_A_THREAD * SCALAR_BYTES, I64)
        place = self.b.gep(base, [I64(slots.scalars.index(node))])
        raw = self.b.load(self.b.bitcast(place, memory_type(dtype).as_pointer()))
        return self._from_memory(raw, dtype)

    def _from_memory(self, raw: ir.Value, dtype: str) -> Value:
        if dtype == "bool":
            vector = isinstance(raw.type, ir.VectorType)
            kind = ir.VectorType(ir.IntType(1), raw.type.count) if vector else ir.IntType(1)
            return Value(self.b.trunc(raw, kind), dtype)
        return Value(raw, dtype)

    def _to_memory(self, value: ir.Value, dtype: str) -> ir.Value:
        if dtype != "bool":
            return value
        vector = isinstance(value.type, ir.VectorType)
        return self.b.zext(value, ir.VectorType(I8, value.type.count) if vector else I8)

    def _arange(self, node: Node, site: Site) -> Value:
        dtype = node.spec.dtype.name
        kind = element_type(dtype)
        if site.lanes == 0 or site.column is None:
            start = Value(site.column if site.column is not None else I64(0), "int64")
            return self.rules.convert(start, dtype)
        steps = ir.Constant(ir.VectorType(kind, site.lanes), [kind(i) for i in range(site.lanes)])
        first = self.rules.convert(Value(site.column, "int64"), dtype)
        return self.rules.add(
            Value(splat(self.b, first.value, site.lanes), dtype), Value(steps, dtype)
        )

    def _count(self, node: Node) -> Value:
        known = math.prod(d for d in node.params["lengths"] if not isinstance(d, Dim))
        total: ir.Value = I64(known)
        for length in node.params["lengths"]:
            if isinstance(length, Dim):
                total = self.b.mul(total, self.rows)
        return self.rules.convert(Value(total, "int64"), node.spec.dtype.name)

    # --- memory -----------------------------------------------------------------------------

    def load(self, node: Node, site: Site) -> Value:
        """Load the element or elements of a leaf or stored node that belong to `site`."""
        return self._load_at(node, self.array(node), site)

    def _gathered(self, node: Node) -> bool:
        """Whether rows of `node` must be looked up in the data through the batch's order."""
        return self.emitter.leaf_names.get(node) in self.emitter.data and (
            node in self.members or node not in self.emitter.kernels.home
        )

    def _load_at(self, node: Node, array: ir.Value, site: Site) -> Value:
        if self._gathered(node):
            name = self.emitter.leaf_names[node]
            array = self.pointer(self.emitter.slots.arrays[name], memory_type(node.spec.dtype.name))
        view = view_of(node.spec.shape)
        assert view is not None
        rows, columns = view
        dtype = node.spec.dtype.name
        offset: ir.Value = I64(0)
        if rows != 1 and site.row is not None:
            row = site.row
            if self._gathered(node):
                row = self.b.load(self.b.gep(self.order, [site.row]))
            offset = self.b.mul(row, I64(columns))
        if columns == 1 or site.column is None or site.lanes == 0:
            if columns != 1 and site.column is not None:
                offset = self.b.add(offset, site.column)
            return self._from_memory(self.b.load(self.b.gep(array, [offset])), dtype)
        place = self.b.gep(array, [self.b.add(offset, site.column)])
        return self._from_memory(self._load_vector(place, site), dtype)

    def _load_vector(self, place: ir.Value, site: Site) -> ir.Value:
        kind = place.type.pointee
        short = ir.VectorType(kind, site.count)
        raw = self.b.load(self.b.bitcast(place, short.as_pointer()), align=_bytes(kind))
        if site.count == site.lanes:
            return raw
        lanes = [i if i < site.count else site.count for i in range(site.lanes)]
        picks = ir.Constant(ir.VectorType(I32, site.lanes), lanes)
        return self.b.shuffle_vector(raw, ir.Constant(short, None), picks)

    def store(self, node: Node, value: Value, site: Site) -> None:
        """Store `node` wherever it is kept: its buffer, or each state it becomes."""
        dtype = node.spec.dtype.name
        kind = memory_type(dtype)
        slots, plan = self.emitter.slots, self.emitter.plan
        arrays = [
            self.pointer(slots.arrays[name], kind) for name in plan.in_place.get(node, ())
        ] or [self.pointer(slots.buffers[node], kind)]
        view = view_of(node.spec.shape)
        assert view is not None
        rows, columns = view
        lanes = site.lanes if columns != 1 else 0
        raw = self._to_memory(self.rules.register(value, dtype, lanes), dtype)
        offset: ir.Value = I64(0)
        if rows != 1 and site.row is not None:
            offset = self.b.mul(site.row, I64(columns))
        if columns != 1 and site.column is not None:
            offset = self.b.add(offset, site.column)
        for array in arrays:
            place = self.b.gep(array, [offset])
            if not lanes:
                self.b.store(raw, place)
                continue
            short = raw
            if site.count != site.lanes:
                picks = ir.Constant(ir.VectorType(I32, site.count), list(range(site.count)))
                short = self.b.shuffle_vector(raw, ir.Constant(raw.type, ir.Undefined), picks)
            self.b.store(short, self.b.bitcast(place, short.type.as_pointer()), align=_bytes(kind))

    # --- the kinds of kernels -----------------------------------------------------------------

    def emit(self) -> None:
        """Emit the kernel."""
        self._emit_numbers()
        getattr(self, f"_emit_{self.kernel.kind}")()
        self.b.ret_void()

    def _emit_numbers(self) -> None:
        """Compute, ahead of any loop, the single numbers the kernel's expressions use."""
        roots = [i for n in self.kernel.nodes for i in n.inputs]
        for node in self.needed(roots, lambda n: None):
            ready = self.is_ready(node) or self.is_uniform(node)
            single = view_of(node.spec.shape) == (1, 1) and node not in self.members
            if single and (ready or all(view_of(i.spec.shape) == (1, 1) for i in node.inputs)):
                self.whole.value(node)

    @property
    def lanes(self) -> int:
        """The lanes of a register of the kernel's widest float, no more than the columns need."""
        wide = any(n.spec.dtype == np.float64 for n in self._wide_nodes())
        width = self.emitter.target.width // (2 if wide else 1)
        return min(width, _power_of_two(self.kernel.view[1]))

    def _wide_nodes(self) -> Iterator[Node]:
        nodes = set(self.kernel.nodes) | {i for n in self.kernel.nodes for i in n.inputs}
        return (n for n in nodes if (view_of(n.spec.shape) or (1, 1))[1] > 1)

    def _emit_matmul(self) -> None:
        node = self.kernel.anchor
        assert node is not None
        left, right = node.inputs
        trans_a, trans_b = (s.primitive.name == "transpose" for s in (left, right))
        a, b_ = (_operand(s.inputs[0] if t else s) for s, t in ((left, trans_a), (right, trans_b)))
        depth = left.spec.shape[1]
        runtime_k = isinstance(depth, Dim)
        rows, columns = self.kernel.view
        gemm = Gemm(
            n=columns,
            k=self.emitter.capacity if isinstance(depth, Dim) else depth,
            m=None if isinstance(rows, Dim) else rows,
            dtype=node.spec.dtype.name,
            trans_a=trans_a,
            trans_b=trans_b,
            runtime_k=runtime_k,
            target=self.emitter.target,
        )
        slots = self.emitter.slots
        slots.workspace = max(slots.workspace, -(-gemm.workspace // 64) * 64)
        first, end = self.split()
        result = self.array(node) if node in self.kernel.stores else None
        own = self._workspace(gemm.element)

        def epilogue(tile: Tile, sums: ir.Value) -> ir.Value | None:
            site = Site(self, self.whole, tile.row, tile.column, tile.lanes, tile.count)
            site.known[node] = Value(sums, node.spec.dtype.name)
            outer, self.b = self.b, tile.builder
            self.rules = VectorBuilder(self.b)
            for member in self.kernel.stores:
                self.store(member, site.value(member), site)
            self.b = outer
            self.rules = VectorBuilder(self.b)
            return None

        unused = result if result is not None else own
        gemm.emit(
            self.b, self.array(a), self.array(b_), unused, first, end, own,
            k=self.rows if runtime_k else None, epilogue=epilogue,
            unroll_epilogue=len(self.kernel.nodes) <= 4,
        )  # fmt: skip

    def _workspace(self, kind: ir.Type) -> ir.Value:
        """Return this thread's workspace; its size is known only when all kernels are."""
        size = self.emitter.module.globals.get("workspace_bytes")
        if size is None:
            size = ir.GlobalVariable(self.emitter.module, I64, "workspace_bytes")
            size.linkage, size.global_constant = "internal", True
        # The table index, too, is not final while buffers are fixed but arrays are: both are.
        base = self.pointer(self.emitter.slots.workspace_index, I8)
        part = self.b.gep(base, [self.b.mul(self.thread, self.b.load(size))])
        return self.b.bitcast(part, kind.as_pointer())

    def _emit_each(self) -> None:
        first, end = self.split()
        rows, columns = self.kernel.view
        if rows == 1:
            self._columns(first, end, I64(0), columns)
            return
        with loop(self.b, first, end) as row:
            self._columns(I64(0), I64(columns), row, columns)

    def _columns(self, first: ir.Value, end: ir.Value, row: ir.Value, columns: int) -> None:
        """Store the kernel's nodes for columns [first, end) of one row."""
        lanes = self.lanes
        whole = columns // lanes * lanes

        def at(column: ir.Value, count: int) -> None:
            site = Site(self, self.whole, row, column, lanes, count)
            for node in self.kernel.stores:
                self.store(node, site.value(node), site)

        if columns == 1:
            site = Site(self, self.whole, row)
            with self.b.if_then(self.b.icmp_signed("<", first, end)):
                for node in self.kernel.stores:
                    self.store(node, site.value(node), site)
            return
        with loop(self.b, first, _least(self.b, end, I64(whole)), lanes) as column:
            at(column, lanes)
        if columns > whole:
            with self.b.if_then(self.b.icmp_signed(">", end, I64(whole))):
                at(I64(whole), columns - whole)

    def _emit_rows(self) -> None:
        first, end = self.split()
        columns = self.kernel.view[1]
        with loop(self.b, first, end) as row:
            site = Site(self, self.whole, row)
            if columns == 1:
                self._narrow_row(site)
            elif columns <= ROW_UNROLL:
                self._short_row(site, columns)
            else:
                self._long_row(site, columns)

    def _narrow_row(self, site: Site) -> None:
        for node in self.kernel.nodes:
            if node.primitive.name in ("sum", "max"):  # over one column
                inner = site.value(node.inputs[0])
                site.known[node] = self.rules.convert(inner, node.spec.dtype.name)
            else:
                site.value(node)
        for node in self.kernel.stores:
            self.store(node, site.value(node), site)

    def _chunks(self, columns: int) -> list[tuple[int, int]]:
        lanes = self.lanes
        return [(c, min(lanes, columns - c)) for c in range(0, columns, lanes)]

    def _settle(self, site: Site, level: dict[Node, int], current: int) -> None:
        """Compute the numbers of a row that this pass needs, before its columns."""
        for node in self._numbers_of_row(level, current):
            if site.find(node) is None:
                site.value(node)

    def _numbers_of_row(self, level: dict[Node, int], current: int) -> list[Node]:
        roots = [n for n in self.kernel.nodes if level[n] <= current]
        inputs = [i for n in roots for i in n.inputs]
        found = []
        for node in self.needed([*inputs, *roots], lambda n: None):
            view = view_of(node.spec.shape)
            if view is None or view[1] != 1 or node.primitive.name in ("sum", "max"):
                continue
            if node in self.members and level[node] > current:
                continue
            if all((view_of(i.spec.shape) or (0, 0))[1] == 1 for i in node.inputs):
                found.append(node)
        return found

    def _short_row(self, site: Site, columns: int) -> None:
        """Keep the whole row in registers from pass to pass."""
        lanes = self.lanes
        parts = [
            Site(self, site, site.row, I64(c), lanes, count) for c, count in self._chunks(columns)
        ]
        level = passes(self.kernel)
        for current in range(max(level.values(), default=0) + 1):
            self._settle(site, level, current)
            for node in self.kernel.nodes:
                if level[node] == current and node.primitive.name in ("sum", "max"):
                    site.known[node] = self._reduce_parts(node, parts)
        for node in self.kernel.stores:
            if (view_of(node.spec.shape) or (1, 1))[1] == 1:
                self.store(node, site.value(node), site)
                continue
            for part in parts:
                self.store(node, part.value(node), part)

    def _reduce_parts(self, node: Node, parts: Sequence[Site]) -> Value:
        dtype = node.spec.dtype.name
        total: ir.Value | None = None
        for part in parts:
            value = self._masked(node, part.value(node.inputs[0]), part)
            total = value if total is None else self._combine(node, total, value)
        assert total is not None
        return Value(self._horizontal(node, total), dtype)

    def _masked(self, node: Node, value: Value, site: Site) -> ir.Value:
        """Return the vector to reduce, with the identity in lanes beyond the last column."""
        dtype = node.spec.dtype.name
        raw = self.rules.register(value, dtype, site.lanes)
        if site.count == site.lanes:
            return raw
        mask = ir.Constant(
            ir.VectorType(ir.IntType(1), site.lanes),
            [int(i < site.count) for i in range(site.lanes)],
        )
        return self.b.select(mask, raw, self._identity(node, site.lanes))

    def _identity(self, node: Node, lanes: int) -> ir.Value:
        dtype = node.spec.dtype.name
        if node.primitive.name == "sum":
            number: Any = 0
        elif dtype.startswith("float"):
            number = -math.inf
        else:
            number = int(np.iinfo(dtype).min) if dtype != "bool" else 0
        return self.rules.register(Value(number, dtype), dtype, lanes)

    def _combine(self, node: Node, x: ir.Value, y: ir.Value) -> ir.Value:
        dtype = node.spec.dtype.name
        if node.primitive.name == "sum":
            return self.rules.add(Value(x, dtype), Value(y, dtype)).value
        larger = self.rules.less(Value(x, dtype), Value(y, dtype))
        if dtype.startswith("float"):  # NaN must win over any number
            larger = self.rules.either(larger, self.rules.math("is_nan", Value(y, dtype)))
        return self.rules.select(larger, Value(y, dtype), Value(x, dtype)).value

    def _horizontal(self, node: Node, vector: ir.Value) -> ir.Value:
        """Reduce the lanes of one register, in halves."""
        lanes = vector.type.count
        while lanes > 1:
            half = lanes // 2
            low, high = (
                self.b.shuffle_vector(
                    vector,
                    ir.Constant(vector.type, ir.Undefined),
                    ir.Constant(ir.VectorType(I32, half), list(range(at, at + half))),
                )
                for at in (0, half)
            )
            vector, lanes = self._combine(node, low, high), half
        return self.b.extract_element(vector, I32(0))

    def _long_row(self, site: Site, columns: int) -> None:
        """Go over the columns once for each pass, loading what earlier passes stored."""
        lanes = self.lanes
        level = passes(self.kernel)
        for current in range(max(level.values(), default=0) + 1):
            self._settle(site, level, current)
            reductions = [
                n
                for n in self.kernel.nodes
                if level[n] == current and n.primitive.name in ("sum", "max")
            ]
            wide = [
                n
                for n in self.kernel.stores
                if level[n] == current and (view_of(n.spec.shape) or (1, 1))[1] > 1
            ]
            if reductions or wide:
                self._one_pass(site, columns, lanes, reductions, wide)
        for node in self.kernel.stores:
            if (view_of(node.spec.shape) or (1, 1))[1] == 1:
                self.store(node, site.value(node), site)

    def _one_pass(
        self, site: Site, columns: int, lanes: int, reductions: Sequence[Node], wide: Sequence[Node]
    ) -> None:
        sums = [self._accumulator(n, lanes) for n in reductions]

        def at(column: ir.Value, count: int) -> None:
            part = Site(self, site, site.row, column, lanes, count)
            for node in self.kernel.stores:  # stored by an earlier pass of this kernel
                if node in self._stored_before and node not in wide:
                    part.known[node] = self._reload(node, part)
            for node, place in zip(reductions, sums, strict=True):
                value = self._masked(node, part.value(node.inputs[0]), part)
                self.b.store(self._combine(node, self.b.load(place), value), place)
            for node in wide:
                self.store(node, part.value(node), part)

        whole = columns // lanes * lanes
        with loop(self.b, I64(0), I64(whole), lanes) as column:
            at(column, lanes)
        if columns > whole:
            at(I64(whole), columns - whole)
        self._stored_before.update(wide)
        for node, place in zip(reductions, sums, strict=True):
            total = self._horizontal(node, self.b.load(place))
            site.known[node] = Value(total, node.spec.dtype.name)

    @property
    def _stored_before(self) -> set[Node]:
        if not hasattr(self, "_stored"):
            self._stored: set[Node] = set()
        return self._stored

    def _reload(self, node: Node, site: Site) -> Value:
        return self._load_at(node, self.array(node), site)

    def _accumulator(self, node: Node, lanes: int) -> ir.Value:
        kind = ir.VectorType(element_type(node.spec.dtype.name), lanes)
        with self.b.goto_entry_block():
            place = self.b.alloca(kind)
        self.b.store(self._identity(node, lanes), place)
        return place

    def _emit_sum_rows(self) -> None:
        """Reduce over rows, a few vectors of columns at a time, then finish those columns."""
        node = self.kernel.anchor
        assert node is not None
        first, end = self.split()
        rows, columns = self.kernel.view
        last = self.rows if isinstance(rows, Dim) else I64(rows)
        lanes = self.lanes
        grain = GROUP * lanes if columns >= GROUP * lanes else lanes

        def group(start: ir.Value, counts: Sequence[int]) -> None:
            sums = [self._accumulator(node, lanes) for _ in counts]
            with loop(self.b, I64(0), last) as row:
                for i, (place, count) in enumerate(zip(sums, counts, strict=True)):
                    column = self.b.add(start, I64(i * lanes))
                    site = Site(self, self.whole, row, column, lanes, count)
                    value = self._masked(node, site.value(node.inputs[0]), site)
                    self.b.store(self._combine(node, self.b.load(place), value), place)
            for i, (place, count) in enumerate(zip(sums, counts, strict=True)):
                column = self.b.add(start, I64(i * lanes))
                site = Site(self, self.whole, I64(0), column, lanes, count)
                site.known[node] = Value(self.b.load(place), node.spec.dtype.name)
                for member in self.kernel.stores:
                    self.store(member, site.value(member), site)

        if lanes == 1:
            with loop(self.b, first, end) as column:
                group(column, [1])
            return
        # Parts of threads begin at multiples of 16 columns; groups never straddle two parts.
        with loop(self.b, first, end, grain) as start:
            enough = self.b.icmp_signed("<=", self.b.add(start, I64(grain)), end)
            with self.b.if_else(enough) as (full, part):
                with full:
                    group(start, [lanes] * (grain // lanes))
                with part:
                    self._part_group(group, start, end, columns, lanes)

    def _part_group(
        self,
        group: Callable[[ir.Value, Sequence[int]], None],
        start: ir.Value,
        end: ir.Value,
        columns: int,
        lanes: int,
    ) -> None:
        """Finish the columns that are left, a vector at a time, the last one short."""
        whole = columns // lanes * lanes
        with loop(self.b, start, _least(self.b, end, I64(whole)), lanes) as column:
            group(column, [lanes])
        if columns > whole:
            with self.b.if_then(self.b.icmp_signed(">", end, I64(whole))):
                group(I64(whole), [columns - whole])

    def _emit_total(self) -> None:
        node = self.kernel.anchor
        assert node is not None
        rows, columns = self.kernel.view
        last = self.rows if isinstance(rows, Dim) else I64(rows)
        mine = self.b.icmp_unsigned("==", self.thread, I64(0))
        with self.b.if_then(mine):
            lanes = self.lanes if columns > 1 else 1
            place = self._accumulator(node, lanes)
            whole = columns // lanes * lanes

            def at(row: ir.Value, column: ir.Value, count: int) -> None:
                wide = columns > 1
                site = (
                    Site(self, self.whole, row, column, lanes, count)
                    if wide
                    else Site(self, self.whole, row)
                )
                value = site.value(node.inputs[0])
                vector = (
                    self._masked(node, value, site)
                    if wide
                    else self.rules.register(value, node.spec.dtype.name, 1)
                )
                self.b.store(self._combine(node, self.b.load(place), vector), place)

            with loop(self.b, I64(0), last) as row:
                if columns == 1:
                    at(row, I64(0), 1)
                else:
                    with loop(self.b, I64(0), I64(whole), lanes) as column:
                        at(row, column, lanes)
                    if columns > whole:
                        at(row, I64(whole), columns - whole)
            total = self._horizontal(node, self.b.load(place))
            self.whole.known[node] = Value(total, node.spec.dtype.name)
            for member in self.kernel.stores:
                self.store(member, self.whole.value(member), self.whole)

    # --- before and after the kernels -------------------------------------------------------

    def emit_prologue(self) -> None:
        """Compute for this thread the numbers that kernels asked for."""
        slots = self.emitter.slots
        base = self._own(slots.scalars_index, SCALARS_A_THREAD * SCALAR_BYTES, I64)
        for i, node in enumerate(slots.scalars):
            dtype = node.spec.dtype.name
            value = self.rules.register(self.whole.value(node), dtype, 0)
            place = self.b.bitcast(self.b.gep(base, [I64(i)]), memory_type(dtype).as_pointer())
            self.b.store(self._to_memory(value, dtype), place)
        self.b.ret_void()
        size = self.emitter.module.globals.get("workspace_bytes")
        if size is not None:
            size.initializer = I64(slots.workspace)

    def emit_commit(self) -> None:
        """Let the first thread add up the sums and write the state that is single numbers."""
        e = self.emitter
        numbers = {
            name: node
            for name, node in e.graph.outputs.items()
            if name in e.state
            and node is not e.graph.inputs[name]
            and view_of(node.spec.shape) == (1, 1)
            and node not in e.plan.in_place
        }
        with self.b.if_then(self.b.icmp_unsigned("==", self.thread, I64(0))):
            sums = self.pointer(e.slots.sums_index, ir.DoubleType())
            for name, at in e.slots.sums.items():
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
                self.b.store(self._to_memory(raw, dtype), place)
            for name, node in e.plan.copies.items():
                if view_of(node.spec.shape) != (1, 1):
                    self._copy(name, node)
        self.b.ret_void()

    def _copy(self, name: str, node: Node) -> None:
        kind = memory_type(node.spec.dtype.name)
        source = self.array(node)
        target = self.pointer(self.emitter.slots.arrays[name], kind)
        size = math.prod(d for d in node.spec.shape if isinstance(d, int))
        with loop(self.b, I64(0), I64(size)) as i:
            self.b.store(self.b.load(self.b.gep(source, [i])), self.b.gep(target, [i]))


SCALARS_A_THREAD = 512


def _operand(node: Node) -> Node:
    """Return the stored node or leaf that `node`, moved but not changed, is."""
    while node.primitive.name in ("reshape", "broadcast", "stop_gradient"):
        node = node.inputs[0]
    return node


def _bytes(kind: ir.Type) -> int:
    if isinstance(kind, ir.DoubleType):
        return 8
    return 4 if isinstance(kind, ir.FloatType) else kind.width // 8
