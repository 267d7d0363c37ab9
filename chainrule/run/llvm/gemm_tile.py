"""Emit the innermost loop of a matrix product, which keeps one tile of sums in registers.

The emitted function loops over k and stores the sums in memory. An epilogue then receives them a
vector at a time, each with its position as a `Tile`.

The functions take strides and depth as arguments, so all products of a module share them. This
matters because they take most of a module's compile time.

Read next: `chainrule/run/llvm/gemm.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

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

__all__ = ["Epilogue", "Tile", "TileShape", "dot_function", "panels_function", "row_function"]

_LINES = 4  # rows of B that one pass over the sums of a single row of A processes


@dataclass
class Tile:
    """The position of one vector of C, for an epilogue: row `row`, columns from `column`.

    `lanes` is the length of every vector. Only the first `count` lanes are inside the matrix;
    `load` fills the others with zero and `store` skips them.
    """

    builder: ir.IRBuilder
    row: ir.Value
    column: ir.Value
    element: ir.Type
    lanes: int
    count: int

    @property
    def type(self) -> ir.Type:
        """The vector type that an epilogue takes and returns."""
        return vector_type(self.element, self.lanes)

    def load(self, array: ir.Value, stride: int) -> ir.Value:
        """Load the vector at the same position of a row-major array of `stride` columns."""
        return load_vector(self.builder, self._place(array, stride), self.lanes, self.count)

    def load_row(self, array: ir.Value) -> ir.Value:
        """Load the vector at the same columns of a single row, such as a bias."""
        place = self.builder.gep(array, [self.column])
        return load_vector(self.builder, place, self.lanes, self.count)

    def load_column(self, array: ir.Value) -> ir.Value:
        """Load one element per row, such as a sample's weight, into every lane."""
        number = self.builder.load(self.builder.gep(array, [self.row]))
        return splat(self.builder, number, self.lanes)

    def store(self, array: ir.Value, value: ir.Value, stride: int) -> None:
        """Store a vector to the same position of a row-major array of `stride` columns."""
        store_vector(self.builder, self._place(array, stride), value, self.count)

    def constant(self, value: float) -> ir.Constant:
        """Return a vector with `value` in every lane."""
        return ir.Constant(self.type, [value] * self.lanes)

    def _place(self, array: ir.Value, stride: int) -> ir.Value:
        offset = self.builder.add(self.builder.mul(self.row, I64(stride)), self.column)
        return self.builder.gep(array, [offset])


Epilogue = Callable[[Tile, ir.Value], "ir.Value | None"]
"""A function of a tile and its sums; returns the vector to store in C, or None."""


@dataclass(frozen=True)
class TileShape:
    """The shape of a tile: rows by vectors of `lanes`; of the last, `tail` lanes are loaded.

    With `resume` the function has an argument that selects whether to start from zero or from the
    sums it stored before. `a_step` and `b_step` are constant k strides, or None; `deep` means that
    k is long.
    """

    element: ir.Type
    lanes: int
    rows: int
    vectors: int
    tail: int
    resume: bool
    a_step: int | None = None
    b_step: int | None = None
    deep: bool = False

    @property
    def unroll(self) -> int:
        """The steps of k per iteration; more need more code and, for unknown strides, registers."""
        if not self.deep:
            return 1
        unknown = (self.a_step is None) + (self.b_step is None)
        return 4 if not unknown else 2 if self.rows + unknown <= 7 else 1

    def function(self, module: ir.Module) -> ir.Function:
        """Return `void (A*, row stride, k stride, B*, k stride, sums*, depth, rows left[, first])`.

        It sums A[i, k] B[k, j] over k < depth, where depth >= 1. Rows past the last one read that
        row again; their sums are not used.
        """
        fields = (self.rows, self.vectors, self.lanes, self.tail, int(self.resume))
        steps = (self.a_step, self.b_step, self.unroll)
        name = ".".join(map(str, ("tile", self.element, *fields, *steps)))
        known = module.globals.get(name)
        if known is not None:
            return known
        pointer = self.element.as_pointer()
        types = [pointer, I64, I64, pointer, I64, pointer, I64, I64]
        types += [ir.IntType(1)] if self.resume else []
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
        function.linkage = "internal"
        self._emit(function)
        return function

    def _emit(self, function: ir.Function) -> None:
        a, row_step, a_step, b_base, b_step, kept, depth, left, *first = function.args
        b = ir.IRBuilder(function.append_basic_block("entry"))
        a_step = a_step if self.a_step is None else I64(self.a_step)
        b_step = b_step if self.b_step is None else I64(self.b_step)
        final = b.sub(left, I64(1))
        rows: list[ir.Value] = [I64(0)]
        for i in range(1, self.rows):
            rows.append(b.mul(least(b, I64(i), final), row_step))
        initial = self._initial(b, kept, first[0] if first else None)
        # The position in B counts the steps, as a counter would need another register.
        start, steps = [a, b_base, *initial], (rows, a_step, b_step)
        if self.unroll > 1:
            whole = b.sub(depth, b.urem(depth, I64(self.unroll)))
            end = b.gep(b_base, [b.mul(whole, b_step)])
            start = self._steps(b, self.unroll, end, start, steps)
        end = b.gep(b_base, [b.mul(depth, b_step)])
        _, _, *sums = self._steps(b, 1, end, start, steps)
        for i, value in enumerate(sums):
            store_vector(b, b.gep(kept, [I64(i * self.lanes)]), value, self.lanes)
        b.ret_void()

    def _steps(
        self,
        b: ir.IRBuilder,
        unroll: int,
        end: ir.Value,
        start: Sequence[ir.Value],
        steps: tuple[Sequence[ir.Value], ir.Value, ir.Value],
    ) -> list[ir.Value]:
        """Emit the loop up to `end` in B; return the pointers and the sums after it."""
        rows, a_step, b_step = steps
        before = b.block
        head, body, done = (b.append_basic_block(name) for name in ("k.head", "k", "k.done"))
        b.branch(head)
        b.position_at_end(head)
        phis = [b.phi(value.type) for value in start]
        at_a, at_b, *sums = phis
        b.cbranch(b.icmp_unsigned("!=", at_b, end), body, done)
        b.position_at_end(body)
        for _ in range(unroll):
            vectors = self._load_b(b, at_b)
            grown: list[ir.Value] = []
            for i, row in enumerate(rows):
                scalar = splat(b, b.load(b.gep(at_a, [row])), self.lanes)
                for v, vector in enumerate(vectors):
                    grown.append(multiply_add(b, scalar, vector, sums[i * self.vectors + v]))
            sums, at_a, at_b = grown, b.gep(at_a, [a_step]), b.gep(at_b, [b_step])
        following = [at_a, at_b, *sums]
        for phi, first, after in zip(phis, start, following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(after, b.block)
        b.branch(head)
        b.position_at_end(done)
        return phis

    def _initial(self, b: ir.IRBuilder, kept: ir.Value, first: ir.Value | None) -> list[ir.Value]:
        zero, count = ir.Constant(vector_type(self.element, self.lanes), None), self.lanes
        sums = range(self.rows * self.vectors)
        if first is None:
            return [zero for _ in sums]
        before = b.block
        with b.if_then(b.not_(first)):
            values = [load_vector(b, b.gep(kept, [I64(i * count)]), count, count) for i in sums]
            after = b.block
        phis = []
        for value in values:
            phi = b.phi(value.type)
            phi.add_incoming(zero, before)
            phi.add_incoming(value, after)
            phis.append(phi)
        return phis

    def _load_b(self, b: ir.IRBuilder, line: ir.Value) -> list[ir.Value]:
        counts = [self.lanes] * (self.vectors - 1) + [self.tail]
        return [
            load_vector(b, b.gep(line, [I64(v * self.lanes)]), self.lanes, count)
            for v, count in enumerate(counts)
        ]


def dot_function(
    module: ir.Module, element: ir.Type, lanes: int, rows: int, resume: bool
) -> ir.Function:
    """Return the function of a tile of one column, with arguments as in :meth:`TileShape.function`.

    It sums `lanes` neighbors in k in parallel and adds these sums at the end, in an order that
    depends on the depth only. Both k strides are assumed to be 1.
    """
    name = ".".join(map(str, ("dot", element, lanes, rows, int(resume))))
    known = module.globals.get(name)
    if known is not None:
        return known
    pointer = element.as_pointer()
    types = [pointer, I64, I64, pointer, I64, pointer, I64, I64]
    types += [ir.IntType(1)] if resume else []
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
    function.linkage = "internal"
    a, row_step, _, column, _, kept, depth, left, *first = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    final, zero = b.sub(left, I64(1)), ir.Constant(element, 0.0)
    lines = [b.gep(a, [b.mul(least(b, I64(i), final), row_step)]) for i in range(rows)]
    whole = b.sub(depth, b.urem(depth, I64(lanes)))
    before = b.block
    with loop(b, I64(0), whole, lanes) as k:
        with b.goto_block(k.parent):
            b.position_at_start(k.parent)
            sums = [b.phi(vector_type(element, lanes)) for _ in lines]
        other = load_vector(b, b.gep(column, [k]), lanes, lanes)
        for phi, line in zip(sums, lines, strict=True):
            vector = load_vector(b, b.gep(line, [k]), lanes, lanes)
            phi.add_incoming(ir.Constant(phi.type, None), before)
            phi.add_incoming(multiply_add(b, vector, other, phi), b.block)
    start = [_sum_lanes(b, value) for value in sums]
    before = b.block
    with loop(b, whole, depth) as k:
        with b.goto_block(k.parent):
            b.position_at_start(k.parent)
            totals = [b.phi(element) for _ in lines]
        other = b.load(b.gep(column, [k]))
        for phi, line, value in zip(totals, lines, start, strict=True):
            phi.add_incoming(value, before)
            product = b.fmul(b.load(b.gep(line, [k])), other)
            phi.add_incoming(b.fadd(phi, product), b.block)
    for i, total in enumerate(totals):
        place = b.gep(kept, [I64(i)])
        earlier = b.select(first[0], zero, b.load(place)) if first else zero
        b.store(b.fadd(earlier, total), place)
    b.ret_void()
    return function


def row_function(module: ir.Module, element: ir.Type, lanes: int, tail: int) -> ir.Function:
    """Return `void (A*, B*, sums*, depth, columns)`, which computes all sums of one row of A.

    A tile would read a panel of B with a stride; here B is read once in memory order, so the time
    is limited by memory bandwidth only. The sums stay in the cache, and each is one chain of
    multiply-adds in the order of k, so they are bit-identical to those of a tile. `tail` is the
    number of columns that do not fill a vector.
    """
    name = ".".join(map(str, ("row", element, lanes, tail)))
    known = module.globals.get(name)
    if known is not None:
        return known
    pointer = element.as_pointer()
    kinds = [pointer, pointer, pointer, I64, I64]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    a, matrix, sums, depth, columns = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    whole = b.sub(columns, I64(tail))
    zero = ir.Constant(vector_type(element, lanes), None)
    with loop(b, I64(0), columns, lanes) as j:
        store_vector(b, b.gep(sums, [j]), zero, lanes)

    def grow(k: ir.Value, count: int) -> None:
        scalars = [splat(b, b.load(b.gep(a, [b.add(k, I64(i))])), lanes) for i in range(count)]
        lines = [b.gep(matrix, [b.mul(b.add(k, I64(i)), columns)]) for i in range(count)]

        def vector(j: ir.Value, valid: int) -> None:
            place = b.gep(sums, [j])
            value = load_vector(b, place, lanes, lanes)
            for scalar, line in zip(scalars, lines, strict=True):
                value = multiply_add(
                    b, scalar, load_vector(b, b.gep(line, [j]), lanes, valid), value
                )
            store_vector(b, place, value, lanes)

        with loop(b, I64(0), whole, lanes) as j:
            vector(j, lanes)
        if tail:
            vector(whole, tail)

    most = b.sub(depth, b.urem(depth, I64(_LINES)))
    with loop(b, I64(0), most, _LINES) as k:
        grow(k, _LINES)
    with loop(b, most, depth) as k:
        grow(k, 1)
    b.ret_void()
    return function


def panels_function(
    module: ir.Module, element: ir.Type, lanes: int, widths: tuple[int, ...]
) -> ir.Function:
    """Return `void (A*, B*, sums*, depth)`: the sums of a row of A with adjacent panels of B.

    The panels, `widths` vectors wide, are arranged as gemm_prepack.py does it. They are read side
    by side, as the chain of multiply-adds of each sum leaves time for several.
    """
    name = ".".join(map(str, ("panels", element, lanes, *widths)))
    known = module.globals.get(name)
    if known is not None:
        return known
    pointer = element.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, pointer, I64])
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    a, panels, kept, depth = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    starts = [
        b.gep(panels, [b.mul(depth, I64(sum(widths[:i]) * lanes))]) for i in range(len(widths))
    ]
    before = b.block
    with loop(b, I64(0), depth) as k:
        with b.goto_block(k.parent):
            b.position_at_start(k.parent)
            sums = [b.phi(vector_type(element, lanes)) for _ in range(sum(widths))]
        scalar = splat(b, b.load(b.gep(a, [k])), lanes)
        places = [
            b.gep(start, [b.add(b.mul(k, I64(width * lanes)), I64(v * lanes))])
            for start, width in zip(starts, widths, strict=True)
            for v in range(width)
        ]
        for phi, place in zip(sums, places, strict=True):
            vector = load_vector(b, place, lanes, lanes)
            phi.add_incoming(ir.Constant(phi.type, None), before)
            phi.add_incoming(multiply_add(b, scalar, vector, phi), b.block)
    for i, value in enumerate(sums):
        store_vector(b, b.gep(kept, [I64(i * lanes)]), value, lanes)
    b.ret_void()
    return function


def _sum_lanes(b: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    """Add the lanes of one register by repeated halving."""
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        low, high = (
            b.shuffle_vector(vector, vector, indices(range(at, at + lanes))) for at in (0, lanes)
        )
        vector = b.fadd(low, high)
    return b.extract_element(vector, I32(0))
