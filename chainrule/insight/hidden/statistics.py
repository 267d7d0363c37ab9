"""Statistics of hidden layers: facts, probes, principal components, correlations and gradients.

They are computed from an :class:`~chainrule.insight.hidden.activity.Activity` and the targets of
its rows, each when it is first used.

Read next: :mod:`chainrule.insight.hidden.figures`, which draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError, DataError, OptionError
from chainrule.core.wording import counted
from chainrule.data.moments import root_mean_square
from chainrule.data.projection import PCA
from chainrule.data.splits import split
from chainrule.insight.hidden.activity import Activity
from chainrule.insight.hidden.probe import Goal, Probe, probe
from chainrule.insight.hidden.unit import (
    Unit,
    correlated_pairs,
    correlation,
    unit_facts,
)
from chainrule.insight.render.text import number
from chainrule.insight.row_view import RowView

__all__ = ["Findings", "LayerFacts", "LayerGradient"]

Array = np.ndarray[Any, Any]
PROBE_ROWS = 2000  # most training rows of a probe
WIDEST = 1024  # most units in a probe; of a wider layer, evenly spaced ones
MAPPED = 512  # most units in a map, likewise
HELD_OUT = 0.3
COLLAPSED = 0.05  # ratio of spread to root mean square below which a layer has collapsed
FEWEST = 10  # rows for a probe, including those held out


@dataclass(frozen=True)
class LayerFacts:
    """Statistics of one layer.

    `mean` and `std` are over all rows and units.  `spread` is the standard deviation of each
    unit over the rows.  A `collapsed` layer has nearly the same output for every row.  `dead` are
    the indices of dead units.  `saturated` is the share of activations that are nearly flat, None
    in a layer that is not a saturating activation function.
    """

    path: str
    layer: str
    units: int
    mean: float
    std: float
    spread: tuple[float, ...]
    collapsed: bool
    dead: tuple[int, ...]
    saturated: float | None


@dataclass(frozen=True)
class LayerGradient:
    """The gradient of the loss at a layer: root mean squares over its outputs and its weights.

    `units` has one for each unit, over the rows; `weights` is None in a layer without parameters.
    """

    path: str
    layer: str
    output: float
    weights: float | None
    units: tuple[float, ...]


@dataclass(frozen=True, repr=False)
class Findings:
    """The statistics of the hidden layers of a network on some rows.

    `activity` has the outputs of the layers; `numbers` are the indices of the rows in X; `goal`
    has their targets, None if not given; `note` says which rows were used.
    """

    title: str
    activity: Activity
    numbers: Array
    view: RowView
    note: str
    goal: Goal | None = None
    class_names: tuple[str, ...] = ()
    held_out: tuple[Activity, Goal] | None = None
    seed: int = 0
    follow: Callable[[], tuple[LayerGradient, ...]] | None = None

    # --- numbers --------------------------------------------------------------------------------

    @cached_property
    def layers(self) -> tuple[LayerFacts, ...]:
        """The statistics of each layer, from the input to the output."""
        found, last = [], self.activity.paths[-1]
        for path, values in self.activity.values.items():
            flat = self.activity.saturated(path)
            spread = values.std(axis=0, dtype=np.float64)
            found.append(LayerFacts(
                path, self.activity.describe(path), values.shape[1],
                float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)),
                tuple(spread.tolist()), path != last and self._collapsed(values, spread),
                tuple(self.activity.dead(path).tolist()),
                None if flat is None else float(flat.mean()),
            ))  # fmt: skip
        return tuple(found)

    @staticmethod
    def _collapsed(values: Array, spread: Array) -> bool:
        """Return whether the spread over the rows is at most 5 % of the root mean square."""
        size = root_mean_square(values)
        return len(values) > 1 and float(np.sqrt((spread**2).mean())) <= COLLAPSED * size

    @property
    def hidden(self) -> tuple[str, ...]:
        """The paths of the activation layers, or of all layers but the last if there are none."""
        inner = self.activity.paths[:-1]
        acting = tuple(path for path in inner if self.activity.activation(path) is not None)
        return acting or inner

    def described(self, layer: str | int) -> str:
        """Return a short description of a layer, "" for "input", the rows themselves."""
        return "" if str(layer) == "input" else self.activity.describe(str(layer))

    def values(self, layer: str | int) -> Array:
        """Return the outputs of a layer, (rows, units); "input" stands for the rows themselves."""
        if str(layer) == "input":
            flat: Array = self.activity.rows.reshape(len(self.activity.rows), -1)
            return flat
        return self.activity.values[self.activity.check_layer(layer)]

    @cached_property
    def weights(self) -> Array | None:
        """The weights of the first layer that has any, (units, *features), None without one.

        They are the derivative of each unit's weighted sum with respect to the input at the mean
        row.  For a layer that is linear in the input, such as Linear, they are its weights.
        """
        path = self.activity.first_weighted
        if path is None:
            return None
        units = self.activity.values[path].shape[1]
        mean = self.activity.rows.mean(axis=0, dtype=np.float64).astype(self.activity.rows.dtype)
        respond = self.activity.responses(path)
        each = max(1, 2**22 // max(units, mean.size))
        blocks = []
        for start in range(0, units, each):
            pick = np.eye(units, dtype=mean.dtype)[start : start + each]
            x = np.broadcast_to(mean, (len(pick), *mean.shape)).copy()
            blocks.append(respond({"x": x, "pick": pick})["slope"])
        return np.concatenate(blocks)

    @property
    def probing(self) -> bool:
        """Whether there are targets and enough rows for :attr:`probes`."""
        return self.goal is not None and (self.held_out is not None or len(self.numbers) >= FEWEST)

    @cached_property
    def probes(self) -> tuple[Probe, ...]:
        """A linear probe of the input and of each layer.

        Raises OptionError without targets, DataError for too few rows.
        """
        if self.goal is None:
            raise OptionError("probes need targets: give y, as in features(model, X, y).")
        if not self.probing:
            raise DataError(
                f"{counted(len(self.numbers), 'row')} {'is' if len(self.numbers) == 1 else 'are'} "
                f"too few for a probe; give {FEWEST} or more, or held_out=(X, y)."
            )
        if self.held_out is None:
            learn, test = split(len(self.numbers), HELD_OUT, self.seed)
            learn = learn[:: -(-len(learn) // PROBE_ROWS)]
            others, goal = self.activity, self.goal
        else:
            others, goal = self.held_out
            learn, test = np.arange(len(self.numbers)), np.arange(len(others.rows))
            learn = learn[:: -(-len(learn) // PROBE_ROWS)]
        found = []
        for path in ("input", *self.activity.paths):
            train, seen = (
                a.rows.reshape(len(a.rows), -1) if path == "input" else a.values[path]
                for a in (self.activity, others)
            )
            thin = slice(None, None, -(-train.shape[1] // WIDEST))
            found.append(probe(
                path, self.described(path), train[learn][:, thin], self.goal.take(learn),
                seen[test][:, thin], goal.take(test),
            ))  # fmt: skip
        return tuple(found)

    @cached_property
    def gradients(self) -> tuple[LayerGradient, ...]:
        """The gradient of the mean loss at each layer, over the first 256 rows.

        Raises OptionError without targets or loss: give y, and for a model `loss`.
        """
        if self.follow is None:
            raise OptionError(
                "gradients need targets and a loss, as in "
                "features(model, X, y, loss='cross_entropy'). A run has its own loss."
            )
        return self.follow()

    def map(self, layer: str | int) -> tuple[Array, float]:
        """Return a layer's first two principal components, (rows, 2), and their share of variance.

        A component without variance is zero.  Of a layer of more than 512 units, at most 512
        evenly spaced ones are used.
        """
        values = self.values(layer)
        values = values[:, :: -(-values.shape[1] // MAPPED)].astype(np.float64)
        points = np.zeros((len(values), 2))
        if np.ptp(values, axis=0).max(initial=0) == 0:
            return points, 1.0
        fitted = PCA().fit(values)
        found = fitted.transform(values)[:, :2]
        points[:, : found.shape[1]] = found
        return points, float(fitted.explained_variance_ratio[:2].sum())

    def correlation(self, layer: str | int) -> Array:
        """Return the correlation of each pair of a layer's units over the rows, (units, units)."""
        return correlation(self.values(layer))

    def correlated(self, layer: str | int, count: int = 10) -> list[tuple[int, int, float]]:
        """Return the pairs of a layer's units that are most correlated, as (unit, unit, r)."""
        return correlated_pairs(self.values(layer), count)

    def unit(self, layer: str | int, index: int, count: int = 8) -> Unit:
        """Return the analysis of one unit, with the `count` rows that excite it most and least.

        Raises OptionError for a layer or unit that does not exist.
        """
        path = self.activity.check_layer(layer)
        index = self.activity.check_unit(path, index)
        return unit_facts(self.activity, path, index, self.numbers, count)

    # --- what the pages need --------------------------------------------------------------------

    def places_of(self, numbers: Array) -> Array:
        """Return the positions in `activity` of the rows with these `numbers` in X."""
        return np.searchsorted(self.numbers, numbers)

    def class_of(self, place: int) -> str:
        """Return the class of the row at this position, "" if the targets are not classes."""
        if self.goal is None or self.goal.kind != "classes":
            return ""
        return self.class_names[int(self.goal.target[place])]

    # --- showing --------------------------------------------------------------------------------

    def cells(self) -> list[list[str]]:
        """Return the table of the input and the layers as text, the heading first."""
        scores = {p.path: f"{p.score:.3f}" for p in self.probes} if self.probing else {}
        gradients = {g.path: f"{g.output:.2g}" for g in self._known_gradients}
        rows = [["layer", "", "units", "mean", "spread", "dead", "flat"]]
        values = self.values("input")
        mean = float(values.mean(dtype=np.float64))
        spread = root_mean_square(values.std(axis=0, dtype=np.float64))
        if abs(mean) < 1e-6 * spread:
            mean = 0.0  # a rounding error of standardized columns
        rows.append(["input", "", f"{values.shape[1]:,}", number(mean),
                     number(spread), "", ""])  # fmt: skip
        for k in self.layers:
            flat = "" if k.saturated is None else f"{100 * k.saturated:.0f} %"
            spread = root_mean_square(np.array(k.spread))
            rows.append([k.path, k.layer, f"{k.units:,}", number(k.mean),
                         number(spread), f"{len(k.dead):,}", flat])  # fmt: skip
        if gradients:
            told = ["gradient", *(gradients.get(row[0], "") for row in rows[1:])]
            rows = [[*row, size] for row, size in zip(rows, told, strict=True)]
        if self.goal is None or not scores:
            return rows
        said = [f"probe {self.goal.measure}", *(scores[row[0]] for row in rows[1:])]
        return [[*row, score] for row, score in zip(rows, said, strict=True)]

    @property
    def _known_gradients(self) -> tuple[LayerGradient, ...]:
        """The :attr:`gradients`, () without targets or loss; a saved run may lack its loss."""
        try:
            return self.gradients
        except ChainruleError:
            return ()

    def unit_cells(self, layer: str | int) -> list[list[str]]:
        """Return a table of the units of a layer as text, the heading first.

        Mean and spread of each unit are over the rows.  Its gradient is the root mean square of
        the gradient of the loss over the first 256 rows.
        """
        path = self.activity.check_layer(layer)
        facts = next(k for k in self.layers if k.path == path)
        values, flat = self.values(path), self.activity.saturated(path)
        sizes = next((g.units for g in self._known_gradients if g.path == path), None)
        rows = [["unit", "mean", "spread", "dead"]]
        for k, mean in enumerate(values.mean(axis=0, dtype=np.float64).tolist()):
            dead = "dead" if k in facts.dead else ""
            rows.append([str(k), number(mean), number(facts.spread[k]), dead])
        if flat is not None:
            told = ["flat", *(f"{100 * share:.0f} %" for share in flat.tolist())]
            rows = [[*row, share] for row, share in zip(rows, told, strict=True)]
        if sizes is not None:
            told = ["gradient", *(f"{size:.2g}" for size in sizes)]
            rows = [[*row, size] for row, size in zip(rows, told, strict=True)]
        return rows

    def remarks(self) -> list[str]:
        """Return a sentence on each layer whose output is nearly the same for every row."""
        found = []
        for k in self.layers:
            if k.collapsed and len(k.dead) == k.units:
                found.append(f"Layer {k.path} ({k.layer}): all {counted(k.units, 'unit')} dead.")
            elif k.collapsed:
                found.append(
                    f"Layer {k.path} ({k.layer}) collapsed: its output is nearly the same for "
                    f"every row. The spread is {number(root_mean_square(np.array(k.spread)))}, the "
                    f"root mean square {number(root_mean_square(self.values(k.path)))}."
                )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return facts, probes and, if there is a loss, gradients as plain data for JSON."""
        layers = [
            {**asdict(facts), "dead": list(facts.dead), "spread": list(facts.spread)}
            for facts in self.layers
        ]  # fmt: skip
        return {
            "title": self.title,
            "rows": len(self.numbers),
            "layers": layers,
            "probes": [asdict(p) for p in self.probes] if self.probing else [],
            "gradients": [asdict(g) for g in self.gradients] if self.follow else [],
        }
