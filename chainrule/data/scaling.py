"""Center and scale each feature.

Gradient descent is slow if features differ in mean and scale (LeCun et al., "Efficient
BackProp", 1998, section 4.3).

Read next: :mod:`chainrule.data.projection`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.core.errors import OptionError
from chainrule.data.fitting import Fitted, Preprocessor, Rows
from chainrule.data.moments import Moments
from chainrule.data.quantiles import quantiles_of, quantiles_of_blocks

__all__ = ["Center", "MinMax", "Robust", "Scaler", "Scaling", "Standardize", "Unscaled"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scaling(Fitted):
    """A fitted scaling of each feature: ``z = (x - shift) / scale + offset``.

    `shift` and `scale` have shape (features,); `offset` is a scalar.
    """

    shift: Array
    scale: Array
    offset: float = 0.0

    @property
    def features(self) -> int:
        """The number of features it was fitted to."""
        return len(self.shift)

    def feature_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return `names` unchanged."""
        return names

    def apply(self, rows: Array) -> Array:
        """Return ``(rows - shift) / scale + offset``."""
        return (rows - self.shift) / self.scale + self.offset

    def undo(self, rows: Array) -> Array:
        """Return ``(rows - offset) * scale + shift``."""
        return (rows - self.offset) * self.scale + self.shift

    def to_json(self) -> dict[str, Any]:
        """Return plain lists; `from_json` restores them bit for bit."""
        return {
            "type": "scaling",
            "shift": self.shift.tolist(),
            "scale": self.scale.tolist(),
            "offset": self.offset,
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Scaling:
        """Restore what `to_json` returned."""
        shift, scale = (np.array(saved[name], np.float64) for name in ("shift", "scale"))
        return cls(shift, scale, float(saved["offset"]))


class Scaler(Preprocessor[Scaling]):
    """Base class of scalings of each feature; a constant feature keeps scale 1."""


@dataclass(frozen=True)
class Unscaled(Scaler):
    """Leave every feature as it is."""

    def _learn(self, rows: Rows) -> Scaling:
        width = Moments.learn(rows).mean.shape
        return Scaling(np.zeros(width), np.ones(width))


@dataclass(frozen=True)
class Center(Scaler):
    """Zero-center each feature: ``z = x - mean``.

    >>> Center().fit([[1.0, 5.0], [3.0, 5.0]]).transform([[1.0, 6.0]]).tolist()
    [[-1.0, 1.0]]
    """

    def _learn(self, rows: Rows) -> Scaling:
        mean = Moments.learn(rows).mean
        return Scaling(mean, np.ones_like(mean))


@dataclass(frozen=True)
class Standardize(Scaler):
    """Zero-center each feature and divide by its standard deviation: ``z = (x - mean) / std``.

    The standard deviation divides by the number of rows, not by one less.

    >>> fitted = Standardize().fit([[1.0, 5.0], [3.0, 5.0]])
    >>> fitted.transform([[1.0, 5.0]]).tolist()
    [[-1.0, 0.0]]
    >>> fitted.inverse([[-1.0, 0.0]]).tolist()
    [[1.0, 5.0]]
    """

    def _learn(self, rows: Rows) -> Scaling:
        found = Moments.learn(rows)
        # Rounding gives a constant feature a tiny deviation; dividing by it would amplify new rows.
        return _scaling(found.mean, np.sqrt(found.scatter / found.count), found.varies)


@dataclass(frozen=True)
class MinMax(Scaler):
    """Map the minimum of each feature to `low` and the maximum to `high`.

    ``z = (x - min) / (max - min) * (high - low) + low``.  New rows may lie outside.
    Raises OptionError unless both are finite and ``low < high``.

    >>> MinMax(-1, 1).fit([[0.0], [10.0]]).transform([[5.0], [20.0]]).tolist()
    [[0.0], [3.0]]
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            if not is_number(getattr(self, name)):
                raise OptionError(
                    f"MinMax: {name} must be a finite number, not {getattr(self, name)!r}."
                )
        if not self.low < self.high:
            raise OptionError(
                f"MinMax: low must be less than high; got low={self.low}, high={self.high}."
            )

    def _learn(self, rows: Rows) -> Scaling:
        found = Moments.learn(rows)
        span = (found.greatest - found.least) / (self.high - self.low)
        return _scaling(found.least, span, found.varies, float(self.low))


@dataclass(frozen=True)
class Robust(Scaler):
    """Center each feature by its median and divide by a range of its quantiles.

    ``z = (x - median) / (quantile(high) - quantile(low))``; 0.25 and 0.75 give the
    interquartile range.  Outliers have little effect on them.  A feature whose two quantiles are
    equal keeps scale 1.  `fit_blocks` computes exact quantiles, in eight passes over the rows.
    Raises OptionError unless ``0 <= low < high <= 1``.

    >>> Robust().fit([[1.0], [2.0], [3.0], [4.0], [1e9]]).transform([[3.0], [5.0]]).tolist()
    [[0.0], [1.0]]
    """

    low: float = 0.25
    high: float = 0.75

    def __post_init__(self) -> None:
        numbers = is_number(self.low) and is_number(self.high)
        if not (numbers and 0 <= self.low < self.high <= 1):
            raise OptionError(
                "Robust: low and high must be shares with 0 <= low < high <= 1; "
                f"got low={self.low!r}, high={self.high!r}."
            )

    def fit(self, X: ArrayLike) -> Scaling:
        """Fit to the rows of `X`, shape (rows, features); same as `fit_blocks`, but faster."""
        chunks = list(Rows([X], "Robust", "X"))
        whole = np.concatenate(chunks) if len(chunks) > 1 else chunks[0]
        return self._between(quantiles_of(whole.astype(np.float64), self._shares))

    def _learn(self, rows: Rows) -> Scaling:
        return self._between(quantiles_of_blocks(rows, self._shares))

    @property
    def _shares(self) -> tuple[float, float, float]:
        return (self.low, 0.5, self.high)

    def _between(self, quantiles: Array) -> Scaling:
        low, median, high = quantiles
        return _scaling(median, high - low, low < high)


def _scaling(shift: Array, scale: Array, varies: NDArray[np.bool_], offset: float = 0.0) -> Scaling:
    return Scaling(shift, np.where(varies & (scale > 0), scale, 1.0), offset)


def is_number(value: object) -> bool:
    """Whether `value` is a finite real number and not a boolean."""
    return (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
