"""Compare generated matrix products with the peak of the core and with OpenBLAS.

Run `python bench/gemm.py [--rounds N] [--only TEXT]`. Prints a Markdown table: for each layer and
batch the forward product (NN) and the gradients of its input (NT) and of its weight (TN), each as
a whole and as the part of one of two threads. Contestants take turns in one process without
`OPENBLAS_*` variables; results are medians over rounds of processor time, in GFLOP/s on one
thread. The peak is that of a loop of independent multiply-adds on registers, which takes turns
with the rest.

Read next: `chainrule/run/llvm/gemm.py`.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy_openblas32
from llvmlite import ir
from peak import aligned, peak

from chainrule.run.llvm.code import link, object_code
from chainrule.run.llvm.gemm import Gemm
from chainrule.run.llvm.machine import host_name, host_target

LAYERS = (  # inputs, outputs, batch
    (2, 16, 10),
    (64, 32, 32),
    (128, 10, 64),
    (784, 128, 64),
    (784, 512, 128),
    (512, 512, 128),
    (1024, 2048, 512),
    (2048, 2048, 512),
)
_PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclass
class Case:
    """One product: its label, its operations, and a call for each of the two contestants."""

    label: str
    flops: float
    ours: Callable[[], None]
    blas: Callable[[], None]
    compile_ms: float
    error: float
    keep: tuple[object, ...]  # keeps the code and memory alive, of which calls have addresses only


def products(only: str) -> Iterator[tuple[str, int, int, int, bool, bool]]:
    """Yield label, m, n, k and transpositions of every product of every layer."""
    for inputs, outputs, batch in LAYERS:
        for share in (1, 2):
            part = "" if share == 1 else " half"
            base = f"{inputs}x{outputs} b{batch}{part}"
            for label, *sizes in (
                (f"{base} NN", batch // share, outputs, inputs, False, False),
                (f"{base} NT", batch // share, inputs, outputs, False, True),
                (f"{base} TN", inputs // share, outputs, batch, True, False),
            ):
                if only in label:
                    m, n, k, trans_a, trans_b = sizes
                    yield label, int(m), int(n), int(k), bool(trans_a), bool(trans_b)


def load_blas() -> Any:
    """Load OpenBLAS on one thread."""
    name = f"lib{scipy_openblas32.get_library()}.so"
    blas = ctypes.CDLL(os.path.join(scipy_openblas32.get_lib_dir(), name))
    blas.scipy_openblas_set_num_threads(1)
    blas.scipy_openblas_get_corename.restype = ctypes.c_char_p
    return blas


def prepare(product: tuple[str, int, int, int, bool, bool], blas: Any) -> Case:
    """Compile one product and bind both contestants to the same operands."""
    label, m, n, k, trans_a, trans_b = product
    target = host_target()
    stride_a = (m * (2 if "half" in label else 1)) if trans_a else k
    rows = stride_a if trans_a else None
    gemm = Gemm(n=n, k=k, m=rows, trans_a=trans_a, trans_b=trans_b, target=target)
    began = time.perf_counter()
    module, i64 = ir.Module("gemm"), ir.IntType(64)
    pointer = gemm.element.as_pointer()
    types = [pointer, pointer, pointer, i64, i64, pointer]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), "gemm")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    gemm.emit(builder, *function.args)
    builder.ret_void()
    engine = link(object_code(str(module)))
    compile_ms = (time.perf_counter() - began) * 1e3

    rng = np.random.default_rng(0)
    a, b, c = aligned((k if trans_a else m) * stride_a), aligned(n * k), aligned(m * n)
    a[:], b[:] = rng.normal(size=a.size), rng.normal(size=b.size)
    workspace = aligned(gemm.workspace // 4 + 16)
    address, number = ctypes.c_void_p, ctypes.c_int64
    native = ctypes.CFUNCTYPE(None, *[address] * 3, number, number, address)(
        engine.get_function_address("gemm")
    )
    ours_arguments = (
        a.ctypes.data, b.ctypes.data, c.ctypes.data, number(0), number(m), workspace.ctypes.data
    )  # fmt: skip
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    blas_arguments = (
        101, 112 if trans_a else 111, 112 if trans_b else 111, m, n, k, one,
        address(a.ctypes.data), stride_a, address(b.ctypes.data), k if trans_b else n, zero,
        address(c.ctypes.data), n,
    )  # fmt: skip
    keep = (engine, workspace, a, b, c)

    def ours() -> None:
        native(*ours_arguments)

    def theirs() -> None:
        blas.scipy_cblas_sgemm(*blas_arguments)

    theirs()
    expected = c.copy()
    ours()
    error = float(np.max(np.abs(c - expected)) / np.max(np.abs(expected)))
    return Case(label, 2.0 * m * n * k, ours, theirs, compile_ms, error, keep)


def timed(call: Callable[[], None], repeats: int) -> float:
    """Return seconds of processor time per call, which a busy machine affects less."""
    began = time.thread_time()
    for _ in range(repeats):
        call()
    return (time.thread_time() - began) / repeats


def measure(case: Case, peak_call: Callable[[], None], rounds: int) -> tuple[float, float, float]:
    """Return median seconds of ours, OpenBLAS and the peak loop, which take turns."""
    repeats = max(1, int(2e-3 / max(timed(case.ours, 3), 1e-7)))
    times: list[list[float]] = [[], [], []]
    for _ in range(rounds):
        for kept, call, times_each in zip(
            times, (case.ours, case.blas, peak_call), (repeats, repeats, 12), strict=True
        ):
            kept.append(timed(call, times_each))
    ours, blas, top = (statistics.median(kept) for kept in times)
    return ours, blas, top


def main() -> None:
    """Measure all products and print the table."""
    if any(name in os.environ for name in _PINS):
        kept = {name: value for name, value in os.environ.items() if name not in _PINS}
        os.execve(sys.executable, [sys.executable, *sys.argv], kept)
    parser = argparse.ArgumentParser(description="Measure generated matrix products.")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--only", default="", help="only products whose label contains this text")
    options = parser.parse_args()
    target = host_target()
    blas = load_blas()
    peak_call, peak_flops, _keep = peak()
    kernel = blas.scipy_openblas_get_corename().decode()
    print(f"{host_name()}, {target}; OpenBLAS {kernel}")
    print("GFLOP/s, one thread; medians of turns; each includes a call from Python, 1 to 2 us.\n")
    print("| product | peak | chainrule | of peak | OpenBLAS | ratio | compile ms |")
    print("|---|---|---|---|---|---|---|")
    for product in products(options.only):
        case = prepare(product, blas)
        ours, theirs, top = measure(case, peak_call, options.rounds)
        top_rate, rate, their_rate = peak_flops / top, case.flops / ours, case.flops / theirs
        print(
            f"| {case.label} | {top_rate / 1e9:.0f} | {rate / 1e9:.1f} | {rate / top_rate:.0%} "
            f"| {their_rate / 1e9:.1f} | {theirs / ours:.2f} | {case.compile_ms:.0f} |"
            + ("" if case.error < 1e-4 else f" WRONG by {case.error:.1e}"),
            flush=True,
        )


if __name__ == "__main__":
    main()
