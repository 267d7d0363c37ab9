"""Principal component analysis (PCA) and whitening, which make features uncorrelated.

Correlated features make the loss surface a narrow valley, in which gradient descent is slow
(LeCun et al., "Efficient BackProp", 1998, section 4.3).

Read next: :mod:`chainrule.data.pipeline`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import DataError, OptionError, did_you_mean
from chainrule.data.fitting import Fitted, Preprocessor, Rows
from chainrule.data.moments import Moments
from chainrule.data.scaling import is_number

__all__ = ["PCA", "Projection", "Projector", "Whiten"]

Array = NDArray[np.float64]
Kind = Literal["pca", "whiten", "zca"]
_NULL = 1e-10  # eigenvalues of the correlations below this share of the largest are rounding


@dataclass(frozen=True, eq=False)
class Projection(Fitted):
    """A fitted projection: ``z = (x - mean) @ axes * gain``; for "zca", then ``@ axes.T``.

    `axes`, shape (features, components), are the orthonormal principal axes of the training
    rows, the largest variance first; `explained_variance` is the variance (over rows - 1)
    along each, `total_variance` the sum over all features.  `gain` is 1 for "pca", else
    ``1 / sqrt(explained_variance + epsilon)``.  The part of a row along other directions is lost.
    """

    kind: Kind
    mean: Array
    axes: Array
    explained_variance: Array
    total_variance: float
    gain: Array

    @property
    def features(self) -> int:
        """The number of features it was fitted to."""
        return len(self.mean)

    @property
    def components(self) -> int:
        """The number of directions kept."""
        return len(self.explained_variance)

    @property
    def explained_variance_ratio(self) -> Array:
        """The share of the total variance along each axis."""
        return self.explained_variance / self.total_variance

    def feature_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return `names` for "zca", which stays close to the features; else "component 1", ..."""
        if self.kind == "zca":
            return names
        return tuple(f"component {i + 1}" for i in range(self.components))

    @cached_property
    def forward(self) -> Array:
        """The matrix that multiplies centered features."""
        turned = self.axes * self.gain
        return turned @ self.axes.T if self.kind == "zca" else turned

    @cached_property
    def _backward(self) -> Array:
        turned = (self.axes / self.gain).T
        return self.axes @ turned if self.kind == "zca" else turned

    def apply(self, rows: Array) -> Array:
        """Return ``(rows - mean) @ forward``."""
        return (rows - self.mean) @ self.forward

    def undo(self, rows: Array) -> Array:
        """Return ``rows @ backward + mean``, the reconstruction from the directions kept."""
        return rows @ self._backward + self.mean

    def to_json(self) -> dict[str, Any]:
        """Return plain lists; `from_json` restores them bit for bit."""
        return {
            "type": "projection",
            "kind": self.kind,
            "mean": self.mean.tolist(),
            "axes": self.axes.tolist(),
            "explained_variance": self.explained_variance.tolist(),
            "total_variance": self.total_variance,
            "gain": self.gain.tolist(),
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Projection:
        """Restore what `to_json` returned."""
        mean, axes, variance, gain = (
            np.array(saved[name], np.float64)
            for name in ("mean", "axes", "explained_variance", "gain")
        )
        return cls(saved["kind"], mean, axes, variance, float(saved["total_variance"]), gain)


class Projector(Preprocessor[Projection]):
    """Base class of projections on `components` directions, or on those that explain `variance`.

    If both are None, all directions in which the training rows vary are kept.  Directions without
    variance, such as that of a feature that is the sum of others, are never kept.
    """

    components: int | None
    variance: float | None

    def __post_init__(self) -> None:
        who, count, share = type(self).__name__, self.components, self.variance
        whole = isinstance(count, (int, np.integer)) and not isinstance(count, bool)
        if count is not None and not (whole and count >= 1):
            raise OptionError(
                f"{who}: components must be a whole number of 1 or more, not {count!r}. "
                "For a share of the variance, use variance=0.95."
            )
        if share is not None and not (is_number(share) and 0 < share <= 1):
            raise OptionError(
                f"{who}: variance must be a share, above 0 and at most 1, not {share!r}."
            )
        if count is not None and share is not None:
            raise OptionError(f"{who}: give components or variance, not both.")

    def _project(self, rows: Rows, kind: Kind, epsilon: float = 0.0) -> Projection:
        found = Moments.learn(rows, products=True)
        if found.count < 2:
            raise DataError(f"{rows.asker} needs two rows or more to compute a variance; got one.")
        if not found.varies.any():
            raise DataError(
                f"{rows.asker}: no feature varies in the {found.count} training rows, "
                "so there is no direction to keep."
            )
        axes, variance = _principal_axes(found)
        total = float(np.trace(found.scatter)) / (found.count - 1)
        kept = self._count(rows.asker, variance, total)
        axes, variance = axes[:, :kept], variance[:kept]
        gain = np.ones(kept) if kind == "pca" else 1 / np.sqrt(variance + epsilon)
        return Projection(kind, found.mean, np.ascontiguousarray(axes), variance, total, gain)

    def _count(self, who: str, variance: Array, total: float) -> int:
        if self.components is not None and self.components > len(variance):
            raise DataError(
                f"{who}(components={self.components}): the training rows vary in "
                f"{len(variance)} direction{'s' * (len(variance) > 1)} only; use at most that many."
            )
        if self.variance is None:
            return int(self.components or len(variance))
        # The tolerance keeps rounding from adding a direction.
        enough = np.cumsum(variance) / total >= self.variance - 1e-12
        return int(np.argmax(enough)) + 1 if enough.any() else len(variance)


@dataclass(frozen=True)
class PCA(Projector):
    """Project the features on their principal components, the largest variance first.

    ``z = (x - mean) @ axes`` with `axes` the eigenvectors of the covariance of the training
    rows, each signed so that its largest entry is positive.  Keeps `components` of them, or
    the fewest that explain the share `variance`; by default all with variance above 0.  Pearson,
    "On lines and planes of closest fit", 1901.  Raises OptionError for ``components < 1`` and for
    `variance` not above 0 and at most 1; DataError for more components than the rows have.
    The memory of a fit grows with the square of the number of features, but not with the
    number of rows.

    >>> rows = [[1.0, 2.0], [2.0, 4.0], [3.0, 6.1], [4.0, 7.9]]
    >>> fitted = PCA(variance=0.99).fit(rows)
    >>> fitted.components, fitted.explained_variance_ratio.round(4).tolist()
    (1, [0.9999])
    >>> fitted.inverse(fitted.transform(rows)).round(1).tolist()
    [[1.0, 2.0], [2.0, 4.0], [3.0, 6.1], [4.0, 7.9]]
    """

    components: int | None = None
    variance: float | None = None

    def _learn(self, rows: Rows) -> Projection:
        return self._project(rows, "pca")


@dataclass(frozen=True)
class Whiten(Projector):
    """Make the features uncorrelated and of variance 1: the covariance becomes the identity.

    ``z = (x - mean) @ axes / sqrt(explained_variance + epsilon)`` for `kind` "pca"; "zca" rotates
    the result back with ``@ axes.T``, and of all whitenings stays closest to the features
    (Kessy, Lewin and Strimmer, "Optimal whitening and decorrelation", 2018).  Directions in
    which the training rows do not vary are dropped by "pca" and left at 0 by "zca".  An
    `epsilon` above 0, in units of variance, keeps directions of small variance small
    instead of amplifying their noise.  The covariance divides by rows - 1.
    Raises what `PCA` raises, and OptionError for ``epsilon < 0``.

    >>> rows = [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 7.0, 10.0], [4.0, 7.0, 11.0]]
    >>> Z = Whiten().fit(rows).transform(rows)
    >>> Z.shape, np.allclose(np.cov(Z.T), np.eye(2))  # the third is the sum of the others
    ((4, 2), True)
    """

    kind: Literal["pca", "zca"] = "pca"
    components: int | None = None
    variance: float | None = None
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("pca", "zca"):
            hint = did_you_mean(str(self.kind), ("pca", "zca"))
            raise OptionError(f"Whiten: kind {self.kind!r} is unknown. {hint}")
        if not (is_number(self.epsilon) and self.epsilon >= 0):
            raise OptionError(
                f"Whiten: epsilon must be a finite number of 0 or more, not {self.epsilon!r}."
            )

    def _learn(self, rows: Rows) -> Projection:
        return self._project(rows, "whiten" if self.kind == "pca" else "zca", self.epsilon)


def _principal_axes(found: Moments) -> tuple[Array, Array]:
    """Return (axes, variances), the largest first, of all directions that vary.

    The correlations decide which directions vary, so that it does not depend on units.
    The covariance is ``factor @ factor.T``; the singular values of `factor` are more accurate
    for small variances than the eigenvalues of the covariance.
    """
    covariance = found.scatter / (found.count - 1)
    spread = np.where(found.varies, np.sqrt(np.diagonal(covariance)), 0.0)
    inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    strength, turned = np.linalg.eigh(covariance * inverse[:, None] * inverse)
    rounding = len(strength) * np.finfo(np.float64).eps * strength[-1]
    factor = spread[:, None] * turned * np.sqrt(np.where(strength > rounding, strength, 0.0))
    varying = factor[:, strength > _NULL * strength[-1]]
    basis, _ = np.linalg.qr(varying)
    # Directions dropped as constant have a small part along the basis; its variance counts.
    within, deviation, _ = np.linalg.svd(basis.T @ factor, full_matrices=False)
    axes = basis @ within
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    return axes * np.where(largest < 0, -1.0, 1.0), np.square(deviation)
