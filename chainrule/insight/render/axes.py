"""The axes of charts: scales, ticks, title and legend.

:func:`tag`, :func:`text` and :func:`titled` write the SVG elements of this package.

Read next: :mod:`chainrule.insight.render.chart`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

__all__ = [
    "CHARACTER",
    "WIDTH",
    "Plane",
    "Scale",
    "color",
    "cut",
    "dot",
    "fitted",
    "measured",
    "scale_for",
    "svg",
    "tag",
    "text",
    "titled",
]

WIDTH = 400.0  # of every chart, in SVG units: about one pixel each on a phone
CHARACTER = 6.3  # mean width of a character, in the same units
_COLORS = 8
_NARROW, _BROAD = frozenset("ijlftrI.,:;'|!()[] -"), frozenset("mwMW@%=+<>~_…")


@dataclass(frozen=True)
class Scale:
    """Map numbers from [`low`, `high`] to [`start`, `end`], linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else self._ends
        at = math.log10(value) if self.log else value / 2
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    @property
    def _ends(self) -> tuple[float, float]:
        return self.low / 2, self.high / 2  # halves, because high - low may overflow

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Return about `most` round numbers within the scale, each with its label.

        >>> Scale(0, 9.7, 0, 100).ticks()
        [(0.0, '0'), (2.0, '2'), (4.0, '4'), (6.0, '6'), (8.0, '8')]
        >>> [label for _, label in Scale(0.02, 300, 0, 100, log=True).ticks()]
        ['0.1', '1', '10', '100']
        """
        if self.log:
            return [(value, f"{value:.4g}") for value in _powers(self.low, self.high, most)]
        step = _round_step(self.high / most - self.low / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        values = [k * step for k in range(first, last + 1)]
        size = max(map(abs, values), default=0.0)
        if size >= 1e6 or step < 1e-4:
            digits = math.floor(math.log10(max(size, step)) + 1e-9) - math.floor(math.log10(step))
            return [(v, f"{v:.{max(1, digits + 1)}g}" if v else "0") for v in values]
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(v + 0.0, f"{v + 0.0:,.{decimals}f}") for v in values]


def _round_step(rough: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= rough * (1 - 1e-9))


def _powers(low: float, high: float, most: int) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, math.ceil((last - first + 1) / most))
    powers = [10.0**k for k in range(first, last + 1) if k % every == 0]
    if len(powers) >= 2:
        return powers
    many = [m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5)]
    return [v for v in many if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]


def scale_for(
    values: Iterable[float], start: float, end: float, log: bool = False, zero: bool = False
) -> Scale:
    """Return a scale that covers the finite `values`, and zero if `zero`, with a margin."""
    array = np.asarray(list(values), np.float64)
    array = array[np.isfinite(array) & ((array > 0) | (not log))]
    low, high = (float(array.min()), float(array.max())) if array.size else (0.1, 1.0)
    if zero and not log:
        low, high = min(low, 0.0), max(high, 0.0)
    if log:
        low, high = (low / 2, high * 2) if low == high else (low, high)
        return Scale(low, high, start, end, log)
    if high / 2 - low / 2 <= 1e-12 * max(abs(low), abs(high)):
        air = abs(low) / 2 or 0.5
        low, high = low - air, high + air
    else:
        air = high / 25 - low / 25
        low = low if zero and low == 0 else low - air
        high = high if zero and high == 0 else high + air
    return Scale(low, high, start, end)


def color(index: int) -> str:
    """Return the CSS color of the series with this number."""
    return f"var(--s{index % _COLORS})"


def dot(index: int) -> dict[str, str]:
    """Return the fill of a point of the series with this number; rings if colors are used up."""
    ring = index // _COLORS % 2
    return {"fill": "none", "stroke": color(index)} if ring else {"fill": color(index)}


def cut(text: str, width: float) -> str:
    """Return `text` escaped and truncated with an ellipsis to about `width`."""
    room = max(2, int(width / CHARACTER))
    return escape(text if len(text) <= room else text[: room - 1] + "…")


def measured(text: str) -> float:
    """Return an upper bound of the width of `text` in the usual fonts of pages.

    >>> measured("ill") < measured("one") < measured("ONE") < measured("WWW")
    True
    """
    return sum(
        5.1 if c in _NARROW else 12.0 if c in _BROAD or ord(c) > 0x2000 else
        9.2 if c.isupper() else 7.7 for c in text
    )  # fmt: skip


def fitted(text: str, room: float) -> str:
    """Return `text`, truncated with an ellipsis if it is wider than `room`.

    >>> fitted("heating=heat pump", 130), fitted("heating=heat pump", 80)
    ('heating=heat pump', 'heating=…')
    """
    if measured(text) <= room:
        return text
    kept = max((k for k in range(len(text)) if measured(text[:k] + "…") <= room), default=0)
    return f"{text[:kept]}…"


def tag(name: str, inside: str = "", **attributes: Any) -> str:
    """Return an SVG element; numbers are rounded, `_` in names becomes `-`, ``class_`` ``class``.

    `inside` is markup; attributes are escaped.

    >>> tag("rect", x=1 / 3, fill_opacity=1.0, class_="grid")
    '<rect x="0.33" fill-opacity="1" class="grid"/>'
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_written(value)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{said}>{inside}</{name}>" if inside else f"<{name}{said}/>"


def _written(value: Any) -> str:
    if isinstance(value, (int, float)):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(str(value))


def text(
    words: str, x: float, y: float, kind: str = "", anchor: str = "start", room: float = WIDTH
) -> str:
    """Return `words` at (x, y), truncated to about `room`; `kind` is a class of ``page.css``."""
    about = {"class_": kind} if kind else {}
    about |= {"text_anchor": anchor} if anchor != "start" else {}
    return tag("text", cut(words, room), x=x, y=y, **about)


def titled(name: str, title: str, inside: str = "", **attributes: Any) -> str:
    """Return an element with a `title`, which browsers show on hover."""
    return tag(name, tag("title", escape(title)) + inside, **attributes)


def svg(width: float, height: float, body: str, title: str) -> str:
    """Return an ``<svg>`` that scales to the available width, with the label `title`."""
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", body or " ", xmlns="http://www.w3.org/2000/svg", viewBox=box, role="img",
               aria_label=title)  # fmt: skip


@dataclass(frozen=True)
class Plane:
    """Two scales, and the title, legend and axes around them."""

    x: Scale
    y: Scale
    height: float
    title: str
    body: str

    @classmethod
    def around(
        cls,
        xs: Iterable[float],
        ys: Iterable[float],
        *,
        title: str = "",
        x_label: str = "",
        y_label: str = "",
        names: Sequence[str] = (),
        log_x: bool = False,
        log_y: bool = False,
        zero: bool = False,
        height: float = 230.0,
    ) -> Plane:
        """Return the plane for points at `xs` and `ys`, with title, legend of `names` and axes."""
        head, top = _head(title, names, y_label)
        bottom = top + height
        y = scale_for(ys, bottom, top, log_y, zero)
        left = 8 + max((measured(label) for _, label in y.ticks()), default=CHARACTER)
        x = scale_for(xs, left, WIDTH - 12, log_x)
        parts = [head]
        for value, label in y.ticks():
            at = y(value)
            parts.append(tag("line", class_="grid", x1=left, x2=x.end, y1=at, y2=at))
            parts.append(text(label, left - 5, at + 4, "faint", "end"))
        for value, label in x.ticks():
            at = x(value)
            parts.append(tag("line", class_="axis", x1=at, x2=at, y1=bottom, y2=bottom + 4))
            at = min(at, WIDTH - measured(label) / 2)
            parts.append(text(label, at, bottom + 16, "faint", "middle"))
        parts.append(tag("line", class_="axis", x1=left, x2=x.end, y1=bottom, y2=bottom))
        if x_label:
            parts.append(text(x_label, x.end, bottom + 32, "faint", "end", x.end - left))
        return cls(x, y, bottom + (38 if x_label else 22), title, "".join(parts))

    def finish(self, marks: str) -> str:
        """Return the chart with `marks` on the plane."""
        return svg(WIDTH, self.height, self.body + marks, self.title or "chart")


def _head(title: str, names: Sequence[str], y_label: str) -> tuple[str, float]:
    """Return title, legend and label of the y axis, and the y coordinate of their end."""
    parts, at = [], 4.0
    if title:
        at += 14
        parts.append(text(title, 2, at, "head"))
        at += 4
    left = 2.0
    for i, name in enumerate(names if len(names) > 1 else ()):
        name = fitted(name, 28 * CHARACTER)
        wide = 22 + measured(name)
        if left == 2.0 or left + wide > WIDTH:
            left, at = 2.0, at + 16
        parts.append(tag("rect", x=left, y=at - 9, width=10, height=10, rx=2, **dot(i)))
        parts.append(text(name, left + 14, at))
        left += wide
    if y_label:
        at += 16
        parts.append(text(y_label, 2, at, "faint"))
    return "".join(parts), at + 10
