"""Base classes of preprocessors, and iteration over rows in chunks of a fixed size.

A fit to blocks of rows gives bitwise the same result as a fit to the whole array, because sums
are taken over the same chunks however the blocks are cut.

Read next: :mod:`chainrule.data.moments`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.core.errors import DataError, OptionError
from chainrule.data.check_arrays import check_features, check_numbers
from chainrule.data.frames import read_array

__all__ = ["CHUNK", "Fitted", "Preprocessor", "Rows"]

CHUNK = 4096  # rows; a float64 copy of a whole image set is too large


@dataclass(frozen=True)
class Rows:
    """The rows of `blocks`, arrays of shape (rows, features), read in chunks.

    `asker` (who reads the rows) and `name` (what they are called) are for messages.
    """

    blocks: Iterable[ArrayLike]
    asker: str
    name: str = ""

    def check_again(self) -> None:
        """Raise DataError if the rows can be read only once."""
        if iter(self.blocks) is self.blocks:
            raise DataError(
                f"{self.asker} reads the blocks more than once, but an iterator can be read only "
                "once; give a list, or an object whose __iter__ starts again."
            )

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield all rows, checked to be finite, in chunks of `CHUNK`; the last may be shorter."""
        held: list[NDArray[Any]] = []
        room, width = CHUNK, -1
        for i, block in enumerate(self.blocks):
            name = self.name or f"block {i}"
            array = block if isinstance(block, np.ndarray) else check_numbers(block, name)
            self._check(array, name, width)
            width = array.shape[1]
            start = 0
            while start < len(array):
                part = array[start : start + room]
                _check_finite(part, array, name)
                held.append(part)
                start, room = start + len(part), room - len(part)
                if room == 0:
                    yield np.concatenate(held) if len(held) > 1 else part
                    held, room = [], CHUNK
        if held:
            yield np.concatenate(held) if len(held) > 1 else held[0]
        elif width < 0:
            raise DataError(f"{self.asker} got no blocks; it needs rows to fit to.")

    def _check(self, array: NDArray[Any], name: str, width: int) -> None:
        if array.ndim != 2 or (len(array) == 0 and self.name):
            raise DataError(
                f"{self.asker} needs an array of shape (rows, features); "
                f"{name} has shape {array.shape}."
            )
        if width not in (-1, array.shape[1]):
            raise DataError(
                f"{self.asker}: {name} has {array.shape[1]} features; earlier blocks have {width}."
            )
        if array.dtype.kind not in "fiub" or array.shape[1] == 0:
            check_features(array, name)


def _check_finite(part: NDArray[Any], whole: NDArray[Any], name: str) -> None:
    # The sum is finite only if every term is; a position is searched for only if it is not.
    with np.errstate(over="ignore", invalid="ignore"):
        if part.dtype.kind == "f" and not np.isfinite(np.sum(part)):
            check_features(whole, name)


class Fitted(ABC):
    """A fitted preprocessor: a transformation of rows that can be inverted and saved."""

    @property
    @abstractmethod
    def features(self) -> int:
        """The number of features it was fitted to."""

    @abstractmethod
    def feature_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the output features, given those of the input features."""

    @abstractmethod
    def apply(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `rows` transformed."""

    @abstractmethod
    def undo(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `rows` transformed back."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON dict; `from_json` restores it bit for bit."""

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Transform the rows of `X`, shape (rows, features).

        Computed in float64; the result has the dtype of `X`, or float32 if `X` contains
        integers.  Raises DataError on another number of features.
        """
        array = _numbers(X)
        if array.ndim != 2 or array.shape[1] != self.features:
            raise DataError(
                f"{type(self).__name__} was fitted on {self.features} features; "
                f"got shape {array.shape}."
            )
        width = len(self.feature_names(("",) * self.features))
        kept = array.dtype if array.dtype in (np.float32, np.float64) else np.dtype(np.float32)
        out = np.empty((len(array), width), kept)
        for i in range(0, len(array), CHUNK):
            out[i : i + CHUNK] = self.apply(array[i : i + CHUNK].astype(np.float64))
        return out

    def inverse(self, Z: ArrayLike) -> NDArray[np.float64]:
        """Invert `transform`, in float64; exact except for rounding and directions left out."""
        array = _numbers(Z)
        width = len(self.feature_names(("",) * self.features))
        if array.ndim != 2 or array.shape[1] != width:
            raise DataError(
                f"{type(self).__name__} returns {width} features; inverse got shape {array.shape}."
            )
        return self.undo(array.astype(np.float64))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fitted):
            return NotImplemented
        return type(self) is type(other) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]


def _numbers(X: ArrayLike) -> NDArray[Any]:
    array = np.asarray(read_array(X))
    return array if array.dtype.kind in "fiub" else check_numbers(array, "X")


Learned = TypeVar("Learned", bound=Fitted)


class Preprocessor(ABC, Generic[Learned]):
    """A preprocessor with its options, not fitted yet."""

    def fit(self, X: ArrayLike) -> Learned:
        """Fit to the rows of `X`, shape (rows, features), which must be training rows only.

        Raises DataError on another shape, on no rows, and on NaN or infinity.
        """
        return self._learn(Rows([X], type(self).__name__, "X"))

    def fit_blocks(self, blocks: Iterable[ArrayLike]) -> Learned:
        """Fit to blocks of rows, with memory that does not grow with their number.

        The result is bitwise the same as that of `fit` on all rows.
        """
        return self._learn(Rows(blocks, type(self).__name__))

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Raise OptionError: only the fitted preprocessor, which `fit` returns, can transform."""
        name = type(self).__name__
        raise OptionError(
            f"{name} is not fitted; transform with the object that fit returns: "
            f"{name}().fit(X_train).transform(X)."
        )

    @abstractmethod
    def _learn(self, rows: Rows) -> Learned: ...
