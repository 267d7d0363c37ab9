"""Hold the emitted functions to 2 ulp against longer arithmetic, and to C99 at the edges."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir
from numpy.typing import NDArray

from chainrule.run.llvm.vector_math import EMITTERS

ULPS = 2.0
Array = NDArray[Any]


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    result: Array = np.where(x < 0, small, 1) / (1 + small)
    return result


def _erf(x: Array) -> Array:
    return np.array([math.erf(value) for value in x.tolist()])


TRUTH: dict[str, Callable[..., Array]] = {
    "arctan": np.arctan,
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "erf": _erf,
    "sin": np.sin,
    "cos": np.cos,
    "pow": np.power,
}
UNARY = [name for name in TRUTH if name != "pow"]


@functools.cache
def compiled(name: str, double: bool, lanes: int) -> tuple[Callable[..., Array], str]:
    """Compile a loop `out[i] = name(in[i], ...)` over vectors; give it with its assembly."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    element = ir.DoubleType() if double else ir.FloatType()
    inputs = 2 if name == "pow" else 1
    i64 = ir.IntType(64)
    module = ir.Module("vector_math")
    pointers = [element.as_pointer()] * (inputs + 1)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [*pointers, i64]), "apply")
    entry, loop, done = (function.append_basic_block(n) for n in ("entry", "loop", "done"))
    b = ir.IRBuilder(entry)
    b.branch(loop)
    b.position_at_end(loop)
    i = b.phi(i64)
    i.add_incoming(i64(0), entry)
    vector = ir.VectorType(element, lanes) if lanes else element
    size = 8 if double else 4
    places = [b.bitcast(b.gep(a, [i]), vector.as_pointer()) for a in function.args[:-1]]
    result = EMITTERS[name](b, *(b.load(place, align=size) for place in places[:-1]))
    assert b.block is loop, "emitters must stay in one block"
    b.store(result, places[-1], align=size)
    following = b.add(i, i64(max(lanes, 1)))
    i.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, function.args[-1]), loop, done)
    b.position_at_end(done)
    b.ret_void()
    return _link(module, inputs)


def _link(module: ir.Module, inputs: int) -> tuple[Callable[..., Array], str]:
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(parsed, passes)
    assembly = machine.emit_assembly(parsed)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (inputs + 1), ctypes.c_int64)
    native = signature(engine.get_function_address("apply"))

    def apply(*arrays: Array) -> Array:
        assert engine is not None  # the code lives as long as its engine
        count = len(arrays[0])
        padded = [np.ones(-(-count // 16) * 16, arrays[0].dtype) for _ in arrays]
        for target, source in zip(padded, arrays, strict=True):
            target[:count] = source
        out = np.empty_like(padded[0])
        native(*(a.ctypes.data for a in padded), out.ctypes.data, len(out))
        return out[:count]

    return apply, assembly


def worst_ulp(got: Array, want: Array) -> float:
    """Give the largest error in units of the last place; infinity for a wrong special value."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = want.astype(got.dtype)
    finite = np.isfinite(rounded)
    special = np.where(np.isnan(rounded), np.isnan(got), got == rounded)
    if not np.all(special | finite):
        return math.inf
    unit = np.spacing(np.abs(rounded[finite])).astype(want.dtype)
    error = np.abs(got[finite].astype(want.dtype) - want[finite]) / unit
    return float(np.max(np.where(np.isnan(error), np.inf, error), initial=0.0))


def every_nth_float(stride: int) -> Array:
    return np.arange(0, 1 << 32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("name", UNARY)
def test_float32_is_within_two_ulp_over_all_bit_patterns(name: str) -> None:
    apply, _ = compiled(name, False, 8)
    x = every_nth_float(4099 if name != "erf" else 40_993)
    near = np.random.default_rng(0).normal(0, 2, 1 << 18).astype(np.float32)
    for values in (x, near):
        with np.errstate(all="ignore"):
            want = TRUTH[name](values.astype(np.float64))
        assert worst_ulp(apply(values), want) <= ULPS


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_float32_trigonometry_is_right_for_moderate_and_huge_arguments(name: str) -> None:
    apply, _ = compiled(name, False, 8)
    halves = (np.arange(1, 100_000) * (np.pi / 2)).astype(np.float32)  # the hardest arguments
    for x in (halves, np.linspace(-2e5, 2e5, 400_001, dtype=np.float32)):
        assert worst_ulp(apply(x), TRUTH[name](x.astype(np.float64))) <= ULPS


def _double_samples() -> Array:
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 1 << 64, 200_000, dtype=np.uint64).view(np.float64)
    scales = [rng.normal(0, scale, 100_000) for scale in (0.1, 1.0, 10.0, 300.0)]
    return np.concatenate([bits, *scales, 1 + rng.normal(0, 0.01, 100_000)])


@pytest.mark.parametrize("name", UNARY)
def test_float64_is_within_two_ulp(name: str) -> None:
    apply, _ = compiled(name, True, 4)
    x = _double_samples()
    if name == "erf":
        x = x[-120_000:]
    with np.errstate(all="ignore"):
        want = TRUTH[name](x.astype(np.longdouble if name != "erf" else np.float64))
    assert worst_ulp(apply(x), want) <= ULPS


SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, 1e38, -1e38, 1e-42, -1e-42]
SPECIAL += [math.inf, -math.inf, math.nan]


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", UNARY)
def test_special_values_and_the_sign_of_zero(name: str, double: bool) -> None:
    apply, _ = compiled(name, double, 4)
    x = np.array(SPECIAL, np.float64 if double else np.float32)
    with np.errstate(all="ignore"):
        want = TRUTH[name](x.astype(np.float64))
    got = apply(x)
    assert worst_ulp(got, want) <= ULPS
    zero = (want == 0) & ~np.isnan(x)
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("double", [False, True])
def test_pow_follows_c99_at_every_pair_of_special_values(double: bool) -> None:
    apply, _ = compiled("pow", double, 4)
    dtype = np.float64 if double else np.float32
    x, y = (g.ravel().astype(dtype) for g in np.meshgrid(SPECIAL, SPECIAL))
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
    got = apply(x, y)
    assert worst_ulp(got, want) <= ULPS
    zero = got == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("double", [False, True])
def test_pow_is_within_two_ulp(double: bool) -> None:
    apply, _ = compiled("pow", double, 8)
    rng = np.random.default_rng(2)
    dtype = np.float64 if double else np.float32
    x = np.exp(rng.normal(0, 5, 300_000)).astype(dtype)
    y = rng.normal(0, 5, 300_000).astype(dtype)
    whole = rng.integers(-20, 20, 300_000).astype(dtype)
    with np.errstate(all="ignore"):
        for base, power in ((x, y), (np.negative(x), whole)):
            want = np.power(base.astype(np.longdouble), power.astype(np.longdouble))
            assert worst_ulp(apply(base, power), want) <= ULPS


@pytest.mark.parametrize("name", list(EMITTERS))
def test_scalars_and_every_vector_width_agree(name: str) -> None:
    x = np.random.default_rng(3).uniform(0.1, 30, 64).astype(np.float32)
    arguments = [x, x[::-1].copy() / 8] if name == "pow" else [x]
    by_width = [compiled(name, False, lanes)[0](*arguments) for lanes in (0, 4, 8, 16)]
    for other in by_width[1:]:
        np.testing.assert_array_equal(by_width[0], other)


@pytest.mark.parametrize("name", [n for n in EMITTERS if n not in ("sin", "cos")])
def test_float32_vectors_never_leave_for_libm(name: str) -> None:
    assert "call" not in compiled(name, False, 8)[1]
    assert "expf" not in compiled(name, False, 8)[1]


def test_an_integer_type_is_refused() -> None:
    with pytest.raises(TypeError, match="float or double"):
        EMITTERS["exp"](ir.IRBuilder(), ir.Constant(ir.IntType(32), 1))
