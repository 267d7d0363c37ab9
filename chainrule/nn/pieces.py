"""Piecewise linear encoding of numbers, which lets a network bend and step where a tree would.

A network of smooth units learns a jump in one number slowly.  Encoded in pieces, the first layer
holds any piecewise linear function of each number from the start.

Read next: :mod:`chainrule.nn.embedding`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from chainrule.core.errors import OptionError, ShapeError
from chainrule.core.options import check_whole, is_number
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.composite import clip
from chainrule.ops.shape import concat

__all__ = ["PiecewiseLinear"]


@dataclass(eq=False)
class PiecewiseLinear:
    """Encode numbers by the share of each piece of their range that lies below them.

    `edges` holds, for each feature, increasing numbers that divide its range into pieces, or
    nothing for a feature that is not encoded.  A number x gives, for each piece from a to b,
    ``min(max((x - a) / (b - a), 0), 1)``: 1 for the pieces below it, 0 for those above.  x:
    (n, features); y: (n, outputs), the features themselves first, then the pieces of those that
    are encoded.  A feature that is encoded is held within ``low - (high - low)`` and
    ``high + (high - low)``, where `low` and `high` are its first and its last edge: a number far
    beyond those of the training can't carry the prediction away.

    Raises OptionError for edges that do not increase, and ShapeError for an input of another
    width.  Source: Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in
    tabular deep learning", 2022.

    >>> import chainrule as cr
    >>> layer = PiecewiseLinear([[0.0, 1.0, 3.0], []])
    >>> layer(cr.tensor([[2.0, 7.0], [90.0, 7.0]]))
    Tensor([[2. , 7. , 1. , 0.5],
            [6. , 7. , 1. , 1. ]], f32[2,4])
    """

    edges: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        if not isinstance(self.edges, Sequence) or not all(
            isinstance(own, Sequence) and all(map(is_number, own)) for own in self.edges
        ):
            raise OptionError(
                "PiecewiseLinear: edges must be a list of numbers for each feature, not "
                f"{self.edges!r:.60}."
            )
        self.edges = [[float(edge) for edge in own] for own in self.edges]
        for column, own in enumerate(self.edges):
            if len(own) == 1 or any(b <= a for a, b in itertools.pairwise(own)):
                raise OptionError(
                    "PiecewiseLinear: the edges of a feature must be two or more increasing "
                    f"numbers, or none; those of feature {column} are {own!r:.60}."
                )

    @classmethod
    def of(cls, X: ArrayLike, pieces: int) -> PiecewiseLinear:
        """Return the layer with edges at the quantiles of `X`, so that pieces hold as many rows.

        A feature of two different values or fewer is not encoded, and equal quantiles are one
        edge.  Raises OptionError unless `pieces` is a positive integer.

        >>> PiecewiseLinear.of([[0.0, 1.0], [1.0, 0.0], [4.0, 1.0]], 2).edges
        [[0.0, 1.0, 4.0], []]
        """
        pieces = check_whole("PiecewiseLinear: pieces", pieces)
        rows = np.asarray(X)
        shares = np.linspace(0, 1, pieces + 1)
        edges = []
        for column in rows.T:
            found: list[float] = np.unique(np.quantile(column, shares)).tolist()
            edges.append(found if len(np.unique(column)) > 2 and len(found) > 1 else [])
        return cls(edges)

    @property
    def inputs(self) -> int:
        """The number of features."""
        return len(self.edges)

    @property
    def outputs(self) -> int:
        """The number of output columns."""
        return self.inputs + sum(len(own) - 1 for own in self.edges if own)

    def output_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the output columns; `names` are those of the features.

        >>> PiecewiseLinear([[0.0, 1.5, 3.0], []]).output_names(["size", "new"])
        ('size', 'new', 'size from 0 to 1.5', 'size from 1.5 to 3')
        """
        return (*names, *(
            f"{name} from {a:.4g} to {b:.4g}"
            for name, own in zip(names, self.edges, strict=True)
            for a, b in itertools.pairwise(own)
        ))  # fmt: skip

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ShapeError(
                f"PiecewiseLinear needs rows of {self.inputs} features, but got shape {x.shape}."
            )
        parts = [self._pieces(x, a, b, count) for a, b, count in self._runs() if count]
        return concat([self._held(x), *parts], 1) if parts else x

    def _runs(self) -> Iterator[tuple[int, int, int]]:
        """Yield (first, end, pieces) of neighbours with as many pieces; 0 is not encoded."""
        start = 0
        for count, same in itertools.groupby(max(0, len(own) - 1) for own in self.edges):
            end = start + len(list(same))
            yield start, end, count
            start = end

    def _held(self, x: Tensor) -> Tensor:
        most = float(np.finfo(x.dtype).max)
        ends = [(2 * own[0] - own[-1], 2 * own[-1] - own[0]) if own else (-most, most)
                for own in self.edges]  # fmt: skip
        low, high = np.transpose(ends)
        return clip(x, _like(low, x), _like(high, x))

    def _pieces(self, x: Tensor, first: int, end: int, count: int) -> Tensor:
        edges = np.array(self.edges[first:end])
        low, width = edges[:, :-1], np.diff(edges)
        numbers = x[:, first:end].reshape((x.shape[0], end - first, 1))
        shares = (numbers - _like(low, x)) * _like(1 / width, x)
        return clip(shares, 0.0, 1.0).reshape((x.shape[0], (end - first) * count))


def _like(values: Any, x: Tensor) -> Tensor:
    return as_tensor(np.asarray(values, x.dtype))
