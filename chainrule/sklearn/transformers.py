"""Preprocessors as transformers of scikit-learn, for pipelines.

Read next: :mod:`chainrule.data.scaling`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from chainrule.core.errors import DataError
from chainrule.data import projection, scaling
from chainrule.data.fitting import Fitted, Preprocessor
from chainrule.data.projection import Projection
from chainrule.data.scaling import Scaling

__all__ = ["PCA", "Center", "Standardize", "Whiten"]

Array = np.ndarray[Any, Any]
FLOATS = (np.float64, np.float32)


class Transformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base of the transformers: `fitted_` is what chainrule's preprocessor learned."""

    fitted_: Fitted
    _least_rows = 1

    def _preprocessor(self) -> Preprocessor[Any]:
        """Return chainrule's preprocessor with the parameters of this transformer."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None) -> Any:
        """Learn from the rows of X (rows, features), and return the transformer; y is not used.

        Raises ValueError for data that can't be used.
        """
        X = self._rows(X, reset=True, ensure_min_samples=self._least_rows)
        self.fitted_ = self._preprocessor().fit(X)
        return self

    def transform(self, X: Any) -> Array:
        """Return the rows of X transformed, float32 or float64 as X is."""
        check_is_fitted(self)
        return self.fitted_.transform(self._rows(X, reset=False))

    def inverse_transform(self, X: Any) -> Array:
        """Return transformed rows X as they were, but for rounding and directions left out."""
        check_is_fitted(self)
        return self.fitted_.inverse(np.asarray(X))

    def _rows(self, X: Any, **options: Any) -> Array:
        if hasattr(X, "toarray"):
            raise DataError(
                f"{type(self).__name__}: X is sparse, and its zeros would not stay zeros. Give "
                "X.toarray() if it fits in memory; or scale without centering, "
                "sklearn.preprocessing.MaxAbsScaler, or reduce the columns with "
                "sklearn.decomposition.TruncatedSVD."
            )
        return np.asarray(validate_data(self, X, dtype=FLOATS, **options))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class Scaled(OneToOneFeatureMixin, Transformer):  # type: ignore[misc]
    """Base of the transformers that scale each feature."""

    fitted_: Scaling


class Projected(ClassNamePrefixFeaturesOutMixin, Transformer):  # type: ignore[misc]
    """Base of the transformers that project on directions; columns are named "pca0", ..."""

    fitted_: Projection
    _least_rows = 2

    def fit(self, X: Any, y: Any = None) -> Any:
        """Learn from the rows of X (rows, features), and return the transformer; y is not used.

        Raises ValueError for data that can't be used, and OptionError, which is one, for a wrong
        parameter.
        """
        super().fit(X)
        self.mean_ = self.fitted_.mean
        self.components_ = self.fitted_.axes.T
        self.explained_variance_ = self.fitted_.explained_variance
        self.explained_variance_ratio_ = self.fitted_.explained_variance_ratio
        return self

    @property
    def _n_features_out(self) -> int:
        whole = self.fitted_.kind == "zca"
        return self.fitted_.features if whole else self.fitted_.components


@dataclass(eq=False, repr=False)
class Center(Scaled):
    """Zero-center each feature: ``z = x - mean``; see :class:`chainrule.data.scaling.Center`.

    >>> Center().fit_transform([[1.0, 5.0], [3.0, 5.0]]).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    def _preprocessor(self) -> Preprocessor[Any]:
        return scaling.Center()


@dataclass(eq=False, repr=False)
class Standardize(Scaled):
    """``z = (x - mean) / std`` of each feature; see :class:`chainrule.data.scaling.Standardize`.

    >>> Standardize().fit_transform([[1.0, 5.0], [3.0, 5.0]]).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    def _preprocessor(self) -> Preprocessor[Any]:
        return scaling.Standardize()


@dataclass(eq=False, repr=False)
class PCA(Projected):
    """Project on the principal components: ``z = (x - mean) @ components.T``.

    Keeps `components` directions, or the fewest that explain the share `variance`, or all that
    vary; see :class:`chainrule.data.projection.PCA`.

    >>> rows = [[1.0, 2.0], [2.0, 4.0], [3.0, 6.1], [4.0, 7.9]]
    >>> PCA(variance=0.99).fit(rows).get_feature_names_out()
    array(['pca0'], dtype=object)
    """

    components: int | None = None
    variance: float | None = None

    def _preprocessor(self) -> Preprocessor[Any]:
        return projection.PCA(self.components, self.variance)


@dataclass(eq=False, repr=False)
class Whiten(Projected):
    """Make features uncorrelated and of variance 1; see :class:`chainrule.data.projection.Whiten`.

    >>> Z = Whiten().fit_transform([[1.0, 2.0], [2.0, 5.0], [3.0, 5.0]])
    >>> bool(np.allclose(np.cov(Z.T), np.eye(2)))
    True
    """

    kind: Literal["pca", "zca"] = "pca"
    components: int | None = None
    variance: float | None = None
    epsilon: float = 0.0

    def _preprocessor(self) -> Preprocessor[Any]:
        return projection.Whiten(self.kind, self.components, self.variance, self.epsilon)
