"""Choose the tiles, panels and blocks of a matrix product, and which operands are copied.

A `Plan` contains only numbers and booleans, which `chainrule/run/llvm/gemm.py` turns into loops.

Read next: `chainrule/run/llvm/gemm.py`.

Source: Goto and van de Geijn, *Anatomy of High-Performance Matrix Multiplication* (2008).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from llvmlite import ir

__all__ = ["Panels", "Plan", "Target"]

_A_PAD = 16  # padding between copied rows of A, so that strides are not powers of two
ROW_SUMS = 12  # vectors of sums of a single row that are kept in registers
_USUAL_ROWS = 64  # the assumed number of rows if it is known only at run time


@dataclass(frozen=True)
class Target:
    """The machine: float32 lanes per register, number of registers, bytes of L1 and L2.

    `family` is "x86" or "arm", or "" for another, which gets no instructions of its own.
    """

    width: int = 8
    registers: int = 16
    l1: int = 32 * 1024
    l2: int = 512 * 1024
    family: str = "x86"


@dataclass(frozen=True)
class Panels:
    """A run of equal column panels: its first column, their count, and the vectors of each."""

    start: int
    count: int
    vectors: int
    tail: int  # valid lanes of the last vector


@dataclass(frozen=True)
class Plan:
    """A product C[m, n] = op(A)[m, k] op(B)[k, n], row-major and dense, planned for one machine.

    If `m` is None, the number of rows is given at run time. With `runtime_k` the depth is also
    given at run time, and `k` is its maximum. `often_one` means that the number of rows is often
    1, for which separate code is emitted. With `trans_a` A is stored as [k, m], with `trans_b` B
    as [n, k], and with `prepacked` B is arranged as `chainrule/run/llvm/gemm_prepack.py` does it.
    Raises ValueError for sizes that are not positive and types that are not floats.
    """

    n: int
    k: int
    m: int | None = None
    dtype: str = "float32"
    trans_a: bool = False
    trans_b: bool = False
    runtime_k: bool = False
    often_one: bool = False
    prepacked: bool = False
    target: Target = field(default_factory=Target)

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"the dtype must be float32 or float64, got {self.dtype!r}")
        if min(self.n, self.k, 1 if self.m is None else self.m) < 1:
            raise ValueError(
                f"a product needs positive sizes, got m={self.m} n={self.n} k={self.k}"
            )
        if self.trans_a and self.m is None:
            raise ValueError("trans_a requires the row count m, which is the stride of A")
        if self.prepacked and (self.trans_b or self.runtime_k):
            raise ValueError("a prepacked B is not transposed, and its depth is known")
        if self.trans_b and (self.n == 1 or self.k == 1):
            object.__setattr__(self, "trans_b", False)  # a vector has the same layout transposed

    @property
    def element(self) -> ir.Type:
        """The LLVM type of one element."""
        return ir.FloatType() if self.dtype == "float32" else ir.DoubleType()

    @property
    def size(self) -> int:
        """The bytes of one element."""
        return 4 if self.dtype == "float32" else 8

    @property
    def stride_a(self) -> int:
        """The elements between two rows of A as stored."""
        return self.m or 0 if self.trans_a else self.k

    @property
    def stride_b(self) -> int:
        """The elements between two rows of B as stored."""
        return self.k if self.trans_b else self.n

    @cached_property
    def lanes(self) -> int:
        """The lanes of a vector: the machine's, or fewer if n is smaller."""
        lanes = self.target.width * 4 // self.size
        while lanes > 1 and lanes // 2 >= self.n:
            lanes //= 2
        return lanes

    @property
    def is_dot(self) -> bool:
        """Whether elements are dot products of contiguous memory, so that k is vectorized."""
        return self.n == 1 and not self.trans_a and self.k >= self.target.width

    @property
    def has_row(self) -> bool:
        """Whether separate code computes a single row, in one pass over B."""
        plain = not (self.trans_a or self.trans_b or self.runtime_k or self.is_dot)
        return self.often_one and self.m is None and plain and self.n > self.panel_width

    @cached_property
    def tiles(self) -> tuple[int, int, int]:
        """The rows of the large and of the small tile, and the vectors of both.

        The cost of a step of k is the maximum of its multiply-adds and its loads (two per cycle
        each) and the latency of a multiply-add (four cycles), plus a small cost for each load.
        """
        vectors = -(-self.n // self.lanes)
        if self.m == 1:
            return 1, 1, min(vectors, 8)
        if self.is_dot:
            return min(4, self.m or 4), min(4, self.m or 4), 1
        rows, wide = min(self._shapes(), key=lambda shape: self._cost(shape[0], shape[1], vectors))
        rows = min(rows, self.m or rows)
        small = {1: 1, 2: 1, 3: 2, 4: 2}.get(rows, 4)
        return rows, small, min(wide, vectors)

    def _shapes(self) -> Iterator[tuple[int, int]]:
        # At most eight rows: each has a pointer, which also occupies a register. For ARM, LLVM
        # loads many elements of A ahead, so that with more than 6 x 3 sums some are spilled.
        most = 6 if self.target.family == "arm" else 8
        for wide in (2, 3, 1):
            room = (self.target.registers - wide - 1) // wide
            if room >= 3:
                yield min(room, most), wide

    @staticmethod
    def _cost(rows: int, wide: int, vectors: int) -> float:
        def step(width: int) -> float:
            loads = rows + width
            return max(rows * width / 2, loads / 2, 4.0) + 0.15 * loads if width else 0.0

        return (vectors // wide * step(wide) + step(vectors % wide)) / rows

    @cached_property
    def panels(self) -> tuple[Panels, ...]:
        """The panels of n: equal ones and, if n is not a multiple, a narrower last one."""
        wide = self.tiles[2]
        whole = self.n // (wide * self.lanes)
        rest = self.n - whole * wide * self.lanes
        runs = [Panels(0, whole, wide, self.lanes)] if whole else []
        if rest:
            vectors = -(-rest // self.lanes)
            tail = rest - (vectors - 1) * self.lanes
            runs.append(Panels(self.n - rest, 1, vectors, tail))
        return tuple(runs)

    @property
    def panel_width(self) -> int:
        """The columns of the widest panel, in whole vectors."""
        return self.tiles[2] * self.lanes

    @cached_property
    def depth(self) -> int:
        """The length of equal blocks of k, such that a panel of B fills about 3/4 of L1.

        An arranged panel is read in order, which is as fast from L2, and its blocks are longer;
        but those of a single column decide in which order lanes of k are summed.
        """
        share = self.target.l1 * 3 // (2 if self.prepacked and not self.is_dot else 4)
        room = max(share // (self.panel_width * self.size), 4)
        block = -(-self.k // max(round(self.k / room), 1))
        return block if block == self.k else min(-(-block // 4) * 4, self.k)

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The panels that a single row reads at once, for about twelve independent sums.

        Each group is given by the vectors of its panels.
        """
        widths = [run.vectors for run in self.panels for _ in range(run.count)]
        number = -(-len(widths) // max(1, ROW_SUMS // self.tiles[2]))
        ends = [len(widths) * i // number for i in range(number + 1)]
        return tuple(tuple(widths[a:b]) for a, b in pairwise(ends))

    @property
    def blocked(self) -> bool:
        """Whether k is divided into blocks, so that the workspace keeps partial sums."""
        return self.depth < self.k

    @cached_property
    def height(self) -> int:
        """The block of m such that a block of A about fills L2; B is copied once for each."""
        rows = self.tiles[0]
        room = max(self.target.l2 // (self.depth * self.size), rows)
        return min(room // rows * rows, -(-(self.m or room) // rows) * rows)

    @cached_property
    def packs_a(self) -> bool:
        """Whether blocks of A are copied, because its stride would map to few cache sets."""
        uses, stride = sum(run.count for run in self.panels), self.stride_a * self.size
        if not self.trans_a:
            return uses >= 16 and stride >= 2048
        fits = self.depth * 64 <= self.target.l1 // 4 and stride % 1024 != 0
        return uses >= 4 and not fits

    @cached_property
    def packs_b(self) -> bool:
        """Whether each panel of B is copied: if it is transposed or has a large stride."""
        if self.prepacked:
            return False
        if self.trans_b:
            return True
        if len(self.panels) == 1 and self.panels[0].count == 1:
            return False
        large = self.k * self.n * self.size > self.target.l1 // 2
        enough = 32 if self.stride_b * self.size >= 1024 else 128
        return large and (self.m or _USUAL_ROWS) >= enough

    @property
    def packed_stride(self) -> int:
        """The elements between copied rows of A."""
        return self.depth + _A_PAD

    @property
    def workspace(self) -> int:
        """The bytes of workspace of one thread, which must be aligned to 64."""
        return sum(self.workspace_parts)

    @cached_property
    def workspace_parts(self) -> tuple[int, int, int]:
        """The bytes of copied A, of partial sums, and of copied B, each a multiple of 64."""
        rows, wide = self.height + self.tiles[0], self.panel_width
        a = rows * self.packed_stride * self.size if self.packs_a else 0
        panels = sum(run.count for run in self.panels) if self.blocked else 1
        sums = (rows if self.blocked else self.tiles[0]) * panels * wide * self.size
        if self.has_row:
            sums = max(sums, -(-self.n // self.lanes) * self.lanes * self.size)
        b = self.depth * wide * self.size if self.packs_b else 0
        return _align(a), _align(sums), _align(b)


def _align(size: int) -> int:
    return -(-size // 64) * 64
