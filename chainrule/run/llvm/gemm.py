"""Emit matrix products C = op(A) op(B) as register-tiled loops with a fused epilogue.

Each is emitted from a `Gemm` (element type, sizes, transpositions) for a `Target` machine. The code
does not allocate memory; the caller provides a workspace.

A call to a BLAS library would prevent fusion. Here an `epilogue` processes each vector of C while
it is in the first-level cache: it adds a bias, applies an activation or a mask, or performs the
optimizer's update, so that a gradient need not be written to memory. The sizes are known when a
layer is compiled, so small products have no overhead for dispatch, checks and packing.

A tile of `rows` x `vectors` accumulators is kept in registers in the loop over k, with a fused
multiply-add for each broadcast element of A and vector of B. The outer loops are, from the inside
out: tiles down a block of rows (the panel of B stays in L1), panels across N (the block of A stays
in L2), blocks of K, blocks of M. Partial sums are kept in the workspace between blocks of K. Every
element of C is one chain of multiply-adds in the order of k, for every tile, block and thread, so
the result is bit-identical for any number of threads. A single column is an exception: its k is
summed in lanes, but in an order that depends on the depth only.

If a product often has a single row (`often_one`), up to two rows are computed in one pass over B in
memory order, without copying B; the sums are bit-identical.

No element outside the operands is read or written: the last columns use partial vectors, and tiles
that extend past the last row read that row again and do not store the result.

Read next: `gemm_tile.py` in this folder for the innermost loop, `vector_math.py` for the functions
that an epilogue may call, and `bench/gemm.py` for speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from llvmlite import ir

from chainrule.run.llvm.gemm_pack import copy_function, transpose_function
from chainrule.run.llvm.gemm_plan import Panels, Plan, Target
from chainrule.run.llvm.gemm_tile import (
    Epilogue,
    Tile,
    TileShape,
    dot_function,
    panels_function,
    row_function,
)
from chainrule.run.llvm.instructions import I64, least, load_vector, loop, prefetch

__all__ = ["Epilogue", "Gemm", "Target", "Tile"]

LINE = 64  # bytes of a cache line
ROWS_ALONE = 2  # up to this many rows, computing them one by one is as fast as a tile


@dataclass(frozen=True)
class Gemm(Plan):
    """A product that can be emitted; its fields are those of `Plan` (gemm_plan.py)."""

    def emit(
        self,
        builder: ir.IRBuilder,
        a: ir.Value,
        b: ir.Value,
        c: ir.Value,
        start: ir.Value,
        stop: ir.Value,
        workspace: ir.Value,
        *,
        k: ir.Value | None = None,
        epilogue: Epilogue | None = None,
        ahead: Sequence[ir.Value] = (),
        long: bool = False,
    ) -> None:
        """Emit rows [start, stop) of the product at the builder's position.

        `ahead` are arrays of the product's shape that the epilogue loads: their part of a tile
        is prefetched while the tile's sums are computed. A `long` epilogue is a loop over the
        vectors of a panel; one of a few instructions is emitted for each of them.

        a, b, c, workspace: pointers to elements; start, stop, k: i64. The epilogue is emitted
        once for each panel width, in a loop over the rows of a finished tile: unrolling it in
        registers was measured not to be faster and to take most of the compile time. Raises
        ValueError if `runtime_k` is set and k is None.
        """
        if self.runtime_k and k is None:
            raise ValueError("a product with runtime_k requires the argument k")
        depth = k if self.runtime_k and k is not None else I64(self.k)
        _Loops(self, builder, a, b, c, workspace, depth, epilogue, ahead, long).run(start, stop)


@dataclass
class _Block:
    """The loop variables of one block: rows [row, row_end), and `depth` values of k from `deep`."""

    row: ir.Value
    row_end: ir.Value
    deep: ir.Value
    depth: ir.Value
    first: ir.Value | None = None  # None: the only block of k
    last: ir.Value | None = None


class _Loops:
    """Emit the loop nest of one product."""

    def __init__(
        self,
        gemm: Plan,
        builder: ir.IRBuilder,
        a: ir.Value,
        b: ir.Value,
        c: ir.Value,
        workspace: ir.Value,
        k: ir.Value,
        epilogue: Epilogue | None,
        ahead: Sequence[ir.Value],
        long: bool,
    ) -> None:
        self.gemm, self.b, self.k, self.epilogue = gemm, builder, k, epilogue
        self.ahead, self.long = ahead, long
        self.a, self.matrix_b, self.c = a, b, c
        size_a, size_sums, _ = (part // gemm.size for part in gemm.workspace_parts)
        self.packed_a = workspace
        self.sums = builder.gep(workspace, [I64(size_a)])
        self.packed_b = builder.gep(workspace, [I64(size_a + size_sums)])
        self.machine_lanes = gemm.target.width * 4 // gemm.size

    def run(self, start: ir.Value, stop: ir.Value) -> None:
        b = self.b
        if not self.gemm.has_row:
            self._rows(start, stop)
            return
        most = 1 if self.gemm.prepacked else ROWS_ALONE
        few = b.icmp_signed("<=", b.sub(stop, start), I64(most))
        with b.if_else(few) as (then, otherwise):
            with then, loop(b, start, stop) as row:
                self._row(row)
            with otherwise:
                self._rows(start, stop)

    def _row(self, row: ir.Value) -> None:
        """Emit the product of one row: all its sums, then the epilogue."""
        b, g = self.b, self.gemm
        tail = g.n % g.lanes
        a = b.gep(self.a, [b.mul(row, I64(g.stride_a))])
        if g.prepacked:
            self._row_of_panels(a)
        else:
            function = row_function(b.module, g.element, g.lanes, tail)
            b.call(function, [a, self.matrix_b, self.sums, self.k, I64(g.n)])
        with loop(b, I64(0), I64(g.n - tail), g.lanes) as column:
            self._finish(Panels(0, 1, 1, g.lanes), row, column, b.gep(self.sums, [column]), I64(1))
        if tail:
            column = I64(g.n - tail)
            self._finish(Panels(0, 1, 1, tail), row, column, b.gep(self.sums, [column]), I64(1))

    def _row_of_panels(self, a: ir.Value) -> None:
        """Emit the sums of one row of A with an arranged B, a group of panels at a time."""
        b, g, column = self.b, self.gemm, 0
        for widths, groups in groupby(g.groups):
            function = panels_function(b.module, g.element, g.lanes, widths)
            step, count = sum(widths) * g.lanes, len(list(groups))
            with loop(b, I64(column), I64(column + count * step), step) as at:
                panels = b.gep(self.matrix_b, [b.mul(at, self.k)])
                b.call(function, [a, panels, b.gep(self.sums, [at]), self.k])
            column += count * step

    def _rows(self, start: ir.Value, stop: ir.Value) -> None:
        b, g = self.b, self.gemm
        with loop(b, start, stop, g.height) as row:
            row_end = least(b, b.add(row, I64(g.height)), stop)
            if not g.blocked:
                self._block(_Block(row, row_end, I64(0), self.k))
            else:
                with loop(b, I64(0), self.k, g.depth) as deep:
                    rest = b.sub(self.k, deep)
                    depth = least(b, rest, I64(g.depth))
                    first = b.icmp_signed("==", deep, I64(0))
                    last = b.icmp_signed("<=", rest, I64(g.depth))
                    self._block(_Block(row, row_end, deep, depth, first, last))

    def _block(self, block: _Block) -> None:
        b, g = self.b, self.gemm
        if g.packs_a:
            self._pack_a(block)
        for run in g.panels:
            width = run.vectors * g.lanes
            with loop(b, I64(run.start), I64(run.start + run.count * width), width) as column:
                if g.packs_b:
                    self._pack_b(block, run, column)
                self._tiles(block, run, column)

    # --- copies ---------------------------------------------------------------------------------

    def _pack_a(self, block: _Block) -> None:
        b, g = self.b, self.gemm
        rows, stride, out = b.sub(block.row_end, block.row), I64(g.stride_a), I64(g.packed_stride)
        if g.trans_a:
            source = b.gep(self.a, [b.add(b.mul(block.deep, stride), block.row)])
            function = transpose_function(b.module, g.element, self.machine_lanes)
            b.call(function, [source, stride, self.packed_a, out, block.depth, rows])
        else:
            source = b.gep(self.a, [b.add(b.mul(block.row, stride), block.deep)])
            function = copy_function(b.module, g.element, self.machine_lanes)
            b.call(function, [source, stride, self.packed_a, out, rows, block.depth])

    def _pack_b(self, block: _Block, run: Panels, column: ir.Value) -> None:
        b, g = self.b, self.gemm
        stride, width = I64(g.stride_b), run.vectors * g.lanes
        columns = I64(width - g.lanes + run.tail)
        if g.trans_b:
            source = b.gep(self.matrix_b, [b.add(b.mul(column, stride), block.deep)])
            square = self.machine_lanes if g.runtime_k or g.k >= self.machine_lanes else 1
            function = transpose_function(b.module, g.element, square)
            b.call(function, [source, stride, self.packed_b, I64(width), columns, block.depth])
        else:
            source = b.gep(self.matrix_b, [b.add(b.mul(block.deep, stride), column)])
            function = copy_function(b.module, g.element, g.lanes, columns.constant)
            b.call(function, [source, stride, self.packed_b, I64(width), block.depth, columns])

    # --- tiles ----------------------------------------------------------------------------------

    def _tiles(self, block: _Block, run: Panels, column: ir.Value) -> None:
        """Emit the loop over the rows of a block, in large and small tiles."""
        b = self.b
        large, small, _ = self.gemm.tiles
        head, body, done = (b.append_basic_block(f"tiles.{x}") for x in ("head", "body", "done"))
        before = b.block
        b.branch(head)
        b.position_at_end(head)
        row = b.phi(I64)
        row.add_incoming(block.row, before)
        left = b.sub(block.row_end, row)
        b.cbranch(b.icmp_signed(">", left, I64(0)), body, done)
        b.position_at_end(body)
        kept = self._kept(block, run, row, column)
        self._fetch(large, run, row, column)
        step: ir.Value = I64(large)
        if large == small:
            self._call(large, block, run, row, column, left, kept)
        else:
            fits = self._large_fits(left)
            step = b.select(fits, step, I64(small))
            with b.if_else(fits) as (then, otherwise):
                with then:
                    self._call(large, block, run, row, column, left, kept)
                with otherwise:
                    self._call(small, block, run, row, column, left, kept)
        finished = least(b, step, left)
        if block.last is not None:
            finished = b.select(block.last, finished, I64(0))
        self._finish(run, row, column, kept, finished)
        row.add_incoming(b.add(row, step), b.block)
        b.branch(head)
        b.position_at_end(done)

    def _fetch(self, rows: int, run: Panels, row: ir.Value, column: ir.Value) -> None:
        """Prefetch what the epilogue loads for this tile, a cache line at a time."""
        b, g = self.b, self.gemm
        width = run.vectors * g.lanes
        for array in self.ahead:
            for i in range(rows):
                start = b.add(b.mul(b.add(row, I64(i)), I64(g.n)), column)
                for at in range(0, width, LINE // g.size):
                    prefetch(b, b.gep(array, [b.add(start, I64(at))]))

    def _large_fits(self, left: ir.Value) -> ir.Value:
        """Return whether to use the large tile: unless small ones waste fewer rows at the end."""
        b = self.b
        large, small, _ = self.gemm.tiles
        best, mask = [0.0], 0
        for rows in range(1, 2 * large + 1):
            with_large = large + best[max(rows - large, 0)]
            with_small = 1.1 * small + best[max(rows - small, 0)]
            best.append(min(with_large, with_small))
            mask |= (with_large <= with_small) << rows
        listed = b.and_(b.lshr(I64(mask), left), I64(1))
        many = b.icmp_signed(">", left, I64(2 * large))
        return b.or_(many, b.icmp_signed("!=", listed, I64(0)))

    def _kept(self, block: _Block, run: Panels, row: ir.Value, column: ir.Value) -> ir.Value:
        """Return where the tile's sums are kept for the next block of k or the epilogue."""
        b, g = self.b, self.gemm
        if not g.blocked:
            return self.sums
        inside = b.mul(b.sub(row, block.row), I64(run.vectors * g.lanes))
        rows = g.height + g.tiles[0]
        return b.gep(self.sums, [b.add(b.mul(column, I64(rows)), inside)])

    def _call(
        self,
        rows: int,
        block: _Block,
        run: Panels,
        row: ir.Value,
        column: ir.Value,
        left: ir.Value,
        kept: ir.Value,
    ) -> None:
        b, g = self.b, self.gemm
        stride = I64(g.stride_a)
        if g.packs_a:
            steps = I64(g.packed_stride), I64(1)
            a = b.gep(self.packed_a, [b.mul(b.sub(row, block.row), steps[0])])
        elif g.trans_a:
            steps = I64(1), stride
            a = b.gep(self.a, [b.add(b.mul(block.deep, stride), row)])
        else:
            steps = stride, I64(1)
            a = b.gep(self.a, [b.add(b.mul(row, stride), block.deep)])
        width = I64(run.vectors * g.lanes)
        if g.packs_b:
            b_step, panel = width, self.packed_b
        elif g.prepacked:
            before = b.add(b.mul(self.k, column), b.mul(block.deep, width))
            b_step, panel = width, b.gep(self.matrix_b, [before])
        else:
            b_step = I64(g.stride_b)
            panel = b.gep(self.matrix_b, [b.add(b.mul(block.deep, b_step), column)])
        deep = g.depth >= 64 and rows == g.tiles[0] and run.tail == g.lanes
        shape = TileShape(
            g.element, g.lanes, rows, run.vectors, run.tail,
            resume=g.blocked,
            # Specializing the code for these strides pays off only where most of the work is.
            a_step=1 if deep and steps[1] is not stride else None,
            b_step=width.constant if deep and b_step is width else None,
            deep=deep,
        )  # fmt: skip
        first = [block.first] if block.first is not None else []
        if g.is_dot:
            lanes = self.machine_lanes
            function = dot_function(b.module, g.element, lanes, rows, g.blocked)
        else:
            function = shape.function(b.module)
        b.call(function, [a, *steps, panel, b_step, kept, block.depth, left, *first])

    def _finish(
        self, run: Panels, row: ir.Value, column: ir.Value, kept: ir.Value, finished: ir.Value
    ) -> None:
        """Run the epilogue over the first rows of a tile and store what it returns."""
        b, g = self.b, self.gemm
        width = run.vectors * g.lanes
        whole = width if run.tail == g.lanes else width - g.lanes
        looped = whole if self.long and whole > g.lanes else 0
        with loop(b, I64(0), finished) as i:
            line = b.gep(kept, [b.mul(i, I64(width))])
            if looped:
                with loop(b, I64(0), I64(looped), g.lanes) as at:
                    self._finish_vector(b.add(row, i), b.add(column, at), b.gep(line, [at]))
            for v in range(looped, width, g.lanes):
                at = I64(v)
                count = run.tail if v + g.lanes == width else g.lanes
                self._finish_vector(b.add(row, i), b.add(column, at), b.gep(line, [at]), count)

    def _finish_vector(
        self, row: ir.Value, column: ir.Value, sums: ir.Value, count: int | None = None
    ) -> None:
        """Run the epilogue over one vector of `sums`, of which `count` lanes are valid."""
        b, g = self.b, self.gemm
        tile = Tile(b, row, column, g.element, g.lanes, g.lanes if count is None else count)
        vector = load_vector(b, sums, g.lanes, g.lanes)
        result = vector if self.epilogue is None else self.epilogue(tile, vector)
        if result is not None:
            tile.store(self.c, result, g.n)
