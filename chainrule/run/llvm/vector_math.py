"""Emit vectorized elementary functions (exp, log, tanh, ...) as polynomial approximations.

Each takes a float or double, or a vector of either, and returns a value of the same type. The code
is straight-line, with selects instead of branches: a call to libm would prevent vectorization of
the loop around it and make it five to twenty times slower.

Accuracy: at most 2 ulp in float32 over every input, and in float64 over every input tested
(measured in `tests/run/test_vector_math.py`). Infinities, NaN, signed zeros, overflow and
underflow behave as in C99. The bound includes denormal inputs and results, unless the caller has
set flush-to-zero, which treats them as zero.

Where a polynomial would be too slow, libm is called for each lane: for sin and cos of huge
arguments (in a branch inside a function that is always inlined, so the caller still emits
straight-line code) and for sin, cos, erf and pow of float64.

The two multiply-adds that must be fused use `llvm.fma`; the others may be split in two.

Read next: `chainrule/run/llvm/float_lanes.py` for the arithmetic operations.

Sources: Cody and Waite, *Software Manual for the Elementary Functions* (1980), for the reductions;
Muller, *Elementary Functions* (2016), for the compensated forms. Coefficients are minimax fits
(Remez exchange in 160-bit arithmetic) unless a comment says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from chainrule.run.llvm.float_lanes import Lanes, declare

__all__ = [
    "EMITTERS",
    "emit_arctan",
    "emit_cos",
    "emit_erf",
    "emit_exp",
    "emit_expm1",
    "emit_log",
    "emit_log1p",
    "emit_pow",
    "emit_sigmoid",
    "emit_sin",
    "emit_tanh",
]

_INF = float("inf")
_NAN = float("nan")

# log(1 + f) = f - f^2/2 + f^3 * P(f) on sqrt(1/2) <= 1 + f <= sqrt(2), float32
_LOG_SINGLE = (
    3.333331e-01,
    -2.4999987e-01,
    2.0002227e-01,
    -1.6669253e-01,
    1.4218664e-01,
    -1.2384335e-01,
    1.1872924e-01,
    -1.1789866e-01,
    6.915546e-02,
)
# log(1 + f) = 2s + s z Q(z) with s = f / (2 + f), z = s^2, float64
_LOG_DOUBLE = (
    0.6666666666666734,
    0.39999999999414315,
    0.28571428742475385,
    0.2222219856344929,
    0.18183564867954757,
    0.1531403581432405,
    0.1479610555595777,
)
_SIN = (-1.6666667e-01, 8.333329e-03, -1.9839327e-04, 2.7182373e-06)  # sin r = r + r^3 P(r^2)
_COS = (4.1666646e-02, -1.3887362e-03, 2.443773e-05)  # cos r = 1 - r^2/2 + r^4 P(r^2)
# arctan x = x + x^3 P(x^2) on x <= 0.66, through Chebyshev points
_ARCTAN_SINGLE = (
    -3.33333313e-01,
    1.99998602e-01,
    -1.42803848e-01,
    1.10338993e-01,
    -8.54306817e-02,
    5.58232665e-02,
    -2.06964649e-02,
)
_ARCTAN_DOUBLE = (
    -0.3333333333333333,
    0.1999999999999845,
    -0.142857142854473,
    0.11111111092907396,
    -0.09090908438266297,
    0.07692293534164442,
    -0.06666465021019526,
    0.05880368590078891,
    -0.05249214968957962,
    0.04690492734407328,
    -0.040779974772285656,
    0.03243321955570354,
    -0.021234090028171622,
    0.009703569337018672,
    -0.0022307886572777457,
)
_HALF_PI_SINGLE = (1.57079637050628662, -4.37113900018624283e-8)
_HALF_PI_DOUBLE = (1.5707963267948966192, 6.123233995736765886e-17)

_ERF_NEAR = (  # erf x = x + x P(x^2) for |x| <= 0.9375
    1.2837917e-01,
    -3.7612632e-01,
    1.1283679e-01,
    -2.6858497e-02,
    5.19883e-03,
    -8.118075e-04,
    8.26746e-05,
)
_ERF_FAR = (  # log(1 - erf t) = t P(t) - t for 0.9375 <= t <= 4
    -1.2865314e-01,
    -6.3513243e-01,
    -1.0626805e-01,
    2.378888e-02,
    -3.655124e-03,
    3.2591543e-04,
    -1.1541877e-05,
)
# pi/2 in three floats for reduction by fused multiply-adds, good to |x| < 71476
_HALF_PI = (1.57079601, 3.13916473e-07, 5.39030253e-15)
_TRIG_LIMIT = 71476.0


# --- exp and related functions --------------------------------------------------------------


def _reduce_exp(
    v: Lanes, x: ir.Value, compensated: bool = False
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Split x = n log 2 + r; return n as integers, r, and the tail e^r - (1 + r).

    If `compensated`, the tail includes the rounding error of r.
    """
    f = v.format
    magic = v.const(f.round_magic)
    shifted = v.madd(x, v.const(1.4426950408889634), magic)
    whole = v.builder.fsub(shifted, magic)
    n = v.builder.sub(v.bits(shifted), v.bits(magic))
    coarse = v.madd(whole, v.const(-f.ln2_high), x)
    r = v.madd(whole, v.const(-f.ln2_low), coarse)
    square, series = v.builder.fmul(r, r), v.horner(r, f.exp_tail)
    if not compensated:
        return n, r, v.builder.fmul(square, series)
    lost = v.madd(whole, v.const(-f.ln2_low), v.builder.fsub(coarse, r))
    return n, r, v.madd(square, series, lost)


def _exp(v: Lanes, x: ir.Value) -> ir.Value:
    b = v.builder
    n, r, tail = _reduce_exp(v, v.at_least(v.at_most(x, v.format.exp_high), v.format.exp_low))
    fraction = b.fadd(v.const(1.0), b.fadd(r, tail))
    # Two factors, because 2 ** n alone is out of range if the result is denormal or huge.
    half = b.ashr(n, v.int_const(1))
    scaled = b.fmul(fraction, v.power_of_two(half))
    return b.fmul(scaled, v.power_of_two(b.sub(n, half)))


def _expm1_halved(v: Lanes, x: ir.Value) -> ir.Value:
    """Return (e^x - 1) / 2 for clamped x; halving keeps 2 ** n in range for large x."""
    b = v.builder
    n, r, tail = _reduce_exp(v, x, compensated=True)
    scale = v.power_of_two(b.sub(n, v.int_const(1)))
    return v.madd(scale, tail, v.madd(scale, r, b.fsub(scale, v.const(0.5))))


def emit_exp(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit e^x."""
    return _exp(Lanes(builder, x.type), x)


def emit_expm1(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit e^x - 1, accurate near zero."""
    v = Lanes(builder, x.type)
    clamped = v.at_least(v.at_most(x, v.format.exp_high), -v.format.expm1_flat)
    half = _expm1_halved(v, clamped)
    return v.copysign(builder.fadd(half, half), x)


def emit_tanh(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit tanh x = e / (e + 2) with e = expm1(2|x|), and the sign of x."""
    v = Lanes(builder, x.type)
    size = v.at_most(v.abs(x), v.format.tanh_flat)
    half = _expm1_halved(v, builder.fadd(size, size))
    return v.copysign(_divide_one_plus(v, half, half), x)


def emit_sigmoid(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit 1 / (1 + e^-x), by e^-|x| to avoid overflow and to keep small results accurate."""
    v = Lanes(builder, x.type)
    size = v.abs(x)
    small = _exp(v, builder.fneg(size))
    one = v.const(1.0)
    top = v.where(builder.fcmp_ordered("<", x, v.const(0.0)), small, one)
    return _divide_one_plus(v, top, small)


def _divide_one_plus(v: Lanes, top: ir.Value, size: ir.Value) -> ir.Value:
    """Return top / (1 + size), corrected for rounding of the sum and quotient if top = size.

    Plain division has an error of up to 2.4 ulp for size < 1; otherwise it is accurate enough.
    """
    b, one = v.builder, v.const(1.0)
    divisor = b.fadd(one, size)
    lost = b.fsub(size, b.fsub(divisor, one))
    quotient = b.fdiv(top, divisor)
    owed = v.madd(b.fneg(quotient), divisor, top)
    owed = v.madd(b.fneg(quotient), lost, owed)
    repaid = v.madd(owed, b.fsub(one, quotient), quotient)
    return v.where(b.fcmp_ordered("<", size, one), repaid, quotient)


# --- logarithms -----------------------------------------------------------------------------


def _log_of_parts(v: Lanes, f: ir.Value, k: ir.Value) -> ir.Value:
    """Return log(2^k (1 + f)) for float k and f in [sqrt(1/2) - 1, sqrt(2) - 1]."""
    b = v.builder
    half_square = b.fmul(b.fmul(f, f), v.const(0.5))
    if v.single:
        cube = b.fmul(b.fmul(f, f), f)
        rest = v.madd(cube, v.horner(f, _LOG_SINGLE), b.fneg(half_square))
        rest = v.madd(k, v.const(v.format.ln2_low), rest)
    else:
        s = b.fdiv(f, b.fadd(f, v.const(2.0)))
        z = b.fmul(s, s)
        series = b.fmul(z, v.horner(z, _LOG_DOUBLE))
        rest = v.madd(k, v.const(v.format.ln2_low), b.fmul(s, b.fadd(half_square, series)))
        rest = b.fsub(rest, half_square)
    return v.madd(k, v.const(v.format.ln2_high), b.fadd(f, rest))


def _binary_exponent(v: Lanes, x: ir.Value) -> ir.Value:
    """Return the integer k with x / 2^k in [sqrt(1/2), sqrt(2)), for normal positive x."""
    offset = v.builder.sub(v.bits(x), v.int_const(v.format.sqrt_half_bits))
    return v.builder.ashr(offset, v.int_const(v.format.mantissa))


def emit_log(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit the natural logarithm: -inf at zero, NaN below."""
    v, b = Lanes(builder, x.type), builder
    denormal = b.fcmp_ordered("<", x, v.const(v.format.tiny))
    lifted = v.where(denormal, b.fmul(x, v.const(v.format.lift)), x)
    k = _binary_exponent(v, lifted)
    mantissa = v.floats(b.sub(v.bits(lifted), b.shl(k, v.int_const(v.format.mantissa))))
    correction = v.where(denormal, v.const(-float(v.format.lift_bits)), v.const(0.0))
    exponent = b.fadd(b.sitofp(k, v.type), correction)
    result = _log_of_parts(v, b.fsub(mantissa, v.const(1.0)), exponent)
    return _log_edges(v, result, x, pole=0.0)


def emit_log1p(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit log(1 + x), accurate near zero: -inf at minus one, NaN below."""
    v, b = Lanes(builder, x.type), builder
    k = _binary_exponent(v, b.fadd(v.const(1.0), x))
    # 2^-k (1 + x) - 1 without rounding 1 + x. Above 2^64 the 1 is negligible, and scaling x
    # first keeps 2^-k normal.
    huge = b.fcmp_ordered(">", x, v.const(2.0**64))
    shift = v.where(huge, v.int_const(64), v.int_const(0))
    scale = v.power_of_two(b.sub(shift, k))
    scaled_x = v.where(huge, b.fmul(x, v.const(2.0**-64)), x)
    one_part = v.where(huge, v.const(-1.0), b.fsub(scale, v.const(1.0)))
    f = v.madd(scale, scaled_x, one_part)
    result = _log_edges(v, _log_of_parts(v, f, b.sitofp(k, v.type)), x, pole=-1.0)
    return v.where(b.fcmp_unordered("==", x, v.const(0.0)), x, result)  # keeps -0 and NaN


def _log_edges(v: Lanes, result: ir.Value, x: ir.Value, pole: float) -> ir.Value:
    b = v.builder
    result = v.where(b.fcmp_unordered("==", x, v.const(_INF)), x, result)
    result = v.where(b.fcmp_ordered("<", x, v.const(pole)), v.const(_NAN), result)
    return v.where(b.fcmp_ordered("==", x, v.const(pole)), v.const(-_INF), result)


# --- sine and cosine ------------------------------------------------------------------------


def _trig(builder: ir.IRBuilder, x: ir.Value, name: str) -> ir.Value:
    v = Lanes(builder, x.type)
    if not v.single:
        return v.call(f"llvm.{name}", x)
    return builder.call(_trig_function(builder.module, v, name), [x])


def _trig_function(module: ir.Module, v: Lanes, name: str) -> ir.Function:
    """Define sin or cos, once per module; it calls libm only if some lane is huge."""
    full = f"chainrule.{name}.{v.count}"
    known = module.globals.get(full)
    if known is not None:
        return known
    slow = ir.Function(module, ir.FunctionType(v.type, [v.type]), f"{full}.huge")
    slow.linkage = "internal"
    slow.attributes.add("noinline")
    slow.attributes.add("cold")
    body = ir.IRBuilder(slow.append_basic_block())
    body.ret(Lanes(body, v.type).call(f"llvm.{name}", slow.args[0]))

    function = ir.Function(module, ir.FunctionType(v.type, [v.type]), full)
    function.linkage = "internal"
    function.attributes.add("alwaysinline")
    b = ir.IRBuilder(function.append_basic_block())
    x = function.args[0]
    lanes = Lanes(b, v.type)
    fast = _trig_small(lanes, x, name)
    huge = b.fcmp_ordered(">", lanes.abs(x), lanes.const(_TRIG_LIMIT))
    if v.count is not None:  # test all lanes at once by reading the mask as one integer
        huge = b.icmp_unsigned(
            "!=", b.bitcast(huge, ir.IntType(v.count)), ir.Constant(ir.IntType(v.count), 0)
        )
    with b.if_then(huge, likely=False):
        b.ret(b.call(slow, [x]))
    b.ret(fast)
    return function


def _trig_small(v: Lanes, x: ir.Value, name: str) -> ir.Value:
    """Return sin or cos for |x| <= 71476 by reduction to [-pi/4, pi/4]."""
    b = v.builder
    magic = v.const(v.format.round_magic)
    shifted = v.madd(x, v.const(0.6366197723675814), magic)
    turns = b.fneg(b.fsub(shifted, magic))
    quadrant = v.bits(shifted)
    if name == "cos":
        quadrant = b.add(quadrant, v.int_const(1))
    r = x
    for part in _HALF_PI:
        r = v.call("llvm.fma", turns, v.const(part), r)  # exact only if fused
    square = b.fmul(r, r)
    sine = v.madd(b.fmul(square, r), v.horner(square, _SIN), r)
    cosine = v.madd(square, v.const(-0.5), v.const(1.0))
    cosine = v.madd(b.fmul(square, square), v.horner(square, _COS), cosine)
    odd = b.icmp_signed("!=", b.and_(quadrant, v.int_const(1)), v.int_const(0))
    chosen = v.where(odd, cosine, sine)
    sign = b.shl(b.and_(quadrant, v.int_const(2)), v.int_const(v.format.bits - 2))
    result = v.floats(b.xor(v.bits(chosen), sign))
    if name == "cos":
        return result
    return v.where(b.fcmp_ordered("==", x, v.const(0.0)), x, result)  # keeps -0


def emit_sin(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit sin x, x in radians of any size."""
    return _trig(builder, x, "sin")


def emit_cos(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit cos x, x in radians of any size."""
    return _trig(builder, x, "cos")


def emit_arctan(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit arctan x, by arctan x = pi/2 - arctan 1/x = pi/4 + arctan (x - 1)/(x + 1)."""
    v, b = Lanes(builder, x.type), builder
    size, one = v.abs(x), v.const(1.0)
    large = b.fcmp_ordered(">", size, v.const(2.414213562373095))  # tan 3/8 pi
    middle = b.fcmp_ordered(">", size, v.const(0.66))
    top = v.where(large, v.const(-1.0), v.where(middle, b.fsub(size, one), size))
    bottom = v.where(large, size, v.where(middle, b.fadd(size, one), one))
    t = b.fdiv(top, bottom)
    square = b.fmul(t, t)
    curve = v.horner(square, _ARCTAN_SINGLE if v.single else _ARCTAN_DOUBLE)
    # The angle to add, in two parts: the rounding error of pi/2 is added to the small part.
    part = v.where(large, one, v.where(middle, v.const(0.5), v.const(0.0)))
    head, tail = _HALF_PI_SINGLE if v.single else _HALF_PI_DOUBLE
    small = v.madd(part, v.const(tail), v.madd(b.fmul(t, square), curve, t))
    return v.copysign(v.madd(part, v.const(head), small), x)


# --- erf and pow ----------------------------------------------------------------------------


def _each_lane(builder: ir.IRBuilder, x: ir.Value, libm_name: str) -> ir.Value:
    """Call a libm function that is not an LLVM intrinsic, lane by lane."""
    v = Lanes(builder, x.type)
    if v.count is None:
        return builder.call(declare(builder.module, libm_name, v.element, [x]), [x])
    result: ir.Value = ir.Constant(x.type, ir.Undefined)
    for lane in range(v.count):
        index = ir.Constant(ir.IntType(32), lane)
        argument = builder.extract_element(x, index)
        function = declare(builder.module, libm_name, v.element, [argument])
        result = builder.insert_element(result, builder.call(function, [argument]), index)
    return result


def emit_erf(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Emit the error function 2/sqrt(pi) * integral from 0 to x of e^(-t^2) dt."""
    v, b = Lanes(builder, x.type), builder
    if not v.single:
        return _each_lane(builder, x, "erf")
    size = v.abs(x)
    square = b.fmul(x, x)
    near = v.madd(x, v.horner(square, _ERF_NEAR), x)
    t = v.at_most(size, 4.0)
    log_rest = v.madd(t, v.horner(t, _ERF_FAR), b.fneg(t))
    far = v.copysign(b.fsub(v.const(1.0), _exp(v, log_rest)), x)
    return v.where(b.fcmp_ordered(">", size, v.const(0.9375)), far, near)


def emit_pow(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """Emit x^y with the special cases of C99; float32 is computed in float64."""
    v, b = Lanes(builder, x.type), builder
    if not v.single:
        return v.call("llvm.pow", x, y)
    wide_type = v.shaped(ir.DoubleType())
    wide = Lanes(builder, wide_type)
    base = b.fpext(v.abs(x), wide_type)
    exponent = b.fmul(b.fpext(y, wide_type), emit_log(builder, base))
    size = b.fptrunc(_exp(wide, exponent), v.type)

    half = b.fmul(y, v.const(0.5))
    whole = b.fcmp_ordered("==", v.call("llvm.trunc", y), y)
    even = b.fcmp_ordered("==", v.call("llvm.trunc", half), half)
    odd = b.and_(whole, b.not_(even))
    signed = v.where(odd, v.copysign(size, x), size)
    zero, one = v.const(0.0), v.const(1.0)
    finite_negative = b.and_(b.fcmp_ordered("<", x, zero), b.fcmp_ordered("!=", x, v.const(-_INF)))
    result = v.where(b.and_(finite_negative, b.not_(whole)), v.const(_NAN), signed)
    unit_base = b.and_(  # (-1) ** (+-inf) is one
        b.fcmp_ordered("==", v.abs(x), one), b.fcmp_ordered("==", v.abs(y), v.const(_INF))
    )
    is_one = b.or_(b.fcmp_ordered("==", x, one), b.fcmp_ordered("==", y, zero))
    return v.where(b.or_(unit_base, is_one), one, result)


EMITTERS: dict[str, Callable[..., ir.Value]] = {
    "arctan": emit_arctan,
    "exp": emit_exp,
    "log": emit_log,
    "log1p": emit_log1p,
    "expm1": emit_expm1,
    "tanh": emit_tanh,
    "sigmoid": emit_sigmoid,
    "erf": emit_erf,
    "sin": emit_sin,
    "cos": emit_cos,
    "pow": emit_pow,
}
"""The emitters by the names of their functions."""
