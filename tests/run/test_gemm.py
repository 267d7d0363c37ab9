"""Hold emitted products to NumPy in float64, to their borders, and to the same bits when split."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir
from numpy.typing import NDArray

from chainrule.run.llvm.gemm import Epilogue, Gemm, Target, Tile
from chainrule.run.llvm.gemm_prepack import arranged, restored
from chainrule.run.llvm.vector_math import emit_tanh

Array = NDArray[Any]
TARGETS = [Target(4, 16), Target(8, 16), Target(16, 32)]
# Caches so small that little products too are cut into blocks and copied.
SMALL = Target(8, 16, l1=1024, l2=2048)
TINY = Target(4, 16, l1=256, l2=512)


class Compiled:
    """Hold one product in machine code, callable on arrays."""

    def __init__(
        self,
        gemm: Gemm,
        epilogue: Callable[[Sequence[ir.Value]], Epilogue] | None = None,
        extra: int = 0,
    ) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.gemm = gemm
        module, i64 = ir.Module("gemm"), ir.IntType(64)
        pointer = gemm.element.as_pointer()
        types = [*[pointer] * 3, *[i64] * 3, *[pointer] * (1 + extra)]
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), "gemm")
        a, b, c, start, stop, k, workspace, *rest = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        fused = epilogue(rest) if epilogue else None
        long = gemm.n % 2 == 0  # both ways to emit what follows the sums are tried
        gemm.emit(builder, a, b, c, start, stop, workspace, k=k, epilogue=fused, long=long)
        builder.ret_void()
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
        address, number = ctypes.c_void_p, ctypes.c_int64
        kinds = [*[address] * 3, *[number] * 3, *[address] * (extra + 1)]
        self._gemm = ctypes.CFUNCTYPE(None, *kinds)(self.engine.get_function_address("gemm"))

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


@st.composite
def products(draw: st.DrawFn) -> tuple[Gemm, int]:
    m, trans_a = draw(sizes), draw(st.booleans())
    gemm = Gemm(
        n=draw(st.sampled_from([1, 2, 3, 10]) | sizes),
        k=draw(st.sampled_from([1, 2, 3]) | sizes),
        m=m if trans_a or draw(st.booleans()) else None,
        dtype=draw(st.sampled_from(["float32", "float64"])),
        trans_a=trans_a,
        trans_b=draw(st.booleans()),
        target=draw(st.sampled_from([*TARGETS, SMALL, TINY])),
    )
    return gemm, m


@settings(max_examples=40)
@given(products())
def test_any_small_product_equals_numpy(product: tuple[Gemm, int]) -> None:
    gemm, m = product
    a, b, c, want = operands(gemm, m)
    Compiled(gemm)(a, b, c, (0, m))
    assert_near(c, want, gemm.k)


@pytest.mark.thorough
@settings(max_examples=40)
@given(products())
def test_a_matrix_arranged_once_gives_the_same_bits(product: tuple[Gemm, int]) -> None:
    gemm, m = replace(product[0], trans_b=False), product[1]
    a, b, c, _ = operands(gemm, m)
    Compiled(gemm)(a, b, c, (0, m))
    packed, found = replace(gemm, prepacked=True), np.zeros_like(c)
    elements = arranged(packed, b)
    Compiled(packed)(a, elements, found, (0, m))
    np.testing.assert_array_equal(found, c)
    alone = replace(packed, m=gemm.m if gemm.trans_a else None, often_one=True)
    compiled, found = Compiled(alone), np.zeros_like(c)
    for rows in ((0, 1), (1, m)):
        compiled(a, elements, found, rows)
    np.testing.assert_array_equal(found, c)
    np.testing.assert_array_equal(restored(packed, elements), b)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "k"), [(300, 517, 1030), (64, 784, 128), (1, 300, 900)])
@pytest.mark.parametrize("order", ["NN", "NT", "TN", "TT"])
def test_blocked_products_equal_numpy(order: str, m: int, n: int, k: int, dtype: str) -> None:
    gemm = Gemm(n, k, m, dtype, trans_a=order[0] == "T", trans_b=order[1] == "T")
    a, b, c, want = operands(gemm, m)
    Compiled(gemm)(a, b, c, (0, m))
    assert_near(c, want, k)


@pytest.mark.parametrize(
    ("n", "k", "trans_b"),
    [
        (512, 784, False),
        (100, 600, True),
        (10, 9, False),
        (1, 37, False),
        (3, 2, False),
        (3, 9, True),
    ],
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


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("dtype", "target"),
    [("float32", Target(8, 16)), ("float32", Target(16, 32)), ("float64", SMALL)],
)
@pytest.mark.parametrize(("n", "k"), [(200, 384), (101, 66), (65, 3), (16, 9)])
def test_rows_one_by_one_are_the_same_bits(n: int, k: int, dtype: str, target: Target) -> None:
    m, gemm = 5, Gemm(n, k, dtype=dtype, target=target)
    alone = replace(gemm, often_one=True)
    assert alone.has_row == (n > gemm.panel_width)
    a, b, whole, _ = operands(gemm, m)
    Compiled(gemm)(a, b, whole, (0, m))
    compiled, parts = Compiled(alone), np.zeros_like(whole)
    for start, stop in ((0, 1), (1, 3), (3, 3), (3, 4)):
        compiled(a, b, parts, (start, stop))
    assert np.all(parts[4:] == 0)
    np.testing.assert_array_equal(parts[:4], whole[:4])


def test_blocks_tiles_and_packing_change_no_bit() -> None:
    m, n, k = 50, 90, 200
    a, b, _, _ = operands(Gemm(n, k), m)
    plans = [Gemm(n, k, m, target=target) for target in (*TARGETS, SMALL, TINY)]
    assert len({(plan.tiles, plan.depth, plan.packs_b) for plan in plans}) > 3
    results = []
    for plan in plans:
        c = np.zeros((m, n), np.float32)
        Compiled(plan)(a, b, c, (0, m))
        results.append(c)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copied_blocks_of_a_equal_numpy(trans_a: bool, dtype: str) -> None:
    m, n, k = 77, 520, 515
    gemm = Gemm(n, k, m, dtype, trans_a=trans_a, target=SMALL)
    assert gemm.packs_a
    a, b, c, want = operands(gemm, m)
    Compiled(gemm)(a, b, c, (0, m))
    assert_near(c, want, k)


def test_runtime_depth_serves_the_last_partial_batch() -> None:
    gemm = Gemm(33, 64, 70, trans_a=True, runtime_k=True, target=SMALL)
    assert gemm.blocked
    compiled = Compiled(gemm)
    for batch in (1, gemm.depth, gemm.depth + 1, 63, 64):
        a, b, c, _ = operands(gemm, 70)
        compiled(a, b, c, (0, 70), k=batch)
        assert_near(c, a[:batch].astype(np.float64).T @ b[:batch].astype(np.float64), batch)


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


@pytest.mark.one_in(3)
@pytest.mark.skipif(not hasattr(mmap, "MAP_PRIVATE"), reason="needs mprotect")
@pytest.mark.parametrize(
    "target", [*(pytest.param(t, marks=pytest.mark.thorough) for t in TARGETS[:2]), TARGETS[2]]
)
@pytest.mark.parametrize("order", ["NN", "NT", "TN"])
def test_no_byte_past_any_operand_is_touched(order: str, target: Target) -> None:
    small = replace(target, l1=256, l2=1024)
    for m, n, k in ((1, 1, 1), (7, 3, 5), (13, 10, 9), (9, 1, 21), (11, 101, 66)):
        for machine in (target, small):
            gemm = Gemm(n, k, m, trans_a=order[0] == "T", trans_b=order[1] == "T", target=machine)
            stays_inside(gemm, m)
    if order == "NN":
        for n, k in ((101, 66), (64, 5), (57, 1)):
            stays_inside(Gemm(n, k, often_one=True, target=target), 1)


def stays_inside(gemm: Gemm, m: int) -> None:
    a, b, c, want = operands(gemm, m)
    fa, fb, fc = (guarded(x.shape, gemm.dtype) for x in (a, b, c))
    fa[:], fb[:] = a, b
    Compiled(gemm)(fa, fb, fc, (0, m))
    assert_near(fc, want, gemm.k)


@pytest.mark.parametrize("target", [Target(8, 16), SMALL])
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(10, 16, 2), (17, 10, 33), (70, 41, 500), (9, 1, 70), (1, 41, 500), (2, 101, 3)],
)
def test_an_epilogue_fuses_bias_activation_and_row_weights(
    m: int, n: int, k: int, target: Target
) -> None:
    gemm = Gemm(n, k, often_one=True, target=target)
    a, b, c, product = operands(gemm, m)
    rng = np.random.default_rng(1)
    bias, weight = (rng.normal(size=size).astype("f4") for size in (n, m))

    def fuse(extra: Sequence[ir.Value]) -> Epilogue:
        def epilogue(tile: Tile, sums: ir.Value) -> ir.Value:
            shifted = tile.builder.fadd(sums, tile.load_row(extra[0]))
            return tile.builder.fmul(emit_tanh(tile.builder, shifted), tile.load_column(extra[1]))

        return epilogue

    compiled = Compiled(gemm, fuse, 2)
    compiled(a, b, c, (0, m), extra=[bias, weight])
    assert_near(c, np.tanh(product + bias) * weight[:, None], k)


@pytest.mark.parametrize("n", [27, 1])
@pytest.mark.parametrize("target", [Target(8, 16), SMALL])
def test_an_epilogue_can_take_the_optimizers_step_and_store_no_gradient(
    n: int, target: Target
) -> None:
    m, k = 61, 300
    gemm = Gemm(n, k, m, trans_a=True, target=target)
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

    compiled = Compiled(gemm, fuse, 2)
    for rows in ((0, 30), (30, m)):
        compiled(a, b, c, rows, extra=[weight, momentum])
    assert_near(momentum, moved, k)
    assert_near(weight, want, k)
    np.testing.assert_array_equal(c, before)


def test_the_inner_loop_keeps_its_sums_in_registers() -> None:
    for gemm in (
        Gemm(512, 512, target=Target(8, 16)),
        Gemm(128, 512, target=Target(8, 16)),
        Gemm(512, 128, 512, trans_a=True, target=Target(8, 16)),
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
            assert not any("rsp" in line for line in block if "ymm" in line)


def test_impossible_products_are_refused() -> None:
    with pytest.raises(ValueError, match="float32 or float64"):
        Gemm(2, 2, dtype="int32")
    with pytest.raises(ValueError, match="positive sizes"):
        Gemm(0, 2)
    with pytest.raises(ValueError, match="row count"):
        Gemm(2, 2, trans_a=True)
