"""Emit sparse products, ``sparse_matmul`` and ``edge_products``, vectorized over batch rows.

The edges are data, read from tables, so that the length of the code does not depend on their
number, and all wirings of the same sizes share it.

A block of rows is copied, transposed, to the thread's workspace, so that the values of one unit
are contiguous for all rows of the block.  A product then accumulates, for one unit at a time, a
weight times a few vectors of rows for each edge, and transposes the sums of a few units back to
rows for the epilogue.  The gradient of the weights multiplies the rows of both ends of an edge
and sums them across the lanes, for as many edges at once as a vector has lanes.  Sums over one
block of rows are kept in the workspace until the last block, which runs the epilogue.

Threads own rows in a product and edges in a gradient.  The order of every sum depends on the
sizes only, so any number of threads computes the same bits.

Read next: :mod:`chainrule.run.llvm.kernel_code`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from llvmlite import ir

from chainrule.core.graph import Node
from chainrule.core.spec import Dim
from chainrule.run.llvm.body import Body, Site
from chainrule.run.llvm.gemm_pack import transpose_function
from chainrule.run.llvm.gemm_plan import Target
from chainrule.run.llvm.instructions import (
    I32,
    I64,
    indices,
    least,
    load_vector,
    loop,
    multiply_add,
    splat,
    store_vector,
    vector_type,
)
from chainrule.run.llvm.vector import Value, element_type
from chainrule.run.plan.slots import wiring_tables
from chainrule.run.plan.view import unmoved

__all__ = ["SparseCode", "rows_of_block"]

SUMS = 8  # independent vectors of sums, enough to hide the latency of an addition
LINE = 64  # bytes of a cache line
LANE_BYTES = 16  # the part of a register within which lanes are exchanged fastest


def rows_of_block(width: int, size: int, lanes: int, rows: int, target: Target) -> int:
    """Return the rows of a block: as many as fill half of L2 with `width` numbers each.

    It is a whole number of vectors, at most `SUMS`, and not more than `rows` needs.
    """
    vectors = target.l2 // 2 // (width * size * lanes)
    return lanes * max(1, min(vectors, SUMS, -(-rows // lanes)))


class SparseCode(Body):
    """The code of a kernel that loops over edges."""

    def _emit_sparse(self) -> None:
        """Emit this thread's rows of a product, and their epilogue."""
        node = self.kernel.anchor
        assert node is not None
        x, weight = node.inputs
        b, depth = self.b, _width(x)
        _, columns = self.kernel.view
        lanes, element = self._register_of(node)
        block = rows_of_block(depth, _size(node), lanes, self._most_rows(x), self.context.target)
        starts, others, *numbers = (
            self.pointer(self.context.slots.tables[table], I64 if i == 0 else I32)
            for i, table in enumerate(wiring_tables(node))
        )
        edges = node.params["wiring"].edges
        sizes = [depth * block, lanes * block, lanes * block, edges if numbers else 0]
        turned = self._areas(element, sizes)
        unit = _unit_function(self, element, lanes, block // lanes)
        transpose = transpose_function(b.module, element, lanes)
        source, weights = self.array(unmoved(x)), self.array(unmoved(weight))
        first, end = self.split()
        if numbers:
            weights = self._in_order(numbers[0], weights, turned[3], edges)
        narrow = min(lanes, _power_of_two(columns))

        def units(row: ir.Value, rows: ir.Value, column: ir.Value, count: int) -> None:
            """Compute `count` units from `column` on for `rows` rows, and run the epilogue."""
            with loop(b, I64(0), I64(count)) as i:
                at = b.add(column, i)
                edges = [b.load(b.gep(starts, [b.add(at, I64(j))])) for j in (0, 1)]
                sums = b.gep(turned[1], [b.mul(i, I64(block))])
                b.call(unit, [turned[0], others, weights, *edges, sums])
            sizes = I64(block), turned[2], I64(lanes), I64(lanes), I64(block)
            b.call(transpose, [turned[1], *sizes])
            with loop(b, I64(0), rows) as i:
                line = b.gep(turned[2], [b.mul(i, I64(lanes))])
                site = Site(self, self.whole, b.add(row, i), column, narrow, count)
                site.known[node] = self._sums(node, line, narrow)
                self.store_all(site)

        whole = columns // narrow * narrow
        with loop(b, first, end, block) as row:
            rows = least(b, I64(block), b.sub(end, row))
            line = b.gep(source, [b.mul(row, I64(depth))])
            b.call(transpose, [line, I64(depth), turned[0], I64(block), rows, I64(depth)])
            with loop(b, I64(0), I64(whole), narrow) as column:
                units(row, rows, column, narrow)
            if columns > whole:
                units(row, rows, I64(whole), columns - whole)

    def _emit_edges(self) -> None:
        """Emit this thread's edges of the gradient of the weights, and their epilogue."""
        node = self.kernel.anchor
        assert node is not None
        x, y = node.inputs
        b, edges = self.b, self.kernel.view[1]
        lanes, element = self._register_of(node)
        most = self._most_rows(x)
        block = rows_of_block(_width(x), _size(node), lanes, most, self.context.target)
        several = most > block
        sizes = [_width(x) * block, _width(y) * block, lanes, edges if several else 0]
        turned_x, turned_y, found, kept = self._areas(element, sizes)
        sources, targets = (
            self.pointer(self.context.slots.tables[table], I32) for table in wiring_tables(node)
        )
        first, end = self.split()
        narrow = min(lanes, _power_of_two(edges))
        whole = edges // narrow * narrow
        total = self.rows if isinstance(x.spec.shape[0], Dim) else I64(x.spec.shape[0])

        def finish(edge: ir.Value, count: int, row: ir.Value) -> None:
            ends = [b.gep(table, [edge]) for table in (sources, targets)]
            given = [turned_x, turned_y, *ends, found]
            one, other = (b.load(b.gep(ends[1], [I64(i)])) for i in (0, count - 1))
            with b.if_else(b.icmp_signed("==", one, other)) as branches:
                for branch, shared in zip(branches, (True, False), strict=True):
                    with branch:
                        shape = (element, lanes, block // lanes, count, shared)
                        b.call(_edges_function(self, *shape), given)
            sums = load_vector(b, found, narrow, narrow)
            if not several:
                self._finish_edges(node, edge, narrow, count, sums)
                return
            place = b.gep(kept, [edge])
            with b.if_then(b.icmp_signed(">", row, I64(0))):
                before = load_vector(b, place, narrow, count)
                store_vector(b, found, b.fadd(before, sums), narrow)
            sums = load_vector(b, found, narrow, narrow)
            last = b.icmp_signed(">=", b.add(row, I64(block)), total)
            with b.if_else(last) as (then, otherwise):
                with then:
                    self._finish_edges(node, edge, narrow, count, sums)
                with otherwise:
                    store_vector(b, place, sums, count)

        with b.if_then(b.icmp_signed("<", first, end)), loop(b, I64(0), total, block) as row:
            rows = least(b, I64(block), b.sub(total, row))
            self._turn(x, turned_x, row, rows, block, I64(0), I64(_width(x)))
            # Edges are sorted by target: this range contains all targets of this thread's edges.
            low, high = (
                b.sext(b.load(b.gep(targets, [e])), I64) for e in (first, b.sub(end, I64(1)))
            )
            self._turn(y, turned_y, row, rows, block, low, b.add(high, I64(1)))
            with loop(b, first, least(b, end, I64(whole)), narrow) as edge:
                finish(edge, narrow, row)
            if edges > whole:
                with b.if_then(b.icmp_signed(">", end, I64(whole))):
                    finish(I64(whole), edges - whole, row)

    # --- shared parts ---------------------------------------------------------------------------

    def _areas(self, element: ir.Type, sizes: Sequence[int]) -> list[ir.Value]:
        """Return parts of this thread's workspace, with `sizes` elements each."""
        size = _bits(element) // 8
        ends = list(accumulate(-(-n * size // LINE) * LINE // size for n in sizes))
        slots = self.context.slots
        slots.workspace = max(slots.workspace, ends[-1] * size)
        whole = self.workspace(element)
        return [self.b.gep(whole, [I64(start)]) for start in (0, *ends[:-1])]

    def _finish_edges(
        self, node: Node, edge: ir.Value, lanes: int, count: int, sums: ir.Value
    ) -> None:
        site = Site(self, self.whole, I64(0), edge, lanes, count)
        site.known[node] = Value(sums, node.spec.dtype.name)
        self.store_all(site)

    def _sums(self, node: Node, place: ir.Value, lanes: int) -> Value:
        return Value(load_vector(self.b, place, lanes, lanes), node.spec.dtype.name)

    def _in_order(
        self, numbers: ir.Value, weights: ir.Value, place: ir.Value, edges: int
    ) -> ir.Value:
        """Copy the weights to `place` in the order of `numbers`, as every block reads them."""
        b = self.b
        with loop(b, I64(0), I64(edges)) as i:
            number = b.sext(b.load(b.gep(numbers, [i])), I64)
            b.store(b.load(b.gep(weights, [number])), b.gep(place, [i]))
        return place

    def _register_of(self, node: Node) -> tuple[int, ir.Type]:
        """Return the lanes of a register of the node's dtype, and the type of one lane."""
        return self.context.target.width * 4 // _size(node), element_type(node.spec.dtype.name)

    def _most_rows(self, x: Node) -> int:
        length = x.spec.shape[0]
        return self.context.capacity if isinstance(length, Dim) else length

    def _turn(
        self,
        x: Node,
        target: ir.Value,
        row: ir.Value,
        rows: ir.Value,
        block: int,
        low: ir.Value,
        high: ir.Value,
    ) -> None:
        """Copy columns [low, high) of `rows` rows, transposed, and pad the block with 0."""
        b, (lanes, element) = self.b, self._register_of(x)
        width, columns = I64(_width(x)), b.sub(high, low)
        source = b.gep(self.array(unmoved(x)), [b.add(b.mul(row, width), low)])
        target = b.gep(target, [b.mul(low, I64(block))])
        transpose = transpose_function(b.module, element, lanes)
        b.call(transpose, [source, width, target, I64(block), rows, columns])
        zero = ir.Constant(element, 0.0)
        with (
            b.if_then(b.icmp_signed("<", rows, I64(block))),
            loop(b, I64(0), columns) as column,
            loop(b, rows, I64(block)) as beyond,
        ):
            b.store(zero, b.gep(target, [b.add(b.mul(column, I64(block)), beyond)]))


def _width(x: Node) -> int:
    width = x.spec.shape[1]
    assert isinstance(width, int)
    return width


def _size(node: Node) -> int:
    return node.spec.dtype.itemsize


def _power_of_two(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def _function(
    body: Body, name: str, arguments: Sequence[ir.Type]
) -> tuple[ir.Function, ir.IRBuilder | None]:
    """Return the function `name`, and a builder in it if it is new and empty."""
    module = body.context.module
    known = module.globals.get(name)
    if known is not None:
        return known, None
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), list(arguments)), name)
    function.linkage = "internal"
    return function, ir.IRBuilder(function.append_basic_block("entry"))


def _unit_function(body: Body, element: ir.Type, lanes: int, vectors: int) -> ir.Function:
    """Return the function that writes one unit's sums, for `vectors` vectors of rows.

    The unit's edges are those from `first` to `end`.  They are summed in several independent
    chains, to hide the latency of an addition.
    """
    floats, ints = element.as_pointer(), I32.as_pointer()
    name = f"unit.{element}.{lanes}.{vectors}"
    function, b = _function(body, name, [floats, ints, floats, I64, I64, floats])
    if b is None:
        return function
    x, others, weights, first, end, out = function.args
    kind, chains = vector_type(element, lanes), max(1, SUMS // vectors)
    sums = [[b.alloca(kind) for _ in range(vectors)] for _ in range(chains)]
    for place in (p for chain in sums for p in chain):
        b.store(ir.Constant(kind, None), place)

    def add(edge: ir.Value, chain: list[ir.Value]) -> None:
        weight = splat(b, b.load(b.gep(weights, [edge])), lanes)
        other = b.sext(b.load(b.gep(others, [edge])), I64)
        rows = b.gep(x, [b.mul(other, I64(vectors * lanes))])
        for v, place in enumerate(chain):
            values = load_vector(b, b.gep(rows, [I64(v * lanes)]), lanes, lanes)
            b.store(multiply_add(b, values, weight, b.load(place)), place)

    many = b.sub(end, b.urem(b.sub(end, first), I64(chains)))
    with loop(b, first, many, chains) as edge:
        for i, chain in enumerate(sums):
            add(b.add(edge, I64(i)), chain)
    with loop(b, many, end) as edge:
        add(edge, sums[0])
    for v in range(vectors):
        total = _halved([b.load(chain[v]) for chain in sums], b.fadd)
        store_vector(b, b.gep(out, [I64(v * lanes)]), total, lanes)
    b.ret_void()
    return function


def _edges_function(
    body: Body, element: ir.Type, lanes: int, vectors: int, count: int, shared: bool
) -> ir.Function:
    """Return the function that writes the dot products of the two ends' rows of `count` edges.

    If `shared`, all edges have the same target, which is loaded once.
    """
    floats, ints = element.as_pointer(), I32.as_pointer()
    name = f"edges.{element}.{lanes}.{vectors}.{count}.{shared}"
    function, b = _function(body, name, [floats, floats, ints, ints, floats])
    if b is None:
        return function
    x, y, sources, targets, out = function.args
    kind = vector_type(element, lanes)
    sums = []

    def rows_of(array: ir.Value, table: ir.Value, edge: int) -> list[ir.Value]:
        unit = b.sext(b.load(b.gep(table, [I64(edge)])), I64)
        rows = b.gep(array, [b.mul(unit, I64(vectors * lanes))])
        places = (b.gep(rows, [I64(v * lanes)]) for v in range(vectors))
        return [load_vector(b, place, lanes, lanes) for place in places]

    common = rows_of(y, targets, 0) if shared else []
    for e in range(count):
        total: ir.Value = ir.Constant(kind, None)
        pairs = zip(rows_of(x, sources, e), common or rows_of(y, targets, e), strict=True)
        for left, right in pairs:
            total = multiply_add(b, left, right, total)
        sums.append(total)
    sums += [ir.Constant(kind, None)] * (lanes - count)
    store_vector(b, out, _across(b, sums, lanes, LANE_BYTES * 8 // _bits(element)), lanes)
    b.ret_void()
    return function


def _bits(element: ir.Type) -> int:
    return 32 if isinstance(element, ir.FloatType) else 64


def _halved(values: list[ir.Value], join: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    while len(values) > 1:
        half = len(values) // 2
        values = [
            *(join(x, y) for x, y in zip(values[:half], values[half:], strict=False)),
            *values[2 * half :],
        ]
    return values[0]


def _across(b: ir.IRBuilder, vectors: list[ir.Value], lanes: int, part: int) -> ir.Value:
    """Return a vector whose lane i is the sum of the lanes of vector i, for `lanes` vectors.

    Neighbors are added, two vectors into one, first within parts of `part` lanes, then
    whole parts, as processors have instructions for these shuffles.
    """
    part = min(part, lanes)
    done = 1  # the number of neighbors added so far
    while len(vectors) > 1:
        unit, size = (1, part) if done < part else (part, lanes)
        done *= 2
        even: list[int] = []
        odd: list[int] = []
        for start in range(0, lanes, size):
            for side in (0, lanes):
                for at in range(start + side, start + side + size, 2 * unit):
                    even += range(at, at + unit)
                    odd += range(at + unit, at + 2 * unit)
        vectors = [
            b.fadd(b.shuffle_vector(x, y, indices(even)), b.shuffle_vector(x, y, indices(odd)))
            for x, y in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    return vectors[0]
