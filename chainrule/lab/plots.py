"""The plots of experiments: bars or lines, as text for a terminal and as SVG for a page.

Read next: :mod:`chainrule.insight.render.chart`, which draws the SVG.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.insight.render.axes import Scale, scale_for
from chainrule.insight.render.chart import bar_chart, line_chart
from chainrule.lab.estimate import Estimate

__all__ = ["Bars", "Lines"]

Array = np.ndarray[Any, Any]
MARKS = "●○▲+x*#"
WIDTH, HEIGHT = 60, 14  # of the plane of a plot in characters
PAGE = 80  # the width of a terminal


@dataclass(frozen=True)
class Bars:
    """A bar for each of `values` by name; of numbers per seed, the mean and its 95 % interval."""

    values: Mapping[str, Any]
    label: str = ""

    def svg(self, title: str) -> str:
        """Return the bars as an ``<svg>``."""
        found = self._estimates()
        return bar_chart(
            {name: e.mean for name, e in found.items()}, title=title, label=self.label,
            ends={name: (e.low, e.high) for name, e in found.items()},
        )  # fmt: skip

    def text(self) -> str:
        """Return the bars as lines of text, each with its number; negative ones are hatched.

        >>> print(Bars({"tanh": 1.0, "relu": [0.4, 0.6]}, "loss").text())
        loss
        tanh  ████████████████████████████████████████ 1
        relu  ████████████████████ 0.5 (-0.8 to 1.8)
        """
        found = self._estimates()
        wide = max(map(len, found), default=0)
        most = max((abs(e.mean) for e in found.values()), default=0.0) or 1.0
        room = min(40, max(10, PAGE - 3 - wide - max((len(str(e)) for e in found.values()),
                                                     default=0)))  # fmt: skip
        lines = [self.label] if self.label else []
        for name, e in found.items():
            bar = ("█" if e.mean >= 0 else "░") * round(abs(e.mean) / most * room)
            lines.append(f"{name:{wide}}  {bar or '▏'} {e}")
        return "\n".join(lines)

    def _estimates(self) -> dict[str, Estimate]:
        return {name: Estimate.of(v) for name, v in self.values.items()}


@dataclass(frozen=True)
class Lines:
    """A line for each of `series` by name over `x`: (points,), or (seeds, points) to average.

    Points that are not finite leave a gap.  Of numbers per seed, the SVG has the 95 % intervals.
    """

    series: Mapping[str, Any]
    x: Any
    x_label: str
    y_label: str
    log_x: bool = False
    log_y: bool = False

    def svg(self, title: str) -> str:
        """Return the lines as an ``<svg>``."""
        return line_chart(
            self._means(), self.x, title=title, x_label=self.x_label, y_label=self.y_label,
            log_x=self.log_x, log_y=self.log_y,
            ends={name: _ends(v) for name, v in self.series.items() if np.ndim(v) == 2},
        )  # fmt: skip

    def text(self) -> str:
        """Return the lines as text: a mark of its own for each, and the ends of both axes.

        >>> print(Lines({"a": [0.0, 1.0]}, [1, 2], "epoch", "loss").text().splitlines()[0])
        loss   ● a
        """
        means = self._means()
        xs = np.asarray(self.x, np.float64)
        across = scale_for(xs, 0, WIDTH - 1, self.log_x)
        up = scale_for(np.concatenate(list(means.values())), HEIGHT - 1, 0, self.log_y)
        grid = [[" "] * WIDTH for _ in range(HEIGHT)]
        for mark, ys in zip(MARKS * 2, means.values(), strict=False):
            for column, row in _path(xs, ys, across, up):
                grid[row][column] = mark
        legend = "  ".join(f"{m} {name}" for m, name in zip(MARKS * 2, means, strict=False))
        ends = [f"{end:.3g}" for end in (up.high, up.low)]
        wide = max(map(len, ends))
        sides = [ends[0], *[""] * (HEIGHT - 2), ends[1]]
        lines = [f"{side:>{wide}} │{''.join(row).rstrip()}" for side, row in
                 zip(sides, grid, strict=True)]  # fmt: skip
        foot = f"{across.low:.3g} {self.x_label}"
        right = f"{across.high:.3g}"
        return "\n".join([
            f"{self.y_label}   {legend}", *lines, f"{'':{wide}} └{'─' * WIDTH}",
            f"{'':{wide}}  {foot}{right:>{max(1, WIDTH - len(foot))}}",
        ])  # fmt: skip

    def _means(self) -> dict[str, Array]:
        arrays = {name: np.asarray(v, np.float64) for name, v in self.series.items()}
        return {name: v.mean(axis=0) if v.ndim == 2 else v for name, v in arrays.items()}


def _ends(values: Any) -> tuple[list[float], list[float]]:
    """Return the low and the high ends of the intervals of `values` (seeds, points)."""
    columns = np.asarray(values, np.float64).T
    found = [Estimate.of(c) if np.isfinite(c).all() else Estimate(math.nan, math.nan, math.nan)
             for c in columns]  # fmt: skip
    return [e.low for e in found], [e.high for e in found]


def _path(xs: Array, ys: Array, across: Scale, up: Scale) -> list[tuple[int, int]]:
    """Return the characters (column, row) of the plane on the way from point to point."""
    good = np.isfinite(ys) & (ys > 0 if up.log else True) & (xs > 0 if across.log else True)
    at = [(across(float(x)), up(float(y))) for x, y in zip(xs[good], ys[good], strict=True)]
    cells = [(round(x), round(y)) for x, y in at]
    columns = np.array([x for x, _ in at])
    rows = np.array([y for _, y in at])
    for column in range(cells[0][0], cells[-1][0] + 1) if len(cells) > 1 else ():
        cells.append((column, round(float(np.interp(column, columns, rows)))))
    return cells
