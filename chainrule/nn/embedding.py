"""Embedding layers, which replace category codes by learned vectors, not by one-hot columns.

Categories with similar effects get similar vectors, and a column of a thousand categories costs
as little as one of ten.

Read next: :mod:`chainrule.nn.wiring`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, OptionError, ShapeError
from chainrule.core.options import check_whole, float_dtype
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.nn.initializers import TruncatedNormal
from chainrule.ops.index import gather
from chainrule.ops.shape import concat

__all__ = ["EmbedColumns", "Embedding"]

Array = np.ndarray[Any, Any]
_MOST = {"float32": 2**24, "float64": 2**53}  # integers below are exact


def _table(categories: int, size: int, dtype: str, name: str) -> Parameter:
    if categories > _MOST[dtype]:
        raise OptionError(
            f"{categories:,} categories are more than {dtype} can number exactly "
            f"({_MOST[dtype]:,}); merge rare ones, or use dtype='float64'."
        )
    # The norm of a row is about 1, whatever its size, like that of a one-hot row.
    return Parameter((categories, size), TruncatedNormal(size**-0.5), dtype, name)


def _check_codes(codes: Array, categories: int, what: str) -> None:
    """Raise DataError naming the first row whose code is not a category."""
    bad = (codes < 0) | (codes >= categories) | (codes != np.floor(codes))
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise DataError(
            f"{what} needs category codes, whole numbers from 0 to {categories - 1}, but "
            f"row {row} has {codes[bad][0]}."
        )


@dataclass(eq=False)
class Embedding:
    """Look up a learned vector for each category code: ``y = weight[x]``.

    x: (n,) or (n, k) whole numbers below `categories`; weight: (categories, size); y: (n, size) or
    (n, k * size).  Only rows that were looked up receive a gradient.  Raises OptionError for
    sizes that are not positive integers; :func:`chainrule.fit` raises DataError for other codes.

    >>> import chainrule as cr
    >>> layer = Embedding(3, 2)
    >>> layer.weight.value = [[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]]
    >>> layer(cr.tensor([2, 1]))
    Tensor([[3., 4.],
            [1., 2.]], f32[2,2])
    """

    categories: int
    size: int
    dtype: str = "float32"
    weight: Parameter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.categories = check_whole("Embedding: categories", self.categories)
        self.size = check_whole("Embedding: size", self.size)
        self.dtype = float_dtype("Embedding: dtype", self.dtype)
        self.weight = _table(self.categories, self.size, self.dtype, "weight")

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim not in (1, 2):
            raise ShapeError(f"Embedding needs codes (n,) or (n, k), but got shape {x.shape}.")
        found = gather(self.weight, x.astype(np.int64))
        return found.reshape((x.shape[0], -1))

    def check_input(self, X: Array) -> None:
        """Raise DataError unless every value of `X` is a category code."""
        _check_codes(X, self.categories, f"Embedding({self.categories}, {self.size})")


@dataclass(eq=False)
class EmbedColumns:
    """Replace columns of category codes by learned vectors, and keep the other columns.

    `columns` holds (column, categories, size) for each column to look up.  x: (n, features);
    y: (n, outputs), the other columns first, in order, then the vectors in the order of `columns`.
    Raises OptionError for columns that do not exist or are given twice, ShapeError for an input
    of another width; :func:`chainrule.fit` raises DataError for values that are not codes.

    Source: Guo and Berkhahn, "Entity embeddings of categorical variables", 2016.

    >>> import chainrule as cr
    >>> layer = EmbedColumns(3, [(1, 5, 2)])  # the middle column has 5 categories
    >>> layer.outputs, layer(cr.input("x", ("n", 3))).shape
    (4, (n, 4))
    """

    features: int
    columns: Sequence[tuple[int, int, int]]
    dtype: str = "float32"
    tables: list[Parameter] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.features = check_whole("EmbedColumns: features", self.features)
        self.dtype = float_dtype("EmbedColumns: dtype", self.dtype)
        entries = self.columns if isinstance(self.columns, Sequence) else [None]
        if not all(isinstance(entry, Sequence) and len(entry) == 3 for entry in entries):
            raise OptionError(
                "EmbedColumns: columns must be a list of (column, categories, size), not "
                f"{self.columns!r:.60}."
            )
        self.columns = [
            (
                check_whole("EmbedColumns: column", column, least=0),
                check_whole("EmbedColumns: categories", categories),
                check_whole("EmbedColumns: size", size),
            )
            for column, categories, size in self.columns
        ]
        places = [column for column, _, _ in self.columns]
        if len(set(places)) < len(places) or any(c >= self.features for c in places):
            raise OptionError(
                f"EmbedColumns: columns must be different numbers below {self.features}, "
                f"not {places}."
            )
        self.tables = [_table(k, size, self.dtype, f"column {c}") for c, k, size in self.columns]

    @property
    def inputs(self) -> int:
        """The number of input columns."""
        return self.features

    @property
    def outputs(self) -> int:
        """The number of output columns."""
        return self.features - len(self.columns) + sum(size for _, _, size in self.columns)

    def output_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the output columns; `names` are those of the input columns.

        >>> EmbedColumns(3, [(1, 5, 2)]).output_names(["size", "color", "age"])
        ('size', 'age', 'color[0]', 'color[1]')
        """
        looked_up = {column for column, _, _ in self.columns}
        kept = [name for i, name in enumerate(names) if i not in looked_up]
        vectors = [f"{names[c]}[{k}]" for c, _, size in self.columns for k in range(size)]
        return (*kept, *vectors)

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ShapeError(
                f"EmbedColumns needs rows of {self.features} features, but got shape {x.shape}."
            )
        looked_up = {column for column, _, _ in self.columns}
        parts = [x[:, a:b] for a, b in _runs(self.features, looked_up)]
        for (column, _, _), table in zip(self.columns, self.tables, strict=True):
            parts.append(gather(table, x[:, column].astype(np.int64)))
        return concat(parts, 1) if len(parts) > 1 else parts[0]

    def check_input(self, X: Array) -> None:
        """Raise DataError unless the columns to look up hold category codes."""
        if X.shape[1:] != (self.features,):
            return  # the call reports a wrong width
        for column, categories, _ in self.columns:
            _check_codes(X[:, column], categories, f"EmbedColumns, column {column},")


def _runs(count: int, without: set[int]) -> list[tuple[int, int]]:
    """Return (first, end) of each run of integers below `count` that are not in `without`."""
    edges = [-1, *sorted(without), count]
    return [(a + 1, b) for a, b in itertools.pairwise(edges) if b > a + 1]
