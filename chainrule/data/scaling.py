"""Centering and scaling, learned from training rows and undone exactly.

Enters an array, leaves the same array with mean 0 and standard deviation 1 per
feature.  It exists because gradient descent is slow and fragile on features of unequal scale
(LeCun et al., "Efficient BackProp", 1998, section 4.3).

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.core.errors import DataError

__all__ = ["Standardize"]

_CHUNK = 4096


@dataclass(frozen=True)
class Standardize:
    """Zero-center and scale each feature: ``z = (x - mean) / scale``.

    `mean` and `scale` have shape (features,).  A feature that does not vary
    keeps scale 1.

    >>> scaler = Standardize.fit([[1.0, 5.0], [3.0, 5.0]])
    >>> scaler.transform([[1.0, 5.0]]).tolist()
    [[-1.0, 0.0]]
    >>> scaler.inverse([[-1.0, 0.0]]).tolist()
    [[1.0, 5.0]]
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, X: ArrayLike) -> Standardize:
        """Learn mean and standard deviation (population) of `X`, shape (rows, features).

        Raises DataError on another shape, on no rows, and on NaN or infinity.
        """
        array = np.asarray(X)
        if array.ndim != 2 or len(array) == 0:
            raise DataError(
                f"Standardize needs rows in an array of shape (rows, features); got {array.shape}."
            )
        chunks = range(0, len(array), _CHUNK)  # whole-array float64 copies of images are big
        mean = sum(array[i : i + _CHUNK].sum(axis=0, dtype=np.float64) for i in chunks) / len(array)
        square = sum(np.square(array[i : i + _CHUNK] - mean).sum(axis=0) for i in chunks)
        scale = np.sqrt(square / len(array))
        if not np.isfinite(scale).all():
            feature = int(np.flatnonzero(~np.isfinite(scale))[0])
            raise DataError(f"Standardize: feature {feature} holds NaN or infinity.")
        # Rounding gives a constant feature a tiny spread; dividing by it would blow up new rows.
        flat = scale <= 1e-10 * np.abs(mean)
        return cls(mean, np.where(flat | (scale == 0), 1.0, scale))

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return ``(X - mean) / scale`` as float32."""
        array = self._checked(X)
        out = np.empty(array.shape, dtype=np.float32)
        for i in range(0, len(array), _CHUNK):
            out[i : i + _CHUNK] = (array[i : i + _CHUNK] - self.mean) / self.scale
        return out

    def inverse(self, Z: ArrayLike) -> NDArray[np.float64]:
        """Return ``Z * scale + mean``."""
        return self._checked(Z) * self.scale + self.mean

    def _checked(self, X: ArrayLike) -> NDArray[Any]:
        array = np.asarray(X)
        if array.ndim != 2 or array.shape[1] != len(self.mean):
            raise DataError(
                f"Standardize was fitted on {len(self.mean)} features; got shape {array.shape}."
            )
        return array

    def to_json(self) -> dict[str, list[float]]:
        """Return plain lists; `from_json` restores them exactly."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, saved: dict[str, list[float]]) -> Standardize:
        """Restore what `to_json` returned."""
        return cls(np.array(saved["mean"], np.float64), np.array(saved["scale"], np.float64))
