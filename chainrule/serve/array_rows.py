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
from chainrule.serve.request_error import RequestError
from chainrule.train.run import Run

__all__ = ["ArrayRows"]

Array = NDArray[Any]
_NUMBERS = {int, float}


class ArrayRows:
    """Rows that are lists of numbers, nested as deep as the features of the run have axes.

    `shape` is that of a row, and `dtype` the one that the run's predictor takes.  Of uint8, which
    are pixels, the numbers are whole, from 0 to 255.  `looks_up` says whether the network refuses
    some numbers, as one does that begins with an embedding.
    """

    def __init__(self, run: Run, dtype: np.dtype[Any], looks_up: bool):
        self.shape, self.dtype = run.features, dtype
        if isinstance(run.pipeline, PixelPipeline):
            self.shape, self.dtype = (len(run.pipeline.feature_names),), np.dtype(np.uint8)
        self._whole = self.dtype == np.uint8
        info: Any = np.iinfo if self._whole else np.finfo
        self._low, self._high = float(info(self.dtype).min), float(info(self.dtype).max)
        self._run, self._looks_up = run, looks_up

    def read(self, rows: Sequence[Any]) -> list[Any]:
        """Return `rows`, each as a flat list of numbers.

        Raises RequestError for a row of another shape, and for what is not a number that fits.
        """
        found = []
        for number, row in enumerate(rows, 1):
            flat = [row]
            for size in self.shape:
                if any(type(part) is not list or len(part) != size for part in flat):
                    raise RequestError(422, f"must be {self._wanted()}.", row=number)
                flat = list(chain.from_iterable(flat))
            kinds = set(map(type, flat))
            if not kinds <= _NUMBERS or not self._low <= min(flat) <= max(flat) <= self._high:
                raise self._refusal(flat, number)
            if self._whole and float in kinds and any(x != int(x) for x in flat):
                raise self._refusal(flat, number)
            found.append(flat)
        if self._looks_up:
            try:
                self._run.check(self.features(np.array(found, np.float64)))
            except ChainruleError as error:  # a code that an embedding does not have
                raise RequestError(422, str(error)) from None
        return found

    def _refusal(self, flat: list[Any], row: int) -> RequestError:
        """Return what is wrong with the first number that is."""
        for place, x in enumerate(flat, 1):
            if type(x) not in _NUMBERS:
                return RequestError(422, f"number {place} is not a number.", row=row)
            if not self._low <= x <= self._high or (self._whole and x != int(x)):
                told = "is not a whole number from 0 to 255" if self._whole else "is too large"
                return RequestError(422, f"number {place} {told}.", row=row)
        raise AssertionError("every number fits")

    def usual(self) -> Array:
        """Return a row of zeros."""
        return np.zeros((1, math.prod(self.shape)))

    def features(self, values: Array) -> Array:
        """Return what the model is given for rows of `values`."""
        found = values.reshape(-1, *self.shape).astype(self.dtype)
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
