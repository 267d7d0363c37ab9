"""Emit the code inside the loops of one kernel: load, compute and store values.

A :class:`Site` is a place in the code where values are needed (a row, a vector
of columns).  A :class:`Body` computes a node at a site from values in memory or
in registers.

Read next: :mod:`chainrule.run.llvm.kernel_code`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from chainrule.core.graph import Graph, Node
from chainrule.core.spec import Dim
from chainrule.run.llvm.gemm import Gemm, Target
from chainrule.run.llvm.instructions import I32, I64, least, load_repeating, splat, store_vector
from chainrule.run.llvm.move_code import Group, Memory, Mover
from chainrule.run.llvm.random_code import emit_uniform
from chainrule.run.llvm.vector import Value, VectorBuilder, element_type, memory_type
from chainrule.run.plan.fuse import Kernel, Kernels
from chainrule.run.plan.levels import Schedule, split_of
from chainrule.run.plan.moves import is_move
from chainrule.run.plan.slots import SCALAR_BYTES, SCALARS_A_THREAD, Slots
from chainrule.run.plan.view import Unsupported, unmoved, view_of

__all__ = ["Body", "Context", "Site"]

I8 = ir.IntType(8)


@dataclass
class Context:
    """The information that all kernels of a module share.

    `state` and `data` are the names of the inputs that are updated and of those that are
    gathered; `capacity` is the largest batch size; `leaf_names` maps inputs to their names.
    `packed` are the products whose weights are given arranged for them.
    """

    kernels: Kernels
    plan: Schedule
    state: set[str]
    data: set[str]
    capacity: int
    target: Target
    module: ir.Module
    slots: Slots
    leaf_names: dict[Node, str]
    packed: Mapping[Node, Gemm]

    @property
    def graph(self) -> Graph:
        """The graph being compiled."""
        return self.kernels.graph


class Site:
    """A place in the code where values are needed: a row, a run of columns, and known values.

    Values known at an outer site (a row, the whole kernel) are visible at the
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
        self.group: Group | None = None
        self.known: dict[Node, Value] = {}

    def find(self, node: Node) -> Value | None:
        site: Site | None = self
        while site is not None:
            if node in site.known:
                return site.known[node]
            site = site.outer
        return None

    def value(self, node: Node) -> Value:
        """Return the value of `node` at this site, emitting the code to compute it."""
        for needed in self.body.needed([node], self.find):
            self.known[needed] = self.body.compute(needed, self)
        found = self.find(node)
        assert found is not None
        return found


class Body:
    """The code of one kernel."""

    def __init__(self, context: Context, kernel: Kernel, function: ir.Function):
        self.context, self.kernel, self.function = context, kernel, function
        self.table, self.order, self.rows, self.thread, self.threads = function.args
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        self.rules = VectorBuilder(self.b)
        self.members = set(kernel.nodes)
        self.whole = Site(self)
        self.pointers: dict[Any, ir.Value] = {}

    # --- addresses -------------------------------------------------------------------------

    def pointer(self, index: int, kind: ir.Type) -> ir.Value:
        """Return entry `index` of the table as a pointer to `kind`, loaded once per function."""
        key = (index, str(kind))
        if key not in self.pointers:
            with self.b.goto_entry_block():
                raw = self.b.load(self.b.gep(self.table, [I64(index)]))
                self.pointers[key] = self.b.bitcast(raw, kind.as_pointer())
        return self.pointers[key]

    def own(self, index: int, size: int, kind: ir.Type) -> ir.Value:
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
        if node.primitive.name == "constant":
            return self._constant_array(node)
        slots, kind = self.context.slots, memory_type(node.spec.dtype.name)
        if node in slots.buffers:
            return self.pointer(slots.buffers[node], kind)
        if node in self.context.plan.in_place:
            name = self.context.plan.in_place[node][0]
        else:
            name = self.context.leaf_names[node]
        return self.pointer(slots.arrays[name], kind)

    def workspace(self, kind: ir.Type) -> ir.Value:
        """Return this thread's workspace; its size is set after all kernels are emitted."""
        size = self.context.module.globals.get("workspace_bytes")
        if size is None:
            size = ir.GlobalVariable(self.context.module, I64, "workspace_bytes")
            size.linkage, size.global_constant = "internal", True
        base = self.pointer(self.context.slots.workspace_index, I8)
        part = self.b.gep(base, [self.b.mul(self.thread, self.b.load(size))])
        return self.b.bitcast(part, kind.as_pointer())

    def split(self) -> tuple[ir.Value, ir.Value]:
        """Return the start and the end of this thread's part of the kernel's work."""
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
        first = least(b, b.mul(self.thread, share), total)
        return first, least(b, b.add(first, share), total)

    # --- values -----------------------------------------------------------------------------

    def is_ready(self, node: Node) -> bool:
        """Return whether `node` is loaded rather than computed here."""
        if node in self.members:
            return (node.primitive.leaf and node is self.kernel.anchor) or is_move(node)
        return node.primitive.leaf or node in self.context.kernels.home or is_move(node)

    def is_uniform(self, node: Node) -> bool:
        """Return whether `node` is a scalar that depends only on leaves; see the prologue."""
        if view_of(node.spec.shape) != (1, 1) or node in self.context.kernels.home:
            return False
        if node.primitive.name == "constant" or self.kernel.kind == "prologue":
            return False
        kernels = self.context.kernels
        return not any(s in kernels.home for s in kernels.sources(node))

    def needed(self, roots: Sequence[Node], find: Callable[[Node], Value | None]) -> list[Node]:
        """Return the nodes that must be computed for `roots`, oldest first."""
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
        """Emit code that computes `node` at `site`, where its inputs are known."""
        name = node.primitive.name
        if name == "constant":
            return self._constant(node, site)
        if self.is_uniform(node):
            return self._uniform(node)
        if node.primitive.leaf or (node in self.context.kernels.home and node not in self.members):
            return self.load(node, site)
        if is_move(node):
            return self._moved(node, site)
        if node.primitive.alias:
            value = site.find(node.inputs[0])
            assert value is not None
            return value
        if name == "arange":
            return self._arange(node, site)
        if name == "count":
            return self._count(node)
        if name == "uniform":
            return self._random(node, site)
        values = [site.find(i) for i in node.inputs]
        result = node.primitive.scalar(self.rules, *values, **node.params)  # type: ignore[misc]
        return self.rules.convert(result, node.spec.dtype.name)

    def _constant(self, node: Node, site: Site) -> Value:
        array = node.params["value"]
        if array.size == 1:
            return Value(array.reshape(()).item(), node.spec.dtype.name)
        return self.load_at(node, self._constant_array(node), site)

    def _constant_array(self, node: Node) -> ir.Value:
        """Return a pointer to the elements of a constant, stored as a global of the module."""
        array = node.params["value"]
        kind = memory_type(node.spec.dtype.name)
        name = f"constant_{node.serial}"
        data = self.context.module.globals.get(name)
        if data is None:
            data = ir.GlobalVariable(self.context.module, ir.ArrayType(kind, array.size), name)
            data.global_constant, data.linkage = True, "internal"
            data.initializer = ir.Constant(
                data.value_type, [kind(x) for x in array.ravel().tolist()]
            )
        return self.b.bitcast(data, kind.as_pointer())

    def _moved(self, node: Node, site: Site) -> Value:
        """Load the elements of `node` from the input that it moves."""
        mover = Mover(self.b, self._memory, self._checked, site.lanes, site.count, site.group)
        return self.from_memory(mover.load(node, site.row, site.column), node.spec.dtype.name)

    def _memory(self, node: Node) -> Memory:
        """Return the memory from which a move reads `node`."""
        source = unmoved(node)
        if self._gathered(source):
            at = self.context.slots.arrays[self.context.leaf_names[source]]
            return Memory(self.pointer(at, memory_type(source.spec.dtype.name)), self.order)
        return Memory(self.array(source))

    def _checked(self, node: Node, ids: ir.Value) -> ir.Value:
        """Return non-negative row indices; record an index that is out of range as a fault.

        An index that is out of range is replaced by 0, so that every access is in bounds.
        """
        rows = node.inputs[0].spec.shape[0] if "rows" not in node.params else node.params["rows"]
        lanes = ids.type.count if isinstance(ids.type, ir.VectorType) else 0
        dtype = node.inputs[1].spec.dtype.name
        number = self.rules.convert(Value(ids, dtype), "int64")
        end = Value(self.rows if isinstance(rows, Dim) else rows, "int64")
        behind = self.rules.less(number, Value(0, "int64"))
        number = self.rules.select(behind, self.rules.add(number, end), number)
        inside = self.b.icmp_unsigned("<", number.value, self.rules.register(end, "int64", lanes))
        raw = self.rules.convert(Value(ids, dtype), "int64").value
        for lane in range(lanes or 1):
            fine = self.b.extract_element(inside, I32(lane)) if lanes else inside
            with self.b.if_then(self.b.not_(fine), likely=False):
                one = self.b.extract_element(raw, I32(lane)) if lanes else raw
                at = 3 * self.context.slots.checked.index(node)
                faults = self.pointer(self.context.slots.faults_index, I64)
                length = self.rules.register(end, "int64", 0)
                for i, fact in enumerate((I64(1), one, length)):
                    self.b.store(fact, self.b.gep(faults, [I64(at + i)]))
        zero = self.rules.register(Value(0, "int64"), "int64", lanes)
        return self.b.select(inside, number.value, zero)

    def _uniform(self, node: Node) -> Value:
        """Load a scalar that the prologue computed for this thread."""
        slots = self.context.slots
        if node not in slots.scalars:
            if len(slots.scalars) == SCALARS_A_THREAD:
                raise Unsupported(node, f"is one of more than {SCALARS_A_THREAD} scalars")
            slots.scalars.append(node)
        dtype = node.spec.dtype.name
        base = self.own(slots.scalars_index, SCALARS_A_THREAD * SCALAR_BYTES, I64)
        place = self.b.gep(base, [I64(slots.scalars.index(node))])
        raw = self.b.load(self.b.bitcast(place, memory_type(dtype).as_pointer()))
        return self.from_memory(raw, dtype)

    def from_memory(self, raw: ir.Value, dtype: str) -> Value:
        if dtype == "bool":
            vector = isinstance(raw.type, ir.VectorType)
            kind = ir.VectorType(ir.IntType(1), raw.type.count) if vector else ir.IntType(1)
            return Value(self.b.trunc(raw, kind), dtype)
        return Value(raw, dtype)

    def to_memory(self, value: ir.Value, dtype: str) -> ir.Value:
        if dtype != "bool":
            return value
        vector = isinstance(value.type, ir.VectorType)
        return self.b.zext(value, ir.VectorType(I8, value.type.count) if vector else I8)

    def _arange(self, node: Node, site: Site) -> Value:
        dtype = node.spec.dtype.name
        kind = element_type(dtype)
        if isinstance(node.params["length"], Dim):
            return self.rules.convert(Value(site.row if site.row else I64(0), "int64"), dtype)
        if site.lanes == 0 or site.column is None:
            start = Value(site.column if site.column is not None else I64(0), "int64")
            return self.rules.convert(start, dtype)
        steps = ir.Constant(ir.VectorType(kind, site.lanes), [kind(i) for i in range(site.lanes)])
        first = self.rules.convert(Value(site.column, "int64"), dtype)
        return self.rules.add(
            Value(splat(self.b, first.value, site.lanes), dtype), Value(steps, dtype)
        )

    def _random(self, node: Node, site: Site) -> Value:
        """Draw the random numbers at `site`, which depend on the index of each element."""
        dtype, columns = node.spec.dtype.name, (view_of(node.spec.shape) or (1, 1))[1]
        seed = site.find(node.inputs[0])
        assert seed is not None
        lanes = max(1, site.lanes)
        first = site.column if site.column is not None and columns > 1 else I64(0)
        if site.row is not None:
            first = self.b.add(first, self.b.mul(site.row, I64(columns)))
        steps = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
        place = self.b.add(splat(self.b, first, lanes), steps)
        drawn = emit_uniform(
            self.b,
            self.rules.register(seed, "int64", 0),
            place,
            node.params["stream"],
            element_type(dtype),
        )
        return Value(drawn if site.lanes else self.b.extract_element(drawn, I64(0)), dtype)

    def _count(self, node: Node) -> Value:
        known = math.prod(d for d in node.params["lengths"] if not isinstance(d, Dim))
        total: ir.Value = I64(known)
        for length in node.params["lengths"]:
            if isinstance(length, Dim):
                total = self.b.mul(total, self.rows)
        return self.rules.convert(Value(total, "int64"), node.spec.dtype.name)

    # --- memory -----------------------------------------------------------------------------

    def load(self, node: Node, site: Site) -> Value:
        """Load the element or elements of a leaf or stored node at `site`."""
        return self.load_at(node, self.array(node), site)

    def _gathered(self, node: Node) -> bool:
        """Return whether rows of `node` are gathered from the data in the batch's order."""
        return self.context.leaf_names.get(node) in self.context.data and (
            node in self.members or node not in self.context.kernels.home
        )

    def load_at(self, node: Node, array: ir.Value, site: Site) -> Value:
        if self._gathered(node):
            name = self.context.leaf_names[node]
            array = self.pointer(self.context.slots.arrays[name], memory_type(node.spec.dtype.name))
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
            return self.from_memory(self.b.load(self.b.gep(array, [offset])), dtype)
        place = self.b.gep(array, [self.b.add(offset, site.column)])
        return self.from_memory(load_repeating(self.b, place, site.lanes, site.count), dtype)

    def store(self, node: Node, value: Value, site: Site) -> None:
        """Store `node` in its buffer, or in each state array that it updates."""
        dtype = node.spec.dtype.name
        kind = memory_type(dtype)
        slots, plan = self.context.slots, self.context.plan
        arrays = [
            self.pointer(slots.arrays[name], kind) for name in plan.in_place.get(node, ())
        ] or [self.pointer(slots.buffers[node], kind)]
        view = view_of(node.spec.shape)
        assert view is not None
        rows, columns = view
        lanes = site.lanes if columns != 1 else 0
        raw = self.to_memory(self.rules.register(value, dtype, lanes), dtype)
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
            store_vector(self.b, place, raw, site.count)

    def store_all(self, site: Site) -> None:
        """Compute all stored nodes, then store them: one may overwrite another's input."""
        anchor = self.kernel.anchor
        if self.kernel.kind == "scatter" and anchor is not None:  # complete in memory by now
            site.known[anchor] = self.load(anchor, site)
        values = [site.value(node) for node in self.kernel.stores]
        for node, value in zip(self.kernel.stores, values, strict=True):
            self.store(node, value, site)
