"""Emit the loops of each kind of kernel.

Read next: :mod:`chainrule.run.llvm.emit`, which combines kernels into a module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial, reduce

import numpy as np
from llvmlite import ir

from chainrule.core.graph import Node
from chainrule.core.spec import Dim
from chainrule.run.llvm.body import Site
from chainrule.run.llvm.instructions import I32, I64, least, loop
from chainrule.run.llvm.move_code import Group
from chainrule.run.llvm.product_code import ProductCode
from chainrule.run.llvm.scatter_code import ScatterCode
from chainrule.run.llvm.sparse_code import SparseCode
from chainrule.run.llvm.vector import Value, element_type
from chainrule.run.plan.fuse import ROW_UNROLL, passes
from chainrule.run.plan.levels import split_of
from chainrule.run.plan.view import view_of

__all__ = ["KernelCode"]

GROUP = 4  # vectors of accumulators in a reduction over rows


class KernelCode(ProductCode, SparseCode, ScatterCode):
    """The code of one kernel."""

    def emit(self) -> None:
        """Emit the kernel."""
        self._emit_numbers()
        getattr(self, f"_emit_{self.kernel.kind}")()
        self.b.ret_void()

    def _emit_numbers(self) -> None:
        """Compute the scalars that the kernel's expressions use, before any loop."""
        roots = [i for n in self.kernel.nodes for i in n.inputs]
        later = set(self.members)  # nodes that depend on the kernel's own results
        for node in self.needed(roots, lambda n: None):
            ready = self.is_ready(node) or self.is_uniform(node)
            if node in later or (not ready and later & set(node.inputs)):
                later.add(node)
                continue
            single = view_of(node.spec.shape) == (1, 1)
            if single and (ready or all(view_of(i.spec.shape) == (1, 1) for i in node.inputs)):
                self.whole.value(node)

    @property
    def lanes(self) -> int:
        """The lanes of a register for the kernel's widest float, limited by the columns."""
        wide = any(n.spec.dtype == np.float64 for n in self._wide_nodes())
        width = self.context.target.width // (2 if wide else 1)
        return min(width, power_of_two(self.kernel.view[1]))

    def _wide_nodes(self) -> Iterator[Node]:
        nodes = set(self.kernel.nodes) | {i for n in self.kernel.nodes for i in n.inputs}
        return (n for n in nodes if (view_of(n.spec.shape) or (1, 1))[1] > 1)

    def _emit_each(self) -> None:
        first, end = self.split()
        _, columns = self.kernel.view
        if split_of(self.kernel)[0] == "columns":
            self._columns(first, end, I64(0), columns)
            return
        with loop(self.b, first, end) as row:
            self._columns(I64(0), I64(columns), row, columns)

    def _emit_scatter(self) -> None:
        anchor = self.kernel.anchor
        self._scatter()
        if self.kernel.stores != [anchor] or anchor in self.context.plan.in_place:
            self._emit_each()

    def _columns(self, first: ir.Value, end: ir.Value, row: ir.Value, columns: int) -> None:
        """Store the kernel's nodes for columns [first, end) of one row."""
        lanes = self.lanes
        whole = columns // lanes * lanes

        def at(column: ir.Value, count: int) -> None:
            site = Site(self, self.whole, row, column, lanes, count)
            self.store_all(site)

        if columns == 1:
            site = Site(self, self.whole, row)
            with self.b.if_then(self.b.icmp_signed("<", first, end)):
                self.store_all(site)
            return
        with loop(self.b, first, least(self.b, end, I64(whole)), lanes) as column:
            at(column, lanes)
        if columns > whole:
            # A thread without a part starts at the end and must not process the rest.
            last = self.b.icmp_signed(">", end, I64(whole))
            with self.b.if_then(self.b.and_(last, self.b.icmp_signed("<", first, end))):
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
            if node.primitive.combine is not None:  # over one column
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
        """Compute the row's scalars that this pass uses, before its columns."""
        for node in self._numbers_of_row(level, current):
            if site.find(node) is None:
                site.value(node)

    def _numbers_of_row(self, level: dict[Node, int], current: int) -> list[Node]:
        roots = [n for n in self.kernel.nodes if level[n] <= current]
        inputs = [i for n in roots for i in n.inputs]
        found = []
        for node in self.needed([*inputs, *roots], lambda n: None):
            view = view_of(node.spec.shape)
            if view is None or view[1] != 1 or node.primitive.combine is not None:
                continue
            if node in self.members and level[node] > current:
                continue
            narrow = all((view_of(i.spec.shape) or (0, 0))[1] == 1 for i in node.inputs)
            if narrow or self.is_ready(node):
                found.append(node)
        return found

    def _short_row(self, site: Site, columns: int) -> None:
        """Compute all passes of a row, keeping it in registers between passes."""
        lanes = self.lanes
        parts = [
            Site(self, site, site.row, I64(c), lanes, count) for c, count in self._chunks(columns)
        ]
        level = passes(self.kernel)
        for current in range(max(level.values(), default=0) + 1):
            self._settle(site, level, current)
            for node in self.kernel.nodes:
                if level[node] == current and node.primitive.combine is not None:
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
        """Return the vector to reduce, with the identity element in lanes past the last column."""
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
        assert node.primitive.identity is not None
        return self.rules.register(Value(node.primitive.identity(dtype), dtype), dtype, lanes)

    def _combine(self, node: Node, x: ir.Value, y: ir.Value) -> ir.Value:
        dtype = node.spec.dtype.name
        assert node.primitive.combine is not None
        joined: Value = node.primitive.combine(self.rules, Value(x, dtype), Value(y, dtype))
        return joined.value

    def _horizontal(self, node: Node, vector: ir.Value) -> ir.Value:
        """Reduce the lanes of one register by repeated halving."""
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
        """Loop over the columns once for each pass, loading what earlier passes stored."""
        lanes = self.lanes
        level = passes(self.kernel)
        for current in range(max(level.values(), default=0) + 1):
            self._settle(site, level, current)
            reductions = [
                n
                for n in self.kernel.nodes
                if level[n] == current and n.primitive.combine is not None
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

    @cached_property
    def _stored_before(self) -> set[Node]:
        """The nodes that earlier passes of this kernel stored."""
        return set()

    def _reload(self, node: Node, site: Site) -> Value:
        return self.load_at(node, self.array(node), site)

    def _accumulator(self, node: Node, lanes: int) -> ir.Value:
        kind = ir.VectorType(element_type(node.spec.dtype.name), lanes)
        with self.b.goto_entry_block():
            place = self.b.alloca(kind)
        self.b.store(self._identity(node, lanes), place)
        return place

    def _emit_sum_rows(self) -> None:
        """Reduce over rows, a few vectors of columns at a time, then compute their epilogue."""
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
                self.store_all(site)

        if lanes == 1:
            with loop(self.b, first, end) as column:
                group(column, [1])
            return
        # Parts of threads start at multiples of 16 columns; a group never spans two parts.
        if grain == lanes:
            self._part_group(group, first, end, columns, lanes)
            return
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
        """Reduce columns [start, end), a vector at a time; the last one may be partial."""
        whole = columns // lanes * lanes
        if whole:
            with loop(self.b, start, least(self.b, end, I64(whole)), lanes) as column:
                group(column, [lanes])
        if columns > whole:
            # A thread without a part starts at the end and must not process the rest.
            last = self.b.icmp_signed(">", end, I64(whole))
            with self.b.if_then(self.b.and_(last, self.b.icmp_signed("<", start, end))):
                group(I64(whole), [columns - whole])

    def _emit_inner(self) -> None:
        """Reduce each group of columns of each row, then compute the epilogue."""
        node = self.kernel.anchor
        assert node is not None
        source, b = node.inputs[0], self.b
        groups, length = (int(d) for d in source.spec.shape[1:] if isinstance(d, int))
        lanes = min(self.lanes, power_of_two(length))
        whole = length // lanes * lanes
        first, end = self.split()
        with loop(b, first, end) as row, loop(b, I64(0), I64(groups)) as number:
            place = self._accumulator(node, lanes)

            def at(column: ir.Value, count: int) -> None:
                start = b.add(b.mul(number, I64(length)), column)
                site = Site(self, self.whole, row, start, lanes, count)
                site.group = Group(number, column, length)
                value = self._masked(node, site.value(source), site)
                b.store(self._combine(node, b.load(place), value), place)

            with loop(b, I64(0), I64(whole), lanes) as column:
                at(column, lanes)
            if length > whole:
                at(I64(whole), length - whole)
            site = Site(self, self.whole, row, number)
            total = self._horizontal(node, b.load(place))
            site.known[node] = Value(total, node.spec.dtype.name)
            self.store_all(site)

    def _emit_total(self) -> None:
        """Compute all full reductions of the kernel in one pass, on the first thread."""
        rows, columns = self.kernel.view
        last = self.rows if isinstance(rows, Dim) else I64(rows)
        totals = [n for n in self.kernel.nodes if n.primitive.combine is not None]
        with self.b.if_then(self.b.icmp_unsigned("==", self.thread, I64(0))):
            lanes = self.lanes if columns > 1 else 1
            # Each addition waits for the one before it, so that long rows have several sums.
            several = GROUP if columns >= GROUP * lanes > GROUP else 1
            groups = [[self._accumulator(n, lanes) for n in totals] for _ in range(several)]
            whole = columns // lanes * lanes
            most = columns // (several * lanes) * several * lanes

            def at(row: ir.Value, column: ir.Value, count: int, group: int = 0) -> None:
                wide = Site(self, self.whole, row, column, lanes, count)
                site = wide if columns > 1 else Site(self, self.whole, row)
                for node, place in zip(totals, groups[group], strict=True):
                    value = site.value(node.inputs[0])
                    vector = (
                        self._masked(node, value, site)
                        if columns > 1
                        else self.rules.register(value, node.spec.dtype.name, 1)
                    )
                    self.b.store(self._combine(node, self.b.load(place), vector), place)

            with loop(self.b, I64(0), last) as row:
                if columns == 1:
                    at(row, I64(0), 1)
                else:
                    with loop(self.b, I64(0), I64(most), several * lanes) as column:
                        for group in range(several):
                            at(row, self.b.add(column, I64(group * lanes)), lanes, group)
                    with loop(self.b, I64(most), I64(whole), lanes) as column:
                        at(row, column, lanes)
                    if columns > whole:
                        at(row, I64(whole), columns - whole)
            for node, *places in zip(totals, *groups, strict=True):
                vectors = [self.b.load(place) for place in places]
                total = self._horizontal(node, reduce(partial(self._combine, node), vectors))
                self.whole.known[node] = Value(total, node.spec.dtype.name)
            self.store_all(self.whole)


def power_of_two(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()
