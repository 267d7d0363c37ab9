"""Format numbers and tables as text, for the pages and printed texts of this package.

:func:`number` and :func:`told` are for calculations that a reader checks by hand; :func:`amount`
and :func:`measure` are for results; :func:`table` aligns columns.

Read next: :mod:`chainrule.insight.render.page`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = [
    "amount",
    "coverage_rows",
    "interval",
    "measure",
    "number",
    "setting",
    "short",
    "table",
    "told",
]


def number(value: Any, digits: int = 4) -> str:
    """Return a number with `digits` significant digits, and all digits before the point.

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
    """Return a number or at most 4 numbers, else the shape and Euclidean norm of the array.

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


def amount(value: float | None) -> str:
    """Format a number with four digits, or rounded with thousands separators if large.

    >>> amount(0.123456), amount(43210.7), amount(None)
    ('0.1235', '43,211', '–')
    """
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def measure(key: str, value: float | None) -> str:
    """Format the score named `key`; accuracies are in percent.

    >>> measure("accuracy", 0.957), measure("log_loss", 0.12345)
    ('95.7 %', '0.1235')
    """
    percent = value is not None and key.endswith("accuracy")
    return f"{100 * value:.1f} %" if percent and value is not None else amount(value)


def interval(key: str, ends: Sequence[float] | None) -> str:
    """Format the confidence interval of the score named `key`; "" if it is not known.

    >>> interval("accuracy", [0.833, 0.994]), interval("rmse", [1.5, 2.25])
    ('83.3 to 99.4 %', '1.5 to 2.25')
    """
    if ends is None:
        return ""
    low, high = (measure(key, end) for end in ends)
    return f"{low.removesuffix(' %')} to {high}"


def coverage_rows(held: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    """Return a label, a value and its interval for each measure of prediction intervals.

    held: what :func:`chainrule.tabular.conformal.coverage` returns.

    >>> coverage_rows({"level": 0.9, "covered": 0.914, "between": [0.82, 0.96], "mean_width": 2.5})
    [('90 % intervals contain', '91.4 %', '82.0 to 96.0 %'), ('their mean width', '2.5', '')]
    """
    if held is None:
        return []
    label = f"{100 * held['level']:g} % intervals contain"
    low, high = (f"{100 * end:.1f}" for end in held["between"])
    return [
        (label, f"{100 * held['covered']:.1f} %", f"{low} to {high} %"),
        ("their mean width", amount(held["mean_width"]), ""),
    ]


def short(value: Any) -> str:
    """Return a float with four digits, and any other value as ``str`` does.

    >>> short(np.float32(0.123456)), short(12345), short("relu")
    ('0.1235', '12345', 'relu')
    """
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


def setting(value: Any) -> str:
    """Format the value of a setting: a list without brackets, None as "–".

    >>> setting([64, 32]), setting(()), setting(None), setting("adam")
    ('64, 32', 'none', '–', 'adam')
    """
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "–" if value is None else str(value)


def table(
    rows: Sequence[Sequence[str]], numbers: Container[int] | None = (), indent: str = "  "
) -> list[str]:
    """Return `rows`, which may have different lengths, as lines with aligned columns.

    Columns in `numbers` are aligned to the right; None means all but the first.

    >>> table([("a", "10"), ("total", "7")], numbers=[1])
    ['  a      10', '  total   7']
    """
    count = max(map(len, rows), default=0)
    widths = [max(len(row[k]) for row in rows if len(row) > k) for k in range(count)]
    right = range(1, count) if numbers is None else numbers
    return [
        (indent + "  ".join(
            cell.rjust(width) if k in right else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=False))
        )).rstrip()
        for row in rows
    ]  # fmt: skip
