"""Charts as ``<svg>`` elements, for a page or for ``standalone``.

Every mark has its numbers as a ``<title>``, which browsers show on hover and screen readers read.
Colors are CSS variables of ``page.css``, so charts support dark mode.  Charts scale to the
available width.

Read next: :mod:`chainrule.insight.render.axes`, the scales and axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ShapeError
from chainrule.insight.render.axes import (
    CHARACTER,
    WIDTH,
    Plane,
    color,
    dot,
    fitted,
    measured,
    scale_for,
    svg,
    tag,
    text,
    titled,
)
from chainrule.insight.render.png import data_uri

__all__ = ["bar_chart", "heat_map", "histogram", "image_grid", "line_chart", "scatter"]

_MOST_POINTS = 800  # of a line; more are not visible at this width
_MOST_DOTS = 60
NAMES = 170.0  # width of names at the left; longer ones are truncated, and shown on hover


def line_chart(
    series: Mapping[str, Any],
    x: Any = None,
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log_x: bool = False,
    log_y: bool = False,
    marks: Mapping[str, float] | None = None,
) -> str:
    """Draw each of `series` (numbers by name) as a line over `x`, by default 1, 2, 3, ...

    Series may have different lengths.  Numbers that are not finite, or not positive on a
    logarithmic axis, leave a gap.  `marks` are positions on the x axis by their label.  Raises
    ShapeError if a series is longer than `x`.

    >>> line_chart({"loss": [3.0, 2.0]}).count("<title>loss")
    2
    """
    lines = []
    for name, values in series.items():
        ys = np.asarray(values, np.float64).reshape(-1)
        xs = np.arange(1, len(ys) + 1.0) if x is None else np.asarray(x, np.float64)[: len(ys)]
        lines.append((name, *_same_length(name, xs, ys)))
    plane = Plane.around(
        np.concatenate([xs for _, xs, _ in lines] or [np.zeros(0)]),
        np.concatenate([ys for _, _, ys in lines] or [np.zeros(0)]),
        title=title, x_label=x_label, y_label=y_label, names=list(series),
        log_x=log_x, log_y=log_y,
    )  # fmt: skip
    traces = "".join(_trace(plane, i, *line) for i, line in enumerate(lines))
    ups = [_mark(plane, *mark) for mark in (marks or {}).items()]
    return plane.finish("".join([*(line for line, _ in ups), traces, *(said for _, said in ups)]))


def _mark(plane: Plane, words: str, x: float) -> tuple[str, str]:
    """Return a vertical line at `x`, and its label `words` on the side that has room."""
    at, top = plane.x(x), plane.y.end
    left = at + 6 + len(words) * CHARACTER > plane.x.end
    line = tag("line", class_="mark", x1=at, x2=at, y1=top, y2=plane.y.start)
    return line, text(words, at - 4 if left else at + 4, top + 8, "faint halo",
                      "end" if left else "start")  # fmt: skip


def _trace(plane: Plane, index: int, name: str, xs: Any, ys: Any) -> str:
    """Return a line with gaps, and dots that show their numbers on hover."""
    shown = _thin_out(ys)
    drawn = [_inside(plane, xs[i], ys[i]) for i in shown]
    places = [f"{plane.x(xs[i]):.1f} {plane.y(ys[i]):.1f}" if ok else ""
              for i, ok in zip(shown, drawn, strict=True)]  # fmt: skip
    path = "".join(
        ("L" if k and places[k - 1] else "M") + place for k, place in enumerate(places) if place
    )
    told = [i for i, ok in zip(shown, drawn, strict=True) if ok]
    few = len(told) <= _MOST_DOTS
    told = told if few else told[:: math.ceil(len(told) / _MOST_DOTS)]
    style: dict[str, Any] = {"r": 2.5, "fill": color(index)} if few else {"r": 6, "class_": "hit"}
    dots = "".join(
        titled("circle", f"{name}: {ys[i]:.5g} at {xs[i]:.6g}", cx=plane.x(xs[i]),
               cy=plane.y(ys[i]), **style)
        for i in told
    )  # fmt: skip
    return tag("path", class_="trace", stroke=color(index), d=path) + dots


def _inside(plane: Plane, x: float, y: float) -> bool:
    return all(
        math.isfinite(value) and (value > 0 or not scale.log)
        for value, scale in ((x, plane.x), (y, plane.y))
    )


def _thin_out(values: Any) -> list[int]:
    """Return indices to draw: all, or those of the minimum and maximum of each interval."""
    if len(values) <= _MOST_POINTS:
        return list(range(len(values)))
    kept = {0, len(values) - 1}
    for part in np.array_split(np.arange(len(values)), _MOST_POINTS // 2):
        finite = part[np.isfinite(values[part])]
        if finite.size:
            kept |= {int(finite[values[finite].argmin()]), int(finite[values[finite].argmax()])}
        kept |= set(part[~np.isfinite(values[part])][:1].tolist())  # keeps gaps
    return sorted(kept)


def scatter(
    groups: Mapping[str, tuple[Any, Any]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log_x: bool = False,
    log_y: bool = False,
    line: str | None = None,
) -> str:
    """Draw each of `groups`, a pair of arrays (x, y) by name, as points.

    `line` is the name of a group to draw as a line.
    """
    points = {
        name: _same_length(name, *(np.asarray(a, np.float64).reshape(-1) for a in pair))
        for name, pair in groups.items()
    }
    plane = Plane.around(
        np.concatenate([xs for xs, _ in points.values()] or [np.zeros(0)]),
        np.concatenate([ys for _, ys in points.values()] or [np.zeros(0)]),
        title=title, x_label=x_label, y_label=y_label, names=list(groups),
        log_x=log_x, log_y=log_y,
    )  # fmt: skip
    marks = "".join(
        titled("circle", f"{name}: {a:.5g}, {b:.5g}", cx=plane.x(a), cy=plane.y(b), r=2.5,
               fill_opacity=0.7, **dot(i))
        for i, (name, (xs, ys)) in enumerate(points.items())
        for a, b in zip(xs, ys, strict=True)
        if name != line and _inside(plane, a, b)
    )  # fmt: skip
    if line is not None:
        marks += _trace(plane, list(points).index(line), line, *points[line])
    return plane.finish(marks)


def _same_length(name: str, xs: Any, ys: Any) -> tuple[Any, Any]:
    if len(xs) != len(ys):
        raise ShapeError(
            f"{name!r} has {len(xs)} x values and {len(ys)} y values; they must be equally many."
        )
    return xs, ys


def bar_chart(
    values: Mapping[str, float],
    *,
    title: str = "",
    label: str = "",
    errors: Mapping[str, float] | None = None,
) -> str:
    """Draw a horizontal bar for each of `values` by name, to the left if negative.

    `errors`, by the same names, are drawn as lines from a value minus its error to the value plus
    it.

    >>> bar_chart({"a": 2.0, "b": -1.0}).count("<rect")
    2
    """
    numbers = {name: float(value) + 0.0 for name, value in values.items()}  # -0.0 becomes 0.0
    left = 12 + min(NAMES, max(map(measured, numbers), default=CHARACTER))
    written = {name: f"{value:.4g}" for name, value in numbers.items()}
    error = {name: float((errors or {}).get(name, 0.0)) for name in numbers}
    written = {name: said + (f" ± {error[name]:.2g}" if errors else "")
               for name, said in written.items()}  # fmt: skip
    room = 8 + CHARACTER * max(map(len, written.values()), default=1)
    below = room if any(v < 0 for v in numbers.values()) else 0
    ends = [value + side * error[name] for name, value in numbers.items() for side in (-1, 1)]
    x = scale_for([*numbers.values(), *ends, 0.0], left + below, WIDTH - room, zero=True)
    top = 26.0 if title else 6.0
    parts = [text(title, 2, 18, "head")] if title else []
    for i, (name, value) in enumerate(numbers.items()):
        at = top + 20 * i
        parts.append(text(fitted(name, NAMES), left - 6, at + 14, anchor="end"))
        if not math.isfinite(value):
            parts.append(text(str(value), left, at + 14, "faint"))
            continue
        start, end = sorted((x(0.0), x(value)))
        fill = "var(--plus)" if value >= 0 else "var(--minus)"
        parts.append(titled("rect", f"{name}: {value:.6g}", x=start, y=at + 3, width=end - start,
                            height=14, fill=fill))  # fmt: skip
        low, high = x(value - error[name]), x(value + error[name])
        if errors:
            parts.append(tag("line", class_="axis", x1=low, x2=high, y1=at + 10, y2=at + 10))
        start, end = min(start, low), max(end, high)
        place, anchor = (end + 4, "start") if value >= 0 else (start - 4, "end")
        parts.append(text(written[name], place, at + 14, anchor=anchor))
    bottom = top + 20 * len(numbers)
    parts.append(tag("line", class_="axis", x1=x(0.0), x2=x(0.0), y1=top, y2=bottom))
    if label:
        parts.append(text(label, left, bottom + 15, "faint", room=WIDTH - left))
    return svg(WIDTH, bottom + (22 if label else 6), "".join(parts), title or "bars")


def histogram(
    values: Any, bins: int = 30, *, title: str = "", x_label: str = "", y_label: str = "count"
) -> str:
    """Draw the number of finite `values` in each of `bins` equal intervals."""
    array = np.asarray(values, np.float64).reshape(-1)
    array = array[np.isfinite(array)]
    same = array.size == 0 or array.max() == array.min()
    counts, edges = np.histogram(array, 1 if same else bins)
    plane = Plane.around(edges, counts, title=title, x_label=x_label, y_label=y_label, zero=True)
    marks = "".join(
        titled("rect", f"{n:,} from {a:.4g} to {b:.4g}", x=plane.x(a), y=plane.y(n),
               width=plane.x(b) - plane.x(a), height=plane.y(0) - plane.y(n), fill=color(0),
               stroke="var(--paper)", stroke_width=0.5)
        for n, a, b in zip(counts.tolist(), edges[:-1], edges[1:], strict=True)
        if n
    )  # fmt: skip
    return plane.finish(marks)


def heat_map(
    matrix: Any,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    *,
    title: str = "",
    row_label: str = "",
    column_label: str = "",
    numbers: bool = True,
) -> str:
    """Draw `matrix` (rows, columns) as colored cells, with `numbers` where they fit.

    The opacity is proportional to the magnitude; negative numbers have another color.
    `row_label` and `column_label` describe rows and columns, such as "true class" and "predicted
    class".  Raises ShapeError if the numbers of names and the shape of the matrix differ.

    >>> ">7</text>" in heat_map([[7, 0], [1, 3]], ["cat", "dog"], ["cat", "dog"])
    True
    """
    cells = np.asarray(matrix)
    rows = [str(r) for r in rows] or [""] * (cells.shape[0] if cells.ndim else 0)
    columns = [str(c) for c in columns] or [""] * (cells.shape[1] if cells.ndim > 1 else 0)
    if cells.shape != (len(rows), len(columns)):
        raise ShapeError(
            f"heat_map: a matrix of shape {cells.shape} was given {len(rows)} names of rows and "
            f"{len(columns)} of columns; give one for each."
        )
    left = 8 + min(NAMES, max(map(measured, rows), default=0.0))
    side = min(46.0, (WIDTH - left - 4) / max(1, len(columns)))
    tall = max(side, 8.0) if side < 20 else max(20.0, side * 0.7)
    heads, top = _heads(columns, left, side, title, row_label, column_label)
    finite = np.abs(cells[np.isfinite(cells)].astype(np.float64))
    most = float(finite.max()) if finite.size else 0.0
    parts = [heads]
    for i, name in enumerate(rows):
        y = top + tall * i
        if name:
            parts.append(text(fitted(name, NAMES), left - 5, y + tall / 2 + 4, "", "end"))
        for j, value in enumerate(cells[i].tolist()):
            told = f"{value:,}" if isinstance(value, int) else f"{value:.2g}"
            fits = numbers and len(told) * CHARACTER <= side - 1 and tall >= 12
            strength = abs(value) / most if most and math.isfinite(value) else 0.0
            parts.append(titled(
                "g", f"{name or i}, {columns[j] or j}: {told}",
                _cell(value < 0, strength, left + side * j, y, side, tall, told if fits else ""),
            ))  # fmt: skip
    return svg(WIDTH, top + tall * len(rows) + 6, "".join(parts), title or "heat map")


def _heads(
    columns: Sequence[str], left: float, side: float, title: str, row_label: str, label: str
) -> tuple[str, float]:
    """Return title and names of columns, rotated if they do not fit, and their total height."""
    said = [f"rows: {row_label}"] * bool(row_label) + [f"columns: {label}"] * bool(label)
    parts, top = [], 4.0
    for words, kind in ((title, "head"), (" · ".join(said), "faint")):
        if words:
            top += 15
            parts.append(text(words, 2, top, kind))
    longest = min(14, max(map(len, columns), default=0))
    if not longest:
        return "".join(parts), top + 6
    turned = longest * CHARACTER > side - 2
    top += longest * CHARACTER + 8 if turned else 18
    for j, name in enumerate(columns):
        x, y = left + side * (j + 0.5), top - 5
        written = text(name, 0, 0, anchor="start" if turned else "middle", room=14 * CHARACTER)
        move = f"translate({x + 4:.1f} {y:.1f}) rotate(-90)" if turned else f"translate({x} {y})"
        parts.append(tag("g", written, transform=move))
    return "".join(parts), top


def _cell(
    negative: bool, strength: float, x: float, y: float, wide: float, tall: float, told: str
) -> str:
    fill = "var(--minus)" if negative else "var(--plus)"
    box = tag("rect", x=x, y=y, width=wide, height=tall, fill=fill, fill_opacity=strength,
              stroke="var(--line)", stroke_width=0.4)  # fmt: skip
    kind = "on" if strength > 0.55 else "" if strength else "faint"
    return box + (text(told, x + wide / 2, y + tall / 2 + 4, kind, "middle") if told else "")


def image_grid(
    images: Sequence[Any],
    captions: Sequence[str] = (),
    *,
    columns: int = 8,
    title: str = "",
    signed: bool = False,
) -> str:
    """Draw `images`, each (height, width) or (height, width, 3), in rows of `columns`.

    Each image is scaled from its minimum to its maximum.  With `signed`, for weights, zero is
    white, negative numbers are orange and positive ones blue.  8-bit integers are not scaled.
    Raises ShapeError if the numbers of captions and images differ.
    """
    if captions and len(captions) != len(images):
        raise ShapeError(
            f"image_grid: {len(images)} images have {len(captions)} captions; give one for each."
        )
    columns = max(1, min(columns, len(images)))
    side = min(110.0, WIDTH / columns)
    line = side + (15 if captions else 0)
    top = 26.0 if title else 2.0
    parts = [text(title, 2, 18, "head")] if title else []
    for k, image in enumerate(images):
        x, y = k % columns * side, top + k // columns * line
        caption = str(captions[k]) if captions else ""
        drawn = tag("image", x=x + 2, y=y, width=side - 4, height=side - 4,
                    href=data_uri(image, signed))  # fmt: skip
        if caption:
            drawn += text(caption, x + side / 2, y + side + 8, "faint", "middle", side)
        parts.append(titled("g", caption or f"image {k}", drawn))
    height = top + math.ceil(len(images) / columns) * line + 4
    return svg(WIDTH, height, "".join(parts), title or "images")
