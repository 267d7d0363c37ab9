"""Operations in words: how each is written with the names of its inputs, and its chain rule.

A primitive's name goes in, formulas come out, as the primitive's record has them; the numbers
beside them come from the primitive's own rules.

Read next: :mod:`chainrule.insight.explain.walk`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.core.primitive import Description, registry

__all__ = ["description", "formula", "number", "slope", "told"]

_PLACE = re.compile(r"\b(out|a|b|c)\b")


def description(operation: str) -> Description:
    """Return what the record of the primitive called `operation` says, or a general description."""
    found = registry[operation].description if operation in registry else None
    general = "upstream goes through the operation's own gradient rule"
    return found or Description(f"{operation}({{}})", (), general)


def _with(text: str, names: Sequence[str], out: str) -> str:
    places: Mapping[str, str] = {**dict(zip("abc", names, strict=False)), "out": out}
    return _PLACE.sub(lambda found: places.get(found[0], found[0]), text)


def formula(operation: str, names: Sequence[str]) -> str:
    """Return the operation written with the `names` of its inputs.

    >>> formula("div", ["1", "v7"])
    '1 / v7'
    """
    text = description(operation).formula
    return text.format(", ".join(names)) if "{}" in text else _with(text, names, "")


def slope(operation: str, position: int, names: Sequence[str], out: str) -> str:
    """Return the local derivative to the input at `position` as a formula, or an empty string.

    >>> slope("mul", 0, ["w0", "x0"], "v1"), slope("exp", 0, ["v5"], "v6")
    ('x0', 'v6')
    """
    slopes = description(operation).slopes
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
