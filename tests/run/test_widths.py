"""Code for AVX2, AVX-512 and NEON: what LLVM makes of it, and its results at each width.

Only the instructions of this machine can run here.  The others are compiled to assembly, in which
the innermost loops of products must keep their sums in registers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from chainrule import nn, optim
from chainrule.run.llvm import code, machine
from chainrule.run.llvm.code import NativeCode, optimized
from chainrule.run.llvm.emit import emit
from chainrule.run.llvm.gemm import Gemm, Target
from chainrule.run.llvm.machine import target_of
from tests.run.agreement import Case, assert_agree, shuffled, training

AVX512 = "+avx2,+fma,+avx512f,+avx512vl"


@dataclass(frozen=True)
class Machine:
    """A processor: its triple and name in LLVM, its target, and what full registers look like."""

    triple: str
    name: str
    target: Target
    register: str

    def assembly(self, module: ir.Module) -> str:
        """Return `module` as assembly of this machine; LLVM's verifier must accept it."""
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        kind = llvm.Target.from_triple(self.triple)
        compiler = kind.create_target_machine(cpu=self.name, features="", opt=1)
        ready = optimized(str(module), compiler)
        ready.triple = self.triple
        ready.verify()
        return str(compiler.emit_assembly(ready))


X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
MACHINES = {
    "AVX2": Machine(X86, "haswell", target_of("x86_64", "+avx2,+fma"), r"%ymm"),
    "AVX-512": Machine(X86, "skylake-avx512", target_of("x86_64", AVX512), r"%zmm"),
    "AVX-512 of AMD": Machine(X86, "znver4", target_of("AMD64", AVX512), r"%zmm"),
    "NEON": Machine(ARM, "neoverse-n1", target_of("aarch64", "+neon"), r"\bv\d+\.(4s|2d)|\.2d"),
    "NEON of Apple": Machine(
        "arm64-apple-macosx", "apple-m1", target_of("arm64", ""), r"\.4s|\.2d"
    ),
}


def loops(assembly: str) -> Iterator[list[str]]:
    """Yield the lines of each loop that multiplies and adds and contains no other loop."""
    for function in re.split(r"\n(?=[\w.\"]+:)", assembly):
        lines = [line.strip() for line in function.splitlines()]
        label = {m[1]: i for i, line in enumerate(lines) if (m := re.match(r"(\.?L\w+):", line))}
        ends = []
        for i, line in enumerate(lines):
            jump = re.match(r"(?:j\w+|b|b\.\w+|cbn?z|tbn?z)\s.*?(\.?L\w+)$", line)
            if jump and label.get(jump[1], i) < i:
                ends.append((label[jump[1]], i))
        for start, end in ends:
            inside = any(start <= s and e <= end and (s, e) != (start, end) for s, e in ends)
            body = lines[start : end + 1]
            if not inside and any(re.match(r"vfn?madd|fmla", line) for line in body):
                # Where it is not a copy of the stack pointer, rbp is a register as any other.
                assert not any(re.match(r"mov\w*\s+%rsp, %rbp", line) for line in lines)
                yield body


def module_of(gemm: Gemm) -> ir.Module:
    """Return a module that contains `gemm` as a function."""
    module, i64 = ir.Module("gemm"), ir.IntType(64)
    pointer = gemm.element.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [*[pointer] * 3, *[i64] * 3, pointer])
    function = ir.Function(module, kind, "gemm")
    a, b, c, start, stop, k, workspace = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    gemm.emit(builder, a, b, c, start, stop, workspace, k=k)
    builder.ret_void()
    return module


def on_the_stack(body: list[str]) -> list[str]:
    """Return the instructions that load from the stack or store to it."""
    return [line for line in body if re.search(r"\(%rsp|\[sp\b|\[x29\b", line)]


PRODUCTS: dict[str, dict[str, Any]] = {
    "large": {"n": 512, "k": 512},
    "small": {"n": 10, "k": 128},
    "one panel": {"n": 32, "k": 64},
    "arranged": {"n": 512, "k": 512, "prepacked": True, "often_one": True},
    "narrower, arranged": {"n": 128, "k": 784, "prepacked": True, "often_one": True},
    "transposed right": {"n": 512, "k": 512, "trans_b": True},
    "transposed left": {"n": 512, "k": 512, "m": 512, "trans_a": True},
    "narrow": {"n": 8, "k": 256},
    "narrow gradient": {"n": 8, "k": 784, "m": 784, "trans_a": True, "runtime_k": True},
    "gradient of two vectors": {"n": 16, "k": 784, "m": 128, "trans_a": True},
    "weight gradient": {"n": 128, "k": 64, "m": 784, "trans_a": True, "runtime_k": True},
}


@pytest.mark.one_in(5)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("name", MACHINES)
def test_the_innermost_loops_spill_nothing(name: str, product: str, dtype: str) -> None:
    one = MACHINES[name]
    gemm = Gemm(target=one.target, dtype=dtype, **PRODUCTS[product])
    found = list(loops(one.assembly(module_of(gemm))))
    assert found
    for body in found:
        assert not on_the_stack(body), "\n".join(body)
    sums = gemm.tiles[0] * gemm.tiles[2]
    most = max(sum(bool(re.match(r"vfn?madd|fmla", line)) for line in body) for body in found)
    assert most % sums == 0  # a whole tile for one or more k, and no multiply-adds besides
    if gemm.lanes * gemm.size == one.target.width * 4:
        assert any(re.search(one.register, line) for body in found for line in body)


def test_a_spill_would_be_seen() -> None:
    """Tiles of as many sums as there are registers leave none for the factors."""
    one = MACHINES["NEON"]
    crowded = Target(width=4, registers=64, family="x86")  # which it does not have
    gemm = Gemm(n=512, k=512, target=crowded)
    assert any(on_the_stack(body) for body in loops(one.assembly(module_of(gemm))))


def _case(dtype: str = "float32") -> Case:
    model = nn.Sequential(
        [
            nn.Linear(6, 37, dtype=dtype), nn.BatchNorm(37, dtype=dtype), nn.GELU(),
            nn.Dropout(0.2), nn.LayerNorm(37, dtype=dtype), nn.Linear(37, 3, dtype=dtype),
        ]
    )  # fmt: skip
    nn.initialize(model, 0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(23, 6)).astype(dtype), rng.integers(0, 3, 23)
    return training(model, "cross_entropy", optim.SGD(0.1), x, y)


@pytest.mark.parametrize("name", MACHINES)
def test_a_whole_step_is_compiled_for_every_machine(name: str) -> None:
    one, case = MACHINES[name], _case()
    plan = NativeCode(case.graph, set(case.state), set(case.data), 8)
    module, _ = emit(plan.kernels, plan.schedule, set(case.state), set(case.data), 8, one.target)
    text = one.assembly(module)
    assert re.search(one.register, text)
    flush, pause = ("fpcr", "yield") if one.target.family == "arm" else ("ldmxcsr", "pause")
    assert flush in text.lower()
    assert re.search(rf"\b{pause}\b", text)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [(4, 32), (4, 16), (8, 16), (16, 32)], ids=str)
def test_results_agree_at_every_width(
    width: tuple[int, int], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LLVM divides vectors that are wider than the machine's, so that each width can run here."""
    host = machine.host_target()
    target = Target(*width, l1=host.l1, l2=host.l2, family=host.family)
    monkeypatch.setattr(code, "host_target", lambda: target)
    assert_agree(_case(dtype), shuffled(23, 3), 7, 1e-9 if dtype == "float64" else 5e-3)


def test_the_widest_vectors_of_a_machine_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {
        ("x86_64", AVX512): (16, 32, "x86"),
        ("x86_64", "+avx2,+fma,+avx512f"): (8, 16, "x86"),  # not on the first of them
        ("x86_64", "+avx2,+fma,-avx512f,-avx512vl"): (8, 16, "x86"),
        ("x86_64", "+sse2"): (4, 16, "x86"),
        ("aarch64", "+neon"): (4, 32, "arm"),
        ("arm64", ""): (4, 32, "arm"),
        ("riscv64", ""): (4, 16, ""),
    }
    for (architecture, features), expected in cases.items():
        found = target_of(architecture, features)
        assert (found.width, found.registers, found.family) == expected
    monkeypatch.setattr(machine, "host_features", lambda: AVX512)
    monkeypatch.setattr(machine, "machine", lambda: "x86_64")
    assert machine.host_target.__wrapped__().width == 16
