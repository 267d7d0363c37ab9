"""Operations in words: how each is written with the names of its inputs, and its chain rule.

A primitive's name goes in, formulas come out, as the primitive's record has them; the numbers
shown next to them are computed by the primitive's gradient rules.

Read next: :mod:`chainrule.insight.explain.walk`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from chainrule.core.primitive import Description, registry

__all__ = ["description", "formula", "slope"]

_PLACE = re.compile(r"\b(out|a|b|c)\b")


def description(operation: str) -> Description:
    """Return the description in the record of the primitive `operation`, or a general one."""
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
    """Return the local derivative with respect to input `position` as a formula, or "".

    >>> slope("mul", 0, ["w0", "x0"], "v1"), slope("exp", 0, ["v5"], "v6")
    ('x0', 'v6')
    """
    slopes = description(operation).slopes
    return _with(slopes[position], names, out) if position < len(slopes) else ""
