"""What every preprocessor shares: rows that come in blocks, a fit, and a way there and back.

Enters an array, or blocks of rows of an array larger than memory; leaves the same rows in
chunks of one size.  It exists so that a fit to blocks gives the very bits of a fit to the
whole array: sums are taken over the same chunks, however the blocks are cut.

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

__all__ = ["CHUNK", "Fitted", "Preprocessor", "Rows"]

CHUNK = 4096  # rows; whole-array float64 copies of images are big


@dataclass(frozen=True)
class Rows:
    """The rows of `blocks`, each an array of shape (rows, features), to be read in chunks.

    `asker` and `name` are those of messages: who wants the rows, and what they are called.
    """

    blocks: Iterable[ArrayLike]
    asker: str
    name: str = ""

    def check_again(self) -> None:
        """Raise DataError if the rows can be read only once."""
        if iter(self.blocks) is self.blocks:
            raise DataError(
                f"{self.asker} reads the blocks more than once, and an iterator is used up by the "
                "first time; give a list, or an object whose __iter__ starts again."
            )

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield all rows in chunks of `CHUNK`, the last one shorter, checked to be finite."""
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
            raise DataError(f"{self.asker} was given no blocks; it needs rows to learn from.")

    def _check(self, array: NDArray[Any], name: str, width: int) -> None:
        if array.ndim != 2 or (len(array) == 0 and self.name):
            raise DataError(
                f"{self.asker} needs rows in an array of shape (rows, features); "
                f"{name} has shape {array.shape}."
            )
        if width not in (-1, array.shape[1]):
            raise DataError(
                f"{self.asker}: {name} has {array.shape[1]} features; those before have {width}."
            )
        if array.dtype.kind not in "fiub" or array.shape[1] == 0:
            check_features(array, name)


def _check_finite(part: NDArray[Any], whole: NDArray[Any], name: str) -> None:
    # One sum is finite only if every term is; the place of what is not is looked for only then.
    with np.errstate(over="ignore", invalid="ignore"):
        if part.dtype.kind == "f" and not np.isfinite(np.sum(part)):
            check_features(whole, name)


class Fitted(ABC):
    """What a preprocessor learned: a map of rows that can be undone and saved."""

    @property
    @abstractmethod
    def features(self) -> int:
        """The number of features it was fitted to."""

    @abstractmethod
    def feature_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the features that `transform` returns, for those of its input."""

    @abstractmethod
    def apply(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what becomes of `rows`."""

    @abstractmethod
    def undo(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rows that became `rows`."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON dict; `from_json` restores it bit for bit."""

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Return what becomes of the rows of `X`, shape (rows, features).

        Computed in float64; the result has the dtype of `X`, or float32 where `X` holds
        whole numbers.  Raises DataError on another number of features.
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
        """Undo `transform`; float64, exact but for rounding and for directions left out."""
        array = _numbers(Z)
        width = len(self.feature_names(("",) * self.features))
        if array.ndim != 2 or array.shape[1] != width:
            raise DataError(
                f"{type(self).__name__} gives {width} features; inverse got shape {array.shape}."
            )
        return self.undo(array.astype(np.float64))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fitted):
            return NotImplemented
        return type(self) is type(other) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]


def _numbers(X: ArrayLike) -> NDArray[Any]:
    array = np.asarray(X)
    return array if array.dtype.kind in "fiub" else check_numbers(array, "X")


Learned = TypeVar("Learned", bound=Fitted)


class Preprocessor(ABC, Generic[Learned]):
    """What is to be learned from the training rows, and with which options."""

    def fit(self, X: ArrayLike) -> Learned:
        """Learn from the rows of `X`, shape (rows, features): the training rows, no others.

        Raises DataError on another shape, on no rows, and on NaN or infinity.
        """
        return self._learn(Rows([X], type(self).__name__, "X"))

    def fit_blocks(self, blocks: Iterable[ArrayLike]) -> Learned:
        """Learn from rows that come in blocks, in memory that does not grow with their number.

        The result is that of `fit` on all rows, bit for bit.
        """
        return self._learn(Rows(blocks, type(self).__name__))

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Raise OptionError: what was learned transforms, and that is what `fit` returns."""
        name = type(self).__name__
        raise OptionError(
            f"{name} has learned nothing yet, and fit returns what has: "
            f"{name}().fit(X_train).transform(X)."
        )

    @abstractmethod
    def _learn(self, rows: Rows) -> Learned: ...
