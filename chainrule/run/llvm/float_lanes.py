"""Emit arithmetic on one floating-point type, scalar or vector, with the constants of the format.

Each method of `Lanes` emits one operation. `Format` contains the layout of a float or double and
the constants that `chainrule/run/llvm/vector_math.py` uses for argument reduction.

Multiply-adds use `llvm.fmuladd`, which is fused if the processor supports it and is never a slow
library call.

Read next: `chainrule/run/llvm/vector_math.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

__all__ = ["Format", "Lanes", "declare"]


@dataclass(frozen=True)
class Format:
    """The layout, reduction constants and polynomials of one floating-point format."""

    bits: int
    mantissa: int
    bias: int
    round_magic: float  # adding it rounds to an integer and leaves that integer in the low bits
    sqrt_half_bits: int
    ln2_high: float  # few bits, so that n * ln2_high is exact
    ln2_low: float
    exp_low: float  # exp underflows to zero below, overflows above
    exp_high: float
    tanh_flat: float  # tanh rounds to one above
    expm1_flat: float  # expm1 rounds to minus one below minus this
    exp_tail: tuple[float, ...]  # e^r = 1 + r + r^2 * P(r) on |r| <= log(2) / 2
    tiny: float  # smallest normal number
    lift: float  # 2 ** lift_bits makes any denormal normal
    lift_bits: int


SINGLE = Format(
    bits=32,
    mantissa=23,
    bias=127,
    round_magic=1.5 * 2.0**23,
    sqrt_half_bits=0x3F3504F3,
    ln2_high=0.693359375,
    ln2_low=-2.12194440e-4,
    exp_low=-104.0,
    exp_high=89.0,
    tanh_flat=10.0,
    expm1_flat=18.0,
    exp_tail=(0.5, 1.6666667e-01, 4.1666355e-02, 8.333273e-03, 1.3941103e-03, 1.9914305e-04),
    tiny=2.0**-126,
    lift=2.0**25,
    lift_bits=25,
)

DOUBLE = Format(
    bits=64,
    mantissa=52,
    bias=1023,
    round_magic=1.5 * 2.0**52,
    sqrt_half_bits=0x3FE6A09E667F3BCD,
    ln2_high=6.93147180369123816490e-01,
    ln2_low=1.90821492927058770002e-10,
    exp_low=-746.0,
    exp_high=710.0,
    tanh_flat=20.0,
    expm1_flat=38.0,
    exp_tail=(
        0.5,
        0.16666666666666677,
        0.0416666666666667,
        0.008333333333321532,
        0.0013888888888866691,
        0.00019841269886401456,
        2.480158736084734e-05,
        2.7557243911428807e-06,
        2.755724251059e-07,
        2.510914744194205e-08,
        2.0924520349889665e-09,
    ),
    tiny=2.0**-1022,
    lift=2.0**54,
    lift_bits=54,
)


class Lanes:
    """A builder with arithmetic on one floating-point type, scalar or vector."""

    def __init__(self, builder: ir.IRBuilder, type_: ir.Type) -> None:
        self.builder = builder
        self.type = type_
        vector = isinstance(type_, ir.VectorType)
        self.element: ir.Type = type_.element if vector else type_
        self.count: int | None = type_.count if vector else None
        if isinstance(self.element, ir.FloatType):
            self.format = SINGLE
        elif isinstance(self.element, ir.DoubleType):
            self.format = DOUBLE
        else:
            raise TypeError(f"vector math needs float or double lanes, got {type_}")
        self.int_type = self.shaped(ir.IntType(self.format.bits))

    @property
    def single(self) -> bool:
        return self.format is SINGLE

    def shaped(self, element: ir.Type) -> ir.Type:
        return element if self.count is None else ir.VectorType(element, self.count)

    def const(self, value: float) -> ir.Constant:
        return self._splat(self.type, self.element, value)

    def int_const(self, value: int) -> ir.Constant:
        return self._splat(self.int_type, ir.IntType(self.format.bits), value)

    def _splat(self, type_: ir.Type, element: ir.Type, value: float | int) -> ir.Constant:
        if self.count is None:
            return ir.Constant(type_, value)
        return ir.Constant(type_, [ir.Constant(element, value)] * self.count)

    def call(self, name: str, *arguments: ir.Value) -> ir.Value:
        lanes = "" if self.count is None else f"v{self.count}"
        full = f"{name}.{lanes}f{self.format.bits}"
        return self.builder.call(
            declare(self.builder.module, full, self.type, arguments), arguments
        )

    def madd(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self.call("llvm.fmuladd", a, b, c)

    def abs(self, x: ir.Value) -> ir.Value:
        return self.call("llvm.fabs", x)

    def copysign(self, magnitude: ir.Value, sign: ir.Value) -> ir.Value:
        return self.call("llvm.copysign", magnitude, sign)

    def bits(self, x: ir.Value) -> ir.Value:
        return self.builder.bitcast(x, self.int_type)

    def floats(self, bits: ir.Value) -> ir.Value:
        return self.builder.bitcast(bits, self.type)

    def horner(self, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        result: ir.Value = self.const(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            result = self.madd(result, x, self.const(coefficient))
        return result

    def at_most(self, x: ir.Value, limit: float) -> ir.Value:
        """Clamp from above; NaN is kept."""
        bound = self.const(limit)
        return self.builder.select(self.builder.fcmp_ordered(">", x, bound), bound, x)

    def at_least(self, x: ir.Value, limit: float) -> ir.Value:
        """Clamp from below; NaN is kept."""
        bound = self.const(limit)
        return self.builder.select(self.builder.fcmp_ordered("<", x, bound), bound, x)

    def power_of_two(self, n: ir.Value) -> ir.Value:
        """Return 2 ** n for integer lanes n for which the result is a normal number."""
        biased = self.builder.add(n, self.int_const(self.format.bias))
        return self.floats(self.builder.shl(biased, self.int_const(self.format.mantissa)))

    def where(self, condition: ir.Value, then: ir.Value, otherwise: ir.Value) -> ir.Value:
        return self.builder.select(condition, then, otherwise)


def declare(
    module: ir.Module, name: str, result: ir.Type, arguments: Sequence[ir.Value]
) -> ir.Function:
    """Return the function `name`, declared once per module."""
    known = module.globals.get(name)
    if known is None:
        known = ir.Function(module, ir.FunctionType(result, [a.type for a in arguments]), name)
    return known
