"""Hold emitted products to NumPy in float64, to their borders, and to the same bits when split."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir
from numpy.typing import NDArray

from chainrule.run.gemm import Epilogue, Gemm, Target, Tile, emit_gemm, emit_pack_b
from chainrule.run.vector_math import emit_tanh

Array = NDArray[Any]
TARGETS = [Target(4, 16), Target(8, 16), Target(16, 32)]


class Compiled:
    """Hold one product in machine code, callable on arrays."""

    def __init__(
        self,
        gemm: Gemm,
        epilogue: Callable[[Sequence[ir.Value]], Epilogue] | None = None,
        extra: int = 0,
        unroll_epilogue: bool = False,
    ) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.gemm = gemm
        module = ir.Module("gemm")
        pointers = [gemm.element.as_pointer()] * extra
        emit_gemm(
            module, "gemm", gemm, epilogue=epilogue, extra=pointers, unroll_epilogue=unroll_epilogue
        ).linkage = ""
        emit_pack_b(module, "pack", gemm).linkage = ""
        parsed = llvm.parse_assembly(str(module))
        parsed.verify()
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(),
            features=llvm.get_host_cpu_features().flatten(),
            opt=2,
            codemodel="default",
        )
        self.assembly = machine.emit_assembly(parsed)
        self.engine = llvm.create_mcjit_compiler(parsed, machine)
        self.engine.finalize_object()
        pointer, i64 = ctypes.c_void_p, ctypes.c_int64
        self._gemm = ctypes.CFUNCTYPE(None, *[pointer] * 3, *[i64] * 3, *[pointer] * (extra + 1))(
            self.engine.get_function_address("gemm")
        )
        self._pack = ctypes.CFUNCTYPE(None, pointer, pointer, i64, i64, i64)(
            self.engine.get_function_address("pack")
        )

    def __call__(
        self,
        a: Array,
        b: Array,
        c: Array,
        rows: tuple[int, int],
        k: int | None = None,
        extra: Sequence[Array] = (),
    ) -> None:
        workspace = np.full(self.gemm.workspace + 64, 0xFF, np.uint8)  # NaN, were it read
        start = workspace.ctypes.data + -workspace.ctypes.data % 64
        addresses = (array.ctypes.data for array in extra)
        depth = self.gemm.k if k is None else k
        self._gemm(a.ctypes.data, b.ctypes.data, c.ctypes.data, *rows, depth, start, *addresses)
        past = self.gemm.workspace + (start - workspace.ctypes.data)
        assert np.all(workspace[past:] == 0xFF), "wrote past the workspace"

    def pack(self, b: Array, cuts: Sequence[int]) -> Array:
        packed = np.full(self.gemm.packed_b_size // self.gemm.size, np.nan, self.gemm.dtype)
        for start, stop in pairwise(cuts):
            self._pack(b.ctypes.data, packed.ctypes.data, start, stop, self.gemm.k)
        return packed


def operands(gemm: Gemm, m: int, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Draw A, B, C as stored, and op(A) op(B) in float64."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(gemm.k, m) if gemm.trans_a else (m, gemm.k)).astype(gemm.dtype)
    b = rng.normal(size=(gemm.n, gemm.k) if gemm.trans_b else (gemm.k, gemm.n)).astype(gemm.dtype)
    c = rng.normal(size=(m, gemm.n)).astype(gemm.dtype)
    left, right = a.astype(np.float64), b.astype(np.float64)
    return a, b, c, (left.T if gemm.trans_a else left) @ (right.T if gemm.trans_b else right)


def assert_near(got: Array, want: Array, k: int) -> None:
    bound = 4 * np.finfo(got.dtype).eps * (k + 4) ** 0.5 * (1 + np.max(np.abs(want)))
    np.testing.assert_allclose(got, want, rtol=0, atol=bound)


sizes = st.integers(1, 70)
optional = st.sampled_from([None, True, False])


@st.composite
def products(draw: st.DrawFn) -> tuple[Gemm, int]:
    m, trans_a = draw(sizes), draw(st.booleans())
    known = draw(st.booleans())
    gemm = Gemm(
        n=draw(sizes),
        k=draw(sizes),
        m=m if known else None,
        dtype=draw(st.sampled_from(["float32", "float64"])),
        trans_a=trans_a,
        trans_b=draw(st.booleans()),
        lda=m if trans_a and not known else None,
        accumulate=draw(st.booleans()),
        target=draw(st.sampled_from(TARGETS)),
        pack_a=draw(optional),
        pack_b=draw(optional),
        block_m=draw(st.none() | st.integers(1, 40)),
        block_k=draw(st.none() | st.integers(1, 40)),
        tile=draw(st.sampled_from([None, None, (6, 2), (4, 3), (8, 1), (12, 2), (5, 2)])),
    )
    return gemm, m


@settings(max_examples=40)
@given(products())
def test_any_small_product_equals_numpy(product: tuple[Gemm, int]) -> None:
    gemm, m = product
    a, b, c, want = operands(gemm, m)
    want = want + c if gemm.accumulate else want
    Compiled(gemm)(a, b, c, (0, m))
    assert_near(c, want, gemm.k)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "k"), [(300, 517, 1030), (64, 784, 128), (1, 300, 900)])
@pytest.mark.parametrize("order", ["NN", "NT", "TN", "TT"])
def test_blocked_products_equal_numpy(order: str, m: int, n: int, k: int, dtype: str) -> None:
    gemm = Gemm(n, k, m, dtype, trans_a=order[0] == "T", trans_b=order[1] == "T")
    a, b, c, want = operands(gemm, m)
    Compiled(gemm)(a, b, c, (0, m))
    assert_near(c, want, k)


@pytest.mark.parametrize(
    ("n", "k", "trans_b"), [(512, 784, False), (100, 600, True), (10, 9, False)]
)
def test_splitting_rows_changes_no_bit(n: int, k: int, trans_b: bool) -> None:
    m, gemm = 67, Gemm(n, k, trans_b=trans_b, target=Target(8, 16))
    a, b, whole, _ = operands(gemm, m)
    compiled = Compiled(gemm)
    compiled(a, b, whole, (0, m))
    for cut in (1, 5, 32, 33, 66):
        parts = np.zeros_like(whole)
        compiled(a, b, parts, (0, cut))
        assert np.all(parts[cut:] == 0)
        compiled(a, b, parts, (cut, m))
        np.testing.assert_array_equal(parts, whole)


def test_blocks_tiles_and_packing_change_no_bit() -> None:
    m, n, k = 50, 90, 200
    a, b, _, _ = operands(Gemm(n, k), m)
    results = []
    for options in (
        {"block_k": k}, {"block_k": 7}, {"pack_b": True}, {"pack_a": True}, {"tile": (4, 3)},
        {"block_m": 12, "block_k": 64, "target": Target(16, 32)},
    ):  # fmt: skip
        c = np.zeros((m, n), np.float32)
        Compiled(Gemm(n, k, **options))(a, b, c, (0, m))
        results.append(c)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("n", [10, 48, 77])
def test_a_packed_b_can_be_made_in_parts_and_shared(n: int, trans_b: bool) -> None:
    gemm = Gemm(n, 300, trans_b=trans_b, packed_b=True, target=Target(8, 16), block_k=128)
    a, b, c, want = operands(gemm, 30)
    compiled = Compiled(gemm)
    panel = gemm.tiles[2] * gemm.lanes
    cuts = [0, n] if n <= panel else [0, panel, n]
    packed = compiled.pack(b, cuts)
    assert not np.isnan(packed).any()
    compiled(a, packed, c, (0, 30))
    assert_near(c, want, 300)


def test_runtime_depth_serves_the_last_partial_batch() -> None:
    gemm = Gemm(33, 64, trans_a=True, lda=70, runtime_k=True, block_k=40)
    compiled = Compiled(gemm)
    for batch in (1, 39, 40, 41, 63, 64):
        a, b, c, _ = operands(gemm, 70)
        compiled(a, b, c, (0, 70), k=batch)
        assert_near(c, a[:batch].astype(np.float64).T @ b[:batch].astype(np.float64), batch)


def test_strides_reach_into_larger_arrays_and_leave_the_rest_alone() -> None:
    gemm = Gemm(21, 30, lda=37, ldb=25, ldc=28, target=Target(8, 16))
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(13, 37)).astype("f4"), rng.normal(size=(30, 25)).astype("f4")
    c = np.full((13, 28), np.nan, np.float32)
    a[:, 30:], b[:, 21:] = np.nan, np.nan
    Compiled(gemm)(a, b, c, (2, 12))
    assert_near(c[2:12, :21], a[2:12, :30].astype("f8") @ b[:, :21].astype("f8"), 30)
    assert np.isnan(c[:, 21:]).all()
    assert np.isnan(c[[0, 1, 12]]).all()


def guarded(shape: tuple[int, int], dtype: str) -> Array:
    """Give an array that ends where a forbidden page begins."""
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    pages = -(-size // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    end = ctypes.c_void_p(address + pages * mmap.PAGESIZE)
    assert ctypes.CDLL(None).mprotect(end, mmap.PAGESIZE, 0) == 0
    raw = np.frombuffer(memory, np.uint8, pages * mmap.PAGESIZE)
    return raw[pages * mmap.PAGESIZE - size :].view(dtype).reshape(shape)


@pytest.mark.skipif(not hasattr(mmap, "MAP_PRIVATE"), reason="needs mprotect")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("order", ["NN", "NT", "TN"])
def test_no_byte_past_any_operand_is_touched(order: str, target: Target) -> None:
    for m, n, k in ((1, 1, 1), (7, 3, 5), (13, 10, 9), (11, 101, 66)):
        for packing in (True, False):
            gemm = Gemm(
                n, k, m, trans_a=order[0] == "T", trans_b=order[1] == "T", target=target,
                pack_a=packing, pack_b=packing,
            )  # fmt: skip
            a, b, c, want = operands(gemm, m)
            fa, fb, fc = (guarded(x.shape, gemm.dtype) for x in (a, b, c))
            fa[:], fb[:] = a, b
            Compiled(gemm)(fa, fb, fc, (0, m))
            assert_near(fc, want, k)


@pytest.mark.parametrize("unrolled", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [(10, 16, 2), (17, 10, 33), (70, 41, 500)])
def test_an_epilogue_fuses_bias_activation_and_row_weights(
    m: int, n: int, k: int, unrolled: bool
) -> None:
    gemm = Gemm(n, k, target=Target(8, 16), block_k=200)
    a, b, c, product = operands(gemm, m)
    rng = np.random.default_rng(1)
    bias, weight = (rng.normal(size=size).astype("f4") for size in (n, m))

    def fuse(extra: Sequence[ir.Value]) -> Epilogue:
        def epilogue(tile: Tile, sums: ir.Value) -> ir.Value:
            shifted = tile.builder.fadd(sums, tile.load_row(extra[0]))
            return tile.builder.fmul(emit_tanh(tile.builder, shifted), tile.load_column(extra[1]))

        return epilogue

    compiled = Compiled(gemm, fuse, 2, unroll_epilogue=unrolled)
    compiled(a, b, c, (0, m), extra=[bias, weight])
    assert_near(c, np.tanh(product + bias) * weight[:, None], k)


@pytest.mark.parametrize("unrolled", [False, True])
def test_an_epilogue_can_take_the_optimizers_step_and_store_no_gradient(unrolled: bool) -> None:
    m, n, k = 61, 27, 300
    gemm = Gemm(n, k, m, trans_a=True, block_k=128, target=Target(8, 16))
    a, b, c, gradient = operands(gemm, m)
    rng = np.random.default_rng(2)
    weight, momentum = (rng.normal(size=(m, n)).astype("f4") for _ in range(2))
    before = c.copy()
    moved = 0.9 * momentum + gradient
    want = weight - 0.1 * moved

    def fuse(extra: Sequence[ir.Value]) -> Epilogue:
        def step(tile: Tile, sums: ir.Value) -> None:
            b = tile.builder
            slow = b.fadd(b.fmul(tile.load(extra[1], n), tile.constant(0.9)), sums)
            tile.store(extra[1], slow, n)
            fresh = b.fsub(tile.load(extra[0], n), b.fmul(slow, tile.constant(0.1)))
            tile.store(extra[0], fresh, n)

        return step

    compiled = Compiled(gemm, fuse, 2, unroll_epilogue=unrolled)
    for rows in ((0, 30), (30, m)):
        compiled(a, b, c, rows, extra=[weight, momentum])
    assert_near(momentum, moved, k)
    assert_near(weight, want, k)
    np.testing.assert_array_equal(c, before)


def test_the_inner_loop_keeps_its_sums_in_registers() -> None:
    for gemm in (
        Gemm(512, 512, target=Target(8, 16)),
        Gemm(128, 512, target=Target(8, 16)),
        Gemm(512, 128, trans_a=True, lda=512, target=Target(8, 16)),
    ):
        if not llvm.get_host_cpu_features().get("fma"):
            pytest.skip("needs AVX2 and FMA")
        lines = Compiled(gemm).assembly.splitlines()
        blocks: list[list[str]] = [[]]
        for line in lines:
            if line.startswith(".L"):
                blocks.append([])
            blocks[-1].append(line)
        loops = [block for block in blocks if sum("vfmadd" in line for line in block) >= 8]
        assert loops
        for block in loops:
            assert not any("rsp" in line or "rbp" in line for line in block if "ymm" in line)


def test_impossible_products_are_refused() -> None:
    with pytest.raises(ValueError, match="float32 or float64"):
        Gemm(2, 2, dtype="int32")
    with pytest.raises(ValueError, match="positive sizes"):
        Gemm(0, 2)
    with pytest.raises(ValueError, match="lda"):
        Gemm(2, 2, trans_a=True)
