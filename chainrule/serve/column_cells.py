"""Read the cells of one column of a request, each by itself, as training read the column.

A file has a whole column to tell how it is written.  A request may have one row, and must not be
read otherwise because of others that arrive with it.  So each cell is read by what the encoder
kept: the format of numbers and dates, and the known words.  What can't be read is an error, where
a file may have a few such cells.

Read next: :mod:`chainrule.serve.table_rows`, which turns what was read into features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from chainrule.core.errors import did_you_mean
from chainrule.data.dates import parse_date
from chainrule.data.encode import CategoryEncoder, Encoder, NumericEncoder
from chainrule.data.parse import MISSING, parse_number
from chainrule.data.spelling import parse_spelled
from chainrule.data.table import format_number

__all__ = ["DAY", "CellError", "ColumnCells"]

DAY = 86_400e6  # microseconds
MOST_SHOWN = 60  # characters of a cell in an error
LONGEST = 200  # characters of a number or date
MOST_COMPARED = 1000  # known words among which the closest is looked for
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


class CellError(ValueError):
    """A cell can't be read; the caller knows its row and column."""


@dataclass(frozen=True)
class ColumnCells:
    """How the cells of a column are read, as a float64 each.

    A number is itself, a word in an order is its rank, another word its category, and a date its
    microseconds since 1970-01-01.  A missing cell is NaN, of words the category of missing cells,
    or -1 where training had none.  `gone` are words, in lower case, that mean a missing cell.

    >>> cells = ColumnCells(CategoryEncoder("color", ("blue", "red"), other=False, missing=False))
    >>> cells.kind, cells.read("red"), cells.read(None)
    ('category', 1.0, -1.0)
    >>> cells.read("rde")
    Traceback (most recent call last):
    chainrule.serve.column_cells.CellError: 'rde' is not a value known from training. Did you ...
    """

    encoder: Encoder
    gone: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The name of the column."""
        return self.encoder.name

    @property
    def kind(self) -> str:
        """One of number, date, order (words in an order) and category."""
        if isinstance(self.encoder, CategoryEncoder):
            return "category"
        if self.encoder.levels:
            return "order"
        return "date" if self.encoder.parts else "number"

    @property
    def takes_others(self) -> bool:
        """Whether words that are not known are allowed, because training merged rare ones."""
        return isinstance(self.encoder, CategoryEncoder) and self.encoder.other

    @property
    def had_missing(self) -> bool:
        """Whether the training rows had missing cells."""
        encoder = self.encoder
        return encoder.indicator if isinstance(encoder, NumericEncoder) else encoder.missing

    @property
    def range(self) -> tuple[float, float]:
        """The range of the training rows: numbers, ranks, or days since 1970-01-01."""
        if isinstance(self.encoder, CategoryEncoder) or not self.encoder.least:
            return -math.inf, math.inf
        return self.encoder.least[-1], self.encoder.greatest[-1]

    @property
    def usual(self) -> float | str:
        """A value to start from: the median, or the most common word."""
        encoder = self.encoder
        if isinstance(encoder, CategoryEncoder):
            if not encoder.levels:
                return ""
            return encoder.levels[int(np.argmax(encoder.shares)) if encoder.shares else 0]
        middle = encoder.median[-1]
        if encoder.levels:
            return encoder.levels[int(middle)]
        if encoder.parts:
            return str(np.datetime64(int(middle), "D"))
        return middle

    @cached_property
    def read(self) -> Callable[[Any], float]:
        """The function that reads a cell of JSON or text; it raises CellError."""
        if self.kind == "number":
            return self._number
        return self._date if self.kind == "date" else self._word

    @cached_property
    def _gone_numbers(self) -> frozenset[float]:
        gaps = self.encoder.gaps if isinstance(self.encoder, NumericEncoder) else ()
        said = [number for word in self.gone if (number := parse_number(word)) is not None]
        return frozenset([*gaps, *said])

    @property
    def _may_be_boolean(self) -> bool:
        """Whether training may have had true and false, which are the numbers 1 and 0."""
        return self.range[0] >= 0 and self.range[1] <= 1

    def _is_gone(self, word: str) -> bool:
        return word.lower() in MISSING or word.lower() in self.gone

    def _number(self, cell: Any) -> float:
        if type(cell) is float or type(cell) is int:
            value = as_float(cell)
        elif cell is None:
            return math.nan
        elif isinstance(cell, str):
            word = cell.strip()
            if self._is_gone(word):
                return math.nan
            value = self._written(word)
        elif isinstance(cell, bool) and self._may_be_boolean:
            return float(cell)
        else:
            raise CellError(f"{_shown(cell)} is not a number.")
        return math.nan if value in self._gone_numbers else value

    def _written(self, word: str) -> float:
        """Return a number written as text."""
        assert isinstance(self.encoder, NumericEncoder)
        spelling = self.encoder.spelling
        value = None
        if len(word) <= LONGEST:
            value = parse_spelled(word, spelling) if spelling else parse_number(word)
        if value is None and self._may_be_boolean:
            value = {"true": 1.0, "false": 0.0}.get(word.lower())
        if value is None:
            form = f" in the format {spelling}, as in training" if spelling else ""
            raise CellError(f"{_shown(word)} is not a number{form}.")
        if not math.isfinite(value):
            raise CellError(f"{_shown(word)} is not a finite number.")
        return value

    def _date(self, cell: Any) -> float:
        assert isinstance(self.encoder, NumericEncoder)
        if cell is None:
            return math.nan
        if not isinstance(cell, str):
            raise CellError(f"{_shown(cell)} is not a date; write it as text, like '2024-01-31'.")
        word = cell.strip()
        if self._is_gone(word):
            return math.nan
        form = self.encoder.date_format
        try:
            moment = parse_date(word, form) or parse_date(word) if len(word) <= LONGEST else None
        except OverflowError:  # of a time zone, in the first or the last year
            moment = None
        if moment is None:
            raise CellError(f"{_shown(word)} is not a date; put the year first, as in 2024-01-31.")
        return float((moment - _EPOCH) // _MICROSECOND)

    @cached_property
    def _places(self) -> Mapping[str, float]:
        return {word: float(i) for i, word in enumerate(self.encoder.levels)}

    def _word(self, cell: Any) -> float:
        known = self._places
        if type(cell) is str and (place := known.get(cell)) is not None and not self.gone:
            return place
        if cell is None:
            return self._no_word
        if isinstance(cell, bool):
            word = "true" if cell else "false"
        elif isinstance(cell, (int, float)):
            word = format_number(as_float(cell))
        elif isinstance(cell, str):
            word = cell.strip()
        else:
            raise CellError(f"{_shown(cell)} is not text.")
        if self._is_gone(word):
            return self._no_word
        number = parse_number(word)
        if number is not None and number in self._gone_numbers:
            return self._no_word
        for form in (word, word.lower() if word.lower() in ("true", "false") else word):
            if form in known:
                return known[form]
        if number is not None and math.isfinite(number) and format_number(number) in known:
            return known[format_number(number)]  # 7.0 in a column of whole numbers
        if self.takes_others:
            return float(len(known))
        hint = did_you_mean(word[:MOST_SHOWN], islice(known, MOST_COMPARED))
        raise CellError(f"{_shown(word)} is not a value known from training. {hint}".rstrip())

    @property
    def _no_word(self) -> float:
        encoder = self.encoder
        if isinstance(encoder, NumericEncoder):
            return math.nan
        return float(encoder.categories - 1) if encoder.missing else -1.0


def as_float(number: int | float) -> float:
    """Return a number of JSON as a float; CellError if it is too large for one."""
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise CellError("the number is too large.")
    return value


def _shown(cell: Any) -> str:
    """Return a cell for an error: text in quotes, cut; of lists and objects the kind alone."""
    if isinstance(cell, str):
        return repr(cell if len(cell) <= MOST_SHOWN else cell[:MOST_SHOWN] + "...")
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if cell is None:
        return "null"
    if isinstance(cell, (list, dict)):
        return "a list" if isinstance(cell, list) else "an object"
    return str(cell)[:MOST_SHOWN]
