"""Analyze one unit of a layer: its activation on the rows, and the input that excites it most.

The input is found by gradient ascent, with each feature within its range in the rows.  The result
is the same at every call.

Sources: Erhan, Bengio, Courville and Vincent, "Visualizing higher-layer features of a deep
network", 2009; steps by the sign of the gradient within a box as in Madry et al., "Towards deep
learning models resistant to adversarial attacks", 2018.

Read next: :mod:`chainrule.insight.hidden.figures`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.insight.hidden.activity import Activity
from chainrule.insight.render.text import number

__all__ = ["Unit", "correlated_pairs", "correlation", "exciting_inputs", "unit_facts"]

Array = np.ndarray[Any, Any]
STEPS = 40  # of the ascent
DRAWN = 6  # starting points drawn at random in the box
AT_ONCE = 2**22  # most numbers in memory for the points


@dataclass(frozen=True)
class Unit:
    """The analysis of one unit.

    values
        Its activation on each row.
    most, least
        The indices in X of the rows that excite it most and least, strongest first.
    dead, saturated
        Whether it learns from none of the rows, and the share of rows in which it is nearly flat
        (None in a layer that is not a saturating activation function).
    neighbors
        The most correlated units of its layer, as pairs (unit, correlation).
    exciting, exciting_value
        The input found to excite it most, as the first layer sees it, with every feature within
        its range in the rows, and the activation there, which no row exceeds.
    """

    layer: str
    described: str
    index: int
    values: Array = field(repr=False)
    most: Array
    least: Array
    dead: bool
    saturated: float | None
    neighbors: tuple[tuple[int, float], ...]
    exciting: Array = field(repr=False)
    exciting_value: float

    @property
    def least_count(self) -> int:
        """In how many rows the unit has its least value, such as the 0 of a ReLU."""
        return int((self.values == self.values.min()).sum())

    @property
    def least_shared(self) -> str:
        """What to say in place of `least` where more rows share the least value, or ""."""
        if self.least_count <= len(self.least):
            return ""
        least = number(float(self.values.min()))
        return f"its least value, {least}, is that of {self.least_count:,} rows"

    def __str__(self) -> str:
        wide = self.values.astype(np.float64)
        lines = [
            f"unit {self.index} of layer {self.layer} ({self.described})"
            + (": dead, it learns from none of the rows" if self.dead else ""),
            f"  activation: mean {number(float(wide.mean()))}, "
            f"std {number(float(wide.std()))}, "
            f"from {number(float(wide.min()))} to {number(float(wide.max()))}",
        ]
        if self.saturated is not None:
            lines.append(f"  nearly flat in {100 * self.saturated:.0f} % of the rows")
        lines.append(f"  rows that excite it most: {', '.join(map(str, self.most.tolist()))}")
        least = f"rows that excite it least: {', '.join(map(str, self.least.tolist()))}"
        lines.append(f"  {self.least_shared or least}")
        lines.append(f"  the most exciting input found gives {number(self.exciting_value)}")
        if self.neighbors:
            told = ", ".join(f"{unit} ({r:+.2f})" for unit, r in self.neighbors)
            lines.append(f"  most correlated with: {told}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the unit as plain data for JSON, without its activation on each row."""
        return {
            "layer": self.layer,
            "unit": self.index,
            "mean": float(self.values.mean(dtype=np.float64)),
            "std": float(self.values.std(dtype=np.float64)),
            "most": self.most.tolist(),
            "least": self.least.tolist(),
            "dead": self.dead,
            "saturated": self.saturated,
            "neighbors": [{"unit": unit, "correlation": r} for unit, r in self.neighbors],
            "exciting": self.exciting.tolist(),
            "exciting_value": self.exciting_value,
        }


def correlation(values: Array) -> Array:
    """Return the correlation matrix of the units, (units, units); 0 for a constant unit."""
    scaled = _standardized(values)
    matrix: Array = np.clip(scaled.T @ scaled, -1, 1)
    return matrix


def _standardized(values: Array) -> Array:
    """Return the values of each unit with mean 0 and norm 1, 0 for a constant unit."""
    centered = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    length = np.sqrt(np.square(centered).sum(axis=0))
    # The rounding errors of a constant column must not be scaled up.
    tiny = 1e-7 * np.abs(values).max(axis=0, initial=0) * np.sqrt(len(values))
    scaled: Array = np.zeros_like(centered)
    np.divide(centered, length, out=scaled, where=length > tiny)
    return scaled


def correlated_pairs(values: Array, count: int = 10) -> list[tuple[int, int, float]]:
    """Return the `count` pairs of units with the largest absolute correlation."""
    matrix = correlation(values)
    above = np.triu_indices(len(matrix), 1)
    strengths = np.abs(matrix[above])
    order = np.argsort(-strengths, kind="stable")[:count]
    return [(int(above[0][k]), int(above[1][k]), float(matrix[above][k])) for k in order]


def unit_facts(activity: Activity, path: str, index: int, numbers: Array, count: int = 8) -> Unit:
    """Return the analysis of unit `index` of layer `path`; `numbers` are indices of the rows."""
    values = activity.values[path][:, index]
    order = np.argsort(-values, kind="stable")
    saturated = activity.saturated(path)
    exciting, height = exciting_inputs(activity, path, [index])
    return Unit(
        path, activity.describe(path), index, values,
        numbers[order[:count]], numbers[order[::-1][:count]],
        bool(np.isin(index, activity.dead(path))),
        None if saturated is None else float(saturated[index]),
        _neighbors(activity.values[path], index),
        exciting[0], float(height[0]),
    )  # fmt: skip


def _neighbors(values: Array, index: int, count: int = 5) -> tuple[tuple[int, float], ...]:
    """Return the units most correlated with unit `index`, without computing the whole matrix."""
    scaled = _standardized(values)
    found: Array = scaled.T @ scaled[:, index]
    found[index] = 0.0
    order = np.argsort(-np.abs(found), kind="stable")[:count]
    return tuple((int(k), float(found[k])) for k in order if found[k])


def exciting_inputs(
    activity: Activity, path: str, units: list[int], seed: int = 0
) -> tuple[Array, Array]:
    """Return for each of `units` the input found to excite it most, and the activation there.

    Every feature stays between its minimum and maximum over the rows.  Each step adds
    ``width * share * sign(slope)``, where `width` is the range of the feature and `share`
    decreases.  The ascent starts from the row that excites the unit most, the center of the box,
    and points drawn in it; the best point seen is kept.  For a unit that is linear in the input
    this is the optimum: each feature is at the end of its range given by the sign of its weight.
    """
    rows = activity.rows
    low, high = rows.min(axis=0), rows.max(axis=0)
    respond = activity.responses(path)
    generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
    drawn = low + (high - low) * generator.random((DRAWN, *low.shape))
    starts = 2 + DRAWN
    inputs, heights = [], []
    each = max(1, AT_ONCE // (starts * rows[0].size))
    for first in range(0, len(units), each):
        some = units[first : first + each]
        best_rows = rows[activity.values[path][:, some].argmax(axis=0)]
        x = np.concatenate([
            np.stack([row, (low + high) / 2, *drawn]) for row in best_rows
        ]).astype(rows.dtype)  # fmt: skip
        pick = np.zeros((len(x), activity.values[path].shape[1]), rows.dtype)
        pick[np.arange(len(x)), np.repeat(some, starts)] = 1
        found, height = _ascend(respond, x, pick, low, high)
        each_best = height.reshape(-1, starts).argmax(axis=1) + starts * np.arange(len(some))
        inputs.append(found[each_best])
        heights.append(height[each_best])
    return np.concatenate(inputs), np.concatenate(heights)


def _ascend(respond: Any, x: Array, pick: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Ascend from each row of `x` inside the box; return the best point seen, and its value."""
    best, top = x.copy(), np.full(len(x), -np.inf, x.dtype)
    for share in (*np.geomspace(0.25, 0.004, STEPS), 0.0):
        found = respond({"x": x, "pick": pick})
        height = found["activation"]
        better = height > top
        best[better], top[better] = x[better], height[better]
        step = (share * (high - low)) * np.sign(found["slope"])
        x = np.clip(x + step, low, high).astype(x.dtype)
    return best, top
