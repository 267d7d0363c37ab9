"""From rows of a request to the features of a run that was trained on arrays or on pixels.

Read next: :mod:`chainrule.serve.predicting`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import ChainruleError
from chainrule.data.pixels import PixelPipeline
from chainrule.nn.layer import check_input
from chainrule.serve.request_error import RequestError
from chainrule.train.run import Run

__all__ = ["ArrayRows"]

Array = NDArray[Any]
_NUMBERS = {int, float}


class ArrayRows:
    """Rows that are lists of numbers, nested as deep as the features of the run have axes.

    `shape` is that of a row, and `dtype` the one that the run's predictor takes.  Of uint8, which
    are pixels, the numbers are whole, from 0 to 255.
    """

    def __init__(self, run: Run, dtype: np.dtype[Any]):
        self.shape, self.dtype = run.features, dtype
        if isinstance(run.pipeline, PixelPipeline):
            self.shape, self.dtype = (len(run.pipeline.feature_names),), np.dtype(np.uint8)
        info: Any = np.iinfo if self.dtype == np.uint8 else np.finfo
        self.most = float(info(self.dtype).max)
        self._run = run

    def read(self, rows: Sequence[Any]) -> Array:
        """Return `rows` as an array of float64.

        Raises RequestError for a row of another shape, and for what is not a number that fits.
        """
        cells: list[Any] = []
        for number, row in enumerate(rows, 1):
            flat = [row]
            for size in self.shape:
                if any(type(part) is not list or len(part) != size for part in flat):
                    raise RequestError(422, f"must be {self._wanted()}.", row=number)
                flat = list(chain.from_iterable(flat))
            if not set(map(type, flat)) <= _NUMBERS:
                odd = next(i for i, cell in enumerate(flat) if type(cell) not in _NUMBERS)
                raise RequestError(422, f"number {odd + 1} is not a number.", row=number)
            cells += flat
        fits = self._whole if self.dtype == np.uint8 else self._finite
        try:
            found = np.array(cells, np.float64).reshape(len(rows), *self.shape)
            good = bool(fits(found).all())
        except OverflowError:  # a whole number with hundreds of digits
            good = False
        if not good:
            raise self._refusal(cells)
        try:
            check_input([self._run.model], self.features(found))
        except ChainruleError as error:  # a code that an embedding does not have
            raise RequestError(422, str(error)) from None
        return found

    def _finite(self, x: Any) -> Any:
        return abs(x) <= self.most

    def _whole(self, x: Any) -> Any:
        return (x >= 0) & (x <= self.most) & (x == x // 1)

    def usual(self) -> Array:
        """Return a row of zeros."""
        return np.zeros((1, *self.shape))

    def features(self, values: Array) -> Array:
        """Return what the model is given for rows of `values`."""
        found = values.astype(self.dtype)
        encoded: Array = self._run.encode(found)
        return encoded

    def notes(self, values: Array) -> list[tuple[int, str, str]]:
        """Return nothing: the training data of arrays is not kept."""
        return []

    def column_of(self, feature: int) -> str | None:
        """Return None: a feature has no name."""
        return None

    def _wanted(self) -> str:
        if len(self.shape) == 1:
            return f"a list of {self.shape[0]} numbers"
        return f"nested lists of numbers of the shape {' × '.join(map(str, self.shape))}"

    def _refusal(self, cells: list[Any]) -> RequestError:
        pixels = self.dtype == np.uint8
        fits = self._whole if pixels else self._finite
        place = next(i for i, cell in enumerate(cells) if not fits(cell))
        row, number = divmod(place, math.prod(self.shape))
        wanted = "is not a whole number from 0 to 255" if pixels else "is too large"
        return RequestError(422, f"number {number + 1} {wanted}.", row=row + 1)
