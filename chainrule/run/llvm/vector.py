"""The builder with which the scalar rules of primitives emit LLVM code.

A value is a Python number, an LLVM scalar or an LLVM vector, with a dtype.  Numbers and
scalars are broadcast when combined with a vector, so one rule serves scalars and vectors.

Read next: :mod:`chainrule.run.llvm.emit`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from chainrule.run.llvm.instructions import splat
from chainrule.run.llvm.vector_math import EMITTERS

__all__ = ["Value", "VectorBuilder", "element_type", "memory_type"]

_TYPES: dict[str, ir.Type] = {
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    "int32": ir.IntType(32),
    "int64": ir.IntType(64),
    "uint8": ir.IntType(8),
    "uint32": ir.IntType(32),
    "bool": ir.IntType(1),
}
_RANK = ["bool", "uint8", "uint32", "int32", "int64", "float32", "float64"]


def element_type(dtype: str) -> ir.Type:
    """Return the LLVM type of one element in a register."""
    return _TYPES[dtype]


def memory_type(dtype: str) -> ir.Type:
    """Return the LLVM type of one element in memory, where a boolean is a byte."""
    return ir.IntType(8) if dtype == "bool" else _TYPES[dtype]


@dataclass(frozen=True)
class Value:
    """A number (a Python constant), or an LLVM scalar or vector, of `dtype`."""

    value: Any
    dtype: str

    @property
    def is_constant(self) -> bool:
        """Whether it is a Python number, which is not in a register."""
        return not isinstance(self.value, ir.Value)

    @property
    def lanes(self) -> int:
        """The number of lanes; 0 for a constant or scalar."""
        if self.is_constant or not isinstance(self.value.type, ir.VectorType):
            return 0
        return int(self.value.type.count)


class VectorBuilder:
    """The :class:`~chainrule.core.primitive.ScalarBuilder` that writes LLVM instructions."""

    def __init__(self, builder: ir.IRBuilder):
        self.builder = builder

    # --- conversion of operands to a common type ----------------------------------------------

    def register(self, x: Value, dtype: str, lanes: int) -> ir.Value:
        """Return `x` as an LLVM value of `dtype` with `lanes` lanes (0: a scalar)."""
        kind = element_type(dtype)
        if x.is_constant:
            number = _python(x.value, dtype)
            if lanes:
                return ir.Constant(ir.VectorType(kind, lanes), [ir.Constant(kind, number)] * lanes)
            return ir.Constant(kind, number)
        value = x.value if x.dtype == dtype else self.convert(x, dtype).value
        if x.lanes == 1 and not lanes:
            return self.builder.extract_element(value, ir.Constant(ir.IntType(32), 0))
        return splat(self.builder, value, lanes) if lanes and not x.lanes else value

    def _together(self, *operands: Any) -> tuple[list[ir.Value], str]:
        values = [self._wrap(x) for x in operands]
        typed = [v.dtype for v in values if v.dtype != "number"]
        dtype = max(typed, key=_RANK.index, default="float32")
        lanes = max(v.lanes for v in values)
        return [self.register(v, dtype, lanes) for v in values], dtype

    @staticmethod
    def _wrap(x: Any) -> Value:
        return x if isinstance(x, Value) else Value(x, "number")

    # --- the operations of scalar rules -------------------------------------------------------

    def constant(self, value: float) -> Value:
        """Return a number that takes the dtype of the operand it is combined with."""
        return Value(value, "bool" if isinstance(value, bool) else "number")

    def _arithmetic(
        self, x: Any, y: Any, on_floats: str, on_ints: str, on_bools: str = ""
    ) -> Value:
        (a, b), dtype = self._together(x, y)
        name = on_floats if dtype.startswith("float") else on_ints
        name = on_bools if dtype == "bool" and on_bools else name
        return Value(getattr(self.builder, name)(a, b), dtype)

    def add(self, x: Any, y: Any) -> Value:
        return self._arithmetic(x, y, "fadd", "add", "or_")  # True + True is True

    def sub(self, x: Any, y: Any) -> Value:
        return self._arithmetic(x, y, "fsub", "sub")

    def mul(self, x: Any, y: Any) -> Value:
        return self._arithmetic(x, y, "fmul", "mul")

    def div(self, x: Any, y: Any) -> Value:
        return self._arithmetic(x, y, "fdiv", "sdiv")

    def pow(self, x: Any, y: Any) -> Value:
        (a, b), dtype = self._together(x, y)
        return Value(EMITTERS["pow"](self.builder, a, b), dtype)

    def _compare(self, operator: str, x: Any, y: Any) -> Value:
        (a, b), dtype = self._together(x, y)
        if dtype.startswith("float"):
            return Value(self.builder.fcmp_ordered(operator, a, b), "bool")
        unsigned = dtype in ("bool", "uint8", "uint32")
        compare = self.builder.icmp_unsigned if unsigned else self.builder.icmp_signed
        return Value(compare(operator, a, b), "bool")

    def less(self, x: Any, y: Any) -> Value:
        return self._compare("<", x, y)

    def less_equal(self, x: Any, y: Any) -> Value:
        return self._compare("<=", x, y)

    def equal(self, x: Any, y: Any) -> Value:
        return self._compare("==", x, y)

    def both(self, x: Any, y: Any) -> Value:
        (a, b), _ = self._together(x, y)
        return Value(self.builder.and_(a, b), "bool")

    def either(self, x: Any, y: Any) -> Value:
        (a, b), _ = self._together(x, y)
        return Value(self.builder.or_(a, b), "bool")

    def negate(self, x: Any) -> Value:
        (a,), dtype = self._together(x)
        if dtype.startswith("float"):
            return Value(self.builder.fneg(a), dtype)
        return Value(self.builder.neg(a), dtype)

    def select(self, condition: Any, x: Any, y: Any) -> Value:
        branches = [self._wrap(x), self._wrap(y)]
        choice = self._wrap(condition)
        typed = [v.dtype for v in branches if v.dtype != "number"]
        dtype = max(typed, key=_RANK.index, default="float32")
        lanes = max(v.lanes for v in (choice, *branches))
        a, b = (self.register(v, dtype, lanes) for v in branches)
        return Value(self.builder.select(self.register(choice, "bool", lanes), a, b), dtype)

    def math(self, name: str, x: Any) -> Value:
        """Apply the function `name` of one variable."""
        (a,), dtype = self._together(x)
        if not dtype.startswith("float"):
            return self._integer_math(name, a, dtype)
        if name == "is_nan":
            return Value(self.builder.fcmp_unordered("uno", a, a), "bool")
        intrinsic = {"abs": "llvm.fabs", "sqrt": "llvm.sqrt", "floor": "llvm.floor"}.get(name)
        if intrinsic is None:
            return Value(EMITTERS[name](self.builder, a), dtype)
        return Value(self.builder.call(self._intrinsic(intrinsic, a.type), [a]), dtype)

    def _integer_math(self, name: str, a: ir.Value, dtype: str) -> Value:
        if name == "is_nan":
            return Value(False, "bool")
        x = Value(a, dtype)
        if name == "abs":
            return self.select(self.less(x, self.constant(0)), self.negate(x), x)
        if name == "floor":
            return x
        raise KeyError(f"{name} of integers")

    def _intrinsic(self, name: str, kind: ir.Type) -> ir.Function:
        vector = isinstance(kind, ir.VectorType)
        bits = "f64" if isinstance(kind.element if vector else kind, ir.DoubleType) else "f32"
        full = f"{name}.v{kind.count}{bits}" if vector else f"{name}.{bits}"
        declared = self.builder.module.globals.get(full)
        return declared or ir.Function(self.builder.module, ir.FunctionType(kind, [kind]), full)

    def convert(self, x: Any, dtype: str) -> Value:
        """Convert to `dtype` as NumPy's astype does."""
        source = self._wrap(x)
        if source.dtype == dtype:
            return source
        if source.is_constant:
            return Value(_python(source.value, dtype), dtype)
        return Value(self._cast(source, dtype), dtype)

    def _cast(self, source: Value, dtype: str) -> ir.Value:
        b, value, lanes = self.builder, source.value, source.lanes
        kind = element_type(dtype)
        target = ir.VectorType(kind, lanes) if lanes else kind
        was_float, is_float = source.dtype.startswith("float"), dtype.startswith("float")
        unsigned = source.dtype in ("bool", "uint8", "uint32")
        if dtype == "bool":
            return self._compare_with_zero(source)
        if was_float and is_float:
            return b.fpext(value, target) if dtype == "float64" else b.fptrunc(value, target)
        if was_float:
            return b.fptoui(value, target) if dtype.startswith("u") else b.fptosi(value, target)
        if is_float:
            return b.uitofp(value, target) if unsigned else b.sitofp(value, target)
        have, want = element_type(source.dtype).width, kind.width
        if want == have:
            return value
        if want < have:
            return b.trunc(value, target)
        return b.zext(value, target) if unsigned else b.sext(value, target)

    def _compare_with_zero(self, source: Value) -> ir.Value:
        zero = self.register(Value(0, source.dtype), source.dtype, source.lanes)
        if source.dtype.startswith("float"):
            return self.builder.fcmp_unordered("!=", source.value, zero)
        return self.builder.icmp_unsigned("!=", source.value, zero)


def _python(number: Any, dtype: str) -> Any:
    """Return `number` in the form of an LLVM constant of `dtype`."""
    if dtype == "float32":
        with np.errstate(over="ignore"):
            return float(np.float32(number))
    if dtype == "float64":
        return float(number)
    if dtype == "bool":
        return int(bool(number))
    return int(number) if math.isfinite(number) else 0
