"""Measure what an optimizer's update costs in the product that computes a weight's gradient.

Run `python bench/updates.py [--rounds N]`.  The product of a weight's gradient is emitted with
different epilogues: none (the gradient is stored), the updates of SGD, momentum and Adam, Adam
with multiplications in place of its square root and division, and Adam without fetching the arrays
ahead.  They take turns on one thread.  Prints the share of the core's peak that each reaches,
medians over rounds of processor time.

Read next: `chainrule/run/llvm/gemm.py`.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from peak import aligned, peak

from chainrule.run.llvm.code import link, object_code
from chainrule.run.llvm.gemm import Gemm, Tile
from chainrule.run.llvm.instructions import I64, multiply_add
from chainrule.run.llvm.machine import host_target

SHAPES = ((784, 128, 64), (784, 512, 128), (2048, 2048, 512))  # inputs, outputs, batch
UPDATES = ("none", "sgd", "momentum", "adam", "adam, cheap", "adam, not ahead")
ARRAYS = {"none": 0, "sgd": 1, "momentum": 2}  # that an update reads and writes; Adam: 3


def product(
    inputs: int, outputs: int, batch: int, update: str
) -> tuple[Callable[[], None], tuple[object, ...]]:
    """Return a call of the product, and what has to be kept alive for it."""
    gemm = Gemm(n=outputs, k=batch, m=inputs, trans_a=True, target=host_target())
    module, pointer = ir.Module("update"), gemm.element.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer] * 7)
    function = ir.Function(module, kind, "update")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    a, b, c, weight, first, second, workspace = function.args
    vector = ir.VectorType(gemm.element, gemm.lanes)
    root = ir.Function(module, ir.FunctionType(vector, [vector]), f"llvm.sqrt.v{gemm.lanes}f32")

    def epilogue(tile: Tile, g: ir.Value) -> ir.Value | None:
        b, rate = tile.builder, tile.constant(-0.01)
        if update == "none":
            return g
        old = tile.load(weight, outputs)
        if update == "sgd":
            tile.store(weight, multiply_add(b, g, rate, old), outputs)
            return None
        m = multiply_add(b, tile.load(first, outputs), tile.constant(0.9), g)
        tile.store(first, m, outputs)
        if update == "momentum":
            tile.store(weight, multiply_add(b, m, rate, old), outputs)
            return None
        square = b.fmul(b.fmul(g, g), tile.constant(0.01))
        v = multiply_add(b, tile.load(second, outputs), tile.constant(0.99), square)
        tile.store(second, v, outputs)
        scaled, small = b.fmul(m, rate), tile.constant(1e-8)
        if update == "adam, cheap":
            change = b.fmul(scaled, b.fadd(v, small))
        else:
            change = b.fdiv(scaled, b.fadd(b.call(root, [v]), small))
        tile.store(weight, b.fadd(old, change), outputs)
        return None

    used = [weight, first, second][: ARRAYS.get(update, 3)]
    ahead = [] if update == "adam, not ahead" else used
    rows = I64(0), I64(inputs)
    gemm.emit(builder, a, b, c, *rows, workspace, epilogue=epilogue, ahead=ahead)
    builder.ret_void()
    engine = link(object_code(str(module)))
    sizes = (inputs * batch, batch * outputs, *[inputs * outputs] * 4, gemm.workspace // 4 + 16)
    arrays = [aligned(size) for size in sizes]
    draws = np.random.default_rng(0)
    for array in arrays[:2]:
        array[:] = draws.normal(size=array.size)
    native = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 7)(engine.get_function_address("update"))
    places = [array.ctypes.data for array in arrays]
    return lambda: native(*places), (engine, *arrays)


def rate(call: Callable[[], None], flops: float, calls: int) -> float:
    """Return the operations per second of processor time."""
    began = time.thread_time()
    for _ in range(calls):
        call()
    return flops * calls / (time.thread_time() - began)


def main() -> None:
    """Print a row for each shape."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    loop, loop_flops, _kept = peak()
    print(f"| gradient, batch | {' | '.join(UPDATES)} |\n|---|{'--:|' * len(UPDATES)}")
    for inputs, outputs, batch in SHAPES:
        flops = 2.0 * inputs * outputs * batch
        products = {name: product(inputs, outputs, batch, name) for name in UPDATES}
        shares: dict[str, list[float]] = {name: [] for name in UPDATES}
        for _ in range(rounds):
            top = rate(loop, loop_flops, 20)
            for name, (call, _arrays) in products.items():
                call()
                shares[name].append(rate(call, flops, max(1, int(2e8 / flops))) / top)
        cells = " | ".join(f"{statistics.median(shares[name]):.0%}" for name in UPDATES)
        print(f"| {inputs}x{outputs}, {batch} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
