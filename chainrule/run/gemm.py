"""Emit matrix products C = op(A) op(B) as register-tiled loops with the work after them fused in.

In: a `Gemm` (element type, sizes, which operands are stored transposed) and the `Target` machine.
Out: LLVM IR, either inline at a builder's position (`Gemm.emit`) or as an internal function
(`emit_gemm`); besides it the bytes of workspace the code needs, since it never allocates.

Why our own: a call to a library ends the fusion. Here an `epilogue` sees each vector of C while it
is still in registers or in the first-level cache, and adds a bias, applies an activation or a mask,
or takes the optimizer's step, so that a gradient need never reach memory. The sizes are known when
a layer is compiled, so small products pay for no dispatch, no checks and no packing.

How it runs. A tile of `rows` x `vectors` accumulators lives in registers while k goes by: one
broadcast of A and one vector of B per step and a fused multiply-add for each pair. Around it, from
the inside out: tiles down a block of rows (the panel of B stays in L1), panels across N (the block
of A stays in L2), blocks of K, blocks of M. Partial sums between blocks of K wait in the workspace.
Every element of C is one chain of multiply-adds in the order of k whatever the tile, the block or
the thread, so splitting the rows between threads changes no bit of the result.

No element outside the operands is read or written: the last columns use short vectors, and tiles
that hang over the last row read that row again and store nothing for it.

Read next: `chainrule/run/vector_math.py` for what an epilogue may call; `bench/gemm.py` for speed.

Source: Goto and van de Geijn, *Anatomy of High-Performance Matrix Multiplication* (2008).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from llvmlite import ir

__all__ = ["Epilogue", "Gemm", "Target", "Tile", "emit_gemm", "emit_pack_b"]

_I64 = ir.IntType(64)
_I32 = ir.IntType(32)
_A_PAD = 16  # elements between copied rows of A


@dataclass(frozen=True)
class Target:
    """Describe the machine: float32 lanes of a register, registers, bytes of L1 and L2."""

    width: int = 8
    registers: int = 16
    l1: int = 32 * 1024
    l2: int = 512 * 1024


@dataclass
class Tile:
    """Stand where an epilogue stands: at one vector of C, row `row`, columns from `column`.

    `lanes` is the length of every vector; only the first `count` lanes are inside the matrix, and
    `load` and `store` touch no others (loads fill them with zero).
    """

    builder: ir.IRBuilder
    row: ir.Value
    column: ir.Value
    element: ir.Type
    lanes: int
    count: int

    @property
    def type(self) -> ir.Type:
        """Give the vector type that an epilogue takes and returns."""
        return ir.VectorType(self.element, self.lanes)

    def load(self, array: ir.Value, stride: int) -> ir.Value:
        """Load the vector at the same position of a row-major array of `stride` columns."""
        return _load(self.builder, self._place(array, stride), self.element, self.lanes, self.count)

    def load_row(self, array: ir.Value) -> ir.Value:
        """Load the vector at the same columns of a single row, such as a bias."""
        place = self.builder.gep(array, [self.column])
        return _load(self.builder, place, self.element, self.lanes, self.count)

    def load_column(self, array: ir.Value) -> ir.Value:
        """Load one element per row, such as a sample's weight, into every lane."""
        return _splat(
            self.builder, self.builder.load(self.builder.gep(array, [self.row])), self.lanes
        )

    def store(self, array: ir.Value, value: ir.Value, stride: int) -> None:
        """Store a vector to the same position of a row-major array of `stride` columns."""
        _store(self.builder, self._place(array, stride), value, self.count)

    def constant(self, value: float) -> ir.Constant:
        """Give a vector with `value` in every lane."""
        return ir.Constant(self.type, [ir.Constant(self.element, value)] * self.lanes)

    def _place(self, array: ir.Value, stride: int) -> ir.Value:
        offset = self.builder.add(self.builder.mul(self.row, _I64(stride)), self.column)
        return self.builder.gep(array, [offset])


Epilogue = Callable[[Tile, ir.Value], "ir.Value | None"]
"""Take a tile and the finished sums; give what to store in C, or None to store nothing."""


@dataclass(frozen=True)
class _Panels:
    """Name a run of equal column panels: where it starts, how many, and each one's vectors."""

    start: int
    count: int
    vectors: int
    tail: int  # valid lanes of the last vector


@dataclass(frozen=True)
class Gemm:
    """Describe a product C[m, n] = op(A)[m, k] op(B)[k, n], row-major, for one machine.

    `m` None leaves the rows to run time; with `runtime_k` the depth is given at run time too and
    `k` is its maximum. `trans_a` says A is stored [k, m], `trans_b` that B is stored [n, k]. The
    strides default to dense. `accumulate` adds to C. `packed_b` says that B comes as `emit_pack_b`
    left it. `pack_a`, `pack_b`, `block_m`, `block_k` override what is chosen from the caches.
    """

    n: int
    k: int
    m: int | None = None
    dtype: str = "float32"
    trans_a: bool = False
    trans_b: bool = False
    lda: int | None = None
    ldb: int | None = None
    ldc: int | None = None
    runtime_k: bool = False
    accumulate: bool = False
    packed_b: bool = False
    target: Target = field(default_factory=Target)
    pack_a: bool | None = None
    pack_b: bool | None = None
    block_m: int | None = None
    block_k: int | None = None
    tile: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"a product needs float32 or float64, got {self.dtype!r}")
        if min(self.n, self.k, 1 if self.m is None else self.m) < 1:
            raise ValueError(
                f"a product needs positive sizes, got m={self.m} n={self.n} k={self.k}"
            )
        if self.trans_a and self.lda is None and self.m is None:
            raise ValueError("a transposed A of unknown row count needs its stride lda")

    # --- the plan: what is chosen from the sizes and the machine ---------------------------------

    @property
    def element(self) -> ir.Type:
        """Give the LLVM type of one element."""
        return ir.FloatType() if self.dtype == "float32" else ir.DoubleType()

    @property
    def size(self) -> int:
        """Give the bytes of one element."""
        return 4 if self.dtype == "float32" else 8

    @cached_property
    def lanes(self) -> int:
        """Give the lanes of a vector: the machine's, or fewer where n is smaller."""
        lanes = self.target.width * 4 // self.size
        while lanes > 1 and lanes // 2 >= self.n:
            lanes //= 2
        return lanes

    @property
    def stride_a(self) -> int:
        """Give the elements between two rows of A as stored."""
        return self.lda or (self.m or 0 if self.trans_a else self.k)

    @property
    def stride_b(self) -> int:
        """Give the elements between two rows of B as stored."""
        return self.ldb or (self.k if self.trans_b else self.n)

    @property
    def stride_c(self) -> int:
        """Give the elements between two rows of C."""
        return self.ldc or self.n

    @property
    def padded_n(self) -> int:
        """Give n rounded up to whole vectors."""
        return -(-self.n // self.lanes) * self.lanes

    @cached_property
    def tiles(self) -> tuple[int, int, int]:
        """Choose rows of the large and the small tile and the vectors of both.

        The cost of a step of k is its multiply-adds, its loads (two a cycle each) or the latency
        of a multiply-add (four cycles), whichever is most, and a little for each load besides.
        """
        vectors = self.padded_n // self.lanes
        if self.tile is not None:
            rows, wide = self.tile
        elif self.m == 1:
            rows, wide = 1, min(vectors, 8)
        else:
            rows, wide = min(
                self._shapes(), key=lambda shape: self._cost(shape[0], shape[1], vectors)
            )
        rows = min(rows, self.m or rows)
        small = {1: 1, 2: 1, 3: 2, 4: 2}.get(rows, 4)
        return rows, small, min(wide, vectors)

    def _shapes(self) -> Iterator[tuple[int, int]]:
        for wide in (2, 3, 1):
            room = (self.target.registers - wide - 1) // wide
            if room >= 3:
                yield min(room if room < 8 else room // 4 * 4, 12 if wide > 1 else 8), wide

    @staticmethod
    def _cost(rows: int, wide: int, vectors: int) -> float:
        def step(width: int) -> float:
            loads = rows + width
            return max(rows * width / 2, loads / 2, 4.0) + 0.15 * loads if width else 0.0

        return (vectors // wide * step(wide) + step(vectors % wide)) / rows

    @cached_property
    def panels(self) -> tuple[_Panels, ...]:
        """Cut n into equal panels and, where it does not divide, one narrower last panel."""
        wide = self.tiles[2]
        whole = self.n // (wide * self.lanes)
        rest = self.n - whole * wide * self.lanes
        runs = [_Panels(0, whole, wide, self.lanes)] if whole else []
        if rest:
            vectors = -(-rest // self.lanes)
            tail = rest - (vectors - 1) * self.lanes
            runs.append(_Panels(self.n - rest, 1, vectors, tail))
        return tuple(runs)

    @cached_property
    def depth(self) -> int:
        """Choose equal blocks of k, near which a panel of B fills three quarters of L1."""
        if self.block_k is not None:
            return min(self.block_k, self.k)
        room = max(self.target.l1 * 3 // 4 // (self.tiles[2] * self.lanes * self.size), 64)
        block = -(-self.k // max(round(self.k / room), 1))
        return block if block == self.k else -(-block // 4) * 4

    @property
    def unroll(self) -> int:
        """Say how many k the large tile takes a turn: more code, so only where it pays."""
        return 4 if self.depth >= 64 and self.n * self.k >= 4096 else 1

    @property
    def blocked(self) -> bool:
        """Say whether k is cut, so that partial sums have to wait in the workspace."""
        return self.depth < self.k

    @cached_property
    def height(self) -> int:
        """Choose the block of m near which a block of A fills L2: B is copied once for each."""
        rows = self.tiles[0]
        room = self.block_m or max(self.target.l2 // (self.depth * self.size), rows)
        return min(room // rows * rows or rows, -(-(self.m or room) // rows) * rows)

    @cached_property
    def packs_a(self) -> bool:
        """Say whether blocks of A are copied, against strides that share few sets of the cache."""
        if self.pack_a is not None:
            return self.pack_a
        uses, stride = sum(run.count for run in self.panels), self.stride_a * self.size
        if not self.trans_a:
            return uses >= 16 and stride >= 2048
        fits = self.depth * 64 <= self.target.l1 // 4 and stride % 1024 != 0
        return uses >= 4 and not fits

    @cached_property
    def packs_b(self) -> bool:
        """Say whether each panel of B is copied before use: if stored transposed or far strided."""
        if self.packed_b:
            return False
        if self.pack_b is not None:
            return self.pack_b or self.trans_b
        if self.trans_b:
            return True
        if len(self.panels) == 1 and self.panels[0].count == 1:
            return False
        large = self.k * self.n * self.size > self.target.l1 // 2
        enough = 32 if self.stride_b * self.size >= 1024 else 128
        return large and (self.m is None or self.m >= enough)

    @property
    def packed_b_size(self) -> int:
        """Give the bytes of B in panels."""
        return self.k * self.padded_n * self.size

    @property
    def workspace(self) -> int:
        """Give the bytes of workspace one thread needs; align it to 64."""
        return sum(self._workspace_parts())

    def _workspace_parts(self) -> tuple[int, int, int]:
        """Give the bytes of packed A, partial sums and packed B."""
        rows = self.height + self.tiles[0]
        a = rows * (self.depth + _A_PAD) * self.size if self.packs_a else 0
        partial = rows * self.padded_n * self.size if self.blocked else 0
        b = self.depth * self.tiles[2] * self.lanes * self.size if self.packs_b else 0
        return _align(a), _align(partial), _align(b)

    # --- the code --------------------------------------------------------------------------------

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
        unroll_epilogue: bool = False,
    ) -> None:
        """Emit rows [start, stop) of the product at the builder's position.

        a, b, c, workspace: pointers to elements; start, stop, k: i64. An epilogue is emitted once,
        in a loop over the rows of a finished tile; with `unroll_epilogue` also once per vector
        of a full tile, still in registers: quicker for a few operations, slower to compile.
        """
        _Emitter(self, builder, a, b, c, workspace, k, epilogue, unroll_epilogue).run(start, stop)


def emit_gemm(
    module: ir.Module,
    name: str,
    gemm: Gemm,
    *,
    epilogue: Callable[[Sequence[ir.Value]], Epilogue] | None = None,
    extra: Sequence[ir.Type] = (),
    unroll_epilogue: bool = False,
) -> ir.Function:
    """Emit `void name(A*, B*, C*, i64 start, i64 stop, i64 k, workspace*, extra...)`.

    `epilogue` is given the extra arguments and returns the `Epilogue` that uses them. `k` is read
    only by a `Gemm` with `runtime_k`.
    """
    pointer = gemm.element.as_pointer()
    types = [pointer, pointer, pointer, _I64, _I64, _I64, pointer, *extra]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    a, b, c, start, stop, k, workspace, *rest = function.args
    gemm.emit(
        builder, a, b, c, start, stop, workspace,
        k=k, epilogue=epilogue(rest) if epilogue else None, unroll_epilogue=unroll_epilogue,
    )  # fmt: skip
    builder.ret_void()
    return function


def emit_pack_b(module: ir.Module, name: str, gemm: Gemm) -> ir.Function:
    """Emit `void name(B*, packed*, i64 start, i64 stop, i64 k)`: copy B into panels.

    start, stop: columns of op(B), whole panels (`gemm.tiles[2] * gemm.lanes` columns each, the last
    one may be narrower), so that threads can share the work. The packed copy is for a `Gemm` that
    differs only in `packed_b=True`.
    """
    pointer = gemm.element.as_pointer()
    types = [pointer, pointer, _I64, _I64, _I64]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    b, packed, start, stop, k = function.args
    _Packer(gemm, builder, k if gemm.runtime_k else _I64(gemm.k)).pack_b(b, packed, start, stop)
    builder.ret_void()
    return function


# --- vectors ----------------------------------------------------------------------------------


def _align(size: int) -> int:
    return -(-size // 64) * 64


def _splat(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    vector = ir.VectorType(value.type, lanes)
    single = b.insert_element(ir.Constant(vector, ir.Undefined), value, _I32(0))
    return b.shuffle_vector(single, ir.Constant(vector, ir.Undefined), _indices([0] * lanes))


def _indices(lanes: Sequence[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(_I32, len(lanes)), [_I32(lane) for lane in lanes])


def _resize(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """Cut a vector to its first lanes, or lengthen it with zeros."""
    have = value.type.count
    if have == lanes:
        return value
    return b.shuffle_vector(
        value,
        ir.Constant(value.type, None),
        _indices([lane if lane < have else have for lane in range(lanes)]),
    )


def _load(b: ir.IRBuilder, place: ir.Value, element: ir.Type, lanes: int, count: int) -> ir.Value:
    size = 4 if isinstance(element, ir.FloatType) else 8
    short = b.bitcast(place, ir.VectorType(element, count).as_pointer())
    return _resize(b, b.load(short, align=size), lanes)


def _store(b: ir.IRBuilder, place: ir.Value, value: ir.Value, count: int) -> None:
    short = _resize(b, value, count)
    size = 4 if isinstance(value.type.element, ir.FloatType) else 8
    b.store(short, b.bitcast(place, short.type.as_pointer()), align=size)


def _madd(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    type_ = x.type
    bits = 32 if isinstance(type_.element, ir.FloatType) else 64
    name = f"llvm.fmuladd.v{type_.count}f{bits}"
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(type_, [type_] * 3), name)
    return b.call(function, [x, y, z])


@contextmanager
def _loop(b: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int) -> Iterator[ir.Value]:
    """Run the body for start, start + step, ... below stop; at least the test runs."""
    before = b.block
    head = b.append_basic_block("head")
    body = b.append_basic_block("body")
    done = b.append_basic_block("done")
    b.branch(head)
    b.position_at_end(head)
    index = b.phi(_I64)
    index.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", index, stop), body, done)
    b.position_at_end(body)
    yield index
    index.add_incoming(b.add(index, _I64(step)), b.block)
    b.branch(head)
    b.position_at_end(done)


def _least(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.select(b.icmp_signed("<", x, y), x, y)


# --- packing ----------------------------------------------------------------------------------


class _Packer:
    """Emit the copies of A and B that make strided operands contiguous."""

    def __init__(self, gemm: Gemm, builder: ir.IRBuilder, k: ir.Value) -> None:
        self.gemm, self.b, self.k = gemm, builder, k

    def pack_b(self, source: ir.Value, target: ir.Value, start: ir.Value, stop: ir.Value) -> None:
        """Copy columns [start, stop) of op(B) into panels [k][columns of the panel]."""
        b, g = self.b, self.gemm
        for run in g.panels:
            width = run.vectors * g.lanes
            end = run.start + run.count * width
            first = b.select(b.icmp_signed(">", start, _I64(run.start)), start, _I64(run.start))
            last = _least(b, stop, _I64(end))
            # Rows of B lie far apart: 64 at a time keep their pages in the TLB from panel to panel.
            with _loop(b, _I64(0), self.k, 64) as deep:
                until = _least(b, b.add(deep, _I64(64)), self.k)
                with _loop(b, first, last, width) as column:
                    at = b.add(b.mul(column, self.k), b.mul(deep, _I64(width)))
                    self.pack_panel(source, b.gep(target, [at]), run, column, deep, until)

    def pack_panel(
        self,
        source: ir.Value,
        panel: ir.Value,
        run: _Panels,
        column: ir.Value,
        deep: ir.Value,
        until: ir.Value,
    ) -> None:
        """Copy k from deep to until of one panel of op(B) to [k][columns of the panel]."""
        b, stride = self.b, _I64(self.gemm.stride_b)
        depth = b.sub(until, deep)
        if self.gemm.trans_b:
            corner = b.gep(source, [b.add(b.mul(column, stride), deep)])
            self._transpose_panel(corner, panel, run, depth)
        else:
            corner = b.gep(source, [b.add(b.mul(deep, stride), column)])
            self._copy_panel(corner, panel, run, depth)

    def _copy_panel(self, corner: ir.Value, panel: ir.Value, run: _Panels, depth: ir.Value) -> None:
        b, g = self.b, self.gemm
        with _loop(b, _I64(0), depth, 1) as k:
            row = b.gep(corner, [b.mul(k, _I64(g.stride_b))])
            out = b.gep(panel, [b.mul(k, _I64(run.vectors * g.lanes))])
            for v in range(run.vectors):
                count = run.tail if v == run.vectors - 1 else g.lanes
                at = _I64(v * g.lanes)
                vector = _load(b, b.gep(row, [at]), g.element, g.lanes, count)
                _store(b, b.gep(out, [at]), vector, g.lanes)

    def _transpose_panel(
        self, corner: ir.Value, panel: ir.Value, run: _Panels, depth: ir.Value
    ) -> None:
        b, g = self.b, self.gemm
        width = run.vectors * g.lanes
        if run.tail < g.lanes:
            self._transpose_vector(corner, panel, width, depth, run.vectors - 1, run.tail)
        full = run.vectors - (run.tail < g.lanes)
        with _loop(b, _I64(0), _I64(full), 1) as v:
            self._transpose_vector(corner, panel, width, depth, v, g.lanes)

    def _transpose_vector(
        self,
        corner: ir.Value,
        panel: ir.Value,
        width: int,
        depth: ir.Value,
        v: ir.Value | int,
        count: int,
    ) -> None:
        """Turn `count` rows of B into the v-th vector of each row of the panel."""
        b, g = self.b, self.gemm
        lanes, stride = g.lanes, g.stride_b
        place = _I64(v) if isinstance(v, int) else v
        source = b.gep(corner, [b.mul(place, _I64(lanes * stride))])
        out = b.gep(panel, [b.mul(place, _I64(lanes))])
        zero = ir.Constant(ir.VectorType(g.element, lanes), None)
        whole = b.sub(depth, b.srem(depth, _I64(lanes)))
        with _loop(b, _I64(0), whole, lanes) as k:
            at = b.gep(source, [k])
            rows = [b.gep(at, [_I64(lane * stride)]) for lane in range(count)]
            block = [_load(b, row, g.element, lanes, lanes) for row in rows]
            line = b.gep(out, [b.mul(k, _I64(width))])
            for step, vector in enumerate(_transpose(b, block + [zero] * (lanes - count))):
                _store(b, b.gep(line, [_I64(step * width)]), vector, lanes)
        with _loop(b, whole, depth, 1) as k:
            at, vector = b.gep(source, [k]), zero
            for lane in range(count):
                element = b.load(b.gep(at, [_I64(lane * stride)]))
                vector = b.insert_element(vector, element, _I32(lane))
            _store(b, b.gep(out, [b.mul(k, _I64(width))]), vector, lanes)

    def pack_a_row(self, row: ir.Value, out: ir.Value, rows: int, left: ir.Value | None) -> None:
        """Copy `rows` neighbors of one k of a transposed A; if `left` is fewer, only those."""
        b, g = self.b, self.gemm
        if left is None:
            _store(b, out, _load(b, row, g.element, rows, rows), rows)
            return
        with _loop(b, _I64(0), left, 1) as i:
            b.store(b.load(b.gep(row, [i])), b.gep(out, [i]))


def _transpose(b: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose a square block held as row vectors, exchanging ever smaller quadrants."""
    lanes = len(rows)
    step = lanes // 2
    while step:
        low = _indices([i if not i & step else lanes + i - step for i in range(lanes)])
        high = _indices([i + step if not i & step else lanes + i for i in range(lanes)])
        for i in range(lanes):
            if not i & step:
                x, y = rows[i], rows[i + step]
                rows[i] = b.shuffle_vector(x, y, low)
                rows[i + step] = b.shuffle_vector(x, y, high)
        step //= 2
    return rows


# --- the loops --------------------------------------------------------------------------------


@dataclass
class _Block:
    """Carry the loop variables of one block: rows [row, row_end), k from deep, `depth` of them."""

    row: ir.Value
    row_end: ir.Value
    deep: ir.Value
    depth: ir.Value
    first: ir.Value | None  # None: the only block of k
    last: ir.Value | None


class _Emitter:
    """Emit the loop nest of one product."""

    def __init__(
        self,
        gemm: Gemm,
        builder: ir.IRBuilder,
        a: ir.Value,
        b: ir.Value,
        c: ir.Value,
        workspace: ir.Value,
        k: ir.Value | None,
        epilogue: Epilogue | None,
        unroll_epilogue: bool,
    ) -> None:
        self.gemm, self.b = gemm, builder
        self.a, self.matrix_b, self.c = a, b, c
        if gemm.runtime_k and k is None:
            raise ValueError("a product with runtime_k needs k")
        self.k: ir.Value = k if gemm.runtime_k and k is not None else _I64(gemm.k)
        self.epilogue = epilogue
        quick = gemm.depth < 128 and epilogue is None
        self.direct = (quick or unroll_epilogue) and not gemm.blocked
        size_a, size_partial, _ = (part // gemm.size for part in gemm._workspace_parts())
        self.packed_a = workspace
        self.partial = builder.gep(workspace, [_I64(size_a)])
        self.packed_b = builder.gep(workspace, [_I64(size_a + size_partial)])
        self.vector = ir.VectorType(gemm.element, gemm.lanes)
        rows, _, wide = gemm.tiles
        with builder.goto_entry_block():
            self.scratch = builder.alloca(gemm.element, rows * wide * gemm.lanes)
            self.scratch.align = 64

    def run(self, start: ir.Value, stop: ir.Value) -> None:
        b, g = self.b, self.gemm
        with _loop(b, start, stop, g.height) as row:
            row_end = _least(b, b.add(row, _I64(g.height)), stop)
            if not g.blocked:
                self._block(_Block(row, row_end, _I64(0), self.k, None, None))
            else:
                with _loop(b, _I64(0), self.k, g.depth) as deep:
                    rest = b.sub(self.k, deep)
                    depth = _least(b, rest, _I64(g.depth))
                    first = b.icmp_signed("==", deep, _I64(0))
                    last = b.icmp_signed("<=", rest, _I64(g.depth))
                    self._block(_Block(row, row_end, deep, depth, first, last))

    def _block(self, block: _Block) -> None:
        b, g = self.b, self.gemm
        if g.packs_a:
            self._pack_a(block)
        for run in g.panels:
            width = run.vectors * g.lanes
            with _loop(b, _I64(run.start), _I64(run.start + run.count * width), width) as column:
                if g.packs_b:
                    _Packer(g, b, self.k).pack_panel(
                        self.matrix_b, self.packed_b, run, column,
                        block.deep, b.add(block.deep, block.depth),
                    )  # fmt: skip
                self._walk_tiles(block, _TileCode(self, block, run, column))

    def _walk_tiles(self, block: _Block, code: _TileCode | _PackCode) -> None:
        """Go down the rows of a block by large and small tiles, emitting `code` for each size."""
        b = self.b
        large, small, _ = self.gemm.tiles
        before, head, body, merge, done = (
            b.block,
            *(b.append_basic_block(f"tiles.{part}") for part in ("head", "body", "merge", "done")),
        )
        b.branch(head)
        b.position_at_end(head)
        row = b.phi(_I64)
        row.add_incoming(block.row, before)
        left = b.sub(block.row_end, row)
        b.cbranch(b.icmp_signed(">", left, _I64(0)), body, done)
        b.position_at_end(body)
        taken: list[tuple[int, ir.Value, ir.Block]] = []
        if large == small:
            taken.append((large, code.emit(large, row, left), b.block))
            b.branch(merge)
        else:
            sizes = {large: b.append_basic_block("large"), small: b.append_basic_block("small")}
            b.cbranch(self._large_fits(left), sizes[large], sizes[small])
            for rows, entry in sizes.items():
                b.position_at_end(entry)
                taken.append((rows, code.emit(rows, row, left), b.block))
                b.branch(merge)
        b.position_at_end(merge)
        step, pending = b.phi(_I64), b.phi(_I64)
        for rows, waiting, source in taken:
            step.add_incoming(_I64(rows), source)
            pending.add_incoming(waiting, source)
        code.emit_pending(row, pending)
        row.add_incoming(b.add(row, step), b.block)
        b.branch(head)
        b.position_at_end(done)

    def _large_fits(self, left: ir.Value) -> ir.Value:
        """Choose the large tile unless small ones waste fewer rows on those left."""
        b = self.b
        large, small, _ = self.gemm.tiles
        best, mask = [0.0], 0
        for rows in range(1, 2 * large + 1):
            allowed = rows >= large or self.may_overhang(large)
            with_large = large + best[max(rows - large, 0)] if allowed else float("inf")
            with_small = 1.1 * small + best[max(rows - small, 0)]
            best.append(min(with_large, with_small))
            mask |= (with_large <= with_small) << rows
        listed = b.and_(b.lshr(_I64(mask), left), _I64(1))
        many = b.icmp_signed(">", left, _I64(2 * large))
        return b.or_(many, b.icmp_signed("!=", listed, _I64(0)))

    def may_overhang(self, rows: int) -> bool:
        """Say whether a tile may hang over the last row: only while row pointers fit registers."""
        small = self.gemm.tiles[1]
        return rows > 1 and (rows == small or rows <= 6)

    def _pack_a(self, block: _Block) -> None:
        b, g = self.b, self.gemm
        if g.trans_a:
            with _loop(b, _I64(0), block.depth, 1) as k:
                self._walk_tiles(block, _PackCode(self, block, k))
            return
        with _loop(b, block.row, block.row_end, 1) as row:
            source = b.gep(self.a, [b.add(b.mul(row, _I64(g.stride_a)), block.deep)])
            out = b.gep(self.packed_a, [b.mul(b.sub(row, block.row), _I64(self.packed_stride))])
            whole = b.sub(block.depth, b.srem(block.depth, _I64(g.lanes)))
            with _loop(b, _I64(0), whole, g.lanes) as k:
                vector = _load(b, b.gep(source, [k]), g.element, g.lanes, g.lanes)
                _store(b, b.gep(out, [k]), vector, g.lanes)
            with _loop(b, whole, block.depth, 1) as k:
                b.store(b.load(b.gep(source, [k])), b.gep(out, [k]))

    @property
    def packed_stride(self) -> int:
        """Give the stride of copied rows of A: a line more than needed, off powers of two."""
        return self.gemm.depth + _A_PAD

    def finish(self, tile: Tile, sums: ir.Value) -> None:
        """Run the epilogue on finished sums and store what it returns."""
        if self.gemm.accumulate:
            sums = self.b.fadd(sums, tile.load(self.c, self.gemm.stride_c))
        result = sums if self.epilogue is None else self.epilogue(tile, sums)
        if result is not None:
            tile.store(self.c, result, self.gemm.stride_c)


@dataclass
class _PackCode:
    """Emit the copy of one k of a transposed A into its tiles [k][rows of the tile]."""

    emitter: _Emitter
    block: _Block
    k: ir.Value

    def emit(self, rows: int, row: ir.Value, left: ir.Value) -> ir.Value:
        """Copy the tile's elements; those past the last row stay what they were, unused."""
        e, b, g = self.emitter, self.emitter.b, self.emitter.gemm
        at = b.add(b.mul(b.add(self.block.deep, self.k), _I64(g.stride_a)), row)
        base = b.mul(b.sub(row, self.block.row), self.block.depth)
        out = b.gep(e.packed_a, [b.add(base, b.mul(self.k, _I64(rows)))])
        packer = _Packer(g, b, e.k)
        if not e.may_overhang(rows):
            packer.pack_a_row(b.gep(e.a, [at]), out, rows, None)
            return _I64(0)
        with b.if_else(b.icmp_signed(">=", left, _I64(rows))) as (whole, part):
            with whole:
                packer.pack_a_row(b.gep(e.a, [at]), out, rows, None)
            with part:
                packer.pack_a_row(b.gep(e.a, [at]), out, rows, left)
        return _I64(0)

    def emit_pending(self, row: ir.Value, pending: ir.Value) -> None:
        """Do nothing: a copy leaves no work."""


@dataclass
class _TileCode:
    """Emit one tile: start its sums, run over k, hand them to the epilogue."""

    emitter: _Emitter
    block: _Block
    run: _Panels
    column: ir.Value

    @property
    def width(self) -> int:
        return self.run.vectors * self.emitter.gemm.lanes

    def emit(self, rows: int, row: ir.Value, left: ir.Value) -> ir.Value:
        """Emit the tile; give how many of its rows wait in memory for the epilogue."""
        e, b = self.emitter, self.emitter.b
        sums = self._accumulate(rows, row, left, self._initial(rows, row))
        full = b.icmp_signed(">=", left, _I64(rows))
        if e.direct and e.may_overhang(rows):
            with b.if_else(full) as (whole, part):
                with whole:
                    self._finish_all(rows, row, sums)
                    from_whole = b.block
                with part:
                    self._keep(row, sums)
                    from_part = b.block
            pending = b.phi(_I64)
            pending.add_incoming(_I64(0), from_whole)
            pending.add_incoming(left, from_part)
            return pending
        if e.direct:
            self._finish_all(rows, row, sums)
            return _I64(0)
        self._keep(row, sums)
        finished = b.select(full, _I64(rows), left)
        return finished if self.block.last is None else b.select(self.block.last, finished, _I64(0))

    def emit_pending(self, row: ir.Value, pending: ir.Value) -> None:
        """Run the epilogue over the rows that wait in memory."""
        e, b = self.emitter, self.emitter.b
        kept = self._kept(row)
        with _loop(b, _I64(0), pending, 1) as i:
            for v in range(self.run.vectors):
                place = b.gep(kept, [b.add(b.mul(i, _I64(self.width)), self._lane(v))])
                sums = _load(b, place, e.gemm.element, e.gemm.lanes, e.gemm.lanes)
                e.finish(self._tile(b.add(row, i), v), sums)

    def _lane(self, v: int) -> ir.Constant:
        return _I64(v * self.emitter.gemm.lanes)

    def _count(self, v: int) -> int:
        return self.run.tail if v == self.run.vectors - 1 else self.emitter.gemm.lanes

    def _tile(self, row: ir.Value, v: int) -> Tile:
        g, b = self.emitter.gemm, self.emitter.b
        return Tile(b, row, b.add(self.column, self._lane(v)), g.element, g.lanes, self._count(v))

    def _kept(self, row: ir.Value) -> ir.Value:
        """Point at where the tile's sums wait: for the next block of k, or for the epilogue."""
        e, b = self.emitter, self.emitter.b
        if self.block.last is None:
            return e.scratch
        height = e.gemm.height + e.gemm.tiles[0]
        inside = b.mul(b.sub(row, self.block.row), _I64(self.width))
        return b.gep(e.partial, [b.add(b.mul(self.column, _I64(height)), inside)])

    def _keep(self, row: ir.Value, sums: list[ir.Value]) -> None:
        b, lanes, kept = self.emitter.b, self.emitter.gemm.lanes, self._kept(row)
        for i, value in enumerate(sums):
            _store(b, b.gep(kept, [_I64(i * lanes)]), value, lanes)

    def _initial(self, rows: int, row: ir.Value) -> list[ir.Value]:
        """Start from zero, or from the sums of the block of k before."""
        e, b, g = self.emitter, self.emitter.b, self.emitter.gemm
        zero = ir.Constant(e.vector, None)
        count = rows * self.run.vectors
        if self.block.first is None:
            return [zero] * count
        before = b.block
        with b.if_then(b.not_(self.block.first)):
            kept = self._kept(row)
            places = (b.gep(kept, [_I64(i * g.lanes)]) for i in range(count))
            values = [_load(b, place, g.element, g.lanes, g.lanes) for place in places]
            after = b.block
        phis = []
        for value in values:
            phi = b.phi(e.vector)
            phi.add_incoming(zero, before)
            phi.add_incoming(value, after)
            phis.append(phi)
        return phis

    def _accumulate(
        self, rows: int, row: ir.Value, left: ir.Value, initial: list[ir.Value]
    ) -> list[ir.Value]:
        """Run over the block's k with the sums in registers."""
        b, g = self.emitter.b, self.emitter.gemm
        places = self._a_places(rows, row, left), self._b_places()
        unroll = g.unroll if rows == g.tiles[0] else 1
        if unroll == 1:
            return self._steps(rows, places, _I64(0), self.block.depth, 1, initial)[1]
        even = not g.runtime_k and g.k % unroll == 0 and g.depth % unroll == 0
        stop = b.sub(self.block.depth, _I64(unroll - 1))
        k, sums = self._steps(rows, places, _I64(0), stop, unroll, initial)
        return sums if even else self._steps(rows, places, k, self.block.depth, 1, sums)[1]

    def _steps(
        self,
        rows: int,
        places: tuple[Callable[[int, ir.Value], ir.Value], Callable[[ir.Value], list[ir.Value]]],
        start: ir.Value,
        stop: ir.Value,
        unroll: int,
        initial: list[ir.Value],
    ) -> tuple[ir.Value, list[ir.Value]]:
        """Add k, k + 1, ... to the sums while k < stop; give the k reached and the sums."""
        e, b = self.emitter, self.emitter.b
        of_a, of_b = places
        before = b.block
        head, body, done = (b.append_basic_block(name) for name in ("k.head", "k", "k.done"))
        b.branch(head)
        b.position_at_end(head)
        k = b.phi(_I64)
        k.add_incoming(start, before)
        sums = [b.phi(e.vector) for _ in initial]
        for phi, value in zip(sums, initial, strict=True):
            phi.add_incoming(value, before)
        b.cbranch(b.icmp_signed("<", k, stop), body, done)
        b.position_at_end(body)
        grown: list[ir.Value] = list(sums)
        for step in range(unroll):
            at = b.add(k, _I64(step)) if step else k
            vectors = of_b(at)
            for i in range(rows):
                scalar = _splat(b, b.load(of_a(i, at)), e.gemm.lanes)
                for v, vector in enumerate(vectors):
                    slot = i * len(vectors) + v
                    grown[slot] = _madd(b, scalar, vector, grown[slot])
        k.add_incoming(b.add(k, _I64(unroll)), b.block)
        for phi, value in zip(sums, grown, strict=True):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(done)
        return k, list(sums)

    def _a_places(
        self, rows: int, row: ir.Value, left: ir.Value
    ) -> Callable[[int, ir.Value], ir.Value]:
        """Give the place of element (i, k) of the tile's part of A."""
        e, b, g, block = self.emitter, self.emitter.b, self.emitter.gemm, self.block
        inside = b.sub(row, block.row)
        if g.packs_a and g.trans_a:
            base = b.gep(e.packed_a, [b.mul(inside, block.depth)])
            return lambda i, k: b.gep(b.gep(base, [b.mul(k, _I64(rows))]), [_I64(i)])
        if g.packs_a:
            base = b.gep(e.packed_a, [b.mul(inside, _I64(e.packed_stride))])
            return lambda i, k: b.gep(b.gep(base, [k]), [_I64(i * e.packed_stride)])
        final = b.sub(left, _I64(1))
        overhangs = e.may_overhang(rows)
        steps = [_least(b, _I64(i), final) if i and overhangs else _I64(i) for i in range(rows)]
        stride = _I64(g.stride_a)
        if g.trans_a:
            base = b.gep(e.a, [b.add(b.mul(block.deep, stride), row)])
            return lambda i, k: b.gep(b.gep(base, [b.mul(k, stride)]), [steps[i]])
        base = b.gep(e.a, [b.add(b.mul(row, stride), block.deep)])
        if not overhangs:
            return lambda i, k: b.gep(b.gep(base, [k]), [_I64(i * g.stride_a)])
        starts = [b.gep(base, [b.mul(step, stride)]) for step in steps]
        return lambda i, k: b.gep(starts[i], [k])

    def _b_places(self) -> Callable[[ir.Value], list[ir.Value]]:
        """Give the loads of the panel's vectors of B at k."""
        e, b, g = self.emitter, self.emitter.b, self.emitter.gemm
        if g.packs_b or g.packed_b:
            step, counts = self.width, [g.lanes] * self.run.vectors
        else:
            step, counts = g.stride_b, [self._count(v) for v in range(self.run.vectors)]
        down = b.mul(self.block.deep, _I64(step))
        if g.packs_b:
            base = e.packed_b
        elif g.packed_b:
            base = b.gep(e.matrix_b, [b.add(b.mul(self.column, e.k), down)])
        else:
            base = b.gep(e.matrix_b, [b.add(down, self.column)])

        def loads(k: ir.Value) -> list[ir.Value]:
            line = b.gep(base, [b.mul(k, _I64(step))])
            return [
                _load(b, b.gep(line, [self._lane(v)]), g.element, g.lanes, count)
                for v, count in enumerate(counts)
            ]

        return loads

    def _finish_all(self, rows: int, row: ir.Value, sums: list[ir.Value]) -> None:
        b, vectors = self.emitter.b, self.run.vectors
        for i in range(rows):
            for v in range(vectors):
                self.emitter.finish(self._tile(b.add(row, _I64(i)), v), sums[i * vectors + v])
