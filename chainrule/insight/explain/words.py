"""Operations in words: how each is written with the names of its inputs, and its chain rule.

Enters a primitive's name, leaves formulas in the language of
:mod:`chainrule.insight.explain.expression`.  They are for reading alone; the numbers beside them
come from the primitives' own rules, and the tests hold each formula to those.

Read next: :mod:`chainrule.insight.explain.walk`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Saying", "formula", "number", "saying", "slope", "told"]


@dataclass(frozen=True)
class Saying:
    """An operation on inputs a, b, c: `formula`, the slope to each input, its rule in `words`.

    In a slope, `out` is the operation's value; a rule with `upstream`, the gradient of that, is
    what the input receives as a whole.  An empty slope is none, or none to be written.  `others`
    are the words for the second input where they differ.
    """

    formula: str
    slopes: tuple[str, ...]
    words: str
    others: str = ""

    def say(self, positions: Collection[int]) -> str:
        """Return the rule in words for the inputs at `positions`."""
        said = {(self.others or self.words) if k else self.words: None for k in sorted(positions)}
        return "; ".join(said)


_HAND_ON = "a sum hands the gradient on to each term as it is"
_MOVED = "numbers are only moved, so each gradient goes back to where its number came from"

SAYINGS: dict[str, Saying] = {
    "add": Saying("a + b", ("1", "1"), _HAND_ON),
    "sub": Saying(
        "a - b", ("1", "-1"),
        "a difference hands the gradient on as it is to what stands first",
        "what is subtracted receives the gradient with its sign turned",
    ),
    "mul": Saying("a * b", ("b", "a"), "each factor receives the gradient times the other factor"),
    "div": Saying(
        "a / b", ("1 / b", "-a / b**2"),
        "the numerator receives the gradient divided by the denominator",
        "the denominator receives the gradient times minus the quotient over the denominator",
    ),
    "pow": Saying(
        "a**b", ("b * a**(b - 1)", "a**b * log(a)"),
        "the exponent comes down as a factor, and is one less",
        "to its exponent, the slope of a power is the power itself times log of the base",
    ),
    "maximum": Saying(
        "max(a, b)",
        ("1 if a > b else 1/2 if a == b else 0", "0 if a > b else 1/2 if a == b else 1"),
        "the larger one receives the whole gradient, the other nothing; equal ones half each",
    ),
    "minimum": Saying(
        "min(a, b)",
        ("1 if a < b else 1/2 if a == b else 0", "0 if a < b else 1/2 if a == b else 1"),
        "the smaller one receives the whole gradient, the other nothing; equal ones half each",
    ),
    "where": Saying(
        "b if a else c", ("", "1 if a else 0", "0 if a else 1"),
        "the branch that is taken receives the whole gradient, the other nothing, whatever it is",
    ),
    "neg": Saying("-a", ("-1",), "the gradient turns its sign"),
    "abs": Saying(
        "abs(a)", ("sign(a)",),
        "the gradient turns its sign where the number did; at 0, where the slope jumps from -1 to "
        "1, it is taken as 0",
    ),
    "relu": Saying(
        "relu(a)", ("1 if a > 0 else 0",),
        "what is positive passes the gradient on, the rest stops it; at 0, where the slope "
        "jumps from 0 to 1, it is taken as 0",
    ),
    "exp": Saying("exp(a)", ("out",), "exp is its own slope"),
    "expm1": Saying("exp(a) - 1", ("exp(a)",), "exp is its own slope, and a constant has none"),
    "log": Saying("log(a)", ("1 / a",), "the slope of log is one over its argument"),
    "log1p": Saying("log(1 + a)", ("1 / (1 + a)",), "the slope of log is one over its argument"),
    "sqrt": Saying("sqrt(a)", ("1 / (2 * out)",), "the slope of a root is one over twice the root"),
    "sin": Saying("sin(a)", ("cos(a)",), "the slope of sin is cos"),
    "cos": Saying("cos(a)", ("-sin(a)",), "the slope of cos is -sin"),
    "tanh": Saying(
        "tanh(a)", ("1 - out**2",), "the slope of tanh is 1 - tanh², near 0 where it saturates"
    ),
    "sigmoid": Saying(
        "sigmoid(a)", ("out * (1 - out)",),
        "the slope of sigmoid is sigmoid · (1 - sigmoid), near 0 where it saturates",
    ),
    "erf": Saying(
        "erf(a)", ("2 / sqrt(pi) * exp(-a**2)",), "the slope of erf is a bell curve, 2/√π at 0"
    ),
    "sign": Saying("sign(a)", ("",), "a step is flat: nothing flows back"),
    "floor": Saying("floor(a)", ("",), "steps are flat: nothing flows back"),
    "less": Saying("a < b", ("", ""), "a yes or no is flat: nothing flows back"),
    "less_equal": Saying("a <= b", ("", ""), "a yes or no is flat: nothing flows back"),
    "equal": Saying("a == b", ("", ""), "a yes or no is flat: nothing flows back"),
    "stop_gradient": Saying("stop_gradient(a)", ("",), "the gradient is stopped here on purpose"),
    "cast": Saying("a", ("1",), "the same number in another dtype"),
    "matmul": Saying(
        "a @ b", ("upstream @ b.T", "a.T @ upstream"),
        "each matrix receives the gradient, upstream, times the other one, transposed",
    ),
    "sum": Saying("sum(a)", ("1",), _HAND_ON),
    "max": Saying(
        "max(a)", ("",), "the largest number receives the whole gradient; equal ones share it"
    ),
    "gather": Saying("a[b]", ("", ""), "each row that was taken receives its gradient back"),
    "reshape": Saying("reshape(a)", ("1",), _MOVED),
    "transpose": Saying("transpose(a)", ("1",), _MOVED),
    "slice": Saying("part(a)", ("",), "what was cut out receives its gradient, the rest nothing"),
    "pad": Saying("pad(a)", ("1",), "the numbers inside receive their gradient back"),
    "broadcast": Saying(
        "repeat(a)", ("",), "a number used in several places receives the sum of their gradients"
    ),
    "concat": Saying("join({})", (), _MOVED),
}  # fmt: skip

_PLACE = re.compile(r"\b(out|a|b|c)\b")


def saying(operation: str) -> Saying:
    """Return the words for the primitive called `operation`, or general ones."""
    general = "upstream goes through the operation's own gradient rule"
    return SAYINGS.get(operation, Saying(f"{operation}({{}})", (), general))


def _with(text: str, names: Sequence[str], out: str) -> str:
    places: Mapping[str, str] = {**dict(zip("abc", names, strict=False)), "out": out}
    return _PLACE.sub(lambda found: places.get(found[0], found[0]), text)


def formula(operation: str, names: Sequence[str]) -> str:
    """Return the operation written with the `names` of its inputs.

    >>> formula("div", ["1", "v7"])
    '1 / v7'
    """
    text = saying(operation).formula
    return text.format(", ".join(names)) if "{}" in text else _with(text, names, "")


def slope(operation: str, position: int, names: Sequence[str], out: str) -> str:
    """Return the local derivative to the input at `position` as a formula, or an empty string.

    >>> slope("mul", 0, ["w0", "x0"], "v1"), slope("exp", 0, ["v5"], "v6")
    ('x0', 'v6')
    """
    slopes = saying(operation).slopes
    return _with(slopes[position], names, out) if position < len(slopes) else ""


def number(value: Any, digits: int = 4) -> str:
    """Return a number with `digits` significant digits, a whole one plainly.

    >>> number(-0.196612), number(4.0), number(123456.7), number(True)
    ('-0.1966', '4', '123457', 'True')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if value == 0:
        return "0"
    if 1 <= abs(value) < 1e15:
        whole = len(str(int(abs(value))))
        text = f"{value:.{max(0, digits - whole)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{digits}g}"


def told(value: Any, digits: int = 4) -> str:
    """Return a number, a few numbers, or of an array its shape and its length as a vector.

    >>> told(np.array(-0.19661)), told(np.eye(2)), told(np.ones((3, 4))), told(np.eye(3))
    ('-0.1966', '[[1, 0], [0, 1]]', '(3×4, all 1)', '(3×3, norm 1.732)')
    """
    array = np.asarray(value)
    if array.size <= 4:
        return _listed(array.tolist(), digits)
    if array.min() == array.max():
        return f"({'×'.join(map(str, array.shape))}, all {number(array.flat[0].item(), digits)})"
    norm = number(float(np.linalg.norm(array.astype(np.float64))), digits)
    return f"({'×'.join(map(str, array.shape))}, norm {norm})"


def _listed(value: Any, digits: int) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_listed(v, digits) for v in value)}]"
    return number(value, digits)
